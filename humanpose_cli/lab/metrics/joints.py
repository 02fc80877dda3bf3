"""Sets of joints that errors are averaged over, as in published protocols, and their positions on a posed body.

A set names joints, and root joints whose mean is aligned with the truth before distances are measured. On bodies,
joints are the model's joints, its landmarks, or linear in its vertices (a joint regressor). Five families are in use:
- smpl24: the joints that bones rotate about (UP-3D; EMDB's evaluator, TRAM, WHAM since March 2024);
- smpl24-mesh: the same by each model's regressor, on the posed mesh (WHAM's paper on EMDB); smpl24-neutral: by
  the neutral model's regressor for both meshes (CameraHMR, TokenHMR and GVHMR on EMDB and RICH);
- h36m14, h36m17: on the SMPL mesh by Human3.6M's regressor, true and predicted alike (3DPW; SPIN, HMR, WHAM);
- hmr14: on the SMPL mesh by HMR's regressor SMPL_to_J19 (HMR 2.0 and TokenHMR on 3DPW);
- mocap14, mocap17: the truth was measured in a laboratory (Human3.6M, HumanEva, MPI-INF-3DHP).
lsp14 are the joints of Leeds Sports Pose on the body itself, without a regressor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.core.conventions import H36M17, SMPL24, skeleton_by_name
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.files.checks import existing_file
from humanpose_cli.files.npz_files import read_npy
from humanpose_cli.files.restricted_pickle import read_pickle

JointSetName = Literal[
    "smpl24", "smpl24-mesh", "smpl24-neutral", "h36m14", "h36m17", "hmr14", "lsp14", "mocap14", "mocap17"
]
RootName = Literal["pelvis", "hips", "none"]

# SMPL's H36M regressor, as public code shares it: the legs in the other order than the data set's own joints.
_REGRESSED = (
    *("pelvis", "left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle"),
    *("spine", "thorax", "nose", "head_top"),
    *("left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
)
_LSP = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
)
# HMR's, in the order of SMPL_to_J19: of LSP, then the pelvis and thorax of MPII and three of Human3.6M.
_HMR19 = (*_LSP, "neck", "head_top", "pelvis", "thorax", "spine", "jaw", "head")
_H36M14 = (*_LSP, "thorax", "head_top")  # rows 6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10 of the regressor
_ROOTS: dict[RootName, tuple[str, ...]] = {"pelvis": ("pelvis",), "hips": ("left_hip", "right_hip"), "none": ()}
_SUM_TOLERANCE = 1e-3
_REGRESSORS = {len(_REGRESSED): _REGRESSED, len(_HMR19): _HMR19}


@dataclass(frozen=True, eq=False)
class JointRegressor:
    """Joints as weighted means of a mesh's vertices.

    Attributes:
        matrix: (J, V) float32. The weights; rows sum to 1.
        names: The names of the J joints.
    """

    matrix: Tensor
    names: tuple[str, ...] = _REGRESSED

    @classmethod
    def read(cls, path: Path | str) -> JointRegressor:
        """Read a regressor of SMPL's mesh.

        Args:
            path: J_regressor_h36m.npy, 17 × 6890, as SPIN and others share it, or HMR's SMPL_to_J19.pkl, 19 × 6890.

        Raises:
            InputError: If it is another file.
        """
        path = Path(path)
        if not path.is_file():
            remedy = (
                "J_regressor_h36m.npy of SPIN's data, or SMPL_to_J19.pkl of HMR 2.0's; their makers hold the rights"
            )
            raise InputError(path, "is no file", expected="a joint regressor (.npy or .pkl)", remedy=remedy)
        is_pickle = path.suffix.lower() == ".pkl"
        matrix = np.asarray(read_pickle(path) if is_pickle else read_npy(path))
        expected = " or ".join(f"({count}, 6890)" for count in _REGRESSORS)
        if (
            matrix.ndim != 2
            or len(matrix) not in _REGRESSORS
            or matrix.shape[1] != 6890
            or matrix.dtype.kind not in "fiu"
        ):
            raise InputError(path, "is no joint regressor of SMPL", expected=expected, got=f"{matrix.shape}")
        sums = matrix.astype(np.float64).sum(1)
        if not np.allclose(sums, 1, atol=_SUM_TOLERANCE):
            got = f"{np.nanmin(sums):.3g} to {np.nanmax(sums):.3g}"
            raise InputError(path, "has rows that do not sum to 1", expected="means of vertices", got=got)
        return cls(torch.from_numpy(matrix.astype(np.float32)), _REGRESSORS[len(matrix)])

    def of_mesh(self, vertices: Tensor, template: Tensor, name: str) -> Tensor:
        """Compute the joints of meshes of any model.

        Args:
            vertices: (B, V, 3) float. The meshes.
            template: (V, 3) float. The resting mesh.
            name: The name of the model, for messages.

        Returns:
            (B, J, 3) float. The joints.

        Raises:
            UsageError: If the mesh has another size, or if left and right are swapped.
        """
        if vertices.shape[1] != self.matrix.shape[1]:
            got, remedy = f"{vertices.shape[1]} of {name}", "`smplx_to_smpl` makes SMPL's mesh of SMPL-X's"
            problem = "is for another mesh"
            raise UsageError("joint regressor", problem, expected="6890 vertices of SMPL", got=got, remedy=remedy)
        rest = self.matrix.to(template) @ template  # x to the person's left
        for name in ("hip", "knee", "shoulder", "wrist"):
            left, right = (float(rest[self.names.index(f"{side}_{name}"), 0]) for side in ("left", "right"))
            if left <= right:
                problem = f"has its rows in another order: the left {name} is on the right"
                raise UsageError("joint regressor", problem, expected=", ".join(self.names))
        return torch.einsum("jv,bvc->bjc", self.matrix.to(vertices), vertices)


_SMPL, _SMPLX = 6890, 10475  # vertices


@dataclass(frozen=True, eq=False)
class MeshConversion:
    """Convert meshes of SMPL-X to meshes of SMPL.

    Attributes:
        matrix: (6890, 10475) float32, sparse. Each row holds the weights of a vertex of SMPL.
    """

    matrix: Tensor

    @classmethod
    def read(cls, path: Path | str) -> MeshConversion:
        """Read a conversion.

        Args:
            path: A .npy file of that shape, or a pickle with it as `matrix` (smplx2smpl.pkl of WHAM and CameraHMR) or
                as the first half of `mtx` (smplx2smpl_deftrafo_setup.pkl of SMPL-X's owners).

        Raises:
            InputError: If it is another file.
        """
        path = existing_file(Path(path), "a matrix from SMPL-X's to SMPL's vertices")
        dense = 2 * _SMPL * _SMPLX * np.dtype(np.float64).itemsize  # of the owners' file, which is sparse
        content = read_npy(path) if path.suffix.lower() == ".npy" else read_pickle(path, more=dense)
        if isinstance(content, dict):
            content = content.get("matrix", content.get("mtx"))
        matrix = np.asarray(content)
        if matrix.shape == (_SMPL, 2 * _SMPLX):  # its second half is of the normals
            matrix = matrix[:, :_SMPLX]
        expected = f"({_SMPL}, {_SMPLX})"
        if matrix.shape != (_SMPL, _SMPLX) or matrix.dtype.kind not in "fiu":
            raise InputError(path, "is no matrix from SMPL-X to SMPL", expected=expected, got=str(matrix.shape))
        sums = matrix.sum(1, dtype=np.float64)
        if not np.allclose(sums, 1, atol=_SUM_TOLERANCE):
            got = f"{np.nanmin(sums):.3g} to {np.nanmax(sums):.3g}"
            raise InputError(path, "has rows that do not sum to 1", expected="means of vertices", got=got)
        rows, columns = np.nonzero(matrix)
        indices = torch.from_numpy(np.stack((rows, columns)))
        values = torch.from_numpy(matrix[rows, columns].astype(np.float32))
        return cls(torch.sparse_coo_tensor(indices, values, matrix.shape, check_invariants=True).coalesce())

    def __call__(self, vertices: Tensor) -> Tensor:
        """Convert (B, 10475, 3) → (B, 6890, 3)."""
        columns = vertices.permute(1, 0, 2).reshape(_SMPLX, -1)
        result = torch.sparse.mm(self.matrix.to(vertices), columns)
        return result.reshape(_SMPL, len(vertices), 3).permute(1, 0, 2)


@dataclass(frozen=True, eq=False)
class JointSet:
    """Joints to average, by name, and the root joints whose mean is aligned (none: absolute positions).

    Attributes:
        name: The name of the set.
        joints: The joints to average.
        root: The root joints.
        measured: Whether the truth are a data set's joints (h36m17) instead of a body's.
        regressor: The regressor of the joints on meshes. None means the body's joints and landmarks.
        of_model: Whether a SMPL model's regressor is used: each body's own if there is no `regressor`.
        conversion: Converts meshes of SMPL-X to SMPL's before joints and vertices are compared. None leaves them.
    """

    name: str
    joints: tuple[str, ...]
    root: tuple[str, ...] = ("pelvis",)
    measured: bool = False
    regressor: JointRegressor | None = None
    of_model: bool = False
    conversion: MeshConversion | None = None

    @property
    def of_mesh(self) -> bool:
        """Whether the joints need a body's vertices."""
        return self.regressor is not None or self.of_model

    @property
    def points(self) -> tuple[str, ...]:
        """The joints, then root joints that are not among them."""
        return (*self.joints, *(name for name in self.root if name not in self.joints))

    @property
    def rows(self) -> list[int]:
        """The rows of the root joints in `points`."""
        return [self.points.index(name) for name in self.root]

    def of_body(self, body: Body, posed_body: PosedBody, betas: Tensor) -> Tensor:
        """Return the positions of `points` on a posed body.

        Args:
            body: The body.
            posed_body: The posed body, with its vertices.
            betas: (B, S) float. Its shapes.

        Returns:
            (B, P, 3) float, metres.

        Raises:
            UsageError: If the regressor is for another body, or if the body has none of its own.
        """
        if self.of_model and self.regressor is None:
            if body.joint_regressor is None:
                problem = f"{self.name} are found by the regressor of a SMPL model"
                raise UsageError("joints", problem, got=f"body {body.name}", remedy="`body=smpl:FILE`, or smpl24")
            return body.joint_regressor[SMPL24.indices(self.points)] @ posed_body.surface
        if self.regressor is not None:
            _, vertices = self.surface(body, posed_body)
            template = body.template[None]
            if len(body.template) != vertices.shape[1] and self.conversion is not None:
                template = self.conversion(template)
            joints = self.regressor.of_mesh(vertices, template[0], body.name)
            return joints[:, [self.regressor.names.index(name) for name in self.points]]
        if self.joints == SMPL24.joint_names:
            return posed_body.joints[:, SMPL24.indices(self.points)]
        landmarks = body.pose_landmarks(H36M17.name, posed_body, betas)
        if self.measured:
            return landmarks[:, H36M17.indices(self.points)]
        both = torch.cat((posed_body.joints, landmarks), 1)
        names = (*SMPL24.joint_names, *H36M17.joint_names)
        return both[:, [names.index(name) for name in self.points]]

    def surface(self, body: Body, posed_body: PosedBody) -> tuple[str, Tensor]:
        """Return kind and vertices of a posed body's mesh, converted if there is a `conversion`.

        Args:
            body: The body.
            posed_body: The posed body, with its vertices.

        Returns:
            The kind, such as "smpl", and (B, V, 3) float, metres.
        """
        kind = body.name.partition("-")[0]
        if self.conversion is None or kind != "smplx":
            return kind, posed_body.surface
        return "smpl", self.conversion(posed_body.surface)

    def from_labels(self, joints: NDArray[np.floating]) -> NDArray[np.float64]:
        """Select `points` from a data set's joints.

        Args:
            joints: (N, 17, 4) float. Joints of h36m17 with confidence.

        Returns:
            (N, P, 3) float64. The points, NaN if unknown.
        """
        points = self.select(H36M17.name, joints)
        return np.where(np.nan_to_num(points[..., 3:]) > 0, points[..., :3], np.nan)

    def select(self, skeleton: str, joints: NDArray[np.floating]) -> NDArray[np.float64]:
        """Select `points` from the joints of a skeleton.

        Args:
            skeleton: The name of the skeleton.
            joints: (N, J, …) float. Its joints.

        Returns:
            (N, P, …) float64. The points.

        Raises:
            UsageError: If the skeleton lacks one.
        """
        names = skeleton_by_name(skeleton)
        missing = [name for name in self.points if name not in names]
        if missing:
            expected = ", ".join(missing)
            raise UsageError("joints", f"{self.name} are not among those of {skeleton}", expected=expected)
        return np.asarray(joints, np.float64)[:, names.indices(self.points)]

    @property
    def root_name(self) -> RootName:
        """The name of the root."""
        return next(name for name, joints in _ROOTS.items() if joints == self.root)

    @property
    def text(self) -> str:
        """A description for reports: joints, regressor and root."""
        by = ""
        if self.regressor is not None:
            by = {_REGRESSED: ", by the H36M regressor", _HMR19: ", by SMPL_to_J19"}.get(
                self.regressor.names, ", by the neutral model's regressor"
            )
        return f"{self.name}{by}, root {self.root_name}"


SMPL24_JOINTS = JointSet("smpl24", SMPL24.joint_names)
"""The joints of the model, with aligned pelvises."""
_SETS: dict[JointSetName, JointSet] = {
    "smpl24": SMPL24_JOINTS,
    "smpl24-mesh": JointSet("smpl24-mesh", SMPL24.joint_names, _ROOTS["hips"], of_model=True),
    "smpl24-neutral": JointSet("smpl24-neutral", SMPL24.joint_names, _ROOTS["hips"], of_model=True),
    "h36m14": JointSet("h36m14", _H36M14),
    "hmr14": JointSet("hmr14", (*_LSP, "neck", "head")),
    "h36m17": JointSet("h36m17", H36M17.joint_names),
    "lsp14": JointSet("lsp14", (*_LSP, "neck", "head_top"), ("left_hip", "right_hip")),
    "mocap14": JointSet("mocap14", _H36M14, measured=True),
    "mocap17": JointSet("mocap17", H36M17.joint_names, measured=True),
}
assert set(_SETS) == set(get_args(JointSetName))


def joint_set(
    name: JointSetName,
    root: RootName | None = None,
    regressor: Path | str | None = None,
    neutral: Body | None = None,
    smplx_to_smpl: Path | str | None = None,
) -> JointSet:
    """Build a set of joints by its name.

    Args:
        name: The name.
        root: The root. None means the usual one: the pelvis, or for lsp14, smpl24-mesh and smpl24-neutral mid-hip.
        regressor: The file of a `JointRegressor`.
        neutral: SMPL's neutral model, for smpl24-neutral.
        smplx_to_smpl: The file of a `MeshConversion`.

    Raises:
        UsageError: If a regressor or model is missing, wrong, or has no effect.
    """
    joints = _SETS[name]
    if regressor is None and name.startswith(("h36m", "hmr")):
        file = "SMPL_to_J19.pkl" if name == "hmr14" else "J_regressor_h36m.npy"
        remedy = "or choose mocap, lsp14"
        raise UsageError(
            "joints", f"{name} need a joint regressor", expected=f"`joint_regressor`, {file}", remedy=remedy
        )
    if name == "smpl24-neutral":
        if neutral is None or neutral.joint_regressor is None:
            remedy = "`body=smpl:SMPL_NEUTRAL.pkl`, or its file among `models`"
            raise UsageError("joints", f"{name} need SMPL's neutral model", remedy=remedy)
        neutral_regressor = JointRegressor(neutral.joint_regressor.detach().cpu(), SMPL24.joint_names)
        joints = replace(joints, regressor=neutral_regressor)
    if regressor is not None:
        if not name.startswith(("h36m", "hmr", "mocap")):
            raise UsageError("joint_regressor", f"has no effect with {name}", expected="h36m14, h36m17, hmr14 or mocap")
        joints = replace(joints, regressor=JointRegressor.read(regressor))
        expected = _HMR19 if name == "hmr14" else _REGRESSED
        if joints.regressor is not None and joints.regressor.names != expected:
            got, expected_text = len(joints.regressor.names), f"one of {len(expected)} joints"
            raise UsageError(
                "joint_regressor", f"is not the one of {name}", expected=expected_text, got=f"{got} joints"
            )
    if smplx_to_smpl is not None:
        if joints.regressor is None:
            problem = f"has no effect with {name}"
            raise UsageError("smplx_to_smpl", problem, expected="joints by a regressor, such as smpl24-neutral")
        joints = replace(joints, conversion=MeshConversion.read(smplx_to_smpl))
    return joints if root is None else replace(joints, root=_ROOTS[root])
