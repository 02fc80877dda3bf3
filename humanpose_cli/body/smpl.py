"""Read the licensed model files of SMPL, SMPL-H and SMPL-X (neutral, male, female; .pkl or .npz) as a `Body`.

The files must come from their owners (https://smpl.is.tue.mpg.de, https://mano.is.tue.mpg.de,
https://smpl-x.is.tue.mpg.de). They have no texture coordinates, part labels or landmarks. Labels are the strongest
bone, texture coordinates an atlas of the parts. Landmarks are joints, vertices listed here, and points
transferred from the default body: lids, mouth, chin and crown by a similarity between the two faces, to the nearest
vertex of the head; knuckles by the hand's length.

SMPL-H and SMPL-X have fingers, and the latter a jaw and eyes. Here they have SMPL's 24 joints: the first 22 are the
same, the hands rotate rigidly about the middle fingers' knuckles, and parts that the face's joints move rotate with the
head. Surfaces are exact if fingers are straight and the face is at rest, or, with `mean_hands`, if fingers
have the file's mean pose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import FACE13, Body, BodyArrays, LandmarkArrays, default_body
from humanpose_cli.body.model_files import check_body, model_file, read_model_arrays
from humanpose_cli.body.texture import part_atlas
from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, H36M17, REPOSING19, SMPL24, Skeleton
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.files.restricted_pickle import as_array
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.geometry.similarity import fit_similarity

BETAS = 10
_BODY_JOINTS = 22  # that all of these models have in common

# The vertices at landmarks, of SMPL and SMPL-H, which have one mesh, and of SMPL-X. Tests compare them with the package
# smplx.
_LANDMARK_VERTICES = {
    "nose": (332, 9120),
    "left_eye": (2800, 9448),
    "right_eye": (6260, 9929),
    "left_ear": (583, 6),
    "right_ear": (4071, 616),
    "left_heel": (3387, 8846),
    "right_heel": (6787, 8635),
    "left_foot_index": (3216, 5770),
    "right_foot_index": (6617, 8463),
}
_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


@dataclass(frozen=True)
class _Layout:
    """One kind of model: its array sizes, the middle-finger joints that become hands, and its column of landmarks."""

    title: str
    vertices: int
    faces: int
    joints: int
    knuckles: tuple[int, ...] = ()
    mesh: int = 0

    @property
    def fields(self) -> dict[str, tuple[int | None, ...]]:
        """Shapes of the arrays, by their names in the file."""
        return {
            "v_template": (self.vertices, 3),
            "shapedirs": (self.vertices, 3, None),
            "posedirs": (self.vertices, 3, 9 * (self.joints - 1)),
            "J_regressor": (self.joints, self.vertices),
            "weights": (self.vertices, self.joints),
            "kintree_table": (2, self.joints),
            "f": (self.faces, 3),
        }

    def shape_components(self, count: int) -> int:
        """Return how many of the file's `count` blend shapes are shapes; in SMPL-X's files, expressions follow."""
        if self.title != "SMPL-X":
            return count
        # 300 of the 400 in the files of version 1.1, 10 of the 20 in earlier ones, as in the package smplx.
        return 300 if count >= 400 else BETAS

    @property
    def rows(self) -> list[int]:
        """The joint of the file for each joint of SMPL24."""
        return [*range(_BODY_JOINTS), *(self.knuckles or range(_BODY_JOINTS, len(SMPL24)))]

    @property
    def owners(self) -> list[int]:
        """The joint of SMPL24 that moves each joint of the file."""
        if not self.knuckles:
            return list(range(self.joints))
        fingers = 15
        face = self.joints - _BODY_JOINTS - 2 * fingers
        left, right = SMPL24.indices(("left_hand", "right_hand"))
        return [*range(_BODY_JOINTS), *[SMPL24.index("head")] * face, *[left] * fingers, *[right] * fingers]


_LAYOUTS = {
    "smpl": _Layout("SMPL", 6890, 13776, 24),
    "smplh": _Layout("SMPL-H", 6890, 13776, 52, knuckles=(25, 40)),
    "smplx": _Layout("SMPL-X", 10475, 20908, 55, (28, 43), mesh=1),
}
VERTICES, FACES = _LAYOUTS["smpl"].vertices, _LAYOUTS["smpl"].faces
_FIELDS = tuple(_LAYOUTS["smpl"].fields)
_MEAN_HANDS = ("hands_meanl", "hands_meanr")
_OPTIONAL = ("vert_sym_idxs", *_MEAN_HANDS)
_FINGERS = 30  # joints of both hands, which are a model's last


def load_smpl(path: str | Path, shape_count: int = BETAS, *, mean_hands: bool = False) -> Body:
    """Read a model file of SMPL, SMPL-H or SMPL-X with its pose blend shapes.

    The body's name begins with "smpl", "smplh" or "smplx" and ends with the gender in the file's name.

    Args:
        path: The model file.
        shape_count: The number of betas, if the file has that many; fits have 10, labels of some data sets more.
        mean_hands: Whether fingers of SMPL-H and SMPL-X have the file's mean pose, as with `flat_hand_mean=False` in
            the package smplx.

    Raises:
        UnavailableError: If there is no such file.
        InputError: If the file is damaged, unsafe, or another kind of model.
    """
    kind, fields = read_model(path)
    return Body(_to_body(Path(path), kind, fields, shape_count, mean_hands=mean_hands))


def read_model(path: str | Path) -> tuple[str, dict[str, NDArray[Any]]]:
    """Read the kind of model ("smpl", "smplh" or "smplx") and the arrays of its file.

    Args:
        path: The model file.

    Raises:
        UnavailableError: If there is no such file.
        InputError: If the file is damaged, unsafe, or another kind of model.
    """
    path = model_file(path)
    return _check(path, read_model_arrays(path, _FIELDS, "is not a SMPL model", optional=_OPTIONAL))


def _check(path: Path, table: Mapping[str, Any]) -> tuple[str, dict[str, NDArray[Any]]]:
    """Check the file, and return the kind of model and its arrays in the file's joints."""
    fields: dict[str, NDArray[Any]] = {}
    for name in _FIELDS:
        try:
            fields[name] = as_array(table[name])
        except ValueError as error:
            raise InputError(path, f"{name} cannot be read", got=str(error)) from error
    joints = len(fields["J_regressor"]) if fields["J_regressor"].ndim == 2 else 0
    kind = next((kind for kind, layout in _LAYOUTS.items() if layout.joints == joints), "smpl")
    layout = _LAYOUTS[kind]
    for name, shape in layout.fields.items():
        if not np.isfinite(fields[name]).all():
            raise InputError(path, f"{name} holds values that are not finite")
        got = fields[name].shape
        if len(got) != len(shape) or any(s not in (None, n) for s, n in zip(shape, got, strict=True)):
            raise InputError(
                path,
                f"{name} has not {layout.title}'s shape",
                expected=str(tuple("any" if s is None else s for s in shape)).replace("'", ""),
                got=str(got),
                remedy="SMPL, SMPL-H and SMPL-X are read; MANO and FLAME are other models",
            )
    if fields["shapedirs"].shape[2] < BETAS:
        raise InputError(path, "too few shape components", expected=str(BETAS), got=str(fields["shapedirs"].shape[2]))
    common = len(SMPL24) if kind == "smpl" else _BODY_JOINTS
    parents = fields["kintree_table"][0].astype(np.int64)[1:common]
    if parents.tolist() != list(SMPL24.parents[1:common]):
        raise InputError(path, f"kintree_table is not {layout.title}'s skeleton")
    sums = fields["weights"].sum(1)
    if not np.allclose(sums, 1, atol=1e-3):
        raise InputError(path, "skinning weights do not sum to 1", got=f"{sums.min():.3g} to {sums.max():.3g}")
    return kind, fields | {name: as_array(table[name]) for name in _OPTIONAL if name in table}


