"""Completion of a body's texture: what a photograph does not show is made up from what it shows.

Hidden texels are filled by symmetry first, then from the opposite side, then smoothly; garments keep their colours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

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
from humanpose_cli.avatar.surface import FEET, FOREARMS, HANDS, LEGS, SLEEVES, TRUNK, BodyTexels
from humanpose_cli.avatar.worn import Worn
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.body.texture import BakedTexture, paint_vertices
from humanpose_cli.core.blocks import in_blocks
from humanpose_cli.core.conventions import SMPL24

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_DETAIL = 0.045  # metres: size of details that hidden points do not take
_RIM = 0.012  # metres: way that the visible part's border goes on
_FOLLOW = 0.01  # metres: way within which spread colours follow visible ones
_CERTAIN = 0.12  # distance of colours that are certainly a garment's own
_ROUND = 0.04  # metres: way within which the garment that goes round the body is that of the visible border
_MIN_FEET = 0.05  # visible share of the feet that decides their colour
_SKIN = 0.2  # distance of colours that are certainly skin, of a known tone
_MIN_SKIN = 0.0015  # m²: visible skin, or scalp, that decides its colour
_MIN_FACE = 0.3  # visible share of a face that keeps its colours; others keep only colours of skin
_MIN_HAIR = 0.15  # share of the visible scalp without skin from which the hidden one has none
_HAIR = (0.17, 0.13, 0.11)  # dark, as most hair: of people whose hair the photo does not show
_SIDES = 0.85  # share of the trunk that is not its sides
_BROW = 0.7  # share of the height of a face above which a cap lies
_SAME_HUE = 0.25  # distance of the hues of one cloth in light and shadow
_SHADE = 0.55  # maximum distance of the brightness of such a cloth from that of its next shade
_INHERITED_WEIGHT = 0.05  # weight of a colour from further up the body, against a visible one
_MIN_MATERIAL = 0.08  # share of head, trunk and arms, legs or feet from which a material counts
_USUAL_COLOUR = 0.3  # metres: way along the surface over which colours become the usual one of their cloth
_CLOTH_BRIGHTNESS = 0.5  # weight of the logarithm of brightness among colours whose light was taken off
_OTHER_CLOTH = 0.15  # distance of the legs' colours from which they are other cloth than the trunk's

_PATTERN = 0.035  # metres: width of the blur that removes patterns
_DARKEST = np.float32(0.2)  # brightness from which a pattern's contrast is relative
_CONTRAST = 0.1  # mean difference of a pattern from its blur, as a share of that
_ALL_OVER = 0.6  # share of a garment with a pattern all over
_PLAIN = 0.7  # share of one colour in garments without a pattern: folds have contrast, too
_SAMPLES = 20_000  # colours among which the most frequent one is found
_CELL = 8  # coarse texels: side of the cells that have a pattern or none

CHEST = ("spine1", "spine2", "spine3", "left_collar", "right_collar")
_DARK = 0.12  # neutral: shoes that the photo does not show
_TINY = np.float32(1e-6)
_MAX_COLOUR = 2.0  # of a surface whose light was taken off
_UNKNOWN = Worn()


class CompleteTexture(NamedTuple):
    """A texture without gaps.

    Attributes:
        image: (S, S, 4) float32. RGB, 1 for the photo's white, and the share of each texel that comes from the photo,
            0…1.
        visible_fraction: The share of the surface, by area, that the photo shows.
        visible_face: That of the face, of which a free one shows 0.4 in profile, and 0.6 from the front.
    """

    image: Array
    visible_fraction: float
    visible_face: float


def complete_texture(
    surface: BodyTexels,
    baked: BakedTexture,
    worn: Worn = _UNKNOWN,
    *,
    mirror_face: bool = True,
    chest: tuple[str, ...] = CHEST,
) -> CompleteTexture:
    """Fill the hidden texels of a texture.

    A hidden texel takes the colour of its mirror image, if that is visible. On trunk and limbs it then takes the usual
    colour of what is straight through the body, if that goes round the body at this height, or its pattern. The rest
    takes colours that are spread over the surface, hair from hair. Made-up colours vary slowly and are computed in a
    reduced texture.

    Args:
        surface: The body's texels.
        baked: The photo's colours and their confidence.
        worn: Clothes and shoes, and the colours of skin and hair.
        mirror_face: Whether the hidden half of a face is the mirror image of the visible one. Otherwise it has no
            features.
        chest: The parts whose back is one garment.
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
    filling = _Filling(surface, worn, chest)
    prints = filling.prints(coarse)
    mirror_image = surface.mirror(image * (1 - prints) if prints.any() else image)
    if not mirror_face:
        mirror_image *= 1 - surface.fine.interpolate(surface.face[:, None].astype(np.float32), surface.faces)
    visible = surface.reduce(baked.visible.astype(np.float32))
    _, visible = paint_vertices(surface.coarse, surface.rows, visible[..., None], visible)
    shares_of = [_share(surface, part, visible) for part in (np.ones(len(visible), bool), surface.face)]
    pattern = filling.pattern(image)
    made_up = surface.enlarge(filling.fill(filling.continued(_over(coarse, surface.reduce(mirror_image)))))

    def finish(rows: slice) -> None:
        texels = image[rows]
        mirrored = mirror_image[rows]
        share = shares[rows]
        mirrored *= cv2.merge([1 - share] * 4)
        texels += mirrored
        if pattern is not None:
            texels += pattern[rows] * cv2.merge([1 - texels[..., 3]] * 4)
        texels[..., :3] += made_up[rows] * cv2.merge([1 - texels[..., 3]] * 3)
        texels[..., 3] = (texels[..., 3] + share) * np.float32(0.5)
        np.clip(texels, 0, _MAX_COLOUR, out=texels)

    in_blocks(finish, shares.shape)
    surface.fine.bleed(image)
    return CompleteTexture(image, *shares_of)


