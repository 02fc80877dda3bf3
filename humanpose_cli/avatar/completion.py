"""What a photograph does not show of a body's texture, made up from what it shows.

Hidden texels are filled by symmetry first, then by the opposite side, then smoothly; garments keep their own colour and
folds, and prints and badges stay alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.relief import fold_depths
from humanpose_cli.avatar.surface import FOREARMS, HANDS, BodyTexels, flat_parts, limb_groups, parts_mask, spread
from humanpose_cli.body.texture import BakedTexture, bleed_islands, fill_smoothly, paint_vertices
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
# Visible skin (m²) that tells its colour; contrast of channels below which a photograph has no colours.
_LEAST_SKIN, _COLOURLESS = 0.0015, 0.02
# A garment is patterned where this share of its texels differs by so much from the surroundings' median.
_PATTERNED, _CONTRAST = 0.2, 0.1
# It is, too, where some do nearly everywhere: this share in most places (m wide), and even in the tenth of them that
# have least no less than that part of it.
_PLACE, _SOME, _EVEN = 0.12, 0.12, 0.3
# A garment's own colour: clusters of the colours shown, what differs less is the same, and covers that share or more.
_CLUSTERS, _SAME, _MOST_OF_IT, _OF_BRIGHTNESS, _SATURATED = 4, 0.35, 0.55, 0.25, 3.0
_CHEST, _FEWEST_TEXELS = ("spine1", "spine2", "spine3", "left_collar", "right_collar"), 100
_SIDES = (0.06, 0.14)  # metres from the middle of the resting body: both sides of an open front
# An open patterned garment: what it is open to is in the middle (m) of the front, most of which it covers, as it does
# not both sides. The garment's own colours cover this share of the sides, and such a part of their share of the middle.
# What it is open to has mostly others, or less than such a part of the sides' detail, within some width (m).
_MIDDLE, _OF_MIDDLE, _OF_SIDES = 0.03, 0.6, 0.5
_OWN, _THERE_TOO, _LESS_DETAIL, _NEARBY = 0.15, 0.4, 0.4, 0.07
# A print covers so much (m²), with a border that is its garment's own colour, on a garment that mostly has it.
_PRINT, _ENCLOSED, _MUCH_OF_IT = (0.0003, 0.02), 0.6, 0.4
# Weight of a guessed colour against a visible one.
_GUESS = 0.05
# A material covers that share of the visible surface or more; by how much its share leads where it alone shows.
_LEAST_OF_IT, _HEM = 0.04, 0.06
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
    own = np.clip((baked.confidence - np.float32(0.08)) / np.float32(0.55 - 0.08), 0, 1)
    own = own * own * (3 - 2 * own)
    image = np.empty((*own.shape, 4), np.float32)
    np.multiply(baked.colour, own[..., None], out=image[..., :3])
    image[..., 3] = own
    prints = _prints(surface, surface.reduce(image))
    theirs = surface.mirror(image * (1 - surface.enlarge(prints)[..., None]) if prints.any() else image)
    if not mirror_face:
        theirs *= 1 - surface.fine.interpolate(surface.face[:, None].astype(np.float32), surface.faces)
    coarse, coarse_theirs = surface.reduce(image), surface.reduce(theirs)
    shown = surface.reduce(baked.visible.astype(np.float32))
    _, visible = paint_vertices(surface.coarse, surface.rows, shown[..., None], shown)
    visible_fraction = _share(surface, np.ones(len(visible), bool), visible)
    light = _light_difference(surface, coarse, coarse_theirs)
    coarse_theirs[..., :3] += light * coarse_theirs[..., 3:]
    filled = surface.enlarge(_fill(surface, _continued(surface, _over(coarse, coarse_theirs)), prints))
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
    np.clip(image, 0, _BRIGHTEST, out=image)
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


def _fill(surface: BodyTexels, known: Array, prints: Array) -> Array:
    """Colours (coarse, coarse, 3) for whatever `known`, coarse and multiplied by its weight, leaves open."""
    plain = _without_detail(surface, known, prints)
    detail = np.abs(_straight(known) - plain).max(2) > _CONTRAST
    opening = _opening(surface, known, detail, prints)
    patterned = _patterned(surface, known, plain, detail, prints, opening)
    relief = surface.hollows * np.where(patterned, 1, _folds(surface, known, prints))
    pattern = _closed(surface, known, opening) if (opening & patterned[..., 0]).any() else _straight(known)
    plain = np.where(patterned & (prints[..., None] < 0.5), pattern, _without_prints(surface, known, plain))
    known = _over(known, surface.opposite(np.dstack((plain * known[..., 3:], known[..., 3]))))
    spread_out = _spread_colours(surface, known)
    filled = (known[..., :3] + (1 - known[..., 3:]) * spread_out) * relief
    bleed_islands(filled, surface.coarse.covered)
    return filled


def _garments(surface: BodyTexels) -> list[Mask]:
    """Texels (coarse, coarse) of trunk, arms and legs without hands and feet."""
    first = surface.rows[:, 0]
    face = np.maximum(surface.coarse.face, 0)
    labels = surface.part_labels[first]
    cloth, limbs = (flat_parts(labels)[face] & surface.coarse.covered), limb_groups()[labels][face]
    return [cloth & (limbs == limb) for limb in range(5)]


def _folds(surface: BodyTexels, known: Array, prints: Array) -> Array:
    """Brightness (coarse, coarse, 1) of made-up folds: on trunk and arms, and on legs, as deep as what shows there."""
    trunk, left_arm, right_arm, left_leg, right_leg = _garments(surface)
    result = np.ones((*prints.shape, 1), np.float32)
    garments, colours = (trunk | left_arm | right_arm, left_leg | right_leg), _straight(known)
    inside = cv2.erode(((known[..., 3] > 0.9) & (prints < 0.5)).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    found = [fold_depths(colours, garment & inside, _texels_per_metre(surface)) for garment in garments]
    for garment, depths in zip(garments, found, strict=True):
        if depths is not None:
            result[garment, 0] = np.exp(surface.folds[garment] @ depths)
    return result


def _prints(surface: BodyTexels, known: Array) -> Array:
    """Where (coarse, coarse) 0…1 a badge or a print lies on cloth of mostly one colour: it is nowhere else as well."""
    result = np.zeros(known.shape[:2], np.float32)
    square = _texels_per_metre(surface) ** 2
    for garment in _garments(surface):
        shown = garment & (known[..., 3] > 0.5)
        own = np.zeros(shown.shape, bool)
        own[shown] = _usual(_straight(known)[shown])
        if own.sum() < _MUCH_OF_IT * max(shown.sum(), 1):
            continue
        other = cv2.morphologyEx((shown & ~own).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        count, labels, stats, _ = cv2.connectedComponentsWithStats(other, connectivity=4)
        found = np.zeros(shown.shape, bool)
        for label in range(1, count):
            if not _PRINT[0] < stats[label, cv2.CC_STAT_AREA] / square < _PRINT[1]:
                continue
            island = (labels == label).astype(np.uint8)
            around = cv2.dilate(island, np.ones((5, 5), np.uint8)) > 0
            if own[around & (island == 0)].mean() > _ENCLOSED:
                found |= around
        if found[shown].mean() < _PATTERNED:  # more of them are a pattern
            result[found] = 1
    return result


def _share_nearby(surface: BodyTexels, chosen: Mask, among: Mask, width: float = _NEARBY) -> Array:
    """Which share (coarse, coarse) of the texels `among` those around each one, `width` metres wide, is chosen."""
    side = max(3, round(width * _texels_per_metre(surface)) | 1)
    mean = [cv2.boxFilter(one.astype(np.float32), -1, (side, side)) for one in (chosen & among, among)]
    return np.asarray(mean[0] / np.maximum(mean[1], _TINY))


def _aside(surface: BodyTexels) -> Array:
    """How far (coarse, coarse) each texel is from the middle of the resting body, metres."""
    return np.abs(surface.coarse.interpolate(surface.rest[:, :1].astype(np.float32), surface.faces)[..., 0])


def _opening(surface: BodyTexels, known: Array, detail: Mask, prints: Array) -> Mask:
    """Where (coarse, coarse) a patterned garment that is open shows what is worn below it: in the middle of the front
    other colours than on both sides, or none of their detail.
    """
    trunk, aside = _garments(surface)[0], _aside(surface)
    shown = trunk & (known[..., 3] > 0.5) & (prints < 0.5)
    sides, middle = (shown & (aside > low) & (aside < high) for low, high in (_SIDES, (0, _MIDDLE)))
    if min(sides.sum(), middle.sum()) < _FEWEST_TEXELS:
        return np.zeros(shown.shape, bool)
    share = _share_nearby(surface, detail, shown)
    usual_share = float(np.median(share[sides]))
    less = (share < _LESS_DETAIL * usual_share) & (usual_share > _SOME)
    other = np.zeros(shown.shape, bool)
    other[shown] = _other_colours(_straight(known)[shown], sides[shown], middle[shown])
    result = shown & (aside < _SIDES[1]) & ((_share_nearby(surface, other, shown) > 0.5) | less)
    if result[middle].mean() < _OF_MIDDLE or result[sides].mean() > _OF_SIDES:
        return np.zeros(shown.shape, bool)
    return result


def _other_colours(colours: Array, sides: Mask, middle: Mask) -> Mask:
    """Which of the colours (N, 3) of a front are none of the garment's own: those are common on its `sides` (N,), and
    not much more so in its `middle` (N,).
    """
    appearance = _appearance(colours)
    centres, sizes = _clusters(appearance[sides])
    near = np.linalg.norm(appearance[:, None] - centres, axis=2) < _SAME
    own = (sizes > _OWN * sides.sum()) & (near[sides].mean(0) > _THERE_TOO * near[middle].mean(0))
    return np.asarray(~near[:, own].any(1))


def _closed(surface: BodyTexels, known: Array, opening: Mask) -> Array:
    """Colours (coarse, coarse, 3) with the garment's pattern in its opening as well, from patches of both sides."""
    border = 2 * round(_RIM * _texels_per_metre(surface)) + 1
    hole = cv2.dilate(opening.astype(np.uint8), np.ones((border, border), np.uint8)) > 0
    garment = _garments(surface)[0] & (known[..., 3] > 0.5)
    colours = np.rint(np.clip(_straight(known) / _BRIGHTEST, 0, 1) * 255).astype(np.uint8)
    return inpaint(colours, hole & garment, ~garment).astype(np.float32) * np.float32(_BRIGHTEST / 255)


