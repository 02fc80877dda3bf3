"""Overlays: fitted bodies drawn over their image, in a colour for each track."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.errors import UsageError
from humanpose_cli.rendering.shading import draw_people
from humanpose_cli.rendering.surfaces import Surface

# Equally light and clearly different in hue; neighbours in the list lie far apart on the colour circle.
_COLOURS = (
    (88, 172, 232),
    (244, 150, 72),
    (112, 192, 112),
    (228, 108, 136),
    (160, 132, 224),
    (232, 200, 84),
    (72, 190, 182),
    (208, 124, 196),
    (164, 168, 80),
    (120, 142, 232),
    (216, 128, 92),
    (128, 204, 158),
)
_GOLDEN_TURN = 0.61803398875


def person_colour(track_id: int) -> NDArray[np.float32]:
    """Return the colour of a track.

    The first ids have a palette; later ones walk the colour circle by the golden ratio, which never repeats a hue.

    Args:
        track_id: The track.

    Returns:
        (3,) float32, 0…1, RGB.
    """
    if 0 <= track_id < len(_COLOURS):
        return np.asarray(_COLOURS[track_id], np.float32) / np.float32(255)
    turn = track_id * _GOLDEN_TURN
    red_green_blue = colorsys.hls_to_rgb(turn % 1.0, 0.62 + 0.06 * (track_id % 3 - 1), 0.62)
    return np.asarray(red_green_blue, np.float32)


_OPACITY = 0.7  # of the bodies


def draw_overlay(
    image: NDArray[np.uint8],
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    track_ids: Sequence[int] | None = None,
    hatched: Tensor | None = None,
    dressed: Sequence[Sequence[Surface]] | None = None,
) -> NDArray[np.uint8]:
    """Draw bodies over the photo, as a new image.

    Args:
        image: (H, W, 3) uint8 RGB.
        vertices: (P, V, 3) float, metres in camera axes. Bodies may be partly outside the image or behind the camera;
            bodies that are not finite are left out.
        faces: (F, 3) int32.
        camera: The photo's camera.
        track_ids: (P,) int. They decide the colours; None for the row numbers.
        hatched: (P, V) bool. Drawn in stripes, such as uncertain limbs; None for nothing.
        dressed: (P) The surfaces to draw in place of each body, its own first; none draw the body.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UsageError: If an array has another shape.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UsageError("photo", "is not RGB", expected="(H, W, 3) uint8", got=f"{image.shape} {image.dtype}")
    ids = list(range(len(vertices))) if track_ids is None else [int(i) for i in track_ids]
    if len(ids) != len(vertices):
        raise UsageError("track ids", "do not match the bodies", expected=str(len(vertices)), got=str(len(ids)))
    canvas = np.array(image, copy=True, order="C")
    # Rows with values that are not finite, bodies without a position, draw nothing.
    surfaces: list[Surface] = []
    for row, (body, track) in enumerate(zip(vertices, ids, strict=True)):
        if not bool(torch.isfinite(body).all()):
            continue
        stripes = None if hatched is None else hatched[row]
        worn = [] if dressed is None else [*dressed[row]]
        worn = worn or [Surface(body.detach().float(), faces, tuple(person_colour(track)))]
        surfaces += [replace(worn[0], hatched=stripes), *worn[1:]]
    draw_people(canvas, surfaces, camera, opacity=_OPACITY)
    return canvas


_DASH = 0.02  # longer sides of the image: dash of a line
_GAP = 0.012  # longer sides of the image: gap of a dashed line
LABEL_GROUND = (32, 32, 32)
YELLOW = np.array((255, 214, 64), np.float32) / np.float32(255)  # of labels without a person
# Where a label may stand at each of four sides of its box, from the natural place, in heights of the label.
_STEPS = (-16.0, -8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
_MOVES = np.stack(np.meshgrid(_STEPS, _STEPS), -1).reshape(-1, 2)
# It costs the distance from the foot of the box, in heights of the label, or from its top and `_ABOVE`.
_ABOVE = 4.0  # additional cost above the box
_FARTHEST = 29.0  # maximum cost
_LEFT_OUT = 30.0  # cost of a frame without the label
_CHANGE = 150.0  # cost of a move from one frame to the next


def draw_dashed_box(image: NDArray[np.uint8], box: Sequence[float]) -> None:
    """Draw a thin dashed box x0 y0 x1 y1, pixels, into an image (H, W, 3), in place."""
    longest = max(image.shape[:2])
    dash = max(2.0, _DASH * longest)
    period = max(4.0, (_DASH + _GAP) * longest)
    x0, y0, x1, y1 = np.clip(box, 0, (np.array(image.shape[1::-1]) - 1).tolist() * 2)
    for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        first = np.asarray(start)
        along = np.asarray(end) - start
        length = max(float(np.linalg.norm(along)), 1e-6)
        for position in np.arange(0, length, period):
            a, b = (np.rint(first + along * min(position + reach, length) / length).astype(int) for reach in (0, dash))
            cv2.line(image, a.tolist(), b.tolist(), (255, 214, 64), max(1, round(longest / 900)))


def _look(letters: int) -> tuple[int, float, int]:
    """Return font, scale and thickness of letters whose capitals have a height in pixels."""
    return cv2.FONT_HERSHEY_SIMPLEX, letters / 22, max(1, round(letters / 14))


def label_size(text: str, letters: int) -> tuple[int, int]:
    """Return the width and height of a label, pixels, with its ground; `letters` as for `draw_label`."""
    (width, _), below = cv2.getTextSize(text, *_look(letters))
    edge = letters // 2
    return width + 2 * edge, letters + below + 2 * edge


def draw_label(
    image: NDArray[np.uint8],
    text: str,
    corner: Sequence[float],
    letters: int = 0,
    colour: NDArray[np.float32] = YELLOW,
) -> None:
    """Write a line of text on a dark ground, in place.

    Args:
        image: (H, W, 3) uint8 RGB.
        text: The text.
        corner: (x, y) of the upper left corner, pixels; moved so that the text is inside the image.
        letters: The height of capitals, pixels; 0 for a height by the size of the image.
        colour: (3,) float, 0…1, RGB.
    """
    letters = letters or max(9, round(max(image.shape[:2]) / 55))
    width, height = size = label_size(text, letters)
    x, y = np.rint(corner).astype(int).clip(0, np.subtract(image.shape[1::-1], size).clip(0)).tolist()
    cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), LABEL_GROUND, -1)
    font, scale, thickness = _look(letters)
    base = x + letters // 2, y + letters // 2 + letters
    cv2.putText(image, text, base, font, scale, (255 * colour).tolist(), thickness, cv2.LINE_AA)