def _over(first: Array, second: Array) -> Array:
    """Fill the gaps of a texture from a second one; colours (..., 4) multiplied by their weight."""
    return first + (1 - first[..., 3:]) * second


def _straight(texture: Array) -> Array:
    """Divide colours (..., 4) by their weight."""
    return texture[..., :3] / np.maximum(texture[..., 3:], _TINY)


class _Materials(NamedTuple):
    """Skin and cloths of a person, each with one or several shades.

    Attributes:
        centres: (M, 3) float. The shades: features of colours.
        cloth: (M,) int. The cloth of each shade. If skin is visible, it is cloth 0 and has one shade, 0.
    """

    centres: Array
    cloth: NDArray[np.int64]

    @classmethod
    def of(cls, centres: Array, zones: Array) -> _Materials:
        """Join the shades (M, 3) of one zone (M,) that have one hue, each about as bright as another one."""
        apart = centres[:, None] - centres
        same = (np.linalg.norm(apart[..., :2], axis=2) < _SAME_HUE) & (np.abs(apart[..., 2]) < _SHADE)
        return cls(centres, connected_components(same & (zones[:, None] == zones))[1].astype(np.int64))

    def distances(self, colours: Array) -> Array:
        """Return the distance (M, ...) of each colour (..., 3) from each shade."""
        features = cloth_features(colours.reshape(-1, 3), _CLOTH_BRIGHTNESS).reshape(colours.shape)
        return np.stack([np.linalg.norm(features - centre, axis=-1) for centre in self.centres])

    def nearest(self, colours: Array) -> NDArray[np.int64]:
        """Return the cloth (...) of each colour (..., 3)."""
        return np.asarray(self.cloth[self.distances(colours).argmin(0)])

    def alike(self, colours: Array, cloth: NDArray[np.int64]) -> Mask:
        """Select colours (..., 3) that are close to a shade of their cloth (...)."""
        return np.asarray(((self.distances(colours) < SAME_CLOTH).T & (self.cloth == cloth.T[..., None])).any(-1).T)


