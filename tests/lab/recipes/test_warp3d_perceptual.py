"""Perceptual losses: what they measure, and which file makes which."""

import hashlib

import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.errors import InputError, UnavailableError
from humanpose_cli.lab.metrics.images import ssim_map
from humanpose_cli.lab.recipes.warp3d.perceptual import distance_within, perceptual_loss
from humanpose_cli.networks.backbones import VGG, ResNet
from humanpose_cli.networks.decoders import RefineNetSegmenter
from humanpose_cli.networks.weights import WEIGHTS, WeightsHeader, find_weights, read_weights, write_weights


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    return (true + 0.2 * torch.randn(true.shape, generator=generator)).clamp(-1, 1), true


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({**VGG(19).state_dict(), "classifier.0.bias": torch.zeros(3)}, path)
    return path


def check_distance(loss, images):
    """Zero for equal images, larger for worse ones, with gradients to the made image only."""
    generated, true = images
    assert loss(true, true).item() == pytest.approx(0, abs=1e-5)
    closer = true + 0.3 * (generated - true)
    assert 0 < loss(closer, true) < loss(generated, true)
    generated = generated.clone().requires_grad_()
    loss(generated, true).backward()
    assert generated.grad.abs().max() > 0
    assert not any(p.requires_grad for p in loss.parameters())
    assert not loss.training
    check_maps(loss, images)


def check_maps(loss, images):
    """Within whole images the distance is that of the images, each by itself; elsewhere other pixels do not count."""
    generated, true = images
    each = torch.stack([loss(generated[i : i + 1], true[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(distance_within(loss.maps(generated, true), torch.ones(2, 64, 64)), each)
    maps, mask = loss.maps(generated, true), torch.zeros(2, 64, 64)
    mask[0, :32] = 1
    assert all(len(each) == 2 for each in maps)
    upper = sum(each[0, : each.shape[1] // 2].mean() for each in maps)
    torch.testing.assert_close(distance_within(maps, mask), torch.stack((upper, torch.zeros(()))))


def test_pixels_by_hand(images):
    loss = perceptual_loss()
    check_distance(loss, images)
    assert loss.describe() == {"kind": "pixels"}
    a, b = (p / 2 + 0.5 for p in images)
    total = 0
    for _ in range(3):
        total += (a - b).abs().mean() + 0.5 * (1 - ssim_map(a, b).mean())
        a, b = (p.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5)) for p in (a, b))
    assert loss(*images).item() == pytest.approx(total.item() / 3, rel=1e-5)


@pytest.mark.extensive
def test_vgg_by_hand(images, vgg_file):
    loss = perceptual_loss(vgg_file)
    check_distance(loss, images)
    digest = hashlib.sha256(vgg_file.read_bytes()).hexdigest()
    assert loss.describe() == {"kind": "vgg19", "file": "vgg19.pth", "sha256": digest, "torchvision": False}
    mean, spread = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x, y = ((p / 2 + 0.5 - mean) / spread for p in images)
    total, layer_weights = 0.0, {3: 1 / 32, 8: 1 / 16, 13: 1 / 8, 22: 1 / 4, 31: 1.0}  # torchvision's ReLUs of conv k_2
    for number, layer in enumerate(loss.network.features):
        x, y = layer(x), layer(y)
        total += layer_weights.get(number, 0.0) * (x - y).abs().mean().item()
    assert loss(*images).item() == pytest.approx(255 * 0.226 * total, rel=1e-4)


@pytest.mark.slow
def test_a_segmenters_backbone(images, tmp_path):
    torch.manual_seed(0)
    segmenter = RefineNetSegmenter(3, layers=18, width=8, widths=(8, 8, 8, 8))
    path = tmp_path / "best.safetensors"
    write_weights(path, segmenter.state_dict(), WeightsHeader("segmenter", {"any": 1}))
    loss = perceptual_loss(path)
    check_distance(loss, images)
    assert loss.describe()["kind"] == "backbone"
    assert loss.describe()["model"] == "segmenter"
    assert loss(*images) > perceptual_loss()(*images)
    torch.testing.assert_close(loss.network.conv1.weight, segmenter.backbone.conv1.weight.half().float())


@pytest.mark.slow
def test_the_shipped_segmenters_guide_is_left_out(images):
    path = find_weights("segmenter")
    guided, _ = read_weights(path)
    loss = perceptual_loss(path)
    check_distance(loss, images)
    torch.testing.assert_close(loss.network.conv1.weight, guided["backbone.conv1.weight"][:, :3].float())


@pytest.mark.parametrize(("layers", "depth"), [(34, 4), (50, 4), (18, 3)])
def test_any_resnet(layers, depth, tmp_path, images):
    torch.manual_seed(0)
    path = tmp_path / "resnet.pth"
    torch.save({**ResNet(layers, width=8, depth=depth).state_dict(), "fc.bias": torch.zeros(5)}, path)
    loss = perceptual_loss(path)
    assert loss(*images) > 0
    assert len(loss.maps(*images)) == 3 + depth  # scales of the pixels, and stages


@pytest.mark.extensive
def test_auto_takes_vgg_where_it_is_and_else_the_segmenter(tmp_path, monkeypatch, vgg_file):
    monkeypatch.setenv("HPC_WEIGHTS", str(tmp_path))
    assert perceptual_loss("auto").describe()["model"] == "segmenter"
    (tmp_path / WEIGHTS["imagenet-vgg19"].file).write_bytes(vgg_file.read_bytes())
    assert perceptual_loss("auto").describe()["kind"] == "vgg19"
    assert perceptual_loss("imagenet-vgg19").describe()["torchvision"] is False  # another file under that name is told
    with raises(UnavailableError, remedy="hpc weights fetch imagenet-resnet50"):
        perceptual_loss("imagenet-resnet50")


@pytest.mark.slow
def test_files_of_other_things(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    with raises(InputError, problem="no backbone"):
        perceptual_loss(path)
    torch.save(VGG(16).state_dict(), path)
    with raises(InputError, problem="features.16"):
        perceptual_loss(path)
    torch.save({k: v for k, v in ResNet(18, width=8).state_dict().items() if "layer3.1" not in k}, path)
    with raises(InputError, problem="no known ResNet"):
        perceptual_loss(path)
    with raises(InputError, problem="does not exist"):
        perceptual_loss(tmp_path / "nothing.pth")
