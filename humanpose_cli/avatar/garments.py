"""Which clothes a partly visible texture shows: their own colours, prints and badges, patterns, what they are open to.

`dominant`, `cluster_colours` and `colour_features` compare colours of cloth in different light, `colourless` tells grey
photographs; `Garments` are the regions of trunk, arms and legs, and what is told of them.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.avatar.surface import BodyTexels, flat_parts, limb_groups

Array = NDArray[Any]
Mask = NDArray[np.bool_]

# A garment is patterned where this share of its texels differs from its surroundings.
_PATTERNED = 0.2
# It is, too, where some do nearly everywhere: this share in most places (m wide), and even in the tenth of them that
# have least no less than that part of it.
_PLACE, _SOME, _EVEN = 0.12, 0.12, 0.3
# A garment's own colour: clusters of the colours shown, what differs less is the same, and covers that share or more.
SAME_COLOUR, MOST_OF_A_GARMENT = 0.35, 0.55
_CLUSTERS, _OF_BRIGHTNESS, _SATURATED = 4, 0.25, 3.0
_FEWEST_TEXELS = 100
_COLOURLESS = 0.02  # contrast of channels below which a photograph has no colours
_SIDES = (0.06, 0.14)  # metres from the middle of the resting body: both sides of an open front
# An open patterned garment: what it is open to is in the middle (m) of the front, most of which it covers, as it does
# not both sides. The garment's own colours cover this share of the sides, and such a part of their share of the middle.
# What it is open to has mostly others, or less than such a part of the sides' detail, within some width (m).
_MIDDLE, _OF_MIDDLE, _OF_SIDES = 0.03, 0.6, 0.5
_OWN, _THERE_TOO, _LESS_DETAIL, _NEARBY = 0.15, 0.4, 0.4, 0.07
# Letters and badges on a garment of several colours are wider than this (m), and cover less than such a share of it.
_STROKE, _LETTERED = 0.006, 0.15
# A print covers so much (m²), with a border that is its garment's own colour, on a garment that mostly has it.
_PRINT, _ENCLOSED, _MUCH_OF_IT = (0.0003, 0.02), 0.6, 0.4


class Garments:
    """Where clothes are on a body, texels of its coarse texture, and what is visible of them there.

    trunk, left_arm, right_arm, left_leg, right_leg  (S, S) bool: without head, hands and feet
    upper, legs   (S, S) bool: trunk and arms; both legs
    front_sides   (S, S) bool: both sides of an open front, and their like on the back

    What is visible is given as `colours` (S, S, 3), 1 the photo's white, with their `weight` (S, S), 0…1.
    """

    def __init__(self, surface: BodyTexels) -> None:
        labels = surface.part_labels[surface.rows[:, 0]]
        face, covered = np.maximum(surface.coarse.face, 0), surface.coarse.covered
        cloth, limbs = flat_parts(labels)[face] & covered, limb_groups()[labels][face]
        self._regions = [cloth & (limbs == limb) for limb in range(5)]
        self.trunk, self.left_arm, self.right_arm, self.left_leg, self.right_leg = self._regions
        self.upper, self.legs = self.trunk | self.left_arm | self.right_arm, self.left_leg | self.right_leg
        # How far each texel is from the middle of the resting body, metres.
        self._aside = np.abs(surface.coarse.interpolate(surface.rest[:, :1].astype(np.float32), surface.faces)[..., 0])
        self.front_sides = (self._aside > _SIDES[0]) & (self._aside < _SIDES[1])
        self._texels_per_metre = surface.texels_per_metre

    def prints(self, colours: Array, weight: Array) -> Array:
        """Where (S, S) 0…1 a badge or a print lies on cloth of mostly one colour: it is nowhere else as well."""
        result = np.zeros(weight.shape, np.float32)
        square = self._texels_per_metre**2
        for garment in self._regions:
            shown = garment & (weight > 0.5)
            own = np.zeros(shown.shape, bool)
            own[shown] = dominant(colours[shown])
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

    def opening(self, colours: Array, weight: Array, detail: Mask, prints: Array) -> Mask:
        """Where (S, S) a patterned garment that is open shows what is worn below it: in the middle of the front
        other colours than on both sides, or none of their detail.

        detail  (S, S) what differs from its surroundings; prints (S, S) 0…1 as `prints` finds them
        """
        shown = self.trunk & (weight > 0.5) & (prints < 0.5)
        sides, middle = shown & self.front_sides, shown & (self._aside > 0) & (self._aside < _MIDDLE)
        if min(sides.sum(), middle.sum()) < _FEWEST_TEXELS:
            return np.zeros(shown.shape, bool)
        share = self._local_share(detail, shown)
        usual_share = float(np.median(share[sides]))
        less = (share < _LESS_DETAIL * usual_share) & (usual_share > _SOME)
        other = np.zeros(shown.shape, bool)
        other[shown] = _other_colours(colours[shown], sides[shown], middle[shown])
        result = shown & (self._aside < _SIDES[1]) & ((self._local_share(other, shown) > 0.5) | less)
        if result[middle].mean() < _OF_MIDDLE or result[sides].mean() > _OF_SIDES:
            return np.zeros(shown.shape, bool)
        return result

    def lettering(self, colours: Array, weight: Array, opening: Mask) -> Mask:
        """Where (S, S) the trunk's garment of several colours has letters, badges or a collar of other colours; none
        where these cover much.

        opening  (S, S) as of `opening`
        """
        shown = self.trunk & (weight > 0.5) & ~opening
        result = np.zeros(shown.shape, bool)
        features = colour_features(colours[shown])
        centres, sizes = cluster_colours(features)
        own = centres[sizes > _OWN * len(features)]
        if not (np.linalg.norm(own[:, None] - own, axis=2) > SAME_COLOUR).any():
            return result
        result[shown] = ~(np.linalg.norm(features[:, None] - own, axis=2) < SAME_COLOUR).any(1)
        # The border between two colours is of neither.
        side = max(3, round(_STROKE * self._texels_per_metre))
        result = cv2.morphologyEx(result.astype(np.uint8), cv2.MORPH_OPEN, np.ones((side, side), np.uint8)) > 0
        return result if result.sum() < _LETTERED * shown.sum() else np.zeros_like(result)

    def patterned(
        self, colours: Array, weight: Array, smoothed: Array, detail: Mask, prints: Array, opening: Mask
    ) -> Mask:
        """Texels (S, S) of garments, on trunk and arms or on legs, whose visible part is covered with detail that is no
        letters or badge on plain cloth, as a printed shirt is, or that are open and of several colours. Of the upper
        one, the trunk tells.

        smoothed  (S, S, 3) the colours without detail; detail, prints, opening as of `opening`
        """
        result = np.zeros(opening.shape, bool)
        for telling, garment in ((self.trunk, self.upper), (self.legs, self.legs)):
            shown = telling & (weight > 0.7) & (prints < 0.5) & ~opening
            if not shown.any():
                continue
            detailed = detail[shown]
            one_colour = dominant(smoothed[shown]).mean() > MOST_OF_A_GARMENT
            if one_colour:
                # What has another colour than most of the garment lies on it: a collar, straps.
                detailed = detailed & dominant(colours[shown])
            few, most = np.quantile(self._local_share(detail, shown, _PLACE)[shown], (0.1, 0.5))
            everywhere = most > _SOME and few > _EVEN * most
            several = not one_colour and (opening & telling).any()
            result[garment] = several or everywhere or detailed.mean() > _PATTERNED
        return result

    def _local_share(self, chosen: Mask, among: Mask, width: float = _NEARBY) -> Array:
        """Which share (S, S) of the texels `among` those around each one, `width` metres wide, is chosen."""
        side = max(3, round(width * self._texels_per_metre) | 1)
        mean = [cv2.boxFilter(one.astype(np.float32), -1, (side, side)) for one in (chosen & among, among)]
        return np.asarray(mean[0] / np.maximum(mean[1], np.float32(1e-6)))


def _other_colours(colours: Array, sides: Mask, middle: Mask) -> Mask:
    """Which of the colours (N, 3) of a front are none of the garment's own: those are common on its `sides` (N,), and
    not much more so in its `middle` (N,).
    """
    features = colour_features(colours)
    centres, sizes = cluster_colours(features[sides])
    near = np.linalg.norm(features[:, None] - centres, axis=2) < SAME_COLOUR
    own = (sizes > _OWN * sides.sum()) & (near[sides].mean(0) > _THERE_TOO * near[middle].mean(0))
    return np.asarray(~near[:, own].any(1))


def dominant(colours: Array, among: Mask | None = None, within: float = SAME_COLOUR) -> Mask:
    """Which of the colours (N, 3) are much like the most frequent one, or that `among` (N,) some of them, but for
    folds and light.

    within  distance of `colour_features` up to which a colour is like it
    """
    seen = colour_features(colours)
    chosen = seen if among is None else seen[among]
    if len(chosen) < _FEWEST_TEXELS:
        return np.zeros(len(colours), bool)
    centres, sizes = cluster_colours(chosen)
    main = centres[sizes.argmax()]
    for _ in range(4):  # from the cluster's middle to the densest colour near it
        near = np.linalg.norm(chosen - main, axis=1) < SAME_COLOUR
        main = np.median(chosen[near], axis=0) if near.any() else main
    return np.asarray(np.linalg.norm(seen - main, axis=1) < within)


def cluster_colours(features: Array) -> tuple[Array, NDArray[np.int64]]:
    """Centres (K, 3) of clusters of `colour_features` (N, 3), and how many points each has; none of too few points."""
    if len(features) < _CLUSTERS:
        return np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    start = np.zeros((len(features), 1), np.int32)
    _, labels, centres = cv2.kmeans(features, _CLUSTERS, start, stop, 1, cv2.KMEANS_PP_CENTERS)
    return centres, np.bincount(labels[:, 0], minlength=_CLUSTERS)


def colourless(colours: Array) -> bool:
    """Whether a photograph has no colours, by those (N, 3) that it shows."""
    return len(colours) > 0 and float(np.median(np.ptp(colours, axis=1))) < _COLOURLESS


def colour_features(colours: Array) -> Array:
    """Features (N, 3) of colours (N, 3) in which those of one cloth in other light are near: hue by saturation, and a
    little brightness. What differs by less than `SAME_COLOUR` is the same.
    """
    bright = np.maximum(colours.max(1), 0.02)
    red, green, blue = colours.T
    hue = np.stack((red - (green + blue) / 2, (green - blue) * np.float32(0.866)), 1)
    chroma = np.linalg.norm(hue, axis=1)
    hue *= (np.tanh(_SATURATED * chroma / bright) / np.maximum(chroma, 1e-6))[:, None]
    return np.column_stack((hue, _OF_BRIGHTNESS * np.log(bright))).astype(np.float32)
