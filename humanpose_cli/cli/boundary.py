"""Where every failure ends: one sentence on stderr, an envelope on stdout with `--json`, an exit code."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import typer

from humanpose_cli.batch.runner import Failure, explain
from humanpose_cli.batch.signals import StopSignals
from humanpose_cli.cli.command import CommandInfo, settings_origin
from humanpose_cli.cli.render import json_text, write_people, write_stdout
from humanpose_cli.cli.reporter import Reporter
from humanpose_cli.core.errors import ExitCode, InterruptedRun
from humanpose_cli.core.result import CommandResult, Status

__all__ = ["UsageProblem", "close", "failed", "interrupted"]

_PLAIN = CommandInfo()
# typer carries its own copy of click since 0.26 and used click itself before: take the class from what it exports.
UsageProblem: type[Exception] = typer.BadParameter.__bases__[0]


def failed(error: BaseException, command: str, reporter: Reporter, stop: StopSignals | None = None) -> CommandResult:
    """The result of a command that an exception ended; says so on stderr."""
    if isinstance(error, KeyboardInterrupt) or (stop is not None and stop.requested):
        # After a signal anything may come up: an import that is interrupted in a class body raises RuntimeError.
        return interrupted(command, (stop.signal_number if stop else None) or 2)
    failure = _usage(error) if isinstance(error, UsageProblem) else explain(error)
    if failure.is_bug:
        reporter.traceback(error)
    return CommandResult(command, Status.ERROR, messages=(failure.sentence,), exit_code=failure.exit_code)


def interrupted(command: str, signal_number: int) -> CommandResult:
    """The result of a command that a signal ended before it had a result of its own."""
    error = InterruptedRun(signal_number)
    return CommandResult(command, Status.INTERRUPTED, messages=(str(error),), exit_code=error.exit_code)


def close(result: CommandResult, reporter: Reporter, *, as_json: bool, info: CommandInfo = _PLAIN) -> int:
    """Write the result to stdout, say its messages, and give the exit code."""
    if as_json:
        said = tuple(text for text in reporter.warnings if text not in result.messages)
        write_stdout(json_text(replace(result, messages=(*result.messages, *said))) + "\n")
    else:
        write_people(result, info.columns, info.words)
    for message in result.messages:
        if result.status is Status.ERROR and not result.items:
            reporter.error(message)
        else:
            reporter.info(message)
    return int(result.exit_code)


def _usage(error: Any) -> Failure:
    """A command line that cannot be parsed, as one sentence that says where to read on."""
    sentence = re.sub(r"\s+", " ", error.format_message()).strip().rstrip(".")
    context = error.ctx
    parameter = getattr(error, "param", None)
    if context is not None:
        origin = settings_origin(context, parameter.name) if parameter is not None else ""
        if origin:
            sentence += f" (from {origin})"
        sentence += f"; {context.command_path} --help tells more"
    return Failure(sentence, ExitCode.USAGE)
