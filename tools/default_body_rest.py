"""Rest rotations of the default body: what turns Anny's A pose with bent elbows to the T pose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.conventions import SMPL24

Array = NDArray[np.float64]
X, Y, Z = np.eye(3)
MIRROR = np.diag([-1.0, 1.0, 1.0])


def frame(first: Array, second: Array) -> Array:
    """Orthonormal columns: `first`, the part of `second` across it, and their cross product."""
    a = first / np.linalg.norm(first)
    b = second - (second @ a) * a
    b = b / np.linalg.norm(b)
    return np.stack((a, b, np.cross(a, b)), 1)


def turn(source: tuple[Array, Array], target: tuple[Array, Array]) -> Array:
    """Rotation that takes the first direction to the first target and the second as near to its target as it can."""
    return frame(*target) @ frame(*source).T


def left_side(joints: dict[str, Array], heads: dict[str, Array]) -> dict[str, Array]:
    """Absolute rest rotations of the left limbs; T pose: arm along +x, palm down, elbow hinge vertical, leg along −y."""

    def bone(start: str, end: str) -> Array:
        return joints[f"left_{end}"] - joints[f"left_{start}"]

    upper, lower, hand = bone("shoulder", "elbow"), bone("elbow", "wrist"), bone("wrist", "hand")
    knuckles = heads["finger2-1.L"] - heads["finger5-1.L"]
    hinge = np.cross(upper, lower)
    # An elbow that flexes in the T pose carries the forearm forward, so across the upper arm the forearm points to +z.
    shoulder = turn((upper, lower), (X, Z))
    elbow_by_hinge = turn((lower, hinge), (X, -Y))
    wrist = turn((hand, knuckles), (X, Z))
    thigh, shank = bone("hip", "knee"), bone("knee", "ankle")
    toes = bone("ankle", "foot") * [1, 0, 1]  # heading only: the soles stay level
    hip, knee = turn((thigh, toes), (-Y, Z)), turn((shank, toes), (-Y, Z))
    ankle = turn((toes, Y), (Z, Y))
    return {
        "left_shoulder": shoulder,
        "left_elbow": elbow_by_hinge,
        "left_wrist": wrist,
        "left_hand": wrist,
        "left_hip": hip,
        "left_knee": knee,
        "left_ankle": ankle,
        "left_foot": ankle,
    }


def rest_rotations(joints: dict[str, Array], heads: dict[str, Array]) -> Array:
    """(24, 3, 3): absolute rotations Q of the parts; the trunk keeps its rest."""
    rotations = np.tile(np.eye(3), (len(SMPL24), 1, 1))
    for name, rotation in left_side(joints, heads).items():
        row = SMPL24.index(name)
        rotations[row] = rotation
        rotations[SMPL24.mirror[row]] = MIRROR @ rotation @ MIRROR
    return rotations
