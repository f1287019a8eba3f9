#!/usr/bin/env python3
"""Turns a Llama-family GGUF file into a Hugging Face directory.

    convert_gguf.py MODEL.gguf --output DIR

Writes config.json (keys that transformers 4 and 5 both read), model.safetensors
(bfloat16), tokenizer.json, tokenizer_config.json, special_tokens_map.json and
generation_config.json. Quantised tensors are dequantised to fp32 and rounded
once to bfloat16 (nearest, ties to even). The directory appears complete or not
at all: it is written beside DIR and renamed.

Understood: architecture `llama` with plain RoPE, byte-level BPE vocabularies
(`tokenizer.ggml.model` gpt2) whose pre-tokenizer is `smollm` or `gpt-2`.
Anything else is refused by name, so that no model is converted wrongly.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile

import gguf
import numpy as np
import safetensors
import tokenizers

FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)

# GGUF tensor name -> Hugging Face name, outside and inside the blocks.
OUTER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
BLOCK_NAMES = {
    "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}

# Values of tokenizer.ggml.token_type.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5


class ConversionError(ValueError):
    """The file is not one this tool can convert faithfully."""


class Metadata:
    """Key-value section of a GGUF file."""

    def __init__(self, reader: gguf.GGUFReader):
        self._fields = reader.fields

    def get(self, key, default=None):
        field = self._fields.get(key)
        return default if field is None else field.contents()

    def need(self, key):
        value = self.get(key)
        if value is None:
            raise ConversionError(f"metadata: no {key}, wanted a Llama-family GGUF file")
        return value


def shortest(value) -> float:
    """The float whose decimal form is the shortest that names the same fp32
    number: GGUF stores 1e-5 as an fp32, configs spell 1e-05."""
    return float(str(np.float32(value)))


def make_config(meta: Metadata, tensor_names) -> dict:
    """config.json with every key that transformers 4 or 5 looks for."""
    architecture = meta.need("general.architecture")
    if architecture != "llama":
        raise ConversionError(f"general.architecture: got {architecture}, wanted llama")
    for key in ("llama.rope.scaling.type", "llama.expert_count"):
        if meta.get(key) not in (None, "none", 0):
            raise ConversionError(f"{key}: got {meta.get(key)}, wanted none")
    if "rope_freqs.weight" in tensor_names:
        raise ConversionError("rope_freqs.weight: scaled RoPE is not understood")
    heads = int(meta.need("llama.attention.head_count"))
    hidden = int(meta.need("llama.embedding_length"))
    head_dim = int(meta.get("llama.attention.key_length", hidden // heads))
    rotated = int(meta.get("llama.rope.dimension_count", head_dim))
    if rotated != head_dim:
        raise ConversionError(
            f"llama.rope.dimension_count: got {rotated}, wanted the head width {head_dim}")
    theta = shortest(meta.get("llama.rope.freq_base", 10000.0))
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": int(meta.need("tokenizer.ggml.bos_token_id")),
        "dtype": "bfloat16",
        "eos_token_id": int(meta.need("tokenizer.ggml.eos_token_id")),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": int(meta.need("llama.feed_forward_length")),
        "max_position_embeddings": int(meta.need("llama.context_length")),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": int(meta.need("llama.block_count")),
        "num_key_value_heads": int(meta.get("llama.attention.head_count_kv", heads)),
        "pad_token_id": meta.get("tokenizer.ggml.padding_token_id"),
        "pretraining_tp": 1,
        "rms_norm_eps": shortest(meta.need("llama.attention.layer_norm_rms_epsilon")),
        "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
        "rope_scaling": None,
        "rope_theta": theta,
        "tie_word_embeddings": "output.weight" not in tensor_names,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": len(meta.need("tokenizer.ggml.tokens")),
    }


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """fp32 -> bfloat16 bits as uint16, round to nearest, ties to even; finite input."""
    if not np.isfinite(values).all():
        raise ConversionError("tensor holds values that are not finite")
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype("<u2")


def half_split(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF keeps q and k rows in RoPE pairs (2i, 2i+1) of each head; Hugging
    Face rotates the halves (i, i + head_dim/2)."""
    rows, columns = weight.shape
    return (weight.reshape(heads, rows // heads // 2, 2, columns)
            .swapaxes(1, 2).reshape(rows, columns))


def hugging_face_name(name: str, layers: int) -> str:
    if name in OUTER_NAMES:
        return OUTER_NAMES[name]
    part = name.split(".", 2)
    if len(part) == 3 and part[0] == "blk" and part[2] in BLOCK_NAMES and int(part[1]) < layers:
        return f"model.layers.{int(part[1])}.{BLOCK_NAMES[part[2]]}"
    raise ConversionError(f"tensor {name}: not part of a Llama model")


def expected_shapes(config: dict) -> dict:
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    q = config["num_attention_heads"] * config["head_dim"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    shapes = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "input_layernorm.weight": (hidden,),
            prefix + "post_attention_layernorm.weight": (hidden,),
            prefix + "self_attn.q_proj.weight": (q, hidden),
            prefix + "self_attn.k_proj.weight": (kv, hidden),
            prefix + "self_attn.v_proj.weight": (kv, hidden),
            prefix + "self_attn.o_proj.weight": (hidden, q),
            prefix + "mlp.gate_proj.weight": (ffn, hidden),
            prefix + "mlp.up_proj.weight": (ffn, hidden),
            prefix + "mlp.down_proj.weight": (hidden, ffn),
        }
    return shapes


def convert_tensors(reader: gguf.GGUFReader, config: dict) -> dict:
    """Name -> bfloat16 bits of every tensor, checked against the config."""
    expected = expected_shapes(config)
    converted = {}
    for tensor in reader.tensors:
        name = hugging_face_name(tensor.name, config["num_hidden_layers"])
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        weight = weight.reshape([int(size) for size in reversed(tensor.shape)])
        if weight.shape != expected.get(name):
            raise ConversionError(
                f"tensor {name}: got shape {weight.shape}, wanted {expected.get(name)}")
        if name.endswith("q_proj.weight"):
            weight = half_split(weight, config["num_attention_heads"])
        elif name.endswith("k_proj.weight"):
            weight = half_split(weight, config["num_key_value_heads"])
        converted[name] = to_bfloat16(weight)
    missing = sorted(set(expected) - set(converted))
    if missing:
        raise ConversionError(f"tensors missing: {', '.join(missing[:4])}"
                              f" ({len(missing)} in all)")
    return converted


def save_tensors(tensors: dict, path: pathlib.Path) -> None:
    """Writes bfloat16 bits as a safetensors file. NumPy has no bfloat16, so the
    library's NumPy front end cannot be used."""
    specs = {name: safetensors.TensorSpec(dtype="bfloat16", shape=bits.shape,
                                          data_ptr=bits.ctypes.data, data_len=bits.nbytes)
             for name, bits in tensors.items()}
    safetensors.serialize_file(specs, path, {"format": "pt"})


def make_tokenizer(meta: Metadata) -> tokenizers.Tokenizer:
    """Byte-level BPE without normaliser, byte fallback or post-processor."""
    kind = meta.need("tokenizer.ggml.model")
    if kind != "gpt2":
        raise ConversionError(f"tokenizer.ggml.model: got {kind}, wanted gpt2 (byte-level BPE)")
    splitter = meta.get("tokenizer.ggml.pre", "gpt-2")
    byte_level = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=bool(meta.get("tokenizer.ggml.add_space_prefix", False)),
        trim_offsets=True, use_regex=True)
    if splitter == "smollm":
        pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
            [tokenizers.pre_tokenizers.Digits(individual_digits=True), byte_level])
    elif splitter == "gpt-2":
        pre_tokenizer = byte_level
    else:
        raise ConversionError(f"tokenizer.ggml.pre: got {splitter}, wanted smollm or gpt-2")
    tokens = meta.need("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in meta.need("tokenizer.ggml.merges")]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(
        vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    types = meta.get("tokenizer.ggml.token_type", [NORMAL] * len(tokens))
    for token, token_type in zip(tokens, types, strict=True):
        if token_type in (UNKNOWN, CONTROL):
            tokenizer.add_special_tokens(
                [tokenizers.AddedToken(token, special=True, normalized=False)])
        elif token_type == USER_DEFINED:
            tokenizer.add_tokens([tokenizers.AddedToken(token, normalized=False)])
    if tokenizer.get_vocab_size(with_added_tokens=True) != len(tokens):
        raise ConversionError("tokenizer: two tokens share one spelling")
    return tokenizer


def tokenizer_files(meta: Metadata, config: dict, tokenizer) -> dict:
    """tokenizer_config.json and special_tokens_map.json."""
    special = {}
    for name, key in (("bos", "bos_token_id"), ("eos", "eos_token_id"),
                      ("unk", "unknown_token_id"), ("pad", "padding_token_id")):
        index = meta.get(f"tokenizer.ggml.{key}")
        if index is not None:
            special[f"{name}_token"] = tokenizer.id_to_token(int(index))
    added = {
        str(index): {"content": token.content, "lstrip": token.lstrip,
                     "normalized": token.normalized, "rstrip": token.rstrip,
                     "single_word": token.single_word, "special": token.special}
        for index, token in sorted(tokenizer.get_added_tokens_decoder().items())
    }
    tokenizer_config = {
        "add_bos_token": bool(meta.get("tokenizer.ggml.add_bos_token", False)),
        "add_prefix_space": bool(meta.get("tokenizer.ggml.add_space_prefix", False)),
        "added_tokens_decoder": added,
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
        "tokenizer_class": "PreTrainedTokenizerFast",
    } | special
    template = meta.get("tokenizer.chat_template")
    if template is not None:
        tokenizer_config["chat_template"] = template
    return {"tokenizer_config.json": tokenizer_config, "special_tokens_map.json": special}


def write_json(path: pathlib.Path, value) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n",
                    encoding="utf-8")


