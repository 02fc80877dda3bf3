"""The fifteen figures of RESULTS.md, and the page and the README's table that the benchmarks' results give.

A figure is a value of one row of one benchmark, the same of a peer measured beside it, and what it is to reach. The
page is of one machine, the one whose results hold the most of the figures; other results stay as JSON in results/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A line of the page.

    name       by which documents refer to it
    what       the sentence of the page; unit of `ours` and `peer`
    benchmark  whose first row with the values of `row` is meant; a text need only be part of the row's
    ours       column of the value; `peer` that of the peer, which may stand in the row with the values of `peer_row`
    against    the peer
    more       whether more is better; else less is
    reach      limit of `ours` (in `unit`), or of the ratio ("×"), or of the difference to the peer ("more")
    """

    name: str
    what: str
    unit: str
    benchmark: str
    row: Mapping[str, str]
    ours: str
    reach: float | None = None
    reach_of: str = "ours"
    peer: str = ""
    against: str = ""
    peer_row: Mapping[str, str] | None = None
    more: bool = False


FIGURES = (
    Figure(
        "help",
        "start of `hpc --help`",
        "s",
        "command_line",
        {"name": "hpc --help, seconds"},
        "value",
        0.3,
        "difference",
        "python_alone",
        "`python -c pass`",
    ),
    Figure(
        "shards",
        "200 items in 8 shards, one after the other",
        "s",
        "command_line",
        {"name": "200 items in 8 shards, seconds"},
        "value",
        1 / 1.05,
        "ratio",
        "one_process",
        "one process",
    ),
    Figure(
        "photograph",
        "`hpc fit` of a 1080p photograph with one person, models loaded, one core",
        "s",
        "photographs",
        {"detector": "thorough"},
        "whole, s",
        None,
        "ratio",
        "networks, s",
        "its networks alone",
    ),
    Figure(
        "video",
        "`hpc fit` of a 1080p video of one person",
        "frames/s",
        "video",
        {"1080p, one person": "fit"},
        "frames_a_second",
        0.5,
        "ratio",
        "frames_a_second",
        "decoding and detection alone",
        {"1080p, one person": "detection"},
        more=True,
    ),
    Figure(
        "overlay",
        "`hpc fit` of that video, with its overlay video",
        "frames/s",
        "video",
        {"1080p, one person": "fit and overlay"},
        "frames_a_second",
        5,
        more=True,
    ),
    Figure(
        "repose",
        "`hpc repose` of a 1080p photograph, models loaded, file to file",
        "s",
        "repose",
        {"method": "mesh"},
        "seconds",
        3,
    ),
    Figure(
        "accuracy",
        "joint error of `hpc fit` after Procrustes, 100 rendered people",
        "mm",
        "rendered_people",
        {"method": "hpc fit (auto)"},
        "pa_mpjpe_mm",
        None,
        "ratio",
        "pa_mpjpe_mm",
        "BlazePose's own 3-D landmarks",
        {"method": "BlazePose, turned to the ray"},
    ),
    Figure(
        "keypoint-fit",
        "keypoint fit of 256 frames, without the lifter",
        "frames/s",
        "keypoint_fit",
        {},
        "frames_per_second_without_lifter",
        20,
        "ratio",
        "lbfgs_frames_per_second",
        "LBFGS, frame by frame",
        more=True,
    ),
    Figure(
        "skinning-1",
        "posing one SMPL body with pose blend shapes, forwards and backwards",
        "ms",
        "skinning",
        {"name": "skinning, batch 1, with pose blend shapes"},
        "ours_min_ms",
        2.2,
        "ratio",
        "theirs_min_ms",
        "`smplx.lbs`",
    ),
    Figure(
        "skinning-64",
        "posing 64 SMPL bodies with pose blend shapes, forwards and backwards",
        "ms",
        "skinning",
        {"name": "skinning, batch 64, with pose blend shapes"},
        "ours_min_ms",
        2.5,
        "ratio",
        "theirs_min_ms",
        "`smplx.lbs`",
    ),
    Figure(
        "part-warp",
        "warping ten parts, 2 × 64 channels × 32×64×64, forwards and backwards",
        "ms",
        "part_warp",
        {"name": "forwards and backwards"},
        "ours_min_ms",
        150,
        "ratio",
        "theirs_min_ms",
        "ten `grid_sample` and a maximum in torch",
    ),
    Figure(
        "rasterising",
        "27,420 triangles to 512×512 on one core",
        "ms",
        "rasterising",
        {"against": "Embree's trace"},
        "ours_min_ms",
        3,
        "ratio",
        "theirs_min_ms",
        "Embree, without its build",
    ),
    Figure(
        "warp3d",
        "`warp3d` at 128 pixels, one image",
        "ms",
        "warp3d",
        {"what": "one pass", "preset": "small"},
        "ms",
        0.5,
        "ratio",
        "convolutions_ms",
        "its convolutions alone",
    ),
    Figure(
        "cache",
        "opening a cache of 100,000 images and locating each",
        "ms",
        "dataset_cache",
        {"name": "open and locate"},
        "ours_min_ms",
        5,
        "ratio",
        "theirs_min_ms",
        "listing and opening loose files",
    ),
    Figure(
        "synthetic",
        "synthetic people at 256×256 with all labels",
        "images/s",
        "synthetic",
        {"name": "synthetic single, 256×256, all labels"},
        "images_per_second",
        25,
        more=True,
    ),
)

