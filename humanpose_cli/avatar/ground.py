"""The ground that a person stands on, in a photo and in the frames of a motion, and the shadow below the feet.

A person who stands still is in balance: their centre of mass is above their feet. This gives the downward direction of
a camera that looks down or up, or is rolled, to some degrees; smaller tilts count as level. The ground is the plane
down · point = height in camera axes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.parts import parts_mask
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
    """Return the height of the soles of a body that stands on its feet.

    Args:
        vertices: (V, 3) float, metres in camera axes.
        body: The body model.
        reliable: (V,) float, 0…1. How well each vertex' position is known; None for 1.
        down: (3,) float, unit vector in camera axes; None for a level camera.

    Returns:
        Metres along `down`; None if the body does not stand.
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
    """Return whether (...) both knees of joints (..., 24, 3) are straight."""
    hips, knees, ankles = (joints[..., list(rows), :] for rows in _LEGS)
    bend = torch.cosine_similarity(knees - hips, ankles - knees, dim=-1)  # (..., 2)
    return (bend > math.cos(math.radians(_MAX_BEND))).all(-1)


def _down_of(vertices: Tensor, body: Body, reliable: Tensor | None) -> Tensor | None:
    """Return the direction (3,) from the centre of mass to the soles that carry a standing body; None if none do."""
    # A person who walks, kicks or leaps need not be in balance.
    labels = body.part_labels.cpu().numpy()
    centre, areas = _mass_and_surface(vertices, body.faces.long())
    if reliable is not None:
        areas = areas * (reliable > 0.5)

    def weights(*names: str) -> Tensor:
        return areas * torch.from_numpy(parts_mask(labels, names)).to(vertices.device)

    def middle(weight: Tensor) -> Tensor:
        return (weight[:, None] * vertices).sum(0) / weight.sum()

    # A leg with a hidden part may be bent.
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
    close = float((left - right).norm()) < _MAX_STEP * float(along.max() - along.min())
    return down if close and abs(lowest[0] - lowest[1]) < _LIFTED else None


def tilt_of(
    vertices: Tensor,
    joints: Tensor,
    body: Body,
    reliable: Tensor | None = None,
) -> Tensor:
    """Return the downward direction: the median over the poses with straight legs that stand on both feet.

    Args:
        vertices: (T, V, 3) float, metres in camera axes.
        joints: (T, 24, 3) float, metres in any axes.
        body: The body model.
        reliable: (V,) float, 0…1. How well each vertex' position is known; None for 1.

    Returns:
        (3,) float, unit vector in camera axes. Level if the tilt is small, very large, or if nobody stands.
    """
    level = vertices.new_tensor(_LEVEL)
    straight = vertices[straight_legs(joints)]
    ways_down = [down for down in (_down_of(pose, body, reliable) for pose in straight) if down is not None]
    if not ways_down:
        return level
    down = torch.nn.functional.normalize(torch.stack(ways_down).median(0).values, dim=0)
    smallest, largest = map(math.radians, _TILTS)
    return down if smallest < math.acos(min(1.0, float(down @ level))) < largest else level


def turn_between(source: Tensor, target: Tensor) -> Tensor:
    """Return the smallest rotation (3, 3) that maps a unit vector (3,) to another one that is not its opposite."""
    axis = torch.linalg.cross(source, target)
    cosine = float(source @ target)
    x, y, z = axis.tolist()
    cross = axis.new_tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return torch.eye(3).to(axis) + cross + cross @ cross / (1 + cosine)


def ground_under(lowest: NDArray[np.floating], frame_rate: float) -> NDArray[np.float64]:
    """Estimate the height of a motion's ground in each frame.

    The body touches the ground at contacts. Between contacts the ground is straight, so that jumps stay jumps.
    Otherwise it moves slowly, for the distances of fits may be wrong, the camera tilted, or the ground a slope. It is
    at most 1 cm above the lowest point.

    Args:
        lowest: (T,) float, metres upwards. The body's lowest point in each frame.
        frame_rate: Frames per second.

    Returns:
        (T,) float64, metres upwards.
    """
    from scipy.ndimage import gaussian_filter1d, maximum_filter1d, median_filter, minimum_filter1d

    # Single wrong frames do not count.
    steady = median_filter(lowest.astype(np.float64), _odd(_GLITCH * frame_rate), mode="nearest")
    # The lower envelope that rises and falls no faster than a drift: soles near it touch the ground.
    rise = _MAX_DRIFT / frame_rate * np.arange(len(lowest))
    falling = np.minimum.accumulate(steady - rise) + rise
    rising = np.minimum.accumulate((steady + rise)[::-1])[::-1] - rise
    # So do soles that keep their height for long.
    size = max(3, _odd(_STANDSTILL * frame_rate))
    change = maximum_filter1d(steady, size, mode="nearest") - minimum_filter1d(steady, size, mode="nearest")
    touching = np.flatnonzero((steady < np.minimum(falling, rising) + _TOUCHING) | (change < _STILL))
    ground = np.interp(np.arange(len(lowest)), touching, steady[touching])
    if len(ground) > 1:  # the body must not tremble with the soles
        reach = math.ceil(4 * _SMOOTHING * frame_rate)
        longer = np.pad(ground, reach, mode="reflect", reflect_type="odd")
        ground = gaussian_filter1d(longer, _SMOOTHING * frame_rate, mode="nearest")[reach : reach + len(ground)]
    return np.minimum(ground, lowest + MAX_SINKING)


