#!/usr/bin/env python3
"""The public API (proto/tributary/v1): everything in it is documented, every field of a request
says whether it is required, and nothing that a client may rely on goes away.

The last is checked against tests/proto/api.txt, one line for each method, field and enum value.
New lines are allowed; `api_test.py --update` writes them down. A removed or changed line is an
incompatible change: keep the old element, or start tributary.v2."""

import argparse
import pathlib
import subprocess
import sys
import tempfile

from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BASELINE = pathlib.Path(__file__).with_name("api.txt")
FOLDER = "tributary/v1"
PACKAGE = ".tributary.v1."

Field = descriptor_pb2.FieldDescriptorProto
TYPES = {number: name.removeprefix("TYPE_").lower() for name, number in Field.Type.items()}


def load(protoc: str, include: str) -> descriptor_pb2.FileDescriptorSet:
    root = REPOSITORY / "proto"
    files = sorted(str(path.relative_to(root)) for path in (root / FOLDER).glob("*.proto"))
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([protoc, "-I", root, "-I", include, "-I", "/usr/include",
                        "--include_source_info", f"--descriptor_set_out={out.name}", *files],
                       check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(out.read())


def undocumented(file: descriptor_pb2.FileDescriptorProto) -> list:
    """Elements without a comment in front of or behind them."""
    told = {tuple(place.path) for place in file.source_code_info.location
            if (place.leading_comments + place.trailing_comments).strip()}
    missing = []

    def check(path: tuple, name: str):
        if path not in told:
            missing.append(f"{file.name}: {name}")

    def enums(path: tuple, prefix: str, items):
        for i, item in enumerate(items):
            check(path + (i,), prefix + item.name)
            for j, value in enumerate(item.value):
                check(path + (i, 2, j), f"{prefix}{item.name}.{value.name}")

    def messages(path: tuple, prefix: str, items):
        for i, item in enumerate(items):
            if item.options.map_entry:
                continue
            check(path + (i,), prefix + item.name)
            inner = f"{prefix}{item.name}."
            for j, field in enumerate(item.field):
                check(path + (i, 2, j), inner + field.name)
            messages(path + (i, 3), inner, item.nested_type)
            enums(path + (i, 4), inner, item.enum_type)

    messages((4,), "", file.message_type)
    enums((5,), "", file.enum_type)
    for i, service in enumerate(file.service):
        check((6, i), service.name)
        for j, method in enumerate(service.method):
            check((6, i, 2, j), f"{service.name}.{method.name}")
    return missing


def unmarked(file: descriptor_pb2.FileDescriptorProto) -> list:
    """Fields of requests that do not say whether they are required (AIP-203)."""
    return [f"{file.name}: {item.name}.{field.name}"
            for item in file.message_type if item.name.endswith("Request")
            for field in item.field
            if not field.options.Extensions[field_behavior_pb2.field_behavior]]


def surface(file: descriptor_pb2.FileDescriptorProto) -> list:
    """What a client may rely on, a line each."""
    lines = []

    def enums(prefix: str, items):
        for item in items:
            lines.extend(f"value {prefix}{item.name} {value.number} {value.name}"
                         for value in item.value)

    def messages(prefix: str, items):
        for item in items:
            for field in item.field:
                kind = TYPES[field.type]
                if field.type_name:
                    kind += " " + field.type_name.removeprefix(PACKAGE)
                shape = "repeated" if field.label == Field.LABEL_REPEATED else (
                    "optional" if field.proto3_optional else "single")
                lines.append(f"field {prefix}{item.name} {field.number} {field.name}"
                             f" {shape} {kind}")
            messages(f"{prefix}{item.name}.", item.nested_type)
            enums(f"{prefix}{item.name}.", item.enum_type)

    messages("", file.message_type)
    enums("", file.enum_type)
    for service in file.service:
        for method in service.method:
            streams = ("stream " if method.client_streaming else "",
                       "stream " if method.server_streaming else "")
            lines.append(f"method {service.name}.{method.name}"
                         f" {streams[0]}{method.input_type.removeprefix(PACKAGE)} ->"
                         f" {streams[1]}{method.output_type.removeprefix(PACKAGE)}")
    return lines


def self_check():
    """Removals, new numbers and new types are seen; additions are not errors."""
    before = ["field A 1 x single int64", "method S.M A -> B"]
    assert lost(before, before + ["field A 2 y single int64"]) == []
    for after in (["field A 1 x single string", before[1]], ["field A 2 x single int64", before[1]],
                  before[:1]):
        assert len(lost(before, after)) == 1, after


def lost(before: list, after: list) -> list:
    return sorted(set(before) - set(after))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protoc", default="protoc")
    parser.add_argument("--include", default=next(
        (str(p) for p in (REPOSITORY / ".venv/lib").glob("python3*/site-packages")), "."))
    parser.add_argument("--update", action="store_true", help="write api.txt anew")
    arguments = parser.parse_args()
    self_check()
    files = load(arguments.protoc, arguments.include).file
    now = sorted(line for file in files for line in surface(file))
    if arguments.update:
        BASELINE.write_text("\n".join(now) + "\n")
    failures = [f"no comment: {name}" for file in files for name in undocumented(file)]
    failures += [f"neither REQUIRED nor OPTIONAL: {name}"
                 for file in files for name in unmarked(file)]
    before = BASELINE.read_text().splitlines()
    failures += [f"gone or changed: {line}" for line in lost(before, now)]
    new = lost(now, before)
    if new:
        failures += [f"not in {BASELINE.name}, run with --update: {line}" for line in new]
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
