"""SMPL-X's joints, without its surface: what placing its bodies and labelling their joints takes.

The model files (https://smpl-x.is.tue.mpg.de, licensed) are read as plain arrays. Only the first 22 joints are posed,
which are those of SMPL, hands apart: fingers, jaw and eyes do not move them, nor do facial expressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.sources.reading import array_field, existing_file, read_npz
from humanpose_cli.engine.skinning import forward_kinematics
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

__all__ = ["BODY_JOINTS", "SmplxJoints"]

BODY_JOINTS = 22
"""SMPL24 without its last two, the hands."""

_JOINTS, _BETAS = 55, 10
_ARRAYS = ("v_template", "shapedirs", "J_regressor")

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class SmplxJoints:
    """Joints of the shaped body at rest: template (22, 3) metres, and directions (22, 3, 10) metres per beta."""

    template: Array
    directions: Array

    @classmethod
    def read(cls, path: Path) -> SmplxJoints:
        """From SMPLX_MALE.npz and the like. InputError where it is missing, damaged or another model."""
        existing_file(path, "a SMPL-X model", remedy="register at https://smpl-x.is.tue.mpg.de and download SMPL-X 1.1")
        arrays: Mapping[str, Array] = read_npz(path, _ARRAYS)
        template = array_field(arrays, "v_template", path, (None, 3))
        directions = array_field(arrays, "shapedirs", path, (len(template), 3, None))
        regressor = array_field(arrays, "J_regressor", path, (_JOINTS, len(template)))[:BODY_JOINTS]
        return cls(regressor @ template, np.einsum("jv,vcb->jcb", regressor, directions[..., :_BETAS]))

    def pelvis(self, betas: Array) -> Array:
        """Betas (N, 10) → the pelvis (N, 3) of the shaped body at rest."""
        return self.template[0] + betas @ self.directions[0].T

    def posed(self, poses: Array, betas: Array, trans: Array) -> Array:
        """Joints (N, 22, 3) of poses (N, 66 or more) axis-angle, betas (N, 10) and trans (N, 3) metres."""
        rest = self.template + np.einsum("nb,jcb->njc", betas, self.directions)
        rotations = axis_angle_to_matrix(torch.as_tensor(poses[:, : 3 * BODY_JOINTS]).double().unflatten(1, (-1, 3)))
        parents = SMPL24.parents[:BODY_JOINTS]
        found = forward_kinematics(rotations, torch.as_tensor(rest), parents, backend="reference").positions
        joints: Array = found.numpy() + trans[:, None]
        return joints
