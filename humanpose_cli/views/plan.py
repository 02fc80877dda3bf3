"""A plan of the cameras and people of a take from above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.camera import camera_centres
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.result import Fit
from humanpose_cli.rendering.overlay import draw_label, label_size, person_colour, pushed_apart
from humanpose_cli.views.tracks import Array

_SIZE = 900  # pixels
_MARGIN = 90  # pixels
_CONE = 0.15  # length of a camera's cone, as a share of the plan's extent
_INK, _GRID = (60, 60, 60), (225, 225, 225)  # colours
_LETTERS = 14  # pixels, height
_DOT = 9  # pixels, radius of people
_GAP = 6  # pixels between a label and its point
_WHITE = np.ones(3, np.float32)
_LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # metres of the scale


def draw_plan(fit: Fit) -> NDArray[np.uint8]:
    """Draw the take from above, with a grid of metres and a scale.

    The first camera looks up in the image. Cameras are labelled with their names, people with their numbers.

    Returns:
        (900, 900, 3) uint8.
    """
    to_first = fit.world_to_camera[0].astype(np.float64)
    poses = [camera.world_to_camera.astype(np.float64) for camera in fit.cameras]
    forward = poses[0][0, 2, [0, 2]]
    left = np.array((forward[1], -forward[0]))
    axes = np.stack((left, forward)) / max(float(np.linalg.norm(forward)), 1e-9)
    walks = [camera_centres(pose[:, :3, :3], pose[:, :3, 3])[:, [0, 2]] @ axes.T for pose in poses]
    positions = np.array([walk[0] for walk in walks])
    walks = [walk for walk, camera in zip(walks, fit.cameras, strict=True) if camera.is_moving]
    paths = [_path(fit, person.rows, to_first)[:, [0, 2]] @ axes.T for person in fit.people]
    all_points = np.concatenate([positions, *paths, *walks])
    extent = max(float(np.ptp(all_points, axis=0).max()), 1.0)
    middle = (all_points.min(0) + all_points.max(0)) / 2
    scale = (_SIZE - 2 * _MARGIN) / extent

    def pixel(points: Array) -> NDArray[np.int32]:
        from_middle = (points - middle) * scale
        corner = np.stack((_SIZE / 2 + from_middle[..., 0], _SIZE / 2 - from_middle[..., 1]), -1)
        return np.rint(corner).astype(np.int32)

    image = np.full((_SIZE, _SIZE, 3), 250, np.uint8)
    _draw_grid(image, scale)
    labels: list[_Label] = []
    for walk in walks:
        cv2.polylines(image, [pixel(walk).reshape(-1, 1, 2)], False, _INK, 1, cv2.LINE_AA)
    for path, person in zip(paths, fit.people, strict=True):
        ink = person_colour(person.id)
        colour = [int(255 * value) for value in ink]
        cv2.polylines(image, [pixel(path).reshape(-1, 1, 2)], False, colour, 3, cv2.LINE_AA)
        cv2.circle(image, pixel(path[-1]).tolist(), _DOT, colour, -1, cv2.LINE_AA)
        labels.append(_Label(str(person.id), ink, pixel(path[-1]), _DOT))
    for camera, position, pose in zip(fit.cameras, positions, poses, strict=True):
        half = np.arctan2(float(camera.image_size[0, 0]) / 2, float(camera.focal[0]))
        x, y = axes @ pose[0, 2, [0, 2]]
        heading = np.arctan2(y, x)
        ends = [position + _CONE * extent * np.array((np.cos(a), np.sin(a))) for a in (heading - half, heading + half)]
        cv2.polylines(image, [pixel(np.array((position, *ends))).reshape(-1, 1, 2)], True, _INK, 2, cv2.LINE_AA)
        labels.append(_Label(camera.name, _WHITE, pixel(position), 2))
    length = max((length for length in _LENGTHS if length * scale < _SIZE / 4), default=1)
    start = _MARGIN // 3
    end = start + round(length * scale)
    level = _SIZE - _MARGIN // 2
    cv2.line(image, (start, level), (end, level), _INK, 3)
    labels.append(_Label(f"{length} m", _WHITE, np.array(((start + end) / 2, level)), 2))
    _draw_labels(image, labels)
    return image


class _Label(NamedTuple):
    """A text next to a point (2,) of the image, at a distance of `reach` pixels."""

    text: str
    ink: NDArray[np.float32]
    point: NDArray[np.integer | np.floating]
    reach: int


def _draw_labels(image: NDArray[np.uint8], labels: Sequence[_Label]) -> None:
    """Draw texts below their points, none over another one."""
    sizes = np.array([label_size(label.text, _LETTERS) for label in labels])
    starts = np.array([(label.point[0], label.point[1] + label.reach + _GAP) for label in labels])
    corners = pushed_apart(starts - sizes * (0.5, 0), sizes, np.array((_SIZE, _SIZE)))
    for label, corner in zip(labels, corners.tolist(), strict=True):
        draw_label(image, label.text, corner, _LETTERS, label.ink)


def _path(fit: Fit, rows: Sequence[int] | NDArray[np.int_], to_first: Array) -> Array:
    """Compute the pelvis (R, 3) of some rows in the world."""
    pelvis = fit.joints3d[rows, SMPL24.index("pelvis")].astype(np.float64)
    return np.asarray((pelvis - to_first[:3, 3]) @ to_first[:3, :3])


def _draw_grid(image: NDArray[np.uint8], scale: float) -> None:
    """Draw lines one metre apart."""
    reach = _SIZE / 2 / scale
    for axis in (0, 1):
        for metre in np.arange(np.ceil(-reach), np.floor(reach) + 1):
            pixel = round(_SIZE / 2 + float(metre) * scale)
            start, end = ((pixel, 0), (pixel, _SIZE)) if axis == 0 else ((0, pixel), (_SIZE, pixel))
            cv2.line(image, start, end, _GRID, 1)
