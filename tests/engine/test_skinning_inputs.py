"""What posing starts from: rotations of axis-angles by the kernel, and blend shapes as one matrix product."""

from __future__ import annotations

import math

import pytest
import torch
from skinning_cases import assert_close

from humanpose_cli.engine.skinning import axis_angle_to_rotations, blend_shapes, blending
from humanpose_cli.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1e-5, 1e-3, 0.03, 0.0316, 0.032, 0.3, 3.0, math.pi, 20.0])
def test_rotations_and_gradients_are_those_of_double_precision(device, size):
    generator = torch.Generator().manual_seed(0)
    axes = torch.nn.functional.normalize(torch.randn(40, 3, generator=generator), dim=-1)
    vectors = (size * axes).to(device).requires_grad_()
    upstream = torch.randn(40, 3, 3, generator=generator).to(device)
    exact = vectors.detach().double().requires_grad_()
    found, expected = axis_angle_to_rotations(vectors, backend="kernel"), axis_angle_to_matrix(exact)
    torch.testing.assert_close(found.double(), expected, atol=1e-6 * max(1, size / 3), rtol=0)
    (gradient,) = torch.autograd.grad(found, vectors, upstream)
    (wanted,) = torch.autograd.grad(expected, exact, upstream.double())
    torch.testing.assert_close(gradient.double(), wanted, atol=4e-6, rtol=0)


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 0, 3), (2, 24, 3)])
@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_rotations_take_any_batch_shape_and_views(device, shape, backend):
    vectors = torch.randn(*shape[:-1], 6, generator=torch.Generator().manual_seed(1)).to(device)[..., ::2]
    rotations = axis_angle_to_rotations(vectors.requires_grad_(), backend=backend)
    assert rotations.shape == (*shape, 3)
    assert_close(rotations, axis_angle_to_matrix(vectors), 1e-6)
    upstream = torch.ones((), device=device).expand(rotations.shape)
    (gradient,) = torch.autograd.grad(rotations, vectors, upstream)
    assert_close(gradient, torch.autograd.grad(axis_angle_to_matrix(vectors).sum(), vectors)[0], 1e-5)


def test_rotations_of_numbers_that_are_not_finite(device):
    vectors = torch.tensor([[0.1, 0.2, 0.3], [math.nan, 0, 0], [math.inf, 0, 0]], device=device)
    rotations = axis_angle_to_rotations(vectors, backend="kernel")
    assert rotations[0].isfinite().all()
    assert rotations[1:].isnan().any(-1).any(-1).all()


def test_vectors_of_another_length_are_refused():
    with pytest.raises(UsageError, match=r"axis_angles: has the wrong shape, expected \(..., 3\), found \(2, 4\)"):
        axis_angle_to_rotations(torch.zeros(2, 4))
    with pytest.raises(UsageError, match="must be floating"):
        axis_angle_to_rotations(torch.zeros(2, 3, dtype=torch.int64))


@pytest.fixture(params=["each product", "only large ones", "none"])
def onednn(request, monkeypatch):
    """Which products go to oneDNN."""
    if request.param == "each product":
        monkeypatch.setattr(blending, "_LARGE_PRODUCT", 0)
    elif request.param == "none":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("batch", "shapes", "vertices"), [(0, 10, 5), (1, 10, 40), (3, 207, 33), (64, 10, 1500), (20, 217, 700), (2, 3, 0)]
)
@pytest.mark.parametrize("by_vertex", [False, True])
def test_blend_shapes_are_the_sum_of_their_directions(device, onednn, batch, shapes, vertices, by_vertex):
    generator = torch.Generator().manual_seed(2)
    template = torch.randn(vertices, 3, generator=generator).to(device).requires_grad_()
    weights = torch.randn(batch, shapes, generator=generator).to(device).requires_grad_()
    directions = torch.randn(shapes, 3 * vertices, generator=generator).to(device)
    if by_vertex:  # as a body has them
        directions = directions.mT.contiguous().mT
    upstream = torch.randn(batch, vertices, 3, generator=generator).to(device)
    found = blend_shapes(template, weights, directions)
    expected = template + torch.einsum("bs,svc->bvc", weights, directions.view(shapes, vertices, 3))
    assert_close(found, expected)
    gradients = torch.autograd.grad(found, (template, weights), upstream)
    for a, b in zip(gradients, torch.autograd.grad(expected, (template, weights), upstream), strict=True):
        assert_close(a, b)


def test_blend_shapes_have_second_derivatives_and_gradients_to_their_directions(onednn):
    generator = torch.Generator().manual_seed(3)
    template, weights = torch.randn(20, 3, generator=generator), torch.randn(4, 50, generator=generator)
    directions = torch.randn(50, 60, generator=generator)
    weights.requires_grad_()
    (first,) = torch.autograd.grad(
        blend_shapes(template, weights, directions).square().sum(), weights, create_graph=True
    )
    (second,) = torch.autograd.grad(first.sum(), weights)
    assert_close(second, 2 * (torch.ones(4, 50) @ directions @ directions.mT))
    directions.requires_grad_()
    (found,) = torch.autograd.grad(blend_shapes(template, weights, directions).sum(), directions)
    assert_close(found, weights.detach().sum(0)[:, None].expand(50, 60))


def test_blend_shapes_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match=r"directions: has the wrong shape, expected \(10, 12\), found \(10, 11\)"):
        blend_shapes(torch.zeros(4, 3), torch.zeros(2, 10), torch.zeros(10, 11))
    with pytest.raises(UsageError, match="directions: has another dtype"):
        blend_shapes(torch.zeros(4, 3), torch.zeros(2, 10), torch.zeros(10, 12, dtype=torch.float64))
