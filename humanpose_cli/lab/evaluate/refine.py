"""Evaluation of refinement: fits of clips before and after, on people with known bodies.

As in Personalized 3D Human Pose and Shape Refinement (Wehrbein et al. 2023): initial fits of several methods
(`refine_clips`) are refined with several correspondences, each alone and with keypoints, and several priors. Means hide
what refinement harms, so every cell also has the share of tracks that get worse by more than `HARM`. The paper's
figures follow other protocols and are not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import Fit
from humanpose_cli.lab.cache.label_maps import LabelledMesh, labels_of, render_label_maps
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, paired_difference, summarise
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, EvaluationRun
from humanpose_cli.lab.evaluate.predictions import predictions_facts
from humanpose_cli.lab.evaluate.protocols import BodyProtocol, apply_protocol
from humanpose_cli.lab.evaluate.refine_clips import (
    Base,
    EvaluatedClip,
    Floats,
    InitialFits,
    MatchedRows,
    surface_source,
)
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table
from humanpose_cli.lab.evaluate.weights import weights_facts
from humanpose_cli.lab.metrics.bodies import Bodies
from humanpose_cli.models.refiner.network import MODEL
from humanpose_cli.networks.weights import find_weights
from humanpose_cli.outputs.output_names import FIT_SUFFIX
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.options import CorrespondenceKind, RefineOptions, RefinePreset, preset_options
from humanpose_cli.refining.refiner import Refiner
from humanpose_cli.refining.steps import read_textures

_CORRESPONDENCES: tuple[CorrespondenceKind, ...] = ("network", "flow", "densepose", "keypoints")
_PRIORS = ("none", "pose")
_WORSE = 0.01  # a larger error than before by this share is reported
HARM = 0.05
"""A track is harmed if its mean joint error grows by more than this share."""
_SEED = 13


class RefinementErrors(NamedTuple):
    """Errors of M people in frames, (M,) each; NaN if unknown.

    Attributes:
        mpjpe: Metres, as in `BodyErrors`.
        pa_mpjpe: Metres, as in `BodyErrors`.
        pve: Metres, as in `BodyErrors`.
        reprojection: Pixels. Mean distance of the 24 projected joints from the true ones.
        silhouette: 1 − intersection over union of the drawn body and the pixels that show the person.
        acceleration: Metres per frame². Mean difference of the joints' second differences from the true ones.
        track: Index of the person within their clip.
    """

    mpjpe: Floats
    pa_mpjpe: Floats
    pve: Floats
    reprojection: Floats
    silhouette: Floats
    acceleration: Floats
    track: NDArray[np.int64]


_COLUMNS: Mapping[str, tuple[str, float]] = {
    "mpjpe": ("mpjpe mm", 1e3),
    "pa_mpjpe": ("PA mm", 1e3),
    "pve": ("vertices mm", 1e3),
    "reprojection": ("reprojection px", 1.0),
    "silhouette": ("silhouette error %", 1e2),
    "acceleration": ("acceleration mm/frame²", 1e3),
}
"""Column of RefinementErrors → heading of tables and factor."""
HARMED = f"tracks worse by > {HARM:.0%}".replace("%", " %")


@torch.no_grad()
def measure_clip(
    people: EvaluatedPeople, clip: EvaluatedClip, fit: Fit, body: Body, matches: MatchedRows
) -> RefinementErrors:
    """Measure the matched rows of a fit.

    Args:
        people: People with their truth.
        clip: The clip.
        fit: A fit of it.
        body: Body of the fit.
        matches: Matched rows of the clip and the fit.
    """
    rows = clip.people[matches.clip]
    params = fit.params.rows(matches.fit).tensors()
    bodies = Bodies.from_parameters(body, params.poses, params.betas, params.trans, params.segment_scales)
    errors = people.errors(bodies, rows, body)
    joints = true_joints(people, rows)
    predicted_joints = _joints(body, bodies)
    frames = fit.frame_index[matches.fit]
    pixels = Camera(fit.focal[frames], fit.principal_point[frames]).project(predicted_joints)
    true_pixels = Camera(people.focal[rows].numpy(), people.centre[rows].numpy()).project(joints)
    return RefinementErrors(
        errors.mpjpe,
        errors.pa_mpjpe,
        errors.pve,
        np.linalg.norm(pixels - true_pixels, axis=-1).mean(1),
        _silhouette_errors(clip, fit, body, matches),
        _acceleration_errors(clip, matches, joints, predicted_joints),
        clip.identity[matches.clip],
    )


def true_joints(people: EvaluatedPeople, rows: NDArray[np.int64]) -> Floats:
    """Return the true joints of people, by each person's model.

    Args:
        people: People with their truth.
        rows: (M,) rows of the people.

    Returns:
        (M, 24, 3) metres.
    """
    joints = np.full((len(rows), len(SMPL24), 3), np.nan)
    for number, rig in enumerate(people.rigs):
        of_rig = people.rig[rows] == number
        joints[of_rig] = _joints(rig, people.bodies.taken(rows[of_rig]))
    return joints


def _joints(body: Body, bodies: Bodies) -> Floats:
    return bodies.posed(body, vertices=False).joints.double().numpy()


def _silhouette_errors(clip: EvaluatedClip, fit: Fit, body: Body, matches: MatchedRows) -> Floats:
    """Return 1 − IoU, without pixels that show other people, who may stand in front."""
    result = np.full(len(matches.fit), np.nan)
    if clip.masks is None or clip.other_masks is None:
        return result
    labels = labels_of(body)
    for number, (row, index) in enumerate(zip(matches.clip, matches.fit, strict=True)):
        (vertices,) = body_vertices(body, fit, np.array([index]))
        mesh = LabelledMesh(vertices, body.faces, labels)
        mask = render_label_maps([mesh], fit.camera(int(fit.frame_index[index])), ("persons",))["persons"] > 0
        counted_pixels = ~clip.other_masks[row]
        intersection = (mask & clip.masks[row])[counted_pixels].sum()
        union = (mask | clip.masks[row])[counted_pixels].sum()
        result[number] = 1 - intersection / max(union, 1)
    return result


def _acceleration_errors(clip: EvaluatedClip, matches: MatchedRows, true: Floats, joints: Floats) -> Floats:
    """Measure rows (M,) whose person was also detected in the frames before and after."""
    result = np.full(len(matches.clip), np.nan)
    number_of = {(int(clip.identity[row]), int(clip.frame[row])): number for number, row in enumerate(matches.clip)}
    for (person, frame), number in number_of.items():
        neighbours = number_of.get((person, frame - 1)), number_of.get((person, frame + 1))
        if neighbours[0] is None or neighbours[1] is None:
            continue
        difference = joints - true
        second = difference[neighbours[1]] - 2 * difference[number] + difference[neighbours[0]]
        result[number] = np.linalg.norm(second, axis=-1).mean()
    return result


@dataclass(frozen=True)
class RefineSelection:
    """The refinements to compare; None selects everything available.

    Attributes:
        base: Initial fits.
        correspondence: Correspondence of the refinement.
        keypoints: Whether keypoints are used in addition to the correspondence.
        prior: See `RefineOptions`.
        weights: Displacement network; "" is the shipped one.
        densepose: See `surface_source`.
        charts: See `surface_source`.
        predictions: A file or folder of fits to refine.
        texture: Texture of the only person of each clip, or the folder of an earlier run of `hpc refine`, whose
            textures have the names of the clips. None makes textures from the frames.
        refine_preset: Preset of all refinements.
    """

    base: Base | None = None
    correspondence: CorrespondenceKind | None = None
    keypoints: bool | None = None
    prior: str | None = None
    weights: str = ""
    densepose: Path | None = None
    charts: Path | None = None
    predictions: Path | None = None
    texture: Path | None = None
    refine_preset: RefinePreset = "default"

    def settings(self) -> dict[str, RefineOptions]:
        """Map the name of each cell in a base's table to its options."""
        options_by_name = {}
        for kind in [self.correspondence] if self.correspondence else _CORRESPONDENCES:
            with_keypoints_or_without = (True, False) if self.keypoints is None else (self.keypoints,)
            for with_keypoints in (True,) if kind == "keypoints" else with_keypoints_or_without:
                for prior in [self.prior] if self.prior else _PRIORS:
                    label = f"{kind} + keypoints" if with_keypoints and kind != "keypoints" else kind
                    name = f"{label} · prior {prior.partition(':')[0]}"
                    options_by_name[name] = preset_options(
                        self.refine_preset, kind, prior, with_keypoints=with_keypoints
                    )
        return options_by_name

    def textures(self, clip: EvaluatedClip, fit: Fit) -> dict[int, NDArray[np.uint8]] | None:
        """Read the textures of a clip's people: track → texture; None if they are made from the frames."""
        return None if self.texture is None else read_textures(self.texture, fit, Path(clip.name + FIT_SUFFIX))


