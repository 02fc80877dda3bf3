"""`--method`: a body network alone, and a keypoint fit that begins with it."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.reference_people import ReferencePeople, true_person

from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import COCO17, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.fitting import networks
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import SHIPPED_SEGMENTER, FitOptions, NetworkOptions
from humanpose_cli.io.inputs import Frame
from humanpose_cli.lab.metrics.bodies import pa_mpjpe
from humanpose_cli.models.nbf.inputs import InputOptions
from humanpose_cli.models.nbf.network import MODEL, NbfConfig, Regressor, RegressorOptions
from humanpose_cli.networks.weights import WeightsHeader, shipped_weights, write_weights


def network_file(path, kind="proxy", **regressor):
    """Weights of an untrained network: it says what the detector's landmarks say."""
    torch.manual_seed(0)
    inputs = InputOptions(kind, size=32)
    options = RegressorOptions(18, 4, hidden=16, blocks=1, **{"noise": True, **regressor})
    network = Regressor(inputs, options)
    with torch.no_grad():
        network.head.weight.zero_()
    tensors = {f"regressor.{name}": values for name, values in network.state_dict().items()}
    write_weights(path, tensors, WeightsHeader(MODEL, asdict(NbfConfig(inputs, options, crop=128))))
    return str(path)


@pytest.mark.slow
def test_the_shipped_network_is_built_once_with_its_segmenter(monkeypatch):
    segmenters, load = [], networks.load_nbf

    def loaded(path, **options):
        segmenters.append(options["segmenter"])
        return load(path, **options)

    monkeypatch.setattr(networks, "load_nbf", loaded)
    network = networks.PeopleNetwork(NetworkOptions(), "nbf", default_body()).network
    assert network.segmenter is not None
    assert network.averaged  # beside keypoints, it gains nothing
    assert not networks.PeopleNetwork(NetworkOptions(), "auto", default_body()).network.averaged
    assert segmenters == [shipped_weights(SHIPPED_SEGMENTER)] * 2


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return network_file(tmp_path_factory.mktemp("network") / "proxy.safetensors")


def fitter_of(people, method, weights="", **options):
    return Fitter(FitOptions(method=method, network=NetworkOptions(weights), **options), people_source=people)


def test_shipped_networks_are_loaded_when_an_image_needs_them(reference_people, weights, monkeypatch):
    """A rerun over finished results asks for the fitter's identity only; own files are looked at before."""

    def refused(*arguments, **options):
        raise AssertionError("loaded")

    monkeypatch.setattr(networks, "load_nbf", refused)
    with fitter_of(reference_people, "auto") as fitter:
        assert len(fitter.identity["network"]) == 33  # half the digests of the body network and of its segmenter
        with pytest.raises(AssertionError, match="loaded"):
            fitter.fit_image(np.zeros((480, 640, 3), np.uint8))
    assert not len(fitter_of(ReferencePeople(), "auto").fit_image(np.zeros((480, 640, 3), np.uint8)))
    with pytest.raises(AssertionError, match="loaded"):
        fitter_of(reference_people, "auto", weights)


@pytest.mark.extensive
@pytest.mark.parametrize("method", [*extensive("keypoints", "nbf"), "auto"])
@pytest.mark.parametrize("sequence", [False, True])
def test_part_of_an_image_is_fitted_with_the_camera_of_the_complete_image(clip, weights, method, sequence):
    """The same person before the same camera, of which a part off the middle was kept."""
    height, width = clip.size
    corner = np.array([0.45 * width, -0.2 * height])
    person = true_person(clip, 0)
    moved = replace(
        person,
        box=person.box - np.tile(corner, 2).astype(np.float32),
        keypoints=person.keypoints - np.float32([*corner, 0]),
    )
    found = []
    for detection, centre in ((person, None), (moved, (width / 2 - corner[0], height / 2 - corner[1]))):
        image = np.zeros((height, width, 3), np.uint8)
        with fitter_of(ReferencePeople({0: [detection]}), method, "" if method == "keypoints" else weights) as fitter:
            frame = Frame(0, "0", image, clip.focal, principal_point=centre)
            found.append(
                fitter.fit_sequence([frame])
                if sequence
                else fitter.fit_image(image, focal=clip.focal, principal_point=centre)
            )
    np.testing.assert_allclose(found[1].principal_point, [[width / 2 - corner[0], height / 2 - corner[1]]], rtol=1e-6)
    np.testing.assert_allclose(found[1].joints3d, found[0].joints3d, atol=0.03)


