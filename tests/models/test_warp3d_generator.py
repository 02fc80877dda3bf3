"""The networks of warp3d: what each piece does, and that only the switched pieces change."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.warp3d_poses import MINI, generator, hand_raised, images, standing
from scipy import ndimage
from torch import nn

from humanpose_cli.body.parts import WARPING10
from humanpose_cli.body.warping_parts import warping_parts
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.warping.op import capsule_masks, projected_masks
from humanpose_cli.lab.recipes.warp3d.discriminator import Discriminator
from humanpose_cli.models.warp3d.config import PRESETS, DiscriminatorConfig, GeneratorConfig
from humanpose_cli.models.warp3d.generator import BackgroundInpainter, Generator, generator_parts
from humanpose_cli.models.warp3d.layers import (
    Conv3d,
    DecoderBottleneck,
    channels_last,
    group_norm,
    to_plane,
    to_volume,
)

# Blocks


@pytest.mark.parametrize(("channels", "depth"), [(3, 8), (16, 16), (5, 7)])
def test_one_small_volume_is_convolved_as_two_halves(channels, depth):
    torch.manual_seed(0)
    layer = Conv3d(channels, 6)
    x = torch.randn(1, channels, depth, 9, 10).contiguous(memory_format=torch.channels_last_3d)
    x.requires_grad_()
    expected = nn.functional.conv3d(x, layer.weight, layer.bias, padding=1)
    found = layer(x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last_3d) or depth % 2
    weights = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((found * weights).sum(), (x, layer.weight, layer.bias)),
        torch.autograd.grad((expected * weights).sum(), (x, layer.weight, layer.bias)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_channels_become_depth_and_back():
    maps = torch.arange(2 * 12 * 3 * 5).float().view(2, 12, 3, 5).contiguous(memory_format=torch.channels_last)
    volume = to_volume(maps, 4)
    assert volume.shape == (2, 3, 4, 3, 5)
    assert volume.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(volume[:, 1, 2], maps[:, 2 * 3 + 1])
    torch.testing.assert_close(to_plane(volume), maps)


@pytest.mark.slow
def test_gradients_of_depth_and_channels_come_back_in_the_layout_of_the_convolutions():
    maps = torch.randn(2, 12, 3, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    volume = torch.randn(2, 3, 4, 3, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last_3d)
    volume.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: to_volume(x, 4), maps)
    assert torch.autograd.gradcheck(to_plane, volume)
    (to_maps,) = torch.autograd.grad(to_volume(maps, 4).mul(2).sum(), maps)
    (back,) = torch.autograd.grad(to_plane(volume).mul(2).sum(), volume)
    assert to_maps.is_contiguous(memory_format=torch.channels_last)
    assert back.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("layout_of_gradient", [torch.channels_last_3d, torch.contiguous_format])
def test_gradients_of_group_norm_in_bfloat16_are_those_of_float32(weights, layout, layout_of_gradient):
    torch.manual_seed(0)
    layer = group_norm(16, False)
    nn.init.normal_(layer.weight)
    layer.to(weights)
    x = torch.randn(3, 16, 4, 5, 6).bfloat16().contiguous(memory_format=layout).requires_grad_()
    down = torch.randn(3, 16, 4, 5, 6).bfloat16().contiguous(memory_format=layout_of_gradient)
    found = torch.autograd.grad((layer(x) * down).sum(), (x, layer.weight, layer.bias))
    exact = x.detach().double().requires_grad_()
    weight, bias = (p.detach().double().requires_grad_() for p in (layer.weight, layer.bias))
    expected = torch.autograd.grad(
        (nn.functional.group_norm(exact, 4, weight, bias) * down.double()).sum(), (exact, weight, bias)
    )
    assert [value.dtype for value in found] == [torch.bfloat16, weights, weights]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.double(), b, atol=0.01 * float(b.abs().max()))
    with torch.no_grad():
        plain = layer(x)
    torch.testing.assert_close(layer(x).detach(), plain, atol=0, rtol=0)


def test_groups_have_four_channels_or_more():
    assert [group_norm(c, False).num_groups for c in (4, 16, 24, 64, 96, 256, 1024)] == [1, 4, 4, 16, 16, 32, 32]
    assert [group_norm(c, True).num_groups for c in (4, 16, 32, 64, 96, 1024)] == [1, 1, 32, 32, 32, 32]


def test_the_papers_norms_have_32_groups_and_none_is_behind_its_volume():
    sizes = {"encoder_blocks": (1, 1), "decoder_blocks": (1, 1, 1), "units": (1, 1, 1)}
    config = replace(PRESETS["paper"].generator, **sizes)
    with torch.device("meta"):
        model = nn.ModuleList([Generator(config), Discriminator(PRESETS["paper"].discriminator, config)])
    norms = [module for module in model.modules() if isinstance(module, nn.GroupNorm)]
    assert {norm.num_groups for norm in norms} == {32}
    assert {norm.num_channels for norm in norms} == {32, 64, 96, 128, 256, 512, 1024, 3072}
    assert isinstance(model[0].lifting.norm3d, nn.Identity)


def test_a_bottleneck_doubles_the_resolution_of_both_its_ways():
    torch.manual_seed(0)
    block = DecoderBottleneck(8, 16, False, upsample=True)
    x = torch.randn(2, 8, 6, 6)
    assert block(x).shape == (2, 16, 12, 12)
    nn.init.zeros_(block.conv3.weight)
    nn.init.zeros_(block.conv3.bias)
    beside = block.short_cut(nn.functional.interpolate(torch.relu(block.norm1(x)), scale_factor=2, mode="bilinear"))
    torch.testing.assert_close(block(x), beside, atol=1e-5, rtol=1e-5)


# The warp


def test_the_same_pose_leaves_masked_features_where_they_are():
    model, pose = generator(), standing(32)
    volume = torch.rand(1, 4, *MINI.grid)
    parts = warping_parts(pose, pose).in_voxels(MINI.voxel_size)
    widths = parts.capsules[..., 6:] + torch.tensor(MINI.voxel_size)
    masks = capsule_masks(
        torch.cat((parts.capsules[..., :6], widths), -1),
        parts.part_of_capsule,
        len(WARPING10.names),
        MINI.grid,
        softness=MINI.softness,
        voxel_size=MINI.voxel_size,
    )
    expected = volume * masks.amax(1, keepdim=True)
    assert 0.05 < (expected > 0).float().mean() < 0.6
    torch.testing.assert_close(model.warp(volume, parts), expected, atol=2e-4, rtol=1e-3)


def test_the_left_hand_stays_the_left_hand():
    config = replace(MINI, size=64, depth=16, heatmap_sigma=3.0)
    model = generator(config)
    source, target = standing(64), hand_raised(64)
    wrist = REPOSING19.index("left_wrist")
    x, y, z = (source[0, wrist] / torch.tensor(config.voxel_size)).long().tolist()
    volume = torch.zeros(1, 4, *config.grid)
    volume[0, 1, z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = 1
    warped = model.warp(volume, warping_parts(source, target).in_voxels(config.voxel_size))[0, 1]
    d, h, w = np.unravel_index(int(warped.argmax()), warped.shape)
    found = (np.array([w, h, d]) + 0.5) * config.voxel_size
    np.testing.assert_allclose(found, target[0, wrist].numpy(), atol=5)
    assert not model.warp(volume, warping_parts(source, target).in_voxels(config.voxel_size))[0, 0].any()


def test_the_part_warp_stays_in_single_precision():
    model, pose = generator(), standing(32)
    calls = []
    model.warp, warp = lambda v, p: calls.append(warp(v, p)) or calls[-1], model.warp
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        made = model(images(), pose, hand_raised(32))
    assert calls[0].dtype == torch.float32
    assert made.image.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(made.background_mask, model(images(), pose, hand_raised(32)).background_mask)


# The whole


def test_shapes_ranges_and_blending():
    model = generator()
    with torch.no_grad():
        made = model(images(2), standing(32, 2), hand_raised(32, 2))
    assert made.image.shape == made.foreground.shape == made.background.shape == (2, 3, 32, 32)
    assert made.mask.shape == made.background_mask.shape == (2, 1, 32, 32)
    assert made.heatmaps.shape == (2, 19, *MINI.grid)
    assert 0 <= made.mask.min() <= made.mask.max() <= 1
    blended = made.mask * made.foreground + (1 - made.mask) * made.background
    torch.testing.assert_close(made.image, blended)


@pytest.mark.parametrize("changes", [{}, {"short_cuts": True, "colour_stride": 1, "detail": True}])
def test_gradients_reach_every_parameter(changes):
    model = generator(replace(MINI, **changes)).train()
    discriminator = Discriminator(DiscriminatorConfig(8, (8, 16), (1, 1)), MINI)
    image = images(2)
    made = model(image, standing(32, 2), hand_raised(32, 2))
    logits = discriminator(image, made.image, made.heatmaps)
    assert logits.shape == (2, 1, 2, 2)
    (nn.functional.softplus(-logits).mean() + made.image.square().mean()).backward()
    for name, parameter in [*model.named_parameters(), *discriminator.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_images_of_a_batch_do_not_know_of_each_other():
    model = generator()
    image, source, target = images(3), standing(32, 3), standing(32, 3)
    target[1:] = hand_raised(32)
    with torch.no_grad():
        together = model(image, source, target).image
        alone = torch.cat([model(image[i : i + 1], source[i : i + 1], target[i : i + 1]).image for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_discriminator_scores_every_image_by_itself():
    torch.manual_seed(0)
    discriminator = Discriminator(DiscriminatorConfig(8, (8, 16), (1, 1)), MINI).eval()
    image, heatmaps = images(3), torch.rand(3, 19, *MINI.grid)
    with torch.no_grad():
        together = discriminator(image, image.flip(0), heatmaps)
        alone = discriminator(image[1:2], image[1:2], heatmaps[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)
    assert together.flatten(1).std(0).min() > 0


def test_missing_joints_leave_an_image():
    source, target = standing(32), standing(32)
    source[:, REPOSING19.index("left_wrist")] = float("nan")
    target[:, REPOSING19.index("nose")] = float("nan")
    with torch.no_grad():
        assert generator()(images(), source, target).image.isfinite().all()


def test_the_background_sees_nothing_of_the_person():
    model, pose = generator(), standing(32)
    image = images()
    with torch.no_grad():
        made = model(image, pose, hand_raised(32))
        repainted = torch.where(made.background_mask > 0, image, -image)
        torch.testing.assert_close(model(repainted, pose, hand_raised(32)).background, made.background)
    assert made.background_mask[0, 0, 16, 16] == 0  # the pelvis
    assert made.background_mask[0, 0, 2, 2] == 1


def test_the_background_is_hidden_a_voxel_further_than_the_capsules():
    pose = standing(32)
    parts = generator_parts(MINI, pose, pose)
    flat = parts.capsules[..., [0, 1, 3, 4, 6]]
    with torch.no_grad():
        hidden = 1 - generator()(images(), pose, pose).background_mask[0, 0]
    covered = projected_masks(flat, parts.part_of_capsule, len(WARPING10.names), (32, 32)).amax(1)[0]
    away = ndimage.distance_transform_edt(1 - (covered > 0).numpy())
    assert hidden.numpy()[away <= 1.5].all()
    assert not hidden.numpy()[away > 2.5].any()
    assert PRESETS["paper"].generator.voxel_size == (4, 4, 8)


def test_convolutions_of_the_second_stage_are_dilated_where_the_resolution_stays():
    def dilations(config):
        return [block.conv2.dilation[0] for block in generator(config).lifting.stages]

    blocks = {"encoder_widths": (8, 8, 16), "encoder_blocks": (1, 2, 1)}
    assert dilations(replace(MINI, **blocks)) == [1, 2, 2, 2]
    coarse = replace(MINI, **blocks, stride=8, decoder_widths=(16,) * 4, decoder_blocks=(1,) * 4)
    assert dilations(coarse) == [1, 2, 2, 1]


def test_gradients_of_dilated_convolutions_are_finite_in_mixed_precision():
    """At the sizes of `small`, where torch's own in bfloat16 are not."""
    torch.manual_seed(0)
    block = channels_last(DecoderBottleneck(160, 160, False, dilation=2))
    x = torch.randn(4, 160, 32, 32).contiguous(memory_format=torch.channels_last)
    exact = torch.autograd.grad(block(x).square().mean(), block.conv2.weight)[0]
    with torch.autocast("cpu", torch.bfloat16):
        loss = block(x).float().square().mean()
    found = torch.autograd.grad(loss, block.conv2.weight)[0]
    assert (found - exact).norm() < 0.03 * exact.norm()


