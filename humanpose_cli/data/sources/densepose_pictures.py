"""DensePose's output on pictures, as its own tools write it: NAME_IUV.png beside or apart from NAME.jpg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.sources.reading import existing_file
from humanpose_cli.errors import InputError
from humanpose_cli.io.images import encode_image, read_image

__all__ = ["CHARTS", "encode_densepose", "read_densepose"]

CHARTS = 24


def read_densepose(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: chart 0 to 24, then 255 U and 255 V, of a picture of `size` (width, height).

    DensePose's tools write the channels I, U, V through OpenCV, which puts the first into blue: so the file's red is V.
    InputError where it is missing, damaged, of another size or of another kind.
    """
    existing_file(path, "DensePose's output on a picture (NAME_IUV.png)")
    found = read_image(path)
    if found.size != size:
        raise InputError(path, "has another size than its picture", expected=str(size), got=str(found.size))
    charts = found.pixels[..., ::-1]
    if charts[..., 0].max() > CHARTS:
        raise InputError(
            path, "is not DensePose's output", expected="charts 0 to 24 in blue", got=str(charts[..., 0].max())
        )
    return np.ascontiguousarray(charts)


def encode_densepose(charts: NDArray[np.uint8]) -> bytes:
    """The PNG of `LABEL_MAPS["densepose"]`; U and V are 0 where there is no chart."""
    return encode_image(np.where(charts[..., :1] > 0, charts, 0).astype(np.uint8), ".png")
