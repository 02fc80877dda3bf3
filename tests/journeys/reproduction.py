"""The pages "Reproduce paper N" on small data sets in their owners' layouts.

Their lines are typed as they stand, with smaller networks and fewer steps at the end. `hpc` is `small_hpc.py` there:
it expects the sizes of the small data sets and makes those networks narrow that no option does.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import skimage.data
from helpers import humaneva_tree
from helpers.paper_datasets import iper_tree, threedpw_tree, up3d_tree
from helpers.paper_trees import (
    WIDTH,
    build_deepfashion,
    build_densepose,
    build_h36m_with_bodies,
    small_faced_smpl_fields,
    write_estimates,
)
from helpers.smpl_model_file import write_smpl_pickle

from humanpose_cli.io.images import write_image
from humanpose_cli.models.warp3d.config import PRESETS

_STEPS = "steps=1 --batch-size 2"
_LOOP = "steps=1 batch_size=2 validate_every=1000"
_DEFORM = f"rounds=2 lifter_steps=1 registration.steps=1 network.width={WIDTH} network.size=64"
_REFINER = "encoder= validation=2 visible=0 network.crop=32 network.width=4"
_SIDES = ("encoder", "decoder", "background")
_NBF = f"regressor.width={WIDTH} inputs.size=64 crop=64"


def _warp3d() -> str:
    """Thin networks that are as deep as the paper's, for images as large."""
    preset = PRESETS["paper"]
    thin = {f"generator.{name}": 4 for name in ("depth", "channels", "pose_channels", "stem")} | {
        "discriminator.stem": 4
    }
    lists = {f"generator.{side}_widths": getattr(preset.generator, f"{side}_widths") for side in _SIDES}
    lists["discriminator.widths"] = preset.discriminator.widths
    widths = {name: ",".join("4" for _ in values) for name, values in lists.items()}
    return " ".join(f"{name}={value}" for name, value in {**thin, **widths}.items())


def _of(prefix: str, settings: str) -> str:
    return " ".join(f"{prefix}.{setting}" for setting in settings.split())


SMALLER = {
    "preprocess synthetic": "--count 12 --size 128 validation=0 test=0",
    "preprocess iper": "random_pairs=4",
    "preprocess deepfashion": "random_pairs=4",
    "train warp3d": f"{_STEPS} {_warp3d()}",
    "evaluate repose --ablation": f"--limit 2 --seeds 1 {_of('network', _warp3d())} {_of('loop', _LOOP)}",
    "evaluate repose --weights": "--limit 2",
    "train segmenter": f"{_STEPS} segmenter.crop=64",
    "train nbf": f"{_STEPS} {_NBF}",
    "train refiner": f"{_STEPS} {_REFINER}",
    "evaluate refine --ablation inputs": f"{_of('network', _REFINER)} {_of('loop', _LOOP)}",
    "train deform-and-learn": f"{_STEPS} {_DEFORM}",
    "evaluate fit deform-rounds": f"{_of('network', _DEFORM)} {_of('loop', _LOOP)}",
    "evaluate fit --ablation --runs": f"{_of('network', _NBF)} {_of('loop', _LOOP)} {_of('segmenter_loop', _LOOP)}",
}
"""Words of a command → steps and sizes that its end gets; `name=value` stands for `--set name=value`."""


def smaller(line: str) -> str:
    """Return a line with smaller sizes."""
    words = set(line.split())
    for key, sizes in SMALLER.items():
        if set(key.split()) <= words:
            line += "".join(
                f" --set {size}" if re.match(r"[a-z_.0-9]+=", size) else f" {size}" for size in sizes.split()
            )
    return line


def of_nbf(data: Path) -> None:
    up3d_tree(data / "UP-3D")
    build_h36m_with_bodies(data / "H36M", data / "MOSH", data / "IUV")
    humaneva_tree.build(data / "HumanEva")


def of_deform_and_learn(data: Path) -> None:
    build_h36m_with_bodies(data / "H36M", data / "MOSH", data / "IUV")
    build_densepose(data / "DensePose-COCO", data / "DensePose-PoseTrack")
    write_image(data.parent / "photo.jpg", skimage.data.astronaut())


def of_refine(data: Path) -> None:
    threedpw_tree(data / "3DPW", scale=2)
    write_smpl_pickle(data.parent / "SMPL_NEUTRAL.pkl", small_faced_smpl_fields())
    write_estimates(data, data.parent / "SMPL_NEUTRAL.pkl")
    write_image(data.parent / "photos" / "wall.png", skimage.data.astronaut())


def of_warp3d(data: Path) -> None:
    iper_tree(data / "iPER", side=64)
    build_deepfashion(data / "DeepFashion")


TREES: dict[str, Callable[[Path], None]] = {
    "reproduce-deform-and-learn": of_deform_and_learn,
    "reproduce-nbf": of_nbf,
    "reproduce-refine": of_refine,
    "reproduce-warp3d": of_warp3d,
}
_IPER = ("random-pairs", "three-frames")
_PROTOCOL = "deform-and-learn/test under h36m-deform-and-learn"
TABLES: dict[str, dict[str, str]] = {
    "reproduce-deform-and-learn": {
        **dict.fromkeys(("table-1-mosh", "table-1-densepose"), _PROTOCOL),
        "figure-2": "Figure 2: rounds, and equally long trainings without them",
    },
    "reproduce-nbf": {
        **dict.fromkeys(("table-1-up3d", "table-1-h36m"), "Table 1: input and 3-D error"),
        "table-2": "Table 2: segmenters of training and validation, error mm",
        "table-3": "Table 3: losses",
        "table-4": "Table 4: share of 3-D labels",
        "table-5": "Errors",
        "table-6": "Errors",
    },
    "reproduce-refine": {
        "refinement": "From predictions",
        "refinement-openpose": "Errors",
        "inputs": "Inputs of the displacement network",
        "robustness": "Refined by network · prior gmm",
    },
    "reproduce-warp3d": {
        "table-1": "Table 1: two and three dimensions",
        **{f"table-2-{pairs}": f"{pairs}/test under iper-{pairs}" for pairs in _IPER},
        "table-2-deepfashion": "warp3d/test under deepfashion-warp3d",
    },
}
"""Page → folder of a report → title of a table in it."""


def titles(folder: Path) -> list[str]:
    """List the titles of the tables of a report; empty without one."""
    report = folder / "report.json"
    return [table["title"] for table in json.loads(report.read_text("utf-8"))["tables"]] if report.is_file() else []


def build(page: str, folder: Path) -> Path:
    """Put the data of a page into a folder, and return a folder with the program `hpc`."""
    TREES[page](folder / "data")
    programs = folder / ".bin"
    programs.mkdir()
    program = programs / "hpc"
    small = Path(__file__).with_name("small_hpc.py")
    program.write_text(f'#!/bin/sh\nHPC_WEIGHTS={folder / ".weights"} exec {sys.executable} {small} "$@"\n')
    program.chmod(0o755)
    return programs
