"""The rounds of deform-and-learn: depth lifter → registration → network → registration from its predictions → …

A run's folder holds evidence.npz and held-out.npz (what is known about people, once for all rounds), a folder for each
round with lifter/, registration.npz and network/, and over all of them rounds.json, rounds.png (the paper's Figure 2)
and last.safetensors, the last round's network. Every step is kept when it is done, and an interrupted training or
registration keeps what it has done: the same call goes on.
"""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
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
from humanpose_cli.io.atomic import atomic_path, write_bytes, write_json, write_npz
from humanpose_cli.io.npz_files import read_npz
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
from humanpose_cli.lab.recipes.lifter.depth_recipe import DepthLifterRecipe, LifterData
from humanpose_cli.lab.recipes.people import JoinedPeople, keypoints_of
from humanpose_cli.lab.train.kept import validation_cautions
from humanpose_cli.lab.train.processes import Processes, only_training, processes
from humanpose_cli.lab.train.recipe import Recipe, TrainOptions, check_batch
from humanpose_cli.lab.train.settings import refuse_other_settings
from humanpose_cli.lab.train.trainer import LAST, TrainPlan, TrainResult, train
from humanpose_cli.models.deform_and_learn.registration import RegistrationEvidence, register
from humanpose_cli.models.deform_and_learn.regressor import MODEL, BodyRegressor, orthonormalise
from humanpose_cli.models.lifter.depth import DepthLifter
from humanpose_cli.networks.weights import fill, read_weights

ROUNDS, PLOT, SETTINGS = "rounds.json", "rounds.png", "training.json"
_BATCH = 64  # people that a trained network looks at together
_GATHERED = 256  # people whose evidence is kept at once
_POSITION_NOISE = 0.01  # image units by which keypoints err; without it few people would not define the distribution
_REGISTERED = "registration.npz"  # of a round
_EVIDENCE = 0.1  # fraction of the work that is done before the first round
_MAX_DEEP_SHARE = 0.15  # of people, above which a lifter has diverged: 0.05 of true poses, 0.25 of one that diverged
_MIN_ACCEPTED = 0.5  # share of the registrations, below which something is wrong with their evidence
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
    """Run all rounds, as `lab.train.trainer.train` runs a recipe.

    The result counts rounds. InputError where the folder holds a run with other settings; UsageError where the best
    weights are to be kept, for nothing is chosen by the people held out.

    Args:
        options: Of the network's training in each round, whose last step is kept.
    """
    start = time.monotonic()
    is_finished = True
    _settings(plan, options)  # may refuse, and then leaves no folder
    with processes(device) as group, only_training(folder, group):
        run = _Run(plan, options, folder, device, group, progress, _or_late(stop, options.minutes))
        try:
            run.begin(resume)
            for number in range(1, plan.options.rounds + 1):
                run.round(number)
        except _StopRequestedError:
            is_finished = False
    return run.result(is_finished, time.monotonic() - start)


def plan_rounds(plan: DeformAndLearn, options: TrainOptions, folder: Path, *, resume: bool = True) -> TrainPlan:
    """Return what `train_rounds` would do, as `lab.train.trainer.plan_training` says it of a recipe."""
    round_count, settings = 0, _settings(plan, options)
    if resume and (folder / SETTINGS).exists():
        refuse_other_settings(folder / SETTINGS, json.loads((folder / SETTINGS).read_text("utf-8")), settings)
        round_count = len(json.loads((folder / ROUNDS).read_text("utf-8"))) if (folder / ROUNDS).exists() else 0
    outputs = tuple(folder / name for name in (ROUNDS, PLOT, LAST, SETTINGS))
    counts = {"examples": len(plan.people), "held_out": len(plan.held_out)}
    return TrainPlan(plan.options.rounds, round_count, outputs, **counts, unit="rounds")


