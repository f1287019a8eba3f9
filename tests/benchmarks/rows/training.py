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
        adamw = one(context.cpp("^Optimizer/")).counters
        rows.append(Row(12, "AdamW, rate over torch fused", adamw["fused_s"] / adamw["update_s"],
                        1.0, detail=f"{adamw['mparam_per_s']:.0f} Mparam/s, with clipping"
                        f" {adamw['fused_s'] / adamw['clipping_s']:.2f}"))
        rows.append(Row(12, "AdamW, rate over a for-loop", adamw["loop_s"] / adamw["update_s"],
                        4.0))
    return rows


def one(measured: dict):
    return next(iter(measured.values()))


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
