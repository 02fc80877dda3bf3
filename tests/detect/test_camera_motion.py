"""A camera that turns and zooms, from its background: known turns come back, a still camera stays exactly still."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from humanpose_cli.core.camera import Camera
from humanpose_cli.detect.camera_motion import CameraMotion, CameraPose
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

torch = pytest.importorskip("torch")
SIZE, FOCAL = (640, 480), 700.0
CAMERA = Camera.of_image(SIZE, FOCAL)


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """A large plane of blobs, four times the image."""
    random = np.random.default_rng(0)
    small = random.integers(0, 255, (110, 150, 3), dtype=np.uint8)
    return cv2.resize(small, (1920, 1440), interpolation=cv2.INTER_CUBIC)


def turn(*axis_angle: float) -> np.ndarray:
    return axis_angle_to_matrix(torch.tensor([axis_angle], dtype=torch.float64))[0].numpy()


def view(scene: np.ndarray, rotation: np.ndarray, zoom: float = 1.0) -> np.ndarray:
    """What a camera sees that is turned from one that looks at the middle of the far plane."""
    wide = np.array([[FOCAL, 0, 960], [0, FOCAL, 720], [0, 0, 1.0]])
    own = np.array([[zoom * FOCAL, 0, 320], [0, zoom * FOCAL, 240], [0, 0, 1.0]])
    return cv2.warpPerspective(scene, own @ rotation @ np.linalg.inv(wide), SIZE, flags=cv2.INTER_AREA)


def followed(frames: list[np.ndarray], boxes: list[np.ndarray] | None = None) -> list[CameraPose]:
    motion = CameraMotion()
    return [motion.next_frame(frame, boxes or [], CAMERA, 0) for frame in frames]


def degrees_apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(a @ b.T) - 1) / 2, -1, 1))))


@pytest.mark.slow
def test_a_pan_a_tilt_and_a_roll_come_back(scene: np.ndarray) -> None:
    turns = [turn(0.002 * t, 0.012 * t, 0.001 * t) for t in range(30)]
    poses = followed([view(scene, r) for r in turns])
    assert all(pose.solved for pose in poses)
    errors = [degrees_apart(pose.rotation, r) for pose, r in zip(poses, turns, strict=True)]
    assert max(errors) < 0.1  # the last frame is turned by 20 degrees
    assert max(abs(pose.zoom - 1) for pose in poses) < 0.01


@pytest.mark.slow
def test_a_zoom_comes_back(scene: np.ndarray) -> None:
    zooms = 1 + 0.02 * np.arange(20)
    poses = followed([view(scene, np.eye(3), zoom) for zoom in zooms])
    assert np.allclose([pose.zoom for pose in poses], zooms, rtol=0.01)
    assert max(degrees_apart(pose.rotation, np.eye(3)) for pose in poses) < 0.1


def test_crops_that_follow_a_person_are_of_a_camera_that_stands_still(scene: np.ndarray) -> None:
    """Each crop has a camera of its own, which is known: other principal points and scales are no turns."""
    still, motion, poses = view(scene, np.eye(3)), CameraMotion(), []
    for t in range(6):
        x, y, scale = 60 + 12 * t, 40 + 5 * t, 1 + 0.04 * t
        part = cv2.resize(still[y : y + 300, x : x + 400], (400, 300))
        own = Camera.of_image(SIZE, FOCAL).part(x, y, x + 400, y + 300)
        if t % 2:
            part = cv2.resize(still[y : y + round(300 / scale), x : x + round(400 / scale)], (400, 300))
            own = own.scaled(scale)
        poses.append(motion.next_frame(part, [], own, 0))
    assert max(degrees_apart(pose.rotation, np.eye(3)) for pose in poses) < 1  # the last crop is 5 degrees off
    assert max(abs(pose.zoom - 1) for pose in poses) < 0.04  # and a fifth larger


def test_a_still_camera_stays_exactly_still(scene: np.ndarray) -> None:
    random = np.random.default_rng(1)
    still = view(scene, np.eye(3)).astype(float)
    noisy = [np.clip(still + random.normal(0, 4, still.shape), 0, 255).astype(np.uint8) for _ in range(5)]
    for pose in followed(noisy):
        assert pose.solved
        assert (pose.rotation == np.eye(3)).all()
        assert pose.zoom == 1


def test_people_who_move_are_not_the_background(scene: np.ndarray) -> None:
    """A large textured box slides; its corners are many and strong."""
    frames = []
    patch = np.random.default_rng(2).integers(0, 255, (30, 20, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    for t in range(8):
        frame = view(scene, np.eye(3)) // 4 + 90
        frame[100:400, 200 + 6 * t : 400 + 6 * t] = patch
        frames.append(frame)
    poses = followed(frames, [np.array([190, 90, 460, 410], np.float32)])
    assert all((pose.rotation == np.eye(3)).all() for pose in poses)


def test_a_plain_background_outweighs_what_moves_before_it() -> None:
    """A soft field without corners, and a person whom no box surrounds: all corners are theirs."""
    random = np.random.default_rng(3)
    field = cv2.resize(random.integers(100, 140, (9, 12, 3), dtype=np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
    patch = random.integers(0, 255, (20, 8, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    frames = [field.copy() for _ in range(10)]
    for t, frame in enumerate(frames):
        frame[200:400, 100 + 8 * t : 180 + 8 * t] = patch
    for pose in followed(frames):
        assert (pose.rotation == np.eye(3)).all()
        assert pose.zoom == 1
        assert pose.solved


def room(scene: np.ndarray, centre: tuple[float, float, float]) -> np.ndarray:
    """What a camera sees that looks along z at a wall at 6 m, on a floor 1.5 m below it and between two more walls."""
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5 - SIZE[0] / 2, np.arange(SIZE[1]) + 0.5 - SIZE[1] / 2)
    rays = np.stack((x / FOCAL, y / FOCAL, np.ones_like(x)), -1)
    image, nearest = np.zeros((SIZE[1], SIZE[0], 3), np.uint8), np.full(x.shape, np.inf)
    for axis, place in ((1, 1.5), (2, 6.0), (0, -3.0), (0, 3.0)):
        depth = (place - centre[axis]) / np.where(rays[..., axis] == 0, 1e-9, rays[..., axis])
        points = np.asarray(centre) + depth[..., None] * rays
        u, v = (np.asarray(100 * points[..., other] + 700, np.float32) for other in range(3) if other != axis)
        nearer = (depth > 0) & (depth < nearest)
        image[nearer] = cv2.remap(scene, u % 1900, v % 1400, cv2.INTER_LINEAR)[nearer]
        nearest = np.where(nearer, depth, nearest)
    return image


@pytest.mark.slow
def test_a_camera_that_walks_is_found(scene: np.ndarray) -> None:
    """Sideways: what is near moves more than what is far. Forward, it looks like a zoom."""
    sideways = followed([room(scene, (0.04 * t, 0, 0)) for t in range(25)])
    assert sum(pose.walks for pose in sideways) > 5
    assert not any(pose.walks and pose.solved for pose in sideways)
    forward = followed([room(scene, (0, 0, 0.06 * t)) for t in range(25)])
    assert max(pose.zoom for pose in forward) > 1.1
    turning = followed([view(scene, turn(0, 0.012 * t, 0)) for t in range(14)])
    assert not any(pose.walks for pose in turning)


def test_without_a_background_nothing_is_known() -> None:
    first, *others = followed([np.full((480, 640, 3), 128, np.uint8)] * 3)
    assert first.solved
    assert not any(pose.solved for pose in others)


def test_a_cut_begins_anew(scene: np.ndarray) -> None:
    motion = CameraMotion()
    for t in range(4):
        before = motion.next_frame(view(scene, turn(0, 0.02 * t, 0)), [], CAMERA, 0)
    after = motion.next_frame(view(scene, turn(0.1, 0, 0)), [], CAMERA, 1)
    assert degrees_apart(before.rotation, np.eye(3)) > 3
    assert (after.rotation == np.eye(3)).all()
