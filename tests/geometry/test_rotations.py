import math

import numpy as np
import pytest
import torch
from helpers.errors import raises
from scipy.spatial.transform import Rotation

from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry import rotations as rot

DTYPES = {torch.float32: 2e-6, torch.float64: 1e-12}


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request):
    return request.param


def random_axis_angles(count, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    axis = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)
    angle = torch.rand(count, 1, generator=generator, dtype=torch.float64) * (math.pi - 1e-3)
    return (axis * angle).to(dtype)


def test_axis_angle_agrees_with_scipy(dtype):
    vectors = random_axis_angles(500, dtype)
    expected = Rotation.from_rotvec(vectors.double().numpy()).as_matrix()
    np.testing.assert_allclose(rot.axis_angle_to_matrix(vectors), expected, atol=DTYPES[dtype])


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-8, 1e-5, 1e-4, 3e-4, 1e-3, 1e-2])
def test_tiny_angles_survive_the_cycle(dtype, size):
    vectors = random_axis_angles(50, dtype, seed=1) * size
    back = rot.matrix_to_axis_angle(rot.axis_angle_to_matrix(vectors))
    torch.testing.assert_close(back, vectors, atol=DTYPES[dtype], rtol=0)


def test_axis_angle_cycle_up_to_half_a_turn(dtype):
    vectors = random_axis_angles(500, dtype, seed=2)
    back = rot.matrix_to_axis_angle(rot.axis_angle_to_matrix(vectors))
    # Near half a turn the axis is only as good as the square root of the precision.
    torch.testing.assert_close(back, vectors, atol=2000 * DTYPES[dtype], rtol=0)


def test_quaternion_cycle_and_order(dtype):
    matrices = rot.axis_angle_to_matrix(random_axis_angles(500, dtype, seed=3))
    quaternions = rot.matrix_to_quaternion(matrices)
    torch.testing.assert_close(rot.quaternion_to_matrix(quaternions), matrices, atol=4 * DTYPES[dtype], rtol=0)
    quarter_turn_about_z = torch.tensor([0.0, 0.0, math.pi / 2], dtype=dtype)
    half = math.sqrt(0.5)
    expected = torch.tensor([half, 0.0, 0.0, half], dtype=dtype)  # w x y z
    torch.testing.assert_close(rot.matrix_to_quaternion(rot.axis_angle_to_matrix(quarter_turn_about_z)), expected)


def test_half_turns_are_exact_in_every_direction(dtype):
    axes = torch.nn.functional.normalize(
        torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]], dtype=dtype), dim=-1
    )
    matrices = 2 * axes[:, :, None] * axes[:, None, :] - torch.eye(3, dtype=dtype)
    back = rot.axis_angle_to_matrix(rot.matrix_to_axis_angle(matrices))
    torch.testing.assert_close(back, matrices, atol=4 * DTYPES[dtype], rtol=0)


def test_projection_is_the_nearest_rotation_and_never_a_reflection():
    generator = torch.Generator().manual_seed(5)
    matrices = torch.randn(300, 3, 3, generator=generator, dtype=torch.float64)
    assert (torch.linalg.det(matrices) < 0).float().mean() > 0.3
    nearest = rot.project_to_rotation(matrices)
    torch.testing.assert_close(torch.linalg.det(nearest), torch.ones(300, dtype=torch.float64))
    best = (matrices - nearest).square().sum((-2, -1))
    for seed in range(20):
        other = nearest @ rot.axis_angle_to_matrix(0.1 * random_axis_angles(300, torch.float64, seed))
        assert ((matrices - other).square().sum((-2, -1)) >= best).all()


