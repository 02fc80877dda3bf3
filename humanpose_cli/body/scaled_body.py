"""Bodies with segment scales instead of shape components, before a weak-perspective camera.

After Yoshiyasu and Gamez, "Learning Body Shape and Pose from Dense Correspondences", section 3: a template, a skeleton
and skinning weights suffice, so any rigged body can be used. Bone j applies T_j = A_j S_j to the template, with
A_j from forward kinematics and S_j = diag(s_j, s_j, s_j, 1) about the joint; scales do not accumulate along the chain,
as in `Body.pose`. The image is x = s Π(R X(S, a)) + t, equation 1, with X relative to the pelvis.

Skinning is linear in the 24 bone transforms: X = Σ_j P_j T_j, with P_j = (w_j x, w_j) of the template. So any points,
including those within a triangle, are rows of one matrix, and posing only these points is one matrix product. Pose
blend shapes, which the paper has as an option, are left out, because they would make these rows depend on the pose.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.engine.skinning.op import axis_angle_to_rotations, forward_kinematics

_JOINTS, _PELVIS = len(SMPL24), SMPL24.index("pelvis")
_SIZES = (_JOINTS, 3 * (_JOINTS - 1), 9, 1, 2)
POSE_SIZE = sum(_SIZES)
"""Numbers of a ScaledPose: 105."""
_FACING = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0)  # upright, looking into the camera


class ScaledPose(NamedTuple):
    """B bodies: the paper's θ = [a, S, R, s, t].

    Attributes:
        segment_scales: (B, 24) float. 1 is the template's size.
        axis_angles: (B, 23, 3) float, radians. Axis-angles relative to the parent of SMPL24's joints after the pelvis.
        orientation: (B, 9) float. The rows of a matrix that `gram_schmidt` converts to a rotation from body to camera
            axes.
        scale: (B,) float. Image units per metre, positive.
        translation: (B, 2) float, image units, x right, y down. The pelvis.
    """

    segment_scales: Tensor
    axis_angles: Tensor
    orientation: Tensor
    scale: Tensor
    translation: Tensor

    @classmethod
    def t_pose(cls, count: int, *, device: torch.device | str = "cpu") -> ScaledPose:
        """Return `count` upright T poses that face the camera, at the image's origin, with one unit per metre."""
        ones = torch.ones(count, _JOINTS, device=device)
        return cls(
            ones,
            ones.new_zeros(count, _JOINTS - 1, 3),
            ones.new_tensor(_FACING).repeat(count, 1),
            ones[:, 0].clone(),
            ones.new_zeros(count, 2),
        )

    @classmethod
    def from_vector(cls, vector: Tensor) -> ScaledPose:
        """Invert `vector` (B, 105)."""
        scales, angles, orientation, scale, translation = vector.split(_SIZES, 1)
        return cls(scales, angles.unflatten(1, (_JOINTS - 1, 3)), orientation, scale[:, 0], translation)

    @property
    def vector(self) -> Tensor:
        """(B, 105) float. The concatenated fields, for networks and files."""
        return torch.cat(
            (self.segment_scales, self.axis_angles.flatten(1), self.orientation, self.scale[:, None], self.translation),
            1,
        )

    @property
    def rotations(self) -> Tensor:
        """(B, 24, 3, 3) float. Rotations relative to the parent, the pelvis' from body to camera axes."""
        relative = axis_angle_to_rotations(self.axis_angles)
        return torch.cat((gram_schmidt(self.orientation)[:, None], relative), 1)

    def rows(self, index: Tensor) -> ScaledPose:
        """Select bodies by indices or a mask."""
        return ScaledPose._make(values[index] for values in self)


