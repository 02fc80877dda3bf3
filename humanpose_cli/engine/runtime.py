"""Warp's start: quiet, with a cache of compiled kernels that any machine and user can write.

Warp is imported with the first kernel, not with this file. Its compiled kernels are kept per user and per kind of
processor, so that a home folder shared by different machines never serves one of them another's code.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

__all__ = ["ready", "start"]

logger = logging.getLogger("humanpose_cli.engine")

_lock = threading.RLock()
_warp: Any = None
_failures: dict[tuple[str, str], Exception] = {}
_loaded: set[tuple[str, str]] = set()


def start() -> Any:
    """The warp module, initialised; the first call takes about 0.3 s. Any error is Warp's own."""
    global _warp
    if _warp is None:
        with _lock:
            if _warp is None:
                import warp

                # Whoever started Warp before us has chosen its settings.
                if warp.config.kernel_cache_dir is None:
                    warp.config.kernel_cache_dir = str(_cache_folder())
                    if hasattr(warp.config, "log_level"):
                        warp.config.log_level = warp.LOG_WARNING
                    else:  # before Warp 1.13
                        setattr(warp.config, "quiet", True)  # noqa: B010
                with _native_stderr_to_log():
                    warp.init()
                _warp = warp
    return _warp


def ready(kernels: str, device: torch.device) -> Exception | None:
    """Compiles and loads a module of kernels for a device; None if they can run there, else what stood in the way.

    kernels  full name of a module that defines Warp kernels and their `MODULE`
    """
    key = (kernels, str(device))
    if key in _loaded:
        return None
    with _lock:
        if key not in _loaded and key not in _failures:
            try:
                wp = start()
                module = __import__(kernels, fromlist=["MODULE"]).MODULE
                with _native_stderr_to_log():
                    wp.load_module(module, wp.device_from_torch(device), block_dim=1 if device.type == "cpu" else 256)
                _loaded.add(key)
            except Exception as problem:  # whatever Warp, its compiler or the driver raise
                _failures[key] = problem
        return _failures.get(key)


def _renew_lock() -> None:
    """After a fork nobody is left to release the parent's lock."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _cache_folder() -> Path:
    """The first folder that we may write to: the user's choice, the user's cache, a private temporary one."""
    candidates: list[tuple[Path, ...]] = []
    if chosen := os.environ.get("WARP_CACHE_PATH"):
        candidates.append((Path(chosen) / _processor(),))
    with contextlib.suppress(RuntimeError):  # no home folder
        usual = Path.home() / (".cache" if sys.platform != "win32" else "AppData/Local")
        base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or usual
        candidates.append((Path(base) / "humanpose-cli" / "kernels" / _processor(),))
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    ours = Path(tempfile.gettempdir()) / f"humanpose-cli-{user}"
    candidates.append((ours, ours / _processor()))  # whoever owns the outer could exchange the inner
    for folders in candidates:
        if all(_is_ours_to_write(folder) for folder in folders):
            return folders[-1]
    return Path(tempfile.mkdtemp(prefix="humanpose-cli-"))


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


def _processor() -> str:
    """Name of this kind of processor: kernels are compiled for exactly the instructions it has."""
    abilities = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        abilities += "".join(next((line for line in lines if line.lower().startswith(("flags", "features"))), ""))
    return f"{platform.machine()}-{hashlib.sha256(abilities.encode()).hexdigest()[:12]}"


@contextlib.contextmanager
def _native_stderr_to_log() -> Iterator[None]:
    """Catches what native code writes to the process's stderr and hands it to the log at debug level."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, AttributeError, ValueError):  # no stderr at all
        yield
        return
    try:
        with tempfile.TemporaryFile() as caught:
            os.dup2(caught.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(saved, 2)
                caught.seek(0)
                for line in caught.read().decode(errors="replace").splitlines():
                    logger.debug("%s", line)
    finally:
        os.close(saved)
