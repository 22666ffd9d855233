"""Makes numpy_model.safetensors and numpy_model.json with numpy alone.

    python3 numpy_model.py

The first holds a small network: weights named and shaped as PyTorch names and shapes
them, and in the metadata "sotto.model" the list of layers. The second holds inputs and
what this script's own forward pass makes of them.
"""

import json
import struct

import numpy as np

rng = np.random.default_rng(2026)


def weights(*shape):
    fan = np.prod(shape[1:])
    return (rng.standard_normal(shape) / np.sqrt(fan)).astype("<f4")


tensors = {
    "0.weight": weights(3, 1, 3, 3),
    "0.bias": (rng.standard_normal(3) / 10).astype("<f4"),
    "3.weight": weights(16, 48),
    "3.bias": (rng.standard_normal(16) / 10).astype("<f4"),
    "5.weight": weights(4, 16),
    "5.bias": (rng.standard_normal(4) / 10).astype("<f4"),
}
model = {
    "input": [1, 8, 8],
    "layers": [
        {"type": "Conv2D", "Out": 3, "Kernel": 3, "Stride": 2, "Padding": 1},
        {"type": "Square"},
        {"type": "Flatten"},
        {"type": "Linear", "Out": 16},
        {"type": "Tanh"},
        {"type": "Linear", "Out": 4},
    ],
}

header, data = {"__metadata__": {"sotto.model": json.dumps(model)}}, b""
for name, t in sorted(tensors.items()):
    header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [len(data), len(data) + t.nbytes]}
    data += t.tobytes()
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open("numpy_model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + data)


def forward(x):
    x = np.pad(x.astype(np.float64), 1)
    y = np.zeros((3, 4, 4))
    for c in range(3):
        for i in range(4):
            for j in range(4):
                y[c, i, j] = np.sum(x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * tensors["0.weight"][c, 0]) + tensors["0.bias"][c]
    h = np.tanh(tensors["3.weight"].astype(np.float64) @ (y**2).ravel() + tensors["3.bias"])
    return tensors["5.weight"].astype(np.float64) @ h + tensors["5.bias"]


inputs = rng.random((40, 8, 8), dtype=np.float32)
with open("numpy_model.json", "w") as f:
    json.dump({
        "inputs": [[round(float(v), 4) for v in x.ravel()] for x in inputs],
        "outputs": [forward(np.round(x.astype(np.float64), 4)).tolist() for x in inputs],
    }, f)
    f.write("\n")
