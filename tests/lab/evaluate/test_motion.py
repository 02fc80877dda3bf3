"""Footwork of fits without a truth: a body that a camera's path carries along at known speeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.errors import raises
from helpers.fit_values import values
from scipy.spatial.transform import Rotation

from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.fit_options import StoredOptions
from humanpose_cli.lab.evaluate.motion import motion_document, motion_values

COUNT = 40


def standing(**options: Any) -> Fit:
    """Somebody in the rest pose, 4 m before a camera, in forty frames."""
    columns = values((0,) * COUNT, tuple(range(COUNT)), COUNT)
    columns |= {"poses": np.zeros((COUNT, 72)), "betas": np.zeros((COUNT, 10)), "frame_rate": 30.0}
    columns["poses"][:, 0] = np.pi  # body axes have y up
    columns |= {
        "trans": np.tile([0, 0, 4.0], (COUNT, 1)),
        "segment_scales": np.ones((COUNT, 24)),
        "options": StoredOptions(**options),
    }
    return Fit.build(**columns)


def carried(fit: Fit, path: np.ndarray) -> Fit:
    """The camera goes along `path` (F, 3) in the world, and the person with it."""
    worlds = fit.world_to_camera.copy()
    turn = Rotation.from_rotvec([0, 0.7, 0]).as_matrix()
    worlds[:, :3, :3] = turn
    worlds[:, :3, 3] = -path @ turn.T
    return replace(fit, world_to_camera=worlds)


def test_who_stands_does_not_move() -> None:
    (figures,) = motion_values(standing()).values()
    for name in ("foot_slide_cm_s", "below_ground_mm", "acceleration_m_s2", "size_drift_percent"):
        np.testing.assert_allclose(figures[name], 0, atol=2e-3)
    assert len(figures["flight_m_s2"]) == 0
    assert len(figures["foot_slide_cm_s"]) == COUNT - 1


def test_a_camera_path_that_is_wrong_lets_feet_slide() -> None:
    path = np.outer(np.arange(COUNT), [0.01, 0, 0.0])
    (figures,) = motion_values(carried(standing(), path)).values()
    np.testing.assert_allclose(figures["foot_slide_cm_s"], 30, atol=0.01)
    assert figures["acceleration_m_s2"].mean() < 0.05
    faster = 0.5 * 3.0 * (np.arange(COUNT) / 30)[:, None] ** 2 * [0, 0, 1.0]
    (figures,) = motion_values(carried(standing(), faster)).values()
    np.testing.assert_allclose(figures["acceleration_m_s2"], 3, atol=0.02)


def test_who_grows_has_another_size() -> None:
    fit = standing()
    scales = np.ones((COUNT, 24), np.float32)
    scales[-1] = 1.1
    (figures,) = motion_values(replace(fit, segment_scales=scales)).values()
    np.testing.assert_allclose(figures["size_drift_percent"], 10, atol=0.01)


def test_a_flight_is_compared_with_gravity() -> None:
    """Up at 1.5 m/s, and down at 5 m/s², as somebody who is fitted half as large as they are."""
    time = np.clip(np.arange(COUNT) - 3, 0, 18) / 30
    document = motion_document(carried(standing(), (2.5 * time**2 - 1.5 * time)[:, None] * [0, 1, 0]), "clip")
    assert document["people"] == document["flights"] == document["tracks"][0]["flights"] == 1
    assert document["flight_m_s2"] == pytest.approx(5, abs=0.02)


def test_frames_of_an_unknown_camera_interrupt() -> None:
    (figures,) = motion_values(standing(camera_unknown=[5])).values()
    assert len(figures["foot_slide_cm_s"]) == COUNT - 3
    with raises(InputError, subject="clip", got="40 frames"):
        motion_document(standing(camera_walks=list(range(COUNT))), "clip")
