"""Readers of dataset files: an error about a missing, short or damaged file names it.

Images are read as a cache stores them. JPEG and PNG files keep their bytes, after they were decoded once, so that a
truncated file is an error now and not in the middle of a training. Other images (other formats, turned by EXIF,
transparent, deeper than 8 bits, with colours other than sRGB) and crops are encoded anew.

Within `labels_only`, only the sizes of images are read: checking labels needs no pixels.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from humanpose_cli.core.errors import InputError
from humanpose_cli.files import restricted_pickle
from humanpose_cli.files.checks import existing_file, existing_folder
from humanpose_cli.files.sniffing import read_bytes, reading_error
from humanpose_cli.files.text_files import read_text
from humanpose_cli.io.image_metadata import DECODING_ERRORS, focal_from_exif, orientation_from_exif
from humanpose_cli.io.image_sequences import natural_order
from humanpose_cli.io.images import encode_image, image_size, read_image
from humanpose_cli.io.video import VideoReader, probe_video, video_times

COPY_AGAIN = "unpack or download it again"


def list_files(folder: Path, suffixes: Collection[str], what: str) -> list[Path]:
    """List files in a folder, 2 before 10, without hidden ones.

    Args:
        folder: The folder; subfolders are not searched.
        suffixes: Lower-case suffixes of the files.
        what: The files, for messages: "sequence files".

    Raises:
        InputError: If there are none.
    """
    return _list_entries(folder, what, lambda path: path.suffix.lower() in suffixes, ", ".join(sorted(suffixes)))


def list_folders(folder: Path, what: str) -> list[Path]:
    """List folders in a folder, 2 before 10, without hidden ones.

    Args:
        folder: The folder.
        what: The contents, for messages.

    Raises:
        InputError: If there are none.
    """
    return _list_entries(folder, what, Path.is_dir, "")


def _list_entries(folder: Path, what: str, condition: Callable[[Path], bool], expected: str) -> list[Path]:
    existing_folder(folder, f"a folder of {what}")
    entries = [path for path in folder.iterdir() if condition(path) and not path.name.startswith(".")]
    if not entries:
        raise InputError(folder, f"holds no {what}", expected=expected)
    return sorted(entries, key=natural_order)


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file, stripped and without empty ones.

    Args:
        path: The file.

    Raises:
        InputError: If there are none.
    """
    all_lines = [line.strip() for line in read_text(path, remedy=COPY_AGAIN).splitlines()]
    lines = [line for line in all_lines if line]
    if not lines:
        raise InputError(path, "is empty", remedy=COPY_AGAIN)
    return lines


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a table whose first line names its columns.

    Args:
        path: The file.
        columns: Columns that must exist.

    Returns:
        Rows as column → text.

    Raises:
        InputError: If a column is missing, or a row has another length.
    """
    rows = list(csv.reader(read_lines(path)))
    header = [name.strip() for name in rows[0]]
    missing = [name for name in columns if name not in header]
    if missing:
        expected, got = ",".join(columns), ",".join(header)[:80]
        raise InputError(f"{path}, line 1", f"lacks {', '.join(missing)}", expected=expected, got=got)
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            problem, expected = "is damaged", f"{len(header)} columns"
            raise InputError(f"{path}, row {number}", problem, expected=expected, got=str(len(row)))
    return [dict(zip(header, map(str.strip, row), strict=True)) for row in rows[1:]]


def read_pickled_table(path: Path) -> dict[str, Any]:
    """Read the table in a pickle of Python 2 or 3; nothing in it is run (`files.restricted_pickle`)."""
    existing_file(path, "a pickle")
    try:
        table = restricted_pickle.read_pickle(path)
    except OSError as error:
        raise reading_error(path, error) from error
    if not isinstance(table, dict):
        raise InputError(path, "holds something else", expected="a table of arrays", got=type(table).__name__)
    return {str(name): value for name, value in table.items()}


_labels_only: ContextVar[bool] = ContextVar("labels_only", default=False)


@contextmanager
def labels_only() -> Iterator[None]:
    """Read only headers of images and videos meanwhile.

    Stored images and masks are b"", pixels are black. Sizes, numbers of frames and errors about missing files stay the
    same; damage behind a header is not detected. Focal lengths from EXIF are not read.
    """
    token = _labels_only.set(True)
    try:
        yield
    finally:
        _labels_only.reset(token)


def _black(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) of one byte."""
    return np.broadcast_to(np.uint8(0), (size[1], size[0], 3))


