"""Networks, segmenters and fits evaluated on a small cache whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.painted_people import painted_cache

from humanpose_cli.body.body import default_body
from humanpose_cli.body.limb_rotations import neutral_rotations
from humanpose_cli.core.errors import InputError, InterruptedRun, UsageError
from humanpose_cli.fitting.options import NetworkOptions
from humanpose_cli.lab.evaluate import nbf_ablations
from humanpose_cli.lab.evaluate.bodies import PredictedBody, fits_report, measure_fits
from humanpose_cli.lab.evaluate.crops import (
    NetworkOnCrops,
    crops_report,
    distance_to_mean,
    evaluate_crops,
    measure_crops,
)
from humanpose_cli.lab.evaluate.nbf_ablations import NbfShared, measure_networks
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.registry import evaluate_study
from humanpose_cli.lab.evaluate.report import PANELS, body_panel
from humanpose_cli.lab.evaluate.segmenter import measure_segmenter, segmenter_report
from humanpose_cli.lab.evaluate.trainings import PlannedTraining, Trainings
from humanpose_cli.lab.metrics.bodies import pa_mpjpe
from humanpose_cli.lab.recipes.nbf.recipe import NbfRecipe, NbfTraining
from humanpose_cli.lab.recipes.segmenter.recipe import SegmenterRecipe, SegmenterTraining
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import BEST, LAST, train
from humanpose_cli.models.nbf.inputs import InputOptions
from humanpose_cli.models.nbf.network import RegressorOptions, load_nbf
from humanpose_cli.models.segmenter.network import Segmenter, SegmenterOptions

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
LOOP = TrainOptions(epochs=1, batch_size=8, workers=0, log_every=1, validate_every=10_000)
PARTS = NbfTraining(
    InputOptions("parts", parts=3, size=32), RegressorOptions(18, 4), crop=32, learning_rate=3e-3, variants=2
)
SEGMENTER = SegmenterTraining(SegmenterOptions("tiny", parts=3, crop=32, width=4), learning_rate=1e-2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return painted_cache(tmp_path_factory.mktemp("people") / "cache", count=30)


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory):
    """Folders of a segmenter and of a network on its 3 parts."""
    folders = [tmp_path_factory.mktemp(name) for name in ("segmenter", "network")]
    train(SegmenterRecipe(cache, SEGMENTER), replace(LOOP, epochs=4), folders[0], CPU)
    train(NbfRecipe(cache, PARTS), replace(LOOP, epochs=2), folders[1], CPU)
    return folders


def found_bodies(people, shift=0.0):
    """Row of an image → the truth, as somebody would have found it, `shift` metres aside."""

    def fit(row):
        number = int(np.flatnonzero(people.people.images == row)[0])
        columns = [people.people.column(name)[number] for name in ("poses", "betas", "trans", "box")]
        columns[2] = columns[2] + np.float32([shift, 0, 0])
        return [PredictedBody(*columns)]

    return fit


def test_the_truth_fits_and_who_is_not_found_is_counted(cache):
    people = PeopleSelection(cache).people("joints")
    assert len(people) == 6
    evaluated = measure_fits(people, found_bodies(people), default_body())
    assert len(evaluated.rows) == 6
    np.testing.assert_allclose(evaluated.errors.mpjpe, 0, atol=1e-4)
    np.testing.assert_array_equal(evaluated.errors.pckh, 1)
    picky = measure_fits(people, lambda row: found_bodies(people)(row) if row % 2 else [], default_body())
    assert len(picky.stand_in.mpjpe) == len(people) - len(picky.rows) > 0
    # Beside the errors stand those of a person with hanging arms at everyone's pelvis.
    standing = default_body().pose(neutral_rotations().float()[None], torch.zeros(1, 10), vertices=False).joints.numpy()
    expected = pa_mpjpe(np.repeat(standing.astype(np.float64), 6, 0), people.people.column("joints/smpl24")[..., :3])
    report = fits_report(people, picky, {"method": "truth"})
    assert report.tables[0].rows[1][6] == f"{1000 * expected[picky.rows].mean():.1f}"
    assert report.metrics["mpjpe_mm"].n == len(picky.rows)
    assert report.metrics["pckh"].value == 1
    assert set(report.images) == {"quartiles.jpg", "worst-mpjpe.jpg", "worst-pckh.jpg", "worst-rotation.jpg"}
    empty = measure_fits(people, lambda row: [], default_body())
    assert (len(empty.rows), len(empty.stand_in.mpjpe)) == (0, 6)
    assert np.isnan(fits_report(people, empty, {}).metrics["mpjpe_mm"].value)
    with pytest.raises(InterruptedRun):
        measure_fits(people, found_bodies(people), default_body(), stop=lambda: True)


def test_images_of_fits_distinguish_the_truth_from_the_fit(cache):
    people = PeopleSelection(cache).people("joints")
    evaluated = measure_fits(people, found_bodies(people, shift=0.2), default_body())
    panel = body_panel(people, int(evaluated.rows[0]), evaluated.rigs[0], evaluated.bodies, 0)
    for square in np.split(panel.astype(int), len(PANELS), 1):
        written = np.abs(square[-20:, :100] - (255, 214, 64)).max(2) < 40  # as `draw_label` writes
        assert written.sum() > 20
    person, true, found = np.split(panel[:200].astype(float), len(PANELS), 1)
    for drawn, name in ((true, "green"), (found, "orange")):
        body = np.abs(drawn - person).max(2) > 60
        red, green, blue = (drawn - 0.3 * person)[body].mean(0)  # bodies are drawn with seven tenths of their colour
        assert (red > green > blue) == (name == "orange")
        assert (green > max(red, blue)) == (name == "green")
    captions = [text for _, text in fits_report(people, evaluated, {}).images.values()]
    assert all("true body (green), found body (orange)" in text for text in captions)


def test_a_network_on_crops_is_evaluated_as_its_training_evaluated_it(cache, trained):
    recipe = NbfRecipe(cache, PARTS)
    network = load_nbf(trained[1] / BEST)
    recipe.model.load_state_dict(network.regressor.state_dict())
    recipe.model.eval()
    people = PeopleSelection(cache).people("joints", "parts")
    recipe.held_out = people.people
    errors, f1 = measure_crops(NetworkOnCrops(people, network, "labels"))
    assert f1 is None
    np.testing.assert_allclose(errors.mpjpe, recipe.errors(8).mpjpe, atol=1e-5)


def test_a_segmenters_parts_are_evaluated_beside_the_bodies(cache, trained, tmp_path):
    people = PeopleSelection(cache).people("joints", "parts")
    network = load_nbf(trained[1] / BEST, segmenter=trained[0] / BEST)
    crops = NetworkOnCrops(people, network, "segmenter")
    evaluated = measure_crops(crops)
    assert evaluated[1].shape == (6,)
    assert (evaluated[1] > 0).all()
    report = crops_report(people, evaluated, {}, tmp_path, crops)
    assert set(report.images) == {"quartiles.jpg", "worst-mpjpe.jpg"}
    np.testing.assert_array_equal(evaluated[1], measure_crops(crops)[1])  # images add no people
    assert report.metrics["f1"].n == 6
    assert (tmp_path / "f1-error.png").stat().st_size > 1000
    hard = distance_to_mean(people)
    assert ((hard > 0) & (hard < np.pi)).all()
    joints = replace(PARTS, inputs=InputOptions("joints", joints=14, size=32))
    train(NbfRecipe(cache, joints), LOOP, tmp_path / "joints", CPU)
    options = NetworkOptions(str(tmp_path / "joints"), str(trained[0]))
    with raises(UsageError, problem="has nothing to do"):
        evaluate_crops(EvaluationRun(PeopleSelection(cache), tmp_path), options, "segmenter")


def test_images_of_crops_show_the_networks_input_the_truth_and_the_prediction(cache, trained):
    """Figure 4: the input's colours are those of the predicted parts, the bodies are before the fixed camera."""
    people = PeopleSelection(cache).people("joints", "parts")
    network = load_nbf(trained[1] / BEST, segmenter=trained[0] / BEST)
    from_labels, of_segmenter = (NetworkOnCrops(people, network, source).panel(0) for source in ("labels", "segmenter"))
    parts, true, predicted = np.split(from_labels.astype(int), 3, 1)
    other_parts, same, other = np.split(of_segmenter.astype(int), 3, 1)
    np.testing.assert_array_equal(same, true)
    assert (parts != other_parts).any()
    assert (predicted != other).any()
    assert len(np.unique(other_parts.reshape(-1, 3), axis=0)) <= 4  # of three parts and the background


