"""Shirts, jackets and jumpers over trousers as meshes: pieces of the body's surface, cut at hem, sleeves and collar.

Labels say which edge is the hem and where sleeves end, colours where exactly. Where a photograph does not show a hem
clearly, there is no piece: the top stays a colour of the body.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.dressing import DressedBody
from humanpose_cli.avatar.garment import Garment
from humanpose_cli.avatar.garment_labels import garments_mask
from humanpose_cli.avatar.ring import PUSH, TUCK
from humanpose_cli.avatar.shoes import photo_colours
from humanpose_cli.avatar.skirt import SkirtPhoto, colour_change
from humanpose_cli.body.body import default_body
from humanpose_cli.body.cloth import TopEdges, cut_piece, top_field
from humanpose_cli.body.cloth_surface import ClothBase, Coordinates, cloth_base, ramp

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_HEMS = np.arange(-0.3, 0.22, 0.01)  # metres above the pelvis joint, where hems may be
_ENDS = np.arange(-0.51, 0.07, 0.01)  # metres up the arm to the shoulder joint, where sleeves may end
_CHEST = 0.42  # metres above the pelvis joint, above which labels do not tell of hems
_MIDDLE = 0.05  # metres on each side of the middle
_UNEVEN = 0.06  # metres between the hems on the left, in the middle and on the right: more is an open coat
_NEAR = 0.12  # metres around an edge whose labels must agree
_AGREE, _SLEEVES_AGREE = 0.8, 0.88  # share of labels that agree on each side of a hem, and of sleeves' ends
_WRIST, _LONG = 0.47, 0.4  # metres along the arm: end of long sleeves, and of the shortest of them
_BY_COLOUR, _PER_METRE = 0.05, 4.0  # metres from the labels' hem within which colours choose, and the cost of a metre
_SPAN = (0.01, 0.07)  # metres from a hem whose colours are compared
_EDGE = 0.02  # metres within hem and sleeves whose pixels give the top no colours
_HIDDEN = (0.135, 0.165)  # metres above a hem: middle and half the width of where pixels give the body no colours


def top_edges(photo: SkirtPhoto, faces: Tensor, *, like_skin: bool = False) -> TopEdges | None:
    """Find the hem and the sleeves of a top over trousers; None if the photo does not show its hem clearly.

    Args:
        photo: The body and its photo.
        faces: (F, 3) int. The faces of known position.
        like_skin: Whether the trunk has the colour of skin: a chest that the labels take for a top, unless sleeves end.
    """
    if photo.dressed.body.name != "default":
        return None
    points = _coordinates()
    visible = photo_colours(photo.vertices, faces, photo.crop)
    rows = np.flatnonzero(visible.shown)
    x, y = photo.crop.view.project(photo.vertices[torch.from_numpy(rows)]).cpu().numpy().astype(int).T
    label = np.zeros(len(visible.shown), np.uint8)
    label[rows] = photo.crop.garments[y, x]
    upper, hanging, trousers, skin = (garments_mask(label, n) for n in ("upper", "hanging", "trousers", "skin"))
    trunk = visible.shown & ~points.is_arm & (points.y < _CHEST)
    middle = np.abs(points.x) < _MIDDLE
    (hem, agree), *thirds = (
        _edge(points.y[part], upper[part], (trousers | hanging | skin)[part], _HEMS)
        for part in (trunk, *(trunk & third for third in (middle, points.x < -_MIDDLE, points.x > _MIDDLE)))
    )
    below = trunk & (points.y < hem) & (points.y > hem - _NEAR)
    arms = visible.shown & points.is_arm & (points.arm < _WRIST)
    end, arms_agree = _edge(-points.arm[arms], (upper | hanging)[arms], skin[arms], _ENDS)
    is_clear = agree >= _AGREE and trousers[below].sum() > _AGREE * below.sum()
    is_clear &= arms_agree >= _SLEEVES_AGREE or not like_skin
    if not is_clear or np.ptp([third[0] for third in thirds]) > _UNEVEN:
        return None
    levels = _HEMS[np.abs(_HEMS - hem) < _BY_COLOUR]
    changes = [_change(visible.colour[trunk], points.y[trunk] - h) - _PER_METRE * abs(h - hem) for h in levels]
    # Sleeves of unknown length go to the wrists: bare arms below them keep their own colours.
    is_long = -end > _LONG or arms_agree < _SLEEVES_AGREE
    return TopEdges(float(levels[np.argmax(changes)]), _WRIST if is_long else max(-end, 0.0))


def _edge(height: Array, above: Mask, below: Mask, levels: Array) -> tuple[float, float]:
    """Return the level (L,) that parts points (N,) best, and the share of those near it that agree on each side."""
    side = above.astype(int) - below
    score = np.where(height[:, None] > levels, side[:, None], -side[:, None]).sum(0)
    edge = float(levels[score == score.max()].mean())
    sides = above[(height > edge) & (height < edge + _NEAR)], below[(height < edge) & (height > edge - _NEAR)]
    # There is nothing below the end of a sleeve at the wrist.
    return edge, min(float(part.mean()) if len(part) else 1.0 for part in sides) if len(height) else 0.0


def _change(colours: Array, height: Array) -> float:
    """Return how different colours (N, 3) above and below height 0 are; 0 if few are visible."""
    above, below = (colours[(sign * height > _SPAN[0]) & (sign * height < _SPAN[1])] for sign in (1, -1))
    return colour_change(above, below)


def cover_of(top: TopEdges) -> NDArray[np.float32]:
    """Return how far (V,), metres, the vertices of the default body lie inside a top, negative outside."""
    return np.asarray(top_field(top, _coordinates()), np.float32)


def texels_of_top(top: TopEdges) -> NDArray[np.float32]:
    """Return three fields (V, 3), positive where pixels colour a top, where they colour the body, and below the top."""
    sleeve = top.sleeve - _EDGE if top.sleeve > 0 else 0.0
    cloth = cover_of(replace(top, hem=top.hem + _EDGE, sleeve=sleeve))
    # Trousers go on below the top; neck and arms may have its colours beyond its edges.
    points = _coordinates()
    outside = np.abs(points.y - np.float32(top.hem + _HIDDEN[0])) - np.float32(_HIDDEN[1])
    return np.stack((cloth, np.where(points.is_arm, np.float32(1), outside), cover_of(top) - np.float32(TUCK)), 1)


def cut_top(
    body: DressedBody, top: TopEdges, outer: Array, inner: Array, image: Array
) -> tuple[Garment, Array, Array, Mask]:
    """Cut the mesh of a top out of a body's surface.

    Args:
        body: The body.
        top: The edges.
        outer: (V,) float, metres. The displacements of the cloth.
        inner: (V,) float, metres. Those of the body beside it.
        image: (S, S, 4) float, 0…1. The cloth's colours on the body's texture.

    Returns:
        The garment; the body's vertices (N,) that its vertices lie on; the displacements (V,), metres, of the body,
        which gives way; and the body's faces (F,) that the top hides.
    """
    cover = cover_of(top)
    below = np.where(cover > 0, np.minimum(inner, outer), inner) - PUSH * ramp(cover, 0.0, TUCK)
    base = _base()
    rest, directions = (part.cpu().numpy() for part in (body.rest(), body.rest_directions))
    points = rest + (np.maximum(outer, below) + PUSH)[:, None] * directions
    piece = cut_piece(base, points[base.ends].mean(1).astype(np.float32), top_field(top, base.coordinates), "top")
    assert piece is not None
    faces, uv_faces, bones = (part.astype(np.int32) for part in (piece.faces, piece.uv_faces, piece.bone_indices))
    colours = np.rint(np.clip(image[..., :3], 0, 1) * 255).astype(np.uint8)
    garment = Garment("top", piece.vertices, faces, piece.uv, uv_faces, bones, piece.bone_weights, colours)
    return garment, piece.body_vertex, below, (cover > TUCK)[body.body.faces.cpu().numpy()].all(1)


@cache
def _base() -> ClothBase:
    """Return the cloth surface of the default body, on the CPU."""
    return cloth_base(default_body())


@cache
def _coordinates() -> Coordinates:
    """Return the coordinates of the default body's vertices."""
    return _base().coordinates.take(np.arange(len(_base().body.template)))
