"""Evaluation of refinement: fits of clips before and after, on people whose bodies are known.

As in Personalized 3D Human Pose and Shape Refinement (Wehrbein et al. 2023): initial fits of several methods, refined
with several kinds of correspondences and priors. Bases are the keypoint fit, Neural Body Fitting's network, the truth
with an estimator's errors (`lab.synthetic.renderer.imperfect_fit`), and the truth with every joint turned a little,
which refinement should leave alone; all are of the same people in the same frames, those that the detector finds. The
paper's own figures are of protocols that our cells are not, so none stand beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, InterruptedRun
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.inputs import Frame
from humanpose_cli.lab.cache.label_maps import LabelledMesh, labels_of, render_label_maps
from humanpose_cli.lab.cache.loader import spread_evenly
from humanpose_cli.lab.evaluate.bodies import matched
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, PeopleSelection, cameras_of
from humanpose_cli.lab.evaluate.report import (
    Cell,
    Report,
    Summary,
    Table,
    difference_of_groups,
    figures_table,
    summarise,
)
from humanpose_cli.lab.evaluate.true_displacements import TrueRefiner
from humanpose_cli.lab.metrics.bodies import Bodies
from humanpose_cli.lab.synthetic.renderer import imperfect_fit
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.options import CorrespondenceKind, Prior, RefineOptions
from humanpose_cli.refining.refiner import Refiner

Base = Literal["keypoints", "nbf", "noise", "truth+0.02", "truth+0.05", "truth+0.08"]
"""`truth+A`: the truth with A radians of noise an axis at every joint, the same in all frames."""
_BASES: tuple[Base, ...] = get_args(Base)
_CORRESPONDENCES: tuple[CorrespondenceKind, ...] = ("network", "flow", "keypoints")
_PRIORS: tuple[Prior, ...] = get_args(Prior)
_SETTING = "{} · prior {}"
_WORSE = 0.01  # share by which no cell may lie above its start
_SEED = 13
_ENDS = SMPL24.indices(("left_hand", "right_hand", "left_foot", "right_foot"))

Floats = NDArray[np.float64]


class RefinementErrors(NamedTuple):
    """Of M people in frames, (M,) each; NaN where unknown.

    mpjpe, pa_mpjpe, pve  metres, as in `BodyErrors`
    reprojection          pixels: mean distance of the 24 projected joints from the true ones
    silhouette            1 − intersection over union of the drawn body and the pixels that show the person
    acceleration          metres a frame²: mean difference of the joints' second differences from the true ones
    """

    mpjpe: Floats
    pa_mpjpe: Floats
    pve: Floats
    reprojection: Floats
    silhouette: Floats
    acceleration: Floats


_COLUMNS: Mapping[str, tuple[str, float]] = {
    "mpjpe": ("mpjpe mm", 1e3),
    "pa_mpjpe": ("PA mm", 1e3),
    "pve": ("vertices mm", 1e3),
    "reprojection": ("reprojection px", 1.0),
    "silhouette": ("silhouette error %", 1e2),
    "acceleration": ("acceleration mm/frame²", 1e3),
}
"""Column of RefinementErrors → heading of tables and factor."""


@dataclass(frozen=True, eq=False)
class EvaluatedClip:
    """T frames of one sequence, and R rows of known people in them.

    images  (T, H, W, 3) uint8; focal (T,) and centre (T, 2) pixels of their cameras
    people  (R,) rows of the evaluated people; frame (R,); identity (R,) number of the person within the clip
    masks   (R, H, W) bool, the pixels that show each; others (R, H, W) bool, those that show somebody else; or None
    """

    name: str
    images: NDArray[np.uint8]
    focal: Floats
    centre: Floats
    people: NDArray[np.int64]
    frame: NDArray[np.int64]
    identity: NDArray[np.int64]
    masks: NDArray[np.bool_] | None
    others: NDArray[np.bool_] | None

    def frames(self) -> Iterator[Frame]:
        """As a fitter takes them, with their cameras."""
        for number, (image, focal, (x, y)) in enumerate(zip(self.images, self.focal, self.centre, strict=True)):
            yield Frame(number, f"{number:06d}", image, float(focal), principal_point=(float(x), float(y)))


def _clip_names(people: EvaluatedPeople, limit: int) -> list[str]:
    """The clips with evaluated people, at most `limit` (0: all) of them; InputError where there is none."""
    cache = people.people.cache
    images = {int(image) for image in people.people.images}
    names = [name for name in cache.sequences if images.intersection(cache.sequence(name).tolist())]
    if not names:
        raise InputError(
            cache.path,
            "holds no sequences",
            expected="clips",
            remedy="make it with hpc preprocess synthetic --clips 16, or from a data set of videos",
        )
    names = sorted(names)
    return [names[i] for i in spread_evenly(len(names), limit or len(names))]


def clips_of(people: EvaluatedPeople, limit: int = 0) -> Iterator[EvaluatedClip]:
    """The sequences of which people are evaluated, by name; InputError where there are none.

    limit  of them at most, spread evenly; 0 for all
    """
    cache = people.people.cache
    for name in _clip_names(people, limit):
        rows = cache.sequence(name)
        pixels = [cache.image(int(row)) for row in rows]
        if len({image.shape for image in pixels}) > 1:
            continue
        at = {int(row): number for number, row in enumerate(rows)}
        chosen = np.array([i for i, row in enumerate(people.people.images) if int(row) in at], np.int64)
        frame = np.array([at[int(people.people.images[i])] for i in chosen], np.int64)
        masks, others = _masks(people, chosen)
        focal, centre = (tensor.double().numpy() for tensor in cameras_of(cache, np.asarray(rows)))
        identity = _identities(people, chosen)
        yield EvaluatedClip(name, np.stack(pixels), focal, centre, chosen, frame, identity, masks, others)


def _identities(people: EvaluatedPeople, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(R,) a number for each identity, or where it is not named, for each place among the image's people."""
    table = people.people
    names = table.column("identity")[rows] if "identity" in table.cache.people else np.full(len(rows), "")
    keys = [str(name) or str(index) for name, index in zip(names, table.indices[rows], strict=True)]
    return np.unique(keys, return_inverse=True)[1]


