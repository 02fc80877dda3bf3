"""Judging reposed images: how like the true ones they are, and whether the person stands as asked.

The Inception Score is left out on purpose; `metrics.images` says why.

Reports on reposed images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.mesh import MeshReposer, fitted_person, mesh_of, person_mask, pose_of
from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.core.errors import InterruptedRun
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.data.augmentation import Example
from humanpose_cli.data.loader import spread_evenly
from humanpose_cli.evaluate.published import WARP3D_PRIOR
from humanpose_cli.evaluate.report import Cell, Report, Table, paired_difference, summarise
from humanpose_cli.metrics.images import mask_iou, ssim, ssim_foreground
from humanpose_cli.models.warp3d.generator import Warp3d, frame_of_example, to_network
from humanpose_cli.models.warp3d.pairs import PairCrops
from humanpose_cli.reposing.warping import WarpReposer

__all__ = [
    "AUC_MILLIMETRES",
    "SHOWN_SIDE",
    "Drawn",
    "EvaluatedReposing",
    "Method",
    "WrappedPeople",
    "copying",
    "measure_reposing",
    "meshing",
    "pasting",
    "pose_auc_3d",
    "reposing_report",
    "resized",
    "side_by_side",
    "warping",
]


AUC_MILLIMETRES = np.arange(0, 151, 5)
"""Thresholds of the pose AUC: 0 to 150 mm in steps of 5."""

SHOWN_SIDE = 160
"""Pixels of the images that a report shows."""

_SHOWN = 8
_PELVIS = REPOSING19.index("pelvis")


class Drawn(NamedTuple):
    """A reposed crop (S, S, 3) uint8, and where the person is in it (S, S) 0…1."""

    image: NDArray[np.uint8]
    mask: NDArray[np.floating]


Method = Callable[[Example, Example], Drawn]
"""(input crop, target crop, of which only the pose may be used) → what is drawn."""

Distance = Callable[[Tensor, Tensor], Tensor]
"""Images (1, 3, S, S) of −1 to 1, made and true → a scalar."""

JointEstimator = Callable[[NDArray[np.uint8], NDArray[np.floating]], NDArray[np.floating] | None]
"""(crop (S, S, 3) uint8, the person's box (4,) there) → joints (19, 3) metres, or None where nobody is seen."""


@dataclass(frozen=True)
class EvaluatedReposing:
    """N pairs: method → name of the metric → (N,), NaN where it is not known. numbers (N,) of the pairs.

    shown  of some pairs, spread evenly over all: place among the N → input, target and what every method drew, reduced
           to (SHOWN_SIDE, SHOWN_SIDE, 3) uint8
    """

    numbers: NDArray[np.int64]
    values: Mapping[str, Mapping[str, NDArray[np.float64]]]
    shown: Mapping[int, Sequence[NDArray[np.uint8]]]


def copying(first: Example, second: Example) -> Drawn:
    """The input as it is: what every method must beat."""
    return Drawn(first.image, person_mask(first))


def warping(network: Warp3d) -> Method:
    """A trained generator. Crops of another size than its own are scaled to it, and what it makes is scaled back."""
    size = network.config.size

    def draw(first: Example, second: Example) -> Drawn:
        own = first.image.shape[0]
        source, target = (frame_of_example(example) * np.float32(size / own) for example in (first, second))
        made = network.repose(resized(first.image, size), source, target)
        return Drawn(resized(made.image, own), resized(made.mask, own))

    return draw


class WrappedPeople:
    """People wrapped in their images, and the images without them; the last one is kept, for methods take turns."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._last: tuple[Example, MeshReposer, NDArray[np.uint8]] | None = None

    def __call__(self, example: Example) -> tuple[MeshReposer, NDArray[np.uint8]]:
        """The labelled body in the image, and the background (S, S, 3); InputError where no body is known."""
        if self._last is None or self._last[0] is not example:
            mesh = mesh_of(example, self._body)
            plate = inpaint(mesh.photo, mesh.hole, np.zeros_like(mesh.hole), mesh.options.inpainting)
            self._last = example, mesh, plate
        return self._last[1:]


def meshing(wrapped: WrappedPeople) -> Method:
    """The photograph wrapped round the labelled body, which is posed as the target's: the mesh method without errors of
    a fit. InputError for people without body parameters.
    """

    def draw(first: Example, second: Example) -> Drawn:
        mesh, plate = wrapped(first)
        return _before_plate(mesh, plate, second)

    return draw


def pasting(network: Warp3d, wrapped: WrappedPeople, *, mesh_input: bool = False) -> Method:
    """A generator as `hpc repose --method warp3d` uses it: pasted before the mesh method's background.

    mesh_input  give it the labelled body's drawing, as `--mesh-input` does
    """

    def draw(first: Example, second: Example) -> Drawn:
        mesh, plate = wrapped(first)
        reposer = WarpReposer(mesh, fitted_person(first), network, mesh_input=mesh_input)
        return _before_plate(reposer, plate, second)

    return draw


def _before_plate(reposer: MeshReposer | WarpReposer, plate: NDArray[np.uint8], target: Example) -> Drawn:
    """A person in the target's pose, before the image's own background."""
    drawn = reposer.render(*pose_of(target)).image
    alpha = drawn[..., 3:].astype(np.float32) / 255
    mixed = drawn[..., :3] * alpha + plate * (1 - alpha)
    return Drawn(np.rint(mixed).astype(np.uint8), alpha[..., 0])


def resized(image: NDArray[Any], size: int) -> NDArray[Any]:
    """A square image or mask at `size` pixels a side, averaged where it becomes smaller."""
    own = image.shape[0]
    if own == size:
        return image
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if own > size else cv2.INTER_CUBIC))


def measure_reposing(
    crops: PairCrops,
    numbers: Sequence[int],
    methods: Mapping[str, Method],
    *,
    distances: Mapping[str, Distance] | None = None,
    joints: JointEstimator | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> EvaluatedReposing:
    """Every method on every pair.

    distances  name → how far images are apart as a network sees them
    joints     who tells the pose of an image, for the pose AUC
    """
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    places = spread_evenly(len(numbers), _SHOWN)
    shown: dict[int, list[NDArray[np.uint8]]] = {}
    for done, number in enumerate(numbers, 1):
        # One draw for each pair: the same target for every method and every run.
        first, second = crops.crops(number, np.random.default_rng(number))
        true_joints = None if joints is None else joints(second.image, _box_of(second))
        images = [first.image, second.image]
        for name, method in methods.items():
            drawn = method(first, second)
            found = _alike(drawn, second, distances or {})
            if joints is not None:
                found["pose_auc"] = _pose_auc(joints(drawn.image, _box_of(second)), true_joints)
            rows[name].append(found)
            images.append(drawn.image)
        if done - 1 in places:
            shown[done - 1] = [resized(image, SHOWN_SIDE) for image in images]
        progress(done, len(numbers), "pairs")
        if stop():
            raise InterruptedRun()
    values = {
        name: {key: np.array([row[key] for row in its]) for key in (its[0] if its else {})}
        for name, its in rows.items()
    }
    return EvaluatedReposing(np.asarray(numbers, np.int64), values, shown)


def pose_auc_3d(found: NDArray[np.floating], true: NDArray[np.floating]) -> float:
    """Area under the curve of correct keypoints, joints (19, 3) metres twice, pelvis on pelvis, over AUC_MILLIMETRES.

    The mean over the thresholds of the share of joints that are as near or nearer, as public code takes it.
    """
    apart = 1e3 * np.linalg.norm((found - found[_PELVIS]) - (true - true[_PELVIS]), axis=-1)
    return float((apart[None] <= AUC_MILLIMETRES[:, None] + 1e-6).mean())  # rounding is no error


def _pose_auc(found: NDArray[np.floating] | None, true: NDArray[np.floating] | None) -> float:
    """0 for an image in which nobody is seen; NaN where the true one shows nobody either."""
    if true is None:
        return float("nan")
    return 0.0 if found is None else pose_auc_3d(found, true)


def _alike(drawn: Drawn, second: Example, distances: Mapping[str, Distance]) -> dict[str, float]:
    made, true = (to_network(torch.from_numpy(np.ascontiguousarray(p))[None]) for p in (drawn.image, second.image))
    a, b = made / 2 + 0.5, true / 2 + 0.5
    mask = torch.from_numpy((person_mask(second) > 0.5).astype(np.float32))[None, None]
    seen = torch.from_numpy(np.asarray(drawn.mask, np.float32))[None, None]
    inside = float(mask.sum())
    found = {
        "ssim": float(ssim(a, b)),
        "ssim_fg": float(ssim_foreground(a, b, mask)) if inside else float("nan"),
        "l1_fg": float(((a - b).abs().mean(1, keepdim=True) * mask).sum() / inside) if inside else float("nan"),
        "mask_iou": float(mask_iou(seen, mask)) if inside else float("nan"),
    }
    with torch.no_grad():
        return {**found, **{name: float(distance(made, true)) for name, distance in distances.items()}}


def _box_of(example: Example) -> NDArray[np.floating]:
    """The person's box in the crop, within it."""
    size = example.image.shape[0]
    box = example.person.box
    return np.array([0, 0, size, size], float) if box is None else np.clip(np.asarray(box, float), 0, size)


_BASELINES = ("copy", "mesh")
_LOW_IS_GOOD = ("lpips", "perceptual", "l1_fg")


def reposing_report(judged: EvaluatedReposing, source: str, facts: Mapping[str, Any]) -> Report:
    """All methods, their paired differences, what others published on the same data set (`source`), images."""
    names = list(judged.values)
    metrics = list(judged.values[names[0]])
    rows: list[list[Cell]] = []
    for name in names:
        rows.append([name, *(float(summarise(judged.values[name][metric]).value) for metric in metrics)])
    notes = ["ssim_fg, l1_fg and mask_iou look where the true image shows the person."]
    tables = [Table("methods", "Methods", ("method", *metrics), rows, 3, notes), _differences(judged)]
    if source in WARP3D_PRIOR:
        prior: list[list[Cell]] = [[name, *values] for name, values in WARP3D_PRIOR[source].items()]
        for name in names:
            its = judged.values[name]
            lpips: Cell = float(np.nanmean(its["lpips"])) if "lpips" in its else None
            prior.append([f"{name}, here", float(np.nanmean(its["ssim"])), lpips])
        tables.append(Table("prior", "Table 2: prior work on this data set", ("method", "SSIM", "LPIPS"), prior, 3))
    best = {metric: summarise(judged.values[names[-1]][metric]) for metric in metrics}
    sheet = side_by_side(judged)
    words = f"Input, target, {', '.join(names)}"
    return Report(
        "Reposed images", {**facts, "pairs": len(judged.numbers)}, best, tables, {"pairs.jpg": (sheet, words)}
    )


def _differences(judged: EvaluatedReposing) -> Table:
    """Every network against the copy and the mesh on the same pairs."""
    baselines = [name for name in _BASELINES if name in judged.values]
    compared = list(product((name for name in judged.values if name not in baselines), baselines))
    rows: list[list[Cell]] = []
    for name, other in compared:
        for metric, values in judged.values[name].items():
            apart = paired_difference(values, judged.values[other][metric])
            rows.append([f"{name} − {other}", metric, apart.value, apart.low, apart.high])
    notes = [f"Paired, with the 95 % interval. Low is good: {', '.join(_LOW_IS_GOOD)}."]
    columns = ("methods", "metric", "difference", "from", "to")
    return Table("differences", "Differences", columns, rows, 3, notes)


def side_by_side(judged: EvaluatedReposing) -> NDArray[np.uint8]:
    """A row for each of the pairs that were kept, by the quality of the last method: input, target, every method."""
    quality = np.nan_to_num(judged.values[list(judged.values)[-1]]["ssim"])
    ordered = sorted(judged.shown, key=lambda place: (float(quality[place]), place))
    return np.concatenate([np.concatenate(list(judged.shown[place]), 1) for place in ordered])
