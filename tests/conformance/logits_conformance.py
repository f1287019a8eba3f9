#!/usr/bin/env python3
"""Compares `model logits` with transformers in fp32 on 1,000 tokens of real text.

    logits_conformance.py --binary tributary-coordinator --model DIR

Every logit must agree to 1e-3 absolute and every position must have the same
argmax. Exit code 0 when so, 1 when not, 2 when the program could not be run.
DIR is any Hugging Face directory that transformers loads; an incomplete load
(missing or unexpected weights) counts as a failure, because transformers goes
on with random weights.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import safetensors.numpy
import tokenizers
import torch
import transformers

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures"
ROWS, POSITIONS = 4, 250
TOLERANCE = 1e-3


def real_text_ids(model: pathlib.Path) -> np.ndarray:
    """[ROWS, POSITIONS] int64: prose, mathematics, medical codes, C; no padding."""
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    rows = []
    for name in ("public_heldout", "domain_a_heldout", "domain_b_heldout", "domain_c_heldout"):
        lines = (FIXTURES / f"text/{name}.jsonl").read_text(encoding="utf-8").split("\n")
        text = "\n".join(json.loads(line)["text"] for line in lines if line)
        ids = tokenizer.encode(text, add_special_tokens=False).ids[:POSITIONS]
        rows.append(ids)
    return np.array(rows, dtype=np.int64)


def reference_logits(model: pathlib.Path, input_ids: np.ndarray) -> np.ndarray:
    """float32 [B, S, V]; raises RuntimeError when weights did not fit."""
    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, output_loading_info=True)
    faults = {name: keys for name, keys in report.items() if keys}
    if faults:
        raise RuntimeError(f"transformers: {model} did not load whole: {faults}")
    with torch.no_grad():
        return loaded.eval()(torch.from_numpy(input_ids)).logits.float().numpy()


def native_logits(binary: pathlib.Path, model: pathlib.Path, input_ids: np.ndarray) -> np.ndarray:
    """What the program writes; raises RuntimeError."""
    with tempfile.TemporaryDirectory() as temporary:
        source = pathlib.Path(temporary) / "ids.safetensors"
        target = pathlib.Path(temporary) / "logits.safetensors"
        safetensors.numpy.save_file({"input_ids": input_ids}, source)
        command = [str(binary), "model", "logits", "--model", str(model), "--input", str(source),
                   "--output", str(target)]
        try:
            result = subprocess.run(command, capture_output=True, check=False)
        except OSError as error:
            raise RuntimeError(f"{binary}: could not be started ({error})") from error
        if result.returncode != 0 or not target.is_file():
            raise RuntimeError(f"{' '.join(command)}: exit code {result.returncode}, wanted 0 and"
                               " an output file\n" + result.stderr.decode(errors="replace")[-2000:])
        tensors = safetensors.numpy.load_file(target)
    if "logits" not in tensors or tensors["logits"].dtype != np.float32:
        found = {name: str(tensor.dtype) for name, tensor in tensors.items()}
        raise RuntimeError(f"output: got {found}, wanted float32 `logits`")
    return tensors["logits"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True,
                        help="tributary-coordinator or tributary-contributor")
    parser.add_argument("--model", type=pathlib.Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    try:
        input_ids = real_text_ids(arguments.model)
        got = native_logits(arguments.binary, arguments.model.absolute(), input_ids)
    except (RuntimeError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        wanted = reference_logits(arguments.model, input_ids)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    if got.shape != wanted.shape:
        print(f"logits: got shape {got.shape}, wanted {wanted.shape}", file=sys.stderr)
        return 1
    worst = float(np.abs(got - wanted).max())
    differing = int((got.argmax(-1) != wanted.argmax(-1)).sum())
    print(f"{input_ids.size} tokens: largest difference {worst:.2e} (limit {TOLERANCE:.0e}),"
          f" {differing} argmax differ")
    # A NaN compares false, so it fails here too.
    return 0 if worst <= TOLERANCE and differing == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
