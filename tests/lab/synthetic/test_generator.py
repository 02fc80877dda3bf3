"""Synthetic people as samples: from a seed alone, with labels that agree, in splits that share nobody."""

import pickle

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, geodesic_angle
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.cache.encoding import decode_image
from humanpose_cli.lab.cache.label_maps import decode_map
from humanpose_cli.lab.synthetic import generator
from humanpose_cli.lab.synthetic.generator import (
    GROUPS_PER_IDENTITY,
    SPLITS,
    SyntheticOptions,
    SyntheticSource,
    activities_of,
)
from humanpose_cli.lab.synthetic.poses import activities
from humanpose_cli.lab.synthetic.renderer import RenderedScene, encode_scene_maps, imperfect_fit

pytestmark = pytest.mark.slow

SMALL = {"size": 64, "texture_size": 64, "seed": 4}


def source(**options):
    return SyntheticSource(SyntheticOptions(**{**SMALL, **options}))


@pytest.fixture(scope="module")
def singles():
    """Samples of 24 groups, in splits of about a third each."""
    images = source(count=24, validation=0.35, test=0.35, companions=0.5)
    return [(group, next(images.read(group))) for group in images.groups()]


def test_a_group_is_the_same_in_any_order_and_any_process(singles):
    repeated = pickle.loads(pickle.dumps(source(count=24, validation=0.35, test=0.35, companions=0.5)))
    for number in (17, 3):
        group, sample = singles[number]
        other = next(repeated.read(group))
        assert other.image == sample.image
        assert dict(other.maps) == dict(sample.maps)
        np.testing.assert_array_equal(other.people[0].poses, sample.people[0].poses)
    assert repeated.device == "cpu"  # by default also if there is a GPU
    different = next(source(count=24, seed=5).read(source(count=24, seed=5).groups()[3]))
    assert different.image != singles[3][1].image


def test_other_backgrounds_are_other_options(tmp_path):
    for name, level in (("a.png", 10), ("b.png", 200)):
        write_image(tmp_path / name, np.full((40, 50, 3), level, np.uint8))
    summary = source(backgrounds=tmp_path).info.options["backgrounds"]
    assert summary.startswith(f"{tmp_path.name}: 2 images")
    write_image(tmp_path / "b.png", np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))
    assert source(backgrounds=tmp_path).info.options["backgrounds"] != summary


def test_splits_share_no_identity_no_clothes_and_no_activity(singles):
    labels_of_split = {split: {"identity": set(), "clothing": set(), "activity": set()} for split in SPLITS}
    for group, sample in singles:
        split = sample.splits["synthetic"]
        assert group.name.startswith(split)
        for person in sample.people:
            for kind, names in labels_of_split[split].items():
                names.add(getattr(person, kind))
            assert person.activity in activities_of(split)
    for kind in ("identity", "clothing", "activity"):
        a, b, c = (labels_of_split[split][kind] for split in SPLITS)
        assert a
        assert b
        assert c
        assert not a & b
        assert not a & c
        assert not b & c


def test_shares_of_the_splits_are_about_those_requested():
    images = source(validation=0.2, test=0.1)
    splits = [images.split_of(number) for number in range(4000)]
    assert abs(splits.count("validation") / 4000 - 0.2) < 0.04
    assert abs(splits.count("test") / 4000 - 0.1) < 0.03
    for number in range(0, 4000, GROUPS_PER_IDENTITY):
        assert len(set(splits[number : number + GROUPS_PER_IDENTITY])) == 1
    held_out = activities_of("validation") | activities_of("test")
    assert not held_out & activities_of("train")
    assert {"soccer", "washwindow"} <= held_out
    for split in ("validation", "test"):
        families = [
            name for name, members in activities("held_out").items() if activities_of(split).intersection(members)
        ]
        assert len(families) >= 6


@pytest.mark.parametrize("split", SPLITS)
def test_neighbours_show_different_poses(monkeypatch, split):
    poses = []
    monkeypatch.setattr(generator, "held_pose", lambda pose: poses.append(pose))
    images = source()
    for number in range(24):
        images._performance(np.random.default_rng(number), number, split, 0)
    assert len({pose.rotations.numpy().tobytes() for pose in poses}) == 24
    assert {pose.activity for pose in poses} <= activities_of(split)


def test_labels_agree_with_each_other(singles):
    body = default_body()
    for _, sample in singles:
        image = decode_image(sample.image)
        assert image.shape == (64, 64, 3)
        persons = decode_map("persons", sample.maps["persons"])
        assert persons.max() == len(sample.people)
        for index, person in enumerate(sample.people):
            rotations = axis_angle_to_matrix(torch.from_numpy(person.poses).view(1, 24, 3))
            pose = body.pose(rotations, torch.from_numpy(person.betas)[None], torch.from_numpy(person.trans)[None])
            joints = pose.joints[0].numpy()
            np.testing.assert_allclose(person.joints["smpl24"][:, :3], joints, atol=1e-4)
            ahead = joints[:, 2] > 0.1
            pixels = sample.focal * joints[:, :2] / joints[:, 2:] + np.array(sample.principal_point)
            np.testing.assert_allclose(person.keypoints["smpl24"][ahead, :2], pixels[ahead], rtol=1e-4, atol=0.01)
            rows, columns = np.nonzero(persons == index + 1)
            assert len(rows)
            x0, y0, x1, y1 = person.box
            assert x0 <= columns.min()
            assert columns.max() + 1 <= x1 <= 64
            assert y0 <= rows.min()
            assert rows.max() + 1 <= y1 <= 64
            visibility = person.keypoints["smpl24"][:, 2]
            assert ((visibility >= 0) & (visibility <= 1)).all()


