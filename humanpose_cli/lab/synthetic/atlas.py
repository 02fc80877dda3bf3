"""The texture atlas of dressed people: its tiles, and the texels that show the body's surface."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.cloth_surface import Coordinates, cloth_base
from humanpose_cli.body.texture import TexelMap, bleed_islands
from humanpose_cli.core.conventions import SMPL24

Array = NDArray[Any]

ASPECT = 1.5  # width of the atlas over its height


class Tile(NamedTuple):
    """A rectangle of the atlas in units of its height.

    Attributes:
        x0: Left.
        y0: Top.
        x1: Right.
        y1: Bottom.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def slices(self, size: int) -> tuple[slice, slice]:
        """Return the rows and columns in an atlas of height `size`."""
        return slice(round(self.y0 * size), round(self.y1 * size)), slice(round(self.x0 * size), round(self.x1 * size))

    def pixels(self, size: int) -> tuple[tuple[slice, slice], Array, Array]:
        """Return the rows and columns in an atlas of height `size`, and their indices (h, w) float32 in the tile."""
        rows, columns = self.slices(size)
        v, u = np.mgrid[: rows.stop - rows.start, : columns.stop - columns.start].astype(np.float32)
        return (rows, columns), v, u

    def uv(self, u: Array, v: Array) -> Array:
        """Return atlas coordinates (n, 2) of points u, v (n,), 0 … 1 in the tile, with a margin."""
        margin = 0.004
        x = self.x0 + margin + np.clip(u, 0, 1) * (self.x1 - self.x0 - 2 * margin)
        y = self.y0 + margin + np.clip(v, 0, 1) * (self.y1 - self.y0 - 2 * margin)
        return np.stack((x / ASPECT, y), -1).astype(np.float32)


TILES = {
    "body": Tile(0.0, 0.0, 1.0, 1.0),
    "outer": Tile(1.0, 0.0, 1.5, 0.36),
    "skirt": Tile(1.0, 0.36, 1.5, 0.6),
    "tail": Tile(1.0, 0.6, 1.5, 0.74),
    "hair": Tile(1.0, 0.74, 1.25, 1.0),
    "hat": Tile(1.25, 0.74, 1.5, 0.85),
    "shoe": Tile(1.25, 0.85, 1.375, 1.0),
    "collar": Tile(1.375, 0.85, 1.5, 0.9),
    "scarf": Tile(1.375, 0.9, 1.5, 0.97),
    "glasses": Tile(1.375, 0.97, 1.5, 1.0),
}
_OUTER_PART = Tile(0.0, 0.02, 0.77, 0.56)  # part of the body's texture that a jacket may cover


@dataclass(frozen=True, eq=False)
class AtlasTexels:
    """The n texels of the atlas that show the body's surface in one of its tiles.

    Attributes:
        size: Height of the atlas; its width is 3/2 of that.
        rows: (n,) int. Flat pixel indices in the atlas, ascending.
        coordinates: Coordinates of the points.
        points: (n, 3) float32, metres. Points on the average body.
        head: (n,) bool. Head and neck.
        eyes: (n,) bool. The eyeballs.
        hollow: (n,) float32. Share of the light in armpits, crotch, elbows and hollows of the knees; 1 elsewhere.
        gap: (g,) int. Flat pixel indices just outside the surface.
        owner: (g,) int. The nearest pixels inside, whose colours they take.
    """

    size: int
    rows: Array
    coordinates: Coordinates
    points: Array
    head: NDArray[np.bool_]
    eyes: NDArray[np.bool_]
    hollow: Array
    gap: Array
    owner: Array

    def bleed(self, image: NDArray[np.uint8]) -> None:
        """Spread the colours over the edge of the surface in place, so that seams do not show the gap."""
        flat = image.reshape(-1, 3)
        flat[self.gap] = flat[self.owner]


