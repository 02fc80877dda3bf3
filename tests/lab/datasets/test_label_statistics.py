"""Labels in numbers: ranges, reprojection errors by how far labels were moved, and a digest of labels alone."""

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
    LabelDigest,
    ValueRange,
    label_values,
    posed_joints,
    reprojection_errors,
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


# Ranges


def test_a_range_is_of_the_finite_numbers() -> None:
    values = np.random.default_rng(1).normal(3, 20, 2_000)
    numbers = ValueRange()
    for part in np.split(values, 16):
        numbers.add(part)
    numbers.add(np.array([np.nan, np.inf]))
    document = numbers.document()
    assert (document["count"], document["not_finite"]) == (2_002, 2)
    for name in ("min", "mean", "max"):
        assert document[name] == pytest.approx(getattr(values, name)(), rel=1e-5), name
    empty = ValueRange()
    empty.add(np.nan)
    assert empty.document() == {"count": 1, "not_finite": 1, "min": None, "mean": None, "max": None}


def test_only_labelled_points_have_a_range() -> None:
    person = standing()
    person.keypoints[SMPL24.name][3] = [1e9, np.nan, 0]
    values = dict(label_values(shown(person, Person(crowd=True))))
    assert values["keypoints/smpl24 labelled of a person"] == 23.0
    assert np.isfinite(values["keypoints/smpl24 y (px)"]).all()
    assert values["image/people"] == 1.0
    angles = np.linalg.norm(np.reshape(person.poses, (24, 3)), axis=1)
    np.testing.assert_array_equal(values["poses/joint angles (rad)"], angles[1:])


# Reprojection


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
    errors = dict(reprojection_errors(sample, {}))
    assert {labels: len(values) for labels, values in errors.items()} == {
        ("joints/smpl24", "keypoints/smpl24"): 24,
        ("joints/smpl24", "keypoints/coco17"): 2,
    }
    for values in errors.values():
        np.testing.assert_allclose(values, pixels, atol=1e-9)


def test_joints_that_are_not_labelled_are_not_compared() -> None:
    person = standing()
    person.keypoints[SMPL24.name][:4, 2] = 0
    person.joints[SMPL24.name][4:6, 3] = 0
    ((_, errors),) = reprojection_errors(shown(person), {})
    assert len(errors) == 18
    assert not list(reprojection_errors(shown(person), {}, projections=("smpl24",)))
    assert not list(reprojection_errors(shown(person, focal=None), {}))


def test_posed_models_are_compared_with_keypoints() -> None:
    sample = shown(replace(standing(), joints={}))
    errors = dict(reprojection_errors(sample, {"neutral": default_body()}))
    np.testing.assert_allclose(errors["body", "keypoints/smpl24"], 0, atol=1e-9)
    assert not list(reprojection_errors(sample, {}))


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
