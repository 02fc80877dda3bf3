"""Fit files and their inputs as items of a batch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import HpcError, InputError
from humanpose_cli.fitting.fit_reading import read_fits
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.fit_files import named_inputs
from humanpose_cli.io.inputs import InputItem, escaped
from humanpose_cli.io.output_names import FIT_SUFFIX, fit_path
from humanpose_cli.io.sniffing import reading_error
from humanpose_cli.outputs.protection import protect


@dataclass(frozen=True)
class FitWithFrames:
    """A file of fits, and the inputs with its frames.

    Attributes:
        path: The file of fits.
        inputs: The inputs.
        output: The fit file that is written.
        error: The reason why the fit cannot be refined.
    """

    path: Path
    inputs: tuple[InputItem, ...]
    output: Path
    error: HpcError | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        return files_of_fit(self.path, self.inputs)

    @property
    def is_sequence(self) -> bool | None:
        """Whether the frames follow each other in time. None for several inputs."""
        return self.inputs[0].is_sequence if len(self.inputs) == 1 else None

    def read(self, body: str | Body = "default", *, camera: Path | None = None, smplx: Path | None = None) -> Fit:
        """Read the fit with its frames. See `read_fits`."""
        return read_fits(self.path, body, self.inputs, camera=camera, smplx=smplx)


def files_of_fit(path: Path, inputs: Sequence[InputItem]) -> tuple[Path, ...]:
    """List the files of fits, or of their folder, and the files of the inputs."""
    fits = sorted(file for file in path.rglob("*") if file.is_file()) if os.path.isdir(path) else [path]
    return (*fits, *(file for item in inputs for file in item.files))


def fits_with_frames(
    paths: Sequence[Path],
    inputs: Sequence[InputItem] | None,
    out: Path,
) -> list[FitWithFrames]:
    """Find the frames of fits.

    Args:
        paths: Files of fits, and folders of fit files.
        inputs: The inputs. A single file of fits takes all of them. Several files are matched by name:
            `a/clip.mp4.fit.npz` belongs to `a/clip.mp4`. None opens the inputs that the fit files name.
        out: A folder, or the fit file's name.

    Raises:
        InputError: If the only path is missing.
    """
    named = fit_files(paths)
    result = []
    for name, path, problem in named:
        items, error = ((), problem) if problem else inputs_of_fit(name, path, inputs, alone=len(named) == 1)
        output = fit_path(items[0].key if inputs and len(items) == 1 else name, out)
        result.append(FitWithFrames(path, items, output, error))
    protect(file for task in result for file in task.files)
    return result


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
    return inputs_of_fit(path.name, path, None, alone=True)[0]


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
    count = (fit.options.refinement or {}).get("without_keypoints", 0)
    return f"{count} of {len(fit)} bodies have no keypoints in their frames" if count else ""


def refinement_hint(fit: Fit) -> str:
    """Say what refinement does for the fit of a photograph. "" for other fits."""
    if fit.frame_count > 1 or not len(fit):
        return ""
    return "photographs: their refinement makes a texture of each person, but no motion"
