"""Ablations of Neural Body Fitting: their body, their settings, and what they refuse before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.errors import raises
from helpers.painted_people import PaintedPeople
from helpers.smpl_model_file import random_smpl_fields, write_smpl_pickle

from humanpose_cli.cli.settings import apply_settings
from humanpose_cli.core.errors import HpcError
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.samples import Group, Sample
from humanpose_cli.lab.evaluate.nbf_ablations import NbfShared, nbf_shared
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.registry import evaluate_study
from humanpose_cli.lab.evaluate.report import Report
from humanpose_cli.lab.evaluate.studies import STUDIES
from humanpose_cli.lab.recipes.nbf.recipe import NbfTraining
from humanpose_cli.lab.recipes.segmenter.recipe import SegmenterTraining
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import LAST
from humanpose_cli.models.nbf.inputs import InputOptions
from humanpose_cli.models.nbf.network import RegressorOptions
from humanpose_cli.models.segmenter.network import SegmenterOptions
from humanpose_cli.networks.weights import read_header

pytestmark = pytest.mark.slow

LOOP = TrainOptions(epochs=1, batch_size=8, workers=0, validate_every=10_000)
NETWORK = NbfTraining(InputOptions("parts", parts=3, size=32), RegressorOptions(18, 4), crop=32)
SEGMENTER = SegmenterTraining(SegmenterOptions("tiny", parts=3, crop=32, width=4))


class SmplPeople(PaintedPeople):
    """As UP-3D's: their parameters are of SMPL's neutral model."""

    def sample(self, group: Group, frame: int) -> Sample:
        sample = super().sample(group, frame)
        return replace(sample, people=tuple(replace(person, body="smpl") for person in sample.people))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smpl")
    assert not build_cache(SmplPeople(count=20), folder, workers=1).failures
    return folder


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder, fields = tmp_path_factory.mktemp("models"), random_smpl_fields()
    return lambda gender: f"smpl:{write_smpl_pickle(folder / f'SMPL_{gender}.pkl', fields)}"


@pytest.fixture(autouse=True)
def _few_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    study = STUDIES["fit supervision"]
    some = [variant for variant in study.variants if variant.name in ("labels 100", "labels 0")]
    monkeypatch.setitem(STUDIES, "fit supervision", replace(study, variants=some))


def as_in_the_paper(shared: NbfShared, network: NbfTraining = NETWORK, **changes: Any) -> NbfShared:
    """Tables 3 and 4 go through a segmenter's parts."""
    tiny = {
        "network": network,
        "loop": LOOP,
        "segmenters": {"weak": SEGMENTER, "best": SEGMENTER},
        "parts": "segmenter",
    }
    return replace(shared, **{**tiny, "segmenter_loop": replace(LOOP, epochs=2), **changes})


def evaluated(cache: Path, folder: Path, body: str, tune: Callable[[NbfShared], NbfShared]) -> Report:
    run = EvaluationRun(PeopleSelection(cache, "painted", body=body), folder)
    return evaluate_study("fit supervision", run, tune=tune)


@pytest.mark.extensive
@pytest.mark.parametrize("named", ["body", "network.body"])
def test_one_body_suffices(cache: Path, body: Callable[[str], str], tmp_path: Path, named: str) -> None:
    neutral = body("NEUTRAL")
    network = NETWORK if named == "body" else replace(NETWORK, body=neutral)
    report = evaluated(
        cache, tmp_path, neutral if named == "body" else "default", lambda shared: as_in_the_paper(shared, network)
    )
    assert [row[0] for row in report.tables[0].rows] == ["constant pose", 100, 0]
    assert len(report.tables[0].columns) == 9  # the paper's figures are of other data
    assert report.images["curves.png"][0].shape[2] == 3
    (segmenter,) = tmp_path.glob("runs/segmenter-*")
    assert segmenter.name.startswith("segmenter-best-")
    for run in tmp_path.glob("runs/labels-*"):
        recipe = read_header(run / LAST).training["recipe"]
        assert (recipe["body"], recipe["protocol"]) == (neutral, "painted")
        assert (recipe["source"], recipe["segmenter"]) == ("segmenter", str(segmenter / LAST))
        assert recipe["losses"]["points2d"] == nbf_shared("ablation").weights.points2d
    assert read_header(segmenter / LAST).training["recipe"]["protocol"] == "painted"
    steps = [json.loads((run / "finished.json").read_text())["steps"] for run in (segmenter, run)]
    assert steps == [2, 1]  # two epochs of the segmenters' own loop


@pytest.mark.extensive
@pytest.mark.parametrize(
    ("gender", "changes", "problem"),
    [
        ("MALE", {}, {"problem": "has bodies of smpl-neutral, but their models"}),
        ("NEUTRAL", {"network": replace(NETWORK, backbone="imagenet")}, {"remedy": "imagenet-resnet18"}),
        ("NEUTRAL", {"segmenters": {"best": replace(SEGMENTER, backbone="nothing")}}, {"subject": "nothing"}),
        (
            "NEUTRAL",
            {"network": replace(NETWORK, inputs=InputOptions("parts", 6, size=32))},
            {"problem": "other parts"},
        ),
        ("NEUTRAL", {"loop": replace(LOOP, batch_size=90)}, {"problem": "has too few people"}),
    ],
)
def test_everything_is_checked_before_anything_is_trained(
    cache: Path,
    body: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gender: str,
    changes: dict[str, Any],
    problem: str,
) -> None:
    monkeypatch.setenv("HPC_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setattr("humanpose_cli.lab.train.trainer._Loop.run", lambda *_: pytest.fail("something is trained"))
    with raises(HpcError, **problem):
        evaluated(cache, tmp_path / "out", body(gender), lambda shared: as_in_the_paper(shared, **changes))
    assert not (tmp_path / "out").exists()


def test_settings_reach_the_segmenters() -> None:
    shared = apply_settings(nbf_shared("paper"), {"segmenter_loop.steps": "3", "loop.steps": "5"})
    assert (shared.segmenter_loop.steps, shared.loop.steps, shared.segmenter_loop.batch_size) == (3, 5, 5)
