"""Options that are declared once: their checks, their docstrings, and what commands and functions show of them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

import pytest
from helpers.errors import raises

from humanpose_cli.cli.command import build_command
from humanpose_cli.cli.settings import apply_settings
from humanpose_cli.core.device import ComputeOptions
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, infos, option
from humanpose_cli.fitting.options import EvidenceFiles, FitOptions, NetworkOptions
from humanpose_cli.refining.options import RefineOptions
from humanpose_cli.reposing.options import ReposeOptions


@dataclass(frozen=True)
class Inner(Options):
    """Of the inside."""

    share: float = option(0.5, "A share.", minimum=0, maximum=1)


@dataclass(frozen=True)
class Sample(Options):
    """What a sample depends on."""

    size: int | None = option(None, "Longer side of it.", unit="pixels", minimum=16, unset="the input's")
    noise: tuple[float, float] = option((0.1, 0.2), "Noise of it.", above=0)
    decay: float = option(0.0, "Decay of it.", minimum=0, below=1)
    way: Literal["fast", "slow"] = option("fast", "How it is done.")
    layers: int = option(18, "How many.", choices=(18, 34))
    angle: Literal["auto"] | float = option("auto", "How far it is turned.", minimum=0, maximum=180)
    inner: Inner = option(Inner(), "The inside.")
    free: list[int] = field(default_factory=list)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 15}, "size: is out of range, expected 16 or more (pixels), found 15"),
        ({"noise": (0.1, 0.0)}, "noise: is out of range, expected above 0, found (0.1, 0.0)"),
        ({"noise": (0.1, float("nan"))}, "noise: is out of range, expected above 0, found (0.1, nan)"),
        ({"decay": -0.1}, "decay: is out of range, expected 0 or more, below 1, found -0.1"),
        ({"decay": 1.0}, "decay: is out of range, expected 0 or more, below 1, found 1.0"),
        ({"way": "best"}, "way: is not known, expected fast, slow, found best"),
        ({"angle": "none"}, "angle: is not known, expected auto, a number, found none"),
        ({"angle": 181.0}, "angle: is out of range, expected 0 to 180, found 181.0"),
        ({"layers": 19}, "layers: is not known, expected 18, 34, found 19"),
    ],
)
def test_values_out_of_range_are_refused(wrong, message):
    with pytest.raises(UsageError) as caught:
        Sample(**wrong)
    assert str(caught.value) == message


@pytest.mark.parametrize("number", [2**31, -(2**31), 10**30, 10**4000])
def test_integers_beyond_32_bits_are_refused(number):
    with raises(UsageError, subject="batch_size", problem="is out of range"):
        ComputeOptions(batch_size=number)
    assert ComputeOptions(batch_size=2**31 - 1).batch_size == 2**31 - 1


def test_values_at_the_bounds_are_taken():
    assert Sample(size=16, noise=(1e-9, 1.0), decay=0.999, way="slow", layers=34).size == 16
    assert [apply_settings(Sample(), {"angle": angle}).angle for angle in ("180", "0", "auto")] == [180.0, 0.0, "auto"]
    assert [Inner(share).share for share in (0.0, 1.0)] == [0.0, 1.0]
    for share in (-0.01, 1.01, float("inf")):
        with raises(UsageError, subject="share", problem="is out of range", expected="0 to 1"):
            Inner(share)


def test_errors_of_settings_name_the_path_of_the_option():
    with raises(UsageError, subject="inner.share", problem="is out of range", expected="0 to 1", got="2.0"):
        apply_settings(Sample(), {"inner.share": "2"})
    with raises(UsageError, subject="keypoints.shape_evidence", problem="is out of range", expected="above 0"):
        apply_settings(FitOptions(), {"keypoints.shape_evidence": "0"})
    with raises(UsageError, subject="size", problem="is out of range"):
        apply_settings(Sample(), {"size": "2"})


def test_docstrings_list_the_options():
    assert Sample.__doc__.splitlines()[0] == "What a sample depends on."
    section = Sample.__doc__.split("\nAttributes:\n")[1]
    assert "    size: Longer side of it. In pixels, 16 or more. Default: the input's." in section.splitlines()
    assert "    decay: Decay of it. 0 or more, below 1." in section.splitlines()


@pytest.mark.parametrize("kind", [FitOptions, NetworkOptions, EvidenceFiles, RefineOptions, ReposeOptions])
def test_every_option_of_the_tool_is_declared(kind):
    assert [f.name for f in fields(kind) if f.name not in infos(kind)] == []


def flat(kinds) -> dict[str, tuple[type, object]]:
    """Name → class and default of the fields that are no options classes themselves."""
    return {f.name: (kind, f.default) for kind in kinds for f in fields(kind) if not isinstance(f.default, Options)}


COMMANDS = {
    "fit": (FitOptions, NetworkOptions, EvidenceFiles, ComputeOptions),
    "refine": (RefineOptions, EvidenceFiles, ComputeOptions),
    "repose": (ReposeOptions, ComputeOptions),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_have_the_options_defaults_and_help(name):
    built = {p.name: p for p in build_command(name, lambda _: 0).params}
    declared = flat(COMMANDS[name])
    # Of commands: threads of the process, not of the detector; several people; any file as a background.
    shared = set(built) & set(declared) - {"threads", "person", "background"}
    assert len(shared) >= 5
    for option_name in shared:
        kind, default = declared[option_name]
        assert built[option_name].default == default, option_name
        assert built[option_name].help.split()[:2] == infos(kind)[option_name].text.split()[:2], option_name
