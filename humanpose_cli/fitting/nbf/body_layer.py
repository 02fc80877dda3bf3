"""The body and the projection inside the network: Neural Body Fitting, sections 3.1 and 3.2, equations 1 to 5."""

from __future__ import annotations

import copy
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.fixed_camera import NBF_CAMERA, FixedCamera
from humanpose_cli.fitting.nbf.surface_points import surface_landmarks

__all__ = ["BodyLayer", "PlacedBody", "PointSet"]

PointSet = Literal["joints", "landmarks", "vertices"]
"""24 joints; LANDMARKS91; all of the mesh."""


class PlacedBody(NamedTuple):
    """Bodies at the fixed place.

    joints  (B, 24, 3) metres, camera axes
    points  (B, N, 3) metres, camera axes: the set of points that was asked for
    """

    joints: Tensor
    points: Tensor


class BodyLayer(nn.Module):
    """Shape and absolute rotations → points before the fixed camera, differentiable to both.

    It owns a copy of the body, which moves with it between devices and dtypes; nothing of it learns.
    """

    root: Tensor

    def __init__(self, body: RiggedBody, camera: FixedCamera = NBF_CAMERA) -> None:
        super().__init__()
        self.body = copy.deepcopy(body)
        self.surface = surface_landmarks(self.body)
        self.camera = camera
        self.register_buffer("root", torch.tensor(camera.root))

    def forward(self, betas: Tensor, rotations: Tensor, points: PointSet = "joints") -> PlacedBody:
        """betas (B, S), rotations (B, 24, 3, 3) body to camera → the body with its pelvis at the camera's root."""
        pelvis = self.body.rest_joints(betas)[:, SMPL24.index("pelvis")]
        posed = self.body.pose(rotations, betas, self.root - pelvis, absolute=True, vertices=points == "vertices")
        if points == "joints":
            return PlacedBody(posed.joints, posed.joints)
        if points == "landmarks":
            surface = self.body.pose_landmarks(self.surface, posed, betas)
            return PlacedBody(posed.joints, torch.cat((posed.joints, surface), 1))
        assert posed.vertices is not None
        return PlacedBody(posed.joints, posed.vertices)

    def project(self, points: Tensor) -> Tensor:
        """Points (..., 3) metres before the camera → (..., 2) in the crop: −1 and 1 at its edges, x right, y down."""
        # A focal length in units of half the side; the person is 20 m away, so nothing comes near the camera.
        return (2 * self.camera.focal / self.camera.size) * points[..., :2] / points[..., 2:]
