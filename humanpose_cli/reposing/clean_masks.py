"""Masks whose edges are the photograph's, without pieces of the surroundings.

A mask comes from a crop of 256 pixels, so its edge lies pixels off the person's, and it may hold a piece of the
surroundings beside them. Its edge is moved to the edges of the photograph by a guided filter (He, Sun and Tang, "Guided
image filtering", 2010). A piece off the fitted body whose colours are those of the surroundings is left out, and a
reflection below the soles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.avatar.colours import SAME_CLOTH, cloth_features, k_means

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_SIDE = 480  # pixels: longer side at which masks are cleaned
_RADIUS = 0.02  # of the person's height: radius of the guided filter
_EDGE = 1e-4  # squared contrast that is an edge
_ROUNDS = 2
OFF_BODY = 0.04  # metres off the fitted body from which a piece may be of the surroundings
MIN_PIECE = 0.03  # metres: side of the smallest piece
_SURROUNDINGS = 0.12  # metres around a piece whose colours are compared with it
_ALIKE = 0.7  # share of a piece's colours that the surroundings have, if it is of them
_UNLIKE = 0.5  # share of a piece's colours that the person has, below which it may be of the surroundings
_SHOE = 0.1  # metres below the lowest point of the fitted body that may still show the person
_LEG = 0.2  # metres above that point whose colours are compared with what is below
_MAX_COLOURS = 4000  # features that are clustered
_COLOURS = 4  # main colours of the person and of the surroundings near a piece
_MIN_COLOUR = 0.1  # share from which a colour counts


def clean_mask(
    pixels: NDArray[np.uint8], mask: NDArray[np.float32], body: Mask, others: Mask, pixels_per_metre: float
) -> tuple[NDArray[np.float32], float]:
    """Move the edge of a mask to the edges of the image, and leave out pieces of the surroundings.

    Args:
        pixels: (h, w, 3) uint8 RGB. The image around the person.
        mask: (h, w) float32, 0…1. The person.
        body: (h, w) bool. The fitted body.
        others: (h, w) bool. The pixels of other people.
        pixels_per_metre: The scale at the person.

    Returns:
        (h, w) float32, 0…1, the mask, and the share of it that is left out as the surroundings, 0…1.
    """
    height, width = mask.shape
    scale = min(1.0, _SIDE / max(mask.shape))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image: Array = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    soft, drawn, foreign = (
        cv2.resize(np.asarray(layer, np.float32), size, interpolation=cv2.INTER_AREA) for layer in (mask, body, others)
    )
    person = soft >= 0.5
    dropped = _surroundings(image, person, drawn >= 0.5, foreign >= 0.5, pixels_per_metre * scale)
    area = max(int(person.sum()), 1)
    person &= ~dropped
    filtered = guided_filter(image, max(1, round(_RADIUS * max(size))), _EDGE)
    for _ in range(_ROUNDS):
        soft = filtered(person.astype(np.float32))
        person = soft >= 0.5
    soft[dropped] = 0
    larger: Array = np.clip(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    larger[others] = 0
    return larger, float(dropped.sum()) / area


def _surroundings(image: NDArray[np.uint8], person: Mask, body: Mask, others: Mask, metre: float) -> Mask:
    """Select the pieces (h, w) of a mask that are off the body and have the colours of what is around them.

    What lies below the soles, such as a reflection or shadow, is selected if it is more like the ground than the legs.
    """
    result = np.zeros(person.shape, bool)
    if not body.any():
        return result
    off_body = cv2.distanceTransform((~body).astype(np.uint8), cv2.DIST_L2, 5) > OFF_BODY * metre
    _, pieces, stats, _ = cv2.connectedComponentsWithStats((person & off_body).astype(np.uint8))
    large = np.flatnonzero(stats[1:, 4] >= (MIN_PIECE * metre) ** 2) + 1
    above = np.flatnonzero(body.any(1))[-1] - np.arange(len(body))[:, None]  # pixels above the soles
    below = person & (above < -_SHOE * metre)
    if not (len(large) or below.any()):
        return result
    reach = max(1, round(_SURROUNDINGS * metre))
    features = cloth_features(image.reshape(-1, 3) / np.float32(255)).reshape(image.shape)
    for number in large:
        x, y, width, height, _ = stats[number]
        part = slice(max(0, y - reach), y + height + reach), slice(max(0, x - reach), x + width + reach)
        piece = pieces[part] == number
        near = cv2.distanceTransform((~piece).astype(np.uint8), cv2.DIST_L2, 5) <= reach
        around = near & ~person[part] & ~others[part]
        own = near & person[part] & body[part]
        colours = features[part][piece]
        if _share(colours, features[part][around]) > _ALIKE and _share(colours, features[part][own]) < _UNLIKE:
            result[part] |= piece
    legs = person & (above >= 0) & (above < _LEG * metre)
    ground = ~person & ~others & (above < 0)
    if below.any() and _share(features[below], features[ground]) > _share(features[below], features[legs]):
        result |= below
    return result


def _share(colours: Array, palette: Array) -> float:
    """Return the share of features (N, 3) that are those of one of the main colours among others (M, 3)."""
    if len(palette) < _COLOURS:
        return 0.0
    distances = np.linalg.norm(colours[:, None] - main_colours(palette, _COLOURS, _MIN_COLOUR), axis=2).min(1)
    return float((distances < SAME_CLOTH / 2).mean())


def main_colours(features: Array, count: int, min_share: float) -> Array:
    """Return the centres (K, 3) of up to `count` clusters of features (N, 3) that hold `min_share` of them or more."""
    labels, centres = k_means(features[:: 1 + len(features) // _MAX_COLOURS], count, 1e-3)
    return np.asarray(centres[np.bincount(labels, minlength=len(centres)) >= min_share * len(labels)])


def guided_filter(
    image: NDArray[np.uint8], radius: int, epsilon: float
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a filter after which the edges of values are an image's (He, Sun and Tang 2010, section 3.4).

    Args:
        image: (h, w, 3) uint8 RGB. The guide.
        radius: The radius of the windows, pixels.
        epsilon: The squared contrast, of 0…1, from which a change of colour is an edge.

    Returns:
        Function from values (h, w) float32 to filtered values (h, w) float32.
    """

    def mean(layers: Iterable[Array]) -> Array:
        return np.stack([cv2.blur(layer, (2 * radius + 1, 2 * radius + 1)) for layer in layers])

    guide = np.ascontiguousarray(np.moveaxis(image, -1, 0), np.float32) / np.float32(255)  # (3, h, w), as all below
    centre = mean(guide)
    moments = [mean(guide * colour) - centre * level for colour, level in zip(guide, centre, strict=True)]
    for row in range(3):
        moments[row][row] += epsilon
    # The cofactors of symmetric matrices, which would lose three digits in float32.
    (a, b, c), (_, d, e), (_, _, f) = np.stack(moments).astype(np.float64)
    cofactors = np.stack((d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b))
    inverse = cofactors / (a * cofactors[0] + b * cofactors[1] + c * cofactors[2])

    def filtered(values: NDArray[np.float32]) -> NDArray[np.float32]:
        (level,) = mean([values])
        x, y, z = (mean(guide * values) - centre * level).astype(np.float64)
        a, b, c, d, e, f = inverse
        slope = np.stack((a * x + b * y + c * z, b * x + d * y + e * z, c * x + e * y + f * z)).astype(np.float32)
        (offset,) = mean([level - (slope * centre).sum(0)])
        return np.asarray((mean(slope) * guide).sum(0) + offset)

    return filtered
