"""Bodies by segment scales: the same as the body itself poses, for any points, in any rigged body."""

from __future__ import annotations

import torch

from humanpose_cli.body.body import Body
from humanpose_cli.body.scaled_body import POSE_SIZE, ScaledBody, ScaledPose, gram_schmidt, in_image
from humanpose_cli.core.conventions import SMPL24


def poses(count: int = 3) -> ScaledPose:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, generator=generator)

    start = ScaledPose.t_pose(count)
    return ScaledPose(
        1 + 0.1 * normal(24),
        0.5 * normal(23, 3),
        start.orientation + 0.3 * normal(9),
        normal().exp(),
        normal(2),
    )


def test_points_are_where_the_body_poses_them(body: Body) -> None:
    pose, scaled = poses(), ScaledBody(body)
    posed = body.pose(pose.rotations, torch.zeros(1, 10), segment_scales=pose.segment_scales)
    pelvis = posed.joints[:, :1]
    index = torch.arange(0, len(body.template), 97)
    assert torch.allclose(scaled.points(pose, scaled.vertices(index)), posed.vertices[:, index] - pelvis, atol=1e-5)
    assert torch.allclose(scaled.points(pose, scaled.landmarks("smpl24")), posed.joints - pelvis, atol=1e-5)
    coco = body.pose_landmarks("coco17", posed, torch.zeros(1, 10)) - pelvis
    assert torch.allclose(scaled.points(pose, scaled.landmarks("coco17")), coco, atol=1e-5)


def test_t_pose_looks_into_the_camera(body: Body) -> None:
    scaled, pose = ScaledBody(body), ScaledPose.t_pose(1)
    shown = in_image(scaled.points(pose, scaled.landmarks("smpl24")), pose)[0]
    x, y, _ = shown[SMPL24.index("left_hand")]
    assert x > 0.5  # on the right of the image
    assert y < 0  # above the pelvis
    assert shown[SMPL24.index("left_foot"), 2] < 0  # toes point to the camera
    assert torch.allclose(shown[SMPL24.index("pelvis")], torch.zeros(3), atol=1e-6)


def test_weak_perspective_scales_and_moves() -> None:
    pose = ScaledPose.t_pose(1)._replace(scale=torch.tensor([2.0]), translation=torch.tensor([[3.0, -1.0]]))
    assert in_image(torch.tensor([[[1.0, 2.0, 3.0]]]), pose)[0, 0].tolist() == [5.0, 3.0, 6.0]


def test_gram_schmidt_keeps_rotations_and_the_sign_of_the_determinant() -> None:
    rotations = poses().rotations[:, 5]
    assert torch.allclose(gram_schmidt(rotations.flatten(1)), rotations, atol=1e-6)
    stretched = rotations @ torch.tensor([[2.0, 0.3, -1.0], [0.0, 0.7, 0.4], [0.0, 0.0, 1.5]])
    assert torch.allclose(gram_schmidt(stretched.flatten(1)), rotations, atol=1e-5)
    reflected = stretched * torch.tensor([1.0, 1.0, -1.0])
    assert torch.allclose(torch.linalg.det(gram_schmidt(reflected.flatten(1))), -torch.ones(3), atol=1e-5)


def test_vector_round_trip() -> None:
    pose = poses()
    assert pose.vector.shape == (3, POSE_SIZE)
    for before, after in zip(pose, ScaledPose.from_vector(pose.vector), strict=True):
        assert torch.equal(before, after)


def test_gradients_reach_every_parameter(body: Body) -> None:
    scaled = ScaledBody(body)
    pose = ScaledPose(*(values.requires_grad_() for values in poses()))
    in_image(scaled.points(pose, scaled.landmarks("coco17")), pose).square().sum().backward()
    for name, values in zip(pose._fields, pose, strict=True):
        assert values.grad is not None, name
        assert values.grad.isfinite().all(), name
        assert values.grad.any(), name
