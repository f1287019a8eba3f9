#!/usr/bin/env python3
"""One training step of a 2-expert model in PyTorch, as bench_training.cc has it.

    training.py transformers-eager|transformers-grouped|careful VOCABULARY [--steps N]

Width 512, 4 layers, two experts of 1376 of which one is trained, 2 windows of 512
tokens, KL to the 128 likeliest tokens of a teacher, clipping, fused AdamW. Prints
{"seconds", "growth_mib", "all_seconds"}; growth is the peak of resident memory, without
pages of files, over what is resident when model and data are in memory.

transformers: MixtralForCausalLM from a configuration; its experts are one tensor, so
that the gradient of the frozen one is set to zero before the optimizer.
careful: written by hand: frozen weights without gradients, scaled_dot_product_attention,
the head in chunks that turn into their gradient.
"""

import argparse
import json
import pathlib
import statistics
import time

import torch
import torch.nn.functional as F

HIDDEN, LAYERS, WIDTH, HEADS = 512, 4, 1376, 8
WINDOWS, LENGTH, KEPT = 2, 512, 128
CHUNK_ELEMENTS = 8 << 20


def resident(field):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


class ChunkedKl(torch.autograd.Function):
    """mean over tokens of sum_j q_j (log q_j - log p_j) and a bucket for the rest."""

    @staticmethod
    def forward(context, hidden, head, ids, log_q, log_tail):
        tokens, vocabulary = hidden.shape[0], head.shape[0]
        rows = max(16, CHUNK_ELEMENTS // vocabulary)
        gradient = torch.empty_like(hidden)
        total = 0.0
        for begin in range(0, tokens, rows):
            part = slice(begin, min(begin + rows, tokens))
            logits = hidden[part] @ head.T
            logits -= logits.logsumexp(1, keepdim=True)
            log_p = logits.gather(1, ids[part])
            q, tail_q = log_q[part].exp(), log_tail[part].exp().unsqueeze(1)
            logits.exp_()
            tail_p = (1 - log_p.exp().sum(1, keepdim=True)).clamp_min(1e-30)
            total += float((q * (log_q[part] - log_p)).sum()
                           + (tail_q * (log_tail[part].unsqueeze(1) - tail_p.log())).sum())
            logits *= 1 - tail_q / tail_p
            logits.scatter_(1, ids[part], log_p.exp() - q)
            torch.mm(logits, head, out=gradient[part])
        context.save_for_backward(gradient.div_(tokens))
        return hidden.new_tensor(total / tokens)

    @staticmethod
    def backward(context, grad):
        return context.saved_tensors[0] * grad, None, None, None, None


class Careful:
    def __init__(self, vocabulary):
        def matrix(rows, columns):
            return torch.randn(rows, columns) * 0.02

        self.head = matrix(vocabulary, HIDDEN)
        self.layers = [{
            "norm1": torch.ones(HIDDEN), "norm2": torch.ones(HIDDEN),
            "qkv": matrix(3 * HIDDEN, HIDDEN), "o": matrix(HIDDEN, HIDDEN),
            "row": matrix(1, HIDDEN)[0],
            **{f"{part}{expert}": matrix(*((HIDDEN, WIDTH) if part == "down"
                                           else (WIDTH, HIDDEN)))
               for part in ("gate", "up", "down") for expert in (0, 1)},
        } for _ in range(LAYERS)]
        self.trained = [layer[f"{part}1"].requires_grad_()
                        for layer in self.layers for part in ("gate", "up", "down")]
        frequency = 10000.0 ** (-torch.arange(0, HIDDEN // HEADS, 2) / (HIDDEN // HEADS))
        angle = torch.outer(torch.arange(LENGTH), frequency)
        angle = torch.cat([angle, angle], -1)
        self.cos, self.sin = angle.cos(), angle.sin()

    def rotate(self, x):
        half = x.shape[-1] // 2
        return x * self.cos + torch.cat([-x[..., half:], x[..., :half]], -1) * self.sin

    def attend(self, layer, x):
        q, k, v = (part.view(WINDOWS, LENGTH, HEADS, -1).transpose(1, 2)
                   for part in F.linear(x, layer["qkv"]).split(HIDDEN, -1))
        y = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
        return F.linear(y.transpose(1, 2).reshape(WINDOWS, LENGTH, HIDDEN), layer["o"])

    def loss(self, data):
        x = data["trunk"]
        for layer in self.layers:
            x = x + self.attend(layer, F.rms_norm(x, (HIDDEN,), layer["norm1"], 1e-5))
            y = F.rms_norm(x, (HIDDEN,), layer["norm2"], 1e-5)
            share = torch.sigmoid(y @ layer["row"]).unsqueeze(-1)
            mlps = [F.linear(F.silu(F.linear(y, layer[f"gate{e}"]))
                             * F.linear(y, layer[f"up{e}"]), layer[f"down{e}"])
                    for e in (0, 1)]
            x = x + (1 - share) * mlps[0] + share * mlps[1]
        hidden = F.rms_norm(x, (HIDDEN,), torch.ones(HIDDEN), 1e-5)[:, :-1]
        return ChunkedKl.apply(hidden.reshape(-1, HIDDEN), self.head, data["ids"],
                               data["log_q"], data["log_tail"])

    def before_step(self):
        pass


class Transformers:
    def __init__(self, vocabulary, implementation):
        import transformers
        config = transformers.MixtralConfig(
            vocab_size=vocabulary, hidden_size=HIDDEN, intermediate_size=WIDTH,
            num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=HEADS,
            num_local_experts=2, num_experts_per_tok=2, tie_word_embeddings=True,
            sliding_window=None, attn_implementation="sdpa",
            experts_implementation=implementation)
        self.model = transformers.MixtralForCausalLM(config).train()
        self.trained = []
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(".experts." in name)
            if parameter.requires_grad:
                self.trained.append(parameter)
        assert len(self.trained) == 2 * LAYERS, "experts are not where they were"
        chosen = self.model.config._experts_implementation
        assert chosen == implementation, f"got {chosen}, wanted {implementation}"

    def loss(self, data):
        logits = self.model(inputs_embeds=data["trunk"], use_cache=False).logits[:, :-1]
        log_p = logits.reshape(-1, logits.shape[-1]).log_softmax(-1)
        kept = log_p.gather(1, data["ids"])
        tail_p = (1 - kept.exp().sum(1)).clamp_min(1e-30).log()
        q, tail = data["log_q"].exp(), data["log_tail"].exp()
        return ((q * (data["log_q"] - kept)).sum(1) + tail * (data["log_tail"] - tail_p)).mean()

    def before_step(self):
        for parameter in self.trained:
            parameter.grad[0].zero_()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("transformers-eager", "transformers-grouped", "careful"))
    parser.add_argument("vocabulary", type=int)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    vocabulary = arguments.vocabulary
    if arguments.kind == "careful":
        model = Careful(vocabulary)
    else:
        model = Transformers(vocabulary, "eager" if arguments.kind.endswith("eager")
                             else "grouped_mm")
    tokens = WINDOWS * (LENGTH - 1)
    ids = torch.topk(torch.randn(tokens, vocabulary), KEPT)[1]
    data = {"trunk": torch.randn(WINDOWS, LENGTH, HIDDEN), "ids": ids,
            "log_q": torch.randn(tokens, KEPT).log_softmax(1) - 0.1054,
            "log_tail": torch.full((tokens,), -2.3)}
    before = resident("RssAnon")
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    optimizer = torch.optim.AdamW(model.trained, lr=1e-4, betas=(0.9, 0.95),
                                  weight_decay=0.0, fused=True)
    seconds = []
    for step in range(arguments.steps + 2):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model.loss(data).backward()
        model.before_step()
        torch.nn.utils.clip_grad_norm_(model.trained, 1.0)
        optimizer.step()
        if step >= 2:
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": statistics.median(seconds), "all_seconds": seconds,
                      "growth_mib": resident("VmHWM") - resident("RssFile") - before}))


if __name__ == "__main__":
    main()
