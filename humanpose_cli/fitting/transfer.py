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

_SHARED = 22  # SMPL-X's pelvis and 21 body joints are SMPL's first ones
_BETAS = 10
_BONE_NOISE = 0.01  # metres: how differently the two models place the same joint


def smplx_to_smpl(path: Path, params: BodyParams, body: Body) -> BodyParams:
    """SMPL-X bodies (poses as SMPL's, hands straight; betas (N, 10); trans) as bodies of a SMPL model.

    path  the user's SMPL-X model file (.npz)

    Rotations are the same for the joints that both have. Shapes are other spaces: SMPL's betas are those whose bones
    are as long as SMPL-X's, by least squares with the shape prior; the translation then puts the joints where
    SMPL-X has them, on average. InputError for another kind of file.
    """
    template, directions = _rest_of_smplx(path)
    joints = template + torch.einsum("jcs,ns->njc", directions, torch.from_numpy(np.array(params.betas, np.float64)))
    parents = SMPL24.parents[:_SHARED]
    poses = torch.from_numpy(np.array(params.poses, np.float64))
    rotations = axis_angle_to_matrix(poses.unflatten(1, (-1, 3)))[:, :_SHARED]
    placed = forward_kinematics(rotations, joints, parents).positions
    placed = placed + torch.from_numpy(np.array(params.trans, np.float64))[:, None]
    betas = _betas_with_bones(body, joints)
    posed = forward_kinematics(rotations, body.rest_joints(betas.float()).double()[:, :_SHARED], parents).positions
    return BodyParams(params.poses, betas.numpy(), (placed - posed).mean(1).numpy())


def _rest_of_smplx(path: Path) -> tuple[Tensor, Tensor]:
    """Rest joints (22, 3) of the mean shape, and (22, 3, 10) metres per beta."""
    names = {"J_regressor", "v_template", "shapedirs"}
    stored = read_npz(path, names)
    vertices = stored["v_template"].shape[0] if "v_template" in stored else 0
    regressor = stored.get("J_regressor", np.zeros((0, 0)))
    if names - stored.keys() or regressor.shape[0] < _SHARED or regressor.shape[1:] != (vertices,):
        raise InputError(path, "is no SMPL-X model", expected="SMPLX_NEUTRAL.npz", got=", ".join(sorted(stored)) or "?")
    rows = regressor[:_SHARED].astype(np.float64)
    directions = stored["shapedirs"][..., :_BETAS].astype(np.float64)
    return torch.from_numpy(rows @ stored["v_template"]), torch.from_numpy(np.einsum("jv,vcs->jcs", rows, directions))


def _betas_with_bones(body: Body, joints: Tensor) -> Tensor:
    """(N, S) betas with which the body's bones come nearest to those between rest joints (N, 22, 3)."""
    children = torch.tensor([c for c in range(_SHARED) if SMPL24.parents[c] >= 0])
    above = torch.tensor([SMPL24.parents[c] for c in children.tolist()])
    directions, template = body.joint_directions.double(), body.joint_template.double()
    bone, mean = joints[:, children] - joints[:, above], template[children] - template[above]
    unit = torch.nn.functional.normalize(mean, dim=-1)
    slopes = torch.einsum("bcs,bc->bs", directions[children] - directions[above], unit)
    residual = bone.norm(dim=-1) - mean.norm(dim=-1)
    normal = slopes.mT @ slopes + _BONE_NOISE**2 * torch.eye(slopes.shape[1], dtype=slopes.dtype)
    return torch.linalg.solve(normal, (residual @ slopes).mT).mT
