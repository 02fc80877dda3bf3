"""The atlas of a dressed person, and what is known of every texel of it.

The atlas is `size` high and 3/2 of that wide. On its left square lies the body's own texture: skin and the clothes
that follow it. The column on its right holds what may lie over these: coat or jacket, skirt, hair, hat, shoes, small
things.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import TexelMap, bleed_islands
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.synthetic.cloth_surface import Coordinates, cloth_base

__all__ = ["ASPECT", "TILES", "AtlasTexels", "TexelPart", "Tile", "atlas_texels", "outer_uv"]

Array = NDArray[Any]

ASPECT = 1.5


class Tile(NamedTuple):
    """A rectangle of the atlas in units of its height: left, top, right, bottom."""

    x0: float
    y0: float
    x1: float
    y1: float

    def slices(self, size: int) -> tuple[slice, slice]:
        """Rows and columns of an atlas of that height."""
        return slice(round(self.y0 * size), round(self.y1 * size)), slice(round(self.x0 * size), round(self.x1 * size))

    def pixels(self, size: int) -> tuple[tuple[slice, slice], Array, Array]:
        """Rows and columns of an atlas of that height, and their numbers (h, w) float32 within the tile."""
        rows, columns = self.slices(size)
        v, u = np.mgrid[: rows.stop - rows.start, : columns.stop - columns.start].astype(np.float32)
        return (rows, columns), v, u

    def uv(self, u: Array, v: Array) -> Array:
        """Atlas coordinates (n, 2) of points (n,) in 0…1 inside the tile, kept off its edge."""
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
# Metres above the pelvis joint between which tops and under which trousers may lie.
_LOWEST_TOP, _HIGHEST_TOP, _HIGHEST_WAIST = -0.14, 0.6, 0.2
# The part of the body's texture that a jacket may lie over, and how much smaller it stands in its tile.
_OUTER_PART = Tile(0.0, 0.02, 0.77, 0.56)


class TexelPart(NamedTuple):
    """Some texels: rows (k,) of their AtlasTexels, flat pixel indices (k,) in the atlas, coordinates, hollow (k,)."""

    rows: Array
    pixel_rows: Array
    where: Coordinates
    hollow: Array

    def select(self, chosen: Array) -> TexelPart:
        """Those of indices `chosen`."""
        return TexelPart(
            self.rows.take(chosen), self.pixel_rows.take(chosen), self.where.at(chosen), self.hollow.take(chosen)
        )


@dataclass(frozen=True, eq=False)
class AtlasTexels:
    """Those n texels of the atlas that show points of the body's surface, by one of its layouts.

    rows     (n,) ascending flat pixel indices in the atlas (size, 3/2 size)
    where    their coordinates; points (n, 3) metres on the average body
    head     (n,) bool: head and neck; eyes (n,) bool: the eyeballs
    hollow   (n,) share of the light that reaches armpits, crotch, elbows, the hollows of the knees; 1 elsewhere
    gap      flat pixel indices just outside the surface, and `owner` the nearest one inside, whose colour they take
    """

    size: int
    rows: Array
    where: Coordinates
    points: Array
    head: NDArray[np.bool_]
    eyes: NDArray[np.bool_]
    hollow: Array
    gap: Array
    owner: Array

    @cached_property
    def upper(self) -> TexelPart:
        """Where tops may lie: arms, trunk, neck."""
        at = self.where
        return self._part(at.is_arm | ((at.y > _LOWEST_TOP) & (at.y < _HIGHEST_TOP)))

    @cached_property
    def lower(self) -> TexelPart:
        """Where trousers may lie: legs and the trunk up to the waist."""
        return self._part(~self.where.is_arm & (self.where.y < _HIGHEST_WAIST))

    def _part(self, mask: Array) -> TexelPart:
        rows = np.flatnonzero(mask)
        return TexelPart(rows, self.rows[rows], self.where.at(rows), self.hollow[rows])

    def bleed(self, image: NDArray[np.uint8]) -> None:
        """Spread the islands' colours outwards in place, so that seams never show the gap."""
        flat = image.reshape(-1, 3)
        flat[self.gap] = flat[self.owner]


@lru_cache(maxsize=4)
def atlas_texels(body: Body, size: int, tile: str = "body") -> AtlasTexels:
    """The texels of the body's own square, or of "outer"; made once per body object, size and tile."""
    base = cloth_base(body)
    left = 0 if tile == "body" else round(TILES[tile].x0 * size)
    uv = body.uv.numpy() if tile == "body" else outer_uv(body.uv.numpy()) * [ASPECT, 1] - [left / size, 0]
    texels = TexelMap(torch.from_numpy(uv.astype(np.float32)), body.uv_faces, size)
    covered = texels.covered.copy()
    if tile != "body":
        inside_rows, inside_columns = TILES[tile].slices(size)
        covered[inside_rows.stop :] = False
        covered[:, inside_columns.stop - left :] = False
    count = len(body.template)
    is_head = np.isin(body.part_labels.numpy(), SMPL24.indices(("head", "neck")))
    flags = np.stack((base.where.is_arm[:count], is_head, base.is_eye[:count]), 1).astype(np.float32)
    values = np.concatenate((body.template.numpy(), flags), 1)
    rows = np.flatnonzero(covered)
    found = texels.interpolate(values, body.faces).reshape(-1, values.shape[1])[rows]
    width = round(size * ASPECT)

    def flat_index(row: Array) -> Array:
        return row // size * width + row % size + left

    nearest = np.arange(size * size).reshape(size, size, 1)
    bleed_islands(nearest, covered, reach=max(3, size // 96))
    gap = np.flatnonzero(nearest.ravel() != np.arange(size * size))
    return AtlasTexels(
        size=size,
        rows=flat_index(rows),
        where=Coordinates.of_points(body, found[:, :3], found[:, 3]),
        points=found[:, :3],
        head=(found[:, 4] > 0.5) | (found[:, 5] > 0.5),
        eyes=found[:, 5] > 0.5,
        hollow=_hollows(found[:, :3], body.joint_template.numpy()),
        gap=flat_index(gap),
        owner=flat_index(nearest.ravel()[gap]),
    )


def _hollows(points: Array, joints: Array) -> Array:
    """(n,) brightness of points (n, 3) of the average body that lie in folds."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    elbow, knee = joints[SMPL24.index("left_elbow")], joints[SMPL24.index("left_knee")]
    folded = np.stack((x, y, z), 1)

    def near(centre: Array, radius: float) -> Array:
        return np.exp(-((folded - centre) ** 2).sum(1) / radius**2)

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
    """Atlas coordinates (T, 2) of the body's uv (T, 2), shrunk into the tile of jackets and coats."""
    part, tile = _OUTER_PART, TILES["outer"]
    return tile.uv((uv[:, 0] - part.x0) / (part.x1 - part.x0), (uv[:, 1] - part.y0) / (part.y1 - part.y0))
