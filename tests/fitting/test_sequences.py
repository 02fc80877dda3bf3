"""Sequences: one smooth motion for each person, steadier than its frames, no lag, through gaps and windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from humanpose_cli.body.limb_rotations import BODY_FACING_CAMERA, neutral_rotations
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.fitting import keypoints, sequences
from humanpose_cli.fitting.chain import Chain
from humanpose_cli.fitting.keypoints import fit_keypoints
from humanpose_cli.fitting.observations import KeypointObservations
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.fitting.sequences import GRAVITY, between, key_frames, runs
from humanpose_cli.fitting.tracks import frame_times
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

PLAIN = KeypointFitOptions(lift=False)
INTERVAL = 1 / 30
FLIGHT = 10, 27


@pytest.fixture(scope="module")
def waving(scene_of_bodies: Callable):
    """36 frames of somebody who waves both arms once a second and walks slowly sideways, and the truth."""
    count = 36
    time = torch.arange(count) * INTERVAL
    rotations = neutral_rotations().float().repeat(count, 1, 1, 1)
    rotations[:, 0] = BODY_FACING_CAMERA.float()
    for side, sign in (("left", 1.0), ("right", -1.0)):
        turn = torch.zeros(count, 3)
        turn[:, 2] = sign * (0.5 + 0.4 * torch.sin(2 * np.pi * time))
        rotations[:, SMPL24.index(f"{side}_shoulder")] = axis_angle_to_matrix(turn)
    return scene_of_bodies(rotations, torch.zeros(count, 10), depth=4.0)


@pytest.fixture(scope="module")
def falling(scene_of_bodies: Callable):
    """40 frames of somebody who stands, from the 10th to the 27th frame is in the air, and stands again, lower."""
    count, (takeoff, landing) = 40, FLIGHT
    time = torch.arange(count) * INTERVAL
    rotations = neutral_rotations().float().repeat(count, 1, 1, 1)
    rotations[:, 0] = BODY_FACING_CAMERA.float()
    flight = (time.clamp(time[takeoff], time[landing]) - time[takeoff])[:, None]
    height = torch.cat((0 * flight, -1.5 * flight + 0.5 * GRAVITY * flight**2, 0 * flight), 1)
    return scene_of_bodies(rotations, torch.zeros(count, 10), depth=6.0, moved=height, across=0.0)


def in_sequence(observed: KeypointObservations, **fields: object) -> KeypointObservations:
    count = len(observed)
    defaults = {"shape_group": np.zeros(count, int), "frame": np.arange(count)}
    frames = np.asarray(fields.get("frame", defaults["frame"]))
    return replace(observed, **{**defaults, "time": INTERVAL * frames, **fields})


def noisy(scene, pixels: float, seed: int = 0) -> KeypointObservations:
    random = np.random.default_rng(seed)
    points = scene.observations.keypoints
    return scene.changed(keypoints=points.numpy() + pixels * random.normal(size=points.shape))


def jitter(joints: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1).mean())


def test_key_frames_are_a_tenth_of_a_second_apart_and_stand_beside_gaps() -> None:
    visible = torch.ones(16, dtype=torch.bool)
    visible[7:9] = False
    time = torch.arange(16) * 0.05
    assert key_frames(visible, time + 0.001).tolist() == [0, 2, 4, 6, 9, 10, 12, 14, 15]
    assert key_frames(visible, 2 * time + 0.001).tolist() == visible.nonzero().squeeze(-1).tolist()
    assert key_frames(visible & False, time).tolist() == [0]


def test_states_between_turn_and_move_evenly() -> None:
    turn, root = torch.tensor([0.0, 0.0, 1.0]).double(), torch.tensor([[0.0, 0, 2], [0, 3, 5]]).double()
    rotations = axis_angle_to_matrix(torch.stack([0 * turn, turn])[:, None])
    state = FitState(rotations, root, torch.zeros(2, 10).double(), torch.zeros(2, 1).double())
    found = between(state, torch.tensor([1.0, 2.0]).double(), torch.tensor([0.5, 1.0, 1.25, 2.0, 3.0]).double())
    share = torch.tensor([0, 0, 0.25, 1, 1]).double()
    assert torch.allclose(found.rotations, axis_angle_to_matrix(share[:, None, None] * turn))
    assert torch.allclose(found.root, torch.lerp(root[0], root[1], share[:, None]))


@pytest.mark.extensive
def test_a_sequence_is_steadier_than_its_frames_and_nearer_the_truth(body, waving) -> None:
    observed = noisy(waving, 4.0)
    alone = fit_keypoints(body, observed, PLAIN)
    together = fit_keypoints(body, in_sequence(observed), PLAIN)
    errors = [np.linalg.norm(f.joints3d - waving.joints, axis=-1).mean() for f in (alone, together)]
    assert jitter(together.joints3d) < 0.5 * jitter(alone.joints3d)
    assert errors[1] < errors[0]


@pytest.mark.slow
def test_no_bit_depends_on_the_number_of_threads(body, waving, monkeypatch) -> None:
    kept = []
    monkeypatch.setattr(sequences, "minimise", lambda problem, state, _: kept.append((problem, state)) or state)
    fit_keypoints(body, in_sequence(noisy(waving, 4.0)), PLAIN)
    problem, state = kept[0]
    alone, *others = (Chain(problem.problem, problem.motion, n).linearise(state) for n in (1, 2, 3))
    for other in others:
        assert other.cost == alone.cost
        assert torch.equal(other.gradient, alone.gradient)
        assert all(map(torch.equal, other.diagonals, alone.diagonals))


@pytest.mark.slow
def test_the_motion_keeps_its_phase(body, waving) -> None:
    """Moved by one frame either way, the fitted wrist's path differs more from the truth than where it is."""
    fit = fit_keypoints(body, in_sequence(waving.observations), PLAIN)
    wrist = SMPL24.index("left_wrist")
    path, truth = fit.joints2d[:, wrist], waving.joints[:, wrist]
    focal, centre = waving.observations.focal[0].numpy(), waving.observations.principal_point[0].numpy()
    pixels = focal * truth[:, :2] / truth[:, 2:] + centre
    lags = [np.linalg.norm(path[2 + lag : len(path) - 2 + lag] - pixels[2:-2], axis=1).mean() for lag in (-1, 0, 1)]
    assert lags[1] < min(lags[0], lags[2])


