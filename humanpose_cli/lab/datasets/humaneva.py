"""HumanEva-I: three actors with public joints, five actions, calibrated colour cameras C1 to C3, 60 frames a second.

Layout and licence: data/README.md, after the owners' release code 1.1, whose joints are computed here, and VideoPose3D.
Only the first trial of each action has both videos and public motion capture. Its frames are split into validation and
training as the owners do. S3's ThrowCatch has a damaged motion capture stream and is left out, as in VideoPose3D.

Protocols: "humaneva": the owners' train and validate; "nbf": the paper tests on two actions of each actor (section 5)
and does not say which frames or camera. Like the papers it compares with, we use Walking and Box, validation, camera
C1; networks learn from the owners' train.

Frames without all markers have no joints and are left out. Of the others, one pinhole view of the actor is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.core.conventions import H36M17
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.options import option
from humanpose_cli.lab.cache.samples import Group, Person, Sample
from humanpose_cli.lab.datasets.calibrated import (
    CropOptions,
    LabCamera,
    Lens,
    Shot,
    with_fitted_bodies,
    with_joints,
)
from humanpose_cli.lab.datasets.common import FolderSource, check_image_size, check_rotations
from humanpose_cli.lab.datasets.mocap_files import C3dPoints, read_c3d
from humanpose_cli.lab.datasets.reading import read_lines, video_frames

# HumanEva's own files: calibration (.cal), synchronisation (.ofs), measurements of the actors (.mp), joints (.c3d).
#
# After the owners' MATLAB code, release 1.1 (sync_stream.m, mocap_stream/cur_frame.m, MarkerCoord2Xform.m): joints are
# not stored, but computed from origins and axes of body segments that the capture system added to the markers.

Array = NDArray[Any]
_CENTRES_FROM_CORNER = 0.5  # Bouguet's toolbox, which calibrated these cameras, counts from the first pixel's centre
_MARKER_SIZE = 14.0  # millimetres
_HEAD_LENGTH = 316.103
_PELVIS_BACK = -50.0


# Markers that a frame must have; of two names, one is enough.
_MARKERS: tuple[tuple[str, ...], ...] = (
    *(("RASI",), ("LASI",), ("LPSI",), ("RELB",), ("STRN",), ("LTHI",), ("LWRA",), ("LELB",), ("T10",), ("RWRA",)),
    *(("RUPA",), ("RKNE",), ("RBAK",), ("LKNE",), ("CLAV",), ("RSHO",), ("LSHO",), ("C7",), ("RTIB",), ("LTIB",)),
    *(("LBHD",), ("RBHD",), ("RFHD",), ("LFHD",), ("LANK",), ("LHEE",), ("RANK",), ("LTOE",), ("RTOE",), ("RHEE",)),
    *(("LFIN",), ("RFRM", "RFRA"), ("LFRM", "LFRA"), ("RWRB",), ("RFIN",), ("LWRB",), ("RTHI",), ("LUPA",), ("RPSI",)),
)


def read_cal_file(path: Path) -> LabCamera:
    """Read the calibration of a camera, a .cal file with one number per line.

    The numbers are focal lengths, principal point, skew, k1 k2 p1 p2 k3, R by rows, t in millimetres.

    Args:
        path: The file; x_camera = R x_world + t.

    Returns:
        The camera, in metres.
    """
    numbers = _numbers(path, 22)
    fx, fy, cx, cy, skew, k1, k2, p1, p2, k3 = (float(number) for number in numbers[:10])
    centre = (cx + _CENTRES_FROM_CORNER, cy + _CENTRES_FROM_CORNER)
    rotation = numbers[10:19].reshape(3, 3)
    check_rotations(rotation, f"{path}, lines 11 to 19")
    return LabCamera(Lens((fx, fy), centre, (k1, k2, k3), (p1, p2), skew=skew), rotation, numbers[19:] / 1000)


def _numbers(path: Path, count: int) -> Array:
    lines = read_lines(path)
    try:
        numbers = np.array([float(line) for line in lines])
    except ValueError as error:
        raise InputError(path, "is damaged", expected="a number a line", got=str(error)[:60]) from error
    if len(numbers) < count or not np.isfinite(numbers).all():
        raise InputError(path, "is cut short or damaged", expected=f"{count} numbers", got=str(len(numbers)))
    return numbers[:count]


@dataclass(frozen=True)
class Synchronisation:
    """The common clock of a trial, counted from 1 as the owners do.

    In common frame n, the mocap is at frame mocap_start + (n − 1) mocap_step, which may be fractional, and the video of
    a camera is at frame image_starts[camera] + n − 1.

    Attributes:
        mocap_start: Frame of the mocap in common frame 1.
        mocap_step: Frames of the mocap per common frame.
        image_starts: Camera → frame of its video in common frame 1.
    """

    mocap_start: float
    mocap_step: float
    image_starts: Mapping[str, int]

    def mocap_times(self, frames: Array) -> Array:
        """Convert common frames from 1 to fractional frames of the mocap, from 0."""
        return self.mocap_start + (frames - 1) * self.mocap_step - 1

    def video_frame(self, camera: str, frame: int) -> int:
        """Convert a common frame from 1 to the video's frame, from 0."""
        return self.image_starts[camera] + frame - 2


