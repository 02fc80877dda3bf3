"""Writes the files of a fit: the fit file, textures and overlay, and cameras and views of a take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from humanpose_cli.avatar.frame_texture import texture_path
from humanpose_cli.avatar.look import look_path
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.fitting.options import FitOutputs
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.steps import FitStep
from humanpose_cli.io.image_sequences import numbered_paths
from humanpose_cli.io.images import write_image
from humanpose_cli.outputs.atomic import removed_on_failure
from humanpose_cli.views.inputs import take_outputs, view_outputs

_STEP_SHARE = 0.75  # of the work


def apply_steps(
    fits: Sequence[Fit],
    steps: Sequence[FitStep],
    output: Path,
    outputs: FitOutputs,
    *,
    progress: Progress = no_progress,
) -> tuple[Fit, tuple[Path, ...]]:
    """Apply steps to fits one after the other, and write the last fit. No new file stays after a failure.

    Args:
        fits: The fits.
        steps: The steps.
        output: The fit file.
        outputs: The further files.
        progress: Called with (done, total, unit).

    Returns:
        The last fit, and all files.
    """
    tracks = fits[0].tracks if len(fits) == 1 else ()
    possible = [output]
    possible += [path(output, track) for track in tracks for path in (texture_path, look_path)]
    possible += [path for sequence in (False, True) for path in outputs.overlay_path(output, sequence=sequence)]
    possible += [path for step in steps for path in step.outputs(output, tracks)]
    step_share = _STEP_SHARE if steps else 0.0
    step_files: list[Path] = []
    with removed_on_failure(possible):
        for number, step in enumerate(steps):
            start, end = (step_share * n / len(steps) for n in (number, number + 1))
            fits = [step(fits, output=output, progress=part_of(progress, start, end))]
            step_files += step.outputs(output, fits[0].tracks)
        (fit,) = fits
        files = write_outputs(fit, output, outputs, progress=part_of(progress, step_share, 1))
    numbers = fit.frame_numbers.tolist()
    return fit, (*files, *(file for path in step_files for file in numbered_paths(path, numbers)))


def write_outputs(
    fit: Fit,
    output: Path,
    outputs: FitOutputs,
    *,
    progress: Progress = no_progress,
) -> tuple[Path, ...]:
    """Write a fit and its further files.

    Args:
        fit: The fit.
        output: The fit file.
        outputs: The further files.
        progress: Called with (done, total, unit).

    Returns:
        All files. For a take also cameras, plan, and a fit file and an overlay of each camera.
    """
    fit.save(output)
    paths = [output, *(texture_path(output, track) for track in fit.textures)]
    paths += [look_path(output, track) for track in fit.looks]
    if len(fit.cameras) == 1:
        return (*paths, *_write_overlay(fit, output, outputs, progress))
    from humanpose_cli.io.calibrations import write_calibration  # not needed for one camera
    from humanpose_cli.views.calibrated import calibration_of
    from humanpose_cli.views.plan import draw_plan

    cameras, plan_path = take_outputs(output)
    write_calibration(cameras, calibration_of(fit))
    write_image(plan_path, draw_plan(fit))
    paths += [cameras, plan_path]
    cameras_with_frames = fit.cameras_with_frames
    for index, (number, camera) in enumerate(cameras_with_frames.items()):
        share = part_of(progress, index / len(cameras_with_frames), (index + 1) / len(cameras_with_frames))
        path = view_outputs(output, camera.name)
        view = fit.view(number)
        replace(view, textures={}, looks={}).save(path)  # these are written once, next to the take
        paths += [path, *_write_overlay(view, path, outputs, share)]
    return tuple(paths)


def _write_overlay(fit: Fit, path: Path, outputs: FitOutputs, progress: Progress) -> list[Path]:
    """Write the overlay of a fit of one camera."""
    if fit.images is None:
        return []
    overlays = outputs.overlay_path(path, sequence=fit.images.is_sequence if len(fit.images.items) == 1 else None)
    for overlay in overlays:
        fit.save_overlay(
            overlay,
            progress,
            video_codec=outputs.video_codec,
            labels=outputs.labels,
            dressed=outputs.dressed,
        )
    numbers = fit.frame_numbers.tolist()
    return [file for overlay in overlays for file in numbered_paths(overlay, numbers)]
