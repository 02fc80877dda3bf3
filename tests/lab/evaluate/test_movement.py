"""Accelerations, and bodies in the world, of a clip whose camera moves: known offsets are measured exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.clip_people import FRAMES, ClipPeople
from helpers.smpl_model_file import random_smpl_fields, write_smpl_pickle
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import default_body
from humanpose_cli.body.smpl import load_smpl
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.samples import Group, Sample
from humanpose_cli.lab.evaluate.bodies import EvaluatedFits, PredictedBody, fits_report, measure_fits
from humanpose_cli.lab.evaluate.movement import BodyMotion
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, PeopleSelection
from humanpose_cli.lab.evaluate.protocols import PROTOCOLS, BodyProtocol
from humanpose_cli.lab.metrics.joints import joint_set
from humanpose_cli.lab.metrics.trajectories import foot_sliding


def path_of(frame: int) -> np.ndarray:
    """World to camera (4, 4) of a camera that goes and turns."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec([0.02, 0.1 * frame, 0.01 * frame**2]).as_matrix()
    matrix[:3, 3] = [0.05 * frame, 0.3, 0.02 * frame**2]
    return matrix


class MovingCamera(ClipPeople):
    def read(self, group: Group) -> Iterator[Sample]:
        for sample in super().read(group):
            yield replace(sample, frame_rate=30.0, world_to_camera=path_of(sample.frame)[:3])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moving")
    assert not build_cache(MovingCamera(), folder, workers=1).failures
    return folder


def fitted(
    cache: Path,
    shift: Callable[[int], np.ndarray] = lambda frame: np.zeros(3),
    world: Callable[[int], np.ndarray | None] = path_of,
    root: str = "pelvis",
) -> EvaluatedFits:
    """The truth, shifted and with another camera's path; frames whose world is None are missed."""
    people = PeopleSelection(cache).people(joints=joint_set("smpl24", root))  # type: ignore[arg-type]

    def fit(row: int) -> list[PredictedBody]:
        poses, betas, trans, box = (people.people.column(name)[row] for name in ("poses", "betas", "trans", "box"))
        return [PredictedBody(poses, betas, trans + shift(row), box, world=world(row))]

    return measure_fits(people, fit, default_body())


def test_the_truth_moves_as_the_truth(cache: Path) -> None:
    found = fitted(cache).movement
    errors = {"accel_mm", "accel_m_s2", "wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent", "erve_mm"}
    assert set(found) == errors | {"jitter_10m_s3", "true_jitter_10m_s3"}  # of four frames none stays when trimmed
    for name in errors:
        assert found[name].value == pytest.approx(0, abs=0.01), name
        counts = {"accel_mm": FRAMES - 2, "accel_m_s2": FRAMES - 2, "erve_mm": FRAMES - 1}
        assert found[name].n == counts.get(name, FRAMES)
    assert found["jitter_10m_s3"].value == pytest.approx(found["true_jitter_10m_s3"].value, rel=1e-6)


def test_jitter_of_emdb_leaves_the_translation_out(cache: Path) -> None:
    """By evaluation_metrics.compute_jitter of eth-ait/emdb: bodies that SMPL's translation does not move, nine joints
    held still, third differences at 30 frames a second in 10 m/s³, and the mean of the sequence.
    """
    people = PeopleSelection(cache).people(joints=joint_set("smpl24", "hips"))
    protocol = PROTOCOLS["emdb1-emdb"]
    assert isinstance(protocol, BodyProtocol)

    def fit(row: int) -> list[PredictedBody]:
        poses, betas, trans, box = (people.people.column(name)[row] for name in ("poses", "betas", "trans", "box"))
        return [PredictedBody(poses + 0.01 * row**3, betas, trans + 0.1 * row**3, box)]

    found = measure_fits(people, fit, default_body(), protocol=protocol).movement["jitter_emdb_10m_s3"]
    poses, betas = (torch.from_numpy(people.people.column(name)).float() for name in ("poses", "betas"))
    poses = poses + 0.01 * torch.arange(FRAMES)[:, None] ** 3
    rotations = axis_angle_to_matrix(poses.unflatten(1, (24, 3)))
    joints = default_body().pose(rotations, betas, torch.zeros(FRAMES, 3), vertices=False).joints.double().numpy()
    joints[:, [0, 7, 8, 10, 11, 20, 21, 22, 23]] = 0
    third = joints[3:] - 3 * joints[2:-1] + 3 * joints[1:-2] - joints[:-3]
    derived = np.linalg.norm(third, axis=-1).mean() * 30**3 / 10
    assert found.value == pytest.approx(derived, rel=1e-4)
    assert found.n == 1  # one sequence
    assert "jitter_emdb_10m_s3" not in measure_fits(people, fit, default_body()).movement


