"""People in two cameras, and their mirror images, by joints and movements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.filmed_people import RATE, camera_at, film
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import default_body
from humanpose_cli.views.clocks import STEP, clock_evidence
from humanpose_cli.views.relative import agreement, best_rotation
from humanpose_cli.views.tracks import ViewTrack, about_neck, mirrored, tracks_of

CAMERAS = [camera_at(0), camera_at(70, 5.0, 900.0), camera_at(-110, 4.0, 1300.0, 2.2)]
OFFSETS = (0.0, 0.45, -0.3)


@pytest.fixture(scope="module")
def views() -> list[list[ViewTrack]]:
    filmed = film(CAMERAS, ((0, (-0.6, 0.0)), (3, (0.7, 0.3))), frames=70, offsets=OFFSETS)
    return [tracks_of(fit, number, default_body()) for number, fit in enumerate(filmed.fits)]


def test_mirrored_people_get_a_rotation_and_no_reflection(views: list[list[ViewTrack]]) -> None:
    joints = about_neck(views[0][0].joints)
    weights = views[0][0].seen
    turn = Rotation.from_euler("xyz", (20, -70, 10), degrees=True).as_matrix()
    np.testing.assert_allclose(best_rotation(joints, joints @ turn.T, weights), turn, atol=1e-9)
    rotation = best_rotation(joints, joints * (-1.0, 1.0, 1.0), weights)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)


def test_a_mirror_image_is_recognised_by_its_movements(views: list[list[ViewTrack]]) -> None:
    one, other = views[0][0], views[1][0]
    reflected = replace(other, joints=mirrored(other.joints))
    as_it_is, turned = (agreement(one, track, OFFSETS[1]) for track in (other, reflected))
    assert as_it_is is not None
    assert turned is not None
    assert not as_it_is.is_mirror
    assert turned.is_mirror
    assert turned.similarity == pytest.approx(as_it_is.similarity, rel=0.2)
    assert as_it_is.correlation > 0.8 > 0.2 > turned.correlation
    curve = clock_evidence([one], [reflected], 150).curve
    assert (int(curve.argmax()) - 150) * STEP == pytest.approx(OFFSETS[1], abs=1.5 / RATE)
