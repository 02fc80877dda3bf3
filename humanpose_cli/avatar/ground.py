"""The ground that a person stands on: where it is, in the frames of a motion too, and the shadow below the feet.

Who stands still is in balance: their centre of mass is above their feet. That tells which way is down where a camera
looks down or up, or is rolled, to some degrees; smaller tilts are taken for none. The ground is the plane
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
from humanpose_cli.rendering.boxes import Box

_FOOT = {side: (f"{side}_ankle", f"{side}_foot") for side in ("left", "right")}
_STANDS = 0.2  # metres above the soles at which the thighs of somebody who stands begin, or all that is above them
_BELOW_THIGHS = (*_FOOT["left"], *_FOOT["right"], "left_knee", "right_knee")
_SOLE = 0.04  # metres above the ground that still cast the contact shadow
# Soft shadows: (reach in metres, share of the light that is kept away) close to the soles, and round the whole body.
_CONTACT, _BODY = (0.045, 0.5), (0.28, 0.16)
_LOWEST_CAMERA = 0.25  # metres above the ground: nearer, the plane is seen edge-on
_POINTS = 60  # of the soles that cast
# Balance: feet so much higher than the other (metres) carry nothing, as does what is so far above a foot's sole.
_LIFTED, _CARRIES = 0.08, 0.05
_STRAIGHT = math.cos(math.radians(40))  # of the bend of straight legs, and of the foot before the shin
_ASTRIDE = 0.3  # of the height: feet farther apart may be a step, or a leg that is raised
_LEAST_TILT, _MOST_TILT = math.radians(15), math.radians(50)  # fits lean by up to 12 degrees where nothing is tilted
_LEVEL = (0.0, 1.0, 0.0)
# Contacts of a motion with its ground: single wrong frames (seconds) do not count; errors of fits and slopes move the
# ground up to so fast (m/s), a jump is faster; soles so near to it (metres) touch it, as do those that keep their
# height for so long (seconds, metres), which nobody in the air does.
_GLITCH, _DRIFT, _TOUCHES, _STAYS, _STILL = 0.15, 0.3, 0.01, 0.3, 0.025
_SMOOTH = 0.08  # seconds, standard deviation: soles of fits tremble, and the body is not to tremble with them
SINKS = 0.01  # metres that a body may be below the ground: soft soles, and what smoothing leaves


def standing_height(
    vertices: Tensor, body: Body, reliable: Tensor | None = None, down: Tensor | None = None
) -> float | None:
    """Where the soles are, metres along `down`; None for a body (V, 3) that does not stand on its feet.

    reliable  (V,) 0…1: how well each vertex' position is known; None where feet are not
    down      (3,) unit vector, camera axes; None for a level camera
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
    return height if float(along[~legs].max()) < height - _STANDS else None


def down_of(vertices: Tensor, body: Body, reliable: Tensor | None = None) -> Tensor | None:
    """The way (3,) from a body's centre of mass to the soles that carry it, a unit vector; None where it does not stand
    on both feet with straight legs: who walks, kicks or leaps need not be in balance.

    vertices  (V, 3) metres, camera axes; reliable: see `standing_height`
    """
    labels = body.part_labels.cpu().numpy()
    centre, areas = _mass_and_surface(vertices, body.faces.long())
    known = areas if reliable is None else areas * (reliable > 0.5)

    def weights(*names: str) -> Tensor:
        return known * torch.from_numpy(parts_mask(labels, names)).to(vertices.device)

    feet = [weights(*names) for names in _FOOT.values()]
    legs = [[_middle(vertices, weights(f"{side}_{part}")) for part in ("hip", "knee", "ankle")] for side in _FOOT]
    if not all(bool(foot.any()) and _straight(*leg) for foot, leg in zip(feet, legs, strict=True)):
        return None
    down = vertices.new_tensor(_LEVEL)
    for _ in range(4):
        along = vertices @ down
        left, right = (_middle(vertices, foot * (along > along[foot > 0].max() - _CARRIES)) for foot in feet)
        down = torch.nn.functional.normalize((left + right) / 2 - centre, dim=0)
    lowest = [float((vertices[foot > 0] @ down).max()) for foot in feet]
    together = float((left - right).norm()) < _ASTRIDE * float((vertices @ down).max() - (vertices @ down).min())
    return down if together and abs(lowest[0] - lowest[1]) < _LIFTED else None


def _middle(points: Tensor, weights: Tensor) -> Tensor:
    return (weights[:, None] * points).sum(0) / weights.sum()


def _straight(thigh: Tensor, shank: Tensor, foot: Tensor) -> bool:
    """Whether a leg is, by the middles (3,) of its parts; not where one is not known."""
    return bool(torch.cosine_similarity(shank - thigh, foot - shank, dim=0) > _STRAIGHT)


def tilt_of(vertices: Tensor, body: Body, reliable: Tensor | None = None) -> Tensor:
    """The way down (3,) where bodies stand: the median over those of (T, V, 3) that do, level where it nearly is, or
    where nobody stands. reliable: see `standing_height`.
    """
    level = vertices.new_tensor(_LEVEL)
    found = [down for down in (down_of(one, body, reliable) for one in vertices) if down is not None]
    if not found:
        return level
    down = torch.nn.functional.normalize(torch.stack(found).median(0).values, dim=0)
    return down if _LEAST_TILT < math.acos(min(1.0, float(down @ level))) < _MOST_TILT else level


def turn_between(before: Tensor, after: Tensor) -> Tensor:
    """The smallest rotation (3, 3) that brings one unit vector (3,) onto another that is not its opposite."""
    axis, cosine = torch.linalg.cross(before, after), float(before @ after)
    x, y, z = axis.tolist()
    cross = axis.new_tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return torch.eye(3).to(axis) + cross + cross @ cross / (1 + cosine)


