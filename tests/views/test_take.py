"""Takes with shown truth: cameras, clocks, people and bodies."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.filmed_people import RATE, Filmed, calibrated, camera_at, film
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.doubt import row_doubts
from humanpose_cli.geometry.similarity import procrustes_align
from humanpose_cli.views import people
from humanpose_cli.views.cameras import in_axes_of_first
from humanpose_cli.views.joining import explained_seconds
from humanpose_cli.views.options import ViewsOptions
from humanpose_cli.views.people import TakePeople
from humanpose_cli.views.records import take_fit
from humanpose_cli.views.take import solve_take
from humanpose_cli.views.tracks import tracks_of

NAMES = ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
THREE = [camera_at(0), camera_at(70, 5.0, 900.0), camera_at(-110, 4.0, 1300.0, 2.2)]
ONE_PERSON = ((0, (0.0, 0.0)),)
TWO_PEOPLE = ((0, (-0.6, 0.0)), (3, (0.7, 0.3)))


def solved(filmed, **options):
    return solve_take(filmed.fits, NAMES[: len(filmed.fits)], default_body(), **options)


def apart(take, filmed):
    """Mean distance in metres of all joints of all people after one similarity, where two cameras or more show them."""
    best = np.inf
    for order in (filmed.joints, filmed.joints[::-1]):
        found, true = [], []
        for person, joints in zip(take.people, order, strict=True):
            several = person.evidence.visible.sum(0) >= 2
            found.append(person.fit.joints3d[several].reshape(-1, 3).astype(float))
            true.append(joints[person.evidence.frames[several]].reshape(-1, 3))
        pair = [torch.from_numpy(np.concatenate(points))[None] for points in (found, true)]
        best = min(best, float((procrustes_align(*pair) - pair[1]).norm(dim=-1).mean()))
    return best


def angles(take, filmed):
    """Degrees by which each camera's rotation from the first one is wrong."""
    wrong = []
    for found, true in zip(take.cameras, filmed.cameras, strict=True):
        relative = [c.rotation @ first.rotation.T for c, first in ((found, take.cameras[0]), (true, filmed.cameras[0]))]
        cosine = (np.trace(relative[0] @ relative[1].T) - 1) / 2
        wrong.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return wrong


@pytest.mark.extensive
def test_two_people_before_three_unknown_cameras():
    filmed = film(THREE, TWO_PEOPLE)
    take = solved(filmed)
    assert take.messages == []
    assert [len(person.evidence.views) for person in take.people] == [3, 3]
    assert max(angles(take, filmed)) < 1.5
    for found, true in zip(take.cameras, filmed.cameras, strict=True):
        assert found.focal == pytest.approx(true.focal, rel=0.1)
    assert apart(take, filmed) < 0.015


@pytest.mark.extensive
def test_clocks_differ_by_parts_of_a_frame():
    filmed = film(THREE[:2], ONE_PERSON, frames=60, offsets=(0.0, 0.45))
    take = solved(filmed)
    assert take.cameras[1].offset == pytest.approx(0.45, abs=0.5 / RATE)
    assert apart(take, filmed) < 0.03


@pytest.mark.extensive
def test_sound_gives_the_clocks():
    filmed = film(THREE[:2], ONE_PERSON, frames=60, offsets=(0.0, 0.45))
    heard = solved(filmed, sound_offsets=[0.0, 0.46])
    assert heard.cameras[1].offset == pytest.approx(0.45, abs=0.5 / RATE)


@pytest.mark.extensive
def test_clothes_identify_people_where_two_move_alike():
    """The second camera shows one of two who move in step: by movement it may be either."""
    step = ((0, (-0.6, 0.0)), (0, (0.7, 0.3)))
    red, blue = (50.0, 60.0, 40.0), (40.0, 10.0, -50.0)
    for hidden, colours in ((0, (red, blue)), (1, (red, blue)), (0, (blue, red)), (1, (blue, red))):
        filmed = film(THREE[:2], step, hidden=((1, hidden),), clothes=colours)
        take = solved(filmed, options=ViewsOptions(refinements=0))
        both = next(person for person in take.people if len(person.evidence.views) == 2)
        first = next(track for track in both.evidence.tracks if track.view == 0)
        assert first.track == 1 - hidden


@pytest.mark.extensive
def test_people_without_later_keypoints_have_a_message():
    filmed = film(THREE, ONE_PERSON)
    last = filmed.fits[1].frame_index > 25
    filmed.fits[1] = replace(filmed.fits[1], interpolated=last)
    assert [m for m in solved(filmed).messages if "loses" in m] == [
        f"b.mp4 loses person 0 at {25 / RATE:.2f} s, still in its image"
    ]


