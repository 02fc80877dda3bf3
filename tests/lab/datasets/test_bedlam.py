"""BEDLAM from a small tree in the owners' layout: bodies in the camera, images on their side, both models, damage."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dataset_checks import checked, images_of, total_of
from helpers.dataset_files import centre_of_light, spotted
from helpers.errors import raises
from helpers.paper_datasets import assert_travels, posed
from helpers.smpl_model_file import random_smpl_fields, write_smpl_npz
from PIL import Image

from humanpose_cli.body.smpl import load_models
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.samples import Sample
from humanpose_cli.lab.datasets.bedlam import BedlamSource
from humanpose_cli.lab.datasets.checking import check_dataset
from humanpose_cli.lab.datasets.common import SequenceOptions, project_points
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.preprocess import SourceRequest, make_source
from humanpose_cli.lab.evaluate.people import PeopleSelection

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
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bedlam")
    for scene, kind in ((SCENE, "smpl"), (CLOSE, "smplx")):
        size = SIZE if scene == SCENE else SIZE[::-1]
        fields = labels(kind, size)
        (root / "bedlam_labels").mkdir(exist_ok=True)
        np.savez(root / "bedlam_labels" / f"{scene}.npz", **fields)
        for row, name in enumerate(NAMES):
            image = spotted(size, fields["gtkps"][row, 0])
            if scene == CLOSE:
                image = np.rot90(image)  # on its side, so that a turn clockwise sets it up
            if name not in NAMES[:row]:
                write_image(root / "training_images" / scene / "png" / name, np.ascontiguousarray(image))
    return root


@pytest.mark.parametrize(("scene", "kind"), [(SCENE, "smpl"), (CLOSE, "smplx")])
def test_bodies_cameras_and_images_agree(intact: Path, scene: str, kind: str) -> None:
    """The disc at the first person's pelvis is where the body stands that the sample says."""
    source = BedlamSource(intact)
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
        projections = project_points(joints, FOCAL, sample.principal_point or (0, 0))
        keypoints = person.keypoints["smpl24"]
        np.testing.assert_allclose(projections[:20], keypoints[:20, :2], atol=1e-3)
        assert keypoints[:, 2].tolist() == [1] * 22 + [kind == "smpl"] * 2
        image = np.asarray(Image.open(io.BytesIO(sample.image)).convert("RGB"))
        np.testing.assert_allclose(centre_of_light(image), keypoints[0, :2], atol=0.5)
        assert (sample.splits, sample.frame_rate) == ({"bedlam": "train"}, 30)


def test_sequences_and_people(intact: Path) -> None:
    source = BedlamSource(intact)
    names = [f"{scene}/seq_00000{n}" for scene in (SCENE, CLOSE) for n in (0, 1)]
    assert [(group.name, group.count) for group in source.groups()] == [(name, 3) for name in names]
    first, second = next(source.read(source.groups()[0])).people
    assert (first.identity, second.identity) == ("rp_adam_0", "rp_adam_1")
    assert [group.count for group in BedlamSource(intact, SequenceOptions(every=2)).groups()] == [2] * 4
    with raises(UsageError, subject="split", problem="is none of BEDLAM"):
        BedlamSource(intact, SequenceOptions(split="test"))
    with raises(InputError, problem="holds no labels of BEDLAM of validation"):
        BedlamSource(intact, SequenceOptions(split="validation")).groups()
    assert_travels(source, 2)


def test_labels_of_validation_and_of_the_second_release(tree: Path) -> None:
    (tree / "bedlam_labels").rename(tree / "validation_labels")
    path = tree / "validation_labels" / f"{SCENE}.npz"
    np.savez(path, **{**labels("smpl", SIZE), "gtkps": np.zeros((len(NAMES), 200, 2)), "shape": np.ones((7, 16))})
    source = BedlamSource(tree)
    sample = next(source.read(source.groups()[0]))
    assert sample.splits == {"bedlam": "validation"}
    person = sample.people[0]
    assert (person.keypoints, person.gender) == ({}, "neutral")
    assert (np.shape(person.betas), np.shape(person.more_betas)) == ((10,), (6,))


COMPONENTS = 16
ELEVEN = {**labels("smpl", SIZE), "shape": np.random.default_rng(1).normal(size=(len(NAMES), 11))}


@pytest.fixture(scope="module")
def model_fields() -> dict[str, Any]:
    """A model whose eleventh component moves joints by centimetres."""
    fields = random_smpl_fields()
    more = np.random.default_rng(2).normal(0, 0.1, (6890, 3, COMPONENTS - 10))
    return {**fields, "shapedirs": np.concatenate((fields["shapedirs"], more), 2)}


