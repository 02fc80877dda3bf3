"""Dressing: one mesh with one texture from a body, an identity and an outfit, with clothes painted into the atlas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.cloth import Piece, cut_piece, top_field
from humanpose_cli.body.cloth_surface import ClothBase, Coordinates, ShapedBase, cloth_base, ramp
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
from humanpose_cli.lab.synthetic.atlas import ASPECT, TILES, AtlasTexels, atlas_texels, outer_uv
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
    top_thickness,
)
from humanpose_cli.lab.synthetic.mesh import DressedMesh, Grid, join_pieces, loft
from humanpose_cli.lab.synthetic.people import Bottom, Headwear, Identity, Outfit, Top
from humanpose_cli.lab.synthetic.tiles import resample

Array = NDArray[Any]

_WRINKLE_METRES = 0.7  # size of a tile of wrinkles
_OVERLAP = -0.004  # metres by which paint extends past a garment's edge


def _paint_cloth(fabric: Fabric, across: Array, along: Array) -> Array:
    """Return colours (k, 3) float32 of a fabric with wrinkles at points (k,) in metres of cloth."""
    colour = resample(fabric_tile(fabric), across / np.float32(fabric.size), along / np.float32(fabric.size))
    scale = np.float32(1 / _WRINKLE_METRES)
    shade = resample(wrinkle_tile(fabric), across * scale, along * scale)
    return np.multiply(colour, shade[:, None] * np.float32(1 / 128), dtype=np.float32)


def _paint_tile(image: NDArray[np.uint8], tile: str, fabric: Fabric, metres: tuple[float, float]) -> None:
    """Fill a tile of the atlas with a fabric of this width and height in metres."""
    part, v, u = TILES[tile].pixels(len(image))
    height, width = v.shape
    colour = _paint_cloth(fabric, (u * (metres[0] / width)).ravel(), (v * (metres[1] / height)).ravel())
    image[part] = np.clip(colour, 0, 255).reshape(height, width, 3)


def _paint_top(top: Top, texels: AtlasTexels, field: Array, image: NDArray[np.uint8], seed: int) -> None:
    """Paint a top into the atlas in place; field (n,) is the `top_field` of the texels."""
    rows = np.flatnonzero(field > _OVERLAP)
    points = texels.coordinates.take(rows)
    field = field[rows]
    random = np.random.default_rng((seed, 4))
    colour = _paint_cloth(top.fabric, points.across, points.along)
    if top.print_on:
        _print(colour, points, top.print_on, random)
    dark = _seams(points, field, top.cuffs)
    accent = np.asarray(top.fabric.colours[-1], np.float32)
    if top.cuffs:
        band = field < 0.055
        ribs = 1 + 0.1 * np.sin(points.across[band] * 900)
        knit = accent if random.random() < 0.25 else colour[band] * np.float32(0.93)
        colour[band] = knit * ribs[:, None]
    front = (points.z > 0) & ~points.is_arm
    if top.closure == "zip":
        colour[front & (np.abs(points.x) < 0.0045)] = (150, 150, 152)
        dark = np.maximum(dark, (front & (np.abs(points.x) < 0.009)) * np.float32(0.3))
    elif top.closure == "buttons":
        dark = np.maximum(dark, (front & (np.abs(np.abs(points.x) - 0.017) < 0.0018)) * np.float32(0.3))
        y = np.mod(points.y, 0.085) - 0.085 / 2
        ink = (235, 232, 224) if random.random() < 0.5 else (40, 36, 34)
        colour[front & (np.hypot(points.x, y) < 0.0062)] = ink
    if top.pockets == "chest":
        dark = np.maximum(dark, _outline(points.x - 0.085, points.y - 0.36, 0.042, 0.05) * front * np.float32(0.3))
    elif top.pockets == "belly":
        dark = np.maximum(
            dark, _outline(np.abs(points.x) - 0.06, points.y - 0.07, 0.055, 0.06) * front * np.float32(0.25)
        )
    if top.collar:
        dark = np.maximum(dark, ((field < 0.04) & (field > 0.034) & (points.y > 0.43)) * np.float32(0.4))
    colour *= ((1 - dark) * texels.hollow[rows])[:, None]
    image.reshape(-1, 3)[texels.rows[rows]] = np.clip(colour, 0, 255, out=colour)


def _paint_bottom(bottom: Bottom, texels: AtlasTexels, field: Array, image: NDArray[np.uint8], seed: int) -> None:
    """Paint trousers into the atlas in place; field (n,) is the `bottom_field` of the texels."""
    rows = np.flatnonzero(field > _OVERLAP)
    points = texels.coordinates.take(rows)
    field = field[rows]
    random = np.random.default_rng((seed, 5))
    colour = _paint_cloth(bottom.fabric, points.across, points.along)
    if bottom.fabric.pattern == "denim":
        fading = np.exp(-(((points.leg - 0.22) / 0.16) ** 2)) * (points.z > 0.02) * np.float32(random.uniform(0, 45))
        colour += fading[:, None]
    if bottom.side_stripe is not None:
        colour[np.abs(_side_angle(points)) < 0.22] = bottom.side_stripe
    dark = np.zeros(len(field), np.float32)
    if bottom.thickness > 0.004:
        dark = _seams(points, field, bottom.cuffs)
        dark = np.maximum(dark, (np.abs(_side_angle(points)) < 0.03) * np.float32(0.2))
    if bottom.pockets:
        slant = np.abs(points.x) - 0.09 - 0.35 * (bottom.waist - points.y)
        is_pocket = (bottom.waist - points.y > 0.03) & (bottom.waist - points.y < 0.15)
        dark = np.maximum(dark, ((np.abs(slant) < 0.003) & is_pocket & (points.z > 0)) * np.float32(0.4))
        seat = _outline(np.abs(points.x) - 0.08, points.y + 0.01, 0.055, 0.065) * (points.z < -0.02)
        dark = np.maximum(dark, seat * np.float32(0.3))
    colour *= ((1 - dark) * texels.hollow[rows])[:, None]
    if bottom.belt is not None:
        belt = (bottom.waist - points.y < 0.04) & (bottom.waist - points.y > 0.008)
        colour[belt] = np.asarray(bottom.belt, np.float32) * np.float32(0.6)
        colour[belt & (np.abs(points.x) < 0.022) & (points.z > 0)] = (168, 158, 132)
    image.reshape(-1, 3)[texels.rows[rows]] = np.clip(colour, 0, 255, out=colour)


def _seams(points: Coordinates, field: Array, cuffs: bool) -> Array:
    """Return the darkness (k,) of seams, hems and the cloth's edge, 0 … 1."""
    dark = np.float32(0.16) * np.exp(-np.maximum(field, 0) / np.float32(0.006))
    if not cuffs:
        dark = np.maximum(dark, (np.abs(field - 0.022) < 0.0016) * np.float32(0.2))
    shoulder = points.is_arm & (np.abs(points.arm - 0.012) < 0.0035)
    return np.maximum(dark, shoulder * np.float32(0.22)).astype(np.float32)


