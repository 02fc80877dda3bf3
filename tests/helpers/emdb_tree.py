"""Videos of a small EMDB: a person before a camera that is carried about."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from helpers.paper_datasets import image, posed, write
from humanpose_cli.lab.datasets.common import project_points

FRAMES, SIZE = 5, (72, 96)
K = np.array([[98.0, 0, 36], [0, 98.4, 48], [0, 0, 1]])
VIDEOS = {"P0/09_outdoor_walk": (True, False), "P1/14_outdoor_climb": (False, True), "P1/15_indoor": (False, False)}


def content(name: str) -> dict[str, Any]:
    """A video of a person whose joints are those of a body like SMPL; frame 3 is not valid."""
    random = np.random.default_rng(list(VIDEOS).index(name))
    rotation = Rotation.from_rotvec([[np.pi + 0.1 * i, 0.3, 0.05 * i] for i in range(FRAMES)]).as_matrix()
    extrinsics = np.tile(np.eye(4), (FRAMES, 1, 1))
    extrinsics[:, :3, :3] = rotation
    extrinsics[:, :3, 3] = [[0.1 * i, 0.2, 5.0 + 0.3 * i] for i in range(FRAMES)]
    poses, betas = random.normal(0, 0.3, (FRAMES, 72)), random.normal(size=10)
    trans = random.normal(0, 0.3, (FRAMES, 3))
    joints = posed(poses, betas, trans)[1]
    in_camera = np.einsum("nij,nkj->nki", rotation, joints) + extrinsics[:, None, :3, 3]
    kp2d = np.stack([project_points(points, np.diag(K)[:2], K[:2, 2]) for points in in_camera])
    boxes = np.concatenate((kp2d.min(1), kp2d.max(1)), 1)
    boxes[1] = 0  # not usable
    first, second = VIDEOS[name]
    return {
        "gender": "male",
        "name": name.replace("/", "_"),
        "emdb1": first,
        "emdb2": second,
        "n_frames": FRAMES,
        "good_frames_mask": np.arange(FRAMES) != 3,
        "camera": {"intrinsics": K, "extrinsics": extrinsics, "width": SIZE[0], "height": SIZE[1]},
        "smpl": {"poses_root": poses[:, :3], "poses_body": poses[:, 3:], "trans": trans, "betas": betas},
        "kp2d": kp2d,
        "bboxes": {"bboxes": boxes, "invalid_idxs": np.array([1, 3])},
    }


def file_of(root: Path, name: str) -> Path:
    return root / name / f"{name.replace('/', '_')}_data.pkl"


def build(root: Path) -> Path:
    """Three videos, of which each evaluation has one."""
    for name in VIDEOS:
        write(file_of(root, name), pickle.dumps(content(name)))
        for frame in range(FRAMES):
            write(root / name / "images" / f"{frame:05d}.jpg", image(SIZE, 10 * frame))
    return root
