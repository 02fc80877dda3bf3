"""Overlays: fitted bodies drawn over their image, in a colour for each track."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import replace

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


def pushed_apart(
    corners: NDArray[np.floating], sizes: NDArray[np.integer], image_size: NDArray[np.integer]
) -> NDArray[np.intp]:
    """Move the labels of an image into it, and up or down until none covers an earlier one.

    Args:
        corners: (N, 2) float, pixels. The upper left corners.
        sizes: (N, 2) int, pixels. Widths and heights.
        image_size: (2,) int, pixels. Width and height.

    Returns:
        (N, 2) int, pixels. The upper left corners. A label stays where it is if there is no room above and below.
    """
    room = np.maximum(image_size - sizes, 0)
    result = np.rint(corners).clip(0, room).astype(int)
    for label, (x, y) in enumerate(result.tolist()):
        width, height = sizes[label]
        earlier, ends = result[:label], result[:label] + sizes[:label]
        rivals = (earlier[:, 0] < x + width) & (x < ends[:, 0])
        tops, bottoms = earlier[rivals, 1], ends[rivals, 1]
        choices = np.concatenate(([y], tops - height, bottoms))
        free = ((choices[:, None] >= bottoms) | (choices[:, None] + height <= tops)).all(1)
        choices = choices[free & (choices >= 0) & (choices <= room[label, 1])]
        if len(choices):
            result[label, 1] = choices[np.abs(choices - y).argmin()]
    return result
