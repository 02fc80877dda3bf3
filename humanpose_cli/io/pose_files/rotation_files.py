"""Poses as joint rotations: AMASS and its relatives, and fits of ours and of other programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, UsageError, shell_word
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.foreign_fits import ForeignFits, fits_of_object, numbers_of, outline_of, read_object
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
_POSES = ("poses", "smpl_poses")
_PARTS = (("root_orient", "pose_body"), ("global_orient", "body_pose"))
_TRANS = ("trans", "transl", "smpl_trans")
_FRAME_RATES = ("mocap_framerate", "mocap_frame_rate", "fps")
_NAMES = {*_POSES, *_PARTS[0], *_PARTS[1], *_TRANS, *_FRAME_RATES, "betas", "smpl_scaling"}
_AIST_RATE = 60.0


def read_rotations(path: Path, axes: str | None, track: int | None = None) -> RotationTarget:
    """Read rotations of SMPL's joints from an `.npz`, a pickle or a file of `torch.save`, or another program's fits.

    | program | poses | path |
    | --- | --- | --- |
    | AMASS, BEAT2, Motion-X | `poses` (T, 66 or more) axis-angle | `trans` (T, 3) |
    | AMASS' SMPL-X files, VPoser | `root_orient` (T, 3), `pose_body` (T, 63) | `trans` |
    | smplx, SMPLify-X, EMAGE | `global_orient` (T, 3), `body_pose` (T, 63 or 69) | `transl` |
    | AIST++ | `smpl_poses` (T, 72) | `smpl_trans` / `smpl_scaling`, 60 frames a second |

    AIST++: aist_plusplus/loader.py and demos/extract_motion_feats.py, google/aistplusplus_api@2dd7b3e9. Names of
    smplx are those of its `forward` (smplx/body_models.py, vchoutas/smplx). Rotations may also be matrices (…, 3, 3).
    `betas` and the frame rate are optional; a file of SMPL-X parts that also has `poses` is read by these.

    axes   None: z up as AMASS has it, unless the person stands along y in most frames, as in BEAT2's and AIST++'s files
    track  the person of fits of GVHMR, WHAM or 4D-Humans, which are in camera axes; None takes the largest

    Raises InputError if an array is missing, damaged, or in degrees.
    """
    if path.suffix.lower() == ".npz":
        return _target_of_table(path, read_npz(path, _NAMES), axes)
    content = read_object(path)
    if isinstance(content, Mapping) and any(name in content for name in (*_POSES, *(root for root, _ in _PARTS))):
        return _target_of_table(path, {name: content[name] for name in _NAMES & content.keys()}, axes)
    if (fits := fits_of_object(path, content)) is not None:
        return target_of_foreign_fits(fits, track, path)
    expected = "smpl_poses, poses, root_orient or global_orient, or results of GVHMR, WHAM or 4D-Humans"
    raise InputError(path, "holds no poses", expected=expected, got=outline_of(content))


def _target_of_table(path: Path, table: Mapping[str, Any], axes: str | None) -> RotationTarget:
    arrays = {name: _numbers(path, name, value) for name, value in table.items()}
    poses = _poses(path, arrays)
    largest = float(np.abs(poses).max())
    if largest > LIMITS["poses"].high:
        raise InputError(
            path,
            "holds rotations that are too large",
            expected="axis-angle in radians",
            got=f"{largest:.3g}",
            remedy="if these are degrees, save numpy.deg2rad(poses)",
        )
    body = np.zeros((len(poses), _SMPL))
    body[:, : poses.shape[1]] = poses
    trans = next((arrays[name] for name in _TRANS if name in arrays), np.zeros((len(poses), 3)))
    if trans.shape != (len(poses), 3):
        raise InputError(path, "holds trans of the wrong shape", expected=f"({len(poses)}, 3)", got=str(trans.shape))
    rate = _frame_rate(path, arrays)
    if "smpl_scaling" in arrays:
        rate, trans = rate or _AIST_RATE, trans / max(float(arrays["smpl_scaling"].ravel()[0]), 1e-6)
    check_limits("trans", trans, path)
    notes: tuple[str, ...] = ()
    if axes is None:
        chest, feet = _chest_and_feet(body, trans)
        axes, notes = standing_axes(chest, feet, "z-up", ("y-up", "camera"))
    check_axes(axes)
    rotation = AXES[axes]
    params = BodyParams(body, np.tile(_betas(path, arrays), (len(body), 1)), trans).in_axes(rotation, np.zeros(3), 0)
    params = replace(params, poses=params.poses.astype(np.float32), trans=params.trans.astype(np.float32))
    return RotationTarget(params, rate, rotation.astype(np.float32), notes)


def _poses(path: Path, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return (T, 66 or 72) axis-angle of the pelvis and the body's joints. 72 columns are SMPL's 24 joints; any other
    width begins with 22 joints (SMPL-H, SMPL-X), and the two hand joints, which those models split, stay straight.
    """
    names: tuple[str, ...] = next(((name,) for name in _POSES if name in arrays), ())
    names = names or next((pair for pair in _PARTS if pair[0] in arrays), _PARTS[0])
    if missing := [name for name in names if name not in arrays]:
        remedy = "save joint positions as .npy, or rotations with the names of AMASS"
        got = ", ".join(sorted(npz_names(path) if path.suffix.lower() == ".npz" else arrays)[:8]) or "nothing"
        problem = f"holds no {missing[0] if names[0] in arrays else 'poses'}"
        expected = "an AMASS or a fit file"
        raise InputError(path, problem, expected=expected, got=got, remedy=remedy)
    vectors = [_axis_angles(arrays[name]) for name in names]
    shape = " and ".join(str(arrays[name].shape) for name in names)
    widths = [part.shape[1] if part.ndim == 2 and len(part) == len(vectors[0]) > 0 else 0 for part in vectors]
    if min(widths) == 0 or sum(widths) < _BODY:
        problem = f"holds {' and '.join(names)} of the wrong shape"
        raise InputError(path, problem, expected="(T, 66 or more) in all", got=shape)
    poses = np.concatenate(vectors, axis=1)
    return poses if poses.shape[1] == _SMPL else poses[:, :_BODY]


