"""`hpc fit`: 3-D pose and shape of all people in images and videos."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from humanpose_cli.body.model_files import check_body, prior_file
from humanpose_cli.cli.options import (
    BatchFlags,
    BodyOption,
    ComputeFlags,
    DisplacementFlags,
    Focal,
    Frames,
    Inputs,
    Labels,
    OutOrFile,
    SideView,
    VideoCodecOption,
    of,
    option,
)
from humanpose_cli.cli.session import Session, command, counts
from humanpose_cli.cli.takes import TakeWork, ViewsFlags, find_takes, take_item
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.result import CommandResult
from humanpose_cli.fitting.options import (
    DetectorMode,
    EvidenceFiles,
    FitMethod,
    FitOptions,
    NetworkOptions,
    PeopleChoice,
    check_registration,
    fit_outputs,
    people_journal,
)
from humanpose_cli.io.sniffing import check_readable
from humanpose_cli.refining.options import RefineOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.ledger import Entry
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.fitting.fitter import Fitter
    from humanpose_cli.io.fit_files import FitRecord
    from humanpose_cli.refining.refiner import Refiner

_SEQUENCE = option(
    "--sequence/--independent",
    "Whether the images of a folder are one sequence. Default: one size and consecutive numbers are.",
    show_default=False,
)
_REFINE = option("--refine", "Move the bodies onto the pixels afterwards, as hpc refine does.")
_PRIOR = option("--prior none|pose|gmm:FILE|vposer:FILE", "With --refine: its pose prior, as in hpc refine.")
_ACCEPTED = "With --refine: how much of the refinement is kept because bodies align better so, 0 to 1."
_FAIL_IF_DOUBTFUL = option(
    "--fail-if-doubtful",
    "Count images and videos with a doubtful body as partly done, exit code 4. Their files are written all the same.",
)
_OVERLAY = option("--overlay/--no-overlay", "Draw the bodies over the images.")


@dataclass(frozen=True)
class EvidenceFlags(EvidenceFiles):
    """What the user's own programs found, as one parameter."""

    def check(self, method: str, *, refine: bool) -> None:
        """UsageError where they do not go together with other options, InputError for files that cannot be read."""
        check_registration(method, self.densepose, self.charts, refine=refine)
        for path in filter(None, vars(self).values()):
            check_readable(path)


@dataclass
class FitWork:
    """What a batch does with its items.

    drawn  how overlays are drawn, as of `Fit.save_overlay`
    """

    session: Session
    out: Path
    make: Callable[[], Fitter]
    drawn: Mapping[str, Any]
    fail_if_doubtful: bool = False
    refiner: Refiner | None = None
    displacement_frames: int = 100

    @cached_property
    def fitter(self) -> Fitter:
        """Made when there is something to fit: it takes a second to import, in which the networks load."""
        self.session.reporter.step(0, None, "loading models")
        return self.make()

    def prepare(self, coming: Sequence[Item]) -> Mapping[str, float]:
        """Look at items together; without one that can be read, no network is loaded."""
        readable = {item.key: item.payload for item in coming if item.error is None}
        if not readable:
            return {}
        seconds = self.fitter.prepare(list(readable.values()), self.session.reporter.step)
        return {key: seconds.get(source.path, 0.0) for key, source in readable.items()}

    def __call__(self, item: Item) -> Outcome:
        """Fit one, and refine it."""
        from humanpose_cli.batch.runner import Outcome
        from humanpose_cli.fitting.items import fit_item
        from humanpose_cli.fitting.records import record_summary

        made: dict[str, Any] = {**self.drawn, "progress": self.session.reporter.step}
        if self.refiner is None:
            fit, outputs = fit_item(self.fitter, item.payload, item.outputs, **made), item.outputs
            summary = record_summary(fit)
        else:
            from humanpose_cli.refining.items import fit_and_refine, refined_summary, refinement_hint

            made["displacement_frames"] = self.displacement_frames
            fit, outputs = fit_and_refine(self.fitter, self.refiner, item.payload, item.outputs, **made)
            summary = refined_summary(fit)
            self.session.reporter.info_once(refinement_hint(fit))
        if not len(fit):
            quick = {"fast", "auto"} if item.payload.is_sequence else {"fast"}
            remedy = "; `detector=thorough` searches longer" if self.fitter.options.detector in quick else ""
            self.session.reporter.info(f"{item.short}: no person was found{remedy}")
        if fit.focal_people is not None and (found := fit.focal_people.max(initial=0)) > 0:
            focal = fit.focal[fit.focal_people.argmax()]
            self.session.reporter.info(
                f"{item.short}: focal length {focal:,.0f} px, from the ground under {found} people"
            )
        if walks := fit.options.get("camera_walks"):
            walked = f"the camera walks in {len(walks)} of {fit.frame_count} frames; its path is not recovered"
            self.session.reporter.warn(f"{item.short}: {walked}: people's paths in the world are wrong")
        if left_out := summary.get("left_out"):
            people = "1 person" if left_out == 1 else f"{left_out} people"
            self.session.reporter.info(f"{item.short}: {people} below `min_confidence` left out")
        problem = f"doubtful: {summary['doubtful']}" if self.fail_if_doubtful and summary["doubtful"] else None
        return Outcome(outputs, summary, self.rows(fit), problem)

    def rows(self, fit: FitRecord) -> dict[str, Any]:
        """What only the JSON document says of an item: its rows, each with why it is doubtful, and detections without a
        body.
        """
        from humanpose_cli.fitting.doubt import row_doubts  # which needs no torch

        if not self.session.json:
            return {}
        rows = zip(fit.documents(), row_doubts(fit), strict=True)
        unfitted = [detection.document() for detection in fit.unfitted]
        described = {"rows": [{**row, "doubtful": doubt} for row, doubt in rows]}
        return {**described, "unfitted": unfitted} if unfitted else described

    def recall(self, item: Item, entry: Entry) -> dict[str, Any]:
        """The same of one that an earlier run has fitted."""
        from humanpose_cli.io.fit_files import read_fit  # which needs no torch

        return self.rows(read_fit(self.out / entry.outputs[0]))


