"""Maps between pixels of an image and of a crop: `Affine2D` in general, `Crop` for a similarity; boxes.

Pixels are counted from corners: (0, 0) is the top-left corner of the top-left pixel and (0.5, 0.5) its centre. OpenCV
counts from pixel centres; only `Affine2D.opencv` converts. Importing this module loads neither torch nor OpenCV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
_MIRRORED_AXES = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Affine2D:
    """The map x ↦ A x + b between two pixel frames.

    Attributes:
        matrix: (2, 3) float64. A in the first two columns, b in the last.
    """

    matrix: NDArray[np.float64]

    @classmethod
    def identity(cls) -> Affine2D:
        """Make the identity."""
        return cls(np.eye(2, 3))

    @classmethod
    def mirror(cls, width: float) -> Affine2D:
        """Make the map that swaps left and right of an image of `width` pixels."""
        return cls(np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0]]))

    def points(self, points: ArrayLike) -> Array:
        """Map pixels (..., 2) of the source to pixels of the target."""
        return np.asarray(points) @ self.matrix[:, :2].T + self.matrix[:, 2]

    def __matmul__(self, first: Affine2D) -> Affine2D:
        """Compose maps: `first`, then this one."""
        return Affine2D(self.matrix @ np.concatenate((first.matrix, [[0.0, 0.0, 1.0]])))

    def inverse(self) -> Affine2D:
        """Invert the map."""
        return Affine2D(np.linalg.inv(np.concatenate((self.matrix, [[0.0, 0.0, 1.0]])))[:2])

    def scaled_target(self, x: float, y: float) -> Affine2D:
        """Scale the target to x times as many pixels across and y times as many down."""
        return Affine2D(self.matrix * np.array([[x], [y]]))

    def scaled_source(self, x: float, y: float) -> Affine2D:
        """Adapt the map to a source that is reduced x times across and y times down."""
        return Affine2D(self.matrix * np.array([x, y, 1.0]))

    @property
    def opencv(self) -> NDArray[np.float64]:
        """(2, 3) float64. The map for OpenCV, which counts both frames from pixel centres."""
        matrix = self.matrix.astype(np.float64)
        matrix[:, 2] += 0.5 * (matrix[:, 0] + matrix[:, 1]) - 0.5
        return matrix

    def warp(
        self, image: Array, size: tuple[int, int], interpolation: int, *, border: Any = 0, border_mode: int = 0
    ) -> Array:
        """Resample an image or a map of its pixels in the target frame.

        Args:
            image: (H, W[, C]). The image.
            size: (width, height) of the result.
            interpolation: OpenCV's flags; with cv2.WARP_INVERSE_MAP this map leads from the result to the image.
            border: Value outside the image if `border_mode` is cv2.BORDER_CONSTANT (0).
            border_mode: OpenCV's border mode.

        Returns:
            (height, width[, C]). The resampled image.
        """
        import cv2

        borders = {"borderMode": border_mode, "borderValue": border}
        return np.asarray(cv2.warpAffine(image, self.opencv, size, flags=interpolation, **borders))


@dataclass(frozen=True)
class Crop:
    """A part of an image: pixel' = scale · R(angle) · pixel + shift, then mirrored left to right.

    A camera at the same position, rolled about its optical axis and with another focal length and principal point,
    takes the crop. Each label of the image has an exact counterpart: focal' = scale · focal, the principal point moves
    like a pixel, and X' = R_z(angle) X in camera axes.

    Attributes:
        scale: Pixels of the crop per pixel of the image.
        angle: Angle in radians, clockwise in the image (x right, y down).
        shift: (x, y) in pixels of the crop.
        size: (width, height) of the crop in pixels.
        mirror: Whether left and right are swapped.
    """

    scale: float
    angle: float
    shift: tuple[float, float]
    size: tuple[int, int]
    mirror: bool = False

    @cached_property
    def affine(self) -> Affine2D:
        """The map from pixels of the image to pixels of the crop."""
        c, s = self.scale * math.cos(self.angle), self.scale * math.sin(self.angle)
        matrix = np.array([[c, -s, self.shift[0]], [s, c, self.shift[1]]])
        if self.mirror:
            matrix[0] = -matrix[0]
            matrix[0, 2] += self.size[0]
        return Affine2D(matrix)

    @cached_property
    def roll(self) -> NDArray[np.float64]:
        """(3, 3) float64. Rotation about the optical axis from the image's camera axes to the crop's, unmirrored."""
        from scipy.spatial.transform import Rotation

        return np.asarray(Rotation.from_euler("z", self.angle).as_matrix(), np.float64)

    def points(self, points: ArrayLike) -> Array:
        """Map pixels (..., 2) of the image to pixels of the crop, float32."""
        return np.asarray(self.affine.points(points), np.float32)

    def directions(self, vectors: Array) -> Array:
        """Rotate vectors or points (..., 3) from the image's camera axes to the crop's, float32."""
        rotated_vectors = vectors @ self.roll.T
        return np.asarray(rotated_vectors * _MIRRORED_AXES if self.mirror else rotated_vectors, np.float32)

    def warp(self, image: Array, interpolation: int, border: Any = 0) -> Array:
        """Resample an image or map (H, W[, C]), with `border` outside it."""
        if self == Crop(1.0, 0.0, (0.0, 0.0), image.shape[1::-1], mirror=True):  # no interpolation
            return np.ascontiguousarray(image[:, ::-1])
        return self.affine.warp(image, self.size, interpolation, border=border)

    def image(self, image: Array) -> Array:
        """Crop an image or a map of its pixels (H, W[, C]), uint8 or float32, with 0 outside it.

        For a scale below 0.5 the image is averaged first, because bilinear interpolation would skip most pixels.
        """
        import cv2

        if self.scale >= 0.5:
            return self.warp(image, cv2.INTER_LINEAR)
        halvings = max(1, math.floor(-math.log2(self.scale)))
        height, width = image.shape[:2]
        small_size = max(1, width >> halvings), max(1, height >> halvings)
        small = np.asarray(cv2.resize(image, small_size, interpolation=cv2.INTER_AREA))
        from_small = self.affine.scaled_source(width / small_size[0], height / small_size[1])
        return from_small.warp(small, self.size, cv2.INTER_LINEAR)


def crop_around_box(
    box: Array,
    size: int,
    *,
    fill: float = 0.86,
    angle: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    mirror: bool = False,
) -> Crop:
    """Make a square crop with a box in its middle, perhaps augmented.

    Args:
        box: (4,) float, pixels. x0, y0, x1, y1.
        size: Side of the crop in pixels.
        fill: Share of the crop for the box's longer side: 440 of 512 in Neural Body Fitting (section 4.1).
        angle: Angle in radians by which the content is rotated about the box's centre.
        scale: Factor by which the content is scaled about the box's centre.
        shift: Pixels by which the content is then moved.
        mirror: Whether left and right are swapped.

    Returns:
        The crop.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    factor = scale * fill * size / max(x1 - x0, y1 - y0, 1e-6)
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    c, s = math.cos(angle), math.sin(angle)
    centre_in_crop = factor * np.array([c * centre[0] - s * centre[1], s * centre[0] + c * centre[1]])
    offset = size / 2 - centre_in_crop + np.asarray(shift)
    return Crop(factor, angle, (float(offset[0]), float(offset[1])), (size, size), mirror)


def box_overlap(a: Array, b: Array) -> Array:
    """Compute the intersection over union (...) of boxes (..., 4) x0 y0 x1 y1, which are broadcast."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.prod(np.clip(sides, 0, None), axis=-1)
    areas = [np.prod(np.clip(box[..., 2:] - box[..., :2], 0, None), axis=-1) for box in (a, b)]
    return intersection / np.maximum(areas[0] + areas[1] - intersection, 1e-12)


def best_pairs(similarity: Array, minimum: float) -> list[tuple[int, int]]:
    """List pairs (row, column) of a table (R, C) of positive values, largest first, down to the value `minimum`.

    Each row and each column occurs at most once.
    """
    remaining, pairs = similarity.copy(), []
    while remaining.size and remaining.max() >= minimum:
        row, column = np.unravel_index(int(remaining.argmax()), remaining.shape)
        pairs.append((int(row), int(column)))
        remaining[row], remaining[:, column] = -1, -1
    return pairs
