"""From what the user typed to a list of inputs: files, folders, globs, videos, and a list on stdin."""

from __future__ import annotations

import codecs
import glob
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, overload

from humanpose_cli.errors import InputError, UsageError
from humanpose_cli.io.folders import SequenceVerdict, judge_sequence, list_folder, natural_order
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange, parse_frame_range
from humanpose_cli.io.images import PICTURE_SUFFIXES
from humanpose_cli.io.input_items import Frame, InputItem, key_of, output_path
from humanpose_cli.io.sniffing import file_kind, reading_error
from humanpose_cli.io.video import VIDEO_SUFFIXES

__all__ = [
    "Frame",
    "FrameRange",
    "InputItem",
    "Inputs",
    "open_inputs",
    "output_path",
    "parse_frame_range",
]

_MOST_MESSAGES = 10


@dataclass(frozen=True)
class Inputs(Sequence[InputItem]):
    """The items in the order given, their common root, and what the user should know about the choice made."""

    items: tuple[InputItem, ...]
    root: Path
    messages: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> InputItem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[InputItem]: ...
    def __getitem__(self, index: int | slice) -> InputItem | Sequence[InputItem]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[InputItem]:
        return iter(self.items)


def open_inputs(
    arguments: Sequence[str | Path],
    stdin: IO[Any] | None = None,
    *,
    sequence: bool | None = None,
    frames: FrameRange = ALL_FRAMES,
    exclude: Collection[Path | str] = (),
    own_suffixes: Collection[str] = (),
) -> Inputs:
    """Find the items that the arguments mean; nothing is decoded yet.

    arguments  files, folders (with all below them), globs (also `**`), or "-": paths on `stdin`, one a line, or
               separated by NUL bytes if there are any
    sequence   None: a folder's pictures are one sequence if `judge_sequence` says so, files named one by one are
               independent. True: the pictures of each folder are one sequence. False: all are independent
    frames     the frames of each sequence that are asked for
    exclude    folders never entered: the output folder
    own_suffixes  endings of our own outputs (".overlay.jpg"), passed over inside folders

    The input root is the folder or the fixed part of the glob if that is the only argument, else what the parents
    of all arguments have in common. Duplicates are dropped. What is wrong with one argument becomes an item whose
    `frames` raise the error, so that the others are done; if it is the only argument, it is raised here: InputError.
    UsageError if nothing was given, or if two items have one key.
    """
    search = _Search(sequence, frames, {_absolute(path) for path in exclude}, tuple(own_suffixes))
    given = _expand(arguments, stdin)
    if not given:
        raise UsageError("input", "is missing", expected="a picture, video, folder, glob or - for a list on stdin")
    root = _common_root(given)
    for argument in given:
        search.take(argument)
    items = search.items(root)
    if not items:
        raise InputError(", ".join(map(str, arguments)), "names no picture and no video", got="only other files")
    if len(items) == 1 and items[0].error is not None:
        raise items[0].error
    _refuse_collisions(items)
    return Inputs(tuple(items), root, tuple(search.messages(items)))


@dataclass(frozen=True)
class _Given:
    """One argument: what it names, the folder that a sole argument's keys are relative to, and what is wrong."""

    path: Path
    anchor: Path
    error: InputError | None = None
    from_glob: bool = False


def _absolute(text: str | Path) -> Path:
    return Path(os.path.abspath(text))


def _expand(arguments: Sequence[str | Path], stdin: IO[Any] | None) -> list[_Given]:
    given: list[_Given] = []
    for argument in arguments:
        if str(argument) == "-":
            given.extend(_literal(name) for name in _read_list(stdin))
        elif not os.path.lexists(argument) and glob.has_magic(str(argument)):
            given.extend(_glob(str(argument)))
        else:
            given.append(_literal(argument))
    return given


def _literal(name: str | Path) -> _Given:
    if not str(name) or "\0" in str(name):
        raise UsageError("input", "is an empty name", expected="a path")
    path = _absolute(name)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if path.is_symlink():
            return _Given(path, path.parent, InputError(name, "is a link to nothing", remedy="mend the link"))
        return _Given(path, path.parent, reading_error(name, error))
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # such a thing may have no end, or can be read only once
        problem = InputError(name, "is a device or a pipe", expected="a file or a folder", remedy="save it as a file")
        return _Given(path, path.parent, problem)
    return _Given(path, path if stat.S_ISDIR(mode) else path.parent)


def _glob(pattern: str) -> list[_Given]:
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    anchor = _absolute(Path(*parts[:fixed]))
    found = sorted(glob.glob(pattern, recursive=True), key=natural_order)
    if not found:
        error = InputError(pattern, "matches no file", remedy="check the pattern, and quote ** against the shell")
        return [_Given(_absolute(pattern), anchor, error)]
    if "**" in parts:  # it names every folder beside all its files: the files are enough
        found = [name for name in found if not os.path.isdir(name)] or found
    return [_Given(_absolute(name), anchor, from_glob=True) for name in found]


def _read_list(stdin: IO[Any] | None) -> list[str]:
    if stdin is None:
        raise UsageError("-", "needs a list on stdin", expected="paths, one a line or separated by NUL bytes")
    content = getattr(stdin, "buffer", stdin).read()
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    data = data.removeprefix(codecs.BOM_UTF8)  # as Windows' own tools begin a list
    names = data.split(b"\0") if b"\0" in data else [line.rstrip(b"\r") for line in data.split(b"\n")]
    listed = [os.fsdecode(name) for name in names if name.strip()]
    if not listed:
        raise InputError("stdin", "holds no path", expected="paths, one a line or separated by NUL bytes")
    return listed


