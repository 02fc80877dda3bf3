"""What a photograph does not show of a body's texture, made up from what it shows.

Hidden texels are filled by symmetry first, then by the opposite side, then smoothly; garments keep their own colour and
folds, and prints and badges, as `garments` finds them, stay alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from humanpose_cli.avatar.garments import (
    MOST_OF_A_GARMENT,
    SAME_COLOUR,
    Garments,
    cluster_colours,
    colour_features,
    colourless,
    dominant,
)
from humanpose_cli.avatar.inpainting import InpaintOptions, inpaint
from humanpose_cli.avatar.relief import FOLDS, STRANDS, depths_of
from humanpose_cli.avatar.surface import FEET, FOREARMS, HANDS, BodyTexels, parts_mask
from humanpose_cli.body.texture import BakedTexture, fill_smoothly, paint_vertices
from humanpose_cli.core.blocks import in_blocks
from humanpose_cli.core.conventions import SMPL24

Array = NDArray[Any]
Mask = NDArray[np.bool_]

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
_FEET_SHOWN = 0.05  # share of the feet that was visible and tells their colour
_LEAST_SKIN = 0.0015  # visible skin (m²) that tells its colour
_FACE_SHOWN = 0.3  # a face that shows less is that of somebody who looks away
_CHEST = ("spine1", "spine2", "spine3", "left_collar", "right_collar")
_CONTRAST = 0.1  # a detail differs by so much from the surroundings' median
# Distance of colour features within which a colour is surely the garment's own: shadows and mixed colours are not.
_SURE = 0.12
# Weight of a guessed colour against a visible one.
_GUESS = 0.05
# A material covers that share of the visible surface or more; by how much its share leads where it alone shows.
_LEAST_OF_IT, _HEM = 0.04, 0.06
# A pattern in a texture is small and repeats: few offsets, on few texels, continue it.
_PATTERN = InpaintOptions(offsets=25, choice_pixels=900)
_TINY = np.float32(1e-6)
_BRIGHTEST = 2.0  # colour of a surface whose light was taken off


class WholeTexture(NamedTuple):
    """A texture without gaps.

    image          (S, S, 4) float32: RGB, 1 the photo's white, and how much of each texel comes from the photo, 0…1
    visible_fraction  share of the surface that the photo shows, by area
    """

    image: Array
    visible_fraction: float


def complete_texture(
    surface: BodyTexels, baked: BakedTexture, grain: float = 0.0, *, mirror_face: bool = True
) -> WholeTexture:
    """Fill what the photo does not show.

    Hidden texels take their mirror image's colour where that was visible, corrected by a smooth field so that both
    sides agree where both were visible; then, on trunk and limbs, the colour straight through the body, without its
    details; the rest takes colours spread over the surface, hair from hair. What is made up varies slowly and is
    handled in a reduced texture.

    grain        standard deviation, 0…1, of the noise that made-up texels get
    mirror_face  False leaves the unseen half of a profile without features
    """
    own = np.empty(baked.confidence.shape, np.float32)
    image = np.empty((*own.shape, 4), np.float32)

    def begin(rows: slice) -> None:
        sure = np.clip((baked.confidence[rows] - np.float32(0.08)) / np.float32(0.55 - 0.08), 0, 1)
        own[rows] = sure * sure * (3 - 2 * sure)
        np.multiply(baked.colour[rows], cv2.merge([own[rows]] * 3), out=image[rows, :, :3])
        image[rows, :, 3] = own[rows]

    in_blocks(begin, own.shape)
    coarse, garments = surface.reduce(image), Garments(surface)
    prints = garments.prints(_straight(coarse), coarse[..., 3])
    theirs = surface.mirror(image * (1 - surface.enlarge(prints)[..., None]) if prints.any() else image)
    if not mirror_face:
        theirs *= 1 - surface.fine.interpolate(surface.face[:, None].astype(np.float32), surface.faces)
    coarse_theirs = surface.reduce(theirs)
    shown = surface.reduce(baked.visible.astype(np.float32))
    _, visible = paint_vertices(surface.coarse, surface.rows, shown[..., None], shown)
    visible_fraction = _share(surface, np.ones(len(visible), bool), visible)
    light = _light_difference(surface, coarse, coarse_theirs)
    coarse_theirs[..., :3] += light * coarse_theirs[..., 3:]
    made_up = _fill(surface, garments, _continued(surface, _over(coarse, coarse_theirs)), prints)
    # With a fourth channel of nothing, like the texture.
    light, made_up = (surface.enlarge(np.dstack((one, np.zeros_like(one[..., 0])))) for one in (light, made_up))

    def finish(rows: slice) -> None:
        here, mirrored, mine = image[rows], theirs[rows], own[rows]
        mirrored += light[rows] * cv2.merge([mirrored[..., 3]] * 4)
        mirrored *= cv2.merge([1 - mine] * 4)
        here += mirrored
        here += made_up[rows] * cv2.merge([1 - here[..., 3]] * 4)
        here[..., 3] = (here[..., 3] + mine) * np.float32(0.5)
        if grain > 0:
            noise = np.random.default_rng(rows.start).standard_normal(mine.shape, np.float32)
            here[..., :3] += cv2.merge([noise * (np.float32(grain) * (1 - here[..., 3]))] * 3)
        np.clip(here, 0, _BRIGHTEST, out=here)

    in_blocks(finish, own.shape)
    surface.fine.bleed(image)
    return WholeTexture(image, visible_fraction)


def _over(first: Array, second: Array) -> Array:
    """What the first texture leaves open, taken from the second; colours (…, 4) multiplied by their weight."""
    return first + (1 - first[..., 3:]) * second


def _straight(texture: Array) -> Array:
    """Colours no longer multiplied by their weight."""
    return texture[..., :3] / np.maximum(texture[..., 3:], _TINY)


def _light_difference(surface: BodyTexels, mine: Array, theirs: Array) -> Array:
    """A smooth correction of mirrored colours, coarse: what separates both sides' light where both are visible.

    Where they show things of different colour, as skin and a sleeve that the fit has on it, light is not what differs.
    """
    both = mine[..., 3] * theirs[..., 3]
    seen = np.nonzero(both)
    colours = [_straight(side[seen]) for side in (mine, theirs)]
    both[seen] *= np.linalg.norm(np.subtract(*map(colour_features, colours)), axis=1) < SAME_COLOUR
    difference = np.clip(_straight(mine) - _straight(theirs), -1, 1)
    values, weight = paint_vertices(surface.coarse, surface.rows, difference, both)
    operator = surface.operator
    field = operator.spread(
        weight * operator.areas / _LIGHT_AVERAGE**2,
        values,
        operator.areas / _LIGHT_FADE**2,
        np.zeros(3),
    )
    field = np.clip(field, -_MOST_LIGHT, _MOST_LIGHT)
    light = surface.coarse.interpolate(field, surface.faces)
    surface.coarse.bleed(light)
    return light


def _continued(surface: BodyTexels, known: Array) -> Array:
    """A coarse texture whose visible parts reach a little further, with the colours of their rim."""
    sigma = max(0.8, _RIM * surface.texels_per_metre)
    blurred = cv2.GaussianBlur(known, (0, 0), sigma)
    weight = np.clip(2.5 * blurred[..., 3:] - np.float32(0.25), 0, 1)
    return _over(known, np.dstack((_straight(blurred) * weight, weight)))


def _fill(surface: BodyTexels, garments: Garments, known: Array, prints: Array) -> Array:
    """Colours (coarse, coarse, 3) for whatever `known`, coarse and multiplied by its weight, leaves open."""
    colours, weight = _straight(known), known[..., 3]
    plain = _without_detail(surface, colours, weight, prints)
    detail = np.abs(colours - plain).max(2) > _CONTRAST
    opening = garments.opening(colours, weight, detail, prints)
    patterned = garments.patterned(colours, weight, plain, detail, prints, opening)
    relief = surface.hollows * np.where(patterned, 1, _relief(surface, garments, colours, weight, prints))[..., None]
    hole = (opening & patterned) | garments.lettering(colours, weight, opening)
    pattern = colours
    if hole.any():
        pattern = _closed(surface, garments, colours, weight, hole)
        plain = _without_detail(surface, pattern, weight, prints)
    kept = patterned & (prints < 0.5)
    plain = np.where(kept[..., None], pattern, _without_prints(surface, garments, weight, plain))
    known = _over(known, surface.opposite(np.dstack((plain * weight[..., None], weight))))
    spread_out = _spread_colours(surface, known)
    filled = (known[..., :3] + (1 - known[..., 3:]) * spread_out) * relief
    surface.coarse.bleed(filled)
    return filled


def _relief(surface: BodyTexels, garments: Garments, colours: Array, weight: Array, prints: Array) -> Array:
    """Brightness (coarse, coarse) of made-up folds, on trunk and arms, and on legs, and of strands of hair: as deep as
    what shows there.
    """
    result = np.ones(prints.shape, np.float32)
    inside = cv2.erode(((weight > 0.9) & (prints < 0.5)).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    for region, pattern, density in (
        (garments.upper, FOLDS, surface.texels_per_metre),
        (garments.legs, FOLDS, surface.texels_per_metre),
        (surface.scalp, STRANDS, surface.scalp_texels),
    ):
        depths = depths_of(pattern, colours, region & inside, density)
        if depths is not None:
            result[region] = np.exp(surface.relief[region] @ depths)
    return result


def _closed(surface: BodyTexels, garments: Garments, colours: Array, weight: Array, hole: Mask) -> Array:
    """Colours (coarse, coarse, 3) with the garment's pattern in its `hole` as well, from patches around it."""
    border = 2 * round(_RIM * surface.texels_per_metre) + 1
    hole = cv2.dilate(hole.astype(np.uint8), np.ones((border, border), np.uint8)) > 0
    garment = garments.trunk & (weight > 0.5)
    image = np.rint(np.clip(colours / _BRIGHTEST, 0, 1) * 255).astype(np.uint8)
    return inpaint(image, hole & garment, ~garment, _PATTERN).astype(np.float32) * np.float32(_BRIGHTEST / 255)


