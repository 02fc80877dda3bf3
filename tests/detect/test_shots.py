"""Cuts: what begins a shot, and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.block_scenes import scene

from humanpose_cli.detect.shots import ShotDetector


@pytest.mark.parametrize("gain", [0.7, 1.3])
def test_light_noise_and_motion_are_no_cuts(gain: float) -> None:
    shots = ShotDetector()
    rng = np.random.default_rng(0)
    for frame in range(10):
        image = scene(3, 2 * frame) * (gain if frame > 5 else 1.0) + rng.normal(0, 5, (120, 160, 3))
        assert shots.next_frame(np.clip(image, 0, 255).astype(np.uint8)) == 0


def test_frames_that_show_nothing_neither_begin_shots_nor_hide_a_cut() -> None:
    shots = ShotDetector()
    black = np.zeros((120, 160, 3), np.uint8)
    frames = [black, scene(1), scene(1), *[black + 16] * 5, scene(1, 4), black, scene(2), scene(2)]
    assert [shots.next_frame(image) for image in frames] == [0] * 10 + [1, 1]
