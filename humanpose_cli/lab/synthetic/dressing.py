"""Dressing: one mesh with one texture from a body, an identity and an outfit; clothes are painted into the atlas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.synthetic.appearance import (
    brim_grid,
    ear_cover,
    hair_field,
    hair_grids,
    hair_thickness,
    headwear_field,
    headwear_thickness,
    paint_hair,
    paint_hair_tile,
    paint_skin,
)
from humanpose_cli.lab.synthetic.cloth_surface import (
    ASPECT,
    TILES,
    AtlasTexels,
    ClothBase,
    Coordinates,
    ShapedBase,
    atlas_texels,
    cloth_base,
    outer_uv,
    ramp,
)
from humanpose_cli.lab.synthetic.fabrics import RGB, Fabric, draw_print, fabric_tile, wrinkle_tile
from humanpose_cli.lab.synthetic.garments import (
    bottom_field,
    bottom_thickness,
    collar_grid,
    foot_cover,
    glasses_grids,
    hang_skirt,
    paint_shoes,
    sandal_straps,
    scarf_grid,
    shoe_grids,
    skirt_cover,
    skirt_size,
    top_field,
    top_thickness,
)
from humanpose_cli.lab.synthetic.mesh import DressedMesh, Grid, Piece, cut_piece, join_pieces, loft
from humanpose_cli.lab.synthetic.people import Bottom, Headwear, Identity, Outfit, Top
from humanpose_cli.lab.synthetic.tiles import resample

Array = NDArray[Any]

_WRINKLE_METRES = 0.7
_OVERLAP = -0.004  # metres by which paint reaches past a garment's edge


def _paint_cloth(fabric: Fabric, across: Array, along: Array) -> Array:
    """Return colours (k, 3) float32 of a fabric with its wrinkles at points (k,) in metres of cloth."""
    colour = resample(fabric_tile(fabric), across / np.float32(fabric.size), along / np.float32(fabric.size))
    wide = np.float32(1 / _WRINKLE_METRES)
    shade = resample(wrinkle_tile(fabric), across * wide, along * wide)
    return np.multiply(colour, shade[:, None] * np.float32(1 / 128), dtype=np.float32)


def _paint_tile(image: NDArray[np.uint8], tile: str, fabric: Fabric, metres: tuple[float, float]) -> None:
    """Fill a rectangle of the atlas with a fabric, so wide and high in metres."""
    part, v, u = TILES[tile].pixels(len(image))
    height, width = v.shape
    colour = _paint_cloth(fabric, (u * (metres[0] / width)).ravel(), (v * (metres[1] / height)).ravel())
    image[part] = np.clip(colour, 0, 255).reshape(height, width, 3)


def _paint_top(top: Top, texels: AtlasTexels, field: Array, image: NDArray[np.uint8], seed: int) -> None:
    """Paint a garment of the trunk where it lies, in place; field (n,) of the texels as of `top_field`."""
    rows = np.flatnonzero(field > _OVERLAP)
    at, field = texels.where.at(rows), field[rows]
    random = np.random.default_rng((seed, 4))
    colour = _paint_cloth(top.fabric, at.across, at.along)
    if top.print_on:
        _print(colour, at, top.print_on, random)
    dark = _seams(at, field, top.cuffs)
    accent = np.asarray(top.fabric.colours[-1], np.float32)
    if top.cuffs:
        band = field < 0.055
        ribs = 1 + 0.1 * np.sin(at.across[band] * 900)
        knit = accent if random.random() < 0.25 else colour[band] * np.float32(0.93)
        colour[band] = knit * ribs[:, None]
    front = (at.z > 0) & ~at.is_arm
    if top.closure == "zip":
        colour[front & (np.abs(at.x) < 0.0045)] = (150, 150, 152)
        dark = np.maximum(dark, (front & (np.abs(at.x) < 0.009)) * np.float32(0.3))
    elif top.closure == "buttons":
        dark = np.maximum(dark, (front & (np.abs(np.abs(at.x) - 0.017) < 0.0018)) * np.float32(0.3))
        y = np.mod(at.y, 0.085) - 0.085 / 2
        ink = (235, 232, 224) if random.random() < 0.5 else (40, 36, 34)
        colour[front & (np.hypot(at.x, y) < 0.0062)] = ink
    if top.pockets == "chest":
        dark = np.maximum(dark, _outline(at.x - 0.085, at.y - 0.36, 0.042, 0.05) * front * np.float32(0.3))
    elif top.pockets == "belly":
        dark = np.maximum(dark, _outline(np.abs(at.x) - 0.06, at.y - 0.07, 0.055, 0.06) * front * np.float32(0.25))
    if top.collar:
        dark = np.maximum(dark, ((field < 0.04) & (field > 0.034) & (at.y > 0.43)) * np.float32(0.4))
    colour *= ((1 - dark) * texels.hollow[rows])[:, None]
    image.reshape(-1, 3)[texels.rows[rows]] = np.clip(colour, 0, 255, out=colour)


def _paint_bottom(bottom: Bottom, texels: AtlasTexels, field: Array, image: NDArray[np.uint8], seed: int) -> None:
    """Paint trousers and the like where they lie, in place; field (n,) of the texels as of `bottom_field`."""
    rows = np.flatnonzero(field > _OVERLAP)
    at, field = texels.where.at(rows), field[rows]
    random = np.random.default_rng((seed, 5))
    colour = _paint_cloth(bottom.fabric, at.across, at.along)
    if bottom.fabric.pattern == "denim":
        fading = np.exp(-(((at.leg - 0.22) / 0.16) ** 2)) * (at.z > 0.02) * np.float32(random.uniform(0, 45))
        colour += fading[:, None]
    if bottom.side_stripe is not None:
        colour[np.abs(_side_angle(at)) < 0.22] = bottom.side_stripe
    dark = np.zeros(len(field), np.float32)
    if bottom.thickness > 0.004:
        dark = _seams(at, field, bottom.cuffs)
        dark = np.maximum(dark, (np.abs(_side_angle(at)) < 0.03) * np.float32(0.2))
    if bottom.pockets:
        slant = np.abs(at.x) - 0.09 - 0.35 * (bottom.waist - at.y)
        low = (bottom.waist - at.y > 0.03) & (bottom.waist - at.y < 0.15)
        dark = np.maximum(dark, ((np.abs(slant) < 0.003) & low & (at.z > 0)) * np.float32(0.4))
        seat = _outline(np.abs(at.x) - 0.08, at.y + 0.01, 0.055, 0.065) * (at.z < -0.02)
        dark = np.maximum(dark, seat * np.float32(0.3))
    colour *= ((1 - dark) * texels.hollow[rows])[:, None]
    if bottom.belt is not None:
        belt = (bottom.waist - at.y < 0.04) & (bottom.waist - at.y > 0.008)
        colour[belt] = np.asarray(bottom.belt, np.float32) * np.float32(0.6)
        colour[belt & (np.abs(at.x) < 0.022) & (at.z > 0)] = (168, 158, 132)
    image.reshape(-1, 3)[texels.rows[rows]] = np.clip(colour, 0, 255, out=colour)


def _seams(at: Coordinates, field: Array, cuffs: bool) -> Array:
    """Return how much darker seams, hems and the cloth's inner edge are, (k,)."""
    dark = np.float32(0.16) * np.exp(-np.maximum(field, 0) / np.float32(0.006))
    if not cuffs:
        dark = np.maximum(dark, (np.abs(field - 0.022) < 0.0016) * np.float32(0.2))
    shoulder = at.is_arm & (np.abs(at.arm - 0.012) < 0.0035)
    return np.maximum(dark, shoulder * np.float32(0.22)).astype(np.float32)


