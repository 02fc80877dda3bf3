"""Warp's start and the loading of kernels: quiet, and in spite of damaged, full and read-only disks.

Warp is imported with the first kernel, not with this file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import torch

from humanpose_cli.engine import kernel_cache

__all__ = ["ready", "start"]

logger = logging.getLogger("humanpose_cli.engine")

# More than a module takes in the cache, and more than its compiler's precompiled headers take among temporary files.
_MODULE_BYTES, _HEADERS_BYTES = 4 << 20, 16 << 20

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
                    warp.config.kernel_cache_dir = str(kernel_cache.choose_folder())
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
                _load(kernels, device)
                _loaded.add(key)
            except Exception as problem:  # whatever Warp, its compiler or the driver raise
                _failures[key] = problem
        return _failures.get(key)


def _load(kernels: str, device: torch.device) -> None:
    """Loads a module from the cache, and where that fails compiles it anew in a folder of this process."""
    wp = start()
    module = import_module(kernels).MODULE
    shared = wp.config.kernel_cache_dir
    kernel_cache.remove_damaged(Path(shared), module.name)
    try:
        _load_from(shared, module, device)
        return
    except Exception as error:  # whatever Warp, its compiler or the driver raise: a full disk, a file cut short
        problem = error
    kernel_cache.remove(Path(shared), module.name)  # the next process starts from nothing
    module.unload()  # with the memory of the failure
    try:
        _load_from(str(kernel_cache.private_folder()), module, device)
    finally:
        wp.config.kernel_cache_dir = shared
    logger.warning("%s is compiled for this process only, its folder %s failed: %s", kernels, shared, problem)


def _load_from(folder: str, module: Any, device: torch.device) -> None:
    wp = start()
    wp.config.kernel_cache_dir = folder
    block_dim = 1 if device.type == "cpu" else 256
    headers = wp.config.use_precompiled_headers
    if not kernel_cache.has_binary(Path(folder, module.get_module_identifier(block_dim)), device.type):
        Path(folder).mkdir(parents=True, exist_ok=True)
        kernel_cache.reserve(Path(folder), _MODULE_BYTES)
        try:
            kernel_cache.reserve(Path(tempfile.gettempdir()), _HEADERS_BYTES)
        except OSError:
            wp.config.use_precompiled_headers = False
            module.unload()  # its options were settled with its identifier
    try:
        with _native_stderr_to_log():
            wp.load_module(module, wp.device_from_torch(device), block_dim=block_dim)
    finally:
        wp.config.use_precompiled_headers = headers
    kernel_cache.record(Path(folder), module.name)


def _renew_lock() -> None:
    """After a fork nobody is left to release the parent's lock."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


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
        with _scratch_file() as caught:
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


def _scratch_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # nowhere to write: native messages are lost, kernels in the cache still work
        return open(os.devnull, "w+b")
