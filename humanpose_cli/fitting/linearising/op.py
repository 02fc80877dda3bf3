"""What normal equations of bodies consist of: posed points with their Jacobian, robust terms, the energy of angles.

All numbers are double and on the CPU. The kernels run if Warp works, otherwise the slow reference, which differentiates
automatically.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from humanpose_cli.engine.dispatch import Backend, implementation

if TYPE_CHECKING:
    from humanpose_cli.body.pose_prior import JointPrior
    from humanpose_cli.fitting.solver import NormalEquations


MIN_DEPTH = 0.05
"""Metres before a camera, of projected points."""
LIMIT_NOISE = 0.05
"""Radians beyond a joint's range that cost one noise level."""
QUADRATIC = 1e6
"""Noise levels: a scale with which the robust function has no effect."""
MAX_SHAPE, MAX_PARAMETERS = 48, 128  # of the kernels; with more, the slow reference runs
_NO_LOGS = torch.zeros(0, 1, dtype=torch.float64)


class PosedRig(NamedTuple):
    """A rig in N poses.

    Attributes:
        points: (N, M, 3) metres in camera axes.
        jacobian: (N, 3, M, P), coordinate before point, or None. The parameters are right-hand rotation increments of
            the 24 joints (R ← R exp(δ), joint major), the root's position, the shape, and zeros in columns that are
            kept free.
        rotations: (N, 24, 3, 3). The absolute rotations.
        joints: (N, 24, 3) metres in camera axes.
    """

    points: Tensor
    jacobian: Tensor | None
    rotations: Tensor
    joints: Tensor


class Term(NamedTuple):
    """Differences of B vectors between points from their targets, in N rows.

    Vectors are sums of up to E points, turned and moved. With D = 3 components, they are compared with their targets,
    with D = 2 their projections x / z and y / z; with D = 1, the sine of the angle between the vector and the image
    plane is compared with 0.

    Attributes:
        ends: (B, E) int32. The points.
        shares: (B, E). What each is multiplied with.
        rotation: (N, 3, 3). Camera axes to the axes of the term.
        translation: (N, 3) metres.
        target: (N, B, D). Unused for D = 1.
        weights: (N, B, D). 1 / σ.
        counts: (N, B). How many independent vectors each stands for.
        robust: (B,) noise levels. The scale of Geman and McClure's function.
    """

    ends: Tensor
    shares: Tensor
    rotation: Tensor
    translation: Tensor
    target: Tensor
    weights: Tensor
    counts: Tensor
    robust: Tensor

    @classmethod
    def between(
        cls, ends: tuple[Tensor, Tensor], target: Tensor, weights: Tensor, robust: float, rotation: Tensor | None = None
    ) -> Term:
        """Make a term of differences of points; without a rotation, in camera axes. For the others see `Term`."""
        rows, vectors = weights.shape[:2]
        rotation = torch.eye(3, dtype=weights.dtype).expand(rows, 3, 3) if rotation is None else rotation
        counts, scale = weights.new_ones(rows, vectors), weights.new_full((vectors,), robust)
        return cls._of(*ends, rotation, weights.new_zeros(rows, 3), target, weights, counts, scale)

    @classmethod
    def seen(
        cls,
        points: range,
        camera: tuple[Tensor, Tensor],
        target: tuple[Tensor, Tensor],
        counts: Tensor,
        robust: float | Tensor,
        axes: tuple[Tensor, Tensor] | None = None,
    ) -> Term:
        """Make a term of points before a camera.

        Args:
            points: The numbers of the points.
            camera: Focal lengths (N,) and principal points (N, 2), pixels.
            target: Pixels (N, B, 2), and 1 / σ (N, B) in 1 / pixels.
            counts: See `Term`.
            robust: A number, or (B,).
            axes: Rotation (N, 3, 3) and translation (N, 3) to the camera's axes. None: the points are in them.
        """
        (focal, centre), (pixels, weights) = camera, target
        rows, vectors = weights.shape
        identity = torch.eye(3, dtype=weights.dtype).expand(rows, 3, 3)
        rotation, translation = (identity, weights.new_zeros(rows, 3)) if axes is None else axes
        return cls._of(
            torch.tensor(points, dtype=torch.int32)[:, None],
            weights.new_ones(vectors, 1),
            rotation.expand(rows, 3, 3),
            translation.expand(rows, 3),
            (pixels - centre[:, None]) / focal[:, None, None],
            (focal[:, None] * weights)[..., None].expand(rows, vectors, 2),
            counts,
            torch.as_tensor(robust, dtype=weights.dtype).expand(vectors),
        )

    @classmethod
    def _of(cls, ends: Tensor, *numbers: Tensor) -> Term:
        return cls(ends, *(values.double().contiguous() for values in numbers))  # as the kernels read them


class AngleEnergy(NamedTuple):
    """The energy of anatomical angles: joint limits, angles that hidden limbs fall back on, and the pose prior.

    Attributes:
        fallback: (N, 24, 3) radians.
        fallback_weights: (N, 24). 1 / σ.
        prior: Penalises unusual poses. None: no prior.
        strength: A factor on the energy of the prior.
    """

    fallback: Tensor
    fallback_weights: Tensor
    prior: JointPrior | None
    strength: float = 1.0

    @classmethod
    def of_visible(cls, rotations: Tensor, prior: JointPrior | None, strength: float = 1.0) -> AngleEnergy:
        """Make the energy of rotations (N, 24, 3, 3) without hidden limbs."""
        return cls(torch.zeros_like(rotations[..., 0]), torch.zeros_like(rotations[..., 0, 0]), prior, strength)


def pose(
    rig: Any, state: tuple[Tensor, Tensor, Tensor, Tensor], *, jacobian: bool, backend: Backend = "auto"
) -> PosedRig:
    """Pose the points of a rig.

    Args:
        rig: A `LandmarkRig`.
        state: Rotations relative to the parents (N, 24, 3, 3), root (N, 3) metres, shapes (N, S), and factors on the
            segments' sizes (N, 24).
        jacobian: Whether the Jacobian is computed.
        backend: "auto", "kernel" or "reference".
    """
    unsupported = "" if rig.shape_count <= MAX_SHAPE else f"{rig.shape_count} components of shape"
    posed: PosedRig = _module(backend, state[0], unsupported).pose(rig, state, jacobian)
    return posed


def add_term(
    equations: NormalEquations, term: Term, posed: PosedRig, logs: Tensor | None = None, *, backend: Backend = "auto"
) -> None:
    """Add a term to normal equations, in place.

    Args:
        equations: The normal equations.
        term: The term.
        posed: The points, with their Jacobian.
        logs: (N, 1). Targets grow with the exponential of this, which is the last parameter. None: they do not.
        backend: "auto", "kernel" or "reference".
    """
    unsupported = "" if equations.gradient.shape[1] <= MAX_PARAMETERS else f"{equations.gradient.shape[1]} parameters"
    _module(backend, posed.points, unsupported).add_term(equations, term, posed, _NO_LOGS if logs is None else logs)


def add_angles(
    equations: NormalEquations, rotations: Tensor, energy: AngleEnergy, *, backend: Backend = "auto"
) -> None:
    """Add the energy of rotations (N, 24, 3, 3), whose increments are the first 72 parameters, in place.

    The prior is this package's. For others see `residuals.add_pose_energy`.
    """
    _module(backend, rotations).add_angles(equations, rotations, energy)


def _module(backend: Backend, values: Tensor, unsupported: str = "") -> Any:
    unsupported = unsupported or ("" if values.dtype == torch.float64 else str(values.dtype))
    return implementation(__package__, backend, values.device, unsupported)
