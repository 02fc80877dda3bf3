"""The clothes of a person in a photo: which parts they cover, by colour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.avatar.colours import like_colour, skin_hued
from humanpose_cli.avatar.shoes import VertexColours
from humanpose_cli.avatar.surface import FEET, HANDS, BodyTexels
from humanpose_cli.core.conventions import SMPL24

Array = NDArray[Any]

_MIN_VISIBLE = 0.1  # visible share of a part that decides whether it is bare
_BARE_SHARE = 0.5  # share of skin on a bare part
_BARE = ("neck", "head", *HANDS, *FEET)


@dataclass(frozen=True, eq=False)
class Worn:
    """Clothes and shoes of a person in a photo.

    Attributes:
        tone: (3,) RGB, 0…1. The skin's colour in the photo; None if no skin is visible.
        parts: (24,) float32, 0 or 1. The parts that clothes cover.
        shod: Whether the feet wear shoes, which never have the skin's colour and are dark if hidden. None if unknown.
        pocketed: (V,) bool. Vertices of hands that are in pockets.
        coat: Whether a coat is known to cover the back, however little of it is visible.
        cap: Whether the crown is known to be a cap, of any colour, with hair below it.
        hair: (3,) RGB, 0…1. The colour of a scalp that is hidden; None for dark hair.
        bare: Whether legs that are hidden are bare, as below a skirt.
    """

    tone: Array | None = None
    parts: NDArray[np.float32] = field(default_factory=lambda: np.ones(len(SMPL24), np.float32))
    shod: bool | None = False
    pocketed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    coat: bool = False
    cap: bool = False
    hair: Array | None = None
    bare: bool = False


def clothed_parts(surface: BodyTexels, visible: VertexColours, tone: Array | None) -> NDArray[np.float32]:
    """Decide which parts clothes cover: those that mostly have another colour than skin.

    A part that is not visible is like the part above it. Head, hands and feet are bare.

    Args:
        surface: The body's texels.
        visible: The photo's colours at the vertices.
        tone: (3,) RGB, 0…1. The skin's colour; if it is None, all other parts are clothed.

    Returns:
        (24,) float32, 0 or 1.
    """
    bare = np.zeros(len(visible.shown), bool)
    if tone is not None:
        bare = like_colour(visible.colour, tone) & skin_hued(visible.colour)
    cover = np.ones(len(SMPL24), np.float32)
    areas = surface.operator.areas
    for row, (name, parent) in enumerate(zip(SMPL24.joint_names, SMPL24.parents, strict=True)):  # parents come first
        part = surface.part_labels == row
        in_photo = part & visible.shown
        if name in _BARE:
            cover[row] = 0
        elif areas[in_photo].sum() >= _MIN_VISIBLE * areas[part].sum():
            cover[row] = areas[in_photo & bare].sum() < _BARE_SHARE * areas[in_photo].sum()
        elif parent >= 0:
            cover[row] = cover[parent]
    return cover