class _Filling:
    """The colours of the hidden texels of a body, on its coarse texture (S, S)."""

    def __init__(self, surface: BodyTexels, worn: Worn, chest: tuple[str, ...]) -> None:
        self.worn = worn
        self.hair = np.array(_HAIR) if worn.hair is None else worn.hair
        self.surface = surface
        part = surface.part_labels[surface.rows[:, 0]][np.maximum(surface.coarse.face, 0)]
        self.chest = parts_mask(part, chest) & surface.coarse.covered
        self.detail = max(3, round(_DETAIL * surface.texels_per_metre) | 1)  # texels

    def prints(self, image: Array) -> Array:
        """Return where (S', S', 1), 0 or 1, the chest of colours (S, S, 4) has prints on a plain garment."""
        # Of skin, a neckline is symmetrical.
        region = self.chest & (image[..., 3] > 0.05)
        colours = _straight(image)
        plain = dominant_colour(colours[region])
        result = np.zeros((*region.shape, 4), np.float32)
        if plain.any() and plain.mean() > PLAIN_SHARE:
            result[region, 0] = ~plain & ~skin_hued(colours[region])
            narrow, wide = (np.ones((n, n), np.uint8) for n in (3, self.detail // 2 + 1))
            result[..., 0] = cv2.dilate(cv2.morphologyEx(result[..., 0], cv2.MORPH_OPEN, narrow), wide)
        return self.surface.enlarge(result)[..., :1]

    def pattern(self, image: Array) -> Array | None:
        """Return how patterned garments (S', S', 4) look on the side that the photo does not show; None for none."""
        surface = self.surface
        colours, known = _straight(image), image[..., 3] > 0.5
        if self.worn.tone is not None:
            known[known] = ~(like_colour(colours[known], self.worn.tone) & skin_hued(colours[known]))
        weight = known.astype(np.float32)
        width = round(_PATTERN * surface.texels_per_metre * surface.fine.size / surface.coarse.size)
        smooth: Array = np.dstack((colours * weight[..., None], weight))
        for _ in range(2):
            smooth = cv2.blur(smooth, (width, width))
        smooth = _straight(smooth)
        # In dark cloth, noise and folds have contrast, too.
        detail = np.abs(colours - smooth).mean(2) / np.maximum(smooth.mean(2), _DARKEST) * weight
        cells = (surface.coarse.size // _CELL,) * 2
        share, detail = (cv2.resize(layer, cells, interpolation=cv2.INTER_AREA) for layer in (weight, detail))
        part = surface.part_labels[surface.rows[:, 0]][np.maximum(surface.fine.face, 0)]
        part_cells = part[:: part.shape[0] // cells[0], :: part.shape[1] // cells[0]][: cells[0], : cells[0]]
        patterned = np.zeros(part.shape, np.float32)
        for zone in (TRUNK + SLEEVES, ("pelvis", *LEGS)):
            of_zone = (share > 0.5) & parts_mask(part_cells, zone)
            shown = colours[known & parts_mask(part, zone)]
            plain = dominant_colour(shown[:: 1 + len(shown) // _SAMPLES])
            has_detail = (detail > _CONTRAST * share)[of_zone]
            if plain.any() and plain.mean() < _PLAIN and has_detail.sum() > _ALL_OVER * len(has_detail):
                patterned[parts_mask(part, zone) & surface.fine.covered] = 1
        if not patterned.any():
            return None
        return surface.opposite_detail(image * weight[..., None]) * patterned[..., None]

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
        # What the back of a garment takes from its front: the usual colour, no letters, badges or folds, and of these
        # colours only those of the garment that goes round at this height, not of the shirt in an open coat.
        plain, label, materials = self._spread_colours(visible, _ROUND)
        plain = self._plain_chest(weight, plain, label, materials)
        opposite = surface.opposite(np.dstack((plain * weight[..., None], weight)))
        same = materials.alike(_straight(opposite), label)
        opposite *= cv2.erode(same.astype(np.float32), np.ones((self.detail, self.detail), np.uint8))[..., None]
        spread, label, materials = self._spread_colours(_over(visible, opposite))
        # Only colours of the same cloth are borrowed: a hem is no mixture of two cloths.
        visible = visible * ((materials.nearest(colours) == label) | (weight > 0.95))[..., None]
        result = visible[..., :3] + (1 - visible[..., 3:]) * spread
        surface.coarse.bleed(result)
        return result

    def _plain_chest(self, weight: Array, plain: Array, label: NDArray[np.int64], materials: _Materials) -> Array:
        """Paint the chest of colours (S, S, 3), and of labels (S, S), with the garment that goes round most of it."""
        # Details larger than letters, such as a badge, a tie or the shirt in an open jacket, are not on the back.
        surface, region = self.surface, self.chest
        x = np.abs(surface.coarse.interpolate(surface.rest[:, :1].astype(np.float32), surface.faces)[..., 0])
        outer = x > (np.quantile(x[region], _SIDES) if self.worn.coat else -1)
        counts = np.bincount(label[region & outer], minlength=materials.cloth.max() + 1)
        garment = int(counts.argmax())
        # Some red or tan cloth is taken for skin.
        hues, own = materials.centres[:, :2], materials.cloth == garment
        near = np.linalg.norm(hues[:, None] - hues[own], axis=2).min(1) < _SAME_HUE
        if counts[np.unique(materials.cloth[near])].sum() <= PLAIN_SHARE * counts.sum():
            return plain
        label[region] = garment
        # In one colour: folds and light of the front would be stains of the back.
        visible = plain[region & (weight > 0.5) & materials.alike(plain, label)]
        certain = visible[dominant_colour(visible, _CERTAIN)]
        return np.where(region[..., None], np.median(certain, axis=0), plain) if len(certain) else plain

    def _spread_colours(self, evidence: Array, follow: float = _FOLLOW) -> tuple[Array, NDArray[np.int64], _Materials]:
        """Spread colours (S, S, 3) from texels with weight; also return the material (S, S) of each texel."""
        # Skin and cloths do not blend: each material is spread by itself, as is its share, and the largest share shows.
        # Cuffs, hems and waists lie where the material changes.
        surface = self.surface
        operator = self.surface.operator
        values, visible = paint_vertices(surface.coarse, surface.rows, _straight(evidence), evidence[..., 3])
        data = visible * operator.areas / follow**2
        # Hair and feet do not mix with other colours: heels are no trousers.
        groups = surface.hair.astype(np.int64)
        feet = parts_mask(surface.part_labels, FEET)
        if _share(surface, feet, visible) >= _MIN_FEET:
            groups[feet] = 3
        elif self.worn.shod:
            groups[feet] = 3
            values[feet] = _DARK
            data[feet] = operator.areas[feet] / _FOLLOW**2
        tone = skin_tone(surface, values, visible)
        scalp = self._scalp(values, visible, tone)
        materials = self._materials(values, visible > 0.5, tone, [colour for _, colour in scalp])
        for part, part_visible, colour in [] if tone is None else self._bare_parts(values, visible, tone):
            missing = part & (part_visible < 0.05)
            values[missing] = colour
            data[missing] = 0.3 * operator.areas[missing] / _FOLLOW**2
            # Guessed skin ends at its part's border, as under a sleeve or a collar.
            groups[part] = 2
        if data.sum() == 0:
            grey = np.full((*evidence.shape[:2], 3), 0.5, np.float32)
            return grey, np.zeros(grey.shape[:2], np.int64), materials
        for part, colour in _limb_colours(surface, values, visible, tone if self.worn.bare else None):
            missing = part & (visible < 0.05) & ~(bool(self.worn.shod) & feet)
            values[missing] = colour
            data[missing] = _INHERITED_WEIGHT * operator.areas[missing] / _FOLLOW**2
        for part, colour in scalp:
            missing = part & (visible < 0.5)
            values[missing] = colour
            data[missing] = operator.areas[missing] / follow**2
        members = np.eye(len(materials.centres))[materials.distances(values).argmin(0)]
        if self.worn.shod and tone is not None:
            data[feet & (visible > 0) & (members[:, 0] > 0)] = 0  # skin beside a shoe is no leather
        # Where a material is: its share goes round trunk and limbs, so that hems and cuffs keep their height.
        rest = (members * data[:, None]).sum(0) / data.sum()
        shares = surface.around.spread(data, members, operator.areas * 1e-3, rest, groups, leak=0.002)
        # What it looks like there: its colour nearby, further away its usual one.
        usual = _usual_colours(values, members > 0, data > 0.5 * operator.areas / _FOLLOW**2)
        weighted = np.column_stack((values, np.ones(len(values))))[:, None]
        columns = (members[..., None] * weighted).reshape(len(values), -1)
        rest = np.column_stack((usual, np.ones(len(usual)))).ravel()
        field = operator.spread(data, columns, operator.areas / _USUAL_COLOUR**2, rest, groups, leak=0.002)
        return *self._leading(shares, _straight(field.reshape(*shares.shape, 4)), materials), materials

    def _leading(self, shares: Array, shades: Array, materials: _Materials) -> tuple[Array, NDArray[np.int64]]:
        """Return the colours (S, S, 3) of the cloth with the largest share, and which (S, S) that is.

        Args:
            shares: (V, M) float. The share of each shade.
            shades: (V, M, 3) float. The colours of each shade.
            materials: The cloths. The shades of one blend.
        """
        surface = self.surface
        shares = np.maximum(shares, 1e-6)
        cloths = np.eye(materials.cloth.max() + 1)[materials.cloth]
        mixed = np.einsum("vmc,mk->vkc", shares[..., None] * shades, cloths)
        shares = shares @ cloths
        colours = np.dstack((mixed, shares)) / shares.max(1)[:, None, None]
        leading = surface.coarse.interpolate(shares.astype(np.float32), surface.faces).argmax(2)
        layers = surface.coarse.interpolate(colours.reshape(len(shares), -1).astype(np.float32), surface.faces)
        layers = _straight(layers.reshape(*leading.shape, -1, 4))
        return np.take_along_axis(layers, leading[..., None, None], 2)[..., 0, :], leading

    def _materials(self, colours: Array, visible: Mask, tone: Array | None, scalp: list[Array]) -> _Materials:
        """Find the materials: skin, whose tone (3,) is given, those of the scalp, and clusters of colours (V, 3)."""
        # A shirt and trousers may differ less than one cloth in light and shadow: each has clusters of its own.
        labels = self.surface.part_labels
        zones = [] if tone is None else list(cloth_features(tone[None], _CLOTH_BRIGHTNESS))
        numbers = [0] * len(zones)
        for centre in cloth_features(np.stack(scalp), _CLOTH_BRIGHTNESS):
            if not zones or np.linalg.norm(centre - zones, axis=1).min() > SAME_CLOTH:
                zones.append(centre)
                numbers.append(1)
        for number, names in enumerate((("neck", "head"), TRUNK + SLEEVES, LEGS, FEET), 2):
            zone = visible & parts_mask(labels, names) & ~self.surface.hair
            centres, sizes = cluster_centres(cloth_features(colours[zone], _CLOTH_BRIGHTNESS))
            limits_of_zones = [_OTHER_CLOTH if names == LEGS else SAME_CLOTH] * len(zones)
            for row in np.argsort(-sizes, kind="stable"):
                distances = np.array([np.linalg.norm(centres[row] - zone_centre) for zone_centre in zones])
                limits = limits_of_zones + [SAME_CLOTH] * (len(zones) - len(limits_of_zones))
                if sizes[row] > _MIN_MATERIAL * sizes.sum() and (distances > limits).all():
                    zones.append(centres[row])
                    numbers.append(-len(zones) if names == LEGS else number)  # hems of shirts lie on legs
        return _Materials.of(np.array(zones or [np.zeros(3)]), np.array(numbers or [0]))

    def _scalp(self, colour: Array, visible: Array, tone: Array | None) -> list[tuple[Mask, Array]]:
        """Return the hair, and a cap if its colour is visible, with the colours (3,) that they have where hidden."""
        surface = self.surface
        height = surface.rest[:, 1]
        cap = surface.hair & self.worn.cap & (height > np.quantile(height[surface.face], _BROW))
        on_cap = colour[cap & (visible > 0.5)]
        parts = [(cap, np.median(on_cap, axis=0))] if len(on_cap) else []
        hair = np.full(3, np.mean(self.hair)) if is_grey(colour[visible > 0.5]) else self.hair
        shown = surface.hair & ~cap & (visible > 0.5)
        areas, shown = surface.operator.areas[shown], colour[shown]
        if areas.sum() >= _MIN_SKIN:
            features = cloth_features(shown, _CLOTH_BRIGHTNESS)
            if tone is not None:  # of short hair, skin is visible at its border, also in more light than elsewhere
                skin = cloth_features(tone[None], _CLOTH_BRIGHTNESS)
                covered = np.linalg.norm(np.minimum(features, [[np.inf, np.inf, skin[0, 2]]]) - skin, axis=1) > _SKIN
                if areas @ covered > _MIN_HAIR * areas.sum():
                    areas, shown, features = areas[covered], shown[covered], features[covered]
            # A hat is most of what is visible.
            near = np.linalg.norm(features[:, None] - features, axis=2) < SAME_CLOTH
            hair = np.median(shown[near[:, (areas @ near).argmax()]], axis=0)
        return [*parts, (surface.hair & ~cap, hair)]

    def _tone_of(self, part: Mask, colour: Array, visible: Array, tone: Array) -> Array:
        """Return the usual colour of a part's visible skin, as its hidden skin is in the same light."""
        shown = part & (visible > 0.5)
        shown[shown] = np.linalg.norm(cloth_features(colour[shown]) - cloth_features(tone[None]), axis=1) < _SKIN
        enough = self.surface.operator.areas[shown].sum() >= _MIN_SKIN
        return np.asarray(np.median(colour[shown], axis=0)) if enough else tone

    def _bare_parts(self, colour: Array, visible: Array, tone: Array) -> list[tuple[Mask, Array, Array]]:
        """Return face and hands that have the skin's colour if hidden, how visible (V,) they are, and that colour."""
        # A cap, a hood or hair of a person who looks away reaches into the face: of a face that is mostly hidden, only
        # colours like skin count. Beards, masks and paint are on visible faces.
        surface = self.surface
        face = visible
        like_skin = like_colour(colour, tone)
        looks_away = _share(surface, surface.face, visible) < _MIN_FACE
        if looks_away and not is_grey(colour[visible > 0.5]):
            face = np.where(like_skin, visible, 0)
        parts = []
        if _share(surface, surface.face, face) <= 0.03:
            skin = parts_mask(surface.part_labels, ("neck", "head", *FOREARMS)) & ~surface.hair  # a neck lies in shadow
            parts = [(surface.face, face, self._tone_of(skin, colour, visible, tone))]
        for hand in (parts_mask(surface.part_labels, HANDS[k : k + 2]) for k in (0, 2)):
            in_photo = _share(surface, hand, visible)
            if in_photo <= 0.03 or _share(surface, hand, visible * like_skin) > 0.5 * in_photo:
                parts.append((hand, visible, self._tone_of(hand, colour, visible, tone)))
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
        if legs is not None and name in (*LEGS, *FEET):
            below = parts[row + 3] & (visible > 0.5)  # the joint below, as SMPL24 counts them
            continues = name in LEGS and shares[row + 3] > 0.1
            guesses.append((parts[row], np.median(colour[below], axis=0) if continues else legs))
            continue
        above = SMPL24.parents[row]
        while above >= 0 and shares[above] < 0.1:
            above = SMPL24.parents[above]
        evident = (parts[above] | parts[SMPL24.mirror[above]]) & (visible > 0.5)  # both sides wear the same
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
