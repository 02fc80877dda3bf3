"""The variants of all ablations.

The table `VARIANTS` lists what each variant changes in the options that its ablation's trainings share, and the figures
that its paper prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from humanpose_cli.core.options import changed
from humanpose_cli.lab.evaluate.report import Cell

Options = TypeVar("Options")


class Variant(NamedTuple):
    """One setting of an ablation.

    Attributes:
        name: Name of its trainings.
        cells: First cells of its row.
        changes: Dotted field of the shared options → value.
        paper: The paper's figures, in the order of its columns.
    """

    name: str
    cells: tuple[Cell, ...]
    changes: Mapping[str, Any]
    paper: tuple[float, ...] = ()

    def of(self, shared: Options) -> Options:
        """Return the shared options with the changes of this variant."""
        return changed(shared, self.changes)


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


_WARPING = {
    ("2d", "2d"): (0.872, 0.566, 0.698),
    ("2d", "3d"): (0.875, 0.578, 0.749),
    ("3d", "2d"): (0.877, 0.607, 0.749),
    ("3d", "3d"): (0.883, 0.626, 0.777),
}
VARIANTS: dict[str, Sequence[Variant]] = {
    # Table 1 of Neural Body Fitting: err_joints3D in millimetres on UP-3D and Human3.6M.
    "inputs": [
        Variant("rgb", ("rgb",), {"inputs.kind": "rgb"}, (98.5, 48.9)),
        *_inputs("parts", {1: (95.5, 43.0), 3: (36.5, 37.5), 6: (29.4, 36.2), 12: (27.8, 33.5), 24: (28.8, 31.8)}),
        *_inputs("joints", {14: (28.8, 33.4), 24: (27.7, 33.4)}),
    ],
    # Table 2 and section 4.3: IoU in percent on UP-3D's validation set; err_joints3D of networks trained with VGG,
    # ResNet, RefineNet and true parts. Table 2 makes ResNet the better of the DeepLabs; the sentence lists the figures
    # 67.1, 57.0 and 53.2 for RefineNet, VGG and ResNet. The worst comes first.
    "segmenters paper": [
        _segmenter("VGG", {"network": "deeplab-vgg16"}, (57.0, 107.2, 119.9, 135.5, 140.7)),
        _segmenter("ResNet", {"network": "deeplab-resnet101"}, (53.2, 97.1, 96.3, 112.2, 115.6)),
        _segmenter("RefineNet", {"network": "refinenet-resnet101"}, (67.1, 89.6, 89.9, 82.0, 83.3)),
    ],
    "segmenters ablation": [
        _segmenter("DeepLab", {"network": "tiny-deeplab"}),
        _segmenter("light", {"network": "tiny"}),
        _segmenter("guided", {"network": "tiny", "guided": True}),
    ],
    "true parts": [Variant("parts 12", ("GT",), {}, (100.0, 62.3, 60.5, 35.7, 27.8))],
    # Table 3: err_joints3D, PCKh, err_quat.
    "losses": [
        _losses("lat", ("points3d", "points2d"), (83.7, 93.1, 0.278)),
        _losses("lat + 3D", ("points2d",), (82.3, 93.4, 0.280)),
        _losses("lat + 2D", ("points3d",), (83.1, 93.5, 0.278)),
        _losses("lat + 3D + 2D", (), (82.0, 93.5, 0.279)),
        _losses("3D", ("latent", "points2d"), (83.7, 93.5, 1.962)),
        _losses("2D", ("latent", "points3d"), (198.0, 94.0, 1.971)),
    ],
    # Table 4: percentage of samples with 3-D labels → err_joints3D, err_quat. Controls, which have no figures, follow.
    "supervision": [
        _labels(100, (83.1, 0.28)),
        _labels(50, (82.8, 0.28)),
        _labels(20, (82.8, 0.27)),
        _only(20),
        _labels(10, (83.6, 0.28)),
        _labels(5, (84.5, 0.29)),
        _only(5),
        _labels(2, (88.1, 0.30)),
        _only(2),
        _labels(1, (93.9, 0.33)),
        _labels(0, (198.0, 1.97)),
    ],
    # Table 1 of the reposing paper: (warping, target pose) → SSIM, SSIM_fg, pose AUC on iPER.
    "warping": [
        Variant(f"warp {warp} pose {pose}", (warp, pose), {"generator.warping": warp, "generator.pose": pose}, paper)
        for (warp, pose), paper in _WARPING.items()
    ],
    # Figure 2 of deform-and-learn and its control; `deform_and_learn_ablations` makes trainings in one round as long.
    "deform rounds": [
        Variant("rounds", ("rounds",), {}),
        Variant("long network", ("one round, network as long",), {"rounds": 1}),
        Variant("long lifter", ("one round, lifter and network as long",), {"rounds": 1}),
    ],
    # Its equation 5 term by term, and the loss of equation 6 beside L2.
    "deform losses": [
        Variant("all", ("parameters + dense + keypoints",), {}),
        Variant("parameters", ("parameters",), {"losses.dense": 0.0, "losses.keypoints": 0.0}),
        Variant("parameters + dense", ("parameters + dense",), {"losses.keypoints": 0.0}),
        Variant("parameters + keypoints", ("parameters + keypoints",), {"losses.dense": 0.0}),
        Variant("dense + keypoints", ("dense + keypoints",), {"losses.regress": 0.0}),
        Variant("all smooth L1", ("all, parameters by smooth L1",), {"losses.parameters": "smooth-l1"}),
        Variant("all L2", ("all, parameters by L2",), {"losses.parameters": "l2"}),
    ],
    # Its dense correspondences, of the registration and of the network's losses.
    "deform correspondence": [
        Variant("labels", ("labels",), {"correspondence": "labels"}),
        Variant("degraded", ("degraded",), {"correspondence": "degraded"}),
        Variant(
            "degraded paper",
            ("degraded, the paper's registration",),
            {"correspondence": "degraded", "registration.paper": True},
        ),
        Variant("none", ("none",), {"correspondence": "none", "charts": ""}),
    ],
    # Inputs of the displacement network, each of which one variant lacks; the first row is that of all of them.
    "refine": [
        Variant("all inputs", ("all inputs",), {}),
        Variant("without texture", ("without texture",), {"network.texture": False}),
        Variant("without depth", ("without depth",), {"network.depth": False}),
        Variant("without normals", ("without normals",), {"network.normals": False}),
        Variant("without vertex colours", ("without vertex colours",), {"network.colours": False}),
    ],
}
"""Ablation → its variants, in the order of its rows."""