def _without_prints(surface: BodyTexels, garments: Garments, weight: Array, plain: Array) -> Array:
    """Colours (coarse, coarse, 3) with the garment's own colour alone on chest and hips, where most of it has one.

    What is larger than a letter, such as a badge, a tie or the shirt in an open jacket, is not on the back as well: the
    garment's colour is that of both sides of the front, and where they have none, that of most of it.
    """
    part = surface.part_labels[surface.rows[:, 0]][np.maximum(surface.coarse.face, 0)]
    result = plain
    for names in (_CHEST, ("pelvis",)):
        region = parts_mask(part, names) & surface.coarse.covered
        shown = region & (weight > 0.5)
        sides = garments.front_sides[shown]
        for among in (sides, np.ones_like(sides)):
            usual = dominant(plain[shown], among)
            if usual[among].sum() > MOST_OF_A_GARMENT * max(among.sum(), 1):
                own = np.zeros(region.shape, np.float32)
                own[shown] = dominant(plain[shown], among, _SURE)
                sure = cv2.erode(own, np.ones((3, 3), np.uint8))
                result = np.where(region[..., None], fill_smoothly(plain, sure), result)
                break
    return result


def _without_detail(surface: BodyTexels, colours: Array, weight: Array, prints: Array) -> Array:
    """The colours (coarse, coarse, 3) without small things, letters and folds, and without prints."""
    filled = fill_smoothly(colours, ((weight > 0.3) & (prints < 0.5)).astype(np.float32))
    kernel = max(3, round(_DETAIL * surface.texels_per_metre) | 1)
    eight_bit = (np.clip(filled, 0, 1) * 255 + 0.5).astype(np.uint8)
    return cv2.medianBlur(eight_bit, kernel).astype(np.float32) / np.float32(255)


