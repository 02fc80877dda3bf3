"""Errors of whole bodies: known answers."""

import numpy as np
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.metrics.bodies import Bodies, BodyErrors, body_errors, head_height

FOCAL, CENTRE = torch.full((3,), 500.0), torch.full((3, 2), 256.0)


def bodies():
    generator = torch.Generator().manual_seed(1)
    rotations = sample_poses(3, generator)
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotations[:, 0]
    return Bodies(rotations, torch.randn(3, 10, generator=generator), torch.tensor([[0.1, 0.0, 4.0]] * 3))


def test_the_truth_has_no_error():
    errors = body_errors(default_body(), bodies(), bodies(), FOCAL, CENTRE)
    angles = ("rotation", "absolute_rotation", "angle", "pa_angle")
    for name in ("mpjpe", "pa_mpjpe", "pve", "pa_pve", *angles):
        angle = name in angles
        np.testing.assert_allclose(getattr(errors, name), 0, atol=2e-3 if angle else 1e-5)
    np.testing.assert_array_equal(errors.pckh, 1)


def test_a_body_elsewhere_errs_in_the_image_alone():
    true = bodies()
    moved = true._replace(root=true.root + torch.tensor([1.0, 0.0, 0.0]))
    errors = body_errors(default_body(), moved, true, FOCAL, CENTRE)
    np.testing.assert_allclose(errors.mpjpe, 0, atol=1e-5)
    np.testing.assert_allclose(errors.pve, 0, atol=1e-5)
    np.testing.assert_array_equal(errors.pckh, 0)


def test_longer_segments_err_by_their_length():
    """By 1.3 they are of one shape at another size."""
    true, body = bodies(), default_body()
    longer = true._replace(segment_scales=torch.full((3, 24), 1.3))
    errors = body_errors(body, longer, true, FOCAL, CENTRE)
    joints = true.posed(body, vertices=False).joints
    expected = 0.3 * (joints - joints[:, :1]).norm(dim=-1).mean(1)
    np.testing.assert_allclose(errors.mpjpe, expected, rtol=1e-4)
    assert (errors.pve > 0.1).all()
    np.testing.assert_allclose(errors.pa_mpjpe, 0, atol=1e-4)
    np.testing.assert_allclose(body_errors(body, longer, longer, FOCAL, CENTRE).mpjpe, 0, atol=1e-6)
    np.testing.assert_allclose(body_errors(body, longer, longer.taken(slice(3)), FOCAL, CENTRE).pve, 0, atol=1e-6)


def test_pckh_allows_half_a_head():
    true, body = bodies(), default_body()
    head = head_height(body, true.betas)
    assert ((head > 0.18) & (head < 0.36)).all()  # of grown people, in metres, with hairless skull and jaw
    for share, right in ((0.4, 1.0), (0.62, 0.0)):
        moved = true._replace(root=true.root + torch.stack((share * head, 0 * head, 0 * head), 1))
        np.testing.assert_allclose(body_errors(body, moved, true, FOCAL, CENTRE).pckh, right, atol=0.2)
    large = true._replace(segment_scales=torch.full((3, 24), 1.6))  # of whom 0.62 of a usual head is less than half
    moved = large._replace(root=large.root + torch.stack((0.62 * head, 0 * head, 0 * head), 1))
    np.testing.assert_allclose(body_errors(body, moved, large, FOCAL, CENTRE).pckh, 1, atol=0.2)


def test_a_turned_body_is_right_after_procrustes_and_one_joint_is_its_angle():
    true = bodies()
    quarter = axis_angle_to_matrix(torch.tensor([0.0, np.pi / 2, 0.0]))
    turned = true.rotations.clone()
    turned[:, 0] = quarter @ turned[:, 0]
    errors = body_errors(default_body(), true._replace(rotations=turned), true, FOCAL, CENTRE)
    np.testing.assert_allclose(errors.pa_mpjpe, 0, atol=1e-4)
    np.testing.assert_allclose(errors.rotation, np.pi / 2 / len(SMPL24), rtol=1e-3)
    assert (errors.mpjpe > 0.05).all()
    np.testing.assert_allclose(errors.pa_pve, 0, atol=1e-4)
    assert (errors.pve > 0.05).all()
    for name in ("angle", "absolute_rotation"):
        np.testing.assert_allclose(getattr(errors, name), np.pi / 2, rtol=1e-3)  # every absolute rotation
    np.testing.assert_allclose(errors.pa_angle, 0, atol=2e-3)


def test_angles_are_of_the_nine_major_joints():
    true = bodies()
    bent = true.rotations.clone()
    turn = axis_angle_to_matrix(torch.tensor([0.3, 0.0, 0.0]))
    for name in ("left_elbow", "left_wrist", "head"):  # the wrist and the head do not count
        bent[:, SMPL24.index(name)] = bent[:, SMPL24.index(name)] @ turn
    errors = body_errors(default_body(), true._replace(rotations=bent), true, FOCAL, CENTRE)
    np.testing.assert_allclose(errors.angle, 0.3 / 9, rtol=1e-3)


def test_parts_join():
    true = bodies()
    errors = body_errors(default_body(), true, true, FOCAL, CENTRE)
    joined = BodyErrors.joined([errors.taken(np.array([0])), errors.taken(np.array([1, 2]))])
    for one, other in zip(joined, errors, strict=True):
        np.testing.assert_array_equal(one, other)
    none = true.taken(slice(0))
    assert len(body_errors(default_body(), none, none, FOCAL[:0], CENTRE[:0]).mpjpe) == 0
