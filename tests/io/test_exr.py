"""EXR files hold linear light and premultiplied alpha, as a reader written from the file layout finds them."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from humanpose_cli.io.images import encode_image


def read_exr(data: bytes) -> dict[str, np.ndarray]:
    """The channels (H, W) of a file of half floats with ZIP compression."""
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
    names = channel_names(attributes["channels"])
    lines = np.zeros((height, len(names), width), np.float16)
    for number in range(-(-height // 16)):
        offset = struct.unpack_from("<Q", data, at + 1 + 8 * number)[0]
        first, size = struct.unpack_from("<ii", data, offset)
        rows = min(16, height - first)
        packed, whole = data[offset + 8 : offset + 8 + size], rows * len(names) * width * 2
        if size < whole:
            steps = np.frombuffer(zlib.decompress(packed), np.uint8).astype(int)
            steps[1:] -= 128
            apart = (np.cumsum(steps) % 256).astype(np.uint8)
            values = np.empty(whole, np.uint8)
            values[::2], values[1::2] = apart[: (whole + 1) // 2], apart[(whole + 1) // 2 :]
            packed = values.tobytes()
        lines[first : first + rows] = np.frombuffer(packed, "<f2").reshape(rows, len(names), width)
    return {name: lines[:, row] for row, name in enumerate(names)}


def channel_names(value: bytes) -> list[str]:
    names = []
    while value[0]:
        name, rest = value.split(b"\0", 1)
        names.append(name.decode())
        assert struct.unpack_from("<I", rest)[0] == 1  # half
        value = rest[16:]
    return names


@pytest.mark.parametrize("shape", [(37, 21, 4), (16, 5, 3), (9, 33)])
def test_channels_are_linear_and_multiplied_by_alpha(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pixels[: shape[0] // 2] = pixels[:1]  # something that compresses, and something that does not
    channels = read_exr(encode_image(pixels, ".exr"))
    alpha = pixels[..., 3] / 255 if shape[-1] == 4 else 1.0
    linear = np.where(pixels <= 10, pixels / 255 / 12.92, ((pixels / 255 + 0.055) / 1.055) ** 2.4)
    expected = {"Y": linear} if len(shape) == 2 else {name: linear[..., i] * alpha for i, name in enumerate("RGB")}
    expected |= {"A": alpha} if shape[-1] == 4 else {}
    assert list(channels) == sorted(expected)
    for name, values in expected.items():
        assert np.abs(channels[name] - values).max() < 4e-4