@pytest.mark.slow
def test_gradients_agree_with_finite_differences():
    generator = torch.Generator().manual_seed(6)
    matrices = torch.randn(20, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    vectors = random_axis_angles(20, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(rot.project_to_rotation, (matrices,))
    assert torch.autograd.gradcheck(rot.axis_angle_to_matrix, (vectors,))
    assert torch.autograd.gradcheck(lambda v: rot.matrix_to_axis_angle(rot.axis_angle_to_matrix(v)), (vectors,))


@pytest.mark.parametrize(
    "matrix", [torch.eye(3), torch.zeros(3, 3), -torch.eye(3), torch.diag(torch.tensor([1.0, 1, 0]))]
)
def test_projection_has_finite_gradients_at_equal_singular_values(matrix):
    matrix = matrix.clone().requires_grad_()
    weights = torch.arange(9.0).reshape(3, 3)
    (rot.project_to_rotation(matrix) * weights).sum().backward()
    assert matrix.grad.isfinite().all()


@pytest.mark.slow
def test_axis_angle_has_derivatives_of_every_order_and_through_torch_func():
    vectors = random_axis_angles(20, torch.float64, seed=10).requires_grad_()
    assert torch.autograd.gradgradcheck(rot.axis_angle_to_matrix, (vectors,))
    expected = torch.autograd.functional.jacobian(rot.axis_angle_to_matrix, vectors[3].detach())
    jacobians = torch.func.vmap(torch.func.jacrev(rot.axis_angle_to_matrix))(vectors.detach())
    torch.testing.assert_close(jacobians[3], expected)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-20, 1e-8, 1e-5, 1e-4, 1e-3, 1e-2, 1.0, 3.0])
def test_axis_angle_gradients_are_exact_at_every_size(size):
    vectors = (random_axis_angles(50, torch.float64, seed=11) * size).requires_grad_()
    upstream = torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(12), dtype=torch.float64)
    (single,) = torch.autograd.grad(
        rot.axis_angle_to_matrix(single_vectors := vectors.detach().float().requires_grad_()),
        single_vectors,
        upstream.float(),
    )
    assert single.isfinite().all()
    step = 1e-6
    for axis in range(3):
        shift = step * torch.eye(3, dtype=torch.float64)[axis]
        change = rot.axis_angle_to_matrix(vectors + shift) - rot.axis_angle_to_matrix(vectors - shift)
        difference = (change * upstream).sum((-2, -1)) / (2 * step)
        torch.testing.assert_close(single[:, axis].double(), difference, atol=5e-6, rtol=0)


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 0, 3), (2, 4, 3)])
def test_axis_angle_takes_any_batch_shape_and_views(dtype, shape):
    vectors = torch.randn(*shape[:-1], 6, dtype=dtype, generator=torch.Generator().manual_seed(13))[..., ::2]
    matrices = rot.axis_angle_to_matrix(vectors.requires_grad_())
    assert matrices.shape == (*shape, 3)
    torch.testing.assert_close(matrices, rot.axis_angle_to_matrix(vectors.contiguous()))
    assert torch.autograd.grad(matrices.sum(), vectors)[0].shape == shape


def test_axis_angle_of_another_length_is_refused():
    with raises(UsageError, subject="axis_angle", problem="has the wrong shape", expected="(..., 3)", got="(4, 6)"):
        rot.axis_angle_to_matrix(torch.zeros(4, 6))


def test_rotation_between_turns_source_to_target():
    generator = torch.Generator().manual_seed(7)
    a, b = torch.randn(2, 200, 3, generator=generator, dtype=torch.float64)
    turned = (rot.rotation_between(a, b) @ a[..., None]).squeeze(-1)
    expected = torch.nn.functional.normalize(b, dim=-1) * a.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(turned, expected)


def test_rotation_between_opposite_and_zero_vectors():
    x = torch.tensor([1.0, 0.0, 0.0])
    flipped = rot.rotation_between(x, -x)
    torch.testing.assert_close(flipped @ x, -x)
    torch.testing.assert_close(torch.linalg.det(flipped), torch.tensor(1.0))
    torch.testing.assert_close(rot.rotation_between(torch.zeros(3), x), torch.eye(3))


def test_geodesic_angle_is_the_angle_of_the_difference():
    vectors = random_axis_angles(200, torch.float64, seed=8)
    base = rot.axis_angle_to_matrix(random_axis_angles(200, torch.float64, seed=9))
    angle = rot.geodesic_angle(base, base @ rot.axis_angle_to_matrix(vectors))
    torch.testing.assert_close(angle, vectors.norm(dim=-1))
    torch.testing.assert_close(rot.geodesic_angle(base, base), torch.zeros(200, dtype=torch.float64))