def _to_body(
    path: Path, kind: str, fields: Mapping[str, NDArray[Any]], shape_count: int, *, mean_hands: bool
) -> BodyArrays:
    layout = _LAYOUTS[kind]
    template = fields["v_template"].astype(np.float64)
    shape_size = min(shape_count, layout.shape_components(fields["shapedirs"].shape[2]))
    shape = fields["shapedirs"][..., :shape_size].astype(np.float64)
    regressor = fields["J_regressor"][layout.rows].astype(np.float64)
    joints, joint_shape = regressor @ template, np.einsum("jv,vcs->jcs", regressor, shape)
    if mean_hands and layout.knuckles:
        bent_mesh = _bend_fingers(path, fields, np.concatenate((template[..., None], shape), -1))
        template, shape = bent_mesh[..., 0], bent_mesh[..., 1:]
    pose = np.zeros((len(template), 3, 9 * (len(SMPL24) - 1)), np.float32)
    columns = 9 * (len(SMPL24) - 1 if kind == "smpl" else _BODY_JOINTS - 1)  # straight fingers move no vertex
    pose[..., :columns] = fields["posedirs"][..., :columns]
    skinning = fields["weights"].astype(np.float64) @ np.eye(len(SMPL24))[layout.owners]
    indices, weights = _strongest(skinning)
    labels = skinning.argmax(1).astype(np.int32)
    faces = fields["f"].astype(np.int32)
    if faces.min() < 0 or faces.max() >= layout.vertices:
        raise InputError(path, "f points to vertices that are not there", got=f"{faces.min()} to {faces.max()}")
    uv, uv_faces = part_atlas(template, faces, labels, joints)
    body = BodyArrays(
        name=_name(path, kind),
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
        joint_regressor=_float(regressor),
    )
    marks = {name: vertices[layout.mesh] for name, vertices in _LANDMARK_VERTICES.items()}
    return replace(body, landmarks=_landmarks(body, marks))


