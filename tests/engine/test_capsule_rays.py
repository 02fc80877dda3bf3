"""First surfaces on rays: closed forms, a march in small steps as the oracle, and the kernel against the reference."""

import math

import pytest
import torch

from humanpose_cli.bodies.warping_parts import warping_parts
from humanpose_cli.engine.warping import first_surfaces
from humanpose_cli.errors import UsageError
from humanpose_cli.geometry.capsules import capsule_distances
from tests.reposing.warp3d_poses import arm_raised, standing

STILL = torch.eye(3, 4)[None, None]
NOBODY = math.inf
BOTH = pytest.mark.parametrize("backend", ["kernel", "reference"])


def person(size=48, seed=0):
    random = torch.Generator().manual_seed(seed)
    source, target = standing(size, 2), arm_raised(size, 2)
    target = target + torch.randn(target.shape, generator=random) * size / 60
    parts = warping_parts(source, target)
    return parts.capsules, parts.part_of_capsule, parts.target_to_source


@BOTH
def test_a_ball_and_a_cylinder_by_hand(device, backend):
    ball = torch.tensor([[[5.5, 5.5, 10.0, 5.5, 5.5, 10.0, 3.0]]], device=device)
    bar = torch.tensor([[[2.5, 4.5, 20.0, 8.5, 4.5, 20.0, 2.0]]], device=device)
    rows = torch.zeros(1, dtype=torch.int32, device=device)
    found = first_surfaces(ball, rows, STILL.to(device), (11, 11), backend=backend)
    assert found.depth[0, 5, 5].item() == pytest.approx(7)
    assert found.depth[0, 5, 7].item() == pytest.approx(10 - math.sqrt(5), abs=1e-5)
    assert found.depth[0, 5, 9].item() == NOBODY
    torch.testing.assert_close(found.point[0, 5, 7].cpu(), torch.tensor([7.5, 5.5, 10 - math.sqrt(5)]))
    assert found.covered[0].sum() == found.depth.isfinite().sum()
    soft = first_surfaces(ball, rows, STILL.to(device), (11, 11), softness=2.0, backend=backend)
    assert soft.covered[0, 5, 8].item() == pytest.approx(0.5, abs=1e-5)  # 3 from the middle, the radius
    found = first_surfaces(bar, rows, STILL.to(device), (11, 11), backend=backend)
    assert found.depth[0, 4, 2:9].tolist() == pytest.approx([18.0] * 7)
    assert found.depth[0, 5, 5].item() == pytest.approx(20 - math.sqrt(3), abs=1e-5)
    assert found.depth[0, 4, 9].item() == pytest.approx(20 - math.sqrt(3), abs=1e-5)  # the bar's round end
    assert found.depth[0, 7, 5].item() == NOBODY


@BOTH
def test_a_part_that_moves_is_met_where_it_went(device, backend):
    """Twice as large and 4 pixels to the right: the source's point is where the map says."""
    ball = torch.tensor([[[5.5, 5.5, 10.0, 5.5, 5.5, 10.0, 1.5]]], device=device)
    moved = torch.tensor([[[[0.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0.5, 0]]]], device=device)
    rows = torch.zeros(1, dtype=torch.int32, device=device)
    found = first_surfaces(ball, rows, moved, (22, 22), backend=backend)
    assert found.depth[0, 10, 10].item() == pytest.approx(20 - 2 * math.sqrt(1.5**2 - 2 * 0.25**2), abs=1e-4)
    hit = found.depth[0].isfinite()
    distance = (found.point[0][hit] - torch.tensor([5.5, 5.5, 10.0], device=device)).norm(dim=-1)
    torch.testing.assert_close(distance, torch.full_like(distance, 1.5))


def test_the_first_point_inside_is_what_a_march_in_small_steps_finds():
    capsules, rows, maps = (t[:1] if t.ndim > 1 else t for t in person(24))
    found = first_surfaces(capsules, rows, maps, (24, 24), backend="reference")
    step = 0.02
    z = torch.arange(-20, 50, step)
    best = torch.full((24, 24), math.inf)
    for k, part in enumerate(rows.tolist()):
        affine = maps[0, part]
        for y in range(24):
            pixels = torch.stack(torch.broadcast_tensors(torch.arange(24)[:, None] + 0.5, y + torch.tensor(0.5), z), -1)
            points = pixels @ affine[:, :3].T + affine[:, 3]
            inside = capsule_distances(points.reshape(-1, 3), capsules[0, k : k + 1])[0].view(24, -1) <= 0
            first = torch.where(inside.any(1), z[inside.to(torch.uint8).argmax(1)], math.inf)
            best[y] = torch.minimum(best[y], first)
    both = best.isfinite() & found.depth[0].isfinite()
    assert both.sum() > 60
    assert (best.isfinite() != found.depth[0].isfinite()).sum() <= 2  # rays that graze
    assert (best - found.depth[0])[both].abs().quantile(0.98) < 2 * step


@pytest.mark.parametrize("softness", [0.0, 3.0])
def test_the_kernel_agrees_with_the_reference(device, softness):
    given = [t.to(device) for t in person()]
    found = first_surfaces(*given, (48, 40), softness=softness, backend="kernel")
    expected = first_surfaces(*(t.cpu() for t in given), (48, 40), softness=softness, backend="reference")
    depth, covered = found.depth.cpu(), found.covered.cpu()
    differ = depth.isfinite() != expected.depth.isfinite()
    assert differ.sum() <= 4
    both = depth.isfinite() & expected.depth.isfinite()
    near = (depth - expected.depth)[both].abs() < 2e-2
    assert near.float().mean() > 0.995  # rays that graze one of two surfaces may meet the other
    torch.testing.assert_close(found.point.cpu()[both][near], expected.point[both][near], atol=3e-2, rtol=0)
    torch.testing.assert_close(covered[both], expected.covered[both], atol=2e-2, rtol=0)


@BOTH
def test_what_is_not_known_is_met_nowhere(device, backend):
    capsules, rows, maps = (t.to(device) for t in person(24))
    alone = first_surfaces(capsules[:, :1], rows[:1], maps, (24, 24), backend=backend)
    assert alone.depth.isfinite().any()
    for broken in (math.nan, math.inf):
        unknown = capsules[:, :1].clone()
        unknown[:, 0, 3] = broken
        assert not first_surfaces(unknown, rows[:1], maps, (24, 24), backend=backend).depth.isfinite().any()
        lost = maps.clone()
        lost[:, int(rows[0]), 1, 1] = broken
        assert not first_surfaces(capsules[:, :1], rows[:1], lost, (24, 24), backend=backend).depth.isfinite().any()
    nothing = first_surfaces(capsules[:, :0], rows[:0], maps, (5, 6), backend=backend)
    assert nothing.point.shape == (2, 5, 6, 3)
    assert not nothing.covered.any()


def test_wrong_arguments():
    capsules, rows, maps = person(24)
    with pytest.raises(UsageError, match="capsules"):
        first_surfaces(capsules[..., :5], rows, maps, (4, 4))
    with pytest.raises(UsageError, match="target_to_source"):
        first_surfaces(capsules, rows, maps[:1], (4, 4))
    with pytest.raises(UsageError, match="softness"):
        first_surfaces(capsules, rows, maps, (4, 4), softness=-1.0)
    with pytest.raises(UsageError, match="part_of_capsule"):
        first_surfaces(capsules, rows + 10, maps, (4, 4))
