"""Checks of folders: counts, what is missing or damaged, digests of trees, and what a report leaves out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paper_datasets import python2_pickle, threedpw_tree, threedpw_world, write

from humanpose_cli.lab.cache.samples import Group, Person, Sample
from humanpose_cli.lab.datasets import checking, threedpw
from humanpose_cli.lab.datasets.checking import DatasetCheck, LabelCounts, check_dataset
from humanpose_cli.lab.datasets.preprocess import SourceRequest

NAME = "courtyard_box_00"


def checked(root: Path, **request: Any) -> DatasetCheck:
    return check_dataset(SourceRequest("3dpw", root, **request))


def test_a_complete_folder_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = threedpw_tree(tmp_path)
    document = checked(root).document()
    assert (document["agrees"], document["problems"], document["counts"]["images"]) == (True, [], 12)
    monkeypatch.setattr(threedpw, "OFFICIAL_VIDEOS", {"train": 1, "validation": 1, "test": 2})
    document = checked(root).document()
    assert (document["agrees"], document["problem_count"], document["counts"]["images"]) == (False, 1, 12)


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


def test_a_folder_may_be_called_as_parts_of_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(threedpw_tree(tmp_path / "expected").parent)
    (tmp_path / "expected/imageFiles" / NAME / "image_00003.jpg").unlink()
    (problem,) = checked(Path("expected")).problems
    assert ", expected all of its 4, " in f"{problem}, "
    assert problem.count("ROOT") == 2


@pytest.mark.extensive
def test_the_digest_is_of_the_labels_wherever_they_lie(tmp_path: Path) -> None:
    root = threedpw_tree(tmp_path / "a")
    moved = threedpw_tree(tmp_path / "other" / "b")
    assert checked(moved).labels.digest == checked(root).labels.digest
    content = threedpw_world()
    content["trans"][0][0, 0] += 0.002
    write(moved / "sequenceFiles/train" / f"{NAME}.pkl", python2_pickle(content))
    assert checked(moved).labels.digest != checked(root).labels.digest


def test_a_report_has_no_path_no_name_and_a_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = threedpw_tree(tmp_path / "3DPW")
    monkeypatch.chdir(tmp_path)
    (root / "imageFiles" / NAME / "image_00003.jpg").unlink()
    reports = []
    for path in (root, Path("3DPW"), tmp_path / "x/../3DPW"):
        (tmp_path / "x").mkdir(exist_ok=True)
        reports.append(json.dumps(checked(path).document(), allow_nan=False))
    assert len(set(reports)) == 1
    document = json.loads(reports[0])
    assert (document["format"], document["schema_version"]) == (checking.FORMAT, 3)
    assert str(tmp_path) not in reports[0]
    assert f"{NAME}/0" not in reports[0]  # an identity
    assert document["title"] == "3DPW"
    assert len(reports[0]) < 10_000


def test_progress_is_in_images(tmp_path: Path) -> None:
    calls: list[tuple[int, int | None, str]] = []
    check_dataset(SourceRequest("3dpw", threedpw_tree(tmp_path)), lambda *call: calls.append(call))
    assert calls[-1] == (12, 12, "images")


def standing() -> Person:
    """A person five metres away, with joints and where the camera sees them."""
    random = np.random.default_rng(0)
    joints = np.column_stack((random.normal(0, 0.5, (24, 2)), random.normal(5, 0.2, 24), np.ones(24)))
    return Person(
        identity="Ann",
        gender="neutral",
        body="default",
        poses=random.normal(0, 0.2, 72),
        betas=np.zeros(10),
        trans=np.array([0.1, 0, 5]),
        joints={"smpl24": joints},
        keypoints={"smpl24": joints[:, 1:]},
    )


def shown(*people: Person, **changes: Any) -> Sample:
    return replace(Sample("a", b"", (200, 120), 500.0, (100.0, 60.0), people), **changes)


def digest_of(*groups: tuple[Group, list[Sample]]) -> str:
    labels = LabelCounts()
    for group, samples in groups:
        labels.add_group(group, samples)
    return labels.digest


def test_a_digest_does_not_depend_on_the_order_of_groups_or_on_rounding() -> None:
    first, second = (Group("a", 1), [shown(standing())]), (Group("b/c", 1), [shown(Person(), name="b")])
    digest = digest_of(first, second)
    assert digest_of(second, first) == digest
    noisy = replace(standing(), betas=np.full(10, 1e-9))
    assert digest_of((Group("a", 1), [shown(noisy)]), second) == digest
    assert digest_of((Group("a", 1), [shown(standing(), image=b"other", maps={"parts": b"x"})]), second) == digest


def test_a_digest_depends_on_each_label_on_samples_their_order_and_pairs() -> None:
    changes: list[dict[str, Any]] = [
        *({"betas": betas} for betas in (np.full(10, 0.002), None, np.append(np.zeros(9), np.nan))),
        *({"trans": np.array([0.1, 0, 5.002])}, {"identity": "Ben"}, {"crowd": True}, {"area": 1.0}),
        *({"clothing": "suit"}, {"activity": "walking"}, {"gender": "female"}, {"body": "smpl"}),
        *({"box": np.arange(4)}, {"poses": np.zeros(72)}, {"segment_scales": np.ones(24)}),
        *({"surface_points": np.ones((1, 5))}, {"joints": {}}, {"keypoints": {"coco17": np.zeros((17, 3))}}),
    ]
    of_sample: list[dict[str, Any]] = [
        *({}, {"frame": 1}, {"splits": {"p": "test"}}, {"size": (200, 121)}, {"sequence": "s"}, {"focal": 501.0}),
        *({"principal_point": None}, {"frame_rate": 30.0}, {"world_to_camera": np.eye(3, 4)}),
    ]
    group, one = Group("a", 2), shown(standing())
    variants = [
        *((group, [one, shown(replace(standing(), **change))]) for change in changes),
        *((group, [one, replace(one, **change)]) for change in of_sample),
        *((group, [replace(one, frame=1), one]), (Group("b", 2), [one, one]), (group, [one])),
        (Group("a", 2, {("p", "test"): [(0, 1)]}), [one, one]),
    ]
    assert len({digest_of(variant) for variant in variants}) == len(variants)
