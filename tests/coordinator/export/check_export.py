"""Loads an exported directory with transformers, without remote code.

usage: check_export.py DIRECTORY LOGITS.safetensors
LOGITS holds `input_ids` and the `logits` wanted. Prints a JSON object: the
load report, the class and the largest difference of logits.
"""

import json
import sys

import torch
import transformers
from safetensors.torch import load_file

directory, wanted = sys.argv[1], load_file(sys.argv[2])
model, report = transformers.AutoModelForCausalLM.from_pretrained(
    directory, dtype=torch.float32, output_loading_info=True
)
with torch.no_grad():
    logits = model.eval()(wanted["input_ids"]).logits
print(
    json.dumps(
        {
            "class": type(model).__name__,
            "problems": sorted(str(k) for keys in report.values() for k in keys),
            "difference": (logits - wanted["logits"]).abs().max().item(),
        }
    )
)
