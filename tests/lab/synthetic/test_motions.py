"""AMASS's motions beside the shipped library: axes, frame rates, splits, and folders without any."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.errors import raises
from scipy.spatial.transform import Rotation

from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache.loader import LoaderOptions
from humanpose_cli.lab.recipes.lifter.examples import pose_pool
from humanpose_cli.lab.recipes.lifter.recipe import LifterRecipe, LifterTraining
from humanpose_cli.lab.synthetic import motions
from humanpose_cli.lab.synthetic.generator import SyntheticSource, activities_of
from humanpose_cli.lab.synthetic.motions import library_with, motion_files
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.lab.synthetic.poses import LIBRARY, PoseBank, activities, sample_motion
from humanpose_cli.models.lifter.metric import LifterOptions

FILES = ("CMU/01/01_01_poses.npz", "CMU/10/10_01_poses.npz", "KIT/3/walk_stageii.npz", "SFU/0005/0005_poses.npz")
# Who stands upright in AMASS's axes, z up, and looks along −y.
UPRIGHT = Rotation.from_euler("x", 90, degrees=True)


def write_motion(path: Path, rate: float = 120.0, frames: int = 41, bend: float = 0.5) -> None:
    """Somebody who walks along −y and bends the left elbow; hands in fists, which are not taken over."""
    poses = np.ones((frames, 156))
    poses[:, :66] = 0
    poses[:, :3] = UPRIGHT.as_rotvec()
    poses[:, 3 * SMPL24.index("left_elbow") + 1] = -bend
    trans = np.stack((np.zeros(frames), -np.arange(frames) / rate, np.full(frames, 0.9)), 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, poses=poses, trans=trans, betas=np.ones(16), mocap_framerate=rate, gender="male")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("AMASS")
    for name in FILES:
        write_motion(root / name)
    np.savez(root / "CMU" / "01" / "shape.npz", betas=np.zeros(16))
    return root


def test_motions_stand_upright_at_thirty_frames_a_second(folder: Path) -> None:
    clip = library_with(folder).clip("KIT/3/walk_stageii.npz")
    assert (clip.activity, clip.split, clip.frame_rate, len(clip)) == ("KIT", "train", 30, 11)
    root = Rotation.from_rotvec(clip.poses[:, :3].numpy()).as_matrix()
    np.testing.assert_allclose(root, np.tile(np.eye(3), (11, 1, 1)), atol=1e-6)  # facing +z, y up
    np.testing.assert_allclose(clip.pelvis[:, 1], 0.9, atol=1e-6)
    np.testing.assert_allclose(clip.pelvis[:, 2], np.arange(11) / 30, atol=1e-6)
    elbow = clip.poses[0].unflatten(0, (24, 3))[SMPL24.index("left_elbow")]
    np.testing.assert_allclose(elbow, [0, -0.5, 0], atol=1e-6)
    assert not clip.poses[:, 66:].any()


def test_subsets_are_activities_and_complete_ones_are_held_out(folder: Path) -> None:
    library = library_with(folder)
    assert [path.relative_to(folder).as_posix() for path in motion_files(folder)] == [FILES[0], *FILES[2:]]
    assert len(library) == len(pose_library()) + 3 * 11
    assert len(library.poses) == sum(map(len, library.clips))
    train, held_out = (set(activities(split, folder)[LIBRARY]) for split in ("train", "held_out"))
    assert train - set(activities("train")[LIBRARY]) == {"CMU", "KIT"}
    assert held_out - set(activities("held_out")[LIBRARY]) == {"SFU"}
    of_splits = [activities_of(split, folder) for split in ("train", "validation", "test")]
    assert not of_splits[0] & (of_splits[1] | of_splits[2])


@pytest.mark.slow
def test_poses_and_clips_are_drawn_from_them(folder: Path) -> None:
    bank = PoseBank(0, "train", folder)
    activities = {bank.pose(number).activity for number in range(256)}
    assert {"CMU", "KIT"} <= activities
    again = pickle.loads(pickle.dumps(bank))
    assert torch.equal(again.pose(70).rotations, bank.pose(70).rotations)
    clip_activities = {
        sample_motion(np.random.default_rng(n), 3, 10.0, motions=folder).activities[0] for n in range(40)
    }
    assert {"CMU", "KIT"} & clip_activities


def test_caches_say_what_they_are_made_of(folder: Path) -> None:
    options = SyntheticOptions(count=4, motions=folder)
    said = SyntheticSource(options).info.options["motions"]
    assert said == f"{folder.name}: {len(library_with(folder).clips)} clips, {len(pose_library()) + 33} frames"
    assert "motions" not in SyntheticSource(SyntheticOptions(count=4)).info.options


@pytest.mark.slow
def test_the_lifter_learns_from_them(folder: Path) -> None:
    recipe = LifterRecipe(None, LifterTraining(LifterOptions(8, 1), poses=64, motions=str(folder), epoch=1))
    batch = next(iter(recipe.batches(LoaderOptions(512, workers=0))))
    lengths = batch.points.pow(2).sum((1, 2))  # which no turn of the camera changes
    pools = [pose_pool(64, 0, "train", motions).points for motions in (folder, None)]
    motion_pool, plain = (torch.from_numpy(points).pow(2).sum((1, 2)) for points in pools)
    apart = [(lengths[:, None] - sums).abs().amin(1) for sums in (motion_pool, plain)]
    assert apart[0].max() < 1e-3 < apart[1].max()


def test_very_many_frames_are_a_part_of_the_motions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motions, "MAX_FRAMES", 15)
    library_with.cache_clear()
    assert len(library_with(folder).clips) == len(pose_library().clips) + 2
    library_with.cache_clear()


def test_folders_without_motions_and_damaged_files_are_named(tmp_path: Path) -> None:
    with raises(InputError, problem="holds no motions of AMASS"):
        library_with(tmp_path)
    path = tmp_path / "KIT" / "3" / "walk_poses.npz"
    write_motion(path)
    path.write_bytes(path.read_bytes()[:900])
    with raises(InputError, subject="walk_poses.npz"):
        library_with(tmp_path)
