"""Doubts about reposed images: the worst of a motion, of each person, in tables and in exit codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.reference_people import ReferencePeople, true_person

from humanpose_cli.avatar.person import Doubt
from humanpose_cli.core.errors import UsageError
from humanpose_cli.networks.weights import WeightsHeader, find_weights, read_weights, write_weights
from humanpose_cli.reposing.options import ReposeOptions
from humanpose_cli.reposing.reposer import Reposer
from humanpose_cli.reposing.result import ImageDoubts, named_doubts


def turned(degrees: int) -> Doubt:
    return Doubt("turned", degrees, f"turned {degrees}°", f"turns {degrees}° away")


def test_the_worst_frame_counts() -> None:
    doubts = ImageDoubts()
    for degrees in (60, 130, 90):
        doubts.add(1, [turned(degrees)])
    doubts.add(0, [turned(70), Doubt("hidden", 0.7, "70% hidden", "shows only 30%")])
    assert (doubts.reasons(0), doubts.reasons(1)) == (["turned 70°", "70% hidden"], ["turned 130°"])
    assert doubts.sentences(several=False) == ["turns 130° away", "turns 70° away", "shows only 30%"]
    assert doubts.sentences(several=True)[0] == "person 1: turns 130° away"
    assert named_doubts({0: ["a", "b"]}) == "a; b"
    assert named_doubts({0: ["a"], 1: [], 2: ["b"]}) == "person 0: a; person 2: b"
    assert named_doubts({0: [], 1: []}) == ""


def weights_trained(folder: Path, steps: int, earlier: int = 0) -> Path:
    """The shipped network with another history."""
    tensors, header = read_weights(find_weights("warp3d"), "warp3d")
    training = {**header.training, "steps": steps, "began_with": [{"steps": earlier}] if earlier else []}
    path = folder / f"{steps}-{earlier}.safetensors"
    write_weights(path, tensors, WeightsHeader(header.model, header.config, training, header.metrics))
    return path


@pytest.mark.slow
def test_a_network_that_has_hardly_been_trained_is_refused(tmp_path: Path) -> None:
    def made(path: Path | str, *, force: bool = False) -> Reposer:
        return Reposer(ReposeOptions(method="warp3d", weights=str(path), force=force), device="cpu")

    few = weights_trained(tmp_path, 999)
    with raises(
        UsageError, subject="weights", problem=("has hardly been trained (", "999-0"), expected="1,000", got="999"
    ):
        made(few)
    assert made(few, force=True).network is not None
    assert made(weights_trained(tmp_path, 999, earlier=1)).network is not None
    assert made("warp3d").network is not None


@pytest.mark.extensive
def test_doubts_of_the_photographs_fit_the_targets_and_the_image(clip, clip_frames, meshes_made_once) -> None:
    with Reposer(people_source=ReferencePeople({0: [true_person(clip, 0)]}), focal=clip.focal, device="cpu") as reposer:
        scene_fit = reposer.fitter.fit_image(clip_frames[0])
        unsure = replace(scene_fit, confidence=np.float32([0.1]))
        plain = reposer.repose(clip_frames[0], scene_fit, fit=scene_fit)
        doubtful = reposer.repose(clip_frames[0], unsure, fit=unsure)
    assert (plain.image.shape, plain.doubtful) == (clip_frames[0].shape, "")
    assert doubtful.doubtful == "low confidence; target: low confidence"
    assert "the fit of person 0 of the target is doubtful (low confidence)" in doubtful.warnings