def _common_root(given: Sequence[_Given]) -> Path:
    anchors = {argument.anchor for argument in given}
    if len(anchors) == 1:
        return anchors.pop()
    parents = [argument.anchor if argument.anchor != argument.path else argument.path.parent for argument in given]
    try:
        return Path(os.path.commonpath(parents))
    except ValueError as error:  # Windows: several drives
        raise UsageError("inputs", "lie on different drives", remedy="run one command for each drive") from error


@dataclass
class _Found:
    """What an argument led to: an item in the making. kind 'folder' leaves the choice between frames and pictures."""

    kind: Literal["picture", "video", "folder", "error"]
    path: Path
    files: list[Path] = field(default_factory=list)
    error: InputError | None = None


@dataclass
class _Search:
    """Collects what the arguments lead to, then makes the items."""

    sequence: bool | None
    range: FrameRange
    exclude: set[Path]
    own_suffixes: tuple[str, ...]
    found: list[_Found] = field(default_factory=list)
    named_by_folder: dict[Path, _Found] = field(default_factory=dict)
    passed_over: dict[str, int] = field(default_factory=dict)
    choices: list[str] = field(default_factory=list)

    def take(self, argument: _Given) -> None:
        """Sort one argument in."""
        path = argument.path
        if argument.error is not None:
            self.found.append(_Found("error", path, error=argument.error))
        elif argument.from_glob and self._is_ours(path):
            return
        elif path.is_dir():
            self._take_folder(path)
        elif _is_video(path):
            self.found.append(_Found("video", path))
        elif argument.from_glob and path.suffix.lower() not in PICTURE_SUFFIXES:
            self.passed_over["glob"] = self.passed_over.get("glob", 0) + 1
        elif self.sequence:
            self._take_as_frame(path)
        else:
            self.found.append(_Found("picture", path))

    def _is_ours(self, path: Path) -> bool:
        """Whether a glob met one of our own outputs."""
        inside = any(folder == path or folder in path.parents for folder in self.exclude)
        return inside or path.name.endswith(self.own_suffixes)

    def _take_as_frame(self, path: Path) -> None:
        """A picture named by itself where sequences are wanted: it joins the others of its folder."""
        group = self.named_by_folder.get(path.parent)
        if group is None:
            group = self.named_by_folder[path.parent] = _Found("folder", path.parent)
            self.found.append(group)
        group.files.append(path)

    def _take_folder(self, folder: Path) -> None:
        listing = list_folder(folder, self.exclude, self.own_suffixes)
        self.found.extend(_Found("error", Path(error.subject), error=error) for error in listing.errors)
        self.found.extend(_Found("folder", place, files) for place, files in listing.pictures.items())
        self.found.extend(_Found("video", video) for video in listing.videos)
        if listing.ignored:
            self.passed_over[_shown(folder)] = listing.ignored
        if not (listing.pictures or listing.videos or listing.errors):
            others = f"only {_other_files(listing.ignored)}" if listing.ignored else "an empty folder"
            error = InputError(folder, "holds no picture and no video", got=others)
            self.found.append(_Found("error", folder, error=error))

    def items(self, root: Path) -> list[InputItem]:
        """The items, each once."""
        seen: dict[tuple[str, Path], InputItem] = {}
        for found in self.found:
            for item in self._items_of(found, root):
                seen.setdefault((item.kind, item.path), item)
        return list(seen.values())

    def _items_of(self, found: _Found, root: Path) -> list[InputItem]:
        path, key = found.path, key_of(found.path, root)
        if found.kind == "video":
            return [InputItem(key, "video", path, (path,), root, range=self.range)]
        if found.kind != "folder":
            return [InputItem(key, "picture", path, (path,), root, error=found.error)]
        verdict = self._verdict(list(dict.fromkeys(found.files)))
        if len(verdict.files) > 1:
            kind = "one sequence" if verdict.is_sequence else "independent pictures"
            self.choices.append(f"{_shown(path)}: {kind}, because {verdict.reason}")
        if verdict.is_sequence:
            return [InputItem(key, "frames", path, verdict.files, root, verdict.reason, self.range)]
        return [InputItem(key_of(file, root), "picture", file, (file,), root, verdict.reason) for file in verdict.files]

    def _verdict(self, files: list[Path]) -> SequenceVerdict:
        if self.sequence is None:
            return judge_sequence(files)
        return SequenceVerdict(self.sequence, "you said so", tuple(sorted(files, key=natural_order)))

    def messages(self, items: Sequence[InputItem]) -> Iterator[str]:
        """What was chosen, what was passed over, and what has no effect."""
        yield from self.choices[:_MOST_MESSAGES]
        if len(self.choices) > _MOST_MESSAGES:
            yield f"… and {len(self.choices) - _MOST_MESSAGES} more folders"
        for place, count in self.passed_over.items():
            yield f"{place}: {_other_files(count)} passed over"
        if self.range != ALL_FRAMES and not any(item.is_sequence for item in items):
            yield "the frame range has no effect: there is no sequence"


def _other_files(count: int) -> str:
    return f"{count} other {'file' if count == 1 else 'files'}"


def _shown(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _is_video(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return False
    if suffix in VIDEO_SUFFIXES:
        return True
    try:
        return file_kind(path) == "video"
    except InputError:
        return False  # read as a picture later, which tells what is wrong


def _refuse_collisions(items: Sequence[InputItem]) -> None:
    seen: dict[str, InputItem] = {}
    for item in items:
        other = seen.setdefault(item.key, item)
        if other is not item:
            raise UsageError(
                item.path,
                f"would write the same files as {other.path}",
                remedy="rename one of them, or run two commands with different --out",
            )
