#!/usr/bin/env python3
"""Writes optimizers.json: parameters after each step under torch.optim's
published update rules (SGD, Adam, AdamW, LambdaLR), in 50-digit decimals.

Written from PyTorch's documentation, without reading the Go code. Run it in
this folder: python3 optimizers.py > optimizers.json
"""
import json
import math
from decimal import Decimal as D, getcontext

getcontext().prec = 50
STEPS, DIM = 15, 7


def lcg(seed):
    while True:
        seed = (seed * 1103515245 + 12345) % (1 << 31)
        yield (seed >> 16) % 4096 - 2048


def vectors():
    r = lcg(2024)
    params = [next(r) / 1024 for _ in range(DIM)]
    grads = [[next(r) / 2048 for _ in range(DIM)] for _ in range(STEPS)]
    grads[3] = [0.0] * DIM
    grads[5][2] = 2.0 ** -20
    grads[6][1] = 1000.0
    return params, grads


def sgd(p, grads, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    mu, wd = D(momentum), D(weight_decay)
    buf = [None] * len(p)
    for t, gs in enumerate(grads):
        rate = lr(t)
        for i, g in enumerate(gs):
            g = D(g)
            if wd != 0:
                g = g + wd * p[i]
            if mu != 0:
                buf[i] = mu * buf[i] + g if t > 0 else g
                g = g + mu * buf[i] if nesterov else buf[i]
            p[i] = p[i] - rate * g
        yield list(p)


def adam(p, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    b1, b2, eps, wd = D(betas[0]), D(betas[1]), D(eps), D(weight_decay)
    m, v = [D(0)] * len(p), [D(0)] * len(p)
    for t, gs in enumerate(grads, 1):
        rate = lr(t - 1)
        for i, g in enumerate(gs):
            g = D(g)
            if decoupled:
                p[i] = p[i] - rate * wd * p[i]
            else:
                g = g + wd * p[i]
            m[i] = b1 * m[i] + (1 - b1) * g
            v[i] = b2 * v[i] + (1 - b2) * g * g
            mhat = m[i] / (1 - b1 ** t)
            vhat = v[i] / (1 - b2 ** t)
            p[i] = p[i] - rate * mhat / (vhat.sqrt() + eps)
        yield list(p)


def constant(rate):
    return lambda t: D(rate)


def warm_cosine(rate, warm, total, floor):
    def f(t):
        if t < warm:
            s = (t + 1) / warm
        elif t >= total:
            s = floor
        else:
            s = floor + (1 - floor) * (1 + math.cos(math.pi * (t - warm) / (total - warm))) / 2
        return D(rate) * D(s)
    return f


CASES = [
    ("SGD", dict(LearningRate=0.5), sgd, dict(lr=constant(0.5))),
    ("SGD", dict(LearningRate=0.1, WeightDecay=0.25), sgd, dict(lr=constant(0.1), weight_decay=0.25)),
    ("SGD", dict(LearningRate=0.1, Momentum=0.9), sgd, dict(lr=constant(0.1), momentum=0.9)),
    ("SGD", dict(LearningRate=0.1, Momentum=0.9, Nesterov=True, WeightDecay=0.01), sgd,
     dict(lr=constant(0.1), momentum=0.9, nesterov=True, weight_decay=0.01)),
    ("SGD", dict(LearningRate=0.2, Momentum=0.5, Schedule=dict(WarmUp=4, Cosine=12, Floor=0.1)), sgd,
     dict(lr=warm_cosine(0.2, 4, 12, 0.1), momentum=0.5)),
    ("Adam", dict(), adam, dict(lr=constant(1e-3))),
    ("Adam", dict(LearningRate=0.05, Beta1=0.8, Beta2=0.95, Eps=1e-3, WeightDecay=0.1), adam,
     dict(lr=constant(0.05), betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)),
    ("AdamW", dict(), adam, dict(lr=constant(1e-3), weight_decay=1e-2, decoupled=True)),
    ("AdamW", dict(LearningRate=0.1, Beta1=0.5, Beta2=0.9, WeightDecay=0.5, Schedule=dict(Cosine=10)), adam,
     dict(lr=warm_cosine(0.1, 0, 10, 0.0), betas=(0.5, 0.9), weight_decay=0.5, decoupled=True)),
]

params, grads = vectors()
out = {"params": params, "grads": grads, "cases": []}
for rule, config, run, kwargs in CASES:
    p = [D(x) for x in params]
    out["cases"].append({"rule": rule, "config": config,
                         "want": [[float(x) for x in row] for row in run(p, grads, **kwargs)]})
print(json.dumps(out, indent=None, separators=(",", ":")).replace('{"rule"', '\n{"rule"'))
