"""Layers of reposed images: what they hold, that they give the image back, and their files."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.errors import raises
from helpers.exr_reader import read_exr
from helpers.reference_people import ReferencePeople, true_person
from numpy.typing import NDArray
from PIL import Image

from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.io.exr import LINEAR
from humanpose_cli.io.pose_files import RotationTarget
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.reposing.layers import Layers, lay_over, layer_files
from humanpose_cli.reposing.options import ReposeOptions
from humanpose_cli.reposing.reposer import Reposer
from humanpose_cli.reposing.result import Reposed

pytestmark = pytest.mark.slow


def reposed(clip, photo, people, **options):
    """The first of them in their own pose; the others are nearer to the camera."""
    settings = ReposeOptions(fit=FitOptions(focal=clip.focal), layers=True, **options)
    with Reposer(settings, people_source=ReferencePeople({0: people})) as reposer:
        fit = reposer.fitter.fit_image(photo)
        fit = replace(fit, trans=np.float32([[1], [0.8]])[: len(people)] * fit.trans[:1])
        scene = reposer.read(photo, fit=fit)
    return Reposed(scene, RotationTarget(fit.select([0]).params, 25.0))


@pytest.fixture(scope="module")
def two(clip, clip_frames):
    """One person is reposed; somebody stands before them."""
    people = [true_person(clip, 0), true_person(clip, 0, shift=20)]
    mask = people[1].mask.in_image(*clip_frames[0].shape[:2]) > 0.5
    photo = np.where(mask[..., None], np.uint8([[[10, 250, 10]]]), clip_frames[0])
    return photo, mask, reposed(clip, photo, people)


def composed(layers: Layers) -> NDArray[np.uint8]:
    """Compose the image as the module's docstring says; with straight alpha if the background is transparent."""
    base = np.zeros((*layers.shadow.shape, 4), np.float32)
    base[..., 3] = 255 * layers.shadow
    if layers.background is not None:
        base[..., :3] = layers.background * (1 - layers.shadow[..., None])
        base[..., 3] = 255
    for layer in (layers.person, layers.front):
        lay_over(base, layer.astype(np.float32))
    return np.clip(base + 0.5, 0, 255).astype(np.uint8)[..., : 4 if layers.background is None else 3]


def test_layers_give_the_image_back(two):
    _, _, made = two
    layers = made.layers
    assert layers.person[..., 3].any()
    assert layers.front[..., 3].any()
    assert (layers.shadow > 0.05).any()
    difference = np.abs(composed(layers).astype(int) - made.image)
    assert (difference > 2).mean() < 1e-4  # straight colours of half-covered pixels may be beyond 8 bits
    assert difference.mean() < 0.1


def test_people_in_front_are_cut_out_of_the_matte(two):
    photo, mask, made = two
    layers = made.layers
    front = layers.front[..., 3] == 255
    assert (front & mask).sum() > 0.88 * mask.sum()
    np.testing.assert_array_equal(layers.matte[front], 0)
    np.testing.assert_array_equal(layers.front[front][:, :3], photo[front])
    person = layers.person[..., 3] / 255
    assert (person[front] > 0.5).any(), "the person in front covers nothing"
    np.testing.assert_allclose(layers.matte, person * (1 - layers.front[..., 3] / 255), atol=1e-6)


def test_depth_is_that_of_the_surface(two):
    _, _, made = two
    layers, person = made.layers, made.scene.people[0]
    surface = person.surfaces(person.pose)[0]
    raster = rasterise_view(surface.vertices[None], surface.faces, person.view)
    covered = np.isfinite(raster.depth[0].numpy())
    np.testing.assert_allclose(np.median(layers.depth[covered]), np.median(raster.depth[0].numpy()[covered]), rtol=2e-3)
    assert (layers.depth[layers.person[..., 3] == 0] == 0).all()
    assert (layers.depth[covered] > 0).mean() > 0.99


