"""Rest rotations of the default body, from Anny's A pose with bent elbows to the T pose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24

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
    """Absolute rest rotations of the left limbs: arm along +x, palm down, elbow hinge upright, leg along −y."""

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


# Bones whose direction in the samples is turned to the mean one; the bone's far joint comes second.
ALIGNED = (
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("left_wrist", "left_hand"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
)


def directions(joints: Array) -> dict[int, Array]:
    """Return unit vectors of the aligned bones of joints (24, 3) by the row of the near joint."""
    found = {}
    for near, far in ALIGNED:
        for a, b in ((near, far), (near.replace("left", "right"), far.replace("left", "right"))):
            bone = joints[SMPL24.index(b)] - joints[SMPL24.index(a)]
            found[SMPL24.index(a)] = bone / np.linalg.norm(bone)
    return found


def smallest_turn(source: Array, target: Array) -> Array:
    """Smallest rotation between two unit vectors that are not opposite."""
    cross, cosine = np.cross(source, target), source @ target
    x, y, z = cross
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)


def align_poses(vertices: Array, joints: Array, heads: Array, weights: Array, head_owner: Array) -> None:
    """Turn the limbs of every sample to the mean sample's directions, in place.

    Anny's rest pose changes with the shape, by up to five degrees: without this the zero pose of some shapes would
    be no T pose. vertices (N, V, 3), joints (N, 24, 3), heads (N, B, 3), weights (V, 24), head_owner (B,) rows.
    """
    target = directions(joints.mean(0))
    for points, sample, bones in zip(vertices, joints, heads, strict=True):
        turns = np.tile(np.eye(3), (len(SMPL24), 1, 1))
        for row, bone in directions(sample).items():
            turns[row] = smallest_turn(bone, target[row])
        for side in ("left", "right"):
            turns[SMPL24.index(f"{side}_hand")] = turns[SMPL24.index(f"{side}_wrist")]
        moved = sample.copy()
        for child, parent in enumerate(SMPL24.parents):
            if parent >= 0:
                moved[child] = moved[parent] + turns[parent] @ (sample[child] - sample[parent])
        shifts = moved - np.einsum("jab,jb->ja", turns, sample)
        blended = weights @ np.concatenate((turns.reshape(-1, 9), shifts), 1)
        points[:] = np.einsum("vab,vb->va", blended[:, :9].reshape(-1, 3, 3), points) + blended[:, 9:]
        bones[:] = np.einsum("bac,bc->ba", turns[head_owner], bones) + shifts[head_owner]
        sample[:] = moved
