"""A second look at single images: for people behind those who were found, and at candidates in doubt.

A pass of the landmark model shows the person who stands out in its crop: beside or behind somebody else it follows the
wrong one, however good the proposal is. Where the first search leaves something unexplained, the people found are
painted over with their surroundings, and the image is searched again. Candidates that are not certain are looked at by
Thunder and BlazePose heavy. Networks that see a person agree on the pose; those that see a pattern, or limbs of two
people, do not.
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
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import (
    CropView,
    combine,
    mean_confidence,
    mean_mask,
    mean_points,
    observe_jittered,
)
from humanpose_cli.detect.regions import Proposal, Pyramid, Region, propose_by_multipose, windows_over
from humanpose_cli.detect.search import (
    BODY,
    SCHEMES,
    Candidate,
    Scheme,
    about,
    accepted,
    alike,
    distinct_people,
    logit,
    people_of,
    propose_everywhere,
    scored_candidates,
    similarity,
    similarity_of_points,
    within_mask,
)

_COMMON_ROWS = BLAZEPOSE33.indices(COCO17.joint_names)


@dataclass(frozen=True)
class SecondLookOptions:
    """Conditions and details of a second look, and of candidates being people then.

    coarse          log-odds by which the threshold after two passes is lower than the first search's alone: people
                    behind others, or upside down, have few windows that show them
    doubtful        log-odds from which a candidate who touches a person is examined by the other networks
    unclear         the same of other candidates; it saves time where things resemble people
    odds, thunder, heavy, bias  weights of its log-odds, of the logits of its pose's similarity to Thunder's and to
                    BlazePose heavy's, and the constant: log-odds that it is a person and the pose theirs
    isolated        what these log-odds of a candidate lose if it touches none of the people found: the networks agree
                    on things that resemble people, too, and without it a dog has 0.9, a clamp 1.3, a tiger 2.4
    person, listed  log-odds from which a candidate is a person, and from which it is listed without a body
    listed_score    MultiPose's score from which a person without a candidate is listed
    max_shift, max_ratio  share of the regions' side and ratio of their sides by which MultiPose's region may differ
                    from that of the person in it: in ten real images at most .036 and 1.18
    part_size       side of a region within a person's that may show a part of them, in sides of theirs
    rounds          searches at most with people painted over, each behind those that the one before found
    views           windows that MultiPose gets in these searches, as shares of the longer side, and their sides in
                    pixels of its input; it knows people at the edges better in a window that is wider than the image
    thunder_reaches sides of Thunder's two crops in sides of the region; the second is mirrored
    body_size       size of a person in sides of their region
    limb_width      share of the region's side: width of the limbs that are painted over, where the mask shows them;
                    head_radius the same of the head
    min_mask        0..1, of the mask's pixels that are painted over
    surroundings    share of the longer side: standard deviation of the blur that fills them
    edge            pixels of the same of the edges between both
    min_side        pixels of a region that shows enough of a person to fit a body
    touching        similarity to a person found from which a candidate is said to be hidden by them
    """

    coarse: float = -1.0
    doubtful: float = -3.0
    unclear: float = -0.5
    odds: float = 0.3
    thunder: float = 0.7
    heavy: float = 0.4
    bias: float = 0.3
    isolated: float = 2.0
    person: float = 0.5
    listed: float = 0.0
    listed_score: float = 0.35
    max_shift: float = 0.08
    max_ratio: float = 1.4
    part_size: float = 0.6
    rounds: int = 3
    views: tuple[tuple[float, int], ...] = ((1.3, 512), (0.6, 384))
    thunder_reaches: tuple[float, float] = (1.0, 1.15)
    body_size: float = 0.8
    limb_width: float = 0.075
    head_radius: float = 0.07
    min_mask: float = 0.4
    surroundings: float = 0.04
    edge: float = 1.5
    min_side: float = 48.0
    touching: float = 0.1


_OPTIONS = SecondLookOptions()


@dataclass(frozen=True, eq=False)
class Unfitted:
    """A person without a body: box (4,) x0 y0 x1 y1 pixels, probability 0..1 that it is a person, and the reason."""

    box: np.ndarray
    probability: float
    reason: str


@dataclass(frozen=True, eq=False)
class Found:
    """Results of a search: people by the image, or the repainted one, that shows them to the networks; and others."""

    people: list[tuple[Pyramid, list[Candidate]]]
    unfitted: list[Unfitted]


CandidateOdds = list[tuple[Candidate, float]]


def search_twice(pool: ModelPool, pyramid: Pyramid, scheme: Scheme) -> Found:
    """Find all people in an image: `search.search`, and a second look.

    If the first search explains everything, that is MultiPose's one look behind the people found.
    """
    scheme = _wider(scheme)
    proposals = propose_everywhere(pool, pyramid, scheme)
    candidates = scored_candidates(pool, pyramid, scheme, proposals)
    certain = accepted(scheme, candidates)
    people = [candidate for candidate, _ in certain]
    first = Found([(pyramid, people_of(certain))], [])
    new, rest = _confirmed(people, _agreement(pool, pyramid, _doubtful(people, candidates)))
    if new:
        first.people.append((pyramid, people_of(new)))
    proposals = [proposal for proposal in proposals if proposal.multipose]
    behind = _search_behind(pool, pyramid, scheme, people, new, rest, proposals)
    return Found([*first.people, *behind.people], behind.unfitted)


def look_behind(pool: ModelPool, pyramid: Pyramid, people: Sequence[Candidate]) -> list[Candidate]:
    """Find people behind or beside these, with masks, that a search has missed.

    Ends after MultiPose's one look at the image without them if that finds no person.
    """
    result = _search_behind(pool, pyramid, _wider(SCHEMES["thorough"]), people, [], [], [])
    return [candidate for _, some in result.people for candidate in some]


def _wider(scheme: Scheme) -> Scheme:
    """Lower the scheme's threshold, so that it refines more candidates."""
    return replace(scheme, coarse=replace(scheme.coarse, threshold=scheme.coarse.threshold + _OPTIONS.coarse))


