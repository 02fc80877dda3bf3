"""How good models are on a cache, as reports: segmenters, fits to pictures, networks on crops, and ablations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from humanpose_cli.bodies.smpl import body_by_name
from humanpose_cli.data.cache import open_cache
from humanpose_cli.errors import InputError, InterruptedRun, UsageError
from humanpose_cli.evaluation.ablations.nbf import ABLATIONS, nbf_arms
from humanpose_cli.evaluation.body_reports import crops_report, fits_report
from humanpose_cli.evaluation.crops import CropSource, crop_needs, judge_crops
from humanpose_cli.evaluation.fits import judge_fits
from humanpose_cli.evaluation.people import held_out_split
from humanpose_cli.evaluation.report import Report
from humanpose_cli.evaluation.segmenter_report import segmenter_report
from humanpose_cli.evaluation.segmenters import judge_segmenter
from humanpose_cli.fitting.nbf.nbf import load_nbf
from humanpose_cli.fitting.nbf.segmenter import Segmenter
from humanpose_cli.networks.registry import find_weights, shipped_weights
from humanpose_cli.pipelines.body_networks import NetworkOptions
from humanpose_cli.pipelines.fit import BodyFitter, FitOptions
from humanpose_cli.pipelines.judged import Watch, Whom, trainings_of, weights_facts
from humanpose_cli.pipelines.judged_fits import StoredPeople, fits_from_files, fits_of_pictures
from humanpose_cli.pipelines.people import DetectedPeople
from humanpose_cli.training.recipes.people import in_sight, people_in, spread_out
from humanpose_cli.training.recipes.segmenter import segmenter_needs

__all__ = [
    "Detections",
    "evaluate_ablation",
    "evaluate_crops",
    "evaluate_fits",
    "evaluate_predictions",
    "evaluate_segmenter",
]

Detections = Literal["stored", "auto", "thorough", "fast"]


def evaluate_segmenter(whom: Whom, weights: str, device: str, watch: Watch, *, batch_size: int = 16) -> Report:
    """IoU and F1 of the parts; of a guided segmenter also without its guide."""
    path = find_weights(weights) if weights else shipped_weights("segmenter")
    segmenter = Segmenter.load(path, device)
    protocol, split = held_out_split(whom.data, whom.protocol, whom.split)
    needs = segmenter_needs(segmenter.options)
    people = spread_out(in_sight(people_in(whom.data, needs, protocol, split), whom.seen), whom.limit)
    told: dict[str, Any] = {"batch_size": batch_size, "stop": watch.stop, "on_step": watch.people}
    judged = judge_segmenter(people, segmenter, **told)
    unguided = judge_segmenter(people, segmenter, guided=False, **told) if segmenter.options.guided else None
    if judged is None or (segmenter.options.guided and unguided is None):
        raise InterruptedRun()
    facts = {**whom.facts(protocol, split), **weights_facts("weights", path)}
    return segmenter_report(people, segmenter, judged, facts, unguided)


def evaluate_fits(
    whom: Whom, options: FitOptions, device: str, watch: Watch, *, detections: Detections, threads: int | None = None
) -> Report:
    """Errors of what `hpc fit` makes of the pictures, their cameras known."""
    cache = open_cache(whom.data)
    stored = cache.labels.get("people/detected", 0) > 0
    if detections == "stored" and not stored:
        raise InputError(
            cache.path, "holds no detections", remedy="make it with hpc preprocess … --detections, or --detector auto"
        )
    people = whom.people("joints", *(("box", "detected") if detections == "stored" else ()))
    source = StoredPeople(cache) if detections == "stored" else DetectedPeople(detections, threads)
    with BodyFitter(options, people=source, device=device) as fitter:
        judged = judge_fits(
            people, fits_of_pictures(cache, fitter), fitter.body, stop=watch.stop, on_step=watch.pictures
        )
        if judged is None:
            raise InterruptedRun()
        facts = {**whom.facts(people.protocol, people.split), "method": options.method, "detector": detections}
        if fitter.network_identity:
            facts["network"] = fitter.network_identity
        return fits_report(people, judged, fitter.body, facts)


def evaluate_predictions(whom: Whom, folder: Path, fit_body: str, watch: Watch) -> Report:
    """Errors of fit files that are there already."""
    cache = open_cache(whom.data)
    people = whom.people("joints")
    fits, named = fits_from_files(folder, cache)
    body = body_by_name(fit_body)
    if body.name != named:
        raise InputError(folder, "holds fits of another body", expected=body.name, got=named, remedy="--body")
    judged = judge_fits(people, fits, body, stop=watch.stop, on_step=watch.pictures)
    if judged is None:
        raise InterruptedRun()
    facts = {**whom.facts(people.protocol, people.split), "predictions": folder.name}
    return fits_report(people, judged, body, facts)


def evaluate_crops(
    whom: Whom, options: NetworkOptions, source: CropSource, device: str, folder: Path, *, batch_size: int = 32
) -> Report:
    """Errors of a body network alone, on crops made from labels."""
    path = find_weights(options.weights or "nbf-parts")
    segmenter = None
    if source == "segmenter":
        segmenter = find_weights(options.segmenter or "segmenter")
    network = load_nbf(path, segmenter=segmenter, body=whom.body, device=device)
    people = whom.people(*crop_needs(network, source))
    judged = judge_crops(people, network, source, batch_size=batch_size)
    facts = {**whom.facts(people.protocol, people.split), "parts from": source, **weights_facts("weights", path)}
    return crops_report(people, judged, facts, folder)


def evaluate_ablation(
    name: str, whom: Whom, preset: str, device: str, folder: Path, watch: Watch, *, seeds: int = 1
) -> Report:
    """One of the paper's tables, trained and judged anew; `folder/runs` keeps the trainings, finished or not."""
    if name not in ABLATIONS:
        raise UsageError("--ablation", "is not known", expected=", ".join(ABLATIONS), got=name)
    ablation = ABLATIONS[name]
    arms = nbf_arms(preset)
    people = whom.people(*ablation.needs)
    networks, segmenters = ablation.trainings
    planned = networks * seeds + segmenters
    trainings = trainings_of(whom, device, folder, watch, seeds=seeds, planned=planned)
    found = ablation.run(trainings, people, arms, folder)
    facts = {**whom.facts(people.protocol, people.split), "people": len(people), "preset": preset, "seeds": seeds}
    return Report(f"Ablation: {name}", facts, {}, found.tables, plots=found.plots)
