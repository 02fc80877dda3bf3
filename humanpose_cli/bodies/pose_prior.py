"""How plausible a pose is: Gaussian mixtures over the joint angles of legs, arms and trunk.

Each limb has its own mixture, shared by left and right, and limbs recombine freely: that covers poses that nobody
recorded as a whole. For a group of limbs with angles x and components k of weight w, mean μ and covariance Σ, the
distance is

    m(x) = min_k  ½ (x − μ_k)ᵀ Σ_k⁻¹ (x − μ_k) + c_k,    c_k = ½ log det Σ_k − log w_k − min over k of the same,

and the energy is the sum over groups of τ log(1 + m / τ): quadratic where poses are usual, growing ever more slowly
where they are not, so that strong evidence for an unusual pose wins. The nearest component, rather than the sum of
all, makes it a sum of squares for least-squares solvers. tools/build_pose_prior.py fits the mixtures to
`sample_poses`: the library's training activities, key poses and mixtures of them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.bodies.joint_angles import angles_to_rotations, rotations_to_angles
from humanpose_cli.bodies.shipped import read_shipped
from humanpose_cli.conventions import SMPL24
from humanpose_cli.errors import UsageError

__all__ = ["PRIOR_GROUPS", "PosePrior", "PriorQuadratic", "pose_prior"]

# Joints by mixture; a group that names sides of a limb stands for both, which share the mixture.
PRIOR_GROUPS: dict[str, tuple[str, ...]] = {
    "leg": ("hip", "knee", "ankle"),
    "arm": ("collar", "shoulder", "elbow", "wrist"),
    "ends": ("foot", "hand"),
    "trunk": ("spine1", "spine2", "spine3", "neck", "head"),
}
DATA_FILE = Path(__file__).parent / "data" / "pose_prior.npz"
_SCHEMA = 1


class PriorQuadratic(NamedTuple):
    """The energy around a pose, for Gauss–Newton: in 72 joint angles (radians, joint by joint, ANGLE_NAMES' order).

    energy (B,); gradient (B, 72); curvature (B, 72, 72), positive semidefinite
    """

    energy: Tensor
    gradient: Tensor
    curvature: Tensor


class _Mixture(NamedTuple):
    mean: Tensor  # (C, D)
    whitening: Tensor  # (C, D, D): upper triangular U with UᵀU = Σ⁻¹
    offset: Tensor  # (C,): c_k ≥ 0, the least is 0


class PosePrior(torch.nn.Module):
    """See the module's text. Angles are those of joint_angles.py; the pelvis is free.

    columns  per group (one per side): rows (D,) of the 72 angles that its mixture looks at
    robust   τ, in units of the energy
    """

    def __init__(self, mixtures: dict[str, _Mixture], robust: float = 20.0) -> None:
        super().__init__()
        self.robust = robust
        self._groups: list[tuple[str, list[int]]] = []
        for name, joints in PRIOR_GROUPS.items():
            for side in ("left_", "right_") if f"left_{joints[0]}" in SMPL24 else ("",):
                rows = SMPL24.indices(f"{side}{joint}" for joint in joints)
                self._groups.append((name, [3 * row + k for row in rows for k in range(3)]))
        for name, mixture in mixtures.items():
            for field, values in mixture._asdict().items():
                self.register_buffer(f"{name}_{field}", values)

    def _mixture(self, name: str, like: Tensor) -> _Mixture:
        return _Mixture(*(getattr(self, f"{name}_{field}").to(like) for field in _Mixture._fields))

    def energy(self, rotations: Tensor) -> Tensor:
        """Implausibility ≥ 0 of parent-relative rotations, (B, 24, 3, 3) → (B,): half of `residual` squared."""
        return 0.5 * self.residual(rotations).square().sum(-1)

    def residual(self, rotations: Tensor) -> Tensor:
        """(B, 24, 3, 3) → (B, K), differentiable; the components are chosen anew at every call."""
        angles = rotations_to_angles(rotations).flatten(-2)
        parts = []
        for name, columns in self._groups:
            white, offset, m = self._nearest(name, angles[..., columns])
            # τ log(1 + m / τ) as a square of length 2 times it, along the whitened residual.
            scale = (self.robust * torch.log1p(m / self.robust) / m.clamp_min(1e-12)).sqrt()
            constant = (2 * offset + 1e-12).sqrt()
            parts.append(scale[..., None] * torch.cat((white, constant[..., None]), -1))
        return torch.cat(parts, -1)

    def quadratic(self, angles: Tensor) -> PriorQuadratic:
        """Energy, gradient and Gauss–Newton curvature in the angles (B, 24, 3) radians, without autograd."""
        with torch.no_grad():
            flat = angles.flatten(-2)
            energy = flat.new_zeros(len(flat))
            gradient = torch.zeros_like(flat)
            curvature = flat.new_zeros(*flat.shape, flat.shape[-1])
            for name, columns in self._groups:
                whitening = self._mixture(name, flat).whitening
                white, _, m = self._nearest(name, flat[:, columns])
                weight = 1 / (1 + m / self.robust)
                U = whitening[self._choice(name, flat[:, columns])]
                energy += self.robust * torch.log1p(m / self.robust)
                gradient[:, columns] = weight[:, None] * (U.mT @ white[..., None]).squeeze(-1)
                rows = torch.tensor(columns, device=flat.device)
                curvature[:, rows[:, None], rows] = weight[:, None, None] * (U.mT @ U)
        return PriorQuadratic(energy, gradient, curvature)

    def mean_angles(self) -> Tensor:
        """Angles (24, 3) of the likeliest component of every group: a relaxed standing pose."""
        angles = torch.zeros(len(SMPL24) * 3)
        for name, columns in self._groups:
            mixture = self._mixture(name, angles)
            angles[columns] = mixture.mean[mixture.offset.argmin()]
        return angles.unflatten(-1, (len(SMPL24), 3))

    @property
    def mean(self) -> Tensor:
        """Rotations (24, 3, 3) of `mean_angles`."""
        return angles_to_rotations(self.mean_angles())

    def _distances(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whitened differences (B, C, D) and distances m (B, C)."""
        mixture = self._mixture(name, x)
        white = torch.einsum("cde,bce->bcd", mixture.whitening, x[:, None] - mixture.mean)
        return white, 0.5 * white.square().sum(-1) + mixture.offset

    def _choice(self, name: str, x: Tensor) -> Tensor:
        return self._distances(name, x.detach())[1].argmin(1)

    def _nearest(self, name: str, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the nearest component: whitened difference (B, D), offset (B,) and distance m (B,)."""
        choice = self._choice(name, x)
        mixture = self._mixture(name, x)
        white = (mixture.whitening[choice] @ (x - mixture.mean[choice])[..., None]).squeeze(-1)
        offset = mixture.offset[choice]
        return white, offset, 0.5 * white.square().sum(-1) + offset


def mixture_from(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> _Mixture:
    """Weights (C,), means (C, D), covariances (C, D, D) in the form that PosePrior keeps."""
    if weights.ndim != 1 or means.shape[:1] != weights.shape or covariances.shape != means.shape + means.shape[-1:]:
        raise UsageError(
            "mixture",
            "shapes do not fit",
            expected="(C,), (C, D), (C, D, D)",
            got=f"{weights.shape}, {means.shape}, {covariances.shape}",
        )
    whitening = np.linalg.cholesky(np.linalg.inv(covariances)).swapaxes(-1, -2)
    offset = -np.log(np.diagonal(whitening, axis1=-2, axis2=-1)).sum(-1) - np.log(weights)
    arrays = (means, whitening, offset - offset.min())
    return _Mixture(*(torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32)) for a in arrays))


@lru_cache(maxsize=1)
def _shipped() -> dict[str, _Mixture]:
    file = read_shipped(DATA_FILE, "pose prior", _SCHEMA)
    return {
        name: mixture_from(*(file[f"{name}.{field}"] for field in ("weights", "means", "covariances")))
        for name in PRIOR_GROUPS
    }


def pose_prior() -> PosePrior:
    """The prior shipped with the package; a module of its own at every call, over data read once."""
    return PosePrior(_shipped())
