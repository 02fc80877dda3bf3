"""The part warp's kernels against the reference: values, gradients, layouts, threads, bad numbers."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers.errors import raises
from helpers.warping_cases import Case, assert_near, outputs_and_gradients, random_case, with_half_widths, with_values

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine import launching
from humanpose_cli.engine.warping.op import warp_parts

OPTIONS = [{}, {"softness": 1.5}, {"planar": True}, {"voxel_size": (1.0, 0.8, 1.5)}]
PLANAR = {"planar": True, "softness": 2.0, "voxel_size": (1.5, 1.0, 3.0)}


def assert_same(case: Case, tolerance: float = 2e-5, **options) -> None:
    """Kernel and reference agree, forwards and to both gradients."""
    found, expected = (outputs_and_gradients(case, backend, **options) for backend in ("kernel", "reference"))
    for a, b in zip(found, expected, strict=True):
        assert_near(a, b, tolerance)
    assert found[0].is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("ellipsoids", [False, True])
@pytest.mark.parametrize("options", [*OPTIONS, PLANAR])
def test_agrees_with_the_reference(device, options, ellipsoids):
    case = random_case(device=device)
    case = with_values(case, capsules=with_half_widths(case.capsules)) if ellipsoids else case
    assert_same(case, **options)
    assert (case.warped("kernel", **options) != 0).float().mean() > 0.05


@pytest.mark.parametrize("channels", [1, 3, 16, 64, 100])
def test_agrees_for_any_number_of_channels(device, channels):
    assert_same(random_case(channels=channels, device=device))


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 7, 5), (9, 1, 4), (5, 6, 1), (13, 4, 8)])
def test_agrees_at_every_size(device, size):
    assert_same(random_case(3, 4, size, device=device))
    assert_same(random_case(3, 4, size, device=device), planar=True)


@pytest.mark.extensive
@pytest.mark.parametrize(("parts", "capsules"), [(1, 1), (1, 5), (2, 9), (254, 300), (3, 0), (0, 0)])
def test_agrees_for_any_number_of_parts(device, parts, capsules):
    case = random_case(1, 3, (4, 6, 5), parts=parts, capsules=capsules, device=device)
    if parts and capsules:
        assert_same(case)
    else:
        assert not case.warped("reference").any()
        warped, to_volume, to_transforms = outputs_and_gradients(case, "kernel")
        assert not warped.any()
        assert not to_volume.any()
        assert to_transforms.shape == case.target_to_source.shape
        assert not to_transforms.any()


@pytest.mark.parametrize("options", OPTIONS)
def test_the_identity_copies_what_the_masks_cover(device, options):
    case = random_case(1, 4, parts=1, turned=0.0, device=device)
    identity = torch.eye(3, 4, device=device).expand(1, 1, 3, 4)
    case = with_values(case, target_to_source=identity)
    assert_same(case, **options)  # samples lie on voxel centres: the gradient is that to the right
    if not options:
        warped = case.warped("kernel")
        assert torch.equal(warped, torch.where(warped != 0, case.volume, torch.zeros_like(case.volume)))


def test_empty_batches(device):
    for shape in ((0, 3), (2, 0)):
        case = random_case(*shape, device=device)
        warped, to_volume, to_transforms = outputs_and_gradients(case, "kernel")
        assert warped.shape == case.volume.shape == to_volume.shape
        assert to_transforms.shape == case.target_to_source.shape
    assert random_case(2, 3, (0, 4, 5), device=device).warped("kernel").shape == (2, 3, 0, 4, 5)


@pytest.mark.parametrize(("to_volume", "to_transforms"), list(itertools.product([False, True], repeat=2)))
def test_every_combination_of_needed_gradients(device, to_volume, to_transforms):
    case = random_case(device=device)
    expected = torch.autograd.grad(case.warped("reference").sum(), (case.volume, case.target_to_source))
    leaves = [case.volume.requires_grad_(to_volume), case.target_to_source.requires_grad_(to_transforms)]
    warped = case.warped("kernel")
    assert warped.requires_grad == (to_volume or to_transforms)
    for leaf, gradient in zip(leaves, expected, strict=True):
        if leaf.requires_grad:
            (found,) = torch.autograd.grad(warped.sum(), leaf, retain_graph=True)
            assert_near(found, gradient)


def test_takes_volumes_and_gradients_of_any_layout(device):
    case = random_case(2, 6, device=device)
    expected = outputs_and_gradients(case, "kernel")
    spaced = torch.randn(12, 22, 18, 12, 2, device=device)[::2, ::2, ::2, ::2].permute(4, 3, 0, 2, 1)
    spaced = spaced[..., :11, :9] if spaced.shape[3:] == (11, 9) else spaced.transpose(3, 4)
    layouts = [case.volume.detach().contiguous(memory_format=torch.channels_last_3d), case.volume.detach().contiguous()]
    layouts.append(spaced.copy_(case.volume.detach()))
    assert not layouts[2].is_contiguous()
    for volume in layouts:
        other = Case(volume.requires_grad_(), case.capsules, case.part_of_capsule, case.target_to_source)
        for a, b in zip(outputs_and_gradients(other, "kernel"), expected, strict=True):
            assert_near(a, b, 1e-6 if device.type == "cuda" else 0)
    one = case.volume.detach()[:1].requires_grad_()
    repeated = Case(one.expand(2, -1, -1, -1, -1), case.capsules, case.part_of_capsule, case.target_to_source)
    gradients = [torch.autograd.grad(repeated.warped(b).sum(), one)[0] for b in ("kernel", "reference")]  # expanded too
    assert_near(*gradients)


def test_transforms_and_capsules_may_be_views(device):
    case = random_case(2, 4, device=device)
    transforms = torch.randn(4, 3, 2, 8, device=device)[..., ::2].permute(2, 3, 1, 0)
    transforms.copy_(case.target_to_source.detach())
    capsules = torch.randn(7, 7, 2, device=device).permute(2, 1, 0).copy_(case.capsules)
    rows = torch.zeros(14, dtype=torch.int32, device=device)[::2].copy_(case.part_of_capsule)
    views = Case(case.volume, capsules, rows, transforms.requires_grad_())
    for a, b in zip(outputs_and_gradients(views, "kernel"), outputs_and_gradients(case, "kernel"), strict=True):
        assert_near(a, b, 1e-6 if device.type == "cuda" else 0)


@pytest.mark.parametrize("far", [1e3, 1e9, 3e38])
def test_parts_sent_outside_leave_zeros(device, far):
    case = random_case(device=device)
    transforms = case.target_to_source.detach().clone()
    transforms[..., 3] = far
    case = with_values(case, target_to_source=transforms)
    for result in outputs_and_gradients(case, "kernel"):
        assert not result.any()
    assert_same(case)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
@pytest.mark.parametrize("index", list(itertools.product(range(3), range(4))))
def test_any_number_may_stand_in_a_transform(device, value, index):
    case = random_case(1, 2, (4, 6, 5), device=device)
    with torch.no_grad():
        case.target_to_source[0, 1][index] = value
    found, expected = (case.warped(backend).detach() for backend in ("kernel", "reference"))
    assert_near(found, expected)
    if not abs(value) < float("inf"):
        with torch.no_grad():
            case.target_to_source[0, 1] = float("nan")
        assert_near(case.warped("kernel").detach(), found)  # that part reaches nothing


@pytest.mark.parametrize("value", [float("nan"), -float("inf"), 3e38])
@pytest.mark.parametrize("column", [0, 4, 5, 6])
@pytest.mark.parametrize("softness", [0.0, 1.0])
def test_any_number_may_stand_in_a_capsule(device, value, column, softness):
    case = random_case(1, 2, (4, 6, 5), device=device)
    case.capsules[0, 2, column] = value
    assert_near(*(case.warped(backend, softness=softness).detach() for backend in ("kernel", "reference")))
    assert_near(*(case.warped(backend, softness=softness, planar=True).detach() for backend in ("kernel", "reference")))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_not_finite_spread_to_where_they_are_read(device, value):
    case = random_case(1, 20, (6, 8, 7), parts=2, device=device)
    clean = case.warped("kernel").detach()
    with torch.no_grad():
        case.volume[0, 3] = value
        case.volume[0, 11, 2:4] = value
    found, expected = (case.warped(backend).detach() for backend in ("kernel", "reference"))
    assert_near(found, expected)
    assert torch.equal(found[:, :3], clean[:, :3])
    assert found[:, 3].isfinite().any()  # outside of all masks
    assert value < 0 or not found[:, 3].isfinite().all()
    for backend in ("kernel", "reference"):  # nothing breaks
        torch.autograd.grad(case.warped(backend).sum(), (case.volume, case.target_to_source))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_read_does_not_spoil_gradients(device, value):
    """Samples on every second voxel centre: of the voxels between them, all weights are 0."""
    case = random_case(1, 20, (6, 8, 16), parts=1, device=device)
    doubled = torch.eye(3, 4, device=device)
    doubled[0, 0], doubled[0, 3] = 2.0, -0.5
    volume = case.volume.detach().clone()
    clean = with_values(case, target_to_source=doubled.expand(1, 1, 3, 4))
    volume[..., 1::2] = value
    bad = with_values(clean, volume=volume)
    expected = outputs_and_gradients(bad, "reference")
    assert torch.equal(expected[0], outputs_and_gradients(clean, "reference")[0])
    assert (expected[0] != 0).any()
    assert expected[2].isfinite().all()
    for a, b in zip(outputs_and_gradients(bad, "kernel"), expected, strict=True):
        assert_near(a, b)


def test_zero_length_bones_and_coincident_joints(device):
    case = random_case(device=device)
    case.capsules[:, :3, 3:6] = case.capsules[:, :3, :3]
    case.capsules[:, 3:5] = case.capsules[:, :1]
    case.capsules[:, 5, 6] = 0
    assert_same(case)


@pytest.mark.parametrize("scale", [0.0, 1e-4, 1e4])
def test_transforms_that_flatten_or_blow_up(device, scale):
    case = random_case(1, 3, parts=2, device=device)
    transforms = case.target_to_source.detach().clone()
    transforms[..., :3] *= scale
    assert_same(with_values(case, target_to_source=transforms), 1e-3 if scale > 1 else 2e-5)


def test_ties_go_to_the_first_part_and_to_the_outside(device):
    """Three parts of the same voxels: the first has the gradient; of a fourth elsewhere comes the 0 that wins."""
    capsules = torch.tensor([[[1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.0]] * 3], device=device)
    transforms = torch.eye(3, 4, device=device).expand(1, 3, 3, 4).clone().requires_grad_()
    volume = torch.ones(1, 2, 3, 3, 3, device=device)
    volume[:, 1] = -1
    for backend in ("kernel", "reference"):
        rows = torch.arange(3, device=device)
        warped = warp_parts(volume, capsules, rows, transforms, backend=backend)
        assert warped[0, 1].sum() == -7  # all parts reach there
        (gradient,) = torch.autograd.grad(warped[0, 0].sum(), transforms)
        assert gradient[0, 0].any()
        assert not gradient[0, 1:].any()
        away = capsules.clone()
        away[0, 2, :6] += 50
        warped = warp_parts(volume, away, rows, transforms, backend=backend)
        assert warped[0, 0].sum() == 7
        assert not warped[0, 1].any()


@pytest.mark.parametrize("parts", [1, 4])
def test_zeros_of_a_relu_tie_with_the_outside(device, parts):
    """Most numbers of such a volume are 0: where a part gives that, the zero outside of all parts has the gradient."""
    case = random_case(parts=parts, device=device)
    case = with_values(case, volume=case.volume.relu())
    assert_same(case)
    (gradient,) = torch.autograd.grad(case.warped("kernel").sum(), case.volume)
    zeros = case.volume == 0
    assert (gradient[zeros] == 0).any()
    assert (gradient[zeros] != 0).any()  # those around which something greater is read


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_volumes_of_16_bits_are_computed_with_in_float32(device, dtype):
    case = random_case(2, 8, device=device).to(dtype)
    if dtype == torch.bfloat16:
        with torch.no_grad():
            case.volume[:, 0] *= 1e20  # beyond float16
    found, expected = (outputs_and_gradients(case, backend) for backend in ("kernel", "reference"))
    step = torch.finfo(dtype).eps
    assert found[0].dtype == found[1].dtype == dtype
    assert found[2].dtype == torch.float32
    for a, b in zip(found, expected, strict=True):
        assert_near(a, b, step)
    single = case.to(torch.float32).warped("kernel")
    assert torch.equal(found[0], single.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels", [3, 8])
def test_one_voxel_a_thread_agrees_with_slabs(monkeypatch, dtype, channels):
    """What CUDA runs, on the CPU: four channels of a voxel a thread, 16-bit storage, sums by atomics."""
    from humanpose_cli.engine.warping import launches

    case = random_case(2, channels, parts=3).to(dtype)
    expected = outputs_and_gradients(case, "kernel", softness=0.5)
    monkeypatch.setattr(launches, "on_cpu", lambda device: False)
    monkeypatch.setattr(launches, "launch", lambda k, n, a, device, cost=0: launching.launch(k, n, a, device, 0))
    found = outputs_and_gradients(case, "kernel", softness=0.5)
    assert torch.equal(found[0], expected[0])
    for a, b in zip(found[1:], expected[1:], strict=True):
        assert_near(a, b, 2e-6 if dtype == torch.float32 else torch.finfo(dtype).eps)


def test_threads_change_no_bit(two_threads):
    case = random_case(3, 32, (16, 24, 20), parts=6, capsules=12)
    split = outputs_and_gradients(case, "kernel")
    torch.set_num_threads(1)
    for a, b in zip(split, outputs_and_gradients(case, "kernel"), strict=True):
        assert torch.equal(a, b)


def test_volumes_do_not_depend_on_their_batch():
    case = random_case(5, 8)
    alone = Case(case.volume[3:4], case.capsules[3:4], case.part_of_capsule, case.target_to_source[3:4])
    assert torch.equal(alone.warped("kernel")[0], case.warped("kernel")[3])


def test_second_derivatives_are_refused():
    case = random_case()
    (first,) = torch.autograd.grad(case.warped("kernel").square().sum(), case.volume, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_other_precisions_run_the_reference_or_are_refused():
    case = random_case().to(torch.float64)
    assert case.warped("auto").dtype == torch.float64
    with raises(UsageError, expected="float32 on CPU or CUDA", got="torch.float64"):
        case.warped("kernel")
