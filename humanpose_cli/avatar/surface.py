"""The surface of a body for texturing: sets of vertices by part, smooth fields on the mesh, and texels.

`SurfaceOperator` spreads fields over a mesh. `BodyTexels` holds a body's texels, their mirror images and the points
opposite to them.
"""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.body.texture import TexelMap, mirror_uv_corners, sample_at
from humanpose_cli.core.blocks import in_blocks
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.engine.rasterising.op import interpolate
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.surfaces import vertex_normals

Array = NDArray[Any]
Mask = NDArray[np.bool_]

TRUNK = ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar")
FOREARMS = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("elbow", "wrist", "hand"))
HANDS = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("wrist", "hand"))
SLEEVES = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow"))
LEGS = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee"))
FEET = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("ankle", "foot"))
# Parts whose back looks like their front where clothes go round; heads, hands and feet do not.
_FLAT = ("pelvis", "spine1", "spine2", "spine3", "collar", "shoulder", "elbow", "hip", "knee")


def flat_parts(part_labels: NDArray[np.integer]) -> Mask:
    """Select the vertices (V,) of trunk and limbs, without head, neck, hands and feet."""
    names = tuple(name for name in SMPL24.joint_names if name.removeprefix("left_").removeprefix("right_") in _FLAT)
    return parts_mask(part_labels, names)


def limb_groups() -> NDArray[np.int64]:
    """Return the limb of each joint of SMPL24 (24,): 0 trunk and head, 1 and 2 the arms, 3 and 4 the legs."""
    groups = np.zeros(len(SMPL24), np.int64)
    for row, name in enumerate(SMPL24.joint_names):
        side, _, part = name.rpartition("_")
        if side:
            arm = part in ("shoulder", "elbow", "wrist", "hand")
            leg = part in ("hip", "knee", "ankle", "foot")
            groups[row] = (1 if arm else 3 if leg else 0) + (side == "right" and (arm or leg))
    return groups


def scalp_and_face(body: Body) -> tuple[Mask, Mask]:
    """Select the vertices of the scalp and of the face.

    The scalp is the head behind the ears and above a line from the ears to the hairline. The face lies in front of the
    temples and below that line. The proportions are an adult's: the hairline is 0.42 distances between the ears above
    the eyes, the nape as far below the ears.

    Args:
        body: The body.

    Returns:
        Two masks (V,) bool: the scalp, and the face.
    """
    landmarks = body.landmarks("coco17")
    points = landmarks.template.cpu().numpy()
    ears, eyes = (points[landmarks.skeleton.indices((f"left_{n}", f"right_{n}"))] for n in ("ear", "eye"))
    (_, ear_y, ear_z) = ears.mean(0).tolist()
    (_, eye_y, eye_z) = eyes.mean(0).tolist()
    width = float(np.ptp(ears[:, 0]))
    _, y, z = body.template.cpu().numpy().T
    head = parts_mask(body.part_labels.cpu().numpy(), ("head",))
    ear_line = ear_y + 0.12 * width
    along = np.clip((z - ear_z) / max(eye_z - ear_z, 1e-3), 0, 1.2)
    behind = (z < ear_z - 0.05 * width) & (y > ear_y - 0.42 * width)
    hair = head & (behind | (y > ear_line + along * (eye_y + 0.42 * width - ear_line)))
    return hair, head & (z > ear_z + 0.3 * (eye_z - ear_z)) & ~hair


