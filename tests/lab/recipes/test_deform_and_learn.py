"""Deform-and-learn without its rounds: evidence, the network's losses, errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.painted_people import CocoPeople, painted_cache
from scipy.io import savemat

from humanpose_cli.body.body import default_body
from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose, gram_schmidt, in_image
from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.recipes.deform_and_learn.evidence import (
    CorrespondenceErrors,
    PeopleEvidence,
    ViewChange,
    charted_vertices,
    people_evidence,
    person_crop,
)
from humanpose_cli.lab.recipes.deform_and_learn.losses import RegressorLosses, RegressorTargets, regressor_losses
from humanpose_cli.lab.recipes.deform_and_learn.measure import (
    canonical_length,
    joint_errors,
    joint_truth,
)
from humanpose_cli.lab.recipes.deform_and_learn.recipe import (
    DEFORM_PRESETS,
    CropChange,
    DeformAndLearn,
    DeformTraining,
    RoundData,
    _Examples,
    _Inputs,
    mesh_views,
)
from humanpose_cli.lab.recipes.people import JoinedPeople, keypoints_of, lifted_detections, split_people
from humanpose_cli.models.deform_and_learn.correspondences import NearestVertices, texture_charts
from humanpose_cli.models.deform_and_learn.regressor import (
    BodyRegressor,
    BodyRegressorOptions,
    from_absolute,
    mirrored_pose,
    orthonormalise,
)


@pytest.fixture(scope="module")
def body() -> ScaledBody:
    return ScaledBody(default_body())


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = painted_cache(
        tmp_path_factory.mktemp("people") / "cache", count=5, maps=("persons", "parts", "correspondence")
    )
    return JoinedPeople.of(split_people(folder, ["box"])[0])


@pytest.fixture(scope="module")
def evidence(people) -> PeopleEvidence:
    return people_evidence(people, default_body(), SMPL24, 200, "labels", 0)


def posed(count: int) -> ScaledPose:
    generator = torch.Generator().manual_seed(1)
    start = ScaledPose.t_pose(count)
    return start._replace(
        axis_angles=0.3 * torch.randn(count, 23, 3, generator=generator),
        orientation=start.orientation + 0.2 * torch.randn(count, 9, generator=generator),
        translation=0.1 * torch.randn(count, 2, generator=generator),
    )


def targets_of(body: ScaledBody, pose: ScaledPose, points: int = 50) -> RegressorTargets:
    """What is known of bodies exactly as they are."""
    count = len(pose.scale)
    vertices = torch.randint(0, 13_000, (count, points), generator=torch.Generator().manual_seed(2))
    shown = in_image(body.points(pose, body.vertices(vertices)), pose)[..., :2]
    joints = in_image(body.points(pose, body.landmarks("smpl24")), pose)
    keypoints = torch.nn.functional.pad(joints[..., :2], (0, 1), value=1.0)
    depths = joints[..., 2] - joints[:, [1, 2], 2].mean(1, keepdim=True)
    return RegressorTargets(orthonormalise(pose).vector, torch.ones(count), keypoints, depths, shown, vertices)


def test_pixels_show_the_vertices_that_the_evidence_names(people, evidence):
    """In the true body's projection each named vertex lies at its pixel."""
    body = default_body()
    boxes = people.column("box")
    for number in range(2):
        person = people.example(number, (), image=False).person
        sample = people.parts[0].cache.sample(int(people.parts[0].images[number]))
        rotations = torch.from_numpy(person.poses).view(1, 24, 3)
        mesh = (
            body.pose(
                axis_angle_to_matrix(rotations),
                torch.from_numpy(person.betas)[None],
                torch.from_numpy(person.trans)[None],
            )
            .vertices[0]
            .numpy()
        )
        pixels = sample.focal * mesh[:, :2] / mesh[:, 2:] + 32
        unit = 0.86 / (boxes[number][2:] - boxes[number][:2]).max() * 2
        expected = (pixels - (boxes[number][:2] + boxes[number][2:]) / 2) * unit
        shown = evidence.vertices[number] >= 0
        distance = np.linalg.norm(expected[evidence.vertices[number]] - evidence.points[number], axis=1)[shown]
        assert shown.sum() > 100
        assert np.median(distance) < 0.7 * unit, "the nearest vertex to a pixel's middle lies within it, or nearly"


