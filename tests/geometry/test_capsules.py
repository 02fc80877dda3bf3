"""Distances to capsules: known answers, a search along the segment as oracle, bad numbers."""

from __future__ import annotations

import pytest
import torch

from humanpose_cli.geometry.capsules import capsule_coverage, segment_distances_squared


def random_capsules(*shape: int, axes: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randn((*shape, 2 * axes), generator=generator, dtype=torch.float64)
    return torch.cat((ends, torch.rand((*shape, 1), generator=generator, dtype=torch.float64)), -1)


def split_capsules(capsules: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(..., 2 n + 1) → starts (..., n), ends (..., n), radii (...)."""
    n = capsules.shape[-1] // 2
    return capsules[..., :n], capsules[..., n : 2 * n], capsules[..., 2 * n]


def capsule_distances(points: torch.Tensor, capsules: torch.Tensor) -> torch.Tensor:
    """Signed distances (..., K, N) of every point (..., N, n) to every capsule's surface, negative inside."""
    starts, ends, radii = split_capsules(capsules)
    squared = segment_distances_squared(points[..., None, :, :], starts[..., None, :], ends[..., None, :])
    return squared.sqrt() - radii[..., None]


def test_reference_distances():
    capsule = torch.tensor([[0.0, 0, 0, 4, 0, 0, 1]])
    points = torch.tensor([[2.0, 3, 0], [-3, 0, 4], [7, 0, 4], [2, 0, 0], [2, 0.6, 0.8]])
    torch.testing.assert_close(capsule_distances(points, capsule), torch.tensor([[2.0, 4, 4, -1, 0]]))
    flat = torch.tensor([[0.0, 0, 0, 4, 0.5]])
    torch.testing.assert_close(capsule_distances(points[:, :2], flat)[0, :2], torch.tensor([1.5, 2.5]))


@pytest.mark.parametrize("axes", [2, 3])
def test_distances_are_the_smallest_along_the_segment(axes):
    capsules = random_capsules(3, 5, axes=axes)
    points = torch.randn(3, 40, axes, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    starts, ends, radii = split_capsules(capsules)
    along = torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None]
    positions = starts[..., None, :] + along * (ends - starts)[..., None, :]  # [3, 5, 4001, n]
    nearest = torch.cdist(points[:, None], positions).amin(-1)
    torch.testing.assert_close(capsule_distances(points, capsules), nearest - radii[..., None], rtol=0, atol=1e-3)


def test_a_segment_of_length_zero_makes_a_sphere():
    capsules = random_capsules(4)
    capsules[:, 3:6] = capsules[:, :3]
    points = torch.randn(9, 3, dtype=torch.float64)
    expected = torch.cdist(capsules[:, :3], points) - capsules[:, 6:]
    torch.testing.assert_close(capsule_distances(points, capsules), expected)


def test_coverage_has_its_middle_on_the_surface():
    distances = torch.tensor([0.0, 1, 2, 2.5, 3, 4])
    assert capsule_coverage(distances**2, torch.tensor(2.0), 0.0).tolist() == [1, 1, 1, 0, 0, 0]
    assert capsule_coverage(distances**2, torch.tensor(2.0), 2.0).tolist() == [1, 1, 0.5, 0.25, 0, 0]
    assert capsule_coverage(torch.zeros(1), torch.tensor(-1.0), 0.0).tolist() == [0]
    nan = torch.tensor(float("nan"))
    for softness in (0.0, 1.0):
        assert capsule_coverage(nan, torch.tensor(1.0), softness) == 0
        assert capsule_coverage(torch.tensor(0.0), nan, softness) == 0
