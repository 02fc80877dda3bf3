"""Evaluation of a network of deform-and-learn: a T pose against people whose errors are known, and its images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.deform_weights import deform_weights
from helpers.errors import raises
from helpers.painted_people import PaintedPeople
from helpers.smpl_model_file import random_smpl_fields, write_smpl_pickle

from humanpose_cli.body.body import default_body
from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose
from humanpose_cli.body.smpl import load_smpl
from humanpose_cli.core.conventions import H36M17, SMPL24
from humanpose_cli.core.errors import InputError, InterruptedRun, UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.samples import SourceInfo
from humanpose_cli.lab.evaluate import deform_and_learn
from humanpose_cli.lab.evaluate.deform_and_learn import EvaluatedJoints, evaluate_regressor, scaled_body_panel
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.protocols import PROTOCOLS
from humanpose_cli.lab.metrics.joints import JointRegressor
from humanpose_cli.lab.recipes.deform_and_learn.measure import line_of_sight
from humanpose_cli.lab.recipes.people import JoinedPeople

pytestmark = pytest.mark.slow

COUNT = 6


class MeasuredPeople(PaintedPeople):
    """Human3.6M's test people: T poses that look at the camera, the left wrist of person k 17 k mm too near to it."""

    @property
    def info(self):
        return SourceInfo("h36m", {"every": 5})

    def sample(self, group, frame):
        sample, body = super().sample(group, frame), ScaledBody(default_body())
        joints = body.points(ScaledPose.t_pose(1), body.landmarks("h36m17"))[0].numpy()
        joints[H36M17.index("left_wrist"), 2] -= 0.017 * group.key
        position = np.array([[0.4 * group.key, 1.0, 4.0]])  # the camera sees the same of people anywhere in the image
        joints = (joints - joints[0]) @ line_of_sight(position)[0].numpy().T + position
        labelled = np.concatenate((joints, np.ones((17, 1), np.float32)), 1)
        person = replace(sample.people[0], joints={"h36m17": labelled})
        return replace(sample, people=(person,), splits={"deform-and-learn": "test"})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured") / "cache"
    assert not build_cache(MeasuredPeople(count=COUNT), folder).failures
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Weights that predict T poses, as if learned from SMPL's joints."""
    path = tmp_path_factory.mktemp("weights") / "t-pose.safetensors"
    return str(deform_weights(path, ScaledPose.t_pose(1)))


def evaluated(cache, network, **options):
    return evaluate_regressor(EvaluationRun(PeopleSelection(cache, **options)), network)


@pytest.mark.extensive
def test_table_1_stands_beside_human36m_alone(cache, network):
    report = evaluated(cache, network)
    mpjpe = report.metrics["mpjpe_mm"]
    assert (mpjpe.n, mpjpe.value, mpjpe.median) == (COUNT, pytest.approx(2.5, abs=2e-3), pytest.approx(2.5, abs=2e-3))
    assert [table.name for table in report.tables] == ["joints", "figures"]
    published = evaluated(cache, network, protocol="h36m-deform-and-learn")
    table = published.tables[1]
    rows = PROTOCOLS["h36m-deform-and-learn"].rows
    assert [(row[0], *row[1:]) for row in table.rows[:-3]] == [(name, *figures) for name, figures in rows.items()]
    refined = report.metrics["refined_mpjpe_mm"]
    assert table.rows[-2:] == [["this network", mpjpe.value], ["this network, refined", refined.value]]
    assert published.facts["protocol"].startswith("h36m-deform-and-learn, version 1, after Yoshiyasu and Gamez")
    assert report.facts["joints"] == "h36m17, landmarks of the body"
    part = evaluated(cache, network, protocol="h36m-deform-and-learn", limit=3)
    assert part.metrics["mpjpe_mm"].n == 3
    assert [row[0] for row in part.tables[1].rows] == ["constant pose", "this network", "this network, refined"]


@pytest.mark.extensive
def test_predictions_are_evaluated_before_and_after_refinement(cache, network, tmp_path, monkeypatch):
    """By the detections of the cache in the crops of their boxes; of people without detections before it alone."""
    calls = []

    def turned_away(body, pose, landmarks):
        calls.append(landmarks)
        return turned_right(body)._replace(scale=torch.ones(1)).rows(torch.zeros(len(landmarks), dtype=torch.long))

    monkeypatch.setattr(deform_and_learn, "refine_predictions", turned_away)
    report = evaluated(cache, network)
    assert [row[0] for row in report.tables[0].rows] == ["constant pose", "this network", "this network, refined"]
    assert report.metrics["mpjpe_mm"].value == report.tables[0].rows[1][1] == pytest.approx(2.5, abs=2e-3)
    assert report.metrics["refined_mpjpe_mm"].value == report.tables[0].rows[2][1] > 200
    people, detected = JoinedPeople.of(PeopleSelection(cache).labelled("box")), calls[0].numpy()
    low, high = np.split(people.column("box"), 2, 1)
    expected = (people.column("detected")[..., :2] - ((low + high) / 2)[:, None]) * 2 * 0.86
    expected /= (high - low).max(1)[:, None, None]
    np.testing.assert_allclose(detected[..., :2], expected, atol=1e-4)
    assert report.images["quartiles.jpg"][1].count("before and after refinement") == 1
    alone = tmp_path / "alone"
    build_cache(MeasuredPeople(count=3, lacks=("detected",)), alone)
    report = evaluated(alone, network)
    assert [row[0] for row in report.tables[0].rows] == ["constant pose", "this network"]
    assert report.tables[0].notes[-1] == "Not refined: the cache has no detections."
    assert list(report.metrics) == ["mpjpe_mm", "pa_mpjpe_mm", "constant_mpjpe_mm", "constant_pa_mpjpe_mm"]


