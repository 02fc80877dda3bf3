"""EMDB from a small tree in the owners' layout: bodies before a camera that is carried about, evaluations, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import emdb_tree
from helpers.emdb_tree import VIDEOS, K, content
from helpers.errors import raises
from helpers.paper_datasets import BODY, assert_travels, posed

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.datasets.common import project_points
from humanpose_cli.lab.datasets.emdb import EmdbOptions, EmdbSource
from humanpose_cli.lab.datasets.estimators import SourceTools


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return emdb_tree.build(tmp_path_factory.mktemp("emdb"))


@pytest.mark.parametrize("with_model", [False, True])
def test_bodies_are_visible_where_the_file_has_them(intact: Path, with_model: bool) -> None:
    """Without the model, the pelvis at rest follows from the projected joints alone."""
    bodies = {"male": BODY} if with_model else {}
    source = EmdbSource(intact, tools=SourceTools(bodies=bodies))
    for group in source.groups():
        fields = content(group.name)
        for sample in source.read(group):
            (person,) = sample.people
            assert person.poses is not None
            assert person.betas is not None
            assert person.trans is not None
            joints = posed(person.poses[None], person.betas, person.trans[None])[1][0]
            pixels = project_points(joints, np.diag(K)[:2], K[:2, 2])
            np.testing.assert_allclose(pixels, fields["kp2d"][sample.frame], atol=2e-2)
            np.testing.assert_array_equal(sample.world_to_camera, fields["camera"]["extrinsics"][sample.frame][:3])
            assert (person.gender, person.body, sample.frame_rate) == ("male", "smpl", 30)
            assert person.identity == group.name[:2]
            assert ("smpl24" in person.keypoints) is not with_model


def test_valid_frames_boxes_and_evaluations(intact: Path) -> None:
    source = EmdbSource(intact)
    assert {group.name: group.count for group in source.groups()} == dict.fromkeys(VIDEOS, 4)
    splits = [next(source.read(group)).splits for group in source.groups()]
    assert splits == [{"emdb": "test", "emdb1": "test"}, {"emdb": "test", "emdb2": "test"}, {"emdb": "test"}]
    samples = list(source.read(source.groups()[0]))
    assert [sample.frame for sample in samples] == [0, 1, 2, 4]
    boxes = content("P0/09_outdoor_walk")["bboxes"]["bboxes"]
    np.testing.assert_array_equal(samples[0].people[0].box, boxes[0])
    box = samples[1].people[0].box
    assert box is not None
    assert (box[2:] > box[:2]).all()
    assert source.notes == ()
    assert [group.count for group in EmdbSource(intact, EmdbOptions(every=2)).groups()] == [3, 3, 3]
    only = EmdbSource(intact, EmdbOptions(subset="emdb2"))
    assert [group.name for group in only.groups()] == ["P1/14_outdoor_climb"]
    with raises(UsageError, subject="split"):
        EmdbSource(intact, EmdbOptions(split="test"))
    assert_travels(source)
