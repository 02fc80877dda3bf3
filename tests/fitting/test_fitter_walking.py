"""A camera that walks behind a person: the fit says so, and takes the walk for no zoom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.reference_people import ReferencePeople, true_person
from helpers.textured_room import FOCAL, SIZE, blobs, room

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
    assert len(fit.options.camera_walks) > FRAMES / 2
    assert (fit.focal == np.float32(FOCAL)).all()
    depth = fit.joints3d[:, 0, 2]
    assert np.ptp(depth) < 0.03 * depth[0]
    assert set(row_doubts(fit)) == {"the camera walks"}
    assert record_summary(fit)["doubtful"] == fit.people[0].doubt == "the camera walks"


@pytest.mark.extensive
def test_a_camera_that_zooms_is_not_doubtful(clip, texture):
    """The person walks away as fast as the image grows; the floor's corners tell the zoom from a walk."""
    zooms = 1.02 ** np.arange(FRAMES)
    fit = fitted(true_person(clip, 0), [room(texture, (0, 0, 0), zoom=zoom) for zoom in zooms])
    assert fit.options.camera_walks is None
    np.testing.assert_allclose(fit.focal / FOCAL, zooms, rtol=0.02)
    assert fit.people[0].doubt == ""


def detection_before(clip, centre, frame=0):
    """What a perfect detector says of the clip's person before a camera at `centre` in the axes of the clip's."""
    posed = clip.posed(slice(frame, frame + 1))
    points = clip.body.pose_landmarks("blazepose33", posed, clip.betas)[0].numpy() - np.asarray(centre, np.float32)
    pixels = FOCAL * points[:, :2] / points[:, 2:] + np.array(SIZE) / 2
    person = true_person(clip, frame)
    box = np.concatenate((pixels.min(0) - 15, pixels.max(0) + 15)).astype(np.float32)
    keypoints = np.concatenate((pixels, person.keypoints[:, 2:]), 1).astype(np.float32)
    return replace(person, box=box, keypoints=keypoints, mask=None)


@pytest.mark.extensive
@pytest.mark.parametrize("options", [{}, {"camera": "walking"}])
def test_the_path_of_a_camera_beside_a_person_who_stands_is_found(clip, texture, options):
    centres = [(0.04 * t, 0.01 * np.sin(t), 0.0) for t in range(FRAMES + 10)]
    source = ReferencePeople({index: [detection_before(clip, centre)] for index, centre in enumerate(centres)})
    posed = clip.posed(slice(0, 1))
    heel = clip.body.pose_landmarks("blazepose33", posed, clip.betas)[0, :, 1].max()
    sole = float(heel) + 0.02
    images = [room(texture, (x, y + 1.5 - sole, z)) for x, y, z in centres]  # the room's floor is at 1.5 m
    with Fitter(FitOptions(focal=FOCAL, **options), people_source=source) as fitter:
        fit = fitter.fit(np.stack(images))
    assert fit.options.camera_walks is None
    (path,) = fit.options.camera_paths
    assert path["metres"] == pytest.approx(centres[-1][0], rel=0.1)  # the size of the body is a guess
    camera = fit.world_to_camera.astype(float)
    positions = -np.einsum("tji,tj->ti", camera[:, :3, :3], camera[:, :3, 3])
    scale = np.linalg.norm(positions[-1]) / np.linalg.norm(centres[-1])
    np.testing.assert_allclose(positions, scale * np.array(centres), atol=0.06)
    joints = np.einsum("tji,tkj->tki", camera[:, :3, :3], fit.joints3d - camera[:, None, :3, 3])
    assert np.ptp(joints[:, 0, 0]) < 0.05
    assert not any("walks" in doubt for doubt in row_doubts(fit))


@pytest.mark.extensive
def test_a_camera_that_is_said_to_turn_or_to_stand_has_no_path(clip, texture):
    centres = [(0.04 * t, 0.0, 0.0) for t in range(FRAMES)]
    source = ReferencePeople({index: [detection_before(clip, centre)] for index, centre in enumerate(centres)})
    images = np.stack([room(texture, centre) for centre in centres])
    for camera in ("still", "turning"):
        with Fitter(FitOptions(focal=FOCAL, camera=camera), people_source=source) as fitter:
            fit = fitter.fit(images)
        assert fit.options.camera_walks is fit.options.camera_paths is None
        assert not fit.world_to_camera[:, :3, 3].any()
        turned = np.ptp(fit.world_to_camera[:, 0, 2])
        assert turned == 0 if camera == "still" else turned > 0
