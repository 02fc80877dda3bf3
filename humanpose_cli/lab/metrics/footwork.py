"""Footwork, steadiness and flight of one person whose true motion is unknown.

Points belong to T frames, in metres in world axes, y down. `follows` (T − 1,) marks frames that directly follow the
previous one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
AIRBORNE = 0.08
"""Metres. A foot above the floor by more than this does not stand."""
_SHORTEST = 5  # frames of a flight


class Footwork(NamedTuple):
    """Errors of feet that should stand on one level floor.

    Attributes:
        slides: (S,) float64, metres per second. Speed of the slowest point of the feet between frames, not in flight.
        depths: (T,) float64, metres. Depth of the lowest point below the floor, 0 above it.
        falls: (K,) float64, metres per second², downwards. Acceleration of the centre of mass in each flight of at
            least `_SHORTEST` frames.
    """

    slides: Floats
    depths: Floats
    falls: Floats


def footwork(feet: Floats, centre: Floats, time: Floats, follows: NDArray[np.bool_]) -> Footwork:
    """Measure the footwork of one person.

    The floor is at the median height of the lowest points: while someone walks, a point of one foot rests on it.

    Args:
        feet: (T, F, 3) float64, metres. Points of the feet.
        centre: (T, 3) float64, metres. The centre of mass.
        time: (T,) float64, seconds. The times of the frames.
        follows: (T − 1,) bool. Whether a frame directly follows the previous one.
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
    """Return the mean acceleration of the points in frames between two others.

    Args:
        points: (T, J, 3) float64, metres. The points.
        time: (T,) float64, seconds. The times of the frames.
        follows: (T − 1,) bool. Whether a frame directly follows the previous one.

    Returns:
        (A,) float64, metres per second².
    """
    gap = np.diff(time)[:, None, None]
    change = 2 * np.diff(np.diff(points, axis=0) / gap, axis=0) / (gap[1:] + gap[:-1])
    return np.asarray(np.linalg.norm(change, axis=-1).mean(-1)[follows[1:] & follows[:-1]])
