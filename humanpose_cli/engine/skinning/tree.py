"""The joint tree as plain integers: its levels from the roots down."""

from __future__ import annotations

from functools import lru_cache

from humanpose_cli.errors import UsageError

__all__ = ["levels"]


@lru_cache(maxsize=64)
def levels(parents: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Joints by their distance from a root (parent −1), roots first; children may precede their parents.

    UsageError where a parent does not exist or joints form a circle.
    """
    count = len(parents)
    for joint, parent in enumerate(parents):
        if not -1 <= parent < count:
            raise UsageError(
                "parents", f"joint {joint} has no such parent", expected=f"-1 to {count - 1}", got=f"{parent}"
            )
    found: list[tuple[int, ...]] = []
    level = tuple(j for j in range(count) if parents[j] == -1)
    while level:
        found.append(level)
        level = tuple(j for j in range(count) if parents[j] in level)
    if sum(map(len, found)) != count:
        lost = sorted(set(range(count)).difference(*found))
        raise UsageError("parents", "joints are not connected to a root", got=f"joints {lost}")
    return tuple(found)
