"""Ablations of deform-and-learn, trained and evaluated anew: rounds (Figure 2), losses, and dense correspondences.

Networks are evaluated on people that the trainings hold out, the same ones for all variants; registrations on the
people that they learn from. Errors follow `lab.recipes.deform_and_learn.measure`; intervals are over seeds and
`clusters_of` the people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.scaled_body import ScaledBody
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.options import changed
from humanpose_cli.core.progress import no_progress
from humanpose_cli.files.text_files import read_json
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.evaluate.ablations import PlannedStudy, VariantFigures, study_table
from humanpose_cli.lab.evaluate.deform_and_learn import EvaluatedJoints, predict
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, paired_difference, summarise
from humanpose_cli.lab.evaluate.people import EvaluationRun, clusters_of
from humanpose_cli.lab.evaluate.report import Report, Table, figures_table, plot_curves
from humanpose_cli.lab.evaluate.studies import DEFORM_QUANTITIES, STUDIES, Study, Variant
from humanpose_cli.lab.evaluate.trainings import PlannedTraining, SharedTraining, Trainings, Weights
from humanpose_cli.lab.recipes.deform_and_learn.measure import joint_truth, standing_pose
from humanpose_cli.lab.recipes.deform_and_learn.recipe import DEFORM_PRESETS, DeformAndLearn, DeformTraining
from humanpose_cli.lab.recipes.deform_and_learn.rounds import ROUNDS, plan_rounds, train_rounds
from humanpose_cli.lab.recipes.people import training_protocol
from humanpose_cli.lab.train.trainer import LAST
from humanpose_cli.models.deform_and_learn.regressor import BodyRegressor

DeformShared = SharedTraining[DeformTraining]
_PRESETS = {name: SharedTraining(*preset) for name, preset in DEFORM_PRESETS.items()}
PRESETS = {"ablation": _PRESETS["small"], **_PRESETS}
_ONE = Clusters.single("means", 1)
_BATCH = 64  # people per batch of a trained network
_PLOT = "rounds.png"
_CURVES = {
    "lifter": "lifter, held out",
    "registration": "registration, all training people",
    "accepted_registration": "registration, accepted training people",
}
"""Entry of a run's rounds.json → label in the plot."""


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

    def figures(self, number: int) -> VariantFigures:
        """Return the means of a round, in the order of the quantities of the studies."""
        values = [
            self.mean(of, figure, number)
            for of in ("registration", "accepted_registration", "lifter")
            for figure in ("mpjpe_mm", "pa_mpjpe_mm")
        ]
        values.insert(2, 100 * float(np.mean([records[number]["accepted"] for records in self.records])))
        return _means([*values, float(self.mpjpe[number].mean()), float(self.pa[number].mean())])


def _means(values: Sequence[float]) -> VariantFigures:
    """Return the last figures of the studies."""
    names = [quantity.figure for quantity in DEFORM_QUANTITIES][-len(values) :]
    return VariantFigures({name: np.array([[v]]) for name, v in zip(names, values, strict=True)}, _ONE)


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


def plan_deform(name: str, run: EvaluationRun, shared: DeformShared) -> PlannedStudy:
    """Plan the study; see `registry.evaluate_study`."""
    selection = run.selection
    changes = {"protocol": selection.protocol} if selection.protocol else {}
    changes |= {"body": selection.body} if selection.body != "default" else {}
    shared = replace(shared, network=changed(shared.network, changes))
    plan = DeformAndLearn(selection.data, shared.network, seed=shared.loop.seed)
    joints = EvaluatedJoints.of_landmarks(ScaledBody(plan.body), plan.skeleton)
    if not np.isfinite(joint_truth(plan.held_out, plan.skeleton)).all((1, 2)).any():
        problem = "has no true joints of people held out"
        raise InputError(selection.data, problem, expected=f"joints/{plan.skeleton.name}")
    study = STUDIES[name]
    short = name.removeprefix("fit deform-")

    def report(trainings: Trainings, weights: Weights) -> Report:
        runs = {key: _trained(trainings, paths, plan, joints) for key, paths in weights.items()}
        standing = standing_pose(len(plan.held_out))
        constant = [1000 * float(values.mean()) for values in joints.errors(standing, plan.held_out)]
        tables = [_table(short, study, runs, constant), _figures(runs)]
        plots = {_PLOT: _plot(run.folder / _PLOT, study.variants, runs)} if short == "rounds" else {}
        cache = open_cache(selection.data)
        facts = selection.facts(training_protocol(cache, shared.network.protocol), "all but train")
        facts |= {"rounds": shared.network.rounds, "joints": joints.text, "people to learn from": len(plan.people)}
        facts |= {"people": runs[study.variants[0].name].mpjpe.shape[-1]}
        facts |= trainings.facts(cache, plan.held_out.values(lambda people: people.images))
        return Report(f"Ablation: {short} of deform-and-learn", facts, {}, tables, plots=plots)

    shares = {variant.name: variant_training(shared, variant) for variant in study.variants}
    planned = [PlannedTraining(each, DeformAndLearn, of.network, of.loop) for each, of in shares.items()]
    return PlannedStudy(planned, report, plan_rounds, train_rounds)


