"""What the part warp and the capsule masks are: independent oracles, gradients, known answers, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.warping_cases import Case, assert_near, random_case, with_half_widths

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.warping.op import capsule_masks, projected_masks, warp_parts


def masked_volumes(case: Case, softness: float = 0.0) -> torch.Tensor:
    """(B, P, C, D, H, W): the volume times each part's mask."""
    parts = case.target_to_source.shape[1]
    size = tuple(case.volume.shape[2:])
    masks = capsule_masks(case.capsules, case.part_of_capsule, parts, size, softness=softness, backend="reference")
    return masks[:, :, None] * case.volume.detach()[:, None]


@pytest.mark.parametrize("softness", [0.0, 1.5])
@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_is_ten_grid_samples_and_a_maximum(device, backend, softness):
    case = random_case(2, 6, (7, 10, 8), parts=5, device=device)
    depth, height, width = case.volume.shape[2:]
    axes = [torch.arange(n, device=device) + 0.5 for n in (depth, height, width)]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    centres = torch.stack((x, y, z, torch.ones_like(x)), -1)
    sizes = torch.tensor([width, height, depth], device=device)
    volumes = masked_volumes(case, softness)
    expected = None
    for part in range(5):
        positions = torch.einsum("bij,dhwj->bdhwi", case.target_to_source[:, part].detach(), centres)
        moved = torch.nn.functional.grid_sample(
            volumes[:, part], 2 * positions / sizes - 1, padding_mode="zeros", align_corners=False
        )
        expected = moved if expected is None else torch.maximum(expected, moved)
    assert_near(case.warped(backend, softness=softness).detach(), expected)


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_planar_warps_every_slice_by_itself(device, backend):
    """Against grid_sample in 2-D, with masks of the capsules without their z."""
    case = random_case(2, 3, (4, 9, 8), parts=3, device=device)
    depth, height, width = case.volume.shape[2:]
    flat = torch.cat((case.capsules[..., :2], case.capsules[..., 3:5], case.capsules[..., 6:]), -1)
    masks = projected_masks(flat, case.part_of_capsule, 3, (height, width), backend="reference")
    y, x = torch.meshgrid(*(torch.arange(n, device=device) + 0.5 for n in (height, width)), indexing="ij")
    centres = torch.stack((x, y, torch.ones_like(x)), -1)
    expected = []
    for part in range(3):
        affine = case.target_to_source[:, part, :2][..., [0, 1, 3]].detach()
        grid = 2 * torch.einsum("bij,hwj->bhwi", affine, centres) / torch.tensor([width, height], device=device) - 1
        slices = [
            torch.nn.functional.grid_sample(case.volume.detach()[:, :, z] * masks[:, part, None], grid,
                                            padding_mode="zeros", align_corners=False)
            for z in range(depth)
        ]  # fmt: skip
        expected.append(torch.stack(slices, 2))
    found = case.warped(backend, planar=True)
    assert_near(found.detach(), torch.stack(expected).amax(0))
    (gradient,) = torch.autograd.grad(found.sum(), case.target_to_source)
    assert gradient[:, :, :2][..., [0, 1, 3]].any()
    assert not gradient[:, :, 2].any()
    assert not gradient[..., 2].any()


@pytest.mark.extensive
@pytest.mark.parametrize("options", [{}, {"softness": 1.0}, {"planar": True}, {"voxel_size": (1.0, 0.7, 2.0)}])
def test_the_references_gradients_are_those_of_finite_differences(options):
    """Away from ties and voxel centres, where random numbers are."""
    case = random_case(1, 2, (3, 4, 4), parts=2, capsules=3).to(torch.float64)
    case.capsules[..., 6] *= 2

    def warped(volume, transforms):
        arguments = (volume, case.capsules, case.part_of_capsule, transforms)
        return warp_parts(*arguments, backend="reference", **options)

    assert warped(case.volume, case.target_to_source).abs().sum() > 0
    assert torch.autograd.gradcheck(warped, (case.volume, case.target_to_source), eps=1e-7, atol=1e-5)


