"""Evaluation of reposed images: how like the true ones they are, and whether the person has the target pose.

The Inception Score is left out on purpose; `lab.metrics.images` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.mesh import MeshReposer
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.core.errors import InterruptedRun, UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.detect.detector import people_in_boxes
from humanpose_cli.detect.models import ModelPool, default_threads
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.people import PeopleSource
from humanpose_cli.io.inputs import Frame
from humanpose_cli.lab.cache.augmentation import Example
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.loader import spread_evenly
from humanpose_cli.lab.cache.schema import Header
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, paired_difference, summarise
from humanpose_cli.lab.evaluate.keypoints import posed_rows
from humanpose_cli.lab.evaluate.pair_parts import Figures, PairParts
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection, clusters_of
from humanpose_cli.lab.evaluate.protocols import ImageProtocol, under_protocol
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table, titled
from humanpose_cli.lab.evaluate.weights import LEFT_OUT, weights_facts
from humanpose_cli.lab.metrics.capsule_masks import capsule_mask
from humanpose_cli.lab.metrics.images import Lpips, mask_iou, ssim, ssim_foreground, ssim_patn, ssim_signed
from humanpose_cli.lab.recipes.people import People, people_of_images, require_model, usual_protocol
from humanpose_cli.lab.recipes.warp3d.labelled_mesh import mesh_of, person_mask, pose_of
from humanpose_cli.lab.recipes.warp3d.pairs import PairCrops, Pairs, frame_of_example
from humanpose_cli.lab.recipes.warp3d.perceptual import perceptual_loss
from humanpose_cli.lab.recipes.warp3d.recipe import pairs_of
from humanpose_cli.models.warp3d.generator import Warp3d, load_warp3d, to_network
from humanpose_cli.networks.weights import find_weights
from humanpose_cli.reposing.warping import WarpReposer

AUC_MILLIMETRES = np.arange(0, 151, 5)
"""Thresholds of the pose AUC: 0 to 150 mm in steps of 5."""
SHOWN_SIDE = 160
"""Pixels of the images that a report shows."""
_SHOWN = 8
_PELVIS = REPOSING19.index("pelvis")
_MIN_SIDE = 256  # pixels that the detector is given
_MIN_SCORE = 0.3  # of a detected person
_LABELLED_MARGIN = 0.01  # of a hole round a labelled mask, which is more exact than a detected one
_LISTED = ("three-frames", "random-pairs", "pairs")
_BASELINES = ("copy", "mesh")
_CEILING = ""  # the true image, among the methods
_LOW_IS_GOOD = ("lpips", "perceptual", "l1_fg")


class Drawn(NamedTuple):
    """A reposed crop (S, S, 3) uint8, and where the person is in it (S, S) 0…1."""

    image: NDArray[np.uint8]
    mask: NDArray[np.floating]


Method = Callable[[Example, Example], Drawn]
"""(input crop, target crop, of which only the pose may be used) → what is drawn."""
Distance = Callable[[Tensor, Tensor], Tensor]
"""Images (1, 3, S, S) of −1 to 1, made and true → a scalar."""
_OF_PROTOCOLS: Mapping[str, Distance] = {"ssim_patn": ssim_patn, "ssim_signed": ssim_signed}
JointEstimator = Callable[[NDArray[np.uint8], NDArray[np.floating]], NDArray[np.floating] | None]
"""(crop (S, S, 3) uint8, the person's box (4,) there) → joints (19, 3) metres, or None if no person is detected."""


@dataclass(frozen=True)
class EvaluatedReposing:
    """N pairs: method → name of the metric → (N,), NaN where it is not known.

    Attributes:
        clusters: Of the pairs, by the person of the input.
        copies: Metrics (M,) of the input copied, of pairs that are left out (`Pairs.missed`).
        shown: Of some pairs, spread evenly over all: index among the N → input, target and what every method drew,
            reduced to (SHOWN_SIDE, SHOWN_SIDE, 3) uint8.
        ceiling: (N,) pose AUC of the true images against their labelled joints: what the estimator of poses can see
            at all.
    """

    clusters: Clusters
    values: Mapping[str, Mapping[str, NDArray[np.float64]]]
    shown: Mapping[int, Sequence[NDArray[np.uint8]]]
    ceiling: NDArray[np.float64]
    copies: Mapping[str, NDArray[np.float64]]

    def of_all(self, means: Mapping[str, Summary]) -> dict[str, Summary]:
        """Average a method's means with the copies of pairs that are left out, without intervals; {} if none are."""
        summaries = {}
        for name, copies in self.copies.items():
            one = means[name]
            finite = copies[np.isfinite(copies)]
            n = one.n + len(finite)
            value = float(np.nansum([one.n * one.value, *finite])) / n if n else np.nan
            summaries[name] = replace(one, value=value, n=n, median=np.nan, low=np.nan, high=np.nan)
        return summaries

    @property
    def ceiling_note(self) -> list[str]:
        """A sentence about the ceiling, where it is known."""
        if not np.isfinite(self.ceiling).any():
            return []
        summary = summarise(self.ceiling, self.clusters)
        return [
            f"pose_auc compares what our fit finds in the reposed and in the true image; in the true one against the "
            f"labelled joints it is {summary.text('.3f')}."
        ]


def copying(first: Example, second: Example) -> Drawn:
    """Copy the unchanged input: what every method must beat."""
    return Drawn(first.image, person_mask(first))


def warping(network: Warp3d) -> Method:
    """Draw by a trained generator. Crops of another size than its own are scaled to it, and what it makes is scaled
    back.
    """
    size = network.config.size

    def draw(first: Example, second: Example) -> Drawn:
        crop_size = first.image.shape[0]
        source, target = (frame_of_example(example) * np.float32(size / crop_size) for example in (first, second))
        silhouette = None if first.mask is None else resized(person_mask(first), size)
        drawing = network.repose(resized(first.image, size), source, target, silhouette=silhouette)
        return Drawn(resized(drawing.image, crop_size), resized(drawing.mask, crop_size))

    return draw


class WrappedPeople:
    """People wrapped in their images, and the images without them; the last one is cached: methods take turns."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._last: tuple[Example, MeshReposer, NDArray[np.uint8]] | None = None

    def __call__(self, example: Example) -> tuple[MeshReposer, NDArray[np.uint8]]:
        """Return the labelled body in the image, and the background (S, S, 3). Raises InputError if no body is
        known.
        """
        if self._last is None or self._last[0] is not example:
            mesh = mesh_of(example, self._body, MeshOptions(hole_margin=_LABELLED_MARGIN))
            photo_person = mesh.person.photographed
            hole = mesh.person.hole
            plate = inpaint(photo_person.photo, hole, photo_person.others > 0.5)
            self._last = example, mesh, plate
        return self._last[1:]


def meshing(people: WrappedPeople) -> Method:
    """Draw the photograph wrapped round the labelled body, which is posed as the target's: the mesh method without
    errors of a fit. Raises InputError for people without body parameters.
    """

    def draw(first: Example, second: Example) -> Drawn:
        mesh, plate = people(first)
        return _before_plate(mesh, plate, first, second)

    return draw


def pasting(network: Warp3d, people: WrappedPeople) -> Method:
    """Draw by a generator as `hpc repose --method warp3d` uses it: pasted before the mesh method's background."""

    def draw(first: Example, second: Example) -> Drawn:
        mesh, plate = people(first)
        reposer = WarpReposer(mesh.person, mesh.frame, network, use_mask=first.mask is not None)
        return _before_plate(reposer, plate, first, second)

    return draw


def _before_plate(
    reposer: MeshReposer | WarpReposer, plate: NDArray[np.uint8], example: Example, target: Example
) -> Drawn:
    """Draw the example's person in the target's pose, before the image's own background, as far as the image
    reaches.
    """
    rendering = reposer.render_all([pose_of(target)])[0].image
    alpha = rendering[..., 3:].astype(np.float32) / 255
    if example.inside is not None:
        alpha[example.inside == 0] = 0
    pixels = rendering[..., :3] * alpha + plate * (1 - alpha)
    return Drawn(np.rint(pixels).astype(np.uint8), alpha[..., 0])


def resized(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Scale a square image or mask to `size` pixels a side, averaged if it becomes smaller."""
    side = image.shape[0]
    if side == size:
        return image
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC))


def measure_reposing(
    crops: PairCrops,
    numbers: Sequence[int],
    methods: Mapping[str, Method],
    *,
    distances: Mapping[str, Distance] | None = None,
    joints: JointEstimator | None = None,
    parts: PairParts | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> EvaluatedReposing:
    """Measure every method on every pair.

    Args:
        distances: Name → a further measure of two images (1, 3, H, W), −1 to 1: distances by the features of a
            network, similarities that a protocol has.
        joints: Estimator of the pose in an image, for the pose AUC.
        parts: Where figures of pairs are that other processes measured, and where these go.
    """
    measured: dict[int, Figures] = {} if parts is None else parts.measured()
    sheet_rows = spread_evenly(len(numbers), _SHOWN)
    sheet_images: dict[int, list[NDArray[np.uint8]]] = {}
    for count, number in enumerate(numbers, 1):
        if stop():
            raise InterruptedRun()
        if number not in measured or count - 1 in sheet_rows:
            # One draw for each pair: the same target for every method and every run.
            first, second = crops.crops(number, np.random.default_rng(number))
            drawings = {name: method(first, second) for name, method in methods.items()}
            if number not in measured:
                measured[number] = _measured(first, second, drawings, distances or {}, joints)
            if count - 1 in sheet_rows:
                images = [first.image, second.image, *(drawing.image for drawing in drawings.values())]
                sheet_images[count - 1] = [resized(image, SHOWN_SIDE) for image in images]
        progress(count, len(numbers), "pairs")
    if parts is not None:
        parts.write({number: measured[number] for number in numbers})
    values = {
        name: {
            key: np.array([measured[number][name][key] for number in numbers], np.float64)
            for key in (measured[numbers[0]][name] if numbers else {})
        }
        for name in methods
    }
    ceiling = np.array([measured[number][_CEILING]["pose_auc"] for number in numbers], np.float64)
    copies: Mapping[str, NDArray[np.float64]] = {}
    if len(lost_pairs := crops.pairs.lost):
        some = spread_evenly(
            len(lost_pairs), -(-len(lost_pairs) * len(numbers) // len(crops.pairs))
        )  # as large a share of them
        options: Any = {"distances": distances, "joints": joints, "stop": stop}
        complete = PairCrops(lost_pairs, crops.size, full_images=True)
        copies = measure_reposing(complete, some, {"copy": copying}, **options).values["copy"]
    return EvaluatedReposing(_clusters(crops.pairs, numbers), values, sheet_images, ceiling, copies)


def _measured(
    first: Example,
    second: Example,
    drawings: Mapping[str, Drawn],
    distances: Mapping[str, Distance],
    joints: JointEstimator | None,
) -> Figures:
    """Measure what the methods drew of a pair: metrics of each by its name, and the pose AUC of the true image."""
    true_joints = None if joints is None else joints(second.image, _box_of(second))
    ceiling = float("nan") if joints is None else _pose_auc(true_joints, _labelled_joints(second))
    figures = {_CEILING: {"pose_auc": ceiling}}
    for name, drawing in drawings.items():
        metrics = _similarity(drawing, second, distances)
        if joints is not None:
            metrics["pose_auc"] = _pose_auc(joints(drawing.image, _box_of(second)), true_joints)
        figures[name] = metrics
    return figures


def _clusters(pairs: Pairs, numbers: Sequence[int]) -> Clusters:
    """Group pairs by the person or the garment of the input."""
    images, indices = pairs.inputs[np.asarray(numbers, np.int64)].T
    rows = np.array([pairs.cache.people_of(image)[person] for image, person in zip(images, indices, strict=True)])
    return clusters_of(People(pairs.cache, images, indices, rows))


def pose_auc_3d(prediction: NDArray[np.floating], true: NDArray[np.floating]) -> float:
    """Measure the area under the curve of correct keypoints, joints (19, 3) metres twice, pelvis on pelvis, over
    AUC_MILLIMETRES.

    The mean over the thresholds of the share of joints that are as near or nearer, as public code takes it.
    """
    apart = 1e3 * np.linalg.norm((prediction - prediction[_PELVIS]) - (true - true[_PELVIS]), axis=-1)
    return float((apart[None] <= AUC_MILLIMETRES[:, None] + 1e-6).mean())  # rounding is no error


def _pose_auc(prediction: NDArray[np.floating] | None, true: NDArray[np.floating] | None) -> float:
    """Return 0 for an image in which no person is detected, NaN if none is detected in the true one either."""
    if true is None:
        return float("nan")
    return 0.0 if prediction is None else pose_auc_3d(prediction, true)


def _labelled_joints(example: Example) -> NDArray[np.float64] | None:
    """Return joints (19, 3) in metres; None if any of REPOSING19 is not labelled."""
    joints = example.person.joints.get(REPOSING19.name)
    if joints is None or not (joints[:, 3] > 0).all():
        return None
    return np.asarray(joints[:, :3], np.float64)


def _similarity(drawing: Drawn, second: Example, distances: Mapping[str, Distance]) -> dict[str, float]:
    drawing_tensor, true = (
        to_network(torch.from_numpy(np.ascontiguousarray(p))[None]) for p in (drawing.image, second.image)
    )
    a = drawing_tensor / 2 + 0.5
    b = true / 2 + 0.5
    person = person_mask(second) if second.mask is not None else np.zeros(second.image.shape[:2])
    mask = torch.from_numpy((person > 0.5).astype(np.float32))[None, None]
    drawn_mask = torch.from_numpy(np.asarray(drawing.mask, np.float32))[None, None]
    metrics = {"ssim": float(ssim(a, b)), "ssim_fg": np.nan, "l1_fg": np.nan, "mask_iou": np.nan}
    metrics |= {"ssim_uniform": float(ssim(a, b, "uniform")), "ssim_fg_uniform": np.nan}
    metrics["ssim_fg_capsules"] = np.nan
    if REPOSING19.name in second.person.joints:
        capsules = torch.from_numpy(capsule_mask(frame_of_example(second), second.image.shape[0]))[None, None]
        metrics["ssim_fg_capsules"] = float(ssim_foreground(a, b, capsules.float(), "uniform"))
    if inside := float(mask.sum()):
        metrics["ssim_fg"] = float(ssim_foreground(a, b, mask))
        metrics["ssim_fg_uniform"] = float(ssim_foreground(a, b, mask, "uniform"))
        metrics["l1_fg"] = float(((a - b).abs().mean(1, keepdim=True) * mask).sum() / inside)
        metrics["mask_iou"] = float(mask_iou(drawn_mask, mask))
    with torch.no_grad():
        return {**metrics, **{name: float(distance(drawing_tensor, true)) for name, distance in distances.items()}}


def _box_of(example: Example) -> NDArray[np.floating]:
    """Return the person's box in the crop, within it."""
    size = example.image.shape[0]
    box = example.person.box
    return np.array([0, 0, size, size], float) if box is None else np.clip(np.asarray(box, float), 0, size)


class FittedJoints:
    """Joints of the person in a crop by `hpc fit`: `JointEstimator`; a context manager."""

    def __init__(self, device: str = "cpu") -> None:
        self._people = _OnePerson()
        self._fitter = Fitter(FitOptions(people="largest"), people_source=self._people, device=device)
        self._pool = ModelPool(default_threads())

    def __call__(self, image: NDArray[np.uint8], box: NDArray[np.floating]) -> NDArray[np.floating] | None:
        """Fit joints (19, 3) of REPOSING19 in metres; None if no person is detected in the box."""
        scale = max(1.0, _MIN_SIDE / image.shape[0])
        if scale > 1:
            image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
        size = image.shape[0]
        corners = np.clip(np.asarray(box, float) * scale, 0, size)
        if (corners[2:] - corners[:2] < 8).any():
            return None
        (person,) = people_in_boxes(self._pool, image, corners[None], 2)
        if person.score < _MIN_SCORE:
            return None
        self._people.person = person
        record = self._fitter.fit_image(image)
        body = self._fitter.body
        bodies, betas, _ = posed_rows(record, np.array([0]), body)
        return np.asarray(body.pose_landmarks(REPOSING19.name, bodies, betas)[0].numpy(), np.float64)

    def __enter__(self) -> FittedJoints:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._fitter.__exit__(*problem)


class _OnePerson(PeopleSource):
    """A source of people that returns the one it was handed."""

    person: DetectedPerson | None = None

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        """Return the person, whatever the frame shows."""
        return [] if self.person is None else [self.person]


def evaluated_pairs(
    selection: PeopleSelection, size: int, *, full_images: bool = False, usual: Sequence[str] = _LISTED
) -> tuple[PairCrops, list[int], dict[str, Any]]:
    """Select crops of `size` pixels, the numbers of the pairs to evaluate, and what a report says about them.

    Args:
        full_images: Complete images, which published figures are of, instead of crops about people.
        usual: Protocols that are taken where none is chosen, the first first.
    """
    cache = open_cache(selection.data)
    protocols = [name for name in (*usual, *cache.pair_splits) if name in cache.pair_splits]
    protocol = selection.protocol or (protocols[0] if protocols else usual_protocol(cache))
    splits = cache.pair_splits.get(protocol) or cache.splits.get(protocol, ())
    split = selection.split_among(cache, protocol, splits)
    pairs = pairs_of(cache, protocol, split)
    numbers = spread_evenly(len(pairs), selection.limit or len(pairs))
    # Pairs are not filtered by visible joints.
    facts = replace(selection, visible=0.0).facts(protocol, split)
    facts |= {"pixels": size, "shown": "whole images" if full_images else "crops about the person"}
    facts |= {LEFT_OUT: pairs.left_out()} if pairs.missed else {}
    return PairCrops(pairs, size, full_images=full_images), numbers, facts


def evaluate_reposing(
    run: EvaluationRun,
    weights: str,
    *,
    perceptual: str = "auto",
    lpips: tuple[str, str] | None = None,
    pose: bool = True,
    size: int = 0,
    full_images: bool = False,
    only: Sequence[str] = (),
) -> Report:
    """Evaluate copying, the mesh and the network ("": the shipped one) on the same pairs.

    Where bodies are known, the network is also evaluated as in `hpc repose`: pasted.

    A protocol of published figures in `selection` decides size and full_images.

    Args:
        perceptual: As `perceptual_loss` takes it: a stand-in, never called LPIPS.
        lpips: Names or files of torchvision's AlexNet and the authors' linear layers.
        pose: Evaluate the pose by `hpc fit`, which takes most of the time.
        size: Pixels of the crops; 0 for the network's.
        full_images: See `evaluated_pairs`.
        only: Copy, mesh, pasted and warp3d: what is evaluated; () for all.
    """
    if unknown := set(only) - set(map(_short, _METHODS)):
        expected = ", ".join(map(_short, _METHODS))
        raise UsageError("methods", "are not known", expected=expected, got=", ".join(sorted(unknown)))
    selection, protocol = under_protocol(run.selection, ImageProtocol)
    if protocol is not None:
        size = protocol.agreed_size(size)
        full_images = True
    path = find_weights(weights or "warp3d")
    network = load_warp3d(path, run.device)
    if protocol is not None:
        what = "size of the network's images"
        remedy = "`weights` of a network that was trained at that size"
        protocol.agreed_size(network.config.size, what, remedy)
    crops, numbers, facts = evaluated_pairs(selection, size or network.config.size, full_images=full_images)
    numbers = numbers[run.part[0] :: run.part[1]]
    methods: dict[str, Method] = {"copy": copying}
    wraps = not only or not {"copy", "warp3d"}.issuperset(only)
    body = load_body(selection.body) if wraps and crops.pairs.cache.labels.get("people/poses", 0) else None
    if body is not None:
        cache = crops.pairs.cache
        images = np.unique(crops.pairs.inputs[:, 0])
        require_model(people_of_images(cache, images), body)
        people = WrappedPeople(body)
        methods["mesh"] = meshing(people)
        methods["warp3d, pasted"] = pasting(network, people)
    methods["warp3d"] = warping(network)
    methods = {name: method for name, method in methods.items() if not only or _short(name) in only}
    facts |= weights_facts(path, crops.pairs.cache, crops.pairs.images(numbers))
    distances: dict[str, Distance] = {}
    if lpips is not None:
        metric = Lpips(*(find_weights(name) for name in lpips))
        distances["lpips"] = metric
        facts["lpips"] = metric.describe()
    if protocol is not None:
        distances |= {name: measure for name, measure in _OF_PROTOCOLS.items() if name in protocol.metrics}
    loss = perceptual_loss(perceptual)
    distances["perceptual"] = loss
    facts["perceptual"] = " ".join(str(loss.describe().get(key, "")) for key in ("kind", "file")).strip()
    with FittedJoints(device=run.device) as joints:
        results = measure_reposing(
            crops,
            numbers,
            methods,
            distances=distances,
            joints=joints if pose else None,
            parts=PairParts(run, [facts, list(methods), pose]),
            stop=run.stop,
            progress=run.progress,
        )
    split = "" if selection.limit or crops.pairs.missed or run.part != (0, 1) else facts["split"]
    return reposing_report(results, facts, protocol, crops.pairs.cache.header, split)


def _short(method: str) -> str:
    """Return a method's name on the command line."""
    return method.removeprefix("warp3d, ").replace(" ", "-")


_METHODS = {
    "copy": "the input",
    "mesh": "the photograph wrapped round the labelled body, before the photograph's own background",
    "warp3d, pasted": "the network's person before that background, as hpc repose --method warp3d",
    "warp3d": "all that the network draws, also the background",
}


def reposing_report(
    results: EvaluatedReposing,
    facts: Mapping[str, Any],
    protocol: ImageProtocol | None = None,
    header: Header | None = None,
    split: str = "",
) -> Report:
    """Report all methods, their paired differences, images, and what others published under a protocol.

    Args:
        header, split: Of the cache, and "protocol/split" where all of it was evaluated.
    """
    values = results.values
    names = list(values)
    means = {
        name: {metric: summarise(column, results.clusters) for metric, column in values[name].items()} for name in names
    }
    best = means[names[-1]]
    of_all = {f"{name}, of all": results.of_all(means[name]) for name in names if results.copies}
    every = {**means, **of_all}
    rows: list[list[Cell]] = [[name, *(summary.value for summary in every[name].values())] for name in every]
    notes = [
        *(["Of all: pairs that are left out count as the copied input."] if of_all else []),
        "ssim_fg, l1_fg and mask_iou look where the true image shows the person.",
        "ssim_fg_capsules looks where the target's joints have capsules, as the SSIM_fg of warp3d's paper.",
        "ssim has Gaussian windows of 11 × 11 (Wang et al. 2004), the others uniform ones of 7 × 7, as papers.",
        *results.ceiling_note,
        *(f"{name}: {_METHODS[name]}." for name in names if name in _METHODS),
    ]
    figures = figures_table({(name, metric): s for name in every for metric, s in every[name].items()}, digits=4)
    tables = [Table("methods", "Methods", ("method", *best), rows, 3, notes), _differences(results), figures]
    facts = {**facts, "pairs": len(results.clusters)}
    if protocol is not None and header is not None:
        facts |= protocol.facts
        tables.insert(1, protocol.table(every, header, split))
    headings = ["input", "target", *names]
    images = {"pairs.jpg": (side_by_side(results, headings), f"Columns: {'; '.join(headings)}")}
    metrics = best | {f"{metric}_of_all": summary for metric, summary in results.of_all(best).items()}
    return Report("Reposed images", facts, metrics, tables, images)


def _differences(results: EvaluatedReposing) -> Table:
    """Compare every network with the copy and the mesh on the same pairs."""
    baselines = [name for name in _BASELINES if name in results.values]
    rows: list[list[Cell]] = []
    for name, other in product((name for name in results.values if name not in baselines), baselines):
        for metric, values in results.values[name].items():
            apart = paired_difference(values, results.values[other][metric], results.clusters)
            rows.append([f"{name} − {other}", metric, apart.value, apart.low, apart.high])
    notes = [f"Paired, with the 95 % interval over {results.clusters.text}. Low is good: {', '.join(_LOW_IS_GOOD)}."]
    columns = ("methods", "metric", "difference", "from", "to")
    return Table("differences", "Differences", columns, rows, 3, notes)


def side_by_side(results: EvaluatedReposing, columns: Sequence[str]) -> NDArray[np.uint8]:
    """Draw a row for each pair of the report, by the quality of the last method: input, target, every method.

    Args:
        columns: Their headings.
    """
    quality = np.nan_to_num(results.values[list(results.values)[-1]]["ssim"])
    indices = sorted(results.shown, key=lambda index: (float(quality[index]), index))
    bars = [titled(np.zeros((0, SHOWN_SIDE, 3), np.uint8), column) for column in columns]
    return np.concatenate([np.concatenate(row, 1) for row in (bars, *(results.shown[index] for index in indices))])
