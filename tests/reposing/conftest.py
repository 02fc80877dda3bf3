"""People of photographs are wrapped in them once for all tests of this folder."""

from __future__ import annotations

import pytest

from humanpose_cli.reposing.scene import ReposingScene


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
