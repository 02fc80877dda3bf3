"""`hpc evaluate`: errors of models on people that they were not trained on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from humanpose_cli.cli.options import (
    BatchFlags,
    BatchSize,
    Device,
    Threads,
    argument,
    body_option,
    option,
    out_option,
    use_threads,
)
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.device import resolve_device
from humanpose_cli.core.errors import HpcError, InterruptedRun, UsageError
from humanpose_cli.core.result import CommandResult, ResultTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.ledger import Entry
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.fitting.options import NetworkOptions
    from humanpose_cli.lab.evaluate.people import PeopleSelection
    from humanpose_cli.lab.evaluate.report import Report


What = Literal["segmenter", "fit", "keypoints", "repose", "refine", "deform-and-learn"]

_WHAT = argument(
    "segmenter|fit|keypoints|repose|refine|deform-and-learn",
    "segmenter: body parts of images. fit: bodies, of hpc fit, of a network alone or of fit files. "
    "keypoints: their joints in images with labelled ones, such as COCO's, by PCK and OKS. repose: "
    "images of pairs, by a network, by the mesh and by copying the input. refine: fits of clips before and after "
    "refinement. deform-and-learn: bodies of such a network, at the size of a canonical skeleton.",
)
_DATA = option(
    "--data CACHE",
    "Dataset cache of hpc preprocess. Needed; or several by --items, each with a report in a folder of its name.",
    show_default=False,
)
_PROTOCOL = option("--protocol NAME", "Protocol of the cache. Default: its usual one.")
_SPLIT = option("--split NAME", "Split to evaluate on. Default: test, else validation.")
_VISIBLE = option(
    "--visible SHARE", "Leave out people with less than this share of their joints visible.", min=0, max=1
)
_MODELS = option(
    "--model FILE",
    "SMPL model of one gender, for labels that are parameters of it; may be repeated. Default: none.",
)
_JOINTS = option(
    "--joints NAME",
    "With fit: joints that errors are of: smpl24, smpl24-mesh (by SMPL's own regressor), h36m14, h36m17 (by "
    "--joint-regressor), lsp14, mocap14 or mocap17 (measured ones). Default: measured ones where a data set has them, "
    "else smpl24.",
)
_ROOT = option(
    "--root pelvis|hips|none", "With fit: what is put on the truth's before distances are taken. Default: usual one."
)
_REGRESSOR = option(
    "--joint-regressor FILE", "With fit: J_regressor_h36m.npy, 17 x 6890, of SPIN or HMR 2.0. Default: none."
)
_LIMIT = option("--limit N", "People, pairs or, with refine, clips at most, spread evenly. Default: all.", min=1)
_WEIGHTS = option("--weights FILE|RUN", "The model to evaluate. Default: the shipped weights.")
_SEGMENTER = option("--segmenter FILE|RUN", "Segmenter for networks that take body parts. Default: shipped.")
_BODY = body_option("With fit: the body that is fitted, or that --predictions are of")
_METHOD = option("--method", "With fit: how bodies are fitted to the images, as in hpc fit.")
_DETECTOR = option(
    "--detector",
    "With fit and keypoints: the source of the detections. stored: the cache, made by hpc preprocess --detections. "
    "boxes, with fit: our networks on labelled boxes. Default: with fit stored where the cache has them, else auto.",
    show_default=False,
)
_CROPS = option(
    "--crops",
    "With fit: evaluate the network alone, on crops around the labelled people, with body parts from the labels "
    "or from a segmenter. Default: evaluate fits to images.",
)
_PREDICTIONS = option(
    "--predictions FITS",
    "With fit: evaluate these: a folder of fit files, results of 4D-Humans (PHALP), WHAM, TRAM, CameraHMR or SAM 3D "
    "Body, which are named after their sequence or lie in a folder of that name; or a plain .npz or .json, see "
    "docs/evaluation.md. Default: fit now.",
    show_default=False,
)
_MATCH = option(
    "--match",
    "With --predictions: who is who, by the boxes of each image, or by tracks, each of which is one person in all of a "
    "sequence.",
)
_ABLATION = option(
    "--ablation NAME",
    "Train the variants of one of the papers' tables and print it. With fit: inputs, segmenters, losses or "
    "supervision; with repose: warping; with refine: inputs, or robustness against noisy textures and other light, "
    "for which nothing is trained. Default: none.",
)
_PRESET = option("--preset ablation|paper", "With --ablation: trainings of minutes, or of days.")
_PERCEPTUAL = option(
    "--perceptual WEIGHTS",
    "With repose: network whose features measure how similar images look: a file, a run's folder, a name of hpc "
    "weights list, or pixels. Default: imagenet-vgg19 if it is here, else the segmenter.",
)
_LPIPS = option("--lpips", "With repose: LPIPS, from hpc weights fetch imagenet-alexnet lpips-alex.")
_POSE = option(
    "--pose/--no-pose", "With repose: measure the pose by fitting the new images, which takes most of the time."
)
_SIZE = option("--size N", "With repose: pixels of the crops that are compared. Default: the network's.", min=32)
_WHOLE = option(
    "--whole", "With repose: whole images, which papers' figures are of (--size 256). Default: crops about the person."
)
_BASE = option(
    "--base",
    "With refine: only these initial fits. noise: the truth with an estimator's errors; truth+A: with A radians at "
    "every joint. Default: all.",
)
_CORRESPONDENCE = option("--correspondence", "With refine: only this correspondence. Default: all that are at hand.")
_PRIOR = option("--prior", "With refine: only this prior. Default: both.")
_SEEDS = option("--seeds N", "With --ablation: trainings of each network. Default: 1, of warping 2.", min=1)
_OUT = out_option("--out FOLDER", "Folder for report.md, report.json and images.")
_OF_REPOSE = {"perceptual", "lpips", "pose", "size", "whole"}
_OF_JOINTS = {"joints", "root", "joint_regressor"}
_OF_REFINE = {"base", "correspondence", "prior"}
_ABLATIONS = {"repose": ("warping",), "refine": ("robustness", "inputs")}
_LPIPS_WEIGHTS = ("imagenet-alexnet", "lpips-alex")


@dataclass(frozen=True)
class PeopleFlags:
    """The people to evaluate on, as one parameter."""

    data: Annotated[Path | None, _DATA] = None
    protocol: Annotated[str | None, _PROTOCOL] = None
    split: Annotated[str | None, _SPLIT] = None
    visible: Annotated[float, _VISIBLE] = 0.0
    limit: Annotated[int | None, _LIMIT] = None
    body: Annotated[str, _BODY] = "default"
    model: Annotated[list[Path] | None, _MODELS] = None
    joints: Annotated[
        Literal["smpl24", "smpl24-mesh", "h36m14", "h36m17", "lsp14", "mocap14", "mocap17"] | None, _JOINTS
    ] = None
    root: Annotated[Literal["pelvis", "hips", "none"] | None, _ROOT] = None
    joint_regressor: Annotated[Path | None, _REGRESSOR] = None

    def of(self, cache: Path) -> PeopleSelection:
        """Those people of a cache."""
        from humanpose_cli.lab.evaluate.people import PeopleSelection

        return PeopleSelection(
            cache,
            self.protocol or "",
            self.split or "",
            self.visible,
            self.limit or 0,
            self.body,
            models=tuple(self.model or ()),
            joints=self.joints,
            root=self.root,
            regressor=self.joint_regressor,
        )


@dataclass(frozen=True)
class ReposeFlags:
    """How reposed images are measured, as one parameter."""

    perceptual: Annotated[str | None, _PERCEPTUAL] = None
    lpips: Annotated[bool, _LPIPS] = False
    pose: Annotated[bool, _POSE] = True
    size: Annotated[int | None, _SIZE] = None
    whole: Annotated[bool, _WHOLE] = False


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
    """Which refinements are compared, as one parameter."""

    base: Annotated[Literal["keypoints", "nbf", "noise", "truth+0.02", "truth+0.05", "truth+0.08"] | None, _BASE] = None
    correspondence: Annotated[Literal["network", "flow", "keypoints"] | None, _CORRESPONDENCE] = None
    prior: Annotated[Literal["none", "pose"] | None, _PRIOR] = None


@command(
    tunes=True,
    examples=(
        "hpc evaluate segmenter --data people",
        "hpc evaluate fit --data people --method nbf --out report",
        "hpc evaluate fit --data people --predictions hpc-out/fit",
        "hpc evaluate keypoints --data coco --limit 200",
        "hpc evaluate repose --data pairs --limit 100",
        "hpc evaluate refine --data clips --base keypoints",
        "hpc evaluate fit --items caches.txt --out reports",
    ),
)
def evaluate(
    session: Session,
    what: Annotated[What, _WHAT],
    flags: BatchFlags,
    selection: PeopleFlags,
    fits: FitFlags,
    images: ReposeFlags,
    refinements: RefineFlags,
    weights: Annotated[str | None, _WEIGHTS] = None,
    segmenter: Annotated[str | None, _SEGMENTER] = None,
    ablation: Annotated[str | None, _ABLATION] = None,
    variant: Annotated[str, _PRESET] = "ablation",
    seeds: Annotated[int | None, _SEEDS] = None,
    out: Annotated[Path, _OUT] = Path("hpc-out/evaluate"),
    device: Device = "auto",
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> CommandResult:
    """Evaluate models on people that they were not trained on.

    Prints tables, beside papers' figures where these are of the same split and joints, and writes a report with images:
    some of each quartile of the errors, and the worst. The same command continues an interrupted ablation; --set
    changes what its trainings share, such as --set network.learning_rate=1e-4, --set loop.steps=2000 or --set
    weights.points3d=10. A cache of --data is evaluated anew every time; of those of --items, only what is not done.
    """
    caches = [*([] if selection.data is None else [selection.data]), *map(Path, flags.listed())]
    if not caches:
        raise UsageError("--data", "is missing", expected="a dataset cache of hpc preprocess")
    _check(session, what, fits, ablation)
    use_threads(threads)

    from humanpose_cli.fitting.options import NetworkOptions
    from humanpose_cli.lab.evaluate.ablations import evaluate_ablation
    from humanpose_cli.lab.evaluate.deform_and_learn import evaluate_regressor
    from humanpose_cli.lab.evaluate.refine import RefineSelection, evaluate_refinement, evaluate_robustness
    from humanpose_cli.lab.evaluate.refine_inputs import evaluate_inputs
    from humanpose_cli.lab.evaluate.repose import evaluate_reposing
    from humanpose_cli.lab.evaluate.segmenter import evaluate_segmenter
    from humanpose_cli.lab.evaluate.warping import evaluate_warping

    whole = selection.of(caches[0])
    watch: dict[str, Any] = {"progress": session.reporter.step, "stop": lambda: session.stop.requested}
    network, on = NetworkOptions(weights or "", segmenter or ""), resolve_device(device)

    def report(cache: Path, out: Path) -> Report:
        people = replace(whole, data=cache)
        if what == "refine" and ablation == "inputs":
            return evaluate_inputs(people, variant, on, out, **watch, seeds=seeds or 1, tune=session.tune)
        if what == "refine":
            measure = evaluate_refinement if ablation is None else evaluate_robustness
            chosen = RefineSelection(**vars(refinements), weights=weights or "")
            return measure(people, chosen, on, **watch, threads=threads)
        if what == "repose" and ablation is not None:
            trained: dict[str, Any] = {"seeds": seeds or 2, "tune": session.tune}
            return evaluate_warping(people, variant, on, out, **watch, **trained, pose=images.pose, whole=images.whole)
        if what == "repose":
            return evaluate_reposing(
                people,
                weights or "",
                on,
                **watch,
                perceptual=images.perceptual or "auto",
                lpips=_LPIPS_WEIGHTS if images.lpips else None,
                pose=images.pose,
                size=images.size or 0,
                whole=images.whole,
            )
        if what in ("segmenter", "deform-and-learn"):
            alone = evaluate_segmenter if what == "segmenter" else evaluate_regressor
            return alone(people, weights or "", on, **watch, batch_size=batch_size or 16)
        if ablation is not None:
            trained = {"seeds": seeds or 1, "tune": session.tune}
            return evaluate_ablation(ablation, people, variant, on, out, **watch, **trained)
        return _of_bodies(session, what, people, fits, network, on, out, watch, batch_size, threads)

    options: dict[str, Any] = {
        "selection": {**asdict(selection), "data": None},
        "fits": asdict(fits),
        "images": asdict(images),
    }
    options |= {"what": what, "refinements": asdict(refinements), "ablation": ablation, "preset": variant}
    options |= {"seeds": seeds, "settings": dict(session.settings), "weights": weights, "segmenter": segmenter}
    return _evaluated(session, flags, caches, out, options, report)


def _of_bodies(
    session: Session,
    what: What,
    people: PeopleSelection,
    fits: FitFlags,
    network: NetworkOptions,
    device: str,
    out: Path,
    watch: dict[str, Any],
    batch_size: int | None,
    threads: int | None,
) -> Report:
    """Of fits to images, fit files or a network alone, in space or in the image."""
    from humanpose_cli.fitting.options import FitOptions
    from humanpose_cli.lab.evaluate.bodies import evaluate_crops, evaluate_fits, evaluate_predictions, has_detections
    from humanpose_cli.lab.evaluate.keypoints import evaluate_keypoints

    options = FitOptions(people.body, method=fits.method, network=network)
    if what == "keypoints":  # images are looked at anew unless a cache's detections are asked for
        given: dict[str, Any] = {"detections": fits.detector or "auto", "predictions": fits.predictions}
        return evaluate_keypoints(people, options, device, **watch, **given, threads=threads)
    if fits.predictions is not None:
        return evaluate_predictions(people, fits.predictions, people.body, **watch, match=fits.match)
    if fits.crops is not None:
        return evaluate_crops(people, network, fits.crops, device, out, batch_size=batch_size or 32)
    detector = fits.detector or ("stored" if has_detections(people) else "auto")
    if fits.detector is None and detector == "auto":
        session.reporter.info(f"{people.data} holds no detections: people are looked for, as by hpc fit")
    return evaluate_fits(people, options, device, **watch, detections=detector, threads=threads)


def _check(session: Session, what: What, fits: FitFlags, ablation: str | None) -> None:
    """UsageError for options that do not belong to what is evaluated."""
    chosen = {"--crops": fits.crops, "--predictions": fits.predictions, "--ablation": ablation}
    given = [name for name, value in chosen.items() if value is not None]
    if len(given) > 1:
        raise UsageError(given[1], f"cannot be given together with {given[0]}")
    if (
        (what in ("segmenter", "deform-and-learn") and given)
        or (what in _ABLATIONS and given not in ([], ["--ablation"]))
        or (what == "keypoints" and given not in ([], ["--predictions"]))
    ):
        raise UsageError(given[0], "is for fit", remedy="hpc evaluate fit")
    if what in _ABLATIONS and ablation not in (None, *_ABLATIONS[what]):
        raise UsageError("--ablation", "is not known", expected=" or ".join(_ABLATIONS[what]), got=str(ablation))
    _check_joints(session, fits, alone=what != "fit" or fits.crops is not None or ablation is not None)
    if what != "refine" and _OF_REFINE & session.given:
        raise UsageError(f"--{min(_OF_REFINE & session.given)}", "is for refine", remedy="hpc evaluate refine")
    for name in sorted(_OF_REPOSE & session.given):
        if what != "repose":
            raise UsageError(f"--{name}", "is for repose", remedy="hpc evaluate repose")
        if ablation is not None and name not in ("pose", "whole"):
            raise UsageError(f"--{name}", "cannot be given together with --ablation")
    others = {"method", "detector"} & session.given
    if others and (given or what not in ("fit", "keypoints")):
        raise UsageError(f"--{min(others)}", "is for fits to images", remedy="leave it out")
    if session.settings and ablation in (None, "robustness"):
        remedy = "--ablation trains networks that can be set"
        raise UsageError(f"setting {next(iter(session.settings))}", "is not for this", remedy=remedy)
    if ablation is None and {"variant", "seeds"} & session.given:
        raise UsageError("--preset" if "variant" in session.given else "--seeds", "is for --ablation")


def _check_joints(session: Session, fits: FitFlags, *, alone: bool) -> None:
    """UsageError for joints where no fits are evaluated, and for matching where no predictions are."""
    if "match" in session.given and fits.predictions is None:
        raise UsageError("--match", "is for --predictions")
    given = sorted(name.replace("_", "-") for name in _OF_JOINTS & session.given)
    if given and alone:
        raise UsageError(f"--{given[0]}", "is for fits to images and predictions", remedy="leave it out")


def _evaluated(
    session: Session,
    flags: BatchFlags,
    caches: Sequence[Path],
    out: Path,
    options: Mapping[str, Any],
    report: Callable[[Path, Path], Report],
) -> CommandResult:
    """A report on each cache; several are a batch, of which a rerun does what is left.

    options  all that decides the figures
    report   cache, folder → its report
    """
    from humanpose_cli.batch.ledger import commit_of_checkout
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.cli.render import json_values
    from humanpose_cli.lab.evaluate.report import read_metrics, write_report
    from humanpose_cli.version import __version__

    several = flags.items is not None
    items = _items(caches, out, options, several=several)
    made: dict[str, Report] = {}

    def work(item: Item) -> Outcome:
        cache, folder = item.payload
        try:
            made[item.name] = done = report(cache, folder)
        except InterruptedRun:  # which is no failure of this cache
            raise KeyboardInterrupt from None
        document = done.document()
        contents = {name: document[name] for name in ("metrics", "tables")}
        return Outcome(tuple(write_report(done, folder)), {"facts": document["facts"]}, contents)

    def recall(item: Item, entry: Entry) -> dict[str, Any]:
        return {"metrics": read_metrics(item.payload[1])}

    if not several:
        flags = replace(flags, resume=False, overwrite=True)
    session.stop.allow(15.0)
    recorded = json_values({**options, "version": __version__, "commit": commit_of_checkout()})
    result = flags.run(session, items, work, out, recorded, recall)
    tables = [
        ResultTable(f"{name}: {t.title}" if several else t.title, t.columns, t.texts(), t.notes)
        for name, done in made.items()
        for t in done.tables
    ]
    one = result.items[0].details if result.items and not several else {}
    extra = {**result.extra, **{name: one[name] for name in ("metrics", "tables") if name in one}}
    return replace(result, tables=tuple(tables), extra=extra)


def _items(caches: Sequence[Path], out: Path, options: Mapping[str, Any], *, several: bool) -> list[Item]:
    """An item for each cache, by its index, which holds the digests of its files, and by what is evaluated on it.

    several  whether each has a folder for its report
    """
    import os

    from humanpose_cli.batch.items import Item
    from humanpose_cli.lab.cache.schema import INDEX_NAME
    from humanpose_cli.lab.evaluate.report import REPORTS
    from humanpose_cli.networks.weights import find_weights

    own: list[Path] = []
    for given in filter(None, (options["weights"], options["segmenter"])):
        with suppress(HpcError):  # the evaluation will tell
            own.append(find_weights(given))
    predictions = options["fits"]["predictions"]
    if predictions is not None:
        own += sorted(path for path in (predictions, *predictions.rglob("*")) if path.is_file())
    whole = [Path(os.path.abspath(cache)) for cache in caches]
    root = Path(os.path.commonpath([cache.parent for cache in whole]))
    items = []
    for cache, path in zip(caches, whole, strict=True):
        key = path.relative_to(root).as_posix()
        folder = out / key if several else out
        files = [path / INDEX_NAME if os.path.isdir(path) else path, *own]
        outputs = tuple(folder / name for name in REPORTS)
        known = tuple(filter(os.path.isfile, files))
        items.append(Item(key, known, str(cache), root, outputs, payload=(cache, folder)))
    return items
