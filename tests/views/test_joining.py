"""Who is who under given cameras, and between rival ways to place them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from helpers.filmed_people import Filmed, camera_at, film

from humanpose_cli.body.body import default_body
from humanpose_cli.views.cameras import ViewCamera
from humanpose_cli.views.joining import explained_seconds, join_tracks
from humanpose_cli.views.people import Clocks, doubtful_views, relate_views, unrivalled_matches
from humanpose_cli.views.tracks import ViewTrack, about_neck, tracks_of

CAMERAS = [camera_at(0), camera_at(70, 5.0, 900.0), camera_at(-110, 4.0, 1300.0, 2.2)]
TWO_PEOPLE = ((0, (-0.6, 0.0)), (3, (0.7, 0.3)))


def all_tracks(filmed: Filmed) -> list[ViewTrack]:
    return [track for view, fit in enumerate(filmed.fits) for track in tracks_of(fit, view, default_body())]


def members(people: Sequence[Sequence[ViewTrack]]) -> list[list[tuple[int, int]]]:
    return sorted([(track.view, track.track) for track in tracks] for tracks in people)


@pytest.fixture(scope="module")
def filmed() -> Filmed:
    return film(CAMERAS, TWO_PEOPLE)


def test_tracks_with_common_points_are_a_person(filmed: Filmed) -> None:
    tracks = all_tracks(filmed)
    people = join_tracks(tracks, filmed.cameras)
    assert members(people) == [[(0, 0), (1, 0), (2, 0)], [(0, 1), (1, 1), (2, 1)]]
    right = [explained_seconds(person, filmed.cameras) for person in people]
    exchanged = [tracks[0], tracks[3]]
    assert min(right) > 0 > explained_seconds(exchanged, filmed.cameras)
    assert explained_seconds(tracks[:1], filmed.cameras) == 0
    assert doubtful_views(people, filmed.cameras, filmed.cameras) == {}
    # The third view is of the others by the first person.
    assert doubtful_views([people[0], exchanged], filmed.cameras, filmed.cameras) == {}
    strangers = [people[0][:2], [tracks[0], tracks[5]]]
    assert doubtful_views(strangers, filmed.cameras, filmed.cameras).keys() == {2}


def test_photographs_of_one_moment_explain_one_person_only() -> None:
    tracks = all_tracks(film(CAMERAS, TWO_PEOPLE, frames=1))
    assert doubtful_views([tracks[:4:2], tracks[1::2]], CAMERAS, CAMERAS) == {}
    assert doubtful_views([[tracks[0], tracks[3]], tracks[1:5:3]], CAMERAS, CAMERAS).keys() == {0, 1, 2}


def test_a_person_from_one_direction_saves_nothing(filmed: Filmed) -> None:
    """Two cameras at nearly one position explain everything, and show no depth."""
    first = filmed.cameras[0]
    beside = replace(first, translation=first.translation + np.array((0.02, 0.0, 0.0)))
    track = all_tracks(film([first, beside]))
    assert explained_seconds(track, [first, beside]) <= 0


def test_an_unrivalled_match_is_alike_and_has_no_rival() -> None:
    """The second camera shows the woman, and a third person who moves as she does but wears blue."""
    red, blue = (50.0, 60.0, 40.0), (40.0, 10.0, -50.0)
    step = (*TWO_PEOPLE, (3, (0.0, 0.9)))
    for colours, lone in (((red, red, blue), [[(0, 1), (1, 1)]]), ((red, red, red), []), ((red, blue, blue), [])):
        woman = film(CAMERAS[:1], step[:2], clothes=colours[:1] * 2).fits[0]
        others = film(CAMERAS[1:2], step, clothes=(red, *colours[1:])).fits[0]
        first, second = (tracks_of(fit, view, default_body()) for view, fit in enumerate((woman, others)))
        people = [[first[0], second[0]], [first[1]], [second[1]], [second[2]]]
        assert members(unrivalled_matches(people)) == lone


def test_shapes_of_single_views_do_not_part_a_person(filmed: Filmed) -> None:
    fit = filmed.fits[1]
    tall = replace(fit, joints3d=fit.joints3d * np.float32(1.1))
    for plain, other in zip(*(tracks_of(one, 1, default_body()) for one in (fit, tall)), strict=True):
        np.testing.assert_allclose(about_neck(other.joints), about_neck(plain.joints), atol=1e-6)
        assert other.leg == pytest.approx(1.1 * plain.leg, rel=1e-5)


def test_keypoints_in_the_box_of_another_person_count_less(filmed: Filmed) -> None:
    fit = filmed.fits[0]
    boxes = fit.boxes.copy()
    second = fit.rows_of(1)
    boxes[second] = (0, 0, 1280, 720)
    first, _ = tracks_of(replace(fit, boxes=boxes), 0, default_body())
    assert (first.keypoints[..., 2] < 0.3).all()
    far = fit.boxes.copy()
    far[second] = (0, 0, 1, 1)
    first, _ = tracks_of(replace(fit, boxes=far), 0, default_body())
    assert (first.keypoints[..., 2] > 0.8).all()


@pytest.mark.extensive
def test_an_image_in_two_views_relates_no_cameras() -> None:
    """A poster in two views agrees with itself, but places both cameras in one direction."""
    truth = CAMERAS[:2]
    man = film(truth, ((0, (0.0, 0.0)),))
    woman = tracks_of(film([camera_at(0)], ((3, (0.7, 0.3)),)).fits[0], 0, default_body())[0]
    views = [tracks_of(fit, view, default_body()) for view, fit in enumerate(man.fits)]
    moved = woman.keypoints + np.array((40.0, 0.0, 0.0))
    poster = [replace(woman, track=1), replace(woman, view=1, track=1, keypoints=moved)]
    posters = [[*tracks, one] for tracks, one in zip(views, poster, strict=True)]
    lenses = [ViewCamera(np.eye(3), np.zeros(3), c.focal, c.principal_point, c.size) for c in truth]
    clocks = Clocks([0.0, 0.0], given=True)
    assert members(relate_views(posters, clocks).people) == [[(0, 0)], [(0, 1), (1, 1)], [(1, 0)]]
    related = relate_views(posters, clocks, lenses)
    assert members(related.people) == [[(0, 0), (1, 0)], [(0, 1)], [(1, 1)]]
