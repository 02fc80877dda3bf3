"""Scoring and combining on made-up passes whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from helpers.landmark_passes import candidate, disc_mask, moved, observed, standing

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect import regions, search
from humanpose_cli.detect.identity import same_person
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import axis_spread, combine, mean_mask
from humanpose_cli.detect.regions import Proposal, Pyramid, Region
from humanpose_cli.detect.search import (
    SCHEMES,
    Candidate,
    CandidateFeatures,
    body_pose,
    candidates_from,
    coarse_features,
    distinct_people,
    multipose_views,
    propose_everywhere,
    refined_features,
)

MIRROR = list(BLAZEPOSE33.mirror)
BUST = BLAZEPOSE33.indices(["nose", "left_shoulder", "right_shoulder"])


def test_refined_features_of_constructed_passes() -> None:
    points = standing()
    jittered = [observed(points), observed(moved(points, 4.0, 0), presence=0.5)]
    e = refined_features(candidate(*jittered, support=7, score=0.6))
    assert (e.support, e.score, e.turn) == (7, 0.6, 0)
    assert e.presence == pytest.approx(0.75)
    # World landmarks are points / 200 with x twice: each of two axes deviates by 0.01 m of three.
    assert e.instability == pytest.approx(np.sqrt(2 * 0.01**2 / 3))


def test_coarse_features_compare_the_first_two_passes() -> None:
    points = standing()
    turned = Region(300, 300, 400, -2.0)
    coarse = observed(points), observed(moved(points, 8, 0), next_region=turned)
    made = Candidate(coarse=coarse, windows=frozenset({1}), score=0.5)
    e = coarse_features(made)
    assert e.instability == pytest.approx(8 / 400)
    assert e.turn == pytest.approx(2.0)


@pytest.mark.parametrize("mode", ["thorough", "fast"])
@pytest.mark.parametrize("stage", ["coarse", "fine"])
def test_every_feature_has_the_right_sign(mode: str, stage: str) -> None:
    score = getattr(SCHEMES[mode], stage)
    e = CandidateFeatures(support=4, score=0.7, presence=0.9, instability=0.02, turn=0.5)
    better = [("support", 8), ("score", 0.9), ("presence", 0.99), ("instability", 0.01), ("turn", 0.0)]
    for name, value in better:
        assert score.log_odds(replace(e, **{name: value})) > score.log_odds(e), name
    extremes = CandidateFeatures(support=1, score=0.0, presence=1.0, instability=0.0, turn=np.pi)
    assert np.isfinite(score.log_odds(extremes))


@pytest.mark.parametrize("mode", ["thorough", "fast"])
def test_multipose_speaks_for_a_person_from_the_score_that_images_without_people_never_have(mode: str) -> None:
    score = SCHEMES[mode].fine
    unsteady = CandidateFeatures(support=20, score=0.9, presence=0.99, instability=0.12, turn=0.6)
    odds = [score.log_odds(replace(unsteady, multipose=m)) for m in (0.0, 0.1, 0.2, 0.5)]
    assert odds[0] == odds[1] < odds[2] < odds[3]
    assert odds[3] - odds[0] == pytest.approx(0.9 * np.log(9))
    # A person whom BlazePose's passes show in two ways, as two of forty frames of a balancing man, is kept.
    assert odds[0] < score.threshold < odds[3] or mode == "fast"


class Watched(ModelPool):
    """A pool without threads or networks: every landmark pass shows `standing` about the region's centre."""

    def __init__(self, presence: float = 1.0) -> None:
        super().__init__(1, start=lambda: None)  # type: ignore[arg-type, return-value]
        self.presence = presence

    def map(self, work, items):  # type: ignore[no-untyped-def]
        regions = [view.region for view in items]
        return [observed(standing(r.x, r.y), r, presence=self.presence) for r in regions]


