"""People in the frames of a video: followed from frame to frame, numbered over short gaps, never across a cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from humanpose_cli.detect.models import ModelPool, box_overlap
from humanpose_cli.detect.person import CropView, DetectedPerson, Observation, jittered_views, mean_points, observe_all
from humanpose_cli.detect.regions import Proposal, Pyramid, Region, propose, windows_over
from humanpose_cli.detect.search import SAME_PERSON, Found, Scheme, search, similarity

_PRESENCE = 0.5  # below this the person has left the region
_MOVED = 0.06  # of the region's side: passes that differ by more show no pose to rely on
_NEWCOMER = 0.5  # score from which a detection in a single window is worth a full search
_PATIENCE = 2  # frames for which a region is kept though nobody was detected in it
_NEWCOMERS = 3  # at most, in one search
_WHOLE_EVERY = 4  # frames between two passes over the whole image
_SEARCH_PAUSE = 5  # frames between two searches for newcomers
_REJECTION = 30  # frames for which a region where a search found nobody is left alone
_SHIFTS = ((0.0, 0.0), (-0.15, -0.1), (0.15, -0.1), (-0.15, 0.1), (0.15, 0.1))


@dataclass
class _Followed:
    region: Region
    detection: Found | None
    missed: int = 0


class Follower:
    """People followed from frame to frame.

    Each frame costs `scheme.followed` + 1 landmark passes a person and one window for newcomers. Somebody new, or
    somebody lost, brings a search of the whole frame; where it finds nobody, the region is left alone for a
    second, so that a lamp-post does not slow the whole video down.
    """

    def __init__(self, pool: ModelPool, scheme: Scheme) -> None:
        self._pool, self._scheme = pool, scheme
        self._followed: list[_Followed] = []
        self._rejected: list[tuple[Region, int]] = []
        self._frame = -1
        self._last_search = -_SEARCH_PAUSE

    def next_frame(self, pyramid: Pyramid) -> list[Found]:
        """Everybody in the next frame."""
        self._frame += 1
        if self._frame == 0:
            self._search(pyramid)
        else:
            proposals = self._follow(pyramid)
            lost = any(f.missed == 1 for f in self._followed)
            paused = self._frame - self._last_search < _SEARCH_PAUSE
            newcomers = [p for p in proposals if p.score >= _NEWCOMER and not self._known(p.region)]
            if lost or (newcomers and not paused):
                self._search(pyramid, newcomers[:_NEWCOMERS])
                until = self._frame + _REJECTION
                self._rejected += [(p.region, until) for p in newcomers if not self._known(p.region)]
        self._followed = [f for f in self._followed if f.missed <= _PATIENCE]
        self._rejected = [(region, until) for region, until in self._rejected if until > self._frame]
        return [f.detection for f in self._followed if f.detection is not None]

    def _follow(self, pyramid: Pyramid) -> list[Proposal]:
        """Passes over everybody followed and over this frame's window; the detector's proposals."""
        views = [[CropView(f.region), *jittered_views(f.region, self._scheme.followed)] for f in self._followed]
        passes = observe_all(self._pool, pyramid, [view for group in views for view in group])
        proposals = propose(self._pool, pyramid, [self._window(pyramid)], self._scheme.threshold)
        for followed, group in zip(self._followed, views, strict=True):
            _update(followed, tuple(passes[: len(group)]))
            passes = passes[len(group) :]
        self._drop_duplicates()
        return proposals

    def _window(self, pyramid: Pyramid) -> Region:
        """This frame's window: every fourth is the whole image, between them each of the others in turn."""
        whole, *others = windows_over(pyramid.width, pyramid.height, (1.0, *self._scheme.newcomers))
        turn, step = divmod(self._frame, _WHOLE_EVERY)
        return whole if step == 0 or not others else others[((_WHOLE_EVERY - 1) * turn + step - 1) % len(others)]

    def _search(self, pyramid: Pyramid, newcomers: Sequence[Proposal] = ()) -> None:
        """A full search, also around newcomers; people followed into this frame stay as they are."""
        self._last_search = self._frame
        present = [f for f in self._followed if f.detection is not None]
        around = [w for newcomer in newcomers for w in _windows_around(newcomer.region)]
        for found in search(self._pool, pyramid, self._scheme, around):
            if not any(_same(found.passes, f.detection.passes) for f in present if f.detection is not None):
                present.append(_Followed(_mean_region(found.passes), found))
        self._followed = present

    def _known(self, region: Region) -> bool:
        regions = [f.region for f in self._followed] + [rejected for rejected, _ in self._rejected]
        return any(
            math.hypot(p.x - region.x, p.y - region.y) < 0.35 * max(p.side, region.side)
            and abs(math.log(p.side / region.side)) < math.log(2.5)
            for p in regions
        )

    def _drop_duplicates(self) -> None:
        """Two regions that slid onto one person become one."""
        kept: list[_Followed] = []
        for f in sorted(self._followed, key=lambda f: -(f.detection.score if f.detection else 0.0)):
            duplicate = f.detection is not None and any(
                _same(f.detection.passes, k.detection.passes) for k in kept if k.detection is not None
            )
            if not duplicate:
                kept.append(f)
        self._followed = [f for f in self._followed if any(f is k for k in kept)]


