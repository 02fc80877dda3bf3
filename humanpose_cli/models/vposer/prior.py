"""VPoser v2 (Pavlakos et al. 2019, Expressive Body Capture), the autoencoder of poses, as a prior of the solvers.

SMPLify-X optimises the latent variable z with the cost ½ |z|². Here the pose is optimised, and z is the mean
that the encoder returns for it. A pose that the decoder cannot produce has a latent variable, too, so the distance
between the pose and its reconstruction is added:

    E(x) = ½ |z(x)|² + Σ_j |D_j(z(x)) − exp(x_j)|² / (4 σ²)

with rotation vectors x of 21 joints, the decoder's rotations D, the Frobenius norm, which is √2 times
the angle for small angles, and σ = `RECONSTRUCTION_NOISE`. SMPLify-X is the limit σ → 0.

The checkpoints are licensed; users get them from their owners. Layers are those of the published V02_05; their widths
are read from the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from humanpose_cli.body.pose_prior import PriorQuadratic
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.geometry.rotations import skew
from humanpose_cli.networks.weights import fill, read_tensors

JOINTS = 21  # SMPL's, without the pelvis and the hands
RECONSTRUCTION_NOISE = 0.1  # radians a joint
_PREFIX = "vp_model."  # of its training's module
_FIRST = 3 * SMPL24.index("left_hip")  # column of the first joint's rotation vector among 72


class VPoser(nn.Module):
    """The autoencoder in evaluation mode.

    Args:
        width: Units of the hidden layers.
        latent: Number of latent variables.
    """

    def __init__(self, width: int = 512, latent: int = 32) -> None:
        super().__init__()
        # The positions of the layers are names in the checkpoint.
        self.encoder_net = nn.Sequential(
            nn.Flatten(),
            nn.BatchNorm1d(3 * JOINTS),
            nn.Linear(3 * JOINTS, width),
            nn.LeakyReLU(),
            nn.BatchNorm1d(width),
            nn.Dropout(0.1),
            nn.Linear(width, width),
            nn.Linear(width, width),
            nn.ModuleDict({"mu": nn.Linear(width, latent), "logvar": nn.Linear(width, latent)}),
        )
        self.decoder_net = nn.Sequential(
            nn.Linear(latent, width),
            nn.LeakyReLU(),
            nn.Dropout(0.1),
            nn.Linear(width, width),
            nn.LeakyReLU(),
            nn.Linear(width, 6 * JOINTS),
        )
        self.eval()

    def encode(self, poses: Tensor) -> Tensor:
        """Encode rotation vectors (B, 63) in radians as means of the latent variables (B, Z)."""
        *layers, last = self.encoder_net
        for layer in layers:
            poses = layer(poses)
        mean: Tensor = last["mu"](poses)  # type: ignore[index]
        return mean

    def decode(self, latent: Tensor) -> Tensor:
        """Decode latent variables (B, Z) to rotations (B, 21, 3, 3) by Gram-Schmidt (Zhou et al. 2019, equation 4)."""
        columns = self.decoder_net(latent).unflatten(-1, (JOINTS, 3, 2))
        first = functional.normalize(columns[..., 0], dim=-1)
        second = columns[..., 1] - (first * columns[..., 1]).sum(-1, keepdim=True) * first
        second = functional.normalize(second, dim=-1)
        return torch.stack((first, second, torch.linalg.cross(first, second)), -1)


class VPoserPrior:
    """VPoser as a `JointPrior`, with the energy in the module's docstring."""

    def __init__(self, network: VPoser) -> None:
        self._network = network.double().requires_grad_(False)

    def quadratic(self, joints: Tensor) -> PriorQuadratic:
        """Compute energy, gradient and Gauss–Newton curvature in the rotation vectors (B, 24, 3) in radians."""
        count = len(joints)
        window = slice(_FIRST, _FIRST + 3 * JOINTS)
        poses = joints.flatten(1)[:, window]
        gradient, curvature = joints.new_zeros(count, 72), joints.new_zeros(count, 72, 72)
        if not count:
            return PriorQuadratic(joints.new_zeros(0), gradient, curvature)
        slopes, residuals = torch.func.vmap(torch.func.jacfwd(self._residuals, has_aux=True))(poses)
        gradient[:, window] = (slopes.mT @ residuals[..., None]).squeeze(-1)
        curvature[:, window, window] = slopes.mT @ slopes
        return PriorQuadratic(0.5 * residuals.square().sum(-1), gradient, curvature)

    def _residuals(self, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Return residuals (Z + 189,) of a pose (63,), whose half sum of squares is the energy, twice for `jacfwd`."""
        latent = self._network.encode(pose[None])
        difference = self._network.decode(latent) - torch.linalg.matrix_exp(skew(pose.view(1, JOINTS, 3)))
        values = torch.cat((latent.flatten(), difference.flatten() / (2**0.5 * RECONSTRUCTION_NOISE)))
        return values, values


def read_vposer(path: Path) -> VPoserPrior:
    """Load the prior from a checkpoint.

    Args:
        path: The checkpoint in V02_05/snapshots.

    Raises:
        InputError: If the file is damaged, of another version of VPoser, or another file.
    """
    state = {name.removeprefix(_PREFIX): value for name, value in read_tensors(path).items()}
    tensors = {name: value for name, value in state.items() if name.startswith(("encoder_net.", "decoder_net."))}
    network = VPoser(*_sizes(path, state))
    fill(network, tensors, path)
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
        raise InputError(path, "holds values that are not finite", remedy="copy or download it again")
    return VPoserPrior(network)


def _sizes(path: Path, state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Return the width and the number of latent variables."""
    first = state.get("decoder_net.0.weight")
    if first is None or first.ndim != 2:
        version = "version 1 of VPoser" if "bodyprior_dec_fc1.weight" in state else ", ".join([*state][:3])
        raise InputError(path, "is no VPoser v2", expected="the checkpoint in V02_05/snapshots", got=version)
    return first.shape[0], first.shape[1]
