"""Completion of a body's texture: what a photograph does not show is made up from what it shows.

Hidden texels are filled by symmetry first, then from the opposite side, then smoothly; garments keep their colours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.avatar.colours import (
    PLAIN_SHARE,
    SAME_CLOTH,
    cloth_features,
    cluster_centres,
    dominant_colour,
    is_grey,
    like_colour,
    skin_hued,
)
from humanpose_cli.avatar.surface import FEET, FOREARMS, HANDS, LEGS, SLEEVES, TRUNK, BodyTexels, parts_mask
from humanpose_cli.body.texture import BakedTexture, fill_smoothly, paint_vertices
from humanpose_cli.core.blocks import in_blocks
from humanpose_cli.core.conventions import SMPL24

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_LIGHT_AVERAGE = 0.04  # metres: way that differences of both sides' light average
_LIGHT_FADE = 0.15  # metres: way over which such a difference fades
_MAX_LIGHT = 0.15  # maximum change of a mirrored side's colours
_DETAIL = 0.045  # metres: size of details that hidden points do not take
_RIM = 0.012  # metres: way that the visible part's border goes on
_FOLLOW = 0.01  # metres: way within which spread colours follow visible ones
_CERTAIN = 0.12  # distance of colours that are certainly a garment's own
_ROUND = 0.04  # metres: way within which the garment that goes round the body is that of the visible border
_MIN_FEET = 0.05  # visible share of the feet that decides their colour
_MIN_SKIN = 0.0015  # m²: visible skin that decides its colour
_MIN_FACE = 0.3  # visible share of a face that keeps its colours; others keep only colours of skin
_MIN_HAIR = 0.6  # share of the visible scalp without skin from which the hidden one has none
_INHERITED_WEIGHT = 0.05  # weight of a colour from further up the body, against a visible one
_MIN_MATERIAL = 0.08  # share of head, trunk and arms, legs or feet from which a material counts
_USUAL_COLOUR = 0.3  # metres: way along the surface over which colours become the usual one of their cloth
_CLOTH_BRIGHTNESS = 0.5  # weight of the logarithm of brightness among colours whose light was taken off
_OTHER_CLOTH = 0.15  # distance of the legs' colours from which they are other cloth than the trunk's

_CHEST = ("spine1", "spine2", "spine3", "left_collar", "right_collar")
_DARK = 0.12  # neutral: shoes that the photo does not show
_TINY = np.float32(1e-6)
_MAX_COLOUR = 2.0  # of a surface whose light was taken off


class CompleteTexture(NamedTuple):
    """A texture without gaps.

    Attributes:
        image: (S, S, 4) float32. RGB, 1 for the photo's white, and the share of each texel that comes from the photo,
            0…1.
        visible_fraction: The share of the surface, by area, that the photo shows.
    """

    image: Array
    visible_fraction: float


def complete_texture(
    surface: BodyTexels,
    baked: BakedTexture,
    grain: float = 0.0,
    *,
    mirror_face: bool = True,
    covered: Array | None = None,
    shod: bool = False,
    bare: bool = False,
) -> CompleteTexture:
    """Fill the hidden texels of a texture.

    A hidden texel takes the colour of its mirror image, if that is visible, corrected by a smooth field so that both
    sides agree. On trunk and limbs it then takes the colour straight through the body, without details. The rest takes
    colours that are spread over the surface, hair from hair. Made-up colours vary slowly and are computed in a reduced
    texture.

    Args:
        surface: The body's texels.
        baked: The photo's colours and their confidence.
        grain: The standard deviation, 0…1, of noise on made-up texels.
        mirror_face: Whether the hidden half of a face is the mirror image of the visible one. Otherwise it has no
            features.
        covered: (V,) float, 0…1. How far clothes cover each vertex; covered hollows are not dark. None for no clothes.
        shod: Whether feet wear shoes, which never have the skin's colour and are dark if hidden.
        bare: Whether legs that are hidden are bare, as below a skirt.
    """
    shares = np.empty(baked.confidence.shape, np.float32)
    image = np.empty((*shares.shape, 4), np.float32)

    def begin(rows: slice) -> None:
        certain = np.clip((baked.confidence[rows] - np.float32(0.08)) / np.float32(0.55 - 0.08), 0, 1)
        shares[rows] = certain * certain * (3 - 2 * certain)
        np.multiply(baked.colour[rows], cv2.merge([shares[rows]] * 3), out=image[rows, :, :3])
        image[rows, :, 3] = shares[rows]

    in_blocks(begin, shares.shape)
    coarse = surface.reduce(image)
    filling = _Filling(surface, covered, shod=shod, bare=bare)
    mirror_image = surface.mirror(image)
    if not mirror_face:
        mirror_image *= 1 - surface.fine.interpolate(surface.face[:, None].astype(np.float32), surface.faces)
    coarse_mirrored = surface.reduce(mirror_image)
    visible = surface.reduce(baked.visible.astype(np.float32))
    _, visible = paint_vertices(surface.coarse, surface.rows, visible[..., None], visible)
    visible_fraction = _share(surface, np.ones(len(visible), bool), visible)
    light = filling.light_difference(coarse, coarse_mirrored)
    coarse_mirrored[..., :3] += light * coarse_mirrored[..., 3:]
    made_up = filling.fill(filling.continued(_over(coarse, coarse_mirrored)))
    # With a fourth channel of nothing, like the texture.
    empty = np.zeros(light.shape[:2], np.float32)
    light, made_up = (surface.enlarge(np.dstack((layer, empty))) for layer in (light, made_up))

    def finish(rows: slice) -> None:
        texels = image[rows]
        mirrored = mirror_image[rows]
        share = shares[rows]
        mirrored += light[rows] * cv2.merge([mirrored[..., 3]] * 4)
        mirrored *= cv2.merge([1 - share] * 4)
        texels += mirrored
        texels += made_up[rows] * cv2.merge([1 - texels[..., 3]] * 4)
        texels[..., 3] = (texels[..., 3] + share) * np.float32(0.5)
        if grain > 0:
            noise = np.random.default_rng(rows.start).standard_normal(share.shape, np.float32)
            texels[..., :3] += cv2.merge([noise * (np.float32(grain) * (1 - texels[..., 3]))] * 3)
        np.clip(texels, 0, _MAX_COLOUR, out=texels)

    in_blocks(finish, shares.shape)
    surface.fine.bleed(image)
    return CompleteTexture(image, visible_fraction)


def _over(first: Array, second: Array) -> Array:
    """Fill the gaps of a texture from a second one; colours (..., 4) multiplied by their weight."""
    return first + (1 - first[..., 3:]) * second


def _straight(texture: Array) -> Array:
    """Divide colours (..., 4) by their weight."""
    return texture[..., :3] / np.maximum(texture[..., 3:], _TINY)


class _Materials(NamedTuple):
    """Skin and cloths of a person: centres (M, 3) of the features of their colours."""

    centres: Array

    def nearest(self, colours: Array) -> NDArray[np.int64]:
        """Return the material (...) of each colour (..., 3)."""
        features = cloth_features(colours.reshape(-1, 3), _CLOTH_BRIGHTNESS)
        distances = np.stack([np.linalg.norm(features - centre, axis=1) for centre in self.centres])
        return np.asarray(distances.argmin(0).reshape(colours.shape[:-1]))

    def distance(self, colours: Array, material: NDArray[np.int64]) -> Array:
        """Return the distance (...) of each colour (..., 3) from its material (...)."""
        features = cloth_features(colours.reshape(-1, 3), _CLOTH_BRIGHTNESS).reshape(colours.shape)
        return np.asarray(np.linalg.norm(features - self.centres[material], axis=-1))


class _Filling:
    """The colours of the hidden texels of a body, on its coarse texture (S, S)."""

    def __init__(self, surface: BodyTexels, covered: Array | None, *, shod: bool, bare: bool) -> None:
        self.covered = covered
        self.shod = shod
        self.bare = bare
        self.surface = surface
        self.detail = max(3, round(_DETAIL * surface.texels_per_metre) | 1)  # texels

    def light_difference(self, image: Array, mirror_image: Array) -> Array:
        """Return a smooth correction (S, S, 3) of mirrored colours: the difference of the light of both sides."""
        surface = self.surface
        operator = self.surface.operator
        # Things of different colour, such as skin and a sleeve that the fit places on it, do not differ in light.
        both = image[..., 3] * mirror_image[..., 3]
        both_visible = np.nonzero(both)
        features = [cloth_features(_straight(side[both_visible])) for side in (image, mirror_image)]
        both[both_visible] *= np.linalg.norm(features[0] - features[1], axis=1) < SAME_CLOTH
        difference = np.clip(_straight(image) - _straight(mirror_image), -1, 1)
        values, weight = paint_vertices(surface.coarse, surface.rows, difference, both)
        data = weight * operator.areas / _LIGHT_AVERAGE**2
        fade = operator.areas / _LIGHT_FADE**2
        field = operator.spread(data, values, fade, np.zeros(3))
        field = np.clip(field, -_MAX_LIGHT, _MAX_LIGHT)
        light = surface.coarse.interpolate(field, surface.faces)
        surface.coarse.bleed(light)
        return light

    def continued(self, visible: Array) -> Array:
        """Extend the visible parts of a texture (S, S, 4) a little, with the colours of their rim."""
        sigma = max(0.8, _RIM * self.surface.texels_per_metre)
        blur = cv2.GaussianBlur(visible, (0, 0), sigma)
        weight = np.clip(2.5 * blur[..., 3:] - np.float32(0.25), 0, 1)
        return _over(visible, np.dstack((_straight(blur) * weight, weight)))

    def fill(self, visible: Array) -> Array:
        """Make up colours (S, S, 3) for the gaps of a texture (S, S, 4) multiplied by its weight."""
        surface = self.surface
        colours = _straight(visible)
        weight = visible[..., 3]
        # What the back of a garment takes from its front: the colour alone, no letters, badges or folds, and of these
        # colours only those of the garment that goes round at this height, not of the shirt in an open coat.
        _, label, materials = self._spread_colours(visible, _ROUND)
        plain = self._plain_chest(weight, self._without_detail(colours, weight), label, materials)
        opposite = surface.opposite(np.dstack((plain * weight[..., None], weight)))
        same = materials.distance(_straight(opposite), label) < SAME_CLOTH
        opposite *= cv2.erode(same.astype(np.float32), np.ones((self.detail, self.detail), np.uint8))[..., None]
        evidence = _over(visible, opposite)
        spread, label, materials = self._spread_colours(evidence)
        # Only colours of the same cloth are borrowed: a hem is no mixture of two cloths.
        visible = visible * ((materials.nearest(colours) == label) | (weight > 0.95))[..., None]
        result = visible[..., :3] + (1 - visible[..., 3:]) * spread
        result *= self._light_in_hollows()[..., None]
        surface.coarse.bleed(result)
        return result

    def _light_in_hollows(self) -> Array:
        """Return the brightness (S, S) of hollows of the bare surface."""
        if self.covered is None:
            return self.surface.hollows
        bare = 1 - self.surface.coarse.interpolate(self.covered[:, None], self.surface.faces)[..., 0]
        return 1 + (self.surface.hollows - 1) * bare

    def _plain_chest(self, weight: Array, plain: Array, label: NDArray[np.int64], materials: _Materials) -> Array:
        """Paint the chest of colours (S, S, 3), and of labels (S, S), with the garment that goes round most of it."""
        # Details larger than letters, such as a badge, a tie or the shirt in an open jacket, are not on the back.
        surface = self.surface
        part = surface.part_labels[surface.rows[:, 0]][np.maximum(surface.coarse.face, 0)]
        region = parts_mask(part, _CHEST) & surface.coarse.covered
        garment = np.bincount(label[region]).argmax()
        if (label[region] == garment).mean() <= PLAIN_SHARE:
            return plain
        label[region] = garment
        visible = region & (weight > 0.5) & (materials.distance(plain, label) < SAME_CLOTH)
        certain = np.zeros(region.shape, np.float32)
        certain[visible] = dominant_colour(plain[visible], _CERTAIN)
        inner = cv2.erode(certain, np.ones((3, 3), np.uint8))
        return np.where(region[..., None] & inner.any(), fill_smoothly(plain, np.asarray(inner)), plain)

    def _without_detail(self, colours: Array, weight: Array) -> Array:
        """Remove letters and folds from colours (S, S, 3)."""
        colours_everywhere = fill_smoothly(colours, (weight > 0.3).astype(np.float32))
        eight_bit = (np.clip(colours_everywhere, 0, 1) * 255 + 0.5).astype(np.uint8)
        return cv2.medianBlur(eight_bit, self.detail).astype(np.float32) / np.float32(255)

    def _spread_colours(self, evidence: Array, follow: float = _FOLLOW) -> tuple[Array, NDArray[np.int64], _Materials]:
        """Spread colours (S, S, 3) from texels with weight; also return the material (S, S) of each texel."""
        # Skin and cloths do not blend: each material is spread by itself, as is its share, and the largest share shows.
        # Cuffs, hems and waists lie where the material changes.
        surface = self.surface
        operator = self.surface.operator
        values, visible = paint_vertices(surface.coarse, surface.rows, _straight(evidence), evidence[..., 3])
        data = visible * operator.areas / follow**2
        # Visible hair and feet do not mix with other colours: heels are no trousers.
        groups = (surface.hair & (_share(surface, surface.hair, visible) >= 0.02)).astype(np.int64)
        feet = parts_mask(surface.part_labels, FEET)
        if _share(surface, feet, visible) >= _MIN_FEET:
            groups[feet] = 3
        elif self.shod:
            groups[feet] = 3
            values[feet] = _DARK
            data[feet] = operator.areas[feet] / _FOLLOW**2
        tone = skin_tone(surface, values, visible)
        materials = self._materials(values, visible > 0.5, tone)
        for part, part_visible in [] if tone is None else self._bare_parts(values, visible, tone):
            missing = part & (part_visible < 0.05)
            values[missing] = tone
            data[missing] = 0.3 * operator.areas[missing] / _FOLLOW**2
            # Guessed skin ends at its part's border, as under a sleeve or a collar.
            groups[part] = 2
        if data.sum() == 0:
            grey = np.full((*evidence.shape[:2], 3), 0.5, np.float32)
            return grey, np.zeros(grey.shape[:2], np.int64), materials
        for part, colour in _limb_colours(surface, values, visible, tone if self.bare else None):
            missing = part & (visible < 0.05)
            values[missing] = colour
            data[missing] = _INHERITED_WEIGHT * operator.areas[missing] / _FOLLOW**2
        members = np.eye(len(materials.centres))[materials.nearest(values)]
        if self.shod and tone is not None:
            data[feet & (members[:, 0] > 0)] = 0  # skin beside a shoe is no leather
        # Where a material is: its share goes round trunk and limbs, so that hems and cuffs keep their height.
        rest = (members * data[:, None]).sum(0) / data.sum()
        shares = surface.around.spread(data, members, operator.areas * 1e-3, rest, groups, leak=0.002)
        # What it looks like there: its colour nearby, further away its usual one.
        usual = _usual_colours(values, members > 0, data > 0.5 * operator.areas / _FOLLOW**2)
        columns = (members[..., None] * np.column_stack((values, np.ones(len(values))))[:, None]).reshape(
            len(values), -1
        )
        rest = np.column_stack((usual, np.ones(len(usual)))).ravel()
        field = operator.spread(data, columns, operator.areas / _USUAL_COLOUR**2, rest, groups, leak=0.002)
        if tone is not None:  # the first material; without one, it is another
            shares[self._covered_scalp(visible, members[:, 0] > 0), 0] = -1
        leading = surface.coarse.interpolate(shares.astype(np.float32), surface.faces).argmax(2)
        layers = surface.coarse.interpolate(field.astype(np.float32), surface.faces)
        layers = _straight(layers.reshape(*leading.shape, -1, 4))
        return np.take_along_axis(layers, leading[..., None, None], 2)[..., 0, :], leading, materials

    def _materials(self, colours: Array, visible: Mask, tone: Array | None) -> _Materials:
        """Find the materials: skin, whose tone (3,) is given, and clusters of visible colours (V, 3)."""
        # A shirt and trousers may differ less than one cloth in light and shadow: each has clusters of its own.
        labels = self.surface.part_labels
        zones = [] if tone is None else list(cloth_features(tone[None], _CLOTH_BRIGHTNESS))
        hair = self.surface.hair
        for names in (None, ("neck", "head"), TRUNK + SLEEVES, LEGS, FEET):
            zone = visible & (hair if names is None else parts_mask(labels, names) & ~hair)
            centres, sizes = cluster_centres(cloth_features(colours[zone], _CLOTH_BRIGHTNESS))
            limits_of_zones = [_OTHER_CLOTH if names == LEGS else SAME_CLOTH] * len(zones)
            for row in np.argsort(-sizes, kind="stable"):
                distances = np.array([np.linalg.norm(centres[row] - zone_centre) for zone_centre in zones])
                limits = limits_of_zones + [SAME_CLOTH] * (len(zones) - len(limits_of_zones))
                if sizes[row] > _MIN_MATERIAL * sizes.sum() and (distances > limits).all():
                    zones.append(centres[row])
        return _Materials(np.array(zones or [np.zeros(3)]))

    def _covered_scalp(self, visible: Array, skin: Mask) -> Mask:
        """Select the hidden scalp (V,) if hair or a hat covers the visible scalp."""
        surface = self.surface
        scalp, hair = (_share(surface, surface.hair, shown) for shown in (visible, visible * ~skin))
        return surface.hair & (visible < 0.5) & (hair > _MIN_HAIR * max(scalp, 1e-6))

    def _bare_parts(self, colour: Array, visible: Array, tone: Array) -> list[tuple[Mask, Array]]:
        """Return face and hands that have the skin's colour if hidden, and how visible (V,) they are."""
        # A cap, a hood or hair of a person who looks away reaches into the face: of a face that is mostly hidden, only
        # colours like skin count. Beards, masks and paint are on visible faces.
        surface = self.surface
        face = visible
        like_skin = like_colour(colour, tone)
        looks_away = _share(surface, surface.face, visible) < _MIN_FACE
        if looks_away and not is_grey(colour[visible > 0.5]):
            face = np.where(like_skin, visible, 0)
        parts = [(surface.face, face)] if _share(surface, surface.face, face) <= 0.03 else []
        for hand in (parts_mask(surface.part_labels, HANDS[k : k + 2]) for k in (0, 2)):
            in_photo = _share(surface, hand, visible)
            if in_photo <= 0.03 or _share(surface, hand, visible * like_skin) > 0.5 * in_photo:
                parts.append((hand, visible))
        return parts