def _odd(frames: float) -> int:
    return 2 * int(frames / 2) + 1


def _mass_and_surface(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centre of mass (3,) of a closed surface (V, 3), and the areas (V,) of its vertices."""
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
    """Compute the shadow of feet on the ground.

    Args:
        vertices: (V, 3) float, metres in camera axes.
        height: The ground's height along `down`, metres.
        camera: The image's camera.
        down: (3,) float, unit vector in camera axes; None for a level camera.

    Returns:
        A rectangle of the image, and the share of light (h, w) float32 that reaches the ground there; None without a
        shadow.
    """
    points = vertices.detach().cpu().numpy().astype(np.float64)
    below = np.array(_LEVEL if down is None else down.tolist())
    lifts = height - points @ below
    rows = np.flatnonzero((lifts < _SOLE) & (points[:, 2] > 0.2))
    if height < _MIN_CAMERA or not len(rows):
        return None
    rows = rows[:: max(1, len(rows) // _SOLE_POINTS)]
    soles = points[rows] + lifts[rows, None] * below
    nearness = np.clip(1 - lifts[rows] / _SOLE, 0, 1).astype(np.float32)  # points below the ground touch it
    centre = soles.mean(0)
    box = _box_of_circle(centre, below, 2.5 * _AMBIENT[0], camera)
    if box.empty:
        return None
    # Each pixel's ray meets the ground at (x z, y z, z).
    ys, xs = np.mgrid[box.slices].astype(np.float32) + np.float32(0.5)
    focal = np.float32(camera.focal)
    (centre_x, centre_y) = map(np.float32, camera.principal_point)
    x = (xs - centre_x) / focal
    y = (ys - centre_y) / focal
    descent = x * np.float32(below[0]) + y * np.float32(below[1]) + np.float32(below[2])
    z = np.float32(height) / np.maximum(descent, np.float32(1e-3))
    ground = (x * z, y * z, z)

    def near(point: NDArray[np.float64], reach: float, part: tuple[slice, slice]) -> NDArray[np.float32]:
        squares = np.zeros_like(descent[part])
        for axis, coordinate in zip(ground, point.astype(np.float32), strict=True):
            squares += np.square(axis[part] - coordinate)
        return np.where(descent[part] > 0, np.exp(-squares / np.float32(2 * reach**2)), np.float32(0))

    close = np.zeros(z.shape, np.float32)
    for sole, touch in zip(soles, nearness, strict=True):
        about = _box_of_circle(sole, below, 4 * _CONTACT[0], camera).intersect(box)
        if not about.empty:  # the rest of the image is too far away
            part = about.slices_in(box)
            np.maximum(close[part], touch * near(sole, _CONTACT[0], part), out=close[part])
    light = (1 - _CONTACT[1] * close) * (1 - _AMBIENT[1] * near(centre, _AMBIENT[0], np.s_[:, :]))
    return box, np.clip(light, 0, 1).astype(np.float32)


def _box_of_circle(centre: NDArray[np.float64], normal: NDArray[np.float64], radius: float, camera: Camera) -> Box:
    """Bound the image of the square round a circle, as far as it is in front of the camera."""
    across = np.cross(normal, (0.0, 0.0, 1.0))
    across /= max(float(np.linalg.norm(across)), 1e-9)
    along = np.cross(normal, across)
    corners = centre + radius * np.array([i * across + j * along for i in (-1, 1) for j in (-1, 1)])
    corners[:, 2] = np.maximum(corners[:, 2], 0.3)
    pixels = camera.project(corners)
    low = np.floor(pixels.min(0)).astype(int)
    high = np.ceil(pixels.max(0)).astype(int)
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])).intersect(Box.of_image(camera))
