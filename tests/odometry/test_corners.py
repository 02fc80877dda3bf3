"""Corners that are followed from frame to frame."""

import numpy as np
import pytest
from helpers.textured_room import blobs

from humanpose_cli.core.camera import Camera
from humanpose_cli.odometry.corners import CornerTracker, FrameCorners

SIZE = (480, 360)  # width, height


@pytest.fixture(scope="module")
def texture():
    return blobs()


def view(texture, x, y):
    return np.ascontiguousarray(texture[y : y + SIZE[1], x : x + SIZE[0]])


def test_corners_move_as_the_image_does(texture):
    tracker, camera = CornerTracker(), Camera.of_image(SIZE)
    for frame in range(4):
        tracker.add(view(texture, 100 + 7 * frame, 50 + 3 * frame), [], camera)
    first, last = tracker.frames[0], tracker.frames[-1]
    ids, before, after = np.intersect1d(first.ids, last.ids, return_indices=True)
    assert len(ids) > 100
    moves = last.positions[after] - first.positions[before]
    np.testing.assert_allclose(np.median(moves, axis=0), (-21, -9), atol=0.05)
    assert (np.abs(moves - (-21, -9)).max(1) < 0.5).mean() > 0.95


def test_positions_are_about_the_principal_point(texture):
    middle, moved = CornerTracker(), CornerTracker()
    middle.add(view(texture, 0, 0), [], Camera.of_image(SIZE, 500.0))
    moved.add(view(texture, 0, 0), [], Camera.of_image(SIZE, 500.0, (200.0, 100.0)))
    assert middle.focal == 500
    shift = moved.frames[0].positions - middle.frames[0].positions
    np.testing.assert_allclose(shift, np.broadcast_to(np.array(SIZE) / 2 - (200, 100), shift.shape), atol=1e-4)


def test_people_have_no_corners_also_where_they_walk_to(texture):
    tracker, camera = CornerTracker(), Camera.of_image(SIZE)
    for frame in range(8):
        box = np.array((60 + 30 * frame, 40, 160 + 30 * frame, 340), np.float32)
        tracker.add(view(texture, 0, 0), [box], camera)
        x, y = (tracker.frames[-1].positions + np.array(SIZE) / 2).T
        inside = (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
        assert len(x)
        assert not inside.any()


def test_large_images_are_shrunken(texture):
    tracker = CornerTracker()
    image = np.ascontiguousarray(texture[:1080, :1920])
    tracker.add(image, [], Camera.of_image((1920, 1080), 1600.0))
    assert tracker.focal == 800
    assert np.abs(tracker.frames[0].positions).max(0) == pytest.approx((480, 270), abs=15)


def test_key_frames_are_evenly_spaced_and_come_where_corners_are_lost():
    tracker = CornerTracker()
    for frame in range(16):
        ids = np.arange(300) + (300 if frame >= 8 else 0)
        tracker.append(FrameCorners(ids, np.zeros((300, 2), np.float32)))
    assert tracker.keys == [0, 6, 8, 14]
    assert [len(frame.ids) for frame in tracker.frames[5:9]] == [150, 300, 150, 300]
