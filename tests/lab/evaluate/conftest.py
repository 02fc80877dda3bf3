"""Intervals of few resamples, which take a third of the time, where no test looks at the intervals themselves."""

import pytest

from humanpose_cli.lab.evaluate import report


@pytest.fixture(autouse=True, scope="module")
def few_resamples(request):
    with pytest.MonkeyPatch.context() as patch:
        if not request.module.__name__.endswith("test_report"):
            patch.setattr(report, "_RESAMPLES", 200)
        yield
