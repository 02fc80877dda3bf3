"""What a photograph does not show of a body's texture, made up from what it shows.

Hidden texels are filled by symmetry first, then by the opposite side, then smoothly; garments keep their
own colour.
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
_MIN_FEET = 0.05  # visible share of the feet that decides their colour
_MIN_SKIN = 0.0015  # m²: visible skin that decides its colour
_MIN_FACE = 0.3  # visible share of a face that keeps its colours; others keep those of skin
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
        image: (S, S, 4) float32: RGB, 1 the photo's white, and how much of each texel comes from the photo, 0…1.
        visible_fraction: Share of the surface that the photo shows, by area.
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
    """Fill what the photo does not show.

    Hidden texels take their mirror image's colour where that was visible, corrected by a smooth field so that both
    sides agree where both were visible; then, on trunk and limbs, the colour straight through the body, without its
    details; the rest takes colours spread over the surface, hair from hair. What is made up varies slowly and is
    handled in a reduced texture.

    Args:
        grain: Standard deviation, 0…1, of the noise that made-up texels get.
        mirror_face: False leaves the hidden half of a profile without features.
        covered: (V,) 0…1 how far clothes cover each vertex: they have no hollows; None for nowhere.
        shod: Feet are shoes: never of the skin's colour, and dark where none shows.
        bare: Legs of which the photo shows nothing are bare, as below a skirt.
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
    light, made_up = (surface.enlarge(np.dstack((one, np.zeros_like(one[..., 0])))) for one in (light, made_up))

    def finish(rows: slice) -> None:
        here, theirs, share = image[rows], mirror_image[rows], shares[rows]
        theirs += light[rows] * cv2.merge([theirs[..., 3]] * 4)
        theirs *= cv2.merge([1 - share] * 4)
        here += theirs
        here += made_up[rows] * cv2.merge([1 - here[..., 3]] * 4)
        here[..., 3] = (here[..., 3] + share) * np.float32(0.5)
        if grain > 0:
            noise = np.random.default_rng(rows.start).standard_normal(share.shape, np.float32)
            here[..., :3] += cv2.merge([noise * (np.float32(grain) * (1 - here[..., 3]))] * 3)
        np.clip(here, 0, _MAX_COLOUR, out=here)

    in_blocks(finish, shares.shape)
    surface.fine.bleed(image)
    return CompleteTexture(image, visible_fraction)


def _over(first: Array, second: Array) -> Array:
    """Fill what the first texture leaves open from the second; colours (…, 4) multiplied by their weight."""
    return first + (1 - first[..., 3:]) * second


def _straight(texture: Array) -> Array:
    """Divide colours by their weight."""
    return texture[..., :3] / np.maximum(texture[..., 3:], _TINY)


class _Materials(NamedTuple):
    """Skin and cloths of one person: centres (M, 3) of the features of their colours."""

    centres: Array

    def nearest(self, colours: Array) -> NDArray[np.int64]:
        """Find the material (...) of each colour (..., 3)."""
        features = cloth_features(colours.reshape(-1, 3), _CLOTH_BRIGHTNESS)
        away = np.stack([np.linalg.norm(features - centre, axis=1) for centre in self.centres])
        return np.asarray(away.argmin(0).reshape(colours.shape[:-1]))