def gram_schmidt(orientation: Tensor) -> Tensor:
    """Orthonormalise matrices column by column.

    The determinant keeps its sign, so a matrix with a negative determinant gives a reflection; the registration's
    determinant loss prevents that. Zero and dependent columns have no direction and give no finite gradient.

    Args:
        orientation: (B, 9) float. The rows of the matrices.

    Returns:
        (B, 3, 3) float. The orthonormal matrices.
    """
    first, second, third = orientation.unflatten(1, (3, 3)).unbind(-1)
    x = torch.nn.functional.normalize(first, dim=-1)
    y = torch.nn.functional.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    z = torch.linalg.cross(x, y)
    side = (z * third).sum(-1, keepdim=True)  # of the rest of the third column only the side matters
    return torch.stack((x, y, torch.where(side < 0, -z, z)), -1)


class ScaledBody:
    """A rigged body's mean shape as matrix rows, for poses with segment scales.

    A point is a row of 96 numbers, (w_j x, w_j) for each of the 24 bones. `vertices` and `landmarks` return
    rows, `points` poses them. Rows of points that differ between images have the shape (B, N, 96), common ones (N, 96).
    """

    def __init__(self, body: Body) -> None:
        self.body = body
        device = body.template.device
        betas = torch.zeros(1, body.shape_count, device=device)
        self._rest_joints = body.rest_joints(betas)[0].detach()
        self._rows = _bone_rows(body.template, body.bone_indices, body.bone_weights)

    def vertices(self, index: Tensor | None = None) -> Tensor:
        """Return rows (..., 96) of vertices (...), or of all vertices (V, 96)."""
        return self._rows if index is None else self._rows[index]

    def landmarks(self, name: str) -> Tensor:
        """Return rows (L, 96) of a set of landmarks, such as "coco17"; "smpl24" are the joints."""
        if name == SMPL24.name:
            # A joint is where its parent's bone ends; the pelvis is its own.
            bones = [max(parent, 0) for parent in SMPL24.parents]
            index = torch.tensor(bones, device=self._rest_joints.device)[:, None]
            return _bone_rows(self._rest_joints, index, torch.ones_like(self._rest_joints[:, :1]))
        points = self.body.landmarks(name)
        return _bone_rows(points.template, points.bone_indices, points.bone_weights)

    def bones(self, pose: ScaledPose) -> Tensor:
        """Return the matrices (B, 96, 3) that pose rows of points; metres relative to the pelvis, camera axes."""
        count = len(pose.scale)
        joints = self._rest_joints.to(pose.scale).expand(count, -1, -1)
        kinematics = forward_kinematics(
            pose.rotations, joints, SMPL24.parents, pose.segment_scales, self.body.rest_rotations.to(pose.scale)
        )
        offsets = kinematics.positions - (kinematics.linear @ joints[..., None]).squeeze(-1)
        offsets = offsets - kinematics.positions[:, _PELVIS, None]
        return torch.cat((kinematics.linear.mT, offsets[:, :, None]), 2).flatten(1, 2)

    def points(self, pose: ScaledPose, rows: Tensor) -> Tensor:
        """Pose points.

        Args:
            pose: The poses of B bodies.
            rows: (N, 96) or (B, N, 96) float. Rows of the points.

        Returns:
            (B, N, 3) float, metres relative to the pelvis in camera axes. R X(S, a).
        """
        return rows @ self.bones(pose)


def in_image(points: Tensor, pose: ScaledPose) -> Tensor:
    """Project points to image units: equation 1, with the depth as third coordinate.

    Args:
        points: (B, N, 3) float, metres relative to the pelvis in camera axes. The points.
        pose: The poses of B bodies.

    Returns:
        (B, N, 3) float, image units. x, y and depth relative to the pelvis.
    """
    return pose.scale[:, None, None] * points + torch.nn.functional.pad(pose.translation, (0, 1))[:, None]


def _bone_rows(template: Tensor, bone_indices: Tensor, bone_weights: Tensor) -> Tensor:
    """Return rows (N, 96) of points (N, 3) with weights (N, K)."""
    weights = template.new_zeros(len(template), _JOINTS)
    weights.scatter_add_(1, bone_indices.long(), bone_weights.to(weights))
    homogeneous = torch.nn.functional.pad(template, (0, 1), value=1.0)
    return (weights[:, :, None] * homogeneous[:, None]).flatten(1).detach()
