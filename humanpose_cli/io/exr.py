"""Writing OpenEXR images: scan lines, ZIP compression; images as half floats, linear light, premultiplied alpha.

Source: OpenEXR's file layout, openexr.com/en/latest/OpenEXRFileLayout.html.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

LightOf: TypeAlias = Callable[[np.ndarray], np.ndarray]

_MAGIC, _VERSION, _HALF, _FLOAT, _ZIP = 20000630, 2, 1, 2, 3
_LINES = 16  # lines of a chunk with ZIP compression


def linear_light(values: np.ndarray) -> np.ndarray:
    """Convert sRGB 0…1 to linear light 0…1, by IEC 61966-2-1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


LINEAR = linear_light(np.arange(256) / 255).astype(np.float32)
"""(256,) float32. `linear_light` of the levels of 8 bits."""


def colour_channels(layer: str, pixels: np.ndarray, light_of: LightOf | None = None) -> dict[str, np.ndarray]:
    """Split an image into channels of linear light by name, multiplied by alpha, as EXR requires.

    Args:
        layer: Beginning of the names: "person." for person.R.
        pixels: (H, W, 3), (H, W, 4) with straight alpha, or (H, W) uint8, sRGB.
        light_of: Returns the light of (H, W, 3) uint8; None takes sRGB's with Rec. 709's primaries.

    Returns:
        (H, W) float16 for each of R, G, B and A, or Y.
    """
    layers = np.atleast_3d(pixels)
    colour = LINEAR[layers[..., :3]] if light_of is None else light_of(layers[..., :3])
    if layers.shape[-1] == 4:
        alpha = layers[..., 3:].astype(np.float32) / 255
        colour = np.concatenate((colour * alpha, alpha), -1)
    names = "Y" if pixels.ndim == 2 else "RGBA"
    return {f"{layer}{name}": np.float16(colour[..., i]) for i, name in enumerate(names[: colour.shape[-1]])}


def exr_of_channels(channels: Mapping[str, np.ndarray], primaries: Sequence[float] | None = None) -> bytes:
    """Encode channels (H, W) float16 or float32, by name, as an EXR file.

    Names have at most 31 characters; the channels of a layer are called LAYER.R, LAYER.G …. `primaries` are eight
    chromaticities; None for those of Rec. 709, which readers assume.
    """
    sorted_channels = [(name, np.ascontiguousarray(channels[name])) for name in sorted(channels)]
    height, width = sorted_channels[0][1].shape
    kinds = {"float16": _HALF, "float32": _FLOAT}
    channel_list = b"".join(
        name.encode() + b"\0" + struct.pack("<IB3xII", kinds[str(values.dtype)], 0, 1, 1)
        for name, values in sorted_channels
    )
    lines = np.concatenate(
        [values.astype(values.dtype.newbyteorder("<")).view(np.uint8) for _, values in sorted_channels], 1
    )
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    head = struct.pack("<II", _MAGIC, _VERSION) + b"".join(
        (
            _attribute("channels", "chlist", channel_list + b"\0"),
            *([_attribute("chromaticities", "chromaticities", struct.pack("<8f", *primaries))] if primaries else []),
            _attribute("compression", "compression", bytes([_ZIP])),
            _attribute("dataWindow", "box2i", window),
            _attribute("displayWindow", "box2i", window),
            _attribute("lineOrder", "lineOrder", b"\0"),
            _attribute("pixelAspectRatio", "float", struct.pack("<f", 1.0)),
            _attribute("screenWindowCenter", "v2f", struct.pack("<2f", 0.0, 0.0)),
            _attribute("screenWindowWidth", "float", struct.pack("<f", 1.0)),
            b"\0",
        )
    )
    chunks = []
    for start in range(0, height, _LINES):
        block = _packed(lines[start : start + _LINES].tobytes())
        chunks.append(struct.pack("<ii", start, len(block)) + block)
    first = len(head) + 8 * len(chunks)
    offsets = np.cumsum([first, *(len(chunk) for chunk in chunks[:-1])], dtype="<u8")
    return b"".join((head, offsets.tobytes(), *chunks))


def _attribute(name: str, kind: str, value: bytes) -> bytes:
    return f"{name}\0{kind}\0".encode() + struct.pack("<i", len(value)) + value


def _packed(data: bytes) -> bytes:
    """Compress as EXR's ZIP does, or return the data if compression does not make them smaller."""
    values = np.frombuffer(data, np.uint8)
    planes = np.concatenate((values[::2], values[1::2]))  # low bytes, then high bytes
    planes[1:] = planes[1:] - planes[:-1] + np.uint8(128)
    return min(data, zlib.compress(planes.tobytes(), 6), key=len)
