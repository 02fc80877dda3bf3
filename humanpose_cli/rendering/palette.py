"""Colours by which people are told apart: fixed per track id, so that a person keeps theirs through a video."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

__all__ = ["person_colour"]

# Equally light and clearly different in hue; neighbours in the list lie far apart on the colour circle.
_COLOURS = (
    (88, 172, 232),
    (244, 150, 72),
    (112, 192, 112),
    (228, 108, 136),
    (160, 132, 224),
    (232, 200, 84),
    (72, 190, 182),
    (208, 124, 196),
    (164, 168, 80),
    (120, 142, 232),
    (216, 128, 92),
    (128, 204, 158),
)
_GOLDEN_TURN = 0.61803398875


def person_colour(track_id: int) -> NDArray[np.float32]:
    """The colour of a track: (3,) RGB in 0…1.

    The first ids take a hand-picked palette; later ones walk the colour circle by the golden ratio, which never
    repeats a hue.
    """
    if 0 <= track_id < len(_COLOURS):
        return np.asarray(_COLOURS[track_id], np.float32) / np.float32(255)
    turn = track_id * _GOLDEN_TURN
    red_green_blue = colorsys.hls_to_rgb(turn % 1.0, 0.62 + 0.06 * (track_id % 3 - 1), 0.62)
    return np.asarray(red_green_blue, np.float32)