@pytest.mark.slow
def test_frames_that_show_nothing_follow_from_their_neighbours(body, waving) -> None:
    observed = waving.observations
    confidence = observed.confidence.clone()
    confidence[14:19] = 0
    fit = fit_keypoints(body, in_sequence(replace(observed, confidence=confidence)), PLAIN)
    error = np.linalg.norm(fit.joints3d - waving.joints, axis=-1)
    assert error[14:19].mean() < error[:14].mean() + 0.04
    assert (fit.confidence[14:19] == 0).all()


@pytest.mark.extensive
def test_windows_change_nothing_that_matters(body, waving, monkeypatch) -> None:
    complete = fit_keypoints(body, in_sequence(noisy(waving, 2.0)), PLAIN)
    monkeypatch.setattr(sequences, "_WINDOW", 20)
    monkeypatch.setattr(sequences, "_MARGIN", 10)
    parts = fit_keypoints(body, in_sequence(noisy(waving, 2.0)), PLAIN)
    assert np.abs(complete.joints3d - parts.joints3d).max() < 0.02
    assert jitter(parts.joints3d) < 1.2 * jitter(complete.joints3d)


@pytest.mark.extensive
@pytest.mark.parametrize("gap", [(), range(10, 30)])
def test_no_bit_depends_on_the_rows_in_memory(body, waving, monkeypatch, gap) -> None:
    observed = in_sequence(noisy(waving, 1.5))
    observed.confidence[list(gap)] = 0
    monkeypatch.setattr(sequences, "_WINDOW", 12)
    monkeypatch.setattr(sequences, "_MARGIN", 4)
    together = fit_keypoints(body, observed)
    monkeypatch.setattr(sequences, "_STRETCH", 1)
    monkeypatch.setattr(keypoints, "_REPORT_ROWS", 8)
    monkeypatch.setattr(keypoints, "_IN_MEMORY", 1000)
    apart = fit_keypoints(body, observed)
    for name in ("poses", "betas", "trans", "joints3d", "confidence", "reprojection_error"):
        assert np.array_equal(getattr(together, name), getattr(apart, name), equal_nan=True), name


