"""Protocols of published figures of bodies: joints, root, frames and averaging, each as a public evaluator has them.

Figures of one data set differ by protocol: EMDB 1 alone is evaluated in three ways. A published row therefore stands
beside ours under its own protocol only, and only where the complete split was evaluated. `hpc evaluate fit --protocol
NAME` chooses a protocol; docs/reference/protocols.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.cache.schema import Header
from humanpose_cli.lab.evaluate.intervals import Summary
from humanpose_cli.lab.evaluate.movement import RootPath
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.evaluate.report import Cell, Table
from humanpose_cli.lab.metrics.joints import JointSetName, RootName
from humanpose_cli.lab.metrics.trajectories import Cut


@dataclass(frozen=True)
class Evaluator:
    """The public code that a protocol follows, at one commit."""

    repository: str
    commit: str

    @property
    def text(self) -> str:
        """For reports."""
        return f"{self.repository}@{self.commit[:8]}"


_SPIN = Evaluator("nkolot/SPIN", "2476c436013055be5cb3905e4e4ecfa86966fac3")
_CAMERAHMR = Evaluator("pixelite1201/CameraHMR", "65d11a0640d23c60f55ec82ae54298e9e7e549e0")
_WHAM = Evaluator("yohanshin/WHAM", "2b54f7797391c94876848b905ed875b154c4a295")
_WHAM_OF_PAPER = Evaluator("yohanshin/WHAM", "d1ade93ae83a91855902fdb8246c129c4b3b8a40")
_HMR2 = Evaluator("shubham-goel/4D-Humans", "6ec79656a23c33237c724742ca2a0ec00b398b53")
_TOKENHMR = Evaluator("saidwivedi/TokenHMR", "198645f7784a27a4df0eac32478b1e7bc3e13574")
_EMDB = Evaluator("eth-ait/emdb", "9a4eab677181a3789bda7ba5c36ab8cff797380c")
_TRAM = Evaluator("yufu-wang/tram", "4861c112f3c148201326680a50c9199650da6088")
_GVHMR = Evaluator("zju3dv/GVHMR", "44fbc1999dd57d2180e882c62c78d356d4c840d0")
_SSP3D_OWNERS = Evaluator("akashsengupta1997/SSP-3D", "b99a7de25698bc706403e71cb52ca6c6ef71c678")
_AGORA = Evaluator("pixelite1201/agora_evaluation", "8c9dece5fc89c8b2acc24203bf9e8f8d5cd0b8b1")
_HIERPROB = Evaluator("akashsengupta1997/HierarchicalProbabilistic3DHuman", "3e5c64eedd627c9e4d6bd5fd05e8d8dcb274ec0a")

_POSE = ("pa_mpjpe_mm", "mpjpe_mm", "pve_mm")
_WORLD = ("wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent")


@dataclass(frozen=True)
class Protocol:
    """How figures of one data set are measured. Errors are means over the frames of all sequences.

    source, split   of the data, such as "3dpw" and "3dpw/test"
    joints, root    see `lab.metrics.joints`
    evaluator       that it follows
    metrics         names of the figures that are published under it, in the order of `rows`
    frames          which frames count
    rows            method → published figures, None where there is none; rows_source where they stand
    every           frames apart: the cache may have been made with finer steps, but not with coarser ones
    cut, root_path  of world errors
    version         of this definition; a change of what it measures gives it another one
    """

    name: str
    source: str
    split: str
    joints: JointSetName
    root: RootName
    evaluator: Evaluator
    metrics: tuple[str, ...] = _POSE
    frames: str = "All labelled people"
    rows: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    rows_source: str = ""
    every: int = 1
    cut: Cut = "short last"
    root_path: RootPath = "pelvis"
    version: int = 1

    @property
    def text(self) -> str:
        """For reports."""
        return f"{self.name}, version {self.version}, after {self.evaluator.text}"

    def table(self, metrics: Mapping[str, Summary], header: Header, split: str) -> Table:
        """Published rows, if all of `split` of a cache with that header was evaluated and is the protocol's; ours."""
        complete = agrees(header, split, self.source, (self.split,), self.every)
        rows: list[list[Cell]] = [[name, *figures] for name, figures in self.rows.items()] if complete else []
        ours = [metrics[name].value if name in metrics else None for name in self.metrics]
        rows.append(["this evaluation, of those found", *ours])
        notes = [f"Protocol {self.text}. {self.frames}."]
        if not complete:
            notes.append(f"Not comparable with published figures, which are of all of {self.split} of {self.source}.")
        elif self.rows:
            notes.append(f"Published figures: {self.rows_source}.")
        if unknown := [name for name in self.metrics if name in metrics and not np.isfinite(metrics[name].value)]:
            notes.append(f"Not known: {', '.join(unknown)}; figures of vertices need a body of the truth's kind.")
        digits = [0, *(2 if name in ("f1", "precision", "recall") else 1 for name in self.metrics)]
        return Table("published", f"{self.split} under {self.name}", ("method", *self.metrics), rows, digits, notes)