def _search_behind(
    pool: ModelPool,
    pyramid: Pyramid,
    scheme: Scheme,
    people: Sequence[Candidate],
    new: CandidateOdds,
    rest: CandidateOdds,
    proposals: Sequence[Proposal],
) -> Found:
    """Search with these people, and the new ones, painted over.

    rest  candidates of the first search in doubt; proposals  MultiPose's, of the unpainted image
    """
    people, rest, proposals = [*people, *(candidate for candidate, _ in new)], list(rest), list(proposals)
    groups = []
    for _ in range(_OPTIONS.rounds):
        # Behind the people found so far, the proposals of all searches may show another person.
        behind = painted_over(pyramid, people)
        wide, *closer = (
            [(window, size) for window in windows_over(*pyramid.size, (share,))] for share, size in _OPTIONS.views
        )
        proposals = [*_unexplained(proposals, people), *propose_by_multipose(pool, behind, wide)]
        if not new and not rest and not _unexplained(proposals, people):
            break
        proposals += propose_by_multipose(pool, behind, [view for views in closer for view in views])
        candidates = scored_candidates(pool, behind, scheme, proposals)
        new, more = _confirmed(people, _agreement(pool, behind, _doubtful(people, candidates)))
        rest += more
        if not new:
            break
        groups.append((behind, people_of(new)))
        people += [candidate for candidate, _ in new]
    return Found(groups, _unfitted(people, rest, _unexplained(proposals, people), pyramid))


def _unexplained(proposals: Sequence[Proposal], people: Sequence[Candidate]) -> list[Proposal]:
    """Select the proposals of MultiPose that show none of the people, nor a part of one."""
    regions = [person.region for person in people]
    return [p for p in proposals if not any(_shows(p.region, r) for r in regions)]


def _shows(region: Region, person: Region) -> bool:
    return region.is_near(person, _OPTIONS.max_shift, _OPTIONS.max_ratio) or _part_of(region, person)


def _part_of(region: Region, person: Region) -> bool:
    """Check that a region shows a part of a person: windows that cut a person off show a smaller one."""
    inside = math.hypot(region.x - person.x, region.y - person.y) < person.side / 2
    return inside and region.side < _OPTIONS.part_size * person.side


