"""Videos without a container or in one of broadcasts: their endings, contents and rates."""

from __future__ import annotations

import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from humanpose_cli.io.inputs import open_inputs

COUNT = 8


def write(path, codec: str, rate: int = 25) -> None:
    """Grey frames, number i of grey level 25 i."""
    kind = {".264": "h264", ".m2t": "mpegts", ".y4m": "yuv4mpegpipe"}.get(path.suffix)
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream("wrapped_avframe" if path.suffix == ".y4m" else codec, rate=rate)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(COUNT):
            pixels = np.full((48, 64, 3), 25 * i, np.uint8)
            image = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=stream.pix_fmt)
            image.pts, image.time_base = i, Fraction(1, rate)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("x.h264", "libx264", 25), ("x.264", "libx264", 25), ("x.hevc", "libx265", 25), ("x.mjpeg", "mjpeg", 25),
     ("x.y4m", "rawvideo", 25), ("x.ts", "libx264", 25), ("x.m2t", "mpeg2video", 25), ("x.ivf", "libvpx-vp9", 25)],
)  # fmt: skip
def test_streams_and_their_endings_are_videos(tmp_path, name, codec, rate):
    write(tmp_path / name, codec, rate)
    (item,) = open_inputs([tmp_path])
    assert (item.kind, item.frame_rate) == ("video", rate)
    assert [round(float(each.pixels.mean()) / 25) for each in item.frames()] == list(range(COUNT))
    (named,) = open_inputs([tmp_path], rate=50)
    has_times = name in ("x.y4m", "x.ts", "x.m2t", "x.ivf")
    assert named.frame_rate == (rate if has_times else 50)
    (tmp_path / name).rename(tmp_path / "without")
    if name != "x.mjpeg":  # its beginning is an image's
        assert open_inputs([tmp_path / "without"])[0].kind == "video"


def test_a_stream_without_times_is_noted(tmp_path, caplog):
    write(tmp_path / "x.mjpeg", "mjpeg")
    (item,) = open_inputs([tmp_path / "x.mjpeg"])
    with caplog.at_level(logging.INFO, "humanpose_cli"):
        assert item.frame_rate == 25
    assert (
        "x.mjpeg: a stream without times, taken to be 25 frames a second; hpc fit --frame-rate sets it" in caplog.text
    )
