"""Segmenter and body network from a cache to weights that work, and what is said where labels are missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.painted_people import painted_cache

from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.loader import LoaderOptions
from humanpose_cli.lab.recipes.nbf.examples import BodyAugmentation, UnrenderedPeople
from humanpose_cli.lab.recipes.nbf.losses import LossOptions
from humanpose_cli.lab.recipes.nbf.recipe import NBF_PRESETS, NbfRecipe, NbfTraining
from humanpose_cli.lab.recipes.segmenter.recipe import SEGMENTER_PRESETS, SegmenterRecipe, SegmenterTraining
from humanpose_cli.lab.train.kept import validation_cautions
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import BEST, train
from humanpose_cli.models.nbf.inputs import InputOptions
from humanpose_cli.models.nbf.network import RegressorOptions, load_nbf
from humanpose_cli.models.segmenter.network import Segmenter, SegmenterOptions
from humanpose_cli.networks.weights import WeightsHeader, find_weights, write_weights

CPU = torch.device("cpu")
LOOP = TrainOptions(epochs=1, batch_size=8, workers=0, log_every=1, validate_every=10_000)
SMALL = RegressorOptions(18, 4, hidden=24, blocks=1)
PARTS = NbfTraining(InputOptions("parts", size=32), SMALL, crop=32, learning_rate=3e-3)
PROXY = replace(
    PARTS,
    inputs=InputOptions("proxy", size=32),
    regressor=replace(SMALL, noise=True),
    losses=LossOptions(1.0, 30.0, 30.0, 1.0),
    framing="detector",
)
SEGMENTER = SegmenterTraining(SegmenterOptions("tiny", parts=3, crop=32, width=4), learning_rate=1e-2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return painted_cache(tmp_path_factory.mktemp("people") / "cache", last_test=True)


@pytest.fixture(scope="module")
def segmenter(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmenter")
    result = train(SegmenterRecipe(cache, SEGMENTER), replace(LOOP, epochs=10), folder, CPU)
    return result, folder


def test_a_segmenter_learns_and_its_weights_segment(cache, segmenter):
    result, folder = segmenter
    assert result.finished
    assert result.metrics["iou"] > 0.2  # people are painted in the colours of their parts
    assert set(result.metrics) >= {"iou", "f1", "iou_with_background", "f1_trunk", "f1_arms", "f1_legs"}
    assert list((folder / "samples").glob("*.png"))
    loaded = Segmenter.load(folder / BEST, parts=3)
    opened = open_cache(cache)
    row = int(opened.rows("painted", "validation")[0])
    estimate = loaded.segment(opened.image(row), opened.people["box"][opened.people_of(row)[0]])
    assert (estimate.labels > 0).mean() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("options", [PARTS, PROXY], ids=["parts", "proxy"])
def test_a_body_network_trains_and_its_weights_load(cache, tmp_path, options):
    recipe = NbfRecipe(cache, options)
    result = train(recipe, replace(LOOP, epochs=2), tmp_path, CPU)
    rotations = {"err_quat_rad", "err_quat_absolute_rad"}
    assert set(result.metrics) == {"pa_mpjpe_mm", "pa_mpjpe_median_mm", "mpjpe_mm", "pve_mm", "pckh"} | rotations
    assert 5 < result.metrics["pa_mpjpe_mm"] < 400
    network = load_nbf(tmp_path / BEST)
    assert network.config.inputs == options.inputs
    kept = {**recipe.model.state_dict()}
    torch.testing.assert_close(network.regressor.mean_betas, kept["mean_betas"], atol=1e-3, rtol=1e-3)
    assert list((tmp_path / "samples").glob("*.png"))


@pytest.mark.extensive
@pytest.mark.parametrize("options", [PARTS, *extensive(PROXY)], ids=["parts", "proxy"])
def test_a_body_network_learns_a_few_people_by_heart(cache, options):
    recipe = NbfRecipe(cache, replace(options, augmentation=BodyAugmentation(0.0, 0.0, 0.0)))
    batch = next(iter(recipe.batches(LoaderOptions(8))))
    optimiser = torch.optim.Adam(recipe.model.parameters(), 5e-3)
    losses = []
    for _ in range(60):
        terms = recipe.losses("fit", batch)
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
        losses.append(float(terms["latent"].detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_labels_say_what_the_crop_shows(cache):
    """Without shifts, the joints of the labelled parameters at the fixed place are the joints of the crop."""
    options = replace(PARTS, augmentation=BodyAugmentation(0.0, 0.0, 0.5))
    recipe = NbfRecipe(cache, options)
    batch = next(iter(recipe.batches(LoaderOptions(8))))
    points = recipe.layer.project(recipe.layer(batch["betas"], batch["rotations"]))
    # A person at 3.6 m is bent by perspective, one at 20 m is not.
    assert float((points - batch["joints2d"][..., :2]).abs().mean()) < 0.03
    assert batch["has_3d"].all()


@pytest.mark.slow
def test_the_detectors_framing_is_the_labels_framing_where_the_detector_never_errs(cache):
    plain, framed = (
        NbfRecipe(cache, replace(PARTS, framing=framing, augmentation=BodyAugmentation(0.0, 0.0, 0.0)))
        for framing in ("labels", "detector")
    )
    a, b = (next(iter(r.batches(LoaderOptions(8, shuffle=False)))) for r in (plain, framed))
    # The detector's landmarks are perspective, and the shape follows the size that they tell.
    assert float((a["joints2d"] - b["joints2d"])[..., :2].abs().mean()) < 0.08
    torch.testing.assert_close(a["rotations"], b["rotations"], atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_mirrored_example_is_the_mirror_image_of_the_plain_one(cache):
    """Parts, joints, world landmarks and rotations; the framing by the detector included."""
    for options in (PARTS, replace(PROXY, unrendered=0.0)):
        plain, mirrored = (
            next(
                iter(
                    NbfRecipe(
                        cache, replace(options, framing="detector", augmentation=BodyAugmentation(0.0, 0.0, mirror))
                    ).batches(LoaderOptions(4, shuffle=False))
                )
            )
            for mirror in (0.0, 1.0)
        )
        flip = torch.tensor([-1.0, 1.0, 1.0])
        joints = mirrored["joints2d"][:, list(SMPL24.mirror)] * flip
        # The pelvis stands 1.2 cm beside the axis, in both on the same side: 0.023 of half the crop.
        torch.testing.assert_close(joints, plain["joints2d"], atol=0.035, rtol=0)
        rotations = mirrored["rotations"][:, list(SMPL24.mirror)] * flip * flip[:, None]
        torch.testing.assert_close(rotations, plain["rotations"], atol=0.01, rtol=0)
        if "vector" in plain:
            swap, mirrored_vector = list(BLAZEPOSE33.mirror), mirrored["vector"]
            world = mirrored_vector[:, 99:198].unflatten(1, (33, 3))[:, swap] * flip
            torch.testing.assert_close(world.flatten(1), plain["vector"][:, 99:198], atol=1e-5, rtol=0)
            positions = mirrored_vector[:, :66].unflatten(1, (33, 2))[:, swap] * flip[:2]
            torch.testing.assert_close(positions.flatten(1), plain["vector"][:, :66], atol=0.035, rtol=0)


@pytest.mark.slow
def test_people_that_the_detector_took_for_others_are_left_out(tmp_path):
    """Landmarks of somebody else teach nothing about a person."""
    folder = painted_cache(tmp_path / "cache", count=10, mistaken=(0, 5), last_test=True)
    assert len(NbfRecipe(folder, PARTS).people) == 8
    assert len(NbfRecipe(folder, PROXY).people) == 6


@pytest.mark.slow
def test_unrendered_people_have_labels_that_agree():
    """The landmarks' limbs are those of the labelled body, whose joints land on its silhouette."""
    people = UnrenderedPeople(seed=3, count=64)
    for number in range(6):
        example = people.example(np.random.default_rng(number))
        person = example.person
        points = person.keypoints["smpl24"]
        space = person.joints["smpl24"][:, :3]
        centre = torch.tensor([example.principal_point])
        pixels = project(torch.from_numpy(space), torch.tensor([example.focal], dtype=torch.float32), centre)[0]
        np.testing.assert_allclose(points[:, :2], pixels, atol=0.02)
        inside = ((points[:, :2] > 1) & (points[:, :2] < 127)).all(1)
        columns, rows = points[inside, :2].astype(int).T
        assert (example.detected_mask[rows, columns] > 40).mean() > 0.8
        ankle = BLAZEPOSE33.index("left_ankle")
        assert np.linalg.norm(person.detected[ankle, :2] - points[SMPL24.index("left_ankle"), :2]) < 12
        repeated = people.example(np.random.default_rng(number)).person
        np.testing.assert_array_equal(repeated.detected, person.detected)


