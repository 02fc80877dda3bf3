"""`hp.fit`, `hp.combine` and `hp.refine`: the commands as functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.core.arguments import check_call, declared, taken
from humanpose_cli.core.device import ComputeArguments, ComputeOptions
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import infos
from humanpose_cli.core.progress import Progress, part_of
from humanpose_cli.fitting.fitter import Fitter, Source
from humanpose_cli.fitting.options import EvidenceFiles, FitOptions, FitterArguments, NetworkOptions, SurfaceFiles
from humanpose_cli.fitting.progress_bar import progress_of
from humanpose_cli.fitting.result import Fit, fit_of
from humanpose_cli.io.calibrations import read_calibration
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.refining.correspondences import charted_points
from humanpose_cli.refining.displacements import displacement_file
from humanpose_cli.refining.frames import AnyFrames, frames_of_fit
from humanpose_cli.refining.options import (
    CorrespondenceKind,
    RefineFiles,
    RefineOptions,
    RefinePreset,
    preset_options,
)
from humanpose_cli.refining.refiner import Refiner, RefinerArguments
from humanpose_cli.refining.steps import Refinement
from humanpose_cli.views.options import ViewsOptions
from humanpose_cli.views.solver import TakeSolver

if TYPE_CHECKING:
    from typing_extensions import Unpack

_UNREFINED = 0.3  # fraction of the work that is done before refinement


@declared(FitterArguments, FitOptions, NetworkOptions, EvidenceFiles, ComputeOptions)
def fit(
    source: Source,
    *,
    frames: str | FrameRange | None = None,
    sequence: bool | None = None,
    colour_space: str | None = None,
    refine: bool | RefineOptions = False,
    progress: bool | Progress | None = None,
    **arguments: Unpack[FitterArguments],
) -> Fit:
    """Fit the 3-D pose and shape of all people in an image, a video, a folder or an array.

    The models are loaded at every call. `hp.Fitter` keeps them loaded, for loops.

    Args:
        source: A path, several paths of images, or (H, W, 3) or (T, H, W, 3) uint8 RGB.
        frames: "A:B" or "A:B:STEP". The frames of a sequence that are fitted, A to B - 1.
        sequence: Whether the images of a folder are one sequence. None decides: numbered images of one size that look
            alike are.
        colour_space: "acescg", "linear", "srgb" or "log". None takes the one that the images name.
        refine: True, or the options of the refinement. Moves the bodies onto the pixels afterwards, as `hp.refine`
            does.
        progress: True draws a bar on stderr. A function is called with (done, total or None, unit).

    Returns:
        The bodies of all people in all frames.

    Raises:
        InputError: If the source, or a file of yours, is missing or damaged.
        UsageError: If an option is unusable, or cannot be combined with another one.
        UnavailableError: If something that the fit needs is not installed, or a disk is full.

    Example:
        >>> fit = hp.fit("photo.jpg")
        >>> fit.people[0].joints3d.shape
        (1, 24, 3)
    """
    check_call(fit, locals())
    with ExitStack() as stack:
        refinement = None
        if refine:
            options = refine if isinstance(refine, RefineOptions) else RefineOptions()
            shared: Any = {**arguments}
            refiner = Refiner(options, **taken(shared, ("mask", *ComputeArguments.__annotations__)))
            if isinstance(source, list | tuple) and len(source) > 1 and refiner.masks is not None:
                refiner.masks.refuse_sequence()  # their fit has a frame each
            refinement = Refinement(stack.enter_context(refiner))
        fitter = stack.enter_context(Fitter(**arguments))
        report = stack.enter_context(progress_of(progress))
        fitting = report if refinement is None else part_of(report, 0, _UNREFINED)
        result = fitter.fit(source, frames=frames, sequence=sequence, colour_space=colour_space, progress=fitting)
        return result if refinement is None else refinement([result], progress=part_of(report, _UNREFINED, 1))


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
    """Combine the fits of cameras that film the same people at the same time into one fit.

    `fit.view(name)` of the result is the fit of one camera. `fit.options.messages` says which cameras are left out.

    Args:
        fits: Two or more fits, or paths of fit files. The result has the frames of the first one.
        height: Metres. The height of the largest person when standing, which sets the scale or shows the unit of the
            calibration. None takes the size that the bodies suggest.
        offsets: Seconds, one for each fit. How far each camera's clock is ahead. None estimates them.
        calibration: The calibration file of the cameras. None estimates the cameras.
        options: How cameras are found and bodies are solved.
        body: The body of the fits. Needed for SMPL fits that were read from files.
        progress: True draws a bar on stderr. A function is called with (done, total or None, unit).

    Returns:
        One fit of several cameras, in the axes of the first one.

    Raises:
        UsageError: If there are fewer than two fits, or the number of offsets differs.
        InputError: If no two cameras show the same person, or the fits contradict the calibration.

    Example:
        >>> take = hp.combine(["left.mp4.fit.npz", "right.mp4.fit.npz"], height=1.78)
    """
    check_call(combine, locals())
    cameras = None if calibration is None else read_calibration(calibration)
    clocks = None if offsets is None else [float(offset) - float(offsets[0]) for offset in offsets]
    if clocks is not None and len(clocks) != len(fits):
        raise UsageError("offsets", "do not match the fits", expected=str(len(fits)), got=str(len(clocks)))
    solver = TakeSolver(options or ViewsOptions(), height=height, offsets=clocks, calibration=cameras, body=body)
    with progress_of(progress) as report:
        return solver([fit_of(fit) for fit in fits], progress=report)


class RefineArguments(RefinerArguments, total=False):
    """Arguments of `hp.refine`. `RefineOptions` and `SurfaceFiles` explain them."""

    correspondence: CorrespondenceKind
    prior: str
    densepose: Path | str | None
    charts: Path | str | None


@declared(RefineArguments, RefineOptions, RefineFiles, SurfaceFiles, EvidenceFiles, ComputeOptions)
def refine(
    fit: Fit | str | Path,
    frames: AnyFrames = None,
    *,
    preset: RefinePreset = "default",
    textures: Mapping[int, np.ndarray] | None = None,
    save_displacements: Path | str | None = None,
    displacement_frames: int = 100,
    body: Body | None = None,
    progress: bool | Progress | None = None,
    **arguments: Unpack[RefineArguments],
) -> Fit:
    """Move the bodies of a fit onto the pixels of its frames, as far as that aligns them better.

    `options.refinement` of the result says for each track and frame how much was accepted and how well it aligns.
    `textures` holds the people's textures.

    Args:
        fit: A `Fit`, or the path of a fit file. `hp.read_fits` reads fits of other programs.
        frames: The video, folder, images or (F, H, W, 3) uint8 that the fit was made from. None opens the files that
            the fit names.
        preset: "default", or "paper" for the procedure of Wehrbein et al. 2023, whose result is always accepted.
        textures: Track to (512, 512, 4) uint8, colour and confidence. None makes them from the frames.
        save_displacements: The file NAME.displacements.npz to write the displacements between textured fit and frames
            to.
        displacement_frames: The maximum number of frames whose displacements are written, spread evenly; fewer of
            more than three people.
        body: The body of the fit. Needed for SMPL fits that were read from files.
        progress: True draws a bar on stderr. A function is called with (done, total or None, unit).

    Returns:
        The refined fit, with the same rows.

    Raises:
        InputError: If frames of the fit are missing, or a file is damaged.
        UsageError: If an option is unusable, or has no effect.

    Example:
        >>> refined = hp.refine("clip.mp4.fit.npz", "clip.mp4")
        >>> refined.save("clip.refined.fit.npz")
    """
    check_call(refine, locals())
    values: Any = {**arguments}
    options = preset_options(preset, **taken(values, ("correspondence", "prior")))
    files = {name: Path(file) for name, file in taken(values, infos(SurfaceFiles)).items() if file is not None}
    fit, fit_frames = frames_of_fit(fit_of(fit), frames)
    surface = charted_points(fit.body_model(body), **files) if files else None
    with Refiner(options, surface=surface, **values) as refiner, progress_of(progress) as report:
        if textures is not None:
            refiner.check_compares("textures")
        path = None if save_displacements is None else Path(save_displacements)
        with displacement_file(path, refiner, fit, displacement_frames) as save:
            return refiner.refine(fit, fit_frames, body=body, textures=textures, progress=report, on_displacements=save)
