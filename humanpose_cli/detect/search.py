"""The search for all people in an image: from the detector's overlapping proposals to one candidate per person.

Candidates are scored by logistic regression, which separates people from things that resemble people in one crop. The
weights were fitted on 1,276 candidates, 227 of them people, in 310 photographs of everyday scenes, animals, objects and
textures. Five features carry nearly all the information of thirty: the area under the curve is .96 (cross-validated
over photographs). At the chosen thresholds, one photograph in twenty has a false positive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, LIMB_JOINTS
from humanpose_cli.detect.identity import SAME_CANDIDATES, SAME_PASSES, PosePoints, distinct, same_person
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import (
    CropView,
    Observation,
    axis_spread,
    mean_confidence,
    mean_mask,
    mean_points,
    observe_all,
    observe_jittered,
)
from humanpose_cli.detect.regions import Proposal, Pyramid, Region, propose_by_multipose, propose_in, windows_over

BODY = BLAZEPOSE33.indices(("nose", *LIMB_JOINTS))
BODY_MIRROR = [BODY.index(BLAZEPOSE33.mirror[row]) for row in BODY]
_GROUP_SHIFT = 0.12  # sides: maximum distance of nearly equal regions
_GROUP_RATIO = 1.25  # maximum ratio of their sides
_GROUP_TURN = math.radians(20)  # maximum difference of their angles
_LARGELY = 0.8  # of the distance at which two squares touch
_FIRST_PRESENCE = 0.3  # minimum presence in the first landmark pass
_SECOND_PRESENCE = 0.5  # minimum presence in the second landmark pass
_MAX_DISTANCE = 0.2  # sides: distance of MultiPose's region from a candidate's that it supports
_WINDOW_OVERHANG = 0.25  # of its side: how far an outer window reaches over the image's edge
_CROWD = 6  # people in large windows from which all windows are searched
_SURE_SCORE = 0.5  # of proposals that count for a crowd, and of the detector's that may end the search
_SMALL_WINDOW = 0.45  # longer sides of the image below which a window is searched only if needed
_LARGEST_WINDOW = 0.7  # longer sides of the image above which a window may end the search
_LARGE_PERSON = 0.25  # longer sides of the image: minimum side of the region of a person who may end it
_FEW = 2  # maximum number of such people
_SURE_MULTIPOSE = 0.4  # MultiPose's score from which it is sure of a person
_MIN_WINDOWS = 3  # in which the detector must find such a person
# MultiPose's region and the region of the person in it, at most 0.036 and 1.18 in ten real images:
_MAX_SHIFT = 0.08  # sides: maximum distance
_MAX_RATIO = 1.4  # maximum ratio of the sides
_PART_SIZE = 0.6  # side of a region that may show a part of a person, in sides of the person's region
_UNDETECTED_SCORE = 0.15  # the detector's score of candidates that only MultiPose found
_MULTIPOSE_WEIGHT = 0.9  # of MultiPose's log-odds in a candidate's log-odds
_MULTIPOSE_ZERO = 0.1  # MultiPose's score that adds nothing: the highest on 22 images without people
_ON_MASK = 0.7  # share of a candidate's joints on another person's mask from which it is no second person
_WEAKER_BY = 1.0  # log-odds by which such a candidate must be less likely


@dataclass(frozen=True, eq=False)
class Candidate:
    """A possible person, and the networks' results so far.

    `search` makes it, in videos `tracking.Follower`; `fusion.fused_people` makes a `DetectedPerson` of it.

    Attributes:
        passes: BlazePose full on the region around the person, and on jittered views of it.
        probability: The probability that this is a person.
        confirmed: False in a video while it is unclear whether this is a person.
        heavy: Passes of BlazePose heavy, if there are any.
        coarse: Passes on the detector's region, and on the region that the first pass predicts.
        windows: The numbers of the windows in which the detector found this pose.
        score: The detector's best score.
        multipose: MultiPose's best score for a person there; 0 without one.
    """

    passes: tuple[Observation, ...] = ()
    probability: float = 0.0
    confirmed: bool = True
    heavy: tuple[Observation, ...] = ()
    coarse: tuple[Observation, ...] = ()
    windows: frozenset[int] = frozenset()
    score: float = 0.0
    multipose: float = 0.0

    @property
    def region(self) -> Region:
        """The region around the person after the coarse passes."""
        return self.coarse[-1].next_region

    @property
    def coarse_pose(self) -> PosePoints:
        """The last coarse pass' joints of the limbs, and the nose."""
        return body_pose(self.coarse[-1].points, self.region.side)

    @property
    def pose(self) -> PosePoints:
        """The mean joints of the limbs of a refined candidate, and the nose."""
        return mean_pose(self.passes, self.region.side)

    @property
    def support(self) -> int:
        """The number of windows in which the detector found this pose."""
        return len(self.windows)