@pytest.mark.parametrize("visible", [(0, 0, 0), (0, 5, 3), (4, 0, 3), (4, 5, 3)])
def test_people_who_are_not_visible_leave_no_number(visible):
    persons = np.repeat(np.arange(4, dtype=np.uint8), (9, *visible))[None]
    scene = RenderedScene(np.zeros((1, persons.size, 3), np.uint8), {"persons": persons}, np.array(visible))
    indices = [index for index, pixels in enumerate(visible) if pixels]
    persons_map = decode_map("persons", encode_scene_maps(scene, indices)["persons"])
    expected = np.repeat(np.arange(len(indices) + 1), (9, *(pixels for pixels in visible if pixels)))
    np.testing.assert_array_equal(persons_map[0], expected)


@pytest.mark.extensive
def test_pairs_show_one_person_in_two_poses_before_one_background():
    pair_source = source(count=8, structure="pairs", damage=0.0)
    for group in pair_source.groups():
        first, second = pair_source.read(group)
        assert group.pairs == {("synthetic", first.splits["synthetic"]): [(0, 1), (1, 0)]}
        a, b = first.people[0], second.people[0]
        assert (a.identity, a.clothing) == (b.identity, b.clothing)
        np.testing.assert_array_equal(a.betas, b.betas)
        assert (
            geodesic_angle(*(axis_angle_to_matrix(torch.from_numpy(p.poses).view(24, 3)) for p in (a, b))).max() > 0.1
        )
        assert first.focal == second.focal
        assert first.sequence == second.sequence == group.name
        images = [decode_image(s.image).astype(int) for s in (first, second)]
        empty = [decode_map("persons", s.maps["persons"]) == 0 for s in (first, second)]
        far = np.abs(images[0] - images[1])[empty[0] & empty[1]]
        assert np.median(far) < 12


@pytest.mark.extensive
def test_each_image_of_a_pair_names_its_activity_and_no_person_sits_on_air(monkeypatch):
    families = {}
    original = generator.held_pose

    def note(*poses):
        families.update({pose.rotations.numpy().tobytes(): pose for pose in poses})
        performance = original(*poses)
        for rotations, activity in zip(performance.rotations, performance.activities, strict=True):
            assert families[rotations.numpy().tobytes()].activity == activity
        return performance

    monkeypatch.setattr(generator, "held_pose", note)
    pair_source = source(count=12, structure="pairs", companions=0.0)
    sample_activities = [
        {s.people[0].activity for s in pair_source.read(group) if s.people} for group in pair_source.groups()
    ]
    assert any(len(activities) == 2 for activities in sample_activities)
    assert families
    assert all(pose.family != "chair" for pose in families.values())


@pytest.mark.extensive
def test_crowds_are_three_people_or_more_and_all_framed():
    images = source(count=8, size=64, crowd=5, in_front=0.0)
    counts, centres = [], []
    for group in images.groups():
        (sample,) = images.read(group)
        counts.append(len(sample.people))
        boxes = np.array([person.box for person in sample.people])
        centres.append((boxes[:, :2] + boxes[:, 2:]).mean(0) / 2 / 64)
    # Somebody behind others leaves no number.
    assert max(counts) <= 5
    assert np.mean(counts) > 2.5
    assert np.abs(np.mean(centres, 0) - 0.5).max() < 0.2
    assert len(images._cast(np.random.default_rng(0), 0, "train")[0]) >= 3


def test_clips_move_on_from_frame_to_frame():
    images = source(count=12, structure="clips", clip_length=6)
    assert len(images.groups()) == 2
    for group in images.groups():
        frames = list(images.read(group))
        assert [sample.frame for sample in frames] == list(range(6))
        assert len({sample.name for sample in frames}) == 6
        poses = torch.stack([torch.from_numpy(s.people[0].poses) for s in frames if s.people]).view(-1, 24, 3)
        step = geodesic_angle(*(axis_angle_to_matrix(p) for p in (poses[1:], poses[:-1])))
        assert 0 < float(step.mean()) < 0.3
        (pairs,) = group.pairs.values()
        assert len(pairs) == 6
        assert all(0 <= i < 6 and 0 <= j < 6 and i != j for i, j in pairs)


def test_errors_of_fits_change_slowly_along_a_clip():
    truth = np.zeros((400, 72), np.float32)
    poses, _, trans = imperfect_fit(
        np.random.default_rng(0), truth, np.zeros(10), np.tile([0, 0, 4.0], (400, 1)), np.zeros(3), np.full(400, 500.0)
    )
    jumps = np.abs(np.diff(poses, axis=0)).mean()
    assert jumps < 0.65 * np.abs(poses[1:] - poses[::-1][1:]).mean()
    assert (trans[:, 2] > 2).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"imperfect_fits": True},
        {"camera": "walk"},
        {"validation": 0.7, "test": 0.5},
        {"crowd": 2},
        {"crowd": 4, "structure": "pairs"},
    ],
)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(UsageError):
        SyntheticOptions(**wrong)
