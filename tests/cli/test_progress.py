"""How far a run is: items done and the work inside those that are not."""

from __future__ import annotations

import pytest

from humanpose_cli.cli.progress import PREPARED_SHARE, RunProgress


def test_a_run_is_done_by_its_items_and_the_fraction_of_the_current_one():
    run = RunProgress(4)
    percents = []
    for _ in range(4):
        run.item_started("a", "a")
        for fraction in (0.0, 0.25, 0.75):
            run.step(fraction, 0, None, "frames")
            percents.append(run.percent)
        run.item_finished("a")
    assert percents == pytest.approx([100 * (item + part) / 4 for item in range(4) for part in (0, 0.25, 0.75)])
    assert run.percent == 100
    single = RunProgress(1)
    single.item_started("a", "a")
    single.step(0.5, 5, 10, "frames")
    single.step(0.0, 0, None, "writing")
    assert (single.percent, single.work) == (50, "a: writing")  # it never falls


def test_items_prepared_together_are_all_in_work():
    run = RunProgress(10)
    run.item_finished("0")
    run.preparing("abcd")
    run.step(0.5, 2, 4, "images looked at")
    assert run.done == pytest.approx(1 + 4 * 0.5 * PREPARED_SHARE)
    run.step(1.0, 4, 4, "images looked at")
    for number, name in enumerate("abcd"):
        run.item_started(name, name)
        run.step(0.5, 1, 2, "steps")
        assert run.done == pytest.approx(1 + number + 0.5 + 0.5 * PREPARED_SHARE + (3 - number) * PREPARED_SHARE)
        run.item_finished(name)
    assert run.done == 5
    run.item_started("e", "e")  # alone again
    run.step(0.5, 1, 2, "steps")
    assert run.done == 5.5


def test_an_item_that_is_not_prepared_with_the_others_begins_at_zero():
    run = RunProgress(3)
    run.preparing(["a", "c"])
    run.step(1.0, 2, 2, "images looked at")
    run.item_started("a", "a")
    run.item_finished("a")
    run.item_started("clip", "clip")
    assert run.done == pytest.approx(1 + PREPARED_SHARE)
    run.step(0.25, 1, 4, "frames")
    assert run.done == pytest.approx(1 + PREPARED_SHARE + 0.25)
    run.item_finished("clip")
    assert run.done == pytest.approx(2 + PREPARED_SHARE)


def test_the_time_left_is_of_the_mean_pace_without_items_that_were_not_worked_on(clock):
    run = RunProgress(40, clock)
    assert run.seconds_left is None
    assert run.text() == "0 %, 0/40 items, 00:00 so far"
    for name in "abcd":
        run.item_started(name, name)
        run.item_finished(name)
    run.item_finished("skipped")
    clock.now = 100.0
    assert run.seconds_left == 35 * 25
    assert run.numbers() == "12 %, 5/40 items, 14:35 left"
    run.item_started("e", "e")
    run.step(0.5, 1, 2, "steps")
    assert run.seconds_left == pytest.approx(34.5 * 100 / 4.5)  # the same baseline


def test_the_time_left_is_without_what_was_done_before_and_without_loading_models(clock):
    run = RunProgress(1, clock)
    run.item_started("nbf", "nbf")
    run.step(0.0, 0, None, "loading models")
    clock.now = 1000.0
    run.step(0.5, 500, 1000, "steps")  # of which an earlier run did 499
    assert run.seconds_left is None
    clock.now = 1010.0
    run.step(0.51, 510, 1000, "steps")
    assert run.seconds_left == pytest.approx(490)


def test_an_interlude_is_named_and_does_not_count_for_the_time_left(clock):
    run = RunProgress(4, clock)
    for clock.now in (10.0, 20.0):
        run.item_started("a", "a")
        run.step(0.5, 1, 2, "steps")
        run.item_finished("a")
    left = run.seconds_left
    run.item_started("b", "b")
    run.interlude("compiling kernels")
    clock.now = 90.0
    assert (run.seconds_left, run.work) == (None, "b: compiling kernels")
    run.interlude("")
    clock.now = 91.0
    assert run.seconds_left < left + 2
    assert run.work == "b"


def test_the_time_left_is_positive_if_the_first_step_is_reported_while_kernels_are_compiled(clock):
    run = RunProgress(1, clock)
    run.item_started("a", "a")
    run.interlude("compiling kernels")
    clock.now = 7000.0
    run.step(0.25, 1, 4, "steps")
    clock.now = 8000.0
    run.interlude("")
    clock.now = 8010.0
    run.step(0.5, 2, 4, "steps")
    assert run.seconds_left == pytest.approx(20)


def test_without_a_total_there_is_no_percentage(clock):
    run = RunProgress(1, clock)
    run.item_started("up3d", "up3d")
    run.step(0.0, 1200, None, "images")
    clock.now = 65.0
    assert run.text() == "01:05 so far, up3d: 1200 images"
    document = {"percent": None, "seconds_left": None, "done": 1200, "total": None, "unit": "images", "item": "up3d"}
    assert run.document() == document
