"""DPX images, as FFmpeg writes them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def write_dpx(path: Path, pixels: np.ndarray, form: str = "gbrp10be", transfer: int | None = None) -> None:
    """Write 16-bit pixels (H, W, 3) with the bits of one of FFmpeg's pixel formats, and a code of the transfer."""
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le").reformat(format=form)
    with av.open(path, "w", format="image2") as file:
        stream = file.add_stream("dpx", width=frame.width, height=frame.height, pix_fmt=form)
        file.mux(stream.encode(frame))
    if transfer is not None:
        data = bytearray(path.read_bytes())
        data[801] = transfer
        path.write_bytes(data)
