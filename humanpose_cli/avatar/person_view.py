"""A person in a frame for refinement: a square crop of the photograph, and its camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import BakedTexture, PhotoSource, TexelMap, bake_photo, pixel_trust
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.crop import Crop
from humanpose_cli.engine.rasterising.op import merge_meshes
from humanpose_cli.rendering.body_maps import crop_of_body
from humanpose_cli.rendering.boxes import body_box
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.surfaces import vertex_normals

_OUTLINE_MARGIN = 0.008  # sides of the crop: width of outlines without trust


@dataclass(frozen=True, eq=False)
class PersonView:
    """A person's crop of a frame.

    Attributes:
        photo: (S, S, 3) uint8 RGB.
        crop: The map from the frame's pixels to the crop's.
        camera: The crop's camera.
        hidden: (S, S) bool. Pixels outside the frame, or where another person's body is nearer.
    """

    photo: NDArray[np.uint8]
    crop: Crop
    camera: Camera
    hidden: NDArray[np.bool_]


def person_views(
    pixels: NDArray[np.uint8], vertices: Tensor, faces: Tensor, camera: Camera, size: int
) -> list[PersonView]:
    """Cut all people out of a frame.

    Args:
        pixels: (H, W, 3) uint8 RGB. The frame.
        vertices: (P, V, 3) float, metres in camera axes. The bodies.
        faces: (F, 3) int. Their faces.
        camera: The frame's camera.
        size: The crops' side, pixels.
    """
    boxes = [body_box(points, camera) for points in vertices]
    views = []
    for row, points in enumerate(vertices):
        crop = crop_of_body(points, camera, size)
        view = camera.cropped(crop)
        outside = crop.warp(np.ones(pixels.shape[:2], np.uint8), cv2.INTER_NEAREST) == 0
        near = [i for i in range(len(boxes)) if i != row and not boxes[i].intersect(boxes[row]).empty]
        if near:
            outside |= _behind_others(vertices, faces, view, row, near)
        views.append(PersonView(crop.image(pixels), crop, view, outside))
    return views


def _behind_others(vertices: Tensor, faces: Tensor, view: Camera, row: int, near: Sequence[int]) -> NDArray[np.bool_]:
    """Return the pixels in which one of the bodies `near` is in front of body `row`."""
    both = merge_meshes([vertices[i][None] for i in (row, *near)], [faces] * (len(near) + 1))
    face = rasterise_view(both.vertices, both.faces, view).face[0]
    return np.asarray((face >= both.first_face[1]).cpu().numpy())


def bake_view(
    view: PersonView,
    body: Body,
    vertices: Tensor,
    mask: NDArray[np.floating] | None,
    texels: TexelMap,
) -> BakedTexture:
    """Bake the texture that a crop shows.

    Args:
        view: The crop.
        body: The body model.
        vertices: (V, 3) float, metres in camera axes.
        mask: (S, S) float, 0…1. The person's pixels; None for all pixels of the body.
        texels: The body's texels.
    """
    depth = rasterise_view(vertices[None], body.faces, view.camera).depth[0].cpu().numpy()
    visible = np.isfinite(depth) & ~view.hidden
    if mask is not None:
        visible &= mask >= 0.5
    trust = pixel_trust(visible.astype(np.float32), depth, max(1.5, _OUTLINE_MARGIN * len(depth)))
    source = PhotoSource(view.photo, visible.astype(np.float32), trust, depth, view.camera)
    return bake_photo(source, vertices, vertex_normals(vertices, body.faces), body.faces, texels)


def photo_tensor(views: Sequence[PersonView]) -> Tensor:
    """Stack photos as (N, 3, S, S) float32, 0…1."""
    photos = np.stack([view.photo for view in views])
    return torch.from_numpy(photos).movedim(-1, 1).float() / 255
