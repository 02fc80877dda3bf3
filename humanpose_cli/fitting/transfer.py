"""Parameters of one body as another's: SMPL-X as SMPL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.engine.skinning.op import forward_kinematics
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.npz_files import read_npz

_COMMON_JOINTS = 22  # SMPL-X's pelvis and 21 body joints are SMPL's first ones
_BETAS = 10
_BONE_NOISE = 0.01  # metres: how differently the two models place the same joint


def smplx_to_smpl(path: Path, params: BodyParams, body: Body) -> BodyParams:
    """Convert SMPL-X bodies (poses as SMPL's, hands straight; betas (N, 10); trans) to bodies of a SMPL model.

    Rotations are the same for the joints that both have. Shapes are other spaces: SMPL's betas are those whose bones
    are as long as SMPL-X's, by least squares with the shape prior; the translation then puts the joints where
    SMPL-X has them, on average. Raises InputError for another kind of file.

    Args:
        path: The user's SMPL-X model file (.npz).
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
    """Read the rest joints (22, 3) of the mean shape, and (22, 3, 10) metres per beta."""
    names = {"J_regressor", "v_template", "shapedirs"}
    fields = read_npz(path, names)
    vertices = fields["v_template"].shape[0] if "v_template" in fields else 0
    regressor = fields.get("J_regressor", np.zeros((0, 0)))
    if names - fields.keys() or regressor.shape[0] < _COMMON_JOINTS or regressor.shape[1:] != (vertices,):
        raise InputError(path, "is no SMPL-X model", expected="SMPLX_NEUTRAL.npz", got=", ".join(sorted(fields)) or "?")
    rows = regressor[:_COMMON_JOINTS].astype(np.float64)
    directions = fields["shapedirs"][..., :_BETAS].astype(np.float64)
    return torch.from_numpy(rows @ fields["v_template"]), torch.from_numpy(np.einsum("jv,vcs->jcs", rows, directions))


def _betas_with_bones(body: Body, joints: Tensor) -> Tensor:
    """Find betas (N, S) with which the body's bones come nearest to those between rest joints (N, 22, 3)."""
    children = torch.tensor([c for c in range(_COMMON_JOINTS) if SMPL24.parents[c] >= 0])
    above = torch.tensor([SMPL24.parents[c] for c in children.tolist()])
    directions, template = body.joint_directions.double(), body.joint_template.double()
    bone, mean = joints[:, children] - joints[:, above], template[children] - template[above]
    unit = torch.nn.functional.normalize(mean, dim=-1)
    slopes = torch.einsum("bcs,bc->bs", directions[children] - directions[above], unit)
    residual = bone.norm(dim=-1) - mean.norm(dim=-1)
    normal = slopes.mT @ slopes + _BONE_NOISE**2 * torch.eye(slopes.shape[1], dtype=slopes.dtype)
    return torch.linalg.solve(normal, (residual @ slopes).mT).mT
