"""People over the frames of a sequence: rows of tracked people with their cameras and times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.detect.camera_motion import STILL, CameraPose
from humanpose_cli.detect.person import DetectedPerson

_MAX_GAP = 2.0  # seconds without a detection that are filled from the frames before and after
_CLOCK_ERROR = 0.1  # of an interval, deviation of the recorded times of evenly spaced frames


_LEGS = ("hip", "knee", "ankle", "heel", "foot_index", "big_toe", "small_toe")
_UPPER_BODY = ("shoulder", "elbow", "wrist", "pinky", "index", "thumb", "eye_inner", "eye", "eye_outer", "ear", "mouth")
_SWAPS = ((), _LEGS, _UPPER_BODY, _LEGS + _UPPER_BODY)
_SWAP_COST = 0.6  # per frame, for each half of the body
_JUMP = 0.06  # of the person's size, movement of a landmark in one frame that counts as a jump
_MAX_JUMP_COST = 4.0  # of one landmark
_MEMORY = 10  # frames after which an earlier position no longer counts


def settle_sides(people: Sequence[DetectedPerson], frames: Sequence[int]) -> list[DetectedPerson]:
    """Make left and right of one person consistent over a sequence.

    Args:
        people: The rows of one track, which have the same skeleton.
        frames: The rising frames of the rows.
    """
    if len(people) < 2:
        return list(people)
    skeleton = people[0].skeleton
    orders = np.array([_order(skeleton, names) for names in _SWAPS])
    side_rows = np.flatnonzero(orders[-1] != np.arange(len(skeleton)))
    size = np.array([max(float((p.box[2:] - p.box[:2]).max()), 1.0) for p in people])
    swap_cost = _SWAP_COST * np.array([0.0, 1.0, 1.0, 2.0])
    cost = np.tile(swap_cost, (len(people), 1))
    cost[np.array([p.locked is not None and p.locked.any() for p in people], bool), 1:] = np.inf
    steps = []
    hypotheses = people[0].keypoints.astype(np.float64)[orders]  # (4, L, 3)
    for t in range(1, len(people)):
        gap = frames[t] - frames[t - 1]
        previous = hypotheses[:, None, side_rows]
        hypotheses = people[t].keypoints.astype(np.float64)[orders]
        current = hypotheses[None, :, side_rows]
        jump = np.linalg.norm(previous[..., :2] - current[..., :2], axis=-1) / (_JUMP * size[t] * np.sqrt(gap))
        weight = np.minimum(previous[..., 2], current[..., 2]) * max(1 - gap / _MEMORY, 0.0)
        steps.append((weight * _MAX_JUMP_COST * jump**2 / (_MAX_JUMP_COST + jump**2)).sum(-1))
    return [
        _swapped(person, orders[choice]) if choice else person
        for person, choice in zip(people, best_path(cost, steps), strict=True)
    ]


def best_path(costs: NDArray[np.float64], steps: Sequence[NDArray[np.float64]]) -> list[int]:
    """Find the choice in each of T frames with the lowest total cost. The first of equal ones.

    Args:
        costs: (T, K). The cost of each choice.
        steps: T − 1 of (K, K). The cost of going from a choice of one frame to a choice of the next.
    """
    total = costs[0]
    predecessors = []
    for cost, step in zip(costs[1:], steps, strict=True):
        totals = total[:, None] + step
        predecessors.append(totals.argmin(0))
        total = totals.min(0) + cost
    path = [int(total.argmin())]
    for choices in reversed(predecessors):
        path.append(int(choices[path[-1]]))
    return path[::-1]


def _order(skeleton: Skeleton, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the order (L,) of rows in which left and right of some joints are exchanged."""
    order = np.arange(len(skeleton))
    for row, (name, mirror) in enumerate(zip(skeleton.joint_names, skeleton.mirror, strict=True)):
        side, _, joint = name.partition("_")
        if side == "mouth":  # BlazePose: mouth_left
            joint = "mouth"
        if joint in names:
            order[row] = mirror
    return order


def _swapped(person: DetectedPerson, order: NDArray[np.int64]) -> DetectedPerson:
    """Reorder the landmarks of a person. The box stays."""
    fields = {name: getattr(person, name) for name in ("keypoints", "locked", "spread", "world", "world_spread")}
    return replace(person, **{name: value[order] for name, value in fields.items() if value is not None})


