"""Cloth and hair beside the body, without skirts: a sheet that moves with the body.

A body that is widened to its silhouette has no open jacket, nor hair that falls beside the neck. The pixels of the
mask that the body leaves open become a triangle mesh of their own at the depth of the surface around them. Its points
move with bones by linear blend skinning; their weights are those of the surface, spread over the sheet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from humanpose_cli.avatar.colours import SAME_CLOTH, cloth_features, like_colour, skin_hued
from humanpose_cli.avatar.dressing import DressedBody
from humanpose_cli.avatar.surface import limb_groups
from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.body.texture import fill_smoothly, look_up
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.engine.rasterising.op import interpolate
from humanpose_cli.rendering.boxes import Box, body_box
from humanpose_cli.rendering.shading import rasterise_view

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_SHEET_HEIGHT = 256  # maximum number of cells along the person's height
_MIN_WIDTH = 3  # cells: minimum width of cloth: narrower pieces are errors of the mask
_OVERLAP = 4  # cells: width of the sheet's edge under the body
_EDGE_WIDTH = 1.5  # cells: width of the mask's border that mixes with the background
_MIN_AREA = 0.003  # minimum share of the person's area
_MAX_DISTANCE = 0.16  # metres: maximum distance from the body
_TUCK = 0.012  # metres: depth of the sheet behind the surface where it reaches under it
_MAX_ARM_SHARE = 0.1  # maximum share of an arm's bones: sleeves belong to the body
_SURROUNDINGS = 4  # cells: width of what is compared around a piece
_MIN_NEARER = 0.1  # how much nearer the background's colour is than the body's
_MIN_VOLUME = 0.75  # minimum volume of a blended bone's unit cube: others do not invert


class PhotoCrop(NamedTuple):
    """The part of a photo around one person.

    Attributes:
        pixels: (h, w, 3) uint8; view: its camera; box: its position in the photo.
        mask: (h, w) 0…1 the person; others (h, w) bool another person.
    """

    pixels: NDArray[np.uint8]
    view: Camera
    box: Box
    mask: Array
    others: Mask

    def without(self, pixels: Mask) -> PhotoCrop:
        """Exclude pixels (h, w) that do not show the person."""
        return self._replace(mask=np.where(pixels, np.float32(0), self.mask))


def crop_photo(
    photo: NDArray[np.uint8], view: Camera, mask: Array, others: NDArray[np.floating], vertices: Tensor
) -> PhotoCrop:
    """Cut out the person: mask (H, W) 0…1, others (H, W) 0…1 all other people, vertices (V, 3) of the fitted body."""
    box = body_box(vertices, view)
    ys, xs = np.nonzero(mask >= 0.5)
    if len(ys):
        mask_box = Box(int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        box = mask_box if box.empty else box.union(mask_box)
    margin = 8 + max(box.shape) // 20
    box = Box(box.x0 - margin, box.y0 - margin, box.x1 + margin, box.y1 + margin).intersect(Box.of_image(view))
    part, rest = mask[box.slices], others[box.slices]
    return PhotoCrop(
        np.ascontiguousarray(photo[box.slices]),
        view.part(box),
        box,
        np.where(rest > part, 0, part).astype(np.float32),
        (rest >= 0.5) & (rest > part),
    )


@dataclass(frozen=True, eq=False)
class LooseCloth:
    """A sheet beside the body.

    Attributes:
        rest: (N, 3) metres, before posing; weights (N, 24) of the bones.
        faces: (M, 3) int32.
        uv: (N, 2) in 0…1, v down, of the image it is coloured by.
        image: (h, w, 3) float32 in 0…1.
        beneath: (N,) vertices of the resting body that are nearest to the points.
    """

    rest: Tensor
    weights: Tensor
    faces: Tensor
    uv: Tensor
    image: NDArray[np.float32]
    beneath: Tensor

    def pose(self, posed_body: PosedBody) -> Tensor:
        """Compute vertices (N, 3) metres with the bones of one posed body."""
        turn, shift = _blended(posed_body, self.weights)
        return (turn @ self.rest[..., None])[..., 0] + shift

    def shift(self, offsets: Tensor, body: Body) -> Tensor:
        """Return how far (N, 3) metres the points move with the body's vertices (V, 3)."""
        return offsets[self.beneath]


