"""Videos are opened the same with every version of PyAV."""

import logging

import av
import numpy as np
import pytest

from humanpose_cli.io.containers import open_container
from humanpose_cli.io.video import VideoReader

NAME = b"A name in UTF-8"
LATIN = "Ein Käfer säuft".encode("latin-1")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_metadata_that_are_not_utf8_are_no_obstacle(tmp_path, suffix):
    path = tmp_path / f"16:9{suffix}"
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        container.metadata["title"] = stream.metadata["title"] = stream.metadata["handler_name"] = NAME.decode()
        image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(image), *stream.encode(None)])
    data = path.read_bytes()
    assert data.count(NAME) >= 2
    path.write_bytes(data.replace(NAME, LATIN))
    with open_container(path) as container:
        assert container.metadata["title"].encode("utf-8", "surrogateescape") == LATIN
    assert len(list(VideoReader(path))) == 1


def write_streams(path, sizes, counts, covers=()) -> None:
    """A video stream of each size (width, height) whose frames have the grey level 40, 80 …; covers are JPEGs."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mjpeg" if at in covers else "libx264", rate=25) for at in range(len(sizes))]
        for at, (stream, (width, height)) in enumerate(zip(streams, sizes, strict=True)):
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if at in covers else "yuv420p"
            if at in covers:
                stream.disposition = av.stream.Disposition.attached_pic
        for at, (stream, count) in enumerate(zip(streams, counts, strict=True)):
            for number in range(count):
                pixels = np.full((stream.height, stream.width, 3), 40 * (at + 1), np.uint8)
                image = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=stream.pix_fmt)
                image.pts = number
                container.mux(stream.encode(image))
            container.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("sizes", [[(32, 48), (64, 96)], [(64, 96), (32, 48)], [(32, 48), (64, 96), (48, 64)]])
def test_the_largest_of_several_video_streams_is_read(tmp_path, caplog, suffix, sizes):
    path = tmp_path / f"x{suffix}"
    write_streams(path, sizes, [4] * len(sizes))
    with caplog.at_level(logging.INFO, "humanpose_cli"):
        frames = list(VideoReader(path))
    assert [pixels.shape for _, pixels in frames] == [(96, 64, 3)] * 4
    assert np.abs(frames[-1][1].astype(int) - 40 * (1 + sizes.index((64, 96)))).max() <= 3
    assert f"{len(sizes)} video streams; the largest is used, 64 × 96" in caplog.text


def test_streams_may_have_different_lengths(tmp_path):
    """The header of a Matroska file has the length of the longest."""
    write_streams(tmp_path / "x.mkv", [(32, 48), (64, 96)], [30, 4])
    assert [pixels.shape for _, pixels in VideoReader(tmp_path / "x.mkv")] == [(96, 64, 3)] * 4


@pytest.mark.parametrize(("covers", "counts"), [((1,), [4, 1]), ((), [4, 1])])
def test_a_larger_cover_image_is_no_video(tmp_path, covers, counts):
    write_streams(tmp_path / "x.mp4", [(32, 48), (64, 96)], counts, covers)
    assert [pixels.shape for _, pixels in VideoReader(tmp_path / "x.mp4")] == [(48, 32, 3)] * 4