@pytest.mark.extensive
def test_a_turning_camera_does_not_move_somebody_who_stands(body, scene_of_bodies) -> None:
    """The camera turns to and fro about its vertical axis; in the world the person stands still."""
    count = 16
    angle = 0.15 * torch.sin(torch.arange(count) * 0.9).double()
    turn = axis_angle_to_matrix(torch.stack([0 * angle, angle, 0 * angle], 1))
    rotations = neutral_rotations().float().repeat(count, 1, 1, 1)
    rotations[:, 0] = BODY_FACING_CAMERA.float()
    still = scene_of_bodies(rotations[:1], torch.zeros(1, 10))
    joints = torch.from_numpy(still.joints[0]).double()
    rotations[:, 0] = turn.float() @ rotations[:, 0]
    scene = scene_of_bodies(rotations, torch.zeros(count, 10))
    pose = np.tile(np.eye(4), (count, 1, 1))
    pose[:, :3, :3] = turn.numpy()
    # `place_bodies` puts pelvises on a line; the camera turns about the person instead.
    pelvis = torch.from_numpy(scene.joints[:, 0]).double()
    pose[:, :3, 3] = (pelvis - (turn @ joints[0])).numpy()
    fits = [
        fit_keypoints(body, in_sequence(scene.observations, world_to_camera=poses), PLAIN) for poses in (None, pose)
    ]
    world = [(f.joints3d - pose[:, None, :3, 3]) @ pose[:, :3, :3] for f in fits]
    assert jitter(world[1]) < 0.7 * jitter(world[0])


@pytest.mark.extensive
def test_who_is_in_the_air_falls(body, falling, monkeypatch) -> None:
    kept = []
    solve = sequences.minimise
    monkeypatch.setattr(sequences, "minimise", lambda problem, *rest: kept.append(problem) or solve(problem, *rest))
    fit = fit_keypoints(body, in_sequence(noisy(falling, 3.0)), PLAIN)
    (frames,) = runs(kept[-1].motion.mean_acceleration.any(1))
    assert abs(frames[0] - FLIGHT[0]) <= 1
    assert abs(frames[1] - FLIGHT[1] + 1) <= 1
    inside = slice(FLIGHT[0] + 3, FLIGHT[1] - 2)
    height = fit.joints3d[inside, :, 1].mean(1)
    assert 2 * np.polyfit(INTERVAL * np.arange(len(height)), height, 2)[0] == pytest.approx(GRAVITY, abs=0.3)


@pytest.mark.slow
def test_a_somersault_stays_smooth_where_landmarks_face_the_wrong_way(body, scene_of_bodies) -> None:
    """Two frames in the air have exact landmarks of a body that is turned by 180° about its long axis."""
    count, (takeoff, landing), wrong = 40, FLIGHT, [18, 19]
    time = torch.arange(count) * INTERVAL
    flight = (time.clamp(time[takeoff], time[landing]) - time[takeoff])[:, None]
    height = torch.cat((0 * flight, -1.5 * flight + 0.5 * GRAVITY * flight**2, 0 * flight), 1)
    rotations = neutral_rotations().float().repeat(count, 1, 1, 1)
    x_axis, y_axis = torch.eye(3)[:2]
    somersault = axis_angle_to_matrix(2 * np.pi * flight / flight.max() * x_axis)
    rotations[:, 0] = BODY_FACING_CAMERA.float() @ axis_angle_to_matrix(1.2 * y_axis) @ somersault
    turned = rotations.clone()
    turned[:, 0] = rotations[:, 0] @ axis_angle_to_matrix(np.pi * y_axis)
    scene, other = (
        scene_of_bodies(r, torch.zeros(count, 10), depth=6.0, moved=height, across=0.0) for r in (rotations, turned)
    )
    keypoints, world = scene.observations.keypoints.clone(), scene.observations.world.clone()
    keypoints[wrong], world[wrong] = other.observations.keypoints[wrong], other.observations.world[wrong]
    fit = fit_keypoints(body, in_sequence(scene.changed(keypoints=keypoints, world=world)), PLAIN)
    errors = np.linalg.norm(fit.joints3d - scene.joints, axis=-1).mean(1)
    assert errors[wrong].max() < 0.08
    trunk = SMPL24.indices(("pelvis", "spine1", "spine2", "spine3"))
    path = (fit.joints3d - scene.joints)[14:24, trunk].mean(1)
    assert np.linalg.norm(np.diff(path, n=2, axis=0), axis=-1).max() < 12 * INTERVAL**2


