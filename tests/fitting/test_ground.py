"""The ground under several people: exact planes and focal lengths, who does not stand on it, and distances by it."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.standing_people import SPOTS, StandingPeople

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.estimate import BodyEstimate
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.fitting.ground import PeopleOnGround, Uprights, before_camera, find_ground, up_of_camera
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.options import CommonGroundOptions
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, viewing_rotation

OPTIONS = CommonGroundOptions()
# Priors so wide that they do not count, and leans as they are.
EXACT = replace(OPTIONS, focal_noise=1e6, tilt_noise=1e6, roll_noise=1e6, height_noise=1e6, lean_share=1.0)
CAMERA = Camera(1500.0, (640.0, 480.0), (1280, 960))
LENGTHS = np.array((1.4, 1.5, 1.3, 1.45, 1.35, 1.42))


def lines(up: np.ndarray, height: float, raised: np.ndarray | float = 0.0) -> Uprights:
    """Vertical lines of LENGTHS whose feet are at SPOTS and `raised` metres above the plane, before CAMERA."""
    rays = np.column_stack(((np.array(SPOTS) - CAMERA.principal_point) / CAMERA.focal, np.ones(len(SPOTS))))
    soles = rays * ((height - raised) / -(rays @ up))[:, None]
    necks = soles + LENGTHS[:, None] * up
    pixels = CAMERA.project(soles), CAMERA.project(necks)
    middles = (sum(pixels) / 2 - CAMERA.principal_point) / CAMERA.focal
    views = np.column_stack((middles, np.ones(len(SPOTS))))
    return Uprights(*pixels, LENGTHS, views @ up / np.linalg.norm(views, axis=1))


@pytest.mark.parametrize(("tilt", "roll"), [(0.3, 0.0), (0.6, -0.1)])
@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_exact_lines_give_the_exact_plane_and_focal_length(tilt, roll, factor):
    up = up_of_camera(tilt, roll)
    ground = find_ground(lines(up, 3.0), replace(CAMERA, focal=factor * 1500.0), EXACT, fixed_focal=False)
    assert ground.focal == pytest.approx(1500.0, rel=1e-6)
    assert ground.height == pytest.approx(3.0, rel=1e-6)
    np.testing.assert_allclose(ground.up, up, atol=1e-6)
    assert ground.standing.all()


def test_a_fixed_focal_length_stays_and_a_level_camera_has_a_horizon():
    people = lines(up_of_camera(0.02, 0.05), 1.6)
    ground = find_ground(people, CAMERA, EXACT, fixed_focal=True)
    assert ground.focal == 1500.0
    np.testing.assert_allclose(ground.up, up_of_camera(0.02, 0.05), atol=1e-6)
    depth = ground.depth(np.array([*SPOTS, (640.0, 100.0)]), CAMERA.principal_point)
    assert np.isinf(depth[-1])
    feet = np.column_stack(((np.array(SPOTS) - CAMERA.principal_point) / CAMERA.focal, np.ones(len(SPOTS))))
    np.testing.assert_allclose((feet * depth[:-1, None]) @ ground.up, -1.6, atol=1e-6)


def test_only_a_tilted_camera_and_people_apart_determine_the_focal_length():
    def deviation(tilt: float, rows: slice = slice(None)) -> float:
        people = lines(up_of_camera(tilt, 0.0), 3.0).rows(rows)
        return find_ground(people, CAMERA, OPTIONS, fixed_focal=False).focal_deviation

    assert deviation(0.5) < OPTIONS.max_focal_noise
    assert deviation(0.02) > OPTIONS.max_focal_noise
    assert deviation(0.5, slice(2, 4)) > deviation(0.5)


def test_people_on_stairs_or_in_the_air_do_not_move_the_ground():
    up = up_of_camera(0.4, 0.0)
    raised = np.array((0, 0, 0, 1.2, 0, 0))
    ground = find_ground(lines(up, 3.0, raised), CAMERA, EXACT, fixed_focal=True)
    assert ground.standing.tolist() == [True, True, True, False, True, True]
    np.testing.assert_allclose(ground.up, up, atol=0.01)
    assert ground.height == pytest.approx(3.0, rel=0.01)


def on_ground(
    people: StandingPeople, options: CommonGroundOptions = OPTIONS, body: Body | None = None
) -> PeopleOnGround:
    return PeopleOnGround(body or default_body(), people.bodies, people.camera, options)


def test_bodies_who_sit_squat_or_bend_or_hide_their_feet_do_not_stand():
    poses = ("attention", "sitting_on_chair", "squat", "bend_forward", "kneeling_one_knee", "hands_on_hips")
    people = StandingPeople(poses=poses)
    assert on_ground(people).upright.tolist() == [True, False, False, False, False, True]
    people.bodies.joint_confidence[0, SMPL24.index("left_ankle")] = 0.1
    assert on_ground(people).upright.tolist() == [False] * 5 + [True]
    assert on_ground(people).find(fixed_focal=True) is None


def test_true_bodies_stand_on_the_true_plane_and_stay_where_they_are():
    people = StandingPeople()
    placed = on_ground(people, replace(EXACT, depth_share=1.0))
    ground = placed.find(fixed_focal=True)
    np.testing.assert_allclose(ground.up, people.up, atol=0.02)
    assert ground.height == pytest.approx(4.0, rel=0.02)
    moved = placed.bodies_on(ground).joints3d[:, 0, 2] / people.bodies.joints3d[:, 0, 2]
    np.testing.assert_allclose(moved, 1, atol=0.02)


def fitted_as_adults(people: StandingPeople) -> StandingPeople:
    """The same images as fits of bodies of size 1, so much farther away."""
    sizes = people.bodies.segment_scales[:, :1].copy()
    people.bodies.joints3d[:] /= sizes[..., None]
    pelvis = default_body().rest_joints(torch.zeros(1, 10))[:, 0].numpy()
    people.bodies.trans[:] = (pelvis + people.bodies.trans) / sizes - pelvis
    people.bodies.segment_scales[:] = 1
    return people


def joints_of(body: Body, bodies: KeypointFit) -> np.ndarray:
    """(N, 24, 3) of the parameters."""
    rotations = axis_angle_to_matrix(torch.from_numpy(bodies.poses).unflatten(1, (-1, 3)))
    values = (torch.from_numpy(getattr(bodies, name)) for name in ("betas", "trans", "segment_scales"))
    return body.pose(rotations, *values, vertices=False).joints.numpy()


def test_children_come_nearer_to_the_ground_and_look_the_same():
    true = StandingPeople(sizes=(1, 1, 1, 0.7, 1, 1)).bodies.joints3d
    people = fitted_as_adults(StandingPeople(sizes=(1, 1, 1, 0.7, 1, 1)))
    before, fit = people.bodies.joints3d.copy(), on_ground(people, replace(OPTIONS, depth_share=1.0))
    assert before[3, 0, 2] > 1.4 * true[3, 0, 2]
    placed = fit.bodies_on(fit.find(fixed_focal=True))
    np.testing.assert_allclose(placed.joints3d[:, 0, 2] / true[:, 0, 2], 1, atol=0.06)
    np.testing.assert_allclose(people.camera.project(placed.joints3d), people.camera.project(before), atol=1e-2)
    # The parameters are those of the joints.
    np.testing.assert_allclose(joints_of(default_body(), placed), placed.joints3d, atol=1e-5)


def test_bodies_with_another_rest_pelvis_are_scaled_about_the_camera():
    body = copy.deepcopy(default_body())
    shift = torch.tensor((0.0, 0.2, 0.1))
    with torch.no_grad():
        for points in (body.template, body.joint_template, body.landmarks("blazepose33").template):
            points += shift
    people = fitted_as_adults(StandingPeople(sizes=(1, 1, 1, 0.7, 1, 1)))
    people.bodies.trans[:] -= shift.numpy()
    fit = on_ground(people, body=body)
    placed = fit.bodies_on(fit.find(fixed_focal=True))
    assert placed.segment_scales[3, 0] < 0.8
    np.testing.assert_allclose(joints_of(body, placed), placed.joints3d, atol=1e-5)


def test_who_lies_among_people_who_stand_stays_where_they_are():
    poses, low = ["attention"] * 6, [0.0] * 6
    poses[4], low[4] = "lying_on_back", -0.4  # in a hollow, as if they were small
    people = StandingPeople(poses=poses, raised=low)
    fit = on_ground(people)
    assert fit.upright.all()  # the body alone does not say which way is up
    ground = fit.find(fixed_focal=True)
    assert ground.standing.tolist() == [True, True, True, True, False, True]
    np.testing.assert_array_equal(fit.bodies_on(ground).trans[4], people.bodies.trans[4])


def test_an_estimate_turns_with_the_viewing_ray():
    """A camera that looks straight at the person sees the same body, whatever its focal length."""
    people = StandingPeople()
    person, before, after = people.detected()[1], people.camera, replace(people.camera, focal=1500.0)
    random = np.random.default_rng(0)
    poses, joints = random.normal(size=72).astype(np.float32), random.normal(size=(24, 3)).astype(np.float32)
    crop = Crop(1.0, 0.0, (0.0, 0.0), (64, 64))
    estimate = BodyEstimate(poses, np.zeros(10, np.float32), np.zeros(3, np.float32), joints, None, crop)
    turned = before_camera(replace(person, estimate=estimate), before, after).estimate

    def relative_to_ray(estimate: BodyEstimate, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        hips = person.keypoints[list(BLAZEPOSE33.indices(("left_hip", "right_hip"))), :2].mean(0)
        pixel, focal, centre = (
            torch.tensor(np.array([v]), dtype=torch.float64) for v in (hips, camera.focal, (640, 480))
        )
        to_ray = viewing_rotation(pixel, focal, centre)[0].mT.numpy()
        pelvis = axis_angle_to_matrix(torch.from_numpy(estimate.poses[:3].astype(np.float64))).numpy()
        return to_ray @ pelvis, (estimate.joints - estimate.joints[:1]) @ to_ray.T

    for now, then in zip(relative_to_ray(turned, after), relative_to_ray(estimate, before), strict=True):
        np.testing.assert_allclose(now, then, atol=1e-5)
    np.testing.assert_array_equal(turned.poses[3:], poses[3:])


def test_who_stands_higher_than_the_others_stays_where_they_are():
    people = StandingPeople(raised=(0, 0, 0, 1.5, 0, 0))
    fit = on_ground(people)
    ground = fit.find(fixed_focal=True)
    assert not ground.standing[3]
    np.testing.assert_array_equal(fit.bodies_on(ground).trans[3], people.bodies.trans[3])
