"""Light and shadows, backgrounds, damage, the meshes of things."""

import os

import cv2
import numpy as np
import pytest
import torch
from helpers.errors import raises
from PIL import Image

from humanpose_cli.body.texture import look_up
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.synthetic import scene as solids
from humanpose_cli.lab.synthetic.backgrounds import (
    BACKGROUND_KINDS,
    Background,
    ImageFolder,
    paint_backdrop,
    sample_background,
)
from humanpose_cli.lab.synthetic.cameras import (
    CameraOptions,
    ContactShadow,
    Degradation,
    SceneCamera,
    ShadowMap,
    degrade,
    encode_light,
    irradiance,
    sample_camera,
    sample_lighting,
    view_from_sun,
)
from humanpose_cli.lab.synthetic.scene import sample_props, seat_for
from humanpose_cli.lab.synthetic.tiles import TILE_KINDS, TILE_SIDE, resample, tile, tile_level

JOINTS = np.array([[0, 0.1, 0], [0, 1.7, 0], [-0.4, 1.2, 0.1], [0.4, 1.2, -0.1], [0.1, 0.9, 0.2]])


def level_camera(size=(48, 64)) -> SceneCamera:
    view = Camera.of_image(size[::-1], 60.0)
    return SceneCamera(view, np.diag([1.0, -1.0, -1.0]).astype(np.float32), np.array([0, 1.2, 4.0], np.float32))


