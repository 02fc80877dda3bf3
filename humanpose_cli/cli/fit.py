"""`hpc fit`: everybody's 3-D pose and shape in images and videos."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from humanpose_cli.body.model_files import check_body
from humanpose_cli.cli.options import (
    BatchFlags,
    BatchSize,
    BodyOption,
    DensePoseCharts,
    Device,
    Focal,
    Frames,
    Inputs,
    OutOrFile,
    PrecisionOption,
    Threads,
    VideoCodecOption,
    option,
)
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.result import CommandResult
from humanpose_cli.io.sniffing import check_readable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.ledger import Entry
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.core.progress import Progress
    from humanpose_cli.fitting.fitter import Fitter
    from humanpose_cli.fitting.result import Fit
    from humanpose_cli.io.fit_files import FitRecord

_METHOD = option(
    "--method",
    "How to fit. keypoints: optimisation alone. nbf: a network's one forward pass. auto: optimisation that starts "
    "from the network and trusts it as far as its own confidence; videos do without it unless --weights names one. "
    "register: optimisation, then onto the surface points of --densepose.",
)
_WEIGHTS = option(
    "--weights FILE|RUN",
    "Body network: a file, a run of hpc train nbf, or a name of hpc weights list. Default: the shipped one.",
    show_default=False,
)
_SEGMENTER = option(
    "--segmenter FILE|RUN",
    "Segmenter, for body networks that take body parts. Default: the shipped one.",
    show_default=False,
)
_PEOPLE = option("--people", "Which people to fit: everybody, or the person with the largest box.")
_DETECTOR = option(
    "--detector",
    "How hard to look for people and their joints; auto is thorough in images, fast in videos and sequences.",
)
_BOXES = option("--boxes FILE", "People's boxes from your own detector (JSON or CSV). Default: find them.")
_KEYPOINTS = option(
    "--keypoints FILE",
    "People's keypoints from your own detector: COCO's, OpenPose's or MMPose's JSON, or a folder of the latter two's. "
    "Default: find them.",
)
_POSE_MODEL = option(
    "--pose-model FILE",
    "Your own 2-D pose network (ONNX of RTMPose's kind: SimCC outputs, COCO-17 or Halpe-26 joints), whose joints are "
    "used for everyone found or given by --boxes. Default: the shipped networks.",
    show_default=False,
)
_SEQUENCE = option(
    "--sequence/--independent",
    "Whether the images of a folder are one sequence. Default: one size and consecutive numbers are.",
    show_default=False,
)
_REFINE = option("--refine", "Move the bodies onto the pixels afterwards, as hpc refine does.")
_DENSEPOSE = option(
    "--densepose PATH",
    "Where the image's pixels lie on the surface, for --method register: a folder of NAME_IUV.png or NAME_IUV.npz, a "
    "dump of detectron2's apply_net.py, or annotations in COCO's format (JSON). Of the default body, charts are those "
    "of its own texture; DensePose's need --body smpl:FILE and --charts. Needed for --method register.",
    show_default=False,
)
_ACCEPTED = "With --refine: how much of the refinement is kept because bodies align better so, 0 to 1."
_OVERLAY = option("--overlay/--no-overlay", "Draw the bodies over the images.")


@dataclass(frozen=True)
class OwnFlags:
    """What the user's own programs found, as one parameter."""

    boxes: Annotated[Path | None, _BOXES] = None
    keypoints: Annotated[Path | None, _KEYPOINTS] = None
    pose_model: Annotated[Path | None, _POSE_MODEL] = None
    densepose: Annotated[Path | None, _DENSEPOSE] = None
    charts: DensePoseCharts = None

    def check(self, method: str, *, refine: bool) -> None:
        """UsageError where they do not go together with other options, InputError for files that cannot be read."""
        if method == "register" or self.densepose is not None or self.charts is not None:
            from humanpose_cli.fitting.registering import check_registration

            check_registration(method, self.densepose, self.charts, refine=refine)
        for path in filter(None, vars(self).values()):
            check_readable(path)

    def people(self) -> dict[str, Any]:
        """Those that the fitter takes, by the names of its arguments."""
        return {"boxes": self.boxes, "keypoints": self.keypoints, "pose_model": self.pose_model}

    def registration(self, body: str) -> Callable[[Fit, Progress], Fit] | None:
        """What registers a fit to the surface points of its images."""
        if self.densepose is None:
            return None
        from humanpose_cli.body.smpl import load_body
        from humanpose_cli.fitting.registering import surface_registration

        return surface_registration(load_body(body), self.densepose, self.charts)

    def points_identity(self) -> dict[str, str | None]:
        """What of the surface points decides the results, for the ledger."""
        if self.densepose is None:
            return {}
        from humanpose_cli.fitting.registering import points_identity

        return {**points_identity(self.densepose, self.charts), "method": "register"}


