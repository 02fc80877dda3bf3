"""A few points of a body for the keypoint fit, and their derivatives.

A landmark is skinned like a vertex, x ↦ Σ_k w_k (q_k + s_k A_k Q_k (x − j_k)), with the absolute rotation A_k of part
k, its segment scale s_k, posed joint q_k, rest rotation Q_k and rest joint j_k. Turning joint j by ω (camera axes)
turns every part below it about q_j, hence d point / d ω = −[Σ_{k below j} w_k (p_k − q_j)]×, where p_k is the point as
part k alone would carry it.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from humanpose_cli.body.body import Body, LandmarkSet
from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.fitting.linearising import op
from humanpose_cli.fitting.linearising.op import PosedRig


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
        self._collect()

    def _collect(self) -> None:
        """Collect what the kernels read: the points' and the joints' rest positions, and their slopes by the shape."""
        rest, slopes = torch.cat((self.template, self.joints)), torch.cat((self.directions, self.joint_directions)).mT
        parents = torch.tensor(self.parents, dtype=torch.int32)
        self.tables = parents, self.rest_rotations, rest, slopes.contiguous(), self.weights

    def select(self, landmarks: Tensor) -> LandmarkRig:
        """Restrict the rig to some landmarks, (K,) rows in order, and all of its joints."""
        rig = copy(self)
        joints = torch.arange(self.landmark_count, len(self.template))
        rows = torch.cat((landmarks, joints))
        names = [self.landmark_skeleton.joint_names[row] for row in landmarks.tolist()]
        rig.landmark_skeleton = Skeleton(self.landmark_skeleton.name, tuple(names), ("",) * len(names))
        rig.landmark_count = len(landmarks)
        rig.weights, rig.template, rig.directions = self.weights[rows], self.template[rows], self.directions[rows]
        rig._collect()
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
        scales = rotations.new_ones(rotations.shape[:2]) if segment_scales is None else segment_scales
        return op.pose(self, (rotations, root, betas, scales), jacobian=jacobian)


def rig_of_skeleton(body: Body, skeleton: Skeleton) -> tuple[LandmarkRig, slice]:
    """Make a rig with the body's points that correspond to a skeleton's joints, and return their slice."""
    if skeleton.name == body.skeleton.name:
        landmarks = body.landmarks("coco17")
        rig = LandmarkRig(body, landmarks, skeleton.joint_names)
        return rig, slice(rig.landmark_count, None)
    return LandmarkRig(body, body.landmarks(skeleton.name)), slice(0, None)