class SurfaceOperator:
    """The stiffness K and the vertex areas of a surface: fᵀ K f is the integral of |∇f|² over it.

    The cotangent formula makes results independent of the density of triangles.

    Args:
        vertices: (V, 3) float, metres.
        faces: (F, 3) int.
    """

    def __init__(self, vertices: Array, faces: NDArray[np.integer]) -> None:
        self._vertices = np.asarray(vertices, np.float64)
        corners = self._vertices[faces]
        count = len(vertices)
        a, b, c = corners.swapaxes(0, 1)
        double_area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        weights = []
        for k in range(3):
            left = corners[:, (k + 1) % 3] - corners[:, k]
            right = corners[:, (k + 2) % 3] - corners[:, k]
            cotangent = (left * right).sum(1) / np.maximum(double_area, 1e-12)
            # Obtuse corners give negative weights, which could overshoot: a small positive one cannot.
            weights.append(np.clip(cotangent / 2, 0.02, 10.0))
        self.rows = np.concatenate([faces[:, (k + 1) % 3] for k in range(3)])
        self.columns = np.concatenate([faces[:, (k + 2) % 3] for k in range(3)])
        self.weights = np.concatenate(weights)
        self.edges = np.stack((self.rows, self.columns)).astype(np.int64).tobytes()
        self.areas = np.bincount(faces.ravel(), np.repeat(double_area / 6, 3), count) + 1e-12
        self.count = count

    def around(self, axes: Array, along: float) -> SurfaceOperator:
        """Return an operator with less stiffness along axes.

        Args:
            axes: (V, 3) float, unit vectors or 0.
            along: The share of stiffness that remains along the axes.
        """
        way = self._vertices[self.columns] - self._vertices[self.rows]
        axis = axes[self.rows] + axes[self.columns]
        product = (way * axis).sum(1) ** 2 / np.maximum((way**2).sum(1) * (axis**2).sum(1), 1e-18)
        weaker = copy(self)
        weaker.weights = self.weights * (along + (1 - along) * (1 - product))
        return weaker

    def stiffness(self, cut: NDArray[np.integer] | None = None, leak: float = 0.0) -> sparse.csc_matrix:
        """Return the stiffness matrix.

        Args:
            cut: (V,) int. Groups of vertices that are separated; None for one group.
            leak: The share of stiffness that remains between groups.

        Returns:
            (V, V) sparse float64.
        """
        weights = self.weights
        if cut is not None:
            weights = np.where(cut[self.rows] == cut[self.columns], weights, weights * leak)
        i = np.concatenate((self.rows, self.columns))
        j = np.concatenate((self.columns, self.rows))
        off = sparse.coo_matrix((np.concatenate((weights, weights)), (i, j)), (self.count, self.count)).tocsc()
        return sparse.diags(np.asarray(off.sum(1)).ravel()).tocsc() - off

    def spread(
        self,
        data_weights: Array,
        values: Array,
        rest_weights: Array,
        rest: Array,
        cut: NDArray[np.integer] | None = None,
        leak: float = 0.0,
    ) -> Array:
        """Return the field f that minimises fᵀ K f + Σ data_weights (f − values)² + Σ rest_weights (f − rest)².

        Args:
            data_weights: (V,) float, 0 or more.
            values: (V, C) float.
            rest_weights: (V,) float, more than 0.
            rest: (C,) or (V, C) float.
            cut: (V,) int. As for `stiffness`.
            leak: As for `stiffness`.

        Returns:
            (V, C) float64.
        """
        system = self.stiffness(cut, leak) + sparse.diags(data_weights + rest_weights)
        right = data_weights[:, None] * values + rest_weights[:, None] * np.broadcast_to(rest, values.shape)
        order = elimination_order(self.edges, self.count)
        field = np.empty_like(right)
        field[order] = _factor(system[order][:, order], "NATURAL").solve(np.ascontiguousarray(right[order]))
        return field


@lru_cache(maxsize=8)
def elimination_order(edges: bytes, count: int) -> NDArray[np.int64]:
    """Return the order of a mesh's vertices in which its systems are solved fast.

    The order takes a third of the time of a solution, and does not depend on shape and weights.

    Args:
        edges: (2, E) int64 as bytes. Rows and columns.
        count: The number of vertices.
    """
    rows, columns = np.frombuffer(edges, np.int64).reshape(2, -1)
    off = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), (count, count))
    factor = _factor((off + off.T + sparse.diags(np.full(count, 1e3))), "MMD_AT_PLUS_A")
    return np.argsort(factor.perm_c)


def _factor(system: Any, order: str) -> Any:
    # Symmetric mode, which takes a third of the time and fill; small panels fit the few columns of a surface's fronts.
    options = {"SymmetricMode": True}
    return splu(system.tocsc(), permc_spec=order, diag_pivot_thresh=0.0, relax=8, panel_size=8, options=options)


_FAR = 200.0  # metres: distance of a camera whose projection is as good as parallel
_IMAGE = 768  # pixels: height of its image
_COARSE = 512  # texels along each side of the texture for colours without detail
_MANY = 2048  # texels along each side: more take hundreds of megabytes
_JUMP = 0.03  # of the texture's width: distance of neighbours' opposite points across a seam
_SOFT_BORDER = 2.0  # coarse texels: blur of colours from the opposite side
_ALONG = 0.02  # share of stiffness along limbs, so that hems stay level

