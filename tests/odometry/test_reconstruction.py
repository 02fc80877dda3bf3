"""Camera paths from corners whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.corner_tracks import TruePath, beside, corner_tracks, path_errors, scene_points
from scipy.spatial.transform import Rotation

from humanpose_cli.odometry.reconstruction import reconstruct


def orbit() -> TruePath:
    """A camera that goes round a place 7 m before it, by 90°."""
    angles = np.linspace(0, np.pi / 2, 60)
    centres = np.stack((7 * np.sin(angles), 0.03 * np.sin(9 * angles), 7 - 7 * np.cos(angles)), 1)
    return TruePath(Rotation.from_rotvec(angles[:, None] * np.array((0, 1, 0))).as_matrix(), centres)


@pytest.mark.parametrize("path", [beside(), orbit()])
def test_a_path_and_its_focal_length_are_found_from_exact_corners(path):
    corners = corner_tracks(path, scene_points())
    corners.focal *= 1.08  # what the solve begins with
    result = reconstruct(corners)
    distance, angle = path_errors(result.rotations, result.centres, path)
    assert (distance, angle) < (2e-4, 2e-2)
    assert result.focal_factor * 1.08 == pytest.approx(1, abs=1e-3)
    assert result.solved.all()
    assert result.error < 0.01


def test_a_fixed_focal_length_stays():
    result = reconstruct(corner_tracks(beside(), scene_points()), fixed_focal=True)
    assert result.focal_factor == 1
    np.testing.assert_allclose(result.rotations[0], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(result.translations[0], 0, atol=1e-12)
    assert path_errors(result.rotations, result.centres, beside()) < (2e-4, 2e-3)


def test_noise_and_things_that_move_change_little():
    corners = corner_tracks(beside(), scene_points(), noise=0.3, movers=150)
    result = reconstruct(corners)
    distance, angle = path_errors(result.rotations, result.centres, beside())
    assert (distance, angle) < (0.01, 0.1)
    assert result.focal_factor == pytest.approx(1, abs=0.02)


STILL = TruePath(np.tile(np.eye(3), (3, 1, 1)), np.zeros((3, 3)))


@pytest.mark.parametrize(
    ("path", "points", "noise"),
    [
        (TruePath(beside().rotations, np.zeros((60, 3))), scene_points(), 0.2),  # turns on its spot
        (STILL, scene_points(), 0),
        (STILL, np.zeros((0, 3)), 0),
        (beside(2), scene_points(), 0),
        (beside(90), scene_points(10), 0.3),
        (beside(90), scene_points(40), 0.3),
    ],
)
def test_too_little_has_no_path(path, points, noise):
    assert reconstruct(corner_tracks(path, points, noise=noise)) is None


def test_frames_without_corners_are_named_and_lie_between_their_neighbours():
    corners = corner_tracks(beside(), scene_points())
    empty = corners.frames[0].ids[:0], corners.frames[0].positions[:0]
    for frame in (27, 28):  # between two key frames
        corners.frames[frame] = corners.frames[frame]._make(empty)
    result = reconstruct(corners)
    assert np.flatnonzero(~result.solved).tolist() == [27, 28]
    middle = (result.centres[26] + result.centres[29]) / 2
    steps = np.linalg.norm(np.diff(result.centres[26:30], axis=0), axis=1)
    np.testing.assert_allclose((result.centres[27] + result.centres[28]) / 2, middle, atol=1e-9)
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-6)


def test_what_comes_after_a_blind_stretch_is_no_part_of_the_path():
    result = reconstruct(corner_tracks(beside(90), scene_points(), blind=range(60, 66)))
    assert result.solved[:60].all()
    assert not result.solved[60:].any()
    assert result.is_reliable


@pytest.mark.extensive
@pytest.mark.parametrize(("factor", "begin", "end"), [(1.1, 20, 70), (1.3, 20, 70)])
def test_a_zoom_on_the_way_is_found(factor, begin, end):
    zooms = factor ** np.clip((np.arange(90) - begin) / (end - begin), 0, 1)
    result = reconstruct(corner_tracks(beside(90), scene_points(), noise=0.3, zooms=zooms))
    distance, angle = path_errors(result.rotations, result.centres, beside(90))
    assert (distance, angle) < (0.01, 0.15)
    np.testing.assert_allclose(result.focal_factor * result.zooms, zooms, rtol=0.02)


@pytest.mark.extensive
def test_a_lens_that_does_not_zoom_keeps_its_focal_length_among_errors():
    result = reconstruct(corner_tracks(beside(), scene_points(), noise=0.7, movers=100))
    np.testing.assert_array_equal(result.zooms, 1)


def test_the_longest_piece_counts_where_all_corners_are_lost_at_once():
    """As a person who fills the image, a whip pan or a black second leave it; the first piece has the better start."""
    path = TruePath(beside(90).rotations, beside(90).centres.copy())
    path.centres[36:] = path.centres[36] + 0.4 * (path.centres[36:] - path.centres[36])
    result = reconstruct(corner_tracks(path, scene_points(), noise=0.1, blind=range(30, 36)))
    assert not result.solved[:36].any()
    assert result.solved[36:].all()
    assert result.is_reliable


def test_a_camera_that_stops_stays_where_it_stopped():
    path = TruePath(beside(90).rotations.copy(), beside(90).centres.copy())
    path.rotations[45:], path.centres[45:] = path.rotations[45], path.centres[45]
    result = reconstruct(corner_tracks(path, scene_points(), noise=0.3))
    distance, angle = path_errors(result.rotations, result.centres, path)
    assert (distance, angle) < (0.01, 0.1)
    assert result.solved.all()


def test_a_mirror_and_a_wall_are_backgrounds_too():
    """What a mirror shows lies at rest behind it."""
    mirror, wall = scene_points(), scene_points()
    mirror[:250, 2] = 18 - mirror[:250, 2]
    wall[:, 2] = 6
    for points in (mirror, wall):
        result = reconstruct(corner_tracks(beside(90), points, noise=0.3))
        distance, angle = path_errors(result.rotations, result.centres, beside(90))
        assert (distance, angle) < (0.01, 0.2)


@pytest.mark.extensive
def test_a_large_screen_makes_no_reliable_path():
    """What it shows moves to and fro on a plane at rest."""
    points = scene_points()
    points[:210] = np.random.default_rng(6).uniform((-2, -1.2, 5.99), (4, 1.2, 6.0), (210, 3))
    frames = np.arange(90)
    shifts = np.stack((np.sin(frames / 15), 0.5 * np.cos(frames / 9), 0 * frames), 1)
    result = reconstruct(corner_tracks(beside(90), points, noise=0.3, movers=210, shifts=shifts))
    assert result is None or not result.is_reliable
