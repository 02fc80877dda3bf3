"""A fit file's contents, as `tests/io/data/golden.fit.npz` has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from humanpose_cli.io.fit_files import COLUMNS, ROW_COLUMNS, FitRecord
from humanpose_cli.io.fit_options import StoredOptions

Record = TypeVar("Record", bound=FitRecord)


def values(tracks=(0, 0, 2), frames=(0, 1, 1), frame_count=2) -> dict:
    """Columns without randomness: multiples of 1/8 are the same in every float and on every machine."""
    n = len(tracks)

    def ramp(*shape, start=0.0):
        return start + np.arange(np.prod(shape), dtype=np.float64).reshape(shape) % 64 / 8

    return {
        "track_id": list(tracks),
        "frame_index": list(frames),
        "interpolated": [i % 2 == 1 for i in range(n)],
        "frame_names": [f"ü {i:03d}.jpg" for i in range(frame_count)],
        "shot_id": np.zeros(frame_count),
        "image_size": [[640, 480]] * frame_count,
        "focal": [768.0] * frame_count,
        "principal_point": [[320.0, 240.0]] * frame_count,
        "world_to_camera": np.tile(np.eye(4), (frame_count, 1, 1)),
        "poses": ramp(n, 72),
        "betas": ramp(n, 10, start=-1),
        "trans": ramp(n, 3, start=2),
        "segment_scales": np.full((n, 24), 1.125),
        "joints3d": ramp(n, 24, 3),
        "joints2d": ramp(n, 24, 2, start=100),
        "keypoints2d": np.concatenate((ramp(n, 33, 2, start=50), np.full((n, 33, 1), 0.5)), -1),
        "boxes": [[10.0, 20.0, 110.0, 220.0]] * n,
        "confidence": np.full(n, 0.75),
        "joint_confidence": np.full((n, 24), 0.25),
        "reprojection_error": ramp(n),
        "frame_rate": 25.0,
        "gender": "neutral",
        "body": "default",
        "skeleton": "smpl24",
        "options": StoredOptions({"people": "all", "focal": None}),
    }


def record(**changes) -> FitRecord:
    return FitRecord.build(**{**values(), **changes})


def fit_of_rows(
    kind: type[Record], frame_names: Sequence[str], size: tuple[int, int], focal: float, **columns: Any
) -> Record:
    """A fit of these columns by cameras that stand still; the others of a row say nothing, with full confidence."""
    empty = kind.empty(frame_names, [size] * len(frame_names), [focal] * len(frame_names))
    known: dict[str, Any] = {name: getattr(empty, name) for name in COLUMNS if name not in ROW_COLUMNS}
    for name in ROW_COLUMNS:
        fill = name in ("segment_scales", "confidence", "joint_confidence")
        known[name] = np.full((len(columns["track_id"]), *COLUMNS[name][0][1:]), float(fill))
    return kind.build(**known | columns)