Cells = dict[str, list[RefinementErrors]]
"""Setting, or "before" → errors of each clip."""


def evaluate_refinement(run: EvaluationRun, selection: RefineSelection, *, threads: int | None = None) -> Report:
    """Evaluate fits before and after refinement, for each base, correspondence and prior.

    Args:
        run: The evaluation.
        selection: Refinements to compare.
        threads: Threads of the detector; None for the default.
    """
    of_people, protocol = apply_protocol(run.selection, BodyProtocol)
    people = replace(of_people, limit=0).people("joints", joints=of_people.joint_set())
    initial = InitialFits.of(people, selection.base, selection.predictions, of_people.limit)
    clips: set[str] = set()
    with ExitStack() as stack:
        refiners, facts = make_refiners(people, selection, stack, threads, run.device)
        cells: dict[str, Cells] = {base: {"before": [], **{name: [] for name in refiners}} for base in initial.bases}
        for clip, base, fit, matches in initial.each(run.device, threads, run.progress, run.stop):
            clips.add(clip.name)
            cells[base]["before"].append(measure_clip(people, clip, fit, people.body, matches))
            textures = selection.textures(clip, fit)
            for name, refiner in refiners.items():
                after = refiner.refine(fit, FitFrames.of(fit, clip.images), body=people.body, textures=textures)
                cells[base][name].append(measure_clip(people, clip, after, people.body, matches))
    prediction_facts = predictions_facts(selection.predictions)
    facts = {"joints": people.joints.text, "truth": people.truth, **facts}
    report = refinement_report(cells, {**of_people.facts(), "clips": len(clips), **prediction_facts, **facts})
    summaries = {
        f"{base}: {name}": _body_metrics(_joined(errors), _by_clip(errors))
        for base, settings in cells.items()
        for name, errors in settings.items()
        if errors
    }
    if protocol is not None:
        published = protocol.table(summaries, people.people.cache.header, of_people.full_split())
        report = replace(report, facts={**report.facts, **protocol.facts}, tables=[*report.tables, published])
    return report


