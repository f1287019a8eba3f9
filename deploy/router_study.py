#!/usr/bin/env python3
"""Compares routers of merged models on a federation of nine real domains.

    deploy/router_study.py --anchor DIR --directory DIR [--bin DIR] [--seconds N]
                           [--threads N] [--parts main,doubles,rows,...]

Owners of German, French, Italian and Git's manual pages, formal mathematics, ICD-10-CM, and
Python, Scheme and Perl programs make experts of width 256 in layers 20 to 29 of SmolLM2-135M;
their merges are measured on everybody's held-out text; the part "many" has 32 owners of 21
domains. Prints a table: the share of its own expert's gain that every domain keeps, in
percent. DIR/report has the same as Markdown, JSON and a picture. Everything is computed by
the product's two workers; what is there already is used again, so that the command can be
stopped at any time and go on. With --seconds it stops by itself behind that time, with exit
code 75 when there is more to do.
"""

import argparse
import pathlib
import sys

from router_study import cells as parts
from router_study import federation, report, texts
from router_study.worker import OutOfTime, WorkerError, Workers

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARTS = ("main", "ridge", "tuned", "doubles", "rows", "trained", "bias", "seed2",
         "own", "larger", "many")


def study(workers: Workers, options, found: report.Report, more: dict) -> None:
    corpora = options.directory / "texts"
    texts.make(corpora, options.anchor / "tokenizer.json", [1, 2], 32, 16)
    anchor = federation.Anchor(workers, options.anchor, corpora / "public")
    cells = parts.Cells(workers, anchor, corpora)
    experts, losses = parts.main_line(cells)
    own = parts.own(experts)
    more["anchor_public"] = cells.anchor_public()
    found.add(losses, own)
    if "ridge" in options.parts:
        found.add(parts.ridge(cells, experts), own)
    if "tuned" in options.parts:
        losses, more["tuning"] = parts.tuned(cells, experts, epochs=1, windows_per_domain=4)
        found.add(losses, own)
    if "bias" in options.parts:
        biased, losses = parts.with_bias(cells)
        found.add(losses, parts.own(biased))
    if {"doubles", "many"} & set(options.parts):
        doubled, losses = parts.doubles(cells, experts)
        found.add(losses, parts.own(doubled))
    if "rows" in options.parts:
        found.add(parts.rows_of_others(cells, anchor, experts), own)
    if "larger" in options.parts:
        found.add(parts.larger_background(cells, anchor, experts), own)
    if "trained" in options.parts:
        trained, losses = parts.trained_rows(cells)
        found.add(losses, own)
        more["trained_own"] = parts.own(trained)
    if {"seed2", "many"} & set(options.parts):
        others, losses = parts.another_seed(cells)
        found.add(losses, parts.own(others))
    if "own" in options.parts:
        for refitted, losses in parts.own_rows(cells, experts):
            found.add(losses, parts.own(refitted))
    if "many" in options.parts:
        texts.make_more(corpora, options.anchor / "tokenizer.json", 32, 16)
        crowd, windows, losses = parts.many(cells, doubled, others)
        found.add(losses, parts.own(crowd, windows), windows)
        found.add(parts.many_wider(cells, anchor, crowd, windows, corpora / "wider"),
                  parts.own(crowd, windows), windows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--anchor", type=pathlib.Path, required=True, metavar="DIR",
                        help="SmolLM2-135M-Instruct as quickstart_anchor.py writes it")
    parser.add_argument("--directory", type=pathlib.Path, required=True, metavar="DIR",
                        help="where everything lies")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin",
                        metavar="DIR", help="the product's executables")
    parser.add_argument("--seconds", type=float, default=0, help="stop behind this time")
    parser.add_argument("--threads", type=int, default=0, help="of every job; 0: all cores")
    parser.add_argument("--parts", default=",".join(PARTS), help="of " + ", ".join(PARTS))
    options = parser.parse_args()
    options.anchor, options.directory = options.anchor.absolute(), options.directory.absolute()
    options.parts = options.parts.split(",")
    workers = Workers(options.bin.absolute(), options.directory / "jobs", options.seconds,
                      options.threads)
    found, more, code = report.Report(), {}, 0
    try:
        study(workers, options, found, more)
    except OutOfTime as stopped:
        print(f"router_study.py: out of time before {stopped}; run it again", flush=True)
        code = 75
    except WorkerError as error:
        print(f"router_study.py: {error}", file=sys.stderr)
        return 1
    if found.rows:
        names = [*texts.DOMAINS, *texts.DOUBLES]
        print(found.write(options.directory / "report", names, more["anchor_public"], more))
    return code


if __name__ == "__main__":
    sys.exit(main())
