"""Fit files and the inputs that they were made of as items of a batch, and what is written for each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.avatar.frame_texture import read_texture, texture_path, texture_png
from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import TexelMap
from humanpose_cli.core.errors import HpcError, InputError, UsageError
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.fitting.comparison_page import matched_rows, write_comparison_page
from humanpose_cli.fitting.detection_journal import journal_of
from humanpose_cli.fitting.fit_reading import read_fits
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import fit_outputs
from humanpose_cli.fitting.records import record_summary
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.atomic import removed_on_failure, write_together
from humanpose_cli.io.displacement_files import DISPLACEMENTS_SUFFIX
from humanpose_cli.io.fit_files import FIT_SUFFIX, fit_bytes
from humanpose_cli.io.inputs import InputItem, escaped
from humanpose_cli.io.protected import protect
from humanpose_cli.io.sniffing import reading_error
from humanpose_cli.refining.displacements import displacements_path, refine_with_displacements, sheet_path
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.options import DisplacementOutputs
from humanpose_cli.refining.refiner import TEXELS, Refiner

PAGE_SUFFIX = ".refined.html"
_FITTED = 0.3  # fraction of the work on an item that is done when it is fitted


@dataclass(frozen=True)
class FitWithFrames:
    """A file of fits, the inputs that its frames are in, and the files that its refinement is written to.

    outputs  the fit file, then the overlay, the page and the displacements if they are wanted
    error    why it cannot be refined
    compared, truth  files of other fits of the same people, and of the true bodies, which the page shows, too
    """

    path: Path
    inputs: tuple[InputItem, ...]
    outputs: tuple[Path, ...]
    error: HpcError | None = None
    compared: tuple[Path, ...] = ()
    truth: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that is read."""
        beside = (*self.compared, *([self.truth] if self.truth else []))
        return (*files_of_fit(self.path, self.inputs), *(file for path in beside for file in files_of_fit(path, ())))

    def read(self, body: str | Body = "default", *, camera: Path | None = None, smplx: Path | None = None) -> Fit:
        """The fit, which knows its frames; arguments and errors as `read_fits`."""
        return read_fits(self.path, body, self.inputs, camera=camera, smplx=smplx)

    def read_beside(self, fit: Fit, body: str | Body = "default", *, smplx: Path | None = None) -> PageFits:
        """What else the page shows beside the fit. InputError for a file without any of its people."""
        others: dict[str, Fit] = {}
        for path in self.compared:
            other = self._read_like(fit, path, body, smplx)
            label = fit_label(other, path)
            others[label if label not in others else f"{label}, {path.parent.name or path.name}"] = other
        return PageFits(others, None if self.truth is None else self._read_like(fit, self.truth, body, smplx))

    def _read_like(self, fit: Fit, path: Path, body: str | Body, smplx: Path | None) -> Fit:
        other = read_fits(path, body, self.inputs, smplx=smplx)
        if len(fit) and (matched_rows(fit, other) < 0).all():
            got = "people elsewhere" if len(other) else "nobody"
            raise InputError(path, f"shows none of the people of {self.path.name}", got=got)
        return other


@dataclass(frozen=True)
class PageFits:
    """Fits that a page shows beside those before and after, by their names, and the true bodies."""

    others: Mapping[str, Fit] = field(default_factory=dict)
    truth: Fit | None = None


def fit_label(fit: Fit, path: Path) -> str:
    """What a page calls a fit: how it was refined, the program it is of, or its file's name."""
    settings = fit.options.get("refinement", {}).get("settings", {})
    if settings.get("correspondence"):
        return f"refined ({settings['correspondence']})"
    return str(fit.options.get("program") or path.name)


def files_of_fit(path: Path, inputs: Sequence[InputItem]) -> tuple[Path, ...]:
    """What is read of fits: their file, or those of their folder, and those of the inputs of their frames."""
    fits = sorted(file for file in path.rglob("*") if file.is_file()) if os.path.isdir(path) else [path]
    return (*fits, *(file for item in inputs for file in item.files))


def fits_with_frames(
    paths: Sequence[Path],
    inputs: Sequence[InputItem],
    out: Path,
    *,
    overlay: bool = True,
    page: bool = True,
    displacements: bool = False,
    compare: Sequence[Path] = (),
    truth: Path | None = None,
) -> list[FitWithFrames]:
    """Which frames belong to which fits.

    paths   files of fits, and folders of fit files
    inputs  one file of fits takes all; several are matched by their names: `a/clip.mp4.fit.npz` is of `a/clip.mp4`
    out     a folder, or the fit file's name
    compare, truth  other fits and the true bodies for the page: files where there is one path, or folders with the fit
            files of all
    InputError where the only path is missing.
    """
    named = fit_files(paths)
    result = []
    for name, path, problem in named:
        found, error = ((), problem) if problem else inputs_of_fit(name, path, inputs, alone=len(named) == 1)
        outputs = _outputs(name, found, out, overlay)
        outputs = (*outputs, *refinement_outputs(outputs[0], page=page, displacements=displacements))
        beside: dict[str, Any] = {}
        try:
            names = (name, outputs[0].name, *(item.key + FIT_SUFFIX for item in found))
            beside["compared"] = tuple(_fit_beside(each, names, "compare", len(named)) for each in compare)
            beside["truth"] = None if truth is None else _fit_beside(truth, names, "truth", len(named))
        except InputError as missing:
            error = error or missing
        result.append(FitWithFrames(path, found, outputs, error, **beside))
    protect(file for task in result for file in task.files)
    return result


