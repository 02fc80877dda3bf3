"""SMPLify's pose prior (Bogo et al. 2016, section 3.2): one Gaussian mixture over all joints, from the user's file.

    E(x) = min_k  ½ (x − μ_k)ᵀ Σ_k⁻¹ (x − μ_k) + c_k,    c_k = ½ log det Σ_k − log w_k − min over k of the same

with rotation vectors x of SMPL's joints without the pelvis. The file is `gmm_08.pkl` of SMPLify and the programs that
build on it, or an `.npz` with the same arrays; users get it from its owners.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.model_files import read_model_arrays
from humanpose_cli.body.pose_prior import PriorQuadratic
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.restricted_pickle import as_array

_FIELDS = ("weights", "means", "covars")
_ANGLES = 3 * (len(SMPL24) - 1)


class MixturePrior:
    """The Gaussian mixture as a `JointPrior`.

    Args:
        weights: (K,) float. The weights of the components.
        means: (K, 69) float, radians. The means.
        precisions: (K, 69, 69) float. The inverse covariances.
    """

    def __init__(self, weights: Tensor, means: Tensor, precisions: Tensor) -> None:
        self._means, self._precisions = means.double(), precisions.double()
        offsets = -0.5 * torch.linalg.slogdet(self._precisions).logabsdet - weights.double().log()
        self._offsets = offsets - offsets.min()

    def quadratic(self, joints: Tensor) -> PriorQuadratic:
        """Compute energy, gradient and curvature of the nearest component.

        Args:
            joints: (B, 24, 3) float, radians. Rotation vectors.
        """
        offsets = joints.flatten(1)[:, None, -_ANGLES:] - self._means  # (B, K, 69)
        slopes = torch.einsum("kde,bke->bkd", self._precisions, offsets)
        energies = 0.5 * (offsets * slopes).sum(-1) + self._offsets
        energy, nearest = energies.min(1)
        gradient, curvature = joints.new_zeros(len(joints), 72), joints.new_zeros(len(joints), 72, 72)
        gradient[:, -_ANGLES:] = slopes[torch.arange(len(joints)), nearest]
        curvature[:, -_ANGLES:, -_ANGLES:] = self._precisions[nearest]
        return PriorQuadratic(energy, gradient, curvature)


def read_mixture_prior(path: Path) -> MixturePrior:
    """Read the prior from a file.

    Args:
        path: The file.

    Raises:
        InputError: If the file does not hold a valid mixture over SMPL's 69 angles.
    """
    table = read_model_arrays(path, _FIELDS, "is no mixture of poses")
    weights, means, covars = (_numbers(path, name, table[name]) for name in _FIELDS)
    shapes = (weights.size, _ANGLES), (weights.size, _ANGLES, _ANGLES)
    if weights.ndim != 1 or not weights.size or (means.shape, covars.shape) != shapes:
        got = f"{weights.shape}, {means.shape}, {covars.shape}"
        raise InputError(
            path, "is of other joints", expected=f"(K,), (K, {_ANGLES}), (K, {_ANGLES}, {_ANGLES})", got=got
        )
    if not (weights > 0).all():
        raise InputError(f"{path} (weights)", "are not positive")
    try:
        np.linalg.cholesky(covars)
    except np.linalg.LinAlgError:
        raise InputError(f"{path} (covars)", "are no covariances", expected="positive definite matrices") from None
    return MixturePrior(*(torch.from_numpy(values) for values in (weights, means, np.linalg.inv(covars))))


def _numbers(path: Path, name: str, value: Any) -> np.ndarray:
    try:
        values = as_array(value).astype(np.float64)
    except ValueError as error:
        raise InputError(f"{path} ({name})", "cannot be read", got=str(error)) from error
    if not np.isfinite(values).all():
        raise InputError(f"{path} ({name})", "holds values that are not finite")
    return values
