"""Errors of predicted bodies: joints, surface, rotations and joints in the picture at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.conventions import SMPL24
from humanpose_cli.errors import UsageError
from humanpose_cli.geometry.cameras import project
from humanpose_cli.metrics.pose import mpjpe, pa_mpjpe, pckh, pve, rotation_error

__all__ = ["Bodies", "BodyErrors", "body_errors", "head_height"]

_PELVIS, _HEAD = SMPL24.index("pelvis"), SMPL24.index("head")
_CHUNK = 64  # people whose meshes are in memory at once


class Bodies(NamedTuple):
    """N people before a camera.

    rotations (N, 24, 3, 3) relative to parents, the pelvis body to camera; betas (N, S); root (N, 3) metres, the pelvis
    """

    rotations: Tensor
    betas: Tensor
    root: Tensor


class BodyErrors(NamedTuple):
    """Errors of N people: (N,) each, joints and vertices in metres, rotations in radians, pckh as a share.

    mpjpe     with the pelvis on the true one; pa_mpjpe after the best similarity (Procrustes)
    pve       vertices with the pelvis on the true one
    rotation  mean angle between relative rotations (Neural Body Fitting's err_quat)
    pckh      share of joints in the picture nearer than half the true head's height (see `head_height`)
    """

    mpjpe: NDArray[np.float64]
    pa_mpjpe: NDArray[np.float64]
    pve: NDArray[np.float64]
    rotation: NDArray[np.float64]
    pckh: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: list[BodyErrors]) -> BodyErrors:
        """Those of several sets of people, one after the other."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def taken(self, rows: NDArray[np.integer]) -> BodyErrors:
        """Those of some people."""
        return BodyErrors(*(column[rows] for column in self))


@torch.no_grad()
def body_errors(
    body: RiggedBody,
    predicted: Bodies,
    true: Bodies,
    focal: Tensor,
    centre: Tensor,
    *,
    true_body: RiggedBody | None = None,
) -> BodyErrors:
    """Errors of N predicted people. focal (N,), centre (N, 2) pixels of the camera that sees them both.

    true_body  of the true ones, where it is another: vertices and PCKh's head are its own, and pve is not known

    UsageError where the two sets are not of one size.
    """
    if len(predicted.rotations) != len(true.rotations):
        got = f"{len(predicted.rotations)} and {len(true.rotations)}"
        raise UsageError("bodies", "do not match", expected="as many predicted as true", got=got)
    rigs = body, true_body or body
    parts = [_errors(rigs, predicted, true, focal, centre, slice(i, i + _CHUNK)) for i in range(0, len(focal), _CHUNK)]
    return BodyErrors.joined(parts or [BodyErrors(*[np.zeros(0)] * len(BodyErrors._fields))])


def _errors(
    rigs: tuple[RiggedBody, RiggedBody], predicted: Bodies, true: Bodies, focal: Tensor, centre: Tensor, rows: slice
) -> BodyErrors:
    sets, betas = [], []
    for body, bodies in zip(rigs, (predicted, true), strict=True):
        chosen = Bodies(*(values[rows] for values in bodies))
        rest = body.rest_joints(chosen.betas)[:, _PELVIS]
        sets.append(body.pose(chosen.rotations, chosen.betas, chosen.root - rest, vertices=True))
        betas.append(chosen.betas)
    joints, true_joints = (posed.joints.cpu().numpy() for posed in sets)
    mesh, true_mesh = (posed.vertices.cpu().numpy() for posed in sets if posed.vertices is not None)
    surface = np.full(len(joints), np.nan)
    if mesh.shape == true_mesh.shape and rigs[0].name.partition("-")[0] == rigs[1].name.partition("-")[0]:
        surface = pve(mesh, true_mesh, joints[:, _PELVIS], true_joints[:, _PELVIS])
    head = head_height(rigs[1], betas[1]) * focal[rows] / sets[1].joints[:, _HEAD, 2].clamp_min(1e-3)
    seen, true_seen = (project(posed.joints, focal[rows], centre[rows]).cpu().numpy() for posed in sets)
    return BodyErrors(
        mpjpe(joints, true_joints, root=_PELVIS),
        pa_mpjpe(joints, true_joints),
        surface,
        rotation_error(predicted.rotations[rows].cpu().numpy(), true.rotations[rows].cpu().numpy()),
        pckh(seen, true_seen, head.cpu().numpy()),
    )


def head_height(body: RiggedBody, betas: Tensor) -> Tensor:
    """From the lowest to the highest vertex of the resting head (N,) metres: what PCKh calls the head's size.

    Data sets annotate the head's ends or its box; a body has neither, and this is about the same length.
    """
    rows = (body.part_labels == _HEAD).nonzero().squeeze(-1)
    up = body.template[rows, 1] + betas @ body.shape_directions[rows, 1].mT
    return up.amax(1) - up.amin(1)