@pytest.mark.slow
@pytest.mark.parametrize("options", [PROXY, PARTS], ids=["proxy", "parts"])
def test_unrendered_people_among_the_others(cache, options):
    recipe = NbfRecipe(cache, replace(options, unrendered=1.0, unrendered_poses=64))
    batch = next(iter(recipe.batches(LoaderOptions(4))))
    rendered = next(iter(NbfRecipe(cache, replace(options, unrendered=0.0)).batches(LoaderOptions(4))))
    assert {name: (v.shape, v.dtype) for name, v in batch.items()} == {
        n: (v.shape, v.dtype) for n, v in rendered.items()
    }
    assert batch["has_3d"].all()
    assert (batch["betas"][:, None] != rendered["betas"]).all()


def test_unrendered_people_have_no_image():
    with raises(UsageError, subject="unrendered"):
        replace(PARTS, inputs=InputOptions("rgb", size=32), unrendered=0.5)


@pytest.mark.slow
def test_fractions_of_3d_labels(cache):
    losses = LossOptions(1.0, points2d=1.0, fraction_3d=0.4)
    recipe = NbfRecipe(cache, replace(PARTS, losses=losses))
    batch = next(iter(recipe.batches(LoaderOptions(16))))
    kept = int(batch["has_3d"].sum())
    assert 1 <= kept < 16
    assert (batch["joints2d"][..., 2] == 1).all()
    control = NbfRecipe(cache, replace(PARTS, losses=replace(losses, extra_2d=False)))
    batch = next(iter(control.batches(LoaderOptions(16))))
    assert batch["has_3d"].all()
    none = NbfRecipe(cache, replace(PARTS, losses=replace(losses, extra_2d=False, fraction_3d=0.0)))
    with raises(InputError, problem="keeps no 3-D labels"):
        none.batches(LoaderOptions(4))


