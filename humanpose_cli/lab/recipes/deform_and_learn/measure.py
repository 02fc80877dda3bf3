"""Errors of 3-D joints as monocular methods that know no metres are measured (section 6.1).

Human3.6M's protocol 1 with Zhou et al.'s scaling: joints about the root, scaled so that the bones add up to those of a
canonical average skeleton, here the body's own at rest. True joints serve for this alone; nothing learns from them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose
from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.lab.metrics.bodies import mpjpe, pa_mpjpe, scale_to_bones
from humanpose_cli.lab.recipes.people import JoinedPeople


class JointErrors(NamedTuple):
    """Of those of N people whose true joints are known: (M,) metres each.

    Attributes:
        mpjpe: With the roots on each other and bones scaled to the canonical skeleton; pa_mpjpe after Procrustes.
    """

    mpjpe: NDArray[np.float64]
    pa_mpjpe: NDArray[np.float64]

    def means(self) -> dict[str, float]:
        """Return mpjpe_mm and pa_mpjpe_mm; empty without known joints."""
        if not len(self.mpjpe):
            return {}
        return {"mpjpe_mm": 1000 * float(self.mpjpe.mean()), "pa_mpjpe_mm": 1000 * float(self.pa_mpjpe.mean())}


def bone_lengths(body: ScaledBody, skeleton: Skeleton, rows: Tensor | None = None) -> Tensor:
    """Measure (bones,) in metres the skeleton's bones in the body at rest; rows (J, 96) of its joints, None for
    `landmarks`.
    """
    rows = body.landmarks(skeleton.name) if rows is None else rows
    joints = body.points(ScaledPose.t_pose(1, device=rows.device), rows)[0]
    first, second = torch.tensor(skeleton.bones).T
    return (joints[first] - joints[second]).norm(dim=-1)


def canonical_length(body: ScaledBody, skeleton: Skeleton, rows: Tensor | None = None) -> float:
    """Add up the skeleton's bones in the body at rest, metres; rows as for `bone_lengths`."""
    return float(bone_lengths(body, skeleton, rows).sum())


def joint_truth(people: JoinedPeople, skeleton: Skeleton) -> NDArray[np.float64]:
    """Return (N, J, 3) metres, camera axes; NaN where not known. Joints of another skeleton lie elsewhere and do not
    count.
    """
    labels = people.column(f"joints/{skeleton.name}").astype(np.float64)
    return np.where(labels[..., 3:] > 0, labels[..., :3], np.nan)


def joint_errors(joints: NDArray[Any], true: NDArray[np.float64], skeleton: Skeleton, length: float) -> JointErrors:
    """Measure joints (N, J, 3) in any unit; true (N, J, 3) metres, NaN where not known; length of
    `canonical_length`.
    """
    rows = np.isfinite(true).all((1, 2))
    if not rows.any():
        return JointErrors(np.zeros(0), np.zeros(0))
    scaled_joints = scale_to_bones(joints[rows], skeleton.bones, length)
    return JointErrors(mpjpe(scaled_joints, true[rows], root=root_rows(skeleton)), pa_mpjpe(scaled_joints, true[rows]))


def root_rows(skeleton: Skeleton) -> list[int]:
    """Return the joints whose mean is put on the truth's: the pelvis, or both hips if the skeleton has none."""
    names = ("pelvis",) if "pelvis" in skeleton else ("left_hip", "right_hip")
    return [skeleton.index(name) for name in names]
