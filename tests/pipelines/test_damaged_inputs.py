"""Every reader of files, given files with random bytes changed, gives a result or a sentence: no traceback, no hang.

HPC_CORRUPTIONS=1000 in the environment tries that many a reader in place of a few.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from humanpose_cli.body.smpl import load_smpl
from humanpose_cli.cli.command import read_config
from humanpose_cli.core.errors import HpcError
from humanpose_cli.data.building import build_cache
from humanpose_cli.data.cache import open_cache
from humanpose_cli.data.encoding import encode_png
from humanpose_cli.data.samples import Group, Person, Sample, SourceInfo
from humanpose_cli.fitting.result import load_fit
from humanpose_cli.io.detection_files import read_boxes, read_keypoints
from humanpose_cli.io.foreign_fits import read_foreign as read_foreign_fit
from humanpose_cli.io.images import read_image
from humanpose_cli.io.inputs import open_inputs, read_list
from humanpose_cli.io.pose_files import read_pose
from humanpose_cli.io.restricted_pickle import read_pickle
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.networks.weights import WeightsHeader, read_foreign, read_weights, write_weights

CORRUPTIONS = int(os.environ.get("HPC_CORRUPTIONS", "12"))
LONGEST = 10.0  # seconds a file

BVH = """HIERARCHY
ROOT Hips
{
 OFFSET 0 0 0
 CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
 JOINT Spine
 {
  OFFSET 0 50 0
  CHANNELS 3 Zrotation Xrotation Yrotation
  End Site
  {
   OFFSET 0 20 0
  }
 }
}
MOTION
Frames: 2
Frame Time: 0.03
0 90 0 1 2 3 4 5 6
0 91 0 1 2 3 4 5 6
"""


@dataclass(frozen=True)
class OneSquare:
    """A cache of one image."""

    @property
    def info(self) -> SourceInfo:
        return SourceInfo("square", {})

    def groups(self):
        return [Group("only", 1, key=0)]

    def read(self, group):
        person = Person(identity="Ann", box=np.array([2, 2, 20, 20]))
        yield Sample("s", encode_png(np.zeros((24, 32, 3), np.uint8)), (32, 24), people=(person,))


def image(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def video(path: Path) -> None:
    with VideoWriter(path, 25) as writer:
        for value in range(6):
            writer.write(np.full((32, 48, 3), 40 * value, np.uint8))


def shard(path: Path) -> None:
    path.write_bytes(build_cache(OneSquare(), path.parent / "cache").folder.joinpath("shard-00000.h5").read_bytes())


def keypoints(path: Path) -> None:
    person = {"image_id": "a.jpg", "keypoints": [float(n) for n in range(51)], "bbox": [1, 2, 30, 40]}
    path.write_text(json.dumps([person, person]))


def weights(path: Path) -> None:
    write_weights(path, {"a": torch.randn(30, 4), "b": torch.arange(5)}, WeightsHeader("nbf", {"width": 3}))


def amass(path: Path) -> None:
    np.savez_compressed(path, poses=np.zeros((5, 156)), trans=np.zeros((5, 3)), mocap_framerate=30.0)


def every_sample(path: Path) -> None:
    cache = open_cache(path)
    for row in range(len(cache)):
        cache.sample(row)


def every_frame(path: Path) -> None:
    for item in open_inputs([path]):
        list(item.frames())


CONFIG = {"command": "fit", "commands": ["fit"]}
GOLDEN = next((Path(__file__).parents[1] / "io" / "data").glob("*.fit.npz"))
READERS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    **{f"x.{kind}": (image, read_image) for kind in ("jpg", "png", "gif", "webp", "tif", "avif", "jp2")},
    "x.mp4": (video, every_frame),
    "x.npy": (lambda path: np.save(path, np.random.default_rng(0).normal(0, 1, (4, 24, 3))), read_pose),
    "amass.npz": (amass, read_pose),
    "x.bvh": (lambda path: path.write_text(BVH), read_pose),
    "x.fit.npz": (lambda path: path.write_bytes(GOLDEN.read_bytes()), load_fit),
    "foreign.npz": (lambda path: path.write_bytes(GOLDEN.read_bytes()), read_foreign_fit),
    "people.json": (keypoints, read_keypoints),
    "boxes.csv": (lambda path: path.write_text("name,x0,y0,x1,y1\na.jpg,1,2,30,40\nb.jpg,1,2,30,41\n"), read_boxes),
    "x.safetensors": (weights, read_weights),
    "x.pth": (lambda path: torch.save({"state_dict": {"a": torch.randn(3)}}, path), read_foreign),
    "x.pkl": (lambda path: path.write_bytes(pickle.dumps({"a": np.arange(9.0), "b": [1, "x"]})), read_pickle),
    "smpl.pkl": (lambda path: path.write_bytes(pickle.dumps({"v_template": np.zeros((6890, 3))})), load_smpl),
    "x.h5": (shard, every_sample),
    "x.toml": (
        lambda path: path.write_text("a = 1\n[fit]\npeople = 'all'\n"),
        lambda p: read_config(p, "fit", ["fit"]),
    ),
    "list.txt": (lambda path: path.write_text("a.jpg\nb c.jpg\n"), read_list),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_random_bytes_give_a_result_or_a_sentence(tmp_path, name):
    write, read = READERS[name]
    path = tmp_path / name
    write(path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    generator = np.random.default_rng(7)
    for number in range(CORRUPTIONS):
        damaged = whole.copy()
        reach = len(whole) if number % 2 else min(len(whole), 300)  # headers are what readers believe
        damaged[generator.integers(0, reach, 1 + number % 6)] = generator.integers(0, 256, 1 + number % 6)
        cut = len(damaged) if number % 4 else generator.integers(0, len(damaged))
        path.write_bytes(damaged[:cut].tobytes())
        started = time.monotonic()
        with contextlib.suppress(HpcError):
            read(path)
        assert time.monotonic() - started < LONGEST
