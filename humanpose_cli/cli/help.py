"""The help of a command: `--help` with the options that most people need, and `--help-all` with every option."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from humanpose_cli.cli.mistakes import check_words
from humanpose_cli.cli.options import HELP, SHARED_HEADINGS, option
from humanpose_cli.cli.session import CommandInfo
from humanpose_cli.core.errors import UsageError

_ALL = "humanpose_cli.help_all"  # key of a context's meta, True for --help-all
_MAX_FLAGS_WIDTH = 24  # characters; the text of longer flags begins on the next line
_REST = "More options"  # heading of a command's options that `--help` does not show
_EXAMPLES = 3  # of --help


class HelpCommand(TyperCommand):
    """A command with two pages of help, which `info` describes."""

    info = CommandInfo()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse a long option behind a single dash, which would be taken for short ones, and misunderstood words."""
        parameters: list[Any] = self.get_params(ctx)
        flags = long_flags(parameters)
        if wrong := next((text for text in args if f"-{text.partition('=')[0]}" in flags), None):
            raise UsageError(wrong, "there is no such option", remedy=f"did you mean -{wrong}?")
        words = list(args)
        try:
            rest = super().parse_args(ctx, args)
        except Exception as error:
            if hasattr(error, "option_name"):  # typer's parser does not say which command it parsed for
                error.ctx = ctx  # type: ignore[attr-defined]
            raise
        if not ctx.resilient_parsing:
            lists = [flag for each in parameters if "," in (each.metavar or "") for flag in each.opts]
            files = [ctx.params.get(each.name) or () for each in parameters if each.nargs == -1]
            check_words(words, [str(word) for group in files for word in group], flags, lists)
            for each in parameters:
                if (value := ctx.params.get(each.name)) is not None and str(value) in flags:
                    raise UsageError(each.opts[0], "has no value", expected=each.metavar or "", got=str(value))
        return rest

    def sections(self, ctx: Any) -> dict[str, list[Any]]:
        """Group the options under their headings: "Options" are those of `--help`, in their order."""
        parameters: list[Any] = [each for each in self.get_params(ctx) if each.param_type_name == "option"]
        by_flag = {flag: parameter for parameter in parameters for flag in parameter.opts}
        usual = [by_flag[flag] for flag in self.info.usual.split()]
        sections: dict[str, list[Any]] = {"Options": usual, _REST: []}
        for parameter in parameters:
            heading = HELP if parameter.name == "help" else parameter.rich_help_panel
            if not self.info.usual and heading not in SHARED_HEADINGS:
                usual.append(parameter)
            elif parameter not in usual:
                sections.setdefault(heading or _REST, []).append(parameter)
        order = [name for name in sections if name not in SHARED_HEADINGS] + [*SHARED_HEADINGS]
        return {heading: sections[heading] for heading in order if sections.get(heading)}

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write the purpose and what the command writes; `--help-all` adds the details."""
        paragraphs = inspect.cleandoc(self.help or "").split("\n\n")
        for paragraph in paragraphs if _shows_all(ctx) else paragraphs[:2]:
            formatter.write("\n" + _filled(" ".join(paragraph.split()), formatter.width, "  ", "  "))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options with their headings."""
        arguments: list[Any] = [each for each in self.get_params(ctx) if each.param_type_name == "argument"]
        records = [argument.get_help_record(ctx) for argument in arguments]
        _write_entries(formatter, "Arguments", [(name.partition(" <")[0], text) for name, text in records])
        for heading, parameters in self.sections(ctx).items():
            if heading == "Options" or _shows_all(ctx):
                _write_entries(formatter, heading, [parameter.get_help_record(ctx) for parameter in parameters])
        if _shows_all(ctx):
            columns = [(column.key, column.help) for column in self.info.columns if column.meaning]
            _write_entries(formatter, "Columns of the result", columns)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, and where the other options are."""
        examples = self.info.examples if _shows_all(ctx) else self.info.examples[:_EXAMPLES]
        if examples:
            formatter.write("\nExamples:\n" + "".join(f"  {line}\n" for line in examples))
        if not _shows_all(ctx):
            names = [heading.lower() for heading in self.sections(ctx) if heading not in ("Options", _REST, HELP)]
            line = f"More: {ctx.command_path} --help-all ({', '.join(names)})"
            formatter.write("\n" + _filled(line, formatter.width, "", "  "))


def long_flags(parameters: Sequence[Any]) -> list[str]:
    """List the flags of a command's parameters that begin with two hyphens."""
    return [flag for each in parameters for flag in (*each.opts, *each.secondary_opts) if flag.startswith("--")]


def help_all_option() -> Any:
    """Declare `--help-all`."""
    return option("--help-all", "Show all options and exit.", HELP, is_eager=True, callback=_print_all)


def _print_all(context: typer.Context, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.meta[_ALL] = True
        typer.echo(context.get_help())
        raise typer.Exit


def _shows_all(context: Any) -> bool:
    return bool(context.meta.get(_ALL))


def _write_entries(formatter: Any, heading: str, records: Sequence[tuple[str, str]]) -> None:
    """Write names with their texts in two columns below a heading."""
    if not records:
        return
    formatter.write(f"\n{heading}:\n")
    column = min(max(len(name) for name, _ in records), _MAX_FLAGS_WIDTH) + 4
    for name, text in records:
        first = f"  {name}"
        if len(first) > column - 2:
            formatter.write(f"{first}\n")
            first = ""
        for line in text.splitlines() or [""]:
            formatter.write(_filled(" ".join(line.split()), formatter.width, f"{first:<{column}}", " " * column))
            first = ""


def _filled(text: str, width: int, first: str = "", following: str = "") -> str:
    """Wrap a text without breaking words at hyphens, which click would do."""
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=following, break_on_hyphens=False) + "\n"
