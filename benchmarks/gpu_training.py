"""Training steps on a GPU: computing alone, with their data, by precision and workers, and where the host waits.

A step is losses and gradients of every phase; "launching" is until the host has asked for all of it. With its data, the
loop itself runs for a few seconds after its first step. Where the host waits and which operations take longest goes to
stderr.

    python benchmarks/gpu_training.py [--device cuda] [--small]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from repeats import times

from humanpose_cli.core.device import resolve_device, usable_cores
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.loader import LoaderOptions
from humanpose_cli.lab.recipes.registry import MODELS
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.lab.train.recipe import Recipe, TrainOptions, moved
from humanpose_cli.lab.train.trainer import train

PRESETS = (("segmenter", "ablation"), ("nbf", "small"), ("warp3d", "small"))
SMALL = (("nbf", "small"),)
PEOPLE = SyntheticOptions(count=128, size=256, structure="pairs", validation=0.1)
FEW_PEOPLE = replace(PEOPLE, count=16, size=48, texture_size=64, validation=0.2)
MODES = ((0, "full"), (0, "mixed"), (None, "auto"))  # workers and precision; None and auto: what the loop chooses
_SHOWN = 15

Row = dict[str, Any]


def measured(cache: Path, device: torch.device, small: bool) -> Iterator[Row]:
    """A row for each preset and mode."""
    presets, max_batch, seconds = (SMALL, 2, 0.2) if small else (PRESETS, 8, 4.0)
    for name, preset in presets:
        options, loop = MODELS[name].preset(preset)
        if name == "warp3d":
            options = replace(options, perceptual="segmenter", validation=8)
        loop = replace(loop, batch_size=min(loop.batch_size, max_batch), steps=10**6, validate_every=10**6, epochs=1)
        for workers, precision in MODES if device.type == "cuda" else MODES[:1]:
            recipe = MODELS[name].make(cache, options, 0)
            row: Row = {"training": f"{name} {preset}", "batch": loop.batch_size, "precision": precision}
            loop = replace(loop, workers=workers, precision=precision)
            row["workers"] = loop.workers_for(device.type)
            if workers == 0:
                row |= alone(recipe, loop, device)
            yield row | with_data(recipe, loop, device, seconds)


def alone(recipe: Recipe[Any], loop: TrainOptions, device: torch.device) -> Row:
    """Milliseconds of a step, and of launching it."""
    recipe.model.to(device).train()
    batch = moved(next(iter(recipe.batches(LoaderOptions(loop.batch_size)))), device)

    def step() -> None:
        for phase in recipe.phases():
            with torch.autocast(device.type, torch.bfloat16, enabled=loop.precision == "mixed"):
                losses = recipe.losses(phase.name, batch)
            if losses is not None:
                losses["loss"].backward()

    row: Row = {"step_ms": round(min(times(step, 5, str(device))), 1)}
    if device.type == "cuda":
        begun = time.perf_counter()
        step()
        row["launching_ms"] = round(1000 * (time.perf_counter() - begun), 1)
        torch.cuda.synchronize(device)
    tell(step, device, f"{recipe.name}, {loop.precision}")
    return row


def tell(step: Callable[[], None], device: torch.device, title: str) -> None:
    """Where the host waits for the GPU, and the operations that take longest, to stderr."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(ProfilerActivity.CUDA)
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
        torch.cuda.set_sync_debug_mode("default")
        lines = Counter((Path(each.filename).name, each.lineno) for each in caught)
        print(f"{title}: host waits in a step: {dict(lines.most_common(_SHOWN)) or 'none'}", file=sys.stderr)
    with profile(activities=kinds) as profiled:
        step()
    order = "cuda_time_total" if device.type == "cuda" else "cpu_time_total"
    print(f"{title}\n{profiled.key_averages().table(sort_by=order, row_limit=_SHOWN)}", file=sys.stderr)


def with_data(recipe: Recipe[Any], loop: TrainOptions, device: torch.device, seconds: float) -> Row:
    """Examples a second of the training loop, and its peak of memory."""
    begun: list[float] = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with tempfile.TemporaryDirectory() as folder:
        train(
            recipe,
            loop,
            Path(folder),
            device,
            progress=lambda *step: begun.append(time.perf_counter()),
            stop=lambda: begun[-1] - begun[0] > seconds,
        )
    row: Row = {"examples_per_second": round(loop.batch_size * (len(begun) - 1) / (begun[-1] - begun[0]), 1)}
    if device.type == "cuda":
        row["peak_mib"] = torch.cuda.max_memory_allocated(device) >> 20
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="one model on tiny images, for less than a second")
    options = parser.parse_args()
    people, workers = (FEW_PEOPLE, 1) if options.small else (PEOPLE, usable_cores())
    with tempfile.TemporaryDirectory() as folder:
        build_cache(SyntheticSource(people), folder, shard_size=16, workers=workers)
        for row in measured(Path(folder), torch.device(resolve_device(options.device)), options.small):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