def _doubtful(people: Sequence[Candidate], candidates: CandidateOdds) -> CandidateOdds:
    """Select the candidates that are worth a look and none of the people."""
    worth = [
        (c, odds) for c, odds in candidates if odds > (_OPTIONS.doubtful if _beside(c, people) else _OPTIONS.unclear)
    ]
    return [(c, odds) for c, odds in worth if not any(alike(c, p) or within_mask(c, p) for p in people)]


def _confirmed(people: Sequence[Candidate], candidates: CandidateOdds) -> tuple[CandidateOdds, CandidateOdds]:
    """Select further people among candidates, without second poses of one person, and the rest that may be some."""
    odds_by_position = []
    for candidate, odds in candidates:
        odds_by_position.append((candidate, odds if _beside(candidate, people) else odds - _OPTIONS.isolated))
    distinct = distinct_people(odds_by_position)
    new = [(c, odds) for c, odds in distinct if odds > _OPTIONS.person]
    return new, [(c, odds) for c, odds in distinct if _OPTIONS.listed < odds <= _OPTIONS.person]


def _beside(candidate: Candidate, people: Sequence[Candidate]) -> bool:
    """Check whether the circles around the body of a candidate and that of a person overlap."""
    a = candidate.region
    regions = [person.region for person in people]
    return any(math.hypot(a.x - b.x, a.y - b.y) < _OPTIONS.body_size * (a.side + b.side) / 2 for b in regions)


def _agreement(pool: ModelPool, pyramid: Pyramid, candidates: CandidateOdds) -> CandidateOdds:
    """Compute the log-odds that candidates are people and the poses theirs, by the poses of the other networks."""
    views = [view for candidate, _ in candidates for view in _views_of_thunder(candidate)]
    regions = [candidate.region for candidate, _ in candidates]
    heavy = observe_jittered(pool, pyramid, regions, 0, "blazepose-heavy", masks=False)
    upright = observe_upright(pool, pyramid, views)
    result = []
    for row, (candidate, odds) in enumerate(candidates):
        side, points = _OPTIONS.body_size * candidate.region.side, mean_points(candidate.passes)
        (observation,) = heavy[row]
        confidences = mean_confidence(candidate.passes), observation.confidence
        by_heavy = similarity(points, observation.points, side, confidences)
        by_thunder = float(np.mean([_similarity(candidate, pose, side) for pose in upright[2 * row : 2 * row + 2]]))
        votes = _OPTIONS.thunder * _odds(by_thunder) + _OPTIONS.heavy * _odds(by_heavy)
        result.append((candidate, _OPTIONS.odds * odds + votes + _OPTIONS.bias))
    return result


def _odds(share: float) -> float:
    return logit(min(share, 0.98))  # above, poses differ by less than their noise


def _views_of_thunder(candidate: Candidate) -> list[CropView]:
    """Make views turned like the candidate: Thunder knows upright people."""
    plain, wider = (replace(candidate.region, side=r * candidate.region.side) for r in _OPTIONS.thunder_reaches)
    return [CropView(plain), CropView(wider, mirror=True)]


def _similarity(candidate: Candidate, pose: UprightPose, side: float) -> float:
    """Compare a candidate's pose with Thunder's by the joints that both show; left and right may be swapped."""
    points, confidence = mean_points(candidate.passes)[_COMMON_ROWS], mean_confidence(candidate.passes)[_COMMON_ROWS]
    weights = np.sqrt(confidence * np.clip(pose.score, 0, 1)) + 0.02
    mirror = list(COCO17.mirror)
    return max(similarity_of_points(pose.points, points[rows], side, weights) for rows in (slice(None), mirror))


