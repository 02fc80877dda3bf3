"""COCO's run-length encoded masks: counts down the columns, zeros first, as numbers or packed into text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.errors import InputError

__all__ = ["decode_run_lengths"]

_MOST_PIXELS = 1 << 28


def decode_run_lengths(encoded: Mapping[str, Any], where: object) -> NDArray[np.bool_]:
    """The mask (H, W) of {"size": [H, W], "counts": text or numbers}. InputError, which begins with `where`."""
    size, counts = encoded.get("size"), encoded.get("counts")
    known = isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and n >= 0 for n in size)
    height, width = size if known and isinstance(size, list) else (-1, -1)
    if not 0 <= height * width <= _MOST_PIXELS or height < 0:
        raise InputError(where, "has a mask of unusable size", expected="[height, width]", got=str(size)[:40])
    try:
        runs = np.asarray(_unpacked(counts) if isinstance(counts, str) else counts, np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(where, "has a damaged mask", got=str(error)[:80]) from error
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise InputError(
            where, "has a mask of another size", expected=f"{height} × {width}", got=f"{runs.sum()} pixels"
        )
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return bits.reshape(width, height).T


def _unpacked(text: str) -> list[int]:
    """Counts from COCO's text: groups of 5 bits from the lowest, 48 added to each, the sixth bit says that more follow;
    the fifth bit of the last one is the sign; from the fourth count on they are differences to the one before last.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"the character {character!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("its text is cut short")
    return counts
