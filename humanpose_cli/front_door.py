"""`hp.fit`, `hp.refine` and `hp.combine`: in one call what `Fitter` and the steps between fits do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.core.device import ComputeOptions, Precision
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.option_rules import check_options
from humanpose_cli.core.options import explained
from humanpose_cli.core.progress import Progress, part_of
from humanpose_cli.fitting.fitter import Fitter, Source
from humanpose_cli.fitting.options import (
    MIN_SCORE,
    DetectorMode,
    EvidenceFiles,
    FitMethod,
    FitOptions,
    NetworkOptions,
    PeopleChoice,
    SurfaceFiles,
    check_charts,
)
from humanpose_cli.fitting.people import UserPeople, user_people
from humanpose_cli.fitting.progress_bar import progress_of
from humanpose_cli.fitting.result import Fit, fit_of
from humanpose_cli.io.calibrations import read_calibration
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.refining.correspondences import charted_points
from humanpose_cli.refining.displacements import refine_with_displacements
from humanpose_cli.refining.frames import AnyFrames, frames_of_fit
from humanpose_cli.refining.options import (
    CorrespondenceKind,
    RefineOptions,
    RefinePreset,
    preset_options,
)
from humanpose_cli.refining.refiner import Refiner
from humanpose_cli.refining.steps import Refinement
from humanpose_cli.views.options import ViewsOptions
from humanpose_cli.views.solver import TakeSolver

_UNREFINED = 0.3  # fraction of the work that is done before refinement


@explained(FitOptions, NetworkOptions, EvidenceFiles, ComputeOptions)
def fit(
    source: Source,
    *,
    people: PeopleChoice = "all",
    method: FitMethod = "auto",
    body: str | Body = "default",
    detector: DetectorMode = "auto",
    focal: float | None = None,
    min_confidence: float = 0.0,
    height: float | str = "",
    min_score: float = MIN_SCORE,
    frames: str | FrameRange | None = None,
    sequence: bool | None = None,
    boxes: Path | str | None = None,
    keypoints: Path | str | None = None,
    pose_model: Path | str | None = None,
    weights: str | Path = "",
    refine: bool | RefineOptions = False,
    device: str = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> Fit:
    """Fit the 3-D pose and shape of all people in an image, a video, a folder or an array: `hp.fit("photo.jpg")`.

    `body` may also be a `Body`. Loads the models each time: for loops there is `hp.Fitter`.

    Args:
        source: A path, several paths of images, or (H, W, 3) or (T, H, W, 3) uint8 RGB.
        frames: "A:B": frames A to B - 1 of a sequence.
        sequence: Whether a folder's images are one sequence; None: numbered ones of one size are, if they look
            alike.
        refine: True, or the options of a refinement: move the bodies onto the pixels afterwards, as `hp.refine`
            does.
        progress: True draws a bar on stderr; a function is called with (done, total or None, unit).
    """
    check_options(locals(), fit.__kwdefaults__)
    with ExitStack() as stack:
        refinement = None
        if refine:
            options = refine if isinstance(refine, RefineOptions) else RefineOptions()
            refiner = Refiner(options, threads=threads, device=device, precision=precision)
            refinement = Refinement(stack.enter_context(refiner))
        fitter = stack.enter_context(
            Fitter(
                people=people,
                method=method,
                body=body,
                detector=detector,
                focal=focal,
                min_confidence=min_confidence,
                height=height,
                min_score=min_score,
                weights=weights,
                boxes=boxes,
                keypoints=keypoints,
                pose_model=pose_model,
                device=device,
                precision=precision,
                threads=threads,
            )
        )
        report = stack.enter_context(progress_of(progress))
        if refinement is None:
            return fitter.fit(source, frames=frames, sequence=sequence, progress=report)
        fitted = part_of(report, 0, _UNREFINED)
        result = fitter.fit(source, frames=frames, sequence=sequence, progress=fitted)
        return refinement([result], progress=part_of(report, _UNREFINED, 1))


def combine(
    fits: Sequence[Fit | str | Path],
    *,
    height: float | None = None,
    offsets: Sequence[float] | None = None,
    calibration: Path | str | None = None,
    options: ViewsOptions | None = None,
    body: Body | None = None,
    progress: bool | Progress | None = None,
) -> Fit:
    """Combine the fits of cameras that film the same people at the same time: `hp.combine([fit_a, fit_b])`.

    `view(name)` of the result is the fit of one camera; `options["messages"]` says which cameras are left out.

    Raises UsageError for fewer than two fits, InputError if no two cameras show the same person, or if they contradict
    the calibration.

    Args:
        fits: Two or more, or paths of fit files; the first one gives the take its frames.
        height: Metres of the largest person, standing, which sets the scale, or shows the unit of a calibration;
            None: as the bodies suggest.
        offsets: Seconds that each camera's clock is ahead of the first one's; None: found.
        calibration: The calibration file of the cameras; None: they are found.
        options: How cameras are found and bodies solved.
        body: Needed for SMPL fits that came from files.
        progress: True draws a bar on stderr; a function is called with (done, total or None, unit).
    """
    check_options(locals(), combine.__kwdefaults__)
    cameras = None if calibration is None else read_calibration(calibration)
    clocks = None if offsets is None else [float(offset) - float(offsets[0]) for offset in offsets]
    if clocks is not None and len(clocks) != len(fits):
        raise UsageError("offsets", "do not match the fits", expected=str(len(fits)), got=str(len(clocks)))
    solver = TakeSolver(options or ViewsOptions(), height=height, offsets=clocks, calibration=cameras, body=body)
    with progress_of(progress) as report:
        return solver([fit_of(each) for each in fits], progress=report)


@explained(RefineOptions, SurfaceFiles, ComputeOptions)
def refine(
    fit: Fit | str | Path,
    frames: AnyFrames = None,
    *,
    preset: RefinePreset = "default",
    correspondence: CorrespondenceKind = "auto",
    prior: str = "pose",
    keypoints: UserPeople | None = None,
    weights: str | Path = "",
    densepose: Path | str | None = None,
    charts: Path | str | None = None,
    textures: Mapping[int, np.ndarray] | None = None,
    save_displacements: Path | str | None = None,
    displacement_frames: int = 100,
    body: Body | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> Fit:
    """Move a fit onto the pixels of its frames, where that aligns better: `hp.refine(fit, "clip.mp4")`.

    `refined.options["refinement"]` holds for every track and frame how much was accepted and how it aligns, and
    `refined.textures` the textures, if images were compared.

    Args:
        fit: A Fit, or a fit file's path; fits of other programs come from `read_fits`.
        frames: The video, folder, images or (F, H, W, 3) uint8 that it was made of; None: where the Fit came from.
        preset: "paper": the paper's procedure, SMPLify by the network's displacements at all visible vertices, by
            frames; all of it is kept.
        keypoints: Of the user's detector, as in `hp.fit`, in place of the fit's own; None: the fit's, or found.
        weights: Of the network that compares: a file, or a run of hpc train refiner; "": none does.
        textures: Of tracks, (512, 512, 4) uint8: colour and confidence; None: made from the frames.
        save_displacements: File, NAME.displacements.npz, for the displacements between the textured fit and the
            frames; a contact sheet of each person is written beside it, and `DisplacementFile` reads it; None:
            none.
        displacement_frames: Frames of a clip whose displacements are written, at most, spread evenly.
        body: Needed for a SMPL fit that came from a file.
        progress: True draws a bar on stderr; a function is called with (done, total or None, unit).
    """
    check_options(locals(), refine.__kwdefaults__)
    check_charts(densepose, charts)
    densepose, charts = (None if path is None else Path(path) for path in (densepose, charts))
    loaded, fit_frames = frames_of_fit(fit_of(fit), frames)
    options, surface = preset_options(preset, correspondence, prior), None
    if densepose is not None:
        surface = charted_points(loaded.body_model(body), densepose, charts)
    refiner = Refiner(
        options,
        weights=weights,
        surface=surface,
        keypoints=user_people(keypoints=keypoints),
        threads=threads,
        device=device,
        precision=precision,
    )
    with refiner, progress_of(progress) as report:
        if textures is not None:
            refiner.check_compares("textures")
        if save_displacements is None:
            return refiner.refine(loaded, fit_frames, body=body, textures=textures, progress=report)
        return refine_with_displacements(
            refiner,
            loaded,
            fit_frames,
            Path(save_displacements),
            max_frames=displacement_frames,
            body=body,
            textures=textures,
            progress=report,
        )
