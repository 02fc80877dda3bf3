"""All figures of a GPU in four minutes: operations and training steps eager and as graphs, with data, and whole fits.

Each row is one figure, in milliseconds or in items a second. Operations and steps say whether their graph agrees.

    python benchmarks/gpu_quick.py [--device cuda] [--small]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bench_nbf
import bench_part_warp
import bench_skinning
import gpu_training
import numpy as np
import skimage.data
import torch
from gpu_engine import graphed, operations
from repeats import times
from torch import Tensor
from torch.autograd import grad

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.device import resolve_device, usable_cores
from humanpose_cli.engine.warping.op import warp_parts
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.loader import LoaderOptions
from humanpose_cli.lab.recipes.registry import MODELS
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.train.recipe import moved
from humanpose_cli.models.nbf.network import load_nbf
from humanpose_cli.networks.weights import shipped_weights

Row = dict[str, Any]
Run = Callable[[], tuple[Tensor, ...]]


def skinning(device: torch.device, small: bool) -> Iterator[Row]:
    """Bodies of SMPL's size, and what smplx takes for them."""
    model = bench_skinning.Model(str(device))
    for batch in (1,) if small else (1, 64, 256):
        betas = torch.randn(batch, bench_skinning.SHAPES, device=device).requires_grad_()
        pose = (0.3 * torch.randn(batch, 3 * bench_skinning.JOINTS, device=device)).requires_grad_()
        upstream = torch.randn(batch, bench_skinning.VERTICES, 3, device=device)
        inputs = betas, pose
        for name, run in (("pose_vertices", model.engine), ("smplx.lbs", model.smplx)):
            both: Run = lambda run=run, inputs=inputs, up=upstream: grad(run(*inputs), inputs, up)  # noqa: E731
            yield graphed(f"{name}, {batch}", both, device)


def warping(device: torch.device, small: bool) -> Iterator[Row]:
    """The part warp of warp3d, forwards and both ways."""
    parts, size = bench_part_warp.people(str(device)), (2, 2, 2) if small else bench_part_warp.SIZE
    volume = torch.randn((2, bench_part_warp.CHANNELS, *size), device=device)
    volume = volume.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    upstream = torch.randn_like(volume)

    def forwards() -> tuple[Tensor, ...]:
        arguments = parts.capsules, parts.part_of_capsule, parts.target_to_source
        return (warp_parts(volume, *arguments, voxel_size=bench_part_warp.VOXEL),)

    with torch.no_grad():
        yield graphed("warp_parts without gradients", forwards, device)
    yield graphed("warp_parts", lambda: grad(forwards(), volume, upstream), device)


def engine(device: torch.device, small: bool) -> Iterator[Row]:
    """A whole body, and the part warp of one volume."""
    for name, run in operations(device).items():
        yield graphed(name, run, device)


def steps(cache: Path, device: torch.device, small: bool) -> Iterator[Row]:
    """Losses and gradients of a step of each training at a batch of 8, and the training loop with its data."""
    for name, preset in gpu_training.SMALL if small else gpu_training.PRESETS:
        options, loop = MODELS[name].preset(preset)
        if name == "warp3d":
            options = replace(options, perceptual="segmenter", validation=8, adversarial_after=0)
        recipe = MODELS[name].make(cache, options, 0)
        recipe.model.to(device).train()
        recipe.graph_key(0)
        batch = moved(next(iter(recipe.batches(LoaderOptions(2 if small else 8)))), device)
        phase = recipe.phases()[0]

        def step(recipe=recipe, phase=phase, batch=batch) -> tuple[Tensor, ...]:
            for parameter in phase.parameters:
                parameter.grad = None
            loss = recipe.losses(phase.name, batch)["loss"]
            loss.backward()
            return (loss.detach().clone(),)

        yield graphed(f"step of {name} {preset}, {phase.name}", step, device)
        loop = replace(loop, batch_size=2 if small else 8, steps=10**6, validate_every=10**6, precision="auto")
        fresh = MODELS[name].make(cache, options, 0)
        yield {"what": f"{name} {preset} with data"} | gpu_training.with_data(fresh, loop, device, 1 if small else 6)


def fits(folder: Path, device: torch.device, small: bool) -> Iterator[Row]:
    """The body network for a crowd, and `hpc fit` of many photographs."""
    count = 2 if small else 64
    network = load_nbf(shipped_weights("nbf-parts"), segmenter=shipped_weights("segmenter"), device=str(device))
    image = np.random.default_rng(0).integers(0, 256, (*bench_nbf.SIZE, 3)).astype(np.uint8)
    crowd, camera = bench_nbf.people(count), Camera.of_image(bench_nbf.SIZE[::-1], bench_nbf.FOCAL)
    spent = times(lambda: network.finish(network.prepare(image, crowd, camera)), 3, str(device))
    yield {"what": f"nbf-parts, {count} people", "people_per_second": round(1000 * count / min(spent), 1)}
    photographs = 2 if small else 256
    for number in range(photographs):
        shifted = np.roll(skimage.data.astronaut(), number, 1)
        write_image(folder / "photographs" / f"{number:04}.png", shifted)
    line = [sys.executable, "-m", "humanpose_cli", "fit", folder / "photographs", "--out", folder / "fits"]
    begun = time.perf_counter()
    done = subprocess.run([*line, "--device", str(device)], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    row: Row = {
        "what": f"hpc fit, {photographs} photographs",
        "photographs_per_second": round(photographs / seconds, 2),
    }
    yield row | {"ok": done.returncode == 0, "problem": done.stderr[-300:] if done.returncode else ""}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="everything in miniature")
    options = parser.parse_args()
    device, small, wrong = torch.device(resolve_device(options.device)), options.small, False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photographs").mkdir()
        people = gpu_training.FEW_PEOPLE if small else replace(gpu_training.PEOPLE, count=64)
        parts = [skinning, warping, engine, lambda *settings: steps(folder / "people", *settings)]
        for part in (*parts, lambda *settings: fits(folder, *settings)):
            if part is parts[-1]:
                build_cache(SyntheticSource(people), folder / "people", shard_size=16, workers=usable_cores())
            for row in part(device, small):
                print(json.dumps(row), flush=True)
                wrong = wrong or not row.get("ok", True)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