def synchronise(files: Mapping[str, Path]) -> Synchronisation:
    """Find one clock for all cameras of a trial.

    Args:
        files: Camera → its .ofs file, in the order C1, C2, C3, BW1 to BW4. Each file has three numbers: a frame of the
            video, the mocap's frame at that time, and mocap frames per video frame.
    """
    time = scale = 0.0
    starts: dict[str, float] = {}
    for camera, path in files.items():
        image, mocap, step = (float(number) for number in _numbers(path, 3))
        if step <= 0:
            raise InputError(path, "has an unusable third line", expected="a positive number", got=str(step))
        # The clock starts at the mocap's frame of the first file; other cameras' images are counted from there.
        if not starts:
            time = mocap
        starts[camera] = image + (time - mocap) / step
        scale += step / len(files)
    # Common frame 1 is the first image of the camera that starts first, or the mocap's first frame if that is later.
    earliest = min(starts.values())
    time -= scale * (earliest - 1)
    shift = 1 - earliest
    if time < 1:
        shift -= (time - 1) / scale
        time = 1.0
    return Synchronisation(time, scale, {name: math.floor(start + shift + 0.5) for name, start in starts.items()})


@dataclass(frozen=True)
class Measurements:
    """Measurements of an actor in millimetres.

    Attributes:
        torso_radius: Half the width between the shoulders.
        shoulder_offsets: Distance from shoulder to joint, left and right.
    """

    torso_radius: float
    shoulder_offsets: tuple[float, float]


def read_measurements(path: Path, standing: C3dPoints) -> Measurements:
    """Read an actor's .mp file ("$LShoulderOffset = 43"), and measure their shoulders.

    Args:
        path: The file.
        standing: A recording of the actor standing still.
    """
    table: dict[str, float] = {}
    for line in read_lines(path):
        name, _, value = line.lstrip("$").partition("=")
        try:
            table[name.strip()] = float(value)
        except ValueError:
            continue  # other lines are text
    missing = [name for name in ("LShoulderOffset", "RShoulderOffset") if name not in table]
    if missing:
        raise InputError(path, f"lacks {', '.join(missing)}", got=", ".join(table)[:80] or "nothing")
    shoulders = standing.positions[:, [standing.find("LSHO"), standing.find("RSHO")]]
    is_measured = shoulders.any(-1).all(-1)
    if not is_measured.any():
        raise InputError(standing.path, "never shows both shoulders (LSHO, RSHO)")
    width = np.linalg.norm(shoulders[is_measured, 0] - shoulders[is_measured, 1], axis=-1).mean()
    radius = float(width) / 2 - _MARKER_SIZE / 2
    return Measurements(radius, (table["LShoulderOffset"], table["RShoulderOffset"]))


