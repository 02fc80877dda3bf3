"""Which clothes a partly visible texture shows: prints and badges, lettering, patterns.

`Garments` are the regions of trunk, arms and legs in a body's coarse texture, and what their visible part shows.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.avatar.colours import ClothColours
from humanpose_cli.avatar.options import GarmentOptions
from humanpose_cli.avatar.surface import BodyTexels, flat_parts, limb_groups

Array = NDArray[Any]
Mask = NDArray[np.bool_]


class Garments:
    """Where clothes are on a body, texels of its coarse texture, and what is visible of them there.

    trunk         (S, S) bool: without head and neck
    upper, legs   (S, S) bool: trunk and arms; both legs; without hands and feet
    front_sides   (S, S) bool: both sides of an open front, and their like on the back

    What is visible is given as `colours` (S, S, 3), 1 the photo's white, with their `weight` (S, S), 0…1.
    """

    def __init__(self, surface: BodyTexels, options: GarmentOptions, cloth: ClothColours) -> None:
        self.options, self.cloth = options, cloth
        labels = surface.part_labels[surface.rows[:, 0]]
        face, on_surface = np.maximum(surface.coarse.face, 0), surface.coarse.covered
        clothes, limbs = flat_parts(labels)[face] & on_surface, limb_groups()[labels][face]
        self._regions = [clothes & (limbs == limb) for limb in range(5)]  # trunk, each arm, each leg
        self.trunk = self._regions[0]
        self.upper, self.legs = (np.logical_or.reduce(regions) for regions in (self._regions[:3], self._regions[3:]))
        # How far each texel is from the middle of the resting body, metres.
        self._aside = np.abs(surface.coarse.interpolate(surface.rest[:, :1].astype(np.float32), surface.faces)[..., 0])
        self.front_sides = (self._aside > options.sides[0]) & (self._aside < options.sides[1])
        self._texels_per_metre = surface.texels_per_metre

    def prints(self, colours: Array, weight: Array) -> Array:
        """Find where (S, S) 0…1 a badge or a print lies on cloth of mostly one colour: it is nowhere else as well."""
        result = np.zeros(weight.shape, np.float32)
        smallest, largest = (area * self._texels_per_metre**2 for area in self.options.print_area)
        for garment in self._regions:
            visible = garment & (weight > 0.5)
            plain = np.zeros(visible.shape, bool)
            plain[visible] = self.cloth.dominant(colours[visible])
            if plain.sum() < self.options.print_ground * max(visible.sum(), 1):
                continue
            # Islands of other colours, letters of a word together.
            other = cv2.morphologyEx((visible & ~plain).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
            count, labels, stats, _ = cv2.connectedComponentsWithStats(other, connectivity=4)
            marks = np.zeros(visible.shape, bool)
            for label in range(1, count):
                if not smallest < stats[label, cv2.CC_STAT_AREA] < largest:
                    continue
                # A print lies inside the plain colour; what lies at a border is another garment, or skin.
                island = (labels == label).astype(np.uint8)
                around = cv2.dilate(island, np.ones((5, 5), np.uint8)) > 0
                if plain[around & (island == 0)].mean() > self.options.print_border:
                    marks |= around
            if marks[visible].mean() < self.options.min_detail:  # more of them are a pattern
                result[marks] = 1
        return result

    def lettering(self, colours: Array, weight: Array) -> Mask:
        """Find where (S, S) the trunk's garment of several colours has letters, badges or a collar of other colours;
        nowhere if these cover much.
        """
        visible = self.trunk & (weight > 0.5)
        result = np.zeros(visible.shape, bool)
        features = self.cloth.features(colours[visible])
        centres, sizes = self.cloth.centres(features)
        main = centres[sizes > self.options.main_share * len(features)]
        if not (np.linalg.norm(main[:, None] - main, axis=2) > self.cloth.same).any():
            return result
        result[visible] = ~(np.linalg.norm(features[:, None] - main, axis=2) < self.cloth.same).any(1)
        # The border between two colours is of neither.
        side = max(3, round(self.options.stroke * self._texels_per_metre))
        result = cv2.morphologyEx(result.astype(np.uint8), cv2.MORPH_OPEN, np.ones((side, side), np.uint8)) > 0
        return result if result.sum() < self.options.max_lettering * visible.sum() else np.zeros_like(result)

    def patterned(self, colours: Array, weight: Array, smooth_colours: Array, detail: Mask, prints: Array) -> Mask:
        """Select texels (S, S) of garments, on trunk and arms or on legs, whose visible part is covered with detail
        that is no letters or badge on plain cloth, as a printed shirt is. The trunk decides for trunk and arms.

        smooth_colours  (S, S, 3) the colours without detail
        detail    (S, S) what differs from its surroundings; prints (S, S) 0…1 as of `prints`
        """
        options, result = self.options, np.zeros(detail.shape, bool)
        for decisive, garment in ((self.trunk, self.upper), (self.legs, self.legs)):
            visible = decisive & (weight > 0.7) & (prints < 0.5)
            if not visible.any():
                continue
            details = detail[visible]
            if self.cloth.dominant(smooth_colours[visible]).mean() > options.plain_share:
                # What has another colour than most of the garment lies on it: a collar, straps.
                details = details & self.cloth.dominant(colours[visible])
            # A pattern is nearly everywhere, letters and folds are not.
            few, usual = np.quantile(self._local_share(detail, visible, options.window_width)[visible], (0.1, 0.5))
            everywhere = usual > options.window_detail and few > options.window_evenness * usual
            result[garment] = everywhere or details.mean() > options.min_detail
        return result

    def _local_share(self, selection: Mask, among: Mask, width: float) -> Array:
        """Compute which share (S, S) of the texels `among` those around each one, `width` metres wide, is selected."""
        side = max(3, round(width * self._texels_per_metre) | 1)
        mean = [cv2.boxFilter(one.astype(np.float32), -1, (side, side)) for one in (selection & among, among)]
        return np.asarray(mean[0] / np.maximum(mean[1], np.float32(1e-6)))
