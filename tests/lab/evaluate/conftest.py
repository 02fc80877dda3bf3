"""Intervals of few resamples, which take a third of the time, where no test looks at the intervals themselves; and two
clips with known people, for the modules that make no cache of their own.
"""

from pathlib import Path

import pytest
from helpers.clip_people import clip_cache

from humanpose_cli.lab.evaluate import intervals
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, PeopleSelection
from humanpose_cli.lab.evaluate.refine_clips import EvaluatedClip, clips_of


@pytest.fixture(autouse=True, scope="module")
def few_resamples(request):
    with pytest.MonkeyPatch.context() as patch:
        if not request.module.__name__.endswith("test_intervals"):
            patch.setattr(intervals, "_RESAMPLES", 200)
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_cache(tmp_path_factory.mktemp("clips") / "cache", clips=2)


@pytest.fixture(scope="module")
def people(cache: Path) -> EvaluatedPeople:
    return PeopleSelection(cache).people("joints")


@pytest.fixture(scope="module")
def clip(people: EvaluatedPeople) -> EvaluatedClip:
    return next(clips_of(people))
