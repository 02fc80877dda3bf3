"""Cameras by bundle adjustment and resection, from landmarks whose cameras are given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.filmed_people import camera_at
from scipy.spatial.transform import Rotation

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.views import cameras
from humanpose_cli.views.cameras import (
    ViewCamera,
    ViewSamples,
    adjust_cameras,
    in_axes_of_first,
    resect_cameras,
    triangulate,
)
from humanpose_cli.views.people import TakePeople
from humanpose_cli.views.tracks import LANDMARKS, ViewTrack

TRUE = [camera_at(0), camera_at(70, 5.0, 900.0), camera_at(-110, 4.0, 1300.0, 2.2)]
MOMENTS = 6
NAMES = [BLAZEPOSE33.joint_names[row] for row in LANDMARKS]


def landmarks(seed: int = 0, at: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Landmarks (6, 19, 3) metres in the world of `camera_at` of a figure that turns: its bones keep their lengths."""
    random = np.random.default_rng(seed)
    figure = random.normal(0, 0.4, (len(LANDMARKS), 3)) + np.array((0.0, -1.0, 0.0))
    turns = Rotation.from_euler("y", np.linspace(0, 200, MOMENTS)[:, None], degrees=True).as_matrix()
    walk = np.linspace((-0.4, 0.0, 0.0), (0.4, 0.0, 0.3), MOMENTS) + np.array((at[0], 0.0, at[1]))
    return figure @ turns.transpose(0, 2, 1) + walk[:, None]


def leg_of(points: np.ndarray) -> float:
    sides = [
        [points[0, NAMES.index(f"{side}_{end}")] for end in ("hip", "knee", "ankle")] for side in ("left", "right")
    ]
    return float(np.mean([np.linalg.norm(hip - knee) + np.linalg.norm(knee - ankle) for hip, knee, ankle in sides]))


def samples(points: np.ndarray, true: list[ViewCamera] = TRUE, weights: np.ndarray | None = None) -> ViewSamples:
    """What the cameras show of points (K, L, 3), without noise and movement."""
    pixels = np.stack([camera.project(points) for camera in true])
    weights = np.ones(pixels.shape[:3]) if weights is None else weights
    return ViewSamples(
        np.zeros(points.shape[0]), pixels, weights, np.zeros_like(pixels), np.full(len(true), 400.0), leg_of(points)
    )


def wrong(camera: ViewCamera, degrees: float = 8.0, metres: float = 0.3) -> ViewCamera:
    turn = Rotation.from_euler("xyz", (0.5 * degrees, degrees, -degrees), degrees=True).as_matrix()
    shift = np.array((metres, -metres, metres))
    return replace(camera, rotation=turn @ camera.rotation, translation=camera.translation + shift)


def test_a_camera_maps_the_world_to_its_image_and_knows_where_it_stands() -> None:
    camera = camera_at(90, 4.0, 1000.0, 2.0)
    np.testing.assert_allclose(camera.centre, (4.0, -2.0, 0.0), atol=1e-12)
    np.testing.assert_allclose(camera.to_camera(np.array((0.0, -1.0, 0.0))), (0, 0, np.sqrt(17)), atol=1e-12)
    np.testing.assert_allclose(camera.project(np.array((0.0, -1.0, 0.0))), (640, 360), atol=1e-9)
    # The world's z axis points to the right of this camera.
    pixels = camera.project(np.array((0.0, -1.0, 0.5)))
    np.testing.assert_allclose(pixels, (640 + 1000 * 0.5 / np.sqrt(17), 360), atol=1e-9)
    homogeneous = camera.matrix @ (0.3, -0.2, 0.1, 1.0)
    np.testing.assert_allclose(homogeneous[:3], camera.to_camera(np.array((0.3, -0.2, 0.1))), atol=1e-12)
    # Points behind the camera are projected as if they were 0.1 m before it, and stay finite.
    assert np.isfinite(camera.project(np.array((9.0, 0.0, 0.0)))).all()


