"""Skirts: tubes of cloth round both legs, as far as the photo shows one."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.repose_stage import STANDING, Stage, mesh_reposer, pose
from scipy.spatial.transform import Rotation

from humanpose_cli.avatar.mesh import MeshReposer
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.skirt import SkirtTube, _frames, _hem, _outline, _row_of_skirt, _short_hem
from humanpose_cli.avatar.stages import dress, dress_over_frames
from humanpose_cli.avatar.surface import limb_groups, parts_mask
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError

pytestmark = pytest.mark.slow

GREEN = (20, 190, 40)
APART = {"left_hip": (0.0, 0.0, 0.22), "right_hip": (0.0, 0.0, -0.22)}
Photo = tuple[np.ndarray, np.ndarray]


def in_a_skirt(stage: Stage, rotations: torch.Tensor) -> Photo:
    """Somebody in a green skirt from the hips to below the knees, wider than their legs."""
    photo, mask = stage.person(rotations)
    joints = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).joints[0]
    hips, knees = (stage.view.project(joints[[left, left + 1]]).numpy() for left in (1, 4))
    wide = 0.8 * abs(knees[0, 0] - knees[1, 0])
    top, bottom, middle = hips[:, 1].mean(), knees[:, 1].mean() + 12, hips[:, 0].mean()
    corners = [(middle - 24, top), (middle + 24, top), (middle + wide, bottom), (middle - wide, bottom)]
    skirt = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(skirt, [np.rint(corners).astype(np.int32)], 1)
    return np.where(skirt[..., None] > 0, np.uint8(GREEN), photo), np.maximum(mask, skirt).astype(np.float32)


def reposer_of(stage: Stage, photo: Photo, rotations: torch.Tensor) -> MeshReposer:
    options = MeshOptions()
    return mesh_reposer(*photo, stage.fitted(rotations), stage.body, background="transparent", options=options)


def green(image: np.ndarray) -> np.ndarray:
    return (image[..., 3] > 128) & (image[..., 1] > 150) & (image[..., 0] < 90) & (image[..., 2] < 90)


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
def skirt(skirted: tuple[Photo, MeshReposer]) -> SkirtTube:
    return skirted[1].person.avatar.dressed.skirt


def test_the_hem_is_where_the_photo_has_it(skirted: tuple[Photo, MeshReposer], skirt: SkirtTube, stage: Stage) -> None:
    photo, person = skirted[0][0], skirted[1].person
    bottom = np.flatnonzero((photo == GREEN).all(2).any(1))[-1] + 1
    hem = person.view.project(skirt.rings(person.body.posed(*person.pose[:2]))[-1])[:, 1]
    metres = (float(hem.mean()) - bottom) * float(person.pose.trans[2]) / person.view.focal
    assert abs(metres) < 0.03


def test_rings_enclose_both_legs_in_any_pose(skirted: tuple[Photo, MeshReposer], skirt: SkirtTube) -> None:
    """In each direction of its plane a ring reaches further than either leg's axis, by what the body needs there."""
    dressed, random = skirted[1].person.body, np.random.default_rng(3)
    for _ in range(10):
        rotations = pose(**STANDING)
        for name in ("left_hip", "right_hip", "left_knee", "right_knee"):
            turn = Rotation.from_rotvec(random.normal(0, 0.4, 3)).as_matrix()
            rotations[SMPL24.index(name)] = torch.from_numpy(turn.astype(np.float32))
        posed = dressed.posed(rotations, torch.zeros(3))
        rings = skirt.rings(posed)
        centres, directions = _frames(posed, skirt.levels, skirt.reach.shape[1])
        np.testing.assert_array_equal(rings[:, 0], rings[:, -1])
        beyond = torch.einsum("rai,rai->ra", directions, rings[:, :-1])
        legs = torch.einsum("rai,rci->rac", directions, centres).amax(2)
        assert (beyond >= legs + skirt.body_reach - 1e-4).all()