def test_the_discriminator_scores_patches_of_stride_32():
    torch.manual_seed(0)
    small = DiscriminatorConfig(8, (8, 8, 8), (2, 1, 1))
    discriminator = Discriminator(small, replace(MINI, size=128))
    assert discriminator.last.kernel_size == (3, 3)
    assert [block.conv2.stride[0] for block in discriminator.blocks] == [1, 2, 2, 2]
    logits = discriminator(images(1, 128), images(1, 128, 1), torch.rand(1, 19, 8, 64, 64))
    assert logits.shape == (1, 1, 4, 4)


def test_the_inpainter_fills_small_and_complete_holes():
    torch.manual_seed(0)
    inpainter = BackgroundInpainter(MINI)
    mask = torch.ones(1, 1, 32, 32)
    mask[..., 8:20, 8:20] = 0
    assert inpainter(images(), mask)[..., 8:20, 8:20].abs().min() > 0
    assert inpainter(images(), torch.zeros(1, 1, 32, 32)).isfinite().all()


def test_labelled_pixels_may_stay_unchanged():
    torch.manual_seed(0)
    inpainter, image = BackgroundInpainter(replace(MINI, short_cuts=True)), images()
    mask = torch.ones(1, 1, 32, 32)
    mask[..., 8:20, 8:20] = 0
    nn.init.constant_(inpainter.decoder[-1].bias[3:], 100.0)
    found = inpainter(image, mask)
    torch.testing.assert_close(found[..., 20:, :], image[..., 20:, :])
    inside = found[..., 8:20, 8:20]
    torch.testing.assert_close(inpainter(torch.where(mask > 0, image, -image), mask)[..., 8:20, 8:20], inside)


