"""RICH from a small tree in the owners' layout."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
from helpers.dataset_files import (
    centre_of_light,
    write_rich_camera,
)
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.paper_datasets import BODY, posed
from helpers.rich_tree import (
    ALONE,
    BOTH,
    DISTORTION,
    INTRINSIC,
    LENS,
    MODELS,
    ROTATION,
    SIZE,
    TRANSLATION,
    build,
    parameters,
    pelvis_of,
)
from PIL import Image
from scipy.spatial.transform import Rotation

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.datasets.calibrated import CropOptions
from humanpose_cli.lab.datasets.common import rest_pelvis
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.labelling import RenderedLabels
from humanpose_cli.lab.datasets.rich import GENDERS, RichSource, read_rich_camera


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    root = tmp_path_factory.mktemp("rich")
    build(root)
    return root


def source_of(root, models=MODELS, **options):
    return RichSource(root, CropOptions(**{"every": 1, **options}), SourceTools(bodies=models))


def read(source, name):
    return list(source.read(next(group for group in source.groups() if group.name == name)))


def test_groups_are_still_cameras_with_the_frames_that_have_bodies(intact):
    source = source_of(intact)
    assert [(group.name, group.count) for group in source.groups()] == [
        (f"train/{ALONE}/cam_00", 3),
        (f"train/{ALONE}/cam_01", 3),
        (f"test/{BOTH}/cam_00", 3),
        (f"test/{BOTH}/cam_01", 3),
    ]
    assert source.groups()[0].count == len(read(source, source.groups()[0].name))
    assert source_of(intact, every=2).groups()[0].count == 2
    assert source.notes == (f"{intact / 'images' / 'val'}: does not exist; the split val is left out",)
    assert source.info.options == {
        "allow_missing": False, "split": "", "every": 1, "crop_size": 384, "smplx": True,
    }  # fmt: skip


@pytest.mark.parametrize("camera", [0, 1])
@pytest.mark.parametrize("crop", [384, *extensive(0, 80)])
def test_bodies_cameras_and_images_agree(intact, camera, crop):
    """Each image shows a disc at the pelvis, through the lens; so do keypoints, joints and trans."""
    rotation, shift = (np.eye(3), np.array([0, 0, 4.0])) if camera == 0 else (ROTATION, TRANSLATION)
    for sample in read(source_of(intact, crop_size=crop), f"train/{ALONE}/cam_{camera:02d}"):
        person = sample.people[0]
        values = parameters(10 * sample.frame + 1)
        pelvis = pelvis_of(values)[0] @ rotation.T + shift
        np.testing.assert_allclose(rest_pelvis(BODY, person.betas) + person.trans, pelvis, atol=1e-6)
        root = Rotation.from_rotvec(person.poses[:3]).as_matrix()
        np.testing.assert_allclose(
            root, rotation @ Rotation.from_rotvec(values["global_orient"][0]).as_matrix(), atol=1e-6
        )
        np.testing.assert_array_equal(person.poses[3:66], values["body_pose"][0].astype(float))
        assert not person.poses[66:].any()
        expected = sample.focal * pelvis[:2] / pelvis[2] + sample.principal_point
        pixels = np.asarray(Image.open(io.BytesIO(sample.image)))
        np.testing.assert_allclose(centre_of_light(pixels), expected, atol=0.35)
        assert sample.size == SIZE if crop == 0 else sample.size[0] <= crop


def test_frames_of_two_people(intact):
    samples = read(source_of(intact), f"test/{BOTH}/cam_01")
    assert [[person.identity for person in sample.people] for sample in samples] == [
        ["009", "021"],
        ["009", "021"],
        ["009"],
    ]
    assert {person.gender for sample in samples for person in sample.people} == {"female"}
    sample = samples[0]
    for person in sample.people:
        assert (person.body, person.clothing, person.activity) == (
            "smplx", f"LectureHall/{person.identity}", "reparingprojector",
        )  # fmt: skip
    assert sample.splits == {"rich": "test"}
    assert (sample.name, sample.sequence) == (f"test/{BOTH}/cam_01/00150", f"test/{BOTH}/cam_01")


def test_without_models_parameters_are_kept_and_people_cut_out(intact):
    with_models = read(source_of(intact), f"train/{ALONE}/cam_01")
    source = source_of(intact, models={})
    for sample, other in zip(read(source, f"train/{ALONE}/cam_01"), with_models, strict=True):
        person = sample.people[0]
        assert person.trans is None
        assert person.joints == {}
        assert person.box is None
        np.testing.assert_allclose(person.poses, other.people[0].poses, atol=1e-9)
        assert 300 < sample.size[0] <= 384
        centre = centre_of_light(np.asarray(Image.open(io.BytesIO(sample.image)))) / sample.size
        assert ((centre > 0.2) & (centre < 0.8)).all()  # the models here have their pelvis anywhere
    assert "without SMPL-X's models" in source.notes[-1]
    assert source.info.options["smplx"] is False


@pytest.mark.slow
def test_models_that_are_passed_in_draw_the_labels(intact):
    """Joints, visibility, maps of parts and boxes come from SMPL-X's surface."""
    plain = source_of(intact)
    source = RenderedLabels(plain, {model.name: model for model in MODELS.values()})
    for sample in read(source, f"train/{ALONE}/cam_00"):
        (person,) = sample.people
        values = parameters(10 * sample.frame + 1)
        _, joints = posed(np.concatenate((values["global_orient"], values["body_pose"], np.zeros((1, 6))), 1),
                          values["betas"][0], values["transl"])  # fmt: skip
        np.testing.assert_allclose(person.joints["smpl24"][:, :3], joints[0] + [0, 0, 4.0], atol=1e-4)
        assert {"parts", "persons"} <= set(sample.maps)
        assert person.trans is not None
    assert not any("SMPL-X" in note for note in plain.notes)
    other = copy.deepcopy(BODY)
    other.name = "smpl-male"
    with raises(UsageError, subject="model", problem="is not of RICH's kind", expected="smplx", got="smpl-male"):
        source_of(intact, models={"male": other})


