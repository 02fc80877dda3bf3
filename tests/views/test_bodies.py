"""The bodies of people that one camera alone shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from helpers.filmed_people import RATE, camera_at, film

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.views.bodies import gather_person, moved_person
from humanpose_cli.views.tracks import tracks_of


def test_a_body_stays_in_the_image_of_a_camera_with_another_lens():
    true = camera_at(0)
    fit = film([true], frames=10).fits[0]
    fit = replace(fit, focal=np.full(10, true.focal, np.float32))
    evidence = gather_person(tracks_of(fit, 0, default_body()), np.arange(10) / RATE, 1)
    longer = replace(true, focal=1.2 * true.focal, principal_point=(630.0, 370.0))
    moved = moved_person(default_body(), evidence, fit, longer).fit
    pixels = longer.project(moved.joints3d.astype(float))
    pelvis = SMPL24.index("pelvis")
    np.testing.assert_allclose(pixels[:, pelvis], fit.joints2d[:, pelvis], atol=0.01)
    assert np.linalg.norm(pixels - fit.joints2d, axis=-1).max() < 10  # what a longer lens changes in perspective
    bones = [joints[:, 4] - joints[:, 7] for joints in (moved.joints3d, fit.joints3d)]
    np.testing.assert_allclose(*(np.linalg.norm(bone, axis=-1) for bone in bones), rtol=1e-4)