def test_a_person_of_multipose_alone_is_a_candidate_and_its_support_is_none() -> None:
    image = Pyramid(np.zeros((600, 600, 3), np.uint8))
    here, there = Region(200, 300, 400), Region(450, 300, 400)
    proposals = [
        Proposal(here, 0.8, 3),
        Proposal(here, 0.5, 4),
        Proposal(here.moved(0.1, 0), 0.6, 0, multipose=True),
        Proposal(there, 0.4, 0, multipose=True),
        Proposal(here.moved(turn=np.pi), 0.9, 1, multipose=True),  # upside down: somebody else
    ]
    both, alone = candidates_from(Watched(), image, proposals)
    assert (both.support, both.score, both.multipose) == (2, 0.8, 0.6)
    assert (alone.support, alone.multipose) == (0, 0.4)
    assert alone.score < regions._PROPOSAL_SCORE
    assert refined_features(replace(alone, passes=alone.coarse[1:])).multipose == 0.4
    assert candidates_from(Watched(presence=0.4), image, proposals) == []


def test_multipose_looks_at_windows_where_they_show_more_than_the_complete_image() -> None:
    scheme = SCHEMES["thorough"]
    small = multipose_views(Pyramid(np.zeros((480, 640, 3), np.uint8)), scheme)
    assert [(w.side, size) for w, size in small] == [(640, 256), (640, 512)]
    large = multipose_views(Pyramid(np.zeros((1080, 1920, 3), np.uint8)), scheme)
    windows = [w for w, size in large if w.side == 960 and size == 512]
    assert len(windows) == len(large) - 2
    assert {w.x for w in windows} == {480, 960, 1440}
    assert multipose_views(Pyramid(np.zeros((1080, 1920, 3), np.uint8)), SCHEMES["fast"]) == large[:1]


LARGE = (540, 900, 1200, 0.9)


@pytest.mark.parametrize(
    ("people", "detected", "windows"),
    [
        ([], [], 95),  # no person yet: all windows
        ([LARGE], [], 28),  # too large for small windows
        ([LARGE, (200, 200, 300, 0.4)], [], 28 + 12),  # those around the second person
        ([(90 + 180 * n, 900, 150, 0.9) for n in range(6)], [], 95),  # a crowd
        ([LARGE], 3 * [LARGE], 8),  # both networks are sure of one large person
        ([LARGE], 3 * [LARGE] + [(540, 900, 500, 0.9), (100, 100, 400, 0.4)], 8),  # a part of it, and a weak proposal
        ([LARGE], 2 * [LARGE], 28),  # found in two windows only
        ([LARGE], 3 * [LARGE] + [(100, 300, 900, 0.6)], 28),  # a proposal that MultiPose does not explain
        ([LARGE, (900, 300, 900, 0.3)], 3 * [LARGE], 28),  # and one of MultiPose
        ([(540, 900, 400, 0.9)], 3 * [(540, 900, 400, 0.9)], 55),  # a small person
    ],
)
def test_windows_are_searched_as_far_as_they_may_show_more(monkeypatch, people, detected, windows) -> None:
    searched: list[Region] = []

    def proposed(rows: Sequence[tuple[float, ...]], *, multipose: bool = False) -> list[Proposal]:
        return [Proposal(Region(x, y, side), score, 0, multipose) for x, y, side, score in rows]

    def propose_in(pool, pyramid, some, first=0):
        searched.extend(some)
        found = [(540, 900, 900, 0.3)] if first else detected
        return [replace(p, window=first) for p in proposed(found if some else [])]

    by_multipose = proposed(people, multipose=True)
    monkeypatch.setattr(search, "propose_in", propose_in)
    monkeypatch.setattr(search, "propose_by_multipose", lambda *_: by_multipose)
    image = Pyramid(np.zeros((1920, 1080, 3), np.uint8))
    proposals = propose_everywhere(ModelPool(1), image, SCHEMES["thorough"])
    assert len(searched) == windows
    # Every window has a number of its own.
    numbers = [0] * len(detected) + [8] * (windows > 8) + [28] * (windows > 28)
    assert [p.window for p in proposals if not p.multipose] == numbers
    assert [p for p in proposals if p.multipose] == by_multipose


def test_second_guesses_at_one_person_go_and_neighbours_stay() -> None:
    points = standing()
    strong = candidate(observed(points))
    again = candidate(observed(moved(points, 10, 5)))
    swapped = candidate(observed(moved(points[MIRROR], 0, 8)))
    neighbour = candidate(observed(moved(points, 150, 0)))
    kept = distinct_people([(again, 1.0), (strong, 3.0), (swapped, 2.0), (neighbour, 1.5)])
    assert [(c is strong, c is neighbour) for c, _ in kept] == [(True, False), (False, True)]