_cached_texels: WeakKeyDictionary[Body, dict[int, BodyTexels]] = WeakKeyDictionary()


def body_texels(body: Body, size: int) -> BodyTexels:
    """Return the texels of a body; they are cached as long as the body lives, of large sizes only the last one."""
    texels = _cached_texels.setdefault(body, {})
    coarse = min(size, _COARSE)
    if coarse not in texels:
        texels[coarse] = BodyTexels(body, coarse)
    if size not in texels:
        for large in [key for key in texels if min(size, key) > _MANY]:
            del texels[large]
        texels[size] = texels[coarse].resized(body, size)
    return texels[size]


class BodyTexels:
    """The texels of a body and their relations; independent of photos.

    Attributes:
        fine: The surface points of the texture.
        coarse: The surface points of the reduced texture.
        faces: (F, 3) int32 tensor.
        rows: (F, 3) int64 array. The same faces.
        rest: (V, 3) float64, metres. The mean shape at rest.
        operator: The operator of the resting surface.
        around: An operator whose fields spread round trunk and limbs rather than along them.
        texels_per_metre: The mean density of the coarse texture.
        part_labels: (V,) int. The part of each vertex.
        hair: (V,) bool. The scalp.
        face: (V,) bool. The face.
        opposite_uv: (coarse, coarse, 2) float32. Texture coordinates of the point straight through the body.
        opposed: (coarse, coarse) bool. Whether there is such a point.
    """

    def __init__(self, body: Body, size: int) -> None:
        self.fine = self.coarse = TexelMap(body.uv, body.uv_faces, size)
        self.faces: Tensor = body.faces
        self.rows: NDArray[np.int64] = body.faces.cpu().numpy().astype(np.int64)
        self.rest: Array = body.template.cpu().numpy().astype(np.float64)
        self.operator = SurfaceOperator(self.rest, self.rows)
        self.around = self.operator.around(_limb_axes(body.part_labels.cpu().numpy()), _ALONG)
        self.texels_per_metre = float(np.sqrt(self.coarse.covered.sum() / self.operator.areas.sum()))
        self.part_labels = body.part_labels.cpu().numpy()
        self.hair, self.face = scalp_and_face(body)
        self._mirror = self._mirror_maps(body)
        self.opposite_uv, self.opposed = _opposite(body, self.coarse)

    def resized(self, body: Body, size: int) -> BodyTexels:
        """Return texels with another fine texture and the same coarse one."""
        texels = copy(self)
        texels.fine = TexelMap(body.uv, body.uv_faces, size)
        texels._mirror = texels._mirror_maps(body)
        return texels

    def _mirror_maps(self, body: Body) -> tuple[Array, Array]:
        corners, pairs = mirror_uv_corners(
            self.rows,
            body.uv.cpu().numpy(),
            body.uv_faces.cpu().numpy().astype(np.int64),
            body.mirror_vertices.cpu().numpy(),
        )
        # Without a partner: look outside the texture, where nothing is.
        corners[~pairs] = -1
        corner_faces = torch.arange(corners.shape[0] * 3, dtype=torch.int32, device=self.faces.device).reshape(-1, 3)
        uv = self.fine.interpolate(corners.reshape(-1, 2), corner_faces)
        maps = np.empty(uv.shape[:2], np.float32), np.empty(uv.shape[:2], np.float32)

        def split(rows: slice) -> None:
            for axis, coordinates in enumerate(maps):
                texels = uv[rows, :, axis] * np.float32(self.fine.size) - np.float32(0.5)
                coordinates[rows] = np.where(self.fine.covered[rows], texels, np.float32(-10))

        in_blocks(split, uv.shape)
        return maps

    def mirror(self, image: Array) -> Array:
        """Replace each texel of a fine texture (size, size, C) by its mirror image; 0 without one."""
        return cv2.remap(image, *self._mirror, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)

    def opposite(self, image: Array) -> Array:
        """Replace each texel of a coarse texture by the point straight through the body; 0 without one."""
        size = self.coarse.size
        x, y = (self.opposite_uv[..., k].ravel() * np.float32(size) for k in (0, 1))
        result = sample_at(image, x, y).reshape(image.shape) * self.opposed[..., None]
        # The way through the body ends in jagged borders. Islands' own borders stay full: seams must not show.
        inside = self.coarse.covered.astype(np.float32)
        inside /= np.maximum(cv2.GaussianBlur(inside, (0, 0), _SOFT_BORDER), np.float32(0.05))
        return cv2.GaussianBlur(result, (0, 0), _SOFT_BORDER) * inside[..., None]

    def opposite_detail(self, image: Array) -> Array:
        """Do the same in a fine texture, as sharp as it is, with gaps at seams."""
        size, around = self.fine.size, np.ones((3, 3), np.uint8)
        jump = cv2.morphologyEx(self.opposite_uv, cv2.MORPH_GRADIENT, around).max(2)
        within = cv2.erode((self.opposed & (jump < _JUMP)).astype(np.float32), around)
        uv, weight = (cv2.resize(each, (size, size)) for each in (cv2.blur(self.opposite_uv, (3, 3)), within))
        x, y = cv2.split(uv * np.float32(size) - np.float32(0.5))
        return cv2.remap(image, x, y, cv2.INTER_LINEAR) * weight[..., None]

    def reduce(self, image: Array) -> Array:
        """Average a fine texture to the coarse size."""
        size = self.coarse.size
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).reshape(size, size, *image.shape[2:])

    def enlarge(self, image: Array) -> Array:
        """Enlarge a coarse texture, whose islands are bled, to the fine size."""
        size = self.fine.size
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR).reshape(size, size, *image.shape[2:])


