"""`hpc`: the command line. This file parses nothing itself and imports nothing heavy: it finds the command, hands it
what it needs, and carries its result or its failure out.

How a command is written. One file in this folder, about forty lines, one function of the command's name that takes a
Session and its options and returns a CommandResult; one line in `cli/table.py`:

    # humanpose_cli/cli/fit.py
    @command(columns=(("people", "people"),), tunes=True)
    def fit(
        session: Session,
        inputs: Inputs,
        flags: BatchFlags,                                                     # --resume, --overwrite, --shard, …
        out: Out = Path("hpc-out/fit"),
        device: Device = "auto",
        threads: Threads = None,
    ) -> CommandResult:
        '''Find everyone's 3-D pose and shape in images and videos.'''       # first line = the line in table.py
        from humanpose_cli.batch.items import Item, item_of                    # heavy imports stand inside
        from humanpose_cli.batch.runner import Outcome, run_items
        from humanpose_cli.io.inputs import open_inputs
        from humanpose_cli.fitting.fitter import Fitter, FitOptions

        options = session.tune(FitOptions())                                   # --set, --config and --preset
        fitter = Fitter(options, device=resolve_device(device))            # once a process
        items = [item_of(source) for source in open_inputs(inputs, sys.stdin)]

        def work(item: Item) -> Outcome:                                       # raises HpcError for a bad input
            fitted = fitter.fit(item.payload, out, progress=session.reporter.step)
            return Outcome(fitted.outputs, {"people": fitted.people})

        batch = flags.batch(session, out, asdict(options))
        return run_items(items, work, batch, progress=session.reporter, stop=session.stop)

`--json`, `--quiet`, `--verbose`, `--config` and `--set` are added to every command; `--threads`, where a command has
it, is obeyed before the function is called. The function prints nothing: it returns, raises HpcError, logs under
`humanpose_cli`, or speaks through `session.reporter`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from humanpose_cli.batch.signals import StopSignals
    from humanpose_cli.cli.command import Invocation

__all__ = ["main"]

# Start-up chatter of native libraries that read these once, when they are loaded.
_QUIET = {"GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "2", "ABSL_MIN_LOG_LEVEL": "2"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `hpc` with these arguments and return its exit code.

    Without arguments it takes the process's, and after an interruption it ends the process without waiting for
    threads and native libraries to finish what they are doing: a farm kills what lingers.
    """
    if arguments is not None:
        return _guarded(list(arguments))
    _occupy_standard_streams()
    code = _guarded(sys.argv[1:])
    if code in (130, 143):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed, or its reader has gone
                stream.flush()
        os._exit(code)
    return code


def _occupy_standard_streams() -> None:
    """Open the null device in place of standard streams that are closed (`>&-`).

    Otherwise a result file or a socket of ours would get their number, and with it what native libraries print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _guarded(arguments: list[str]) -> int:
    """Run with signals handled."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        from humanpose_cli.batch.signals import StopSignals

        def abandon(number: int) -> None:
            from humanpose_cli.cli.boundary import interrupted
            from humanpose_cli.cli.render import json_text, write_stdout

            if "--json" in arguments:
                write_stdout(json_text(interrupted(_command_named(arguments), number)) + "\n")

        with StopSignals(on_abandon=abandon) as stop:
            return _run(arguments, stop)
    except KeyboardInterrupt:  # a signal while nothing had begun, or while everything was done
        return 130


def _run(arguments: list[str], stop: StopSignals) -> int:
    from humanpose_cli.cli.render import write_stdout
    from humanpose_cli.cli.table import build_app

    begun = False  # whether a command has begun, which then tells its own end

    def carry_out(invocation: Invocation) -> int:
        nonlocal begun
        begun = True
        return _carry_out(invocation, arguments, stop)

    try:
        code = build_app(carry_out).main(arguments or ["--help"], prog_name="hpc", standalone_mode=False)
        if stop.requested and not begun:  # typer makes a silent 130 of an interrupt, also of SIGTERM's
            raise KeyboardInterrupt
        write_stdout("")  # flushes what --help wrote: a reader that has gone is found out here
        return int(code or 0)
    except SystemExit as ending:  # typer's own, after a shell's completion or when stdout's reader has gone
        return 0 if isinstance(ending.__context__, BrokenPipeError) else int(ending.code or 0)
    except BaseException as error:
        from humanpose_cli.cli.boundary import close, failed
        from humanpose_cli.cli.reporter import Reporter

        with Reporter(verbose="--verbose" in arguments) as reporter:
            result = failed(error, _command_named(arguments), reporter, stop)
            return close(result, reporter, as_json="--json" in arguments)


def _carry_out(invocation: Invocation, arguments: Sequence[str], stop: StopSignals) -> int:
    """Call the command's function and render what comes of it."""
    from humanpose_cli.cli.boundary import close, failed
    from humanpose_cli.cli.options import use_threads
    from humanpose_cli.cli.reporter import Reporter, private_stderr
    from humanpose_cli.cli.session import Session

    name, as_json = invocation.name, invocation.json
    quiet, verbose = invocation.quiet, invocation.verbose
    with private_stderr() as stream, Reporter(name, stream=stream, quiet=quiet, verbose=verbose) as reporter:
        try:
            if "threads" in invocation.values:
                use_threads(invocation.values["threads"])
            session = Session(name, reporter, stop, as_json, tuple(arguments), invocation.settings, invocation.given)
            result = invocation.function(session, **invocation.values)
            return close(result, reporter, as_json=as_json, info=invocation.info)
        except BaseException as error:
            reporter.finish()
            return close(failed(error, name, reporter, stop), reporter, as_json=as_json)


def _command_named(arguments: Sequence[str]) -> str:
    """The command on a line that could not be parsed."""
    from humanpose_cli.cli.table import COMMANDS

    return next((argument for argument in arguments if argument in COMMANDS), "hpc")


if __name__ == "__main__":
    sys.exit(main())
