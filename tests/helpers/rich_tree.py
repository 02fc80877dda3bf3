"""A small RICH: people before cameras that stand still, in two scenes, and models that stand in for SMPL-X."""

from __future__ import annotations

import copy

import numpy as np
from scipy.spatial.transform import Rotation

from helpers.dataset_files import spotted, write_python2_pickle, write_rich_camera
from helpers.paper_datasets import BODY
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.datasets.calibrated import Lens
from humanpose_cli.lab.datasets.common import rest_pelvis

SIZE = (640, 480)
INTRINSIC = np.array([[600.0, 0, 310], [0, 604, 235], [0, 0, 1]])
DISTORTION = (-0.12, 0.05, 0.001, -0.002, 0.01)
LENS = Lens((600.0, 604.0), (310.5, 235.5), (-0.12, 0.05, 0.01), (0.001, -0.002))
ROTATION = Rotation.from_euler("xyz", [0.2, -0.6, 0.1]).as_matrix()
TRANSLATION = np.array([0.3, 0.2, 4.0])
ALONE, BOTH = "BBQ_001_guitar2", "LectureHall_009_021_reparingprojector1"


def parameters(seed):
    """As RICH's pickles: single precision, one row. The person stands in front of the first camera."""
    random = np.random.default_rng(seed)
    arrays = {
        "transl": random.uniform((-0.3, 0.1, -0.3), (0.3, 0.5, 0.3)),
        "global_orient": np.array([np.pi, 0, 0]) + random.normal(0, 0.2, 3),
        "body_pose": random.normal(0, 0.2, 63),
        "betas": random.normal(0, 1, 10),
        "expression": np.zeros(10),
        "left_hand_pose": np.zeros(12),
    }
    return {name: values[None].astype(np.float32) for name, values in arrays.items()}


MODELS = {gender: copy.deepcopy(BODY) for gender in ("male", "female")}
for _gender, _model in MODELS.items():
    _model.name = f"smplx-{_gender}"


def pelvis_of(values):
    return rest_pelvis(BODY, values["betas"][0].astype(float)) + values["transl"].astype(float)


def build(root):
    for scene in ("BBQ", "LectureHall"):
        for number in (0, 1):
            calibration = root / "scan_calibration" / scene / "calibration" / f"{number:03d}.xml"
            placing = (np.eye(3), [0, 0, 4.0]) if number == 0 else (ROTATION, TRANSLATION)
            write_rich_camera(calibration, *placing, INTRINSIC, DISTORTION)
    for split, folder in (("train", ALONE), ("test", BOTH)):
        for frame in (150, 151, 152):
            for number in folder.split("_")[1:-1]:
                if (frame, number) != (152, "021"):
                    path = root / "bodies" / split / folder / f"{frame:05d}" / f"{number}.pkl"
                    write_python2_pickle(path, parameters(10 * frame + int(number)))
        for camera, (rotation, shift) in enumerate(((np.eye(3), np.array([0, 0, 4.0])), (ROTATION, TRANSLATION))):
            for frame in (149, 150, 151, 152):
                pelvis = pelvis_of(parameters(10 * frame + 1)) @ rotation.T + shift
                name = f"{frame:05d}_{camera:02d}.{'jpeg' if split == 'train' else 'png'}"
                write_image(
                    root / "images" / split / folder / f"cam_{camera:02d}" / name,
                    spotted(SIZE, LENS.project(pelvis)[0]),
                )
    moving = root / "images" / "train" / ALONE / "cam_02"  # carried about: images, but no calibration
    write_image(moving / "00150_02.jpeg", spotted(SIZE, (5, 5)))
