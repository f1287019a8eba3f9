"""The coordinator: its database and its calls stay as fast with 10,000 contributions."""

import json

from frame import Row

ROWS = {28, 29, 30, 31}
CALLS = {28: "list", 29: "get", 30: "withdraw"}
TMPFS = "/dev/shm"


def flat(number, name, small, large):
    return Row(number, f"{name}, p99 with 10,000 contributions / 100", large / small, bar=1.5,
               better="lower", detail=f"{large * 1e3:.2f} ms, {small * 1e3:.2f} ms")


def in_database(context) -> list:
    program = context.binary("tributary_benchmarks_storage")
    samples = 40 if context.quick else 400
    measured = json.loads(context.run([program, context.scratch / "storage", samples]))
    return [flat(number, CALLS[number], *(measured[CALLS[number]][key]
                                          for key in ("small_s", "large_s")))
            for number in sorted(set(CALLS) & set(context.wanted))]


def over_tls(context) -> list:
    program = context.binary("tributary_benchmarks_upload")
    output = context.run([program, "calls", 40 if context.quick else 1000], TMPDIR=TMPFS)
    measured = json.loads(output.strip().splitlines()[-1])
    return [flat(31, f"{name} over mutual TLS", *(sizes[size]["p99_s"]
                                                  for size in ("100", "10000")))
            for name, sizes in measured.items()]


def measure(context) -> list:
    rows = []
    if set(CALLS) & set(context.wanted):
        rows += in_database(context)
    if 31 in context.wanted:
        rows += over_tls(context)
    return rows