JPEG_QUALITY = 95
"""Quality of images that are encoded anew; with full colour resolution."""


@dataclass(frozen=True)
class StoredImage:
    """An encoded image.

    Attributes:
        image: JPEG or PNG bytes.
        size: (width, height) pixels.
        focal: Focal length from EXIF in pixels; None if unknown.
    """

    image: bytes
    size: tuple[int, int]
    focal: float | None = None


def stored_image(path: Path) -> StoredImage:
    """Read an image file as the cache stores it.

    Args:
        path: The file.

    Raises:
        InputError: If the file is missing, damaged or truncated.
    """
    if _labels_only.get():
        return StoredImage(b"", image_size(path))
    content = read_bytes(path)
    if (plain := _as_it_is(path, content)) is not None:
        return plain
    image = read_image(path)
    lossless = content.startswith(b"\x89PNG") or path.suffix.lower() in {".bmp", ".tif", ".tiff"}
    return replace(encode_pixels(image.pixels, lossless=lossless), focal=image.focal_pixels)


def _as_it_is(path: Path, content: bytes) -> StoredImage | None:
    """Keep a JPEG or PNG that every decoder shows alike; None for other images."""
    if not content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return None
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            size = image.size
            focal = focal_from_exif(image)
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


def image_pixels(path: Path) -> NDArray[np.uint8]:
    """Read the pixels (H, W, 3) of an image, upright.

    Args:
        path: The file.

    Raises:
        InputError: If the file is missing, damaged or truncated.
    """
    return _black(image_size(path)) if _labels_only.get() else read_image(path).pixels


def encode_pixels(pixels: NDArray[np.uint8], *, lossless: bool = False) -> StoredImage:
    """Encode pixels (H, W, 3) as JPEG, or as PNG if `lossless`."""
    return encode_view(lambda: pixels, (pixels.shape[1], pixels.shape[0]), lossless=lossless)


def encode_view(take: Callable[[], NDArray[np.uint8]], size: tuple[int, int], *, lossless: bool = False) -> StoredImage:
    """Encode pixels that are made on demand.

    Args:
        take: Makes the pixels (H, W, 3) if they are needed.
        size: (width, height) of the pixels.
        lossless: Encode as PNG.
    """
    if _labels_only.get():
        return StoredImage(b"", size)
    image = encode_image(np.ascontiguousarray(take()), ".png" if lossless else ".jpg", quality=JPEG_QUALITY)
    return StoredImage(image, size)


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Encode a mask (H, W) as an 8-bit PNG, 255 where the person is visible."""
    return b"" if _labels_only.get() else encode_image(np.where(mask, np.uint8(255), np.uint8(0)), ".png")


def decode_pixels(image: StoredImage) -> NDArray[np.uint8]:
    """Decode the pixels (H, W, 3) of a stored image."""
    with Image.open(io.BytesIO(image.image)) as image_file:
        return np.asarray(image_file.convert("RGB"))


def video_frame_count(path: Path) -> int:
    """Count the frames of a video without decoding them."""
    existing_file(path, "a video")
    return len(video_times(path))


def video_frames(path: Path, numbers: Sequence[int] | None = None) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Read frames of a video.

    Args:
        path: The video.
        numbers: Ascending indices of the frames; None for all.

    Yields:
        Index from 0, and (H, W, 3) uint8.

    Raises:
        InputError: If the video ends before the last of these frames.
    """
    frames = _black_frames(path) if _labels_only.get() else VideoReader(path, threads=1)
    if numbers is None:
        yield from frames
        return
    remaining = list(numbers)
    last = -1
    if not remaining:
        return
    for last, pixels in frames:
        if last == remaining[0]:
            yield last, pixels
            remaining.pop(0)
            if not remaining:
                return
    got = f"{last + 1} frames"
    raise InputError(path, "is shorter than its annotation", expected=f"frame {remaining[-1]}", got=got)


def _black_frames(path: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield black frames of the video's number and size."""
    existing_file(path, "a video")
    pixels = _black(probe_video(path).size)
    for number in range(len(video_times(path))):
        yield number, pixels