def _masks(people: EvaluatedPeople, rows: NDArray[np.int64]) -> tuple[Any, Any]:
    """Pixels of each person and of others, from the map of persons or their own masks; None where both are missing."""
    cache, masks, others = people.people.cache, [], []
    for row in rows:
        image, index = int(people.people.images[row]), int(people.people.indices[row])
        persons = cache.map(image, "persons")
        mask = cache.mask(int(people.people.rows[row])) if persons is None else None
        if persons is None and mask is None:
            return None, None
        masks.append(persons == index + 1 if persons is not None else mask > 127)  # type: ignore[operator]
        others.append((persons > 0) & (persons != index + 1) if persons is not None else np.zeros_like(masks[-1]))
    return np.stack(masks), np.stack(others)


@dataclass(frozen=True, eq=False)
class _Matched:
    """M rows of a clip that a fit found: rows of the clip's people, and of the fit."""

    clip: NDArray[np.int64]
    fit: NDArray[np.int64]


def _match(people: EvaluatedPeople, clip: EvaluatedClip, fit: Fit) -> _Matched:
    """Who is who, frame by frame, by the overlap of boxes."""
    pairs: list[tuple[int, int]] = []
    for frame in range(len(clip.images)):
        true, found = np.flatnonzero(clip.frame == frame), fit.rows_for(frame)
        boxes, size = people.boxes[clip.people[true]], clip.images.shape[2:0:-1]
        pairs += [(int(true[a]), int(found[b])) for a, b in matched(boxes, list(fit.boxes[found]), size)]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return _Matched(rows[:, 0], rows[:, 1])


def with_bodies(fit: Fit, body: Body, rows: NDArray[np.int64], params: BodyParams) -> Fit:
    """The fit with other bodies in some rows; what was detected stays."""
    changed: dict[str, Any] = {
        name: np.array(getattr(fit, name)) for name in ("poses", "betas", "trans", "joints3d", "joints2d")
    }
    tensors = params.tensors()
    with torch.no_grad():
        joints = body.pose(tensors.rotations, tensors.betas, tensors.trans, vertices=False).joints.numpy()
    frames = fit.frame_index[rows]
    camera = Camera(fit.focal[frames], fit.principal_point[frames])
    values = (params.poses, params.betas, params.trans, joints, camera.project(joints))
    for name, value in zip(changed, values, strict=True):
        changed[name][rows] = value
    return replace(fit, **changed)