def _spread_colours(surface: BodyTexels, known: Array) -> Array:
    """Colours everywhere (coarse, coarse, 3) from texels with weight: harmonic over the surface, hair and face apart.

    Skin and cloths do not blend: each material is spread by itself, as is its share, and the greatest share shows.
    Where they change are cuffs, hems and waists.
    """
    operator = surface.operator
    values, visible = paint_vertices(surface.coarse, surface.rows, _straight(known), known[..., 3])
    data = visible * operator.areas / _FOLLOW**2
    # Hair and feet keep their colours apart from the rest, where they were visible: heels are no trousers.
    groups = (surface.hair & (_share(surface, surface.hair, visible) >= 0.02)).astype(np.int64)
    feet = parts_mask(surface.part_labels, FEET)
    if _share(surface, feet, visible) >= _FEET_SHOWN:
        groups[feet] = 3
    values = _usual_colours(surface, values, visible, groups)
    tone = skin_tone(surface, values, visible)
    materials = _materials(values[visible > 0.5], tone)
    for part, shown in [] if tone is None else _bare_parts(surface, values, visible, tone):
        missing = part & (shown < 0.05)
        values[missing], data[missing] = tone, 0.3 * operator.areas[missing] / _FOLLOW**2
        # Guessed skin ends at its part's border, as under a sleeve or a collar.
        groups[part] = 2
    if data.sum() == 0:
        return np.full((*known.shape[:2], 3), 0.5, np.float32)
    for part, colour in _limb_guesses(surface, values, visible):
        missing = part & (visible < 0.05)
        values[missing], data[missing] = colour, _GUESS * operator.areas[missing] / _FOLLOW**2
    nearest = np.linalg.norm(colour_features(values)[:, None] - materials, axis=2).argmin(1)
    one_hot = np.eye(len(materials))[nearest][..., None]
    columns = (one_hot * np.column_stack((values, np.ones(len(values))))[:, None]).reshape(len(values), -1)
    mean = (columns * data[:, None]).sum(0) / data.sum()
    field = operator.spread(data, columns, operator.areas * 1e-3, mean, groups, leak=0.002)
    layers = surface.coarse.interpolate(field.astype(np.float32), surface.faces)
    layers = layers.reshape(*known.shape[:2], len(materials), 4)
    shares = layers[..., 3]
    leading = np.clip((shares - shares.max(2, keepdims=True)) / _HEM + 1, 0, 1)[..., None]
    return np.asarray((_straight(layers) * leading).sum(2) / leading.sum(2))


