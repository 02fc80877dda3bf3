"""People in the frames of a video: followed from frame to frame, numbered over short gaps, never across a cut."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import cv2
import numpy as np

from humanpose_cli.core.crop import box_overlap
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import DetectedPerson, Observation, mean_points, observe_jittered
from humanpose_cli.detect.regions import Proposal, Pyramid, Region, propose_by_multipose, windows_over
from humanpose_cli.detect.search import SAME_PERSON, Found, Scheme, search, search_in, similarity

_PRESENCE = 0.5  # below this the person has left the region
_MOVED = 0.06  # of the region's side: passes that differ by more show no pose to rely on
_PATIENCE = 2  # frames for which a region is kept though nobody was detected in it
_NEWCOMERS = 4  # at most, looked into in one frame
_LOOK_EVERY = 6  # frames between two looks for newcomers, in turn at the whole image and at one of its parts
_MULTIPOSE_SIDE = 512  # pixels of what MultiPose sees
_PART = 0.5  # of the longer side of the image
_KEY_EVERY = 60  # frames between two searches of everything
_KNOWN = 0.2  # of a region's side: how near somebody is who is known already
_REJECTION = 24  # frames for which a region where nobody was found is left alone
_SHIFTS = ((0.0, 0.0), (-0.15, -0.1), (0.15, -0.1), (-0.15, 0.1), (0.15, 0.1))
# Log-odds against those of a person in a single image: from the lower ones, somebody is followed until it is clear what
# it is; from the higher ones it is. Between them it takes two searches, but in the first frame: a video asks so often
# that what looks a little like a person is found some time.
_TENTATIVE, _CERTAIN = -2.5, 1.5
_LOOK_AGAIN = 6  # frames between two looks of MultiPose at somebody who is not certain
_CLOSE_SIDE, _CLOSE = 256, 1.6  # pixels of what it then sees, and its width in sides of the region
_CLEAR = 0.45  # its score of a person; of a clamp that looks like one .28 to .35, of a bystander .52 to .57
_WALKED = 0.5  # of the region's side: what goes this far while it looks like a person is one


@dataclass
class _Followed:
    region: Region
    detection: Found | None
    confirmed: bool
    start: Region
    likely: bool = False  # a search, or a look, took it for a person
    missed: int = 0


class Follower:
    """People followed from frame to frame.

    Each frame costs `scheme.followed` + 1 passes of BlazePose full and those of heavy a person; every sixth frame
    MultiPose looks for newcomers, in turn in the whole image and in one of its parts. A newcomer, and the place where
    somebody was lost, brings a search there; where it finds nobody, that region is left alone for a second, so that a
    lamp-post does not slow the whole video down. Somebody who is less sure to be a person is followed, too: what walks
    is one.
    """

    def __init__(
        self, pool: ModelPool, scheme: Scheme, state: Mapping[str, Any] | None = None, *, masks: bool = False
    ) -> None:
        """state  of another follower, who followed the frames before; masks: of everybody in every frame."""
        self._pool, self._scheme, self._masks = pool, scheme, masks
        self._tentative = replace(
            scheme, refined=replace(scheme.refined, threshold=scheme.refined.threshold + _TENTATIVE)
        )
        self._followed: list[_Followed] = []
        self._rejected: list[tuple[Region, int]] = []
        self._frame = -1
        self._size = 0
        if state is not None:
            self._frame, self._size = state["frame"], state["size"]
            self._rejected = [(Region(*region), until) for region, until in state["rejected"]]
            self._followed = [
                _Followed(Region(*f["region"]), None, f["confirmed"], Region(*f["start"]), f["likely"], f["missed"])
                for f in state["followed"]
            ]

    @property
    def state(self) -> dict[str, Any]:
        """All that the next frames depend on, as JSON values."""
        return {
            "frame": self._frame,
            "size": self._size,
            "rejected": [(astuple(region), until) for region, until in self._rejected],
            "followed": [
                {
                    **{name: astuple(getattr(f, name)) for name in ("region", "start")},
                    **{name: getattr(f, name) for name in ("confirmed", "likely", "missed")},
                }
                for f in self._followed
            ],
        }

    def next_frame(self, pyramid: Pyramid) -> list[Found]:
        """Everybody in the next frame."""
        self._frame += 1
        self._rescale(max(pyramid.width, pyramid.height))
        _, proposals = self._pool.together(lambda: self._follow(pyramid), lambda: self._look_round(pyramid))
        lost = [f.region for f in self._followed if f.missed == 1]
        if self._frame % _KEY_EVERY == 0:
            certain = [f.region for f in self._followed if f.confirmed and f.detection is not None]
            self._add(search(self._pool, pyramid, self._tentative, lambda r: any(_near(r, c) for c in certain)))
        fresh = sorted((p for p in proposals if not self._known(p.region)), key=lambda p: -p.score)
        newcomers = fresh[:_NEWCOMERS]
        if lost or newcomers:
            around = [
                window for region in (*lost, *(p.region for p in newcomers)) for window in _windows_around(region)
            ]
            self._add(search_in(self._pool, pyramid, self._tentative, around, newcomers))
            until = self._frame + _REJECTION
            self._rejected += [(p.region, until) for p in newcomers if not self._known(p.region)]
        self._look_again(pyramid)
        self._followed = [f for f in self._followed if f.missed <= _PATIENCE]
        self._rejected = [(region, until) for region, until in self._rejected if until > self._frame]
        return [replace(f.detection, confirmed=f.confirmed) for f in self._followed if f.detection is not None]

    def _rescale(self, size: int) -> None:
        """A frame of another size shows the same view at another scale."""
        if self._size not in (0, size):
            scale = size / self._size
            for f in self._followed:
                f.region, f.start = f.region.scaled(scale), f.start.scaled(scale)
            self._rejected = [(region.scaled(scale), until) for region, until in self._rejected]
        self._size = size

    def _follow(self, pyramid: Pyramid) -> None:
        """Passes over everybody who is followed."""
        regions = [f.region for f in self._followed]
        full, heavy = self._pool.together(
            lambda: observe_jittered(self._pool, pyramid, regions, self._scheme.followed, masks=self._masks),
            lambda: observe_jittered(
                self._pool, pyramid, regions, self._scheme.heavy - 1, "blazepose-heavy", masks=False
            ),
        )
        for followed, *passes in zip(self._followed, full, heavy, strict=True):
            _update(followed, *passes)
        self._drop_duplicates()

    def _look_round(self, pyramid: Pyramid) -> list[Proposal]:
        """Whom MultiPose sees in this frame's part of the image."""
        turn, step = divmod(self._frame, _LOOK_EVERY)
        if step:
            return []
        (whole,) = windows_over(pyramid.width, pyramid.height, (1.0,))[:1]
        longest = max(pyramid.width, pyramid.height)
        parts = windows_over(pyramid.width, pyramid.height, (_PART,)) if longest > _MULTIPOSE_SIDE else [whole]
        window = whole if turn % 2 == 0 else parts[turn // 2 % len(parts)]
        side = min(_MULTIPOSE_SIDE, max(32 * math.ceil(window.side / 32), 256))
        return propose_by_multipose(self._pool, pyramid, [(window, side)])

    def _look_again(self, pyramid: Pyramid) -> None:
        """Those who are not certain, seen from near by MultiPose: two clear looks, or one and a search, will do."""
        if self._frame % _LOOK_AGAIN:
            return
        for f in self._followed:
            if not f.confirmed and f.detection is not None:
                window = replace(f.region, side=_CLOSE * f.region.side, angle=0.0)
                proposals = propose_by_multipose(self._pool, pyramid, [(window, _CLOSE_SIDE)])
                clear = any(p.score > _CLEAR and _near(p.region, f.region) for p in proposals)
                f.confirmed = clear and f.likely
                f.likely |= clear

    def _add(self, people: Sequence[Found]) -> None:
        """Those of the people who were found that are not followed into this frame already."""
        self._followed = [f for f in self._followed if f.detection is not None or f.missed <= _PATIENCE]
        usual = self._scheme.refined.threshold
        for found in people:
            likely = found.score > _probability(usual)
            sure = found.score > _probability(usual + _CERTAIN) or (likely and self._frame == 0)
            same = next((f for f in self._followed if f.detection and _same(found.passes, f.detection.passes)), None)
            if same is not None:
                same.confirmed |= sure or (likely and same.likely)
                same.likely |= likely
                continue
            region = _mean_region(found.passes)
            self._followed = [f for f in self._followed if f.detection is not None or not _near(f.region, region)]
            self._followed.append(_Followed(region, found, sure, region, likely))

    def _known(self, region: Region) -> bool:
        regions = [f.region for f in self._followed] + [rejected for rejected, _ in self._rejected]
        return any(_near(region, other) for other in regions)

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


def _near(a: Region, b: Region) -> bool:
    side = max(a.side, b.side)
    return math.hypot(a.x - b.x, a.y - b.y) < _KNOWN * side and abs(math.log(a.side / b.side)) < math.log(2.5)


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def _windows_around(region: Region) -> list[Region]:
    """Windows in which a person of that region has the size that suits the detector, at five positions."""
    x, y, side = region.x, region.y, 1.8 * region.side
    return [Region(x + dx * side, y + dy * side, side) for dx, dy in _SHIFTS]


def _update(followed: _Followed, full: Sequence[Observation], heavy: Sequence[Observation]) -> None:
    passes = (*full, *heavy)
    presence = float(np.mean([o.presence for o in passes]))
    points = np.stack([o.points for o in passes])
    moved = float(np.median(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean(0)))) / followed.region.side
    if presence < _PRESENCE or moved > _MOVED:
        followed.detection = None
        followed.missed += 1
        return
    score = presence * math.exp(-0.5 * (moved / 0.03) ** 2)
    followed.detection, followed.missed = Found(tuple(full), score, heavy=tuple(heavy)), 0
    followed.region = _mean_region(passes)
    walked = math.hypot(followed.region.x - followed.start.x, followed.region.y - followed.start.y)
    followed.confirmed |= walked > _WALKED * followed.region.side


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
    overlap = float(box_overlap(before.box, now.box))
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
    what is usual in the shot, so neither do fast pans. Frames without a layout, such as black ones, are passed over:
    what comes after them is compared with what came before.
    """

    _SIZE, _LEAST = 32, 256
    _CHANGE, _SUDDENNESS = 0.35, 3.0
    _FLAT = 2.0  # grey levels of standard deviation below which a frame has no layout

    def __init__(self) -> None:
        self.shot_id = 0
        self._before: np.ndarray | None = None
        self._usual = 0.0

    def next_frame(self, image: np.ndarray) -> int:
        """The shot that the next frame (H, W, 3) uint8 belongs to, counted from 0."""
        step = max(
            min(image.shape[:2]) // self._LEAST, 1
        )  # the mean of every pixel takes as long as following somebody
        small = cv2.resize(image[::step, ::step], (self._SIZE, self._SIZE), interpolation=cv2.INTER_AREA).astype(float)
        layout = small - small.mean((0, 1))
        if layout.std() < self._FLAT:
            return self.shot_id
        layout /= np.linalg.norm(layout)
        if self._before is not None:
            change = 1 - float((layout * self._before).sum())
            if change > max(self._CHANGE, self._SUDDENNESS * self._usual):
                self.shot_id += 1
                self._usual = 0.0
            else:
                self._usual = max(change, 0.8 * self._usual)
        self._before = layout
        return self.shot_id