def _side_angle(at: Coordinates) -> Array:
    """Measure radians from the outer side of each leg, where its seam runs."""
    turn = at.across / np.float32(0.075) * np.sign(at.x)
    return np.where(at.leg > 0.09, turn - np.float32(1.57), np.float32(1))


def _outline(x: Array, y: Array, half_width: float, half_height: float) -> NDArray[np.bool_]:
    """Find the points near the edge of a rectangle around 0."""
    away = np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)
    return np.abs(away) < 0.0022


def _print(colour: Array, at: Coordinates, where: str, random: np.random.Generator) -> None:
    """Lay a print on chest or back, in place."""
    width, height = random.uniform(0.07, 0.26), random.uniform(0.6, 1.1)
    left_chest = where == "front" and random.random() < 0.2
    if left_chest:
        width = random.uniform(0.04, 0.08)
    middle_x, middle_y = (0.08 if left_chest else 0.0), random.uniform(0.3, 0.36)
    image = draw_print(random)
    opacity = np.float32(random.uniform(0.8, 1))
    for side, name in ((1, "front"), (-1, "back")):
        if where not in (name, "both"):
            continue
        u = side * (at.x - middle_x) / width + 0.5
        v = (middle_y - at.y) / (width * height) + 0.5
        rows = np.flatnonzero((u > 0) & (u < 1) & (v > 0) & (v < 1) & (at.z * side > 0) & ~at.is_arm)
        size = len(image)
        print_pixels = image[(v[rows] * size).astype(int), (u[rows] * size).astype(int)].astype(np.float32)
        share = print_pixels[:, 3:] * (opacity / 255)
        colour[rows] += share * (print_pixels[:, :3] - colour[rows])


