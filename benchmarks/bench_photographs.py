"""Processor time of a photograph of 1080p in `hpc fit`, by stage: what a GPU would take over, and what stays.

A group of eight photographs, one thread, with fit file and overlay; crops come to the networks 32 at a time, as on a
GPU. "networks" are the calls of ONNX Runtime and torch, which a GPU takes over; all else stays on the processor.
`photos_in_5_minutes` is how many 16 cores could do of that rest with several processes (`--shard i/N`): an estimate,
which leaves out the copies to the GPU and the waiting for it.

    python benchmarks/bench_photographs.py [PHOTO ...]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Lock, local
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch

from humanpose_cli.detect import runtime
from humanpose_cli.detect.models import PoseModels
from humanpose_cli.fitting import fitter as fitting
from humanpose_cli.fitting.fitter import Fitter, fit_item
from humanpose_cli.fitting.options import FitOutputs
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io import inputs
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import InputItem, open_inputs
from humanpose_cli.models.nbf.network import BodyNetwork
from humanpose_cli.outputs.output_names import fit_path
from humanpose_cli.refining.outputs import write_outputs

PHOTOS = 8
CROPS = 32
CORES, SECONDS = 16, 300
REACH = 10_000


class Stages:
    """Processor time of functions' calls, each without those within it that are timed too."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._within, self._lock = local(), Lock()

    def time(self, owner: Any, name: str, stage: str) -> Callable[[], None]:
        """Measure the calls of `owner.name`; return a function that stops it."""
        plain = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            outer, self._within.spent = getattr(self._within, "spent", 0.0), 0.0
            begun = time.thread_time()
            try:
                return plain(*arguments, **named)
            finally:
                seconds = time.thread_time() - begun
                with self._lock:
                    self.spent[stage] += seconds - self._within.spent
                self._within.spent = outer + seconds

        setattr(owner, name, timed)
        return lambda: setattr(owner, name, plain)


TIMED = (
    (runtime, "_compute", "networks"),
    (BodyNetwork, "regress", "networks"),
    (inputs, "read_image", "decoding"),
    (Fitter, "_detect", "around the pose networks"),
    (fitting, "fit_keypoints", "keypoint fit"),
    (Fitter, "_fit_images", "around the fit"),
    (Fit, "save", "fit file"),
    (Fit, "save_overlay", "overlay"),
)


def photographs(folder: Path) -> list[Path]:
    """Return eight images of 1920 × 1080 with an upright person, each a square photograph and its mirror image."""
    person = cv2.resize(skimage.data.astronaut(), (1080, 1080), interpolation=cv2.INTER_CUBIC)
    paths = []
    for number in range(PHOTOS):
        photo = np.full((1080, 1920, 3), 96 + 8 * number, np.uint8)
        photo[:, 400:1480] = person[:, ::-1] if number % 2 else person
        paths.append(folder / f"{number}.jpg")
        write_image(paths[-1], photo)
    return paths


def _fit(fitter: Fitter, item: InputItem, folder: Path) -> int:
    """Fit the people of a photograph, write the fit and the overlay, and count them."""
    output = fit_path(item.key, folder)
    fit = fit_item(fitter, item, output)
    write_outputs(fit, output, FitOutputs())
    return len(fit)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [Path(path) for path in sys.argv[1:]] or photographs(folder)
        items = list(open_inputs(paths, sequence=False))
        for detector in ("thorough", "fast"):
            stages = Stages()
            PoseModels.batch = CROPS  # type: ignore[method-assign, assignment]
            with Fitter(detector=detector, device="cpu", threads=1) as fitter:
                fitter.prepare(items[:2])  # models are loaded, kernels compiled
                undo = [stages.time(*entry) for entry in TIMED]
                begun = time.process_time()
                fitter.prepare(items)
                people = sum(_fit(fitter, item, folder) for item in items)
                seconds = time.process_time() - begun
                for each in undo:
                    each()
            rest = seconds - stages.spent["networks"]
            row: dict[str, Any] = {"detector": detector, "photos": len(items), "people": people}
            row |= {f"{stage}, s": round(stages.spent[stage] / len(items), 3) for _, _, stage in TIMED}
            row["whole, s"] = round(seconds / len(items), 3)
            row["else, s"] = round((seconds - sum(stages.spent.values())) / len(items), 3)
            row["on the processor, s"] = round(rest / len(items), 3)
            row["photos_in_5_minutes"] = round(CORES * SECONDS / (rest / len(items)))
            print(json.dumps({**row, "reach": REACH}), flush=True)


if __name__ == "__main__":
    main()