def _settings(plan: DeformAndLearn, options: TrainOptions) -> dict[str, Any]:
    """Return what a run's folder keeps of its settings; refuse what cannot be trained."""
    if options.keep != "last":
        raise UsageError("keep", f"is no choice of {MODEL}", expected="last", got=options.keep)
    check_batch(plan.people.path, len(plan.people), LoaderOptions(options.batch_size))
    for people in (plan.people, plan.held_out):
        if not people.values(lambda some: keypoints_of(some, plan.skeleton))[..., 2].all(1).any():
            remedy = "a skeleton all of whose joints the data labels"
            raise InputError(people.path, "has no person with all keypoints", remedy=remedy)
    if (start := plan.options.start) and not (Path(start) / ROUNDS).is_file():
        raise InputError(start, "is no run of deform-and-learn", expected=ROUNDS)
    settings: dict[str, Any] = {"model": MODEL, "loop": options.result_settings, **plan.describe()}
    return dict(json.loads(json.dumps(settings)))


class _StopRequestedError(Exception):
    """A stop was requested; everything done is kept."""


def _or_late(stop: Callable[[], bool], minutes: float) -> Callable[[], bool]:
    end = time.monotonic() + 60 * minutes
    return lambda: stop() or bool(minutes and time.monotonic() > end)


