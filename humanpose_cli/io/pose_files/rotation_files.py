"""Poses as joint rotations: AMASS archives and our own fit files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.fit_files import read_fit
from humanpose_cli.io.npz_files import npz_names, read_npz
from humanpose_cli.io.pose_files.target_pose import AXES, TargetPose, check_axes

__all__ = ["read_amass", "read_fit_as_target"]

_BODY = 66  # pelvis and 21 body joints, the same in SMPL-H, SMPL-X and SMPL
_SMPL = 72
_MOST_RADIANS = 4 * math.pi
_FRAME_RATES = ("mocap_framerate", "mocap_frame_rate")
_GENDERS = ("neutral", "female", "male")


def read_amass(path: Path, axes: str) -> TargetPose:
    """An AMASS `.npz`: poses (T, ≥ 66) axis-angle, and where there are, trans (T, 3), betas, gender, mocap_framerate.

    72 columns are SMPL's 24 joints; any other width begins with the pelvis and 21 body joints (SMPL-H, SMPL-X),
    and the two hand joints, which those models split into fingers, stay straight. AMASS itself is z-up.
    InputError where an array is missing, damaged, or in degrees.
    """
    check_axes(axes)
    arrays = read_npz(path, {"poses", "trans", "betas", *_FRAME_RATES})
    poses = _numbers(path, "poses", arrays.get("poses"))
    if poses.ndim != 2 or poses.shape[1] < _BODY or len(poses) == 0:
        raise InputError(path, "holds poses of the wrong shape", expected="(T, 66 or more)", got=str(poses.shape))
    largest = float(np.abs(poses[:, :_BODY]).max())
    if largest > _MOST_RADIANS:
        raise InputError(
            path,
            "holds rotations that are too large",
            expected="axis-angle in radians",
            got=f"{largest:.3g}",
            remedy="if these are degrees, save numpy.deg2rad(poses)",
        )
    body = np.zeros((len(poses), _SMPL))
    width = _SMPL if poses.shape[1] == _SMPL else _BODY
    body[:, :width] = poses[:, :width]
    trans = _numbers(path, "trans", arrays["trans"]) if "trans" in arrays else np.zeros((len(poses), 3))
    if trans.shape != (len(poses), 3):
        raise InputError(path, "holds trans of the wrong shape", expected=f"({len(poses)}, 3)", got=str(trans.shape))
    rotation = AXES[axes]
    body[:, :3] = _turned(body[:, :3], rotation)
    return TargetPose(
        path,
        "amass",
        frame_rate=_frame_rate(path, arrays),
        poses=body.astype(np.float32),
        trans=(trans @ rotation.T).astype(np.float32),
        axes_rotation=rotation.astype(np.float32),
        betas=_betas(path, arrays),
        gender=_gender(path),
    )


def _numbers(path: Path, name: str, values: np.ndarray | None) -> np.ndarray:
    if values is None:
        found = ", ".join(sorted(npz_names(path))[:8]) or "nothing"
        remedy = "save joint positions as .npy, or rotations with the names of AMASS"
        raise InputError(path, f"holds no {name}", expected="an AMASS or a fit file", got=found, remedy=remedy)
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise InputError(path, f"holds {name} that are not all finite numbers", remedy="make it again")
    return values.astype(np.float64)


def _turned(root: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Root rotations (T, 3) axis-angle, followed by `rotation`."""
    matrices = torch.from_numpy(rotation) @ axis_angle_to_matrix(torch.from_numpy(root))
    return matrix_to_axis_angle(matrices).numpy()


def _frame_rate(path: Path, arrays: dict[str, np.ndarray]) -> float | None:
    stored = next((arrays[name] for name in _FRAME_RATES if name in arrays), None)
    if stored is None:
        return None
    rate = _numbers(path, "mocap_framerate", stored)
    if rate.size != 1 or not 0 < float(rate.reshape(())) <= 10_000:
        raise InputError(path, "holds an unusable mocap_framerate", expected="frames a second", got=str(stored))
    return float(rate.reshape(()))


def _betas(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray | None:
    if "betas" not in arrays:
        return None
    stored = _numbers(path, "betas", arrays["betas"])
    mean = stored.reshape(-1, stored.shape[-1]).mean(axis=0) if stored.size else np.zeros(0)
    betas = np.zeros(10, np.float32)
    betas[: min(10, len(mean))] = mean[:10]
    return betas


def _gender(path: Path) -> str:
    """Text, or bytes in older archives. A pickled gender is left unread: the poses do not need it."""
    try:
        stored = read_npz(path, {"gender"}).get("gender")
    except InputError:
        return "neutral"
    text = "" if stored is None or stored.size != 1 else stored.reshape(()).item()
    text = text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)
    return text if text in _GENDERS else "neutral"


def read_fit_as_target(path: Path, track: int | None) -> TargetPose:
    """One person of a fit file: `track`, or else the largest (`FitRecord.largest_track`).

    From the first frame that shows them to the last; frames between that do not show them hold the last pose shown.

    InputError if the file holds nobody, UsageError if it does not hold that track.
    """
    fit = read_fit(path)
    if len(fit) == 0:
        raise InputError(path, "holds nobody", expected="a fit with at least one person")
    if track is None:
        track = fit.largest_track
    rows = fit.rows_of(track)
    if len(rows) == 0:
        raise UsageError(path, f"holds no person {track}", expected=", ".join(map(str, fit.tracks)))
    frames = fit.frame_index[rows]
    held = rows[np.searchsorted(frames, np.arange(frames[0], frames[-1] + 1), side="right") - 1]
    return TargetPose(
        path,
        "fit",
        frame_rate=fit.frame_rate or None,
        poses=fit.poses[held],
        trans=fit.trans[held],
        axes_rotation=np.eye(3, dtype=np.float32),
        betas=fit.betas[rows].mean(axis=0),
        gender=fit.gender,
    )