def _axis_angles(values: np.ndarray) -> np.ndarray:
    """Flatten (T, J, 3), (T, J, 3, 3) and (T, 3, 3), whose last two are matrices, to (T, 3 J)."""
    if values.ndim >= 3 and values.shape[-2:] == (3, 3):
        import torch

        values = matrix_to_axis_angle(torch.from_numpy(values.reshape(len(values), -1, 3, 3))).numpy()
    return values.reshape(len(values), -1) if values.ndim == 3 and values.shape[-1] == 3 else values


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


def _numbers(path: Path, name: str, value: Any) -> np.ndarray:
    try:
        array = numbers_of(value, *np.shape(value))
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if not np.isfinite(array).all():
        raise InputError(path, f"holds {name} that are not all finite numbers", remedy="make it again")
    return array


def _frame_rate(path: Path, arrays: Mapping[str, np.ndarray]) -> float | None:
    rate = next((arrays[name] for name in _FRAME_RATES if name in arrays), None)
    if rate is None:
        return None
    if rate.size != 1 or not 0 < float(rate.reshape(())) <= 10_000:
        raise InputError(path, "holds an unusable mocap_framerate", expected="frames a second", got=str(rate))
    return float(rate.reshape(()))


def _betas(path: Path, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Read (10,) float32 SMPL's first shape components, 0 if the file has none; the mean of several."""
    betas = np.zeros(10, np.float32)
    if "betas" in arrays:
        array = arrays["betas"]
        check_limits("betas", array, path)
        mean = array.reshape(-1, array.shape[-1]).mean(axis=0) if array.size else np.zeros(0)
        betas[: min(10, len(mean))] = mean[:10]
    return betas


def target_of_foreign_fits(fits: ForeignFits, track: int | None, path: Path) -> RotationTarget:
    """Select one person of another program's fits: `track`, or else the largest, with the sum of 1 / z² over frames.

    Frames that do not show the person hold the last pose shown. Raises InputError for fits without rotations.
    """
    if fits.model == "joints":
        remedy = f"hpc refine {shell_word(path)} --frames VIDEO makes a fit file, which is read"
        raise InputError(path, f"holds joints of {fits.program} without rotations of SMPL", remedy=remedy)
    tracks, people = np.unique(fits.track, return_inverse=True)
    area = np.bincount(people, weights=1 / fits.trans[:, 2] ** 2)
    person = int(tracks[area.argmax()]) if track is None else track
    if person not in tracks:
        raise UsageError(path, f"holds no person {person}", expected=", ".join(map(str, tracks.tolist())))
    rows = np.flatnonzero(fits.track == person)
    rows = rows[np.argsort(fits.frame[rows], kind="stable")]
    frames = np.arange(fits.frame[rows[0]], fits.frame[rows[-1]] + 1)
    rows = rows[np.searchsorted(fits.frame[rows], frames, side="right") - 1]
    notes: tuple[str, ...] = (f"{fits.program}'s poses are read in camera axes",)
    if track is None and len(tracks) > 1:
        notes += (f"{path} holds {len(tracks)} people: the largest is taken, {person}; `target_person` takes others",)
    poses, betas, trans = (values[rows].astype(np.float32) for values in (fits.poses, fits.betas, fits.trans))
    params = BodyParams(poses, betas, trans)
    return RotationTarget(params, warnings=notes, person=person)


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
