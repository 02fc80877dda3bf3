"""Networks as files: what loads, what is refused and in which words; whole estimates from images."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.nbf_people import as_detected, labelled_example

from humanpose_cli.body.joint_angles import mirror_rotations
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.lab.recipes.nbf.examples import BodyExamples
from humanpose_cli.lab.recipes.nbf.losses import LossOptions
from humanpose_cli.models.lifter.metric import lifted_world
from humanpose_cli.models.nbf.inputs import InputOptions
from humanpose_cli.models.nbf.network import NbfConfig, Regressor, RegressorOptions, load_nbf
from humanpose_cli.models.segmenter.network import (
    NETWORKS,
    Segmenter,
    SegmenterOptions,
    backbone_file,
    build_segmenter,
    load_backbone,
    segmenter_config,
)
from humanpose_cli.networks.backbones import VGG, ResNet
from humanpose_cli.networks.weights import WEIGHTS, WeightsHeader, write_weights

TINY = SegmenterOptions("tiny", parts=6, crop=64)


def write_segmenter(path, options=TINY):
    torch.manual_seed(0)
    network = build_segmenter(options)
    write_weights(path, network.state_dict(), WeightsHeader("segmenter", segmenter_config(options)))
    return path


def write_nbf(path, config):
    torch.manual_seed(1)
    tensors = {f"regressor.{n}": v for n, v in Regressor(config.inputs, config.regressor).state_dict().items()}
    write_weights(path, tensors, WeightsHeader("nbf", asdict(config)))
    return path


PARTS6 = NbfConfig(InputOptions("parts", parts=6, size=48), RegressorOptions(18, 8), 64)
PROXY = NbfConfig(InputOptions("proxy", parts=6, size=48), RegressorOptions(18, 8, hidden=16, noise=True), 64)


def estimates(network, *inputs):
    return network.finish(network.prepare(*inputs))


@pytest.fixture(scope="module")
def example():
    return labelled_example()


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return write_segmenter(tmp_path_factory.mktemp("weights") / "segmenter.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "garments"])  # which reads maps, not images
def test_every_segmenter_is_built_at_its_part_count(name):
    options = SegmenterOptions(name, parts=3, width=8, widths=(8, 8, 8, 8))
    network = build_segmenter(options).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 4, 64, 64)


@pytest.mark.slow
def test_a_segmenter_survives_its_file(example, segmenter):
    loaded = Segmenter.load(segmenter, parts=6)
    assert loaded.options == TINY
    found = loaded.segment(example.image, example.person.box)
    assert found.probabilities.shape == (7, 64, 64)
    np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-5)
    assert found.labels.max() <= 6
    corner = found.crop.points(example.person.box[:2])
    assert 0 <= corner.min() < 64


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [PARTS6, PROXY, NbfConfig(InputOptions("rgb", size=48), RegressorOptions(18, 8), 64)]
)
def test_people_of_a_image_become_bodies(tmp_path, example, segmenter, config):
    network = load_nbf(write_nbf(tmp_path / "nbf.safetensors", config), segmenter=segmenter)
    person = as_detected(example)
    found = estimates(network, example.image, [person, person], Camera.of_image(example.size, 260.0))
    assert len(found) == 2
    np.testing.assert_allclose(found[0].poses, found[1].poses, atol=1e-4)
    one = found[0]
    assert (one.poses.shape, one.betas.shape, one.joints.shape) == ((72,), (10,), (24, 3))
    assert (one.noise is None) == (config is not PROXY)
    assert np.isfinite(one.joints).all()
    assert estimates(network, example.image, [], Camera.of_image(example.size)) == []
    with torch.autocast("cpu", torch.bfloat16):
        halved = estimates(network, example.image, [person], Camera.of_image(example.size, 260.0))[0]
    assert halved.joints.dtype == np.float32
    # Rotations err by bfloat16's 2⁻⁸ times the root of 18 layers, four of them turn a leg of 0.9 m: 0.03 m; three times
    np.testing.assert_allclose(halved.joints, one.joints, rtol=0, atol=0.09)


def test_world_landmarks_are_lifted_in_the_images_camera(tmp_path, example, segmenter):
    """Whatever the detector's are, in use as in training."""
    network = load_nbf(write_nbf(tmp_path / "nbf.safetensors", PROXY), segmenter=segmenter)
    person, camera = as_detected(example), Camera(example.focal, example.principal_point, example.size)
    (prepared,) = network.prepare(example.image, [replace(person, world=-person.world)], camera)
    (lifted,) = lifted_world(person.keypoints[None], Camera.stack([camera]))
    np.testing.assert_allclose(prepared.evidence.world, lifted, atol=1e-6)
    examples = BodyExamples(None, PROXY.inputs, LossOptions(), crop=64, body="default", framing="detector")
    trained_on = examples.evidence(examples._changed(example, np.random.default_rng(0)), np.random.default_rng(0), 0.0)
    np.testing.assert_allclose(trained_on.world, lifted, atol=1e-6)


