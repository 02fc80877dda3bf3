"""One input of a command: a picture, or one sequence (a video or a folder of numbered pictures)."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from humanpose_cli.errors import HpcError, InputError
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange
from humanpose_cli.io.images import read_image
from humanpose_cli.io.prefetch import prefetch
from humanpose_cli.io.video import VideoInfo, VideoReader, probe_video

__all__ = ["Frame", "InputItem", "key_of", "output_path"]


@dataclass(frozen=True, eq=False)
class Frame:
    """A decoded frame.

    index  its number in the whole sequence, from 0, whatever `--frames` leaves out
    name  the picture's file name, or a video's frame number with six digits
    pixels  (H, W, 3) uint8 sRGB, upright
    focal  focal length in pixels from EXIF, or None
    alpha  (H, W) uint8, or None where it is opaque
    path  the picture's file; None for a video's frames
    """

    index: int
    name: str
    pixels: np.ndarray
    focal: float | None = None
    alpha: np.ndarray | None = None
    path: Path | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


OWN_SUFFIXES = (".overlay.jpg", ".overlay.mp4", ".reposed.png", ".reposed.mp4")
"""Endings of the pictures and videos that commands write: inside folders they are results, not inputs."""


@dataclass(frozen=True)
class InputItem:
    """An input, not read yet.

    key     its path relative to the input root: forward slashes, NFC, printable; unique within a command
    kind    'picture', 'video' or 'frames' (pictures that are one sequence)
    path    the file, or the folder of a 'frames' item
    files   all its files, in order
    root    the input root
    reason  why it is one sequence or independent, in words; "" where there was no choice
    range   the frames of a sequence that are asked for
    error   what is wrong with it already (missing, empty folder); reading raises it
    """

    key: str
    kind: Literal["picture", "video", "frames"]
    path: Path
    files: tuple[Path, ...]
    root: Path
    reason: str = ""
    range: FrameRange = ALL_FRAMES
    error: HpcError | None = None

    @property
    def is_sequence(self) -> bool:
        """Whether its frames follow each other in time."""
        return self.kind != "picture"

    @property
    def label(self) -> str:
        """The item as the user knows it: its path, relative to the working folder where it lies below it."""
        relative = os.path.relpath(self.path)
        return str(self.path) if relative.startswith("..") else relative

    @cached_property
    def _video(self) -> VideoInfo:
        return probe_video(self.path)

    @property
    def frame_rate(self) -> float | None:
        """Frames a second of a video; None where the input does not tell."""
        return self._video.frame_rate if self.kind == "video" else None

    @property
    def frame_count(self) -> int | None:
        """How many frames `frames` will give; of a video an estimate, None if unknown."""
        total = self._video.frame_count if self.kind == "video" else len(self.files)
        if not self.is_sequence or total is None:
            return total
        stop = total if self.range.stop is None else min(self.range.stop, total)
        return max(0, stop - self.range.start)

    def frames(self, ahead: int = 2) -> Generator[Frame, None, None]:
        """Decode in order, up to `ahead` frames in advance in a thread; close it to stop early.

        InputError where a file is missing, damaged, or has no frame in the range.
        """
        if self.error is not None:
            raise self.error
        decoded = self._decode()
        if not self.is_sequence or ahead < 1:
            yield from decoded
            return
        with closing(prefetch(decoded, ahead)) as frames:
            yield from frames

    def _decode(self) -> Generator[Frame, None, None]:
        if self.kind == "video":
            with closing(iter(VideoReader(self.path, self.range))) as pictures:
                for index, pixels in pictures:
                    yield Frame(index, f"{index:06d}", pixels)
            return
        start, stop = (self.range.start, self.range.stop) if self.is_sequence else (0, None)
        chosen = self.files[start:stop]
        if not chosen:
            raise InputError(
                self.path, "has no frame in the range", expected=f"frames {self.range}", got=f"{len(self.files)} frames"
            )
        for index, file in enumerate(chosen, start):
            picture = read_image(file)
            yield Frame(index, printable(file.name), picture.pixels, picture.focal_pixels, picture.alpha, file)


def printable(name: str) -> str:
    """NFC, and with bytes that are no UTF-8 written as \\xNN, so that it can stand in JSON."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))


def key_of(path: Path, root: Path) -> str:
    """The key of a file or folder: its path below the root; for the root itself, the folder's name."""
    relative = os.path.relpath(path, root)
    return printable(Path(path.name or "root").as_posix() if relative == "." else Path(relative).as_posix())


def output_path(item: InputItem, folder: Path | str, suffix: str) -> Path:
    """Where an item's output goes: mirrors the input tree and keeps extensions.

    `sub/a.jpg` with suffix `.fit.npz` becomes `FOLDER/sub/a.jpg.fit.npz`.
    """
    return Path(folder) / (item.key + suffix)
