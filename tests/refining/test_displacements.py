"""The displacement fields of a refinement: those of a known shift, which frames are saved, and the contact sheets."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.walking_person import CAMERA

import humanpose_cli as hp
from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.options import FitOutputs
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import FrameSource
from humanpose_cli.io.displacement_files import DisplacementField
from humanpose_cli.io.images import read_image
from humanpose_cli.models.refiner.network import MODEL, DisplacementNetwork, DisplacementOptions
from humanpose_cli.networks.weights import WeightsHeader, write_weights
from humanpose_cli.refining.displacements import refine_with_displacements
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.options import RefineOptions
from humanpose_cli.refining.outputs import apply_steps
from humanpose_cli.refining.refiner import Refiner
from humanpose_cli.refining.steps import Refinement

FIELDS = ("pixels", "confidence", "mask")
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
        return refine_with_displacements(refiner, fit, frames, path, max_frames=max_frames, textures=textures)


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
        for row, crop in enumerate(file["crop_to_image"]):
            field = DisplacementField(0, row, crop, *(file[f"{name}_{row:06d}"] for name in FIELDS))
            positions, shifts, confidence = field.in_image(0.2)
            assert len(positions) > 200
            np.testing.assert_allclose(np.median(shifts, 0), [-4, -2], atol=0.5)
            outline = CAMERA.project(body_vertices(walk.body, fit, np.array([row]))[0].numpy())
            assert (positions >= outline.min(0) - 2).all()
            assert (positions <= outline.max(0) + 2).all()
            assert (confidence > 0.2).all()
            assert field.confidence[~field.mask].max() == 0


@pytest.mark.extensive
def test_saving_changes_no_result_and_a_sheet_shows_each_person(walk, tmp_path):
    start = walk.off()
    refined = saved(walk, start, tmp_path, max_frames=2)
    with Refiner(QUICK) as refiner:
        textures = refiner.textures(walk.fit(), FitFrames.of(start, walk.frames))
        plain = refiner.refine(start, FitFrames.of(start, walk.frames), textures=textures)
    np.testing.assert_array_equal(refined.poses, plain.poses)
    with np.load(tmp_path / "a.displacements.npz") as file:
        assert file["frame_index"].tolist() == [0, 4]
    sheet_file = tmp_path / "a.person0.displacements.jpg"
    assert list(tmp_path.glob("*.jpg")) == [sheet_file]
    sheet = read_image(sheet_file).pixels
    saved(walk, refined.select([0]), tmp_path)
    assert sheet.shape[0] - read_image(sheet_file).pixels.shape[0] > 200  # one strip less


@pytest.mark.extensive
def test_the_network_saves_the_rows_of_all_frames_in_a_batch(walk, tmp_path):
    options = DisplacementOptions(crop=64, width=4)
    file = tmp_path / "refiner.safetensors"
    write_weights(file, DisplacementNetwork(options).state_dict(), WeightsHeader(MODEL, asdict(options)))
    two = replace(QUICK, correspondence="network", rounds=2)
    saved(walk, walk.off(), tmp_path, two, weights=file, batch_size=4)
    with np.load(tmp_path / "a.displacements.npz") as found:
        assert found["frame_index"].tolist() == [0, 1, 2, 3, 4]  # of the first round alone
        assert all(np.abs(found[f"pixels_{row:06d}"]).max() == 0 for row in range(5))  # its last layers are zero
        assert all(found[f"confidence_{row:06d}"].max() > 0 for row in range(5))


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
@pytest.mark.parametrize("at", ["refine", *extensive("sheets", "page")])
def test_what_is_interrupted_leaves_nothing(walk, tmp_path, monkeypatch, at):
    targets = {
        "refine": "humanpose_cli.refining.refiner.Refiner._solved",
        "sheets": "humanpose_cli.refining.displacements._sheet",
        "page": "humanpose_cli.refining.outputs.write_comparison_page",
    }

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(targets[at], interrupted)
    fit = replace(walk.off(), sources=(FrameSource(array=walk.frames),))
    path = tmp_path / "a.fit.npz"
    with Refiner(QUICK) as refiner, pytest.raises(KeyboardInterrupt):
        apply_steps([fit], [Refinement(refiner, displacement_frames=9)], path, FitOutputs(overlay=False, page=True))
    assert not list(tmp_path.iterdir())
