"""Row 13: what scores and router statistics cost, and how calibration grows."""

import math

from frame import Row

ROWS = {13}


def growth(points: list) -> float:
    """Slope of log(seconds) over log(tokens), least squares."""
    x = [math.log(tokens) for tokens, _ in points]
    y = [math.log(seconds) for _, seconds in points]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return (sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y))
            / sum((a - mean_x) ** 2 for a in x))


def measure(context) -> list:
    forward = next(iter(context.cpp("^CalibratedForward/").values())).counters
    detail = f"plain forward {1e3 * forward['plain_s']:.1f} ms, 1024 tokens, 8 layers, h 576"
    rows = [
        Row(13, "calibrated / plain forward, importance", 1 / forward["per_importance"], 1.01,
            "lower", detail),
        Row(13, "calibrated / plain forward, three formulas at once", 1 / forward["per_formulas"],
            1.03, "lower"),
        Row(13, "calibrated / plain forward, with second moments", 1 / forward["per_moments"],
            1.10, "lower")]
    # Each in a process of its own: memory that another used would hide growth.
    runs = [next(iter(context.cpp(f"^CalibrateText/{windows}/").values()))
            for windows in (16, 32, 64, 128, 256)]
    points = [(run.counters["tokens"], run.seconds) for run in runs]
    peaks = [run.counters["peak_bytes"] for run in runs]
    rows += [
        Row(13, "calibration: exponent of time in tokens", growth(points), 1.05, "lower",
            ", ".join(f"{tokens:.0f}: {seconds:.2f} s" for tokens, seconds in points)),
        Row(13, "calibration: peak memory, 65,536 tokens / 4,096", peaks[-1] / peaks[0], 1.10,
            "lower", f"{peaks[-1] / 2**20:.0f} and {peaks[0] / 2**20:.0f} MiB")]
    return rows
