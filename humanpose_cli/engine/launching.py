"""Run Warp kernels on torch tensors: start Warp, compile kernels, launch them and allocate their results.

Warp is imported with the first kernel, not with this module. It starts quietly. Launches make no copies, use
torch's current stream and torch's number of CPU threads.

Warp itself caches compiled kernels: a folder for each version of Warp, in it one for each state of a module's
source (C++ headers included), in that a file for each kind of processor. A home folder that different machines share
is therefore safe. Warp compiles into a folder of the process and renames it, so processes can compile at the same time.
Warp does not check what it loads, and a damaged file may end the process: `hpc doctor --repair` empties the cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.core.errors import UnavailableError, UsageError
from humanpose_cli.core.progress import interlude

logger = logging.getLogger("humanpose_cli.engine")

_BINARIES = {"cpu": (".o",), "cuda": (".cubin", ".ptx")}

# Nanoseconds of work on one thread from which a launch is split over several threads (splitting costs about 60 µs).
SPLIT_FROM = 300_000
# Launches remembered per thread; bodies of few shapes need a few dozen.
_MAX_COMMANDS = 1024

# Bytes of a huge page; of a tensor that surely contains one; and Linux's advice to use them.
_HUGE_PAGE, _LARGE, _MADV_HUGEPAGE = 1 << 21, 1 << 22, 14

# Warp counts threads, rows and the bytes from one row to the next in 32 bits.
_MAX_INT32 = (1 << 31) - 1

_NUMPY = {torch.float32: np.float32, torch.uint8: np.uint8}

# A tensor as a kernel's array of a Warp type; None means the tensor's dtype.
Array = tuple[Tensor, Any]


class Constant:
    """An array that never changes or moves, for example a table: launches do not look at it again."""

    def __init__(self, array: Array) -> None:
        self.array = array


class _Commands(threading.local):
    """One thread's recorded launches, and the descriptors that hold the addresses of their arrays."""

    def __init__(self) -> None:
        self.launches: dict[tuple[Any, ...], tuple[Any, list[Any]]] = {}


_commands = _Commands()

# Launches so far, for tests and benchmarks.
launch_count = 0

_lock = threading.RLock()
_warp: Any = None
_streams: dict[tuple[torch.device, int], Any] = {}
_failures: dict[tuple[str, str], Exception] = {}
_loaded_modules: set[tuple[str, str]] = set()


def start() -> Any:
    """Import and initialise Warp, which takes about 0.3 s the first time.

    Returns:
        The module `warp`.

    Raises:
        Exception: Whatever Warp raises.
    """
    global _warp
    if _warp is None:
        with _lock:
            if _warp is None:
                import warp

                # A program that started Warp before has chosen its settings.
                if warp.config.kernel_cache_dir is None:
                    warp.config.log_level = warp.LOG_WARNING
                with _native_stderr_to_log():
                    warp.init()
                _warp = warp
    return _warp


# NVIDIA's first driver for each major version of CUDA.
_FIRST_DRIVERS = {12: 525, 13: 580}


def check_driver() -> None:
    """Check that Warp can use this machine's GPUs.

    Raises:
        UnavailableError: If Warp has no CUDA, or if the driver is older than the CUDA that Warp was built with.
    """
    wp = start()
    if wp.is_cuda_available():
        return
    made_with, driver_cuda = wp.get_cuda_toolkit_version(), wp.get_cuda_driver_version()
    if made_with is None:
        remedy = "install NVIDIA's own build of warp-lang, or `device=cpu`"
        raise UnavailableError(f"Warp {wp.__version__}", "was made without CUDA", remedy=remedy)
    first_driver = _FIRST_DRIVERS.get(made_with[0])
    requirement = f"a driver for CUDA {made_with[0]}" + (f", {first_driver} or newer" if first_driver else "")
    driver = f"driver {first_driver} or newer" if first_driver else "a newer driver"
    driver_version = _driver() + (f" for CUDA {driver_cuda[0]}.{driver_cuda[1]}" if driver_cuda else "")
    raise UnavailableError(
        "NVIDIA's driver",
        f"is too old for the kernels of Warp {wp.__version__}",
        expected=requirement,
        got=driver_version.strip() or "none that Warp can use",
        remedy=f"install {driver}, or `device=cpu`",
    )


