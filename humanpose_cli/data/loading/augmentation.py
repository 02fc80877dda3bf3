"""The random changes of pictures that the papers train with, as options and as draws from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.data.loading.camera_change import change_camera, crop_change
from humanpose_cli.data.loading.colour import ColourChange, change_colour
from humanpose_cli.data.loading.example import Example
from humanpose_cli.errors import InputError

__all__ = ["NO_AUGMENTATION", "SEGMENTER_AUGMENTATION", "WARP3D_AUGMENTATION", "Augmentation", "crop_example"]


@dataclass(frozen=True)
class Augmentation:
    """Half-widths of uniform draws about no change.

    rotation    radians; scale a share (0.1: factors 0.9 to 1.1); shift a share of the crop's side
    mirror      probability of a picture with left and right swapped
    brightness  of the whole range; contrast and saturation shares; hue degrees
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    mirror: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0


NO_AUGMENTATION = Augmentation()
# Reposing by warping 3-D features: section 3.2; its widths from the authors' public code.
WARP3D_AUGMENTATION = Augmentation(0.1, 0.1, 20 / 256, 0.5, 0.125, 0.5, 0.5, 72.0)
# Neural Body Fitting, appendix B: reflection, 0.9 to 1.1 of the size, up to 45 degrees, and jitter of the crop.
SEGMENTER_AUGMENTATION = Augmentation(math.radians(45), 0.1, 0.05, 0.5)


def crop_example(
    example: Example,
    size: int,
    random: np.random.Generator,
    augmentation: Augmentation = NO_AUGMENTATION,
    *,
    fill: float = 0.86,
    body: RiggedBody | None = None,
) -> Example:
    """The person in a square crop of `size` pixels, randomly changed; all labels follow. See `change_camera`.

    random  the same generator state gives the same example. Draws do not depend on the picture.
    fill    share of the crop that the longer side of the person's box takes before augmentation
    InputError where the person has no box.
    """
    if example.person.box is None:
        raise InputError(example.name, "has a person without a box", remedy="make the cache again with boxes")
    turn, zoom, right, down, flip, bright, contrast, saturation, hue = random.uniform(-1, 1, 9)
    a = augmentation
    change = crop_change(
        example.person.box,
        size,
        fill=fill,
        angle=a.rotation * turn,
        scale=1 + a.scale * zoom,
        shift=(a.shift * size * right, a.shift * size * down),
        mirror=bool((flip + 1) / 2 < a.mirror),
    )
    cropped = change_camera(example, change, body)
    colour = ColourChange(a.hue * hue, 1 + a.saturation * saturation, 1 + a.contrast * contrast, a.brightness * bright)
    return replace(cropped, image=change_colour(cropped.image, colour))
