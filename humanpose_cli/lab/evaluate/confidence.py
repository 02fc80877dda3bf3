"""Reliability of the confidences of fits, and how well they find wrong joints and limbs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import H36M17, LIMB_JOINTS, SMPL24
from humanpose_cli.lab.evaluate.people import EvaluatedPeople
from humanpose_cli.lab.evaluate.report import Cell, Table
from humanpose_cli.lab.metrics.bodies import Bodies
from humanpose_cli.lab.metrics.calibration import false_alarms, reliability, wrong_auc

RIGHT_WITHIN = 0.1
"""Metres, with the pelvis on the true one. Joints farther off are wrong; confidence is the probability to be right."""

_LIMBS = {
    f"{side} {limb}": (f"{side}_{upper}", f"{side}_{lower}")
    for limb, upper, lower in (("arm", "elbow", "wrist"), ("leg", "knee", "ankle"))
    for side in ("left", "right")
}


@dataclass(frozen=True)
class JointConfidences:
    """Confidence and truth of the 12 joints of limbs of N people.

    Attributes:
        confidence: (N, 12) probabilities; NaN if unknown.
        error: (N, 12) metres about the pelvis; NaN if unknown.
    """

    confidence: NDArray[np.float64]
    error: NDArray[np.float64]

    @classmethod
    def of(
        cls, confidence: NDArray[np.floating], joints: NDArray[np.floating], true: NDArray[np.floating]
    ) -> JointConfidences:
        """Select the limbs among all joints of SMPL24.

        Args:
            confidence: (N, 24) probabilities.
            joints: (N, 24, 3) metres.
            true: (N, 24, 3) metres.
        """
        rows = list(SMPL24.indices(LIMB_JOINTS))
        pelvis = SMPL24.index("pelvis")
        differences = (joints - joints[:, [pelvis]]) - (true - true[:, [pelvis]])
        return cls(
            np.asarray(confidence, np.float64)[:, rows],
            np.linalg.norm(differences[:, rows], axis=-1).astype(np.float64),
        )

    def of_joints(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the confidence of each joint, and whether it is right."""
        finite = np.isfinite(self.confidence + self.error)
        return self.confidence[finite], self.error[finite] <= RIGHT_WITHIN

    def of_limbs(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the confidence of each limb, and whether its joints are right.

        The confidence of a limb is that of its less certain joint, as in `doubtful`; both of its joints must be right.

        Returns:
            (M,) confidences and (M,) bool.
        """
        pairs = np.array([[LIMB_JOINTS.index(name) for name in names] for names in _LIMBS.values()])
        confidence = self.confidence[:, pairs].min(-1)
        error = self.error[:, pairs].max(-1)
        finite = np.isfinite(confidence + error)
        return confidence[finite], error[finite] <= RIGHT_WITHIN


def joint_confidences(
    people: EvaluatedPeople,
    rows: NDArray[np.int64],
    predictions: Bodies,
    rigs: Sequence[Body],
    confidence: Sequence[NDArray[np.floating] | None],
) -> JointConfidences | None:
    """Compare the confidences of predicted people with their errors.

    The truth are the dataset's joints if they were measured, otherwise the joints of the true bodies.

    Args:
        people: People with their truth.
        rows: (M,) rows of the predicted people.
        predictions: Their M bodies.
        rigs: Model of each body.
        confidence: (24,) confidences of each; None if unknown.

    Returns:
        The confidences; None if no confidence or no truth is known.
    """
    rated_rows = [row for row, values in enumerate(confidence) if values is not None]
    if not rated_rows:
        return None
    with torch.no_grad():
        joints = [predictions.taken([row]).posed(rigs[row], vertices=False).joints[0].numpy() for row in rated_rows]
        true = _true_joints(people, rows[rated_rows])
    confidences = JointConfidences.of(np.array([confidence[row] for row in rated_rows]), np.stack(joints), true)
    return confidences if np.isfinite(confidences.error).any() else None


def _true_joints(people: EvaluatedPeople, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return true joints (N, 24, 3) in metres, NaN if unknown."""
    true = np.full((len(rows), len(SMPL24), 3), np.nan)
    if people.joints.measured:
        names = [name for name in H36M17.joint_names if name in SMPL24]
        labels = np.asarray(people.people.column(f"joints/{H36M17.name}"), np.float64)[rows][:, H36M17.indices(names)]
        true[:, SMPL24.indices(names)] = np.where(np.nan_to_num(labels[..., 3:]) > 0, labels[..., :3], np.nan)
        return true
    for index, (row, number) in enumerate(zip(rows.tolist(), people.rig[rows].tolist(), strict=True)):
        if number >= 0:
            body = people.bodies.taken([row]).posed(people.rigs[number], vertices=False)
            true[index] = body.joints[0].numpy()
    return true


def confidence_table(confidences: JointConfidences) -> Table:
    """Tabulate calibration, and the detection of wrong joints and limbs."""
    rows: list[list[Cell]] = []
    for what, (confidence, right) in (("joints", confidences.of_joints()), ("limbs", confidences.of_limbs())):
        share, threshold = false_alarms(confidence, right)
        error = reliability(confidence, right).expected_error
        wrong = float((~right).mean()) if len(right) else float("nan")
        rows.append([what, len(right), wrong, error, wrong_auc(confidence, right), share, threshold])
    columns = ("what", "n", "wrong", "calibration error", "AUC", "false alarms", "threshold")
    notes = [
        f"Wrong: off by more than {100 * RIGHT_WITHIN:.0f} cm, the pelvis on the true one; of a limb its elbow or "
        "wrist, or its knee or ankle. AUC: of finding the wrong ones by low confidence. False alarms: of the right, "
        "the share below the threshold that catches 90 % of the wrong ones.",
    ]
    return Table("confidence", "Confidence", columns, rows, (0, 0, 3, 3, 3, 3, 3), notes=notes)


def reliability_diagram(confidences: JointConfidences) -> NDArray[np.uint8]:
    """Draw the share of right joints and limbs against their confidence, and how many have it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=110, layout="constrained")
    panel, counts = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    panel.plot((0, 1), (0, 1), color="grey", linestyle="--", linewidth=0.8)
    for what, (confidence, right) in (("joints", confidences.of_joints()), ("limbs", confidences.of_limbs())):
        bins = reliability(confidence, right)
        mask = bins.number > 0
        panel.plot(bins.confidence[mask], bins.right[mask], marker="o", label=what)
        counts.hist(confidence, bins=20, range=(0, 1), histtype="step")
    panel.set_ylabel(f"share within {100 * RIGHT_WITHIN:.0f} cm")
    panel.set_ylim(0, 1)
    panel.legend()
    panel.grid(alpha=0.3)
    counts.set_xlabel("confidence")
    counts.set_ylabel("number")
    counts.set_xlim(0, 1)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
