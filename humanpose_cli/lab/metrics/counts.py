"""How many independent things a figure is of, and whether these are too few."""

from __future__ import annotations

FEW = 10
"""Independent people, sequences or images below which a figure, and its interval, say little."""
_ONE = {"people": "person", "rendered people": "rendered person", "clothes": "set of clothes"}


def small_sample(count: int, unit: str, *, different: bool = False) -> str:
    """Warn if `count` things (`unit`, in the plural) are too few to conclude anything; else return ""."""
    return f"{counted(count, unit, different=different)}: these figures mean little" if count < FEW else ""


def counted(count: int, unit: str, *, different: bool = False) -> str:
    """Write a number of things; `unit` names them in the plural. different  each counts once, in however many images it
    is
    """
    if count == 1:
        return f"1 {_ONE.get(unit, unit.removesuffix('s'))}"
    return f"{count:,} {'different ' if different and unit != 'values' else ''}{unit}"
