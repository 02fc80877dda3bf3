"""Images whose people share a ground: focal length, plane and distances in the fit, and switches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.reference_people import ReferencePeople
from helpers.standing_people import SPOTS, StandingPeople

from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import CommonGroundOptions, FitOptions
from humanpose_cli.fitting.records import joined
from humanpose_cli.fitting.result import Fit

pytestmark = pytest.mark.slow

DEFAULT_FOCAL = 0.9 * 1280
CROWD = StandingPeople(tilt=0.6, height=5.0, focal=800.0, sizes=(1, 0.95, 1.05, 0.72, 1.05, 0.95))


def fitted(people: StandingPeople, options: FitOptions | None = None, exif: float | None = None) -> Fit:
    options = replace(options or FitOptions(), method="keypoints")
    with Fitter(options, people_source=ReferencePeople({0: people.detected()})) as fitter:
        return fitter.fit_image(np.zeros((960, 1280, 3), np.uint8), focal=exif)


@pytest.fixture(scope="module")
def crowd() -> Fit:
    return fitted(CROWD)


def angle(fit: Fit) -> float:
    return float(np.degrees(np.arccos(fit.ground[0, :3] @ CROWD.up)))


def test_the_ground_under_a_crowd_gives_focal_length_plane_and_distances(crowd):
    assert crowd.focal_people.tolist() == [5]  # the child is outside of what sizes of adults explain
    assert abs(np.log(crowd.focal[0] / 800)) < 0.4 * abs(np.log(DEFAULT_FOCAL / 800))
    assert angle(crowd) < 5
    np.testing.assert_allclose(crowd.camera(0).project(crowd.joints3d), crowd.joints2d, atol=0.05)
    assert crowd.reprojection_error.max() < 3
    depth, true = crowd.joints3d[:, 0, 2], CROWD.bodies.joints3d[:, 0, 2]
    spread = np.std(np.log(depth / true))
    switched_off = fitted(CROWD, FitOptions(focal=800.0, ground=CommonGroundOptions(use=False))).joints3d[:, 0, 2]
    assert spread < 0.5 * np.std(np.log(switched_off / true))
    assert crowd.row_document(0)["ground"]["focal_people"] == 5


@pytest.mark.parametrize(("options", "exif"), [(FitOptions(focal=800.0), None), (FitOptions(), 800.0)])
def test_a_fixed_focal_length_stays_with_the_ground(options, exif):
    fit = fitted(CROWD, options, exif)
    assert fit.focal.tolist() == [800.0]
    assert fit.focal_people.tolist() == [0]
    assert angle(fit) < 5


@pytest.mark.extensive
def test_two_people_a_level_camera_and_the_switch_keep_the_default():
    pair = fitted(replace(CROWD, spots=SPOTS[:2]))
    off = fitted(CROWD, FitOptions(ground=CommonGroundOptions(use=False)))
    for fit in (pair, off):
        assert fit.focal[0] == pytest.approx(DEFAULT_FOCAL)
        assert fit.ground is fit.focal_people is None
        assert (fit.segment_scales == 1).all()
    level = fitted(
        StandingPeople(tilt=0.02, height=1.6, focal=800.0, spots=[(x, 620 + 40 * x / 1280) for x in (200, 640, 1100)])
    )
    assert level.focal[0] == pytest.approx(DEFAULT_FOCAL)
    assert level.focal_people.tolist() == [0]


def test_fits_of_several_images_keep_the_ground_of_each(crowd, tmp_path):
    alone = fitted(replace(CROWD, spots=SPOTS[:1]))
    both = joined([alone, crowd])
    assert both.focal_people.tolist() == [0, 5]
    np.testing.assert_array_equal(both.ground, [[0, 0, 0, 0], crowd.ground[0]])
    assert joined([alone, alone]).ground is None
    assert "ground" not in both.row_document(0)
    assert "ground" in both.row_document(1)


def test_amass_has_no_sizes_so_that_scaled_bodies_go_where_they_look_the_same(crowd):
    row = int(np.argmax(np.abs(crowd.segment_scales[:, 0] - 1)))
    arrays = crowd.to_amass(int(crowd.track_id[row]))
    turn = arrays["world_to_camera"][0, :3, :3]
    rest = crowd.body_model().rest_joints(torch.from_numpy(crowd.betas[row : row + 1]))[0, 0].numpy()
    pelvis = turn @ (arrays["trans"][0] + rest)
    np.testing.assert_allclose(pelvis, crowd.joints3d[row, 0] / crowd.segment_scales[row, 0], atol=1e-5)
