"""The formulas of routing analyses, written again with NumPy.

usage: routing_reference.py FILE
FILE holds {"record": ..., "other": ..., "found": ...} as the test wrote it. Prints a JSON
object: per analysis the largest absolute difference to what was found.
"""

import json
import sys

import numpy as np

data = json.load(open(sys.argv[1]))


def one_hot(record):
    """Choices as [L, T, E] of zeros and ones."""
    chosen = np.array(record["chosen"]).reshape(len(record["layers"]), -1, record["top_k"])
    return np.eye(len(record["experts"]))[chosen].sum(2), chosen


def divide(part, whole):
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


record, found = data["record"], data["found"]
hot, chosen = one_hot(record)
layers, tokens, experts = hot.shape
domain = np.eye(len(record["domains"]))[np.array(record["domain"])]

wanted = {"utilisation": hot.mean(1)}
wanted["domain_specialisation"] = np.einsum("lte,td->lde", hot, domain) / domain.sum(0)[None, :, None]
pairs = np.einsum("lti,ltj->lij", hot, hot) * (1 - np.eye(experts))
wanted["co_activation"] = divide(pairs, hot.sum(1)[:, :, None].repeat(experts, 2))
wanted["mean_co_activation"] = divide(pairs.sum(0), hot.sum((0, 1))[:, None].repeat(experts, 1))

first = np.eye(experts)[chosen[:, :, 0]]
for key in ("input", "next", "predicted"):
    ids, counts = np.unique([x for x in record[key] if x >= 0], return_counts=True)
    frequent = ids[counts >= data["min_count"]]
    member = (np.array(record[key])[:, None] == frequent[None, :]).astype(float)
    number = member.sum(0)
    by_first = np.einsum("tx,lte->lxe", member, first)
    wanted[f"{key}_first_choice"] = (by_first.max(2) / number).mean(1)
    shares = np.einsum("tx,lte->lxe", member, hot) / number[None, :, None]
    wanted[f"{key}_mean_share"] = shares.mean(1)
    best = by_first.sum(0) / number[:, None] / layers
    wanted[f"{key}_top"] = best.max(0)

other_hot, _ = one_hot(data["other"])
shared = [e for e in record["experts"] if e in data["other"]["experts"]]
mine = [record["experts"].index(e) for e in shared]
theirs = [data["other"]["experts"].index(e) for e in shared]
common = [l for l in record["layers"] if l in data["other"]["layers"]]
wanted["saturation"] = np.array([
    (hot[record["layers"].index(l)][:, mine] * other_hot[data["other"]["layers"].index(l)][:, theirs])
    .sum(1).mean() / record["top_k"] for l in common])

a, b = np.array(data["importance"][0]), np.array(data["importance"][1])
size = round(data["fraction"] * len(a))
top = [set(np.argsort(-x, kind="stable")[:size]) for x in (a, b)]
wanted["importance_overlap"] = np.array(len(top[0] & top[1]) / size)

print(json.dumps({name: float(np.abs(value - np.array(found[name]).reshape(value.shape)).max())
                  for name, value in wanted.items()}))
