"""The table of commands. Their modules are imported when they are called, so that `hpc --help` imports none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from humanpose_cli.core.errors import UsageError
from humanpose_cli.version import __version__

# Plain help: panels and colours take rich's import (0.1 s) and leave little room for words in a narrow terminal.
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_GROUP_CONTEXT = {**CONTEXT, "help_option_names": ["-h", "--help", "--help-all"]}  # the same page, of groups


# Name and first line of the docstring of each command. Its function is humanpose_cli.cli.NAME.NAME; functions of
# sub-commands have the name of the sub-command.
COMMANDS = {
    "fit": "Find everyone's 3-D pose and shape in images and videos.",
    "combine": "Combine several cameras that film the same people at the same time.",
    "refine": "Move fitted bodies onto the pixels of their frames.",
    "repose": "Draw the people of photographs in another pose.",
    "export": "Write fits for other programs: glTF, FBX, USD, BVH, AMASS, OBJ and others.",
    "view": "Show fits in 3-D, with their frames, on a page for the browser.",
    "preprocess": "Make a dataset cache of synthetic people or of a data set.",
    "train": "Train a model on a dataset cache.",
    "evaluate": "Evaluate models on held-out people.",
    "weights": "List, download and verify weights.",
    "cache": "Show or verify a dataset cache.",
    "ledger": "Show what failed in an output folder, and how fast each machine was.",
    "demo": "Fit, view and repose example people on a page.",
    "doctor": "Check what works on this machine and how to repair the rest.",
}
SUBCOMMANDS: Mapping[str, Mapping[str, str]] = {
    "evaluate": {
        "fit": "Evaluate bodies: of hpc fit, of a network alone, or of fit files.",
        "motion": "Evaluate motion without truth: feet, floor, accelerations and sizes.",
        "compare": "Compare two or more sets of fits on the same people, pair by pair.",
        "segmenter": "Evaluate a segmenter: IoU and F1 of the body parts.",
        "repose": "Evaluate reposed images: by a network, by the mesh, and by copying the input.",
        "refine": "Evaluate refinement: fits of clips before and after.",
    }
}

_HELP = "Turn photos and videos of people into 3-D bodies and new images."
_EPILOG = "Start with hpc demo or hpc fit photo.jpg; hpc COMMAND --help explains a command."
# Headings of the list of commands; all others stand under "Tools".
_HEADINGS = {
    "Photos and videos": ("fit", "combine", "refine", "repose", "export", "view"),
    "Models and data": ("preprocess", "train", "evaluate", "weights", "cache"),
}


def command_names() -> list[str]:
    """List all commands, sub-commands as `evaluate fit`."""
    return [
        full
        for name in COMMANDS
        for full in ([f"{name} {sub}" for sub in SUBCOMMANDS[name]] if name in SUBCOMMANDS else [name])
    ]


def command_in(arguments: Sequence[str]) -> str:
    """Find the command and sub-command in a command line; "hpc" if there is none."""
    name = next((argument for argument in arguments if argument in COMMANDS), "hpc")
    sub = next((argument for argument in arguments if argument in SUBCOMMANDS.get(name, ())), "")
    return f"{name} {sub}".rstrip()


def build_app(build: Callable[[str], TyperCommand]) -> TyperGroup:
    """Build the typer group of all commands.

    Args:
        build: Builds the command that is called from its name in `command_names`.

    Returns:
        The group, ready to parse a command line.
    """

    class LazyCommands(TyperGroup):
        """Lists commands with their summaries and builds the called one; `within` is the command of sub-commands."""

        def __init__(self, within: str = "", **options: Any) -> None:
            super().__init__(**options)
            self.within = within
            self.lines = SUBCOMMANDS[within] if within else COMMANDS
            self.commands = {name: TyperCommand(name, help=line) for name, line in self.lines.items()}

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            """Write the complete summary of each command, which typer would truncate."""
            listed = [name for names in _HEADINGS.values() for name in names]
            groups = {**_HEADINGS, "Tools": [name for name in self.lines if name not in listed]}
            for heading, names in {"Commands": [*self.lines]}.items() if self.within else groups.items():
                with formatter.section(heading):
                    formatter.write_dl([(name, self.lines[name]) for name in names])

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if args[0] not in self.lines and not args[0].startswith("-") and not ctx.resilient_parsing:
                from humanpose_cli.cli.mistakes import command_remedy

                remedy = command_remedy(args, [*self.lines]) or f"see {ctx.command_path} --help"
                raise UsageError(args[0], "there is no such command", remedy=remedy)
            name, command, rest = super().resolve_command(ctx, args)
            if name is None or command is None:
                return name, command, rest
            if name not in SUBCOMMANDS or self.within:
                return name, build(f"{self.within} {name}".lstrip()), rest
            epilog = f"hpc {name} COMMAND --help shows the options of a command."
            attributes = {"help": COMMANDS[name], "epilog": epilog, "context_settings": _GROUP_CONTEXT}
            return name, LazyCommands(name, name=name, rich_markup_mode=None, **attributes), rest

    app = typer.Typer(cls=LazyCommands, help=_HELP, epilog=_EPILOG, rich_markup_mode=None)
    app.callback(context_settings=_GROUP_CONTEXT)(_root)
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def _print_version(context: typer.Context, value: bool) -> None:
    if value and not context.resilient_parsing:
        typer.echo(f"hpc {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Declare the options of `hpc` itself."""
