"""The size of a camera's path from feet that stand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.corner_tracks import TruePath, beside
from helpers.standing_people import StandingPeople

from humanpose_cli.body.estimate import BodyEstimate
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.camera_walk import CameraWalk, before_camera
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, viewing_rotation
from humanpose_cli.odometry.reconstruction import Reconstruction

UNIT = 2.5  # metres for the path's unit
COUNT = 60
TIMES = np.arange(COUNT) / 30


def walk_of(path: TruePath, solved=None, points=None) -> CameraWalk:
    translations = -np.einsum("tij,tj->ti", path.rotations, path.centres) / UNIT
    solved = np.ones(len(path.centres), bool) if solved is None else solved
    points = np.zeros((0, 3)) if points is None else points / UNIT
    zooms = np.linspace(1, 1.2, len(path.centres))
    return CameraWalk(0, 0, Reconstruction(path.rotations, translations, solved, 1.1, zooms, points, 0.2))


def person(frame, track=0, ankles=0.9):
    keypoints = np.full((33, 3), 0.9, np.float32)
    keypoints[list(BLAZEPOSE33.indices(("left_ankle", "right_ankle"))), 2] = ankles
    box = np.array((0, 0, 10, 20), np.float32)
    spread = np.ones(33, np.float32)
    return DetectedPerson(box, keypoints, None, spread, None, None, 0.9, BLAZEPOSE33, frame=frame, track=track)


def walker(path, offset=(0.0, 1.5, 5.0)):
    """Joints (T, 24, 3), camera axes, of whom one foot stands for half a second while the other one steps 70 cm."""
    world = np.tile(offset, (COUNT, 24, 1)).astype(float)
    for frame in range(COUNT):
        step, share = divmod(frame, 15)
        ends = np.array([0.35 * step, 0.35 * (step + 1)])
        standing, moving = (10, 11) if step % 2 else (11, 10)
        world[frame, standing, 0] += ends[1]
        world[frame, moving, 0] += ends[0] + 0.7 * share / 15
    return np.einsum("tij,tkj->tki", path.rotations, world - path.centres[:, None])


def ground_points(slope=0.0):
    """Points of a floor 1.52 m below the first camera, which rises by `slope`, and of a wall behind it."""
    random = np.random.default_rng(3)
    floor = random.uniform((-4, 0, 2), (8, 0, 12), (200, 3))
    floor[:, 1] = 1.52 - slope * (floor[:, 2] - 5.0)
    wall = random.uniform((-4, -4, 12), (8, 1.5, 12.01), (300, 3))
    return np.concatenate((floor, wall))


def bodies(joints):
    return SimpleNamespace(joints3d=joints)


def test_the_unit_is_that_in_which_a_foot_stands():
    path = beside(COUNT)
    people = [person(frame) for frame in range(COUNT)]
    scale = walk_of(path).scale(people, bodies(walker(path)), TIMES)
    assert scale.metres == pytest.approx(UNIT, rel=1e-3)
    assert 0 < scale.deviation < 0.05


def test_all_people_count_and_errors_of_one_are_outvoted():
    path, random = beside(COUNT), np.random.default_rng(0)
    people, joints = [], []
    for track in range(3):
        people += [person(frame, track) for frame in range(COUNT)]
        noise = 0.003 * random.standard_normal((COUNT, 24, 3))
        joints.append(walker(path, (track, 1.5, 5.0)) + noise)
    joints[0][:, :, 0] += 0.02 * np.arange(COUNT)[:, None]  # slides
    scale = walk_of(path).scale(people, bodies(np.concatenate(joints)), TIMES)
    assert scale.metres == pytest.approx(UNIT, rel=0.05)


@pytest.mark.parametrize(("ankles", "solved"), [(0.2, None), (0.9, np.zeros(COUNT, bool))])
def test_without_visible_feet_or_solved_frames_there_is_none(ankles, solved):
    path = beside(COUNT)
    people = [person(frame, ankles=ankles) for frame in range(COUNT)]
    assert walk_of(path, solved).scale(people, bodies(walker(path)), TIMES) is None


def test_feet_that_stand_before_the_camera_say_nothing():
    path = beside(COUNT)
    people = [person(frame) for frame in range(COUNT)]
    joints = np.einsum("tij,tkj->tki", path.rotations, np.tile((0, 1.5, 5.0), (COUNT, 24, 1)))
    assert walk_of(path).scale(people, bodies(joints), TIMES) is None


def test_a_camera_that_stands_has_no_size():
    path = TruePath(np.tile(np.eye(3), (COUNT, 1, 1)), np.zeros((COUNT, 3)))
    people = [person(frame) for frame in range(COUNT)]
    assert walk_of(path).scale(people, bodies(walker(path)), TIMES) is None


def test_cameras_turn_with_the_path_and_move_along_it_in_metres():
    path = beside(5)
    walk = CameraWalk(2, 1, walk_of(path).path)
    cameras = [FrameCamera(str(i), Camera.of_image((640, 480), 500.0), shot=int(i > 0)) for i in range(7)]
    turned, _ = walk.turned(cameras, [])
    focals = 550 * np.array((1, 1, 1, 1.05, 1.1, 1.15, 1.2))[1:]
    assert [camera.camera.focal for camera in turned] == [500.0, *map(pytest.approx, focals)]
    assert turned[0] is cameras[0]
    np.testing.assert_array_equal(turned[4].turn.rotation, path.rotations[2])
    assert not turned[4].turn.solved
    people = [person(frame) for frame in range(COUNT)]
    scale = walk_of(beside(COUNT)).scale(people, bodies(walker(beside(COUNT))), TIMES)
    moved = walk.moved(turned, scale)
    centre = -moved[6].world_to_camera[:3, :3].T @ moved[6].world_to_camera[:3, 3]
    np.testing.assert_allclose(centre, path.centres[4], rtol=1e-3, atol=1e-3)
    assert moved[6].turn.solved
    assert not moved[1].world_to_camera[:3, 3].any()  # before the path begins


def with_trunks(joints, path):
    """Put necks above the ankles, so that the people are upright."""
    up = path.rotations @ np.array((0.0, -1.4, 0.0))
    joints[:, SMPL24.index("neck")] = joints[:, 7] + up
    return joints


def test_the_ground_shows_the_unit_also_of_people_who_only_stand():
    """The toes' joints are 2 cm above the floor."""
    path = beside(COUNT)
    people = [person(frame) for frame in range(COUNT)]
    joints = np.tile((0.0, 1.5, 5.0), (COUNT, 24, 1)) - path.centres[:, None]
    joints = with_trunks(np.einsum("tij,tkj->tki", path.rotations, joints), path)
    walk = walk_of(path, points=ground_points())
    scale = walk.scale(people, bodies(joints), TIMES)
    assert scale.metres == pytest.approx(UNIT, rel=1e-3)
    np.testing.assert_allclose(scale.ground.up, (0, -1, 0), atol=1e-3)
    cameras = [FrameCamera(str(i), Camera.of_image((640, 480), 500.0)) for i in range(COUNT)]
    moved = walk.moved(walk.turned(cameras, [])[0], scale)
    *up, height = moved[20].ground
    np.testing.assert_allclose(up, path.rotations[20] @ (0, -1, 0), atol=1e-3)
    assert height == pytest.approx(1.52 - path.centres[20, 1], rel=1e-3)


