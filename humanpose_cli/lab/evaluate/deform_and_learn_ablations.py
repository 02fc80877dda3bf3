"""Ablations of deform-and-learn, trained and evaluated anew: rounds (Figure 2), losses, and dense correspondences.

Networks are evaluated on people that the trainings hold out, the same ones for all variants; registrations on the
people that they learn from. Errors follow `lab.recipes.deform_and_learn.measure`; intervals are over seeds and
`clusters_of` the people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.scaled_body import ScaledBody
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.options import changed
from humanpose_cli.core.progress import no_progress
from humanpose_cli.io.text_files import read_json
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.evaluate.ablations import Ablation, Study
from humanpose_cli.lab.evaluate.deform_and_learn import EvaluatedJoints, predict
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, paired_difference, summarise
from humanpose_cli.lab.evaluate.people import EvaluationRun, clusters_of
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table, plot_curves
from humanpose_cli.lab.evaluate.trainings import PlannedTraining, SharedTraining, Trainings
from humanpose_cli.lab.evaluate.variants import VARIANTS, Variant
from humanpose_cli.lab.recipes.deform_and_learn.measure import joint_truth, standing_pose
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
_BATCH = 64  # people per batch of a trained network
_PLOT = "rounds.png"
_CURVES = {
    "lifter": "lifter, held out",
    "registration": "registration, all training people",
    "accepted_registration": "registration, accepted training people",
}
"""Entry of a run's rounds.json → label in the plot."""
_COLUMNS = (
    *("registration mm", "PA", "accepted %", "accepted mm", "accepted PA"),
    *("lifter mm", "lifter PA", "network mm", "network PA"),
)


class TrainedRounds(NamedTuple):
    """The runs of a variant from S seeds, each of R rounds.

    Attributes:
        records: (S, R) entries of the runs' rounds.json.
        mpjpe: (R, S, N) mm. Errors of each round's network on N held-out people.
        pa: (R, S, N) mm. Errors after Procrustes alignment.
        clusters: Clusters of these people.
    """

    records: Sequence[Sequence[Mapping[str, Any]]]
    mpjpe: NDArray[np.float64]
    pa: NDArray[np.float64]
    clusters: Clusters

    def mean(self, of: str, figure: str, number: int) -> float:
        """Average a record's figure in a round over the seeds.

        Args:
            of: Entry of the record.
            figure: Name of the figure.
            number: Index of the round.

        Returns:
            The mean; NaN if it is unknown.
        """
        return float(np.mean([records[number][of].get(figure, np.nan) for records in self.records]))

    def cells(self, number: int) -> list[Cell]:
        """List the figures of a round, as `_COLUMNS`."""
        accepted_share = 100 * float(np.mean([records[number]["accepted"] for records in self.records]))
        registration, accepted_cells, lifter = (
            [self.mean(of, figure, number) for figure in ("mpjpe_mm", "pa_mpjpe_mm")]
            for of in ("registration", "accepted_registration", "lifter")
        )
        network = (float(self.mpjpe[number].mean()), float(self.pa[number].mean()))
        return [*registration, accepted_share, *accepted_cells, *lifter, *network]


def variant_training(shared: DeformShared, variant: Variant) -> DeformShared:
    """Return the training of a variant.

    With fewer rounds, the network has as many steps as in all rounds of the shared training; in "long lifter", so has
    the lifter.

    Args:
        shared: The shared training.
        variant: The variant.
    """
    network = variant.of(shared.network)
    loop = shared.loop
    times = shared.network.rounds // network.rounds
    if variant.name == "long lifter":
        network = replace(network, lifter_steps=times * network.lifter_steps)
    return SharedTraining(network, replace(loop, epochs=times * loop.epochs, steps=times * loop.steps))


def _study(name: str, run: EvaluationRun, shared: DeformShared) -> Study:
    selection = run.selection
    changes = {}
    if selection.protocol:
        changes["protocol"] = selection.protocol
    if selection.body != "default":
        changes["body"] = selection.body
    shared = replace(shared, network=changed(shared.network, changes))
    plan = DeformAndLearn(selection.data, shared.network, seed=shared.loop.seed)
    joints = EvaluatedJoints.of_landmarks(ScaledBody(plan.body), plan.skeleton)
    if not np.isfinite(joint_truth(plan.held_out, plan.skeleton)).all((1, 2)).any():
        problem = "has no true joints of people held out"
        raise InputError(selection.data, problem, expected=f"joints/{plan.skeleton.name}")
    variants = VARIANTS[f"deform {name}"]
    variant_trainings = {variant.name: variant_training(shared, variant) for variant in variants}

    def report(trainings: Trainings) -> Report:
        runs = {key: _trained(trainings, key, training, plan, joints) for key, training in variant_trainings.items()}
        standing = standing_pose(len(plan.held_out))
        constant = [1000 * float(values.mean()) for values in joints.errors(standing, plan.held_out)]
        tables = [_table(name, variants, runs, constant), _figures(runs)]
        plots = {_PLOT: _plot(run.folder / _PLOT, runs[variants[0].name], variants, runs)} if name == "rounds" else {}
        cache = open_cache(selection.data)
        facts = selection.facts(training_protocol(cache, shared.network.protocol), "all but train")
        facts |= {"rounds": shared.network.rounds, "joints": joints.text, "people to learn from": len(plan.people)}
        facts |= {"people": runs[variants[0].name].mpjpe.shape[-1]}
        facts |= trainings.facts(cache, plan.held_out.values(lambda people: people.images))
        return Report(f"Ablation: {name} of deform-and-learn", facts, {}, tables, plots=plots)

    planned = [PlannedTraining(DeformAndLearn, each.network, each.loop) for each in variant_trainings.values()]
    return Study(planned, report, plan_rounds)


