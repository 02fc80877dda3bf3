"""Generators in weights files, and what they are asked to draw."""

import json
from dataclasses import asdict, replace

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
    tensors, config = generator.state_dict(), asdict(generator.config)
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


def test_the_shipped_weights_are_of_the_small_preset():
    """They are of version 1.0.0, whose decoder had the mesh's drawing as an input and its share as an output."""
    path = find_weights("warp3d")
    shipped = load_warp3d(path)
    assert shipped.config == PRESETS["small"].generator
    tensors, header = read_weights(path)
    assert header.config["drawing"]
    first, last = "decoder.detail.0.weight", "decoder.last.bias"
    found = shipped.generator.state_dict()
    assert torch.equal(found[first], tensors[first][:, :64])
    assert torch.equal(found[last], tensors[last][:4])


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_configs_are_plain_json(name):
    config = PRESETS[name].generator
    with torch.device("meta"):
        values = asdict(config)
    assert options_of(GeneratorConfig, json.loads(json.dumps(values)), "file") == config


def test_weights_of_another_shape(generator, weights, tmp_path):
    tensors, header = read_weights(weights)
    other, less = tmp_path / "other.safetensors", {k: v for k, v in tensors.items() if "stem" not in k}
    for values, changes, problem in (
        (tensors, {"config": {**header.config, "channels": 8}}, "does not fit at"),
        (less, {}, "lifting.stem"),
        (tensors, {"config": {**header.config, "stride": 5}}, "cannot be built"),
        (tensors, {"model": "segmenter"}, "another model"),
    ):
        write_weights(other, values, replace(header, **changes))
        with raises(InputError, problem=problem):
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
    ],
)
def test_poses_that_cannot_be_drawn(generator, weights, target, message):
    with raises(UsageError, **message):
        load_warp3d(weights).repose(IMAGE, standing(32)[0], target)
    with raises(UsageError, subject="input pose"):
        load_warp3d(weights).repose(IMAGE, target, standing(32)[0])


def test_bytes_to_the_network_and_back():
    images = torch.from_numpy(IMAGE)[None]
    pixels = to_network(images)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert (pixels.min(), pixels.max()) == (-1, 1)
    torch.testing.assert_close(to_bytes(pixels), images)
