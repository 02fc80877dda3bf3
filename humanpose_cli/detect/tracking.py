"""People in the frames of a video, followed from frame to frame."""

from __future__ import annotations

import base64
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np

from humanpose_cli.core.crop import box_overlap
from humanpose_cli.detect.identity import SAME_PASSES, distinct, same_person
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import (
    CropView,
    Observation,
    mean_confidence,
    mean_points,
    observe_all,
    observe_jittered,
)
from humanpose_cli.detect.regions import Proposal, Pyramid, Region, propose_by_multipose, windows_over
from humanpose_cli.detect.search import (
    BODY,
    Candidate,
    Scheme,
    body_pose,
    probability_of,
    propose_everywhere,
    search_in,
    search_proposed,
)
from humanpose_cli.detect.second_look import look_behind, painted_over
from humanpose_cli.detect.shots import THUMBNAIL_SIDE, frame_thumbnail, shows_another_layout

_USUAL_RATE = 30.0  # frames a second, up to which newcomers are looked for every so many frames
_AHEAD = 3  # frames that looks and searches of the full image begin early: they take longer than a frame
_TENTATIVE = -2.5  # log-odds above the threshold of single images from which a candidate is followed
# Between the threshold and this, a person needs two searches, except in the first frame: in many frames, something
# resembles a person in one.
_CERTAIN = 1.5  # log-odds above the threshold from which a candidate is a person
_CLEAR_SCORE = 0.45  # MultiPose's of a person; a clamp that resembles one has 0.28 to 0.35, a bystander 0.52 to 0.57
_NEAR = 0.2  # sides: distance within which a proposal is of the same person

# Which frames are searched.
_SEARCH_RATE = 20.0  # Hz, minimum rate at which videos of at least twice this rate are searched for people
_SLOW_RATE = 15.0  # Hz, minimum rate for other videos, in which all people have been slow for `_SLOW_SECONDS`
_SLOW_SECONDS = 0.5
_GAP_MOVEMENT = 0.1  # sides: how far a joint moves, at most, between two frames in which people are searched for
_GAP_TURN = 0.12  # radians that the body turns in the image meanwhile
_TOUCHING = 0.1  # overlap of the boxes of two people's joints beyond which people are searched for in every frame

# 1. People are followed, and MultiPose looks for newcomers. Lengths in sides of the region.
_MIN_VISIBLE = 3  # confident landmarks in the image below which the person has left it
_MIN_CONFIDENCE = 0.3  # of these landmarks
_WALK = 0.5  # a candidate that moves this far while it looks like a person is one
LOOK_EVERY = 6  # frames between two runs of MultiPose that look for newcomers, at 30 frames a second
_LOOK_SIDE = 512  # pixels of MultiPose's input for newcomers
_LOOK_PART = 0.5  # side of a part of the image, in its longer sides
_LOOK_CHANGE = 10.0  # grey levels of a cell, below which a window shows no newcomer beside the people followed
_LAYOUT_SIDE = 64  # cells of a window's layout
_CELLS = np.stack(np.meshgrid(*2 * [np.arange(_LAYOUT_SIDE) + 0.5]), -1).reshape(-1, 2)

# 2. The full image is searched.
KEY_EVERY = 60  # frames between two searches

# 3. The image is searched around newcomers and people lost in this frame.
_MAX_NEWCOMERS = 4  # proposals that are searched around in one frame
_SHIFTS = ((0.0, 0.0), (-0.15, -0.1), (0.15, -0.1), (-0.15, 0.1), (0.15, 0.1))
_REJECTION = 24  # frames in which a region without a person is not searched again

# 4. Lost people are looked for in every orientation. Lengths in sides of the region.
_TURNS = 8  # orientations, over the full circle
_REGAINED_VIEWS = 3  # of them that are looked at closely
_REGAINED_NEAR = 0.35  # distance of such a person from the expected position
_REGAINED_SIZE = 1.6  # ratio of their size and the expected one

