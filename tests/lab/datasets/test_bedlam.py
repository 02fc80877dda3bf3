"""BEDLAM from a small tree in the owners' layout: bodies in the camera, images on their side, both models, damage."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.dataset_checks import checked, images_of, total_of
from helpers.dataset_files import centre_of_light, spotted
from helpers.paper_datasets import assert_travels, posed
from PIL import Image

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.datasets.bedlam import BedlamSource
from humanpose_cli.lab.datasets.common import SequenceOptions, project_points

SCENE, CLOSE = "20221010_3_1000_batch01hand_6fps", "20221011_1_250_batch01hand_closeup_suburb_a_6fps"
SIZE = (128, 72)
FOCAL = 110.0
NAMES = [f"seq_00000{s}/seq_00000{s}_{f:04d}.png" for s in (0, 1) for f in (0, 5, 10)]
NAMES.insert(1, NAMES[0])  # two people in the first image


def labels(kind: str, size: tuple[int, int]) -> dict[str, Any]:
    """People five metres away, whose joints are those of the body that stands in for SMPL."""
    count, random = len(NAMES), np.random.default_rng(0)
    poses = random.normal(0, 0.2, (count, 72))
    poses[:, :3] += [np.pi, 0, 0]
    shape, trans = random.normal(size=(count, 10)), random.normal(0, 0.2, (count, 3))
    external = np.zeros((count, 4, 4))
    external[:, :, 3] = [0.1, 0.4, 5.0, 1]
    intrinsic = np.tile([[FOCAL, 0, size[0] / 2], [0, FOCAL, size[1] / 2], [0, 0, 1]], (count, 1, 1))
    joints = np.concatenate(
        [posed(p[None], b, (t + e[:3, 3])[None])[1] for p, b, t, e in zip(poses, shape, trans, external, strict=True)]
    )
    pixels = np.stack([project_points(points, FOCAL, np.array(size) / 2) for points in joints])
    more = np.zeros((count, 45 - 24 if kind == "smpl" else 127 - 24, 2))
    wide = poses if kind == "smpl" else np.concatenate((poses[:, :66], np.ones((count, 99))), 1)
    return {
        "imgname": np.array(NAMES),
        "pose_cam": wide,
        "shape": np.concatenate((shape, np.ones((count, 1))), 1),
        "trans_cam": trans,
        "cam_ext": external,
        "cam_int": intrinsic,
        "gtkps": np.concatenate((pixels, more), 1),
        "gender": np.array(["male"] * count),
        "sub": np.array([f"rp_adam_{i}" for i in range(count)]),
        "motion_info": np.array(["walk"] * count),
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bedlam")
    for scene, kind in ((SCENE, "smpl"), (CLOSE, "smplx")):
        size = SIZE if scene == SCENE else SIZE[::-1]
        stored = labels(kind, size)
        (root / "bedlam_labels").mkdir(exist_ok=True)
        np.savez(root / "bedlam_labels" / f"{scene}.npz", **stored)
        for row, name in enumerate(NAMES):
            image = spotted(size, stored["gtkps"][row, 0])
            if scene == CLOSE:
                image = np.rot90(image)  # on its side, so that a turn clockwise sets it up
            if name not in NAMES[:row]:
                write_image(root / "training_images" / scene / "png" / name, np.ascontiguousarray(image))
    return root


@pytest.mark.parametrize(("scene", "kind"), [(SCENE, "smpl"), (CLOSE, "smplx")])
def test_bodies_cameras_and_images_agree(whole: Path, scene: str, kind: str) -> None:
    """The disc at the first person's pelvis is where the body stands that the sample says."""
    source = BedlamSource(whole)
    samples = [s for group in source.groups() if group.name.startswith(scene) for s in source.read(group)]
    assert [sample.frame for sample in samples] == [0, 5, 10, 0, 5, 10]
    assert [len(sample.people) for sample in samples] == [2, 1, 1, 1, 1, 1]
    assert {sample.size for sample in samples} == {SIZE if kind == "smpl" else SIZE[::-1]}
    for sample in samples:
        person = sample.people[0]
        assert (person.body, person.gender, sample.focal) == (kind, "neutral", FOCAL)
        assert person.poses is not None
        assert person.betas is not None
        assert person.trans is not None
        joints = posed(person.poses[None], person.betas, person.trans[None])[1][0]
        seen = project_points(joints, FOCAL, sample.principal_point or (0, 0))
        keypoints = person.keypoints["smpl24"]
        np.testing.assert_allclose(seen[:20], keypoints[:20, :2], atol=1e-3)
        assert keypoints[:, 2].tolist() == [1] * 22 + [kind == "smpl"] * 2
        shown = np.asarray(Image.open(io.BytesIO(sample.image)).convert("RGB"))
        np.testing.assert_allclose(centre_of_light(shown), keypoints[0, :2], atol=0.5)
        assert (sample.splits, sample.frame_rate) == ({"bedlam": "train"}, 30)