def _patterned(surface: BodyTexels, known: Array, plain: Array, detail: Mask, prints: Array, opening: Mask) -> Mask:
    """Texels (coarse, coarse, 1) of garments, on trunk and arms or on legs, whose visible part is covered with detail
    that is no letters or badge on plain cloth, as a printed shirt is, or that are open and of several colours. Of the
    upper one, the trunk tells.

    detail  (coarse, coarse) what differs from its surroundings
    """
    trunk, left_arm, right_arm, left_leg, right_leg = _garments(surface)
    legs = left_leg | right_leg
    result = np.zeros((*opening.shape, 1), bool)
    for telling, garment in ((trunk, trunk | left_arm | right_arm), (legs, legs)):
        shown = telling & (known[..., 3] > 0.7) & (prints < 0.5) & ~opening
        if not shown.any():
            continue
        detailed = detail[shown]
        one_colour = _usual(plain[shown]).mean() > _MOST_OF_IT
        if one_colour:
            # What has another colour than most of the garment lies on it: a collar, straps.
            detailed = detailed & _usual(_straight(known)[shown])
        few, most = np.quantile(_share_nearby(surface, detail, shown, _PLACE)[shown], (0.1, 0.5))
        everywhere = most > _SOME and few > _EVEN * most
        several = not one_colour and (opening & telling).any()
        result[garment] = several or everywhere or detailed.mean() > _PATTERNED
    return result


