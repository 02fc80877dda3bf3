"""Writes the files of a fit: the fit file, textures, overlay and page, and cameras and views of a take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from humanpose_cli.avatar.frame_texture import texture_path
from humanpose_cli.avatar.look import look_path
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.fitting.comparison_page import write_comparison_page
from humanpose_cli.fitting.options import FitOutputs
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.steps import FitStep
from humanpose_cli.io.atomic import removed_on_failure
from humanpose_cli.io.image_sequences import numbered_paths
from humanpose_cli.io.images import write_image
from humanpose_cli.refining.frames import frames_of_fit
from humanpose_cli.views.inputs import take_outputs, view_outputs

_STEP_SHARE = 0.75  # of the work


@dataclass(frozen=True)
class PageFits:
    """Further fits on a page that compares a fit before and after.

    Attributes:
        others: Fits by name.
        truth: The true bodies.
    """

    others: Mapping[str, Fit] = field(default_factory=dict)
    truth: Fit | None = None


def apply_steps(
    fits: Sequence[Fit],
    steps: Sequence[FitStep],
    output: Path,
    outputs: FitOutputs,
    *,
    compared: Callable[[Fit], PageFits | None] = lambda before: None,
    progress: Progress = no_progress,
) -> tuple[Fit, tuple[Path, ...]]:
    """Apply steps to fits one after the other, and write the last fit. No new file stays after a failure.

    Args:
        fits: The fits.
        steps: The steps.
        output: The fit file.
        outputs: The further files.
        compared: Returns the further fits of the page for the fit before the steps.
        progress: Called with (done, total, unit).

    Returns:
        The last fit, and all files.
    """
    tracks = fits[0].tracks if len(fits) == 1 else ()
    possible = [output, *outputs.page_path(output)]
    possible += [path(output, track) for track in tracks for path in (texture_path, look_path)]
    possible += [path for sequence in (False, True) for path in outputs.overlay_path(output, sequence=sequence)]
    possible += [path for step in steps for path in step.outputs(output, tracks)]
    step_share = _STEP_SHARE if steps else 0.0
    before: Fit | None = None
    step_files: list[Path] = []
    with removed_on_failure(possible):
        for number, step in enumerate(steps):
            start, end = (step_share * n / len(steps) for n in (number, number + 1))
            before = before or (fits[0] if len(fits) == 1 else None)
            fits = [step(fits, output=output, progress=part_of(progress, start, end))]
            step_files += step.outputs(output, fits[0].tracks)
        (fit,) = fits
        page_fits = None if before is None else compared(before)
        writing = part_of(progress, step_share, 1)
        files = write_outputs(fit, output, outputs, before, compared=page_fits, progress=writing)
    numbers = fit.frame_numbers.tolist()
    return fit, (*files, *(file for path in step_files for file in numbered_paths(path, numbers)))


def write_outputs(
    fit: Fit,
    output: Path,
    outputs: FitOutputs,
    before: Fit | None = None,
    *,
    compared: PageFits | None = None,
    progress: Progress = no_progress,
) -> tuple[Path, ...]:
    """Write a fit and its further files.

    Args:
        fit: The fit.
        output: The fit file.
        outputs: The further files.
        before: The fit before the steps, with which the page compares it. None writes no page.
        compared: Further fits on the page.
        progress: Called with (done, total, unit).

    Returns:
        All files. For a take also cameras, plan, and a fit file, an overlay and a page of each camera.
    """
    fit.save(output)
    paths = [output, *(texture_path(output, track) for track in fit.textures)]
    paths += [look_path(output, track) for track in fit.looks]
    if len(fit.cameras) == 1:
        return (*paths, *_write_images(fit, output, outputs, before, compared, None, progress))
    from humanpose_cli.io.calibrations import write_calibration  # not needed for one camera
    from humanpose_cli.views.calibrated import calibration_of
    from humanpose_cli.views.plan import draw_plan

    cameras, plan_path = take_outputs(output)
    write_calibration(cameras, calibration_of(fit))
    plan = draw_plan(fit)
    write_image(plan_path, plan)
    paths += [cameras, plan_path]
    cameras_with_frames = fit.cameras_with_frames
    for index, (number, camera) in enumerate(cameras_with_frames.items()):
        share = part_of(progress, index / len(cameras_with_frames), (index + 1) / len(cameras_with_frames))
        path = view_outputs(output, camera.name)
        view = fit.view(number)
        replace(view, textures={}, looks={}).save(path)  # these are written once, next to the take
        view_before = None if before is None else before.view(number)
        paths += [path, *_write_images(view, path, outputs, view_before, None, plan, share)]
    return tuple(paths)


def _write_images(
    fit: Fit,
    path: Path,
    outputs: FitOutputs,
    before: Fit | None,
    compared: PageFits | None,
    plan: NDArray[Any] | None,
    progress: Progress,
) -> list[Path]:
    """Write the overlay and the page of a fit of one camera."""
    if fit.images is None:
        return []
    overlays = outputs.overlay_path(path, sequence=fit.images.is_sequence if len(fit.images.items) == 1 else None)
    pages = () if before is None else outputs.page_path(path)
    drawing = part_of(progress, 0, 0.6 if pages else 1)
    comparing = part_of(progress, 0.6 if overlays else 0, 1)
    for overlay in overlays:
        fit.save_overlay(
            overlay,
            drawing,
            video_codec=outputs.video_codec,
            from_the_side=outputs.side_view,
            labels=outputs.labels,
            dressed=outputs.dressed,
        )
    for page in pages:
        assert before is not None
        _write_page(page, before, fit, compared or PageFits(), plan, comparing)
    numbers = fit.frame_numbers.tolist()
    return [*(file for overlay in overlays for file in numbered_paths(overlay, numbers)), *pages]


def _write_page(
    path: Path, before: Fit, after: Fit, compared: PageFits, plan: NDArray[Any] | None, progress: Progress
) -> None:
    """Write the page that compares a fit with the one before, and with others."""
    label = fit_label(after, path) if compared.others else "after"
    others = {name if name != label else f"{name}, other": fit for name, fit in compared.others.items()}
    frames = frames_of_fit(before, None)[1].read()
    write_comparison_page(
        path,
        {"before": before, label: after, **others},
        frames,
        truth=compared.truth,
        title=f"{path.name.removesuffix('.refined.html')}, refined",
        plan=plan,
        looks=after.looks,
        progress=progress,
    )


def fit_label(fit: Fit, path: Path) -> str:
    """Name a fit on a page: by its refinement, its program, or its file."""
    settings = fit.options.get("refinement", {}).get("settings", {})
    if settings.get("correspondence"):
        return f"refined ({settings['correspondence']})"
    return str(fit.options.get("program") or path.name)
