"""The surface that clothes follow, the coordinates on it in which garments are cut, and the texture atlas.

In this order: `Coordinates` of points on the average body; `ClothBase`, the smoothed outer surface of a body, and how
it is made; the atlas, its tiles and the texels of the body's surface in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse import identity as identity_matrix
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import TexelMap, bleed_islands
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError

Array = NDArray[Any]

_TRUNK_RADIUS, _LEG_RADIUS, _ARM_RADIUS = 0.15, 0.075, 0.045  # metres, which turn angles into lengths of cloth
_ON_TRUNK = -0.05  # `arm` of points that belong to no arm


def ramp(values: Array, low: float, high: float) -> Array:
    """Interpolate smoothly from 0 at low to 1 at high."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Coordinates of n points on the average body at rest, whatever the identity's shape.

    Attributes:
        x, y, z: (n,) metres, body axes, origin at the pelvis.
        is_arm: (n,) bool: upper arm, forearm or hand.
        arm: (n,) metres from the shoulder joint along the arm's bones; −0.05 off the arms.
        leg: (n,) metres below the hip joint, along the leg; negative above.
        across: (n,) metres of cloth round trunk, arm or leg, 0 in front.
        along: (n,) metres of cloth down the trunk and legs, or down the arm.
    """

    x: Array
    y: Array
    z: Array
    is_arm: Array
    arm: Array
    leg: Array
    across: Array
    along: Array

    def at(self, rows: Array) -> Coordinates:
        """Return the coordinates of some of the points."""
        return Coordinates(**{name: values.take(rows) for name, values in vars(self).items()})

    @classmethod
    def of_points(cls, body: Body, points: Array, arm_share: Array) -> Coordinates:
        """Compute them for points (n, 3) of the template; arm_share (n,): share of their weight on arm bones."""
        points = np.asarray(points, np.float32)
        joints = body.joint_template.numpy()

        def joint(name: str) -> Array:
            return joints[SMPL24.index(name)]

        right_side = points.copy()
        right_side[:, 0] = np.abs(points[:, 0])
        is_arm = arm_share > 0.5
        chain = [joint(f"left_{name}") for name in ("shoulder", "elbow", "wrist", "hand")]
        arm = np.where(is_arm, _along(right_side, chain), _ON_TRUNK)
        hip, ankle = joint("left_hip"), joint("left_ankle")
        leg = hip[1] - points[:, 1]
        # Round the leg's axis below the crotch, round the spine above it.
        down = np.clip((hip[1] - points[:, 1]) / (hip[1] - ankle[1]), 0, 1)
        centre = hip + down[:, None] * (ankle - hip)
        below = points[:, 1] < hip[1] - 0.09
        middle_x = np.where(below, np.sign(points[:, 0]) * centre[:, 0], 0.0)
        angle = np.arctan2(points[:, 0] - middle_x, points[:, 2] - np.where(below, centre[:, 2], 0.0))
        across = angle * np.where(below, _LEG_RADIUS, _TRUNK_RADIUS)
        around = _around_arm(right_side, chain) * _ARM_RADIUS
        return cls(
            x=points[:, 0],
            y=points[:, 1],
            z=points[:, 2],
            is_arm=is_arm,
            arm=arm.astype(np.float32),
            leg=leg.astype(np.float32),
            across=np.where(is_arm, around, across).astype(np.float32),
            along=np.where(is_arm, arm, np.float32(0.5) - points[:, 1]).astype(np.float32),
        )


def _along(points: Array, chain: list[Array]) -> Array:
    """Measure metres along a chain of joints, continuous over its bends."""
    total = np.zeros(len(points), np.float32)
    for i, (start, end) in enumerate(pairwise(chain)):
        length = float(np.linalg.norm(end - start))
        t = (points - start) @ ((end - start) / length)
        low = -0.06 if i == 0 else 0.0
        high = np.inf if i == len(chain) - 2 else length
        total += np.clip(t, low, high).astype(np.float32)
    return total


def _around_arm(points: Array, chain: list[Array]) -> Array:
    """Measure the angle around the nearer bone of the arm, 0 in front."""
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


_LONGEST_EDGE = 0.021  # metres; longer ones are halved once
_POSITION_STEPS, _WEIGHT_STEPS = 6, 10  # of smoothing
# Where the ears are, on the average body: height and depth of their middle, radius, distance from the head's middle.
_EAR, _EAR_RADIUS, _EAR_X = (0.661, 0.034), 0.045, 0.058
_LONGEST_SLEEVE = 0.52  # metres along the arm
# How far cloth may stand off is probed along the normals at these distances (metres).
_PROBES = np.array([0.012, 0.02, 0.03, 0.04, 0.055, 0.07, 0.09, 0.12])


@dataclass(frozen=True, eq=False)
class ShapedBase:
    """The cloth surface of one identity: points (N, 3) and unit normals (N, 3); body (V, 3) and joints (24, 3)."""

    points: Array
    normals: Array
    body: Array
    joints: Array


@dataclass(frozen=True, eq=False)
class ClothBase:
    """The body's outer surface with long edges halved: N points, of which the first V are the body's vertices.

    faces (F, 3), uv (T, 2), uv_faces (F, 3)  as of the body
    is_eye, is_head (N,) bool: the eyeballs; the head without the neck

    Attributes:
        ends: (N, 2) the two body vertices that a point lies between (twice the same for a body vertex).
        template: (N, 3), directions (N·3, S): smoothed rest positions, linear in the betas.
        weights: (N, 24) smoothed skinning weights.
        room: (N,) metres that cloth may stand off before it meets other cloth (crotch, armpits).
        where: Coordinates of the N points on the resting average body.
    """

    faces: Array
    uv: Array
    uv_faces: Array
    ends: Array
    template: Array
    directions: Array
    weights: Array
    room: Array
    where: Coordinates
    is_eye: NDArray[np.bool_]
    is_head: NDArray[np.bool_]
    body: Body

    @cached_property
    def bones(self) -> tuple[Array, Array]:
        """(N, 4) indices and weights of the strongest bones."""
        return largest_weights(self.weights)

    @cached_property
    def panels(self) -> dict[str, tuple[Array, Array]]:
        """Faces and uv faces that clothes ("body") and what is worn on the head ("head") may lie over."""
        at = self.where
        hand = at.is_arm & (at.arm > _LONGEST_SLEEVE + 0.04)
        face = (np.hypot(at.x / 0.045, (at.y - 0.655) / 0.05) < 1) & (at.z > 0.06)
        on_head = np.zeros(len(at.y), bool)
        on_head[self.head] = True
        masks = {"body": (at.is_arm & ~hand) | (~at.is_arm & (at.y < 0.62)), "head": on_head & ~face & ~self.is_eye}
        rows = {name: np.flatnonzero(np.logical_or.reduce(mask[self.faces].T)) for name, mask in masks.items()}
        return {name: (self.faces[some], self.uv_faces[some]) for name, some in rows.items()}

    @cached_property
    def head(self) -> Array:
        """Rows of the points that hair and what is worn on the head may lie over: head and neck."""
        height = self.where.y - np.float32(0.5)
        return np.flatnonzero(~self.where.is_arm & (height > 0) & (np.hypot(self.where.x, self.where.z) < 0.2))

    @cached_property
    def _corners(self) -> tuple[Array, ...]:
        return tuple(np.ascontiguousarray(corner) for corner in self.faces.T)

    @cached_property
    def eye_faces(self) -> NDArray[np.bool_]:
        """Which of the body's own faces make its eyeballs."""
        return np.logical_and.reduce(self.is_eye[self.body.faces.numpy()].T)

    @cached_property
    def gather(self) -> csr_matrix:
        """(N, F) sums the values of the faces round each point."""
        count = self.faces.size
        columns = np.repeat(np.arange(len(self.faces)), 3)
        shape = (len(self.template), len(self.faces))
        return csr_matrix((np.ones(count, np.float32), (self.faces.ravel(), columns)), shape=shape)

    def shaped(self, betas: Array) -> ShapedBase:
        """Shape the surface by betas (S,)."""
        betas = np.asarray(betas, np.float32)
        points = self.template + (self.directions @ betas).reshape(-1, 3)
        a, b, c = (points.take(corner, 0) for corner in self._corners)
        (px, py, pz), (qx, qy, qz) = (b - a).T, (c - a).T
        # Cross products, several times as fast as numpy's.
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
    """Make the cloth surface of a body, once per body object (about a second).

    Raises UsageError for bodies other than the default one, on whose proportions the clothes are cut.
    """
    if body.name != "default":
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
    dense = np.zeros((len(template), len(SMPL24)), np.float64)
    # Unused slots repeat a bone with weight 0: add, do not put.
    np.add.at(dense, (np.arange(len(dense))[:, None], body.bone_indices.numpy()), body.bone_weights.numpy())
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
        where=Coordinates.of_points(body, template[ends].mean(1), arm_share[ends].mean(1)),
        is_eye=is_eye,
        is_head=is_head & ~is_eye,
        body=body,
    )


