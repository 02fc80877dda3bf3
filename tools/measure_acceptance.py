"""Measure how well the silhouette accepts refinements: risk against coverage, and the constant of the rule.

    python tools/measure_acceptance.py CLIPS --out report [--calibration OTHER_CLIPS] [--correspondence flow]

CLIPS and OTHER_CLIPS are caches of clips with true joints, as of `hpc preprocess synthetic --clips 4`. `report` gets
report.md, report.json and the curve. With other clips, the noise of the gain (`hpc refine --set acceptance.gain_noise`)
is chosen on those.

Every track is refined without refusal, and its joint error is measured at shares of the way from the fit to the moved
bodies. A rule (`refining.acceptance.AcceptanceOptions`) is then applied to the overlaps alone and compared with the
errors, which it does not use. The curve shows, for a rising noise of the gain, the mean share that is kept (coverage),
the change of the mean error, and the share of tracks that are harmed (`refine.HARM`): the risk of selective prediction
(Geifman and El-Yaniv 2017). Beside it stands the same share kept of every track, which needs no silhouette. The
constant is chosen on clips of their own.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import part_of
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE
from humanpose_cli.fitting.result import Fit
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, paired_difference, summarise
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.refine import HARM, HARMED, RefineSelection, make_refiners, mark_harmed, true_joints
from humanpose_cli.lab.evaluate.refine_clips import EvaluatedClip, Floats, InitialFits, MatchedRows
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, save_plot, write_report
from humanpose_cli.refining.acceptance import accepted_share
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.options import AcceptanceOptions
from humanpose_cli.refining.refiner import Alignment

SHARES = np.linspace(0, 1, 11)
"""Of the way from the fit to the moved bodies, at which errors are measured; between them they are interpolated."""
MAX_HARMED = 0.05
"""Of the tracks at most so many may be harmed by the constants that are chosen."""
NOISES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Noises of the gain that are tried."""
_PLOT = "acceptance.png"


@dataclass(frozen=True, eq=False)
class StudiedTrack:
    """A track of a fit that was refined without refusal.

    cell      base and setting
    seconds   (R,) when its rows' frames were taken; overlaps (R, 3) as in `Alignment`
    matched   (M,) of these rows whose person is known, and their joint errors (M, 11) in metres at `SHARES`
    """

    cell: str
    clip: str
    seconds: Floats
    overlaps: Floats
    matched: NDArray[np.integer]
    errors: Floats


class TrackOutcome(NamedTuple):
    """Results of T tracks under a rule: joint errors before and after in metres, and the mean accepted share."""

    before: Floats
    after: Floats
    kept: Floats


Rule = AcceptanceOptions | float
"""Rule of acceptance; a number accepts this share of every track."""


def outcome(tracks: Sequence[StudiedTrack], rule: Rule) -> TrackOutcome:
    """Apply a rule to tracks."""
    rows = []
    for track in tracks:
        if isinstance(rule, AcceptanceOptions):
            share = accepted_share(track.seconds, track.overlaps, rule)
        else:
            share = np.full(len(track.seconds), rule)
        after = [np.interp(share[row], SHARES, errors) for row, errors in zip(track.matched, track.errors, strict=True)]
        rows.append((track.errors[:, 0].mean(), np.mean(after), share[track.matched].mean()))
    return TrackOutcome(*(np.array(column, np.float64) for column in np.array(rows).reshape(-1, 3).T))


def study_tracks(
    run: EvaluationRun, refinements: RefineSelection, threads: int | None
) -> tuple[list[StudiedTrack], dict[str, str]]:
    """Refine every track of every initial fit and setting; return them, and facts about the refiner."""
    people = replace(run.selection, limit=0).people("joints")
    initial = InitialFits.of(people, refinements.base, refinements.predictions, run.selection.limit)
    tracks: list[StudiedTrack] = []
    with ExitStack() as stack:
        refiners, facts = make_refiners(people, refinements, stack, threads, run.device)
        for clip, base, fit, matches in initial.each(run.device, threads, run.progress, run.stop):
            for setting, refiner in refiners.items():
                alignment = refiner.align(fit, FitFrames.of(fit, clip.images), body=people.body)
                tracks += _tracks(f"{base}: {setting}", people, clip, fit, matches, alignment)
    if not tracks:
        raise InputError(run.selection.data, "shows no person that the detector finds", remedy="choose another split")
    return tracks, facts


