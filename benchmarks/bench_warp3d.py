"""warp3d: one image reposed with a loaded network, a step of its training, and where a step's time goes.

`convolutions_ms` is the sum of the network's own convolutions, each timed alone on inputs of its shapes: what the
machine's convolutions allow; `of_them` is the whole pass over that sum. Weights are random, which times do not depend
on. `paper` in half precision and its training are for a GPU.

    python benchmarks/bench_warp3d.py [--device cuda]
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from repeats import measured_devices, times
from torch import Tensor, nn

from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.lab.recipes.warp3d.discriminator import Discriminator
from humanpose_cli.lab.recipes.warp3d.perceptual import perceptual_loss
from humanpose_cli.models.warp3d.config import PRESETS
from humanpose_cli.models.warp3d.generator import Generator

REACH_SMALL_MS, REACH_OF_CONVOLUTIONS, REACH_FRAMES, REACH_WARP = 120.0, 2.0, 60.0, 0.05
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


def inputs(size: int, batch: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Images and poses of people who fill most of them."""
    random = np.random.default_rng(0)
    upright = np.stack(
        (
            random.uniform(0.35, 0.65, len(REPOSING19)),
            np.linspace(0.1, 0.9, len(REPOSING19)),
            random.uniform(0.4, 0.6, len(REPOSING19)),
        ),
        -1,
    )
    poses = size * (upright + random.normal(0, 0.03, (2, batch, *upright.shape)))
    image = torch.from_numpy(random.uniform(-1, 1, (batch, 3, size, size)).astype(np.float32))
    source, target = torch.from_numpy(poses.astype(np.float32))
    return image.to(device), source.to(device), target.to(device)


@torch.inference_mode()
def convolutions_ms(network: nn.Module, run: Callable[[], Any], repeats: int, device: str) -> tuple[float, float]:
    """(milliseconds, GFLOP) of all convolutions of a pass, each timed alone."""
    met: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(lambda m, values: met.append((m, values[0])))
        for module in network.modules()
        if isinstance(module, _CONVOLUTIONS)
    ]
    run()
    for hook in hooks:
        hook.remove()
    total, flops = 0.0, 0.0
    for module, values in met:
        total += min(times(lambda: module(values), repeats, device))  # noqa: B023
        flops += 2 * module(values).numel() * module.weight[0].numel()
    return total, flops / 1e9


def inference(name: str, device: str, *, batch: int = 1, half: bool = False) -> None:
    network = Generator(PRESETS[name].generator).eval().requires_grad_(False).to(device)
    arguments = inputs(network.config.size, batch, device)

    @torch.inference_mode()
    def run() -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            return network(*arguments)

    repeats = 3 if name == "paper" and device == "cpu" else 15
    spent = min(times(run, repeats, device))
    alone, gflop = convolutions_ms(network, run, repeats, device)
    row: dict[str, Any] = {"what": "one pass", "preset": name, "batch": batch, "device": device}
    row |= {"precision": "bfloat16" if half else "float32", "ms": round(spent, 1)}
    row |= {"images_per_second": round(1000 * batch / spent, 1), "gflop": round(gflop, 1)}
    if not half:  # half precision is chosen inside a pass, not when a layer runs alone
        row |= {"convolutions_ms": round(alone, 1), "of_them": round(spent / alone, 2)}
    if name == "small" and device == "cpu":
        row["reach"] = f"{REACH_SMALL_MS:.0f} ms"
    elif name == "paper":
        row["reach"] = f"{REACH_FRAMES:.0f} images/s" if half else f"of_them {REACH_OF_CONVOLUTIONS:.0f}"
    print(json.dumps({**row, "threads": torch.get_num_threads()}), flush=True)


def training_step(name: str, device: str, *, batch: int) -> None:
    """Generator and discriminator once, with the part warp's share on a GPU."""
    shapes = PRESETS[name]
    generator = Generator(shapes.generator).to(device)
    discriminator = Discriminator(shapes.discriminator, shapes.generator).to(device)
    image, source, target = inputs(shapes.generator.size, batch, device)
    loss = perceptual_loss("segmenter").to(device)
    optimisers = [torch.optim.Adam(module.parameters(), 2e-4) for module in (generator, discriminator)]

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            generated = generator(image, source, target)
            perceptual = 3 * loss(generated.image, image)
            total = (
                perceptual + nn.functional.softplus(-discriminator(image, generated.image, generated.heatmaps)).mean()
            )
        optimisers[0].zero_grad(set_to_none=True)
        total.backward()
        optimisers[0].step()
        with torch.autocast(device, torch.bfloat16):
            true, false = (
                discriminator(image, image, generated.heatmaps),
                discriminator(image, generated.image.detach(), generated.heatmaps),
            )
            against = nn.functional.softplus(-true).mean() + nn.functional.softplus(false).mean()
        optimisers[1].zero_grad(set_to_none=True)
        against.backward()
        optimisers[1].step()

    spent = min(times(step, 3, device))
    row: dict[str, Any] = {"what": "training step", "preset": name, "batch": batch, "device": device}
    row |= {"precision": "mixed", "ms": round(spent, 1), "images_per_second": round(1000 * batch / spent, 2)}
    row["warp_share"] = round(warp_share(step, spent), 3)
    if name == "paper":
        row["reach"] = f"warp_share {REACH_WARP}"
    print(json.dumps({**row, "threads": torch.get_num_threads()}), flush=True)


def warp_share(step: Callable[[], Any], milliseconds: float) -> float:
    """Return the time of the part warp in a step, forwards and backwards."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        step()
    rows = [row for row in profile.key_averages() if row.key in ("_Warping", "_WarpingBackward")]
    spent = [max(row.cpu_time_total, getattr(row, "device_time_total", 0.0)) for row in rows]
    return sum(spent) / 1000 / milliseconds


def main() -> None:
    devices = measured_devices(__doc__)
    if "cpu" in devices:
        for name in PRESETS:
            inference(name, "cpu")
        training_step("small", "cpu", batch=8)
    if "cuda" in devices:
        for name in ("small", "medium", "paper"):
            inference(name, "cuda", batch=8, half=True)
        training_step("medium", "cuda", batch=8)
        training_step("paper", "cuda", batch=2)


if __name__ == "__main__":
    main()
