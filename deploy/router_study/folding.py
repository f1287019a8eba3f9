"""Rows without a bias from rows with one, as exports to formats without biases make them
(coordinator/export/fold_bias.h), written down once more."""

import pathlib

import torch
from safetensors.torch import load_file, save_file

RIDGE = 1e-3  # of the mean eigenvalue


def nearly_one(statistics: dict, layer: int) -> torch.Tensor:
    """The u whose product with the layer's public inputs is as near to 1 as can be."""
    prefix = f"layers.{layer}."
    inputs = torch.cat([tensor.double() for name, tensor in statistics.items()
                        if name.startswith(prefix) and not name.endswith(".importance")])
    second = inputs.T @ inputs
    second += RIDGE * second.trace() / len(second) * torch.eye(len(second), dtype=second.dtype)
    return torch.linalg.solve(second, inputs.sum(0))


def fold(rows: list, public_statistics: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes every file of `rows` into `folder`, by its index."""
    statistics = load_file(public_statistics)
    ones = {}
    for index, path in enumerate(rows):
        tensors = load_file(path)
        folded = {}
        for name, weight in tensors.items():
            if name.endswith(".weight"):
                layer = int(name.split(".")[1])
                bias = tensors[name.replace(".weight", ".bias")].double()
                # Layers that do not route have a row of zeros and no public inputs.
                if bias != 0:
                    if layer not in ones:
                        ones[layer] = nearly_one(statistics, layer)
                    weight = weight.double() + bias * ones[layer]
                folded[name] = weight.float()
        save_file(folded, folder / f"{index}.safetensors")