def _fit_beside(path: Path, names: Sequence[str], option: str, count: int) -> Path:
    """The file of a fit's people in another run's folder, or the file itself where there is one fit."""
    if not path.is_dir():
        if count > 1:
            raise UsageError(option, "is of one fit", got=f"{count} fits", remedy="a folder with a file for each")
        return path
    found = next((path / name for name in names if (path / name).is_file()), None)
    if found is None and (list(path.rglob(f"*{FIT_SUFFIX}")) or count > 1):
        raise InputError(path, "has no fits of this clip", expected=names[0])
    return found or path  # a folder as TRAM writes it


def inputs_of_fit(
    name: str, path: Path, inputs: Sequence[InputItem], *, alone: bool
) -> tuple[tuple[InputItem, ...], HpcError | None]:
    """Those of the inputs that hold a fit's frames, and the error where there are none.

    name, path  as `fit_files` gives them; alone: there is no other fit, and where none has its name, all inputs are its
                own
    """
    found = tuple(item for item in inputs if item.key + FIT_SUFFIX == name) or (tuple(inputs) if alone else ())
    if found:
        return found, None
    expected, got = name.removesuffix(FIT_SUFFIX), ", ".join(item.key for item in inputs[:4])
    return (), InputError(path, "has no frames", expected=f"{expected} among `frames`", got=got)


def _outputs(name: str, inputs: Sequence[InputItem], out: Path, overlay: bool) -> tuple[Path, ...]:
    if len(inputs) == 1:
        return fit_outputs(inputs[0], out, overlay=overlay)
    if out.suffix.lower() == ".npz" and not out.is_dir():
        return (out,)
    return (out / (name.removesuffix(FIT_SUFFIX) + FIT_SUFFIX),)


def fit_files(paths: Sequence[Path]) -> list[tuple[str, Path, HpcError | None]]:
    """Name below its folder, as outputs are called after it, path, and what is wrong with it, of every file of fits.
    InputError if the only path is wrong.
    """
    found: list[tuple[str, Path, HpcError | None]] = []
    for path in paths:
        try:
            os.stat(path)
        except OSError as error:
            problem = reading_error(path, error)
            if len(paths) == 1:
                raise problem from error
            found.append((escaped(path.name), path, problem))
            continue
        inside = sorted(path.rglob(f"*{FIT_SUFFIX}")) if path.is_dir() else []
        found += [(escaped(entry.relative_to(path).as_posix()), entry, None) for entry in inside]
        if not inside:  # a file, or a folder as TRAM writes it, which is one result
            found.append((escaped(path.name), path, None))
    protect(path for _, path, _ in found)
    return found


def page_path(fit: Path) -> Path:
    """Where the page that compares a refined fit with the one before lies: `clip.mp4.refined.html`."""
    return fit.with_name(_stem(fit) + PAGE_SUFFIX)


def refinement_outputs(fit: Path, *, page: bool, displacements: bool) -> tuple[Path, ...]:
    """What else is written beside a refined fit, as far as its names are known before: those wanted of page and file of
    displacements.
    """
    return (*((page_path(fit),) if page else ()), *((displacements_path(fit),) if displacements else ()))


def _stem(fit: Path) -> str:
    return os.fspath(fit.name).removesuffix(".npz").removesuffix(".fit")


def read_textures(path: Path, fit: Fit, output: Path) -> dict[int, NDArray[np.uint8]]:
    """Textures of a fit's tracks: of its only or largest one from a file, or of all from the folder of an earlier run.

    output  the fit file that is being made, which had the same name then
    InputError where a texture is missing, no texture or of another body.
    """
    body = fit.body_model()
    covered = TexelMap(body.uv, body.uv_faces, TEXELS).covered
    if path.is_dir():
        return {
            track: read_texture(texture_path(path / output.name, track), covered, body.name) for track in fit.tracks
        }
    if len(fit.tracks) > 1:
        remedy = "the folder of an earlier run, which has one for each"
        raise UsageError("texture", "is of one person", got=f"{len(fit.tracks)} people", remedy=remedy)
    return {track: read_texture(path, covered, body.name) for track in fit.tracks}


