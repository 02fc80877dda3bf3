"""Training of warp3d: pairs, crops that agree, losses, and that it learns."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.posed_people import PosedPeople
from helpers.warp3d_poses import MINI
from scipy.ndimage import gaussian_filter
from skimage.measure import block_reduce

from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.lab.cache.augmentation import NO_AUGMENTATION, WARP3D_AUGMENTATION
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.loader import LoaderOptions
from humanpose_cli.lab.recipes.warp3d import recipe as warp3d_recipe
from humanpose_cli.lab.recipes.warp3d.pairs import PairCrops, Pairs, drawn_pairs, listed_pairs, one_camera
from humanpose_cli.lab.recipes.warp3d.recipe import WARP3D_PRESETS, Warp3dRecipe, Warp3dTraining
from humanpose_cli.lab.train.kept import validation_cautions
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import BEST, train
from humanpose_cli.models.warp3d.config import DiscriminatorConfig
from humanpose_cli.models.warp3d.generator import load_warp3d
from humanpose_cli.networks.weights import WeightsHeader, write_weights

SMALL = Warp3dTraining(
    MINI, DiscriminatorConfig(4, (8, 8), (1, 1)), perceptual="pixels", augmentation=NO_AUGMENTATION, learning_rate=2e-3
)
ALONE = replace(SMALL, adversarial_weight=0.0)
AUTHORS = replace(MINI, authors_details=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Cache of a source, made once for each."""
    output = {}

    def make(**options):
        key = str(sorted(options.items()))
        if key not in output:
            output[key] = tmp_path_factory.mktemp("posed")
            assert not build_cache(PosedPeople(**options), output[key]).failures
        return output[key]

    return make


def crops(pairs, number=0, size=32, augmentation=NO_AUGMENTATION, seed=0):
    return PairCrops(pairs, size, augmentation)(number, np.random.default_rng(seed))


# Pairs


def targets_of(pairs: Pairs, number: int) -> np.ndarray:
    """The K targets of an input as (K, 2) image and person."""
    numbers = np.arange(*pairs.spans[number])
    return pairs.targets[numbers[numbers != pairs.excluded[number]]]


def test_listed_pairs_are_the_protocols(folder):
    pairs = listed_pairs(open_cache(folder()), "p", "train")
    assert len(pairs) == 12
    assert pairs.inputs[:4, 0].tolist() == [0, 1, 2, 3]
    assert [targets_of(pairs, number)[:, 0].tolist() for number in range(4)] == [[1], [0], [3], [2]]
    assert pairs.images([0, 3]).tolist() == [0, 1, 2, 3]


def test_drawn_pairs_stay_within_their_group_and_split(folder):
    cache = open_cache(folder(length=4))
    rows = cache.rows("p", "train")
    pairs = drawn_pairs(cache, rows)
    assert len(pairs) == len(rows) == 24
    for number, (row, _) in enumerate(pairs.inputs):
        group = next(g for g in cache.groups.values() if row in g)
        assert targets_of(pairs, number)[:, 0].tolist() == sorted(set(group) - {row})
        assert pairs.images([number]).tolist() == list(group)
    for number in (0, 2, 7):
        random = np.random.default_rng(0)
        draws = {tuple(example.name for example in pairs.examples(number, random)) for _ in range(30)}
        names = [
            cache.sample(row).name for row in (*pairs.inputs[number : number + 1, 0], *targets_of(pairs, number)[:, 0])
        ]
        assert draws == {(names[0], name) for name in names[1:]}


