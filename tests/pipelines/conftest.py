"""A rendered person whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from known_people import KnownPeople, true_person

from humanpose_cli.body.body import default_body
from humanpose_cli.demo.show import DemoClip
from humanpose_cli.reposing.scene import ReposingScene


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


@pytest.fixture(scope="session")
def known_meshes() -> dict[tuple[object, ...], object]:
    return {}


@pytest.fixture
def meshes_made_once(monkeypatch, known_meshes):
    """People of one photograph are wrapped in it once for all tests, which takes a second; each draws them anew."""
    made = ReposingScene._mesh

    def kept(scene, row, background):
        key = (scene.photo.tobytes(), scene.record.poses.tobytes(), row, background)
        if key not in known_meshes:
            known_meshes[key] = made(scene, row, background)
        return known_meshes[key]

    monkeypatch.setattr(ReposingScene, "_mesh", kept)
