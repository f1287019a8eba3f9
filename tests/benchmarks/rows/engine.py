"""Rows 1-6, 11, 25: the forward pass of mixtures, and losses at the head."""

import statistics

from frame import MeasurementError, Row, median_ratio

ROWS = {1, 2, 3, 4, 5, 6, 11, 25}
BACKENDS = ("eager", "grouped_mm")
# Two correct fp32 computations of the peer's model differ by less.
LOGITS_TOLERANCE = 1e-3


def one(results: dict):
    return next(iter(results.values()))


def layer_rows(context) -> list:
    c = one(context.cpp("^ExpertLayer/")).counters
    limit = c["sgemm_flops"] / c["sgemm_s"]
    rate = {kind: c[f"{kind}_flops"] / c[f"{kind}_s"] for kind in ("ragged", "even", "padded")}
    # per_x: the median over rounds of ragged / x in the same round.
    flops = {kind: c["ragged_flops"] / c[f"{kind}_flops"] for kind in ("even", "padded", "sgemm")}
    detail = (f"{rate['ragged'] / 1e9:.0f} GFLOP/s; its bare products"
              f" {c['ragged_flops'] / c['ragged_products_s'] / 1e9:.0f}, 2048^3"
              f" {limit / 1e9:.0f}; uniform {rate['padded'] / 1e9:.0f}")
    return [
        Row(1, "ragged expert layer over SGEMM of its shapes", 1 / c["per_ragged_products"], 0.90,
            detail=detail),
        Row(1, "ragged expert layer over SGEMM 2048^3", flops["sgemm"] / c["per_sgemm"], 0.90),
        Row(2, "raggedness: ragged / uniform at equal FLOPs", c["per_even"] / flops["even"], 1.03,
            "lower"),
        Row(3, "width saving realised", c["per_padded"] / flops["padded"], 1.05, "lower",
            f"time {c['per_padded']:.3f} of padded, FLOPs {flops['padded']:.3f}")]


def model_rows(context) -> list:
    folder = context.scratch / "mixture"
    folder.mkdir(exist_ok=True)
    rows = []
    with context.server("peers/mixture.py", folder) as peer:
        def ours(pattern, case, dtype):
            def run():
                measured = one(context.cpp(pattern, BENCHMARK_MODEL=str(folder / case)))
                difference = measured.counters.get("difference", 0)
                if not difference < LOGITS_TOLERANCE and dtype == "float32":
                    raise MeasurementError(f"{case}: logits differ by {difference} from the peer's")
                return measured
            return run

        def theirs(case, part="model", dtype="float32"):
            return [lambda backend=backend: peer.ask(case=case, dtype=dtype, backend=backend,
                                                     part=part)["seconds"]
                    for backend in BACKENDS]

        def compare(number, name, pattern, case, bar, part="model", dtype="float32"):
            runs, *peers = context.alternate(ours(pattern, case, dtype), *theirs(case, part, dtype))
            seconds = [run.seconds for run in runs]
            best = min(peers, key=statistics.median)
            detail = f"ours {statistics.median(seconds):.3g} s; " + ", ".join(
                f"{backend} {statistics.median(values):.3g} s"
                for backend, values in zip(BACKENDS, peers))
            rows.append(Row(number, name, median_ratio(best, seconds), bar, detail=detail))

        if 4 in context.wanted:
            compare(4, "whole model, uniform: transformers / ours", "^Model/0/", "uniform", 1.15)
        if 5 in context.wanted:
            compare(5, "whole model, ragged: transformers padded / ours", "^Model/0/", "ragged", 1.6)
            compare(5, "experts alone, ragged: transformers padded / ours", "^Experts/", "ragged",
                    1.8, part="experts")
        if 6 in context.wanted:
            compare(6, "bf16-stored, fp32 products: transformers bf16 / ours", "^Model/1/",
                    "uniform", 1.7, dtype="bfloat16")
            compare(6, "bf16-stored, bf16 products: transformers bf16 / ours", "^Model/2/",
                    "uniform", 1.7, dtype="bfloat16")
            storage = one(context.cpp("^ModelStorage/",
                                      BENCHMARK_MODEL=str(folder / "uniform"))).counters
            rows.append(Row(6, "bf16-stored / fp32-stored, ours", storage["per_fp32"], 1.05, "lower",
                            f"weights {storage['bf16_bytes'] / 2**20:.0f} of"
                            f" {storage['fp32_bytes'] / 2**20:.0f} MiB, all warm buffers"
                            f" {storage['buffer_bytes'] / 2**20:.0f} MiB"))
    return rows


def head_rows(context) -> list:
    rows = []
    cases = (("text loss", 0, 32768), ("KL with tail", 1, 32768), ("renormalised KL", 2, 32768),
             ("KL with tail", 1, 8192))
    # Each in a process of its own: memory that another used would hide growth.
    for name, form, vocabulary in cases:
        c = one(context.cpp(f"^Head/{form}/{vocabulary}/")).counters
        rows += [
            Row(11, f"{name}, V {vocabulary}: time / two head products", c["per_products"],
                1.20, "lower"),
            Row(11, f"{name}, V {vocabulary}: extra memory / fp32 logits",
                c["extra_bytes"] / c["logits_bytes"], 1 / 16, "lower",
                f"{c['extra_bytes'] / 2**20:.1f} MiB, h 512, 4096 positions")]
    return rows


def router_rows(context) -> list:
    rows = []
    for experts, bar in ((64, 1.5), (512, 1.15)):
        c = one(context.cpp(f"^Router/{experts}/")).counters
        ideal = c["product_flops"] / (c["sgemm_flops"] / c["sgemm_s"])
        rows.append(Row(25, f"router, {experts} experts: time / its FLOPs at SGEMM's rate",
                        c["router_s"] / ideal, bar, "lower",
                        f"{c['router_s'] * 1e3:.2f} ms; its bare product"
                        f" {c['product_s'] * 1e3:.2f} ms"))
    return rows


def measure(context) -> list:
    rows = []
    if context.wanted & {1, 2, 3}:
        rows += layer_rows(context)
    if context.wanted & {4, 5, 6}:
        rows += model_rows(context)
    if 11 in context.wanted:
        rows += head_rows(context)
    if 25 in context.wanted:
        rows += router_rows(context)
    return rows