def test_evidence_of_a_person_depends_on_no_other_person(people, evidence):
    for numbers in (np.arange(len(people)), np.array([2, 0])):
        repeated = people_evidence(people.taken(numbers), default_body(), SMPL24, 200, "labels", 0)
        for name, values in evidence.arrays.items():
            np.testing.assert_array_equal(repeated.arrays[name], values[numbers])
    assert evidence.complete.all()


def test_what_a_cache_lacks_is_named(people, tmp_path):
    with raises(InputError, problem="lacks dense correspondences"):
        DeformAndLearn(painted_cache(tmp_path / "cache", count=5))
    no_keypoints = painted_cache(tmp_path / "none", count=5, lacks=("keypoints",))
    with raises(InputError, problem="lacks keypoints", expected="coco17", got="none"):
        keypoints_of(split_people(no_keypoints, ["box"])[0], COCO17)


def test_charts_name_vertices_in_maps_and_in_annotated_points(people):
    body, random = default_body(), np.random.default_rng(0)
    charts = texture_charts(body)
    nearest = NearestVertices(charts)
    rows = torch.arange(0, len(charts.charts), 2000)
    surface_points = torch.cat((torch.rand(len(rows), 2), charts.charts[rows, None], charts.uv[rows]), 1).numpy()
    example = people.example(0, (), image=False)
    annotated = replace(example, person=replace(example.person, surface_points=surface_points))
    points, vertices = charted_vertices(annotated, 99, nearest, random)
    order = [int(np.abs(surface_points[:, :2] - point).sum(1).argmin()) for point in points]
    assert sorted(order) == list(range(len(rows)))
    distance = body.template[vertices] - body.template[charts.vertices[rows[order]]]
    assert float(distance.norm(dim=1).max()) < 0.02
    shown = np.zeros((64, 64, 3), np.uint8)
    shown[5, 7] = int(charts.charts[50]), *(255 * charts.uv[50]).round().int().tolist()
    mapped = replace(example, maps={"densepose": shown}, mask=None)
    points, vertices = charted_vertices(mapped, 99, nearest, random)
    assert points.tolist() == [[7.5, 5.5]]
    assert float((body.template[vertices[0]] - body.template[charts.vertices[50]]).norm()) < 0.03
    assert len(charted_vertices(example, 99, nearest, random)[0]) == 0


class AnnotatedPeople(CocoPeople):
    """People with points of their surface, and with maps of vertices that are another data set's if `maps` has them."""

    def sample(self, group, frame):
        sample = super().sample(group, frame)
        points = np.array([[30.0, 31.0, 7, 1.0, 0.0], [32.0, 33.0, 7, 0.0, 1.0]])
        return replace(sample, people=(replace(sample.people[0], surface_points=points),))


@pytest.mark.slow
def test_people_of_maps_and_of_charts_have_correspondences_in_one_run(tmp_path):
    """As Table 1's "Ours (Mosh)": bodies projected into Human3.6M, annotated points in the other data sets."""
    body, maps = default_body(), ("persons", "parts", "correspondence")
    caches = [painted_cache(tmp_path / "maps", count=5, maps=maps), tmp_path / "annotated"]
    assert not build_cache(AnnotatedPeople(count=5, maps=maps), caches[1]).failures
    surface = {"All_vertices": np.arange(1, 4), "All_Faces": np.array([[1, 2, 3]]), "All_FaceIndices": np.array([7])}
    uv = {"All_U_norm": np.eye(3)[0], "All_V_norm": np.eye(3)[1]}  # vertex 0 is at 1, 0 of chart 7, vertex 1 at 0, 1
    savemat(tmp_path / "UV_Processed.mat", surface | uv)
    plan = DeformAndLearn(caches, DeformTraining(charts=str(tmp_path / "UV_Processed.mat"), visible=0.0))
    assert np.bincount(plan.people.sources).tolist() == [4, 4]
    evidence = people_evidence(plan.people, body, plan.skeleton, 8, "labels", 0, plan.nearest)
    by_charts = plan.people.sources == 1
    assert (evidence.vertices >= 0).any(1).all()
    for row in np.flatnonzero(by_charts):
        assert sorted(evidence.vertices[row].tolist()) == [-1] * 6 + [0, 1]
    assert len(np.unique(evidence.vertices[~by_charts])) > 20
    single = people_evidence(plan.people.taken(~by_charts), body, plan.skeleton, 8, "labels", 0)
    assert np.array_equal(evidence.vertices[~by_charts], single.vertices)


