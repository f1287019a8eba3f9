"""Files and text: safetensors and tokenizer against the Python packages."""

import json
import statistics
import sys

from frame import REPOSITORY, MeasurementError, Row, median_ratio

ROWS = {23, 24}


def write_files(context, folder):
    """48.safetensors, 1536.safetensors, large.safetensors by hand: the header is JSON."""
    names = ["input_layernorm.weight", "mlp.down_proj.weight", "mlp.gate_proj.weight",
             "mlp.up_proj.weight", "post_attention_layernorm.weight", "self_attn.k_proj.weight",
             "self_attn.o_proj.weight", "self_attn.q_proj.weight", "self_attn.v_proj.weight",
             "mlp.experts.0.w1.weight", "mlp.experts.0.w2.weight", "mlp.experts.0.w3.weight"]
    elements = (16 if context.quick else 256) << 20
    for name, tensors in (("48", names * 4), ("1536", names * 128), ("large", ["x"])):
        each = elements if name == "large" else 128
        header = {}
        for index, tensor in enumerate(tensors):
            key = tensor if name == "large" else f"model.layers.{index // len(names)}.{tensor}"
            header[key] = {"dtype": "BF16", "shape": [each // 16, 16],
                           "data_offsets": [index * each * 2, (index + 1) * each * 2]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(folder / f"{name}.safetensors", "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for _ in range(0, each * 2 * len(tensors), 1 << 20):
                out.write(bytes(min(1 << 20, each * 2 * len(tensors))))
            out.truncate(8 + len(text) + each * 2 * len(tensors))


def write_text(context, folder):
    sys.path.insert(0, str(REPOSITORY / "tests/conformance"))
    import texts
    import tokenizer_families
    by_kind = texts.all_documents(300_000 if context.quick else 3_000_000, None)
    documents = [document for kind in by_kind.values() for document in kind]
    (folder / "documents.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    for name, model, pre_tokenizer in tokenizer_families.families():
        (folder / name).mkdir()
        tokenizer = tokenizer_families.train(model, pre_tokenizer, documents[::4], 16_000)
        tokenizer.save(str(folder / name / "tokenizer.json"))
        (folder / name / "documents.jsonl").symlink_to(folder / "documents.jsonl")
        yield name, sum(len(d.encode()) for d in documents)


def measure(context) -> list:
    folder = context.scratch / "data"
    folder.mkdir()
    rows = []

    def ours(pattern, files):
        return next(iter(context.cpp(pattern, kind="data", BENCHMARK_FILES=str(files)).values()))

    if 23 in context.wanted:
        write_files(context, folder)
        for count in (48, 1536):
            peer, native = context.alternate(
                lambda: context.python("peers/data.py", "open",
                                       folder / f"{count}.safetensors")["seconds"],
                lambda: ours(f"^Open/{count}$", folder).seconds)
            rows.append(Row(23, f"open a file of {count} tensors: Python / ours",
                            median_ratio(peer, native), bar=20,
                            detail=f"{statistics.median(native) * 1e6:.1f} us,"
                            f" {statistics.median(peer) * 1e6:.0f} us"))
        load = ours("^LoadAndUpcast", folder)
        peer = context.python("peers/data.py", "load", folder / "large.safetensors")["seconds"]
        rows.append(Row(23, "load and upcast: copy of as many bytes / ours",
                        load.counters["per_load"], bar=0.85,
                        detail=f"{load.counters['bytes'] / load.counters['load_s'] / 1e9:.1f} GB/s"
                        f" of bf16; Python {load.counters['bytes'] / peer / 1e9:.1f}"))
    if 24 in context.wanted:
        for name, size in write_text(context, folder):
            peer, native = context.alternate(
                lambda: context.python("peers/data.py", "encode", folder / name,
                                       RAYON_NUM_THREADS="1"),
                lambda: ours("^Encode", folder / name))
            if any(p["tokens"] != n.counters["tokens"] for p, n in zip(peer, native)):
                raise MeasurementError(f"tokenizer {name}: the numbers of tokens differ")
            seconds = [n.seconds for n in native]
            rows.append(Row(24, f"tokenizer {name}, one thread: tokenizers / ours",
                            median_ratio([p["seconds"] for p in peer], seconds), bar=1.0,
                            detail=f"{size / statistics.median(seconds) / 1e6:.1f} MB/s"))
    return rows