def test_a_voxel_moves_to_where_its_part_goes(device):
    """Pins the conventions: x are columns, y rows, z slices; transforms lead from target to source."""
    volume = torch.zeros(1, 1, 4, 5, 6, device=device)
    volume[0, 0, 1, 2, 3] = 7.0
    capsules = torch.tensor([[[3.5, 2.5, 1.5, 3.5, 2.5, 1.5, 0.4]]], device=device)
    transform = torch.eye(3, 4, device=device).view(1, 1, 3, 4).clone()
    transform[0, 0, :, 3] = torch.tensor([-2.0, 1.0, -1.0])  # in the target: 2 to the right, 1 up, 1 deeper
    for backend in ("kernel", "reference"):
        rows = torch.zeros(1, dtype=torch.int64, device=device)
        warped = warp_parts(volume, capsules, rows, transform, backend=backend)
        assert warped.nonzero().tolist() == [[0, 0, 2, 1, 5]]
        assert warped.sum() == 7.0


def test_masks_know_what_is_within_reach(device):
    """A sphere of radius 2 about a voxel's centre: the surface belongs to it."""
    capsules = torch.tensor([[[4.5, 4.5, 4.5, 4.5, 4.5, 4.5, 2.0]]], device=device)
    rows = torch.zeros(1, dtype=torch.int32, device=device)
    for backend in ("kernel", "reference"):
        hard = capsule_masks(capsules, rows, 2, (9, 9, 9), backend=backend)
        assert hard.shape == (1, 2, 9, 9, 9)
        assert hard[0, 0].sum() == 33  # voxels with x² + y² + z² ≤ 4
        assert not hard[0, 1].any()
        soft = capsule_masks(capsules, rows, 1, (9, 9, 9), softness=2.0, backend=backend)[0, 0]
        assert soft[4, 4, 4:9].tolist() == [1.0, 1.0, 0.5, 0.0, 0.0]
        slim = capsule_masks(capsules, rows, 1, (9, 9, 9), voxel_size=(1.0, 1.0, 2.0), backend=backend)[0, 0]
        assert slim.flatten(1).any(1).tolist() == [False, True, True, False, False, False, False, False, False]


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_negative_radii_cover_nothing(device, backend):
    capsules = torch.tensor([[[2.5, 2.5, 2.5, 6.5, 2.5, 2.5, -1.5]]], device=device)
    rows = torch.zeros(1, dtype=torch.int32, device=device)
    assert not capsule_masks(capsules, rows, 1, (5, 5, 9), backend=backend).any()
    assert not capsule_masks(capsules, rows, 1, (5, 5, 9), softness=2.0, backend=backend).any()
    # An edge that reaches further than the radius lacks.
    assert capsule_masks(capsules, rows, 1, (5, 5, 9), softness=4.0, backend=backend)[0, 0, 2, 2, 3] == 0.125


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_capsules_with_half_widths_are_ellipsoids_along_a_segment(device, backend):
    """Their voxels counted by the equation of an ellipsoid, and of the cylinder and half-ellipsoids of a segment."""
    rows = torch.zeros(1, dtype=torch.int32, device=device)
    widths = np.array([3.0, 2.0, 7.0])
    size, steps = (12, 11, 20), np.array([1.0, 1.0, 2.0])
    z, y, x = (np.arange(n) + 0.5 for n in size)
    for length in (0.0, 6.0):
        start = np.array([6.5, 5.25, 12.0])
        end = start + np.array([length, 0, 0])
        numbers = torch.tensor([[[*start, *end, *widths]]], dtype=torch.float32, device=device)
        found = capsule_masks(numbers, rows, 1, size, voxel_size=tuple(steps), backend=backend)[0, 0].cpu().numpy()
        along = np.abs(x - start[0] - length / 2) - length / 2
        terms = along.clip(0) / widths[0], (y - start[1]) / widths[1], (z * steps[2] - start[2]) / widths[2]
        inside = terms[0] ** 2 + terms[1][:, None] ** 2 + terms[2][:, None, None] ** 2 <= 1
        np.testing.assert_array_equal(found, inside)
        volume = np.pi * widths.prod() * (4 / 3 + length / widths[0]) / steps.prod()
        assert found.sum() == pytest.approx(volume, rel=0.1)


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_half_widths_that_differ_and_are_not_positive_cover_nothing(device, backend):
    rows = torch.zeros(1, dtype=torch.int32, device=device)
    for widths in ((2.0, 0.0, 2.0), (0.0, 2.0, 2.0), (2.0, 2.0, -1.0), (-1.0, -2.0, -2.0), (2.0, torch.nan, 2.0)):
        capsules = torch.tensor([[[4.5, 4.5, 4.5, 6.5, 4.5, 4.5, *widths]]], device=device)
        assert not capsule_masks(capsules, rows, 1, (9, 9, 9), softness=1.0, backend=backend).any()
    capsules = torch.tensor([[[4.5, 4.5, 4.5, 6.5, 4.5, 4.5, 0.0, 0.0, 0.0]]], device=device)
    assert capsule_masks(capsules, rows, 1, (9, 9, 9), backend=backend).sum() == 3


