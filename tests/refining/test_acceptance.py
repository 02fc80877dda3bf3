"""The measure that decides what is kept: known overlaps, and stretches of a track instead of single frames."""

import numpy as np
import pytest
from helpers.fit_values import record

from humanpose_cli.fitting.painted_masks import PaintedMasks
from humanpose_cli.io.images import write_image
from humanpose_cli.refining import acceptance
from humanpose_cli.refining.acceptance import accepted_share, overlap, overlap_at, shows_other_clip
from humanpose_cli.refining.options import AcceptanceOptions


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


def test_bodies_overlap_people_of_another_clip_less():
    overlaps = np.full(12, 0.8)
    overlaps[:3] = 0.59, np.nan, np.nan
    assert not shows_other_clip(overlaps)
    overlaps[3] = np.nan
    assert shows_other_clip(overlaps)
    overlaps[0] = np.nan  # nobody is found in drawings
    assert not shows_other_clip(overlaps)
    assert not shows_other_clip(overlaps[:0])


def test_a_mask_of_the_user_is_that_of_the_row_in_it(monkeypatch, tmp_path):
    monkeypatch.setattr(acceptance, "watch_keypoints", lambda pool, image, people, jittered: people)
    rows = record(joints2d=np.tile([[[40.0, 40.0]], [[90.0, 40.0]], [[0.0, 0.0]]], (1, 24, 1)))
    write_image(tmp_path / "m.png", np.where(np.arange(100) < 70, 0, np.full((80, 100), 255)).astype(np.uint8))
    masks = acceptance.masks_of_rows(
        rows, np.array([0, 1]), np.zeros((80, 100, 3), np.uint8), None, PaintedMasks(tmp_path / "m.png")
    )
    assert [mask is not None and mask.exact for mask in masks] == [False, True]


FRAMES = np.arange(90) / 60  # seconds


def straight(before, after):
    """Overlaps (R, 3) that change evenly along the way."""
    return np.stack((before, (before + after) / 2, after), 1)


def test_one_good_frame_among_bad_ones_is_not_kept():
    before, after = np.full(60, 0.7), np.full(60, 0.65)
    after[30] = 0.9
    assert not accepted_share(FRAMES[:60], straight(before, after)).any()


def test_everything_is_kept_where_requested():
    overlaps = straight(np.full(60, 0.7), np.full(60, 0.6))
    overlaps[7] = np.nan
    assert (accepted_share(FRAMES[:60], overlaps, AcceptanceOptions(everything=True)) == 1).all()


NOISE = AcceptanceOptions().gain_noise


@pytest.mark.parametrize(
    ("gain", "highest", "share"),
    [(NOISE, 0.5, 0.25), (NOISE, 1.0, 0.5), (3 * NOISE, 0.6, 0.45), (3 * NOISE, 1.0, 0.75), (NOISE / 2, 2.5, 2 / 3)],
)
def test_the_share_of_the_way_to_the_largest_overlap_grows_with_its_gain(gain, highest, share):
    """Beyond the moved bodies the overlap may be larger still, at twice the way at most: the gain is that of the moved
    ones.
    """
    way = np.array([0, 0.5, 1]) / highest
    curve = 2 * way - way**2
    overlaps = np.tile(0.7 + 0.3 * gain * curve / (2 / highest - highest**-2 if highest > 1 else 1), (20, 1))
    np.testing.assert_allclose(accepted_share(FRAMES[:20], overlaps), share)
    np.testing.assert_allclose(accepted_share(FRAMES[:1], overlaps[:1]), share)
    doubtful = AcceptanceOptions(gain_noise=3 * NOISE)
    assert (accepted_share(FRAMES[:20], overlaps, doubtful) < np.minimum(share, 0.99)).all()


def test_stretches_are_kept_and_joined_smoothly():
    before, after = np.full(90, 0.7), np.full(90, 0.8)
    after[:40] = 0.6
    share = accepted_share(FRAMES, straight(before, after))
    assert (share[:25] == 0).all()
    assert (share[-25:] > 0.99).all()
    assert (np.diff(share) >= -1e-9).all()
    assert np.diff(share).max() < 0.2


def test_rows_with_locked_joints_accept_everything_and_their_neighbours_less():
    before = np.full(60, 0.7)
    shares = accepted_share(FRAMES[:60], straight(before, before - 0.1), None, np.arange(60) == 30)
    np.testing.assert_allclose(shares, np.maximum(1 - abs(FRAMES[:60] - 0.5) / 0.1, 0), atol=1e-9)


@pytest.mark.parametrize("rate", [10, 30, 60, 120])
def test_averages_are_over_seconds(rate):
    """What one and a half seconds show decides alike at every frame rate."""

    def kept(rate):
        seconds = np.arange(round(1.5 * rate)) / rate
        gains = 0.05 * np.sin(2 * np.pi * seconds / 1.5) + 0.05
        return accepted_share(seconds, straight(0.7 + 0 * seconds, 0.7 + gains)).mean()

    assert 0.5 < kept(1000) < 0.9
    assert kept(rate) == pytest.approx(kept(1000), abs=0.02)


def test_no_row_moves_to_where_its_overlap_is_smaller():
    random = np.random.default_rng(0)
    for _ in range(20):
        overlaps = 0.75 + np.cumsum(random.normal([0, 0.01, 0.01], 0.03, (90, 3)), 1)
        overlaps[random.random(90) < 0.1] = np.nan
        share = accepted_share(FRAMES, overlaps)
        assert share.max() > 0.05
        kept = overlap_at(overlaps, share) - overlaps[:, 0]
        assert not (kept < -1e-9).any()
        assert np.abs(np.diff(share)).max() < 0.5


def test_frames_without_a_mask_go_with_their_neighbours():
    before, after = np.full(20, 0.7), np.full(20, 0.85)
    after[5:8] = np.nan
    assert (accepted_share(FRAMES[:20], straight(before, after)) > 0.99).all()
    assert not accepted_share(FRAMES[:20], straight(before * np.nan, after)).any()


def test_a_single_image_decides_for_itself():
    assert accepted_share(FRAMES[:1], np.array([[0.5, 0.6, 0.7]])).tolist() == [1.0]
    assert accepted_share(FRAMES[:1], np.array([[0.6, 0.55, 0.5]])).tolist() == [0.0]
    assert accepted_share(FRAMES[:1], np.array([[0.5, 0.3, 0.8]])).tolist() == [1.0]  # a limb on its way
    assert accepted_share(FRAMES[:1], np.array([[0.5, 0.3, 0.5]])).tolist() == [0.0]


def test_the_overlap_of_a_part_of_the_way_lies_on_the_parabola():
    overlaps = np.array([[0.5, 0.7, 0.6], [0.5, 0.7, 0.6], [0.5, 0.7, 0.6], [0.8, 0.8, 0.8], [0.5, np.nan, 0.6]])
    np.testing.assert_allclose(overlap_at(overlaps, np.array([0, 0.5, 1, 0.3, 0])), [0.5, 0.7, 0.6, 0.8, np.nan])
    a, b, c = 0.4, 0.3, -0.2
    shares = np.array([0, 0.5, 1])
    np.testing.assert_allclose(overlap_at((a + b * shares + c * shares**2)[None], np.array([0.75])), 0.5125)
