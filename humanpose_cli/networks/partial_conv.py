"""Partial convolutions (Liu et al. 2018): convolutions that look at known pixels only, and say what is known then.

    x' = W (x ⊙ m) · sum(1) / sum(m) + b  and  m' = 1  where the window sees anything known, else both are 0

with sums over the window and the channels. Outside the image nothing is known.

Putting named tensors of a file into a network, or saying which one does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from humanpose_cli.core.errors import InputError, UsageError

__all__ = [
    "PartialConv2d",
    "fill",
]


class PartialConv2d(nn.Module):
    """A partial convolution of inputs in groups of channels, each of which has one mask.

    inputs   channels of each group, one behind the other: (64,), or (64, 3) for features with another map behind them
    outputs  channels; all share one mask
    """

    ones: Tensor

    def __init__(
        self, inputs: Sequence[int], outputs: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__()
        self.groups = tuple(inputs)
        self.conv = nn.Conv2d(sum(inputs), outputs, kernel, stride, padding, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        # What a window of known pixels sums up to, per group.
        ones = torch.tensor(self.groups, dtype=torch.float32).view(1, -1, 1, 1).expand(1, -1, kernel, kernel)
        self.register_buffer("ones", ones.clone(), persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, sum of inputs, H, W), mask (B, groups, H, W) of 0 and 1 → (B, outputs, H', W'), mask (B, 1, H', W').

        What x holds where its mask is 0 has no influence, not even if it is not finite. UsageError for other shapes.
        """
        count = len(self.groups)
        if mask.shape != (x.shape[0], count, *x.shape[2:]) or x.shape[1] != sum(self.groups):
            expected = f"(B, {sum(self.groups)}, H, W) and (B, {count}, H, W)"
            raise UsageError("mask", "does not fit", expected=expected, got=f"{tuple(x.shape)} and {tuple(mask.shape)}")
        with torch.autocast(x.device.type, enabled=False):
            known = conv2d(mask.detach().float(), self.ones, None, self.conv.stride, self.conv.padding)
            seen = known > 0
            factor = torch.where(seen, float(self.ones.sum()) / known.clamp_min(1e-6), 0.0)
        parts = [group.masked_fill(mask[:, i : i + 1] <= 0, 0.0) for i, group in enumerate(x.split(self.groups, dim=1))]
        result = self.conv(parts[0] if count == 1 else torch.cat(parts, 1)) * factor.to(x.dtype)
        if self.bias is not None:
            result = result + self.bias.view(1, -1, 1, 1) * seen
        return result, seen.to(mask.dtype)


_COUNTER = "num_batches_tracked"  # of batch normalisation: says nothing about what was learned


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Load all of a module's tensors by name.

    InputError, which names the first in alphabetical order that is missing, left over or of another shape, and the
    file.
    """
    own, found = (
        {name: str(tuple(value.shape)) for name, value in state.items() if not name.endswith(_COUNTER)}
        for state in (module.state_dict(), tensors)
    )
    for name in sorted(set(own) | set(found)):
        expected, got = own.get(name, "nothing"), found.get(name, "nothing")
        if expected != got:
            remedy = "it belongs to another network, or to another number of parts, joints or channels"
            raise InputError(path, f"does not fit at {name}", expected=expected, got=got, remedy=remedy)
    module.load_state_dict({name: tensors[name] for name in own}, strict=False)