class _Segments:
    """Body segments of a trial at some times, after the owners' cur_frame.m."""

    def __init__(self, points: C3dPoints, times: Array) -> None:
        self.points = points
        self.before = np.floor(times).astype(int)
        self.after = self.before + 1
        self.between = (times - self.before)[:, None]
        self.is_integer = self.between[:, 0] == 0

    def is_measured(self, number: int) -> NDArray[np.bool_]:
        """Return whether a point was measured before and after each time (T,)."""
        is_measured = np.asarray(self.points.positions[:, number].any(axis=-1))
        return is_measured[self.before] & (is_measured[self.after] | self.is_integer)

    def origin(self, name: str) -> tuple[Array, NDArray[np.bool_]]:
        """Return the position (T, 3) of a point, and whether it was measured."""
        number = self.points.find(name)
        point = self.points.positions[:, number]
        return (1 - self.between) * point[self.before] + self.between * point[self.after], self.is_measured(number)

    def axes(self, name: str) -> tuple[Array, NDArray[np.bool_]]:
        """Return rotations (T, 3, 3) to a segment's axes, and whether its four points were measured."""
        # The points after the origin lie on the axes z (to the next segment), x (forward) and y (to the left).
        origin = self.points.find(name)
        if origin + 3 >= len(self.points.labels):
            raise InputError(self.points.path, f"has no axes after {name}")
        corners = self.points.positions[:, [origin, origin + 2, origin + 3, origin + 1]]
        is_measured = np.logical_and.reduce([self.is_measured(origin + step) for step in range(4)])
        # Between two frames of the mocap, a segment follows the shortest turn.
        turns = [self._turn(corners[frames]) for frames in (self.before, self.after)]
        step = (turns[0].inv() * turns[1]).as_rotvec()
        return (turns[0] * Rotation.from_rotvec(self.between * step)).as_matrix(), is_measured

    def _turn(self, corners: Array) -> Rotation:
        """Find rotations of corners (T, 4, 3): origin and points on the axes."""
        axes = corners[:, 1:] - corners[:, :1]
        lengths = np.linalg.norm(axes, axis=-1, keepdims=True)
        axes = np.where(lengths > 0, axes / np.maximum(lengths, 1e-9), np.eye(3))
        # The nearest rotation to the measured axes, which are not quite orthogonal.
        u, _, vh = np.linalg.svd(axes.transpose(0, 2, 1))
        u[:, :, 2] *= np.sign(np.linalg.det(u @ vh))[:, None]
        return Rotation.from_matrix(u @ vh)

    def length(self, start: str, end: str) -> Array:
        """Return the mean distance (T,) of two points before and after each time."""
        offsets = self.points.positions[:, self.points.find(start)] - self.points.positions[:, self.points.find(end)]
        distance = np.linalg.norm(offsets, axis=-1)
        return (distance[self.before] + distance[np.where(self.is_integer, self.before, self.after)]) / 2


def joints_at(points: C3dPoints, times: Array, measurements: Measurements) -> Array:
    """Compute joints of h36m17 at some times.

    All joints are unknown if a marker is missing, as in the owners' code; spine and nose always, since it lacks them;
    the top of the head if it is below the neck, since the head's axes are upside down in some frames.

    Args:
        points: The points of the trial.
        times: (T,) frames of the mocap, from 0, which may be fractional.
        measurements: Measurements of the actor.

    Returns:
        (T, 17, 4) metres in world axes (z up), and confidence.
    """
    valid = (times >= 0) & (np.ceil(times) < len(points.positions))
    # MATLAB's code looks one frame further even at whole times; the last frame is repeated for that.
    points_with_end = C3dPoints(
        points.path, points.labels, np.concatenate((points.positions, points.positions[-1:])), points.unit
    )
    segments = _Segments(points_with_end, np.where(valid, times, 0))
    for names in _MARKERS:
        valid &= segments.is_measured(min(_numbers_of(points, names)))
    joints = np.zeros((len(times), len(H36M17), 4))
    for name, (position, is_valid) in _joints(segments, measurements).items():
        joints[:, H36M17.index(name), :3] = position * (0.001 if points.unit == "mm" else 1.0)
        joints[:, H36M17.index(name), 3] = valid & is_valid
    head = joints[:, H36M17.index("head_top")]
    neck = joints[:, H36M17.index("thorax")]
    head[:, 3] *= head[:, 2] > neck[:, 2]
    joints[joints[..., 3] == 0] = 0
    return joints


def _numbers_of(points: C3dPoints, names: Sequence[str]) -> list[int]:
    numbers = [number for number, label in enumerate(points.labels) if any(name in label for name in names)]
    if not numbers:
        raise InputError(points.path, f"has no marker {' or '.join(names)}", got=", ".join(points.labels)[:80])
    return numbers


