"""Evaluation of reposed images: their similarity to the true ones, and whether the person has the target pose.

The Inception Score is left out on purpose; `lab.metrics.images` explains why.
"""

from __future__ import annotations

import json
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
from humanpose_cli.files.text_files import read_json_object
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.people import PeopleSource
from humanpose_cli.io.inputs import Frame
from humanpose_cli.lab.cache.augmentation import Example
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.loader import spread_evenly
from humanpose_cli.lab.cache.schema import Header
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, paired_difference, summarise
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection, clusters_of
from humanpose_cli.lab.evaluate.protocols import ImageProtocol, apply_protocol
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, add_title, figures_table, finite
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
from humanpose_cli.outputs.atomic import write_json
from humanpose_cli.reposing.warping import WarpReposer

AUC_MILLIMETRES = np.arange(0, 151, 5)
"""Thresholds of the pose AUC."""
SHOWN_SIDE = 160
"""Pixels of the images that a report shows."""
_SHOWN = 8
_PELVIS = REPOSING19.index("pelvis")
_MIN_SIDE = 256  # pixels that the detector is given
_MIN_SCORE = 0.3  # of a detected person
_LABELLED_MARGIN = 0.01  # of a hole around a labelled mask, which is more exact than a detected one
_LISTED = ("three-frames", "random-pairs", "pairs")
_BASELINES = ("copy", "mesh")
_CEILING = ""  # the true image, among the methods
_LOW_IS_GOOD = ("lpips", "perceptual", "l1_fg")