def _bend_fingers(path: Path, fields: Mapping[str, NDArray[Any]], mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bend the fingers of a resting mesh and its directions (V, 3, 1 + S); skinning is linear in the shape."""
    mean = np.concatenate([np.asarray(fields.get(name, ())).ravel() for name in _MEAN_HANDS])
    if mean.shape != (3 * _FINGERS,) or mean.dtype.kind != "f" or not np.isfinite(mean).all():
        raise InputError(path, "has no mean pose of the hands", expected=f"{' and '.join(_MEAN_HANDS)} (45,)")
    turns = axis_angle_to_matrix(torch.from_numpy(mean.astype(np.float64).reshape(-1, 3))).numpy()
    joints = np.einsum("jv,vcs->jcs", fields["J_regressor"].astype(np.float64), mesh)
    rotations, positions = np.tile(np.eye(3), (len(joints), 1, 1)), joints.copy()
    for joint, turn in enumerate(turns, len(joints) - _FINGERS):
        parent = int(fields["kintree_table"][0, joint])
        rotations[joint] = rotations[parent] @ turn
        positions[joint] = positions[parent] + rotations[parent] @ (joints[joint] - joints[parent])
    straight = mesh.copy()
    straight[..., 0] += fields["posedirs"][..., -9 * _FINGERS :] @ (turns - np.eye(3)).ravel()
    rotation_shift = np.einsum("vj,jab->vab", fields["weights"], rotations - np.eye(3)) @ straight
    return straight + rotation_shift + np.einsum("vj,jas->vas", fields["weights"], positions - rotations @ joints)


def _float(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32)


def _strongest(weights: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return bone indices and weights of all non-zero weights, with as many slots as the busiest vertex needs."""
    slots = max(4, int((weights > 0).sum(1).max()))
    order = np.argsort(-weights, axis=1, kind="stable")[:, :slots]
    strongest = np.take_along_axis(weights, order, 1)
    return order.astype(np.int32), _float(strongest / strongest.sum(1, keepdims=True))


def _mirror(
    template: NDArray[np.float64], joints: NDArray[np.float64], mirrors: NDArray[Any] | None
) -> NDArray[np.int32]:
    """Return the file's list of mirror vertices, or the vertices nearest to the mirror images."""
    count = len(template)
    if mirrors is not None and mirrors.shape == (count,) and mirrors.min() >= 0 and mirrors.max() < count:
        return mirrors.astype(np.int32)
    from scipy.spatial import cKDTree

    points = template - joints[SMPL24.index("pelvis")] * [1, 0, 0]
    return cKDTree(points).query(points * [-1, 1, 1])[1].astype(np.int32)


def _name(path: Path, kind: str) -> str:
    """Derive a name such as "smpl-female" from the usual file names."""
    # SMPL_FEMALE.pkl, basicModel_f_lbs_10_207_0_v1.0.0.pkl, and for SMPL-H female/model.npz.
    for text in (path.stem.lower(), path.parent.name.lower()):
        for gender, marks in {"neutral": ("neutral",), "female": ("female", "_f_"), "male": ("male", "_m_")}.items():
            if any(mark in text for mark in marks):
                return f"{kind}-{gender}"
    return kind


Array = NDArray[np.float64]

_JOINTS = {"spine": "spine2", "thorax": "neck"}
_KNUCKLES = tuple(f"{side}_{finger}" for side in ("left", "right") for finger in ("pinky", "index", "thumb"))


def _landmarks(body: BodyArrays, marks: dict[str, int]) -> dict[str, LandmarkArrays]:
    """Build the landmark sets of a model with pose blend shapes; `marks` are the vertices of landmarks, by name."""
    reference = _default_points()
    vertices = marks | _face_vertices(body, reference, marks)
    knuckles = {name: _knuckle(body, reference, name) for name in _KNUCKLES}
    sets = (BLAZEPOSE33, COCO17, H36M17, REPOSING19, FACE13)
    return {skeleton.name: _landmark_set(body, skeleton, vertices, knuckles) for skeleton in sets}


def _default_points() -> dict[str, Array]:
    """Return landmarks and joints of the default body's T pose, (3,) metres by name."""
    body = default_body(learned_landmarks=False)
    betas = torch.zeros(1, body.shape_count)
    t_pose = body.pose(torch.eye(3).expand(1, len(SMPL24), 3, 3), betas, vertices=False)
    points = dict(zip(SMPL24.joint_names, t_pose.joints[0].double().numpy(), strict=True))
    for skeleton in (BLAZEPOSE33, FACE13):
        positions = body.pose_landmarks(skeleton.name, t_pose, betas)[0].double().numpy()
        points |= {name: p for name, p in zip(skeleton.joint_names, positions, strict=True) if name not in SMPL24}
    return points


def _face_vertices(body: BodyArrays, reference: dict[str, Array], marks: dict[str, int]) -> dict[str, int]:
    """Return the vertices at the points of FACE13 that have no mark, by name."""
    names = [name for name in FACE13.joint_names if name not in marks]
    anchors = torch.from_numpy(np.stack([reference[name] for name in _FACE]))
    targets = torch.from_numpy(body.template[[marks[name] for name in _FACE]]).double()
    carry = fit_similarity(anchors, targets)
    positions = carry.apply(torch.from_numpy(np.stack([reference[name] for name in names]))).numpy()
    head = np.flatnonzero(body.part_labels == SMPL24.index("head"))
    candidates = head if head.size else np.arange(len(body.template))
    distance = np.linalg.norm(body.template[candidates][None] - positions[:, None], axis=-1)
    return dict(zip(names, candidates[distance.argmin(1)].tolist(), strict=True))


def _knuckle(body: BodyArrays, reference: dict[str, Array], name: str) -> tuple[Array, Array, int]:
    """Attach a point to the wrist: template (3,), directions (3, S), the wrist's row."""
    # Its offset from the wrist is the default body's, scaled by the distance from wrist to hand joint. Shapes move it
    # like the point of that bone at the same height.
    side = name.partition("_")[0]
    wrist, hand = SMPL24.indices((f"{side}_wrist", f"{side}_hand"))
    bone = reference[f"{side}_hand"] - reference[f"{side}_wrist"]
    offset = reference[name] - reference[f"{side}_wrist"]
    scale = np.linalg.norm(body.joint_template[hand] - body.joint_template[wrist]) / np.linalg.norm(bone)
    along = offset @ bone / (bone @ bone)
    slope = body.joint_directions[hand] - body.joint_directions[wrist]
    return (body.joint_template[wrist] + scale * offset, body.joint_directions[wrist] + along * slope, wrist)


def _landmark_set(
    body: BodyArrays, skeleton: Skeleton, vertices: dict[str, int], knuckles: dict[str, tuple[Array, Array, int]]
) -> LandmarkArrays:
    assert body.pose_directions is not None
    slots = body.bone_indices.shape[1]
    points = []
    for name in skeleton.joint_names:
        if name in vertices:
            arrays = (body.template, body.shape_directions, body.bone_indices, body.bone_weights, body.pose_directions)
            points.append(tuple(array[vertices[name]] for array in arrays))
            continue
        bone = SMPL24.index(_JOINTS.get(name, name)) if name not in knuckles else knuckles[name][2]
        anchor = knuckles.get(name, (body.joint_template[bone], body.joint_directions[bone]))[:2]
        first = np.arange(slots) == 0
        points.append((*anchor, bone * first, first, np.zeros_like(body.pose_directions[0])))
    template, directions, bones, weights, pose = (np.stack(column) for column in zip(*points, strict=True))
    return LandmarkArrays(skeleton, _float(template), _float(directions), bones.astype(np.int32), _float(weights), pose)


def load_models(paths: Iterable[Path | str], shape_count: int = BETAS, *, mean_hands: bool = False) -> dict[str, Body]:
    """Load models by gender ("neutral", "male", "female"), which is part of the files' names.

    Args:
        paths: The model files.
        shape_count: The number of betas.
        mean_hands: Whether fingers have the files' mean pose.

    Raises:
        UsageError: If two files have the same gender.
    """
    models: dict[str, Body] = {}
    for path in paths:
        model = load_smpl(path, shape_count, mean_hands=mean_hands)
        gender = model.name.partition("-")[2] or "neutral"
        if gender in models:
            raise UsageError(path, f"is a second {gender} model", remedy="give one file for each gender")
        models[gender] = model
    return models


def model_for(bodies: Mapping[str, Body], kind: str, gender: str) -> Body | None:
    """Return the model that a person's parameters belong to.

    A model named by its kind alone is the neutral one. Models of another gender are never returned, because the same
    betas mean another shape there.

    Args:
        bodies: Models by name.
        kind: "default", "smpl" and so on.
        gender: "neutral", "male", "female", or "" for neutral.

    Returns:
        The model, or None if there is none.
    """
    names = [f"{kind}-{gender or 'neutral'}", *([kind] if gender in ("", "neutral") else [])]
    return next((bodies[name] for name in names if kind and name in bodies), None)


def load_body(spec: str, shape_count: int = BETAS, *, mean_hands: bool = False) -> Body:
    """Load a body.

    Args:
        spec: "default", or "smpl:", "smplh:" or "smplx:" and the path of a model file.
        shape_count: The number of betas, if the file has that many.
        mean_hands: Whether fingers of SMPL-H and SMPL-X have the file's mean pose.

    Returns:
        The body.

    Raises:
        UsageError: If `spec` is something else.
        UnavailableError: If there is no such file.
        InputError: If the file is damaged or another model.

    Example:
        >>> body = hp.load_body("smpl:SMPL_NEUTRAL.pkl")
    """
    check_body(spec)
    kind, _, path = spec.partition(":")
    if spec == "default":
        return default_body()
    body = load_smpl(path, shape_count, mean_hands=mean_hands)
    model = body.name.partition("-")[0]
    if model != kind:
        raise InputError(path, "is another model", expected=kind, got=model, remedy=f"`body={model}:{path}`")
    return body
