"""`--method warp3d`: the network's crop put back into the photograph."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.pose_files import RotationTarget
from humanpose_cli.io.pose_files.rotation_files import target_of_fit
from humanpose_cli.models.warp3d.config import PRESETS
from humanpose_cli.models.warp3d.generator import MODEL, Generator
from humanpose_cli.networks.weights import WeightsHeader, write_weights
from humanpose_cli.reposing.options import ReposeOptions
from humanpose_cli.reposing.reposer import Reposer
from humanpose_cli.reposing.warping import WarpReposer


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    tiny = replace(PRESETS["tiny"].generator, channels=8)
    path = tmp_path_factory.mktemp("network") / "warp3d.safetensors"
    write_weights(path, *_parts(Generator(tiny)))
    return str(path)


def _parts(generator):
    tensors, config = generator.state_dict(), asdict(generator.config)
    return tensors, WeightsHeader(MODEL, config)


@pytest.fixture
def scene_of(clip_frames, reference_people, weights, meshes_made_once):
    def read(**options):
        reposer = Reposer(ReposeOptions(method="warp3d", weights=weights, **options), people_source=reference_people)
        return reposer.read(clip_frames[0], focal=None)

    return read


def with_masks(warper: WarpReposer, **masks: np.ndarray) -> WarpReposer:
    """The same person with other masks of the photo."""
    person = warper.person
    return replace(warper, person=replace(person, photographed=replace(person.photographed, **masks)))


@pytest.mark.extensive
def test_only_where_the_person_was_or_goes_does_the_photograph_change(scene_of, clip_frames):
    scene = scene_of()
    target = target_of_fit(scene.record)
    (drawn,) = scene.images(target)
    photo = clip_frames[0]
    assert drawn.image.shape == photo.shape
    x0, y0, x1, y1 = (int(v) for v in scene.record.boxes[0])
    far = np.ones(photo.shape[:2], bool)
    reach, x, y = round(0.75 * max(x1 - x0, y1 - y0)), (x0 + x1) // 2, (y0 + y1) // 2  # half the crop, and a little
    far[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach] = False
    assert far.any()
    np.testing.assert_array_equal(drawn.image[far], photo[far])
    assert (drawn.image != photo).any()


@pytest.mark.extensive
def test_the_network_runs_in_its_frame(scene_of):
    """Its crop holds both poses, and joints lie where the fit says, in the crop's pixels."""
    scene = scene_of()
    inputs = []
    warper = scene.composition.drawers[0]
    real = warper.network.repose_all
    warper.network.repose_all = lambda crops: inputs.extend(crops) or real(crops)
    (_,) = scene.images(target_of_fit(scene.record))
    image, source, target = inputs[0].image, inputs[0].source, inputs[0].target
    assert image.shape == (64, 64, 3)
    np.testing.assert_allclose(source, target, atol=1e-3)  # its own pose
    assert ((source[:, :2] > 0) & (source[:, :2] < 64)).all()
    assert abs(source[:, 2] - 32).max() < 32
    assert np.ptp(source[:, :2], axis=0).max() == pytest.approx(0.86 * 64, rel=0.25)


@pytest.mark.extensive
def test_poses_drawn_together_are_as_alone(scene_of):
    """One of them outside the image, of which the network is not asked."""
    scene = scene_of(absolute=True)
    record, count = scene.record, 5
    trans = np.repeat(record.trans[:1], count, 0) + np.linspace(0, 0.2, count, dtype=np.float32)[:, None] * [1, 0, 0]
    trans[3] += [60, 0, 0]
    poses = BodyParams(record.poses[:1].repeat(count, 0), record.betas[:1].repeat(count, 0), trans.astype(np.float32))
    alone = list(scene.images(RotationTarget(poses)))
    inputs, real = [], scene.composition.drawers[0].network.repose_all
    scene.composition.drawers[0].network.repose_all = lambda crops: inputs.append(len(crops)) or real(crops)
    scene.composition = replace(scene.composition, poses_at_once=2)
    together = list(scene.images(RotationTarget(poses)))
    assert inputs == [2, 1, 1]
    assert [len(drawn.doubts) for drawn in together] == [len(drawn.doubts) for drawn in alone]
    for a, b in zip(alone, together, strict=True):
        assert np.abs(a.image.astype(int) - b.image).max() <= 1


