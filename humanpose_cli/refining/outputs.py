"""The files that are written of a fit: itself, its textures, overlay and page; of a take also cameras and views."""

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
from humanpose_cli.io.calibrations import write_calibration
from humanpose_cli.io.images import write_image
from humanpose_cli.refining.frames import frames_of_fit
from humanpose_cli.views.calibrated import calibration_of
from humanpose_cli.views.inputs import take_outputs, view_outputs
from humanpose_cli.views.plan import draw_plan

_SOLVED = 0.75  # fraction of the work that is done when the steps are applied


@dataclass(frozen=True)
class PageFits:
    """Fits that a page shows beside those before and after, by their names, and the true bodies."""

    others: Mapping[str, Fit] = field(default_factory=dict)
    truth: Fit | None = None


def apply_steps(
    fits: Sequence[Fit],
    steps: Sequence[FitStep],
    output: Path,
    outputs: FitOutputs,
    *,
    beside: Callable[[Fit], PageFits | None] = lambda before: None,
    progress: Progress = no_progress,
) -> tuple[Fit, tuple[Path, ...]]:
    """Apply steps to fits one after the other, and write the last fit; arguments as `write_outputs`.

    Returns the fit and all files. If it fails, no new file stays.
    """
    tracks = fits[0].tracks if len(fits) == 1 else ()
    possible = [output, *outputs.page_path(output), *_files_of_people(output, tracks)]
    possible += [path for sequence in (False, True) for path in outputs.overlay_path(output, sequence=sequence)]
    possible += [path for step in steps for path in step.outputs(output, tracks)]
    solved_share = _SOLVED if steps else 0.0
    before: Fit | None = None
    of_steps: list[Path] = []
    with removed_on_failure(possible):
        for number, step in enumerate(steps):
            start, end = (solved_share * n / len(steps) for n in (number, number + 1))
            before = before or (fits[0] if len(fits) == 1 else None)
            fits = [step(fits, output=output, progress=part_of(progress, start, end))]
            of_steps += step.outputs(output, fits[0].tracks)
        (fit,) = fits
        page = None if before is None else beside(before)
        files = write_outputs(fit, output, outputs, before, beside=page, progress=part_of(progress, solved_share, 1))
    return fit, (*files, *of_steps)


def write_outputs(
    fit: Fit,
    output: Path,
    outputs: FitOutputs,
    before: Fit | None = None,
    *,
    beside: PageFits | None = None,
    progress: Progress = no_progress,
) -> tuple[Path, ...]:
    """Write a fit and what belongs to it.

    Returns the files. Of a take: cameras, plan, and of each camera a fit file, an overlay and a page.

    Args:
        output: The fit file.
        outputs: What else is written.
        before: The fit before the steps, which a page compares with it; None: no page.
        beside: What else the page shows.
    """
    fit.save(output)
    paths = [output, *(texture_path(output, track) for track in fit.textures)]
    paths += [look_path(output, track) for track in fit.looks]
    if len(fit.cameras) == 1:
        return (*paths, *_write_images(fit, output, outputs, before, beside, None, progress))
    cameras, plan_path = take_outputs(output)
    write_calibration(cameras, calibration_of(fit))
    plan = draw_plan(fit)
    write_image(plan_path, plan)
    paths += [cameras, plan_path]
    cameras_with_frames = fit.cameras_with_frames
    for index, (number, camera) in enumerate(cameras_with_frames.items()):
        share = part_of(progress, index / len(cameras_with_frames), (index + 1) / len(cameras_with_frames))
        path, view = view_outputs(output, camera.name), fit.view(number)
        replace(view, textures={}, looks={}).save(path)  # which are written once, beside the take
        of_view = None if before is None else before.view(number)
        paths += [path, *_write_images(view, path, outputs, of_view, None, plan, share)]
    return tuple(paths)


def _files_of_people(output: Path, tracks: Sequence[int]) -> list[Path]:
    return [path(output, track) for track in tracks for path in (texture_path, look_path)]


def _write_images(
    fit: Fit,
    path: Path,
    outputs: FitOutputs,
    before: Fit | None,
    beside: PageFits | None,
    plan: NDArray[Any] | None,
    progress: Progress,
) -> list[Path]:
    """Write the overlay and the page of a fit of one camera."""
    if fit.images is None:
        return []
    overlays = outputs.overlay_path(path, sequence=fit.images.is_sequence if len(fit.images.items) == 1 else None)
    pages = () if before is None else outputs.page_path(path)
    drawing, comparing = part_of(progress, 0, 0.6 if pages else 1), part_of(progress, 0.6 if overlays else 0, 1)
    codec, labels, side_view = outputs.video_codec, outputs.labels, outputs.side_view
    for overlay in overlays:
        fit.save_overlay(
            overlay, drawing, video_codec=codec, from_the_side=side_view, labels=labels, dressed=outputs.dressed
        )
    for page in pages:
        assert before is not None
        _write_page(page, before, fit, beside or PageFits(), plan, comparing)
    return [*overlays, *pages]


def _write_page(
    path: Path, before: Fit, after: Fit, beside: PageFits, plan: NDArray[Any] | None, progress: Progress
) -> None:
    """Write the page that compares a fit with the one before, and with others."""
    label = fit_label(after, path) if beside.others else "after"
    others = {name if name != label else f"{name}, other": other for name, other in beside.others.items()}
    frames = frames_of_fit(before, None)[1].read()
    write_comparison_page(
        path,
        {"before": before, label: after, **others},
        frames,
        truth=beside.truth,
        title=f"{path.name.removesuffix('.refined.html')}, refined",
        plan=plan,
        looks=after.looks,
        progress=progress,
    )


def fit_label(fit: Fit, path: Path) -> str:
    """Name a fit on a page: how it was refined, the program it is of, or its file's name."""
    settings = fit.options.get("refinement", {}).get("settings", {})
    if settings.get("correspondence"):
        return f"refined ({settings['correspondence']})"
    return str(fit.options.get("program") or path.name)