def test_the_authors_inpainter_takes_pixels_from_0_to_1_and_doubles_features_bilinearly():
    """Features times their masks are doubled, and the masks, whose edge is then between 0 and 1; the noise is a fourth
    channel, and a LeakyReLU of 0.2 stands before the hyperbolic tangent.
    """
    torch.manual_seed(0)
    inpainter = BackgroundInpainter(replace(MINI, size=32, background_widths=(8,), authors_details=True))
    pixels = torch.cat((images(), torch.zeros(1, 1, 32, 32)), 1)
    labelled = torch.zeros(1, 1, 32, 32)
    labelled[..., :16] = 1
    unit = pixels / 2 + 0.5
    coarse, mask = inpainter.encoder[0](unit, labelled)
    bilinear = {"scale_factor": 2, "mode": "bilinear", "align_corners": False}
    doubled, cover = (nn.functional.interpolate(t, **bilinear) for t in (torch.relu(coarse) * mask, mask))
    assert cover[0, 0, 16].unique().tolist() == [0, 0.25, 0.75, 1]
    expected, _ = inpainter.decoder[0](torch.cat((doubled, unit), 1), torch.cat((cover, labelled), 1))
    assert (expected < -0.01).any()
    torch.testing.assert_close(inpainter(pixels, labelled), torch.tanh(nn.functional.leaky_relu(expected, 0.2)))


