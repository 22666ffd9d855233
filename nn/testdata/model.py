#!/usr/bin/env python3
"""Writes model.safetensors, weights as torch.nn.Sequential names and shapes
them, and model.json: inputs and what that model gives for them, computed in
float64 from PyTorch's documentation of

    Sequential(Conv2d(2, 4, 3, stride=2, padding=1), GroupNorm(2, 4), ReLU(),
               Conv2d(4, 6, 2, groups=2), Tanh(), Flatten(), Linear(48, 3))

on inputs of 2x9x5. Run it in this folder: python3 model.py
"""
import json
import math
import random

import safetensors as file  # the script beside this one

rng = random.Random(7)


def values(n, scale):  # exact in float32
    return [round(rng.gauss(0, scale) * 4096) / 4096 for _ in range(n)]


def conv(x, shape, w, b, out, k, stride, padding, groups):
    c, h, wd = shape
    kh, kw = k
    oh, ow = (h + 2 * padding - kh) // stride + 1, (wd + 2 * padding - kw) // stride + 1
    cg, og = c // groups, out // groups
    y = []
    for o in range(out):
        for i in range(oh):
            for j in range(ow):
                s = b[o]
                for ci in range(cg):
                    for di in range(kh):
                        for dj in range(kw):
                            r, q = i * stride + di - padding, j * stride + dj - padding
                            if 0 <= r < h and 0 <= q < wd:
                                s += w[((o * cg + ci) * kh + di) * kw + dj] * x[((o // og * cg + ci) * h + r) * wd + q]
                y.append(s)
    return y, (out, oh, ow)


def group_norm(x, shape, groups, gamma, beta, eps=1e-5):
    c, h, w = shape
    per = c // groups * h * w
    y = []
    for g in range(groups):
        part = x[g * per:(g + 1) * per]
        mean = math.fsum(part) / per
        var = math.fsum((v - mean) ** 2 for v in part) / per
        y += [(v - mean) / math.sqrt(var + eps) for v in part]
    return [v * gamma[i // (h * w)] + beta[i // (h * w)] for i, v in enumerate(y)]


w0, b0 = values(4 * 2 * 3 * 3, 0.4), values(4, 0.3)
g1, b1 = [1 + v for v in values(4, 0.2)], values(4, 0.3)
w3, b3 = values(6 * 2 * 2 * 2, 0.4), values(6, 0.3)
w6, b6 = values(3 * 48, 0.3), values(3, 0.3)


def forward(x):
    x, s = conv(x, (2, 9, 5), w0, b0, 4, (3, 3), 2, 1, 1)
    x = [max(v, 0.0) for v in group_norm(x, s, 2, g1, b1)]
    x, s = conv(x, s, w3, b3, 6, (2, 2), 1, 0, 2)
    x = [math.tanh(v) for v in x]
    n = 48
    assert s == (6, 4, 2)
    return [b6[o] + math.fsum(w6[o * n + i] * x[i] for i in range(n)) for o in range(3)]


inputs = [values(2 * 9 * 5, 1.0) for _ in range(5)]
outputs = [forward(x) for x in inputs]
file.write("model.safetensors", [
    ("6.weight", "F64", [3, 48], w6), ("6.bias", "F32", [3], b6),
    ("0.weight", "F32", [4, 2, 3, 3], w0), ("0.bias", "F32", [4], b0),
    ("1.weight", "F32", [4], g1), ("1.bias", "F32", [4], b1),
    ("3.weight", "F32", [6, 2, 2, 2], w3), ("3.bias", "F32", [6], b3),
], {"format": "pt"})
with open("model.json", "w") as f:
    json.dump({"inputs": inputs, "outputs": outputs}, f)