def _windows_around(region: Region) -> list[Region]:
    """Windows in which a person of that region has the size that suits the detector, at five positions."""
    x, y, side = region.x, region.y, 1.8 * region.side
    return [Region(x + dx * side, y + dy * side, side) for dx, dy in _SHIFTS]


def _update(followed: _Followed, passes: tuple[Observation, ...]) -> None:
    presence = float(np.mean([o.presence for o in passes]))
    points = np.stack([o.points for o in passes])
    moved = float(np.median(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean(0)))) / followed.region.side
    if presence < _PRESENCE or moved > _MOVED:
        followed.detection = None
        followed.missed += 1
        return
    score = presence * math.exp(-0.5 * (moved / 0.03) ** 2)
    followed.detection, followed.missed, followed.region = Found(passes, score), 0, _mean_region(passes)


def _mean_region(passes: Sequence[Observation]) -> Region:
    """Where the passes agree that the person will be; angles are averaged as directions."""
    regions = [o.next_region for o in passes]
    angle = math.atan2(sum(math.sin(r.angle) for r in regions), sum(math.cos(r.angle) for r in regions))
    x, y, side = np.mean([(r.x, r.y, r.side) for r in regions], axis=0)
    return Region(float(x), float(y), float(side), angle)


def _same(a: Sequence[Observation], b: Sequence[Observation]) -> bool:
    side = math.sqrt(a[0].region.side * b[0].region.side)
    return similarity(mean_points(a), mean_points(b), side) > SAME_PERSON


_KEYPOINT_WIDTH = 0.1  # of the longer side of the box: how far a keypoint may move and still half agree
_SURE_ENOUGH = 0.3
_GAP = 10  # frames for which a track waits for its person
_LEAST_SIMILAR = 0.3  # similarity 0..1 below which two people are never one


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
    method); people like nobody in the last ten frames start a track. A hard cut ends all tracks.
    """

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._next = 0
        self._shots = ShotDetector()

    def assign(self, people: Sequence[DetectedPerson], image: np.ndarray | None = None) -> FrameIds:
        """Numbers for the next frame; without its image (H, W, 3) uint8, cuts are not detected."""
        shot = self._shots.shot_id
        if image is not None and self._shots.next_frame(image) != shot:
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
        self._tracks = [track for track in self._tracks if track.missed <= _GAP]
        return FrameIds(self._shots.shot_id, tuple(numbers))

    def _matches(self, people: Sequence[DetectedPerson]) -> list[tuple[int, _Track]]:
        if not people or not self._tracks:
            return []
        from scipy.optimize import linear_sum_assignment  # a third of a second to import

        alike = np.array([[_similarity(track.last, person) for track in self._tracks] for person in people])
        rows, columns = linear_sum_assignment(np.where(alike >= _LEAST_SIMILAR, alike, 0.0), maximize=True)
        return [(r, self._tracks[c]) for r, c in zip(rows, columns, strict=True) if alike[r, c] >= _LEAST_SIMILAR]


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

    def next_frame(self, image: np.ndarray) -> int:
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