def _disturbed_truth(
    people: EvaluatedPeople, clip: EvaluatedClip, fit: Fit, found: _Matched, base: str, seed: int
) -> Fit:
    """The matched rows of a fit with the truth and the errors of a base: "noise", or "truth+A".

    InputError where the truth is another body's.
    """
    people.require_one_model()
    random = np.random.default_rng((_SEED, seed))
    # No method of this program made it.
    bodies, made = people.bodies, replace(fit, options={**fit.options, "method": base})
    for identity in np.unique(clip.identity[found.clip]):
        chosen = np.flatnonzero(clip.identity[found.clip] == identity)
        rows = clip.people[found.clip[chosen]]
        rest = people.body.rest_joints(bodies.betas[rows])[:, SMPL24.index("pelvis")]
        poses = matrix_to_axis_angle(bodies.rotations[rows]).flatten(1).numpy()
        trans = (bodies.root[rows] - rest).numpy()
        betas = bodies.betas[rows[0]].numpy()
        if base == "noise":
            focal = clip.focal[clip.frame[found.clip[chosen]]]
            poses, betas, trans = imperfect_fit(random, poses, betas, trans, rest[0].numpy(), focal)
        else:
            poses = _turned(random, poses, float(base.removeprefix("truth+")))
        params = BodyParams(poses, np.tile(betas, (len(rows), 1)), trans)
        made = with_bodies(made, people.body, found.fit[chosen], params)
    return made


def _turned(random: np.random.Generator, poses: NDArray[np.float32], radians: float) -> NDArray[np.float32]:
    """Poses (T, 72) with every joint that moves others turned, the pelvis by a third; alike in all frames."""
    noise = radians * random.standard_normal((len(SMPL24), 3))
    noise[list(_ENDS)] = 0
    noise[SMPL24.index("pelvis")] /= 3
    turned = Rotation.from_rotvec(poses.reshape(-1, 3)) * Rotation.from_rotvec(np.tile(noise, (len(poses), 1)))
    return turned.as_rotvec().reshape(len(poses), -1).astype(np.float32)


@torch.no_grad()
def measure_clip(
    people: EvaluatedPeople, clip: EvaluatedClip, fit: Fit, body: Body, found: _Matched
) -> RefinementErrors:
    """Errors of the matched rows of a fit."""
    rows, params = clip.people[found.clip], fit.params.rows(found.fit).tensors()
    predicted = Bodies.of_parameters(body, params.poses, params.betas, params.trans)
    errors = people.errors(predicted, rows, body)
    joints, joints_found = _true_joints(people, rows), _joints(body, predicted)
    frames = fit.frame_index[found.fit]
    drawn = Camera(fit.focal[frames], fit.principal_point[frames]).project(joints_found)
    projected = Camera(people.focal[rows].numpy(), people.centre[rows].numpy()).project(joints)
    return RefinementErrors(
        errors.mpjpe,
        errors.pa_mpjpe,
        errors.pve,
        np.linalg.norm(drawn - projected, axis=-1).mean(1),
        _silhouette_errors(clip, fit, body, found),
        _acceleration_errors(clip, found, joints, joints_found),
    )


def _true_joints(people: EvaluatedPeople, rows: NDArray[np.int64]) -> Floats:
    """(M, 24, 3) of each person's model."""
    joints = np.full((len(rows), len(SMPL24), 3), np.nan)
    for number, rig in enumerate(people.rigs):
        of_rig = people.rig[rows] == number
        joints[of_rig] = _joints(rig, people.bodies.taken(rows[of_rig]))
    return joints


def _joints(body: Body, bodies: Bodies) -> Floats:
    return bodies.posed(body, vertices=False).joints.double().numpy()


