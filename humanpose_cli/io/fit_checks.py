"""What makes a fit record valid: shapes, types, order and ranges of its arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from humanpose_cli.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.errors import InputError

if TYPE_CHECKING:
    from humanpose_cli.io.fit_files import FitRecord

__all__ = ["COLUMNS", "ROW_COLUMNS", "check_fit"]

_J, _K = len(SMPL24), len(BLAZEPOSE33)

# name → shape (N rows, F frames) and type
COLUMNS: dict[str, tuple[tuple[str | int, ...], str]] = {
    "track_id": (("N",), "<i4"),
    "frame_index": (("N",), "<i4"),
    "interpolated": (("N",), "|b1"),
    "frame_names": (("F",), "<U"),
    "shot_id": (("F",), "<i4"),
    "image_size": (("F", 2), "<i4"),
    "focal": (("F",), "<f4"),
    "principal_point": (("F", 2), "<f4"),
    "world_to_camera": (("F", 4, 4), "<f4"),
    "poses": (("N", 3 * _J), "<f4"),
    "betas": (("N", 10), "<f4"),
    "trans": (("N", 3), "<f4"),
    "segment_scales": (("N", _J), "<f4"),
    "joints3d": (("N", _J, 3), "<f4"),
    "joints2d": (("N", _J, 2), "<f4"),
    "keypoints2d": (("N", _K, 3), "<f4"),
    "boxes": (("N", 4), "<f4"),
    "confidence": (("N",), "<f4"),
    "joint_confidence": (("N", _J), "<f4"),
    "reprojection_error": (("N",), "<f4"),
}
ROW_COLUMNS = tuple(name for name, (shape, _) in COLUMNS.items() if shape[0] == "N")

_ROTATION_TOLERANCE = 1e-3


def check_fit(record: FitRecord) -> None:
    """InputError about the first array that is wrong."""
    _check_shapes(record)
    _check_order(record)
    _check_ranges(record)
    _check_cameras(record)
    if record.skeleton != SMPL24.name:
        raise InputError("skeleton", "is unknown", expected=SMPL24.name, got=record.skeleton)
    if not (np.isfinite(record.frame_rate) and record.frame_rate >= 0):
        raise InputError("frame_rate", "is unusable", expected="0 or more", got=str(record.frame_rate))


def _check_shapes(record: FitRecord) -> None:
    sizes: dict[str, int] = {}
    for name, (pattern, dtype) in COLUMNS.items():
        array = getattr(record, name)
        expected = np.dtype(dtype)
        right_type = isinstance(array, np.ndarray) and array.dtype.kind == expected.kind
        if not right_type or (expected.kind != "U" and array.dtype != expected):
            got = str(getattr(array, "dtype", type(array).__name__))
            raise InputError(name, "has the wrong type", expected=expected.name, got=got)
        for letter in pattern[:1]:
            sizes.setdefault(str(letter), array.shape[0] if array.ndim else -1)
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in pattern)
        if array.shape != shape:
            raise InputError(name, "has the wrong shape", expected=f"{shape}", got=f"{array.shape}")
        if expected.kind == "f" and not np.isfinite(array).all():
            raise InputError(name, "holds values that are not finite", got=_first_row(~np.isfinite(array)))


def _first_row(wrong: np.ndarray) -> str:
    return f"row {np.argwhere(wrong)[0][0]}"


def _check_order(record: FitRecord) -> None:
    track, frame = record.track_id.astype(np.int64), record.frame_index.astype(np.int64)
    frame_count = len(record.frame_names)
    outside = (frame < 0) | (frame >= frame_count)
    if outside.any():
        raise InputError(
            "frame_index", "points outside the frames", expected=f"0–{frame_count - 1}", got=_first_row(outside)
        )
    if (track < 0).any():
        raise InputError("track_id", "is negative", got=_first_row(track < 0))
    growing = np.diff(track * frame_count + frame) > 0
    if not growing.all():
        row = int(np.argmin(growing)) + 1
        raise InputError("rows", "are out of order", expected="each track and frame once, sorted", got=f"row {row}")
    if (np.diff(record.shot_id) < 0).any() or (record.shot_id < 0).any():
        raise InputError("shot_id", "goes back", expected="numbers from 0 that grow")


def _check_ranges(record: FitRecord) -> None:
    wrong_values = {
        "image_size": (record.image_size <= 0, "above 0"),
        "focal": (record.focal <= 0, "above 0"),
        "segment_scales": (record.segment_scales <= 0, "above 0"),
        "confidence": ((record.confidence < 0) | (record.confidence > 1), "0–1"),
        "joint_confidence": ((record.joint_confidence < 0) | (record.joint_confidence > 1), "0–1"),
        "keypoints2d": ((record.keypoints2d[..., 2] < 0) | (record.keypoints2d[..., 2] > 1), "a confidence of 0–1"),
        "reprojection_error": (record.reprojection_error < 0, "0 or more"),
        "boxes": (record.boxes[:, 2:] < record.boxes[:, :2], "x0 ≤ x1 and y0 ≤ y1"),
    }
    for name, (wrong, expected) in wrong_values.items():
        if wrong.any():
            raise InputError(name, "holds impossible values", expected=expected, got=f"others in {_first_row(wrong)}")


def _check_cameras(record: FitRecord) -> None:
    matrix = record.world_to_camera.astype(np.float64)
    rotation = matrix[:, :3, :3]
    error = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2), initial=0)
    last_row = np.abs(matrix[:, 3] - (0, 0, 0, 1)).max(axis=1, initial=0)
    wrong = (error > _ROTATION_TOLERANCE) | (last_row > 0) | (np.linalg.det(rotation) < 0)
    if wrong.any():
        raise InputError("world_to_camera", "is not a rigid motion", expected="[R t; 0 0 0 1]", got=_first_row(wrong))
