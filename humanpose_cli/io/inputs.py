"""Inputs of commands: files, folders, globs, videos, and a list on stdin.

The order is: `Frame` and `InputItem`, an input and its decoding; keys; `open_inputs`, which expands the arguments and
makes the items.
"""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from fractions import Fraction
from itertools import chain, takewhile
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from humanpose_cli.core.errors import HpcError, InputError, UsageError
from humanpose_cli.files.notes import note_once
from humanpose_cli.files.paths import found_path, normal, relative_path
from humanpose_cli.files.sniffing import file_kind, reader_of, reading_error, refuse_pipes
from humanpose_cli.files.text_files import read_list
from humanpose_cli.io.folders import SKIPPED_FOLDERS, files_below
from humanpose_cli.io.frame_conversion import fitted_into, fitting_scale
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange, exact_rate
from humanpose_cli.io.image_sequences import (
    NUMBER_PLACEHOLDER,
    SequenceVerdict,
    check_sequence,
    frame_numbers_of,
    min_digits,
    natural_order,
    numbered_sequence,
    sequence_name,
)
from humanpose_cli.io.images import (
    ANIMATED_SUFFIXES,
    IMAGE_SUFFIXES,
    LIGHT_SUFFIXES,
    OTHER_IMAGE_SUFFIXES,
    LightView,
    check_image_file,
    image_size,
    is_animation,
    read_image,
)
from humanpose_cli.io.plates import COLOUR_SPACES
from humanpose_cli.io.video import VIDEO_SUFFIXES, Damage, VideoReader, prefetch, probe_video, video_range
from humanpose_cli.outputs.protection import protect


@dataclass(frozen=True, eq=False)
class Frame:
    """A decoded frame.

    Attributes:
        index: Index in the sequence, from 0; `--frames` does not change it.
        name: File name of the image, or a video's frame number with six digits.
        pixels: (H, W, 3) uint8, sRGB. The upright image.
        focal: Focal length in pixels from EXIF, or None.
        path: The image's file; None for a video.
        time: Time on the video's clock in seconds; None if unknown.
        number: The image's number in the names of a sequence, or a video's from its `start` on; None for the index.
        damage: Damage of a video's frame.
        principal_point: Principal point in pixels of a part of an image; None for the middle.
        min_focal: Lower bound of a crop's focal length in pixels, or None.
    """

    index: int
    name: str
    pixels: np.ndarray
    focal: float | None = None
    path: Path | None = None
    time: Fraction | None = None
    number: int | None = None
    damage: Damage = ""
    principal_point: tuple[float, float] | None = None
    min_focal: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


OUTPUT_SUFFIXES = (
    *(".overlay.jpg", ".overlay.mp4", ".reposed.png", ".reposed.mp4", ".texture.png", ".displacements.jpg"),
    *(".mask.png", ".matte.png", ".masks.mp4"),
)
"""Endings of the images and videos that commands write: in folders they are results, not inputs."""


