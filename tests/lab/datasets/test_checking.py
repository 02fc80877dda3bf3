"""Checks of folders: published counts, what is missing or damaged, digests of trees, and what a report leaves out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.errors import raises
from helpers.paper_datasets import python2_pickle, threedpw_tree, threedpw_world, write

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.datasets import checking, emdb, threedpw
from humanpose_cli.lab.datasets.checking import DatasetCheck, check_dataset
from humanpose_cli.lab.datasets.preprocess import SourceRequest
from humanpose_cli.lab.datasets.published import PublishedCount
from humanpose_cli.lab.datasets.registry import SOURCES
from humanpose_cli.lab.datasets.threedpw import ThreedpwSource

NAME = "courtyard_box_00"
QUANTITIES = {"images", "people", "sequences", "identities", "clothes", "surface_points", "pairs"}


@pytest.fixture(autouse=True)
def small_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threedpw, "OFFICIAL_VIDEOS", {"train": 1, "validation": 1, "test": 1})
    monkeypatch.setattr(emdb, "OFFICIAL_VIDEOS", {"emdb1": 1, "emdb2": 1})
    counts = (
        PublishedCount("sequences", 1, "a paper", "3dpw", "train"),
        PublishedCount("people", 7, "a paper", "3dpw", "test", needs={"every": (1,)}),
        PublishedCount("images", 12, "the owners"),
    )
    monkeypatch.setattr(ThreedpwSource, "published", counts)


def checked(root: Path, **request: Any) -> DatasetCheck:
    return check_dataset(SourceRequest("3dpw", root, **request))


def verdicts(check: DatasetCheck) -> list[bool | None]:
    return [count.agrees for count in check.compared]


@pytest.mark.parametrize("name", list(SOURCES))
def test_published_counts_have_a_source_and_can_be_found(name: str) -> None:
    source = SOURCES[name].source_class()
    for published in source.published:
        assert published.what in QUANTITIES
        assert published.value > 0
        assert published.source
        assert bool(published.protocol) == bool(published.split)
        assert published.needs.keys() <= source.options_type.__dataclass_fields__.keys()
    assert len(set(map(repr, source.published))) == len(source.published)


def test_counts_that_agree_and_that_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = threedpw_tree(tmp_path)
    assert verdicts(checked(root)) == [True, True, True]
    assert checked(root).agrees
    more = (*ThreedpwSource.published, PublishedCount("images", 13, "the owners"))
    monkeypatch.setattr(ThreedpwSource, "published", more)
    check = checked(root)
    assert not check.agrees
    assert [(count.published.value, count.found) for count in check.differing] == [(13, 12)]
    assert check.document()["agrees"] is False


@pytest.mark.parametrize(
    ("options", "items", "expected", "reasons"),
    [
        ({"every": 2}, None, [True, None, False], ["", "read with every=2", ""]),
        ({"split": "test"}, None, [None, True, None], ["only test was read", "", "only test was read"]),
        ({"split": "val"}, None, [None, None, None], ["only val was read"] * 3),
        ({}, (NAME,), [None, None, None], ["only chosen items were read"] * 3),
    ],
)
def test_counts_of_other_selections_are_not_compared(
    tmp_path: Path, options: dict[str, Any], items: Any, expected: list[bool | None], reasons: list[str]
) -> None:
    check = checked(threedpw_tree(tmp_path), options=options, items=items)
    assert verdicts(check) == expected
    assert [count.not_compared for count in check.compared] == reasons


def test_missing_and_damaged_files_are_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    root = threedpw_tree(tmp_path)
    (root / "imageFiles" / NAME / "image_00003.jpg").unlink()
    (root / "imageFiles/outdoors_00/image_00001.jpg").write_bytes(b"no image")
    check = checked(root)
    assert check.labels.total.images == 4 - 1 + 1 + 4  # the damaged video ends at its damage
    assert [problem.split(":")[0] for problem in check.problems] == [
        f"ROOT/sequenceFiles/train/{NAME}.pkl",
        "ROOT/imageFiles/outdoors_00/image_00001.jpg",
    ]
    assert "first being ROOT/imageFiles" in check.problems[0]
    assert not check.document()["digest"]["complete"]
    assert verdicts(check) == [True, True, False]


def test_what_is_missing_does_not_agree_even_where_no_count_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThreedpwSource, "published", ThreedpwSource.published[:1])
    root = threedpw_tree(tmp_path)
    (root / "imageFiles" / NAME / "image_00003.jpg").unlink()
    check = checked(root)
    assert (check.differing, len(check.problems), check.agrees) == ([], 1, False)


def test_a_folder_may_be_called_as_parts_of_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(threedpw_tree(tmp_path / "expected").parent)
    (tmp_path / "expected/imageFiles" / NAME / "image_00003.jpg").unlink()
    (problem,) = checked(Path("expected")).problems
    assert ", expected all of its 4, " in f"{problem}, "
    assert problem.count("ROOT") == 2


def test_a_folder_without_the_data_set_is_an_error(tmp_path: Path) -> None:
    with raises(InputError, subject="imageFiles"):
        checked(tmp_path)
    shutil.rmtree(threedpw_tree(tmp_path / "b") / "sequenceFiles/test")
    with raises(InputError, subject="sequenceFiles/test"):
        checked(tmp_path / "b")


def test_the_digest_is_of_the_labels_wherever_they_lie(tmp_path: Path) -> None:
    root = threedpw_tree(tmp_path / "a")
    moved = threedpw_tree(tmp_path / "other" / "b")
    assert checked(moved).digest == checked(root).digest
    content = threedpw_world()
    content["trans"][0][0, 0] += 0.002
    write(moved / "sequenceFiles/train" / f"{NAME}.pkl", python2_pickle(content))
    assert checked(moved).digest != checked(root).digest


def test_a_report_has_no_path_no_name_and_a_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = threedpw_tree(tmp_path / "3DPW")
    monkeypatch.chdir(tmp_path)
    (root / "imageFiles" / NAME / "image_00003.jpg").unlink()
    reports = []
    for path in (root, Path("3DPW"), tmp_path / "x/../3DPW"):
        (tmp_path / "x").mkdir(exist_ok=True)
        checked(path).write(tmp_path / "report.json")
        reports.append((tmp_path / "report.json").read_text())
    assert len(set(reports)) == 1
    document = json.loads(reports[0])
    assert (document["format"], document["schema_version"]) == (checking.FORMAT, 2)
    assert str(tmp_path) not in reports[0]
    assert "NaN" not in reports[0]
    assert f"{NAME}/0" not in reports[0]  # an identity
    assert document["title"] == "3DPW"
    assert len(reports[0]) < 10_000


def test_progress_is_in_images(tmp_path: Path) -> None:
    calls: list[tuple[int, int | None, str]] = []
    check_dataset(SourceRequest("3dpw", threedpw_tree(tmp_path)), lambda *call: calls.append(call))
    assert calls[-1] == (12, 12, "images")
