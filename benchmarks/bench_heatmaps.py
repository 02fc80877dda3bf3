"""Volumetric heatmaps of 19 joints, forwards and backwards, against the same in plain torch.

Plain torch is the product of three profiles along the axes, broadcast and differentiated by autograd; both sides write
channels-last volumes.

    python benchmarks/bench_heatmaps.py [--device cuda] [--threads N] [--repeats N]
"""

from __future__ import annotations

import argparse

import torch
from side_by_side import Work, compare
from torch import Tensor

from humanpose_cli.engine.heatmaps.op import gaussian_heatmaps

JOINTS, SIGMA = 19, 1.5
SIZES = ((32, 64, 64), (64, 64, 64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for size in SIZES:
        for batch in (1, 8):
            _figures(batch, size, {"device": options.device, "repeats": options.repeats})


def _figures(batch: int, size: tuple[int, int, int], common: dict) -> None:
    generator = torch.Generator().manual_seed(0)
    joints = torch.rand((batch, JOINTS, 3), generator=generator) * torch.tensor(size[::-1])
    joints = joints.to(common["device"]).requires_grad_()
    upstream = torch.randn((batch, *size, JOINTS), generator=generator).to(common["device"]).permute(0, 4, 1, 2, 3)
    shape = f"{batch} × {JOINTS} × {'×'.join(map(str, size))}"
    volume = upstream.numel() * 4
    tasks = {
        "heatmaps": (
            lambda: gaussian_heatmaps(joints, (SIGMA,) * 3, size),
            lambda: plain_heatmaps(joints, size),
            Work(volume, upstream.numel()),
        ),
        "heatmaps, forwards and backwards": (
            lambda: torch.autograd.grad(gaussian_heatmaps(joints, (SIGMA,) * 3, size), joints, upstream),
            lambda: torch.autograd.grad(plain_heatmaps(joints, size), joints, upstream),
            Work(3 * volume, 6 * upstream.numel()),
        ),
    }
    for name, (ours, theirs, work) in tasks.items():
        compare(f"{name}, {shape}", ours, theirs, against="plain torch", reach=1.0, work=work, **common)


def plain_heatmaps(joints: Tensor, size: tuple[int, int, int]) -> Tensor:
    profiles = []
    for axis, count in enumerate(size[::-1]):
        centres = torch.arange(count, device=joints.device) + 0.5
        profiles.append(torch.exp(-0.5 * ((centres[:, None] - joints[:, None, :, axis]) / SIGMA).square()))
    x, y, z = profiles
    return (z[:, :, None, None] * y[:, None, :, None] * x[:, None, None]).permute(0, 4, 1, 2, 3)


if __name__ == "__main__":
    main()
