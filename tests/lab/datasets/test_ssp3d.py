"""SSP-3D from a small tree in the owners' layout: bodies in the camera, silhouettes, subjects, figures, damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dataset_checks import checked, total_of
from helpers.errors import raises
from helpers.paper_datasets import assert_travels
from helpers.smpl_model_file import random_smpl_fields, write_smpl_npz

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.encoding import decode_png
from humanpose_cli.lab.datasets import ssp3d
from humanpose_cli.lab.datasets.common import FolderOptions, project_points
from humanpose_cli.lab.datasets.preprocess import SourceRequest, make_source
from humanpose_cli.lab.datasets.ssp3d import Ssp3dSource
from humanpose_cli.lab.evaluate.bodies import evaluate_predictions
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
from humanpose_cli.lab.metrics.bodies import pve_scaled

NO_POSE_BLEND = {"posedirs": np.zeros((6890, 3, 207), np.int8)}
SIDE = 64
NAMES = ["run_00012.png", "run_00034.png", "jump_00001.png"]


def labels() -> dict[str, Any]:
    """The first two images show one man."""
    random = np.random.default_rng(0)
    shapes = random.normal(size=(3, 10))
    shapes[1] = shapes[0]
    poses = random.normal(0, 0.2, (3, 72))
    poses[:, :3] += [np.pi, 0, 0]
    return {
        "fnames": np.array(NAMES),
        "genders": np.array(["m", "m", "f"]),
        "shapes": shapes,
        "poses": poses,
        "cam_trans": random.normal(0, 0.1, (3, 3)) + np.array([0, 0, 40]),
        "joints2D": np.concatenate((random.uniform(5, 60, (3, 17, 2)), random.uniform(0, 1.1, (3, 17, 1))), 2),
        "bbox_centres": np.array([[30.0, 20], [31, 21], [32, 22]]),
        "bbox_whs": np.array([40.0, 30, 20]),
    }


@pytest.fixture(autouse=True)
def _small_official_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssp3d, "OFFICIAL_IMAGES", 3)


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ssp-3d")
    (root / "ssp_3d").mkdir()
    np.savez(root / "ssp_3d" / "labels.npz", **labels())
    for row, name in enumerate(NAMES):
        write_image(root / "ssp_3d" / "images" / name, np.full((SIDE, SIDE, 3), 50 * row, np.uint8))
        silhouette = np.zeros((SIDE, SIDE, 3), np.uint8)
        silhouette[10 : 30 + row, 5:20] = 255
        write_image(root / "ssp_3d" / "silhouettes" / name, silhouette)
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], Path]]:
    folder = tmp_path_factory.mktemp("models")
    genders = ("neutral", "male", "female")
    fields = {gender: random_smpl_fields(seed) | NO_POSE_BLEND for seed, gender in enumerate(genders)}
    return {name: (one, write_smpl_npz(folder / f"SMPL_{name.upper()}.npz", one)) for name, one in fields.items()}


def test_the_check_counts_it(intact: Path) -> None:
    check = checked("ssp-3d", intact)
    assert total_of(check) == {"groups": 3, "images": 3, "people": 3, "identities": 2}
    assert [(count.published.value, count.found) for count in check.differing] == [(311, 3)]


def test_people_silhouettes_and_subjects(intact: Path) -> None:
    source = Ssp3dSource(intact)
    assert [group.name for group in source.groups()] == ["run_00012", "run_00034", "jump_00001"]
    samples = [next(source.read(group)) for group in source.groups()]
    fields = labels()
    for row, sample in enumerate(samples):
        (person,) = sample.people
        assert (sample.focal, sample.principal_point, sample.splits) == (5000, None, {"ssp-3d": "test"})
        assert (person.body, person.gender) == ("smpl", "male" if row < 2 else "female")
        centre, half = fields["bbox_centres"][row], fields["bbox_whs"][row] / 2
        assert person.box is not None
        assert person.box.tolist() == [centre[1] - half, centre[0] - half, centre[1] + half, centre[0] + half]
        np.testing.assert_array_equal(person.keypoints["coco17"][:, :2], fields["joints2D"][row, :, :2])
        assert person.keypoints["coco17"][:, 2].max() <= 1
        assert person.mask is not None
        mask = decode_png(person.mask)
        assert mask is not None
        assert (np.flatnonzero(mask.any(0))[[0, -1]].tolist(), mask.max()) == ([5, 19], 255)
        assert np.flatnonzero(mask.any(1))[[0, -1]].tolist() == [10, 29 + row]
    identities = [sample.people[0].identity for sample in samples]
    assert identities[0] == identities[1] != identities[2]
    assert_travels(source, 1)
    with raises(UsageError, subject="split", problem="is none of SSP-3D"):
        Ssp3dSource(intact, FolderOptions(split="train"))


@pytest.mark.slow
def test_bodies_stand_where_the_owners_project_them(
    intact: Path, models: dict[str, tuple[dict[str, Any], Path]]
) -> None:
    """As visualisation.py: the vertices of smplx's model, moved by cam_trans, before 5,000 pixels of focal length."""
    smplx = pytest.importorskip("smplx")
    fields = labels()
    files = tuple(models[gender][1] for gender in ("male", "female"))
    source = make_source(SourceRequest("ssp-3d", intact, models=files))
    for row, group in enumerate(source.groups()):
        sample = next(iter(source.read(group)))
        (person,) = sample.people
        struct = smplx.utils.Struct(**models[person.gender][0])
        poses, betas = (torch.from_numpy(fields[name][row : row + 1]).float() for name in ("poses", "shapes"))
        output = smplx.SMPL("", data_struct=struct)(
            betas=betas, global_orient=poses[:, :3], body_pose=poses[:, 3:]
        ).joints[0, :24]
        expected = output.detach().double().numpy() + fields["cam_trans"][row]
        np.testing.assert_allclose(person.joints["smpl24"][:, :3], expected, atol=1e-5)
        pixels = project_points(expected, 5000, (SIDE / 2, SIDE / 2))
        np.testing.assert_allclose(person.keypoints["smpl24"][:, :2], pixels, atol=0.01)


