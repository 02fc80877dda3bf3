"""Videos are opened the same with every version of PyAV."""

from __future__ import annotations

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
