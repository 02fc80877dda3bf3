"""Heights of people: what the user says, as priors of shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.options import FitOptions, parse_heights
from humanpose_cli.fitting.stature import BodyStature, statures


def test_heights_of_everybody_and_of_some() -> None:
    assert parse_heights("") == {}
    assert parse_heights("1.78") == {None: 1.78}
    assert parse_heights("0=1.82,3=1.6") == {0: 1.82, 3: 1.6}
    assert parse_heights("1.7,2=1.9") == {None: 1.7, 2: 1.9}


@pytest.mark.parametrize("text", ["tall", "178", "0.2", "0=", "a=1.7", "0=1.7,0=1.8", "-1=1.7", "nan", "1.7=0"])
def test_other_heights_are_refused(text: str) -> None:
    with raises(UsageError, subject="height", problem="is unusable", got=text):
        FitOptions(height=text)


def test_networks_alone_take_no_height() -> None:
    with raises(UsageError, subject="height", problem="has no effect with `method=nbf`"):
        FitOptions(method="nbf", height="1.7")


@pytest.mark.parametrize("metres", [1.5, 1.68, 1.95])
def test_the_mean_of_the_prior_is_that_tall(metres: float) -> None:
    body = default_body()
    prior = BodyStature.of(body).prior(metres, 0.2)
    assert statures(body, torch.from_numpy(prior.mean[None]).float()).item() == pytest.approx(metres, abs=2e-3)
    stature = BodyStature.of(body).component
    assert prior.noise[stature] < 0.2
    np.testing.assert_array_equal(np.delete(prior.noise, stature), 0.2)


def test_heights_that_the_body_cannot_have_are_refused() -> None:
    with raises(UsageError, subject="height", problem="is out of range", expected="metres for this body", got="0.9"):
        BodyStature.of(default_body()).prior(0.9, 0.2)


def test_people_differ_by_a_twentieth() -> None:
    assert BodyStature.of(default_body()).spread == pytest.approx(0.053, abs=0.005)
