"""Generators in weights files, and what they are asked to draw."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.warp3d_poses import MINI, hand_raised, standing

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.models.warp3d.config import PRESETS, GeneratorConfig
from humanpose_cli.models.warp3d.generator import (
    MODEL,
    Generator,
    Warp3d,
    generator_weights,
    load_warp3d,
    to_bytes,
    to_network,
)
from humanpose_cli.networks.weights import WeightsHeader, find_weights, options_of, read_weights, write_weights


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return Generator(replace(MINI, warping="2d"))


@pytest.fixture
def weights(generator, tmp_path):
    tensors, config = generator_weights(generator)
    path = tmp_path / "warp3d.safetensors"
    write_weights(path, tensors, WeightsHeader(MODEL, config, {"steps": 3}, {"ssim": 0.5}))
    return path


IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def test_a_file_gives_the_same_generator(generator, weights):
    loaded = load_warp3d(weights)
    assert loaded.config == generator.config
    assert loaded.header.training == {"steps": 3}
    assert not loaded.generator.training
    # Half precision is all that a file keeps.
    halved = Generator(generator.config)
    halved.load_state_dict({name: value.half().float() for name, value in generator.state_dict().items()})
    source, target = standing(32)[0], hand_raised(32)[0]
    found = loaded.repose(IMAGE, source, target)
    expected = Warp3d(halved, loaded.header).repose(IMAGE, source, target)
    np.testing.assert_array_equal(found.image, expected.image)
    assert found.image.shape == found.background.shape == (32, 32, 3)
    assert found.mask.shape == (32, 32)


def test_the_shipped_weights_are_of_the_small_preset_and_learned_with_drawings():
    shipped = load_warp3d(find_weights("warp3d"))
    assert shipped.config == PRESETS["small"].generator
    assert shipped.learned_drawings


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_configs_are_plain_json(name):
    config = PRESETS[name].generator
    with torch.device("meta"):
        _, values = generator_weights(Generator(config))
    assert options_of(GeneratorConfig, json.loads(json.dumps(values)), "file") == config


def test_weights_of_another_shape(generator, weights, tmp_path):
    tensors, header = read_weights(weights)
    other = tmp_path / "other.safetensors"
    write_weights(other, tensors, replace(header, config={**header.config, "channels": 8}))
    with raises(InputError, problem="does not fit at"):
        load_warp3d(other)
    write_weights(other, {k: v for k, v in tensors.items() if "stem" not in k}, header)
    with raises(InputError, problem="lifting.stem", got="nothing"):
        load_warp3d(other)
    write_weights(other, tensors, replace(header, config={"width": 3}))
    with raises(InputError, got="width"):
        load_warp3d(other)
    write_weights(other, tensors, replace(header, config={**header.config, "stride": 5}))
    with raises(InputError, problem="cannot be built"):
        load_warp3d(other)
    write_weights(other, tensors, replace(header, model="segmenter"))
    with raises(InputError, problem="another model"):
        load_warp3d(other)


def lost_joints(pose):
    pose[:12] = float("nan")
    return pose


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lost_joints(standing(32)[0]), {"problem": "too few known joints"}),
        (torch.full((19, 3), 16.0), {"problem": "all joints in one point"}),
        (standing(32)[0] + 100, {"problem": "outside the crop"}),
        (standing(32)[0][:17], {"expected": "(19, 3)"}),
    ],
)
def test_poses_that_cannot_be_drawn(generator, weights, target, message):
    with raises(UsageError, **message):
        load_warp3d(weights).repose(IMAGE, standing(32)[0], target)
    with raises(UsageError, subject="input pose"):
        load_warp3d(weights).repose(IMAGE, target, standing(32)[0])


def test_images_of_another_size(weights):
    with raises(UsageError, expected="(32, 32, 3)"):
        load_warp3d(weights).repose(IMAGE[:16], standing(32)[0], standing(32)[0])


def test_bytes_to_the_network_and_back():
    images = torch.from_numpy(IMAGE)[None]
    pixels = to_network(images)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert (pixels.min(), pixels.max()) == (-1, 1)
    torch.testing.assert_close(to_bytes(pixels), images)


def taking_all():
    """A generator of 64 pixels that takes a drawing over whole, and draws a mask of 1/2 by itself."""
    torch.manual_seed(0)
    generator = Generator(replace(MINI, size=64, depth=16, drawing=True, softness=4.0)).eval()
    torch.nn.init.zeros_(generator.decoder.last.weight)
    with torch.no_grad():
        generator.decoder.last.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 30.0]))
    return Warp3d(generator, WeightsHeader(MODEL))


GREY = np.full((64, 64, 3), 120, np.uint8)


@pytest.mark.slow
def test_detail_is_what_a_drawing_shows_finer_than_the_network():
    """Of a drawing that is smooth at the fine resolution there is none; of a fine pattern it is the pattern."""
    network, pose = taking_all(), standing(64)[0].numpy()
    ones = np.ones((128, 128), np.float32)
    stripes = 0.2 * ones
    stripes[:, 1::2] *= -1
    smooth, fine = (
        network.repose(GREY, pose, pose, np.stack((colour, colour, colour, ones, ones)))
        for colour in (0.3 * ones, stripes)
    )
    assert smooth.detail.shape == fine.detail.shape == (128, 128, 3)
    np.testing.assert_allclose(smooth.detail, 0, atol=0.01)
    np.testing.assert_allclose(fine.detail, 127.5 * stripes[..., None].repeat(3, -1), atol=0.01)
    np.testing.assert_allclose(smooth.mask, 1, atol=1e-6)
    assert network.repose(GREY, pose, pose).detail is None
    bare = Warp3d(Generator(replace(MINI, size=64)), WeightsHeader(MODEL))
    with raises(UsageError, problem="takes no drawing"):
        bare.repose(GREY, pose, pose, np.zeros((5, 64, 64), np.float32))


def test_the_outline_of_a_finer_drawing_is_followed():
    """Of a disc that is taken over: the mask and what is finer together are the disc."""
    network, pose = taking_all(), standing(64)[0].numpy()
    row, column = np.indices((128, 128)) - 63.5
    disc = (np.hypot(row, column) < 41.3).astype(np.float32)
    drawing = np.stack((0 * disc, 0 * disc, 0 * disc, disc, disc))
    made = network.repose(GREY, pose, pose, drawing)
    mask = torch.from_numpy(made.mask)[None, None]
    smooth = torch.nn.functional.interpolate(mask, scale_factor=2, mode="bilinear", align_corners=False)[0, 0]
    np.testing.assert_allclose(smooth.numpy() + made.outline, disc, atol=1e-5)
    assert np.abs(made.outline).max() > 0.2
    same = network.repose(GREY, pose, pose, drawing[:, ::2, ::2].copy())
    assert same.detail is None
    assert same.outline is None
