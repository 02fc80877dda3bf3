"""3DPW: bodies of the world in the camera, with and without the model, valid frames, and damaged folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.paper_datasets import (
    BODY,
    PW_K,
    posed,
    python2_pickle,
    threedpw_tree,
    threedpw_world,
    write,
)

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.cache.samples import Sample
from humanpose_cli.lab.datasets import threedpw
from humanpose_cli.lab.datasets.common import SequenceOptions, project_points
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.threedpw import ThreedpwSource

NAME = "courtyard_box_00"


def samples_of(source: ThreedpwSource, index: int = 0) -> list[Sample]:
    return list(source.read(source.groups()[index]))


def test_a_group_is_a_video_without_the_frames_that_fit_no_person(tmp_path: Path) -> None:
    source = ThreedpwSource(threedpw_tree(tmp_path))
    assert [(group.name, group.count) for group in source.groups()] == [
        ("courtyard_box_00", 4),
        ("outdoors_00", 4),
        ("flat_guitar_01", 4),
    ]
    samples = samples_of(source)
    assert [sample.frame for sample in samples] == [0, 1, 3, 4]
    assert [len(sample.people) for sample in samples] == [2, 1, 2, 2]
    assert samples[1].image == (tmp_path / "imageFiles" / NAME / "image_00001.jpg").read_bytes()
    assert (samples[1].name, samples[1].sequence) == (f"{NAME}/image_00001", NAME)
    assert [samples_of(source, i)[0].splits["3dpw"] for i in range(3)] == ["train", "validation", "test"]
    men_and_women = [person.gender for person in samples[0].people]
    assert men_and_women == ["male", "female"]
    assert source.notes == ()


@pytest.mark.parametrize("with_model", [False, True])
def test_bodies_stand_in_the_camera_where_they_stood_in_the_world(tmp_path: Path, with_model: bool) -> None:
    bodies = {"male": BODY, "female": BODY} if with_model else {}
    source = ThreedpwSource(threedpw_tree(tmp_path), tools=SourceTools(bodies=bodies))
    world = threedpw_world()
    for sample in samples_of(source):
        camera = world["cam_poses"][sample.frame]
        for number, person in enumerate(sample.people):
            betas = world["betas"][number]
            shape = np.asarray(getattr(betas, "x", betas))[:10]
            frame = slice(sample.frame, sample.frame + 1)
            vertices, joints = posed(world["poses"][number][frame], shape, world["trans"][number][frame])
            assert person.poses is not None
            assert person.betas is not None
            assert person.trans is not None
            ours, model_joints = posed(person.poses[None], person.betas, person.trans[None])
            expected = vertices[0] @ camera[:3, :3].T + camera[:3, 3]
            np.testing.assert_allclose(ours[0], expected, atol=2e-5)
            np.testing.assert_allclose(person.joints["smpl24"][:, :3], model_joints[0], atol=2e-5)
            np.testing.assert_array_equal(person.joints["smpl24"][:, 3], 1)
            assert joints.shape == (1, 24, 3)


def test_the_camera_projects_as_cam_intrinsics_do(tmp_path: Path) -> None:
    sample = samples_of(ThreedpwSource(threedpw_tree(tmp_path)))[0]
    assert sample.focal == pytest.approx(98.2)
    assert sample.principal_point == (27.0, 48.0)
    points = sample.people[0].joints["smpl24"][:, :3]
    exact = (points / points[:, 2:]) @ PW_K.T
    pixels = project_points(points, sample.focal, sample.principal_point)
    off_centre = np.abs(exact[:, :2] - PW_K[:2, 2])
    assert (np.abs(pixels - exact[:, :2]) <= 0.0021 * off_centre + 1e-9).all()  # fx and fy differ by 0.4 %
    low, high = pixels.min(0), pixels.max(0)
    box = sample.people[0].box
    assert box is not None
    assert (box[:2] <= np.maximum(low, 0)).all()
    assert (box[2:] >= np.minimum(high, sample.size)).all()


def test_openpose_joints_become_coco17(tmp_path: Path) -> None:
    """Place 0 is the nose, 2 the right shoulder, 17 the left ear; frame 3 is moved by three columns."""
    keypoints = samples_of(ThreedpwSource(threedpw_tree(tmp_path)))[2].people[0].keypoints["coco17"]
    np.testing.assert_allclose(keypoints[COCO17.index("nose")], [3.5, 0.5, 0.9])
    np.testing.assert_allclose(keypoints[COCO17.index("right_shoulder")], [5.5, 4.5, 0.9])
    np.testing.assert_allclose(keypoints[COCO17.index("left_ear")], [20.5, 34.5, 0.9])


def test_without_a_model_the_joints_of_the_file_are_labels(tmp_path: Path) -> None:
    """And with one those that are drawn, with their visibility."""
    sample = samples_of(ThreedpwSource(threedpw_tree(tmp_path)))[0]
    for person in sample.people:
        pixels = project_points(person.joints["smpl24"][:, :3], sample.focal or 0, sample.principal_point or (0, 0))
        np.testing.assert_allclose(person.keypoints["smpl24"][:, :2], pixels)
        assert (person.keypoints["smpl24"][:, 2] == 1).all()
    with_model = ThreedpwSource(tmp_path, tools=SourceTools(bodies={"male": BODY}))
    assert with_model.notes[0] == "3DPW: nothing is drawn of female people without their `model`"
    with raises(UsageError, problem="fits no person of 3DPW", expected="female and male", got="neutral"):
        ThreedpwSource(tmp_path, tools=SourceTools(bodies={"neutral": BODY}))
    first, second = samples_of(with_model)[0].people
    assert "smpl24" not in first.keypoints
    assert "smpl24" in second.keypoints


def test_cameras_and_their_clock_are_kept(tmp_path: Path) -> None:
    for sample in samples_of(ThreedpwSource(threedpw_tree(tmp_path))):
        np.testing.assert_array_equal(sample.world_to_camera, threedpw_world()["cam_poses"][sample.frame][:3])
        assert sample.frame_rate == 30


def test_shapes_may_be_columns(tmp_path: Path) -> None:
    content = threedpw_world()
    content["betas"] = [np.arange(10.0)[:, None], np.arange(10.0)]
    write(threedpw_tree(tmp_path) / "sequenceFiles/train" / f"{NAME}.pkl", python2_pickle(content))
    for person in samples_of(ThreedpwSource(tmp_path))[0].people:
        np.testing.assert_array_equal(person.betas, np.arange(10))


def test_the_test_split_alone(tmp_path: Path) -> None:
    threedpw_tree(tmp_path)
    for split in ("train", "validation"):
        shutil.rmtree(tmp_path / "sequenceFiles" / split)
    source = ThreedpwSource(tmp_path, SequenceOptions(split="test"))
    assert [group.name for group in source.groups()] == ["flat_guitar_01"]


def test_every_nth_frame(tmp_path: Path) -> None:
    source = ThreedpwSource(threedpw_tree(tmp_path), SequenceOptions(every=2))
    assert [sample.frame for sample in samples_of(source)] == [0, 4]


def test_a_wrong_number_of_videos_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threedpw, "OFFICIAL_VIDEOS", {"train": 24, "validation": 12, "test": 24})
    root = threedpw_tree(tmp_path)
    with raises(InputError, subject="sequenceFiles/train"):
        ThreedpwSource(root).groups()
    assert len(ThreedpwSource(root, SequenceOptions(allow_missing=True)).notes) == 3
