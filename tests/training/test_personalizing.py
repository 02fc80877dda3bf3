"""A network that learns one person from their picture: the input moves with its joints, the rest is learning."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from humanpose_cli.conventions import REPOSING19
from humanpose_cli.errors import UsageError
from humanpose_cli.networks.weights_file import WeightsHeader
from humanpose_cli.reposing.warp3d.generator import Generator
from humanpose_cli.reposing.warp3d.inference import MODEL, Warp3d
from humanpose_cli.training.personalizing import PersonalizeOptions, moved_input, personalized
from tests.reposing.test_warp3d_generator import MINI
from tests.reposing.warp3d_poses import standing

SIZE = 32
OPTIONS = PersonalizeOptions(steps=12, learning_rate=3e-3, perceptual="pixels")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Warp3d(Generator(replace(MINI, carry_detail=True)), WeightsHeader(MODEL))


@pytest.fixture
def person():
    """A yellow person before blue: picture, joints, mask."""
    joints = standing(SIZE)[0].numpy()
    rows, columns = np.mgrid[:SIZE, :SIZE]
    mask = (abs(columns - 16) < 5) & (rows > 4) & (rows < 29)
    picture = np.where(mask[..., None], np.uint8([230, 200, 30]), np.uint8([20, 30, 120]))
    return picture, joints, mask.astype(np.float32)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_picture_moves_with_its_joints(mirrored):
    """A bright blob at one joint lies, moved, where that joint says."""
    size, name = 64, "left_wrist"
    joints = standing(size)
    x, y, _ = joints[0, REPOSING19.index(name)].tolist()
    rows, columns = np.mgrid[:size, :size] + 0.5
    blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8).astype(np.float32)
    image = torch.from_numpy(np.broadcast_to(blob, (1, 3, size, size)).copy())
    options = PersonalizeOptions(turn=20, zoom=0.2, shift=0.1)
    for seed in range(8):
        moved, after = moved_input(image, joints, np.random.default_rng(seed), options, mirrored=mirrored)
        weights = moved[0, 0].double().numpy()
        found = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
        same = "right_wrist" if mirrored else name
        np.testing.assert_allclose(found, after[0, REPOSING19.index(same), :2].numpy(), atol=0.1)


def test_without_movement_nothing_moves_and_twice_mirrored_is_as_before():
    still = PersonalizeOptions(turn=0, zoom=0, shift=0)
    image, joints = torch.rand(1, 3, SIZE, SIZE), standing(SIZE)
    moved, after = moved_input(image, joints, np.random.default_rng(0), still, mirrored=False)
    torch.testing.assert_close(moved, image, atol=1e-5, rtol=0)
    torch.testing.assert_close(after, joints)
    once = moved_input(image, joints, np.random.default_rng(0), still, mirrored=True)
    torch.testing.assert_close(once[0], image.flip(3), atol=1e-5, rtol=0)
    twice = moved_input(*once, np.random.default_rng(0), still, mirrored=True)
    torch.testing.assert_close(twice[1], joints)


def test_it_learns_the_person_and_leaves_the_network_as_it_was(network, person):
    picture, joints, mask = person
    before = {name: value.clone() for name, value in network.generator.state_dict().items()}
    learned = personalized(network, picture, joints, mask, OPTIONS)
    for name, value in network.generator.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)
    inside = mask > 0
    apart = [
        np.abs(n.repose(picture, joints, joints).foreground[inside].astype(float) - picture[inside]).mean()
        for n in (network, learned)
    ]
    assert apart[1] < 0.5 * apart[0]
    background = [dict(n.generator.inpainter.named_parameters()) for n in (network, learned)]
    assert all(torch.equal(background[0][name], background[1][name]) for name in background[0])
    again = personalized(network, picture, joints, mask, OPTIONS)
    for a, b in zip(learned.generator.parameters(), again.generator.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_no_steps_and_wrong_pictures(network, person):
    picture, joints, mask = person
    assert personalized(network, picture, joints, mask, replace(OPTIONS, steps=0)) is network
    with pytest.raises(UsageError, match="32 pixels"):
        personalized(network, picture[:16], joints, mask, OPTIONS)
    with pytest.raises(UsageError, match="--personalize"):
        PersonalizeOptions(steps=-1)
