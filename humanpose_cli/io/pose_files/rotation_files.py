"""Poses as joint rotations: AMASS archives and fit files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.npz_files import npz_names, read_npz
from humanpose_cli.io.pose_files.target_pose import (
    AXES,
    DetectedKeypoints,
    RotationTarget,
    check_axes,
    standing_axes,
)
from humanpose_cli.io.value_limits import LIMITS, check_limits

_BODY = 66  # pelvis and 21 body joints, the same in SMPL-H, SMPL-X and SMPL
_SMPL = 72
_FRAME_RATES = ("mocap_framerate", "mocap_frame_rate")


def read_amass(path: Path, axes: str | None) -> RotationTarget:
    """Read an AMASS `.npz`: poses (T, ≥ 66) axis-angle, and if there are, trans (T, 3), betas, mocap_framerate.

    72 columns are SMPL's 24 joints; any other width begins with the pelvis and 21 body joints (SMPL-H, SMPL-X),
    and the two hand joints, which those models split into fingers, stay straight.
    axes None: z up as AMASS has it, unless the person stands along y in most frames, as in BEAT2's and AIST++'s files.
    Raises InputError if an array is missing, damaged, or in degrees.
    """
    arrays = read_npz(path, {"poses", "trans", "betas", *_FRAME_RATES})
    poses = _numbers(path, "poses", arrays.get("poses"))
    if poses.ndim != 2 or poses.shape[1] < _BODY or len(poses) == 0:
        raise InputError(path, "holds poses of the wrong shape", expected="(T, 66 or more)", got=str(poses.shape))
    largest = float(np.abs(poses[:, :_BODY]).max())
    if largest > LIMITS["poses"].high:
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
    check_limits("trans", trans, path)
    notes: tuple[str, ...] = ()
    if axes is None:
        chest, feet = _chest_and_feet(body, trans)
        axes, notes = standing_axes(chest, feet, "z-up", ("y-up", "camera"))
    check_axes(axes)
    rotation = AXES[axes]
    params = BodyParams(body, np.tile(_betas(path, arrays), (len(body), 1)), trans).in_axes(rotation, np.zeros(3), 0)
    params = replace(params, poses=params.poses.astype(np.float32), trans=params.trans.astype(np.float32))
    return RotationTarget(params, _frame_rate(path, arrays), rotation.astype(np.float32), notes)


def _chest_and_feet(poses: np.ndarray, trans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the positions (T, 3) of chest and feet for an adult's lengths, of poses (T, 72) in the file's axes."""
    turns = BodyParams(poses, None, trans).rotations

    def end(start: np.ndarray, bones: Mapping[str, float]) -> np.ndarray:
        """Follow a chain of joints, each with the length of its bone: up the trunk, down the legs."""
        turn = turns[:, SMPL24.index("pelvis")]
        for joint, length in bones.items():
            turn = turn @ turns[:, SMPL24.index(joint)]
            start = start + turn[:, :, 1] * length
        return start

    pelvis = trans - (0, 0.3, 0)  # of the rest bodies of SMPL (−0.24) and SMPL-X (−0.35)
    feet = [end(pelvis, {f"{side}_hip": -0.47, f"{side}_knee": -0.42}) for side in ("left", "right")]
    return end(pelvis, {"spine1": 0.25, "spine2": 0.05, "spine3": 0.15}), np.mean(feet, axis=0)


def _numbers(path: Path, name: str, values: np.ndarray | None) -> np.ndarray:
    if values is None:
        names_text = ", ".join(sorted(npz_names(path))[:8]) or "nothing"
        remedy = "save joint positions as .npy, or rotations with the names of AMASS"
        raise InputError(path, f"holds no {name}", expected="an AMASS or a fit file", got=names_text, remedy=remedy)
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise InputError(path, f"holds {name} that are not all finite numbers", remedy="make it again")
    return values.astype(np.float64)


def _frame_rate(path: Path, arrays: dict[str, np.ndarray]) -> float | None:
    array = next((arrays[name] for name in _FRAME_RATES if name in arrays), None)
    if array is None:
        return None
    rate = _numbers(path, "mocap_framerate", array)
    if rate.size != 1 or not 0 < float(rate.reshape(())) <= 10_000:
        raise InputError(path, "holds an unusable mocap_framerate", expected="frames a second", got=str(array))
    return float(rate.reshape(()))


def _betas(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Read (10,) float32 SMPL's first shape components, 0 if the file has none; the mean of several."""
    betas = np.zeros(10, np.float32)
    if "betas" in arrays:
        array = _numbers(path, "betas", arrays["betas"])
        check_limits("betas", array, path)
        mean = array.reshape(-1, array.shape[-1]).mean(axis=0) if array.size else np.zeros(0)
        betas[: min(10, len(mean))] = mean[:10]
    return betas


def target_of_fit(fit: FitRecord, track: int | None = None, name: Path | str = "fit") -> RotationTarget:
    """Select one person of a fit: `track`, or else the largest (`FitRecord.largest_track`).

    From the first frame that shows them to the last; frames between that do not show them hold the last pose shown.

    name  of the fit in errors: InputError if it holds no person, UsageError if it does not hold that track
    """
    if len(fit) == 0:
        raise InputError(name, "holds no person", expected="a fit with at least one person")
    if track is None:
        track = fit.largest_track
    if track not in fit.tracks:
        raise UsageError(name, f"holds no person {track}", expected=", ".join(map(str, fit.tracks)))
    rows = fit.held_rows(track)
    frames = fit.frame_index[rows]
    keypoints = DetectedKeypoints(fit.keypoints2d[rows], fit.focal[frames], fit.principal_point[frames], fit.body)
    return RotationTarget(fit.params.rows(rows), fit.frame_rate or None, person=track, detected=keypoints)