def _tracks(
    cell: str, people: EvaluatedPeople, clip: EvaluatedClip, fit: Fit, matches: MatchedRows, alignment: Alignment
) -> list[StudiedTrack]:
    """Return the frames of a fit with a known person."""
    true = true_joints(people, clip.people[matches.clip])
    errors = np.full((len(fit), len(SHARES)), np.nan)
    for column, share in enumerate(SHARES):
        joints = alignment.at(np.full(len(fit), share), people.body).joints3d[matches.fit].astype(np.float64)
        away = (joints - joints[:, :1]) - (true - true[:, :1])
        errors[matches.fit, column] = np.linalg.norm(away, axis=-1).mean(1)
    tracks = []
    for track in fit.tracks:
        rows = fit.rows_of(track)
        rows_matched = np.flatnonzero(np.isfinite(errors[rows, 0]))
        if len(rows_matched):
            seconds = fit.seconds(DEFAULT_FRAME_RATE)[fit.frame_index[rows]]
            overlaps = alignment.overlaps[rows]
            tracks.append(StudiedTrack(cell, clip.name, seconds, overlaps, rows_matched, errors[rows[rows_matched]]))
    return tracks


def mean_change(tracks: Sequence[StudiedTrack], result: TrackOutcome) -> float:
    """Average the change of the mean error, as a share of it, over cells: each initial fit counts alike."""
    cells = np.array([track.cell for track in tracks])
    of_cells = [cells == cell for cell in np.unique(cells)]
    return float(np.mean([result.after[one].mean() / result.before[one].mean() - 1 for one in of_cells]))


def calibrated(tracks: Sequence[StudiedTrack], rule: AcceptanceOptions) -> AcceptanceOptions:
    """Choose the noise of the gain that lowers the mean error most and harms at most `MAX_HARMED` of the tracks.

    If there is none, choose the noise that harms the fewest tracks.
    """

    def cost(candidate: AcceptanceOptions) -> tuple[float, float]:
        result = outcome(tracks, candidate)
        excess = np.mean(mark_harmed(result.before, result.after)) - MAX_HARMED
        return max(float(excess), 0), mean_change(tracks, result)

    return min((replace(rule, gain_noise=noise) for noise in NOISES), key=cost)


def evaluate_acceptance(
    run: EvaluationRun,
    calibration: PeopleSelection | None,
    refinements: RefineSelection,
    *,
    threads: int | None = None,
) -> Report:
    """Draw the risk-coverage curve of the rule, and choose its constant on other clips.

    Raises UsageError if both are the same clips.

    calibration  other clips, on which the constant is chosen; None: it is not
    refinements      without a prior: pose; without `keypoints`: with them
    """
    selection = run.selection
    refinements = replace(refinements, prior=refinements.prior or "pose", keypoints=refinements.keypoints is not False)
    rules: dict[str, Rule] = {"everything kept": 1.0, "present rule": AcceptanceOptions()}
    tables: list[Table] = []
    facts = {**selection.facts(), "harm": f"joint error {HARM:.0%} larger"}
    if calibration is not None:
        if len({open_cache(each.data).header.content_digest for each in (selection, calibration)}) == 1:
            raise UsageError("calibration", "has the clips that are evaluated", remedy="clips made with another seed")
        if refinements.predictions is not None:
            raise UsageError("calibration", "has no predictions", remedy="leave out `predictions`")
        half = replace(run, selection=calibration, progress=part_of(run.progress, 0, 0.5))
        others, _ = study_tracks(half, refinements, threads)
        rules["calibrated rule"] = calibrated(others, AcceptanceOptions())
        tables.append(_rule_table("calibration", "On the calibration's clips", others, rules))
        facts["calibration"] = f"{calibration.facts()['data']}, {_counts(others)}"
        run = replace(run, progress=part_of(run.progress, 0.5, 1))
    tracks, refiner_facts = study_tracks(run, refinements, threads)
    facts |= refiner_facts
    facts["clips"] = _counts(tracks)
    curve = risk_coverage(tracks)
    marks = {name: _point(tracks, each) for name, each in rules.items() if isinstance(each, AcceptanceOptions)}
    plot_risk_coverage(run.folder / _PLOT, curve, marks)
    tables = [
        _rule_table("acceptance", "On the evaluated clips", tracks, rules),
        *tables,
        _curve_table(curve),
        *_cell_tables(tracks, rules),
    ]
    text = (
        "Mean share of the refinement that is kept against the change of the mean joint error, and against the share "
        "of tracks that are harmed. Marks are the rules' constants."
    )
    plots = {_PLOT: text}
    return Report("Acceptance of refinement", facts, _metrics(tracks, rules), tables, plots=plots)