def test_noise_is_a_channel_of_the_inpainter():
    """Drawn anew in training; else fixed, alike for all images, so that no result depends on the batch."""
    model, pose = generator(replace(MINI, authors_details=True)), standing(32, 2)
    assert model.lifting.stem.in_channels == 3
    assert model.inpainter.encoder[0].groups == (4,)
    with torch.no_grad():
        first, second = model(images(2), pose, pose), model(images(2), pose, pose)
        alone = model(images(2)[1:], pose[1:], pose[1:])
        assert torch.equal(first.image, second.image)
        torch.testing.assert_close(alone.image, first.image[1:], atol=1e-5, rtol=1e-5)
        model.train()
        draws = [model(images(2), pose, pose) for _ in range(2)]
        assert (draws[0].background - draws[1].background).abs().max() > 1e-4
        assert torch.equal(draws[0].foreground, draws[1].foreground)
        noise = model._noise(torch.zeros(4, 3, 64, 64))
    assert noise.shape == (4, 1, 64, 64)
    assert (noise.mean().abs() < 0.05) & ((noise.std() - 1).abs() < 0.05)


def test_rows_of_a_volume_are_normalised_each_by_itself():
    """Over width and depth; in the 3-D networks alone."""
    model = generator(replace(MINI, authors_details=True))
    for unit in (model.lifting.units[0], model.pose.units[0], model.decoder.units[0]):
        channels = unit.norm1.num_channels
        volume = torch.randn(2, channels, 8, 16, 16).contiguous(memory_format=torch.channels_last_3d)
        volume[:, :, :, 5] *= 100
        row = unit.norm1(volume)[:, :, :, 5].detach()
        torch.testing.assert_close(row, nn.functional.group_norm(volume[:, :, :, 5], unit.norm1.num_groups))
        assert row.std() == pytest.approx(1, abs=0.02)
    flat = model.decoder.blocks[0].norm1
    plane = torch.randn(2, flat.num_channels, 16, 16)
    torch.testing.assert_close(flat(plane), nn.functional.group_norm(plane, flat.num_groups))


