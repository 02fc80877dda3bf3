"""Gives people of successive frames their numbers: by overlap, over short gaps, never across a cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from humanpose_cli.detection.anchors import box_overlap
from humanpose_cli.detection.person import DetectedPerson

__all__ = ["FrameIds", "ShotDetector", "TrackAssigner"]

_KEYPOINT_WIDTH = 0.1  # of the longer side of the box: how far a keypoint may move and still half agree
_SURE_ENOUGH = 0.3


@dataclass(frozen=True)
class FrameIds:
    """Numbers of one frame: its shot, and one track id for each of its people, in their order."""

    shot_id: int
    track_ids: tuple[int, ...]


@dataclass
class _Track:
    number: int
    last: DetectedPerson
    missed: int = 0


class TrackAssigner:
    """Numbers people over the frames of one video.

    Each frame's people are matched to the tracks by the best total similarity of boxes and keypoints (Hungarian
    method); people like nobody seen in the last `gap` frames start a track. A hard cut ends all tracks.

    gap      frames for which a track waits for its person to be seen again
    least    similarity 0..1 below which two people are never one
    """

    def __init__(self, gap: int = 10, least: float = 0.3) -> None:
        self.gap, self.least = gap, least
        self._tracks: list[_Track] = []
        self._next = 0
        self._shots = ShotDetector()

    def assign(self, people: Sequence[DetectedPerson], image: np.ndarray | None = None) -> FrameIds:
        """Numbers for the next frame; without its picture (H, W, 3) uint8, cuts are not looked for."""
        shot = self._shots.shot_id
        if image is not None and self._shots.see(image) != shot:
            self._tracks = []
        numbers = [-1] * len(people)
        for row, track in self._matches(people):
            track.last, track.missed = people[row], -1
            numbers[row] = track.number
        for row, person in enumerate(people):
            if numbers[row] < 0:
                numbers[row] = self._next
                self._tracks.append(_Track(self._next, person, -1))
                self._next += 1
        for track in self._tracks:
            track.missed += 1
        self._tracks = [track for track in self._tracks if track.missed <= self.gap]
        return FrameIds(self._shots.shot_id, tuple(numbers))

    def _matches(self, people: Sequence[DetectedPerson]) -> list[tuple[int, _Track]]:
        if not people or not self._tracks:
            return []
        alike = np.array([[_similarity(track.last, person) for track in self._tracks] for person in people])
        rows, columns = linear_sum_assignment(np.where(alike >= self.least, alike, 0.0), maximize=True)
        return [(r, self._tracks[c]) for r, c in zip(rows, columns, strict=True) if alike[r, c] >= self.least]


def _similarity(before: DetectedPerson, now: DetectedPerson) -> float:
    """0..1: overlap of the boxes, or agreement of the keypoints that both show, whichever is better."""
    overlap = float(box_overlap(before.box, now.box[None])[0])
    if before.skeleton != now.skeleton:
        return overlap
    sure = (before.keypoints[:, 2] > _SURE_ENOUGH) & (now.keypoints[:, 2] > _SURE_ENOUGH)
    if sure.sum() < 4:
        return overlap
    width = _KEYPOINT_WIDTH * max(float(max(p.box[2:] - p.box[:2])) for p in (before, now)) + 1e-6
    apart = np.sum((before.keypoints[sure, :2] - now.keypoints[sure, :2]) ** 2, axis=1)
    return max(overlap, float(np.exp(-apart / (2 * width**2)).mean()))


class ShotDetector:
    """Finds hard cuts: frames whose layout has suddenly little in common with that of the frame before.

    Layouts are compared by correlation, so flashes and exposure do not count; the change must be several times
    what is usual in the shot, so neither do fast pans.
    """

    _SIZE = 32
    _CHANGE, _SUDDENNESS = 0.35, 3.0

    def __init__(self) -> None:
        self.shot_id = 0
        self._before: np.ndarray | None = None
        self._usual = 0.0

    def see(self, image: np.ndarray) -> int:
        """The shot that the next frame (H, W, 3) uint8 belongs to, counted from 0."""
        small = cv2.resize(image, (self._SIZE, self._SIZE), interpolation=cv2.INTER_AREA).astype(np.float64)
        layout = small - small.mean((0, 1))
        layout /= max(float(np.linalg.norm(layout)), 1.0)
        if self._before is not None:
            change = 1 - float((layout * self._before).sum())
            if change > max(self._CHANGE, self._SUDDENNESS * self._usual):
                self.shot_id += 1
                self._usual = 0.0
            else:
                self._usual = max(change, 0.8 * self._usual)
        self._before = layout
        return self.shot_id