def registration_evidence(
    body: ScaledBody,
    skeleton: Skeleton,
    people: PeopleEvidence,
    depths: NDArray[np.float32],
    device: torch.device | str = "cpu",
) -> RegistrationEvidence:
    """Return what a body is registered to; depths (N, J) of the joints, in image units."""
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
        """Take up what is in the folder, or clear it."""
        settings = _settings(self.plan, self.loop)
        path = self.folder / SETTINGS
        if resume and path.exists():
            refuse_other_settings(path, json.loads(path.read_text("utf-8")), settings)
        else:
            for old in [*self.folder.glob("round-*"), *self.folder.glob("*.npz")]:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            (self.folder / ROUNDS).unlink(missing_ok=True)
            write_json(path, settings)
        if (self.folder / ROUNDS).exists():
            self.done = json.loads((self.folder / ROUNDS).read_text("utf-8"))
        self.report = part_of(self.progress, 0, 0.5 * _EVIDENCE)
        self.evidence = self._evidence("evidence.npz", self.plan.people)
        self.report = part_of(self.progress, 0.5 * _EVIDENCE, _EVIDENCE)
        self.held_out = self._evidence("held-out.npz", self.plan.held_out)

    def _evidence(self, name: str, people: JoinedPeople) -> PeopleEvidence:
        o = self.plan.options

        def gathered(rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            some = people.taken(rows)
            evidence = people_evidence(
                some, self.plan.body, self.skeleton, o.points, o.correspondence, self.plan.seed, self.plan.nearest
            )
            return evidence.arrays

        what = "people, dense correspondences"
        return PeopleEvidence(**self._in_parts(self.folder / name, len(people), _GATHERED, gathered, what))

    def _in_parts(
        self,
        path: Path,
        count: int,
        together: int,
        make: Callable[[NDArray[np.int64]], dict[str, NDArray[Any]]],
        what: str,
    ) -> dict[str, NDArray[Any]]:
        """Make the arrays of a file of `count` people, `together` at a time; parts that are made are kept."""
        folder, parts = path.with_suffix(""), []
        if not path.exists():
            for first in range(0, count, together):
                parts.append(folder / f"{first:08d}.npz")
                if not parts[-1].exists():
                    if self.stop():
                        raise _StopRequestedError
                    write_npz(parts[-1], make(np.arange(first, min(first + together, count))))
                self.report(min(first + together, count), count, what)
            arrays = [read_npz(part) for part in parts]
            write_npz(path, {name: np.concatenate([a[name] for a in arrays]) for name in arrays[0]})
        shutil.rmtree(folder, ignore_errors=True)
        return read_npz(path)

    def round(self, number: int) -> None:
        """Run one round, unless it is done."""
        self.number = number
        if len(self.done) >= number:
            return
        share = (1 - _EVIDENCE) / self.plan.options.rounds
        progress = part_of(self.progress, _EVIDENCE + share * (number - 1), _EVIDENCE + share * number)
        self.report = part_of(progress, 0, 0.2)
        depths, lifter = self._lifter()
        start = None if self._at(_REGISTERED).exists() else self._start()
        self.report = part_of(progress, 0.2, 0.5)
        parameters, accepted, registrations = self._registration(depths, start)
        self.report = part_of(progress, 0.5, 1)
        network = self._network(depths, parameters, accepted)
        errors = {**registrations, "network": network, "lifter": lifter}
        self.done.append({"round": number, "accepted": float(accepted.mean()), **errors})
        write_bytes(self.folder / LAST, (self._at("network") / LAST).read_bytes())
        write_json(self.folder / ROUNDS, self.done)
        plot_rounds(self.done, self.folder / PLOT, len(self.plan.people), len(self.plan.held_out))

    def _at(self, what: str, earlier: int = 0) -> Path:
        return self.folder / f"round-{self.number - earlier}" / what

    def _before(self, what: str) -> Path | None:
        """Return the weights to go on from: of the round before, or of the run that this one continues."""
        if self.number > 1:
            return self._at(what, 1) / LAST
        if not self.plan.options.start:
            return None
        folder = Path(self.plan.options.start)
        last = len(json.loads((folder / ROUNDS).read_text("utf-8")))
        return folder / f"round-{last}" / what / LAST

    def _train(self, recipe: Recipe[Any], loop: TrainOptions, what: str) -> None:
        def report(count: int, total: int | None, text: str) -> None:
            self.report(count, total, f"round {self.number}, {what}: {text}")

        result = train(recipe, loop, self._at(what), self.device, progress=report, stop=self.stop, group=self.group)
        if not result.finished:
            raise _StopRequestedError

    def _lifter(self) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Return depths (N, J) of the people to learn from, and the errors of those held out."""
        complete = [evidence.keypoints[evidence.complete, :, :2] for evidence in (self.evidence, self.held_out)]
        bones, before = bone_lengths(self.body, self.skeleton), self._before("lifter")
        data = LifterData(self.skeleton, complete[0], complete[1], bones, self.plan.people.describe(), before)
        options, steps = self.plan.options, self.plan.options.lifter_steps
        loop = TrainOptions(
            steps=steps,
            batch_size=min(options.lifter_batch, len(complete[0])),
            workers=0,
            seed=self.number,
            decay=0.0,
            average=options.lifter_average,
            keep="last",
            validate_every=steps,
            precision="full",
        )
        recipe = DepthLifterRecipe(data, options.lifter, seed=self.plan.seed)
        self._train(recipe, loop, "lifter")
        lifter = DepthLifter.load(self._at("lifter") / LAST)
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
        """Return parameters (N, 105) of the people to learn from, which of them (N,) are accepted, and the errors of
        all and of those accepted, by their curve.
        """
        path = self._at(_REGISTERED)
        arrays = self._in_parts(
            path,
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
        """Register people by number, from the T pose if `start` is None: parameters (B, 105), accepted (B,) and the
        errors (B,) in image units.
        """
        evidence = registration_evidence(self.body, self.skeleton, self.evidence.taken(rows), depths, self.device)
        begin = (
            None
            if start is None
            else ScaledPose._make(values.to(self.device) for values in start.rows(torch.from_numpy(rows)))
        )
        registration = register(self.body, evidence, begin, self.plan.options.registration)
        return {
            "parameters": orthonormalise(registration.pose).vector.cpu().numpy(),
            "accepted": registration.accepted.cpu().numpy(),
            "dense_error": registration.dense_error.cpu().numpy(),
            "keypoint_error": registration.keypoint_error.cpu().numpy(),
        }

    def _start(self) -> ScaledPose | None:
        """Return where registrations begin: what the round before's network predicts, on the CPU; None for the T
        pose.
        """
        before = self._before("network")
        if before is None:
            return None
        network = BodyRegressor.load(before).to(self.device)
        return predict_people(network, self.plan.people, _BATCH)

    def _network(
        self, depths: NDArray[np.float32], parameters: NDArray[np.float32], accepted: NDArray[np.bool_]
    ) -> dict[str, float]:
        """Train the network on the registrations; return its errors of the people held out."""
        plan = self.plan
        data = RoundData(
            plan.people,
            self.evidence,
            parameters,
            accepted,
            depths,
            plan.held_out,
            self.held_out,
            self._before("network"),
        )
        recipe = RegressorRecipe(data, plan.body, plan.options, seed=plan.seed, number=self.number)
        self._train(recipe, replace(self.loop, seed=self.loop.seed + self.number), "network")
        path = self._at("network") / LAST  # the running average, where there is one
        fill(recipe.model.eval(), read_weights(path, MODEL)[0], path)
        with torch.no_grad():
            return dict(recipe.validate(_BATCH))

    def result(self, finished: bool, seconds: float) -> TrainResult:
        """Return the result of this start, in rounds; the best is the last."""
        metrics = self.done[-1]["network"] if self.done else {}
        names = (ROUNDS, PLOT, LAST, SETTINGS)
        outputs = tuple(self.folder / name for name in names if (self.folder / name).exists())
        best = metrics.get(self.plan.criterion)
        round_count = len(self.done)
        rounds = self.plan.options.rounds
        cautions = validation_cautions({"count": len(self.plan.held_out), "unit": "people held out"})
        cautions += [caution for record in self.done for caution in round_cautions(record)]
        return TrainResult(
            step=round_count,
            steps=rounds,
            finished=finished,
            seconds=seconds,
            best=best,
            best_step=round_count,
            metrics=metrics,
            outputs=outputs,
            unit="rounds",
            kept=f"{LAST}: the last step of round {round_count:,} of {rounds:,}, whose error stands for the best",
            cautions=tuple(cautions),
        )


def round_cautions(record: Mapping[str, Any]) -> list[str]:
    """Say what went wrong in a round, from its entry in rounds.json: sentences, none if nothing did."""
    number, cautions = record["round"], []
    if (share := record["lifter"].get("deep_share", 0.0)) > _MAX_DEEP_SHARE:
        cautions.append(
            f"the lifter of round {number} diverged: it makes {share:.0%} of the people deeper than they are large in "
            "the image; a smaller `lifter.turn` bounds their depths"
        )
    if record["accepted"] < _MIN_ACCEPTED:
        cautions.append(
            f"only {record['accepted']:.0%} of the registrations of round {number} are accepted: the network learned "
            "little; look at its keypoints, correspondences and depths"
        )
    return cautions


def deep_share(depths: NDArray[np.float32], points: NDArray[np.float32], skeleton: Skeleton) -> float:
    """Compute the share of people whose depths (N, J) are larger, in mean over the joints, than the distances of their
    points (N, J, 2) in the image, both from the middle of the hips.
    """
    hips = points[:, skeleton.indices(("left_hip", "right_hip"))].mean(1, keepdims=True)
    return float((np.abs(depths).mean(1) > np.linalg.norm(points - hips, axis=-1).mean(1)).mean())


def lift(lifter: DepthLifter, evidence: PeopleEvidence, complete: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lift keypoints to depths (N, J), in image units, from the middle of the hips.

    Args:
        complete: (M, J, 2) people all of whose keypoints are known, who say where the unknown ones of others
            probably are.
    """
    points = torch.from_numpy(with_probable(evidence.keypoints, complete))
    with torch.no_grad():
        return np.asarray(lifter.lift(points).numpy(), np.float32)


def with_probable(keypoints: NDArray[np.float32], complete: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put the unknown joints of keypoints (N, J, 3) at their expectation, given those that are known: (N, J, 2).

    The expectation is that of a normal distribution with the mean and the covariance of complete people (M, J, 2).
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
    """Draw Figure 2: mean errors by round, and the share of accepted registrations; nothing if no true joints are
    known.

    Registrations have a curve of all people and one of those accepted: without those that failed, the error can fall
    while more fail.

    Args:
        people_count, held_out: Numbers of people, for the caption.
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
        f"Joints before Procrustes, bones scaled to the resting body's; means over the {people_count:,} people\n"
        f"learned from (registrations) and the {held_out:,} held out (lifter, network).\n"
        "The last round's network is kept."
    )
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
