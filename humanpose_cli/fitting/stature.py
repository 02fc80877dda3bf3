"""The height of people: measured by the user, or estimated from the bodies of a fit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.estimate import ShapePrior
from humanpose_cli.core.errors import UsageError

_HEIGHT_NOISE = 0.01  # metres, of a height that the user gives
_MAX_DEVIATION = 5.0  # standard deviations of the beta of stature up to which bodies look human


def statures(body: Body, betas: torch.Tensor) -> torch.Tensor:
    """Measure the height (B,) in metres, from the soles to the crown, of bodies with betas (B, S) at rest."""
    with torch.no_grad():
        heights = body.rest(betas).vertices[..., 1]
    return heights.amax(1) - heights.amin(1)


class BodyStature(NamedTuple):
    """How a body's stature depends on its shape.

    Attributes:
        mean: Metres. The stature of the mean body.
        slopes: (S,) metres. The change by a unit of each beta.
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
        """Make the shape prior of a person with a known height.

        Args:
            metres: The height.
            shape_noise: The standard deviation of all components except stature.

        Raises:
            UsageError: If the body's shapes do not reach this height.
        """
        stature = self.component
        slope = self.slopes[stature]
        mean = np.zeros(len(self.slopes))
        mean[stature] = (metres - self.mean) / slope
        noise = np.full(len(self.slopes), shape_noise)
        noise[stature] = _HEIGHT_NOISE / abs(slope)
        if abs(mean[stature]) > _MAX_DEVIATION:
            reach = _MAX_DEVIATION * abs(slope)
            expected = f"{self.mean - reach:.2f} to {self.mean + reach:.2f} metres for this body"
            raise UsageError("height", "is out of range", expected=expected, got=f"{metres:g}")
        return ShapePrior(mean, noise)
