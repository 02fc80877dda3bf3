"""What is said of few people."""

import re

import pytest

from humanpose_cli.lab.metrics.counts import FEW, small_sample


@pytest.mark.parametrize(
    ("count", "unit", "text"),
    [
        (6, "people", "6 people: these figures mean little"),
        (1, "people", "1 person: these figures mean little"),
        (1, "rendered people", "1 rendered person: these figures mean little"),
        (1, "sequences", "1 sequence: these figures mean little"),
        (0, "pairs", "0 pairs: these figures mean little"),
        (FEW - 1, "clips", "9 clips: these figures mean little"),
        (FEW, "clips", ""),
    ],
)
def test_fewer_than_ten_are_too_few(count: int, unit: str, text: str) -> None:
    assert small_sample(count, unit) == text
    different = re.sub(r"^([02-9]) ", r"\1 different ", text)
    assert small_sample(count, unit, different=True) == different
