"""Registration: bodies come back from their own evidence, and every term does what its formula says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.errors import raises

from humanpose_cli.body.body import default_body
from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose, in_image
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.models.deform_and_learn import registration
from humanpose_cli.models.deform_and_learn.registration import (
    PAPER_WEIGHTS,
    ROBUST_WEIGHTS,
    Registration,
    RegistrationEvidence,
    RegistrationOptions,
    RegistrationWeights,
    determinant_loss,
    initial_pose,
    joint_loss,
    refine_predictions,
    register,
    registration_loss,
    scale_loss,
)

BODY = ScaledBody(default_body())
JOINTS = BODY.landmarks("smpl24")


def truth(count: int = 3, bend: float = 0.25) -> ScaledPose:
    generator = torch.Generator().manual_seed(5)
    turn = axis_angle_to_matrix(torch.tensor([[0.0, 0.4, 0.1], [0.2, 3.0, 0.0], [0.0, -1.8, 0.3]]))[:count]
    start = ScaledPose.t_pose(count)
    return ScaledPose(
        start.segment_scales,
        bend * torch.randn(count, 23, 3, generator=generator),
        (turn @ start.orientation.unflatten(1, (3, 3))).flatten(1),
        torch.full((count,), 0.9),
        torch.tensor([[0.1, 0.0], [0.0, -0.2], [0.05, 0.1]])[:count],
    )


def evidence(pose: ScaledPose, points: int = 60) -> RegistrationEvidence:
    generator = torch.Generator().manual_seed(7)
    count = len(pose.scale)
    joints = in_image(BODY.points(pose, JOINTS), pose)
    rows = BODY.vertices(torch.randint(len(BODY.body.template), (count, points), generator=generator))
    points2d = in_image(BODY.points(pose, rows), pose)[..., :2]
    ones = torch.ones(count, 24)
    depths = joints[..., 2] + 7
    return RegistrationEvidence(JOINTS, joints[..., :2], ones, points2d, rows, torch.ones(count, points), depths)


def error(found: ScaledPose, pose: ScaledPose) -> float:
    """Mean distance of the joints, metres of the true body."""
    apart = found.scale[:, None, None] * BODY.points(found, JOINTS) / pose.scale[:, None, None]
    return float((apart - BODY.points(pose, JOINTS)).norm(dim=-1).mean())


@pytest.mark.slow
def test_the_truth_costs_nothing_but_its_pose() -> None:
    pose = truth()
    loss = registration_loss(BODY, evidence(pose), pose, ROBUST_WEIGHTS)
    assert torch.allclose(loss, 0.001 * joint_loss(pose), atol=1e-4)


def test_trunk_of_a_t_pose_is_placed_in_closed_form() -> None:
    pose = truth(bend=0.0)
    start = initial_pose(BODY, evidence(pose))
    assert torch.allclose(start.rotations[:, 0], pose.rotations[:, 0], atol=1e-4)
    assert torch.allclose(start.scale, pose.scale, rtol=1e-4)
    assert torch.allclose(start.translation, pose.translation, atol=1e-4)


@pytest.mark.extensive
def test_bodies_come_back_from_a_t_pose() -> None:
    pose = truth()
    targets = evidence(pose)
    options = replace(RegistrationOptions(), steps=80)
    start = initial_pose(BODY, targets)
    found = register(BODY, targets, None, options)
    assert found.accepted.all()
    assert (torch.linalg.det(found.pose.rotations[:, 0]) > 0.99).all()
    assert error(found.pose, pose) < 0.4 * error(start, pose)


@pytest.mark.parametrize(("share", "stiff"), [(0.0, 0), (0.5, 2), (1.0, 4)])
def test_a_t_pose_is_stiff_for_a_share_of_the_steps(share: float, stiff: int, monkeypatch: pytest.MonkeyPatch) -> None:
    targets, weights = evidence(truth(1)), []
    loss = registration.registration_loss
    monkeypatch.setattr(
        registration, "registration_loss", lambda *arguments: weights.append(arguments[3]) or loss(*arguments)
    )
    options = RegistrationOptions(steps=4, stiff=share)
    start = register(BODY, targets, None, options).pose
    register(BODY, targets, start, options)
    assert [(used.scale, used.joint) for used in weights] == [(100.0, 1.0)] * stiff + [(10.0, 0.001)] * (8 - stiff)


def test_the_learning_rate_falls_over_the_last_steps_or_not_at_all() -> None:
    """Adam's first step is as long as the learning rate, whatever the gradient."""
    targets = evidence(truth(1))
    start = initial_pose(BODY, targets)

    def moved(falling: float, steps: int) -> float:
        found = register(BODY, targets, start, RegistrationOptions(steps=steps, falling=falling)).pose
        return float((found.vector - start.vector).abs().max())

    assert moved(0.0, 1) == pytest.approx(0.1, rel=1e-3)
    assert moved(1.0, 1) == 0
    assert moved(0.5, 1) == 0
    assert moved(0.5, 2) == pytest.approx(0.1, rel=1e-3)  # the second step has the rate 0
    assert moved(1.0, 2) == pytest.approx(0.05, rel=1e-3)


