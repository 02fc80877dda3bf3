"""The z-buffer and its interpolation in plain torch: the oracle for the kernels.

Works with any floating dtype. `op.py` checks the shapes. The kernels decide each pixel by the same operations: the
offset of a corner v from a pixel centre c is u = f·(x, y) − z·(c − principal point). The edge values
e₀ = edge(u₁, u₂), e₁ and e₂ are proportional to the perspective-correct barycentrics and have one sign inside the face.
Two faces that share an edge compute the same products for it, so no pixel falls between them. Corners behind the camera
need no clipping: only the depth Σ e z / Σ e must be `near` or more.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Pixels by which a face's bounds are widened, so that rounding in them never decides about a pixel.
BOUNDS_SLACK = 0.02
# Pairs of a face and a pixel of its bounds that are tested together.
_PAIRS_AT_ONCE = 1 << 21


Drawing = tuple[Tensor, Tensor, Tensor]  # face, barycentrics and depth of all samples


def draw(
    vertices: Tensor,
    faces: Tensor,
    focal: Tensor,
    principal_points: Tensor,
    size: tuple[int, int],
    near: float,
    cull_back_faces: bool,
) -> Drawing:
    """Compute `op.draw_samples` in plain torch, with principal points (B, S, 2)."""
    height, width = size
    samples, dtype, device = principal_points.shape[1], vertices.dtype, vertices.device
    batch = len(vertices) * samples
    face = torch.full((batch, height, width), -1, dtype=torch.int32, device=device)
    barycentrics = torch.zeros((batch, height, width, 3), dtype=dtype, device=device)
    depth = torch.full((batch, height, width), float("inf"), dtype=dtype, device=device)
    if face.numel() and faces.numel():
        for i, point in enumerate(principal_points.flatten(0, 1)):
            corners = vertices[i // samples][faces.long()]  # [F, 3, 3]
            view = (focal[i // samples], point, near, cull_back_faces)
            _one_image(corners, view, (face[i], barycentrics[i], depth[i]))
    return face, barycentrics, depth


def read(drawing: Drawing) -> tuple[Tensor, Tensor, Tensor]:
    """Return face, barycentrics and depth of all samples."""
    return drawing


def _one_image(corners: Tensor, view: tuple[Tensor, Tensor, float, bool], out: tuple[Tensor, Tensor, Tensor]) -> None:
    """Fill one image's face (H, W), barycentrics (H, W, 3) and depth (H, W)."""
    focal, principal_point, near, _ = view
    face, barycentrics, depth = out
    height, width = face.shape
    first, extent = _pixel_bounds(corners, focal, principal_point, near, (height, width))
    hits = [_hits(corners, ids, first, extent, view, width) for ids in _chunks(extent.prod(-1), _PAIRS_AT_ONCE)]
    if not hits:
        return
    pixels, ids, weights, depths = (torch.cat(part) for part in zip(*hits, strict=True))
    flat_face, flat_depth = face.view(-1), depth.view(-1)
    flat_depth.scatter_reduce_(0, pixels, depths, "amin")
    nearest = depths == flat_depth[pixels]
    none = torch.full_like(flat_face, torch.iinfo(torch.int32).max)
    winner = none.scatter_reduce(0, pixels[nearest], ids[nearest].int(), "amin")
    visible = nearest & (ids == winner[pixels])
    flat_face[pixels[visible]] = ids[visible].int()
    barycentrics.view(-1, 3)[pixels[visible]] = weights[visible]


