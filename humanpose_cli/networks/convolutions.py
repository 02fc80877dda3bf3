"""Convolutions that are safe on every processor."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import conv2d

MAX_SIMD_CHANNELS = 16
"""float32 channels that oneDNN's widest kernels process at once: 16 with AVX-512, 8 with AVX2."""


class PointwiseConv2d(nn.Conv2d):
    """A 1×1 convolution, (B, inputs, H, W) → (B, outputs, ⌈H / stride⌉, ⌈W / stride⌉).

    The backward pass of oneDNN's strided 1×1 convolution writes past its workspace if the input or the weight is
    channels-last and has fewer channels than a SIMD block (https://github.com/uxlfoundation/oneDNN/issues/6035, in all
    releases of torch from 2.11 to 2.13). Three lines corrupt the heap:

        convolution = torch.nn.Conv2d(4, 8, 1, 2)
        image = torch.randn(16, 4, 64, 64).to(memory_format=torch.channels_last)
        convolution(image).sum().backward()

    Layers with fewer than `MAX_SIMD_CHANNELS` inputs select every `stride`-th pixel first and convolve without a
    stride, which gives the same numbers. Wider layers keep the faster strided kernel.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        stride: The stride.
        bias: Whether there is a bias.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, inputs, H, W) → (B, outputs, H', W')."""
        if self.in_channels >= MAX_SIMD_CHANNELS:
            return super().forward(x)
        rows, columns = self.stride
        return conv2d(x[:, :, ::rows, ::columns], self.weight, self.bias)
