"""VPoser from a file in its published layout: what its layers give, its energy's slope, and files that are none."""

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.prior_files import WIDTH, vposer_tensors, write_vposer
from scipy.spatial.transform import Rotation

from humanpose_cli.body.model_files import prior_file
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.models.vposer.prior import JOINTS, RECONSTRUCTION_NOISE, VPoserPrior, read_vposer

POSES = 0.4 * torch.randn(3, 24, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture(scope="module")
def prior(tmp_path_factory) -> VPoserPrior:
    return read_vposer(prior_file(f"vposer:{write_vposer(tmp_path_factory.mktemp('vposer'))}"))


def test_the_energy_is_that_of_the_published_layers(prior):
    """In numpy, layer by layer."""
    stored = {name.removeprefix("vp_model."): value.double().numpy() for name, value in vposer_tensors().items()}

    def linear(name, x):
        return x @ stored[f"{name}.weight"].T + stored[f"{name}.bias"]

    def norm(name, x):
        x = (x - stored[f"{name}.running_mean"]) / np.sqrt(stored[f"{name}.running_var"] + 1e-5)
        return x * stored[f"{name}.weight"] + stored[f"{name}.bias"]

    def leaky(x):
        return np.where(x > 0, x, 0.01 * x)

    pose = POSES[:, 1 : 1 + JOINTS].flatten(1).numpy()
    hidden = norm("encoder_net.4", leaky(linear("encoder_net.2", norm("encoder_net.1", pose))))
    latent = linear("encoder_net.8.mu", linear("encoder_net.7", linear("encoder_net.6", hidden)))
    made = linear("decoder_net.5", leaky(linear("decoder_net.3", leaky(linear("decoder_net.0", latent)))))
    made = made.reshape(3, JOINTS, 3, 2)  # two columns of each rotation, side by side
    first, second = made[..., 0], made[..., 1]
    first = first / np.linalg.norm(first, axis=-1, keepdims=True)
    second = second - (first * second).sum(-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    rotations = np.stack((first, second, np.cross(first, second)), -1)
    true = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(3, JOINTS, 3, 3)
    apart = np.square(rotations - true).sum((1, 2, 3)) / (4 * RECONSTRUCTION_NOISE**2)
    expected = 0.5 * np.square(latent).sum(1) + apart
    np.testing.assert_allclose(prior.quadratic(POSES).energy.numpy(), expected, rtol=1e-10)


def test_gradient_is_the_energys_and_pelvis_and_hands_are_free(prior):
    direction = torch.randn(3, 24, 3, generator=torch.Generator().manual_seed(2)).double()
    at, step = prior.quadratic(POSES), 1e-6
    ends = [prior.quadratic(POSES + sign * step * direction).energy for sign in (1, -1)]
    slope = (at.gradient * direction.flatten(1)).sum(1)
    torch.testing.assert_close((ends[0] - ends[1]) / (2 * step), slope, rtol=1e-5, atol=1e-5)
    assert torch.linalg.eigvalsh(at.curvature).min() > -1e-8
    free = [3 * SMPL24.index(name) + axis for name in ("pelvis", "left_hand", "right_hand") for axis in range(3)]
    assert not at.gradient[:, free].any()
    assert at.gradient[:, [column for column in range(72) if column not in free]].all()
    assert prior.quadratic(POSES[:0]).energy.shape == (0,)


def test_of_several_checkpoints_the_last_epoch_is_taken(tmp_path, prior):
    for epoch, seed in ((9, 3), (13, 0), (2, 4)):
        write_vposer(tmp_path, epoch, seed)
    energy = read_vposer(prior_file(f"vposer:{tmp_path}")).quadratic(POSES).energy
    torch.testing.assert_close(energy, prior.quadratic(POSES).energy)


def with_(name, tensor):
    changed = {**vposer_tensors(), f"vp_model.{name}": tensor}
    return {key: value for key, value in changed.items() if value is not None}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"bodyprior_dec_fc1.weight": torch.zeros(2, 2)}, {"problem": "is no VPoser v2", "got": "version 1 of VPoser"}),
        ({"a": torch.zeros(2), "b": torch.zeros(2)}, {"problem": "is no VPoser v2", "got": "a, b"}),
        (with_("encoder_net.7.bias", None), {"problem": "does not fit at encoder_net.7.bias"}),
        (with_("decoder_net.5.bias", torch.zeros(5)), {"problem": "does not fit at decoder_net.5.bias"}),
        (with_("encoder_net.6.bias", torch.full((WIDTH,), torch.nan)), {"problem": "are not finite"}),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path, tensors, message):
    torch.save({"state_dict": tensors}, tmp_path / "x.ckpt")
    with raises(InputError, **message):
        read_vposer(tmp_path / "x.ckpt")
