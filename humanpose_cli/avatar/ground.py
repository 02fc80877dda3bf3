"""The ground that a person stands on: where it is, how a pose is set down on it, and the shadow below the feet.

The camera is taken to be level: the ground is the plane y = height in camera axes (y down). What a tilted camera makes
of it stays small near the feet, and nothing is placed far from them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.surface import parts_mask
from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.rendering.boxes import Box

FEET = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("ankle", "foot"))
_STANDS = 0.2  # metres above the soles at which the thighs of somebody who stands begin, or all that is above them
_BELOW_THIGHS = (*FEET, "left_knee", "right_knee")
_SOLE = 0.04  # metres above the ground that still cast the contact shadow
# Soft shadows: (reach in metres, share of the light that is kept away) close to the soles, and round the whole body.
_CONTACT, _BODY = (0.045, 0.5), (0.28, 0.16)
_LOWEST_CAMERA = 0.25  # metres above the ground: nearer, the plane is seen edge-on
_POINTS = 60  # of the soles that cast


def standing_height(vertices: Tensor, body: Body, reliable: Tensor | None = None) -> float | None:
    """Where the soles are, camera y in metres; None for a body (V, 3) that does not stand on its feet.

    reliable  (V,) 0…1: how well each vertex' position is known; None where feet are not
    """
    labels = body.part_labels.cpu().numpy()
    feet, legs = (torch.from_numpy(parts_mask(labels, names)).to(vertices.device) for names in (FEET, _BELOW_THIGHS))
    if reliable is not None:
        feet &= reliable > 0.5
    if not feet.any():
        return None
    height = float(vertices[feet, 1].max())
    return height if float(vertices[~legs, 1].max()) < height - _STANDS else None


def contact_shadow(vertices: Tensor, height: float, camera: Camera) -> tuple[Box, NDArray[np.float32]] | None:
    """A rectangle of the image and the share of the light (h, w) that reaches the ground there; None for no shadow.

    vertices  (V, 3) metres, camera axes
    """
    points = vertices.detach().cpu().numpy().astype(np.float64)
    soles = points[(points[:, 1] > height - _SOLE) & (points[:, 2] > 0.2)]
    if height < _LOWEST_CAMERA or not len(soles):
        return None
    soles = soles[:: max(1, len(soles) // _POINTS)]
    reach = 2.5 * _BODY[0]
    corners = np.array([[x, height, z] for x in (-reach, reach) for z in (-reach, reach)]) + soles.mean(0) * [1, 0, 1]
    corners[:, 2] = np.maximum(corners[:, 2], 0.3)
    pixels = camera.project(corners)
    low, high = np.floor(pixels.min(0)).astype(int), np.ceil(pixels.max(0)).astype(int)
    box = Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])).intersect(Box.whole(camera))
    if box.empty:
        return None
    ys, xs = np.mgrid[box.slices].astype(np.float32) + np.float32(0.5)
    down = np.maximum(ys - np.float32(camera.principal_point[1]), np.float32(1e-3)) / np.float32(camera.focal)
    z = np.float32(height) / down
    x = (xs - np.float32(camera.principal_point[0])) / np.float32(camera.focal) * z
    close = np.zeros(z.shape, np.float32)
    for sole in soles:
        away = (x - np.float32(sole[0])) ** 2 + (z - np.float32(sole[2])) ** 2
        lift = 1 - (height - sole[1]) / _SOLE
        np.maximum(close, np.float32(lift) * np.exp(-away / np.float32(2 * _CONTACT[0] ** 2)), out=close)
    centre = soles.mean(0)
    round_body = np.exp(-((x - centre[0]) ** 2 + (z - centre[2]) ** 2) / np.float32(2 * _BODY[0] ** 2))
    light = (1 - _CONTACT[1] * close) * (1 - _BODY[1] * round_body)
    return box, light.astype(np.float32)