HEAD = """# Results

{measured}

Each ratio is of two measurements that took turns in one run, from the best time of each: how many times better ours is.
`make bench` measures all of it again. Each figure's source and many more figures stand in [results](results) as JSON.

| figure | what | ours | the peer's | ratio | to reach | reached |
| --- | --- | --- | --- | --- | --- | --- |
"""

# What the README shows, and where.
SUMMARY = ("accuracy", "photograph", "video", "repose", "keypoint-fit", "part-warp")
SUMMARY_HEAD = "| what | ours | beside it | ratio |\n|---|---|---|---|\n"
SUMMARY_MARKS = re.compile(r"(<!-- figures -->)\n.*?\1", re.DOTALL)


def read_results(folder: Path) -> list[Result]:
    """All results below a folder."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*/*.json"))]


def page(results: Sequence[Result]) -> str:
    """RESULTS.md. ValueError without a result."""
    here = of_one_machine(results)
    head = HEAD.format(measured=measured_on(here, FIGURES))
    return head + "".join(line(figure, here.get(figure.benchmark)) for figure in FIGURES)


def with_summary(readme: str, results: Sequence[Result]) -> str:
    """The README with the table of `SUMMARY` between its two marks; ValueError without them or without a result."""
    if not SUMMARY_MARKS.search(readme):
        raise ValueError("README.md: the marks of the table of figures are missing, expected <!-- figures --> twice")
    here = of_one_machine(results)
    chosen = [next(figure for figure in FIGURES if figure.name == name) for name in SUMMARY]
    rows = "".join(f"| {' | '.join(line_cells(figure, here.get(figure.benchmark))[1:5])} |\n" for figure in chosen)
    table = f"{SUMMARY_HEAD}{rows}\n{measured_on(here, chosen)}\n"
    return SUMMARY_MARKS.sub(lambda found: f"{found[1]}\n{table}{found[1]}", readme)


def of_one_machine(results: Sequence[Result]) -> dict[str, Result]:
    """The results by benchmark of the machine that has the most figures; ValueError without a result."""
    machines: dict[str, dict[str, Result]] = {}
    for result in results:
        machines.setdefault(result["machine"], {})[result["benchmark"]] = result
    if not machines:
        raise ValueError("results: there are none, expected at least one JSON file")
    return max(machines.items(), key=lambda entry: (sum(f.benchmark in entry[1] for f in FIGURES), entry[0]))[1]


def measured_on(here: Mapping[str, Result], figures: Sequence[Figure]) -> str:
    """A sentence with machine, versions, commit and date of these figures."""
    used = [here[name] for name in dict.fromkeys(f.benchmark for f in figures) if name in here]
    newest = max(used or here.values(), key=lambda result: result["date"])
    versions = newest["versions"]
    sentence = (
        f"{newest['machine']}; torch {versions['torch']}, Python {versions['python']}. "
        f"Measured at commit {newest['commit'][:12]} on {newest['date']}."
    )
    older = [f"{r['benchmark']} at {r['commit'][:12]}" for r in used if r["commit"] != newest["commit"]]
    return f"{sentence} Measured before: {', '.join(older)}." if older else sentence


def line(figure: Figure, result: Result | None) -> str:
    """A figure's row of the table."""
    return f"| {' | '.join(line_cells(figure, result))} |\n"


def line_cells(figure: Figure, result: Result | None) -> list[str]:
    """Name, what, ours, the peer's, ratio, what is to be reached, and whether it is."""
    cells = [figure.name, figure.what]
    found = None if result is None else values(figure, result)
    if found is None:
        cells += ["not measured here", "", "", "", ""]
    else:
        ours, peer = found
        ratio = None if peer is None else (ours / peer if figure.more else peer / ours)
        beside = "" if peer is None else f"{number(peer)} {figure.unit}, {figure.against}"
        cells += [f"{number(ours)} {figure.unit}", beside, "" if ratio is None else f"{number(ratio)}×"]
        cells += reached(figure, ours, peer, ratio)
    return cells


def values(figure: Figure, result: Result) -> tuple[float, float | None] | None:
    """(ours, the peer's); None if the result has no such row."""
    row = row_with(result, figure.row)
    if row is None or figure.ours not in row:
        return None
    beside = row if figure.peer_row is None else row_with(result, figure.peer_row)
    return row[figure.ours], beside[figure.peer] if beside is not None and figure.peer else None


def row_with(result: Result, entries: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The first row with these values."""

    def has(row: Mapping[str, Any], column: str, value: str) -> bool:
        return value in str(row.get(column, ""))

    return next((row for row in result["rows"] if all(has(row, *entry) for entry in entries.items())), None)


def reached(figure: Figure, ours: float, peer: float | None, ratio: float | None) -> list[str]:
    """What is to be reached, and whether it is."""
    if figure.reach is None:
        return ["", ""]
    if figure.reach_of == "ratio":
        return [f"≥ {number(figure.reach)}×", answer(ratio is not None and ratio >= figure.reach)]
    if figure.reach_of == "difference":
        return [
            f"≤ {number(figure.reach)} {figure.unit} more",
            answer(peer is not None and ours - peer <= figure.reach),
        ]
    good = ours >= figure.reach if figure.more else ours <= figure.reach
    return [f"{'≥' if figure.more else '≤'} {number(figure.reach)} {figure.unit}", answer(good)]


def answer(good: bool) -> str:
    return "yes" if good else "no"


def number(value: float) -> str:
    """A value in three digits."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
