"""The search for everybody in one image: from the detector's overlapping proposals to one candidate a person.

Candidates are scored by logistic regression, which separates people from things that look like people in one crop.
The weights were fitted on 1,276 candidates, 227 of them people, in 310 photographs of everyday scenes, animals,
objects and textures. Of some thirty features five carry nearly all the information: with them the area under the
curve is .96 (cross-validated over photographs). At the thresholds chosen, one photograph in twenty of that collection
has a false positive: a dog facing the camera, a statue, a hydrant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import (
    CropView,
    Observation,
    mean_confidence,
    mean_mask,
    mean_points,
    observe_all,
    observe_jittered,
    world_spread,
)
from humanpose_cli.detect.regions import Proposal, Pyramid, Region, propose, propose_by_multipose, windows_over

BODY = BLAZEPOSE33.indices(
    ["nose"] + [f"{s}_{j}" for j in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for s in ("left", "right")]
)
_MIRROR = list(BLAZEPOSE33.mirror)
_OKS_WIDTH = 0.07  # of the region's side: how far two guesses of one joint may be apart
SAME_PERSON = 0.5  # similarity of two poses from which they are guesses at one person
_SAME_REFINED = 0.4  # the same for refined candidates, by the joints that both show
_FIRST_PRESENCE, _SECOND_PRESENCE = 0.3, 0.5
_SAME_PLACE = 0.2  # of the region's side
_BEYOND = 0.25  # part of a window's side by which the outer windows reach over the image's edges
PROPOSAL_THRESHOLD = 0.3  # score from which the detector's proposals are followed
_NOT_DETECTED = PROPOSAL_THRESHOLD / 2  # score of those whom only MultiPose found
_MULTIPOSE_WEIGHT = 0.9
_NO_PERSON = 0.1  # MultiPose's highest score on 22 images without people
_INSIDE = 0.7  # share of a candidate's joints on somebody else's mask
_WEAKER = 1.0  # in log-odds


@dataclass(frozen=True)
class Candidate:
    """Somebody who may be a person.

    first, second  landmark passes on the detector's region and on the model's own next region
    windows        numbers of the windows in which the detector found this pose
    score          the detector's best score
    multipose      MultiPose's best score for somebody there; 0 where it found nobody
    passes         on the second's next region and on jittered views of it; empty until `refine`
    """

    first: Observation
    second: Observation
    windows: frozenset[int]
    score: float
    passes: tuple[Observation, ...] = ()
    multipose: float = 0.0

    @property
    def side(self) -> float:
        """Side of the region around the person, pixels."""
        return self.second.next_region.side

    @property
    def points(self) -> np.ndarray:
        """(33, 2) the best guess so far."""
        return (self.passes[0] if self.passes else self.second).points

    @property
    def support(self) -> int:
        """Number of windows in which the detector found this pose."""
        return len(self.windows)


def similarity(
    points: np.ndarray, others: np.ndarray, side: float, confidences: tuple[np.ndarray, np.ndarray] | None = None
) -> float:
    """Object keypoint similarity 0..1 of two poses (33, 2) of body size `side`; left and right may be swapped.

    confidences: (33,) of both; joints that only one of them shows then count little.
    """
    mine, theirs = confidences if confidences is not None else (np.ones(len(points)), np.ones(len(points)))
    return max(
        similarity_of_points(points[BODY], others[rows][BODY], side, np.sqrt(mine * theirs[rows])[BODY] + 0.02)
        for rows in (slice(None), _MIRROR)
    )


def similarity_of_points(
    points: np.ndarray, others: np.ndarray, side: float, weights: np.ndarray | None = None
) -> float:
    """Mean over (N, 2) points of how near each is to its counterpart, 0..1, on the scale of a body of `side`."""
    apart = np.sum((points - others) ** 2, axis=-1)
    return float(np.average(np.exp(-apart / (2 * (_OKS_WIDTH * side) ** 2)), weights=weights))


def candidates_from(pool: ModelPool, pyramid: Pyramid, proposals: Sequence[Proposal]) -> list[Candidate]:
    """Two landmark passes on each distinct proposal; guesses at one person joined, best supported first."""
    groups = _group(proposals)
    firsts = observe_all(pool, pyramid, [CropView(group[0].region) for group in groups], masks=False)
    kept = [(g, o) for g, o in zip(groups, firsts, strict=True) if o.presence > _FIRST_PRESENCE]
    seconds = observe_all(pool, pyramid, [CropView(first.next_region) for _, first in kept], masks=False)
    found = [
        Candidate(
            first,
            second,
            frozenset(p.window for p in group if not p.multipose),
            max((p.score for p in group if not p.multipose), default=_NOT_DETECTED),
        )
        for (group, first), second in zip(kept, seconds, strict=True)
        if second.presence > _SECOND_PRESENCE
    ]
    return [replace(c, multipose=_multipose_score(c, proposals)) for c in _join(found)]


def refine(pool: ModelPool, pyramid: Pyramid, candidates: Sequence[Candidate], views: int) -> list[Candidate]:
    """Add the passes on each candidate's next region and on `views` jittered views of it."""
    passes = observe_jittered(pool, pyramid, [c.second.next_region for c in candidates], views)
    return [replace(c, passes=tuple(group)) for c, group in zip(candidates, passes, strict=True)]