def test_a_network_alone_puts_its_body_where_it_is_visible(clip, reference_people, weights):
    image = np.zeros((*clip.size, 3), np.uint8)
    with fitter_of(reference_people, "nbf", weights, focal=clip.focal) as fitter:
        record = fitter.fit_image(image)
    assert len(record) == 1
    truth = clip.posed(slice(0, 1)).joints.numpy()
    assert pa_mpjpe(record.joints3d, truth)[0] < 0.12
    assert abs(record.joints3d[0, 0, 2] / truth[0, 0, 2] - 1) < 0.25
    centre = torch.tensor([[clip.size[1] / 2, clip.size[0] / 2]])
    projected = project(torch.from_numpy(record.joints3d), torch.tensor([float(record.focal[0])]), centre).numpy()
    np.testing.assert_allclose(projected, record.joints2d, atol=0.01)
    assert 0 < record.reprojection_error[0] < 0.1 * clip.size[0]
    assert 0.3 < record.confidence[0] <= 1
    assert record.options.method == "nbf"
    assert record.options.settings["network"] == fitter.network_identity != ""


@pytest.mark.slow
def test_auto_fits_the_keypoints_too(clip, reference_people, weights):
    image = np.zeros((*clip.size, 3), np.uint8)
    records = {}
    for method in ("nbf", "auto", "keypoints"):
        network_weights = weights if method != "keypoints" else ""
        with fitter_of(reference_people, method, network_weights, focal=clip.focal) as fitter:
            records[method] = fitter.fit_image(image)
    truth = clip.posed(slice(0, 1)).joints.numpy()
    errors = {name: float(pa_mpjpe(record.joints3d, truth)[0]) for name, record in records.items()}
    assert errors["auto"] < errors["nbf"]
    assert records["auto"].reprojection_error[0] < records["nbf"].reprojection_error[0]
    assert not np.array_equal(records["auto"].poses, records["keypoints"].poses)


def test_a_sequence_has_one_shape_and_keeps_its_positions(clip, reference_people, weights):
    frames = [Frame(i, f"{i}", np.zeros((*clip.size, 3), np.uint8)) for i in range(3)]
    with fitter_of(reference_people, "nbf", weights, focal=clip.focal) as fitter:
        record = fitter.fit_sequence(frames)
    assert len(record) == 3
    assert (record.betas == record.betas[0]).all()
    truth = clip.posed(slice(0, 3)).joints.numpy()
    assert pa_mpjpe(record.joints3d, truth).max() < 0.12


@pytest.mark.extensive
def test_people_without_what_the_network_sees(clip, reference_people, weights):
    """Keypoints alone: `auto` fits them, `nbf` says that it cannot."""
    people = reference_people
    person = people.by_index[0][0]
    names = [name for name in COCO17.joint_names if name in person.skeleton]
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[COCO17.indices(names)] = person.keypoints[person.skeleton.indices(names)]
    people.by_index[0] = [
        replace(person, keypoints=keypoints, world=None, world_spread=None, spread=np.zeros(17), skeleton=COCO17)
    ]
    image = np.zeros((*clip.size, 3), np.uint8)
    with fitter_of(people, "auto", weights) as fitter:
        assert len(fitter.fit_image(image)) == 1
    with fitter_of(people, "nbf", weights) as fitter, raises(InputError, remedy="`method=keypoints`"):
        fitter.fit_image(image)


def test_no_people_are_no_rows(clip, weights):
    with fitter_of(ReferencePeople(), "nbf", weights) as fitter:
        assert len(fitter.fit_image(np.zeros((*clip.size, 3), np.uint8))) == 0


@pytest.mark.extensive
def test_a_network_that_has_no_noise_only_serves_alone(clip, reference_people, tmp_path):
    silent = network_file(tmp_path / "silent.safetensors", noise=False)
    image = np.zeros((*clip.size, 3), np.uint8)
    found = {}
    for method in ("auto", "keypoints", "nbf"):
        network_weights = silent if method != "keypoints" else ""
        with fitter_of(reference_people, method, network_weights, focal=clip.focal) as fitter:
            found[method] = fitter.fit_image(image).poses
    np.testing.assert_array_equal(found["auto"], found["keypoints"])
    assert not np.array_equal(found["nbf"], found["keypoints"])


def test_wrong_weights_are_refused(tmp_path):
    with raises(InputError, problem="does not exist"):
        Fitter(FitOptions(method="nbf", network=NetworkOptions(str(tmp_path / "none"))))
    with raises(UsageError, subject="segmenter", problem="has no effect"):
        pixels = network_file(tmp_path / "rgb.safetensors", "rgb")
        Fitter(FitOptions(method="nbf", network=NetworkOptions(pixels, SHIPPED_SEGMENTER)))
    with raises(UsageError, subject="method"):
        FitOptions(method="guess")
    assert len(SMPL24) == 24


@pytest.mark.parametrize("method", ["keypoints", "nbf", "auto"])
def test_what_decides_a_fit_is_available_without_a_fitter(method):
    options = FitOptions(method=method, focal=900.0)
    with Fitter(options) as fitter:
        assert fitter.identity == options.identity({})
