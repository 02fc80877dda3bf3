"""Training of the lifter: it learns, its σ are calibrated, batches depend on the seed alone."""

from dataclasses import replace

import pytest
import torch
from helpers.errors import raises

from humanpose_cli.body.pose_prior import DATA_FILE
from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache.loader import LoaderOptions
from humanpose_cli.lab.recipes.lifter.recipe import LIFTER_PRESETS, LifterRecipe, LifterTraining, lifter_loss
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import BEST, train
from humanpose_cli.models.lifter.metric import LifterOptions, load_lifter
from humanpose_cli.networks.weights import read_weights

CPU = torch.device("cpu")
TINY = LifterTraining(LifterOptions(64, 2), poses=512, held_out=256, learning_rate=3e-3)
LOOP = TrainOptions(
    steps=20, batch_size=64, workers=0, average=0.9, clip=1.0, decay=1.0, validate_every=10, log_every=5
)


def recipe(options: LifterTraining = TINY) -> LifterRecipe:
    return LifterRecipe(None, options, seed=3)


@pytest.mark.extensive
def test_it_learns_and_68_percent_of_held_out_errors_lie_within_their_sigma(tmp_path):
    loop = replace(LOOP, steps=200, batch_size=128, validate_every=200, average=0.95)
    untrained = recipe()
    with torch.no_grad():
        first_metrics = untrained.validate(128)
    result = train(untrained, loop, tmp_path, CPU)
    assert result.metrics["pa_mpjpe_mm"] < 0.7 * first_metrics["pa_mpjpe_mm"]
    assert first_metrics["within_sigma"] == pytest.approx(0.683, abs=0.03), "calibrated even where nothing is known"
    assert result.metrics["within_sigma"] == pytest.approx(0.683, abs=0.03)
    assert result.metrics["pa_true_2d_mm"] < result.metrics["pa_mpjpe_mm"]
    tensors, header = read_weights(tmp_path / BEST, "lifter")
    assert (tensors["calibration"] != 1).any(), "what was calibrated is kept"
    assert header.training["recipe"]["poses"] == TINY.poses
    assert load_lifter(tmp_path / BEST).network.options == TINY.network


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_another(tmp_path):
    train(recipe(), replace(LOOP, steps=10), tmp_path, CPU)
    repeated = recipe(replace(TINY, start=str(tmp_path)))
    torch.testing.assert_close(repeated.model.head.weight, read_weights(tmp_path / BEST)[0]["head.weight"])


@pytest.mark.slow
def test_batches_depend_on_seed_and_number_alone():
    def batch(seed, **options):
        return next(iter(LifterRecipe(None, TINY, seed=seed).batches(LoaderOptions(32, seed=seed, **options))))

    first, repeated, other = batch(0), batch(0), batch(1)
    assert first.points.shape == (32, 47, 3)
    assert torch.equal(first.rays.points, repeated.rays.points)
    assert not torch.equal(first.rays.points, other.rays.points)
    # Two processes make different batches.
    ranks = [batch(0, rank=rank, world_size=2) for rank in (0, 1)]
    assert not torch.equal(ranks[0].rays.points, ranks[1].rays.points)


@pytest.mark.slow
def test_the_likelihood_is_best_at_the_size_of_the_errors():
    """Errors of 5 cm across and 8 cm along the ray: the minimum of the loss tells them."""
    truth = torch.zeros(1, 47, 3)
    points = truth + torch.tensor([0.03, 0.04, 0.08])
    noise = torch.zeros(1, 47, 2, requires_grad=True)
    optimiser = torch.optim.Adam([noise], 0.05)
    for _ in range(400):
        optimiser.zero_grad()
        lifter_loss(points, noise, truth)["loss"].backward()
        optimiser.step()
    across, along = noise.detach().exp().mean((0, 1)).tolist()
    assert across == pytest.approx(0.05 / 2, rel=0.02)
    assert along == pytest.approx(0.08, rel=0.02)


def test_another_file_is_no_library():
    with raises(InputError, problem="is no pose library"):
        LifterRecipe(DATA_FILE, TINY)
    options, loop = LIFTER_PRESETS["small"]
    count = sum(parameter.numel() for parameter in LifterRecipe(None, options).model.parameters())
    assert 4.5e5 < count < 5e5  # 1 MiB in half precision
    assert loop.batch_size >= 1024
