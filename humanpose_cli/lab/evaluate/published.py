"""Figures of papers, and what an evaluation must be of for them to stand beside ours.

A published row is shown only where the data set, the split, the joints and the root are those of the paper, and the
whole split was evaluated: beside anything else it would be another quantity under the same name.
docs/reference/protocols.md lists what differs even then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from humanpose_cli.lab.cache.schema import Header
from humanpose_cli.lab.evaluate.people import EvaluatedPeople
from humanpose_cli.lab.evaluate.report import Cell, Table
from humanpose_cli.lab.metrics.bodies import BodyErrors

_MEASURED = ("mocap14", "mocap17")
_PA = ("PA mean", "PA median")
_USUAL = ("PA mm", "MPJPE mm", "PVE mm")


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper.

    source, split  of the data: "h36m" and "nbf/test"
    joints, roots  names of joint sets and of what is put on the truth's, of which any will do
    columns        _PA or _USUAL; rows  method → figures, None where the paper has none
    every          frames apart: the cache may have been made with finer steps, but not with coarser ones
    """

    title: str
    source: str
    split: str
    joints: tuple[str, ...]
    roots: tuple[str, ...]
    columns: tuple[str, ...]
    rows: Mapping[str, Sequence[float | None]]
    every: int = 1

    def agrees(self, people: EvaluatedPeople) -> bool:
        """Whether an evaluation is of the same quantity."""
        return (
            agrees(people.people.cache.header, people.split, self.source, (self.split,), self.every)
            and people.joints.name in self.joints
            and people.joints.root_name in self.roots
        )

    def beside(self, errors: BodyErrors) -> Table:
        """With our line under it."""
        pa = 1e3 * errors.pa_mpjpe
        values = {
            "PA mean": float(pa.mean()),
            "PA median": float(np.median(pa)) if len(pa) else np.nan,
            "PA mm": float(pa.mean()),
            "MPJPE mm": float(1e3 * errors.mpjpe.mean()),
            "PVE mm": float(1e3 * errors.pve.mean()),
        }
        rows: list[list[Cell]] = [[name, *figures] for name, figures in self.rows.items()]
        rows.append(["ours, of those found", *(values[name] for name in self.columns)])
        return Table("published", self.title, ("method", *self.columns), rows)


def agrees(header: Header, split: str, source: str, splits: Sequence[str], every: int = 1) -> bool:
    """Whether data are of that source and one of the splits ("protocol/split"), whole, with every frame of the paper.

    every  frames apart in the paper; 0 where it does not say
    """
    options = header.options_values
    steps, partial = options.get("every", 1), options.get("allow_missing", False)
    return header.source == source and split in splits and every % max(steps, 1) == 0 and not partial


TABLES: tuple[PublishedTable, ...] = (
    PublishedTable(
        "Neural Body Fitting, Table 5: Procrustes-aligned error on HumanEva-I, mm",
        "humaneva",
        "nbf/test",
        _MEASURED,
        ("pelvis", "hips", "none"),
        _PA,
        {
            "Ramakrishna et al.": (168.4, 145.9),
            "Zhou et al.": (110.0, 98.9),
            "SMPLify": (79.9, 61.9),
            "Random Forests": (93.5, 77.6),
            "SMPLify (dense)": (74.5, 59.6),
            "Neural Body Fitting": (64.0, 49.4),
        },
        every=10,
    ),
    PublishedTable(
        "Neural Body Fitting, Table 6: Procrustes-aligned error on Human3.6M, mm",
        "h36m",
        "nbf/test",
        _MEASURED,
        ("pelvis", "hips", "none"),
        _PA,
        {
            "Akhter & Black": (181.1, 158.1),
            "Ramakrishna et al.": (157.3, 136.8),
            "Zhou et al.": (106.7, 90.0),
            "SMPLify": (82.3, 69.3),
            "SMPLify (dense)": (80.7, 70.0),
            "SelfSup": (98.4, None),
            "Pavlakos et al.": (75.9, None),
            "HMR (H36M-trained)": (77.6, 72.1),
            "HMR": (56.8, None),
            "Neural Body Fitting": (59.9, 52.3),
        },
        every=10,
    ),
    PublishedTable(
        "3DPW, test",
        "3dpw",
        "3dpw/test",
        ("h36m14",),
        ("pelvis",),
        _USUAL,
        {
            "CameraHMR": (38.5, 62.1, 72.9),
            "TokenHMR": (44.8, 70.9, 84.3),
            "SAM 3D Body": (None, 54.8, None),
        },
    ),
    PublishedTable(
        "EMDB 1",
        "emdb",
        "emdb1/test",
        ("smpl24-mesh",),
        ("hips",),
        _USUAL,
        {"CameraHMR": (43.7, 73.0, 85.4), "SAM 3D Body": (None, 61.7, None)},
    ),
)


def tables_beside(people: EvaluatedPeople, errors: BodyErrors) -> list[Table]:
    """The published tables that an evaluation may stand in, with our line."""
    return [table.beside(errors) for table in TABLES if table.agrees(people)]


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
"""Split of iPER → method → SSIM, LPIPS, of whole images of 256 pixels: the reposing paper's Table 2, whose own figure
is of 10,000 random pairs, while the others' are of three frames of each video (its appendix B has both)."""

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