@pytest.mark.slow
def test_feet_that_move_between_frames_far_apart_do_not_stand(body, scene_of_bodies, monkeypatch) -> None:
    """8 cm a frame, one frame a second: slow, but a step each."""
    count, kept = 6, []
    rotations = neutral_rotations().float().repeat(count, 1, 1, 1)
    rotations[:, 0] = BODY_FACING_CAMERA.float()
    solve = sequences.minimise
    monkeypatch.setattr(sequences, "minimise", lambda problem, *rest: kept.append(problem) or solve(problem, *rest))
    for step in (0.0, 0.08):
        kept.clear()
        moved = step * torch.arange(count)[:, None] * torch.tensor([1.0, 0.0, 0.0])
        scene = scene_of_bodies(rotations, torch.zeros(count, 10), moved=moved, across=0.0)
        fit_keypoints(body, in_sequence(scene.observations, time=np.arange(count)), PLAIN)
        assert bool(kept[-1].motion.standing.any()) == (step == 0)


@pytest.mark.slow
def test_the_motions_gradient_is_that_of_its_cost(body, falling, monkeypatch) -> None:
    """By central differences, in flight, with standing feet; no term is near a point where its weight jumps."""
    kept = []
    monkeypatch.setattr(sequences, "minimise", lambda problem, state, _: kept.append((problem, state)) or state)
    fit_keypoints(body, in_sequence(noisy(falling, 3.0)).rows(slice(8)), PLAIN)
    problem, state = kept[0]
    motion = problem.motion
    gravity = torch.tensor([0.0, GRAVITY / 15, 0.0]).double().repeat(6, 1)
    standing = torch.zeros_like(motion.standing)
    standing[2:5, :3] = 100.0
    weights = motion.weights.clone()
    weights[:, -1] = 30
    moving = Chain(problem.problem, motion._replace(mean_acceleration=gravity, weights=weights, standing=standing))
    step = 1e-5 * torch.from_numpy(np.random.default_rng(0).normal(size=(8, problem.width)))

    def cost_and_slope(sequence: Chain) -> tuple[float, float]:
        after, before = (sequence.linearise(sequence.retract(state, sign * step)).cost for sign in (1, -1))
        return float(after - before) / 2, float((sequence.linearise(state).gradient * step).sum())

    (change, slope), (still, still_slope) = cost_and_slope(moving), cost_and_slope(problem)
    assert change - still == pytest.approx(slope - still_slope, rel=1e-4)
    assert abs(change - still) > 1e-3


@pytest.mark.slow
def test_a_sudden_movement_keeps_its_peak(body, scene_of_bodies) -> None:
    """An arm that is thrown up within two frames, as in a clap or a punch."""
    count, start = 30, 14
    rotations = neutral_rotations().float().repeat(count, 1, 1, 1)
    rotations[:, 0] = BODY_FACING_CAMERA.float()
    turn = torch.zeros(count, 3)
    turn[:, 2] = 1.2 * ((torch.arange(count) - start) / 2).clamp(0, 1)
    rotations[:, SMPL24.index("left_shoulder")] = axis_angle_to_matrix(turn)
    scene = scene_of_bodies(rotations, torch.zeros(count, 10))
    fit = fit_keypoints(body, in_sequence(noisy(scene, 2.0)), PLAIN)
    wrist = SMPL24.index("left_wrist")
    peaks = [np.linalg.norm(np.diff(j[:, wrist], n=2, axis=0), axis=1).max() for j in (fit.joints3d, scene.joints)]
    assert peaks[0] > 0.7 * peaks[1]


@pytest.mark.slow
def test_a_hidden_limb_does_not_jump(body, scene_of_bodies) -> None:
    """Six frames a second, of which two in the middle show an arm up: as seen, or as guessed behind something."""
    count = 16
    rotations = neutral_rotations().float().repeat(count, 1, 1, 1)
    rotations[:, 0] = BODY_FACING_CAMERA.float()
    rotations[7:9, SMPL24.index("left_shoulder")] = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 1.2]))
    scene = scene_of_bodies(rotations, torch.zeros(count, 10))
    confidence, wrist = torch.ones(count, len(BLAZEPOSE33)), SMPL24.index("left_wrist")
    steps = []
    for value in (1.0, 0.15):
        confidence[:, BLAZEPOSE33.indices([f"left_{end}" for end in ("elbow", "wrist", "pinky", "index", "thumb")])] = (
            value
        )
        observed = in_sequence(replace(scene.observations, confidence=confidence), time=np.arange(count) / 6)
        joints = fit_keypoints(body, observed, PLAIN).joints3d
        steps.append(np.linalg.norm(np.diff(joints[:, wrist], axis=0), axis=1).max())
    assert steps[0] > 0.4
    assert steps[1] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 30])