def skin_tone(surface: BodyTexels, colour: Array, visible: Array) -> Array | None:
    """Return the skin's usual colour, from the first of head, hands and forearms that shows enough of it.

    Only points with a hue of skin count; in a photograph without colours, all points of face and hands.

    Args:
        surface: The body's texels.
        colour: (V, 3) float, 0…1, RGB.
        visible: (V,) float, 0…1.

    Returns:
        (3,) RGB; None if too little skin is visible.
    """
    labels = surface.part_labels
    visible = visible > 0.5
    grey = is_grey(colour[visible])
    head = parts_mask(labels, ("neck", "head")) & ~surface.hair
    hands = parts_mask(labels, HANDS)
    for part in (surface.face if grey else head, hands, *(() if grey else (parts_mask(labels, FOREARMS),))):
        skin = part & visible & (grey | skin_hued(colour))
        if surface.operator.areas[skin].sum() >= _MIN_SKIN:
            bright = colour[skin].max(1)  # the brighter half: strands of hair and deep shadows are no skin
            return np.asarray(np.median(colour[skin][bright >= np.median(bright)], axis=0))
    return None


def _limb_colours(surface: BodyTexels, colour: Array, visible: Array, legs: Array | None) -> list[tuple[Mask, Array]]:
    """Give hidden parts of trunk and limbs the usual colour of the nearest visible part further up."""
    # A border alone may be a belt, a glove or a shadow; most of what lies above it is the cloth that continues.
    parts = [surface.part_labels == row for row in range(len(SMPL24))]
    shares = [_share(surface, part, visible) for part in parts]
    guesses = []
    for row, name in enumerate(SMPL24.joint_names):
        if shares[row] > 0.05 or name in ("neck", "head", *HANDS):
            continue
        if legs is not None and name in LEGS:
            below = parts[row + 3] & (visible > 0.5)  # the joint below, as SMPL24 counts them
            guesses.append((parts[row], np.median(colour[below], axis=0) if shares[row + 3] > 0.1 else legs))
            continue
        above = SMPL24.parents[row]
        while above >= 0 and shares[above] < 0.1:
            above = SMPL24.parents[above]
        evident = parts[above] & (visible > 0.5)
        if above >= 0 and evident.any():
            guesses.append((parts[row], np.median(colour[evident], axis=0)))
    return guesses


def _usual_colours(values: Array, members: Mask, certain: Mask) -> Array:
    """Return the usual colour (M, 3) of materials, from certain vertices if there are any."""
    usual = np.full((members.shape[1], 3), 0.5)
    for row, material in enumerate(members.T):
        rows = material & certain if (material & certain).any() else material
        if rows.any():
            usual[row] = np.median(values[rows], axis=0)
    return usual


def _share(surface: BodyTexels, part: Mask, visible: Array) -> float:
    """Return the visible share of a part's surface."""
    areas = surface.operator.areas[part]
    return float((visible[part] * areas).sum() / max(float(areas.sum()), 1e-9))
