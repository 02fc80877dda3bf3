"""The number of independent samples behind a figure, and whether it is too small."""

from __future__ import annotations

FEW = 10
"""Independent people, sequences or images below which a figure, and its interval, say little."""
_ONE = {"people": "person", "rendered people": "rendered person", "clothes": "set of clothes"}


def small_sample(count: int, unit: str, *, different: bool = False) -> str:
    """Return a warning if there are too few samples to conclude anything, otherwise "".

    Args:
        count: The number of samples.
        unit: Their name in the plural.
        different: Whether each person counts once, in any number of images.
    """
    return f"{counted(count, unit, different=different)}: these figures mean little" if count < FEW else ""


def counted(count: int, unit: str, *, different: bool = False) -> str:
    """Write a number of samples with their unit.

    Args:
        count: The number.
        unit: The name in the plural.
        different: Whether each person counts once, in any number of images.
    """
    if count == 1:
        return f"1 {_ONE.get(unit, unit.removesuffix('s'))}"
    return f"{count:,} {'different ' if different and unit != 'values' else ''}{unit}"
