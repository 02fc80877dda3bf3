"""LANDMARKS91: the 24 joints and 67 named points of a body's surface.

Neural Body Fitting (section 4.3) tried the 91 landmarks that Unite the People (Lassner et al. 2017) fits with, whose
list is not public. Ours are the joints and points all over the surface, found by where they lie on the body in T pose:
in the middle of a limb or of the trunk the outermost vertices to each side, and the ends of head, hands and feet. So
any body on SMPL's skeleton with part labels has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body, LandmarkArrays, LandmarkSet
from humanpose_cli.core.conventions import SMPL24, Skeleton

__all__ = ["LANDMARKS91", "SURFACE67", "surface_landmarks", "surface_vertices"]

Direction = tuple[float, float, float]
_FRONT, _BACK = (0.0, 0.0, 1.0), (0.0, 0.0, -1.0)
_UP, _DOWN = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)
_OUT, _IN = (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)  # of the left side


class _Point(NamedTuple):
    """Where a point lies on the left half or the middle of the body.

    part       whose vertices; child: only those half-way between the part's joint and this one
    direction  the outermost vertex this way, T-pose axes
    middle     on the plane between left and right
    """

    part: str
    child: str
    direction: Direction
    middle: bool = False


def _limb(parent: str, child: str, **sides: Direction) -> dict[str, _Point]:
    return {f"{parent}_{name}": _Point(f"left_{parent}", f"left_{child}", side) for name, side in sides.items()}


# Names without a side are of the left half; the right half mirrors them.
_SIDED: dict[str, _Point] = {
    **_limb("shoulder", "elbow", front=_FRONT, back=_BACK, top=_UP, bottom=_DOWN),
    **_limb("elbow", "wrist", front=_FRONT, back=_BACK, top=_UP, bottom=_DOWN),
    **_limb("hip", "knee", front=_FRONT, back=_BACK, outside=_OUT, inside=_IN),
    **_limb("knee", "ankle", front=_FRONT, back=_BACK, outside=_OUT, inside=_IN),
    "fingertip": _Point("left_hand", "", _OUT),
    "hand_top": _Point("left_wrist", "", _UP),
    "hand_bottom": _Point("left_wrist", "", _DOWN),
    "toe_tip": _Point("left_foot", "", _FRONT),
    "foot_outside": _Point("left_foot", "", _OUT),
    "foot_inside": _Point("left_foot", "", _IN),
    "heel": _Point("left_ankle", "", _BACK),
    "ear": _Point("head", "", _OUT),
    "waist": _Point("spine1", "spine2", _OUT),
    "flank": _Point("spine2", "spine3", _OUT),
    "hip_side": _Point("pelvis", "", _OUT),
    "chest_side": _Point("spine3", "", _OUT),
}
_MIDDLE: dict[str, _Point] = {
    "head_top": _Point("head", "", _UP, middle=True),
    "nose": _Point("head", "", _FRONT, middle=True),
    "head_back": _Point("head", "", _BACK, middle=True),
    "chest": _Point("spine3", "", _FRONT, middle=True),
    "upper_back": _Point("spine3", "", _BACK, middle=True),
    "stomach": _Point("spine2", "spine3", _FRONT, middle=True),
    "middle_back": _Point("spine2", "spine3", _BACK, middle=True),
    "navel": _Point("spine1", "spine2", _FRONT, middle=True),
    "lower_back": _Point("spine1", "spine2", _BACK, middle=True),
    "belly": _Point("pelvis", "", _FRONT, middle=True),
    "seat": _Point("pelvis", "", _BACK, middle=True),
}


def _names() -> Iterator[str]:
    yield from _MIDDLE
    for name in _SIDED:
        yield f"left_{name}"
        yield f"right_{name}"


_NAMES = tuple(_names())
SURFACE67 = Skeleton("surface67", _NAMES, ("",) * len(_NAMES))
"""The points of the surface; they have no tree."""

LANDMARKS91 = Skeleton("landmarks91", (*SMPL24.joint_names, *_NAMES), (*SMPL24.parent_names, *("",) * len(_NAMES)))


def surface_vertices(body: Body) -> NDArray[np.int64]:
    """The body's vertices (67,) that SURFACE67's points lie on."""
    with torch.no_grad():
        identity = torch.eye(3, dtype=body.template.dtype).expand(1, len(SMPL24), 3, 3)
        posed = body.pose(identity, body.template.new_zeros(1, body.shape_count))
    assert posed.vertices is not None
    vertices, joints = posed.vertices[0].double().numpy(), posed.joints[0].double().numpy()
    parts, mirror = body.part_labels.numpy(), body.mirror_vertices.numpy()
    found: list[int] = [_outermost(vertices, joints, parts, point) for point in _MIDDLE.values()]
    for point in _SIDED.values():
        left = _outermost(vertices, joints, parts, point)
        found += [left, int(mirror[left])]
    return np.array(found, np.int64)


def _outermost(
    vertices: NDArray[np.float64], joints: NDArray[np.float64], parts: NDArray[np.integer], point: _Point
) -> int:
    start = joints[SMPL24.index(point.part)]
    chosen = parts == SMPL24.index(point.part)
    if point.child:
        bone = joints[SMPL24.index(point.child)] - start
        along = (vertices - start) @ bone / (bone @ bone)
        # Widened where the part has no vertices that near to the middle.
        for reach in (0.1, 0.2, 0.4, np.inf):
            near = chosen & (np.abs(along - 0.5) < reach)
            if near.any():
                chosen = near
                break
    candidates = np.flatnonzero(chosen)
    score = vertices[candidates] @ np.asarray(point.direction)
    if point.middle:
        score = score - 4 * np.abs(vertices[candidates, 0])
    return int(candidates[np.argmax(score)])


def surface_landmarks(body: Body) -> LandmarkSet:
    """SURFACE67 of a body, posed by `Body.pose_landmarks`."""
    rows = torch.from_numpy(surface_vertices(body))

    def taken(values: torch.Tensor) -> NDArray[Any]:
        return values[rows].numpy().copy()

    offsets = body.pose_directions
    return LandmarkSet(
        LandmarkArrays(
            SURFACE67,
            taken(body.template),
            taken(body.shape_directions),
            taken(body.bone_indices),
            taken(body.bone_weights),
            None if offsets is None else taken(offsets),
        )
    )
