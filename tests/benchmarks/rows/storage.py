"""The coordinator's database: calls stay as fast with 10,000 contributions."""

import json

from frame import Row

ROWS = {28, 29, 30}
CALLS = {28: "list", 29: "get", 30: "withdraw"}


def measure(context) -> list:
    program = context.binary("tributary_benchmarks_storage")
    samples = 40 if context.quick else 400
    measured = json.loads(context.run([program, context.scratch / "storage", samples]))
    rows = []
    for number in sorted(ROWS & set(context.wanted)):
        small, large = (measured[CALLS[number]][key] for key in ("small_s", "large_s"))
        rows.append(Row(number, f"{CALLS[number]}, p99 with 10,000 contributions / 100",
                        large / small, bar=1.5, better="lower",
                        detail=f"{large * 1e3:.2f} ms, {small * 1e3:.2f} ms"))
    return rows
