"""HumanEva's own files: calibration (.cal), synchronisation (.ofs), measurements of the actors (.mp), joints (.c3d).

After the owners' MATLAB code, release 1.1 (sync_stream.m, mocap_stream/cur_frame.m, MarkerCoord2Xform.m): joints are
not stored but computed of the origins and axes of body segments that the capture system added to the markers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.conventions import H36M17
from humanpose_cli.data.sources.c3d_files import C3dPoints
from humanpose_cli.data.sources.lenses import CalibratedCamera, Lens
from humanpose_cli.data.sources.reading import read_lines
from humanpose_cli.errors import InputError

__all__ = ["Measurements", "Synchronisation", "joints_at", "read_calibration", "read_measurements", "synchronise"]

Array = NDArray[Any]

_CENTRES_FROM_CORNER = 0.5  # Bouguet's toolbox, which calibrated these cameras, counts from the first pixel's centre
_MARKER_SIZE = 14.0  # millimetres
_HEAD_LENGTH = 316.103
_PELVIS_BACK = -50.0
# Markers that must have been seen in a frame; of two names, one is enough.
_MARKERS: tuple[tuple[str, ...], ...] = (
    *(("RASI",), ("LASI",), ("LPSI",), ("RELB",), ("STRN",), ("LTHI",), ("LWRA",), ("LELB",), ("T10",), ("RWRA",)),
    *(("RUPA",), ("RKNE",), ("RBAK",), ("LKNE",), ("CLAV",), ("RSHO",), ("LSHO",), ("C7",), ("RTIB",), ("LTIB",)),
    *(("LBHD",), ("RBHD",), ("RFHD",), ("LFHD",), ("LANK",), ("LHEE",), ("RANK",), ("LTOE",), ("RTOE",), ("RHEE",)),
    *(("LFIN",), ("RFRM", "RFRA"), ("LFRM", "LFRA"), ("RWRB",), ("RFIN",), ("LWRB",), ("RTHI",), ("LUPA",), ("RPSI",)),
)


def read_calibration(path: Path) -> CalibratedCamera:
    """A .cal file, a number a line: focal lengths, principal point, skew, k1 k2 p1 p2 k3, R by rows, t in millimetres.

    x_camera = R x_world + t; the returned camera is in metres.
    """
    numbers = _numbers(path, 22)
    fx, fy, cx, cy, skew, k1, k2, p1, p2, k3 = (float(number) for number in numbers[:10])
    centre = (cx + _CENTRES_FROM_CORNER, cy + _CENTRES_FROM_CORNER)
    rotation = numbers[10:19].reshape(3, 3)
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
        raise InputError(path, "holds no rotation in lines 11 to 19")
    lens = Lens((fx, fy), centre, (k1, k2, k3), (p1, p2), skew=skew)
    return CalibratedCamera(lens, rotation, numbers[19:] / 1000)


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
    """Which mocap frame and which pictures belong together, counted from 1 as the owners do.

    In common frame n (from 1), the mocap's place is mocap_start + (n − 1) mocap_step, between its frames, and the video
    of a camera shows frame image_starts[camera] + n − 1.
    """

    mocap_start: float
    mocap_step: float
    image_starts: Mapping[str, int]

    def mocap_places(self, frames: Array) -> Array:
        """Common frames from 1 → places in the mocap, from 0."""
        return self.mocap_start + (frames - 1) * self.mocap_step - 1

    def video_frame(self, camera: str, frame: int) -> int:
        """A common frame from 1 → the video's frame, from 0."""
        return self.image_starts[camera] + frame - 2


def synchronise(files: Mapping[str, Path]) -> Synchronisation:
    """One clock for all cameras of a trial, from their .ofs files in the order C1, C2, C3, BW1 to BW4.

    Each file has three numbers: a frame of the video, the mocap's frame at that time, mocap frames per video frame.
    """
    time = scale = 0.0
    starts: dict[str, float] = {}
    for camera, path in files.items():
        image, mocap, step = (float(number) for number in _numbers(path, 3))
        if step <= 0:
            raise InputError(path, "has an unusable third line", expected="a positive number", got=str(step))
        if not starts:
            time = mocap
        starts[camera] = image + (time - mocap) / step
        scale += step / len(files)
    earliest = min(starts.values())
    time -= scale * (earliest - 1)
    shift = 1 - earliest
    if time < 1:
        shift -= (time - 1) / scale
        time = 1.0
    return Synchronisation(time, scale, {name: math.floor(start + shift + 0.5) for name, start in starts.items()})


