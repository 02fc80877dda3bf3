"""The speed of a training, by a clock that the test moves."""

from __future__ import annotations

from humanpose_cli.lab.train.speed import Speed, speed_text


def test_validations_are_no_steps_and_waits_are_a_share_of_the_time():
    now = [0.0]

    def batches():
        for _ in range(4):
            now[0] += 1.0  # the wait
            yield None

    speed = Speed(12, lambda: now[0])
    lines = []
    for number, _ in enumerate(speed.waiting_for(batches()), 1):
        now[0] += 3.0
        if number % 2 == 0:
            lines.append(speed.line())
        speed.step_done()
        now[0] += 100.0  # a validation
    assert lines == 2 * [{"examples_per_second": 3.0, "waiting_percent": 25.0}]
    assert speed.numbers == lines[0]
    assert speed.line() == Speed(1).numbers == {}
    assert speed_text(speed.numbers) == "3 examples/s, 25 % waiting"
