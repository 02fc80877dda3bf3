"""The body inside the network: its parameters, part frames, the fixed camera, and the way back to the image.

Neural Body Fitting, sections 3.1 and 3.2, equations 1 to 5. The network predicts absolute part rotations; files hold
axis-angle rotations relative to the parent.

For `proxy` inputs, rotations are predicted relative to the frames that the lifted landmarks give for each
part (`part_frames`). These residuals are small if the detector is right, so the network learns its errors, and the
twists that no landmark shows.

The crop is a scaled and shifted part of the image of a camera that looks straight at the person from 20 m away.
`place_in_image` rotates the body by the angle between that line of sight and the one in the image (the inverse of what
`to_fixed_camera` does to labels), and translates it so that its joints project to the same pixels. A nearer camera
changes the projection a little, so the translation is a least-squares fit.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.limb_rotations import limb_rotations
from humanpose_cli.core.camera import NBF_CAMERA, Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, rotation_between

_ROOT = SMPL24.index("pelvis")
_CHILDREN = [joint for joint, parent in enumerate(SMPL24.parents) if parent >= 0]
_PARENTS = [SMPL24.parents[joint] for joint in _CHILDREN]


class BodyParameters(NamedTuple):
    """A network's prediction for B people.

    Attributes:
        betas: (B, 10) float. The shape.
        rotations: (B, 24, 3, 3) float. Absolute rotations, from each part's body axes to camera axes.
        log_noise: (B, 24, 2) float. Logarithm of the expected absolute error of each joint in metres, across and along
            the line of sight, relative to the pelvis. None if the network does not predict it.
    """

    betas: Tensor
    rotations: Tensor
    log_noise: Tensor | None = None


def absolute_to_relative(rotations: Tensor) -> Tensor:
    """Convert part rotations (..., 24, 3, 3), body to camera, to rotations relative to the parent; not the pelvis'."""
    relative = rotations.clone()
    relative[..., _CHILDREN, :, :] = rotations[..., _PARENTS, :, :].mT @ rotations[..., _CHILDREN, :, :]
    return relative


def relative_to_absolute(rotations: Tensor) -> Tensor:
    """Invert `absolute_to_relative`."""
    absolute = list(rotations.unbind(-3))
    for joint, parent in zip(_CHILDREN, _PARENTS, strict=True):  # parents come before their children
        absolute[joint] = absolute[parent] @ absolute[joint]
    return torch.stack(absolute, -3)


def poses_to_rotations(poses: Tensor) -> Tensor:
    """Convert a file's poses (..., 72), axis-angles relative to the parent, to absolute rotations (..., 24, 3, 3)."""
    return relative_to_absolute(axis_angle_to_matrix(poses.unflatten(-1, (len(SMPL24), 3))))


def rotations_to_poses(rotations: Tensor) -> Tensor:
    """Invert `poses_to_rotations`; the axis-angles are at most π long."""
    return matrix_to_axis_angle(absolute_to_relative(rotations)).flatten(-2)


def zero_pose_joints() -> Tensor:
    """Return the default body's joints in the T pose, (24, 3) metres in body axes."""
    body = default_body()
    zero = torch.zeros(1, body.shape_count)
    still = torch.eye(3).expand(1, len(body.joint_template), 3, 3)
    return body.pose(still, zero, vertices=False).joints[0].cpu()


def part_frames(zero: Tensor, world: Tensor, confidence: Tensor) -> Tensor:
    """Compute absolute part rotations from landmarks.

    Args:
        zero: (24, 3) float, metres. The joints in the T pose. Parts that no landmark orients get the pose of a person
            with hanging arms.
        world: (N, 33, 3) float, metres in camera axes. World landmarks.
        confidence: (N, 33) float. Their confidence.

    Returns:
        (N, 24, 3, 3) float. Rotations from body to camera axes.
    """
    return relative_to_absolute(limb_rotations(zero, BLAZEPOSE33, world, confidence))


