"""A few points of a body for the keypoint fit, and their derivatives in closed form.

A landmark is skinned like a vertex, x ↦ Σ_k w_k (q_k + s_k A_k Q_k (x − j_k)), with the absolute rotation A_k of part
k, its segment scale s_k, posed joint q_k, rest rotation Q_k and rest joint j_k. Turning joint j by ω (camera axes)
turns every part below it about q_j, hence d point / d ω = −[Σ_{k below j} w_k (p_k − q_j)]×, where p_k is the point as
part k alone would carry it. No automatic differentiation is needed, and the sum has about seven terms per landmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.body.body import Body, LandmarkSet
from humanpose_cli.core.conventions import Skeleton


class PosedRig(NamedTuple):
    """A rig in N poses.

    Attributes:
        points: (N, M, 3) metres in camera axes.
        jacobian: (N, 3, M, P), coordinate before point, or None. The parameters are right-hand rotation increments of
            the 24 joints (R ← R exp(δ), joint major), the root's position, the shape, and zeros in columns that are
            kept free.
        rotations: (N, 24, 3, 3). The absolute rotations.
        joints: (N, 24, 3) metres in camera axes.
    """

    points: Tensor
    jacobian: Tensor | None
    rotations: Tensor
    joints: Tensor


def descendants(parents: tuple[int, ...]) -> Tensor:
    """Return a table (J, J) bool in which [j, k] is true if k is j or a descendant of j."""
    below = torch.eye(len(parents), dtype=torch.bool)
    for child, parent in reversed(list(enumerate(parents))):
        if parent >= 0:
            below[parent] |= below[child]
    return below


class LandmarkRig:
    """Landmarks and joints of a body as one set of skinned points, in double precision.

    The first rows of `points` are the landmarks, the next ones the joints.

    Args:
        body: The body.
        landmarks: The landmarks.
        joints: The names of joints.
        free_columns: The number of columns at the end of the Jacobian that stay zero.
    """

    def __init__(self, body: Body, landmarks: LandmarkSet, joints: Sequence[str] = (), free_columns: int = 0) -> None:
        self.skeleton = body.skeleton
        self.parents = tuple(body.skeleton.parents)
        self.joints = body.joint_template.detach().double().cpu()
        self.joint_directions = body.joint_directions.detach().double().cpu()
        self.rest_rotations = body.rest_rotations.detach().double().cpu()
        self.landmark_skeleton, self.landmark_count = landmarks.skeleton, len(landmarks.template)
        joint_count = len(self.parents)
        weights = torch.zeros(self.landmark_count, joint_count, dtype=torch.float64)
        weights.scatter_add_(1, landmarks.bone_indices.long().cpu(), landmarks.bone_weights.double().cpu())
        rows = body.skeleton.indices(joints)
        self.joint_points = tuple(joints)
        self.weights = torch.cat((weights, torch.eye(joint_count, dtype=torch.float64)[rows]))
        self.template = torch.cat((landmarks.template.detach().double().cpu(), self.joints[rows]))
        directions = landmarks.directions.detach().double().cpu()
        self.directions = torch.cat((directions, self.joint_directions[rows]))
        self.shape_count = self.directions.shape[-1]
        self.parameter_count = 3 * joint_count + 3 + self.shape_count + free_columns
        self._above = torch.tensor([max(parent, 0) for parent in self.parents])  # the root's is the root
        below = descendants(self.parents)
        self._path = below.T.double()  # (J, J): which bones lead to a joint
        # Joints by their distance from the root, the places of joints in this order, and of parents in the level above.
        depth = below.sum(0) - 1
        self._counts = depth.bincount().tolist()
        self._order = depth.argsort(stable=True)
        self._places = self._order.argsort()
        first = [0, *accumulate(self._counts)]
        above = self._places[self._above[self._order]].split(self._counts)
        self._parent_rows = [rows - start for rows, start in zip(above[1:], first, strict=False)]
        self._pairs(below)

    def _pairs(self, below: Tensor) -> None:
        """List the (point, joint) pairs in which turning the joint moves the point."""
        reach = self.weights @ below.double().T  # (M, J): share of a point's weight below each joint
        self._pair_point, self._pair_joint = torch.nonzero(reach > 1e-9, as_tuple=True)
        self._pair_weights = self.weights[self._pair_point] * below[self._pair_joint]
        self._pair_reach = self._pair_weights.sum(-1)
        # Columns come in blocks of three, so that a joint's block is one row of a flat table.
        self._blocks = -(-self.parameter_count // 3)
        self._pair_row = self._pair_point * self._blocks + self._pair_joint

    def select(self, landmarks: Tensor) -> LandmarkRig:
        """Restrict the rig to some landmarks, (K,) rows in order, and all of its joints."""
        rig = copy(self)
        joints = torch.arange(self.landmark_count, len(self.template))
        rows = torch.cat((landmarks, joints))
        names = [self.landmark_skeleton.joint_names[row] for row in landmarks.tolist()]
        rig.landmark_skeleton = Skeleton(self.landmark_skeleton.name, tuple(names), ("",) * len(names))
        rig.landmark_count = len(landmarks)
        rig.weights, rig.template, rig.directions = self.weights[rows], self.template[rows], self.directions[rows]
        rig._pairs(descendants(self.parents))
        return rig

    def rest_joints(self, betas: Tensor) -> Tensor:
        """Compute the rest joints (N, 24, 3) in metres of shapes (N, S)."""
        return self.joints + torch.einsum("jcs,ns->njc", self.joint_directions, betas)

    def translation_of_root(self, root: Tensor, betas: Tensor) -> Tensor:
        """Compute `Body.translation_of_root` in double precision."""
        return root - self.rest_joints(betas)[:, self.skeleton.index("pelvis")]

    def pose(
        self,
        rotations: Tensor,
        root: Tensor,
        betas: Tensor,
        segment_scales: Tensor | None = None,
        *,
        jacobian: bool = False,
    ) -> PosedRig:
        """Pose the points.

        Args:
            rotations: (N, 24, 3, 3). Rotations relative to the parents.
            root: (N, 3) metres. The pelvis joint.
            betas: (N, S). The shapes.
            segment_scales: (N, 24). Factors on the segments' sizes. None: 1.
            jacobian: Whether the Jacobian is computed.
        """
        rest = self.rest_joints(betas)
        absolute, linear, joints = self._chain(rotations, root, rest, segment_scales)
        template = self.template + torch.einsum("mcs,ns->nmc", self.directions, betas)
        offset = joints - (linear @ rest[..., None]).squeeze(-1)
        transforms = self.weights @ torch.cat((linear.flatten(-2), offset), -1)  # (N, M, 12)
        blend = transforms[..., :9].unflatten(-1, (3, 3))
        points = (blend @ template[..., None]).squeeze(-1) + transforms[..., 9:]
        if not jacobian:
            return PosedRig(points, None, absolute, joints)
        J = self._rotation_jacobian(linear, offset, template, absolute, joints)
        first = 3 * len(self.parents)
        J[..., first : first + 3] = torch.eye(3, dtype=J.dtype)[:, None]
        shape = slice(first + 3, first + 3 + self.shape_count)
        J[..., shape] = self._shape_jacobian(linear, blend).transpose(1, 2)
        return PosedRig(points, J, absolute, joints)

    def _chain(
        self, rotations: Tensor, root: Tensor, rest: Tensor, segment_scales: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        levels = rotations[:, self._order].split(self._counts, 1)
        turned = [levels[0]]
        for rows, level in zip(self._parent_rows, levels[1:], strict=True):
            turned.append(turned[-1][:, rows] @ level)
        absolute = torch.cat(turned, 1)[:, self._places]
        linear = absolute @ self.rest_rotations
        if segment_scales is not None:
            linear = linear * segment_scales[..., None, None]
        bones = linear[:, self._above] @ (rest - rest[:, self._above])[..., None]
        return absolute, linear, root[:, None] + self._path @ bones.squeeze(-1)

    def _rotation_jacobian(
        self, linear: Tensor, offset: Tensor, template: Tensor, absolute: Tensor, joints: Tensor
    ) -> Tensor:
        """Compute (N, 3, M, P) with the columns of the rotations filled in."""
        point, joint = self._pair_point, self._pair_joint
        transforms = self._pair_weights @ torch.cat((linear.flatten(-2), offset), -1)  # (N, pairs, 12)
        arm = (transforms[..., :9].unflatten(-1, (3, 3)) @ template[:, point, :, None]).squeeze(-1)
        arm = arm + transforms[..., 9:] - self._pair_reach[:, None] * joints[:, joint]
        x, y, z = arm.mT.unsqueeze(-1).unbind(1)  # (N, pairs, 1) each
        # Columns of the absolute rotation are the joint's own axes, about which the increments turn.
        a, b, c = absolute[:, joint].unbind(2)
        slopes = torch.stack((b * z - c * y, c * x - a * z, a * y - b * x), 1)  # (N, 3, pairs, 3)
        rows = len(self.template)
        J = slopes.new_zeros(len(slopes), 3, rows * self._blocks, 3)
        J.index_copy_(2, self._pair_row, slopes)
        return J.view(len(slopes), 3, rows, 3 * self._blocks)[..., : self.parameter_count]

    def _shape_jacobian(self, linear: Tensor, blend: Tensor) -> Tensor:
        """Compute d point / d shape (N, M, 3, S) at a fixed root position."""
        part_slopes = linear @ self.joint_directions  # (N, 24, 3, S): L_j dj_j
        bones = linear[:, self._above] @ (self.joint_directions - self.joint_directions[self._above])
        joint_slopes = self._path @ bones.flatten(-2)
        joint_part = (self.weights @ (joint_slopes - part_slopes.flatten(-2))).unflatten(-1, part_slopes.shape[-2:])
        return blend @ self.directions + joint_part


def rig_of_skeleton(body: Body, skeleton: Skeleton) -> tuple[LandmarkRig, slice]:
    """Make a rig with the body's points that correspond to a skeleton's joints, and return their slice."""
    if skeleton.name == body.skeleton.name:
        landmarks = body.landmarks("coco17")
        rig = LandmarkRig(body, landmarks, skeleton.joint_names)
        return rig, slice(rig.landmark_count, None)
    return LandmarkRig(body, body.landmarks(skeleton.name)), slice(0, None)
