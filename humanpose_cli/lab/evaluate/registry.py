"""All ablations of `hpc evaluate`, by sub-command and name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from humanpose_cli.lab.evaluate.ablations import Ablation
from humanpose_cli.lab.evaluate.deform_and_learn_ablations import DEFORM_ABLATIONS
from humanpose_cli.lab.evaluate.nbf_ablations import NBF_ABLATIONS
from humanpose_cli.lab.evaluate.refine_inputs import REFINE_INPUTS
from humanpose_cli.lab.evaluate.warping import warping_ablation

ABLATIONS: Mapping[str, Ablation[Any]] = {
    **NBF_ABLATIONS,
    "warping": warping_ablation(),
    **DEFORM_ABLATIONS,
    "refine inputs": REFINE_INPUTS,
}