def smplx_joints(fields: dict[str, Any], values: dict[str, Any]) -> np.ndarray:
    """(N, 45, 3) metres in camera axes, as the owners' data_processing makes them."""
    smplx = pytest.importorskip("smplx")
    wide = np.zeros((6890, 3, 300), np.float32)
    wide[..., :COMPONENTS] = fields["shapedirs"]
    struct = smplx.utils.Struct(**{**fields, "shapedirs": wide})
    model = smplx.SMPL("", data_struct=struct, num_betas=11, batch_size=len(NAMES))
    poses, betas, trans = (torch.from_numpy(values[name]).float() for name in ("pose_cam", "shape", "trans_cam"))
    output = model(betas=betas, global_orient=poses[:, :3], body_pose=poses[:, 3:], transl=trans)
    return output.joints.detach().double().numpy() + values["cam_ext"][:, None, :3, 3]


@pytest.mark.slow
def test_bodies_have_all_their_shape_components(tree: Path, model_fields: dict[str, Any], tmp_path: Path) -> None:
    """Joints drawn from the labels are those of smplx with eleven betas; the first ten alone miss them."""
    joints = smplx_joints(model_fields, ELEVEN)
    pixels = np.stack([project_points(points, FOCAL, np.array(SIZE) / 2) for points in joints])
    np.savez(tree / "bedlam_labels" / f"{SCENE}.npz", **{**ELEVEN, "gtkps": pixels})
    (tree / "bedlam_labels" / f"{CLOSE}.npz").unlink()
    path = write_smpl_npz(tmp_path / "SMPL_NEUTRAL.npz", model_fields)
    source = make_source(SourceRequest("bedlam", tree, models=(path,)))
    people = [person for group in source.groups() for sample in source.read(group) for person in sample.people]
    assert len(people) == len(NAMES)
    np.testing.assert_allclose([person.betas for person in people], ELEVEN["shape"][:, :10])
    np.testing.assert_allclose(
        [person.more_betas for person in people], np.pad(ELEVEN["shape"][:, 10:], ((0, 0), (0, 5)))
    )
    drawn_joints = np.stack([person.joints["smpl24"][:, :3] for person in people])
    np.testing.assert_allclose(drawn_joints, joints[:, :24], atol=1e-5)
    (note,) = source.notes
    assert note.startswith("BEDLAM: the joints of 7 bodies lie 0.00 pixels (median) from the owners' gtkps, ")
    assert float(note.split("gtkps, ")[1].split()[0]) > 0.2
    check = check_dataset(SourceRequest("bedlam", tree, models=(path,)))
    assert not check.problems
    errors = check.labels.reprojection["body", "keypoints/smpl24"]
    assert (errors.count, errors.max) == (24 * len(NAMES), pytest.approx(0, abs=1e-3))
    assert check.labels.ranges["more_betas"].count == 6 * len(NAMES)


@pytest.mark.extensive
def test_evaluation_compares_with_all_shape_components(
    tree: Path, model_fields: dict[str, Any], tmp_path: Path
) -> None:
    """The truth of a cache is the body that was labelled: predictions of it without the eleventh component miss it."""
    np.savez(tree / "validation_labels.npz", **ELEVEN)
    (tree / "bedlam_labels").rename(tree / "validation_labels")
    (tree / "validation_labels.npz").replace(tree / "validation_labels" / f"{SCENE}.npz")
    (tree / "validation_labels" / f"{CLOSE}.npz").unlink()
    path = write_smpl_npz(tmp_path / "SMPL_NEUTRAL.npz", model_fields)
    cache = build_cache(make_source(SourceRequest("bedlam", tree, models=(path,))), tmp_path / "cache").folder
    people = PeopleSelection(cache, body=f"smpl:{path}").people()
    rows = np.arange(len(people))
    (model,) = people.rigs
    assert (model.shape_count, people.body.shape_count) == (16, 10)
    exact = people.errors(people.bodies, rows, model)
    np.testing.assert_allclose(exact.pve, 0, atol=1e-6)
    eleventh = people.bodies.betas[:, 10].numpy()
    ten = people.errors(people.bodies.of_model(people.body), rows)
    assert np.corrcoef(ten.pve, np.abs(eleventh))[0, 1] > 0.99
    ten_components = write_smpl_npz(tmp_path / "SMPL_NEUTRAL_10.npz", random_smpl_fields())
    with raises(InputError, problem="has bodies of up to 16 shape components", got="10 in the file of smpl-neutral"):
        PeopleSelection(cache, body=f"smpl:{ten_components}").people()


