"""The quickstart's texts as documents: functions from unpacked packages to
lists of (name, text). The names order nothing by themselves; they are what the
selection hashes."""

import gzip
import pathlib
import re
import xml.etree.ElementTree

from quickstart import html_text, roff


def _read(path: pathlib.Path) -> str:
    data = path.read_bytes()
    if path.suffix in (".gz", ".dz"):
        data = gzip.decompress(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _files(folder: pathlib.Path, pattern: str) -> list:
    """Regular files below `folder`, symbolic links left out, in name order."""
    return sorted(path for path in folder.glob(pattern)
                  if path.is_file() and not path.is_symlink())


def manual_pages(package: pathlib.Path, language: str = "") -> list:
    """Manual pages of one language; translations lie in a folder of their own."""
    folder = package / "usr/share/man" / language
    documents = []
    for path in _files(folder, "man*/*.gz"):
        text = roff.to_text(_read(path))
        if text is not None:
            documents.append((path.relative_to(folder).as_posix(), text))
    return documents


def postgresql_manual(package: pathlib.Path) -> list:
    """Pages of the manual with at least 1,000 characters of text, without the
    index and the tables of contents."""
    documents = []
    for path in _files(package, "usr/share/doc/postgresql-doc-*/html/*.html"):
        if path.name in ("bookindex.html", "index.html"):
            continue
        text = html_text.to_text(_read(path))
        if len(text) >= 1000:
            documents.append((path.name, text))
    return documents


def metamath(package: pathlib.Path, per_document: int = 40) -> list:
    """Provable statements of set.mm, `label $p formula`, one a line, consecutive
    ones together. Proofs and comments are left out."""
    source = _read(package / "usr/share/metamath/databases/set.mm")
    source = re.sub(r"\$\([^$]*(?:\$[^)][^$]*)*\$\)", " ", source)
    lines = []
    before, *rest = source.split(" $p ")
    for after in rest:
        formula = after.split("$=", 1)[0]
        lines.append(f"{before.rsplit(None, 1)[-1]} $p {' '.join(formula.split())}")
        before = after
    return [(lines[start].split(" ", 1)[0], "\n".join(lines[start:start + per_document]) + "\n")
            for start in range(0, len(lines) - per_document + 1, per_document)]


_ICD_NOTES = {"inclusionTerm": "", "includes": "Includes: ", "excludes1": "Excludes1: ",
              "excludes2": "Excludes2: ", "codeFirst": "Code first: ",
              "useAdditionalCode": "Use additional code: ", "codeAlso": "Code also: "}


def _icd_notes(entry: xml.etree.ElementTree.Element) -> list:
    return [_ICD_NOTES[child.tag] + " ".join(note.text.split()) for child in entry
            if child.tag in _ICD_NOTES for note in child.iter("note") if note.text]


def icd_sections(wheel: pathlib.Path) -> list:
    """Sections of the ICD-10-CM tabular list: a title, then `code description`
    lines in the order of the list, each followed by its notes."""
    tables = _files(wheel, "simple_icd_10_cm/data/*.xml")
    documents = []
    for section in xml.etree.ElementTree.parse(tables[0]).getroot().iter("section"):
        lines = [section.findtext("desc", ""), *_icd_notes(section)]
        for entry in section.iter("diag"):
            lines += [f"{entry.findtext('name')} {entry.findtext('desc')}", *_icd_notes(entry)]
        documents.append((section.get("id"), "\n".join(lines) + "\n"))
    return documents


def source_files(folder: pathlib.Path, pattern: str) -> list:
    """Program texts from the first empty line behind a fifth of the file, so
    that licence headers stay out."""
    documents = []
    for path in _files(folder, pattern):
        text = _read(path)
        start = text.find("\n\n", len(text) // 5)
        if start >= 0:
            documents.append((path.relative_to(folder).as_posix(), text[start:].lstrip("\n")))
    return documents


def markup(folder: pathlib.Path, pattern: str) -> list:
    """HTML with its tags, from the first heading on."""
    documents = []
    for path in _files(folder, pattern):
        found = re.search(r"<h[1-6][ >].*", _read(path), re.DOTALL)
        if found:
            documents.append((path.relative_to(folder).as_posix(), found.group()))
    return documents


def slices(name: str, text: str, boundary: str, per_document: int = 3000) -> list:
    """Consecutive parts of at least `per_document` characters that begin where
    the pattern `boundary` matches; a shorter rest is dropped."""
    documents = []
    part = ""
    for piece in re.split(f"(?m)(?={boundary})", text):
        part += piece
        if len(part) >= per_document:
            documents.append((f"{name}:{len(documents)}", part))
            part = ""
    return documents


def dictionary(package: pathlib.Path) -> list:
    """A dictd dictionary; entries start at the margin, their text is indented."""
    return [document for path in _files(package, "usr/share/dictd/*.dict.dz")
            for document in slices(path.name, _read(path), r"^\S")]


def records(path: pathlib.Path) -> list:
    """A file of many short lines."""
    return slices(path.name, _read(path), "^")


def package_papers(packages: dict, pattern: str, boundary: str) -> list:
    """The first parts of one paper of every Debian package, such as its
    copyright file; few of each, since some run to hundreds of pages."""
    return [document for name, folder in sorted(packages.items())
            for path in _files(folder, f"usr/share/doc/{name}/{pattern}")[:1]
            for document in slices(name, _read(path), boundary)[:4]]
