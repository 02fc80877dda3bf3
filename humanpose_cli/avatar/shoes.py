"""Shoes: whether a person wears them, by colour, and the shape that they give to toes.

The body's feet are bare. A photograph of shoes, projected onto them, would show every toe through the leather.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, diags_array
from scipy.spatial import ConvexHull, cKDTree
from torch import Tensor

from humanpose_cli.avatar.colours import is_grey, like_colour, skin_hued
from humanpose_cli.avatar.photo_crop import PhotoCrop
from humanpose_cli.avatar.surface import FEET, BodyTexels
from humanpose_cli.body.body import Body
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.rendering.shading import rasterise_view

Array = NDArray[Any]

_MIN_VISIBLE = 0.05  # visible share of a part that decides about shoes
_DEPTH_TOLERANCE = 0.01  # metres: depth behind what a pixel shows
_MIN_MASK = 0.9  # minimum mask of pixels that show the person
_BRIGHTNESS_RATIO = 1.6  # factor by which a shoe is brighter or darker than skin in a photograph without colours
_BARE_SHARE = 0.7  # share of a foot in the skin's colour that is bare
_LEATHER = 0.003  # metres: thickness around the toes
_INSTEP = 0.03  # metres: length behind the toes that becomes smooth with them
_MIN_VERTICES = 12  # minimum number of vertices of a foot with toes
_ROUNDS = (50, 2)  # rounds of averaging each vertex's neighbours, for the usual shape and for the person's

_cached_shoes: WeakKeyDictionary[Body, NDArray[np.float64]] = WeakKeyDictionary()


class VertexColours(NamedTuple):
    """The colours of a body's vertices in a photograph.

    Attributes:
        colour: (V, 3) float, 0…1, RGB.
        shown: (V,) bool. Whether the photograph shows the vertex.
    """

    colour: Array
    shown: NDArray[np.bool_]


def photo_colours(vertices: Tensor, faces: Tensor, crop: PhotoCrop) -> VertexColours:
    """Look up the colours of visible vertices.

    Args:
        vertices: (V, 3) float, metres in camera axes. The surface aligned with the photo.
        faces: (F, 3) int. The faces of parts of known position.
        crop: The photo.
    """
    depth = rasterise_view(vertices[None], faces, crop.view).depth[0].cpu().numpy()
    columns, rows = np.floor(crop.view.project(vertices).cpu().numpy()).T
    inside = (columns >= 0) & (rows >= 0) & (columns < depth.shape[1]) & (rows < depth.shape[0])
    inside[np.setdiff1d(np.arange(len(inside)), faces.cpu().numpy())] = False
    pixels = tuple(np.where(inside, values, 0).astype(np.int64) for values in (rows, columns))
    near = vertices[:, 2].cpu().numpy() < depth[pixels] + _DEPTH_TOLERANCE
    return VertexColours(crop.pixels[pixels] / 255, inside & near & (crop.mask[pixels] > _MIN_MASK))


def wears_shoes(surface: BodyTexels, visible: VertexColours, tone: Array | None) -> bool | None:
    """Return whether feet wear shoes: unless most of the visible foot has the colour of skin. None for hidden feet.

    Args:
        surface: The body's texels.
        visible: The colours of the vertices.
        tone: (3,) RGB, 0…1. The skin's colour. If it is None, only a foot with a hue of skin is bare.
    """
    areas = surface.operator.areas
    feet = parts_mask(surface.part_labels, FEET)
    colour = visible.colour[feet & visible.shown]
    if areas[feet & visible.shown].sum() < _MIN_VISIBLE * areas[feet].sum():
        return None
    if tone is None:
        return not skin_hued(np.median(colour, axis=0)[None])[0]
    if is_grey(visible.colour[visible.shown]):
        bright = np.median(colour, axis=0).mean()
        return bool(abs(np.log(max(bright, 0.01) / max(tone.mean(), 0.01))) > np.log(_BRIGHTNESS_RATIO))
    return bool(like_colour(colour, tone).mean() < _BARE_SHARE)


def shoe_offsets(body: Body, rest: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the displacement from a body's bare feet to shoes.

    The front of each foot is laid over its convex hull, each point between its neighbours, as in a Tutte embedding:
    once for the mean shape, and from there for the given shape.

    Args:
        body: The body.
        rest: (V, 3) float, metres. The resting vertices.

    Returns:
        (V, 3) float32, metres. 0 except at the front of the feet.
    """
    if body not in _cached_shoes:
        template = body.template.cpu().numpy().astype(np.float64)
        _cached_shoes[body] = _wrapped(body, template, template, _ROUNDS[0]) - template
    shape = np.asarray(rest, np.float64)
    shoes = _wrapped(body, shape, shape + _cached_shoes[body], _ROUNDS[1])
    return (shoes - shape).astype(np.float32)


def _wrapped(body: Body, rest: Array, start: Array, rounds: int) -> Array:
    """Move the front of both feet of vertices (V, 3) to its hull, starting from `start` (V, 3)."""
    faces = body.faces.cpu().numpy().astype(np.int64)
    labels = body.part_labels.cpu().numpy()
    edges = np.concatenate((faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]))
    result = start.copy()
    for side in ("left", "right"):
        toes = labels == SMPL24.index(f"{side}_foot")
        if toes.sum() < _MIN_VERTICES:
            continue
        near = cKDTree(rest[toes]).query(rest, distance_upper_bound=_INSTEP)[0] < _INSTEP
        front = toes | (near & (labels == SMPL24.index(f"{side}_ankle")))
        result[front] = _on_hull(rest, result, edges, front, rounds)
    return result


def _on_hull(rest: Array, start: Array, edges: NDArray[np.int64], chosen: NDArray[np.bool_], rounds: int) -> Array:
    """Return the selected points (N, 3) of a closed mesh (V, 3) on their convex hull, held by the other points."""
    ends = edges[chosen[edges[:, 0]]]
    rim = np.unique(ends[~chosen[ends[:, 1]], 1])
    # From the middle of the rim, the hull before it is about half of all directions: hardly anything folds over.
    middle = rest[rim].mean(0)
    hull = ConvexHull(np.concatenate((rest[chosen], rest[rim]))).equations  # (F, 4): n · x + d ≤ 0 inside
    reach = np.maximum(_LEATHER - hull[:, :3] @ middle - hull[:, 3], _LEATHER)
    row = np.cumsum(chosen) - 1
    mean = coo_array((np.ones(len(ends)), (row[ends[:, 0]], ends[:, 1])), shape=(chosen.sum(), len(rest))).tocsr()
    mean = diags_array(1 / np.maximum(mean.sum(1), 1)) @ mean
    result = start.copy()
    for _ in range(rounds):
        offsets = (mean @ result) - middle
        towards = offsets @ hull[:, :3].T
        stretch = np.where(towards > 0, reach / np.maximum(towards, 1e-12), np.inf).min(1)
        result[chosen] = middle + stretch[:, None] * offsets
    return result[chosen]