@pytest.mark.extensive
def test_transparent_images_hold_the_shadow(clip, clip_frames):
    made = reposed(clip, clip_frames[0], [true_person(clip, 0)], background="transparent")
    layers, image = made.layers, made.image
    assert layers.background is None
    dark = (layers.shadow > 0.1) & (layers.person[..., 3] == 0)
    assert dark.any()
    np.testing.assert_array_equal(image[dark][:, :3], 0)
    np.testing.assert_allclose(image[dark][:, 3] / 255, layers.shadow[dark], atol=0.003)
    np.testing.assert_array_equal(composed(layers), image)


@pytest.mark.extensive
def test_other_backgrounds_have_no_shadow(clip, clip_frames):
    settings = ReposeOptions(fit=FitOptions(focal=clip.focal), layers=True)
    wall = np.full((8, 8, 3), (200, 20, 120), np.uint8)
    with Reposer(settings, background=wall, people_source=ReferencePeople({0: [true_person(clip, 0)]})) as reposer:
        scene = reposer.read(clip_frames[0])
        (drawn,) = scene.images(RotationTarget(scene.record.params))
    assert not drawn.layers.shadow.any()
    np.testing.assert_array_equal(np.unique(drawn.layers.background.reshape(-1, 3), axis=0), wall[:1, 0])


@pytest.mark.extensive
def test_files_hold_the_layers(two, tmp_path):
    _, _, made = two
    layers = made.layers
    made.save(tmp_path / "a.png")
    files = {path.name for path in tmp_path.iterdir()}
    names = ("person", "shadow", "background", "front", "matte", "depth")
    assert files == {"a.png", "a.layers.exr", *(f"a.{name}.png" for name in names)}
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.person.png")), layers.person)
    millimetres = np.asarray(Image.open(tmp_path / "a.depth.png"))
    np.testing.assert_allclose(millimetres / 1000, layers.depth, atol=5.1e-4)
    channels = read_exr((tmp_path / "a.layers.exr").read_bytes())
    np.testing.assert_array_equal(channels["depth.Z"], layers.depth)
    np.testing.assert_allclose(channels["matte.A"], layers.matte, atol=1e-3)
    np.testing.assert_allclose(channels["background.G"], LINEAR[layers.background[..., 1]], atol=1e-3)
    premultiplied = LINEAR[layers.person[..., 0]] * (layers.person[..., 3] / 255)
    np.testing.assert_allclose(channels["person.R"], premultiplied, atol=1e-3)
    np.testing.assert_allclose(channels["B"], LINEAR[np.asarray(Image.open(tmp_path / "a.png"))[..., 2]], atol=1e-3)


def test_names_of_files(tmp_path):
    numbered = layer_files(tmp_path / "f_060.exr", numbered=True, transparent=True)
    assert numbered[0] == tmp_path / "layers" / "f_060.exr"
    assert numbered[1] == tmp_path / "layers" / "person" / "f_060.png"
    assert len(numbered) == 6
    assert tmp_path / "a.background.png" in layer_files(tmp_path / "a.png", numbered=False, transparent=False)


def test_resized_layers_keep_colours_at_edges():
    person = np.zeros((8, 8, 4), np.uint8)
    person[:, :3] = (200, 100, 50, 255)
    flat = np.zeros((8, 8), np.float32)
    small = Layers(person, flat, None, np.zeros_like(person), flat, flat).sized((4, 4)).person
    assert (small[:, 1] == (200, 100, 50, 128)).all()
    assert (small[:, 2:, 3] == 0).all()


@pytest.mark.extensive
def test_layers_that_were_not_requested_are_an_error(clip, clip_frames):
    with Reposer(
        ReposeOptions(fit=FitOptions(focal=clip.focal)), people_source=ReferencePeople({0: [true_person(clip, 0)]})
    ) as reposer:
        scene = reposer.read(clip_frames[0])
    with raises(UsageError, subject="layers", problem="were not requested"):
        _ = Reposed(scene, RotationTarget(scene.record.params)).layers