@pytest.mark.parametrize(
    ("points", "lift"),
    [
        (ground_points()[200:], 0.0),  # a wall alone
        (ground_points(), 0.02),  # feet that rise by 2 cm a frame
    ],
)
def test_a_plane_that_the_feet_do_not_reach_is_no_ground(points, lift):
    path = beside(COUNT)
    people = [person(frame) for frame in range(COUNT)]
    joints = np.tile((0.0, 1.5, 5.0), (COUNT, 24, 1)) - path.centres[:, None]
    joints[..., 1] -= lift * np.arange(COUNT)[:, None]
    joints = with_trunks(np.einsum("tij,tkj->tki", path.rotations, joints), path)
    scale = walk_of(path, points=points).scale(people, bodies(joints), TIMES)
    assert scale is None or scale.ground is None


def test_a_background_before_the_people_shows_no_walk():
    """An image that is cropped anew in each frame looks like a walk along a wall; feet agree with some size of it."""
    path = beside(COUNT)
    people = [person(frame) for frame in range(COUNT)]
    joints = walker(path)
    for depth, is_walk in ((1.5, False), (5.5, False), (9.0, True)):
        wall = np.random.default_rng(4).uniform((-2, -2, depth), (2, 2, depth + 0.01), (200, 3))
        assert (walk_of(path, points=wall).scale(people, bodies(joints), TIMES) is not None) == is_walk


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
