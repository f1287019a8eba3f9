#!/usr/bin/env python3
"""Imports mixtures, exports them again, and reads them with other people's programs.

    export_conformance.py --binary tributary-coordinator [--old-venv DIR]

Random mixtral and flex_olmo models are taken apart by `release import-model`; the releases
are exported to Hugging Face directories (whole and in shards) and, for mixtral, to GGUF.
Transformers of the newest and of the last 4 series must load every directory whole, without
remote code, with the logits of the original; the gguf package must find the same weights as
the Hugging Face directory holds. The old transformers live in an environment of their own
(DIR), made when it is missing. Exit code 0 when all agree, 1 when not, 2 when something could
not be run.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TOKENIZER = REPOSITORY / "tests/fixtures/tiny_anchor"
OLD = "transformers==4.57.1"
TOLERANCE = 1e-3
COMMON = dict(vocab_size=2048, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
              num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
              rms_norm_eps=1e-5, pad_token_id=0, bos_token_id=1, eos_token_id=2,
              num_experts_per_tok=2)
MODELS = {
    "mixtral": lambda: transformers.MixtralForCausalLM(transformers.MixtralConfig(
        **COMMON, num_local_experts=5, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 50000.0})),
    "flex_olmo": lambda: transformers.FlexOlmoForCausalLM(transformers.FlexOlmoConfig(
        **COMMON, num_experts=4, norm_topk_prob=False, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0})),
}
# Run by either interpreter: load report, class and logits of a directory.
READER = """
import json, sys, torch, transformers
from safetensors.torch import load_file
wanted = load_file(sys.argv[2])
model, report = transformers.AutoModelForCausalLM.from_pretrained(
    sys.argv[1], dtype=torch.float32, output_loading_info=True)
with torch.no_grad():
    logits = model.eval()(wanted["input_ids"]).logits
print(json.dumps({"version": transformers.__version__, "class": type(model).__name__,
                  "problems": sorted(str(k) for keys in report.values() for k in keys),
                  "difference": (logits - wanted["logits"]).abs().max().item()}))
