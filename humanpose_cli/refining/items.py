"""Fit files and the inputs that they were made of, as items of a batch."""

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
    """A file of fits, and the inputs that its frames are in.

    Attributes:
        output: The fit file that is written.
        error: Why it cannot be refined.
        compared, truth: Files of other fits of the same people, and of the true bodies, which the page shows, too.
    """

    path: Path
    inputs: tuple[InputItem, ...]
    output: Path
    error: HpcError | None = None
    compared: tuple[Path, ...] = ()
    truth: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that is read."""
        beside = (*self.compared, *([self.truth] if self.truth else []))
        return (*files_of_fit(self.path, self.inputs), *(file for path in beside for file in files_of_fit(path, ())))

    @property
    def is_sequence(self) -> bool | None:
        """Whether the frames follow each other in time; None for several inputs."""
        return self.inputs[0].is_sequence if len(self.inputs) == 1 else None

    def read(self, body: str | Body = "default", *, camera: Path | None = None, smplx: Path | None = None) -> Fit:
        """Read the fit with its frames; arguments and errors as `read_fits`."""
        return read_fits(self.path, body, self.inputs, camera=camera, smplx=smplx)

    def read_beside(self, fit: Fit, body: str | Body = "default", *, smplx: Path | None = None) -> PageFits:
        """Read what else the page shows beside the fit. Raises InputError for a file without any of its people."""
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


def files_of_fit(path: Path, inputs: Sequence[InputItem]) -> tuple[Path, ...]:
    """List what is read of fits: their file, or those of their folder, and those of the inputs of their frames."""
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

    Raises InputError if the only path is missing.

    Args:
        paths: Files of fits, and folders of fit files.
        inputs: One file of fits takes all; several are matched by their names: `a/clip.mp4.fit.npz` is of
            `a/clip.mp4`. None: those that the fit files name.
        out: A folder, or the fit file's name.
        compare, truth: Other fits and the true bodies for the page: files where there is one path, or folders with
            the fit files of all.
    """
    named = fit_files(paths)
    result = []
    for name, path, problem in named:
        items, error = ((), problem) if problem else inputs_of_fit(name, path, inputs, alone=len(named) == 1)
        output = fit_path(items[0].key if inputs and len(items) == 1 else name, out)
        beside: dict[str, Any] = {}
        try:
            names = (name, output.name, *(item.key + FIT_SUFFIX for item in items))
            beside["compared"] = tuple(_fit_beside(each, names, "compare", len(named)) for each in compare)
            beside["truth"] = None if truth is None else _fit_beside(truth, names, "truth", len(named))
        except InputError as missing:
            error = error or missing
        result.append(FitWithFrames(path, items, output, error, **beside))
    protect(file for task in result for file in task.files)
    return result


def _fit_beside(path: Path, names: Sequence[str], option: str, count: int) -> Path:
    """Find the file of a fit's people in another run's folder, or the file itself where there is one fit."""
    if not path.is_dir():
        if count > 1:
            raise UsageError(option, "is of one fit", got=f"{count} fits", remedy="a folder with a file for each")
        return path
    found = next((path / name for name in names if (path / name).is_file()), None)
    if found is None and (list(path.rglob(f"*{FIT_SUFFIX}")) or count > 1):
        raise InputError(path, "has no fits of this clip", expected=names[0])
    return found or path  # a folder as TRAM writes it


def inputs_of_fit(
    name: str, path: Path, inputs: Sequence[InputItem] | None, *, alone: bool
) -> tuple[tuple[InputItem, ...], HpcError | None]:
    """Choose the inputs that hold a fit's frames, and explain if there are none.

    Args:
        name, path: As `fit_files` gives them.
        inputs: None: those that the file names.
        alone: Whether there is no other fit: if no input has its name, all inputs are its own.
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
    """Open the inputs that a fit file names; () if they are gone."""
    try:
        return named_inputs(path)
    except HpcError:
        return ()


def fit_files(paths: Sequence[Path]) -> list[tuple[str, Path, HpcError | None]]:
    """List name below its folder, as outputs are called after it, path, and what is wrong, of every file of fits.
    Raises InputError if the only path is wrong.
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


def keypoints_note(fit: Fit) -> str:
    """Say how many bodies of a refined fit had no keypoints; "" if all had some."""
    count = fit.options.get("refinement", {}).get("without_keypoints", 0)
    return f"{count} of {len(fit)} bodies have no keypoints in their frames" if count else ""


def refinement_hint(fit: Fit) -> str:
    """Say what refinement is good for, of a fit of one photograph; "" of others."""
    if fit.frame_count > 1 or not len(fit):
        return ""
    return "photographs: their refinement makes a texture of each person, and no motion"