def largest_weights(weights: Array) -> tuple[Array, Array]:
    """Select the 4 largest of weights (n, 24): indices (n, 4) int32 and weights (n, 4) float32 of sum 1."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    largest = np.take_along_axis(weights, order, 1)
    return order.astype(np.int32), (largest / largest.sum(1, keepdims=True)).astype(np.float32)


def _refine(points: Array, faces: Array, uv: Array, uv_faces: Array) -> tuple[Array, Array, Array, Array]:
    """Halve long edges: new faces, uv faces, uv, and the two original vertices of every point."""
    count, uv_count = len(points), len(uv)
    following = np.roll(faces, -1, 1)
    key = np.minimum(faces, following) * count + np.maximum(faces, following)
    edges, edge_of = np.unique(key.ravel(), return_inverse=True)
    edge_of = edge_of.reshape(faces.shape)
    first, second = edges // count, edges % count
    long = np.linalg.norm(points[first] - points[second], axis=1) > _LONGEST_EDGE
    middle = np.where(long, np.cumsum(long) - 1 + count, -1)[edge_of]
    # Texture vertices are split face by face: seams then need no care.
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
    """List triangles of corners 0, 1, 2 and edge middles 3 (of 0–1), 4 (of 1–2), 5 (of 2–0)."""
    outline = [i for k in range(3) for i in ((k, k + 3) if split[k] else (k,))]
    if len(outline) == 6:
        return [(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)]
    # A fan from a middle, so that no triangle lies flat on a halved edge.
    start = next((i for i, corner in enumerate(outline) if corner > 2), 0)
    ring = outline[start:] + outline[:start]
    return [(ring[0], ring[i], ring[i + 1]) for i in range(1, len(ring) - 1)]


def _smoothing(faces: Array, count: int) -> csr_matrix:
    """Make the matrix (N, N) that averages each point's neighbours."""
    following = np.roll(faces, -1, 1)
    edges = np.concatenate((faces, following)).ravel(), np.concatenate((following, faces)).ravel()
    adjacent = csr_matrix((np.ones(len(edges[0])), edges), shape=(count, count))
    adjacent.data[:] = 1
    adjacent.data /= np.repeat(np.asarray(adjacent.sum(1)).ravel(), np.diff(adjacent.indptr))
    return adjacent


