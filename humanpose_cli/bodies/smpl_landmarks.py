"""Landmark sets for SMPL, whose files have none.

Joints stand for themselves. Nose, eyes, ears, heels and toes are the vertices that smplx lists. What smplx lacks is
carried over from the default body: lids, mouth, chin and crown by a similarity between the two faces, to the nearest
vertex of the head; knuckles by the hand's length.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from smplx.vertex_ids import vertex_ids

from humanpose_cli.bodies.body_data import FACE13, BodyArrays, LandmarkArrays
from humanpose_cli.bodies.default_body import default_body
from humanpose_cli.conventions import BLAZEPOSE33, COCO17, H36M17, REPOSING19, SMPL24, Skeleton
from humanpose_cli.geometry.similarity import fit_similarity

__all__ = ["smpl_landmarks"]

Array = NDArray[np.float64]

_LISTED = {
    "nose": "nose",
    "left_eye": "leye",
    "right_eye": "reye",
    "left_ear": "lear",
    "right_ear": "rear",
    "left_heel": "LHeel",
    "right_heel": "RHeel",
    "left_foot_index": "LBigToe",
    "right_foot_index": "RBigToe",
}
_JOINTS = {"spine": "spine2", "thorax": "neck"}
_ANCHORS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
_KNUCKLES = tuple(f"{side}_{finger}" for side in ("left", "right") for finger in ("pinky", "index", "thumb"))


def smpl_landmarks(body: BodyArrays) -> dict[str, LandmarkArrays]:
    """Landmark sets of a model with SMPL's 6,890 vertices and pose blend shapes."""
    reference = _default_points()
    vertices = {name: int(vertex_ids["smplh"][listed]) for name, listed in _LISTED.items()}
    vertices |= _face_vertices(body, reference, vertices)
    knuckles = {name: _knuckle(body, reference, name) for name in _KNUCKLES}
    sets = (BLAZEPOSE33, COCO17, H36M17, REPOSING19, FACE13)
    return {skeleton.name: _landmark_set(body, skeleton, vertices, knuckles) for skeleton in sets}


def _default_points() -> dict[str, Array]:
    """Landmarks and joints of the default body's T pose, (3,) metres by name."""
    body = default_body(learned_landmarks=False)
    betas = torch.zeros(1, body.shape_count)
    posed = body.pose(torch.eye(3).expand(1, len(SMPL24), 3, 3), betas, vertices=False)
    points = dict(zip(SMPL24.joint_names, posed.joints[0].double().numpy(), strict=True))
    for skeleton in (BLAZEPOSE33, FACE13):
        positions = body.pose_landmarks(skeleton.name, posed, betas)[0].double().numpy()
        points |= {name: p for name, p in zip(skeleton.joint_names, positions, strict=True) if name not in SMPL24}
    return points


def _face_vertices(body: BodyArrays, reference: dict[str, Array], listed: dict[str, int]) -> dict[str, int]:
    """Vertices of the points of FACE13 that smplx does not list."""
    names = [name for name in FACE13.joint_names if name not in listed]
    anchors = torch.from_numpy(np.stack([reference[name] for name in _ANCHORS]))
    targets = torch.from_numpy(body.template[[listed[name] for name in _ANCHORS]]).double()
    carry = fit_similarity(anchors, targets)
    carried = carry.apply(torch.from_numpy(np.stack([reference[name] for name in names]))).numpy()
    head = np.flatnonzero(body.part_labels == SMPL24.index("head"))
    candidates = head if head.size else np.arange(len(body.template))
    distance = np.linalg.norm(body.template[candidates][None] - carried[:, None], axis=-1)
    return dict(zip(names, candidates[distance.argmin(1)].tolist(), strict=True))


def _knuckle(body: BodyArrays, reference: dict[str, Array], name: str) -> tuple[Array, Array, int]:
    """A point fixed to the wrist: template (3,), directions (3, S), the wrist's row.

    Its offset from the wrist is the default body's, scaled by the distance from wrist to hand joint; shapes move it
    as they move the point of that bone at its height.
    """
    side = name.partition("_")[0]
    wrist, hand = SMPL24.indices((f"{side}_wrist", f"{side}_hand"))
    bone = reference[f"{side}_hand"] - reference[f"{side}_wrist"]
    offset = reference[name] - reference[f"{side}_wrist"]
    scale = np.linalg.norm(body.joint_template[hand] - body.joint_template[wrist]) / np.linalg.norm(bone)
    along = offset @ bone / (bone @ bone)
    slope = body.joint_directions[hand] - body.joint_directions[wrist]
    return (
        body.joint_template[wrist] + scale * offset,
        body.joint_directions[wrist] + along * slope,
        wrist,
    )


def _landmark_set(
    body: BodyArrays,
    skeleton: Skeleton,
    vertices: dict[str, int],
    knuckles: dict[str, tuple[Array, Array, int]],
) -> LandmarkArrays:
    assert body.pose_directions is not None
    count, slots = len(skeleton), body.bone_indices.shape[1]
    points = LandmarkArrays(
        skeleton,
        template=np.zeros((count, 3), np.float32),
        directions=np.zeros((count, *body.shape_directions.shape[1:]), np.float32),
        bone_indices=np.zeros((count, slots), np.int32),
        bone_weights=np.zeros((count, slots), np.float32),
        pose_directions=np.zeros((count, *body.pose_directions.shape[1:]), np.float32),
    )
    assert points.pose_directions is not None
    for row, name in enumerate(skeleton.joint_names):
        if name in vertices:
            vertex = vertices[name]
            points.template[row] = body.template[vertex]
            points.directions[row] = body.shape_directions[vertex]
            points.bone_indices[row] = body.bone_indices[vertex]
            points.bone_weights[row] = body.bone_weights[vertex]
            points.pose_directions[row] = body.pose_directions[vertex]
            continue
        if name in knuckles:
            points.template[row], points.directions[row], bone = knuckles[name]
        else:
            bone = SMPL24.index(_JOINTS.get(name, name))
            points.template[row], points.directions[row] = body.joint_template[bone], body.joint_directions[bone]
        points.bone_indices[row, 0], points.bone_weights[row, 0] = bone, 1
    return points
