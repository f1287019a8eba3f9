#!/usr/bin/env python3
"""Where merges lose gains: logits of router rows inside the router study's own and merged models.

    deploy/router_study_drift.py --anchor DIR --directory STUDY [--windows N] [--domains A,B]

Reads what `router_study.py` left in STUDY and computes layers 20 to 29 again with PyTorch. Per
domain it prints the mean logit of the owner's row on its own training text, layer by layer, once
in the anchor (what the row was fitted to) and once in the owner's model (anchor and expert); and
on held-out text in the merge of all nine the share of tokens that choose somebody else's expert,
the weight that those get, and whose they are.
"""

import argparse
import pathlib
import sys

import torch
from safetensors.torch import load_file

from router_study import texts
from router_study.federation import FIRST_LAYER
from router_study.tail import LAYERS, Tail, load_expert

def numbers(values) -> str:
    return " ".join(f"{value:5.2f}" for value in values)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--anchor", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--directory", type=pathlib.Path, required=True, metavar="STUDY")
    parser.add_argument("--windows", type=int, default=8, help="of every text")
    parser.add_argument("--domains", default=",".join(texts.DOMAINS))
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    jobs = options.directory / "jobs"
    experts = {name: load_expert(jobs / "experts" / name / "export.safetensors")
               for name in texts.DOMAINS}
    tail = Tail(options.anchor, 256)
    for name in options.domains.split(","):
        trunk = load_file(jobs / "sites" / name / "trunk.safetensors")
        seen = load_file(jobs / "sites" / name / "activations.safetensors")
        anchor = [(seen[f"layers.{layer}.x"].float()
                   @ experts[name][f"layers.{layer}.router.weight"]).mean().item()
                  for layer in range(FIRST_LAYER, LAYERS)]
        own = [logits[:, 1].mean().item() for _, logits, _ in
               tail.run(trunk["train"][:options.windows], [experts[name]])]
        index = 1 + texts.DOMAINS.index(name)
        weights = torch.stack([found for _, _, found in tail.run(
            trunk["heldout"][:options.windows], list(experts.values()))])
        others = weights.clone()
        others[..., 0] = others[..., index] = 0
        whose = sorted(zip(others.mean((0, 1))[1:].tolist(), texts.DOMAINS), reverse=True)[:3]
        print(f"{name}\n  own row, training text, in the anchor    {numbers(anchor)}\n"
              f"  own row, training text, in its own model {numbers(own)}\n"
              f"  merged, held out: {100 * (others.sum(-1) > 0).float().mean():.0f} % of tokens"
              f" choose a foreign expert; weights: own {weights[..., index].mean():.2f},"
              f" foreign {others.sum(-1).mean():.3f} ("
              + ", ".join(f"{owner} {weight:.3f}" for weight, owner in whose) + ")", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
