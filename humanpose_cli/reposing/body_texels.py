"""What a body's texture can borrow from where: mirror images, and the other side of limbs and trunk."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.bodies.texture import TexelMap, mirror_uv_corners, sample_at
from humanpose_cli.engine.rasterising import interpolate
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.surfaces import vertex_normals
from humanpose_cli.rendering.view import View
from humanpose_cli.reposing.mesh_fields import SurfaceOperator
from humanpose_cli.reposing.regions import flat_parts, front_of_face, limb_groups, scalp

__all__ = ["BodyTexels", "body_texels"]

Array = NDArray[Any]
Mask = NDArray[np.bool_]

# The rest body seen from so far that it is as good as parallel projection (metres), in a picture of this height.
_FAR = 200.0
_PICTURE = 768
# Colours without detail are handled in a texture of this size.
_COARSE = 512
_KEPT = 2048
_SOFT_BORDER = 2.0  # coarse texels


_known: WeakKeyDictionary[RiggedBody, dict[int, BodyTexels]] = WeakKeyDictionary()


def body_texels(body: RiggedBody, size: int) -> BodyTexels:
    """The texels of a body, kept for the next photo as long as the body lives, unless they are very many."""
    if size > _KEPT:
        return BodyTexels(body, size)
    sizes = _known.setdefault(body, {})
    if size not in sizes:
        sizes[size] = BodyTexels(body, size)
    return sizes[size]


class BodyTexels:
    """The texels of a body and their relations, whatever the photo.

    fine, coarse  the surface points of the texture and of its reduced copy
    faces         (F, 3) tensor; rows: the same as an array
    rest          (V, 3) metres, the rest body; operator: its surface
    opposite_uv   (coarse, coarse, 2) texture coordinates of the point straight through the body; opposed: whether
                  there is one
    hair          (V,) vertices where hair grows; face (V,) the front of the face
    """

    def __init__(self, body: RiggedBody, size: int) -> None:
        self.fine = TexelMap(body.uv, body.uv_faces, size)
        self.coarse = TexelMap(body.uv, body.uv_faces, min(size, _COARSE))
        self.faces: Tensor = body.faces
        self.rows: NDArray[np.int64] = body.faces.cpu().numpy().astype(np.int64)
        self.rest: Array = body.template.cpu().numpy().astype(np.float64)
        self.operator = SurfaceOperator(self.rest, self.rows)
        self.part_labels = body.part_labels.cpu().numpy()
        self.hair, self.face = scalp(body), front_of_face(body)
        self._mirror = self._mirror_maps(body)
        self.opposite_uv, self.opposed = _opposite(body, self.coarse)

    def _mirror_maps(self, body: RiggedBody) -> tuple[Array, Array]:
        corners, found = mirror_uv_corners(
            self.rows,
            body.uv.cpu().numpy(),
            body.uv_faces.cpu().numpy().astype(np.int64),
            body.mirror_vertices.cpu().numpy(),
        )
        # Without a partner: look outside the texture, where nothing is.
        corners[~found] = -1
        each = torch.arange(corners.shape[0] * 3, dtype=torch.int32, device=self.faces.device).reshape(-1, 3)
        uv = self.fine.interpolate(corners.reshape(-1, 2), each) * np.float32(self.fine.size) - np.float32(0.5)
        uv[~self.fine.covered] = -10
        return np.ascontiguousarray(uv[..., 0]), np.ascontiguousarray(uv[..., 1])

    def mirror(self, image: Array) -> Array:
        """A fine texture (size, size, C) with every texel's mirror image in its place; zero where there is none."""
        return cv2.remap(image, *self._mirror, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)

    def opposite(self, image: Array) -> Array:
        """A coarse texture with the point straight through the body in each texel's place; zero where none is."""
        size = self.coarse.size
        x, y = (self.opposite_uv[..., k].ravel() * np.float32(size) for k in (0, 1))
        found = sample_at(image, x, y).reshape(image.shape)
        found[~self.opposed] = 0
        # The way through the body ends in jagged borders; nothing fine is borrowed along it anyway. Islands' own
        # borders stay full: seams must not show.
        inside = self.coarse.covered.astype(np.float32)
        share = np.maximum(cv2.GaussianBlur(inside, (0, 0), _SOFT_BORDER), np.float32(0.05))
        return cv2.GaussianBlur(found, (0, 0), _SOFT_BORDER) * (inside / share)[..., None]

    def reduce(self, image: Array) -> Array:
        """A fine texture averaged to the coarse size."""
        size = self.coarse.size
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).reshape(size, size, *image.shape[2:])

    def enlarge(self, image: Array) -> Array:
        """A coarse texture, its islands bled, at the fine size."""
        size = self.fine.size
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR).reshape(size, size, *image.shape[2:])


def _opposite(body: RiggedBody, texels: TexelMap) -> tuple[Array, Mask]:
    """For each texel of trunk and limbs, the texture coordinates of the point straight through the rest body."""
    vertices = body.template
    labels = body.part_labels.cpu().numpy()
    first = body.faces[:, 0].long().cpu().numpy()
    flat, group = flat_parts(labels)[first], limb_groups()[labels[first]]
    height = float(vertices[:, 1].max() - vertices[:, 1].min())
    middle = (vertices.amax(0) + vertices.amin(0)) / 2
    focal = _FAR * _PICTURE / (1.1 * height)
    view = View(focal, (_PICTURE / 2, _PICTURE / 2), (_PICTURE, _PICTURE))
    points = torch.cat((vertices - middle, vertex_normals(vertices, body.faces)), 1)
    place = texels.interpolate(points.cpu().numpy(), body.faces)
    uv = np.zeros((texels.size, texels.size, 2), np.float32)
    valid = np.zeros((texels.size, texels.size), bool)
    wanted = texels.covered & flat[np.maximum(texels.face, 0)]
    for side in (1.0, -1.0):  # seen from the front, from the back
        turn = vertices.new_tensor([-side, -1.0, -side])
        seen = (vertices - middle) * turn + vertices.new_tensor([0.0, 0.0, _FAR])
        raster = rasterise_view(seen[None], body.faces, view)
        picture_uv = interpolate(raster, body.uv_faces, body.uv[None])[0].cpu().numpy()
        face = raster.face[0].cpu().numpy()
        rows = np.nonzero(wanted & (place[..., 5] * side < 0))
        x = _PICTURE / 2 - side * place[rows][:, 0] * focal / _FAR
        y = _PICTURE / 2 - place[rows][:, 1] * focal / _FAR
        x, y = (np.clip(values, 0, _PICTURE - 1).astype(int) for values in (x, y))
        hit = face[y, x]
        partner = np.maximum(hit, 0)
        uv[rows] = picture_uv[y, x]
        valid[rows] = (hit >= 0) & flat[partner] & (group[partner] == group[texels.face[rows]])
    return uv, valid
