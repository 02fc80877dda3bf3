"""Layers of a reposed image, for compositing: person, shadow, background, people in front, matte and depth.

In display values (sRGB) the image is exactly

    front over (person over background · (1 − shadow))

with straight alpha. EXR files hold linear light and premultiplied alpha, in which soft edges and shadows differ
slightly.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.io.exr import colour_channels, exr_of_channels
from humanpose_cli.io.images import encode_image
from humanpose_cli.io.plates import Plate
from humanpose_cli.outputs.atomic import write_bytes

Image8 = NDArray[np.uint8]
_EXPONENT = 2.2  # of a display, about: what a factor of display values is in linear light
_MILLIMETRES = 65535  # the largest depth that a 16-bit PNG holds


@dataclass(frozen=True, eq=False)
class Layers:
    """The layers of a reposed image.

    Attributes:
        person: (H, W, 4) uint8 sRGB, straight alpha. The reposed people.
        shadow: (H, W) float32, 0…1. The share of light that their shadows take.
        background: (H, W, 3) uint8 sRGB. The scene without them; None if it is transparent.
        front: (H, W, 4) uint8 sRGB, straight alpha. The photograph's people in front of them.
        matte: (H, W) float32, 0…1. The visibility of the reposed people.
        depth: (H, W) float32, metres along the camera's axis. The reposed people; 0 elsewhere.
    """

    person: Image8
    shadow: NDArray[np.float32]
    background: Image8 | None
    front: Image8
    matte: NDArray[np.float32]
    depth: NDArray[np.float32]

    def sized(self, size: tuple[int, int]) -> Layers:
        """Resize all layers to (width, height) pixels."""
        scale = size[0] / self.shadow.shape[1]
        flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR

        def resized(values: NDArray[Any] | None, name: str) -> Any:
            if values is None:
                return None
            if values.ndim == 3 and values.shape[2] == 4:  # colours count as much as they are visible
                solid = values.astype(np.float32)
                solid[..., :3] *= solid[..., 3:] / np.float32(255)
                small = cv2.resize(solid, size, interpolation=flags)
                small[..., :3] *= np.float32(255) / np.maximum(small[..., 3:], np.float32(1e-6))
                return np.clip(small + 0.5, 0, 255).astype(np.uint8)
            return cv2.resize(values, size, interpolation=cv2.INTER_NEAREST if name == "depth" else flags)

        return Layers(**{field.name: resized(getattr(self, field.name), field.name) for field in fields(self)})

    def exr(self, image: Image8, plate: Plate | None = None) -> bytes:
        """Encode a multi-layer EXR file: the image as R, G, B (and A), and person.R, shadow.A, … depth.Z.

        Half floats, depth in 32 bits; colours in the space of the photograph's `plate`, if it is one.
        """
        linear = (1 - self.shadow) ** _EXPONENT
        layers = {"": image, "person.": self.person, "front.": self.front, "background.": self.background}
        channels = {"shadow.A": np.float16(1 - linear), "matte.A": np.float16(self.matte), "depth.Z": self.depth}
        light_of, primaries = (None, None) if plate is None else (plate.light_of, plate.space.primaries)
        for layer, pixels in layers.items():
            channels |= {} if pixels is None else colour_channels(layer, pixels, light_of)
        return exr_of_channels(channels, primaries)

    def pngs(self) -> dict[str, bytes]:
        """Encode PNG files by layer: shadow and matte as grey levels, depth as 16-bit millimetres, at most 65.5 m."""
        grey = {name: np.rint(255 * getattr(self, name)).astype(np.uint8) for name in ("shadow", "matte")}
        images: dict[str, NDArray[Any]] = {"person": self.person, "front": self.front, **grey}
        images["depth"] = np.rint(np.clip(1000 * self.depth, 0, _MILLIMETRES)).astype(np.uint16)
        if self.background is not None:
            images["background"] = self.background
        return {name: encode_image(pixels, ".png", photograph=True) for name, pixels in images.items()}


def layer_files(image: Path, *, numbered: bool, transparent: bool) -> tuple[Path, ...]:
    """Return the paths of the layers of an image.

    Args:
        image: The image's path.
        numbered: Whether the image is one of several numbered ones. Their layers are in a folder `layers`: NAME.exr,
            and NAME.png in a folder for each layer. Otherwise they are beside the image: NAME.layers.exr,
            NAME.person.png, ….
        transparent: Whether there is no background.
    """
    names = [field.name for field in fields(Layers) if not (transparent and field.name == "background")]
    if numbered:
        folder = image.parent / "layers"
        return (folder / f"{image.stem}.exr", *(folder / name / f"{image.stem}.png" for name in names))
    return (image.with_name(f"{image.stem}.layers.exr"), *(image.with_name(f"{image.stem}.{n}.png") for n in names))


def write_layers(layers: Layers, image: Image8, files: tuple[Path, ...], plate: Plate | None = None) -> None:
    """Write the files of `layer_files`, the EXR file in the space of the photograph's plate."""
    pngs = layers.pngs()
    names = [field.name for field in fields(layers) if field.name in pngs]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
    for path, data in zip(files, (layers.exr(image, plate), *(pngs[name] for name in names)), strict=True):
        write_bytes(path, data)


def lay_over(below: NDArray[np.float32], above: NDArray[np.float32]) -> None:
    """Compose an image `above` over `below` in place; (H, W, 4) float32 in 0…255, straight alpha."""
    a = above[..., 3:] / 255
    b = below[..., 3:] / 255
    alpha = a + b * (1 - a)
    below[..., :3] = (above[..., :3] * a + below[..., :3] * b * (1 - a)) / np.maximum(alpha, 1e-6)
    below[..., 3:] = alpha * 255