class BodyLayer(nn.Module):
    """Shape and absolute rotations → the body in the axes of the fixed camera, differentiable in both.

    It owns a copy of the body, which moves with it between devices and dtypes. It has no trainable parameters.
    """

    root: Tensor

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = copy.deepcopy(body)
        self.register_buffer("root", torch.tensor(NBF_CAMERA.root))

    def forward(self, betas: Tensor, rotations: Tensor, *, vertices: bool = False) -> Tensor:
        """Pose bodies with the pelvis at `root`.

        Args:
            betas: (B, S) float. Shapes.
            rotations: (B, 24, 3, 3) float. Absolute rotations, body to camera axes.
            vertices: Whether to return the vertices instead of the joints.

        Returns:
            (B, 24, 3) joints or (B, V, 3) vertices, metres in camera axes.
        """
        trans = self.body.translation_of_root(self.root, betas)
        posed_body = self.body.pose(rotations, betas, trans, absolute=True, vertices=vertices)
        return posed_body.joints if posed_body.vertices is None else posed_body.vertices

    def project(self, points: Tensor) -> Tensor:
        """Project points (..., 3), metres in camera axes, into the crop (..., 2), x right, y down, ±1 at its edges."""
        # A focal length in units of half the side. The person is 20 m away, so nothing comes near the camera.
        return (2 * NBF_CAMERA.focal / NBF_CAMERA.size) * points[..., :2] / points[..., 2:]


_ROUNDS = 4
_NEAREST = 0.3  # metres: bodies are kept in front of the camera


class PlacedInImage(NamedTuple):
    """B people in camera axes of the image.

    Attributes:
        rotations: (B, 24, 3, 3) float. Absolute rotations, body to camera axes.
        trans: (B, 3) float, metres. The pelvis is the pelvis of the shaped rest body plus this.
        joints: (B, 24, 3) float, metres in camera axes. The joints.
    """

    rotations: Tensor
    trans: Tensor
    joints: Tensor


def place_in_image(bodies: BodyParameters, layer: BodyLayer, crops: list[Crop], camera: Camera) -> PlacedInImage:
    """Move B predicted people from the axes of the fixed camera to the axes of the image's camera.

    Args:
        bodies: The predictions.
        layer: The body.
        crops: Each person's crop of the image.
        camera: Tensors (B,). The cameras of the images.
    """
    points = layer(bodies.betas, bodies.rotations)
    matrices = torch.stack([torch.from_numpy(crop.affine.matrix) for crop in crops]).to(points)
    sizes = points.new_tensor([crop.size for crop in crops])[:, None]
    in_crop = (layer.project(points) + 1) / 2 * sizes
    pixels = torch.linalg.solve(matrices[:, :, :2], (in_crop - matrices[:, None, :, 2]).mT).mT
    ray = (pixels[:, _ROOT] - camera.principal_point) / camera.focal[:, None]
    direction = torch.nn.functional.pad(ray, (0, 1), value=1.0)
    turn = rotation_between(layer.root.expand_as(direction), direction)
    about = (points - layer.root) @ turn.mT
    root = place_about_pixels(about, pixels, camera)
    trans = layer.body.translation_of_root(root, bodies.betas)
    return PlacedInImage(turn[:, None] @ bodies.rotations, trans, about + root[:, None])


def place_about_pixels(about: Tensor, pixels: Tensor, camera: Camera) -> Tensor:
    """Find the positions at which joints project to pixels, by least squares.

    With rays u = x/z of the pixels, x_j + X − u_j (z_j + Z) = 0 is linear in the position. Division by the depth of the
    previous round turns its error into the error in the image.

    Args:
        about: (B, J, 3) float, metres. The joints relative to the root.
        pixels: (B, J, 2) float. Their pixels.
        camera: Tensors (B,). The cameras.

    Returns:
        (B, 3) float, metres in camera axes. The positions of the root.
    """
    dtype = about.dtype
    about, pixels = about.double(), pixels.double()
    u, v = ((pixels - camera.principal_point[:, None]) / camera.focal[:, None, None]).unbind(-1)
    ones, zeros = torch.ones_like(u), torch.zeros_like(u)
    system = torch.cat((torch.stack((ones, zeros, -u), -1), torch.stack((zeros, ones, -v), -1)), 1)  # [B, 2J, 3]
    right_side = torch.cat((u * about[..., 2] - about[..., 0], v * about[..., 2] - about[..., 1]), 1)
    depth = torch.ones_like(u)
    for _ in range(_ROUNDS):
        weight = (1 / depth).repeat(1, 2)[..., None]
        # Normal equations in double precision: LAPACK's least squares differ in their last digits from call to call.
        rows = weight * system
        normal = (rows[..., :, None] * rows[..., None, :]).sum(1)
        right = (rows * (weight[..., 0] * right_side)[..., None]).sum(1)
        faint = 1e-9 * normal.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * torch.eye(3).to(normal)
        root = torch.linalg.solve(normal + faint, right[..., None])[..., 0]
        depth = (about[..., 2] + root[:, None, 2]).clamp_min(_NEAREST)
    nearer = (_NEAREST - (about[..., 2] + root[:, None, 2]).amin(1)).clamp_min(0)
    return (root + nearer[:, None] * root.new_tensor([0.0, 0.0, 1.0])).to(dtype)
