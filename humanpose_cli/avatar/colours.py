"""Comparing the colours of cloth and skin: what is the same in other light, what is frequent, what is skin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.options import Options, option

Array = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ClothColours(Options):
    """How colours of cloth are compared."""

    same: float = option(0.35, "Distance of `features` below which two colours are the same.", above=0)
    brightness: float = option(0.25, "Weight of the logarithm of brightness.", minimum=0)
    saturation: float = option(3.0, "Factor on saturation; high ones differ little.", above=0)
    clusters: int = option(4, "Clusters of the colours of a thing.", minimum=1)
    min_colours: int = option(100, "Number of colours from which a most frequent one is found.", minimum=1)
    min_chroma: float = option(
        0.02, "Median contrast of the channels below which a photograph has no colours.", minimum=0, maximum=1
    )

    def features(self, colours: Array) -> Array:
        """Compute features (N, 3) of colours (N, 3) in which those of one cloth in other light are near: hue by
        saturation, and a little brightness.
        """
        bright = np.maximum(colours.max(1), 0.02)
        red, green, blue = colours.T
        hue = np.stack((red - (green + blue) / 2, (green - blue) * np.float32(0.866)), 1)
        chroma = np.linalg.norm(hue, axis=1)
        hue *= (np.tanh(self.saturation * chroma / bright) / np.maximum(chroma, 1e-6))[:, None]
        return np.column_stack((hue, self.brightness * np.log(bright))).astype(np.float32)

    def centres(self, features: Array) -> tuple[Array, NDArray[np.int64]]:
        """Find centres (K, 3) of clusters of features (N, 3), and how many points each has; none of too few points."""
        if len(features) < self.clusters:
            return np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
        labels, centres = k_means(features, self.clusters, 1e-3)
        return centres, np.bincount(labels, minlength=self.clusters)

    def dominant(self, colours: Array, among: Mask | None = None, within: float | None = None) -> Mask:
        """Select the colours (N, 3) that are like the most frequent one, or that of `among` (N,), up to folds and
        light.

        within  distance of features up to which a colour is like it; None for `same`
        """
        features = self.features(colours)
        rows = features if among is None else features[among]
        if len(rows) < self.min_colours:
            return np.zeros(len(colours), bool)
        centres, sizes = self.centres(rows)
        main = centres[sizes.argmax()]
        for _ in range(4):  # from the cluster's middle to the densest colour near it
            near = np.linalg.norm(rows - main, axis=1) < self.same
            main = np.median(rows[near], axis=0) if near.any() else main
        return np.asarray(np.linalg.norm(features - main, axis=1) < (self.same if within is None else within))

    def grey(self, colours: Array) -> bool:
        """Return whether a photograph has no colours, by those (N, 3) that it shows."""
        return len(colours) > 0 and float(np.median(np.ptp(colours, axis=1))) < self.min_chroma


def k_means(features: Array, count: int, precision: float) -> tuple[NDArray[np.int32], Array]:
    """Cluster features (N, F) into at most `count` clusters: each one's cluster (N,), and the centres (K, F)."""
    if len(features) < 2:  # OpenCV takes one row for several points
        return np.zeros(len(features), np.int32), features
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, precision)
    start = np.zeros((len(features), 1), np.int32)
    points = np.ascontiguousarray(features, np.float32)
    _, labels, centres = cv2.kmeans(points, min(count, len(points)), start, stop, 1, cv2.KMEANS_PP_CENTERS)
    return np.asarray(labels[:, 0], np.int32), np.asarray(centres)


def skin_hued(colours: Array) -> Mask:
    """Select the colours (N, 3) in the skin locus of Soriano et al. (2003): between two parabolas of r and g = R, G /
    (R + G + B), off white.
    """
    r, g, _ = (colours / np.maximum(colours.sum(1, keepdims=True), 1e-6)).T
    white = (r - 1 / 3) ** 2 + (g - 1 / 3) ** 2 < 0.0004
    below, above = -0.776 * r**2 + 0.5601 * r + 0.1766, -1.3767 * r**2 + 1.0743 * r + 0.1452
    return np.asarray((g > below) & (g < above + 0.02) & ~white & (r > 1 / 3))