def label_corners(
    frames: NDArray[np.integer],
    boxes: NDArray[np.float64],
    sizes: NDArray[np.integer],
    labels: NDArray[np.integer],
    obstacles: Callable[[int], NDArray[np.bool_]],
    image_sizes: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Choose the positions of labels beside boxes, inside the image, separate from each other and from occupied cells.

    A label stands below its box, beside its foot or above it, as near as there is room. It keeps this position from
    frame to frame, and changes it only for long.

    Args:
        frames: (N,) int. The frame of each label.
        boxes: (N, 4) float, x0 y0 x1 y1 in pixels.
        sizes: (N, 2) int, pixels. The labels' width and height.
        labels: (N,) int. The labels' numbers, each in the order of frames; lower numbers choose first.
        obstacles: Returns a grid (h, w) bool over the image of a frame, True where no label may be.
        image_sizes: (F, 2) int, pixels. The width and height of each frame.

    Returns:
        (N, 2) float64, pixels. The upper left corners; NaN without room.
    """

    def candidates(rows: Any) -> NDArray[np.float64]:
        """List the corners (R, K, 2) that are tried."""
        (x0, y0, x1, y1) = boxes[rows].T
        (width, height) = sizes[rows].T
        left = (x0 + x1 - width) / 2
        gap = height / 4
        anchors = (
            (left, y1 + gap),
            (x1 + gap, y1 - height),
            (x0 - gap - width, y1 - height),
            (left, y0 - gap - height),
        )
        corners = np.array(anchors).transpose(2, 0, 1)[:, :, None] + height[:, None, None, None] * _MOVES
        room = np.maximum(image_sizes[frames[rows]] - sizes[rows], 0)[:, None]
        return np.rint(corners.reshape(len(rows), -1, 2)).clip(0, room)

    costs = np.zeros((len(frames), 4 * len(_MOVES)), np.float16)  # few bytes: of all people in all frames
    for frame in np.unique(frames):
        rows = np.flatnonzero(frames == frame)
        grid = obstacles(int(frame))
        sums = np.pad(grid.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        limit = np.array(grid.shape[::-1])
        low = candidates(rows)
        size = sizes[rows, None]
        scale = limit / image_sizes[frame]
        x0, y0 = np.moveaxis(np.floor(low * scale).astype(int), 2, 0)
        x1, y1 = np.moveaxis(np.minimum(np.ceil((low + size) * scale).astype(int), limit), 2, 0)
        middle = boxes[rows, 0::2].mean(1)
        foot, top = (np.stack((middle, boxes[rows, side]), 1)[:, None] for side in (3, 1))
        far, above = (np.linalg.norm(low + size / 2 - end, axis=2) / size[..., 1] for end in (foot, top))
        overlaps = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0] > 0
        costs[rows] = np.where(overlaps, np.inf, np.minimum(far, above + _ABOVE).clip(0, _FARTHEST))
    result = np.full((len(frames), 2), np.nan)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        for row in rows.tolist():
            placed = np.flatnonzero((frames == frames[row]) & np.isfinite(result[:, 0]))
            distances = np.abs(2 * (candidates([row])[0, :, None] - result[placed]) + sizes[row] - sizes[placed])
            costs[row, (distances < sizes[row] + sizes[placed]).all(2).any(1)] = np.inf
        for row, choice in zip(rows.tolist(), _steady(costs[rows]), strict=True):
            if choice < costs.shape[1]:
                result[row] = candidates([row])[0, choice]
    return result


def _steady(costs: NDArray[np.floating]) -> list[int]:
    """Return the columns of costs (R, K) with the smallest sum; changes cost, and K leaves a row out."""
    total = np.zeros(costs.shape[1] + 1)
    previous = []
    for row in costs:
        lowest = int(total.argmin())
        keep = total <= total[lowest] + _CHANGE
        previous.append(np.where(keep, np.arange(len(total)), lowest).astype(np.int16))
        total = np.where(keep, total, total[lowest] + _CHANGE) + np.append(row, _LEFT_OUT)
    path = [int(total.argmin())]
    for columns in reversed(previous[1:]):
        path.append(int(columns[path[-1]]))
    return path[::-1]
