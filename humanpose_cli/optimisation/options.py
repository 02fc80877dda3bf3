"""Noise levels and schedule of the keypoint fit: standard deviations one can measure, and step counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from humanpose_cli.errors import UsageError
from humanpose_cli.optimisation.solver import SolverOptions

__all__ = ["KeypointFitOptions"]

_MAY_BE_ZERO = ("prior_strength", "least_confidence", "retry_cost")


@dataclass(frozen=True)
class KeypointFitOptions:
    """How `fit_keypoints` weighs its evidence. Numbers are finite.

    landmark_noise     factor on the known 2-D noise of landmarks (see noise.py)
    least_noise        pixels: no landmark is better than this
    robust_2d          noise levels at which a 2-D residual counts half as outlier
    bone_noise         metres across and along the viewing ray: world landmarks' noise of one bone's vector
    correct_depth      let the depth correction judge BlazePose's world landmarks
    correction_noise   factor on the noise that the correction claims
    predicted_noise    factor on the noise that a body network claims for the joints it predicts
    robust_place       like robust_2d, for predicted joints
    predicted_shape    standard deviation of a predicted shape's components
    robust_bone        like robust_2d, for the bones of the world landmarks
    prior_strength     factor on the pose prior's energy (0 switches it off)
    limit_noise        radians beyond a joint's range that cost as much as one noise level
    shape_noise        standard deviations of the body's shape components
    lean_noise         radians a standing person's trunk, or the line from feet to hips, leans in depth
    robust_lean        noise levels at which a lean is taken for real
    fallback_noise     radians by which an unseen limb may differ from its mirrored or neutral pose
    scale_noise        natural logarithm: world landmarks' scale against the body's
    least_confidence   below it a landmark is not used at all
    shape_evidence     most frames of a shape group that count as independent evidence of shape
    starts             starting poses tried per row at most
    retry_cost         robust cost of the first start's end above which a row tries the others; rows without depth
                       always do
    coarse, fine       solver's schedule of the first stage (all starts) and of the last
    chunk              rows solved together; bounds the memory, changes no result
    """

    landmark_noise: float = 1.0
    least_noise: float = 0.5
    robust_2d: float = 3.0
    bone_noise: tuple[float, float] = (0.06, 0.09)
    correct_depth: bool = True
    correction_noise: float = 1.5
    predicted_noise: float = 3.0
    robust_place: float = 3.0
    predicted_shape: float = 0.7
    robust_bone: float = 3.0
    prior_strength: float = 1.0
    limit_noise: float = 0.05
    shape_noise: float = 1.0
    lean_noise: float = 0.15
    robust_lean: float = 2.0
    fallback_noise: float = 0.3
    scale_noise: float = 0.1
    least_confidence: float = 0.02
    shape_evidence: int = 10
    starts: int = 5
    retry_cost: float = 30.0
    coarse: SolverOptions = field(default_factory=lambda: SolverOptions(iterations=8, tolerance=1e-2, damping=1e-2))
    fine: SolverOptions = field(default_factory=lambda: SolverOptions(iterations=25, tolerance=3e-4, damping=1e-3))
    chunk: int = 64

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, SolverOptions) and value.iterations < 1:
                got = str(value.iterations)
                raise UsageError(f"keypoints.{name}.iterations", "is out of range", expected="1 or more", got=got)
            if isinstance(value, bool | SolverOptions):
                continue
            zero = name in _MAY_BE_ZERO
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(n) and (n > 0 or (zero and n == 0)) for n in numbers):
                expected = "a finite number " + ("of 0 or more" if zero else "above 0")
                raise UsageError(f"keypoints.{name}", "is out of range", expected=expected, got=str(value))