@command(
    columns=(
        ("people", "people", "How many were found."),
        ("error_px", "2-D error (px)", "Median distance in pixels between fitted and detected joints.", True),
        ("confidence", "confidence", "Median share of a body's limb joints expected within 10 cm.", True),
        ("doubtful", "doubtful", "Why a body or which of its limbs may be wrong; the overlay marks it.", False, True),
        ("not_fitted", "not fitted", "Detections without a body, and why.", True, True, True),
        ("accepted", "accepted", _ACCEPTED, False, False, True),
        ("views", "views", "With --views: how many cameras were used.", False, False, True),
    ),
    tunes=True,
    cluster="array",
    brief=counts("people", "frames"),
    examples=(
        "hpc fit photo.jpg",
        "hpc fit clip.mp4 --people largest --frames 0:250",
        "hpc fit frames/ --refine",
        "hpc fit photos/ --out fits --overwrite",
        "hpc fit photo.jpg --method deform-and-learn --weights runs/deform --side-view",
        "hpc fit --items photos.txt --dry-run",
        "hpc fit photos/ --min-confidence 0.4 --fail-if-doubtful",
        "hpc fit photo.jpg -o photo.fit.npz --no-overlay --json",
        "hpc fit cam1.mp4 cam2.mp4 cam3.mp4 --views --height 1.78 --out take1",
    ),
)
def fit(
    session: Session,
    flags: BatchFlags,
    inputs: Inputs = None,
    method: Annotated[FitMethod, of(FitOptions, "method")] = "auto",
    weights: Annotated[str, of(NetworkOptions, "weights")] = "",
    segmenter: Annotated[str, of(NetworkOptions, "segmenter")] = "",
    people: Annotated[PeopleChoice, of(FitOptions, "people")] = "all",
    detector: Annotated[DetectorMode, of(FitOptions, "detector")] = "auto",
    body: BodyOption = "default",
    focal: Focal = None,
    min_confidence: Annotated[float, of(FitOptions, "min_confidence")] = 0.0,
    *,
    evidence: EvidenceFlags,
    sequence: Annotated[bool | None, _SEQUENCE] = None,
    refine: Annotated[bool, _REFINE] = False,
    prior: Annotated[str, _PRIOR] = "pose",
    displacements: DisplacementFlags,
    views: ViewsFlags,
    fail_if_doubtful: Annotated[bool, _FAIL_IF_DOUBTFUL] = False,
    overlay: Annotated[bool, _OVERLAY] = True,
    labels: Labels = "ids",
    side_view: SideView = False,
    out: OutOrFile = Path("hpc-out/fit"),
    frames: Frames = None,
    video_codec: VideoCodecOption = "h264",
    compute: ComputeFlags,
) -> CommandResult:
    """Find everyone's 3-D pose and shape in images and videos.

    Writes a fit file (NAME.fit.npz) for each image or sequence, and an overlay: the bodies drawn over it, in
    videos with the sound. With --refine also the page and the textures that hpc refine writes. Of one input, --out may
    name the fit file.
    """
    from contextlib import ExitStack

    from humanpose_cli.batch.items import item_of
    from humanpose_cli.detect.runtime import begin_loading
    from humanpose_cli.io.frame_range import parse_range
    from humanpose_cli.io.images import IMAGE_SUFFIXES
    from humanpose_cli.io.video import VIDEO_SUFFIXES
    from humanpose_cli.networks.weights import find_weights

    if out.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and not out.is_dir():
        raise UsageError("out", "is no name of a fit", expected="a folder or NAME.npz", got=str(out))
    evidence.check(method, refine=refine)
    views.check()
    check_body(body)
    refinement = RefineOptions(prior=prior)
    prior_file(prior)
    takes = find_takes(session, flags, views, inputs or (), out, frames=parse_range(frames)) if views.views else []
    found = (
        ()
        if takes
        else flags.inputs(
            session, inputs or (), out, listed=flags.listed(), sequence=sequence, frames=parse_range(frames)
        )
    )
    network = NetworkOptions(weights, segmenter)
    options = session.tune(FitOptions(body, people, detector, focal, method, min_confidence, network), without="views")
    view_options = views.options(session)
    for name in filter(None, (weights, segmenter)):
        find_weights(name)  # now, for what reads them takes seconds to import
    items = [
        item_of(source, outputs, [people_journal(outputs[0])] if source.is_sequence else ())
        for source, outputs in ((source, fit_outputs(source, out, overlay=overlay)) for source in found)
    ]

    with ExitStack() as stack:
        refiner = None
        if refine:
            from humanpose_cli.refining.items import refinement_outputs
            from humanpose_cli.refining.refiner import Refiner

            saved = displacements.save_displacements
            more = [refinement_outputs(item.outputs[0], page=True, displacements=saved) for item in items]
            items = [replace(item, outputs=(*item.outputs, *new)) for item, new in zip(items, more, strict=True)]
            refiner = stack.enter_context(
                Refiner(refinement, threads=compute.threads, device=compute.device, precision=compute.precision)
            )

        def make() -> Fitter:
            loading = begin_loading(compute.device)
            from humanpose_cli.fitting.fitter import Fitter

            made = stack.enter_context(Fitter(options, **vars(evidence), **vars(compute)))
            loading.join()  # so that it is no part of the first item's seconds
            return made

        drawn: dict[str, Any] = {"video_codec": video_codec, "labels": labels, "from_the_side": side_view}
        kept = displacements.displacement_frames
        work = FitWork(session, out, make, drawn, fail_if_doubtful, refiner, kept)
        # Without files of the user's own, what decides the fits is known before the fitter is made.
        custom = options.network != NetworkOptions() or options.body != "default" or evidence != EvidenceFlags()
        usual = compute.device in ("auto", "cpu") and compute.precision == "auto"
        identity = options.identity({}) if usual and not custom else work.fitter.identity

        recorded = {**identity, "frames": str(parse_range(frames)), "overlay": overlay, "video_codec": video_codec}
        recorded["weights"] = recorded.pop("network")  # as the flag is called
        # Not recorded otherwise: results of versions that had no such options are still known.
        changed = {"side_view": side_view, "labels": labels != "ids" and labels, "fail_if_doubtful": fail_if_doubtful}
        recorded |= {name: value for name, value in changed.items() if value}
        if refiner is not None:
            recorded["refine"] = {**refiner.identity, **displacements.recorded}
        if takes:
            recorded |= {**views.recorded, "views": asdict(view_options)}
            views_of = lambda: work.fitter, view_options, views, overlay, drawn
            together = TakeWork(session, out, takes[0], *views_of, fail_if_doubtful, refiner)
            return flags.run(
                session, [take_item(take, out, overlay=overlay) for take in takes], together, out, recorded
            )
        recall = work.recall if session.json else None
        readable = any(item.error is None for item in items)  # else no network is loaded
        return flags.run(
            session, items, work, out, recorded, recall, lambda: work.fitter.batch_size if readable else 1, work.prepare
        )
