"""Cameras that are held by hand: their paths, what their shutters do, and clips whose truth is one world."""

import numpy as np
import pytest
import torch
from helpers.cached_body import body, labels

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.lab.cache.encoding import decode_image
from humanpose_cli.lab.synthetic.camera_paths import WALKS, Shutter, expose, sample_path
from humanpose_cli.lab.synthetic.cameras import SceneCamera
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.lab.synthetic.renderer import SceneRenderer

FRAMES, SIZE = 60, (54, 96)
WAY = np.stack((np.zeros(FRAMES), np.full(FRAMES, 0.95), np.linspace(0, 3, FRAMES)), 1)  # 3 m along z


def positions(kind: str) -> tuple[np.ndarray, tuple[SceneCamera, ...]]:
    path = sample_path(np.random.default_rng(3), kind, WAY, SIZE, 30.0)
    return np.stack([camera.position for camera in path]), path


@pytest.mark.parametrize("kind", [*WALKS, "turning"])
def test_a_camera_keeps_its_person_in_the_image(kind):
    lenses, path = positions(kind)
    for camera, pelvis in zip(path, WAY, strict=True):
        pixel = camera.view.project(torch.from_numpy(camera.to_camera(pelvis))[None].float())[0].numpy()
        assert (pixel > 0).all()
        assert (pixel < SIZE[::-1]).all()
    np.testing.assert_allclose(lenses[:, 1], lenses[:, 1].mean(), atol=0.25)


def test_the_kinds_of_paths():
    shifted, orbit, behind, shaken, turning = (positions(kind)[0] for kind in (*WALKS, "turning"))
    offsets = [(lenses - WAY)[:, [0, 2]] for lenses in (shifted, orbit, behind)]
    for offset in offsets:  # all keep their distance
        distance = np.linalg.norm(offset, axis=1)
        np.testing.assert_allclose(distance, distance.mean(), rtol=0.15)
    angles = [np.unwrap(np.arctan2(offset[:, 0], offset[:, 1])) for offset in offsets]
    assert np.ptp(angles[0]) < 0.4
    assert 1.4 < np.ptp(angles[1]) < 2.8
    assert (offsets[2][:, 1] < 0).all()  # the person walks along +z
    assert np.ptp(shaken, axis=0).max() < 0.6
    assert np.linalg.norm(np.diff(shaken, axis=0), axis=1).sum() > 0.5
    assert np.ptp(turning, axis=0).max() < 1e-5


def test_a_rolling_shutter_shears_and_an_open_one_blurs_by_the_turn_of_the_camera():
    """The camera pans to the right by 0.01 rad a frame, so what stands still moves to the left by focal · 0.01."""
    view, spin = Camera.of_image((80, 60), 500.0), 0.01

    def camera(frame: int) -> SceneCamera:
        c, s = np.cos(spin * frame), np.sin(spin * frame)
        pan = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]], np.float32)
        return SceneCamera(view, pan, np.zeros(3, np.float32))

    path = tuple(camera(frame) for frame in range(3))
    image = np.zeros((60, 80, 3), np.float32)
    image[:, 40] = 240
    assert expose(image, path, 1, Shutter()) is image
    columns = np.arange(80)
    rolling = expose(image, path, 1, Shutter(readout=0.6))[..., 0]
    centre = (rolling * columns).sum(1) / rolling.sum(1)
    np.testing.assert_allclose(centre - 40, -0.6 * 5 * ((np.arange(60) + 0.5) / 60 - 0.5), atol=0.02)
    blurred = expose(image, path, 1, Shutter(exposure=0.8))[..., 0]
    np.testing.assert_allclose((blurred * columns).sum(1) / blurred.sum(1), 40, atol=0.02)
    spread = np.sqrt((blurred[30] * (columns - 40) ** 2).sum() / blurred[30].sum())
    assert 0.8 * 5 / np.sqrt(12) * 0.7 < spread < 0.8 * 5 / np.sqrt(12) * 1.3
    # At the ends of the path there is one neighbour.
    assert np.isfinite(expose(image, path, 0, Shutter(0.5, 0.5))).all()