def plate(y: float, half: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A level square of many triangles at that height."""
    solid = solids.move_solid(solids.box((2 * half, 0.002, 2 * half)), np.array([0, y, 0]))
    return torch.from_numpy(solid.vertices), torch.from_numpy(solid.faces)


def test_a_plate_shades_what_lies_under_it_along_the_sun():
    upper, lower = plate(1.0, 0.3), plate(0.0, 1.2)
    vertices = torch.cat((upper[0], lower[0]))
    faces = torch.cat((upper[1], lower[1] + len(upper[0])))
    sun = np.array([1.0, 2.0, 0.0]) / np.sqrt(5)
    shadow = ShadowMap(view_from_sun(vertices[None], faces, sun), sun, 0.02)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 41), [0.002], np.linspace(-1, 1, 41), indexing="ij"), -1)
    points = grid.reshape(-1, 3).astype(np.float32)
    up = np.broadcast_to(np.array([0, 1, 0], np.float32), points.shape)
    light = shadow.sunlit(points, up).reshape(41, 41)
    # One metre lower, the shadow has moved half a metre away from the sun: to x = −0.5.
    x, z = grid[:, 0, :, 0], grid[:, 0, :, 2]
    inside = (np.abs(x + 0.5) < 0.25) & (np.abs(z) < 0.25)
    outside = (np.abs(x + 0.5) > 0.35) | (np.abs(z) > 0.35)
    assert light[inside].max() == 0
    assert light[outside].min() > 0.99
    top = torch.from_numpy(np.array([[0.1, 1.002, 0.1]], np.float32)).numpy()
    assert shadow.sunlit(top, up[:1]) == 1


def test_shadows_on_a_floor_that_casts_none():
    vertices, faces = plate(1.0, 0.3)
    sun = np.array([0.0, 1.0, 0.0])
    shadow = ShadowMap(view_from_sun(vertices[None], faces, sun), sun, 0.02)
    floor = np.array([[0, 0, 0], [0.25, 0, -0.2], [0.5, 0, 0], [0, 2.0, 0]], np.float32)
    cover = shadow.cover(floor, 1.0)
    np.testing.assert_allclose(cover, [1, 1, 0, 0], atol=0.02)  # the last one is above the plate


def test_the_floor_is_dark_where_feet_touch_it():
    feet = np.array([[0.1, 0.0, 0.0], [0.1, 0.05, 0.02], [-0.1, 0.0, 0.0]], np.float32)
    contact = ContactShadow(feet)
    dark = contact.darkness(np.array([[0.1, 0, 0], [1.0, 0, 0]], np.float32))
    assert dark[0] > 0.05
    assert dark[1] == 0
    in_the_air = ContactShadow(feet + np.float32([0, 1, 0]))
    assert not in_the_air.darkness(np.zeros((3, 3), np.float32)).any()


def test_light_faces_and_exposure():
    random = np.random.default_rng(0)
    means = []
    for seed in range(40):
        lighting = sample_lighting(np.random.default_rng(seed), 0.3, indoor=seed % 2 == 0)
        normals = random.normal(0, 1, (500, 3)).astype(np.float32)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        light, dark = irradiance(normals, lighting), irradiance(normals, lighting, 0.0)
        assert light.min() > 0
        assert (light >= dark).all()
        facing = normals @ np.asarray(lighting.sun.direction)
        np.testing.assert_allclose(light[facing < 0], dark[facing < 0], atol=1e-6)
        assert np.linalg.norm(lighting.sun.direction) == pytest.approx(1)
        assert lighting.sun.direction[1] > 0.15
        means.append(irradiance(np.array([[np.sin(0.3), 0, np.cos(0.3)]]), lighting).mean())
    assert 0.7 < np.median(means) < 1.6
    np.testing.assert_allclose(encode_light(np.array([1.0, 0.5**2.2])), [1, 0.5], atol=1e-6)


@pytest.mark.slow
def test_cameras_stand_above_the_floor_and_show_people():
    for seed in range(200):
        camera = sample_camera(np.random.default_rng(seed), JOINTS, (64, 48), CameraOptions(cut=0))
        assert camera.position[1] > 0.1
        np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-5)
        assert np.linalg.det(camera.rotation) > 0.99
        assert camera.rotation[1, 1] < 0  # down in the image is down
        points = camera.to_camera(JOINTS)
        assert points[:, 2].min() > 0.3
        pixels = camera.view.project(torch.from_numpy(points)).numpy()
        assert ((pixels > -8) & (pixels < (56, 72))).all(1).mean() > 0.35


def test_rays_go_through_pixels():
    camera = sample_camera(np.random.default_rng(3), JOINTS, (20, 30))
    rays = camera.rays()
    assert rays.shape == (3, 20, 30)
    point = camera.position + 3.0 * rays[:, 7, 11]
    in_camera = camera.to_camera(point)
    assert in_camera[2] == pytest.approx(3.0, abs=1e-4)
    np.testing.assert_allclose(camera.view.project(torch.from_numpy(in_camera)[None])[0], [11.5, 7.5], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BACKGROUND_KINDS)
def test_backgrounds_have_detail_and_a_floor_at_the_right_depth(kind):
    lighting = sample_lighting(np.random.default_rng(1), 0.0, indoor=True)
    camera = level_camera()
    for seed in range(4):
        backdrop = paint_backdrop(Background(kind, seed), camera, lighting)
        repeated = paint_backdrop(Background(kind, seed), camera, lighting)
        np.testing.assert_array_equal(backdrop.image, repeated.image)
        assert backdrop.image.shape == (48, 64, 3)
        assert np.isfinite(backdrop.image).all()
        assert backdrop.image.std() > 1
        y = np.nonzero(backdrop.surface == 1)[0]
        depth = backdrop.depth[backdrop.surface == 1]
        np.testing.assert_allclose(depth, 1.2 / ((y + 0.5 - 24) / 60), rtol=1e-3)
        if kind in ("room", "studio", "street", "field"):
            assert (backdrop.surface[-1] == 1).mean() > 0.5


def test_images_of_a_folder(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "b").mkdir()
    for name, size in (("a.png", (90, 60)), ("b/large.jpg", (1500, 900)), ("b/tiny.png", (5, 7))):
        Image.fromarray(random.integers(0, 256, (*size[::-1], 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    folder = ImageFolder(tmp_path)
    assert [path.name for path in folder.files] == ["a.png", "large.jpg", "tiny.png"]
    background = sample_background(random, folder, share=1.0)
    assert background.kind == "picture"
    for number in range(3):
        crops = [folder.crop(number, (40, 30), np.random.default_rng(5)) for _ in range(2)]
        assert crops[0].shape == (40, 30, 3)
        np.testing.assert_array_equal(*crops)
    lighting = sample_lighting(random, 0.0, indoor=True)
    assert paint_backdrop(Background("picture", 1, 0), level_camera(), lighting, folder).image.shape == (48, 64, 3)
    assert max(max(folder._image(number).shape) for number in range(3)) == 1024


def test_a_folder_of_names_that_are_no_utf8_has_a_summary(tmp_path):
    name = tmp_path / os.fsdecode(b"lat\xe9in.png")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(name)
    first = ImageFolder(tmp_path).summary
    assert first.startswith("1 images (")
    name.rename(tmp_path / os.fsdecode(b"lat\xe8in.png"))
    assert ImageFolder(tmp_path).summary != first


def test_missing_empty_and_damaged_folders_are_named(tmp_path):
    with raises(InputError, subject="nowhere"):
        ImageFolder(tmp_path / "nowhere")
    with raises(InputError, problem="no images"):
        ImageFolder(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    with raises(InputError, subject="broken.jpg"):
        ImageFolder(tmp_path).crop(0, (8, 8), np.random.default_rng(0))


@pytest.mark.parametrize("kind", TILE_KINDS)
def test_tiles_repeat_without_a_seam(kind):
    pixels = tile(kind, 1).astype(float)
    assert pixels.shape == (TILE_SIDE, TILE_SIDE, 3)
    assert tile(kind, 1) is tile(kind, 1)
    assert tile_level(kind, 0, 3).shape == (TILE_SIDE // 8, TILE_SIDE // 8, 3)
    if kind in ("plaster", "concrete", "grass", "ground", "foliage", "stone", "carpet"):
        across = np.abs(pixels[:, 0] - pixels[:, -1]).mean()
        usual = np.abs(pixels[:, 1:] - pixels[:, :-1]).mean()
        assert across < 2 * usual + 1


def test_look_up_is_bilinear_and_repeats():
    image = np.zeros((2, 4, 3), np.uint8)
    image[..., 0] = [[0, 40, 80, 120], [100, 140, 180, 220]]
    u = np.array([0.125, 0.25, 1.125, 0.0], np.float32)
    v = np.array([0.25, 0.5, 0.75, -0.25], np.float32)
    x, y = u * 4 - 0.5, v * 2 - 0.5
    np.testing.assert_allclose(look_up(image, x % 4, y % 2, cv2.BORDER_WRAP)[:, 0], [0, 70, 100, 160], atol=1)
    np.testing.assert_allclose(look_up(image, x[:2], y[:2])[:, 0], [0, 70], atol=1)
    np.testing.assert_allclose(resample(image, x / 4 + 3, y / 2 - 2)[:, 0], [0, 70, 100, 160], atol=1)
    np.testing.assert_array_equal(look_up(image, x[:2] + 4, y[:2], cv2.BORDER_CONSTANT), 0)


def test_no_damage_only_rounds():
    image = np.random.default_rng(0).uniform(-5, 260, (20, 30, 3)).astype(np.float32)
    plain = degrade(image, Degradation(), np.random.default_rng(0))
    np.testing.assert_array_equal(plain, np.clip(np.rint(image), 0, 255))


def test_noise_grows_with_light_and_motion_blurs_along_its_way():
    random = np.random.default_rng(0)
    flat = np.concatenate([np.full((200, 100, 3), 20.0), np.full((200, 100, 3), 200.0)], 1).astype(np.float32)
    noisy = degrade(flat, Degradation(noise=5.0), random).astype(float)
    assert noisy[:, 100:].std() > 1.5 * noisy[:, :100].std()
    edge = np.zeros((41, 41, 3), np.float32)
    edge[20, 20] = 255
    streak = degrade(edge, Degradation(motion=(6.0, 0.0)), random)[..., 0]
    assert (streak[20] > 0).sum() >= 6
    assert streak.any(1).sum() == 1


@pytest.mark.parametrize(
    "solid",
    [solids.box((0.4, 1.0, 0.3)), solids.cylinder(0.2, 1.0), solids.ball((0.3, 0.4, 0.3)), solids.table(1.0, 0.7, 0.6)],
    ids=["box", "cylinder", "ball", "table"],
)
def test_faces_of_things_look_outwards(solid):
    corners = solid.vertices[solid.faces].astype(float)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    volume = (corners[:, 0] * across).sum() / 6
    assert volume > 0.02
    assert len(solid.uv) == len(solid.vertices)


@pytest.mark.slow
def test_things_keep_clear_of_people_and_lens():
    camera = sample_camera(np.random.default_rng(0), JOINTS, (64, 64))
    count = 0
    for seed in range(60):
        for prop in sample_props(np.random.default_rng(seed), camera, [JOINTS], around=1.0, in_front=1.0, cards=0.5):
            assert camera.to_camera(prop.solid.vertices)[:, 2].size
            assert np.isfinite(prop.solid.vertices).all()
            count += 1
    assert count > 60
    seat = seat_for(np.random.default_rng(0), np.array([0, 0.6, 0.0]), np.array([[0.1, 0.5, 0.4], [-0.1, 0.5, 0.4]]))
    assert seat.solid.vertices[:, 1].min() == 0
    top = seat.solid.vertices[np.abs(seat.solid.vertices[:, [0, 2]]).max(1) < 0.35, 1].max()
    assert 0.4 < top < 0.6
