"""`hpc evaluate`: errors of models on people that they were not trained on. A function for each sub-command."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from humanpose_cli.cli.evaluated_caches import (
    JOINT_REGRESSOR,
    TRAININGS,
    CacheFlags,
    Evaluation,
    JointFlags,
    PeopleFlags,
    PublishedFlags,
    PublishedPeopleFlags,
    SeveralTrainingFlags,
    TrainingFlags,
    evaluate_caches,
)
from humanpose_cli.cli.evaluated_fits import motion as motion
from humanpose_cli.cli.options import (
    BatchFlags,
    BatchSize,
    Device,
    Threads,
    argument,
    option,
    out_option,
)
from humanpose_cli.cli.refine_cells import RefineFlags
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.result import CommandResult

if TYPE_CHECKING:
    from humanpose_cli.lab.evaluate.people import EvaluationRun
    from humanpose_cli.lab.evaluate.report import Report


_WEIGHTS = option("--weights FILE|RUN", "The model to evaluate. Default: the shipped weights.")
_RUN_OF_DEFORM = option(
    "--weights FILE|RUN", "Needed without --ablation: a run of hpc train deform-and-learn.", show_default=False
)
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
_FIT_FILES = option(
    "--predictions FITS",
    "Evaluate these: a folder of fit files, or results of 4D-Humans (PHALP), WHAM, TRAM, CameraHMR or SAM 3D Body, "
    "which are named after their sequence or lie in a folder of that name. Default: fit now.",
    show_default=False,
)
_COMPARED = (
    "Two or more: folders of fit files, results of other programs, or plain .npz or .json files, as --predictions of "
    "hpc evaluate fit. The others are compared with the first."
)
_MATCH = option(
    "--match",
    "How --predictions and labelled people are matched: by the boxes of each image, or by tracks, each of which is one "
    "person in all of a sequence.",
)
_FIT_ABLATION = option(
    "--ablation",
    "Train the variants of one of Neural Body Fitting's tables and print it. Default: none.",
    TRAININGS,
)
_DEFORM_ABLATION = option(
    "--ablation",
    "Train the variants of rounds (the paper's Figure 2 and its control), losses or correspondence, and compare them. "
    "Default: evaluate --weights.",
    TRAININGS,
    show_default=False,
)
_REFINE_ABLATION = option(
    "--ablation",
    "inputs: train networks that lack an input. robustness: noisy textures and other light. Only inputs trains. "
    "Default: none.",
    TRAININGS,
)
_METHODS = option(
    "--methods NAME",
    "What draws the pairs: copy, mesh, pasted, mesh-input or warp3d, which alone takes a third of the time; may be "
    "repeated. Default: all.",
    show_default=False,
)
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
_OUT = out_option("--out FOLDER", "Folder for report.md, report.json and images.")
Out = Annotated[Path, _OUT]
DEFAULT_OUT = Path("hpc-out/evaluate")
_OF_JOINTS = ("joints", "root", "regressor", "smplx_to_smpl")  # options of which errors are taken
_LPIPS_WEIGHTS = ("imagenet-alexnet", "lpips-alex")


@dataclass(frozen=True)
class FitFlags:
    """Which bodies are evaluated, as one parameter."""

    method: Annotated[Literal["auto", "keypoints", "nbf", "deform-and-learn"], _METHOD] = "auto"
    detector: Annotated[Literal["stored", "boxes", "auto", "thorough", "fast"] | None, _DETECTOR] = None
    crops: Annotated[Literal["labels", "segmenter"] | None, _CROPS] = None
    predictions: Annotated[Path | None, _PREDICTIONS] = None
    match: Annotated[Literal["boxes", "tracks"], _MATCH] = "boxes"


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
    *,
    trainings: TrainingFlags,
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> CommandResult:
    """Evaluate bodies: of hpc fit, of a network alone, or of fit files.

    Prints tables, beside papers' figures where these are of the same split and joints, and writes a report with images:
    some of each quartile of the errors, and the worst. The same command continues an interrupted ablation; --set
    changes what its trainings share, such as --set network.learning_rate=1e-4, --set loop.steps=2000, --set
    segmenter_loop.epochs=5 or --set weights.points3d=10. A cache of --data is evaluated anew every time; of those of
    --items, only what is not done.
    """
    alternatives = {"--crops": fits.crops, "--predictions": fits.predictions, "--ablation": ablation}
    sources = [name for name, value in alternatives.items() if value is not None]
    if len(sources) > 1:
        raise UsageError(sources[1], f"cannot be given together with {sources[0]}")
    if sources:
        _refuse(session, "method", "detector", only="is for fits to images", remedy="leave it out")
    if sources and fits.predictions is None:
        only = "is for fits to images and predictions"
        _refuse(session, *_OF_JOINTS, only=only, remedy="leave it out")
    if fits.predictions is None:
        _refuse(session, "match", only="is for --predictions")
    _check_training(session, trains=ablation is not None)

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.fitting.options import FitOptions, NetworkOptions
        from humanpose_cli.lab.evaluate.bodies import (
            evaluate_fits,
            evaluate_predictions,
            has_detections,
        )
        from humanpose_cli.lab.evaluate.crops import evaluate_crops
        from humanpose_cli.lab.evaluate.registry import ABLATIONS

        if ablation is not None:
            return trainings.evaluate(session, ABLATIONS[f"fit {ablation}"], run)
        if fits.predictions is not None:
            return evaluate_predictions(run, fits.predictions, match=fits.match)
        network = NetworkOptions(weights or "", segmenter or "")
        if fits.crops is not None:
            return evaluate_crops(run, network, fits.crops, batch_size=batch_size or 32)
        detector = fits.detector or ("stored" if has_detections(run.selection) else "auto")
        if fits.detector is None and detector == "auto":
            session.reporter.info(f"{run.selection.data} holds no detections: people are detected, as by hpc fit")
        options = FitOptions(people.body, method=fits.method, network=network)
        return evaluate_fits(run, options, detections=detector, threads=threads)

    options = {"fits": asdict(fits), "weights": weights, "segmenter": segmenter, "ablation": ablation}
    options |= trainings.options(session)
    paths = [] if fits.predictions is None else [fits.predictions]
    return evaluate_caches(session, flags, Evaluation("fit", people, report, options, paths), out, device)


@command(
    examples=(
        "hpc evaluate compare fits/a fits/b --data emdb --protocol emdb1-camerahmr --body smpl:SMPL_NEUTRAL.pkl",
        "hpc evaluate compare ours.json theirs.json --data people --out comparison",
    )
)
def compare(
    session: Session,
    flags: BatchFlags,
    people: JointFlags,
    predictions: Annotated[list[Path], argument("FITS...", _COMPARED)],
    match: Annotated[Literal["boxes", "tracks"], _MATCH] = "boxes",
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
) -> CommandResult:
    """Compare two or more sets of fits on the same people, pair by pair.

    Prints the errors of each over the people that all of them found, and the mean difference of each from the first,
    with intervals over sequences, subjects or people; writes a report with a plot of the differences.
    """

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.lab.evaluate.comparison import compare_predictions

        return compare_predictions(run, predictions, match=match)

    options = {"predictions": [str(path) for path in predictions], "match": match}
    evaluation = Evaluation("compare", people, report, options, predictions)
    return evaluate_caches(session, flags, evaluation, out, device)


@command(examples=("hpc evaluate keypoints --data coco --limit 200",))
def keypoints(
    session: Session,
    flags: BatchFlags,
    people: PublishedFlags,
    method: Annotated[Literal["auto", "keypoints", "nbf", "deform-and-learn"], _METHOD] = "auto",
    detector: Annotated[Literal["stored", "auto", "thorough", "fast"], _KEYPOINT_DETECTOR] = "auto",
    predictions: Annotated[Path | None, _FIT_FILES] = None,
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

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.fitting.options import FitOptions, NetworkOptions
        from humanpose_cli.lab.evaluate.keypoints import evaluate_keypoints

        options = FitOptions(people.body, method=method, network=NetworkOptions(weights or "", segmenter or ""))
        return evaluate_keypoints(run, options, detections=detector, predictions=predictions, threads=threads)

    options: dict[str, Any] = {"method": method, "detector": detector, "predictions": predictions}
    options |= {"weights": weights, "segmenter": segmenter}
    paths = [] if predictions is None else [predictions]
    return evaluate_caches(session, flags, Evaluation("keypoints", people, report, options, paths), out, device)


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

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.lab.evaluate.segmenter import evaluate_segmenter

        return evaluate_segmenter(run, weights or "", batch_size=batch_size or 16)

    evaluation = Evaluation("segmenter", people, report, {"weights": weights})
    return evaluate_caches(session, flags, evaluation, out, device)


@command(
    examples=(
        "hpc evaluate repose --data pairs --limit 100",
        "hpc evaluate repose --data pairs --weights runs/warp3d --size 256",
        "hpc evaluate repose --data iper --protocol iper-random-pairs --weights runs/warp3d --lpips",
    )
)
def repose(
    session: Session,
    flags: BatchFlags,
    people: PublishedFlags,
    weights: Annotated[str | None, _WEIGHTS] = None,
    perceptual: Annotated[str | None, _PERCEPTUAL] = None,
    lpips: Annotated[bool, _LPIPS] = False,
    pose: Annotated[bool, _POSE] = True,
    size: Annotated[int | None, _SIZE] = None,
    full: Annotated[bool, _FULL_IMAGES] = False,
    methods: Annotated[list[str] | None, _METHODS] = None,
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
    threads: Threads = None,
) -> CommandResult:
    """Evaluate reposed images: by a network, by the mesh, and by copying the input.

    All methods draw the same pairs; the report shows some of them. Processes with --shard divide the pairs of a cache;
    the same command without --shard then reports on all.
    """

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.lab.evaluate.repose import evaluate_reposing

        return evaluate_reposing(
            run,
            weights or "",
            perceptual=perceptual or "auto",
            lpips=_LPIPS_WEIGHTS if lpips else None,
            pose=pose,
            size=size or 0,
            full_images=full,
            only=methods or (),
        )

    options = {"weights": weights, "perceptual": perceptual, "lpips": lpips, "pose": pose, "size": size, "whole": full}
    evaluation = Evaluation("repose", people, report, {**options, "methods": methods}, divides=True)
    return evaluate_caches(session, flags, evaluation, out, device)


@command(tunes=True, examples=("hpc evaluate warping --data pairs --seeds 2",))
def warping(
    session: Session,
    flags: BatchFlags,
    people: CacheFlags,
    trainings: SeveralTrainingFlags,
    pose: Annotated[bool, _POSE] = True,
    full: Annotated[bool, _FULL_IMAGES] = False,
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
    threads: Threads = None,
) -> CommandResult:
    """Train and evaluate warp3d in two and three dimensions: Table 1 of its paper.

    The same command continues an interrupted run; --set changes what the trainings share, such as --set
    network.generator.depth=16 or --set loop.steps=2000. --shard divides the pairs as in hpc evaluate repose, once the
    networks are trained (--runs).
    """

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.lab.evaluate.warping import warping_ablation

        return trainings.evaluate(session, warping_ablation(pose=pose, full_images=full), run)

    options = {"pose": pose, "whole": full, **trainings.options(session)}
    evaluation = Evaluation("warping", people, report, options, divides=True)
    return evaluate_caches(session, flags, evaluation, out, device)


@command(
    tunes=True,
    examples=(
        "hpc evaluate refine --data clips --base keypoints",
        "hpc evaluate refine --data clips --correspondence flow --no-keypoints --prior gmm:gmm_08.pkl",
    ),
)
def refine(
    session: Session,
    flags: BatchFlags,
    people: JointFlags,
    refinements: RefineFlags,
    ablation: Annotated[Literal["inputs", "robustness"] | None, _REFINE_ABLATION] = None,
    *,
    trainings: TrainingFlags,
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
    threads: Threads = None,
) -> CommandResult:
    """Evaluate refinement: fits of clips before and after.

    A table for each kind of initial fit, with a row for each correspondence and prior, and a page of its first clip
    beside the truth. With --ablation inputs, the same
    command continues interrupted trainings, and --set changes what these share, such as --set loop.steps=2000.
    """
    _check_training(session, trains=ablation == "inputs")
    if ablation and refinements.correspondence == "truth":
        raise UsageError(
            "correspondence",
            "is an upper bound",
            got=f"truth with --ablation {ablation}",
            remedy="leave out one of them",
        )
    if ablation is not None:
        _refuse(session, *_OF_JOINTS, only="is not for --ablation", remedy="leave it out")
    files = refinements.files()

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.lab.evaluate.refine import RefineSelection, evaluate_refinement, evaluate_robustness
        from humanpose_cli.lab.evaluate.registry import ABLATIONS

        if ablation == "inputs":
            return trainings.evaluate(session, ABLATIONS["refine inputs"], run)
        selection = RefineSelection(**{**vars(refinements), "weights": refinements.weights or ""})
        evaluate = evaluate_robustness if ablation == "robustness" else evaluate_refinement
        return evaluate(run, selection, threads=threads)

    options = {**asdict(refinements), "ablation": ablation, **trainings.options(session)}
    return evaluate_caches(session, flags, Evaluation("refine", people, report, options, files), out, device)


@command(
    tunes=True,
    examples=(
        "hpc evaluate deform-and-learn --data people --weights runs/deform",
        "hpc evaluate deform-and-learn --data people --ablation rounds",
    ),
)
def deform_and_learn(
    session: Session,
    flags: BatchFlags,
    people: PublishedPeopleFlags,
    weights: Annotated[str | None, _RUN_OF_DEFORM] = None,
    regressor: Annotated[Path | None, JOINT_REGRESSOR] = None,
    ablation: Annotated[Literal["rounds", "losses", "correspondence"] | None, _DEFORM_ABLATION] = None,
    *,
    trainings: TrainingFlags,
    out: Out = DEFAULT_OUT,
    device: Device = "auto",
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> CommandResult:
    """Evaluate a network of deform-and-learn, at the size of a canonical skeleton.

    --body is the body that the network was trained with. The report shows people of each quartile of the errors, and
    the worst, before and after the refinement of hpc fit if the cache has detections. The same command continues an
    interrupted ablation, which is evaluated on the people that its trainings hold out; --set changes what these share,
    such as --set network.rounds=3 or --set loop.epochs=3.
    """
    _check_training(session, trains=ablation is not None)
    if ablation is not None:
        remedy = "--set network.held_out and --set network.visible choose people of an ablation"
        of_weights = ("weights", "regressor", "split", "limit", "visible")
        _refuse(session, *of_weights, only="is not for --ablation", remedy=remedy)

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.lab.evaluate.deform_and_learn import evaluate_regressor
        from humanpose_cli.lab.evaluate.registry import ABLATIONS

        if ablation is not None:
            return trainings.evaluate(session, ABLATIONS[f"deform-and-learn {ablation}"], run)
        selection = replace(run.selection, regressor=regressor)
        return evaluate_regressor(replace(run, selection=selection), weights or "", batch_size=batch_size or 16)

    options = {"weights": weights, "regressor": regressor, "ablation": ablation, **trainings.options(session)}
    evaluation = Evaluation("deform-and-learn", people, report, options)
    return evaluate_caches(session, flags, evaluation, out, device)


def _refuse(session: Session, *names: str, only: str, remedy: str = "") -> None:
    """Refuse options on the command line that do not belong to what is evaluated."""
    flags = {"regressor": "joint-regressor", "smplx_to_smpl": "smplx-to-smpl"}
    for name in sorted(session.on_command_line.intersection(names)):
        raise UsageError(f"--{flags.get(name, name)}", only, remedy=remedy)


def _check_training(session: Session, *, trains: bool) -> None:
    """Refuse options and settings of trainings if nothing is trained."""
    if trains:
        return
    if session.settings:
        setting, remedy = next(iter(session.settings)), "--ablation trains networks that can be set"
        raise UsageError(f"setting {setting}", "is not for this", remedy=remedy)
    _refuse(session, "preset", "seeds", "runs", only="is for --ablation")
