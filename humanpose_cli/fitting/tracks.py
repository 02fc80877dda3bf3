"""People over the frames of a sequence: rows of tracked people with their cameras and times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby

import numpy as np

from humanpose_cli.core.camera import Camera
from humanpose_cli.detect.camera_motion import STILL, CameraPose
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.sides import settle_sides

_MAX_GAP = 2.0  # seconds without a detection that are filled from the frames before and after
_CLOCK_ERROR = 0.1  # of an interval: how far the recorded times of evenly spaced frames deviate


@dataclass(frozen=True)
class FrameCamera:
    """A frame and the camera that it is assumed to be taken with.

    name     the frame's name
    time     seconds from the first frame
    shot     number of the shot it belongs to, from 0
    turn     motion and zoom since the first frame of the shot
    damaged  whether the file is damaged there
    ground   up (camera axes) and height in metres of the camera above the ground; None if it is not known
    focal_people  how many people the ground is under that the focal length follows from; 0: from elsewhere
    """

    name: str
    camera: Camera
    time: float = 0.0
    shot: int = 0
    turn: CameraPose = STILL
    damaged: bool = False
    ground: tuple[float, float, float, float] | None = None
    focal_people: int = 0

    @property
    def world_to_camera(self) -> np.ndarray:
        """(4, 4); the world's axes are those of the shot's first frame."""
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = self.turn.rotation, self.turn.translation
        return pose


def complete_tracks(
    people: Sequence[DetectedPerson], times: Sequence[float], *, fill_gaps: bool = True
) -> list[DetectedPerson]:
    """Sort the rows of a sequence by track and frame, settle left and right over time, and add a row for every frame of
    gaps of up to two seconds.

    times      of all frames, seconds
    fill_gaps  False: no row is added

    A row of a gap has a box between its neighbours' and no visible keypoint.
    """
    rows: list[DetectedPerson] = []
    for _, track in groupby(sorted(people, key=lambda p: (p.track, p.frame)), key=lambda p: p.track):
        rows_of_track = list(track)
        before: DetectedPerson | None = None
        for now in settle_sides(rows_of_track, [p.frame for p in rows_of_track]):
            if fill_gaps and before is not None and times[now.frame] - times[before.frame] <= _MAX_GAP:
                rows += _rows_between(before, now, times)
            rows.append(now)
            before = now
    return rows


def _rows_between(before: DetectedPerson, after: DetectedPerson, times: Sequence[float]) -> Iterator[DetectedPerson]:
    row_of_gap = replace(before, keypoints=before.keypoints * np.array([1, 1, 0], np.float32), score=0.0, estimate=None)
    for frame in range(before.frame + 1, after.frame):
        share = (times[frame] - times[before.frame]) / (times[after.frame] - times[before.frame])
        box = (1 - share) * before.box + share * after.box
        yield replace(row_of_gap, box=box.astype(np.float32), frame=frame, interpolated=True)


def largest_tracks(people: Sequence[DetectedPerson]) -> list[DetectedPerson]:
    """Choose the rows of one person at a time: tracks by the area of all their boxes, none that overlaps a larger one
    in time.

    Complete tracks are chosen, because in single frames the largest box may belong to another person each time. One
    person may have several tracks, after a long gap or a cut. The chosen tracks are numbered anew, by time.
    """
    tracks: dict[int, list[DetectedPerson]] = {}
    for row in people:
        tracks.setdefault(row.track, []).append(row)
    selection: list[list[DetectedPerson]] = []
    for rows in sorted(tracks.values(), key=lambda rows: -sum(row.area for row in rows)):
        if all(rows[-1].frame < other[0].frame or rows[0].frame > other[-1].frame for other in selection):
            selection.append(rows)
    selection.sort(key=lambda rows: rows[0].frame)
    return [replace(row, track=number) for number, rows in enumerate(selection) for row in rows]


def frame_times(times: Sequence[Fraction | None], frame_rate: float) -> list[float]:
    """Compute rising seconds from the first frame on: those of the video's clock if the rate varies, else evenly
    spaced.

    Clocks count in steps, some in full milliseconds, so that evenly spaced frames deviate by up to a tenth of an
    interval. Frames without a rising clock are evenly spaced too.
    """
    even = np.arange(len(times)) / frame_rate
    if len(times) < 3 or any(time is None for time in times):
        return even.tolist()
    clock = np.array([float(time - times[0]) for time in times])  # type: ignore[operator]
    step = clock[-1] / (len(clock) - 1)
    rises = bool((np.diff(clock) > 0).all())
    if not rises or np.abs(clock - step * np.arange(len(clock))).max() < _CLOCK_ERROR * step:
        return even.tolist()
    return clock.tolist()
