"""SMPLify's mixture: its energy is the density's, its slope the energy's, and other files are refused."""

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.prior_files import ANGLES, mixture, write_mixture
from scipy.stats import multivariate_normal

from humanpose_cli.body.mixture_prior import read_mixture_prior
from humanpose_cli.core.errors import InputError

POSES = 0.3 * torch.randn(6, 24, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("name", ["gmm_08.pkl", "gmm.npz"])
def test_the_energy_is_the_log_density_of_the_likeliest_component(tmp_path, name):
    values = mixture()
    prior = read_mixture_prior(write_mixture(tmp_path / name, values))
    x = POSES.flatten(1)[:, 3:].numpy()
    densities = np.stack(
        [
            np.log(w) + multivariate_normal(mean, cov).logpdf(x)
            for w, mean, cov in zip(values["weights"], values["means"], values["covars"], strict=True)
        ],
        1,
    )
    energy = prior.quadratic(POSES).energy.numpy()
    np.testing.assert_allclose(energy - energy[0], densities.max(1)[0] - densities.max(1), rtol=1e-9, atol=1e-9)
    # At its own mean, the component of the largest peak costs nothing.
    means = torch.cat((torch.zeros(3, 3), torch.from_numpy(values["means"])), 1).view(3, 24, 3)
    assert prior.quadratic(means).energy.min() == pytest.approx(0, abs=1e-12)


def test_gradient_and_curvature_are_the_energys(tmp_path):
    prior = read_mixture_prior(write_mixture(tmp_path / "gmm.npz"))
    at, step = prior.quadratic(POSES), 1e-5
    direction = torch.randn(6, 24, 3, generator=torch.Generator().manual_seed(2)).double()
    above, below = (prior.quadratic(POSES + sign * step * direction) for sign in (1, -1))
    flat = direction.flatten(1)
    slope = (at.gradient * flat).sum(1)
    torch.testing.assert_close((above.energy - below.energy) / (2 * step), slope, rtol=1e-6, atol=1e-6)
    bend = (flat * (at.curvature @ flat[..., None]).squeeze(-1)).sum(1)
    torch.testing.assert_close(((above.gradient - below.gradient) * flat).sum(1) / (2 * step), bend, rtol=1e-6, atol=0)
    assert not at.gradient[:, :3].any()  # the pelvis is free
    assert not at.curvature[:, :3].any()


def changed(**values):
    return {**mixture(), **values}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"means": np.zeros((2, 3))}, {"problem": "is no mixture of poses", "got": "no weights, covars"}),
        (changed(means=np.zeros((3, 63))), {"problem": "is of other joints"}),
        (changed(means=np.full((3, ANGLES), np.nan)), {"subject": "(means)", "problem": "are not finite"}),
        (changed(weights=np.array([0.5, 0.5, 0.0])), {"subject": "(weights)", "problem": "are not positive"}),
        (changed(covars=np.zeros((3, ANGLES, ANGLES))), {"subject": "(covars)", "problem": "are no covariances"}),
        (changed(covars=np.array(["a"])), {"subject": "(covars)", "problem": "cannot be read"}),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path, values, message):
    for name in ("gmm.pkl", "gmm.npz"):
        with raises(InputError, **message):
            read_mixture_prior(write_mixture(tmp_path / name, values))


def test_a_pickle_of_something_else_is_refused(tmp_path):
    with raises(InputError, problem="is no mixture of poses", expected="a table of arrays", got="list"):
        read_mixture_prior(write_mixture(tmp_path / "gmm.pkl", [1, 2]))
