#!/usr/bin/env python3
"""Writes unicode_ranges.inc: the classes of all code points, asked from the
`tokenizers` package itself so that both sides cut text at the same places.

Usage: generate_unicode_ranges.py > unicode_ranges.inc
"""
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

LETTER, NUMBER, SPACE, NUMERIC, WORD = 1, 2, 4, 8, 16
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def members_of(pre_tokenizer):
    """The code points that a splitter which removes its matches removes."""
    members = set(CODES)
    for i in range(0, len(CODES), 4096):
        block = CODES[i:i + 4096]
        text = "".join(map(chr, block))
        for _, (begin, end) in pre_tokenizer.pre_tokenize_str(text):
            members.difference_update(block[begin:end])
    return members


def regex(pattern):
    return members_of(pre_tokenizers.Split(Regex(pattern), "removed"))


def numeric():
    """What the Digits splitter isolates, one code point at a time."""
    split = pre_tokenizers.Digits(individual_digits=True)
    members = set()
    for i in range(0, len(CODES), 4096):
        block = CODES[i:i + 4096]
        # A letter between any two code points: pieces of length 1 then are
        # digits, all others hold the letter.
        text = "".join("a" + chr(c) for c in block) + "a"
        for piece, _ in split.pre_tokenize_str(text):
            if len(piece) == 1 and piece != "a":
                members.add(ord(piece))
    return members


def word():
    """What keeps a token that must be a word of its own from matching."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_tokens([AddedToken("#", single_word=True)])
    members = set()
    for c in CODES:
        if chr(c) != "#" and not tokenizer.encode(chr(c) + "#").ids:
            members.add(c)
    return members


def main():
    classes = [
        (LETTER, regex(r"\p{L}")),
        (NUMBER, regex(r"\p{N}")),
        (SPACE, regex(r"\s")),
        (NUMERIC, numeric()),
        (WORD, word()),
    ]
    flags = [0] * 0x110001
    for flag, members in classes:
        for c in members:
            flags[c] |= flag
    entries = []
    previous = None
    for c in range(0x110000):
        if flags[c] != previous:
            previous = flags[c]
            entries.append("{0x%x,%d}," % (c, previous))
    print("// Made by generate_unicode_ranges.py with tokenizers "
          + tokenizers.__version__ + ".")
    print("// {first code point, classes}: valid up to the next entry.")
    line = ""
    for entry in entries:
        if len(line) + len(entry) > 80:
            print(line)
            line = ""
        line += entry
    print(line)


if __name__ == "__main__":
    main()