def test_what_cannot_be_evaluated_is_refused(cache, network, tmp_path):
    matrix = np.eye(17, 6890, dtype=np.float32)
    np.save(tmp_path / "J.npy", matrix)
    with raises(UsageError, problem="is for another mesh", expected="6890 vertices of SMPL"):
        evaluated(cache, network, regressor=tmp_path / "J.npy")
    with pytest.raises(InterruptedRun):
        evaluate_regressor(EvaluationRun(PeopleSelection(cache), stop=lambda: True), network)
    folder = tmp_path / "painted"
    build_cache(PaintedPeople(count=5, lacks=("joints",)), folder)
    with raises(InputError, problem="has no true joints", expected="joints/smpl24"):
        evaluated(folder, network)


@pytest.mark.extensive
def test_regressed_joints_are_those_of_the_posed_mesh(tmp_path):
    """The regressor on rows of the body is the regressor on its vertices, with the legs where Human3.6M has them."""
    rig = load_smpl(write_smpl_pickle(tmp_path / "smpl.pkl", random_smpl_fields()))
    names = JointRegressor(torch.zeros(0)).names
    matrix = np.zeros((17, 6890), np.float32)
    for row, name in enumerate(names):  # a dozen vertices of the joint, or of a part in the middle of the body
        owner = SMPL24.index(name) if name in SMPL24 else SMPL24.index("spine2")
        matrix[row, owner + 24 * np.arange(12)] = 1 / 12
    np.save(tmp_path / "J.npy", matrix)
    body = ScaledBody(rig)
    joints = EvaluatedJoints.of_regressor(body, tmp_path / "J.npy")
    random = torch.Generator().manual_seed(0)
    pose = ScaledPose.from_vector(ScaledPose.t_pose(3).vector + 0.1 * torch.randn(3, 105, generator=random))
    found, vertices = body.points(pose, joints.rows), body.points(pose, body.vertices())
    expected = (torch.from_numpy(matrix) @ vertices)[:, [names.index(name) for name in H36M17.joint_names]]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert joints.skeleton is H36M17


def turned_right(body):
    """A T pose that looks to the image's right, its left arm down."""
    pose = ScaledPose.t_pose(1)
    facing = axis_angle_to_matrix(torch.tensor([0.0, -torch.pi / 2, 0.0])) @ pose.orientation.view(3, 3)
    angles = pose.axis_angles.clone()
    angles[0, SMPL24.index("left_shoulder") - 1] = torch.tensor([0.0, 0.0, -1.3])
    return pose._replace(orientation=facing.flatten()[None], axis_angles=angles, scale=torch.tensor([0.8]))


def test_a_panel_shows_the_body_from_the_image_and_from_its_right(cache):
    """Whoever looks to the image's right is seen from the front from there, with the left hand on the right."""
    people = JoinedPeople.of(PeopleSelection(cache).labelled("box"))
    body = ScaledBody(default_body())
    joints, pose = EvaluatedJoints.of_landmarks(body, H36M17), turned_right(body)
    look = body.points(pose, body.landmarks("h36m17"))[0]
    assert look[H36M17.index("nose"), 0] > 0.05 > abs(look[H36M17.index("nose"), 2])
    pose = ScaledPose(*(value.expand(COUNT, *value.shape[1:]) for value in pose))
    panel = scaled_body_panel(people, joints, [pose], 2)
    assert panel.shape == (224, 672, 3)
    both = scaled_body_panel(people, joints, [ScaledPose.t_pose(COUNT), pose], 2)
    assert both.shape == (224, 896, 3)
    assert np.array_equal(both[:200, 448:], panel[:200, 224:]), "the last is the one from the side"
    person, found, side = np.split(panel, 3, 1)
    drawn = (found != person).any(-1)[:200]
    side_mask = (side != side[0, 0]).any(-1)[:200]
    width = [np.ptp(np.flatnonzero(mask.any(0))) for mask in (drawn, side_mask)]
    assert width[1] > 1.3 * width[0]
    left, right = side_mask[:, :112].any(0).sum(), side_mask[:, 112:].any(0).sum()
    assert left > 1.3 * right, "the arm that hangs down is on the right"
