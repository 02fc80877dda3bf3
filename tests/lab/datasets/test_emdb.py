"""EMDB from a small tree in the owners' layout: bodies before a camera that is carried about, evaluations, damage."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.emdb_tree import FRAMES, SIZE, VIDEOS, K, content, file_of
from helpers.errors import raises
from helpers.paper_datasets import BODY, assert_travels, image, posed, write

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.datasets import emdb
from humanpose_cli.lab.datasets.common import project_points
from humanpose_cli.lab.datasets.emdb import EmdbOptions, EmdbSource
from humanpose_cli.lab.datasets.estimators import SourceTools


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("emdb")
    for name in VIDEOS:
        write(file_of(root, name), pickle.dumps(content(name)))
        for frame in range(FRAMES):
            write(root / name / "images" / f"{frame:05d}.jpg", image(SIZE, 10 * frame))
    return root


@pytest.fixture(autouse=True)
def small_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emdb, "OFFICIAL_VIDEOS", {"emdb1": 1, "emdb2": 1})


@pytest.mark.parametrize("with_model", [False, True])
def test_bodies_are_visible_where_the_file_has_them(intact: Path, with_model: bool) -> None:
    """Without the model, the pelvis at rest follows from the projected joints alone."""
    bodies = {"male": BODY} if with_model else {}
    source = EmdbSource(intact, tools=SourceTools(bodies=bodies))
    for group in source.groups():
        fields = content(group.name)
        for sample in source.read(group):
            (person,) = sample.people
            assert person.poses is not None
            assert person.betas is not None
            assert person.trans is not None
            joints = posed(person.poses[None], person.betas, person.trans[None])[1][0]
            pixels = project_points(joints, np.diag(K)[:2], K[:2, 2])
            np.testing.assert_allclose(pixels, fields["kp2d"][sample.frame], atol=2e-2)
            np.testing.assert_array_equal(sample.world_to_camera, fields["camera"]["extrinsics"][sample.frame][:3])
            assert (person.gender, person.body, sample.frame_rate) == ("male", "smpl", 30)
            assert person.identity == group.name[:2]
            assert ("smpl24" in person.keypoints) is not with_model


def test_valid_frames_boxes_and_evaluations(intact: Path) -> None:
    source = EmdbSource(intact)
    assert {group.name: group.count for group in source.groups()} == dict.fromkeys(VIDEOS, 4)
    splits = [next(source.read(group)).splits for group in source.groups()]
    assert splits == [{"emdb": "test", "emdb1": "test"}, {"emdb": "test", "emdb2": "test"}, {"emdb": "test"}]
    samples = list(source.read(source.groups()[0]))
    assert [sample.frame for sample in samples] == [0, 1, 2, 4]
    boxes = content("P0/09_outdoor_walk")["bboxes"]["bboxes"]
    np.testing.assert_array_equal(samples[0].people[0].box, boxes[0])
    box = samples[1].people[0].box
    assert box is not None
    assert (box[2:] > box[:2]).all()
    assert source.notes == ()
    assert [group.count for group in EmdbSource(intact, EmdbOptions(every=2)).groups()] == [3, 3, 3]
    only = EmdbSource(intact, EmdbOptions(subset="emdb2"))
    assert [group.name for group in only.groups()] == ["P1/14_outdoor_climb"]
    with raises(UsageError, subject="split"):
        EmdbSource(intact, EmdbOptions(split="test"))
    assert_travels(source)


def test_what_is_missing_is_named(tree: Path) -> None:
    (tree / "P0/09_outdoor_walk/images/00002.jpg").unlink()
    with raises(InputError, subject="_data.pkl"):
        EmdbSource(tree).groups()
    lenient = EmdbSource(tree, EmdbOptions(allow_missing=True))
    assert [group.count for group in lenient.groups()] == [3, 4, 4]
    shutil.rmtree(tree / "P0")
    with raises(InputError, problem="has not the official number of videos of emdb1", expected="1", got="0"):
        EmdbSource(tree).groups()
    shutil.rmtree(tree / "P1")
    with raises(InputError, problem="holds no videos of EMDB", expected="P0/09_outdoor_walk"):
        EmdbSource(tree).groups()


@pytest.mark.parametrize(
    ("field", "value", "subject"),
    [
        ("good_frames_mask", None, {"subject": "_data.pkl"}),
        ("camera.extrinsics", np.zeros((FRAMES, 4, 4)), {"subject": "(extrinsics)"}),
        ("camera.intrinsics", np.zeros((3, 3)), {"subject": "(intrinsics)"}),
        ("camera.width", 70, {"subject": "00000.jpg", "got": "72 × 96"}),
        ("smpl.poses_body", np.zeros((FRAMES, 63)), {"subject": "(poses_body)"}),
        ("gender", "x", {"subject": "(gender)"}),
        ("kp2d", np.zeros((FRAMES, 24, 2)), {"subject": "(kp2d)"}),
    ],
)
def test_damaged_files_are_named(tree: Path, field: str, value: Any, subject: str) -> None:
    name = next(iter(VIDEOS))
    fields = content(name)
    table = fields
    *path, last = field.split(".")
    for part in path:
        table = table[part]
    table[last] = value
    write(file_of(tree, name), pickle.dumps({key: entry for key, entry in fields.items() if entry is not None}))

    def read() -> None:
        source = EmdbSource(tree)
        list(source.read(source.groups()[0]))

    with raises(InputError, **subject):
        read()
