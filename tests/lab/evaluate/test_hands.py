"""Errors of hands: none for the truth, and what was changed for changes."""

from dataclasses import replace
from math import radians

import numpy as np
import pytest
import torch
from helpers.painted_people import PaintedPeople

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import FINGERS, HAND21, SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.samples import LabellingSource
from humanpose_cli.lab.evaluate import hands
from humanpose_cli.lab.evaluate.bodies import PredictedBody, fits_report, measure_fits
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.metrics.bodies import Bodies
from humanpose_cli.lab.synthetic.hands import sample_hands

pytestmark = pytest.mark.slow
INDEX2 = FINGERS.index("index2")
ELBOW, WRIST = SMPL24.indices(["left_elbow", "left_wrist"])


class WithHands(LabellingSource):
    """Painted people with hands."""

    def label(self, sample):
        fingers = sample_hands(np.random.default_rng(sample.people[0].poses.tobytes()[0]))
        return replace(sample, people=[replace(person, hand_poses=fingers) for person in sample.people])


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hands") / "cache"
    build_cache(WithHands(PaintedPeople(count=30)), folder)
    return PeopleSelection(folder).people("joints")


@pytest.fixture(autouse=True)
def small_hands(monkeypatch):
    monkeypatch.setattr(hands, "_MIN_SIZE", 2.0)


def figures(people, change=lambda poses, fingers: None, confidence=(1.0, 1.0)):
    """The figures of the true bodies, whose poses (24, 3, 3) and fingers (2, 15, 3, 3) are changed."""

    def fit(row):
        number = int(np.flatnonzero(people.people.images == row)[0])
        poses, betas, trans, box, fingers = (
            people.people.column(name)[number] for name in ("poses", "betas", "trans", "box", "hand_poses")
        )
        turns = [axis_angle_to_matrix(torch.from_numpy(v)) for v in (poses.reshape(24, 3), fingers)]
        change(*turns)
        poses, fingers = (matrix_to_axis_angle(turn).numpy() for turn in turns)
        found = None if confidence is None else (fingers, np.array(confidence))
        return [PredictedBody(poses.reshape(72), betas, trans, box, hands=found)]

    fits = measure_fits(people, fit, default_body())
    assert "hands" in {table.name for table in fits_report(people, fits, {}).tables}
    return fits.hands


def turned(angle, axis):
    return axis_angle_to_matrix(torch.tensor(np.multiply(axis, angle), dtype=torch.float32))


def test_the_truth_has_no_errors(people):
    summaries = figures(people)
    assert summaries["hands_found"].n == summaries["hand_mm"].n > len(people) / 2
    values = [summaries[name].value for name in ("hands_found", "hand_mm", "finger_deg", "forearm_deg")]
    np.testing.assert_allclose(values, (1, 0, 0, 0), atol=0.06)


def test_a_bent_finger_is_an_error_of_its_joint_alone(people):
    def bend(poses, fingers):
        fingers[:, INDEX2] = fingers[:, INDEX2] @ turned(0.5, (0, 0, 1))

    summaries = figures(people, bend)
    assert summaries["finger_deg"].value == pytest.approx(np.rad2deg(0.5) / 15, abs=0.02)
    assert 0.5 < summaries["hand_mm"].value < 2  # two of 20 points, by up to 0.5 · 45 mm
    assert summaries["forearm_deg"].value == pytest.approx(0, abs=0.05)


def test_fingers_follow_the_knuckles_and_the_thumb_the_wrist():
    turns = torch.eye(3).repeat(2, 24, 1, 1)
    turns[1, SMPL24.index("left_hand")] = turned(0.5, (0, 0, -1))
    bodies = Bodies(turns, torch.zeros(2, 10), torch.zeros(2, 3))
    before, after = hands.hand_points(default_body(), bodies, torch.eye(3).expand(2, 2, 15, 3, 3))
    moved = (after - before).norm(dim=-1) > 0.01
    tips = HAND21.indices([f"{finger}4" for finger in ("index", "middle", "ring", "pinky")])
    assert moved[0, tips].all()
    assert not moved[0, :5].any()
    assert not moved[1].any()


def test_a_twisted_forearm_is_an_error_of_the_forearm(people):
    def twist(poses, fingers):  # and back at the wrist
        poses[ELBOW] = poses[ELBOW] @ turned(radians(40), (1, 0, 0))
        poses[WRIST] = turned(radians(-40), (1, 0, 0)) @ poses[WRIST]

    summaries = figures(people, twist, (1.0, 0.0))
    assert summaries["forearm_deg"].median == pytest.approx(40, abs=0.05)
    assert summaries["hand_mm"].value == pytest.approx(0, abs=0.02)
    assert 0.3 < summaries["hands_found"].value < 0.7, "right hands are not found"


def test_fits_without_hands_have_those_of_the_template(people):
    summaries = figures(people, confidence=None)
    assert summaries["hands_found"].n == 0
    assert summaries["hand_mm"].n == figures(people)["hand_mm"].n
    assert summaries["hand_mm"].value > 5
