"""Published protocols: each gives the figure that the public evaluator's formula gives for the same random bodies.

The formulas are written down here once more, from vertices, bone joints and regressors alone, with scipy for the
alignments.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import scipy.sparse
import torch
from helpers.errors import raises
from helpers.smpl_model_file import random_smpl_fields, random_smplx_fields, write_smpl_npz, write_smpl_pickle
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.body.smpl import load_smpl
from humanpose_cli.core.conventions import H36M17
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.cache.schema import Header
from humanpose_cli.lab.evaluate.intervals import summarise
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.evaluate.protocols import PROTOCOLS, BodyProtocol, ImageProtocol, apply_protocol
from humanpose_cli.lab.metrics.bodies import Bodies, BodyErrors, body_errors
from humanpose_cli.lab.metrics.joints import JointSet, MeshConversion, joint_set

VERTICES, FRAMES = 6890, 12
BODIES = {name: one for name, one in PROTOCOLS.items() if isinstance(one, BodyProtocol)}
H36M_TO_J14 = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]  # SPIN, constants.py
HMR2_KEYPOINTS = [*range(13), 18]  # of SMPL_to_J19: 25 … 37 and 43 of 44, datasets_eval.yaml; the pelvis is 39
SAME = {
    **dict.fromkeys(("3dpw-camerahmr",), "3dpw-spin"),
    **dict.fromkeys(("3dpw-tokenhmr",), "3dpw-hmr2"),
    **dict.fromkeys(("emdb1-wham", "emdb1-tram", "emdb2-wham", "emdb2-tram"), "emdb1-emdb"),
    **dict.fromkeys(("emdb1-gvhmr", "emdb2-gvhmr"), "emdb1-camerahmr"),
    "rich-gvhmr": "rich-wham",
}


class Fixture:
    """Models in SMPL's format, and a person of each in the same frames: predicted neutral, true male; under RICH's
    protocols the truth is of SMPL-X's male model.
    """

    def __init__(self, folder: Path) -> None:
        fields = [random_smpl_fields(seed) for seed in (0, 1)]
        self.shapes = [(one["v_template"], one["shapedirs"]) for one in fields]
        self.neutral, self.male = (
            load_smpl(write_smpl_pickle(folder / f"SMPL_{name}.pkl", one))
            for name, one in zip(("NEUTRAL", "MALE"), fields, strict=True)
        )
        self.regressors = [one["J_regressor"].toarray() for one in fields]
        generator = torch.Generator().manual_seed(2)
        self.bodies = [
            Bodies(
                sample_poses(FRAMES, generator),
                torch.randn(FRAMES, 10, generator=generator),
                torch.tensor([0.1, 0.2, 4.0]) + 0.1 * torch.randn(FRAMES, 3, generator=generator),
            )
            for _ in range(2)
        ]
        file = write_smpl_npz(folder / "SMPLX_MALE.npz", random_smplx_fields("smplx", 4))
        self.smplx = {straight: load_smpl(file, mean_hands=not straight) for straight in (True, False)}
        self.posed = [some.posed(rig) for some, rig in zip(self.bodies, (self.neutral, self.male), strict=True)]
        self.posed_smplx = {straight: self.bodies[1].posed(rig) for straight, rig in self.smplx.items()}
        random = np.random.default_rng(3)
        to_smpl = np.zeros((VERTICES, 10475), np.float32)
        for vertex in range(VERTICES):  # three vertices of SMPL-X's at the same joint
            joint = vertex % 24 if vertex % 24 < 22 else vertex % 24 - 2
            chosen = joint + 55 * random.choice(10475 // 55, 3, replace=False)
            to_smpl[vertex, chosen] = random.dirichlet(np.ones(3))
        self.files: dict[int | str, Path] = {"smplx": folder / "smplx2smpl.npy"}
        np.save(self.files["smplx"], to_smpl)
        self.to_smpl = scipy.sparse.csr_matrix(to_smpl, dtype=np.float64)
        self.joint_sets: dict[tuple[object, ...], JointSet] = {}
        random = np.random.default_rng(3)
        left = np.argsort(self.neutral.template[:, 0].numpy())
        for rows, name, lefts in ((17, "h36m.npy", (1, 2, 3, 11, 12, 13)), (19, "j19.npy", (3, 4, 5, 9, 10, 11))):
            matrix = np.zeros((rows, VERTICES), np.float32)
            for row in range(rows):  # vertices of the left for joints of the left
                pool = left[-2000:] if row in lefts else left[:2000]
                matrix[row, random.choice(pool, 20, replace=False)] = 1 / 20
            self.files[rows] = folder / name
            np.save(self.files[rows], matrix)

    def joints(self, protocol: BodyProtocol) -> JointSet:
        file = {"h36m14": 17, "hmr14": 19}.get(protocol.joints)
        regressor = None if file is None else self.files[file]
        neutral = self.neutral if protocol.joints == "smpl24-neutral" else None
        conversion = self.files["smplx"] if protocol.source == "rich" else None
        key = (protocol.joints, protocol.root, conversion)
        if key not in self.joint_sets:  # a conversion takes seconds to read
            self.joint_sets[key] = joint_set(protocol.joints, protocol.root, regressor, neutral, conversion)
        return self.joint_sets[key]

    def found(self, protocol: BodyProtocol) -> BodyErrors:
        focal, centre = torch.full((FRAMES,), 500.0), torch.full((FRAMES, 2), 256.0)
        joints = self.joints(protocol)
        true = self.smplx[protocol.straight_hands] if protocol.source == "rich" else self.male
        return body_errors(self.neutral, *self.bodies, focal, centre, true_body=true, joints=joints)

    def errors(self, protocol: BodyProtocol) -> tuple[float, ...]:
        found = self.found(protocol)
        return tuple(1e3 * float(column.mean()) for column in (found.mpjpe, found.pa_mpjpe, found.pve))

    def derived(self, name: str) -> tuple[float, ...]:
        """By the public evaluator's formula."""
        meshes = [posed.vertices.double().numpy() for posed in self.posed if posed.vertices is not None]
        bones = [posed.joints.double().numpy() for posed in self.posed]
        h36m, j19 = (np.load(self.files[rows]).astype(np.float64) for rows in (17, 19))
        if name in ("3dpw-spin", "3dpw-wham"):
            regressed = [h36m @ mesh for mesh in meshes]
            points = [joints[:, H36M_TO_J14] for joints in regressed]
            # SPIN: joint 0 of the regressor; WHAM: joints 2 and 3 of the fourteen, the hips.
            roots = [j[:, [0]] for j in regressed] if name == "3dpw-spin" else [p[:, [2, 3]] for p in points]
        elif name == "3dpw-hmr2":
            regressed = [j19 @ mesh for mesh in meshes]
            points, roots = [j[:, HMR2_KEYPOINTS] for j in regressed], [j[:, [14]] for j in regressed]
        elif name.startswith("rich"):
            # The true mesh is smplx2smpl @ vertices. CameraHMR, dataset_val.py: flat_hand_mean=True. WHAM,
            # evaluate_rich.py, has the default of smplx.SMPLX, False, GVHMR "rich-smplx", as the owners' rich_toolkit.
            true = self.posed_smplx[name == "rich-camerahmr"].vertices
            assert true is not None
            meshes[1] = np.stack([self.to_smpl @ mesh for mesh in true.double().numpy()])
            points = [self.regressors[0] @ mesh for mesh in meshes]
            roots = [p[:, [1, 2]] for p in points]
        else:
            regressors = {"emdb1-wham-paper": self.regressors, "emdb1-camerahmr": [self.regressors[0]] * 2}.get(name)
            points = bones if regressors is None else [r @ mesh for r, mesh in zip(regressors, meshes, strict=True)]
            roots = [p[:, [1, 2]] for p in points]
        centred = [p - root.mean(1, keepdims=True) for p, root in zip(points, roots, strict=True)]
        surfaces = [mesh - root.mean(1, keepdims=True) for mesh, root in zip(meshes, roots, strict=True)]
        distances = np.linalg.norm(centred[0] - centred[1], axis=-1)
        moved = [np.linalg.norm(aligned(a, b, a) - b, axis=-1) for a, b in zip(*centred, strict=True)]
        between = np.linalg.norm(surfaces[0] - surfaces[1], axis=-1)
        return tuple(1e3 * float(np.mean(values)) for values in (distances, moved, between))