def _blended(posed_body: PosedBody, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Blend bones for linear skinning of rest positions: matrices (N, 3, 3) and shifts (N, 3)."""
    linear = posed_body.linear[0]
    offset = posed_body.joints[0] - (linear @ posed_body.rest_joints[0][..., None])[..., 0]
    return torch.einsum("nb,bij->nij", weights, linear), weights @ offset


def loose_cloth(
    dressed: DressedBody,
    rotations: Tensor,
    trans: Tensor,
    vertices: Tensor,
    crop: PhotoCrop,
    tone: Array | None,
) -> LooseCloth | None:
    """Make the sheet beside a body; None if the body covers the mask.

    Args:
        rotations, trans: Of the dressed body in the photo.
        vertices: (V, 3) metres, camera axes: its surface as it lies over the photo.
        tone: (3,) of skin; None where it is not known.
    """
    body, mask, view = dressed.body, crop.mask, crop.view
    rows = np.flatnonzero((mask >= 0.5).any(1))
    if not len(rows):
        return None
    small = view.scaled(min(1.0, _SHEET_HEIGHT / (rows[-1] + 1 - rows[0])))
    raster = rasterise_view(vertices[None], body.faces, small)
    coverage = raster.face[0].cpu().numpy() >= 0
    if not coverage.any():
        return None
    person = cv2.resize(mask, small.size, interpolation=cv2.INTER_AREA)
    free = cv2.resize(crop.others.astype(np.uint8), small.size, interpolation=cv2.INTER_NEAREST) == 0
    # The surface's bone weights, depth and shift from the pose, spread from the body over the pixels beside it.
    dense = torch.zeros(len(vertices), len(SMPL24), device=vertices.device)
    dense.scatter_add_(1, body.bone_indices.long(), body.bone_weights)
    values = torch.cat((dense, vertices[:, 2:], vertices - dressed.pose(rotations, trans)), 1)
    around = interpolate(raster, body.faces, values[None].contiguous())[0].cpu().numpy()
    on_body = coverage.astype(np.float32)
    around = np.concatenate([fill_smoothly(some, on_body) for some in np.split(around, 7, axis=2)], 2)
    weights, depth, shifts = np.split(around, [len(SMPL24), len(SMPL24) + 1], axis=2)
    metres = float(np.median(depth[coverage])) / small.focal
    loose = _loose_pixels((person >= 0.5) & free, coverage, weights, metres)
    if loose is not None:
        shrunken = cv2.resize(crop.pixels, small.size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        hair = weights[..., SMPL24.indices(("neck", "head"))].sum(-1) > 0.5
        loose = _cloth_and_hair(loose, _Surroundings(shrunken, person >= 0.5, coverage, hair, tone))
    if loose is None:
        return None
    overlap_mask = cv2.dilate(loose.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=_OVERLAP) > 0
    x, y, faces = pixel_mesh(loose | (overlap_mask & coverage), person)
    # The sheet's points before the camera, less the shift.
    bones, z, shifts = (look_up(np.ascontiguousarray(layer), x - 0.5, y - 0.5) for layer in (weights, depth, shifts))
    z = z[:, 0] + _TUCK
    centre = np.asarray(small.principal_point)
    points = np.stack(((x - centre[0]) * z / small.focal, (y - centre[1]) * z / small.focal, z), 1) - shifts
    # Back into the rest pose, by bones of trunk and legs.
    bones = bones * ~np.isin(limb_groups(), (1, 2))
    share = torch.from_numpy(bones / np.maximum(bones.sum(1, keepdims=True), 1e-6)).to(vertices)
    turn, shift = _blended(dressed.posed(rotations, trans), share)
    degenerate = torch.linalg.det(turn) < _MIN_VOLUME
    turn[degenerate] = torch.eye(3).to(turn)
    faces = faces[~degenerate.cpu().numpy()[faces].any(1)]
    rest = torch.linalg.solve(turn, (torch.from_numpy(points).to(vertices) - shift)[..., None])[..., 0]
    uv = np.stack((x / small.size[0], y / small.size[1]), 1)
    return LooseCloth(
        rest,
        share,
        torch.from_numpy(faces).to(body.faces),
        torch.from_numpy(uv).to(vertices),
        _clean(crop.pixels, mask, _EDGE_WIDTH / small.size[0] * view.size[0]),
        torch.from_numpy(KDTree(dressed.rest().cpu().numpy()).query(rest.cpu().numpy())[1]).to(rest.device),
    )


def _loose_pixels(person: Mask, covered: Mask, weights: Array, metres: float) -> Mask | None:
    """Select the person's pixels that the body leaves open, without slivers and webs between limbs; None for none.

    Args:
        weights: (h, w, 24) of the bones of the surface nearby; metres  that a pixel measures.
    """
    groups = limb_groups()
    shares = np.stack([weights[..., groups == group].sum(-1) for group in range(5)], -1)
    arm_share, legs = shares[..., 1] + shares[..., 2], shares[..., 3:]
    loose = person & ~covered & (arm_share < _MAX_ARM_SHARE)
    away = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 5) * metres
    loose &= away <= _MAX_DISTANCE
    loose &= ~_leg_gap(covered, legs)
    # No slivers and no small pieces: those are errors of the mask.
    width = _MIN_WIDTH
    wide = cv2.morphologyEx(loose.astype(np.uint8), cv2.MORPH_OPEN, np.ones((width, width), np.uint8))
    loose &= cv2.dilate(wide, np.ones((2 * width + 1, 2 * width + 1), np.uint8)) > 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(loose.astype(np.uint8))
    large = stats[:, cv2.CC_STAT_AREA] >= _MIN_AREA * person.sum()
    large[0] = False
    return large[labels] if count > 1 and large.any() else None


class _Surroundings(NamedTuple):
    """Colours that distinguish cloth from other things beside a body.

    Attributes:
        colours: (h, w, 3) 0…1; person, covered (h, w): pixels of the person, and of the body.
        hair: (h, w): pixels beside head and neck; tone (3,) of skin, or None.
    """

    colours: Array
    person: Mask
    covered: Mask
    hair: Mask
    tone: Array | None

    def like_skin(self, piece: Mask) -> bool:
        """Return whether a piece is skin: an arm that lies beside that of the fit, or a hand."""
        if self.tone is None or self.hair[piece].mean() > 0.5:
            return False
        colours = self.colours[piece]
        return bool((like_colour(colours, self.tone) & skin_hued(colours)).mean() > 0.5)

    def like_background(self, piece: Mask) -> bool:
        """Return whether a piece has the colour of the surroundings rather than that of the body beside it."""
        width = 2 * _SURROUNDINGS + 1
        near = cv2.dilate(piece.astype(np.uint8), np.ones((width, width), np.uint8)) > 0
        outside, inside = near & ~self.person, near & self.person & self.covered
        if min(outside.sum(), inside.sum()) < _SURROUNDINGS**2:
            return False
        mine, theirs, body = (
            np.median(cloth_features(self.colours[some]), axis=0) for some in (piece, outside, inside)
        )
        away = float(np.linalg.norm(mine - theirs))
        return away < SAME_CLOTH and float(np.linalg.norm(mine - body)) - away > _MIN_NEARER


def _cloth_and_hair(loose: Mask, around: _Surroundings) -> Mask | None:
    """Keep the pieces (h, w) that are neither skin nor the background; None for none."""
    count, labels = cv2.connectedComponents(loose.astype(np.uint8))
    pieces = [labels == number for number in range(1, count)]
    cloth = [piece for piece in pieces if not (around.like_skin(piece) or around.like_background(piece))]
    return np.logical_or.reduce(cloth) if cloth else None


def _leg_gap(covered: Mask, legs: Array) -> Mask:
    """Select the open pixels between one leg and the other, row by row; legs (h, w, 2): share of each one's bones."""
    gap = np.zeros(covered.shape, bool)
    left, right = (covered & (legs[..., side] > 0.5) for side in (0, 1))
    for row in np.flatnonzero(left.any(1) & right.any(1)):
        a, b = sorted((np.flatnonzero(leg[row]) for leg in (left, right)), key=np.mean)
        gap[row, a[-1] + 1 : b[0]] = True
    return gap & ~covered


def pixel_mesh(region: Mask, person: Array) -> tuple[Array, Array, NDArray[np.int32]]:
    """Triangulate a region: x, y (N,) in pixels and triangles (M, 3); its border is moved onto the mask's edge."""
    height, width = region.shape
    corner = np.zeros((height + 1, width + 1), bool)
    for dy in (0, 1):
        for dx in (0, 1):
            corner[dy : height + dy, dx : width + dx] |= region
    number = np.full(corner.shape, -1, np.int64)
    number[corner] = np.arange(corner.sum())
    rows, columns = np.nonzero(region)
    a, b = number[rows, columns], number[rows, columns + 1]
    c, d = number[rows + 1, columns], number[rows + 1, columns + 1]
    faces = np.concatenate((np.stack((a, c, b), 1), np.stack((b, c, d), 1))).astype(np.int32)
    ys, xs = (values.astype(np.float64) for values in np.nonzero(corner))
    # Border points lie between pixels: they are moved to where the soft mask is one half.
    smooth = cv2.GaussianBlur(person.astype(np.float32), (0, 0), 1.0)
    gx, gy = (cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (1, 0))
    value, slope_x, slope_y = (look_up(m, xs - 0.5, ys - 0.5) for m in (smooth, gx, gy))
    steep = np.maximum(slope_x**2 + slope_y**2, 1e-4)
    step = np.clip((0.5 - value) / steep, -8, 8)
    near = np.abs(value - 0.5) < 0.35
    move_x, move_y = (np.where(near, np.clip(step * s, -0.8, 0.8), 0) for s in (slope_x, slope_y))
    return xs + move_x, ys + move_y, faces


def _clean(pixels: NDArray[np.uint8], mask: Array, edge: float) -> NDArray[np.float32]:
    """Fill the photo's pixels (h, w, 3) in 0…1 beyond the mask, and near its edge, with the person's colours."""
    inside = cv2.distanceTransform((mask >= 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    weight = np.clip(inside / max(edge, 1.0) - 0.5, 0, 1)
    return fill_smoothly(pixels.astype(np.float32) / np.float32(255), weight.astype(np.float32))
