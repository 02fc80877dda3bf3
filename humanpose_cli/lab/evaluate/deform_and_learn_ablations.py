"""Ablations of deform-and-learn, trained and evaluated anew: rounds (Figure 2), losses, and dense correspondences.

Networks are evaluated on the people that the trainings hold out, the same ones for all variants; registrations are of
the people that they learn from. Errors are those of `lab.recipes.deform_and_learn.measure`, intervals over
`clusters_of` the people and over seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.scaled_body import ScaledBody
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.options import changed
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.evaluate.deform_and_learn import EvaluatedJoints, predict
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, paired_difference, summarise
from humanpose_cli.lab.evaluate.people import PeopleSelection, clusters_of
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table, plot_curves
from humanpose_cli.lab.evaluate.variants import VARIANTS, SharedTraining, Trainings, Variant
from humanpose_cli.lab.recipes.deform_and_learn.measure import true_joints
from humanpose_cli.lab.recipes.deform_and_learn.recipe import DEFORM_PRESETS, DeformAndLearn, DeformTraining
from humanpose_cli.lab.recipes.deform_and_learn.rounds import ROUNDS, plan_rounds, train_rounds
from humanpose_cli.lab.recipes.people import training_protocol
from humanpose_cli.lab.train.trainer import LAST
from humanpose_cli.models.deform_and_learn.regressor import BodyRegressor

DeformShared = SharedTraining[DeformTraining]
_TITLES = {
    "rounds": "Figure 2: rounds, and equally long trainings without them",
    "losses": "Losses of equation 5, and smooth L1 beside L2",
    "correspondence": "Dense correspondences",
}
_BATCH = 64  # people that a trained network looks at together
_PLOT = "rounds.png"
_CURVES = {
    "lifter": "lifter, held out",
    "registration": "registration, all training people",
    "accepted_registration": "registration, accepted training people",
}
"""Of a run's rounds.json → in the plot."""
_COLUMNS = (
    *("registration mm", "PA", "accepted %", "accepted mm", "accepted PA"),
    *("lifter mm", "lifter PA", "network mm", "network PA"),
)


class TrainedRounds(NamedTuple):
    """The runs of a variant from S seeds, each of R rounds.

    records    (S, R) entries of the runs' rounds.json
    mpjpe, pa  (R, S, N) mm, errors of each round's network on the N people held out
    clusters   of these people
    """

    records: Sequence[Sequence[Mapping[str, Any]]]
    mpjpe: NDArray[np.float64]
    pa: NDArray[np.float64]
    clusters: Clusters

    def mean(self, of: str, figure: str, number: int) -> float:
        """Of a record's figure in round `number` over the seeds; NaN where it is not known."""
        return float(np.mean([records[number][of].get(figure, np.nan) for records in self.records]))

    def cells(self, number: int) -> list[Cell]:
        """The figures of round `number`, as `_COLUMNS`."""
        accepted = 100 * float(np.mean([records[number]["accepted"] for records in self.records]))
        registration, kept, lifter = (
            [self.mean(of, figure, number) for figure in ("mpjpe_mm", "pa_mpjpe_mm")]
            for of in ("registration", "accepted_registration", "lifter")
        )
        network = (float(self.mpjpe[number].mean()), float(self.pa[number].mean()))
        return [*registration, accepted, *kept, *lifter, *network]


def deform_shared(preset: str) -> DeformShared:
    """What the trainings of a preset of `hpc train deform-and-learn` share; `ablation` is its `landmarks`.

    UsageError for another name.
    """
    name = "landmarks" if preset == "ablation" else preset
    if name not in DEFORM_PRESETS:
        raise UsageError("preset", "is not known", expected=f"ablation, {', '.join(DEFORM_PRESETS)}", got=preset)
    return SharedTraining(*DEFORM_PRESETS[name])


