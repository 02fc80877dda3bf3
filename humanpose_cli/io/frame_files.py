"""References of a fit file to the files of its frames."""

from __future__ import annotations

import functools
import glob
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from humanpose_cli.core.errors import HpcError, InputError
from humanpose_cli.files.sniffing import reading_error
from humanpose_cli.io.folders import files_below
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange, parse_frame_range
from humanpose_cli.io.images import IMAGE_SUFFIXES, OTHER_IMAGE_SUFFIXES
from humanpose_cli.io.inputs import InputItem, open_inputs
from humanpose_cli.io.plates import COLOUR_SPACES
from humanpose_cli.outputs.ledger import is_own

Kind: TypeAlias = Literal["image", "video", "frames"]


@dataclass(frozen=True)
class FrameFiles:
    """The input of one camera: a video, a folder or numbered pattern of frames, or independent images.

    Attributes:
        kind: "image", "video" or "frames".
        paths: Absolute paths; several only for images.
        range: The fitted frames of a sequence, by their indices.
        start: Number of a video's first frame.
        colour_space: Name of the images' colour space; None for the one that the files name.
    """

    kind: Kind
    paths: tuple[Path, ...]
    range: FrameRange = ALL_FRAMES
    start: int = 0
    colour_space: str | None = None

    @classmethod
    def from_items(cls, items: Sequence[InputItem]) -> FrameFiles:
        """Build the reference to inputs: one sequence, or images."""
        paths = tuple(Path(os.path.abspath(item.path)) for item in items)
        return cls(items[0].kind, paths, items[0].range, items[0].start, items[0].colour_space)

    def items(self) -> tuple[InputItem, ...]:
        """Open the inputs again; names are taken literally.

        Raises InputError if they are missing or of another kind.
        """
        arguments, listed = self._arguments()
        for path in listed:  # of many, the first that is missing is enough
            try:
                os.stat(path)
            except OSError as error:
                raise reading_error(path, error) from error
        inputs = open_inputs(
            arguments,
            listed=map(str, listed),
            sequence=self.kind == "frames",
            start=self.start,
            colour_space=self.colour_space,
        )
        wrong = next((item.path for item in inputs if item.error is None and item.kind != self.kind), None)
        link = next((file for item in inputs for file in item.files if os.path.islink(file)), None)
        if wrong or link:
            problem = "is of another kind than the fit says" if wrong else "is a link"
            raise InputError(wrong or link, problem, expected=self.kind, remedy="name the input with `frames`")
        return tuple(replace(item, range=self.range) if item.is_sequence else item for item in inputs)

    def _arguments(self) -> tuple[list[Path], list[Path]]:
        """Return numbered patterns, and files; for a folder of frames its files, but not files in subfolders."""
        folder = next((path for path in self.paths if path.is_dir()), None)
        if folder is None:
            is_pattern = self.kind == "frames" and "%" in self.paths[0].name and not glob.has_magic(str(self.paths[0]))
            return (list(self.paths), []) if is_pattern else ([], list(self.paths))
        if self.kind != "frames":
            raise InputError(folder, "is a folder", expected=self.kind)
        _, names = next(files_below(folder, (), []), (folder, []))
        files = [folder / name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES | OTHER_IMAGE_SUFFIXES]
        if not files:
            raise InputError(folder, "holds no images", expected="the frames of the fit")
        return [], files


def untrusted_path(fit: Path, files: Sequence[FrameFiles]) -> Path | None:
    """Return a path that a fit file may not name; None if all are allowed.

    A fit that this user's `hpc` wrote where it is may name all paths. Another one may name paths below its folder,
    below the parent of hpc-out if it lies in hpc-out, and below the working directory. Other paths are not touched,
    because they may be on a network.
    """
    base = Path(os.path.abspath(fit)).parent
    base = next((each.parent for each in (base, *base.parents) if each.name == "hpc-out"), base)
    bases = (base, *_working_folder())
    inside = functools.cache(lambda path: any(_is_within(path, base) for base in bases))
    paths = (path for file in files for path in file.paths)
    unsure = (path for path in paths if os.path.islink(path) or not inside(path.parent))  # many files share a folder
    outside = next((path for path in unsure if not inside(path)), None)
    return None if outside is None or is_own(fit) else outside


def _working_folder() -> tuple[Path, ...]:
    """Return the working directory, unless it contains the user's home or is the root: these hold private files."""
    try:
        folder = Path.cwd()
        home = Path.home().resolve()
    except (OSError, RuntimeError):  # removed, or no home
        return ()
    return () if folder in (home, *home.parents, Path(folder.anchor)) else (folder,)


def frame_inputs(files: Sequence[FrameFiles], view_names: Sequence[str] = ()) -> tuple[InputItem, ...]:
    """Open the files of a fit's frames; the inputs of a take get the names of its views as keys."""
    if len(view_names) < 2:
        return tuple(item for reference in files for item in reference.items())
    pairs = zip(view_names, files, strict=False)
    return tuple(replace(item, key=str(name)) for name, reference in pairs for item in reference.items()[:1])


def frame_files_text(files: Sequence[FrameFiles], folder: Path) -> str:
    """Write references as JSON, with paths relative to the folder of the fit file if possible."""
    references = [
        {"kind": file.kind, "paths": [_relative(path, folder) for path in file.paths], "range": str(file.range)}
        | {name: value for name in ("start", "colour_space") if (value := getattr(file, name))}
        for file in files
    ]
    return json.dumps(references)


def read_frame_files(text: str, folder: Path) -> tuple[FrameFiles, ...]:
    """Parse the text of `frame_files_text`. Raises InputError if it is damaged."""
    try:
        return tuple(_parse(document, folder) for document in json.loads(text))
    except (HpcError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise InputError("frame_files", "are damaged", expected="kind, paths and range of each camera") from error


def _parse(document: Any, folder: Path) -> FrameFiles:
    kind, names = document["kind"], document["paths"]
    paths = tuple(Path(os.path.abspath(os.path.join(folder, name))) for name in names)
    start, space = document.get("start", 0), document.get("colour_space")
    if kind not in get_args(Kind) or not paths or any("\0" in str(path) for path in paths):
        raise ValueError(kind)
    if type(start) is not int or not 0 <= start < 1 << 31 or (space is not None and space not in COLOUR_SPACES):
        raise ValueError(start, space)
    return FrameFiles(kind, paths, parse_frame_range(document["range"]), start, space)


def _is_within(path: Path, base: Path) -> bool:
    within = base in (path, *path.parents)
    return within and Path(os.path.realpath(base)) in (real := Path(os.path.realpath(path)), *real.parents)


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, os.path.abspath(folder))).as_posix()
    except ValueError:  # another drive of Windows
        return path.as_posix()
