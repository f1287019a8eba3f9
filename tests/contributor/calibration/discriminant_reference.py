"""Rows of a discriminant router by Newton's method in NumPy, fp64.

    discriminant_reference.py SAMPLES.safetensors ROWS.safetensors

Input: own, prose, background_0, background_1 [tokens, h]. Output: logistic,
logistic_bias, closed_form, fold (the direction that replaces a bias of 1), and
objective. Written from the definition; it shares nothing with the code under test.
"""

import sys

import numpy as np
from safetensors.numpy import load_file, save_file

TARGET, PROSE, L2, RIDGE, FOLD_RIDGE = 0.5, 0.25, 0.005, 0.02, 1e-3


def ridged(matrix, fraction):
    return matrix + fraction * np.mean(np.diag(matrix)) * np.eye(len(matrix))


def softplus(z):
    return np.logaddexp(0, z)


samples = {name: value.astype(np.float64) for name, value in load_file(sys.argv[1]).items()}
own = samples["own"]
weights = {"prose": PROSE, "background_0": (1 - PROSE) / 2, "background_1": (1 - PROSE) / 2}
negative = np.concatenate([samples[name] for name in weights])
w = np.concatenate([np.full(len(samples[name]), weight / len(samples[name]))
                    for name, weight in weights.items()])
mean = w @ negative
covariance = (negative - mean).T @ ((negative - mean) * w[:, None])
values, vectors = np.linalg.eigh(ridged(covariance, RIDGE))
whiten = vectors @ np.diag(values ** -0.5) @ vectors.T

# Newton on the whitened problem; any square root of the inverse covariance gives the
# same row in the coordinates of x.
x = np.concatenate([own, negative])
white = np.hstack([(x - mean) @ whiten, np.ones((len(x), 1))])
weight = np.concatenate([np.full(len(own), 1 / len(own)), w])
target = np.concatenate([np.full(len(own), TARGET), np.zeros(len(negative))])
penalty = np.full(white.shape[1], 2 * L2)
penalty[-1] = 0
theta = np.zeros(white.shape[1])
for _ in range(50):
    share = 1 / (1 + np.exp(-white @ theta))
    gradient = white.T @ (weight * (share - target)) + penalty * theta
    hessian = white.T @ (white * (weight * share * (1 - share))[:, None]) + np.diag(penalty)
    theta -= np.linalg.solve(hessian + 1e-12 * np.eye(len(theta)), gradient)
z = white @ theta
objective = np.sum(weight * (softplus(z) - target * z)) + L2 * np.sum(theta[:-1] ** 2)
row = whiten @ theta[:-1]

own_second = own.T @ own / len(own)
negative_second = negative.T @ (negative * w[:, None])
closed = np.linalg.solve(ridged(own_second + 3 * negative_second, RIDGE),
                         3 * -3.0 * (w @ negative))
fold = np.linalg.solve(ridged((own_second + negative_second) / 2, FOLD_RIDGE),
                       (own.mean(axis=0) + mean) / 2)
save_file({"logistic": row, "logistic_bias": np.array([theta[-1] - row @ mean]),
           "closed_form": closed, "fold": fold, "objective": np.array([objective])},
          sys.argv[2])