_SUFFIXES = {"everything kept": "_everything", "present rule": "", "calibrated rule": "_calibrated"}


def _metrics(tracks: Sequence[StudiedTrack], rules: Mapping[str, Rule]) -> dict[str, Summary]:
    """Summarize before, and after each rule."""
    summaries: dict[str, Summary] = {}
    clips = _by_clip(tracks)
    for name, rule in rules.items():
        result = outcome(tracks, rule)
        summaries[f"mpjpe_mm{_SUFFIXES[name]}"] = summarise(1e3 * result.after, clips)
        summaries[f"harmed{_SUFFIXES[name]}"] = summarise(mark_harmed(result.before, result.after), clips)
        summaries["mpjpe_mm_before"] = summarise(1e3 * result.before, clips)
    return summaries


class CurvePoint(NamedTuple):
    """The result of one rule: mean accepted share, relative change of the mean error, and share of harmed tracks."""

    rule: Rule
    coverage: float
    change: float
    risk: float


_EVERY, _UNIFORM = "all", "same share of every track"


def risk_coverage(tracks: Sequence[StudiedTrack]) -> Mapping[str, list[CurvePoint]]:
    """Compute the curves of all cells, of cells without a silhouette, and of each base.

    Noises of the gain and shares rise along a curve.
    """
    bases = list(dict.fromkeys(track.cell.partition(":")[0] for track in tracks))
    groups = {base: [track for track in tracks if track.cell.startswith(f"{base}:")] for base in bases}
    rules = [AcceptanceOptions(gain_noise=noise) for noise in NOISES]
    curves = {name: [_point(group, each) for each in rules] for name, group in {_EVERY: tracks, **groups}.items()}
    return {**curves, _UNIFORM: [_point(tracks, float(share)) for share in SHARES]}


def _point(tracks: Sequence[StudiedTrack], rule: Rule) -> CurvePoint:
    result = outcome(tracks, rule)
    worse = mark_harmed(result.before, result.after)
    return CurvePoint(rule, float(result.kept.mean()), mean_change(tracks, result), float(worse.mean()))


def _counts(tracks: Sequence[StudiedTrack]) -> str:
    """Say how many clips and tracks there are."""
    clips = len({track.clip for track in tracks})
    return f"{clips} clips, {len(tracks)} tracks of {len({track.cell for track in tracks})} cells"


def _changes(tracks: Sequence[StudiedTrack], result: TrackOutcome) -> Summary:
    """Return the change of the mean error in per cent, with an interval over clips."""
    change = paired_difference(result.after, result.before, _by_clip(tracks))
    return change.scaled(100 / float(result.before.mean()))


def _by_clip(tracks: Sequence[StudiedTrack]) -> Clusters:
    return Clusters.of("clips", [track.clip for track in tracks])


def _row(tracks: Sequence[StudiedTrack], rule: Rule) -> list[Cell]:
    result = outcome(tracks, rule)
    change, worse = _changes(tracks, result), mark_harmed(result.before, result.after)
    share = summarise(worse, _by_clip(tracks)).scaled(100)
    best = np.array([track.errors.mean(0).min() for track in tracks])
    return [
        float(result.kept.mean()),
        float(1e3 * result.before.mean()),
        float(1e3 * result.after.mean()),
        change.text("+.1f", " %"),
        share.text(".1f", " %"),
        float(1e3 * best.mean()),
    ]


_ROW = ("kept", "before mm", "after mm", "mpjpe changes by", HARMED, "best mm")
_ROW_DIGITS = (2, 1, 1, 0, 0, 1)
_ROW_NOTE = (
    "Intervals of the change are over clips. The last column is the error at each track's best share of the way, which "
    "needs the truth."
)


