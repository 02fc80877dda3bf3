"""Comparisons of methods: paired, of the people whom all found, against the first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.clip_people import ClipPeople
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.evaluate.comparison import PLOT, compare_predictions, method_names
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.predictions import predictions_digest
from humanpose_cli.lab.evaluate.report import Report, write_report

CLIPS = 5


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    assert not build_cache(ClipPeople(CLIPS), folder, workers=1).failures
    return folder


def predicted(cache: Path, path: Path, arm: Callable[[int], float], missed: tuple[int, ...] = ()) -> Path:
    """The truth with the left shoulder bent by some angle in each image; images that are missed are left out."""
    people = PeopleSelection(cache).people()
    rows = [row for row in range(len(people)) if row not in missed]
    poses = np.array(people.people.column("poses"), np.float64)
    poses[:, 48] += [arm(row) for row in range(len(people))]
    names = np.asarray(people.people.cache.images["name"][people.people.images])
    columns = {name: np.asarray(people.people.column(name))[rows] for name in ("betas", "trans", "box")}
    np.savez(path, image=names[rows].astype(str), poses=poses[rows], **columns)
    return path


def compared(cache: Path, folder: Path, *predictions: Path) -> Report:
    return compare_predictions(EvaluationRun(PeopleSelection(cache), folder / "report"), predictions)


@pytest.mark.extensive
def test_what_differs_by_little_is_distinguished_person_by_person(cache: Path, tmp_path: Path) -> None:
    """Errors vary tenfold among people; the second method is a tenth better for everyone."""
    first = predicted(cache, tmp_path / "first.npz", lambda row: 0.03 * (1 + row), missed=(3,))
    second = predicted(cache, tmp_path / "second.npz", lambda row: 0.027 * (1 + row), missed=(5,))
    report = compared(cache, tmp_path, first, second)
    methods, differences, _ = report.tables
    count = len(PeopleSelection(cache).people())
    assert [row[0] for row in methods.rows] == ["first.npz", "second.npz"]
    assert [row[1] for row in methods.rows] == pytest.approx([100 * (count - 1) / count] * 2)
    assert f"over the {count - 2} people that every method found, of {count}" in methods.notes[0]
    change = report.metrics["mpjpe_mm_second.npz"]
    baseline = dict(zip(methods.columns, methods.rows[0], strict=True))["mpjpe_mm"]
    assert isinstance(baseline, float)
    assert change.value == pytest.approx(-0.1 * baseline, rel=0.02)
    assert change.high < 0
    assert (change.n, change.clusters, change.unit) == (count - 2, CLIPS, "sequences")
    assert next(row for row in differences.rows if row[1] == "mpjpe_mm")[-1] == "better, of few"
    written = write_report(report, tmp_path / "report")
    assert tmp_path / "report" / PLOT in written
    facts = json.loads((tmp_path / "report" / "report.json").read_text())["facts"]
    assert facts["predictions first.npz"] == f"digest {predictions_digest(first)[:16]}"


@pytest.mark.slow
def test_a_method_does_not_differ_from_itself(cache: Path, tmp_path: Path) -> None:
    first = predicted(cache, tmp_path / "first.npz", lambda row: 0.1)
    same = predicted(cache, tmp_path / "same.npz", lambda row: 0.1)
    report = compared(cache, tmp_path, first, same)
    for summary in report.metrics.values():
        assert (summary.value, summary.low, summary.high) == (0, 0, 0) or not summary.n
    with raises(UsageError, problem="are of one method", expected="two or more"):
        compared(cache, tmp_path, first)


def test_methods_are_named_by_what_distinguishes_them(tmp_path: Path) -> None:
    assert method_names([Path("runs/a/fits"), Path("runs/b/fits")]) == ["a/fits", "b/fits"]
    assert method_names([Path("a.npz"), Path("b.npz")]) == ["a.npz", "b.npz"]
    with raises(UsageError, problem="are given twice"):
        method_names([Path("a"), Path("b"), Path("./a")])


def test_digests_are_of_the_fits_alone(tmp_path: Path) -> None:
    (tmp_path / "x.fit.npz").write_bytes(b"fit")
    before = predictions_digest(tmp_path)
    (tmp_path / "ledger.0-of-1.jsonl").write_text("today")
    assert predictions_digest(tmp_path) == before
    (tmp_path / "x.fit.npz").write_bytes(b"fat")
    assert predictions_digest(tmp_path) != before
