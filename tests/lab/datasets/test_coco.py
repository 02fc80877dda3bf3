"""COCO's keypoints and sets in its form: joints by name, outlines, areas, splits, and damaged files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.coco_tree import FIRST, SIZE, build, document, person, records
from helpers.errors import raises
from helpers.paper_datasets import image, write
from PIL import Image

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.datasets.coco import CocoOptions, CocoSource


def test_people_with_joints_boxes_outlines_and_areas(tmp_path: Path) -> None:
    source = CocoSource(build(tmp_path))
    names = [f"person_keypoints_val2017/{number:012d}" for number in range(3)]
    groups = source.groups()
    assert [(group.name, group.count) for group in groups] == [(name, 1) for name in names]
    group, without_labels, empty = groups
    (without_joints,) = next(source.read(without_labels)).people
    assert without_joints.keypoints == {}
    assert not next(source.read(empty)).people
    (sample,) = source.read(group)
    assert (sample.size, sample.splits, sample.sequence) == (SIZE, {"coco": "validation"}, "")
    assert sample.image == (tmp_path / "val2017" / "000000000000.jpg").read_bytes()
    first, second, crowd = sample.people
    assert [person.crowd for person in sample.people] == [False, False, True]
    np.testing.assert_array_equal(crowd.box, first.box)
    np.testing.assert_array_equal(first.box, [8, 4, 28, 44])
    assert (first.area, second.area) == (321.5, None)
    keypoints = first.keypoints["coco17"]
    np.testing.assert_array_equal(keypoints[COCO17.index("nose")], [10.5, 5.5, 1])
    assert keypoints[COCO17.index("left_ear"), 2] == 0.5
    assert not keypoints[COCO17.index("left_ankle")].any()
    masks = [np.asarray(Image.open(io.BytesIO(p.mask or b""))) for p in sample.people]
    assert masks[0].shape == (48, 64)
    assert masks[0][10:40, 10:30].all()
    assert masks[0].sum() == 255 * 20 * 30
    assert masks[1][:, 20:24].all()
    assert masks[1].sum() == 255 * 4 * 48
    assert source.notes == ()


@pytest.mark.parametrize(
    ("file", "folder", "name", "split"),
    [
        ("annotations/person_keypoints_train2014.json", "train2014", "COCO_train2014_{:012d}.jpg", "train"),
        ("annotations/person_keypoints_val2017.json", "images/val2017", "{:012d}.jpg", "validation"),
        ("ochuman_coco_format_test_range_0.00_1.00.json", "images", "{:06d}.jpg", "test"),
        ("json/ochuman_coco_format_val_range_0.00_1.00.json", "images", "{}.jpg", "validation"),
        ("annotations/training_humanart.json", "", "HumanArt/images/2D/{}.jpg", "train"),
    ],
)
def test_layouts_of_several_owners(tmp_path: Path, file: str, folder: str, name: str, split: str) -> None:
    write(tmp_path / file, document(records(1, name), [person(1, 0)]))
    write(tmp_path / folder / name.format(0).removeprefix("HumanArt/"), image(SIZE, 9))
    source = CocoSource(tmp_path)
    (sample,) = source.read(source.groups()[0])
    assert sample.splits == {"coco": split}


def test_joints_go_by_their_names(tmp_path: Path) -> None:
    names = ["left_shoulder", "right_shoulder", "tail", "neck"]
    keypoints = [11, 12, 1, 13, 14, 2, 15, 16, 2, 17, 18, 2]
    write(
        tmp_path / "json" / "ochuman_coco_format_test_range_0.00_1.00.json",
        document(records(1), [person(1, 0, keypoints=keypoints)], names),
    )
    write(tmp_path / "images" / f"{0:012d}.jpg", image(SIZE, 9))
    source = CocoSource(tmp_path)
    (sample,) = source.read(source.groups()[0])
    points = sample.people[0].keypoints["coco17"]
    np.testing.assert_array_equal(points[COCO17.index("left_shoulder")], [11.5, 12.5, 0.5])
    np.testing.assert_array_equal(points[COCO17.index("right_shoulder")], [13.5, 14.5, 1])
    assert (points[:, 2] > 0).sum() == 2
    assert "tail, neck are joints of no skeleton" in source.notes[0]


def test_images_without_people_are_for_evaluation(tmp_path: Path) -> None:
    people = [person(1, 0), person(2, 1, iscrowd=1, keypoints=[0] * 51)]
    for split, count in (("train", 1), ("val", 3)):
        write(tmp_path / f"annotations/person_keypoints_{split}2017.json", document(records(3), people))
        for number in range(3):
            write(tmp_path / f"{split}2017" / f"{number:012d}.jpg", image(SIZE, 9))
        assert len(CocoSource(tmp_path, CocoOptions(split=split)).groups()) == count


def test_one_split_or_one_file(tmp_path: Path) -> None:
    build(tmp_path)
    write(tmp_path / "annotations/person_keypoints_train2017.json", document(records(1), [person(1, 0)]))
    write(tmp_path / "train2017" / f"{0:012d}.jpg", image(SIZE, 9))
    assert len(CocoSource(tmp_path).groups()) == 4
    for split in ("val", "validation"):
        groups = CocoSource(tmp_path, CocoOptions(split=split)).groups()
        assert {group.key["split"] for group in groups} == {"validation"}
    with raises(InputError, problem="holds no annotations of COCO's kind of test"):
        CocoSource(tmp_path, CocoOptions(split="test")).groups()
    with raises(UsageError, subject="split", got="exam"):
        CocoSource(tmp_path, CocoOptions(split="exam"))
    path = write(tmp_path / "mine.json", document(records(1), [person(1, 0)]))
    options = CocoOptions(annotations=path.name, images="train2017")
    assert [g.name for g in CocoSource(tmp_path, options).groups()] == ["mine/000000000000"]


def test_images_elsewhere_and_unknown_keypoints_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "annotations" / FIRST, document(records(1, "../../{}.jpg"), [person(1, 0)]))
    with raises(InputError, problem="names an image outside of its folder"):
        CocoSource(tmp_path).groups()
    write(tmp_path / "annotations" / FIRST, json.dumps({"images": [], "annotations": [], "categories": []}))
    with raises(InputError, problem="does not say what its keypoints are"):
        CocoSource(tmp_path).groups()
