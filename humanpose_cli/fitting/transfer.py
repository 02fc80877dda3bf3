"""Converts SMPL-X bodies to SMPL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.engine.skinning.op import forward_kinematics
from humanpose_cli.files.npz_files import read_npz
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

_COMMON_JOINTS = 22  # SMPL-X's pelvis and 21 body joints are SMPL's first ones
_BETAS = 10
_BONE_NOISE = 0.01  # metres, difference between the joints of the two models


def smplx_to_smpl(path: Path, params: BodyParams, body: Body) -> BodyParams:
    """Convert SMPL-X bodies to bodies of an SMPL model.

    Common joints have the same rotations. The shape spaces differ: SMPL's betas are found by least squares with the
    shape prior, so that the bones have SMPL-X's lengths. The translation then aligns the joints on average.

    Args:
        path: The user's SMPL-X model file (.npz).
        params: Poses of the common joints with straight hands, betas (N, 10), and translations.
        body: The SMPL model.

    Raises:
        InputError: If the file is not an SMPL-X model.
    """
    template, directions = _rest_of_smplx(path)
    joints = template + torch.einsum("jcs,ns->njc", directions, torch.from_numpy(np.array(params.betas, np.float64)))
    parents = SMPL24.parents[:_COMMON_JOINTS]
    poses = torch.from_numpy(np.array(params.poses, np.float64))
    rotations = axis_angle_to_matrix(poses.unflatten(1, (-1, 3)))[:, :_COMMON_JOINTS]
    target_joints = forward_kinematics(rotations, joints, parents).positions
    target_joints = target_joints + torch.from_numpy(np.array(params.trans, np.float64))[:, None]
    betas = _betas_with_bones(body, joints)
    rest = body.rest_joints(betas.float()).double()[:, :_COMMON_JOINTS]
    positions = forward_kinematics(rotations, rest, parents).positions
    return BodyParams(params.poses, betas.numpy(), (target_joints - positions).mean(1).numpy())


def _rest_of_smplx(path: Path) -> tuple[Tensor, Tensor]:
    """Read the rest joints (22, 3) of the mean shape, and their change (22, 3, 10) in metres per beta."""
    names = {"J_regressor", "v_template", "shapedirs"}
    fields = read_npz(path, names)
    vertices = fields["v_template"].shape[0] if "v_template" in fields else 0
    regressor = fields.get("J_regressor", np.zeros((0, 0)))
    if names - fields.keys() or regressor.shape[0] < _COMMON_JOINTS or regressor.shape[1:] != (vertices,):
        got = ", ".join(sorted(fields)) or "?"
        raise InputError(path, "is not an SMPL-X model", expected="SMPLX_NEUTRAL.npz", got=got)
    rows = regressor[:_COMMON_JOINTS].astype(np.float64)
    directions = fields["shapedirs"][..., :_BETAS].astype(np.float64)
    return torch.from_numpy(rows @ fields["v_template"]), torch.from_numpy(np.einsum("jv,vcs->jcs", rows, directions))


def _betas_with_bones(body: Body, joints: Tensor) -> Tensor:
    """Find betas (N, S) whose bones are nearest in length to those between rest joints (N, 22, 3)."""
    children = torch.tensor([c for c in range(_COMMON_JOINTS) if SMPL24.parents[c] >= 0])
    parents = torch.tensor([SMPL24.parents[c] for c in children.tolist()])
    directions = body.joint_directions.double()
    template = body.joint_template.double()
    bone = joints[:, children] - joints[:, parents]
    mean = template[children] - template[parents]
    unit = torch.nn.functional.normalize(mean, dim=-1)
    slopes = torch.einsum("bcs,bc->bs", directions[children] - directions[parents], unit)
    residual = bone.norm(dim=-1) - mean.norm(dim=-1)
    normal = slopes.mT @ slopes + _BONE_NOISE**2 * torch.eye(slopes.shape[1], dtype=slopes.dtype)
    return torch.linalg.solve(normal, (residual @ slopes).mT).mT
