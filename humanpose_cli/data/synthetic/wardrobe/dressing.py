"""Dressing: one mesh with one texture from a body, an identity and an outfit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.bodies.rigged_body import RiggedBody
from humanpose_cli.data.synthetic.wardrobe.base import ClothBase, ShapedBase, cloth_base
from humanpose_cli.data.synthetic.wardrobe.cutting import cut_piece
from humanpose_cli.data.synthetic.wardrobe.identity import Identity
from humanpose_cli.data.synthetic.wardrobe.mesh import DressedMesh, Piece, join_pieces
from humanpose_cli.data.synthetic.wardrobe.outfit import Outfit
from humanpose_cli.data.synthetic.wardrobe.painting import new_atlas, paint_bottom, paint_top
from humanpose_cli.data.synthetic.wardrobe.shells import (
    bottom_field,
    bottom_thickness,
    ramp,
    top_field,
    top_thickness,
)
from humanpose_cli.data.synthetic.wardrobe.skin import paint_skin
from humanpose_cli.data.synthetic.wardrobe.texels import ASPECT, BodyTexels, body_texels, eyeballs, outer_uv
from humanpose_cli.errors import UsageError

__all__ = ["dress"]

Array = NDArray[Any]

# Skin lies bare under cloth for this far from the edge (metres), pushed in by so much, and is left out beyond.
_TUCK, _PUSHED_IN = 0.03, 0.004
# Cloth over cloth lies at least this far apart (metres).
_LAYER_GAP = 0.004
_SMALLEST_TEXTURE = 64


def dress(body: RiggedBody, identity: Identity, outfit: Outfit, *, texture_size: int = 1024) -> DressedMesh:
    """The mesh of a dressed person; the same arguments give the same bytes.

    texture_size  height of the texture in texels; it is 3/2 as wide
    UsageError for a body other than the default one, or a texture smaller than 64.
    """
    if texture_size < _SMALLEST_TEXTURE:
        raise UsageError("texture size", "is too small", expected=f"≥ {_SMALLEST_TEXTURE}", got=str(texture_size))
    fitting = Fitting(body, identity, outfit, texture_size)
    fitting.paint_skin()
    fitting.put_on_bottom()
    fitting.put_on_top()
    fitting.put_on_outer()
    return fitting.finish()


class Fitting:
    """One person while they are dressed, from the skin outwards."""

    def __init__(self, body: RiggedBody, identity: Identity, outfit: Outfit, size: int) -> None:
        self.body, self.identity, self.outfit = body, identity, outfit
        self.base: ClothBase = cloth_base(body)
        self.shape: ShapedBase = self.base.shaped(identity.betas)
        self.texels: BodyTexels = body_texels(body, size)
        self.image = new_atlas(size)
        self.pieces: list[Piece] = []
        self.height = np.zeros(len(self.base.template), np.float32)  # of the clothes so far, over the body
        self.covered = np.full(len(self.base.template), -1.0, np.float32)  # metres inside what covers the skin
        self.random = np.random.default_rng((outfit.seed, identity.seed))

    def paint_skin(self) -> None:
        paint_skin(self.body, self.identity, self.texels, self.image)

    def put_on_bottom(self) -> None:
        bottom = self.outfit.bottom
        if bottom is None:
            return
        field = bottom_field(bottom, self.base.where)
        thickness = bottom_thickness(bottom, self.base.where, field, self.random)
        self._add_shell("bottom", field, thickness, self._hidden_below(bottom.waist))
        paint_bottom(bottom, self.texels, self.image, self.outfit.seed)

    def put_on_top(self) -> None:
        top = self.outfit.top
        if top is None:
            return
        field = top_field(top, self.base.where)
        thickness = top_thickness(top, self.base.where, field, self.random)
        self._add_shell("top", field, thickness)
        paint_top(top, self.texels, self.image, self.outfit.seed)

    def put_on_outer(self) -> None:
        outer = self.outfit.outer
        if outer is None:
            return
        field = top_field(outer, self.base.where)
        thickness = top_thickness(outer, self.base.where, field, self.random)
        self._add_shell("outer", field, thickness)
        texels = body_texels(self.body, self.texels.size, "outer")
        paint_top(outer, texels, self.image, self.outfit.seed + 1)
        texels.bleed(self.image)

    def _hidden_below(self, waist: float) -> Array | None:
        """(N,) metres that points lie inside the top worn over the bottom, which hides the bottom's upper edge."""
        top = self.outfit.top
        if top is None or top.hem > waist - 0.02:
            return None
        return top_field(top, self.base.where) - np.float32(0.04)

    def _add_shell(self, material: str, field: Array, thickness: Array, hidden: Array | None = None) -> None:
        """Lay cloth over everything so far; where `hidden` (N,) > 0 something laid on later hides it."""
        inside = field > -0.03
        least = self.height + np.float32(_LAYER_GAP) * (self.height > 0)
        thickness = np.maximum(np.minimum(thickness, np.maximum(self.base.room, 0.004)), least + np.float32(0.0015))
        points = self.shape.points + thickness[:, None] * self.shape.normals
        shown = field if hidden is None else np.minimum(field, -hidden)
        piece = cut_piece(self.base, points, shown, material)
        if piece is not None:
            if material == "outer":
                piece = _with_uv(piece, outer_uv(piece.uv))
            else:
                piece = _with_uv(piece, piece.uv / np.float32([ASPECT, 1]))
            self.pieces.append(piece)
        self.height = np.where(inside, thickness, self.height)
        self.covered = np.maximum(self.covered, field)

    def finish(self) -> DressedMesh:
        self.texels.bleed(self.image)
        return join_pieces([*self._skin(), *self.pieces], self.image, self.shape.joints)

    def _skin(self) -> list[Piece]:
        """The body where nothing covers it, tucked in under the edges of the clothes."""
        body, count = self.body, len(self.body.template)
        covered = self.covered[:count]
        normals = self.shape.normals[:count]
        push = np.float32(_PUSHED_IN) * ramp(covered, -0.001, 0.006)
        vertices = self.shape.body - push[:, None] * normals
        faces, uv_faces = body.faces.numpy(), body.uv_faces.numpy()
        shown = ~(covered[faces] > _TUCK).all(1)
        is_eye = eyeballs(body)[faces].all(1)
        uv = body.uv.numpy() / np.float32([ASPECT, 1])
        own = np.arange(count, dtype=np.int32)
        indices, weights = body.bone_indices.numpy(), body.bone_weights.numpy()
        return [
            Piece(name, vertices, faces[rows], uv, uv_faces[rows], indices, weights, own).compact()
            for name, rows in (("skin", shown & ~is_eye), ("eye", shown & is_eye))
        ]


def _with_uv(piece: Piece, uv: Array) -> Piece:
    return Piece(
        piece.material,
        piece.vertices,
        piece.faces,
        uv,
        piece.uv_faces,
        piece.bone_indices,
        piece.bone_weights,
        piece.body_vertex,
    )
