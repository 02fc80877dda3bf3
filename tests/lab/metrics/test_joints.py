"""Joints of published protocols: where they are on a body, and what an error of each is."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.smpl_model_file import random_smpl_fields, write_smpl_pickle

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.body.smpl import load_smpl
from humanpose_cli.core.conventions import H36M17, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.metrics.bodies import Bodies, body_errors, mpjpe, pa_mpjpe
from humanpose_cli.lab.metrics.joints import JointRegressor, JointSetName, RootName, joint_set

VERTICES = 6890
FOCAL, CENTRE = torch.full((2,), 500.0), torch.full((2, 2), 256.0)


def regressor_file(path: Path, body_joints: np.ndarray | None = None) -> Path:
    """Row j is vertex 10 j + 5, as in a matrix that picks vertices."""
    matrix = np.zeros((17, VERTICES), np.float32)
    matrix[np.arange(17), 10 * np.arange(17) + 5] = 1
    np.save(path, matrix)
    return path


def true_bodies() -> Bodies:
    rotations = sample_poses(2, torch.Generator().manual_seed(3))
    return Bodies(rotations, torch.zeros(2, 10), torch.tensor([[0.1, 0.0, 4.0]] * 2))


@pytest.mark.parametrize("name", ["smpl24", "lsp14", "mocap14", "mocap17"])
def test_an_offset_is_measured_under_every_protocol(name: JointSetName) -> None:
    """Positions in space differ by the offset, about a root by nothing; a joint that is off alone by its share."""
    body, true = default_body(), true_bodies()
    moved = true._replace(root=true.root + torch.tensor([0.0, 0.03, 0.04]))
    for root, expected in (("none", 0.05), ("pelvis", 0.0), ("hips", 0.0)):
        joints = joint_set(name, root)  # type: ignore[arg-type]
        errors = body_errors(body, moved, true, FOCAL, CENTRE, joints=joints)
        np.testing.assert_allclose(errors.mpjpe, expected, atol=1e-6)
        np.testing.assert_allclose(errors.pa_mpjpe, 0, atol=1e-5)
        np.testing.assert_allclose(errors.pve, expected, atol=1e-6)
        posed = body.pose(true.rotations, true.betas, body.translation_of_root(true.root, true.betas))
        measured = joints.of_body(body, posed, true.betas).double().numpy()
        measured[:, joints.points.index("left_ankle"), 2] += 0.2
        alone = body_errors(body, true, true, FOCAL, CENTRE, joints=joints, measured=measured)
        np.testing.assert_allclose(alone.mpjpe, 0.2 / len(joints.joints), atol=1e-6)


def test_limbs_are_where_the_models_joints_are() -> None:
    body, true = default_body(), true_bodies()
    posed = body.pose(true.rotations, true.betas)
    for name in ("lsp14", "mocap17"):
        joints = joint_set(name)  # type: ignore[arg-type]
        found = joints.of_body(body, posed, true.betas)
        for limb in ("left_wrist", "right_knee", "left_ankle"):
            apart = found[:, joints.points.index(limb)] - posed.joints[:, SMPL24.index(limb)]
            assert float(apart.norm(dim=-1).max()) < 0.03
        assert (found[:, joints.points.index("head_top")] - posed.joints[:, SMPL24.index("head")]).norm(
            dim=-1
        ).min() > 0.1


@pytest.mark.extensive
def test_the_regressor_of_the_model_looks_at_the_posed_mesh(tmp_path: Path) -> None:
    """At rest its joints are those that bones turn about; of a bent body they are means of the mesh, as in EMDB."""
    fields = random_smpl_fields()
    body = load_smpl(write_smpl_pickle(tmp_path / "SMPL_NEUTRAL.pkl", fields))
    joints, true = joint_set("smpl24-mesh"), true_bodies()
    assert joints.root_name == "hips"
    rest = body.pose(torch.eye(3).expand(2, 24, 3, 3), true.betas)
    torch.testing.assert_close(joints.of_body(body, rest, true.betas), rest.joints, atol=1e-5, rtol=0)
    bent = body.pose(true.rotations, true.betas)
    assert bent.vertices is not None
    found = joints.of_body(body, bent, true.betas)
    np.testing.assert_allclose(found, fields["J_regressor"].toarray() @ bent.vertices.numpy(), atol=1e-5)
    assert float((found - bent.joints).norm(dim=-1).max()) > 1e-3
    moved = true._replace(root=true.root + torch.tensor([0.0, 0.03, 0.04]))
    for root, expected in (("none", 0.05), ("hips", 0.0)):
        errors = body_errors(body, moved, true, FOCAL, CENTRE, joints=joint_set("smpl24-mesh", root))  # type: ignore[arg-type]
        np.testing.assert_allclose((errors.mpjpe, errors.pve), expected, atol=1e-6)
    with raises(UsageError, problem="smpl24-mesh are found by the regressor of a SMPL model", got="body default"):
        body_errors(default_body(), true, true, FOCAL, CENTRE, joints=joints)


def test_a_regressor_picks_vertices_by_name(tmp_path: Path) -> None:
    joints = joint_set("h36m14", regressor=regressor_file(tmp_path / "J.npy"))
    assert joints.points[-1] == "pelvis"  # the root is none of the fourteen
    rows = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10, 0]
    template = torch.zeros(VERTICES, 3)
    template[[15, 25, 35, 115, 125, 135], 0] = 1.0  # left hip, knee, ankle and arm
    smpl = type("Smpl", (), {"name": "smpl-neutral", "template": template})()
    posed = SimpleNamespace(surface=torch.randn(2, VERTICES, 3))
    found = joints.of_body(smpl, posed, torch.zeros(2, 10))
    torch.testing.assert_close(found, posed.surface[:, 10 * torch.tensor(rows) + 5])
    assert joint_set("h36m17", regressor=tmp_path / "J.npy").joints == H36M17.joint_names
    swapped = type("Smpl", (), {"name": "smpl-neutral", "template": -template})()
    with raises(UsageError, problem="has its rows in another order: the left hip is on the right"):
        joints.of_body(swapped, posed, torch.zeros(2, 10))
    body, betas = default_body(), torch.zeros(1, 10)
    upright = body.pose(torch.eye(3).expand(1, 24, 3, 3), betas)
    with raises(UsageError, problem="another mesh", expected="6890 vertices of SMPL", got="13718 of default"):
        joints.of_body(body, upright, betas)


def test_files_that_are_no_regressor(tmp_path: Path) -> None:
    with raises(InputError, problem="is no file", expected="a joint regressor"):
        JointRegressor.read(tmp_path / "nothing.npy")
    np.save(tmp_path / "smpl.npy", np.zeros((24, VERTICES)))
    with raises(InputError, expected="(17, 6890) or (19, 6890)", got="(24, 6890)"):
        JointRegressor.read(tmp_path / "smpl.npy")
    np.save(tmp_path / "sums.npy", np.full((17, VERTICES), 2 / VERTICES))
    with raises(InputError, problem="rows that do not sum to 1", expected="means of vertices", got="2 to 2"):
        JointRegressor.read(tmp_path / "sums.npy")


def test_hmr_regressor_is_read_and_goes_with_its_joints(tmp_path: Path) -> None:
    """Rows 0 to 12 and 18 of SMPL_to_J19, keypoints 25 … 37 and 43 of HMR 2.0's 44; its root is MPII's pelvis, 39."""
    matrix = np.zeros((19, VERTICES))
    matrix[np.arange(19), 10 * np.arange(19) + 5] = 1
    file = tmp_path / "SMPL_to_J19.pkl"
    file.write_bytes(pickle.dumps(matrix, protocol=2))
    joints = joint_set("hmr14", regressor=file)
    template = torch.zeros(VERTICES, 3)
    template[[35, 45, 55, 95, 105, 115], 0] = 1.0  # left hip, knee, ankle and arm
    smpl = type("Smpl", (), {"name": "smpl-neutral", "template": template})()
    posed = SimpleNamespace(surface=torch.randn(2, VERTICES, 3))
    found = joints.of_body(smpl, posed, torch.zeros(2, 10))
    rows = torch.tensor([*range(13), 18, 14])
    torch.testing.assert_close(found, posed.surface[:, 10 * rows + 5])
    with raises(UsageError, problem="is not the one of h36m14", expected="one of 17 joints", got="19"):
        joint_set("h36m14", regressor=file)
    with raises(UsageError, problem="hmr14 need a joint regressor", expected="`joint_regressor`, SMPL_to_J19.pkl"):
        joint_set("hmr14")
    file.write_bytes(pickle.dumps({"a": 1}))
    with raises(InputError, problem="is no joint regressor of SMPL"):
        JointRegressor.read(file)


@pytest.mark.extensive
def test_the_neutral_regressor_finds_the_joints_of_every_mesh(tmp_path: Path) -> None:
    body, other = (
        load_smpl(write_smpl_pickle(tmp_path / f"SMPL_{name}.pkl", random_smpl_fields(seed)))
        for seed, name in ((0, "NEUTRAL"), (1, "MALE"))
    )
    joints, true = joint_set("smpl24-neutral", neutral=body), true_bodies()
    posed = other.pose(true.rotations, true.betas)
    assert posed.vertices is not None
    expected = body.joint_regressor @ posed.vertices
    torch.testing.assert_close(joints.of_body(other, posed, true.betas), expected, atol=1e-5, rtol=0)
    assert joints.root_name == "hips"
    with raises(UsageError, problem="smpl24-neutral need SMPL's neutral model"):
        joint_set("smpl24-neutral", neutral=default_body())


@pytest.mark.parametrize(
    ("name", "root", "file", "message"),
    [("h36m14", None, False, "need a joint regressor"), ("smpl24", "hips", True, "has no effect with smpl24")],
)
def test_sets_that_do_not_go_with_a_regressor(
    tmp_path: Path, name: JointSetName, root: RootName | None, file: bool, message: str
) -> None:
    with raises(UsageError, problem=message):
        joint_set(name, root, regressor_file(tmp_path / "J.npy") if file else None)


def test_missing_joints_do_not_count() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=(3, 17, 3))
    predicted = true + random.normal(0, 0.05, true.shape)
    partial = true.copy()
    partial[:, 7] = np.nan
    kept = [j for j in range(17) if j != 7]
    for metric in (mpjpe, pa_mpjpe):
        np.testing.assert_allclose(metric(predicted, partial), metric(predicted[:, kept], true[:, kept]))
    assert np.isnan(mpjpe(predicted, np.where(np.arange(17)[:, None] == 0, np.nan, true))).all()  # without a root


def test_labels_keep_what_is_labelled() -> None:
    labels = np.random.default_rng(1).normal(size=(2, 17, 4))
    labels[..., 3] = 1
    labels[0, H36M17.index("spine"), 3] = 0
    found = joint_set("mocap17").from_labels(labels)
    assert np.isnan(found[0, H36M17.index("spine")]).all()
    np.testing.assert_allclose(found[1], labels[1, :, :3])
