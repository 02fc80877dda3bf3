"""TIFFs that Pillow has no mode for: several float channels, half and double floats (renderers, scientists)."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path

import numpy as np
import tifffile

from humanpose_cli.errors import InputError

__all__ = ["deep_tiff_size", "read_deep_tiff"]

_MALFORMED = (tifffile.TiffFileError, OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, zlib.error)
_READABLE = {"MINISBLACK", "RGB"}

# Its complaints about odd tags belong into our sentence or nowhere.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False


def _damaged(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        path,
        f"is a TIFF that cannot be read ({reason})",
        remedy="save it with 8 or 16 bits a channel, uncompressed or with deflate",
    )


def deep_tiff_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels of the first page."""
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            return int(page.imagewidth), int(page.imagelength)
    except _MALFORMED as error:
        raise _damaged(path, error) from error


def read_deep_tiff(path: Path) -> np.ndarray:
    """First page as (H, W) or (H, W, C), C ≤ 4 (grey, grey + alpha, RGB, RGB + alpha), in the file's own type."""
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            photometric = tifffile.PHOTOMETRIC(page.photometric).name
            if photometric not in _READABLE:
                raise ValueError(f"its colours are {photometric}")
            values = page.asarray()
            planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    except _MALFORMED as error:
        raise _damaged(path, error) from error
    if values.ndim == 3 and planar:
        values = np.moveaxis(values, 0, -1)
    if values.ndim not in (2, 3) or values.dtype.kind not in "fiub":
        raise _damaged(path, ValueError(f"its array is {values.shape} {values.dtype}"))
    has_alpha = values.ndim == 3 and values.shape[2] == 4 and page.extrasamples
    return values[..., :3] if values.ndim == 3 and values.shape[2] > 3 and not has_alpha else values