@dataclass(frozen=True)
class InputItem:
    """An input that is not read yet.

    Attributes:
        key: Path relative to the input root: forward slashes, NFC, printable; unique within a command.
        kind: 'image', 'video' or 'frames' (images that are one sequence).
        path: The file, or the folder or numbered pattern of a 'frames' item.
        files: All files, in order.
        root: The input root.
        numbers: Rising numbers in the names of a sequence's files; () if they have none.
        start: Number of a video's first frame.
        range: The requested frames of a sequence, resolved.
        rate: Frames per second of a sequence without a rate; None means 25 for videos, and unknown for images.
        colour_space: Name of the images' colour space in `COLOUR_SPACES`; None for the one that the files name.
        error: A known problem (missing file, empty folder), which reading raises.
    """

    key: str
    kind: Literal["image", "video", "frames"]
    path: Path
    files: tuple[Path, ...]
    root: Path
    numbers: tuple[int, ...] = ()
    start: int = 0
    range: FrameRange = ALL_FRAMES
    rate: float | None = None
    colour_space: str | None = None
    error: HpcError | None = None

    @property
    def is_sequence(self) -> bool:
        """Whether the input is a sequence of frames in time."""
        return self.kind != "image"

    @property
    def light_view(self) -> LightView:
        """How the images' light is shown."""
        return LightView(COLOUR_SPACES[self.colour_space] if self.colour_space else None)

    @property
    def label(self) -> str:
        """The path for messages, relative to the working folder if it lies below it."""
        return _shown(self.path)

    @property
    def frame_rate(self) -> float | None:
        """Frames per second of the sequence that `frames` yields; None if unknown."""
        rate = self.rate
        if self.kind == "video" and ((info := probe_video(self.path)).has_rate or not rate):
            rate = info.frame_rate
            if not info.has_rate:
                note = f"a stream without times, taken to be {rate:g} frames a second; hpc fit --frame-rate sets it"
                note_once(self.path, note)
        return rate and rate / self.range.step

    @property
    def frame_count(self) -> int | None:
        """Number of frames that `frames` yields, estimated for a video; None if unknown."""
        total = probe_video(self.path).frame_count if self.kind == "video" else len(self.files)
        return total if total is None or not self.is_sequence else len(range(total)[self.range.slice])

    @property
    def sequence_size(self) -> tuple[int, int] | None:
        """Width and height in pixels of all frames of a sequence; None for an image."""
        if self.kind == "video":
            return probe_video(self.path).size
        return image_size(self.files[0]) if self.is_sequence else None

    def first_frame(self) -> Frame:
        """Decode the first frame of the input, ignoring the range. Raises InputError as `frames`."""
        with closing(replace(self, range=ALL_FRAMES).frames(ahead=0)) as frames:
            return next(frames)

    def frames(self, ahead: int = 2) -> Generator[Frame, None, None]:
        """Yield the decoded frames in order, up to `ahead` frames in advance in a thread; close it to stop early.

        Raises InputError if a file is missing, damaged, or has no frame in the range.
        """
        if self.error is not None:
            raise self.error
        source = self._decode()
        if not self.is_sequence or ahead < 1:
            yield from source
            return
        with closing(prefetch(source, ahead)) as frames:
            yield from frames

    def _decode(self) -> Generator[Frame, None, None]:
        if self.kind == "video":
            with closing(VideoReader(self.path, self.range).frames()) as frames:
                for frame in frames:
                    number = self.start + frame.index
                    name = f"{number:06d}"
                    yield Frame(frame.index, name, frame.pixels, None, None, frame.time, number, frame.damage)
            return
        numbered = list(enumerate(self.files))[self.range.slice if self.is_sequence else slice(None)]
        if not numbered:
            got = f"{len(self.files)} frames"
            raise InputError(self.path, "has no frame in the range", expected=f"frames {self.range}", got=got)
        size, view = self.sequence_size, self.light_view
        has_gaps = bool(self.numbers) and self.numbers[-1] - self.numbers[0] >= len(self.numbers)
        if self.is_sequence and self.files[0].suffix.lower() in LIGHT_SUFFIXES:  # all frames have the first one's
            view = replace(view, exposure=read_image(self.files[0], view).exposure)
        for index, file in numbered:
            image = read_image(file, view)
            pixels, focal = image.pixels, image.focal_pixels
            if size is not None and image.size != size:
                note_once(self.path, f"images of several sizes, resized to the first one's {size[0]} × {size[1]}")
                pixels, focal = fitted_into(pixels, size), focal and focal * fitting_scale(image.size, size)
            number = self.numbers[index] if self.numbers else index
            time = Fraction(number - self.numbers[0]) / Fraction(self.rate) if self.rate and has_gaps else None
            name = printable(file.name)
            yield Frame(index, name, pixels, focal, file, time, number, min_focal=image.min_focal_pixels)


def printable(name: str) -> str:
    """Convert a name to NFC, with bytes that are not UTF-8 written as \\xNN, so that JSON can hold it."""
    return name if name.isascii() else unicodedata.normalize("NFC", escaped(name))


