"""The ground that a person stands on: where it is, in the frames of a motion too, and the shadow below the feet.

A person who stands still is in balance: their centre of mass is above their feet. So the way down is known to some
degrees where a camera looks down or up, or is rolled; smaller tilts are taken for none. The ground is the plane
down · point = height in camera axes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, median_filter, minimum_filter1d
from torch import Tensor

from humanpose_cli.avatar.surface import parts_mask
from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.rendering.boxes import Box

_STAND_HEIGHT = 0.2  # metres: height above the soles of all that is above the shins
_SOLE = 0.04  # metres: height above the ground that casts the contact shadow
_CONTACT = (0.045, 0.5)  # shadow under the soles: its reach in metres, and the share of the light kept away
_AMBIENT = (0.28, 0.16)  # the same for the shadow round the body
_MIN_CAMERA = 0.25  # metres: minimum height of the camera above the ground
_SOLE_POINTS = 60  # maximum number of points of the soles that cast a shadow
_CARRYING = 0.05  # metres: height above a foot's lowest point that carries weight
_LIFTED = 0.08  # metres: height above the other foot of one that carries nothing
_MAX_BEND = 40.0  # degrees: maximum bend of the knees of straight legs
_MAX_STEP = 0.3  # distance of the feet that may be a step, in heights of the body
_TILTS = (15.0, 50.0)  # degrees: smallest and largest tilt of a camera; fits lean by up to 12 degrees
_GLITCH = 0.15  # seconds: duration of a wrong frame of a motion
_MAX_DRIFT = 0.3  # metres/s: maximum speed of the ground by errors of fits and slopes
_TOUCHING = 0.01  # metres: height above the ground that touches it
_STANDSTILL = 0.3  # seconds: duration for which soles on the ground keep their height
_STILL = 0.025  # metres: change of height of such soles
_SMOOTHING = 0.08  # seconds: standard deviation of the filter against trembling soles
MAX_SINKING = 0.01  # metres: maximum depth of a body below the ground
MAX_SOLE_ERROR = 0.04  # metres: maximum error of a fit's soles on the ground
MAX_FLIGHT = 1.0  # seconds: maximum duration in the air

_FOOT = {side: (f"{side}_ankle", f"{side}_foot") for side in ("left", "right")}
_LEGS = tuple(SMPL24.indices((f"left_{part}", f"right_{part}")) for part in ("hip", "knee", "ankle"))
_BELOW_THIGHS = (*_FOOT["left"], *_FOOT["right"], "left_knee", "right_knee")
_LEVEL = (0.0, 1.0, 0.0)


def sole_height(
    vertices: Tensor,
    body: Body,
    reliable: Tensor | None = None,
    down: Tensor | None = None,
) -> float | None:
    """Find where the soles are, metres along `down`; None for a body (V, 3) that does not stand on its feet.

    Args:
        reliable: (V,) 0…1: how well each vertex' position is known; None for all.
        down: (3,) unit vector, camera axes; None for a level camera.
    """
    labels = body.part_labels.cpu().numpy()
    names = _FOOT["left"] + _FOOT["right"]
    feet, legs = (torch.from_numpy(parts_mask(labels, part)).to(vertices.device) for part in (names, _BELOW_THIGHS))
    if reliable is not None:
        feet &= reliable > 0.5
    if not feet.any():
        return None
    along = vertices @ vertices.new_tensor(_LEVEL if down is None else down.tolist())
    height = float(along[feet].max())
    return height if float(along[~legs].max()) < height - _STAND_HEIGHT else None


def straight_legs(joints: Tensor) -> Tensor:
    """Return a bool (...) that is True where neither knee of the joints (..., 24, 3) is bent."""
    hips, knees, ankles = (joints[..., list(rows), :] for rows in _LEGS)
    bend = torch.cosine_similarity(knees - hips, ankles - knees, dim=-1)  # (..., 2)
    return (bend > math.cos(math.radians(_MAX_BEND))).all(-1)


def _down_of(vertices: Tensor, body: Body, reliable: Tensor | None) -> Tensor | None:
    """Find the way (3,) from the centre of mass of a body with straight legs to the soles that carry it, a unit vector;
    None if it does not stand on both feet: a person who walks, kicks or leaps need not be in balance.

    Args:
        vertices: (V, 3) metres, camera axes; reliable: see `sole_height`.
    """
    labels = body.part_labels.cpu().numpy()
    centre, areas = _mass_and_surface(vertices, body.faces.long())
    if reliable is not None:
        areas = areas * (reliable > 0.5)

    def weights(*names: str) -> Tensor:
        return areas * torch.from_numpy(parts_mask(labels, names)).to(vertices.device)

    def middle(weight: Tensor) -> Tensor:
        return (weight[:, None] * vertices).sum(0) / weight.sum()

    # A leg of which a part is not visible may be bent.
    if not all(weights(f"{side}_{part}").any() for side in _FOOT for part in ("hip", "knee", "ankle")):
        return None
    feet = [weights(*names) for names in _FOOT.values()]
    # Which part of a foot carries depends on the way down, and the other way round.
    down = vertices.new_tensor(_LEVEL)
    for _ in range(4):
        along = vertices @ down
        left, right = (middle(foot * (along > along[foot > 0].max() - _CARRYING)) for foot in feet)
        down = torch.nn.functional.normalize((left + right) / 2 - centre, dim=0)
    along = vertices @ down
    lowest = [float(along[foot > 0].max()) for foot in feet]
    together = float((left - right).norm()) < _MAX_STEP * float(along.max() - along.min())
    return down if together and abs(lowest[0] - lowest[1]) < _LIFTED else None


def tilt_of(
    vertices: Tensor,
    joints: Tensor,
    body: Body,
    reliable: Tensor | None = None,
) -> Tensor:
    """Find the way down (3,) where bodies stand with straight legs: the median over those of (T, V, 3) that do, level
    if it nearly is, or if none stands.

    Args:
        joints: (T, 24, 3) metres, in any axes: only the angles of the knees are taken; reliable: see `sole_height`.
    """
    level = vertices.new_tensor(_LEVEL)
    straight = vertices[straight_legs(joints)]
    ways_down = [down for down in (_down_of(one, body, reliable) for one in straight) if down is not None]
    if not ways_down:
        return level
    down = torch.nn.functional.normalize(torch.stack(ways_down).median(0).values, dim=0)
    smallest, largest = map(math.radians, _TILTS)
    return down if smallest < math.acos(min(1.0, float(down @ level))) < largest else level


def turn_between(before: Tensor, after: Tensor) -> Tensor:
    """Compute the smallest rotation (3, 3) that brings one unit vector (3,) onto another that is not its opposite."""
    axis, cosine = torch.linalg.cross(before, after), float(before @ after)
    x, y, z = axis.tolist()
    cross = axis.new_tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return torch.eye(3).to(axis) + cross + cross @ cross / (1 + cosine)


def ground_under(lowest: NDArray[np.floating], frame_rate: float) -> NDArray[np.float64]:
    """Estimate the height (T,) of a motion's ground in each frame, from that of the body's lowest point (T,), metres
    upwards.

    The ground is where the body touches it, goes on straight between contacts, so that jumps stay jumps, and moves
    slowly otherwise, as it does where a fit's distances are wrong, its camera is tilted or people walk up a slope. It
    is nowhere more than a centimetre above the lowest point.
    """
    # Single wrong frames do not count.
    steady = median_filter(lowest.astype(np.float64), _odd(_GLITCH * frame_rate), mode="nearest")
    # The lower envelope that rises and falls no faster than a drift: soles near it touch the ground.
    rise = _MAX_DRIFT / frame_rate * np.arange(len(lowest))
    after = np.minimum.accumulate(steady - rise) + rise
    before = np.minimum.accumulate((steady + rise)[::-1])[::-1] - rise
    # So do soles that keep their height for long.
    size = max(3, _odd(_STANDSTILL * frame_rate))
    change = maximum_filter1d(steady, size, mode="nearest") - minimum_filter1d(steady, size, mode="nearest")
    touching = np.flatnonzero((steady < np.minimum(after, before) + _TOUCHING) | (change < _STILL))
    ground = np.interp(np.arange(len(lowest)), touching, steady[touching])
    if len(ground) > 1:  # the body must not tremble with the soles
        reach = math.ceil(4 * _SMOOTHING * frame_rate)
        longer = np.pad(ground, reach, mode="reflect", reflect_type="odd")
        ground = gaussian_filter1d(longer, _SMOOTHING * frame_rate, mode="nearest")[reach : reach + len(ground)]
    return np.minimum(ground, lowest + MAX_SINKING)


def _odd(frames: float) -> int:
    return 2 * int(frames / 2) + 1


def _mass_and_surface(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the centre (3,) of what a closed surface (V, 3) holds, as tetrahedra, and its vertices' areas (V,)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    volume = (torch.linalg.cross(a, b) * c).sum(1, keepdim=True)
    area = torch.linalg.cross(b - a, c - a).norm(dim=1) / 6
    areas = torch.zeros_like(vertices[:, 0]).index_add_(0, faces.flatten(), area.repeat_interleave(3))
    return ((a + b + c) / 4 * volume).sum(0) / volume.sum(), areas


def contact_shadow(
    vertices: Tensor,
    height: float,
    camera: Camera,
    down: Tensor | None = None,
) -> tuple[Box, NDArray[np.float32]] | None:
    """Find a rectangle of the image and the share of light (h, w) that reaches the ground there; None for no shadow.

    Args:
        vertices: (V, 3) metres, camera axes; height, down: the ground's, see `sole_height`.
    """
    points = vertices.detach().cpu().numpy().astype(np.float64)
    below = np.array(_LEVEL if down is None else down.tolist())
    lifts = height - points @ below
    rows = np.flatnonzero((lifts < _SOLE) & (points[:, 2] > 0.2))
    if height < _MIN_CAMERA or not len(rows):
        return None
    rows = rows[:: max(1, len(rows) // _SOLE_POINTS)]
    soles = points[rows] + lifts[rows, None] * below
    nearness = np.clip(1 - lifts[rows] / _SOLE, 0, 1).astype(np.float32)  # what is below the ground touches it
    centre = soles.mean(0)
    box = _box_of_circle(centre, below, 2.5 * _AMBIENT[0], camera)
    if box.empty:
        return None
    # Each pixel's ray meets the ground at (x z, y z, z).
    ys, xs = np.mgrid[box.slices].astype(np.float32) + np.float32(0.5)
    focal, (centre_x, centre_y) = np.float32(camera.focal), map(np.float32, camera.principal_point)
    x, y = (xs - centre_x) / focal, (ys - centre_y) / focal
    descent = x * np.float32(below[0]) + y * np.float32(below[1]) + np.float32(below[2])
    z = np.float32(height) / np.maximum(descent, np.float32(1e-3))
    ground = (x * z, y * z, z)

    def near(point: NDArray[np.float64], reach: float, part: tuple[slice, slice]) -> NDArray[np.float32]:
        away = np.zeros_like(descent[part])
        for axis, coordinate in zip(ground, point.astype(np.float32), strict=True):
            away += np.square(axis[part] - coordinate)
        return np.where(descent[part] > 0, np.exp(-away / np.float32(2 * reach**2)), np.float32(0))

    close = np.zeros(z.shape, np.float32)
    for sole, touch in zip(soles, nearness, strict=True):
        about = _box_of_circle(sole, below, 4 * _CONTACT[0], camera).intersect(box)
        if not about.empty:  # the rest of the image is too far away
            part = about.slices_in(box)
            np.maximum(close[part], touch * near(sole, _CONTACT[0], part), out=close[part])
    light = (1 - _CONTACT[1] * close) * (1 - _AMBIENT[1] * near(centre, _AMBIENT[0], np.s_[:, :]))
    return box, np.clip(light, 0, 1).astype(np.float32)


def _box_of_circle(centre: NDArray[np.float64], normal: NDArray[np.float64], radius: float, camera: Camera) -> Box:
    """Bound the image of the square round a circle, as far as it lies before the camera."""
    across = np.cross(normal, (0.0, 0.0, 1.0))
    across /= max(float(np.linalg.norm(across)), 1e-9)
    along = np.cross(normal, across)
    corners = centre + radius * np.array([i * across + j * along for i in (-1, 1) for j in (-1, 1)])
    corners[:, 2] = np.maximum(corners[:, 2], 0.3)
    pixels = camera.project(corners)
    low, high = np.floor(pixels.min(0)).astype(int), np.ceil(pixels.max(0)).astype(int)
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])).intersect(Box.of_image(camera))
