"""The rounds of deform-and-learn: depth lifter, registration, network, and registration from its predictions again.

The folder of a run holds evidence.npz and held-out.npz (the evidence for all rounds), a folder for each round with
lifter/, registration.npz and network/, and rounds.json, rounds.png (the paper's Figure 2) and last.safetensors, the
network of the last round. Finished steps and interrupted trainings and registrations are kept: the same call resumes.
"""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose
from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.files.npz_files import read_npz
from humanpose_cli.files.sniffing import read_bytes
from humanpose_cli.files.text_files import read_json
from humanpose_cli.lab.cache.loader import LoaderOptions
from humanpose_cli.lab.recipes.deform_and_learn.evidence import PeopleEvidence, people_evidence
from humanpose_cli.lab.recipes.deform_and_learn.measure import bone_lengths, canonical_length, joint_errors, joint_truth
from humanpose_cli.lab.recipes.deform_and_learn.recipe import (
    DeformAndLearn,
    RegressorRecipe,
    RoundData,
    joints_in_image,
    predict_people,
)
from humanpose_cli.lab.recipes.lifter.depth import DepthLifter
from humanpose_cli.lab.recipes.lifter.depth_recipe import DepthLifterRecipe, LifterData
from humanpose_cli.lab.recipes.people import JoinedPeople, keypoints_of
from humanpose_cli.lab.train.kept import validation_cautions
from humanpose_cli.lab.train.processes import Processes, claim_parts, only_training, processes
from humanpose_cli.lab.train.recipe import Recipe, TrainOptions, check_batch
from humanpose_cli.lab.train.settings import refuse_other_settings
from humanpose_cli.lab.train.trainer import LAST, TrainPlan, TrainResult, train
from humanpose_cli.models.deform_and_learn.registration import RegistrationEvidence, register
from humanpose_cli.models.deform_and_learn.regressor import MODEL, BodyRegressor, orthonormalise
from humanpose_cli.networks.weights import fill, read_weights
from humanpose_cli.outputs.atomic import atomic_path, write_bytes, write_json, write_npz
from humanpose_cli.outputs.ledger import claim

ROUNDS = "rounds.json"
PLOT = "rounds.png"
SETTINGS = "training.json"
_FILES = (ROUNDS, PLOT, LAST, SETTINGS)
_BATCH = 64  # people per batch of a trained network
_EVIDENCE_BATCH = 256  # people per saved part of the evidence
_POSITION_NOISE = 0.01  # image units, error of keypoints; without it few people would not define the distribution
_REGISTERED = "registration.npz"  # of a round
_EVIDENCE = 0.1  # share of the work before the first round
_MAX_DEEP_SHARE = 0.15  # of people, above which a lifter has diverged: true poses have 0.05, a diverged lifter 0.25
_MIN_ACCEPTED = 0.5  # share of the registrations below which their evidence is wrong
_CURVES = {
    "network": "network, people held out",
    "lifter": "lifter, people held out",
    "registration": "registration, all training people",
    "accepted_registration": "registration, accepted training people",
}