def test_the_body_is_at_a_locked_wrist(body, waving, scene_of_bodies, count: int) -> None:
    """The wrist of a bent elbow in the last frame, where all else is straight; frames half a second before stay."""
    bent = waving.rotations.clone()
    bent[:, SMPL24.index("left_elbow")] @= axis_angle_to_matrix(torch.tensor([0.0, 0.0, 1.2]))
    wrist, observed = BLAZEPOSE33.index("left_wrist"), waving.observations.rows(slice(count))
    target = scene_of_bodies(bent, waving.betas).observations.keypoints[count - 1, wrist]
    keypoints, locked = observed.keypoints.clone(), torch.zeros(count, len(BLAZEPOSE33))
    fits = []
    for mark, position in enumerate((keypoints[-1, wrist].clone(), target)):
        keypoints[-1, wrist], locked[-1, wrist] = position, mark
        shown = replace(observed, keypoints=keypoints, locked=locked)
        fits.append(fit_keypoints(body, in_sequence(shown) if count > 1 else shown, PLAIN))
    poses, betas, trans = (torch.from_numpy(getattr(fits[1], name)[-1:]) for name in ("poses", "betas", "trans"))
    posed = body.pose(axis_angle_to_matrix(poses.view(1, -1, 3)), betas, trans)
    points = body.pose_landmarks("blazepose33", posed, betas)[0, wrist]
    pixel = observed.focal[0] * points[:2] / points[2] + observed.principal_point[0]
    limit = 3 / 500 * float(np.ptp(keypoints[0, :, 1].numpy()))
    assert (pixel - target).norm() < limit < 0.1 * (observed.keypoints[-1, wrist] - target).norm()
    np.testing.assert_allclose(fits[1].joints2d[:-15], fits[0].joints2d[:-15], atol=limit)


@pytest.mark.extensive
def test_missing_frames_part_the_motion(body, waving) -> None:
    """After a jump over many frames the body may be anywhere: nothing is smoothed across."""
    frames = np.arange(36) + 100 * (np.arange(36) >= 18)
    fit = fit_keypoints(body, in_sequence(waving.observations, frame=frames), PLAIN)
    first = fit_keypoints(body, in_sequence(waving.observations.rows(slice(0, 18))), PLAIN)
    assert np.abs(fit.joints3d[:18] - first.joints3d).max() < 0.02  # one shape for both parts


@pytest.mark.extensive
def test_uneven_frames_are_solved_with_their_times(body, waving, monkeypatch) -> None:
    """Of the waving, frames were lost; a stiff motion at the wrong times bends the path."""
    kept = np.array([*range(8), *range(8, 28, 4), *range(28, 36)])
    monkeypatch.setattr(sequences, "_ACCELERATION", 1.0)
    monkeypatch.setattr(sequences, "_ROBUST_MOTION", 10.0)
    observed = waving.observations.rows(kept)
    errors = []
    for time in (INTERVAL * kept, np.linspace(0, INTERVAL * 35, len(kept))):
        fit = fit_keypoints(body, in_sequence(observed, time=time), PLAIN)
        errors.append(np.linalg.norm(fit.joints3d - waving.joints[kept], axis=-1).mean())
    assert errors[0] < 0.8 * errors[1]


MILLISECONDS = [Fraction(round(1000 * n / 60), 1000) for n in range(9)]


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ([None] * 3, [0, 1 / 60, 2 / 60]),
        (MILLISECONDS, [n / 60 for n in range(9)]),
        ([Fraction(n, 60) for n in (5, 6, 8, 9)], [0, 1 / 60, 3 / 60, 4 / 60]),
        ([Fraction(n, 60) for n in (5, 9, 6, 12)], [0, 1 / 60, 2 / 60, 3 / 60]),
        ([Fraction(n, 30) for n in range(4)], [0, 1 / 30, 2 / 30, 3 / 30]),
        ([Fraction(7, 60)], [0]),
    ],
    ids=["no clock", "whole milliseconds", "a frame dropped", "backwards", "another rate", "one frame"],
)
def test_frames_have_the_clocks_times_where_they_are_uneven(clock: list, expected: list[float]) -> None:
    assert frame_times(clock, 60.0) == pytest.approx(expected)
