"""Plain text from the HTML pages of a manual."""

import html.parser
import re

_BLOCKS = {"p", "div", "h1", "h2", "h3", "h4", "h5", "li", "dt", "dd", "tr", "table", "ul", "ol",
           "dl", "pre", "blockquote", "br", "hr", "title", "body", "section"}
_VOID = {"br", "hr", "img", "link", "meta", "input", "col", "area", "base", "wbr"}
_SKIPPED_TAGS = {"script", "style", "head"}
_SKIPPED_CLASSES = {"navheader", "navfooter", "toc"}


class _Extractor(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.blocks = []
        self._text = []
        self._skipping = []  # open tags inside a part that is left out
        self._pre = 0

    def flush(self) -> None:
        text = "".join(self._text)
        self._text = []
        text = text.strip("\n") if self._pre else " ".join(text.split())
        if text.strip():
            self.blocks.append(text)

    def handle_starttag(self, tag, attributes):
        classes = set((dict(attributes).get("class") or "").split())
        if self._skipping:
            if tag not in _VOID:
                self._skipping.append(tag)
            return
        if tag in _BLOCKS:
            self.flush()
        if tag in _SKIPPED_TAGS or classes & _SKIPPED_CLASSES:
            self._skipping.append(tag)
        elif tag == "pre":
            self._pre += 1
        elif tag in ("td", "th"):
            self._text.append(" ")

    def handle_endtag(self, tag):
        if self._skipping:
            if tag in self._skipping:
                while self._skipping.pop() != tag:
                    pass
            return
        if tag in _BLOCKS:
            self.flush()
        if tag == "pre":
            self._pre = max(0, self._pre - 1)

    def handle_data(self, data):
        if not self._skipping:
            self._text.append(data)


def to_text(page: str) -> str:
    """Blocks of the page separated by blank lines, without head, navigation
    bars and tables of contents."""
    extractor = _Extractor()
    extractor.feed(page)
    extractor.close()
    extractor.flush()
    return re.sub(r"[ \u00a0]+\n", "\n", "\n\n".join(extractor.blocks)) + "\n"
