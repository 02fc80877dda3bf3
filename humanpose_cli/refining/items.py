"""Fit files and their inputs as items of a batch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import HpcError, InputError, UsageError
from humanpose_cli.fitting.comparison_page import matched_rows
from humanpose_cli.fitting.fit_reading import read_fits
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.fit_files import named_inputs
from humanpose_cli.io.inputs import InputItem, escaped
from humanpose_cli.io.output_names import FIT_SUFFIX, fit_path
from humanpose_cli.io.protected import protect
from humanpose_cli.io.sniffing import reading_error
from humanpose_cli.refining.outputs import PageFits, fit_label


@dataclass(frozen=True)
class FitWithFrames:
    """A file of fits, and the inputs with its frames.

    Attributes:
        path: The file of fits.
        inputs: The inputs.
        output: The fit file that is written.
        error: The reason why the fit cannot be refined.
        compared: Files of other fits of the same people, which the page shows, too.
        truth: The file of the true bodies, which the page shows, too.
    """

    path: Path
    inputs: tuple[InputItem, ...]
    output: Path
    error: HpcError | None = None
    compared: tuple[Path, ...] = ()
    truth: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        page_paths = (*self.compared, *([self.truth] if self.truth else []))
        page_files = (file for path in page_paths for file in files_of_fit(path, ()))
        return (*files_of_fit(self.path, self.inputs), *page_files)

    @property
    def is_sequence(self) -> bool | None:
        """Whether the frames follow each other in time. None for several inputs."""
        return self.inputs[0].is_sequence if len(self.inputs) == 1 else None

    def read(self, body: str | Body = "default", *, camera: Path | None = None, smplx: Path | None = None) -> Fit:
        """Read the fit with its frames. See `read_fits`."""
        return read_fits(self.path, body, self.inputs, camera=camera, smplx=smplx)

    def read_beside(self, fit: Fit, body: str | Body = "default", *, smplx: Path | None = None) -> PageFits:
        """Read the other fits of the page.

        Raises:
            InputError: If a file shows none of the fit's people.
        """
        compared: dict[str, Fit] = {}
        for path in self.compared:
            compared_fit = self._read_matching(fit, path, body, smplx)
            label = fit_label(compared_fit, path)
            label = label if label not in compared else f"{label}, {path.parent.name or path.name}"
            compared[label] = compared_fit
        return PageFits(compared, None if self.truth is None else self._read_matching(fit, self.truth, body, smplx))

    def _read_matching(self, fit: Fit, path: Path, body: str | Body, smplx: Path | None) -> Fit:
        result = read_fits(path, body, self.inputs, smplx=smplx)
        if len(fit) and (matched_rows(fit, result) < 0).all():
            got = "people elsewhere" if len(result) else "nobody"
            raise InputError(path, f"shows none of the people of {self.path.name}", got=got)
        return result


def files_of_fit(path: Path, inputs: Sequence[InputItem]) -> tuple[Path, ...]:
    """List the files of fits, or of their folder, and the files of the inputs."""
    fits = sorted(file for file in path.rglob("*") if file.is_file()) if os.path.isdir(path) else [path]
    return (*fits, *(file for item in inputs for file in item.files))


def fits_with_frames(
    paths: Sequence[Path],
    inputs: Sequence[InputItem] | None,
    out: Path,
    *,
    compare: Sequence[Path] = (),
    truth: Path | None = None,
) -> list[FitWithFrames]:
    """Find the frames of fits.

    Args:
        paths: Files of fits, and folders of fit files.
        inputs: The inputs. A single file of fits takes all of them. Several files are matched by name:
            `a/clip.mp4.fit.npz` belongs to `a/clip.mp4`. None opens the inputs that the fit files name.
        out: A folder, or the fit file's name.
        compare: Other fits for the page: files if there is one path, or folders with the fit files of all.
        truth: The true bodies for the page, a file or a folder.

    Raises:
        InputError: If the only path is missing.
    """
    named = fit_files(paths)
    result = []
    for name, path, problem in named:
        items, error = ((), problem) if problem else inputs_of_fit(name, path, inputs, alone=len(named) == 1)
        output = fit_path(items[0].key if inputs and len(items) == 1 else name, out)
        page_paths: dict[str, Any] = {}
        try:
            names = (name, output.name, *(item.key + FIT_SUFFIX for item in items))
            page_paths["compared"] = tuple(_matching_file(other, names, "compare", len(named)) for other in compare)
            page_paths["truth"] = None if truth is None else _matching_file(truth, names, "truth", len(named))
        except InputError as missing:
            error = error or missing
        result.append(FitWithFrames(path, items, output, error, **page_paths))
    protect(file for task in result for file in task.files)
    return result


def _matching_file(path: Path, names: Sequence[str], option: str, count: int) -> Path:
    """Find the file of a fit in another run's folder. A file itself matches if there is one fit."""
    if not path.is_dir():
        if count > 1:
            raise UsageError(option, "is of one fit", got=f"{count} fits", remedy="a folder with a file for each")
        return path
    match = next((path / name for name in names if (path / name).is_file()), None)
    if match is None and (list(path.rglob(f"*{FIT_SUFFIX}")) or count > 1):
        raise InputError(path, "has no fits of this clip", expected=names[0])
    return match or path  # a folder as TRAM writes it


