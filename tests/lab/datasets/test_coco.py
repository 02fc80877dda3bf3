"""COCO's keypoints and sets in its form: joints by name, outlines, areas, videos, splits, and damaged files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.dataset_checks import checked, images_of, total_of
from helpers.errors import raises
from helpers.paper_datasets import assert_travels, image, write
from PIL import Image
from scipy.io import savemat

from humanpose_cli.core.conventions import COCO17, CROWDPOSE14
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.cache.encoding import decode_png
from humanpose_cli.lab.datasets.coco import CocoOptions, CocoSource
from humanpose_cli.lab.metrics.keypoints import head_length

SIZE = (64, 48)
FIRST = "person_keypoints_val2017.json"


def person(number: int, visible: int, **changes: Any) -> dict[str, Any]:
    """An annotation: joint i at (i + 10, 2 i + 5), the left ear hidden, ankles not labelled; a square outline."""
    keypoints = [value for i in range(17) for value in (i + 10, 2 * i + 5, 2)]
    keypoints[3 * COCO17.index("left_ear") + 2] = 1
    for name in ("left_ankle", "right_ankle"):
        keypoints[3 * COCO17.index(name) : 3 * COCO17.index(name) + 3] = [0, 0, 0]
    fields = {
        "id": number,
        "image_id": visible,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [8.0, 4.0, 20.0, 40.0],
        "area": 321.5,
        "segmentation": [[10, 10, 30, 10, 30, 40, 10, 40]],
        "keypoints": keypoints,
        "num_keypoints": 15,
    }
    return {**fields, **changes}


def records(count: int, name: str = "{:012d}.jpg", **more: Any) -> list[dict[str, Any]]:
    return [{"id": n, "file_name": name.format(n), "width": SIZE[0], "height": SIZE[1], **more} for n in range(count)]


def document(images: list[dict[str, Any]], people: list[dict[str, Any]], names: Any = COCO17.joint_names) -> str:
    category = {"id": 1, "name": "person", "keypoints": list(names)}
    return json.dumps({"images": images, "annotations": people, "categories": [category]})


def build(root: Path) -> Path:
    """Three images of 2017's validation: two people and a crowd; one without joints; nobody."""
    runs = {"size": [48, 64], "counts": [48 * 20, 48 * 4, 48 * 40]}
    people = [
        person(3, 0, iscrowd=1, keypoints=[0] * 51),
        person(1, 0),
        person(2, 0, segmentation=runs, area=0),
        person(4, 1, keypoints=[0] * 51),
    ]
    write(root / "annotations" / FIRST, document(records(3), people))
    for number in range(3):
        write(root / "val2017" / f"{number:012d}.jpg", image(SIZE, 20 * number))
    return root


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
        ("json/crowdpose_val.json", "images", "{}.jpg", "validation"),
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
    write(tmp_path / "json" / "crowdpose_test.json", document(records(1), [person(1, 0, keypoints=keypoints)], names))
    write(tmp_path / "images" / f"{0:012d}.jpg", image(SIZE, 9))
    source = CocoSource(tmp_path)
    (sample,) = source.read(source.groups()[0])
    points = sample.people[0].keypoints["coco17"]
    np.testing.assert_array_equal(points[COCO17.index("left_shoulder")], [11.5, 12.5, 0.5])
    np.testing.assert_array_equal(points[COCO17.index("right_shoulder")], [13.5, 14.5, 1])
    assert (points[:, 2] > 0).sum() == 2
    assert "tail, neck are joints of no skeleton" in source.notes[0]


@pytest.mark.parametrize("head", ["top_head", "head"])
def test_crowdpose_has_its_joints_beside_cocos_and_its_index(tmp_path: Path, head: str) -> None:
    names = [head if name == "head_top" else name for name in CROWDPOSE14.joint_names]
    keypoints = [value for row in range(14) for value in (row + 1, row + 2, 2)]
    images = records(1, crowdIndex=0.25)
    write(tmp_path / "json" / "crowdpose_test.json", document(images, [person(1, 0, keypoints=keypoints)], names))
    write(tmp_path / "images" / f"{0:012d}.jpg", image(SIZE, 9))
    source = CocoSource(tmp_path)
    (sample,) = source.read(source.groups()[0])
    assert (sample.crowd_index, source.notes) == (0.25, ())
    points = sample.people[0].keypoints
    np.testing.assert_array_equal(points["crowdpose14"][:, 0], np.arange(14) + 1.5)
    assert (points["coco17"][:, 2] > 0).sum() == 12
    np.testing.assert_array_equal(points["coco17"][COCO17.index("left_knee")], [9.5, 10.5, 1])


