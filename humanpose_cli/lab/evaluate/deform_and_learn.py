"""Evaluation of a network of deform-and-learn: joints about the root at the size of a canonical skeleton (Table 1).

Joints are evaluated as predicted and, for people with detections, after the refinement of section 6.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from humanpose_cli.lab.cache.drawing import draw_keypoints
from humanpose_cli.lab.evaluate.intervals import Summary, summarise
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection, clusters_of
from humanpose_cli.lab.evaluate.protocols import ScaledJointProtocol, apply_protocol
from humanpose_cli.lab.evaluate.report import (
    PANEL_SIDE,
    PREDICTED_COLOUR,
    TRUE_COLOUR,
    Cell,
    Image,
    Report,
    Table,
    error_sheets,
    figures_table,
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
    standing_pose,
)
from humanpose_cli.lab.recipes.deform_and_learn.recipe import mesh_views, predict_people
from humanpose_cli.lab.recipes.people import LABELS, JoinedPeople, People
from humanpose_cli.models.deform_and_learn.inputs import landmarks_in_crop
from humanpose_cli.models.deform_and_learn.registration import refine_predictions
from humanpose_cli.models.deform_and_learn.regressor import MODEL, BodyRegressor
from humanpose_cli.networks.weights import find_weights, read_header
from humanpose_cli.rendering.overlay import draw_label, person_colour

# rows of the tables
_CONSTANT = "constant pose"
_PREDICTED = "this network"
_REFINED = "this network, refined"
_CHUNK = 512  # people between two looks at whether to stop


@dataclass(frozen=True)
class EvaluatedJoints:
    """Joints of a body that errors are measured on.

    Attributes:
        body: The body.
        skeleton: Skeleton of the joints.
        rows: (J, 96) rows of the joints, as of `ScaledBody.landmarks`.
        text: Name for reports.
    """

    body: ScaledBody
    skeleton: Skeleton
    rows: Tensor
    text: str

    @classmethod
    def of_landmarks(cls, body: ScaledBody, skeleton: Skeleton) -> EvaluatedJoints:
        """Use the joints at the body's landmarks."""
        return cls(body, skeleton, body.landmarks(skeleton.name), f"{skeleton.name}, landmarks of the body")

    @classmethod
    def of_regressor(cls, body: ScaledBody, path: Path) -> EvaluatedJoints:
        """Use Human3.6M's joints, by a regressor.

        Args:
            body: The body.
            path: File of the regressor.

        Raises:
            HpcError: If the regressor does not fit the body.
        """
        regressor = JointRegressor.read(path)
        # Skinning is linear in a point's row, so means of vertices are means of their rows.
        rows = regressor.of_mesh(body.vertices()[None], body.body.template, body.body.name)[0]
        order = [regressor.names.index(name) for name in H36M17.joint_names]
        return cls(body, H36M17, rows[order], f"{H36M17.name}, by the H36M regressor")

    def errors(self, pose: ScaledPose, people: JoinedPeople) -> JointErrors:
        """Measure the people with known true joints, in metres."""
        points = self.body.points(pose, self.rows).double().numpy()
        return joint_errors(points, joint_truth(people, self.skeleton), self.skeleton, self.length)

    @cached_property
    def length(self) -> float:
        """Total length of the canonical skeleton's bones, metres."""
        return canonical_length(self.body, self.skeleton, self.rows)


def _chunks(count: int, progress: Progress, stop: Callable[[], bool], text: str) -> Iterator[Tensor]:
    """Yield the indices of `count` people in parts; `stop` ends with InterruptedRun."""
    for rows in torch.arange(count).split(_CHUNK):
        if stop():
            raise InterruptedRun()
        yield rows
        progress(int(rows[-1]) + 1, count, text)


def predict(
    network: BodyRegressor, people: JoinedPeople, batch_size: int, progress: Progress, stop: Callable[[], bool]
) -> ScaledPose:
    """Predict the bodies of people, on the CPU.

    Args:
        network: The network.
        people: The people.
        batch_size: People per batch.
        progress: Called after every part.
        stop: Called before every part; True ends with InterruptedRun.
    """
    chunks = _chunks(len(people), progress, stop, "people")
    parts = [predict_people(network, people.taken(rows.numpy()), batch_size).vector for rows in chunks]
    return ScaledPose.from_vector(torch.cat(parts))


