"""Where a photograph shows a skirt, a dress or a long coat: cloth across both legs, and its hem.

`SkirtPhoto.region` finds cloth that closes across the legs; the mesh is made by `avatar.ring`.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from humanpose_cli.avatar.colours import SAME_CLOTH, cloth_features
from humanpose_cli.avatar.dressing import DressedBody
from humanpose_cli.avatar.photo_crop import PhotoCrop
from humanpose_cli.avatar.surface import limb_groups
from humanpose_cli.body.body import PosedBody
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.rendering.shading import rasterise_view

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_SPACING = 0.02  # metres: distance of the lines across the legs
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
_BY_COLOUR = (3, 1)  # lines above and below a hem whose colours are compared, and lines between them
_BY_WIDTH = 4  # lines above and below a hem whose widths are compared
_WIDTH_WEIGHT = 15.0  # of a metre of width, against 1 for other colours
_WIDER_ABOVE = 0.1  # metres: width beyond which a hem is no surer
_MIN_SAMPLES = 12  # of colours on each side of a hem
_BRIGHTNESS = 0.35  # weight of the logarithm of brightness among colours
_SHORTEST = 5  # lines of the shortest skirt or coat
_APART = 4  # lines between two hems
_SAME_BELOW = 0.4  # share of the legs below in the cloth's colour above which it is no hem
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
        signs: (L,) int. 1 only skirts, -1 no skirt, 0 either.
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
    signs: NDArray[np.integer]
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
        assert self.posed.vertices is not None
        legs = torch.from_numpy(np.flatnonzero(self.groups >= 3)).to(self.vertices.device)
        offsets = (self.vertices[legs] - self.posed.vertices[0][legs]).median(0).values
        return offsets * self.vertices.new_tensor([1.0, 1.0, 0.0])

    def region(self, reliable: Mask) -> tuple[SkirtRegion | None, bool]:
        """Find the skirt.

        From crotch to hem, cloth fills the space between the legs, or is much wider than both. Below the hem, the legs
        have another colour, unlike wide trousers. A short skirt has its hem at one height on both legs, and, unlike
        shorts, no crease and no gap between them above it.

        Args:
            reliable: (V,) bool. The vertices of known position.

        Returns:
            The skirt; None for trousers, bare legs, and hidden legs. And whether there may be one nevertheless, as
            what goes across the legs has no hem.
        """
        if not all((reliable & (self.groups == leg)).any() for leg in (3, 4)) or not (self.crop.mask >= 0.5).any():
            return None, False
        hem, closed = self._closed_down_to()
        return (None, closed) if hem is None else (self._down_to(hem), False)

    def named(self, choice: int) -> SkirtRegion:
        """Return the skirt or coat that a person is known to wear.

        Args:
            choice: 1 for the hem of `region`, or the one that shows best by its colours and widths, 2 for the next.
        """
        lines = self._lines
        scores = _hem_scores(lines)
        hem = self._closed_down_to()[0] or int(scores.argmax())
        for _ in range(choice - 1):
            scores[max(hem - _APART, 0) : hem + _APART + 1] = 0
            hem = int(scores.argmax())
        # Nothing tells of a hem where a photo ends.
        return self._down_to(hem or max(int(lines.person.any(1).sum()), _SHORTEST))

    def _closed_down_to(self) -> tuple[int | None, bool]:
        """Return the number of lines of cloth that closes across the legs, and whether something may close there."""
        lines = self._lines
        hem = _hem(lines.signs, np.diff(lines.edges, axis=1)[:, 0])
        closed = hem is not None
        if hem is None or self._continues(lines.samples, lines.person & lines.leg, hem):
            side_by_side = self._legs_side_by_side()
            hem = _short_hem(lines.samples, lines.person, lines.leg, lines.signs) if side_by_side else None
        return hem, closed

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
        signs = np.zeros(len(levels), int)
        edges = np.full((len(levels), 2), np.nan)
        for row in range(len(levels)):
            signs[row], edges[row] = _row_of_skirt(person[row], unknown[row], leg[row], reach)
        return _Lines(levels, pixels, across, scale, person, leg, body, crop.pixels[rows, columns], signs, edges)

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

    def _legs_side_by_side(self) -> bool:
        """Return whether the thighs are about parallel, and neither is in front of the other."""
        left, right = self.posed.joints[0][list(LEG_JOINTS[1])] - self.posed.joints[0][list(LEG_JOINTS[0])]
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
            if min(map(len, colours)) >= _MIN_SAMPLES:
                above, below = (cloth_features(c[:: 1 + len(c) // 120], _BRIGHTNESS) for c in colours)
                result[hem] = min(_energy_distance(above, below), 1.0)
            narrower = np.nanmedian(wider[hem - _BY_WIDTH : hem]) - np.nanmedian(wider[hem + 1 : hem + 1 + _BY_WIDTH])
            result[hem] += _WIDTH_WEIGHT * float(np.clip(np.nan_to_num(narrower), 0, _WIDER_ABOVE))
    return result


def _wider_than_body(lines: _Lines) -> Array:
    """Return how much (L,), metres, of a person's width lies beside and between hips and legs; NaN if unknown."""
    step = _SPACING / 4
    half = lines.body.shape[1] // 2
    first, last = np.maximum.accumulate(lines.body, 1), np.maximum.accumulate(lines.body[:, ::-1], 1)[:, ::-1]
    between = (lines.person & ~lines.body & first & last).sum(1) * step
    outer = np.stack(((~first).sum(1) - half, half - (~last).sum(1)), 1) * step
    beside = np.nanmean((lines.edges - outer) * [-1, 1], axis=1)
    return np.where(lines.body.any(1), between + 2 * beside, np.nan)


def _energy_distance(a: Array, b: Array) -> float:
    """Return how different two sets of points (n, C) and (m, C) are: 0 for the same distribution."""
    between, first, second = (
        np.linalg.norm(one[:, None] - other, axis=2).mean() for one, other in ((a, b), (a, a), (b, b))
    )
    return float(2 * between - first - second)


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
