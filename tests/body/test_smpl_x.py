"""SMPL-H and SMPL-X files: agreement with smplx of straight and of bent fingers, names, genders, and wrong files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.fresh_process import run_fresh
from helpers.smpl_model_file import SIZES, SMPLX_NAMES, random_smplx_fields

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import load_body, load_models, load_smpl
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.errors import InputError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

EXTRA: dict[str, Any] = {
    **{f"hands_components{side}": np.zeros((45, 45)) for side in "lr"},
    "lmk_faces_idx": np.zeros(51, int),
    "lmk_bary_coords": np.full((51, 3), 1 / 3),
}
"""What smplx wants in a file beside what is read here."""


@pytest.fixture(scope="module", params=sorted(SIZES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Path]:
    """Kind, fields and file, in the owners' layouts."""
    kind = str(request.param)
    names = {"smplh": "smplh/female/model.npz", "smplx": "smplx/SMPLX_FEMALE.npz"}
    path = tmp_path_factory.mktemp("models") / names[kind]
    path.parent.mkdir(parents=True)
    fields = random_smplx_fields(kind)
    np.savez(path, **fields, **EXTRA)
    return kind, fields, path


def oracle_of(kind: str, fields: dict[str, Any], path: Path, *, straight: bool = True) -> Any:
    """smplx's own model, with straight fingers or those of the mean pose, and a face at rest."""
    smplx = pytest.importorskip("smplx")
    options: dict[str, Any] = {"use_pca": False, "flat_hand_mean": straight, "batch_size": 3, "num_betas": 10}
    if kind == "smplx":
        return smplx.SMPLX(str(path), ext="npz", **options)
    return smplx.SMPLH("", data_struct=smplx.utils.Struct(**fields, **EXTRA), **options)


@pytest.mark.extensive
def test_agrees_with_smplx_while_fingers_are_straight(model: tuple[str, dict[str, Any], Path]) -> None:
    kind, fields, path = model
    body = load_smpl(path)
    random = torch.Generator().manual_seed(0)
    poses = 0.6 * torch.randn(3, 24, 3, generator=random)
    poses[:, 22:] = 0
    betas, trans = torch.randn(3, 10, generator=random), torch.randn(3, 3, generator=random)
    expected = oracle_of(kind, fields, path)(
        betas=betas, global_orient=poses[:, 0], body_pose=poses[:, 1:22].flatten(1), transl=trans
    )
    posed = body.pose(axis_angle_to_matrix(poses), betas, trans)
    torch.testing.assert_close(posed.vertices, expected.vertices.detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(posed.joints[:, :22], expected.joints[:, :22].detach(), atol=1e-5, rtol=0)
    middle = [25, 40] if kind == "smplh" else [28, 43]
    torch.testing.assert_close(posed.joints[:, 22:], expected.joints[:, middle].detach(), atol=1e-5, rtol=0)


@pytest.mark.extensive
def test_fingers_have_the_mean_pose_of_the_file(model: tuple[str, dict[str, Any], Path]) -> None:
    """As smplx poses them with flat_hand_mean=False, of any shape; hand joints and the straight model stay."""
    kind, fields, path = model
    body = load_smpl(path, mean_hands=True)
    random = torch.Generator().manual_seed(0)
    betas, turn = torch.randn(3, 10, generator=random), torch.randn(3, 3, generator=random)
    expected = oracle_of(kind, fields, path, straight=False)(betas=betas, global_orient=turn)
    poses = torch.zeros(3, 24, 3)
    poses[:, 0] = turn
    posed = body.pose(axis_angle_to_matrix(poses), betas)
    torch.testing.assert_close(posed.vertices, expected.vertices.detach(), atol=1e-5, rtol=0)
    straight = load_smpl(path).pose(axis_angle_to_matrix(poses), betas)
    torch.testing.assert_close(posed.joints, straight.joints)
    assert (posed.vertices - straight.vertices).norm(dim=-1).max() > 0.02
    np.savez(path.with_name("x_female.npz"), **{**fields, "hands_meanr": np.zeros(3)})
    with raises(InputError, problem="has no mean pose of the hands"):
        load_smpl(path.with_name("x_female.npz"), mean_hands=True)


def test_expressions_are_no_shape_components(model: tuple[str, dict[str, Any], Path]) -> None:
    """Of the 20 blend shapes in old files of SMPL-X, the last ten are expressions."""
    kind, fields, path = model
    body = load_smpl(path, 16)
    assert body.shape_count == {"smplh": 16, "smplx": 10}[kind]
    expected = torch.from_numpy(fields["shapedirs"][..., : body.shape_count]).float()
    torch.testing.assert_close(body.shape_directions, expected)


@pytest.mark.slow
def test_landmarks_are_the_vertices_that_smplx_lists(model: tuple[str, dict[str, Any], Path]) -> None:
    vertex_ids = pytest.importorskip("smplx.vertex_ids").vertex_ids
    kind, _, path = model
    body = load_smpl(path)
    posed = body.pose(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10))
    points = body.pose_landmarks("blazepose33", posed, torch.zeros(1, 10))[0]
    for name, vertex in SMPLX_NAMES.items():
        point = points[BLAZEPOSE33.index(name)]
        torch.testing.assert_close(point, posed.vertices[0, vertex_ids[kind][vertex]], atol=1e-5, rtol=0)
    assert len(body.part_labels) == SIZES[kind][0]


WITHOUT_SMPLX = """
import sys
sys.modules["smplx"] = None  # an import of it fails, as where it is not installed
from humanpose_cli.body.smpl import load_body
for spec in {specs!r}:
    body = load_body(spec)
    print(body.name, len(body.landmarks("blazepose33").skeleton))
"""


@pytest.mark.extensive
@pytest.mark.parametrize("model", ["smplx"], indirect=True)
def test_models_are_read_without_the_package_smplx(model: tuple[str, dict[str, Any], Path], smpl_file: Path) -> None:
    kind, _, path = model
    ran = run_fresh(WITHOUT_SMPLX.format(specs=[f"{kind}:{path}", f"smpl:{smpl_file}"]))
    assert (ran.stdout.splitlines(), ran.stderr) == ([f"{kind}-female 33", "smpl-female 33"], "")


@pytest.mark.slow
def test_kinds_and_genders_have_names(model: tuple[str, dict[str, Any], Path], smpl_file: Path) -> None:
    kind, _, path = model
    assert load_smpl(path).name == f"{kind}-female"
    assert load_models([path])["female"].name == f"{kind}-female"
    assert isinstance(load_body(f"{kind}:{path}"), Body)
    with raises(InputError, problem="is another model", expected="smpl", got=kind, remedy=f"`body={kind}:"):
        load_body(f"smpl:{path}")
    with raises(InputError, problem="is another model", expected=kind, got="smpl"):
        load_body(f"{kind}:{smpl_file}")


@pytest.mark.extensive
def test_wrong_files_are_reported(tmp_path: Path) -> None:
    fields = random_smplx_fields("smplx")
    path = tmp_path / "SMPLX_MALE.npz"
    np.savez(path, **{**fields, "posedirs": np.zeros((10475, 3, 9), np.int8)})
    with raises(InputError, problem="posedirs has not SMPL-X's shape", expected="(10475, 3, 486)"):
        load_smpl(path)
    np.savez(path, **{**fields, "posedirs": np.zeros((10475, 3, 486), np.int8), "kintree_table": np.zeros((2, 55))})
    with raises(InputError, problem="kintree_table is not SMPL-X's skeleton"):
        load_smpl(path)