def _unfitted(
    people: Sequence[Candidate], rest: CandidateOdds, proposals: Sequence[Proposal], pyramid: Pyramid
) -> list[Unfitted]:
    """List the candidates that no later search confirmed, and the people that MultiPose alone finds."""
    lasting = [(c, odds) for c, odds in rest if not any(alike(c, p) for p in people)]
    candidates = people_of(distinct_people(lasting))
    result = []
    for candidate in candidates:
        box = combine(candidate.passes, *pyramid.size, candidate.probability, with_mask=False).box
        result.append(Unfitted(box, candidate.probability, _reason(candidate, people, pyramid)))
    visible = [*people, *candidates]
    for proposal in sorted(proposals, key=lambda p: -p.score):
        if proposal.score < _OPTIONS.listed_score or any(about(proposal.region, k.region) for k in visible):
            continue
        region, half = proposal.region, _OPTIONS.body_size * proposal.region.side / 2
        corners = np.array([region.x - half, region.y - half, region.x + half, region.y + half])
        box = np.clip(corners, 0, [*pyramid.size, *pyramid.size]).astype(np.float32)
        overlaps = [box_overlap(box, other.box) for other in result]
        if max(overlaps, default=0.0) < 0.5:
            result.append(Unfitted(box, proposal.score, "pose not certain"))
    return [item for item in result if (item.box[2:] > item.box[:2]).all()]


def _reason(candidate: Candidate, people: Sequence[Candidate], pyramid: Pyramid) -> str:
    points = mean_points(candidate.passes)
    inside = ((points[BODY] >= 0) & (points[BODY] < pyramid.size)).all(1)
    if candidate.region.side < _OPTIONS.min_side:
        return "too small"
    if inside.mean() < 0.5:
        return "mostly outside the image"
    if any(similarity(mean_points(p.passes), points, p.region.side) > _OPTIONS.touching for p in people):
        return "hidden by another person"
    return "pose not certain"


def painted_over(pyramid: Pyramid, people: Sequence[Candidate]) -> Pyramid:
    """Paint over people with their blurred surroundings: the pixels of their masks near their limbs,
    since masks sometimes show two people.
    """
    if not people:
        return pyramid

    def paint(image: np.ndarray, to_base: Affine2D) -> np.ndarray:
        size = image.shape[1], image.shape[0]
        area = np.zeros(image.shape[:2], np.float32)
        for person in people:
            mask = mean_mask(person.passes, person.passes[0].region).in_view(to_base, size)
            scale = person.region.side * size[0] / pyramid.width
            limbs = _limb_area(to_base.points(mean_points(person.passes)), scale, size)
            area = np.maximum(area, (mask > _OPTIONS.min_mask) & limbs)
        # Blurred in a small copy: the surroundings have no details.
        shrink = max(1, max(size) // 256)
        small = max(1, size[0] // shrink), max(1, size[1] // shrink)
        background = 1 - cv2.resize(area, small, interpolation=cv2.INTER_AREA)
        colours = cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.float32) * background[..., None]
        sigma = _OPTIONS.surroundings * max(small)
        total, weight = (cv2.GaussianBlur(values, (0, 0), sigma) for values in (colours, background))
        around = cv2.resize(total / np.maximum(weight, 1e-3)[..., None], size, interpolation=cv2.INTER_LINEAR)
        share = cv2.GaussianBlur(area, (0, 0), _OPTIONS.edge)[..., None]
        return np.clip(image * (1 - share) + around * share, 0, 255).astype(np.uint8)

    return pyramid.repainted(paint)


_LIMBS = [
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("ankle", "foot_index"))
]
_TRUNK = ("left_shoulder", "right_shoulder", "right_hip", "left_hip")


def _limb_area(points: np.ndarray, side: float, size: tuple[int, int]) -> np.ndarray:
    """Draw a generous figure (height, width) bool of a pose (33, 2) pixels whose region has a side of so many
    pixels.
    """
    area = np.zeros(size[::-1], np.uint8)
    width = max(3, round(_OPTIONS.limb_width * side) + 4)
    pixels = np.clip(np.rint(points), -10 * max(size), 10 * max(size)).astype(np.int32)

    def at(name: str) -> np.ndarray:
        return pixels[BLAZEPOSE33.index(name)]

    for start, end in _LIMBS:
        cv2.line(area, at(start).tolist(), at(end).tolist(), 1, width)
    trunk = np.stack([at(name) for name in _TRUNK])
    cv2.fillPoly(area, [trunk], 1)
    cv2.polylines(area, [trunk], True, 1, width)
    neck = ((trunk[0] + trunk[1]) // 2).tolist()
    cv2.line(area, at("nose").tolist(), neck, 1, width)
    cv2.circle(area, at("nose").tolist(), max(2, round(_OPTIONS.head_radius * side)), 1, -1)
    return area > 0
