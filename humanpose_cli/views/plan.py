"""The cameras and people of a take from above: who stood where, and which way each camera looked."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
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
    """(900, 900, 3) uint8: the take from above, with a grid of metres and a scale; the first camera looks up in the
    image. Names of cameras and numbers of people stand beside them.

    UsageError for a fit of one camera.
    """
    if fit.views is None:
        raise UsageError("fit", "has one camera", expected="a take of several")
    to_first = fit.world_to_camera[0].astype(np.float64)
    centres, directions = [], []
    for matrix in fit.views.from_first.astype(np.float64) @ to_first:
        rotation, translation = matrix[:3, :3], matrix[:3, 3]
        centres.append(-rotation.T @ translation)
        directions.append(rotation[2])
    paths = [_path(fit, person.rows, to_first) for person in fit.people]
    ahead, right = directions[0][[0, 2]], np.array((-directions[0][2], directions[0][0]))
    axes = np.stack((-right, ahead)) / max(float(np.linalg.norm(ahead)), 1e-9)
    cameras = np.array(centres)[:, [0, 2]] @ axes.T
    walked = [path[:, [0, 2]] @ axes.T for path in paths]
    every = np.concatenate([cameras, *walked])
    low, extent = every.min(0), max(float(np.ptp(every, axis=0).max()), 1.0)
    middle = (low + every.max(0)) / 2
    scale = (_SIZE - 2 * _MARGIN) / extent

    def pixel(points: Array) -> NDArray[np.int32]:
        moved = (points - middle) * scale
        return np.rint(np.stack((_SIZE / 2 + moved[..., 0], _SIZE / 2 - moved[..., 1]), -1)).astype(np.int32)

    image = np.full((_SIZE, _SIZE, 3), 250, np.uint8)
    _draw_grid(image, scale)
    empty, named = image.copy(), []
    for path, person in zip(walked, fit.people, strict=True):
        colour = [int(255 * value) for value in person_colour(person.id)]
        cv2.polylines(image, [pixel(path).reshape(-1, 1, 2)], False, colour, 3, cv2.LINE_AA)
        cv2.circle(image, pixel(path[-1]).tolist(), _DOT, colour, -1, cv2.LINE_AA)
        named.append((str(person.id), person_colour(person.id), pixel(path[-1]), _DOT))
    for number, (camera, direction) in enumerate(zip(cameras, directions, strict=True)):
        half = np.arctan2(float(fit.views.image_size[number, 0]) / 2, float(fit.views.focal[number]))
        heading = np.arctan2(*(axes @ direction[[0, 2]])[::-1])
        ends = [camera + _REACH * extent * np.array((np.cos(a), np.sin(a))) for a in (heading - half, heading + half)]
        cv2.polylines(image, [pixel(np.array((camera, *ends))).reshape(-1, 1, 2)], True, _INK, 2, cv2.LINE_AA)
        named.append((str(fit.views.names[number]), _WHITE, pixel(camera), 2))
    length = max((each for each in _LENGTHS if each * scale < _SIZE / 4), default=1)
    start, end, level = _MARGIN // 3, _MARGIN // 3 + round(length * scale), _SIZE - _MARGIN // 2
    cv2.line(image, (start, level), (end, level), _INK, 3)
    named.append((f"{length} m", _WHITE, np.array(((start + end) / 2, level)), 2))
    boxes = np.array([(*(at - reach), *(at + reach)) for _, _, at, reach in named], float)
    sizes, order = np.array([label_size(text, _LETTERS) for text, *_ in named]), np.arange(len(named))
    occupied, shape = (image != empty).any(-1), np.array([(_SIZE, _SIZE)])
    corners = label_corners(0 * order, boxes, sizes, order, lambda _: occupied, shape)
    for (text, ink, *_), corner in zip(named, corners, strict=True):
        if np.isfinite(corner).all():
            draw_label(image, text, corner.tolist(), _LETTERS, ink)
    return image


def _path(fit: Fit, rows: Sequence[int] | NDArray[np.int_], to_first: Array) -> Array:
    """(R, 3) the pelvis of some rows in the world."""
    pelvis = fit.joints3d[rows, SMPL24.index("pelvis")].astype(np.float64)
    return np.asarray((pelvis - to_first[:3, 3]) @ to_first[:3, :3])


def _draw_grid(image: NDArray[np.uint8], scale: float) -> None:
    """Lines a metre apart."""
    reach = _SIZE / 2 / scale
    for axis in (0, 1):
        for metre in np.arange(np.ceil(-reach), np.floor(reach) + 1):
            at = round(_SIZE / 2 + float(metre) * scale)
            ends = ((at, 0), (at, _SIZE)) if axis == 0 else ((0, at), (_SIZE, at))
            cv2.line(image, *ends, _GRID, 1)
