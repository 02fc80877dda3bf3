"""Fits of people who are shown in some frames, by their boxes."""

from __future__ import annotations

import numpy as np

from humanpose_cli.io.fit_files import COLUMNS, FitRecord


def fit_of_tracks(tracks: dict[int, list[tuple[int, float, float]]], frames: int = 6) -> FitRecord:
    """Tracks as frames, left edges and widths of their boxes in images of 100 × 100; `trans` is track, frame, 1."""
    rows = [(track, *row) for track, shown in sorted(tracks.items()) for row in shown]
    counts = {"N": len(rows), "F": frames}
    sizes = {name: [counts.get(size, size) for size in shape] for name, (shape, _) in COLUMNS.items()}
    arrays: dict[str, object] = {name: np.ones(size) for name, size in sizes.items()}
    arrays |= {name: np.zeros(sizes[name]) for name in ("shot_id", "interpolated", "poses")}
    arrays |= {"image_size": [[100, 100]] * frames, "world_to_camera": [np.eye(4)] * frames}
    arrays |= {"frame_names": ["a"] * frames}
    arrays |= {"track_id": [row[0] for row in rows], "frame_index": [row[1] for row in rows]}
    arrays |= {"boxes": np.reshape([[left, 0, left + width, 50] for _, _, left, width in rows], (-1, 4))}
    arrays |= {"trans": np.reshape([[track, frame, 1] for track, frame, _, _ in rows], (-1, 3))}
    return FitRecord.build(**arrays)