_ACCELERATED = (*_POSE, "accel_trimmed_m_s2")
_TRAJECTORY = (*_WORLD, "jitter_10m_s3", "foot_sliding_mm")
_VALID, _CLOSED_UP = "Frames that the owners call valid", "Frames that the owners call valid, closed up"
_3DPW, _EMDB1, _EMDB2 = ("3dpw", "3dpw/test"), ("emdb", "emdb1/test"), ("emdb", "emdb2/test")
_SSP3D = ("ssp-3d", "ssp-3d/test")
_FIFTH = "S9 and S11, every 5th frame"
_ALL = (
    Protocol("3dpw-spin", *_3DPW, "h36m14", "pelvis", _SPIN, _POSE[:2]),
    Protocol(
        "3dpw-camerahmr",
        *(*_3DPW, "h36m14", "pelvis", _CAMERAHMR),
        rows={"CameraHMR": (38.5, 62.1, 72.9)},
        rows_source="CameraHMR's paper",
    ),
    Protocol("3dpw-wham", *_3DPW, "h36m14", "hips", _WHAM, _ACCELERATED, "Valid frames of a person, closed up"),
    Protocol("3dpw-hmr2", *_3DPW, "hmr14", "pelvis", _HMR2, _POSE[:2]),
    Protocol(
        "3dpw-tokenhmr",
        *(*_3DPW, "hmr14", "pelvis", _TOKENHMR),
        rows={"TokenHMR": (44.8, 70.9, 84.3)},
        rows_source="TokenHMR's paper",
    ),
    Protocol(
        "emdb1-emdb", *_EMDB1, "smpl24", "hips", _EMDB, (*_POSE, "pa_pve_mm", "mpjae_deg", "pa_mpjae_deg"), _VALID
    ),
    Protocol("emdb1-wham", *_EMDB1, "smpl24", "hips", _WHAM, _ACCELERATED, _CLOSED_UP),
    Protocol("emdb1-wham-paper", *_EMDB1, "smpl24-mesh", "hips", _WHAM_OF_PAPER, _ACCELERATED, _CLOSED_UP),
    Protocol("emdb1-tram", *_EMDB1, "smpl24", "hips", _TRAM, _ACCELERATED, _CLOSED_UP),
    Protocol(
        "emdb1-camerahmr",
        *(*_EMDB1, "smpl24-neutral", "hips", _CAMERAHMR),
        frames=_VALID,
        rows={"CameraHMR": (43.7, 73.0, 85.4)},
        rows_source="CameraHMR's paper",
    ),
    Protocol("emdb1-gvhmr", *_EMDB1, "smpl24-neutral", "hips", _GVHMR, (*_POSE, "accel_m_s2"), _CLOSED_UP),
    Protocol("emdb2-wham", *_EMDB2, "smpl24", "hips", _WHAM, _TRAJECTORY, _CLOSED_UP, root_path="translation"),
    Protocol("emdb2-gvhmr", *_EMDB2, "smpl24-neutral", "hips", _GVHMR, _TRAJECTORY, _CLOSED_UP),
    Protocol("emdb2-tram", *_EMDB2, "smpl24", "hips", _TRAM, (*_WORLD, "erve_mm"), _CLOSED_UP, cut="joined last"),
    Protocol("h36m-p1-spin", "h36m", "p1/test", "mocap14", "pelvis", _SPIN, _POSE[:2], _FIFTH, every=5),
    Protocol("h36m-p2-spin", "h36m", "p2/test", "mocap14", "pelvis", _SPIN, _POSE[:2], _FIFTH, every=5),
    Protocol(
        "mpi-inf-3dhp-spin",
        *("mpi-inf-3dhp", "spin/test", "mocap17", "pelvis", _SPIN),
        ("pck_150", "auc_150", "mpjpe_mm", "pa_pck_150", "pa_auc_150", "pa_mpjpe_mm"),
        "Valid frames all of whose joints are inside the image",
    ),
    Protocol(
        "agora-smpl",
        *("agora", "agora/validation", "smpl24", "hips", _AGORA),
        ("nmve_mm", "nmje_mm", "mve_mm", "mpjpe_mm", "f1", "precision", "recall"),
        "All people with 90 % of the body or less hidden",
    ),
    Protocol("ssp3d-owners", *_SSP3D, "smpl24", "pelvis", _SSP3D_OWNERS, ("pve_t_sc_true_model_mm",)),
    Protocol("ssp3d-hierprob", *_SSP3D, "smpl24", "pelvis", _HIERPROB, ("pve_t_sc_mm",)),
)
PROTOCOLS: Mapping[str, Protocol] = {one.name: one for one in _ALL}
"""Name → protocol."""