def test_cloth_lies_on_the_legs_of_a_sitting_person(skirted: tuple[Photo, MeshReposer], skirt: SkirtTube) -> None:
    thighs, wide = (skirt.levels > 0.15) & (skirt.levels < 0.3), replace(skirt, reach=skirt.body_reach + 0.1)
    for bend, stand_off in ((0.0, 0.1), (-np.pi / 2, 0.025)):
        posed = skirted[1].person.body.posed(pose(left_hip=(bend, 0, 0), right_hip=(bend, 0, 0)), torch.zeros(3))
        centres, directions = _frames(posed, skirt.levels, skirt.reach.shape[1])
        away = wide.rings(posed)[:, :-1] - _outline(centres, directions, skirt.body_reach)
        torch.testing.assert_close(away[thighs], (stand_off * directions)[thighs], atol=0.012, rtol=0)


def test_the_user_says_what_people_wear(skirted: tuple[Photo, MeshReposer]) -> None:
    aligned = skirted[1].person.avatar.dressed.aligned
    worn = {}
    for wears in ("auto", "none", "skirt", "shoes"):
        dressed = dress(aligned, MeshOptions(wears=wears))
        worn[wears] = (dressed.skirt is not None, dressed.worn.shod)
    assert worn == {"auto": (True, True), "none": (False, False), "skirt": (True, False), "shoes": (False, True)}
    with raises(UsageError, subject="wears", got="'shoe'"):
        MeshOptions(wears="shoe")


def test_looks_have_the_skirt_on_the_legs(skirted: tuple[Photo, MeshReposer]) -> None:
    avatar = dress_over_frames([skirted[1].person.avatar.dressed.aligned], MeshOptions())
    texels = avatar.dressed.texels
    thighs = parts_mask(texels.part_labels, ("left_hip", "right_hip"))
    on_thighs = texels.fine.interpolate(thighs[:, None].astype(np.float32), texels.faces)[..., 0] > 0.9
    colours = avatar.texture.image[on_thighs]
    assert avatar.dressed.skirt is None
    assert (colours[:, 1] > 2 * colours[:, 0]).mean() > 0.7


def test_the_resting_body_is_inside(skirted: tuple[Photo, MeshReposer], skirt: SkirtTube) -> None:
    dressed = skirted[1].person.body
    eye = torch.eye(3).repeat(24, 1, 1)
    posed, body = dressed.posed(eye, torch.zeros(3)), dressed.pose(eye, torch.zeros(3))
    legs = body[torch.from_numpy(limb_groups()[dressed.body.part_labels.numpy()] >= 3)]
    rings = skirt.rings(posed)[:, :-1]
    directions = _frames(posed, skirt.levels, skirt.reach.shape[1])[1]
    for ring, ways in zip(rings, directions, strict=True):
        near = legs[(legs[:, 1] - ring[:, 1].mean()).abs() < 0.004]
        if len(near):
            assert ((near @ ways.T).amax(0) <= (ring * ways).sum(1) + 0.004).all()