@dataclass(frozen=True)
class Measurements:
    """Of an actor, millimetres: half the width between the shoulders, and from shoulder to joint left and right."""

    torso_radius: float
    shoulder_offsets: tuple[float, float]


def read_measurements(path: Path, standing: C3dPoints) -> Measurements:
    """From the actor's .mp file ("$LShoulderOffset = 43") and a recording of them standing still."""
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
    shoulders = standing.places[:, [standing.find("LSHO"), standing.find("RSHO")]]
    seen = shoulders.any(-1).all(-1)
    if not seen.any():
        raise InputError(standing.path, "never shows both shoulders (LSHO, RSHO)")
    width = np.linalg.norm(shoulders[seen, 0] - shoulders[seen, 1], axis=-1).mean()
    radius = float(width) / 2 - _MARKER_SIZE / 2
    return Measurements(radius, (table["LShoulderOffset"], table["RShoulderOffset"]))


class _Segments:
    """Body segments of a trial at some places in time: their joints' frames, after the owners' cur_frame.m."""

    def __init__(self, points: C3dPoints, places: Array) -> None:
        self.points = points
        self.before = np.floor(places).astype(int)
        self.after = self.before + 1
        self.between = (places - self.before)[:, None]
        self.whole = self.between[:, 0] == 0

    def seen(self, number: int) -> NDArray[np.bool_]:
        """(T,) whether a point was seen before and after each place."""
        seen = np.asarray(self.points.places[:, number].any(axis=-1))
        return seen[self.before] & (seen[self.after] | self.whole)

    def origin(self, name: str) -> tuple[Array, NDArray[np.bool_]]:
        """(T, 3) place of a point, and where it was seen."""
        number = self.points.find(name)
        point = self.points.places[:, number]
        return (1 - self.between) * point[self.before] + self.between * point[self.after], self.seen(number)

    def axes(self, name: str) -> tuple[Array, NDArray[np.bool_]]:
        """Rotations (T, 3, 3) whose columns are the axes of a segment, and where its four points were seen.

        The points after the origin lie on its axes z (to the next segment), x (forward) and y (to the left).
        """
        origin = self.points.find(name)
        if origin + 3 >= len(self.points.labels):
            raise InputError(self.points.path, f"has no axes after {name}")
        corners = self.points.places[:, [origin, origin + 2, origin + 3, origin + 1]]
        seen = np.logical_and.reduce([self.seen(origin + step) for step in range(4)])
        turns = [self._turn(corners[frames]) for frames in (self.before, self.after)]
        step = (turns[0].inv() * turns[1]).as_rotvec()
        return (turns[0] * Rotation.from_rotvec(self.between * step)).as_matrix(), seen

    def _turn(self, corners: Array) -> Rotation:
        """Corners (T, 4, 3): origin and points on the axes."""
        axes = corners[:, 1:] - corners[:, :1]
        lengths = np.linalg.norm(axes, axis=-1, keepdims=True)
        axes = np.where(lengths > 0, axes / np.maximum(lengths, 1e-9), np.eye(3))
        u, _, vh = np.linalg.svd(axes.transpose(0, 2, 1))
        u[:, :, 2] *= np.sign(np.linalg.det(u @ vh))[:, None]
        return Rotation.from_matrix(u @ vh)

    def length(self, start: str, end: str) -> Array:
        """(T,) mean distance of two points before and after each place."""
        apart = self.points.places[:, self.points.find(start)] - self.points.places[:, self.points.find(end)]
        distance = np.linalg.norm(apart, axis=-1)
        last = np.where(self.whole, self.before, self.after)
        return (distance[self.before] + distance[last]) / 2


def joints_at(points: C3dPoints, places: Array, measured: Measurements) -> Array:
    """Joints (T, 17, 4) of h36m17, metres in world axes (z up) and confidence, at places in time counted from 0.

    All are unknown where a marker was not seen, as in the owners' code; spine and nose always, which it lacks; the top
    of the head where it is below the neck, because the head's axes are upside down in some frames.
    """
    known = (places >= 0) & (np.ceil(places) < len(points.places))
    # MATLAB's code looks one frame further even at whole places; the last frame is repeated for that.
    padded = C3dPoints(points.path, points.labels, np.concatenate((points.places, points.places[-1:])), points.unit)
    segments = _Segments(padded, np.where(known, places, 0))
    for names in _MARKERS:
        known &= segments.seen(min(_numbers_of(points, names)))
    joints = np.zeros((len(places), len(H36M17), 4))
    for name, (place, seen) in _joints(segments, measured).items():
        joints[:, H36M17.index(name), :3] = place * (0.001 if points.unit == "mm" else 1.0)
        joints[:, H36M17.index(name), 3] = known & seen
    head, neck = joints[:, H36M17.index("head_top")], joints[:, H36M17.index("thorax")]
    head[:, 3] *= head[:, 2] > neck[:, 2]
    joints[joints[..., 3] == 0] = 0
    return joints


