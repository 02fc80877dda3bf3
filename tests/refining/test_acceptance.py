"""The measure that decides what is kept: known overlaps, and stretches of a track instead of single frames."""

import numpy as np
import pytest

from humanpose_cli.refining.acceptance import accepted_share, overlap, overlap_at


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


def straight(before, after):
    """Overlaps (R, 3) that change evenly along the way."""
    return np.stack((before, (before + after) / 2, after), 1)


def test_one_good_frame_among_bad_ones_is_not_kept():
    before, after = np.full(60, 0.7), np.full(60, 0.65)
    after[30] = 0.9
    assert not accepted_share(np.arange(60), straight(before, after)).any()


def test_a_gain_that_noise_could_be_is_not_kept():
    before = np.full(60, 0.7)  # lacks 0.3
    assert not accepted_share(np.arange(60), straight(before, before + 0.029)).any()
    assert (accepted_share(np.arange(60), straight(before, before + 0.031)) > 0.999).all()
    assert not accepted_share(np.arange(60), straight(before, before)).any()


@pytest.mark.parametrize(("highest", "share"), [(0.5, 0.35), (1.0, 0.7), (1.6, 1.0)])
def test_the_share_is_a_part_of_the_way_to_the_greatest_overlap(highest, share):
    way = np.array([0, 0.5, 1])
    overlaps = np.tile(0.7 + 0.1 * (2 * way / highest - (way / highest) ** 2), (20, 1))
    np.testing.assert_allclose(accepted_share(np.arange(20), overlaps), share)
    np.testing.assert_allclose(accepted_share(np.arange(1), overlaps[:1]), share)


def test_stretches_are_kept_and_joined_smoothly():
    before, after = np.full(90, 0.7), np.full(90, 0.75)
    after[:40] = 0.6
    share = accepted_share(np.arange(90), straight(before, after))
    assert (share[:25] == 0).all()
    assert (share[-25:] > 0.999).all()
    assert (np.diff(share) >= -1e-9).all()
    assert np.diff(share).max() < 0.2


def test_frames_without_a_mask_go_with_their_neighbours():
    before, after = np.full(20, 0.7), np.full(20, 0.75)
    after[5:8] = np.nan
    assert (accepted_share(np.arange(20), straight(before, after)) > 0.99).all()
    assert not accepted_share(np.arange(20), straight(before * np.nan, after)).any()


def test_a_single_image_decides_for_itself():
    assert accepted_share(np.array([0]), np.array([[0.5, 0.55, 0.6]])).tolist() == [1.0]
    assert accepted_share(np.array([0]), np.array([[0.6, 0.55, 0.5]])).tolist() == [0.0]
    assert accepted_share(np.array([0]), np.array([[0.5, 0.3, 0.8]])).tolist() == [1.0]  # a limb on its way
    assert accepted_share(np.array([0]), np.array([[0.5, 0.3, 0.5]])).tolist() == [0.0]


def test_the_overlap_of_a_part_of_the_way_lies_on_the_parabola():
    overlaps = np.array([[0.5, 0.7, 0.6], [0.5, 0.7, 0.6], [0.5, 0.7, 0.6], [0.8, 0.8, 0.8], [0.5, np.nan, 0.6]])
    np.testing.assert_allclose(overlap_at(overlaps, np.array([0, 0.5, 1, 0.3, 0])), [0.5, 0.7, 0.6, 0.8, np.nan])
    a, b, c = 0.4, 0.3, -0.2
    shares = np.array([0, 0.5, 1])
    np.testing.assert_allclose(overlap_at((a + b * shares + c * shares**2)[None], np.array([0.75])), 0.5125)