def make_refiners(
    people: EvaluatedPeople, selection: RefineSelection, stack: ExitStack, threads: int | None, device: str
) -> tuple[dict[str, Refiner], dict[str, str]]:
    """Make the refiner of each setting.

    `densepose` is left out if it is not requested and no surface points are known.

    Args:
        people: People with their truth.
        selection: Refinements to compare.
        stack: Closes the refiners.
        threads: Threads of the refiners; None for the default.
        device: Device of the networks.

    Returns:
        Setting → refiner, and lines of a report about the network and the surface points.
    """
    settings = selection.settings()
    facts = {}
    surface = None
    if any(options.correspondence == "densepose" for options in settings.values()):
        try:
            surface, facts["densepose"] = surface_source(people, selection.densepose, selection.charts)
        except InputError:
            if selection.correspondence or selection.densepose:
                raise
            settings = {name: each for name, each in settings.items() if each.correspondence != "densepose"}
    refiners: dict[str, Refiner] = {}
    if any(each.correspondence == "network" for each in settings.values()):
        path = find_weights(selection.weights or MODEL)
        facts |= weights_facts(path, people.people.cache, people.people.images)
    for name, options in settings.items():
        kind = options.correspondence
        weights = selection.weights if kind == "network" else ""
        of_surface = surface if kind == "densepose" else None
        refiner = Refiner(options, weights=weights, surface=of_surface, threads=threads, device=device)
        if selection.texture is not None and selection.correspondence is not None:
            refiner.check_compares("texture")
        refiners[name] = stack.enter_context(refiner)
    return refiners, facts


def _joined(parts: Sequence[RefinementErrors]) -> RefinementErrors:
    return RefinementErrors._make(np.concatenate(column) for column in zip(*parts, strict=True))


def track_errors(errors: RefinementErrors) -> Floats:
    """Average `mpjpe` over each track of a clip, in the order of their indices."""
    return np.array([errors.mpjpe[errors.track == track].mean() for track in np.unique(errors.track)])


def mark_harmed(before: Floats, after: Floats) -> NDArray[np.float64]:
    """Mark tracks that get worse by more than `HARM`.

    Args:
        before: (N,) errors.
        after: (N,) errors.

    Returns:
        (N,) 1 or 0; NaN if an error is unknown.
    """
    return np.where(np.isfinite(before + after), (after > (1 + HARM) * before).astype(float), np.nan)


