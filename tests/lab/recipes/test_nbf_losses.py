"""The losses: known values, samples without labels, fractions."""

from dataclasses import replace

import pytest
import torch
from helpers.nbf_people import UPRIGHT, posed

from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.recipes.nbf.losses import LossOptions, keeps_3d, nbf_losses
from humanpose_cli.models.nbf.body import BodyLayer, BodyParameters, relative_to_absolute


@pytest.fixture(scope="module")
def layer():
    return BodyLayer(default_body())


def targets_of(layer, count=3):
    rotations = torch.cat([relative_to_absolute(posed(seed)[0]) for seed in range(count)])
    betas = torch.cat([posed(seed)[1] for seed in range(count)])
    points = layer.project(layer(betas, rotations))
    joints2d = torch.nn.functional.pad(points, (0, 1), value=1.0)
    return {"betas": betas, "rotations": rotations, "has_3d": torch.ones(count, dtype=torch.bool), "joints2d": joints2d}


def off(targets):
    """A prediction that is wrong everywhere, with gradients."""
    betas = (targets["betas"] + 0.5).nan_to_num(0.3).requires_grad_()
    rotations = (UPRIGHT @ targets["rotations"]).nan_to_num(0.1).requires_grad_()
    return BodyParameters(betas, rotations, torch.full((len(betas), 24, 2), -3.0, requires_grad=True))


ALL = LossOptions(1.0, 2.0, 3.0, 0.5)


@pytest.mark.slow
def test_the_truth_costs_nothing(layer):
    targets = targets_of(layer, 2)
    estimate = BodyParameters(targets["betas"], targets["rotations"], None)
    losses = nbf_losses(estimate, targets, layer, LossOptions(1.0, 1.0, 1.0))
    assert all(float(value) < 1e-8 for value in losses.values())


def test_reference_values(layer):
    """Shapes off by one half each and by nothing else; a body that is moved by its rotation alone."""
    targets = targets_of(layer, 2)
    estimate = BodyParameters(targets["betas"] + 0.5, targets["rotations"])
    assert float(nbf_losses(estimate, targets, layer, LossOptions())["loss"]) == pytest.approx(5.0, rel=1e-5)
    turned = BodyParameters(targets["betas"], UPRIGHT @ targets["rotations"])
    joints, true = layer(*turned[:2]), layer(targets["betas"], targets["rotations"])
    terms = nbf_losses(turned, targets, layer, LossOptions(0.0, 1.0, 1.0))
    assert float(terms["points3d"]) == pytest.approx(float((joints - true).square().sum() / 2), rel=1e-4)
    distance = (layer.project(joints) - layer.project(true)).square().sum() / 2
    assert float(terms["points2d"]) == pytest.approx(float(distance), rel=1e-4)
    assert float(terms["loss"]) == pytest.approx(float(terms["points3d"] + terms["points2d"]), rel=1e-5)


def test_the_labelled_of_a_batch_share_its_loss(layer):
    """One of four keeps its labels: its own loss with `of_labelled`, a quarter of it without. Nobody: no loss."""
    targets = targets_of(layer, 4)
    estimate = BodyParameters(targets["betas"] + 0.5, UPRIGHT @ targets["rotations"])
    single = {**targets, "has_3d": torch.arange(4) == 1}
    one = {name: values[1:2] for name, values in targets.items()}
    options = LossOptions(1.0, 1.0)
    expected = nbf_losses(BodyParameters(estimate.betas[1:2], estimate.rotations[1:2]), one, layer, options)
    for of_labelled, share in ((True, 1.0), (False, 0.25)):
        terms = nbf_losses(estimate, single, layer, replace(options, of_labelled=of_labelled))
        for name in ("latent", "points3d"):
            assert float(terms[name]) == pytest.approx(share * float(expected[name]), rel=1e-5)
    unlabelled = {**single, "has_3d": torch.zeros(4, dtype=torch.bool)}
    assert float(nbf_losses(estimate, unlabelled, layer, replace(options, of_labelled=True))["loss"]) == 0


