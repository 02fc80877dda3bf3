"""What a command is handed beside its own options: who to tell, when to stop, and settings without a flag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from humanpose_cli.batch.signals import StopSignals
from humanpose_cli.cli.config import apply_settings
from humanpose_cli.cli.reporter import Reporter

__all__ = ["Session"]

Options = TypeVar("Options")


@dataclass(frozen=True)
class Session:
    """One run of one command.

    command    its name
    reporter   says things on stderr; the listener of a batch
    stop       the handler of SIGINT and SIGTERM
    json       whether the result goes out as JSON, and so must hold what a program wants
    arguments  the command line, for run.json
    given      names of the function's parameters that stood on the command line
    settings   keys from --preset, --config and --set that are not flags of the command
    """

    command: str
    reporter: Reporter
    stop: StopSignals
    json: bool = False
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()

    def tune(self, options: Options) -> Options:
        """The dataclass of a command's deeper options with the user's settings in it."""
        return apply_settings(options, self.settings)