def inputs_of_fit(
    name: str, path: Path, inputs: Sequence[InputItem] | None, *, alone: bool
) -> tuple[tuple[InputItem, ...], HpcError | None]:
    """Choose the inputs with a fit's frames, or explain why there are none.

    Args:
        name: The name of the fit, from `fit_files`.
        path: The path of the fit, from `fit_files`.
        inputs: The inputs. None opens those that the file names.
        alone: Whether there is no other fit. Then all inputs belong to it if none has its name.
    """
    if inputs is None:
        try:
            return named_inputs(path), None
        except HpcError as error:
            return (), error
    items = tuple(item for item in inputs if item.key + FIT_SUFFIX == name) or (tuple(inputs) if alone else ())
    if items:
        return items, None
    expected, got = name.removesuffix(FIT_SUFFIX), ", ".join(item.key for item in inputs[:4])
    return (), InputError(path, "has no frames", expected=f"{expected} among `frames`", got=got)


def named_frames(path: Path) -> tuple[InputItem, ...]:
    """Open the inputs that a fit file names. () if they no longer exist."""
    try:
        return named_inputs(path)
    except HpcError:
        return ()


def fit_files(paths: Sequence[Path]) -> list[tuple[str, Path, HpcError | None]]:
    """List the name, the path and the problem of every file of fits. Names are relative to their folder.

    Raises:
        InputError: If the only path is missing.
    """
    files: list[tuple[str, Path, HpcError | None]] = []
    for path in paths:
        try:
            os.stat(path)
        except OSError as error:
            problem = reading_error(path, error)
            if len(paths) == 1:
                raise problem from error
            files.append((escaped(path.name), path, problem))
            continue
        fits_in_folder = sorted(path.rglob(f"*{FIT_SUFFIX}")) if path.is_dir() else []
        files += [(escaped(entry.relative_to(path).as_posix()), entry, None) for entry in fits_in_folder]
        if not fits_in_folder:  # a file, or a folder as TRAM writes it, which is one result
            files.append((escaped(path.name), path, None))
    protect(path for _, path, _ in files)
    return files


def keypoints_note(fit: Fit) -> str:
    """Say how many bodies of a refined fit had no keypoints. "" if all had some."""
    count = fit.options.get("refinement", {}).get("without_keypoints", 0)
    return f"{count} of {len(fit)} bodies have no keypoints in their frames" if count else ""


def refinement_hint(fit: Fit) -> str:
    """Say what refinement does for the fit of a photograph. "" for other fits."""
    if fit.frame_count > 1 or not len(fit):
        return ""
    return "photographs: their refinement makes a texture of each person, but no motion"
