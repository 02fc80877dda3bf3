"""`hpc`: find the command, call its function, and render the result or the failure.

This module imports nothing heavy; CONTRIBUTING.md describes how to write a command.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typer.core import TyperCommand

    from humanpose_cli.batch.signals import StopSignals
    from humanpose_cli.cli.command import Invocation
    from humanpose_cli.cli.reporter import Reporter

# Native libraries read these once, when they are loaded: less start-up chatter, and OpenBLAS's idle threads sleep at
# once instead of spinning, which takes a core from the threads that load networks.
_ENVIRONMENT = {"GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "2", "ABSL_MIN_LOG_LEVEL": "2"}
_ENVIRONMENT |= {"OPENBLAS_THREAD_TIMEOUT": "4"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `hpc` and return its exit code.

    Args:
        arguments: The command line without the program. None uses the arguments of the process, which then ends
            without waiting for threads and native libraries.
    """
    if arguments is not None:
        return _guarded(list(arguments))
    _occupy_standard_streams()
    _read_names_as_utf8()
    sys.setswitchinterval(0.0005)  # with the usual 5 ms, threads that load networks wait for imports of the main one
    gc.set_threshold(50_000)  # the usual 700 looks through torch's hundred thousands of objects while they are imported
    from humanpose_cli.batch.signals import leave_at_once
    from humanpose_cli.core.heap import use_one_heap

    use_one_heap()
    code = _guarded(sys.argv[1:])
    leave_at_once(code)
    if code not in (130, 143):
        atexit._run_exitfuncs()  # which end workers and remove temporary folders
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or its reader has gone
            stream.flush()
    os._exit(code)  # the tear-down of native libraries would take another second


