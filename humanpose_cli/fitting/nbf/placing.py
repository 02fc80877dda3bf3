"""From the place before the fixed camera to where the person stands before the picture's own.

The crop is a scaled and shifted piece of the picture, seen by a camera that looks straight at the person from 20 m
away. So the body is turned by what the line of sight to it was turned (the inverse of what `to_fixed_camera` does to
labels), and put where its joints land on the same pixels of the picture; a nearer camera bends them a little, and the
rest is the least in squares.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.augmentation import CameraChange
from humanpose_cli.fitting.nbf.body_layer import BodyLayer
from humanpose_cli.fitting.nbf.parameters import BodyParameters
from humanpose_cli.geometry.rotations import rotation_between

__all__ = ["PlacedInPicture", "place_about_pixels", "place_in_picture"]

_ROUNDS = 4
_NEAREST = 0.3  # metres: bodies are kept in front of the camera


class PlacedInPicture(NamedTuple):
    """B people before the picture's camera.

    rotations  (B, 24, 3, 3) absolute, body to camera axes
    trans      (B, 3) metres: the pelvis is the shaped rest body's plus this
    joints     (B, 24, 3) metres, camera axes
    turn       (B, 3, 3) from the fixed camera's axes to the picture's
    """

    rotations: Tensor
    trans: Tensor
    joints: Tensor
    turn: Tensor


def place_in_picture(
    found: BodyParameters, layer: BodyLayer, changes: list[CameraChange], focal: Tensor, principal_point: Tensor
) -> PlacedInPicture:
    """Place B people.

    changes          the crop of each, from the picture
    focal            (B,) pixels of the picture; principal_point (B, 2)
    """
    fixed = layer(found.betas, found.rotations).joints
    pixels = _in_picture(layer.project(fixed), changes)
    pelvis = SMPL24.index("pelvis")
    ray = (pixels[:, pelvis] - principal_point) / focal[:, None]
    sight = torch.nn.functional.pad(ray, (0, 1), value=1.0)
    turn = rotation_between(layer.root.expand_as(sight), sight)
    about = (fixed - layer.root) @ turn.mT
    root = place_about_pixels(about, pixels, focal, principal_point)
    rest = layer.body.rest_joints(found.betas)[:, pelvis]
    return PlacedInPicture(turn[:, None] @ found.rotations, root - rest, about + root[:, None], turn)


def _in_picture(points: Tensor, changes: list[CameraChange]) -> Tensor:
    """Points (B, J, 2), −1…1 of the crop → pixels of the picture."""
    matrices = torch.stack([torch.from_numpy(change.matrix) for change in changes]).to(points)
    sizes = points.new_tensor([change.size for change in changes])[:, None]
    crop = (points + 1) / 2 * sizes
    return torch.linalg.solve(matrices[:, :, :2], (crop - matrices[:, None, :, 2]).mT).mT


def place_about_pixels(about: Tensor, pixels: Tensor, focal: Tensor, principal_point: Tensor) -> Tensor:
    """The root's place (B, 3) at which joints `about` it (B, J, 3), metres, are seen at `pixels` (B, J, 2).

    focal (B,), principal_point (B, 2) pixels. With rays u = x/z of the pixels, x_j + X − u_j (z_j + Z) = 0 is linear in
    the place; dividing by the depth found before makes its error that of the picture.
    """
    dtype = about.dtype
    about, pixels = about.double(), pixels.double()
    u, v = ((pixels - principal_point[:, None]) / focal[:, None, None]).unbind(-1)
    one, zero = torch.ones_like(u), torch.zeros_like(u)
    system = torch.cat((torch.stack((one, zero, -u), -1), torch.stack((zero, one, -v), -1)), 1)  # [B, 2J, 3]
    wanted = torch.cat((u * about[..., 2] - about[..., 0], v * about[..., 2] - about[..., 1]), 1)
    depth = torch.ones_like(u)
    for _ in range(_ROUNDS):
        weight = (1 / depth).repeat(1, 2)[..., None]
        # Normal equations in double precision: LAPACK's least squares differ in their last digits from call to call.
        weighted = weight * system
        normal = (weighted[..., :, None] * weighted[..., None, :]).sum(1)
        right = (weighted * (weight[..., 0] * wanted)[..., None]).sum(1)
        faint = 1e-9 * normal.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * torch.eye(3).to(normal)
        place = torch.linalg.solve(normal + faint, right[..., None])[..., 0]
        depth = (about[..., 2] + place[:, None, 2]).clamp_min(_NEAREST)
    nearer = (_NEAREST - (about[..., 2] + place[:, None, 2]).amin(1)).clamp_min(0)
    return (place + nearer[:, None] * place.new_tensor([0.0, 0.0, 1.0])).to(dtype)