def _joints(segments: _Segments, measurements: Measurements) -> dict[str, tuple[Array, NDArray[np.bool_]]]:
    """Map names of h36m17 to positions (T, 3) in millimetres, and whether they are known."""
    # A joint between two segments is the mean of their ends.
    torso = segments.length("TRXO", "PELO")
    pelvis_axes, pelvis_valid = segments.axes("PELO")
    head_axes, head_valid = segments.axes("HEDO")
    neck, neck_valid = segments.origin("TRXO")
    pelvis = segments.origin("PELO")[0] + pelvis_axes[..., 0] * _PELVIS_BACK
    upper = pelvis + _tilt(pelvis_axes, np.arctan2(measurements.torso_radius / 2, torso)) * torso[:, None]
    joints = {
        "pelvis": (pelvis, pelvis_valid),
        "thorax": ((upper + neck) / 2, pelvis_valid & neck_valid),
        "head_top": (neck + head_axes[..., 2] * _HEAD_LENGTH, head_valid & neck_valid),
    }
    for side, letter, offset in zip(("left", "right"), "LR", measurements.shoulder_offsets, strict=True):
        thigh_axes, thigh_valid = segments.axes(f"{letter}FEO")
        shank_axes, shank_valid = segments.axes(f"{letter}TIO")
        hip, hip_valid = segments.origin(f"{letter}FEP")
        knee, _ = segments.origin(f"{letter}FEO")
        thigh = segments.length(f"{letter}FEP", f"{letter}FEO")[:, None]
        shank = segments.length(f"{letter}FEO", f"{letter}TIO")[:, None]
        joints[f"{side}_hip"] = (hip, hip_valid)
        joints[f"{side}_knee"] = ((hip - thigh_axes[..., 2] * thigh + knee) / 2, hip_valid & thigh_valid & shank_valid)
        joints[f"{side}_ankle"] = (knee - shank_axes[..., 2] * shank, thigh_valid & shank_valid)
        joints |= _arm(segments, side, letter, offset)
    return joints


def _arm(segments: _Segments, side: str, letter: str, offset: float) -> dict[str, tuple[Array, NDArray[np.bool_]]]:
    """Compute shoulder, elbow and wrist; the shoulder's width turns the upper arm outward."""
    upper_axes, upper_valid = segments.axes(f"{letter}HUO")
    lower_axes, lower_valid = segments.axes(f"{letter}RAO")
    shoulder, shoulder_valid = segments.origin(f"{letter}CLO")
    elbow, _ = segments.origin(f"{letter}HUO")
    upper = segments.length(f"{letter}CLO", f"{letter}HUO")
    lower = segments.length(f"{letter}HUO", f"{letter}RAO")[:, None]
    angle = np.arctan2(offset / 2, upper)
    forearm_offset = elbow - (shoulder - upper_axes[..., 2] * upper[:, None])
    end = shoulder - _tilt(upper_axes, -angle) * upper[:, None]
    start = end + forearm_offset
    wrist = start - _tilt(lower_axes, angle) * lower
    all_valid = shoulder_valid & upper_valid & lower_valid
    return {
        f"{side}_shoulder": (shoulder, shoulder_valid),
        f"{side}_elbow": ((end + start) / 2, all_valid),
        f"{side}_wrist": (wrist, all_valid),
    }


def _tilt(axes: Array, angle: Array) -> Array:
    """Turn the third axis (T, 3) about the second: sin x + cos z."""
    return np.sin(angle)[:, None] * axes[..., 0] + np.cos(angle)[:, None] * axes[..., 2]


_ACTIONS = ("Walking", "Jog", "ThrowCatch", "Gestures", "Box")
FRAMES: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "S1": dict(zip(_ACTIONS, ((590, 1203), (367, 740), (473, 945), (395, 801), (385, 789)), strict=True)),
    "S2": dict(zip(_ACTIONS, ((438, 876), (398, 795), (550, 1128), (500, 901), (382, 734)), strict=True)),
    "S3": {"Walking": (448, 939), "Jog": (401, 842), "Gestures": (533, 1102), "Box": (512, 1021)},
}
"""Actor → action → last validation frame and last training frame, from 1 on the trial's common clock."""
_FIRST_FRAME = 6
FRAME_RATE = 60.0
_CAMERAS = ("C1", "C2", "C3")
_CLOCK_CAMERAS = (*_CAMERAS, "BW1", "BW2", "BW3", "BW4")
_SIZE = (640, 480)
_NBF_ACTIONS = ("Walking", "Box")
_NBF_CAMERA = "C1"


@dataclass(frozen=True)
class HumanEvaOptions(CropOptions):
    """Options of HumanEva, as for all calibrated sources, but with every frame by default."""

    every: int = option(1, "Take every n-th frame.", minimum=1)


@dataclass(frozen=True, eq=False)
class _Video:
    """One camera's video of a trial: frames of the common clock, and joints (T, 17, 4) in world axes."""

    actor: str
    action: str
    camera: str
    clock: Synchronisation
    frames: NDArray[np.int64]
    joints: Array

    @property
    def name(self) -> str:
        return f"{self.actor}/{self.action}_1_({self.camera})"


