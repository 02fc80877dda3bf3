"""Accuracy on real videos of one person before calibrated cameras: `hpc fit` of photographs and videos, and `--refine`.

    python benchmarks/bench_real_video.py FOLDER

FOLDER holds cam01.mp4 … of the same moments, and truth.npz with joints3d (T, J, 3) in metres, valid (T, J),
joint_names, and of each camera K, distortion, R and t. Focal lengths are not given. The person is who lies nearest to
the true joints in the image, within 12 % of their size. Errors are those of shoulders, elbows, wrists, hips, knees and
ankles after Procrustes and about the middle of the hips, and of the accelerations; people not found do not enter the
means. The photographs are five frames of each video.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

import humanpose_cli as hp
from humanpose_cli.core.conventions import LIMB_JOINTS, SMPL24
from humanpose_cli.geometry.similarity import procrustes_align
from humanpose_cli.io.video import VideoReader

LIMBS = SMPL24.indices(LIMB_JOINTS)
HIPS = [LIMB_JOINTS.index("left_hip"), LIMB_JOINTS.index("right_hip")]
PHOTOGRAPHS = 5  # of each video
NEAR = 0.12  # of a person's size


class View(NamedTuple):
    """A video with truth: joints (T, 12, 3) metres in camera axes, points (T, 12, 2) pixels, valid (T,)."""

    path: Path
    joints: np.ndarray
    points: np.ndarray
    valid: np.ndarray


def views(folder: Path) -> Iterator[View]:
    truth = np.load(folder / "truth.npz")
    limbs = [truth["joint_names"].tolist().index(name) for name in LIMB_JOINTS]
    for number, path in enumerate(sorted(folder.glob("cam*.mp4"))):
        K, distortion, R, t = (truth[name][number].astype(float) for name in ("K", "distortion", "R", "t"))
        joints = truth["joints3d"][:, limbs] @ R.T + t
        points = cv2.projectPoints(joints.reshape(-1, 3), np.zeros(3), np.zeros(3), K, distortion)[0]
        yield View(path, joints, points.reshape(len(joints), -1, 2), truth["valid"][:, limbs].all(1))


def nearest_joints(fit: hp.Fit, frame: int, points: np.ndarray) -> np.ndarray | None:
    """Joints (12, 3) of the person of a frame who lies nearest to the true points (12, 2)."""
    rows = fit.rows_for(frame)
    offsets = fit.joints2d[rows][:, LIMBS, :2] - points
    middles = np.linalg.norm(offsets[:, ::2] + offsets[:, 1::2], axis=-1) / 2  # sides may be swapped
    distance = np.median(middles, axis=1) / np.ptp(points, axis=0).max()
    if not len(rows) or distance.min() >= NEAR:
        return None
    return np.asarray(fit.joints3d[rows[distance.argmin()]][LIMBS], float)


def about_hips(joints: np.ndarray) -> np.ndarray:
    return joints - joints[..., HIPS, :].mean(-2, keepdims=True)


def errors(view: View, frames: Sequence[int], person: Callable[[int], np.ndarray | None]) -> dict[str, Any]:
    """Return lists of errors over the frames with true joints; `person` returns the predicted joints."""
    valid_frames = [frame for frame in frames if view.valid[frame]]
    estimates = {frame: joints for frame in valid_frames if (joints := person(frame)) is not None}
    ours, true = np.stack(list(estimates.values())), view.joints[list(estimates)]
    aligned = procrustes_align(torch.from_numpy(ours), torch.from_numpy(true)).numpy()
    differences = about_hips(ours) - about_hips(true)
    bent = [
        i
        for i in range(1, len(differences) - 1)
        if frames[0] + i in estimates and list(estimates)[i + 1] - list(estimates)[i - 1] == 2
    ]
    bends = [differences[i - 1] - 2 * differences[i] + differences[i + 1] for i in bent]
    return {
        "found": [frame in estimates for frame in valid_frames],
        "pa_mpjpe_mm": 1e3 * np.linalg.norm(aligned - true, axis=-1).mean(1),
        "mpjpe_mm": 1e3 * np.linalg.norm(differences, axis=-1).mean(1),
        "acceleration_mm": [1e3 * np.linalg.norm(bend, axis=-1).mean() for bend in bends],
    }


def as_photographs(view: View) -> dict[str, Any]:
    """Frames of the middle of the video, each fitted by itself."""
    wanted = np.linspace(5, len(view.joints) - 15, PHOTOGRAPHS).astype(int).tolist()
    fits = {index: hp.fit(image) for index, image in VideoReader(view.path) if index in wanted}
    return errors(view, wanted, lambda frame: nearest_joints(fits[frame], 0, view.points[frame]))


def as_video(view: View, refine: bool) -> dict[str, Any]:
    fit = hp.fit(view.path, refine=refine)
    return errors(view, range(len(view.joints)), lambda frame: nearest_joints(fit, frame, view.points[frame]))


def main() -> None:
    """Print a row for each way; means are over videos."""
    ways: dict[str, Callable[[View], dict[str, Any]]] = {
        "photographs": as_photographs,
        "videos": lambda view: as_video(view, False),
        "refined videos": lambda view: as_video(view, True),
    }
    clips = list(views(Path(sys.argv[1])))
    for what, way in ways.items():
        measured = [way(view) for view in clips]
        row: dict[str, Any] = {"what": what, "videos": len(clips)}
        row["frames"] = sum(len(each["found"]) for each in measured)
        for name in measured[0]:
            means = [float(np.mean(each[name])) for each in measured if len(each[name])]
            row[name] = round(float(np.mean(means)), 3) if means else None
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