def refinement_report(cells: Mapping[str, Cells], facts: Mapping[str, Any]) -> Report:
    """Report a table for each base; metrics are those of the first base's first setting.

    Args:
        cells: Base → cells.
        facts: Lines of the report.

    Raises:
        InputError: If no person was detected.
    """
    tables: list[Table] = []
    metrics: dict[str, Summary] = {}
    figures: dict[tuple[str, str], Summary] = {}
    for base, settings in cells.items():
        parts = {name: _joined(errors) for name, errors in settings.items() if errors}
        if "before" not in parts:
            continue
        clips = _by_clip(settings["before"])
        tables.append(_table(base, settings, parts))
        for name, errors in parts.items():
            for column, (heading, factor) in _COLUMNS.items():
                figures[f"{base}: {name}", heading] = summarise(getattr(errors, column), clips).scaled(factor)
            if name != "before":
                figures[f"{base}: {name}", HARMED] = _harmed_share(settings[name], settings["before"])
        if not metrics:
            metrics = _metrics(parts, clips)
            if first := next((name for name in parts if name != "before"), ""):
                metrics["harmed"] = _harmed_share(settings[first], settings["before"]).scaled(0.01)
    if not tables:
        raise InputError(
            "clips", "show no person that the detector finds", remedy="choose another split, or `visible=0`"
        )
    tables.append(figures_table(figures, digits=2))
    return Report("Refinement of fits", facts, metrics, tables)


def _harmed_share(after: Sequence[RefinementErrors], before: Sequence[RefinementErrors]) -> Summary:
    """Return the share of harmed tracks in per cent."""
    pairs = [mark_harmed(track_errors(first), track_errors(last)) for first, last in zip(before, after, strict=True)]
    clips = Clusters("clips", np.repeat(np.arange(len(pairs)), [len(tracks) for tracks in pairs]))
    return summarise(np.concatenate(pairs), clips).scaled(100)


def _metrics(parts: Mapping[str, RefinementErrors], clips: Clusters) -> dict[str, Summary]:
    """Summarise the errors before, and after the first setting."""
    first = next((name for name in parts if name != "before"), "before")
    metrics: dict[str, Summary] = {}
    for label, errors in (("", parts[first]), ("_before", parts["before"])):
        metrics |= {f"{name}{label}": summary for name, summary in _body_metrics(errors, clips).items()}
        metrics[f"mask_iou{label}"] = summarise(1 - errors.silhouette, clips)
    return metrics


def _body_metrics(errors: RefinementErrors, clips: Clusters) -> dict[str, Summary]:
    """Summarise the errors of joints and vertices, by the names of protocols."""
    columns = ("pa_mpjpe", "mpjpe", "pve")
    return {f"{column}_mm": summarise(1e3 * getattr(errors, column), clips) for column in columns}


def _table(base: str, clips: Mapping[str, Sequence[RefinementErrors]], parts: Mapping[str, RefinementErrors]) -> Table:
    """Tabulate each setting's means and changes, with intervals over clips."""
    before = parts["before"]
    rows = []
    worse = []
    for name, errors in parts.items():
        cells: list[Cell] = [
            name,
            *(
                float(np.nanmean(getattr(errors, c)) * f) if np.isfinite(getattr(errors, c)).any() else None
                for c, (_, f) in _COLUMNS.items()
            ),
        ]
        changes = [_change(column, clips[name], clips["before"]) for column in ("mpjpe", "silhouette")]
        texts = [None if name == "before" or not change.n else change.text("+.1f", " %") for change in changes]
        share = np.nan if name == "before" else _harmed_share(clips[name], clips["before"]).value
        rows.append([*cells, *texts, None if np.isnan(share) else f"{share:.0f} %"])
        if changes[0].value > 100 * _WORSE:
            worse.append(name)
    verdict = (
        f"Above their start by more than 1 %: {', '.join(worse)}."
        if worse
        else ("No setting lies above its start by more than 1 % (mpjpe).")
    )
    changes_by = ("mpjpe changes by", "silhouette error changes by")
    columns = ("setting", *(heading for heading, _ in _COLUMNS.values()), *changes_by, HARMED)
    noise_title = f"From the truth with {base.removeprefix('truth+')} rad at every joint"
    title = {
        "keypoints": "From keypoint fits",
        "nbf": "From Neural Body Fitting's network",
        "noise": "From the truth with an estimator's errors",
        "predictions": "From predictions",
    }.get(base, noise_title if base.startswith("truth+") else f"Refined by {base}")
    tracks = sum(len(np.unique(errors.track)) for errors in clips["before"])
    count = f"{len(before.mpjpe)} people in frames of {len(clips['before'])} clips, {tracks} tracks"
    text = f"{count}; intervals are over clips. {verdict}"
    return Table(f"refine-{base}", title, columns, rows, (0, 1, 1, 1, 2, 1, 1, 0, 0, 0), (text,))