def _limb_axes(part_labels: NDArray[np.integer]) -> Array:
    """Return the axes (V, 3) of trunk, legs and arms of a resting body; 0 on head, neck, hands and feet."""
    groups = limb_groups()[part_labels]
    # Arms are stretched sideways at rest. Clothes on head, neck, hands and feet may end anywhere.
    axes = np.eye(3)[np.where((groups == 1) | (groups == 2), 0, 1)]
    return axes * (flat_parts(part_labels) | parts_mask(part_labels, FEET))[:, None]


def _opposite(body: Body, texels: TexelMap) -> tuple[Array, Mask]:
    """Return, for each texel of trunk and limbs, the uv of the point straight through the body, and its validity."""
    vertices = body.template
    labels = body.part_labels.cpu().numpy()
    first = body.faces[:, 0].long().cpu().numpy()
    flat = flat_parts(labels)[first]
    group = limb_groups()[labels[first]]
    height = float(vertices[:, 1].max() - vertices[:, 1].min())
    middle = (vertices.amax(0) + vertices.amin(0)) / 2
    focal = _FAR * _IMAGE / (1.1 * height)
    view = Camera.of_image((_IMAGE, _IMAGE), focal)
    points = torch.cat((vertices - middle, vertex_normals(vertices, body.faces)), 1)
    position = texels.interpolate(points.cpu().numpy(), body.faces)
    uv = np.zeros((texels.size, texels.size, 2), np.float32)
    valid = np.zeros((texels.size, texels.size), bool)
    on_limbs = texels.covered & flat[np.maximum(texels.face, 0)]
    for side in (1.0, -1.0):  # from the front, from the back
        turn = vertices.new_tensor([-side, -1.0, -side])
        opposite_vertices = (vertices - middle) * turn + vertices.new_tensor([0.0, 0.0, _FAR])
        raster = rasterise_view(opposite_vertices[None], body.faces, view)
        image_uv = interpolate(raster, body.uv_faces, body.uv[None])[0].cpu().numpy()
        face = raster.face[0].cpu().numpy()
        rows = np.nonzero(on_limbs & (position[..., 5] * side < 0))
        x = _IMAGE / 2 - side * position[rows][:, 0] * focal / _FAR
        y = _IMAGE / 2 - position[rows][:, 1] * focal / _FAR
        x, y = (np.clip(values, 0, _IMAGE - 1).astype(int) for values in (x, y))
        hit_face = face[y, x]
        partner = np.maximum(hit_face, 0)
        uv[rows] = image_uv[y, x]
        valid[rows] = (hit_face >= 0) & flat[partner] & (group[partner] == group[texels.face[rows]])
    return uv, valid
