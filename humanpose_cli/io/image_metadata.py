"""What images say about themselves: orientation, focal length, crop and time, from EXIF and XMP."""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms

_FILM_DIAGONAL_MM = math.hypot(36, 24)
_CAMERA_SHAPES = (4 / 3, 3 / 2, 16 / 9)  # longer side over shorter side of cameras' images
_SHAPE_TOLERANCE = 0.01  # relative: sides are rounded, some to a multiple of 16
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # FocalPlaneResolutionUnit: inch, cm, mm, µm
# From a fisheye's 100° to a long telephoto lens; other values are errors of cameras or scanners.
_PLAUSIBLE_FOCAL = (0.3, 60.0)  # in longer sides of the image

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
"""From stored to upright pixels, by EXIF orientation."""
SIDEWAYS = {5, 6, 7, 8}
"""EXIF orientations that exchange width and height."""
DECODING_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, RuntimeError, ArithmeticError),
    *(struct.error, zlib.error, ImageCms.PyCMSError, Image.DecompressionBombError, tifffile.TiffFileError),
)
"""Exceptions of the decoders of Pillow and tifffile for damaged data."""


def _exif(image: Image.Image) -> Image.Exif:
    try:
        return image.getexif()
    except DECODING_ERRORS:  # damaged metadata are no reason to refuse the image
        return Image.Exif()


def _camera_tags(image: Image.Image) -> dict[int, Any]:
    try:
        return _exif(image).get_ifd(ExifTags.IFD.Exif)
    except DECODING_ERRORS:
        return {}


def orientation_from_exif(image: Image.Image) -> int:
    """Read the EXIF orientation 1 to 8; 1 if it is missing or invalid."""
    value = _exif(image).get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and value in TURNS else 1


def focal_from_exif(image: Image.Image) -> float | None:
    """Read the focal length in pixels of the stored image; None if EXIF has none or an impossible one.

    1. FocalLengthIn35mmFilm f: the lens with the same diagonal field of view on 36 × 24 mm film (CIPA DCG-001):
       pixels = f · diagonal in pixels / 43.27. It scales with the image.
    2. Otherwise FocalLength in mm times FocalPlaneXResolution in pixels per mm, times this image's longer side
       over the original's (PixelXDimension, PixelYDimension), which undoes an editor's scaling.
    """
    tags = _camera_tags(image)
    longer = max(image.size)
    unit = _number(tags, ExifTags.Base.FocalPlaneResolutionUnit) or 2
    focal_mm = _number(tags, ExifTags.Base.FocalLength)
    per_unit = _number(tags, ExifTags.Base.FocalPlaneXResolution)
    if equivalent := _number(tags, ExifTags.Base.FocalLengthIn35mmFilm):
        focal = equivalent * math.hypot(*image.size) / _FILM_DIAGONAL_MM
    elif focal_mm and per_unit and unit in _UNIT_MM:
        sides = [_number(tags, tag) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
        original = max((side for side in sides if side), default=float(longer))
        focal = focal_mm * per_unit / _UNIT_MM[int(unit)] * longer / original
    else:
        return None
    lowest, highest = _PLAUSIBLE_FOCAL
    return focal if lowest <= focal / longer <= highest else None


def focal_of_panorama(image: Image.Image) -> float | None:
    """Read the focal length in pixels in the middle of a 360° image (GPano's equirectangular projection); else None."""
    xmp = image.info.get("xmp", b"")
    text = xmp.decode(errors="replace") if isinstance(xmp, bytes) else str(xmp)
    if not re.search(r"GPano:ProjectionType\W+equirectangular", text):
        return None
    full, part = (
        re.search(rf"GPano:{name}\W+(\d+)", text) for name in ("FullPanoWidthPixels", "CroppedAreaImageWidthPixels")
    )
    scale = image.width / int(part[1]) if part and int(part[1]) else 1.0
    return (int(full[1]) * scale if full else image.width) / math.tau


def is_cropped(image: Image.Image) -> bool:
    """Return whether an image is a crop: it has another shape than cameras' images, or than the size in EXIF."""
    tags = _camera_tags(image)
    shape = max(image.size) / min(image.size)
    sides = [_number(tags, tag) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    if all(sides):
        exif_shape = max(side or 0 for side in sides) / min(side or 1 for side in sides)
        if abs(exif_shape / shape - 1) > _SHAPE_TOLERANCE:
            return True
    return all(abs(shape / camera_shape - 1) > _SHAPE_TOLERANCE for camera_shape in _CAMERA_SHAPES)


def _number(tags: dict[int, object], tag: ExifTags.Base) -> float | None:
    """Return a positive finite number, else None; rationals with a zero denominator are NaN."""
    try:
        value = float(tags.get(tag, 0))  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return value if math.isfinite(value) and value > 0 else None


def time_from_exif(image: Image.Image) -> float | None:
    tags = _camera_tags(image)
    try:
        time = datetime.strptime(str(tags[ExifTags.Base.DateTimeOriginal]).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except (KeyError, ValueError):  # missing, or another text
        return None
    digits = str(tags.get(ExifTags.Base.SubsecTimeOriginal, "")).strip("\0 ")
    return time.replace(tzinfo=timezone.utc).timestamp() + (float(f"0.{digits}") if digits.isdecimal() else 0.0)
