"""DensePose-COCO from a small tree in the owners' layout, and COCO's run-length encoded masks."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from helpers.dataset_files import surface_annotation, write_annotations
from helpers.errors import raises
from PIL import Image

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.coco_annotations import decode_run_lengths
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.datasets.common import FolderOptions
from humanpose_cli.lab.datasets.densepose import DensePoseCocoSource

SIZE = (320, 240)
BOX = (40.0, 20.0, 128.0, 192.0)  # half and three quarters of 256


@pytest.fixture(autouse=True)
def small_release(monkeypatch):
    counts = {"train": (2, 3), "valminusminival": (1, 1), "minival": (1, 1)}
    monkeypatch.setattr(DensePoseCocoSource, "counts", counts)


def image(key, name):
    return {"id": key, "file_name": name, "width": SIZE[0], "height": SIZE[1]}


def person_without_surface(key, image):
    keypoints = [0] * 51
    keypoints[:3] = [7, 8, 1]  # the nose, hidden
    return {"id": key, "image_id": image, "iscrowd": 0, "bbox": [1.0, 2.0, 30.0, 40.0], "keypoints": keypoints}


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    train = [image(9, "COCO_train2014_000000000009.jpg"), image(36, "COCO_train2014_000000000036.jpg")]
    without_points = image(
        77, "COCO_train2014_000000000077.jpg"
    )  # nobody has surface points: its image need not be there
    people = [
        surface_annotation(1, 9, BOX),
        surface_annotation(2, 36, (-20.0, -10.0, 256.0, 128.0), keypoints=[]),
        surface_annotation(3, 9, (200.5, 100.25, 64.0, 64.0)),
        person_without_surface(4, 36),
        person_without_surface(5, 77),
        {"id": 6, "image_id": 9, "iscrowd": 1, "bbox": [0, 0, 5, 5], "segmentation": {"counts": [1], "size": [1, 1]}},
        {"id": 7, "image_id": 9, "iscrowd": 0, "bbox": [0, 0, 5, 5], "keypoints": [0] * 51},
    ]
    write_annotations(root / "annotations" / "densepose_coco_2014_train.json", [*train, without_points], people)
    for number, part in ((5, "minival"), (6, "valminusminival")):
        name = f"COCO_val2014_{number:012d}.jpg"
        annotations = root / "annotations" / f"densepose_coco_2014_{part}.json"
        write_annotations(annotations, [image(number, name)], [surface_annotation(1, number, BOX)])
        write_image(root / "val2014" / name, pixels)
    for record in train:
        write_image(root / "train2014" / record["file_name"], pixels)
    return root


def read(root, name, **options):
    source = DensePoseCocoSource(root, FolderOptions(**options))
    (group,) = (group for group in source.groups() if group.name == name)
    (sample,) = source.read(group)
    return sample


def test_groups_are_images(intact):
    source = DensePoseCocoSource(intact)
    assert [group.name for group in source.groups()] == [
        "train/COCO_train2014_000000000009",
        "train/COCO_train2014_000000000036",
        "valminusminival/COCO_val2014_000000000006",
        "minival/COCO_val2014_000000000005",
    ]
    assert {group.count for group in source.groups()} == {1}
    assert source.notes == ()


def test_images_keep_their_bytes_and_know_their_split(intact):
    parts = {"train": ("train", "train"), "valminusminival": ("train", "validation"), "minival": ("validation", "test")}
    for part, (split, file) in parts.items():
        number, folder = {"train": (9, "train"), "valminusminival": (6, "val"), "minival": (5, "val")}[part]
        name = f"COCO_{folder}2014_{number:012d}"
        sample = read(intact, f"{part}/{name}")
        assert sample.image == (intact / f"{folder}2014" / f"{name}.jpg").read_bytes()
        assert sample.size == SIZE
        assert sample.splits == {"densepose": split, "files": file}
        assert sample.focal is None


def test_surface_points_boxes_and_keypoints(intact):
    first, second = read(intact, "train/COCO_train2014_000000000009").people
    np.testing.assert_allclose(first.box, [40, 20, 168, 212])
    np.testing.assert_allclose(first.surface_points, [[40 + 32, 20 + 48, 2, 0.25, 0.5], [40 + 96, 20 + 144, 24, 1, 0]])
    np.testing.assert_allclose(second.surface_points[:, :2], [[216.5, 116.25], [248.5, 148.25]])
    nose, ankle = first.keypoints["coco17"][[COCO17.index("nose"), COCO17.index("right_ankle")]]
    np.testing.assert_allclose(nose, [10.5, 20.5, 1])  # the middle of pixel (10, 20)
    np.testing.assert_allclose(ankle, [26.5, 36.5, 1])
    person, other = read(intact, "train/COCO_train2014_000000000036").people
    np.testing.assert_allclose(person.box, [0, 0, 236, 118])  # cut at the image; points stay where they are
    np.testing.assert_allclose(person.surface_points[0, :2], [44, 22])
    assert not person.keypoints["coco17"].any()
    assert other.surface_points is None
    assert other.mask is None
    np.testing.assert_allclose(other.keypoints["coco17"][0], [7.5, 8.5, 0.5])


def test_evaluated_images_keep_everyone(tree):
    """Crowds and people without a label, near whom DensePose's evaluator counts no prediction as wrong."""
    path = tree / "annotations" / "densepose_coco_2014_minival.json"
    others = [
        {"id": 2, "image_id": 5, "iscrowd": 1, "bbox": [0, 0, 5, 5], "area": 20.0},
        {"id": 3, "image_id": 5, "iscrowd": 0, "bbox": [0, 0, 50, 50], "keypoints": [0] * 51},
    ]
    change(path, lambda document: document["annotations"].extend(others))
    first, plain, crowd = read(tree, "minival/COCO_val2014_000000000005").people
    assert [person.crowd for person in (first, plain, crowd)] == [False, False, True]
    assert [person.area for person in (first, plain, crowd)] == [1.0, None, 20.0]
    assert (plain.surface_points, crowd.surface_points) == (None, None)
    np.testing.assert_allclose(crowd.box, [0, 0, 5, 5])
    assert len(read(tree, "train/COCO_train2014_000000000009").people) == 2


