"""How far cameras' clocks differ, from what their microphones heard.

The same noise in two recordings has the same phases at one shift alone: the generalised cross-correlation with phase
transform (Knapp and Carter 1976) has one sharp peak there, also where microphones, rooms and loudness differ. Sound
takes 3 ms a metre, less than a frame across a room.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from humanpose_cli.io.sound import read_sound
from humanpose_cli.views.relative import MAX_OFFSET

RATE = 8000  # samples a second
_PEAK = 2.0  # times the likeness at other shifts, at the one that gives the clocks
_LOWEST = 150.0  # hertz: below is wind and handling
_LONGEST = 600.0  # seconds of a recording that are compared
_NEAR = 0.02  # seconds round a peak that belong to it


def sound_offset(first: NDArray[np.floating], second: NDArray[np.floating], rate: int = RATE) -> float | None:
    """Measure how many seconds later a sound is in the second recording than in the first; None if no shift stands out.

    Args:
        first, second: Samples (N,) and (M,) at `rate` per second.
    """
    if min(len(first), len(second)) < rate:
        return None
    length = next_fast_len(len(first) + len(second))
    spectra = [rfft(np.asarray(samples, np.float64), length) for samples in (first, second)]
    product = spectra[0].conj() * spectra[1]
    magnitude = np.abs(product)
    if not magnitude.any():
        return None
    # Phases alone: loud frequencies, which rooms and microphones change, would hide the peak.
    product /= np.maximum(magnitude, 1e-6 * magnitude.max())
    product[: int(_LOWEST * length / rate)] = 0
    likeness = irfft(product, length)
    lags = np.fft.fftfreq(length, 1 / length).round() / rate
    likeness[np.abs(lags) > MAX_OFFSET] = 0
    best = int(likeness.argmax())
    # A peak among others as high is chance: recordings of different moments have many.
    apart = np.abs(lags - lags[best])
    others = likeness[(np.minimum(apart, length / rate - apart) > _NEAR) & (np.abs(lags) <= MAX_OFFSET)]
    if not len(others) or likeness[best] < _PEAK * np.abs(others).max():
        return None
    return float(lags[best])


def heard_offsets(paths: list[Path | None]) -> list[float | None]:
    """Measure how many seconds the clock of each video is ahead of the first one's, by their sound; None if unknown.

    Args:
        paths: None for a view that is no video.
    """
    recordings = [None if path is None else read_sound(path, RATE, _LONGEST) for path in paths]
    result: list[float | None] = [0.0]
    for recording in recordings[1:]:
        if recordings[0] is None or recording is None:
            result.append(None)
            continue
        (first, first_start), (second, start) = recordings[0], recording
        later = sound_offset(first, second)
        result.append(None if later is None else later + start - first_start)
    return result