def test_the_decoders_bottlenecks_normalise_before_their_convolutions_alone():
    model = generator(replace(MINI, authors_details=True))
    block = model.decoder.blocks[0]
    x = torch.randn(1, block.conv1.in_channels, 16, 16)
    with torch.no_grad():
        nn.init.normal_(block.conv1.bias)
        inner = torch.relu(block.conv2(torch.relu(block.conv1(torch.relu(block.norm1(x))))))
        short_cut = x if block.short_cut is None else block.short_cut(torch.relu(block.norm1(x)))
        torch.testing.assert_close(block(x), short_cut + block.conv3(inner))
    assert isinstance(model.lifting.stages[0].norm2, nn.GroupNorm)


def test_carried_colours_reach_the_volume():
    model = generator(replace(MINI, short_cuts=True))
    image = images()
    nn.init.zeros_(model.lifting.norm3d.weight)
    volume = model.lifting(image)
    colours = nn.functional.avg_pool2d(image / 2 + 0.5, 2)[:, :, None].expand(-1, -1, MINI.depth, -1, -1)
    torch.testing.assert_close(volume[:, :3], colours)
    assert not volume[:, 3:].any()


# The ablation


@pytest.mark.parametrize("changes", [{"warping": "2d"}, {"pose": "2d"}, {"warping": "2d", "pose": "2d"}])
def test_switches_change_no_weights(changes):
    original, changed = generator(), generator(replace(MINI, **changes))
    for (name, a), (other, b) in zip(original.state_dict().items(), changed.state_dict().items(), strict=True):
        assert name == other
        torch.testing.assert_close(a, b)


