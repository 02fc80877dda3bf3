"""The cameras and people of a take from above: who stood where, and which way each camera looked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.result import Fit
from humanpose_cli.rendering.overlay import draw_label, label_corners, label_size, person_colour
from humanpose_cli.views.tracks import Array

_SIZE, _MARGIN = 900, 90  # pixels of the image, and free at its edges
_REACH = 0.15  # length of a camera's cone, as a share of the extent of all that is drawn
_INK, _GRID = (60, 60, 60), (225, 225, 225)
_LETTERS, _DOT = 14, 9  # height of letters, and radius of people, pixels
_WHITE = np.ones(3, np.float32)
_LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # metres of the scale


def draw_plan(fit: Fit) -> NDArray[np.uint8]:
    """Draw the take from above, (900, 900, 3) uint8, with a grid of metres and a scale; the first camera looks up in
    the image. Names of cameras and numbers of people stand beside them.
    """
    to_first = fit.world_to_camera[0].astype(np.float64)
    centres, directions, walks = [], [], []
    for camera in fit.cameras:
        poses = camera.world_to_camera
        rotation, translation = poses[0, :3, :3], poses[0, :3, 3]
        centres.append(-rotation.T @ translation)
        directions.append(rotation[2])
        if camera.is_moving:
            walks.append(-np.einsum("fji,fj->fi", poses[:, :3, :3], poses[:, :3, 3]))
    ahead, right = directions[0][[0, 2]], np.array((-directions[0][2], directions[0][0]))
    axes = np.stack((-right, ahead)) / max(float(np.linalg.norm(ahead)), 1e-9)
    positions = np.array(centres)[:, [0, 2]] @ axes.T
    paths = [_path(fit, person.rows, to_first)[:, [0, 2]] @ axes.T for person in fit.people]
    walks = [walk[:, [0, 2]] @ axes.T for walk in walks]
    every = np.concatenate([positions, *paths, *walks])
    low, extent = every.min(0), max(float(np.ptp(every, axis=0).max()), 1.0)
    middle = (low + every.max(0)) / 2
    scale = (_SIZE - 2 * _MARGIN) / extent

    def pixel(points: Array) -> NDArray[np.int32]:
        from_middle = (points - middle) * scale
        corner = np.stack((_SIZE / 2 + from_middle[..., 0], _SIZE / 2 - from_middle[..., 1]), -1)
        return np.rint(corner).astype(np.int32)

    image = np.full((_SIZE, _SIZE, 3), 250, np.uint8)
    _draw_grid(image, scale)
    empty, labels = image.copy(), list[_Label]()
    for walk in walks:
        cv2.polylines(image, [pixel(walk).reshape(-1, 1, 2)], False, _INK, 1, cv2.LINE_AA)
    for path, person in zip(paths, fit.people, strict=True):
        ink = person_colour(person.id)
        colour = [int(255 * value) for value in ink]
        cv2.polylines(image, [pixel(path).reshape(-1, 1, 2)], False, colour, 3, cv2.LINE_AA)
        cv2.circle(image, pixel(path[-1]).tolist(), _DOT, colour, -1, cv2.LINE_AA)
        labels.append(_Label(str(person.id), ink, pixel(path[-1]), _DOT))
    for camera, position, direction in zip(fit.cameras, positions, directions, strict=True):
        half = np.arctan2(float(camera.image_size[0, 0]) / 2, float(camera.focal[0]))
        x, y = axes @ direction[[0, 2]]
        heading = np.arctan2(y, x)
        ends = [position + _REACH * extent * np.array((np.cos(a), np.sin(a))) for a in (heading - half, heading + half)]
        cv2.polylines(image, [pixel(np.array((position, *ends))).reshape(-1, 1, 2)], True, _INK, 2, cv2.LINE_AA)
        labels.append(_Label(camera.name, _WHITE, pixel(position), 2))
    length = max((each for each in _LENGTHS if each * scale < _SIZE / 4), default=1)
    start, end, level = _MARGIN // 3, _MARGIN // 3 + round(length * scale), _SIZE - _MARGIN // 2
    cv2.line(image, (start, level), (end, level), _INK, 3)
    labels.append(_Label(f"{length} m", _WHITE, np.array(((start + end) / 2, level)), 2))
    _draw_labels(image, labels, (image != empty).any(-1))
    return image


class _Label(NamedTuple):
    """A text beside a point (2,) of the image, at a distance of `reach` pixels from it."""

    text: str
    ink: NDArray[np.float32]
    point: NDArray[np.integer | np.floating]
    reach: int


def _draw_labels(image: NDArray[np.uint8], labels: Sequence[_Label], lines: NDArray[np.bool_]) -> None:
    """Draw texts where they cover neither each other nor the lines (H, W); those without a position are left out."""
    boxes = np.array([(*(label.point - label.reach), *(label.point + label.reach)) for label in labels], float)
    sizes, order = np.array([label_size(label.text, _LETTERS) for label in labels]), np.arange(len(labels))
    corners = label_corners(0 * order, boxes, sizes, order, lambda _: lines, np.array([(_SIZE, _SIZE)]))
    for label, corner in zip(labels, corners, strict=True):
        if np.isfinite(corner).all():
            draw_label(image, label.text, corner.tolist(), _LETTERS, label.ink)


def _path(fit: Fit, rows: Sequence[int] | NDArray[np.int_], to_first: Array) -> Array:
    """Compute the pelvis (R, 3) of some rows in the world."""
    pelvis = fit.joints3d[rows, SMPL24.index("pelvis")].astype(np.float64)
    return np.asarray((pelvis - to_first[:3, 3]) @ to_first[:3, :3])


def _draw_grid(image: NDArray[np.uint8], scale: float) -> None:
    """Draw lines a metre apart."""
    reach = _SIZE / 2 / scale
    for axis in (0, 1):
        for metre in np.arange(np.ceil(-reach), np.floor(reach) + 1):
            at = round(_SIZE / 2 + float(metre) * scale)
            start, end = ((at, 0), (at, _SIZE)) if axis == 0 else ((0, at), (_SIZE, at))
            cv2.line(image, start, end, _GRID, 1)
