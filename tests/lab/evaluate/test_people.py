"""What fits are compared with: everybody's own model, measured joints, and everybody counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.errors import raises
from helpers.laboratory_people import MODELS, LaboratoryPeople
from helpers.painted_people import PaintedPeople, painted_cache

from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.evaluate.bodies import (
    EvaluatedFits,
    PredictedBody,
    evaluate_fits,
    fits_report,
    match_boxes,
    measure_fits,
)
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, EvaluationRun, PeopleSelection, clusters_of
from humanpose_cli.lab.evaluate.protocols import BodyProtocol, apply_protocol
from humanpose_cli.lab.recipes.people import require_model, split_people


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model files are named after their gender here and hold nothing."""
    monkeypatch.setattr(
        "humanpose_cli.lab.evaluate.people.load_models",
        lambda paths, _=10, **hands: {path.stem: MODELS[path.stem] for path in paths},
    )


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Cache of a source, made once for each."""
    made: dict[str, Path] = {}

    def make(**options: Any) -> Path:
        key = str(sorted(options.items()))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("laboratory")
            assert not build_cache(LaboratoryPeople(**options), made[key], workers=1).failures
        return made[key]

    return make


FILES = (Path("male.pkl"), Path("female.pkl"))


def truth_of(people: EvaluatedPeople, *, genders: dict[str, str] | None = None) -> EvaluatedFits:
    """The labelled parameters as somebody's fits; of the models of other genders, where these are given."""

    def fit(row: int) -> list[PredictedBody]:
        number = int(np.flatnonzero(people.people.images == row)[0])
        columns = [people.people.column(name)[number] for name in ("poses", "betas", "trans", "box")]
        gender = str(people.people.column("gender")[number])
        return [PredictedBody(*columns, MODELS[(genders or {}).get(gender, gender)])]

    return measure_fits(people, fit, default_body())


@pytest.mark.slow
def test_truth_is_that_of_the_model_of_each_person(caches: Any) -> None:
    people = PeopleSelection(caches(), split="test", models=FILES).people()
    truth = truth_of(people)
    for name in ("mpjpe", "pa_mpjpe", "pve"):
        np.testing.assert_allclose(getattr(truth.errors, name), 0, atol=1e-5)
    np.testing.assert_array_equal(truth.errors.pckh, 1)
    assert people.truth == "bodies of smpl-female, smpl-male"
    wrong = truth_of(people, genders={"male": "female", "female": "female"}).errors
    by_gender = dict(zip(people.people.column("gender").tolist(), wrong.mpjpe, strict=True))
    assert by_gender["female"] < 1e-5
    assert by_gender["male"] > 0.005
    neutral = truth_of(people, genders={"male": "neutral", "female": "neutral"}).errors
    assert (neutral.mpjpe > 0.002).all()
    assert (neutral.pve > 0.002).all()


def test_without_the_model_of_a_person_nothing_is_evaluated(caches: Any) -> None:
    with raises(InputError, problem="has bodies of smpl-male, but their models"):
        PeopleSelection(caches(), models=(Path("female.pkl"), Path("neutral.pkl"))).people()
    with raises(InputError, problem="has bodies of smplx-female, smplx-male"):
        PeopleSelection(caches(kind="smplx"), models=FILES).people()


