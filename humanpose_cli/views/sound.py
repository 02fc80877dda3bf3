"""The difference between cameras' clocks, from the sound of their videos.

The same noise in two recordings has the same phases at one shift alone. The generalised cross-correlation with phase
transform (Knapp and Carter 1976) has one sharp peak there, even if microphones, rooms and loudness differ. Sound takes
3 ms per metre, less than a frame across a room.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from humanpose_cli.io.sound import read_sound

RATE = 8000  # samples per second
_MIN_PEAK = 2.0  # times the correlation at other shifts
_MIN_FREQUENCY = 150.0  # hertz, below which there is wind and handling noise
_MAX_DURATION = 600.0  # seconds of a recording that are compared
_PEAK_WIDTH = 0.02  # seconds around a peak


def sound_offset(first: NDArray[np.floating], second: NDArray[np.floating]) -> float | None:
    """Measure how many seconds later a sound is in the second recording than in the first.

    Args:
        first: (N,). The samples, `RATE` per second.
        second: (M,). The samples.

    Returns:
        Seconds. None if no shift stands out.
    """
    if min(len(first), len(second)) < RATE:
        return None
    length = next_fast_len(len(first) + len(second))
    spectra = [rfft(np.asarray(samples, np.float64), length) for samples in (first, second)]
    product = spectra[0].conj() * spectra[1]
    magnitude = np.abs(product)
    if not magnitude.any():
        return None
    # Only phases count, because rooms and microphones change the loudness of frequencies.
    product /= np.maximum(magnitude, 1e-6 * magnitude.max())
    product[: int(_MIN_FREQUENCY * length / RATE)] = 0
    correlation = irfft(product, length)
    lags = np.fft.fftfreq(length, 1 / length).round() / RATE
    best = int(correlation.argmax())
    # Recordings of different moments have many peaks of the same height.
    distance = np.abs(lags - lags[best])
    is_off_peak = np.minimum(distance, length / RATE - distance) > _PEAK_WIDTH
    if not is_off_peak.any() or correlation[best] < _MIN_PEAK * np.abs(correlation[is_off_peak]).max():
        return None
    return float(lags[best])


def offsets_by_sound(paths: list[Path | None]) -> list[float | None]:
    """Measure how many seconds the clock of each video is ahead of the first one's, by their sound.

    Args:
        paths: The videos. None for a view that is not a video.

    Returns:
        Seconds for each view. None if unknown.
    """
    recordings = [None if path is None else read_sound(path, RATE, _MAX_DURATION) for path in paths]
    result: list[float | None] = [0.0]
    for recording in recordings[1:]:
        if recordings[0] is None or recording is None:
            result.append(None)
            continue
        first, first_start = recordings[0]
        second, start = recording
        offset = sound_offset(first, second)
        result.append(None if offset is None else offset + start - first_start)
    return result