def test_genders_are_the_owners():
    men = [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 14, 15, 20]
    assert [number for number, gender in GENDERS.items() if gender == "male"] == men
    assert len(GENDERS) == 22


@pytest.mark.slow
def test_the_folders_of_the_archive(tree):
    (tree / "bodies" / "train").rename(tree / "train_body")
    (tree / "images" / "train").rename(tree / "train")
    (tree / "images" / "test").rename(tree / "test")
    (tree / "bodies" / "test").rename(tree / "test_body")
    source = source_of(tree)
    assert [len(list(source.read(group))) for group in source.groups()] == [3, 3, 3, 3]


def test_a_camera_file(tmp_path):
    path = tmp_path / "003.xml"
    write_rich_camera(path, ROTATION, TRANSLATION, INTRINSIC, DISTORTION)
    camera = read_rich_camera(path)
    assert camera.lens == LENS
    np.testing.assert_allclose(camera.to_camera(np.zeros(3)), TRANSLATION)
    write_rich_camera(path, ROTATION, TRANSLATION, INTRINSIC, (*DISTORTION, 0.3, 0, 0))
    with raises(InputError, subject="003.xml (Distortion)", problem="is of another model"):
        read_rich_camera(path)
    write_rich_camera(path, 2 * ROTATION, TRANSLATION, INTRINSIC, DISTORTION)
    with raises(InputError, subject="003.xml (CameraMatrix)", problem="holds no rotation"):
        read_rich_camera(path)


def test_other_names_are_refused(tree):
    for path in (tree / "images" / "train" / ALONE / "cam_01").iterdir():
        path.rename(path.with_name(path.name.replace("_01", "x01")))
    with raises(InputError, subject="cam_01", problem="holds no images", expected="names such as 00150_01.jpeg"):
        source_of(tree).groups()
    (tree / "images" / "train" / ALONE).rename(tree / "images" / "train" / "guitar")
    (tree / "bodies" / "train" / ALONE).rename(tree / "bodies" / "train" / "guitar")
    with raises(InputError, subject="guitar", problem="is no folder of RICH", expected="scene_person_action"):
        source_of(tree).groups()
