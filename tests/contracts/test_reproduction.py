"""Every command of the pages "Reproduce paper N" runs, in the order of its page, on small data sets in their owners'
layouts, with small networks and few steps in place of the papers': nothing else of a command is changed.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import skimage.data
import torch
from helpers import humaneva_tree
from helpers.paper_datasets import iper_tree, threedpw_tree, up3d_tree
from helpers.paper_trees import (
    WIDTH,
    UprightPeople,
    build_deepfashion,
    build_densepose,
    build_h36m_with_bodies,
    small_faced_smpl_fields,
    small_releases,
    write_charts,
    write_estimates,
    write_joint_regressor,
)
from helpers.prior_files import write_mixture
from helpers.python_sources import ROOT
from helpers.smpl_model_file import write_smpl_pickle

from humanpose_cli.body import smpl
from humanpose_cli.cli.main import main
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.datasets import deepfashion, preprocess
from humanpose_cli.lab.evaluate.variants import VARIANTS
from humanpose_cli.models.segmenter.network import NETWORKS
from humanpose_cli.models.warp3d.config import PRESETS
from humanpose_cli.networks import backbones, decoders
from humanpose_cli.networks.backbones import VGG, AlexNet, ResNet
from humanpose_cli.networks.weights import WEIGHTS

GUIDES = ROOT / "docs" / "guides"
PAGES = sorted(GUIDES.glob("reproduce-*.md"))

_STEPS = "steps=1 --batch-size 2 --workers 0 --threads 1"
_LOOP = "steps=1 batch_size=2 workers=0 validate_every=1000"
_NEARLY_ALL = {"losses.fraction_3d": 0.9}  # in place of 2 to 20 % of three people, who would be nobody
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
    "preprocess": "--workers 1",
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
"""Words of a command → steps, sizes and processes that its end is given."""


def arguments(command: str) -> list[str]:
    """The words of a command line with smaller sizes; `name=value` is written for `--set name=value`."""
    parts = shlex.split(command)[1:]
    for key, sizes in SMALLER.items():
        if set(key.split()) <= set(parts):
            for size in sizes.split():
                parts += ["--set", size] if re.match(r"[a-z_.0-9]+=", size) else [size]
    return parts


def commands(page: Path) -> list[str]:
    """The command lines in the blocks of a page, comments left out."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def of_nbf(data: Path) -> None:
    up3d_tree(data / "UP-3D")
    build_h36m_with_bodies(data / "H36M", data / "MOSH", data / "IUV")
    humaneva_tree.build(data / "HumanEva")


def of_deform_and_learn(data: Path) -> None:
    build_h36m_with_bodies(data / "H36M", data / "MOSH", data / "IUV")
    build_densepose(data / "DensePose-COCO", data / "DensePose-PoseTrack")
    write_charts(data.parent / "UV_Processed.mat")
    write_joint_regressor(data.parent / "J_regressor_h36m.npy")
    write_image(data.parent / "photo.jpg", skimage.data.astronaut())


def of_refine(data: Path) -> None:
    threedpw_tree(data / "3DPW", scale=2)
    write_estimates(data, data.parent / "SMPL_NEUTRAL.pkl")
    write_mixture(data.parent / "gmm_08.pkl")
    write_charts(data.parent / "UV_Processed.mat")
    write_joint_regressor(data.parent / "J_regressor_h36m.npy")
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


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the licensed files, and narrow networks where no option makes them so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPC_WEIGHTS", str(tmp_path / "weights"))
    small_releases(monkeypatch)
    monkeypatch.setattr(backbones, "_WIDTHS", (4, 4, 8, 8, 8))
    monkeypatch.setattr(decoders, "_FULLY_CONNECTED", 8)
    for name in ("refinenet-resnet101", "deeplab-resnet101", "deeplab-vgg16"):
        monkeypatch.setitem(NETWORKS, name, NETWORKS[name]._replace(width=WIDTH, widths=(8, 4, 4, 4)))
    monkeypatch.setattr(preprocess, "FitEstimator", lambda *_: UprightPeople())  # the images are of one colour
    monkeypatch.setattr(deepfashion, "deepfashion_clothes", lambda: {"MEN/Pants/id_00001611/01": "test"})
    for gender in ("NEUTRAL", "MALE", "FEMALE"):
        write_smpl_pickle(tmp_path / f"SMPL_{gender}.pkl", small_faced_smpl_fields())
    monkeypatch.setattr(smpl, "load_smpl", functools.cache(smpl.load_smpl))  # one file in place of many readings
    controls = [
        v if "labels" in v.name else v._replace(changes={**v.changes, **_NEARLY_ALL}) for v in VARIANTS["supervision"]
    ]
    monkeypatch.setitem(VARIANTS, "supervision", controls)
    (tmp_path / "weights").mkdir()
    linear = {f"lin{i}.model.1.weight": torch.ones(1, n, 1, 1) for i, n in enumerate((64, 192, 384, 256, 256))}
    states = {"imagenet-alexnet": AlexNet().state_dict(), "lpips-alex": linear}
    networks = {f"imagenet-resnet{layers}": ResNet(layers, width=WIDTH) for layers in (50, 101)}
    networks |= {f"imagenet-vgg{layers}": VGG(layers) for layers in (16, 19)}
    for name, state in (states | {name: network.state_dict() for name, network in networks.items()}).items():
        monkeypatch.setitem(WEIGHTS, name, replace(WEIGHTS[name], digest=""))  # that of any file
        torch.save(state, WEIGHTS[name].path)
    return tmp_path


@pytest.mark.extensive
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_make_its_tables(
    page: Path, working_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    TREES[page.stem](working_folder / "data")
    for command in commands(page):
        code = main(arguments(command))
        assert code == 0, f"{command}\n{capsys.readouterr().err}"
    for folder, title in TABLES[page.stem].items():
        report = json.loads((working_folder / folder / "report.json").read_text("utf-8"))
        assert title in [table["title"] for table in report["tables"]], folder


def test_every_page_has_a_tree() -> None:
    assert [page.stem for page in PAGES] == sorted(TREES) == sorted(TABLES)
