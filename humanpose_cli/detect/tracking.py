"""People in the frames of a video: followed from frame to frame, numbered over short gaps, never across a cut."""

from __future__ import annotations

import base64
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, TypeAlias

import cv2
import numpy as np

from humanpose_cli.core.crop import box_overlap
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import (
    CropView,
    DetectedPerson,
    Observation,
    mean_confidence,
    mean_points,
    observe_all,
    observe_jittered,
)
from humanpose_cli.detect.regions import Proposal, Pyramid, Region, propose_by_multipose, windows_over
from humanpose_cli.detect.search import (
    SAME_PERSON,
    Candidate,
    Scheme,
    propose_everywhere,
    search_in,
    search_proposed,
    similarity,
    similarity_of_points,
)
from humanpose_cli.detect.second_look import look_behind
from humanpose_cli.detect.shots import ShotDetector

_SHIFTS = ((0.0, 0.0), (-0.15, -0.1), (0.15, -0.1), (-0.15, 0.1), (0.15, 0.1))


_LAYOUT_SIDE = 64  # cells of a window's layout
_CELLS = np.stack(np.meshgrid(*2 * [np.arange(_LAYOUT_SIDE) + 0.5]), -1).reshape(-1, 2)


@dataclass(frozen=True)
class FollowOptions:
    """Conditions for following, searching and giving up people in a video.

    min_presence      0..1, of the landmark passes, below which the person has left the region
    min_visible       landmarks in the image, with a confidence above min_confidence, below which the person has left it
    max_movement      share of the region's side by which passes may differ and still show a reliable pose
    patience          frames for which an uncertain candidate that is lost is kept
    lost_patience     frames for which a person who is lost within the image is looked for where their motion leads
    turns             orientations, over the full circle, in which a lost person is looked for; the best regained_views
                      are looked at closely
    regained_presence, regained_movement  `min_presence` and `max_movement` of a person who was lost
    regained_near, regained_size  share of the side by which the position of such a person may differ from the
                      expected one, and ratio of the sizes
    max_newcomers     proposals that are searched around in one frame
    look_every        frames between two looks of MultiPose for newcomers, in turn at the full image and at a part
    look_side         pixels of MultiPose's input for these looks; look_part: side of a part, of the image's longer side
    look_change       grey levels, of cells of a 64th of a window: where less changed since the last look at a window,
                      beside the people who are followed, there is no newcomer
    key_every         frames between two searches of the full image
    near              share of a region's side within which a proposal is of the same person
    rejection         frames for which a region where no person was found is not searched again
    tentative, certain  log-odds against the threshold of single images: from the lower on a candidate is followed until
                      it is clear what it is, from the higher on it is a person. Between them it takes two searches,
                      except in the first frame: so many frames are searched that something resembles a person in one
    look_again_every  frames between two looks of MultiPose at a candidate that is not certain
    close_side        pixels of MultiPose's input for these looks; close_reach: their width in sides of the region
    clear_score       MultiPose's score of a person; of a clamp that resembles one .28 to .35, of a bystander .52 to .57
    walked            share of the region's side: a candidate that moves this far while it looks like a person is one
    ahead             frames by which looks and searches of the full image begin early: they take longer than a frame
    """

    min_presence: float = 0.5
    min_visible: int = 3
    min_confidence: float = 0.3
    max_movement: float = 0.06
    patience: int = 2
    lost_patience: int = 30
    turns: int = 8
    regained_views: int = 3
    regained_presence: float = 0.8
    regained_movement: float = 0.03
    regained_near: float = 0.35
    regained_size: float = 1.6
    max_newcomers: int = 4
    look_every: int = 6
    look_side: int = 512
    look_part: float = 0.5
    look_change: float = 10.0
    key_every: int = 60
    near: float = 0.2
    rejection: int = 24
    tentative: float = -2.5
    certain: float = 1.5
    look_again_every: int = 6
    close_side: int = 256
    close_reach: float = 1.6
    clear_score: float = 0.45
    walked: float = 0.5
    ahead: int = 3


_OPTIONS = FollowOptions()