def body_pose(points: np.ndarray, size: float, confidence: np.ndarray | None = None) -> PosePoints:
    """Return the joints of the limbs and the nose of landmarks (33, 2), whose sides BlazePose may swap."""
    return PosePoints(points[BODY], size, None if confidence is None else confidence[BODY], BODY_MIRROR)


def mean_pose(passes: Sequence[Observation], size: float) -> PosePoints:
    """Average passes, with their confidence: legs beyond the image's edge are unknown."""
    return body_pose(mean_points(passes), size, mean_confidence(passes))


def candidates_from(pool: ModelPool, pyramid: Pyramid, proposals: Sequence[Proposal]) -> list[Candidate]:
    """Run two landmark passes on each distinct proposal, and join the predictions of one person."""
    # Nearly equal regions need one landmark pass only.
    groups = _group(proposals)
    firsts = observe_all(pool, pyramid, [CropView(group[0].region) for group in groups], masks=False)
    with_person = [(g, o) for g, o in zip(groups, firsts, strict=True) if o.presence > _FIRST_PRESENCE]
    # The first pass predicts a better region, and only a person is still there in the second.
    seconds = observe_all(pool, pyramid, [CropView(first.next_region) for _, first in with_person], masks=False)
    candidates = []
    for (group, first), second in zip(with_person, seconds, strict=True):
        if second.presence > _SECOND_PRESENCE:
            by_detector = [proposal for proposal in group if not proposal.multipose]
            windows = frozenset(proposal.window for proposal in by_detector)
            score = max((proposal.score for proposal in by_detector), default=_UNDETECTED_SCORE)
            candidates.append(Candidate(coarse=(first, second), windows=windows, score=score))
    # Different proposals may have led to one person; MultiPose, which has no landmarks, then speaks for those it shows.
    people = _join(candidates)
    shown = [p for p in proposals if p.multipose]
    scores = (max((p.score for p in shown if may_be_one(p.region, c.region)), default=0.0) for c in people)
    return [replace(c, multipose=score) for c, score in zip(people, scores, strict=True)]


def _group(proposals: Sequence[Proposal]) -> list[list[Proposal]]:
    """Group nearly equal regions, best score first: one landmark pass suffices for each group."""
    groups: list[list[Proposal]] = []
    for proposal in sorted(proposals, key=lambda p: -p.score):
        limits = proposal.region, _GROUP_SHIFT, _GROUP_RATIO, _GROUP_TURN
        home = next((group for group in groups if group[0].region.is_near(*limits)), None)
        if home is None:
            groups.append([proposal])
        else:
            home.append(proposal)
    return groups


def may_be_one(a: Region, b: Region) -> bool:
    """Return whether two regions may show one person: similar size and, within a right angle, orientation."""
    return a.is_near(b, _MAX_DISTANCE, 1.5, math.pi / 2)


