"""Colours by their names in CSS."""

from __future__ import annotations


def named_colour(text: str) -> tuple[int, int, int] | None:
    """Return the RGB values, 0 to 255, of a colour such as `white`, `#20ff40` or `rgb(255, 0, 0)`; None otherwise."""
    from PIL import ImageColor

    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError:
        return None
    return red, green, blue
