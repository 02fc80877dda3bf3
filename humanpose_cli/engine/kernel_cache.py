"""Where compiled kernels are kept: per user and kind of processor, with digests that tell what a disk has damaged.

A home folder shared by different machines never serves one of them another's code. Warp compiles into a folder of the
process's own and renames it, so processes that compile at once do not meet. What it loads it does not check, and a
damaged file ends the process; so a digest is kept next to each compiled file, and what differs from it is removed.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import platform
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "choose_folder",
    "has_binary",
    "private_folder",
    "processor",
    "record",
    "remove",
    "remove_damaged",
    "reserve",
    "user_cache",
]

_BINARIES = {"cpu": (".o",), "cuda": (".cubin", ".ptx")}
_BEING_BUILT = re.compile(r"_p(\d+)_t\d+$")

_private: dict[int, Path] = {}


def user_cache() -> Path:
    """Our folder in the user's cache; RuntimeError where there is no home folder."""
    usual = Path.home() / (".cache" if sys.platform != "win32" else "AppData/Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or usual) / "humanpose-cli"


def choose_folder() -> Path:
    """The first folder that we may write to: the user's choice, the user's cache, a private temporary one."""
    candidates: list[tuple[Path, ...]] = []
    if chosen := os.environ.get("WARP_CACHE_PATH"):
        candidates.append((Path(chosen) / processor(),))
    with contextlib.suppress(RuntimeError):  # no home folder
        candidates.append((user_cache() / "kernels" / processor(),))
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    ours = Path(tempfile.gettempdir()) / f"humanpose-cli-{user}"
    candidates.append((ours, ours / processor()))  # whoever owns the outer could exchange the inner
    for folders in candidates:
        if all(_is_ours_to_write(folder) for folder in folders):
            return folders[-1]
    return private_folder()


def private_folder() -> Path:
    """A temporary folder of this process alone, removed when it ends."""
    process = os.getpid()  # a forked child has one of its own
    if process not in _private:
        _private[process] = Path(tempfile.mkdtemp(prefix="humanpose-cli-"))
        atexit.register(_remove_private, process)
    return _private[process]


def _remove_private(process: int) -> None:
    if process == os.getpid():
        shutil.rmtree(_private.pop(process), ignore_errors=True)


def _is_ours_to_write(folder: Path) -> bool:
    """Whether the folder can be made and written, and belongs to this user alone: it will hold code to run."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
        if hasattr(os, "getuid"):
            status = folder.stat()
            return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    except OSError:
        return False
    return True


def processor() -> str:
    """Name of this kind of processor: kernels are compiled for exactly the instructions it has."""
    abilities = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        abilities += "".join(next((line for line in lines if line.lower().startswith(("flags", "features"))), ""))
    return f"{platform.machine()}-{hashlib.sha256(abilities.encode()).hexdigest()[:12]}"


def reserve(folder: Path, size: int) -> None:
    """OSError unless `size` bytes can be written in a folder now.

    Asked before anything is compiled: where a disk is full, the compiler does not raise but ends the process.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.write(bytes(size))
            file.flush()


def has_binary(folder: Path, kind: str) -> bool:
    """Whether one of Warp's folders of a module holds something compiled for "cpu" or "cuda"."""
    return folder.is_dir() and any(path.suffix in _BINARIES[kind] for path in folder.iterdir())


def record(folder: Path, module: str) -> None:
    """Keep the digest of what was compiled for a module, where there is none yet."""
    with contextlib.suppress(OSError):  # a full disk: without a digest the file is trusted, as Warp does
        for binary in _binaries(folder, module):
            digest = _digest_file(binary)
            if not digest.exists():
                unfinished = digest.with_name(f"{digest.name}.{os.getpid()}")
                unfinished.write_text(_digest(binary))
                unfinished.replace(digest)


def remove_damaged(folder: Path, module: str) -> None:
    """Remove what is no longer as it was compiled; Warp then compiles it anew."""
    with contextlib.suppress(OSError):
        for binary in _binaries(folder, module):
            digest = _digest_file(binary)
            if digest.exists() and digest.read_text() != _digest(binary):
                shutil.rmtree(binary.parent, ignore_errors=True)


def remove(folder: Path, module: str) -> None:
    """Remove everything that was compiled for a module, but what other processes are building."""
    with contextlib.suppress(OSError):
        for built in _folders(folder, module):
            shutil.rmtree(built, ignore_errors=True)


def _folders(folder: Path, module: str) -> Iterator[Path]:
    """Warp's folders of a module, one for each state of its source."""
    for path in folder.glob(f"wp_{module}_*"):
        builder = _BEING_BUILT.search(path.name)
        if builder is None or int(builder[1]) == os.getpid():
            yield path


def _binaries(folder: Path, module: str) -> Iterator[Path]:
    for built in _folders(folder, module):
        yield from (path for path in built.iterdir() if path.suffix in {*_BINARIES["cpu"], *_BINARIES["cuda"]})


def _digest_file(binary: Path) -> Path:
    return binary.with_name(binary.name + ".sha256")


def _digest(binary: Path) -> str:
    return hashlib.sha256(binary.read_bytes()).hexdigest()
