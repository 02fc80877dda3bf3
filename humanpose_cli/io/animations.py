"""Animated GIF, WebP, PNG and AVIF as clips, one frame in memory at a time."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.images import DECODING_ERRORS, open_image, to_rgb
from humanpose_cli.io.sniffing import reading

ANIMATED_SUFFIXES = frozenset((".gif", ".webp", ".png", ".apng", ".avif"))
"""Names of images that may be animations (lower case)."""

_HEAD_BYTES = 4096
_MAX_FRAMES = 10_000
_MAX_PIXELS = _MAX_FRAMES * 1920 * 1080  # sum over all frames: each is decoded as a complete image
_DEFAULT_SECONDS = Fraction(1, 10)  # browsers show a frame without a duration for this time


def is_animation(path: Path) -> bool:
    """Return whether a file is an image with several frames in time; False if it is damaged.

    Raises InputError if it cannot be opened.
    """
    with reading(path), open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"GIF8"):  # its header does not tell: Pillow looks for a second frame
        try:
            with Image.open(path, formats=["GIF"]) as image:
                return bool(getattr(image, "is_animated", False))
        except DECODING_ERRORS:
            return False
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head.partition(b"IDAT")[0]
    if head[8:16] == b"WEBPVP8X":
        return bool(head[20] & 2)
    return head[4:12] == b"ftypavis"


def animation_length(path: Path) -> tuple[tuple[int, int], int, float]:
    """Return width and height in pixels, the number of frames, and seconds. Raises InputError as `animation_frames`."""
    frames = [(pixels.shape[1::-1], end) for pixels, _, end in animation_frames(path)]
    size, end = frames[-1]
    return size, len(frames), float(end)


def animation_frames(path: Path) -> Generator[tuple[NDArray[np.uint8], Fraction, Fraction], None, None]:
    """Yield frames (H, W, 3) uint8 sRGB, over white, with the seconds at which each begins and ends.

    Raises InputError for a damaged file, after the frames before the damage, and for too many frames.
    """
    count, time = 0, Fraction(0)
    with open_image(path) as image:
        frame_count = 1
        limit = min(_MAX_FRAMES, _MAX_PIXELS // (image.width * image.height))
        with suppress(*DECODING_ERRORS):  # the frames before the damage are read
            frame_count = getattr(image, "n_frames", 1)
        if frame_count > limit:
            expected = f"at most {limit} frames of {image.width} × {image.height}"
            raise InputError(path, "is too long", expected=expected, got=str(frame_count), remedy="convert it to MP4")
        try:
            for frame in ImageSequence.Iterator(image):
                frame.load()
                duration = Fraction(round(float(frame.info.get("duration", 0))), 1000) or _DEFAULT_SECONDS
                pixels, _ = to_rgb(frame)
                yield pixels, time, time + duration
                count += 1
                time += duration
        except DECODING_ERRORS as error:
            problem = f"breaks off after frame {count - 1}" if count else "is a damaged animation"
            raise InputError(path, problem, remedy="copy or save it again") from error
