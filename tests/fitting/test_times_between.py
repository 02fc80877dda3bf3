"""Motions of varying frame rates at one rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from humanpose_cli.fitting.times_between import TimesBetween

SECONDS = np.array([0.0, 0.1, 0.4, 0.5])


def test_values_and_rotations_lie_between_their_neighbours():
    times = TimesBetween.evenly(SECONDS + 7, 10)
    assert times.values(SECONDS) == pytest.approx(np.arange(6) / 10)
    angles = np.array([0.0, 0.3, 1.5, 1.4])
    matrices = Rotation.from_euler("y", angles[:, None]).as_matrix()[:, None]
    found = Rotation.from_matrix(times.rotations(matrices)[:, 0]).as_rotvec()[:, 1]
    assert found == pytest.approx([0, 0.3, 0.7, 1.1, 1.5, 1.4])


def test_poses_and_cameras_move_along_their_shortest_ways():
    times = TimesBetween.evenly(np.array([0.0, 1.0]), 2)
    poses = np.array([[0, 0, 3.0], [0, 0, -3.0]])  # 0.28 radians apart, over π
    cameras = np.tile(np.eye(4), (2, 1, 1))
    cameras[1, :3, :3] = Rotation.from_euler("y", np.pi / 2).as_matrix()
    centres = np.array([[0.0, 0, 0], [2, 0, 4]])
    cameras[:, :3, 3] = -np.einsum("tij,tj->ti", cameras[:, :3, :3], centres)
    turns, trans, between = times.motion(poses, centres, cameras)
    assert np.abs(turns[1]) == pytest.approx([0, 0, np.pi])
    assert trans[1] == pytest.approx([1, 0, 2])
    assert -between[1, :3, :3].T @ between[1, :3, 3] == pytest.approx([1, 0, 2])
    assert Rotation.from_matrix(between[1, :3, :3]).as_rotvec() == pytest.approx([0, np.pi / 4, 0])


def test_one_frame_stays_one():
    times = TimesBetween.evenly(np.array([3.0]), 30)
    assert times.values(np.array([[5.0, 6.0]])).tolist() == [[5.0, 6.0]]
