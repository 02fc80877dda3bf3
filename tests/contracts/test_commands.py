"""Every command and every option tells what it does."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from humanpose_cli.cli.command import build_command
from humanpose_cli.cli.table import COMMANDS

README = Path(__file__).resolve().parents[2] / "README.md"


def built(name: str):
    return build_command(name, f"humanpose_cli.cli.{name}", lambda invocation: 0)


def options(name: str) -> dict[str, object]:
    """Each flag of a command with its parameter."""
    return {
        flag: parameter
        for parameter in built(name).params
        if parameter.param_type_name == "option"
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_is_the_functions_first(name):
    function = getattr(importlib.import_module(f"humanpose_cli.cli.{name}"), name)
    assert inspect.getdoc(function).splitlines()[0] == COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_is_explained(name):
    unexplained = [parameter.name for parameter in built(name).params if not parameter.help]
    assert unexplained == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_with_a_value_tells_its_default(name):
    silent = [
        parameter.name
        for parameter in built(name).params
        if parameter.param_type_name == "option"
        and not parameter.is_flag
        and not parameter.required
        and (parameter.default is None or not parameter.show_default)
        and not re.search(r"Default:|Needed", parameter.help)
    ]
    assert silent == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_what_all_have(name):
    assert {"--json", "--quiet", "--verbose", "--config", "--set"} <= set(options(name))


def test_the_readme_names_only_options_that_there_are():
    wrong = []
    for command, rest in re.findall(r"\bhpc (\w+)([^\n`|]*)", README.read_text("utf-8")):
        if command in COMMANDS:
            known = {*options(command), "--help"}
            wrong += [f"hpc {command} {flag}" for flag in re.findall(r"--[a-z][a-z-]*", rest) if flag not in known]
    assert wrong == []
