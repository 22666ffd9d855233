"""The rules of BenchmarkRules in numpy and in torch, with the library calls of ByzFL's
two back ends (commit 69bd1ac), on one thread, but for the median of an odd number in torch:
that is torch.median here, which is faster than its quantile and takes rows as long as these.

Reads lines and answers each with one:
    n d                        makes rows, of N(0,1): 0
    load PATH n d              reads rows, float32: 0
    call BACKEND RULE f        the seconds that the process computed
    save BACKEND RULE f PATH   writes the result, float32: 0
or, of the last two, why there is no result.
"""
import itertools
import sys
import time

import numpy as np
import torch
from scipy.spatial import distance

torch.set_num_threads(1)


def pairs(x, tools):
    return distance.cdist(x, x) if tools is np else torch.cdist(x, x)


def nearest(values, k, tools, axis):
    if tools is np:
        return np.argpartition(values, k - 1, axis=axis)
    return torch.topk(values, k, dim=axis, largest=False)[1]


def krum_scores(x, f, tools):
    d2 = pairs(x, tools) ** 2
    d2 = np.sort(d2, axis=1) if tools is np else torch.sort(d2, axis=1)[0]
    return d2[:, 1 : len(x) - f].mean(1)


def median(x, f, tools):
    if tools is np:
        return np.median(x, axis=0)
    if len(x) % 2 == 1:
        return torch.median(x, dim=0)[0]
    return torch.quantile(x, 0.5, dim=0)


def trimmed_mean(x, f, tools):
    s = np.sort(x, axis=0) if tools is np else torch.sort(x, dim=0)[0]
    return tools.mean(s[f : len(x) - f], axis=0)


def meamed(x, f, tools):
    k, d = len(x) - f, x.shape[1]
    near = nearest(tools.abs(x - median(x, f, tools)), k, tools, 0)[:k]
    return tools.mean(x.take(near * d + tools.arange(d)), axis=0)


def krum(x, f, tools):
    return x[tools.argmin(krum_scores(x, f, tools))]


def multi_krum(x, f, tools):
    k = len(x) - f
    return tools.mean(x[nearest(krum_scores(x, f, tools), k, tools, 0)[:k]], axis=0)


def weiszfeld(x, f, tools):
    x = x[~tools.any(tools.isinf(x), axis=1)]
    z = tools.zeros_like(x[0])
    for _ in range(3):
        w = tools.linalg.norm(x - z, axis=1)
        w[w < 0.1] = 0.1
        w = (1 / w)[:, None]
        z = tools.sum(x * w, axis=0) / tools.sum(w)
    return z


def centered_clipping(x, f, tools):
    v = tools.zeros_like(x[0])
    difference = x - v
    scale = 100 / tools.linalg.norm(difference, axis=1)
    scale = tools.minimum(tools.ones_like(scale), scale)
    return v + tools.mean(difference * scale[:, None], axis=0)


def nnm_trimmed_mean(x, f, tools):
    k = len(x) - f
    near = nearest(pairs(x, tools), k, tools, 1)[:, :k]
    return trimmed_mean(tools.mean(x[near], axis=1), f, tools)


def minimum_diameter(x, f, tools):
    d, least, best = pairs(x, tools), None, None
    for subset in itertools.combinations(range(len(x)), len(x) - f):
        diameter = tools.max(d[tuple(zip(*itertools.combinations(subset, 2)))])
        if least is None or diameter < least:
            least, best = diameter, subset
    return x[list(best)].mean(0)


RULES = {
    "Median": median,
    "TrimmedMean": trimmed_mean,
    "Meamed": meamed,
    "Krum": krum,
    "MultiKrum": multi_krum,
    "Weiszfeld": weiszfeld,
    "CenteredClipping": centered_clipping,
    "NNMTrimmedMean": nnm_trimmed_mean,
    "MinimumDiameter": minimum_diameter,
}
BACKENDS = {"numpy": np, "torch": torch}

x = None
for line in sys.stdin:
    words = line.split()
    seconds = 0.0
    if words[0] == "load":
        x = np.fromfile(words[1], dtype=np.float32).reshape(int(words[2]), int(words[3]))
    elif words[0] in ("call", "save"):
        tools, rule, f = BACKENDS[words[1]], RULES[words[2]], int(words[3])
        rows = x if tools is np else torch.from_numpy(x)
        began = time.process_time()
        try:
            result = rule(rows, f, tools)
        except (RuntimeError, MemoryError) as e:
            print((str(e) or type(e).__name__).splitlines()[0], flush=True)
            continue
        seconds = time.process_time() - began
        if words[0] == "save":
            np.asarray(result, dtype=np.float32).tofile(words[4])
    else:
        x = np.random.default_rng(1).standard_normal((int(words[0]), int(words[1])), dtype=np.float32)
    print(seconds, flush=True)
