"""Settings and the dataclasses that they go into."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

import pytest
from helpers.errors import raises

from humanpose_cli.cli.settings import apply_settings, field_names, read_config, read_settings
from humanpose_cli.core.errors import InputError, UsageError


@dataclass(frozen=True)
class Deep:
    weight: float = 1.0
    size: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class Options:
    steps: int = 3
    name: str = "x"
    verbose: bool = False
    mode: Literal["fast", "thorough"] = "fast"
    focal: float | None = None
    body: Path = Path("default")
    levels: tuple[float, ...] = ()
    deep: Deep = field(default_factory=Deep)


def test_field_names_are_dotted():
    assert "deep.weight" in set(field_names(Options()))
    assert "deep" not in set(field_names(Options()))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"steps": "5"}, Options(steps=5)),
        ({"steps": 5.0}, Options(steps=5)),
        ({"name": "12"}, Options(name="12")),
        ({"verbose": "yes"}, Options(verbose=True)),
        ({"verbose": True}, Options(verbose=True)),
        ({"mode": "thorough"}, Options(mode="thorough")),
        ({"focal": "900"}, Options(focal=900.0)),
        ({"focal": "none"}, Options(focal=None)),
        ({"body": "a/b.pkl"}, Options(body=Path("a/b.pkl"))),
        ({"levels": "1, 2.5"}, Options(levels=(1.0, 2.5))),
        ({"levels": [1, 2]}, Options(levels=(1.0, 2.0))),
        ({"deep.weight": 2, "deep.size": "3,4"}, Options(deep=Deep(2.0, (3, 4)))),
        ({}, Options()),
    ],
)
def test_values_take_their_fields_type(settings, expected):
    result = apply_settings(Options(), settings)
    assert result == expected
    assert type(result.steps) is int


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"step": 1}, "did you mean steps?"),
        ({"deep": 1}, "there is no such setting"),
        ({"deep.wieght": 1}, "did you mean deep.weight?"),
        ({"steps": "1.5"}, "expected a whole number, found '1.5'"),
        ({"steps": 1.5}, "expected a whole number, found 1.5"),
        ({"steps": True}, "expected a whole number, found True"),
        ({"verbose": "maybe"}, "expected true or false"),
        ({"mode": "slow"}, "expected fast or thorough, found 'slow'"),
        ({"focal": "wide"}, "expected a number, found 'wide'"),
        ({"deep.size": "1"}, "expected 2 values with commas between"),
        ({"name": [1]}, "expected text"),
        ({"steps": float("inf")}, "expected a whole number, found inf"),
        ({"focal": date(2026, 1, 2)}, "expected a number"),
        ({"focal": float("nan")}, "expected a finite number, found nan"),
        ({"deep.weight": "-inf"}, "expected a finite number, found '-inf'"),
        ({"levels": 5}, "expected values with commas between, found 5"),
    ],
)
def test_wrong_settings_are_reported(settings, sentence):
    with pytest.raises(UsageError) as caught:
        apply_settings(Options(), settings)
    assert sentence in str(caught.value)


@dataclass(frozen=True)
class Shares:
    a: float = 0.4
    b: float = 0.4

    def __post_init__(self):
        if self.a + self.b > 1:
            raise UsageError("shares", "are too many")


def test_settings_that_are_allowed_together_only():
    assert apply_settings(Shares(), {"a": "0.9", "b": "0.1"}) == Shares(0.9, 0.1)
    with raises(UsageError, problem="too many"):
        apply_settings(Shares(), {"a": "0.9"})


def test_pairs():
    assert read_settings(["batch-size=4", "deep.weight = 0.5", "batch-size=8", "name=a=b"]) == {
        "batch_size": "8",
        "deep.weight": "0.5",
        "name": "a=b",
    }


DEEP = 10_000
NESTED_KEY = ".".join(["a"] * DEEP)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(f"{NESTED_KEY} = 1", "tables nested too deep", marks=pytest.mark.slow),
        (f"[{NESTED_KEY}]\nb = 1", "tables nested too deep"),
        ("a = " + "{a = " * DEEP + "1" + "}" * DEEP, "tables nested too deep"),
        ("a = " + "[" * DEEP + "1" + "]" * DEEP, "tables nested too deep"),
        ("\n".join(f"[[{'.'.join('a' * depth)}]]" for depth in range(1, 500)), "tables nested too deep"),
        (f"[{'.'.join('a' * 100)}]\nb = 1", "tables nested too deep"),
        (f"a = {'[' * 100}1{']' * 100}", "tables nested too deep"),
        (f"threads = {'9' * 5000}", "a number of thousands of digits"),
        (f"threads = 0x{'f' * 5000}", "a number of thousands of digits"),
        (f"deep.size = [1, -{'9' * 5000}]", "a number of thousands of digits"),
        (f"[fit]\nthreads = 0b{'1' * 20_000}", "a number of thousands of digits"),
    ],
    ids=[
        *("dotted key", "table", "inline tables", "arrays", "arrays of tables", "table that Python can walk"),
        *("arrays that Python can walk", "decimal", "hexadecimal", "in a list", "binary"),
    ],
)
def test_deep_tables_and_long_numbers_are_refused(tmp_path, text, reason):
    path = tmp_path / "hpc.toml"
    path.write_text(text)
    with raises(InputError, subject="hpc.toml", problem="is not a TOML file that can be read", got=reason):
        read_config(path, "fit", ["fit"])


def test_sections(tmp_path):
    path = tmp_path / "hpc.toml"
    path.write_text("threads = 2\n[deep]\nweight = 3\n[fit]\nthreads = 4\n[fit.deep]\nsize = [1, 2]\n[repose]\nx = 1\n")
    commands = ["fit", "repose"]
    assert read_config(path, "fit", commands) == {"threads": 4, "deep.weight": 3, "deep.size": [1, 2]}
    assert read_config(path, "doctor", commands) == {"threads": 2, "deep.weight": 3}


def test_sections_of_sub_commands(tmp_path):
    path = tmp_path / "hpc.toml"
    path.write_text("threads = 2\n[evaluate]\nlimit = 3\n[evaluate.fit]\nthreads = 4\n[evaluate.fit.loop]\nsteps = 5\n")
    commands = ["fit", "evaluate fit", "evaluate repose"]
    assert read_config(path, "evaluate fit", commands) == {"threads": 4, "limit": 3, "loop.steps": 5}
    assert read_config(path, "evaluate repose", commands) == {"threads": 2, "limit": 3}
    assert read_config(path, "fit", commands) == {"threads": 2}


def test_the_environment_names_a_configuration_for_all_commands(hpc, tmp_path, monkeypatch):
    """A file on the command line takes its place."""
    (tmp_path / "studio.toml").write_text("threads = 0\n")
    (tmp_path / "mine.toml").write_text("threads = -1\n")
    monkeypatch.setenv("HPC_CONFIG", str(tmp_path / "studio.toml"))
    assert "found '0'" in hpc("fit", "a.jpg").err
    assert "found '-1'" in hpc("fit", "a.jpg", "--config", str(tmp_path / "mine.toml")).err
