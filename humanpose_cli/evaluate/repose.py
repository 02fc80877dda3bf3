"""How good reposed images are on a cache of pairs or clips, as a report; and the ablation of the reposing paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.smpl import body_by_name
from humanpose_cli.core.conventions import REPOSING19, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.data.cache import open_cache
from humanpose_cli.data.loader import spread_evenly
from humanpose_cli.detect.detector import people_in_boxes
from humanpose_cli.detect.models import ModelPool, default_threads
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.evaluate.ablations import WarpingVariants, warping_table
from humanpose_cli.evaluate.people import held_out_split
from humanpose_cli.evaluate.report import Report
from humanpose_cli.evaluate.reposing import (
    Distance,
    Method,
    WrappedPeople,
    copying,
    measure_reposing,
    meshing,
    pasting,
    reposing_report,
    warping,
)
from humanpose_cli.evaluate.setup import PeopleSelection, trainings_of, weights_facts
from humanpose_cli.fitting.fitter import FitOptions, Fitter
from humanpose_cli.fitting.people import SingleImages
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.inputs import Frame
from humanpose_cli.metrics.images import Lpips
from humanpose_cli.models.warp3d.generator import load_warp3d
from humanpose_cli.models.warp3d.pairs import PairCrops
from humanpose_cli.models.warp3d.perceptual import perceptual_loss
from humanpose_cli.models.warp3d.recipe import WARP3D_PRESETS, pairs_of
from humanpose_cli.networks.weights import find_weights

__all__ = ["FittedJoints", "evaluate_reposing", "evaluate_warping", "evaluated_pairs"]

_LEAST_SIDE = 256  # pixels that the detector is given
_SEEN = 0.3
_LISTED = ("three-frames", "random-pairs", "pairs")


class FittedJoints:
    """Joints of the person in a crop by our own fit: `JointEstimator`; a context manager.

    options  of the fit
    """

    def __init__(self, options: FitOptions | None = None, device: str = "cpu", threads: int | None = None) -> None:
        self._people = _OnePerson()
        self._fitter = Fitter(options or FitOptions(people="largest"), people=self._people, device=device)
        self._pool = ModelPool(threads or default_threads())

    def __call__(self, image: NDArray[np.uint8], box: NDArray[np.floating]) -> NDArray[np.floating] | None:
        """(19, 3) metres of REPOSING19; None where the detector sees nobody in the box."""
        scale = max(1.0, _LEAST_SIDE / image.shape[0])
        if scale > 1:
            image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
        size = image.shape[0]
        corners = np.clip(np.asarray(box, float) * scale, 0, size)
        if (corners[2:] - corners[:2] < 8).any():
            return None
        (person,) = people_in_boxes(self._pool, image, corners[None], 2)
        if person.score < _SEEN:
            return None
        self._people.person = person
        record = self._fitter.fit_image(image).record
        body = self._fitter.body
        with torch.no_grad():
            rotations = axis_angle_to_matrix(torch.from_numpy(record.poses[:1]).view(1, len(SMPL24), 3))
            betas, trans = torch.from_numpy(record.betas[:1]), torch.from_numpy(record.trans[:1])
            posed = body.pose(rotations, betas, trans, vertices=False)
            return np.asarray(body.pose_landmarks(REPOSING19.name, posed, betas)[0].numpy(), np.float64)

    def __enter__(self) -> FittedJoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fitter.__exit__(kind, value, trace)


class _OnePerson(SingleImages):
    """A source of people that returns the one it was handed."""

    person: DetectedPerson | None = None

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        """Whatever the frame shows."""
        return [] if self.person is None else [self.person]


def evaluated_pairs(which: PeopleSelection, size: int) -> tuple[PairCrops, list[int], dict[str, Any]]:
    """Crops of `size` pixels, the numbers of the pairs to judge, and what a report says about them."""
    cache = open_cache(which.data)
    protocol, split = _place(which)
    pairs = pairs_of(cache, protocol, split)
    numbers = spread_evenly(len(pairs), which.limit or len(pairs))
    # Pairs are taken as they are, whatever is in sight.
    return PairCrops(pairs, size), numbers, {**replace(which, seen=0.0).facts(protocol, split), "pixels": size}


def _place(which: PeopleSelection) -> tuple[str, str]:
    cache = open_cache(which.data)
    listed = [name for name in _LISTED if name in cache.pair_splits]
    if which.protocol in cache.pair_splits or (not which.protocol and listed):
        protocol = which.protocol or listed[0]
        splits = cache.pair_splits[protocol]
        split = which.split or next((name for name in ("test", "val", "validation") if name in splits), splits[0])
        return protocol, split
    return held_out_split(which.data, which.protocol, which.split)


def evaluate_reposing(
    which: PeopleSelection,
    weights: str,
    device: str,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    perceptual: str = "auto",
    lpips: tuple[str, str] | None = None,
    pose: bool = True,
    size: int = 0,
) -> Report:
    """Copying, the mesh and the network ("": the shipped one) on the same pairs.

    Where bodies are known, the network stands there as it is used too: pasted, and given the mesh's drawing.

    perceptual  as `training.perceptual` takes it: a stand-in, never called LPIPS
    lpips       names or files of torchvision's AlexNet and the authors' linear layers
    pose        judge the pose by our own fit, which takes most of the time
    size        pixels of the crops; 0 for the network's
    """
    path = find_weights(weights or "warp3d")
    network = load_warp3d(path, device)
    crops, numbers, facts = evaluated_pairs(which, size or network.config.size)
    methods: dict[str, Method] = {"copy": copying}
    body = body_by_name(which.body) if crops.pairs.cache.labels.get("people/poses", 0) else None
    if body is not None:
        wrapped = WrappedPeople(body)
        methods["mesh"] = meshing(wrapped)
        methods["warp3d, pasted"] = pasting(network, wrapped)
        if network.config.drawing:
            methods["warp3d, mesh input"] = pasting(network, wrapped, mesh_input=True)
    methods["warp3d"] = warping(network)
    facts |= weights_facts("weights", path)
    distances: dict[str, Distance] = {}
    if lpips is not None:
        metric = Lpips(*(find_weights(name) for name in lpips))
        distances["lpips"] = metric
        facts["lpips"] = metric.describe()
    loss = perceptual_loss(perceptual)
    distances["perceptual"] = loss
    facts["perceptual"] = " ".join(str(loss.describe().get(key, "")) for key in ("kind", "file")).strip()
    with FittedJoints(device=device) as joints:
        judged = measure_reposing(
            crops,
            numbers,
            methods,
            distances=distances,
            joints=joints if pose else None,
            stop=stop,
            progress=progress,
        )
    return reposing_report(judged, crops.pairs.cache.header.source, facts)


def evaluate_warping(
    which: PeopleSelection,
    preset: str,
    device: str,
    folder: Path,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    seeds: int = 2,
    pose: bool = True,
) -> Report:
    """Table 1, trained and judged anew; `folder/runs` keeps the trainings, finished or not."""
    name = "tiny" if preset == "ablation" else preset
    if name not in WARP3D_PRESETS:
        raise UsageError("--preset", "is not known", expected=f"ablation, {', '.join(WARP3D_PRESETS)}", got=preset)
    training, loop = WARP3D_PRESETS[name]
    crops, numbers, facts = evaluated_pairs(which, training.generator.size)
    if not numbers:
        raise InputError(which.data, "has no pairs to judge by")
    trainings = trainings_of(which, device, folder, progress, stop, seeds=seeds, planned=4 * seeds)
    with FittedJoints(device=device) as joints:
        table = warping_table(trainings, WarpingVariants(training, loop), crops, numbers, joints if pose else None)
    told = {**facts, "pairs": len(numbers), "preset": name, "seeds": seeds}
    return Report("Ablation: warping", told, {}, [table])
