"""A quick check that networks learn correctly on this machine, for `hpc doctor`.

`python -m humanpose_cli.models.self_test` writes `TrainingErrors` as JSON. It is a separate program because a bug in a
library's kernels may end the process: the bug in oneDNN's strided 1×1 convolutions overwrites memory.
"""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from humanpose_cli.models.warp3d.layers import DecoderBottleneck
from humanpose_cli.networks.backbones import ResNet

# Fewer channels than the processor has lanes, in maps large enough that writing past them ends the process.
_WIDTH, _SHAPE = 4, (2, 3, 192, 192)
_STEPS, _LEARNING_RATE = 3, 0.01
# Relative tolerances. A ReLU that rounding turns on or off changes gradients by a few thousandths of the largest.
_LOSS_TOLERANCE, _GRADIENT_TOLERANCE = 1e-4, 0.02


@dataclass(frozen=True)
class TrainingErrors:
    """The difference of a short training in float32 from the same training in float64.

    Attributes:
        loss: Largest difference of a step's loss, relative to the loss.
        gradients: Largest difference of the first step's gradients, relative to the largest gradient.
        ok: Whether both are within tolerance.
    """

    loss: float
    gradients: float
    ok: bool


class _Network(nn.Module):
    """The kinds of layers that our networks have: convolutions, strided and pointwise ones, batch and group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet(18, width=_WIDTH)
        self.block = DecoderBottleneck(self.resnet.channels[0], 16, False, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        """Compute a loss of images (B, 3, H, W)."""
        maps = self.resnet.maps(images)
        return torch.stack([values.square().mean() for values in (*maps, self.block(maps[0]))]).sum()


def training_errors() -> TrainingErrors:
    """Compare a short training in float32 with the same training in float64.

    float32 uses channels-last as `hpc train` does. torch computes float64 with its own kernels instead of oneDNN's.
    """
    torch.manual_seed(0)
    network, images = _Network(), torch.randn(_SHAPE)
    reference = copy.deepcopy(network).double()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    losses, gradients = _train(network, images.to(memory_format=torch.channels_last))
    true_losses, true_gradients = _train(reference, images.double())
    loss = float(((losses - true_losses) / true_losses).abs().max())
    gradient = float((gradients - true_gradients).abs().max() / true_gradients.abs().max())
    return TrainingErrors(loss, gradient, loss <= _LOSS_TOLERANCE and gradient <= _GRADIENT_TOLERANCE)


def _train(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses (steps,), and all gradients of the first step in one row."""
    # Gradient descent by hand: the first step of torch's optimisers takes a second to import its compiler.
    losses, first = [], torch.empty(0)
    parameters = list(network.parameters())
    for step in range(_STEPS):
        loss = network(images)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(_LEARNING_RATE * gradient)
        losses.append(loss.detach().double())
        if step == 0:
            first = torch.cat([gradient.double().flatten() for gradient in gradients])
    return torch.stack(losses), first


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(training_errors())))
