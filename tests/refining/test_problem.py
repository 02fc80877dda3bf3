"""The alignment problem: its derivatives, recovery, windows, what holds it."""

import pytest
import torch
from helpers.extensive import extensive
from helpers.walking_take import TURN

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.chain import Chain, second_differences
from humanpose_cli.fitting.priors import default_prior
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.geometry.least_squares import SolverOptions, minimise
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, geodesic_angle
from humanpose_cli.refining import problem as problem_module
from humanpose_cli.refining.correspondences import SurfacePoints
from humanpose_cli.refining.options import AlignmentWeights
from humanpose_cli.refining.problem import (
    AlignmentEvidence,
    AlignmentProblem,
    CameraTargets,
    alignment_rig,
    independent_counts,
    joint_motion,
    solve_alignment,
)

FREE = 3 * len(SMPL24) + 3


@pytest.fixture(scope="module")
def rig(body):
    return alignment_rig(body, SurfacePoints(body, 80).landmarks)


def state_of(walk, rotations=None) -> FitState:
    count = len(walk.rotations)
    rotations = (walk.rotations if rotations is None else rotations).double()
    return FitState(rotations, walk.trans.double(), torch.zeros(count, 10).double(), torch.zeros(count, 1).double())


def problem_of(
    rig,
    walk,
    start: FitState,
    weights=None,
    sigma: float = 4.0,
    rotation_noise: float = 0.4,
    views: int = 0,
    *,
    true: FitState | None = None,
    prior=None,
) -> AlignmentProblem:
    """The true points as targets; the anchor is where the solver starts.

    views  number of cameras beside the first one, that look from the right
    true   the bodies of the targets; None: the walk's
    """
    true, begin = rig.pose(*(true or state_of(walk))[:3]), rig.pose(*start[:3])
    points = true.points[:, : rig.landmark_count]
    count = len(points)

    def targets(matrix) -> CameraTargets:
        there = points @ matrix[:3, :3].mT + matrix[:3, 3]
        return CameraTargets(
            rotation=matrix[:3, :3],
            translation=matrix[:3, 3],
            focal=torch.full((count,), 500.0).double(),
            centre=torch.full((count, 2), 160.0).double(),
            pixels=500 * there[..., :2] / there[..., 2:] + 160,
            weights=torch.full(points.shape[:2], 1 / sigma, dtype=torch.float64),
            counts=torch.ones(points.shape[:2], dtype=torch.float64),
        )

    evidence = AlignmentEvidence(
        cameras=(targets(torch.eye(4).double()), *[targets(torch.from_numpy(TURN))] * views),
        rotations=start.rotations,
        joints=begin.joints,
        betas=start.betas,
        rotation_noise=torch.full((count, 24), rotation_noise, dtype=torch.float64),
        root_noise=torch.full((count,), 0.01, dtype=torch.float64),
        shape_noise=torch.full((count,), 0.6, dtype=torch.float64),
        segment_scales=torch.ones(count, 24).double(),
    )
    return AlignmentProblem(rig, evidence, weights or AlignmentWeights(), prior=prior)


def motion_of(problem: AlignmentProblem, to_camera: torch.Tensor | None = None, seconds: torch.Tensor | None = None):
    """The motion of the rows, 25 a second unless at other times; before a camera that stands unless it turns."""
    count = len(problem.evidence)
    cameras = torch.eye(4).double().repeat(count, 1, 1)
    if to_camera is not None:
        cameras[:, :3, :3] = to_camera
    times = torch.arange(count).double() / 25 if seconds is None else seconds
    return joint_motion(cameras, second_differences(times), problem.weights.acceleration)


def solved_state(problem: AlignmentProblem, start: FitState, to_camera: torch.Tensor | None = None) -> FitState:
    return solve_alignment(problem, motion_of(problem, to_camera), start)


def perturbed(walk, radians: float, seed: int = 0) -> FitState:
    noise = radians * torch.randn(len(walk.rotations), 24, 3, generator=torch.Generator().manual_seed(seed))
    return state_of(walk, walk.rotations @ axis_angle_to_matrix(noise))


def shaken_cameras(count: int, degrees: float) -> torch.Tensor:
    """(T, 3, 3) world to camera axes of cameras whose yaw has noise."""
    yaw = torch.randn(count, generator=torch.Generator().manual_seed(3)).double() * degrees * torch.pi / 180
    return axis_angle_to_matrix(torch.stack((0 * yaw, yaw, 0 * yaw), 1))


@pytest.fixture
def quadratic(monkeypatch) -> None:
    """Without robust weights."""
    for name in ("ROBUST_2D", "_ROBUST_ACCELERATION"):
        monkeypatch.setattr(problem_module, name, 1e4)


