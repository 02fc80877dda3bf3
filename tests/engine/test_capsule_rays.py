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


def with_plates(size=48, seed=0):
    random = torch.Generator().manual_seed(seed)
    source, target = standing(size, 2), arm_raised(size, 2)
    parts = warping_parts(source, target + torch.randn(target.shape, generator=random) * size / 60)
    plates = {"plates": parts.plates, "part_of_plate": parts.part_of_plate}
    return (parts.capsules, parts.part_of_capsule, parts.target_to_source), plates


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


def test_the_point_of_entry_is_what_a_march_in_small_steps_finds():
    """Body by body."""
    capsules, rows, maps = (t[:1] if t.ndim > 1 else t for t in person(24))
    step = 0.02
    z = torch.arange(-20, 50, step)
    checked = 0
    for k, part in enumerate(rows.tolist()):
        found = first_surfaces(capsules[:, k : k + 1], rows[k : k + 1], maps, (24, 24), backend="reference").depth[0]
        affine, best = maps[0, part], torch.full((24, 24), math.inf)
        for y in range(24):
            pixels = torch.stack(torch.broadcast_tensors(torch.arange(24)[:, None] + 0.5, y + torch.tensor(0.5), z), -1)
            points = pixels @ affine[:, :3].T + affine[:, 3]
            inside = capsule_distances(points.reshape(-1, 3), capsules[0, k : k + 1])[0].view(24, -1) <= 0
            best[y] = torch.where(inside.any(1), z[inside.to(torch.uint8).argmax(1)], math.inf)
        both = best.isfinite() & found.isfinite()
        assert (best.isfinite() != found.isfinite()).sum() <= 2  # rays that graze
        assert (best - found)[both].abs().max() < 0.1
        checked += int(both.sum())
    assert checked > 200


def test_the_middle_of_a_slim_body_shows_before_the_rim_of_a_thick_one(device):
    """A ball of 6 behind a bar of 1: its front is nearer all round, but the bar is seen where it lies at the rim."""
    bodies = torch.tensor(
        [[[10.5, 10.5, 20.0, 10.5, 10.5, 20.0, 6.0], [15.0, 2.5, 19.0, 15.0, 18.5, 19.0, 1.0]]], device=device
    )
    rows = torch.tensor([0, 1], dtype=torch.int32, device=device)
    two = STILL.repeat(1, 2, 1, 1).to(device)
    found = first_surfaces(bodies, rows, two, (21, 21)).depth[0]
    assert found[10, 10].item() == pytest.approx(14)
    assert found[10, 15].item() == pytest.approx(19 - math.sqrt(0.75), abs=1e-5)  # not 20 − √11, which is nearer


@BOTH
def test_a_plate_is_flat_between_its_capsules(device, backend):
    """Tilted by as much as it goes across: z grows by one a column; the rims are the capsules'."""
    corners = torch.tensor([[2.0, 2.0, 10.0], [18.0, 2.0, 26.0], [2.0, 18.0, 10.0]], device=device)
    radius = torch.tensor([1.5], device=device)
    plate = torch.cat((corners.flatten(), radius))[None, None]
    rows = torch.zeros(1, dtype=torch.int32, device=device)
    none = torch.zeros((1, 0, 7), device=device)
    plates = {"plates": plate, "part_of_plate": rows}
    found = first_surfaces(none, rows[:0], STILL.to(device), (20, 20), backend=backend, **plates)
    hit = found.depth[0].isfinite()
    assert 80 < hit.sum() < 160
    columns = (torch.arange(20, device=device) + 0.5).expand(20, 20)
    flat = columns + 8 - 1.5 * math.sqrt(2)
    torch.testing.assert_close(found.depth[0][hit], flat[hit], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.point[0, ..., 0][hit], columns[hit], atol=1e-4, rtol=0)
    from_front = plate.clone()
    from_front[0, 0, 3:9] = from_front[0, 0, [6, 7, 8, 3, 4, 5]]  # the other way round
    turned = first_surfaces(
        none, rows[:0], STILL.to(device), (20, 20), plates=from_front, part_of_plate=rows, backend=backend
    )
    torch.testing.assert_close(turned.depth, found.depth)


def test_no_furrows_between_the_capsules_of_a_trunk():
    """With plates the front of the trunk is as flat as the joints that span it."""
    size = 96
    pose = standing(size)
    parts = warping_parts(pose, pose)
    bodies = parts.capsules, parts.part_of_capsule, parts.target_to_source
    plates = {"plates": parts.plates, "part_of_plate": parts.part_of_plate}
    trunk = (0, slice(round(0.32 * size), round(0.48 * size)), slice(round(0.46 * size), round(0.54 * size)))
    furrowed = first_surfaces(*bodies, (size, size)).depth[trunk]
    flat = first_surfaces(*bodies, (size, size), **plates).depth[trunk]
    radius = parts.capsules[0, 0, 6]
    assert furrowed.max() - furrowed.min() > 0.3 * radius
    torch.testing.assert_close(flat, (size / 2 - radius).expand_as(flat), atol=1e-3, rtol=0)


@pytest.mark.parametrize("softness", [0.0, 3.0])
def test_the_kernel_agrees_with_the_reference(device, softness):
    bodies, plates = with_plates()
    given = [t.to(device) for t in bodies], {name: t.to(device) for name, t in plates.items()}
    found = first_surfaces(*given[0], (48, 40), softness=softness, backend="kernel", **given[1])
    expected = first_surfaces(*bodies, (48, 40), softness=softness, backend="reference", **plates)
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