def aligned(source: np.ndarray, target: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points moved by the similarity of `source` to `target` with the least squares."""
    a, b = source - source.mean(0), target - target.mean(0)
    turn, _ = Rotation.align_vectors(b, a)
    scale = (turn.apply(a) * b).sum() / (a**2).sum()
    return np.asarray(scale * turn.apply(points - source.mean(0)) + target.mean(0))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Fixture:
    return Fixture(tmp_path_factory.mktemp("models"))


@pytest.mark.extensive
@pytest.mark.parametrize("name", [name for name, one in BODIES.items() if one.joints[:5] != "mocap"])
def test_figures_are_those_of_the_public_evaluators(people: Fixture, name: str) -> None:
    np.testing.assert_allclose(people.errors(BODIES[name]), people.derived(SAME.get(name, name)), rtol=1e-6)


@pytest.mark.parametrize("name", ["mocap14", "mocap17"])
def test_figures_of_measured_joints(name: Literal["mocap14", "mocap17"]) -> None:
    """Against the formulas of SPIN's evaluator: joints about the pelvis."""
    random = np.random.default_rng(5)
    truth = random.normal(0, 0.3, (FRAMES, 17, 3)) + np.array((0, 0, 4))
    found = truth + random.normal(0, 0.06, (FRAMES, 17, 3))
    joints, body = joint_set(name, "pelvis"), default_body()
    missing = Bodies(torch.full((FRAMES, 24, 3, 3), torch.nan), torch.zeros(FRAMES, 10), torch.zeros(FRAMES, 3))
    points, measured = (joints.select(H36M17.name, values) for values in (found, truth))
    camera = torch.full((FRAMES,), 500.0), torch.full((FRAMES, 2), 256.0)
    errors = body_errors(body, missing, missing, *camera, joints=joints, measured=measured, points=points)
    figures = [1e3 * errors.mpjpe.mean(), 1e3 * errors.pa_mpjpe.mean()]

    averaged = H36M17.indices(joints.joints)
    pelvis = H36M17.index("pelvis")
    centred = [values - values[:, [pelvis]] for values in (found, truth)]
    apart = np.linalg.norm(centred[0] - centred[1], axis=-1)
    moved = np.stack([aligned(a[averaged], b[averaged], a) for a, b in zip(found, truth, strict=True)])
    after = np.linalg.norm(moved - truth, axis=-1)
    derived = [1e3 * apart[:, averaged].mean(), 1e3 * after[:, averaged].mean()]
    np.testing.assert_allclose(figures, derived, rtol=1e-6)


def header(source: str, options: str = "{}") -> Header:
    return Header("index", source, options, *[""] * 2, *[0] * 5, "")


@pytest.mark.parametrize(
    ("source", "split", "options", "shown"),
    [
        ("emdb", "emdb1/test", "{}", True),
        ("emdb", "emdb2/test", "{}", False),
        ("emdb", "", "{}", False),  # a part of the split
        ("emdb", "emdb1/test", '{"allow_missing": true}', False),
        ("emdb", "emdb1/test", '{"every": 2}', False),
        ("3dpw", "emdb1/test", "{}", False),
    ],
)
def test_published_rows_stand_beside_the_complete_split_alone(
    source: str, split: str, options: str, shown: bool
) -> None:
    metrics = {"pa_mpjpe_mm": summarise([40.0, 60.0]), "mpjpe_mm": summarise([70.0])}
    table = PROTOCOLS["emdb1-camerahmr"].table({"ours": metrics}, header(source, options), split)
    assert ("CameraHMR" in [row[0] for row in table.rows]) == shown
    assert list(table.rows[-1][1:]) == [50.0, 70.0, None]
    assert any("Not comparable" in note for note in table.notes) != shown
    assert "pixelite1201/CameraHMR@65d11a06" in table.notes[0]


def test_a_protocol_decides_joints_root_and_split() -> None:
    selection = PeopleSelection(Path("cache"), protocol="3dpw-wham")
    chosen, protocol = apply_protocol(selection, BodyProtocol)
    assert protocol is PROTOCOLS["3dpw-wham"]
    assert (chosen.protocol, chosen.split, chosen.joints, chosen.root) == ("3dpw", "test", "h36m14", "hips")
    other = PeopleSelection(Path("cache"), protocol="3dpw")
    assert apply_protocol(other, BodyProtocol) == (other, None)
    options: Any
    for options in ({"joints": "lsp14"}, {"root": "pelvis"}, {"split": "train"}):
        with pytest.raises(UsageError, match=rf"is {'|'.join(('h36m14', 'hips', 'test'))} in that protocol"):
            apply_protocol(PeopleSelection(Path("cache"), protocol="3dpw-wham", **options), BodyProtocol)


def test_protocols_name_figures_that_exist_and_commits() -> None:
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        if name != "h36m-deform-and-learn":  # whose evaluator is not public
            assert len(protocol.evaluator.commit) == 40
        assert all(len(figures) == len(protocol.metrics) for figures in protocol.rows.values())
        assert not protocol.rows or protocol.rows_source


COMPUTED: dict[str, set[str]] = {
    "nkolot/SPIN": {"pa_mpjpe_mm", "mpjpe_mm"},  # eval.py: mpjpe and recon_err
    "shubham-goel/4D-Humans": {"pa_mpjpe_mm", "mpjpe_mm"},  # eval.py: mode_mpjpe, mode_re
    "saidwivedi/TokenHMR": {"pa_mpjpe_mm", "mpjpe_mm", "pve_mm"},  # eval.py: mode_mpjpe, mode_re, mode_pve
    "pixelite1201/CameraHMR": {"pa_mpjpe_mm", "mpjpe_mm", "pve_mm"},  # camerahmr_trainer_smpl.py
}


@pytest.mark.parametrize("name", [name for name, one in BODIES.items() if one.evaluator.repository in COMPUTED])
def test_a_protocol_has_the_figures_that_its_evaluator_computes(name: str) -> None:
    assert set(BODIES[name].metrics) <= COMPUTED[BODIES[name].evaluator.repository]


def test_a_protocol_is_of_one_kind_of_evaluation() -> None:
    selection = PeopleSelection(Path("cache"), protocol="iper-owners")
    chosen, protocol = apply_protocol(selection, ImageProtocol)
    assert protocol is PROTOCOLS["iper-owners"]
    assert (chosen.protocol, chosen.split, chosen.joints) == ("three-frames", "test", None)
    remedy = "hpc evaluate repose takes it"
    with raises(UsageError, problem="is not of this evaluation", got="iper-owners", remedy=remedy):
        apply_protocol(selection, BodyProtocol)
    with raises(UsageError, problem="is 256 in that protocol", got="128 and iper-random-pairs"):
        PROTOCOLS["iper-random-pairs"].agreed_size(128)  # type: ignore[attr-defined]
    assert PROTOCOLS["iper-owners"].agreed_size(0) == 256  # type: ignore[attr-defined]


@pytest.mark.extensive
def test_matrices_from_smplx_to_smpl_are_checked(tmp_path: Path) -> None:
    matrix = np.zeros((VERTICES, 10475), np.float32)
    matrix[np.arange(VERTICES), np.arange(VERTICES)] = 1
    vertices = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 10475, 3)).astype(np.float32))
    stored = {"matrix": matrix}, {"mtx": scipy.sparse.csr_matrix(np.concatenate((matrix, 9 * matrix), 1))}
    for number, content in enumerate(stored):
        path = tmp_path / f"{number}.pkl"
        path.write_bytes(pickle.dumps(content, protocol=2))
        torch.testing.assert_close(MeshConversion.read(path)(vertices), vertices[:, :VERTICES])
    for wrong, problem in ((matrix[:9], "is no matrix"), (0.5 * matrix, "rows that do not sum to 1")):
        np.save(tmp_path / "wrong.npy", wrong)
        with raises(InputError, problem=problem):
            MeshConversion.read(tmp_path / "wrong.npy")
    np.save(tmp_path / "right.npy", matrix)
    with raises(UsageError, problem="has no effect with lsp14"):
        joint_set("lsp14", smplx_to_smpl=tmp_path / "right.npy")