def test_a_constant_acceleration_is_measured(cache: Path) -> None:
    """Of the whole body in space alone: about a root it is none."""

    def faster(frame: int) -> np.ndarray:
        return np.array([0.001 * frame**2, 0, 0])

    assert fitted(cache, faster).movement["accel_mm"].value == pytest.approx(0, abs=0.01)
    space = fitted(cache, faster, root="none").movement
    assert space["accel_mm"].value == pytest.approx(2, abs=0.01)
    assert space["accel_m_s2"].value == pytest.approx(0.002 * 900, abs=0.01)


GAPS = np.array([0, 1, 2, 3, 10, 11, 12, 30])
"""Frames that the owners call valid."""


class ClipWithGaps(MovingCamera):
    """The clip forth and back, of which some frames are not valid."""

    def groups(self) -> Sequence[Group]:
        return [Group("clip0", len(GAPS), key=0)]

    def read(self, group: Group) -> Iterator[Sample]:
        clip = list(super().read(group))
        for sample, frame in zip(clip + clip[::-1], GAPS.tolist(), strict=True):
            path = path_of(frame)[:3]
            yield replace(sample, name=f"clip0/{frame:04d}", frame=frame, world_to_camera=path)


@pytest.mark.extensive
def test_protocols_close_up_frames_that_are_not_valid(tmp_path: Path) -> None:
    """As evaluate_emdb.py of WHAM and GVHMR's compute_camcoord_metrics: invalid frames are dropped, all that is left of
    a sequence is differenced, and WHAM drops the first and the last value.
    """
    assert not build_cache(ClipWithGaps(), tmp_path, workers=1).failures
    selection = PeopleSelection(tmp_path)
    people = selection.people(joints=joint_set("smpl24", "hips"))

    def fit(row: int) -> list[PredictedBody]:
        poses, betas, trans, box = (people.people.column(name)[row] for name in ("poses", "betas", "trans", "box"))
        wrong = 0.02 * np.random.default_rng(row).normal(size=72)
        return [PredictedBody(poses + wrong, betas, trans, box, world=path_of(int(GAPS[row])))]

    def measured(name: str, some: EvaluatedPeople = people, fit: Callable[[int], list[PredictedBody]] = fit) -> Any:
        protocol = PROTOCOLS[name]
        assert isinstance(protocol, BodyProtocol)
        return measure_fits(some, fit, default_body(), protocol=protocol)

    found = measured("emdb1-wham")
    sets = [
        found.bodies.posed(default_body(), vertices=False).joints,
        people.bodies.taken(found.rows).posed(default_body(), vertices=False).joints,
    ]
    a, b = (points.double().numpy() for points in sets)
    apart = (a - a[:, [1, 2]].mean(1, keepdims=True)) - (b - b[:, [1, 2]].mean(1, keepdims=True))
    derived = np.linalg.norm(apart[:-2] - 2 * apart[1:-1] + apart[2:], axis=-1).mean(-1) * 30**2
    assert found.movement["accel_m_s2"].value == pytest.approx(derived.mean(), rel=1e-3)
    trimmed = found.movement["accel_trimmed_m_s2"]
    assert (trimmed.value, trimmed.n) == (pytest.approx(derived[1:-1].mean(), rel=1e-3), len(GAPS) - 4)
    world = measured("emdb2-tram").movement
    assert [world[name].n for name in ("erve_mm", "jitter_10m_s3")] == [len(GAPS) - 1, len(GAPS) - 3]

    runs = measured("3dpw-spin").movement  # publishes none of these, so that runs of frames are taken, as without one
    assert (runs["accel_m_s2"].n, runs["accel_trimmed_m_s2"].n) == (3, 1)
    missed = measured("emdb1-wham", fit=lambda row: fit(row) if row != 2 else []).movement
    assert missed["accel_m_s2"].n == 3  # over a frame that is valid and was missed nothing is closed
    part = replace(selection, limit=6).people(joints=people.joints)
    assert "accel_m_s2" not in measured("emdb1-wham", part).movement  # nobody knows what lies between


