"""Writes docs/reference/commands.md, every command with its arguments, options, columns and examples, as it says them,
and the table of the formats of `hpc export` in docs/reference/files.md.

python tools/document_commands.py
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from humanpose_cli.cli.command import build_command
from humanpose_cli.cli.options import BatchFlags
from humanpose_cli.cli.table import COMMANDS, SUBCOMMANDS, command_names
from humanpose_cli.core.options import Options, infos
from humanpose_cli.exporting.formats import FORMATS
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.refining.options import RefineOptions

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "commands.md"
FILES_PAGE = PAGE.with_name("files.md")
FORMATS_HEAD = "| `--format` | files |\n|---|---|\n"
HEAD = """# Commands
Made from the commands by `python tools/document_commands.py`; a test compares the two. `hpc COMMAND --help-all` shows
the same in a terminal, `hpc COMMAND --help` the most used options.
"""
SETTINGS: dict[str, type[Options]] = {"fit": FitOptions, "refine": RefineOptions}
SHARED = {"--help", "--help-all", "--json", "--quiet", "--verbose", "--log-json", "--config", "--set"}
"""Options that every command has: they stand once, at the end."""


def reference() -> str:
    """Return the complete page."""
    sections = [_section(name) for name in command_names()]
    batch = _batch_flags()
    links = ""
    for name, line in COMMANDS.items():
        links += _link(name, line) if name not in SUBCOMMANDS else f"- `hpc {name}`: {line}\n"
        links += "".join(f"  {_link(f'{name} {sub}', text)}" for sub, text in SUBCOMMANDS.get(name, {}).items())
    shared = "\n".join(entry for flags, entry in _options("doctor").items() if SHARED & set(flags))
    also = (
        "\n## Options of commands that work through items\n"
        f"{', '.join(f'`hpc {name}`' for name in command_names() if batch <= set(_options(name)))}\n\n"
        + "\n".join(entry for flags, entry in _options("fit").items() if flags in batch)
        + f"\n\n## Options of every command\n{shared}\n"
        + "\n## Options without a flag\n"
        + "Set by `--set KEY=VALUE`, or in the file of `--config`. `hpc repose` has those of `hpc fit` as `fit.KEY`.\n"
        + "".join(f"\n`hpc {name}`:\n\n{_settings(kind(), _fields(name))}\n" for name, kind in SETTINGS.items())
    )
    return f"{HEAD}\n{links}\n" + "\n".join(sections) + also


def files_page() -> str:
    """Return docs/reference/files.md with the table of formats, from the docstrings of their writers."""
    before, head, after = FILES_PAGE.read_text("utf-8").partition(FORMATS_HEAD)
    names: dict[str, list[str]] = {}
    for name, kind in FORMATS.items():
        write = inspect.cleandoc(getattr(kind.write, "func", kind.write).__doc__)
        names.setdefault(" ".join(write.removeprefix("Write ").removeprefix("the ").split()), []).append(f"`{name}`")
    rows = "".join(f"| {', '.join(kinds)} | {text} |\n" for text, kinds in names.items())
    return before + head + rows + after[after.index("\n\n") + 1 :]


def _fields(name: str) -> set[str]:
    """List the fields of options classes that are flags of a command."""
    return {str(parameter.name) for parameter in _built(name).params}


def _settings(options: Options, flags: Collection[str], path: str = "") -> str:
    """Write an entry for each option, also nested, that has no flag."""
    entries = []
    for name, info in infos(type(options)).items():
        value = getattr(options, name)
        if isinstance(value, Options):
            entries.append(_settings(value, () if path or name != "network" else flags, f"{path}{name}."))
        elif name not in flags:
            default = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).replace("True", "true")
            entries.append(f"- `{path}{name}`: {info.help}" + (f" Default: {default}." if not info.unset else ""))
    return "\n".join(entry for entry in entries if entry)


def _link(name: str, line: str) -> str:
    return f"- [`hpc {name}`](#hpc-{name.replace(' ', '-')}): {line}\n"


def _section(name: str) -> str:
    """Write a command's heading, text, arguments, options, columns and examples."""
    built, options, batch = _built(name), _options(name), _batch_flags()
    if not batch <= set(options):
        batch = set()
    context = built.make_context(name, [], resilient_parsing=True)
    arguments = [
        _entry(record[0].partition(" <")[0], record[1])
        for parameter in built.get_params(context)
        if parameter.param_type_name == "argument" and (record := parameter.get_help_record(context))
    ]
    entries = [entry for flags, entry in options.items() if flags not in batch and not SHARED & set(flags)]
    parts = [f"## hpc {name}", inspect.cleandoc(built.help), "\n".join([*arguments, *entries])]
    if columns := [_entry(column.key, column.help) for column in built.info.columns if column.meaning]:
        parts.append("Columns of the result:\n\n" + "\n".join(columns))
    if built.info.examples:
        parts.append("```\n" + "\n".join(built.info.examples) + "\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _built(name: str) -> Any:
    return build_command(name, lambda _: 0)


def _options(name: str) -> dict[tuple[str, ...], str]:
    """Write the entry of each option in the help, by its flags."""
    built = _built(name)
    context = built.make_context(name, [], resilient_parsing=True)
    parameters = [parameter for section in built.sections(context).values() for parameter in section]
    return {
        (*parameter.opts, *parameter.secondary_opts): _entry(*parameter.get_help_record(context))
        for parameter in parameters
    }


def _batch_flags() -> set[tuple[str, ...]]:
    """List the flags of `BatchFlags`, which commands with many items share."""
    fields = {name.replace("_", "-") for name in BatchFlags.__dataclass_fields__}
    return {flags for flags in _options("fit") if any(flag.removeprefix("--") in fields for flag in flags)}


def _entry(name: str, text: str) -> str:
    """Write a line of a list; text in brackets at the end of the help becomes sentences."""
    text, extra = re.fullmatch(r"(.*?)(?:\s*\[([^][]*)\])?", " ".join(text.split())).groups()
    for part in (extra or "").split("; "):
        if part.startswith("default: "):
            text += f" Default: {part.removeprefix('default: ')}."
        elif part.startswith("x>"):
            text += f" {'At least' if '=' in part else 'More than'} {part.lstrip('x>=')}."
        elif bounds := re.fullmatch(r"(\S+)<=x<=(\S+)", part):
            text += f" {bounds[1]} to {bounds[2]}."
        elif part not in ("", "required"):
            text += f" [{part}]"
    return f"- `{' '.join(name.split())}`: {text.replace('<', '&lt;')}"


if __name__ == "__main__":
    for path, text in ((PAGE, reference()), (FILES_PAGE, files_page())):
        path.write_text(text, "utf-8")
        print(path)
