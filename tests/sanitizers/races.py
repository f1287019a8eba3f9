#!/usr/bin/env python3
"""Judges ThreadSanitizer's reports of a run of tests.

    races.py FOLDER    the reports, FOLDER/* (log_path of the preset "tsan")

gRPC, Protobuf, Abseil and OpenSSL come from the distribution and are not
instrumented: how they hand an object from one thread to another is not seen,
so a report of which both accesses are made by their own code (or one, and the
stack of the other was not kept) says nothing. Every other report counts, and fails this command. Who makes an access is the
innermost frame that belongs neither to the standard library nor to generated
code. Prints how many reports there were of each kind and those that count.
"""

import collections
import pathlib
import re
import sys

FRAME = re.compile(r"^\s+#\d+ (.*)$")
# An access or a lock, as ThreadSanitizer begins its paragraph.
HEADING = re.compile(r"^\s+(Previous )?(atomic )?(read|write) of size|"
                     r"^\s+Mutex \S+ acquired here|^\s+Mutex \S+ previously",
                     re.IGNORECASE)
TRANSPARENT = re.compile(r"/include/c\+\+/|libstdc\+\+|libtsan|/proto/generated/|"
                         r"\.\./\.\./src/libsanitizer|sanitizer_common_interceptors")
LIBRARIES = {"gRPC": re.compile(r"/include/grpc(pp)?/|libgrpc|libgpr|libaddress_sorting"),
             "Abseil": re.compile(r"/include/absl/|libabsl"),
             "Protobuf": re.compile(r"/include/google/protobuf/|libproto"),
             "OpenSSL": re.compile(r"/include/openssl/|libssl|libcrypto")}


def owner(paragraph):
    """Who makes an access: a library's name, or "ours"; "unknown" where the
    stack was not kept."""
    for line in paragraph:
        frame = FRAME.match(line)
        if not frame or TRANSPARENT.search(frame[1]):
            continue
        for name, pattern in LIBRARIES.items():
            if pattern.search(frame[1]):
                return name
        return "ours"
    return "unknown"


def reports(folder):
    """(kind, owners, text) of every report."""
    for path in sorted(folder.iterdir()):
        for text in path.read_text(errors="replace").split("=" * 18):
            kind = re.search(r"WARNING: ThreadSanitizer: (.*?) \(pid", text)
            if kind:
                paragraphs = [paragraph.splitlines() for paragraph in
                              re.split(r"\n\s*\n", text[kind.end():])]
                owners = [owner(paragraph) for paragraph in paragraphs
                          if any(HEADING.match(line) for line in paragraph[:2])]
                yield kind[1], owners or ["unknown"], text


def main():
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    found = collections.Counter()
    counting = []
    for kind, owners, text in reports(pathlib.Path(sys.argv[1])):
        found[kind, " and ".join(owners)] += 1
        known = set(owners) - {"unknown"}
        if not known or not known <= set(LIBRARIES):
            counting.append(text)
    for text in counting:
        print(text)
    for (kind, owners), count in found.most_common():
        print(f"{count:6}  {kind} between {owners}")
    print(f"{sum(found.values())} reports, {len(counting)} count")
    sys.exit(1 if counting else 0)


if __name__ == "__main__":
    main()