def refine_fit(
    refiner: Refiner,
    fit: Fit,
    outputs: Sequence[Path],
    *,
    texture: Path | None = None,
    displacement_frames: int = DisplacementOutputs().displacement_frames,
    beside: PageFits | None = None,
    progress: Progress = no_progress,
    **drawn: Any,
) -> tuple[Fit, tuple[Path, ...]]:
    """Refine a fit that knows its frames, and write it with its textures, then what else there are paths for: the
    overlay, the page that shows the fit before and after, and the displacements with their contact sheets.

    texture    as `read_textures` takes it; None: textures are made and written where refinement needs them
    beside     what else the page shows
    drawn      how the overlay is drawn, as of `Fit.save_overlay`
    Returns the refined fit and all files written; where it fails, nothing new is left.
    """
    assert fit.images is not None, "`FitWithFrames.read` gives its frames"
    frames = FitFrames(fit, fit.images, in_order=True)
    fields = next((path for path in outputs[1:] if path.name.endswith(DISPLACEMENTS_SUFFIX)), None)
    shown = [path for path in outputs[1:] if path != fields]
    textures, made = None, {}
    named = [texture_path(outputs[0], track) for track in fit.tracks]
    named += [sheet_path(fields, track) for track in fit.tracks] if fields else []
    with removed_on_failure([*outputs, *named]):
        if texture is not None:
            textures = read_textures(texture, fit, outputs[0])
        elif refiner.needs_textures and len(fit):
            textures = refiner.textures(fit, frames, progress=part_of(progress, 0, 0.15))
            made = {texture_path(outputs[0], track): texture_png(image, fit.body) for track, image in textures.items()}
        sheets: dict[Path, bytes] = {}
        options: dict[str, Any] = {"textures": textures, "rebake": texture is None}
        options["progress"] = part_of(progress, 0.15, 0.75)
        if fields is None:
            refined = refiner.refine(fit, frames, **options)
        else:
            max_frames = displacement_frames
            refined, sheets = refine_with_displacements(refiner, fit, frames, fields, max_frames=max_frames, **options)
        write_together({**sheets, **made, outputs[0]: fit_bytes(refined)})
        for number, path in enumerate(shown):
            share = 0.25 / len(shown)
            drawing = part_of(progress, 0.75 + share * number, 0.75 + share * (number + 1))
            if path.name.endswith(PAGE_SUFFIX):
                title = f"{_stem(outputs[0])}, refined"
                write_refined_page(path, fit, refined, frames, beside=beside, title=title, progress=drawing)
            else:
                refined.save_overlay(path, drawing, **drawn)
    return refined, (outputs[0], *made, *shown, *((fields,) if fields else ()), *sheets)


def write_refined_page(
    path: Path,
    fit: Fit,
    refined: Fit,
    frames: FitFrames,
    *,
    beside: PageFits | None = None,
    title: str = "",
    plan: NDArray[np.uint8] | None = None,
    progress: Progress = no_progress,
) -> None:
    """The page that compares a fit with its refinement, and with others; `plan` as `write_comparison_page` takes it."""
    beside = beside or PageFits()
    after = fit_label(refined, path) if beside.others else "after"
    others = {name if name != after else f"{name}, other": other for name, other in beside.others.items()}
    compared = {"before": fit, after: refined, **others}
    shown: dict[str, Any] = {"truth": beside.truth, "title": title, "plan": plan, "progress": progress}
    write_comparison_page(path, compared, frames.read(), **shown)


def refinement_hint(fit: Fit) -> str:
    """What refinement is good for, of a fit of one photograph; "" of others."""
    if fit.frame_count > 1 or not len(fit):
        return ""
    return "photographs: their refinement makes a texture of each person, and no motion"


def fit_and_refine(
    fitter: Fitter,
    refiner: Refiner,
    item: InputItem,
    outputs: Sequence[Path],
    *,
    displacement_frames: int = DisplacementOutputs().displacement_frames,
    progress: Progress = no_progress,
    **drawn: Any,
) -> tuple[Fit, tuple[Path, ...]]:
    """Fit the people of an item, and refine and write the fit as `refine_fit`, whose arguments and result it has.

    The journal of a sequence's people stays, as that of `fit_item`.
    """
    journal = journal_of(item, outputs[0], fitter.identity)
    fit = fitter.fit(item, progress=part_of(progress, 0, _FITTED), journal=journal)
    rest = part_of(progress, _FITTED, 1)
    return refine_fit(refiner, fit, outputs, displacement_frames=displacement_frames, progress=rest, **drawn)


def refined_summary(fit: Fit) -> dict[str, Any]:
    """What a line of a table says of a refined fit."""
    tracks = fit.options.get("refinement", {}).get("tracks", {}).values()

    def mean(name: str) -> float | None:
        values = [value for track in tracks for value in track[name] if value is not None]
        return float(np.mean(values)) if values else None

    return {
        **record_summary(fit),
        "accepted": mean("accepted"),
        "overlap_before": mean("overlap_before"),
        "overlap_after": mean("overlap_after"),
    }
