"""The adversarial depth lifter: yaw, gates, the sense of forward, and that it learns and goes on."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.conventions import H36M17, SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.recipes.lifter.depth import (
    MODEL,
    DepthLifter,
    DepthLifterOptions,
    back_bending,
    bone_error,
    hip_frame,
    turned,
)
from humanpose_cli.lab.recipes.lifter.depth_recipe import (
    DISCRIMINATOR,
    GENERATOR,
    DepthLifterRecipe,
    LifterData,
    _Points,
    learns,
    reversed_share,
)
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import LAST, train
from humanpose_cli.networks.weights import WeightsHeader, write_weights

CPU = torch.device("cpu")
SMALL = DepthLifterOptions(width=32, layers=2, learning_rate=2e-3)
LOOP = TrainOptions(steps=30, batch_size=16, workers=0, decay=0.0, validate_every=30, log_every=10, precision="full")


def people(count, skeleton=SMPL24, seed=0):
    """(count, J, 3) x right, y down, z away: crouching people, knees and toes ahead, turned by random yaws."""
    random = np.random.default_rng(seed)
    # Body axes: x to the left, y up, z ahead.
    where = {"hip": (0.1, 0, 0), "knee": (0.1, -0.3, 0.3), "ankle": (0.1, -0.6, 0), "foot": (0.1, -0.65, 0.15)}
    joints = np.zeros((count, len(skeleton), 3))
    for row, name in enumerate(skeleton.joint_names):
        side = -1 if name.startswith("right") else 1
        part = name.split("_")[-1]
        joints[:, row] = np.multiply(where.get(part, (0.15 * name.startswith(("left", "right")), 0.5, 0)), (side, 1, 1))
    if "nose" in skeleton.joint_names:
        joints[:, skeleton.index("nose")] = 0, 0.7, 0.15
    joints += 0.02 * random.normal(size=joints.shape)
    yaw = random.uniform(0, 2 * np.pi, count)
    x, y, z = np.moveaxis(joints, -1, 0)
    c, s = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    x, z = c * x + s * z, -s * x + c * z
    return torch.from_numpy(np.stack((x, -y, -z), -1).astype(np.float32))


def test_turning_keeps_bones_and_comes_back():
    space, yaw, pitch = people(8), torch.linspace(0, 2 * math.pi, 8), torch.linspace(-0.5, 0.5, 8)
    torch.testing.assert_close(turned(space, torch.zeros(8), pitch), space, atol=1e-6, rtol=0)
    torch.testing.assert_close(turned(space, yaw)[..., 1], space[..., 1])
    once = turned(space, torch.full((8,), math.pi / 2))
    torch.testing.assert_close(once[..., 0], space[..., 2], atol=1e-6, rtol=0)
    around = turned(space, yaw, pitch)
    torch.testing.assert_close(torch.cdist(around, around), torch.cdist(space, space), atol=2e-3, rtol=0)
    torch.testing.assert_close(turned(around, -yaw, pitch), space, atol=1e-5, rtol=0)
    # A camera that looks up by its pitch sees the vertical, which nothing turns, lean away from it.
    vertical = torch.stack((torch.zeros(8), pitch.cos(), -pitch.sin()), -1)[:, None]
    torch.testing.assert_close(turned(vertical, yaw, pitch), vertical, atol=1e-6, rtol=0)


def test_bones_of_the_body_itself_have_no_error_at_any_size():
    space, (first, second) = people(4), zip(*SMPL24.bones, strict=True)
    lengths = (space[0, first] - space[0, second]).norm(dim=-1)
    error = bone_error(3 * space, 7 * lengths, SMPL24)
    assert float(error[0]) < 1e-10 < float(error[1:].min())
    assert float(bone_error(space * torch.tensor([1, 1, 0]), lengths, SMPL24)[0]) > 0.01


def test_the_hip_frame_forgets_position_and_size():
    points = people(5)[..., :2]
    frame = hip_frame(points, SMPL24)
    torch.testing.assert_close(frame.points.norm(dim=-1).mean(1), torch.ones(5))
    torch.testing.assert_close(frame.points[:, [1, 2]].mean(1), torch.zeros(5, 2), atol=1e-6, rtol=0)
    other = hip_frame(3 * points + torch.tensor([7.0, -2.0]), SMPL24)
    torch.testing.assert_close(other.points, frame.points, atol=1e-5, rtol=0)
    torch.testing.assert_close(other.scale, 3 * frame.scale)


@pytest.mark.parametrize("skeleton", [SMPL24, H36M17], ids=lambda s: s.name)
def test_forward_is_distinguished_from_backward_at_every_yaw(skeleton):
    space = people(64, skeleton)
    points, depth = space[..., :2], space[..., 2]
    assert float(back_bending(points, depth, skeleton).max()) < 0.01
    assert float(back_bending(points, -depth, skeleton).min()) > 0.1 * float(
        back_bending(points, -depth, skeleton).max()
    )


def test_neither_side_runs_away():
    options = DepthLifterOptions()
    assert (options.learning_rate, options.width, options.layers, options.heuristic) == (2e-4, 1024, 3, 1.0)
    gates = {accuracy: (learns(GENERATOR, accuracy, options), learns(DISCRIMINATOR, accuracy, options))
             for accuracy in (0.0, 0.05, 0.1, 0.5, 0.9, 0.95, 1.0)}  # fmt: skip
    assert gates == {
        0.0: (False, True), 0.05: (False, True), 0.1: (True, True), 0.5: (True, True), 0.9: (True, True),
        0.95: (True, False), 1.0: (True, False),
    }  # fmt: skip
    with raises(UsageError, subject="min_accuracy"):
        DepthLifterOptions(max_accuracy=0.1, min_accuracy=0.5)


def recipe(tmp=None):
    space, (first, second) = people(128), zip(*SMPL24.bones, strict=True)
    points, bones = space[..., :2].numpy(), (space[0, first] - space[0, second]).norm(dim=-1)
    data = LifterData(SMPL24, points[:96], points[96:], bones, {"data": "made up"}, tmp)
    return DepthLifterRecipe(data, SMALL, seed=1)


def test_a_side_that_must_wait_does_not_learn():
    trained = recipe()
    points, yaw = torch.from_numpy(trained.points[:16]), torch.zeros(16, 2)
    with torch.no_grad():  # a discriminator that says "observed" of everything: half of its answers are right
        trained.model.discriminator[-1].weight.zero_()
        trained.model.discriminator[-1].bias.fill_(5.0)
    assert trained.losses(DISCRIMINATOR, (points, yaw)) is not None
    assert trained.losses(GENERATOR, (points, yaw)) is not None
    trained.options = DepthLifterOptions(max_accuracy=0.4, min_accuracy=0.2)
    assert trained.losses(DISCRIMINATOR, (points, yaw)) is None
    trained.options = DepthLifterOptions(max_accuracy=0.9, min_accuracy=0.6)
    assert trained.losses(GENERATOR, (points, yaw)) is None


@pytest.mark.slow
def test_it_learns_which_way_people_face_and_its_weights_load(tmp_path):
    trained = recipe()
    with torch.no_grad():
        untrained = trained.model.eval() and trained.validate(16)
    result = train(trained, LOOP, tmp_path, CPU)
    assert result.metrics["bending"] < 0.7 * untrained["bending"]
    lifter = DepthLifter.load(tmp_path / LAST)
    points = people(4)[..., :2]
    depth = lifter.lift(100 * points + 50)
    torch.testing.assert_close(depth, 100 * lifter.lift(points), atol=0.05, rtol=1e-3)
    torch.testing.assert_close(depth[:, [1, 2]].mean(1), torch.zeros(4), atol=1e-4, rtol=0)
    repeated = recipe(tmp_path / LAST)
    torch.testing.assert_close(repeated.model.generator.lift(points), lifter.lift(points))


def test_weights_with_the_former_names_of_options_load(tmp_path):
    tensors, config = recipe().weights()
    options = config["options"]
    former = {"most": options.pop("max_accuracy"), "least": options.pop("min_accuracy"), "beta1": 0.5}
    header = WeightsHeader(MODEL, {**config, "options": {**options, **former}})
    write_weights(tmp_path / "former.safetensors", tensors, header)
    loaded = DepthLifter.load(tmp_path / "former.safetensors")
    assert (loaded.options.max_accuracy, loaded.options.min_accuracy) == (0.9, 0.1)


@pytest.mark.parametrize("rescaled", [True, False])
def test_turned_people_have_the_size_of_observed_ones(rescaled):
    """Else the discriminator recognises them by it: their mean distance from the hips varied by 13 %."""
    trained, batches = recipe(), []
    trained.options = replace(SMALL, rescaled=rescaled)
    trained.model.discriminator.register_forward_pre_hook(
        lambda _, inputs: batches.append(inputs[0].unflatten(1, (24, 2)))
    )
    points = torch.from_numpy(trained.points[:16])
    trained.losses(DISCRIMINATOR, (points, torch.linspace(0.3, 2, 32).reshape(16, 2)))
    assert len(batches) == 2
    observed, others = ((p.norm(dim=-1).mean(1) - 1).abs() for p in batches)
    assert float(observed.max()) < 1e-5
    assert bool((others < 1e-5).all()) == rescaled


@pytest.mark.parametrize("turn", [180.0, 60.0])
def test_people_are_turned_by_all_angles_up_to_the_largest(turn):
    draw = _Points(recipe().points, SMPL24, DepthLifterOptions(turn=turn))
    random = np.random.default_rng(0)
    yaw = np.rad2deg([draw(0, random)[1][0] for _ in range(2000)])
    assert np.abs(yaw).max() <= turn + 1e-3
    np.testing.assert_allclose(np.quantile(yaw, (0.1, 0.5, 0.9)) / turn, (-0.8, 0, 0.8), atol=0.07)


@pytest.mark.parametrize(("backs", "turn"), [(0, 90.0), (5, 90.0), (6, 180.0), (50, 180.0)])
def test_how_far_people_are_turned_follows_from_how_many_show_their_backs(backs, turn):
    """Both hips and shoulders are reversed then; the weights name the angle."""
    space = people(100)
    left, right = (SMPL24.indices((f"{side}_hip", f"{side}_shoulder")) for side in ("left", "right"))
    space[:, left, 0], space[:, right, 0] = 0.2, -0.2
    space[:backs, left, 0], space[:backs, right, 0] = -0.2, 0.2
    space[backs, left[0], 0] = -0.3  # hips alone
    points = space[..., :2].numpy()
    assert reversed_share(points, SMPL24) == backs / 100
    trained = DepthLifterRecipe(LifterData(SMPL24, points, points, torch.ones(23), {}), SMALL)
    assert trained.weights()[1]["options"]["turn"] == turn
    limited = replace(SMALL, turn=60.0)
    assert DepthLifterRecipe(LifterData(SMPL24, points, points, torch.ones(23), {}), limited).options.turn == 60


def test_people_and_their_mirror_images_are_drawn():
    points = recipe().points
    drawn = {
        share: [_Points(points, SMPL24, replace(SMALL, turn=180.0, pitch=0.0, roll=0.0, mirror=share))(
            0, np.random.default_rng(n)) for n in range(8)] for share in (0.0, 0.5, 1.0)
    }  # fmt: skip
    mirrored = {share: [not np.array_equal(p, points[0]) for p, _ in people] for share, people in drawn.items()}
    assert (not any(mirrored[0.0]), all(mirrored[1.0]), len(set(mirrored[0.5]))) == (True, True, 2)
    np.testing.assert_allclose(drawn[1.0][0][0][list(SMPL24.mirror)] * (-1, 1), points[0], atol=1e-6)
