"""Backbones are torchvision's: same names, same numbers of parameters, same strides."""

import pytest
import torch
from helpers.extensive import extensive

from humanpose_cli.networks.backbones import VGG, ResNet
from humanpose_cli.networks.decoders import AtrousPyramid, DeepLabSegmenter, RefineBlock, RefineNetSegmenter

# Published by torchvision with its ImageNet weights, and what their classifiers have of them.
PARAMETERS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160}
VGG_PARAMETERS = {16: 138_357_544, 19: 143_667_240}
CLASSIFIER = {"basic": 1000 * 512 + 1000, "bottleneck": 1000 * 2048 + 1000, "vgg": 123_642_856}


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("layers", [18, 50, *extensive(34, 101)])
def test_resnets_are_torchvisions(layers):
    with torch.device("meta"):
        network = ResNet(layers)
    assert count(network) == PARAMETERS[layers] - CLASSIFIER["basic" if layers < 50 else "bottleneck"]
    names = network.state_dict()
    for name in ("conv1.weight", "bn1.running_mean", "layer2.0.downsample.1.weight", "layer4.1.conv2.weight"):
        assert name in names
    assert names["layer2.0.conv1.weight"].shape[2] == (3 if layers < 50 else 1)


@pytest.mark.parametrize("layers", VGG_PARAMETERS)
def test_vggs_are_torchvisions(layers):
    with torch.device("meta"):
        network = VGG(layers)
    assert count(network) == VGG_PARAMETERS[layers] - CLASSIFIER["vgg"]
    last = {16: "features.28.weight", 19: "features.34.weight"}[layers]
    assert network.state_dict()[last].shape == (512, 512, 3, 3)


@pytest.mark.slow
def test_stages_have_their_strides_and_dilation_keeps_them_fine():
    image = torch.zeros(1, 3, 64, 96)
    for dilated, strides in ((0, (4, 8, 16, 32)), (1, (4, 8, 16, 16)), (2, (4, 8, 8, 8))):
        network = ResNet(18, width=8, dilated_stages=dilated)
        maps = network.maps(image)
        assert [m.shape[2:] for m in maps] == [(64 // s, 96 // s) for s in strides]
        assert tuple(m.shape[1] for m in maps) == network.channels
    assert VGG(16, dilated_blocks=2)(image).shape == (1, 512, 8, 12)
    assert VGG(16)(image).shape == (1, 512, 2, 3)


@pytest.mark.parametrize("layers", [18, 50])
def test_a_dilated_stage_sees_as_far_as_a_strided_one(layers):
    """Weights go over: at the places that both compute, the maps of the dilated network are the strided one's."""
    torch.manual_seed(0)
    strided, dilated = ResNet(layers, width=4).eval(), ResNet(layers, width=4, dilated_stages=2).eval()
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        coarse, fine = strided.maps(image)[-1], dilated.maps(image)[-1][..., ::4, ::4]
    torch.testing.assert_close(coarse, fine, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_vgg_names_its_layers():
    network = VGG(19).eval()
    image = torch.randn(1, 3, 32, 32)
    maps = network.maps(image, ("block1_conv2", "block5_conv2"))
    assert maps["block1_conv2"].shape == (1, 64, 32, 32)
    assert maps["block5_conv2"].shape == (1, 512, 2, 2)
    torch.testing.assert_close(maps["block1_conv2"], network.features[:4](image))
    torch.testing.assert_close(maps["block5_conv2"], network.features[:32](image))


def test_segmenters_give_scores_at_the_images_size():
    image = torch.randn(2, 3, 72, 64)
    small = RefineNetSegmenter(13, layers=18, width=8, widths=(32, 16, 16, 16))
    assert small(image).shape == (2, 13, 72, 64)
    assert DeepLabSegmenter(13, backbone="resnet18", width=8)(image).shape == (2, 13, 72, 64)


def test_the_refinenet_is_that_of_the_authors():
    """59,027,981 parameters by their code (model.py, `refinenet_decoder`), and its maps by hand."""
    with torch.device("meta"):
        network = RefineNetSegmenter(13)
    decoder = [p for name, p in network.named_parameters() if not name.startswith("backbone.")]
    widths, inputs, convolutions = (512, 256, 256, 256), (2048, 1024, 512, 256), 10
    expected = sum(
        sum(a * width * 9 + width for a in (channels, *[width] * convolutions))
        for channels, width in zip(inputs, widths, strict=True)
    )
    expected += sum(a * 256 * 9 + 256 for a in (256, 512, 256, 256, 256, 256)) + 256 * 13 * 9 + 13
    assert sum(p.numel() for p in decoder) == expected == 59_027_981
    assert (network.backbone.maxpool.kernel_size, network.backbone.maxpool.padding) == (2, 0)
    torch.manual_seed(0)
    block, x, coarser = RefineBlock(4, 6), torch.randn(1, 4, 8, 8), torch.randn(1, 6, 4, 4)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.2)

    def unit(layer, x):
        return 2 * x + layer.conv2(layer.conv1(x.relu()).relu())

    fine = block.fuse[0](unit(block.adapt[1], unit(block.adapt[0], x)))
    y = (fine + torch.nn.functional.interpolate(block.fuse[1](coarser), size=(8, 8), mode="bilinear")).relu()
    total, path = y, y
    for layer in block.pooling.convs:
        path = torch.nn.functional.max_pool2d(layer(path), 5, 1, 2)
        total = total + path
    torch.testing.assert_close(block(x, coarser), unit(block.output, total))


def test_every_parameter_of_a_segmenter_learns():
    torch.manual_seed(0)
    network = RefineNetSegmenter(5, layers=18, width=8, widths=(16, 16, 16, 16))
    for parameter in network.decoder.parameters():  # the authors' first weights are too small for this
        torch.nn.init.normal_(parameter, std=0.05)
    network(torch.randn(2, 3, 64, 64)).square().mean().backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_the_pyramid_adds_its_levels():
    x = torch.randn(1, 3, 9, 9)
    for hidden in (0, 4):
        pyramid = AtrousPyramid(3, 2, hidden_channels=hidden, dilations=(1, 2)).eval()
        torch.testing.assert_close(pyramid(x), pyramid.convs[0](x) + pyramid.convs[1](x))


@pytest.mark.slow
def test_a_vggs_pyramid_has_fc6_fc7_and_fc8_in_every_level():
    head = DeepLabSegmenter(13, backbone="vgg16").head
    assert [branch[0].dilation[0] for branch in head.convs] == [6, 12, 18, 24]
    for branch in head.convs:
        layers = [layer for layer in branch if isinstance(layer, torch.nn.Conv2d)]
        shapes = [(layer.in_channels, layer.out_channels, layer.kernel_size[0]) for layer in layers]
        assert shapes == [(512, 1024, 3), (1024, 1024, 1), (1024, 13, 1)]
        assert [layer.p for layer in branch if isinstance(layer, torch.nn.Dropout)] == [0.5, 0.5]
