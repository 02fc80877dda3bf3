"""What a user does, on a GPU: training, going on across devices, inference, detection, whole commands; as on the CPU.

HPC_TEST_DEVICE=cpu runs these tests where there is no GPU, which tells whether they themselves work.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import torch
from helpers.posed_people import PosedPeople
from helpers.warp3d_poses import MINI, hand_raised, standing

from humanpose_cli.cli.main import main
from humanpose_cli.detect.detector import PersonDetector
from humanpose_cli.fitting.result import load_fit
from humanpose_cli.io.images import read_image, write_image
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.loader import LoaderOptions
from humanpose_cli.lab.recipes.warp3d.recipe import Warp3dRecipe, Warp3dTraining
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.lab.train.recipe import TrainOptions, moved
from humanpose_cli.lab.train.trainer import LAST, train
from humanpose_cli.models.nbf.network import load_nbf
from humanpose_cli.models.warp3d.config import PRESETS, DiscriminatorConfig
from humanpose_cli.models.warp3d.generator import CropToRepose, Generator, Warp3d
from humanpose_cli.networks.precision import multiplies_bfloat16
from humanpose_cli.networks.weights import WeightsHeader, find_weights, read_weights

DEVICE = os.environ.get("HPC_TEST_DEVICE", "cuda:0")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(DEVICE != "cpu" and not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
LOOP = TrainOptions(steps=6, batch_size=4, workers=0, precision="full", log_every=1, validate_every=6, average=0.5)
TRAINING = Warp3dTraining(MINI, DiscriminatorConfig(4, (8, 8), (1, 1)), perceptual="pixels", learning_rate=2e-3)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    assert not build_cache(PosedPeople(), folder).failures
    return folder


def losses(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return np.array([line["generator_loss"] for line in found if line["kind"] == "train"])


@pytest.mark.parametrize("devices", [(DEVICE, DEVICE), ("cpu", DEVICE), (DEVICE, "cpu")])
def test_a_training_goes_on_on_another_device_as_on_the_cpu(pairs, tmp_path, devices):
    """Two starts, the first of which stops after three steps."""
    train(Warp3dRecipe(pairs, TRAINING), LOOP, tmp_path / "cpu", torch.device("cpu"))
    done = []
    for device, until in zip(devices, (3, 100), strict=True):
        recipe, stop = Warp3dRecipe(pairs, TRAINING), lambda until=until: len(done) >= until
        train(recipe, LOOP, tmp_path / "run", torch.device(device), stop=stop, progress=lambda *step: done.append(step))
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(tmp_path / "cpu"), rtol=0.02)
    expected, _ = read_weights(tmp_path / "cpu" / LAST)
    found, header = read_weights(tmp_path / "run" / LAST)
    assert header.training["steps"] == 6
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].float(), value.float(), atol=0.02)


@pytest.mark.parametrize("precision", ["full", "mixed"])
def test_a_step_has_the_gradients_of_the_cpu(pairs, precision):
    recipe = Warp3dRecipe(pairs, TRAINING)
    batch = next(iter(recipe.batches(LoaderOptions(batch_size=4))))
    gradients = []
    for device in ("cpu", DEVICE):
        recipe.model.to(device)
        recipe.model.zero_grad(set_to_none=True)
        half = precision == "mixed" and device == DEVICE
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            found = recipe.losses("generator", moved(batch, torch.device(device)))
        found["loss"].backward()
        gradients.append(torch.cat([p.grad.flatten().cpu() for p in recipe.generator.parameters()]).double())
    alike = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert alike > (0.999 if precision == "full" else 0.9)


def test_the_shipped_body_network_finds_the_same_bodies():
    image = skimage.data.astronaut()
    boxes = np.array([[60.0, 0, 420, 511], [100, 20, 400, 480]])
    half = "bfloat16" if multiplies_bfloat16(DEVICE) else "auto"
    modes = (("cpu", "full"), (DEVICE, "full"), (DEVICE, "auto"), (DEVICE, half))
    expected, full, usual, halved = (
        load_nbf(
            find_weights("nbf-parts"), segmenter=find_weights("segmenter"), device=device, precision=precision
        ).estimate(image, boxes)
        for device, precision in modes
    )
    for found, error in ((full, 0.01), (usual, 0.05), (halved, 0.2)):
        for a, b in zip(expected, found, strict=True):
            assert np.abs(b.joints - a.joints).mean() < error


def test_reposed_crops_are_those_of_the_cpu():
    torch.manual_seed(0)
    config = replace(PRESETS["tiny"].generator, colour_stride=1)
    generator, size = Generator(config), config.size
    torch.nn.init.normal_(generator.decoder.carried.get_submodule("seen").weight)
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    person = np.zeros((size, size), np.float32)
    person[size // 8 :, size // 4 : -size // 4] = 1
    crops = [
        CropToRepose(image, standing(size)[0].numpy(), pose(size)[0].numpy(), silhouette=silhouette)
        for pose, silhouette in ((standing, None), (hand_raised, person))
    ]
    expected = Warp3d(generator, WeightsHeader("warp3d"), "cpu").repose_all(crops)
    found = Warp3d(generator, WeightsHeader("warp3d"), DEVICE).repose_all(crops)
    for a, b in zip(expected, found, strict=True):
        assert np.abs(a.image.astype(int) - b.image).mean() < 1


def on_gpu_if_onnx_runtime_can():
    if DEVICE != "cpu":
        onnxruntime = pytest.importorskip("onnxruntime")
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            pytest.skip("this ONNX Runtime has no CUDA provider")
    return DEVICE


def test_the_detector_finds_the_same_people():
    device = on_gpu_if_onnx_runtime_can()
    image = skimage.data.astronaut()
    with PersonDetector("fast", 1, "cpu") as here, PersonDetector("fast", 1, device) as there:
        (a,), (b,) = here.detect(image), there.detect(image)
    reliable = a.keypoints[:, 2] > 0.5
    np.testing.assert_allclose(b.keypoints[reliable], a.keypoints[reliable], atol=2)


def test_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HPC_WEIGHTS", str(tmp_path / "weights"))  # what else lies there is the user's
    device = on_gpu_if_onnx_runtime_can()
    photos = tmp_path / "photos"
    for name in ("a.png", "b.png"):
        write_image(photos / name, skimage.data.astronaut()[::2, ::2])
    joints = tmp_path / "pose.npy"
    options = ("--device", device, "--quiet")
    assert (
        main(("fit", str(photos), "--independent", "--detector", "fast", "--out", str(tmp_path / "fits"), *options))
        == 0
    )
    a, b = (load_fit(tmp_path / "fits" / f"{name}.png.fit.npz") for name in "ab")
    assert len(a) == len(b) == 1
    np.testing.assert_allclose(a.joints3d, b.joints3d, atol=1e-4)
    np.save(joints, a.joints3d[0])
    wanted = ("--fit", str(tmp_path / "fits" / "a.png.fit.npz"), "--skeleton", "smpl24", "--method", "warp3d")
    out = tmp_path / "new.png"
    assert main(("repose", str(photos / "a.png"), str(joints), *wanted, "-o", str(out), *options)) == 0
    assert read_image(out).size == (256, 256)
    cache = tmp_path / "cache"
    build_cache(SyntheticSource(SyntheticOptions(count=24, size=48, texture_size=64, validation=0.4)), cache)
    run = ("--out", str(tmp_path / "run"), "--preset", "ablation", "--batch-size", "4", "--set", "steps=2")
    assert main(("train", "segmenter", "--data", str(cache), *run, *options)) == 0
    assert main(("doctor", "--quiet")) == 0
    capsys.readouterr()