@dataclass(frozen=True)
class _Motion:
    """The motion of a region from a frame to the next: pixels and radians."""

    x: float = 0.0
    y: float = 0.0
    turn: float = 0.0

    def moved(self, region: Region) -> Region:
        """Move the region to its position in the next frame."""
        return replace(region, x=region.x + self.x, y=region.y + self.y, angle=region.angle + self.turn)

    def updated(self, before: Region, now: Region) -> _Motion:
        """Average this motion and that between two frames."""
        turn = math.remainder(now.angle - before.angle, 2 * math.pi)
        return _Motion((self.x + now.x - before.x) / 2, (self.y + now.y - before.y) / 2, (self.turn + turn) / 2)

    def scaled(self, factor: float) -> _Motion:
        """Scale the motion to an image that is so many times as large."""
        return _Motion(factor * self.x, factor * self.y, self.turn)


@dataclass(eq=False)
class _Followed:
    region: Region
    candidate: Candidate | None  # of the last frame; None if it was lost there
    confirmed: bool
    start: Region
    likely: bool = False  # a search, or a look, found it to be a person
    lost_frames: int = 0  # frames since it was lost
    motion: _Motion = _Motion()  # while it was followed


PendingProposals: TypeAlias = Callable[[], list[Proposal]]
"""A call that waits for proposals that are being made, or makes them."""


