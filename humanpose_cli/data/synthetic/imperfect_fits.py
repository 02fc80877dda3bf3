"""Fits as an estimator would have made them: the truth with the kinds of errors that real fits have.

Refinement starts from such fits. Errors of limbs grow towards their ends and from one person to the next; in a clip
they change slowly, as those of a tracker do. Depth is known worst: the body moves along the line of sight and leans in
it, while it stays within pixels of its place in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.bodies.joint_angles import joint_class
from humanpose_cli.conventions import SMPL24

__all__ = ["FitErrors", "imperfect_fit"]

Array = NDArray[Any]

# Degrees of standard deviation per kind of joint. With the other widths they give joint errors of about 85 mm about the
# hips, what the keypoint fit has on rendered people (benchmarks/RESULTS.md).
_DEGREES = {"trunk": 4.0, "neck": 6.0, "head": 7.0, "collar": 5.0, "shoulder": 10.0, "elbow": 11.0, "wrist": 10.0}
_DEGREES |= {"hand": 6.0, "hip": 7.0, "knee": 8.5, "ankle": 7.0, "foot": 4.0}


@dataclass(frozen=True)
class FitErrors:
    """Standard deviations; each person's are drawn between a fifth of them and nearly twice as much.

    joints    factor on the errors of joints' rotations
    lean      radians of the whole body about the picture's horizontal axis, which mostly changes depth
    turn      radians about the two other axes
    depth     share of the distance; pixels of the root's place in the picture
    betas     of shape components; share of their frames' common error
    memory    correlation of neighbouring frames of a clip
    """

    joints: float = 1.0
    lean: float = 0.09
    turn: float = 0.05
    depth: float = 0.05
    pixels: float = 3.0
    betas: float = 0.6
    memory: float = 0.85


def imperfect_fit(
    random: np.random.Generator,
    poses: Array,
    betas: Array,
    trans: Array,
    rest_pelvis: Array,
    focal: Array,
    errors: FitErrors | None = None,
) -> tuple[Array, Array, Array]:
    """(poses, betas, trans) of a fit of one person in T frames.

    poses (T, 72) axis-angle, betas (S,), trans (T, 3) metres: the truth; rest_pelvis (3,) of that shape; focal (T,) px
    """
    errors = errors or FitErrors()
    frames, strength = len(poses), random.uniform(0.2, 1.8)
    degrees = np.array([_spread(joint) for joint in SMPL24.joint_names])
    joint_noise = _walk(random, (frames, len(SMPL24), 3), errors.memory) * np.deg2rad(degrees)[:, None]
    joint_noise *= strength * errors.joints
    pelvis = SMPL24.index("pelvis")
    whole = _walk(random, (frames, 3), errors.memory) * strength * (errors.lean, errors.turn, errors.turn)
    true = Rotation.from_rotvec(np.reshape(poses, (-1, 3)))
    noisy = (true * Rotation.from_rotvec(joint_noise.reshape(-1, 3))).as_rotvec().reshape(frames, -1, 3)
    noisy[:, pelvis] = (Rotation.from_rotvec(whole) * Rotation.from_rotvec(poses[:, :3])).as_rotvec()
    root = np.asarray(trans, np.float64) + rest_pelvis
    nearer = np.exp(_walk(random, (frames, 1), errors.memory) * strength * errors.depth)
    aside = _walk(random, (frames, 2), errors.memory) * strength * errors.pixels * root[:, 2:] / focal[:, None]
    moved = (root + np.concatenate((aside, np.zeros((frames, 1))), 1)) * nearer
    shape = betas + strength * errors.betas * random.standard_normal(np.shape(betas))
    return (
        noisy.reshape(frames, -1).astype(np.float32),
        shape.astype(np.float32),
        (moved - rest_pelvis).astype(np.float32),
    )


def _spread(joint: str) -> float:
    """Degrees of a joint's own error; the pelvis' is the whole body's."""
    if joint == "pelvis":
        return 0.0
    return _DEGREES[joint] if joint in _DEGREES else _DEGREES[joint_class(joint)]


def _walk(random: np.random.Generator, shape: tuple[int, ...], memory: float) -> Array:
    """Unit normal numbers, correlated along the first axis."""
    steps = random.standard_normal(shape)
    for t in range(1, shape[0]):
        steps[t] = memory * steps[t - 1] + np.sqrt(1 - memory**2) * steps[t]
    return steps