def _group(proposals: Sequence[Proposal]) -> list[list[Proposal]]:
    """Nearly equal regions together, best score first: one landmark pass will do for them."""
    groups: list[list[Proposal]] = []
    for proposal in sorted(proposals, key=lambda p: -p.score):
        home = next((g for g in groups if _near(g[0].region, proposal.region)), None)
        if home is None:
            groups.append([proposal])
        else:
            home.append(proposal)
    return groups


def _near(a: Region, b: Region) -> bool:
    side = math.sqrt(a.side * b.side)
    turn = math.remainder(a.angle - b.angle, 2 * math.pi)
    close = math.hypot(a.x - b.x, a.y - b.y) < 0.12 * side
    return close and abs(math.log(a.side / b.side)) < math.log(1.25) and abs(turn) < math.radians(20)


def _multipose_score(candidate: Candidate, proposals: Sequence[Proposal]) -> float:
    """The best score of MultiPose's regions about where the candidate's is; poses may differ where BlazePose's is
    unsteady.
    """
    region = candidate.second.next_region
    return max((p.score for p in proposals if p.multipose and _about(p.region, region)), default=0.0)


def _about(a: Region, b: Region) -> bool:
    side = math.sqrt(a.side * b.side)
    close = math.hypot(a.x - b.x, a.y - b.y) < _SAME_PLACE * side
    turn = math.remainder(a.angle - b.angle, 2 * math.pi)
    return close and abs(math.log(a.side / b.side)) < math.log(1.5) and abs(turn) < math.pi / 2


def _join(candidates: Sequence[Candidate]) -> list[Candidate]:
    joined: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (-c.support, -c.score)):
        home = next((i for i, other in enumerate(joined) if _same_person(other, candidate)), None)
        if home is None:
            joined.append(candidate)
        else:
            leader = joined[home]
            joined[home] = replace(
                leader,
                windows=leader.windows | candidate.windows,
                score=max(leader.score, candidate.score),
            )
    return sorted(joined, key=lambda c: (-c.support, -c.score))


def _same_person(a: Candidate, b: Candidate) -> bool:
    return similarity(a.points, b.points, math.sqrt(a.side * b.side)) > SAME_PERSON


@dataclass(frozen=True)
class CandidateFeatures:
    """The features from which a candidate is scored.

    support   windows in which the detector found it
    score     the detector's best score, 0..1
    presence  the landmark model's presence, 0..1
    instability  how much the pose changes with the crop: between the first two passes in units of the region's side,
              or over the jittered views in metres of the world landmarks
    turn      radians, 0..pi: how far the person's up direction is from the image's
    multipose MultiPose's best score, 0..1; 0 where it found nobody
    """

    support: int
    score: float
    presence: float
    instability: float
    turn: float
    multipose: float = 0.0


@dataclass(frozen=True)
class PersonScore:
    """Weights of the log-odds that a candidate is a person, and the log-odds from which it is accepted."""

    support: float
    score: float
    presence: float
    steadiness: float
    turn: float
    bias: float
    threshold: float

    def log_odds(self, e: CandidateFeatures) -> float:
        """That this is a person."""
        return (
            self.bias
            + self.support * math.log(min(max(e.support, 1), 12))
            + self.score * _logit(e.score)
            + self.presence * _logit(e.presence)
            - self.steadiness * math.log(max(e.instability, 0.002))
            + self.turn * e.turn
            + _MULTIPOSE_WEIGHT * max(_logit(e.multipose) - _logit(_NO_PERSON), 0.0)
        )


def _logit(share: float) -> float:
    share = min(max(share, 0.02), 0.999)
    return math.log(share / (1 - share))


def coarse_features(candidate: Candidate) -> CandidateFeatures:
    """The features after two landmark passes: enough to drop most false positives."""
    moved = np.linalg.norm(candidate.second.points - candidate.first.points, axis=1)[BODY]
    return _features(candidate, candidate.second.presence, float(np.median(moved)) / candidate.side)


def refined_features(candidate: Candidate) -> CandidateFeatures:
    """The features of a refined candidate."""
    presence = float(np.mean([o.presence for o in candidate.passes]))
    return _features(candidate, presence, float(np.median(world_spread(candidate.passes)[BODY])))