def _materials(colours: Array, tone: Array | None) -> Array:
    """The `colour_features` of skin and cloths (M, 3): of a tone (3,), and of clusters of visible colours (N, 3)."""
    found = [] if tone is None else list(colour_features(tone[None]))
    centres, sizes = cluster_colours(colour_features(colours))
    for centre, size in sorted(zip(centres, sizes, strict=True), key=lambda cluster: -cluster[1]):
        if size > _LEAST_OF_IT * len(colours) and all(np.linalg.norm(centre - one) > SAME_COLOUR for one in found):
            found.append(centre)
    return np.array(found or [np.zeros(3)])


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


def _bare_parts(surface: BodyTexels, colour: Array, visible: Array, tone: Array) -> list[tuple[Mask, Array]]:
    """Face and hands, of which nothing was visible, with how visible (V,) they were: they are taken for skin.

    A cap, a hood or hair of somebody who looks away reaches into the face's border: of a face of which little was
    visible, only colours like the tone (3,) of skin count. Beards, masks and paint are on faces that were visible.
    """
    face = visible
    if _share(surface, surface.face, visible) < _FACE_SHOWN and not colourless(colour[visible > 0.5]):
        away = colour_features(colour) - colour_features(tone[None])
        face = np.where(np.linalg.norm(away, axis=1) < SAME_COLOUR, visible, 0)
    hands = [(parts_mask(surface.part_labels, HANDS[k : k + 2]), visible) for k in (0, 2)]
    return [(part, shown) for part, shown in [(surface.face, face), *hands] if _share(surface, part, shown) <= 0.03]


def skin_tone(surface: BodyTexels, colour: Array, visible: Array) -> Array | None:
    """The usual colour (3,) of skin, of the first of these parts that shows enough: head, hands, forearms.

    Among their points those count whose hue is in the skin locus of Soriano et al. (2003); in a photograph without
    colours, all of the face or of the hands.
    """
    labels, shown = surface.part_labels, visible > 0.5
    grey = colourless(colour[shown])
    head = parts_mask(labels, ("neck", "head")) & ~surface.hair
    hands = parts_mask(labels, HANDS)
    for part in (surface.face if grey else head, hands, *(() if grey else (parts_mask(labels, FOREARMS),))):
        found = part & shown & (grey | skin_hued(colour))
        if surface.operator.areas[found].sum() >= _LEAST_SKIN:
            bright = colour[found].max(1)  # the brighter half: strands of hair and deep shadows are no skin
            return np.asarray(np.median(colour[found][bright >= np.median(bright)], axis=0))
    return None


def skin_hued(colour: Array) -> NDArray[np.bool_]:
    """Which colours (N, 3) lie in the skin locus: between two parabolas of r and g = R, G / (R + G + B), off white."""
    r, g, _ = (colour / np.maximum(colour.sum(1, keepdims=True), 1e-6)).T
    white = (r - 1 / 3) ** 2 + (g - 1 / 3) ** 2 < 0.0004
    below, above = -0.776 * r**2 + 0.5601 * r + 0.1766, -1.3767 * r**2 + 1.0743 * r + 0.1452
    return np.asarray((g > below) & (g < above + 0.02) & ~white & (r > 1 / 3))


def _limb_guesses(surface: BodyTexels, colour: Array, visible: Array) -> list[tuple[NDArray[np.bool_], Array]]:
    """Parts of trunk and limbs that were not visible, with the usual colour of the nearest one up the body that was.

    A border alone may be a belt, a glove or a shadow; most of what lies above it is the cloth that goes on.
    """
    parts = [surface.part_labels == row for row in range(len(SMPL24))]
    shares = [_share(surface, part, visible) for part in parts]
    guesses = []
    for row, name in enumerate(SMPL24.joint_names):
        if shares[row] > 0.05 or name in ("neck", "head", *HANDS):
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
