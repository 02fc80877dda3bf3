"""Reading of other people's files in a process that can do no harm.

Compiled parsers and unpicklers crash on damaged files, never end, or ask for any amount of memory. They run in a
separate process, which receives bytes, opens no files, starts no processes, and has limits of processor time
(`_SECONDS`) and memory (`_MEMORY` besides the size of its result). It returns plain values: JSON and bytes of arrays.

A server reads the files: an interpreter with one thread, started for the first file (0.2 s). On Linux it forks for each
file, which takes some 5 ms; a fork of the calling process could wait forever for a lock of one of its threads.
On other systems the server reads by itself, limited by time alone, and is replaced if a file ends it.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from humanpose_cli.core.errors import InputError, UnavailableError

_SECONDS = 5  # of processor time
_PATIENCE = 60.0  # seconds after which a process is given up
_ENDING = 5.0  # additional seconds in which a forking server ends its fork
_MEMORY = 1 << 30
_COPIES = 4  # copies of the file's bytes: read, unpacked, as arrays, and in the reply
_MAX_DOCUMENT = 64 << 20  # bytes of JSON, without arrays
_PLAIN = (str, int, float, type(None))
_KINDS = "biufcSU"  # kinds of arrays' types
_FORKS = sys.platform == "linux"
_CRASH = "damage that ends its reader"
_KILLED = "its reader was killed from outside"
_FROM_OUTSIDE = (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", 1), getattr(signal, "SIGKILL", 9))
# The working folder is not searched for modules: it may hold files of strangers.
_COMMAND = (
    "import sys; sys.path = [p for p in sys.path if p]; from humanpose_cli.io.reader_process import serve; serve()"
)


def read_isolated(
    path: Path, read: Callable[..., Any], content: bytes, *arguments: Any, problem: str, more: int = 0
) -> Any:
    """Call a function of a module on bytes in a separate process.

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
        InputError: If `read` raises it, and for all other failures of the process.
        UnavailableError: If something else, such as a lack of memory, ended two processes in turn.
    """
    memory = _MEMORY + _COPIES * len(content) + 2 * more
    question = packed([read.__module__, read.__name__, content, list(arguments), memory, _SECONDS, _FORKS])
    for _ in range(2):
        reply, reason = _reply_of_server(b"".join(question))
        try:
            ((kind, result),) = unpacked(reply).items()
            break
        except (ValueError, LookupError, TypeError, RecursionError, MemoryError) as error:
            if reason != _KILLED:
                raise InputError(path, problem, got=reason or "more than a file may hold") from error
    else:
        remedy = "free memory or give the job more; the same command goes on"
        raise UnavailableError(path, "cannot be read", got=_KILLED, remedy=remedy)
    if kind == "value":
        return result
    raise InputError(path, **{"problem": problem, **result})


def _reply_of_server(question: bytes) -> tuple[bytearray, str]:
    """Ask this process's server; return its reply, and the reason if there is none."""
    server = _SERVERS.get(os.getpid())
    if server is None or server.process.poll() is not None:
        server = _SERVERS[os.getpid()] = _Server()
    return server.ask(question)


class _Server:
    """An interpreter that answers one question after the other; each process has one."""

    def __init__(self) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},  # no threads when it forks
            start_new_session=True,  # Ctrl-C is for the command; the server ends when its input ends
        )
        self._lock = threading.Lock()
        self._owner = os.getpid()
        atexit.register(self.close)

    def close(self) -> None:
        """End the server, unless it belongs to the parent of this forked process."""
        atexit.unregister(self.close)
        if os.getpid() == self._owner:
            with suppress(BrokenPipeError), self.process:  # closes the pipes and waits
                self.process.kill()

    def ask(self, question: bytes) -> tuple[bytearray, str]:
        """Return the reply to a question, and the reason if there is none."""
        asking, answering = cast(IO[bytes], self.process.stdin), cast(IO[bytes], self.process.stdout)
        with self._lock:
            too_late = threading.Timer(_PATIENCE + _ENDING * _FORKS, self.process.kill)
            too_late.start()
            try:
                _send(asking, question)
                return bytearray(_received(answering)), _received(answering).decode()
            except (EOFError, BrokenPipeError):
                too_late.join(0.1)
                killed = -self.process.wait() in _FROM_OUTSIDE or _FORKS  # a server that forks parses nothing
                reason = _KILLED if killed else _CRASH
                self.close()
                return bytearray(), reason if too_late.is_alive() else f"more than {_PATIENCE:g} s of work"
            finally:
                too_late.cancel()


_SERVERS: dict[int, _Server] = {}


def _send(file: IO[bytes], content: bytes | bytearray) -> None:
    file.write(len(content).to_bytes(8, "big"))
    file.write(content)
    file.flush()


def _received(file: IO[bytes]) -> bytes:
    size = int.from_bytes(head := file.read(8), "big")
    content = file.read(size)
    if len(head) < 8 or len(content) < size:
        raise EOFError
    return content