def test_the_mask_joins_the_parts_and_lies_in_the_box(intact):
    """Columns 50 to 59 and rows 100 to 199 of 256, in a box of half and three quarters of that size."""
    person = read(intact, "train/COCO_train2014_000000000009").people[0]
    mask = np.asarray(Image.open(io.BytesIO(person.mask)))
    expected = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    expected[20 + 75 : 20 + 150, 40 + 25 : 40 + 30] = 255
    np.testing.assert_array_equal(mask, expected)


def test_detectron2s_names_and_other_folders(tree):
    annotations = tree / "annotations"
    for part in ("train", "minival", "valminusminival"):
        (annotations / f"densepose_coco_2014_{part}.json").rename(annotations / f"densepose_{part}2014.json")
    (tree / "images").mkdir()
    (tree / "train2014").rename(tree / "images" / "train2014")
    (tree / "val2014").rename(tree / "coco_val2014")
    source = DensePoseCocoSource(tree)
    assert [len(list(source.read(group))) for group in source.groups()] == [1, 1, 1, 1]


def change(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def test_other_counts_are_reported(tree):
    path = tree / "annotations" / "densepose_coco_2014_train.json"
    change(path, lambda document: document["annotations"].pop(2))
    with raises(InputError, subject="_train.json", got="2"):
        DensePoseCocoSource(tree).groups()
    lenient = DensePoseCocoSource(tree, FolderOptions(allow_missing=True))
    assert "2 people with surface points, where the official release has 3" in lenient.notes[0]


def test_rounded_chart_coordinates_are_cut(tree):
    """The release has 1.0000001."""
    path = tree / "annotations" / "densepose_coco_2014_train.json"
    change(path, lambda d: d["annotations"][0].update(dp_U=[1.0000001, *d["annotations"][0]["dp_U"][1:]]))
    sample = read(tree, "train/COCO_train2014_000000000009")
    assert max(person.surface_points[:, 3].max() for person in sample.people if person.surface_points is not None) == 1


def test_keypoints_under_densepose_s_name_are_distinguished(tree):
    path = tree / "annotations" / "densepose_coco_2014_train.json"

    def without_surfaces(document):
        for annotation in document["annotations"]:
            for name in [name for name in annotation if name.startswith("dp_")]:
                del annotation[name]

    change(path, without_surfaces)
    for options in (FolderOptions(), FolderOptions(allow_missing=True)):
        with raises(InputError, subject="_train.json"):
            DensePoseCocoSource(tree, options).groups()


def pack_run_lengths(counts) -> str:
    """COCO's text of counts, after the format's description."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            is_last = value == (-1 if bits & 16 else 0)
            text += chr(bits + (0 if is_last else 32) + 48)
            if is_last:
                break
    return text


def counts_of(mask) -> list[int]:
    flat = mask.T.ravel().astype(int)
    changes = np.flatnonzero(np.diff(np.concatenate(([0], flat, [1 - flat[-1]])))) if len(flat) else np.array([], int)
    return np.diff(np.concatenate(([0], changes))).tolist()


@pytest.mark.parametrize(
    ("text", "size", "box"),
    [("5220003", (4, 5), (1, 3, 1, 4)), ("9", (3, 3), (0, 0, 0, 0)), ("09", (3, 3), (0, 3, 0, 3))],
)
def test_reference_texts(text, size, box):
    """Made with pycocotools."""
    expected = np.zeros(size, bool)
    expected[box[0] : box[1], box[2] : box[3]] = True
    np.testing.assert_array_equal(decode_run_lengths({"size": list(size), "counts": text}, "a"), expected)


@pytest.mark.parametrize("seed", range(3))
def test_masks_come_back(seed):
    random = np.random.default_rng(seed)
    mask = random.random(random.integers(1, 70, 2)) < random.random()
    counts = counts_of(mask)
    size = list(mask.shape)
    np.testing.assert_array_equal(decode_run_lengths({"size": size, "counts": counts}, "a"), mask)
    np.testing.assert_array_equal(decode_run_lengths({"size": size, "counts": pack_run_lengths(counts)}, "a"), mask)
