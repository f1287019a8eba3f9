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
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn import functional

from router_study import texts
from router_study.federation import FIRST_LAYER

LAYERS, HEADS, KEY_VALUE_HEADS, HEAD, EPSILON, THETA = 30, 9, 3, 64, 1e-5, 100000.0


class Tail:
    """Layers 20 to 29 of SmolLM2-135M with experts beside them. B windows, T tokens."""

    def __init__(self, anchor: pathlib.Path, tokens: int):
        with safe_open(anchor / "model.safetensors", "pt") as file:
            wanted = tuple(f"model.layers.{layer}." for layer in range(FIRST_LAYER, LAYERS))
            self._weights = {name: file.get_tensor(name).float() for name in file.keys()
                             if name.startswith(wanted)}
        frequency = THETA ** (-torch.arange(0, HEAD, 2).float() / HEAD)
        angle = torch.arange(tokens).float()[:, None] * frequency
        self._cosine, self._sine = (torch.cat([f(angle)] * 2, -1) for f in (torch.cos, torch.sin))

    def _norm(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON) * self._weights[name]

    def _rotate(self, x):
        first, second = x.chunk(2, -1)
        return x * self._cosine + torch.cat([-second, first], -1) * self._sine

    def _attention(self, x, prefix):
        def heads(name, count):
            y = x @ self._weights[f"{prefix}{name}_proj.weight"].T
            return y.view(*x.shape[:2], count, HEAD).transpose(1, 2)
        groups = HEADS // KEY_VALUE_HEADS
        keys = self._rotate(heads("k", KEY_VALUE_HEADS)).repeat_interleave(groups, 1)
        values = heads("v", KEY_VALUE_HEADS).repeat_interleave(groups, 1)
        y = functional.scaled_dot_product_attention(
            self._rotate(heads("q", HEADS)), keys, values, is_causal=True)
        return y.transpose(1, 2).reshape(x.shape) @ self._weights[f"{prefix}o_proj.weight"].T

    def run(self, hidden_BTD, experts: list, top_k: int = 2):
        """Yields (logits [B T, E + 1], the public one first, weights of the chosen) per layer."""
        for layer in range(FIRST_LAYER, LAYERS):
            prefix = f"model.layers.{layer}."
            hidden_BTD = hidden_BTD + self._attention(
                self._norm(hidden_BTD, prefix + "input_layernorm.weight"), prefix + "self_attn.")
            x = self._norm(hidden_BTD, prefix + "post_attention_layernorm.weight").flatten(0, 1)
            logits = torch.stack([torch.zeros(len(x))] + [
                x @ e[f"layers.{layer}.router.weight"] + e[f"layers.{layer}.router.bias"]
                for e in experts], 1)
            best, chosen = logits.topk(min(top_k, logits.shape[1]), -1)
            weights = torch.zeros_like(logits).scatter_(1, chosen, best.softmax(-1))
            y = weights[:, :1] * feedforward(x, self._weights, prefix + "mlp.")
            for i, expert in enumerate(experts, 1):
                rows = weights[:, i].nonzero()[:, 0]
                y[rows] += weights[rows, i:i + 1] * feedforward(x[rows], expert,
                                                                f"layers.{layer}.")
            hidden_BTD = hidden_BTD + y.view_as(hidden_BTD)
            yield logits, weights


def feedforward(x, weights, prefix):
    gate, up, down = (weights[f"{prefix}{name}_proj.weight"] for name in ("gate", "up", "down"))
    return (functional.silu(x @ gate.T) * (x @ up.T)) @ down.T


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
    experts = {name: {key: value.float() for key, value in load_file(
        jobs / "experts" / name / "export.safetensors").items()} for name in texts.DOMAINS}
    tail = Tail(options.anchor, 256)
    for name in options.domains.split(","):
        trunk = load_file(jobs / "sites" / name / "trunk.safetensors")
        seen = load_file(jobs / "sites" / name / "activations.safetensors")
        anchor = [(seen[f"layers.{layer}.x"].float()
                   @ experts[name][f"layers.{layer}.router.weight"]).mean().item()
                  for layer in range(FIRST_LAYER, LAYERS)]
        own = [logits[:, 1].mean().item() for logits, _ in
               tail.run(trunk["train"][:options.windows], [experts[name]])]
        index = 1 + texts.DOMAINS.index(name)
        weights = torch.stack([found for _, found in tail.run(
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