def serve() -> None:
    """Answer the questions on the standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    with suppress(EOFError):
        while True:
            question = unpacked(bytearray(_received(sys.stdin.buffer)))
            module, name, content, arguments, memory, seconds, forks = question
            read = getattr(import_module(module), name)
            if forks:
                reply, reason = _from_fork(read, content, arguments, memory, seconds)
            else:
                _reply(file := io.BytesIO(), read, content, arguments)
                reply, reason = bytearray(file.getvalue()), ""
            _send(answers, reply)
            _send(answers, reason.encode())


def _from_fork(
    read: Callable[..., Any], content: bytes, arguments: Any, memory: int, seconds: int
) -> tuple[bytearray, str]:
    """Return the reply of a forked process, and the reason if there is none."""
    end, their_end = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            _limit(their_end, memory, seconds)
            with os.fdopen(their_end, "wb") as file:
                _reply(file, read, content, arguments)
        finally:
            os._exit(0)
    os.close(their_end)
    reply, until = bytearray(), time.monotonic() + _PATIENCE
    part = b"-"  # any bytes: an empty part is the end of the reply
    try:
        while part and select.select([end], [], [], max(0.0, until - time.monotonic()))[0]:
            reply += (part := os.read(end, 1 << 20))
    finally:
        os.close(end)
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if part or number == signal.SIGXCPU:
        return reply, f"more than {seconds} s of work"
    return reply, _KILLED if number in _FROM_OUTSIDE else _CRASH


def _limit(their_end: int, memory: int, seconds: int) -> None:
    """Take away from this process everything that parsing of bytes does not need."""
    import resource

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    os.closerange(3, their_end)
    os.closerange(their_end + 1, os.sysconf("SC_OPEN_MAX"))
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    used = pages * resource.getpagesize()
    limits = {"AS": used + memory, "CPU": seconds, "NOFILE": 0, "NPROC": 0, "FSIZE": 0, "CORE": 0}
    for name, value in limits.items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        limit, most = (value, value + 1) if hard == resource.RLIM_INFINITY else (min(value, hard), hard)
        # SIGXCPU at the lower limit of time; a kill comes from outside.
        resource.setrlimit(number, (limit, min(limit + 1, most) if name == "CPU" else limit))


def _reply(file: IO[bytes], read: Callable[..., Any], content: bytes, arguments: Any) -> None:
    try:
        parts = packed({"value": read(content, *arguments)})
    except InputError as error:
        fields = {name: getattr(error, name) for name in ("problem", "expected", "got", "remedy")}
        parts = packed({"error": fields})
    except MemoryError:
        parts = packed({"error": {"problem": "is too large unpacked"}})
    except RecursionError:
        parts = packed({"error": {"got": "objects that are nested too deep or in themselves"}})
    except BaseException as error:  # a damaged file raises whatever it leads to
        got = " ".join(str(error)[:400].split())[:200] or type(error).__name__
        parts = packed({"error": {"got": got}})
    for part in parts:
        file.write(part)


def packed(value: Any) -> list[bytes | memoryview]:
    """Encode plain values: a length, so much JSON, and the bytes of arrays one after the other."""
    parts: list[bytes | memoryview] = []
    document = json.dumps(_document(value, parts)).encode()
    if len(document) > _MAX_DOCUMENT:
        raise MemoryError
    return [len(document).to_bytes(8, "big"), document, *parts]


def _document(value: Any, parts: list[bytes | memoryview]) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list):
        return [_document(item, parts) for item in value]
    if isinstance(value, dict):
        return {"table": [[_document(key, parts), _document(item, parts)] for key, item in value.items()]}
    if isinstance(value, bytes | bytearray):
        parts.append(bytes(value))
        return {"bytes": len(value)}
    if isinstance(value, tuple | set | frozenset):
        return {"tuple" if isinstance(value, tuple) else "set": [_document(item, parts) for item in value]}
    if hasattr(value, "make"):
        return _document(value.make(), parts)
    if not isinstance(value, np.ndarray | np.generic):
        raise ValueError(f"{type(value).__name__}, which is no plain value")
    array, shape = np.asarray(value), list(value.shape)
    if array.dtype.hasobject:
        return {"objects": [_document(item, parts) for item in array.flat], "shape": shape}
    if array.dtype.kind not in _KINDS:
        raise ValueError(f"an array of {array.dtype}")
    parts.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
    return {"array" if value is array else "number": array.dtype.str, "shape": shape, "size": array.nbytes}


def unpacked(reply: bytearray) -> Any:
    """Decode the bytes of `packed`. Raises ValueError, LookupError or TypeError for anything else."""
    length = int.from_bytes(reply[:8], "big")
    if not 0 < length <= min(_MAX_DOCUMENT, len(reply) - 8):
        raise ValueError("no reply")
    return _Decoder(memoryview(reply), 8 + length).value(json.loads(reply[8 : 8 + length]))


class _Decoder:
    """Builds values from JSON and the bytes that follow it."""

    def __init__(self, view: memoryview, start: int) -> None:
        self._view, self._start = view, start

    def value(self, document: Any) -> Any:
        if isinstance(document, list):
            return [self.value(item) for item in document]
        if not isinstance(document, dict):
            return document
        ((kind, content), *_) = document.items()
        if kind in ("array", "number"):
            if (dtype := np.dtype(content)).kind not in _KINDS:
                raise ValueError(content)
            array = np.frombuffer(self._take(document["size"]), dtype).reshape(document["shape"])
            return array if kind == "array" else array[()]
        if kind == "bytes":
            return bytes(self._take(content))
        if kind == "table":
            return {self.value(key): self.value(item) for key, item in content}
        values = [self.value(item) for item in content]
        if kind != "objects":
            return {"tuple": tuple, "set": set}[kind](values)
        objects = np.empty(len(values), object)
        for row, item in enumerate(values):  # a slice would spread arrays over the elements
            objects[row] = item
        return objects.reshape(document["shape"])

    def _take(self, size: int) -> memoryview:
        self._start += size
        return self._view[self._start - size : self._start]