def _rule_table(name: str, title: str, tracks: Sequence[StudiedTrack], rules: Mapping[str, Rule]) -> Table:
    rows: list[list[Cell]] = [
        [label, rule.gain_noise if isinstance(rule, AcceptanceOptions) else None, *_row(tracks, rule)]
        for label, rule in rules.items()
    ]
    columns, digits = ("rule", "noise of the gain", *_ROW), (0, 2, *_ROW_DIGITS)
    return Table(name, title, columns, rows, digits, (f"{_counts(tracks)}. {_ROW_NOTE}",))


def _cell_tables(tracks: Sequence[StudiedTrack], rules: Mapping[str, Rule]) -> list[Table]:
    """Make a table for each cell."""
    tables = []
    for cell in dict.fromkeys(track.cell for track in tracks):
        tracks_of_cell = [track for track in tracks if track.cell == cell]
        rows: list[list[Cell]] = [[label, *_row(tracks_of_cell, rule)] for label, rule in rules.items()]
        name = "acceptance-" + "".join(c if c.isalnum() else "-" for c in cell)
        tables.append(
            Table(name, f"From {cell}", ("rule", *_ROW), rows, (0, *_ROW_DIGITS), (f"{_counts(tracks_of_cell)}.",))
        )
    return tables


def _curve_table(curve: Mapping[str, Sequence[CurvePoint]]) -> Table:
    """Tabulate each noise of the gain, and the effect of the same mean share of every track."""
    uniform = np.array([point[1:] for point in curve[_UNIFORM]])
    rows: list[list[Cell]] = []
    for noise, point in zip(NOISES, curve[_EVERY], strict=True):
        alike = [np.interp(point.coverage, uniform[:, 0], uniform[:, column]) for column in (1, 2)]
        rows.append([noise, point.coverage, *(100 * float(v) for v in (point.change, point.risk, *alike))])
    columns = ("noise of the gain", "kept", "mpjpe changes by %", "tracks harmed %", "same share: mpjpe %", "harmed %")
    text = "The change is averaged over initial fits, each of which counts alike. Last, the same share of every track."
    return Table("risk-coverage", "Risk and coverage", columns, rows, (2, 2, 1, 1, 1, 1), (text,))


def plot_risk_coverage(path: Path, curves: Mapping[str, Sequence[Any]], marks: Mapping[str, Any]) -> None:
    """Draw the mean accepted share against the change of the mean error, and against the share of harmed tracks.

    Args:
        path: The image.
        curves: Points by name with `coverage`, `change` and `risk` as shares; the first curve is bold, the last dashed.
        marks: Single points by name.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    panels = figure.subplots(1, 2)
    labels = ("mean joint error changes by [%]", "tracks that are harmed [%]")
    styles: list[dict[str, Any]] = [{"linewidth": 1.0, "alpha": 0.8} for _ in curves]
    styles[0] = {"color": "black", "linewidth": 2.2, "zorder": 3}
    styles[-1] = {"color": "grey", "linestyle": "--", "zorder": 2}
    for panel, value, label in zip(panels, ("change", "risk"), labels, strict=True):
        for (name, points), style in zip(curves.items(), styles, strict=True):
            values = np.array([(100 * point.coverage, 100 * getattr(point, value)) for point in points])
            panel.plot(values[:, 0], values[:, 1], label=name, **style)
        for number, (name, point) in enumerate(marks.items()):  # marks at one position stand within each other
            panel.plot(
                100 * point.coverage,
                100 * getattr(point, value),
                "s",
                markersize=11 - 5 * number,
                label=name,
                zorder=4 + number,
                color=("#c04020", "white")[number % 2],
                markeredgecolor="black",
            )
        panel.set_xlabel("kept of the refinement [%]")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
    panels[0].axhline(0, color="grey", linewidth=0.8)
    panels[1].set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    save_plot(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--correspondence", choices=("network", "flow", "keypoints"))
    parser.add_argument("--weights", default="", help="the displacement network")
    arguments = parser.parse_args()
    other = None if arguments.calibration is None else PeopleSelection(arguments.calibration)
    refinements = RefineSelection(correspondence=arguments.correspondence, weights=arguments.weights)
    arguments.out.mkdir(parents=True, exist_ok=True)
    run = EvaluationRun(PeopleSelection(arguments.clips), arguments.out)
    for path in write_report(evaluate_acceptance(run, other, refinements), arguments.out):
        print(path)


if __name__ == "__main__":
    main()
