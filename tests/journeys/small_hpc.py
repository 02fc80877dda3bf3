"""`hpc` for the small data sets of the pages "Reproduce paper N", in processes of its own as well.

It expects the numbers of those data sets, draws no plots, fits no people in images of one colour, and makes networks
narrow where no option does; narrow networks of random weights stand in for those of other owners in `HPC_WEIGHTS`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest
import torch
from helpers.paper_trees import WIDTH, UprightPeople, small_releases

from humanpose_cli.cli.main import main
from humanpose_cli.lab.datasets import deepfashion, preprocess
from humanpose_cli.lab.evaluate.studies import STUDIES
from humanpose_cli.models.segmenter.network import NETWORKS
from humanpose_cli.networks import backbones, decoders
from humanpose_cli.networks.weights import WEIGHTS

_NEARLY_ALL = {"losses.fraction_3d": 0.9}  # in place of 2 to 20 % of three people, who would be nobody


def make_small(patch: pytest.MonkeyPatch) -> None:
    small_releases(patch)
    patch.setattr(backbones, "_WIDTHS", (4, 4, 8, 8, 8))
    patch.setattr(decoders, "_FULLY_CONNECTED", 8)
    for name in ("refinenet-resnet101", "deeplab-resnet101", "deeplab-vgg16"):
        patch.setitem(NETWORKS, name, NETWORKS[name]._replace(width=WIDTH, widths=(8, 4, 4, 4)))
    patch.setattr(preprocess, "FitEstimator", lambda *_: UprightPeople())
    patch.setattr(deepfashion, "deepfashion_clothes", lambda: {"MEN/Pants/id_00001611/01": "test"})
    study = STUDIES["fit supervision"]
    controls = [v if "labels" in v.name else v._replace(changes={**v.changes, **_NEARLY_ALL}) for v in study.variants]
    patch.setitem(STUDIES, "fit supervision", replace(study, variants=controls))
    for name in WEIGHTS:
        if name.startswith(("imagenet-", "lpips-")):
            patch.setitem(WEIGHTS, name, replace(WEIGHTS[name], digest=""))  # that of any file


def write_networks() -> None:
    linear = {f"lin{i}.model.1.weight": torch.ones(1, n, 1, 1) for i, n in enumerate((64, 192, 384, 256, 256))}
    states = {"imagenet-alexnet": backbones.AlexNet().state_dict(), "lpips-alex": linear}
    networks = {f"imagenet-resnet{layers}": backbones.ResNet(layers, width=WIDTH) for layers in (50, 101)}
    networks |= {f"imagenet-vgg{layers}": backbones.VGG(layers) for layers in (16, 19)}
    for name, state in (states | {name: network.state_dict() for name, network in networks.items()}).items():
        torch.save(state, WEIGHTS[name].path)


make_small(pytest.MonkeyPatch())  # in the processes that load examples, too

if __name__ == "__main__":
    weights = Path(os.environ["HPC_WEIGHTS"])
    if not weights.is_dir():
        weights.mkdir()
        write_networks()
    sys.exit(main())