def _side_angle(points: Coordinates) -> Array:
    """Return the angle (k,) from the seam at the outer side of each leg."""
    turn = points.across / np.float32(0.075) * np.sign(points.x)
    return np.where(points.leg > 0.09, turn - np.float32(1.57), np.float32(1))


def _outline(x: Array, y: Array, half_width: float, half_height: float) -> NDArray[np.bool_]:
    """Return the mask (k,) of points near the edge of a rectangle around 0."""
    distance = np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)
    return np.abs(distance) < 0.0022


def _print(colour: Array, points: Coordinates, sides: str, random: np.random.Generator) -> None:
    """Paint a print on the front, the back or both, in place."""
    width, height = random.uniform(0.07, 0.26), random.uniform(0.6, 1.1)
    left_chest = sides == "front" and random.random() < 0.2
    if left_chest:
        width = random.uniform(0.04, 0.08)
    middle_x, middle_y = (0.08 if left_chest else 0.0), random.uniform(0.3, 0.36)
    image = draw_print(random)
    opacity = np.float32(random.uniform(0.8, 1))
    for side, name in ((1, "front"), (-1, "back")):
        if sides not in (name, "both"):
            continue
        u = side * (points.x - middle_x) / width + 0.5
        v = (middle_y - points.y) / (width * height) + 0.5
        rows = np.flatnonzero((u > 0) & (u < 1) & (v > 0) & (v < 1) & (points.z * side > 0) & ~points.is_arm)
        size = len(image)
        print_pixels = image[(v[rows] * size).astype(int), (u[rows] * size).astype(int)].astype(np.float32)
        share = print_pixels[:, 3:] * (opacity / 255)
        colour[rows] += share * (print_pixels[:, :3] - colour[rows])