def variant_training(shared: DeformShared, variant: Variant) -> DeformShared:
    """A variant's training: with fewer rounds the network, and of "long lifter" the lifter too, has as many steps as in
    all rounds of the shared one.
    """
    network, loop = variant.of(shared.network), shared.loop
    times = shared.network.rounds // network.rounds
    if variant.name == "long lifter":
        network = replace(network, lifter_steps=times * network.lifter_steps)
    return SharedTraining(network, replace(loop, epochs=times * loop.epochs, steps=times * loop.steps))


def evaluate_deform_ablation(
    name: str,
    selection: PeopleSelection,
    preset: str,
    device: str,
    folder: Path,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    seeds: int = 1,
    tune: Callable[[DeformShared], DeformShared] = lambda shared: shared,
) -> Report:
    """Trains the variants of an ablation and compares them; `folder/runs` keeps the trainings, finished or not.

    selection  its data, protocol and body count; people are those that the trainings hold out
    tune       changes what the preset's trainings share
    """
    if name not in _TITLES:
        raise UsageError("ablation", "is not known", expected=", ".join(_TITLES), got=name)
    shared, variants = tune(deform_shared(preset)), VARIANTS[f"deform {name}"]
    selected = {"protocol": selection.protocol, "body": "" if selection.body == "default" else selection.body}
    chosen = changed(shared.network, {field: value for field, value in selected.items() if value})
    shared = replace(shared, network=chosen)
    plan = DeformAndLearn(selection.data, shared.network, seed=shared.loop.seed)
    joints = EvaluatedJoints.of_landmarks(ScaledBody(plan.body), plan.skeleton)
    if not np.isfinite(true_joints(plan.held_out, plan.skeleton)).all((1, 2)).any():
        problem = "has no true joints of people held out"
        raise InputError(selection.data, problem, expected=f"joints/{plan.skeleton.name}")
    planned = len(variants) * seeds
    trainings = Trainings(selection.data, folder / "runs", device, seeds, planned, progress, stop)
    each = [variant_training(shared, variant) for variant in variants]
    trainings.check([(DeformAndLearn, one.network, one.loop) for one in each], plan_rounds)
    found = {variant.name: _trained(trainings, shared, variant, plan, joints) for variant in variants}
    tables = [_table(name, variants, found), _figures(found)]
    text = _plot(folder / _PLOT, name, variants, found)
    facts = selection.facts(training_protocol(open_cache(selection.data), chosen.protocol), "all but train")
    facts |= {"preset": preset, "rounds": chosen.rounds, "seeds": seeds, "joints": joints.text}
    facts |= {"people to learn from": len(plan.people), "people": found[variants[0].name].mpjpe.shape[-1]}
    facts |= trainings.facts(open_cache(selection.data), plan.held_out.values(lambda people: people.images))
    return Report(f"Ablation: {name} of deform-and-learn", facts, {}, tables, plots={_PLOT: text})


def _trained(
    trainings: Trainings, shared: DeformShared, variant: Variant, plan: DeformAndLearn, joints: EvaluatedJoints
) -> TrainedRounds:
    training = variant_training(shared, variant)
    paths = trainings.each_seed(DeformAndLearn, variant.name, training.network, training.loop, train_rounds)
    records = [json.loads((path.parent / ROUNDS).read_text("utf-8")) for path in paths]
    errors = [
        [_errors(trainings, path.parent / f"round-{record['round']}", plan, joints) for record in run]
        for path, run in zip(paths, records, strict=True)
    ]
    mpjpe, pa = np.array(errors).transpose(2, 1, 0, 3)  # [S, R, 2, N] before
    people = plan.held_out.parts[0].taken(plan.held_out.numbers)  # an ablation learns from one cache
    return TrainedRounds(records, mpjpe, pa, clusters_of(people))


def _errors(trainings: Trainings, folder: Path, plan: DeformAndLearn, joints: EvaluatedJoints) -> NDArray[np.float64]:
    """(2, N) mm: MPJPE and PA-MPJPE of a round's network on the people held out."""
    network = BodyRegressor.load(folder / "network" / LAST).to(trainings.device)
    pose = predict(network, plan.held_out, _BATCH, no_progress, trainings.stop)
    return 1000 * np.stack(joints.errors(pose, plan.held_out))