def _trained(
    trainings: Trainings, paths: Sequence[Path], plan: DeformAndLearn, joints: EvaluatedJoints
) -> TrainedRounds:
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


def _table(name: str, study: Study, runs: Mapping[str, TrainedRounds], constant: Sequence[float]) -> Table:
    """Tabulate the rounds of Figure 2 and its controls, or each variant's last round, under the constant pose."""
    first, *controls = study.variants
    rounds = runs[first.name]
    clusters = rounds.clusters
    notes = [
        "Registrations are of the people learned from; lifter and network of the people held out.",
        f"Intervals are over seeds and {clusters.text}.",
    ]
    shown = [Variant("", ("constant pose", None)[: len(study.headings)], {})]
    figures = {"": _means(constant)}
    for variant in study.variants:
        last = len(runs[variant.name].mpjpe)
        for number in range(1, last + 1) if name == "rounds" else [last]:
            cells = (*variant.cells, number)[: len(study.headings)]
            shown.append(Variant(f"{variant.name} {number}", cells, {}))
            figures[f"{variant.name} {number}"] = runs[variant.name].figures(number - 1)
    if name == "rounds":
        against = {"the first": (rounds.mpjpe[0], rounds.pa[0])}
        against |= {str(v.cells[0]): (runs[v.name].mpjpe[-1], runs[v.name].pa[-1]) for v in controls}
        notes += [
            f"Network of the last round against {label}: "
            f"{_difference(rounds.mpjpe[-1], mpjpe, clusters)}; after Procrustes "
            f"{_difference(rounds.pa[-1], pa, clusters)}."
            for label, (mpjpe, pa) in against.items()
        ]
        return study_table(name, study, figures, notes, shown=shown)
    differences = {v.cells: paired_difference(runs[v.name].pa[-1], rounds.pa[-1], clusters) for v in controls}
    noise = [str(cells[0]) for cells, each in differences.items() if each.low <= 0 <= each.high]
    notes.append("Figures of the last round. The last column compares the same people.")
    notes += [f"Below the noise, as their intervals contain 0: {', '.join(noise)}."] if noise else []
    texts = {cells: difference.text("+.1f") for cells, difference in differences.items()}
    column = f"network PA against {first.cells[0]}", 0, lambda variant: texts.get(variant.cells)
    return study_table(name, study, figures, notes, shown=shown, column=column)


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


def _plot(path: Path, variants: Sequence[Variant], runs: Mapping[str, TrainedRounds]) -> str:
    """Draw errors by round, and of the controls; return the caption."""
    first, *controls = variants
    rounds = runs[first.name]
    numbers = range(len(rounds.mpjpe))
    curves = {"network, held out": rounds.mpjpe.mean((1, 2)).tolist()}
    curves |= {label: [rounds.mean(of, "mpjpe_mm", number) for number in numbers] for of, label in _CURVES.items()}
    levels = {str(variant.cells[0]): float(runs[variant.name].mpjpe[-1].mean()) for variant in controls}
    plot_curves(path, [number + 1 for number in numbers], curves, "round", levels)
    return "Figure 2: MPJPE by round, and of the networks of equally long trainings"