def _paint_plain(image: NDArray[np.uint8], texels: AtlasTexels, rows: Array, colour: RGB | Array) -> None:
    """Paint the texels with these indices in one colour with slight grain."""
    grain = np.random.default_rng(len(rows)).normal(0, 2.5, (len(rows), 1))
    image.reshape(-1, 3)[texels.rows[rows]] = np.clip(np.asarray(colour, np.float32) + grain, 0, 255)


def _fill_tile(image: NDArray[np.uint8], tile: str, colour: RGB) -> None:
    image[TILES[tile].slices(len(image))] = colour


def _paint_headwear(wear: Headwear, texels: AtlasTexels, image: NDArray[np.uint8]) -> None:
    """Paint headwear and the tile of its brim in place."""
    field = headwear_field(wear, texels.coordinates)
    rows = np.flatnonzero(field > _OVERLAP)
    points = texels.coordinates.take(rows)
    field = field[rows]
    colour = _paint_cloth(wear.fabric, points.across, points.along)
    random = np.random.default_rng((wear.fabric.seed, 7))
    if wear.kind == "brim":
        colour[field < 0.025] = wear.accent
    elif wear.kind == "beanie":
        colour *= np.where(field < 0.04, 1 + 0.1 * np.sin(points.across * 700), 1)[:, None].astype(np.float32)
    elif wear.kind == "cap" and random.random() < 0.6:
        badge = np.hypot(points.x / 0.03, (points.y - 0.76) / 0.016) < 1
        colour[badge & (points.z > 0.05)] = wear.accent
    image.reshape(-1, 3)[texels.rows[rows]] = np.clip(colour, 0, 255)
    if random.random() < 0.6:
        _paint_tile(image, "hat", wear.fabric, (0.5, 0.1))
    else:
        _fill_tile(image, "hat", wear.accent)


_TUCK = 0.03  # metres of skin that are kept under the edge of clothes
_PUSH = 0.004  # metres by which this skin is pushed inwards
_LAYER_GAP = 0.004  # metres, min distance of clothes over clothes
_MAX_STAND_OFF = 0.03  # metres, max distance of a jacket over a skirt
_SOCK_TOP = 0.74  # metres below the hip joint
_GLOVE_TOP = 0.445  # metres along the arm
_MIN_TEXTURE = 64  # texels


