"""A camera that turns and zooms, from its background: known turns come back, a still camera stays exactly still."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers.extensive import extensive
from helpers.textured_room import FOCAL, SIZE, blobs, room

from humanpose_cli.core.camera import Camera
from humanpose_cli.detect.camera_motion import CameraMotion, CameraPose
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

torch = pytest.importorskip("torch")
CAMERA = Camera.of_image(SIZE, FOCAL)


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    return blobs()


def turn(*axis_angle: float) -> np.ndarray:
    return axis_angle_to_matrix(torch.tensor([axis_angle], dtype=torch.float64))[0].numpy()


def view(scene: np.ndarray, rotation: np.ndarray, zoom: float = 1.0) -> np.ndarray:
    """What a camera sees that is turned from one that looks at the middle of the far plane."""
    wide = np.array([[FOCAL, 0, 960], [0, FOCAL, 720], [0, 0, 1.0]])
    intrinsics = np.array([[zoom * FOCAL, 0, 320], [0, zoom * FOCAL, 240], [0, 0, 1.0]])
    return cv2.warpPerspective(scene, intrinsics @ rotation @ np.linalg.inv(wide), SIZE, flags=cv2.INTER_AREA)


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
        camera = Camera.of_image(SIZE, FOCAL).part((x, y, x + 400, y + 300))
        if t % 2:
            part = cv2.resize(still[y : y + round(300 / scale), x : x + round(400 / scale)], (400, 300))
            camera = camera.scaled(scale)
        poses.append(motion.next_frame(part, [], camera, 0))
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


def walked(frames: list[np.ndarray], boxes: list[list[np.ndarray]] | None = None, camera: Camera = CAMERA):
    """The cameras of all frames as they are known in the end."""
    motion = CameraMotion()
    for index, frame in enumerate(frames):
        motion.next_frame(frame, boxes[index] if boxes else [], camera, 0)
    return motion.poses()


def shaken(amount: float) -> list[np.ndarray]:
    """25 turns of a hand, whose standard deviation about each axis is so many radians."""
    noise = np.random.default_rng(4).normal(0, 1, (25, 3))
    smooth = cv2.GaussianBlur(noise, (1, 9), sigmaX=0.1, sigmaY=2)
    return [turn(*axis_angle) for axis_angle in amount * smooth / smooth.std()]


WALKS = {
    "beside": [(0.04 * t, 0, 0) for t in range(25)],
    "behind": [(0, 0, 0.06 * t) for t in range(25)],
    "backwards": [(0, 0, 1.4 - 0.06 * t) for t in range(25)],
    "around": [(3 * np.sin(0.02 * t), 0, 3 - 3 * np.cos(0.02 * t)) for t in range(25)],
}


@pytest.mark.extensive
@pytest.mark.parametrize("walk", ["behind", *extensive("beside", "backwards", "around")])
def test_a_camera_that_walks_is_recognised_and_does_not_zoom(scene, walk):
    """What is near moves more than what is far; forwards and backwards it looks like a zoom."""
    turns = [turn(0, 0.02 * t, 0) if walk == "around" else r for t, r in enumerate(shaken(0.003))]
    poses = walked([room(scene, *camera) for camera in zip(WALKS[walk], turns, strict=True)])
    assert sum(pose.walks for pose in poses) > 15
    assert not any(pose.walks and pose.solved for pose in poses)
    assert {pose.zoom for pose in poses} == {1.0}


@pytest.mark.extensive
@pytest.mark.parametrize("lens", [1.0, 1.4], ids=["known lens", "lens assumed too long"])
def test_a_camera_that_turns_in_a_deep_room_does_not_walk(scene, lens):
    camera = Camera.of_image(SIZE, lens * FOCAL)
    for turns in ([turn(0.002 * t, 0.012 * t - 0.1, 0) for t in range(25)], shaken(0.01)):
        poses = walked([room(scene, (0, 0, 0), r) for r in turns], camera=camera)
        assert not any(pose.walks for pose in poses)


@pytest.mark.extensive
def test_a_hand_that_shifts_the_camera_by_a_centimetre_does_not_walk(scene):
    shifts = cv2.GaussianBlur(np.random.default_rng(5).normal(0, 0.02, (25, 3)), (1, 9), sigmaX=0.1, sigmaY=2)
    poses = walked([room(scene, tuple(c), r) for c, r in zip(shifts, shaken(0.01), strict=True)])
    assert all(pose.solved and not pose.walks for pose in poses)


@pytest.mark.extensive
@pytest.mark.parametrize("pan", [0.0, 0.006], ids=["zoom", "zoom and pan"])
@pytest.mark.parametrize("factor", [1.03, 1 / 1.03], ids=["in", "out"])
def test_a_zoom_in_a_deep_room_is_one(scene, pan, factor):
    zooms = factor ** np.arange(25) * (1.0 if factor > 1 else 1.4)
    poses = walked([room(scene, (0, 0, 0), turn(0, pan * t, 0), z) for t, z in enumerate(zooms)])
    assert all(pose.solved and not pose.walks for pose in poses)
    assert np.allclose([pose.zoom for pose in poses], zooms / zooms[0], rtol=0.02)


@pytest.mark.extensive
def test_a_bystander_before_a_shaken_camera_is_no_parallax(scene):
    """Nobody has detected them; their corners move together, in one part of the image."""
    frames = [room(scene, (0, 0, 0), r) for r in shaken(0.01)]
    for t, frame in enumerate(frames):
        frame[150:410, 150 + 6 * t : 220 + 6 * t] = scene[:260, :70]
    assert not any(pose.walks for pose in walked(frames))


@pytest.mark.extensive
@pytest.mark.parametrize(
    ("grows", "bare", "walks"), [(0.0, True, True), (0.5, True, False), (1.0, True, False), (0.0, False, False)]
)
def test_before_a_wall_a_person_distinguishes_a_walk_from_a_zoom(scene, grows, bare, walks):
    """The wall grows either way; a camera that follows a person leaves the person's size, and a floor that is not bare
    would show the walk.
    """
    zooms = 1 + 0.02 * np.arange(15)
    frames, boxes = [view(scene, np.eye(3), zoom) for zoom in zooms], []
    for frame, zoom in zip(frames, zooms, strict=True):
        if bare:
            frame[round(240 + 90 * zoom) :] = 128
        half = 60 * zoom**grows
        boxes.append([np.array([290, 350 - 2 * half, 350, 350 + 0.5 * half], np.float32)])
    poses = walked(frames, boxes)
    assert any(pose.walks for pose in poses) is walks
    assert poses[-1].zoom == (1.0 if walks else pytest.approx(zooms[-1], rel=0.02))


@pytest.mark.extensive
def test_a_zoom_before_a_walk_stays(scene):
    """A key frame of the walk corrects the frames since itself alone, unless most of the shot walks."""
    zooms = [1.015 ** min(t, 20) for t in range(32)]
    frames = [room(scene, (0, 0, 0), zoom=zoom) for zoom in zooms]
    poses = walked(frames + [room(scene, (0.05 * t, 0, 0), zoom=zooms[-1]) for t in range(1, 25)])
    assert not any(pose.walks for pose in poses[:15])
    assert poses[15].zoom == pytest.approx(zooms[15], rel=0.02)
    assert sum(pose.walks for pose in poses[32:]) > 10


def test_without_a_background_no_motion_is_returned() -> None:
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