def under_protocol(selection: PeopleSelection) -> tuple[PeopleSelection, Protocol | None]:
    """The selection of what a protocol evaluates, where `selection.protocol` names one; else the selection, and None.

    UsageError where joints, root or split are chosen as well.
    """
    protocol = PROTOCOLS.get(selection.protocol)
    if protocol is None:
        return selection, None
    cache_protocol, split = protocol.split.split("/")
    wanted: dict[str, Any] = {"joints": protocol.joints, "root": protocol.root, "split": split}
    for name, value in wanted.items():
        if getattr(selection, name) not in (None, "", value):
            got = f"{getattr(selection, name)} and {protocol.name}"
            raise UsageError(name, f"is {value} in that protocol", got=got, remedy=f"leave {name} out")
    return replace(selection, protocol=cache_protocol, **wanted), protocol


def agrees(header: Header, split: str, source: str, splits: Sequence[str], every: int = 1) -> bool:
    """Whether data are of a source and one of the splits ("protocol/split"), complete, with every frame of the paper.

    split  "" where only a part was evaluated
    every  frames apart in the paper; 0 where it does not say
    """
    options: Mapping[str, Any] = header.options_values
    steps, partial = options.get("every", 1), options.get("allow_missing", False)
    return header.source == source and split in splits and every % max(steps, 1) == 0 and not partial


IPER: Mapping[str, Mapping[str, tuple[float, float | None]]] = {
    "three-frames/validation": {
        "PG2, Ma et al.": (0.854, 0.135),
        "SHUP, Balakrishnan et al.": (0.823, 0.099),
        "DSC, Siarohin et al.": (0.829, 0.129),
        "LWB, Liu et al.": (0.840, 0.087),
        "Knoche et al.": (0.863, 0.077),
    },
    "random-pairs/validation": {"Knoche et al.": (0.883, 0.081)},
}
"""Split of iPER → method → SSIM, LPIPS, of complete images of 256 pixels: the reposing paper's Table 2, whose own
figure is of 10,000 random pairs, while the others' are of three frames of each video (its appendix B has both)."""

DEFORM_AND_LEARN: Mapping[str, tuple[str, float]] = {
    "HMR, Kanazawa et al.": ("full 3-D supervision", 87.97),
    "HoloPose, Güler and Kokkinos": ("full 3-D supervision", 60.27),
    "Sun et al.": ("full 3-D supervision", 49.6),
    "Rhodin et al.": ("some 3-D supervision", 131.7),
    "HMR (unpaired), Kanazawa et al.": ("external 3-D data", 106.84),
    "Kudo et al.": ("no 3-D training data", 173.2),
    "Yoshiyasu and Gamez (Mosh)": ("no 3-D training data", 96.99),
    "Yoshiyasu and Gamez (DensePose)": ("no 3-D training data", 115.3),
}
"""Table 1 of deform-and-learn: method → what it learned from, MPJPE in mm on Human3.6M's protocol 1."""