@pytest.mark.slow
def test_degraded_correspondences_are_near_the_true_ones_but_for_limbs(evidence):
    body = default_body()
    errors, random = CorrespondenceErrors(body), np.random.default_rng(0)
    template, parts = body.template.numpy(), body.part_labels.numpy()
    distance, changed, kept = [], [], []
    for _ in range(60):
        chosen = np.arange(200)
        estimate, vertices = errors(evidence.points[0], np.arange(0, 13_600, 68, dtype=np.int32), random)
        kept.append(len(vertices) / 200)
        if len(vertices) == 200:
            true = np.arange(0, 13_600, 68)
            distance.append(np.linalg.norm(template[vertices] - template[true], axis=1))
            changed.append((parts[vertices] != parts[true]).mean())
            assert np.abs(estimate - evidence.points[0][chosen]).max() < 2 / 112
    assert 0.85 < np.mean(kept) < 1
    assert 0.01 < np.median(np.concatenate(distance)) < 0.06
    assert 0 < np.mean(changed) < 0.15
    assert np.min(changed) == 0, "vertices stay on their part where no limb is swapped"


def test_the_truth_has_no_loss_and_every_other_body_has(body):
    pose = posed(3)
    targets = targets_of(body, pose)
    none = regressor_losses(orthonormalise(pose), targets, body, SMPL24, RegressorLosses())
    assert all(float(value) < 1e-8 for value in none.values())
    moved = pose._replace(translation=pose.translation + 0.1)
    lost = regressor_losses(orthonormalise(moved), targets, body, SMPL24, RegressorLosses())
    assert float(lost["dense"]) == pytest.approx(0.01, rel=1e-3)
    assert float(lost["keypoints"]) == pytest.approx(0.02 / 3, rel=1e-3)
    assert float(lost["regress"]) == pytest.approx(2 * 0.5 * 0.01, rel=1e-3)
    total = lost["regress"] + 10 * lost["dense"] + lost["keypoints"]
    assert float(lost["loss"]) == pytest.approx(float(total))
    squared = regressor_losses(orthonormalise(moved), targets, body, SMPL24, RegressorLosses(parameters="l2"))
    assert float(squared["regress"]) == pytest.approx(2 * 0.01, rel=1e-3)


def test_absolute_rotations_and_joints_are_compared(body):
    pose = posed(3)
    targets, losses = targets_of(body, pose), RegressorLosses(parameters="absolute")
    moved, turned = pose._replace(translation=pose.translation + 0.1), pose._replace(axis_angles=1 * pose.axis_angles)
    head = SMPL24.index("head") - 1  # turns nothing but itself and has no joints below
    turned.axis_angles[:, head] = 0
    straight = targets._replace(parameters=orthonormalise(turned).vector)
    turned.axis_angles[:, head, 1] = 0.6
    rotated = float(regressor_losses(orthonormalise(turned), straight, body, SMPL24, losses)["regress"])
    assert rotated == pytest.approx(0.5 * 4 * (1 - np.cos(0.6)), rel=1e-3)
    shifted = float(regressor_losses(orthonormalise(moved), targets, body, SMPL24, losses)["regress"])
    assert shifted == pytest.approx(24 * 2 * 0.1 + 2 * 0.01, rel=1e-3)


def test_networks_predict_bodies_by_absolute_rotations():
    pose = orthonormalise(posed(5))
    rotations = [pose.rotations[:, 0]]
    for joint, parent in list(enumerate(SMPL24.parents))[1:]:
        rotations.append(rotations[parent] @ pose.rotations[:, joint])
    columns = 1.7 * torch.stack(rotations, 1)[..., :2].flatten(1)
    outputs = torch.cat((pose.segment_scales, columns, pose.scale[:, None], pose.translation), 1)
    torch.testing.assert_close(from_absolute(outputs).vector, pose.vector, atol=1e-5, rtol=0)


