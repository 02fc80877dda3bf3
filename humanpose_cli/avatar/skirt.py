"""Where a photograph shows a skirt, a dress or a long coat: cloth across both legs, and its hem.

`SkirtPhoto.region` finds cloth that closes across the legs; the mesh is made by `avatar.ring`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn.functional import normalize

from humanpose_cli.avatar.colours import cloth_features
from humanpose_cli.avatar.dressing import DressedBody
from humanpose_cli.avatar.garment_labels import CLOSED, garments_mask
from humanpose_cli.avatar.photo_crop import PhotoCrop
from humanpose_cli.avatar.surface import limb_groups
from humanpose_cli.body.body import PosedBody
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.rendering.shading import rasterise_view

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_SPACING = 0.02  # metres: distance of the lines across the legs
_DOUBTFUL = 0.5  # share of hanging cloth on the thighs from which it may be closed
_HANGING = 45.0  # degrees: maximum angle of a hanging thigh to the image's vertical
_OPEN_LINES = 3  # lines without hanging cloth below a hem
_NEAR_HEM, _PER_LINE = 5, 0.05  # lines from the labels' hem among which scores choose, and the cost of a line
_MAX_HOLES = 0.08  # maximum share of the line from leg to leg that is background
_BY_COLOUR = (3, 1)  # lines above and below a hem whose colours are compared, and lines between them
_BY_WIDTH = 4  # lines above and below a hem whose widths are compared
_WIDTH_WEIGHT = 25.0  # of a metre of width, against 1 for other colours
_WIDER_ABOVE = 0.1  # metres: width beyond which a hem is no surer
_MIN_SAMPLES = 12  # of colours on each side of a hem
_BRIGHTNESS = 0.35  # weight of the logarithm of brightness among colours
_SHORTEST = 5  # lines of the shortest skirt or coat
_APART = 4  # lines between two hems
_MAX_WIDTH = 0.8  # metres: maximum distance of an edge from the legs

LEG_JOINTS = tuple(
    SMPL24.indices([f"{side}_{joint}" for side in ("left", "right")]) for joint in ("hip", "knee", "ankle")
)
_PELVIS = SMPL24.index("pelvis")


def leg_points(pose: PosedBody, levels: Tensor) -> Tensor:
    """Return both legs' points (L, 2, 3), metres, at distances (L,) along them from the hip joints, negative above."""
    hips, knees, ankles = (pose.joints[0][list(rows)] for rows in LEG_JOINTS)
    thigh = normalize(knees - hips, dim=1)
    shank = normalize(ankles - knees, dim=1)
    length = (knees - hips).norm(dim=1)
    along = levels[:, None, None]
    lower = (along - length[:, None]).clamp(min=0)
    upper = along.clamp(min=0) - lower
    return hips - along.clamp(max=0) * pose.rotations[0, _PELVIS][:, 1] + upper * thigh + lower * shank


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


class _Lines(NamedTuple):
    """Lines across the legs, from the hip joints down.

    Attributes:
        levels: (L,) float, metres. Distances along the legs from the hip joints.
        pixels: (L, 2) float. The middle of both legs.
        across: (L, 2) float, unit vectors of the image, from left to right.
        scale: (L,) float. Pixels per metre.
        person: (L, T) bool. Samples of the person, without arms.
        leg: (L, T) bool. Samples of the fitted legs.
        body: (L, T) bool. Samples of fitted trunk and legs.
        samples: (L, T, 3) uint8. Colours.
        labels: (L, T) uint8. Garments: 0 for the background, then `GARMENTS`.
        edges: (L, 2) float, metres. The cloth's left and right edge from the middle; NaN if unknown.
    """

    levels: Tensor
    pixels: Array
    across: Array
    scale: Array
    person: Mask
    leg: Mask
    body: Mask
    samples: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    edges: Array


