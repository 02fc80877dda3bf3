"""SMPL's licensed model files (neutral, male, female; .pkl or .npz) as the same RiggedBody as the default body.

The files themselves must come from their owner (https://smpl.is.tue.mpg.de). They have no texture coordinates, part
labels or landmarks: labels are the strongest bone, texture coordinates an atlas of the parts (`atlas`), landmarks a
mixture of joints, well-known vertices and points carried over from the default body (`smpl_landmarks`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.bodies.atlas import part_atlas
from humanpose_cli.bodies.body_data import BodyArrays
from humanpose_cli.bodies.restricted_pickle import as_array, read_pickle
from humanpose_cli.bodies.rigged_body import RiggedBody
from humanpose_cli.bodies.smpl_landmarks import smpl_landmarks
from humanpose_cli.conventions import SMPL24
from humanpose_cli.errors import InputError, UnavailableError

__all__ = ["load_smpl"]

VERTICES, FACES, BETAS = 6890, 13776, 10
_FIELDS: dict[str, tuple[int | None, ...]] = {
    "v_template": (VERTICES, 3),
    "shapedirs": (VERTICES, 3, None),
    "posedirs": (VERTICES, 3, 9 * (len(SMPL24) - 1)),
    "J_regressor": (len(SMPL24), VERTICES),
    "weights": (VERTICES, len(SMPL24)),
    "kintree_table": (2, len(SMPL24)),
    "f": (FACES, 3),
}


def load_smpl(path: str | Path) -> RiggedBody:
    """Read a SMPL model file; its first 10 shape components are kept, and its pose blend shapes.

    UnavailableError when there is no such file, InputError when it is damaged, unsafe or another kind of model.
    """
    path = Path(path)
    if not path.is_file():
        raise UnavailableError(
            path,
            "no SMPL model file is there",
            remedy="register at https://smpl.is.tue.mpg.de, download SMPL 1.1.0 and give its .pkl file, "
            "or use the default body",
        )
    fields = _check(path, _read(path))
    return RiggedBody(_to_body(path, fields))


def _read(path: Path) -> Mapping[str, Any]:
    if not zipfile.is_zipfile(path):
        stored = read_pickle(path)
        if not isinstance(stored, dict):
            raise InputError(path, "is not a SMPL model", expected="a table of arrays", got=type(stored).__name__)
        return stored
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in _FIELDS or name == "vert_sym_idxs"}
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(path, "is not a readable .npz model", got=str(error)) from error


def _check(path: Path, stored: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    missing = [name for name in _FIELDS if name not in stored]
    if missing:
        raise InputError(path, "is not a SMPL model", got=f"no {', '.join(missing)} in it")
    fields: dict[str, NDArray[Any]] = {}
    for name, shape in _FIELDS.items():
        try:
            fields[name] = as_array(stored[name])
        except ValueError as error:
            raise InputError(path, f"{name} cannot be read", got=str(error)) from error
        if not np.isfinite(fields[name]).all():
            raise InputError(path, f"{name} holds values that are not finite")
        found = fields[name].shape
        if len(found) != len(shape) or any(s not in (None, n) for s, n in zip(shape, found, strict=True)):
            raise InputError(
                path,
                f"{name} has not SMPL's shape",
                expected=str(tuple("any" if s is None else s for s in shape)).replace("'", ""),
                got=str(found),
                remedy="SMPL-H, SMPL-X and MANO files are other models",
            )
    if fields["shapedirs"].shape[2] < BETAS:
        raise InputError(path, "too few shape components", expected=str(BETAS), got=str(fields["shapedirs"].shape[2]))
    parents = fields["kintree_table"][0].astype(np.int64)[1:]
    if parents.tolist() != list(SMPL24.parents[1:]):
        raise InputError(path, "kintree_table is not SMPL's skeleton")
    sums = fields["weights"].sum(1)
    if not np.allclose(sums, 1, atol=1e-3):
        raise InputError(path, "skinning weights do not sum to 1", got=f"{sums.min():.3g} to {sums.max():.3g}")
    if "vert_sym_idxs" in stored:
        fields["vert_sym_idxs"] = as_array(stored["vert_sym_idxs"])
    return fields


def _to_body(path: Path, fields: Mapping[str, NDArray[Any]]) -> BodyArrays:
    template = fields["v_template"].astype(np.float64)
    shape = fields["shapedirs"][..., :BETAS].astype(np.float64)
    regressor = fields["J_regressor"].astype(np.float64)
    joints, joint_shape = regressor @ template, np.einsum("jv,vcs->jcs", regressor, shape)
    pose = np.ascontiguousarray(fields["posedirs"], dtype=np.float32)
    indices, weights = _strongest(fields["weights"].astype(np.float64))
    labels = fields["weights"].argmax(1).astype(np.int32)
    faces = fields["f"].astype(np.int32)
    if faces.min() < 0 or faces.max() >= VERTICES:
        raise InputError(path, "f points to vertices that are not there", got=f"{faces.min()} to {faces.max()}")
    uv, uv_faces = part_atlas(template, faces, labels, joints)
    body = BodyArrays(
        name=_name(path),
        source=str(path),
        template=_float(template),
        shape_directions=_float(shape),
        joint_template=_float(joints),
        joint_directions=_float(joint_shape),
        rest_rotations=np.tile(np.eye(3, dtype=np.float32), (len(SMPL24), 1, 1)),  # SMPL's rest is its T pose
        bone_indices=indices,
        bone_weights=weights,
        faces=faces,
        uv=uv,
        uv_faces=uv_faces,
        part_labels=labels,
        mirror_vertices=_mirror(template, joints, fields.get("vert_sym_idxs")),
        pose_directions=pose,
    )
    return replace(body, landmarks=smpl_landmarks(body))


def _float(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32)


def _strongest(weights: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """All weights that are not zero, in as many slots as the busiest vertex needs: four in SMPL's own files."""
    slots = max(4, int((weights > 0).sum(1).max()))
    order = np.argsort(-weights, axis=1, kind="stable")[:, :slots]
    kept = np.take_along_axis(weights, order, 1)
    return order.astype(np.int32), _float(kept / kept.sum(1, keepdims=True))


def _mirror(
    template: NDArray[np.float64], joints: NDArray[np.float64], listed: NDArray[Any] | None
) -> NDArray[np.int32]:
    """The file's own list of mirror vertices, or the vertex nearest to each mirror image."""
    if listed is not None and listed.shape == (VERTICES,) and listed.min() >= 0 and listed.max() < VERTICES:
        return listed.astype(np.int32)
    from scipy.spatial import cKDTree

    centred = template - joints[SMPL24.index("pelvis")] * [1, 0, 0]
    return cKDTree(centred).query(centred * [-1, 1, 1])[1].astype(np.int32)


def _name(path: Path) -> str:
    """'smpl-female' and the like, from the usual names: SMPL_FEMALE.pkl, basicModel_f_lbs_10_207_0_v1.0.0.pkl."""
    stem = path.stem.lower()
    for gender, marks in {"neutral": ("neutral",), "female": ("female", "_f_"), "male": ("male", "_m_")}.items():
        if any(mark in stem for mark in marks):
            return f"smpl-{gender}"
    return "smpl"
