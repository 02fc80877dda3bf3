"""The displacement network's parts: what it sees, where features are fetched, and truths worked out by hand."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.recipes.refiner.examples import mirrored_rendering, true_displacements
from humanpose_cli.lab.recipes.refiner.losses import displacement_loss, endpoint_errors, reduced
from humanpose_cli.models.refiner.network import (
    MODEL,
    DisplacementEstimate,
    DisplacementNetwork,
    DisplacementOptions,
    DisplacementPredictor,
    fetched,
    rendering_input,
    start_from,
)
from humanpose_cli.networks.weights import WeightsHeader, write_weights
from humanpose_cli.rendering.body_maps import render_bodies

SIZE = 64
CAMERA = Camera(110.0, (SIZE / 2, SIZE / 2), (SIZE, SIZE))
SMALL = DisplacementOptions(crop=SIZE, width=4)


@pytest.fixture(scope="module")
def body():
    return default_body()


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


def test_a_body_moved_by_a_known_vector_moves_its_pixels_by_the_perspective_of_their_depth(body, rendering):
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
    for name, most in (("depth", 0.01), ("normals", 0.1), ("colours", 0.01)):
        difference = (getattr(mirrored, name) - getattr(other, name)).abs().amax(1)[both[:, 0]]
        assert difference.quantile(0.95) < most, name


def test_values_are_fetched_from_where_displacements_lead():
    image = torch.arange(48.0).view(1, 1, 6, 8)
    right_and_down = torch.tensor([1.0, 2.0])[None, :, None, None].expand(1, 2, 6, 8)
    found = fetched(image, right_and_down)
    torch.testing.assert_close(found[..., :4, :7], image[..., 2:, 1:])
    assert not found[..., 4:, :].any()
    half = fetched(image, 0.5 * right_and_down)
    torch.testing.assert_close(half[0, 0, 0, 0], image[0, 0, 1, :2].mean())


@pytest.mark.parametrize("left_out", [(), ("texture",), ("depth",), ("normals",), ("colours",)])
def test_an_untrained_network_moves_nothing_whatever_it_sees(rendering, left_out):
    options = DisplacementOptions(crop=SIZE, width=4, **dict.fromkeys(left_out, False))
    seen = rendering_input(rendering, options)
    assert seen.shape == (1, len(options.inputs), SIZE, SIZE)
    assert not seen[:, :, 0].any(), "zero off the body"
    found = DisplacementNetwork(options).eval()(torch.rand(1, 3, SIZE, SIZE), seen)
    assert [tuple(e.pixels.shape) for e in found] == [(1, 2, s, s) for s in (4, 8, 16, 32)]
    assert [tuple(e.noise.shape) for e in found] == [(1, 1, s, s) for s in (4, 8, 16, 32)]
    assert not found[-1].pixels.any()
    assert (found[-1].noise > 0).all()


def test_a_predictor_answers_in_the_pixels_of_the_crops_that_it_is_given(body):
    torch.manual_seed(0)
    network = DisplacementNetwork(SMALL)
    torch.nn.init.constant_(network.levels[-1].head.bias, 0.25)
    predictor = DisplacementPredictor(network)
    for factor in (1, 3):
        camera = CAMERA.scaled(factor)
        drawn = render_bodies(body, posed(body), [camera], factor * SIZE)
        found = predictor(drawn, torch.rand(1, 3, factor * SIZE, factor * SIZE))
        assert found.pixels.shape == (1, 2, factor * SIZE, factor * SIZE)
        torch.testing.assert_close(found.pixels, torch.full_like(found.pixels, 2 * 0.25 * factor))
        assert found.noise[0, 0, 5, 5] == pytest.approx(2 * math.exp(0.25) * factor)


def test_the_loss_is_least_at_the_truth_with_the_noise_that_errors_have():
    random = np.random.default_rng(0)
    angle, distance = random.uniform(0, 2 * np.pi, (16, 64, 64)), random.gamma(2, 1.5, (16, 64, 64))
    error = torch.from_numpy(np.stack((distance * np.cos(angle), distance * np.sin(angle)), 1)).float()
    truth, weights = torch.zeros(16, 2, 64, 64), torch.ones(16, 1, 64, 64)

    def loss(noise, offset=0.0):
        full = DisplacementEstimate(error + offset, torch.full((16, 1, 64, 64), noise))
        return displacement_loss([full] * 4, truth, weights)[2]

    best = loss(1.5)  # |e| / b has Gamma(2, 1) for a Laplacian in the plane
    assert all(best < loss(noise) for noise in (1.2, 1.9))
    assert best < loss(1.5, offset=1.0)


def test_cells_have_the_weighted_mean_of_their_pixels():
    truth = torch.tensor([[1.0, 3.0], [5.0, 100.0]])[None, None].repeat(1, 2, 1, 1)
    weights = torch.tensor([[1.0, 1.0], [2.0, 0.0]])[None, None]
    mean, weight = reduced(truth, weights, 2)
    assert mean.flatten().tolist() == pytest.approx([3.5, 3.5])
    assert weight.item() == 1
    assert endpoint_errors(torch.zeros_like(truth), truth, weights).item() == pytest.approx(3.5 * math.sqrt(2))


def test_options_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="multiple of 16"):
        DisplacementOptions(crop=100)
    with pytest.raises(UsageError, match="width"):
        DisplacementOptions(width=0)


@pytest.mark.parametrize("left_out", ["texture", "depth", "normals", "colours"])
def test_a_network_without_an_input_starts_as_the_whole_one_that_sees_zero_there(left_out, rendering, tmp_path):
    whole, part = DisplacementNetwork(SMALL), DisplacementNetwork(replace(SMALL, **{left_out: False}))
    for level in whole.levels:
        torch.nn.init.normal_(level.head.weight)
    file = tmp_path / "whole.safetensors"
    write_weights(file, whole.state_dict(), WeightsHeader(MODEL, asdict(SMALL)))
    for network in (whole, part):  # the file holds half precision
        start_from(network, file)
    # In float64: the channels that are zero change the order of the sums, and with it float32's last digits.
    inputs = rendering_input(rendering, SMALL).double()
    inputs[:, [name == left_out for name in SMALL.inputs]] = 0
    photo = torch.rand(1, 3, SIZE, SIZE, dtype=torch.float64)
    with torch.no_grad():
        expected = whole.double().eval()(photo, inputs)[-1]
        found = part.double().eval()(photo, rendering_input(rendering, part.options).double())[-1]
    assert expected.pixels.abs().max() > 0.1
    torch.testing.assert_close(found, expected)


def test_a_start_of_another_network_is_refused(tmp_path):
    file = tmp_path / "narrow.safetensors"
    tensors = DisplacementNetwork(SMALL).state_dict()
    write_weights(file, tensors, WeightsHeader(MODEL, asdict(SMALL)))
    with pytest.raises(InputError, match="does not fit at"):
        start_from(DisplacementNetwork(replace(SMALL, width=8)), file)
    del tensors["rendering.conv1.weight"]
    write_weights(file, tensors, WeightsHeader(MODEL, asdict(SMALL)))
    with pytest.raises(InputError, match=r"does not fit at rendering\.conv1\.weight"):
        start_from(DisplacementNetwork(SMALL), file)
