"""Options of every training: optimisers, rates, parts of a batch, weights that stay, and the numbers that all keep."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.errors import raises
from helpers.linear_recipe import OPTIONS, GameRecipe, LineRecipe, lines, run

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import LAST, WEIGHTS
from humanpose_cli.networks.weights import read_weights


def test_the_default_settings_give_the_numbers_of_earlier_versions(tmp_path):
    """And the settings that their checkpoints hold, so that those continue."""
    recipe = LineRecipe()
    assert run(tmp_path, recipe).metrics["error"] == pytest.approx(1.7596427, rel=1e-5)
    earlier = "average batch_size clip decay epochs keep precision seed steps validate_every"
    assert sorted(OPTIONS.result_settings) == earlier.split()


@pytest.mark.parametrize("make", [LineRecipe, GameRecipe])
def test_accumulated_batches_are_one_large_batch(tmp_path, make):
    recipes = [make(**({"dropout": 0.0} if make is LineRecipe else {})) for _ in range(2)]
    for recipe, batch, parts in zip(recipes, (8, 2), (1, 4), strict=True):
        options = replace(OPTIONS, batch_size=batch, accumulate=parts, average=0.5)
        assert run(tmp_path / str(batch), recipe, options).steps == 24
    for a, b in zip(*(lines(tmp_path / name) for name in "82"), strict=True):
        assert {**b, "kind": 0} == pytest.approx({**a, "kind": 0}, rel=1e-4)
    for a, b in zip(*(recipe.model.parameters() for recipe in recipes), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)  # whose length Adam hides


def test_weights_of_steps_are_kept(tmp_path):
    """Also of a run that did so from its middle on; they are the average's."""
    options, folder = replace(OPTIONS, average=0.9), tmp_path / WEIGHTS
    run(tmp_path, options=options, until=7)
    assert not folder.exists()
    run(tmp_path, options=replace(options, keep_every=12))
    assert [path.name for path in sorted(folder.iterdir())] == ["step-0000012.safetensors", "step-0000024.safetensors"]
    tensors, header = read_weights(folder / "step-0000024.safetensors")
    assert torch.equal(tensors["line"], read_weights(tmp_path / LAST)[0]["line"])
    assert (header.metrics, header.training["kept"], header.training["steps"]) == ({}, {"rule": "every"}, 24)
    run(tmp_path, options=options, resume=False, until=1)
    assert not list(folder.iterdir())


def test_the_learning_rate_warms_up_and_decays():
    def rates(**options):
        loop = TrainOptions(**options)
        return [round(loop.rate(step, 10), 4) for step in (0, 1, 2, 6, 10)]

    assert rates(decay=1.0) == [1.0, 0.9, 0.8, 0.4, 0.0]
    assert rates(decay="cosine") == [1.0, 0.9755, 0.9045, 0.3455, 0.0]
    assert rates(decay="cosine", warm_up=2) == [0.3333, 0.6667, 1.0, 0.5, 0.0]
    assert rates(decay=0.0, warm_up=2) == [0.3333, 0.6667, 1.0, 1.0, 1.0]
    with raises(UsageError, subject="decay", expected="cosine, a number"):
        TrainOptions(decay="linear")


def test_adamw_decays_weights_by_themselves(tmp_path):
    class Decays(LineRecipe):
        def phases(self):
            return [replace(super().phases()[0], weight_decay=1.0)]

    weights = {}
    for name in ("adam", "adamw"):
        recipe = Decays(dropout=0.0)
        run(tmp_path / name, recipe, replace(OPTIONS, optimiser=name))
        weights[name] = recipe.model[1].weight.norm()
    plain = LineRecipe(dropout=0.0)
    run(tmp_path / "plain", plain, replace(OPTIONS, optimiser="adamw"))
    assert weights["adamw"] < plain.model[1].weight.norm()
    assert abs(weights["adamw"] - weights["adam"]) > 0.01
    with raises(InputError, problem="another optimiser", expected="the default", got="adamw"):
        run(tmp_path / "adamw", Decays(dropout=0.0))


def test_lines_of_speed_count_examples_and_waits(tmp_path):
    result = run(tmp_path, options=replace(OPTIONS, log_every=5))
    found = lines(tmp_path, "speed")
    assert [line["step"] for line in found] == [5, 10, 15, 20, 24]
    for numbers in (*found, result.speed):
        assert numbers["examples_per_second"] > 0
        assert 0 < numbers["waiting_percent"] < 100