def _silhouette_errors(clip: EvaluatedClip, fit: Fit, body: Body, found: _Matched) -> Floats:
    """1 − IoU, without the pixels that show somebody else, who may stand in front."""
    result = np.full(len(found.fit), np.nan)
    if clip.masks is None or clip.others is None:
        return result
    labels = labels_of(body)
    for number, (row, index) in enumerate(zip(found.clip, found.fit, strict=True)):
        (vertices,) = body_vertices(body, fit, np.array([index]))
        mesh, view = LabelledMesh(vertices, body.faces, labels), fit.camera(int(fit.frame_index[index]))
        drawn = render_label_maps([mesh], view, ("persons",))["persons"] > 0
        counted = ~clip.others[row]
        both, either = (drawn & clip.masks[row])[counted].sum(), (drawn | clip.masks[row])[counted].sum()
        result[number] = 1 - both / max(either, 1)
    return result


def _acceleration_errors(clip: EvaluatedClip, found: _Matched, true: Floats, predicted: Floats) -> Floats:
    """(M,) for rows whose person was found in the frames before and after, too."""
    result = np.full(len(found.clip), np.nan)
    at = {(int(clip.identity[row]), int(clip.frame[row])): number for number, row in enumerate(found.clip)}
    for (person, frame), number in at.items():
        near = at.get((person, frame - 1)), at.get((person, frame + 1))
        if near[0] is None or near[1] is None:
            continue
        difference = predicted - true
        second = difference[near[1]] - 2 * difference[number] + difference[near[0]]
        result[number] = np.linalg.norm(second, axis=-1).mean()
    return result


@dataclass(frozen=True)
class RefineSelection:
    """What is compared; None: everything that is at hand.

    correspondence  "truth": true displacements of all visible points, an upper bound
    weights  of the displacement network; "": the shipped one
    """

    base: Base | None = None
    correspondence: CorrespondenceKind | Literal["truth"] | None = None
    prior: Prior | None = None
    weights: str = ""

    def settings(self) -> dict[str, RefineOptions]:
        """Name of each cell of a base's table → options."""
        return {
            _SETTING.format(kind, prior): RefineOptions(correspondence="flow" if kind == "truth" else kind, prior=prior)
            for kind in ([self.correspondence] if self.correspondence else _CORRESPONDENCES)
            for prior in ([self.prior] if self.prior else _PRIORS)
        }


Cells = dict[str, list[RefinementErrors]]
"""Setting, or "before" → errors of each clip."""


def _initial_fits(
    people: EvaluatedPeople,
    bases: Sequence[Base],
    limit: int,
    stack: ExitStack,
    device: str,
    threads: int | None,
    progress: Progress,
    stop: Callable[[], bool],
) -> Iterator[tuple[EvaluatedClip, Base, Fit, _Matched]]:
    """Every clip with each of its initial fits that finds a person; `stack` closes the fitters."""
    methods: tuple[Literal["keypoints", "nbf"], ...] = ("keypoints", "nbf") if "nbf" in bases else ("keypoints",)
    fitters = {
        method: stack.enter_context(Fitter(FitOptions(people.body_name, method=method), device=device, threads=threads))
        for method in methods
    }
    count = len(_clip_names(people, limit))
    for number, clip in enumerate(clips_of(people, limit), 1):
        fits: dict[str, Fit] = {}
        for name, fitter in fitters.items():
            fits[name] = fitter.fit_sequence(clip.frames(), frame_count=len(clip.images))
        found = {name: _match(people, clip, fit) for name, fit in fits.items()}
        for base in bases:
            if base not in fits:
                fits[base] = _disturbed_truth(people, clip, fits["keypoints"], found["keypoints"], base, number)
                found[base] = found["keypoints"]
        for base in bases:
            if len(found[base].fit):
                yield clip, base, fits[base], found[base]
            if stop():
                raise InterruptedRun()
        progress(number, count, "clips")


def evaluate_refinement(
    selection: PeopleSelection,
    chosen: RefineSelection,
    device: str,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
    *,
    threads: int | None = None,
) -> Report:
    """Errors before and after refinement, for each base, correspondence and prior."""
    people = replace(selection, limit=0).people("joints")
    available = _BASES if people.body_name == "default" else tuple(base for base in _BASES if base != "nbf")
    bases = (chosen.base,) if chosen.base else available
    clips: set[str] = set()
    with ExitStack() as stack:
        refiners = _refiners(chosen, stack, threads, device)
        cells: dict[str, Cells] = {base: {"before": [], **{name: [] for name in refiners}} for base in bases}
        for clip, base, fit, found in _initial_fits(
            people, bases, selection.limit, stack, device, threads, progress, stop
        ):
            clips.add(clip.name)
            cells[base]["before"].append(measure_clip(people, clip, fit, people.body, found))
            for name, refiner in refiners.items():
                refined = _refined(refiner, people, clip, fit, found)
                cells[base][name].append(measure_clip(people, clip, refined, people.body, found))
    return refinement_report(cells, {**selection.facts(), "clips": len(clips)})


