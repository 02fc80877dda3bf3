"""How tall people are: what the user knows, and what the bodies of a fit suggest."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.estimate import ShapePrior
from humanpose_cli.core.errors import UsageError

_MEASURED = 0.01  # metres: noise of a height that the user knows
_EXTREME = 5.0  # standard deviations of the shape component that is stature, up to which bodies look like people


def statures(body: Body, betas: torch.Tensor) -> torch.Tensor:
    """Measure metres (B,) from the soles to the crown of bodies of betas (B, S) at rest."""
    with torch.no_grad():
        heights = body.rest(betas).vertices[..., 1]
    return heights.amax(1) - heights.amin(1)


def stature_spread(body: Body) -> float:
    """Compute the standard deviation of people's statures, as a share of the mean one."""
    mean, slopes = _stature_slopes(body)
    return float(np.linalg.norm(slopes) / mean)


def stature_component(body: Body) -> int:
    """Find the index of the beta that changes stature most."""
    return int(np.argmax(np.abs(_stature_slopes(body)[1])))


def _stature_slopes(body: Body) -> tuple[float, NDArray[np.float64]]:
    """Measure the stature of the mean body, and how much a unit of each beta adds to it: (S,) metres."""
    count = body.shape_count
    steps = torch.cat((torch.zeros(1, count), torch.eye(count))).to(body.template)
    metres = statures(body, steps).double().cpu().numpy()
    return float(metres[0]), metres[1:] - metres[0]


def stature_prior(body: Body, metres: float, shape_noise: float) -> ShapePrior:
    """Make the prior of the shape of a person of known height; `shape_noise` of the components beside stature.

    Raises UsageError for heights that the body's shapes do not reach.
    """
    usual, slopes = _stature_slopes(body)
    stature = stature_component(body)
    mean, noise = np.zeros(len(slopes)), np.full(len(slopes), shape_noise)
    mean[stature], noise[stature] = (metres - usual) / slopes[stature], _MEASURED / abs(slopes[stature])
    if abs(mean[stature]) > _EXTREME:
        reach = _EXTREME * abs(slopes[stature])
        low, high = usual - reach, usual + reach
        expected = f"{low:.2f} to {high:.2f} metres for this body"
        raise UsageError("height", "is out of range", expected=expected, got=f"{metres:g}")
    return ShapePrior(mean, noise)
