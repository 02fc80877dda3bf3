"""Videos in any container and codec, as other programs write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def rgb(pixels: np.ndarray, _: av.VideoStream) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")


def encode(
    path: Path,
    images: Iterable[np.ndarray],
    codec: str = "libx264",
    *,
    times: Sequence[int] | None = None,
    unit: Fraction = Fraction(1, 25),
    rate: int | Fraction = 25,
    pixel_format: str = "yuv420p",
    aspect: Fraction = Fraction(0, 1),
    container: tuple[str | None, dict[str, str]] = (None, {}),
    prepare: Callable[[np.ndarray, av.VideoStream], av.VideoFrame] = rgb,
    **options: str,
) -> None:
    """Write RGB images, the i-th at times[i] units (by default i); `container` has the format and its options."""
    with av.open(str(path), "w", format=container[0], options=container[1]) as file:
        stream = file.add_stream(codec, rate=rate, options=options)
        for i, pixels in enumerate(images):
            if i == 0:
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt, stream.codec_context.time_base = pixel_format, unit
                stream.codec_context.sample_aspect_ratio = aspect
            frame = prepare(pixels, stream).reformat(format=pixel_format)
            frame.pts, frame.time_base = i if times is None else times[i], unit
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def cut(path: Path, share: float) -> Path:
    """The first part of a file, in a file beside it."""
    part = path.with_name(f"cut{path.suffix}")
    content = path.read_bytes()
    part.write_bytes(content[: int(share * len(content))])
    return part