def _driver() -> str:
    """Read the version of NVIDIA's driver from Linux's /sys, "" if there is none."""
    try:
        return Path("/sys/module/nvidia/version").read_text("utf-8").strip()
    except OSError:
        return ""


def empty_cache() -> Path:
    """Remove all compiled kernels from Warp's cache and return its folder; the next command compiles them again.

    Raises:
        OSError: If they cannot be removed.
    """
    folder = Path(start().config.kernel_cache_dir)
    for path in folder.glob("wp_*"):
        shutil.rmtree(path)
    return folder


def ready(kernels: str, device: torch.device) -> Exception | None:
    """Compile and load a module of kernels for a device.

    Args:
        kernels: Full name of a module that defines Warp kernels and their `MODULE`.
        device: The device to run them on.

    Returns:
        None if the kernels can run there, otherwise the error.
    """
    key = (kernels, str(device))
    if key in _loaded_modules:
        return None
    with _lock:
        if key not in _loaded_modules and key not in _failures:
            try:
                if device.type == "cuda":
                    check_driver()
                with _restored_device(device):
                    _load(kernels, device)
                _loaded_modules.add(key)
            except Exception as problem:  # whatever Warp, its compiler or the driver raise
                _failures[key] = problem
        return _failures.get(key)


def _load(kernels: str, device: torch.device) -> None:
    """Load a module from Warp's cache, and compile it before if it is not there."""
    wp = start()
    module = import_module(kernels).MODULE
    block_dim = 1 if device.type == "cpu" else 256
    build = Path(wp.config.kernel_cache_dir) / module.get_module_identifier(block_dim)
    work: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if not (build.is_dir() and any(path.suffix in _BINARIES[device.type] for path in build.iterdir())):
        _announce(str(device))
        work = interlude("compiling kernels")
    with _native_stderr_to_log(), work:
        wp.load_module(module, wp.device_from_torch(device), block_dim=block_dim)


@lru_cache
def _announce(device: str) -> None:
    logger.info("compiling kernels for %s, once on this machine", device)


