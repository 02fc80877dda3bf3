"""Rounds of deform-and-learn: from the T pose, then from predictions; an interrupted run ends as a whole one."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.painted_people import CocoPeople, painted_cache

from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose
from humanpose_cli.core.conventions import COCO17, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.files.npz_files import read_npz
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.evaluate.deform_and_learn import evaluate_regressor
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
from humanpose_cli.lab.recipes.deform_and_learn import recipe, rounds
from humanpose_cli.lab.recipes.deform_and_learn.evidence import people_evidence
from humanpose_cli.lab.recipes.deform_and_learn.measure import canonical_length, joint_errors, joint_truth
from humanpose_cli.lab.recipes.deform_and_learn.recipe import DeformAndLearn, DeformTraining
from humanpose_cli.lab.recipes.lifter.depth import DepthLifterOptions
from humanpose_cli.lab.train.history import TrainingHistory
from humanpose_cli.lab.train.processes import Processes
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import LAST
from humanpose_cli.models.deform_and_learn.registration import RegistrationOptions
from humanpose_cli.models.deform_and_learn.regressor import BodyRegressor, BodyRegressorOptions
from humanpose_cli.networks.weights import read_header, read_weights
from humanpose_cli.outputs.protection import protected_inputs

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TINY = DeformTraining(
    network=BodyRegressorOptions(18, 4, 32),
    lifter=DepthLifterOptions(8, 1),
    registration=RegistrationOptions(steps=2),
    rounds=2,
    points=16,
    lifter_steps=3,
    registered_together=4,
    visible=0.0,
)
LOOP = TrainOptions(
    epochs=1, batch_size=4, workers=0, log_every=1, decay=0.0, average=0.5, precision="full", keep="last"
)


@pytest.fixture(scope="module", autouse=True)
def no_plots_of_losses():
    """Most of the time of trainings this short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingHistory, "plot", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    maps = ("persons", "parts", "correspondence")
    return painted_cache(tmp_path_factory.mktemp("people") / "cache", count=10, maps=maps)


def run(cache, folder, options=TINY, **more):
    return rounds.train_rounds(DeformAndLearn(cache, options, seed=1), LOOP, folder, CPU, **more)


@pytest.fixture(scope="module")
def complete_run(cache, tmp_path_factory):
    """A run of two rounds, what it returned, and where its registrations began."""
    begun, register = [], rounds.register
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "register", lambda body, data, start, options: begun.append((start, options)) or register(
            body, data, start, options))  # fmt: skip
        folder = tmp_path_factory.mktemp("whole")
        return folder, run(cache, folder), begun


def test_the_last_weights_are_kept_with_every_option(cache, complete_run, tmp_path):
    """Nothing is chosen by the people held out."""
    folder, result, _ = complete_run
    assert result.kept == "last.safetensors: the last step of round 2 of 2, whose error is reported as the best"
    assert result.best == result.metrics["mpjpe_mm"]
    assert not list(folder.rglob("best.safetensors"))
    assert read_header(folder / LAST).training["kept"] == {"rule": "last"}
    for run in (rounds.plan_rounds, lambda *settings: rounds.train_rounds(*settings, CPU)):
        with raises(UsageError, subject="keep", expected="last", got="best"):
            run(DeformAndLearn(cache, TINY, seed=1), replace(LOOP, keep="best"), tmp_path)


def test_two_rounds(complete_run):
    folder, result, begun = complete_run
    assert (result.step, result.steps, result.finished, result.unit) == (2, 2, True, "rounds")
    done = json.loads((folder / rounds.ROUNDS).read_text())
    assert [entry["round"] for entry in done] == [1, 2]
    assert all(0 < done[1][curve]["mpjpe_mm"] < 2000 for curve in ("network", "lifter"))
    assert (folder / rounds.PLOT).stat().st_size > 1000
    assert (folder / LAST).read_bytes() == (folder / "round-2" / "network" / LAST).read_bytes()
    assert BodyRegressor.load(folder / LAST).options == TINY.network
    # Eight people in batches of four: two registrations a round, from the T pose first.
    assert [start is None for start, _ in begun] == [True, True, False, False]
    estimate = read_npz(folder / "round-2" / "registration.npz")
    assert estimate["parameters"].shape == (8, 105)
    turns = estimate["parameters"][:, 93:102].reshape(8, 3, 3)
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (8, 3, 3)), atol=1e-5)


