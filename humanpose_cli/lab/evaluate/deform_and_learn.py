"""Evaluation of a network of deform-and-learn: joints about the root at the size of a canonical skeleton (Table 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from humanpose_cli.body.scaled_body import ScaledBody
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.conventions import skeleton_by_name
from humanpose_cli.core.errors import InputError, InterruptedRun, UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.evaluate.intervals import summarise
from humanpose_cli.lab.evaluate.people import PeopleSelection, weights_facts
from humanpose_cli.lab.evaluate.protocols import agrees
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table
from humanpose_cli.lab.recipes.deform_and_learn.measure import JointErrors, canonical_length, joint_errors, true_joints
from humanpose_cli.lab.recipes.deform_and_learn.recipe import joints_in_image, predict_people
from humanpose_cli.lab.recipes.people import JoinedPeople
from humanpose_cli.models.deform_and_learn.regressor import MODEL, BodyRegressor
from humanpose_cli.networks.weights import find_weights, read_header

_CHUNK = 512  # people between two looks at whether to stop
_PUBLISHED: tuple[tuple[str, float], ...] = (
    ("Kudo et al., no 3-D data", 173.2),
    ("Rhodin et al., little 3-D data", 131.7),
    ("HMR, unpaired 3-D data", 106.84),
    ("the paper, correspondences of DensePose", 115.3),
    ("the paper, correspondences of Mosh", 96.99),
)


def evaluate_regressor(
    selection: PeopleSelection,
    weights: str,
    device: str,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    batch_size: int = 16,
) -> Report:
    """MPJPE and PA-MPJPE in the skeleton that the network learned from; `selection.body` is the one it learned with."""
    if not weights:
        raise UsageError("weights", "are missing", expected="a run of hpc train deform-and-learn")
    path = find_weights(weights)
    network, config = BodyRegressor.load(path).to(device), read_header(path, MODEL).config
    skeleton, rig = skeleton_by_name(config["skeleton"]), load_body(selection.body)
    if rig.name != config["body"]:
        raise InputError(path, "was trained with another body", expected=rig.name, got=config["body"])
    if "keypoints/smpl24" not in open_cache(selection.data).people:
        selection = replace(selection, visible=0.0)
    people, body = JoinedPeople.of(selection.labelled(*network.options.labels)), ScaledBody(rig)
    length, parts = canonical_length(body, skeleton), []
    for first in range(0, len(people), _CHUNK):
        if stop():
            raise InterruptedRun()
        some = people.taken(np.arange(first, min(first + _CHUNK, len(people))))
        found = joints_in_image(body, predict_people(network, some, batch_size), skeleton)
        parts.append(joint_errors(found, true_joints(some, skeleton), skeleton, length))
        progress(first + len(some), len(people), "people")
    errors = JointErrors(*(1000 * np.concatenate(column) for column in zip(*parts, strict=True)))
    if not len(errors.mpjpe):
        raise InputError(selection.data, "has no true joints", expected=f"joints/{skeleton.name}")
    metrics = {"mpjpe_mm": summarise(errors.mpjpe), "pa_mpjpe_mm": summarise(errors.pa_mpjpe)}
    rows: list[list[Cell]] = [["this network", *(metrics[name].value for name in metrics)]]
    header = open_cache(selection.data).header
    same = agrees(header, selection.full_split(), "h36m", ("deform-and-learn/test",), every=0)
    if same and skeleton.name == "h36m17":
        rows += [[name, value, None] for name, value in _PUBLISHED]
    note = "Bones are scaled to add up to the resting body's, as the paper's figures of Human3.6M, protocol 1."
    table = Table("joints", "Joints", ("method", "MPJPE mm", "PA-MPJPE mm"), rows, notes=[note])
    figures = figures_table({("this network", name): summary for name, summary in metrics.items()})
    facts = {**selection.facts(), **weights_facts(path), "round": config["round"], "people": len(errors.mpjpe)}
    return Report("Deform-and-learn", facts, metrics, [table, figures])
