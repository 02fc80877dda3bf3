"""Fit files and their inputs as items of a batch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from humanpose_cli.core.errors import HpcError, InputError
from humanpose_cli.files.sniffing import reading_error
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.fit_files import named_inputs
from humanpose_cli.io.inputs import InputItem, escaped
from humanpose_cli.outputs.output_names import FIT_SUFFIX
from humanpose_cli.outputs.protection import protect


def files_of_fit(path: Path, inputs: Sequence[InputItem]) -> tuple[Path, ...]:
    """List the files of fits, or of their folder, and the files of the inputs."""
    fits = sorted(file for file in path.rglob("*") if file.is_file()) if os.path.isdir(path) else [path]
    return (*fits, *(file for item in inputs for file in item.files))


def inputs_of_fit(
    name: str, path: Path, inputs: Sequence[InputItem] | None, *, alone: bool
) -> tuple[tuple[InputItem, ...], HpcError | None]:
    """Choose the inputs with a fit's frames, or explain why there are none.

    Args:
        name: The name of the fit, from `fit_files`.
        path: The path of the fit, from `fit_files`.
        inputs: The inputs, matched by name: `a/clip.mp4.fit.npz` belongs to `a/clip.mp4`. None opens those that the
            file names.
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
