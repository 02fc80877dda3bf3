"""A camera that walks behind a person: the fit says so, and takes the walk for no zoom."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.reference_people import ReferencePeople, true_person
from helpers.textured_room import FOCAL, blobs, room

from humanpose_cli.fitting.doubt import row_doubts
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.records import record_summary

FRAMES = 20


@pytest.fixture(scope="module")
def texture():
    return blobs()


def fitted(person, frames):
    """The fit of a person who keeps place and size in the image."""
    source = ReferencePeople({index: [person] for index in range(len(frames))})
    with Fitter(FitOptions(focal=FOCAL), people_source=source) as fitter:
        return fitter.fit(np.stack(frames))


@pytest.mark.extensive
def test_a_camera_that_walks_behind_a_person_is_doubtful_and_does_not_zoom(clip, texture):
    fit = fitted(true_person(clip, 0), [room(texture, (0, 0, 0.08 * t)) for t in range(FRAMES)])
    assert len(fit.options["camera_walks"]) > FRAMES / 2
    assert (fit.focal == np.float32(FOCAL)).all()
    depth = fit.joints3d[:, 0, 2]
    assert np.ptp(depth) < 0.03 * depth[0]
    assert set(row_doubts(fit)) == {"", "the camera walks"}
    assert record_summary(fit)["doubtful"] == fit.people[0].doubt == "the camera walks"


@pytest.mark.extensive
def test_a_camera_that_zooms_is_not_doubtful(clip, texture):
    """The person walks away as fast as the image grows; the floor's corners tell the zoom from a walk."""
    zooms = 1.02 ** np.arange(FRAMES)
    fit = fitted(true_person(clip, 0), [room(texture, (0, 0, 0), zoom=zoom) for zoom in zooms])
    assert "camera_walks" not in fit.options
    np.testing.assert_allclose(fit.focal / FOCAL, zooms, rtol=0.02)
    assert fit.people[0].doubt == ""
