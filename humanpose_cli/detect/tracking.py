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
from humanpose_cli.detect.options import DetectOptions, TrackOptions
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
    SCHEMES,
    Candidate,
    Scheme,
    body_pose,
    propose_everywhere,
    search_in,
    search_proposed,
)
from humanpose_cli.detect.second_look import look_behind
from humanpose_cli.detect.shots import ShotDetector
from humanpose_cli.detect.similarity import PosePoints, same_person, similarity_of_points

_SHIFTS = ((0.0, 0.0), (-0.15, -0.1), (0.15, -0.1), (-0.15, 0.1), (0.15, 0.1))
_LAYOUT_SIDE = 64  # cells of a window's layout
_CELLS = np.stack(np.meshgrid(*2 * [np.arange(_LAYOUT_SIDE) + 0.5]), -1).reshape(-1, 2)


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
class _FollowedPerson:
    region: Region
    candidate: Candidate | None  # of the last frame; None if it was lost there
    confirmed: bool
    start: Region
    likely: bool = False  # a search, or a look, found it to be a person
    lost_frames: int = 0  # frames since it was lost
    motion: _Motion = _Motion()  # while it was followed

    @property
    def probability(self) -> float:
        """Probability that the candidate is a person; 0 without one."""
        return 0.0 if self.candidate is None else self.candidate.probability

    @property
    def state(self) -> dict[str, Any]:
        """State between two frames, as JSON values."""
        return {
            "region": astuple(self.region),
            "start": astuple(self.start),
            "confirmed": self.confirmed,
            "likely": self.likely,
            "missed": self.lost_frames,
            "motion": astuple(self.motion),
        }

    @staticmethod
    def restored(state: Mapping[str, Any]) -> _FollowedPerson:
        """Restore a person from `state`."""
        return _FollowedPerson(
            region=_region(state["region"]),
            candidate=None,
            confirmed=state["confirmed"],
            start=_region(state["start"]),
            likely=state["likely"],
            lost_frames=state["missed"],
            motion=_Motion(*state["motion"]),
        )


PendingProposals: TypeAlias = Callable[[], list[Proposal]]
"""A call that waits for proposals that are being made, or makes them."""


