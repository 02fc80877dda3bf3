"""DensePose-PoseTrack from a small tree in the owners' layout."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.dataset_files import POSETRACK_NAMES, surface_annotation, write_annotations
from helpers.paper_datasets import assert_travels

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.datasets.densepose import DensePosePoseTrackSource

SIZE = (200, 100)
TRAIN, VAL = "images/bonn_train/001_bonn", "images/mpii_val/12_mpii"


@pytest.fixture(autouse=True)
def small_release(monkeypatch):
    monkeypatch.setattr(DensePosePoseTrackSource, "counts", {"train": (3, 4), "val": (1, 1)})


def image(key, folder, frame, **more):
    record = {"id": key, "file_name": f"{folder}/{frame + 1:08d}.jpg", "width": SIZE[0], "height": SIZE[1]}
    return {**record, "frame_id": frame, "vid_id": 1, "nframes": 30, "is_labeled": True, **more}


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    root = tmp_path_factory.mktemp("posetrack")
    box = (20.0, 10.0, 128.0, 64.0)
    images = [image(1, TRAIN, 12), image(2, TRAIN, 4), image(3, "images/bonn_train/002_bonn", 0)]
    without_labels = image(4, TRAIN, 5, has_no_densepose=True)
    flags = [value for number in range(17) for value in (number, number, 1)]  # PoseTrack's: 1 for all that is labelled
    people = [
        surface_annotation(1, 1, box, names=POSETRACK_NAMES, track_id=0),
        surface_annotation(2, 1, box, names=POSETRACK_NAMES, track_id=1, keypoints=flags),
        surface_annotation(3, 2, box, names=POSETRACK_NAMES, track_id=0),
        surface_annotation(4, 3, box, names=POSETRACK_NAMES, track_id=0),
        surface_annotation(5, 4, box, names=POSETRACK_NAMES, track_id=0),
    ]
    write_annotations(root / "densepose_posetrack_train2017.json", [*images, without_labels], people, POSETRACK_NAMES)
    validation = surface_annotation(1, 7, box, names=POSETRACK_NAMES)
    write_annotations(root / "densepose_posetrack_val2017.json", [image(7, VAL, 3)], [validation], POSETRACK_NAMES)
    for number, record in enumerate([*images, image(7, VAL, 3)]):
        write_image(root / record["file_name"], np.full((SIZE[1], SIZE[0], 3), 40 * number, np.uint8))
    return root


def test_groups_are_videos_with_their_frames_in_order(intact):
    source = DensePosePoseTrackSource(intact)
    assert_travels(source)
    assert [(group.name, group.count) for group in source.groups()] == [
        ("train/001_bonn", 2),
        ("train/002_bonn", 1),
        ("val/12_mpii", 1),
    ]
    samples = list(source.read(source.groups()[0]))
    assert [sample.frame for sample in samples] == [4, 12]
    assert [sample.name for sample in samples] == ["train/001_bonn/00000005", "train/001_bonn/00000013"]
    assert samples[0].image == (intact / TRAIN / "00000005.jpg").read_bytes()
    assert samples[0].sequence == "train/001_bonn"
    assert samples[0].splits == {"densepose": "train"}
    (sample,) = source.read(source.groups()[2])
    assert sample.splits == {"densepose": "validation"}
    assert sample.people[0].identity == ""


def test_people_are_identified_by_their_tracks(intact):
    source = DensePosePoseTrackSource(intact)
    early, late = source.read(source.groups()[0])
    assert [person.identity for person in late.people] == ["train/001_bonn/0", "train/001_bonn/1"]
    assert early.people[0].identity == late.people[0].identity


def test_posetracks_joints_are_sorted_into_cocos(intact):
    """Its second and third joints are the neck and the top of the head; it has no eyes."""
    source = DensePosePoseTrackSource(intact)
    person, other = list(source.read(source.groups()[0]))[1].people
    keypoints = person.keypoints["coco17"]
    for name in ("nose", "left_ear", "right_shoulder", "right_ankle"):
        index = POSETRACK_NAMES.index(name)
        np.testing.assert_allclose(keypoints[COCO17.index(name)], [10.5 + index, 20.5 + index, 1])
    assert not keypoints[[COCO17.index("left_eye"), COCO17.index("right_eye")]].any()
    assert set(other.keypoints["coco17"][:, 2]) == {0, 1}
    np.testing.assert_allclose(person.surface_points, [[52, 26, 2, 0.25, 0.5], [116, 58, 24, 1, 0]])


def test_files_of_annotated_frames_only_and_other_folders(tree):
    for split, folder in {"train": "annotations", "val": "DensePose_PoseTrack"}.items():
        (tree / folder).mkdir()
        old = tree / f"densepose_posetrack_{split}2017.json"
        old.rename(tree / folder / f"densepose_only_posetrack_{split}2017.json")
    (tree / "posetrack_data").mkdir()
    (tree / "images").rename(tree / "posetrack_data" / "images")
    source = DensePosePoseTrackSource(tree)
    assert [len(list(source.read(group))) for group in source.groups()] == [2, 1, 1]


def test_the_images_of_posetrack_2018(tree):
    for old, new in {
        f"{TRAIN}/00000013.jpg": "images/train/000001_bonn_train/000012.jpg",
        f"{TRAIN}/00000005.jpg": "images/train/000001_bonn_train/000004.jpg",
        f"{VAL}/00000004.jpg": "images/val/000012_mpii_val/000003.jpg",
    }.items():
        (tree / new).parent.mkdir(parents=True, exist_ok=True)
        (tree / old).rename(tree / new)
    source = DensePosePoseTrackSource(tree)
    late = list(source.read(source.groups()[0]))[1]
    assert late.image == (tree / "images/train/000001_bonn_train/000012.jpg").read_bytes()
