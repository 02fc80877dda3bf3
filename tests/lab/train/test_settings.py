"""Runs that are continued with other settings: the setting is named, at any depth, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.train.settings import refuse_other_settings

RUN = Path("checkpoint.pt")


def settings(**options: Any) -> dict[str, Any]:
    """As checkpoints hold them."""
    return {
        "model": "segmenter",
        "recipe": str([("people", 9), ("recipe", {"crop": 256, "names": "x" * 900, **options})]),
    }


def test_the_option_is_named_with_both_values():
    refuse_other_settings(RUN, settings(background=0.4), settings(background=0.4))
    with raises(InputError, problem="was made with another background", expected="1.0", got="0.4"):
        refuse_other_settings(RUN, settings(background=0.4), settings(background=1.0))
    with raises(InputError, problem="another errors.lost", expected="the default", got="(1, 2)"):
        refuse_other_settings(RUN, settings(errors={"lost": (1, 2)}), settings(errors={}))


def test_long_values_and_many_changes_stay_one_sentence():
    with raises(InputError, problem="another a, b, c and 1 more, as of another preset") as caught:
        refuse_other_settings(RUN, settings(a="y " * 999, b=1, c=1, d=1), settings(a=2, b=2, c=2, d=2))
    assert len(str(caught.value)) < 300


def test_settings_that_cannot_be_parsed_are_shortened():
    with raises(InputError, problem="another recipe") as caught:
        refuse_other_settings(RUN, settings() | {"recipe": "[inf] " * 500}, settings())
    assert len(str(caught.value)) < 400