def _features(candidate: Candidate, presence: float, instability: float) -> CandidateFeatures:
    turn = abs(math.remainder(candidate.second.next_region.angle, 2 * math.pi))
    return CandidateFeatures(candidate.support, candidate.score, presence, instability, turn, candidate.multipose)


def distinct_people(scored: Sequence[tuple[Candidate, float]]) -> list[tuple[Candidate, float]]:
    """Without second guesses at one person, and without poses that lie mostly within a likelier person's mask.

    scored: refined candidates with their log-odds; the answer has the likeliest first.
    """
    kept: list[tuple[Candidate, float]] = []
    for candidate, log_odds in sorted(scored, key=lambda pair: -pair[1]):
        repeated = any(
            _alike(candidate, other) or (log_odds < better - _WEAKER and _within_mask(candidate, other))
            for other, better in kept
        )
        if not repeated:
            kept.append((candidate, log_odds))
    return kept


def _alike(a: Candidate, b: Candidate) -> bool:
    """Whether the joints that both show agree; legs beyond the image's edge are anybody's guess."""
    points = mean_points(a.passes), mean_points(b.passes)
    confidences = mean_confidence(a.passes), mean_confidence(b.passes)
    return similarity(*points, math.sqrt(a.side * b.side), confidences) > _SAME_REFINED


def _within_mask(candidate: Candidate, other: Candidate) -> bool:
    """Whether most of the visible joints of a candidate lie on another person."""
    mask = mean_mask(other.passes, other.passes[0].region)
    size = len(mask.crop)
    pixels = np.floor(mask.crop_to_image.inverse().points(mean_points(candidate.passes)[BODY])).astype(int)
    inside = ((pixels >= 0) & (pixels < size)).all(1)
    columns, rows = np.clip(pixels, 0, size - 1).T
    weights = mean_confidence(candidate.passes)[BODY] + 0.02
    return float(np.average(inside & (mask.crop[rows, columns] > 127), weights=weights)) > _INSIDE


Mode = Literal["thorough", "fast", "largest"]
_LARGE = 0.6  # windows of that share of the longer side show every person who may be the largest
_BEYOND_DOUBT = 2.5  # log-odds: at 1.1 somebody is taken for a person


@dataclass(frozen=True)
class Scheme:
    """Extent of a search.

    shares     sides of the windows as shares of the image's longer side
    views      jittered views of a candidate in a search
    followed   jittered views of a person who is followed from the frame before
    multipose  windows that MultiPose looks at, as shares of the longer side, and their sides in pixels of its input
    heavy      crops of BlazePose's heavy network for each person that was found
    upright    crops of MoveNet Thunder for each person that was found
    in_turn    the same for the frames of a video, in turn
    coarse     score by which a candidate is worth refining after two passes
    refined    score by which a refined candidate is a person
    """

    shares: tuple[float, ...]
    views: int
    followed: int
    multipose: tuple[tuple[float, int], ...]
    heavy: int
    upright: int
    in_turn: tuple[int, ...]
    coarse: PersonScore
    refined: PersonScore

    def turn(self, frame: int) -> Scheme:
        """The scheme of one frame of a video."""
        return replace(self, upright=self.in_turn[frame % len(self.in_turn)])


# Fitted separately, for support grows with the number of windows and the spread with that of views.
SCHEMES: dict[str, Scheme] = {
    "thorough": Scheme(
        shares=(1.0, 1.35, 0.75, 0.6, 0.5, 0.42, 0.35, 0.3),
        views=8,
        followed=8,
        multipose=((1.0, 256), (1.0, 512), (0.5, 512)),
        heavy=5,  # as good as nine: 2-D error 1.49 and 1.46 % of the size on rendered people
        upright=4,
        in_turn=(4,),
        coarse=PersonScore(0.492, 0.88, 0.21, 0.985, -1.315, -5.75, threshold=-1.5),
        refined=PersonScore(0.392, 0.861, 0.213, 2.459, -1.152, -9.1, threshold=1.1),
    ),
    "fast": Scheme(
        shares=(1.0, 1.35, 0.75, 0.5),
        views=3,
        followed=0,
        multipose=((1.0, 256),),
        heavy=1,  # PA-MPJPE of four real views 62.0 mm without, 59.9 with
        upright=2,
        in_turn=(1, 0),
        coarse=PersonScore(0.726, 0.988, 0.263, 0.722, -1.406, -5.112, threshold=-1.0),
        refined=PersonScore(0.657, 0.906, 0.213, 1.993, -1.227, -8.327, threshold=0.5),
    ),
}


@dataclass(frozen=True)
class Found:
    """Somebody: BlazePose's passes, how likely it is a person, 0..1, and whether it is taken for one.

    In a video, those who are less sure are followed until it is clear what they are; heavy's passes are there already.
    """

    passes: tuple[Observation, ...]
    score: float
    confirmed: bool = True
    heavy: tuple[Observation, ...] = ()