def _join(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Join candidates whose last passes show one pose; the best supported one represents them."""
    people: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (-c.support, -c.score)):
        pose = candidate.coarse_pose
        home = next((i for i, leader in enumerate(people) if same_person(leader.coarse_pose, pose, SAME_PASSES)), None)
        if home is None:
            people.append(candidate)
        else:
            leader = people[home]
            windows = leader.windows | candidate.windows
            people[home] = replace(leader, windows=windows, score=max(leader.score, candidate.score))
    return sorted(people, key=lambda c: (-c.support, -c.score))


@dataclass(frozen=True)
class CandidateFeatures:
    """The features by which a candidate is scored.

    Attributes:
        support: The number of windows in which the detector found it.
        score: The detector's best score, 0…1.
        presence: The landmark model's presence, 0…1.
        instability: The change of the pose with the crop: between the first two passes in sides of the region, or over
            the jittered views in metres of the world landmarks.
        turn: The angle between the person's and the image's up direction, radians, 0…π.
        multipose: MultiPose's best score, 0…1; 0 if it found no person.
    """

    support: int
    score: float
    presence: float
    instability: float
    turn: float
    multipose: float = 0.0


@dataclass(frozen=True)
class PersonScore:
    """The weights of the log-odds that a candidate is a person.

    Attributes:
        support: The weight of the logarithm of the number of windows.
        score: The weight of the detector's log-odds.
        presence: The weight of the landmark model's log-odds.
        steadiness: The weight of the negative logarithm of the instability.
        turn: The weight of the turn.
        bias: The constant.
        threshold: The log-odds from which a candidate is accepted.
    """

    support: float
    score: float
    presence: float
    steadiness: float
    turn: float
    bias: float
    threshold: float

    def log_odds(self, e: CandidateFeatures) -> float:
        """Return the log-odds that a candidate with these features is a person."""
        return (
            self.bias
            + self.support * math.log(min(max(e.support, 1), 12))
            + self.score * logit(e.score)
            + self.presence * logit(e.presence)
            - self.steadiness * math.log(max(e.instability, 0.002))
            + self.turn * e.turn
            + _MULTIPOSE_WEIGHT * max(logit(e.multipose) - logit(_MULTIPOSE_ZERO), 0.0)
        )


def probability_of(log_odds: float) -> float:
    """Convert log-odds to a probability."""
    return 1 / (1 + math.exp(-log_odds))


def logit(share: float) -> float:
    """Return the log-odds of a probability, clipped to 0.02…0.999."""
    share = min(max(share, 0.02), 0.999)
    return math.log(share / (1 - share))


def coarse_features(candidate: Candidate) -> CandidateFeatures:
    """Return the features after two landmark passes, which suffice to drop most false positives."""
    first, second = candidate.coarse
    movements = np.linalg.norm(second.points - first.points, axis=1)[BODY]
    return _features(candidate, second.presence, float(np.median(movements)) / candidate.region.side)


def refined_features(candidate: Candidate) -> CandidateFeatures:
    """Return the features of a refined candidate."""
    presence = float(np.mean([o.presence for o in candidate.passes]))
    return _features(candidate, presence, float(np.median(axis_spread([o.world for o in candidate.passes])[BODY])))


def _features(candidate: Candidate, presence: float, instability: float) -> CandidateFeatures:
    turn = abs(math.remainder(candidate.region.angle, 2 * math.pi))
    return CandidateFeatures(candidate.support, candidate.score, presence, instability, turn, candidate.multipose)


def distinct_people(candidates: Sequence[tuple[Candidate, float]]) -> list[tuple[Candidate, float]]:
    """Drop second predictions of one person, and poses that lie mostly within a likelier person's mask.

    Args:
        candidates: Refined candidates with their log-odds.

    Returns:
        The remaining candidates, the likeliest first.
    """

    def is_second(second: tuple[Candidate, float], first: tuple[Candidate, float]) -> bool:
        (candidate, log_odds), (person, better) = second, first
        # A person in front of another one is on that mask, too, but about as likely.
        is_weaker = log_odds < better - _WEAKER_BY
        return same_person(candidate.pose, person.pose, SAME_CANDIDATES) or (
            is_weaker and within_mask(candidate, person)
        )

    return distinct(sorted(candidates, key=lambda pair: -pair[1]), is_second)


def within_mask(candidate: Candidate, person: Candidate) -> bool:
    """Return whether most of the visible joints of a candidate lie on another person's mask."""
    mask = mean_mask(person.passes, person.passes[0].region)
    on_mask = mask.values_at(mean_points(candidate.passes)[BODY]) > 0.5
    weights = mean_confidence(candidate.passes)[BODY] + 0.02
    return float(np.average(on_mask, weights=weights)) > _ON_MASK


Mode = Literal["thorough", "fast"]


@dataclass(frozen=True)
class Scheme:
    """The extent of a search.

    Attributes:
        shares: The sides of the windows, in longer sides of the image.
        views: The number of jittered views of a candidate in a search.
        following: The number of jittered views of a person who is followed from the previous frame.
        multipose: MultiPose's windows: their sides in longer sides of the image, and the side of its input in pixels.
        heavy: The number of crops of BlazePose heavy per person.
        upright: The number of crops of MoveNet Thunder per person.
        in_turn: The values of `upright` for the frames of a video, in turn.
        coarse: The score by which a candidate is worth refining after two passes.
        fine: The score by which a refined candidate is a person.
    """

    shares: tuple[float, ...]
    views: int
    following: int
    multipose: tuple[tuple[float, int], ...]
    heavy: int
    upright: int
    in_turn: tuple[int, ...]
    coarse: PersonScore
    fine: PersonScore

    def turn(self, frame: int) -> Scheme:
        """Return the scheme of a frame of a video."""
        return replace(self, upright=self.in_turn[frame % len(self.in_turn)])


# Fitted separately, because support grows with the number of windows and the spread with that of views.
SCHEMES: dict[str, Scheme] = {
    "thorough": Scheme(
        shares=(1.0, 1.35, 0.75, 0.6, 0.5, 0.42, 0.35, 0.3),
        views=8,
        following=8,
        multipose=((1.0, 256), (1.0, 512), (0.5, 512)),
        heavy=5,  # as good as nine: 2-D error 1.49 and 1.46 % of the size on rendered people
        upright=4,
        in_turn=(4,),
        coarse=PersonScore(0.492, 0.88, 0.21, 0.985, -1.315, -5.75, threshold=-1.5),
        fine=PersonScore(0.392, 0.861, 0.213, 2.459, -1.152, -9.1, threshold=1.1),
    ),
    "fast": Scheme(
        shares=(1.0, 1.35, 0.75, 0.5),
        views=3,
        following=0,
        multipose=((1.0, 256),),
        heavy=1,  # PA-MPJPE of four real views 62.0 mm without, 59.9 with
        upright=2,
        in_turn=(1, 0),
        coarse=PersonScore(0.726, 0.988, 0.263, 0.722, -1.406, -5.112, threshold=-1.0),
        fine=PersonScore(0.657, 0.906, 0.213, 1.993, -1.227, -8.327, threshold=0.5),
    ),
}


def multipose_views(pyramid: Pyramid, scheme: Scheme) -> list[tuple[Region, int]]:
    """Return the windows for MultiPose, and the side of its input in pixels for each.

    Windows smaller than the input show nothing that the full image does not.

    Args:
        pyramid: The image.
        scheme: The search.
    """
    longest = max(pyramid.width, pyramid.height)
    views = []
    for share, size in scheme.multipose:
        if share == 1 or share * longest >= size:
            views += [(window, size) for window in windows_over(pyramid.width, pyramid.height, (share,))]
    return views


def search(pool: ModelPool, pyramid: Pyramid, scheme: Scheme) -> list[Candidate]:
    """Find all people in an image through all windows of the scheme, the likeliest first."""
    return search_proposed(pool, pyramid, scheme, propose_everywhere(pool, pyramid, scheme))


def search_proposed(
    pool: ModelPool, pyramid: Pyramid, scheme: Scheme, proposals: Sequence[Proposal]
) -> list[Candidate]:
    """Find the people in an image around proposals, the likeliest first."""
    return people_of(accepted(scheme, scored_candidates(pool, pyramid, scheme, proposals)))


def propose_everywhere(pool: ModelPool, pyramid: Pyramid, scheme: Scheme) -> list[Proposal]:
    """Propose people by detector and MultiPose in the windows of the scheme.

    The search ends with the largest windows if all they show are one or two large people that MultiPose found. Small
    windows are left out if large ones and MultiPose propose no person who fits into them, unless they propose a crowd
    or nobody.

    Args:
        pool: The networks.
        pyramid: The image.
        scheme: The search.
    """
    # The detector knows people of one size: windows of many sizes, which reach over the edges for people cut off there.
    windows = windows_over(pyramid.width, pyramid.height, scheme.shares, _WINDOW_OVERHANG)
    longest = max(pyramid.size)
    largest = [window for window in windows if window.side > _LARGEST_WINDOW * longest]
    small = [window for window in windows if window.side < _SMALL_WINDOW * longest]
    medium = windows[len(largest) : len(windows) - len(small)]
    # MultiPose shows up to six people of any size, but none well who are small in its input.
    by_multipose = propose_by_multipose(pool, pyramid, multipose_views(pyramid, scheme))
    proposals = propose_in(pool, pyramid, largest)
    # One look of MultiPose, as in videos, does not see everyone.
    if len(scheme.multipose) > 1 and _all_explained(proposals, by_multipose, longest):
        return [*proposals, *by_multipose]
    proposals += propose_in(pool, pyramid, medium, len(largest))
    everyone = [*proposals, *by_multipose]
    if 0 < len(_group([p for p in everyone if p.score > _SURE_SCORE])) < _CROWD:
        small = [window for window in small if any(_fits(p.region, window) for p in everyone)]
    proposals += propose_in(pool, pyramid, small, len(largest) + len(medium))
    return [*proposals, *by_multipose]


def _all_explained(proposals: Sequence[Proposal], by_multipose: Sequence[Proposal], longest: int) -> bool:
    """Return whether all proposals show one or two large people whom both networks found, or their parts.

    Weak proposals of the detector that MultiPose does not repeat count for nothing.
    """
    people = [group[0].region for group in _group([p for p in by_multipose if p.score > _SURE_MULTIPOSE])]
    strong = [p for p in proposals if p.score > _SURE_SCORE]
    return (
        0 < len(people) <= _FEW
        and all(q.side > _LARGE_PERSON * longest for q in people)
        and all(sum(may_be_one(p.region, q) for p in strong) >= _MIN_WINDOWS for q in people)
        and all(any(may_be_one(p.region, q) or shows(p.region, q) for q in people) for p in [*strong, *by_multipose])
    )


def shows(region: Region, person: Region) -> bool:
    """Return whether a region shows a person, or the part of a person in a window."""
    if region.is_near(person, _MAX_SHIFT, _MAX_RATIO):
        return True
    inside = math.hypot(region.x - person.x, region.y - person.y) < person.side / 2
    return inside and region.side < _PART_SIZE * person.side


def _fits(region: Region, window: Region) -> bool:
    """Return whether a person's region is smaller than a window and largely in it."""
    reach = _LARGELY * (window.side + region.side) / 2
    return region.side < window.side and max(abs(region.x - window.x), abs(region.y - window.y)) < reach


def search_in(
    pool: ModelPool, pyramid: Pyramid, scheme: Scheme, windows: Sequence[Region], proposals: Sequence[Proposal]
) -> list[Candidate]:
    """Find the people in windows, or among MultiPose's proposals, the likeliest first."""
    return search_proposed(pool, pyramid, scheme, [*propose_in(pool, pyramid, windows), *proposals])


def scored_candidates(
    pool: ModelPool, pyramid: Pyramid, scheme: Scheme, proposals: Sequence[Proposal]
) -> list[tuple[Candidate, float]]:
    """Refine the plausible candidates of proposals, and compute their log-odds."""
    candidates = candidates_from(pool, pyramid, proposals)
    # Two passes suffice to drop most false positives; the many passes of a refined candidate would be wasted on them.
    plausible = [c for c in candidates if scheme.coarse.log_odds(coarse_features(c)) > scheme.coarse.threshold]
    passes = observe_jittered(pool, pyramid, [c.region for c in plausible], scheme.views)
    refined = [replace(c, passes=tuple(group)) for c, group in zip(plausible, passes, strict=True)]
    return [(c, scheme.fine.log_odds(refined_features(c))) for c in refined]


def accepted(scheme: Scheme, candidates: Sequence[tuple[Candidate, float]]) -> list[tuple[Candidate, float]]:
    """Select the distinct people among scored candidates."""
    return distinct_people([(c, log_odds) for c, log_odds in candidates if log_odds > scheme.fine.threshold])


def people_of(candidates: Sequence[tuple[Candidate, float]]) -> list[Candidate]:
    """Convert the log-odds of candidates to probabilities."""
    return [replace(c, probability=probability_of(log_odds)) for c, log_odds in candidates]
