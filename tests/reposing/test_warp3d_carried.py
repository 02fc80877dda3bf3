"""The person's own pixels, moved at full resolution: exact where nothing has to be made up."""

from dataclasses import replace

import pytest
import torch

from humanpose_cli.bodies.warping_parts import warping_parts
from humanpose_cli.conventions import REPOSING19
from humanpose_cli.reposing.warp3d.carried import CARRIED_CHANNELS, carried_picture
from humanpose_cli.reposing.warp3d.config import GeneratorConfig
from humanpose_cli.reposing.warp3d.generator import Generator
from tests.reposing.test_warp3d_generator import MINI, pictures
from tests.reposing.warp3d_poses import standing

SIZE = 64
CONFIG = GeneratorConfig(size=SIZE, stride=4, depth=32, background_widths=(8, 8, 8))  # hard masks


def carried(image, source, target, config=CONFIG, person=None):
    parts = warping_parts(source, target, planar=config.warping == "2d")
    return carried_picture(image, parts, config, person)


def parts_of(found):
    return found[0, :3], found[0, 3], found[0, 4]


def test_a_pose_that_stays_gives_the_persons_pixels_back():
    image, pose = pictures(size=SIZE), standing(SIZE)
    found = carried(image, pose, pose)
    assert found.shape == (1, CARRIED_CHANNELS, SIZE, SIZE)
    colours, covered, seen = parts_of(found)
    solid = covered > 1 - 1e-4
    assert 0.05 < solid.float().mean() < 0.6
    torch.testing.assert_close(colours[:, solid], image[0][:, solid], atol=2e-4, rtol=0)
    torch.testing.assert_close(seen[solid], torch.ones_like(seen[solid]), atol=1e-3, rtol=0)
    assert (colours[:, covered < 1e-4] == 0).all()


@pytest.mark.parametrize(("across", "down"), [(3, 0), (-4, 2)])
def test_a_step_aside_moves_the_pixels_by_as_much(across, down):
    image, pose = pictures(size=SIZE), standing(SIZE)
    moved = pose + torch.tensor([float(across), float(down), 0.0])
    found, still = (carried(image, pose, target) for target in (moved, pose))
    expected = still.roll((down, across), (2, 3))
    inner = (..., slice(8, -8), slice(8, -8))
    torch.testing.assert_close(
        found[inner], expected[inner], atol=0.05, rtol=0
    )  # the masks' edges are where rounding puts them


def test_a_limb_in_front_hides_what_is_behind_and_was_not_seen_there():
    """An arm laid across the trunk: the picture shows it; taken away, the trunk behind it is marked as unseen."""
    pose = standing(SIZE)
    across = pose.clone()
    trunk = pose[0, REPOSING19.index("pelvis")] / 2 + pose[0, REPOSING19.index("neck")] / 2
    front = trunk - torch.tensor([0.0, 0.0, 16.0])
    for joint, offset in (("left_elbow", 6.0), ("left_wrist", -6.0)):
        across[0, REPOSING19.index(joint)] = front + torch.tensor([offset, 0.0, 0.0])
    red = torch.full((1, 3, SIZE, SIZE), -1.0)
    red[:, 0] = 1
    place = (..., int(trunk[1]), int(trunk[0]))
    away = carried(red, across, pose)
    still = carried(red, pose, pose)
    assert still[0, 4][place[1:]] > 0.99  # with the arm elsewhere, it was
    assert away[0, 3][place[1:]] > 0.99
    assert away[0, 4][place[1:]] < 0.01  # the trunk there was not
    flat = carried(red, across, pose, replace(CONFIG, warping="2d"))
    assert flat[0, 4][place[1:]] > 0.99  # without depth nobody can tell


def test_pixels_that_do_not_show_the_person_are_left_behind():
    image, pose = pictures(size=SIZE), standing(SIZE)
    person = torch.zeros(1, 1, SIZE, SIZE)
    person[..., : SIZE // 2] = 1
    moved = pose + torch.tensor([3.0, 0.0, 0.0])
    every, own = carried(image, pose, moved), carried(image, pose, moved, person=person)
    torch.testing.assert_close(own[..., : SIZE // 2 + 2], every[..., : SIZE // 2 + 2], atol=1e-5, rtol=0)
    assert every[..., SIZE // 2 + 4 :].any()
    assert not own[:, :4, :, SIZE // 2 + 4 :].any()


def test_unknown_joints_carry_nothing_and_no_number_is_lost():
    nothing = torch.full((1, len(REPOSING19), 3), torch.nan)
    assert (carried(pictures(size=SIZE), nothing, standing(SIZE)) == 0).all()


@pytest.mark.parametrize("outline", [True, False])
def test_the_decoder_may_take_the_carried_pixels_over(outline):
    torch.manual_seed(0)
    network = Generator(replace(MINI, carry_detail=True, carry_outline=outline)).eval()
    last = network.decoder.last
    torch.nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 30.0]))  # grey, half there, all carried over
    image, pose = pictures(), standing(32)
    made = network(image, pose, pose)
    given = carried(image, pose, pose, network.config)
    torch.testing.assert_close(made.foreground, given[:, :3] * given[:, 3:4], atol=1e-4, rtol=0)
    expected = given[:, 3:4] if outline else torch.full_like(made.mask, 0.5)
    torch.testing.assert_close(made.mask, expected, atol=1e-4, rtol=0)
    assert 0 < given[:, 3].mean() < 0.5
    assert sum(p.numel() for p in network.parameters()) > sum(p.numel() for p in Generator(MINI).parameters())
