"""The speed of a training, and the share of its time in which it waits for data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Speed:
    """Measures the steps of a training, without what lies between them: validations and checkpoints.

    Args:
        examples: Examples of a step.
        clock: Returns seconds.
    """

    def __init__(self, examples: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._examples, self._clock = examples, clock
        self._since: float | None = None  # within a step: until when its time is counted
        # Steps, seconds of waits for data and seconds of steps: since the last line, and before.
        self._line, self._before = np.zeros(3), np.zeros(3)

    def waiting_for(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield batches; each begins a step, which `step_done` ends."""
        began = self._clock()
        for batch in batches:
            self._since = self._clock()
            self._line += (1, self._since - began, 0)
            yield batch
            began = self._clock()

    def step_done(self) -> None:
        """End a step."""
        self._count()
        self._since = None

    def line(self) -> dict[str, float]:
        """Return the numbers of the steps since the last call, the current one among them."""
        self._count()
        numbers = self._numbers(self._line)
        self._before += self._line
        self._line[:] = 0
        return numbers

    @property
    def numbers(self) -> dict[str, float]:
        """`examples_per_second`, and `waiting_percent` of the time, over all steps; {} before the first one."""
        return self._numbers(self._before + self._line)

    def _count(self) -> None:
        """Count the time of the current step."""
        if self._since is not None:
            now = self._clock()
            self._line[2] += now - self._since
            self._since = now

    def _numbers(self, counted: NDArray[np.float64]) -> dict[str, float]:
        steps, waited, busy = counted.tolist()
        if not (seconds := waited + busy):
            return {}
        return {"examples_per_second": steps * self._examples / seconds, "waiting_percent": 100 * waited / seconds}


def speed_text(numbers: Mapping[str, float]) -> str:
    """Describe the numbers of `Speed`, such as "31 examples/s, 2 % waiting"."""
    if not numbers:
        return ""
    return f"{numbers['examples_per_second']:.3g} examples/s, {numbers['waiting_percent']:.0f} % waiting"
