"""Videos without a container or in one of broadcasts: their endings, contents and rates."""

import logging

import numpy as np
import pytest
from helpers.encoded_videos import encode

from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.video import video_times

COUNT = 8


def write(path, codec: str) -> None:
    """Grey frames, number i of grey level 25 i."""
    kind = {".264": "h264", ".m2t": "mpegts", ".y4m": "yuv4mpegpipe"}.get(path.suffix)
    images = [np.full((48, 64, 3), 25 * i, np.uint8) for i in range(COUNT)]
    encode(path, images, codec, pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p", container=(kind, {}))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *((f"x.{suffix}", "libx264") for suffix in ("h264", "264", "ts")),
        *(("x.hevc", "libx265"), ("x.mjpeg", "mjpeg"), ("x.y4m", "wrapped_avframe")),
        *(("x.m2t", "mpeg2video"), ("x.ivf", "libvpx-vp9")),
    ],
)
def test_streams_and_their_endings_are_videos(tmp_path, name, codec):
    write(tmp_path / name, codec)
    (item,) = open_inputs([tmp_path])
    assert (item.kind, item.frame_rate) == ("video", 25)
    assert video_times(item.path) == pytest.approx([i / 25 for i in range(COUNT)])
    assert [round(float(each.pixels.mean()) / 25) for each in item.frames()] == list(range(COUNT))
    (named,) = open_inputs([tmp_path], rate=50)
    assert named.frame_rate == (25 if name in ("x.y4m", "x.ts", "x.m2t", "x.ivf") else 50)  # which have times
    (tmp_path / name).rename(tmp_path / "without")
    if name != "x.mjpeg":  # its beginning is an image's
        assert open_inputs([tmp_path / "without"])[0].kind == "video"


def test_a_stream_without_times_is_noted(tmp_path, caplog):
    write(tmp_path / "x.mjpeg", "mjpeg")
    (item,) = open_inputs([tmp_path / "x.mjpeg"])
    with caplog.at_level(logging.INFO, "humanpose_cli"):
        assert item.frame_rate == 25
    assert "a stream without times, taken to be 25 frames a second; hpc fit --frame-rate sets it" in caplog.text
