"""The pinhole camera: camera axes x right, y down, z forward; pixels with (0, 0) at the top-left corner.

A `Camera` holds plain numbers for one camera, or arrays with leading dimensions for many (numpy or torch; torch keeps
gradients). Importing this module loads neither torch nor OpenCV.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from humanpose_cli.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from humanpose_cli.core.crop import Crop

# A usual lens over the longer side (about 58°), used if neither EXIF nor the user gives the focal length. Phones and
# video cameras have 0.7 to 1.2; underestimated focal lengths cost less than overestimated ones.
DEFAULT_FOCAL_FACTOR = 0.9


def default_focal(width: int, height: int) -> float:
    """Return the default focal length in pixels: `DEFAULT_FOCAL_FACTOR` times the longer side."""
    return DEFAULT_FOCAL_FACTOR * max(width, height)


def project(points: Any, focal: Any, principal_point: Any, *, near: float = 0.1) -> Any:
    """Project points to pixels; numpy arrays or torch tensors.

    Args:
        points: (..., N, 3) float, metres in camera axes. The points.
        focal: (...) float, pixels. Focal lengths.
        principal_point: (..., 2) float, pixels. Principal points.
        near: Minimum depth in metres, so that points behind the camera give finite pixels and gradients.

    Returns:
        (..., N, 2) float, pixels.
    """
    depth = points[..., 2:].clip(near)
    return focal[..., None, None] * points[..., :2] / depth + principal_point[..., None, :]


def camera_centres(rotations: Any, translations: Any) -> Any:
    """Return the positions (T, 3) of cameras with rotations (T, 3, 3) and translations (T, 3) from world to camera."""
    return -np.einsum("tji,tj->ti", rotations, translations)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, or several with leading dimensions `...`.

    Attributes:
        focal: Float or (...) float, pixels. Focal length.
        principal_point: (x, y) or (..., 2) float, pixels. Principal point.
        size: (width, height) of the image in pixels; (0, 0) if unknown.
    """

    focal: Any
    principal_point: Any
    size: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if not self._many and not 0 < self.focal < math.inf:
            raise UsageError("focal length", "must be positive and finite", expected="pixels", got=str(self.focal))
        if self.size != (0, 0) and min(self.size) < 1:
            raise UsageError("image size", "is empty", expected="width, height ≥ 1", got=str(self.size))

    @property
    def _many(self) -> bool:
        return getattr(self.focal, "ndim", 0) > 0

    @classmethod
    def of_image(
        cls, size: tuple[int, int], focal: float | None = None, principal_point: tuple[float, float] | None = None
    ) -> Camera:
        """Make the camera of an image.

        Args:
            size: (width, height) of the image in pixels.
            focal: Focal length in pixels; None for `default_focal`.
            principal_point: x and y in pixels; None for the middle of the image.

        Returns:
            The camera.
        """
        width, height = size
        focal = default_focal(width, height) if focal is None else focal
        return cls(focal, (width / 2, height / 2) if principal_point is None else principal_point, size)

    @classmethod
    def stack(cls, cameras: Iterable[Camera]) -> Camera:
        """Stack N single cameras to arrays (N,) and (N, 2) float64, without their sizes."""
        pairs = [(camera.focal, camera.principal_point) for camera in cameras]
        centres = np.array([centre for _, centre in pairs], np.float64).reshape(len(pairs), 2)
        return cls(np.array([focal for focal, _ in pairs], np.float64), centres)

    def tensors(self, dtype: Any = None, device: Any = None) -> Camera:
        """Convert the camera to torch tensors, by default of float32."""
        import torch

        def tensor(values: Any) -> Tensor:
            return torch.as_tensor(values).to(device, dtype or torch.float32)

        return replace(self, focal=tensor(self.focal), principal_point=tensor(self.principal_point))

    def __getitem__(self, index: Any) -> Camera:
        """Select some of several cameras; a single index gives plain numbers."""
        focal, centre = self.focal[index], self.principal_point[index]
        if focal.ndim:
            return replace(self, focal=focal, principal_point=centre)
        return replace(self, focal=float(focal), principal_point=(float(centre[0]), float(centre[1])))

    def project(self, points: Any, *, near: float = 0.1) -> Any:
        """Project points to pixels; numpy arrays or torch tensors.

        Args:
            points: (..., N, 3) float, metres in camera axes. The points; for a single camera also (3,).
            near: Minimum depth in metres, so that points behind the camera give finite pixels and gradients.

        Returns:
            (..., N, 2) float, pixels.
        """
        if self._many:
            return project(points, self.focal, self.principal_point, near=near)
        centre = self.principal_point
        centre = points.new_tensor(centre) if hasattr(points, "new_tensor") else np.asarray(centre)
        return self.focal * points[..., :2] / points[..., 2:].clip(near) + centre

    def scaled(self, factor: float) -> Camera:
        """Scale the camera to an image with `factor` times as many pixels a side."""
        x, y = self.principal_point
        size = round(self.size[0] * factor), round(self.size[1] * factor)
        return Camera(self.focal * factor, (x * factor, y * factor), size)

    def part(self, box: tuple[int, int, int, int]) -> Camera:
        """Make the camera of the part x0 ≤ x < x1, y0 ≤ y < y1 of the image."""
        (x, y), (x0, y0, x1, y1) = self.principal_point, box
        return Camera(self.focal, (x - x0, y - y0), (x1 - x0, y1 - y0))

    def cropped(self, crop: Crop) -> Camera:
        """Make the camera of a crop; `crop.directions` rotates points to its axes."""
        x, y = crop.points(self.principal_point).tolist()
        return Camera(self.focal * crop.scale, (x, y), crop.size)


@dataclass(frozen=True)
class FixedCamera:
    """A camera with a fixed position of the body (Neural Body Fitting, appendix B).

    Attributes:
        focal: Focal length in pixels for an image of `size` pixels square; its centre is the principal point.
        size: Side of the image in pixels.
        root: (3,) float, metres in camera axes. The pelvis joint of every body.
    """

    focal: float = 5000.0
    size: int = 512
    root: tuple[float, float, float] = (-0.012, -0.108, 20.33)

    def focal_at(self, size: int) -> float:
        """Return the focal length in pixels for an image of `size` pixels square."""
        return self.focal * size / self.size


# The public code's translation (−0.01, 0.115, 20.3) added to SMPL's mean resting pelvis, so that it is also right for
# bodies with another resting pelvis.
NBF_CAMERA = FixedCamera()