class MethodImage(NamedTuple):
    """A reposed crop.

    Attributes:
        image: (S, S, 3) uint8.
        mask: (S, S) coverage of the person, 0…1.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.floating]


Method = Callable[[Example, Example], MethodImage]
"""(input crop, target crop, whose pose alone may be used) → drawing."""
Distance = Callable[[Tensor, Tensor], Tensor]
"""Drawn and true images (1, 3, S, S), −1 to 1 → a scalar."""
_OF_PROTOCOLS: Mapping[str, Distance] = {"ssim_patn": ssim_patn, "ssim_signed": ssim_signed}
JointEstimator = Callable[[NDArray[np.uint8], NDArray[np.floating]], NDArray[np.floating] | None]
"""(crop (S, S, 3) uint8, the person's box (4,) in it) → joints (19, 3) metres; None if no person is detected."""


Figures = Mapping[str, Mapping[str, float]]
"""Method → metric → value of one pair."""


@dataclass(frozen=True)
class PairParts:
    """Figures of pairs in `pairs.json` of the parts' folders, such as `part-0-of-8` in the folder of the complete run.

    Attributes:
        run: The evaluation of a part, or of all pairs.
        settings: Settings that decide the figures; figures of other settings are not read.
    """

    run: EvaluationRun
    settings: Any

    def measured(self) -> dict[int, Figures]:
        """Read the figures that the parts of this run measured, by the number of a pair."""
        measured: dict[int, Figures] = {}
        for path in sorted(self.run.folder.glob("part-*/pairs.json")):
            document = read_json_object(path)
            if document.get("settings") == self._text:
                measured |= {int(number): figures for number, figures in document["pairs"].items()}
        return measured

    def write(self, pairs: Mapping[int, Figures]) -> None:
        """Write the figures of a part's pairs; JSON has no NaN."""
        if self.run.part[1] > 1:
            document = {"settings": self._text, "pairs": finite(pairs)}
            write_json(self.run.folder / "pairs.json", document, indent=None)

    @property
    def _text(self) -> str:
        return json.dumps(self.settings, sort_keys=True, default=str)


@dataclass(frozen=True)
class EvaluatedReposing:
    """The evaluation of N pairs.

    Attributes:
        clusters: Clusters of the pairs, by the person of the input.
        values: Method → name of the metric → (N,) values, NaN if unknown.
        shown: Index of some pairs, spread evenly → input, target and the drawing of each method, (SHOWN_SIDE,
            SHOWN_SIDE, 3) uint8.
        ceiling: (N,) pose AUC of the true images against their labelled joints: the limit of the pose estimator.
        copies: Name of the metric → (M,) values of the copied input, for pairs that are left out (`Pairs.missed`).
    """

    clusters: Clusters
    values: Mapping[str, Mapping[str, NDArray[np.float64]]]
    shown: Mapping[int, Sequence[NDArray[np.uint8]]]
    ceiling: NDArray[np.float64]
    copies: Mapping[str, NDArray[np.float64]]

    def of_all(self, means: Mapping[str, Summary]) -> dict[str, Summary]:
        """Average a method's means with the copies of pairs that are left out.

        Args:
            means: Name of the metric → mean of the method.

        Returns:
            Means without intervals; {} if no pairs are left out.
        """
        summaries = {}
        for name, copies in self.copies.items():
            summary = means[name]
            finite = copies[np.isfinite(copies)]
            n = summary.n + len(finite)
            value = float(np.nansum([summary.n * summary.value, *finite])) / n if n else np.nan
            summaries[name] = replace(summary, value=value, n=n, median=np.nan, low=np.nan, high=np.nan)
        return summaries

    @property
    def ceiling_note(self) -> list[str]:
        """A sentence about the ceiling, if it is known."""
        if not np.isfinite(self.ceiling).any():
            return []
        summary = summarise(self.ceiling, self.clusters)
        return [
            f"pose_auc compares what our fit finds in the reposed and in the true image; in the true one against the "
            f"labelled joints it is {summary.text('.3f')}."
        ]


def copy_method(first: Example, second: Example) -> MethodImage:
    """Copy the unchanged input, the baseline of every method."""
    return MethodImage(first.image, person_mask(first))


def warp_method(network: Warp3d) -> Method:
    """Draw with a trained generator.

    Crops of another size are scaled to the generator's, and its images are scaled back.

    Args:
        network: The generator.
    """
    size = network.config.size

    def draw(first: Example, second: Example) -> MethodImage:
        crop_size = first.image.shape[0]
        source, target = (frame_of_example(example) * np.float32(size / crop_size) for example in (first, second))
        silhouette = None if first.mask is None else resize(person_mask(first), size)
        drawing = network.repose(resize(first.image, size), source, target, silhouette=silhouette)
        return MethodImage(resize(drawing.image, crop_size), resize(drawing.mask, crop_size))

    return draw


class WrappedPeople:
    """People wrapped in their images, and the images without them.

    The last one is cached, since methods take turns.

    Args:
        body: Body of the labels.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._last: tuple[Example, MeshReposer, NDArray[np.uint8]] | None = None

    def __call__(self, example: Example) -> tuple[MeshReposer, NDArray[np.uint8]]:
        """Return the labelled body in the image, and the background (S, S, 3).

        Args:
            example: The image and its person.

        Raises:
            InputError: If no body is known.
        """
        if self._last is None or self._last[0] is not example:
            mesh = mesh_of(example, self._body, MeshOptions(hole_margin=_LABELLED_MARGIN))
            photo_person = mesh.person.photographed
            plate = inpaint(photo_person.photo, mesh.person.hole, photo_person.others > 0.5)
            self._last = example, mesh, plate
        return self._last[1:]


def mesh_method(people: WrappedPeople) -> Method:
    """Draw the photograph wrapped around the labelled body in the target's pose.

    This is the mesh method without the errors of a fit.

    Args:
        people: The wrapped people.

    Raises:
        InputError: If a person has no body parameters.
    """

    def draw(first: Example, second: Example) -> MethodImage:
        mesh, plate = people(first)
        return _before_plate(mesh, plate, first, second)

    return draw


def paste_method(network: Warp3d, people: WrappedPeople) -> Method:
    """Draw with a generator as `hpc repose --method warp3d`: pasted before the mesh method's background.

    Args:
        network: The generator.
        people: The wrapped people.
    """

    def draw(first: Example, second: Example) -> MethodImage:
        mesh, plate = people(first)
        reposer = WarpReposer(mesh.person, mesh.frame, network, use_mask=first.mask is not None)
        return _before_plate(reposer, plate, first, second)

    return draw


def _before_plate(
    reposer: MeshReposer | WarpReposer, plate: NDArray[np.uint8], example: Example, target: Example
) -> MethodImage:
    """Draw the person in the target's pose before the image's background, within the image."""
    rendering = reposer.render_all([pose_of(target)])[0].image
    alpha = rendering[..., 3:].astype(np.float32) / 255
    if example.inside is not None:
        alpha[example.inside == 0] = 0
    pixels = rendering[..., :3] * alpha + plate * (1 - alpha)
    return MethodImage(np.rint(pixels).astype(np.uint8), alpha[..., 0])


def resize(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Scale a square image or mask to `size` pixels per side, with averaging if it becomes smaller."""
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
        crops: The pairs.
        numbers: Numbers of the pairs to evaluate.
        methods: Name → method.
        distances: Name → further measure of two images: a distance by a network's features, or a protocol's similarity.
        joints: Estimator of poses, for the pose AUC.
        parts: Reads figures that other processes measured, and writes these figures.
        stop: Called before every pair; True ends with InterruptedRun.
        progress: Called after every pair.
    """
    measured: dict[int, Figures] = {} if parts is None else parts.measured()
    sheet_rows = spread_evenly(len(numbers), _SHOWN)
    sheet_images: dict[int, list[NDArray[np.uint8]]] = {}
    for count, number in enumerate(numbers, 1):
        if stop():
            raise InterruptedRun()
        if number not in measured or count - 1 in sheet_rows:
            # One draw per pair: the same target for every method and every run.
            first, second = crops.crops(number, np.random.default_rng(number))
            drawings = {name: method(first, second) for name, method in methods.items()}
            if number not in measured:
                measured[number] = _measured(first, second, drawings, distances or {}, joints)
            if count - 1 in sheet_rows:
                images = [first.image, second.image, *(drawing.image for drawing in drawings.values())]
                sheet_images[count - 1] = [resize(image, SHOWN_SIDE) for image in images]
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
        lost_numbers = spread_evenly(
            len(lost_pairs), -(-len(lost_pairs) * len(numbers) // len(crops.pairs))
        )  # as large a share of them
        options: Any = {"distances": distances, "joints": joints, "stop": stop}
        complete = PairCrops(lost_pairs, crops.size, full_images=True)
        copies = measure_reposing(complete, lost_numbers, {"copy": copy_method}, **options).values["copy"]
    return EvaluatedReposing(_clusters(crops.pairs, numbers), values, sheet_images, ceiling, copies)


def _measured(
    first: Example,
    second: Example,
    drawings: Mapping[str, MethodImage],
    distances: Mapping[str, Distance],
    joints: JointEstimator | None,
) -> Figures:
    """Measure each method's drawing of a pair, and the pose AUC of the true image."""
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
    """Measure the area under the curve of correct keypoints over AUC_MILLIMETRES, pelvis on pelvis.

    The mean over the thresholds of the share of joints within each, as public code computes it.

    Args:
        prediction: (19, 3) metres.
        true: (19, 3) metres.
    """
    distances = 1e3 * np.linalg.norm((prediction - prediction[_PELVIS]) - (true - true[_PELVIS]), axis=-1)
    return float((distances[None] <= AUC_MILLIMETRES[:, None] + 1e-6).mean())  # rounding is no error


def _pose_auc(prediction: NDArray[np.floating] | None, true: NDArray[np.floating] | None) -> float:
    """Return 0 if no person is detected, NaN if none is detected in the true image either."""
    if true is None:
        return float("nan")
    return 0.0 if prediction is None else pose_auc_3d(prediction, true)


def _labelled_joints(example: Example) -> NDArray[np.float64] | None:
    """Return joints (19, 3) in metres; None if a joint of REPOSING19 is not labelled."""
    joints = example.person.joints.get(REPOSING19.name)
    if joints is None or not (joints[:, 3] > 0).all():
        return None
    return np.asarray(joints[:, :3], np.float64)


def _similarity(drawing: MethodImage, second: Example, distances: Mapping[str, Distance]) -> dict[str, float]:
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
    """Joints of the person in a crop by `hpc fit`, as a `JointEstimator` and a context manager.

    Args:
        device: Device of the networks.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._people = _OnePerson()
        self._fitter = Fitter(FitOptions(people="largest"), people_source=self._people, device=device)
        self._pool = ModelPool(default_threads())

    def __call__(self, image: NDArray[np.uint8], box: NDArray[np.floating]) -> NDArray[np.floating] | None:
        """Fit the joints of the person in a box.

        Args:
            image: (S, S, 3) uint8.
            box: (4,) pixels.

        Returns:
            (19, 3) metres, joints of REPOSING19; None if no person is detected in the box.
        """
        scale = max(1.0, _MIN_SIDE / image.shape[0])
        if scale > 1:
            image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
        corners = np.clip(np.asarray(box, float) * scale, 0, image.shape[0])
        if (corners[2:] - corners[:2] < 8).any():
            return None
        (person,) = people_in_boxes(self._pool, image, corners[None], 2)
        if person.score < _MIN_SCORE:
            return None
        self._people.person = person
        record = self._fitter.fit_image(image)
        body = self._fitter.body
        params = record.params.rows([0]).tensors()
        with torch.no_grad():
            posed = body.pose(params.rotations, params.betas, params.trans, params.segment_scales, vertices=False)
            joints = body.pose_landmarks(REPOSING19.name, posed, params.betas)[0]
        return np.asarray(joints.numpy(), np.float64)

    def __enter__(self) -> FittedJoints:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._fitter.__exit__(*problem)


class _OnePerson(PeopleSource):
    """A source of people that returns the person it was given."""

    person: DetectedPerson | None = None

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        """Return the person, whatever the frame shows."""
        return [] if self.person is None else [self.person]


def select_pairs(
    selection: PeopleSelection, size: int, *, full_images: bool = False, usual: Sequence[str] = _LISTED
) -> tuple[PairCrops, list[int], dict[str, Any]]:
    """Select the pairs to evaluate.

    Args:
        selection: The selection.
        size: Pixels of a crop's side.
        full_images: Complete images, as for published figures, instead of crops around people.
        usual: Protocols to look for if none is chosen, the first one first.

    Returns:
        The crops, the numbers of the pairs, and lines of a report.
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
    lpips: bool = False,
    pose: bool = True,
    size: int = 0,
    full_images: bool = False,
    methods: Sequence[str] = (),
) -> Report:
    """Evaluate copies of the input, the mesh and the network on the same pairs.

    If bodies are known, the network is also evaluated as in `hpc repose`: pasted. A protocol of published figures in
    the selection decides `size` and `full_images`.

    Args:
        run: The evaluation.
        weights: Name or file of the network; "" for the shipped one.
        perceptual: See `perceptual_loss`: a stand-in that is never called LPIPS.
        lpips: Measure LPIPS, with torchvision's AlexNet and the authors' linear layers.
        pose: Evaluate the pose by `hpc fit`, which takes most of the time.
        size: Pixels of a crop's side; 0 for the network's size.
        full_images: See `select_pairs`.
        methods: Methods to evaluate: copy, mesh, pasted and warp3d; () for all.

    Raises:
        UsageError: If a method is unknown, or a size differs from the protocol's.
    """
    if unknown := set(methods) - set(map(_short, _METHODS)):
        expected = ", ".join(map(_short, _METHODS))
        raise UsageError("methods", "are not known", expected=expected, got=", ".join(sorted(unknown)))
    selection, protocol = apply_protocol(run.selection, ImageProtocol)
    if protocol is not None:
        size = protocol.agreed_size(size)
        full_images = True
    path = find_weights(weights or "warp3d")
    network = load_warp3d(path, run.device)
    if protocol is not None:
        what = "size of the network's images"
        remedy = "`weights` of a network that was trained at that size"
        protocol.agreed_size(network.config.size, what, remedy)
    crops, numbers, facts = select_pairs(selection, size or network.config.size, full_images=full_images)
    numbers = numbers[run.part[0] :: run.part[1]]
    drawn: dict[str, Method] = {"copy": copy_method}
    wraps = not methods or not {"copy", "warp3d"}.issuperset(methods)
    body = load_body(selection.body) if wraps and crops.pairs.cache.labels.get("people/poses", 0) else None
    if body is not None:
        require_model(people_of_images(crops.pairs.cache, np.unique(crops.pairs.inputs[:, 0])), body)
        people = WrappedPeople(body)
        drawn["mesh"] = mesh_method(people)
        drawn["warp3d, pasted"] = paste_method(network, people)
    drawn["warp3d"] = warp_method(network)
    drawn = {name: method for name, method in drawn.items() if not methods or _short(name) in methods}
    facts |= weights_facts(path, crops.pairs.cache, crops.pairs.images(numbers))
    distances: dict[str, Distance] = {}
    if lpips:
        metric = Lpips(find_weights("imagenet-alexnet"), find_weights("lpips-alex"))
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
            drawn,
            distances=distances,
            joints=joints if pose else None,
            parts=PairParts(run, [facts, list(drawn), pose]),
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
    """Report all methods, their paired differences, images, and published figures of a protocol.

    Args:
        results: The evaluation.
        facts: Lines of the report.
        protocol: Protocol of published figures.
        header: Header of the cache.
        split: "protocol/split" if all of it was evaluated, otherwise "".
    """
    values = results.values
    names = list(values)
    means = {
        name: {metric: summarise(column, results.clusters) for metric, column in values[name].items()} for name in names
    }
    best = means[names[-1]]
    of_all = {f"{name}, of all": results.of_all(means[name]) for name in names if results.copies}
    summaries = {**means, **of_all}
    rows: list[list[Cell]] = [[name, *(summary.value for summary in summaries[name].values())] for name in summaries]
    notes = [
        *(["Of all: pairs that are left out count as the copied input."] if of_all else []),
        "ssim_fg, l1_fg and mask_iou look where the true image shows the person.",
        "ssim_fg_capsules looks where the target's joints have capsules, as the SSIM_fg of warp3d's paper.",
        "ssim has Gaussian windows of 11 × 11 (Wang et al. 2004), the others uniform ones of 7 × 7, as papers.",
        *results.ceiling_note,
        *(f"{name}: {_METHODS[name]}." for name in names if name in _METHODS),
    ]
    figures = figures_table(
        {(name, metric): s for name in summaries for metric, s in summaries[name].items()}, digits=4
    )
    tables = [Table("methods", "Methods", ("method", *best), rows, 3, notes), _differences(results), figures]
    facts = {**facts, "pairs": len(results.clusters)}
    if protocol is not None and header is not None:
        facts |= protocol.facts
        tables.insert(1, protocol.table(summaries, header, split))
    headings = ["input", "target", *names]
    images = {"pairs.jpg": (side_by_side(results, headings), f"Columns: {'; '.join(headings)}")}
    metrics = best | {f"{metric}_of_all": summary for metric, summary in results.of_all(best).items()}
    return Report("Reposed images", facts, metrics, tables, images)


