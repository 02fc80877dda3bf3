"""Limits of the numbers that describe people and cameras, for all readers of fits, poses and motions.

The limits are far beyond real people and cameras. Within them float32 arithmetic, exports and images stay finite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError

MAX_PIXELS = 256_000_000
"""Maximum of an image: the largest phone sensors have 200 million pixels. Reading takes up to 8 bytes a pixel, 2 GB for
the largest image."""

# Images with more pixels and fewer bytes per pixel are refused: photographs have a hundred times as many bytes, and a
# PNG of 0.7 MB could ask for 2 GB.
_LARGE, _MIN_BYTES_PER_PIXEL = 8192 * 8192, 0.01


@dataclass(frozen=True)
class Limit:
    """The range of a field in `unit`, both ends included."""

    low: float
    high: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.low:.6g} to {self.high:.6g} {self.unit}".rstrip()


# The longest plausible lens in EXIF (60 longer sides) shows a person at 40 km with 20 pixels.
_DISTANCE = 1e5
LIMITS: Mapping[str, Limit] = {
    "poses": Limit(-4 * math.pi, 4 * math.pi, "radians"),  # two turns; degrees are larger
    "betas": Limit(-30, 30),  # standard deviations; networks predict less than 20
    "segment_scales": Limit(0.01, 100),
    "trans": Limit(-_DISTANCE, _DISTANCE, "metres"),
    "joints3d": Limit(-2 * _DISTANCE, 2 * _DISTANCE, "metres"),
    "joints": Limit(-2 * _DISTANCE, 2 * _DISTANCE, "metres"),
    "focal": Limit(0.01, 1e7, "pixels"),  # a thousand times the longer side of a large image
    "principal_point": Limit(-1e7, 1e7, "pixels"),  # images may be parts of larger ones
    "boxes": Limit(-1e7, 1e7, "pixels"),
    "joints2d": Limit(-1e9, 1e9, "pixels"),  # joints may lie nearly beside the camera
    "keypoints2d": Limit(-1e9, 1e9, "pixels"),
    "world_to_camera": Limit(-1e8, 1e8),  # metres of coordinates on maps, which stay below 1e7
    "ground": Limit(-_DISTANCE, _DISTANCE, "metres"),
    "confidence": Limit(0, 1),
    "joint_confidence": Limit(0, 1),
    "hand_poses": Limit(-4 * math.pi, 4 * math.pi, "radians"),
    "hand_confidence": Limit(0, 1),
    "frame": Limit(0, 1e7),  # four days of video
    "frame_rate": Limit(1e-6, 1e5, "frames a second"),  # from a frame in 12 days
    "clothes": Limit(-1000, 1000),  # CIELAB
    "joints3d from trans": Limit(0, 4.5, "metres"),  # the pelvis, of a body of usual size
    "frame_times": Limit(0, 1e9, "seconds"),
    "channels": Limit(-1e9, 1e9),  # BVH: degrees, and lengths in any unit
}
"""Limits by the name of the field in fit files."""


def check_limits(name: str, values: np.ndarray, path: Path | str | None = None, *, unknown: bool = False) -> None:
    """Raise InputError with the field, the row, the value and the limit if a value is outside `LIMITS[name]`.

    Args:
        name: Name of the field.
        values: One number, or any number of rows.
        path: The file, as the subject of the error; None makes the field the subject.
        unknown: Whether NaN stands for an unknown value; otherwise it is outside.
    """
    limit = LIMITS[name]
    within = (values >= limit.low) & (values <= limit.high)
    if unknown:
        within |= np.isnan(values)
    if not np.all(within):
        first = np.argwhere(~np.asarray(within))[0]
        _refuse(name, path, str(limit), f"{np.asarray(values)[tuple(first)]:.6g}", first)


def check_image_sizes(sizes: np.ndarray, path: Path | str | None = None, *, unknown: bool = False) -> None:
    """Raise InputError, as `check_limits`, for image sizes (N, 2) with sides below 1, or above `MAX_PIXELS`."""
    width, height = sizes.astype(np.float64).T
    within = (width >= 1) & (height >= 1) & (width * height <= MAX_PIXELS)
    if unknown:
        within |= np.isnan(width) | np.isnan(height)
    if not within.all():
        first = np.argwhere(~within)[0]
        expected = f"sides from 1 and at most {MAX_PIXELS // 1_000_000} million pixels"
        _refuse("image_size", path, expected, "{:.10g} × {:.10g}".format(*sizes[first[0]]), first)


Columns = Mapping[str, tuple[tuple[str | int, ...], str]]
"""Shape and type of arrays by name; letters in shapes stand for the numbers of rows, frames and views."""
_ROTATION_TOLERANCE = 1e-3


def check_arrays(holder: Any, columns: Columns, sizes: dict[str, int], prefix: str = "") -> None:
    """Raise InputError about the first attribute of `holder` that has another type or shape, or is not finite.

    Args:
        holder: The object with the arrays.
        columns: The expected shapes and types.
        sizes: Sizes by letter; others are taken from the first array with the letter.
        prefix: Prefix of the arrays' names in errors.
    """
    for name, (pattern, dtype) in columns.items():
        array, expected = getattr(holder, name), np.dtype(dtype)
        right_type = isinstance(array, np.ndarray) and array.dtype.kind == expected.kind
        if not right_type or (expected.kind != "U" and array.dtype != expected):
            got = str(getattr(array, "dtype", type(array).__name__))
            raise InputError(prefix + name, "has the wrong type", expected=expected.name, got=got)
        sizes.setdefault(str(pattern[0]), array.shape[0] if array.ndim else -1)
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in pattern)
        if array.shape != shape:
            raise InputError(prefix + name, "has the wrong shape", expected=f"{shape}", got=f"{array.shape}")
        if expected.kind == "f" and not np.isfinite(array).all():
            got = first_row(~np.isfinite(array))
            raise InputError(prefix + name, "holds values that are not finite", got=got)


def check_observed(holder: Any, prefix: str = "") -> None:
    """Raise InputError for impossible keypoints, boxes and errors (..., N); `prefix` as in `check_arrays`."""
    confidence, boxes = holder.keypoints2d[..., 2], holder.boxes
    wrong_values = {
        "keypoints2d": ((confidence < 0) | (confidence > 1), "a confidence of 0–1"),
        "reprojection_error": (holder.reprojection_error < 0, "0 or more"),
        "boxes": (boxes[..., 2:] < boxes[..., :2], "x0 ≤ x1 and y0 ≤ y1"),
    }
    for name, (wrong, expected) in wrong_values.items():
        if wrong.any():
            got = f"others in {first_row(wrong)}"
            raise InputError(prefix + name, "holds impossible values", expected=expected, got=got)


def check_rigid(name: str, matrices: np.ndarray) -> None:
    """Raise InputError unless all matrices (N, ..., 4, 4) are rigid motions."""
    matrix = matrices.astype(np.float64)
    rotation = matrix[..., :3, :3]
    error = np.abs(rotation @ rotation.swapaxes(-1, -2) - np.eye(3)).max(axis=(-1, -2), initial=0)
    last_row = np.abs(matrix[..., 3, :] - (0, 0, 0, 1)).max(axis=-1, initial=0)
    wrong = (error > _ROTATION_TOLERANCE) | (last_row > 0) | (np.linalg.det(rotation) < 0)
    if wrong.any():
        raise InputError(name, "is not a rigid motion", expected="[R t; 0 0 0 1]", got=first_row(wrong))


def first_row(wrong: np.ndarray) -> str:
    """Name the first row that has an error in a mask (N, ...)."""
    return f"row {np.argwhere(wrong)[0][0]}"


def refuse_image_size(subject: Path | str, size: tuple[int, int], byte_count: int) -> None:
    """Raise InputError for an encoded image that would need too much memory.

    Args:
        subject: The file, for the error.
        size: (width, height) in its header.
        byte_count: Size of the encoded image in bytes.
    """
    pixels, got = size[0] * size[1], f"{size[0]} × {size[1]}"
    if min(size) < 1:
        raise InputError(subject, "has no pixels", got=got, remedy="copy or save it again")
    if pixels > MAX_PIXELS:
        expected = f"at most {MAX_PIXELS // 1_000_000} million pixels"
        raise InputError(subject, "is too large", expected=expected, got=got, remedy="scale it down first")
    if pixels > _LARGE and byte_count < _MIN_BYTES_PER_PIXEL * pixels:
        problem, got = "is hardly a photograph", f"{got} pixels in {byte_count} bytes"
        raise InputError(subject, problem, expected="more than a byte for 100 pixels", got=got, remedy="scale it down")


def _refuse(name: str, path: Path | str | None, expected: str, value: str, index: np.ndarray) -> None:
    problem = "holds impossible values"
    subject, problem = (name, problem) if path is None else (path, f"{name} {problem}")
    row = f" in row {index[0]}" if len(index) else ""
    raise InputError(subject, problem, expected=expected, got=f"{value}{row}")
