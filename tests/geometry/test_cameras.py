import torch

from humanpose_cli.core.camera import back_project, default_focal, project


def test_axes_and_principal_point():
    focal, centre = torch.tensor(500.0), torch.tensor([320.0, 240.0])
    points = torch.tensor([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0], [0.0, 1.0, 2.0]])
    expected = torch.tensor([[320.0, 240.0], [570.0, 240.0], [320.0, 490.0]])  # x right, y down
    torch.testing.assert_close(project(points, focal, centre), expected)


def test_back_projection_inverts_projection():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(4, 10, 3, generator=generator) + torch.tensor([0.0, 0.0, 1.0])
    focal, centre = 500 + 100 * torch.rand(4, generator=generator), torch.rand(4, 2, generator=generator)
    pixels = project(points, focal, centre)
    torch.testing.assert_close(back_project(pixels, points[..., 2], focal, centre), points)


def test_points_behind_the_camera_stay_finite():
    points = torch.tensor([[1.0, 1.0, -3.0], [1.0, 1.0, 0.0]], requires_grad=True)
    pixels = project(points, torch.tensor(500.0), torch.zeros(2))
    pixels.sum().backward()
    assert pixels.isfinite().all()
    assert points.grad.isfinite().all()


def test_default_focal_looks_over_the_longer_side():
    assert default_focal(1920, 1080) == default_focal(1080, 1920) == 1.2 * 1920
