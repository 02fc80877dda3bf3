"""Whether the labels of a shard can be true: finite, within the picture, and where the camera sees the joints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.conventions import SKELETONS, SMPL24
from humanpose_cli.data.cache.checks import value_problem
from humanpose_cli.data.cache.schema import Kind, columns_of
from humanpose_cli.data.cache.shard_reader import TableFile

__all__ = ["label_problems", "map_problem"]

# By how many pixels, and by what share of the person's size, annotated key points may miss the joints.
_PIXELS, _SHARE = 2.0, 0.03
_NEAR = 0.05  # metres before the camera; what is nearer, or behind it, is not compared
_CHARTS = 24

Found = tuple[int, str]


def label_problems(shard: TableFile) -> Iterator[Found]:
    """(row of the person, what is wrong), for all people of a shard."""
    picture = shard.numbers("people/picture")
    yield from _rule_problems(shard)
    yield from _box_problems(shard, shard.numbers("pictures/size")[picture])
    yield from _reprojection_problems(shard, picture)


def _rule_problems(shard: TableFile) -> Iterator[Found]:
    for column in columns_of("people").values():
        if not column.optional or column.path not in shard or column.kind is Kind.ENCODED:
            continue
        if column.kind is Kind.RAGGED:
            for row in range(shard.row_count("people")):
                points = shard.ragged(column.path, row)
                if len(points) and (problem := value_problem(column, points)):
                    yield row, f"{column.name} {problem}"
            continue
        values = shard.numbers(column.path)
        for row in np.flatnonzero(_known(values)).tolist():
            if problem := value_problem(column, values[row]):
                yield row, f"{column.name} {problem}"


def _box_problems(shard: TableFile, sizes: NDArray[Any]) -> Iterator[Found]:
    """A box may reach past the picture, where a person is cut off, but by no more than the picture's size."""
    if "people/box" not in shard:
        return
    boxes = shard.numbers("people/box")
    outside = (boxes[:, 2:] <= 0) | (boxes[:, :2] >= sizes) | (boxes[:, :2] < -sizes) | (boxes[:, 2:] > 2 * sizes)
    for row in np.flatnonzero(outside.any(-1)).tolist():  # comparisons with NaN are false
        edges = ", ".join(f"{edge:g}" for edge in boxes[row])
        yield row, f"box ({edges}) lies outside the picture of {sizes[row, 0]} × {sizes[row, 1]}"


def _reprojection_problems(shard: TableFile, picture: NDArray[np.int64]) -> Iterator[Found]:
    if "pictures/focal" not in shard:
        return
    focal = shard.numbers("pictures/focal")[picture]
    centre = shard.numbers("pictures/size")[picture] / 2
    if "pictures/principal_point" in shard:
        point = shard.numbers("pictures/principal_point")[picture]
        centre = np.where(np.isnan(point), centre, point)
    for skeleton in SKELETONS:
        paths = f"people/keypoints/{skeleton}", f"people/joints/{skeleton}"
        if all(path in shard for path in paths):
            keypoints, joints = (shard.numbers(path).astype(float) for path in paths)
            for row, error in _missed(keypoints, joints, focal, centre):
                yield row, f"keypoints {skeleton} lie {error:.1f} pixels from where the camera sees the joints"


def _missed(
    keypoints: NDArray[Any], joints: NDArray[Any], focal: NDArray[Any], centre: NDArray[Any]
) -> Iterator[tuple[int, float]]:
    """Rows (P,) whose key points (P, J, 3) miss their joints (P, J, 4), and by how many pixels (the median)."""
    for row in np.flatnonzero(~np.isnan(focal)).tolist():
        points, places = keypoints[row], joints[row]
        both = (points[:, 2] > 0) & (places[:, 3] > 0) & (places[:, 2] > _NEAR)
        if both.sum() < 3:
            continue
        seen = places[both, :2] / places[both, 2:3] * focal[row] + centre[row]
        error = float(np.median(np.linalg.norm(seen - points[both, :2], axis=-1)))
        extent = float(np.linalg.norm(np.ptp(seen, axis=0)))
        if not error <= _PIXELS + _SHARE * extent:
            yield row, error


def map_problem(name: str, pixels: NDArray[Any], people: int) -> str:
    """What a decoded label map says that cannot be, or ""."""
    most: Mapping[str, int] = {"persons": people, "parts": len(SMPL24), "densepose": _CHARTS}
    if name not in most:
        return ""
    found = int((pixels[..., 0] if pixels.ndim == 3 else pixels).max(initial=0))
    return f"says {found} where {most[name]} is the most there can be" if found > most[name] else ""


def _known(values: NDArray[Any]) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = ~np.isnan(values.reshape(len(values), -1)).all(-1)
    return known