def ground_under(lowest: NDArray[np.floating], frame_rate: float) -> NDArray[np.float64]:
    """The height (T,) of a motion's ground in each frame, from that of the body's lowest point (T,), metres upwards.

    The ground is where the body touches it, goes on straight between contacts, so that jumps stay jumps, and moves
    slowly otherwise, as it does where a fit's distances are wrong, its camera is tilted or people walk up a slope. It
    is nowhere more than a centimetre above the lowest point.
    """
    steady = median_filter(lowest.astype(np.float64), _odd(_GLITCH * frame_rate), mode="nearest")
    rise = _DRIFT / frame_rate * np.arange(len(lowest))
    after = np.minimum.accumulate(steady - rise) + rise
    before = np.minimum.accumulate((steady + rise)[::-1])[::-1] - rise
    size = max(3, _odd(_STAYS * frame_rate))
    change = maximum_filter1d(steady, size, mode="nearest") - minimum_filter1d(steady, size, mode="nearest")
    touching = np.flatnonzero((steady < np.minimum(after, before) + _TOUCHES) | (change < _STILL))
    ground = np.interp(np.arange(len(lowest)), touching, steady[touching])
    reach = math.ceil(4 * _SMOOTH * frame_rate)
    going_on = np.pad(ground, reach, mode="reflect", reflect_type="odd") if len(ground) > 1 else ground
    smooth = gaussian_filter1d(going_on, _SMOOTH * frame_rate, mode="nearest")
    return np.minimum(smooth[reach : reach + len(ground)] if len(ground) > 1 else ground, lowest + SINKS)


def _odd(frames: float) -> int:
    return 2 * int(frames / 2) + 1


def _mass_and_surface(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """The centre (3,) of what a closed surface (V, 3) holds, as tetrahedra; its vertices' areas (V,)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    volume = (torch.linalg.cross(a, b) * c).sum(1, keepdim=True)
    area = torch.linalg.cross(b - a, c - a).norm(dim=1) / 6
    areas = torch.zeros_like(vertices[:, 0]).index_add_(0, faces.flatten(), area.repeat_interleave(3))
    return ((a + b + c) / 4 * volume).sum(0) / volume.sum(), areas


def contact_shadow(
    vertices: Tensor, height: float, camera: Camera, down: Tensor | None = None
) -> tuple[Box, NDArray[np.float32]] | None:
    """A rectangle of the image and the share of the light (h, w) that reaches the ground there; None for no shadow.

    vertices  (V, 3) metres, camera axes; height, down: the ground's, see `standing_height`
    """
    points = vertices.detach().cpu().numpy().astype(np.float64)
    below = np.array(_LEVEL if down is None else down.tolist())
    lifts = height - points @ below
    chosen = np.flatnonzero((lifts < _SOLE) & (points[:, 2] > 0.2))
    if height < _LOWEST_CAMERA or not len(chosen):
        return None
    chosen = chosen[:: max(1, len(chosen) // _POINTS)]
    soles = points[chosen] + lifts[chosen, None] * below
    nearness = np.clip(1 - lifts[chosen] / _SOLE, 0, 1).astype(np.float32)  # what is below the ground touches it
    centre = soles.mean(0)
    box = _box_of_circle(centre, below, 2.5 * _BODY[0], camera)
    if box.empty:
        return None
    ys, xs = np.mgrid[box.slices].astype(np.float32) + np.float32(0.5)
    centred = camera.principal_point
    x, y = ((axis - np.float32(c)) / np.float32(camera.focal) for axis, c in zip((xs, ys), centred, strict=True))
    descent = x * np.float32(below[0]) + y * np.float32(below[1]) + np.float32(below[2])
    z = np.float32(height) / np.maximum(descent, np.float32(1e-3))
    ground = (x * z, y * z, z)

    def near(point: NDArray[np.float64], reach: float, part: tuple[slice, slice]) -> NDArray[np.float32]:
        away = np.zeros_like(descent[part])
        for axis, its in zip(ground, point.astype(np.float32), strict=True):
            away += np.square(axis[part] - its)
        return np.where(descent[part] > 0, np.exp(-away / np.float32(2 * reach**2)), np.float32(0))

    close = np.zeros(z.shape, np.float32)
    for sole, touch in zip(soles, nearness, strict=True):
        about = _box_of_circle(sole, below, 4 * _CONTACT[0], camera).intersect(box)
        if not about.empty:  # the rest of the image is too far away
            part = about.slices_in(box)
            np.maximum(close[part], touch * near(sole, _CONTACT[0], part), out=close[part])
    light = (1 - _CONTACT[1] * close) * (1 - _BODY[1] * near(centre, _BODY[0], np.s_[:, :]))
    return box, np.clip(light, 0, 1).astype(np.float32)


def _box_of_circle(centre: NDArray[np.float64], normal: NDArray[np.float64], radius: float, camera: Camera) -> Box:
    """The rectangle of the image that holds the square round a circle, as far as it lies before the camera."""
    across = np.cross(normal, (0.0, 0.0, 1.0))
    across /= max(float(np.linalg.norm(across)), 1e-9)
    along = np.cross(normal, across)
    corners = centre + radius * np.array([i * across + j * along for i in (-1, 1) for j in (-1, 1)])
    corners[:, 2] = np.maximum(corners[:, 2], 0.3)
    pixels = camera.project(corners)
    low, high = np.floor(pixels.min(0)).astype(int), np.ceil(pixels.max(0)).astype(int)
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])).intersect(Box.whole(camera))
