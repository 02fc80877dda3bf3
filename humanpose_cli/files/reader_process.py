"""Reading of other people's files in a process that can do no harm.

Compiled parsers and unpicklers crash on damaged files, never end, or ask for any amount of memory. They run in a
worker, an interpreter that receives bytes and returns plain values and arrays. It starts with the first file (0.2 s)
and reads one file after the other. On Linux, it has limits of processor time (`_SECONDS`) and memory (`_MEMORY` besides
the size of its result) while it reads, opens no files and starts no processes. On other systems, time alone is limited.

`multiprocessing` does not start the worker, because it would run a user's script once more.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from humanpose_cli.core.errors import InputError, UnavailableError

_SECONDS = 5  # of processor time
_PATIENCE = 60.0  # seconds after which the worker is killed
_MEMORY = 1 << 30
_COPIES = 4  # copies of the file's bytes: read, unpacked, as arrays, and in the reply
_PLAIN = (str, int, float, type(None))
_ARRAY_KINDS = "biufcSU"
_CRASH = "damage that ends its reader"
_KILLED = "its reader was killed from outside"
_SIGNALS_FROM_OUTSIDE = (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", 1), getattr(signal, "SIGKILL", 9))
# The working folder is not searched for modules: it may hold files of strangers.
_COMMAND = (
    "import sys; sys.path = [p for p in sys.path if p]; from humanpose_cli.files.reader_process import serve; serve()"
)


def read_isolated(
    path: Path, read: Callable[..., Any], content: bytes, *arguments: Any, problem: str, more: int = 0
) -> Any:
    """Call a function of a module on bytes in the worker.

    Args:
        path: The file, for errors.
        read: A function that returns arrays, numbers, texts, bytes, and tables, lists, tuples and sets of them.
        content: The bytes of the file, the function's first argument.
        arguments: Its other arguments, plain values.
        problem: The problem of a file that cannot be read, such as "is no readable XML".
        more: Additional bytes that the result may take.

    Returns:
        The function's result; arrays are writable.

    Raises:
        InputError: If `read` raises it, and for all other failures of the worker.
        UnavailableError: If something else, such as a lack of memory, ended two workers in turn.
    """
    memory = _MEMORY + _COPIES * len(content) + 2 * more
    question = pickle.dumps((read.__module__, read.__name__, content, arguments, memory, _SECONDS))
    for _ in range(2):  # a worker may be killed from outside, or damaged by an earlier file
        reply, failure = _WORKERS[os.getpid()].ask(question)
        if reply is not None:
            value, error_fields = reply
            if error_fields is None:
                return value
            raise InputError(path, **{"problem": problem, **error_fields})
        if failure not in (_KILLED, _CRASH):
            break
    if failure == _KILLED:
        remedy = "free memory or give the job more; the same command goes on"
        raise UnavailableError(path, "cannot be read", got=failure, remedy=remedy)
    raise InputError(path, problem, got=failure)


class _Worker:
    """An interpreter that answers one question after the other; the first question starts it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._owner = os.getpid()
        atexit.register(self.close)

    def _start(self) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},  # it may start no threads
            start_new_session=True,  # Ctrl-C is for the command; the worker ends when its input ends
        )
        return self.process

    def close(self) -> None:
        """End the interpreter, unless it belongs to the parent of this forked process."""
        if self.process is not None and os.getpid() == self._owner:
            with suppress(BrokenPipeError), self.process:  # closes the pipes and waits
                self.process.kill()
            self.process = None

    def ask(self, question: bytes) -> tuple[Any, str]:
        """Return the reply to a question; None and the reason if the interpreter ends without one."""
        with self._lock:
            process = self.process or self._start()
            input_pipe, output_pipe = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
            start = time.monotonic()
            timer = threading.Timer(_PATIENCE, process.kill)
            timer.start()
            try:
                input_pipe.write(question)
                input_pipe.flush()
                return pickle.load(output_pipe), ""
            except (EOFError, OSError, pickle.UnpicklingError):
                signal_number = -process.wait()
                self.close()
            finally:
                timer.cancel()
        if time.monotonic() - start >= _PATIENCE:
            return None, f"more than {_PATIENCE:g} s of work"
        if signal_number == getattr(signal, "SIGPROF", None):
            return None, f"more than {_SECONDS} s of work"
        return None, _KILLED if signal_number in _SIGNALS_FROM_OUTSIDE else _CRASH


_WORKERS: dict[int, _Worker] = defaultdict(_Worker)  # by the process that asks: forked processes start their own


def serve() -> None:
    """Answer the questions on the standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what parsers print
    with suppress(EOFError):
        while True:
            module, name, content, arguments, memory, seconds = pickle.load(sys.stdin.buffer)
            read = getattr(import_module(module), name)
            with _limits(memory, seconds):
                reply = _reply(read, content, arguments)
            answers.write(reply)
            answers.flush()


@contextmanager
def _limits(memory: int, seconds: int) -> Iterator[None]:
    """Take away from this process everything that parsing of bytes does not need."""
    if sys.platform != "linux":
        yield
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limits = {
        resource.RLIMIT_AS: pages * resource.getpagesize() + memory,
        **dict.fromkeys(
            (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE), 0
        ),
    }
    usual = {kind: resource.getrlimit(kind) for kind in limits}
    for kind, limit in limits.items():
        hard = usual[kind][1]
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        for kind, pair in usual.items():
            resource.setrlimit(kind, pair)


def _reply(read: Callable[..., Any], content: bytes, arguments: Any) -> bytes:
    """Pickle a value and None, or None and the fields of an InputError."""
    try:
        return pickle.dumps((_plain(read(content, *arguments)), None), pickle.HIGHEST_PROTOCOL)
    except InputError as error:
        fields = {name: getattr(error, name) for name in ("problem", "expected", "got", "remedy")}
    except MemoryError:
        fields = {"problem": "is too large unpacked"}
    except RecursionError:
        fields = {"got": "objects that are nested too deep or in themselves"}
    except BaseException as error:  # a damaged file raises whatever it leads to
        fields = {"got": " ".join(str(error)[:400].split())[:200] or type(error).__name__}
    return pickle.dumps((None, fields))


def _plain(value: Any) -> Any:
    """Copy a value without subclasses, and with the values that stand-ins (`make`) stand for."""
    if isinstance(value, np.generic) and isinstance(value, _PLAIN):
        return value.item()
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, tuple | set | frozenset):
        return (tuple if isinstance(value, tuple) else set)(map(_plain, value))
    if hasattr(value, "make"):
        return _plain(value.make())
    if isinstance(value, np.ndarray | np.generic):
        return _plain_array(value)
    raise ValueError(f"{type(value).__name__}, which is no plain value")


def _plain_array(array: Any) -> Any:
    if array.dtype.hasobject:
        objects = np.empty(array.size, object)
        for row, item in enumerate(np.asarray(array).flat):  # a slice would spread arrays over the elements
            objects[row] = _plain(item)
        return objects.reshape(array.shape)
    if array.dtype.kind not in _ARRAY_KINDS:
        raise ValueError(f"an array of {array.dtype}")
    return np.array(array, order="C") if isinstance(array, np.ndarray) else array
