"""Skirts and tails of coats as meshes: a ring of cloth round both legs, as wide as the photograph shows it.

The ring goes round the convex hull of hips and legs at rest, and follows the bones of the nearest points of the body,
averaged over a little of its width: one that is averaged from leg to leg lets the thighs of a sitting person through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter
from scipy.spatial import cKDTree

from humanpose_cli.avatar.colours import PLAIN_SHARE, dominant_colour
from humanpose_cli.avatar.garment import Garment
from humanpose_cli.avatar.garment_labels import garments_mask
from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.skirt import LEG_JOINTS, SkirtPhoto, SkirtRegion, leg_points
from humanpose_cli.avatar.surface import FEET
from humanpose_cli.body.cloth import grid_faces, polar_hull
from humanpose_cli.body.cloth_surface import dense_weights, largest_weights, ramp
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.body.texture import look_up
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.rendering.shading import rasterise_view

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_ROW = 0.025  # metres: distance of the rows along the legs
_COLUMNS = 72
_ABOVE_HIPS = 0.08  # metres: length above the hip joints
_SLICE = 0.02  # metres above and below a row whose points of the body it goes round
_EASE = 0.004  # metres: distance from the body
_FALL = 0.97  # smallest radius of a row, in radii of the row above: cloth falls
_AVERAGED = 20.0  # degrees: standard deviation of the average of the body's weights round a row
_ROUNDS = 3  # of widening, each with a smaller correction
_MAX_WIDER = 0.4  # metres: maximum that a side stands off the body
_ARM_OR_BAG = 0.03  # metres that one side may stand off further than cloth does: more is an arm or a bag
_LEANING = 3.0  # stand-offs of the other side that cloth has at most, as of a person who leans
_DEPTH = 0.5  # share of the sides' width that front and back stand off
TUCK = 0.03  # metres of the body that are kept inside the edges of cloth
_VISIBLE_LEG = 0.05  # metres more that are kept above a hem, where a leg may lift
PUSH = 0.004  # metres by which the body gives way below cloth
_EDGE_WIDTH = 0.016  # width of the mask's edge without trust, in heights of the person
_NEARLY_PLAIN = 0.8  # share of one colour from which others are no pattern
_LABELLED = 0.5  # share of a garment that labels must find to say where it ends


@dataclass(frozen=True, eq=False)
class Ring:
    """The ring of a skirt or tail with R rows of 72 columns.

    Attributes:
        photo: The body, which the ring goes round, and the photo.
        region: The part of the photo that shows the cloth.
    """

    photo: SkirtPhoto
    region: SkirtRegion

    @cached_property
    def levels(self) -> Array:
        """The distances (R,), metres, along the legs from the hip joints, negative above them."""
        hem = float(self.region.levels[-1])
        return np.linspace(-_ABOVE_HIPS, hem, max(4, round((hem + _ABOVE_HIPS) / _ROW) + 1))

    @cached_property
    def heights(self) -> Array:
        """The heights (R,), metres, of the rows around the resting body, whose bones have other lengths."""
        pose = self.photo.posed
        posed, rest = (joints[0].cpu().numpy()[np.array(LEG_JOINTS)] for joints in (pose.joints, pose.rest_joints))
        lengths = np.linalg.norm(np.diff(posed, axis=0), axis=2).mean(1)
        hip, knee, ankle = rest[..., 1].mean(1)
        return np.interp(
            self.levels, np.cumsum([-_ABOVE_HIPS, _ABOVE_HIPS, *lengths]), [hip + _ABOVE_HIPS, hip, knee, ankle]
        )

    def cover(self) -> Array:
        """Return how far (V,), metres, the body's vertices lie inside the ring's edges, negative outside."""
        y = self.photo.dressed.rest()[:, 1].cpu().numpy()
        inside = np.minimum(self.heights[0] - y, y - self.heights[-1])
        return np.where(np.isin(self.photo.groups, (0, 3, 4)), inside, -1.0)

    def hidden(self) -> Mask:
        """Return the body's faces (F,) that the ring hides."""
        y = self.photo.dressed.rest()[:, 1].cpu().numpy()
        deep = (self.cover() > TUCK) & (y - self.heights[-1] > TUCK + _VISIBLE_LEG)
        return np.asarray(deep[self.photo.dressed.body.faces.cpu().numpy()].all(1))

    def give_way(self, displacements: Array) -> Array:
        """Return displacements (V,), metres, with the body nowhere wider, and a little narrower, below the ring."""
        cover = self.cover()
        return np.where(cover > 0, np.minimum(displacements, 0) - PUSH * ramp(cover, 0.0, TUCK), displacements)

    def garment(self, name: str) -> Garment:
        """Make the mesh of the ring round the dressed body of `photo`."""
        photo = self.photo
        angles = np.arange(_COLUMNS) * (2 * np.pi / _COLUMNS)
        dressed = photo.dressed
        rest = dressed.rest()
        # Below the hem, the body may be as wide as the cloth.
        low = rest[:, 1] < float(self.heights[0])
        displacements = torch.where(low, dressed.displacements.clamp(max=0), dressed.displacements)
        rest = rest + displacements[:, None] * dressed.rest_directions
        part_labels = dressed.body.part_labels.cpu().numpy()
        rows = np.flatnonzero(np.isin(photo.groups, (0, 3, 4)) & ~parts_mask(part_labels, FEET))
        body = rest.cpu().numpy()[rows]
        # Without the feet, there may be no points at the ankles: a row goes round the nearest ones.
        distances = np.abs(body[:, 1] - self.heights[:, None])
        nearest = distances.min(1, keepdims=True)
        close = distances < np.where(nearest < _SLICE, _SLICE, nearest + _SLICE)
        slices = [body[row][:, [0, 2]] for row in close]
        middle = gaussian_filter1d([(s[:, 1].min() + s[:, 1].max()) / 2 for s in slices], 1.0, mode="nearest")
        hull = np.stack([polar_hull(s - [0, z], angles) + _EASE for s, z in zip(slices, middle, strict=True)])
        for row in range(1, len(hull)):
            hull[row] = np.maximum(hull[row], _FALL * hull[row - 1])

        def points(radius: Array) -> NDArray[np.float32]:
            height = np.broadcast_to(self.heights[:, None], radius.shape)
            x, z = radius * np.sin(angles), middle[:, None] + radius * np.cos(angles)
            return np.stack((x, height, z), -1).reshape(-1, 3).astype(np.float32)

        bones, weights = largest_weights(self._weights(points(hull), body, rows))
        faces, uv_faces = (part.astype(np.int32) for part in grid_faces(len(hull), _COLUMNS, True))
        v, u = np.meshgrid(np.linspace(0, 1, len(hull)), np.linspace(0, 1, _COLUMNS + 1), indexing="ij")
        uv = np.stack((u, v), -1).reshape(-1, 2).astype(np.float32)
        empty = np.zeros((1, 1, 3), np.uint8)
        result = Garment(name, points(hull), faces, uv, uv_faces, bones, weights, empty)
        radius = hull
        for _ in range(_ROUNDS):
            radius = np.maximum(radius + self._wider(result), hull)
            result = replace(result, vertices=points(radius))
        rings = result.vertices.reshape(-1, _COLUMNS, 3)
        around = np.linalg.norm(np.roll(rings, -1, 1) - rings, axis=2).mean(0)
        along = np.append(0, np.cumsum(around))  # as long as the cloth: its pattern keeps its scale
        uv[:, 0] = np.tile(along / along[-1], len(rings))
        return replace(result, image=self._image(result))

    def _weights(self, points: Array, body: Array, rows: Array) -> Array:
        """Return the skinning weights (N, 24) of points (N, 3) near points (n, 3) of these rows of the body."""
        dense = dense_weights(self.photo.dressed.body)[rows]
        dense[:, SMPL24.indices(FEET)] = 0  # feet do not turn a hem
        near = dense[cKDTree(body).query(points)[1]].reshape(-1, _COLUMNS, len(SMPL24))
        near = gaussian_filter1d(near, _AVERAGED / 360 * _COLUMNS, axis=1, mode="wrap")
        return gaussian_filter1d(near, 1.0, axis=0, mode="nearest").reshape(-1, len(SMPL24))

    def _posed(self, garment: Garment) -> Array:
        """Return the rows (R, 73, 3), metres in camera axes, of the ring in the photo, the first column again last."""
        points = (garment.pose(self.photo.posed) + self.photo.offset).cpu().numpy().reshape(-1, _COLUMNS, 3)
        return np.concatenate((points, points[:, :1]), 1)

    def _wider(self, garment: Garment) -> Array:
        """Return by how much (R, 72), metres, the ring must be wider to reach the cloth's edges in the photo."""
        region, photo = self.region, self.photo
        levels = torch.from_numpy(self.levels.astype(np.float32)).to(photo.vertices)
        middle = (leg_points(photo.posed, levels).mean(1) + photo.offset).cpu().numpy()
        rows = np.clip(np.searchsorted(region.levels.cpu().numpy(), self.levels - 1e-4), 0, len(region.levels) - 1)
        across = np.einsum("rci,ri->rc", self._posed(garment)[:, :-1] - middle[:, None], region.lateral[rows])
        edges = region.edges[rows]
        missing = np.stack((across.min(1) - edges[:, 0], edges[:, 1] - across.max(1)), 1)
        missing = np.where(np.isfinite(missing), missing, missing[:, ::-1])
        known = np.flatnonzero(np.isfinite(missing).all(1))
        if not len(known):
            return np.zeros(across.shape)
        missing = np.stack([np.interp(np.arange(len(rows)), known, missing[known, side]) for side in (0, 1)], 1)
        missing = gaussian_filter1d(median_filter(np.clip(missing, -_MAX_WIDER, _MAX_WIDER), (5, 1)), 1.2, axis=0)
        missing = np.minimum(missing, _LEANING * np.maximum(missing[:, ::-1], 0) + _ARM_OR_BAG)
        # Above the first edge that is visible, cloth widens evenly from the body.
        first = max(float(self.levels[known[0]]), 0.0) + _ABOVE_HIPS
        missing *= np.clip((self.levels + _ABOVE_HIPS) / first, 0, 1)[:, None]
        left, right = (np.clip(part / part.max(1, keepdims=True), 0, 1) ** 2 for part in (-across, across))
        wider = left * missing[:, :1] + right * missing[:, 1:]
        wider += (1 - left - right) * missing.mean(1, keepdims=True) * _DEPTH
        return gaussian_filter1d(wider, 1.0, axis=0, mode="nearest")

    def _image(self, garment: Garment) -> NDArray[np.uint8]:
        """Colour the ring (h, w, 3): its back takes the colours of the front."""
        crop = self.photo.crop
        rings = self._posed(garment)
        # As fine as the photo.
        scale = crop.view.focal / max(float(np.median(rings[..., 2])), 0.1)
        around = np.linalg.norm(np.diff(rings, axis=1), axis=2).sum(1).max()
        down = np.linalg.norm(np.diff(rings, axis=0), axis=2).sum(0).max()
        size = int(np.clip(around * scale, 32, 1536)), int(np.clip(down * scale, 16, 1024))
        x, y = ((np.arange(n) + 0.5) / n for n in size)
        x, y = np.interp(x, garment.uv[: _COLUMNS + 1, 0], np.arange(_COLUMNS + 1)), y * (len(rings) - 1)
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
        front = np.dstack((colours.reshape(*facing.shape, 3) * weight[..., None], weight))
        # The back takes the colour of the front, at the mirror image of its angle about the x axis.
        own = _own_colours(colours.reshape(*facing.shape, 3), weight)
        width = facing.shape[1]
        rightmost = -np.angle(np.fft.rfft(grid[..., 0], axis=1)[:, 1].sum()) / (2 * np.pi) * width
        behind = (front * own[..., None])[:, np.rint(2 * rightmost - 1 - np.arange(width)).astype(int) % width]
        both_sides = front + (1 - front[..., 3:]) * behind
        # Gaps take copies of the cloth, from all round: the last column's neighbour is the first.
        tiles = np.concatenate((both_sides[:, -(width // 2) :], both_sides, both_sides[:, : width // 2]), 1)
        known = tiles[..., 3] >= 0.5
        straight = np.clip(tiles[..., :3] / np.maximum(tiles[..., 3:], np.float32(1e-6)), 0, 1)
        result = inpaint(np.rint(straight * 255).astype(np.uint8), ~known)
        return result[:, width // 2 : width // 2 + width]

    def _trust(self) -> NDArray[np.float32]:
        """Return the trust (h, w) that a pixel shows the cloth: not near its edge, nor behind an arm."""
        body = self.photo.dressed.body
        crop = self.photo.crop
        first = self.photo.groups[body.faces[:, 0].long().cpu().numpy()]
        face = rasterise_view(self.photo.vertices[None], body.faces, crop.view).face[0].cpu().numpy()
        arms = (face >= 0) & np.isin(first[np.maximum(face, 0)], (1, 2))
        visible = (crop.mask >= 0.5) & ~crop.others & ~arms & self._cloth()
        margin = max(1.5, _EDGE_WIDTH * crop.mask.shape[0])
        distance = cv2.distanceTransform(visible.astype(np.uint8), cv2.DIST_L2, 5)
        return np.clip(distance / margin - 0.5, 0, 1).astype(np.float32)

    def _cloth(self) -> Mask:
        """Select the pixels (h, w) of garments that may belong to the ring: not skin and shoes below an uneven hem."""
        labels, inside = self.photo.crop.garments, self.region.pixels
        upper, hanging, trousers = (garments_mask(labels, name) for name in ("upper", "hanging", "trousers"))
        cloth = upper | hanging | (trousers & (hanging[inside].sum() < trousers[inside].sum()))
        # Labels that miss most of a garment miss its hem, too.
        return np.asarray(cloth | (cloth[inside].sum() < _LABELLED * inside.sum()))


def _own_colours(colours: Array, weight: Array) -> Mask:
    """Select the texels (h, w) without what only the front of a plain garment shows: an opening, a bag, a hand."""
    shown = weight > 0.5
    plain = np.zeros(shown.shape, bool)
    plain[shown] = dominant_colour(colours[shown])
    if plain.sum() <= _NEARLY_PLAIN * shown.sum():
        return np.ones(shown.shape, bool)
    stripes = plain.sum(1) <= PLAIN_SHARE * shown.sum(1)  # which go round
    odd = (shown & ~plain & ~stripes[:, None]).astype(np.uint8)
    return cv2.dilate(odd, np.ones((5, 5), np.uint8)) == 0