@dataclass
class FitWork:
    """What a batch does with its items."""

    session: Session
    out: Path
    make: Callable[[], Fitter]
    video_codec: Literal["h264", "vp9"]

    @cached_property
    def fitter(self) -> Fitter:
        """Made when there is something to fit: it takes a second to import, in which the networks load."""
        return self.make()

    def prepare(self, coming: Sequence[Item]) -> None:
        """Look at items together."""
        self.fitter.prepare([item.payload for item in coming], self.session.reporter.step)

    def __call__(self, item: Item) -> Outcome:
        """Fit one."""
        from humanpose_cli.batch.runner import Outcome
        from humanpose_cli.fitting.fitter import fit_item

        step = self.session.reporter.step
        fit = fit_item(self.fitter, item.payload, item.outputs, video_codec=self.video_codec, progress=step)
        if not len(fit):
            self.session.reporter.info(f"{item.label}: nobody was found")
        if "refinement" in fit.options:
            from humanpose_cli.refining.items import refined_summary

            summary = refined_summary(fit)
        else:
            from humanpose_cli.fitting.records import record_summary

            summary = record_summary(fit)
        return Outcome(item.outputs, summary, self.rows(fit))

    def rows(self, fit: FitRecord) -> dict[str, Any]:
        """What only the JSON document says of an item."""
        return {"rows": list(fit.documents())} if self.session.json else {}

    def recall(self, item: Item, entry: Entry) -> dict[str, Any]:
        """The same of one that an earlier run has fitted."""
        from humanpose_cli.io.fit_files import read_fit  # which needs no torch

        return self.rows(read_fit(self.out / entry.outputs[0]))


@command(
    columns=(
        ("people", "people", "How many were found."),
        ("error_px", "2-D error (px)", "Median distance in pixels between fitted and detected joints.", True),
        ("confidence", "confidence", "Median confidence of the bodies, 0 to 1.", True),
        ("doubtful", "doubtful", "Why a body may be plainly wrong; its overlay says so too.", False, True),
        ("accepted", "accepted", _ACCEPTED, False, False, True),
    ),
    tunes=True,
    cluster="array",
    examples=(
        "hpc fit photo.jpg",
        "hpc fit clip.mp4 --people largest --frames 0:250",
        "hpc fit frames/ --refine",
        "hpc fit photos/ --out fits --overwrite",
        "hpc fit --items photos.txt --dry-run",
        "hpc fit photo.jpg -o photo.fit.npz --no-overlay --json",
    ),
)
def fit(
    session: Session,
    flags: BatchFlags,
    inputs: Inputs = None,
    method: Annotated[Literal["auto", "keypoints", "nbf", "register"], _METHOD] = "auto",
    weights: Annotated[str, _WEIGHTS] = "",
    segmenter: Annotated[str, _SEGMENTER] = "",
    people: Annotated[Literal["all", "largest"], _PEOPLE] = "all",
    detector: Annotated[Literal["auto", "thorough", "fast"], _DETECTOR] = "auto",
    body: BodyOption = "default",
    focal: Focal = None,
    *,
    own: OwnFlags,
    sequence: Annotated[bool | None, _SEQUENCE] = None,
    refine: Annotated[bool, _REFINE] = False,
    overlay: Annotated[bool, _OVERLAY] = True,
    out: OutOrFile = Path("hpc-out/fit"),
    frames: Frames = None,
    video_codec: VideoCodecOption = "h264",
    batch_size: BatchSize = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    threads: Threads = None,
) -> CommandResult:
    """Find everyone's 3-D pose and shape in images and videos.

    Writes a fit file (NAME.fit.npz) for each image or sequence, and an overlay: the bodies drawn over it, in
    videos with the sound. Of one input, --out may name the fit file.
    """
    from contextlib import ExitStack

    from humanpose_cli.batch.items import item_of
    from humanpose_cli.detect.runtime import begin_loading
    from humanpose_cli.fitting.options import FitMethod, FitOptions, NetworkOptions, fit_outputs
    from humanpose_cli.io.frame_range import parse_range
    from humanpose_cli.io.images import IMAGE_SUFFIXES
    from humanpose_cli.io.video import VIDEO_SUFFIXES
    from humanpose_cli.networks.weights import find_weights

    if out.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and not out.is_dir():
        raise UsageError("out", "is no name of a fit", expected="a folder or NAME.npz", got=str(out))
    own.check(method, refine=refine)
    check_body(body)
    found = flags.inputs(
        session, inputs or (), out, listed=flags.listed(), sequence=sequence, frames=parse_range(frames)
    )
    network = NetworkOptions(weights, segmenter)
    before: FitMethod = "keypoints" if method == "register" else method
    options = session.tune(FitOptions(body, people, detector, focal, method=before, network=network))
    for given in filter(None, (weights, segmenter)):
        find_weights(given)  # now, for what reads them takes seconds to import
    items = [item_of(source, fit_outputs(source, out, overlay=overlay)) for source in found]

    with ExitStack() as stack:
        refiner = None
        if refine:
            from humanpose_cli.refining.refiner import Refiner

            refiner = stack.enter_context(Refiner(threads=threads, device=device, precision=precision))

        def make() -> Fitter:
            begin_loading(device)
            from humanpose_cli.fitting.fitter import Fitter

            made = Fitter(
                options,
                **own.people(),
                device=device,
                precision=precision,
                batch_size=batch_size,
                threads=threads,
                refine=own.registration(body) if refiner is None else refiner.refine_own,
            )
            return stack.enter_context(made)

        work = FitWork(session, out, make, video_codec)
        # Without files of the user's own, what decides the fits is known before the fitter is made.
        own_files = options.network != NetworkOptions() or options.body != "default" or own != OwnFlags()
        usual = device in ("auto", "cpu") and precision == "auto"
        identity = options.identity({}) if usual and not own_files else work.fitter.identity

        recorded = {**identity, "frames": str(parse_range(frames)), "overlay": overlay, "video_codec": video_codec}
        recorded |= own.points_identity()
        recorded["weights"] = recorded.pop("network")  # as the flag is called
        if refiner is not None:
            recorded["refine"] = refiner.identity
        recall = work.recall if session.json else None
        return flags.run(session, items, work, out, recorded, recall, lambda: work.fitter.batch_size, work.prepare)