def dense_loss(distance: float, weights: RegistrationWeights) -> float:
    """L_dense at the truth with half of the correspondences moved aside by a distance."""
    pose = truth(1, bend=0.0)
    targets = evidence(pose)
    targets.points[:, ::2, 0] += distance
    others = registration_loss(BODY, targets, pose, weights._replace(dense=0.0))
    return float(registration_loss(BODY, targets, pose, weights) - others)


def test_outliers_among_correspondences_cost_no_more_than_a_bound() -> None:
    near, far = (dense_loss(distance, ROBUST_WEIGHTS) for distance in (0.02, 5.0))
    assert near == pytest.approx(60 / 2 * 0.02**2 / (1 + 0.02**2 / 0.1**2), rel=1e-3)
    assert far == pytest.approx(60 / 2 * 0.1**2, rel=1e-2)
    assert dense_loss(5.0, ROBUST_WEIGHTS._replace(outlier=0.0)) == pytest.approx(60 / 2 * 25, rel=1e-4)


def test_the_papers_term_is_the_mean_of_squares_a_thousand_times() -> None:
    assert dense_loss(0.3, RegistrationOptions(paper=True).weights) == pytest.approx(1000 / 2 * 0.3**2, rel=1e-4)
    assert RegistrationOptions().weights == ROBUST_WEIGHTS


def test_depths_weigh_less_where_there_are_correspondences() -> None:
    pose = truth()
    targets = evidence(pose)
    targets.depths[:, 5] += 0.2
    targets.point_confidence[1] = 0
    targets = replace(targets, confidence=0.5 * targets.confidence)
    missed = 0.5 * 0.2**2 * (1 - 1 / 24) * torch.tensor([0.3, 1.0, 0.3])
    weights = ROBUST_WEIGHTS._replace(joint=0.0)
    torch.testing.assert_close(registration_loss(BODY, targets, pose, weights), missed, atol=1e-5, rtol=1e-3)
    of_paper = registration_loss(BODY, targets, pose, PAPER_WEIGHTS._replace(joint=0.0))
    torch.testing.assert_close(of_paper, missed.amax().expand(3), atol=1e-5, rtol=1e-3)


@pytest.mark.extensive
def test_a_limb_taken_for_the_other_one_does_not_pull_exact_keypoints() -> None:
    pose = truth()
    targets = evidence(pose, 200)
    arm = SMPL24.indices(("left_shoulder", "left_elbow", "left_wrist", "left_hand"))
    on_limb = torch.isin(targets.point_rows.unflatten(-1, (24, 4))[..., 3].argmax(-1), torch.tensor(arm))
    assert on_limb.sum(1).min() > 10
    mirrored = in_image(BODY.points(pose, JOINTS[list(SMPL24.mirror)]), pose)[:, arm[0], :2]
    swapped = replace(targets, points=torch.where(on_limb[..., None], mirrored[:, None], targets.points))
    apart = {
        paper: error(register(BODY, swapped, pose, RegistrationOptions(paper=paper, steps=60)).pose, pose)
        for paper in (False, True)
    }
    assert apart[False] < 0.02, apart
    assert apart[True] > 3 * apart[False]


def test_images_do_not_influence_one_another() -> None:
    pose = truth()
    options = replace(RegistrationOptions(), steps=5)
    together = register(BODY, evidence(pose), None, options).pose.vector
    targets = evidence(pose)
    cut = {n: v[1:2] for n, v in vars(targets).items() if n != "joints"}
    alone = register(BODY, RegistrationEvidence(joints=JOINTS, **cut), None, options).pose.vector
    assert torch.allclose(together[1:2], alone, atol=1e-4)


def test_evidence_without_confidence_pulls_nowhere() -> None:
    pose = truth()
    targets = evidence(pose)
    broken = replace(
        targets, keypoints=targets.keypoints.clone(), points=targets.points.clone(), confidence=targets.confidence * 1
    )
    broken.keypoints[:, 3] = 9.0
    broken.confidence[:, 3] = 0
    loss = registration_loss(BODY, broken, pose, ROBUST_WEIGHTS)
    assert torch.allclose(loss, 0.001 * joint_loss(pose), atol=1e-4)
    nothing = replace(targets, confidence=0 * targets.confidence, point_confidence=0 * targets.point_confidence)
    assert not register(BODY, nothing, None, RegistrationOptions(steps=2)).accepted.any()


