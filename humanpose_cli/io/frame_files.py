"""The files that the frames of a fit were read from, as a fit file keeps them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from humanpose_cli.core.errors import HpcError, InputError
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange, parse_frame_range
from humanpose_cli.io.inputs import InputItem, open_inputs

Kind: TypeAlias = Literal["image", "video", "frames"]


@dataclass(frozen=True)
class FrameFiles:
    """The input of one camera: a video, a folder or numbered pattern of frames, or independent images.

    paths  absolute; several only of images
    range  the frames of a sequence that were fitted
    """

    kind: Kind
    paths: tuple[Path, ...]
    range: FrameRange = ALL_FRAMES

    @classmethod
    def of(cls, items: Sequence[InputItem]) -> FrameFiles:
        """Make the reference to some inputs: one sequence, or images."""
        return cls(items[0].kind, tuple(Path(os.path.abspath(item.path)) for item in items), items[0].range)

    def items(self) -> tuple[InputItem, ...]:
        """Open the inputs again. Raises InputError if they are not there."""
        return tuple(open_inputs(self.paths, sequence=self.kind == "frames", frames=self.range))


def frame_files_text(files: Sequence[FrameFiles], folder: Path) -> str:
    """Write references as JSON, with paths relative to the folder of the fit file where that is possible."""
    return json.dumps(
        [
            {"kind": each.kind, "paths": [_relative(path, folder) for path in each.paths], "range": str(each.range)}
            for each in files
        ],
        ensure_ascii=True,
    )


def read_frame_files(text: str, folder: Path) -> tuple[FrameFiles, ...]:
    """Read what `frame_files_text` wrote. Raises InputError if it is damaged."""
    try:
        return tuple(_parse(document, folder) for document in json.loads(text))
    except (HpcError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise InputError("frame_files", "are damaged", expected="kind, paths and range of each camera") from error


def _parse(document: Any, folder: Path) -> FrameFiles:
    kind, paths = document["kind"], tuple(Path(os.path.abspath(folder / path)) for path in document["paths"])
    if kind not in get_args(Kind) or not paths or any("\0" in str(path) for path in paths):
        raise ValueError(kind)
    return FrameFiles(kind, paths, parse_frame_range(document["range"]))


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, os.path.abspath(folder))).as_posix()
    except ValueError:  # another drive of Windows
        return path.as_posix()