def _numbers_of(points: C3dPoints, names: Sequence[str]) -> list[int]:
    found = [number for number, label in enumerate(points.labels) if any(name in label for name in names)]
    if not found:
        raise InputError(points.path, f"has no marker {' or '.join(names)}", got=", ".join(points.labels)[:80])
    return found


def _joints(segments: _Segments, measured: Measurements) -> dict[str, tuple[Array, NDArray[np.bool_]]]:
    """Name of h36m17 → place (T, 3) millimetres, and where it is known. Proximal and distal ends are averaged."""
    torso = segments.length("TRXO", "PELO")
    pelvis_axes, pelvis_seen = segments.axes("PELO")
    head_axes, head_seen = segments.axes("HEDO")
    neck, neck_seen = segments.origin("TRXO")
    pelvis = segments.origin("PELO")[0] + pelvis_axes[..., 0] * _PELVIS_BACK
    upper = pelvis + _tilted(pelvis_axes, np.arctan2(measured.torso_radius / 2, torso)) * torso[:, None]
    found = {
        "pelvis": (pelvis, pelvis_seen),
        "thorax": ((upper + neck) / 2, pelvis_seen & neck_seen),
        "head_top": (neck + head_axes[..., 2] * _HEAD_LENGTH, head_seen & neck_seen),
    }
    for side, letter, offset in zip(("left", "right"), "LR", measured.shoulder_offsets, strict=True):
        thigh_axes, thigh_seen = segments.axes(f"{letter}FEO")
        shank_axes, shank_seen = segments.axes(f"{letter}TIO")
        (hip, hip_seen), (knee, _) = segments.origin(f"{letter}FEP"), segments.origin(f"{letter}FEO")
        thigh = segments.length(f"{letter}FEP", f"{letter}FEO")[:, None]
        shank = segments.length(f"{letter}FEO", f"{letter}TIO")[:, None]
        found[f"{side}_hip"] = (hip, hip_seen)
        found[f"{side}_knee"] = ((hip - thigh_axes[..., 2] * thigh + knee) / 2, hip_seen & thigh_seen & shank_seen)
        found[f"{side}_ankle"] = (knee - shank_axes[..., 2] * shank, thigh_seen & shank_seen)
        found |= _arm(segments, side, letter, offset)
    return found


def _arm(segments: _Segments, side: str, letter: str, offset: float) -> dict[str, tuple[Array, NDArray[np.bool_]]]:
    """Shoulder, elbow and wrist; the upper arm is turned outward by the shoulder's width, the elbow follows."""
    upper_axes, upper_seen = segments.axes(f"{letter}HUO")
    lower_axes, lower_seen = segments.axes(f"{letter}RAO")
    (shoulder, shoulder_seen), (elbow, _) = segments.origin(f"{letter}CLO"), segments.origin(f"{letter}HUO")
    upper = segments.length(f"{letter}CLO", f"{letter}HUO")
    lower = segments.length(f"{letter}HUO", f"{letter}RAO")[:, None]
    angle = np.arctan2(offset / 2, upper)
    apart = elbow - (shoulder - upper_axes[..., 2] * upper[:, None])
    end = shoulder - _tilted(upper_axes, -angle) * upper[:, None]
    start = end + apart
    wrist = start - _tilted(lower_axes, angle) * lower
    all_seen = shoulder_seen & upper_seen & lower_seen
    return {
        f"{side}_shoulder": (shoulder, shoulder_seen),
        f"{side}_elbow": ((end + start) / 2, all_seen),
        f"{side}_wrist": (wrist, all_seen),
    }


def _tilted(axes: Array, angle: Array) -> Array:
    """The third axis (T, 3) after a turn about the second: sin x + cos z."""
    return np.sin(angle)[:, None] * axes[..., 0] + np.cos(angle)[:, None] * axes[..., 2]