def test_a_lifter_that_diverges_and_registrations_that_fail_are_said(complete_run):
    folder, result, _ = complete_run
    records = json.loads((folder / rounds.ROUNDS).read_text())
    assert result.cautions[1:] == tuple(c for record in records for c in rounds.round_cautions(record))
    assert all(0 <= record["lifter"]["deep_share"] <= 1 for record in records)
    sound = {"round": 3, "accepted": 0.5, "lifter": {"deep_share": 0.15}}
    assert rounds.round_cautions(sound) == rounds.round_cautions({**sound, "lifter": {}}) == []
    (diverged,) = rounds.round_cautions({**sound, "lifter": {"deep_share": 0.25}})
    assert diverged.startswith("the lifter of round 3 diverged: 25% of the people are deeper than they are large")
    (rejected,) = rounds.round_cautions({**sound, "accepted": 0.2})
    assert rejected.startswith("only 20% of the registrations of round 3 are accepted")


def test_people_are_deep_if_their_depths_are_larger_than_they_are_in_the_image():
    points, depths = np.full((4, 24, 2), 5.0, np.float32), np.zeros((4, 24), np.float32)
    points[:, 12], depths[:, 12] = (5.0, 29.0), -23.0
    points[1, 12] = 5.0, 27.0
    depths[2] *= 1.1
    points[3, 12], depths[3, 12] = (5.0, 245.0), 230.0
    assert rounds.deep_share(depths, points, SMPL24) == 0.5


@pytest.mark.extensive
def test_figure_2_has_all_people_and_those_accepted(cache, tmp_path, monkeypatch):
    """Half of the registrations fail, and are far off."""
    register = rounds.register

    def failing(*arguments):
        estimate = register(*arguments)
        wild = torch.arange(4) % 2 == 0
        bent = torch.where(wild[:, None, None], 2.0, 0.1 * torch.ones_like(estimate.pose.axis_angles))
        return estimate._replace(pose=estimate.pose._replace(axis_angles=bent), accepted=~wild)

    monkeypatch.setattr(rounds, "register", failing)
    run(cache, tmp_path, replace(TINY, rounds=1))
    (entry,) = json.loads((tmp_path / rounds.ROUNDS).read_text())
    plan, stored = DeformAndLearn(cache, TINY, seed=1), read_npz(tmp_path / "round-1" / "registration.npz")
    body, true = ScaledBody(plan.body), joint_truth(plan.people, SMPL24)
    estimate = recipe.joints_in_image(body, ScaledPose.from_vector(torch.from_numpy(stored["parameters"])), SMPL24)
    errors = joint_errors(estimate, true, SMPL24, canonical_length(body, SMPL24)).mpjpe
    assert entry["accepted"] == 0.5
    assert entry["registration"]["mpjpe_mm"] == pytest.approx(1000 * errors.mean())
    assert entry["accepted_registration"]["mpjpe_mm"] == pytest.approx(1000 * errors[1::2].mean())
    assert errors.mean() > 1.1 * errors[1::2].mean()


def test_predictions_are_where_the_second_registrations_begin(complete_run):
    _, _, begun = complete_run
    assert torch.isfinite(begun[2][0].vector).all()
    assert not torch.equal(begun[2][0].vector, begun[3][0].vector)
    assert (begun[2][0].vector[:, 24:93] != 0).any(), "no T pose"


@pytest.mark.extensive
def test_footage_without_correspondences_goes_on_from_another_run(cache, complete_run, tmp_path, monkeypatch):
    begun, register = [], rounds.register
    monkeypatch.setattr(rounds, "register", lambda *arguments: begun.append(arguments) or register(*arguments))
    options = replace(TINY, rounds=1, correspondence="none", start=str(complete_run[0]))
    run(cache, tmp_path, options)
    (_, evidence, start, _), _ = begun
    assert evidence.points.shape == (4, 0, 2)
    people = DeformAndLearn(cache, options, seed=1).people
    expected = recipe.predict_people(BodyRegressor.load(complete_run[0] / LAST), people, 64).rows(torch.arange(4))
    torch.testing.assert_close(start.vector, expected.vector)
    with raises(InputError, subject="nowhere", expected="rounds.json"):
        run(cache, tmp_path / "b", replace(options, start=str(tmp_path / "nowhere")))


