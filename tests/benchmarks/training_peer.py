#!/usr/bin/env python3
"""Times a training stage of a finished quickstart against careful PyTorch.

    training_peer.py --quickstart DIR --worker build/release/bin/tributary-contributor-worker
                     [--contributor german] [--steps 32]

Both sides train the same expert from the same trunk states, tokens, router rows
and start channels, one after the other on this machine: ours is the worker on the
stage's own job file in a fresh folder, the peer is a hand-written PyTorch loop
(trunk cached, frozen weights without gradients, scaled_dot_product_attention, fused
AdamW). Prints a table with seconds a step and the loss curves' largest difference.
"""

import argparse
import json
import math
import pathlib
import subprocess
import tempfile
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


def rms_norm(x, weight, eps):
    return F.rms_norm(x, (x.shape[-1],), weight, eps)


class Peer:
    """The 2-expert model above the trunk, as one would write it in PyTorch."""

    def __init__(self, task):
        directory = pathlib.Path(task["model_directory"])
        self.config = json.loads((directory / "config.json").read_text())
        self.first = int(task["first_layer"])
        weights = load_file(str(directory / "model.safetensors"))
        self.weights = {name: value.float() for name, value in weights.items()
                        if not name.startswith("model.layers.")
                        or int(name.split(".")[2]) >= self.first}
        self.rows = load_file(task["router_path"])
        importance = load_file(task["importance_path"])
        self.layers = range(self.first, self.config["num_hidden_layers"])
        width = int(task["widths"][0])
        self.expert = {}
        for layer in self.layers:
            kept = importance[f"layers.{layer}.importance"].argsort(
                descending=True, stable=True)[:width]
            for name in ("gate", "up", "down"):
                full = self.weights[f"model.layers.{layer}.mlp.{name}_proj.weight"]
                part = full[:, kept] if name == "down" else full[kept]
                self.expert[layer, name] = part.clone().requires_grad_()
        window = torch.arange(int(load_file(task["tokens_path"])["train"].shape[1]))
        head_dim = self.head_dim = self.config.get(
            "head_dim") or self.config["hidden_size"] // self.config["num_attention_heads"]
        frequency = self.config["rope_theta"] ** (
            -torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        angle = torch.outer(window.double(), frequency)
        angle = torch.cat([angle, angle], dim=-1)
        self.cos, self.sin = angle.cos().float(), angle.sin().float()

    def rotate(self, x):
        half = x.shape[-1] // 2
        turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
        return x * self.cos + turned * self.sin

    def attention(self, x, name):
        heads = self.config["num_attention_heads"]
        kv_heads = self.config["num_key_value_heads"]
        batch, length, _ = x.shape

        def project(part, count):
            y = F.linear(x, self.weights[f"{name}.{part}_proj.weight"])
            return y.view(batch, length, count, self.head_dim).transpose(1, 2)

        q = self.rotate(project("q", heads))
        k = self.rotate(project("k", kv_heads))
        y = F.scaled_dot_product_attention(q, k, project("v", kv_heads),
                                           is_causal=True, enable_gqa=True)
        y = y.transpose(1, 2).reshape(batch, length, -1)
        return F.linear(y, self.weights[f"{name}.o_proj.weight"])

    def loss(self, x, targets):
        eps = self.config["rms_norm_eps"]
        for layer in self.layers:
            name = f"model.layers.{layer}"
            x = x + self.attention(
                rms_norm(x, self.weights[f"{name}.input_layernorm.weight"], eps),
                f"{name}.self_attn")
            y = rms_norm(x, self.weights[f"{name}.post_attention_layernorm.weight"], eps)
            score = (y @ self.rows[f"layers.{layer}.router.weight"]
                     + self.rows[f"layers.{layer}.router.bias"])
            share = torch.sigmoid(score).unsqueeze(-1)
            anchor = F.linear(
                F.silu(F.linear(y, self.weights[f"{name}.mlp.gate_proj.weight"]))
                * F.linear(y, self.weights[f"{name}.mlp.up_proj.weight"]),
                self.weights[f"{name}.mlp.down_proj.weight"])
            own = F.linear(F.silu(F.linear(y, self.expert[layer, "gate"]))
                           * F.linear(y, self.expert[layer, "up"]),
                           self.expert[layer, "down"])
            x = x + (1 - share) * anchor + share * own
        x = rms_norm(x, self.weights["model.norm.weight"], eps)
        head = self.weights.get("lm_head.weight",
                                self.weights["model.embed_tokens.weight"])
        return F.cross_entropy(F.linear(x[0, :-1], head), targets[0, 1:].long())


def peer_seconds(task, steps):
    model = Peer(task)
    tokens = load_file(task["tokens_path"])["train"]
    trunk = load_file(task["trunk_path"])["train"]
    optimizer = torch.optim.AdamW(model.expert.values(), lr=1e-3, betas=(0.9, 0.95),
                                  weight_decay=0.0, fused=True)
    seconds, losses = [], []
    for step in range(steps):
        start = time.perf_counter()
        window = step % len(tokens)
        loss = model.loss(trunk[window:window + 1], tokens[window:window + 1])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.expert.values(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[2:])[len(seconds[2:]) // 2], losses


def our_seconds(worker, job):
    with tempfile.TemporaryDirectory() as folder:
        job = dict(job, output_directory=folder)
        path = pathlib.Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        subprocess.run([worker, "--job", str(path)], check=True,
                       stderr=subprocess.DEVNULL)
        result = json.loads((pathlib.Path(folder) / "result.json").read_text())
        text = next(pathlib.Path(folder).glob("*.loss.jsonl")).read_text()
        lines = [line for line in map(json.loads, text.splitlines()) if "loss" in line]
        return result["tasks"][0], lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quickstart", type=pathlib.Path, required=True)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--contributor", default="german")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    stage = (arguments.quickstart / "contributors" / arguments.contributor / "pipeline"
             / arguments.contributor / "train")
    job = json.loads((stage / "job.json").read_text())
    task = job["tasks"][0]["train"]
    ours, curve = our_seconds(arguments.worker, job)
    steps = int(ours["train"]["steps"])
    peer, losses = peer_seconds(task, arguments.steps)
    # The curve has the seconds since the start at the end of every step.
    times = [line["seconds"] for line in curve]
    per_step = sorted(after - before for before, after in zip(times[1:], times[2:]))
    mine = per_step[len(per_step) // 2]
    print(f"{'':28}{'seconds a step':>16}")
    print(f"{'tributary worker':28}{mine:16.3f}")
    print(f"{'careful PyTorch':28}{peer:16.3f}")
    print(f"ratio peer / ours {peer / mine:.2f}; whole stage {ours['seconds']:.1f} s, "
          f"{steps} steps; first loss peer {losses[0]:.3f}")
    assert math.isfinite(losses[-1])


if __name__ == "__main__":
    main()
