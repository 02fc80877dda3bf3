"""`--preset paper` of every model takes a step on the data sets of its own paper, generated in the owners' layouts.

Networks are as deep as the papers' but narrow, their images small; ImageNet's weights are random ones in torchvision's
layout. Everything else is the preset's: losses, inputs, labels that it asks for, protocols and splits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import humaneva_tree
from helpers.extensive import extensive
from helpers.paper_datasets import iper_tree, up3d_tree
from helpers.paper_trees import (
    WIDTH,
    PaperFiles,
    UprightPeople,
    build_deepfashion,
    build_h36m_with_bodies,
    small_releases,
    write_paper_files,
)

from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.samples import Source
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.labelling import RenderedLabels
from humanpose_cli.lab.datasets.preprocess import SourceRequest, make_source
from humanpose_cli.lab.datasets.registry import open_source
from humanpose_cli.lab.recipes.registry import MODELS

pytestmark = pytest.mark.slow

LOOP: dict[str, Any] = {"epochs": 1, "steps": 1, "batch_size": 2, "workers": 0, "log_every": 1}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> PaperFiles:
    return write_paper_files(tmp_path_factory.mktemp("files"))


def up3d_cache(folder: Path, files: PaperFiles) -> Source:
    return make_source(SourceRequest("up3d", up3d_tree(folder), models=(files.smpl,)))


def humaneva_cache(folder: Path, files: PaperFiles) -> Source:
    """Our fit finds the bodies for the measured joints, as `hpc preprocess humaneva` does."""
    humaneva_tree.build(folder)
    return make_source(SourceRequest("humaneva", folder, {"every": 4}))


def h36m_cache(folder: Path, files: PaperFiles) -> Source:
    """With MoSh's bodies, and DensePose's output."""
    build_h36m_with_bodies(folder, folder / "mosh", folder / "iuv")
    options = {"mosh": str(folder / "mosh"), "densepose": str(folder / "iuv")}
    return make_source(SourceRequest("h36m", folder, options, models=(files.smpl,)))


def iper_cache(folder: Path, files: PaperFiles) -> Source:
    source = open_source("iper", iper_tree(folder, side=64), {"random_pairs": 4}, SourceTools(UprightPeople()))
    return RenderedLabels(source, {"default": default_body()})


def deepfashion_cache(folder: Path, files: PaperFiles) -> Source:
    build_deepfashion(folder)
    source = open_source("deepfashion", folder, {}, SourceTools(UprightPeople()))
    return RenderedLabels(source, {"default": default_body()})


@pytest.fixture(scope="module")
def caches(files: PaperFiles, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folders: dict[str, Path] = {}

    def cache(name: str) -> Path:
        if name not in folders:
            folder = tmp_path_factory.mktemp(name)
            source = globals()[f"{name}_cache"](folder / "tree", files)
            assert not build_cache(source, folder / "cache", workers=1).failures
            folders[name] = folder / "cache"
        return folders[name]

    return cache


@pytest.fixture(autouse=True)
def _small_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    small_releases(monkeypatch)


def narrow(model: str, dataset: str, options: Any, files: PaperFiles) -> Any:
    """A preset's options with narrow networks, small images, and the files that the user gives."""
    body = "default" if dataset == "humaneva" else f"smpl:{files.smpl}"
    if model == "segmenter":
        small = replace(options.segmenter, crop=64, width=WIDTH, widths=(8, 4, 4, 4))
        return replace(options, segmenter=small, backbone=str(files.resnets[101]))
    if model == "nbf":
        inputs, regressor = replace(options.inputs, size=64), replace(options.regressor, width=WIDTH)
        backbone = str(files.resnets[50])
        return replace(options, inputs=inputs, regressor=regressor, crop=64, body=body, backbone=backbone)
    if model == "warp3d":
        g, d = options.generator, options.discriminator
        thin = {name: (WIDTH,) * len(getattr(g, name)) for name in ("encoder_widths", "decoder_widths")}
        sizes = {"size": 128, "depth": 4, "channels": 4, "pose_channels": 4, "stem": 4}
        generator = replace(g, **sizes, **thin, background_widths=(WIDTH,) * len(g.background_widths))
        discriminator = replace(d, stem=4, widths=(WIDTH,) * len(d.widths))
        networks = {"generator": generator, "discriminator": discriminator, "perceptual": str(files.vgg)}
        return replace(options, **networks, validation=2)  # VGG takes most of the time
    charts = str(files.charts) if dataset == "h36m, DensePose" else ""
    short = {"rounds": 2, "lifter_steps": 1, "registration": replace(options.registration, steps=1), "visible": 0.0}
    network = replace(options.network, width=WIDTH, size=64)
    backbone = str(files.resnets[50])
    return replace(options, **short, network=network, backbone=backbone, body=body, charts=charts, skeleton="h36m17")


PAPERS = {
    "segmenter": ("up3d", "humaneva", "h36m"),
    "nbf": ("up3d", "humaneva", "h36m"),
    "deform-and-learn": ("h36m", "h36m, DensePose"),
    "warp3d": ("iper", "deepfashion"),
}


OTHERS = [(model, name) for model, names in PAPERS.items() for name in names if (model, name) != ("nbf", "humaneva")]


@pytest.mark.parametrize(("model", "dataset"), [("nbf", "humaneva"), *extensive(*OTHERS)])
def test_the_papers_preset_takes_a_step_on_its_papers_data(
    model: str, dataset: str, caches: Callable[[str], Path], files: PaperFiles, tmp_path: Path
) -> None:
    entry = MODELS[model]
    options, loop = entry.preset("paper")
    recipe = entry.make(caches(dataset.partition(",")[0]), narrow(model, dataset, options, files), 0)
    result = entry.train(recipe, replace(loop, **LOOP), tmp_path, torch.device("cpu"))
    assert result.finished
    assert result.step == (2 if model == "deform-and-learn" else 1)
    assert result.metrics
    assert np.isfinite(list(result.metrics.values())).all()


def test_every_paper_preset_is_tried() -> None:
    def has_paper(model: str) -> bool:
        try:
            MODELS[model].preset("paper")
        except UsageError:
            return False
        return True

    assert set(PAPERS) == set(filter(has_paper, MODELS))