def test_what_is_wrong_is_rejected() -> None:
    pose = truth()
    still = replace(RegistrationOptions(), learning_rate=1e-9, steps=1)

    def accepted(start: ScaledPose, targets: RegistrationEvidence) -> Registration:
        return register(BODY, targets, start, still)

    assert accepted(pose, evidence(pose)).accepted.all()
    moved = pose._replace(translation=pose.translation + 0.2)
    assert not accepted(moved, evidence(pose)).accepted.any()
    reflected = pose._replace(
        orientation=(pose.orientation.unflatten(1, (3, 3)) * torch.tensor([1, 1, -1.0])).flatten(1)
    )
    assert not accepted(reflected, evidence(reflected)).accepted.any()
    knee = SMPL24.index("left_knee") - 1
    bent = pose._replace(axis_angles=pose.axis_angles.clone())
    bent.axis_angles[:, knee] = torch.tensor([-2.0, 0.0, 0.0])
    assert not accepted(bent, evidence(bent)).accepted.any()
    inside_out = pose._replace(segment_scales=pose.segment_scales.clone())
    inside_out.segment_scales[:, 4] = -1.0
    assert not accepted(inside_out, evidence(inside_out)).accepted.any()


def test_losses_of_constructed_bodies() -> None:
    scales = torch.ones(1, 24)
    assert scale_loss(scales).item() == 0
    assert scale_loss(2 * scales).item() == pytest.approx(1.0)  # nothing but the mean has changed
    scales[0, SMPL24.index("left_hand")] = 1.24
    assert scale_loss(scales).item() == pytest.approx(0.24**2 / 23 + 0.24**2 / 9 + 0.01**2, rel=1e-4)
    angles = torch.zeros(1, 23, 3)
    angles[0, SMPL24.index("left_knee") - 1, 0] = 0.5  # flexed, within its range
    assert joint_loss(ScaledPose.t_pose(1)._replace(axis_angles=angles)).item() == pytest.approx(0.25 / 23, rel=1e-4)
    assert joint_loss(ScaledPose.t_pose(1)._replace(axis_angles=-angles)).item() > 1
    assert determinant_loss(2 * torch.eye(3).flatten()[None]).item() == 0
    assert determinant_loss(torch.diag(torch.tensor([1.0, 1.0, -1.0])).flatten()[None]).item() == 4


def test_options_are_checked() -> None:
    with raises(UsageError, subject="rate"):
        RegistrationOptions(learning_rate=0)


def test_pixels_of_a_neighbour_reject_no_body() -> None:
    """A robust fit is measured by the median of its correspondences, weighted by confidence; squares by their mean."""
    pose, targets = truth(), evidence(truth(), points=100)
    still = replace(RegistrationOptions(), learning_rate=1e-9, steps=1)

    def found(count: int, options: RegistrationOptions, confidence: float = 1.0) -> Registration:
        points, weights = targets.points.clone(), targets.point_confidence.clone()
        points[:, :count] += 0.8
        weights[:, :count] = confidence
        return register(BODY, replace(targets, points=points, point_confidence=weights), pose, still)

    def squares(count: int) -> Registration:
        points = targets.points.clone()
        points[:, :count] += 0.8
        return register(BODY, replace(targets, points=points), pose, replace(still, paper=True))

    neighbours = found(49, still)
    assert neighbours.accepted.all()
    assert neighbours.dense_error.max() < 1e-3
    assert not found(51, still).accepted.any()
    assert found(90, still, confidence=0.1).accepted.all()
    assert not squares(49).accepted.any()
    assert squares(49).dense_error == pytest.approx(torch.full((3,), 0.8 * (2 * 0.49) ** 0.5), abs=1e-3)


@pytest.mark.extensive
def test_predictions_are_refined_by_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Landmarks have the depths of the predictions; people without landmarks, and those rejected, stay as predicted."""
    pose = truth(3)
    predicted = pose._replace(
        axis_angles=pose.axis_angles + 0.15 * torch.randn(3, 23, 3, generator=torch.Generator().manual_seed(2)),
        translation=pose.translation + 0.05,
    )
    rows, calls = BODY.landmarks("blazepose33"), []
    landmarks = torch.cat((in_image(BODY.points(pose, rows), pose)[..., :2], torch.full((3, 33, 1), 0.9)), 2)
    landmarks[1] = torch.nan
    landmarks[2, ::2, 0] += 2  # no body has these

    def watched(body, evidence, start, options):
        calls.append((evidence, (options.steps, options.learning_rate)))
        return register(body, evidence, start, options)

    monkeypatch.setattr(registration, "register", watched)
    refined = refine_predictions(BODY, predicted, landmarks)
    (used, schedule), expected = calls[0], in_image(BODY.points(predicted, rows), predicted)[..., 2]
    assert schedule == (120, 0.03)
    assert torch.equal(used.depths, expected)
    assert torch.equal(used.confidence, torch.nan_to_num(landmarks[..., 2]))
    assert torch.equal(refined.vector[1:], predicted.vector[1:])

    def apart(some: ScaledPose) -> float:
        offsets = in_image(BODY.points(some, rows), some)[..., :2] - landmarks[..., :2]
        return float(offsets[0].norm(dim=-1).mean())

    assert apart(refined) < 0.25 * apart(predicted)
