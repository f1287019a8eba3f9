#!/usr/bin/env python3
"""Compares token ids with the tokenizers package for every family of
pre-tokenizer, on text of eight scripts and source code.

    tokenizer_families.py --tool build/release/tests/tokenize_documents
                          [--bytes 10000000] [--vocabulary 16000] [--packages FOLDER]

For each family a vocabulary is trained with the tokenizers package and its
published pattern on a part of the text, then all of the text is encoded by both.
Exit code 0 when all ids are equal, 1 when not, 2 when the tool could not be run.
FOLDER is what fetch_texts.sh fills; without it, those scripts are made up.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import texts

CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def families():
    """Name, model, pre-tokenizer."""
    byte_level = pre_tokenizers.ByteLevel
    sequence = pre_tokenizers.Sequence

    def split(behavior, invert):
        return pre_tokenizers.Split(Regex(CL100K), behavior, invert)

    yield "gpt2", models.BPE(), byte_level(add_prefix_space=False, use_regex=True)
    yield "llama3", models.BPE(ignore_merges=True), sequence(
        [split("isolated", False), byte_level(add_prefix_space=False, use_regex=False)])
    yield "dolma2", models.BPE(), sequence(
        [split("removed", True), byte_level(add_prefix_space=False, use_regex=False)])
    yield "smollm", models.BPE(), sequence(
        [pre_tokenizers.Digits(individual_digits=True),
         byte_level(add_prefix_space=False, use_regex=True)])


def train(model, pre_tokenizer, documents, vocabulary) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(documents, trainers.BpeTrainer(
        vocab_size=vocabulary, show_progress=False, special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tool", type=pathlib.Path, required=True)
    parser.add_argument("--bytes", type=int, default=10_000_000)
    parser.add_argument("--vocabulary", type=int, default=16_000)
    parser.add_argument("--packages", type=pathlib.Path)
    arguments = parser.parse_args()

    by_kind = texts.all_documents(arguments.bytes, arguments.packages)
    documents = [document for kind in by_kind.values() for document in kind]
    sizes = {kind: sum(len(document.encode()) for document in part)
             for kind, part in by_kind.items()}
    print(f"{len(documents)} documents, {sum(sizes.values())} bytes: "
          + ", ".join(f"{kind} {size}" for kind, size in sizes.items()))
    lines = "".join(json.dumps(document) + "\n" for document in documents)
    failed = False
    for name, model, pre_tokenizer in families():
        reference = train(model, pre_tokenizer, documents[::4], arguments.vocabulary)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "tokenizer.json"
            reference.save(str(path))
            try:
                ours = subprocess.run([str(arguments.tool), str(path)], input=lines, text=True,
                                      capture_output=True, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"{arguments.tool}: {error} {getattr(error, 'stderr', '')}", file=sys.stderr)
                return 2
        got = ours.stdout.splitlines()
        begin = time.perf_counter()
        wanted = [encoding.ids for encoding in
                  reference.encode_batch(documents, add_special_tokens=False)]
        seconds = time.perf_counter() - begin
        wrong = [index for index, ids in enumerate(wanted) if json.loads(got[index]) != ids]
        for index in wrong[:3]:
            print(f"{name}: document {index} {json.dumps(documents[index][:200])}\n"
                  f"  got    {got[index][:300]}\n  wanted {wanted[index][:40]}", file=sys.stderr)
        print(f"{name}: {sum(map(len, wanted))} tokens, {len(wrong)} of {len(documents)} documents"
              f" differ; ours {json.loads(ours.stderr)['seconds'][0]:.2f} s on one thread,"
              f" tokenizers {seconds:.2f} s on all")
        failed = failed or bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
