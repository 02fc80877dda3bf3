"""Intervals of few resamples, which take a third of the time, where no test looks at the intervals themselves."""

import pytest

from humanpose_cli.lab.evaluate import intervals


@pytest.fixture(autouse=True, scope="module")
def few_resamples(request):
    with pytest.MonkeyPatch.context() as patch:
        if not request.module.__name__.endswith("test_intervals"):
            patch.setattr(intervals, "_RESAMPLES", 200)
        yield