def train_rounds(
    plan: DeformAndLearn,
    options: TrainOptions,
    folder: Path,
    device: torch.device,
    *,
    resume: bool = True,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Run all rounds, like `lab.train.trainer.train` for a recipe.

    Args:
        plan: Data and body.
        options: Options of the network's training in each round, whose last step is kept.
        folder: Folder of the run.
        device: Device.
        resume: Continue the run in the folder; if False, start again.
        progress: Reports the progress.
        stop: Returns True to stop.

    Returns:
        The result, in rounds.

    Raises:
        InputError: If the folder holds a run with other settings.
        UsageError: If `options.keep` is not "last", since weights are not chosen by held-out people.
    """
    start = time.monotonic()
    is_finished = True
    _settings(plan, options)  # checks the options before there is a folder

    def stop_or_late() -> bool:
        return stop() or bool(options.minutes and time.monotonic() > start + 60 * options.minutes)

    with processes(device) as group, only_training(folder, group, _FILES, SETTINGS):
        run = _Run(plan, options, folder, device, group, progress, stop_or_late)
        try:
            run.begin(resume)
            for number in range(1, plan.options.rounds + 1):
                run.round(number)
        except _StopRequestedError:
            is_finished = False
    return run.result(is_finished, time.monotonic() - start)


def plan_rounds(plan: DeformAndLearn, options: TrainOptions, folder: Path, *, resume: bool = True) -> TrainPlan:
    """Return what `train_rounds` would do, like `lab.train.trainer.plan_training` for a recipe.

    Args:
        plan: Data and body.
        options: Options of the network's training in each round.
        folder: Folder of the run.
        resume: Continue the run in the folder.

    Raises:
        InputError: If the folder holds a run with other settings.
        UsageError: If `options.keep` is not "last".
    """
    settings = _settings(plan, options)
    round_count = 0
    if resume and (folder / SETTINGS).exists():
        refuse_other_settings(folder / SETTINGS, read_json(folder / SETTINGS), settings)
        round_count = len(read_json(folder / ROUNDS)) if (folder / ROUNDS).exists() else 0
    outputs = tuple(folder / name for name in _FILES)
    counts = {"examples": len(plan.people), "held_out": len(plan.held_out)}
    return TrainPlan(plan.options.rounds, round_count, outputs, **counts, unit="rounds")


def _settings(plan: DeformAndLearn, options: TrainOptions) -> dict[str, Any]:
    """Return the settings that a run's folder keeps; raise errors if they cannot be trained."""
    if options.keep != "last":
        raise UsageError("keep", f"is not possible with {MODEL}", expected="last", got=options.keep)
    check_batch(plan.people.path, len(plan.people), LoaderOptions(options.batch_size))
    for people in (plan.people, plan.held_out):
        if not people.values(lambda some: keypoints_of(some, plan.skeleton))[..., 2].all(1).any():
            remedy = "a skeleton whose joints are all labelled"
            raise InputError(people.path, "has no person with all keypoints", remedy=remedy)
    if (start := plan.options.start) and not (Path(start) / ROUNDS).is_file():
        raise InputError(start, "is not a run of deform-and-learn", expected=ROUNDS)
    settings: dict[str, Any] = {"model": MODEL, "loop": options.result_settings, **plan.describe()}
    return dict(json.loads(json.dumps(settings)))


class _StopRequestedError(Exception):
    """A stop was requested; finished work is kept."""


def registration_evidence(
    body: ScaledBody,
    skeleton: Skeleton,
    people: PeopleEvidence,
    depths: NDArray[np.float32],
    device: torch.device | str = "cpu",
) -> RegistrationEvidence:
    """Return the evidence that bodies are registered to.

    Args:
        body: The body.
        skeleton: Skeleton of the keypoints.
        people: Evidence of N people.
        depths: (N, J) float32, image units. Depths of the joints.
        device: Device of the result.
    """
    flat, weights = torch.from_numpy(people.keypoints).to(device).split((2, 1), -1)
    vertices = torch.from_numpy(people.vertices).to(device)
    return RegistrationEvidence(
        body.landmarks(skeleton.name),
        flat,
        weights[..., 0],
        torch.from_numpy(people.points).to(device),
        body.vertices(vertices.clamp_min(0).long()),
        (vertices >= 0).float(),
        torch.from_numpy(depths).to(device),
    )


class _Run:
    def __init__(
        self,
        plan: DeformAndLearn,
        loop: TrainOptions,
        folder: Path,
        device: torch.device,
        group: Processes,
        report: Progress,
        stop: Callable[[], bool],
    ) -> None:
        self.plan, self.folder, self.progress, self.report, self.stop = plan, folder, report, report, stop
        self.device, self.group = device, group
        self.loop = replace(loop, minutes=0.0)
        self.skeleton = plan.skeleton
        self.body = ScaledBody(copy.deepcopy(plan.body).to(device))
        self.done: list[dict[str, Any]] = []
        self.number = 0

    def begin(self, resume: bool) -> None:
        """Continue the run in the folder, or clear it, and make the evidence."""
        settings = _settings(self.plan, self.loop)
        path = self.folder / SETTINGS
        if resume and path.exists():
            refuse_other_settings(path, read_json(path), settings)
        else:
            patterns = ("*.npz", "round-*", "evidence", "held-out")
            earlier = [result for pattern in patterns for result in self.folder.glob(pattern)]
            for result in earlier:
                claim_parts(result) if result.is_dir() else claim(result)
            for previous in earlier:
                shutil.rmtree(previous) if previous.is_dir() else previous.unlink()
            (self.folder / ROUNDS).unlink(missing_ok=True)
            write_json(path, settings)
        if (self.folder / ROUNDS).exists():
            self.done = read_json(self.folder / ROUNDS)
        self.report = part_of(self.progress, 0, 0.5 * _EVIDENCE)
        self.evidence = self._evidence("evidence.npz", self.plan.people)
        self.report = part_of(self.progress, 0.5 * _EVIDENCE, _EVIDENCE)
        self.held_out = self._evidence("held-out.npz", self.plan.held_out)

    def _evidence(self, name: str, people: JoinedPeople) -> PeopleEvidence:
        o = self.plan.options

        def part_evidence(rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            part = people.taken(rows)
            return people_evidence(
                part, self.plan.body, self.skeleton, o.points, o.correspondence, self.plan.seed, self.plan.nearest
            ).arrays

        text = "people, dense correspondences"
        return PeopleEvidence(**self._in_parts(self.folder / name, len(people), _EVIDENCE_BATCH, part_evidence, text))

    def _in_parts(
        self,
        path: Path,
        count: int,
        batch: int,
        make: Callable[[NDArray[np.int64]], dict[str, NDArray[Any]]],
        text: str,
    ) -> dict[str, NDArray[Any]]:
        """Make the arrays of a file for `count` people in batches, which are saved, and join them."""
        folder = path.with_suffix("")
        parts: list[Path] = []
        if not path.exists():
            for first in range(0, count, batch):
                parts.append(folder / f"{first:08d}.npz")
                if not parts[-1].exists():
                    if self.stop():
                        raise _StopRequestedError
                    write_npz(parts[-1], make(np.arange(first, min(first + batch, count))))
                self.report(min(first + batch, count), count, text)
            arrays = [read_npz(part) for part in parts]
            write_npz(path, {name: np.concatenate([a[name] for a in arrays]) for name in arrays[0]})
        for part in folder.glob("[0-9]*.npz"):
            part.unlink()
        with suppress(OSError):  # it is gone, or a file of the user is in it
            folder.rmdir()
        return read_npz(path)

    def round(self, number: int) -> None:
        """Run one round unless it is finished."""
        self.number = number
        if len(self.done) >= number:
            return
        share = (1 - _EVIDENCE) / self.plan.options.rounds
        progress = part_of(self.progress, _EVIDENCE + share * (number - 1), _EVIDENCE + share * number)
        self.report = part_of(progress, 0, 0.2)
        depths, lifter = self._lifter()
        start = None if self._path(_REGISTERED).exists() else self._start()
        self.report = part_of(progress, 0.2, 0.5)
        parameters, accepted, registrations = self._registration(depths, start)
        self.report = part_of(progress, 0.5, 1)
        network = self._network(depths, parameters, accepted)
        errors = {**registrations, "network": network, "lifter": lifter}
        self.done.append({"round": number, "accepted": float(accepted.mean()), **errors})
        write_bytes(self.folder / LAST, read_bytes(self._path("network") / LAST))
        write_json(self.folder / ROUNDS, self.done)
        plot_rounds(self.done, self.folder / PLOT, len(self.plan.people), len(self.plan.held_out))

    def _path(self, name: str) -> Path:
        return self.folder / f"round-{self.number}" / name

    def _previous_weights(self, name: str) -> Path | None:
        """Return the weights to start from: of the previous round, or of the run `options.start`; None for neither."""
        if self.number > 1:
            return self.folder / f"round-{self.number - 1}" / name / LAST
        if not self.plan.options.start:
            return None
        folder = Path(self.plan.options.start)
        last = len(read_json(folder / ROUNDS))
        return folder / f"round-{last}" / name / LAST

    def _train(self, recipe: Recipe[Any], loop: TrainOptions, name: str) -> None:
        def report(count: int, total: int | None, text: str) -> None:
            self.report(count, total, f"round {self.number}, {name}: {text}")

        result = train(recipe, loop, self._path(name), self.device, progress=report, stop=self.stop, group=self.group)
        if not result.finished:
            raise _StopRequestedError

    def _lifter(self) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Train the lifter; return depths (N, J) of the training people, and the errors of held-out people."""
        complete = [evidence.keypoints[evidence.complete, :, :2] for evidence in (self.evidence, self.held_out)]
        data = LifterData(
            self.skeleton,
            points=complete[0],
            held_out=complete[1],
            bones=bone_lengths(self.body, self.skeleton),
            describe=self.plan.people.describe(),
            start=self._previous_weights("lifter"),
        )
        options = self.plan.options
        loop = TrainOptions(
            steps=options.lifter_steps,
            batch_size=min(options.lifter_batch, len(complete[0])),
            workers=0,
            seed=self.number,
            decay=0.0,
            average=options.lifter_average,
            keep="last",
            validate_every=options.lifter_steps,
            precision="full",
        )
        recipe = DepthLifterRecipe(data, options.lifter, seed=self.plan.seed)
        self._train(recipe, loop, "lifter")
        lifter = DepthLifter.load(self._path("lifter") / LAST)
        rows = self.held_out.complete
        flat = self.held_out.keypoints[rows, :, :2]
        depths, held_out = (lift(lifter, evidence, complete[0]) for evidence in (self.evidence, self.held_out))
        space = np.concatenate((flat, held_out[rows, :, None]), -1)
        errors = self._errors(space, self.plan.held_out.taken(np.flatnonzero(rows)))
        share = deep_share(depths[self.evidence.complete], complete[0], self.skeleton)
        return depths, {**errors, "deep_share": share}

    def _errors(self, joints: NDArray[Any], people: JoinedPeople) -> dict[str, float]:
        length = canonical_length(self.body, self.skeleton)
        return joint_errors(joints, joint_truth(people, self.skeleton), self.skeleton, length).means()

    def _registration(
        self, depths: NDArray[np.float32], start: ScaledPose | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], dict[str, dict[str, float]]]:
        """Return parameters (N, 105) and accepted (N,) of the training people, and the errors of both curves."""
        arrays = self._in_parts(
            self._path(_REGISTERED),
            len(self.evidence),
            self.plan.options.registered_together,
            lambda rows: self._registered(rows, depths[rows], start),
            f"round {self.number}, registration: people",
        )
        parameters, accepted = arrays["parameters"], arrays["accepted"]
        pose = ScaledPose.from_vector(torch.from_numpy(parameters))
        joints = joints_in_image(self.body, pose, self.skeleton)
        errors = {
            "registration": self._errors(joints, self.plan.people),
            "accepted_registration": self._errors(joints[accepted], self.plan.people.taken(accepted)),
        }
        return parameters, accepted, errors

    def _registered(
        self, rows: NDArray[np.int64], depths: NDArray[np.float32], start: ScaledPose | None
    ) -> dict[str, NDArray[Any]]:
        """Register B people from `start` or the T pose: parameters (B, 105), accepted (B,), errors in image units."""
        evidence = registration_evidence(self.body, self.skeleton, self.evidence.taken(rows), depths, self.device)
        if start is not None:
            start = ScaledPose._make(values.to(self.device) for values in start.rows(torch.from_numpy(rows)))
        registration = register(self.body, evidence, start, self.plan.options.registration)
        return {
            "parameters": orthonormalise(registration.pose).vector.cpu().numpy(),
            "accepted": registration.accepted.cpu().numpy(),
            "dense_error": registration.dense_error.cpu().numpy(),
            "keypoint_error": registration.keypoint_error.cpu().numpy(),
        }

    def _start(self) -> ScaledPose | None:
        """Return the predictions of the previous network, on the CPU; None for the T pose."""
        path = self._previous_weights("network")
        return (
            None if path is None else predict_people(BodyRegressor.load(path).to(self.device), self.plan.people, _BATCH)
        )

    def _network(
        self, depths: NDArray[np.float32], parameters: NDArray[np.float32], accepted: NDArray[np.bool_]
    ) -> dict[str, float]:
        """Train the network on the registrations; return its errors on held-out people."""
        plan = self.plan
        data = RoundData(
            plan.people,
            self.evidence,
            parameters,
            accepted,
            depths,
            held_out=plan.held_out,
            held_out_evidence=self.held_out,
            start=self._previous_weights("network"),
        )
        recipe = RegressorRecipe(data, plan.body, plan.options, seed=plan.seed, number=self.number)
        self._train(recipe, replace(self.loop, seed=self.loop.seed + self.number), "network")
        path = self._path("network") / LAST  # the running average, if there is one
        fill(recipe.model.eval(), read_weights(path, MODEL)[0], path)
        with torch.no_grad():
            return dict(recipe.validate(_BATCH))

    def result(self, finished: bool, seconds: float) -> TrainResult:
        """Return the result of this call, in rounds; the best round is the last."""
        metrics = self.done[-1]["network"] if self.done else {}
        paths = (self.folder / name for name in _FILES)
        round_count = len(self.done)
        rounds = self.plan.options.rounds
        cautions = validation_cautions({"count": len(self.plan.held_out), "unit": "people held out"})
        cautions += [caution for record in self.done for caution in round_cautions(record)]
        return TrainResult(
            step=round_count,
            steps=rounds,
            finished=finished,
            seconds=seconds,
            best=metrics.get(self.plan.criterion),
            best_step=round_count,
            metrics=metrics,
            outputs=tuple(path for path in paths if path.exists()),
            unit="rounds",
            kept=f"{LAST}: the last step of round {round_count:,} of {rounds:,}, whose error is reported as the best",
            cautions=tuple(cautions),
        )


def round_cautions(record: Mapping[str, Any]) -> list[str]:
    """Return warnings about a round from its entry in rounds.json."""
    number, cautions = record["round"], []
    if (share := record["lifter"].get("deep_share", 0.0)) > _MAX_DEEP_SHARE:
        cautions.append(
            f"the lifter of round {number} diverged: {share:.0%} of the people are deeper than they are large in the "
            "image; a smaller `lifter.turn` limits the depths"
        )
    if record["accepted"] < _MIN_ACCEPTED:
        cautions.append(
            f"only {record['accepted']:.0%} of the registrations of round {number} are accepted: the network learned "
            "little; check its keypoints, correspondences and depths"
        )
    return cautions


def deep_share(depths: NDArray[np.float32], points: NDArray[np.float32], skeleton: Skeleton) -> float:
    """Return the share of people whose mean depth exceeds their mean distance in the image, both from the hips.

    Args:
        depths: (N, J) float32, image units. Depths of the joints.
        points: (N, J, 2) float32, image units. Joints in the image.
        skeleton: Skeleton of the joints.
    """
    hips = points[:, skeleton.indices(("left_hip", "right_hip"))].mean(1, keepdims=True)
    return float((np.abs(depths).mean(1) > np.linalg.norm(points - hips, axis=-1).mean(1)).mean())


def lift(lifter: DepthLifter, evidence: PeopleEvidence, complete: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lift keypoints to depths.

    Args:
        lifter: The lifter.
        evidence: Keypoints of N people.
        complete: (M, J, 2) float32, image units. Complete keypoints, from which unknown keypoints are estimated.

    Returns:
        (N, J) float32, image units from the middle of the hips.
    """
    points = torch.from_numpy(with_probable(evidence.keypoints, complete))
    with torch.no_grad():
        return np.asarray(lifter.lift(points).numpy(), np.float32)


def with_probable(keypoints: NDArray[np.float32], complete: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace unknown keypoints by their expectation, given the known ones, of a normal distribution.

    Args:
        keypoints: (N, J, 3) float32, image units. x, y, and 0 for unknown keypoints.
        complete: (M, J, 2) float32, image units. Complete keypoints, which define mean and covariance.

    Returns:
        (N, J, 2) float32, image units.
    """
    points = keypoints[..., :2].reshape(len(keypoints), -1).astype(np.float64)
    label_mask = np.repeat(keypoints[..., 2] > 0, 2, axis=1)
    sample = complete.reshape(len(complete), -1).astype(np.float64)
    mean = sample.mean(0)
    covariance = (sample - mean).T @ (sample - mean) / len(sample) + _POSITION_NOISE**2 * np.eye(len(mean))
    for pattern in np.unique(label_mask[~label_mask.all(1)], axis=0):
        rows = (label_mask == pattern).all(1)
        weights = np.linalg.solve(covariance[np.ix_(pattern, pattern)], covariance[np.ix_(pattern, ~pattern)])
        points[np.ix_(rows, ~pattern)] = mean[~pattern] + (points[np.ix_(rows, pattern)] - mean[pattern]) @ weights
    return points.reshape(*keypoints.shape[:2], 2).astype(np.float32)


def plot_rounds(rounds: Sequence[Mapping[str, Any]], path: Path, people_count: int, held_out: int) -> None:
    """Draw the paper's Figure 2, mean errors and the share of accepted registrations by round, if joints are known.

    Registrations have a curve for all people and a curve for accepted ones, whose error can fall while more
    registrations fail.

    Args:
        rounds: Entries of rounds.json.
        path: PNG file.
        people_count: Number of training people, for the caption.
        held_out: Number of held-out people, for the caption.
    """
    from matplotlib.figure import Figure

    numbers = [entry["round"] for entry in rounds]
    curves = {name: [entry[name].get("mpjpe_mm", np.nan) for entry in rounds] for name in _CURVES}
    if np.isnan(list(curves.values())).all():
        return
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes, shares = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    for name, values in curves.items():
        if not np.isnan(values).all():
            axes.plot(numbers, values, marker="o", label=_CURVES[name])
    axes.set(ylabel="MPJPE [mm]", ylim=(0, None))
    axes.legend()
    shares.plot(numbers, [100 * entry["accepted"] for entry in rounds], marker="o", color="grey")
    shares.set(xlabel="round", ylabel="accepted [%]", ylim=(0, 105), xticks=numbers)
    for panel in (axes, shares):
        panel.grid(alpha=0.3)
    caption = (
        f"Joints before Procrustes, bones scaled to the body at rest; means over {people_count:,} training people\n"
        f"(registrations) and {held_out:,} held-out people (lifter, network).\n"
        "The last round's network is kept."
    )
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
