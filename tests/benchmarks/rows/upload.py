"""Uploads: against raw loopback and Flower, after kill -9; hashing."""

import json
import re
import statistics
import subprocess

from frame import Row, median_ratio

ROWS = {18, 19, 20, 21, 22}
TMPFS = "/dev/shm"
PEER = ["flwr==1.41.0"]


def tool(context, *arguments) -> dict:
    output = context.run([context.binary("tributary_benchmarks_upload"), *arguments],
                         TMPDIR=TMPFS)
    return json.loads(output.strip().splitlines()[-1])


def rate(seconds: list, size: int) -> float:
    return size / statistics.median(seconds) / 1e6


def speed(context) -> list:
    size = 64 if context.quick else 512
    found = tool(context, "speed", str(context.rounds), str(size))
    rows = []
    for number, name, kind, bar in (
            (18, "upload, TLS + digest + durable, over raw TLS loopback", "tls", 0.72),
            (19, "the same without TLS over raw TCP loopback", "tcp", 0.5)):
        raw, bare, ours = (found[f"{who}_{kind}"] for who in ("raw", "bare", "ours"))
        spent = statistics.median(found[f"ours_{kind}_cpu"]) / found["bytes"] * 1e9
        rows.append(Row(number, name, median_ratio(raw, ours), bar=bar, detail=(
            f"{rate(ours, found['bytes']):.0f} of {rate(raw, found['bytes']):.0f} MB/s;"
            f" the same work without gRPC reaches {median_ratio(raw, bare):.2f};"
            f" {spent:.1f} s of processor a GB")))
    return rows


def against_flower(context) -> list:
    size, rounds = ("64", "1") if context.quick else ("512", "3")
    python = context.environment_with("flower", PEER)
    ours = tool(context, "push", str(context.rounds), size)
    here = rate(ours["ours_tls"], ours["bytes"])
    rows = []
    for mode, what in (("whole", "ClientApp to SuperLink"), ("hop", "its last hop alone")):
        theirs = context.python("peers/flower.py", mode, rounds, size, interpreter=python,
                                TMPDIR=TMPFS)
        there = rate(theirs["seconds"], theirs["bytes"])
        rows.append(Row(20, f"upload with TLS over Flower's without, {size} MiB, {what}",
                        here / there, bar=10, detail=f"{here:.0f} MB/s, {there:.0f} MB/s"))
    return rows


def resume(context) -> list:
    size = 128 if context.quick else 512
    found = tool(context, "resume", "4" if context.quick else "10", str(size))
    runs = found["runs"]
    allowed = found["chunk"] + found["sync_interval"]
    worst = max(run["sent_again"] for run in runs)
    first, last = runs[0], runs[-1]
    return [
        Row(21, "sent again after kill -9 / (chunk + sync interval)", worst / allowed, bar=1,
            better="lower", detail=f"worst {worst / 2**20:.1f} MiB of {len(runs)} kills"),
        Row(21, "cost of resuming late over early in a file",
            last["handshake_s"] / first["handshake_s"], bar=1.5, better="lower",
            detail=f"{last['handshake_s'] * 1e3:.1f} ms at {last['committed'] / 2**20:.0f} MiB,"
                   f" {first['handshake_s'] * 1e3:.1f} ms at {first['committed'] / 2**20:.0f} MiB")]


def openssl_rate() -> float:
    """Bytes a second of one core, wall time as ours, blocks of 1 MiB."""
    result = subprocess.run(["openssl", "speed", "-elapsed", "-seconds", "1", "-bytes", "1048576",
                             "-evp", "sha256"], capture_output=True, text=True, check=True)
    return float(re.search(r"^sha256\s+([\d.]+)k", result.stdout, re.M | re.I).group(1)) * 1e3


def hashing(context) -> list:
    ratios, detail = [], ""
    for _ in range(context.rounds):
        single = openssl_rate()
        found = tool(context, "hash", "1")
        together = found["cores"] * found["bytes"] / found["all_cores"][0]
        ratios.append(together / (found["cores"] * single))
        detail = f"{together / 1e6:.0f} MB/s on {found['cores']} cores, openssl {single / 1e6:.0f}"
    return [Row(22, "hashing on all cores / (cores x openssl speed)", statistics.median(ratios),
                bar=0.95, detail=detail)]


def measure(context) -> list:
    rows = []
    if context.wanted & {18, 19}:
        rows += speed(context)
    if 20 in context.wanted:
        rows += against_flower(context)
    if 21 in context.wanted:
        rows += resume(context)
    if 22 in context.wanted:
        rows += hashing(context)
    return rows
