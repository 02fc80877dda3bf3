"""Shoes: whether somebody wears them, by colour, and the form that they give to toes.

The body's feet are bare. A photograph of shoes, wrapped around them, would show every toe through the leather.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, diags_array
from scipy.spatial import ConvexHull, cKDTree
from torch import Tensor

from humanpose_cli.avatar.completion import skin_hued, skin_tone
from humanpose_cli.avatar.garments import SAME_COLOUR, colour_features, colourless
from humanpose_cli.avatar.loose import PhotoCrop
from humanpose_cli.avatar.surface import BodyTexels, parts_mask
from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.rendering.shading import rasterise_view

Array = NDArray[Any]

# What tells of shoes, the first that shows enough of its surface: bare legs end in bare feet, as far as anybody knows.
_TELLING = (
    ("left_ankle", "right_ankle", "left_foot", "right_foot"),
    ("left_knee", "right_knee"),
    ("left_hip", "right_hip"),
)
_SHOWN = 0.05
_NEAR, _SURE = 0.01, 0.9  # metres behind what a pixel shows; of its mask
_GREYER = 1.6  # times brighter or darker than skin: what tells a shoe in a photograph without colours
_LEATHER = 0.003  # metres around the toes
_INSTEP = 0.03  # metres behind the toes that become smooth with them
_ROUNDS = 50  # of moving every point between its neighbours

_cached_shoes: WeakKeyDictionary[Body, NDArray[np.float32]] = WeakKeyDictionary()


def wears_shoes(surface: BodyTexels, vertices: Tensor, crop: PhotoCrop) -> bool:
    """Whether feet, or else legs, have another colour in a photo than the person's skin.

    vertices  (V, 3) metres, camera axes: the body's surface as it lies over the photo
    """
    colour, visible = _seen(surface, vertices, crop)
    shown, areas = visible > 0.5, surface.operator.areas
    for names in _TELLING:
        part = parts_mask(surface.part_labels, names)
        if areas[part & shown].sum() >= _SHOWN * areas[part].sum():
            break
    else:
        return True
    cloth, tone = np.median(colour[part & shown], axis=0)[None], skin_tone(surface, colour, visible)
    if tone is None:
        return not skin_hued(cloth)[0]
    if colourless(colour[shown]):
        return bool(abs(np.log(max(cloth.mean(), 0.01) / max(tone.mean(), 0.01))) > np.log(_GREYER))
    return bool(np.linalg.norm(colour_features(cloth) - colour_features(tone[None])) > SAME_COLOUR)


def _seen(surface: BodyTexels, vertices: Tensor, crop: PhotoCrop) -> tuple[Array, Array]:
    """Colours (V, 3) in 0…1 of the pixels that vertices lie in, and whether (V,) 0 or 1 these show them."""
    depth = rasterise_view(vertices[None], surface.faces, crop.view).depth[0].cpu().numpy()
    columns, rows = crop.view.project(vertices).cpu().numpy().astype(np.int64).T
    inside = (columns >= 0) & (rows >= 0) & (columns < depth.shape[1]) & (rows < depth.shape[0])
    at = np.where(inside, rows, 0), np.where(inside, columns, 0)
    near = vertices[:, 2].cpu().numpy() < depth[at] + _NEAR
    return crop.pixels[at] / 255, (inside & near & (crop.mask[at] > _SURE)).astype(np.float32)


def shoe_offsets(body: Body) -> NDArray[np.float32]:
    """What shoes add to the resting body's vertices: (V, 3) metres, zero but for the toes. Made once for a body.

    The toes' surface is laid over their convex hull, each point between its neighbours, as in a Tutte embedding.
    """
    if body not in _cached_shoes:
        template = body.template.cpu().numpy().astype(np.float64)
        faces, labels = body.faces.cpu().numpy().astype(np.int64), body.part_labels.cpu().numpy()
        ends = np.concatenate((faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]))
        offsets = np.zeros_like(template)
        for side in ("left", "right"):
            toes = labels == SMPL24.index(f"{side}_foot")
            near = cKDTree(template[toes]).query(template)[0] < _INSTEP
            front = toes | (near & (labels == SMPL24.index(f"{side}_ankle")))
            offsets[front] = _wrapped(template, ends, front) - template[front]
        _cached_shoes[body] = offsets.astype(np.float32)
    return _cached_shoes[body]


def _wrapped(points: Array, edges: NDArray[np.int64], chosen: NDArray[np.bool_]) -> Array:
    """Where the chosen points (N, 3) of a closed mesh (V, 3) lie on their own convex hull; the others hold them."""
    ends = edges[chosen[edges[:, 0]]]
    rim = np.unique(ends[~chosen[ends[:, 1]], 1])
    # Seen from the middle of the rim, the hull before it is less than half of all directions: nothing folds over.
    middle = points[rim].mean(0)
    hull = ConvexHull(np.concatenate((points[chosen], points[rim]))).equations  # (F, 4): n · x + d ≤ 0 inside
    reach = np.maximum(_LEATHER - hull[:, :3] @ middle - hull[:, 3], _LEATHER)
    row = np.cumsum(chosen) - 1
    mean = coo_array((np.ones(len(ends)), (row[ends[:, 0]], ends[:, 1])), shape=(chosen.sum(), len(points))).tocsr()
    mean = diags_array(1 / mean.sum(1)) @ mean
    moved = points.copy()
    for _ in range(_ROUNDS):
        away = (mean @ moved) - middle
        towards = away @ hull[:, :3].T
        stretch = np.where(towards > 0, reach / np.maximum(towards, 1e-12), np.inf).min(1)
        moved[chosen] = middle + stretch[:, None] * away
    return moved[chosen]