@pytest.mark.extensive
def test_transparent_results(scene_of, clip_frames):
    scene = scene_of(background="transparent")
    drawn = next(scene.images(target_of_fit(scene.record))).image
    assert drawn.shape == (*clip_frames[0].shape[:2], 4)
    assert 0 < drawn[..., 3].mean() < 255


@pytest.mark.extensive
def test_the_network_may_get_the_silhouette(scene_of):
    """Where the photograph's mask is, as large a share of the crop as in the photograph, about the joints."""
    scene = scene_of()
    warper = scene.composition.drawers[0]
    inputs, real = [], warper.network.repose_all
    warper.network.repose_all = lambda crops: inputs.extend(crops) or real(crops)
    next(scene.images(target_of_fit(scene.record)))
    silhouette = inputs[0].silhouette
    assert silhouette.shape == (64, 64)
    mask = warper.person.photographed.mask
    scale = 0.86 * 64 / max(np.ptp(edge) for edge in np.nonzero(mask > 0.5))
    assert silhouette.sum() == pytest.approx(mask.sum() * scale**2, rel=0.3)
    inside = [silhouette[int(y), int(x)] for x, y in inputs[0].source[:, :2]]
    assert np.median(inside) > 0.9


def test_silhouettes_lie_on_the_photographs_crop(scene_of):
    """Of a target that gets a crop of its own: a mask as bright as the photograph is so in what the network sees."""
    scene = scene_of(absolute=True)
    warper, record, inputs = scene.composition.drawers[0], scene.record, []
    real = warper.network.repose_all
    warper.network.repose_all = lambda crops: inputs.extend(crops) or real(crops)
    photo = warper.person.photographed.photo
    scene.composition = replace(
        scene.composition, drawers=[with_masks(warper, mask=photo.mean(2, dtype=np.float32) / 255)]
    )
    apart = RotationTarget(BodyParams(record.poses[:1], record.betas[:1], record.trans[:1] + np.float32([0.7, 0, 0])))
    next(scene.images(apart))
    brightness = inputs[0].image.mean(2) / 255
    assert brightness.std() > 0.02
    np.testing.assert_allclose(inputs[0].silhouette, brightness, atol=0.01)


@pytest.mark.extensive
def test_silhouettes_leave_out_who_is_likelier_there_and_may_be_missing(scene_of):
    warper = scene_of().composition.drawers[0]
    mask = warper.person.photographed.mask
    others = np.zeros_like(mask)
    others[::2] = 1.0
    silhouette = with_masks(warper, others=others)._silhouette
    np.testing.assert_array_equal(silhouette[1::2], mask[1::2])
    assert not silhouette[::2][mask[::2] < 1].any()
    assert mask[::2].any()
    assert replace(warper, use_mask=False)._silhouette is None


@pytest.mark.extensive
def test_poses_that_cannot_be_drawn_are_refused(scene_of):
    scene = scene_of(absolute=True)
    record = scene.record
    poses, betas, trans = (np.repeat(values[:1], 2, 0) for values in (record.poses, record.betas, record.trans))
    leaving = RotationTarget(BodyParams(poses, betas, trans + np.float32([[0, 0, 0], [60, 0, 0]])))
    _, gone = scene.images(leaving)
    assert "outside the image" in gone.doubts[0].sentence
    np.testing.assert_array_equal(gone.image, scene.composition.drawers[0].frame.background)
    beside = RotationTarget(BodyParams(record.poses[:1], record.betas[:1], record.trans[:1] + np.float32([60, 0, 0])))
    with raises(UsageError, problem="puts no person into the photograph"):
        list(scene.images(beside))
    apart = RotationTarget(BodyParams(record.poses[:1], record.betas[:1], record.trans[:1] + np.float32([0.7, 0, 0])))
    (moved,) = scene.images(apart)  # so far that photo and result have crops of their own
    assert not any("outside" in doubt.sentence for doubt in moved.doubts)
    behind = RotationTarget(BodyParams(poses, betas, trans * np.float32([[1, 1, 1], [1, 1, -1]])))
    with raises(UsageError, problem="known joints"):
        list(scene.images(behind))


@pytest.mark.extensive
def test_auto_is_the_mesh(clip_frames, reference_people, scene_of):
    reposer = Reposer(ReposeOptions(), people_source=reference_people)
    assert reposer.network is None
    scene = reposer.read(clip_frames[0])
    target = target_of_fit(scene.record)
    assert next(scene.images(target)).methods == ("mesh",)
    assert next(scene_of().images(target)).methods == ("warp3d",)