def _occupy_standard_streams() -> None:
    """Open the null device in place of closed standard streams (`>&-`)."""
    # Otherwise a result file or a socket would get their descriptor, and the output of native libraries.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _read_names_as_utf8() -> None:
    """Restart in Python's UTF-8 mode if file names have another encoding."""
    # File names are text in ledgers and fits; a C locale with PYTHONUTF8=0 could not encode them. Streams keep theirs.
    if os.name != "posix" or sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    streams = os.environ.get("PYTHONIOENCODING") or getattr(sys.stdout, "encoding", None) or "utf-8"
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": streams}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _guarded(arguments: list[str]) -> int:
    """Run with handlers for signals."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from humanpose_cli.batch.signals import StopSignals

        def abandon(number: int) -> None:
            from humanpose_cli.cli.render import interrupted, json_text
            from humanpose_cli.cli.stdout import write_stdout
            from humanpose_cli.cli.table import command_in

            if "--json" in arguments:
                write_stdout(json_text(interrupted(command_in(arguments).split()[0], number)) + "\n")

        with StopSignals(on_abandon=abandon) as stop:
            return _run(arguments, stop)
    except KeyboardInterrupt:  # a signal before anything had begun, or after everything was done
        return 130


def _run(arguments: list[str], stop: StopSignals) -> int:
    from humanpose_cli.cli.stdout import write_stdout
    from humanpose_cli.cli.table import build_app, command_in
    from humanpose_cli.outputs.protection import protected_inputs

    has_begun = False  # whether a command has begun, which then reports its own end

    def carry_out(invocation: Invocation) -> int:
        nonlocal has_begun
        has_begun = True
        return _carry_out(invocation, arguments, stop)

    def build(name: str) -> TyperCommand:
        from humanpose_cli.cli.command import build_command  # brings what `hpc --help` can do without

        return build_command(name, carry_out)

    try:
        with protected_inputs():
            line = [*arguments[1:], "--help"] if arguments[:1] in ([], ["help"]) else arguments
            if arguments in (["train"], ["evaluate"]):
                line = [*arguments, "--help"]  # lists the models, and what can be evaluated
            code = build_app(build).main(line, prog_name="hpc", standalone_mode=False)
        if stop.requested and not has_begun:  # typer makes a silent 130 of an interrupt, also of SIGTERM's
            raise KeyboardInterrupt
        write_stdout("")  # flushes what --help wrote: a reader that has gone is found out here
        return int(code or 0)
    except SystemExit as ending:  # typer's own, after a shell's completion or when stdout's reader has gone
        return 0 if isinstance(ending.__context__, BrokenPipeError) else int(ending.code or 0)
    except BaseException as error:
        from humanpose_cli.cli.command import with_flags
        from humanpose_cli.cli.render import close, failed
        from humanpose_cli.cli.reporter import Reporter
        from humanpose_cli.cli.stdout import unwritable_stdout

        if not has_begun and isinstance(error, OSError) and error.filename is None:  # of --help, which typer writes
            error = unwritable_stdout(error)
        name = command_in(arguments)
        verbose = "--verbose" in arguments
        with Reporter(
            translate=partial(with_flags, name), verbose=verbose, log_json="--log-json" in arguments
        ) as reporter:
            result = failed(error, name, reporter, stop)
            return close(result, reporter, as_json="--json" in arguments)


def _carry_out(invocation: Invocation, arguments: Sequence[str], stop: StopSignals) -> int:
    """Call the function of a command and render its result."""
    from humanpose_cli.cli.cluster import dry_submission, submit_command
    from humanpose_cli.cli.command import with_flags
    from humanpose_cli.cli.options import use_threads
    from humanpose_cli.cli.render import close, failed
    from humanpose_cli.cli.reporter import Reporter, private_stderr
    from humanpose_cli.cli.session import Session
    from humanpose_cli.core.options import check_integers

    name = invocation.name.split()[0]
    as_json = invocation.json
    with (
        private_stderr() as stream,
        Reporter(
            name,
            partial(with_flags, invocation.name),
            stream=stream,
            quiet=invocation.quiet,
            verbose=invocation.verbose,
            log_json=invocation.log_json,
        ) as reporter,
    ):
        try:
            options = invocation.options
            for option, value in options.items():
                check_integers(option, value)
            if "threads" in options:
                use_threads(options["threads"])
            session = Session(
                name, reporter, stop, as_json, tuple(arguments), invocation.settings, invocation.on_command_line
            )
            stop.on_stop = lambda number: reporter.info(_stopping(number, stop.grace))
            stop.on_abandon = lambda number: _abandon(number, name, reporter, stop, as_json=as_json)
            cluster = invocation.cluster
            values = invocation.values
            kind = invocation.info.cluster
            if cluster is None or cluster.cluster == "local":
                result = invocation.function(session, **values)
            elif options.get("dry_run"):
                submission = dry_submission(session, cluster, values, kind)
                plan = invocation.function(session, **values)
                result = replace(plan, messages=(*plan.messages, submission))
            else:
                result = submit_command(session, cluster, values, arguments, kind)
        except BaseException as error:
            result = failed(error, invocation.name, reporter, stop, invocation.options.get("out"))
        with reporter.paused():
            return close(result, reporter, as_json=as_json, info=invocation.info)


def _abandon(number: int, name: str, reporter: Reporter, stop: StopSignals, *, as_json: bool) -> None:
    """Report the interruption if the main thread does not return from native code."""
    from humanpose_cli.cli.render import close, interrupted

    # A bar hides the cursor until it is closed. The main thread may hold its lock: no reason not to end.
    closing = threading.Thread(target=reporter.finish, daemon=True)
    closing.start()
    closing.join(timeout=0.5)
    close(interrupted(name, number, has_begun=stop.has_begun), reporter, as_json=as_json)


def _stopping(number: int, grace: float) -> str:
    again = "; press Ctrl-C again to stop at once" if number == signal.SIGINT else ""
    return f"stopping: hpc finishes the current item if that takes less than {grace:.0f} seconds{again}"


if __name__ == "__main__":
    sys.exit(main())
