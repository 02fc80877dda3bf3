"""Compare the colours of cloth and skin: independent of light, by frequency, and by the hue of skin."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[Any]
Mask = NDArray[np.bool_]

PLAIN_SHARE = 0.55  # of a plain garment's most frequent colour
SAME_CLOTH = 0.35  # distance of `cloth_features` below which two colours are the same
_BRIGHTNESS = 0.25  # weight of the logarithm of brightness
_SATURATION = 3.0  # factor on saturation; high ones differ little
_CLUSTERS = 4  # clusters of the colours of a thing
_MIN_COLOURS = 100  # number of colours from which a most frequent one is found
_MIN_CHROMA = 0.02  # median contrast of the channels below which a photograph has no colours


def cloth_features(colours: Array, brightness: float = _BRIGHTNESS) -> Array:
    """Return features in which the colours of one cloth in different light are close.

    Args:
        colours: (N, 3) float, 0…1, RGB.
        brightness: The weight of the logarithm of brightness.

    Returns:
        (N, 3) float32. Hue times saturation, and brightness.
    """
    bright = np.maximum(colours.max(1), 0.02)
    red, green, blue = colours.T
    hue = np.stack((red - (green + blue) / 2, (green - blue) * np.float32(0.866)), 1)
    chroma = np.linalg.norm(hue, axis=1)
    hue *= (np.tanh(_SATURATION * chroma / bright) / np.maximum(chroma, 1e-6))[:, None]
    return np.column_stack((hue, brightness * np.log(bright))).astype(np.float32)


def like_colour(colours: Array, colour: Array) -> Mask:
    """Select the colours (N, 3) that equal a colour (3,) up to folds and light."""
    distances = np.linalg.norm(cloth_features(colours) - cloth_features(colour[None]), axis=1)
    return np.asarray(distances < SAME_CLOTH)


def among_colours(colours: Array, references: Array) -> Mask:
    """Select the colours (N, 3) that are close to one of up to 256 references (M, 3)."""
    if not len(references):
        return np.zeros(len(colours), bool)
    tree = cKDTree(cloth_features(references[:: 1 + len(references) // 256]))
    return np.asarray(tree.query(cloth_features(colours))[0] < SAME_CLOTH / 2)


def cluster_centres(features: Array) -> tuple[Array, NDArray[np.int64]]:
    """Cluster features (N, 3) of colours.

    Returns:
        The centres (K, 3) and the number of points (K,) of each cluster. K is 0 for fewer than four points.
    """
    if len(features) < _CLUSTERS:
        return np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
    labels, centres = k_means(features, _CLUSTERS, 1e-3)
    return centres, np.bincount(labels, minlength=_CLUSTERS)


def dominant_colour(colours: Array, within: float = SAME_CLOTH) -> Mask:
    """Select the colours that equal the most frequent one up to folds and light.

    Args:
        colours: (N, 3) float, 0…1, RGB.
        within: The maximum distance of features.

    Returns:
        (N,) bool. False for fewer than 100 colours.
    """
    features = cloth_features(colours)
    if len(features) < _MIN_COLOURS:
        return np.zeros(len(colours), bool)
    centres, sizes = cluster_centres(features)
    main = centres[sizes.argmax()]
    for _ in range(4):  # from the cluster's middle to the densest colour near it
        near = np.linalg.norm(features - main, axis=1) < SAME_CLOTH
        main = np.median(features[near], axis=0) if near.any() else main
    return np.asarray(np.linalg.norm(features - main, axis=1) < within)


def is_grey(colours: Array) -> bool:
    """Return whether the colours (N, 3) come from a photograph without colours."""
    return len(colours) > 0 and float(np.median(np.ptp(colours, axis=1))) < _MIN_CHROMA


def k_means(features: Array, count: int, precision: float) -> tuple[NDArray[np.int32], Array]:
    """Cluster features by k-means.

    Args:
        features: (N, F) float.
        count: The maximum number of clusters.
        precision: The distance of centres at which the iteration ends.

    Returns:
        The cluster of each row (N,), and the centres (K, F).
    """
    if len(features) < 2:  # OpenCV takes one row for several points
        return np.zeros(len(features), np.int32), features
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, precision)
    start = np.zeros((len(features), 1), np.int32)
    points = np.ascontiguousarray(features, np.float32)
    _, labels, centres = cv2.kmeans(points, min(count, len(points)), start, stop, 1, cv2.KMEANS_PP_CENTERS)
    return np.asarray(labels[:, 0], np.int32), np.asarray(centres)


def skin_hued(colours: Array) -> Mask:
    """Select the colours (N, 3) that have a hue of skin.

    The skin locus of Soriano et al. (2003) lies between two parabolas of r = R / (R + G + B) and g = G / (R + G + B),
    without the surroundings of white.
    """
    r, g, _ = (colours / np.maximum(colours.sum(1, keepdims=True), 1e-6)).T
    white = (r - 1 / 3) ** 2 + (g - 1 / 3) ** 2 < 0.0004
    below = -0.776 * r**2 + 0.5601 * r + 0.1766
    above = -1.3767 * r**2 + 1.0743 * r + 0.1452
    return np.asarray((g > below) & (g < above + 0.02) & ~white & (r > 1 / 3))