# 5. MultiPose looks closely at candidates that are not certain.
_LOOK_AGAIN_EVERY = 6  # frames between two looks
_CLOSE_SIDE = 256  # pixels of its input
_CLOSE_REACH = 1.6  # width of these looks, in sides of the region

# 6. Who is lost for longer is forgotten.
_PATIENCE = 2  # frames in which an uncertain candidate that is lost is looked for
_LOST_PATIENCE = 30  # frames in which a person lost within the image is looked for on their way


class _Limits(NamedTuple):
    """What passes over a region must have that show a person: presence, and movement between them in sides."""

    min_presence: float
    max_movement: float


_FOLLOWED = _Limits(0.5, 0.06)  # below, the person has left the region, or the pose is not reliable
_REGAINED = _Limits(0.8, 0.03)  # of a person who was lost


@dataclass(frozen=True)
class _Motion:
    """The motion of a region from one frame to the next: pixels and radians."""

    x: float = 0.0
    y: float = 0.0
    turn: float = 0.0

    def moved(self, region: Region) -> Region:
        """Move the region to its position in the next frame."""
        return replace(region, x=region.x + self.x, y=region.y + self.y, angle=region.angle + self.turn)

    def updated(self, start: Region, end: Region, frames: int) -> _Motion:
        """Average this motion and the motion between two regions that are `frames` apart."""
        turn = math.remainder(end.angle - start.angle, 2 * math.pi) / frames
        x = (end.x - start.x) / frames
        y = (end.y - start.y) / frames
        return _Motion((self.x + x) / 2, (self.y + y) / 2, (self.turn + turn) / 2)


@dataclass(frozen=True, eq=False)
class _FollowedPerson:
    region: Region
    candidate: Candidate | None  # of the last frame; None if it was lost there
    confirmed: bool
    start: Region
    likely: bool = False  # a search, or a look, found it to be a person
    lost_frames: int = 0  # searched frames since it was lost
    motion: _Motion = _Motion()  # from frame to frame, while it was followed
    points: np.ndarray | None = None  # (33, 2) pixels in the last searched frame; None if it was lost there
    # Of joints and region from frame to frame, as a share of the largest allowed one; None if it is unknown.
    speed: float | None = None

    @property
    def probability(self) -> float:
        """The probability that the candidate is a person; 0 without one."""
        return 0.0 if self.candidate is None else self.candidate.probability

    @property
    def lost(self) -> _FollowedPerson:
        """The person, lost in one more frame."""
        return replace(self, candidate=None, points=None, speed=None, lost_frames=self.lost_frames + 1)

    @property
    def state(self) -> dict[str, Any]:
        """The state between two frames, as JSON values."""
        return {
            "region": astuple(self.region),
            "start": astuple(self.start),
            "confirmed": self.confirmed,
            "likely": self.likely,
            "missed": self.lost_frames,
            "motion": astuple(self.motion),
            "points": None if self.points is None else self.points.tolist(),
            "speed": self.speed,
        }

    @staticmethod
    def restored(state: Mapping[str, Any]) -> _FollowedPerson:
        """Restore a person from `state`."""
        return _FollowedPerson(
            region=Region(*state["region"]),
            candidate=None,
            confirmed=state["confirmed"],
            start=Region(*state["start"]),
            likely=state["likely"],
            lost_frames=state["missed"],
            motion=_Motion(*state["motion"]),
            points=None if state["points"] is None else np.array(state["points"]),
            speed=state["speed"],
        )


PendingProposals: TypeAlias = Callable[[], list[Proposal]]
"""A call that returns proposals, which may have been begun earlier."""


class _Search(NamedTuple):
    """A frame that is searched, and what following people into it has shown.

    Attributes:
        pyramid: The frame.
        proposals: MultiPose's proposals, which may show newcomers.
        lost: The regions of people who were lost in this frame.
    """

    pyramid: Pyramid
    proposals: list[Proposal]
    lost: list[Region]