@torch.no_grad()
def refine(body: ScaledBody, pose: ScaledPose, people: JoinedPeople, run: EvaluationRun) -> ScaledPose | None:
    """Refine predicted bodies by the cache's detections, as `hpc fit` does.

    Args:
        body: The body.
        pose: Predicted bodies of the people.
        people: The people.
        run: The evaluation.

    Returns:
        The refined bodies; None if the cache has no detections.
    """
    column = LABELS["detected"].column
    if not any(part.cache.labels.get(column, 0) for part in people.parts):
        return None
    pairs = zip(people.column("detected"), people.column("box"), strict=True)
    landmarks = torch.from_numpy(np.stack([landmarks_in_crop(points, person_crop(box, 2)) for points, box in pairs]))
    chunks = _chunks(len(people), run.progress, run.stop, "people, refinement")
    parts = [refine_predictions(body, pose.rows(rows), landmarks[rows]).vector for rows in chunks]
    return ScaledPose.from_vector(torch.cat(parts))


def evaluate_regressor(run: EvaluationRun, weights: str, *, batch_size: int = 16) -> Report:
    """Measure MPJPE and PA-MPJPE before and after refinement, with images of people in each quartile.

    Joints are Human3.6M's if the dataset measured them or a regressor is given, otherwise those of the network's
    skeleton. The selection's body must be the body that the network was trained with.

    Args:
        run: The evaluation.
        weights: Weights of the network.
        batch_size: People per batch.

    Raises:
        UsageError: If there are no weights.
        InputError: If the body differs, or there are no true joints.
    """
    if not weights:
        raise UsageError("weights", "are missing", expected="a run of hpc train deform-and-learn")
    path = find_weights(weights)
    network = BodyRegressor.load(path).to(run.device)
    config = read_header(path, MODEL).config
    rig = load_body(run.selection.body)
    if rig.name != config["body"]:
        raise InputError(path, "was trained with another body", expected=rig.name, got=config["body"])
    selection, protocol = apply_protocol(run.selection, ScaledJointProtocol)
    cache = open_cache(selection.data)
    body = ScaledBody(rig)
    joints = _joints(selection, body, skeleton_by_name(config["skeleton"]))
    if "keypoints/smpl24" not in cache.people:
        selection = replace(selection, visible=0.0)
    people = _people_with_truth(selection, network.options.labels, joints.skeleton)
    joined_people = JoinedPeople.of(people)
    clusters = clusters_of(people)
    pose = predict(network, joined_people, batch_size, run.progress, run.stop)
    poses = {_PREDICTED: pose}
    if (refined := refine(body, pose, joined_people, run)) is not None:
        poses[_REFINED] = refined
    errors = {
        name: JointErrors(*(1000 * column for column in joints.errors(predicted, joined_people)))
        for name, predicted in {_CONSTANT: standing_pose(len(people)), **poses}.items()
    }
    summaries = {
        name: {"mpjpe_mm": summarise(values.mpjpe, clusters), "pa_mpjpe_mm": summarise(values.pa_mpjpe, clusters)}
        for name, values in errors.items()
    }
    metrics = dict(summaries[_PREDICTED])
    for prefix, row in (("constant", _CONSTANT), ("refined", _REFINED)):
        metrics |= {f"{prefix}_{name}": summary for name, summary in summaries.get(row, {}).items()}
    facts = {**selection.facts(), **weights_facts(path, cache, people.images), "round": config["round"]}
    facts |= {"joints": joints.text, "people": len(people)}
    tables = _tables(summaries, joints)
    if protocol is not None:
        facts |= protocol.facts
        left_out = selection.left_out("measured", network.options.labels) if joints.skeleton == H36M17 else ""
        facts |= {LEFT_OUT: left_out} if left_out else {}
        split = selection.full_split() if joints.skeleton == H36M17 and not left_out else ""
        tables.insert(1, protocol.table(summaries, cache.header, split))
    return Report("Deform-and-learn", facts, metrics, tables, _contact_sheets(joined_people, joints, poses, errors))


def _joints(selection: PeopleSelection, body: ScaledBody, skeleton: Skeleton) -> EvaluatedJoints:
    """Choose the joints; `skeleton` is the network's."""
    if selection.regressor is not None:
        return EvaluatedJoints.of_regressor(body, selection.regressor)
    return EvaluatedJoints.of_landmarks(body, H36M17 if selection.measured else skeleton)