def test_pairs_without_a_fitted_person_are_left_out_and_counted(folder):
    """Listed pairs have both images; drawn ones stand for each image that could have been an input."""
    cache = open_cache(folder(lost=((0, 1), (2, 0))))
    listed = listed_pairs(cache, "p", "train")
    assert (len(listed), list(listed.missed)) == (8, [(0, 1), (1, 0), (4, 5), (5, 4)])
    assert listed.left_out() == "4 of 12 pairs, without a usable person in one of the images"
    clips = open_cache(folder(length=4, lost=((0, 1), (1, 0), (1, 1), (1, 2), (1, 3))))
    drawn = drawn_pairs(clips, clips.rows("p", "train"))
    assert [first for first, _ in drawn.missed] == [1, 4, 5, 6, 7]
    assert all(first // 4 == second // 4 and first != second for first, second in drawn.missed)
    assert len(drawn) + len(drawn.missed) == 24
    kept, held = drawn.groups_held_out(3)
    assert kept.left_out(held) == drawn.left_out()
    assert listed_pairs(open_cache(folder()), "p", "train").left_out() == ""


@pytest.mark.slow
def test_a_training_names_the_pairs_it_lacks(folder):
    data = Warp3dRecipe(folder(lost=((0, 1), (3, 0)), test=True), ALONE).validation_data
    left_out = "4 of 16 pairs, without a usable person in one of the images"
    assert data["left_out"] == left_out
    assert f"left out of training and validation: {left_out}" in validation_cautions(data)
    assert "left_out" not in Warp3dRecipe(folder(test=True), ALONE).validation_data


class Published(PosedPeople):
    """As for the figures that the authors publish: the groups for validation are learned from."""

    def split(self, group: int) -> str:
        return "test" if group == self.count else "train"


def test_all_groups_are_learned_from_if_none_is_held_out(tmp_path):
    build_cache(Published(test=True), tmp_path)
    recipe = Warp3dRecipe(tmp_path, replace(ALONE, generator=AUTHORS))
    assert (len(recipe.pairs), len(recipe.held_out)) == (16, 2)
    data = recipe.validation_data
    assert (data["split"], data["apart"]) == ("test", False)
    held_out = Warp3dRecipe(tmp_path, ALONE)
    assert (len(held_out.pairs), len(held_out.held_out)) == (14, 2)
    assert held_out.validation_data["split"] == "train"
    assert WARP3D_PRESETS["paper"][1].keep == "last"


def test_the_person_is_found_by_name_in_a_crowd(folder):
    cache = open_cache(folder(crowd=True))
    for pairs in (listed_pairs(cache, "p", "train"), drawn_pairs(cache, cache.rows("p", "train"))):
        for number in range(len(pairs)):
            first, second = pairs.examples(number, np.random.default_rng(0))
            assert first.person.identity == second.person.identity
            assert first.person.identity.startswith("person")


@pytest.mark.slow
def test_clips_are_drawn_and_pairs_listed(folder):
    for length, targets in ((2, 1), (4, 3)):
        pairs = Warp3dRecipe(folder(length=length, test=True), ALONE).pairs
        assert {len(targets_of(pairs, number)) for number in range(len(pairs))} == {targets}
    assert len(Warp3dRecipe(folder(lists=False, test=True), ALONE).pairs) == 12


# Crops


def test_both_images_are_cut_out_by_one_frame(folder):
    """What stands still lies on the same pixels, augmented or not; joints lie on the painted person."""
    pairs = listed_pairs(open_cache(folder()), "p", "train")
    for augmentation in (NO_AUGMENTATION, WARP3D_AUGMENTATION):
        for seed in range(4):
            output = crops(pairs, 2, 64, augmentation, seed)
            static = cv2.dilate(output["source_mask"] + output["target_mask"], np.ones((7, 7))) == 0
            distance = np.abs(output["input"].astype(int) - output["target"]).max(-1)
            assert static.mean() > 0.4
            assert distance[static].max() <= 3
            for name in ("source", "target"):
                x, y = output[f"{name}_joints"][REPOSING19.index("left_elbow"), :2].astype(int)
                assert output[f"{name}_mask"][y - 1 : y + 2, x - 1 : x + 2].any()


def test_all_target_joints_are_jittered_in_depth_by_one_draw(folder):
    pairs = listed_pairs(open_cache(folder()), "p", "train")
    plain = PairCrops(pairs, 32)(0, np.random.default_rng(0))
    shifts = []
    for seed in range(20):
        output = PairCrops(pairs, 32, depth_jitter=0.5)(0, np.random.default_rng(seed))
        shift = output["target_joints"] - plain["target_joints"]
        assert not np.any(shift[:, :2])
        np.testing.assert_allclose(shift[:, 2], shift[0, 2], atol=1e-5)
        np.testing.assert_array_equal(output["source_joints"], plain["source_joints"])
        shifts.append(shift[0, 2])
    assert -0.5 <= min(shifts) < -0.2
    assert 0.2 < max(shifts) <= 0.5


def test_mirrored_pairs_are_mirrored_both(folder):
    pairs = listed_pairs(open_cache(folder()), "p", "train")
    mirror = replace(NO_AUGMENTATION, mirror=1.0)
    plain, mirrored = crops(pairs), crops(pairs, augmentation=mirror)
    for name in ("input", "target"):
        np.testing.assert_allclose(mirrored[name], plain[name][:, ::-1].astype(int), atol=3)
    order = list(REPOSING19.mirror)
    for name in ("source_joints", "target_joints"):
        expected = plain[name][order] * (-1, 1, 1) + (32, 0, 0)
        np.testing.assert_allclose(mirrored[name], expected, atol=1e-3)


def test_colours_change_alike(folder):
    pairs = listed_pairs(open_cache(folder()), "p", "train")
    colours = replace(WARP3D_AUGMENTATION, rotation=0.0, scale=0.0, shift=0.0, mirror=0.0)
    plain, changed = crops(pairs, 0, 64), crops(pairs, 0, 64, colours, seed=3)
    assert np.abs(changed["input"].astype(int) - plain["input"]).mean() > 5
    static = (plain["source_mask"] + plain["target_mask"]) == 0
    distance = np.abs(changed["input"].astype(int) - changed["target"]).max(-1)
    assert np.median(distance[static]) == 0
    np.testing.assert_array_equal(changed["source_joints"], plain["source_joints"])


def test_the_frame_holds_both_people(folder):
    pairs = drawn_pairs(open_cache(folder(length=4)), np.arange(4))
    for number in range(4):
        output = crops(pairs, number)
        for name in ("source_joints", "target_joints"):
            assert (output[name][:, :2] > 0).all()
            assert (output[name][:, :2] < 32).all()


def test_images_of_two_cameras_are_cut_out_each(folder):
    first, second = listed_pairs(open_cache(folder()), "p", "train").examples(0, np.random.default_rng(0))
    assert one_camera(first, second)
    assert not one_camera(first, replace(second, focal=2 * second.focal))
    assert not one_camera(first, replace(second, principal_point=(0.0, 0.0)))


# Losses and metrics


@pytest.fixture
def batch(folder):
    recipe = Warp3dRecipe(folder(), SMALL)
    return recipe, next(iter(recipe.batches(LoaderOptions(batch_size=4))))


@pytest.mark.slow
def test_each_side_learns_by_its_loss(batch):
    recipe, batch = batch
    losses = recipe.losses("generator", batch)
    losses["loss"].backward()
    expected = 3 * losses["perceptual"] + losses["adversarial"]
    torch.testing.assert_close(losses["loss"], expected)
    assert all(p.grad is not None for p in recipe.generator.parameters())
    assert all(p.grad is None for p in recipe.discriminator.parameters())
    recipe.generator.zero_grad()
    losses = recipe.losses("discriminator", batch)
    losses["loss"].backward()
    assert all(p.grad is not None for p in recipe.discriminator.parameters())
    assert all(p.grad is None for p in recipe.generator.parameters())
    assert losses["true"].ndim == losses["made"].ndim == 0


@pytest.mark.slow
def test_each_part_of_a_batch_is_judged_by_its_drawing(batch):
    recipe, whole = batch
    parts = [{name: values[rows] for name, values in whole.items()} for rows in (slice(0, 2), slice(2, 4))]
    for part in parts:
        recipe.losses("generator", part)
    together = [recipe.losses("discriminator", part)["made"] for part in parts]
    for part, expected in zip(parts, together, strict=True):
        recipe.losses("generator", part)
        torch.testing.assert_close(recipe.losses("discriminator", part)["made"], expected)


def test_without_an_adversary_there_is_none(folder):
    recipe = Warp3dRecipe(folder(), ALONE)
    assert [phase.name for phase in recipe.phases()] == ["generator"]
    assert list(recipe.model) == ["generator"]
    assert [p.name for p in Warp3dRecipe(folder(), SMALL).phases()] == ["generator", "discriminator"]
    assert all(p.betas == (0.5, 0.999) for p in recipe.phases())


@pytest.mark.slow
def test_the_generator_learns_alone_at_first(folder, batch):
    recipe = Warp3dRecipe(folder(), replace(SMALL, adversarial_after=2))
    for step in range(4):
        alone = step < 2
        assert recipe.graph_key(step) == (not alone)
        losses = recipe.losses("generator", batch[1])
        assert ("adversarial" in losses) == (not alone)
        assert (recipe.losses("discriminator", batch[1]) is None) == alone
    with raises(UsageError, problem="out of range"):
        Warp3dTraining(adversarial_after=-1)


@pytest.mark.slow
def test_labels_are_smoothed_and_weights_decay_as_the_authors(folder, batch, monkeypatch):
    """The label of true images is 0.875 for the discriminator; losses have half the squares of convolutions' weights,
    those of E2D before the lift, and of the discriminator before its last.
    """
    recipe = Warp3dRecipe(folder(), replace(SMALL, generator=AUTHORS))
    losses, plain = {}, {}
    for side in ("generator", "discriminator"):
        torch.manual_seed(0)  # of the inpainter's noise
        losses[side] = recipe.losses(side, batch[1])
    monkeypatch.setattr(warp3d_recipe, "_LABEL_SMOOTHING", 0.0)
    monkeypatch.setattr(warp3d_recipe, "_WEIGHT_DECAY", 0.0)
    for side in ("generator", "discriminator"):
        torch.manual_seed(0)
        plain[side] = recipe.losses(side, batch[1])
    difference = {side: float((losses[side]["loss"] - plain[side]["loss"]).detach()) for side in losses}

    def half_squares(module, *beginnings):
        weights = [p.detach() for name, p in module.named_parameters() if p.ndim == 4 and name.startswith(beginnings)]
        return sum(float(weight.square().sum()) for weight in weights) / 2

    of_generator = half_squares(recipe.generator.lifting, "stem", "stages")
    assert difference["generator"] == pytest.approx(1e-4 * of_generator, rel=1e-2)
    of_weights = half_squares(recipe.discriminator, "images", "pose", "blocks")
    smoothed = 0.125 * float(losses["discriminator"]["true"].detach())
    assert difference["discriminator"] == pytest.approx(1e-4 * of_weights + smoothed, rel=1e-2)


def test_the_mask_is_learned_where_requested(folder, batch):
    recipe = Warp3dRecipe(folder(), replace(ALONE, mask_weight=2.0))
    losses = recipe.losses("generator", batch[1])
    torch.testing.assert_close(losses["loss"], 3 * losses["perceptual"] + 2 * losses["mask"])
    unknown = {**batch[1], "masks_known": torch.zeros(4)}
    assert recipe.losses("generator", unknown)["mask"] == 0


def similarity(a, b):
    """SSIM (H, W, 3) of two images at every pixel, by its definition (Wang et al. 2004)."""

    def mean(x):
        return gaussian_filter(x, (1.5, 1.5, 0), truncate=3.5)

    spreads = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
    both = mean(a * b) - mean(a) * mean(b)
    brightness = (2 * mean(a) * mean(b) + 1e-4) / (mean(a) ** 2 + mean(b) ** 2 + 1e-4)
    return brightness * (2 * both + 9e-4) / (spreads + 9e-4)


def test_the_pixels_of_the_person_are_learned_where_requested(folder, batch):
    """Against SciPy, pair by pair; pixels beside the person and pairs of unknown masks do not count."""
    recipe = Warp3dRecipe(folder(), replace(ALONE, person_weight=2.0))
    flags = torch.tensor([1.0, 0.0, 1.0, 1.0])
    masked_batch = {**batch[1], "masks_known": flags}
    losses = recipe.losses("generator", masked_batch)
    torch.testing.assert_close(losses["loss"], 3 * losses["perceptual"] + 2 * losses["person"])
    output = recipe._drawn(masked_batch).image.detach().movedim(1, -1).double().numpy() / 2 + 0.5
    true, masks = masked_batch["target"].double().numpy() / 255, masked_batch["target_mask"].double().numpy()
    each = []
    for a, b, mask in zip(output, true, masks, strict=True):
        total = 0.0
        for _ in range(3):
            distance = np.abs(a - b) + 0.5 * (1 - similarity(a, b))
            total += (distance * mask[..., None]).sum() / (3 * mask.sum())
            a, b, mask = (block_reduce(p, (2, 2, 1)[: p.ndim], np.mean) for p in (a, b, mask))
        each.append(total / 3)
    assert losses["person"].item() == pytest.approx(np.mean([each[0], each[2], each[3]]), abs=1e-4)
    assert recipe.losses("generator", {**masked_batch, "masks_known": torch.zeros(4)})["person"] == 0


def test_silhouettes_are_passed_where_masks_are_labelled(folder, monkeypatch):
    recipe = Warp3dRecipe(folder(), replace(ALONE, generator=replace(MINI, short_cuts=True)))
    calls, forward = [], recipe.generator.forward
    monkeypatch.setattr(recipe.generator, "forward", lambda *a: calls.append(a[4]) or forward(*a))
    batch = next(iter(recipe.batches(LoaderOptions(batch_size=4))))
    recipe.losses("generator", {**batch, "masks_known": torch.tensor([1.0, 0.0, 1.0, 1.0])})
    (silhouettes,) = calls
    assert silhouettes[1].isnan().all()
    for row in (0, 2, 3):
        assert torch.equal(silhouettes[row, 0], batch["source_mask"][row])
    assert 0.02 < batch["source_mask"].mean() < 0.8


def test_metrics_of_a_perfect_and_of_a_copying_generator(folder):
    recipe = Warp3dRecipe(folder(), ALONE)
    plain = recipe.generator

    class Perfect(torch.nn.Module):
        def forward(self, image, source, target, parts, silhouette):
            output = plain(image, source, target, parts)
            batch = next(b for b in recipe._held_out_batches(4) if torch.equal(recipe_input(b), image))
            true = batch["target"].permute(0, 3, 1, 2).float() / 127.5 - 1
            return output._replace(image=true, mask=batch["target_mask"][:, None])

    def recipe_input(batch):
        return batch["input"].permute(0, 3, 1, 2).float() / 127.5 - 1

    recipe.generator = Perfect()
    recipe.generator.weight = torch.nn.Parameter(torch.zeros(1))
    metrics = recipe.validate(4)
    assert metrics["ssim"] == metrics["ssim_fg"] == metrics["mask_iou"] == pytest.approx(1)
    assert metrics["l1"] == metrics["l1_fg"] == metrics["perceptual"] == pytest.approx(0, abs=1e-6)
    assert metrics["copy_ssim"] < 0.95
    assert metrics["copy_l1_fg"] > metrics["copy_l1"] > 0.005
    assert 0.1 < metrics["copy_mask_iou"] < 0.9


# Training


@pytest.mark.slow
def test_a_run_may_begin_with_weights(folder, tmp_path):
    cache, path = folder(), tmp_path / "first.safetensors"
    first = Warp3dRecipe(cache, ALONE, seed=1)
    tensors, config = first.weights()
    training = {"steps": 5, "recipe": {}, "began_with": [{"steps": 7}]}
    write_weights(path, tensors, WeightsHeader("warp3d", config, training))
    repeated = Warp3dRecipe(cache, replace(ALONE, start=str(path)), seed=2)
    assert repeated.describe()["began_with"] == [{"steps": 7}, {"steps": 5}]
    assert "began_with" not in first.describe()
    for name, value in repeated.generator.state_dict().items():
        torch.testing.assert_close(value, tensors[name].half().float())
    with pytest.raises(InputError):
        Warp3dRecipe(cache, replace(ALONE, generator=replace(MINI, channels=8), start=str(path)))
    wider = replace(MINI, colour_stride=2)
    with_colours = Warp3dRecipe(cache, replace(ALONE, generator=wider, start=str(path)), seed=3)
    for name, value in repeated.generator.state_dict().items():
        assert torch.equal(with_colours.generator.state_dict()[name], value), name
    old = {
        name: value for name, value in with_colours.weights()[0].items() if not name.startswith("decoder.carried.seen.")
    }
    write_weights(path, old, WeightsHeader("warp3d", with_colours.weights()[1]))
    blind = Warp3dRecipe(cache, replace(ALONE, generator=wider, start=str(path)), seed=4).generator
    assert not blind.decoder.carried.get_submodule("seen").weight.any()


@pytest.mark.extensive
def test_it_learns_and_goes_into_a_weights_file(folder, tmp_path):
    recipe = Warp3dRecipe(folder(test=True), replace(ALONE, mask_weight=0.5))
    first_metrics = recipe.validate(4)
    options = TrainOptions(epochs=30, batch_size=6, workers=0, decay=0.0, validate_every=1000)
    result = train(recipe, options, tmp_path, torch.device("cpu"))
    assert result.metrics["perceptual"] < 0.6 * first_metrics["perceptual"]
    assert result.metrics["mask_iou"] > first_metrics["mask_iou"] + 0.25  # by 0.5 to 0.65 from five seeds
    loaded = load_warp3d(tmp_path / BEST)
    assert loaded.config == MINI
    assert loaded.header.training["perceptual"] == {"kind": "pixels"}
    assert loaded.header.metrics["ssim_fg"] == pytest.approx(result.metrics["ssim_fg"])
    sheet = recipe.image()
    assert sheet.shape == (4 * 34, 6 * 34, 3)


@pytest.mark.slow
def test_half_precision_is_near_single_precision(batch):
    recipe, batch = batch
    with torch.no_grad():
        single = {p: recipe.losses(p, batch)["loss"] for p in ("generator", "discriminator")}
        with torch.autocast("cpu", torch.bfloat16):
            half = {p: recipe.losses(p, batch)["loss"] for p in ("generator", "discriminator")}
    for phase, loss in single.items():
        assert half[phase].dtype == torch.float32
        torch.testing.assert_close(half[phase], loss, rtol=0.03, atol=0.01)


def test_presets_are_the_papers_where_they_say_so():
    assert set(WARP3D_PRESETS) == {"tiny", "small", "medium", "paper"}
    paper, options = WARP3D_PRESETS["paper"]
    assert (paper.adversarial_weight, paper.mask_weight, paper.person_weight) == (1, 0, 0)
    assert (paper.learning_rate, options.batch_size, options.decay) == (2e-4, 2, 0)
    assert (options.steps, paper.adversarial_after) == (150_000, 0)
    assert paper.perceptual == "imagenet-vgg19"
    assert (paper.generator.authors_details, paper.generator.short_cuts, paper.generator.softness) == (True, False, 0)
    small, options = WARP3D_PRESETS["small"]
    assert (options.steps, small.adversarial_after) == (20_000, 6_667)


def test_the_papers_loss_is_not_replaced_by_another(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HPC_WEIGHTS", str(tmp_path))
    with raises(UnavailableError, remedy="hpc weights fetch imagenet-vgg19"):
        Warp3dRecipe(folder(), WARP3D_PRESETS["paper"][0])


def test_what_cannot_be_trained(folder, tmp_path):
    with raises(UsageError, problem="out of range"):
        Warp3dTraining(adversarial_weight=-1)
    with raises(InputError, problem="nothing to learn from in protocol nowhere", expected="a split train"):
        Warp3dRecipe(folder(), replace(ALONE, protocol="nowhere"))
    build_cache(PosedPeople(4, 1, lists=False), tmp_path)
    with raises(InputError, problem="no pair of images of one person"):
        Warp3dRecipe(tmp_path, ALONE)
    with raises(InputError, problem="too few pairs"):
        Warp3dRecipe(folder(), ALONE).batches(LoaderOptions(batch_size=64))
