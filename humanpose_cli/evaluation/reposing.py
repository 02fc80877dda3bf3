"""Judging reposed pictures: how like the true ones they are, and whether the person stands as asked.

The Inception Score is left out on purpose; `metrics.images` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.conventions import REPOSING19
from humanpose_cli.data.augmentation import Example
from humanpose_cli.data.loader import spread_evenly
from humanpose_cli.metrics.images import mask_iou, ssim, ssim_foreground
from humanpose_cli.reposing.inpainting import inpaint
from humanpose_cli.reposing.mesh import MeshReposer
from humanpose_cli.reposing.mesh_drawing import fitted_person, mesh_of, person_mask, pose_of
from humanpose_cli.reposing.warp3d.inference import Warp3d, to_network
from humanpose_cli.reposing.warp3d.volume_frame import frame_of_example
from humanpose_cli.reposing.warping import WarpReposer
from humanpose_cli.training.recipes.warp3d_pairs import PairCrops

__all__ = [
    "AUC_MILLIMETRES",
    "SHOWN_SIDE",
    "Drawn",
    "JudgedReposing",
    "Method",
    "WrappedPeople",
    "copying",
    "judge_reposing",
    "meshing",
    "pasting",
    "pose_auc_3d",
    "resized",
    "warping",
]

AUC_MILLIMETRES = np.arange(0, 151, 5)
"""Thresholds of the pose AUC: 0 to 150 mm in steps of 5."""

SHOWN_SIDE = 160
"""Pixels of the pictures that a report shows."""

_SHOWN = 8
_PELVIS = REPOSING19.index("pelvis")


class Drawn(NamedTuple):
    """A reposed crop (S, S, 3) uint8, and where the person is in it (S, S) 0…1."""

    image: NDArray[np.uint8]
    mask: NDArray[np.floating]


Method = Callable[[Example, Example], Drawn]
"""(input crop, target crop, of which only the pose may be used) → what is drawn."""

Distance = Callable[[Tensor, Tensor], Tensor]
"""Pictures (1, 3, S, S) of −1 to 1, made and true → a scalar."""

JointEstimator = Callable[[NDArray[np.uint8], NDArray[np.floating]], NDArray[np.floating] | None]
"""(crop (S, S, 3) uint8, the person's box (4,) there) → joints (19, 3) metres, or None where nobody is seen."""


@dataclass(frozen=True)
class JudgedReposing:
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
    """People wrapped in their pictures, and the pictures without them; the last one is kept, for methods take turns."""

    def __init__(self, body: RiggedBody) -> None:
        self._body = body
        self._last: tuple[Example, MeshReposer, NDArray[np.uint8]] | None = None

    def __call__(self, example: Example) -> tuple[MeshReposer, NDArray[np.uint8]]:
        """The labelled body in the picture, and the background (S, S, 3); InputError where no body is known."""
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
    """A person in the target's pose, before the picture's own background."""
    drawn = reposer.render(*pose_of(target)).image
    alpha = drawn[..., 3:].astype(np.float32) / 255
    mixed = drawn[..., :3] * alpha + plate * (1 - alpha)
    return Drawn(np.rint(mixed).astype(np.uint8), alpha[..., 0])


def resized(picture: NDArray[Any], size: int) -> NDArray[Any]:
    """A square picture or mask at `size` pixels a side, averaged where it becomes smaller."""
    own = picture.shape[0]
    if own == size:
        return picture
    return np.asarray(
        cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if own > size else cv2.INTER_CUBIC)
    )


def judge_reposing(
    crops: PairCrops,
    numbers: Sequence[int],
    methods: Mapping[str, Method],
    *,
    distances: Mapping[str, Distance] | None = None,
    joints: JointEstimator | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> JudgedReposing | None:
    """Every method on every pair; None where `stop` said so.

    distances  name → how far pictures are apart as a network sees them
    joints     who tells the pose of a picture, for the pose AUC
    """
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    places = spread_evenly(len(numbers), _SHOWN)
    shown: dict[int, list[NDArray[np.uint8]]] = {}
    for done, number in enumerate(numbers, 1):
        # One draw for each pair: the same target for every method and every run.
        first, second = crops.crops(number, np.random.default_rng(number))
        true_joints = None if joints is None else joints(second.image, _box_of(second))
        pictures = [first.image, second.image]
        for name, method in methods.items():
            drawn = method(first, second)
            found = _alike(drawn, second, distances or {})
            if joints is not None:
                found["pose_auc"] = _pose_auc(joints(drawn.image, _box_of(second)), true_joints)
            rows[name].append(found)
            pictures.append(drawn.image)
        if done - 1 in places:
            shown[done - 1] = [resized(picture, SHOWN_SIDE) for picture in pictures]
        on_step(done, len(numbers))
        if stop():
            return None
    values = {
        name: {key: np.array([row[key] for row in its]) for key in (its[0] if its else {})}
        for name, its in rows.items()
    }
    return JudgedReposing(np.asarray(numbers, np.int64), values, shown)


def pose_auc_3d(found: NDArray[np.floating], true: NDArray[np.floating]) -> float:
    """Area under the curve of correct keypoints, joints (19, 3) metres twice, pelvis on pelvis, over AUC_MILLIMETRES.

    The mean over the thresholds of the share of joints that are as near or nearer, as public code takes it.
    """
    apart = 1e3 * np.linalg.norm((found - found[_PELVIS]) - (true - true[_PELVIS]), axis=-1)
    return float((apart[None] <= AUC_MILLIMETRES[:, None] + 1e-6).mean())  # rounding is no error


def _pose_auc(found: NDArray[np.floating] | None, true: NDArray[np.floating] | None) -> float:
    """0 for a picture in which nobody is seen; NaN where the true one shows nobody either."""
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