@dataclass(frozen=True)
class FrameCamera:
    """A frame and its assumed camera.

    Attributes:
        name: The frame's name.
        camera: The lens.
        time: Seconds from the first frame.
        shot: The number of the shot, from 0.
        turn: Motion and zoom since the first frame of the shot.
        damaged: Whether the file is damaged at this frame.
        searched: Whether the frame was searched for people.
        ground: Up in camera axes, and the height in metres of the camera above the ground. None if unknown.
    """

    name: str
    camera: Camera
    time: float = 0.0
    shot: int = 0
    turn: CameraPose = STILL
    damaged: bool = False
    searched: bool = True
    ground: tuple[float, float, float, float] | None = None

    @property
    def world_to_camera(self) -> np.ndarray:
        """(4, 4). The world has the axes of the shot's first frame."""
        pose = np.eye(4)
        pose[:3, :3] = self.turn.rotation
        pose[:3, 3] = self.turn.translation
        return pose


def complete_tracks(
    people: Sequence[DetectedPerson], cameras: Sequence[FrameCamera], *, fill_gaps: bool = True
) -> list[DetectedPerson]:
    """Sort the rows of a sequence by track and frame, make left and right consistent, and fill gaps.

    Every frame that was not searched gets a row with interpolated landmarks. Every frame of a gap of up to two seconds
    gets a row with an interpolated box and no visible keypoint.

    Args:
        people: The rows.
        cameras: The cameras of all frames.
        fill_gaps: Whether frames that were searched without a result get rows.
    """
    rows: list[DetectedPerson] = []
    for _, track in groupby(sorted(people, key=lambda p: (p.track, p.frame)), key=lambda p: p.track):
        rows_of_track = list(track)
        rows_of_track = settle_sides(rows_of_track, [p.frame for p in rows_of_track])
        for first, second in pairwise(rows_of_track):
            rows += [first, *_rows_between(first, second, cameras, fill_gaps=fill_gaps)]
        rows.append(rows_of_track[-1])
    return rows


def _rows_between(
    before: DetectedPerson, after: DetectedPerson, cameras: Sequence[FrameCamera], *, fill_gaps: bool
) -> Iterator[DetectedPerson]:
    frames = range(before.frame + 1, after.frame)
    first = cameras[before.frame].time
    last = cameras[after.frame].time
    is_gap = any(cameras[frame].searched for frame in frames)
    if is_gap and not (fill_gaps and last - first <= _MAX_GAP):
        return
    hidden = replace(before, keypoints=before.keypoints * np.array([1, 1, 0], np.float32), score=0.0, estimate=None)
    for frame in frames:
        share = (cameras[frame].time - first) / (last - first)
        row = replace(hidden, interpolated=True) if is_gap else _mean_row(before, after, share)
        yield replace(row, frame=frame, box=((1 - share) * before.box + share * after.box).astype(np.float32))


def _mean_row(before: DetectedPerson, after: DetectedPerson, share: float) -> DetectedPerson:
    """Interpolate the landmarks of two rows if they have the same landmarks, else take the first row's."""
    values = {}
    for name in ("keypoints", "spread", "world", "world_spread"):
        first = getattr(before, name)
        last = getattr(after, name)
        if first is not None and last is not None and first.shape == last.shape:
            values[name] = ((1 - share) * first + share * last).astype(first.dtype)
    return replace(before, **values, score=(1 - share) * before.score + share * after.score, estimate=None)


def largest_tracks(people: Sequence[DetectedPerson]) -> list[DetectedPerson]:
    """Choose the rows of one person at a time: the tracks with the largest sum of boxes that do not overlap in time.

    Complete tracks are chosen, because the largest box of each frame may belong to different people. One person may
    have several tracks, after a long gap or a cut. The chosen tracks are numbered by time.
    """
    tracks: dict[int, list[DetectedPerson]] = {}
    for row in people:
        tracks.setdefault(row.track, []).append(row)
    selection: list[list[DetectedPerson]] = []
    for rows in sorted(tracks.values(), key=lambda rows: -sum(row.area for row in rows)):
        if all(rows[-1].frame < larger[0].frame or rows[0].frame > larger[-1].frame for larger in selection):
            selection.append(rows)
    selection.sort(key=lambda rows: rows[0].frame)
    return [replace(row, track=number) for number, rows in enumerate(selection) for row in rows]


def frame_times(times: Sequence[Fraction | None], frame_rate: float) -> list[float]:
    """Compute rising seconds from the first frame on: the video's times, or evenly spaced ones if these agree.

    Clocks count in steps, some in milliseconds, so that evenly spaced frames deviate by up to a tenth of an interval.
    Frames without a rising clock are evenly spaced, too.

    Args:
        times: The time of each frame, if the file has it.
        frame_rate: Frames per second.
    """
    even = np.arange(len(times)) / frame_rate
    if any(time is None for time in times):
        return even.tolist()
    clock = np.array([float(time - times[0]) for time in times])  # type: ignore[operator]
    rises = bool((np.diff(clock) > 0).all())
    is_even = np.abs(clock - even).max(initial=0.0) < _CLOCK_ERROR / frame_rate
    return even.tolist() if is_even or not rises else clock.tolist()