def _people_with_truth(selection: PeopleSelection, labels: Sequence[str], skeleton: Skeleton) -> People:
    """Select the labelled people whose joints are all known; others have no error."""
    people = selection.labelled(*labels)
    mask = np.asarray(np.isfinite(joint_truth(JoinedPeople.of(people), skeleton)).all((1, 2)))
    if not mask.any():
        raise InputError(selection.data, "has no true joints", expected=f"joints/{skeleton.name}")
    return people.taken(mask)


def _tables(summaries: Mapping[str, Mapping[str, Summary]], joints: EvaluatedJoints) -> list[Table]:
    """Make the table of errors, and the table of figures with their intervals."""
    notes = [f"Bones are scaled to add up to the resting body's {joints.length:.2f} m."]
    if _REFINED not in summaries:
        notes.append("Not refined: the cache has no detections.")
    rows: list[list[Cell]] = [[name, *(s.value for s in row.values())] for name, row in summaries.items()]
    figures = figures_table({(name, figure): s for name, row in summaries.items() for figure, s in row.items()})
    return [Table("joints", "Joints", ("method", "MPJPE mm", "PA-MPJPE mm"), rows, 1, notes), figures]


def _contact_sheets(
    people: JoinedPeople,
    joints: EvaluatedJoints,
    poses: Mapping[str, ScaledPose],
    errors: Mapping[str, JointErrors],
) -> dict[str, tuple[Image, str]]:
    """Draw some people of each quartile of the last errors, and the worst."""

    def panel(number: int) -> Image:
        return scaled_body_panel(people, joints, list(poses.values()), number)

    def title(number: int) -> str:
        mpjpe, pa = (
            " → ".join(f"{getattr(errors[stage], name)[number]:.0f}" for stage in poses) for name in JointErrors._fields
        )
        return f"{mpjpe} mm, PA {pa} mm"

    bodies = "the body before and after refinement" if _REFINED in poses else "the predicted body"
    caption = f"from left to right the person, {bodies}, and the last from the side with the true joints (green)"
    *_, last = errors.values()
    return error_sheets(panel, title, caption, last.mpjpe, {"worst-mpjpe.jpg": (last.mpjpe, "Largest errors")})


@torch.no_grad()
def scaled_body_panel(people: JoinedPeople, joints: EvaluatedJoints, poses: Sequence[ScaledPose], number: int) -> Image:
    """Draw the person's crop, each predicted body over it, and the last body from the side (Figure 1).

    The side view also shows the true joints at the compared size, with their root on the body's.

    Args:
        people: The people.
        joints: Joints that errors are measured on.
        poses: One prediction, or two: before and after refinement.
        number: Index of the person.

    Returns:
        (224, 224 (2 + P), 3) uint8.
    """
    person = people.taken(np.array([number]))
    image = person_crop(person.column("box")[0], PANEL_SIDE).image(person.example(0, (), mask=False).image)
    bodies = [pose.rows(torch.tensor([number])) for pose in poses]
    views = [mesh_views(joints.body, body, image, PREDICTED_COLOUR) for body in bodies]
    _, side = views[-1]
    joints2d = in_image(joints.body.points(bodies[-1], joints.rows), bodies[-1])[0].numpy()
    true = _at_size_of(joints, joints2d, joint_truth(person, joints.skeleton)[0])[:, [2, 1]]  # depth to the right
    draw_keypoints(side, (true + 1) * PANEL_SIDE / 2, joints.skeleton, person_colour(TRUE_COLOUR))
    panels = [np.ascontiguousarray(panel) for panel in (image, *(front for front, _ in views), side)]
    names = ("person", *(("predicted", "refined") if len(bodies) > 1 else ("predicted",)), "from the side")
    for panel, name in zip(panels, names, strict=True):
        draw_label(panel, name, (0, PANEL_SIDE))
    return np.concatenate(panels, 1)


def _at_size_of(
    joints: EvaluatedJoints, predictions: NDArray[np.float32], true: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scale true joints (J, 3) to the size of the predicted ones in the image, root on root."""
    skeleton = joints.skeleton
    first, second = np.array(skeleton.bones).T
    scale = np.linalg.norm(predictions[first] - predictions[second], axis=1).sum() / joints.length
    root = root_rows(skeleton)
    return np.asarray(scale * (true - true[root].mean(0)) + predictions[root].mean(0))