def _refined(refiner: Refiner, people: EvaluatedPeople, clip: EvaluatedClip, fit: Fit, found: _Matched) -> Fit:
    frames = FitFrames.of(fit, clip.images)
    if isinstance(refiner, TrueRefiner):
        truth = _disturbed_truth(people, clip, fit, found, "truth+0", 0)
        return refiner.moved(fit, truth, found.fit, frames, people.body)
    return refiner.refine(fit, frames, body=people.body)


def _refiners(chosen: RefineSelection, stack: ExitStack, threads: int | None, device: str) -> dict[str, Refiner]:
    """The refiner of each setting."""
    weights = {"network": chosen.weights}
    if chosen.correspondence == "truth":
        return {
            name: stack.enter_context(TrueRefiner(options.prior, threads=threads, device=device))
            for name, options in chosen.settings().items()
        }
    return {
        name: stack.enter_context(
            Refiner(options, weights=weights.get(options.correspondence, ""), threads=threads, device=device)
        )
        for name, options in chosen.settings().items()
    }


def _joined(parts: Sequence[RefinementErrors]) -> RefinementErrors:
    return RefinementErrors(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def refinement_report(cells: Mapping[str, Cells], facts: Mapping[str, Any]) -> Report:
    """A table for each base; metrics are the first base's first setting."""
    tables: list[Table] = []
    metrics: dict[str, Summary] = {}
    figures: dict[tuple[str, str], Summary] = {}
    for base, settings in cells.items():
        parts = {name: _joined(errors) for name, errors in settings.items() if errors}
        if "before" not in parts:
            continue
        tables.append(_table(base, settings, parts))
        for name, errors in parts.items():
            for column, (heading, factor) in _COLUMNS.items():
                figures[f"{base}: {name}", heading] = summarise(getattr(errors, column)).scaled(factor)
        if not metrics:
            metrics = _metrics(parts)
    if not tables:
        raise InputError(
            "clips", "show no person that the detector finds", remedy="choose another split, or --visible 0"
        )
    tables.append(figures_table(figures, digits=2))
    return Report("Refinement of fits", facts, metrics, tables)


def _metrics(parts: Mapping[str, RefinementErrors]) -> dict[str, Summary]:
    """Before, and after the first setting."""
    names = {"mpjpe": "mpjpe_mm", "pa_mpjpe": "pa_mpjpe_mm", "pve": "pve_mm"}
    first = next((name for name in parts if name != "before"), "before")
    found: dict[str, Summary] = {}
    for label, errors in (("", parts[first]), ("_before", parts["before"])):
        found |= {f"{name}{label}": summarise(1e3 * getattr(errors, column)) for column, name in names.items()}
        found[f"mask_iou{label}"] = summarise(1 - errors.silhouette)
    return found


def _table(base: str, clips: Mapping[str, Sequence[RefinementErrors]], parts: Mapping[str, RefinementErrors]) -> Table:
    """Means of each setting, and how joints' and silhouettes' errors change, with intervals over clips.

    clips  errors of each setting's clips; parts  these joined
    """
    before, rows, worse = parts["before"], [], []
    for name, errors in parts.items():
        cells: list[Cell] = [
            name,
            *(
                float(np.nanmean(getattr(errors, c)) * f) if np.isfinite(getattr(errors, c)).any() else None
                for c, (_, f) in _COLUMNS.items()
            ),
        ]
        changes = [_change(column, clips[name], clips["before"]) for column in ("mpjpe", "silhouette")]
        rows.append(
            [*cells, *(None if name == "before" or not change.n else _change_text(change) for change in changes)]
        )
        if changes[0].value > 100 * _WORSE:
            worse.append(name)
    verdict = (
        f"Above their start by more than 1 %: {', '.join(worse)}."
        if worse
        else ("No setting lies above its start by more than 1 % (mpjpe).")
    )
    changes_by = ("mpjpe changes by", "silhouette error changes by")
    columns = ("setting", *(heading for heading, _ in _COLUMNS.values()), *changes_by)
    title = {
        "keypoints": "From keypoint fits",
        "nbf": "From Neural Body Fitting's network",
        "noise": "From the truth with an estimator's errors",
    }.get(base, f"From the truth with {base.removeprefix('truth+')} rad at every joint")
    if any(name.startswith("truth ") for name in clips):
        verdict += " True displacements are an upper bound; all of their refinement is kept."
    text = f"{len(before.mpjpe)} people in frames of {len(clips['before'])} clips; intervals are over clips. {verdict}"
    return Table(f"refine-{base}", title, columns, rows, (0, 1, 1, 1, 2, 1, 1, 0, 0), (text,))


def _change(column: str, after: Sequence[RefinementErrors], before: Sequence[RefinementErrors]) -> Summary:
    """Of a column, in per cent of its mean before."""
    groups = [[getattr(errors, column) for errors in clips] for clips in (after, before)]
    change = difference_of_groups(*groups)
    return change.scaled(100 / float(np.nanmean(np.concatenate(groups[1])))) if change.n else change


def _change_text(change: Summary) -> str:
    return f"{change.value:+.1f} % ({change.low:+.1f} to {change.high:+.1f})"


_TEXTURE_NOISE = (0.1, 0.2, 0.4)
_LIGHTS: Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "half as bright": lambda image: image * 0.5,
    "a quarter brighter": lambda image: image * 1.25,
    "evening's colour": lambda image: image * np.array([1.15, 0.95, 0.7], np.float32),
    "from the left": lambda image: image * np.linspace(1.3, 0.4, image.shape[1], dtype=np.float32)[:, None],
}
"""Changes of the frames' light, 0…255, after the textures were made: as in the paper's robustness test."""


