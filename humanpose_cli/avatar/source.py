"""Reading a person off a photo: which pixels show which point of their surface, and how surely."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.surface import FOREARMS, TRUNK, parts_mask
from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.rendering.boxes import Box, body_box
from humanpose_cli.rendering.shading import rasterise_view

__all__ = ["PhotoCrop", "arms_over_trunk", "crop_photo", "pixel_trust"]

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Neighbouring pixels whose depths differ by more (metres) belong to different parts of the body.
_DEPTH_STEP = 0.05


class PhotoCrop(NamedTuple):
    """The part of a photo around one person.

    pixels  (h, w, 3) uint8; view: its camera; box: its position in the photo
    mask    (h, w) 0…1 the person; others (h, w) bool someone else
    """

    pixels: NDArray[np.uint8]
    view: Camera
    box: Box
    mask: Array
    others: Mask


def crop_photo(
    photo: NDArray[np.uint8], view: Camera, mask: Array, others: NDArray[np.floating], vertices: Tensor
) -> PhotoCrop:
    """Cut out the person: mask (H, W) 0…1, others (H, W) 0…1 everyone else, vertices (V, 3) of the fitted body."""
    box = body_box(vertices, view)
    ys, xs = np.nonzero(mask >= 0.5)
    if len(ys):
        shown = Box(int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        box = shown if box.empty else box.union(shown)
    margin = 8 + max(box.shape) // 20
    box = Box(box.x0 - margin, box.y0 - margin, box.x1 + margin, box.y1 + margin).intersect(Box.whole(view))
    part, rest = mask[box.slices], others[box.slices]
    return PhotoCrop(
        np.ascontiguousarray(photo[box.slices]),
        view.part(*box),
        box,
        np.where(rest > part, 0, part).astype(np.float32),
        (rest >= 0.5) & (rest > part),
    )


def pixel_trust(crop: PhotoCrop, depth: Array, margin: float) -> Array:
    """How surely each pixel shows the surface that lies there: (h, w) 0…1.

    0 within about `margin` pixels of the mask's edge and of depth edges of the body, where a fit that is off by a
    few pixels would read the background or another part.
    """
    inside = cv2.distanceTransform((crop.mask >= 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    trust = np.clip((inside - 0.6 * margin) / max(0.8 * margin, 1.0), 0, 1)
    edges = _depth_edges(depth)
    if edges.any():
        away = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 5)
        trust = np.minimum(trust, np.clip((away - 0.6 * margin) / max(0.8 * margin, 1.0), 0, 1))
    return trust.astype(np.float32)


def _depth_edges(depth: Array) -> Mask:
    """Pixels on either side of a step in depth inside the body."""
    known = np.where(np.isfinite(depth), depth, np.nan)
    edges = np.zeros(depth.shape, bool)
    with np.errstate(invalid="ignore"):
        across = np.abs(known[:, 1:] - known[:, :-1]) > _DEPTH_STEP
        down = np.abs(known[1:] - known[:-1]) > _DEPTH_STEP
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges


def arms_over_trunk(body: Body, vertices: Tensor, view: Camera) -> float:
    """Share of the trunk's image that forearms and hands lie over, 0…1."""
    small = view.scaled(min(1.0, 256 / max(view.size)))
    labels = body.part_labels.cpu().numpy()
    first = body.faces[:, 0].long().cpu().numpy()
    trunk = body.faces[torch.from_numpy(parts_mask(labels, TRUNK)[first])]
    arms = body.faces[torch.from_numpy(parts_mask(labels, FOREARMS)[first])]
    behind = rasterise_view(vertices[None], trunk, small).depth[0]
    before = rasterise_view(vertices[None], arms, small).depth[0]
    trunk_pixels = torch.isfinite(behind)
    covered = trunk_pixels & (before < behind)
    return float(covered.sum()) / max(float(trunk_pixels.sum()), 1.0)
