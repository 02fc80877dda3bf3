"""Fits to judge: what `hpc fit` makes of a cache's images, and fit files that are there already.

How good models are on a cache, as reports: segmenters, fits to images, networks on crops, and ablations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from humanpose_cli.body.smpl import body_by_name
from humanpose_cli.core.crop import Affine2D
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.data.cache import Cache, open_cache
from humanpose_cli.data.encoding import decode_png
from humanpose_cli.data.samples import Person
from humanpose_cli.detect.person import DetectedPerson, PersonMask
from humanpose_cli.evaluate.ablations import ABLATIONS, nbf_variants
from humanpose_cli.evaluate.bodies import (
    CropSource,
    FoundBody,
    crop_needs,
    crops_report,
    fits_report,
    measure_crops,
    measure_fits,
)
from humanpose_cli.evaluate.people import held_out_split
from humanpose_cli.evaluate.report import Report
from humanpose_cli.evaluate.segmenter import measure_segmenter, segmenter_report
from humanpose_cli.evaluate.setup import PeopleSelection, trainings_of, weights_facts
from humanpose_cli.fitting.fitter import FitOptions, Fitter
from humanpose_cli.fitting.networks import NetworkOptions
from humanpose_cli.fitting.people import DetectedPeople, SingleImages
from humanpose_cli.io.fit_files import FIT_SUFFIX, FitRecord, read_fit
from humanpose_cli.io.inputs import Frame
from humanpose_cli.models.nbf.network import load_nbf
from humanpose_cli.models.people import people_in, spread_out, visible_people
from humanpose_cli.models.segmenter.network import Segmenter
from humanpose_cli.models.segmenter.recipe import segmenter_needs
from humanpose_cli.networks.weights import find_weights, shipped_weights

__all__ = [
    "Detections",
    "StoredPeople",
    "evaluate_ablation",
    "evaluate_crops",
    "evaluate_fits",
    "evaluate_predictions",
    "evaluate_segmenter",
    "fits_from_files",
    "fits_of_images",
]


Fits = Callable[[int], list[FoundBody]]


class StoredPeople(SingleImages):
    """A source of people that a cache's detections tell: `PeopleSource`."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        """The people whom the detector saw when the cache was made; their boxes are the labels'."""
        sample = self._cache.sample(self._cache.find(frame.name))
        found = [_detected(person) for person in sample.people]
        return sorted((one for one in found if one is not None), key=lambda one: -one.area)


def _detected(person: Person) -> DetectedPerson | None:
    seen, world = person.detected, person.detected_world
    if seen is None or person.box is None or not np.isfinite(seen).all():
        return None
    mask = None
    if person.detected_mask is not None:
        decoded = decode_png(person.detected_mask)
        mask = None if decoded is None else _small_mask(np.asarray(decoded, np.uint8))
    known = world is not None and bool(np.isfinite(world).all())
    return DetectedPerson(
        box=np.asarray(person.box, np.float64),
        keypoints=np.asarray(seen, np.float64),
        world=np.asarray(world, np.float64)[:, :3] if known else None,
        spread=np.zeros(len(seen)),
        world_spread=np.zeros(len(seen)) if known else None,
        mask=mask,
        score=1.0,
    )


def _small_mask(whole: np.ndarray) -> PersonMask:
    """An image's mask as a square crop."""
    height, width = whole.shape
    side = max(height, width)
    square = cv2.copyMakeBorder(whole, 0, side - height, 0, side - width, cv2.BORDER_CONSTANT, value=0)
    return PersonMask(np.asarray(square, np.uint8), Affine2D.identity())


def fits_of_images(cache: Cache, fitter: Fitter) -> Fits:
    """Image's row → what the fitter finds in it; the camera is the cache's where it is known."""

    def fit(row: int) -> list[FoundBody]:
        sample = cache.sample(row)
        record = fitter.fit_image(cache.image(row), name=sample.name, focal=sample.focal).record
        return _of_rows(record, np.arange(len(record)))

    return fit


def fits_from_files(folder: Path, cache: Cache) -> tuple[Fits, str]:
    """Image's row → what fit files below a folder say about it, and the body that they are of.

    A file is about the image whose name its path has, or the frames it lists; ends of files' names do not count.
    InputError where nothing in the folder is about any image of the cache, or bodies differ.
    """
    paths = sorted(folder.rglob(f"*{FIT_SUFFIX}"))
    if not paths:
        raise InputError(folder, "holds no fit files", expected=f"*{FIT_SUFFIX} of hpc fit")
    known: dict[str, tuple[FitRecord, int]] = {}
    bodies = set()
    for path in paths:
        record = read_fit(path)
        bodies.add(record.body)
        name = str(path.relative_to(folder))[: -len(FIT_SUFFIX)]
        for frame, frame_name in enumerate(record.frame_names):
            for key in _keys(name, str(frame_name), alone=len(record.frame_names) == 1):
                known.setdefault(key, (record, frame))
    if len(bodies) > 1:
        raise InputError(folder, "holds fits of several bodies", got=", ".join(sorted(bodies)))
    names = {row: _plain(str(name)) for row, name in enumerate(cache.images["name"][:])}
    if not any(name in known for name in names.values()):
        raise InputError(
            folder,
            "holds no fit of any image of the cache",
            expected=f"names such as {next(iter(names.values()))}",
            got=next(iter(known)),
        )

    def fit(row: int) -> list[FoundBody]:
        found = known.get(names[row])
        if found is None:
            return []
        record, frame = found
        return _of_rows(record, np.flatnonzero(record.frame_index == frame))

    return fit, bodies.pop()


