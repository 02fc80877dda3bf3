import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import default_body
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix


def params(*leading: int, seed: int = 0) -> BodyParams:
    random = np.random.default_rng(seed)
    vectors = [random.normal(size=(*leading, size)).astype(np.float32) for size in (72, 10, 3)]
    return BodyParams(*vectors, random.uniform(0.5, 2, (*leading, 24)).astype(np.float32))


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_poses_and_rotations_are_scipys(leading, dtype):
    poses = params(*leading).poses.astype(dtype)
    body = BodyParams(poses, np.zeros((*leading, 10)), np.zeros((*leading, 3)))
    expected = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(*leading, 24, 3, 3)
    assert (body.rotations.dtype, body.rotations.shape) == (dtype, expected.shape)
    tolerance = 2e-6 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(body.rotations, expected, atol=tolerance)
    back = BodyParams.from_rotations(body.rotations, body.betas, body.trans)
    assert back.rotations is body.rotations
    again = Rotation.from_matrix(expected.reshape(-1, 3, 3)).as_rotvec().reshape(*leading, 72)
    np.testing.assert_allclose(back.poses, again, atol=4 * tolerance)
    assert (back.poses.dtype, back.poses.shape) == (dtype, poses.shape)


def test_tensors_keep_gradients():
    bodies = params(2).tensors(torch.float64)
    poses = bodies.poses.requires_grad_()
    (BodyParams(poses, bodies.betas, bodies.trans).rotations[:, 3] ** 3).sum().backward()
    assert (poses.grad.reshape(2, 24, 3).abs().sum(-1) > 0).nonzero()[:, 1].tolist() == [3, 3]


def test_rows_and_stack():
    bodies = params(5)
    three = bodies.rows([3, 0, 3])
    for name in ("poses", "betas", "trans", "segment_scales"):
        np.testing.assert_array_equal(getattr(three, name), getattr(bodies, name)[[3, 0, 3]])
    assert len(three) == 3
    together = BodyParams.stack(bodies.rows(row) for row in (3, 0, 3))
    np.testing.assert_array_equal(together.poses, three.poses)
    np.testing.assert_array_equal(together.segment_scales, three.segment_scales)
    plain = BodyParams(bodies.poses, bodies.betas, bodies.trans)
    assert plain.rows(2).segment_scales is None
    assert BodyParams.stack([plain.rows(2)]).segment_scales is None
    rotations = np.tile(np.eye(3, dtype=np.float32), (5, 24, 1, 1))
    made = BodyParams.from_rotations(rotations, bodies.betas, bodies.trans)
    np.testing.assert_array_equal(made.rows(1).rotations, rotations[1])


@pytest.mark.slow
@pytest.mark.parametrize("tensors", [False, True])
def test_bodies_in_other_axes_are_the_posed_bodies_turned(tensors):
    body, bodies = default_body(), params(3).tensors()
    turns = axis_angle_to_matrix(torch.tensor([[0.3, -0.2, 1.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]))
    shift, rest = torch.tensor([0.5, -1.0, 2.0]), body.rest_pelvis(bodies.betas)
    originals = bodies if tensors else BodyParams(bodies.poses.numpy(), bodies.betas.numpy(), bodies.trans.numpy())
    moved = originals.in_axes(turns if tensors else turns.numpy(), shift if tensors else shift.numpy(), rest)
    assert isinstance(moved.trans, torch.Tensor) == tensors

    def joints(each):
        each = each.tensors() if not tensors else each
        return body.pose(each.rotations.float(), bodies.betas, each.trans.float(), vertices=False).joints

    torch.testing.assert_close(joints(moved), joints(originals) @ turns.mT + shift, atol=1e-5, rtol=0)