class HumanEvaSource(FolderSource):
    """HumanEva-I as samples with one person each; a group is one video."""

    name = "humaneva"
    title = "HumanEva-I"
    contents = "complete trial of HumanEva-I"
    example = "S1, S2 and S3"
    splits = ("train", "validation")
    options: HumanEvaOptions
    options_type = HumanEvaOptions

    def _more_info(self) -> Mapping[str, Any]:
        return self._fitter_info()

    # Listing

    def _list(self, notes: list[str]) -> Iterable[Group]:
        groups: list[Group] = []
        for actor, actions in FRAMES.items():
            if not self._is_there(self.root / actor, f"the folder of HumanEva's actor {actor}", notes):
                continue
            for action in actions:
                absent = self._first_absent(self._files(actor, action), "a file of this trial")
                if absent is not None:
                    notes.append(f"{absent}: does not exist; {action} of {actor} is left out")
                    continue
                groups += [Group(video.name, len(video.frames), key=video) for video in self._trial(actor, action)]
        return groups

    def _files(self, actor: str, action: str) -> list[Path]:
        """List the files of a trial, without the synchronisation of the grey cameras."""
        folder = self.root / actor
        mocap = folder / "Mocap_Data"
        files = [mocap / f"{action}_1.c3d", mocap / "Static.c3d", mocap / f"{actor}.mp"]
        for camera in _CAMERAS:
            files += [self._video(actor, action, camera), self._sync(actor, action, camera), self._lens(actor, camera)]
        return files

    def _video(self, actor: str, action: str, camera: str) -> Path:
        return self.root / actor / "Image_Data" / f"{action}_1_({camera}).avi"

    def _sync(self, actor: str, action: str, camera: str) -> Path:
        return self.root / actor / "Sync_Data" / f"{action}_1_({camera}).ofs"

    def _lens(self, actor: str, camera: str) -> Path:
        return self.root / actor / "Calibration_Data" / f"{camera}.cal"

    def _trial(self, actor: str, action: str) -> list[_Video]:
        """List the videos of a trial, with the frames that have joints."""
        files = {camera: self._sync(actor, action, camera) for camera in _CLOCK_CAMERAS}
        clock = synchronise({camera: path for camera, path in files.items() if path.is_file()})
        folder = self.root / actor / "Mocap_Data"
        measurements = read_measurements(folder / f"{actor}.mp", read_c3d(folder / "Static.c3d"))
        frames = np.arange(_FIRST_FRAME, FRAMES[actor][action][1] + 1, self.options.every)
        joints = joints_at(read_c3d(folder / f"{action}_1.c3d"), clock.mocap_times(frames), measurements)
        valid = joints[..., 3].any(1)
        if not valid.any():
            raise InputError(folder / f"{action}_1.c3d", "has no frame in which all markers were measured")
        valid = valid & np.array([self._wants(_split(actor, action, int(frame))) for frame in frames])
        if not valid.any():
            return []
        return [_Video(actor, action, camera, clock, frames[valid], joints[valid]) for camera in _CAMERAS]

    # Reading

    def read(self, group: Group) -> Iterator[Sample]:
        video: _Video = group.key
        camera = read_cal_file(self._lens(video.actor, video.camera))
        joints = np.concatenate((camera.to_camera(video.joints[..., :3]), video.joints[..., 3:]), -1)
        joints[joints[..., 3] == 0] = 0
        people = self._people(video, joints)
        path = self._video(video.actor, video.action, video.camera)
        numbers = [video.clock.video_frame(video.camera, int(frame)) for frame in video.frames]
        for row, (number, pixels) in enumerate(video_frames(path, numbers)):
            check_image_size(path, (pixels.shape[1], pixels.shape[0]), _SIZE)
            valid = joints[row, :, 3] > 0
            shot = Shot(pixels, camera.lens, joints[row, valid, :3])
            pinhole = shot.camera(self.options.crop_size)
            yield shot.sample(
                f"{video.name}/{number:06d}",
                pinhole,
                [with_joints(people[row], "h36m17", joints[row], pinhole)],
                sequence=video.name,
                frame=number,
                splits=_splits(video, int(video.frames[row])),
                frame_rate=FRAME_RATE,
            )

    def _people(self, video: _Video, joints: Array) -> list[Person]:
        facts = Person(video.actor, video.actor, video.action)
        return with_fitted_bodies(facts, self.tools.joint_fitter, joints, "h36m17")


def _split(actor: str, action: str, frame: int) -> str:
    return "validation" if frame <= FRAMES[actor][action][0] else "train"


def _splits(video: _Video, frame: int) -> Mapping[str, str]:
    split = _split(video.actor, video.action, frame)
    if split == "train":
        return {"humaneva": split, "nbf": split}
    nbf = video.action in _NBF_ACTIONS and video.camera == _NBF_CAMERA
    return {"humaneva": split, **({"nbf": "test"} if nbf else {})}