@pytest.mark.slow
def test_ten_components_are_of_the_rendered_gender(tree: Path, tmp_path: Path) -> None:
    fields = labels("smpl", SIZE)
    with_genders = {**fields, "shape": fields["shape"][:, :10], "gender": np.array(["male", *["female"] * 6])}
    np.savez(tree / "bedlam_labels" / f"{SCENE}.npz", **with_genders)
    source = BedlamSource(tree)
    first, second = next(source.read(source.groups()[0])).people
    assert (first.gender, second.gender, first.more_betas) == ("male", "female", None)
    path = write_smpl_npz(tmp_path / "SMPL_MALE.npz", random_smpl_fields())
    models = BedlamSource(tree, tools=SourceTools(bodies=load_models([path])))
    assert models.notes[:2] == (
        "BEDLAM: nothing is drawn of female people without their `model`",
        "BEDLAM: nothing is drawn of neutral people without their `model`",
    )
    assert models.notes[2].startswith("BEDLAM: the joints of 1 bodies lie")
    np.savez(tree / "bedlam_labels" / f"{SCENE}.npz", **{**with_genders, "gender": np.array(["m"] * 7)})
    with raises(InputError, subject="(gender)", problem="does not name the model of each body"):
        next(source_of_first(tree))


def source_of_first(tree: Path) -> Iterator[Sample]:
    source = BedlamSource(tree)
    return source.read(source.groups()[0])


@pytest.mark.extensive
def test_a_model_of_ten_components_is_refused(tree: Path, tmp_path: Path) -> None:
    path = write_smpl_npz(tmp_path / "SMPL_NEUTRAL.npz", random_smpl_fields())
    with raises(InputError, subject="(shape)", problem="needs more shape components", expected="11", got="10"):
        BedlamSource(tree, tools=SourceTools(bodies=load_models([path]))).groups()


def test_missing_files_are_named(tree: Path) -> None:
    (tree / "training_images" / SCENE / "png" / NAMES[-1]).unlink()
    with raises(
        InputError, subject=f"{SCENE}.npz", problem=("names 1 images that are not there", "seq_000001_0010.png")
    ):
        BedlamSource(tree).groups()
    lenient = BedlamSource(tree, SequenceOptions(allow_missing=True))
    assert [group.count for group in lenient.groups()] == [3, 2, 3, 3]
    for path in (tree / "bedlam_labels").iterdir():
        path.unlink()
    with raises(InputError, problem="holds no labels of BEDLAM"):
        BedlamSource(tree).groups()


@pytest.mark.parametrize(
    ("field", "value", "subject"),
    [
        ("imgname", None, {"subject": ".npz", "problem": "lacks imgname"}),
        ("imgname", np.array(["/etc/passwd"] * 7), {"subject": "(imgname)", "problem": "names no image"}),
        (
            "pose_cam",
            np.zeros((7, 66)),
            {"subject": "(pose_cam)", "problem": "are of another model", "expected": "72 columns of SMPL or 165"},
        ),
        (
            "pose_cam",
            np.zeros((6, 72)),
            {"subject": "(pose_cam)", "problem": "has the wrong shape", "expected": "(7, any)", "got": "(6, 72)"},
        ),
        (
            "shape",
            np.zeros((7, 9)),
            {"subject": "(shape)", "problem": "has another number of shape parameters", "expected": "10, 11, 16"},
        ),
        ("cam_int", np.zeros((7, 3, 3)), {"subject": "(cam_int)", "problem": "is no camera"}),
        (
            "trans_cam",
            np.full((7, 3), np.nan),
            {"subject": "(trans_cam)", "problem": "holds values that are not finite"},
        ),
    ],
)
def test_damaged_labels_are_named(tree: Path, field: str, value: Any, subject: str) -> None:
    fields = {**labels("smpl", SIZE), field: value}
    np.savez(tree / "bedlam_labels" / f"{SCENE}.npz", **{name: v for name, v in fields.items() if v is not None})

    def read() -> None:
        source = BedlamSource(tree)
        list(source.read(source.groups()[0]))

    with raises(InputError, **subject):
        read()


def test_the_check_counts_it(intact: Path) -> None:
    check = checked("bedlam", intact)
    assert total_of(check) == {"groups": 4, "images": 12, "people": 14, "sequences": 4, "identities": 7, "clothes": 14}
    assert images_of(check) == {"bedlam/train": 12}