@pytest.mark.slow
@pytest.mark.parametrize("views", [0, 1])
def test_the_gradient_is_that_of_the_cost(rig, walk, quadratic, views):
    """Of the terms without robust weights, for which Gauss-Newton's gradient is exact."""
    problem = problem_of(
        rig, walk, perturbed(walk, 0.02), AlignmentWeights(acceleration=1.0), views=views, prior=default_prior()
    )
    chain = Chain(problem, motion_of(problem, shaken_cameras(5, 3.0)))
    state = perturbed(walk, 0.03, seed=1)
    gradient = chain.linearise(state).gradient
    random = torch.Generator().manual_seed(2)
    for _ in range(3):
        direction = torch.randn(5, FREE, generator=random).double()
        ends = [float(chain.linearise(chain.retract(state, h * direction)).cost) for h in (1e-5, -1e-5)]
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


def image_error(rig, walk, state: FitState) -> float:
    """Mean distance of the points from the true ones across the view, metres."""
    points = [rig.pose(*each[:3]).points[..., :2] for each in (state_of(walk), state)]
    return float((points[0] - points[1]).norm(dim=-1).mean())


@pytest.mark.slow
def test_another_camera_shows_the_depth(rig, walk):
    farther = state_of(walk)
    farther = farther._replace(root=farther.root * 1.06)
    alone, together = (solved_state(problem_of(rig, walk, farther, views=views), farther) for views in (0, 1))
    true = state_of(walk).root
    assert (alone.root - true).norm(dim=-1).min() > 0.1
    assert (together.root - true).norm(dim=-1).max() < 0.02


def test_windows_hold_the_other_cameras_rows(rig, walk):
    evidence = problem_of(rig, walk, state_of(walk), views=2).evidence
    for part, camera in zip(evidence.rows(slice(1, 3)).cameras, evidence.cameras, strict=True):
        assert torch.equal(part.pixels, camera.pixels[1:3])
        assert torch.equal(part.rotation, camera.rotation)


@pytest.mark.slow
def test_outliers_are_left_aside(rig, walk):
    start = perturbed(walk, 0.1)
    problem = problem_of(rig, walk, start)
    problem.evidence.cameras[0].pixels[:, ::5] += 80
    assert image_error(rig, walk, solved_state(problem, start)) < 0.02


def test_points_of_a_part_are_worth_what_their_correlation_leaves(rig):
    """Independent points count fully; those of a part that err alike count as one, however many there are."""
    surface = slice(0, rig.landmark_count - 33)
    parts = rig.weights[surface].argmax(1)
    visible = torch.ones(1, len(parts), dtype=torch.float64)
    assert torch.equal(independent_counts(rig, surface, visible, 0.0), visible)
    alike = independent_counts(rig, surface, visible, 1.0)[0]
    sums = torch.zeros(24, dtype=torch.float64).index_add_(0, parts, alike)
    torch.testing.assert_close(sums[sums > 0], torch.ones(int((sums > 0).sum()), dtype=torch.float64))
    part = int(parts.bincount().argmax())
    count = int((parts == part).sum())
    half = independent_counts(rig, surface, visible, 0.5)[0]
    assert half[parts == part].sum() == pytest.approx(count / (1 + (count - 1) * 0.5))
    visible[0, parts == part] = 0
    assert independent_counts(rig, surface, visible, 0.5)[0, parts == part].sum() == 0


def test_a_count_scales_the_term_of_its_point(rig, walk):
    """A point that counts twice has twice the cost and the curvature; one that counts nothing has none."""
    start = perturbed(walk, 0.05)
    problem = problem_of(rig, walk, start, rotation_noise=1e6)

    def dense(counts: float):
        problem.evidence.cameras[0].counts.fill_(counts)
        return problem.linearise_posed(start)[0]

    none, once, twice = (dense(counts) for counts in (0.0, 1.0, 2.0))
    torch.testing.assert_close(twice.cost - none.cost, 2 * (once.cost - none.cost))
    torch.testing.assert_close(twice.gradient - none.gradient, 2 * (once.gradient - none.gradient))
    torch.testing.assert_close(twice.hessian - none.hessian, 2 * (once.hessian - none.hessian))
    assert (once.cost > none.cost + 1).all()


@pytest.mark.extensive
def test_exact_displacements_are_followed_however_far_off_the_fit_is(rig, walk):
    """At their noise all are outliers of the fit; without a wider robust scale first, the body stays."""
    start = perturbed(walk, 0.15)
    solved = solved_state(problem_of(rig, walk, start, sigma=0.2), start)
    assert image_error(rig, walk, start) > 0.08
    assert image_error(rig, walk, solved) < 0.005