def _smooth_values(values: Array, smooth: csr_matrix, steps: int, keep: NDArray[np.bool_]) -> Array:
    result = values.astype(np.float64)
    for _ in range(steps):
        blend = 0.5 * result + 0.5 * (smooth @ result)
        blend[keep] = values[keep]
        result = blend
    return result


def _without_ears(linear: Array, smooth: csr_matrix, is_head: Array, points: Array) -> Array:
    """Span the head over the ears like a soap film, for hair and hats: each point there is its neighbours' mean."""
    beside = is_head & (np.hypot(points[:, 1] - _EAR[0], points[:, 2] - _EAR[1]) < _EAR_RADIUS)
    inner = np.flatnonzero(beside & (np.abs(points[:, 0]) > _EAR_X))
    outer = np.setdiff1d(np.arange(len(linear)), inner)
    rows = smooth[inner]
    system = identity_matrix(len(inner), format="csc") - rows[:, inner].tocsc()
    result = linear.copy()
    result[inner] = splu(system).solve(rows[:, outer] @ linear[outer])
    return result


def _room(points: Array, faces: Array) -> Array:
    """Measure metres to half way to the surface opposite, at most the longest probe."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    normals = np.zeros_like(points)
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    # A probe at a distance is blocked if a surface lies nearer to it than its start, and faces it. The last one counts.
    tree = cKDTree(points)
    room = np.full(len(points), _PROBES[-1])
    for distance in _PROBES[::-1]:
        away, nearest = tree.query(points + normals * distance)
        is_blocked = (away < 0.85 * distance) & ((normals[nearest] * normals).sum(1) < 0.3)
        room[is_blocked] = 0.45 * distance
    return room.astype(np.float32)


def _eyeballs(body: Body) -> NDArray[np.bool_]:
    """Find the vertices (V,) of the eyeballs: the two small closed surfaces behind the lids."""
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


ASPECT = 1.5


class Tile(NamedTuple):
    """A rectangle of the atlas in units of its height: left, top, right, bottom."""

    x0: float
    y0: float
    x1: float
    y1: float

    def slices(self, size: int) -> tuple[slice, slice]:
        """Return the rows and columns of an atlas of that height."""
        return slice(round(self.y0 * size), round(self.y1 * size)), slice(round(self.x0 * size), round(self.x1 * size))

    def pixels(self, size: int) -> tuple[tuple[slice, slice], Array, Array]:
        """Return the rows and columns of an atlas of that height, and their numbers (h, w) float32 within the tile."""
        rows, columns = self.slices(size)
        v, u = np.mgrid[: rows.stop - rows.start, : columns.stop - columns.start].astype(np.float32)
        return (rows, columns), v, u

    def uv(self, u: Array, v: Array) -> Array:
        """Return atlas coordinates (n, 2) of points (n,) in 0…1 inside the tile, kept off its edge."""
        margin = 0.004
        x = self.x0 + margin + np.clip(u, 0, 1) * (self.x1 - self.x0 - 2 * margin)
        y = self.y0 + margin + np.clip(v, 0, 1) * (self.y1 - self.y0 - 2 * margin)
        return np.stack((x / ASPECT, y), -1).astype(np.float32)


TILES = {
    "body": Tile(0.0, 0.0, 1.0, 1.0),
    "outer": Tile(1.0, 0.0, 1.5, 0.36),
    "skirt": Tile(1.0, 0.36, 1.5, 0.6),
    "tail": Tile(1.0, 0.6, 1.5, 0.74),
    "hair": Tile(1.0, 0.74, 1.25, 1.0),
    "hat": Tile(1.25, 0.74, 1.5, 0.85),
    "shoe": Tile(1.25, 0.85, 1.375, 1.0),
    "collar": Tile(1.375, 0.85, 1.5, 0.9),
    "scarf": Tile(1.375, 0.9, 1.5, 0.97),
    "glasses": Tile(1.375, 0.97, 1.5, 1.0),
}
# The part of the body's texture that a jacket may lie over, and how much smaller it stands in its tile.
_OUTER_PART = Tile(0.0, 0.02, 0.77, 0.56)


@dataclass(frozen=True, eq=False)
class AtlasTexels:
    """Those n texels of the atlas that show points of the body's surface, by one of its layouts.

    Attributes:
        rows: (n,) ascending flat pixel indices in the atlas (size, 3/2 size).
        where: Their coordinates; points (n, 3) metres on the average body.
        head: (n,) bool: head and neck; eyes (n,) bool: the eyeballs.
        hollow: (n,) share of the light that reaches armpits, crotch, elbows, the hollows of the knees; 1 elsewhere.
        gap: Flat pixel indices just outside the surface, and `owner` the nearest one inside, whose colour they
            take.
    """

    size: int
    rows: Array
    where: Coordinates
    points: Array
    head: NDArray[np.bool_]
    eyes: NDArray[np.bool_]
    hollow: Array
    gap: Array
    owner: Array

    def bleed(self, image: NDArray[np.uint8]) -> None:
        """Spread the islands' colours outwards in place, so that seams never show the gap."""
        flat = image.reshape(-1, 3)
        flat[self.gap] = flat[self.owner]


