"""Poses as joint rotations: AMASS and its relatives, and fits of ours and of other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.conventions import FINGERS, SMPL24
from humanpose_cli.core.errors import InputError, shell_word
from humanpose_cli.files.documents import outline_of
from humanpose_cli.files.npz_files import npz_names
from humanpose_cli.files.value_limits import LIMITS, check_limits
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.fit_files import FitRecord, held_rows
from humanpose_cli.io.foreign_fits import (
    NPZ_NAMES,
    ForeignFits,
    body_poses,
    documented,
    first_has,
    fits_of_object,
    numbers_of,
    read_object,
)
from humanpose_cli.io.pose_files.joint_arrays import MOTION_X
from humanpose_cli.io.pose_files.target_pose import (
    AXES,
    DetectedKeypoints,
    RotationTarget,
    choose_person,
    standing_axes,
)

# Names of poses, or of the pelvis' and the other joints' part: the first group that a table holds counts.
_POSES = (
    ("Rh", "poses"),  # EasyMocap: easymocap/mytools/file_utils.py, `write_smpl`
    ("poses",),  # AMASS, BEAT2
    ("smpl_poses",),  # AIST++: aist_plusplus/loader.py and demos/extract_motion_feats.py
    ("root_orient", "pose_body"),  # AMASS' SMPL-X files, VPoser; SLAHMR: slahmr/optim/base_scene.py
    ("global_orient", "body_pose"),  # smplx: `forward` of smplx/body_models.py; SMPLify-X, EMAGE
    ("global_orient", "rotations"),  # MDM's bodies: visualize/vis_utils.py, `save_npy`
    ("pose",),  # VIBE, a table a person: demo.py of mkocabas/VIBE, also of PyMAF and TCMR
    ("smpl_thetas",),  # ROMP and BEV: simple_romp/romp/utils.py, `ResultSaver` and `save_video_results`
)
_TRANS = ("trans", "transl", "smpl_trans", "Th", "root_translation", "cam_trans")
_BETAS = ("betas", "shapes", "smpl_betas")
_FRAME_RATES = ("mocap_framerate", "mocap_frame_rate", "fps")
_IN_CAMERA = ("pose", "smpl_thetas", "cam_R")  # names in files with camera axes, or SLAHMR's axes of the first camera
_NAMES = {name for names in (*_POSES, _TRANS, _BETAS, _FRAME_RATES, _IN_CAMERA) for name in names}
_NAMES |= {"smpl_scaling", "results"}
_AIST_RATE, _MOTION_X_RATE = 60.0, 30.0
_FIRST_FINGER = {156: 66, 165: 75}  # columns by width of SMPL-H's poses, and of SMPL-X's with jaw and eyes
_WITHOUT_PELVIS = (63, 69)  # lengths of EasyMocap's poses without the pelvis, which is zero in longer ones


def read_rotations(path: Path, axes: str | None, track: int | None = None, content: Any = None) -> RotationTarget:
    """Read rotations of SMPL's joints from an `.npz`, a pickle or a file of `torch.save`, or another program's fits.

    A file has `poses` (T, 66 or more) axis-angle, or one of the other names in `_POSES`, and may have a path, betas and
    a frame rate. Rotations may also be matrices (…, 3, 3), of one pose, or of several people (P, T, …). If a file has
    `poses` and parts of SMPL-X, `poses` are read. AIST++'s path is in units of `smpl_scaling`.

    Args:
        path: The file.
        axes: The file's axes. None: z up as in AMASS, unless the person stands along y in most frames, as in BEAT2's
            and AIST++'s files. Other programs' fits are in camera axes.
        track: Number of the person in fits (None for the largest) or in a motion of several people (None for the
            first).
        content: The result of `read_object`; None reads the file.

    Returns:
        The target in camera axes.

    Raises:
        InputError: If an array is missing, damaged, or in degrees.
    """
    content = read_object(path, _NAMES | NPZ_NAMES) if content is None else content
    if (fits := fits_of_object(path, content)) is not None:
        return target_of_foreign_fits(fits, track, path)
    notes: tuple[str, ...] = ()
    with documented(path):
        content = _people(content)
        if first_has(content, "frame_ids"):
            best = max(content, key=lambda key: (len(content[key]["frame_ids"]), -key))
            track, notes = choose_person(path, content, best, track)
            frames = np.array(content[track]["frame_ids"])
            check_limits("frame", frames, path)
            rows = held_rows(frames)
            content = {name: np.array(values)[rows] for name, values in content[track].items() if name in _NAMES}
        elif people := _tables_of_people(content):
            track, notes = choose_person(path, range(len(people)), 0, track)
            content = people[track]
    table = content if isinstance(content, Mapping) else {}
    names = next((names for names in _POSES if table.keys() >= {*names}), None)
    if names is None:
        lack = next((names[-1] for names in _POSES if names[0] in table), "poses")
        expected = "smpl_poses, poses, root_orient or global_orient, or results of another program"
        got = ", ".join(sorted(npz_names(path))[:8]) if path.suffix.lower() == ".npz" else outline_of(content)
        raise InputError(path, f"holds no {lack}", expected=expected, got=got)
    target = _target_of_table(path, {name: table[name] for name in _NAMES & table.keys()}, names, axes, track)
    return replace(target, warnings=(*notes, *target.warnings))


def _people(content: Any) -> Any:
    """Convert frames (EasyMocap, ROMP or a list of tables) to a table for each person; name Motion-X's columns."""
    # ROMP without tracks numbers people from the nearest on. Other contents stay.
    if isinstance(content, np.ndarray) and content.shape[1:] == (MOTION_X,):  # README.md, "Data Loading"
        columns = {"poses": content[:, :66], "trans": content[:, 309:312], "betas": content[:, 312:]}
        return {**columns, "fps": _MOTION_X_RATE}
    frames: list[list[tuple[Any, Mapping[str, Any]]]] = []
    if isinstance(content, list):
        lists = (frame.get("annots", [frame]) if isinstance(frame, Mapping) else frame for frame in content)
        frames = [[(person.get("id", 0), person) for person in people] for people in lists]
    elif isinstance(content, Mapping) and isinstance(results := content.get("results"), Mapping):
        for image in [results] if "smpl_thetas" in results else results.values():
            tracks = image.get("track_ids", np.argsort(np.argsort(image["cam_trans"][:, 2])))
            rows = [{name: image[name][row] for name in _NAMES & image.keys()} for row in range(len(tracks))]
            frames.append(list(zip(tracks, rows, strict=True)))
    if not frames:
        return content
    tables: dict[int, dict[str, list[Any]]] = {}
    for number, frame in enumerate(frames):
        for key, person in frame:
            table = tables.setdefault(int(key), {})
            for name in _NAMES & person.keys():
                table.setdefault(name, []).append(np.ravel(person[name]))
            table.setdefault("frame_ids", []).append(number)
    return tables