def _plain(name: str) -> str:
    """A name without the end that tells the kind of file."""
    path = Path(name)
    return str(path.with_suffix("")) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp") else name


def _keys(name: str, frame: str, *, alone: bool) -> Mapping[str, None]:
    joined = f"{_plain(name)}/{_plain(frame)}"
    return dict.fromkeys((_plain(name), joined) if alone else (joined, _plain(frame)))


def _of_rows(record: FitRecord, rows: np.ndarray) -> list[FoundBody]:
    return [FoundBody(record.poses[i], record.betas[i], record.trans[i], record.boxes[i]) for i in rows]


Detections = Literal["stored", "auto", "thorough", "fast"]


def evaluate_segmenter(
    selection: PeopleSelection,
    weights: str,
    device: str,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    batch_size: int = 16,
) -> Report:
    """IoU and F1 of the parts; of a guided segmenter also without its guide."""
    path = find_weights(weights) if weights else shipped_weights("segmenter")
    segmenter = Segmenter.load(path, device)
    protocol, split = held_out_split(selection.data, selection.protocol, selection.split)
    needs = segmenter_needs(segmenter.options)
    people = spread_out(
        visible_people(people_in(selection.data, needs, protocol, split), selection.seen), selection.limit
    )
    told: dict[str, Any] = {"batch_size": batch_size, "stop": stop, "progress": progress}
    judged = measure_segmenter(people, segmenter, **told)
    unguided = measure_segmenter(people, segmenter, guided=False, **told) if segmenter.options.guided else None
    facts = {**selection.facts(protocol, split), **weights_facts("weights", path)}
    return segmenter_report(people, segmenter, judged, facts, unguided)


def evaluate_fits(
    selection: PeopleSelection,
    options: FitOptions,
    device: str,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    detections: Detections,
    threads: int | None = None,
) -> Report:
    """Errors of what `hpc fit` makes of the images, their cameras known."""
    cache = open_cache(selection.data)
    stored = cache.labels.get("people/detected", 0) > 0
    if detections == "stored" and not stored:
        raise InputError(
            cache.path, "holds no detections", remedy="make it with hpc preprocess … --detections, or --detector auto"
        )
    people = selection.people("joints", *(("box", "detected") if detections == "stored" else ()))
    source = StoredPeople(cache) if detections == "stored" else DetectedPeople(detections, threads)
    with Fitter(options, people=source, device=device) as fitter:
        judged = measure_fits(people, fits_of_images(cache, fitter), fitter.body, stop=stop, progress=progress)
        facts = {**selection.facts(people.protocol, people.split), "method": options.method, "detector": detections}
        if fitter.network_identity:
            facts["network"] = fitter.network_identity
        return fits_report(people, judged, fitter.body, facts)


def evaluate_predictions(
    selection: PeopleSelection, folder: Path, fit_body: str, progress: Progress, stop: Callable[[], bool]
) -> Report:
    """Errors of fit files that are there already."""
    cache = open_cache(selection.data)
    people = selection.people("joints")
    fits, named = fits_from_files(folder, cache)
    body = body_by_name(fit_body)
    if body.name != named:
        raise InputError(folder, "holds fits of another body", expected=body.name, got=named, remedy="--body")
    judged = measure_fits(people, fits, body, stop=stop, progress=progress)
    facts = {**selection.facts(people.protocol, people.split), "predictions": folder.name}
    return fits_report(people, judged, body, facts)


def evaluate_crops(
    selection: PeopleSelection,
    options: NetworkOptions,
    source: CropSource,
    device: str,
    folder: Path,
    *,
    batch_size: int = 32,
) -> Report:
    """Errors of a body network alone, on crops made from labels."""
    path = find_weights(options.weights or "nbf-parts")
    segmenter = None
    if source == "segmenter":
        segmenter = find_weights(options.segmenter or "segmenter")
    network = load_nbf(path, segmenter=segmenter, body=selection.body, device=device)
    people = selection.people(*crop_needs(network, source))
    judged = measure_crops(people, network, source, batch_size=batch_size)
    facts = {**selection.facts(people.protocol, people.split), "parts from": source, **weights_facts("weights", path)}
    return crops_report(people, judged, facts, folder)


def evaluate_ablation(
    name: str,
    selection: PeopleSelection,
    preset: str,
    device: str,
    folder: Path,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    seeds: int = 1,
) -> Report:
    """One of the paper's tables, trained and judged anew; `folder/runs` keeps the trainings, finished or not."""
    if name not in ABLATIONS:
        raise UsageError("--ablation", "is not known", expected=", ".join(ABLATIONS), got=name)
    ablation = ABLATIONS[name]
    arms = nbf_variants(preset)
    people = selection.people(*ablation.needs)
    networks, segmenters = ablation.trainings
    planned = networks * seeds + segmenters
    trainings = trainings_of(selection, device, folder, progress, stop, seeds=seeds, planned=planned)
    found = ablation.run(trainings, people, arms, folder)
    facts = {**selection.facts(people.protocol, people.split), "people": len(people), "preset": preset, "seeds": seeds}
    return Report(f"Ablation: {name}", facts, {}, found.tables, plots=found.plots)
