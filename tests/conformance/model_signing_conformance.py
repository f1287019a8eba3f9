"""The reference verifier of OpenSSF Model Signing accepts what `release sign` writes.

model_signing_conformance.py BINARIES [MODEL_SIGNING]

BINARIES is a folder with tributary-coordinator. MODEL_SIGNING is the program of that
name; without it, one is installed into build/conformance/model_signing, for which the
package index has to be reachable: so this is run by hand, and the unit tests hold what
the reference signer made.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ["model-signing==1.1.1", "pyopenssl", "certifi"]


def reference_program():
    folder = ROOT / "build/conformance/model_signing"
    program = folder / "bin/model_signing"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "-q", *PACKAGES], check=True)
    return program


def main():
    coordinator = pathlib.Path(sys.argv[1]) / "tributary-coordinator"
    reference = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else reference_program()
    with tempfile.TemporaryDirectory() as scratch:
        home, model = pathlib.Path(scratch) / "home", pathlib.Path(scratch) / "model"
        shutil.copytree(ROOT / "tests/fixtures/tiny_anchor", model)
        run = [coordinator, "--home", home]
        subprocess.run([*run, "init", "--federation", "test"], check=True)

        def verify(path, signature):
            done = subprocess.run([reference, "verify", "certificate", path,
                                   "--signature", signature, "--certificate_chain",
                                   home / "keys/ca.crt.pem"], check=False)
            return done.returncode == 0

        subprocess.run([*run, "release", "sign", model], check=True)
        assert verify(model, model / "model.sig"), "a folder"
        weights = model / "model.safetensors"
        single = pathlib.Path(scratch) / "single.sig"
        subprocess.run([*run, "release", "sign", weights, "--output", single], check=True)
        assert verify(weights, single), "one file"

        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        assert not verify(model, model / "model.sig"), "an altered file passed"
        assert not verify(weights, single), "an altered single file passed"
    print("the reference verifier agrees")


main()