def escaped(name: str) -> str:
    """Write bytes of a name that are not UTF-8 as \\xNN, for names of outputs."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def key_of(path: Path, root: Path) -> str:
    """Return the key of a file or folder: its path below the root, or the name of the root itself."""
    relative = relative_path(path, root)
    return printable((path.name or "root") if relative == "." else relative.replace(os.sep, "/"))


_MAX_MESSAGES = 10
_MANY = 1000  # names of a list, none of which exists, that are one error
_SEVERAL_KINDS = ANIMATED_SUFFIXES | {".ts"}  # the contents decide: animations, and programs in TypeScript


class Inputs(tuple[InputItem, ...]):
    """The items in the order given.

    Attributes:
        root: The common root of the items.
        messages: Sentences about the choice of the items for the user.
    """

    root: Path
    messages: tuple[str, ...]

    def __new__(cls, items: Iterable[InputItem], root: Path, messages: Iterable[str] = ()) -> Inputs:
        inputs = super().__new__(cls, items)
        inputs.root, inputs.messages = root, tuple(messages)
        return inputs


def open_inputs(
    arguments: Sequence[str | Path],
    stdin: IO[Any] | None = None,
    *,
    sequence: bool | None = None,
    frames: FrameRange = ALL_FRAMES,
    rate: float | None = None,
    start: int = 0,
    colour_space: str | None = None,
    exclude: Collection[Path | str] = (),
    output_suffixes: Collection[str] = (),
    listed: Iterable[str] = (),
) -> Inputs:
    """Find the inputs that arguments name; nothing is decoded yet.

    The input root is the folder or the fixed part of the glob if that is the only argument, otherwise the common parent
    of all arguments. Duplicates are dropped. A problem with one of several arguments becomes an item that raises the
    error when it is read, so that the other items are processed.

    Args:
        arguments: Files, folders (with all below them), globs (also `**`), numbered patterns (`f_%04d.png`,
            `f.####.exr`, `f.@@@@.exr`, `f.1001-1100#.exr`), or "-" for paths on `stdin`, see `read_list`.
        stdin: The stream of the list, or None.
        sequence: True: the images of each folder are one sequence. False: all images are independent. None: a folder's
            images are one sequence if `check_sequence` says so, images of a numbered pattern are one, and files named
            one by one are independent.
        frames: The requested frames of each sequence: the numbers of numbered images, indices of others.
        rate: Frames per second of sequences without a rate.
        start: Number of the first frame of videos.
        colour_space: Name of the images' colour space in `COLOUR_SPACES`; None for the one that the files name.
        exclude: Folders that are never entered and files that are never read: the output folder, earlier results.
        output_suffixes: Endings of outputs of hpc (".overlay.jpg"), which are ignored in folders and lists.
        listed: Further files and folders, with names that are taken literally.

    Returns:
        The items.

    Raises:
        InputError: If the only argument has a problem, or if no image and no video is found.
        UsageError: If nothing was given, or if two items have one key.
    """
    excluded = {_absolute(path) for path in exclude}
    search = _Search(sequence, frames, rate and exact_rate(rate), start, colour_space, excluded, tuple(output_suffixes))
    expansion = [*_expand(arguments, stdin), *_listed(listed)]
    if not expansion:
        raise UsageError("input", "is missing", expected="an image, video, folder, glob or - for a list on stdin")
    root = _common_root(expansion)
    for argument in expansion:
        search.take(argument, several=len(expansion) > 1 or argument.from_list)
    items = search.items(root)
    for item in items:
        protect(item.files)
    if not items:
        raise InputError(", ".join(map(str, arguments)), "names no image and no video", got="only other files")
    if len(items) == 1 and items[0].error is not None:
        raise items[0].error
    items = _with_distinct_keys(items)
    return Inputs(items, root, search.messages(items))


@dataclass(frozen=True)
class _Argument:
    """One expanded argument."""

    path: Path
    anchor: Path  # the folder that keys are relative to if there is no other argument
    error: HpcError | None = None
    from_glob: bool = False  # globs and lists (of `find`) also match outputs of hpc, which are ignored
    from_list: bool = False
    series: Mapping[Path, int] = field(default_factory=dict)  # files of a numbered pattern with their numbers
    limits: FrameRange = ALL_FRAMES  # numbers that a pattern names


def _absolute(text: str | Path) -> Path:
    return Path(os.path.abspath(text))


def _expand(arguments: Sequence[str | Path], stdin: IO[Any] | None) -> list[_Argument]:
    expansion: list[_Argument] = []
    for argument in map(found_path, map(str, arguments)):
        if argument == "-":
            expansion.extend(_listed(read_list(stdin)))
        elif _ADDRESS.match(argument):
            local = argument.removeprefix("file://")
            remedy = "download it first" if local == argument else f"its path is {local}"
            error = InputError(argument, "is an address", expected="a file", remedy=remedy)
            expansion.append(_Argument(_absolute(argument), Path.cwd(), error))
        elif not os.path.lexists(argument) and glob.has_magic(argument):
            expansion.extend(_glob(argument))
        elif not os.path.lexists(argument) and NUMBER_PLACEHOLDER.search(Path(argument).name):
            expansion.append(_numbered(_absolute(argument)))
        else:
            expansion.append(_literal(argument))
    return expansion


def _literal(name: str | Path, *, listed: bool = False) -> _Argument:
    if not str(name) or "\0" in str(name):
        raise UsageError("input", "is an empty name", expected="a path")
    path = _absolute(found_path(str(name)))
    problem = _unusable(path, name, listed=listed)
    anchor = path if problem is None and path.is_dir() else path.parent
    return _Argument(path, anchor, problem, from_list=listed)


def _listed(names: Iterable[str | Path]) -> list[_Argument]:
    """Return the names of a list. Raises InputError if there are many and none exists, instead of an error for each."""
    names = [*names]
    if len(names) > _MANY and not any(map(os.path.lexists, names)):
        problem = f"does not exist, nor do the other {len(names) - 1:,} files of the list"
        raise InputError(names[0], problem, remedy="check the folder that their names begin in")
    return [_literal(name, listed=True) for name in names]


def _unusable(path: Path, name: str | Path, *, listed: bool) -> HpcError | None:
    """Explain why a path, which the user calls `name`, cannot be an input; None for a file or a folder."""
    try:
        os.stat(path)
        refuse_pipes(path)
    except InputError as error:
        return error
    except OSError as error:
        if os.path.islink(path):  # Path.is_symlink raises for names that are too long
            return InputError(name, "is a link to nothing", remedy="mend the link")
        return reading_error(name, error, search=not listed)
    return None


def _glob(pattern: str) -> list[_Argument]:
    parts = Path(pattern).parts
    first_magic = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    anchor = _absolute(found_path(str(Path(*parts[:first_magic]))))
    matches = sorted(_matches(pattern), key=natural_order)
    if not matches:
        error = InputError(pattern, "matches no file", remedy="check the pattern, and quote ** against the shell")
        return [_Argument(_absolute(pattern), anchor, error)]
    if "**" in parts:  # it matches every folder and all its files: the files are enough
        matches = [name for name in matches if not os.path.isdir(name)] or matches
    return [_Argument(_absolute(name), anchor, from_glob=True) for name in matches]


def _matches(pattern: str) -> Iterator[str]:
    """Yield the files that a pattern matches in any Unicode form: letters may be one character or two on the disk."""
    parts = Path(normal(pattern)).parts
    for name in glob.glob(_COMPOSED.sub("*", pattern), recursive=True):
        names = Path(normal(name)).parts
        ends = (zip(names[::step], takewhile("**".__ne__, parts[::step]), strict=False) for step in (1, -1))
        if all(fnmatch(part, wanted) for part, wanted in chain(*ends)):
            yield name


_COMPOSED = re.compile(r"\*?(?:(?:\[[^/]*?\]|[?]|[^\x00-\x7f])\*?)+")  # what may be another number of characters
_RESULT = re.compile(
    rf"({'|'.join(map(re.escape, OUTPUT_SUFFIXES))}|\.fit\.npz|\.look\.npz|\.masks\.json)$"
    r"|^(ledger|run)(\.\d+-of-\d+)?\.jsonl?$"
)
_ADDRESS = re.compile(r"[a-z]+://", re.IGNORECASE)


def _numbered(pattern: Path) -> _Argument:
    """List files with a number in place of %d, or with at least four digits in place of %04d, as FFmpeg does."""
    match = NUMBER_PLACEHOLDER.search(pattern.name)
    assert match is not None
    prefix, suffix = pattern.name[: match.start()], pattern.name[match.end() :]
    name = re.compile(re.escape(normal(prefix)) + rf"(\d{{{min_digits(match)},}})" + re.escape(normal(suffix)))
    limits = FrameRange(int(match["first"]), int(match["last"]) + 1) if match["first"] else ALL_FRAMES
    printf = f"%0{min_digits(match)}d" if match["places"] else match[0]
    pattern = Path(found_path(str(pattern.parent)), prefix + printf + suffix)
    try:
        matches = ((path, name.fullmatch(normal(path.name))) for path in pattern.parent.iterdir())
        numbers = sorted((int(match[1]), path) for path, match in matches if match)
    except OSError as error:
        return _Argument(pattern, pattern.parent, reading_error(pattern.parent, error))
    if not numbers:
        return _Argument(pattern, pattern.parent, InputError(pattern, "matches no file", remedy="check the pattern"))
    return _Argument(pattern, pattern.parent, series={path: number for number, path in numbers}, limits=limits)


def _common_root(arguments: Sequence[_Argument]) -> Path:
    anchors = {argument.anchor for argument in arguments}
    if len(anchors) == 1:
        return anchors.pop()
    parents = [argument.anchor if argument.anchor != argument.path else argument.path.parent for argument in arguments]
    try:
        return Path(os.path.commonpath(parents))
    except ValueError as error:  # Windows: several drives
        raise UsageError("inputs", "lie on different drives", remedy="run one command for each drive") from error


@dataclass
class _Candidate:
    """An input that an argument names."""

    kind: Literal["image", "video", "folder"]  # 'folder': images that may be one sequence
    path: Path
    files: list[Path] = field(default_factory=list)
    error: HpcError | None = None
    series: Mapping[Path, int] = field(default_factory=dict)  # files of a numbered pattern with their numbers
    limits: FrameRange = ALL_FRAMES


@dataclass
class _Search:
    """Collects candidates from the arguments, then makes the items."""

    sequence: bool | None
    range: FrameRange
    rate: float | None
    start: int
    colour_space: str | None
    exclude: set[Path]
    output_suffixes: tuple[str, ...]
    candidates: list[_Candidate] = field(default_factory=list)
    named_by_folder: dict[Path, _Candidate] = field(default_factory=dict)
    passed_over: dict[str, Counter[str]] = field(default_factory=dict)
    results_listed: int = 0
    choices: list[str] = field(default_factory=list)

    def take(self, argument: _Argument, *, several: bool) -> None:
        """Add the candidates of one argument; results are left out of several, which a shell makes of `*`."""
        path = argument.path
        if argument.error is not None:
            self.candidates.append(_Candidate("image", path, error=argument.error))
        elif argument.series:
            self.candidates.append(_Candidate("folder", path, series=argument.series, limits=argument.limits))
        elif argument.from_glob and self._is_ours(path, argument.anchor):
            return
        elif several and self._is_result(path):
            self.results_listed += 1
        elif path.is_dir():
            self._take_folder(path)
        elif _is_video(path):
            self.candidates.append(_Candidate("video", path))
        elif argument.from_glob and path.suffix.lower() not in IMAGE_SUFFIXES | OTHER_IMAGE_SUFFIXES:
            self.passed_over.setdefault("glob", Counter())[path.suffix.lower()] += 1
        elif self.sequence:  # a single image joins the other images of its folder
            if path.parent not in self.named_by_folder:
                self.candidates.append(self.named_by_folder.setdefault(path.parent, _Candidate("folder", path.parent)))
            self.named_by_folder[path.parent].files.append(path)
        else:
            error = None if argument.from_glob or argument.from_list else _wrong_file(path)
            self.candidates.append(_Candidate("image", path, error=error))

    def _is_result(self, path: Path) -> bool:
        """Return whether a file or folder is of an earlier run. A folder of inputs may hold results, too."""
        if path.is_dir():
            below = next(os.walk(path))[2]
            return path.name in SKIPPED_FOLDERS or (bool(below) and all(self._is_result(path / name) for name in below))
        return path in self.exclude or bool(self.output_suffixes and _RESULT.search(path.name))

    def _is_ours(self, path: Path, anchor: Path) -> bool:
        """Return whether a glob matched an output of hpc, or a folder that `files_below` does not enter."""
        below = [folder for folder in (path, *path.parents) if anchor in folder.parents]
        inside = any(folder in self.exclude or folder.name in SKIPPED_FOLDERS for folder in below)
        return inside or path in self.exclude or path.name.endswith(self.output_suffixes)

    def _take_folder(self, folder: Path) -> None:
        """Add the images and videos of a folder by their names, at any depth, without outputs of hpc."""
        errors: list[HpcError] = []
        images, videos, other_suffixes = list[_Candidate](), list[_Candidate](), Counter[str]()
        for directory, names in files_below(folder, self.exclude, errors):
            candidate = _Candidate("folder", directory)
            for name in names:  # Path objects only for images and videos: they take most of the time
                suffix = os.path.splitext(name)[1].lower()
                if name.endswith(self.output_suffixes):
                    continue
                if _is_video(directory / name) if suffix in _SEVERAL_KINDS else suffix in VIDEO_SUFFIXES:
                    videos.append(_Candidate("video", directory / name))
                elif suffix in IMAGE_SUFFIXES or suffix in OTHER_IMAGE_SUFFIXES:
                    candidate.files.append(directory / name)
                else:
                    other_suffixes[suffix] += 1
            empty = {file for file in candidate.files if _is_empty(file)}
            if len(empty) > _MAX_MESSAGES:  # one line instead of a line for each
                problem = f"holds {len(empty):,} images that are empty files"
                errors.append(InputError(directory, problem, remedy="copy them again or delete them"))
                candidate.files = [file for file in candidate.files if file not in empty]
            if candidate.files:
                images.append(candidate)
        if other_suffixes:
            self.passed_over[_shown(folder)] = other_suffixes
        if not (errors or images or videos):
            got = f"only {_others(other_suffixes)}" if other_suffixes else "an empty folder"
            errors.append(InputError(folder, "holds no image and no video", got=got))
        self.candidates += [_Candidate("image", Path(error.subject), error=error) for error in errors]
        self.candidates += [*images, *videos]

    def items(self, root: Path) -> list[InputItem]:
        """List the items, each once."""
        unique: dict[tuple[str, Path], InputItem] = {}
        for candidate in self.candidates:
            for item in self._items_of(candidate, root):
                unique.setdefault((item.kind, item.path), item)
        return list(unique.values())

    def _items_of(self, candidate: _Candidate, root: Path) -> list[InputItem]:
        path = candidate.path
        key = key_of(path.with_name(sequence_name(path)) if candidate.series else path, root)
        if candidate.kind == "video":
            return [self._in_range(InputItem(key, "video", path, (path,), root, start=self.start, rate=self.rate))]
        if candidate.kind != "folder":
            return [InputItem(key, "image", path, (path,), root, colour_space=self.colour_space, error=candidate.error)]
        if candidate.series and self.sequence is not False:
            verdict = numbered_sequence(candidate.series, "by their numbered pattern")
        elif self.sequence is None:
            verdict = check_sequence(list(dict.fromkeys(candidate.files)))
        else:
            files = sorted({*candidate.files, *candidate.series}, key=natural_order)
            verdict = SequenceVerdict(self.sequence, "", tuple(files), frame_numbers_of(files))
        if len(verdict.files) > 1 and verdict.reason:
            self.choices.append(verdict.message(_shown(path)))
        if verdict.is_sequence:
            item = InputItem(key, "frames", path, verdict.files, root, verdict.numbers, rate=self.rate)
            return [self._in_range(replace(item, colour_space=self.colour_space), candidate.limits)]
        first = InputItem(key, "image", path, (), root, colour_space=self.colour_space)
        return [replace(first, key=key_of(file, root), path=file, files=(file,)) for file in verdict.files]

    def _in_range(self, item: InputItem, limits: FrameRange = ALL_FRAMES) -> InputItem:
        """Resolve the range of a sequence, or the limits of its pattern; if that fails, set the error."""
        frames = limits if self.range == ALL_FRAMES else self.range
        try:
            if item.kind == "video":
                return replace(item, range=video_range(item.path, frames))
            return replace(item, range=frames.resolved(len(item.files), item.rate, numbers=item.numbers))
        except HpcError as error:
            return replace(item, error=error)

    def messages(self, items: Sequence[InputItem]) -> Iterator[str]:
        """Describe the choice of sequences, ignored files, and options without effect."""
        yield from self.choices[:_MAX_MESSAGES]
        if len(self.choices) > _MAX_MESSAGES:
            yield f"… and {len(self.choices) - _MAX_MESSAGES} more folders"
        for directory, endings in self.passed_over.items():
            yield f"{directory}: {_others(endings)} without an image or a video left out"
        if self.results_listed:
            yield f"{_counted(self.results_listed, 'result')} of earlier runs left out"
        if self.range != ALL_FRAMES and not any(item.is_sequence for item in items):
            yield "`frames` picks frames of videos and sequences, and there are only images: all of them are taken"


def _others(endings: Counter[str]) -> str:
    """Count files by their endings: `3 other files (2 .txt, 1 .pdf)`."""
    counts = [f"{count} {ending or 'without an ending'}" for ending, count in endings.most_common(_MAX_MESSAGES)]
    counts += ["…"] * (len(endings) > _MAX_MESSAGES)
    return f"{_counted(endings.total(), 'other file')} ({', '.join(counts)})"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _shown(path: Path) -> str:
    relative = relative_path(path)
    return str(path) if relative.startswith("..") else relative


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:  # reading raises the error
        return False


def _is_video(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES - _SEVERAL_KINDS:
        return True
    if suffix in IMAGE_SUFFIXES - _SEVERAL_KINDS:
        return False
    try:
        return is_animation(path) if suffix in ANIMATED_SUFFIXES else file_kind(path) == "a video"
    except InputError:
        return False  # it is read as an image later, which raises the error


def _wrong_file(path: Path) -> InputError | None:
    """Explain why a file is no image, with the command that reads it; None for images."""
    try:
        check_image_file(path)
    except InputError as error:
        if file_kind(path) == "a video":
            remedy = "rename it, for example to NAME.mp4"
            return InputError(_shown(path), "is a video with the name of an image", remedy=remedy)
        expected = error.expected and f"{error.expected}, or a video"
        remedy = error.remedy or reader_of(_shown(path))
        return InputError(_shown(path), error.problem, expected=expected, got=error.got, remedy=remedy)
    return None


def _with_distinct_keys(items: Sequence[InputItem]) -> list[InputItem]:
    """Keep names apart that differ only in their Unicode normal form. Raises UsageError if two items have one key."""
    counts = Counter(item.key for item in items)
    distinct = [replace(item, key=_plain_key(item)) if counts[item.key] > 1 else item for item in items]
    first_of_key: dict[str, InputItem] = {}
    for item in distinct:
        first = first_of_key.setdefault(item.key, item)
        if first is not item:
            raise UsageError(
                item.path,
                f"would write the same files as {first.path}",
                remedy="rename one of them, or run two commands with different `out`",
            )
    return distinct


def _plain_key(item: InputItem) -> str:
    """Return the key as the file system spells it; of a numbered pattern, its first file's."""
    path = item.files[0] if item.files and item.files[0].parent == item.path.parent else item.path
    relative = relative_path(path, item.root)
    return escaped(path.name if relative == "." else relative.replace(os.sep, "/"))
