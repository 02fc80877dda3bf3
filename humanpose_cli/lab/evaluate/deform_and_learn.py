"""Evaluation of a network of deform-and-learn: joints about the root at the size of a canonical skeleton (Table 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose, in_image
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.conventions import H36M17, Skeleton, skeleton_by_name
from humanpose_cli.core.errors import InputError, InterruptedRun, UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.evaluate.intervals import summarise
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection, clusters_of
from humanpose_cli.lab.evaluate.protocols import ScaledJointProtocol, under_protocol
from humanpose_cli.lab.evaluate.report import (
    FOUND_COLOUR,
    PANEL_SIDE,
    TRUE_COLOUR,
    Image,
    Report,
    Table,
    figures_table,
    quartile_contact_sheet,
    worst_contact_sheet,
)
from humanpose_cli.lab.evaluate.weights import LEFT_OUT, weights_facts
from humanpose_cli.lab.metrics.joints import JointRegressor
from humanpose_cli.lab.recipes.deform_and_learn.evidence import person_crop
from humanpose_cli.lab.recipes.deform_and_learn.measure import (
    JointErrors,
    canonical_length,
    joint_errors,
    joint_truth,
    root_rows,
)
from humanpose_cli.lab.recipes.deform_and_learn.recipe import mesh_views, predict_people
from humanpose_cli.lab.recipes.people import JoinedPeople
from humanpose_cli.models.deform_and_learn.regressor import MODEL, BodyRegressor
from humanpose_cli.networks.weights import find_weights, read_header
from humanpose_cli.rendering.overlay import draw_keypoints, draw_label, person_colour

_CHUNK = 512  # people between two looks at whether to stop


@dataclass(frozen=True)
class EvaluatedJoints:
    """Which joints of a body errors are of.

    rows  (J, 96) of the skeleton's joints, as `ScaledBody.landmarks` gives them
    """

    body: ScaledBody
    skeleton: Skeleton
    rows: Tensor
    text: str

    @classmethod
    def of_landmarks(cls, body: ScaledBody, skeleton: Skeleton) -> EvaluatedJoints:
        """Use the joints at the body's own landmarks."""
        return cls(body, skeleton, body.landmarks(skeleton.name), f"{skeleton.name}, landmarks of the body")

    @classmethod
    def of_regressor(cls, body: ScaledBody, path: Path) -> EvaluatedJoints:
        """Use Human3.6M's joints, by the regressor in a file. Raises InputError or UsageError if it is not for this
        body.
        """
        regressor = JointRegressor.read(path)
        # Skinning is linear in a point's row, so that means of vertices are means of their rows.
        rows = regressor(body.vertices()[None], body.body)[0]
        order = [regressor.names.index(name) for name in H36M17.joint_names]
        return cls(body, H36M17, rows[order], f"{H36M17.name}, by the H36M regressor")

    def errors(self, pose: ScaledPose, people: JoinedPeople) -> JointErrors:
        """Measure the people whose true joints are known, in metres."""
        points = self.body.points(pose, self.rows).double().numpy()
        return joint_errors(points, joint_truth(people, self.skeleton), self.skeleton, self.length)

    @cached_property
    def length(self) -> float:
        """Of the canonical skeleton's bones together, metres."""
        return canonical_length(self.body, self.skeleton, self.rows)


def predict(
    network: BodyRegressor,
    people: JoinedPeople,
    batch_size: int,
    progress: Progress,
    stop: Callable[[], bool],
) -> ScaledPose:
    """Predict the network's bodies of people, on the CPU.

    stop  called before every part; True ends with InterruptedRun
    """
    parts = []
    for first in range(0, len(people), _CHUNK):
        if stop():
            raise InterruptedRun()
        some = people.taken(np.arange(first, min(first + _CHUNK, len(people))))
        parts.append(predict_people(network, some, batch_size).vector)
        progress(first + len(some), len(people), "people")
    return ScaledPose.from_vector(torch.cat(parts))


