#!/usr/bin/env python3
"""Compares `model tokenize` with the tokenizers package, line by line.

    tokenizer_conformance.py --binary tributary-coordinator --model DIR [--text FILE ...]

The text is at least a million bytes: Python's own library, the test fixtures,
any files given, and lines made from all of Unicode with a fixed seed. Exit
code 0 when every line agrees, 1 when one does not (the first few are printed),
2 when the program could not be run.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import sysconfig
import unicodedata

import tokenizers

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures"
LIBRARY_BYTES, SYNTHETIC_BYTES, LEAST_BYTES = 700_000, 500_000, 1_000_000
SHOWN = 10


def split_lines(text: str) -> list:
    """Lines as a reader of standard input sees them: only a line feed ends one.
    A carriage return at the end is left out, for it may belong to the ending."""
    return [line.rstrip("\r") for line in text.split("\n")]


def library_lines() -> list:
    """Python's own sources, every fifth module, so that all kinds occur."""
    folder = pathlib.Path(sysconfig.get_path("stdlib"))
    lines, size = [], 0
    for path in sorted(folder.glob("*.py"))[::5] + sorted(folder.glob("*/*.py"))[::5]:
        if "site-packages" in path.parts or "test" in path.parts:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        lines += split_lines(text)
        size += len(text.encode())
        if size >= LIBRARY_BYTES:
            break
    return lines


def fixture_lines() -> list:
    lines = []
    for path in sorted(FIXTURES.glob("text/*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line:
                lines += split_lines(json.loads(line)["text"])
    reference = FIXTURES / "reference/tokens.jsonl"
    for line in reference.read_text(encoding="utf-8").split("\n"):
        if line:
            lines += split_lines(json.loads(line)["text"])
    return lines


def synthetic_lines(tokenizer: tokenizers.Tokenizer) -> list:
    """Mixtures of characters of every category, blanks, digits, contractions
    and special tokens. Assigned characters only: what an unassigned one is
    differs between versions of Unicode."""
    groups = {}
    for code in range(0x110000):
        character = chr(code)
        category = unicodedata.category(character)
        if category not in ("Cn", "Cs") and character not in "\n\r":
            groups.setdefault(category, []).append(character)
    chance = random.Random(20240229)
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    fixed = [" ", "  ", "\t", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'", "n't", "12", "0",
             "the", " the", "...", " \t ", "\u00a0", "\u3000"] + special
    categories = sorted(groups)
    lines, size = [], 0
    while size < SYNTHETIC_BYTES:
        pieces = []
        for _ in range(chance.randrange(1, 25)):
            if chance.random() < 0.4:
                pieces.append(chance.choice(fixed))
            else:
                group = groups[chance.choice(categories)]
                pieces.append("".join(chance.choices(group, k=chance.randrange(1, 5))))
        line = "".join(pieces)
        lines.append(line)
        size += len(line.encode()) + 1
    return lines


def run_tokenizer(binary: pathlib.Path, model: pathlib.Path, lines: list) -> list:
    """Ids of each line as the program gives them; raises RuntimeError."""
    command = [str(binary), "model", "tokenize", "--model", str(model)]
    text = "".join(line + "\n" for line in lines).encode()
    try:
        result = subprocess.run(command, input=text, capture_output=True, check=False)
    except OSError as error:
        raise RuntimeError(f"{binary}: could not be started ({error})") from error
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {result.returncode}, wanted 0\n"
                           + result.stderr.decode(errors="replace")[-2000:])
    rows = result.stdout.decode().split("\n")
    if rows and rows[-1] == "":
        rows.pop()
    if len(rows) != len(lines):
        raise RuntimeError(f"{' '.join(command)}: got {len(rows)} lines, wanted {len(lines)}")
    return [json.loads(row) for row in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True,
                        help="tributary-coordinator or tributary-contributor")
    parser.add_argument("--model", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--text", type=pathlib.Path, nargs="*", default=[], metavar="FILE",
                        help="more UTF-8 text to compare on")
    arguments = parser.parse_args()

    tokenizer = tokenizers.Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    lines = library_lines() + fixture_lines() + synthetic_lines(tokenizer)
    for path in arguments.text:
        lines += split_lines(path.read_text(encoding="utf-8"))
    size = sum(len(line.encode()) + 1 for line in lines)
    if size < LEAST_BYTES:
        print(f"got {size} bytes of text, wanted {LEAST_BYTES}", file=sys.stderr)
        return 2
    try:
        got = run_tokenizer(arguments.binary, arguments.model, lines)
    except (RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    wanted = [encoding.ids for encoding in
              tokenizer.encode_batch(lines, add_special_tokens=False)]
    wrong = [index for index in range(len(lines)) if got[index] != wanted[index]]
    for index in wrong[:SHOWN]:
        print(f"line {index} {json.dumps(lines[index])}\n  got    {got[index]}\n"
              f"  wanted {wanted[index]}", file=sys.stderr)
    print(f"{len(lines)} lines, {size} bytes, {sum(map(len, wanted))} tokens:"
          f" {len(wrong)} lines differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
