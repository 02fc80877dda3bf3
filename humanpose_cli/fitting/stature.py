"""How tall people are: what the user knows, and what the bodies of a fit suggest."""

from __future__ import annotations

from typing import NamedTuple

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


class BodyStature(NamedTuple):
    """How a body's stature depends on its shape.

    Attributes:
        mean: Metres of the mean body.
        slopes: (S,) metres that a unit of each beta adds.
    """

    mean: float
    slopes: NDArray[np.float64]

    @classmethod
    def of(cls, body: Body) -> BodyStature:
        """Measure the statures of bodies with one beta each."""
        count = body.shape_count
        steps = torch.cat((torch.zeros(1, count), torch.eye(count))).to(body.template)
        metres = statures(body, steps).double().cpu().numpy()
        return cls(float(metres[0]), metres[1:] - metres[0])

    @property
    def spread(self) -> float:
        """The standard deviation of people's statures, as a share of the mean one."""
        return float(np.linalg.norm(self.slopes) / self.mean)

    @property
    def component(self) -> int:
        """The index of the beta that changes stature most."""
        return int(np.argmax(np.abs(self.slopes)))

    def prior(self, metres: float, shape_noise: float) -> ShapePrior:
        """Make the prior of the shape of a person of known height; `shape_noise` of the components beside stature.

        Raises UsageError for heights that the body's shapes do not reach.
        """
        stature, slope = self.component, self.slopes[self.component]
        mean, noise = np.zeros(len(self.slopes)), np.full(len(self.slopes), shape_noise)
        mean[stature], noise[stature] = (metres - self.mean) / slope, _MEASURED / abs(slope)
        if abs(mean[stature]) > _EXTREME:
            reach = _EXTREME * abs(slope)
            expected = f"{self.mean - reach:.2f} to {self.mean + reach:.2f} metres for this body"
            raise UsageError("height", "is out of range", expected=expected, got=f"{metres:g}")
        return ShapePrior(mean, noise)
