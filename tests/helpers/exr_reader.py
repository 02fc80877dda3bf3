"""A reader of OpenEXR files that is written from the file layout, apart from the writer."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def read_exr(data: bytes) -> dict[str, np.ndarray]:
    """The channels (H, W) of a file of half floats and floats with ZIP compression."""
    assert struct.unpack_from("<II", data) == (20000630, 2)
    at, attributes = 8, {}
    while data[at]:
        name, kind, _ = data[at : at + 64].split(b"\0", 2)
        at += len(name) + len(kind) + 2
        size = struct.unpack_from("<i", data, at)[0]
        attributes[name.decode()] = data[at + 4 : at + 4 + size]
        at += 4 + size
    assert attributes["compression"] == b"\3"
    right, bottom = struct.unpack("<8x2i", attributes["dataWindow"])
    width, height = right + 1, bottom + 1
    channels = channels_of(attributes["channels"])
    assert list(channels) == sorted(channels)
    row = width * sum(kind.itemsize for kind in channels.values())
    lines = np.zeros((height, row), np.uint8)
    for number in range(-(-height // 16)):
        offset = struct.unpack_from("<Q", data, at + 1 + 8 * number)[0]
        first, size = struct.unpack_from("<ii", data, offset)
        rows = min(16, height - first)
        packed, length = data[offset + 8 : offset + 8 + size], rows * row
        if size < length:
            steps = np.frombuffer(zlib.decompress(packed), np.uint8).astype(int)
            steps[1:] -= 128
            apart = (np.cumsum(steps) % 256).astype(np.uint8)
            values = np.empty(length, np.uint8)
            values[::2], values[1::2] = apart[: (length + 1) // 2], apart[(length + 1) // 2 :]
            packed = values.tobytes()
        lines[first : first + rows] = np.frombuffer(packed, np.uint8).reshape(rows, row)
    found, start = {}, 0
    for name, kind in channels.items():
        end = start + width * kind.itemsize
        found[name] = np.ascontiguousarray(lines[:, start:end]).view(kind)
        start = end
    return found


def channels_of(value: bytes) -> dict[str, np.dtype]:
    """Name and type of each channel, in the file's order."""
    found = {}
    while value[0]:
        name, rest = value.split(b"\0", 1)
        found[name.decode()] = {1: np.dtype("<f2"), 2: np.dtype("<f4")}[struct.unpack_from("<I", rest)[0]]
        value = rest[16:]
    return found
