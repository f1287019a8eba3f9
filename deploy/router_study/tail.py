"""The study's layers in PyTorch: what is looked at between them, no job of the workers gives."""

import pathlib

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional

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
        """Yields per layer the MoE inputs [B T, h], the logits [B T, E + 1], the public one
        first, and the weights of the chosen, of the same shape."""
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
            yield x, logits, weights


def feedforward(x, weights, prefix):
    gate, up, down = (weights[f"{prefix}{name}_proj.weight"] for name in ("gate", "up", "down"))
    return (functional.silu(x @ gate.T) * (x @ up.T)) @ down.T


def load_expert(file: pathlib.Path) -> dict:
    return {key: value.float() for key, value in load_file(file).items()}