def test_sequences_and_people(whole: Path) -> None:
    source = BedlamSource(whole)
    names = [f"{scene}/seq_00000{n}" for scene in (SCENE, CLOSE) for n in (0, 1)]
    assert [(group.name, group.count) for group in source.groups()] == [(name, 3) for name in names]
    first, second = next(source.read(source.groups()[0])).people
    assert (first.identity, second.identity) == ("rp_adam_0", "rp_adam_1")
    assert [group.count for group in BedlamSource(whole, SequenceOptions(every=2)).groups()] == [2] * 4
    with pytest.raises(UsageError, match="split: is none of BEDLAM"):
        BedlamSource(whole, SequenceOptions(split="test"))
    assert BedlamSource(whole, SequenceOptions(split="validation")).groups() == ()
    assert_travels(source, 2)


def test_labels_of_validation_and_of_the_second_release(tree: Path) -> None:
    (tree / "bedlam_labels").rename(tree / "validation_labels")
    path = tree / "validation_labels" / f"{SCENE}.npz"
    np.savez(path, **{**labels("smpl", SIZE), "gtkps": np.zeros((len(NAMES), 200, 2)), "shape": np.ones((7, 16))})
    source = BedlamSource(tree)
    sample = next(source.read(source.groups()[0]))
    assert sample.splits == {"bedlam": "validation"}
    assert sample.people[0].keypoints == {}
    assert np.shape(sample.people[0].betas) == (10,)


def test_missing_files_are_named(tree: Path) -> None:
    (tree / "training_images" / SCENE / "png" / NAMES[-1]).unlink()
    with pytest.raises(InputError, match=rf"{SCENE}\.npz: names 1 images that are not there, .*seq_000001_0010\.png"):
        BedlamSource(tree).groups()
    lenient = BedlamSource(tree, SequenceOptions(allow_missing=True))
    assert [group.count for group in lenient.groups()] == [3, 2, 3, 3]
    for path in (tree / "bedlam_labels").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="holds no labels of BEDLAM"):
        BedlamSource(tree).groups()


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("imgname", None, r"\.npz: lacks imgname"),
        ("imgname", np.array(["/etc/passwd"] * 7), r"\(imgname\): names no image"),
        ("pose_cam", np.zeros((7, 66)), r"\(pose_cam\): are of another model, expected 72 columns of SMPL or 165"),
        ("pose_cam", np.zeros((6, 72)), r"\(pose_cam\): has the wrong shape, expected \(7, any\), found \(6, 72\)"),
        ("shape", np.zeros((7, 9)), r"\(shape\): has too few shape parameters"),
        ("cam_int", np.zeros((7, 3, 3)), r"\(cam_int\): is no camera"),
        ("trans_cam", np.full((7, 3), np.nan), r"\(trans_cam\): holds values that are not finite"),
    ],
)
def test_damaged_labels_are_named(tree: Path, field: str, value: Any, named: str) -> None:
    stored = {**labels("smpl", SIZE), field: value}
    np.savez(tree / "bedlam_labels" / f"{SCENE}.npz", **{name: v for name, v in stored.items() if v is not None})

    def read() -> None:
        source = BedlamSource(tree)
        list(source.read(source.groups()[0]))

    with pytest.raises(InputError, match=named):
        read()


def test_the_check_counts_it(whole: Path) -> None:
    check = checked("bedlam", whole)
    assert total_of(check) == {"groups": 4, "images": 12, "people": 14, "sequences": 4, "identities": 7, "clothes": 14}
    assert images_of(check) == {"bedlam/train": 12}
