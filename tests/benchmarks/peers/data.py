"""What the Python packages take: a line of JSON with seconds.

    data.py open FILE       names and shapes of a safetensors file
    data.py load FILE       bf16 to fp32 with torch
    data.py encode FOLDER   tokenizer.json on documents.jsonl, one thread
"""

import json
import pathlib
import statistics
import sys
import time


def seconds(run, times: int) -> float:
    run()
    values = []
    for _ in range(times):
        begin = time.perf_counter()
        run()
        values.append(time.perf_counter() - begin)
    return statistics.median(values)


def open_file(path: str) -> dict:
    import safetensors

    def run():
        with safetensors.safe_open(path, framework="np") as file:
            for name in file.keys():
                file.get_slice(name).get_shape()
    return {"seconds": seconds(run, 50)}


def load(path: str) -> dict:
    import safetensors.torch
    return {"seconds": seconds(lambda: safetensors.torch.load_file(path)["x"].float(), 3)}


def encode(folder: str) -> dict:
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_file(str(pathlib.Path(folder) / "tokenizer.json"))
    documents = [json.loads(line) for line in open(pathlib.Path(folder) / "documents.jsonl")]
    tokens = 0

    def run():
        nonlocal tokens
        tokens = sum(len(tokenizer.encode(document, add_special_tokens=False).ids)
                     for document in documents)
    return {"seconds": seconds(run, 1), "tokens": tokens}


if __name__ == "__main__":
    print(json.dumps({"open": open_file, "load": load, "encode": encode}[sys.argv[1]](sys.argv[2])))
