"""Images of a data set as a cache keeps them: their own bytes where nothing had to be changed.

JPEG and PNG files go through as they are, after they were decoded once, so that a truncated one is told now and not in
the middle of a training. Anything else (other formats, turned by EXIF, transparent, deeper than 8 bits, with colours
other than sRGB) and what was cropped is encoded anew.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from humanpose_cli.core.errors import InputError
from humanpose_cli.datasets.reading import existing_file
from humanpose_cli.io.images import DECODING_ERRORS, encode_image, focal_from_exif, orientation_from_exif, read_image
from humanpose_cli.io.sniffing import reading_error
from humanpose_cli.io.video import VideoReader, count_packets

__all__ = [
    "JPEG_QUALITY",
    "StoredImage",
    "decoded",
    "encode_mask",
    "encode_pixels",
    "stored_image",
    "video_frame_count",
    "video_frames",
]

JPEG_QUALITY = 95
"""Of what is encoded anew; with full colour resolution."""


@dataclass(frozen=True)
class StoredImage:
    """JPEG or PNG bytes; size (width, height) pixels; focal length in pixels from EXIF, or None."""

    image: bytes
    size: tuple[int, int]
    focal: float | None = None


def stored_image(path: Path) -> StoredImage:
    """An image file as the cache keeps it. InputError if it is missing, damaged or truncated."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise reading_error(path, error) from error
    if (plain := _as_it_is(path, content)) is not None:
        return plain
    image = read_image(path)
    lossless = content.startswith(b"\x89PNG") or path.suffix.lower() in {".bmp", ".tif", ".tiff"}
    return replace(encode_pixels(image.pixels, lossless=lossless), focal=image.focal_pixels)


def _as_it_is(path: Path, content: bytes) -> StoredImage | None:
    """A JPEG or PNG that every decoder shows rightly, its bytes kept; None for other images."""
    if not content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return None
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            size, focal = image.size, focal_from_exif(image)
            plain = image.format in {"JPEG", "PNG"} and image.mode in {"RGB", "L"} and "transparency" not in image.info
            if not plain or orientation_from_exif(image) != 1 or not _is_srgb(image):
                return None
            image.draft("L", (max(size[0] // 8, 1), max(size[1] // 8, 1)))  # all bytes are read, but few pixels made
            image.load()
            if image.format == "PNG" and b"IEND" not in content[-64:]:
                raise InputError(path, "is a truncated image", remedy="unpack or download it again")
            return StoredImage(content, size, focal)
    except DECODING_ERRORS as error:
        problem = f"is a damaged or truncated image ({error})"
        raise InputError(path, problem, remedy="unpack or download it again") from error


def _is_srgb(image: Image.Image) -> bool:
    profile = image.info.get("icc_profile")
    if not profile:
        return True
    try:
        return "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return True  # an unfit profile is passed over by every viewer


def encode_pixels(pixels: NDArray[np.uint8], *, lossless: bool = False) -> StoredImage:
    """Pixels (H, W, 3) as JPEG, or as PNG where `lossless`: for frames of videos and for crops."""
    image = encode_image(np.ascontiguousarray(pixels), ".png" if lossless else ".jpg", quality=JPEG_QUALITY)
    return StoredImage(image, (pixels.shape[1], pixels.shape[0]))


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """A mask (H, W) as `Person.mask` has it: an 8-bit PNG, 255 where the person is seen."""
    return encode_image(np.where(mask, np.uint8(255), np.uint8(0)), ".png")


def decoded(image: StoredImage) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of a stored image."""
    with Image.open(io.BytesIO(image.image)) as opened:
        return np.asarray(opened.convert("RGB"))


def video_frame_count(path: Path) -> int:
    """How many frames a video has, counted without decoding them. InputError if there is none."""
    existing_file(path, "a video")
    return count_packets(path)


def video_frames(path: Path, wanted: Sequence[int] | None = None) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Frames of a video as (number from 0, (H, W, 3) uint8), those of `wanted` (ascending) or all.

    InputError if the video ends before the last wanted frame.
    """
    if wanted is None:
        yield from VideoReader(path, threads=1)
        return
    remaining, last = list(wanted), -1
    if not remaining:
        return
    for last, pixels in VideoReader(path, threads=1):
        if last == remaining[0]:
            yield last, pixels
            remaining.pop(0)
            if not remaining:
                return
    got = f"{last + 1} frames"
    raise InputError(path, "is shorter than its annotation", expected=f"frame {remaining[-1]}", got=got)
