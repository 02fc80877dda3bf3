"""JPEG and PNG bytes of images, label maps and masks: their headers and their pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from humanpose_cli.core.errors import InputError, reason_of
from humanpose_cli.files.value_limits import refuse_image_size
from humanpose_cli.lab.cache.samples import LABEL_MAPS

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_EOI = b"\xff\xd9"
# What Pillow raises on damaged images.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class EncodedHeader:
    """The header of an encoded image.

    Attributes:
        format: "jpeg" or "png".
        size: (width, height) pixels as stored; the orientation of EXIF is not applied.
        bits: Bits of one channel.
        channels: Number of channels, 1…4; 3 for a palette.
        complete: Whether the end marker is present; truncated files have none.
    """

    format: str
    size: tuple[int, int]
    bits: int
    channels: int
    complete: bool


def read_image_header(data: bytes) -> EncodedHeader | None:
    """Read the header of JPEG or PNG bytes; None for other bytes."""
    if data.startswith(_PNG_START) and len(data) >= 33 and data[12:16] == b"IHDR":
        width, height, bits, colour = struct.unpack(">IIBB", data[16:26])
        if colour in _PNG_CHANNELS:
            return EncodedHeader("png", (width, height), bits, _PNG_CHANNELS[colour], _PNG_END in data[-64:])
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            # Only an end marker after the beginning of the scan is the image's, not a thumbnail's.
            complete = data.rfind(_EOI) > image.fp.tell()
            return EncodedHeader("jpeg", image.size, 8, len(image.getbands()), complete)
    except _DAMAGE:
        return None


def map_pixels(path: str) -> tuple[int, int] | None:
    """Return the pixel format of an encoded column's PNGs.

    Args:
        path: Path of the column, such as "pictures/maps/depth".

    Returns:
        Bits per channel and number of channels; None for photographs, which may have any.
    """
    if path == "pictures/image":
        return None
    spec = LABEL_MAPS.get(path.removeprefix("pictures/maps/"))
    return (8, 1) if spec is None else (8 * np.dtype(spec.dtype).itemsize, spec.channels)


def encoded_problem(path: str, data: bytes, size: Sequence[int], photograph: int) -> str:
    """Describe from the header alone why the bytes in a row of an encoded column must not be decoded.

    Args:
        path: Path of the column.
        data: The bytes.
        size: (width, height) of their image in the table.
        photograph: Number of bytes of that image. A label map may have few bytes for its size.

    Returns:
        The end of a sentence that begins with the row; "" if the bytes may be decoded.
    """
    header = read_image_header(data)
    if header is None:
        return "is neither JPEG nor PNG"
    if list(header.size) != list(size):
        return f"is {header.size[0]} × {header.size[1]} pixels, the table has {size[0]} × {size[1]}"
    if not header.complete:
        return "is cut off, its end is missing"
    try:
        refuse_image_size("", header.size, photograph)
    except InputError as error:
        return str(error).removeprefix(": ").partition(";")[0]
    pixels = map_pixels(path)
    if pixels is not None and (header.format, header.bits, header.channels) != ("png", *pixels):
        got = f"{header.format.upper()} of {header.bits} bits × {header.channels}"
        return f"has other pixels, expected PNG of {pixels[0]} bits × {pixels[1]}, found {got}"
    return ""


def decode_image(data: bytes) -> NDArray[np.uint8] | None:
    """Decode an image without turning it: (H, W, 3) uint8 RGB; None if it cannot be decoded."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, pixels)  # type: ignore[return-value]


def decode_png(data: bytes) -> NDArray[Any] | None:
    """Decode a PNG: (H, W) or (H, W, 3), uint8 or uint16; None if it cannot be decoded."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if pixels is not None and pixels.ndim == 3 and pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, pixels)
    return pixels


def require_decoded(pixels: NDArray[Any] | None, name: str, what: str) -> NDArray[Any]:
    """Return decoded pixels, or raise an error that names the image.

    Args:
        pixels: Decoded pixels, or None if decoding failed.
        name: Name of the image, for the message.
        what: What was decoded, for the message: "mask".

    Raises:
        InputError: If `pixels` is None.
    """
    if pixels is None:
        raise InputError(name, f"its {what} cannot be decoded", remedy="hpc cache verify lists all damage")
    return pixels


def encode_png(pixels: NDArray[Any]) -> bytes:
    """Encode (H, W) or (H, W, 3) pixels, uint8 or uint16, as PNG."""
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise ValueError(f"a label map is (H, W) or (H, W, 3), uint8 or uint16, not {pixels.shape} {pixels.dtype}")
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else np.ascontiguousarray(pixels)
    # Label maps consist of runs of equal values: the lowest level finds them in a third of the time.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
    success, data = cv2.imencode(".png", bgr, options)
    if not success:
        raise ValueError(f"{pixels.shape} {pixels.dtype} cannot be encoded as PNG")
    return bytes(data.tobytes())


def decoding_problem(data: bytes) -> str:
    """Describe why the bytes cannot be decoded to the last row; "" if they can."""
    try:  # Pillow is strict; OpenCV fills missing rows with grey
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            image.load()
    except _DAMAGE as error:
        return reason_of(error)
    return ""