def test_the_axes_of_the_first_camera_become_those_of_the_take() -> None:
    points = landmarks().reshape(-1, 3)
    moved = in_axes_of_first(TRUE)
    np.testing.assert_allclose(moved[0].matrix, np.eye(4), atol=1e-12)
    in_first = TRUE[0].to_camera(points)
    for before, after in zip(TRUE, moved, strict=True):
        np.testing.assert_allclose(after.project(in_first), before.project(points), atol=1e-8)


def test_rays_that_meet_give_their_point_and_those_without_weight_do_not_count() -> None:
    points = landmarks().reshape(-1, 3)
    matrices = np.stack([camera.matrix[:3] for camera in TRUE])
    focals = np.array([camera.focal for camera in TRUE])[:, None, None]
    flat = np.stack([camera.project(points) - camera.principal_point for camera in TRUE]) / focals
    weights = np.ones(flat.shape[:2])
    np.testing.assert_allclose(triangulate(matrices, flat, weights), points, atol=1e-6)
    flat[2] += 0.4
    assert np.abs(triangulate(matrices, flat, weights) - points).max() > 0.1
    weights[2] = 0
    np.testing.assert_allclose(triangulate(matrices, flat, weights), points, atol=1e-6)


@pytest.mark.parametrize("known", [False, True])
def test_the_gradient_is_that_of_the_cost(known: bool) -> None:
    """Of focal length, turn, shift, clock and drift of each camera; with triangulated and known points."""
    random, points = np.random.default_rng(3), landmarks()
    person = samples(points, weights=random.uniform(0.3, 1, (3, *points.shape[:2])))
    person.weights[0, 2, 3], person.weights[1:, 1, 5] = 0, 0
    pixels, speeds = (scale * random.standard_normal(person.points.shape) for scale in (8, 60))
    person, free = person._replace(points=person.points + pixels, speeds=speeds), np.ones((3, 9), bool)
    start, focals = [TRUE[0], *map(wrong, TRUE[1:])], np.array([900.0, 1000.0, 1100.0])
    problem = cameras._Adjustment(start, [person], free, focals, np.full(3, 0.2), [points] if known else None)

    def cost(step: np.ndarray) -> float:
        return problem.linearise(cameras.moved_cameras(start, step.reshape(3, 9), problem.middle)).cost

    ends = [(cost(step), cost(-step)) for step in 1e-6 * np.eye(27)]
    slopes = [(after - before) / 2e-6 for after, before in ends]
    np.testing.assert_allclose(problem.linearise(start).gradient, slopes, rtol=1e-3, atol=1e-2)


def test_adjustment_recovers_cameras_with_fixed_focal_lengths() -> None:
    """From starts that are 8 degrees and half a metre wrong; the legs give the scale."""
    people = [samples(landmarks()), samples(landmarks(1, (0.8, 0.5)))]
    fixed = [replace(camera, fixed_focal=True) for camera in TRUE]
    result = adjust_cameras([fixed[0], *map(wrong, fixed[1:])], people, clocks=False)
    for found, true in zip(in_axes_of_first(result), in_axes_of_first(TRUE), strict=True):
        np.testing.assert_allclose(found.rotation, true.rotation, atol=1e-3)
        np.testing.assert_allclose(found.translation, true.translation, atol=5e-3)
        assert found.focal == pytest.approx(true.focal, rel=1e-3)
    np.testing.assert_array_equal(result[0].matrix, TRUE[0].matrix)


def test_twice_as_long_legs_are_cameras_twice_as_far_away() -> None:
    person = samples(landmarks())
    fixed = [replace(camera, fixed_focal=True) for camera in in_axes_of_first(TRUE)]
    result = adjust_cameras(fixed, [person._replace(leg=2 * person.leg)], clocks=False)
    for found, true in zip(result[1:], fixed[1:], strict=True):
        np.testing.assert_allclose(found.translation, 2 * true.translation, rtol=0.02)


