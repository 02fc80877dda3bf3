"""`hpc evaluate`: errors of models on people that they were not trained on. A function for each sub-command."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from humanpose_cli.cli.options import BatchFlags, BatchSize, Device, Threads, body_option, option, out_option
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.device import resolve_device
from humanpose_cli.core.errors import HpcError, InterruptedRun, UsageError
from humanpose_cli.core.result import CommandResult, ResultTable

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.ledger import Entry
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.lab.evaluate.people import PeopleSelection
    from humanpose_cli.lab.evaluate.report import Report


_TRAININGS = "Trainings"
_DATA = option(
    "--data CACHE",
    "Dataset cache of hpc preprocess. Needed; or several by --items, each with a report in a folder of its name.",
    show_default=False,
)
_PROTOCOL = option("--protocol NAME", "Protocol of the cache. Default: its usual one.")
_SPLIT = option("--split NAME", "Split to evaluate on. Default: test, else validation.")
_LIMIT = option("--limit N", "People (images, pairs, clips) at most, spread evenly. Default: all.", min=1)
_VISIBLE = option(
    "--visible SHARE", "Leave out people with less than this share of their joints visible.", min=0, max=1
)
_MODELS = option(
    "--model FILE",
    "SMPL model of one gender, for labels that are parameters of it; may be repeated. Default: none.",
)
_JOINTS = option(
    "--joints NAME",
    "Joints that errors are of: smpl24, smpl24-mesh (by SMPL's own regressor), h36m14, h36m17 (by --joint-regressor), "
    "lsp14, mocap14 or mocap17 (measured ones). Default: measured ones where a data set has them, else smpl24.",
)
_ROOT = option("--root", "What is put on the truth's before distances are taken. Default: usual one.")
_REGRESSOR = option("--joint-regressor FILE", "J_regressor_h36m.npy, 17 x 6890, of SPIN or HMR 2.0. Default: none.")
_WEIGHTS = option("--weights FILE|RUN", "The model to evaluate. Default: the shipped weights.")
_RUN_OF_DEFORM = option("--weights FILE|RUN", "A run of hpc train deform-and-learn. Needed.", show_default=False)
_SEGMENTER = option("--segmenter FILE|RUN", "Segmenter for networks that take body parts. Default: shipped.")
_METHOD = option("--method", "How bodies are fitted to the images, as in hpc fit.")
_DETECTOR = option(
    "--detector",
    "The source of the detections. stored: the cache, made by hpc preprocess --detections. boxes: this package's "
    "networks on labelled boxes. Default: stored if the cache has them, else auto.",
    show_default=False,
)
_KEYPOINT_DETECTOR = option(
    "--detector", "The source of the detections; stored: the cache, made by hpc preprocess --detections."
)
_CROPS = option(
    "--crops",
    "Evaluate the network alone, on crops around the labelled people, with body parts from the labels or from a "
    "segmenter. Default: evaluate fits to images.",
)
_PREDICTIONS = option(
    "--predictions FITS",
    "Evaluate these: a folder of fit files, results of 4D-Humans (PHALP), WHAM, TRAM, CameraHMR or SAM 3D Body, which "
    "are named after their sequence or lie in a folder of that name; or a plain .npz or .json, see "
    "docs/guides/evaluation.md. Default: fit now.",
    show_default=False,
)
_MATCH = option(
    "--match",
    "How --predictions and labelled people are matched: by the boxes of each image, or by tracks, each of which is one "
    "person in all of a sequence.",
)
_FIT_ABLATION = option(
    "--ablation",
    "Train the variants of one of Neural Body Fitting's tables and print it. Default: none.",
    _TRAININGS,
)
_REFINE_ABLATION = option(
    "--ablation",
    "inputs: train networks that lack an input. robustness: noisy textures and other light, for which nothing is "
    "trained. Default: none.",
    _TRAININGS,
)
_PRESET = option("--preset ablation|paper", "Trainings of minutes, or of days.", _TRAININGS)
_SEEDS = option("--seeds N", "Trainings of each network.", _TRAININGS, min=1)
_PERCEPTUAL = option(
    "--perceptual WEIGHTS",
    "Network whose features measure how similar images look: a file, a run's folder, a name of hpc weights list, or "
    "pixels. Default: imagenet-vgg19 if it is here, else the segmenter.",
)
_LPIPS = option("--lpips", "LPIPS, from hpc weights fetch imagenet-alexnet lpips-alex.")
_POSE = option("--pose/--no-pose", "Measure the pose by fitting the new images, which takes most of the time.")
_SIZE = option("--size N", "Pixels of the crops that are compared. Default: the network's.", min=32)
_FULL_IMAGES = option(
    "--whole", "Complete images, which papers' figures are of (--size 256). Default: crops of the person."
)
_BASE = option(
    "--base",
    "Only these initial fits. noise: the truth with an estimator's errors; truth+A: with A radians at every joint. "
    "Default: all.",
)
_CORRESPONDENCE = option(
    "--correspondence",
    "Only this correspondence. truth: true displacements, an upper bound. Default: all that are at hand.",
)
_PRIOR = option("--prior", "Only this prior. Default: both.")
_OUT = out_option("--out FOLDER", "Folder for report.md, report.json and images.")
Out = Annotated[Path, _OUT]
DEFAULT_OUT = Path("hpc-out/evaluate")
_LPIPS_WEIGHTS = ("imagenet-alexnet", "lpips-alex")


@dataclass(frozen=True)
class CacheFlags:
    """What is evaluated on, as one parameter. Fields are named as those of `PeopleSelection`."""

    data: Annotated[Path | None, _DATA] = None
    protocol: Annotated[str | None, _PROTOCOL] = None
    split: Annotated[str | None, _SPLIT] = None
    limit: Annotated[int | None, _LIMIT] = None

    def selection(self, cache: Path) -> PeopleSelection:
        """These people of a cache."""
        from humanpose_cli.lab.evaluate.people import PeopleSelection

        chosen = {name: value for name, value in vars(self).items() if value is not None}
        # Flags that may be repeated are lists.
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in chosen.items()
        }
        return PeopleSelection(**{**values, "data": cache})


@dataclass(frozen=True)
class BodiedFlags(CacheFlags):
    """Likewise, of a body."""

    body: Annotated[str, body_option("The body of the predictions")] = "default"


@dataclass(frozen=True)
class PeopleFlags(CacheFlags):
    """Likewise, of people with visible joints."""

    visible: Annotated[float, _VISIBLE] = 0.0


@dataclass(frozen=True)
class BodyPeopleFlags(PeopleFlags, BodiedFlags):
    """Likewise, of people with a body."""

    models: Annotated[list[Path] | None, _MODELS] = None


@dataclass(frozen=True)
class JointFlags(BodyPeopleFlags):
    """Likewise, and which of their joints."""

    joints: Annotated[
        Literal["smpl24", "smpl24-mesh", "h36m14", "h36m17", "lsp14", "mocap14", "mocap17"] | None, _JOINTS
    ] = None
    root: Annotated[Literal["pelvis", "hips", "none"] | None, _ROOT] = None
    regressor: Annotated[Path | None, _REGRESSOR] = None


@dataclass(frozen=True)
class FitFlags:
    """Which bodies are evaluated, as one parameter."""

    method: Annotated[Literal["auto", "keypoints", "nbf"], _METHOD] = "auto"
    detector: Annotated[Literal["stored", "boxes", "auto", "thorough", "fast"] | None, _DETECTOR] = None
    crops: Annotated[Literal["labels", "segmenter"] | None, _CROPS] = None
    predictions: Annotated[Path | None, _PREDICTIONS] = None
    match: Annotated[Literal["boxes", "tracks"], _MATCH] = "boxes"


@dataclass(frozen=True)
class RefineFlags:
    """Which refinements are compared, as one parameter. Fields are those of `RefineSelection`."""

    weights: Annotated[str | None, _WEIGHTS] = None
    base: Annotated[Literal["keypoints", "nbf", "noise", "truth+0.02", "truth+0.05", "truth+0.08"] | None, _BASE] = None
    correspondence: Annotated[Literal["network", "flow", "keypoints", "truth"] | None, _CORRESPONDENCE] = None
    prior: Annotated[Literal["none", "pose"] | None, _PRIOR] = None


@command(
    tunes=True,
    examples=(
        "hpc evaluate fit --data people --method nbf --out report",
        "hpc evaluate fit --data people --predictions hpc-out/fit",
        "hpc evaluate fit --data people --crops labels --weights runs/nbf",
        "hpc evaluate fit --data people --ablation inputs",
        "hpc evaluate fit --items caches.txt --out reports",
    ),
)
def fit(
    session: Session,
    flags: BatchFlags,
    people: JointFlags,
    fits: FitFlags,
    weights: Annotated[str | None, _WEIGHTS] = None,
    segmenter: Annotated[str | None, _SEGMENTER] = None,
    ablation: Annotated[Literal["inputs", "segmenters", "losses", "supervision"] | None, _FIT_ABLATION] = None,
    preset: Annotated[str, _PRESET] = "ablation",
    seeds: Annotated[int, _SEEDS] = 1,
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> CommandResult:
    """Evaluate bodies: of hpc fit, of a network alone, or of fit files.

    Prints tables, beside papers' figures where these are of the same split and joints, and writes a report with images:
    some of each quartile of the errors, and the worst. The same command continues an interrupted ablation; --set
    changes what its trainings share, such as --set network.learning_rate=1e-4, --set loop.steps=2000 or --set
    weights.points3d=10. A cache of --data is evaluated anew every time; of those of --items, only what is not done.
    """
    alternatives = {"--crops": fits.crops, "--predictions": fits.predictions, "--ablation": ablation}
    chosen = [name for name, value in alternatives.items() if value is not None]
    if len(chosen) > 1:
        raise UsageError(chosen[1], f"cannot be given together with {chosen[0]}")
    if chosen:
        _refuse(session, "method", "detector", only="is for fits to images", remedy="leave it out")
    if chosen and fits.predictions is None:
        only = "is for fits to images and predictions"
        _refuse(session, "joints", "root", "regressor", only=only, remedy="leave it out")
    if fits.predictions is None:
        _refuse(session, "match", only="is for --predictions")
    _check_training(session, trains=ablation is not None)

    def report(selection: PeopleSelection, folder: Path, on: str, watch: Mapping[str, Any]) -> Report:
        from humanpose_cli.fitting.options import FitOptions, NetworkOptions
        from humanpose_cli.lab.evaluate.ablations import evaluate_ablation
        from humanpose_cli.lab.evaluate.bodies import (
            evaluate_crops,
            evaluate_fits,
            evaluate_predictions,
            has_detections,
        )

        if ablation is not None:
            tuned: dict[str, Any] = {"seeds": seeds, "tune": session.tune}
            return evaluate_ablation(ablation, selection, preset, on, folder, **watch, **tuned)
        if fits.predictions is not None:
            return evaluate_predictions(selection, fits.predictions, people.body, **watch, match=fits.match)
        network = NetworkOptions(weights or "", segmenter or "")
        if fits.crops is not None:
            return evaluate_crops(selection, network, fits.crops, on, folder, batch_size=batch_size or 32)
        detector = fits.detector or ("stored" if has_detections(selection) else "auto")
        if fits.detector is None and detector == "auto":
            session.reporter.info(f"{selection.data} holds no detections: people are detected, as by hpc fit")
        options = FitOptions(people.body, method=fits.method, network=network)
        return evaluate_fits(selection, options, on, **watch, detections=detector, threads=threads)

    options: dict[str, Any] = {"fits": asdict(fits), "weights": weights, "segmenter": segmenter, "ablation": ablation}
    options |= {"preset": preset, "seeds": seeds, "settings": dict(session.settings)}
    return _evaluated(session, "fit", flags, people, out, device, options, report, fits.predictions)


@command(examples=("hpc evaluate keypoints --data coco --limit 200",))
def keypoints(
    session: Session,
    flags: BatchFlags,
    people: BodiedFlags,
    method: Annotated[Literal["auto", "keypoints", "nbf"], _METHOD] = "auto",
    detector: Annotated[Literal["stored", "auto", "thorough", "fast"], _KEYPOINT_DETECTOR] = "auto",
    predictions: Annotated[Path | None, _PREDICTIONS] = None,
    weights: Annotated[str | None, _WEIGHTS] = None,
    segmenter: Annotated[str | None, _SEGMENTER] = None,
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
    threads: Threads = None,
) -> CommandResult:
    """Evaluate the joints of bodies in images with labelled ones, such as COCO's, by OKS and PCK.

    Bodies are of hpc fit, or of fit files.
    """
    if predictions is not None:
        _refuse(session, "method", "detector", only="is for fits to images", remedy="leave it out")

    def report(selection: PeopleSelection, folder: Path, on: str, watch: Mapping[str, Any]) -> Report:
        from humanpose_cli.fitting.options import FitOptions, NetworkOptions
        from humanpose_cli.lab.evaluate.keypoints import evaluate_keypoints

        options = FitOptions(people.body, method=method, network=NetworkOptions(weights or "", segmenter or ""))
        source: dict[str, Any] = {"detections": detector, "predictions": predictions}
        return evaluate_keypoints(selection, options, on, **watch, **source, threads=threads)

    options: dict[str, Any] = {"method": method, "detector": detector, "predictions": predictions}
    options |= {"weights": weights, "segmenter": segmenter}
    return _evaluated(session, "keypoints", flags, people, out, device, options, report, predictions)


@command(examples=("hpc evaluate segmenter --data people",))
def segmenter(
    session: Session,
    flags: BatchFlags,
    people: PeopleFlags,
    weights: Annotated[str | None, _WEIGHTS] = None,
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> CommandResult:
    """Evaluate a segmenter: IoU and F1 of the body parts.

    The report shows people of each quartile of the IoU, and the worst.
    """

    def report(selection: PeopleSelection, folder: Path, on: str, watch: Mapping[str, Any]) -> Report:
        from humanpose_cli.lab.evaluate.segmenter import evaluate_segmenter

        return evaluate_segmenter(selection, weights or "", on, **watch, batch_size=batch_size or 16)

    return _evaluated(session, "segmenter", flags, people, out, device, {"weights": weights}, report)


@command(
    examples=(
        "hpc evaluate repose --data pairs --limit 100",
        "hpc evaluate repose --data pairs --weights runs/warp3d --size 256",
    )
)
def repose(
    session: Session,
    flags: BatchFlags,
    people: BodiedFlags,
    weights: Annotated[str | None, _WEIGHTS] = None,
    perceptual: Annotated[str | None, _PERCEPTUAL] = None,
    lpips: Annotated[bool, _LPIPS] = False,
    pose: Annotated[bool, _POSE] = True,
    size: Annotated[int | None, _SIZE] = None,
    full: Annotated[bool, _FULL_IMAGES] = False,
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
    threads: Threads = None,
) -> CommandResult:
    """Evaluate reposed images: by a network, by the mesh, and by copying the input.

    All methods draw the same pairs; the report shows some of them.
    """

    def report(selection: PeopleSelection, folder: Path, on: str, watch: Mapping[str, Any]) -> Report:
        from humanpose_cli.lab.evaluate.repose import evaluate_reposing

        return evaluate_reposing(
            selection,
            weights or "",
            on,
            **watch,
            perceptual=perceptual or "auto",
            lpips=_LPIPS_WEIGHTS if lpips else None,
            pose=pose,
            size=size or 0,
            full_images=full,
        )

    options = {"weights": weights, "perceptual": perceptual, "lpips": lpips, "pose": pose, "size": size, "whole": full}
    return _evaluated(session, "repose", flags, people, out, device, options, report)


@command(tunes=True, examples=("hpc evaluate warping --data pairs --seeds 2",))
def warping(
    session: Session,
    flags: BatchFlags,
    people: CacheFlags,
    preset: Annotated[str, _PRESET] = "ablation",
    seeds: Annotated[int, _SEEDS] = 2,
    pose: Annotated[bool, _POSE] = True,
    full: Annotated[bool, _FULL_IMAGES] = False,
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
    threads: Threads = None,
) -> CommandResult:
    """Train and evaluate warp3d in two and three dimensions: Table 1 of its paper.

    The same command continues an interrupted run; --set changes what the trainings share, such as --set
    network.generator.depth=16 or --set loop.steps=2000.
    """

    def report(selection: PeopleSelection, folder: Path, on: str, watch: Mapping[str, Any]) -> Report:
        from humanpose_cli.lab.evaluate.warping import evaluate_warping

        tuned: dict[str, Any] = {"seeds": seeds, "tune": session.tune}
        return evaluate_warping(selection, preset, on, folder, **watch, **tuned, pose=pose, full_images=full)

    options = {"preset": preset, "seeds": seeds, "pose": pose, "whole": full, "settings": dict(session.settings)}
    return _evaluated(session, "warping", flags, people, out, device, options, report)


@command(
    tunes=True,
    examples=(
        "hpc evaluate refine --data clips --base keypoints",
        "hpc evaluate refine --data clips --ablation robustness",
    ),
)
def refine(
    session: Session,
    flags: BatchFlags,
    people: BodyPeopleFlags,
    refinements: RefineFlags,
    ablation: Annotated[Literal["inputs", "robustness"] | None, _REFINE_ABLATION] = None,
    preset: Annotated[str, _PRESET] = "ablation",
    seeds: Annotated[int, _SEEDS] = 1,
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
    threads: Threads = None,
) -> CommandResult:
    """Evaluate refinement: fits of clips before and after.

    A table for each kind of initial fit, with a row for each correspondence and prior. With --ablation inputs, the same
    command continues interrupted trainings, and --set changes what these share, such as --set loop.steps=2000.
    """
    _check_training(session, trains=ablation == "inputs")

    def report(selection: PeopleSelection, folder: Path, on: str, watch: Mapping[str, Any]) -> Report:
        from humanpose_cli.lab.evaluate.refine import RefineSelection, evaluate_refinement, evaluate_robustness
        from humanpose_cli.lab.evaluate.refine_inputs import evaluate_inputs

        if ablation == "inputs":
            return evaluate_inputs(selection, preset, on, folder, **watch, seeds=seeds, tune=session.tune)
        chosen = RefineSelection(**{**vars(refinements), "weights": refinements.weights or ""})
        measure = evaluate_refinement if ablation is None else evaluate_robustness
        return measure(selection, chosen, on, **watch, threads=threads)

    options = {**asdict(refinements), "ablation": ablation, "preset": preset, "seeds": seeds}
    options["settings"] = dict(session.settings)
    return _evaluated(session, "refine", flags, people, out, device, options, report)


@command(examples=("hpc evaluate deform-and-learn --data people --weights runs/deform",))
def deform_and_learn(
    session: Session,
    flags: BatchFlags,
    people: BodyPeopleFlags,
    weights: Annotated[str | None, _RUN_OF_DEFORM] = None,
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> CommandResult:
    """Evaluate a network of deform-and-learn, at the size of a canonical skeleton.

    --body is the body that the network was trained with.
    """

    def report(selection: PeopleSelection, folder: Path, on: str, watch: Mapping[str, Any]) -> Report:
        from humanpose_cli.lab.evaluate.deform_and_learn import evaluate_regressor

        return evaluate_regressor(selection, weights or "", on, **watch, batch_size=batch_size or 16)

    return _evaluated(session, "deform-and-learn", flags, people, out, device, {"weights": weights}, report)


def _refuse(session: Session, *names: str, only: str, remedy: str = "") -> None:
    """UsageError for options on the command line that do not belong to what is evaluated."""
    flags = {"regressor": "joint-regressor"}
    for name in sorted(session.on_command_line.intersection(names)):
        raise UsageError(f"--{flags.get(name, name)}", only, remedy=remedy)


def _check_training(session: Session, *, trains: bool) -> None:
    """UsageError for options and settings of trainings where nothing is trained."""
    if trains:
        return
    if session.settings:
        remedy = "--ablation trains networks that can be set"
        raise UsageError(f"setting {next(iter(session.settings))}", "is not for this", remedy=remedy)
    _refuse(session, "preset", "seeds", only="is for --ablation")


def _evaluated(
    session: Session,
    name: str,
    flags: BatchFlags,
    people: CacheFlags,
    out: Path,
    device: str,
    options: Mapping[str, Any],
    report: Callable[[PeopleSelection, Path, str, Mapping[str, Any]], Report],
    predictions: Path | None = None,
) -> CommandResult:
    """A report on each cache; several are a batch, of which a rerun does what is left.

    name     of the sub-command
    options  everything that decides the figures, beside the people; weights and segmenters are inputs
    report   people, folder, device, progress and stop → the report
    predictions  a file or folder that is evaluated, an input, too
    """
    from humanpose_cli.lab.cache.cache import open_cache

    caches = [*([] if people.data is None else [people.data]), *map(Path, flags.listed())]
    if not caches:
        raise UsageError("--data", "is missing", expected="a dataset cache of hpc preprocess")
    several = flags.items is not None
    if not several:
        open_cache(caches[0])  # now, for torch takes seconds to import

    from humanpose_cli.batch.ledger import commit_of_checkout
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.cli.render import json_values
    from humanpose_cli.lab.evaluate.report import read_metrics, write_report
    from humanpose_cli.version import __version__

    on = resolve_device(device)
    watch = {"progress": session.reporter.step, "stop": lambda: session.stop.requested}
    inputs = [*_weights_files(options.get("weights"), options.get("segmenter"))]
    if predictions is not None:
        inputs += sorted(path for path in (predictions, *predictions.rglob("*")) if path.is_file())
    items = _items(caches, out, inputs, several=several)
    reports: dict[str, Report] = {}

    def work(item: Item) -> Outcome:
        cache, folder = item.payload
        try:
            reports[item.name] = done = report(people.selection(cache), folder, on, watch)
        except InterruptedRun:  # which is no failure of this cache
            raise KeyboardInterrupt from None
        document = done.document()
        contents = {key: document[key] for key in ("metrics", "tables")}
        return Outcome(tuple(write_report(done, folder)), {"facts": document["facts"]}, contents)

    def recall(item: Item, entry: Entry) -> dict[str, Any]:
        return {"metrics": read_metrics(item.payload[1])}

    if not several:
        flags = replace(flags, resume=False, overwrite=True)
    session.stop.allow(15.0)
    recorded: dict[str, Any] = {"what": name, "selection": {**asdict(people), "data": None}, **options}
    recorded |= {"version": __version__, "commit": commit_of_checkout()}
    result = flags.run(session, items, work, out, json_values(recorded), recall)
    tables = [
        ResultTable(f"{item}: {t.title}" if several else t.title, t.columns, t.texts(), t.notes)
        for item, done in reports.items()
        for t in done.tables
    ]
    one = result.items[0].details if result.items and not several else {}
    extra = {**result.extra, **{key: one[key] for key in ("metrics", "tables") if key in one}}
    return replace(result, tables=tuple(tables), extra=extra)


def _weights_files(*names: str | None) -> list[Path]:
    """The files of weights that are given and found; the evaluation reports the others."""
    from humanpose_cli.networks.weights import find_weights

    files: list[Path] = []
    for name in filter(None, names):
        with suppress(HpcError):
            files.append(find_weights(name))
    return files


def _items(caches: Sequence[Path], out: Path, inputs: Sequence[Path], *, several: bool) -> list[Item]:
    """An item for each cache, by its index, which holds the digests of its files, and by other input files.

    several  whether each has a folder for its report
    """
    from humanpose_cli.batch.items import Item
    from humanpose_cli.lab.cache.schema import INDEX_NAME
    from humanpose_cli.lab.evaluate.report import REPORTS

    paths = [Path(os.path.abspath(cache)) for cache in caches]
    root = Path(os.path.commonpath([cache.parent for cache in paths]))
    items = []
    for cache, path in zip(caches, paths, strict=True):
        key = path.relative_to(root).as_posix()
        folder = out / key if several else out
        files = [path / INDEX_NAME if os.path.isdir(path) else path, *inputs]
        outputs = tuple(folder / name for name in REPORTS)
        existing = tuple(filter(os.path.isfile, files))
        items.append(Item(key, existing, str(cache), root, outputs, payload=(cache, folder)))
    return items
