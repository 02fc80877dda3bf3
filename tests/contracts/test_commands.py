"""Every command and every option tells what it does."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer
from helpers.errors import raises

from humanpose_cli.cli.command import build_command, function_of
from humanpose_cli.cli.main import main
from humanpose_cli.cli.settings import field_names
from humanpose_cli.cli.table import COMMANDS, SUBCOMMANDS, command_in, command_names
from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.lab.datasets.registry import SOURCES
from humanpose_cli.refining.options import RefineOptions

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@functools.cache
def built(name: str):
    return build_command(name, lambda invocation: 0)


def shown(name: str) -> list:
    """The parameters of a command that its help shows; hidden ones are removed options that name their remedy."""
    return [parameter for parameter in built(name).params if not getattr(parameter, "hidden", False)]


def options(name: str) -> dict[str, object]:
    """Each flag of a command with its parameter."""
    return {
        flag: parameter
        for parameter in shown(name)
        if parameter.param_type_name == "option"
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }


@pytest.mark.parametrize("name", command_names())
def test_the_line_in_the_list_is_the_functions_first(name):
    command, _, sub = name.partition(" ")
    assert inspect.getdoc(function_of(name)).splitlines()[0] == (SUBCOMMANDS[command][sub] if sub else COMMANDS[name])


@pytest.mark.parametrize("name", command_names())
def test_every_parameter_is_explained(name):
    unexplained = [parameter.name for parameter in shown(name) if not parameter.help]
    assert unexplained == []


@pytest.mark.parametrize("name", command_names())
def test_every_option_with_a_value_shows_its_default(name):
    silent = [
        parameter.name
        for parameter in shown(name)
        if parameter.param_type_name == "option"
        and not parameter.is_flag
        and not parameter.required
        and (parameter.default is None or not parameter.show_default)
        and not re.search(r"Default:|Required", parameter.help)
    ]
    assert silent == []


@pytest.mark.parametrize("name", command_names())
def test_every_command_has_what_all_have(name):
    assert {"--json", "--quiet", "--verbose", "--config", "--set", "--help-all"} <= set(options(name))


@pytest.mark.parametrize("name", command_names())
def test_help_is_one_screen_and_help_all_has_every_option(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    assert [main([*name.split(), page]) for page in ("--help", "--help-all")] == [0, 0]
    short, _, complete = capsys.readouterr().out.rpartition(f"Usage: hpc {name}")
    assert len(short.splitlines()) <= 60
    assert len(short) < len(complete)
    pairs = re.findall(r"^  (?:-\w, )?(--[\w-]+)(?: / (--[\w-]+))?", complete, re.MULTILINE)
    flags = {flag for pair in pairs for flag in pair if flag}
    assert flags == {"--help", *(flag for flag in options(name) if flag.startswith("--"))}


@pytest.mark.parametrize("name", [name for name in command_names() if "--out" in options(name)])
def test_an_empty_out_is_refused(name):
    with raises(UsageError, subject="out", problem="is empty"):
        options(name)["--out"].process_value(typer.Context(built(name)), "")


def refused(lines: list[str]) -> list[str]:
    """Those of the command lines whose options or values their commands do not take, and why."""
    wrong = []
    for line in lines:
        parts = shlex.split(line, comments=True)[1:]
        name = command_in(parts[:2])
        arguments = parts[len(name.split()) :]
        try:
            built(name).make_context(name, arguments)
        except typer.Exit:  # --help
            continue
        except Exception as error:
            wrong.append(f"{line}: {error}")
    return wrong


@pytest.mark.parametrize("name", command_names())
def test_help_ends_with_examples_that_are_understood(name):
    examples = built(name).info.examples
    assert all(f"{line} ".startswith(f"hpc {name} ") for line in examples)
    assert refused(examples) == []
    assert examples or name in ("fit", "repose")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_documents_command_lines_are_understood(page):
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in re.split(r"\n|&&|\|", block.replace("\\\n", " "))]
    found = [
        line[line.index("hpc ") :] for line in lines if re.match(rf"\s*(?:\S+/)?hpc (?:{'|'.join(COMMANDS)})\b", line)
    ]
    assert refused(found) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_documents_name_only_options_that_there_are(page):
    wrong = []
    for line in re.findall(r"\bhpc (\w[^\n`|&]*)", page.read_text("utf-8")):
        parts = re.findall(r"[\w-]+", line)[:2]
        command = command_in(parts) if parts[0] in COMMANDS else ""
        if command in command_names():
            flags = {*options(command), "--help"}
            wrong += [f"hpc {command} {flag}" for flag in re.findall(r"--[a-z][a-z-]*", line) if flag not in flags]
    assert wrong == []


@pytest.mark.slow
def test_the_page_of_commands_is_what_the_commands_say():
    sys.path.insert(0, str(ROOT / "tools"))
    from document_commands import FILES_PAGE, PAGE, files_page, reference

    for page, text in ((PAGE, reference()), (FILES_PAGE, files_page())):
        assert page.read_text("utf-8") == text, "run python tools/document_commands.py"


def test_options_without_a_flag_can_be_set_as_documented():
    section = (ROOT / "docs" / "reference" / "commands.md").read_text("utf-8").partition("## Options without a flag")[2]
    _, of_fit, of_refine = (set(re.findall(r"^- `([\w.]+)`", part, re.MULTILINE)) for part in section.split("`:\n\n"))
    assert {"keypoints.lift", "outline.use"} <= of_fit <= set(field_names(FitOptions()))
    assert {"rounds", "weights.surface_noise"} <= of_refine <= set(field_names(RefineOptions()))


def test_options_of_data_sets_are_documented_and_can_be_set() -> None:
    """data/README.md names the options of every data set under its command; none is a flag that means another thing."""
    same = {"split", "allow_missing", "densepose"}  # options that mean the same of every data set
    flags = {parameter.name for parameter in shown("preprocess")} - same - {"seed"}
    sections: dict[str, str] = {}
    for section in (ROOT / "data/README.md").read_text("utf-8").split("\n### ")[1:]:
        for name in re.findall(r"(?:^|&& )hpc preprocess ([\w-]+)", section, re.MULTILINE):
            sections[name] = section
    assert set(sections) == set(SOURCES)
    for name, entry in SOURCES.items():
        options = {option.name for option in dataclasses.fields(entry.source_class().options_type)}
        assert not options & flags, name
        names = set(re.findall(r"`(\w+)`", sections[name].partition("Options:")[2]))
        used = set(re.findall(r"--set (\w+)=", sections[name]))
        assert used | names >= options - same, name
        assert used <= options, name