@pytest.mark.slow
def test_without_evidence_the_anchor_stays(rig, walk):
    start = perturbed(walk, 0.01)
    weights = AlignmentWeights(acceleration=1e6)
    problem = problem_of(rig, walk, start, weights, sigma=1e9)
    solved = solved_state(problem, start)
    assert geodesic_angle(solved.rotations, start.rotations).max() < 0.02
    torch.testing.assert_close(solved.root, start.root, atol=1e-2, rtol=0)


@pytest.mark.slow
def test_without_evidence_the_pose_prior_moves_nothing(rig, walk):
    """The fit is an optimum of keypoints and prior: without its keypoints the prior must not count again."""
    start = perturbed(walk, 0.2)
    problem = problem_of(rig, walk, start, AlignmentWeights(acceleration=1e6), sigma=1e9, prior=default_prior())
    energy = problem.prior.energy(start.rotations)
    assert energy.min() > 10
    solved = solved_state(problem, start)
    assert geodesic_angle(solved.rotations, start.rotations).max() < 1e-3


@pytest.mark.slow
def test_without_the_anchor_the_prior_pulls_and_nothing_holds_depth(rig, walk):
    """As in SMPLify, which begins at the fit and knows it no more."""
    start = perturbed(walk, 0.2)
    free = AlignmentWeights(anchor=False, acceleration=1e9)
    solved = solved_state(problem_of(rig, walk, start, free, sigma=1e9, prior=default_prior()), start)
    energies = [default_prior().energy(state.rotations) for state in (start, solved)]
    assert (energies[1] < 0.5 * energies[0]).all()
    farther = state_of(walk)._replace(root=state_of(walk).root * 1.2)
    held, moved = (
        solved_state(problem_of(rig, walk, farther, weights), farther).root[:, 2].mean()
        for weights in (AlignmentWeights(acceleration=1e9), free)
    )
    true = state_of(walk).root[:, 2].mean()
    assert abs(moved - true) < 0.3 * abs(held - true)


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [0.3, *extensive(1.0)])
def test_true_bodies_before_a_camera_that_shakes_stay(rig, walk, degrees):
    """A body that stands does not accelerate, however its camera turns."""
    to_camera = shaken_cameras(len(walk.rotations), degrees)
    true = state_of(walk)
    rotations = true.rotations.clone()
    rotations[:, 0] = to_camera @ rotations[:, 0]
    true = true._replace(rotations=rotations, root=(to_camera @ true.root[..., None]).squeeze(-1))
    problem = problem_of(rig, walk, true, true=true)
    solved = solved_state(problem, true, to_camera)
    moved = (rig.pose(*solved[:3]).joints - rig.pose(*true[:3]).joints).norm(dim=-1)
    assert moved.mean() < 5e-4


@pytest.mark.slow
def test_neighbouring_frames_steady_each_other(rig, walk, quadratic):
    """Joints that jitter from frame to frame without evidence become smooth; held rows do not move."""
    start = perturbed(walk, 0.05)
    problem = problem_of(rig, walk, start, AlignmentWeights(acceleration=0.5), sigma=1e9, rotation_noise=1.0)
    chain = Chain(problem, motion_of(problem)._replace(held_count=2))
    solved = minimise(chain, start, SolverOptions(iterations=20, tolerance=1e-3, damping=1e-3))
    assert torch.equal(solved.rotations[:2], start.rotations[:2])

    def jitter(state):
        joints = rig.pose(*state[:3]).joints
        return (joints[2:] - 2 * joints[1:-1] + joints[:-2]).norm(dim=-1).mean()

    assert jitter(solved) < 0.5 * jitter(start)


def test_steady_motion_costs_nothing_whatever_the_times(rig, walk):
    """A body that glides: accelerations are those of the frames' own times."""
    seconds = torch.tensor([0, 0.02, 0.08, 0.1, 0.3]).double()
    start = state_of(walk, walk.rotations[:1].expand(5, -1, -1, -1))
    start.root.copy_(start.root[:1] + seconds[:, None] * torch.tensor([1.0, 0, 0]).double())
    problem = problem_of(rig, walk, start)
    posed = rig.pose(*start[:3])
    world = posed.points[:, rig.landmark_count :]
    assert Chain(problem, motion_of(problem, seconds=seconds))._motion_terms(world).cost < 1e-9
    assert Chain(problem, motion_of(problem))._motion_terms(world).cost > 1
