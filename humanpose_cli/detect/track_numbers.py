"""Track numbers of the people in the frames of a video, over short gaps, never across a cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from humanpose_cli.core.crop import box_overlap
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.shots import ShotDetector
from humanpose_cli.detect.similarity import SAME_DETECTIONS, PosePoints, same_person, similarity_of_points

_SAME_FRAMES = 0.3  # similarity of boxes or keypoints of two frames that are one track
_KEYPOINT_WIDTH = 0.1  # longer sides of the box: standard deviation of a keypoint's movement from frame to frame
_MIN_CONFIDENCE = 0.3  # of keypoints that are compared
_MIN_KEYPOINTS = 4  # that are compared at least
_MAX_GAP = 10  # frames that a track waits for its person


@dataclass(frozen=True)
class FrameIds:
    """The numbers of a frame.

    Attributes:
        shot_id: The number of the shot.
        track_ids: The track id of each person.
    """

    shot_id: int
    track_ids: tuple[int, ...]


@dataclass
class _Track:
    number: int
    last: DetectedPerson
    lost_frames: int = 0


class TrackAssigner:
    """Assigns track numbers to people over the frames of a video.

    Each frame's people are matched to the tracks by the best total similarity of boxes and keypoints (Hungarian
    method). People without a match in the last ten frames start a track. A hard cut ends all tracks.
    """

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._next = 0
        self._shots = ShotDetector()

    def assign(self, people: Sequence[DetectedPerson], image: np.ndarray | None = None) -> FrameIds:
        """Assign numbers to the next frame's people; without its image (H, W, 3) uint8, cuts are not detected."""
        shot = self._shots.shot_id
        if image is not None and self._shots.next_frame(image) != shot:
            self._tracks = []
        numbers = [-1] * len(people)
        for row, track in self._matches(people):
            track.last = people[row]
            track.lost_frames = -1
            numbers[row] = track.number
        for row, person in enumerate(people):
            if numbers[row] < 0:
                numbers[row] = self._next
                self._tracks.append(_Track(self._next, person, -1))
                self._next += 1
        for track in self._tracks:
            track.lost_frames += 1
        self._tracks = [track for track in self._tracks if track.lost_frames <= _MAX_GAP]
        return FrameIds(self._shots.shot_id, tuple(numbers))

    def _matches(self, people: Sequence[DetectedPerson]) -> list[tuple[int, _Track]]:
        if not people or not self._tracks:
            return []
        from scipy.optimize import linear_sum_assignment  # a third of a second to import

        alike = np.zeros((len(people), len(self._tracks)))
        for row, person in enumerate(people):
            alike[row] = [_similarity(track.last, person) for track in self._tracks]
        possible = alike >= _SAME_FRAMES
        pairs = zip(*linear_sum_assignment(np.where(possible, alike, 0.0), maximize=True), strict=True)
        return [(row, self._tracks[column]) for row, column in pairs if possible[row, column]]


def distinct_rows(people: Sequence[DetectedPerson]) -> list[int]:
    """Return the rows of a frame's people without second detections, of which the likeliest stays."""
    rows = list[int]()
    for row in sorted(range(len(people)), key=lambda row: (not people[row].confirmed, -people[row].score)):
        if not any(_same_pose(people[row], people[distinct]) for distinct in rows):
            rows.append(row)
    return sorted(rows)


def _same_pose(a: DetectedPerson, b: DetectedPerson) -> bool:
    """Return whether the joints that both detections show agree; left and right may be swapped."""
    first, second = (
        PosePoints(p.keypoints[:, :2], float(max(p.box[2:] - p.box[:2])), p.keypoints[:, 2], p.skeleton.mirror)
        for p in (a, b)
    )
    return same_person(first, second, SAME_DETECTIONS, min_confidence=_MIN_CONFIDENCE, min_joints=_MIN_KEYPOINTS)


def _similarity(previous: DetectedPerson, current: DetectedPerson) -> float:
    """Return the similarity of two frames' people, 0…1: of boxes or of keypoints, whichever is higher."""
    overlap = float(box_overlap(previous.box, current.box))
    if previous.skeleton != current.skeleton:
        return overlap
    in_both = np.minimum(previous.keypoints[:, 2], current.keypoints[:, 2]) > _MIN_CONFIDENCE
    if in_both.sum() < _MIN_KEYPOINTS:
        return overlap
    # People move from frame to frame, which passes over one frame do not: a width of its own, and sides do not swap.
    width = _KEYPOINT_WIDTH * max(float(max(p.box[2:] - p.box[:2])) for p in (previous, current)) + 1e-6
    points = previous.keypoints[in_both, :2]
    counterparts = current.keypoints[in_both, :2]
    return max(overlap, similarity_of_points(points, counterparts, width))
