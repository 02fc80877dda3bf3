"""Overlays: fitted bodies and keypoints drawn over the image they were found in, in a colour for each track."""

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
from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.core.errors import UsageError
from humanpose_cli.rendering.shading import Layer, Scene
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
    """The colour of a track: (3,) RGB in 0…1.

    The first ids take a hand-picked palette; later ones walk the colour circle by the golden ratio, which never
    repeats a hue.
    """
    if 0 <= track_id < len(_COLOURS):
        return np.asarray(_COLOURS[track_id], np.float32) / np.float32(255)
    turn = track_id * _GOLDEN_TURN
    red_green_blue = colorsys.hls_to_rgb(turn % 1.0, 0.62 + 0.06 * (track_id % 3 - 1), 0.62)
    return np.asarray(red_green_blue, np.float32)


# Sub-pixel bits of OpenCV's drawing functions.
_SHIFT = 4
_OPACITY = 0.7  # of the bodies
_LINE_WIDTH = 0.0025  # of the skeleton, of the image's longer side


def draw_overlay(
    image: NDArray[np.uint8],
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    track_ids: Sequence[int] | None = None,
    hatched: Tensor | None = None,
) -> NDArray[np.uint8]:
    """The photo (H, W, 3) uint8 RGB with everyone's body drawn over it, as a new image.

    vertices         (P, V, 3) metres, camera axes; P may be 0, bodies may lie partly outside or behind the camera
    faces            (F, 3) int32
    camera           the photo's
    track_ids        (P,) decide the colours; without them the row number does
    hatched          (P, V) bool: what is drawn in stripes, such as limbs that are guesses; None for nothing
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UsageError("photo", "is not RGB", expected="(H, W, 3) uint8", got=f"{image.shape} {image.dtype}")
    ids = list(range(len(vertices))) if track_ids is None else [int(i) for i in track_ids]
    if len(ids) != len(vertices):
        raise UsageError("track ids", "do not match the bodies", expected=str(len(vertices)), got=str(len(ids)))
    drawn = np.array(image, copy=True, order="C")
    # Rows with values that are not finite (nobody could place this body) draw nothing.
    surfaces = [
        Surface(body.detach().to(torch.float32), faces, tuple(person_colour(track)), hatched=stripes)
        for body, track, stripes in zip(vertices, ids, [None] * len(ids) if hatched is None else hatched, strict=True)
        if bool(torch.isfinite(body).all())
    ]
    scene = Scene(surfaces, replace(camera, size=drawn.shape[1::-1]))
    for tile in scene.tiles():
        _blend(drawn[tile.slices], scene.draw(tile))
    return drawn


def _blend(image: NDArray[np.uint8], layer: Layer) -> None:
    """Lay a layer over part of an image, in place."""
    share = layer.alpha * np.float32(_OPACITY)
    paint = layer.colour * np.float32(255 * _OPACITY)
    mixed = image.astype(np.float32)
    mixed *= (1 - share)[..., None]
    mixed += paint
    # Round half up: plain truncation would darken the photo where nothing is drawn.
    mixed += np.float32(0.5)
    np.copyto(image, np.minimum(mixed, np.float32(255)), casting="unsafe")


_DASH, _GAP = 0.02, 0.012  # of dashed lines, of the image's longer side


def draw_dashed_box(image: NDArray[np.uint8], box: Sequence[float]) -> None:
    """Draw a thin dashed box x0 y0 x1 y1 (pixels) into an image (H, W, 3), in place; parts outside it are cut off."""
    longest = max(image.shape[:2])
    dash, period = max(2.0, _DASH * longest), max(4.0, (_DASH + _GAP) * longest)
    x0, y0, x1, y1 = np.clip(box, 0, (np.array(image.shape[1::-1]) - 1).tolist() * 2)
    for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        first, along = np.asarray(start), np.asarray(end) - start
        length = max(float(np.linalg.norm(along)), 1e-6)
        for at in np.arange(0, length, period):
            a, b = (np.rint(first + along * min(at + reach, length) / length).astype(int) for reach in (0, dash))
            cv2.line(image, a.tolist(), b.tolist(), (255, 214, 64), max(1, round(longest / 900)))


def draw_label(image: NDArray[np.uint8], text: str, corner: Sequence[float]) -> None:
    """Write lines of text on a dark ground into an image (H, W, 3), in place.

    corner  (x, y) pixels of the upper left corner; moved so that the text is inside the image
    """
    height, width = image.shape[:2]
    scale = max(0.4, max(height, width) / 1200)
    lines = text.split("\n")
    sizes = [cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, 1) for line in lines]
    edge = below = sizes[0][1]
    long, high = max(size[0] for size, _ in sizes), sizes[0][0][1]
    step = high + 2 * below
    tall = (len(lines) - 1) * step + high + below + 2 * edge
    x = int(np.clip(corner[0], 0, max(0, width - long - 2 * edge)))
    y = int(np.clip(corner[1], 0, max(0, height - tall)))
    cv2.rectangle(image, (x, y), (x + long + 2 * edge, y + tall), (32, 32, 32), -1)
    look = cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 214, 64), max(1, round(scale)), cv2.LINE_AA
    for number, line in enumerate(lines):
        cv2.putText(image, line, (x + edge, y + edge + high + number * step), *look)


def draw_keypoints(
    image: NDArray[np.uint8],
    keypoints: NDArray[np.floating],
    skeleton: Skeleton,
    colour: NDArray[np.float32],
    threshold: float = 0.3,
) -> None:
    """Draw one person's keypoints, (K, 2) pixels or (K, 3) with confidence, and the bones between them, in place.

    threshold  keypoints of less confidence are left out
    """
    if len(keypoints) != len(skeleton):
        raise UsageError(
            "keypoints",
            "do not match the skeleton",
            expected=f"{len(skeleton)} of {skeleton.name}",
            got=str(len(keypoints)),
        )
    shown = np.isfinite(keypoints).all(-1)
    # OpenCV's coordinates are 16-bit after the shift in places: leave out what is far outside.
    limit = 4 * max(image.shape[:2])
    shown &= (np.abs(np.where(np.isfinite(keypoints), keypoints, 0))[:, :2] < limit).all(-1)
    if keypoints.shape[1] > 2:
        shown &= keypoints[:, 2] >= threshold
    # Pixel centres lie at +0.5 here and at whole numbers in OpenCV.
    points = np.where(shown[:, None], (keypoints[:, :2] - 0.5) * (1 << _SHIFT), 0).round().astype(int)
    width = max(1, round(_LINE_WIDTH * max(image.shape[:2])))
    bright = tuple(int(v) for v in 255 - (255 - 255 * colour) * 0.55)
    dark = tuple(int(v) for v in 255 * colour * 0.3)
    for line_colour, extra in ((dark, max(2, width // 2 * 2)), (bright, 0)):
        for a, b in skeleton.bones:
            if shown[a] and shown[b]:
                cv2.line(image, points[a].tolist(), points[b].tolist(), line_colour, width + extra, cv2.LINE_AA, _SHIFT)
        for row in np.flatnonzero(shown):
            radius = round((width * 1.2 + extra / 2) * (1 << _SHIFT))
            cv2.circle(image, points[row].tolist(), radius, line_colour, -1, cv2.LINE_AA, _SHIFT)