def source(**options) -> SyntheticSource:
    values = {"size": 128, "texture_size": 64, "structure": "clips", "clip_length": 8, "camera": "walk"}
    values |= {"frame_rate": 5.0, "aspect": 16 / 9, "damage": 0.0, "count": 32, "validation": 0.0, "test": 0.0}
    return SyntheticSource(SyntheticOptions(**(values | options)))


@pytest.mark.extensive
def test_background_and_people_stand_in_one_world():
    walk = source()
    group = walk.groups()[1]
    random = walk._random("scene", 1)
    scene, _, _ = walk._stage(random, 1, walk._cast(random, 1, "train")[0])
    samples = list(walk.read(group))
    first, last = scene.camera_at(0), scene.camera_at(4)
    assert np.linalg.norm(first.position - last.position) > 0.3
    # The background's colours of one frame are found again in the other where its depth and the cameras say.
    renderer = SceneRenderer(body(), scene, labels())
    renderer._look_from(first)
    first_backdrop = renderer.backdrop
    renderer._look_from(last)
    after = renderer.backdrop.image
    rows, columns = np.nonzero((first_backdrop.surface == 1) & (first_backdrop.depth < 12))
    points = first.rays()[:, rows, columns].T * first_backdrop.depth[rows, columns][:, None] + first.position
    np.testing.assert_allclose(points[:, 1], 0, atol=1e-3)
    points_there = last.to_camera(points)
    height, width = SIZE[0] * 128 // 96, 128
    x, y = (
        points_there[:, k] / points_there[:, 2] * last.view.focal + size / 2 for k, size in ((0, width), (1, height))
    )
    inside = (points_there[:, 2] > 0.1) & (x > 0) & (x < width) & (y > 0) & (y < height)
    assert inside.sum() > 500
    old, new = first_backdrop.image[rows, columns][inside], after[y[inside].astype(int), x[inside].astype(int)]
    assert np.abs(old - new).mean() < 0.6 * np.abs(old - new[::-1]).mean()
    # The labels have the path, and in its world, whose y axis is down, feet are on the floor.
    for frame, sample in enumerate(samples):
        matrix = sample.world_to_camera
        np.testing.assert_allclose(
            -matrix[:, :3].T @ matrix[:, 3], scene.camera_at(frame).position * [1, -1, -1], atol=1e-4
        )
        joints = sample.people[0].joints[SMPL24.name][:, :3]
        world = (joints - matrix[:, 3]) @ matrix[:, :3]
        assert -0.12 < world[list(SMPL24.indices(("left_foot", "right_foot"))), 1].max() < 0.0
        assert decode_image(sample.image).shape == (72, 128, 3)
        assert sample.size == (128, 72)


@pytest.mark.extensive
def test_a_camera_that_turns_has_no_parallax_and_one_that_stands_no_path():
    turn = source(camera="turn", damage=1.0, seed=2)
    samples = list(turn.read(turn.groups()[0]))
    paths = np.stack([sample.world_to_camera for sample in samples])
    centres = -np.einsum("tji,tj->ti", paths[:, :, :3], paths[:, :, 3])
    assert np.ptp(centres, axis=0).max() < 1e-5
    assert np.ptp(paths[:, 2, :3], axis=0).max() > 0.02
    static = source(camera="still", clip_length=2)
    assert all(sample.world_to_camera is None for sample in static.read(static.groups()[0]))


def test_options_that_caches_of_earlier_versions_lack_are_named_only_where_they_differ():
    assert not {"camera", "aspect"} & set(SyntheticSource(SyntheticOptions()).info.options)
    assert {"camera", "aspect"} <= set(source().info.options)