class _Filling:
    """Colours for the hidden texels of one body, on its coarse texture (S, S)."""

    def __init__(self, surface: BodyTexels, covered: Array | None, *, shod: bool, bare: bool) -> None:
        self.covered, self.shod, self.bare = covered, shod, bare
        self.surface = surface

    def light_difference(self, mine: Array, mirror_image: Array) -> Array:
        """Compute a smooth correction (S, S, 3) of mirrored colours: what separates both sides' light where both are
        visible.

        Where they show things of different colour, as skin and a sleeve that the fit has on it, light is not what
        differs.

        Args:
            mine, mirror_image: (S, S, 4) both sides, colours multiplied by their weight.
        """
        surface, operator = self.surface, self.surface.operator
        both = mine[..., 3] * mirror_image[..., 3]
        both_visible = np.nonzero(both)
        features = [cloth_features(_straight(side[both_visible])) for side in (mine, mirror_image)]
        both[both_visible] *= np.linalg.norm(features[0] - features[1], axis=1) < SAME_CLOTH
        difference = np.clip(_straight(mine) - _straight(mirror_image), -1, 1)
        values, weight = paint_vertices(surface.coarse, surface.rows, difference, both)
        data, fade = weight * operator.areas / _LIGHT_AVERAGE**2, operator.areas / _LIGHT_FADE**2
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
        """Make up colours (S, S, 3) for whatever a texture (S, S, 4), multiplied by its weight, leaves open."""
        surface, colours, weight = self.surface, _straight(visible), visible[..., 3]
        # What the back of a garment takes from its front: the colour alone, no letters, badges or folds.
        plain = self._plain_chest(weight, self._without_detail(colours, weight))
        evidence = _over(visible, surface.opposite(np.dstack((plain * weight[..., None], weight))))
        spread, label, materials = self._spread_colours(evidence)
        # Only what is of the same cloth is borrowed: a hem is no mixture of two.
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

    def _plain_chest(self, weight: Array, plain: Array) -> Array:
        """Paint the chest of colours (S, S, 3) with the garment's own colour alone, if most of it has one.

        What is larger than a letter, such as a badge, a tie or the shirt in an open jacket, is not on the back as well.
        """
        surface = self.surface
        part = surface.part_labels[surface.rows[:, 0]][np.maximum(surface.coarse.face, 0)]
        region = parts_mask(part, _CHEST) & surface.coarse.covered
        visible = region & (weight > 0.5)
        if dominant_colour(plain[visible]).sum() <= PLAIN_SHARE * max(visible.sum(), 1):
            return plain
        certain = np.zeros(region.shape, np.float32)
        certain[visible] = dominant_colour(plain[visible], _CERTAIN)
        inner = cv2.erode(certain, np.ones((3, 3), np.uint8))
        return np.where(region[..., None], fill_smoothly(plain, np.asarray(inner)), plain)

    def _without_detail(self, colours: Array, weight: Array) -> Array:
        """Remove small things, letters and folds, from the colours (S, S, 3)."""
        colours_everywhere = fill_smoothly(colours, (weight > 0.3).astype(np.float32))
        kernel = max(3, round(_DETAIL * self.surface.texels_per_metre) | 1)
        eight_bit = (np.clip(colours_everywhere, 0, 1) * 255 + 0.5).astype(np.uint8)
        return cv2.medianBlur(eight_bit, kernel).astype(np.float32) / np.float32(255)

    def _spread_colours(self, evidence: Array) -> tuple[Array, NDArray[np.int64], _Materials]:
        """Spread colours everywhere (S, S, 3) from texels with weight, and find of which of the materials (S, S) they
        are.

        Skin and cloths do not blend: each material is spread by itself, as is its share, and the largest share shows.
        Where they change are cuffs, hems and waists.
        """
        surface, operator = self.surface, self.surface.operator
        values, visible = paint_vertices(surface.coarse, surface.rows, _straight(evidence), evidence[..., 3])
        data = visible * operator.areas / _FOLLOW**2
        # Hair and feet keep their colours apart from the rest, where they were visible: heels are no trousers.
        groups = (surface.hair & (_share(surface, surface.hair, visible) >= 0.02)).astype(np.int64)
        feet = parts_mask(surface.part_labels, FEET)
        if _share(surface, feet, visible) >= _MIN_FEET:
            groups[feet] = 3
        elif self.shod:
            groups[feet], values[feet] = 3, _DARK
            data[feet] = operator.areas[feet] / _FOLLOW**2
        tone = skin_tone(surface, values, visible)
        materials = self._materials(values, visible > 0.5, tone)
        for part, part_visible in [] if tone is None else self._bare_parts(values, visible, tone):
            missing = part & (part_visible < 0.05)
            values[missing], data[missing] = tone, 0.3 * operator.areas[missing] / _FOLLOW**2
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
        """Skin, whose tone (3,) is known, and clusters of visible colours (V, 3).

        A shirt and trousers may differ less than one cloth in light and shadow does: each has clusters of its own.
        """
        labels = self.surface.part_labels
        zones = [] if tone is None else list(cloth_features(tone[None], _CLOTH_BRIGHTNESS))
        hair = self.surface.hair
        for names in (None, ("neck", "head"), TRUNK + SLEEVES, LEGS, FEET):
            zone = visible & (hair if names is None else parts_mask(labels, names) & ~hair)
            centres, sizes = cluster_centres(cloth_features(colours[zone], _CLOTH_BRIGHTNESS))
            apart = [_OTHER_CLOTH if names == LEGS else SAME_CLOTH] * len(zones)
            for row in np.argsort(-sizes, kind="stable"):
                away = np.array([np.linalg.norm(centres[row] - one) for one in zones])
                limits = apart + [SAME_CLOTH] * (len(zones) - len(apart))
                if sizes[row] > _MIN_MATERIAL * sizes.sum() and (away > limits).all():
                    zones.append(centres[row])
        return _Materials(np.array(zones or [np.zeros(3)]))

    def _covered_scalp(self, visible: Array, skin: Mask) -> Mask:
        """Select the scalp (V,) that the photo does not show, if hair or a hat is on what it shows: skin does not go on
        to the back of the head.
        """
        surface = self.surface
        scalp, hair = (_share(surface, surface.hair, shown) for shown in (visible, visible * ~skin))
        return surface.hair & (visible < 0.5) & (hair > _MIN_HAIR * max(scalp, 1e-6))

    def _bare_parts(self, colour: Array, visible: Array, tone: Array) -> list[tuple[Mask, Array]]:
        """Take face and hands for skin where they were not visible, with how visible (V,) they were: a face of which
        nothing is, hands without gloves.

        A cap, a hood or hair of a person who looks away reaches into the face's border: of a face of which little was
        visible, only colours like the tone (3,) of skin count. Beards, masks and paint are on faces that were visible.
        """
        surface, face = self.surface, visible
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
    """Find the usual colour (3,) of skin, of the first of these parts that shows enough: head, hands, forearms.

    Among their points those count whose hue is in the skin locus; in a photograph without colours, all of the face or
    of the hands.

    Args:
        colour: (V, 3) of vertices; visible (V,) 0…1.
    """
    labels, visible = surface.part_labels, visible > 0.5
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
    """Give parts of trunk and limbs that were not visible the usual colour of the nearest visible one up the body.

    A border alone may be a belt, a glove or a shadow; most of what lies above it is the cloth that goes on.

    Args:
        legs: The colour (3,) of legs that were not visible; None: as other limbs.
    """
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
    """Find the usual colour (M, 3) of materials, `members` (V, M), of vertices (V, 3): `certain` ones (V,), if any."""
    usual = np.full((members.shape[1], 3), 0.5)
    for row, mine in enumerate(members.T):
        rows = mine & certain if (mine & certain).any() else mine
        if rows.any():
            usual[row] = np.median(values[rows], axis=0)
    return usual


def _share(surface: BodyTexels, part: Mask, visible: Array) -> float:
    """Share of a part's surface that was visible."""
    areas = surface.operator.areas[part]
    return float((visible[part] * areas).sum() / max(float(areas.sum()), 1e-9))
