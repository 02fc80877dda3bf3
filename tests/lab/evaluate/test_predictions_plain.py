"""Plain predictions of whatever program: judged against known offsets, and refused where they say too little."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.laboratory_people import GENDERS, MODELS, LaboratoryPeople, parameters

from humanpose_cli.core.conventions import H36M17, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.evaluate.bodies import evaluate_predictions
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.report import Report

FILES = (Path("male.pkl"), Path("female.pkl"))


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("humanpose_cli.lab.evaluate.bodies._contact_sheets", lambda *_: {})  # other tests look at these
    for module in ("people", "predictions"):
        monkeypatch.setattr(
            f"humanpose_cli.lab.evaluate.{module}.load_models",
            lambda paths, _=10, **hands: {path.stem: MODELS[path.stem] for path in paths},
        )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("laboratory")
    assert not build_cache(LaboratoryPeople(), folder, workers=1).failures
    return folder


def truth() -> dict[str, Any]:
    """The test split's people as somebody's predictions."""
    poses, betas, trans = (np.stack(column) for column in zip(*(parameters(n) for n in (2, 3)), strict=True))
    return {
        "image": np.array(["2.jpg", "3.jpg"]),
        "poses": poses,
        "betas": betas,
        "trans": trans,
        "gender": GENDERS[2:],
    }


def report_of(cache: Path, path: Path, **options: Any) -> Report:
    selection = PeopleSelection(cache, split="test", models=FILES, **options)
    return evaluate_predictions(EvaluationRun(selection), path)


def write_npz(path: Path, fields: dict[str, Any]) -> Path:
    np.savez(path, **fields)
    return path


def write_json(path: Path, fields: dict[str, Any]) -> Path:
    rows = [{name: np.asarray(values)[i].tolist() for name, values in fields.items()} for i in range(2)]
    path.write_text(json.dumps({"predictions": rows}))
    return path


@pytest.mark.extensive
@pytest.mark.parametrize("write", [write_npz, write_json])
def test_the_truth_scores_nothing_and_an_offset_scores_itself(
    cache: Path, tmp_path: Path, write: Callable[[Path, dict[str, Any]], Path]
) -> None:
    path = tmp_path / ("p.npz" if write is write_npz else "p.json")
    report = report_of(cache, write(path, truth()))
    assert report.facts["found"] == "2 (100.0 %)"
    assert report.metrics["mpjpe_mm"].value < 0.01
    assert report.metrics["pve_mm"].value < 0.01
    moved = {**truth(), "trans": truth()["trans"] + np.array([0.03, 0, 0.04])}
    write(path, moved)
    assert report_of(cache, path).metrics["mpjpe_mm"].value < 0.01
    for joints in ("smpl24", "lsp14"):
        space = report_of(cache, path, root="none", joints=joints)
        assert space.metrics["mpjpe_mm"].value == pytest.approx(50, abs=0.01)
        assert space.metrics["pa_mpjpe_mm"].value < 0.1


@pytest.mark.extensive
@pytest.mark.parametrize("write", [write_npz, write_json])
def test_scaled_segments_score(cache: Path, tmp_path: Path, write: Callable[[Path, dict[str, Any]], Path]) -> None:
    path = tmp_path / ("p.npz" if write is write_npz else "p.json")
    for scale in (1.0, 1.3):
        report = report_of(cache, write(path, {**truth(), "segment_scales": np.full((2, 24), scale)}))
        assert report.metrics["mpjpe_mm"].value < 0.01 if scale == 1 else report.metrics["mpjpe_mm"].value > 50
    write(path, {**truth(), "segment_scales": np.zeros((2, 24))})
    with raises(InputError, problem="segment_scales holds impossible values"):
        report_of(cache, path)


def test_a_wrong_gender_scores(cache: Path, tmp_path: Path) -> None:
    wrong = {**truth(), "gender": ["female", "male"]}
    report = report_of(cache, write_npz(tmp_path / "p.npz", wrong))
    assert report.metrics["mpjpe_mm"].value > 5
    assert report.metrics["pve_mm"].value > 5


@pytest.mark.slow
def test_rotations_may_be_matrices_and_people_named(cache: Path, tmp_path: Path) -> None:
    predictions = truth()
    predictions["poses"] = axis_angle_to_matrix(torch.from_numpy(predictions["poses"]).view(2, 24, 3)).numpy()
    report = report_of(cache, write_npz(tmp_path / "p.npz", {**predictions, "person": np.array([0, 1])}))
    assert report.facts["found"] == "1 (50.0 %)"  # there is no second person in an image
    assert report.metrics["mpjpe_mm"].value < 0.01
    boxes = np.array([[5, 5, 50, 55.0], [70, 0, 79, 5]])
    found = report_of(cache, write_npz(tmp_path / "b.npz", {**predictions, "box": boxes})).facts["found"]
    assert found == "1 (50.0 %)"


@pytest.mark.slow
def test_joints_alone_are_evaluated_where_they_are_the_protocols(cache: Path, tmp_path: Path) -> None:
    people = [open_cache(cache).sample(row).people[0] for row in (2, 3)]
    for skeleton, names in ((SMPL24.name, "smpl24"), (H36M17.name, "mocap17")):
        joints = np.stack([person.joints[skeleton][:, :3] for person in people]).astype(float)
        joints[:, 4, 2] += 0.1
        predictions = {"image": ["2", "3"], "joints": joints, "skeleton": skeleton}
        report = report_of(cache, write_npz(tmp_path / "j.npz", predictions), joints=names)
        count = 24 if names == "smpl24" else 16  # the spine was not measured
        assert report.metrics["mpjpe_mm"].value == pytest.approx(100 / count, abs=0.01)
        assert report.metrics["pve_mm"].n == report.metrics["pckh"].n == 0
    with raises(UsageError, problem="smpl24 are not among those of h36m17", expected="spine1"):
        report_of(cache, tmp_path / "j.npz", joints="smpl24")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"image": ["a", "b"]}, {"got": "a"}),
        ({"poses": np.zeros((2, 23, 3))}, {"subject": "(poses)", "expected": "(2, 72) or (2, 24, 3)"}),
        ({"trans": np.full((2, 3), np.nan)}, {"subject": "(trans)"}),
        ({"trans": [[0, 0, 1e30]] * 2}, {"expected": "-100000 to 100000 metres", "got": "1e+30 in row 0"}),
        ({"poses": np.full((2, 72), 90.0)}, {"expected": "radians", "got": "90 in row 0"}),
        ({"gender": ["", "other"]}, {"got": "other"}),
        ({"joints": np.zeros((2, 14, 3))}, {"subject": "(skeleton)"}),
    ],
)
def test_files_that_say_too_little(cache: Path, tmp_path: Path, change: dict[str, Any], error: str) -> None:
    with raises(InputError, **error):
        report_of(cache, write_npz(tmp_path / "p.npz", {**truth(), **change}))
