#!/usr/bin/env python3
"""AdamW on 50 M parameters, tensors as bench_training.cc has them, in PyTorch.

    optimizer.py loop|foreach|fused

Prints {"seconds"}: the median of a step of torch.optim.AdamW in that form.
"""

import json
import statistics
import sys
import time

import torch

SHAPE, COUNT = (1376, 512), 72


def main():
    form = sys.argv[1]
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(SHAPE) * 0.02) for _ in range(COUNT)]
    for parameter in parameters:
        parameter.grad = torch.randn(SHAPE) * 1e-6
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, betas=(0.9, 0.95), weight_decay=0.0,
                                  foreach=form == "foreach", fused=form == "fused")
    seconds = []
    for step in range(9):
        start = time.perf_counter()
        optimizer.step()
        if step >= 2:
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": statistics.median(seconds)}))


if __name__ == "__main__":
    main()
