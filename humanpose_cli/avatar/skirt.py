"""Skirts, dresses and long coats: a tube of cloth round both legs, with a shape of its own in every pose.

A ring of the tube goes round the two points at one distance along both legs. In a direction n of the ring's plane, the
ring reaches the smooth maximum of n · c over both legs' points c, and beyond it by the reach of this ring and
direction: the convex outline of the body at rest, and the distance at which the cloth stands off in the photograph.
Therefore the rings enclose both legs in any pose, as a hanging skirt does, and the cloth between the legs follows both.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn.functional import normalize

from humanpose_cli.avatar.colours import SAME_CLOTH, cloth_features
from humanpose_cli.avatar.dressing import DressedBody
from humanpose_cli.avatar.photo_crop import PhotoCrop
from humanpose_cli.avatar.surface import limb_groups
from humanpose_cli.body.body import PosedBody
from humanpose_cli.body.texture import fill_smoothly, look_up
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import rotation_between
from humanpose_cli.rendering.shading import rasterise_view

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_SPACING = 0.02  # metres: distance of rings along the legs
_AROUND = 96  # points of a ring
_ABOVE_HIPS = 0.08  # metres: length above the hip joints
_EASE = 0.006  # metres: distance from the body
_MIN_STAND_OFF = 0.25  # share of its distance from the body that cloth keeps on horizontal legs
_MAX_SLANT = 0.6  # cosine of the largest angle of a leg to a ring whose width counts
_SHARPNESS = 0.03  # metres: distance over which a ring goes from one leg to the other
_MIN_LENGTH = 0.22  # metres: minimum length of what only a skirt can be
_SHORT = (0.18, 0.32)  # metres: shortest and longest skirt that its hem alone shows
_COMPARED_SHORT = 0.06  # metres: length above and below its hem whose colours are compared
_MAX_APART = 40.0  # degrees: maximum angle between the thighs of such a skirt, and of its turn from the camera
_CREASE = 0.08  # darkness between the legs that shorts have and no skirt
_MAX_HOLES = 0.08  # maximum share of the line from leg to leg that is background
_MIN_GAP = 0.05  # metres: distance of the legs from which cloth between them is a skirt, not two loose trouser legs
_LOOSE_WIDTH = 0.45  # width that only a skirt has beyond the legs, in widths of these
_MIN_LOOSE_WIDTH = 0.12  # metres: minimum of that width
_NARROWER = 0.8  # width below a hem, in widths of the cloth above it
_COMPARED = 0.12  # metres: length above and below the hem whose colours are compared
_SAME_BELOW = 0.4  # share of the legs below in the cloth's colour above which it is no hem
_MAX_WIDTH = 0.8  # metres: maximum distance of an edge from the legs
_EDGE_WIDTH = 0.016  # width of the mask's edge without trust, in heights of the person
_UNEVEN_HEM = 0.35  # share of the length, from the hem up, that may show legs and shoes

_LEG = tuple(SMPL24.indices([f"{side}_{joint}" for side in ("left", "right")]) for joint in ("hip", "knee", "ankle"))
_PELVIS = SMPL24.index("pelvis")
_EMPTY = np.zeros((1, 1, 3), np.float32)


@dataclass(frozen=True, eq=False)
class SkirtTube:
    """A tube of R rings of A + 1 points, of which the last equals the first.

    Attributes:
        levels: (R,) float, metres. The distances along the legs from the hip joints, negative above them.
        reach: (R, A) float, metres. The distances from both legs' axes, by direction from the body's left over its
            front.
        body_reach: (R, A) float, metres. The same for the cloth on the body, where it lies if the legs are horizontal.
        image: (h, w, 3) float32, 0…1. Rows along the legs, columns around them.
        pixels: (h, w) bool. The skirt's pixels in the crop of the photo.
    """

    levels: Tensor
    reach: Tensor
    body_reach: Tensor
    image: NDArray[np.float32]
    pixels: Mask

    @property
    def faces(self) -> Tensor:
        """The triangles (M, 3) int32."""
        rings = len(self.reach)
        around = self.reach.shape[1] + 1
        first = torch.arange(rings - 1)[:, None] * around + torch.arange(around - 1)
        a, b, c, d = (first + step for step in (0, 1, around, around + 1))
        faces = torch.stack((torch.stack((a, c, b), -1), torch.stack((b, c, d), -1)), 2)
        return faces.reshape(-1, 3).to(self.reach.device, torch.int32)

    @property
    def uv(self) -> Tensor:
        """The texture coordinates (N, 2) in 0…1, v down."""
        rings = len(self.reach)
        around = self.reach.shape[1] + 1
        down, along = torch.meshgrid(torch.linspace(0, 1, rings), torch.linspace(0, 1, around), indexing="ij")
        return torch.stack((along, down), -1).reshape(-1, 2).to(self.reach)

    def pose(self, pose: PosedBody) -> Tensor:
        """Return the vertices (N, 3), metres, of the tube on a posed body."""
        return self.rings(pose).reshape(-1, 3)

    def shift(self, offsets: Tensor) -> Tensor:
        """Return the movement (3,), metres, of the tube with the body's vertices (V, 3)."""
        return offsets.mean(0)

    def rings(self, pose: PosedBody) -> Tensor:
        """Return the points (R, A + 1, 3), metres, of the tube on a posed body."""
        centres, directions = _frames(pose, self.levels, self.reach.shape[1])
        # Legs that cross a ring's plane aslant are wider there. Cloth stands off from legs that hang, and lies on those
        # of a sitting person.
        down = torch.linalg.cross(directions[:, 0], directions[:, self.reach.shape[1] // 4])
        legs = normalize(torch.gradient(centres, dim=0)[0], dim=2)
        slant = torch.einsum("rci,ri->rc", legs, down).amin(1).clamp(_MAX_SLANT, 1)
        hang = (-1.5 * down @ pose.rotations[0, _PELVIS, :, 1]).clamp(_MIN_STAND_OFF, 1)
        reach = self.body_reach / slant[:, None] + (self.reach - self.body_reach) * hang[:, None]
        points = _outline(centres, directions, reach)
        return torch.cat((points, points[:, :1]), 1)


def _frames(pose: PosedBody, levels: Tensor, around: int) -> tuple[Tensor, Tensor]:
    """Return both legs' points (R, 2, 3) at the levels, and unit vectors (R, A, 3) of the rings' planes."""
    joints = pose.joints[0]
    turn = pose.rotations[0, _PELVIS]
    up = turn[:, 1]
    hips, knees, ankles = (joints[list(rows)] for rows in _LEG)
    thigh = normalize(knees - hips, dim=1)
    shank = normalize(ankles - knees, dim=1)
    length = (knees - hips).norm(dim=1)
    along = levels[:, None, None]
    above = along.clamp(max=0)
    upper = along.clamp(min=0)
    lower = (along - length[:, None]).clamp(min=0)
    centres = hips - above * up + torch.minimum(upper, length[:, None].expand_as(lower)) * thigh + lower * shank
    # At a bent knee, planes turn over the width of a thigh.
    at_knee = torch.sigmoid((levels[:, None, None] - length[:, None]) / 0.05)
    at_hip = torch.sigmoid(levels[:, None, None] / 0.05)
    tangent = normalize(((1 - at_hip) * -up + at_hip * ((1 - at_knee) * thigh + at_knee * shank)).mean(1), dim=1)
    turns = rotation_between(-up.expand_as(tangent), tangent)
    angles = torch.arange(around).to(levels) * (2 * torch.pi / around)
    flat = torch.cos(angles)[:, None] * turn[:, 0] + torch.sin(angles)[:, None] * turn[:, 2]
    return centres, torch.einsum("rij,aj->rai", turns, flat)


def _outline(centres: Tensor, directions: Tensor, reach: Tensor) -> Tensor:
    """Return points (R, A, 3) of rings round centres (R, 2, 3), `reach` (R, A) out in each direction."""
    along = torch.einsum("rai,rci->rac", directions, centres)
    weights = torch.softmax(along / _SHARPNESS, 2)
    furthest = _SHARPNESS * torch.logsumexp(along / _SHARPNESS, 2)
    middle = torch.einsum("rac,rci->rai", weights, centres)
    beyond = furthest - (directions * middle).sum(2) + reach
    return middle + beyond[..., None] * directions


@dataclass(frozen=True, eq=False)
class SkirtRegion:
    """The part of a photo that shows a skirt.

    Attributes:
        pixels: (h, w) bool. The person's pixels between crotch and hem, in the crop.
        levels: (L,) float, metres. Distances along the legs from the hip joints to the hem.
        edges: (L, 2) float, metres. The cloth's left and right edge from the middle of both legs; NaN if unknown.
        lateral: (L, 3) float, unit vectors in camera axes. From the left to the right edge.
    """

    pixels: Mask
    levels: Tensor
    edges: Array
    lateral: Array


@dataclass(frozen=True, eq=False)
class SkirtPhoto:
    """A body and its photo, in which a skirt is found, and which gives the tube its colours.

    Attributes:
        dressed: The body.
        posed: The body in the photo's pose, without clothes.
        vertices: (V, 3) float, metres in camera axes. The surface aligned with the photo.
        crop: The photo.
    """

    dressed: DressedBody
    posed: PosedBody
    vertices: Tensor
    crop: PhotoCrop

    @cached_property
    def groups(self) -> NDArray[np.integer]:
        """The limb (V,) of each vertex, as `limb_groups` numbers them."""
        return np.asarray(limb_groups()[self.dressed.body.part_labels.cpu().numpy()])

    @cached_property
    def offset(self) -> Tensor:
        """The mean distance (3,), metres, from the posed legs to the aligned ones in the image plane."""
        assert self.posed.vertices is not None
        legs = torch.from_numpy(np.flatnonzero(self.groups >= 3)).to(self.vertices.device)
        offsets = (self.vertices[legs] - self.posed.vertices[0][legs]).median(0).values
        return offsets * self.vertices.new_tensor([1.0, 1.0, 0.0])

    def region(self, reliable: Mask) -> SkirtRegion | None:
        """Find the skirt.

        From crotch to hem, cloth fills the space between the legs, or is much wider than both. Below the hem, the legs
        have another colour, unlike wide trousers. A short skirt has its hem at one height on both legs, and, unlike
        shorts, no crease and no gap between them above it.

        Args:
            reliable: (V,) bool. The vertices of known position.

        Returns:
            The skirt; None for trousers, bare legs, and hidden legs.
        """
        crop = self.crop
        groups = self.groups
        pose = self.posed
        body = self.dressed.body
        view = crop.view
        vertices = self.vertices
        if not all((reliable & (groups == leg)).any() for leg in (3, 4)) or not (crop.mask >= 0.5).any():
            return None
        raster = rasterise_view(vertices[None], body.faces, view)
        face = raster.face[0].cpu().numpy()
        group = np.where(face >= 0, groups[body.faces[:, 0].long().cpu().numpy()][np.maximum(face, 0)], -1)
        length = float((pose.joints[0][_LEG[2]] - pose.joints[0][_LEG[0]]).norm(dim=1).mean())
        levels = torch.arange(_SPACING, length, _SPACING).to(vertices)
        middle = (_frames(pose, levels, 4)[0].mean(1) + self.offset).cpu().numpy()
        # Lines across the legs, perpendicular to them in the image: (L, T) samples.
        pixels = view.project(middle)
        step = _SPACING / 4
        down = np.gradient(pixels, axis=0)
        across = np.stack((down[:, 1], -down[:, 0]), 1)
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
        across *= np.sign(across[:, :1] + 1e-12)
        reach = np.arange(-_MAX_WIDTH, _MAX_WIDTH + step, step)
        scale = view.focal / middle[:, 2]
        points = pixels[:, None] + (reach[None, :, None] * scale[:, None, None]) * across[:, None]
        inside = ((points >= 0) & (points < view.size)).all(-1)
        columns, rows = (np.clip(np.nan_to_num(points[..., c]), 0, view.size[c] - 1).astype(int) for c in (0, 1))
        arms = np.isin(group, (1, 2))[rows, columns]
        person = (crop.mask[rows, columns] >= 0.5) & inside & ~arms
        unknown = ~inside | arms | crop.others[rows, columns]
        leg = (group[rows, columns] >= 3) & inside
        signs = np.zeros(len(levels), int)
        edges = np.full((len(levels), 2), np.nan)
        for row in range(len(levels)):
            signs[row], edges[row] = _row_of_skirt(person[row], unknown[row], leg[row], reach)
        samples = crop.pixels[rows, columns]
        hem = _hem(signs, np.diff(edges, axis=1)[:, 0])
        if hem is None or self._continues(samples, person & leg, hem):
            hem = _short_hem(samples, person, leg, signs) if self._legs_side_by_side() else None
        if hem is None:
            return None
        metres = _edges(edges[:hem])
        outline = (pixels[:hem] + across[:hem] * (metres[:, side] * scale[:hem])[:, None] for side in (0, 1))
        corners = np.concatenate([points[::side] for points, side in zip(outline, (1, -1), strict=True)])
        region = np.zeros(crop.mask.shape, np.uint8)
        cv2.fillPoly(region, [np.rint(corners).astype(np.int32)], 1)
        lateral = np.concatenate((across, np.zeros((len(across), 1))), 1)
        return SkirtRegion((region > 0) & (crop.mask >= 0.5), levels[:hem], edges[:hem], lateral[:hem])

    def _legs_side_by_side(self) -> bool:
        """Return whether the thighs are about parallel, and neither is in front of the other."""
        left, right = self.posed.joints[0][list(_LEG[1])] - self.posed.joints[0][list(_LEG[0])]
        parallel = torch.cosine_similarity(left, right, dim=0)
        across = self.posed.rotations[0, _PELVIS, :2, 0].norm()
        return min(float(parallel), float(across)) > math.cos(math.radians(_MAX_APART))

    def _continues(self, pixels: NDArray[np.uint8], legs: Mask, hem: int) -> bool:
        """Return whether the legs (L, T) also have the cloth's colour below the hem."""
        reach = round(_COMPARED / _SPACING)
        above = slice(max(hem - 1 - reach, 0), max(hem - 1, 1))
        below = slice(hem + 2, hem + 2 + reach)
        if legs[below].any(1).sum() < reach // 2 or not legs[above].any():
            return False
        colours = [cloth_features(pixels[part][legs[part]] / 255) for part in (above, below)]
        usual = np.median(colours[0], axis=0)
        return bool((np.linalg.norm(colours[1] - usual, axis=1) < SAME_CLOTH).mean() > _SAME_BELOW)

    def tube(self, region: SkirtRegion) -> SkirtTube:
        """Make the tube of a skirt."""
        pose = self.posed
        vertices = self.vertices
        hem = float(region.levels[-1])
        count = max(4, round((hem + _ABOVE_HIPS) / _SPACING) + 1)
        levels = torch.linspace(-_ABOVE_HIPS, hem, count).to(vertices)
        reach = self._reach_of_body(levels)
        first = torch.from_numpy(reach.astype(np.float32)).to(vertices)
        skirt = SkirtTube(levels, first, first, _EMPTY, region.pixels)
        rows = np.clip(np.searchsorted(region.levels.cpu().numpy(), levels.cpu().numpy()), 0, len(region.levels) - 1)
        edges = _edges(region.edges)
        # Where arms hide the upper edges, the tube widens from the body to the first edge that is visible.
        visible = np.flatnonzero(np.isfinite(region.edges).any(1))
        widest = max(_ABOVE_HIPS, float(region.levels[visible[0]]) if len(visible) else 0.0)
        fade = np.clip((levels.cpu().numpy() + _ABOVE_HIPS) / (widest + _ABOVE_HIPS), 0, 1)
        lateral = torch.from_numpy(region.lateral[rows].astype(np.float32)).to(vertices)
        for _ in range(2):
            centres, directions = _frames(pose, levels, _AROUND)
            along = torch.einsum("rai,ri->ra", directions, lateral).cpu().numpy()
            sides = torch.einsum("rai,ri->ra", skirt.rings(pose) - centres.mean(1)[:, None], lateral).cpu().numpy()
            extra = np.zeros_like(reach)
            depth = np.zeros(len(levels))
            for side, sign, extent in ((0, -1.0, -sides.min(1)), (1, 1.0, sides.max(1))):
                goal = sign * edges[rows, side]
                missing = gaussian_filter1d(np.clip(goal - extent, 0, _MAX_WIDTH), 1.5, mode="nearest") * fade
                extra += np.clip(sign * along, 0, 1) ** 2 * missing[:, None]
                depth += missing / 2
            reach = reach + extra + (1 - along**2) * depth[:, None]
            skirt = replace(skirt, reach=torch.from_numpy(reach.astype(np.float32)).to(vertices))
        return replace(skirt, image=self._image(skirt, region))

    def _reach_of_body(self, levels: Tensor) -> Array:
        """Return the reach (R, A), metres, of the resting body beyond its legs' axes."""
        figure = self.dressed
        eye = torch.eye(3).repeat(len(SMPL24), 1, 1).to(levels)
        pose = figure.posed(eye, torch.zeros(3).to(levels))
        points = figure.pose(eye, torch.zeros(3).to(levels))
        centres, directions = _frames(pose, levels, _AROUND)
        along = torch.einsum("rai,rci->rac", directions, centres)
        furthest = _SHARPNESS * torch.logsumexp(along / _SHARPNESS, 2)
        height = centres[..., 1].mean(1).cpu().numpy()
        body = points[torch.from_numpy(np.isin(self.groups, (0, 3, 4))).to(points.device)]
        y = body[:, 1].cpu().numpy()
        reach = np.zeros((len(levels), _AROUND))
        for row in range(len(levels)):
            near = np.abs(y - height[row]) < _SPACING
            if near.any():
                support = (body[torch.from_numpy(near).to(body.device)] @ directions[row].T).amax(0)
                reach[row] = (support - furthest[row]).cpu().numpy()
            elif row:
                reach[row] = reach[row - 1]
        return np.maximum(reach, gaussian_filter1d(reach, 1.0, axis=0, mode="nearest")) + _EASE

    def _image(self, skirt: SkirtTube, region: SkirtRegion) -> NDArray[np.float32]:
        """Colour the tube (h, w, 3): its back takes the colours of the front."""
        crop = self.crop
        rings = (skirt.rings(self.posed) + self.offset).cpu().numpy()
        # As fine as the photo.
        scale = crop.view.focal / max(float(np.median(rings[..., 2])), 0.1)
        around = np.linalg.norm(np.diff(rings, axis=1), axis=2).sum(1).max()
        down = np.linalg.norm(np.diff(rings, axis=0), axis=2).sum(0).max()
        size = int(np.clip(around * scale, 32, 1536)), int(np.clip(down * scale, 16, 1024))
        x, y = ((np.arange(n) + 0.5) / n * (m - 1) for n, m in zip(size, rings.shape[1::-1], strict=True))
        map_x, map_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        grid = np.asarray(cv2.remap(rings, map_x, map_y, cv2.INTER_LINEAR))
        normals = np.cross(np.gradient(grid, axis=1), np.gradient(grid, axis=0))
        normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-9)
        middle = grid.mean(1, keepdims=True)
        normals *= np.sign((normals * (grid - middle)).sum(2, keepdims=True))
        towards = -grid / np.linalg.norm(grid, axis=2, keepdims=True)
        facing = (normals * towards).sum(2)
        pixels = crop.view.project(grid.reshape(-1, 3)) - 0.5
        colours = look_up(crop.pixels.astype(np.float32) / np.float32(255), pixels[:, 0], pixels[:, 1])
        trust = look_up(self._trust(), pixels[:, 0], pixels[:, 1], cv2.BORDER_CONSTANT)
        weight = (np.clip((facing - 0.1) / 0.2, 0, 1) * trust.reshape(facing.shape)).astype(np.float32)
        weight *= ~self._below_hem(colours.reshape(*facing.shape, 3), weight, region)
        front = np.dstack((colours.reshape(*facing.shape, 3) * weight[..., None], weight))
        # The back takes the colour of the front, at the mirror image of its angle about the x axis.
        width = facing.shape[1]
        rightmost = -np.angle(np.fft.rfft(grid[..., 0], axis=1)[:, 1].sum()) / (2 * np.pi) * width
        behind = front[:, np.rint(2 * rightmost - 1 - np.arange(width)).astype(int) % width]
        both_sides = front + (1 - front[..., 3:]) * behind
        # Gaps take colours of their own height first, as stripes go on; three times side by side, as the last column's
        # neighbour is the first.
        tiles = np.tile(both_sides, (1, 3, 1))
        rows = cv2.GaussianBlur(tiles, (0, 0), sigmaX=width / 12, sigmaY=1.5)
        share = np.minimum(20 * rows[..., 3:], 1) / np.maximum(rows[..., 3:], np.float32(1e-6))
        tiles += (1 - tiles[..., 3:]) * rows * share
        result = fill_smoothly(tiles[..., :3] / np.maximum(tiles[..., 3:], np.float32(1e-6)), tiles[..., 3])
        return np.ascontiguousarray(result[:, width : 2 * width])

    def _below_hem(self, colours: Array, weight: Array, region: SkirtRegion) -> Mask:
        """Select texels (h, w) near the hem that show legs or shoes, as a hem is not at one height all round."""
        # Their colours do not occur further up on the skirt, and are closer to the colours below it.
        crop = self.crop
        height = colours.shape[0]
        down = (np.arange(height) + 0.5) / height
        low = (down > 1 - _UNEVEN_HEM)[:, None] & (weight > 0)
        lowest = np.flatnonzero(region.pixels.any(1))[-1]
        rest = crop.mask >= 0.9
        rest[: lowest + 1] = False
        up = ((down > 0.2) & (down < 1 - _UNEVEN_HEM))[:, None] & (weight > 0.5)
        if not low.any() or rest.sum() < 16 or up.sum() < 16:
            return np.zeros(weight.shape, bool)
        samples = [
            cloth_features(values[:: max(1, len(values) // 64)]) for values in (crop.pixels[rest] / 255, colours[up])
        ]
        below, above = (
            np.linalg.norm(cloth_features(colours[low])[:, None] - sample[None], axis=2).min(1) for sample in samples
        )
        result = np.zeros(weight.shape, np.uint8)
        result[low] = (below < above) & (above > SAME_CLOTH / 2)
        return cv2.dilate(result, np.ones((5, 5), np.uint8)) > 0

    def _trust(self) -> NDArray[np.float32]:
        """Return the trust (h, w) that a pixel shows the skirt: not near the mask's edge, nor behind an arm."""
        body = self.dressed.body
        crop = self.crop
        first = self.groups[body.faces[:, 0].long().cpu().numpy()]
        face = rasterise_view(self.vertices[None], body.faces, crop.view).face[0].cpu().numpy()
        arms = (face >= 0) & np.isin(first[np.maximum(face, 0)], (1, 2))
        visible = (crop.mask >= 0.5) & ~crop.others & ~arms
        margin = max(1.5, _EDGE_WIDTH * crop.mask.shape[0])
        distance = cv2.distanceTransform(visible.astype(np.uint8), cv2.DIST_L2, 5)
        return np.clip(distance / margin - 0.5, 0, 1).astype(np.float32)


def _row_of_skirt(person: Mask, unknown: Mask, leg: Mask, reach: Array) -> tuple[int, tuple[float, float]]:
    """Classify a line (T,) across the legs: 1 only skirts, -1 no skirt, 0 either; also return the cloth's edges."""
    nothing = (np.nan, np.nan)
    on_leg = np.flatnonzero(leg)
    if not len(on_leg):
        return 0, nothing
    a = int(on_leg[0])
    b = int(on_leg[-1])
    between = slice(a, b + 1)
    if (~person[between] & ~unknown[between]).mean() > _MAX_HOLES:
        return -1, nothing
    edges = []
    ends = []
    for start, way in ((a, -1), (b, 1)):
        end = start
        while 0 <= end + way < len(reach) and person[end + way]:
            end += way
        ends.append(end)
        ends_inside = 0 <= end + way < len(reach) and not unknown[end + way]
        edges.append(float(reach[end]) if ends_inside else np.nan)
    step = float(reach[1] - reach[0])
    gap = (~leg[between] & person[between]).sum() * step
    wider = (ends[1] - ends[0] - (b - a)) * step
    loose = wider >= max(_MIN_LOOSE_WIDTH, _LOOSE_WIDTH * (b - a) * step)
    return int(gap >= _MIN_GAP or loose), (edges[0], edges[1])


def _hem(signs: NDArray[np.integer], widths: Array) -> int | None:
    """Return the number of levels of a skirt from the top; None without a skirt."""
    excluded = np.flatnonzero(signs < 0)
    levels = np.flatnonzero((signs[: excluded[0]] if len(excluded) else signs) > 0)
    if len(levels) * _SPACING < _MIN_LENGTH:
        return None
    # Below the hem the outline goes in to the legs, which may stand so close that nothing else tells them from cloth.
    first = round(_MIN_LENGTH / _SPACING)
    last = int(levels[-1]) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # widths that are all unknown
        below = [np.nanmedian(widths[level:last]) for level in range(first, last)]
        above = [np.nanmedian(widths[max(level - 5, 0) : level]) for level in range(first, last)]
    ratios = np.array(below) / np.array(above)
    if np.nanmin([*ratios, 1.0]) >= _NARROWER:
        return last
    level = int(np.nanargmin(ratios))
    return int(np.flatnonzero(widths[:last] > (above[level] + below[level]) / 2)[-1]) + 1


def _short_hem(
    pixels: NDArray[np.uint8],
    person: Mask,
    leg: Mask,
    signs: NDArray[np.integer],
) -> int | None:
    """Return the number of levels of a short skirt from the top; None without one."""
    excluded = np.flatnonzero(signs < 0)
    rows = round(_COMPARED_SHORT / _SPACING)
    first, last = (round(length / _SPACING) for length in _SHORT)
    last = min(last, int(excluded[0]) if len(excluded) else last, len(leg) - 2)
    # From the outer side of one leg to that of the other.
    span = np.maximum.accumulate(leg, 1) & np.maximum.accumulate(leg[:, ::-1], 1)[:, ::-1]
    best = _SAME_BELOW
    result = None
    for hem in range(max(first, rows), last + 1):
        above = slice(hem - rows, hem)
        below = slice(hem + 1, hem + 1 + rows)
        columns = np.flatnonzero(span[above].all(0))
        if len(columns) < 8 or person[above][:, columns].mean() < 1 - _MAX_HOLES:
            continue
        shades = pixels[above][:, columns] / 255
        left = np.arange(leg.shape[1]) < columns.mean()
        sides = [pixels[below][(person & leg)[below] & side] / 255 for side in (left, ~left)]
        alike = max(_share_like(side, shades.reshape(-1, 3)) for side in sides)
        if alike <= best and _crease(shades) < _CREASE:
            best = alike
            result = hem
    return result


def _share_like(colours: Array, references: Array) -> float:
    """Return the share of colours (N, 3) that are among references (M, 3); 1 for few colours."""
    if len(colours) < 8:
        return 1.0
    colours, references = (cloth_features(values[:: 1 + len(values) // 256]) for values in (colours, references))
    return float((np.linalg.norm(colours[:, None] - references, axis=2).min(1) < SAME_CLOTH / 2).mean())


def _crease(shades: Array) -> float:
    """Return by how much the darkest middle column (levels, N, 3) is darker than the columns beside it."""
    columns = cv2.blur(shades.mean(axis=(0, 2))[None], (3, 1))[0]
    quarter = len(columns) // 4
    sides = np.concatenate((columns[1:quarter], columns[-quarter:-1]))
    return float(sides.min() - columns[quarter:-quarter].min())


def _edges(edges: Array) -> Array:
    """Fill edges (L, 2) that are NaN: as wide as the other side, or as the levels around; 0 if none is known."""
    both = np.where(np.isfinite(edges), edges, -edges[:, ::-1])
    result = np.zeros_like(edges)
    for side in (0, 1):
        finite = np.isfinite(both[:, side])
        if finite.any():
            result[:, side] = np.interp(np.arange(len(edges)), np.flatnonzero(finite), both[finite, side])
    return result
