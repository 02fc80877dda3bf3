"""Colours that the part warp moves past the networks, and silhouettes of the person to repose."""

from dataclasses import replace

import pytest
import torch
from helpers.warp3d_poses import MINI, generator, hand_raised, images, standing
from torch import nn

from humanpose_cli.body.warping_parts import warping_parts
from humanpose_cli.engine.warping.op import warp_parts
from humanpose_cli.lab.recipes.warp3d.discriminator import Discriminator, initialise
from humanpose_cli.models.warp3d.config import PRESETS
from humanpose_cli.models.warp3d.layers import CarriedColours, DecoderBottleneck


def test_colours_move_as_features_do_at_a_separate_stride():
    """As in a volume of that stride; and there a volume of colours is warped under masks that are not widened."""
    coarse = generator(replace(MINI, size=64, stride=4, decoder_widths=(16, 16, 16), decoder_blocks=(1, 1, 1)))
    coarse.config = replace(coarse.config, colour_stride=2)
    image, source, target = images(2, 64), standing(64, 2), hand_raised(64, 2)
    parts = warping_parts(source, target)
    found = coarse.warp_colours(image, parts.in_voxels(coarse.config.voxel_size))
    pooled = nn.functional.avg_pool2d(image / 2 + 0.5, 2)
    volume = torch.cat((pooled, torch.ones(2, 1, 32, 32)), 1)[:, :, None].expand(-1, -1, MINI.depth, -1, -1)
    fine = replace(MINI, size=64)
    arguments = parts.capsules, parts.part_of_capsule, parts.in_voxels(fine.voxel_size).target_to_source
    expected = warp_parts(volume, *arguments, softness=fine.softness, voxel_size=fine.voxel_size)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert 0.02 < (found[:, 3] > 0).float().mean() < 0.6


