"""Footwork, steadiness and flight of one person whose true motion is not known.

Points are those of T frames in world axes, metres, y down; `follows` (T − 1,) says which frames come directly after
the one before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
AIRBORNE = 0.08
"""Metres above the floor from which on no point of the feet stands."""
_SHORTEST = 5  # frames of a flight


class Footwork(NamedTuple):
    """What feet do that should stand on one level floor.

    Attributes:
        slides: (S,) metres a second: of the slowest point of the feet from a frame to the next, not in flight.
        depths: (T,) metres of the lowest point below the floor, 0 above it.
        falls: (K,) metres a second², downwards: of the centre of mass in each flight of `_SHORTEST` frames or more.
    """

    slides: Floats
    depths: Floats
    falls: Floats


def footwork(feet: Floats, centre: Floats, time: Floats, follows: NDArray[np.bool_]) -> Footwork:
    """Measure the footwork of points of the feet (T, F, 3) and a centre of mass (T, 3) at times (T,) in seconds.

    The floor is as high as the median of the lowest points. While someone walks, a point of one foot rests on it.
    """
    steps = np.linalg.norm(np.diff(feet, axis=0), axis=-1)
    height = -feet[..., 1].max(1)
    above = height - np.median(height[1:][follows])
    airborne = above > AIRBORNE
    standing = follows & ~airborne[1:] & ~airborne[:-1]
    frames = np.flatnonzero(airborne)
    ends = np.flatnonzero((np.diff(frames) != 1) | ~follows[frames[:-1]]) + 1
    flights = [part for part in np.split(frames, ends) if len(part) >= _SHORTEST]
    falls = [2 * np.polyfit(time[part] - time[part[0]], centre[part, 1], 2)[0] for part in flights]
    slides = steps.min(1)[standing] / np.diff(time)[standing]
    return Footwork(slides, np.maximum(-above, 0), np.array(falls, np.float64))


def joint_accelerations(points: Floats, time: Floats, follows: NDArray[np.bool_]) -> Floats:
    """Average the points' accelerations in frames between two others: (T, J, 3) → (A,) metres a second²."""
    gap = np.diff(time)[:, None, None]
    change = 2 * np.diff(np.diff(points, axis=0) / gap, axis=0) / (gap[1:] + gap[:-1])
    return np.asarray(np.linalg.norm(change, axis=-1).mean(-1)[follows[1:] & follows[:-1]])
