"""Errors of 3-D joints of monocular methods without a metric scale (section 6.1).

Human3.6M's protocol 1 with Zhou et al.'s scaling: joints relative to the root, scaled so that the bones have the total
length of a canonical skeleton, here the body at rest. True joints are used only here; nothing learns from them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.limb_rotations import neutral_rotations
from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose
from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.geometry.rotations import matrix_to_axis_angle, viewing_rotation
from humanpose_cli.lab.metrics.bodies import mpjpe, pa_mpjpe, scale_to_bones
from humanpose_cli.lab.recipes.people import JoinedPeople


class JointErrors(NamedTuple):
    """Errors of the M people with known true joints.

    Attributes:
        mpjpe: (M,) float64, metres. Mean error relative to the root, with bones scaled to the canonical skeleton.
        pa_mpjpe: (M,) float64, metres. Mean error after Procrustes alignment.
    """

    mpjpe: NDArray[np.float64]
    pa_mpjpe: NDArray[np.float64]

    def means(self) -> dict[str, float]:
        """Return mpjpe_mm and pa_mpjpe_mm; empty without known joints."""
        if not len(self.mpjpe):
            return {}
        return {"mpjpe_mm": 1000 * float(self.mpjpe.mean()), "pa_mpjpe_mm": 1000 * float(self.pa_mpjpe.mean())}


def bone_lengths(body: ScaledBody, skeleton: Skeleton, rows: Tensor | None = None) -> Tensor:
    """Return the lengths of a skeleton's bones in the body at rest.

    Args:
        body: The body.
        skeleton: The skeleton, J joints.
        rows: (J, 96) float. Regressor of the joints; None for `body.landmarks`.

    Returns:
        (bones,) float, metres.
    """
    rows = body.landmarks(skeleton.name) if rows is None else rows
    joints = body.points(ScaledPose.t_pose(1, device=rows.device), rows)[0]
    first, second = torch.tensor(skeleton.bones).T
    return (joints[first] - joints[second]).norm(dim=-1)


def canonical_length(body: ScaledBody, skeleton: Skeleton, rows: Tensor | None = None) -> float:
    """Return the total length of a skeleton's bones in the body at rest, in metres; see `bone_lengths`."""
    return float(bone_lengths(body, skeleton, rows).sum())


def standing_pose(count: int) -> ScaledPose:
    """Return people who stand with hanging arms and face the camera, the control of all predictions."""
    angles = matrix_to_axis_angle(neutral_rotations()[1:]).float()
    return ScaledPose.t_pose(count)._replace(axis_angles=angles.repeat(count, 1, 1))


def joint_truth(people: JoinedPeople, skeleton: Skeleton) -> NDArray[np.float64]:
    """Return the people's labelled joints as their crops show them, see `models.deform_and_learn.placing`.

    Args:
        people: N people.
        skeleton: The skeleton, J joints; joints of other skeletons have other positions and are not used.

    Returns:
        (N, J, 3) float64, metres in axes of a camera that looks at the root; NaN if unknown.
    """
    labels = people.column(f"joints/{skeleton.name}").astype(np.float64)
    joints = np.where(labels[..., 3:] > 0, labels[..., :3], np.nan)
    return np.asarray(joints @ line_of_sight(joints[:, root_rows(skeleton)].mean(1)).numpy())


def line_of_sight(positions: NDArray[np.float64]) -> Tensor:
    """Return rotations (N, 3, 3) from axes of cameras that look at positions (N, 3) to the image's camera axes."""
    flat = torch.from_numpy(positions[:, :2] / positions[:, 2:])
    return viewing_rotation(flat, torch.ones(len(flat)), torch.zeros(len(flat), 2))


def joint_errors(joints: NDArray[Any], true: NDArray[np.float64], skeleton: Skeleton, length: float) -> JointErrors:
    """Measure joints against the truth.

    Args:
        joints: (N, J, 3) float, any unit. The joints.
        true: (N, J, 3) float64, metres; NaN if unknown. The true joints.
        skeleton: Skeleton of the joints.
        length: Metres. The `canonical_length`.
    """
    rows = np.isfinite(true).all((1, 2))
    if not rows.any():
        return JointErrors(np.zeros(0), np.zeros(0))
    scaled = scale_to_bones(joints[rows], skeleton.bones, length)
    return JointErrors(mpjpe(scaled, true[rows], root=root_rows(skeleton)), pa_mpjpe(scaled, true[rows]))


def root_rows(skeleton: Skeleton) -> list[int]:
    """Return the joints whose mean is the root: the pelvis, or both hips if the skeleton has no pelvis."""
    names = ("pelvis",) if "pelvis" in skeleton else ("left_hip", "right_hip")
    return [skeleton.index(name) for name in names]
