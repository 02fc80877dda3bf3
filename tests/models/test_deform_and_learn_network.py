"""A trained network of deform-and-learn on the people of images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.deform_weights import IMAGE, POSE, bent_pose, deform_weights
from helpers.errors import raises
from helpers.painted_people import painted_cache

from humanpose_cli.body.body import default_body
from humanpose_cli.body.scaled_body import ScaledBody, in_image
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import COCO17
from humanpose_cli.core.errors import InputError
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.lab.recipes.deform_and_learn.recipe import _Inputs
from humanpose_cli.lab.recipes.people import JoinedPeople, split_people
from humanpose_cli.models.deform_and_learn.network import DeformNetwork, load_deform_network
from humanpose_cli.models.deform_and_learn.regressor import BodyRegressor
from humanpose_cli.networks.weights import WeightsHeader, write_weights

CAMERA = Camera.of_image((640, 480), 2000.0)


def person_in(box) -> DetectedPerson:
    keypoints = np.concatenate((np.random.default_rng(0).uniform(100, 300, (33, 2)), np.full((33, 1), 0.9)), 1)
    return DetectedPerson(
        box=np.array(box, np.float32),
        keypoints=keypoints.astype(np.float32),
        world=None,
        spread=np.ones(33),
        world_spread=None,
        mask=None,
        score=0.9,
    )


@pytest.mark.parametrize("options", [POSE, IMAGE])
def test_people_are_shown_to_the_network_as_in_training(tmp_path, options):
    people = JoinedPeople.of(split_people(painted_cache(tmp_path / "cache", count=5), ["box"])[0])
    inputs = _Inputs(people, options)
    network = DeformNetwork(BodyRegressor(options), default_body())
    for number in range(2):
        shown = people.example(number, ())
        person = replace(person_in(people.column("box")[number]), keypoints=people.column("detected")[number])
        (prepared,) = network.prepare(shown.image, [person], Camera(shown.focal, shown.principal_point))
        expected = inputs(number, np.random.default_rng(0))
        np.testing.assert_allclose(prepared.inputs, expected, atol=1e-5)
        assert expected.std() > 0.1


def test_bodies_project_to_where_the_network_sees_them(tmp_path):
    network = load_deform_network(deform_weights(tmp_path / "w.safetensors"), body=default_body())
    people = [person_in((200, 180, 240, 260)), person_in((500, 30, 560, 130))]
    found = network.finish(network.prepare(np.zeros((480, 640, 3), np.uint8), people, CAMERA))
    pose, body = bent_pose(), ScaledBody(default_body())
    joints = in_image(body.points(pose, body.landmarks("smpl24")), pose)[0, :, :2].numpy()
    for person, estimate in zip(people, found, strict=True):
        low, high = person.box[:2], person.box[2:]
        # The box's longer side takes 0.86 of the crop, whose half is the unit.
        expected = (low + high) / 2 + joints * (high - low).max() / (2 * 0.86)
        apart = np.linalg.norm(CAMERA.project(estimate.joints) - expected, axis=-1)
        assert apart.max() < 0.01 * (high - low).max()
        np.testing.assert_allclose(estimate.segment_scales, pose.segment_scales[0], atol=1e-3)
        assert estimate.joints[0, 2] == pytest.approx(2000 / (0.9 * (high - low).max() / 1.72), rel=0.03)
        assert (estimate.betas == 0).all()
        assert estimate.noise is None
    assert network.finish([]) == []


@pytest.mark.extensive
def test_scales_that_no_registration_may_have_are_limited(tmp_path):
    wild = bent_pose()
    wild.segment_scales[0, :2] = torch.tensor([-3.0, 9.0])
    network = load_deform_network(deform_weights(tmp_path / "w.safetensors", wild), body=default_body())
    (found,) = network.finish(network.prepare(np.zeros((480, 640, 3), np.uint8), [person_in((9, 9, 99, 199))], CAMERA))
    assert found.segment_scales[:2].tolist() == [0.5, 2.0]


def test_which_people_a_network_takes():
    person = person_in((9, 9, 99, 199))
    coco = replace(person, keypoints=np.zeros((17, 3), np.float32), skeleton=COCO17)
    for options, expected in ((POSE, [True, False]), (IMAGE, [True, True])):
        network = DeformNetwork(BodyRegressor(options), default_body())
        assert [network.takes(each) for each in (person, coco)] == expected


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (WeightsHeader("nbf", {"body": "default"}), {"problem": "another model", "got": "nbf"}),
        (WeightsHeader("deform-and-learn", {"body": "default"}), {"problem": "no BodyRegressorOptions"}),
        (WeightsHeader("deform-and-learn", {"body": "smpl"}), {"problem": "another body", "remedy": "`body`"}),
        (WeightsHeader("deform-and-learn", ["body"]), {"problem": "no weights file of hpc"}),
    ],
)
def test_other_weights_are_refused(tmp_path, header, error):
    write_weights(tmp_path / "w", {}, header)
    with raises(InputError, **error):
        load_deform_network(tmp_path / "w", body=default_body())