def mpii(root: Path, entries: int = 3, heads: int = 3, **changes: Any) -> Path:
    """MMPose's list: two people on the first image, one on the second; heads beside it."""
    people = [
        {
            "joints": [[float(row + 2 * number + 1), float(row + 11)] for row in range(16)],
            "joints_vis": [1] * 15 + [0],
            "image": f"{number // 2:09d}.jpg",
            "scale": 0.1,
            "center": [31.0, 25.0],
            **changes,
        }
        for number in range(entries)
    ]
    write(root / "annotations" / "mpii_val.json", json.dumps(people))
    boxes = np.stack([np.array([[1 + n, 2], [13 + n, 7]], float) for n in range(heads)], -1)
    savemat(root / "annotations" / "mpii_gt_val.mat", {"headboxes_src": boxes}, format="5")
    for number in range(2):
        write(root / "images" / f"{number:09d}.jpg", image(SIZE, 9))
    return root


def test_mpii_is_mmposes_list(tmp_path: Path) -> None:
    source = CocoSource(mpii(tmp_path))
    first, second = (next(source.read(group)) for group in source.groups())
    assert [len(sample.people) for sample in (first, second)] == [2, 1]
    assert first.splits == {"coco": "validation"}
    person_of = first.people[1]
    np.testing.assert_array_equal(person_of.keypoints["mpii16"][0], [2.5, 10.5, 1])  # 3, 11 counted from 1
    assert not person_of.keypoints["mpii16"][15].any()
    ankle = person_of.keypoints["coco17"][COCO17.index("right_ankle")]
    np.testing.assert_array_equal(ankle, person_of.keypoints["mpii16"][0])
    np.testing.assert_array_equal(person_of.box, [20, 14, 40, 34])
    np.testing.assert_array_equal(person_of.head_box, [1.5, 1.5, 13.5, 6.5])
    assert head_length(person_of.head_box[None]) == pytest.approx(0.6 * 13)
    assert_travels(source)
    (tmp_path / "annotations" / "mpii_gt_val.mat").unlink()
    source = CocoSource(tmp_path)
    assert next(source.read(source.groups()[0])).people[0].head_box is None


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        (
            {"heads": 2},
            {"subject": "mpii_gt_val.mat", "problem": "headboxes_src has another shape", "expected": "(2, 2, 3)"},
        ),
        ({"image": None}, {"subject": "mpii_val.json, [0]", "problem": "names no image"}),
        ({"joints": [[1, 2]]}, {"subject": "mpii_val.json, [0]", "problem": "has an unusable joints"}),
        ({"joints_vis": [0] * 16}, {"subject": "mpii_val.json", "problem": "has no person with a labelled joint"}),
        ({"image": "../a.jpg"}, {"problem": "names an image outside of its folder"}),
    ],
)
def test_damaged_lists_of_mpii_are_named(tmp_path: Path, changes: dict[str, Any], subject: str) -> None:
    with raises(InputError, **subject):
        CocoSource(mpii(tmp_path, **changes)).groups()


def test_images_without_people_are_for_evaluation(tmp_path: Path) -> None:
    people = [person(1, 0), person(2, 1, iscrowd=1, keypoints=[0] * 51)]
    for split, count in (("train", 1), ("val", 3)):
        write(tmp_path / f"annotations/person_keypoints_{split}2017.json", document(records(3), people))
        for number in range(3):
            write(tmp_path / f"{split}2017" / f"{number:012d}.jpg", image(SIZE, 9))
        assert len(CocoSource(tmp_path, CocoOptions(split=split)).groups()) == count


def test_videos_stay_together_and_people_are_their_tracks(tmp_path: Path) -> None:
    """PoseTrack as its owners have it: a file a video, flags of 0 and 1."""
    flags = [value for i in range(17) for value in (i + 10, 2 * i + 5, 1)]
    name = "images/val/000342_mpii_test/{:06d}.jpg"
    images = [
        {**r, "frame_id": 3420000 + n, "is_labeled": n != 1} for n, r in enumerate(records(3, name, vid_id="000342"))
    ]
    people = [person(n, n, keypoints=flags, track_id=4, bbox=None, bbox_head=[1, 2, 3, 4]) for n in (0, 2)]
    write(tmp_path / "annotations/val/000342_mpii_test.json", document(images, people))
    for number in range(3):
        write(tmp_path / name.format(number), image(SIZE, number))
    source = CocoSource(tmp_path)
    (group,) = source.groups()
    assert group.count == 2
    samples = list(source.read(group))
    assert [sample.frame for sample in samples] == [0, 2]
    assert {sample.sequence for sample in samples} == {group.name} == {"000342_mpii_test/000342"}
    assert {person.identity for sample in samples for person in sample.people} == {f"{group.name}/4"}
    assert (samples[0].people[0].keypoints["coco17"][:, 2] == 1).all()
    np.testing.assert_array_equal(samples[0].people[0].box, [10, 5, 27, 38])
    np.testing.assert_array_equal(samples[0].people[0].head_box, [1, 2, 4, 6])
    assert_travels(source)