def test_a_segmenter_is_evaluated_over_pixels_and_people(cache, trained):
    segmenter = Segmenter.load(trained[0] / BEST)
    people = PeopleSelection(cache).people("box", "parts").people
    evaluated = measure_segmenter(people, segmenter)
    recipe = SegmenterRecipe(cache, SEGMENTER)
    recipe.held_out = people
    recipe.model.load_state_dict(segmenter.network.state_dict())
    recipe.model.eval()
    assert np.nanmean(evaluated.iou[1:]) == pytest.approx(recipe.validate(8)["iou"])
    report = segmenter_report(people, segmenter, evaluated, {})
    assert report.metrics["iou"].n == 6
    assert [row[0] for row in report.tables[0].rows] == ["background", "trunk", "arms", "legs", "mean of the parts"]
    assert set(report.images) == {"quartiles.jpg", "worst.jpg"}
    with pytest.raises(InterruptedRun):
        measure_segmenter(people, segmenter, stop=lambda: True)


def test_splits_that_are_not_there_are_listed(cache, tmp_path):
    assert PeopleSelection(cache).protocol_and_split() == ("painted", "validation")
    with raises(InputError, problem="has no split test of protocol painted", got="painted: train, validation"):
        PeopleSelection(cache, split="test").protocol_and_split()
    bare = painted_cache(tmp_path / "bare", lacks=("poses",))
    with raises(InputError, problem="lacks body parameters"):
        PeopleSelection(bare).people("joints")