def _without_prints(surface: BodyTexels, known: Array, plain: Array) -> Array:
    """Colours (coarse, coarse, 3) with the garment's own colour alone on chest and hips, where most of it has one.

    What is larger than a letter, such as a badge, a tie or the shirt in an open jacket, is not on the back as well: the
    garment's colour is that of both sides of the front, and where they have none, that of most of it.
    """
    part = surface.part_labels[surface.rows[:, 0]][np.maximum(surface.coarse.face, 0)]
    aside = _aside(surface)
    result = plain
    for names in (_CHEST, ("pelvis",)):
        region = parts_mask(part, names) & surface.coarse.covered
        shown = region & (known[..., 3] > 0.5)
        sides = (aside[shown] > _SIDES[0]) & (aside[shown] < _SIDES[1])
        for among in (sides, np.ones_like(sides)):
            usual = _usual(plain[shown], among)
            if usual[among].sum() > _MOST_OF_IT * max(among.sum(), 1):
                own = np.zeros(region.shape, np.float32)
                own[shown] = usual
                sure = cv2.erode(own, np.ones((3, 3), np.uint8))
                result = np.where(region[..., None], fill_smoothly(plain, sure), result)
                break
    return result


def _usual(colours: Array, among: Mask | None = None) -> Mask:
    """Which of the colours (N, 3) are much like the most frequent one, or that `among` (N,) some of them, but for
    folds and light.
    """
    seen = _appearance(colours)
    chosen = seen if among is None else seen[among]
    if len(chosen) < _FEWEST_TEXELS:
        return np.zeros(len(colours), bool)
    centres, sizes = _clusters(chosen)
    main = centres[sizes.argmax()]
    for _ in range(4):  # from the cluster's middle to the densest colour near it
        near = np.linalg.norm(chosen - main, axis=1) < _SAME
        main = np.median(chosen[near], axis=0) if near.any() else main
    return np.asarray(np.linalg.norm(seen - main, axis=1) < _SAME)


