"""Maps of the pose network as features of a segmenter."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from humanpose_cli.detect.runtime import POSE_CHANNELS, network_model, pose_maps
from humanpose_cli.models.crops import normalised_image, pixels_of_normalised
from humanpose_cli.models.segmenter import network as module
from humanpose_cli.models.segmenter.network import SegmenterOptions, build_segmenter, pose_features

POSED = SegmenterOptions("posed", crop=64, width=4, widths=(8, 8, 6, 4), guided=True)


def images(count: int, size: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.mark.slow
def test_maps_are_the_values_inside_the_graph() -> None:
    model = onnx.load_from_string(network_model("blazepose-heavy"))
    names = ("t635", "t552", "t253", "t469", "t110", "t395", "t62")
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = dict(zip(names, session.run(names, {"image": images(2), "masked": np.array(False)}), strict=True))
    maps = [values.numpy() for values in pose_maps(torch.from_numpy(images(2)))]
    assert [m.shape for m in maps] == [(2, channels, side, side) for side, channels in POSE_CHANNELS.items()]
    np.testing.assert_array_equal(maps[0], values["t635"])
    np.testing.assert_array_equal(maps[1], np.concatenate((values["t552"], values["t253"]), 1))
    np.testing.assert_array_equal(maps[3], np.concatenate((values["t395"], values["t62"]), 1))


def test_the_pose_network_gets_the_pixels_again() -> None:
    pixels = images(2, 32)
    normalised = torch.from_numpy(np.stack([normalised_image(image) for image in pixels]))
    np.testing.assert_array_equal(pixels_of_normalised(normalised), pixels)


@pytest.mark.slow
def test_crops_of_any_size_have_maps() -> None:
    crop = torch.from_numpy(normalised_image(images(1, 64)[0]))[None]
    assert [m.shape[-1] for m in pose_features(crop)] == list(POSE_CHANNELS)
    assert build_segmenter(POSED).eval()(torch.cat((crop, crop, crop[:, :1]), 1)).shape == (1, 13, 64, 64)


def test_scores_follow_the_maps_which_are_made_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, channels, side, side) for side, channels in POSE_CHANNELS.items()]
    calls = []

    def features(image: torch.Tensor) -> list[torch.Tensor]:
        calls.append((image.shape, torch.is_grad_enabled()))
        return maps

    monkeypatch.setattr(module, "pose_features", features)
    network, image = build_segmenter(POSED).eval(), torch.randn(2, 7, 64, 64)
    before = network(image)
    maps[3] = maps[3] + 1
    assert (network(image) - before).abs().max() > 1e-4
    assert calls == [((2, 3, 64, 64), False)] * 2