@lru_cache(maxsize=4)
def atlas_texels(body: Body, size: int, tile: str = "body") -> AtlasTexels:
    """Find the texels of the body's square, or of "outer"; once per body object, size and tile."""
    base = cloth_base(body)
    left = 0 if tile == "body" else round(TILES[tile].x0 * size)
    uv = body.uv.numpy() if tile == "body" else outer_uv(body.uv.numpy()) * [ASPECT, 1] - [left / size, 0]
    texels = TexelMap(torch.from_numpy(uv.astype(np.float32)), body.uv_faces, size)
    mask = texels.covered.copy()
    if tile != "body":
        inside_rows, inside_columns = TILES[tile].slices(size)
        mask[inside_rows.stop :] = False
        mask[:, inside_columns.stop - left :] = False
    count = len(body.template)
    is_head = np.isin(body.part_labels.numpy(), SMPL24.indices(("head", "neck")))
    flags = np.stack((base.where.is_arm[:count], is_head, base.is_eye[:count]), 1).astype(np.float32)
    values = np.concatenate((body.template.numpy(), flags), 1)
    rows = np.flatnonzero(mask)
    texel_values = texels.interpolate(values, body.faces).reshape(-1, values.shape[1])[rows]
    width = round(size * ASPECT)

    def flat_index(row: Array) -> Array:
        return row // size * width + row % size + left

    nearest = np.arange(size * size).reshape(size, size, 1)
    bleed_islands(nearest, mask, reach=max(3, size // 96))
    gap = np.flatnonzero(nearest.ravel() != np.arange(size * size))
    return AtlasTexels(
        size=size,
        rows=flat_index(rows),
        where=Coordinates.of_points(body, texel_values[:, :3], texel_values[:, 3]),
        points=texel_values[:, :3],
        head=(texel_values[:, 4] > 0.5) | (texel_values[:, 5] > 0.5),
        eyes=texel_values[:, 5] > 0.5,
        hollow=_hollows(texel_values[:, :3], body.joint_template.numpy()),
        gap=flat_index(gap),
        owner=flat_index(nearest.ravel()[gap]),
    )


def _hollows(points: Array, joints: Array) -> Array:
    """Return the brightness (n,) of points (n, 3) of the average body that lie in folds."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    elbow, knee = joints[list(SMPL24.indices(("left_elbow", "left_knee")))]
    right_side = np.stack((x, y, z), 1)

    def near(centre: Array, radius: float) -> Array:
        return np.exp(-((right_side - centre) ** 2).sum(1) / radius**2)

    crotch = np.exp(-((x / 0.05) ** 2) - ((y + 0.12) / 0.07) ** 2)
    groin = np.exp(-(((y + 0.02 + 0.9 * (0.13 - x)) / 0.022) ** 2)) * (z > 0.02) * (x < 0.15) * (np.abs(y) < 0.13)
    armpit = np.exp(-(((x - 0.17) / 0.035) ** 2) - ((y - 0.37) / 0.05) ** 2)
    chin = np.exp(-(((y - 0.56) / 0.018) ** 2)) * (z > 0.03) * (x < 0.06)
    bend = near(elbow + np.array([0.0, 0.0, 0.045], np.float32), 0.045) + near(
        knee + np.array([0.0, 0.0, -0.06], np.float32), 0.06
    )
    dark = 0.3 * crotch + 0.14 * groin + 0.28 * armpit + 0.18 * chin + 0.2 * bend
    return (1 - np.clip(dark, 0, 0.4)).astype(np.float32)


def outer_uv(uv: Array) -> Array:
    """Shrink the body's uv (T, 2) into the tile of jackets and coats: atlas coordinates (T, 2)."""
    part, tile = _OUTER_PART, TILES["outer"]
    return tile.uv((uv[:, 0] - part.x0) / (part.x1 - part.x0), (uv[:, 1] - part.y0) / (part.y1 - part.y0))