@pytest.mark.slow
def test_the_sum_weighs_its_terms(layer):
    terms = nbf_losses(off(targets_of(layer)), targets_of(layer), layer, ALL)
    weighed = terms["latent"] + 2 * terms["points3d"] + 3 * terms["points2d"] + 0.5 * terms["noise"]
    assert float(terms["loss"].detach()) == pytest.approx(float(weighed.detach()), rel=1e-6)


def test_the_noise_is_right_where_the_loss_is_minimal(layer):
    """|e| / σ + log σ is least at σ = |e|."""
    targets = targets_of(layer, 1)
    joints = layer(targets["betas"], UPRIGHT @ targets["rotations"])
    error = joints - layer(targets["betas"], targets["rotations"])
    exact = torch.stack((error[..., :2].norm(dim=-1), error[..., 2].abs()), -1).clamp_min(1e-3).log()
    losses = [
        float(
            nbf_losses(
                BodyParameters(targets["betas"], UPRIGHT @ targets["rotations"], exact + shift),
                targets,
                layer,
                LossOptions(0.0, noise=1.0),
            )["loss"]
        )
        for shift in (-0.2, 0.0, 0.2)
    ]
    assert losses[1] < min(losses[0], losses[2])


@pytest.mark.slow
def test_samples_without_labels_count_as_nothing(layer):
    targets = targets_of(layer, 3)
    options = LossOptions(1.0, 1.0, 1.0, 1.0)
    single = [
        nbf_losses(off(one), one, layer, options)
        for one in ({name: v[i : i + 1] for name, v in targets.items()} for i in range(3))
    ]
    nan = float("nan")
    betas, rotations, joints = targets["betas"].clone(), targets["rotations"].clone(), targets["joints2d"].clone()
    betas[1], rotations[1] = nan, nan
    joints[1] = torch.tensor([nan, nan, 0.0])
    has_3d = torch.tensor([True, False, True])
    partial = {"betas": betas, "rotations": rotations, "has_3d": has_3d, "joints2d": joints}
    estimate = off(targets)
    terms = nbf_losses(estimate, partial, layer, options)
    for name, value in terms.items():
        wanted = (single[0][name] + single[2][name]) / 3
        assert value.item() == pytest.approx(wanted.item(), rel=1e-4), name
    terms["loss"].backward()
    for values in estimate:
        assert torch.isfinite(values.grad).all()
        assert (values.grad[1] == 0).all()
        assert (values.grad[0] != 0).any()


def test_unlabelled_joints_are_left_out(layer):
    targets = targets_of(layer, 1)
    wrong = targets["joints2d"].clone()
    wrong[0, 5] = torch.tensor([9.0, 9.0, 0.0])
    changed = {**targets, "joints2d": wrong}
    estimate = BodyParameters(targets["betas"], targets["rotations"])
    assert float(nbf_losses(estimate, changed, layer, LossOptions(0.0, points2d=1.0))["loss"]) < 1e-9


@pytest.mark.slow
def test_fractions_keep_the_same_samples_always_and_nest():
    kept = {f: {r for r in range(2000) if keeps_3d(r, LossOptions(fraction_3d=f))} for f in (0, 0.02, 0.2, 1)}
    assert len(kept[0]) == 0
    assert len(kept[1]) == 2000
    assert kept[0.02] < kept[0.2]
    assert 0.17 < len(kept[0.2]) / 2000 < 0.23


def test_options_that_cannot_be_are_refused():
    for wrong in ({"latent": 0.0}, {"latent": -1.0}, {"fraction_3d": 2.0}):
        with pytest.raises(UsageError):
            LossOptions(**wrong)
    assert LossOptions(latent=0.0, points2d=1.0).needs_parameters is False
    assert LossOptions(latent=0.0, points3d=1.0).needs_parameters
