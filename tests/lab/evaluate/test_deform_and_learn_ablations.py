"""Ablations of deform-and-learn: what each variant trains, for how long, and what the tables say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.errors import raises
from helpers.painted_people import painted_cache

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.evaluate.deform_and_learn_ablations import PRESETS, variant_training
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.registry import evaluate_study
from humanpose_cli.lab.evaluate.studies import STUDIES
from humanpose_cli.lab.evaluate.trainings import SharedTraining
from humanpose_cli.lab.recipes.deform_and_learn.losses import RegressorLosses
from humanpose_cli.lab.recipes.deform_and_learn.recipe import DEFORM_PRESETS, DeformTraining
from humanpose_cli.lab.recipes.lifter.depth import DepthLifterOptions
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.models.deform_and_learn.registration import RegistrationOptions
from humanpose_cli.models.deform_and_learn.regressor import BodyRegressorOptions

pytestmark = pytest.mark.slow

TINY = SharedTraining(
    DeformTraining(
        network=BodyRegressorOptions(1, 8, inputs="pose"),
        lifter=DepthLifterOptions(8, 1),
        registration=RegistrationOptions(steps=2),
        rounds=2,
        points=8,
        lifter_steps=2,
        visible=0.0,
    ),
    TrainOptions(epochs=1, batch_size=8, workers=0, precision="full"),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    maps = ("persons", "parts", "correspondence")
    return painted_cache(tmp_path_factory.mktemp("people") / "cache", count=10, maps=maps)


def evaluated(name: str, cache: Path, folder: Path, *, stop: Any = lambda: False, **more: Any) -> Any:
    run = EvaluationRun(PeopleSelection(cache), folder, stop=stop)
    return evaluate_study(f"fit deform-{name}", run, **{"tune": lambda _: TINY, **more})


def test_trainings_without_rounds_are_as_long():
    shared = PRESETS["ablation"]
    assert shared == SharedTraining(*DEFORM_PRESETS["small"])
    steps = SharedTraining(shared.network, TrainOptions(steps=30))
    for variant in STUDIES["fit deform-rounds"].variants:
        training = variant_training(shared, variant)
        network, loop = training.network, training.loop
        assert network.rounds * loop.epochs == shared.network.rounds * shared.loop.epochs
        assert network.rounds * variant_training(steps, variant).loop.steps == 2 * 30
        times = {"long lifter": 2}.get(variant.name, 1)
        assert network.lifter_steps == times * shared.network.lifter_steps


def test_variants_differ_in_what_they_name():
    losses = {variant.name: variant.of(TINY.network).losses for variant in STUDIES["fit deform-losses"].variants}
    assert losses == {
        "all": RegressorLosses(),
        "parameters": RegressorLosses(1.0, 0.0, 0.0),
        "parameters + dense": RegressorLosses(1.0, 10.0, 0.0),
        "parameters + keypoints": RegressorLosses(1.0, 0.0, 1.0),
        "dense + keypoints": RegressorLosses(0.0, 10.0, 1.0),
        "all smooth L1": RegressorLosses(parameters="smooth-l1"),
        "all L2": RegressorLosses(parameters="l2"),
    }
    charted = DeformTraining(charts="UV.mat")
    found = {variant.name: variant.of(charted) for variant in STUDIES["fit deform-correspondence"].variants}
    assert [one.correspondence for one in found.values()] == ["labels", "degraded", "degraded", "none"]
    assert [one.registration.paper for one in found.values()] == [False, False, True, False]
    assert [one.charts for one in found.values()] == [*3 * ["UV.mat"], ""]


def test_people_without_true_joints_are_refused_before_anything_is_trained(tmp_path):
    maps = ("persons", "parts", "correspondence")
    folder = painted_cache(tmp_path / "cache", count=10, maps=maps, lacks=("joints",))
    with raises(InputError, problem="has no true joints of people held out", expected="joints/smpl24"):
        evaluated("losses", folder, tmp_path / "out")
    with raises(UsageError, subject="preset", problem="is not known", expected="ablation, paper, small"):
        evaluated("losses", folder, tmp_path / "out", preset="big")
    assert not (tmp_path / "out").exists()
