"""The body and the projection inside the network, and the rotations that lead there."""

import pytest
import torch
from helpers.nbf_people import UPRIGHT, posed
from torch.autograd import gradcheck

from humanpose_cli.body.body import default_body
from humanpose_cli.body.limb_rotations import neutral_rotations
from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.core.camera import NBF_CAMERA
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import geodesic_angle, project_to_rotation
from humanpose_cli.models.nbf.body import (
    BodyLayer,
    absolute_to_relative,
    part_frames,
    poses_to_rotations,
    relative_to_absolute,
    rotations_to_poses,
)
from humanpose_cli.models.nbf.inputs import InputOptions, world_of_numbers
from humanpose_cli.models.nbf.network import Regressor, RegressorOptions


@pytest.fixture(scope="module")
def layer():
    return BodyLayer(default_body())


def test_relative_and_absolute_rotations_are_inverse_and_agree_with_the_body():
    rotations, betas, _ = posed()
    absolute = default_body().pose(rotations, betas, vertices=False).rotations
    torch.testing.assert_close(relative_to_absolute(rotations), absolute, atol=1e-5, rtol=0)
    torch.testing.assert_close(absolute_to_relative(absolute), rotations, atol=1e-5, rtol=0)
    again = poses_to_rotations(rotations_to_poses(absolute))
    assert geodesic_angle(again, absolute).max() < 2e-3


def test_an_upright_body_stands_where_the_camera_shows_it(layer):
    """Its left hand appears on the right, its head above; 1 m is 245.9 of 512 pixels at 20.33 m."""
    upright = UPRIGHT.expand(1, 24, 3, 3)
    joints = layer(torch.zeros(1, 10), upright)
    root = torch.tensor(NBF_CAMERA.root)
    torch.testing.assert_close(joints[0, SMPL24.index("pelvis")], root, atol=1e-5, rtol=0)
    points = layer.project(joints)[0]
    left, right, head, foot = (points[SMPL24.index(n)] for n in ("left_wrist", "right_wrist", "head", "left_foot"))
    assert left[0] > 0.5
    assert right[0] < -0.5
    assert head[1] < -0.5 < 0.5 < foot[1]
    metre = layer.project(torch.tensor([[1.0, 0.0, 20.33]]))[0, 0] * 256
    assert float(metre) == pytest.approx(245.9, abs=0.1)


@pytest.mark.slow
def test_gradients_of_body_and_projection():
    layer = BodyLayer(default_body()).double()
    generator = torch.Generator().manual_seed(0)
    betas = torch.randn(1, 10, generator=generator, dtype=torch.float64).requires_grad_()
    rotations = relative_to_absolute(sample_poses(1, generator).double()).requires_grad_()

    def projected(betas, rotations):
        # A few of the points, so that the check takes a second.
        joints = layer(betas, rotations)[:, ::7]
        return layer.project(joints), joints

    assert gradcheck(projected, (betas, rotations), atol=1e-6)


def test_projected_rotations_differentiate_where_singular_values_are_equal():
    """The training mean of turned people has nearly equal singular values; ten times a rotation has exactly equal."""
    generator = torch.Generator().manual_seed(4)
    rotation = project_to_rotation(torch.randn(2, 3, 3, generator=generator, dtype=torch.float64))
    assert gradcheck(project_to_rotation, ((10 * rotation).requires_grad_(),), atol=1e-6)
    reflection = torch.diag(torch.tensor([2.0, 1.0, -0.5], dtype=torch.float64))[None].requires_grad_()
    found = project_to_rotation(reflection)
    assert float(torch.linalg.det(found.detach())) == pytest.approx(1)
    assert gradcheck(project_to_rotation, (reflection,), atol=1e-6)


def test_a_new_regressor_predicts_the_mean_and_only_rotations():
    inputs = InputOptions("proxy", size=32)
    regressor = Regressor(inputs, RegressorOptions(18, 4, hidden=32, noise=True)).eval()
    absolute = relative_to_absolute(posed()[0])[0]
    regressor.set_mean(torch.arange(10.0), 0.4 * absolute)
    vector = torch.zeros(2, inputs.numbers)
    vector[1, 99:198] = 0.3 * torch.randn(99, generator=torch.Generator().manual_seed(4))  # world landmarks …
    vector[1, -1] = 1  # … that are known
    found = regressor({"image": torch.zeros(2, 3, 32, 32), "vector": vector})
    frames = part_frames(regressor.zero_pose, *world_of_numbers(vector))
    upright = relative_to_absolute(neutral_rotations().float()[None])[0]
    torch.testing.assert_close(frames[0], torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ upright, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.betas, torch.arange(10.0).expand(2, 10), atol=0.2, rtol=0)
    assert geodesic_angle(found.rotations, frames @ absolute).max() < 0.5
    assert geodesic_angle(frames[0], frames[1]).max() > 0.5
    assert found.log_noise.shape == (2, 24, 2)
    wild = regressor({"image": torch.zeros(4, 3, 32, 32), "vector": 100 * torch.randn(4, inputs.numbers)})
    torch.testing.assert_close(torch.linalg.det(wild.rotations), torch.ones(4, 24), atol=1e-4, rtol=0)
    identity = wild.rotations @ wild.rotations.mT
    torch.testing.assert_close(identity, torch.eye(3).expand_as(identity), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (InputOptions("parts", size=64), RegressorOptions(18, 8)),
        (InputOptions("rgb", size=72), RegressorOptions(50, 4, reduced=8)),
        (InputOptions("proxy", size=32), RegressorOptions(18, 8, reduced=4, hidden=16)),
    ],
)
def test_regressors_take_their_inputs_and_learn_from_them(inputs, options):
    regressor = Regressor(inputs, options)
    batch = {"image": torch.randn(2, 3, inputs.size, inputs.size)}
    if inputs.numbers:
        batch["vector"] = torch.randn(2, inputs.numbers)
    found = regressor(batch)
    assert found.betas.shape == (2, 10)
    assert found.rotations.shape == (2, 24, 3, 3)
    assert found.log_noise is None
    (found.betas.sum() + found.rotations[..., 0].sum()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in regressor.parameters())
