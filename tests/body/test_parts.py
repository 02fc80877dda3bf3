"""Part maps: partitions that cover the body, keep left and right apart, and nest."""

from __future__ import annotations

import pytest
import torch

from humanpose_cli.body.body import Body
from humanpose_cli.body.parts import PART_MAPS, PARTS1, PARTS6, PARTS12, PARTS24, WARPING10, PartMap
from humanpose_cli.core.conventions import SMPL24

MAPS = list(PART_MAPS.values())


@pytest.mark.parametrize("parts", MAPS, ids=lambda m: m.name)
def test_every_part_is_on_the_body(parts: PartMap, body: Body) -> None:
    labels = parts.labels(body.part_labels)
    assert labels.shape == body.part_labels.shape
    assert labels.dtype == body.part_labels.dtype
    assert set(labels.tolist()) == set(range(len(parts)))


@pytest.mark.parametrize("parts", MAPS, ids=lambda m: m.name)
def test_mirrored_vertices_have_mirrored_parts(parts: PartMap, body: Body) -> None:
    labels = parts.labels(body.part_labels).long()
    mirrored = torch.tensor(parts.mirror)[labels[body.mirror_vertices]]
    agree = (mirrored == labels).double().mean()
    assert agree > 0.9999, "only vertices on the plane of symmetry may tie"
    for label, name in enumerate(parts.names):
        other = parts.names[parts.mirror[label]]
        assert other == name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right")


def test_nbf_order_of_the_twelve_parts() -> None:
    assert PARTS12.names[:3] == ("head", "upper_torso", "left_forearm")
    assert PARTS12.names[6:8] == ("neck", "pelvis")
    assert PARTS12.of_joint["left_hand"] == "left_forearm"
    assert PARTS12.of_joint["right_foot"] == "right_shank"


def test_reference_parts() -> None:
    assert PARTS24.rows == tuple(range(24))
    assert PARTS6.of_joint["left_collar"] == "torso"
    assert WARPING10.of_joint["right_hand"] == "right_lower_arm"
    assert WARPING10.names[WARPING10.rows[SMPL24.index("left_hip")]] == "left_thigh"
    assert PARTS1.rows == (0,) * 24
