"""Rasterising triangle meshes: the public operations.

A face is seen from its front where its corners run counter-clockwise on screen, which is where the normal
(v₁ − v₀) × (v₂ − v₀) points to the camera.

`backend`: "auto" runs the Warp kernels for float32 on CPU and CUDA, else the reference in plain torch; "kernel" and
"reference" ask for one. Both decide every pixel alike, to the bit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.engine.dispatch import Backend, check_rows, check_shape, check_size, check_tensors, uses_kernel
from humanpose_cli.engine.rasterising import reference
from humanpose_cli.errors import UsageError

__all__ = ["Raster", "interpolate", "rasterise", "vertex_visibility"]

_KERNELS = "humanpose_cli.engine.rasterising.kernel"


class Raster(NamedTuple):
    """What each pixel's centre sees.

    face          (B, H, W) int32, the nearest face; −1 where there is none
    barycentrics  (B, H, W, 3) perspective-correct weights of its corners, 0 to 1; zero where there is none
    depth         (B, H, W) metres along the camera's z axis; inf where there is none
    """

    face: Tensor
    barycentrics: Tensor
    depth: Tensor


def rasterise(
    vertices: Tensor,
    faces: Tensor,
    focal: Tensor,
    principal_point: Tensor,
    size: tuple[int, int],
    *,
    near: float = 0.05,
    cull_back_faces: bool = False,
    backend: Backend = "auto",
) -> Raster:
    """The nearest face at every pixel centre (x + 0.5, y + 0.5) of B pictures of `size` (height, width).

    vertices         (B, V, 3) metres, camera axes
    faces            (F, 3) integer, the same mesh in every picture
    focal            (B,) pixels, positive; principal_point (B, 2) pixels
    near             metres; nothing nearer is seen, and faces that cross this depth are cut there
    cull_back_faces  leaves out faces seen from behind

    Equal depths go to the lowest face id, so the result never depends on the order of work. Neighbouring faces
    leave no gap. Faces with a corner that is not finite are left out. Not differentiable; gradients to
    attributes come from `interpolate`. UsageError for shapes that do not fit.
    """
    check_shape("vertices", vertices, "B", "V", 3)
    check_shape("faces", faces, "F", 3)
    check_shape("focal", focal, vertices.shape[0])
    check_shape("principal_point", principal_point, vertices.shape[0], 2)
    check_tensors(faces, vertices=vertices, focal=focal, principal_point=principal_point)
    height, width = check_size(size, "height", "width")
    if not near > 0:
        raise UsageError("near", "must be positive", expected="metres", got=str(near))
    check_rows("faces", faces, vertices.shape[1])
    faces = faces.int()
    if uses_kernel(backend, _KERNELS, vertices.device, _unfit(vertices)):
        from humanpose_cli.engine.rasterising import autograd

        compute = autograd.rasterise
    else:
        compute = reference.rasterise
    with torch.no_grad():
        return Raster(*compute(vertices, faces, focal, principal_point, (height, width), near, cull_back_faces))


def interpolate(raster: Raster, faces: Tensor, attributes: Tensor, *, backend: Backend = "auto") -> Tensor:
    """Attributes of the visible surface: (B, H, W, C), zero where no face is.

    raster      of `rasterise`
    faces       (F, 3) integer rows into `attributes`: the mesh's own faces, or its UV faces
    attributes  (B, N, C) or (1, N, C), for example colours, normals or texture coordinates

    Differentiable (once) to attributes; to barycentrics only by the reference. UsageError for shapes that do not fit.
    """
    check_shape("faces", faces, "F", 3)
    check_shape("attributes", attributes, "B", "N", "C")
    if attributes.shape[0] != 1:
        check_shape("attributes", attributes, raster.face.shape[0], "N", "C")
    check_tensors(faces, raster.face, attributes=attributes, barycentrics=raster.barycentrics)
    check_shape("raster.barycentrics", raster.barycentrics, *raster.face.shape, 3)
    check_rows("faces", faces, attributes.shape[1])
    check_rows("raster.face", raster.face, faces.shape[0], least=-1)
    faces = faces.int()
    unfit = _unfit(attributes)
    if not unfit and raster.barycentrics.requires_grad and torch.is_grad_enabled():
        unfit = "barycentrics that require a gradient"
    if uses_kernel(backend, _KERNELS, attributes.device, unfit):
        from humanpose_cli.engine.rasterising import autograd

        compute = autograd.interpolate
    else:
        compute = reference.interpolate
    return compute(raster.face.int(), raster.barycentrics, faces, attributes)


def vertex_visibility(
    raster: Raster,
    faces: Tensor,
    vertices: Tensor,
    focal: Tensor,
    principal_point: Tensor,
    *,
    tolerance: float = 0.005,
) -> Tensor:
    """Which vertices the camera sees: (B, V) bool.

    A vertex is seen where it projects into the picture, at least one of its faces shows its front, and none of the
    four pixel centres around it hides it: its depth is at most the greatest of theirs plus `tolerance` metres.
    raster, faces, vertices, focal and principal_point as given to and returned by `rasterise`. UsageError for shapes
    that do not fit.
    """
    check_shape("faces", faces, "F", 3)
    check_shape("vertices", vertices, raster.face.shape[0], "V", 3)
    check_shape("focal", focal, vertices.shape[0])
    check_shape("principal_point", principal_point, vertices.shape[0], 2)
    check_tensors(faces, vertices=vertices, depth=raster.depth, focal=focal, principal_point=principal_point)
    check_rows("faces", faces, vertices.shape[1])
    with torch.no_grad():
        batch, height, width = raster.depth.shape
        depth = vertices[..., 2]
        ahead = depth > 0
        pixels = focal[:, None, None] * vertices[..., :2] / torch.where(ahead, depth, 1.0)[..., None]
        pixels = pixels + principal_point[:, None]
        x, y = pixels.unbind(-1)
        inside = ahead & (x >= 0) & (x < width) & (y >= 0) & (y < height)  # [B, V]
        if not inside.any():
            return inside
        base = torch.where(inside[..., None], pixels - 0.5, torch.zeros_like(pixels)).floor().long()
        limit = torch.tensor((width - 1, height - 1), device=base.device)
        surface = torch.full_like(depth, -float("inf"))
        rows = torch.arange(batch, device=base.device)[:, None]
        for shift in ((0, 0), (1, 0), (0, 1), (1, 1)):
            near_by = (base + torch.tensor(shift, device=base.device)).clamp(min=0).minimum(limit)
            surface = torch.maximum(surface, raster.depth[rows, near_by[..., 1], near_by[..., 0]])
        return inside & (depth <= surface + tolerance) & _has_front_face(vertices, faces)


def _unfit(tensor: Tensor) -> str:
    """Why the kernels cannot take these arguments."""
    return "" if tensor.dtype == torch.float32 else str(tensor.dtype)


def _has_front_face(vertices: Tensor, faces: Tensor) -> Tensor:
    """Vertices (B, V) with at least one face whose normal points to the camera."""
    corner = vertices[:, faces.long()]  # [B, F, 3, 3]
    a, b, c = corner.unbind(2)
    front = (torch.linalg.cross(b - a, c - a) * a).sum(-1) < 0  # [B, F]
    result = torch.zeros(vertices.shape[:2], dtype=torch.int32, device=vertices.device)
    rows = faces.long().reshape(1, -1).expand(vertices.shape[0], -1)
    result.scatter_reduce_(1, rows, front.int().repeat_interleave(3, dim=1), "amax")
    return result > 0
