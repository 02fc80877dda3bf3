"""`hpc refine`: fits, ours or another program's, moved onto the pixels of their frames."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from humanpose_cli.cli.options import (
    BatchFlags,
    BodyOfFits,
    ComputeFlags,
    FitCamera,
    FitSmplx,
    Flags,
    FramesOfFits,
    OutOrFile,
    OverlayFlags,
    PersonTexture,
    argument,
    option,
)
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.errors import HpcError, InputError, UsageError
from humanpose_cli.core.result import CommandResult
from humanpose_cli.fitting.options import EvidenceFiles, FitOutputs, SurfaceFiles
from humanpose_cli.refining.options import RefineFiles, RefineOptions, RefinePreset, preset_options

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item
    from humanpose_cli.core.progress import Progress
    from humanpose_cli.fitting.result import Fit
    from humanpose_cli.fitting.steps import FitStep
    from humanpose_cli.io.inputs import InputItem
    from humanpose_cli.refining.steps import Refinement

_FITS = argument(
    "FITS...",
    "Fit files, folders of them, or results of 4D-Humans, WHAM, TRAM, PromptHMR, CameraHMR, GVHMR, SAM 3D Body or "
    "AMASS.",
)
_PRESET = option(
    "--preset",
    "default, or paper: SMPLify frame by frame, aligned by the displacement network or by keypoints, and always "
    "accepted.",
)
_DISPLACEMENTS = option(
    "--save-displacements",
    "Write displacement fields between the textured fit and the images (at most 100 frames).",
)
_DISPLACEMENT_FRAMES = 100


@command(
    columns=(
        ("people", "people", "Number of people."),
        ("accepted", "accepted", "How much of the refinement was accepted, 0 to 1."),
        ("overlap_before", "overlap before", "Mean overlap of body and silhouette before the refinement, 0 to 1."),
        ("overlap_after", "after", "Mean overlap of body and silhouette after the refinement."),
        ("error_px", "2-D error (px)", "Median distance in pixels between fitted and detected joints."),
    ),
    tunes=True,
    cluster="array",
    usual="--out --frames --body --keypoints --overlay --texture --overwrite --device --correspondence --preset",
    examples=(
        "hpc refine clip.mp4.fit.npz",
        "hpc refine fits/ --frames clips/ --out refined",
        "hpc refine wham_output.pkl --frames clip.mp4 --body smpl:SMPL_NEUTRAL.pkl",
        "hpc refine take.fit.npz",
        "hpc refine clip.mp4.fit.npz --correspondence flow --save-displacements",
        "hpc refine wham_output.pkl --frames clip.mp4 --body smpl:SMPL_NEUTRAL.pkl --keypoints openpose/",
    ),
)
def refine(
    session: Session,
    flags: BatchFlags,
    fits: Annotated[list[Path] | None, _FITS] = None,
    frames: FramesOfFits = None,
    preset: Annotated[RefinePreset, _PRESET] = "default",
    *,
    refining: Annotated[RefineOptions, Flags("correspondence prior")],
    files: RefineFiles,
    surface: SurfaceFiles,
    evidence: Annotated[EvidenceFiles, Flags("mask")],
    texture: PersonTexture = None,
    body: BodyOfFits = "default",
    camera: FitCamera = None,
    smplx: FitSmplx = None,
    drawing: OverlayFlags,
    save_displacements: Annotated[bool, _DISPLACEMENTS] = False,
    out: OutOrFile = Path("hpc-out/refine"),
    compute: ComputeFlags,
) -> CommandResult:
    """Move fitted bodies onto the pixels of their frames.

    Writes a fit file, an overlay and the people's textures and clothes for each fit.

    A body is moved only if its silhouette then overlaps the person better, and only as far; the fit file records where
    and how far. The fit of a take is refined with the pixels of all its cameras. Textures are NAME.person0.texture.png;
    --save-displacements adds NAME.displacements.npz.
    """
    paths = flags.fits(fits)
    inputs = flags.inputs(session, frames, out) if frames else None
    if inputs is None:
        _check_named_inputs(paths)
    _check_models(paths, body, smplx)
    options = session.tune(preset_options(preset, refining.correspondence, refining.prior))

    # These import torch, which takes seconds, after everything else has been checked.
    from contextlib import ExitStack

    from humanpose_cli.body.smpl import load_body
    from humanpose_cli.cli.fit_work import FitWork
    from humanpose_cli.exporting.looks import Dressing
    from humanpose_cli.files.digests import file_digest
    from humanpose_cli.fitting.fit_reading import read_fits
    from humanpose_cli.fitting.options import body_identity
    from humanpose_cli.refining.correspondences import charted_points, points_identity
    from humanpose_cli.refining.items import fit_files
    from humanpose_cli.refining.refiner import Refiner
    from humanpose_cli.refining.steps import Refinement

    named = fit_files(paths)
    if texture is not None and texture.is_file() and len(named) > 1:
        raise UsageError(
            "texture", "belongs to one fit", got=f"{len(named)} fits", remedy="the folder of an earlier run"
        )
    outputs = FitOutputs(**vars(drawing))
    session.reporter.step(0, None, "loading models")
    with ExitStack() as stack:
        recorded: dict[str, Any] = {"body": body_identity(body), **outputs.identity}
        points = None
        if surface.densepose is not None:
            points = charted_points(load_body(body), surface.densepose, surface.charts)
            recorded |= points_identity(surface.densepose, surface.charts)
        refiner = stack.enter_context(
            Refiner(options, surface=points, mask=evidence.mask, **vars(files), **vars(compute))
        )
        step = Refinement(refiner, texture, _DISPLACEMENT_FRAMES if save_displacements else 0)
        recorded |= step.identity
        steps: list[FitStep] = [step, Dressing(refiner.masks)]
        for name, path in (("camera", camera), ("smplx", smplx), ("texture", texture)):
            recorded[name] = path and file_digest(path)

        def read(item: Item, progress: Progress) -> list[Fit]:
            path, frame_inputs = item.payload
            fit = read_fits(path, body, frame_inputs, camera=camera, smplx=smplx)
            if fit.options.refinement is not None:
                session.reporter.info(f"{item.short}: refined before; refining it again changes little")
            if len(fit.cameras) > 1:
                if save_displacements:
                    remedy = "use the fit file of one of its views"
                    raise UsageError(
                        "save_displacements", "needs a fit of one camera", got="a take of several", remedy=remedy
                    )
                _refuse_shared_files(item, [camera.name for camera in fit.cameras], items)
            return [fit]

        items = _items(named, None if inputs is None else list(inputs), out, outputs, step)
        work = FitWork(
            session=session,
            read=read,
            outputs=outputs,
            steps=lambda item: steps,
            report=partial(_describe, session),
            share=0.0,
        )
        return flags.run(session, items, work, out, recorded)


def _items(
    named: Sequence[tuple[str, Path, HpcError | None]],
    inputs: Sequence[InputItem] | None,
    out: Path,
    outputs: FitOutputs,
    step: Refinement,
) -> list[Item]:
    """Make an item for each file of fits; its payload is the path and the inputs that hold the frames."""
    from humanpose_cli.batch.items import Item
    from humanpose_cli.outputs.output_names import fit_path
    from humanpose_cli.outputs.protection import protect
    from humanpose_cli.refining.items import files_of_fit, inputs_of_fit

    items = []
    for name, path, problem in named:
        sources, error = ((), problem) if problem else inputs_of_fit(name, path, inputs, alone=len(named) == 1)
        single = sources[0] if len(sources) == 1 else None
        output = fit_path(single.key if single and inputs else name, out)
        files = (*outputs.paths(output, sequence=single.is_sequence if single else None), *step.outputs(output))
        read_files = files_of_fit(path, sources)
        items.append(Item(path.name, read_files, str(path), path.parent, files, payload=(path, sources), error=error))
    protect(file for item in items for file in item.files)
    return items


def _describe(session: Session, item: Item, fit: Fit) -> None:
    """Report the purpose of a refinement, and bodies without keypoints."""
    from humanpose_cli.refining.items import keypoints_note, refinement_hint

    session.reporter.info(refinement_hint(fit))
    if note := keypoints_note(fit):
        session.reporter.info(f"{item.short}: {note}")


def _check_named_inputs(paths: Sequence[Path]) -> None:
    """Refuse a single fit that does not name the files of its frames."""
    from humanpose_cli.io.fit_files import named_inputs

    if len(paths) == 1 and not paths[0].is_dir():
        named_inputs(paths[0])


def _refuse_shared_files(take: Item, views: Sequence[str], items: Sequence[Item]) -> None:
    """Refuse a take whose views are also items of this run, as in the folder of a take."""
    from humanpose_cli.views.inputs import view_outputs

    written = {view_outputs(take.outputs[0], name) for name in views}
    for item in items:
        if item is not take and not written.isdisjoint(item.outputs):
            remedy = "refine takes and the fits of their cameras with different `out`"
            raise UsageError(take.name, f"would write the same files as {item.name}", remedy=remedy)


def _check_models(fits: Sequence[Path], body: str, smplx: Path | None) -> None:
    """Refuse other programs' files with parameters of another body; damaged files are reported as items."""
    from humanpose_cli.io.foreign_fits import check_model, read_foreign_fits

    for path in fits if body == "default" else ():
        with suppress(InputError):
            if os.path.isfile(path) and (foreign := read_foreign_fits(path)) is not None:
                check_model(path, foreign, body, smplx)
