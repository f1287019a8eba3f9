#!/usr/bin/env python3
"""Tokens a second of `model serve` for requests one after the other and together.

    speed.py --binary tributary-coordinator --model DIR [--tokens N] [--json FILE]

The same 16 prompts are continued by N tokens each: one at a time, 4 at a time, 16 at a time;
then 64 passages are scored one request at a time and 16 prompts a request. Each figure is the
best of --repeat runs after one that is not counted.
"""

import argparse
import concurrent.futures
import json
import pathlib
import sys
import time

from serving import Server

PROMPTS = [f"Notes of day {i}. In the morning we looked at the harbour and then" for i in range(16)]


def generate(server, prompt, tokens):
    status, answer = server.ask("/v1/completions", {
        "prompt": prompt, "max_tokens": tokens, "temperature": 0.8, "seed": 1})
    assert status == 200, answer
    return answer["usage"]["completion_tokens"]


def generation_rate(server, clients, tokens):
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        made = sum(pool.map(lambda p: generate(server, p, tokens), PROMPTS))
    return made / (time.monotonic() - begin)


def scoring_rate(server, batch):
    passages = [[100 + (7 * i + j) % 1500 for j in range(96)] for i in range(64)]
    begin = time.monotonic()
    scored = 0
    for start in range(0, len(passages), batch):
        status, answer = server.ask("/v1/completions", {
            "prompt": passages[start:start + batch], "max_tokens": 1, "temperature": 0,
            "logprobs": 1, "echo": True})
        assert status == 200, answer
        scored += answer["usage"]["prompt_tokens"]
    return scored / (time.monotonic() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--serve", action="append", default=[])
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    figures = {}
    with Server(options.binary, options.model, *options.serve) as server:
        generation_rate(server, 16, 4)
        for clients in (1, 4, 16):
            figures[f"{clients} at a time"] = max(
                generation_rate(server, clients, options.tokens) for _ in range(options.repeat))
        for batch in (1, 16):
            figures[f"scored, {batch} a request"] = max(
                scoring_rate(server, batch) for _ in range(options.repeat))
    first = figures["1 at a time"]
    for name, rate in figures.items():
        times = f"   {rate / first:.2f} times" if "at a time" in name else ""
        print(f"{name:<22}{rate:>9.1f} tokens/s{times}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