def _tables_of_people(content: Any) -> list[Mapping[str, Any]]:
    """List tables of poses in a table, a person each, as InterHuman's `person1` and `person2`, with what they share."""
    if not isinstance(content, Mapping) or any(content.keys() >= {*names} for names in _POSES):
        return []
    tables = [value for value in content.values() if isinstance(value, Mapping)]
    shared = {key: value for key, value in content.items() if not isinstance(value, Mapping)}
    return [{**shared, **table} for table in tables if any(table.keys() >= {*names} for names in _POSES)]


def _target_of_table(
    path: Path, table: Mapping[str, Any], names: Sequence[str], axes: str | None, track: int | None
) -> RotationTarget:
    arrays = {name: _numbers(path, name, value) for name, value in table.items()}
    poses = _poses(path, arrays, names)
    largest = float(np.abs(poses).max())
    if largest > LIMITS["poses"].high:
        problem, remedy = "holds rotations that are too large", "if these are degrees, save numpy.deg2rad(poses)"
        raise InputError(path, problem, expected="axis-angle in radians", got=f"{largest:.3g}", remedy=remedy)
    rate, trans, betas = _frame_rate(path, arrays), _first(arrays, _TRANS), _first(arrays, _BETAS)
    expected = (*poses.shape[:-1], 3)
    trans = np.zeros(expected) if trans is None else trans.T if "root_translation" in arrays else trans
    if trans.squeeze().shape != np.zeros(expected).squeeze().shape:
        raise InputError(path, "holds trans of the wrong shape", expected=str(expected), got=str(trans.shape))
    trans = trans.reshape(expected)
    if "smpl_scaling" in arrays:
        rate, trans = rate or _AIST_RATE, trans / max(float(arrays["smpl_scaling"].ravel()[0]), 1e-6)
    notes: tuple[str, ...] = ()
    if poses.ndim == 3:
        track, notes = choose_person(path, range(len(poses)), 0, track)
        betas = betas[track] if betas is not None and betas.ndim > 1 and len(betas) == len(poses) else betas
        poses, trans = poses[track], trans[track]
    poses, trans = np.atleast_2d(poses), np.atleast_2d(trans)
    check_limits("trans", trans, path)
    # EasyMocap turns bodies about the origin of the rest body, others about the pelvis.
    turn = BodyParams(poses, None, trans).rotations[:, 0] if "Rh" in arrays else np.eye(3)
    if axes is None:
        default = "camera" if any(name in arrays for name in _IN_CAMERA) else "z-up"
        chest, feet = _chest_and_feet(poses, trans + turn @ _REST_PELVIS)
        axes, axes_notes = standing_axes(chest, feet, default, [name for name in AXES if name != default])
        notes += axes_notes
    rotation, shape = AXES[axes], np.tile(_mean_betas(path, betas), (len(poses), 1))
    hands = _hand_poses(path, arrays, len(poses)) if names == ("poses",) else None
    params = BodyParams(poses, shape, trans, hand_poses=hands).in_axes(rotation, np.zeros(3), 0)
    params = replace(params, poses=params.poses.astype(np.float32), trans=params.trans.astype(np.float32))
    return RotationTarget(params, rate, (rotation @ turn).astype(np.float32), notes, person=track)