@pytest.mark.parametrize("config", [PARTS6, PROXY])
def test_the_mirror_image_has_the_mirrored_body(tmp_path, example, segmenter, config):
    network = load_nbf(write_nbf(tmp_path / "nbf.safetensors", config), segmenter=segmenter)
    evidence = network.prepare(example.image, [as_detected(example)], Camera.of_image(example.size))[0].evidence
    mirrored = evidence.mirrored()
    assert not np.array_equal(mirrored.image, evidence.image)
    assert np.array_equal(mirrored.mirrored().image, evidence.image)
    with torch.no_grad():
        found, other = network.regress([evidence]), network.regress([mirrored])
    torch.testing.assert_close(mirror_rotations(other.rotations), found.rotations, atol=1e-4, rtol=0)
    torch.testing.assert_close(other.betas, found.betas, atol=1e-5, rtol=0)
    if config is PROXY:
        torch.testing.assert_close(other.log_noise[:, list(SMPL24.mirror)], found.log_noise, atol=1e-5, rtol=0)


def test_the_estimates_joints_are_its_parameters(tmp_path, example, segmenter):
    """poses, betas and trans pose a body whose joints are the estimate's."""
    from humanpose_cli.body.body import default_body
    from humanpose_cli.geometry.rotations import axis_angle_to_matrix

    network = load_nbf(write_nbf(tmp_path / "nbf.safetensors", PROXY), segmenter=segmenter)
    (found,) = estimates(network, example.image, [as_detected(example)], Camera.of_image(example.size, 260.0))
    poses, betas, trans = (torch.from_numpy(v)[None] for v in (found.poses, found.betas, found.trans))
    posed = default_body().pose(axis_angle_to_matrix(poses.view(1, 24, 3)), betas, trans, vertices=False)
    np.testing.assert_allclose(posed.joints[0], found.joints, atol=2e-3)


def test_parts_without_a_segmenter_say_so(tmp_path, example):
    network = load_nbf(write_nbf(tmp_path / "nbf.safetensors", PARTS6))
    with raises(UnavailableError, problem="no segmenter"):
        estimates(network, example.image, [as_detected(example)], Camera.of_image(example.size))


@pytest.mark.slow
def test_wrong_files_are_refused(tmp_path):
    """What every file of weights may be wrong in is tested with these."""
    segmenter, nbf = write_segmenter(tmp_path / "segmenter"), write_nbf(tmp_path / "nbf", PARTS6)
    twelve = write_segmenter(tmp_path / "twelve", SegmenterOptions("tiny", parts=12, crop=64))
    with raises(InputError, problem="another model", expected="nbf", got="segmenter"):
        load_nbf(segmenter)
    with raises(InputError, problem="another model", expected="segmenter", got="nbf"):
        Segmenter.load(nbf)
    with raises(InputError, problem="other parts", expected="12 parts", got="6"):
        Segmenter.load(segmenter, parts=12)
    with raises(InputError, expected="6 parts", got="12"):
        load_nbf(nbf, segmenter=twelve)
    state, wrong = build_segmenter(TINY).state_dict(), tmp_path / "wrong"
    less = dict(list(state.items())[:-1])
    for tensors, changes, problem in (
        (state, {"parts": 12}, "does not fit at head"),
        (state, {"network": "x"}, "cannot be built"),
        (less, {}, "another network"),
    ):
        write_weights(wrong, tensors, WeightsHeader("segmenter", {**segmenter_config(TINY), **changes}))
        with raises(InputError, problem):
            Segmenter.load(wrong)
    write_weights(wrong, less, WeightsHeader("nbf", {"inputs": {"kind": "parts"}}))
    with raises(InputError, problem="config without 'regressor'"):
        load_nbf(wrong)


@pytest.mark.extensive
def test_backbones_take_torchvisions_names(tmp_path):
    """A classifier's checkpoint of torchvision fills the backbone; another depth's is refused."""
    for made, backbone in (
        (ResNet(18, width=8), build_segmenter(SegmenterOptions("refinenet-resnet18", width=8)).backbone),
        (VGG(16), build_segmenter(SegmenterOptions("deeplab-vgg16")).backbone),
    ):
        path = tmp_path / "imagenet.pth"
        torch.save({**made.state_dict(), "fc.weight": torch.zeros(10, 64), "classifier.0.bias": torch.zeros(10)}, path)
        load_backbone(backbone, path)
        name, values = next((n, v) for n, v in made.state_dict().items() if n.endswith("weight"))
        torch.testing.assert_close(backbone.state_dict()[name], values)
    torch.save(ResNet(50, width=8).state_dict(), path)
    with raises(InputError, problem="does not fit at"):
        load_backbone(ResNet(18, width=8), path)
    torch.save(ResNet(18, width=4).state_dict(), path)
    with raises(InputError, problem="does not fit at bn1"):
        load_backbone(ResNet(18, width=8), path)


def test_imagenets_weights_are_those_of_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HPC_WEIGHTS", str(tmp_path))
    for kind in ("resnet50", "vgg16"):
        with raises(UnavailableError, remedy=f"hpc weights fetch imagenet-{kind}"):
            backbone_file("imagenet", kind)
    path = tmp_path / WEIGHTS["imagenet-resnet18"].file
    path.write_bytes(b"")
    assert backbone_file("imagenet", "resnet18") == backbone_file("imagenet-resnet18", "") == path
    assert backbone_file(str(path), "resnet50") == path


def test_impossible_options_are_refused():
    for kind, wrong in (
        (SegmenterOptions, {"network": "unet"}),
        (SegmenterOptions, {"parts": 5}),
        (SegmenterOptions, {"widths": (1, 2)}),
        (RegressorOptions, {"layers": 20}),
    ):
        with pytest.raises(UsageError):
            kind(**wrong)