def test_a_tube_has_no_holes(skirt: SkirtTube) -> None:
    """Each edge has two faces, but for the waist and the hem."""
    around = skirt.reach.shape[1] + 1
    faces = skirt.faces.numpy()
    merged = np.where(faces % around == around - 1, faces - (around - 1), faces)  # the seam's points are the same
    edges = np.sort(np.concatenate([merged[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))]), 1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    open_rings = set((unique[counts == 1] // around).ravel().tolist())
    assert set(counts.tolist()) == {1, 2}
    assert open_rings == {0, len(skirt.levels) - 1}


@pytest.mark.parametrize(
    ("hems", "middle", "gap_from", "levels"),
    [
        ((10, 10), GREEN, 10, 10),
        ((12, 12), GREEN, 20, 12),  # legs close together
        ((10, 10), GREEN, 6, None),  # shorts: the legs part above their hem
        ((10, 10), (10, 70, 15), 10, None),  # shorts: a crease between the legs
        ((10, 14), GREEN, 14, None),  # no hem of one height
        ((5, 5), GREEN, 5, None),  # a shirt
        ((20, 20), GREEN, 20, None),  # trousers
    ],
)
def test_the_hem_of_a_short_skirt_is_at_one_height(hems, middle, gap_from, levels) -> None:
    pixels = np.full((20, 80, 3), (205, 150, 120), np.uint8)
    person = np.zeros((20, 80), bool)
    person[:, 25:55] = True
    leg = person.copy()
    for columns, hem in zip((slice(20, 40), slice(40, 60)), hems, strict=True):
        pixels[:hem, columns] = GREEN
    pixels[: hems[0], 38:42] = middle
    person[gap_from:, 37:43] = leg[gap_from:, 37:43] = False
    signs = np.where(np.arange(20) < gap_from, 0, -1)
    assert _short_hem(pixels, person, leg, signs) == levels


@pytest.mark.extensive
@pytest.mark.parametrize("turn", [0.0, *extensive(1.2)])
def test_bare_legs_and_trousers_are_no_skirt(stage: Stage, turn: float) -> None:
    rotations = pose(turn, **STANDING, **APART)
    assert reposer_of(stage, stage.person(rotations), rotations).person.avatar.dressed.skirt is None


@pytest.mark.extensive
def test_cloth_that_goes_on_below_its_hem_is_trousers(stage: Stage) -> None:
    """Wide trousers: the space between the legs is filled further down than the crotch, and then they part."""
    rotations = pose(**STANDING, **APART)
    photo, mask = in_a_skirt(stage, rotations)
    joints = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).joints[0]
    hips = int(stage.view.project(joints[[1, 2]])[:, 1].mean())
    photo[hips:][mask[hips:] > 0.5] = GREEN
    assert reposer_of(stage, (photo, mask), rotations).person.avatar.dressed.skirt is None


@pytest.mark.parametrize(
    ("cells", "sign", "edges"),
    [
        ("....LL...LL....", -1, (np.nan, np.nan)),  # background between the legs
        ("..ppLLpppLLpp..", 1, (-5, 5)),
        ("....LLLLLLL....", 0, (-3, 3)),
        ("ppppLLLLLLLppp.", 1, (np.nan, 6)),  # cut by the line's end
        ("...............", 0, (np.nan, np.nan)),
    ],
)
def test_rows_of_skirts(cells: str, sign: int, edges: tuple[float, float]) -> None:
    """Lines across the legs: L a leg, p the person beside it, . background; cells of 2 cm."""
    leg = np.array([cell == "L" for cell in cells])
    person = np.array([cell in "Lp" for cell in cells])
    reach = np.arange(-7, 8) * 0.02
    found, at = _row_of_skirt(person, np.zeros(15, bool), leg, reach)
    assert found == sign
    np.testing.assert_allclose(np.array(at) / 0.02, edges)


def test_hems() -> None:
    length = round(0.22 / 0.02)

    def hem(signs: list[int], widths: list[float] | None = None) -> int | None:
        return _hem(np.array(signs), np.array(widths or [0.3] * len(signs)))

    assert hem([1] * length) == length
    assert hem([1] * (length - 1)) is None
    assert hem([0] * 3 + [1] * length + [0] * 2 + [-1, 1, 1]) == length + 3
    assert hem([-1] + [1] * 20) is None
    # Legs side by side below the hem: the outline goes in.
    assert hem([1] * (length + 9), [0.4] * (length + 4) + [0.2] * 5) == length + 4
    assert hem([1] * (length + 9), [0.4] * (length + 4) + [np.nan] * 5) == length + 9
    assert hem([1] * (length + 9), [0.4] * (length + 4) + [0.2] + [0.4] * 4) == length + 9  # one stray row
