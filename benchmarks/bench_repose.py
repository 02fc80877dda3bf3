"""Reposing a person of a 1080p photograph by mesh, with models loaded: from the photograph's file to the new image's.

The first frame of the drawn clip, enlarged to 1080p; the person is about 700 pixels high. Each repetition detects,
fits, cuts out, completes the texture and the background, and draws one pose; nothing of it is kept between repetitions.

    python benchmarks/bench_repose.py [repetitions]      default: 5
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import cv2
import torch
from _drawn_clip import DrawnClip

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_library import key_poses
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.images import read_image, write_image
from humanpose_cli.io.pose_files import RotationTarget
from humanpose_cli.reposing.reposer import Reposer


def photograph_and_pose(photograph: Path, clip: DrawnClip) -> torch.Tensor:
    """Write the photograph; rotations (24, 3, 3) of its person waving."""
    write_image(photograph, cv2.resize(next(clip.frames()), (1440, 1080), interpolation=cv2.INTER_CUBIC))
    rotations = key_poses().rotations[key_poses().names.index("wave")].clone()
    rotations[0] = clip.rotations[0, 0]
    return rotations


def main() -> None:
    """Print one row."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    clip = DrawnClip.make(default_body())
    with TemporaryDirectory() as name, Reposer() as reposer:
        photograph, reposed = Path(name) / "photograph.jpg", Path(name) / "reposed.png"
        rotations = photograph_and_pose(photograph, clip)
        pose = BodyParams(
            matrix_to_axis_angle(rotations).reshape(1, -1).numpy(), clip.betas.numpy(), clip.trans[:1].numpy()
        )
        seconds = []
        for _ in range(repetitions + 1):
            start = time.perf_counter()
            scene = reposer.read(read_image(photograph).pixels, name="photograph")
            write_image(reposed, next(iter(scene.images(RotationTarget(pose)))).image)
            seconds.append(time.perf_counter() - start)
    seconds = seconds[1:]  # the first loads models and compiles kernels
    row = {"what": "photograph to image", "method": "mesh", "repetitions": repetitions}
    row |= {"seconds": round(min(seconds), 2), "median_seconds": round(median(seconds), 2)}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
