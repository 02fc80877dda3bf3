"""`--method deform-and-learn`: a trained network's bodies as a fit, and as the start of `--method register`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.deform_weights import POSE, bent_pose, deform_weights
from helpers.errors import raises
from helpers.reference_people import ReferencePeople, true_person

from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import COCO17
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import FitOptions, NetworkOptions
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import read_fit
from humanpose_cli.io.inputs import Frame
from humanpose_cli.models.deform_and_learn import network
from humanpose_cli.models.deform_and_learn.regressor import BodyRegressor, BodyRegressorOptions


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return str(deform_weights(tmp_path_factory.mktemp("network") / "deform.safetensors"))


@pytest.fixture
def unrefined(monkeypatch) -> None:
    """Bodies are those that the network predicts."""
    monkeypatch.setattr(network, "refine_predictions", lambda body, pose, landmarks: pose)


def deform_fitter(people, weights, **options) -> Fitter:
    return Fitter(method="deform-and-learn", weights=weights, people_source=people, **options)


@pytest.mark.slow
@pytest.mark.usefixtures("unrefined")
def test_an_image_has_the_predicted_bodies_of_all_its_people(clip, weights, tmp_path):
    people = ReferencePeople({0: [true_person(clip, 0), true_person(clip, 1, shift=250)]})
    with deform_fitter(people, weights, focal=clip.focal) as fitter:
        fit = fitter.fit_image(np.zeros((*clip.size, 3), np.uint8))
    assert fit.track_id.tolist() == [0, 1]
    assert (fit.options.method, fit.options.settings["network"]) == ("deform-and-learn", fitter.network_identity)
    assert len(fitter.network_identity) == 16
    pose = bent_pose()
    np.testing.assert_allclose(fit.segment_scales, pose.segment_scales.expand(2, -1), atol=1e-3)
    np.testing.assert_allclose(fit.poses[:, 3:], pose.axis_angles.flatten(1).expand(2, -1), atol=1e-3)
    assert (fit.betas == 0).all()
    centre = np.array(clip.size[::-1]) / 2
    pixels = fit.joints3d[..., :2] / fit.joints3d[..., 2:] * clip.focal + centre
    np.testing.assert_allclose(pixels, fit.joints2d, atol=0.01)
    low, high = fit.boxes[:, :2], fit.boxes[:, 2:]
    pelvis = (low + high) / 2 + (high - low).max(1, keepdims=True) / 1.72 * pose.translation.numpy()
    np.testing.assert_allclose(fit.joints2d[:, 0], pelvis, atol=0.02 * (high - low).max())
    assert (fit.reprojection_error > 5).all()
    assert ((fit.confidence > 0) & (fit.confidence < 1)).all()
    read = read_fit(fit.save(tmp_path / "a.fit.npz"))
    poses, *shaped = (torch.from_numpy(values) for values in (read.poses, read.betas, read.trans, read.segment_scales))
    posed = fitter.body.pose(axis_angle_to_matrix(poses.unflatten(1, (24, 3))), *shaped, vertices=False)
    np.testing.assert_allclose(posed.joints.numpy(), read.joints3d, atol=1e-4)


@pytest.mark.slow
def test_a_fit_is_refined_by_its_landmarks(clip, weights, monkeypatch):
    """The body comes to the detected landmarks, of other detectors to those of the same names."""
    person = true_person(clip, 0)
    coco = np.zeros((17, 3), np.float32)
    names = [name for name in COCO17.joint_names if name in person.skeleton]
    coco[COCO17.indices(names)] = person.keypoints[person.skeleton.indices(names)]
    calls = []
    monkeypatch.setattr(network, "refine_predictions", lambda body, pose, landmarks: calls.append(landmarks) or pose)

    def reprojection_error() -> float:
        with deform_fitter(ReferencePeople({0: [person]}), weights, focal=clip.focal) as fitter:
            return float(fitter.fit_image(np.zeros((*clip.size, 3), np.uint8)).reprojection_error[0])

    before = reprojection_error()
    monkeypatch.undo()
    assert reprojection_error() < 0.3 * before
    deform = network.DeformNetwork(BodyRegressor(BodyRegressorOptions(18, 4, 32)), default_body())
    image, camera = np.zeros((*clip.size, 3), np.uint8), Camera.of_image(clip.size[::-1], clip.focal)
    (prepared,) = deform.prepare(image, [replace(person, keypoints=coco, skeleton=COCO17)], camera)
    rows = person.skeleton.indices(names)
    np.testing.assert_allclose(prepared.landmarks[rows], calls[0][0][rows], atol=1e-6)
    assert prepared.landmarks[:, 2].sum() == coco[:, 2].sum()


@pytest.mark.extensive
def test_a_person_of_a_sequence_has_one_set_of_scales(clip, tmp_path, monkeypatch):
    """The mean of what each frame says, at the size that they have in the image."""
    from humanpose_cli.models.deform_and_learn.network import DeformNetwork

    finish, said = DeformNetwork.finish, []

    def changing(self, people):
        found = finish(self, people)
        for _ in found:
            said.append(1 + 0.1 * len(said))
        first = len(said) - len(found)
        return [replace(e, segment_scales=np.full(24, said[first + i], np.float32)) for i, e in enumerate(found)]

    monkeypatch.setattr(DeformNetwork, "finish", changing)
    frames = [Frame(i, str(i), np.zeros((*clip.size, 3), np.uint8)) for i in range(3)]
    people = ReferencePeople({t: [true_person(clip, t)] for t in range(3)})
    weights = str(deform_weights(tmp_path / "w.safetensors"))
    with deform_fitter(people, weights, focal=clip.focal) as fitter:
        fit = fitter.fit_sequence(frames)
    np.testing.assert_allclose(fit.segment_scales, 1.1, atol=1e-6)
    assert fit.interpolated.tolist() == [False, False, False]
    assert np.ptp(fit.joints2d[:, 15, 1] - fit.joints2d[:, 7, 1]) < 0.1 * clip.size[0]


@pytest.mark.extensive
def test_frames_in_which_a_person_is_missed_have_no_row(clip, weights):
    """There is no prediction to show, and nothing is interpolated."""
    frames = [Frame(i, str(i), np.zeros((*clip.size, 3), np.uint8)) for i in range(4)]
    people = ReferencePeople({t: [true_person(clip, t)] for t in (0, 1, 3)})
    with deform_fitter(people, weights, focal=clip.focal) as fitter:
        fit = fitter.fit_sequence(frames)
    assert fit.frame_index.tolist() == [0, 1, 3]
    assert not fit.interpolated.any()


@pytest.mark.slow
def test_people_without_landmarks(clip, weights, tmp_path):
    person = true_person(clip, 0)
    names = [name for name in COCO17.joint_names if name in person.skeleton]
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[COCO17.indices(names)] = person.keypoints[person.skeleton.indices(names)]
    source = ReferencePeople(
        {0: [replace(person, keypoints=keypoints, world=None, world_spread=None, skeleton=COCO17)]}
    )
    image = np.zeros((*clip.size, 3), np.uint8)
    of_landmarks = str(deform_weights(tmp_path / "pose.safetensors", options=POSE))
    with deform_fitter(source, of_landmarks) as fitter, raises(InputError, remedy="`method=keypoints`"):
        fitter.fit_image(image)
    with deform_fitter(source, weights, focal=clip.focal) as fitter:
        assert len(fitter.fit_image(image)) == 1


def test_what_does_not_go_together_is_refused(weights, tmp_path):
    with raises(UsageError, subject="weights", problem="are missing", expected="a run of hpc train deform-and-learn"):
        FitOptions(method="deform-and-learn")
    with raises(UsageError, subject="segmenter", problem="has no effect with `method=deform-and-learn`"):
        FitOptions(method="deform-and-learn", network=NetworkOptions(weights, weights))
    with raises(UsageError, subject="weights", problem="have no effect with `method=keypoints`"):
        FitOptions(method="keypoints", network=NetworkOptions(weights))
    with raises(UsageError, subject="segmenter", problem="has no effect with `method=keypoints`"):
        FitOptions(method="keypoints", network=NetworkOptions("", weights))
    for method in ("auto", "nbf"):
        with raises(InputError, expected="nbf", got="deform-and-learn", remedy="`method=deform-and-learn`"):
            Fitter(method=method, weights=weights)
    with raises(
        InputError, problem="holds another model", expected="deform-and-learn", got="nbf", remedy="`method=nbf`"
    ):
        Fitter(method="deform-and-learn", weights="nbf-proxy")
    with raises(InputError, problem="holds another model", expected="deform-and-learn", got="warp3d"):
        Fitter(method="deform-and-learn", weights="warp3d")
    other = deform_weights(tmp_path / "smpl.safetensors", body="smpl-neutral")
    with raises(InputError, problem="another body", expected="smpl-neutral", got="default", remedy="`body`"):
        Fitter(method="deform-and-learn", weights=other)
    run = tmp_path / "run"
    (run / "round-1").mkdir(parents=True)
    with raises(
        InputError,
        problem="holds no weights",
        expected="best.safetensors or last.safetensors",
        remedy="after its first round",
    ):
        Fitter(method="deform-and-learn", weights=run)