def test_a_mirrored_person_has_the_mirrored_body(people):
    torch.manual_seed(0)
    network = BodyRegressor(BodyRegressorOptions(1, 16, inputs="pose")).eval()
    with torch.no_grad():
        network.head.weight.mul_(300)
        make = _Inputs(people, network.options)
        inputs = [torch.from_numpy(make.changed(1, ViewChange(mirror=mirror)))[None] for mirror in (False, True)]
        plain, reflected = map(network, inputs)
    assert (plain.axis_angles - mirrored_pose(plain).axis_angles).abs().max() > 0.1
    torch.testing.assert_close(reflected.vector, mirrored_pose(plain).vector, atol=1e-5, rtol=0)


def test_rejected_registrations_unknown_joints_and_missing_pixels_teach_nothing(body):
    pose = posed(2)
    targets = targets_of(body, pose)
    wild = targets._replace(
        parameters=targets.parameters + torch.tensor([[0.0], [9.0]]),
        accepted=torch.tensor([1.0, 0.0]),
        points=targets.points + 7 * (torch.arange(50) < 10)[None, :, None],
        vertices=torch.where(torch.arange(50) < 10, -1, targets.vertices),
        keypoints=targets.keypoints
        + torch.where(torch.arange(24) == 3, 1.0, 0.0)[None, :, None] * torch.tensor([5, 5, -1]),
    )
    lost = regressor_losses(orthonormalise(pose), wild, body, SMPL24, RegressorLosses())
    assert all(float(value) < 1e-8 for value in lost.values())


@pytest.mark.parametrize(("inputs", "mirror"), [("image", 0), ("image", 1), ("pose", 1)])
def test_augmented_crops_keep_people_and_parameters_together(people, evidence, body, inputs, mirror):
    """The changed parameters project the body onto the changed points."""
    pose = posed(len(people))
    targets = targets_of(body, pose, 200)
    moved = replace(
        evidence, keypoints=targets.keypoints.numpy(), points=targets.points.numpy(), vertices=targets.vertices.numpy()
    )
    accepted = np.ones(len(people), bool)
    data = RoundData(people, moved, pose.vector.numpy(), accepted, targets.depths.numpy(), people, moved)
    network = BodyRegressorOptions(18, 4, 32, inputs=inputs)
    change = CropChange(0.2, 0.1, roll=0.5, mirror=mirror)
    plain, changed = _Examples(data, network, change, SMPL24, body.body)(1, np.random.default_rng(5))
    changed_targets = RegressorTargets(*(torch.as_tensor(np.asarray(values))[None] for values in changed))
    assert abs(float(changed_targets.parameters[0, -3]) - 1) > 0.01
    lost = regressor_losses(
        ScaledPose.from_vector(changed_targets.parameters), changed_targets, body, SMPL24, RegressorLosses()
    )
    assert float(lost["loss"]) < 1e-5
    assert plain.shape == ((3, 32, 32) if inputs == "image" else (33, 6))


def test_landmarks_are_changed_as_keypoints_are(people, evidence, body):
    """The painted people's detections are exact: the knee that is called left stays where the left knee is."""
    data = RoundData(
        people, evidence, *(np.zeros((len(people), n), np.float32) for n in (105, 1, 24)), people, evidence
    )
    network = BodyRegressorOptions(1, 4, inputs="pose")
    for mirror in (0, 1):
        make = _Examples(data, network, CropChange(0.2, 0.1, roll=0.5, mirror=mirror), SMPL24, body.body)
        plain, changed = make(1, np.random.default_rng(5))
        keypoints = RegressorTargets(*changed).keypoints
        # Lifted landmarks turn and flip with the crop.
        view = make.change.drawn(np.random.default_rng(5))
        turned = lifted_detections(people.parts[0])[1] @ person_crop(people.column("box")[1], 2, view).roll.T
        for name in ("left_knee", "right_knee", "left_elbow"):
            row, source = BLAZEPOSE33.index(name), SMPL24.index(name)
            assert np.linalg.norm(plain[row, :2] - keypoints[source, :2]) < 0.1
            expected = turned[BLAZEPOSE33.mirror[row] if mirror else row] * (-1 if mirror else 1, 1, 1)
            np.testing.assert_allclose(plain[row, 3:], expected, atol=1e-5)
    pose = BodyRegressor(network).eval()(torch.from_numpy(plain)[None])
    torch.testing.assert_close(pose.vector, ScaledPose.t_pose(1).vector, atol=0.1, rtol=0)