def _clusters(points: Array) -> tuple[Array, NDArray[np.int64]]:
    """Centres (K, 3) of clusters of points (N, 3), and how many points each has; none of too few points."""
    if len(points) < _CLUSTERS:
        return np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    start = np.zeros((len(points), 1), np.int32)
    _, labels, centres = cv2.kmeans(points, _CLUSTERS, start, stop, 1, cv2.KMEANS_PP_CENTERS)
    return centres, np.bincount(labels[:, 0], minlength=_CLUSTERS)


def _appearance(colours: Array) -> Array:
    """Colours (N, 3) so that those of one cloth in other light are near: hue by saturation, and a little brightness."""
    bright = np.maximum(colours.max(1), 0.02)
    red, green, blue = colours.T
    hue = np.stack((red - (green + blue) / 2, (green - blue) * np.float32(0.866)), 1)
    chroma = np.linalg.norm(hue, axis=1)
    hue *= (np.tanh(_SATURATED * chroma / bright) / np.maximum(chroma, 1e-6))[:, None]
    return np.column_stack((hue, _OF_BRIGHTNESS * np.log(bright))).astype(np.float32)


def _without_detail(surface: BodyTexels, known: Array, prints: Array) -> Array:
    """The colours (coarse, coarse, 3) without small things, letters and folds, and without prints."""
    filled = fill_smoothly(_straight(known), ((known[..., 3] > 0.3) & (prints < 0.5)).astype(np.float32))
    kernel = max(3, round(_DETAIL * _texels_per_metre(surface)) | 1)
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
    # Hair keeps its colours apart from the rest, where hair was visible.
    groups = (surface.hair & (_share(surface, surface.hair, visible) >= 0.02)).astype(np.int64)
    values = _usual_colours(surface, values, visible, groups)
    tone = _skin_tone(surface, values, visible)
    materials = _materials(values[visible > 0.5], tone)
    for part in [] if tone is None else _bare_parts(surface, visible):
        missing = part & (visible < 0.05)
        values[missing], data[missing] = tone, 0.3 * operator.areas[missing] / _FOLLOW**2
        # Guessed skin ends at its part's border, as under a sleeve or a collar.
        groups[part] = 2
    if data.sum() == 0:
        return np.full((*known.shape[:2], 3), 0.5, np.float32)
    for part, colour in _limb_guesses(surface, values, visible):
        missing = part & (visible < 0.05)
        values[missing], data[missing] = colour, _GUESS * operator.areas[missing] / _FOLLOW**2
    nearest = np.linalg.norm(_appearance(values)[:, None] - materials, axis=2).argmin(1)
    one_hot = np.eye(len(materials))[nearest][..., None]
    columns = (one_hot * np.column_stack((values, np.ones(len(values))))[:, None]).reshape(len(values), -1)
    mean = (columns * data[:, None]).sum(0) / data.sum()
    field = spread(operator.stiffness(groups, leak=0.002), data, columns, operator.areas * 1e-3, mean)
    layers = surface.coarse.interpolate(field.astype(np.float32), surface.faces)
    layers = layers.reshape(*known.shape[:2], len(materials), 4)
    shares = layers[..., 3]
    leading = np.clip((shares - shares.max(2, keepdims=True)) / _HEM + 1, 0, 1)[..., None]
    return np.asarray((_straight(layers) * leading).sum(2) / leading.sum(2))


