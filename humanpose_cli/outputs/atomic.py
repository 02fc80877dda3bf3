"""Outputs that are written completely or not at all.

A file is written under a temporary name in its own folder (`.NAME.hpc-XXXXXXXX.partial`), flushed to the disk and
renamed over its final name, so that a reader never sees half of it and a crash leaves the old file in place.
While it is written it is locked: a file without a lock was left by a killed process and may be removed.
Contents carry no dates, so that equal results are equal byte by byte.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import secrets
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import lock_descriptor

from humanpose_cli.core.errors import HpcError, InputError, UnavailableError, UsageError, is_system_fault
from humanpose_cli.outputs.ledger import FileStatus, WriteClaim, claim, mark_of, status_of

if TYPE_CHECKING:
    import numpy as np

_NAME_CHARACTERS_KEPT = 40  # at most 160 bytes in UTF-8: with the rest below the limit of a name
_NAME_BYTES = 255  # limit of a name in nearly all file systems
_RENAME_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8)  # seconds between attempts on Windows
_IS_WINDOWS = not hasattr(os, "O_NOFOLLOW")  # which renames no open file, and opens no folder


def writing_error(path: Path, error: OSError) -> HpcError:
    """Explain a failed write to `path`: UnavailableError, or InputError if the name is too long."""
    if error.errno == errno.ENAMETOOLONG:
        return _name_error(path)
    remedy = "check the disk and its permissions, or choose another `out`; a rerun resumes"
    return UnavailableError(path, "cannot be written", got=error.strerror or str(error), remedy=remedy)


def is_about_output(folder: Path, error: OSError) -> bool:
    """Return whether a system error is about `folder` or a path below it.

    If the error names no file, `is_system_fault` decides.
    """
    if not isinstance(error.filename, str | bytes):
        return is_system_fault(error)
    try:
        return Path(os.path.abspath(os.fsdecode(error.filename))).is_relative_to(os.path.abspath(folder))
    except ValueError:  # a name with a zero byte
        return False


def _name_error(path: Path) -> InputError:
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    expected = got = ""
    if longest <= _NAME_BYTES:
        got = f"a path of {len(os.fsencode(path))} bytes"
    else:
        expected = f"at most {_NAME_BYTES} bytes"
        got = f"{longest} bytes"
    remedy = "shorten the input's name or choose another `out`"
    return InputError(path, "the name is too long for this file system", expected=expected, got=got, remedy=remedy)


@contextmanager
def _writing_to(path: Path, *further_paths: Path) -> Iterator[None]:
    """Explain system errors about `path` (or without any name); other errors pass unchanged."""
    try:
        yield
    except OSError as error:
        output_names = {os.fspath(name) for name in (path, *path.parents, *further_paths)}
        name = error.filename
        is_ours = os.fsdecode(name) in output_names if isinstance(name, str | bytes) else is_system_fault(error)
        if not is_ours:
            raise
        raise writing_error(path, error) from error


def ensure_folder(folder: Path | str) -> Path:
    """Make a folder with its parents and prove that a file can be written there, before hours of work.

    Raises UnavailableError if no file can be written.
    """
    folder = Path(folder)
    probe = _temporary_name(folder / "probe")
    with _writing_to(folder, probe):
        folder.mkdir(parents=True, exist_ok=True)
        os.close(_create(probe))
        with suppress(FileNotFoundError):  # another process took it for abandoned
            os.unlink(probe)
    return folder


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name[:_NAME_CHARACTERS_KEPT]}.hpc-{secrets.token_hex(4)}.partial")


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Provide a temporary path to write to; on a clean exit it becomes `path`, otherwise it vanishes.

    Folders are made. The temporary file exists, empty, when the body starts; the body may truncate or replace it.
    Its name does not end in the format's suffix, so pass the format to writers.

    Raises UnavailableError for a full disk, a missing permission or a read-only file system, UsageError for an input of
    the running command or a file of the user, also one that appears meanwhile. Any other exception passes through after
    the clean-up.
    """
    path = Path(path)
    claimed = claim(path)
    temporary = _temporary_name(path)
    with _writing_to(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _locked(temporary):
                yield temporary
                _flush(temporary)
                _take_name(temporary, path, claimed)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        folders = _renames.get()
        if folders is None:
            flush_folder(path.parent)
        else:
            folders.add(path.parent)


@contextmanager
def _locked(temporary: Path) -> Iterator[None]:
    """Create the file and hold its lock."""
    descriptor = _create(temporary)
    if _IS_WINDOWS:
        os.close(descriptor)
        yield
        return
    try:
        _lock(descriptor)
        while not temporary.exists():  # it was taken for abandoned before it was locked
            os.close(descriptor)
            descriptor = _create(temporary)
            _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Make a folder, and let one process at a time enter this context for it; others wait.

    Raises UnavailableError as `atomic_path`. No process waits if files cannot be locked (some network mounts).
    Windows opens no folders: there a hidden file in the folder is locked.
    """
    with _writing_to(folder, folder):
        folder.mkdir(parents=True, exist_ok=True)
        if _IS_WINDOWS:
            descriptor = os.open(folder / ".hpc.lock", os.O_RDWR | os.O_CREAT)
        else:
            descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    with suppress(OSError):  # some network file systems cannot lock; there no file is taken for abandoned
        lock_descriptor(descriptor)


def _create(path: Path) -> int:
    """Create a file of the usual mode under the user's umask; O_EXCL because no two writers may share a name."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


def remove_abandoned(path: Path) -> None:
    """Remove the temporary files of killed writers: of one file, or all at any depth below a folder.

    Files of other programs stay, also hidden files that end in `.partial`. On Windows all files stay, because files
    are not locked there while they are written.
    """
    if _IS_WINDOWS:
        return
    within, name = (path, ".*") if path.is_dir() else (path.parent, re.escape(path.name[:_NAME_CHARACTERS_KEPT]))
    temporary = re.compile(rf"\.{name}\.hpc-[0-9a-f]{{8}}\.partial", re.DOTALL)
    for directory, folders, names in os.walk(within):
        for name in names:
            if temporary.fullmatch(name):
                _remove_unless_locked(os.path.join(directory, name))
        if within != path:
            folders.clear()


def _remove_unless_locked(path: str) -> None:
    with suppress(OSError):  # it is being written, has just been renamed, or is not ours
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            if lock_descriptor(descriptor, blocking=False):
                os.unlink(path)
        finally:
            os.close(descriptor)


def _flush(path: Path) -> None:
    """Wait until the file's bytes are on the disk; only then may it take its final name."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_name(temporary: Path, path: Path, claimed: WriteClaim | None) -> None:
    """Give a file its name; with a claim, only if nobody has made or changed the file of that name meanwhile."""
    for made in _made:
        made.add(status_of(temporary))
    if claimed is None:
        _rename(temporary, path)
        return
    overwrite = claimed.ledger.overwrite
    is_mine = overwrite or status_of(path) == claimed.replaces
    if is_mine:  # else, the folder, and the ledger in it, may be others' by now
        claimed.ledger.note(path, mark_of(temporary))
    if is_mine and (overwrite or claimed.replaces):
        _rename(temporary, path)
    elif not is_mine or not _is_linked(temporary, path):
        raise UsageError(path, "was written by another program meanwhile", remedy="choose another `out`")


def _is_linked(temporary: Path, path: Path) -> bool:
    """Rename a file if it replaces none; otherwise return False, also if another process was faster."""
    try:
        os.link(temporary, path)
        os.unlink(temporary)
    except OSError:
        if os.path.lexists(path):
            return False
        _rename(temporary, path)  # the file system has no links
    return True


def _rename(temporary: Path, path: Path) -> None:
    """Rename a file; Windows refuses while another program, such as a virus scanner, has the old file open."""
    for wait in _RENAME_WAITS if _IS_WINDOWS else ():
        try:
            os.replace(temporary, path)
        except PermissionError:
            time.sleep(wait)
        else:
            return
    os.replace(temporary, path)


_renames: ContextVar[set[Path] | None] = ContextVar("renames", default=None)
_made: list[set[FileStatus | None]] = []  # the files that `removed_on_failure` watches, in any thread


@contextmanager
def renames_collected() -> Iterator[set[Path]]:
    """Provide the folders in which files are renamed in this thread; the caller flushes them, not each file."""
    folders: set[Path] = set()
    token = _renames.set(folders)
    try:
        yield folders
    finally:
        _renames.reset(token)


def flush_folder(folder: Path) -> None:
    """Make renames in a folder durable if the system can (not on Windows, nor on some network mounts)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # the file is complete and in place either way
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path | str, data: bytes | memoryview) -> None:
    """Write a file atomically. Raises as `atomic_path`."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_files(contents: dict[Path, bytes]) -> None:
    """Write files that need each other: all are on the disk before the first takes its name, in the order given."""
    with ExitStack() as stack:
        for path, data in reversed(contents.items()):  # the last to be entered takes its name first
            with open(stack.enter_context(atomic_path(path)), "wb") as file:
                file.write(data)


@contextmanager
def removed_on_failure(paths: Sequence[Path]) -> Iterator[None]:
    """Remove the files that the body has written if it fails, so that an incomplete result does not look complete."""
    for path in paths:
        _refuse_long_name(path)
    made: set[FileStatus | None] = set()
    _made.append(made)
    try:
        yield
    except BaseException:
        for path in paths:
            if status_of(path) in made - {None}:  # a file of another process stays
                with suppress(OSError):
                    path.unlink()
        raise
    finally:
        _made[:] = [each for each in _made if each is not made]  # `remove` takes an equal one


def _refuse_long_name(path: Path) -> None:
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _name_error(path) from error


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text with unchanged line ends; bytes of names that are not UTF-8 are written as \\xNN."""
    write_bytes(path, text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").encode("utf-8"))


def write_json(path: Path | str, document: Any, *, indent: int | None = 2) -> None:
    """Write strict JSON (no NaN), UTF-8, keys in the order given, with a final newline.

    Bytes of names that are not UTF-8 become escapes of Python's lone surrogates (`\\udce9`), which JSON has too:
    reading gives the same name again.
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=indent) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Encode an uncompressed `.npz`: equal arrays give equal bytes on every machine and day.

    Arrays are stored, not deflated: floats hardly shrink, and zlib's output differs between its versions. Raises
    ValueError for object arrays, because they would be pickled.
    """
    import numpy as np  # the batch, which must start fast, uses this module too

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # "Unix" on every system, and its usual file mode
            member.external_attr = 0o644 << 16
            with archive.open(member, "w", force_zip64=array.nbytes >= 2**31 - 2**16) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


def write_npz(path: Path | str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as an `.npz` file of reproducible bytes; see `npz_bytes`."""
    write_bytes(path, npz_bytes(arrays))
