"""Training: a step against its operations and against PyTorch, memory, AdamW."""

import statistics

from frame import Row, median_ratio

ROWS = {7, 8, 9, 10, 12}
VOCABULARIES = (8192, 32768)
# The shape's vocabulary is 64 times its width here.
LARGE = 32768


def measure(context) -> list:
    rows = []
    if 7 in context.wanted:
        for vocabulary in VOCABULARIES:
            step = one(context.cpp(f"^TrainingStep/{vocabulary}/"))
            rows.append(Row(7, f"training step over its operations, V {vocabulary}",
                            step.counters["over_ideal"], 1.30, "lower",
                            f"{step.counters['step_s'] * 1e3:.0f} ms"))
    if 8 in context.wanted:
        frozen = one(context.cpp("^FrozenStep/"))
        rows.append(Row(8, "step with frozen anchor / all trained, over the ratio of operations",
                        frozen.counters["over_flop_ratio"], 1.05, "lower",
                        f"times {frozen.counters['per_all']:.3f}, operations"
                        f" {frozen.counters['flop_ratio']:.3f}"))
    if 9 in context.wanted:
        rows += peers(context)
    if 10 in context.wanted:
        for vocabulary in VOCABULARIES:
            memory = one(context.cpp(f"^TrainingMemoryPeak/{vocabulary}/"))
            rows.append(Row(10, "peak / (weights, optimizer, activations, logits),"
                            f" V {vocabulary}", memory.counters["over_parts"], 1.10, "lower",
                            f"peak {memory.counters['peak_mib']:.0f} MiB,"
                            f" {memory.counters['over_prediction']:.2f} of the prediction"))
    if 12 in context.wanted:
        rows += optimizer(context)
    return rows


def one(measured: dict):
    return next(iter(measured.values()))


def optimizer(context) -> list:
    loop, fused, ours = context.alternate(
        lambda: context.python("peers/optimizer.py", "loop")["seconds"],
        lambda: context.python("peers/optimizer.py", "fused")["seconds"],
        lambda: one(context.cpp("^Optimizer/")).counters)
    adamw = statistics.median(run["fused_s"] / run["update_s"] for run in ours)
    clipping = statistics.median(run["fused_s"] / run["clipping_s"] for run in ours)
    rate = statistics.median(run["mparam_per_s"] for run in ours)
    seconds = [run["update_s"] for run in ours]
    return [Row(12, "AdamW, rate over torch's fused kernel, in turn in one process", adamw, 1.0,
                detail=f"{rate:.0f} Mparam/s, with clipping {clipping:.2f}"),
            Row(12, "AdamW, rate over torch.optim.AdamW(fused=True)", median_ratio(fused, seconds),
                1.0),
            Row(12, "AdamW, rate over torch.optim.AdamW(foreach=False)",
                median_ratio(loop, seconds), 4.0)]


def peers(context) -> list:
    rows = []
    for vocabulary in VOCABULARIES:
        sides = [lambda kind=kind: context.python("peers/training.py", kind, str(vocabulary))
                 for kind in ("transformers-eager", "transformers-grouped", "careful")]
        eager, grouped, careful, ours = context.alternate(
            *sides, lambda: one(context.cpp(f"^TrainingStep/{vocabulary}/")).counters["step_s"])
        seconds = {name: [run["seconds"] for run in runs]
                   for name, runs in (("eager", eager), ("grouped", grouped), ("careful", careful))}
        best = min(("eager", "grouped"), key=lambda name: statistics.median(seconds[name]))
        rows.append(Row(9, f"transformers ({best}) / ours, V {vocabulary}",
                        median_ratio(seconds[best], ours), 1.5,
                        detail=f"{statistics.median(seconds[best]) * 1e3:.0f} ms"))
        rows.append(Row(9, f"careful torch / ours, V {vocabulary}",
                        median_ratio(seconds["careful"], ours), 1.1,
                        detail=f"{statistics.median(seconds['careful']) * 1e3:.0f} ms"))
        if vocabulary == LARGE:
            growth = one(context.cpp(f"^TrainingMemoryPeak/{vocabulary}/")).counters["growth_mib"]
            theirs = min(run["growth_mib"] for run in (eager if best == "eager" else grouped))
            rows.append(Row(9, f"peak growth, transformers / ours, V {vocabulary}",
                            theirs / growth, 2.0,
                            detail=f"{theirs:.0f} / {growth:.0f} MiB, careful torch"
                            f" {careful[0]['growth_mib']:.0f}"))
    return rows
