"""Overlays with the bodies from the side beside the frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.known_people import KnownPeople, true_person

from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.overlays import overlay_image, side_view
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.video import VideoReader

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fit(clip, clip_frames) -> Fit:
    known = KnownPeople({t: [true_person(clip, t)] for t in range(3)})
    with Fitter(people_source=known, method="keypoints") as fitter:
        return fitter.fit(np.stack(list(clip_frames)[:3]))


def test_the_view_from_the_side_stands_to_the_right_of_the_overlay(fit, clip_frames):
    plain, both = fit.overlay(1), fit.overlay(1, from_the_side=True)
    height, width = plain.shape[:2]
    assert both.shape == (height, width + min(width, height), 3)
    np.testing.assert_array_equal(both[:, :width], plain)
    side = both[:, width:]
    assert 0.02 < (side != side[0, 0]).any(-1).mean() < 0.9


def test_the_view_stays_within_a_shot_and_holds_all_of_its_people(fit):
    views = [side_view(fit, frame) for frame in range(fit.frame_count)]
    assert views[0] == views[1] == views[2]
    depths = fit.joints3d[..., 2]
    assert views[0].centre[2] - views[0].reach[0] < depths.min()
    assert views[0].centre[2] + views[0].reach[0] > depths.max()
    cut = replace(fit, shot_id=np.array([0, 1, 1], np.int32))
    assert side_view(cut, 0) != side_view(cut, 1) == side_view(cut, 2)


def test_a_frame_without_people_has_an_empty_view(fit, clip_frames):
    nobody = fit.select([])
    image = overlay_image(fit.body_model(), nobody, clip_frames[0], side=side_view(nobody))
    width = clip_frames[0].shape[1]
    np.testing.assert_array_equal(image[:, :width], clip_frames[0])
    assert (image[:, width:] == image[0, -1]).all()


def test_the_overlay_of_a_sequence_is_a_wider_video(fit, clip_frames, tmp_path):
    fit.save_overlay(tmp_path / "a.mp4", from_the_side=True)
    frames = [pixels for _, pixels in VideoReader(tmp_path / "a.mp4")]
    assert len(frames) == 3
    expected = fit.overlay(0, from_the_side=True)
    height, width = expected.shape[:2]
    assert frames[0].shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(frames[0][:height, :width].astype(int) - expected).mean() < 8
    with pytest.raises(UsageError, match="is not in the fit"):
        fit.overlay(3, from_the_side=True)