@pytest.mark.extensive
def test_a_person_shown_by_one_camera_alone_stays():
    filmed = film(THREE, TWO_PEOPLE, hidden=((1, 1), (2, 1)))
    take = solved(filmed)
    assert sorted(len(person.evidence.views) for person in take.people) == [1, 3]


@pytest.mark.parametrize("clip", [3, 9])
def test_a_person_of_two_views_joins_if_cameras_adjusted_to_everyone_explain_both(clip):
    """The cameras of one person are too wrong for the other; a person who moves otherwise does not join."""
    people = ((0, (-0.4, 0.0)), (3, (0.6, 0.3)), (clip, (0.6, 0.3)))
    filmed = film(THREE, people, frames=20, hidden=((1, 1), (2, 1), (0, 2), (2, 2)), clothes=[(50.0, 20.0, 0.0)] * 3)
    tracks = [tracks_of(fit, view, default_body()) for view, fit in enumerate(filmed.fits)]
    groups = [[view[0] for view in tracks], [tracks[0][1]], [tracks[1][1]]]
    turn = Rotation.from_euler("x", 4, degrees=True).as_matrix()
    cameras = in_axes_of_first(filmed.cameras)
    cameras[1] = replace(cameras[1], rotation=turn @ cameras[1].rotation, translation=turn @ cameras[1].translation)
    assert explained_seconds([*groups[1], *groups[2]], cameras) < 0
    joined = TakePeople(cameras, groups, fixed_poses=False, clocks=False).with_unrivalled_matches().tracks
    assert [len(person) for person in joined] == ([3, 2] if clip == 3 else [3, 1, 1])


def test_views_that_show_no_person_or_are_mirrored_are_left_out():
    filmed = film([*THREE, camera_at(40)], ONE_PERSON, hidden=((3, 0),))
    options = ViewsOptions(refinements=0)
    take = solved(filmed, options=options)
    assert take.used == [0, 1, 2]
    assert take.messages == ["d.mp4 shows no person: it is left out"]


def turning(fit, degrees):
    """The fit of a camera that turns by so much in the end."""
    angle = np.radians(np.linspace(0, degrees, len(fit.world_to_camera)))
    matrices = np.tile(np.eye(4, dtype=np.float32), (len(angle), 1, 1))
    matrices[:, 0, 0] = matrices[:, 2, 2] = np.cos(angle)
    matrices[:, 0, 2], matrices[:, 2, 0] = np.sin(angle), -np.sin(angle)
    return replace(fit, world_to_camera=matrices)


def zooming(fit, factor):
    return replace(fit, focal=(fit.focal * np.linspace(1, factor, len(fit.focal))).astype(np.float32))


def walking(fit, frames):
    lost = list(range(frames))
    return replace(fit, options=replace(fit.options, camera_walks=lost, camera_unknown=lost))


@pytest.mark.extensive
@pytest.mark.parametrize("change", [(zooming, 1.05), (walking, 10), (turning, 2.0)])
def test_a_camera_that_moves_is_left_out(change):
    moving, much = change
    filmed = film(THREE, ONE_PERSON)
    filmed.fits[2] = moving(filmed.fits[2], much)
    take = solved(filmed, options=ViewsOptions(refinements=0))
    assert take.used == [0, 1]
    assert take.messages == ["c.mp4 is from a camera that moves: it is left out"]


@pytest.mark.extensive
def test_a_camera_that_turns_by_a_degree_stands_still():
    filmed = film(THREE, ONE_PERSON)
    filmed.fits[2] = turning(filmed.fits[2], 1.0)
    take = solved(filmed, options=ViewsOptions(refinements=0))
    assert take.used == [0, 1, 2]


