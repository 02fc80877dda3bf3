"""Strided 1×1 convolutions give torch's numbers, and training narrow networks leaves the heap intact."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from humanpose_cli.networks.convolutions import MAX_SIMD_CHANNELS, PointwiseConv2d

MALLOC_CHECKS = next(Path("/").glob("lib*/**/libc_malloc_debug.so.0"), None)

TRAINING = """
import sys
import torch
from humanpose_cli.models.warp3d.layers import DecoderBottleneck
from humanpose_cli.networks.backbones import ResNet

for width in map(int, sys.argv[1:]):
    resnet = ResNet(18, width=width)
    networks = torch.nn.ModuleList([resnet, DecoderBottleneck(resnet.channels[0], 16, False, stride=2)])
    networks.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(networks.parameters())
    images = torch.randn(16, 3, 256, 256).to(memory_format=torch.channels_last)
    for _ in range(2):
        optimizer.zero_grad()
        maps = resnet.maps(images)
        loss = sum(values.square().mean() for values in (*maps, networks[1](maps[0])))
        loss.backward()
        optimizer.step()
    assert all(parameter.isfinite().all() for parameter in networks.parameters())
print("trained")
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 2, 7, MAX_SIMD_CHANNELS - 1, MAX_SIMD_CHANNELS, 24])
def test_pointwise_convolutions_give_torchs_numbers_and_gradients(channels, dtype):
    torch.manual_seed(channels)
    for stride, size, bias in ((1, (5, 6), True), (2, (8, 8), False), (2, (7, 9), True), (3, (7, 8), True)):
        layer = PointwiseConv2d(channels, 5, stride, bias=bias)
        x = torch.randn(2, channels, *size)
        plain = torch.nn.Conv2d(channels, 5, 1, stride, bias=bias).double()
        plain.load_state_dict(layer.state_dict())
        results = []
        for module, image in (
            (layer.to(dtype), x.to(dtype, memory_format=torch.channels_last)),
            (plain, x.double()),  # oneDNN computes no float64: a path without the fault
        ):
            image.requires_grad_()
            y = module(image)
            y.square().sum().backward()
            results.append((y, image.grad, *(parameter.grad for parameter in module.parameters())))
        for value, reference in zip(*results, strict=True):
            terms = channels * 5 * 2 * size[0] * size[1]  # sums of at most so many products
            torch.testing.assert_close(value.double(), reference, rtol=0, atol=terms * torch.finfo(dtype).eps)


@pytest.mark.extensive
@pytest.mark.parametrize("isa", ["AVX2", "DEFAULT"])
def test_training_narrow_networks_leaves_the_heap_intact(isa):
    """With glibc's checks of the heap, where they are installed. DEFAULT is all that the processor has."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": isa, "OMP_NUM_THREADS": "1"}
    if MALLOC_CHECKS is not None:
        environment |= {"MALLOC_CHECK_": "3", "LD_PRELOAD": str(MALLOC_CHECKS)}
    widths = ("2", "4", "6", "12")
    done = subprocess.run([sys.executable, "-c", TRAINING, *widths], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr[-2000:]
