"""Fails unless a page or picture is well formed, self-contained and accessible.

usage: check_page.py FILE
"""

import re
import sys
import xml.etree.ElementTree as tree

# The two ways to look at a dashboard.
DASHBOARD = ("/", "/still")

text = open(sys.argv[1], encoding="utf-8").read()
problems = []
if text.startswith("<!doctype html>"):
    body = text[len("<!doctype html>"):]
    # As XML: elements without content are closed.
    body = re.sub(r"<(meta|link)\b([^>]*)>", r"<\1\2/>", body)
    body = re.sub(r"<br>", "<br/>", body)
else:
    body = text
root = tree.fromstring(body)
for element in root.iter():
    name = element.tag.split("}")[-1]
    if name in ("script", "img", "iframe", "object", "image", "use"):
        problems.append(f"has <{name}>")
    if name == "svg":
        if element.get("role") != "img" or not element.get("aria-label"):
            problems.append("a picture has no accessible name")
    for key, value in element.attrib.items():
        own = value.startswith(("#", "data:,")) or value in DASHBOARD
        if key.split("}")[-1] in ("href", "src") and not own:
            problems.append(f"{name} points to {value}")
ids = [element.get("id") for element in root.iter() if element.get("id")]
if len(ids) != len(set(ids)):
    problems.append("an id occurs twice")
if re.search(r"url\(|@import", text):
    problems.append("the style loads something")
print("\n".join(problems))
sys.exit(1 if problems else 0)