@pytest.mark.extensive
def test_a_view_with_cuts_is_left_out():
    """A camera that is pushed shows another image at once, as a cut does."""
    filmed = film(THREE, ONE_PERSON)
    shots = np.repeat([0, 1], len(filmed.fits[1].shot_id) // 2).astype(np.int32)
    filmed.fits[1] = replace(filmed.fits[1], shot_id=shots)
    take = solved(filmed, options=ViewsOptions(refinements=0))
    assert take.used == [0, 2]
    assert take.messages == ["b.mp4 has cuts, or its camera was pushed: it is left out"]


def test_cameras_that_all_move_are_refused():
    filmed = film(THREE[:2], ONE_PERSON)
    filmed.fits[1] = zooming(filmed.fits[1], 1.2)
    with raises(InputError, problem="b.mp4 is from a camera that moves: it is left out"):
        solved(filmed)
    filmed.fits[0] = turning(filmed.fits[0], 5)
    with raises(InputError, problem="fewer than two views: a.mp4 is from a camera that moves: it is left out; b.mp4"):
        solved(filmed)


@pytest.mark.extensive
def test_the_first_view_may_show_no_person():
    filmed = film(THREE, ONE_PERSON, hidden=((0, 0),))
    take = solved(filmed, options=ViewsOptions(refinements=0))
    assert take.used == [1, 2]
    np.testing.assert_array_equal(take.cameras[0].rotation, np.eye(3))
    take = solved(filmed, options=ViewsOptions(refinements=0), calibrated=calibrated(THREE))
    np.testing.assert_allclose(take.cameras[0].matrix, np.eye(4), atol=1e-9)
    assert max(angles(take, Filmed(filmed.fits[1:], THREE[1:], filmed.joints))) < 1e-5


@pytest.mark.extensive
def test_a_mirrored_view_is_left_out():
    from humanpose_cli.views.tracks import mirrored

    filmed = film(THREE, ONE_PERSON)
    fit = filmed.fits[2]
    keypoints = fit.keypoints2d[:, list(BLAZEPOSE33.mirror)].copy()
    keypoints[..., 0] = fit.image_size[0, 0] - keypoints[..., 0]
    reflected = np.ascontiguousarray(mirrored(fit.joints3d.astype(float)), np.float32)
    object.__setattr__(fit, "joints3d", reflected)
    object.__setattr__(fit, "keypoints2d", np.ascontiguousarray(keypoints))
    take = solved(filmed, options=ViewsOptions(refinements=0))
    assert take.used == [0, 1]
    assert take.messages == ["c.mp4 is a mirror image of what the others show: it is left out"]


def test_views_of_different_people_are_refused(monkeypatch):
    monkeypatch.setattr(people, "MAX_DISAGREEMENT", 0.05)
    filmed = film(THREE[:2], TWO_PEOPLE, hidden=((0, 0), (1, 1)))
    with raises(InputError, problem="share no person", remedy="check `offsets`; hpc fit reads each video alone"):
        solved(filmed, offsets=[0.0, 0.0])
    with raises(InputError, problem="share no person"):
        solved(filmed)


@pytest.mark.extensive
def test_cameras_that_look_along_one_line_are_named():
    filmed = film([camera_at(0), camera_at(11)], ONE_PERSON)
    take = solved(filmed, options=ViewsOptions(refinements=0))
    assert len(take.messages) == 1
    assert "a.mp4" in take.messages[0]
    assert "little depth" in take.messages[0]


@pytest.mark.extensive
def test_the_fit_of_a_take_holds_every_view(tmp_path):
    from humanpose_cli.fitting.result import load_fit

    filmed = film(THREE, ONE_PERSON, frames=20)
    body, options = default_body(), ViewsOptions(refinements=0)
    fit = take_fit(solved(filmed, options=options), filmed.fits, NAMES[:3], body, options, height=1.9)
    stored = load_fit(fit.save(tmp_path / "take.fit.npz"))
    assert stored.views is not None
    assert stored.views.names.tolist() == NAMES[:3]
    assert np.ptp(body.rest(torch.from_numpy(fit.betas[:1])).vertices[0, :, 1].numpy()) * fit.segment_scales[
        0, 0
    ] == pytest.approx(1.9, abs=1e-3)
    for number, camera in enumerate(THREE):
        view = stored.view(number)
        down = view.world_to_camera[0, :3, :3] @ (0, 1, 0)
        np.testing.assert_allclose(down, camera.rotation @ (0, 1, 0), atol=0.1)  # y points down in the world
        errors = np.linalg.norm(view.joints2d[:, 4] - filmed.fits[number].keypoints2d[:, 25, :2], axis=-1)
        assert np.median(errors) < 25
        np.testing.assert_allclose(
            view.joints3d,
            stored.joints3d @ stored.views.from_first[number, :3, :3].T + stored.views.from_first[number, :3, 3],
            atol=1e-4,
        )
        # A view that hides a leg does not doubt it: the others show it.
        hiding = view.keypoints2d.copy()
        hiding[:, BLAZEPOSE33.indices(("left_knee", "left_ankle")), 2] = 0
        assert set(row_doubts(replace(view, keypoints2d=hiding))) == set(row_doubts(view))
    with raises(InputError, problem="there is no z"):
        stored.view("z")


def test_cameras_at_one_position_are_refused():
    filmed = film([camera_at(0), camera_at(2, focal=1500)], frames=30)
    with pytest.raises(InputError) as caught:
        solve_take(filmed.fits, ["a", "b"], default_body(), calibrated=calibrated(filmed.cameras))
    assert caught.value.problem == "stand at one position"
