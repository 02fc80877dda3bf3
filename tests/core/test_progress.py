"""Counts of a part of the work, and the fraction of all of it."""

from __future__ import annotations

import pytest

from humanpose_cli.core.progress import FractionalProgress, no_progress, part_of


def test_parts_of_parts_lie_within_the_total():
    calls = []
    total = FractionalProgress(lambda *call: calls.append(call))
    total(1, 4, "steps")
    second_half = part_of(total, 0.5, 1.0)
    second_half(1, 2, "frames")
    part_of(second_half, 0.2, 0.6)(10, 10, "overlay frames")
    second_half(0, None, "writing")
    second_half(7, 5, "frames")  # a video may have more frames than its header says
    assert [call[1:] for call in calls[:4]] == [
        (1, 4, "steps"),
        (1, 2, "frames"),
        (10, 10, "overlay frames"),
        (0, None, "writing"),
    ]
    assert [call[0] for call in calls] == pytest.approx([0.25, 0.75, 0.8, 0.5, 1.0])


def test_a_function_that_only_takes_counts_stays_what_it_was():
    assert part_of(no_progress, 0.5, 1.0) is no_progress
