"""The lifter: exact invariants of its input, its examples against a camera, damaged input, weights files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.errors import raises
from torch import Tensor

from humanpose_cli.core.camera import Camera, project
from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, H36M17, SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, viewing_rotation
from humanpose_cli.lab.recipes.lifter.examples import (
    CameraRanges,
    DetectionErrors,
    PosePool,
    _cameras,
    detected,
    lifter_batch,
    pose_pool,
)
from humanpose_cli.models.lifter.metric import (
    INPUT_LANDMARKS,
    LIFTED_JOINTS,
    MIRRORED_POINTS,
    Lifter,
    LifterNetwork,
    LifterOptions,
    lifted_world,
    lifter_config,
    load_lifter,
    normalise_rays,
)
from humanpose_cli.networks.weights import WeightsHeader, write_weights

JOINTS = len(LIFTED_JOINTS)


@pytest.fixture(scope="module")
def pool() -> PosePool:
    return pose_pool(256, 5, "train")


@pytest.fixture(scope="module")
def lifter() -> Lifter:
    torch.manual_seed(0)
    network = LifterNetwork(LifterOptions(32, 2))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    network.calibration.copy_(torch.linspace(0.5, 2, 94).view(47, 2))
    network.calibration.add_(network.calibration[MIRRORED_POINTS].clone())
    return Lifter(network)


@pytest.fixture(scope="module")
def people(pool: PosePool) -> Tensor:
    """(8, 33, 3) landmarks of bodies before a camera, metres, camera axes."""
    points = torch.from_numpy(pool.points[:8, JOINTS:]) * torch.tensor([1.0, -1.0, -1.0])
    return points + torch.tensor([0.6, -0.2, 4.0])


FOCAL, CENTRE = torch.full((8,), 900.0), torch.tensor([[640.0, 360.0]]).expand(8, 2)
CONFIDENCE = torch.linspace(0.2, 1, 33).expand(8, 33)


def lifted(lifter: Lifter, points: Tensor, confidence: Tensor = CONFIDENCE) -> tuple[Tensor, Tensor]:
    """Points (N, 47, 3) and σ (N, 47, 2) of landmarks before the camera."""
    found = lifter(project(points, FOCAL, CENTRE), confidence, FOCAL, CENTRE, BLAZEPOSE33)
    return torch.cat((found.joints, found.landmarks), 1), found.sigma


@pytest.mark.slow
def test_a_yaw_of_the_camera_turns_the_result_and_changes_nothing_else(lifter: Lifter, people: Tensor) -> None:
    points, sigma = lifted(lifter, people)
    turn = axis_angle_to_matrix(torch.tensor([0.0, 0.5, 0.0]))
    turned, same = lifted(lifter, people @ turn.mT)
    torch.testing.assert_close(turned, points @ turn.mT, atol=2e-4, rtol=0)
    torch.testing.assert_close(same, sigma, atol=0, rtol=1e-3)


def test_a_mirrored_person_is_the_mirror_image(lifter: Lifter, people: Tensor) -> None:
    points, sigma = lifted(lifter, people)
    flip, mirror = torch.tensor([-1.0, 1.0, 1.0]), list(BLAZEPOSE33.mirror)
    other, other_sigma = lifted(lifter, people[:, mirror] * flip, CONFIDENCE[:, mirror])
    names = [SMPL24.joint_names[SMPL24.mirror[SMPL24.index(name)]] for name in LIFTED_JOINTS]
    rows = [*(LIFTED_JOINTS.index(name) for name in names), *(JOINTS + row for row in mirror)]
    torch.testing.assert_close(other[:, rows] * flip, points, atol=2e-5, rtol=0)
    torch.testing.assert_close(other_sigma[:, rows], sigma, atol=0, rtol=1e-4)


def test_neither_focal_length_nor_crop_matters(lifter: Lifter, people: Tensor) -> None:
    pixels = project(people, FOCAL, CENTRE)
    first = lifter(pixels, CONFIDENCE, FOCAL, CENTRE, BLAZEPOSE33)
    offset = torch.tensor([-300.0, 77.0])
    second = lifter(3 * (pixels + offset), CONFIDENCE, 3 * FOCAL, 3 * (CENTRE + offset), BLAZEPOSE33)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, 1e9])
def test_broken_landmarks_count_as_not_visible(lifter: Lifter, people: Tensor, broken: float) -> None:
    pixels, confidence = project(people, FOCAL, CENTRE), CONFIDENCE.clone()
    row = BLAZEPOSE33.index("left_wrist")
    confidence[:, row] = 0
    expected = lifter(pixels, confidence, FOCAL, CENTRE, BLAZEPOSE33)
    pixels[:, row] = broken
    found = lifter(pixels, CONFIDENCE, FOCAL, CENTRE, BLAZEPOSE33)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_no_people_and_nothing_visible(lifter: Lifter, people: Tensor) -> None:
    empty = lifter(torch.zeros(0, 33, 2), torch.zeros(0, 33), torch.ones(0), torch.zeros(0, 2), BLAZEPOSE33)
    assert empty.joints.shape == (0, JOINTS, 3)
    points, sigma = lifted(lifter, people, torch.zeros(8, 33))
    assert points.isfinite().all()
    assert (sigma > 0).all()


def test_world_landmarks_are_in_axes_that_look_at_the_person(people: Tensor) -> None:
    points = people + torch.tensor([2.0, 0.0, 0.0])  # 33° beside the optical axis
    pixels = project(points, FOCAL, CENTRE)
    found = lifted_world(torch.cat((pixels, torch.ones(8, 33, 1)), 2).numpy(), Camera(FOCAL, CENTRE))
    hips = BLAZEPOSE33.indices(("left_hip", "right_hip"))
    axes = viewing_rotation(pixels[:, hips].mean(1), FOCAL, CENTRE)
    true = (points - points[:, hips].mean(1, keepdim=True)) @ axes
    assert np.abs(found[:, hips].mean(1)).max() < 1e-6
    assert np.linalg.norm(found - true.numpy(), axis=-1).mean() < 0.1


def test_cocos_joints_are_enough(lifter: Lifter, people: Tensor) -> None:
    """Landmarks that COCO lacks are as ones that were not visible."""
    rows = BLAZEPOSE33.indices(COCO17.joint_names)
    pixels = project(people, FOCAL, CENTRE)
    found = lifter(pixels[:, rows], CONFIDENCE[:, rows], FOCAL, CENTRE, COCO17)
    confidence = torch.zeros(8, 33)
    confidence[:, rows] = CONFIDENCE[:, rows]
    expected = lifter(pixels, confidence, FOCAL, CENTRE, BLAZEPOSE33)
    torch.testing.assert_close(found.joints, expected.joints, atol=0, rtol=0)
    assert lifter(torch.zeros(1, 17, 2), torch.ones(1, 17), FOCAL[:1], CENTRE[:1], H36M17).joints.isfinite().all()


def test_normalised_rays_have_unit_size_and_a_level_frame(people: Tensor) -> None:
    rays = (people[..., :2] / people[..., 2:])[:, BLAZEPOSE33.indices(INPUT_LANDMARKS)]
    normalised = normalise_rays(rays, torch.ones(8, 21))
    torch.testing.assert_close(normalised.points.square().sum(-1).mean(1), torch.ones(8))
    identity = torch.eye(3).expand(8, 3, 3)
    torch.testing.assert_close(normalised.to_camera.mT @ normalised.to_camera, identity, atol=1e-6, rtol=0)
    assert (normalised.to_camera[:, 1, 0] == 0).all(), "x of the centre ray's axes is level"
    assert (torch.linalg.det(normalised.to_camera) > 0).all()


def test_a_positive_pitch_looks_down_at_the_person() -> None:
    ranges = CameraRanges(
        pitch=(29.9, 30.1), usual_pitch=30.0, roll=0, max_roll=0, off_centre=(0, 0), distance=(4, 4.001)
    )
    rotation, pelvis = _cameras(4, np.random.default_rng(0), ranges)
    np.testing.assert_allclose(pelvis, [[0, 0, 4]] * 4, atol=2e-3)
    above = rotation @ np.array([0, 1, 0])  # the head is nearer to a camera that looks down, and higher in the image
    np.testing.assert_allclose(above, [[0, -np.cos(np.pi / 6), -0.5]] * 4, atol=2e-3)
    assert np.allclose(np.linalg.det(rotation), 1, atol=1e-6)


def test_examples_without_errors_are_projected_where_they_are(pool: PosePool) -> None:
    """The directions that the network sees and the points that it learns belong to one camera."""
    rows = np.arange(64)
    batch = lifter_batch(pool, rows, np.random.default_rng(0), CameraRanges(), None)
    landmarks = batch.points[:, [JOINTS + row for row in BLAZEPOSE33.indices(INPUT_LANDMARKS)]]
    points = batch.rays.points * batch.rays.log_size.exp()[..., None]
    # The pelvis lies on p = t with (X + t_x) / (Z + t_z) = u: solve for t and reproject.
    for person, flat in zip(landmarks.double(), points.double(), strict=True):
        zero, one = torch.zeros(21, dtype=torch.float64), torch.ones(21, dtype=torch.float64)
        a = torch.cat((torch.stack((one, zero, -flat[:, 0]), 1), torch.stack((zero, one, -flat[:, 1]), 1)))
        b = torch.cat((flat[:, 0] * person[:, 2] - person[:, 0], flat[:, 1] * person[:, 2] - person[:, 1]))
        t = torch.linalg.lstsq(a, b[:, None]).solution[:, 0]
        there = person + t
        assert t[2] > 1.5
        torch.testing.assert_close(there[:, :2] / there[:, 2:], flat, atol=1e-4, rtol=0)


def test_families_are_drawn_as_often_as_they_should_be(pool: PosePool) -> None:
    rows = pool.draw(20_000, np.random.default_rng(0))
    families = np.array(pool.family)[rows]
    present = set(pool.family)
    shares = {"library": 0.50, "chair": 0.09, "crouching": 0.06}
    for family in shares.keys() & present:
        assert np.mean(families == family) == pytest.approx(shares[family], rel=0.25)


QUIET = DetectionErrors(0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)


def _detected(pool: PosePool, errors: DetectionErrors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    points = pool.points[np.resize(np.arange(256), 2048)][:, JOINTS:][:, BLAZEPOSE33.indices(INPUT_LANDMARKS)]
    points = points * np.float32([1, -1, -1]) + np.float32([0, 0, 4])
    rays = points[..., :2] / points[..., 2:]
    found, confidence = detected(rays, points[..., 2], np.random.default_rng(0), errors)
    size = np.ptp(rays, axis=1).max(-1)[:, None, None]
    return (found - rays) / size, confidence, rays


def test_detection_errors_have_the_sizes_they_name(pool: PosePool) -> None:
    error, confidence, _ = _detected(pool, QUIET)
    assert np.abs(error).max() < 1e-6
    assert confidence.min() > 0
    error, _, _ = _detected(pool, replace(QUIET, level=1.0))
    spread = error.std((0, 2))
    assert spread[INPUT_LANDMARKS.index("nose")] == pytest.approx(0.008, rel=0.15)
    assert spread[INPUT_LANDMARKS.index("left_foot_index")] == pytest.approx(0.025, rel=0.15)
    error, _, _ = _detected(pool, replace(QUIET, level=1.0, shared=0.6))
    wrist, elbow = (error[:, INPUT_LANDMARKS.index(f"left_{name}"), 0] for name in ("wrist", "elbow"))
    assert np.corrcoef(wrist, elbow)[0, 1] == pytest.approx(0.6, abs=0.1)
    assert wrist.std() == pytest.approx(0.020, rel=0.15), "what a limb shares makes its noise no larger"
    _, confidence, _ = _detected(pool, replace(QUIET, dropped=0.1))
    assert (confidence == 0).mean() == pytest.approx(0.1, abs=0.01)
    _, confidence, _ = _detected(pool, replace(QUIET, legs=0.3))
    half = (confidence == 0).any(1)
    assert half.mean() == pytest.approx(0.3, abs=0.04)
    legs = [any(part in name for part in ("knee", "ankle", "heel", "foot")) for name in INPUT_LANDMARKS]
    assert ((confidence[half] == 0) == legs).all()


def test_swaps_exchange_complete_limbs(pool: PosePool) -> None:
    error, _, rays = _detected(pool, replace(QUIET, swapped=0.2))
    size = np.ptp(rays, axis=1).max(-1)[:, None]
    left, right = INPUT_LANDMARKS.index("left_wrist"), INPUT_LANDMARKS.index("right_wrist")
    swapped = np.abs(error[:, left] * size - (rays[:, right] - rays[:, left])).max(1) < 1e-5
    assert swapped.mean() == pytest.approx(0.2, abs=0.03)
    elbow = INPUT_LANDMARKS.index("left_elbow")
    assert (np.abs(error[swapped, elbow]).max(1) > 1e-4).mean() > 0.95
    assert np.abs(error[:, INPUT_LANDMARKS.index("left_shoulder")]).max() < 1e-6


def test_weights_load_again_and_others_are_refused(lifter: Lifter, people: Tensor, tmp_path: Path) -> None:
    path, config = tmp_path / "lifter.safetensors", lifter_config(lifter.network.options)
    write_weights(path, lifter.network.state_dict(), WeightsHeader("lifter", config))
    torch.testing.assert_close(lifted(load_lifter(path), people)[0], lifted(lifter, people)[0], atol=5e-3, rtol=0)
    write_weights(path, lifter.network.state_dict(), WeightsHeader("lifter", {**config, "inputs": ["nose"]}))
    with raises(InputError, problem="has other inputs"):
        load_lifter(path)
    write_weights(path, {}, WeightsHeader("nbf", config))
    with raises(InputError, problem="holds another model"):
        load_lifter(path)


def test_no_bit_of_a_prediction_depends_on_the_other_people(lifter: Lifter, people: Tensor) -> None:
    pixels = project(people, FOCAL, CENTRE).repeat(9, 1, 1)
    inputs = (pixels, CONFIDENCE.repeat(9, 1), FOCAL.repeat(9), CENTRE.repeat(9, 1))
    together = lifter(*inputs, BLAZEPOSE33)
    for rows in (slice(0, 0), slice(5, 6), slice(60, 72), slice(0, 33)):
        alone = lifter(*(value[rows] for value in inputs), BLAZEPOSE33)
        for some, complete in zip(alone, together, strict=True):
            assert torch.equal(some, complete[rows])