class Follower:
    """People followed from frame to frame.

    Each frame costs `scheme.following` + 1 passes of BlazePose full and those of heavy a person; every sixth frame
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
        self._options, self._same_passes = scheme.options.follow, scheme.options.same_person.passes
        tentative = replace(scheme.fine, threshold=scheme.fine.threshold + self._options.tentative)
        self._tentative = replace(scheme, fine=tentative)
        self._people: list[_FollowedPerson] = []
        self._rejections: list[tuple[Region, int]] = []
        self._frame = -1
        self._size = 0
        self._looks: dict[Region, np.ndarray] = {}  # window → its layout when MultiPose looked at it last
        # Number of a frame → work begun for it, which depends on its pixels alone.
        self._begun_looks: dict[int, PendingProposals] = {}
        self._begun_searches: dict[int, PendingProposals] = {}
        if state is not None:
            self._frame, self._size = state["frame"], state["size"]
            self._rejections = [(_region(region), until) for region, until in state["rejected"]]
            self._looks = {_region(window): _decoded(layout) for window, layout in state["looks"]}
            self._people = [_FollowedPerson.restored(person) for person in state["followed"]]

    @property
    def state(self) -> dict[str, Any]:
        """State that the next frames depend on, as JSON values."""
        return {
            "frame": self._frame,
            "size": self._size,
            "rejected": [(astuple(region), until) for region, until in self._rejections],
            "looks": [(astuple(window), _encoded(layout)) for window, layout in self._looks.items()],
            "followed": [person.state for person in self._people],
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
            if len(waiting) > self._options.ahead:
                yield self._followed_into(waiting.popleft())
        while waiting:
            yield self._followed_into(waiting.popleft())

    def _followed_into(self, frame: Pyramid | None) -> tuple[Pyramid | None, list[Candidate]]:
        return frame, [] if frame is None else self.next_frame(frame)

    def _begin(self, number: int, pyramid: Pyramid) -> None:
        """Begin the work for a coming frame: its search, and, if its image changed so far, its look."""
        if number % self._options.key_every == 0:
            self._begun_searches[number] = self._pool.begin(lambda: self._propose_everywhere(pyramid))
        view = self._view_to_look_at(number, pyramid)
        if view is not None and self._layout_if_changed(pyramid, view[0]) is not None:
            self._begun_looks[number] = self._pool.begin(lambda: self._look_at(pyramid, view))

    def _view_to_look_at(self, number: int, pyramid: Pyramid) -> tuple[Region, int] | None:
        """Choose the window that MultiPose looks at in a frame, and the side of its input; None in most frames."""
        turn, step = divmod(number, self._options.look_every)
        if step:
            return None
        side = self._options.look_side
        full = windows_over(pyramid.width, pyramid.height, (1.0,))[0]
        # Parts of a small image show nothing that the full image does not.
        share = self._options.look_part if max(pyramid.size) > side else 1.0
        parts = windows_over(pyramid.width, pyramid.height, (share,)) or [full]
        window = full if turn % 2 == 0 else parts[turn // 2 % len(parts)]
        return window, min(side, max(32 * math.ceil(window.side / 32), 256))

    def next_frame(self, pyramid: Pyramid) -> list[Candidate]:
        """Find the people and uncertain candidates in the next frame."""
        self._frame += 1
        self._rescale(max(pyramid.width, pyramid.height))
        # MultiPose looks for newcomers while the landmark passes follow those who are known: neither needs the other.
        look = self._look_round(pyramid)
        _, proposals = self._pool.together(lambda: self._follow(pyramid), look)
        lost_regions = [f.region for f in self._people if f.lost_frames == 1]
        # Now and then the full image, but for the regions of people who are certain.
        if self._frame % self._options.key_every == 0:
            pending = self._begun_searches.pop(self._frame, None)
            everywhere = self._propose_everywhere(pyramid) if pending is None else pending()
            certain = [f.region for f in self._people if f.confirmed and f.candidate is not None]
            new_proposals = [p for p in everywhere if not any(self._near(p.region, c) for c in certain)]
            self._add(search_proposed(self._pool, pyramid, self._tentative, new_proposals))
            self._add(self._look_behind(pyramid))
        # Else around newcomers and lost people.
        fresh = sorted((p for p in proposals if not self._is_handled(p.region)), key=lambda p: -p.score)
        newcomers = fresh[: self._options.max_newcomers]
        if lost_regions or newcomers:
            regions = [*lost_regions, *(p.region for p in newcomers)]
            windows = [window for region in regions for window in _windows_around(region)]
            self._add(search_in(self._pool, pyramid, self._tentative, windows, newcomers))
            # What was no person in this frame is none in the next ones: a lamp-post is not searched in every frame.
            until = self._frame + self._options.rejection
            self._rejections += [(p.region, until) for p in newcomers if not self._is_handled(p.region)]
        # People lost in the middle of a movement are often turned, as the search above does not expect them.
        self._regain(pyramid)
        self._look_again(pyramid)
        self._people = [f for f in self._people if f.lost_frames <= self._patience(f, pyramid)]
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
            self._update(person, full, heavy, self._options.min_presence, self._options.max_movement)
        self._drop_duplicates()

    def _passes(self, pyramid: Pyramid, regions: Sequence[Region]) -> list[tuple[list[Observation], list[Observation]]]:
        """Run passes of BlazePose full and heavy over each region."""
        full, heavy = self._pool.together(
            lambda: observe_jittered(self._pool, pyramid, regions, self._scheme.following, masks=self._masks),
            lambda: observe_jittered(
                self._pool, pyramid, regions, self._scheme.heavy - 1, "blazepose-heavy", masks=False
            ),
        )
        return list(zip(full, heavy, strict=True))

    def _regain(self, pyramid: Pyramid) -> None:
        """Look for the people who are lost, in every orientation: networks know people upright in the crop."""
        turns = np.arange(self._options.turns) * 2 * np.pi / self._options.turns
        for person in [f for f in self._people if f.lost_frames and f.confirmed and _centred_in(f.region, pyramid)]:
            views = [CropView(person.region.moved(turn=float(turn))) for turn in turns]
            first = observe_all(self._pool, pyramid, views, masks=False)
            # Only regions where the person may have moved to: else a bystander would take their number.
            likely = [o for o in first if o.presence > self._options.min_presence]
            likely = [o for o in likely if self._expected(o.next_region, person.region)]
            likely = sorted(likely, key=lambda o: -o.presence)[: self._options.regained_views]
            attempts = [replace(person, region=o.next_region) for o in likely]
            for f, (full, heavy) in zip(attempts, self._passes(pyramid, [f.region for f in attempts]), strict=True):
                self._update(f, full, heavy, self._options.regained_presence, self._options.regained_movement)
            back = [f for f in attempts if f.candidate is not None]
            if back:
                best = max(back, key=lambda f: f.probability)
                self._people[self._people.index(person)] = best
        self._drop_duplicates()

    def _propose_everywhere(self, pyramid: Pyramid) -> list[Proposal]:
        return propose_everywhere(self._pool, pyramid, self._tentative)

    def _look_round(self, pyramid: Pyramid) -> PendingProposals:
        """Find people by MultiPose in this frame's part of the image, if it changed since the last look."""
        view, pending = self._view_to_look_at(self._frame, pyramid), self._begun_looks.pop(self._frame, None)
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
            if not (change > self._options.look_change).any():
                return None
        return layout

    def _look_behind(self, pyramid: Pyramid) -> list[Candidate]:
        """Find the people behind or beside those in this frame."""
        regions = [f.region for f in self._people if f.candidate is not None]
        passes = observe_jittered(self._pool, pyramid, regions, 0)
        people = [Candidate(tuple(observations), coarse=tuple(observations)) for observations in passes]
        thorough = replace(SCHEMES["thorough"], options=self._scheme.options)
        return look_behind(self._pool, pyramid, people, thorough) if people else []

    def _look_again(self, pyramid: Pyramid) -> None:
        """Look closely at uncertain candidates by MultiPose: two clear looks, or one and a search, confirm one."""
        if self._frame % self._options.look_again_every:
            return
        for f in self._people:
            if not f.confirmed and f.candidate is not None:
                window = replace(f.region, side=self._options.close_reach * f.region.side, angle=0.0)
                proposals = propose_by_multipose(self._pool, pyramid, [(window, self._options.close_side)])
                clear = any(p.score > self._options.clear_score and self._near(p.region, f.region) for p in proposals)
                f.confirmed = clear and f.likely
                f.likely |= clear

    def _add(self, candidates: Sequence[Candidate]) -> None:
        """Follow those of the candidates that are not followed into this frame already."""
        threshold = self._scheme.fine.threshold
        for candidate in candidates:
            likely = candidate.probability > _probability(threshold)
            certain = candidate.probability > _probability(threshold + self._options.certain)
            # Videos seldom begin with things alone, while over all frames something resembles a person in one.
            certain |= likely and self._frame == 0
            # A search that finds a followed person again confirms them; what is likely twice is a person.
            same = next((f for f in self._people if f.candidate and self._is_same(candidate, f.candidate)), None)
            if same is not None:
                same.confirmed |= certain or (likely and same.likely)
                same.likely |= likely
                continue
            # It takes the place of a lost person near by.
            region = _mean_region(candidate.passes)
            self._people = [f for f in self._people if f.candidate is not None or not self._near(f.region, region)]
            self._people.append(_FollowedPerson(region, candidate, certain, region, likely))

    def _is_handled(self, region: Region) -> bool:
        regions = [f.region for f in self._people] + [rejection for rejection, _ in self._rejections]
        return any(self._near(region, other) for other in regions)

    def _drop_duplicates(self) -> None:
        """Drop duplicates: two regions that slid onto one person become one."""
        distinct: list[_FollowedPerson] = []
        for f in sorted(self._people, key=lambda f: -(f.probability)):
            pairs = ((other, f.candidate, other.candidate) for other in distinct)
            same = next((other for other, a, b in pairs if a and b and self._is_same(a, b)), None)
            if same is None:
                distinct.append(f)
            else:
                same.confirmed |= f.confirmed
        self._people = [f for f in self._people if f in distinct]

    def _is_same(self, a: Candidate, b: Candidate) -> bool:
        one, other = (body_pose(mean_points(c.passes), c.passes[0].region.side) for c in (a, b))
        return same_person(one, other, self._same_passes)

    def _near(self, a: Region, b: Region) -> bool:
        near = math.hypot(a.x - b.x, a.y - b.y) < self._options.near * max(a.side, b.side)
        return near and abs(math.log(a.side / b.side)) < math.log(2.5)

    def _patience(self, f: _FollowedPerson, pyramid: Pyramid) -> int:
        is_lost_inside = f.confirmed and _centred_in(f.region, pyramid)
        return self._options.lost_patience if is_lost_inside else self._options.patience

    def _expected(self, region: Region, prediction: Region) -> bool:
        """Check that a region may be that of a person whose region is predicted."""
        distance = math.hypot(region.x - prediction.x, region.y - prediction.y)
        near = distance < self._options.regained_near * prediction.side
        return near and abs(math.log(region.side / prediction.side)) < math.log(self._options.regained_size)

    def _update(
        self,
        person: _FollowedPerson,
        full: Sequence[Observation],
        heavy: Sequence[Observation],
        min_presence: float,
        max_movement: float,
    ) -> None:
        """Move a person to where the passes show them, or count a frame in which they are lost."""
        passes = (*full, *heavy)
        presence = float(np.mean([o.presence for o in passes]))
        points = np.stack([o.points for o in passes])
        # Passes that see a person agree; over a background each shows another pose.
        movement = float(np.median(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean(0)))) / person.region.side
        visible = (mean_confidence(passes) > self._options.min_confidence).sum()
        if presence < min_presence or movement > max_movement or visible < self._options.min_visible:
            person.candidate = None
            person.lost_frames += 1
            return
        probability = presence * math.exp(-0.5 * (movement / 0.03) ** 2)
        before, person.region = person.region, _mean_region(passes)
        # Behind a gap the motion would be that of several frames.
        if person.lost_frames == 0:
            person.motion = person.motion.updated(before, person.region)
        person.candidate, person.lost_frames = Candidate(tuple(full), probability, heavy=tuple(heavy)), 0
        # Things that resemble a person stay where they are.
        distance = math.hypot(person.region.x - person.start.x, person.region.y - person.start.y)
        person.confirmed |= distance > self._options.walk * person.region.side


