"""Rectangles of the image that bodies are drawn into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from humanpose_cli.core.camera import Camera

# Surfaces nearer to the camera than this (metres) are cut off.
NEAR = 0.05


class Box(NamedTuple):
    """A rectangle of pixels: columns x0 ≤ x < x1, rows y0 ≤ y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def of_image(cls, camera: Camera) -> Box:
        """Make the rectangle of the camera's entire image."""
        return cls(0, 0, *camera.size)

    @property
    def empty(self) -> bool:
        return self.x1 <= self.x0 or self.y1 <= self.y0

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)"""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle of an array of rows and columns."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def intersect(self, other: Box) -> Box:
        return Box(max(self.x0, other.x0), max(self.y0, other.y0), min(self.x1, other.x1), min(self.y1, other.y1))

    def union(self, other: Box) -> Box:
        return Box(min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1))

    def slices_in(self, outer: Box) -> tuple[slice, slice]:
        """Compute the rectangle's slices inside an array that covers `outer`."""
        return (slice(self.y0 - outer.y0, self.y1 - outer.y0), slice(self.x0 - outer.x0, self.x1 - outer.x0))

    def tiles(self, max_pixels: int) -> Iterator[Box]:
        """Cut the rectangle into pieces of at most about `max_pixels`, as square as possible."""
        side = max(int(max_pixels**0.5), 16)
        height, width = self.shape
        rows, columns = -(-height // side), -(-width // side)
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


def body_box(vertices: Tensor, camera: Camera, margin: int = 2) -> Box:
    """Find the rectangle of the image that a surface (V, 3) may cover; empty if it lies outside or behind.

    A surface that reaches behind the camera may cover anything: its rectangle is the whole image.
    """
    depth = vertices[:, 2]
    nearest, farthest = float(depth.min()), float(depth.max())
    if not (nearest == nearest and farthest == farthest) or farthest <= NEAR:
        return Box(0, 0, 0, 0)
    if nearest <= NEAR:
        return Box.of_image(camera)
    pixels = camera.project(vertices, near=NEAR)
    low, high = pixels.amin(0).tolist(), pixels.amax(0).tolist()
    # Far outside, pixel numbers may exceed what an integer box needs: bound them first.
    width, height = camera.size
    low = [min(max(low[0], -8.0), width + 8.0), min(max(low[1], -8.0), height + 8.0)]
    high = [min(max(high[0], -8.0), width + 8.0), min(max(high[1], -8.0), height + 8.0)]
    box = Box(int(low[0]) - margin, int(low[1]) - margin, int(high[0]) + margin + 1, int(high[1]) + margin + 1)
    return box.intersect(Box.of_image(camera))