@pytest.mark.extensive
def test_a_run_that_was_interrupted_at_every_turn_ends_as_an_uninterrupted_one(cache, complete_run, tmp_path):
    """Stopped after a few questions, again and again: within the lifter, between registrations, within the network."""
    stops, finished = 0, False
    while not finished:
        calls = []
        result = run(cache, tmp_path, stop=lambda calls=calls: calls.append(1) or len(calls) > 3)
        stops, finished = stops + 1, result.finished
        assert stops < 40
    assert stops > 3
    for name in (rounds.ROUNDS, rounds.PLOT, rounds.SETTINGS, LAST, "evidence.npz", f"round-1/lifter/{LAST}"):
        assert (tmp_path / name).read_bytes() == (complete_run[0] / name).read_bytes(), name


def test_a_new_start_removes_no_file_of_the_user(cache, tmp_path):
    options, mine = replace(TINY, rounds=1), tmp_path / "round-1" / "network" / "notes.txt"
    with protected_inputs():
        run(cache, tmp_path, options)
        mine.write_text("mine")
        with raises(UsageError, subject="notes.txt", problem="exists already", remedy="move it elsewhere"):
            run(cache, tmp_path, options, resume=False)
        assert mine.read_text() == "mine"
        mine.unlink()
        assert run(cache, tmp_path, options, resume=False).finished


def test_other_settings_are_refused_and_more_rounds_are_not(cache, complete_run):
    folder = complete_run[0]
    with raises(InputError, problem="another points", expected="8"):
        run(cache, folder, replace(TINY, points=8))
    repeated = run(cache, folder)
    assert (repeated.step, repeated.metrics) == (2, complete_run[1].metrics)


@pytest.mark.extensive
def test_the_trainings_of_a_round_are_of_the_processes_of_the_run(cache, tmp_path, monkeypatch):
    """The folder is refused to all of them, and none joins the others a second time."""
    trained, loops, train = [], [], rounds.train
    monkeypatch.setattr(rounds, "train", lambda *arguments, **more: trained.append(more.get("group")) or loops.append(
        arguments[1]) or train(*arguments, **more))  # fmt: skip

    class Refused(Processes):
        def agree(self, *wishes):
            return [True]

    monkeypatch.setattr(rounds, "processes", lambda device: nullcontext(Refused(1)), raising=False)
    with raises(UsageError, problem="another process is running a training here"):
        run(cache, tmp_path / "run")
    assert trained == []
    group = Processes()
    monkeypatch.setattr(rounds, "processes", lambda device: nullcontext(group))
    run(cache, tmp_path / "run", replace(TINY, rounds=1, lifter_batch=3, lifter_average=0.25))
    assert [each is group for each in trained] == [True, True]
    assert [(loop.batch_size, loop.average) for loop in loops] == [(3, 0.25), (4, 0.5)]


def test_nothing_of_3d_is_looked_at(cache, complete_run, tmp_path, monkeypatch):
    """With the true joints unknown, the same weights are learned, and nothing is said of millimetres."""
    monkeypatch.setattr(rounds, "joint_truth", lambda people, skeleton: np.full((len(people), 24, 3), np.nan))
    monkeypatch.setattr(recipe, "joint_truth", lambda people, skeleton: np.full((len(people), 24, 3), np.nan))
    result = run(cache, tmp_path, replace(TINY, rounds=1))
    assert set(result.metrics) == {"keypoint_error"}
    assert not (tmp_path / rounds.PLOT).exists()
    first = complete_run[0] / "round-1" / "network" / LAST
    for one, other in zip(*(read_weights(path)[0].values() for path in (tmp_path / LAST, first)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.extensive
def test_a_network_on_the_pose_network_needs_detections(cache, tmp_path):
    options = replace(TINY, rounds=1, network=BodyRegressorOptions(1, 8, inputs="pose"))
    result = run(cache, tmp_path / "run", options)
    selection = PeopleSelection(cache, split="validation")
    report = evaluate_regressor(EvaluationRun(selection), str(tmp_path / "run"))
    assert report.metrics["mpjpe_mm"].value == pytest.approx(result.metrics["mpjpe_mm"], rel=1e-4)
    lacks = ("detected", "detected_world", "detected_mask", "parts")
    undetected = painted_cache(tmp_path / "undetected", count=2, lacks=lacks)
    with raises(InputError, problem="lacks detections", remedy="--detections"):
        DeformAndLearn(undetected, options)


@pytest.mark.extensive
def test_its_network_is_evaluated_on_held_out_people(cache, complete_run):
    selection = PeopleSelection(cache, split="validation")
    report = evaluate_regressor(EvaluationRun(selection), str(complete_run[0]))
    document = report.document()
    # The same people and weights as in the last round.
    assert report.metrics["mpjpe_mm"].value == pytest.approx(complete_run[1].metrics["mpjpe_mm"], rel=1e-4)
    assert document["metrics"]["mpjpe_mm"]["n"] == 2
    assert [row[0] for row in report.tables[0].rows] == ["constant pose", "this network", "this network, refined"]
    with raises(UsageError, subject="weights"):
        evaluate_regressor(EvaluationRun(selection), "")


def test_unknown_keypoints_are_put_where_those_of_complete_people_say():
    """The third joint is the middle of the two others, the fourth far from them."""
    random = np.random.default_rng(0)
    pairs = random.normal(size=(500, 2, 2))
    complete = np.concatenate((pairs, pairs.mean(1, keepdims=True), random.normal(5, 0.1, (500, 1, 2))), 1)
    visibility = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0]])
    keypoints = np.concatenate((np.where(visibility[..., None] > 0, complete[:4], 0), visibility[..., None]), -1)
    filled = rounds.with_probable(keypoints.astype(np.float32), complete.astype(np.float32))
    np.testing.assert_allclose(filled[0], complete[0], atol=1e-6)
    np.testing.assert_allclose(filled[1, :3], complete[1, :3], atol=0.01)
    np.testing.assert_allclose(filled[1, 3], 5, atol=0.05)
    np.testing.assert_allclose(filled[2], complete[2], atol=0.01)
    np.testing.assert_allclose(filled[3], complete.mean(0), atol=1e-5)


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco") / "cache"
    assert not build_cache(CocoPeople(count=6, splits=False), folder).failures
    return folder


