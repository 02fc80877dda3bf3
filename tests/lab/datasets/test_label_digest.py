"""A digest of labels alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from humanpose_cli.lab.cache.samples import Group, Person, Sample
from humanpose_cli.lab.datasets.label_digest import LabelDigest

FOCAL, CENTRE = 500.0, (100.0, 60.0)


def standing() -> Person:
    """A person five metres away, with joints and where the camera sees them."""
    random = np.random.default_rng(0)
    joints = np.column_stack((random.normal(0, 0.5, (24, 2)), random.normal(5, 0.2, 24), np.ones(24)))
    pixels = FOCAL * joints[:, :2] / joints[:, 2:3] + CENTRE
    return Person(
        identity="Ann",
        gender="neutral",
        body="default",
        poses=random.normal(0, 0.2, 72),
        betas=np.zeros(10),
        trans=np.array([0.1, 0, 5]),
        joints={"smpl24": joints},
        keypoints={"smpl24": np.column_stack((pixels, np.ones(24)))},
    )


def shown(*people: Person, **changes: Any) -> Sample:
    return replace(Sample("a", b"", (200, 120), FOCAL, CENTRE, people), **changes)


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
        {"poses": np.zeros(72)},
        {"segment_scales": np.ones(24)},
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
        (Group("a", 2), [one, replace(two, world_to_camera=np.eye(3, 4))]),
    ]
    assert len({digest_of(variant) for variant in variants}) == len(variants)
