"""Painting hair: strands that run down from the crown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.synthetic.wardrobe.identity import Hair
from humanpose_cli.data.synthetic.wardrobe.noise import NOISE_SIZE, noise, resample_at
from humanpose_cli.data.synthetic.wardrobe.scalp import hair_field
from humanpose_cli.data.synthetic.wardrobe.shells import ramp
from humanpose_cli.data.synthetic.wardrobe.texels import TILES, BodyTexels

__all__ = ["paint_hair", "paint_hair_tile"]

Array = NDArray[Any]

_EDGE = -0.003


def paint_hair(hair: Hair, texels: BodyTexels, image: NDArray[np.uint8], seed: int) -> None:
    """Paint the scalp's texels, in place; the hairline fades into the skin."""
    head = np.flatnonzero(texels.head)
    field = hair_field(hair, texels.where.at(head))
    inside = field > _EDGE
    chosen, field = head[inside], field[inside]
    at = texels.points[chosen]
    strand = np.arctan2(at[:, 0], at[:, 2] - np.float32(0.03)) * np.float32(NOISE_SIZE / 6.2832)
    shade = _strands(hair, strand, at[:, 1] * np.float32(400), seed)
    colour = np.asarray(hair.colour, np.float32) * shade[:, None]
    flat = image.reshape(-1, 3)
    rows = texels.rows[chosen]
    share = ramp(field, _EDGE, 0.008 if hair.style == "buzz" else 0.002)
    if hair.style == "buzz":
        share = share * np.float32(0.55 + 0.35 * hair.volume)
    flat[rows] = np.clip(flat[rows] + share[:, None] * (colour - flat[rows]), 0, 255)


def paint_hair_tile(hair: Hair, image: NDArray[np.uint8], seed: int) -> None:
    """Paint the tile of hair that hangs: strands from its top to its bottom."""
    rows, columns = TILES["hair"].slices(len(image))
    v, u = np.mgrid[: rows.stop - rows.start, : columns.stop - columns.start].astype(np.float32)
    shade = _strands(hair, u.ravel() * 1.7, v.ravel() * 0.8, seed).reshape(u.shape)
    # Less light reaches the tips and what lies below.
    shade *= 1.05 - 0.25 * v / len(v)
    image[rows, columns] = np.clip(np.asarray(hair.colour, np.float32) * shade[..., None], 0, 255)


def _strands(hair: Hair, across: Array, along: Array, seed: int) -> Array:
    """(n,) brightness at places in texels of noise: fine across the strands, slow along them."""
    shift = np.float32(seed % NOISE_SIZE)
    curl = {"curly": 9.0, "afro": 14.0}.get(hair.style, 2.0)
    bend = np.float32(curl) * np.sin(along * np.float32(0.06) + shift)
    unit = np.float32(1 / NOISE_SIZE)
    slow = resample_at(noise(64, 0, 0.3), (across + bend + shift) * unit, along * (unit / 4))
    fine = resample_at(noise(128, 1, 0.0), (2.3 * across + bend) * unit, along * (unit / 8))
    return 1 + np.float32(0.17) * slow + np.float32(0.16) * fine
