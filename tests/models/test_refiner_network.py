"""The displacement network's parts: what it sees, where features are fetched, and truths worked out by hand."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.recipes.refiner.examples import mirrored_rendering, true_displacements
from humanpose_cli.lab.recipes.refiner.losses import (
    displacement_loss,
    endpoint_errors,
    nearer_share,
    negative_log_likelihood,
)
from humanpose_cli.models.refiner.network import (
    MODEL,
    DisplacementEstimate,
    DisplacementNetwork,
    DisplacementOptions,
    initialise_from,
    rendering_input,
    sample_targets,
)
from humanpose_cli.models.refiner.predictor import DisplacementPredictor
from humanpose_cli.networks.weights import WeightsHeader, write_weights
from humanpose_cli.rendering.body_maps import render_bodies

SIZE = 64
CAMERA = Camera(110.0, (SIZE / 2, SIZE / 2), (SIZE, SIZE))
SMALL = DisplacementOptions(crop=SIZE, width=4)


def posed(body, sway=0.0, left=True):
    """(1, V, 3) of somebody who faces the camera 4 m away, one arm lowered; `left` False: their mirror image."""
    turns = torch.zeros(1, len(SMPL24), 3)
    side, sign = ("left", 1.0) if left else ("right", -1.0)
    turns[0, SMPL24.index(f"{side}_shoulder"), 2] = -0.9 * sign
    turns[0, SMPL24.index("pelvis"), 2] = sway * sign
    rotations = axis_angle_to_matrix(turns)
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotations[:, 0]
    return body.pose(rotations, torch.zeros(1, 10), torch.tensor([[0.0, 0.0, 4.0]])).vertices


@pytest.fixture(scope="module")
def rendering(body):
    return render_bodies(body, posed(body), [CAMERA], SIZE)


def test_a_body_moved_by_a_vector_moves_its_pixels_by_the_perspective_of_their_depth(body, rendering):
    shift = torch.tensor([0.08, -0.05, 0.0])
    moved, shown = true_displacements(rendering, body.faces, posed(body) + shift, [CAMERA])
    on_body = rendering.mask[0, 0] > 0
    pelvis = posed(body)[0, body.part_labels == SMPL24.index("pelvis"), 2].mean()
    depth = rendering.depth[0, 0] + pelvis
    expected = CAMERA.focal * shift[:2, None, None] / depth
    torch.testing.assert_close(moved[0][:, on_body], expected[:, on_body], atol=2e-3, rtol=0)
    assert not moved[0][:, ~on_body].any()
    assert shown[0, 0][on_body].float().mean() > 0.9
    assert not shown[0, 0][~on_body].any()


def test_who_has_not_moved_has_no_displacement(body, rendering):
    moved, shown = true_displacements(rendering, body.faces, posed(body), [CAMERA])
    assert moved.abs().max() < 1e-3
    assert shown[rendering.mask > 0].float().mean() > 0.98


def test_points_that_turn_away_are_hidden(body, rendering):
    turned = posed(body).clone()
    turned[..., [0, 2]] = torch.stack((-turned[..., 0], 8 - turned[..., 2]), -1)  # seen from behind
    _, shown = true_displacements(rendering, body.faces, turned, [CAMERA])
    assert shown.sum() < 0.2 * rendering.mask.sum()


def test_a_mirrored_rendering_is_the_rendering_of_the_mirrored_body(body, rendering):
    mirrored = mirrored_rendering(rendering)
    other = render_bodies(body, posed(body, left=False), [CAMERA], SIZE)
    both = (mirrored.mask > 0) & (other.mask > 0)
    assert both.sum() > 0.97 * other.mask.sum()
    for name, limit in (("depth", 0.01), ("normals", 0.1), ("colours", 0.01)):
        difference = (getattr(mirrored, name) - getattr(other, name)).abs().amax(1)[both[:, 0]]
        assert difference.quantile(0.95) < limit, name


def test_values_are_fetched_from_where_displacements_lead():
    image = torch.arange(48.0).view(1, 1, 6, 8)
    right_and_down = torch.tensor([1.0, 2.0])[None, :, None, None].expand(1, 2, 6, 8)
    found = sample_targets(image, right_and_down)
    torch.testing.assert_close(found[..., :4, :7], image[..., 2:, 1:])
    assert not found[..., 4:, :].any()
    half = sample_targets(image, 0.5 * right_and_down)
    torch.testing.assert_close(half[0, 0, 0, 0], image[0, 0, 1, :2].mean())


@pytest.mark.parametrize("left_out", [(), ("texture",), ("depth",), ("normals",), ("colours",)])
def test_an_untrained_network_moves_nothing_whatever_it_sees(rendering, left_out):
    options = replace(SMALL, **dict.fromkeys(left_out, False))
    visible = rendering_input(rendering, options)
    assert visible.shape == (1, len(options.inputs), SIZE, SIZE)
    assert not visible[:, :, 0].any(), "zero off the body"
    network = DisplacementNetwork(options).eval()
    found = network(torch.rand(1, 3, SIZE, SIZE), visible)
    assert len(found) == 4
    for estimate in found:
        assert estimate.pixels.shape == (1, 2, SIZE, SIZE)
        assert not estimate.pixels.any()
        assert (estimate.deviation > 0).all()


def disturbed_network(options):
    """One that moves something although it has not learned."""
    network = DisplacementNetwork(options).eval()
    for level in network.levels:
        torch.nn.init.normal_(level.head.weight, std=0.1)
    return network


def test_every_part_of_the_network_learns(rendering):
    network, photo = disturbed_network(SMALL).train(), torch.rand(2, 3, SIZE, SIZE)
    found = network(photo, rendering_input(rendering, SMALL).expand(2, -1, -1, -1))
    displacement_loss(found, torch.ones(2, 2, SIZE, SIZE), torch.ones(2, 1, SIZE, SIZE))[0].backward()
    assert [name for name, values in network.named_parameters() if values.grad is None or not values.grad.any()] == []


def test_a_predictor_returns_pixels_of_the_crops(body, tmp_path):
    network, file = DisplacementNetwork(SMALL), tmp_path / "refiner.safetensors"
    torch.nn.init.constant_(network.levels[-1].head.bias, 0.25)
    write_weights(file, network.state_dict(), WeightsHeader(MODEL, asdict(SMALL)))
    predictor = DisplacementPredictor.load(file)
    for factor in (1, 3):
        camera = CAMERA.scaled(factor)
        drawn = render_bodies(body, posed(body), [camera], factor * SIZE)
        found = predictor(drawn, torch.rand(1, 3, factor * SIZE, factor * SIZE))
        # A quarter of a cell of two pixels; exp(0.25) cells are the scale b of errors of variance 3 b² along an axis.
        torch.testing.assert_close(found.pixels, torch.full((1, 2, factor * SIZE, factor * SIZE), 2 * 0.25 * factor))
        assert found.deviation[0, 0, 5, 5] == pytest.approx(3**0.5 * 2 * math.exp(0.25) * factor, rel=1e-4)


def estimate(error, scale):
    return DisplacementEstimate(error, torch.full((len(error), 1, *error.shape[2:]), 3**0.5 * scale))


def errors_in_the_plane(scale):
    random = np.random.default_rng(0)
    angle = random.uniform(0, 2 * np.pi, (8, 64, 64))
    lengths = random.gamma(2, scale, (8, 64, 64))
    return torch.from_numpy(np.stack((lengths * np.cos(angle), lengths * np.sin(angle)), 1)).float()


def test_deviation_and_nearer_share_are_those_of_samples():
    error = errors_in_the_plane(1.5)
    truth = torch.zeros_like(error)
    assert error.std() == pytest.approx(float(estimate(error, 1.5).deviation[0, 0, 0, 0]), rel=0.02)
    assert nearer_share(estimate(error, 1.5), truth).mean() == pytest.approx(0.5, abs=0.01)
    assert nearer_share(estimate(error, 0.8), truth).mean() > 0.55


def test_the_loss_is_minimal_at_the_truth_with_the_scale_that_errors_have():
    error = errors_in_the_plane(1.5)
    truth, weights = torch.zeros_like(error), torch.ones(8, 1, 64, 64)

    def loss(scale, offset=0.0):
        return displacement_loss([estimate(error + offset, scale)] * 2, truth, weights)[2]

    best = loss(1.5)
    assert all(best < loss(scale) for scale in (1.2, 1.9))
    assert best < loss(1.5, offset=1.0)


def test_finer_levels_weigh_more_and_pixels_without_weight_nothing():
    truth = torch.zeros(1, 2, 2, 2)
    near, far = (estimate(torch.full_like(truth, error), 2.0) for error in (0.5, 3.0))
    weights = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    of_near, of_far = (float(negative_log_likelihood(each, truth)[0, 0, 0, 0]) for each in (near, far))
    total, distance, last = displacement_loss([far, near], truth, weights)
    assert float(total) == pytest.approx(0.85 * of_far + of_near)
    assert float(last) == pytest.approx(of_near)
    assert float(distance) == pytest.approx(0.5 * math.sqrt(2))
    elsewhere = estimate(torch.tensor([0.5, 9.0, 9.0, 9.0]).view(1, 1, 2, 2).expand(1, 2, 2, 2), 2.0)
    assert float(displacement_loss([elsewhere], truth, weights)[0]) == pytest.approx(of_near)


def test_endpoint_errors_are_weighted_means_of_distances():
    found = torch.tensor([[3.0, 9.0]]).view(1, 1, 1, 2) * torch.tensor([1.0, 4 / 3]).view(1, 2, 1, 1)
    weights = torch.tensor([3.0, 1.0]).view(1, 1, 1, 2)
    assert endpoint_errors(found, torch.zeros_like(found), weights).item() == pytest.approx((3 * 5 + 15) / 4)
    assert endpoint_errors(found, found, 0 * weights).isnan().all()


def test_options_that_cannot_be_are_refused():
    with raises(UsageError, expected="multiple of 16"):
        DisplacementOptions(crop=100)
    with raises(UsageError, subject="width"):
        DisplacementOptions(width=0)


@pytest.mark.parametrize("left_out", ["texture", "depth", "normals", "colours"])
def test_a_network_without_an_input_starts_as_the_complete_one_with_zeros_there(left_out, rendering, tmp_path):
    complete, part = disturbed_network(SMALL), DisplacementNetwork(replace(SMALL, **{left_out: False}))
    file = tmp_path / "whole.safetensors"
    write_weights(file, complete.state_dict(), WeightsHeader(MODEL, asdict(SMALL)))
    for network in (complete, part):  # the file holds half precision
        initialise_from(network, file)
    # In float64: the channels that are zero change the order of the sums, and with it float32's last digits.
    inputs = rendering_input(rendering, SMALL).double()
    inputs[:, [name == left_out for name in SMALL.inputs]] = 0
    photo = torch.rand(1, 3, SIZE, SIZE, dtype=torch.float64)
    with torch.no_grad():
        expected = complete.double().eval()(photo, inputs)[-1].pixels
        found = part.double().eval()(photo, rendering_input(rendering, part.options).double())[-1].pixels
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_start_of_another_network_is_refused(tmp_path):
    file = tmp_path / "narrow.safetensors"
    tensors = DisplacementNetwork(SMALL).state_dict()
    write_weights(file, tensors, WeightsHeader(MODEL, asdict(SMALL)))
    with raises(InputError, problem="does not fit at"):
        initialise_from(DisplacementNetwork(replace(SMALL, width=8)), file)
    del tensors["rendering.conv1.weight"]
    write_weights(file, tensors, WeightsHeader(MODEL, asdict(SMALL)))
    with raises(InputError, problem="does not fit at rendering.conv1.weight"):
        initialise_from(DisplacementNetwork(SMALL), file)
