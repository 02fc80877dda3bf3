"""From data sets' own joints, cameras and boxes to this project's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.conventions import COCO17

__all__ = ["LSP14", "MOST_RADIANS", "OPENPOSE18", "body_to_camera", "box_around", "project_points", "to_coco17"]

Array = NDArray[Any]

MOST_RADIANS = 100.0
"""Axis-angle beyond this is no rotation that anybody stored on purpose."""

OPENPOSE18: tuple[str, ...] = (
    *("nose", "neck"),
    *("right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
)
"""OpenPose's COCO model, as in 3DPW's poses2d."""

LSP14: tuple[str, ...] = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    *("neck", "head_top"),
)
"""Leeds Sports Pose, as in UP-3D's joints."""


def to_coco17(points: Array, names: Sequence[str]) -> Array:
    """Points (J, 3) x, y, confidence of the joints `names` → (17, 3); joints that are not among them have 0."""
    result = np.zeros((len(COCO17), 3))
    for name, point in zip(names, points, strict=True):
        if name in COCO17 and point[2] > 0:
            result[COCO17.index(name)] = point
    return result


def box_around(points: Array, size: tuple[int, int], *, margin: float = 0.1) -> Array | None:
    """The box (4,) x0 y0 x1 y1 of pixels (N, 2), each side moved outward by `margin` of the longer one.

    Joints lie inside the body: the margin is about what head, hands and feet need. Cut at the borders of a picture of
    `size` (width, height); None if nothing of it is inside.
    """
    finite = points[np.isfinite(points).all(1)]
    if not len(finite):
        return None
    low, high = finite.min(0), finite.max(0)
    around = margin * max(high - low)
    box = np.concatenate((low - around, high + around))
    box = np.clip(box, 0, np.tile(np.asarray(size, float), 2))
    return box if box[2] > box[0] and box[3] > box[1] else None


def project_points(points: Array, focal: float | Array, principal_point: Array | Sequence[float]) -> Array:
    """Points (N, 3) metres, camera axes → pixels (N, 2); NaN for those behind the camera.

    focal  pixels, one for both directions or (2,)
    """
    depth = np.where(points[:, 2:] > 1e-6, points[:, 2:], np.nan)
    return points[:, :2] / depth * focal + np.asarray(principal_point, float)


def body_to_camera(
    poses: Array, trans: Array, pelvis: Array, rotation: Array, translation: Array
) -> tuple[Array, Array]:
    """Bodies that stand in the world, turned into the camera.

    poses (N, 72) and trans (N, 3) in world axes; pelvis (3,) or (N, 3) of the shaped body at rest;
    rotation (N, 3, 3) and translation (N, 3) map world to camera: x_camera = R x_world + t.

    A body turns about its pelvis, which stands at pelvis + trans: so the camera sees it at R (pelvis + trans) + t, and
    the new trans is that less the pelvis. Without the pelvis the person would be off by (R − 1) pelvis, up to half a
    metre.
    """
    turned = Rotation.from_matrix(rotation) * Rotation.from_rotvec(poses[:, :3])
    at = np.einsum("nij,nj->ni", rotation, pelvis + trans) + translation
    return np.concatenate((turned.as_rotvec(), poses[:, 3:]), 1), at - pelvis