def test_the_poses_of_a_calibration_stay_and_clocks_are_found() -> None:
    """The person moves by 90 pixels a second to the right of the second image, whose clock is 0.02 s ahead."""
    person, speed, late = samples(landmarks()), np.array((90.0, 0.0)), 0.02
    points, speeds = person.points.copy(), person.speeds.copy()
    points[1], speeds[1] = points[1] - late * speed, speed
    fixed = [replace(camera, fixed_focal=True) for camera in TRUE]
    moving = person._replace(points=points, speeds=speeds)
    result = adjust_cameras(fixed, [moving], fixed_poses=True)
    for found, true in zip(result, TRUE, strict=True):
        np.testing.assert_array_equal(found.matrix, true.matrix)
    # Clocks are expected to agree to 0.03 s, which draws the result towards none.
    assert result[1].offset == pytest.approx(late, abs=0.004)
    assert result[0].offset == 0.0
    assert adjust_cameras(fixed, [moving], fixed_poses=True, clocks=False)[1].offset == 0.0


def test_a_clock_that_gains_200_millionths_is_found() -> None:
    """Within 15 minutes it gains 0.18 s, far more than a frame, about an offset of 0.05 s."""
    own = np.arange(4500) / 5
    random = np.random.default_rng(5)
    figure, phases = random.normal(0, 0.3, (33, 3)), random.uniform(0, 6, (2, 3))

    def tracks(drift: float, offset: float) -> list[ViewTrack]:
        result = []
        for view, camera in enumerate(TRUE):
            times = (own - offset) / (1 + drift) if view == 1 else own
            walk = np.sin(times[:, None] * (0.9, 0.3, 1.3) + phases[0]) + np.sin(times[:, None] + phases[1])
            pixels = camera.project(figure + 0.3 * walk[:, None] + (0.0, -1.0, 0.0))
            keypoints = np.concatenate((pixels + random.normal(0, 1, pixels.shape), np.ones((4500, 33, 1))), 2)
            joints = np.tile((0.0, 0.0, 4.0), (4500, 24, 1))
            seen = np.ones(joints.shape[:2])
            result.append(ViewTrack(view, 0, np.arange(4500), own, keypoints, joints, seen, stature=400.0))
        return result

    fixed = [replace(camera, fixed_focal=True) for camera in TRUE]
    start = TakePeople(fixed, [tracks(2e-4, 0.05)], fixed_poses=True, clocks=True)
    result = start.adjusted()
    assert result.cameras[1].drift == pytest.approx(2e-4, abs=2e-5)
    for time in (0.0, 900.0):
        shown = result.cameras[1].on_clock(np.array(time * (1 + 2e-4) + 0.05))
        assert float(shown) == pytest.approx(time, abs=0.02)
    equal = replace(start, tracks=[tracks(0.0, 0.0)]).adjusted().cameras
    assert abs(equal[1].drift) < 2e-5
    assert equal[0].drift == 0.0


def test_what_one_camera_shows_alone_moves_no_camera() -> None:
    person = samples(landmarks())
    weights, points = person.weights.copy(), person.points.copy()
    weights[:2, :, 3], points[2, :, 3] = 0, points[2, :, 3] + 500
    fixed = [replace(camera, fixed_focal=True) for camera in TRUE]
    result = adjust_cameras(fixed, [person._replace(points=points, weights=weights)], clocks=False)
    np.testing.assert_allclose(result[2].matrix, TRUE[2].matrix, atol=1e-4)


def test_resection_puts_a_camera_where_it_shows_the_points() -> None:
    points = landmarks()
    person = samples(points)
    found = resect_cameras([TRUE[0], wrong(TRUE[1]), TRUE[2]], [points], [person])
    for after, true in zip(found, in_axes_of_first(TRUE), strict=True):
        np.testing.assert_allclose(after.matrix, true.matrix, atol=2e-3)
    assert found[1].focal == pytest.approx(900.0, rel=1e-4)
    np.testing.assert_allclose(found[0].matrix, np.eye(4), atol=1e-9)


def test_a_camera_that_shows_no_person_stays() -> None:
    points = landmarks()
    weights = np.ones((3, *points.shape[:2]))
    weights[1] = 0
    start = [TRUE[0], wrong(TRUE[1]), TRUE[2]]
    found = resect_cameras(start, [points], [samples(points, weights=weights)])
    np.testing.assert_allclose(found[1].matrix, in_axes_of_first(start)[1].matrix, atol=1e-3)
