"""Plain text from manual pages written with the man(7) macros.

Covers what translated and Linux manual pages use: font macros, headings,
paragraphs, lists, no-fill blocks and the common escapes. Paragraphs come out as
one line each. Tables, equations, conditionals and macro definitions are left
out. Pages in mdoc(7) are not understood and give None.
"""

import re

_GLYPHS = {
    "aq": "'", "dq": '"', "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "em": "—", "en": "–",
    "hy": "-", "bu": "•", "co": "©", "rg": "®", "tm": "™", "ti": "~", "ha": "^", "rs": "\\",
    "ga": "`", "aa": "´", "ul": "_", "sl": "/", "ba": "|", "br": "|", "or": "|", "at": "@",
    "sh": "#", "Do": "$", "Eu": "€", "->": "→", "<-": "←", "ua": "↑", "da": "↓", "<=": "≤",
    ">=": "≥", "!=": "≠", "==": "≡", "+-": "±", "mu": "×", "di": "÷", "mi": "−", "pl": "+",
    "eq": "=", "if": "∞", "de": "°", "sq": "□", "ci": "○", "Fo": "«", "Fc": "»", "ss": "ß",
    ":a": "ä", ":o": "ö", ":u": "ü", ":A": "Ä", ":O": "Ö", ":U": "Ü", "'e": "é", "`e": "è",
    "'a": "á", "`a": "à", "'o": "ó", "'i": "í", "'u": "ú", "~n": "ñ", ",c": "ç", "^e": "ê",
    "*a": "α", "*b": "β", "*m": "μ", "*p": "π", "12": "½", "14": "¼", "34": "¾", "sc": "§",
    "dg": "†", "dd": "‡", "OK": "✓", "lB": "[", "rB": "]", "lC": "{", "rC": "}",
}
_STRINGS = {"R": "®", "Tm": "™", "lq": "“", "rq": "”"}
_ESCAPE = re.compile(
    r"\\(?:"
    r"(?P<comment>[\"#].*)"
    r"|f(?:\[[^]]*\]|\(..|.)"                           # font
    r"|s(?:[-+]?\[[^]]*\]|[-+]?'[^']*'|\([-+]?..|[-+]?\d)"  # size
    r"|[nmMgFkYV](?:[-+]?\[[^]]*\]|[-+]?\(..|[-+]?.)"      # registers, colours
    r"|[hvwlLDobNxBSXZRHC]'[^']*'"                      # motions, drawings
    r"|\*(?:\[(?P<string>[^]]*)\]|\((?P<string2>..)|(?P<string1>.))"
    r"|\[(?P<glyph>[^]]*)\]|\((?P<glyph2>..)"
    r"|(?P<space>[ ~0])|(?P<dash>-)|(?P<backslash>[e\\])|(?P<tab>t)"
    r"|(?P<other>[^\n])|$)")
_FONT_MACROS = {"B", "I", "SB", "SM"}
_FONT_PAIRS = {"BI", "BR", "IB", "IR", "RB", "RI"}
_PARAGRAPHS = {"PP", "P", "LP", "HP", "RS", "RE", "TP", "TQ", "br", "sp", "in", "ti", "ce", "bp"}
_BLOCKS = {"TS": ".TE", "EQ": ".EN", "de": "..", "de1": "..", "am": "..", "ig": "..", "PS": ".PE"}


def _replace(match: re.Match) -> str:
    group = match.groupdict()
    for name in ("glyph", "glyph2"):
        if group[name] is not None:
            glyph = group[name]
            if re.fullmatch(r"u[0-9A-F]{4,6}", glyph):
                return chr(int(glyph[1:], 16))
            return _GLYPHS.get(glyph, "")
    for name in ("string", "string2", "string1"):
        if group[name] is not None:
            return _STRINGS.get(group[name], "")
    if group["space"]:
        return " "
    if group["dash"]:
        return "-"
    if group["backslash"]:
        return "\\"
    if group["tab"]:
        return "\t"
    if group["other"] in ("'", "`", "."):
        return group["other"]
    return ""


def unescape(line: str) -> str:
    return _ESCAPE.sub(_replace, line)


def _arguments(rest: str) -> list:
    """Macro arguments: separated by blanks, quoted with double quotes."""
    found = re.findall(r'"((?:[^"]|"")*)"?|((?:\\ |[^\s"])(?:\\ |\S)*)', rest)
    return [unescape((quoted or bare).replace('""', '"')) for quoted, bare in found]


class _Page:
    """Text as it grows: finished paragraphs and the one being filled."""

    def __init__(self):
        self.paragraphs = []
        self._words = []
        self.fill = True

    def add(self, text: str) -> None:
        if self.fill:
            if text.strip():
                self._words.append(text.strip())
            else:
                self.flush()
        else:
            self._words.append(text.rstrip())

    def flush(self) -> None:
        text = (" " if self.fill else "\n").join(self._words)
        self._words = []
        if text.strip():
            self.paragraphs.append(text.strip("\n"))


def _macro(page: _Page, name: str, rest: str) -> None:
    if name in ("SH", "SS"):
        page.flush()
        page.fill = True
        page.add(" ".join(_arguments(rest)))
        if rest.strip():
            page.flush()
    elif name in ("nf", "EX", "fi", "EE"):
        page.flush()
        page.fill = name in ("fi", "EE")
    elif name == "IP":
        page.flush()
        arguments = _arguments(rest)
        if arguments and arguments[0].strip():
            page.add(arguments[0])
    elif name in _PARAGRAPHS:
        page.flush()
    elif name in _FONT_MACROS:
        page.add(" ".join(_arguments(rest)))
    elif name in _FONT_PAIRS:
        page.add("".join(_arguments(rest)))
    elif name in ("UR", "MT"):
        page.add(" ".join(_arguments(rest)))
    elif name in ("SY", "OP"):
        text = " ".join(_arguments(rest))
        page.add(f"[{text}]" if name == "OP" else text)


def to_text(source: str) -> str | None:
    """The page as paragraphs separated by blank lines; None for a page that is
    only a pointer to another one (.so) or written in mdoc."""
    page = _Page()
    until = None  # the line that ends a block which is left out
    depth = 0     # open \{ of a conditional which is left out
    for line in source.splitlines():
        if until is not None:
            if line.rstrip() == until or (until != ".." and line.startswith(until)):
                until = None
            continue
        if depth:
            depth += line.count("\\{") - line.count("\\}")
            continue
        if not line.startswith((".", "'")):
            page.add(unescape(line))
            continue
        found = re.match(r"[.']\s*(\w+)?(.*)", line)
        name, rest = found.group(1), found.group(2)
        if name in ("so", "Dd", "mso"):
            return None
        if name in _BLOCKS:
            until = _BLOCKS[name]
        elif name in ("if", "ie", "el", "while"):
            depth = max(0, line.count("\\{") - line.count("\\}"))
        elif name is not None:
            _macro(page, name, rest)
    page.flush()
    return "\n\n".join(page.paragraphs) + "\n"