def test_fingers_of_rich_have_the_mean_pose_except_with_camerahmr(caches: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Owners and WHAM: flat_hand_mean=False; CameraHMR: True."""
    rich, loaded = caches(kind="smplx", name="rich"), []
    monkeypatch.setattr("humanpose_cli.lab.evaluate.people.load_models", lambda *_, **hands: loaded.append(hands) or {})
    for name in ("", "rich-wham", "rich-gvhmr", "rich-camerahmr"):
        selection, _ = apply_protocol(PeopleSelection(rich, protocol=name), BodyProtocol)
        with raises(InputError, problem="has bodies of smplx"):
            replace(selection, protocol="", split="").people()
    with raises(InputError, problem="has bodies of smplx"):
        PeopleSelection(caches(kind="smplx")).people()
    assert [hands["mean_hands"] for hands in loaded] == [True, True, True, False, False]


def test_networks_learn_from_one_model_only(caches: Any) -> None:
    train, _ = split_people(caches(), ["poses"])
    with raises(InputError, problem="has parameters of another body", expected="smpl-neutral", got="smpl-"):
        require_model(train, MODELS["neutral"])
    with raises(InputError, problem="than the evaluated one", expected="default", got="smpl-female, smpl-m"):
        PeopleSelection(caches(), models=FILES).people().require_one_model()


@pytest.mark.slow
@pytest.mark.parametrize("bodies", [True, False])
def test_measured_joints_are_the_truth_of_laboratories(caches: Any, bodies: bool) -> None:
    """Whatever was fitted to them: no model is needed."""
    selection = PeopleSelection(caches(name="h36m", bodies=bodies), split="test", models=FILES)
    joints = selection.joint_set()
    assert joints.name == "mocap17"
    people = selection.people(joints=joints)
    assert people.truth == "the data set's own joints"
    if bodies:
        assert selection.people().truth == "bodies of smpl-female, smpl-male, made by joint fit"
        found = truth_of(people)
        np.testing.assert_allclose(found.errors.mpjpe, 0, atol=1e-5)
        space = replace(selection, root="none")
        errors = truth_of(space.people(joints=space.joint_set())).errors
        np.testing.assert_allclose(errors.mpjpe, 0.03, atol=1e-5)
        np.testing.assert_allclose(errors.pa_mpjpe, 0, atol=1e-5)
        assert selection.people(joints=joints).rig.min() >= 0
    missed = measure_fits(people, lambda row: [], default_body())
    assert len(missed.stand_in.mpjpe) == 2
    assert ((missed.stand_in.mpjpe > 0.02) & (missed.stand_in.mpjpe < 0.6)).all()


@pytest.mark.slow
def test_everybody_counts(caches: Any) -> None:
    """A missed person is an upright one in the second mean, with no joint correct."""
    people = PeopleSelection(caches(), split="test", models=FILES).people()
    assert len(people) == 2
    truth = truth_of(people)
    half = measure_fits(
        people,
        lambda row: (
            [PredictedBody(*(people.people.column(n)[0] for n in ("poses", "betas", "trans", "box")), MODELS["male"])]
            if row == people.people.images[0]
            else []
        ),
        default_body(),
    )
    report = fits_report(people, half, {})
    assert report.facts["found"] == "1 (50.0 %)"
    assert report.metrics["mpjpe_mm"].value < 0.01
    of_all = report.metrics["mpjpe_mm_of_all"]
    assert (of_all.n, report.metrics["mpjpe_mm"].n) == (2, 1)
    assert of_all.value == pytest.approx(500 * half.stand_in.mpjpe[0], abs=0.01)
    assert report.metrics["pckh_of_all"].value == pytest.approx(report.metrics["pckh"].value / 2)
    assert fits_report(people, truth, {}).metrics["mpjpe_mm_of_all"].value < 0.01


def test_intervals_are_over_what_is_independent() -> None:
    """Clothes of one person are not, nor colours of one garment."""
    columns = {"identity": np.array(["001", "001", "002"]), "clothing": np.array(["001/1", "001/2", "002/1"])}
    for source, unit in (("iper", "people"), ("deepfashion", "garments"), ("synthetic", "rendered people")):
        cache = SimpleNamespace(
            header=SimpleNamespace(source=source), people=columns, sequence_numbers=np.array([0, 1, 2])
        )
        people: Any = SimpleNamespace(cache=cache, column=columns.__getitem__, images=np.arange(3))
        found = clusters_of(people)
        assert (found.ids.tolist(), found.text) == ([0, 0, 1], f"2 different {unit}: too few for an interval")


@pytest.mark.slow
def test_people_without_a_needed_label_are_counted(tmp_path: Path) -> None:
    folder = painted_cache(tmp_path / "cache", count=15, mistaken=(4,))
    selection = PeopleSelection(folder)
    people = selection.people("box", "detected")
    assert len(people) == 2
    assert people.facts["left out"] == "1 person without boxes or detections"
    assert people.split == ""  # so that no paper's row stands beside
    everybody = selection.people("joints")
    assert (len(everybody), everybody.split, everybody.left_out) == (3, "painted/validation", "")


@pytest.mark.extensive
def test_who_was_not_detected_is_missed(tmp_path: Path) -> None:
    """By the detections that a cache stores: nobody in one place, somebody else in another."""

    class Undetected(PaintedPeople):
        def sample(self, group: Any, frame: int) -> Any:
            sample = super().sample(group, frame)
            missing = dict.fromkeys(("detected", "detected_world", "detected_mask") if group.key == 9 else ())
            return replace(sample, people=[replace(person, **missing) for person in sample.people])

    build_cache(Undetected(count=15, mistaken=(4,)), tmp_path / "cache")
    options, selection = FitOptions(method="keypoints"), PeopleSelection(tmp_path / "cache")
    report = evaluate_fits(EvaluationRun(selection), options, detections="stored")
    assert (report.facts["people"], report.facts["found"]) == (3, "1 (33.3 %)")
    assert report.metrics["mpjpe_mm"].value < 100
    assert report.metrics["mpjpe_mm_of_all"].n == 3


def test_boxes_are_compared_within_the_image() -> None:
    """Half of a person is beyond the image: a detector's box ends there, joints and other programs' boxes do not."""
    complete, cut = np.array([-60.0, 10, 40, 90]), np.array([0.0, 10, 40, 90])
    for true, predicted in ((complete, cut), (cut, complete)):
        assert match_boxes([true], [predicted], (100, 100)) == [(0, 0)]
    assert match_boxes([complete], [np.array([50.0, 10, 90, 90])], (100, 100)) == []
    outside = np.array([120.0, 10, 140, 50])
    assert match_boxes([outside], [outside], (100, 100)) == [(0, 0)]
    assert match_boxes([np.full(4, np.nan), cut], [cut], (100, 100)) == [(1, 0)]