@dataclass(frozen=True, eq=False)
class SkirtPhoto:
    """A body and its photo, in which a skirt is found.

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
        legs = torch.from_numpy(np.flatnonzero(self.groups >= 3)).to(self.vertices.device)
        offsets = (self.vertices[legs] - self.posed.surface[0][legs]).median(0).values
        return offsets * self.vertices.new_tensor([1.0, 1.0, 0.0])

    @cached_property
    def closed(self) -> float:
        """The share of hanging cloth on the thighs and between them, 0…1; NaN if too little of them is visible."""
        joints = self.posed.joints[0][[*LEG_JOINTS[0], *LEG_JOINTS[1]]] + self.offset
        return self.crop.labels.closed(self.crop.view.project(joints).cpu().numpy(), self.crop.mask)

    def region(self, reliable: Mask, others: Iterable[SkirtPhoto] = ()) -> tuple[SkirtRegion | None, bool]:
        """Find the skirt: hanging cloth on the thighs and between them.

        Args:
            reliable: (V,) bool. The vertices of known position.
            others: The person in further frames, which have a say if this one shows a skirt.

        Returns:
            The skirt; None for trousers, bare legs, and hidden legs. And whether there may be one nevertheless: the
            labels are unsure, or the thighs do not hang.
        """
        if not all((reliable & (self.groups == leg)).any() for leg in (3, 4)) or not (self.crop.mask >= 0.5).any():
            return None, False
        share = self.closed
        if share > CLOSED:
            share = float(np.nanmedian([share, *(other.closed for other in others)]))
        hips, knees = (self.posed.joints[0][list(rows)] for rows in LEG_JOINTS[:2])
        hang = float(normalize(knees - hips, dim=1)[:, 1].min()) > math.cos(math.radians(_HANGING))
        hem = _hem_of_labels(self._lines, _hem_scores(self._lines)) if share > CLOSED and hang else None
        return (None, share > _DOUBTFUL) if hem is None else (self._down_to(hem), False)

    def named(self, choice: int) -> SkirtRegion | None:
        """Return the skirt or coat that a person is known to wear; None if the photo shows nothing of it.

        Args:
            choice: 1 for the hem of the labels, or the one that shows best by its colours and widths, 2 for the next.
        """
        lines = self._lines
        scores = _hem_scores(lines)
        hem = _hem_of_labels(lines, scores) or int(scores.argmax())
        for _ in range(choice - 1):
            scores[max(hem - _APART, 0) : hem + _APART + 1] = 0
            hem = int(scores.argmax())
        # Nothing tells of a hem where a photo ends.
        region = self._down_to(hem or max(int(lines.person.any(1).sum()), _SHORTEST))
        return region if region.pixels.any() else None

    @cached_property
    def _lines(self) -> _Lines:
        """Sample the photo on lines across the legs, perpendicular to them in the image."""
        crop = self.crop
        pose = self.posed
        faces = self.dressed.body.faces
        view = crop.view
        vertices = self.vertices
        face = rasterise_view(vertices[None], faces, view).face[0].cpu().numpy()
        group = np.where(face >= 0, self.groups[faces[:, 0].long().cpu().numpy()][np.maximum(face, 0)], -1)
        length = float((pose.joints[0][LEG_JOINTS[2]] - pose.joints[0][LEG_JOINTS[0]]).norm(dim=1).mean())
        levels = torch.arange(_SPACING, length, _SPACING).to(vertices)
        middle = (leg_points(pose, levels).mean(1) + self.offset).cpu().numpy()
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
        body, leg = (np.isin(group, limbs)[rows, columns] & inside for limbs in ((0, 3, 4), (3, 4)))
        edges = np.array([_edges_of_row(person[row], unknown[row], leg[row], reach) for row in range(len(levels))])
        labels = crop.garments[rows, columns]
        return _Lines(levels, pixels, across, scale, person, leg, body, crop.pixels[rows, columns], labels, edges)

    def _down_to(self, hem: int) -> SkirtRegion:
        """Return the region of the levels up to a hem."""
        lines = self._lines
        pixels, across = lines.pixels[:hem], lines.across[:hem]
        metres = _edges(lines.edges[:hem])
        outline = (pixels + across * (metres[:, side] * lines.scale[:hem])[:, None] for side in (0, 1))
        corners = np.concatenate([points[::side] for points, side in zip(outline, (1, -1), strict=True)])
        region = np.zeros(self.crop.mask.shape, np.uint8)
        cv2.fillPoly(region, [np.rint(corners).astype(np.int32)], 1)
        lateral = np.concatenate((across, np.zeros((len(across), 1))), 1)
        return SkirtRegion((region > 0) & (self.crop.mask >= 0.5), lines.levels[:hem], lines.edges[:hem], lateral)


def _hem_of_labels(lines: _Lines, scores: Array) -> int | None:
    """Return the number of lines of hanging cloth; None for none. Labels say which edge, `_hem_scores` says where."""
    names = ("hanging", "trousers", "skin", "shoes")
    hanging, *others = ((lines.person & garments_mask(lines.labels, name)).sum(1) for name in names)
    closed = np.append(np.greater(hanging, np.sum(others, axis=0)), np.zeros(_OPEN_LINES, bool))
    open_below: Mask = np.lib.stride_tricks.sliding_window_view(~closed, _OPEN_LINES).min(1)
    first = int(closed.argmax())
    hem = first + int(open_below[first:].argmax())
    if hem < _SHORTEST:
        return None
    scores = scores - _PER_LINE * np.abs(np.arange(len(scores)) - hem)
    first = max(hem - _NEAR_HEM, _SHORTEST)
    return first + int(scores[first : hem + _NEAR_HEM + 1].argmax())


def _hem_scores(lines: _Lines) -> Array:
    """Return how likely (L + 1,) cloth ends after each number of lines: colours change, and the person is narrower."""
    result = np.zeros(len(lines.levels) + 1)
    count, gap = _BY_COLOUR
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # widths that are all unknown
        wider = _wider_than_body(lines)
        for hem in range(_SHORTEST, len(lines.levels) - 1):
            pairs = slice(hem - count, hem), slice(hem + gap, hem + gap + count)
            colours = [lines.samples[part][lines.person[part]] / 255 for part in pairs]
            result[hem] = min(colour_change(*colours), 1.0)
            narrower = np.nanmedian(wider[hem - _BY_WIDTH : hem]) - np.nanmedian(wider[hem + 1 : hem + 1 + _BY_WIDTH])
            result[hem] += _WIDTH_WEIGHT * float(np.clip(np.nan_to_num(narrower), 0, _WIDER_ABOVE))
    return np.asarray(gaussian_filter1d(result, 1.0))  # the middle of lines that are as likely


def _wider_than_body(lines: _Lines) -> Array:
    """Return how much (L,), metres, of a person's width lies beside and between hips and legs; NaN if unknown."""
    step = _SPACING / 4
    half = lines.body.shape[1] // 2
    first, last = np.maximum.accumulate(lines.body, 1), np.maximum.accumulate(lines.body[:, ::-1], 1)[:, ::-1]
    between = (lines.person & ~lines.body & first & last).sum(1) * step
    outer = np.stack(((~first).sum(1) - half, half - (~last).sum(1)), 1) * step
    beside = np.nanmean((lines.edges - outer) * [-1, 1], axis=1)
    return np.where(lines.body.any(1), between + 2 * beside, np.nan)