def shape_vertices(fields: dict[str, Any], betas: np.ndarray) -> np.ndarray:
    return np.asarray(fields["v_template"] + fields["shapedirs"] @ betas)


@pytest.mark.extensive
def test_figures_of_shape_are_reported(
    intact: Path, models: dict[str, tuple[dict[str, Any], Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The true betas in the true model have no error, whatever the pose; in the neutral model they have one."""
    monkeypatch.setattr("humanpose_cli.lab.evaluate.bodies._contact_sheets", lambda *_: {})
    files = tuple(models[gender][1] for gender in ("male", "female"))
    cache = build_cache(make_source(SourceRequest("ssp-3d", intact)), tmp_path / "cache", workers=1).folder
    fields = labels()
    rows = {"image": np.array([Path(name).stem for name in NAMES]), "poses": np.zeros((3, 72))}
    np.savez(tmp_path / "p.npz", **rows, betas=fields["shapes"], trans=fields["cam_trans"])
    neutral = f"smpl:{models['neutral'][1]}"
    meshes = [
        np.stack(
            [shape_vertices(models[gender][0], betas) for gender, betas in zip(genders, fields["shapes"], strict=True)]
        )
        for genders in (["neutral"] * 3, ["male", "male", "female"])
    ]
    apart = pve_scaled(*meshes)
    for name, metric, body, expected in (
        ("ssp3d-owners", "pve_t_sc_true_model_mm", neutral, pytest.approx(0, abs=1e-3)),
        ("ssp3d-hierprob", "pve_t_sc_mm", neutral, pytest.approx(1e3 * apart.mean(), abs=1e-3)),
        ("ssp3d-hierprob", "pve_t_sc_mm", "default", pytest.approx(np.nan, nan_ok=True)),
    ):
        selection = PeopleSelection(cache, name, body=body, models=files)
        report = evaluate_predictions(EvaluationRun(selection), tmp_path / "p.npz")
        assert report.metrics[metric].value == expected
        table = next(table for table in report.tables if table.name == "published")
        assert table.title == f"ssp-3d/test under {name}"
        unknown = any("figures of vertices need a body of the truth's kind" in note for note in table.notes)
        assert unknown == (body == "default")


def test_missing_files_are_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "ssp_3d" / "silhouettes" / NAMES[1]).unlink()
    with raises(InputError, problem=("names 1 silhouettes that are not there,", "run_00034.png")):
        Ssp3dSource(tree).groups()
    lenient = Ssp3dSource(tree / "ssp_3d", FolderOptions(allow_missing=True))
    assert [group.name for group in lenient.groups()] == ["run_00012", "jump_00001"]
    monkeypatch.setattr(ssp3d, "OFFICIAL_IMAGES", 311)
    with raises(InputError, problem="has not the official number of images", expected="311", got="3"):
        Ssp3dSource(tree).groups()
    (tree / "ssp_3d" / "labels.npz").unlink()
    with raises(InputError, subject="labels.npz"):
        Ssp3dSource(tree).groups()


def test_a_silhouette_of_another_size_is_named(tree: Path) -> None:
    write_image(tree / "ssp_3d" / "silhouettes" / NAMES[0], np.zeros((SIDE, SIDE + 1, 3), np.uint8))
    source = Ssp3dSource(tree)
    with raises(InputError, subject="run_00012.png", problem="has another size than its annotation"):
        next(source.read(source.groups()[0]))


@pytest.mark.parametrize(
    ("field", "value", "subject"),
    [
        ("fnames", None, {"subject": "(fnames)", "problem": "does not name the images"}),
        ("fnames", np.array(["a.png", "../b.png", "c.png"]), {"subject": "(fnames)", "problem": "names no image"}),
        (
            "genders",
            np.array(["m", "f", "n"]),
            {"subject": "(genders)", "problem": "does not name the model of each body"},
        ),
        ("genders", np.array(["m", "f"]), {"subject": "(genders)", "problem": "does not name the model of each body"}),
        ("shapes", np.zeros((3, 9)), {"subject": "(shapes)", "problem": "has the wrong shape"}),
        ("poses", np.full((3, 72), np.nan), {"subject": "(poses)", "problem": "holds values that are not finite"}),
        ("cam_trans", np.zeros((2, 3)), {"subject": "(cam_trans)", "problem": "has the wrong shape"}),
    ],
)
def test_damaged_labels_are_named(tree: Path, field: str, value: Any, subject: str) -> None:
    fields = {**labels(), field: value}
    np.savez(tree / "ssp_3d" / "labels.npz", **{name: v for name, v in fields.items() if v is not None})
    with raises(InputError, **subject):
        Ssp3dSource(tree).groups()