def _paint_plain(image: NDArray[np.uint8], texels: AtlasTexels, rows: Array, colour: RGB | Array) -> None:
    """Paint some of the texels (indices) in one colour with slight grain."""
    grain = np.random.default_rng(len(rows)).normal(0, 2.5, (len(rows), 1))
    image.reshape(-1, 3)[texels.rows[rows]] = np.clip(np.asarray(colour, np.float32) + grain, 0, 255)


def _fill_tile(image: NDArray[np.uint8], tile: str, colour: RGB) -> None:
    image[TILES[tile].slices(len(image))] = colour


def _paint_headwear(wear: Headwear, texels: AtlasTexels, image: NDArray[np.uint8]) -> None:
    """Paint what is worn on the head, and its brim's tile."""
    field = headwear_field(wear, texels.where)
    rows = np.flatnonzero(field > _OVERLAP)
    at, field = texels.where.at(rows), field[rows]
    colour = _paint_cloth(wear.fabric, at.across, at.along)
    random = np.random.default_rng((wear.fabric.seed, 7))
    if wear.kind == "brim":
        colour[field < 0.025] = wear.accent
    elif wear.kind == "beanie":
        colour *= np.where(field < 0.04, 1 + 0.1 * np.sin(at.across * 700), 1)[:, None].astype(np.float32)
    elif wear.kind == "cap" and random.random() < 0.6:
        badge = np.hypot(at.x / 0.03, (at.y - 0.76) / 0.016) < 1
        colour[badge & (at.z > 0.05)] = wear.accent
    image.reshape(-1, 3)[texels.rows[rows]] = np.clip(colour, 0, 255)
    if random.random() < 0.6:
        _paint_tile(image, "hat", wear.fabric, (0.5, 0.1))
    else:
        _fill_tile(image, "hat", wear.accent)


# Skin lies bare under cloth for this far from the edge (metres), pushed in by so much, and is left out beyond.
_TUCK, _PUSHED_IN = 0.03, 0.004
# Cloth over cloth lies at least this far apart (metres).
_LAYER_GAP = 0.004
_SMALLEST_TEXTURE = 64
# Jackets over a skirt stand off with it, but no further than this (metres).
_MAX_STAND_OFF = 0.03
# Socks reach down from here (metres below the hip joint); gloves from here on (metres along the arm).
_SOCK_TOP, _GLOVE = 0.74, 0.445