def is_complete(directory: pathlib.Path) -> bool:
    """Whether convert() has finished there (it renames, so names are enough)."""
    return all((directory / name).is_file() for name in FILES)


def convert(source: pathlib.Path, output: pathlib.Path) -> None:
    """Converts `source` into the new directory `output`; raises ConversionError."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConversionError(f"{output}: exists, wanted a new or an empty directory")
    try:
        reader = gguf.GGUFReader(source)
    except ValueError as error:
        raise ConversionError(f"{source}: not a GGUF file ({error})") from error
    meta = Metadata(reader)
    config = make_config(meta, {tensor.name for tensor in reader.tensors})
    tokenizer = make_tokenizer(meta)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        temporary.chmod(0o755)
        save_tensors(convert_tensors(reader, config), temporary / "model.safetensors")
        tokenizer.save(str(temporary / "tokenizer.json"))
        generation = {"_from_model_config": True}
        generation |= {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")
                       if config[key] is not None}
        write_json(temporary / "generation_config.json", generation)
        for name, value in tokenizer_files(meta, config, tokenizer).items():
            write_json(temporary / name, value)
        write_json(temporary / "config.json", config)
        for path in temporary.iterdir():
            path.chmod(0o644)
        temporary.rename(output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=pathlib.Path, metavar="MODEL.gguf")
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="DIR",
                        help="directory to make")
    arguments = parser.parse_args()
    try:
        convert(arguments.source, arguments.output)
    except (ConversionError, OSError) as error:
        print(f"convert_gguf.py: {error}", file=sys.stderr)
        return 1
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
