"""A second look at images: for people behind the detected ones, and at uncertain candidates.

A pass of the landmark model shows the person who stands out in its crop: beside or behind somebody else, it follows the
wrong one. If the first search leaves something unexplained, the detected people are painted over with their
surroundings, and the image is searched again. Thunder and BlazePose heavy look at uncertain candidates. Networks agree
on the pose of a person, but not on a pattern or limbs of two people.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.core.crop import Affine2D, box_overlap
from humanpose_cli.detect.fusion import UprightPose, observe_upright
from humanpose_cli.detect.identity import SAME_CANDIDATES, PosePoints, same_person, similarity
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import (
    CropView,
    DetectedPerson,
    combine,
    mean_confidence,
    mean_mask,
    mean_points,
    observe_jittered,
    without_body,
)
from humanpose_cli.detect.regions import Proposal, Pyramid, Region, propose_by_multipose, windows_over
from humanpose_cli.detect.search import (
    BODY,
    SCHEMES,
    Candidate,
    Scheme,
    accepted,
    body_pose,
    distinct_people,
    logit,
    may_be_one,
    mean_pose,
    people_of,
    propose_everywhere,
    scored_candidates,
    shows,
    within_mask,
)
from humanpose_cli.io.unfitted_detections import POSE_NOT_CERTAIN

_COMMON_ROWS = BLAZEPOSE33.indices(COCO17.joint_names)
_SAME_BOX = 0.5  # overlap of boxes of listed people who are one

# Thresholds in log-odds.
_COARSE = -1.0  # change after two passes: few windows show people who are behind others, or upside down
_DOUBTFUL = -3.0  # from which candidates who touch a person are examined by the other networks
_UNCLEAR = -0.5  # from which other candidates are examined, which saves time if things resemble people
_PERSON = 0.5  # from which a candidate is a person
_LISTING = 0.0  # from which a candidate is listed without a body
_ISOLATION = 2.0  # loss of a candidate who touches nobody: networks also agree on things that resemble people
# The log-odds that a candidate is a person with this pose:
_ODDS_WEIGHT = 0.3  # weight of its own log-odds
_THUNDER_WEIGHT = 0.7  # weight of the log-odds of its similarity to Thunder's poses
_HEAVY_WEIGHT = 0.4  # weight of the log-odds of its similarity to BlazePose heavy's pose
_BIAS = 0.3  # constant

_LISTING_SCORE = 0.3  # MultiPose's score from which a person without a candidate is listed
_ROUNDS = 3  # searches with people painted over, each behind those that the one before found
# MultiPose's first windows, in longer sides of the image, and the side of its input in pixels: it finds people at the
# edges better in a window that is wider than the image.
_WIDE_VIEW = 1.3, 512
_CLOSE_VIEW = 0.6, 384  # side and input of the windows that follow if the first shows an unexplained person
_THUNDER_VIEWS = (1.0, False), (1.15, True)  # sides of Thunder's two crops, and whether they are mirrored
_MIN_SIDE = 48.0  # pixels of a region that shows enough of a person to fit a body
_TOUCHING = 0.1  # similarity to a person from which a candidate counts as hidden by them

# Lengths in sides of the region.
_BODY_SIZE = 0.8  # of a person
_LIMB_WIDTH = 0.075  # width of limbs that are painted over
_HEAD_RADIUS = 0.07  # radius of a head that is painted over
_MIN_MASK = 0.4  # value of the mask from which pixels are painted over
_SURROUNDINGS = 0.04  # of the image's longer side: standard deviation of the blur that fills them
_EDGE = 1.5  # pixels: standard deviation of the edges' blur


@dataclass(frozen=True, eq=False)
class ImagePeople:
    """The result of a search.

    Attributes:
        people: The people, by the image, or the repainted one, that shows them to the networks.
        without_body: People without a body.
    """

    people: list[tuple[Pyramid, list[Candidate]]]
    without_body: list[DetectedPerson]


CandidateOdds = list[tuple[Candidate, float]]


def search_twice(pool: ModelPool, pyramid: Pyramid, scheme: Scheme) -> ImagePeople:
    """Find all people in an image: `search.search`, and a second look.

    If the first search explains everything, the second look is one run of MultiPose behind the detected people.

    Args:
        pool: The networks.
        pyramid: The image.
        scheme: The search.
    """
    look = _SecondLook(pool, pyramid, scheme)
    proposals = propose_everywhere(pool, pyramid, look.scheme)
    candidates = scored_candidates(pool, pyramid, look.scheme, proposals)
    # Those who pass the first search's threshold are people whatever the other networks say.
    certain = accepted(look.scheme, candidates)
    people = [candidate for candidate, _ in certain]
    groups = [(pyramid, people_of(certain))]
    # Of the others, those whose pose the other networks confirm.
    new, maybe_people = look.confirm(people, look.examine(pyramid, look.doubtful(people, candidates)))
    if new:
        groups.append((pyramid, people_of(new)))
    # The detector's proposals have become candidates; only MultiPose's may show people that no landmark pass followed.
    multipose_proposals = [proposal for proposal in proposals if proposal.multipose]
    behind = look.search_behind(people, new, maybe_people, multipose_proposals)
    return ImagePeople([*groups, *behind.people], behind.without_body)


def look_behind(pool: ModelPool, pyramid: Pyramid, people: Sequence[Candidate]) -> list[Candidate]:
    """Find people behind or beside the given ones that a search has missed.

    Args:
        pool: The networks.
        pyramid: The image.
        people: The detected people, with masks.
    """
    result = _SecondLook(pool, pyramid, SCHEMES["thorough"]).search_behind(people, [], [], [])
    return [candidate for _, candidates in result.people for candidate in candidates]


class _SecondLook:
    """A second look at one image, with a lower threshold after two passes than the first search."""

    def __init__(self, pool: ModelPool, pyramid: Pyramid, scheme: Scheme) -> None:
        self._pool = pool
        self._pyramid = pyramid
        threshold = scheme.coarse.threshold + _COARSE
        self.scheme = replace(scheme, coarse=replace(scheme.coarse, threshold=threshold))

    def search_behind(
        self,
        people: Sequence[Candidate],
        new: CandidateOdds,
        maybe_people: CandidateOdds,
        proposals: Sequence[Proposal],
    ) -> ImagePeople:
        """Search with the people, and the new ones, painted over."""
        people = [*people, *(candidate for candidate, _ in new)]
        maybe_people = list(maybe_people)
        proposals = list(proposals)
        groups = []
        for _ in range(_ROUNDS):
            # Behind the people found so far, the proposals of all searches may show another person.
            behind = painted_over(self._pyramid, people)
            in_view = propose_by_multipose(self._pool, behind, self._windows(*_WIDE_VIEW))
            proposals = [*self._unexplained(proposals, people), *in_view]
            # Most images end here: one look at the painted image, and every proposal is of a person found.
            if not new and not maybe_people and not self._unexplained(proposals, people):
                break
            proposals += propose_by_multipose(self._pool, behind, self._windows(*_CLOSE_VIEW))
            candidates = scored_candidates(self._pool, behind, self.scheme, proposals)
            new, found_behind = self.confirm(people, self.examine(behind, self.doubtful(people, candidates)))
            maybe_people += found_behind
            if not new:
                break
            # People found now hide others in their turn: they are painted over in the next round.
            groups.append((behind, people_of(new)))
            people += [candidate for candidate, _ in new]
        return ImagePeople(groups, self._unfitted(people, maybe_people, self._unexplained(proposals, people)))

    def _windows(self, share: float, size: int) -> list[tuple[Region, int]]:
        return [(window, size) for window in windows_over(*self._pyramid.size, (share,))]

    def _unexplained(self, proposals: Sequence[Proposal], people: Sequence[Candidate]) -> list[Proposal]:
        """Select the proposals of MultiPose that show none of the people, nor a part of one."""
        regions = [person.region for person in people]
        return [p for p in proposals if not any(shows(p.region, r) for r in regions)]

    def doubtful(self, people: Sequence[Candidate], candidates: CandidateOdds) -> CandidateOdds:
        """Select the candidates that are worth a look and none of the people."""
        # One pass over all networks costs as much as ten candidates: only beside people are unlikely ones worth it.
        return [
            (candidate, odds)
            for candidate, odds in candidates
            if odds > (_DOUBTFUL if self._beside(candidate, people) else _UNCLEAR)
            and not _is_one_of(candidate, people)
            and not any(within_mask(candidate, person) for person in people)
        ]

    def confirm(self, people: Sequence[Candidate], candidates: CandidateOdds) -> tuple[CandidateOdds, CandidateOdds]:
        """Select new people among candidates, and others that may be people."""
        # Things that resemble people stand alone, while people missed by the first search stand beside others.
        by_position = [
            (candidate, odds if self._beside(candidate, people) else odds - _ISOLATION)
            for candidate, odds in candidates
        ]
        distinct = distinct_people(by_position)
        new = [(c, odds) for c, odds in distinct if odds > _PERSON]
        return new, [(c, odds) for c, odds in distinct if _LISTING < odds <= _PERSON]

    def _beside(self, candidate: Candidate, people: Sequence[Candidate]) -> bool:
        """Return whether the circles around the bodies of a candidate and of a person overlap."""
        a = candidate.region
        regions = [person.region for person in people]
        return any(math.hypot(a.x - b.x, a.y - b.y) < _BODY_SIZE * (a.side + b.side) / 2 for b in regions)

    def examine(self, pyramid: Pyramid, candidates: CandidateOdds) -> CandidateOdds:
        """Return the log-odds that candidates are people with their poses, by the other networks."""
        regions = [candidate.region for candidate, _ in candidates]
        views = [CropView(replace(r, side=reach * r.side), mirror) for r in regions for reach, mirror in _THUNDER_VIEWS]
        heavy = observe_jittered(self._pool, pyramid, regions, 0, "blazepose-heavy", masks=False)
        upright = observe_upright(self._pool, pyramid, views)
        result = []
        for row, (candidate, odds) in enumerate(candidates):
            # Networks agree by chance less often than one is wrong: similarities count as odds beside the search's.
            size = _BODY_SIZE * candidate.region.side
            (observation,) = heavy[row]
            by_heavy = similarity(
                mean_pose(candidate.passes, size), body_pose(observation.points, size, observation.confidence)
            )
            thunder = [_similarity_to_thunder(candidate, pose, size) for pose in upright[2 * row : 2 * row + 2]]
            votes = _THUNDER_WEIGHT * _odds(float(np.mean(thunder))) + _HEAVY_WEIGHT * _odds(by_heavy)
            result.append((candidate, _ODDS_WEIGHT * odds + votes + _BIAS))
        return result

    def _unfitted(
        self, people: Sequence[Candidate], maybe_people: CandidateOdds, proposals: Sequence[Proposal]
    ) -> list[DetectedPerson]:
        """List the candidates that no later search confirmed, and people whom MultiPose alone finds."""
        not_yet_explained = [(candidate, odds) for candidate, odds in maybe_people if not _is_one_of(candidate, people)]
        candidates = people_of(distinct_people(not_yet_explained))
        result = []
        for candidate in candidates:
            box = combine(candidate.passes, self._pyramid.size, candidate.probability, with_mask=False).box
            result.append(without_body(box, candidate.probability, self._reason(candidate, people)))
        visible = [*people, *candidates]
        limits = [*self._pyramid.size, *self._pyramid.size]
        for proposal in sorted(proposals, key=lambda p: -p.score):
            region = proposal.region
            half = _BODY_SIZE * proposal.region.side / 2
            near = any(may_be_one(region, candidate.region) for candidate in visible)
            if near or proposal.score < _LISTING_SCORE:
                continue
            # MultiPose may propose one person in several windows, and there is no pose to compare.
            corners = np.array([region.x - half, region.y - half, region.x + half, region.y + half])
            box = np.clip(corners, 0, limits).astype(np.float32)
            if max((box_overlap(box, listed.box) for listed in result), default=0.0) < _SAME_BOX:
                result.append(without_body(box, proposal.score, POSE_NOT_CERTAIN))
        return [item for item in result if (item.box[2:] > item.box[:2]).all()]

    def _reason(self, candidate: Candidate, people: Sequence[Candidate]) -> str:
        points = mean_points(candidate.passes)
        inside = ((points[BODY] >= 0) & (points[BODY] < self._pyramid.size)).all(1)
        if candidate.region.side < _MIN_SIDE:
            return "too small"
        if inside.mean() < 0.5:
            return "mostly outside the image"
        poses = ((body_pose(mean_points(p.passes), p.region.side), p.region.side) for p in people)
        if any(same_person(pose, body_pose(points, side), _TOUCHING) for pose, side in poses):
            return "hidden by another person"
        return POSE_NOT_CERTAIN


def _is_one_of(candidate: Candidate, people: Sequence[Candidate]) -> bool:
    """Return whether a candidate has the pose of one of the people."""
    return any(same_person(candidate.pose, person.pose, SAME_CANDIDATES) for person in people)


def _odds(share: float) -> float:
    return logit(min(share, 0.98))  # above, poses differ by less than their noise


def _similarity_to_thunder(candidate: Candidate, pose: UprightPose, size: float) -> float:
    """Compare a candidate's pose with Thunder's by common joints; left and right may be swapped."""
    # The confidence of both has Thunder's names of the sides, even if the candidate's are swapped.
    confidence = mean_confidence(candidate.passes)[_COMMON_ROWS] * np.clip(pose.score, 0, 1)
    points = mean_points(candidate.passes)[_COMMON_ROWS]
    return similarity(PosePoints(pose.points, size, confidence), PosePoints(points, size, mirror=COCO17.mirror))


def painted_over(pyramid: Pyramid, people: Sequence[Candidate]) -> Pyramid:
    """Paint over people with their blurred surroundings.

    Only pixels of a mask near the person's limbs are painted over, since a mask may show two people.

    Args:
        pyramid: The image.
        people: The people, with masks.
    """
    if not people:
        return pyramid

    def paint(image: np.ndarray, to_base: Affine2D) -> np.ndarray:
        size = image.shape[1], image.shape[0]
        area = np.zeros(image.shape[:2], np.float32)
        for person in people:
            mask = mean_mask(person.passes, person.passes[0].region).in_view(to_base, size)
            side = person.region.side * size[0] / pyramid.width
            limbs = _limb_area(to_base.points(mean_points(person.passes)), side, size)
            area = np.maximum(area, (mask > _MIN_MASK) & limbs)
        # Blurred in a small copy: the surroundings have no details.
        shrink = max(1, max(size) // 256)
        small = max(1, size[0] // shrink), max(1, size[1] // shrink)
        background = 1 - cv2.resize(area, small, interpolation=cv2.INTER_AREA)
        colours = cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.float32) * background[..., None]
        sigma = _SURROUNDINGS * max(small)
        # The ratio of blurred colours and blurred weight leaves the people out.
        total, weight = (cv2.GaussianBlur(values, (0, 0), sigma) for values in (colours, background))
        around = cv2.resize(total / np.maximum(weight, 1e-3)[..., None], size, interpolation=cv2.INTER_LINEAR)
        # A sharp edge would be the outline of a person to a network.
        share = cv2.GaussianBlur(area, (0, 0), _EDGE)[..., None]
        return np.clip(image * (1 - share) + around * share, 0, 255).astype(np.uint8)

    return pyramid.repainted(paint)


_LIMBS = [
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("ankle", "foot_index"))
]
_TRUNK = ("left_shoulder", "right_shoulder", "right_hip", "left_hip")


def _limb_area(points: np.ndarray, side: float, size: tuple[int, int]) -> np.ndarray:
    """Draw a wide figure (height, width) bool of a pose (33, 2) pixels whose region has this side."""
    area = np.zeros(size[::-1], np.uint8)
    width = max(3, round(_LIMB_WIDTH * side) + 4)
    pixels = np.clip(np.rint(points), -10 * max(size), 10 * max(size)).astype(np.int32)

    def pixel(name: str) -> np.ndarray:
        return pixels[BLAZEPOSE33.index(name)]

    for start, end in _LIMBS:
        cv2.line(area, pixel(start).tolist(), pixel(end).tolist(), 1, width)
    trunk = np.stack([pixel(name) for name in _TRUNK])
    cv2.fillPoly(area, [trunk], 1)
    cv2.polylines(area, [trunk], True, 1, width)
    neck = ((trunk[0] + trunk[1]) // 2).tolist()
    cv2.line(area, pixel("nose").tolist(), neck, 1, width)
    cv2.circle(area, pixel("nose").tolist(), max(2, round(_HEAD_RADIUS * side)), 1, -1)
    return area > 0
