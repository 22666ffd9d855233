#!/usr/bin/env python3
"""Writes types.safetensors (every float type, odd shapes) and types.json (the
values that a reader must find). Written from the format's description, with
struct and json alone. Run it in this folder: python3 safetensors.py
"""
import json
import struct


def bf16(x):
    return struct.pack("<f", x)[2:]  # the values here need no rounding


def write(name, tensors, metadata):
    """tensors: list of (name, dtype, shape, list of floats), in file order."""
    header, data = {"__metadata__": metadata}, b""
    for key, dtype, shape, values in tensors:
        if dtype == "BF16":
            raw = b"".join(bf16(x) for x in values)
        else:
            raw = struct.pack("<%d%s" % (len(values), {"F16": "e", "F32": "f", "F64": "d"}[dtype]), *values)
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(name, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    half = [0.0, -0.0, 1.0, -1.5, 65504.0, 2.0 ** -14, 2.0 ** -24, -1023 * 2.0 ** -24, 0.333251953125, 2048.0]
    tensors = [
        ("wide", "F64", [2, 3], [1.0, -2.5, 3.4e38, 1e-300, 2.0 ** -149, 0.1]),
        ("half", "F16", [5, 2], half),
        ("brain", "BF16", [4], [1.0, -3.0, 2.0 ** 127, 2.0 ** -133]),
        ("single", "F32", [1, 2, 1, 2], [1.0, -0.0, 16777217.0, 1e-45]),
        ("scalar", "F32", [], [42.0]),
        ("empty", "F32", [3, 0], []),
    ]
    write("types.safetensors", tensors, {"format": "pt", "né": "\"quoted\" <&>\n"})
    f32 = lambda x: struct.unpack("<f", struct.pack("<f", x))[0]
    with open("types.json", "w") as f:
        json.dump({k: {"shape": s, "data": [f32(x) for x in v]} for k, _, s, v in tensors}, f, indent=0)
    # What a writer that sorts by name and writes F32 must give, byte for byte.
    write("sorted.safetensors", sorted((k, "F32", s, v) for k, _, s, v in tensors), {"format": "pt", "né": "\"quoted\" <&>\n"})