def _region(values: Sequence[float]) -> Region:
    x, y, side, angle = values
    return Region(x, y, side, angle)


def _encoded(layout: np.ndarray) -> str:
    return base64.b64encode(layout.tobytes()).decode("ascii")


def _decoded(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(_LAYOUT_SIDE, _LAYOUT_SIDE)


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def _centred_in(region: Region, pyramid: Pyramid) -> bool:
    return 0 <= region.x < pyramid.width and 0 <= region.y < pyramid.height


def _windows_around(region: Region) -> list[Region]:
    """List windows in which a person of that region has the size that suits the detector, at five positions."""
    x, y, side = region.x, region.y, 1.8 * region.side
    return [Region(x + dx * side, y + dy * side, side) for dx, dy in _SHIFTS]


def _mean_region(passes: Sequence[Observation]) -> Region:
    """Average the regions that the passes predict; angles are averaged as directions."""
    regions = [o.next_region for o in passes]
    angle = math.atan2(sum(math.sin(r.angle) for r in regions), sum(math.cos(r.angle) for r in regions))
    x, y, side = np.mean([(r.x, r.y, r.side) for r in regions], axis=0)
    return Region(float(x), float(y), float(side), angle)


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

    def __init__(self, options: DetectOptions = DetectOptions()) -> None:
        self._options = options
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
        self._tracks = [track for track in self._tracks if track.lost_frames <= self._options.tracks.max_gap]
        return FrameIds(self._shots.shot_id, tuple(numbers))

    def _matches(self, people: Sequence[DetectedPerson]) -> list[tuple[int, _Track]]:
        if not people or not self._tracks:
            return []
        from scipy.optimize import linear_sum_assignment  # a third of a second to import

        alike = np.zeros((len(people), len(self._tracks)))
        for row, person in enumerate(people):
            alike[row] = [_similarity(track.last, person, self._options.tracks) for track in self._tracks]
        possible = alike >= self._options.same_person.frames
        pairs = zip(*linear_sum_assignment(np.where(possible, alike, 0.0), maximize=True), strict=True)
        return [(row, self._tracks[column]) for row, column in pairs if possible[row, column]]


def distinct_rows(people: Sequence[DetectedPerson], options: DetectOptions = DetectOptions()) -> list[int]:
    """List the rows of one frame's people without second detections of one person, of which the likeliest is kept."""
    rows = list[int]()
    for row in sorted(range(len(people)), key=lambda row: (not people[row].confirmed, -people[row].score)):
        if not any(_same_pose(people[row], people[other], options) for other in rows):
            rows.append(row)
    return sorted(rows)


def _same_pose(a: DetectedPerson, b: DetectedPerson, options: DetectOptions) -> bool:
    """Check that the joints that two detections of a frame both show agree; left and right may be swapped."""
    one, other = (
        PosePoints(p.keypoints[:, :2], float(max(p.box[2:] - p.box[:2])), p.keypoints[:, 2], p.skeleton.mirror)
        for p in (a, b)
    )
    limits, threshold = options.tracks, options.same_person.detections
    return same_person(one, other, threshold, min_confidence=limits.min_confidence, min_joints=limits.min_keypoints)


def _similarity(before: DetectedPerson, now: DetectedPerson, options: TrackOptions) -> float:
    """Measure 0..1: overlap of the boxes, or agreement of the keypoints that both show, whichever is better."""
    overlap = float(box_overlap(before.box, now.box))
    if before.skeleton != now.skeleton:
        return overlap
    in_both = np.minimum(before.keypoints[:, 2], now.keypoints[:, 2]) > options.min_confidence
    if in_both.sum() < options.min_keypoints:
        return overlap
    # People move from frame to frame, which passes over one frame do not: a width of its own, and sides do not swap.
    width = options.keypoint_width * max(float(max(p.box[2:] - p.box[:2])) for p in (before, now)) + 1e-6
    points, others = before.keypoints[in_both, :2], now.keypoints[in_both, :2]
    return max(overlap, similarity_of_points(points, others, width))
