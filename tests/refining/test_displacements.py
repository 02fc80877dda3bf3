"""The displacement fields of a refinement: those of a known shift, and which frames are saved."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.walking_person import CAMERA

import humanpose_cli as hp
from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.options import FitOutputs
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import FrameSource
from humanpose_cli.models.refiner.network import MODEL, DisplacementNetwork, DisplacementOptions
from humanpose_cli.networks.weights import WeightsHeader, write_weights
from humanpose_cli.refining.displacements import displacement_file
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.options import RefineOptions
from humanpose_cli.refining.outputs import apply_steps
from humanpose_cli.refining.refiner import Refiner
from humanpose_cli.refining.steps import Refinement

QUICK = RefineOptions("flow", size=192, points=120, rounds=1)


@pytest.fixture(autouse=True)
def no_masks(monkeypatch):
    """No silhouettes: the pose network finds nobody in a drawing this small."""
    monkeypatch.setattr("humanpose_cli.refining.refiner.masks_of_rows", lambda fit, rows, *_: [None] * len(rows))


def saved(walk, fit, folder: Path, options: RefineOptions = QUICK, max_frames: int = 9, **more):
    path = folder / "a.displacements.npz"
    with Refiner(options, **more) as refiner:
        textures = refiner.textures(walk.fit(), FitFrames.of(fit, walk.frames))  # of the true bodies
        frames = FitFrames.of(fit, walk.frames)
        with displacement_file(path, refiner, fit, max_frames) as save:
            return refiner.refine(fit, frames, textures=textures, on_displacements=save)


@pytest.mark.extensive
def test_the_field_of_a_body_that_is_shifted_is_the_shift(walk, tmp_path):
    """The fit is 4 px to the right of the person and 2 px below."""
    true = walk.fit()
    moved = walk.trans + walk.trans[:, 2:] * torch.tensor([[4.0, 2.0, 0.0]]) / CAMERA.focal
    fit = walk.fit(trans=moved)
    saved(walk, fit, tmp_path)
    with np.load(tmp_path / "a.displacements.npz") as file:
        assert json.loads(str(file["settings"])) == Refiner(QUICK).identity
        assert file["track_id"].tolist() == [0] * 5
        assert file["frame_index"].tolist() == [0, 1, 2, 3, 4]
        assert file["frame_names"].tolist() == true.frame_names.tolist()
        assert (file["pixels"].dtype, int(file["displacements_version"])) == (np.float16, 2)
        for row, (crop, pixels, confidence, mask) in enumerate(
            zip(*(file[name] for name in ("crop_to_image", "pixels", "confidence", "mask")), strict=True)
        ):
            y, x = np.nonzero(confidence > 0.2)
            positions = np.stack((x + 0.5, y + 0.5), 1) @ crop[:, :2].T + crop[:, 2]
            assert len(positions) > 200
            np.testing.assert_allclose(np.median(pixels[:, y, x].T @ crop[:, :2].T, 0), [-4, -2], atol=0.5)
            outline = CAMERA.project(body_vertices(walk.body, fit, np.array([row]))[0].numpy())
            assert (positions >= outline.min(0) - 2).all()
            assert (positions <= outline.max(0) + 2).all()
            assert confidence[~mask].max() == 0


@pytest.mark.extensive
def test_saving_changes_no_result_and_is_bounded(walk, tmp_path, monkeypatch):
    start = walk.off()
    refined = saved(walk, start, tmp_path, max_frames=2)
    with Refiner(QUICK) as refiner:
        textures = refiner.textures(walk.fit(), FitFrames.of(start, walk.frames))
        plain = refiner.refine(start, FitFrames.of(start, walk.frames), textures=textures)
    np.testing.assert_array_equal(refined.poses, plain.poses)
    with np.load(tmp_path / "a.displacements.npz") as file:
        assert file["frame_index"].tolist() == [0, 4]
    monkeypatch.setattr("humanpose_cli.refining.displacements._PIXELS", 4 * QUICK.size**2 - 1)  # of less than 4 of 5
    saved(walk, start, tmp_path)
    with np.load(tmp_path / "a.displacements.npz") as file:
        assert (file["frame_index"].tolist(), len(file["mask"])) == ([0, 2, 4], 3)


@pytest.mark.extensive
def test_the_network_saves_the_rows_of_all_frames_in_a_batch(walk, tmp_path):
    options = DisplacementOptions(crop=64, width=4)
    file = tmp_path / "refiner.safetensors"
    write_weights(file, DisplacementNetwork(options).state_dict(), WeightsHeader(MODEL, asdict(options)))
    two = replace(QUICK, correspondence="network", rounds=2)
    saved(walk, walk.off(), tmp_path, two, weights=file, batch_size=4)
    with np.load(tmp_path / "a.displacements.npz") as found:
        assert found["frame_index"].tolist() == [0, 1, 2, 3, 4]  # of the first round alone
        assert not found["pixels"].any()  # its last layers are zero
        assert found["confidence"].any((1, 2)).tolist() == [True] * 5


def test_what_compares_no_images_saves_nothing(walk, tmp_path):
    path = tmp_path / "a.displacements.npz"
    with raises(UsageError, subject="save_displacements", remedy="flow or network"):
        hp.refine(walk.fit(), walk.frames, save_displacements=path)
    assert not list(tmp_path.iterdir())


def test_no_people_give_a_file_without_rows(walk, tmp_path):
    path = tmp_path / "a.displacements.npz"
    hp.refine(walk.fit().select([]), walk.frames, correspondence="flow", save_displacements=path)
    with np.load(path) as file:
        assert len(file["track_id"]) == 0
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.extensive
def test_what_is_interrupted_leaves_nothing(walk, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("humanpose_cli.refining.refiner.Refiner._solved", interrupted)
    fit = replace(walk.off(), sources=(FrameSource(array=walk.frames),))
    path = tmp_path / "a.fit.npz"
    with Refiner(QUICK) as refiner, pytest.raises(KeyboardInterrupt):
        apply_steps([fit], [Refinement(refiner, displacement_frames=9)], path, FitOutputs(overlay=False))
    assert not list(tmp_path.iterdir())
