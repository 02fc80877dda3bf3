"""Skirts as rings of cloth: as wide as in the photograph, closed, and round both legs in other poses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.repose_stage import STANDING, Stage, pose
from helpers.skirts import APART, GREEN, Photo, green, in_a_skirt, reposer_of

from humanpose_cli.avatar.garment import Garment
from humanpose_cli.avatar.mesh import MeshReposer
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.ring import Ring, _own_colours
from humanpose_cli.avatar.stages import dress, dress_over_frames
from humanpose_cli.avatar.surface import FEET, LEGS
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.core.errors import UsageError
from humanpose_cli.rendering.shading import rasterise_view

pytestmark = pytest.mark.slow


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture(scope="module")
def skirted(stage: Stage) -> tuple[Photo, MeshReposer]:
    rotations = pose(**STANDING, **APART)
    photo = in_a_skirt(stage, rotations)
    return photo, reposer_of(stage, photo, rotations)


def test_a_skirt_is_drawn_completely(skirted: tuple[Photo, MeshReposer]) -> None:
    (photo, mask), reposer = skirted
    drawn = reposer.render(reposer.person.pose.rotations).image
    assert overlap(drawn[..., 3] > 128, mask > 0.5) > 0.93
    true = (np.abs(photo.astype(int) - GREEN) < 12).all(-1)
    assert overlap(green(drawn), true) > 0.85


def test_a_skirt_does_not_split_when_the_legs_do(skirted: tuple[Photo, MeshReposer]) -> None:
    photo, reposer = skirted[0][0], skirted[1]
    wide = pose(**STANDING, left_hip=(0.0, 0.0, 0.35), right_hip=(0.0, 0.0, -0.35))
    skirt = green(reposer.render(wide).image)
    skirt[: np.flatnonzero((photo == GREEN).all(2).any(1))[0]] = False  # painted skin
    rows = np.flatnonzero(skirt[:, skirt.shape[1] // 2])[5:-5]
    assert len(rows) > 50
    for row in rows:
        left, right = np.percentile(np.flatnonzero(skirt[row]), (15, 85)).astype(int)
        assert skirt[row, left:right].mean() > 0.97


@pytest.fixture(scope="module")
def skirt(skirted: tuple[Photo, MeshReposer]) -> Garment:
    (garment,) = skirted[1].person.avatar.dressed.garments
    return garment


def test_the_hem_is_where_the_photo_has_it(skirted: tuple[Photo, MeshReposer], skirt: Garment) -> None:
    photo, person = skirted[0][0], skirted[1].person
    bottom = np.flatnonzero((photo == GREEN).all(2).any(1))[-1] + 1
    hem = person.view.project(skirt.pose(person.body.posed(*person.pose[:2]))[-72:])[:, 1]
    metres = (float(hem.mean()) - bottom) * float(person.pose.trans[2]) / person.view.focal
    assert abs(metres) < 0.03


@pytest.mark.parametrize("bend", [0.0, -np.pi / 2], ids=["standing", "sitting"])
def test_thighs_stay_inside(skirted: tuple[Photo, MeshReposer], skirt: Garment, bend: float) -> None:
    """Seen from their left, where one does not look into the hem, the cloth is in front of the thighs."""
    dressed = skirted[1].person.avatar.dressed
    rotations = pose(-np.pi / 2, left_hip=(bend, 0, 0), right_hip=(bend, 0, 0))
    posed = dressed.body.posed(rotations, torch.tensor([0.0, 0.0, 3.0]))
    labels = dressed.body.body.part_labels.numpy()
    thighs = parts_mask(labels, LEGS[::2])[dressed.body.body.faces.numpy()].all(1) & dressed.hidden
    assert thighs.sum() > 500
    view = skirted[1].person.view
    body, cloth = (
        rasterise_view(points[None], torch.from_numpy(faces), view).depth[0].numpy()
        for points, faces in (
            (dressed.body.pose(rotations, torch.tensor([0.0, 0.0, 3.0])), dressed.body.body.faces.numpy()[thighs]),
            (skirt.pose(posed), skirt.faces),
        )
    )
    shown = np.isfinite(body)
    assert (body[shown] < cloth[shown]).mean() < 0.03


def test_the_user_says_what_people_wear(skirted: tuple[Photo, MeshReposer]) -> None:
    aligned = skirted[1].person.avatar.dressed.aligned
    worn = {}
    for wears in ("auto", "none", "skirt", "coat:2", "shoes"):
        dressed = dress(aligned, MeshOptions(wears=wears))
        worn[wears] = ([garment.name for garment in dressed.garments], dressed.worn.shod)
        assert dressed.hidden.any() == bool(dressed.garments)
    assert worn == {
        "auto": (["skirt"], True),
        "none": ([], False),
        "skirt": (["skirt"], False),
        "coat:2": (["coat"], False),
        "shoes": ([], True),
    }
    feet = torch.from_numpy(parts_mask(dressed.body.body.part_labels.numpy(), FEET))
    unseen = replace(aligned, reliable=aligned.reliable * ~feet)
    assert [dress(unseen, MeshOptions(wears=wears)).worn.shod for wears in ("auto", "shoes")] == [False, True]
    for wrong in ("shoe", "cap:2"):
        with raises(UsageError, subject="wears", got=repr(wrong)):
            MeshOptions(wears=wrong)


def test_a_name_makes_a_skirt_down_to_its_best_hem(stage: Stage) -> None:
    """Legs in one colour, as in trousers: only the change of colours says where a named skirt ends."""
    rotations = pose(**STANDING)
    photo, mask = stage.person(rotations)
    joints = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).joints[0]
    hips, knees = (stage.view.project(joints[[left, left + 1]])[:, 1].mean() for left in (1, 4))
    hem = int(hips + 0.8 * (knees - hips))
    below = np.arange(len(photo))[:, None] >= hem
    photo[(mask > 0.5) & ~below] = GREEN
    photo[(mask > 0.5) & below] = (230, 230, 225)
    aligned = reposer_of(stage, (photo, mask), rotations).person.avatar.dressed.aligned
    assert dress(aligned, MeshOptions()).garments == ()
    dressed = dress(aligned, MeshOptions(wears="skirt"))
    lowest = stage.view.project(dressed.garments[0].pose(dressed.body.posed(rotations, stage.trans))[-72:])[:, 1]
    metres = (float(lowest.mean()) - hem) * float(stage.trans[2]) / stage.view.focal
    assert abs(metres) < 0.03
    mask[int(hips) - 8 :] = 0  # cut above the hips
    aligned = reposer_of(stage, (photo, mask), rotations).person.avatar.dressed.aligned
    assert dress(aligned, MeshOptions(wears="skirt")).garments == ()


def test_a_row_without_points_of_the_body_goes_round_the_nearest(skirted: tuple[Photo, MeshReposer]) -> None:
    photo = skirted[1].person.avatar.dressed.aligned.skirt_photo
    region = photo.named(1)
    assert region is not None
    y, lowest = photo.dressed.rest()[:, 1].numpy(), float(Ring(photo, region).heights[-1])
    with_gap = replace(photo)
    vars(with_gap)["groups"] = np.where(np.abs(y - lowest) < 0.03, -1, photo.groups)
    reach = [np.ptp(Ring(each, region).garment("skirt").vertices[-72:, 0]) for each in (photo, with_gap)]
    assert reach[1] == pytest.approx(reach[0], rel=0.1)


def test_garments_of_a_clip_are_those_of_its_first_frame(skirted: tuple[Photo, MeshReposer], skirt: Garment) -> None:
    aligned = skirted[1].person.avatar.dressed.aligned
    avatar = dress_over_frames([aligned, aligned], MeshOptions())
    (garment,) = avatar.dressed.garments
    np.testing.assert_array_equal(garment.vertices, skirt.vertices)
    assert (avatar.dressed.hidden == skirted[1].person.avatar.dressed.hidden).all()
    assert (garment.image[..., 1] > 2 * garment.image[..., 0].astype(int)).mean() > 0.8  # the rest is skin above it


def test_an_opening_stays_in_front_and_patterns_go_round() -> None:
    random = np.random.default_rng(1)
    plain = np.clip(np.array(GREEN) / 255 + random.normal(0, 0.02, (60, 80, 3)), 0, 1).astype(np.float32)
    shown = np.ones(plain.shape[:2], np.float32)
    opening, stripes, dots = plain.copy(), plain.copy(), plain.copy()
    opening[:, 30:34] = stripes[20:28] = (0.9, 0.1, 0.1)
    dots[random.random(shown.shape) < 0.4] = (0.9, 0.1, 0.1)
    kept = _own_colours(opening, shown)
    assert not kept[:, 30:34].any()
    assert kept[:, :25].all()
    assert kept[:, 40:].all()
    assert _own_colours(stripes, shown).all()
    assert _own_colours(dots, shown).all()


def test_a_ring_has_no_holes(skirt: Garment) -> None:
    """Each edge has two faces, but for the waist and the hem."""
    edges = np.sort(np.concatenate((skirt.faces, np.roll(skirt.faces, 1, 1))).reshape(2, -1).T, 1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    rows = len(skirt.vertices) // 72
    assert skirt.uv.max() == 1  # files with more are refused
    assert set(counts.tolist()) == {1, 2}
    assert set((unique[counts == 1] // 72).ravel().tolist()) == {0, rows - 1}
