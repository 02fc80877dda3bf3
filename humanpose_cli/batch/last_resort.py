"""A last resort for processes that no signal ends: native code that holds Python's interpreter lets no handler run.

C code that does not release the interpreter (a hash of deeply nested tuples, a regular expression that backtracks)
keeps all of Python's threads from running, also those that wait for signals. The kernel still calls the C handler of a
signal, which writes the signal's number into Python's wake-up socket. A small forked process looks into that socket,
and ends its parent when the time is over. The parent's exit code must be the usual one: outstanding `aio_read`s of the
C library, whose notification is `_exit`, end it from within as soon as the small process writes to their pipe. Where
there are none (macOS) it is killed: exit code 137.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

CODES = {signal.SIGINT: 128 + signal.SIGINT, signal.SIGTERM: 128 + signal.SIGTERM}
_MESSAGE = struct.Struct("=id")  # a signal that Python has heard of or 0, seconds from the first signal to the end
_PATIENCE = 0.5  # seconds for the parent to end by itself before it is killed
_SIGEV_THREAD = 2  # of Linux
_requests: list[Any] = []  # must live for as long as the process


class LastResort:
    """The small process, from its start to `close`.

    numbers how each signal is reported, as a signal of `CODES`
    farewell called in the small process with the reported signal's number before it ends the parent

    Args:
        wakeup: The socket whose other end is the wake-up descriptor; the process only looks into it.
        limit: Seconds from the first signal to the end.
    """

    def __init__(
        self, wakeup: socket.socket, limit: float, numbers: dict[Any, Any], farewell: Callable[[int], None] | None
    ) -> None:
        self._theirs, self._control = socket.socketpair()
        pipes = {number: os.pipe() for number in CODES}
        parent = os.getpid()
        self._process = os.fork()
        if self._process == 0:
            try:
                self._control.close()
                ends = {number: end for number, (_, end) in pipes.items()}
                _Watcher(parent, wakeup, self._theirs, numbers, farewell).wait(limit, ends)
            finally:
                os._exit(0)
        self._theirs.close()
        # This process keeps the writing ends as well: without a writer the reads would end, and end it.
        for number, (end, _) in pipes.items():
            _exit_on_byte(end, CODES[number])

    def tell(self, limit: float, number: int = 0) -> None:
        """Set the seconds from the first signal to the end, and say which signal has come if one has."""
        with suppress(OSError):  # somebody killed it
            self._control.send(_MESSAGE.pack(number, limit))

    def abandon(self) -> None:
        """Close, in a forked child, the descriptors that would keep the small process alive."""
        self._control.close()

    def close(self) -> None:
        """End the small process."""
        self._control.close()
        with suppress(OSError):
            os.waitpid(self._process, 0)


class _Watcher:
    """What the small process does."""

    def __init__(
        self,
        parent: int,
        wakeup: socket.socket,
        control: socket.socket,
        numbers: dict[Any, Any],
        farewell: Callable[[int], None] | None,
    ) -> None:
        self.parent, self.wakeup, self.control = parent, wakeup, control
        self.numbers, self.farewell = numbers, farewell

    def wait(self, limit: float, ends: dict[Any, int]) -> None:
        """Wait for the parent's end, or end it so many seconds after the first signal."""
        for number in self.numbers:  # which a terminal and some schedulers send to all processes
            signal.signal(number, signal.SIG_IGN)
        signal_number, since = 0, 0.0
        while True:
            left = None if not signal_number else max(0.0, since + limit - time.monotonic())
            looked_at = [self.control] if signal_number else [self.control, self.wakeup]
            ready, _, _ = select.select(looked_at, [], [], left)
            number = 0
            if self.control in ready:
                message = self.control.recv(_MESSAGE.size)
                if len(message) < _MESSAGE.size:
                    return
                number, limit = _MESSAGE.unpack(message)
            elif self.wakeup in ready and not (number := self._number()):
                time.sleep(0.05)  # Python has just taken it, or it is not one of ours
            elif signal_number and not ready:
                self._end(signal_number, ends)
                return
            if number and not signal_number:
                signal_number, since = number, time.monotonic()

    def _number(self) -> int:
        """Return the reported number of a signal that Python has not heard of yet; 0 if there is none."""
        try:
            waiting: Iterable[int] = self.wakeup.recv(64, socket.MSG_PEEK)
        except OSError:
            return 0
        return next((int(self.numbers[number]) for number in waiting if number in self.numbers), 0)

    def _end(self, number: int, ends: dict[Any, int]) -> None:
        if self.farewell is not None:  # whose reader may have stopped reading
            thread = threading.Thread(target=self.farewell, args=(number,), daemon=True)
            thread.start()
            thread.join(_PATIENCE)
        os.write(ends[signal.Signals(number)], b"\0")
        until = time.monotonic() + _PATIENCE
        while os.getppid() == self.parent:
            if time.monotonic() > until:
                os.kill(self.parent, signal.SIGKILL)
                return
            time.sleep(0.01)


def _exit_on_byte(end: int, code: int) -> None:
    """Let this process end with an exit code as soon as a pipe has a byte, whatever Python is doing."""
    if sys.platform != "linux":
        return
    import ctypes

    class SigEvent(ctypes.Structure):
        _fields_ = (
            ("value", ctypes.c_void_p),
            ("signal", ctypes.c_int),
            ("notify", ctypes.c_int),
            ("function", ctypes.c_void_p),
            ("attributes", ctypes.c_void_p),
            ("rest", ctypes.c_int * 8),
        )

    class Request(ctypes.Structure):  # struct aiocb: what POSIX names, and room for what the C library adds
        _fields_ = (
            ("descriptor", ctypes.c_int),
            ("operation", ctypes.c_int),
            ("priority", ctypes.c_int),
            ("buffer", ctypes.c_void_p),
            ("size", ctypes.c_size_t),
            ("event", SigEvent),
            ("rest", ctypes.c_char * 256),
        )

    try:
        library = ctypes.CDLL(None, use_errno=True)
        leave = ctypes.cast(library._exit, ctypes.c_void_p).value
        read = library.aio_read
    except (OSError, AttributeError):
        return
    buffer = ctypes.create_string_buffer(1)
    event = SigEvent(value=code, notify=_SIGEV_THREAD, function=leave)
    request = Request(descriptor=end, buffer=ctypes.addressof(buffer), size=1, event=event)
    if read(ctypes.byref(request)) == 0:
        _requests.append((request, buffer))
