#!/usr/bin/env python3
"""A multiple-choice task for lm_eval from plain text.

    make_task.py --text NAME=FILE.jsonl ... --output DIR [--questions N]

Each question is the beginning of a passage; the choices are how it goes on and how three
other passages of the same text go on at the same place. No knowledge of facts is asked
for: a model that knows how such text goes on scores well. Writes one task a text
(heldout_NAME) with its data, for `lm_eval --include_path DIR`. FILE has one document a
line, {"text": ...}. The same files and arguments give the same task.
"""

import argparse
import json
import pathlib
import random
import sys

CHOICES = 4
TASK = """task: heldout_{name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{query}}}}"
doc_to_choice: choices
doc_to_target: gold
target_delimiter: ""
metric_list:
  - metric: acc
  - metric: acc_norm
metadata:
  version: 1
"""


def passages(path, context, answer):
    """(beginning, continuation) pairs that do not overlap."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        words = json.loads(line)["text"].split(" ")
        size = context + answer
        for start in range(0, len(words) - size + 1, size):
            begin = " ".join(words[start:start + context])
            rest = " " + " ".join(words[start + context:start + size])
            if begin.strip() and rest.strip():
                found.append((begin, rest))
    return found


def questions(path, options):
    found = passages(path, options.context_words, options.answer_words)
    if len(found) < CHOICES:
        sys.exit(f"make_task.py: {path} has {len(found)} passages, wanted {CHOICES} or more")
    chance = random.Random(7)
    chance.shuffle(found)
    made = []
    for i, (begin, rest) in enumerate(found[:options.questions]):
        others = [r for j, (_, r) in enumerate(found) if j != i and r != rest]
        choices = chance.sample(others, CHOICES - 1)
        gold = chance.randrange(CHOICES)
        choices.insert(gold, rest)
        made.append({"query": begin, "choices": choices, "gold": gold})
    return made


def write_task(name, path, options):
    output = options.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    data = output / f"{name}.jsonl"
    made = questions(path, options)
    data.write_text("".join(json.dumps(q, ensure_ascii=False) + "\n" for q in made),
                    encoding="utf-8")
    (output / f"heldout_{name}.yaml").write_text(TASK.format(name=name, data=data))
    print(f"heldout_{name}: {len(made)} questions")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--text", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--context-words", type=int, default=32)
    parser.add_argument("--answer-words", type=int, default=10)
    options = parser.parse_args()
    for text in options.text:
        name, _, path = text.partition("=")
        write_task(name, pathlib.Path(path), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
