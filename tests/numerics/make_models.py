"""Tiny random models with what transformers computes from them.

usage: make_models.py DIRECTORY [PREFIX]
(only the models whose names begin with PREFIX.) Every folder below DIRECTORY is a Hugging Face model directory with
reference.safetensors: `input_ids.{S}` int64 [B, S] and `logits.{S}` float32 [B, S, V]
for several lengths S, and `generated` int64 [G]: what greedy search appends to the
first row of the second length.
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file

LENGTHS = (1, 7, 64, 512)
GENERATED = 24
COMMON = dict(
    vocab_size=199,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=512,
    rms_norm_eps=1e-5,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=None,
)
FAMILIES = {
    "llama": ("Llama", {}),
    "olmo2": ("Olmo2", {}),
    "mixtral": ("Mixtral", dict(num_local_experts=5, num_experts_per_tok=2)),
    "olmoe": ("Olmoe", dict(num_experts=6, num_experts_per_tok=3)),
    "flex_olmo": ("FlexOlmo", dict(num_experts=4, num_experts_per_tok=2)),
}
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)


def rope(theta, **scaling):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **scaling}}


def cases():
    """Name, family and settings: every family in two seeds of each of grouped and full
    attention, tied and untied embeddings, then what only some have."""
    for name in FAMILIES:
        for seed in (0, 1):
            for heads in (2, 4):
                for tied in (False, True):
                    settings = dict(num_key_value_heads=heads, tie_word_embeddings=tied,
                                    **rope(1e4 if tied else 5e5))
                    if name in ("olmoe", "flex_olmo"):
                        settings["norm_topk_prob"] = bool(seed)
                    attention = "mha" if heads == 4 else "gqa"
                    yield f"{name}_{attention}_{'tied' if tied else 'untied'}_{seed}", name, settings
    plain = dict(num_key_value_heads=2, tie_word_embeddings=False)
    yield "llama_wide_heads", "llama", dict(plain, head_dim=24, **rope(1e4))
    yield "llama_one_kv_head", "llama", {**plain, "num_key_value_heads": 1, **rope(1e4)}
    yield "llama_linear", "llama", dict(plain, **rope(1e4, rope_type="linear", factor=2.0))
    yield "llama_llama3", "llama", dict(plain, **rope(1e4, **LLAMA3))
    yield "olmo2_llama3", "olmo2", dict(plain, **rope(1e4, **LLAMA3))


def randomise(model):
    """Norm weights and routers away from their neutral starting values."""
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.uniform_(0.5, 1.5)
        else:
            parameter.data.normal_(0, 0.12)


@torch.no_grad()
def reference(model):
    tensors = {}
    for length in LENGTHS:
        ids = torch.randint(model.config.vocab_size, (2 if length < 512 else 1, length))
        tensors[f"input_ids.{length}"] = ids
        tensors[f"logits.{length}"] = model(ids).logits.float().contiguous()
    prompt = tensors[f"input_ids.{LENGTHS[1]}"][:1]
    made = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                          max_new_tokens=GENERATED)
    tensors["generated"] = made[0, LENGTHS[1]:].clone()
    return tensors


def as_version_4(folder):
    """The config keys of transformers 4: rope_theta and rope_scaling."""
    config = json.loads((folder / "config.json").read_text())
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    scaled = parameters["rope_type"] != "default"
    config["rope_scaling"] = parameters if scaled else None
    (folder / "config.json").write_text(json.dumps(config))


def fuse(folder, layers):
    """The tensor names of transformers 5: all experts of a layer in one tensor."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        moe = next(f"{prefix}{name}." for name in ("mlp", "block_sparse_moe")
                   if f"{prefix}{name}.gate.weight" in weights)
        gate, up, down = (("w1", "w3", "w2") if "sparse" in moe
                          else ("gate_proj", "up_proj", "down_proj"))
        count = weights[moe + "gate.weight"].shape[0]

        def take(part):
            return [weights.pop(f"{moe}experts.{e}.{part}.weight") for e in range(count)]

        gates, ups, downs = take(gate), take(up), take(down)
        weights[prefix + "mlp.experts.gate_up_proj"] = torch.stack(
            [torch.cat(pair) for pair in zip(gates, ups)])
        weights[prefix + "mlp.experts.down_proj"] = torch.stack(downs)
        weights[prefix + "mlp.gate.weight"] = weights.pop(moe + "gate.weight")
    save_file(weights, path, metadata={"format": "pt"})


def main():
    root = pathlib.Path(sys.argv[1])
    torch.set_num_threads(1)
    for seed, (name, family, settings) in enumerate(cases()):
        if not name.startswith(sys.argv[2] if len(sys.argv) > 2 else ""):
            continue
        torch.manual_seed(seed)
        kind, own = FAMILIES[family]
        config = getattr(transformers, kind + "Config")(**{**COMMON, **own, **settings})
        make = getattr(transformers, kind + "ForCausalLM")
        model = make(config).float().eval()
        randomise(model)
        if name.endswith("gqa_untied_1"):
            # Stored in bf16: a reader must compute in fp32 all the same. Converting the
            # model back would keep rotary frequencies that were rounded too.
            model.to(torch.bfloat16).save_pretrained(root / name)
            model = make.from_pretrained(root / name, dtype=torch.float32).eval()
        else:
            model.save_pretrained(root / name)
        save_file(reference(model), root / name / "reference.safetensors")
        if name.endswith("_0") or "llama3" in name or name == "llama_linear":
            as_version_4(root / name)
        if own and name.endswith("mha_untied_1"):
            fuse(root / name, config.num_hidden_layers)


if __name__ == "__main__":
    main()