def evaluate_robustness(
    selection: PeopleSelection,
    chosen: RefineSelection,
    device: str,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
    *,
    threads: int | None = None,
) -> Report:
    """Refinement with noisy textures (blotches, relative to the full range), and with frames in another light.

    chosen  without a base: noise; without a prior: pose. Keypoints see neither texture nor light and are left out
    """
    people = replace(selection, limit=0).people("joints")
    base: Base = chosen.base or "noise"
    cells: dict[str, Cells] = {}
    clips: set[str] = set()
    with ExitStack() as stack:
        refiners = _refiners(replace(chosen, prior=chosen.prior or "pose"), stack, threads, device)
        for clip, _, fit, found in _initial_fits(
            people, (base,), selection.limit, stack, device, threads, progress, stop
        ):
            clips.add(clip.name)
            before = measure_clip(people, clip, fit, people.body, found)
            for name, refiner in refiners.items():
                if refiner.options.correspondence == "keypoints":
                    continue
                cell = cells.setdefault(name, {})
                cell.setdefault("before", []).append(before)
                for label, images, textures in _disturbed(refiner, fit, clip, people.body):
                    refined = refiner.refine(fit, FitFrames.of(fit, images), body=people.body, textures=textures)
                    cell.setdefault(label, []).append(measure_clip(people, clip, refined, people.body, found))
    report = refinement_report(cells, {**selection.facts(), "clips": len(clips), "base": base})
    return replace(report, title="Robustness of refinement")


def _disturbed(
    refiner: Refiner, fit: Fit, clip: EvaluatedClip, body: Body
) -> Iterator[tuple[str, NDArray[np.uint8], Mapping[int, NDArray[np.uint8]]]]:
    """Label, frames and textures: undisturbed first."""
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
        lit = [np.clip(light(image.astype(np.float32)), 0, 255).astype(np.uint8) for image in clip.images]
        yield f"light {name}", np.stack(lit), textures


def _blotched(texture: NDArray[np.uint8], level: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """A texture (S, S, 4) with noise of that deviation on its colours, in blotches of a sixteenth of a side."""
    side = len(texture)
    coarse = random.normal(0, 255 * level, (16, 16, 3)).astype(np.float32)
    noise = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    changed = texture.copy()
    changed[..., :3] = np.clip(texture[..., :3] + noise, 0, 255)
    return changed