@pytest.mark.extensive
def test_another_world_is_no_error_and_a_camera_taken_for_still_is(cache: Path) -> None:
    other = np.eye(4)
    other[:3, :3] = Rotation.from_rotvec([0, 2, 0.3]).as_matrix()
    other[:3, 3] = [5, -3, 2]
    moved = fitted(cache, world=lambda frame: path_of(frame) @ other).movement
    for name in ("wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent", "erve_mm"):
        assert moved[name].value == pytest.approx(0, abs=0.05)
    assert moved["jitter_10m_s3"].value == pytest.approx(moved["true_jitter_10m_s3"].value, rel=1e-5)
    still = fitted(cache, world=lambda frame: np.eye(4)).movement
    assert still["w_mpjpe_mm"].value > still["wa_mpjpe_mm"].value > 5
    assert still["rte_percent"].value > 5
    assert still["erve_mm"].value > 5
    unknown = fitted(cache, world=lambda frame: None)
    assert set(unknown.movement) == {"accel_mm", "accel_m_s2"}
    report = fits_report(PeopleSelection(cache).people(), unknown, {})
    assert [table.name for table in report.tables][:2] == ["metrics", "movement"]
    assert report.metrics["accel_mm"].n == 2


@pytest.mark.slow
def test_feet_that_drift_below_a_standing_person_slide(cache: Path) -> None:
    """Seen from a person who stands before a camera that stands: 7 mm a frame."""
    people = PeopleSelection(cache).people()
    first, rigs = people.bodies.taken(np.zeros(FRAMES, int)), [people.body] * FRAMES
    steps = [torch.tensor([step, 0.0, 0.0]) * torch.arange(FRAMES)[:, None] for step in (0.0, 0.007)]
    standing, drifting = (
        BodyMotion.of_bodies(people.joints, first._replace(root=first.root + step), rigs) for step in steps
    )
    slid = foot_sliding(drifting.feet, standing.feet)
    np.testing.assert_allclose(slid, np.full(4 * (FRAMES - 1), 0.007), atol=1e-6)
    heels = standing.feet[0, [0, 2]]
    assert (heels[:, 1] > people.bodies.root[0, 1].item() + 0.6).all()  # below the pelvis, y down


@pytest.mark.extensive
def test_feet_of_smpl_are_the_vertices_of_published_figures_in_the_order_of_other_bodies(
    cache: Path, tmp_path: Path
) -> None:
    people = PeopleSelection(cache).people()
    rig = load_smpl(write_smpl_pickle(tmp_path / "smpl.pkl", random_smpl_fields()))
    bodies = people.bodies.taken(np.zeros(2, int))
    bodies = bodies._replace(betas=torch.zeros(2, rig.shape_count))
    vertices = bodies.posed(rig).vertices
    feet = BodyMotion.of_bodies(people.joints, bodies, [rig, rig]).feet
    heel_and_ball = (3387, 3216, 6787, 6617)
    np.testing.assert_allclose(feet, vertices[:, heel_and_ball].double().numpy(), atol=1e-5)


@pytest.mark.slow
def test_the_path_of_the_translation_is_that_of_the_pelvis_for_one_shape(cache: Path) -> None:
    people = PeopleSelection(cache).people()
    motion = BodyMotion.of_truth(people, np.arange(FRAMES)).in_world(np.stack([path_of(f) for f in range(FRAMES)]))
    paths = [motion.path(people.joints, of) for of in ("translation", "pelvis")]  # type: ignore[arg-type]
    np.testing.assert_allclose(paths[1] - paths[0], np.broadcast_to(motion.rest[0], (FRAMES, 3)), atol=1e-6)
    lsp = joint_set("lsp14")
    hips = BodyMotion.of_truth(PeopleSelection(cache).people(joints=lsp), np.arange(FRAMES))
    np.testing.assert_allclose(hips.path(lsp, "pelvis"), hips.points[:, lsp.rows].mean(1))
