"""Ablations of deform-and-learn: what each variant trains, for how long, and what the tables say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.errors import raises
from helpers.painted_people import painted_cache

from humanpose_cli.body.scaled_body import ScaledBody
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, InterruptedRun, UsageError
from humanpose_cli.lab.evaluate import deform_and_learn_ablations
from humanpose_cli.lab.evaluate.deform_and_learn import EvaluatedJoints
from humanpose_cli.lab.evaluate.deform_and_learn_ablations import PRESETS, variant_training
from humanpose_cli.lab.evaluate.intervals import Clusters
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.registry import evaluate_study
from humanpose_cli.lab.evaluate.studies import STUDIES
from humanpose_cli.lab.evaluate.trainings import SharedTraining, Trainings
from humanpose_cli.lab.recipes.deform_and_learn import rounds
from humanpose_cli.lab.recipes.deform_and_learn.losses import RegressorLosses
from humanpose_cli.lab.recipes.deform_and_learn.measure import standing_pose
from humanpose_cli.lab.recipes.deform_and_learn.recipe import DEFORM_PRESETS, DeformAndLearn, DeformTraining
from humanpose_cli.lab.train.history import TrainingHistory
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.models.deform_and_learn.registration import RegistrationOptions
from humanpose_cli.models.deform_and_learn.regressor import BodyRegressorOptions
from humanpose_cli.models.lifter.depth import DepthLifterOptions

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


@pytest.fixture
def constructed_errors(monkeypatch):
    """Nothing is trained: rounds.json says 100 mm for round 1 and 10 less for the next; the networks' errors of four
    people are 200 mm and 20 less for the next, of the second seed 2 more, of equally long trainings 190.
    """

    def run_all(trainings: Trainings, trainer: Any) -> dict[str, list[Path]]:
        assert trainer is rounds.train_rounds
        return {one.name: each_seed(trainings, one.name, one.options) for one in trainings.planned}

    def each_seed(trainings: Trainings, name: str, options: Any) -> list[Path]:
        paths = []
        for seed in range(trainings.seeds):
            folder = trainings.folder / name / str(seed)
            folder.mkdir(parents=True)
            each = {"mpjpe_mm": 100.0, "pa_mpjpe_mm": 50.0 + seed}
            record = [
                {
                    "round": number + 1,
                    "accepted": 0.5 + 0.1 * number,
                    "registration": each,
                    "lifter": each,
                    "accepted_registration": {} if seed else {**each, "mpjpe_mm": 90.0 - 10 * number},
                }
                for number in range(options.rounds)
            ]
            (folder / rounds.ROUNDS).write_text(json.dumps(record))
            paths.append(folder / "last.safetensors")
        return paths

    def errors(trainings: Trainings, folder: Path, plan: Any, joints: Any) -> np.ndarray:
        number, seed, name = int(folder.name[-1]), int(folder.parent.name), folder.parents[1].name
        mean = 190.0 if name.startswith("long") else 200.0 - 20 * (number - 1) + 5 * name.startswith("parameters")
        values = mean + 2 * seed + np.array([-5.0, -3.0, -1.0, 1.0, 3.0, 5.0])
        return np.stack((values, values / 2))

    monkeypatch.setattr(deform_and_learn_ablations, "clusters_of", lambda people: Clusters.single("people", 6))
    monkeypatch.setattr(Trainings, "run", run_all)
    monkeypatch.setattr(deform_and_learn_ablations, "_errors", errors)


def test_rounds_have_figure_2_and_both_controls(constructed_errors, cache, tmp_path):
    report = evaluated("rounds", cache, tmp_path, seeds=2)
    table, figures = report.tables
    standing, *trained = table.rows
    assert standing[:-2] == ["constant pose", *[None] * 8]
    assert [row[:5] for row in trained] == [
        ["rounds", 1, 100.0, 50.5, 50.0],
        ["rounds", 2, 100.0, 50.5, 60.0],
        ["one round, network as long", 1, 100.0, 50.5, 50.0],
        ["one round, lifter and network as long", 1, 100.0, 50.5, 50.0],
    ]
    assert [row[-2:] for row in trained] == [[201.0, 100.5], [181.0, 90.5], [191.0, 95.5], [191.0, 95.5]]
    assert np.isnan(trained[0][5]), "one seed without a figure leaves none"
    # Two seeds are drawn for either side, so that the interval is wider than the difference between people, nothing.
    assert table.notes[1] == "Intervals are over seeds and 6 different people: too few for a reliable interval."
    first, long_network, _ = table.notes[2:]
    assert first.startswith("Network of the last round against the first: -20.0 (-22.0 to -18.0) mm, -10.0 %; after")
    assert "against one round, network as long: -10.0 (-12.0 to -8.0) mm, -5.2 %" in long_network
    assert [row[:3] for row in figures.rows[:4:2]] == [
        ["rounds", "network, round 1, mm", 201.0],
        ["rounds", "network, round 2, mm", 181.0],
    ]
    assert (report.facts["seeds"], report.facts["people"], report.facts["people to learn from"]) == (2, 6, 8)
    assert list(report.plots) == ["rounds.png"]
    assert (tmp_path / "rounds.png").stat().st_size > 1000


def test_losses_are_compared_with_all_of_them(constructed_errors, cache, tmp_path):
    table, _ = evaluated("losses", cache, tmp_path).tables
    assert [(row[0], row[-3], row[-1]) for row in table.rows[1:]] == [
        ("parameters + dense + keypoints", 180.0, None),
        ("parameters", 185.0, "+2.5 (+2.5 to +2.5)"),
        ("parameters + dense", 185.0, "+2.5 (+2.5 to +2.5)"),
        ("parameters + keypoints", 185.0, "+2.5 (+2.5 to +2.5)"),
        ("dense + keypoints", 180.0, "+0.0 (+0.0 to +0.0)"),
        ("all, parameters by smooth L1", 180.0, "+0.0 (+0.0 to +0.0)"),
        ("all, parameters by L2", 180.0, "+0.0 (+0.0 to +0.0)"),
    ]
    assert table.notes[-1].endswith(
        "contain 0: dense + keypoints, all, parameters by smooth L1, all, parameters by L2."
    )
    assert table.columns[-1] == "network PA against parameters + dense + keypoints"
    assert len(table.columns) == len(table.rows[0]) == 11
    plan = DeformAndLearn(cache, TINY.network)
    joints = EvaluatedJoints.of_landmarks(ScaledBody(plan.body), SMPL24)
    standing = joints.errors(standing_pose(len(plan.held_out)), plan.held_out)
    assert table.rows[0][-3:-1] == [pytest.approx(1000 * errors.mean()) for errors in standing]


@pytest.mark.extensive
def test_an_interrupted_ablation_continues_and_trains_nothing_twice(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingHistory, "plot", lambda *_: None)
    once = replace(TINY, network=replace(TINY.network, rounds=1))
    more: dict[str, Any] = {"tune": lambda _: once}
    calls: list[int] = []
    with pytest.raises(InterruptedRun):
        evaluated("correspondence", cache, tmp_path, stop=lambda: calls.append(1) or len(calls) > 4, **more)
    assert [folder.name.rsplit("-", 1)[0] for folder in (tmp_path / "runs").iterdir()] == ["labels"]
    report = evaluated("correspondence", cache, tmp_path, **more)
    assert [row[0] for row in report.tables[0].rows][1::3] == ["labels", "none"]
    (record,) = (tmp_path / "runs").glob(f"labels-*/{rounds.ROUNDS}")
    # The network is measured on the same people as by its training.
    network = json.loads(record.read_text())[-1]["network"]
    assert report.tables[0].rows[1][-3] == pytest.approx(network["mpjpe_mm"], rel=1e-4)
    monkeypatch.setattr(rounds, "register", None)
    assert evaluated("correspondence", cache, tmp_path, **more).tables[0].texts() == report.tables[0].texts()


def test_people_without_true_joints_are_refused_before_anything_is_trained(tmp_path):
    maps = ("persons", "parts", "correspondence")
    folder = painted_cache(tmp_path / "cache", count=10, maps=maps, lacks=("joints",))
    with raises(InputError, problem="has no true joints of people held out", expected="joints/smpl24"):
        evaluated("losses", folder, tmp_path / "out")
    with raises(UsageError, subject="preset", problem="is not known", expected="ablation, paper, small"):
        evaluated("losses", folder, tmp_path / "out", preset="big")
    assert not (tmp_path / "out").exists()
