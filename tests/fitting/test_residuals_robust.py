"""Robust functions: what residuals near and far cost, and that slopes are those of the costs."""

from __future__ import annotations

import pytest
import torch

from humanpose_cli.fitting.residuals import cauchy, geman_mcclure

SQUARED = torch.tensor([0.0, 1e-6, 4.0, 1e12], dtype=torch.float64)


def test_geman_and_mcclures_function_is_quadratic_near_and_flat_far():
    rho, slope = geman_mcclure(SQUARED, 2.0)
    assert rho.tolist() == pytest.approx([0.0, 1e-6, 2.0, 4.0], rel=1e-5)
    assert slope.tolist() == pytest.approx([1.0, 1.0, 0.25, 0.0], abs=1e-5)


def test_cauchys_function_is_quadratic_near_and_grows_as_a_logarithm():
    rho, slope = cauchy(SQUARED, 2.0)
    assert rho.tolist() == pytest.approx([0.0, 1e-6, 4 * 0.693147, 4 * 26.244727], rel=1e-5)
    assert slope.tolist() == pytest.approx([1.0, 1.0, 0.5, 0.0], abs=1e-5)


@pytest.mark.parametrize("robust", [geman_mcclure, cauchy])
def test_slopes_are_those_of_the_costs(robust):
    squared = torch.linspace(0.1, 30, 7, dtype=torch.float64, requires_grad=True)
    rho, slope = robust(squared, torch.full((7,), 1.7, dtype=torch.float64))
    (expected,) = torch.autograd.grad(rho.sum(), squared)
    torch.testing.assert_close(slope, expected)
