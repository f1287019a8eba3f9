"""Uploads: against raw loopback, after kill -9; hashing."""

import json
import re
import statistics
import subprocess

from frame import Row, median_ratio

ROWS = {18, 19, 21, 22}
TMPFS = "/dev/shm"


def tool(context, *arguments) -> dict:
    output = context.run([context.binary("tributary_benchmarks_upload"), *arguments],
                         TMPDIR=TMPFS)
    return json.loads(output.strip().splitlines()[-1])


def rate(seconds: list, size: int) -> float:
    return size / statistics.median(seconds) / 1e6


def speed(context) -> list:
    size = 64 if context.quick else 512
    found = tool(context, "speed", str(context.rounds), str(size))
    rates = {name: rate(found[name], found["bytes"])
             for name in ("raw_tls", "ours_tls", "raw_tcp", "ours_tcp")}
    return [
        Row(18, "upload, TLS + digest + durable, over raw TLS loopback",
            median_ratio(found["raw_tls"], found["ours_tls"]), bar=0.72,
            detail=f"{rates['ours_tls']:.0f} of {rates['raw_tls']:.0f} MB/s"),
        Row(19, "the same without TLS over raw TCP loopback",
            median_ratio(found["raw_tcp"], found["ours_tcp"]), bar=0.5,
            detail=f"{rates['ours_tcp']:.0f} of {rates['raw_tcp']:.0f} MB/s")]


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
    """Bytes a second of one core, the 1 MiB column of `openssl speed`."""
    result = subprocess.run(["openssl", "speed", "-seconds", "1", "-bytes", "1048576", "-evp",
                             "sha256"], capture_output=True, text=True, check=True)
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
    if 21 in context.wanted:
        rows += resume(context)
    if 22 in context.wanted:
        rows += hashing(context)
    return rows
