"""SMPL files: agreement with smplx, and every way in which a file can be wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from helpers.errors import raises
from helpers.smpl_model_file import SMPLX_NAMES, write_smpl_npz, write_smpl_pickle

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import load_body, load_smpl
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

# In place of 17 MB that a test does not look at.
NO_POSE_BLEND = {"posedirs": np.zeros((6890, 3, 207), np.int8)}


def random_inputs(batch: int, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    poses = 0.6 * torch.randn(batch, 24, 3, generator=generator)
    return poses, torch.randn(batch, 10, generator=generator), torch.randn(batch, 3, generator=generator)


@pytest.fixture(scope="module")
def oracle(smpl_fields: dict[str, Any]) -> Any:
    smplx = pytest.importorskip("smplx")
    return smplx.SMPL("", data_struct=smplx.utils.Struct(**smpl_fields), batch_size=4)


def test_agrees_with_smplx_to_ten_micrometres(smpl_body: Body, oracle: Any) -> None:
    poses, betas, trans = random_inputs(4)
    expected = oracle(betas=betas, global_orient=poses[:, 0], body_pose=poses[:, 1:].flatten(1), transl=trans)
    posed = smpl_body.pose(axis_angle_to_matrix(poses), betas, trans)
    torch.testing.assert_close(posed.vertices, expected.vertices.detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(posed.joints, expected.joints[:, :24].detach(), atol=1e-5, rtol=0)


def test_listed_landmarks_are_smplx_vertices(smpl_body: Body) -> None:
    vertex_ids = pytest.importorskip("smplx.vertex_ids").vertex_ids
    poses, betas, trans = random_inputs(2)
    posed = smpl_body.pose(axis_angle_to_matrix(poses), betas, trans)
    points = smpl_body.pose_landmarks("blazepose33", posed, betas)
    skeleton = smpl_body.landmarks("blazepose33").skeleton
    for name, vertex in SMPLX_NAMES.items():
        expected = posed.vertices[:, vertex_ids["smplh"][vertex]]
        torch.testing.assert_close(points[:, skeleton.index(name)], expected, atol=1e-5, rtol=0)
    wrist = points[:, skeleton.index("left_wrist")]
    torch.testing.assert_close(wrist, posed.joints[:, SMPL24.index("left_wrist")], atol=1e-5, rtol=0)


def test_knuckles_stay_with_the_hand(smpl_body: Body) -> None:
    posed = smpl_body.pose(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10))
    points = smpl_body.pose_landmarks("blazepose33", posed, torch.zeros(1, 10))[0]
    skeleton = smpl_body.landmarks("blazepose33").skeleton
    for side, sign in (("left", 1), ("right", -1)):
        index, pinky = (points[skeleton.index(f"{side}_{finger}")] for finger in ("index", "pinky"))
        wrist = posed.joints[0, SMPL24.index(f"{side}_wrist")]
        assert 0.03 < sign * (index - wrist)[0] < 0.15
        assert index[2] > pinky[2], "palms face down, so index fingers are in front"


@pytest.mark.slow
def test_name_comes_from_the_file_name(smpl_body: Body, smpl_fields: dict[str, Any], tmp_path: Path) -> None:
    small = smpl_fields | NO_POSE_BLEND
    assert smpl_body.name == "smpl-female"
    assert load_smpl(write_smpl_pickle(tmp_path / "SMPL_MALE.pkl", small)).name == "smpl-male"
    assert load_smpl(write_smpl_npz(tmp_path / "my.npz", small)).name == "smpl"


@pytest.mark.slow
def test_pickles_and_npz_agree(smpl_body: Body, smpl_fields: dict[str, Any], tmp_path: Path) -> None:
    other = load_smpl(write_smpl_npz(tmp_path / "b.npz", smpl_fields))
    for name, values in smpl_body.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], values, msg=name)


def test_more_than_ten_components_are_cut(smpl_body: Body, smpl_fields: dict[str, Any], tmp_path: Path) -> None:
    many = np.concatenate((smpl_fields["shapedirs"], np.ones((6890, 3, 5))), 2)
    body = load_smpl(write_smpl_npz(tmp_path / "many.npz", {**smpl_fields, **NO_POSE_BLEND, "shapedirs": many}))
    torch.testing.assert_close(body.shape_directions, smpl_body.shape_directions)


def test_mirror_list_of_the_file_is_used(smpl_fields: dict[str, Any], tmp_path: Path) -> None:
    listed = np.arange(6890)[::-1].copy()
    body = load_smpl(write_smpl_npz(tmp_path / "m.npz", {**smpl_fields, **NO_POSE_BLEND, "vert_sym_idxs": listed}))
    assert body.mirror_vertices.tolist() == listed.tolist()


def test_missing_file_names_its_source(tmp_path: Path) -> None:
    with raises(UnavailableError, subject="absent.pkl", problem="no SMPL model", remedy="smpl.is.tue.mpg.de"):
        load_smpl(tmp_path / "absent.pkl")


Change = Callable[[dict[str, Any]], Any]
WRONG: dict[str, tuple[Change, str]] = {
    "not a table": (lambda f: [1, 2], "is not a SMPL model, expected a table"),
    "no regressor": (lambda f: {k: v for k, v in f.items() if k != "J_regressor"}, "no J_regressor in it"),
    "smpl-x": (lambda f: {**f, "v_template": np.zeros((10475, 3))}, r"v_template.*\(6890, 3\).*\(10475, 3\)"),
    "few betas": (lambda f: {**f, "shapedirs": np.zeros((6890, 3, 2))}, "too few shape components"),
    "text": (lambda f: {**f, "v_template": "hello"}, "v_template cannot be read"),
    "objects": (lambda f: {**f, "f": np.array([{}], dtype=object)}, "f cannot be read"),
    "skeleton": (lambda f: {**f, "kintree_table": np.zeros((2, 24))}, "kintree_table"),
    "weights": (lambda f: {**f, "weights": np.zeros((6890, 24))}, "do not sum to 1"),
    "faces": (lambda f: {**f, "f": f["f"] + 6000}, "vertices that are not there"),
    "not finite": (lambda f: {**f, "v_template": np.full((6890, 3), np.nan)}, "not finite"),
    "sparse": (lambda f: {**f, "J_regressor": _damaged_sparse()}, "is not a readable pickle.*out of bounds"),
}


def _damaged_sparse() -> scipy.sparse.csc_matrix:
    matrix = scipy.sparse.csc_matrix(np.eye(3))
    matrix.indices = matrix.indices + 100
    return matrix


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_reported_in_one_sentence(case: str, smpl_fields: dict[str, Any], tmp_path: Path) -> None:
    change, message = WRONG[case]
    small = smpl_fields | NO_POSE_BLEND
    path = write_smpl_pickle(tmp_path / "wrong.pkl", change(small))
    with pytest.raises(InputError, match=message) as caught:
        load_smpl(path)
    assert "\n" not in str(caught.value)
    assert "wrong.pkl" in str(caught.value)


@pytest.mark.slow
def test_body_by_name(smpl_file: Path) -> None:
    assert load_body("default").name == "default"
    assert load_body(f"smpl:{smpl_file}").name == "smpl-female"
    for wrong in ("", "smpl", "smpl:", "mano:x.pkl"):
        with raises(UsageError, expected="default or smpl:FILE, also smplh, smplx"):
            load_body(wrong)


@pytest.mark.extensive
def test_chumpy_arrays_are_read_without_chumpy(tmp_path: Path, smpl_fields: dict[str, Any], smpl_body: Body) -> None:
    path = tmp_path / "chumpy.pkl"
    path.write_bytes(_with_chumpy(smpl_fields, ("v_template", "shapedirs")))
    read = load_smpl(path)
    torch.testing.assert_close(read.template, smpl_body.template)
    torch.testing.assert_close(read.shape_directions, smpl_body.shape_directions)


def _with_chumpy(fields: dict[str, Any], names: tuple[str, ...]) -> bytes:
    """A pickle in which some arrays are chumpy.ch.Ch objects, as in the files of 2015."""
    import sys
    import types

    module = types.ModuleType("chumpy.ch")
    kind = type("Ch", (), {"__module__": "chumpy.ch", "__qualname__": "Ch"})
    module.Ch = kind  # type: ignore[attr-defined]
    sys.modules |= {"chumpy": types.ModuleType("chumpy"), "chumpy.ch": module}
    try:
        wrapped = dict(fields)
        for name in names:
            wrapped[name] = kind()
            vars(wrapped[name]).update(x=fields[name], _dirty_vars=set(), _itr=None)
        return pickle.dumps(wrapped, protocol=2)
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]
