"""Labels in numbers: ranges, distances by how far labels were moved, and a digest of labels alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import COCO17, SMPL24
from humanpose_cli.lab.cache.samples import Group, Person, Sample
from humanpose_cli.lab.datasets.common import project_points
from humanpose_cli.lab.datasets.label_statistics import (
    Distribution,
    LabelDigest,
    Pairing,
    label_distances,
    label_values,
    posed_joints,
)

FOCAL, CENTRE = 500.0, (100.0, 60.0)


def standing() -> Person:
    """A person of the default body five metres away, with its joints and where the camera sees them."""
    poses = np.random.default_rng(0).normal(0, 0.2, 72)
    person = Person(
        identity="Ann", gender="neutral", body="default", poses=poses, betas=np.zeros(10), trans=np.array([0.1, 0, 5])
    )
    joints = posed_joints(default_body(), person)
    assert joints is not None
    pixels = project_points(joints[:, :3], FOCAL, CENTRE)
    keypoints = np.concatenate((pixels, np.ones((24, 1))), 1)
    return replace(person, joints={SMPL24.name: joints}, keypoints={SMPL24.name: keypoints})


def shown(*people: Person, **changes: Any) -> Sample:
    return replace(Sample("a", b"", (200, 120), FOCAL, CENTRE, people), **changes)


# Distributions


def test_a_distribution_is_numpys() -> None:
    values = np.random.default_rng(1).normal(3, 20, 200_000)
    values[::7] = 0
    found = Distribution()
    for part in np.split(values, 16):
        found.add(part)
    found.add(np.array([np.nan, np.inf]))
    summary = found.summary()
    assert (summary["count"], summary["not_finite"]) == (200_002, 2)
    expected = {"min": values.min(), "max": values.max(), "mean": values.mean()}
    expected |= {"median": np.median(values), "p95": np.quantile(values, 0.95)}
    for name, value in expected.items():
        tolerance = 0.006 if name in ("median", "p95") else 1e-5
        assert summary[name] == pytest.approx(value, rel=tolerance), name


def test_quantiles_of_equal_and_negative_numbers_are_exact() -> None:
    same, signs = Distribution(), Distribution()
    same.add(np.full(10, -3.7))
    signs.add(np.array([-8.0, -3.0, 0.0, 2.0, 2.0]))
    assert {same.summary()[name] for name in ("min", "median", "mean", "p95", "max")} == {-3.7}
    assert (signs.summary()["median"], signs.summary()["p95"]) == (0.0, 2.0)
    signs.add(np.full(5, -4.0))
    assert signs.summary()["median"] == pytest.approx(-4, rel=0.006)
    empty = Distribution()
    empty.add(np.array([np.nan]))
    assert empty.summary()["median"] is None


def test_only_labelled_points_have_a_range() -> None:
    person = standing()
    person.keypoints[SMPL24.name][3] = [1e9, np.nan, 0]
    values = dict(label_values(shown(person, Person(crowd=True))))
    assert values["keypoints/smpl24 labelled of a person"] == 23.0
    assert np.isfinite(values["keypoints/smpl24 y (px)"]).all()
    assert values["image/people"] == 1.0
    angles = np.linalg.norm(np.reshape(person.poses, (24, 3)), axis=1)
    np.testing.assert_array_equal(values["poses/joint angles (rad)"], angles[1:])


# Distances


@pytest.mark.parametrize("pixels", [0.0, 5.0])
def test_labels_moved_by_some_pixels_are_that_far_away(pixels: float) -> None:
    """In the direction (3, 4) / 5; joints of another skeleton are compared by their names."""
    person = standing()
    moved = person.keypoints[SMPL24.name] + [0.6 * pixels, 0.8 * pixels, 0]
    others = np.zeros((17, 3))
    for name in ("left_knee", "right_wrist"):
        others[COCO17.index(name)] = moved[SMPL24.index(name)]
    others[COCO17.index("nose")] = [0, 0, 1]  # smpl24 has none
    sample = shown(replace(person, keypoints={SMPL24.name: moved, COCO17.name: others}))
    found = dict(label_distances(sample, {}))
    assert {pairing: len(apart) for pairing, apart in found.items()} == {
        Pairing("joints/smpl24", "keypoints/smpl24"): 24,
        Pairing("joints/smpl24", "keypoints/coco17"): 2,
    }
    for apart in found.values():
        np.testing.assert_allclose(apart, pixels, atol=1e-9)
    assert [pairing.same_joints for pairing in found] == [True, False]


def test_joints_that_are_not_labelled_are_not_compared() -> None:
    person = standing()
    person.keypoints[SMPL24.name][:4, 2] = 0
    person.joints[SMPL24.name][4:6, 3] = 0
    ((_, apart),) = label_distances(shown(person), {})
    assert len(apart) == 18
    assert not list(label_distances(shown(person), {}, projected=("smpl24",)))
    assert not list(label_distances(shown(person, focal=None), {}))


def test_posed_models_are_compared_with_joints_and_keypoints() -> None:
    person = standing()
    moved = person.joints[SMPL24.name] + [0, 0.03, 0.04, 0]
    sample = shown(replace(person, joints={SMPL24.name: moved}))
    found = dict(label_distances(sample, {"neutral": default_body()}))
    assert Pairing("body", "joints/smpl24").unit == "m"
    np.testing.assert_allclose(found[Pairing("body", "joints/smpl24")], 0.05, atol=1e-9)
    np.testing.assert_allclose(found[Pairing("body", "keypoints/smpl24")], 0, atol=1e-9)
    assert Pairing("body", "joints/smpl24") not in dict(label_distances(sample, {}))


# Digests


def digest_of(*groups: tuple[Group, list[Sample]]) -> str:
    digest = LabelDigest()
    for group, samples in groups:
        of_group = digest.group(group)
        for sample in samples:
            of_group.add(sample)
        of_group.close()
    return digest.hexdigest()


def test_a_digest_does_not_depend_on_the_order_of_groups_or_on_rounding() -> None:
    first, second = (Group("a", 1), [shown(standing())]), (Group("b/c", 1), [shown(Person(), name="b")])
    assert digest_of(first, second) == digest_of(second, first)
    noisy = replace(standing(), betas=np.full(10, 1e-9))
    assert digest_of((Group("a", 1), [shown(noisy)]), second) == digest_of(first, second)
    assert digest_of((Group("a", 1), [shown(standing(), image=b"other", maps={"parts": b"x"})]), second) == digest_of(
        first, second
    )


@pytest.mark.parametrize(
    "change",
    [
        {"betas": np.full(10, 0.002)},
        {"betas": None},
        {"betas": np.append(np.zeros(9), np.nan)},
        {"trans": np.array([0.1, 0, 5.002])},
        {"identity": "Ben"},
        {"crowd": True},
        {"area": 1.0},
        {"clothing": "suit"},
        {"activity": "walking"},
        {"gender": "female"},
        {"body": "smpl"},
        {"box": np.arange(4)},
        {"head_box": np.arange(4)},
        {"poses": np.zeros(72)},
        {"segment_scales": np.ones(24)},
        {"more_betas": np.full(6, 0.002)},
        {"kid": True},
        {"occlusion": 30.0},
        {"vertices": np.ones((1, 3))},
        {"surface_points": np.ones((1, 5))},
        {"joints": {}},
        {"keypoints": {"coco17": np.zeros((17, 3))}},
    ],
)
def test_a_digest_depends_on_each_label(change: dict[str, Any]) -> None:
    group, person = Group("a", 1), standing()
    assert digest_of((group, [shown(person)])) != digest_of((group, [shown(replace(person, **change))]))


def test_a_digest_depends_on_samples_their_order_and_pairs() -> None:
    one, two = shown(standing()), shown(standing(), name="b")
    variants = [
        (Group("a", 2), [one, two]),
        (Group("a", 2), [two, one]),
        (Group("b", 2), [one, two]),
        (Group("a", 1), [one]),
        (Group("a", 2, {("p", "test"): [(0, 1)]}), [one, two]),
        (Group("a", 2), [one, replace(two, frame=1)]),
        (Group("a", 2), [one, replace(two, splits={"p": "test"})]),
        (Group("a", 2), [one, replace(two, size=(200, 121))]),
        (Group("a", 2), [one, replace(two, sequence="s")]),
        (Group("a", 2), [one, replace(two, focal=501.0)]),
        (Group("a", 2), [one, replace(two, principal_point=None)]),
        (Group("a", 2), [one, replace(two, frame_rate=30.0)]),
        (Group("a", 2), [one, replace(two, crowd_index=0.5)]),
        (Group("a", 2), [one, replace(two, world_to_camera=np.eye(3, 4))]),
    ]
    assert len({digest_of(variant) for variant in variants}) == len(variants)