def test_regions_that_posetrack_does_not_evaluate_are_crowds(tmp_path: Path) -> None:
    flags = [value for i in range(17) for value in (i + 10, 2 * i + 5, 1)]
    name = "images/val/000342_mpii_test/{:06d}.jpg"
    regions: dict[str, Any] = {"ignore_regions_x": [[2, 6, 6, 2], []], "ignore_regions_y": [[1, 1, 4, 4], []]}
    images = [{**r, "frame_id": 1, **regions} for r in records(1, name, vid_id="000342")]
    path = tmp_path / "annotations/val/000342_mpii_test.json"
    write(path, document(images, [person(0, 0, keypoints=flags, track_id=4)]))
    write(tmp_path / name.format(0), image(SIZE, 0))
    source = CocoSource(tmp_path)
    (sample,) = source.read(source.groups()[0])
    single, region = sample.people
    assert (single.crowd, region.crowd, region.keypoints) == (False, True, {})
    np.testing.assert_array_equal(region.box, [2.5, 1.5, 6.5, 4.5])
    assert region.mask is not None
    rows, columns = np.nonzero(decode_png(region.mask))  # the pixels that a joint of 2 to 5 and 1 to 3 lies in
    assert (set(rows.tolist()), set(columns.tolist())) == ({1, 2, 3}, {2, 3, 4, 5})
    images[0]["ignore_regions_y"] = [[1, 1]]
    write(path, document(images, [person(0, 0, keypoints=flags)]))
    with raises(InputError, problem="has unusable ignore_regions"):
        CocoSource(tmp_path).groups()


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
    with raises(UsageError, subject="split", problem="is none of COCO", expected="train, validation, test", got="exam"):
        CocoSource(tmp_path, CocoOptions(split="exam"))
    path = write(tmp_path / "mine.json", document(records(1), [person(1, 0)]))
    options = CocoOptions(annotations=path.name, images="train2017")
    assert [g.name for g in CocoSource(tmp_path, options).groups()] == ["mine/000000000000"]


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"image_id": 7}, {"subject": "annotations[0]", "problem": "belongs to no image"}),
        (
            {"keypoints": [1, 2, 2]},
            {"subject": "annotations[0]", "problem": "has an unusable keypoints", "expected": "51 numbers", "got": "3"},
        ),
        ({"keypoints": [0] * 51}, {"subject": "val2017.json", "problem": "has no person with a labelled joint"}),
        ({"bbox": ["a", 1, 2, 3]}, {"subject": "annotations[0]", "problem": "has an unusable bbox"}),
    ],
)
def test_damaged_records_are_named(tmp_path: Path, change: dict[str, Any], subject: str) -> None:
    write(build(tmp_path) / "annotations" / FIRST, document(records(1), [person(1, 0, **change)]))
    with raises(InputError, **subject):
        CocoSource(tmp_path).groups()


@pytest.mark.parametrize(
    ("outline", "subject"),
    [
        ([["a", 1, 2, 3, 4, 5]], {"subject": "annotations[0]", "problem": "has a damaged outline"}),
        (
            {"size": [4, 4], "counts": [16]},
            {"problem": "has a mask of another size", "expected": "64 × 48", "got": "4 × 4"},
        ),
    ],
)
def test_damaged_outlines_are_named(tmp_path: Path, outline: Any, subject: str) -> None:
    write(build(tmp_path) / "annotations" / FIRST, document(records(1), [person(1, 0, segmentation=outline)]))
    source = CocoSource(tmp_path)
    with raises(InputError, **subject):
        list(source.read(source.groups()[0]))


def test_missing_and_other_files_are_named(tmp_path: Path) -> None:
    with raises(InputError, problem="holds no annotations of COCO's kind", expected="annotations/person_keypoints"):
        CocoSource(tmp_path).groups()
    (build(tmp_path) / "val2017" / f"{0:012d}.jpg").unlink()
    with raises(InputError, subject="val2017.json", problem="names 1 images that are not there"):
        CocoSource(tmp_path).groups()
    write(tmp_path / "val2017" / f"{0:012d}.jpg", image((10, 10), 3))
    source = CocoSource(tmp_path)
    with raises(InputError, problem="has another size than its annotation"):
        list(source.read(source.groups()[0]))
    write(tmp_path / "annotations" / FIRST, document(records(1, "../../{}.jpg"), [person(1, 0)]))
    with raises(InputError, problem="names an image outside of its folder"):
        CocoSource(tmp_path).groups()
    write(tmp_path / "annotations" / FIRST, json.dumps({"images": [], "annotations": [], "categories": []}))
    with raises(InputError, problem="does not say what its keypoints are"):
        CocoSource(tmp_path).groups()


def test_the_check_counts_it(tmp_path: Path) -> None:
    check = checked("coco", build(tmp_path))
    assert total_of(check) == {"groups": 3, "images": 3, "people": 3, "crowds": 1}
    assert images_of(check) == {"coco/validation": 3}
    assert check.labels.ranges["keypoints/coco17 labelled of a person"].count == 2
    assert [count.not_compared for count in check.compared] == ["", "not in this folder"]
