"""Reposing by mesh against images whose truth is known."""

import numpy as np
import pytest
import torch
from helpers.repose_stage import STANDING, Stage, mesh_reposer, pose, sentences
from scipy.ndimage import distance_transform_edt
from skimage.metrics import structural_similarity

from humanpose_cli.avatar.mesh import MeshReposer
from humanpose_cli.avatar.stages import reliable_vertices
from humanpose_cli.avatar.surface import body_texels
from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24

pytestmark = pytest.mark.slow


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    """Decibels, of 8-bit images."""
    error = (a.astype(float) - b.astype(float))[where]
    return float(20 * np.log10(255 / np.sqrt((error**2).mean())))


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity per pixel."""
    return structural_similarity(a, b, channel_axis=2, full=True)[1].mean(2)


@pytest.fixture(scope="module")
def scene(stage: Stage) -> tuple[Stage, np.ndarray, np.ndarray, MeshReposer]:
    rotations = pose(**STANDING)
    reposer = stage.reposer(rotations)
    return stage, *stage.person(rotations), reposer


def test_texture_is_recovered_where_it_was_visible(scene: tuple[Stage, np.ndarray, np.ndarray, MeshReposer]) -> None:
    stage, _, _, reposer = scene
    found = reposer.person.texture.image
    step = stage.texture.shape[0] // found.shape[0]
    truth = stage.texture[step // 2 :: step, step // 2 :: step]
    covered = body_texels(stage.body, found.shape[0]).fine.covered
    visible = covered & (found[..., 3] > 0.95)
    assert 0.1 < visible.mean() < 0.5
    assert psnr(found[..., :3] * 255, truth * 255, visible) > 30  # paint of limbs is in part taken for shadow
    # The painting is symmetric: the mirror image of what was seen is right as well.
    mirrored = covered & (found[..., 3] > 0.3) & (found[..., 3] < 0.55)
    assert psnr(found[..., :3] * 255, truth * 255, mirrored) > 28
    assert 0.3 < reposer.person.texture.visible_fraction < 0.5


def test_same_pose_gives_the_same_image(scene: tuple[Stage, np.ndarray, np.ndarray, MeshReposer]) -> None:
    _, photo, mask, reposer = scene
    again = reposer.render(reposer.person.pose.rotations)
    assert again.image.shape == photo.shape
    assert psnr(again.image, photo, mask > 0.9) > 27
    assert ssim(again.image, photo)[mask > 0.9].mean() > 0.88
    far = distance_transform_edt(mask < 0.1) > 20
    far[np.flatnonzero(mask.any(1))[-1] - 50 :] = False  # where the shadow of the feet falls
    np.testing.assert_array_equal(again.image[far], photo[far])
    assert reposer.person.turn(reposer.person.pose) < 0.1


@pytest.mark.parametrize(
    "target",
    [
        pose(left_shoulder=(0.0, 0.0, 0.5), right_shoulder=(0.0, 0.0, 0.9)),
        pose(0.35, left_shoulder=(0.0, 0.0, -0.9), right_shoulder=(0.0, 0.0, 0.3), left_hip=(-0.7, 0.0, 0.0)),
    ],
    ids=["arms up", "turned, leg raised"],
)
def test_other_pose_looks_like_the_true_image(
    scene: tuple[Stage, np.ndarray, np.ndarray, MeshReposer], target: torch.Tensor
) -> None:
    stage, photo, _, reposer = scene
    truth, true_mask = stage.person(target)
    drawn = reposer.render(target).image
    changed = np.abs(truth.astype(int) - photo).max(2) > 25
    assert ssim(drawn, truth)[changed].mean() > 0.75
    assert ssim(photo, truth)[changed].mean() < 0.45
    assert psnr(drawn, truth, changed) > psnr(photo, truth, changed) + 8.5
    assert ssim(drawn, truth)[true_mask > 0.5].mean() > 0.8


def test_shifted_landmarks_move_the_drawn_person(scene: tuple[Stage, np.ndarray, np.ndarray, MeshReposer]) -> None:
    """The surface moves by what its landmarks do, and by nothing where none is known."""
    reposer = scene[3]
    person = reposer.person
    before = person.surfaces(person.pose)[0].vertices
    surfaces = person.surfaces(person.pose._replace(shifts=torch.tensor([[0.02, -0.01]]).expand(33, 2)))
    moved = (surfaces[0].vertices - before).numpy()
    np.testing.assert_allclose(np.median(moved, axis=0), (0.02, -0.01, 0), atol=1e-3)
    np.testing.assert_array_equal(moved[:, 2], 0)
    unknown = person.surfaces(person.pose._replace(shifts=torch.full((33, 2), torch.nan)))
    np.testing.assert_array_equal(unknown[0].vertices, before)


def test_nothing_of_the_person_is_left_behind(scene: tuple[Stage, np.ndarray, np.ndarray, MeshReposer]) -> None:
    stage, photo, mask, reposer = scene
    background = reposer.frame.background
    hidden = mask > 0.5
    error = np.abs(background.astype(float) - stage.wall)[hidden].mean()
    assert error < 0.4 * np.abs(photo.astype(float) - stage.wall)[hidden].mean()
    assert error < 16


@pytest.mark.extensive
def test_background_choices(scene: tuple[Stage, np.ndarray, np.ndarray, MeshReposer]) -> None:
    stage, photo, mask, _ = scene
    rotations = pose(**STANDING)
    person = stage.fitted(rotations)
    cut_out = mesh_reposer(photo, mask, person, stage.body, background="transparent").render(rotations).image
    assert cut_out.shape == (*photo.shape[:2], 4)
    assert np.abs(cut_out[..., 3] / 255 - mask).mean() < 0.02
    beach = np.zeros((50, 200, 3), np.uint8)
    beach[:, :100], beach[:, 100:] = (255, 0, 0), (0, 0, 255)
    before_beach = mesh_reposer(photo, mask, person, stage.body, background=beach).render(rotations).image
    assert tuple(before_beach[5, 5]) == (255, 0, 0)
    assert tuple(before_beach[5, -5]) == (0, 0, 255)


@pytest.mark.extensive
def test_warnings_name_what_is_made_up(scene: tuple[Stage, np.ndarray, np.ndarray, MeshReposer]) -> None:
    stage, _, _, reposer = scene
    ahead = pose(0.3, **STANDING)
    assert reposer.render(ahead).doubts == ()
    np.testing.assert_allclose(
        reposer.person.turn(reposer.person.pose._replace(rotations=ahead)), np.rad2deg(0.3), atol=0.5
    )
    behind = reposer.render(pose(np.pi, **STANDING))
    assert any("turns 180°" in sentence for sentence in sentences(behind))
    arms = {"left_shoulder": (0.3, -0.6, -1.0), "right_shoulder": (0.3, 0.6, 1.0)}
    crossed = pose(left_elbow=(0.0, -1.9, 0.0), right_elbow=(0.0, 1.9, 0.0), **arms)
    photo, mask = stage.person(crossed)
    warned = mesh_reposer(photo, mask, stage.fitted(crossed), stage.body).render(crossed)
    assert any("arms cross the body" in sentence for sentence in sentences(warned))


@pytest.mark.extensive
def test_other_people_stay_and_give_no_colour(stage: Stage) -> None:
    rotations = pose(**STANDING)
    photo, mask = stage.person(rotations)
    other = np.zeros(mask.shape, np.float32)
    other[150:330, 110:140] = 1  # in front of the trunk and legs
    photo = photo.copy()
    photo[other > 0] = (255, 0, 255)
    mask = np.where(other > 0, 0, mask).astype(np.float32)
    reposer = mesh_reposer(photo, mask, stage.fitted(rotations), stage.body, others=[other])
    background = reposer.frame.background
    np.testing.assert_array_equal(background[other > 0], photo[other > 0])
    made = reposer.person.texture.image[..., :3]
    magenta = (made[..., 0] > 0.9) & (made[..., 2] > 0.9) & (made[..., 1] < 0.2)
    assert magenta.sum() == 0


@pytest.mark.parametrize("trans", [(0.0, 0.0, -2.0), (9.0, 0.0, 2.4), (0.0, 0.0, 0.1)])
def test_person_outside_or_at_the_camera_leaves_a_image(
    scene: tuple[Stage, np.ndarray, np.ndarray, MeshReposer], trans: tuple[float, float, float]
) -> None:
    drawn = scene[3].render(pose(**STANDING), torch.tensor(trans)).image
    assert drawn.shape == scene[1].shape


def test_what_leaves_the_image_is_said(scene: tuple[Stage, np.ndarray, np.ndarray, MeshReposer]) -> None:
    """A hand beyond the right edge, and just within it."""
    stage, _, _, reposer = scene
    rotations = pose(**STANDING)
    x, _, z = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).vertices[0].unbind(1)
    width, focal, centre = stage.view.size[0], stage.view.focal, stage.view.principal_point[0]
    room = float(((width - centre) / focal * z - x).min())
    for beyond, said in ((0.08, True), (-0.02, False)):
        drawn = reposer.render(rotations, stage.trans + torch.tensor([room + beyond, 0.0, 0.0]))
        expected = "of the person leaves the image in this pose; `canvas=fit` grows it"
        assert any(expected in sentence for sentence in sentences(drawn)) == said


@pytest.mark.extensive
def test_an_empty_mask_still_gives_an_image(stage: Stage) -> None:
    rotations = pose(**STANDING)
    photo, mask = stage.person(rotations)
    reposed = mesh_reposer(photo, np.zeros_like(mask), stage.fitted(rotations), stage.body).render(rotations)
    assert reposed.visible_fraction == 0
    for expected in ("shows only 0%", "hides much of the face"):
        assert any(expected in sentence for sentence in sentences(reposed))


def test_a_trunk_cut_by_the_image_keeps_its_texture():
    """Hips below the image's edge are unsure; what is seen of the trunk above them is not."""
    body = default_body()
    confidence = np.ones(len(SMPL24))
    confidence[SMPL24.indices(("pelvis", "spine1", "left_hip", "right_hip", "left_knee", "right_knee"))] = 0.2
    reliability = reliable_vertices(body, confidence)
    assert float(reliability[body.part_labels == SMPL24.index("spine2")].min()) > 0.9
    assert float(reliability[body.part_labels == SMPL24.index("left_knee")].max()) < 0.6
    assert float(reliable_vertices(body, np.zeros(len(SMPL24))).max()) == 0
