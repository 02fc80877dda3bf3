"""`--method warp3d`: the network's crop put back into the photograph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from humanpose_cli.errors import InputError, UsageError
from humanpose_cli.networks.weights_file import WeightsHeader, write_weights
from humanpose_cli.pipelines.repose import ReposeOptions, Reposer
from humanpose_cli.pipelines.targets import RotationTarget, target_of_record
from humanpose_cli.reposing.warp3d.config import PRESETS
from humanpose_cli.reposing.warp3d.generator import Generator
from humanpose_cli.reposing.warp3d.inference import MODEL, generator_weights
from humanpose_cli.training.personalizing import PersonalizeOptions


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    tiny = replace(PRESETS["tiny"].generator, channels=8)
    assert tiny.carry_detail
    path = tmp_path_factory.mktemp("network") / "warp3d.safetensors"
    write_weights(path, *_parts(Generator(tiny)))
    return str(path)


def _parts(generator):
    tensors, config = generator_weights(generator)
    return tensors, WeightsHeader(MODEL, config)


@pytest.fixture
def scene_of(clip_frames, known, weights):
    def read(**options):
        reposer = Reposer(ReposeOptions(method="warp3d", weights=weights, **options), people=known)
        return reposer.read(clip_frames[0], focal=None)

    return read


def test_only_where_the_person_was_or_goes_does_the_photograph_change(scene_of, clip_frames):
    scene = scene_of()
    target = target_of_record(scene.record)
    (drawn,) = scene.pictures(target)
    photo = clip_frames[0]
    assert drawn.image.shape == photo.shape
    x0, y0, x1, y1 = (int(v) for v in scene.record.boxes[0])
    far = np.ones(photo.shape[:2], bool)
    reach, x, y = round(0.75 * max(x1 - x0, y1 - y0)), (x0 + x1) // 2, (y0 + y1) // 2  # half the crop, and a little
    far[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach] = False
    assert far.any()
    np.testing.assert_array_equal(drawn.image[far], photo[far])
    assert (drawn.image != photo).any()


def test_the_network_is_asked_in_its_own_frame(scene_of):
    """Its crop holds both poses, and joints lie where the fit says, in the crop's pixels."""
    scene = scene_of()
    asked = []
    warper = scene._drawer(0, scene._placed(target_of_record(scene.record), scene.rows[0]))
    real = warper.network.repose
    warper.network.repose = lambda image, source, target, *more: (
        asked.append((image, source, target)) or real(image, source, target, *more)
    )
    (_,) = scene.pictures(target_of_record(scene.record))
    image, source, target = asked[0]
    assert image.shape == (64, 64, 3)
    np.testing.assert_allclose(source, target, atol=1e-3)  # its own pose
    assert ((source[:, :2] > 0) & (source[:, :2] < 64)).all()
    assert abs(source[:, 2] - 32).max() < 32
    assert np.ptp(source[:, :2], axis=0).max() == pytest.approx(0.86 * 64, rel=0.25)


def test_transparent_results_and_details(scene_of, clip_frames):
    plain, detailed = (
        next(scene.pictures(target_of_record(scene.record))).image
        for scene in (scene_of(background="transparent"), scene_of(background="transparent", keep_input_detail=True))
    )
    assert plain.shape == (*clip_frames[0].shape[:2], 4)
    assert 0 < plain[..., 3].mean() < 255
    np.testing.assert_array_equal(plain[..., 3], detailed[..., 3])
    changed = (plain[..., :3] != detailed[..., :3]).any(-1)
    assert changed.any()
    assert (detailed[..., 3][changed] > 0).all()


