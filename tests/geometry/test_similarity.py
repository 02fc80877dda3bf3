import numpy as np
import torch
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.geometry.similarity import fit_similarity, procrustes_align


def random_similarities(count, points, seed=0):
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(count, points, 3, generator=generator, dtype=torch.float64)
    rotation = axis_angle_to_matrix(2 * torch.randn(count, 3, generator=generator, dtype=torch.float64))
    scale = torch.rand(count, generator=generator, dtype=torch.float64) + 0.2
    translation = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    target = scale[:, None, None] * source @ rotation.mT + translation[:, None]
    return source, target, scale, rotation, translation


def test_exact_on_ten_thousand_random_similarities():
    source, target, scale, rotation, translation = random_similarities(10_000, 6)
    fitted = fit_similarity(source, target)
    torch.testing.assert_close(fitted.scale, scale)
    torch.testing.assert_close(fitted.rotation, rotation)
    torch.testing.assert_close(fitted.translation, translation)
    torch.testing.assert_close(fitted.apply(source), target)


def test_never_a_reflection_even_of_mirrored_or_flat_points():
    source, target, *_ = random_similarities(500, 3, seed=1)
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    for goal in (target, mirrored, torch.randn_like(target)):
        fitted = fit_similarity(source, goal)
        torch.testing.assert_close(torch.linalg.det(fitted.rotation), torch.ones(500, dtype=torch.float64))


def test_weights_leave_out_points():
    source, target, *_ = random_similarities(50, 8, seed=2)
    spoiled = target.clone()
    spoiled[:, 5:] += 3.0
    weights = torch.ones(50, 8, dtype=torch.float64)
    weights[:, 5:] = 0
    torch.testing.assert_close(fit_similarity(source, spoiled, weights).apply(source), target)


def test_rigid_rotation_agrees_with_scipy():
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64)
    ours = fit_similarity(a, b, with_scale=False)
    expected, _ = Rotation.align_vectors((b - b.mean(0)).numpy(), (a - a.mean(0)).numpy())
    np.testing.assert_allclose(ours.rotation, expected.as_matrix(), atol=1e-10)
    assert ours.scale == 1


def test_procrustes_error_agrees_with_scipy():
    generator = torch.Generator().manual_seed(4)
    target, noise = torch.randn(2, 12, 3, generator=generator, dtype=torch.float64)
    source = target @ axis_angle_to_matrix(torch.tensor([0.3, 1.0, -0.4], dtype=torch.float64)) + 0.1 * noise
    error = (procrustes_align(source, target) - target).square().sum()
    norm = (target - target.mean(0)).square().sum()
    np.testing.assert_allclose(error / norm, procrustes(target.numpy(), source.numpy())[2], rtol=1e-9)


def test_coincident_points_give_the_identity():
    fitted = fit_similarity(torch.ones(1, 4, 3), torch.full((1, 4, 3), 2.0))
    torch.testing.assert_close(fitted.rotation, torch.eye(3)[None])
    torch.testing.assert_close(fitted.scale, torch.ones(1))
    torch.testing.assert_close(fitted.translation, torch.ones(1, 3))