class Follower:
    """People followed from frame to frame.

    Each frame costs `scheme.followed` + 1 passes of BlazePose full and those of heavy a person; every sixth frame
    MultiPose looks for newcomers, in turn in the full image and in one of its parts, where these changed. Around a
    newcomer, and where a person was lost, the image is searched; a region where no person is found is skipped for a
    second, so that a lamp-post does not slow down the rest of the video. Uncertain candidates are followed, too: one
    that walks is a person. A person who is lost in the middle of a movement is searched in every orientation where that
    movement leads.
    """

    def __init__(
        self, pool: ModelPool, scheme: Scheme, state: Mapping[str, Any] | None = None, *, masks: bool = False
    ) -> None:
        """Start, or continue with the state of another follower. masks: of all people in every frame."""
        self._pool, self._scheme, self._masks = pool, scheme, masks
        tentative = replace(scheme.refined, threshold=scheme.refined.threshold + _OPTIONS.tentative)
        self._tentative = replace(scheme, refined=tentative)
        self._people: list[_Followed] = []
        self._rejections: list[tuple[Region, int]] = []
        self._frame = -1
        self._size = 0
        self._looks: dict[Region, np.ndarray] = {}  # window → its layout when MultiPose looked at it last
        # Number of a frame → work begun for it, which depends on its pixels alone.
        self._begun_looks: dict[int, PendingProposals] = {}
        self._begun_searches: dict[int, PendingProposals] = {}
        if state is not None:
            self._frame, self._size = state["frame"], state["size"]
            self._rejections = [(Region(*region), until) for region, until in state["rejected"]]
            self._looks = {Region(*window): _decoded(layout) for window, layout in state["looks"]}
            self._people = [
                _Followed(
                    Region(*f["region"]),
                    None,
                    f["confirmed"],
                    Region(*f["start"]),
                    f["likely"],
                    f["missed"],
                    _Motion(*f["motion"]),
                )
                for f in state["followed"]
            ]

    @property
    def state(self) -> dict[str, Any]:
        """State that the next frames depend on, as JSON values."""
        return {
            "frame": self._frame,
            "size": self._size,
            "rejected": [(astuple(region), until) for region, until in self._rejections],
            "looks": [(astuple(window), _encoded(layout)) for window, layout in self._looks.items()],
            "followed": [
                {
                    "region": astuple(f.region),
                    "start": astuple(f.start),
                    "confirmed": f.confirmed,
                    "likely": f.likely,
                    "missed": f.lost_frames,
                    "motion": astuple(f.motion),
                }
                for f in self._people
            ],
        }

    def follow(self, frames: Iterable[Pyramid | None]) -> Generator[tuple[Pyramid | None, list[Candidate]], None, None]:
        """Yield each frame with the people and uncertain candidates in it; those that are None show none.

        `state` is that behind the frame which was yielded last, though some more are read.
        """
        waiting: deque[Pyramid | None] = deque()
        number = self._frame
        for frame in frames:
            if frame is not None:
                number += 1
                self._begin(number, frame)
            waiting.append(frame)
            if len(waiting) > _OPTIONS.ahead:
                yield self._followed_into(waiting.popleft())
        while waiting:
            yield self._followed_into(waiting.popleft())

    def _followed_into(self, frame: Pyramid | None) -> tuple[Pyramid | None, list[Candidate]]:
        return frame, [] if frame is None else self.next_frame(frame)

    def _begin(self, number: int, pyramid: Pyramid) -> None:
        """Begin the work for a coming frame: its search, and, if its image changed so far, its look."""
        if number % _OPTIONS.key_every == 0:
            self._begun_searches[number] = self._pool.begin(lambda: self._propose_everywhere(pyramid))
        view = _view_to_look_at(number, pyramid)
        if view is not None and self._layout_if_changed(pyramid, view[0]) is not None:
            self._begun_looks[number] = self._pool.begin(lambda: self._look_at(pyramid, view))

    def next_frame(self, pyramid: Pyramid) -> list[Candidate]:
        """Find the people and uncertain candidates in the next frame."""
        self._frame += 1
        self._rescale(max(pyramid.width, pyramid.height))
        look = self._look_round(pyramid)
        _, proposals = self._pool.together(lambda: self._follow(pyramid), look)
        lost_regions = [f.region for f in self._people if f.lost_frames == 1]
        # Now and then the full image, but for the regions of people who are certain.
        if self._frame % _OPTIONS.key_every == 0:
            pending = self._begun_searches.pop(self._frame, None)
            everywhere = self._propose_everywhere(pyramid) if pending is None else pending()
            certain = [f.region for f in self._people if f.confirmed and f.candidate is not None]
            new_proposals = [p for p in everywhere if not any(_near(p.region, c) for c in certain)]
            self._add(search_proposed(self._pool, pyramid, self._tentative, new_proposals))
            self._add(self._look_behind(pyramid))
        # Else around newcomers and lost people.
        fresh = sorted((p for p in proposals if not self._is_handled(p.region)), key=lambda p: -p.score)
        newcomers = fresh[: _OPTIONS.max_newcomers]
        if lost_regions or newcomers:
            regions = [*lost_regions, *(p.region for p in newcomers)]
            windows = [window for region in regions for window in _windows_around(region)]
            self._add(search_in(self._pool, pyramid, self._tentative, windows, newcomers))
            until = self._frame + _OPTIONS.rejection
            self._rejections += [(p.region, until) for p in newcomers if not self._is_handled(p.region)]
        self._regain(pyramid)
        self._look_again(pyramid)
        self._people = [f for f in self._people if f.lost_frames <= _patience(f, pyramid)]
        self._rejections = [(region, until) for region, until in self._rejections if until > self._frame]
        return [replace(f.candidate, confirmed=f.confirmed) for f in self._people if f.candidate is not None]

    def _rescale(self, size: int) -> None:
        """Scale all regions to a frame of another size, which shows the same view."""
        if self._size not in (0, size):
            scale = size / self._size
            for f in self._people:
                f.region, f.start, f.motion = f.region.scaled(scale), f.start.scaled(scale), f.motion.scaled(scale)
            self._rejections = [(region.scaled(scale), until) for region, until in self._rejections]
            self._looks.clear()
        self._size = size

    def _follow(self, pyramid: Pyramid) -> None:
        """Run passes over all people who are followed."""
        for f in self._people:
            if f.lost_frames:
                f.region = f.motion.moved(f.region)
        regions = [f.region for f in self._people]
        for person, (full, heavy) in zip(self._people, self._passes(pyramid, regions), strict=True):
            _update(person, full, heavy)
        self._drop_duplicates()

    def _passes(self, pyramid: Pyramid, regions: Sequence[Region]) -> list[tuple[list[Observation], list[Observation]]]:
        """Run passes of BlazePose full and heavy over each region."""
        full, heavy = self._pool.together(
            lambda: observe_jittered(self._pool, pyramid, regions, self._scheme.followed, masks=self._masks),
            lambda: observe_jittered(
                self._pool, pyramid, regions, self._scheme.heavy - 1, "blazepose-heavy", masks=False
            ),
        )
        return list(zip(full, heavy, strict=True))

    def _regain(self, pyramid: Pyramid) -> None:
        """Look for the people who are lost, in every orientation: networks know people upright in the crop."""
        turns = np.arange(_OPTIONS.turns) * 2 * np.pi / _OPTIONS.turns
        for lost in [f for f in self._people if f.lost_frames and f.confirmed and _centred_in(f.region, pyramid)]:
            views = [CropView(lost.region.moved(turn=float(turn))) for turn in turns]
            first = observe_all(self._pool, pyramid, views, masks=False)
            likely = [o for o in first if o.presence > _OPTIONS.min_presence and _expected(o.next_region, lost.region)]
            likely = sorted(likely, key=lambda o: -o.presence)[: _OPTIONS.regained_views]
            attempts = [replace(lost, region=o.next_region) for o in likely]
            for f, (full, heavy) in zip(attempts, self._passes(pyramid, [f.region for f in attempts]), strict=True):
                _update(f, full, heavy, _OPTIONS.regained_presence, _OPTIONS.regained_movement)
            back = [f for f in attempts if f.candidate is not None]
            if back:
                best = max(back, key=lambda f: f.candidate.probability if f.candidate else 0.0)
                self._people[self._people.index(lost)] = best
        self._drop_duplicates()

    def _propose_everywhere(self, pyramid: Pyramid) -> list[Proposal]:
        return propose_everywhere(self._pool, pyramid, self._tentative)

    def _look_round(self, pyramid: Pyramid) -> PendingProposals:
        """Find people by MultiPose in this frame's part of the image, if it changed since the last look."""
        view, pending = _view_to_look_at(self._frame, pyramid), self._begun_looks.pop(self._frame, None)
        layout = None if view is None else self._layout_if_changed(pyramid, view[0])
        if view is None or layout is None:
            return list
        self._looks[view[0]] = layout
        return pending or (lambda: self._look_at(pyramid, view))

    def _look_at(self, pyramid: Pyramid, view: tuple[Region, int]) -> list[Proposal]:
        return propose_by_multipose(self._pool, pyramid, [view])

    def _layout_if_changed(self, pyramid: Pyramid, window: Region) -> np.ndarray | None:
        """Compute the layout of a window; None if it did not change since the last look where no person is followed."""
        colours = pyramid.crop(window, _LAYOUT_SIDE, pad=cv2.BORDER_CONSTANT)
        layout = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)
        before = self._looks.get(window)
        if before is not None:
            centres = window.to_image(_LAYOUT_SIDE).points(_CELLS)
            free = np.ones(len(_CELLS), bool)
            for f in self._people:
                free &= np.hypot(*(centres - (f.region.x, f.region.y)).T) > f.region.side / 2
            change = np.abs(layout.astype(np.float32) - before).reshape(-1)[free]
            if not (change > _OPTIONS.look_change).any():
                return None
        return layout

    def _look_behind(self, pyramid: Pyramid) -> list[Candidate]:
        """Find the people behind or beside those in this frame."""
        regions = [f.region for f in self._people if f.candidate is not None]
        passes = observe_jittered(self._pool, pyramid, regions, 0)
        people = [Candidate(tuple(observations), coarse=tuple(observations)) for observations in passes]
        return look_behind(self._pool, pyramid, people) if people else []

    def _look_again(self, pyramid: Pyramid) -> None:
        """Look closely at uncertain candidates by MultiPose: two clear looks, or one and a search, confirm one."""
        if self._frame % _OPTIONS.look_again_every:
            return
        for f in self._people:
            if not f.confirmed and f.candidate is not None:
                window = replace(f.region, side=_OPTIONS.close_reach * f.region.side, angle=0.0)
                proposals = propose_by_multipose(self._pool, pyramid, [(window, _OPTIONS.close_side)])
                clear = any(p.score > _OPTIONS.clear_score and _near(p.region, f.region) for p in proposals)
                f.confirmed = clear and f.likely
                f.likely |= clear

    def _add(self, candidates: Sequence[Candidate]) -> None:
        """Follow those of the candidates that are not followed into this frame already."""
        threshold = self._scheme.refined.threshold
        for candidate in candidates:
            likely = candidate.probability > _probability(threshold)
            certain = candidate.probability > _probability(threshold + _OPTIONS.certain)
            certain |= likely and self._frame == 0
            same_people = (f for f in self._people if f.candidate and _same(candidate.passes, f.candidate.passes))
            same = next(same_people, None)
            if same is not None:
                same.confirmed |= certain or (likely and same.likely)
                same.likely |= likely
                continue
            # It takes the place of a lost person near by.
            region = _mean_region(candidate.passes)
            self._people = [f for f in self._people if f.candidate is not None or not _near(f.region, region)]
            self._people.append(_Followed(region, candidate, certain, region, likely))

    def _is_handled(self, region: Region) -> bool:
        regions = [f.region for f in self._people] + [rejection for rejection, _ in self._rejections]
        return any(_near(region, other) for other in regions)

    def _drop_duplicates(self) -> None:
        """Drop duplicates: two regions that slid onto one person become one."""
        distinct: list[_Followed] = []
        for f in sorted(self._people, key=lambda f: -(f.candidate.probability if f.candidate else 0.0)):
            pairs = ((k, f.candidate, k.candidate) for k in distinct)
            same = next((k for k, a, b in pairs if a and b and _same(a.passes, b.passes)), None)
            if same is None:
                distinct.append(f)
            else:
                same.confirmed |= f.confirmed
        self._people = [f for f in self._people if f in distinct]