def _hand_poses(path: Path, arrays: Mapping[str, np.ndarray], count: int) -> np.ndarray | None:
    """Return the fingers (T, 2, 15, 3) of SMPL-H's and SMPL-X's poses; None for other models."""
    poses = np.atleast_2d(arrays["poses"])
    first = _FIRST_FINGER.get(poses.shape[-1])
    if first is None or poses.shape[:-1] != (count,):
        return None
    hands = poses[:, first : first + 6 * len(FINGERS)].reshape(count, 2, len(FINGERS), 3).astype(np.float32)
    check_limits("hand_poses", hands, path)
    return hands


def _first(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _poses(path: Path, arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Read axis-angle poses by `body_poses`."""
    parts = [arrays[name] for name in names]
    if names[0] == "Rh" and parts[1].shape[-1] not in _WITHOUT_PELVIS:
        parts[1] = parts[1][..., 3:]
    try:
        return body_poses(parts)
    except ValueError as error:
        problem = f"holds {' and '.join(names)} of the wrong shape"
        got = " and ".join(str(arrays[name].shape) for name in names)
        raise InputError(path, problem, expected="(T, 66 or more) in all", got=got) from error


_REST_PELVIS = np.array([0, -0.3, 0])  # metres; SMPL's rest body has −0.24, SMPL-X's −0.35


def _chest_and_feet(poses: np.ndarray, pelvis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute positions (T, 3) of an adult's chest and feet from poses (T, 72) in the file's axes."""
    turns = BodyParams(poses, None, pelvis).rotations

    def end(start: np.ndarray, bones: Mapping[str, float]) -> np.ndarray:
        """Follow a chain of joints with the lengths of their bones: up the trunk, down the legs."""
        turn = turns[:, SMPL24.index("pelvis")]
        for joint, length in bones.items():
            turn = turn @ turns[:, SMPL24.index(joint)]
            start = start + turn[:, :, 1] * length
        return start

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
    rate = _first(arrays, _FRAME_RATES)
    if rate is None:
        return None
    if rate.size != 1 or not 0 < float(rate.reshape(())) <= 10_000:
        raise InputError(path, "holds an unusable mocap_framerate", expected="frames a second", got=str(rate))
    return float(rate.reshape(()))


def _mean_betas(path: Path, betas: np.ndarray | None) -> np.ndarray:
    """Compute SMPL's first shape components (10,) float32, the mean of several rows; 0 if the file has none."""
    first = np.zeros(10, np.float32)
    if betas is not None and betas.size:
        check_limits("betas", betas, path)
        mean = betas.reshape(-1, betas.shape[-1]).mean(axis=0)[:10]
        first[: len(mean)] = mean
    return first


def target_of_foreign_fits(fits: ForeignFits, track: int | None, path: Path) -> RotationTarget:
    """Select one person of another program's fits: `track`, by default the person with the largest sum of 1 / z².

    Frames without the person repeat the last pose. Raises InputError for fits without rotations or track numbers.
    """
    lack = "rotations of SMPL" if fits.model == "joints" else "numbers of people" if (fits.track < 0).any() else ""
    if lack:
        remedy = f"hpc refine {shell_word(path)} --frames VIDEO makes a fit file, which is read"
        raise InputError(path, f"holds results of {fits.program} without {lack}", remedy=remedy)
    tracks, people = np.unique(fits.track, return_inverse=True)
    area = np.bincount(people, weights=1 / fits.trans[:, 2] ** 2)
    person, notes = choose_person(path, tracks.tolist(), int(tracks[area.argmax()]), track)
    rows = np.flatnonzero(fits.track == person)
    rows = rows[np.argsort(fits.frame[rows], kind="stable")]
    rows = rows[held_rows(fits.frame[rows])]
    params = BodyParams(*(values[rows].astype(np.float32) for values in (fits.poses, fits.betas, fits.trans)))
    notes = (f"{fits.program}'s poses are read in camera axes", *fits.notes, *notes)
    return RotationTarget(params, warnings=notes, person=person)


def target_of_fit(fit: FitRecord, track: int | None = None, name: Path | str = "fit") -> RotationTarget:
    """Select one person of a fit, from their first frame to their last; frames without them repeat the last pose.

    Args:
        fit: The fit.
        track: Track number; None for the largest person (`FitRecord.largest_track`).
        name: Name of the fit in errors.

    Returns:
        The target.

    Raises:
        InputError: If the fit holds no person.
        UsageError: If it does not hold this track.
    """
    if len(fit) == 0:
        raise InputError(name, "holds no person", expected="a fit with at least one person")
    track, _ = choose_person(name, fit.tracks, fit.largest_track, track)
    rows = fit.held_rows(track)
    frames = fit.frame_index[rows]
    keypoints = DetectedKeypoints(fit.keypoints2d[rows], fit.focal[frames], fit.principal_point[frames], fit.body)
    return RotationTarget(fit.params.rows(rows), fit.frame_rate or None, person=track, detected=keypoints)
