"""The measure that decides what is kept: known overlaps, and stretches of a track instead of single frames."""

import numpy as np
import pytest

from humanpose_cli.refining.acceptance import accepted_share, overlap


def test_overlap_of_squares():
    mask, drawn = np.zeros((10, 10)), np.zeros((10, 10))
    mask[:, :6], drawn[:, 4:] = 1, 1
    nothing = np.zeros((10, 10), bool)
    assert overlap(mask, drawn, nothing) == pytest.approx(0.2)
    assert overlap(mask, mask, nothing) == 1
    hidden = nothing.copy()
    hidden[:, 6:] = True
    assert overlap(mask, drawn, hidden) == pytest.approx(2 / 6)
    assert overlap(mask * 0, drawn * 0, nothing) == 0


def test_one_good_frame_among_bad_ones_is_not_kept():
    before, after = np.full(60, 0.7), np.full(60, 0.65)
    after[30] = 0.9
    assert not accepted_share(np.arange(60), before, after).any()


def test_a_gain_that_noise_could_be_is_not_kept():
    before = np.full(60, 0.7)  # lacks 0.3
    assert not accepted_share(np.arange(60), before, before + 0.035).any()
    assert (accepted_share(np.arange(60), before, before + 0.037) > 0.999).all()
    assert not accepted_share(np.arange(60), before, before).any()


def test_stretches_are_kept_and_joined_smoothly():
    before, after = np.full(90, 0.7), np.full(90, 0.75)
    after[:40] = 0.6
    share = accepted_share(np.arange(90), before, after)
    assert (share[:25] == 0).all()
    assert (share[-25:] > 0.999).all()
    assert (np.diff(share) >= -1e-9).all()
    assert np.diff(share).max() < 0.2


def test_frames_without_a_mask_go_with_their_neighbours():
    before, after = np.full(20, 0.7), np.full(20, 0.75)
    after[5:8] = np.nan
    assert (accepted_share(np.arange(20), before, after) > 0.99).all()
    assert not accepted_share(np.arange(20), before * np.nan, after).any()


def test_a_single_image_decides_for_itself():
    assert accepted_share(np.array([0]), np.array([0.5]), np.array([0.6])).tolist() == [1.0]
    assert accepted_share(np.array([0]), np.array([0.6]), np.array([0.5])).tolist() == [0.0]