def test_the_meshs_drawing_may_stand_in_for_carried_pixels(scene_of):
    scene = scene_of(mesh_input=True, background="transparent")
    own = target_of_record(scene.record)
    warper = scene._drawer(0, scene._placed(own, scene.rows[0]))
    given = []
    real = warper.network.repose
    warper.network.repose = lambda *all: given.append(all[-1]) or real(*all)
    (drawn,) = scene.pictures(own)
    plain = next(scene_of(background="transparent").pictures(own))
    assert (drawn.image != plain.image).any()
    (carried,) = given
    assert carried.shape == (5, 64, 64)
    mesh = scene._meshes[0]
    (row, column) = (values.mean() for values in np.nonzero(carried[3] > 0.5))
    assert abs(row - 32) < 6
    assert abs(column - 32) < 6
    assert 0 < carried[4].max() <= 1
    assert mesh.texture.seen_fraction > 0


def test_a_network_that_has_learned_the_person_draws_otherwise(clip_frames, known, weights):
    told, pictures = [], []
    for steps in (0, 2):
        learning = PersonalizeOptions(steps=steps, learning_rate=1e-2, perceptual="pixels")
        reposer = Reposer(ReposeOptions(method="warp3d", weights=weights, personalize=learning), people=known)
        scene = reposer.read(clip_frames[0], on_step=lambda *what: told.append(what))
        pictures.append(next(scene.pictures(target_of_record(scene.record))).image)
    assert (pictures[0] != pictures[1]).any()
    assert told == [(1, 2, "steps of the network"), (2, 2, "steps of the network")]
    with pytest.raises(UsageError, match="--method warp3d"):
        ReposeOptions(method="mesh", personalize=PersonalizeOptions(steps=1))


def test_poses_that_cannot_be_drawn_are_refused(scene_of):
    scene = scene_of(absolute=True)
    record = scene.record
    beside = RotationTarget(record.poses[:1], record.trans[:1] + np.float32([60, 0, 0]))
    (gone,) = scene.pictures(beside)
    assert "outside the picture" in gone.warnings[0]
    np.testing.assert_array_equal(gone.image, scene._meshes[0].background)
    apart = RotationTarget(record.poses[:1], record.trans[:1] + np.float32([0.7, 0, 0]))
    (moved,) = scene.pictures(apart)  # so far that photo and result have crops of their own
    assert not any("outside" in warning for warning in moved.warnings)
    behind = RotationTarget(record.poses[:1], record.trans[:1] * np.float32([1, 1, -1]))
    with pytest.raises(UsageError, match="known joints"):
        list(scene.pictures(behind))


def test_auto_takes_the_network_where_the_pose_turns_away(clip_frames, known, weights):
    """One choice for a motion, by its middle pose; every picture says which."""
    options = ReposeOptions(method="auto", weights=weights, network_turn=60.0)
    scene = Reposer(options, people=known).read(clip_frames[0])
    own = target_of_record(scene.record)
    (same,) = scene.pictures(own)
    assert same.methods == ("mesh",)
    (turned,) = scene.pictures(_turned(own, 120))
    assert turned.methods == ("warp3d",)
    both = RotationTarget(np.concatenate((own.poses, *[_turned(own, 120).poses] * 2)), own.trans.repeat(3, 0))
    assert {picture.methods for picture in scene.pictures(both)} == {("warp3d",)}
    never = Reposer(ReposeOptions(weights=weights, network_turn=180.0), people=known)
    assert never.network is None


def _turned(target, degrees):
    """About the vertical."""
    poses = target.poses.copy()
    upright = Rotation.from_euler("y", degrees, degrees=True)
    poses[:, :3] = (upright * Rotation.from_rotvec(poses[:, :3])).as_rotvec()
    return RotationTarget(poses.astype(np.float32), target.trans)


def test_weights_must_be_there_and_of_this_network(tmp_path):
    with pytest.raises(UsageError, match="are for --method warp3d"):
        ReposeOptions(method="mesh", weights="x")
    with pytest.raises(InputError, match="is no weights file"):
        Reposer(ReposeOptions(method="warp3d", weights=str(tmp_path / "none")))
    other = tmp_path / "other.safetensors"
    write_weights(other, {"a": torch.zeros(1)}, WeightsHeader("segmenter"))
    with pytest.raises(InputError, match="holds another model"):
        Reposer(ReposeOptions(method="warp3d", weights=str(other)))
