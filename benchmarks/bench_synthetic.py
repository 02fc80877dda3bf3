"""Synthetic people at 256×256 with all labels: images a second on every core, where the time goes, and memory.

One process a core makes groups of its own, as `hpc preprocess synthetic` does; writing the cache is not counted. The
first groups of a process, which load bodies and compile kernels, are not counted either. Shares are of one process's
time. Memory is the resident size of a process half-way and at the end: it must not grow with the number of images.

    python benchmarks/bench_synthetic.py [--count 240] [--processes N] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

WARM_UP = 8
REACH = 25.0
# Functions whose time is told, each without what others of them take of it.
PARTS = {
    "dress": "dress_identity",
    "scene": "sample_scene",
    "render": "SceneRenderer.render",
    "labels": "people_of_frame",
    "encode": "encode_scene_maps",
    "jpeg": "encode_scene_image",
}


def resident_mib() -> float:
    """Memory of this process now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def make(part: int, parts: int, count: int, structure: str, device: str, start: Any) -> dict[str, Any]:
    """One process: every `parts`-th group; seconds in all and by part."""
    import cv2
    import torch

    from humanpose_cli.lab.synthetic import generator
    from humanpose_cli.lab.synthetic.options import SyntheticOptions

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    options = SyntheticOptions(count=count, structure=structure, clip_length=16)  # type: ignore[arg-type]
    source = generator.SyntheticSource(options, device)
    groups = source.groups()[part::parts]
    for group in groups[: max(1, WARM_UP // groups[0].count)]:
        list(source.read(group))
    spent: dict[str, float] = defaultdict(float)
    with timed(generator, spent):
        start.wait()
        began, images, half = time.perf_counter(), 0, 0.0
        for number, group in enumerate(groups):
            images += sum(1 for _ in source.read(group))
            if number == len(groups) // 2:
                half = resident_mib()
        seconds = time.perf_counter() - began
    return {"images": images, "seconds": seconds, "spent": dict(spent), "half": half, "end": resident_mib()}


@contextmanager
def timed(module: Any, spent: dict[str, float]) -> Iterator[None]:
    """Add up the time of the functions in PARTS."""

    def wrapped(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[name] += time.perf_counter() - began

        return run

    kept = []
    for name, path in PARTS.items():
        *owners, attribute = path.split(".")
        owner = getattr(module, owners[0]) if owners else module
        kept.append((owner, attribute, getattr(owner, attribute)))
        setattr(owner, attribute, wrapped(name, getattr(owner, attribute)))
    try:
        yield
    finally:
        for owner, attribute, function in kept:
            setattr(owner, attribute, function)


def measure(structure: str, count: int, processes: int, device: str) -> None:
    """Print one row."""
    # As the workers of `build_cache` get it: one thread of arithmetic a process.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(processes) as pool:
        start = manager.Barrier(processes)
        parts = [(part, processes, count, structure, device, start) for part in range(processes)]
        found = pool.starmap(make, parts, chunksize=1)
    rate = sum(each["images"] / each["seconds"] for each in found)
    seconds = sum(each["seconds"] for each in found)
    shares = {name: sum(each["spent"].get(name, 0.0) for each in found) / seconds for name in PARTS}
    row = {
        "name": f"synthetic {structure}, 256×256, all labels" + (", on a GPU" if device != "cpu" else ""),
        "images_per_second": round(rate, 1),
        "reach": REACH,
        "processes": processes,
        "shares": {name: round(share, 2) for name, share in shares.items()},
        "mib_half_way": round(max(each["half"] for each in found)),
        "mib_at_end": round(max(each["end"] for each in found)),
    }
    print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu", help="device that poses and rasterises people")
    options = parser.parse_args()
    for structure in ("single", "pairs", "clips"):
        measure(structure, options.count, options.processes, options.device)


if __name__ == "__main__":
    main()
