"""The second look: what is painted over, who is confirmed, what is listed, and a rendered person behind another one."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from helpers.landmark_passes import candidate, moved, observed, standing

from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, SMPL24
from humanpose_cli.detect import second_look
from humanpose_cli.detect.fusion import UprightPose
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.regions import Proposal, Pyramid, Region
from humanpose_cli.detect.search import SCHEMES, search
from humanpose_cli.detect.second_look import ImagePeople, look_behind, painted_over, search_twice
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.rendering.shading import draw_people
from humanpose_cli.rendering.surfaces import Surface

THOROUGH = SCHEMES["thorough"]
SHARED = BLAZEPOSE33.indices(COCO17.joint_names)
GREEN, RED = np.array([40, 160, 60]), np.array([220, 30, 30])


def red_person(scale: int = 1):
    """An image of a red person and a red ball far from the limbs, before green; the candidate, whose mask shows both;
    and where both are.
    """
    points = standing(300, 300) * scale
    image = np.tile(GREEN.astype(np.uint8), (600 * scale, 800 * scale, 1))
    region = Region(300.0 * scale, 300.0 * scale, 500.0 * scale)
    figure = second_look._limb_area(points, region.side, (800 * scale, 600 * scale))
    ball = np.zeros(figure.shape, np.uint8)
    cv2.circle(ball, (440 * scale, 120 * scale), 25 * scale, 1, -1)
    image[figure | (ball > 0)] = RED
    everything = (
        region.to_image(256).inverse().warp((figure | (ball > 0)).astype(np.float32), (256, 256), cv2.INTER_AREA)
    )
    return image, candidate(observed(points, region, mask=everything)), figure, ball > 0


@pytest.mark.extensive
@pytest.mark.parametrize("scale", [1, 4])  # the larger image is searched at a lower resolution
def test_people_are_painted_over_with_their_surroundings_and_what_their_mask_shows_besides_is_not(scale: int) -> None:
    image, person, figure, ball = red_person(scale)
    pyramid = Pyramid(image)
    behind = painted_over(pyramid, [person])
    full = Region(400.0 * scale, 300.0 * scale, 800.0 * scale)
    before, after = (p.crop(full, 800).astype(float) for p in (pyramid, behind))
    inner, outer = (
        np.pad(cv2.resize(area.astype(np.uint8), (800, 600), interpolation=cv2.INTER_AREA), ((100, 100), (0, 0))) > 0
        for area in (cv2.erode(figure.astype(np.uint8), np.ones((9 * scale, 9 * scale))), ~figure)
    )
    assert np.abs(before[inner] - RED).max() < 3
    # Nothing but green is left of the person, and the image is as it was elsewhere, the ball included.
    assert np.abs(after[inner] - GREEN).max() < 40
    far = cv2.erode(outer.astype(np.uint8), np.ones((15, 15))) > 0
    np.testing.assert_allclose(after[far], before[far], atol=1)
    assert (ball.sum() / scale**2) > 1500
    np.testing.assert_array_equal(pyramid.crop(full, 800), before)


def agreement(monkeypatch, heavy_moved: float, thunder_moved: float, odds: float = 1.0) -> float:
    """The log-odds of a candidate after the other networks found its pose, moved by so many pixels."""
    points = standing()
    region = Region(300.0, 300.0, 500.0)
    heavy = observed(moved(points, heavy_moved, 0), region)
    upright = UprightPose(moved(points, thunder_moved, 0)[SHARED], np.ones(17))
    monkeypatch.setattr(second_look, "observe_jittered", lambda *_, **__: [[heavy]])
    monkeypatch.setattr(second_look, "observe_upright", lambda *_: [upright, upright])
    doubtful = [(candidate(observed(points, region)), odds)]
    ((_, looked),) = second_look._SecondLook(None, None, THOROUGH).examine(None, doubtful)  # type: ignore[arg-type]
    return looked


def test_log_odds_grow_with_the_agreement_of_each_network(monkeypatch) -> None:
    full = agreement(monkeypatch, 0, 0)
    assert full == pytest.approx(0.3 * 1.0 + (0.7 + 0.4) * np.log(0.98 / 0.02) + 0.3)
    # The body is 400 pixels large, so that 28 pixels are one standard deviation.
    share = np.exp(-0.5)
    assert full - agreement(monkeypatch, 28, 0) == pytest.approx(0.4 * (np.log(49) - np.log(share / (1 - share))))
    assert full - agreement(monkeypatch, 0, 28) == pytest.approx(0.7 * (np.log(49) - np.log(share / (1 - share))))
    assert full - agreement(monkeypatch, 0, 0, odds=-1.0) == pytest.approx(0.3 * 2)
    assert agreement(monkeypatch, 200, 200, odds=3.0) < second_look._LISTING


class Scripted(ModelPool):
    """No networks: what each search finds is given."""


def scripted(monkeypatch, *searches, agreed=lambda odds: odds, behind=()) -> list[Pyramid]:
    """The images searched from now on. The searches find these candidates with log-odds, one list a search, the
    other networks change the log-odds by `agreed`, and MultiPose's proposals in the images without people are `behind`.
    """
    looked_at: list[Pyramid] = []
    script = iter(searches)

    def scored(pool, pyramid, scheme, proposals):
        looked_at.append(pyramid)
        assert scheme.coarse.threshold == SCHEMES["thorough"].coarse.threshold + second_look._COARSE
        return list(next(script))

    monkeypatch.setattr(second_look, "propose_by_multipose", lambda *_: list(behind))
    monkeypatch.setattr(second_look, "scored_candidates", scored)

    def examine(self, pyramid, candidates):
        return [(c, agreed(odds)) for c, odds in candidates]

    monkeypatch.setattr(second_look._SecondLook, "examine", examine)
    return looked_at


def found_by(monkeypatch, proposals, *searches, agreed=lambda odds: odds) -> tuple[ImagePeople, list[Pyramid]]:
    """`search_twice` where the searches find these candidates with log-odds, one list a search, and the other networks
    change the log-odds by `agreed`; and the images that were searched.
    """
    looked_at = scripted(monkeypatch, *searches, agreed=agreed)
    monkeypatch.setattr(second_look, "propose_everywhere", lambda *_: proposals)
    image = np.zeros((600, 1200, 3), np.uint8)
    return search_twice(Scripted(1), Pyramid(image), SCHEMES["thorough"]), looked_at


def person_at(x: float, **changes) -> object:
    points = standing(x, 300)
    region = Region(x, 300.0, 400.0)
    return replace(candidate(observed(points, region)), **changes)


def names(found: ImagePeople, *candidates) -> list[list[int]]:
    """Which of the candidates were found on each image, by their positions."""
    rows = {round(float(c.pose.points[:, 0].mean())): row for row, c in enumerate(candidates)}
    return [[rows[round(float(c.pose.points[:, 0].mean()))] for c in some] for _, some in found.people]


def test_where_everything_is_explained_nothing_is_searched_again(monkeypatch) -> None:
    one = person_at(300)
    proposal = Proposal(Region(305.0, 300.0, 400.0), 0.6, 0, multipose=True)
    found, looked_at = found_by(monkeypatch, [proposal], [(one, 4.0)])
    assert (names(found, one), len(looked_at), found.without_body) == ([[0]], 1, [])


@pytest.mark.parametrize(
    ("x", "side", "searches"),
    [(329, 400, 1), (335, 400, 2), (300, 290, 1), (300, 280, 2), (300, 570, 2), (400, 235, 1), (520, 235, 2)],
)
def test_behind_people_who_do_not_explain_a_proposal_the_image_is_searched_again(
    monkeypatch, x, side, searches
) -> None:
    proposal = Proposal(Region(float(x), 300.0, float(side)), 0.3, 0, multipose=True)
    _, looked_at = found_by(monkeypatch, [proposal], [(person_at(300), 4.0)], [])
    assert len(looked_at) == searches


def test_people_in_doubt_and_behind_others_are_found_in_turn(monkeypatch) -> None:
    one, doubtful, behind, deeper = people = [person_at(x) for x in (100, 400, 700, 1000)]
    found, looked_at = found_by(
        monkeypatch, [], [(one, 4.0), (doubtful, 0.9)], [(one, 3.0), (behind, 0.7)], [(deeper, 2.0)], []
    )
    assert names(found, *people) == [[0], [1], [2], [3]]
    first, second, third, fourth = looked_at
    assert [shown for shown, _ in found.people] == [first, first, second, third]
    assert len({id(p) for p in looked_at}) == 4
    assert fourth is not first
    assert found.without_body == []


def test_where_no_person_is_certain_a_candidate_must_be_clearer(monkeypatch) -> None:
    one, other = person_at(300), person_at(600)
    doubtful, needed = [(one, 0.9), (other, 0.8)], second_look._PERSON + second_look._ISOLATION
    found, _ = found_by(monkeypatch, [], doubtful, [], agreed=lambda odds: needed + odds - 0.91)
    assert names(found, one, other) == [[]]
    assert [u.not_fitted for u in found.without_body] == ["pose not certain"] * 2
    expected = [1 / (1 + np.exp(0.01 - second_look._PERSON)), 1 / (1 + np.exp(0.11 - second_look._PERSON))]
    np.testing.assert_allclose([u.score for u in found.without_body], expected)
    found, _ = found_by(monkeypatch, [], doubtful, [(other, 0.8)], [], agreed=lambda odds: needed + odds - 0.89)
    assert names(found, one, other) == [[], [0], [1]]


@pytest.mark.parametrize(("distance", "added"), [(319, True), (321, False)])
def test_a_candidate_who_touches_no_person_must_be_clearer(monkeypatch, distance, added) -> None:
    one, other = person_at(300), person_at(300 + distance)
    found, _ = found_by(monkeypatch, [], [(one, 4.0), (other, 0.9)], [], agreed=lambda odds: 2.1)
    assert names(found, one, other) == ([[0], [1]] if added else [[0]])
    assert len(found.without_body) == (not added)
    for odds, listed in ((0.4, added), (0.01, added), (-0.01, False)):
        found, _ = found_by(monkeypatch, [], [(one, 4.0), (other, 0.9)], [], agreed=lambda _, odds=odds: odds)
        assert len(found.without_body) == listed


def test_which_candidates_are_looked_at() -> None:
    one, near, far = person_at(300), person_at(500), person_at(900)
    look = second_look._SecondLook(None, None, THOROUGH)  # type: ignore[arg-type]
    scored = [(near, second_look._DOUBTFUL + 0.1), (far, second_look._UNCLEAR + 0.1)]
    assert look.doubtful([one], scored) == scored
    below = [(near, second_look._DOUBTFUL - 0.1), (far, second_look._UNCLEAR - 0.1), (person_at(305), 0.5)]
    assert look.doubtful([one], below) == []


def test_who_is_not_confirmed_is_listed_with_the_reason(monkeypatch) -> None:
    one, unclear, unlikely = person_at(300), person_at(700), person_at(1000)
    touching = candidate(observed(moved(standing(300, 300), 55, 0), Region(355.0, 300.0, 400.0)))
    tiny = candidate(observed(0.1 * standing(0, 0) + [900, 80], Region(900.0, 80.0, 40.0)))
    outside = person_at(1230)
    lone = Proposal(Region(80.0, 300.0, 100.0), 0.4, 0, multipose=True)
    faint = Proposal(Region(500.0, 500.0, 100.0), 0.29, 0, multipose=True)
    looks = {unlikely: 0.9, unclear: 2.2, touching: 0.2, tiny: 2.2, outside: 2.2}
    doubtful = [(c, 0.1 + 0.01 * row) for row, c in enumerate(looks)]
    by_odds = {odds: looks[c] for c, odds in doubtful}
    found, _ = found_by(monkeypatch, [lone, faint], [(one, 4.0), *doubtful], [], agreed=by_odds.__getitem__)
    assert names(found, one) == [[0]]
    reasons = {round(float(u.box[[0, 2]].mean())): u.not_fitted for u in found.without_body}
    assert sorted(reasons.values()) == sorted(
        ["pose not certain", "hidden by another person", "too small", "mostly outside the image", "pose not certain"]
    )
    by_multipose = next(u for u in found.without_body if u.score == pytest.approx(0.4))
    np.testing.assert_allclose(by_multipose.box, [40, 260, 120, 340])
    assert all((u.box[2:] > u.box[:2]).all() for u in found.without_body)


def test_behind_people_of_a_frame_is_searched_where_multipose_sees_somebody(monkeypatch) -> None:
    one, behind = person_at(300), person_at(500)
    frame = Pyramid(np.zeros((600, 1200, 3), np.uint8))
    looked_at = scripted(monkeypatch)
    assert look_behind(Scripted(1), frame, [one]) == []
    assert looked_at == []
    lone = Proposal(Region(500.0, 300.0, 400.0), 0.4, 0, multipose=True)
    looked_at = scripted(monkeypatch, [(one, 4.0), (behind, 0.7)], [], behind=[lone])
    (found,) = look_behind(Scripted(1), frame, [one])
    np.testing.assert_array_equal(found.pose.points, behind.pose.points)
    assert found.probability == pytest.approx(1 / (1 + np.exp(-0.7)))
    assert len(looked_at) == 2
    assert frame not in looked_at


@pytest.fixture(scope="module")
def one_behind_the_other() -> tuple[np.ndarray, np.ndarray]:
    """An image of a body with another one half hidden behind it, and their landmarks (2, 33, 2)."""
    body = default_body()
    turns = torch.zeros(2, len(SMPL24), 3)
    for person, (left, right) in enumerate(((-1.2, 1.2), (0.6, -0.3))):
        turns[person, SMPL24.indices(("left_shoulder", "right_shoulder")), 2] = torch.tensor([left, right])
    rotations = axis_angle_to_matrix(turns)
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    betas, trans = torch.zeros(2, body.shape_count), torch.tensor([[0.0, -0.05, 3.6], [0.4, -0.05, 4.8]])
    posed = body.pose(rotations, betas, trans)
    assert posed.vertices is not None
    view = Camera(900.0, (320.0, 300.0), (640, 600))
    tones = ((0.75, 0.6, 0.5), (0.35, 0.45, 0.7))
    surfaces = [Surface(vertices, body.faces, tone) for vertices, tone in zip(posed.vertices, tones, strict=True)]
    y, x = np.mgrid[:600, :640]
    image = np.stack([90 + 40 * np.sin(x / 90), 110 + 30 * np.cos(y / 70), 120 + 0 * x], -1).round().astype(np.uint8)
    draw_people(image, surfaces, view)
    return image, view.project(body.pose_landmarks("blazepose33", posed, betas).numpy())


@pytest.mark.extensive
def test_somebody_half_hidden_behind_another_person_is_found(thorough, one_behind_the_other) -> None:
    image, truth = one_behind_the_other
    people = thorough.detect(image)
    assert [person.not_fitted for person in people] == ["", ""]
    for person, points in zip(people, truth, strict=True):  # the one in front is larger
        assert np.median(np.linalg.norm(person.keypoints[:, :2] - points, axis=1)) < 6
    with ModelPool(1) as pool:
        assert len(search(pool, Pyramid(image), SCHEMES["thorough"])) == 1  # as it was without a second look
