"""Bodies from the side, which shows how far away each limb is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.core.camera import Camera
from humanpose_cli.rendering.overlay import draw_overlay

_FAR = 100.0  # extents of the bodies to the camera: nearly without perspective
_FILL = 0.92  # share of the image that bodies take
_GREY = 128


@dataclass(frozen=True)
class SideView:
    """A view from the right of the photograph's image, the photograph's camera to the left: depth runs to the right.

    centre  (3,) metres, camera axes: in the middle of the image
    reach   metres from there to the image's edges, in depth and in height; if the image has another shape, more is
            shown of one of them
    """

    centre: tuple[float, float, float]
    reach: tuple[float, float]

    @classmethod
    def around(cls, points: Tensor, margin: float = 0.0) -> SideView:
        """Fit a view to all points (..., 3), metres, camera axes; those that are not finite do not count.

        margin  metres that bodies reach beyond the points
        """
        flat = points.reshape(-1, 3)
        flat = flat[torch.isfinite(flat).all(-1)]
        if not len(flat):
            return cls((0.0, 0.0, 1.0), (1.0, 1.0))
        low, high = flat.amin(0), flat.amax(0)
        x, y, z = ((low + high) / 2).tolist()
        _, height, depth = ((high - low) / 2 + margin).clamp_min(0.1).tolist()
        return cls((x, y, z), (depth / _FILL, height / _FILL))

    def draw(
        self,
        size: tuple[int, int],
        vertices: Tensor,
        faces: Tensor,
        *,
        track_ids: Sequence[int] | None = None,
        hatched: Tensor | None = None,
    ) -> NDArray[np.uint8]:
        """Draw the image (H, W, 3) of `size` (width, height); other arguments as of `draw_overlay`."""
        x, y, z = (vertices - vertices.new_tensor(self.centre)).unbind(-1)
        distance = _FAR * max(self.reach)
        pixels = min(side / 2 / reach for side, reach in zip(size, self.reach, strict=True))  # of a metre
        blank = np.full((size[1], size[0], 3), _GREY, np.uint8)
        camera = Camera.of_image(size, pixels * distance)
        points = torch.stack((z, y, distance - x), -1)
        return draw_overlay(blank, points, faces, camera, track_ids=track_ids, hatched=hatched)
