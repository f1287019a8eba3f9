#!/usr/bin/env python3
"""Faults against phases of a contribution's life, with real processes.

    run.py --binaries DIR [--seed S] [--scenarios N] [--only TEXT] [--format json]

Every scenario starts a federation from a snapshot, lets one fault strike one
phase at a random moment, heals it, drives the phase to its end and checks the
invariants of invariants.py. The table counts passes and scenarios by fault and
phase. The same seed gives the same scenarios. --only keeps the cells whose
"fault x phase" holds the text. Needs openssl, protoc and, for full disks, the
right to mount a tmpfs.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

import faults
import faults_of_trust as trust

from invariants import check_all
from phases import PHASES
from world import World, build_snapshots

FAULTS = [faults.ContributorKilled, faults.CoordinatorKilled,
          faults.ConnectionReset, faults.HalfOpen, faults.SlowPeer,
          faults.LatencyAndLoss, faults.DiskFull, faults.QuotaHit,
          faults.FlippedInTransit, faults.FlippedAtRest,
          trust.CertificateRotated, trust.CertificateRevoked,
          faults.BackupRestored, faults.ClockSkew, trust.DuplicateRequest,
          trust.ReplayedManifest, trust.TwoWriters, faults.WorkerCrash,
          faults.WorkerHang, faults.WorkerMemory]
# Takes a minute each: a silent peer is noticed by keepalive.
SLOW = [faults.CoordinatorVanishes]
ATTEMPTS = 6
IN_NAMESPACE = "TRIBUTARY_FAULTS_NAMESPACE"


class Netem:
    """Latency and loss by the kernel, in a network namespace of our own."""

    def arm(self):
        subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", "netem",
                        "delay", "50ms", "loss", "1%"], check=True)

    def heal(self):
        subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True)


def enter_namespace():
    """Goes on in a network namespace where the kernel has netem."""
    if IN_NAMESPACE in os.environ:
        return os.environ[IN_NAMESPACE] == "1"
    up = "ip link set lo up"
    probe = subprocess.run(
        ["unshare", "-n", "sh", "-c",
         f"{up} && tc qdisc add dev lo root netem delay 1ms"],
        capture_output=True, check=False)
    if probe.returncode != 0:
        return False
    os.environ[IN_NAMESPACE] = "1"
    os.execvp("unshare", ["unshare", "-n", "sh", "-c", f'{up} && exec "$@"',
                          "sh", sys.executable, *sys.argv])


def meets(fault, phase):
    return fault.only is None or phase.name in fault.only


def plan(seed, count, slow, only):
    """(number, fault, phase) triples; every cell once before one comes again."""
    cells = [(fault, phase) for fault in FAULTS + (SLOW if slow else [])
             for phase in PHASES if meets(fault, phase)
             and only in f"{fault.name} x {phase.name}"]
    order = random.Random(seed)
    chosen = []
    while len(chosen) < count:
        order.shuffle(cells)
        chosen += cells
    return [(number, *cell) for number, cell in enumerate(chosen[:count])]


def play(world, fault, phase, snapshots_root, netem):
    phase.prepare(world)
    fault.prepare(world, phase)
    world.netem = netem
    world.serve()
    before = world.accepted()
    phase.begin(world)
    fault.arm(world, phase)
    process = phase.start(world)
    end = time.monotonic() + 15
    while (not phase.underway(world) and process.poll() is None and
           time.monotonic() < end):
        time.sleep(0.005)
    time.sleep(world.random.random() * phase.window_s)
    fault.strike(world, phase, process)
    fault.heal(world, phase, process)
    code = process.wait(90)
    if code >= 0:
        fault.judge(world, phase, code)
    codes = [code]
    while fault.must_end and not phase.done(world):
        assert len(codes) <= ATTEMPTS, f"not done, exit codes {codes}"
        codes.append(phase.drive(world))
    world.wait_idle()
    if fault.must_end:
        phase.check(world)
    fault.settle(world, phase)
    check_all(world, snapshots_root, before, phase, fault.must_end)


def run_scenario(arguments, number, fault_class, phase_class, snapshots, netem):
    fault, phase = fault_class(), phase_class()
    chance = random.Random(f"{arguments.seed}/{number}")
    started = time.monotonic()
    world = World(arguments.binaries, snapshots[phase.snapshot],
                  snapshots["root"] / f"scenario-{number}", chance)
    error = ""
    try:
        play(world, fault, phase, snapshots["root"], netem)
    except Exception as problem:  # reported with its scenario
        error = f"{type(problem).__name__}: {problem}"
        print(f"FAILED {number}: {fault.name} x {phase.name}: {error}\n"
              f"{traceback.format_exc()}{world.log()}", file=sys.stderr)
    finally:
        world.close()
    return {"scenario": number, "fault": fault.name, "phase": phase.name,
            "passed": not error, "error": error,
            "seconds": round(time.monotonic() - started, 2)}


def table(results, slow):
    """Faults down, phases across: passed/run; a dot where they cannot meet."""
    names = [phase.name for phase in PHASES]
    rows = [["fault", *names, "all"]]
    for fault in FAULTS + (SLOW if slow else []):
        mine = [one for one in results if one["fault"] == fault.name]
        row = [fault.name]
        for phase in PHASES:
            cell = [one for one in mine if one["phase"] == phase.name]
            passed = sum(one["passed"] for one in cell)
            row.append(f"{passed}/{len(cell)}" if cell else
                       "-" if meets(fault, phase) else ".")
        passed = sum(one["passed"] for one in mine)
        rows.append([*row, f"{passed}/{len(mine)}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in
                               zip(row, widths)).rstrip() for row in rows)


def can_mount(folder):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder],
                             stderr=subprocess.DEVNULL).returncode == 0
    if mounted:
        subprocess.run(["umount", folder], check=True)
    return mounted


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenarios", type=int, default=24)
    parser.add_argument("--from", type=int, default=0, dest="first",
                        help="number of the first scenario to run")
    parser.add_argument("--only", default="", help="cells with this text")
    parser.add_argument("--slow", action="store_true",
                        help="also faults that take a minute to notice")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    arguments = parser.parse_args()
    arguments.binaries = arguments.binaries.resolve()
    netem = Netem() if enter_namespace() else None
    results = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        root = pathlib.Path(folder)
        snapshots = build_snapshots(arguments.binaries, root)
        snapshots["root"] = root
        disks = root / "mount"
        disks.mkdir()
        small_disks = can_mount(disks)
        for number, fault, phase in plan(
                arguments.seed, arguments.scenarios, arguments.slow,
                arguments.only)[arguments.first:]:
            if fault is faults.DiskFull and not small_disks:
                print(f"{number}: {fault.name} needs the right to mount a tmpfs: "
                      "left out", file=sys.stderr)
                continue
            results.append(run_scenario(arguments, number, fault, phase,
                                        snapshots, netem))
            one = results[-1]
            print(f"{number:4} {'ok  ' if one['passed'] else 'FAIL'} "
                  f"{one['seconds']:5.1f} s  {one['fault']} x {one['phase']}",
                  file=sys.stderr, flush=True)
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(exist_ok=True)
    passed = sum(one["passed"] for one in results)
    if arguments.format == "json":
        print(json.dumps({"seed": arguments.seed, "results": results,
                          "passed": passed, "scenarios": len(results),
                          "netem": netem is not None}, indent=1))
    else:
        print(table(results, arguments.slow))
        print(f"{passed} of {len(results)} scenarios passed (seed "
              f"{arguments.seed}; latency and loss by "
              f"{'netem' if netem else 'the harness proxy'})")
    sys.exit(0 if passed == len(results) else 1)


if __name__ == "__main__":
    main()