@lru_cache(maxsize=4)
def atlas_texels(body: Body, size: int, tile: str = "body") -> AtlasTexels:
    """Return the texels of a tile, which are computed once per body object, size and tile.

    Args:
        body: The body.
        size: Height of the atlas.
        tile: "body" or "outer".
    """
    base = cloth_base(body)
    left = 0 if tile == "body" else round(TILES[tile].x0 * size)
    uv = body.uv.numpy() if tile == "body" else outer_uv(body.uv.numpy()) * [ASPECT, 1] - [left / size, 0]
    texels = TexelMap(torch.from_numpy(uv.astype(np.float32)), body.uv_faces, size)
    mask = texels.covered.copy()
    if tile != "body":
        inside_rows, inside_columns = TILES[tile].slices(size)
        mask[inside_rows.stop :] = False
        mask[:, inside_columns.stop - left :] = False
    count = len(body.template)
    is_head = np.isin(body.part_labels.numpy(), SMPL24.indices(("head", "neck")))
    flags = np.stack((base.coordinates.is_arm[:count], is_head, base.is_eye[:count]), 1).astype(np.float32)
    values = np.concatenate((body.template.numpy(), flags), 1)
    rows = np.flatnonzero(mask)
    texel_values = texels.interpolate(values, body.faces).reshape(-1, values.shape[1])[rows]
    width = round(size * ASPECT)

    def flat_index(row: Array) -> Array:
        return row // size * width + row % size + left

    nearest = np.arange(size * size).reshape(size, size, 1)
    bleed_islands(nearest, mask, reach=max(3, size // 96))
    gap = np.flatnonzero(nearest.ravel() != np.arange(size * size))
    return AtlasTexels(
        size=size,
        rows=flat_index(rows),
        coordinates=Coordinates.of_points(body, texel_values[:, :3], texel_values[:, 3]),
        points=texel_values[:, :3],
        head=(texel_values[:, 4] > 0.5) | (texel_values[:, 5] > 0.5),
        eyes=texel_values[:, 5] > 0.5,
        hollow=_hollows(texel_values[:, :3], body.joint_template.numpy()),
        gap=flat_index(gap),
        owner=flat_index(nearest.ravel()[gap]),
    )


def _hollows(points: Array, joints: Array) -> Array:
    """Return the brightness (n,) of points (n, 3) of the average body, reduced in folds."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    elbow, knee = joints[list(SMPL24.indices(("left_elbow", "left_knee")))]
    right_side = np.stack((x, y, z), 1)

    def near(centre: Array, radius: float) -> Array:
        return np.exp(-((right_side - centre) ** 2).sum(1) / radius**2)

    crotch = np.exp(-((x / 0.05) ** 2) - ((y + 0.12) / 0.07) ** 2)
    groin = np.exp(-(((y + 0.02 + 0.9 * (0.13 - x)) / 0.022) ** 2)) * (z > 0.02) * (x < 0.15) * (np.abs(y) < 0.13)
    armpit = np.exp(-(((x - 0.17) / 0.035) ** 2) - ((y - 0.37) / 0.05) ** 2)
    chin = np.exp(-(((y - 0.56) / 0.018) ** 2)) * (z > 0.03) * (x < 0.06)
    bend = near(elbow + np.array([0.0, 0.0, 0.045], np.float32), 0.045) + near(
        knee + np.array([0.0, 0.0, -0.06], np.float32), 0.06
    )
    dark = 0.3 * crotch + 0.14 * groin + 0.28 * armpit + 0.18 * chin + 0.2 * bend
    return (1 - np.clip(dark, 0, 0.4)).astype(np.float32)


def outer_uv(uv: Array) -> Array:
    """Map the body's uv (T, 2) to atlas coordinates (T, 2) in the tile of jackets and coats."""
    part, tile = _OUTER_PART, TILES["outer"]
    return tile.uv((uv[:, 0] - part.x0) / (part.x1 - part.x0), (uv[:, 1] - part.y0) / (part.y1 - part.y0))
