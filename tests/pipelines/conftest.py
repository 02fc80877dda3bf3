"""A rendered person whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from known_people import KnownPeople, true_person

from humanpose_cli.body.body import default_body
from humanpose_cli.demo.show import DemoClip


@pytest.fixture(scope="session")
def clip() -> DemoClip:
    return DemoClip.make(default_body())


@pytest.fixture(scope="session")
def clip_frames(clip) -> list[np.ndarray]:
    """The first frames of the clip."""
    frames = clip.frames()
    return [next(frames) for _ in range(4)]


@pytest.fixture
def known(clip) -> KnownPeople:
    return KnownPeople({t: [true_person(clip, t)] for t in range(4)})
