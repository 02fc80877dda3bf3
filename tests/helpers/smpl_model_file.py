"""A model in SMPL's file format with random contents: what tests use in place of the licensed files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24

VERTICES, FACES, POSE_FEATURES = 6890, 13776, 207
SIZES = {"smplh": (6890, 13776, 52), "smplx": (10475, 20908, 55)}
"""Vertices, faces and joints of the models with hands."""
SMPLX_NAMES = {
    "nose": "nose",
    "left_eye": "leye",
    "right_eye": "reye",
    "left_ear": "lear",
    "right_ear": "rear",
    "left_heel": "LHeel",
    "right_heel": "RHeel",
    "left_foot_index": "LBigToe",
    "right_foot_index": "RBigToe",
}
"""The landmarks that are vertices, and what the package smplx calls them in its lists."""


def t_pose_joints() -> np.ndarray:
    """(24, 3) metres: a plausible skeleton."""
    body = default_body()
    posed = body.pose(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10), vertices=False)
    return posed.joints[0].double().numpy()


def random_smpl_fields(seed: int = 0) -> dict[str, Any]:
    """Arrays under SMPL's names: vertices scattered around the bones, a joint regressor that finds the joints."""
    rng = np.random.default_rng(seed)
    joints = t_pose_joints()
    owner = np.arange(VERTICES) % 24
    template = joints[owner] + rng.normal(0, 0.05, (VERTICES, 3))
    regressor = np.zeros((24, VERTICES))
    for joint in range(24):
        rows = rng.choice(np.flatnonzero(owner == joint), 30, replace=False)
        regressor[joint, rows] = rng.dirichlet(np.ones(30))
    weights = np.zeros((VERTICES, 24))
    parents = np.maximum(SMPL24.parents, 0)
    slots = np.stack((owner, parents[owner], rng.integers(0, 24, VERTICES), rng.integers(0, 24, VERTICES)), 1)
    np.add.at(weights, (np.arange(VERTICES)[:, None], slots), rng.dirichlet([20, 4, 1, 1], VERTICES))
    faces = rng.permuted(np.tile(np.arange(VERTICES), (FACES, 1))[:, :12], axis=1)[:, :3]
    faces = (faces + rng.integers(0, VERTICES, (FACES, 1))) % VERTICES
    return {
        "v_template": template,
        "shapedirs": rng.normal(0, 0.01, (VERTICES, 3, 10)),
        "posedirs": rng.normal(0, 0.004, (VERTICES, 3, POSE_FEATURES)).astype(np.float32),
        "J_regressor": scipy.sparse.csc_matrix(regressor),
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *SMPL24.parents[1:]], np.arange(24)], dtype=np.uint32),
        "f": faces.astype(np.uint32),
        "bs_style": "lbs",
    }


def random_smplx_fields(kind: str, seed: int = 0) -> dict[str, Any]:
    """Return arrays with the names of SMPL-H's or SMPL-X's files.

    Vertices lie around the bones; each hand has five fingers of three joints, which the mean pose bends.
    """
    vertices, faces, joints = SIZES[kind]
    random = np.random.default_rng(seed)
    face = 3 if kind == "smplx" else 0
    wrists = SMPL24.indices(("left_wrist", "right_wrist"))
    parents = [*SMPL24.parents[:22], *[SMPL24.index("head")] * face]
    for wrist in wrists:
        for _ in range(5):
            parents += [wrist, len(parents), len(parents) + 1]
    rest = t_pose_joints()[np.minimum(np.arange(joints), 23)] + random.normal(0, 0.02, (joints, 3))
    owner = np.arange(vertices) % joints
    regressor = np.zeros((joints, vertices))
    regressor[np.arange(joints), np.arange(joints)] = 1
    template = rest[owner] + random.normal(0, 0.05, (vertices, 3))
    weights = np.zeros((vertices, joints))
    slots = np.stack((owner, np.maximum(np.array(parents)[owner], 0), random.integers(0, joints, vertices)), 1)
    np.add.at(weights, (np.arange(vertices)[:, None], slots), random.dirichlet([20, 4, 1], vertices))
    return {
        "v_template": template,
        "shapedirs": random.normal(0, 0.01, (vertices, 3, 20)),
        "posedirs": (0.004 * random.standard_normal((vertices, 3, 9 * (joints - 1)), np.float32)).astype(np.float16),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *parents[1:]], np.arange(joints)], dtype=np.uint32),
        "f": random.integers(0, vertices, (faces, 3)).astype(np.uint32),
        **{f"hands_mean{side}": random.normal(0, 0.4, 45) for side in "lr"},
    }


def write_smpl_pickle(path: Path, fields: dict[str, Any], protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(fields, protocol=protocol))
    return path


def write_smpl_npz(path: Path, fields: dict[str, Any]) -> Path:
    dense = {name: v.toarray() if scipy.sparse.issparse(v) else v for name, v in fields.items()}
    np.savez(path, **dense)
    return path