def _view_to_look_at(number: int, pyramid: Pyramid) -> tuple[Region, int] | None:
    """Choose the window that MultiPose looks at in a frame, and the side of its input; None in most frames."""
    turn, step = divmod(number, _OPTIONS.look_every)
    if step:
        return None
    size, side = (pyramid.width, pyramid.height), _OPTIONS.look_side
    full = windows_over(*size, (1.0,))[0]
    parts = windows_over(*size, (_OPTIONS.look_part,)) if max(size) > side else [full]
    window = full if turn % 2 == 0 else parts[turn // 2 % len(parts)]
    return window, min(side, max(32 * math.ceil(window.side / 32), 256))


def _encoded(layout: np.ndarray) -> str:
    return base64.b64encode(layout.tobytes()).decode("ascii")


def _decoded(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(_LAYOUT_SIDE, _LAYOUT_SIDE)


def _near(a: Region, b: Region) -> bool:
    side = max(a.side, b.side)
    return math.hypot(a.x - b.x, a.y - b.y) < _OPTIONS.near * side and abs(math.log(a.side / b.side)) < math.log(2.5)


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def _centred_in(region: Region, pyramid: Pyramid) -> bool:
    return 0 <= region.x < pyramid.width and 0 <= region.y < pyramid.height


def _patience(f: _Followed, pyramid: Pyramid) -> int:
    return _OPTIONS.lost_patience if f.confirmed and _centred_in(f.region, pyramid) else _OPTIONS.patience


def _expected(region: Region, prediction: Region) -> bool:
    """Check that a region may be that of a person whose region is predicted."""
    near = math.hypot(region.x - prediction.x, region.y - prediction.y) < _OPTIONS.regained_near * prediction.side
    return near and abs(math.log(region.side / prediction.side)) < math.log(_OPTIONS.regained_size)


def _windows_around(region: Region) -> list[Region]:
    """List windows in which a person of that region has the size that suits the detector, at five positions."""
    x, y, side = region.x, region.y, 1.8 * region.side
    return [Region(x + dx * side, y + dy * side, side) for dx, dy in _SHIFTS]


def _update(
    person: _Followed,
    full: Sequence[Observation],
    heavy: Sequence[Observation],
    min_presence: float = _OPTIONS.min_presence,
    max_movement: float = _OPTIONS.max_movement,
) -> None:
    passes = (*full, *heavy)
    presence = float(np.mean([o.presence for o in passes]))
    points = np.stack([o.points for o in passes])
    movement = float(np.median(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean(0)))) / person.region.side
    visible = (mean_confidence(passes) > _OPTIONS.min_confidence).sum()
    if presence < min_presence or movement > max_movement or visible < _OPTIONS.min_visible:
        person.candidate = None
        person.lost_frames += 1
        return
    probability = presence * math.exp(-0.5 * (movement / 0.03) ** 2)
    before, region = person.region, _mean_region(passes)
    if person.lost_frames == 0:
        person.motion = person.motion.updated(before, region)
    person.candidate, person.lost_frames, person.region = (
        Candidate(tuple(full), probability, heavy=tuple(heavy)),
        0,
        region,
    )
    distance = math.hypot(person.region.x - person.start.x, person.region.y - person.start.y)
    person.confirmed |= distance > _OPTIONS.walked * person.region.side


def _mean_region(passes: Sequence[Observation]) -> Region:
    """Average the regions that the passes predict; angles are averaged as directions."""
    regions = [o.next_region for o in passes]
    angle = math.atan2(sum(math.sin(r.angle) for r in regions), sum(math.cos(r.angle) for r in regions))
    x, y, side = np.mean([(r.x, r.y, r.side) for r in regions], axis=0)
    return Region(float(x), float(y), float(side), angle)


def _same(a: Sequence[Observation], b: Sequence[Observation]) -> bool:
    side = math.sqrt(a[0].region.side * b[0].region.side)
    return similarity(mean_points(a), mean_points(b), side) > SAME_PERSON


@dataclass(frozen=True)
class TrackOptions:
    """Conditions for people of two frames to be one track.

    keypoint_width  share of the longer side of the box: σ of the movement of a keypoint from frame to frame
    min_confidence  of keypoints that are compared; at least four of them
    max_gap         frames for which a track waits for its person
    min_similarity  0..1, of boxes or keypoints, below which two people are never one
    same_pose       similarity of two poses of one person in a frame: of second detections 1.0, of two people 0.2
    """

    keypoint_width: float = 0.1
    min_confidence: float = 0.3
    max_gap: int = 10
    min_similarity: float = 0.3
    same_pose: float = 0.7


@dataclass(frozen=True)
class FrameIds:
    """Numbers of one frame: its shot, and one track id for each of its people, in their order."""

    shot_id: int
    track_ids: tuple[int, ...]


@dataclass
class _Track:
    number: int
    last: DetectedPerson
    lost_frames: int = 0


class TrackAssigner:
    """The numbers of people over the frames of one video.

    Each frame's people are matched to the tracks by the best total similarity of boxes and keypoints (Hungarian
    method); people without a match in the last ten frames start a track. A hard cut ends all tracks.
    """

    def __init__(self, options: TrackOptions | None = None) -> None:
        self._options = options or TrackOptions()
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
            track.last, track.lost_frames = people[row], -1
            numbers[row] = track.number
        for row, person in enumerate(people):
            if numbers[row] < 0:
                numbers[row] = self._next
                self._tracks.append(_Track(self._next, person, -1))
                self._next += 1
        for track in self._tracks:
            track.lost_frames += 1
        self._tracks = [track for track in self._tracks if track.lost_frames <= self._options.max_gap]
        return FrameIds(self._shots.shot_id, tuple(numbers))

    def _matches(self, people: Sequence[DetectedPerson]) -> list[tuple[int, _Track]]:
        if not people or not self._tracks:
            return []
        from scipy.optimize import linear_sum_assignment  # a third of a second to import

        alike = np.zeros((len(people), len(self._tracks)))
        for row, person in enumerate(people):
            alike[row] = [_similarity(track.last, person, self._options) for track in self._tracks]
        possible = alike >= self._options.min_similarity
        pairs = zip(*linear_sum_assignment(np.where(possible, alike, 0.0), maximize=True), strict=True)
        return [(row, self._tracks[column]) for row, column in pairs if possible[row, column]]


def distinct_rows(people: Sequence[DetectedPerson], options: TrackOptions | None = None) -> list[int]:
    """List the rows of one frame's people without second detections of one person, of which the likeliest is kept."""
    options, rows = options or TrackOptions(), list[int]()
    for row in sorted(range(len(people)), key=lambda row: (not people[row].confirmed, -people[row].score)):
        if not any(_same_pose(people[row], people[other], options) for other in rows):
            rows.append(row)
    return sorted(rows)


def _same_pose(a: DetectedPerson, b: DetectedPerson, options: TrackOptions) -> bool:
    """Check that the joints that two detections of a frame both show agree; left and right may be swapped."""
    side = math.sqrt(max(a.box[2:] - a.box[:2]) * max(b.box[2:] - b.box[:2]))
    for pose in (b.keypoints, b.keypoints[list(b.skeleton.mirror)]):
        visible = np.minimum(a.keypoints[:, 2], pose[:, 2]) > options.min_confidence
        several = visible.sum() >= 4
        if several and similarity_of_points(a.keypoints[visible, :2], pose[visible, :2], side) > options.same_pose:
            return True
    return False


def _similarity(before: DetectedPerson, now: DetectedPerson, options: TrackOptions) -> float:
    """Measure 0..1: overlap of the boxes, or agreement of the keypoints that both show, whichever is better."""
    overlap = float(box_overlap(before.box, now.box))
    if before.skeleton != now.skeleton:
        return overlap
    in_both = np.minimum(before.keypoints[:, 2], now.keypoints[:, 2]) > options.min_confidence
    width = options.keypoint_width * max(float(max(p.box[2:] - p.box[:2])) for p in (before, now)) + 1e-6
    apart = np.sum((before.keypoints[in_both, :2] - now.keypoints[in_both, :2]) ** 2, axis=1)
    agreement = float(np.exp(-apart / (2 * width**2)).mean()) if len(apart) >= 4 else 0.0
    return max(overlap, agreement)
