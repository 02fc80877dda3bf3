"""From what a photo shows of a person to a whole texture: by symmetry first, then smoothly over the surface."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from humanpose_cli.avatar.surface import HANDS, BodyTexels, parts_mask, spread
from humanpose_cli.body.texture import BakedTexture, bleed_islands, fill_smoothly, paint_vertices
from humanpose_cli.core.conventions import SMPL24

__all__ = ["WholeTexture", "complete_texture"]

Array = NDArray[Any]

# Metres: over these distances differences of light between both sides are averaged, and fade.
_LIGHT_AVERAGE, _LIGHT_FADE = 0.04, 0.15
_MOST_LIGHT = 0.15
# Metres: details of this size (letters, badges, buckles) are not carried to points that were not visible.
_DETAIL = 0.045
# Far from the visible part only usual colours are continued: the median of this many out of so many points on the
# visible surface, which is about 150 cm².
_NEIGHBOURS, _POINTS = 24, 1500
# Metres: colours at the border of the visible part are continued this far, with their details.
_RIM = 0.012
# Metres: how closely colours that are spread follow those that were visible.
_FOLLOW = 0.01
# Weight of a guessed colour against a visible one.
_GUESS = 0.05
_TINY = np.float32(1e-6)


class WholeTexture(NamedTuple):
    """A texture without gaps.

    image          (S, S, 4) float32: RGB in 0…1 and how much of each texel comes from the photo, 0…1
    visible_fraction  share of the surface that the photo shows, by area
    """

    image: Array
    visible_fraction: float


def complete_texture(surface: BodyTexels, baked: BakedTexture, grain: float = 0.0) -> WholeTexture:
    """Fill what the photo does not show.

    Hidden texels take their mirror image's colour where that was visible, corrected by a smooth field so that both
    sides agree where both were visible; then, on trunk and limbs, the colour straight through the body, without its
    details; the rest takes colours spread over the surface, hair from hair. What is made up varies slowly and is
    handled in a reduced texture.

    grain  standard deviation, 0…1, of the noise that made-up texels get
    """
    own = np.clip((baked.confidence - np.float32(0.08)) / np.float32(0.55 - 0.08), 0, 1)
    own = own * own * (3 - 2 * own)
    image = np.empty((*own.shape, 4), np.float32)
    np.multiply(baked.colour, own[..., None], out=image[..., :3])
    image[..., 3] = own
    theirs = surface.mirror(image)
    coarse, coarse_theirs = surface.reduce(image), surface.reduce(theirs)
    shown = surface.reduce(baked.visible.astype(np.float32))
    _, visible = paint_vertices(surface.coarse, surface.rows, shown[..., None], shown)
    visible_fraction = _share(surface, np.ones(len(visible), bool), visible)
    light = _light_difference(surface, coarse, coarse_theirs)
    coarse_theirs[..., :3] += light * coarse_theirs[..., 3:]
    filled = surface.enlarge(_fill(surface, _continued(surface, _over(coarse, coarse_theirs))))
    theirs[..., :3] += surface.enlarge(light) * theirs[..., 3:]
    theirs *= (1 - own)[..., None]
    image += theirs
    filled *= 1 - image[..., 3:]
    image[..., :3] += filled
    image[..., 3] += own
    image[..., 3] *= np.float32(0.5)
    if grain > 0:
        noise = np.random.default_rng(0).standard_normal(own.shape, np.float32) * np.float32(grain)
        image[..., :3] += (noise * (1 - image[..., 3]))[..., None]
    np.clip(image, 0, 1, out=image)
    bleed_islands(image, surface.fine.covered)
    return WholeTexture(image, visible_fraction)


def _over(first: Array, second: Array) -> Array:
    """What the first texture leaves open, taken from the second; colours (…, 4) multiplied by their weight."""
    return first + (1 - first[..., 3:]) * second


def _straight(texture: Array) -> Array:
    """Colours no longer multiplied by their weight."""
    return texture[..., :3] / np.maximum(texture[..., 3:], _TINY)


def _light_difference(surface: BodyTexels, mine: Array, theirs: Array) -> Array:
    """A smooth correction of mirrored colours, coarse: what separates both sides' light where both are visible."""
    both = mine[..., 3] * theirs[..., 3]
    difference = np.clip(_straight(mine) - _straight(theirs), -1, 1)
    values, weight = paint_vertices(surface.coarse, surface.rows, difference, both)
    operator = surface.operator
    field = spread(
        operator.stiffness(),
        weight * operator.areas / _LIGHT_AVERAGE**2,
        values,
        operator.areas / _LIGHT_FADE**2,
        np.zeros(3),
    )
    field = np.clip(field, -_MOST_LIGHT, _MOST_LIGHT)
    light = surface.coarse.interpolate(field, surface.faces)
    bleed_islands(light, surface.coarse.covered)
    return light


def _continued(surface: BodyTexels, known: Array) -> Array:
    """A coarse texture whose visible parts reach a little further, with the colours of their rim."""
    sigma = max(0.8, _RIM * _texels_per_metre(surface))
    blurred = cv2.GaussianBlur(known, (0, 0), sigma)
    weight = np.clip(2.5 * blurred[..., 3:] - np.float32(0.25), 0, 1)
    return _over(known, np.dstack((_straight(blurred) * weight, weight)))


