"""--video-codec reaches the videos of every command that writes one."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from helpers.blind_detector import BlindDetector

import humanpose_cli.fitting.people
from humanpose_cli.body.body import default_body
from humanpose_cli.io.images import write_image
from humanpose_cli.reposing.reposer import Reposer
from humanpose_cli.reposing.result import Reposed

COUNT = 3


@pytest.fixture
def frames(tmp_path, monkeypatch) -> Path:
    """A folder of frames without people in the working folder, beside a photograph and a motion."""
    monkeypatch.setattr(humanpose_cli.fitting.people, "PersonDetector", BlindDetector)
    monkeypatch.chdir(tmp_path)
    for name in ("photo.png", *(f"frames/f_{number:04}.png" for number in range(COUNT))):
        write_image(tmp_path / name, np.full((48, 64, 3), 90, np.uint8))
    joints = default_body().rest_joints(torch.zeros(1, 10)).numpy()
    np.save("dance.npy", joints.repeat(COUNT, 0))
    return Path("frames")


def written(path: Path) -> tuple[str, int]:
    """A video's codec and number of frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.codec.canonical_name, sum(1 for _ in container.decode(stream))


def reposed(reposer, photo, target, **_):
    """Grey images in place of people in other poses."""
    drawn = SimpleNamespace(
        image=np.full((48, 64, 3), 90, np.uint8), visible_fraction=1.0, methods=(), doubts=(), moved=()
    )
    images = {"images": lambda target: [drawn] * len(target), "transparent": False, "layered": False}
    scene = SimpleNamespace(tracks=(), people=(), doubts={}, drivers=lambda target: [], **images)
    return Reposed(scene, target)


@pytest.mark.extensive
@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_overlays_and_pages_have_the_codec(hpc, frames, codec):
    assert hpc("fit", "frames", "--out", "fits", "--video-codec", codec).code == 0
    assert written(Path("fits/frames.overlay.mp4")) == (codec, COUNT)
    fit = ("fits/frames.fit.npz", "--frames", "frames")
    refined = hpc("refine", *fit, "--correspondence", "keypoints", "--out", "refined", "--video-codec", codec)
    assert refined.code == 0, refined.err
    assert written(Path("refined/frames.overlay.mp4")) == (codec, COUNT)
    assert hpc("view", *fit, "--out", "page.html", "--video-codec", codec).code == 0
    video = re.search(r"data:video/mp4;base64,([^\"]+)", Path("page.html").read_text("utf-8"))
    assert video is not None
    Path("page.mp4").write_bytes(base64.b64decode(video[1]))
    assert written(Path("page.mp4")) == (codec, COUNT)


@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_reposed_videos_have_the_codec(hpc, frames, monkeypatch, codec):
    monkeypatch.setattr(Reposer, "repose", reposed)
    ran = hpc("repose", "photo.png", "dance.npy", "--out", "new.mp4", "--video-codec", codec)
    assert ran.code == 0, ran.err
    assert written(Path("new.mp4")) == (codec, COUNT)


def test_results_of_another_codec_are_replaced_with_a_line(hpc, frames):
    assert hpc("fit", "frames", "--out", "fits").code == 0
    again = hpc("fit", "frames", "--out", "fits", "--video-codec", "vp9")
    assert again.code == 0, again.err
    assert "frames: fitted again: --video-codec vp9" in again.err.replace("\n", " ")
    assert written(Path("fits/frames.overlay.mp4")) == ("vp9", COUNT)


@pytest.mark.slow
def test_a_missing_encoder_is_exit_code_5_and_names_the_option(hpc, frames, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    ran = hpc("fit", "frames", "--out", "fits")
    assert ran.code == 5
    assert "FFmpeg lacks the encoder libx264; --video-codec vp9" in ran.err.replace("\n", " ")
    assert hpc("fit", "frames", "--out", "fits", "--video-codec", "vp9", "--overwrite").code == 0