def test_the_front_of_moved_colours_is_visible():
    """Of two covered slices the nearer one by its features; their mean, by cover, before anything is learned."""
    carried = CarriedColours(3, 4, 5, 1)
    moved = torch.zeros(1, 4, 3, 4, 4)
    moved[:, :, 1] = torch.tensor([0.8, 0.4, 0.0, 1.0])[:, None, None]
    moved[:, :, 2] = 0.5 * torch.tensor([0.2, 0.4, 1.0, 1.0])[:, None, None]
    features = torch.zeros(1, 3, 3, 2, 2)
    features[:, 1, 2] = 1
    colours, covered = carried.front_view(moved, features)
    mean = (torch.tensor([0.8, 0.4, 0.0]) + 0.5 * torch.tensor([0.2, 0.4, 1.0])) / 1.5 * 2 - 1
    torch.testing.assert_close(colours, mean[:, None, None].expand(1, 3, 4, 4))
    torch.testing.assert_close(covered, torch.ones(1, 1, 4, 4))
    nn.init.constant_(carried.front, 50)
    nearest = torch.tensor([0.2, 0.4, 1.0])[:, None, None].expand(1, 3, 4, 4) * 2 - 1
    torch.testing.assert_close(carried.front_view(moved, features)[0], nearest)
    features[:, 1, 0] = 2  # nobody is there
    torch.testing.assert_close(carried.front_view(moved, features)[0], nearest)
    assert torch.equal(carried.front_view(torch.zeros_like(moved), features)[1], torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_decoder_sees_moved_colours_at_half_the_resolution(stride):
    """All pixels of a finer view one behind the other, a coarser one as it is in between."""
    carried = CarriedColours(3, 16 if stride == 1 else 4, 5, stride)
    x, view = (
        torch.rand(2, carried.get_submodule("seen").out_channels, 8, 8),
        torch.rand(2, 4, 16 // stride, 16 // stride),
    )
    colours, cover = view[:, :3] * 2 - 1, view[:, 3:]
    assert torch.equal(carried.add_view(x, (colours, cover)), x)
    nn.init.dirac_(carried.get_submodule("seen").weight)
    difference = (carried.add_view(x, (colours, cover)) - x).detach()
    premultiplied = torch.cat((colours * cover, cover), 1)
    if stride == 1:
        expected = premultiplied.view(2, 4, 8, 2, 8, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 16, 8, 8)
    else:
        expected = nn.functional.interpolate(premultiplied, size=(8, 8), mode="bilinear")
    torch.testing.assert_close(difference, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("stride", "widths", "blocks"), [(2, (24, 16), (3, 1)), (4, (32, 24, 16), (2, 3, 1))])
def test_the_view_joins_the_decoder_behind_its_first_block_of_half_the_resolution(stride, widths, blocks):
    config = replace(MINI, size=64, stride=stride, decoder_widths=widths, decoder_blocks=blocks, colour_stride=1)
    model, target = generator(config), hand_raised(64)
    assert model.decoder.carried.get_submodule("seen").out_channels == widths[-2]
    assert model.decoder.halfway == (1 if stride == 2 else 3)
    shapes, joined = [], model.decoder.carried.add_view
    model.decoder.carried.add_view = lambda x, view: shapes.append(x.shape) or joined(x, view)
    with torch.no_grad():
        before = model(images(1, 64), standing(64), target).foreground
        nn.init.normal_(model.decoder.carried.get_submodule("seen").weight)
        after = model(images(1, 64), standing(64), target).foreground
    assert shapes == [(1, widths[-2], 32, 32)] * 2
    assert (before - after).abs().max() > 0.01


def test_moved_colours_are_taken_over_where_the_person_is():
    plain, model = generator(), generator(replace(MINI, colour_stride=1))
    same = {name: value for name, value in model.state_dict().items() if not name.startswith("decoder.carried.")}
    assert list(same) == list(plain.state_dict())
    plain.load_state_dict(same)
    colour = torch.tensor([0.5, -0.25, -0.75])[:, None, None].expand(1, 3, 32, 32).contiguous()
    pose, parts = standing(32), warping_parts(standing(32), standing(32)).in_voxels(MINI.voxel_size)
    covered = model.warp_colours(colour, parts)[:, 3:].amax(2)
    with torch.no_grad():
        generated = plain(colour, pose, pose).foreground
        for bias, share in ((-100.0, 0.0), (0.0, 0.5), (100.0, 1.0)):
            nn.init.constant_(model.decoder.carried.taken.bias, bias)
            found = model(colour, pose, pose).foreground
            torch.testing.assert_close(found, generated + share * covered * (colour - generated), atol=1e-4, rtol=1e-4)
    assert (covered > 0.5).float().mean() > 0.02


def half_a_silhouette(size=32):
    silhouette = torch.zeros(1, 1, size, size)
    silhouette[..., : size // 2] = 1
    return silhouette


def test_the_background_is_hidden_a_pixel_further_than_a_silhouette():
    model = generator(replace(MINI, short_cuts=True))
    pose, silhouette = standing(32, 2), half_a_silhouette().repeat(2, 1, 1, 1)
    silhouette[:, :, 10, 20] = 0.2  # mostly background
    silhouette[1] = torch.nan
    with torch.no_grad():
        background = model(images(2), pose, pose, silhouette=silhouette).background_mask
        without = model(images(2), pose, pose).background_mask
    expected = torch.ones(32, 32)
    expected[:, :17] = 0
    assert torch.equal(background[0, 0], expected)
    assert torch.equal(background[1], without[1])


def test_a_silhouette_cuts_moved_colours_out_under_masks_as_wide_as_the_features():
    model = generator(replace(MINI, short_cuts=True, colour_stride=1))
    image, pose = images(2), standing(32, 2)
    parts = warping_parts(pose, pose).in_voxels(MINI.voxel_size)
    silhouette = half_a_silhouette().repeat(2, 1, 1, 1)
    silhouette[1] = torch.nan
    found = model.warp_colours(image, parts, silhouette)
    narrow = model.warp_colours(image, parts)
    torch.testing.assert_close(found[1], narrow[1])
    parts.capsules[..., 6] += 2  # pixels: a voxel of the features
    expected = model.warp_colours(image, parts)[0] * silhouette[0, :, None]
    torch.testing.assert_close(found[0], expected)
    assert (expected[3] > 0).sum() > 1.2 * (narrow[0, 3] * silhouette[0] > 0).sum()


def test_nothing_beside_a_silhouette_mixes_with_coarser_colours():
    """An odd edge: half of a voxel's pixels are the person's, and only their colours are moved."""
    model = generator(replace(MINI, short_cuts=True, colour_stride=2))
    image, pose, silhouette = images(), standing(32), half_a_silhouette()
    silhouette[..., 16] = 1
    parts = warping_parts(pose, pose).in_voxels(MINI.voxel_size)
    repainted = torch.where(silhouette > 0, image, -image)
    moved = [model.warp_colours(pixels, parts, silhouette) for pixels in (image, repainted)]
    torch.testing.assert_close(*moved)
    assert moved[0][0, 3, :, :, 8].amax() == pytest.approx(0.5)


@pytest.mark.parametrize("nothing", [torch.nan, 0.0, 0.1])
def test_rows_with_a_missing_or_empty_silhouette_are_drawn_as_without(nothing):
    model = generator(replace(MINI, short_cuts=True, colour_stride=2))
    image, source, target = images(2), standing(32, 2), hand_raised(32, 2)
    silhouette = torch.cat((torch.full((1, 1, 32, 32), nothing), half_a_silhouette()))
    with torch.no_grad():
        without, with_silhouette = model(image, source, target), model(image, source, target, silhouette=silhouette)
    torch.testing.assert_close(with_silhouette.image[0], without.image[0])
    assert (with_silhouette.image[1] - without.image[1]).abs().max() > 0.01
    assert with_silhouette.image.isfinite().all()


def test_the_discriminators_blocks_are_those_of_the_authors():
    """Short cuts between equal channels have no weights (`bottleneck` of adapted_resnet_v2.py)."""
    preset = PRESETS["paper"]
    with torch.device("meta"):
        blocks = Discriminator(preset.discriminator, preset.generator).blocks
    expected, channels = 0, 64
    for width, count in ((256, 3), (512, 4), (1024, 6)):
        for _ in range(count):
            inner = width // 4
            expected += 2 * (channels + inner + inner) + channels * inner + 9 * inner * inner + inner * width + width
            expected += (channels * width + width) * (channels != width)
            channels = width
    assert sum(p.numel() for p in blocks.parameters()) == expected == 8_539_008
    block, x = DecoderBottleneck(8, 8, True, stride=2, subsampled=True), torch.randn(1, 8, 6, 6)
    nn.init.zeros_(block.conv3.weight)
    nn.init.zeros_(block.conv3.bias)
    torch.testing.assert_close(block(x), x[..., ::2, ::2])


def test_details_of_the_authors_activations():
    """D2D: a ReLU before the resolution doubles."""
    torch.manual_seed(0)
    block, x = (
        DecoderBottleneck(8, 12, True, upsample=True, inner_norms=False, relu_first=True),
        torch.randn(1, 8, 4, 4),
    )

    def doubled(x):
        return nn.functional.interpolate(x, scale_factor=2, mode="bilinear")

    ready = block.norm1(x).relu()
    expected = doubled(block.short_cut(ready)) + block.conv3(block.conv2(doubled(block.conv1(ready).relu())).relu())
    torch.testing.assert_close(block(x), expected)


def test_first_weights_are_those_of_the_authors_layers():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(64, 64, 3), nn.Conv3d(16, 32, 3))
    initialise(network, network[0])
    he, glorot = (layer.weight.detach() for layer in network)
    assert float(he.std()) == pytest.approx((2 / 576) ** 0.5, rel=0.02)
    assert float(he.abs().max()) <= 2 * (2.6 / 576) ** 0.5 + 1e-6
    bound = (6 / (27 * 48)) ** 0.5
    assert 0.99 * bound < float(glorot.abs().max()) <= bound
    assert not any(layer.bias.any() for layer in network)
