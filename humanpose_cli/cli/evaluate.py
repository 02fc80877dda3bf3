"""`hpc evaluate`: errors of models on held-out people. Each sub-command is a function.

Flags choose what is evaluated; `--set` changes details of the evaluation and of trainings.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from humanpose_cli.body.model_files import prior_file
from humanpose_cli.cli.evaluated_caches import (
    BodyFlags,
    CacheFlags,
    Evaluation,
    TrainingFlags,
    ablation_option,
    evaluate_caches,
    tuned,
)
from humanpose_cli.cli.options import (
    BatchFlags,
    BatchSize,
    BodyOfFits,
    DensePose,
    DensePoseCharts,
    FitFiles,
    PersonTexture,
    argument,
    option,
    out_option,
)
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.errors import HpcError, UsageError
from humanpose_cli.core.result import CommandResult
from humanpose_cli.fitting.options import FitOptions, NetworkOptions

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item
    from humanpose_cli.lab.evaluate.people import EvaluationRun
    from humanpose_cli.lab.evaluate.report import Report


_WEIGHTS = option("--weights FILE|RUN", "Model to evaluate. Default: the shipped weights.")
_METHOD = option("--method", "How bodies are fitted, as in hpc fit.")
_DETECTOR = option(
    "--detector",
    "Detections: stored (in the cache), boxes (our networks on labelled boxes), or a search as in hpc fit. "
    "Default: stored if available, else auto.",
)
_CROPS = option(
    "--crops",
    "Evaluate the network alone, on crops with body parts from labels or a segmenter. Default: evaluate fits.",
)
_PREDICTIONS = option(
    "--predictions FITS",
    "Fits to evaluate: a folder of fit files, results of other programs, or a plain .npz or .json. Default: fit now.",
)
_COMPARED = (
    "Two or more folders of fit files, results of other programs, or .npz or .json files; all are compared with "
    "the first."
)
_FIT_ABLATION = ablation_option(
    "Train and compare the variants of a table of Neural Body Fitting or (deform-) of deform-and-learn."
)
_REPOSE_ABLATION = ablation_option("Train warp3d in two and three dimensions and compare them (warping).")
_REFINE_ABLATION = ablation_option(
    "Train networks that lack an input (inputs), or compare on noisy textures and other light (robustness, no "
    "training)."
)
_SIZE = option("--size N", "Side of the compared crops in pixels. Default: the network's.", min=32)
_REFINER = option("--weights FILE|RUN", "Displacement network. Default: the shipped one.")
_CORRESPONDENCE = option(
    "--correspondence",
    "Compare only this correspondence; densepose needs --densepose or a cache with surface points. Default: all "
    "that are available.",
)
_PRIOR = option("--prior none|pose|gmm:FILE", "Compare only this prior, as in hpc refine. Default: none and pose.")
_BASE_FITS = option(
    "--predictions FITS",
    "Fits to refine: a folder of fit files or results of other programs. Default: our fits, and the truth with errors.",
)
_OF_IMAGES = ("pose", "full_images")  # measures that an ablation has, too


@dataclass(frozen=True)
class FitFlags:
    """Options of the fits that are evaluated."""

    method: Annotated[Literal["auto", "keypoints", "nbf", "deform-and-learn"], _METHOD] = "auto"
    detector: Annotated[Literal["stored", "boxes", "auto", "thorough", "fast"] | None, _DETECTOR] = None
    crops: Annotated[Literal["labels", "segmenter"] | None, _CROPS] = None
    predictions: Annotated[Path | None, _PREDICTIONS] = None
    weights: Annotated[str | None, _WEIGHTS] = None


@dataclass(frozen=True)
class RefineFlags:
    """Options of the refinements that are compared; arguments of `RefineSelection`."""

    weights: Annotated[str | None, _REFINER] = None
    predictions: Annotated[Path | None, _BASE_FITS] = None
    correspondence: Annotated[Literal["network", "flow", "densepose", "keypoints"] | None, _CORRESPONDENCE] = None
    densepose: DensePose = None
    charts: DensePoseCharts = None
    prior: Annotated[str | None, _PRIOR] = None
    texture: PersonTexture = None


@dataclass(frozen=True)
class MatchingOptions:
    """How predictions are matched with labelled people.

    Attributes:
        match: "boxes" matches in each image; "tracks" matches each track with one person in the complete sequence.
    """

    match: Literal["boxes", "tracks"] = "boxes"


@dataclass(frozen=True)
class EvaluatedFitsOptions(MatchingOptions):
    """How predictions are matched, and how people are fitted without predictions.

    Attributes:
        hands: Whether fits have hands.
        segmenter: The segmenter for networks that take body parts, a file or a run; "" is the shipped one.
    """

    hands: bool = True
    segmenter: str = ""


@dataclass(frozen=True)
class ReposingMeasures:
    """What is measured on reposed images.

    Attributes:
        methods: Methods that draw the pairs: copy, mesh, pasted, warp3d; () for all.
        perceptual: Network whose features measure how similar images look: a file, a run, a name of hpc weights
            list, pixels, or auto, which is imagenet-vgg19 if it is available, else the segmenter.
        lpips: Whether to measure LPIPS, with the weights imagenet-alexnet and lpips-alex.
        pose: Whether to measure the pose by fitting the new images, which takes most of the time.
        full_images: Whether to compare complete images, as in papers, instead of crops of the person.
    """

    methods: tuple[str, ...] = ()
    perceptual: str = "auto"
    lpips: bool = False
    pose: bool = True
    full_images: bool = False


@command(
    tunes=True,
    usual="--data --out --predictions --weights --method --protocol --split --limit --joints --body --crops "
    "--ablation --detector --device",
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
    flags: CacheFlags,
    bodies: BodyFlags,
    fits: FitFlags,
    ablation: Annotated[
        Literal[
            "inputs", "segmenters", "losses", "supervision", "deform-rounds", "deform-losses", "deform-correspondence"
        ]
        | None,
        _FIT_ABLATION,
    ] = None,
    *,
    trainings: TrainingFlags,
    batch_size: BatchSize = None,
) -> CommandResult:
    """Evaluate bodies: of hpc fit, of a network alone, or of fit files.

    Prints tables of errors and writes a report with images.

    Tables show papers' figures for the same split and joints. The report shows people of each quartile of the errors,
    and the worst. With --crops, networks of deform-and-learn are evaluated at the size of a canonical skeleton; --body
    is the body that they were trained with.

    The same command continues an interrupted ablation; --set changes what its trainings share, such as --set
    network.learning_rate=1e-4, --set loop.steps=2000, --set segmenter_loop.epochs=5 or --set weights.points3d=10.
    Otherwise --set sets visible=SHARE (leaves out people with fewer visible joints), root=pelvis, hips or none,
    smplx_to_smpl=FILE (a matrix such as smplx2smpl.pkl of WHAM), match=tracks (a track of --predictions is one
    person), hands=false, or segmenter=RUN.
    """
    network_of_deform = fits.crops is not None and _is_of_deform_and_learn(fits.weights)
    _check_source(session, fits, ablation, takes_regressor=network_of_deform)
    _check_trainings(session, trains=ablation is not None)

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.lab.evaluate.crops import evaluate_crops
        from humanpose_cli.lab.evaluate.deform_and_learn import evaluate_regressor

        if ablation is not None:
            return trainings.evaluate(session, f"fit {ablation}", run)
        matching = tuned(session, EvaluatedFitsOptions())
        if network_of_deform:
            return evaluate_regressor(run, fits.weights or "", batch_size=batch_size or 16)
        if fits.crops is not None:
            network = NetworkOptions(fits.weights or "", matching.segmenter)
            return evaluate_crops(run, network, fits.crops, batch_size=batch_size or 32)
        return _report_on_fits(session, run, flags, bodies, fits, matching)

    options = {**asdict(fits), "ablation": ablation, **asdict(trainings)}
    paths = [] if fits.predictions is None else [fits.predictions]
    return evaluate_caches(session, flags, Evaluation("fit", report, options, bodies, paths))


@command(
    columns=(
        ("people", "people", "Number of people who move in at least three frames."),
        ("foot_slide_cm_s", "slide cm/s", "Speed of the point of the feet that should rest, cm/s."),
        ("below_ground_mm", "below mm", "Distance of the lowest point of the feet below the floor, mm."),
        ("acceleration_m_s2", "acc. m/s²", "Acceleration of the joints, m/s²."),
        ("size_drift_percent", "size drift %", "Range of the body's size divided by its median, %."),
        ("flights", "flights", "Number of times that someone is in the air."),
        ("flight_m_s2", "fall m/s²", "Acceleration of the centre of mass in the air, m/s²; 9.81 is right."),
    ),
    usual="--out --body",
    examples=(
        "hpc evaluate motion clip.mp4.fit.npz",
        "hpc evaluate motion hpc-out/fit --json",
        "hpc evaluate motion wham-results --body smpl:SMPL_NEUTRAL.pkl",
    ),
)
def motion(
    session: Session,
    flags: BatchFlags,
    fits: FitFiles = None,
    body: BodyOfFits = "default",
    out: Annotated[Path, out_option("--out FOLDER", "Folder for NAME.motion.json of each fit.")] = Path(
        "hpc-out/evaluate"
    ),
) -> CommandResult:
    """Evaluate motion without truth: feet, floor, accelerations and sizes.

    Finds wrong camera paths, sliding or sinking feet, trembling bodies and people who change their size.

    Figures are means over the people of each fit file; NAME.motion.json holds the figures of each person. Wrong poses
    that move well are not noticed.
    """
    paths = flags.fits(fits)

    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.fitting.fit_reading import read_fits
    from humanpose_cli.fitting.options import body_identity
    from humanpose_cli.lab.evaluate.motion import motion_document
    from humanpose_cli.outputs.atomic import ensure_folder, write_json
    from humanpose_cli.outputs.output_names import FIT_SUFFIX
    from humanpose_cli.refining.items import files_of_fit, fit_files

    def work(item: Item) -> Outcome:
        document = motion_document(read_fits(item.payload, body), item.name)
        ensure_folder(item.outputs[0].parent)
        write_json(item.outputs[0], document)
        return Outcome(item.outputs, document)

    items = []
    for name, path, problem in fit_files(paths):
        outputs = (out / f"{name.removesuffix(FIT_SUFFIX)}.motion.json",)
        files = files_of_fit(path, ())
        items.append(Item(name, files, str(path), path.parent, outputs, payload=path, error=problem))
    return flags.run(session, items, work, out, {"body": body_identity(body)})


@command(
    tunes=True,
    usual="--data --out --protocol --split --limit --joints --body --model",
    examples=(
        "hpc evaluate compare fits/a fits/b --data emdb --protocol emdb1-camerahmr --body smpl:SMPL_NEUTRAL.pkl",
        "hpc evaluate compare ours.json theirs.json --data people --out comparison",
    ),
)
def compare(
    session: Session,
    flags: CacheFlags,
    bodies: BodyFlags,
    predictions: Annotated[list[Path], argument("FITS...", _COMPARED)],
) -> CommandResult:
    """Compare two or more sets of fits on the same people, pair by pair.

    Prints the errors over the people that all sets contain, and each set's mean difference from the first.

    Differences have intervals over sequences, subjects or people; the report plots them. --set has the same settings
    as for hpc evaluate fit.
    """
    matching = tuned(session, MatchingOptions())

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.lab.evaluate.comparison import compare_predictions

        return compare_predictions(run, predictions, match=matching.match)

    options = {"predictions": [str(path) for path in predictions]}
    return evaluate_caches(session, flags, Evaluation("compare", report, options, bodies, predictions))


@command(
    tunes=True,
    usual="--data --out --weights --protocol --split --limit --batch-size --device",
    examples=("hpc evaluate segmenter --data people",),
)
def segmenter(
    session: Session, flags: CacheFlags, weights: Annotated[str | None, _WEIGHTS] = None, batch_size: BatchSize = None
) -> CommandResult:
    """Evaluate a segmenter: IoU and F1 of the body parts.

    The report shows people of each quartile of the IoU, and the worst.

    --set visible=SHARE leaves out people with fewer visible joints.
    """
    _check_trainings(session, trains=False)

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.lab.evaluate.segmenter import evaluate_segmenter

        return evaluate_segmenter(run, weights or "", batch_size=batch_size or 16)

    return evaluate_caches(session, flags, Evaluation("segmenter", report, {"weights": weights}))


@command(
    tunes=True,
    usual="--data --out --weights --size --protocol --split --limit --ablation --device",
    examples=(
        "hpc evaluate repose --data pairs --limit 100",
        "hpc evaluate repose --data pairs --weights runs/warp3d --size 256",
        "hpc evaluate repose --data iper --protocol iper-random-pairs --weights runs/warp3d --set lpips=true",
        "hpc evaluate repose --data pairs --ablation warping --seeds 3",
    ),
)
def repose(
    session: Session,
    flags: CacheFlags,
    weights: Annotated[str | None, _WEIGHTS] = None,
    size: Annotated[int | None, _SIZE] = None,
    ablation: Annotated[Literal["warping"] | None, _REPOSE_ABLATION] = None,
    *,
    trainings: TrainingFlags,
) -> CommandResult:
    """Evaluate reposed images: by a network, by the mesh, and by copying the input.

    All methods draw the same pairs; the report shows some of them.

    Processes with --shard divide the pairs of a cache; the same command without --shard then reports on all. For an
    ablation they do so once its networks are trained (--runs); the same command continues an interrupted ablation.

    --set sets lpips=true (after hpc weights fetch imagenet-alexnet lpips-alex), pose=false (the pose takes most of the
    time), full_images=true (complete images, as in papers' figures, with --size 256), methods=copy,mesh,pasted,warp3d
    (or some of them; warp3d alone takes a third of the time), perceptual=WEIGHTS (of the network that measures how
    similar images look), and what the trainings share, such as network.generator.depth=16 or loop.steps=2000.
    """
    _check_trainings(session, trains=ablation is not None)
    if ablation is not None:
        excluded = ("size", "weights", "lpips", "methods", "perceptual")
        session.refuse(excluded, "cannot be combined with --ablation")
        measures = session.tune(ReposingMeasures(), _OF_IMAGES.__contains__)
    else:
        measures = tuned(session, ReposingMeasures())

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.lab.evaluate.repose import evaluate_reposing

        if ablation is not None:
            of_images = {name: getattr(measures, name) for name in _OF_IMAGES}
            return trainings.evaluate(session, "repose warping", run, seeds=2, **of_images)
        return evaluate_reposing(run, weights or "", size=size or 0, **vars(measures))

    options = {"weights": weights, "size": size, "ablation": ablation, **asdict(trainings)}
    return evaluate_caches(session, flags, Evaluation("repose", report, options, divides=True))


@command(
    tunes=True,
    usual="--data --out --weights --predictions --correspondence --prior --densepose --protocol --limit "
    "--joints --body --texture --ablation --device",
    examples=(
        "hpc evaluate refine --data clips --set base=keypoints",
        "hpc evaluate refine --data clips --correspondence flow --set keypoints=false --prior gmm:gmm_08.pkl",
    ),
)
def refine(
    session: Session,
    flags: CacheFlags,
    bodies: BodyFlags,
    refinements: RefineFlags,
    ablation: Annotated[Literal["inputs", "robustness"] | None, _REFINE_ABLATION] = None,
    *,
    trainings: TrainingFlags,
) -> CommandResult:
    """Evaluate refinement: fits of clips before and after.

    Prints a table for each kind of initial fit, with a row for each correspondence and prior.

    --set chooses: base=keypoints, nbf, noise (the truth with
    an estimator's errors), truth+0.02, truth+0.05 or truth+0.08 (radians at every joint); keypoints=true or false
    (correspondences with or without keypoints); refine_preset=paper (as --preset of hpc refine); visible, root and
    smplx_to_smpl as for hpc evaluate fit. With --ablation inputs, the same command continues interrupted trainings, and
    --set changes what these share, such as --set loop.steps=2000.
    """
    trains = ablation == "inputs"
    _check_trainings(session, trains=trains)
    if ablation is not None:
        session.refuse(("joints", "regressor", "root", "smplx_to_smpl"), "cannot be combined with --ablation")
    prior = None if refinements.prior is None else prior_file(refinements.prior)
    files = [refinements.predictions, refinements.densepose, refinements.charts, refinements.texture, prior]

    def report(run: EvaluationRun) -> Report:
        from humanpose_cli.lab.evaluate.refine import RefineSelection, evaluate_refinement, evaluate_robustness

        if trains:
            return trainings.evaluate(session, "refine inputs", run)
        flags_of_selection = {**vars(refinements), "weights": refinements.weights or ""}
        selection = tuned(session, RefineSelection(**flags_of_selection))
        evaluate = evaluate_robustness if ablation == "robustness" else evaluate_refinement
        return evaluate(run, selection, threads=flags.threads)

    options = {**asdict(refinements), "ablation": ablation, **asdict(trainings)}
    inputs = [path for path in files if path is not None]
    return evaluate_caches(session, flags, Evaluation("refine", report, options, bodies, inputs))


def _check_source(session: Session, fits: FitFlags, ablation: str | None, *, takes_regressor: bool) -> None:
    """Refuse options that do not belong to the source of the bodies."""
    alternatives = {"--crops": fits.crops, "--predictions": fits.predictions, "--ablation": ablation}
    sources = [name for name, value in alternatives.items() if value is not None]
    if len(sources) > 1:
        raise UsageError(sources[1], f"cannot be combined with {sources[0]}")
    if sources:
        session.refuse(("detector", "method"), "applies only to fits to images")
    if fits.predictions is None:
        session.refuse(("match",), "has no effect without --predictions")
    if sources and fits.predictions is None:
        fit_options = ("joints", *(() if takes_regressor else ("regressor",)), "root", "smplx_to_smpl")
        session.refuse(fit_options, "applies only to fits to images and predictions")
    if ablation is not None and ablation.startswith("deform-"):
        remedy = "--set network.held_out and --set network.visible choose people of an ablation"
        session.refuse(("limit", "split", "weights", "visible"), "cannot be combined with --ablation", remedy)


def _report_on_fits(
    session: Session,
    run: EvaluationRun,
    flags: CacheFlags,
    bodies: BodyFlags,
    fits: FitFlags,
    matching: EvaluatedFitsOptions,
) -> Report:
    """Evaluate fits to images or in files."""
    from humanpose_cli.lab.evaluate.bodies import evaluate_fits, evaluate_predictions, has_detections

    if fits.predictions is not None:
        if not matching.hands:
            raise UsageError("setting hands", "has no effect beside --predictions")
        return evaluate_predictions(run, fits.predictions, match=matching.match)
    detector = fits.detector or ("stored" if has_detections(run.selection) else "auto")
    if fits.detector is None and detector == "auto":
        session.reporter.info(f"{run.selection.data} holds no detections: people are detected, as by hpc fit")
    network = NetworkOptions(fits.weights or "", matching.segmenter)
    options = FitOptions(bodies.body, method=fits.method, network=network, hands=matching.hands)
    return evaluate_fits(run, options, detections=detector, threads=flags.threads)


def _is_of_deform_and_learn(weights: str | None) -> bool:
    """Return whether weights belong to deform-and-learn; damaged files are reported when they are read."""
    from humanpose_cli.networks.weights import find_weights, read_header

    try:
        return weights is not None and read_header(find_weights(weights)).model == "deform-and-learn"
    except HpcError:
        return False


def _check_trainings(session: Session, *, trains: bool) -> None:
    """Refuse options of trainings if there are none."""
    if not trains:
        session.refuse(("preset", "runs", "seeds"), "has no effect without --ablation")
