"""All ablations of `hpc evaluate`: a row for each, with its variants, the figures that are compared, and its paper's.

A family of studies (`nbf_ablations`, `warping`, `deform_and_learn_ablations`, `refine_inputs`) trains and measures the
variants; `ablations.evaluate_study` runs one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from humanpose_cli.core.options import changed
from humanpose_cli.lab.evaluate.report import Cell

Options = TypeVar("Options")


class Variant(NamedTuple):
    """One setting of a study.

    Attributes:
        name: Name of its trainings.
        cells: First cells of its row.
        changes: Dotted field of the options that the trainings share → value.
        paper: The paper's figures, in the order of `Study.paper`.
    """

    name: str
    cells: tuple[Cell, ...]
    changes: Mapping[str, Any]
    paper: tuple[float, ...] = ()

    def of(self, shared: Options) -> Options:
        """Return the shared options with the changes of this variant."""
        return changed(shared, self.changes)


class Quantity(NamedTuple):
    """A figure in the columns of a table.

    Attributes:
        figure: Name of the figure.
        digits: Heading → digits; one heading is the mean's, five are those of `Summary.cells`.
        factor: Factor to the unit of the headings.
    """

    figure: str
    digits: Mapping[str, int]
    factor: float = 1.0


@dataclass(frozen=True)
class Study:
    """An ablation: variants of one training, which are compared on the same data.

    Attributes:
        title: Title of its table.
        headings: Headings of the variants' cells.
        variants: Its variants, in the order of the rows.
        quantities: Figures in the columns.
        paper: Heading → digits of the paper's figures.
        compared: Names of a variant and of a reference, whose difference stands below the table.
    """

    title: str
    headings: tuple[str, ...]
    variants: Sequence[Variant]
    quantities: Sequence[Quantity] = ()
    paper: Mapping[str, int] = field(default_factory=dict)
    compared: Sequence[tuple[str, str]] = ()


def _inputs(kind: str, paper: Mapping[int, tuple[float, float]]) -> list[Variant]:
    """Make variants with these numbers of parts or joints."""
    return [
        Variant(f"{kind} {count}", (f"{kind} {count}",), {"inputs.kind": kind, f"inputs.{kind}": count}, figures)
        for count, figures in paper.items()
    ]


def _losses(name: str, without: Sequence[str], paper: tuple[float, float, float]) -> Variant:
    """Make a variant with all losses except some."""
    return Variant(name, (name,), {f"losses.{term}": 0.0 for term in without}, paper)


def _labels(share: int, paper: tuple[float, float]) -> Variant:
    """Make a variant with 3-D labels for a percentage of the samples and 2-D labels for all."""
    # Without 3-D labels it is the training of 2D in Table 3.
    changes = {"losses.points3d": 0.0, **({"losses.fraction_3d": share / 100} if share else {"losses.latent": 0.0})}
    return Variant(f"labels {share}", (share,), changes, paper)


def _only(share: int) -> Variant:
    """Make a variant with the same 3-D labels, and nothing from the other samples."""
    changes = {"losses.points3d": 0.0, "losses.fraction_3d": share / 100, "losses.extra_2d": False}
    return Variant(f"only {share}", (share,), changes)


def _segmenter(name: str, changes: Mapping[str, Any], paper: tuple[float, ...] = ()) -> Variant:
    return Variant(f"segmenter {name}", (name,), {f"segmenter.{key}": value for key, value in changes.items()}, paper)


# Table 2 and section 4.3 of Neural Body Fitting: IoU in percent on UP-3D's validation set; err_joints3D of networks
# trained with VGG, ResNet, RefineNet and true parts. Table 2 makes ResNet the better of the DeepLabs; the sentence
# lists the figures 67.1, 57.0 and 53.2 for RefineNet, VGG and ResNet. The worst comes first.
SEGMENTERS = {
    "paper": [
        _segmenter("VGG", {"network": "deeplab-vgg16"}, (57.0, 107.2, 119.9, 135.5, 140.7)),
        _segmenter("ResNet", {"network": "deeplab-resnet101"}, (53.2, 97.1, 96.3, 112.2, 115.6)),
        _segmenter("RefineNet", {"network": "refinenet-resnet101"}, (67.1, 89.6, 89.9, 82.0, 83.3)),
    ],
    "ablation": [
        _segmenter("DeepLab", {"network": "tiny-deeplab"}),
        _segmenter("light", {"network": "tiny"}),
        _segmenter("guided", {"network": "tiny", "guided": True}),
    ],
}
"""Preset → segmenters whose parts the networks of Table 2 learn from."""
TRUE_PARTS = Variant("parts 12", ("GT",), {}, (100.0, 62.3, 60.5, 35.7, 27.8))
_WARPING = {
    ("2d", "2d"): (0.872, 0.566, 0.698),
    ("2d", "3d"): (0.875, 0.578, 0.749),
    ("3d", "2d"): (0.877, 0.607, 0.749),
    ("3d", "3d"): (0.883, 0.626, 0.777),
}
_SUPERVISION = {100: (83.1, 0.28), 50: (82.8, 0.28), 20: (82.8, 0.27), 10: (83.6, 0.28), 5: (84.5, 0.29)}
_SUPERVISION |= {2: (88.1, 0.30), 1: (93.9, 0.33), 0: (198.0, 1.97)}
_ERROR = Quantity("mpjpe", {"error mm": 1, "median": 1, "95 % from": 1, "to": 1, "n": 0}, 1e3)
# The paper's is the absolute one (`use_absrot` in mohomran/neural_body_fitting@25308d38).
_ROTATIONS = (Quantity("rotation", {"err_quat rad": 3}), Quantity("absolute_rotation", {"absolute err_quat rad": 3}))
DEFORM_QUANTITIES = [
    Quantity(heading, {heading: 1})
    for heading in (
        *("registration mm", "PA", "accepted %", "accepted mm", "accepted PA"),
        *("lifter mm", "lifter PA", "network mm", "network PA"),
    )
]
STUDIES: dict[str, Study] = {
    # Of Neural Body Fitting: err_joints3D in millimetres on UP-3D and Human3.6M.
    "fit inputs": Study(
        "Table 1: input and 3-D error",
        ("input",),
        [
            Variant("rgb", ("rgb",), {"inputs.kind": "rgb"}, (98.5, 48.9)),
            *_inputs("parts", {1: (95.5, 43.0), 3: (36.5, 37.5), 6: (29.4, 36.2), 12: (27.8, 33.5), 24: (28.8, 31.8)}),
            *_inputs("joints", {14: (28.8, 33.4), 24: (27.7, 33.4)}),
        ],
        (_ERROR, Quantity("pa_mpjpe", {"PA mm": 1}, 1e3)),
        {"paper UP-3D": 1, "paper H36M": 1},
        [("parts 12", other) for other in ("rgb", "parts 1", "parts 6", "parts 24", "joints 24")],
    ),
    "fit segmenters": Study(
        "Table 2: segmenters of training and validation, error mm", ("validated with", "IoU %"), [TRUE_PARTS]
    ),
    # err_joints3D, PCKh, err_quat.
    "fit losses": Study(
        "Table 3: losses",
        ("losses",),
        [
            _losses("lat", ("points3d", "points2d"), (83.7, 93.1, 0.278)),
            _losses("lat + 3D", ("points2d",), (82.3, 93.4, 0.280)),
            _losses("lat + 2D", ("points3d",), (83.1, 93.5, 0.278)),
            _losses("lat + 3D + 2D", (), (82.0, 93.5, 0.279)),
            _losses("3D", ("latent", "points2d"), (83.7, 93.5, 1.962)),
            _losses("2D", ("latent", "points3d"), (198.0, 94.0, 1.971)),
        ],
        (_ERROR, Quantity("pckh", {"PCKh %": 1}, 100), *_ROTATIONS),
        {"paper mm": 1, "paper PCKh": 1, "paper absolute err_quat": 3},
        [("2D", "lat"), ("3D", "lat")],
    ),
    # Percentage of samples with 3-D labels → err_joints3D, err_quat. Controls have no figures of the paper.
    "fit supervision": Study(
        "Table 4: share of 3-D labels",
        ("3-D labels %",),
        [
            variant
            for share, paper in _SUPERVISION.items()
            for variant in (_labels(share, paper), *([_only(share)] if share in (20, 5, 2) else []))
        ],
        (_ERROR, *_ROTATIONS),
        {"paper mm": 1, "paper absolute err_quat": 2},
        [(f"labels {share}", "labels 100") for share in _SUPERVISION if share < 100],
    ),
    # Figure 2 of deform-and-learn and its control; `deform_and_learn_ablations` makes trainings in one round as long.
    "fit deform-rounds": Study(
        "Figure 2: rounds, and equally long trainings without them",
        ("training", "round"),
        [
            Variant("rounds", ("rounds",), {}),
            Variant("long network", ("one round, network as long",), {"rounds": 1}),
            Variant("long lifter", ("one round, lifter and network as long",), {"rounds": 1}),
        ],
        DEFORM_QUANTITIES,
    ),
    # Its equation 5 term by term, and the loss of equation 6 beside L2.
    "fit deform-losses": Study(
        "Losses of equation 5, and smooth L1 beside L2",
        ("losses",),
        [
            Variant("all", ("parameters + dense + keypoints",), {}),
            Variant("parameters", ("parameters",), {"losses.dense": 0.0, "losses.keypoints": 0.0}),
            Variant("parameters + dense", ("parameters + dense",), {"losses.keypoints": 0.0}),
            Variant("parameters + keypoints", ("parameters + keypoints",), {"losses.dense": 0.0}),
            Variant("dense + keypoints", ("dense + keypoints",), {"losses.regress": 0.0}),
            Variant("all smooth L1", ("all, parameters by smooth L1",), {"losses.parameters": "smooth-l1"}),
            Variant("all L2", ("all, parameters by L2",), {"losses.parameters": "l2"}),
        ],
        DEFORM_QUANTITIES,
    ),
    # Its dense correspondences, of the registration and of the network's losses.
    "fit deform-correspondence": Study(
        "Dense correspondences",
        ("correspondence",),
        [
            Variant("labels", ("labels",), {"correspondence": "labels"}),
            Variant("degraded", ("degraded",), {"correspondence": "degraded"}),
            Variant(
                "degraded paper",
                ("degraded, the paper's registration",),
                {"correspondence": "degraded", "registration.paper": True},
            ),
            Variant("none", ("none",), {"correspondence": "none", "charts": ""}),
        ],
        DEFORM_QUANTITIES,
    ),
    # Of the reposing paper, on iPER. The first three figures are the paper's.
    "repose warping": Study(
        "Table 1: two and three dimensions",
        ("warping", "pose"),
        [
            Variant(
                f"warp {warp} pose {pose}", (warp, pose), {"generator.warping": warp, "generator.pose": pose}, paper
            )
            for (warp, pose), paper in _WARPING.items()
        ],
        (
            Quantity("ssim_uniform", {"SSIM 7 × 7": 3}),
            Quantity("ssim_fg_capsules", {"SSIM_fg of capsules": 3}),
            Quantity("pose_auc", {"pose AUC": 3}),
            Quantity("ssim_fg_uniform", {"SSIM_fg of true mask": 3}),
        ),
        {"paper SSIM": 3, "paper SSIM_fg": 3, "paper AUC": 3},
        [("warp 3d pose 3d", "warp 2d pose 2d")],
    ),
    # Inputs of the displacement network, each of which one variant lacks. Errors are in per cent of the person's size.
    "refine inputs": Study(
        "Inputs of the displacement network",
        ("inputs",),
        [
            Variant("all inputs", ("all inputs",), {}),
            *(
                Variant(f"without {rendering}", (f"without {rendering}",), {f"network.{rendering.split()[-1]}": False})
                for rendering in ("texture", "depth", "normals", "vertex colours")
            ),
        ],
        (
            Quantity("endpoint_percent", {"endpoint error %": 2}),
            Quantity("sure_percent", {"where it is sure %": 2}),
            Quantity("hidden_percent", {"of hidden points %": 2}),
            Quantity("unmoved_percent", {"without displacements %": 2}),
            Quantity("nearer", {"people who come nearer": 3}),
        ),
    ),
}
"""Sub-command and ablation → its study."""
