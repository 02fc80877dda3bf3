"""`hpc fit`: 3-D pose and shape of all people in images and videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from humanpose_cli.body.model_files import prior_file
from humanpose_cli.cli.options import (
    BatchFlags,
    ColourSpaceFlag,
    ComputeFlags,
    FailIfDoubtful,
    Flags,
    Frames,
    Inputs,
    OutOrFile,
    OverlayFlags,
    option,
)
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.errors import HpcError, UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.core.result import CommandResult
from humanpose_cli.fitting.options import EvidenceFiles, FitOptions, FitOutputs, NetworkOptions, parse_heights
from humanpose_cli.refining.options import RefineOptions

if TYPE_CHECKING:
    from humanpose_cli.batch.batch import Show
    from humanpose_cli.batch.items import Item
    from humanpose_cli.fitting.fitter import Fitter
    from humanpose_cli.fitting.painted_masks import PaintedMasks
    from humanpose_cli.fitting.result import Fit
    from humanpose_cli.fitting.steps import FitStep
    from humanpose_cli.io.detections import UserDetections
    from humanpose_cli.io.fit_files import FitRecord
    from humanpose_cli.io.frame_range import FrameRange
    from humanpose_cli.io.inputs import InputItem
    from humanpose_cli.outputs.ledger import Entry

_OTHER_SUFFIXES = {".glb", ".fbx", ".bvh", ".obj", ".usd", ".json", ".html", ".txt", ".csv", ".pkl", ".zip"}
_MIN_GPU_PHOTOGRAPHS = 16  # fewer are fitted on the CPU before a GPU has prepared the networks
_SEQUENCE = option(
    "--sequence/--independent",
    "Treat the images of a folder as one sequence or as separate photographs. Default: a sequence if numbered and "
    "similar.",
)
_RATE = option(
    "--frame-rate N",
    "Frame rate of image folders and of streams without timestamps (.h264, .mjpeg). Default: 25 for streams.",
    min=0.01,
    max=1000.0,
)
_START = option("--start-frame N", "Number of the first frame of videos; images have those of their names.", min=0)
_REFINE = option("--refine", "Align the bodies with the pixels afterwards, as hpc refine does.")
_ACCEPTED = "With --refine: how much of the refinement was accepted, 0 to 1."
_TEXTURES = option(
    "--textures",
    "Also store clothes, hair and colours (NAME.person0.look.npz) for hpc view and export, and draw them in the "
    "overlay.",
)
_NUMBERED = option("--numbered", "Write overlays and masks of image sequences as images with the frames' numbers.")
_MASKS = option(
    "--masks",
    "Also write masks: a mask, 16-bit matte and garments of each person, or one video for a clip, and COCO annotations "
    "(NAME.masks.json).",
)


@dataclass(frozen=True)
class ReadingFlags:
    """How inputs are read: arguments of `open_inputs`."""

    sequence: Annotated[bool | None, _SEQUENCE] = None
    rate: Annotated[float | None, _RATE] = None
    start: Annotated[int, _START] = 0
    colour_space: ColourSpaceFlag = None


def fit_rows(fit: FitRecord) -> dict[str, Any]:
    """Return the details of a fit that only the JSON document has: rows with doubts, and detections without a body."""
    from humanpose_cli.fitting.doubt import row_doubts  # which needs no torch

    rows = zip(fit.documents(), row_doubts(fit), strict=True)
    unfitted = [detection.document() for detection in fit.unfitted]
    described = {"rows": [{**row, "doubtful": doubt} for row, doubt in rows]}
    return {**described, "unfitted": unfitted} if unfitted else described


def _statures(fit: Fit) -> str:
    """Describe the assumed heights of the people and their uncertainty."""
    import numpy as np
    import torch

    from humanpose_cli.fitting.stature import BodyStature, statures

    rows = np.unique(fit.track_id, return_index=True)[1]
    body = fit.body_model()
    metres = statures(body, torch.from_numpy(fit.betas[rows])).tolist()
    people = " to ".join(dict.fromkeys(f"{each:.2f}" for each in (min(metres), max(metres))))
    return f"taken to be {people} m (±{BodyStature.of(body).spread:.0%})"


@dataclass
class FitRun:
    """A batch of fits, whose networks load when the first item needs them.

    Attributes:
        session: The session.
        flags: Options of the batch.
        options: Options of the fits.
        outputs: The files to write.
        compute: The device.
        frames: The range of the sequences (`--frames`).
        evidence: The user's files of detections.
        refinement: Options of the refinement. None does not refine.
        fail_if_doubtful: Whether doubtful fits count as partly done.
        reading: How the inputs are read.
    """

    session: Session
    flags: BatchFlags
    options: FitOptions
    outputs: FitOutputs
    compute: ComputeFlags
    frames: FrameRange
    evidence: EvidenceFiles = field(default_factory=EvidenceFiles)
    refinement: RefineOptions | None = None
    fail_if_doubtful: bool = False
    reading: ReadingFlags = field(default_factory=ReadingFlags)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    @cached_property
    def fitter(self) -> Fitter:
        """The fitter; its networks load while its module is imported."""
        from humanpose_cli.detect.runtime import begin_loading

        self.session.reporter.step(0, None, "loading models")
        loading = begin_loading(self.compute.device, maps=self.options.uses_network)
        from humanpose_cli.fitting.fitter import Fitter

        files = {**vars(self.evidence), **self.user_people}
        fitter = self._stack.enter_context(Fitter(self.options, **files, **vars(self.compute)))
        loading.join()  # so that loading does not count for the first item
        fitter.begin_loading()
        return fitter

    @cached_property
    def user_people(self) -> dict[str, UserDetections]:
        """The people in the user's file, by the name of its option; empty without a file."""
        from humanpose_cli.io.detections import read_boxes, read_keypoints

        if self.evidence.keypoints is not None:
            return {"keypoints": read_keypoints(self.evidence.keypoints)}
        return {} if self.evidence.boxes is None else {"boxes": read_boxes(self.evidence.boxes)}

    def check_user_people(self, sources: Sequence[InputItem]) -> None:
        """Report frames and people of the user's file that cannot have a body."""
        if self.evidence.keypoints is None and self.evidence.boxes is None:
            return
        from humanpose_cli.fitting.people import user_people_notes

        for file in self.user_people.values():
            for note in user_people_notes(file, sources, self.options.min_score):
                self.session.reporter.info(note)

    @cached_property
    def masks(self) -> PaintedMasks | None:
        """The user's masks."""
        from humanpose_cli.fitting.painted_masks import painted_masks

        return painted_masks(self.evidence.mask)

    @cached_property
    def steps(self) -> list[FitStep]:
        """The steps after the fit: the refinement, and the clothes."""
        dressing: list[FitStep] = []
        if self.refinement is not None or self.outputs.dressed:
            from humanpose_cli.exporting.looks import Dressing

            dressing = [Dressing(self.masks)]
        if self.refinement is None:
            return dressing
        from humanpose_cli.refining.refiner import Refiner
        from humanpose_cli.refining.steps import Refinement

        refiner = Refiner(self.refinement, mask=self.evidence.mask, **vars(self.compute))
        return [Refinement(self._stack.enter_context(refiner)), *dressing]

    def steps_of(self, item: Item) -> list[FitStep]:
        """Return the steps after the fit of an item."""
        if not self.outputs.masks:
            return self.steps
        from humanpose_cli.exporting.masks import MaskWriting

        return [*self.steps, MaskWriting(item.payload.is_sequence, self.outputs.video_codec, self.outputs.numbered)]

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the results, for the ledger."""
        options = self.options
        compute = self.compute
        # Without the user's files, the identity is known before the fitter is made.
        custom = options.network != NetworkOptions() or options.body != "default" or self.evidence != EvidenceFiles()
        usual = compute.device in ("auto", "cpu") and compute.precision == "auto"
        identity = options.identity({}) if usual and not custom else self.fitter.identity
        identity = {**identity, "frames": str(self.frames), **self.outputs.identity}
        identity["weights"] = identity.pop("network")  # as the flag is called
        identity |= {name: value for name, value in vars(self.reading).items() if name != "sequence" and value}
        if self.fail_if_doubtful:
            identity["fail_if_doubtful"] = True
        return identity if self.refinement is None else {**identity, "refine": self.steps[0].identity}

    def item(self, source: InputItem, out: Path) -> Item:
        """Make the item of an input."""
        from humanpose_cli.batch.items import item_of
        from humanpose_cli.io.image_sequences import numbered_paths
        from humanpose_cli.outputs.output_names import fit_path, people_journal

        known = self.outputs.paths(fit_path(source.key, out), sequence=source.is_sequence)
        if self.outputs.numbered and source.kind == "video":
            raise UsageError("numbered", "is for sequences of images", got=source.label)
        numbers = (source.numbers or range(len(source.files)))[source.range.slice]
        paths = [file for path in known for file in numbered_paths(path, numbers)]
        return item_of(source, paths, [people_journal(paths[0])] if source.is_sequence else ())

    def run(self, sources: Sequence[InputItem], out: Path) -> CommandResult:
        """Fit the people of inputs, as items of a batch in `out`."""
        from humanpose_cli.cli.fit_work import FitWork

        def recall(item: Item, entry: Entry) -> dict[str, Any]:
            from humanpose_cli.io.fit_files import read_fit  # which needs no torch

            return fit_rows(read_fit(out / entry.outputs[0]))

        is_short = len(sources) < _MIN_GPU_PHOTOGRAPHS and not any(source.is_sequence for source in sources)
        if self.compute.device == "auto" and self.compute.precision in ("auto", "full") and is_short:
            self.compute = replace(self.compute, device="cpu")
        self.check_user_people(sources)
        if self.evidence.mask is not None and self.masks is not None:
            self.masks.check(sources)
        items = [self.item(_opened(source) if self.flags.dry_run else source, out) for source in sources]
        json = self.session.json
        readable = any(item.error is None for item in items)  # else no network is loaded
        with self._stack:
            work = FitWork(
                session=self.session,
                read=self.fit,
                outputs=self.outputs,
                steps=self.steps_of,
                report=self.report,
                contents=fit_rows if json else lambda fit: {},
                share=0.3 if self.steps or self.outputs.masks else 0.8,
                fail_if_doubtful=self.fail_if_doubtful,
            )
            return self.flags.run(
                session=self.session,
                items=items,
                work=work,
                out=out,
                options=self.identity,
                recall=recall if json else None,
                group_size=lambda: self.fitter.batch_size if readable else 1,
                prepare=self.prepare,
                names={"dressed": "textures", "page": ""},
            )

    def prepare(self, items: Sequence[Item], show: Show) -> Mapping[str, float]:
        """Prepare several items together; loads no network if none can be read."""
        readable = {item.key: item.payload for item in items if item.error is None}
        if not readable:
            return {}
        seconds = self.fitter.prepare(list(readable.values()), partial(show, self.session.reporter.step))
        return {key: seconds.get(source.path, 0.0) for key, source in readable.items()}

    def fit(self, item: Item, progress: Progress) -> list[Fit]:
        """Fit the people of an item."""
        from humanpose_cli.fitting.fitter import fit_item

        return [fit_item(self.fitter, item.payload, item.outputs[0], progress)]

    def report(self, item: Item, fit: Fit) -> None:
        """Report what the user should know about a fit."""
        from humanpose_cli.io.unfitted_detections import POSE_NOT_CERTAIN

        reporter = self.session.reporter
        hasty_modes = {"fast", "auto"} if item.payload.is_sequence else {"fast"}
        is_hasty = fit.options.detector in hasty_modes
        remedy = "`detector=thorough` searches longer" if is_hasty else "mark the person with `boxes`, or try a crop"
        for name in self.user_people:  # nobody is searched
            remedy = f"check that the {name} are of this input"
        uncertain = Counter(detection.frame for detection in fit.unfitted if detection.reason == POSE_NOT_CERTAIN)
        if uncertain:
            count = max(uncertain.values())
            people = "1 more person" if count == 1 else f"{count} more people"
            reporter.warn(f"{item.short}: {people} may be there; {remedy}")
        elif not len(fit):
            reporter.info(f"{item.short}: no person was found; {remedy}")
        if len(fit) and not self.options.height and not self.options.network_alone:
            reporter.info(f"{item.short}: {_statures(fit)} tall; `height` sets it")
        persons = (person for person in parse_heights(self.options.height) if person is not None)
        if missing := ", ".join(str(person) for person in persons if person not in fit.tracks):
            reporter.warn(f"{item.short}: `height` names person {missing}, who is not in the fit")
        for path in fit.options.camera_paths or ():
            uncertainty = f"±{path['deviation']:.0%}, plus the uncertainty of people's sizes"
            length = f"the camera walks {path['metres']:.1f} m ({uncertainty})"
            zoom = f" and zooms by a factor of {path['zoom']:.2f}" if path["zoom"] != 1 else ""
            reporter.info(f"{item.short}: {length}{zoom}, as the background and standing feet show")
        if walks := fit.options.camera_walks:
            walked = f"the camera walks in {len(walks)} of {fit.frame_count} frames; its path is not found"
            reporter.warn(f"{item.short}: {walked}: people's paths in the world are wrong")
        if left_out := fit.options.left_out:
            people = "1 person" if left_out == 1 else f"{left_out} people"
            reporter.info(f"{item.short}: {people} below `min_confidence` left out")
        if fit.options.refinement is not None:
            from humanpose_cli.refining.items import refinement_hint

            reporter.info(refinement_hint(fit))


def _opened(source: InputItem) -> InputItem:
    """Decode the first frame of a sequence, so that a dry run names what cannot be read."""
    try:
        if source.is_sequence and source.error is None:
            source.first_frame()
    except HpcError as error:
        return replace(source, error=error)
    return source


@command(
    columns=(
        ("people", "people", "Number of people."),
        ("error_px", "2-D error (px)", "Median distance in pixels between fitted and detected joints."),
        ("confidence", "confidence", "Median share of a body's limb joints expected within 10 cm."),
        ("doubtful", "doubtful", "Why a body or a limb may be wrong.", True),
        ("not_fitted", "not fitted", "Detections without a body, and why.", True, True),
        ("accepted", "accepted", _ACCEPTED, False, True),
    ),
    tunes=True,
    cluster="array",
    usual="--out --frames --refine --people --height --textures --overlay --overwrite --detector --sequence "
    "--camera --device --method",
    examples=(
        "hpc fit photo.jpg",
        "hpc fit clip.mp4 --people largest --frames 0:250",
        "hpc fit photos/ --out fits --refine",
        "hpc fit frames/ --sequence --frame-rate 25",
        "hpc fit photos/ --out fits --overwrite",
        "hpc fit photo.jpg --method deform-and-learn --weights runs/deform",
        "hpc fit --items photos.txt --dry-run",
        "hpc fit photos/ --min-confidence 0.4 --fail-if-doubtful",
        "hpc fit photo.jpg -o photo.fit.npz --no-overlay --json",
    ),
)
def fit(
    session: Session,
    flags: BatchFlags,
    inputs: Inputs = None,
    *,
    fitting: Annotated[
        FitOptions,
        Flags("method network.weights people detector hands body focal min_confidence height camera"),
    ],
    evidence: EvidenceFiles,
    reading: ReadingFlags,
    refine: Annotated[bool, _REFINE] = False,
    fail_if_doubtful: FailIfDoubtful = False,
    textures: Annotated[bool, _TEXTURES] = False,
    masks: Annotated[bool, _MASKS] = False,
    numbered: Annotated[bool, _NUMBERED] = False,
    drawing: OverlayFlags,
    out: OutOrFile = Path("hpc-out/fit"),
    frames: Frames = None,
    compute: ComputeFlags,
) -> CommandResult:
    """Find everyone's 3-D pose and shape in images and videos.

    Writes a fit file (NAME.fit.npz) and an overlay with the bodies for each image or video.

    Overlays of videos keep the sound. With --refine, also writes the textures and clothes of hpc refine. If there is
    one input, --out may name its fit file.
    """
    from humanpose_cli.io.frame_range import ALL_FRAMES, parse_range
    from humanpose_cli.io.images import IMAGE_SUFFIXES
    from humanpose_cli.io.video import VIDEO_SUFFIXES
    from humanpose_cli.networks.weights import find_weights

    if out.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES | _OTHER_SUFFIXES and not out.is_dir():
        remedy = "hpc export and hpc view make other files of the fit"
        expected = "a folder or NAME.npz"
        raise UsageError("out", "is not the name of a fit", expected=expected, got=str(out), remedy=remedy)
    refinement = session.tune_part("refine", RefineOptions())
    if refine:
        prior_file(refinement.prior)
    elif refinement != RefineOptions():
        raise UsageError("setting refine", "has no effect without `refine`")
    options = session.tune(fitting, lambda key: not key.startswith("refine."))
    for name in filter(None, (options.network.weights, options.network.segmenter)):
        find_weights(name)  # now, for what reads them takes seconds to import
    frame_range = parse_range(frames)
    listed = flags.listed()
    sources = flags.inputs(session, inputs or (), out, listed=listed, frames=frame_range, **vars(reading))
    if not any(source.is_sequence for source in sources):  # the ledger records what has an effect
        frame_range = ALL_FRAMES
        reading = ReadingFlags(colour_space=reading.colour_space)
    run = FitRun(
        session,
        flags,
        options,
        FitOutputs(**vars(drawing), dressed=textures, masks=masks, numbered=numbered),
        compute,
        frame_range,
        evidence,
        refinement if refine else None,
        fail_if_doubtful,
        reading,
    )
    return run.run(sources, out)
