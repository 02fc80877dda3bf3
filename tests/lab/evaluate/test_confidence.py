"""Confidences of fits against the errors of their joints: the table and the diagram of an evaluation."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.painted_people import painted_cache

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import H36M17, SMPL24
from humanpose_cli.lab.evaluate.bodies import fits_report, measure_fits
from humanpose_cli.lab.evaluate.confidence import (
    JointConfidences,
    confidence_table,
    joint_confidences,
    reliability_diagram,
)
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.evaluate.predictions import PredictedBody
from humanpose_cli.lab.metrics.bodies import Bodies


def of_one_person(**changed: tuple[float, float]) -> JointConfidences:
    """Joints at confidence 0.8 and right, but for those changed to (confidence, metres off about the pelvis)."""
    confidence, true = np.full((1, 24), 0.8), np.zeros((1, 24, 3))
    joints = true + np.array([0.0, 0.0, 2.0])  # where the pelvis is does not count
    for name, (value, away) in changed.items():
        confidence[0, SMPL24.index(name)] = value
        joints[0, SMPL24.index(name), 0] += away
    return JointConfidences.of(confidence, joints, true)


def test_joints_are_right_within_ten_centimetres_of_the_true_one():
    found = of_one_person(left_wrist=(0.1, 0.11), right_wrist=(0.2, 0.09), head=(0.0, 9.0))
    confidence, right = found.of_joints()
    assert len(right) == 12  # joints of limbs alone
    assert sorted(zip(confidence.tolist(), right.tolist(), strict=True))[:2] == [(0.1, False), (0.2, True)]
    assert (~right).sum() == 1


def test_a_limb_is_wrong_with_either_joint_and_as_confident_as_the_less_certain():
    found = of_one_person(left_wrist=(0.7, 0.2), left_elbow=(0.3, 0.0), right_ankle=(0.4, 0.0), left_hip=(0.0, 1.0))
    confidence, right = found.of_limbs()
    assert confidence.tolist() == [0.3, 0.8, 0.8, 0.4]
    assert right.tolist() == [False, True, True, True]


def test_the_table_has_what_the_figures_give():
    parts = [of_one_person(left_wrist=(0.1, 0.2)), of_one_person(right_wrist=(0.6, 0.2)), of_one_person()]
    found = JointConfidences(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("confidence", "error")))
    joints, limbs = confidence_table(found).rows
    assert joints[:3] == ["joints", 36, 2 / 36]
    assert joints[3] == pytest.approx((0.1 + 0.6 + 34 * 0.2) / 36)
    assert joints[4:] == [1.0, 0.0, 0.6]
    assert limbs[:3] == ["limbs", 12, 2 / 12]
    diagram = reliability_diagram(found)
    assert diagram.dtype == np.uint8
    assert diagram.shape[2] == 3
    assert np.ptp(diagram) > 200


def test_measured_joints_are_the_truth_where_there_are_some():
    """Of a laboratory: joints of the same names count, those without confidence do not."""
    body = default_body()
    bodies = Bodies(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10), torch.zeros(1, 3))
    joints = bodies.posed(body, vertices=False).joints[0].numpy()
    labels = np.zeros((1, len(H36M17), 4))
    for row, name in enumerate(H36M17.joint_names):
        if name in SMPL24:
            labels[0, row] = (*joints[SMPL24.index(name)] + 1.0, 1.0)
    labels[0, H36M17.index("left_knee"), 0] += 0.3
    labels[0, H36M17.index("left_wrist"), 3] = 0
    measured = SimpleNamespace(
        joints=SimpleNamespace(measured=True), people=SimpleNamespace(column={"joints/h36m17": labels}.__getitem__)
    )
    rows = np.array([0])
    found = joint_confidences(measured, rows, bodies, (body,), [np.full(24, 0.7)])
    _, right = found.of_joints()
    assert (len(right), int((~right).sum())) == (11, 1)
    assert len(found.of_limbs()[1]) == 3
    assert joint_confidences(measured, rows, bodies, (body,), [None]) is None
    labels[..., 3] = 0
    assert joint_confidences(measured, rows, bodies, (body,), [np.full(24, 0.7)]) is None


def test_a_report_has_them_where_fits_give_confidences(tmp_path):
    people = PeopleSelection(painted_cache(tmp_path / "cache", count=12)).people("joints")

    def fit(row: int, confidence: np.ndarray | None) -> list[PredictedBody]:
        number = int(np.flatnonzero(people.people.images == row)[0])
        columns = [people.people.column(name)[number] for name in ("poses", "betas", "trans", "box")]
        return [PredictedBody(*columns, confidence=confidence)]

    certain = measure_fits(people, lambda row: fit(row, np.full(24, 0.9)), default_body())
    assert certain.confidence is not None
    np.testing.assert_allclose(certain.confidence.error, 0, atol=1e-4)
    report = fits_report(people, certain, {})
    (table,) = [table for table in report.tables if table.name == "confidence"]
    assert table.rows[0][1:4] == [12 * len(people), 0.0, pytest.approx(0.1)]
    assert "reliability.png" in report.images
    unknown = measure_fits(people, lambda row: fit(row, None), default_body())
    assert unknown.confidence is None
    assert "confidence" not in [table.name for table in fits_report(people, unknown, {}).tables]
