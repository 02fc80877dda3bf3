"""AGORA from a small tree in the owners' layout: cameras, people who do not count, data frames old and new, damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.agora_tree import IMAGES, columns, frame_bytes, write_tree
from helpers.dataset_checks import checked, total_of
from helpers.errors import raises
from helpers.paper_datasets import assert_travels

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.datasets.agora import AgoraSource
from humanpose_cli.lab.datasets.common import FolderOptions, project_points

FRAME = "validation_0_withjv.pkl"


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("agora"))


def test_joints_are_where_the_camera_sees_them(intact: Path) -> None:
    source, table = AgoraSource(intact), columns()
    assert [group.name for group in source.groups()] == [Path(name).stem for name in IMAGES]
    for row, group in enumerate(source.groups()):
        sample = next(iter(source.read(group)))
        assert (sample.size, sample.splits, len(sample.people)) == (
            (1280, 720),
            {"agora": "validation"},
            (4, 2, 0)[row],
        )
        assert sample.focal == pytest.approx((50, 18, 28)[row] / 36 * 1280)
        for number, person in enumerate(sample.people):
            joints = table["gt_joints_3d"][row][number]
            np.testing.assert_array_equal(person.joints["smpl24"][:, :3], joints[:24])
            pixels = project_points(joints, sample.focal or 0, (640, 360))
            np.testing.assert_allclose(person.keypoints["smpl24"][:, :2], pixels[:24], atol=1e-6)
            assert person.box is not None
            np.testing.assert_allclose(person.box, [*pixels.min(0), *pixels.max(0)], atol=1e-6)
            np.testing.assert_array_equal(person.vertices, table["gt_verts"][row][number])
    assert_travels(source, 1)
    assert source.notes == ()


def test_the_check_counts_it(intact: Path) -> None:
    check = checked("agora", intact)
    assert total_of(check) == {"groups": 3, "images": 3, "people": 6}
    assert check.labels.ranges["vertices x (m)"].count == 6 * 6890
    occlusion = check.labels.ranges["occlusion (percent)"]
    assert (occlusion.count, occlusion.max) == (6, 100)


def test_who_counts_and_who_is_a_child(intact: Path) -> None:
    people = next(iter(AgoraSource(intact).read(AgoraSource(intact).groups()[0]))).people
    assert [person.occlusion for person in people] == [10, 100, 30, 0]
    assert [person.kid for person in people] == [False, False, True, False]
    assert [person.gender for person in people] == ["male", "female", "male", "female"]


def test_a_cache_keeps_the_truth(intact: Path, tmp_path: Path) -> None:
    cache = open_cache(build_cache(AgoraSource(intact), tmp_path / "cache", workers=1).folder)
    person = cache.person(2)
    assert (person.kid, person.occlusion, person.poses) == (True, 30, None)
    np.testing.assert_allclose(person.vertices, columns()["gt_verts"][0][2], atol=1e-6)


@pytest.mark.slow
def test_frames_of_old_pandas_and_large_images(intact: Path, tmp_path: Path) -> None:
    root = write_tree(tmp_path, old=True)
    large = root / "validation" / IMAGES[0]
    write_image(large, np.zeros((2160, 3840, 3), np.uint8))
    samples = [next(iter(source.read(source.groups()[0]))) for source in (AgoraSource(intact), AgoraSource(root))]
    assert samples[1].size == (3840, 2160)
    keypoints = [sample.people[0].keypoints["smpl24"][:, :2] for sample in samples]
    np.testing.assert_allclose(3 * keypoints[0], keypoints[1], atol=1e-6)


def test_splits_and_the_frames_of_smplx(tree: Path) -> None:
    (tree / "SMPLX").mkdir()
    (tree / "SMPLX" / FRAME).write_bytes(b"of another model")
    assert len(AgoraSource(tree).groups()) == 3
    with raises(InputError, problem="holds no camera data frames of AGORA"):
        AgoraSource(tree, FolderOptions(split="train")).groups()
    with raises(UsageError, subject="split", problem="is none of AGORA"):
        AgoraSource(tree, FolderOptions(split="test"))


def test_missing_images_are_named(tree: Path) -> None:
    (tree / "validation" / IMAGES[1].replace(".png", "_1280x720.png")).unlink()
    with raises(InputError, problem=("names 1 images that are not there,", "cam01_00001.png")):
        AgoraSource(tree).groups()
    assert len(AgoraSource(tree, FolderOptions(allow_missing=True)).groups()) == 2


def test_images_of_another_size_are_named(tree: Path) -> None:
    write_image(tree / "validation" / IMAGES[0], np.zeros((36, 64, 3), np.uint8))
    source = AgoraSource(tree)
    with raises(InputError, problem="has another size than its annotation", expected="3840 × 2160 or 1280 × 720"):
        next(iter(source.read(source.groups()[0])))


@pytest.mark.parametrize(
    ("field", "value", "subject"),
    [
        ("gt_verts", None, {"problem": "lacks gt_verts", "expected": "a data frame of AGORA"}),
        ("imgPath", ["a.png", "../b.png", "c.png"], {"subject": "(imgPath)", "problem": "names no image"}),
        (
            "kid",
            [[False] * 3, [False] * 2, []],
            {"subject": "row 0", "problem": "does not list the same people everywhere"},
        ),
        ("occlusion", [7.0, 8.0, 9.0], {"subject": "row 0", "problem": "does not list the same people everywhere"}),
        ("occlusion", [["much"] * 4, [0.0] * 2, []], {"subject": "person 0 (occlusion)", "problem": "cannot be read"}),
        (
            "gt_joints_2d",
            [[np.zeros((17, 2))] * 4, [], []],
            {"subject": "person 0 (gt_joints)", "problem": "are too few", "expected": "24 or more"},
        ),
        (
            "gt_verts",
            [[np.zeros((10475, 3))] * 4, [], []],
            {"subject": "person 0 (gt_verts)", "problem": "has the wrong shape"},
        ),
        (
            "gt_joints_3d",
            [[np.full((45, 3), np.nan)] * 4, [], []],
            {"subject": "(gt_joints_3d)", "problem": "holds values that are not finite"},
        ),
    ],
)
def test_damaged_frames_are_named(tree: Path, field: str, value: Any, subject: str) -> None:
    table = {name: v for name, v in {**columns(), field: value}.items() if v is not None}
    (tree / "SMPL" / FRAME).write_bytes(frame_bytes(table))

    def read() -> None:
        source = AgoraSource(tree)
        list(source.read(source.groups()[0]))

    with raises(InputError, **subject):
        read()