def multipose_views(pyramid: Pyramid, scheme: Scheme) -> list[tuple[Region, int]]:
    """What MultiPose looks at: windows of the image and their sides in pixels of its input.

    Windows smaller than the input show nothing that the whole image does not.
    """
    longest = max(pyramid.width, pyramid.height)
    return [
        (window, size)
        for share, size in scheme.multipose
        if share == 1 or share * longest >= size
        for window in windows_over(pyramid.width, pyramid.height, (share,))
    ]


def search(
    pool: ModelPool, pyramid: Pyramid, scheme: Scheme, known: Callable[[Region], bool] = lambda region: False
) -> list[Found]:
    """Everybody in an image, through all windows of the scheme; the likeliest first.

    known  tells regions of people who need not be found
    """
    windows = windows_over(pyramid.width, pyramid.height, scheme.shares, _BEYOND)
    proposals = propose_by_multipose(pool, pyramid, multipose_views(pyramid, scheme))
    return search_in(pool, pyramid, scheme, windows, proposals, known)


def search_largest(pool: ModelPool, pyramid: Pyramid, scheme: Scheme) -> list[Found]:
    """As `search`, but where large windows show beyond doubt who is largest, smaller ones are not looked through.

    That takes about a third of the time; small people whom the large windows do not show may be missed then.
    """
    longest = max(pyramid.width, pyramid.height)
    windows = windows_over(pyramid.width, pyramid.height, scheme.shares, _BEYOND)
    views = multipose_views(pyramid, scheme)
    large = [window for window in windows if window.side >= _LARGE * longest]
    whole = [view for view in views if view[0].side >= longest]
    proposals = propose_by_multipose(pool, pyramid, whole)
    detected = propose(pool, pyramid, large, PROPOSAL_THRESHOLD)
    scored = _scored(pool, pyramid, scheme, [*detected, *proposals])
    people = _accepted(scheme, scored)
    if people and _clear(people, scored, proposals):
        return _found(people)
    proposals += propose_by_multipose(pool, pyramid, [view for view in views if view not in whole])
    more = propose(pool, pyramid, [window for window in windows if window not in large], PROPOSAL_THRESHOLD)
    detected += [replace(p, window=len(large) + p.window) for p in more]
    return _found(_accepted(scheme, _scored(pool, pyramid, scheme, [*detected, *proposals])))


def _clear(
    people: Sequence[tuple[Candidate, float]], scored: Sequence[tuple[Candidate, float]], proposals: Sequence[Proposal]
) -> bool:
    """Whether the largest of the people is surely one, and nothing else looks like somebody."""
    accepted = [candidate for candidate, _ in people]
    _, log_odds = max(people, key=lambda pair: pair[0].side)
    return (
        log_odds > _BEYOND_DOUBT
        and all(any(_about(p.region, c.second.next_region) for c in accepted) for p in proposals)
        and all(
            candidate in accepted or any(_alike(candidate, c) or _within_mask(candidate, c) for c in accepted)
            for candidate, _ in scored
        )
    )


def search_in(
    pool: ModelPool,
    pyramid: Pyramid,
    scheme: Scheme,
    windows: Sequence[Region],
    proposals: Sequence[Proposal],
    known: Callable[[Region], bool] = lambda region: False,
) -> list[Found]:
    """Everybody whom the detector finds in the windows, or who is among MultiPose's proposals; the likeliest first."""
    proposed = [*propose(pool, pyramid, windows, PROPOSAL_THRESHOLD), *proposals]
    return _found(_accepted(scheme, _scored(pool, pyramid, scheme, [p for p in proposed if not known(p.region)])))


def _scored(
    pool: ModelPool, pyramid: Pyramid, scheme: Scheme, proposals: Sequence[Proposal]
) -> list[tuple[Candidate, float]]:
    """Refined candidates of the proposals, those that are plausible, with their log-odds."""
    candidates = candidates_from(pool, pyramid, proposals)
    plausible = [c for c in candidates if scheme.coarse.log_odds(coarse_features(c)) > scheme.coarse.threshold]
    refined = refine(pool, pyramid, plausible, scheme.views)
    return [(c, scheme.refined.log_odds(refined_features(c))) for c in refined]


def _accepted(scheme: Scheme, scored: Sequence[tuple[Candidate, float]]) -> list[tuple[Candidate, float]]:
    return distinct_people([(c, log_odds) for c, log_odds in scored if log_odds > scheme.refined.threshold])


def _found(people: Sequence[tuple[Candidate, float]]) -> list[Found]:
    return [Found(c.passes, 1 / (1 + math.exp(-log_odds))) for c, log_odds in people]