def _materials(colours: Array, tone: Array | None) -> Array:
    """The `_appearance` of skin and cloths (M, 3): of a tone (3,), and of clusters of visible colours (N, 3)."""
    found = [] if tone is None else list(_appearance(tone[None]))
    centres, sizes = _clusters(_appearance(colours))
    for centre, size in sorted(zip(centres, sizes, strict=True), key=lambda cluster: -cluster[1]):
        if size > _LEAST_OF_IT * len(colours) and all(np.linalg.norm(centre - one) > _SAME for one in found):
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


def _bare_parts(surface: BodyTexels, visible: Array) -> list[NDArray[np.bool_]]:
    """Face and hands, of which nothing was visible: they are taken for skin."""
    bare = [surface.face, *(parts_mask(surface.part_labels, HANDS[k : k + 2]) for k in (0, 2))]
    return [part for part in bare if _share(surface, part, visible) <= 0.03]


def _skin_tone(surface: BodyTexels, colour: Array, visible: Array) -> Array | None:
    """The usual colour (3,) of skin, of the first of these parts that shows enough: head, hands, forearms.

    Among their points those count whose hue is in the skin locus of Soriano et al. (2003); in a photograph without
    colours, all of the face or of the hands.
    """
    labels, shown = surface.part_labels, visible > 0.5
    colourless = bool(shown.any()) and float(np.median(np.ptp(colour[shown], axis=1))) < _COLOURLESS
    head = parts_mask(labels, ("neck", "head")) & ~surface.hair
    hands = parts_mask(labels, HANDS)
    for part in (surface.face if colourless else head, hands, *(() if colourless else (parts_mask(labels, FOREARMS),))):
        found = part & shown & (colourless | _skin_hued(colour))
        if surface.operator.areas[found].sum() >= _LEAST_SKIN:
            bright = colour[found].max(1)  # the brighter half: strands of hair and deep shadows are no skin
            return np.asarray(np.median(colour[found][bright >= np.median(bright)], axis=0))
    return None


def _skin_hued(colour: Array) -> NDArray[np.bool_]:
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
