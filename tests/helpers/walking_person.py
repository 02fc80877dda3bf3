"""A textured person before a plain wall, drawn from a known body, and fits of them that are off."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from helpers.fit_values import fit_of_rows
from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.rendering.shading import draw_people
from humanpose_cli.rendering.surfaces import Surface, Texture

CAMERA = Camera(500.0, (160.0, 180.0), (320, 360))


@dataclass(frozen=True)
class Walk:
    """T frames of a person who moves slowly: rotations (T, 24, 3, 3), trans (T, 3), and frames (T, 360, 320, 3)."""

    body: Body
    rotations: torch.Tensor
    trans: torch.Tensor
    frames: np.ndarray

    def fit(self, rotations: torch.Tensor | None = None, trans: torch.Tensor | None = None) -> Fit:
        """The fit of those bodies, or of the true ones, with the true landmarks as keypoints."""
        count = len(self.frames)
        betas = torch.zeros(count, 10)
        true = self.body.pose(self.rotations, betas, self.trans)
        landmarks = CAMERA.project(self.body.pose_landmarks("blazepose33", true, betas))
        rotations = self.rotations if rotations is None else rotations
        trans = self.trans if trans is None else trans
        posed = self.body.pose(rotations, betas, trans)
        assert posed.vertices is not None
        pixels = CAMERA.project(posed.vertices)
        return fit_of_rows(
            Fit,
            [f"{i:06d}" for i in range(count)],
            CAMERA.size,
            CAMERA.focal,
            track_id=[0] * count,
            frame_index=list(range(count)),
            poses=matrix_to_axis_angle(rotations).flatten(1).numpy(),
            betas=betas.numpy(),
            trans=trans.numpy(),
            joints3d=posed.joints.numpy(),
            joints2d=CAMERA.project(posed.joints).numpy(),
            keypoints2d=np.concatenate((landmarks.numpy(), np.ones((count, len(BLAZEPOSE33), 1))), 2),
            boxes=torch.cat((pixels.amin(1), pixels.amax(1)), 1).numpy(),
            frame_rate=25.0,
        )

    def scaled(self, scale: float) -> Fit:
        """The fit of the same person with thighs and shanks of another length, and their true landmarks."""
        fit = self.fit()
        scales = torch.ones(len(self.frames), len(SMPL24))
        scales[:, SMPL24.indices(("left_hip", "right_hip", "left_knee", "right_knee"))] = scale
        posed = self.body.pose(self.rotations, torch.from_numpy(fit.betas), self.trans, scales)
        assert posed.vertices is not None
        landmarks = self.body.pose_landmarks("blazepose33", posed, torch.from_numpy(fit.betas))
        pixels = CAMERA.project(posed.vertices)
        return replace(
            fit,
            segment_scales=scales.numpy(),
            joints3d=posed.joints.numpy(),
            joints2d=CAMERA.project(posed.joints).numpy(),
            keypoints2d=np.dstack((CAMERA.project(landmarks).numpy(), fit.keypoints2d[..., 2:])).astype(np.float32),
            boxes=torch.cat((pixels.amin(1), pixels.amax(1)), 1).numpy(),
        )

    def off(self, radians: float = 0.12, seed: int = 0) -> Fit:
        """The fit with errors of the limbs' rotations that stay for the whole walk."""
        noise = torch.randn(1, len(SMPL24), 3, generator=torch.Generator().manual_seed(seed)) * radians
        noise[:, SMPL24.indices(("pelvis", "left_hand", "right_hand", "left_foot", "right_foot"))] = 0
        return self.fit(self.rotations @ axis_angle_to_matrix(noise))


def patchwork(body: Body, size: int = 256) -> np.ndarray:
    """A texture of coloured patches, (size, size, 4) float32."""
    random = np.random.default_rng(0)
    patches = random.uniform(0.1, 0.9, (size // 16, size // 16, 3)).astype(np.float32)
    colour = patches.repeat(16, 0).repeat(16, 1)
    return np.dstack((colour, np.ones((size, size), np.float32)))


def drawn_walk(body: Body) -> Walk:
    """Five frames."""
    count = 5
    turns = torch.zeros(count, len(SMPL24), 3)
    phase = torch.linspace(0, 0.4, count)
    turns[:, SMPL24.index("left_shoulder"), 2] = -0.9 + phase
    turns[:, SMPL24.index("right_shoulder"), 2] = 0.8 - phase
    turns[:, SMPL24.index("left_hip"), 0] = -phase
    rotations = axis_angle_to_matrix(turns)
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    trans = torch.tensor([0.0, 0.05, 3.2]) + phase[:, None] * torch.tensor([0.2, 0.0, 0.0])
    vertices = body.pose(rotations, torch.zeros(1, 10), trans).vertices
    assert vertices is not None
    texture = Texture(patchwork(body), body.uv, body.uv_faces)
    y, x = np.mgrid[:360, :320]
    wall = np.stack([120 + 20 * np.sin(x / 40), 120 + 15 * np.cos(y / 50), 130 + 0 * x], -1)
    frames = wall.round().astype(np.uint8)[None].repeat(len(vertices), 0)
    for frame, points in zip(frames, vertices, strict=True):
        draw_people(frame, [Surface(points, body.faces, texture=texture, lit=False)], CAMERA)
    return Walk(body, rotations, trans, frames)
