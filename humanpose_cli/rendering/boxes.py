"""Rectangles of an image in which bodies are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from humanpose_cli.core.camera import Camera

NEAR = 0.05  # metres: nearer surfaces are cut off
_MARGIN = 2  # pixels around a surface


class Box(NamedTuple):
    """A rectangle of pixels: columns x0 ≤ x < x1, rows y0 ≤ y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def of_image(cls, camera: Camera) -> Box:
        """Return the rectangle of a camera's complete image."""
        return cls(0, 0, *camera.size)

    @property
    def empty(self) -> bool:
        """Whether the rectangle has no pixels."""
        return self.x1 <= self.x0 or self.y1 <= self.y0

    @property
    def shape(self) -> tuple[int, int]:
        """The height and width."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """The slices of rows and columns."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def intersect(self, box: Box) -> Box:
        """Return the common rectangle."""
        return Box(max(self.x0, box.x0), max(self.y0, box.y0), min(self.x1, box.x1), min(self.y1, box.y1))

    def union(self, box: Box) -> Box:
        """Return the smallest rectangle around both."""
        return Box(min(self.x0, box.x0), min(self.y0, box.y0), max(self.x1, box.x1), max(self.y1, box.y1))

    def slices_in(self, outer: Box) -> tuple[slice, slice]:
        """Return the slices of rows and columns in an array that covers `outer`."""
        return (slice(self.y0 - outer.y0, self.y1 - outer.y0), slice(self.x0 - outer.x0, self.x1 - outer.x0))

    def tiles(self, max_pixels: int) -> Iterator[Box]:
        """Cut the rectangle into pieces of about `max_pixels` or less, as square as possible."""
        side = max(int(max_pixels**0.5), 16)
        height, width = self.shape
        rows = -(-height // side)
        columns = -(-width // side)
        if height * width <= max_pixels:
            rows = columns = 1
        for i in range(rows):
            for j in range(columns):
                yield Box(
                    self.x0 + width * j // columns,
                    self.y0 + height * i // rows,
                    self.x0 + width * (j + 1) // columns,
                    self.y0 + height * (i + 1) // rows,
                )


def body_box(vertices: Tensor, camera: Camera) -> Box:
    """Return the rectangle of the image that a surface may cover.

    Args:
        vertices: (V, 3) float, metres in camera axes.
        camera: The image's camera.

    Returns:
        The rectangle: empty for a surface outside the image or behind the camera, the image for one that extends behind
        the camera.
    """
    depth = vertices[:, 2]
    nearest = float(depth.min())
    farthest = float(depth.max())
    if not (nearest == nearest and farthest == farthest) or farthest <= NEAR:
        return Box(0, 0, 0, 0)
    if nearest <= NEAR:
        return Box.of_image(camera)
    pixels = camera.project(vertices, near=NEAR)
    low = pixels.amin(0).tolist()
    high = pixels.amax(0).tolist()
    # Far outside, pixel numbers may exceed what an integer box needs: bound them first.
    width, height = camera.size
    low = [min(max(low[0], -8.0), width + 8.0), min(max(low[1], -8.0), height + 8.0)]
    high = [min(max(high[0], -8.0), width + 8.0), min(max(high[1], -8.0), height + 8.0)]
    box = Box(int(low[0]) - _MARGIN, int(low[1]) - _MARGIN, int(high[0]) + _MARGIN + 1, int(high[1]) + _MARGIN + 1)
    return box.intersect(Box.of_image(camera))
