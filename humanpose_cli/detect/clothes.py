"""Colours of people's clothes, which distinguish people of similar shape and movement."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.detect.person import DetectedPerson

# Spots of the body whose colours distinguish people: each the mean of points between pairs of landmarks, on both sides.
_SPOTS: tuple[tuple[tuple[str, str, float], ...], ...] = (
    (("{}_shoulder", "{}_hip", 0.25), ("{}_shoulder", "{}_hip", 0.45)),
    (("{}_shoulder", "{}_hip", 0.75),),
    (("{}_shoulder", "{}_elbow", 0.5),),
    (("{}_hip", "{}_knee", 0.5),),
    (("{}_knee", "{}_ankle", 0.5),),
    (("{}_ear", "{}_ear", 0.0),),
)
_PATCH = 0.02  # heights of the person: radius of a spot
_MIN_CONFIDENCE = 0.3  # of a spot's landmarks
_MIN_WEIGHT = 0.5  # sum over the spots: less cannot be compared
_LARGEST = 40.0  # ΔE: maximum difference of a spot, beyond which it is not cloth


def body_colours(person: DetectedPerson, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure the colours of a person's clothes.

    Args:
        person: The person.
        image: (H, W, 3) uint8 RGB.

    Returns:
        (6, 4) float32. The CIELAB colour and the weight 0…1 of chest, belly, upper arms, thighs, shins and head.
    """
    colours = np.zeros((len(_SPOTS), 4), np.float32)
    radius = max(int(_PATCH * (person.box[3] - person.box[1])), 1)
    height, width = image.shape[:2]
    for row, spot in enumerate(_SPOTS):
        patches = []
        for start, end, share in spot:
            for side in ("left", "right"):
                names = [start.format(side), end.format(side)]
                if not all(name in person.skeleton for name in names):
                    continue
                a, b = person.keypoints[person.skeleton.indices(names)]
                x, y = (int(v) for v in (1 - share) * a[:2] + share * b[:2])
                if min(a[2], b[2]) > _MIN_CONFIDENCE and radius <= x < width - radius and radius <= y < height - radius:
                    patch = image[y - radius : y + radius + 1, x - radius : x + radius + 1]
                    patches.append((*patch.reshape(-1, 3).mean(0), min(a[2], b[2])))
        if patches:
            colours[row] = np.average(patches, axis=0)
    lab = cv2.cvtColor((colours[None, :, :3] / np.float32(255)).astype(np.float32), cv2.COLOR_RGB2LAB)
    colours[:, :3] = lab[0]
    return colours


def median_colours(rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the median colours (6, 4) of a person over several images, with the mean weights."""
    colours = np.stack(rows).astype(np.float64)
    visible = np.where(colours[..., 3:] > 0, colours[..., :3], np.nan)
    weight = colours[..., 3].mean(0)
    median = np.zeros((len(weight), 3))
    is_visible = weight > 0
    median[is_visible] = np.nanmedian(visible[:, is_visible], axis=0)
    return np.concatenate([median, weight[:, None]], axis=1)


def colour_difference(a: NDArray[np.floating], b: NDArray[np.floating], lightness: float) -> float | None:
    """Return the difference ΔE of the colours of two people.

    Args:
        a: (6, 4) float. CIELAB colours and weights.
        b: (6, 4) float. CIELAB colours and weights.
        lightness: The weight of CIELAB's L, below 1: light changes with position and camera, more than colour does.

    Returns:
        0 to 40; None if too little can be compared.
    """
    weight = np.sqrt(a[:, 3] * b[:, 3])
    if weight.sum() < _MIN_WEIGHT:
        return None
    distances = np.linalg.norm((a[:, :3] - b[:, :3]) * [lightness, 1, 1], axis=1)
    return float((weight * np.minimum(distances, _LARGEST)).sum() / weight.sum())
