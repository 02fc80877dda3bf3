"""Point clouds of backgrounds, read by another library."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from helpers.errors import raises
from helpers.moving_people import moving_people

from humanpose_cli.core.errors import InputError
from humanpose_cli.exporting.exporter import export_fit

POINTS = [[0.5, 1.25, 4.0], [-1.0, 0.75, 6.5], [2.0, 0.0, 8.25]]  # axes of the first camera


@pytest.fixture(scope="module")
def walk():
    fit = moving_people()
    paths = [{"shot": 0, "background": POINTS}, {"shot": 9, "background": POINTS}]
    return replace(fit, options={**fit.options, "camera_paths": paths})


def test_a_cloud_has_the_points_where_the_first_camera_sees_them(walk, tmp_path):
    (path,) = export_fit(walk, tmp_path / "clip.mp4", "cloud")
    assert path.name == "clip.mp4.cloud.ply"
    y_up = np.asarray(trimesh.load(path).vertices)
    to_camera = walk.world_to_camera[0].astype(float)
    in_camera = (y_up * (1, -1, -1)) @ to_camera[:3, :3].T + to_camera[:3, 3]
    np.testing.assert_allclose(in_camera, POINTS, atol=1e-5)


def test_a_cloud_lies_beside_the_feet_of_people_on_the_ground(walk, tmp_path):
    """Another world moves people and points alike."""
    clouds = []
    for world in ("camera", "ground"):
        (path,) = export_fit(walk, tmp_path / world, "cloud", world=world)
        clouds.append(np.asarray(trimesh.load(path).vertices))
    distances = [np.linalg.norm(cloud[:, None] - cloud, axis=-1) for cloud in clouds]
    np.testing.assert_allclose(distances[0], distances[1], atol=1e-5)
    assert np.abs(clouds[0] - clouds[1]).max() > 0.1


def test_a_camera_that_does_not_walk_has_no_cloud(tmp_path):
    with raises(InputError, problem="no points of the background", remedy="walking"):
        export_fit(moving_people(), tmp_path / "clip.mp4", "cloud")
    assert not list(tmp_path.iterdir())