@pytest.mark.slow
def test_people_without_poses_teach_by_their_joints(tmp_path):
    """Poses that are NaN in the cache: left out where 3-D is all that is learned, 2-D labels of use otherwise."""
    folder = painted_cache(tmp_path / "cache", count=10, unknown=(0, 1, 2), last_test=True)
    assert len(NbfRecipe(folder, PARTS).people) == 5
    recipe = NbfRecipe(folder, replace(PARTS, losses=LossOptions(1.0, points2d=1.0)))
    assert len(recipe.people) == 8
    batch = next(iter(recipe.batches(LoaderOptions(8))))
    assert int(batch["has_3d"].sum()) == 5
    losses = recipe.losses("fit", batch)
    losses["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in recipe.model.parameters() if p.grad is not None)


def test_people_with_scaled_segments_are_left_out_and_counted(tmp_path):
    """Poses and betas alone are another body than theirs."""
    folder = painted_cache(tmp_path / "cache", count=15, last_test=True, scaled=(0, 1, 4))  # the last is held out
    recipe = NbfRecipe(folder, PARTS)
    assert [len(recipe.people), len(recipe.held_out)] == [10, 2]
    assert recipe.validation_data["left_out"] == "3 people with scaled segments"
    assert "left out of training and validation: 3 people with scaled segments" in validation_cautions(
        recipe.validation_data
    )
    everybody = painted_cache(tmp_path / "all", count=5, scaled=tuple(range(5)))
    with raises(InputError, problem="has no person to learn from", expected=("unscaled segments", "in both splits")):
        NbfRecipe(everybody, PARTS)
    assert "left_out" not in NbfRecipe(painted_cache(tmp_path / "none", count=15), PARTS).validation_data


@pytest.mark.parametrize(
    ("lacks", "make", "message"),
    [
        (("parts",), lambda d: SegmenterRecipe(d, SEGMENTER), "maps of body parts, expected pictures/maps/parts; make"),
        (("parts",), lambda d: NbfRecipe(d, PARTS), "maps of body parts"),
        (("detected", "detected_world", "detected_mask"), lambda d: NbfRecipe(d, PROXY), "--detections"),
        (("poses", "betas", "trans"), lambda d: NbfRecipe(d, PARTS), "body parameters, expected people/poses; make it"),
        (("keypoints",), lambda d: NbfRecipe(d, PARTS), "joints of smpl24"),
    ],
)
def test_caches_without_the_labels_say_which_and_how_to_get_them(tmp_path, lacks, make, message):
    folder = painted_cache(tmp_path / "cache", count=5, lacks=lacks)
    with pytest.raises(InputError) as caught:
        make(folder)
    assert message in str(caught.value)
    assert "lacks" in str(caught.value)


@pytest.mark.slow
def test_tiny_caches(tmp_path):
    one = painted_cache(tmp_path / "one", count=1, splits=False)
    for make in (lambda: SegmenterRecipe(one, SEGMENTER), lambda: NbfRecipe(one, PARTS)):
        with raises(InputError, expected="two or more in all"):
            make()
    few = painted_cache(tmp_path / "few", count=3, splits=False)
    recipe = NbfRecipe(few, PARTS)
    assert len(recipe.people) + len(recipe.held_out) == 3
    with raises(InputError, problem="too few people", expected="8 or more", got="2", remedy="a smaller `batch_size`"):
        recipe.batches(LoaderOptions(8))


def test_presets_are_the_papers_where_they_say_so():
    options, loop = NBF_PRESETS["paper"]
    assert (options.learning_rate, loop.epochs, loop.batch_size, options.weight_decay) == (4e-5, 150, 5, 1e-4)
    assert (options.inputs.size, options.regressor.layers, options.crop) == (224, 50, 512)
    weights = (options.losses.latent, options.losses.points3d, options.losses.points2d)
    assert weights == pytest.approx((1 / 226, 1 / 24, 1 / 24))  # the authors' means in place of our sums
    assert options.backbone == SEGMENTER_PRESETS["paper"][0].backbone == "imagenet"
    options, loop = SEGMENTER_PRESETS["paper"]
    assert (options.learning_rate, loop.epochs, loop.batch_size, options.weight_decay) == (2e-5, 20, 5, 1e-4)
    assert (options.augmentation.scale, options.augmentation.mirror) == (0.1, 0.5)
    assert options.augmentation.rotation == pytest.approx(np.pi / 4)
    assert NBF_PRESETS["small-proxy"][0].framing == "detector"
    assert set(NBF_PRESETS) == {"paper", "small", "small-proxy", "ablation"}


def test_options_that_contradict_each_other_are_refused():
    for wrong in (
        {"source": "segmenter"},
        {"losses": LossOptions(noise=1.0)},
    ):
        with pytest.raises(UsageError):
            NbfTraining(**wrong)


@pytest.mark.slow
def test_variants_are_remembered_and_serve_other_losses(cache):
    """The same views again and again, and labels that are kept or not for each set of losses."""
    memory = {}
    options = replace(PARTS, variants=2, augmentation=BodyAugmentation(scale=0.3))
    batches = [
        next(
            iter(NbfRecipe(cache, replace(options, losses=losses), memory=memory).batches(LoaderOptions(8, seed=seed)))
        )
        for seed, losses in ((0, LossOptions()), (0, LossOptions(points2d=1.0, fraction_3d=0.0)))
    ]
    torch.testing.assert_close(batches[0]["image"], batches[1]["image"])
    assert batches[0]["has_3d"].all()
    assert not batches[1]["has_3d"].any()
    kept = len(memory)
    assert 8 <= kept <= 32
    fresh = next(iter(NbfRecipe(cache, options).batches(LoaderOptions(8, seed=0))))
    torch.testing.assert_close(fresh["image"], batches[0]["image"], atol=1e-3, rtol=0)
    assert len(memory) == kept


@pytest.mark.slow
def test_trainings_begin_with_shipped_weights_by_name(cache):
    options = replace(NBF_PRESETS["small"][0], source="segmenter", segmenter="segmenter", start="nbf-parts")
    recipe = NbfRecipe(cache, options)
    expected = load_nbf(find_weights("nbf-parts")).regressor.backbone.conv1.weight
    torch.testing.assert_close(recipe.model.backbone.conv1.weight, expected)
    repeated = SegmenterRecipe(cache, replace(SEGMENTER_PRESETS["small"][0], start="segmenter"))
    torch.testing.assert_close(repeated.model.state_dict(), recipe.segmenter.network.state_dict())


@pytest.mark.extensive
def test_a_network_may_begin_with_anothers_backbone(cache, tmp_path):
    train(NbfRecipe(cache, PARTS), LOOP, tmp_path, CPU)
    start = str(tmp_path / BEST)
    repeated = NbfRecipe(cache, replace(PARTS, start=start), seed=5)
    first = load_nbf(tmp_path / BEST).regressor.state_dict()
    for name, value in repeated.model.state_dict().items():
        if not name.startswith("mean_"):
            torch.testing.assert_close(value, first[name])
    recipe = NbfRecipe(cache, replace(PROXY, start=start))
    torch.testing.assert_close(
        recipe.model.backbone.conv1.weight, load_nbf(tmp_path / BEST).regressor.backbone.conv1.weight
    )
    write_weights(tmp_path / BEST, {"regressor.other.weight": torch.zeros(1)}, WeightsHeader("nbf"))
    with raises(InputError, problem="has nothing of this network"):
        NbfRecipe(cache, replace(PROXY, start=start))


@pytest.mark.extensive
def test_parts_and_the_detectors_numbers_together(cache, segmenter, tmp_path):
    options = replace(PROXY, inputs=InputOptions("proxy", parts=3, size=32), crop=32)
    options = replace(options, unrendered=0.3, unrendered_poses=64)
    result = train(NbfRecipe(cache, options), LOOP, tmp_path, CPU)
    assert 5 < result.metrics["pa_mpjpe_mm"] < 400
    recipe = NbfRecipe(cache, replace(options, source="segmenter", segmenter=str(segmenter[1] / BEST), unrendered=0.0))
    batch = next(iter(recipe.batches(LoaderOptions(4))))
    assert set(batch) >= {"segmenter_input", "vector"}
    assert recipe.predict(batch).rotations.shape == (4, 24, 3, 3)


@pytest.mark.slow
def test_who_is_hardly_visible_is_left_out(cache, tmp_path):
    everybody = NbfRecipe(cache, PARTS)
    assert len(NbfRecipe(cache, replace(PARTS, visible=1.0)).people) == len(everybody.people)
    assert len(NbfRecipe(cache, replace(PARTS, people=5)).people) == 5
    hidden = open_cache(cache).people["keypoints/smpl24"][:].copy()
    assert (hidden[..., 2] == 1).all()  # painted people have nothing before them
    with raises(UsageError, subject="visible", problem="is out of range", expected="0 to 1"):
        replace(PARTS, visible=1.5)