def _texels_per_metre(surface: BodyTexels) -> float:
    """Of the coarse texture, on average."""
    return float(np.sqrt(surface.coarse.covered.sum() / surface.operator.areas.sum()))


def _fill(surface: BodyTexels, known: Array) -> Array:
    """Colours (coarse, coarse, 3) for whatever `known`, coarse and multiplied by its weight, leaves open."""
    plain = _without_detail(surface, known)
    known = _over(known, surface.opposite(np.dstack((plain * known[..., 3:], known[..., 3]))))
    spread_out = surface.coarse.interpolate(_spread_colours(surface, known), surface.faces)
    filled = known[..., :3] + (1 - known[..., 3:]) * spread_out
    bleed_islands(filled, surface.coarse.covered)
    return filled


def _without_detail(surface: BodyTexels, known: Array) -> Array:
    """The colours (coarse, coarse, 3) without small things: letters, badges, folds."""
    filled = fill_smoothly(_straight(known), (known[..., 3] > 0.3).astype(np.float32))
    kernel = max(3, round(_DETAIL * _texels_per_metre(surface)) | 1)
    eight_bit = (np.clip(filled, 0, 1) * 255 + 0.5).astype(np.uint8)
    return cv2.medianBlur(eight_bit, kernel).astype(np.float32) / np.float32(255)


def _spread_colours(surface: BodyTexels, known: Array) -> Array:
    """Colours of all vertices (V, 3) from texels with weight: harmonic over the surface, hair and face apart."""
    operator = surface.operator
    values, visible = paint_vertices(surface.coarse, surface.rows, _straight(known), known[..., 3])
    data = visible * operator.areas / _FOLLOW**2
    # Hair keeps its colours apart from the rest, where hair was visible.
    groups = (surface.hair & (_share(surface, surface.hair, visible) >= 0.02)).astype(np.int64)
    values = _usual_colours(surface, values, visible, groups)
    for part, tone in _skin_guesses(surface, values, visible):
        missing = part & (visible < 0.05)
        values[missing], data[missing] = tone, 0.3 * operator.areas[missing] / _FOLLOW**2
        # Guessed skin ends at its part's border, as under a sleeve or a collar.
        groups[part] = 2
    if data.sum() == 0:
        return np.full_like(values, 0.5)
    for part, tone in _limb_guesses(surface, values, visible):
        missing = part & (visible < 0.05)
        values[missing], data[missing] = tone, _GUESS * operator.areas[missing] / _FOLLOW**2
    stiffness = operator.stiffness(groups, leak=0.002)
    mean = (values * data[:, None]).sum(0) / data.sum()
    return spread(stiffness, data, values, operator.areas * 1e-3, mean)


def _usual_colours(surface: BodyTexels, values: Array, visible: Array, groups: NDArray[np.int64]) -> Array:
    """The median colour (V, 3) of the visible surface of the same group around each vertex."""
    result = values.copy()
    random = np.random.default_rng(0)
    for group in np.unique(groups):
        chance = visible * surface.operator.areas * ((visible > 0.3) & (groups == group))
        count = min(_POINTS, int((chance > 0).sum()))
        if not count:
            continue
        points = random.choice(len(visible), count, replace=False, p=chance / chance.sum())
        rows = np.flatnonzero((visible > 0) & (groups == group))
        _, near = cKDTree(surface.rest[points]).query(surface.rest[rows], min(_NEIGHBOURS, count))
        result[rows] = np.median(values[points][near.reshape(len(rows), -1)], axis=1)
    return result


def _skin_guesses(surface: BodyTexels, colour: Array, visible: Array) -> list[tuple[NDArray[np.bool_], Array]]:
    """Bare parts that were not visible, with the colour of the visible skin: hands like the face, a face like hands."""
    hands = [parts_mask(surface.part_labels, names) for names in HANDS.values()]
    bare = [surface.face, *hands]
    shares = [_share(surface, part, visible) for part in bare]
    shown = [part & (visible > 0.5) for part, share in zip(bare, shares, strict=True) if share > 0.12]
    if not shown or not shown[0].any():
        return []
    tone = np.median(colour[shown[0]], axis=0)
    return [(part, tone) for part, share in zip(bare, shares, strict=True) if share <= 0.03]


def _limb_guesses(surface: BodyTexels, colour: Array, visible: Array) -> list[tuple[NDArray[np.bool_], Array]]:
    """Parts of trunk and limbs that were not visible, with the usual colour of the nearest one up the body that was.

    A border alone may be a belt, a glove or a shadow; most of what lies above it is the cloth that goes on.
    """
    parts = [surface.part_labels == row for row in range(len(SMPL24))]
    shares = [_share(surface, part, visible) for part in parts]
    guesses = []
    for row, name in enumerate(SMPL24.joint_names):
        if shares[row] > 0.05 or name in ("neck", "head", *HANDS["left"], *HANDS["right"]):
            continue
        above = SMPL24.parents[row]
        while above >= 0 and shares[above] < 0.1:
            above = SMPL24.parents[above]
        shown = parts[above] & (visible > 0.5)
        if above >= 0 and shown.any():
            guesses.append((parts[row], np.median(colour[shown], axis=0)))
    return guesses


def _share(surface: BodyTexels, part: NDArray[np.bool_], visible: Array) -> float:
    """Share of a part's surface that was visible."""
    areas = surface.operator.areas[part]
    return float((visible[part] * areas).sum() / max(float(areas.sum()), 1e-9))
