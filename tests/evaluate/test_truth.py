"""What fits are compared with: everybody's own model, measured joints, and everybody counts."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import H36M17
from humanpose_cli.core.errors import InputError
from humanpose_cli.data.building import build_cache
from humanpose_cli.data.encoding import encode_png
from humanpose_cli.data.samples import Group, Person, Sample, SourceInfo
from humanpose_cli.evaluate.bodies import EvaluatedFits, FoundBody, fits_report, matched, measure_fits
from humanpose_cli.evaluate.people import EvaluatedPeople, PeopleSelection
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.models.people import require_model, split_people

SIZE, VIEW = (80, 60), Camera.of_image((80, 60), 90.0)
GENDERS = ("male", "female", "male", "female")


def model(gender: str) -> Body:
    """A body that stands in for SMPL's of that gender: men are larger by a twentieth."""
    body = copy.deepcopy(default_body())
    body.name = f"smpl-{gender}"
    with torch.no_grad():
        for values in (body.template, body.joint_template):
            values *= {"male": 1.05, "female": 1.0, "neutral": 1.02}[gender]
    return body


MODELS = {gender: model(gender) for gender in ("male", "female", "neutral")}


def parameters(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(number)
    poses = 0.2 * random.normal(size=72)
    poses[:3] = (np.pi, 0, 0)
    return poses, random.normal(size=10), np.array([0.1 * number - 0.2, 0.2, 3.0])


class LaboratoryPeople:
    """A man or a woman in each image: parameters of their model, and joints that were measured 30 mm off.

    bodies  whether their parameters are known; kind whose they are
    """

    def __init__(self, name: str = "3dpw", *, bodies: bool = True, kind: str = "smpl") -> None:
        self.name, self.bodies, self.kind = name, bodies, kind

    @property
    def info(self) -> SourceInfo:
        return SourceInfo(self.name, {})

    def groups(self) -> Sequence[Group]:
        return [Group(f"{number}", 1, key=number) for number in range(len(GENDERS))]

    def read(self, group: Group) -> Iterator[Sample]:
        poses, betas, trans = parameters(group.key)
        gender = GENDERS[group.key]
        rotations = axis_angle_to_matrix(torch.from_numpy(poses).float().view(1, 24, 3))
        shape = torch.from_numpy(betas).float()[None]
        body = MODELS[gender].pose(rotations, shape, torch.from_numpy(trans).float()[None])
        measured = MODELS[gender].pose_landmarks("h36m17", body, shape)[0].numpy() + np.array([0, 0, 0.03])
        labels = np.concatenate((measured, np.ones((17, 1))), 1)
        labels[H36M17.index("spine"), 3] = 0
        joints = body.joints[0].numpy()
        person = Person(
            identity=gender,
            gender=gender,
            body=self.kind,
            box=np.array([5, 5, 50, 55], float),
            keypoints={"smpl24": np.concatenate((VIEW.project(joints), np.ones((24, 1))), 1)},
            joints={"smpl24": np.concatenate((joints, np.ones((24, 1))), 1), "h36m17": labels},
        )
        if self.bodies:
            person = replace(person, poses=poses, betas=betas, trans=trans)
        image = encode_png(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
        yield Sample(f"{group.key}", image, SIZE, 90.0, None, [person], splits={"p": ["train", "test"][group.key // 2]})


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model files are named after their gender here and hold nothing."""
    monkeypatch.setattr(
        "humanpose_cli.evaluate.people.load_models", lambda paths: {path.stem: MODELS[path.stem] for path in paths}
    )


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Cache of a source, made once for each."""
    made: dict[str, Path] = {}

    def make(**options: Any) -> Path:
        key = str(sorted(options.items()))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("laboratory")
            assert not build_cache(LaboratoryPeople(**options), made[key], workers=1).failed
        return made[key]

    return make


FILES = (Path("male.pkl"), Path("female.pkl"))


def truth_of(people: EvaluatedPeople, *, genders: dict[str, str] | None = None) -> EvaluatedFits:
    """The labelled parameters as somebody's fits; of the models of other genders, where these are given."""

    def fit(row: int) -> list[FoundBody]:
        number = int(np.flatnonzero(people.people.images == row)[0])
        columns = [people.people.column(name)[number] for name in ("poses", "betas", "trans", "box")]
        gender = str(people.people.column("gender")[number])
        return [FoundBody(*columns, MODELS[(genders or {}).get(gender, gender)])]

    return measure_fits(people, fit, default_body())


def test_truth_is_that_of_everybodys_own_model(caches: Any) -> None:
    people = PeopleSelection(caches(), split="test", models=FILES).people()
    own = truth_of(people)
    for name in ("mpjpe", "pa_mpjpe", "pve"):
        np.testing.assert_allclose(getattr(own.errors, name), 0, atol=1e-5)
    np.testing.assert_array_equal(own.errors.pckh, 1)
    assert people.truth == "bodies of smpl-female, smpl-male"
    wrong = truth_of(people, genders={"male": "female", "female": "female"}).errors
    by_gender = dict(zip(people.people.column("gender").tolist(), wrong.mpjpe, strict=True))
    assert by_gender["female"] < 1e-5
    assert by_gender["male"] > 0.005
    neutral = truth_of(people, genders={"male": "neutral", "female": "neutral"}).errors
    assert (neutral.mpjpe > 0.002).all()
    assert (neutral.pve > 0.002).all()


def test_without_somebodys_model_nothing_is_judged(caches: Any) -> None:
    with pytest.raises(InputError, match="has bodies of smpl-male, without whose models nothing is true"):
        PeopleSelection(caches(), models=(Path("female.pkl"), Path("neutral.pkl"))).people()
    with pytest.raises(InputError, match=r"has bodies of smplx-female, smplx-male"):
        PeopleSelection(caches(kind="smplx"), models=FILES).people()


def test_networks_learn_from_one_model_only(caches: Any) -> None:
    train, _ = split_people(caches(), ["poses"])
    with pytest.raises(InputError, match="has parameters of another body, expected smpl-neutral, found smpl-female"):
        require_model(train, MODELS["neutral"])
    with pytest.raises(InputError, match="than the one that is evaluated, expected default, found smpl-female, smpl-m"):
        PeopleSelection(caches(), models=FILES).people().require_one_model()


@pytest.mark.parametrize("bodies", [True, False])
def test_measured_joints_are_the_truth_of_laboratories(caches: Any, bodies: bool) -> None:
    """Whatever was fitted to them: no model is needed."""
    selection = PeopleSelection(caches(name="h36m", bodies=bodies), split="test", models=FILES)
    joints = selection.joint_set()
    assert joints.name == "mocap17"
    people = selection.people(joints=joints)
    assert people.truth == "the data set's own joints"
    if bodies:
        found = truth_of(people)
        np.testing.assert_allclose(found.errors.mpjpe, 0, atol=1e-5)
        space = replace(selection, root="none")
        errors = truth_of(space.people(joints=space.joint_set())).errors
        np.testing.assert_allclose(errors.mpjpe, 0.03, atol=1e-5)
        np.testing.assert_allclose(errors.pa_mpjpe, 0, atol=1e-5)
        assert selection.people(joints=joints).rig.min() >= 0
    missed = measure_fits(people, lambda row: [], default_body())
    assert len(missed.missed) == 2
    assert ((missed.stand_in.mpjpe > 0.02) & (missed.stand_in.mpjpe < 0.6)).all()


def test_everybody_counts(caches: Any) -> None:
    """A missed person is an upright one in the second mean, with no joint correct."""
    people = PeopleSelection(caches(), split="test", models=FILES).people()
    assert len(people) == 2
    truth = truth_of(people)
    half = measure_fits(
        people,
        lambda row: (
            [FoundBody(*(people.people.column(n)[0] for n in ("poses", "betas", "trans", "box")), MODELS["male"])]
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
    assert report.metrics["pck_150_of_all"].value == pytest.approx(0.5)
    assert fits_report(people, truth, {}).metrics["mpjpe_mm_of_all"].value < 0.01


def test_boxes_are_compared_within_the_image() -> None:
    """Half of a person is beyond the image: a detector's box ends there, joints and other programs' boxes do not."""
    whole, cut = np.array([-60.0, 10, 40, 90]), np.array([0.0, 10, 40, 90])
    for true, predicted in ((whole, cut), (cut, whole)):
        assert matched([true], [predicted], (100, 100)) == [(0, 0)]
    assert matched([whole], [np.array([50.0, 10, 90, 90])], (100, 100)) == []
    outside = np.array([120.0, 10, 140, 50])
    assert matched([outside], [outside], (100, 100)) == [(0, 0)]
    assert matched([np.full(4, np.nan), cut], [cut], (100, 100)) == [(1, 0)]
