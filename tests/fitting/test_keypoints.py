"""The keypoint fit on bodies whose pose is known: recovery, noise, outliers, missing parts, independence of rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.extensive import extensive

from humanpose_cli.body.joint_angles import limit_excess, rotations_to_angles
from humanpose_cli.body.limb_rotations import BODY_FACING_CAMERA, neutral_rotations
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.fitting import evidence, keypoints, problem
from humanpose_cli.fitting.keypoints import KeypointFit, fit_keypoints
from humanpose_cli.fitting.observations import KeypointObservations
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.geometry.least_squares import SolverOptions
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.metrics.bodies import mpjpe, pa_mpjpe

ARRAYS = ("poses", "betas", "trans", "joints3d", "joints2d", "confidence", "joint_confidence", "reprojection_error")


@pytest.fixture
def trusting(monkeypatch) -> KeypointFitOptions:
    """Evidence is perfect: priors hardly count, the world's size is known, nobody has to guess depth."""
    variance = evidence.landmark_variance
    monkeypatch.setattr(evidence, "landmark_variance", lambda *landmarks: 0.02**2 * variance(*landmarks))
    monkeypatch.setattr(evidence, "_MIN_NOISE", 0.01)
    monkeypatch.setattr(evidence, "_BONE_NOISE", (0.002, 0.002, 0.002))
    monkeypatch.setattr(problem, "SCALE_NOISE", 1e-3)
    monkeypatch.setattr(problem, "ROBUST", 100.0)
    monkeypatch.setattr(problem, "default_prior", lambda: None)
    monkeypatch.setattr(keypoints, "_FINE", SolverOptions(iterations=60, tolerance=1e-6))
    return KeypointFitOptions(shape_noise=1.0, lift=False, lean_noise=10.0)


def rotations_of(fit: KeypointFit) -> torch.Tensor:
    return axis_angle_to_matrix(torch.from_numpy(fit.poses).unflatten(-1, (24, 3)))


def limbs(*names: str) -> list[int]:
    return SMPL24.indices(f"{side}_{name}" for name in names for side in ("left", "right"))


LIMBS = limbs("shoulder", "elbow", "wrist", "hip", "knee", "ankle")


@pytest.mark.extensive
def test_exact_landmarks_give_the_body_back(body, library_scene, trusting):
    scene = library_scene(8, depth=3.0)
    fit = fit_keypoints(body, scene.observations, trusting)
    error = np.linalg.norm(fit.joints3d - scene.joints, axis=-1)[:, LIMBS]
    assert error.mean() < 0.003
    assert error.max() < 0.012
    assert np.abs(fit.reprojection_error).max() < 0.1
    assert (fit.confidence > 0.9).all()


@pytest.mark.slow
def test_the_arrays_describe_one_body(body, library_scene):
    scene = library_scene(3)
    fit = fit_keypoints(body, scene.observations)
    posed = body.pose(rotations_of(fit), torch.from_numpy(fit.betas), torch.from_numpy(fit.trans), vertices=False)
    assert np.allclose(posed.joints.numpy(), fit.joints3d, atol=1e-4)
    observed = scene.observations
    focal, centre = (values[:, None].numpy() for values in (observed.focal, observed.principal_point))
    pixels = focal[..., None] * fit.joints3d[..., :2] / fit.joints3d[..., 2:] + centre
    assert np.allclose(pixels, fit.joints2d, atol=0.05)
    assert {name: getattr(fit, name).dtype for name in ARRAYS} == dict.fromkeys(ARRAYS, np.dtype(np.float32))


@pytest.mark.slow
def test_a_left_hand_raised_in_front_of_the_camera_is_a_left_hand(body, scene_of_bodies):
    """Pins the conventions: a person facing the camera raises the left hand, which appears on the right."""
    rotations = neutral_rotations().float()[None].clone()
    rotations[0, 0] = BODY_FACING_CAMERA.float()
    rotations[0, SMPL24.index("left_shoulder")] = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.9]))
    scene = scene_of_bodies(rotations, torch.zeros(1, 10))
    fit = fit_keypoints(body, scene.observations)
    left, right, head = (fit.joints2d[0, SMPL24.index(name)] for name in ("left_wrist", "right_wrist", "head"))
    assert left[0] > right[0] + 100
    assert left[1] < head[1] < right[1]
    assert fit.joints3d[0, :, 2].min() > 2


@pytest.mark.slow
def test_outliers_are_outvoted(body, library_scene):
    scene = library_scene(4, seed=2)
    clean = fit_keypoints(body, scene.observations)
    keypoints = scene.observations.keypoints.numpy().copy()
    wrong = BLAZEPOSE33.indices(("left_ear", "right_heel", "left_index"))
    keypoints[:, wrong] += [180.0, -140.0]
    fit = fit_keypoints(body, scene.changed(keypoints=keypoints))
    assert mpjpe(fit.joints3d, clean.joints3d, LIMBS).max() < 0.05
    head = SMPL24.index("head")
    assert (np.linalg.norm(fit.joints2d[:, head] - clean.joints2d[:, head], axis=-1) < 30).all()