def dress_identity(body: Body, identity: Identity, outfit: Outfit, *, texture_size: int = 1024) -> DressedMesh:
    """Dress a person; the same arguments give the same bytes.

    Args:
        body: The default body.
        identity: The person.
        outfit: The clothes.
        texture_size: Height of the texture in texels; its width is 3/2 of that.

    Raises:
        UsageError: If the body is not the default body, or the texture is smaller than 64.
    """
    if texture_size < _MIN_TEXTURE:
        raise UsageError("texture size", "is too small", expected=f"≥ {_MIN_TEXTURE}", got=str(texture_size))
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
    """The state of a person who is being dressed, from the skin outwards.

    Args:
        body: The default body.
        identity: The person.
        outfit: The clothes.
        size: Height of the texture in texels.
    """

    def __init__(self, body: Body, identity: Identity, outfit: Outfit, size: int) -> None:
        self.body, self.identity, self.outfit = body, identity, outfit
        self.base: ClothBase = cloth_base(body)
        self.shape: ShapedBase = self.base.shaped(identity.betas)
        self.texels: AtlasTexels = atlas_texels(body, size)
        self.image = np.full((size, round(size * ASPECT), 3), 96, np.uint8)
        self.pieces: list[Piece] = []
        self.height = np.zeros(len(self.base.template), np.float32)  # metres, of the clothes over the body
        self.cover = np.full(len(self.base.template), -1.0, np.float32)  # metres inside the clothes
        self.random = np.random.default_rng((outfit.seed, identity.seed))
        # The fields of the texels of the body's square; skin is painted outside the garments.
        self.texel_fields: dict[str, Array] = {}
        if outfit.bottom is not None:
            self.texel_fields["bottom"] = bottom_field(outfit.bottom, self.texels.coordinates)
        if outfit.top is not None:
            self.texel_fields["top"] = top_field(outfit.top.edges, self.texels.coordinates)
        bare = np.ones(len(self.texels.rows), bool)
        for field in self.texel_fields.values():
            bare &= field < _TUCK
        paint_skin(body, identity, self.texels, self.image, bare)

    def put_on_shoes(self) -> None:
        """Add shoes and socks."""
        outfit = self.outfit
        points = self.texels.coordinates
        if outfit.socks is not None:
            rows = np.flatnonzero((points.leg > _SOCK_TOP) & ~points.is_arm)
            _paint_plain(self.image, self.texels, rows, outfit.socks)
        grids = shoe_grids(outfit.shoes, self.base)
        for grid in grids:
            self._add_loft("shoe", grid, "shoe")
        if grids:
            paint_shoes(outfit.shoes, self.image, len(grids[0].points))
        if outfit.shoes.kind == "sandals":
            _paint_plain(self.image, self.texels, sandal_straps(points), outfit.shoes.colour)
        cover = foot_cover(outfit.shoes, self.base)
        if cover is not None:
            self.cover = np.maximum(self.cover, cover)

    def put_on_bottom(self) -> None:
        """Add trousers, shorts or leggings."""
        bottom = self.outfit.bottom
        if bottom is None:
            return
        field = bottom_field(bottom, self.base.coordinates)
        thickness = bottom_thickness(bottom, self.base.coordinates, field, self.random)
        if self.outfit.shoes.shaft > 0:
            # Trousers over a boot do not touch it.
            cover = foot_cover(self.outfit.shoes, self.base)
            if cover is not None:
                thickness = np.maximum(thickness, np.float32(0.02) * (cover > -0.01) * (bottom.looseness > 0.01))
        hidden = None
        if self.outfit.top is not None and self.outfit.top.hem < bottom.waist - 0.02:
            hidden = top_field(self.outfit.top.edges, self.base.coordinates) - np.float32(0.04)
        if self.outfit.skirt is not None:
            cover = skirt_cover(self.outfit.skirt, self.base)
            hidden = cover if hidden is None else np.maximum(hidden, cover)
        self._add_shell("bottom", field, thickness, hidden)
        _paint_bottom(bottom, self.texels, self.texel_fields["bottom"], self.image, self.outfit.seed)

    def put_on_top(self) -> None:
        """Add the top."""
        top = self.outfit.top
        if top is None:
            return
        field = top_field(top.edges, self.base.coordinates)
        thickness = top_thickness(top, self.base.coordinates, field, self.random)
        if self._untucked:
            thickness = thickness + np.float32(0.022) * ramp(-self.base.coordinates.y, -0.1, 0.0)
        self._add_shell("top", field, thickness)
        _paint_top(top, self.texels, self.texel_fields["top"], self.image, self.outfit.seed)
        if top.collar:
            self._add_loft("top", collar_grid(top, self.base, 0.004), "collar")
            _paint_tile(self.image, "collar", top.fabric, (0.4, 0.1))

    def put_on_skirt(self) -> None:
        """Add the skirt."""
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
        """Return a percentile of the thickness of the clothes around the trunk at height y in metres."""
        ring = (np.abs(self.base.coordinates.y - y) < 0.025) & ~self.base.coordinates.is_arm
        return float(np.percentile(self.height[ring], percentile))

    def put_on_outer(self) -> None:
        """Add the jacket or coat."""
        outer, tail = self.outfit.outer, self.outfit.tail
        if outer is None:
            return
        field = top_field(outer.edges, self.base.coordinates)
        thickness = top_thickness(outer, self.base.coordinates, field, self.random)
        self._add_shell("outer", field, thickness)
        texels = atlas_texels(self.body, self.texels.size, "outer")
        _paint_top(outer, texels, top_field(outer.edges, texels.coordinates), self.image, self.outfit.seed + 1)
        texels.bleed(self.image)
        if tail is not None:
            under = self._height_at(tail.top, 70)
            hanging = hang_skirt(tail, self.base, under, self.random, close_until=-0.02)
            self._add_loft("tail", hanging.grid, "tail")
            _paint_tile(self.image, "tail", tail.fabric, skirt_size(tail))

    def put_on_head(self) -> None:
        """Add hair and headwear."""
        hair = self.identity.hair
        wear = self.outfit.headwear
        rows = self.base.head
        points = self.base.coordinates.take(rows)
        wear_field = None if wear is None else headwear_field(wear, points)
        if hair.style != "bald":
            field = hair_field(hair, points)
            thickness = hair_thickness(hair, points, field, self.random)
            hidden = None
            if wear_field is not None:
                thickness = np.minimum(thickness, 0.012)
                hidden = self._on_head(wear_field - np.float32(0.012))
            self._add_shell("hair", self._on_head(field), self._on_head(thickness), hidden)
            ears = ear_cover(hair, points)
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
        thickness = headwear_thickness(wear, points, wear_field, self.random)
        self._add_shell("hat", self._on_head(wear_field), self._on_head(thickness))
        _paint_headwear(wear, self.texels, self.image)
        brim = brim_grid(wear, self.random)
        if brim is not None:
            self._add_loft("hat", brim, "hat")

    def _on_head(self, values: Array) -> Array:
        """Return values of the head's points as values (N,) of all points, −1 elsewhere."""
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
            throat = (np.abs(self.base.coordinates.y - 0.53) < 0.03) & (np.abs(self.base.coordinates.x) < 0.08)
            self._add_loft("accessory", scarf_grid(float(self.height[throat].max()), self.random), "scarf")
            _paint_tile(self.image, "scarf", outfit.scarf, (0.5, 0.15))
        if outfit.gloves is not None:
            rows = np.flatnonzero(self.texels.coordinates.arm > _GLOVE_TOP)
            _paint_plain(self.image, self.texels, rows, outfit.gloves.colours[0])

    def _add_loft(self, material: str, grid: Grid, tile: str) -> None:
        self.pieces.append(loft(self.base, self.shape, grid, material, TILES[tile]))

    def _add_shell(self, material: str, field: Array, thickness: Array, hidden: Array | None = None) -> None:
        """Add cloth over all clothes so far, except where `hidden` (N,) > 0, under clothes that follow."""
        # The thickness is limited by other cloth and by the clothes below.
        inside = field > -0.03
        lower = self.height + np.float32(_LAYER_GAP) * (self.height > 0)
        thickness = np.maximum(np.minimum(thickness, np.maximum(self.base.room, 0.004)), lower + np.float32(0.0015))
        points = self.shape.points + thickness[:, None] * self.shape.normals
        visible_field = field if hidden is None else np.minimum(field, -hidden)
        panel = "head" if material in ("hair", "hat") else "body"
        piece = cut_piece(self.base, points, visible_field, material, panel)
        if piece is not None:
            uv = outer_uv(piece.uv) if material == "outer" else piece.uv / np.array([ASPECT, 1], np.float32)
            self.pieces.append(replace(piece, uv=uv))
        self.height = np.where(inside, thickness, self.height)
        self.cover = np.maximum(self.cover, field)

    def finish(self) -> DressedMesh:
        """Join the visible skin, which is pushed inwards under the edges of the clothes, and all pieces."""
        self.texels.bleed(self.image)
        body, count = self.body, len(self.body.template)
        cover = self.cover[:count]
        normals = self.shape.normals[:count]
        share = ramp(cover, -0.001, 0.006)[:, None]
        # On the head, the vertices move to the cloth surface, which has no ears.
        to_cloth = np.where(self.base.is_head[:count, None], self.shape.points[:count] - self.shape.body, np.float32(0))
        vertices = self.shape.body + share * (to_cloth - np.float32(_PUSH) * normals)
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
