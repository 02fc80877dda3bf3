"""Training of the displacement network: it learns, an interrupted run ends as another, its weights load again."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.painted_people import SIZE, PaintedPeople
from helpers.smpl_model_file import random_smpl_fields, write_smpl_npz

from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.errors import InputError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.loader import LoaderOptions
from humanpose_cli.lab.recipes.people import people_in, split_people
from humanpose_cli.lab.recipes.refiner import examples
from humanpose_cli.lab.recipes.refiner import recipe as refiner_recipe
from humanpose_cli.lab.recipes.refiner.examples import (
    HELD_OUT,
    RefinerExamples,
    imitated_fits,
    other_frames,
)
from humanpose_cli.lab.recipes.refiner.recipe import RefinerRecipe, RefinerTraining, start_encoders
from humanpose_cli.models.refiner.network import DisplacementNetwork, DisplacementOptions, sample_targets
from humanpose_cli.networks.weights import find_weights, read_weights
from humanpose_cli.rendering.body_maps import render_bodies

SMALL = DisplacementOptions(crop=32, width=4)
TINY = RefinerTraining(SMALL, learning_rate=3e-3, encoder="", visible=0.0, validation=4)


class ColouredPeople(PaintedPeople):
    """People on whom each surface point has its own colour."""

    def sample(self, group, frame):
        sample, body = super().sample(group, frame), default_body()
        person = sample.people[0]
        rotations = axis_angle_to_matrix(torch.from_numpy(person.poses).view(1, 24, 3))
        betas, trans = (torch.from_numpy(values)[None] for values in (person.betas, person.trans))
        scales = None if person.segment_scales is None else torch.from_numpy(person.segment_scales)[None]
        posed = body.pose(rotations, betas, trans, scales)
        camera = Camera.of_image(sample.size, sample.focal)
        colours = render_bodies(body, posed.vertices, [camera], SIZE).colours[0].movedim(0, -1).numpy()
        data = cv2.imencode(".png", np.rint(255 * colours[..., ::-1]).astype(np.uint8))[1].tobytes()
        return replace(sample, image=data)


class FittedPeople(PaintedPeople):
    """People whose fits are 10 cm too far on the right of the image; of the third clip the labels are the fits."""

    def sample(self, group, frame):
        sample = super().sample(group, frame)
        person = sample.people[0]
        shifted = person.trans + np.float32([0.1 if group.key < 2 else 0, 0, 0])
        person = replace(person, fit_poses=person.poses, fit_betas=person.betas, fit_trans=shifted)
        return replace(sample, people=(person,))


class SmplPeople(PaintedPeople):
    """People whose parameters are those of SMPL's models, by turns."""

    def sample(self, group, frame):
        sample = super().sample(group, frame)
        person = replace(sample.people[0], body="smpl", gender=("male", "female")[group.key % 2])
        return replace(sample, people=(person,))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Ten clips of two frames; two of the clips are held out."""
    folder = tmp_path_factory.mktemp("clips") / "cache"
    build_cache(ColouredPeople(count=20, clip=2, last_test=True), folder)
    return folder


@pytest.fixture(scope="module")
def people(cache):
    return split_people(cache, ("poses", "box"))[0]


def recipe(cache, options=TINY):
    return RefinerRecipe(cache, options, seed=3)


def test_a_texture_comes_from_the_other_frames_of_the_same_person(people):
    others = other_frames(people)
    assert len(people) == 16
    for number, frames in enumerate(others):
        assert frames.tolist() == [number ^ 1]


def test_the_photograph_shows_where_the_truth_leads_what_the_rendering_has(people):
    options = DisplacementOptions(crop=64, width=4, texture=False, depth=False, normals=False)
    for number, augmentation in ((0, HELD_OUT), (5, replace(HELD_OUT, rotation=0.4, scale=0.2, shift=0.1))):
        example = RefinerExamples(people, [default_body()], options, augmentation)(
            number, np.random.default_rng(number)
        )
        drawn, visible, truth = example["drawn"], example["visible"], example["truth"]
        assert visible.sum() > 0.4 * drawn.sum()
        assert not (visible & ~drawn).any()
        assert not truth[:, ~drawn[0]].any()
        photo, rendered = example["photo"] / 255, (example["rendering"][1:] + 1) / 2
        moved_pixels = sample_targets(torch.from_numpy(photo)[None].float(), torch.from_numpy(truth)[None])[0].numpy()
        error, unmoved = (np.median(np.abs(image - rendered)[:, visible[0]]) for image in (moved_pixels, photo))
        assert error < 0.01 < 0.5 * unmoved


def test_people_with_scaled_segments_are_rendered_and_shown_at_their_lengths(tmp_path):
    build_cache(ColouredPeople(count=4, clip=2, scaled=(0, 1)), tmp_path / "cache")
    people = people_in(tmp_path / "cache", ("poses", "box"), "painted", "train")
    options = DisplacementOptions(crop=64, width=4, texture=False, depth=False, normals=False)
    make = RefinerExamples(people, [default_body()], options, HELD_OUT)
    photo, rendering, truth, visible, _ = make.drawn_fit(0, np.random.default_rng(0))
    moved_pixels = sample_targets(torch.from_numpy(photo.transpose(2, 0, 1) / 255)[None].float(), truth)
    assert np.median((moved_pixels - rendering.colours).abs()[0][:, visible[0, 0]]) < 0.01
    imitated = imitated_fits(np.random.default_rng(0), default_body(), [people.example(0, ())], HELD_OUT)
    np.testing.assert_allclose(imitated.segment_scales, 1.1)  # errors of angles, shape and place alone


def test_mirrored_examples_fetch_likewise_what_the_mirrored_rendering_has(people):
    options = DisplacementOptions(crop=64, width=4, texture=False, depth=False, normals=False)
    example = RefinerExamples(people, [default_body()], options, replace(HELD_OUT, mirror=1.0))(
        3, np.random.default_rng(0)
    )
    photo, rendered = torch.from_numpy(example["photo"] / 255)[None].float(), (example["rendering"][1:] + 1) / 2
    moved_pixels = sample_targets(photo, torch.from_numpy(example["truth"])[None])[0].numpy()
    moved_pixels[0] = 1 - moved_pixels[0]  # the photograph's left and right sides have changed their colours
    assert np.median(np.abs(moved_pixels - rendered)[:, example["visible"][0]]) < 0.01


def test_a_texture_of_the_photograph_under_the_wrong_fit_shows_no_displacement(people):
    options = replace(HELD_OUT, own_only=1.0)
    large = DisplacementOptions(crop=64, width=4)
    example = RefinerExamples(people, [default_body()], large, options, with_textured=True)(0, np.random.default_rng(0))
    y, x = np.nonzero(example["textured"][3] > 0.7)
    assert len(x) > 20
    shown = example["textured"][:3, y, x] - example["photo"][:, y, x] / 255
    assert np.median(np.abs(shown)) < 0.02
    bare = RefinerExamples(
        people, [default_body()], TINY.network, replace(HELD_OUT, untextured=1.0), with_textured=True
    )
    assert not bare(0, np.random.default_rng(0))["textured"][3].any()


def test_a_texture_under_the_true_bodies_shows_the_surface_itself(people):
    def error(true_bodies):
        make = RefinerExamples(
            people, [default_body()], DisplacementOptions(crop=64), replace(HELD_OUT, true_bodies=true_bodies)
        )
        rendering = make.drawn_fit(5, np.random.default_rng(5)).rendering
        return (rendering.rgb - rendering.colours).abs()[0][:, rendering.textured[0, 0] > 0.7].median()

    assert error(1.0) < 0.02 < error(0.0)


def test_examples_begin_with_the_fits_that_the_cache_has(tmp_path):
    build_cache(FittedPeople(count=6, clip=2, splits=False), tmp_path / "cache")
    people = people_in(tmp_path / "cache", ("poses", "box"), "painted", "train")
    bodies, always = [default_body()], replace(HELD_OUT, fitted=1.0)
    for number, shifted in ((0, True), (3, True), (4, False)):
        random = np.random.default_rng(number)
        drawn = RefinerExamples(people, bodies, SMALL, always).drawn_fit(number, random)
        moved = drawn.truth[0][:, drawn.visible[0, 0]]
        # 10 cm in pixels of the image, over the person's size in them; both scale with the crop.
        example = people.example(number, ())
        pixels = 0.1 * example.focal / example.person.joints["smpl24"][:, 2].mean()
        box = example.person.box
        expected = -pixels / float((box[2:] - box[:2]).max())
        if shifted:
            assert float(moved[0].mean()) / drawn.size == pytest.approx(expected, rel=0.15)
        assert (float(moved[1].abs().max()) < 0.1) == shifted
    imitated = RefinerExamples(people, bodies, SMALL, replace(HELD_OUT, fitted=0.0))
    assert imitated.drawn_fit(0, np.random.default_rng(0)).truth[0, 1].abs().max() > 0.1


@pytest.mark.extensive
def test_the_paper_data_of_smpl_bodies_can_be_learned(tmp_path, monkeypatch):
    """People of both genders, as 3DPW, RICH and Human3.6M have them, each drawn with the model of their gender."""
    fields = {gender: random_smpl_fields(seed) for seed, gender in enumerate(("male", "female"))}
    files = [write_smpl_npz(tmp_path / f"SMPL_{gender}.npz", fields[gender]) for gender in fields]
    build_cache(SmplPeople(count=8), tmp_path / "cache")
    with raises(InputError, expected="default", got="smpl-female, smpl-male", remedy="`body=smpl:"):
        recipe(tmp_path / "cache")
    both = replace(TINY, body=tuple(f"smpl:{file}" for file in files))
    output = recipe(tmp_path / "cache", both)
    drawn = []
    monkeypatch.setattr(
        examples, "render_bodies", lambda body, *rest: drawn.append(body.name) or render_bodies(body, *rest)
    )
    batch = next(iter(output.batches(LoaderOptions(4, shuffle=False))))
    assert drawn == ["smpl-male", "smpl-female", "smpl-male", "smpl-female"]
    assert batch["visible"].any()
    output.losses("align", batch)["loss"].backward()
    assert all(torch.isfinite(values).all() for values in output.model.parameters())
    with raises(InputError, expected="smpl-male", got="smpl-female"):
        recipe(tmp_path / "cache", replace(both, body=both.body[:1]))


@pytest.mark.slow
def test_it_learns_a_few_people_by_heart(cache, monkeypatch):
    monkeypatch.setattr(refiner_recipe, "IN_TRAINING", replace(HELD_OUT, far_off=0.0))
    output = recipe(cache, replace(TINY, learning_rate=1e-3))
    batch = next(iter(output.batches(LoaderOptions(4))))
    (phase,) = output.phases()
    optimiser = torch.optim.Adam(phase.parameters, phase.learning_rate)
    errors = []
    for _ in range(30):
        optimiser.zero_grad()
        losses = output.losses("align", batch)
        losses["loss"].backward()
        optimiser.step()
        errors.append(losses["endpoint_px"].item())
    assert errors[-1] < 0.5 * errors[0]


def test_a_training_continues_from_the_shipped_weights(cache):
    state = recipe(cache, RefinerTraining(start="refiner", visible=0.0)).model.state_dict()
    torch.testing.assert_close(
        state["levels.3.head.bias"], read_weights(find_weights("refiner"))[0]["levels.3.head.bias"]
    )


def test_both_encoders_begin_as_the_shipped_segmenters():
    network = DisplacementNetwork(DisplacementOptions(crop=32))
    path = find_weights("segmenter")
    tensors, _ = read_weights(path, "segmenter")
    start_encoders(network, path)
    for encoder in (network.photo, network.rendering):
        kept = encoder.state_dict()
        torch.testing.assert_close(kept["layer2.0.conv1.weight"], tensors["backbone.layer2.0.conv1.weight"])
        torch.testing.assert_close(kept["conv1.weight"][:, :3], tensors["backbone.conv1.weight"][:, :3])
    with raises(InputError, problem="does not fit at"):
        start_encoders(DisplacementNetwork(DisplacementOptions(crop=32, width=8)), path)