def _trained(
    trainings: Trainings, name: str, training: DeformShared, plan: DeformAndLearn, joints: EvaluatedJoints
) -> TrainedRounds:
    paths = trainings.each_seed(DeformAndLearn, name, training.network, training.loop, train_rounds)
    records = [read_json(path.parent / ROUNDS) for path in paths]
    errors = [
        [_errors(trainings, path.parent / f"round-{record['round']}", plan, joints) for record in run]
        for path, run in zip(paths, records, strict=True)
    ]
    mpjpe, pa = np.array(errors).transpose(2, 1, 0, 3)  # [S, R, 2, N] before
    people = plan.held_out.parts[0].taken(plan.held_out.numbers)  # an ablation learns from one cache
    return TrainedRounds(records, mpjpe, pa, clusters_of(people))


def _errors(trainings: Trainings, folder: Path, plan: DeformAndLearn, joints: EvaluatedJoints) -> NDArray[np.float64]:
    """Measure a round's network on held-out people: MPJPE and PA-MPJPE (2, N) in mm."""
    network = BodyRegressor.load(folder / "network" / LAST).to(trainings.device)
    pose = predict(network, plan.held_out, _BATCH, no_progress, trainings.stop)
    return 1000 * np.stack(joints.errors(pose, plan.held_out))


def _table(
    name: str, variants: Sequence[Variant], runs: Mapping[str, TrainedRounds], constant: Sequence[float]
) -> Table:
    """Tabulate the rounds of Figure 2 and its controls, or each variant's last round, under the constant pose."""
    first, *controls = variants
    blank: list[Cell] = [None] * (len(_COLUMNS) - 2)
    clusters = runs[first.name].clusters
    notes = [
        "Registrations are of the people learned from; lifter and network of the people held out.",
        f"Intervals are over seeds and {clusters.text}.",
    ]
    if name == "rounds":
        rows: list[list[Cell]] = [
            [*variant.cells, number + 1, *runs[variant.name].cells(number)]
            for variant in variants
            for number in range(len(runs[variant.name].mpjpe))
        ]
        rows.insert(0, ["constant pose", None, *blank, *constant])
        rounds = runs[first.name]
        against = {"the first": (rounds.mpjpe[0], rounds.pa[0])}
        against |= {str(v.cells[0]): (runs[v.name].mpjpe[-1], runs[v.name].pa[-1]) for v in controls}
        notes += [
            f"Network of the last round against {name}: "
            f"{_difference(rounds.mpjpe[-1], mpjpe, clusters)}; after Procrustes "
            f"{_difference(rounds.pa[-1], pa, clusters)}."
            for name, (mpjpe, pa) in against.items()
        ]
        return Table(name, _TITLES[name], ("training", "round", *_COLUMNS), rows, notes=notes)
    pa = {name: rounds.pa[-1] for name, rounds in runs.items()}
    differences = {v.name: paired_difference(pa[v.name], pa[first.name], clusters) for v in controls}
    rows = [["constant pose", *blank, *constant, None], [*first.cells, *runs[first.name].cells(-1), None]]
    rows += [[*v.cells, *runs[v.name].cells(-1), differences[v.name].text("+.1f")] for v in controls]
    noise = [str(v.cells[0]) for v in controls if differences[v.name].low <= 0 <= differences[v.name].high]
    notes.append("Figures of the last round. The last column compares the same people.")
    notes += [f"Below the noise, as their intervals contain 0: {', '.join(noise)}."] if noise else []
    return Table(name, _TITLES[name], (name, *_COLUMNS, f"network PA against {first.cells[0]}"), rows, notes=notes)


def _difference(values: NDArray[np.float64], reference: NDArray[np.float64], clusters: Clusters) -> str:
    """Format the mean difference (S, N) in mm, with its interval over clusters of the N."""
    difference = paired_difference(values, reference, clusters)
    return f"{difference.text('+.1f')} mm, {100 * difference.value / float(reference.mean()):+.1f} %"


def _figures(runs: Mapping[str, TrainedRounds]) -> Table:
    """List the figures of each round's network."""
    figures: dict[tuple[str, str], Summary] = {}
    for name, rounds in runs.items():
        for number, (mpjpe, pa) in enumerate(zip(rounds.mpjpe, rounds.pa, strict=True), 1):
            figures |= {
                (name, f"network, round {number}, mm"): summarise(mpjpe, rounds.clusters),
                (name, f"network, round {number}, PA mm"): summarise(pa, rounds.clusters),
            }
    return figures_table(figures)


def _plot(path: Path, rounds: TrainedRounds, variants: Sequence[Variant], runs: Mapping[str, TrainedRounds]) -> str:
    """Draw errors by round, and of the controls; return the caption."""
    numbers = range(len(rounds.mpjpe))
    curves = {"network, held out": rounds.mpjpe.mean((1, 2)).tolist()}
    curves |= {label: [rounds.mean(of, "mpjpe_mm", number) for number in numbers] for of, label in _CURVES.items()}
    levels = {str(variant.cells[0]): float(runs[variant.name].mpjpe[-1].mean()) for variant in variants[1:]}
    plot_curves(path, [number + 1 for number in numbers], curves, "round", levels)
    return "Figure 2: MPJPE by round, and of the networks of equally long trainings"


_PRESETS = {name: SharedTraining(*preset) for name, preset in DEFORM_PRESETS.items()}
DEFORM_ABLATIONS = {
    f"deform-and-learn {name}": Ablation({"ablation": _PRESETS["small"], **_PRESETS}, partial(_study, name))
    for name in _TITLES
}
