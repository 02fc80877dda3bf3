"""What warp3d asks of a GPU: how many operations a step dispatches, and that none makes the host wait."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from helpers.dispatched import Dispatched
from helpers.posed_people import PosedPeople
from helpers.warp3d_poses import MINI, hand_raised, images, standing

from humanpose_cli.body.warping_parts import WarpingParts
from humanpose_cli.engine.heatmaps import launches as heatmap_launches
from humanpose_cli.engine.warping import launches
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.loader import LoaderOptions
from humanpose_cli.lab.recipes.warp3d.pairs import collated_pairs
from humanpose_cli.lab.recipes.warp3d.recipe import Warp3dRecipe, Warp3dTraining
from humanpose_cli.models.warp3d.config import DiscriminatorConfig
from humanpose_cli.models.warp3d.generator import Generator, generator_parts


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Zeros from torch, where the CPU has its own way."""
    monkeypatch.setattr(launches, "zeros", lambda shape, dtype, device: torch.zeros(shape, dtype=dtype, device=device))
    volume = {"memory_format": torch.channels_last_3d}
    for module in (launches, heatmap_launches):
        monkeypatch.setattr(module, "zero_volume", lambda shape, dtype, device: torch.empty(shape, **volume).zero_())


"""As many layers as the paper's, few numbers in each."""


def made(config, batch=1):
    source, target = standing(config.size, batch), hand_raised(config.size, batch)
    examples = [{"source_joints": a.numpy(), "target_joints": b.numpy()} for a, b in zip(source, target, strict=True)]
    collated = collated_pairs(examples, config=config)
    return source, target, WarpingParts(collated["capsules"], collated["target_to_source"])


@pytest.mark.parametrize("changes", [{}, {"warping": "2d"}])
def test_parts_made_by_the_loader_are_those_of_the_generator(changes):
    config = replace(MINI, **changes)
    source, target, parts = made(config, 2)
    torch.manual_seed(0)
    network = Generator(config).eval()
    with torch.no_grad():
        without_parts, with_parts = network(images(2), source, target), network(images(2), source, target, parts=parts)
    assert torch.equal(without_parts.image, with_parts.image)
    expected = generator_parts(config, source, target)
    assert torch.equal(parts.target_to_source, expected.target_to_source)


@pytest.mark.extensive
@pytest.mark.parametrize("after", [0, 10])
def test_no_step_makes_the_host_wait(tmp_path, as_on_a_gpu, after):
    assert not build_cache(PosedPeople(), tmp_path).failures
    options = Warp3dTraining(
        MINI,
        DiscriminatorConfig(4, (8, 8), (1, 1)),
        perceptual="segmenter",
        mask_weight=0.2,
        adversarial_after=after,
    )
    recipe = Warp3dRecipe(tmp_path, options)
    batch = next(iter(recipe.batches(LoaderOptions(batch_size=2))))
    operations = Dispatched()
    for mode in (nullcontext(), operations):  # the first step checks constants
        with mode:
            for phase in ("generator", "discriminator"):
                losses = recipe.losses(phase, batch)
                if losses is not None:
                    losses["loss"].backward()
    assert operations.kernels > 1000
    assert operations.waits == {}
