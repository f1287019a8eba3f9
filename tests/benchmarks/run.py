#!/usr/bin/env python3
"""Measures the rows of the benchmark table and prints it.

    run.py [--rows 1-13,23] [--format text|json] [--output FILE] [--quick]

Every row is a ratio of two times (or sizes) taken in one run on this machine. The
topics in rows/ measure; README.md tells how to add one. Exit code 0 when everything
asked for was measured, met or not, 1 when a topic failed, 2 for wrong arguments.
"""

import argparse
import importlib
import json
import os
import pathlib
import platform
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import frame  # noqa: E402


def parse_rows(text: str) -> set:
    """"1-3,7" to {1, 2, 3, 7}; ValueError otherwise."""
    rows = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        rows.update(range(int(first), int(last or first) + 1))
    return rows


def topics() -> list:
    names = sorted(path.stem for path in (frame.BENCHMARKS / "rows").glob("*.py")
                   if path.stem != "__init__")
    return [(name, importlib.import_module(f"rows.{name}")) for name in names]


def machine_facts(context: frame.Context) -> dict:
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((line.split(":", 1)[1].strip() for line in cpu.splitlines()
                  if line.startswith("model name")), platform.machine())
    flags = next((line for line in cpu.splitlines() if line.startswith("flags")), "").split()
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "sha_ni", "vaes")
    memory = pathlib.Path("/proc/meminfo").read_text().split()[1]
    commit = subprocess.run(["git", "-C", frame.REPOSITORY, "rev-parse", "--short", "HEAD"],
                            capture_output=True, text=True, check=False).stdout.strip()
    facts = {"cpu": model, "cores": os.cpu_count(), "threads": context.threads,
             "instructions": [flag for flag in wanted if flag in flags],
             "memory_gib": round(int(memory) / 2**20, 1), "commit": commit,
             "load_before": round(os.getloadavg()[0], 2)}
    try:
        sgemm = context.cpp("^Sgemm/2048/2048/2048", repetitions=3)
        facts["sgemm_gflops"] = round(
            next(iter(sgemm.values())).counters["flops"] / 1e9, 1)
    except frame.MeasurementError:
        facts["sgemm_gflops"] = None
    return facts


def as_text(facts: dict, rows: list, failures: list) -> str:
    lines = ["machine: " + ", ".join(
        f"{key} {' '.join(value) if isinstance(value, list) else value}"
        for key, value in facts.items()), ""]
    table = [("row", "what", "bar", "measured", "", "detail")]
    for row in rows:
        sign = "≥" if row.better == "higher" else "≤"
        table.append((str(row.number), row.name, f"{sign} {row.bar:g}", f"{row.value:.3g}",
                      "met" if row.met() else "missed", row.detail))
    widths = [max(len(line[i]) for line in table) for i in range(5)]
    for index, line in enumerate(table):
        lines.append("  ".join([cell.ljust(width) for cell, width in zip(line, widths)]
                               + [line[5]]).rstrip())
        if index == 0:
            lines.append("  ".join("-" * width for width in widths))
    for topic, message in failures:
        lines += ["", f"{topic}: {message}"]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=parse_rows, metavar="1-13,23", help="default: all")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--output", type=pathlib.Path, help="default: standard output")
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it works")
    parser.add_argument("--build", type=pathlib.Path, default=frame.REPOSITORY / "build/release")
    parser.add_argument("--front-build", type=pathlib.Path,
                        default=frame.REPOSITORY / "build/front",
                        help="where programs are looked for that --build lacks")
    parser.add_argument("--venv", type=pathlib.Path, default=frame.REPOSITORY / ".venv")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    python = arguments.venv / "bin/python"
    if python.exists() and pathlib.Path(sys.prefix).resolve() != arguments.venv.resolve():
        os.execv(python, [str(python), *sys.argv])  # topics import what peers need

    context = frame.Context(arguments.build, arguments.front_build, arguments.venv,
                            arguments.threads, arguments.quick)
    rows, failures = [], []
    try:
        facts = machine_facts(context)
        for name, topic in topics():
            wanted = set(topic.ROWS) if arguments.rows is None else arguments.rows & set(topic.ROWS)
            if not wanted:
                continue
            context.wanted = wanted
            print(f"measuring {name}: rows {sorted(wanted)}", file=sys.stderr, flush=True)
            try:
                rows += [row for row in topic.measure(context) if row.number in wanted]
            except frame.MeasurementError as error:
                failures.append((name, str(error)))
    finally:
        context.close()
    rows.sort(key=lambda row: row.number)
    if arguments.format == "json":
        text = json.dumps({"machine": facts, "rows": [
            {**vars(row), "met": row.met()} for row in rows], "failures": failures}, indent=1) + "\n"
    else:
        text = as_text(facts, rows, failures)
    if arguments.output:
        arguments.output.write_text(text)
    else:
        sys.stdout.write(text)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
