"""`hpc refine`: fits, ours or another program's, moved onto the pixels of their frames."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from humanpose_cli.cli.options import (
    BatchFlags,
    BodyOfFits,
    ComputeFlags,
    DensePose,
    DensePoseCharts,
    DisplacementFlags,
    FitCamera,
    FitSmplx,
    Labels,
    OutOrFile,
    SideView,
    VideoCodecOption,
    argument,
    of,
    option,
)
from humanpose_cli.cli.session import Session, command, counts
from humanpose_cli.cli.takes import write_views
from humanpose_cli.core.errors import InputError, UsageError, shell_word
from humanpose_cli.core.progress import part_of
from humanpose_cli.core.result import CommandResult
from humanpose_cli.refining.options import CorrespondenceKind, RefineOptions

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.fitting.result import Fit
    from humanpose_cli.refining.items import FitWithFrames
    from humanpose_cli.refining.refiner import Refiner

_FITS = argument(
    "FITS...",
    "Fit files, folders of them, or results of 4D-Humans (PHALP), WHAM, TRAM, CameraHMR, GVHMR, SAM 3D Body or AMASS.",
)
_FRAMES = option(
    "--frames INPUT",
    "The video, folder, image or glob pattern that the fits were made of; may be repeated. Needed.",
    show_default=False,
)
_WEIGHTS = option(
    "--weights FILE|RUN",
    "Network that compares: a file, or a run of hpc train refiner. Default: the shipped one.",
    show_default=False,
)
_TEXTURE = option(
    "--texture FILE",
    "Texture of the person (PNG), or the folder of an earlier run with one for each. Default: made from the frames.",
    show_default=False,
)
_OVERLAY = option("--overlay/--no-overlay", "Draw the refined bodies over the frames.")
_COMPARE = option(
    "--compare FITS",
    "Other fits of the same people for the page, such as a run with another --correspondence: a file, or a folder with "
    "a fit file for each; may be repeated. Default: none.",
    show_default=False,
)
_TRUTH = option(
    "--truth FITS",
    "Fits of the true bodies for the page, which then shows errors: a file, or a folder of fit files. Default: none.",
    show_default=False,
)
_PAGE = option(
    "--page/--no-page", "Write one HTML page a clip that shows the bodies and their errors before and after."
)


@dataclass
class RefineWork:
    """What a batch does with its fits.

    body, camera, smplx  with which their files are read, as `read_fits` takes them
    drawn  how overlays are drawn, as of `Fit.save_overlay`
    """

    session: Session
    refiner: Refiner
    body: str
    camera: Path | None
    smplx: Path | None
    texture: Path | None
    overlay: bool
    page: bool
    drawn: Mapping[str, Any]
    displacements: DisplacementFlags

    def __call__(self, item: Item) -> Outcome:
        """Refine one, and write its files."""
        from humanpose_cli.batch.runner import Outcome
        from humanpose_cli.refining.items import refine_fit, refined_summary, refinement_hint

        task: FitWithFrames = item.payload
        fit = task.read(self.body, camera=self.camera, smplx=self.smplx)
        if "refinement" in fit.options:
            self.session.reporter.info(f"{item.short}: refined before; refining it again changes little")
        if fit.views is not None:
            return self._take(fit, task)
        refined, outputs = refine_fit(
            self.refiner,
            fit,
            item.outputs,
            texture=self.texture,
            displacement_frames=self.displacements.displacement_frames,
            beside=task.read_beside(fit, self.body, smplx=self.smplx),
            **self.drawn,
            progress=self.session.reporter.step,
        )
        self.session.reporter.info_once(refinement_hint(refined))
        return Outcome(outputs, refined_summary(refined))

    def _take(self, fit: Fit, task: FitWithFrames) -> Outcome:
        """The same of a take of several cameras. UsageError for options of fits of one camera."""
        from humanpose_cli.batch.runner import Outcome
        from humanpose_cli.refining.items import refine_fit, refined_summary

        of_one = {"save_displacements": self.displacements.save_displacements, "side_view": self.drawn["from_the_side"]}
        of_one |= {"compare": bool(task.compared), "truth": task.truth is not None}
        for name in filter(of_one.__getitem__, of_one):
            remedy = "the fit file of one of its views"
            raise UsageError(name, "is of one camera", got="a take of several", remedy=remedy)
        step, path = self.session.reporter.step, task.outputs[0]
        refined, outputs = refine_fit(self.refiner, fit, (path,), texture=self.texture, progress=part_of(step, 0, 0.8))
        shown: dict[str, Any] = {"overlay": self.overlay, "progress": part_of(step, 0.8, 1), **self.drawn}
        views = write_views(refined, path, fit if self.page else None, **shown)
        return Outcome((*outputs, *views), refined_summary(refined))


@command(
    columns=(
        ("people", "people", "How many there are."),
        ("accepted", "accepted", "How much of the refinement is kept because bodies align better so, 0 to 1."),
        ("overlap_before", "overlap before", "Mean overlap of body and silhouette before, 0 to 1."),
        ("overlap_after", "after", "The same of the bodies that are kept."),
        ("error_px", "2-D error (px)", "Median distance in pixels between fitted and detected joints.", True),
    ),
    tunes=True,
    cluster="array",
    brief=counts("people", "frames"),
    examples=(
        "hpc refine clip.mp4.fit.npz --frames clip.mp4",
        "hpc refine fits/ --frames clips/ --out refined",
        "hpc refine take.fit.npz --frames cam1.mp4 --frames cam2.mp4",
        "hpc refine clip.mp4.fit.npz --frames clip.mp4 --save-displacements",
        "hpc refine clip.mp4.fit.npz --frames clip.mp4 --compare flow/ --truth truth.fit.npz",
        "hpc refine wham_output.pkl --frames clip.mp4 --body smpl:SMPL_NEUTRAL.pkl",
    ),
)
def refine(
    session: Session,
    flags: BatchFlags,
    fits: Annotated[list[Path] | None, _FITS] = None,
    frames: Annotated[list[str] | None, _FRAMES] = None,
    correspondence: Annotated[CorrespondenceKind, of(RefineOptions, "correspondence")] = "auto",
    weights: Annotated[str, _WEIGHTS] = "",
    densepose: DensePose = None,
    charts: DensePoseCharts = None,
    prior: Annotated[str, of(RefineOptions, "prior")] = "pose",
    texture: Annotated[Path | None, _TEXTURE] = None,
    body: BodyOfFits = "default",
    camera: FitCamera = None,
    smplx: FitSmplx = None,
    overlay: Annotated[bool, _OVERLAY] = True,
    labels: Labels = "ids",
    side_view: SideView = False,
    page: Annotated[bool, _PAGE] = True,
    compare: Annotated[list[Path] | None, _COMPARE] = None,
    truth: Annotated[Path | None, _TRUTH] = None,
    *,
    displacements: DisplacementFlags,
    out: OutOrFile = Path("hpc-out/refine"),
    video_codec: VideoCodecOption = "h264",
    compute: ComputeFlags,
) -> CommandResult:
    """Move fitted bodies onto the pixels of their frames.

    Writes a fit file (NAME.fit.npz), an overlay, a page (NAME.refined.html), and the texture of each person
    (NAME.person0.texture.png) for each fit; with --save-displacements also NAME.displacements.npz, and a contact sheet
    of each person (NAME.person0.displacements.jpg). A body is moved only where its silhouette overlaps the person
    better so, and only as far; the fit file records where and how far. The fit of a take of several cameras is refined
    with the pixels of all of them, where --frames names each.
    """
    from humanpose_cli.body.model_files import prior_file
    from humanpose_cli.networks.weights import find_weights

    paths = flags.fits(fits)
    if not frames:
        expected = "the photograph, video or folder that the fits were made of"
        remedy = f"hpc refine {shell_word(paths[0])} --frames INPUT"
        raise UsageError("frames", "are missing", expected=expected, remedy=remedy)
    found = flags.inputs(session, frames, out)
    if weights:
        find_weights(weights)
    prior_file(prior)
    _check_models(paths, body, smplx)

    # Only now: torch, which they load, takes seconds, and a missing model file is told before.
    from humanpose_cli.batch.items import Item
    from humanpose_cli.body.smpl import load_body
    from humanpose_cli.fitting.options import body_identity, check_charts
    from humanpose_cli.fitting.registering import points_identity
    from humanpose_cli.io.digests import file_digest
    from humanpose_cli.refining.correspondences import charted_points
    from humanpose_cli.refining.items import fits_with_frames
    from humanpose_cli.refining.refiner import Refiner

    options = session.tune(RefineOptions(correspondence, prior=prior))
    wanted: dict[str, Any] = {"compare": compare or (), "truth": truth}
    wanted |= {"overlay": overlay, "page": page, "displacements": displacements.save_displacements}
    tasks = fits_with_frames(paths, list(found), out, **wanted)
    items = [
        Item(each.path.name, each.files, str(each.path), each.path.parent, each.outputs, payload=each, error=each.error)
        for each in tasks
    ]
    if texture is not None and texture.is_file() and len(items) > 1:
        raise UsageError("texture", "is of one fit", got=f"{len(items)} fits", remedy="the folder of an earlier run")
    check_charts(densepose, charts)
    surface, points = None, {}
    if densepose is not None:
        surface, points = charted_points(load_body(body), densepose, charts), points_identity(densepose, charts)
    session.reporter.step(0, None, "loading models")
    with Refiner(options, weights=weights, surface=surface, **vars(compute)) as refiner:
        if displacements.save_displacements:
            refiner.check_compares("save_displacements")
        if texture is not None:
            refiner.check_compares("texture")

        read = body, camera, smplx
        drawn = {"video_codec": video_codec, "labels": labels, "from_the_side": side_view}
        work = RefineWork(session, refiner, *read, texture, overlay, page, drawn, displacements)
        recorded: dict[str, Any] = {**refiner.identity, **points, **displacements.recorded}
        recorded |= {"body": body_identity(body), "overlay": overlay, "page": page, "video_codec": video_codec}
        recorded |= _recorded_if_used(compare or (), truth, side_view=side_view, labels=labels)
        for name, path in (("camera", camera), ("smplx", smplx), ("texture", texture)):
            recorded[name] = path and file_digest(path)
        return flags.run(session, items, work, out, recorded)


def _recorded_if_used(compare: Sequence[Path], truth: Path | None, *, side_view: bool, labels: str) -> dict[str, Any]:
    """Options that are not recorded otherwise, so that results of versions without them are still known."""
    recorded: dict[str, Any] = {"side_view": True} if side_view else {}
    recorded |= {"labels": labels} if labels != "ids" else {}
    if compare or truth:  # the files themselves belong to the items
        recorded |= {"compare": [str(path) for path in compare], "truth": truth and str(truth)}
    return recorded


def _check_models(fits: Sequence[Path], body: str, smplx: Path | None) -> None:
    """UsageError for files of other programs whose parameters are of no default body. What is wrong with a file itself
    is reported with its item.
    """
    from humanpose_cli.io.foreign_fits import check_model, read_foreign

    for path in fits if body == "default" else ():
        with suppress(InputError):
            if os.path.isfile(path) and (foreign := read_foreign(path)) is not None:
                check_model(path, foreign, body, smplx)