def colour_change(above: Array, below: Array) -> float:
    """Return the energy distance of two sets of colours (n, 3) and (m, 3), 0…1 RGB; 0 for the same, and for few."""
    if min(len(above), len(below)) < _MIN_SAMPLES:
        return 0.0
    a, b = (cloth_features(c[:: 1 + len(c) // 120], _BRIGHTNESS) for c in (above, below))
    between, first, second = (
        np.linalg.norm(one[:, None] - other, axis=2).mean() for one, other in ((a, b), (a, a), (b, b))
    )
    return float(2 * between - first - second)


def _edges_of_row(person: Mask, unknown: Mask, leg: Mask, reach: Array) -> tuple[float, float]:
    """Return the cloth's edges on a line (T,) across the legs; NaN if unknown."""
    on_leg = np.flatnonzero(leg)
    if not len(on_leg) or (~(person | unknown)[on_leg[0] : on_leg[-1] + 1]).mean() > _MAX_HOLES:
        return np.nan, np.nan
    edges = []
    for end, way in ((int(on_leg[0]), -1), (int(on_leg[-1]), 1)):
        while 0 <= end + way < len(reach) and person[end + way]:
            end += way
        ends_inside = 0 <= end + way < len(reach) and not unknown[end + way]
        edges.append(float(reach[end]) if ends_inside else np.nan)
    return edges[0], edges[1]


def _edges(edges: Array) -> Array:
    """Fill edges (L, 2) that are NaN: as wide as the other side, or as the levels around; 0 if none is known."""
    both = np.where(np.isfinite(edges), edges, -edges[:, ::-1])
    result = np.zeros_like(edges)
    for side in (0, 1):
        finite = np.isfinite(both[:, side])
        if finite.any():
            result[:, side] = np.interp(np.arange(len(edges)), np.flatnonzero(finite), both[finite, side])
    return result