def nearer(pose, joint, pixels):
    moved = pose.clone()
    moved[:, REPOSING19.index(joint), 2] -= pixels
    return moved


@pytest.mark.parametrize("warping", ["3d", "2d"])
@pytest.mark.parametrize("pose", ["3d", "2d"])
def test_depth_reaches_what_is_three_dimensional_only(warping, pose):
    model = generator(replace(MINI, warping=warping, pose=pose))
    target = standing(32)
    moved = nearer(nearer(target, "left_wrist", 8.0), "left_elbow", 4.0)
    calls = []
    model.warp, warp = lambda v, p: calls.append(warp(v, p)) or calls[-1], model.warp
    with torch.no_grad():
        first, second = (model(images(), standing(32), t) for t in (target, moved))
    assert torch.equal(first.heatmaps, second.heatmaps) == (pose == "2d")
    assert torch.equal(calls[0], calls[1]) == (warping == "2d")
    assert torch.equal(first.image, second.image) == (pose == warping == "2d")
    torch.testing.assert_close(first.background, second.background)


def test_planar_masks_reach_through_all_depths():
    """A feature in front of the chest, farther from it than the torso is thick, belongs to it in the 2-D warp only."""
    pose = standing(32)
    volume = torch.zeros(1, 4, *MINI.grid)
    volume[:, :, 0, 6, 8] = 1
    for warping, there in (("3d", False), ("2d", True)):
        config = replace(MINI, warping=warping)
        parts = warping_parts(pose, pose, planar=warping == "2d").in_voxels(MINI.voxel_size)
        warped = generator(config).warp(volume, parts)
        assert (warped[0, 0, 0, 6, 8] > 0.5) == there
        assert warped[:, :, 1:].max() < 0.1


def test_features_go_from_the_source_to_the_target():
    model, source, target = generator(), standing(32), hand_raised(32)
    calls = []
    model.warp, warp = lambda v, p: calls.append(p) or warp(v, p), model.warp
    with torch.no_grad():
        model(images(), source, target)
    expected = generator_parts(MINI, source, target)
    torch.testing.assert_close(calls[0].target_to_source, expected.target_to_source)
    torch.testing.assert_close(calls[0].capsules, expected.capsules)


# Configurations


def test_presets_are_of_the_size_that_they_say():
    millions = {}
    for name, preset in PRESETS.items():
        with torch.device("meta"):
            model = Generator(preset.generator)
        millions[name] = sum(p.numel() for p in model.parameters()) / 1e6
    assert millions["paper"] == pytest.approx(46.6, abs=0.1)
    # Shipped in half precision: two bytes each.
    assert 2 * millions["medium"] < 8 * 1.048576
    assert 2 * millions["small"] < 8 * 1.048576
    paper = PRESETS["paper"].generator
    assert (paper.grid, paper.channels, paper.voxel_size) == ((32, 64, 64), 64, (4.0, 4.0, 8.0))
    assert PRESETS["tiny"].generator.channels == 16
    assert [PRESETS[n].generator.size for n in ("tiny", "small", "medium")] == [64, 128, 256]


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 36},
        {"stride": 3},
        {"decoder_widths": (16,), "decoder_blocks": (1,)},
        {"encoder_blocks": (1,)},
        {"channels": 0},
        {"encoder_widths": (8, 6)},
        {"heatmap_sigma": 0.0},
        {"warping": "4d"},
        {"colour_stride": 3},
    ],
)
def test_what_cannot_be_built(changes):
    with raises(UsageError, subject="warp3d"):
        GeneratorConfig(**{**asdict(MINI), **changes})
