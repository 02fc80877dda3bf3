"""Where a point lies on a resting body, in the terms a tailor needs: height, along the arm, around trunk and limbs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.conventions import SMPL24

__all__ = ["Coordinates"]

Array = NDArray[Any]

_TRUNK_RADIUS, _LEG_RADIUS, _ARM_RADIUS = 0.15, 0.075, 0.045  # metres, which turn angles into lengths of cloth
_ON_TRUNK = -0.05  # `arm` of points that belong to no arm


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Coordinates of n points on the average body at rest, whatever the identity's shape.

    x, y, z   (n,) metres, body axes, origin at the pelvis
    is_arm    (n,) bool: upper arm, forearm or hand
    arm       (n,) metres from the shoulder joint along the arm's bones; −0.05 off the arms
    leg       (n,) metres below the hip joint, along the leg; negative above
    across    (n,) metres of cloth round trunk, arm or leg, 0 in front
    along     (n,) metres of cloth down the trunk and legs, or down the arm
    """

    x: Array
    y: Array
    z: Array
    is_arm: Array
    arm: Array
    leg: Array
    across: Array
    along: Array

    def at(self, rows: Array) -> Coordinates:
        """The coordinates of some of the points."""
        return Coordinates(**{name: values.take(rows) for name, values in vars(self).items()})

    @classmethod
    def of_points(cls, body: RiggedBody, points: Array, arm_share: Array) -> Coordinates:
        """points (n, 3) of the template; arm_share (n,) how much of their weight belongs to arm bones."""
        points = np.asarray(points, np.float32)
        joints = body.joint_template.numpy()

        def joint(name: str) -> Array:
            return joints[SMPL24.index(name)]

        folded = points.copy()
        folded[:, 0] = np.abs(points[:, 0])
        is_arm = arm_share > 0.5
        chain = [joint(f"left_{name}") for name in ("shoulder", "elbow", "wrist", "hand")]
        arm = np.where(is_arm, _along(folded, chain), _ON_TRUNK)
        hip, ankle = joint("left_hip"), joint("left_ankle")
        leg = hip[1] - points[:, 1]
        # Round the leg's axis below the crotch, round the spine above it.
        down = np.clip((hip[1] - points[:, 1]) / (hip[1] - ankle[1]), 0, 1)
        centre = hip + down[:, None] * (ankle - hip)
        below = points[:, 1] < hip[1] - 0.09
        middle_x = np.where(below, np.sign(points[:, 0]) * centre[:, 0], 0.0)
        angle = np.arctan2(points[:, 0] - middle_x, points[:, 2] - np.where(below, centre[:, 2], 0.0))
        across = angle * np.where(below, _LEG_RADIUS, _TRUNK_RADIUS)
        around = _around_arm(folded, chain) * _ARM_RADIUS
        return cls(
            x=points[:, 0],
            y=points[:, 1],
            z=points[:, 2],
            is_arm=is_arm,
            arm=arm.astype(np.float32),
            leg=leg.astype(np.float32),
            across=np.where(is_arm, around, across).astype(np.float32),
            along=np.where(is_arm, arm, np.float32(0.5) - points[:, 1]).astype(np.float32),
        )


def _along(points: Array, chain: list[Array]) -> Array:
    """Metres along a chain of joints, continuous over its bends."""
    total = np.zeros(len(points), np.float32)
    for i, (start, end) in enumerate(pairwise(chain)):
        length = float(np.linalg.norm(end - start))
        t = (points - start) @ ((end - start) / length)
        low = -0.06 if i == 0 else 0.0
        high = np.inf if i == len(chain) - 2 else length
        total += np.clip(t, low, high).astype(np.float32)
    return total


def _around_arm(points: Array, chain: list[Array]) -> Array:
    """Angle round the nearer bone of the arm, 0 in front."""
    angles = []
    distances = []
    for start, end in pairwise(chain[:3]):
        axis = (end - start) / np.linalg.norm(end - start)
        front = np.array([0.0, 0.0, 1.0]) - axis[2] * axis
        front /= np.linalg.norm(front)
        side = np.cross(axis, front)
        offset = points - start
        angles.append(np.arctan2(offset @ side, offset @ front))
        distances.append(np.linalg.norm(offset - np.clip(offset @ axis, 0, None)[:, None] * axis, axis=1))
    return np.where(distances[0] <= distances[1], angles[0], angles[1]).astype(np.float32)