def _table(name: str, variants: Sequence[Variant], found: Mapping[str, TrainedRounds]) -> Table:
    """A row for each round of Figure 2 and for each control; of the others a row for the last round of each variant."""
    first, *others = variants
    clusters = found[first.name].clusters
    notes = [
        "Registrations are of the people learned from; lifter and network of the people held out.",
        f"Intervals are over seeds and {clusters.text}.",
    ]
    if name == "rounds":
        rows: list[list[Cell]] = [
            [*variant.cells, number + 1, *found[variant.name].cells(number)]
            for variant in variants
            for number in range(len(found[variant.name].mpjpe))
        ]
        rounds = found[first.name]
        against = {"the first": (rounds.mpjpe[0], rounds.pa[0])}
        against |= {str(v.cells[0]): (found[v.name].mpjpe[-1], found[v.name].pa[-1]) for v in others}
        notes += [
            f"Network of the last round against {other}: "
            f"{_difference(rounds.mpjpe[-1], mpjpe, clusters, percent=True)}; after Procrustes "
            f"{_difference(rounds.pa[-1], pa, clusters, percent=True)}."
            for other, (mpjpe, pa) in against.items()
        ]
        return Table(name, _TITLES[name], ("training", "round", *_COLUMNS), rows, notes=notes)
    rows = [
        [
            *variant.cells,
            *found[variant.name].cells(-1),
            None
            if variant is first
            else _difference(found[variant.name].mpjpe[-1], found[first.name].mpjpe[-1], clusters),
        ]
        for variant in variants
    ]
    notes.append("Figures of the last round. The last column compares the same people.")
    return Table(name, _TITLES[name], (name, *_COLUMNS, f"network mm against {first.cells[0]}"), rows, notes=notes)


def _difference(
    values: NDArray[np.float64], others: NDArray[np.float64], clusters: Clusters, *, percent: bool = False
) -> str:
    """The mean of values (S, N) − others, with its interval over clusters of the N, in mm."""
    apart = paired_difference(values, others, clusters)
    text = apart.text("+.1f")
    return f"{text} mm, {100 * apart.value / float(others.mean()):+.1f} %" if percent else text


def _figures(found: Mapping[str, TrainedRounds]) -> Table:
    """Of each round's network."""
    figures: dict[tuple[str, str], Summary] = {}
    for name, rounds in found.items():
        for number, (mpjpe, pa) in enumerate(zip(rounds.mpjpe, rounds.pa, strict=True), 1):
            figures |= {
                (name, f"network, round {number}, mm"): summarise(mpjpe, rounds.clusters),
                (name, f"network, round {number}, PA mm"): summarise(pa, rounds.clusters),
            }
    return figures_table(figures)


def _plot(path: Path, name: str, variants: Sequence[Variant], found: Mapping[str, TrainedRounds]) -> str:
    """Draws errors by round; returns what is shown."""
    first, *others = variants
    numbers = range(len(found[first.name].mpjpe))
    if name == "rounds":
        rounds = found[first.name]
        curves = {"network, held out": rounds.mpjpe.mean((1, 2)).tolist()}
        curves |= {label: [rounds.mean(of, "mpjpe_mm", number) for number in numbers] for of, label in _CURVES.items()}
        levels = {str(variant.cells[0]): float(found[variant.name].mpjpe[-1].mean()) for variant in others}
        plot_curves(path, [number + 1 for number in numbers], curves, "round", levels)
        return "Figure 2: MPJPE by round, and of the networks of equally long trainings"
    curves = {str(variant.cells[0]): found[variant.name].mpjpe.mean((1, 2)).tolist() for variant in variants}
    plot_curves(path, [number + 1 for number in numbers], curves, "round")
    return "MPJPE of the networks by round, people held out"