@pytest.mark.extensive
def test_caches_of_other_skeletons_and_labels_are_learned_from_together(cache, coco, tmp_path):
    """COCO's people have keypoints alone: twelve of SMPL's joints, neither correspondences nor joints in space."""
    single, plan = DeformAndLearn(cache, TINY, seed=1), DeformAndLearn([cache, coco], TINY, seed=1)
    dense, sparse = plan.people.parts
    assert (len(dense), len(dense) + len(sparse)) == (len(single.people), len(plan.people))
    assert {part.cache.header.source for part in plan.people.parts} == {"painted", "coco people"}
    result = rounds.train_rounds(plan, LOOP, tmp_path, CPU)
    assert result.finished
    estimate = read_npz(tmp_path / "evidence.npz")
    assert (estimate["vertices"][: len(dense)] >= 0).any(1).all()
    assert (estimate["vertices"][len(dense) :] == -1).all()
    names = [name for name in SMPL24.joint_names if name in COCO17]
    assert len(names) == 12
    np.testing.assert_array_equal(
        estimate["keypoints"][len(dense) :, :, 2].sum(0), [len(sparse) * (name in names) for name in SMPL24.joint_names]
    )
    # People of the first cache are known by the same evidence as without the second.
    gathered = people_evidence(single.people, single.body, SMPL24, TINY.points, "labels", single.seed)
    for name, values in gathered.arrays.items():
        np.testing.assert_array_equal(estimate[name][: len(dense)], values)
    entry = json.loads((tmp_path / rounds.ROUNDS).read_text())[-1]
    assert 0 < entry["registration"]["mpjpe_mm"] < 2000
    assert np.isnan(joint_truth(plan.people, SMPL24)[len(dense) :]).all()
    # The run names both caches, and goes on with both alone.
    training = read_header(tmp_path / LAST).training
    assert [each["data"] for each in training["caches"]] == ["painted", "coco people"]
    assert training["people"] == len(plan.people)
    assert rounds.plan_rounds(DeformAndLearn([cache, coco], TINY, seed=1), LOOP, tmp_path).done == 2
    with raises(InputError, problem="another caches"):
        rounds.plan_rounds(single, LOOP, tmp_path)


def test_caches_that_cannot_be_learned_from_together_are_refused(cache, coco, tmp_path):
    with raises(UsageError, subject="data", problem="names a cache twice"):
        DeformAndLearn([cache, coco, cache], TINY)
    with raises(InputError, problem="lacks dense correspondences"):
        DeformAndLearn([coco], TINY)
    neither = painted_cache(tmp_path / "neither", count=5, lacks=("keypoints",))
    with raises(InputError, problem="lacks keypoints", expected="smpl24", got="none"):
        DeformAndLearn([cache, neither], replace(TINY))
    # A protocol that one of them has is that one's.
    assert len(DeformAndLearn([cache, coco], replace(TINY, protocol="painted")).people.parts) == 2