def dress_identity(body: Body, identity: Identity, outfit: Outfit, *, texture_size: int = 1024) -> DressedMesh:
    """Dress a person; the same arguments give the same bytes.

    Raises UsageError for a body other than the default one, or a texture smaller than 64.

    Args:
        texture_size: Height of the texture in texels; it is 3/2 as wide.
    """
    if texture_size < _SMALLEST_TEXTURE:
        raise UsageError("texture size", "is too small", expected=f"≥ {_SMALLEST_TEXTURE}", got=str(texture_size))
    fitting = Fitting(body, identity, outfit, texture_size)
    fitting.put_on_shoes()
    fitting.put_on_bottom()
    fitting.put_on_top()
    fitting.put_on_skirt()
    fitting.put_on_outer()
    fitting.put_on_head()
    fitting.put_on_extras()
    return fitting.finish()


class Fitting:
    """One person while they are dressed, from the skin outwards."""

    def __init__(self, body: Body, identity: Identity, outfit: Outfit, size: int) -> None:
        self.body, self.identity, self.outfit = body, identity, outfit
        self.base: ClothBase = cloth_base(body)
        self.shape: ShapedBase = self.base.shaped(identity.betas)
        self.texels: AtlasTexels = atlas_texels(body, size)
        self.image = np.full((size, round(size * ASPECT), 3), 96, np.uint8)
        self.pieces: list[Piece] = []
        self.height = np.zeros(len(self.base.template), np.float32)  # of the clothes so far, over the body
        self.cover = np.full(len(self.base.template), -1.0, np.float32)  # metres inside what covers the skin
        self.random = np.random.default_rng((outfit.seed, identity.seed))
        # Metres that texels of the body's square lie inside a garment; skin is painted where they do not.
        self.texel_fields: dict[str, Array] = {}
        bare = np.ones(len(self.texels.rows), bool)
        if outfit.bottom is not None:
            field = self.texel_fields["bottom"] = bottom_field(outfit.bottom, self.texels.where)
            bare &= field < _TUCK
        if outfit.top is not None:
            field = self.texel_fields["top"] = top_field(outfit.top, self.texels.where)
            bare &= field < _TUCK
        paint_skin(body, identity, self.texels, self.image, bare)

    def put_on_shoes(self) -> None:
        outfit, where = self.outfit, self.texels.where
        ankle = where.leg > _SOCK_TOP
        if outfit.socks is not None:
            _paint_plain(self.image, self.texels, np.flatnonzero(ankle & ~where.is_arm), outfit.socks)
        grids = shoe_grids(outfit.shoes, self.base)
        for grid in grids:
            self._add_loft("shoe", grid, "shoe")
        if grids:
            paint_shoes(outfit.shoes, self.image, len(grids[0].points))
        if outfit.shoes.kind == "sandals":
            _paint_plain(self.image, self.texels, sandal_straps(where), outfit.shoes.colour)
        cover = foot_cover(outfit.shoes, self.base)
        if cover is not None:
            self.cover = np.maximum(self.cover, cover)

    def put_on_bottom(self) -> None:
        bottom = self.outfit.bottom
        if bottom is None:
            return
        field = bottom_field(bottom, self.base.where)
        thickness = bottom_thickness(bottom, self.base.where, field, self.random)
        if self.outfit.shoes.shaft > 0:
            # Trousers over a boot keep clear of it.
            cover = foot_cover(self.outfit.shoes, self.base)
            if cover is not None:
                thickness = np.maximum(thickness, np.float32(0.02) * (cover > -0.01) * (bottom.looseness > 0.01))
        overlap = None  # (N,) metres that points lie inside what is worn over the bottom and hides part of it
        if self.outfit.top is not None and self.outfit.top.hem < bottom.waist - 0.02:
            overlap = top_field(self.outfit.top, self.base.where) - np.float32(0.04)
        if self.outfit.skirt is not None:
            below = skirt_cover(self.outfit.skirt, self.base)
            overlap = below if overlap is None else np.maximum(overlap, below)
        self._add_shell("bottom", field, thickness, overlap)
        _paint_bottom(bottom, self.texels, self.texel_fields["bottom"], self.image, self.outfit.seed)

    def put_on_top(self) -> None:
        top = self.outfit.top
        if top is None:
            return
        field = top_field(top, self.base.where)
        thickness = top_thickness(top, self.base.where, field, self.random)
        if self._untucked:
            thickness = thickness + np.float32(0.022) * ramp(-self.base.where.y, -0.1, 0.0)
        self._add_shell("top", field, thickness)
        _paint_top(top, self.texels, self.texel_fields["top"], self.image, self.outfit.seed)
        if top.collar:
            self._add_loft("top", collar_grid(top, self.base, 0.004), "collar")
            _paint_tile(self.image, "collar", top.fabric, (0.4, 0.1))

    def put_on_skirt(self) -> None:
        skirt = self.outfit.skirt
        if skirt is None:
            return
        under = 0.0 if self._untucked else self._height_at(skirt.top)
        close_until = -0.06 if self._untucked else skirt.top - 0.05
        hanging = hang_skirt(skirt, self.base, under, self.random, close_until=close_until)
        self._add_loft("skirt", hanging.grid, "skirt")
        _paint_tile(self.image, "skirt", skirt.fabric, skirt_size(skirt))
        self.cover = np.maximum(self.cover, skirt_cover(skirt, self.base))
        self.height = np.maximum(self.height, np.minimum(hanging.stand_off(self.base), _MAX_STAND_OFF))

    @property
    def _untucked(self) -> bool:
        """Whether the top hangs over the skirt."""
        top, skirt = self.outfit.top, self.outfit.skirt
        return top is not None and skirt is not None and top.hem < skirt.top - 0.05

    def _height_at(self, y: float, percentile: float = 100) -> float:
        """Return metres of the clothes so far around the trunk at a height of the average body."""
        ring = (np.abs(self.base.where.y - y) < 0.025) & ~self.base.where.is_arm
        return float(np.percentile(self.height[ring], percentile))

    def put_on_outer(self) -> None:
        outer, tail = self.outfit.outer, self.outfit.tail
        if outer is None:
            return
        field = top_field(outer, self.base.where)
        thickness = top_thickness(outer, self.base.where, field, self.random)
        self._add_shell("outer", field, thickness)
        texels = atlas_texels(self.body, self.texels.size, "outer")
        _paint_top(outer, texels, top_field(outer, texels.where), self.image, self.outfit.seed + 1)
        texels.bleed(self.image)
        if tail is not None:
            under = self._height_at(tail.top, 70)
            hanging = hang_skirt(tail, self.base, under, self.random, close_until=-0.02)
            self._add_loft("outer", hanging.grid, "tail")
            _paint_tile(self.image, "tail", tail.fabric, skirt_size(tail))

    def put_on_head(self) -> None:
        """Add hair, and what is worn over it."""
        hair, wear, rows = self.identity.hair, self.outfit.headwear, self.base.head
        where = self.base.where.at(rows)
        wear_field = None if wear is None else headwear_field(wear, where)
        if hair.style != "bald":
            field = hair_field(hair, where)
            thickness = hair_thickness(hair, where, field, self.random)
            if wear_field is not None:
                thickness = np.minimum(thickness, 0.012)
            overlap = None if wear_field is None else self._on_head(wear_field - np.float32(0.012))
            self._add_shell("hair", self._on_head(field), self._on_head(thickness), overlap)
            ears = ear_cover(hair, where)
            if ears is not None:
                self.cover[rows] = np.maximum(self.cover[rows], ears)
            if wear is None or not (wear.kind in ("hood", "scarf") or hair.style == "bun"):
                grids = hair_grids(hair, self.base, self.random, under_hat=wear is not None)
                for grid in grids:
                    self._add_loft("hair", grid, "hair")
                if grids:
                    paint_hair_tile(hair, self.image, self.identity.seed)
            paint_hair(hair, self.texels, self.image, self.identity.seed)
        if wear is None or wear_field is None:
            return
        thickness = headwear_thickness(wear, where, wear_field, self.random)
        self._add_shell("hat", self._on_head(wear_field), self._on_head(thickness))
        _paint_headwear(wear, self.texels, self.image)
        brim = brim_grid(wear, self.random)
        if brim is not None:
            self._add_loft("hat", brim, "hat")

    def _on_head(self, values: Array) -> Array:
        """Spread values of the head's points to all points (N,), −1 elsewhere."""
        result = np.full(len(self.base.template), -1.0, np.float32)
        result[self.base.head] = values
        return result

    def put_on_extras(self) -> None:
        """Add glasses, scarf and gloves."""
        outfit = self.outfit
        for grid in glasses_grids(self.identity.glasses, np.random.default_rng((self.identity.seed, 6))):
            self._add_loft("accessory", grid, "glasses")
        _fill_tile(self.image, "glasses", (34, 30, 28))
        if outfit.scarf is not None:
            throat = (np.abs(self.base.where.y - 0.53) < 0.03) & (np.abs(self.base.where.x) < 0.08)
            self._add_loft("accessory", scarf_grid(float(self.height[throat].max()), self.random), "scarf")
            _paint_tile(self.image, "scarf", outfit.scarf, (0.5, 0.15))
        if outfit.gloves is not None:
            at = self.texels.where
            _paint_plain(self.image, self.texels, np.flatnonzero(at.arm > _GLOVE), outfit.gloves.colours[0])

    def _add_loft(self, material: str, grid: Grid, tile: str) -> None:
        self.pieces.append(loft(self.base, self.shape, grid, material, TILES[tile]))

    def _add_shell(self, material: str, field: Array, thickness: Array, overlap: Array | None = None) -> None:
        """Lay cloth over everything so far; where `hidden` (N,) > 0 something laid on later hides it."""
        # No further off than other cloth allows, no closer than what lies beneath.
        inside = field > -0.03
        beneath = self.height + np.float32(_LAYER_GAP) * (self.height > 0)
        thickness = np.maximum(np.minimum(thickness, np.maximum(self.base.room, 0.004)), beneath + np.float32(0.0015))
        points = self.shape.points + thickness[:, None] * self.shape.normals
        visible_field = field if overlap is None else np.minimum(field, -overlap)
        panel = "head" if material in ("hair", "hat") else "body"
        piece = cut_piece(self.base, points, visible_field, material, panel)
        if piece is not None:
            uv = outer_uv(piece.uv) if material == "outer" else piece.uv / np.array([ASPECT, 1], np.float32)
            self.pieces.append(replace(piece, uv=uv))
        self.height = np.where(inside, thickness, self.height)
        self.cover = np.maximum(self.cover, field)

    def finish(self) -> DressedMesh:
        """Join everything: first the body where nothing covers it, tucked in under the edges of the clothes."""
        self.texels.bleed(self.image)
        body, count = self.body, len(self.body.template)
        cover = self.cover[:count]
        normals = self.shape.normals[:count]
        under = ramp(cover, -0.001, 0.006)[:, None]
        # On the head that flattens the ears: the cloth surface has none.
        to_cloth = np.where(self.base.is_head[:count, None], self.shape.points[:count] - self.shape.body, np.float32(0))
        vertices = self.shape.body + under * (to_cloth - np.float32(_PUSHED_IN) * normals)
        faces, uv_faces = body.faces.numpy(), body.uv_faces.numpy()
        is_visible = ~(cover[faces] > _TUCK).all(1)
        is_eye = self.base.eye_faces
        uv = body.uv.numpy() / np.array([ASPECT, 1], np.float32)
        vertex_rows = np.arange(count, dtype=np.int32)
        indices, weights = body.bone_indices.numpy(), body.bone_weights.numpy()
        skin = [
            Piece(name, vertices, faces[rows], uv, uv_faces[rows], indices, weights, vertex_rows).compact()
            for name, rows in (("skin", is_visible & ~is_eye), ("eye", is_visible & is_eye))
        ]
        return join_pieces([*skin, *self.pieces], self.image, self.shape.joints)
