"""`hp.fit` and `hp.refine`: in one call what `Fitter` and `Refiner` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.core.device import ComputeOptions, Precision
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.option_rules import check_options
from humanpose_cli.core.options import explained
from humanpose_cli.core.progress import Progress, part_of
from humanpose_cli.fitting.fitter import Fitter, Source
from humanpose_cli.fitting.options import (
    DetectorMode,
    EvidenceFiles,
    FitMethod,
    FitOptions,
    NetworkOptions,
    PeopleChoice,
    check_charts,
)
from humanpose_cli.fitting.progress_bar import progress_of
from humanpose_cli.fitting.result import Fit, fit_of
from humanpose_cli.io.atomic import removed_on_failure, write_together
from humanpose_cli.io.calibrations import read_calibration
from humanpose_cli.io.frame_range import FrameRange, parse_range
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.refining.correspondences import charted_points
from humanpose_cli.refining.displacements import refine_with_displacements, sheet_path
from humanpose_cli.refining.frames import AnyFrames, frames_of_fit
from humanpose_cli.refining.options import CorrespondenceKind, RefineOptions
from humanpose_cli.refining.refiner import Refiner
from humanpose_cli.views.fitting import fit_views
from humanpose_cli.views.inputs import TakeInput


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
    frames: str | FrameRange | None = None,
    sequence: bool | None = None,
    boxes: Path | str | None = None,
    keypoints: Path | str | None = None,
    pose_model: Path | str | None = None,
    densepose: Path | str | None = None,
    charts: Path | str | None = None,
    weights: str | Path = "",
    segmenter: str | Path = "",
    refine: bool = False,
    prior: str = "pose",
    views: bool = False,
    height: float | None = None,
    offsets: Sequence[float] | None = None,
    calibration: Path | str | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> Fit:
    """The 3-D pose and shape of all people in an image, a video, a folder or an array: `hp.fit("photo.jpg")`.

    source     a path, several paths of images, or (H, W, 3) or (T, H, W, 3) uint8 RGB
    frames     "A:B": frames A to B - 1 of a sequence
    sequence   whether a folder's images are one sequence; None: one size and consecutive numbers are
    refine     move the bodies onto the pixels afterwards, as `hp.refine` does
    prior      of that refinement, as `hp.refine` takes it
    views      the paths are cameras that film the same people at the same time: one fit of all, whose `view(name)` is
               that of one camera; `fit.options["messages"]` says which are left out
    height     of takes of several views: metres of the largest person, which sets the scale
    calibration  of such takes: the calibration file of their cameras; None: they are found
    offsets    of such takes: seconds that each camera's clock is ahead of the first one's; None: found
    progress   True draws a bar on stderr; a function is called with (done, total or None, unit)

    `body` may also be a `Body`. Loads the models each time: for loops there is `hp.Fitter`.
    """
    check_options(locals(), fit.__kwdefaults__)
    check_charts(densepose, charts)
    refinement, refiner = RefineOptions(prior=prior), None
    with ExitStack() as stack:
        if refine:
            refiner = stack.enter_context(Refiner(refinement, threads=threads, device=device, precision=precision))
        fitter = stack.enter_context(
            Fitter(
                people=people,
                method=method,
                body=body,
                detector=detector,
                focal=focal,
                min_confidence=min_confidence,
                weights=weights,
                segmenter=segmenter,
                boxes=boxes,
                keypoints=keypoints,
                pose_model=pose_model,
                densepose=densepose,
                charts=charts,
                device=device,
                precision=precision,
                threads=threads,
                refine=None if refiner is None or views else refiner.refine,
            )
        )
        if views:
            calibrated = None if calibration is None else read_calibration(calibration)
            chosen = {"height": height, "offsets": offsets, "calibration": calibrated}
            return _fit_views(fitter, source, frames, chosen, refiner, progress)
        return fitter.fit(source, frames=frames, sequence=sequence, progress=progress)


def _fit_views(
    fitter: Fitter,
    source: Source,
    frames: str | FrameRange | None,
    chosen: Mapping[str, Any],
    refiner: Refiner | None,
    progress: bool | Progress | None,
) -> Fit:
    paths = [source] if isinstance(source, str | Path) else list(source) if isinstance(source, list | tuple) else []
    if not paths or not all(isinstance(path, str | Path) for path in paths):
        raise UsageError("source", "names no views", expected="paths of videos, or of a folder of them")
    take = TakeInput("take", tuple(open_inputs(paths, frames=parse_range(frames))))
    with progress_of(progress) as report:
        fitted = part_of(report, 0, 1 if refiner is None else 0.5)
        fit = fit_views(fitter, take.views, take.names, **chosen, progress=fitted).fit
        return fit if refiner is None else refiner.refine(fit, progress=part_of(report, 0.5, 1))


@explained(RefineOptions, EvidenceFiles, ComputeOptions)
def refine(
    fit: Fit | str | Path,
    frames: AnyFrames = None,
    *,
    correspondence: CorrespondenceKind = "auto",
    prior: str = "pose",
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
    """A fit moved onto the pixels of its frames, where that aligns better: `hp.refine(fit, "clip.mp4")`.

    fit             a Fit, or a fit file's path; fits of other programs come from `read_fits`
    frames          the video, folder, images or (F, H, W, 3) uint8 that it was made of; None: where the Fit came from
    weights         of the network that compares: a file, or a run of hpc train refiner; "": the shipped one
    textures        of tracks, (512, 512, 4) uint8: colour and confidence; None: made from the frames
    save_displacements  file, NAME.displacements.npz, for the displacements between the textured fit and the frames;
                    a contact sheet of each person is written beside it, and `DisplacementFile` reads it; None: none
    displacement_frames  frames of a clip whose displacements are written, at most, spread evenly
    body            needed for a SMPL fit that came from a file
    progress        True draws a bar on stderr; a function is called with (done, total or None, unit)

    `refined.options["refinement"]` holds for every track and frame how much was accepted and how it aligns, and
    `refined.textures` the textures, if images were compared.
    """
    check_options(locals(), refine.__kwdefaults__)
    check_charts(densepose, charts)
    loaded, found = frames_of_fit(fit_of(fit), frames)
    options, surface = RefineOptions(correspondence, prior=prior), None
    points, charted = (None if path is None else Path(path) for path in (densepose, charts))
    if points is not None:
        surface = charted_points(loaded.body_model(body), points, charted)
    made = Refiner(options, weights=weights, surface=surface, threads=threads, device=device, precision=precision)
    with made as refiner, progress_of(progress) as report:
        if textures is not None:
            refiner.check_compares("textures")
        if save_displacements is None:
            return refiner.refine(loaded, found, body=body, textures=textures, progress=report)
        path = Path(save_displacements)
        with removed_on_failure([path, *(sheet_path(path, track) for track in loaded.tracks)]):
            refined, sheets = refine_with_displacements(
                refiner,
                loaded,
                found,
                path,
                max_frames=displacement_frames,
                body=body,
                textures=textures,
                progress=report,
            )
            write_together(sheets)
        return refined