def _pixel_bounds(
    corners: Tensor, focal: Tensor, principal_point: Tensor, near: float, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the first pixel (F, 2) and the extent (F, 2), x and y, of the visible part of each face."""
    # The bounds hold what lies beyond half the near plane's distance: rounding at a far corner can move the depth of a
    # pixel that far, and the depth decides.
    near = 0.5 * near
    following = corners.roll(-1, 1)
    z, next_z = corners[..., 2], following[..., 2]
    crossing = (z < near) != (next_z < near)
    step = (near - z) / torch.where(crossing, next_z - z, torch.ones_like(z))
    cut = torch.cat((corners + step[..., None] * (following - corners))[..., None, :2].unbind(1), 1)
    points = torch.cat((corners[..., :2] / z[..., None], cut / near), 1)  # [F, 6, 2]
    valid = torch.cat((z >= near, crossing), 1)[..., None]
    # The point where an edge meets the plane is less exact; the bounds grow by that error.
    slack = BOUNDS_SLACK + crossing.any(1) * (1e-6 * focal / near) * corners.abs().amax((1, 2))
    centre = principal_point - 0.5
    low = focal * torch.where(valid, points, torch.full_like(points, float("inf"))).amin(1) + centre
    high = focal * torch.where(valid, points, torch.full_like(points, -float("inf"))).amax(1) + centre
    limit = torch.tensor((size[1], size[0]), device=corners.device)
    low, high = (low - slack[:, None]).ceil(), (high + slack[:, None]).floor()
    visible = (corners.isfinite().all(-1).all(-1))[:, None] & valid.any(1) & (low <= high)
    first = torch.where(visible, low, torch.zeros_like(low)).clamp(min=0).minimum(limit).long()
    end = torch.where(visible, high + 1, torch.zeros_like(high)).clamp(min=0).minimum(limit).long()
    return first, (end - first).clamp(min=0)


def _chunks(areas: Tensor, max_area: int) -> list[Tensor]:
    """Split the faces with pixels into runs that cover about `max_area` pixels each."""
    ids = areas.nonzero().flatten()
    run = (areas[ids].cumsum(0) - 1) // max_area
    return list(ids.split(run.unique_consecutive(return_counts=True)[1].tolist()))


def _hits(
    corners: Tensor, ids: Tensor, first: Tensor, extent: Tensor, view: tuple[Tensor, Tensor, float, bool], width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find the pixels that faces cover: pixel (P,), face (P,), barycentrics (P, 3), depth (P,)."""
    focal, principal_point, near, cull_back_faces = view
    areas = extent[ids].prod(-1)
    pair_face = ids.repeat_interleave(areas)
    pixel = torch.arange(pair_face.shape[0], device=ids.device)
    pixel = pixel - (areas.cumsum(0) - areas).repeat_interleave(areas)
    columns = extent[pair_face, 0]
    x, y = first[pair_face, 0] + pixel % columns, first[pair_face, 1] + pixel // columns
    centre = torch.stack((x, y), -1).to(corners.dtype) + 0.5 - principal_point

    corner = corners[pair_face]  # [P, 3, 3]
    u = focal * corner[..., :2] - corner[..., 2:] * centre[:, None]  # [P, 3, 2]
    edges = torch.stack((_edge(u[:, 1], u[:, 2]), _edge(u[:, 2], u[:, 0]), _edge(u[:, 0], u[:, 1])), -1)
    total = edges[:, 0] + edges[:, 1] + edges[:, 2]
    inside = (edges >= 0).all(-1) & (total > 0)
    if not cull_back_faces:
        inside |= (edges <= 0).all(-1) & (total < 0)
    weights = edges * (1 / total)[:, None]
    z = corner[..., 2]
    depth = weights[:, 0] * z[:, 0] + weights[:, 1] * z[:, 1] + weights[:, 2] * z[:, 2]
    hit = inside & (depth >= near) & depth.isfinite()
    return (y * width + x)[hit], pair_face[hit], weights[hit], depth[hit]


def _edge(a: Tensor, b: Tensor) -> Tensor:
    """Return twice the area between two offsets, positive if the pixel is on the inner side of a front face's edge."""
    return a[:, 1] * b[:, 0] - a[:, 0] * b[:, 1]


def interpolate(face: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """Compute `op.interpolate` in plain torch."""
    result = attributes.new_zeros((*face.shape, attributes.shape[-1]))
    b, y, x = (face >= 0).nonzero(as_tuple=True)
    corners = faces[face[b, y, x].long()].long()  # [P, 3]
    rows = b if attributes.shape[0] != 1 else torch.zeros_like(b)
    values = attributes[rows[:, None], corners]  # [P, 3, C]
    averages = (barycentrics[b, y, x].to(values.dtype)[..., None] * values).sum(1)
    return result.index_put((b, y, x), averages)