@pytest.mark.slow
@pytest.mark.parametrize("world", [True, False])
def test_hidden_legs_stand_neutrally(body, scene_of_bodies, world):
    """A half figure: no leg landmark was seen; the legs stay near a relaxed stance and inside the limits."""
    rotations = neutral_rotations().float()[None].clone()
    rotations[0, 0] = BODY_FACING_CAMERA.float()
    scene = scene_of_bodies(rotations, torch.zeros(1, 10))
    confidence = np.ones((1, 33))
    legs = [n for n in BLAZEPOSE33.joint_names if any(part in n for part in ("knee", "ankle", "heel", "foot"))]
    confidence[:, BLAZEPOSE33.indices(legs)] = 0
    observations = scene.changed(confidence=confidence, world=scene.observations.world if world else None)
    fit = fit_keypoints(body, observations)
    assert all(np.isfinite(getattr(fit, name)).all() for name in ARRAYS)
    assert np.linalg.norm(fit.joints3d - scene.joints, axis=-1)[:, limbs("knee", "ankle")].max() < 0.25
    assert limit_excess(rotations_to_angles(rotations_of(fit))).abs().max() < 0.044
    assert fit.joint_confidence[0, limbs("knee", "ankle", "foot")].max() < 0.15
    assert fit.joint_confidence[0, limbs("shoulder", "elbow", "wrist")].min() > 0.4
    assert fit.confidence[0] < 0.8


@pytest.mark.slow
def test_a_hidden_limb_takes_the_pose_of_the_other(body, scene_of_bodies):
    rotations = neutral_rotations().float()[None].clone()
    rotations[0, 0] = BODY_FACING_CAMERA.float()
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rotations[0, SMPL24.index(f"{side}_shoulder")] = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.2 * sign]))
    scene = scene_of_bodies(rotations, torch.zeros(1, 10))
    confidence = np.ones((1, 33))
    arm = [f"left_{name}" for name in ("elbow", "wrist", "pinky", "index", "thumb")]
    confidence[:, BLAZEPOSE33.indices(arm)] = 0
    fit = fit_keypoints(body, scene.changed(confidence=confidence))
    left = SMPL24.indices(("left_elbow", "left_wrist"))
    assert np.linalg.norm(fit.joints3d - scene.joints, axis=-1)[0, left].max() < 0.15


@pytest.mark.extensive
@pytest.mark.parametrize("turn", [(0.0, 0.0, np.pi), (0.0, 0.0, np.pi / 2), (np.pi / 2, 0.0, 0.0), (0.0, 2.2, 0.0)])
def test_people_upside_down_lying_and_from_behind(body, scene_of_bodies, turn):
    rotations = neutral_rotations().float()[None].clone()
    rotations[0, 0] = axis_angle_to_matrix(torch.tensor(turn, dtype=torch.float32)) @ BODY_FACING_CAMERA.float()
    scene = scene_of_bodies(rotations, torch.zeros(1, 10))
    fit = fit_keypoints(body, scene.observations)
    assert mpjpe(fit.joints3d, scene.joints, LIMBS)[0] < 0.06


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "focal"), [(1.6, 500.0), *extensive((4.0, 500.0), (60.0, 1200.0), (4.0, 8000.0), (300.0, 90000.0))]
)
def test_near_far_wide_and_long(body, library_scene, depth, focal):
    """From 40 pixels to several images high. Where depth is perfect the lifter can only take something off."""
    scene = library_scene(3, seed=3, depth=depth, focal=focal)
    shapes = KeypointFitOptions(shape_noise=1.0)
    fit = fit_keypoints(body, scene.observations, replace(shapes, lift=False))
    assert pa_mpjpe(fit.joints3d[:, LIMBS], scene.joints[:, LIMBS]).max() < 0.06
    lifted = fit_keypoints(body, scene.observations, shapes)
    assert pa_mpjpe(lifted.joints3d[:, LIMBS], scene.joints[:, LIMBS]).max() < 0.09
    assert lifted.trans[:, 2] == pytest.approx(depth, rel=0.15)
    assert fit.trans[:, 2] == pytest.approx(depth, rel=0.15)


