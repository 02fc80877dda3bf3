"""EXR files hold linear light and premultiplied alpha, as OpenEXR reads them."""

import numpy as np
import pytest
from helpers.exr_reader import read_exr

from humanpose_cli.io.exr import exr_of_channels
from humanpose_cli.io.images import encode_image


@pytest.mark.parametrize("shape", [(37, 21, 4), (16, 5, 3), (9, 33)])
def test_channels_are_linear_and_multiplied_by_alpha(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pixels[: shape[0] // 2] = pixels[:1]  # something that compresses, and something that does not
    channels = read_exr(encode_image(pixels, ".exr"))
    alpha = pixels[..., 3] / 255 if shape[-1] == 4 else 1.0
    linear = np.where(pixels <= 10, pixels / 255 / 12.92, ((pixels / 255 + 0.055) / 1.055) ** 2.4)
    expected = {"Y": linear} if len(shape) == 2 else {name: linear[..., i] * alpha for i, name in enumerate("RGB")}
    expected |= {"A": alpha} if shape[-1] == 4 else {}
    assert list(channels) == sorted(expected)
    for name, values in expected.items():
        assert np.abs(channels[name] - values).max() < 4e-4


def test_layers_and_types_are_kept_apart():
    random = np.random.default_rng(1)
    depth = random.uniform(0, 9, (33, 21)).astype(np.float32)
    alpha = random.uniform(0, 1, (33, 21)).astype(np.float16)
    found = read_exr(exr_of_channels({"shadow.A": alpha, "depth.Z": depth}))
    assert list(found) == ["depth.Z", "shadow.A"]
    np.testing.assert_array_equal(found["depth.Z"], depth)
    np.testing.assert_array_equal(found["shadow.A"], alpha)