@pytest.mark.extensive
def test_trainings_are_done_once_and_go_on(cache, tmp_path):
    calls = []
    other = replace(PARTS, losses=replace(PARTS.losses, points3d=10.0))
    planned = [
        PlannedTraining(name, NbfRecipe, each, LOOP) for name, each in (("a", PARTS), ("b", PARTS), ("c", other))
    ]
    trainings = Trainings(cache, tmp_path, CPU, planned, seeds=2, progress=lambda *step: calls.append(step))
    weights = trainings.run()
    first = weights["a"]
    assert first[0] != first[1]
    assert len(calls) == 2 * 2 * 2
    assert weights["b"] == first  # whose settings are the same
    assert weights["c"] != first
    people = PeopleSelection(cache).people("joints", "parts")
    both, *single = (measure_networks(people, paths, CPU).values["mpjpe"] for paths in (first, first[:1], first[1:]))
    np.testing.assert_allclose(both, np.concatenate(single))
    interrupted = Trainings(cache, tmp_path / "new", CPU, planned[:1], stop=lambda: True)
    with pytest.raises(InterruptedRun):
        interrupted.run()
    interrupted.stop = lambda: False
    ((resumed,),) = interrupted.run().values()
    for name in (LAST, "finished.json"):  # as if it had not been interrupted
        assert (resumed.parent / name).read_bytes() == (first[0].parent / name).read_bytes(), name


@pytest.mark.extensive
def test_networks_are_trained_and_validated_with_each_segmenter(cache, tmp_path):
    trained = {"weak": replace(SEGMENTER, learning_rate=1e-3), "better": SEGMENTER}
    shared = NbfShared(PARTS, LOOP, trained, replace(LOOP, epochs=3))
    report = evaluate_study("fit segmenters", EvaluationRun(PeopleSelection(cache), tmp_path), tune=lambda _: shared)
    table = report.tables[0]
    assert [row[0] for row in table.rows] == ["constant pose", "weak", "better", "GT"]
    assert len(table.columns) == 5
    assert np.isfinite(np.array([row[2:] for row in table.rows], float)).all()
    assert table.rows[3][1] == 100
    sheets = {f"{parts}-{sheet}.jpg" for parts in ("better", "GT") for sheet in ("quartiles", "worst-mpjpe")}
    assert set(report.plots) == {"f1-error.png", *sheets}
    assert all((tmp_path / plot).stat().st_size > 1000 for plot in report.plots)


def nothing_is_trained(monkeypatch):
    monkeypatch.setattr(nbf_ablations, "compare", lambda *_: ([], {}))
    for method in ("check", "run"):
        monkeypatch.setattr(Trainings, method, lambda *_: {})


def test_ablations_are_evaluated_on_validation_and_others_on_test(tmp_path, monkeypatch):
    folder = painted_cache(tmp_path / "cache", count=10, test=True)
    assert PeopleSelection(folder).facts()["split"] == "painted/test"
    assert PeopleSelection(folder, split="val").facts()["split"] == "painted/validation"
    nothing_is_trained(monkeypatch)
    for split, expected in (("", "painted/validation"), ("test", "painted/test")):
        report = evaluate_study("fit inputs", EvaluationRun(PeopleSelection(folder, split=split), tmp_path))
        assert report.facts["split"] == expected


@pytest.mark.extensive
def test_a_network_alone_is_not_measured_on_scaled_segments(trained, tmp_path, monkeypatch):
    """Its parameters cannot express them: they are left out and counted, and no paper's row stands beside."""
    folder = painted_cache(tmp_path / "cache", count=30, scaled=(4, 9))
    labels = ("joints of smpl24 in the image or unscaled segments", "maps of body parts")
    selection, left_out = PeopleSelection(folder), f"2 people without {' or '.join(labels)}"
    people = selection.people("joints", "unscaled", "parts")
    assert (len(people), people.facts["left out"], people.split) == (4, left_out, "")
    assert len(selection.people("joints")) == 6
    options = NetworkOptions(weights=str(trained[1] / BEST))
    report = evaluate_crops(EvaluationRun(selection, tmp_path), options, "labels")
    assert (report.facts["left out"], report.metrics["mpjpe_mm"].n) == (left_out, 4)
    nothing_is_trained(monkeypatch)
    report = evaluate_study("fit inputs", EvaluationRun(selection, tmp_path))
    assert report.facts["left out"] == left_out
