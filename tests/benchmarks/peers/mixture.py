#!/usr/bin/env python3
"""A Mixtral model of random weights as transformers runs it, one pass when asked.

    mixture.py DIRECTORY

Makes DIRECTORY/uniform and DIRECTORY/ragged: 4 layers, hidden size 1024, 4 experts
of width 2752, top-2; in `ragged` the experts use 2752, 2048, 1376 and 512 channels and
zeros pad the rest, which is how this format stores unequal experts. Each holds
reference.safetensors: input_ids, the logits of each row's last position, the widths.
Then prints {} and, for every line of JSON read, one with the seconds of
  {"case": "uniform", "dtype": "float32", "backend": "eager", "part": "model"}
where part is model (a whole forward pass with all logits) or experts (the first layer's
MoE block on random states).
"""

import json
import pathlib
import sys
import time

import torch
import transformers
from safetensors.torch import save_file

BATCH, LENGTH, WIDTH = 4, 512, 2752
CASES = {"uniform": [WIDTH] * 4, "ragged": [2752, 2048, 1376, 512]}


def make(widths):
    torch.manual_seed(1)
    model = transformers.MixtralForCausalLM(transformers.MixtralConfig(
        vocab_size=8192, hidden_size=1024, intermediate_size=WIDTH, num_hidden_layers=4,
        num_attention_heads=16, num_key_value_heads=8, head_dim=64, num_local_experts=4,
        num_experts_per_tok=2, max_position_embeddings=2048, sliding_window=None,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False)).float().eval()
    for layer in model.model.layers:
        experts = layer.mlp.experts
        # As many tokens for each expert as chance gives.
        layer.mlp.gate.weight.data.normal_(0, 0.05)
        for expert, width in enumerate(widths):
            experts.gate_up_proj.data[expert, width:WIDTH] = 0
            experts.gate_up_proj.data[expert, WIDTH + width:] = 0
            experts.down_proj.data[expert, :, width:] = 0
    return model


class Peer:
    def __init__(self, directory):
        self.ids = torch.randint(8192, (BATCH, LENGTH), generator=torch.Generator().manual_seed(2))
        self.states = torch.randn(BATCH, LENGTH, 1024)
        self.models = {}
        for case, widths in CASES.items():
            model = make(widths)
            model.save_pretrained(directory / case)
            save_file({"input_ids": self.ids, "widths": torch.tensor(widths),
                       "last_logits": model(self.ids, use_cache=False).logits[:, -1].contiguous()},
                      directory / case / "reference.safetensors")
            self.models[case, "float32"] = model
        self.directory = directory

    def model(self, case, dtype, backend):
        key = case, dtype
        if key not in self.models:
            self.models[key] = transformers.MixtralForCausalLM.from_pretrained(
                self.directory / case, dtype=getattr(torch, dtype)).eval()
        self.models[key].set_experts_implementation(backend)
        return self.models[key]

    def seconds(self, case, dtype, backend, part):
        model = self.model(case, dtype, backend)
        if part == "model":
            def run():
                model(self.ids, use_cache=False)
        else:
            states = self.states.to(model.dtype)

            def run():
                model.model.layers[0].mlp(states)
        run()  # warms up what the last request has evicted
        start = time.perf_counter()
        run()
        return time.perf_counter() - start


@torch.no_grad()
def main():
    peer = Peer(pathlib.Path(sys.argv[1]))
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": peer.seconds(**json.loads(line))}), flush=True)


if __name__ == "__main__":
    main()
