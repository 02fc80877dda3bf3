"""What EXIF says about a picture: which way up it is, and the focal length in pixels."""

from __future__ import annotations

import math
import struct

from PIL import ExifTags, Image, TiffImagePlugin

__all__ = ["focal_from_exif", "orientation_from_exif", "turn_upright", "upright_size"]

_FILM_DIAGONAL_MM = math.hypot(36, 24)
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # of FocalPlaneResolutionUnit: inch, cm, mm, µm
# From a fisheye's 100° to a birding telephoto; anything else is a camera's garbage or a scanner's zero.
_PLAUSIBLE_FOCAL = (0.3, 60.0)  # in longer sides of the picture

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {5, 6, 7, 8}
# What Pillow's parsers raise on malformed EXIF: it is a side note of the picture and no reason to refuse it.
_MALFORMED = (OSError, ValueError, TypeError, KeyError, IndexError, SyntaxError, EOFError, struct.error, OverflowError)


def _exif(image: Image.Image) -> Image.Exif:
    try:
        return image.getexif()
    except _MALFORMED:
        return Image.Exif()


def orientation_from_exif(image: Image.Image) -> int:
    """EXIF orientation 1–8; 1 where there is none or it makes no sense."""
    value = _exif(image).get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and value in _TURNS else 1


def turn_upright(image: Image.Image) -> Image.Image:
    """The loaded picture as it is meant to be seen. Pillow turns TIFFs itself and then drops the tag."""
    orientation = orientation_from_exif(image)
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height after turning, from the header of a picture that is not loaded yet."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.size  # turned already
    width, height = image.size
    return (height, width) if orientation_from_exif(image) in _SIDEWAYS else (width, height)


def focal_from_exif(image: Image.Image) -> float | None:
    """Focal length in pixels of the picture as stored, or None where EXIF tells none that can be true.

    1. FocalLengthIn35mmFilm f: the lens that sees the same diagonal on 36 × 24 mm film (CIPA DCG-001), so
       pixels = f · diagonal in pixels / 43.27. It scales along when a picture was scaled down.
    2. Otherwise FocalLength in mm times FocalPlaneXResolution in pixels per mm, times this picture's longer side
       over the original's (PixelXDimension, PixelYDimension), which undoes an editor's scaling.
    """
    try:
        tags = _exif(image).get_ifd(ExifTags.IFD.Exif)
    except _MALFORMED:
        return None
    focal = _from_film_equivalent(tags, image.size) or _from_focal_plane(tags, image.size)
    lowest, highest = _PLAUSIBLE_FOCAL
    if focal is None or not lowest <= focal / max(image.size) <= highest:
        return None
    return focal


def _number(tags: dict[int, object], tag: ExifTags.Base) -> float | None:
    """A positive finite number, else None (rationals with a zero denominator come as NaN)."""
    try:
        value = float(tags.get(tag, 0))  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return value if math.isfinite(value) and value > 0 else None


def _from_film_equivalent(tags: dict[int, object], size: tuple[int, int]) -> float | None:
    equivalent = _number(tags, ExifTags.Base.FocalLengthIn35mmFilm)
    return equivalent and equivalent * math.hypot(*size) / _FILM_DIAGONAL_MM


def _from_focal_plane(tags: dict[int, object], size: tuple[int, int]) -> float | None:
    focal_mm = _number(tags, ExifTags.Base.FocalLength)
    per_unit = _number(tags, ExifTags.Base.FocalPlaneXResolution)
    if focal_mm is None or per_unit is None:
        return None
    unit = _number(tags, ExifTags.Base.FocalPlaneResolutionUnit) or 2
    if unit not in _UNIT_MM:
        return None
    original = [_number(tags, tag) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    longer = max((side for side in original if side), default=float(max(size)))
    return focal_mm * per_unit / _UNIT_MM[int(unit)] * max(size) / longer
