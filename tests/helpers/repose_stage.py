"""A person whose truth is known: the default body with a painted texture before a painted wall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from humanpose_cli.avatar.mesh import DrawnPerson, MeshReposer
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.stages import FittedPerson, PhotographedPerson
from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.texture import TexelMap, bleed_islands
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.rendering.shading import draw_people
from humanpose_cli.rendering.surfaces import Surface, Texture

FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def pose(turn: float = 0.0, **joints: tuple[float, float, float]) -> torch.Tensor:
    """Rotations (24, 3, 3) of somebody upright, facing the camera but for a turn (radians) to their left."""
    rotations = torch.eye(3).repeat(24, 1, 1)
    rotations[0] = FACING @ axis_angle_to_matrix(torch.tensor([0.0, turn, 0.0]))
    for joint, axis_angle in joints.items():
        rotations[SMPL24.index(joint)] = axis_angle_to_matrix(torch.tensor(axis_angle))
    return rotations


STANDING = {"left_shoulder": (0.0, 0.0, -0.9), "right_shoulder": (0.0, 0.0, 0.9)}


@dataclass
class Stage:
    """A body, its painted texture, a camera and a wall."""

    body: Body
    texture: np.ndarray
    view: Camera
    wall: np.ndarray
    trans: torch.Tensor

    def person(self, rotations: torch.Tensor, trans: torch.Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The true image (H, W, 3) uint8 and mask (H, W) of the person in a pose."""
        position = self.trans if trans is None else trans
        vertices = self.body.pose(rotations[None], torch.zeros(1, 10), position[None]).vertices[0]
        texture = Texture(self.texture, self.body.uv, self.body.uv_faces)
        surface = Surface(vertices, self.body.faces, texture=texture, lit=False)
        drawn, image = np.zeros((*self.wall.shape[:2], 4), np.uint8), self.wall.round().astype(np.uint8)
        for each in (drawn, image):
            draw_people(each, [surface], self.view, supersampling=3)
        return image, drawn[..., 3] / np.float32(255)

    def fitted(self, rotations: torch.Tensor) -> FittedPerson:
        """A perfect fit of the person in that pose."""
        return FittedPerson(
            poses=matrix_to_axis_angle(rotations).flatten().numpy(),
            betas=np.zeros(10),
            trans=self.trans.numpy(),
            camera=self.view,
        )

    def reposer(self, rotations: torch.Tensor) -> MeshReposer:
        """The person in a pose, dressed, of their true image."""
        photo, mask = self.person(rotations)
        return mesh_reposer(photo, mask, self.fitted(rotations), self.body, options=MeshOptions())


def painted_stage() -> Stage:
    """The default body, painted symmetrically, before a striped wall."""
    body = default_body()
    texels = TexelMap(body.uv, body.uv_faces, 1024)
    position = texels.interpolate(body.template.numpy(), body.faces)
    x, y, z = np.abs(position[..., 0]), position[..., 1], position[..., 2]
    red = 0.5 + 0.35 * np.sin(22 * y) * np.cos(9 * z)
    green = 0.45 + 0.3 * np.cos(26 * x + 4 * y)
    blue = 0.5 + 0.35 * np.cos(14 * y + 11 * x)
    texture = np.stack((red, green, blue), 2).astype(np.float32)
    texture[~texels.covered] = 0
    bleed_islands(texture, texels.covered)
    rows, columns = np.mgrid[:360, :270].astype(np.float32)
    wall = np.stack((150 + 40 * np.sin(columns / 9), 160 - rows / 6, 120 + 30 * np.cos(columns / 14)), 2)
    return Stage(body, texture, Camera(420.0, (135.0, 180.0), (270, 360)), wall, torch.tensor([0.0, 0.0, 2.4]))


def mesh_reposer(
    photo: np.ndarray,
    mask: np.ndarray,
    fit: FittedPerson,
    body: Body,
    *,
    others: Sequence[np.ndarray] = (),
    **options: Any,
) -> MeshReposer:
    """A person of a photo, dressed; options of `MeshReposer.of`."""
    return MeshReposer.of(PhotographedPerson.of(photo, mask, fit, others), body, **options)


def sentences(drawn: DrawnPerson) -> list[str]:
    """Return what is said of a drawing."""
    return [doubt.sentence for doubt in drawn.doubts]
