"""The fit of a take: its world, its scale, and what each view shows of its rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.filmed_people import RATE, Filmed, camera_at, film
from helpers.walking_person import CAMERA, Walk
from helpers.walking_take import TURN, walking_take

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_library import key_poses
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.exporting.motion import CameraPath
from humanpose_cli.fitting.result import Fit, load_fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.views.bodies import PersonBodies, gather_person, moved_person
from humanpose_cli.views.calibrated import calibration_of
from humanpose_cli.views.cameras import in_axes_of_first
from humanpose_cli.views.options import ViewsOptions
from humanpose_cli.views.plan import draw_plan
from humanpose_cli.views.records import SCALE_UNCERTAINTY, _world_to_first, standing_height, take_fit, with_view_errors
from humanpose_cli.views.take import Take
from humanpose_cli.views.tracks import tracks_of

PELVIS = SMPL24.index("pelvis")
FRAMES = 6


@pytest.mark.parametrize("names", [("sitting_on_chair",), ("sitting_cross_legged", "kneeling"), ("standing", "bow")])
def test_the_world_of_a_take_is_upright_with_seated_people(names: tuple[str, ...]) -> None:
    """People in key poses, each turned to four sides, before a camera that looks down by 0.3 radians."""
    body, camera = default_body(), axis_angle_to_matrix(torch.tensor([0.3, 0.0, 0.0]))
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    people = []
    for name in names:
        headings = axis_angle_to_matrix(torch.tensor([[0.0, 0.2 * turn, 0.0] for turn in range(4)]))
        rotations = key_poses()[name].repeat(4, 1, 1, 1)
        rotations[:, 0] = camera @ flip @ headings @ rotations[:, 0]
        posed = body.pose(rotations, torch.zeros(4, 10), torch.tensor([[0.0, 0.0, 4.0]]).expand(4, 3))
        landmarks = body.pose_landmarks(BLAZEPOSE33.name, posed, torch.zeros(4, 10)).double().numpy()
        people.append(PersonBodies(None, SimpleNamespace(joints3d=posed.joints.numpy()), landmarks))
    down = _world_to_first(people, 1.0)[:3, 1]
    assert np.degrees(np.arccos(down @ camera.numpy()[:, 1])) < 10


@pytest.fixture(scope="module")
def filmed() -> Filmed:
    return film([camera_at(0), camera_at(70, 5.0, 900.0)], frames=FRAMES)


def take_of(filmed: Filmed, offset: float = 0.0) -> Take:
    """A take whose cameras are the true ones, and whose bodies are those of the view that shows the person best."""
    cameras = in_axes_of_first(filmed.cameras)
    cameras[1] = replace(cameras[1], offset=offset)
    times = np.arange(FRAMES) / RATE
    evidence = gather_person(
        [t for n, fit in enumerate(filmed.fits) for t in tracks_of(fit, n, default_body())], times, 2
    )
    assert evidence is not None
    best = evidence.best_view
    return Take(cameras, [0, 1], times, [moved_person(default_body(), evidence, filmed.fits[best], cameras[best])])


def record(filmed: Filmed, take: Take, **more) -> Fit:
    return take_fit(take, filmed.fits, ["a.mp4", "b.mp4"], default_body(), ViewsOptions(), **more)


def test_hands_come_from_the_surer_view_and_blend_where_views_are_alike(filmed: Filmed) -> None:
    fits = []
    for value, confidence in ((0.1, (0.9, 0.8)), (0.2, (0.3, 0.8))):
        rows = len(filmed.fits[len(fits)])
        poses, sure = np.full((rows, 2, 15, 3), value, np.float32), np.tile(np.float32(confidence), (rows, 1))
        fits.append(replace(filmed.fits[len(fits)], hand_poses=poses, hand_confidence=sure))
    take = take_of(filmed)
    fit = take_fit(take, fits, ["a.mp4", "b.mp4"], default_body(), ViewsOptions())
    assert fit.hand_poses is not None
    np.testing.assert_allclose(fit.hand_poses[3, :, 7, 1], (0.1 + 0.1 * 0.3**4 / (0.9**4 + 0.3**4), 0.15), rtol=1e-5)
    np.testing.assert_allclose(fit.hand_confidence, np.tile((0.9, 0.8), (len(fit), 1)), atol=1e-6)
    fits[1] = filmed.fits[1]
    assert take_fit(take, fits, ["a.mp4", "b.mp4"], default_body(), ViewsOptions()).hand_poses is None


def test_the_height_of_the_first_person_scales_bodies_and_cameras(filmed: Filmed) -> None:
    take = take_of(filmed)
    person = take.people[0]
    scale = 1.9 / standing_height(default_body(), person)
    fit, unscaled = record(filmed, take, height=1.9), record(filmed, take)
    assert fit.views is not None
    np.testing.assert_allclose(fit.segment_scales, scale, rtol=1e-6)
    np.testing.assert_allclose(fit.joints3d, scale * person.fit.joints3d, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fit.views.from_first[1, :3, 3], scale * take.cameras[1].translation, rtol=1e-5)
    # The image stays what it is.
    np.testing.assert_allclose(fit.joints2d, unscaled.joints2d, atol=1e-3)
    np.testing.assert_allclose(fit.reprojection_error, unscaled.reprojection_error, rtol=0.05)


def test_standing_height_is_that_of_the_body_at_rest(filmed: Filmed) -> None:
    body, person = default_body(), take_of(filmed).people[0]
    vertices = body.rest(torch.from_numpy(person.fit.betas[:1])).vertices[0].numpy()
    assert standing_height(body, person) == pytest.approx(np.ptp(vertices[:, 1]))


@pytest.mark.parametrize(
    ("more", "source"), [({}, "bodies"), ({"height": 1.8}, "height"), ({"calibrated": True}, "calibration")]
)
def test_the_source_of_the_scale_is_recorded(filmed: Filmed, more: dict, source: str) -> None:
    scale = record(filmed, take_of(filmed), **more).options.scale
    assert scale == {"source": source, "uncertainty": SCALE_UNCERTAINTY[source]}


def test_the_world_has_its_ground_below_the_first_person(filmed: Filmed) -> None:
    fit = record(filmed, take_of(filmed))
    to_first = fit.world_to_camera[0].astype(float)
    pelvis = (fit.joints3d[:, PELVIS] - to_first[:3, 3]) @ to_first[:3, :3]
    np.testing.assert_allclose(pelvis[0, [0, 2]], 0, atol=1e-5)
    assert -1.1 < pelvis[0, 1] < -0.7  # y points down
    np.testing.assert_allclose(to_first[:3, :3] @ to_first[:3, :3].T, np.eye(3), atol=1e-6)
    assert np.linalg.det(to_first[:3, :3]) == pytest.approx(1, abs=1e-5)
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    np.testing.assert_array_equal(record(filmed, take_of(filmed), to_first=pose).world_to_camera[2], pose)


def test_a_camera_that_moves_in_the_file_of_an_earlier_version_has_its_path(filmed: Filmed, tmp_path: Path) -> None:
    fit = record(filmed, take_of(filmed))
    assert fit.views is not None
    poses = np.tile(fit.views.from_first[:, None], (1, FRAMES, 1, 1))
    poses[1, :, :3, 3] += np.linspace((0.0, 0.0, 0.0), (0.6, 0.0, 0.2), FRAMES)
    path = replace(fit, views=replace(fit.views, poses=poses)).save(tmp_path / "take.fit.npz")
    fit = load_fit(path)
    assert fit.views is not None
    assert [camera.is_moving for camera in fit.cameras] == [False, True]
    view, in_world = fit.view("b.mp4"), []
    for one in (fit, view):
        to_camera = one.world_to_camera[one.frame_index].astype(float)
        in_world.append(np.einsum("nji,nkj->nki", to_camera[:, :3, :3], one.joints3d - to_camera[:, None, :3, 3]))
    np.testing.assert_allclose(*in_world, atol=1e-5)
    turns = view.world_to_camera[:, :3, :3].astype(float)
    centres = -np.einsum("fji,fj->fi", turns, view.world_to_camera[:, :3, 3])
    assert np.linalg.norm(centres[-1] - centres[0]) == pytest.approx(np.hypot(0.6, 0.2), rel=1e-3)
    assert CameraPath.all_of(fit)["b.mp4"].positions[-1] == pytest.approx(centres[-1] * (1, -1, -1), abs=1e-5)
    assert [camera.name for camera in calibration_of(fit)] == ["a.mp4"]
    assert draw_plan(fit).shape == (900, 900, 3)


def test_each_frame_names_the_nearest_one_of_a_camera_with_a_clock_that_is_ahead(filmed: Filmed) -> None:
    views = record(filmed, take_of(filmed, offset=3.3 / RATE)).views
    assert views is not None
    assert views.frame.tolist() == [[0, 1, 2, 3, 4, 5], [3, 4, 5, -1, -1, -1]]
    assert views.frame_names[1].tolist() == ["000003", "000004", "000005", "", "", ""]
    assert views.names.tolist() == ["a.mp4", "b.mp4"]
    assert views.offset.tolist() == [0.0, 3.3 / RATE]


def test_a_view_that_does_not_show_the_person_has_no_box(filmed: Filmed) -> None:
    take = take_of(filmed)
    person = take.people[0]
    visible = person.evidence.visible.copy()
    visible[1, 2:] = False
    fit = record(filmed, replace(take, people=[replace(person, evidence=replace(person.evidence, visible=visible))]))
    assert fit.views is not None
    assert (fit.views.boxes[1, 2:] == 0).all()
    np.testing.assert_array_equal(fit.views.boxes[1, :2], filmed.fits[1].boxes[:2])
    assert not fit.interpolated.any()


def test_views_that_show_the_bodies_as_they_are_have_no_error(walk: Walk) -> None:
    fit = with_view_errors(walking_take(walk), walk.body)
    assert fit.views is not None
    np.testing.assert_allclose(fit.views.reprojection_error, 0, atol=1e-3)
    np.testing.assert_allclose(fit.views.weight, 1, atol=1e-6)
    np.testing.assert_allclose(fit.reprojection_error, 0, atol=1e-3)
    alone = walk.fit()
    assert with_view_errors(alone, walk.body) is alone


def test_an_error_is_that_of_the_view_that_has_it(walk: Walk) -> None:
    """Keypoints of the second view are 5 pixels off: its weight is the solver's at so many noise levels."""
    take = walking_take(walk)
    assert take.views is not None
    keypoints = take.views.keypoints2d.copy()
    keypoints[1, ..., :2] += (3, 4)
    fit = with_view_errors(replace(take, views=replace(take.views, keypoints2d=keypoints)), walk.body)
    assert fit.views is not None
    np.testing.assert_allclose(fit.views.reprojection_error, [[0] * len(fit), [5] * len(fit)], atol=1e-3)
    np.testing.assert_allclose(fit.reprojection_error, 2.5, atol=1e-3)
    poses = walk.body.pose(walk.rotations, torch.zeros(len(fit), 10), walk.trans)
    nose = walk.body.pose_landmarks(BLAZEPOSE33.name, poses, torch.zeros(len(fit), 10))[:, 0].double().numpy()
    depth = (nose @ TURN[:3, :3].T + TURN[:3, 3])[:, 2]
    levels = 5 * depth / CAMERA.focal / 0.02
    np.testing.assert_allclose(fit.views.weight[1], 9 / (9 + levels**2), rtol=1e-4)


def test_landmarks_in_doubt_count_only_where_there_are_no_others(walk: Walk) -> None:
    take = walking_take(walk)
    assert take.views is not None
    keypoints = take.views.keypoints2d.copy()
    keypoints[1, :, 5, :2] += 50
    keypoints[1, :, 5, 2] = 0.4
    keypoints[1, 0, :, 2] = 0
    keypoints[1, 0, 5, 2] = 0.4  # the only one in this row
    keypoints[1, 1, :, 2] = 0
    fit = with_view_errors(replace(take, views=replace(take.views, keypoints2d=keypoints)), walk.body)
    assert fit.views is not None
    error = fit.views.reprojection_error[1]
    assert error[0] == pytest.approx(50 * np.sqrt(2), abs=1e-3)
    assert (error[1], fit.views.weight[1, 1]) == (0, 0)
    np.testing.assert_allclose(error[2:], 0, atol=1e-3)
    assert fit.reprojection_error[1] == pytest.approx(0, abs=1e-3)