def test_what_is_not_visible_does_not_make_two_people_of_a_portrait() -> None:
    points = standing()
    other = moved(points, 6, 260)
    other[BUST] = moved(points, 6, 0)[BUST]
    confidence = np.zeros(33)
    confidence[BUST] = 1
    assert len(distinct_people([(candidate(observed(points)), 2.0), (candidate(observed(other)), 1.5)])) == 2
    portraits = [candidate(observed(pose, confidence=confidence)) for pose in (points, other)]
    assert len(distinct_people([(portraits[0], 2.0), (portraits[1], 1.5)])) == 1


def test_a_weaker_pose_on_a_persons_mask_goes_but_an_equal_one_stays() -> None:
    points = standing()
    region = Region(300.0, 300.0, 400.0)
    person = candidate(observed(points, region, mask=disc_mask(region, (300, 300), 195)))
    inner = standing()[::-1] * 0.5 + [150, 150]
    assert not same_person(body_pose(points, 400), body_pose(inner, 400), 0.3)
    on_person = candidate(observed(inner, Region(300, 300, 200)))
    assert len(distinct_people([(person, 3.0), (on_person, 1.9)])) == 1
    assert len(distinct_people([(person, 3.0), (on_person, 2.1)])) == 2
    beside = candidate(observed(moved(inner, 200, 0), Region(500, 300, 200)))
    assert len(distinct_people([(person, 3.0), (beside, 1.0)])) == 2


def test_combining_averages_points_and_centres_the_hips() -> None:
    points = standing()
    person = combine([observed(points), observed(moved(points, 6, -2), presence=0.5)], (640, 480), 0.7)
    np.testing.assert_allclose(person.keypoints[:, :2], moved(points, 3, -1), rtol=1e-5)
    np.testing.assert_allclose(person.keypoints[:, 2], 0.75)
    np.testing.assert_allclose(person.spread, np.sqrt((9 + 1) / 2), rtol=1e-5)
    np.testing.assert_allclose(axis_spread([points, points]), 0)
    assert person.world is not None
    hips = BLAZEPOSE33.indices(["left_hip", "right_hip"])
    np.testing.assert_allclose(person.world[hips].mean(0), 0, atol=1e-6)
    assert person.score == pytest.approx(0.7)


def test_masks_of_different_regions_are_averaged_in_the_image() -> None:
    regions = [Region(300, 200, 300, 0.2), Region(310, 190, 330, -0.3), Region(290, 215, 270, 0.0)]
    passes = [observed(standing(), region, mask=disc_mask(region, (320, 210), 80)) for region in regions]
    mask = mean_mask(passes, regions[0]).in_image(400, 600)
    y, x = np.mgrid[:400, :600] + 0.5
    disc = np.hypot(x - 320, y - 210) < 80
    predicted_disc = mask > 0.5
    assert (predicted_disc & disc).sum() / (predicted_disc | disc).sum() > 0.97
    assert mask[:20].max() == 0


def test_the_box_holds_the_person_and_not_what_else_the_mask_shows() -> None:
    points = standing(300, 300)
    region = Region(300, 300, 500)
    mask = np.maximum(disc_mask(region, (300, 260), 190), disc_mask(region, (520, 520), 20))
    person = combine([observed(points, region, mask=mask)], (640, 480), 1.0)
    np.testing.assert_allclose(person.box, [110, 70, 490, 450], atol=15)
    uncertain = combine([observed(points, region, confidence=np.zeros(33))], (640, 480), 1.0)
    np.testing.assert_allclose(uncertain.box[:2], points.min(0), atol=1e-3)
    assert uncertain.box[3] <= 480
    top = points[:, 1].min()
    for name, below in (("ear", 10), ("shoulder", 60)):
        points[BLAZEPOSE33.indices([f"left_{name}", f"right_{name}"])] = 300, top + below
    unmasked = combine([observed(points, region)], (640, 480), 1.0, with_mask=False)
    assert unmasked.mask is None
    beyond = 0.02 * np.ptp(points, axis=0).max()
    expected = [points[:, 0].min() - beyond, top + 10 - 0.6 * 50 - beyond, *(points.max(0) + beyond)]
    np.testing.assert_allclose(unmasked.box, np.clip(expected, 0, [640, 480, 640, 480]), atol=1e-3)
