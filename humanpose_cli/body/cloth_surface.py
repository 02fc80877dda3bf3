"""The surface that clothes follow, and its coordinates, in which garments are cut.

`Coordinates` are those of points on the average body; `ClothBase` is the smoothed outer surface of a body.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse import identity as identity_matrix
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from humanpose_cli.body.body import Body
from humanpose_cli.body.places import PLACES
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError

Array = NDArray[Any]

_TRUNK_RADIUS, _LEG_RADIUS, _ARM_RADIUS = 0.15, 0.075, 0.045  # metres, convert angles to lengths of cloth
_OFF_ARM = -0.05  # `arm` of points that do not belong to an arm


def ramp(values: Array, low: float, high: float) -> Array:
    """Return a smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Coordinates of n points on the average body at rest, independent of the identity's shape.

    Attributes:
        x: (n,) float32, metres from the pelvis joint, body axes.
        y: (n,) float32, metres from the pelvis joint.
        z: (n,) float32, metres from the pelvis joint.
        is_arm: (n,) bool. Whether the point is on an upper arm, forearm or hand.
        arm: (n,) float32, metres from the shoulder joint along the arm; −0.05 for other points.
        leg: (n,) float32, metres below the hip joint; negative above.
        across: (n,) float32, metres of cloth around trunk, arm or leg, 0 in front.
        along: (n,) float32, metres of cloth down the trunk and the legs, or down the arm.
    """

    x: Array
    y: Array
    z: Array
    is_arm: Array
    arm: Array
    leg: Array
    across: Array
    along: Array

    def take(self, rows: Array) -> Coordinates:
        """Return the coordinates of the points with these indices."""
        return Coordinates(**{name: values.take(rows) for name, values in vars(self).items()})

    @classmethod
    def of_points(cls, body: Body, points: Array, arm_share: Array) -> Coordinates:
        """Compute the coordinates of points of the template.

        Args:
            body: The body.
            points: (n, 3) float, metres. The points.
            arm_share: (n,) float. Share of their skinning weights on arm bones.
        """
        points = np.asarray(points, np.float32)
        joints = body.joint_template.numpy()

        def joint(name: str) -> Array:
            return joints[SMPL24.index(name)]

        right_side = points.copy()
        right_side[:, 0] = np.abs(points[:, 0])
        is_arm = arm_share > 0.5
        chain = [joint(f"left_{name}") for name in ("shoulder", "elbow", "wrist", "hand")]
        arm = np.where(is_arm, _arm_length(right_side, chain), _OFF_ARM)
        hip, ankle = joint("left_hip"), joint("left_ankle")
        leg = hip[1] - points[:, 1]
        # Around the leg's axis below the crotch, around the spine above it.
        share = np.clip((hip[1] - points[:, 1]) / (hip[1] - ankle[1]), 0, 1)
        centre = hip + share[:, None] * (ankle - hip)
        is_leg = points[:, 1] < hip[1] - 0.09
        middle_x = np.where(is_leg, np.sign(points[:, 0]) * centre[:, 0], 0.0)
        angle = np.arctan2(points[:, 0] - middle_x, points[:, 2] - np.where(is_leg, centre[:, 2], 0.0))
        across = angle * np.where(is_leg, _LEG_RADIUS, _TRUNK_RADIUS)
        arm_across = _arm_angle(right_side, chain) * _ARM_RADIUS
        return cls(
            x=points[:, 0],
            y=points[:, 1],
            z=points[:, 2],
            is_arm=is_arm,
            arm=arm.astype(np.float32),
            leg=leg.astype(np.float32),
            across=np.where(is_arm, arm_across, across).astype(np.float32),
            along=np.where(is_arm, arm, np.float32(0.5) - points[:, 1]).astype(np.float32),
        )


def _arm_length(points: Array, chain: list[Array]) -> Array:
    """Return metres along a chain of joints, continuous over its bends."""
    total = np.zeros(len(points), np.float32)
    for i, (start, end) in enumerate(pairwise(chain)):
        length = float(np.linalg.norm(end - start))
        t = (points - start) @ ((end - start) / length)
        low = -0.06 if i == 0 else 0.0
        high = np.inf if i == len(chain) - 2 else length
        total += np.clip(t, low, high).astype(np.float32)
    return total


def _arm_angle(points: Array, chain: list[Array]) -> Array:
    """Return the angle around the nearer bone of the arm, 0 in front."""
    angles, distances = [], []
    for start, end in pairwise(chain[:3]):
        axis = (end - start) / np.linalg.norm(end - start)
        front = np.array([0.0, 0.0, 1.0]) - axis[2] * axis
        front /= np.linalg.norm(front)
        side = np.cross(axis, front)
        offset = points - start
        angles.append(np.arctan2(offset @ side, offset @ front))
        distances.append(np.linalg.norm(offset - np.clip(offset @ axis, 0, None)[:, None] * axis, axis=1))
    return np.where(distances[0] <= distances[1], angles[0], angles[1]).astype(np.float32)


_MAX_EDGE = 0.021  # metres; longer edges are halved once
_POSITION_STEPS, _WEIGHT_STEPS = 6, 10  # of smoothing
_PROBES = np.array([0.012, 0.02, 0.03, 0.04, 0.055, 0.07, 0.09, 0.12])  # metres along the normals, to measure `room`


@dataclass(frozen=True, eq=False)
class ShapedBase:
    """The cloth surface of one identity.

    Attributes:
        points: (N, 3) float32, metres. The surface.
        normals: (N, 3) float32. Its unit normals.
        body: (V, 3) float32, metres. Vertices of the body.
        joints: (24, 3) float32, metres. Joints of the body.
    """

    points: Array
    normals: Array
    body: Array
    joints: Array


@dataclass(frozen=True, eq=False)
class ClothBase:
    """The body's outer surface with halved long edges: N points, the first V for the body's vertices.

    Attributes:
        faces: (F, 3) int. Faces.
        uv: (T, 2) float32. Texture vertices.
        uv_faces: (F, 3) int. Texture vertices of the faces.
        ends: (N, 2) int. The two body vertices around each point, which are the same for a body vertex.
        template: (N, 3) float32, metres. Smoothed rest positions of the average body.
        directions: (N · 3, S) float32, metres. Their change with the betas.
        weights: (N, 24) float32. Smoothed skinning weights.
        room: (N,) float32, metres. Max distance of cloth before it meets other cloth (crotch, armpits).
        coordinates: Coordinates of the N points.
        is_eye: (N,) bool. The eyeballs.
        is_head: (N,) bool. The head without neck and eyeballs.
        body: The body.
    """

    faces: Array
    uv: Array
    uv_faces: Array
    ends: Array
    template: Array
    directions: Array
    weights: Array
    room: Array
    coordinates: Coordinates
    is_eye: NDArray[np.bool_]
    is_head: NDArray[np.bool_]
    body: Body

    @cached_property
    def bones(self) -> tuple[Array, Array]:
        """(N, 4) int32 indices and (N, 4) float32 weights of the strongest bones."""
        return largest_weights(self.weights)

    @cached_property
    def panels(self) -> dict[str, tuple[Array, Array]]:
        """Faces and uv faces that may be covered by clothes ("body"), and by hair and headwear ("head")."""
        points = self.coordinates
        hand = points.is_arm & (points.arm > PLACES.hand)
        width, height = PLACES.face_reach
        face = np.hypot(points.x / width, (points.y - PLACES.face) / height) < 1
        face &= points.z > PLACES.face_front
        on_head = np.zeros(len(points.y), bool)
        on_head[self.head] = True
        masks = {
            "body": (points.is_arm & ~hand) | (~points.is_arm & (points.y < PLACES.jaw)),
            "head": on_head & ~face & ~self.is_eye,
        }
        rows = {name: np.flatnonzero(np.logical_or.reduce(mask[self.faces].T)) for name, mask in masks.items()}
        return {name: (self.faces[panel], self.uv_faces[panel]) for name, panel in rows.items()}

    @cached_property
    def head(self) -> Array:
        """Indices of the points that hair and headwear may cover: head and neck."""
        height = self.coordinates.y - np.float32(PLACES.neck_base)
        return np.flatnonzero(
            ~self.coordinates.is_arm & (height > 0) & (np.hypot(self.coordinates.x, self.coordinates.z) < 0.2)
        )

    @cached_property
    def _corners(self) -> tuple[Array, ...]:
        return tuple(np.ascontiguousarray(corner) for corner in self.faces.T)

    @cached_property
    def eye_faces(self) -> NDArray[np.bool_]:
        """(F,) bool. The faces of the body that belong to its eyeballs."""
        return np.logical_and.reduce(self.is_eye[self.body.faces.numpy()].T)

    @cached_property
    def gather(self) -> csr_matrix:
        """(N, F) matrix that adds up the values of the faces around each point."""
        count = self.faces.size
        columns = np.repeat(np.arange(len(self.faces)), 3)
        shape = (len(self.template), len(self.faces))
        return csr_matrix((np.ones(count, np.float32), (self.faces.ravel(), columns)), shape=shape)

    def shaped(self, betas: Array) -> ShapedBase:
        """Return the surface for betas (S,)."""
        betas = np.asarray(betas, np.float32)
        points = self.template + (self.directions @ betas).reshape(-1, 3)
        a, b, c = (points.take(corner, 0) for corner in self._corners)
        (px, py, pz), (qx, qy, qz) = (b - a).T, (c - a).T
        # Cross products, several times faster than np.cross.
        normals = self.gather @ np.stack((py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx), 1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        rest = (self.body.template, self.body.shape_directions), (self.body.joint_template, self.body.joint_directions)
        body, joints = (
            mean.numpy() + (directions.numpy().reshape(-1, len(betas)) @ betas).reshape(-1, 3)
            for mean, directions in rest
        )
        return ShapedBase(points, normals, body, joints)


@lru_cache(maxsize=2)
def cloth_base(body: Body) -> ClothBase:
    """Return the cloth surface of a body, which is made once per body object in about a second.

    Raises:
        UsageError: If the body is not the default body, since the clothes fit its proportions.
    """
    if body.name != PLACES.body:
        raise UsageError("body", "cannot be dressed", expected="the default body", got=body.name)
    template = body.template.numpy()
    shape_count = body.shape_count
    faces, uv_faces, uv, ends = _refine(
        template, body.faces.numpy().astype(np.int64), body.uv.numpy(), body.uv_faces.numpy().astype(np.int64)
    )
    smooth = _smoothing(faces, len(ends))
    labels = body.part_labels.numpy()[ends]
    hands = SMPL24.indices(("left_hand", "right_hand", "left_wrist", "right_wrist"))
    is_hand = np.logical_and(*np.isin(labels, hands).T)
    is_eye = np.logical_and(*_eyeballs(body)[ends].T)
    is_head = (labels == SMPL24.index("head")).all(1)
    linear = np.concatenate((template[..., None], body.shape_directions.numpy()), -1)[ends].mean(1)
    linear = linear.reshape(len(ends), -1)
    linear = _smooth_values(linear, smooth, _POSITION_STEPS, is_hand | is_head)
    linear = _without_ears(linear, smooth, is_head, points=template[ends].mean(1))
    linear = linear.reshape(len(ends), 3, 1 + shape_count)
    dense = dense_weights(body)
    weights = _smooth_values(dense[ends].mean(1), smooth, _WEIGHT_STEPS, is_hand)
    arms = [f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist", "hand")]
    arm_share = dense[:, SMPL24.indices(arms)].sum(1)
    points = linear[..., 0]
    return ClothBase(
        faces=faces,
        uv=uv,
        uv_faces=uv_faces,
        ends=ends,
        template=points.astype(np.float32),
        directions=linear[..., 1:].reshape(-1, shape_count).astype(np.float32),
        weights=weights.astype(np.float32),
        room=_room(points, faces),
        coordinates=Coordinates.of_points(body, template[ends].mean(1), arm_share[ends].mean(1)),
        is_eye=is_eye,
        is_head=is_head & ~is_eye,
        body=body,
    )


def dense_weights(body: Body) -> Array:
    """Return a body's skinning weights as (V, 24) float64, a column a joint."""
    dense = np.zeros((len(body.template), len(SMPL24)))
    indices, weights = (part.cpu().numpy() for part in (body.bone_indices, body.bone_weights))
    # Unused slots repeat a bone with weight 0, so that weights must be added.
    np.add.at(dense, (np.arange(len(dense))[:, None], indices), weights)
    return dense


