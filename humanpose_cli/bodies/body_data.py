"""The plain arrays that make a body, checked once, before any torch module is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.conventions import SMPL24, Skeleton
from humanpose_cli.errors import InputError

__all__ = ["FACE13", "BodyArrays", "LandmarkArrays"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

FACE13 = Skeleton(
    "face13",
    (
        "nose",
        "left_eye_inner",
        "left_eye",
        "left_eye_outer",
        "right_eye_inner",
        "right_eye",
        "right_eye_outer",
        "left_ear",
        "right_ear",
        "left_mouth",
        "right_mouth",
        "chin",
        "head_top",
    ),
    (
        "",
        "nose",
        "left_eye_inner",
        "left_eye",
        "nose",
        "right_eye_inner",
        "right_eye",
        "left_eye_outer",
        "right_eye_outer",
        "nose",
        "nose",
        "nose",
        "nose",
    ),
)
"""Points of the head that BLAZEPOSE33 has, with the chin and the top of the head."""


@dataclass(frozen=True)
class LandmarkArrays:
    """Points that are shaped and skinned like vertices.

    template         (L, 3) metres, rest frame
    directions       (L, 3, S) metres per beta
    bone_indices     (L, K) rows of SMPL24
    bone_weights     (L, K), rows sum to 1
    pose_directions  (L, 3, 207) metres, or None
    """

    skeleton: Skeleton
    template: Floats
    directions: Floats
    bone_indices: Ints
    bone_weights: Floats
    pose_directions: Floats | None = None


@dataclass(frozen=True)
class BodyArrays:
    """Everything that a RiggedBody holds; shapes as documented there. J = 24 joints of SMPL24.

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
        expected = {
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
            expected["pose_directions"] = (vertices, 3, 9 * (joints - 1))
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(self.source, f"{name} has the wrong shape", expected=str(shape), got=str(found))

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
