"""Makes models for mergekit-moe and times it.

usage: mergekit_moe.py make FOLDER          four Llama models of one width in bf16
       mergekit_moe.py config FOLDER FILE   mergekit's configuration
The caller runs mergekit-moe itself: its start-up belongs to what a user waits for.
"""

import json
import pathlib
import shutil
import sys

MODELS = 4
TOKENIZER = pathlib.Path(__file__).resolve().parents[2] / "fixtures/tiny_anchor"


def make(folder):
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=8192, hidden_size=1024, intermediate_size=2816, num_hidden_layers=8,
        num_attention_heads=16, num_key_value_heads=8, max_position_embeddings=2048,
        rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    for index in range(MODELS):
        torch.manual_seed(index)
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
        model.save_pretrained(folder / f"model-{index}")
        for name in ("tokenizer.json", "tokenizer_config.json"):  # mergekit loads one
            shutil.copy(TOKENIZER / name, folder / f"model-{index}")
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    print(json.dumps({"bytes": size}))


def write_config(folder, file):
    lines = [f"base_model: {folder}/model-0", "gate_mode: random", "dtype: bfloat16",
             "architecture: mixtral", "experts:"]
    for index in range(MODELS):
        lines += [f"  - source_model: {folder}/model-{index}", "    positive_prompts: ['']"]
    file.write_text("\n".join(lines) + "\n")
    print("{}")


if sys.argv[1] == "make":
    make(pathlib.Path(sys.argv[2]))
else:
    write_config(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
