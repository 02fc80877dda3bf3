"""Shape and rotations as the regressor gives them, and the ways between these and a file's poses.

Where the detector's world landmarks say that each part points: what a body network on `proxy` need only correct.

Rotations told relative to these frames are small wherever the detector is right, so the network learns its errors and
the twists that no landmark shows, instead of learning anew for every part what a turned person looks like.

The body and the projection inside the network: Neural Body Fitting, sections 3.1 and 3.2, equations 1 to 5.

From the place before the fixed camera to where the person stands before the image's own.

The crop is a scaled and shifted piece of the image, seen by a camera that looks straight at the person from 20 m
away. So the body is turned by what the line of sight to it was turned (the inverse of what `to_fixed_camera` does to
labels), and put where its joints land on the same pixels of the image; a nearer camera bends them a little, and the
rest is the least in squares.
"""

from __future__ import annotations

import copy
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.limb_rotations import limb_rotations
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.data.fixed_camera import NBF_CAMERA, FixedCamera
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, rotation_between
from humanpose_cli.models.nbf.surface_points import surface_landmarks

__all__ = [
    "BodyLayer",
    "BodyParameters",
    "PlacedBody",
    "PlacedInImage",
    "PointSet",
    "absolute_to_relative",
    "part_frames",
    "place_about_pixels",
    "place_in_image",
    "poses_to_rotations",
    "relative_to_absolute",
    "rotations_to_poses",
    "zero_pose_joints",
]


_ROOT = SMPL24.index("pelvis")
_CHILDREN = [joint for joint, parent in enumerate(SMPL24.parents) if parent >= 0]
_PARENTS = [SMPL24.parents[joint] for joint in _CHILDREN]


class BodyParameters(NamedTuple):
    """What a network says about B people.

    betas      (B, 10) shape
    rotations  (B, 24, 3, 3) absolute: each part's body axes to camera axes
    log_noise  (B, 24, 2) logarithm of the expected absolute error of each joint, metres, across and along the line of
               sight, relative to the pelvis; None where the network does not tell
    """

    betas: Tensor
    rotations: Tensor
    log_noise: Tensor | None = None


def absolute_to_relative(rotations: Tensor) -> Tensor:
    """Part rotations (..., 24, 3, 3), body to camera → relative to each parent's; the pelvis keeps its own."""
    relative = rotations.clone()
    relative[..., _CHILDREN, :, :] = rotations[..., _PARENTS, :, :].mT @ rotations[..., _CHILDREN, :, :]
    return relative


def relative_to_absolute(rotations: Tensor) -> Tensor:
    """The inverse of `absolute_to_relative`."""
    absolute = list(rotations.unbind(-3))
    for joint, parent in zip(_CHILDREN, _PARENTS, strict=True):  # parents come before their children
        absolute[joint] = absolute[parent] @ absolute[joint]
    return torch.stack(absolute, -3)


def poses_to_rotations(poses: Tensor) -> Tensor:
    """A file's poses (..., 72) axis-angle, parent-relative → absolute part rotations (..., 24, 3, 3)."""
    return relative_to_absolute(axis_angle_to_matrix(poses.unflatten(-1, (len(SMPL24), 3))))


def rotations_to_poses(rotations: Tensor) -> Tensor:
    """The inverse of `poses_to_rotations`; axis-angles are at most π long."""
    return matrix_to_axis_angle(absolute_to_relative(rotations)).flatten(-2)


def zero_pose_joints() -> Tensor:
    """(24, 3) metres: the default body's joints in the T pose, body axes."""
    body = default_body()
    zero = torch.zeros(1, body.shape_count)
    still = torch.eye(3).expand(1, len(body.joint_template), 3, 3)
    return body.pose(still, zero, vertices=False).joints[0].cpu()


def part_frames(zero: Tensor, world: Tensor, confidence: Tensor) -> Tensor:
    """Absolute rotations (N, 24, 3, 3), body to camera, of world landmarks (N, 33, 3) and their confidence (N, 33).

    zero  (24, 3) joints in the T pose. Parts that no landmark orients stand as in a person with hanging arms.
    """
    return relative_to_absolute(limb_rotations(zero, BLAZEPOSE33, world, confidence))


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

    def __init__(self, body: Body, camera: FixedCamera = NBF_CAMERA) -> None:
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


_ROUNDS = 4
_NEAREST = 0.3  # metres: bodies are kept in front of the camera


class PlacedInImage(NamedTuple):
    """B people before the image's camera.

    rotations  (B, 24, 3, 3) absolute, body to camera axes
    trans      (B, 3) metres: the pelvis is the shaped rest body's plus this
    joints     (B, 24, 3) metres, camera axes
    turn       (B, 3, 3) from the fixed camera's axes to the image's
    """

    rotations: Tensor
    trans: Tensor
    joints: Tensor
    turn: Tensor


def place_in_image(found: BodyParameters, layer: BodyLayer, crops: list[Crop], camera: Camera) -> PlacedInImage:
    """Place B people.

    crops            the crop of each, from the image
    camera           tensors (B,) of the images' cameras
    """
    fixed = layer(found.betas, found.rotations).joints
    pixels = _in_image(layer.project(fixed), crops)
    pelvis = SMPL24.index("pelvis")
    ray = (pixels[:, pelvis] - camera.principal_point) / camera.focal[:, None]
    sight = torch.nn.functional.pad(ray, (0, 1), value=1.0)
    turn = rotation_between(layer.root.expand_as(sight), sight)
    about = (fixed - layer.root) @ turn.mT
    root = place_about_pixels(about, pixels, camera)
    rest = layer.body.rest_joints(found.betas)[:, pelvis]
    return PlacedInImage(turn[:, None] @ found.rotations, root - rest, about + root[:, None], turn)


def _in_image(points: Tensor, crops: list[Crop]) -> Tensor:
    """Points (B, J, 2), −1…1 of the crop → pixels of the image."""
    matrices = torch.stack([torch.from_numpy(crop.affine.matrix) for crop in crops]).to(points)
    sizes = points.new_tensor([crop.size for crop in crops])[:, None]
    pixels = (points + 1) / 2 * sizes
    return torch.linalg.solve(matrices[:, :, :2], (pixels - matrices[:, None, :, 2]).mT).mT


def place_about_pixels(about: Tensor, pixels: Tensor, camera: Camera) -> Tensor:
    """The root's place (B, 3) at which joints `about` it (B, J, 3), metres, are seen at `pixels` (B, J, 2).

    camera  tensors (B,). With rays u = x/z of the pixels, x_j + X − u_j (z_j + Z) = 0 is linear in
    the place; dividing by the depth found before makes its error that of the image.
    """
    dtype = about.dtype
    about, pixels = about.double(), pixels.double()
    u, v = ((pixels - camera.principal_point[:, None]) / camera.focal[:, None, None]).unbind(-1)
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
