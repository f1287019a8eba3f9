#!/usr/bin/env python3
"""Attempts against a real coordinator; every one must be refused, and honest
calls must be answered after each.

    run.py --binaries DIR [--only TEXT] [--format json]

Prints a table: the attempt, what was sent, how it was refused.
"""

import argparse
import json
import pathlib
import resource
import sys
import time
import traceback

from target import Target

import identity_attacks
import wire_attacks

ATTACKS = [*identity_attacks.ATTACKS, *wire_attacks.ATTACKS,
           *identity_attacks.LAST]


def attempt(attack, target):
    name = attack.__name__.replace("_", " ")
    started = time.monotonic()
    try:
        sent, answer = attack(target)
        target.still_serves()
        refused = True
    except Exception as problem:  # reported with its attempt
        traceback.print_exc()
        sent, answer, refused = "", f"{type(problem).__name__}: {problem}", False
    return {"attempt": name, "sent": sent, "answer": answer,
            "refused": refused,
            "seconds": round(time.monotonic() - started, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="", help="attempts with this text")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    arguments = parser.parse_args()
    # Floods need sockets on both sides.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    target = Target(arguments.binaries.resolve())
    results = []
    try:
        for attack in ATTACKS:
            if arguments.only in attack.__name__.replace("_", " "):
                results.append(attempt(attack, target))
                print(f"{'refused' if results[-1]['refused'] else 'TAKEN':8}"
                      f"{results[-1]['seconds']:5.1f} s  "
                      f"{results[-1]['attempt']}", file=sys.stderr, flush=True)
    finally:
        target.close()
    if arguments.format == "json":
        print(json.dumps(results, indent=1))
    else:
        rows = [("attempt", "sent", "refused by"),
                *((one["attempt"], one["sent"], one["answer"])
                  for one in results)]
        print("\n".join("| " + " | ".join(row) + " |" for row in rows))
    failed = [one["attempt"] for one in results if not one["refused"]]
    print(f"{len(results) - len(failed)} of {len(results)} attempts refused",
          file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
