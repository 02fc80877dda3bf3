"""A body: shape components, joints, segment scales, pose blend shapes, skinning, landmarks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.bodies.body_data import BodyArrays
from humanpose_cli.bodies.landmarks import LandmarkSet
from humanpose_cli.conventions import SMPL24, Skeleton
from humanpose_cli.engine.skinning import blend_shapes, forward_kinematics, pose_vertices, skin_vertices
from humanpose_cli.errors import UsageError

__all__ = ["PosedBody", "RestBody", "RiggedBody"]


class RestBody(NamedTuple):
    """A shaped body at rest: vertices (B, V, 3) and joints (B, 24, 3), metres, body axes."""

    vertices: Tensor
    joints: Tensor


class PosedBody(NamedTuple):
    """A posed body.

    vertices     (B, V, 3) metres, or None where they were not asked for
    joints       (B, 24, 3) metres
    rotations    (B, 24, 3, 3) absolute part rotations R; the identity everywhere is the T pose
    linear       (B, 24, 3, 3) s R Q: what each bone does to vectors of the rest body
    rest_joints  (B, 24, 3) metres, the joints before posing
    """

    vertices: Tensor | None
    joints: Tensor
    rotations: Tensor
    linear: Tensor
    rest_joints: Tensor


class RiggedBody(torch.nn.Module):
    """A linear body model on SMPL's skeleton; V vertices, F triangles, S shape components, T texture vertices.

    Rest frame and zero pose: x to the person's left, y up, z forward, metres. The rest frame is the file's own (the
    default body's is an A pose); `rest_rotations` turn it so that zero pose is the T pose.

    name              'default', 'smpl-neutral' …
    skeleton          SMPL24
    template          (V, 3)
    shape_directions  (V, 3, S) metres per beta
    joint_template    (24, 3); joint_directions (24, 3, S)
    rest_rotations    (24, 3, 3) absolute Q
    bone_indices      (V, K) int32; bone_weights (V, K), rows sum to 1
    pose_directions   (V, 3, 207) or None: times the relative rotations of all joints but the root minus identity,
                      row by row
    faces             (F, 3) int32, counter-clockwise seen from outside
    uv                (T, 2) in 0…1, v down: pixel = uv · size; uv_faces (F, 3) int32
    part_labels       (V,) int32 rows of SMPL24
    mirror_vertices   (V,) int64, the vertex that each one becomes when left and right are swapped
    """

    template: Tensor
    shape_directions: Tensor
    joint_template: Tensor
    joint_directions: Tensor
    rest_rotations: Tensor
    bone_indices: Tensor
    bone_weights: Tensor
    pose_directions: Tensor | None
    _directions: Tensor
    faces: Tensor
    uv: Tensor
    uv_faces: Tensor
    part_labels: Tensor
    mirror_vertices: Tensor
    skeleton: Skeleton = SMPL24

    def __init__(self, arrays: BodyArrays) -> None:
        super().__init__()
        self.name = arrays.name
        for name in (
            "template",
            "shape_directions",
            "joint_template",
            "joint_directions",
            "rest_rotations",
            "bone_indices",
            "bone_weights",
            "faces",
            "uv",
            "uv_faces",
            "part_labels",
        ):
            self.register_buffer(name, torch.from_numpy(getattr(arrays, name)))
        self.register_buffer("mirror_vertices", torch.from_numpy(arrays.mirror_vertices).long())
        pose_directions = arrays.pose_directions
        self.register_buffer("pose_directions", None if pose_directions is None else torch.from_numpy(pose_directions))
        # Both kinds of shapes as one matrix: one product blends them.
        rows = _rows(self.shape_directions, self.pose_directions)
        self.register_buffer("_directions", rows.contiguous(), persistent=False)
        self._landmarks = torch.nn.ModuleDict({name: LandmarkSet(points) for name, points in arrays.landmarks.items()})

    @property
    def shape_count(self) -> int:
        """Number of betas."""
        return self.shape_directions.shape[-1]

    def rest(self, betas: Tensor) -> RestBody:
        """Shape the body: betas (B, S) → rest vertices and joints."""
        return RestBody(
            blend_shapes(self.template, self._blend_weights(betas, None), self._directions[: self.shape_count]),
            self.rest_joints(betas),
        )

    def rest_joints(self, betas: Tensor) -> Tensor:
        """The joints of `rest` alone: betas (B, S) → (B, 24, 3) metres."""
        rows = _rows(self.joint_directions, None)
        return blend_shapes(self.joint_template, self._blend_weights(betas, None), rows)

    def pose(
        self,
        rotations: Tensor,
        betas: Tensor,
        trans: Tensor | None = None,
        segment_scales: Tensor | None = None,
        *,
        absolute: bool = False,
        vertices: bool = True,
    ) -> PosedBody:
        """Shape, pose and place bodies.

        rotations       (B, 24, 3, 3), parent-relative with the pelvis mapping body to camera axes; with `absolute`
                        they are all body to camera
        betas           (B, S) or (1, S)
        trans           (B, 3) metres, added after posing; None for 0
        segment_scales  (B, 24), or None for 1
        vertices        False spares the mesh
        """
        batch = rotations.shape[0]
        rest_joints = self.rest_joints(betas).expand(batch, -1, -1)
        if not vertices:
            posed = forward_kinematics(
                rotations, rest_joints, self.skeleton.parents, segment_scales, self.rest_rotations, absolute=absolute
            )
            joints = posed.positions if trans is None else posed.positions + trans[:, None]
            return PosedBody(None, joints, posed.rotations, posed.linear, rest_joints)
        relative = None if self.pose_directions is None else self._relative(rotations, absolute)
        weights = self._blend_weights(betas, relative)
        skinned, posed = pose_vertices(
            blend_shapes(self.template, weights, self._directions),
            self.bone_indices,
            self.bone_weights,
            rotations,
            rest_joints,
            self.skeleton.parents,
            segment_scales,
            self.rest_rotations,
            trans,
            absolute=absolute,
        )
        return PosedBody(skinned, posed.positions, posed.rotations, posed.linear, rest_joints)

    def landmarks(self, name: str) -> LandmarkSet:
        """The landmark set of that name: 'blazepose33', 'coco17', 'h36m17', 'reposing19' or 'face13'."""
        if name not in self._landmarks:
            known = ", ".join(self._landmarks) or "none"
            raise UsageError("landmarks", f"{self.name} has no set named {name!r}", expected=known)
        points = self._landmarks[name]
        assert isinstance(points, LandmarkSet)
        return points

    def pose_landmarks(self, landmarks: LandmarkSet | str, posed: PosedBody, betas: Tensor) -> Tensor:
        """Positions (B, L, 3) metres of landmarks on a posed body; the mesh is not needed.

        betas  (B, S) or (1, S): those that `posed` was made with
        """
        points = self.landmarks(landmarks) if isinstance(landmarks, str) else landmarks
        relative = None if points.pose_directions is None else self._relative(posed.rotations, absolute=True)
        weights = self._blend_weights(betas, relative)
        rest = blend_shapes(points.template, weights, _rows(points.directions, points.pose_directions))
        return skin_vertices(
            rest, posed.rest_joints, posed.linear, posed.joints, points.bone_indices, points.bone_weights
        )

    def _relative(self, rotations: Tensor, absolute: bool) -> Tensor:
        """Parent-relative rotations (B, 23, 3, 3) of all joints but the root."""
        children = [c for c, parent in enumerate(self.skeleton.parents) if parent >= 0]
        if not absolute:
            return rotations[:, children]
        return rotations[:, [self.skeleton.parents[c] for c in children]].mT @ rotations[:, children]

    def _blend_weights(self, betas: Tensor, relative: Tensor | None) -> Tensor:
        """What the rows of `_rows` are multiplied with: betas, then SMPL's features of relative rotations."""
        if betas.ndim != 2 or betas.shape[1] != self.shape_count:
            raise UsageError(
                "betas", "have the wrong shape", expected=f"(B, {self.shape_count})", got=str(tuple(betas.shape))
            )
        if relative is None:
            return betas
        identity = torch.eye(3, dtype=relative.dtype, device=relative.device)
        feature = (relative - identity).flatten(1)
        return torch.cat((betas.expand(len(feature), -1), feature), 1)


def _rows(shape_directions: Tensor, pose_directions: Tensor | None) -> Tensor:
    """Directions (V, 3, S), and (V, 3, 207) if there are any, as the rows of one matrix (S [+ 207], 3 V)."""
    parts = [shape_directions] if pose_directions is None else [shape_directions, pose_directions]
    return torch.cat([part.flatten(0, 1) for part in parts], 1).mT
