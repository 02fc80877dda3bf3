"""Bundle adjustment against finite differences and known scenes."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.corner_tracks import beside, scene_points

from humanpose_cli.odometry.bundle import BundleScene, Observations, PoseTarget, _Adjustment, adjust, rotated_cameras


@pytest.fixture
def scene():
    path, points = beside(6, speed=0.3), scene_points(60)
    return BundleScene(path.rotations, -np.einsum("tij,tj->ti", path.rotations, path.centres), points, 800.0)


@pytest.fixture
def observations(scene):
    cameras, points = (grid.ravel() for grid in np.meshgrid(np.arange(6), np.arange(60), indexing="ij"))
    observations = Observations(cameras, points, np.zeros((360, 2)))
    return observations._replace(positions=scene.errors(observations))


def test_the_gradient_is_that_of_the_cost(scene, observations):
    """Of the cameras that move, the focal length and the points; the errors are not zero."""
    disturbed = replace(scene, points=scene.points + 0.02 * np.random.default_rng(1).standard_normal((60, 3)))
    problem = _Adjustment(observations, np.arange(6) > 3, (820.0, 0.25))
    equations = problem.linearise(disturbed)
    slopes = []
    for axis in range(13 + 3):
        step = 1e-8 * (np.arange(16) == axis)
        moves, points = step[:12].reshape(2, 6), disturbed.points + step[13:] * (np.arange(60) == 7)[:, None]
        changed = replace(disturbed, points=points, focal=disturbed.focal * np.exp(step[12]))
        moved = changed.moved(problem.free, moves[:, :3], moves[:, 3:])
        slopes.append((problem.linearise(moved).cost - equations.cost) / 1e-8)
    expected = np.concatenate((equations.gradient, equations.points_gradient[7]))
    np.testing.assert_allclose(slopes, expected, rtol=1e-3, atol=0.3)


@pytest.mark.parametrize("expected_focal", [None, 800.0])
def test_a_disturbed_scene_comes_back(scene, observations, expected_focal):
    random = np.random.default_rng(2)
    free = np.arange(6) > 1  # two cameras are held: the size of the world, too
    disturbed = replace(
        scene,
        rotations=rotated_cameras(scene.rotations, 0.01 * free[:, None] * random.standard_normal((6, 3))),
        translations=scene.translations + 0.03 * free[:, None] * random.standard_normal((6, 3)),
        points=scene.points + 0.1 * random.standard_normal((60, 3)),
        focal=800.0 if expected_focal is None else 830.0,
    )
    adjusted = adjust(disturbed, observations, free, expected_focal=expected_focal, steps=40)
    assert np.abs(adjusted.errors(observations)).max() < 1e-3
    np.testing.assert_allclose(adjusted.translations, scene.translations, atol=1e-4)
    np.testing.assert_allclose(adjusted.points, scene.points, atol=1e-3)
    assert adjusted.focal == pytest.approx(800, abs=0.05)
    np.testing.assert_array_equal(adjusted.rotations[:2], disturbed.rotations[:2])


def test_outliers_hardly_count(scene, observations):
    positions = observations.positions.copy()
    positions[::25] += 80.0
    adjusted = adjust(scene, observations._replace(positions=positions), np.arange(6) > 1)
    inliers = np.arange(len(positions)) % 25 != 0
    assert np.median(np.abs(adjusted.errors(observations)[inliers])) < 0.2


def test_a_point_behind_a_camera_has_an_infinite_error(scene):
    behind = replace(scene, points=scene.points * np.array((1, 1, -1)))
    observations = Observations(np.array([0]), np.array([0]), np.zeros((1, 2)))
    assert np.isinf(behind.errors(observations)).all()


def test_a_pose_is_refined_to_the_true_one(scene, observations):
    of_third = observations.cameras == 3
    target = PoseTarget(scene.points, observations.positions[of_third], scene.focal)
    start = rotated_cameras(scene.rotations[3:4], np.array([[0.02, -0.03, 0.01]]))[0]
    rotation, translation, _ = target.refined(start, scene.translations[3] + 0.1)
    np.testing.assert_allclose(rotation, scene.rotations[3], atol=1e-7)
    np.testing.assert_allclose(translation, scene.translations[3], atol=1e-6)
    assert target.errors(rotation, translation).max() < 1e-4
    zoomed = target._replace(positions=1.1 * target.positions)
    assert zoomed.refined(start, scene.translations[3] + 0.1, 1.08)[2] == pytest.approx(1.1, abs=1e-3)