def evaluate_regressor(run: EvaluationRun, weights: str, *, batch_size: int = 16) -> Report:
    """Measure MPJPE and PA-MPJPE, with images of people in each quartile.

    The selection's body is the one that the network learned with.

    Joints are Human3.6M's where the data set measured these or a regressor is given, else those of the skeleton that
    the network learned from.
    """
    if not weights:
        raise UsageError("weights", "are missing", expected="a run of hpc train deform-and-learn")
    path = find_weights(weights)
    network, config = BodyRegressor.load(path).to(run.device), read_header(path, MODEL).config
    rig = load_body(run.selection.body)
    if rig.name != config["body"]:
        raise InputError(path, "was trained with another body", expected=rig.name, got=config["body"])
    selection, protocol = under_protocol(run.selection, ScaledJointProtocol)
    cache, body = open_cache(selection.data), ScaledBody(rig)
    joints = _joints(selection, body, skeleton_by_name(config["skeleton"]))
    if "keypoints/smpl24" not in cache.people:
        selection = replace(selection, visible=0.0)
    people = selection.labelled(*network.options.labels)
    # People without known joints have no error.
    mask = np.asarray(np.isfinite(joint_truth(JoinedPeople.of(people), joints.skeleton)).all((1, 2)))
    if not mask.any():
        raise InputError(selection.data, "has no true joints", expected=f"joints/{joints.skeleton.name}")
    people = people.taken(mask)
    joined_people, clusters = JoinedPeople.of(people), clusters_of(people)
    pose = predict(network, joined_people, batch_size, run.progress, run.stop)
    errors = JointErrors(*(1000 * column for column in joints.errors(pose, joined_people)))
    metrics = {
        name: summarise(values, clusters)
        for name, values in (("mpjpe_mm", errors.mpjpe), ("pa_mpjpe_mm", errors.pa_mpjpe))
    }
    figures = figures_table({("this network", name): summary for name, summary in metrics.items()})
    facts = {**selection.facts(), **weights_facts(path, cache, people.images), "round": config["round"]}
    facts |= {"joints": joints.text, "people": len(errors.mpjpe)}
    note = f"Bones are scaled to add up to the resting body's {joints.length:.2f} m."
    ours: list[str | float] = ["this network", *(summary.value for summary in metrics.values())]
    tables = [Table("joints", "Joints", ("method", "MPJPE mm", "PA-MPJPE mm"), [ours], 1, [note]), figures]
    if protocol is not None:
        facts |= protocol.facts
        left_out = selection.left_out("measured", network.options.labels) if joints.skeleton == H36M17 else ""
        facts |= {LEFT_OUT: left_out} if left_out else {}
        split = selection.full_split() if joints.skeleton == H36M17 and not left_out else ""
        tables.insert(1, protocol.table({"this network": metrics}, cache.header, split))
    return Report("Deform-and-learn", facts, metrics, tables, _contact_sheets(joined_people, joints, pose, errors))


def _joints(selection: PeopleSelection, body: ScaledBody, skeleton: Skeleton) -> EvaluatedJoints:
    """Choose the joints. learned  the skeleton that the network learned from"""
    if selection.regressor is not None:
        return EvaluatedJoints.of_regressor(body, selection.regressor)
    return EvaluatedJoints.of_landmarks(body, H36M17 if selection.measured else skeleton)


def _contact_sheets(
    people: JoinedPeople, joints: EvaluatedJoints, pose: ScaledPose, errors: JointErrors
) -> dict[str, tuple[Image, str]]:
    """Draw some people of each quartile, and the worst."""

    def panel(number: int) -> Image:
        return scaled_body_panel(people, joints, pose, number)

    def title(number: int) -> str:
        return f"{errors.mpjpe[number]:.0f} mm, PA {errors.pa_mpjpe[number]:.0f} mm"

    caption = "from left to right the person, the found body, and the same from the side with the true joints (green)"
    quartiles, worst = (sheet(errors.mpjpe, panel, title) for sheet in (quartile_contact_sheet, worst_contact_sheet))
    return {
        "quartiles.jpg": (quartiles, f"Quartiles: {caption}"),
        "worst-mpjpe.jpg": (worst, f"Largest errors: {caption}"),
    }


@torch.no_grad()
def scaled_body_panel(people: JoinedPeople, joints: EvaluatedJoints, pose: ScaledPose, number: int) -> Image:
    """Draw (224, 672, 3) the person's crop, the predicted body over it, and the body from its right-hand side of the
    image.

    True joints in the last are at the size at which they are compared, with the root on the found one.
    """
    person = people.taken(np.array([number]))
    crop = person_crop(person.column("box")[0], PANEL_SIDE)
    image = crop.image(person.example(0, (), mask=False).image)
    one = pose.rows(torch.tensor([number]))
    front, side = mesh_views(joints.body, one, image, FOUND_COLOUR)
    joints2d = in_image(joints.body.points(one, joints.rows), one)[0].numpy()
    true = _at_size_of(joints, joints2d, joint_truth(person, joints.skeleton)[0])[:, [2, 1]]  # depth to the right
    draw_keypoints(side, (true + 1) * PANEL_SIDE / 2, joints.skeleton, person_colour(TRUE_COLOUR))
    panels = [np.ascontiguousarray(panel) for panel in (image, front, side)]
    for panel, name in zip(panels, ("person", "found body", "from the side"), strict=True):
        draw_label(panel, name, (0, PANEL_SIDE))
    return np.concatenate(panels, 1)


def _at_size_of(
    joints: EvaluatedJoints, predictions: NDArray[np.float32], true: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the true joints (J, 3) of a person in image units: scaled as the predicted ones (J, 3) are to the
    canonical skeleton, root on root.
    """
    skeleton = joints.skeleton
    first, second = np.array(skeleton.bones).T
    scale = np.linalg.norm(predictions[first] - predictions[second], axis=1).sum() / joints.length
    root = root_rows(skeleton)
    return np.asarray(scale * (true - true[root].mean(0)) + predictions[root].mean(0))
