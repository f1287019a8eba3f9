#!/usr/bin/env python3
"""Checks who may include whom, file sizes and what the executables link.

    layering_test.py SOURCE_DIR BINARY_DIR

The rules are data: layers.json beside this file. Prints every violation and
exits with 1 when there is one.
"""

import json
import pathlib
import re
import subprocess
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
CODE = {".h", ".cc", ".cu", ".cuh"}
# A header's loop that only this file compiles with OpenMP.
SERIAL = re.compile(r"\bat::parallel_(for|reduce)\(")
PARALLEL = "common/kernels/parallel.cc"


def folder_of(path):
    """"common/base/files.h" -> "common/base"; None outside the groups."""
    parts = path.split("/")
    return "/".join(parts[:2]) if len(parts) >= 3 else None


class Checker:
    def __init__(self, source, binary):
        self.source = source
        self.binary = binary
        self.rules = json.loads(
            (pathlib.Path(__file__).parent / "layers.json").read_text())
        self.violations = []
        self.checked = 0

    def fail(self, where, what):
        self.violations.append(f"{where}: {what}")

    def files(self, top):
        for path in sorted((self.source / top).rglob("*")):
            if path.suffix in CODE:
                yield path.relative_to(self.source).as_posix(), path

    def check_sources(self):
        for top in self.rules["groups"]:
            for name, path in self.files(top):
                self.checked += 1
                lines = path.read_text().splitlines()
                self.check_length(name, lines)
                for number, line in enumerate(lines, 1):
                    if SERIAL.search(line) and name != PARALLEL:
                        self.fail(f"{name}:{number}",
                                  f"at::parallel_for is serial outside {PARALLEL}: "
                                  "call kernels::ParallelFor")
                    match = INCLUDE.match(line)
                    if match:
                        self.check_include(name, number, match.group(1))
        for name, path in self.files("tests"):
            self.check_length(name, path.read_text().splitlines())

    def check_length(self, name, lines):
        if len(lines) > self.rules["max_lines"]:
            self.fail(name, f"{len(lines)} lines, wanted at most "
                            f"{self.rules['max_lines']}: one concept a file")

    def check_include(self, name, number, included):
        where = f"{name}:{number}"
        folder = folder_of(name)
        group = name.split("/")[0]
        if folder is None:  # main.cc at the top of a side
            folder = f"{group}/main"
        if included.startswith(("torch/", "ATen/", "c10/")):
            if folder not in self.rules["torch_folders"]:
                self.fail(where, f"R1: {included} outside the torch folders")
        if included.startswith(("grpc", "grpcpp/")) or ".grpc.pb.h" in included:
            if folder not in self.rules["grpc_folders"]:
                self.fail(where, f"R1: {included} outside the gRPC folders")
        if included.startswith("tributary/v1/"):
            if folder not in self.rules["api_proto_folders"]:
                self.fail(where, f"R3: {included} is not for this folder")
        elif included.endswith(".pb.h"):
            if folder not in self.rules["local_proto_folders"]:
                self.fail(where, f"R3: {included} is not for this folder")
        self.check_folders(where, group, folder, included)

    def check_folders(self, where, group, folder, included):
        target_group = included.split("/")[0]
        if target_group not in self.rules["groups"]:
            return
        target = folder_of(included)
        if target is None:
            self.fail(where, f"{included}: not in a folder of the plan")
            return
        if {group, target_group} == {"contributor", "coordinator"}:
            self.fail(where, f"R2: {group} includes {target_group}")
            return
        for rule in self.rules["forbidden"]:
            if rule["from"] == folder and rule["to"] == target:
                self.fail(where, rule["why"])
        order = self.rules["groups"]
        if target.split("/")[1] not in order[target_group]:
            self.fail(where, f"{target}: not a folder of layers.json")
            return
        if group != target_group:
            if group == "common":
                self.fail(where, f"R6: common includes {target}")
            return
        mine = folder.split("/")[1]
        if mine == "main":
            return
        if mine not in order[group]:
            self.fail(where, f"{folder}: not a folder of layers.json")
            return
        if order[group].index(target.split("/")[1]) > order[group].index(mine):
            self.fail(where, f"R6: {folder} includes {target}, which comes "
                             "later")

    def check_links(self):
        for names, forbidden, rule in (
                (self.rules["front_executables"], ("libtorch", "libc10"),
                 "a front process links LibTorch"),
                (self.rules["worker_executables"], ("libgrpc",),
                 "a worker links gRPC")):
            for name in names:
                path = self.binary / "bin" / name
                if not path.exists():
                    # A build without LibTorch has no workers.
                    if name in self.rules["front_executables"]:
                        self.fail(str(path), "not built")
                    continue
                self.checked += 1
                linked = subprocess.run(["ldd", str(path)], text=True,
                                        capture_output=True, check=True).stdout
                for library in forbidden:
                    if library in linked:
                        self.fail(name, f"R1: {rule} ({library})")


def main():
    checker = Checker(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
    checker.check_sources()
    checker.check_links()
    for violation in checker.violations:
        print(violation)
    print(f"{checker.checked} files and executables checked, "
          f"{len(checker.violations)} violations")
    return 1 if checker.violations or checker.checked < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
