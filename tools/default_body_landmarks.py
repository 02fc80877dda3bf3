"""Landmark sets of the default body, from its mesh, its joints and MakeHuman's bones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import FACE13
from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, H36M17, REPOSING19, SMPL24

Array = NDArray[np.float64]
MIRROR_X = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Point:
    """A point that moves with the body: template (3,), directions (3, S), weights (24,)."""

    template: Array
    directions: Array
    weights: Array

    def mirrored(self) -> Point:
        return Point(self.template * MIRROR_X, self.directions * MIRROR_X[:, None], self.weights[list(SMPL24.mirror)])


@dataclass(frozen=True)
class Mesh:
    template: Array
    directions: Array
    weights: Array
    component: NDArray[np.int64]  # 0 skin, then tongue and eyes

    def at(self, *rows: int) -> Point:
        """Mean of some vertices."""
        r = list(rows)
        return Point(self.template[r].mean(0), self.directions[r].mean(0), self.weights[r].mean(0))

    def nearest(self, position: Array, count: int = 1) -> Point:
        """Mean of the skin vertices nearest to a position."""
        distance = np.linalg.norm(self.template - position, axis=1) + 10.0 * (self.component > 0)
        return self.at(*np.argsort(distance)[:count])

    def furthest(self, joint: str, direction: Array, where: NDArray[np.bool_] | None = None, count: int = 1) -> Point:
        """Mean of a part's skin vertices that lie furthest along a direction."""
        chosen = (self.weights.argmax(1) == SMPL24.index(joint)) & (self.component == 0)
        if where is not None:
            chosen &= where
        rows = np.flatnonzero(chosen)
        return self.at(*rows[np.argsort(-self.template[rows] @ direction, kind="stable")[:count]])


def rigid(template: Array, directions: Array, joint: str) -> Point:
    weights = np.zeros(len(SMPL24))
    weights[SMPL24.index(joint)] = 1.0
    return Point(template, directions, weights)


def centred(point: Point) -> Point:
    """Project a point onto the plane of symmetry."""
    other = point.mirrored()
    return Point(
        (point.template + other.template) / 2,
        (point.directions + other.directions) / 2,
        (point.weights + other.weights) / 2,
    )


def connected_components(quads: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components as label

    edges = np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)])
    _, labels = label(coo_matrix((np.ones(len(edges)), edges.T), (count, count)), directed=False)
    return np.argsort(np.argsort(-np.bincount(labels), kind="stable"))[labels]


def left_face(mesh: Mesh, bones: Mapping[str, tuple[Array, Array]]) -> dict[str, Point]:
    """Left and middle landmarks of the head."""
    x, y, z = np.eye(3)
    skin_x = mesh.template[:, 0]
    middle = np.abs(skin_x) < 1e-6
    eye = bones["eye.L"][0]
    level = np.abs(mesh.template[:, 1] - (eye[1] - 0.02)) < 0.012
    tip = mesh.furthest("head", z, middle)
    mouth = mesh.nearest(bones["levator05.L"][0], 2)
    below_mouth = middle & (mesh.template[:, 1] < mouth.template[1] - 0.02)
    rim = mesh.furthest("head", x, level & (mesh.template[:, 2] < eye[2] - 0.06), 6).template
    return {
        "nose": centred(tip),
        "left_eye": mesh.nearest(eye + 0.02 * z, 4),
        "left_eye_inner": mesh.nearest(eye + np.array([-0.017, -0.001, 0.012]), 3),
        "left_eye_outer": mesh.nearest(eye + np.array([0.018, 0.001, 0.004]), 3),
        # The ear's opening, in front of the rim, at the height between eyes and nose.
        "left_ear": mesh.nearest(rim + np.array([-0.008, 0.0, 0.016]), 4),
        "left_mouth": mouth,
        "chin": centred(mesh.furthest("head", z, below_mouth)),
        "head_top": centred(mesh.furthest("head", y, middle)),
    }


def left_points(
    mesh: Mesh, joints: Mapping[str, tuple[Array, Array]], bones: Mapping[str, tuple[Array, Array]]
) -> dict[str, Point]:
    """Every landmark of the left side and the middle, under the names of the skeletons."""
    z = np.eye(3)[2]
    points = left_face(mesh, bones)
    for limb in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        points[f"left_{limb}"] = rigid(*joints[f"left_{limb}"], f"left_{limb}")
    for middle, joint in (("pelvis", "pelvis"), ("spine", "spine2"), ("neck", "neck"), ("thorax", "neck")):
        points[middle] = rigid(*joints[joint], joint)
    for finger, bone in (("pinky", "finger5-1.L"), ("index", "finger2-1.L"), ("thumb", "finger1-2.L")):
        points[f"left_{finger}"] = rigid(*bones[bone], "left_wrist")
    sole = mesh.template[:, 1].min()
    points["left_heel"] = mesh.furthest("left_ankle", -z, mesh.template[:, 1] < sole + 0.04, 5)
    inner = mesh.template[:, 0] < joints["left_foot"][0][0]
    points["left_foot_index"] = mesh.furthest("left_foot", z, inner, 8)
    return points


def build_landmarks(
    template: Array,
    directions: Array,
    weights: Array,
    quads: NDArray[np.int64],
    joints: Mapping[str, tuple[Array, Array]],
    bones: Mapping[str, tuple[Array, Array]],
) -> dict[str, NDArray[np.generic]]:
    """Arrays `landmarks.SET.FIELD` of every set."""
    mesh = Mesh(template, directions, weights, connected_components(quads, len(template)))
    points = left_points(mesh, joints, bones)
    points |= {name.replace("left_", "right_"): p.mirrored() for name, p in points.items() if name.startswith("left_")}
    arrays: dict[str, NDArray[np.generic]] = {}
    for skeleton in (BLAZEPOSE33, COCO17, H36M17, REPOSING19, FACE13):
        chosen = [points[name] for name in skeleton.joint_names]
        dense = np.stack([p.weights for p in chosen])
        order = np.argsort(-dense, axis=1, kind="stable")[:, :4]
        top = np.take_along_axis(dense, order, 1)
        fields = {
            "template": np.stack([p.template for p in chosen]).astype(np.float32),
            "directions": np.stack([p.directions for p in chosen]).astype(np.float32),
            "bone_indices": order.astype(np.uint8),
            "bone_weights": (top / top.sum(1, keepdims=True)).astype(np.float32),
        }
        arrays |= {f"landmarks.{skeleton.name}.{field}": value for field, value in fields.items()}
    return arrays