def _change(column: str, after: Sequence[RefinementErrors], before: Sequence[RefinementErrors]) -> Summary:
    """Compare a column, in per cent of its mean before."""
    values, start = (np.concatenate([getattr(errors, column) for errors in clips]) for clips in (after, before))
    change = paired_difference(values, start, _by_clip(before))
    return change.scaled(100 / float(np.nanmean(start))) if change.n else change


def _by_clip(parts: Sequence[RefinementErrors]) -> Clusters:
    """Return the clusters of people by clip."""
    return Clusters("clips", np.repeat(np.arange(len(parts)), [len(errors.mpjpe) for errors in parts]))


_TEXTURE_NOISE = (0.1, 0.2, 0.4)
_LIGHTS: Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "half as bright": lambda image: image * 0.5,
    "a quarter brighter": lambda image: image * 1.25,
    "evening's colour": lambda image: image * np.array([1.15, 0.95, 0.7], np.float32),
    "from the left": lambda image: image * np.linspace(1.3, 0.4, image.shape[1], dtype=np.float32)[:, None],
}
"""Changes of the frames' light after the textures were made, as in the paper's robustness test."""


def evaluate_robustness(run: EvaluationRun, selection: RefineSelection, *, threads: int | None = None) -> Report:
    """Evaluate refinement with noisy textures, and with frames in another light.

    The noise is in blotches, relative to the full range. Correspondences that compare no images are left out.

    Args:
        run: The evaluation.
        selection: Refinements to compare. The defaults are base noise, prior pose, and keypoints.
        threads: Threads of the detector; None for the default.
    """
    people = replace(run.selection, limit=0).people("joints")
    base = selection.base or (None if selection.predictions else "noise")
    initial = InitialFits.of(people, base, selection.predictions, run.selection.limit)
    cells: dict[str, Cells] = {}
    clips: set[str] = set()
    selection = replace(selection, prior=selection.prior or "pose", keypoints=selection.keypoints is not False)
    with ExitStack() as stack:
        refiners, _ = make_refiners(people, selection, stack, threads, run.device)
        for clip, _, fit, matches in initial.each(run.device, threads, run.progress, run.stop):
            clips.add(clip.name)
            before = measure_clip(people, clip, fit, people.body, matches)
            for name, refiner in refiners.items():
                if refiner.options.correspondence in ("keypoints", "densepose"):
                    continue
                cell = cells.setdefault(name, {})
                cell.setdefault("before", []).append(before)
                for label, images, textures in _disturbed(
                    refiner, fit, clip, people.body, selection.textures(clip, fit)
                ):
                    after = refiner.refine(fit, FitFrames.of(fit, images), body=people.body, textures=textures)
                    cell.setdefault(label, []).append(measure_clip(people, clip, after, people.body, matches))
    facts = {**run.selection.facts(), "clips": len(clips), "base": initial.bases[0]}
    report = refinement_report(cells, {**facts, **predictions_facts(selection.predictions)})
    return replace(report, title="Robustness of refinement")


def _disturbed(
    refiner: Refiner, fit: Fit, clip: EvaluatedClip, body: Body, textures: Mapping[int, NDArray[np.uint8]] | None
) -> Iterator[tuple[str, NDArray[np.uint8], Mapping[int, NDArray[np.uint8]]]]:
    """Yield label, frames and textures, undisturbed first."""
    if textures is None:
        textures = refiner.textures(fit, FitFrames.of(fit, clip.images), body=body)
    yield "undisturbed", clip.images, textures
    random = np.random.default_rng(_SEED)
    for level in _TEXTURE_NOISE:
        yield (
            f"texture noise {level:g}",
            clip.images,
            {track: _blotched(texture, level, random) for track, texture in textures.items()},
        )
    for name, light in _LIGHTS.items():
        frames = [np.clip(light(image.astype(np.float32)), 0, 255).astype(np.uint8) for image in clip.images]
        yield f"light {name}", np.stack(frames), textures


def _blotched(texture: NDArray[np.uint8], level: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """Add noise to a texture (S, S, 4), in blotches of a sixteenth of a side."""
    side = len(texture)
    coarse = random.normal(0, 255 * level, (16, 16, 3)).astype(np.float32)
    noise = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    result = texture.copy()
    result[..., :3] = np.clip(texture[..., :3] + noise, 0, 255)
    return result