def _differences(results: EvaluatedReposing) -> Table:
    """Compare every network with the copy and the mesh on the same pairs."""
    baselines = [name for name in _BASELINES if name in results.values]
    rows: list[list[Cell]] = []
    for name, baseline in product((name for name in results.values if name not in baselines), baselines):
        for metric, values in results.values[name].items():
            difference = paired_difference(values, results.values[baseline][metric], results.clusters)
            rows.append([f"{name} − {baseline}", metric, difference.value, difference.low, difference.high])
    notes = [f"Paired, with the 95 % interval over {results.clusters.text}. Low is good: {', '.join(_LOW_IS_GOOD)}."]
    columns = ("methods", "metric", "difference", "from", "to")
    return Table("differences", "Differences", columns, rows, 3, notes)


def side_by_side(results: EvaluatedReposing, columns: Sequence[str]) -> NDArray[np.uint8]:
    """Draw a row for each shown pair, by the quality of the last method: input, target, every method.

    Args:
        results: The evaluation.
        columns: Headings of the columns.
    """
    quality = np.nan_to_num(results.values[list(results.values)[-1]]["ssim"])
    indices = sorted(results.shown, key=lambda index: (float(quality[index]), index))
    bars = [add_title(np.zeros((0, SHOWN_SIDE, 3), np.uint8), column) for column in columns]
    return np.concatenate([np.concatenate(row, 1) for row in (bars, *(results.shown[index] for index in indices))])