@pytest.mark.extensive
def test_no_bit_depends_on_the_other_rows(body, library_scene, monkeypatch):
    """Neither of what is reported in single precision nor of the solver's state in double precision."""
    states, report = [], keypoints._report
    monkeypatch.setattr(keypoints, "_report", lambda *arguments: states.append(arguments[3]) or report(*arguments))
    scene = library_scene(11, seed=4)
    rng = np.random.default_rng(1)
    noisy = scene.changed(
        keypoints=scene.observations.keypoints.numpy() + rng.normal(scale=6, size=(11, 33, 2)),
        world=scene.observations.world.numpy() + rng.normal(scale=0.08, size=(11, 33, 3)),
    )
    together = fit_keypoints(body, noisy)
    for rows, chunk in (([6], 64), ([3, 9], 64), ([10, 1, 4], 64), (range(11), 8)):
        monkeypatch.setattr(keypoints, "_CHUNK", chunk)
        fit = fit_keypoints(body, noisy.rows(np.array(rows)))
        for name in ARRAYS:
            assert np.array_equal(getattr(fit, name), getattr(together, name)[rows]), name
        for some, complete in zip(states[-1], states[0], strict=True):
            assert torch.equal(some[: len(rows)], complete[list(rows)])


@pytest.mark.slow
def test_coco_keypoints_without_depth(body, library_scene):
    scene = library_scene(6, seed=7, skeleton="coco17")
    fit = fit_keypoints(body, scene.changed(world=None))
    assert fit.reprojection_error.max() < 4
    # 2-D alone leaves depth open; poses are still those of a person, the right way round.
    assert np.median(pa_mpjpe(fit.joints3d[:, LIMBS], scene.joints[:, LIMBS])) < 0.11
    assert limit_excess(rotations_to_angles(rotations_of(fit))).abs().max() < 0.094


@pytest.mark.slow
def test_nothing_visible_is_a_neutral_body_without_confidence(body, library_scene):
    scene = library_scene(2)
    confidence = np.ones((2, 33))
    confidence[1] = 0
    fit = fit_keypoints(body, scene.changed(confidence=confidence))
    assert fit.confidence[1] == 0
    assert np.isnan(fit.reprojection_error[1])
    assert np.isfinite(fit.poses).all()
    assert np.isfinite(fit.trans).all()
    assert fit.trans[1, 2] > 0.5


@pytest.mark.slow
def test_one_landmark_is_not_enough_to_explode(body, library_scene):
    scene = library_scene(1)
    confidence = np.zeros((1, 33))
    confidence[0, BLAZEPOSE33.index("nose")] = 1
    fit = fit_keypoints(body, scene.changed(confidence=confidence))
    assert np.isfinite(fit.joints3d).all()
    assert np.abs(fit.betas).max() < 1
    assert limit_excess(rotations_to_angles(rotations_of(fit))).abs().max() < 0.082


@pytest.mark.slow
def test_broken_landmarks_count_as_hidden(body, library_scene):
    scene = library_scene(2)
    ankle = BLAZEPOSE33.index("left_ankle")
    confidence = np.ones((2, 33))
    keypoints, world = (value.numpy().copy() for value in (scene.observations.keypoints, scene.observations.world))
    confidence[:, ankle] = 0
    expected = fit_keypoints(body, scene.changed(confidence=confidence))
    confidence[0, ankle], keypoints[1, ankle, 0] = np.nan, np.inf
    confidence[1, ankle] = 1
    world[1, ankle] = np.nan
    fit = fit_keypoints(body, scene.changed(confidence=confidence, keypoints=keypoints, world=world))
    assert np.allclose(fit.joints3d, expected.joints3d, atol=1e-6)


@pytest.mark.extensive
def test_a_prediction_gives_the_depth_that_landmarks_lack(body, library_scene):
    scene = library_scene(6, seed=5)
    plain = KeypointFitOptions(lift=False)
    without = fit_keypoints(body, scene.changed(world=None, world_spread=None), plain)
    prediction = scene.predicted(noise=0.02)
    assert prediction["predicted_poses"].shape == (6, 72)
    with_it = fit_keypoints(body, scene.changed(world=None, world_spread=None, **prediction), plain)
    before, after = (pa_mpjpe(fit.joints3d, scene.joints).mean() for fit in (without, with_it))
    assert after < 0.5 * before
    assert after < 0.03


@pytest.mark.slow
def test_an_uncertain_prediction_is_overruled_by_what_is_visible(body, library_scene):
    scene = library_scene(4, seed=6)
    wrong = {**scene.predicted(noise=0.3), "predicted_noise": np.full((4, 24, 2), 0.5)}
    misled = fit_keypoints(body, scene.changed(**wrong))
    assert pa_mpjpe(wrong["predicted_joints"], scene.joints).mean() > 0.2
    assert pa_mpjpe(misled.joints3d, scene.joints).mean() < 0.06


def test_no_rows(body):
    empty = KeypointObservations(
        keypoints=np.zeros((0, 33, 2)),
        confidence=np.zeros((0, 33)),
        focal=np.zeros(0),
        principal_point=np.zeros((0, 2)),
        image_size=np.zeros((0, 2)),
        world=np.zeros((0, 33, 3)),
    )
    fit = fit_keypoints(body, empty)
    assert fit.poses.shape == (0, 72)
    assert fit.joints2d.shape == (0, 24, 2)
    assert fit.reprojection_error.shape == (0,)
