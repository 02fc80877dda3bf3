"""Clocks and mirror images by people's movements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.filmed_people import RATE, camera_at, film
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import default_body
from humanpose_cli.views.relative import STEP, agreement, best_rotation, clock_evidence, likely_clocks
from humanpose_cli.views.tracks import ViewTrack, about_pelvis, mirrored, tracks_of

CAMERAS = [camera_at(0), camera_at(70, 5.0, 900.0), camera_at(-110, 4.0, 1300.0, 2.2)]
OFFSETS = (0.0, 0.45, -0.3)


@pytest.fixture(scope="module")
def views() -> list[list[ViewTrack]]:
    filmed = film(CAMERAS, ((0, (-0.6, 0.0)), (3, (0.7, 0.3))), frames=70, offsets=OFFSETS)
    return [tracks_of(fit, number, default_body()) for number, fit in enumerate(filmed.fits)]


def evidence_of(views: list[list[ViewTrack]]) -> dict[tuple[int, int], np.ndarray]:
    return {(a, b): clock_evidence(views[a], views[b]) for a, b in ((0, 1), (0, 2), (1, 2))}


def test_the_majority_supports_the_true_clocks(views: list[list[ViewTrack]]) -> None:
    evidence = evidence_of(views)
    for (a, b), curve in evidence.items():
        found = (int(curve.argmax()) - len(curve) // 2) * STEP
        assert found == pytest.approx(OFFSETS[b] - OFFSETS[a], abs=1.5 / RATE)
    (clocks, speaks), *others = likely_clocks(evidence, [None] * 3)
    assert clocks == pytest.approx(OFFSETS, abs=1.0 / RATE)
    assert all(less < speaks for _, less in others)


def test_fixed_clocks_stay_and_lead_to_the_others(views: list[list[ViewTrack]]) -> None:
    evidence = evidence_of(views)
    (clocks, _), *_ = likely_clocks(evidence, (0.0, None, -0.30012))
    assert clocks[2] == -0.30012
    assert clocks[1] == pytest.approx(OFFSETS[1], abs=1.0 / RATE)


def test_a_pair_without_information_gets_its_clock_from_the_others(views: list[list[ViewTrack]]) -> None:
    evidence = evidence_of(views)
    evidence[1, 2] = np.zeros_like(evidence[1, 2])
    (clocks, _), *_ = likely_clocks(evidence, [None] * 3)
    assert clocks == pytest.approx(OFFSETS, abs=1.0 / RATE)


def test_who_stands_still_gives_no_clock(views: list[list[ViewTrack]]) -> None:
    still = [[replace(t, joints=np.tile(t.joints[:1], (len(t), 1, 1))) for t in tracks] for tracks in views]
    curve = clock_evidence(still[0], still[1])
    np.testing.assert_allclose(curve, 0, atol=1e-6)
    ((first, second), _), *_ = likely_clocks({(0, 1): curve}, (None, None))
    assert (first, second) == (0.0, 0.0)


def test_mirrored_people_get_a_rotation_and_no_reflection(views: list[list[ViewTrack]]) -> None:
    joints = about_pelvis(views[0][0].joints)
    turn = Rotation.from_euler("xyz", (20, -70, 10), degrees=True).as_matrix()
    np.testing.assert_allclose(best_rotation(joints, joints @ turn.T), turn, atol=1e-9)
    rotation = best_rotation(joints, joints * (-1.0, 1.0, 1.0))
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
    curve = clock_evidence([one], [reflected])
    assert (int(curve.argmax()) - len(curve) // 2) * STEP == pytest.approx(OFFSETS[1], abs=1.5 / RATE)
