"""The pinhole camera: camera axes x right, y down, z forward; pixels with (0, 0) at the top-left corner."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["DEFAULT_FOCAL_FACTOR", "back_project", "default_focal", "project"]

# A usual lens seen over the longer side (about 45°), used where neither EXIF nor the user tells the focal length.
DEFAULT_FOCAL_FACTOR = 1.2


def default_focal(width: int, height: int) -> float:
    """Focal length in pixels where nothing is known: 1.2 times the longer side."""
    return DEFAULT_FOCAL_FACTOR * max(width, height)


def project(points: Tensor, focal: Tensor, principal_point: Tensor, *, near: float = 0.1) -> Tensor:
    """Points (..., N, 3) metres, camera axes → pixels (..., N, 2).

    focal (...) pixels, principal_point (..., 2) pixels. Depth is kept at `near` metres or more, so that points
    behind the camera give finite pixels and gradients.
    """
    depth = points[..., 2:].clamp_min(near)
    return focal[..., None, None] * points[..., :2] / depth + principal_point[..., None, :]


def back_project(pixels: Tensor, depth: Tensor, focal: Tensor, principal_point: Tensor) -> Tensor:
    """Pixels (..., N, 2) at depths (..., N) metres → points (..., N, 3), camera axes."""
    xy = (pixels - principal_point[..., None, :]) / focal[..., None, None] * depth[..., None]
    return torch.cat((xy, depth[..., None]), -1)