def test_no_prediction_is_reflected():
    network = BodyRegressor(BodyRegressorOptions(18, 4, 32)).eval()
    wanted = torch.tensor([0.1, 0.2, -0.3, 0.9, -0.1, -0.2, 0.3, 0.8, 0.4]).view(3, 3)
    assert torch.linalg.det(wanted) < 0
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias[93:102] = wanted.flatten()
    matrix = network(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))).orientation.view(2, 3, 3)
    assert (torch.linalg.det(gram_schmidt(matrix.flatten(1))) > 0).all()
    torch.testing.assert_close(matrix[..., :2], wanted[:, :2].expand(2, 3, 2))


def test_samples_show_the_mesh_from_the_front_and_in_the_same_rows_from_the_side(body):
    pose = posed(1)
    vertices = in_image(body.points(pose, body.vertices()), pose)[0]
    image = np.full((100, 100, 3), 77, np.uint8)
    front, side = mesh_views(body, pose, image)
    for view, column in ((front, vertices[:, 0]), (side, vertices[:, 2])):
        rows, columns = np.nonzero((view != view[0, 0]).any(-1))
        for pixels, units in ((columns, column), (rows, vertices[:, 1])):
            shown = 50 * (1 + units.clamp(-1, 1))
            assert abs(pixels.min() - float(shown.min())) < 1.5
            assert abs(pixels.max() + 1 - float(shown.max())) < 1.5
    assert (image == 77).all()


def test_errors_are_measured_about_the_pelvis_at_the_canonical_size(people, body):
    true = joint_truth(people, SMPL24)
    length = canonical_length(body, SMPL24)
    assert 3 < length < 8
    lengths = np.linalg.norm(np.stack([true[:, a] - true[:, b] for a, b in SMPL24.bones]), axis=-1).sum(0)
    errors = joint_errors(7.0 * true + 3, true * (length / lengths)[:, None, None], SMPL24, length)
    np.testing.assert_allclose(errors.mpjpe, 0, atol=1e-9)
    true[0, 3] = np.nan
    assert len(joint_errors(true, true, SMPL24, length).mpjpe) == len(people) - 1
    assert joint_errors(true[:1], true[:1], SMPL24, length).means() == {}


def test_the_papers_preset_is_the_papers():
    options, loop = DEFORM_PRESETS["paper"]
    assert (options.network.layers, options.network.width, options.learning_rate) == (50, 64, 1e-4)
    assert (options.losses.regress, options.losses.dense, options.losses.keypoints) == (1, 10, 1)
    assert (loop.epochs, loop.batch_size, loop.decay) == (30, 30, 0)
    assert (options.losses.parameters, options.backbone) == ("smooth-l1", "imagenet")
    assert (options.skeleton, options.correspondence, options.registered_together) == ("h36m17", "labels", 10)
    registration = options.registration
    assert (registration.learning_rate, registration.stiff, registration.falling) == (0.1, 1.0, 0.0)
    # Kudo et al.'s lifter, without losses, changes of views and averages of this package.
    lifter = options.lifter
    assert (lifter.width, lifter.layers, lifter.learning_rate, lifter.heuristic) == (1024, 3, 2e-4, 1.0)
    assert (lifter.consistency, lifter.bones, lifter.pitch, lifter.roll, lifter.mirror) == (0, 0, 0, 0, 0)
    assert (lifter.turn, lifter.rescaled, options.lifter_batch, options.lifter_average) == (180, False, 16, 0)
    pose = BodyRegressorOptions(1, 4, inputs="pose")
    for wrong in (
        {"correspondence": "none", "charts": "UV_Processed.mat"},
        {"network": pose, "backbone": "imagenet"},
    ):
        with pytest.raises(UsageError):
            DeformTraining(**wrong)