@pytest.mark.parametrize("softness", [0.0, 2.5])
@pytest.mark.parametrize("ellipsoids", [False, True])
def test_mask_kernels_agree_with_the_reference(device, softness, ellipsoids):
    case = random_case(2, 1, (10, 17, 33), parts=4, capsules=12, device=device)
    capsules = with_half_widths(case.capsules) if ellipsoids else case.capsules
    found, expected = (
        capsule_masks(capsules, case.part_of_capsule, 4, (10, 17, 33), softness=softness, backend=backend)
        for backend in ("kernel", "reference")
    )
    if softness == 0 and device.type == "cpu":
        assert torch.equal(found, expected)
    assert (found != expected).float().mean() < 1e-4 or softness
    assert_near(found, expected, 1e-5 if softness or device.type == "cpu" else 1)
    assert 0.02 < expected.mean() < 0.9


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_projected_masks_cover_what_any_depth_covers(device, backend):
    """A long stack of slices seen along z: capsules in the middle of it lose nothing by their depth."""
    case = random_case(2, 1, (8, 9, 11), parts=3, device=device)
    capsules = case.capsules.clone()
    capsules[..., 2] = capsules[..., 5] = 20.5  # the segment lies in one slice, through voxel centres
    flat = torch.cat((capsules[..., :2], capsules[..., 3:5], capsules[..., 6:]), -1)
    projected = projected_masks(flat, case.part_of_capsule, 3, (9, 11), backend=backend)
    stacked = capsule_masks(capsules, case.part_of_capsule, 3, (41, 9, 11), backend="reference")
    assert torch.equal(projected, stacked.amax(2))


def test_refuses_what_does_not_fit():
    case = random_case(2, 3)
    good = [case.volume, case.capsules, case.part_of_capsule, case.target_to_source]

    names = ("volume", "capsules", "part_of_capsule", "target_to_source")

    def refused(position: int, value: torch.Tensor, subject: str = "", expected: str = "", **options) -> None:
        arguments = [*good]
        arguments[position] = value
        with raises(UsageError, subject=subject or names[position], expected=expected):
            warp_parts(*arguments, **options)

    refused(0, case.volume[0], expected="(B, C, D, H, W)")
    refused(1, case.capsules[:1])
    refused(1, case.capsules.double())
    refused(2, case.part_of_capsule + 1, expected="0 to 3")
    refused(2, case.part_of_capsule[:2])
    refused(3, case.target_to_source[..., :3])
    refused(3, torch.zeros(2, 255, 3, 4), expected="at most 254")
    refused(0, case.volume, "softness", softness=-1.0)
    refused(0, case.volume, "softness", softness=float("nan"))
    refused(0, case.volume, "voxel_size", voxel_size=(1.0, 0.0, 1.0))
    refused(0, case.volume, "backend", backend="fast")
    with raises(UsageError, subject="size"):
        capsule_masks(case.capsules, case.part_of_capsule, 4, (3, 4))
    with raises(UsageError, subject="capsules"):
        projected_masks(case.capsules, case.part_of_capsule, 4, (3, 4))
