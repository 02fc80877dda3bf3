"""UP-3D: the crop's camera in the whole image, turned cameras, human joints, splits, and damaged folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.errors import raises
from helpers.paper_datasets import (
    BODY,
    UP_CROP,
    UP_SIZE,
    posed,
    up3d_fit,
    up3d_tree,
)
from scipy.spatial.transform import Rotation

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache.samples import Sample
from humanpose_cli.lab.datasets.common import project_points
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.up3d import Up3dOptions, Up3dSource


def first_sample(source: Up3dSource) -> Sample:
    return next(iter(source.read(source.groups()[0])))


def test_the_owners_splits(tmp_path: Path) -> None:
    source = Up3dSource(up3d_tree(tmp_path))
    groups = source.groups()
    assert [(group.name, group.count) for group in groups] == [(f"{number:05d}", 1) for number in range(6)]
    splits = [next(iter(source.read(group))).splits for group in groups]
    names = ["train"] * 3 + ["validation"] * 2 + ["test"]
    assert splits == [{"up3d": split, "nbf": split} for split in names]
    assert source.notes == ()
    high = Up3dSource(tmp_path / "up-3d", Up3dOptions(quality="high"))
    assert [group.name for group in high.groups()] == ["00000", "00002", "00004"]


def test_the_image_keeps_its_bytes(tmp_path: Path) -> None:
    sample = first_sample(Up3dSource(up3d_tree(tmp_path)))
    assert sample.image == (tmp_path / "up-3d/00000_image.png").read_bytes()
    assert sample.size == UP_SIZE


def test_the_body_is_visible_where_the_fit_has_it(tmp_path: Path) -> None:
    """OpenDR's pixels of the fitted crop, scaled back and moved to where it was cut out."""
    sample = first_sample(Up3dSource(up3d_tree(tmp_path)))
    (person,) = sample.people
    fit = up3d_fit()
    vertices, _ = posed(fit["pose"][None], fit["betas"].x, fit["trans"][None])
    vertices_in_crop = vertices[0] + fit["t"]
    height, width, y0, y1, x0, x1 = UP_CROP
    crop = vertices_in_crop[:, :2] / vertices_in_crop[:, 2:] * 5000 + [width / 2, height / 2]
    expected = crop / 10 + [x0, y0]  # 300 of 30 columns, 400 of 40 rows
    assert (width / (x1 - x0), height / (y1 - y0)) == (10, 10)
    assert person.poses is not None
    assert person.trans is not None
    assert person.betas is not None
    assert sample.focal is not None
    assert sample.principal_point is not None
    ours, _ = posed(person.poses[None], person.betas, person.trans[None])
    pixels = project_points(ours[0], sample.focal, sample.principal_point)
    np.testing.assert_allclose(pixels, expected, atol=1e-3)
    assert (person.body, person.gender) == ("smpl", "neutral")


def test_a_turned_camera_is_undone_with_the_body_s_pelvis(tmp_path: Path) -> None:
    turn = (0.3, -0.2, 0.5)
    root = up3d_tree(tmp_path, turn=turn)
    (person,) = first_sample(Up3dSource(root, tools=SourceTools(bodies={"neutral": BODY}))).people
    fit = up3d_fit(turn)
    vertices, _ = posed(fit["pose"][None], fit["betas"].x, fit["trans"][None])
    expected = vertices[0] @ Rotation.from_rotvec(turn).as_matrix().T + fit["t"]
    assert person.poses is not None
    assert person.trans is not None
    assert person.betas is not None
    ours, _ = posed(person.poses[None], person.betas, person.trans[None])
    np.testing.assert_allclose(ours[0], expected, atol=2e-5)
    with raises(InputError, subject="00000_body.pkl"):
        first_sample(Up3dSource(root))


def test_human_joints_become_coco17(tmp_path: Path) -> None:
    """Leeds Sports Pose starts with the right ankle; place 6 is the right wrist; the left elbow is hidden."""
    (person,) = first_sample(Up3dSource(up3d_tree(tmp_path))).people
    keypoints = person.keypoints["coco17"]
    np.testing.assert_array_equal(keypoints[COCO17.index("right_ankle")], [10.5, 20.5, 1])
    np.testing.assert_array_equal(keypoints[COCO17.index("right_wrist")], [16.5, 32.5, 1])
    np.testing.assert_array_equal(keypoints[COCO17.index("left_wrist")], [21.5, 42.5, 1])
    np.testing.assert_array_equal(keypoints[COCO17.index("left_elbow")], 0)
    np.testing.assert_array_equal(keypoints[COCO17.index("nose")], 0)
    assert person.box is not None
    np.testing.assert_allclose(person.box, [10.5 - 2.2, 20.5 - 2.2, 21.5 + 2.2, 42.5 + 2.2])


def test_joints_without_a_row_of_visibility(tmp_path: Path) -> None:
    root = up3d_tree(tmp_path)
    joints = np.array([[0.0] + [30.0] * 13, [0.0] + [40.0] * 13])
    np.save(root / "up-3d/00000_joints.npy", joints)
    keypoints = first_sample(Up3dSource(root)).people[0].keypoints["coco17"]
    assert keypoints[:, 2].sum() == 11


def test_joints_of_another_shape_are_named(tmp_path: Path) -> None:
    np.save(up3d_tree(tmp_path) / "up-3d/00000_joints.npy", np.zeros((3, 16)))
    with raises(InputError, subject="00000_joints.npy", got="(3, 16)"):
        first_sample(Up3dSource(tmp_path))
