"""Documents in many scripts and source code, for comparisons of tokenizers.

Real text where it is at hand: the test fixtures, Python's own library, and the
manual pages and dictionaries of Debian packages in a folder that fetch_texts.sh
fills. The rest of each share is made of words drawn from the letters of the
script, with a fixed seed, so that every machine has the same.
"""

import gzip
import json
import pathlib
import random
import sysconfig
import unicodedata

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures"
DOCUMENT = 4000  # characters
# Letters, digits and marks of a sentence; packages of fetch_texts.sh.
SCRIPTS = {
    "latin": ([(0x61, 0x7a)] * 8 + [(0xc0, 0x17f)], "0123456789", ".,;:!?'", []),
    "cyrillic": ([(0x430, 0x44f)] * 6 + [(0x400, 0x45f)], "0123456789", ".,!«»—", ["manpages-ru"]),
    "greek": ([(0x3b1, 0x3c9), (0x391, 0x3a9), (0x1f00, 0x1f15)], "0123456789", ".,·;",
              ["manpages-el", "hunspell-el"]),
    "arabic": ([(0x621, 0x63a), (0x641, 0x652)], "٠١٢٣٤٥٦٧٨٩", "،؛؟.", ["hunspell-ar"]),
    "hebrew": ([(0x5d0, 0x5ea)] * 3 + [(0x5b0, 0x5bc)], "0123456789", ".,״׳-", ["hunspell-he"]),
    "cjk": ([(0x4e00, 0x5fff), (0x3041, 0x3096), (0x30a1, 0x30fa)], "０１２３456789", "。、！？「」",
            ["manpages-ja", "manpages-zh"]),
    "devanagari": ([(0x905, 0x939), (0x93e, 0x94d)], "०१२३४५६७८९", "।,॥?", ["hunspell-hi"]),
    "hangul": ([(0xac00, 0xd7a3)], "0123456789", ".,!?", ["hunspell-ko"]),
}


def chunks(text: str) -> list:
    return [text[at:at + DOCUMENT] for at in range(0, len(text), DOCUMENT)]


def package_documents(folder: pathlib.Path) -> list:
    """Manual pages and word lists below the unpacked package, in path order."""
    documents = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        if path.suffix == ".gz" and "man" in path.parts:
            data = gzip.decompress(path.read_bytes())
        elif path.suffix == ".dic":
            data = path.read_bytes()
        else:
            continue
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if path.suffix == ".dic":  # word/flags lines become running text
            words = [line.split("/")[0].split("\t")[0] for line in text.split("\n")]
            random.Random(1).shuffle(words)
            text = " ".join(words)
        documents += chunks(text)
    random.Random(2).shuffle(documents)
    return documents


def made_documents(script: str, size: int) -> list:
    ranges, digits, marks, _ = SCRIPTS[script]
    chance = random.Random("words of " + script)
    letters = [[chr(code) for code in range(first, last + 1)
                if unicodedata.category(chr(code))[0] in "LM"] for first, last in ranges]
    words = ["".join(chance.choice(chance.choice(letters)) for _ in range(chance.randrange(1, 11)))
             for _ in range(4000)]
    documents, made = [], 0
    while made < size:
        pieces = []
        for _ in range(chance.randrange(20, 600)):
            draw = chance.random()
            if draw < 0.06:
                pieces.append("".join(chance.choices(digits, k=chance.randrange(1, 8))))
            else:
                pieces.append(words[min(int(chance.paretovariate(0.7)) - 1, len(words) - 1)])
            if draw > 0.9:
                pieces[-1] += chance.choice(marks)
            if draw > 0.985:
                pieces.append(chance.choice(["\n", "\n\n", "\r\n", "\t", "  ", " \n  ", "'s"]))
        documents.append(" ".join(pieces))
        made += len(documents[-1].encode())
    return documents


def fixture_documents() -> list:
    documents = []
    for path in sorted(FIXTURES.glob("text/*.jsonl")):
        lines = path.read_text(encoding="utf-8").split("\n")
        documents += [json.loads(line)["text"] for line in lines if line]
    return documents


def code_documents() -> list:
    documents = []
    for path in sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*/*.py")):
        if "site-packages" in path.parts or "test" in path.parts:
            continue
        try:
            documents += chunks(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, OSError):
            continue
    random.Random(3).shuffle(documents)
    return documents


def odd_documents(size: int) -> list:
    """Characters of every category, mixed: nothing that looks like a language."""
    groups = {}
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category not in ("Cn", "Cs"):
            groups.setdefault(category, []).append(chr(code))
    chance = random.Random(20240229)
    categories = sorted(groups)
    documents, made = [], 0
    while made < size:
        pieces = []
        for _ in range(200):
            pieces.append("".join(chance.choices(groups[chance.choice(categories)],
                                                 k=chance.randrange(1, 5))))
            if chance.random() < 0.4:
                pieces.append(chance.choice([" ", "  ", "\n", "\r\n", "'s", "'LL", "42", "\u3000"]))
        documents.append("".join(pieces))
        made += len(documents[-1].encode())
    return documents


def all_documents(size: int, packages: pathlib.Path | None) -> dict:
    """At least `size` bytes by kind of text, in equal shares."""
    kinds = list(SCRIPTS) + ["code", "odd"]
    share = size // len(kinds) + 1
    result = {}
    for kind in kinds:
        if kind == "code":
            documents = code_documents()
        elif kind == "odd":
            documents = odd_documents(share)
        else:
            documents = fixture_documents() if kind == "latin" else []
            for name in SCRIPTS[kind][3] if packages else []:
                documents += package_documents(packages / name)
        kept, taken = [], 0
        for document in documents:
            if taken >= share:
                break
            kept.append(document)
            taken += len(document.encode())
        if taken < share:
            kept += made_documents(kind if kind in SCRIPTS else "latin", share - taken)
        result[kind] = kept
    return result
