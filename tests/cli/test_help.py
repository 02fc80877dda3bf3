"""The two pages of help that a command has."""

from __future__ import annotations

import re

import pytest

from humanpose_cli.lab.recipes.registry import MODELS


@pytest.fixture
def pages(hpc, monkeypatch) -> tuple[str, str]:
    """What `--help` and `--help-all` of a command print at 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    ran = [hpc("probe", flag) for flag in ("--help", "--help-all")]
    assert [(each.code, each.err) for each in ran] == [(0, ""), (0, "")]
    assert max(len(line) for each in ran for line in each.out.splitlines()) <= 80
    return ran[0].out, ran[1].out


def headings(page: str) -> list[str]:
    return re.findall(r"^(\S.*):$", page, re.MULTILINE)


def test_help_shows_the_usual_options_in_their_order(pages):
    short, _ = pages
    assert short.startswith(
        "Usage: hpc probe [OPTIONS] [INPUT]...\n\n  Do as it is told.\n\n  Only in tests.\n\nArguments"
    )
    assert headings(short) == ["Arguments", "Options", "Examples"]
    assert re.findall(r"^  (?:-o, )?(--[\w-]+)", short, re.MULTILINE) == ["--out", "--seed", "--resume"]
    assert short.endswith(
        "Examples:\n  hpc probe a.jpg --out o\n  hpc probe b.jpg\n  hpc probe c.jpg\n\n"
        "More: hpc probe --help-all (files, reruns, machine, output, settings)\n"
    )


def test_help_all_adds_the_other_options_and_the_details(pages):
    short, complete = pages
    options = short[short.index("Options:") : short.index("Examples:")]
    assert options in complete
    assert headings(complete) == [
        "Arguments",
        "Options",
        "More options",
        "Files",
        "Reruns",
        "Machine",
        "Output",
        "Settings",
        "Help",
        "Columns of the result",
        "Examples",
    ]
    assert "Only in tests.\n\n  Details are for the complete page.\n" in complete
    assert "  people  How many there are. In a terminal: found.\n" in complete
    assert complete.endswith("  hpc probe d.jpg\n")


def test_words_are_not_broken_at_hyphens(pages):
    assert "[default: hpc-out/probe]" in " ".join(pages[0].split())
    assert not re.search(r"\w-$", pages[1], re.MULTILINE)


@pytest.mark.parametrize(
    ("line", "page"),
    [
        ("probe --threads 0", "probe --help-all"),
        ("probe --nonsense", "probe --help-all"),
        ("demo a", "demo --help"),
    ],
)
def test_errors_name_the_page_that_helps(hpc, line, page):
    assert hpc(*line.split()).err.endswith(f"see hpc {page}\n")


def test_models_are_listed_by_commands_alone(hpc):
    models = hpc("train")
    assert (models.code, models.out) == (0, hpc("train", "--help").out)
    for name, entry in MODELS.items():
        assert re.search(rf"^ +(MODEL +)?{name}: {entry.help.split(',')[0][:20]}", models.out, re.MULTILINE)
    page = hpc("evaluate")
    assert {hpc("evaluate", flag).out for flag in ("--help", "--help-all")} == {page.out}
    assert hpc("--help-all").out == hpc().out
