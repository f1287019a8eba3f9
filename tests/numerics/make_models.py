"""Tiny random models with the logits that transformers computes from them.

usage: make_models.py DIRECTORY
Every folder below DIRECTORY is a Hugging Face model directory with
reference.safetensors: `input_ids.{S}` int64 [B, S] and `logits.{S}` float32
[B, S, V] for several lengths S.
"""

import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

LENGTHS = (1, 7, 40)
COMMON = dict(
    vocab_size=199,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    rms_norm_eps=1e-5,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    tie_word_embeddings=False,
)


def rope(theta, **scaling):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **scaling}}


CASES = {
    "llama_gqa": ("Llama", rope(10000.0)),
    "llama_mha_tied": (
        "Llama",
        dict(num_key_value_heads=4, tie_word_embeddings=True, **rope(500000.0)),
    ),
    "llama_wide_heads": ("Llama", dict(head_dim=24, num_key_value_heads=1, **rope(1e4))),
    "llama_linear": ("Llama", rope(10000.0, rope_type="linear", factor=2.0)),
    "llama_llama3": (
        "Llama",
        rope(
            10000.0,
            rope_type="llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=32,
        ),
    ),
    "olmo2": ("Olmo2", rope(10000.0)),
    "mixtral": ("Mixtral", dict(num_local_experts=5, num_experts_per_tok=2, **rope(1e4))),
    "flex_olmo": (
        "FlexOlmo",
        dict(num_experts=4, num_experts_per_tok=2, norm_topk_prob=False, **rope(1e4)),
    ),
    "olmoe": (
        "Olmoe",
        dict(num_experts=6, num_experts_per_tok=3, norm_topk_prob=True, **rope(1e4)),
    ),
}


def randomise(model):
    """Norm weights and routers away from their neutral starting values."""
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.uniform_(0.5, 1.5)
        else:
            parameter.data.normal_(0, 0.12)


@torch.no_grad()
def main():
    root = pathlib.Path(sys.argv[1])
    for seed, (name, (family, settings)) in enumerate(CASES.items()):
        torch.manual_seed(seed)
        config = getattr(transformers, family + "Config")(**{**COMMON, **settings})
        model = getattr(transformers, family + "ForCausalLM")(config).float().eval()
        randomise(model)
        model.save_pretrained(root / name)
        tensors = {}
        for length in LENGTHS:
            ids = torch.randint(config.vocab_size, (2, length))
            tensors[f"input_ids.{length}"] = ids
            tensors[f"logits.{length}"] = model(ids).logits.float().contiguous()
        save_file(tensors, root / name / "reference.safetensors")


if __name__ == "__main__":
    main()