"""


class Failure(Exception):
    """Something did not agree."""


def run(command, error=RuntimeError):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                            check=False)
    if result.returncode != 0:
        raise error(f"{' '.join(map(str, command))}: exit code {result.returncode}\n"
                    f"{result.stderr[-3000:]}")
    return result.stdout


def old_interpreter(folder):
    """Python with the old transformers, and torch of this environment."""
    python = folder / "bin/python"
    mark = folder / "installed"
    if not mark.is_file() or mark.read_text() != OLD:
        run([sys.executable, "-m", "venv", folder])
        run([python, "-m", "pip", "install", "-q", OLD])
        own = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
        shared = sysconfig.get_path("purelib")
        # Behind its own packages: only what it lacks comes from here.
        (pathlib.Path(own) / "shared.pth").write_text(shared + "\n")
        mark.write_text(OLD)
    return python


def make_model(kind, folder):
    """A random bf16 mixture as a directory, and its ids and logits in fp32."""
    torch.manual_seed(11)
    model = MODELS[kind]().to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.uniform_(0.5, 1.5)
        else:
            parameter.data.normal_(0, 0.12)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder)
    ids = torch.randint(COMMON["vocab_size"], (2, 60))
    # Read again: casts of the model in memory round its rotary frequencies, too.
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = model.eval()(ids).logits
    wanted = folder.parent / f"{kind}.safetensors"
    save_file({"input_ids": ids, "logits": logits.contiguous()}, wanted)
    return wanted


def check_directory(folder, wanted, pythons):
    reader = folder.parent / "reader.py"
    reader.write_text(READER)
    for python in pythons:
        found = json.loads(run([python, reader, folder, wanted], Failure).splitlines()[-1])
        print(f"{folder.name}: transformers {found['version']} {found['class']}, largest logit"
              f" difference {found['difference']:.1e}")
        if found["problems"] or not found["difference"] <= TOLERANCE:
            raise Failure(f"{folder}: {found}")


def unpermute(rows, heads):
    """q or k rows as Hugging Face has them (llama.cpp's pairs are neighbours)."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def as_float(tensor):
    """The values of a GGUF tensor; bf16 comes as bytes."""
    if tensor.tensor_type == gguf.GGMLQuantizationType.BF16:
        raw = np.ascontiguousarray(tensor.data).view(np.uint16).astype(np.uint32) << 16
        data = raw.view(np.float32)
    else:
        data = np.asarray(tensor.data, dtype=np.float32)
    return data.reshape([int(n) for n in reversed(tensor.shape)])


def check_gguf(path, folder):
    """Every weight of the GGUF file against the Hugging Face directory."""
    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())

    def entry(key):
        return reader.fields[key].contents()

    for key, value in {"general.architecture": "llama", "tokenizer.ggml.pre": "smollm",
                       "llama.expert_count": config["num_local_experts"],
                       "llama.expert_used_count": config["num_experts_per_tok"],
                       "llama.block_count": config["num_hidden_layers"]}.items():
        if entry(key) != value:
            raise Failure(f"{path}: {key} is {entry(key)}, wanted {value}")
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    tokens = entry("tokenizer.ggml.tokens")
    if any(tokens[index] != token for token, index in vocabulary.items()):
        raise Failure(f"{path}: tokens are not the tokenizer's")
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    for l in range(config["num_hidden_layers"]):
        ours, theirs = f"blk.{l}.", f"model.layers.{l}."
        names |= {ours + "attn_norm": theirs + "input_layernorm",
                  ours + "ffn_norm": theirs + "post_attention_layernorm",
                  ours + "ffn_gate_inp": theirs + "block_sparse_moe.gate"}
        for ours_part, theirs_part in (("q", "q"), ("k", "k"), ("v", "v"), ("output", "o")):
            names[f"{ours}attn_{ours_part}"] = f"{theirs}self_attn.{theirs_part}_proj"
        for part, file in (("gate", "w1"), ("up", "w3"), ("down", "w2")):
            names[f"{ours}ffn_{part}_exps"] = [
                f"{theirs}block_sparse_moe.experts.{e}.{file}"
                for e in range(config["num_local_experts"])]
    if sorted(tensors) != sorted(name + ".weight" for name in names):
        raise Failure(f"{path}: holds other tensors: {sorted(tensors)}")
    for name, source in names.items():
        got = as_float(tensors[name + ".weight"])
        if isinstance(source, list):
            wanted = np.stack([weights[s + ".weight"].float().numpy() for s in source])
        else:
            wanted = weights[source + ".weight"].float().numpy()
        if name.endswith("attn_q"):
            got = unpermute(got, config["num_attention_heads"])
        elif name.endswith("attn_k"):
            got = unpermute(got, config["num_key_value_heads"])
        if not np.array_equal(got, wanted):
            raise Failure(f"{path}: {name} differs")
    print(f"{path.name}: {len(tensors)} tensors equal to the Hugging Face directory's")


def check_family(binary, kind, folder, pythons):
    wanted = make_model(kind, folder / kind)
    imported = folder / f"{kind}-release"
    run([binary, "release", "import-model", "--model", folder / kind, "--name",
         kind.replace("_", "-"), "--output", imported])
    whole, shards = folder / f"{kind}-whole", folder / f"{kind}-shards"
    run([binary, "release", "export", imported, "--as", "huggingface", "--output", whole])
    run([binary, "release", "export", imported, "--as", "huggingface", "--output", shards,
         "--shard-size", "0.3MB", "--licence", "apache-2.0"])
    if len(list(shards.glob("model-*-of-*.safetensors"))) < 3:
        raise Failure(f"{shards}: wanted several shards")
    if "license: \"apache-2.0\"" not in (shards / "README.md").read_text():
        raise Failure(f"{shards}/README.md: names no licence")
    for directory in (whole, shards):
        check_directory(directory, wanted, pythons)
    if kind == "mixtral":
        file = folder / "mixtral.gguf"
        run([binary, "release", "export", imported, "--as", "gguf", "--output", file])
        check_gguf(file, whole)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--old-venv", type=pathlib.Path,
                        default=REPOSITORY / "build/conformance/transformers-4")
    arguments = parser.parse_args()
    binary = arguments.binary.absolute()
    try:
        pythons = [sys.executable, old_interpreter(arguments.old_venv.absolute())]
        with tempfile.TemporaryDirectory() as folder:
            for kind in MODELS:
                check_family(binary, kind, pathlib.Path(folder), pythons)
    except Failure as error:
        print(error, file=sys.stderr)
        return 1
    except (RuntimeError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