class FollowedFrame(NamedTuple):
    """A frame of a sequence that was followed.

    Attributes:
        pyramid: The frame; None without pixels.
        candidates: The people and uncertain candidates in it; None if it was not searched.
        number: The number of searched frames before it.
    """

    pyramid: Pyramid | None
    candidates: list[Candidate] | None
    number: int


class Follower:
    """Follows people from frame to frame.

    A searched frame costs `scheme.following` + 1 passes of BlazePose full, and the passes of heavy, for each person.
    Every sixth frame, MultiPose looks for newcomers, in turn in the full image and in one of its parts, if these
    changed; in the first frame, in the full image and all parts. The image is searched around newcomers and lost
    people. A region in which nobody is found is skipped for a second. Uncertain candidates are followed as well: one
    that walks is a person. A person who is lost in a movement is searched for in every orientation at the predicted
    position. While people move evenly, some frames are not searched.

    Args:
        pool: The networks.
        scheme: The search.
        state: The state of another follower, to continue it.
        masks: Whether people come with masks.
        frame_rate: Frames per second. People who move evenly are searched for at `_SEARCH_RATE`, or `_SLOW_RATE`;
            people who are fast, new, lost or touch each other, and another layout, in every frame. None searches all
            frames.
    """

    def __init__(
        self,
        pool: ModelPool,
        scheme: Scheme,
        state: Mapping[str, Any] | None = None,
        *,
        masks: bool = False,
        frame_rate: float | None = None,
    ) -> None:
        self._pool = pool
        self._scheme = scheme
        self._masks = masks
        tentative = replace(scheme.fine, threshold=scheme.fine.threshold + _TENTATIVE)
        self._tentative = replace(scheme, fine=tentative)
        self._people: list[_FollowedPerson] = []
        self._rejections: list[tuple[Region, int]] = []
        self._frame = -1
        rate = frame_rate or 0.0
        self._look_every = LOOK_EVERY * max(1, round(rate / _USUAL_RATE))
        # A quarter of a frame: 59.94 frames a second are 60. Frames in which newcomers are looked for are searched.
        longest = int(rate / _SEARCH_RATE + 0.25)
        gaps = range(max(1, min(longest, self._look_every)), 0, -1)
        self._longest_gap = next(gap for gap in gaps if self._look_every % gap == 0)
        self._slow_frames = self._min_slow_frames = 0  # up to now, and before a frame is not searched
        if self._longest_gap == 1 and rate > 1.9 * _SLOW_RATE:
            self._longest_gap = 2
            self._min_slow_frames = round(_SLOW_SECONDS * rate)
        self._search_count = 0
        self._last_search = -1
        self._next_search = 0
        self._thumbnail: np.ndarray | None = None  # of the frame that was searched last
        self._looks: dict[Region, np.ndarray] = {}  # window → its layout when MultiPose looked at it last
        # Number of a frame → work begun for it, which depends on its pixels alone.
        self._begun_looks: dict[int, PendingProposals] = {}
        self._begun_searches: dict[int, PendingProposals] = {}
        if state is not None:
            self._frame = state["frame"]
            self._rejections = [(Region(*region), until) for region, until in state["rejected"]]
            self._looks = {
                Region(*window): _decoded(layout, (_LAYOUT_SIDE, _LAYOUT_SIDE)) for window, layout in state["looks"]
            }
            self._people = [_FollowedPerson.restored(person) for person in state["followed"]]
            self._search_count, self._last_search, self._next_search = state["searches"]
            self._slow_frames = state.get("slow", 0)
            if state["thumbnail"] is not None:
                self._thumbnail = _decoded(state["thumbnail"], (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3))

    @property
    def state(self) -> dict[str, Any]:
        """The state that the next frames depend on, as JSON values."""
        return {
            "frame": self._frame,
            "rejected": [(astuple(region), until) for region, until in self._rejections],
            "looks": [(astuple(window), _encoded(layout)) for window, layout in self._looks.items()],
            "followed": [person.state for person in self._people],
            "searches": (self._search_count, self._last_search, self._next_search),
            "slow": self._slow_frames,
            "thumbnail": None if self._thumbnail is None else _encoded(self._thumbnail),
        }

    def follow(self, frames: Iterable[Pyramid | None]) -> Generator[FollowedFrame, None, None]:
        """Yield each frame with the people and uncertain candidates in it; none in frames that are None.

        `state` belongs to the last yielded frame, although some more are read.

        Args:
            frames: The frames.
        """
        waiting: deque[Pyramid | None] = deque()
        number = self._frame
        for frame in frames:
            if frame is not None:
                number += 1
                self._begin(number, frame)
            waiting.append(frame)
            if len(waiting) > _AHEAD:
                yield self._followed_into(waiting.popleft())
        while waiting:
            frame = waiting.popleft()
            # The last frame is searched: nothing behind it could tell where people are.
            yield self._followed_into(frame, is_last=all(pyramid is None for pyramid in waiting))

    def _followed_into(self, frame: Pyramid | None, *, is_last: bool = False) -> FollowedFrame:
        candidates = [] if frame is None else self.next_frame(frame, is_last=is_last)
        return FollowedFrame(frame, candidates, self._search_count - 1)

    def _begin(self, number: int, pyramid: Pyramid) -> None:
        """Begin the work for a coming frame: its search, and its look if its image changed so far."""
        if number % KEY_EVERY == 0:
            self._begun_searches[number] = self._pool.begin(
                partial(propose_everywhere, self._pool, pyramid, self._tentative)
            )
        views = self._views_to_look_at(number, pyramid)
        if any(self._layout_if_changed(pyramid, window) is not None for window, _ in views):
            self._begun_looks[number] = self._pool.begin(lambda: propose_by_multipose(self._pool, pyramid, views))

    def _views_to_look_at(self, number: int, pyramid: Pyramid) -> list[tuple[Region, int]]:
        """Return the windows in which MultiPose looks for newcomers in a frame, and the sides of its input."""
        turn, step = divmod(number, self._look_every)
        if step:
            return []
        full = windows_over(pyramid.width, pyramid.height, (1.0,))[0]
        # Parts of a small image show nothing that the full image does not.
        share = _LOOK_PART if max(pyramid.size) > _LOOK_SIDE else 1.0
        parts = windows_over(pyramid.width, pyramid.height, (share,)) or [full]
        windows = [full] if turn % 2 == 0 else [parts[turn // 2 % len(parts)]]
        if number == 0:
            windows = list(dict.fromkeys([full, *parts]))
        return [(window, min(_LOOK_SIDE, max(32 * math.ceil(window.side / 32), 256))) for window in windows]

    def next_frame(self, pyramid: Pyramid, *, is_last: bool = False) -> list[Candidate] | None:
        """Find the people and uncertain candidates in the next frame; None if it need not be searched."""
        self._frame += 1
        if not (is_last or self._is_due(pyramid)):
            return None
        self._search_count += 1
        look = self._look_round(pyramid)
        # MultiPose looks for newcomers meanwhile: neither needs the other.
        _, proposals = self._pool.run_both(lambda: self._follow(pyramid), look)
        search = _Search(pyramid, proposals, [f.region for f in self._people if f.lost_frames == 1])
        for step in (self._search_everywhere, self._search_around, self._regain, self._look_again, self._forget):
            step(search)
        # Evenly spaced searches are interpolated best.
        gap = self._gap()
        self._last_search = self._frame
        self._next_search = self._frame + gap - self._frame % gap
        return [replace(f.candidate, confirmed=f.confirmed) for f in self._people if f.candidate is not None]

    def _is_due(self, pyramid: Pyramid) -> bool:
        """Return whether the next frame must be searched."""
        if self._longest_gap == 1:
            return True
        small = frame_thumbnail(pyramid.image)
        due = self._frame >= self._next_search
        due |= self._frame % self._look_every == 0 or self._frame % KEY_EVERY == 0
        due |= self._thumbnail is None or shows_another_layout(self._thumbnail, small)
        if due:
            self._thumbnail = small
        return due

    def _gap(self) -> int:
        """Return the number of frames until the next search, unless the layout changes."""
        people = [f for f in self._people if f.confirmed]
        speeds = [math.inf if f.speed is None else f.speed for f in people]
        fastest = math.inf if self._touching(people) else max(speeds, default=0.0)
        gap = max(1, min(self._longest_gap, int(1 / max(fastest, 1e-6))))
        self._slow_frames = self._slow_frames + self._frame - self._last_search if gap > 1 else 0
        return gap if self._slow_frames >= self._min_slow_frames else 1

    def _touching(self, people: Sequence[_FollowedPerson]) -> bool:
        """Return whether the joints of two people lie in one area."""
        boxes = [np.concatenate([f.points.min(0), f.points.max(0)]) for f in people if f.points is not None]
        return any(box_overlap(a, b) > _TOUCHING for a, b in combinations(boxes, 2))

    def _follow(self, pyramid: Pyramid) -> None:
        """Run passes over all people who are followed."""
        starts = [replace(f, region=f.motion.moved(f.region)) if f.lost_frames else f for f in self._people]
        passes = self._passes(pyramid, [f.region for f in starts])
        self._people = [self._moved(f, *of_one, _FOLLOWED) for f, of_one in zip(starts, passes, strict=True)]
        self._separate(pyramid, starts)
        self._drop_duplicates()

    def _separate(self, pyramid: Pyramid, starts: Sequence[_FollowedPerson]) -> None:
        """Follow people again who are lost beside others or touch likelier ones, with these others painted over.

        A pass shows the person who stands out in its crop, or limbs of both.
        """
        for row, start in enumerate(starts):
            person = self._people[row]
            neighbours = [f for f in self._people if person.confirmed and self._may_hide(f, person, start.region)]
            if not neighbours:
                continue
            behind = painted_over(pyramid, self._as_candidates(pyramid, neighbours))
            ((full, heavy),) = self._passes(behind, [start.region])
            again = self._moved(start, full, heavy, _REGAINED if start.lost_frames else _FOLLOWED)
            is_apart = again.candidate is not None and not any(self._is_duplicate(again, f) for f in neighbours)
            if is_apart and self._expected(again.region, start.region):
                self._people[row] = again
            elif any(self._is_duplicate(person, f) for f in neighbours):  # who is not found is lost, but looked for
                self._people[row] = start.lost

    def _may_hide(self, f: _FollowedPerson, person: _FollowedPerson, region: Region) -> bool:
        """Return whether a person may hide another one, who is expected in a region."""
        if f is person or not f.confirmed or f.candidate is None:
            return False
        if person.candidate is None:
            return math.hypot(f.region.x - region.x, f.region.y - region.y) < (f.region.side + region.side) / 2
        if self._is_duplicate(f, person):  # who moved more has slid onto the other one
            speeds = [math.inf if p.speed is None else p.speed for p in (f, person)]
            return speeds[0] <= speeds[1]
        return f.probability > person.probability and self._touching([f, person])

    def _is_duplicate(self, a: _FollowedPerson, b: _FollowedPerson) -> bool:
        return a.candidate is not None and b.candidate is not None and self._is_same(a.candidate, b.candidate)

    def _passes(self, pyramid: Pyramid, regions: Sequence[Region]) -> list[tuple[list[Observation], list[Observation]]]:
        """Run passes of BlazePose full and heavy over each region."""
        run = partial(observe_jittered, self._pool, pyramid, regions)
        full, heavy = self._pool.run_both(
            lambda: run(self._scheme.following, masks=self._masks),
            lambda: run(self._scheme.heavy - 1, "blazepose-heavy", masks=False),
        )
        return list(zip(full, heavy, strict=True))

    def _search_everywhere(self, search: _Search) -> None:
        """Search the full image now and then, but for the regions of people who are certain, and behind people."""
        if self._frame % KEY_EVERY:
            return
        pending = self._begun_searches.pop(self._frame, None)
        everywhere = (pending or partial(propose_everywhere, self._pool, search.pyramid, self._tentative))()
        certain = [f.region for f in self._people if f.confirmed and f.candidate is not None]
        proposals = [p for p in everywhere if not any(self._near(p.region, c) for c in certain)]
        self._add(search_proposed(self._pool, search.pyramid, self._tentative, proposals))
        people = self._as_candidates(search.pyramid, [f for f in self._people if f.candidate is not None])
        self._add(look_behind(self._pool, search.pyramid, people) if people else [])

    def _search_around(self, search: _Search) -> None:
        """Search around newcomers and people lost in this frame."""
        newcomers = self._newcomers(search.proposals)[:_MAX_NEWCOMERS]
        if not (search.lost or newcomers):
            return
        regions = [*search.lost, *(p.region for p in newcomers)]
        # At five positions, so large that a person of that region has a size that suits the detector.
        windows = [Region(r.x, r.y, 1.8 * r.side).moved(dx, dy) for r in regions for dx, dy in _SHIFTS]
        self._add(search_in(self._pool, search.pyramid, self._tentative, windows, newcomers))
        # What was no person in this frame is none in the next ones: a lamp-post is not searched in every frame.
        until = self._frame + _REJECTION
        self._rejections += [(p.region, until) for p in newcomers if not self._is_handled(p.region)]

    def _regain(self, search: _Search) -> None:
        """Look for lost people in every orientation: networks know people upright in the crop.

        People lost in the middle of a movement are often turned, as a search does not expect them.
        """
        pyramid = search.pyramid
        turns = np.arange(_TURNS) * 2 * np.pi / _TURNS
        for person in [f for f in self._people if f.lost_frames and f.confirmed and _centred_in(f.region, pyramid)]:
            if any(f.candidate is not None and self._expected(f.region, person.region) for f in self._people):
                continue  # behind somebody, who is what the passes would show
            views = [CropView(person.region.moved(turn=float(turn))) for turn in turns]
            first = observe_all(self._pool, pyramid, views, masks=False)
            # Only regions that the person may have reached: otherwise a bystander would take their number.
            likely = [o for o in first if o.presence > _FOLLOWED.min_presence]
            likely = [o for o in likely if self._expected(o.next_region, person.region)]
            likely = sorted(likely, key=lambda o: -o.presence)[:_REGAINED_VIEWS]
            passes = self._passes(pyramid, [o.next_region for o in likely])
            attempts = [
                self._moved(replace(person, region=o.next_region), *of_one, _REGAINED)
                for o, of_one in zip(likely, passes, strict=True)
            ]
            regained = [f for f in attempts if f.candidate is not None]
            if regained:
                self._people[self._people.index(person)] = max(regained, key=lambda f: f.probability)
        self._drop_duplicates()

    def _look_round(self, pyramid: Pyramid) -> PendingProposals:
        """Find people by MultiPose in this frame's windows, if one of them changed since the last look."""
        views = self._views_to_look_at(self._frame, pyramid)
        pending = self._begun_looks.pop(self._frame, None)
        layouts = {window: self._layout_if_changed(pyramid, window) for window, _ in views}
        changed = {window: layout for window, layout in layouts.items() if layout is not None}
        if not changed:
            return list
        self._looks |= changed
        return pending or (lambda: propose_by_multipose(self._pool, pyramid, views))

    def _layout_if_changed(self, pyramid: Pyramid, window: Region) -> np.ndarray | None:
        """Return the layout of a window; None if it did not change where no person is followed."""
        layout = cv2.cvtColor(pyramid.crop(window, _LAYOUT_SIDE, pad=cv2.BORDER_CONSTANT), cv2.COLOR_RGB2GRAY)
        last_layout = self._looks.get(window)
        if last_layout is not None:
            centres = window.to_image(_LAYOUT_SIDE).points(_CELLS)
            free = np.ones(len(_CELLS), bool)
            for f in self._people:
                free &= np.hypot(*(centres - (f.region.x, f.region.y)).T) > f.region.side / 2
            change = np.abs(layout.astype(np.float32) - last_layout).reshape(-1)[free]
            if not (change > _LOOK_CHANGE).any():
                return None
        return layout

    def _as_candidates(self, pyramid: Pyramid, people: Sequence[_FollowedPerson]) -> list[Candidate]:
        """Look at people once, as the search behind them and painting over need them."""
        passes = observe_jittered(self._pool, pyramid, [f.region for f in people], 0)
        return [Candidate(tuple(of_one), coarse=tuple(of_one)) for of_one in passes]

    def _look_again(self, search: _Search) -> None:
        """Look closely at uncertain candidates: two clear looks, or one and a search, confirm one."""
        if self._frame % _LOOK_AGAIN_EVERY:
            return
        for row, f in enumerate(self._people):
            if not f.confirmed and f.candidate is not None:
                window = replace(f.region, side=_CLOSE_REACH * f.region.side, angle=0.0)
                proposals = propose_by_multipose(self._pool, search.pyramid, [(window, _CLOSE_SIDE)])
                clear = any(p.score > _CLEAR_SCORE and self._near(p.region, f.region) for p in proposals)
                self._people[row] = replace(f, confirmed=clear and f.likely, likely=clear or f.likely)

    def _forget(self, search: _Search) -> None:
        """Give up people lost for long, and rejections of some time ago."""
        self._people = [f for f in self._people if f.lost_frames <= self._patience(f, search.pyramid)]
        self._rejections = [(region, until) for region, until in self._rejections if until > self._frame]

    def _add(self, candidates: Sequence[Candidate]) -> None:
        """Follow the candidates that are not followed into this frame already."""
        threshold = self._scheme.fine.threshold
        for candidate in candidates:
            likely = candidate.probability > probability_of(threshold)
            certain = candidate.probability > probability_of(threshold + _CERTAIN)
            # Videos seldom begin with things alone, while over all frames something resembles a person in one.
            likely |= self._frame == 0 and candidate.multipose > _CLEAR_SCORE
            certain |= likely and self._frame == 0
            # A search that detects a followed person confirms them; a candidate that is likely twice is a person.
            followed = (
                row for row, f in enumerate(self._people) if f.candidate and self._is_same(candidate, f.candidate)
            )
            if (row := next(followed, None)) is not None:
                f = self._people[row]
                confirmed = f.confirmed or certain or (likely and f.likely)
                self._people[row] = replace(f, confirmed=confirmed, likely=f.likely or likely)
                continue
            # It takes the place of a lost person near by.
            region = _mean_region(candidate.passes)
            self._people = [f for f in self._people if f.candidate is not None or not self._near(f.region, region)]
            points = mean_points(candidate.passes)
            self._people.append(_FollowedPerson(region, candidate, certain, region, likely, points=points))

    def _newcomers(self, proposals: Sequence[Proposal]) -> list[Proposal]:
        """Return one proposal of each person who is neither followed nor rejected, best score first."""
        new = [p for p in proposals if not self._is_handled(p.region)]
        return distinct(sorted(new, key=lambda p: -p.score), lambda a, b: self._near(a.region, b.region))

    def _is_handled(self, region: Region) -> bool:
        regions = [f.region for f in self._people] + [rejection for rejection, _ in self._rejections]
        return any(self._near(region, handled) for handled in regions)

    def _drop_duplicates(self) -> None:
        """Drop duplicates: two regions that slid onto one person become one."""
        people: dict[int, _FollowedPerson] = {}
        for row, f in sorted(enumerate(self._people), key=lambda entry: -entry[1].probability):
            same = next((other for other, person in people.items() if self._is_duplicate(f, person)), row)
            people[same] = f if same == row else replace(people[same], confirmed=people[same].confirmed or f.confirmed)
        self._people = [people[row] for row in sorted(people)]

    def _is_same(self, a: Candidate, b: Candidate) -> bool:
        first, second = (body_pose(mean_points(c.passes), c.passes[0].region.side) for c in (a, b))
        return same_person(first, second, SAME_PASSES)

    def _near(self, a: Region, b: Region) -> bool:
        return _is_close(a, b, _NEAR * max(a.side, b.side), 2.5)

    def _patience(self, f: _FollowedPerson, pyramid: Pyramid) -> int:
        return _LOST_PATIENCE if f.confirmed and _centred_in(f.region, pyramid) else _PATIENCE

    def _expected(self, region: Region, prediction: Region) -> bool:
        """Return whether a region may show a person whose region is predicted."""
        return _is_close(region, prediction, _REGAINED_NEAR * prediction.side, _REGAINED_SIZE)

    def _moved(
        self, person: _FollowedPerson, full: Sequence[Observation], heavy: Sequence[Observation], limits: _Limits
    ) -> _FollowedPerson:
        """Return a person where passes over their region show them, or lost."""
        passes = (*full, *heavy)
        presence = float(np.mean([o.presence for o in passes]))
        points = np.stack([o.points for o in passes])
        mean = points.mean(0)
        # Passes that see a person agree; over a background each shows another pose.
        movement = float(np.median(np.sqrt(((points - mean) ** 2).sum(-1).mean(0)))) / person.region.side
        visible = mean_confidence(passes) > _MIN_CONFIDENCE
        if presence < limits.min_presence or movement > limits.max_movement or visible.sum() < _MIN_VISIBLE:
            return person.lost
        probability = presence * math.exp(-0.5 * (movement / 0.03) ** 2)
        region, frames, speed = _mean_region(passes), self._frame - self._last_search, None
        if person.points is not None:
            moved = (mean - person.points)[BODY][visible[BODY]]
            farthest = float(np.linalg.norm(moved, axis=1).max(initial=0.0)) / region.side
            turn = abs(math.remainder(region.angle - person.region.angle, 2 * math.pi))
            speed = max(farthest / _GAP_MOVEMENT, turn / _GAP_TURN) / frames
        # Things that resemble a person stay where they are.
        distance = math.hypot(region.x - person.start.x, region.y - person.start.y)
        return replace(
            person,
            region=region,
            candidate=Candidate(tuple(full), probability, heavy=tuple(heavy)),
            confirmed=person.confirmed or distance > _WALK * region.side,
            lost_frames=0,
            # Behind a gap the motion would be that of several frames.
            motion=person.motion if person.lost_frames else person.motion.updated(person.region, region, frames),
            points=mean,
            speed=speed,
        )


def _encoded(layout: np.ndarray) -> str:
    return base64.b64encode(layout.tobytes()).decode("ascii")


def _decoded(text: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape)


def _is_close(a: Region, b: Region, distance: float, ratio: float) -> bool:
    """Return whether the centres of two regions are nearer than a distance, and the ratio of their sides is smaller."""
    return math.hypot(a.x - b.x, a.y - b.y) < distance and abs(math.log(a.side / b.side)) < math.log(ratio)


def _centred_in(region: Region, pyramid: Pyramid) -> bool:
    return 0 <= region.x < pyramid.width and 0 <= region.y < pyramid.height


def _mean_region(passes: Sequence[Observation]) -> Region:
    """Average the regions that the passes predict; angles are averaged as directions."""
    regions = [o.next_region for o in passes]
    angle = math.atan2(sum(math.sin(r.angle) for r in regions), sum(math.cos(r.angle) for r in regions))
    x, y, side = np.mean([(r.x, r.y, r.side) for r in regions], axis=0)
    return Region(float(x), float(y), float(side), angle)