def largest_weights(weights: Array) -> tuple[Array, Array]:
    """Return the indices (n, 4) int32 and values (n, 4) float32, of sum 1, of the four largest weights (n, 24)."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    largest = np.take_along_axis(weights, order, 1)
    return order.astype(np.int32), (largest / largest.sum(1, keepdims=True)).astype(np.float32)


def _refine(points: Array, faces: Array, uv: Array, uv_faces: Array) -> tuple[Array, Array, Array, Array]:
    """Halve long edges; return faces, uv faces, uv, and the two original vertices of every point."""
    count, uv_count = len(points), len(uv)
    following = np.roll(faces, -1, 1)
    key = np.minimum(faces, following) * count + np.maximum(faces, following)
    edges, edge_of = np.unique(key.ravel(), return_inverse=True)
    edge_of = edge_of.reshape(faces.shape)
    first, second = edges // count, edges % count
    long = np.linalg.norm(points[first] - points[second], axis=1) > _MAX_EDGE
    middle = np.where(long, np.cumsum(long) - 1 + count, -1)[edge_of]
    # Texture vertices are split for each face, so that seams need no special treatment.
    uv_middle = np.arange(faces.size).reshape(faces.shape) + uv_count
    uv = np.concatenate((uv, ((uv[uv_faces] + uv[np.roll(uv_faces, -1, 1)]) / 2).reshape(-1, 2)))
    split = middle >= 0
    triangles, uv_triangles = [], []
    for pattern in range(8):
        halves = np.array([pattern >> k & 1 for k in range(3)], bool)
        rows = np.flatnonzero((split == halves).all(1))
        corners = np.concatenate((faces[rows], middle[rows]), 1)
        uv_corners = np.concatenate((uv_faces[rows], uv_middle[rows]), 1)
        for triangle in _split_triangles(tuple(halves)):
            triangles.append(corners[:, triangle])
            uv_triangles.append(uv_corners[:, triangle])
    uv_rows, uv_indices = np.unique(np.concatenate(uv_triangles), return_inverse=True)
    unsplit = np.repeat(np.arange(count), 2).reshape(-1, 2)
    ends = np.concatenate((unsplit, np.stack((first[long], second[long]), 1)))
    return np.concatenate(triangles), uv_indices.reshape(-1, 3), uv[uv_rows].astype(np.float32), ends


def _split_triangles(split: tuple[bool, ...]) -> list[tuple[int, int, int]]:
    """Return triangles of corners 0, 1, 2 and edge middles 3 (of 0–1), 4 (of 1–2), 5 (of 2–0)."""
    outline = [i for k in range(3) for i in ((k, k + 3) if split[k] else (k,))]
    if len(outline) == 6:
        return [(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)]
    # A fan from a middle, so that no triangle is degenerate.
    start = next((i for i, corner in enumerate(outline) if corner > 2), 0)
    ring = outline[start:] + outline[:start]
    return [(ring[0], ring[i], ring[i + 1]) for i in range(1, len(ring) - 1)]


def _smoothing(faces: Array, count: int) -> csr_matrix:
    """Return the matrix (N, N) that averages the neighbours of each point."""
    following = np.roll(faces, -1, 1)
    edges = np.concatenate((faces, following)).ravel(), np.concatenate((following, faces)).ravel()
    adjacent = csr_matrix((np.ones(len(edges[0])), edges), shape=(count, count))
    adjacent.data[:] = 1
    adjacent.data /= np.repeat(np.asarray(adjacent.sum(1)).ravel(), np.diff(adjacent.indptr))
    return adjacent


def _smooth_values(values: Array, smooth: csr_matrix, steps: int, fixed: NDArray[np.bool_]) -> Array:
    result = values.astype(np.float64)
    for _ in range(steps):
        blend = 0.5 * result + 0.5 * (smooth @ result)
        blend[fixed] = values[fixed]
        result = blend
    return result


def _without_ears(linear: Array, smooth: csr_matrix, is_head: Array, points: Array) -> Array:
    """Replace the ears by a minimal surface for hair and hats: each point is the mean of its neighbours."""
    height, depth = PLACES.ear
    near_ear = is_head & (np.hypot(points[:, 1] - height, points[:, 2] - depth) < PLACES.ear_radius)
    inner = np.flatnonzero(near_ear & (np.abs(points[:, 0]) > PLACES.ear_side))
    outer = np.setdiff1d(np.arange(len(linear)), inner)
    rows = smooth[inner]
    system = identity_matrix(len(inner), format="csc") - rows[:, inner].tocsc()
    result = linear.copy()
    result[inner] = splu(system).solve(rows[:, outer] @ linear[outer])
    return result


def _room(points: Array, faces: Array) -> Array:
    """Return nearly half the distance (N,) to the opposite surface in metres, at most the longest probe."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    normals = np.zeros_like(points)
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    # A probe is blocked if a surface that faces it is nearer than its start. The shortest blocked probe counts.
    tree = cKDTree(points)
    room = np.full(len(points), _PROBES[-1])
    for distance in _PROBES[::-1]:
        gap, nearest = tree.query(points + normals * distance)
        is_blocked = (gap < 0.85 * distance) & ((normals[nearest] * normals).sum(1) < 0.3)
        room[is_blocked] = 0.45 * distance
    return room.astype(np.float32)


def _eyeballs(body: Body) -> NDArray[np.bool_]:
    """Return the mask (V,) of the eyeballs' vertices: the two small closed surfaces behind the lids."""
    points = body.landmarks("face13")
    eyes = points.template.numpy()[points.skeleton.indices(("left_eye", "right_eye"))]
    faces, count = body.faces.numpy(), len(body.template)
    edges = csr_matrix((np.ones(faces.size), (faces.ravel(), np.roll(faces, -1, 1).ravel())), shape=(count, count))
    _, component = connected_components(edges, directed=False)
    result = np.zeros(count, bool)
    template = body.template.numpy()
    for name, amount in zip(*np.unique(component, return_counts=True), strict=True):
        rows = component == name
        centre = template[rows].mean(0)
        if amount < 200 and np.linalg.norm(eyes - centre, axis=1).min() < 0.03:
            result |= rows
    return result
