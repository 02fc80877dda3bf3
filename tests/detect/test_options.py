"""Options of detection: declared, set by key, and recorded."""

from __future__ import annotations

from dataclasses import replace

from helpers.errors import raises

from humanpose_cli.cli.settings import apply_settings
from humanpose_cli.core.errors import UsageError
from humanpose_cli.detect.options import DetectOptions, SearchOptions
from humanpose_cli.fitting.options import FitOptions


def test_a_key_sets_one_option_and_keeps_the_others() -> None:
    options = apply_settings(FitOptions(), {"detect.search.crowd": "4", "detect.follow.key_every": "30"})
    assert options.detect.search == SearchOptions(crowd=4)
    assert options.detect.follow.key_every == 30
    assert replace(options, detect=DetectOptions()) == FitOptions()
    with raises(UsageError, subject="detect.follow.key_every", problem="is out of range"):
        apply_settings(FitOptions(), {"detect.follow.key_every": "0"})


def test_options_decide_fits() -> None:
    changed = FitOptions(detect=DetectOptions(rate=0.0))
    assert changed.identity({})["detect"]["rate"] == 0.0
    assert changed.identity({}) != FitOptions().identity({})
