"""The part of a photograph around one person."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.garment_labels import GarmentLabels
from humanpose_cli.core.camera import Camera
from humanpose_cli.rendering.boxes import Box, body_box


@dataclass(frozen=True, eq=False)
class PhotoCrop:
    """The part of a photo around one person.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        view: The crop's camera.
        box: The crop's position in the photo.
        mask: (h, w) float32, 0…1. The confidence that a pixel shows the person.
        others: (h, w) bool. The pixels that show somebody else.
    """

    pixels: NDArray[np.uint8]
    view: Camera
    box: Box
    mask: NDArray[Any]
    others: NDArray[np.bool_]

    @cached_property
    def garments(self) -> NDArray[np.uint8]:
        """The person's garments (h, w): 0 for the background, then `GARMENTS`."""
        return self.labels.in_image(self.view.size)

    @cached_property
    def labels(self) -> GarmentLabels:
        """The probabilities of the person's garments."""
        return GarmentLabels.of_mask(self.pixels, self.mask)


def crop_photo(
    photo: NDArray[np.uint8], view: Camera, mask: NDArray[Any], others: NDArray[np.floating], vertices: Tensor
) -> PhotoCrop:
    """Cut a person out of a photo, with a margin around the mask and the fitted body.

    Args:
        photo: (H, W, 3) uint8 RGB.
        view: The photo's camera.
        mask: (H, W) float, 0…1. The person.
        others: (H, W) float, 0…1. All other people.
        vertices: (V, 3) float, metres in camera axes. The fitted body.

    Returns:
        The crop. A pixel belongs to the person or to the others, whichever is more likely.
    """
    box = body_box(vertices, view)
    ys, xs = np.nonzero(mask >= 0.5)
    if len(ys):
        mask_box = Box(int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        box = mask_box if box.empty else box.union(mask_box)
    margin = 8 + max(box.shape) // 20
    box = Box(box.x0 - margin, box.y0 - margin, box.x1 + margin, box.y1 + margin).intersect(Box.of_image(view))
    person = mask[box.slices]
    others = others[box.slices]
    return PhotoCrop(
        pixels=np.ascontiguousarray(photo[box.slices]),
        view=view.part(box),
        box=box,
        mask=np.where(others > person, 0, person).astype(np.float32),
        others=(others >= 0.5) & (others > person),
    )