@contextlib.contextmanager
def _native_stderr_to_log() -> Iterator[None]:
    """Capture what native code writes to the process's stderr, and log it at debug level."""
    try:
        sys.stderr.flush()
        stderr_copy = os.dup(2)
    except (OSError, AttributeError, ValueError):  # no stderr at all
        yield
        return
    try:
        with _scratch_file() as capture:
            os.dup2(capture.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(stderr_copy, 2)
                capture.seek(0)
                for line in capture.read().decode(errors="replace").splitlines():
                    logger.debug("%s", line)
    finally:
        os.close(stderr_copy)


def _scratch_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # nowhere to write: native messages are lost, kernels in the cache still work
        return open(os.devnull, "w+b")


def scalars(tensor: Tensor) -> Array:
    """Wrap a tensor of any strides as a kernel's array of numbers."""
    return tensor.resolve_neg() if tensor.is_neg() else tensor, None


def vectors(tensor: Tensor, dtype: Any) -> Array:
    """Wrap (..., n) as an array of Warp vectors; copies only if the numbers of a vector are not contiguous."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous(), dtype


def matrices(tensor: Tensor, dtype: Any) -> Array:
    """Wrap (..., n, n) as an array of Warp matrices; copies only if the numbers of a matrix are not contiguous."""
    is_contiguous = tensor.stride()[-2:] == (tensor.shape[-1], 1)
    return tensor if is_contiguous else tensor.contiguous(), dtype


def allocate(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Allocate an uninitialised tensor.

    On Linux, large CPU tensors get huge pages if the system grants them on request, as numpy's arrays do: touching
    new memory takes about as long as a kernel's work, and a quarter of that with huge pages.

    Args:
        like: A tensor with the dtype and device of the result.
        shape: The shape of the result.
    """
    tensor = torch.empty(tuple(shape), dtype=like.dtype, device=like.device)
    if tensor.device.type == "cpu" and tensor.nbytes >= _LARGE:
        advise = _advice()
        if advise is not None:
            begin = -(-tensor.data_ptr() // _HUGE_PAGE) * _HUGE_PAGE
            advise(begin, (tensor.data_ptr() + tensor.nbytes - begin) // _HUGE_PAGE * _HUGE_PAGE, _MADV_HUGEPAGE)
    return tensor


@lru_cache(maxsize=1)
def _advice() -> Callable[[int, int, int], int] | None:
    """Return the C library's madvise, or None if it does not support huge pages."""
    if sys.platform != "linux":
        return None
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    if advise is not None:
        advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise


def on_cpu(device: torch.device) -> bool:
    """Check whether a device is the CPU, whose threads take long runs of work."""
    return device.type == "cpu"


def finish(device: torch.device) -> None:
    """Wait for torch's current stream of a GPU, so that a cached tensor can be used on any stream.

    Args:
        device: The device.

    Raises:
        UsageError: If a CUDA graph is captured, which computes nothing yet.
    """
    if device.type == "cuda":
        if torch.cuda.is_current_stream_capturing():
            problem = "is captured while a value is computed that is cached"
            raise UsageError("CUDA graph", problem, remedy="run the function once before the capture")
        torch.cuda.current_stream(device).synchronize()


@lru_cache(maxsize=64)
def integers(count: int, device: torch.device) -> Tensor:
    """List the int32 numbers from 0 to `count` − 1; each list is made once."""
    with torch.inference_mode(False):
        numbers = torch.arange(count, dtype=torch.int32, device=device)
    finish(device)
    return numbers


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Allocate a contiguous tensor of zeros.

    On the CPU it is NumPy's memory, which the system provides as zero pages (and as huge ones, if it may). A volume of
    64 MiB takes torch.zeros 22 ms, most of it page faults; this takes 3 ms if a voxel in every page is written, and
    nothing if none is.
    """
    if device.type == "cpu" and dtype in _NUMPY:
        return torch.from_numpy(np.zeros(tuple(shape), _NUMPY[dtype]))
    return torch.zeros(tuple(shape), dtype=dtype, device=device)


def zero_volume(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Allocate zeros (B, C, D, H, W) in torch.channels_last_3d.

    The result is not a view: views that an autograd function returns cannot be changed in place.
    """
    batch, channels, *size = shape
    if device.type == "cpu" and dtype in _NUMPY:
        return torch.from_numpy(np.zeros((batch, *size, channels), _NUMPY[dtype]).transpose(0, 4, 1, 2, 3))
    return torch.empty(tuple(shape), dtype=dtype, device=device, memory_format=torch.channels_last_3d).zero_()


def launch(kernel: Any, size: int, arguments: Sequence[Any], device: torch.device, cost: int = 0) -> None:
    """Run a kernel on torch's current stream of a device.

    Args:
        kernel: A Warp kernel.
        size: The number of threads.
        arguments: Numbers, arrays and constants. The kernel takes the number of its first thread before them.
        device: The device of the arrays.
        cost: Estimated nanoseconds on one CPU thread. A launch of more than `SPLIT_FROM` is split over torch's
            number of threads, so the kernel's threads must not write to the same address.

    Raises:
        UsageError: If the kernel cannot index the threads or tensors.
    """
    global launch_count
    if size == 0:
        return
    launch_count += 1
    if size > _MAX_INT32:
        raise UsageError(
            "tensors", "are too large for one launch", expected=f"at most {_MAX_INT32} threads", got=str(size)
        )
    if device.type != "cpu":
        with _restored_device(device):
            _run(kernel, 0, size, arguments, device, _stream(device))
        return
    parts = min(torch.get_num_threads(), size) if cost > SPLIT_FROM else 1
    bounds = [size * part // parts for part in range(parts + 1)]
    tasks = [
        _threads().submit(_run, kernel, begin, end, arguments, device, None) for begin, end in pairwise(bounds[1:])
    ]
    try:
        _run(kernel, 0, bounds[1], arguments, device, None)
    finally:
        for task in tasks:
            task.result()


def _restored_device(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Restore the current GPU afterwards: Warp changes it, and torch would allocate its next tensors there."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _stream(device: torch.device) -> Any:
    """Return Warp's stream object for torch's current stream."""
    # Stored, because dropping it would take the stream away from other code that registered it. Torch has some dozens
    # of streams and reuses them.
    stream = torch.cuda.current_stream(device)
    key = (device, stream.cuda_stream)
    if key not in _streams:
        with _lock:
            if key not in _streams:
                _streams[key] = start().stream_from_torch(stream)
    return _streams[key]


def _run(kernel: Any, begin: int, end: int, arguments: Sequence[Any], device: torch.device, stream: Any) -> None:
    """Launch threads `begin` to `end` − 1."""
    # Small operations would spend most of their time in Warp's packing of arguments. So a launch is recorded once for
    # each set of numbers, shapes and strides; afterwards only the addresses of the arrays change.
    key: list[Any] = [kernel, begin, end, device]
    tensors: list[Tensor] = []
    for argument in arguments:
        if argument.__class__ is tuple:
            tensor = argument[0]
            tensors.append(tensor)
            key += (tensor.shape, tensor.stride())
        else:
            key.append(argument)
    commands = _commands.launches
    entry = commands.get(tuple(key))
    if entry is None:
        if len(commands) >= _MAX_COMMANDS:
            commands.clear()
        entry = commands[tuple(key)] = _record(kernel, begin, end, arguments, device)
    command, descriptors = entry
    for descriptor, tensor in zip(descriptors, tensors, strict=True):
        descriptor.data = tensor.data_ptr()
    command(stream)


def _record(
    kernel: Any, begin: int, end: int, arguments: Sequence[Any], device: torch.device
) -> tuple[Callable[[Any], Any], list[Any]]:
    """Return a function that launches on a stream, and the descriptors of the arrays whose addresses change."""
    wp = start()
    values: list[Any] = [begin]
    variable = []
    for argument in arguments:
        constant = argument.__class__ is Constant
        if constant or argument.__class__ is tuple:
            tensor, dtype = argument.array if constant else argument
            if not tensor.numel():
                tensor = tensor.new_empty(tensor.shape)  # an empty tensor may have strides that Warp refuses
            _check_reach(tensor)
            descriptor = wp.from_torch(tensor, dtype=dtype, requires_grad=False, return_ctype=True)
            copy = type(descriptor).from_buffer_copy(descriptor)  # without its reference to the tensor
            if not constant:
                variable.append(len(values))
            values.append(copy)
        else:
            values.append(argument)
    command = wp.launch(kernel, end - begin, values, device=wp.device_from_torch(device), record_cmd=True)
    if not on_cpu(device):
        return command.launch, [values[i] for i in variable]
    # On the CPU, Warp would copy all arguments into a structure at each launch, which takes longer than small kernels.
    packed = _structure(*map(type, command.params[1:]))(*command.params[1:])
    run = partial(command.hooks.forward, ctypes.byref(command.params[0]), ctypes.byref(packed))
    packed.command = command  # keeps the module loaded
    return lambda stream: run(), [getattr(packed, f"argument_{i}") for i in variable]


@lru_cache(maxsize=256)
def _structure(*types: Any) -> type[ctypes.Structure]:
    """Return a structure with fields of these types; to make it takes longer than small kernels."""
    return type("Arguments", (ctypes.Structure,), {"_fields_": [(f"argument_{i}", t) for i, t in enumerate(types)]})


def _check_reach(tensor: Tensor) -> None:
    """Raise UsageError if a size or stride does not fit into Warp's 32 bits."""
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        if size > _MAX_INT32 or (size > 1 and stride * tensor.element_size() > _MAX_INT32):
            raise UsageError(
                "tensors",
                "are too large for the kernels",
                expected="less than 2 GiB from one row to the next, and 2³¹ rows",
                got=f"{tuple(tensor.shape)} of {tensor.dtype}",
                remedy="take fewer pixels, voxels or channels at once",
            )


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1), "humanpose-kernels")


def _forget_locks() -> None:
    """Make new locks after a fork: the child has no thread that could release the locks of its parent."""
    global _lock
    _lock = threading.RLock()
    _threads.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)
