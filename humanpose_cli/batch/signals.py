"""Orderly stops: SIGINT, SIGTERM and SIGHUP finish or abandon the current item within five seconds.

`StopSignals.allow` gives an item more time. Within `item()` the first signal only asks for a stop, so that an item that
is nearly done can be finished. When the grace is over, or at a second signal, KeyboardInterrupt is raised in the main
thread: context managers unwind and no half-written file stays. Outside an item the first signal raises it at once. If
the main thread cannot be interrupted (inside a long native call), a watchdog thread ends the process.

Forked children (a data loader's workers) take no part: a terminal's Ctrl-C reaches them too, and would count twice.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from humanpose_cli.core.errors import InputError

_SIGNALS = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM}
"""Each handled signal and the signal that it is reported as."""
if hasattr(signal, "SIGBREAK"):  # Windows: Ctrl-Break, and how another program asks for an end; its SIGTERM only kills
    _SIGNALS[signal.SIGBREAK] = signal.SIGTERM
if hasattr(signal, "SIGHUP"):  # the terminal or the connection has gone
    _SIGNALS[signal.SIGHUP] = signal.SIGTERM
TERMINAL_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name))
"""The signals that a terminal sends to all its processes: children leave them to their parent."""
_END = b"\0"  # no signal has this number


class StopSignals:
    """Context manager that handles SIGINT, SIGTERM and SIGHUP while it is open; inert outside the main thread.

    A SIGHUP that is ignored stays ignored (`nohup`).

    Args:
        grace: Seconds that the item in progress has to finish by itself.
        hard_limit: Seconds after which the process ends in any case.
        on_abandon: Called with the signal's number by the watchdog just before it ends the process.

    Attributes:
        on_stop: Called in the watchdog thread with the first signal's number if an item is in progress.
        signal_number: Number of the first signal as it is reported; None before it.
        has_begun: Whether an item, or the work of a command without items, has begun.
    """

    def __init__(
        self, *, grace: float = 2.0, hard_limit: float = 3.5, on_abandon: Callable[[int], None] | None = None
    ) -> None:
        self.grace = grace
        self.hard_limit = hard_limit
        self.on_abandon = on_abandon
        self.on_stop: Callable[[int], None] | None = None
        self.signal_number: int | None = None
        self.has_begun = False
        self._in_item = False
        self._has_raised = False
        self._grace_over = False
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come; long work may check it and stop early."""
        return self.signal_number is not None

    def allow(self, grace: float) -> None:
        """Give items `grace` seconds to finish by themselves, because they check `requested`."""
        self.grace = grace
        self.hard_limit = grace + 9.0

    @contextmanager
    def item(self) -> Iterator[None]:
        """Give the work inside the grace period when a signal comes."""
        self._in_item = self.has_begun = True
        try:
            yield
        finally:
            self._in_item = False

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number, reported in _SIGNALS.items():
            if reported == number or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        self._watchdog = threading.Thread(target=self._watch, name="stop-signals", daemon=True)
        self._watchdog.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._previous:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        signal.set_wakeup_fd(self._previous_fd)
        self._writer.send(_END)  # closing is not enough while a forked child has the socket open as well
        self._watchdog.join(timeout=1)
        self._writer.close()
        self._reader.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal in the main thread, between two byte codes."""
        first = self.signal_number is None
        if first:
            self.signal_number = _SIGNALS[signal.Signals(number)]
        if self._in_item and first and not self._grace_over:
            return
        if not self._has_raised:  # a second exception would tear the cleaning up that the first one started
            self._has_raised = True
            raise KeyboardInterrupt

    def _watch(self) -> None:
        """Watch for signals in a thread, which receives them even while the main thread is in a native call."""
        first, number = self._wait_for_signal(None)
        if not first:
            return
        hard_limit = time.monotonic() + self.hard_limit
        if self._in_item and self.on_stop is not None:
            self.on_stop(number)
        again, _ = self._wait_for_signal(self.grace)
        if again is None:
            return
        self._grace_over = True
        if again:
            hard_limit = min(hard_limit, time.monotonic() + 1.0)  # asked twice: unwind, and end soon
        else:
            _wake_main_thread(number)
        while (left := hard_limit - time.monotonic()) > 0:
            if self._wait_for_signal(left)[0] is None:
                return
        if self.on_abandon is not None:
            self.on_abandon(number)
        os._exit(128 + number)

    def _wait_for_signal(self, timeout: float | None) -> tuple[bool | None, int]:
        """Wait for a signal: (True, its number), (False, 0) after the time-out, (None, 0) if the handling has ended."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._reader], [], [], left)
            if not ready:
                return False, 0
            numbers = self._reader.recv(16)
            if _END in numbers:
                return None, 0
            for number in numbers:
                if number in _SIGNALS:
                    return True, _SIGNALS[signal.Signals(number)]


@contextmanager
def time_limit(seconds: float | None, name: str) -> Iterator[None]:
    """Raise InputError about `name` in the main thread when the work inside takes longer, between two native calls.

    Without a limit, in other threads and on systems without timers, it does nothing.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if seconds is None or not is_main or not hasattr(signal, "setitimer"):
        yield
        return

    def expire(number: int, frame: FrameType | None) -> None:
        raise InputError(name, "takes too long", expected=f"at most {seconds:g} s, the `item_timeout`")

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def leave_at_once(code: int) -> None:
    """Let a signal that comes after the work end the process with the exit code of the work."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(code))


def _leave_to_parent() -> None:
    """Ignore a terminal's signals in a forked child; SIGTERM ends it, which is how a pool ends its workers."""
    # The workers of `lab.cache.loader`, which end with their parent, ignore SIGTERM as well.
    if isinstance(getattr(signal.getsignal(signal.SIGINT), "__self__", None), StopSignals):
        signal.set_wakeup_fd(-1)
        for number in TERMINAL_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _wake_main_thread(number: int) -> None:
    """Deliver a signal to the main thread, waking it from a system call if the platform can."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)
