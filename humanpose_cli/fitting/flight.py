"""Stretches of a person's motion in which nothing carries them: their centre of mass falls freely.

A jump differs from other movements by its parabola: within a quarter of a second the centre of mass leaves a straight
line by 8 cm, and its acceleration hardly depends on what the limbs do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from humanpose_cli.fitting.landmark_rig import LandmarkRig

GRAVITY = 9.81  # metres / second²
_SHORTEST, _LONGEST = 0.25, 1.5  # seconds of a flight
_MISS = 0.03  # metres: root mean square distance of the centre of mass from a parabola
_TOLERANCE = 3.0  # metres / second² by which its acceleration may differ, because the person's size is a guess
_ENOUGH = 5  # frames of a flight, and standing frames that show where up is
# Shares of the body's mass (de Leva 1996, Table 4, mean of women and men) at the points that landmark sets have: each
# segment's, divided between its two ends so that its centre of mass stays where it is. Hands and feet end at wrists and
# ankles.
_MASSES = {
    "ear": 0.034,
    "shoulder": 0.11 + 0.42 * 0.026,
    "elbow": 0.58 * 0.026 + 0.54 * 0.015,
    "wrist": 0.46 * 0.015 + 0.006,
    "hip": 0.105 + 0.615 * 0.145,
    "knee": 0.385 * 0.145 + 0.56 * 0.046,
    "ankle": 0.44 * 0.046 + 0.013,
}


def masses_of(rig: LandmarkRig) -> Tensor:
    """Compute the shares (M,) of the body's mass at a rig's points: their mean is its centre of mass."""
    return mass_shares(rig.landmark_skeleton.joint_names, len(rig.template))


def mass_shares(names: Sequence[str], count: int) -> Tensor:
    """Compute the shares (M,) of the body's mass at `count` points, the first of which have these names."""
    masses = torch.zeros(count, dtype=torch.float64)
    for row, name in enumerate(names):
        masses[row] = _MASSES.get(name.removeprefix("left_").removeprefix("right_"), 0.0)
    return masses / masses.sum()


def runs(flags: Tensor) -> Iterator[tuple[int, int]]:
    """Yield first and behind the last of each run of true flags (T,)."""
    ends = torch.nn.functional.pad(flags.to(torch.int8), (1, 1)).diff().nonzero().squeeze(-1).tolist()
    yield from zip(ends[::2], ends[1::2], strict=True)


def free_fall(rig: LandmarkRig, world: Tensor, to_world: Tensor, time: Tensor, standing: Tensor) -> Tensor:
    """Compute the acceleration of gravity (T - 2, 3) in metres / second², world axes, of all frames but the first and
    the last, where they are in flight; else zero.

    world     (T, M, 3) points of the rig in the world, metres
    to_world  (T, 3, 3) camera axes to world axes; time (T,) seconds, rising
    standing  (T - 1,) bool: whether a foot stands from a frame to the next, which shows where up is
    """
    falling = torch.zeros(max(len(time) - 2, 0), 3, dtype=torch.float64)
    if len(time) < _ENOUGH:
        return falling
    up = _up(rig, world, standing, to_world)
    drop = -(masses_of(rig) @ world) @ up
    for takeoff, landing in flights(drop, time):
        # The feet may leave and touch the ground two frames farther inside, with many times gravity's acceleration.
        falling[takeoff + 2 : landing - 3] = -GRAVITY * up
    return falling


def flights(drop: Tensor, time: Tensor) -> list[tuple[int, int]]:
    """Find first and last frame of each flight, in the order of time: the longest stretches in which a point, `drop`
    (T,) metres below some height at rising times (T,) seconds, moves on a parabola as gravity has it.
    """
    size, span = len(time), float(time[-1] - time[0])
    longest = min(size, int(_LONGEST * (size - 1) / max(span, 1e-9)) + 1)
    for length in range(longest, _ENOUGH - 1, -1):
        at, height = time.unfold(0, length, 1), drop.unfold(0, length, 1)
        at = at - at.mean(1, keepdim=True)
        powers = torch.stack((torch.ones_like(at), at, 0.5 * at.square()), -1)
        free = torch.linalg.lstsq(powers, height[..., None]).solution[:, 2, 0]
        below = (height - 0.5 * GRAVITY * at.square())[..., None]
        line = torch.linalg.lstsq(powers[..., :2], below).solution
        miss = (powers[..., :2] @ line - below).square().mean((1, 2)).sqrt()
        falls = ((free - GRAVITY).abs() < _TOLERANCE) & (miss < _MISS) & (at[:, -1] - at[:, 0] >= _SHORTEST)
        if falls.any():
            first = int(torch.where(falls, miss, torch.inf).argmin())
            last = first + length - 1
            before = flights(drop[: first + 1], time[: first + 1]) if first >= _ENOUGH else []
            behind = flights(drop[last:], time[last:]) if size - last > _ENOUGH else []
            return [*before, (first, last), *((last + a, last + b) for a, b in behind)]
    return []


def _up(rig: LandmarkRig, world: Tensor, standing: Tensor, to_world: Tensor) -> Tensor:
    """Find where up (3,) is in the world: from the ankles to the neck of who stands, else up in the image."""
    rows = [rig.landmark_count + rig.joint_points.index(name) for name in ("neck", "left_ankle", "right_ankle")]
    frames = standing.nonzero().squeeze(-1)
    if len(frames) < _ENOUGH:
        return -to_world[0, :, 1]
    neck, left, right = world[frames][:, rows].unbind(1)
    axis = torch.nn.functional.normalize(neck - (left + right) / 2, dim=-1)
    return torch.nn.functional.normalize(axis.median(0).values, dim=-1)
