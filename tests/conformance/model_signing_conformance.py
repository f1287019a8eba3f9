#!/usr/bin/env python3
"""The reference verifier of OpenSSF Model Signing accepts what `release sign` writes.

    model_signing_conformance.py --binary tributary-coordinator [--venv DIR]

Folders and single files, intact and altered, under the federation's CA and under another
one. The reference program (model-signing on PyPI) lives in an environment of its own (DIR),
made when it is missing. Exit code 0 when both agree, 1 when not, 2 when it could not be run.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ["model-signing==1.1.1", "pyopenssl", "certifi"]


def reference_program(folder):
    program = folder / "bin/model_signing"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "-q", "--disable-pip-version-check",
                        *PACKAGES], check=True)
    return program


def check(binary, reference, scratch):
    home, model = scratch / "home", scratch / "model"
    shutil.copytree(ROOT / "tests/fixtures/tiny_anchor", model)
    run = [binary, "--home", home]
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([*run, "init", "--federation", "test"], **quiet)
    subprocess.run([binary, "--home", scratch / "other", "init", "--federation", "test"],
                   **quiet)

    def verify(path, signature, owner=home):
        done = subprocess.run([reference, "verify", "certificate", path, "--signature",
                               signature, "--certificate_chain", owner / "keys/ca.crt.pem"],
                              check=False, capture_output=True)
        return done.returncode == 0

    subprocess.run([*run, "release", "sign", model], **quiet)
    signature = model / "model.sig"
    weights, single = model / "model.safetensors", scratch / "single.sig"
    subprocess.run([*run, "release", "sign", weights, "--output", single], **quiet)
    assert verify(model, signature), "a folder is refused"
    assert verify(weights, single), "a file is refused"
    assert not verify(model, signature, scratch / "other"), "another CA's word counts"

    (model / "added").write_text("x")
    assert not verify(model, signature), "a folder with another file passed"
    (model / "added").unlink()
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert not verify(model, signature), "an altered file of a folder passed"
    assert not verify(weights, single), "an altered file passed"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--venv", type=pathlib.Path,
                        default=ROOT / "build/conformance/model-signing")
    arguments = parser.parse_args()
    try:
        reference = reference_program(arguments.venv.absolute())
        with tempfile.TemporaryDirectory() as scratch:
            check(arguments.binary.absolute(), reference, pathlib.Path(scratch))
    except AssertionError as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 2
    print("the reference verifier agrees")
    return 0


if __name__ == "__main__":
    sys.exit(main())
