"""The figures of RESULTS.md, and all pages' copies of them, from the benchmarks' results.

A figure is a value of one row of one benchmark, the same of a peer measured beside it, and what it is to reach. Pages
are of one machine, the one whose results hold the most of the figures, of several such machines the one that measured
last; other results stay as JSON in results/.

Markdown pages mark what is written anew (`filled`), in comments that neither GitHub nor the site shows:

    <!-- figure: video -->19.3<!-- /figure -->     the figure `video`; within a line, not at its beginning
    <!-- figure: video.peer -->26.2<!-- /figure -->     that of its peer; `video.ratio` how many times better ours is
    <!-- figure: video.processor_ms_a_frame -->80<!-- /figure -->     another column of the figure's row
    <!-- figure: machine -->AMD EPYC, 2 cores, 24 GiB<!-- /figure -->

    <!-- figures: accuracy video -->
    a table of these figures below a sentence on machine, commit and date
    <!-- /figures -->

What was not measured yet is left out of tables, and stays as it is within a line.
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
    what       the sentence of the page, with columns of the row in braces; unit of `ours` and `peer`
    benchmark  whose first row with the values of `row` is meant; a text need only be part of the row's
    ours       column of the value; `peer` that of the peer, which may stand in the row with the values of `peer_row`
    against    the peer
    more       whether more is better; else less is
    reach      limit of `ours` (in `unit`), or of the ratio ("×"), or of the difference to the peer ("more"); `reach_of`
               is "nothing" where the peer is another option of ours, and no ratio is shown
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
        "items",
        "10,000 tiny images without work: what digest, ledger and results take of each",
        "ms",
        "command_line",
        {"name": "10000 tiny images: ms an item"},
        "value",
    ),
    Figure(
        "finished-items",
        "finding all of 10,000 items done again",
        "s",
        "command_line",
        {"name": "10000 tiny images: seconds to find"},
        "value",
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
        "fit-photo",
        "`hpc fit photo.jpg`, from start to files: 1080p, one person",
        "s",
        "commands",
        {"command": "hpc fit photo.jpg"},
        "seconds",
        None,
        "nothing",
        "seconds",
        "`--detector fast`",
        {"command": "hpc fit photo.jpg --detector fast"},
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
        "photograph-fast",
        "`hpc fit --detector fast` of such a photograph, models loaded, one core",
        "s",
        "photographs",
        {"detector": "fast"},
        "whole, s",
        None,
        "ratio",
        "networks, s",
        "its networks alone",
    ),
    Figure(
        "fit-video",
        "`hpc fit clip.mp4`, from start to files with overlay: {frames} frames of 1080p, one person, {seconds} s",
        "frames/s",
        "commands",
        {"command": "hpc fit clip.mp4"},
        "frames_a_second",
        None,
        "nothing",
        "frames_a_second",
        "`--no-overlay`",
        {"command": "hpc fit clip.mp4 --no-overlay"},
        more=True,
    ),
    Figure(
        "video",
        "`hpc fit` of a 1080p video of one person, models loaded, without overlay",
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
        "`hpc fit` of a 1080p video of one person, models loaded, with its overlay video",
        "frames/s",
        "video",
        {"1080p, one person": "fit and overlay"},
        "frames_a_second",
        5,
        more=True,
    ),
    Figure(
        "tracker",
        "`hpc fit` of a 1080p video of one person: bodies, models loaded, without overlay",
        "frames/s",
        "mediapipe",
        {"1080p, one person": "fit"},
        "frames_a_second",
        peer="frames_a_second",
        against="MediaPipe's own tracker, which gives landmarks",
        peer_row={"1080p, one person": "landmarks of MediaPipe's tracker"},
        more=True,
    ),
    Figure(
        "repose-photo",
        "`hpc repose photo.jpg pose.npy`, from start to file: 1080p",
        "s",
        "commands",
        {"command": "hpc repose photo.jpg pose.npy"},
        "seconds",
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
        "joint error of `hpc fit` after Procrustes, {people} rendered people ({mpjpe_mm} mm about the hips)",
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
    *(
        Figure(
            name,
            f"joint error of {of} after Procrustes ({{mpjpe_mm}} mm about the hips)",
            "mm",
            "real_video",
            {"what": what},
            "pa_mpjpe_mm",
        )
        for name, of, what in (
            ("real-photos", "`hpc fit` on {frames} frames of {videos} real videos, as photographs,", "photographs"),
            ("real-video", "`hpc fit` on {videos} real videos, {frames} frames,", "videos"),
            ("real-refined", "`hpc fit --refine` on {videos} real videos, {frames} frames,", "refined videos"),
        )
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
        "nbf",
        "`nbf`, one forward pass: one person of a 1080p photograph",
        "ms",
        "nbf",
        {"network": "nbf-proxy", "people": "1"},
        "min_ms",
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

TABLE_HEAD = ("what", "ours", "beside it", "ratio")
MARK = re.compile(r"(<!-- figure: (\S+) -->)(.*?)(<!-- /figure -->)")
TABLE = re.compile(r"^(<!-- figures: ([\w -]+?) -->\n).*?^(<!-- /figures -->)$", re.MULTILINE | re.DOTALL)


def read_results(folder: Path) -> list[Result]:
    """All results below a folder."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*/*.json"))]


def page(results: Sequence[Result]) -> str:
    """RESULTS.md. ValueError without a result."""
    here = of_one_machine(results)
    head = HEAD.format(measured=measured_on(here, FIGURES))
    return head + "".join(row_text(line_cells(figure, here)) for figure in FIGURES)


def filled(text: str, results: Sequence[Result]) -> str:
    """A page with today's figures at its marks; ValueError for a name that is no figure, or without a result."""
    if not (MARK.search(text) or TABLE.search(text)):
        return text
    here = of_one_machine(results)

    def inline(found: re.Match[str]) -> str:
        value = quoted(found[2], here)
        return found[0] if value is None else f"{found[1]}{value}{found[4]}"

    def table(found: re.Match[str]) -> str:
        chosen = [figure for figure in map(named, found[2].split()) if values(figure, here)]
        if not chosen:
            return f"{found[1]}{found[3]}"
        columns = 4 if any(figure.peer for figure in chosen) else 2
        rows = [TABLE_HEAD, ["---"] * 4, *(line_cells(figure, here)[1:5] for figure in chosen)]
        return f"{found[1]}{measured_on(here, chosen)}\n\n{''.join(row_text(row[:columns]) for row in rows)}{found[3]}"

    return TABLE.sub(table, MARK.sub(inline, text))


def results_on(text: str, results: Sequence[Result]) -> list[Result]:
    """The results that the figures of a page come from."""
    here = of_one_machine(results)
    names = [mark[1].partition(".")[0] for mark in MARK.findall(text)]
    names += [name for table in TABLE.finditer(text) for name in table[2].split()]
    used = [named(name).benchmark for name in names if name != "machine"]
    return [here[benchmark] for benchmark in dict.fromkeys(used) if benchmark in here]


def named(name: str) -> Figure:
    """The figure of a name."""
    for figure in FIGURES:
        if figure.name == name:
            return figure
    raise ValueError(f"{name}: is no figure, expected one of {', '.join(figure.name for figure in FIGURES)}")


def quoted(name: str, here: Mapping[str, Result]) -> str | None:
    """Return the text of a mark within a line; None if it was not measured."""
    if name == "machine":
        return str(next(iter(here.values()))["machine"])
    first, _, column = name.partition(".")
    figure = named(first)
    found = values(figure, here)
    if found is None:
        return None
    row = row_with(here[figure.benchmark], figure.row) or {}
    columns = {**row, "": found[0], "peer": found[1], "ratio": ratio_of(figure, *found)}
    if columns.get(column) is None:
        raise ValueError(f"{name}: is no column of this figure, expected one of {', '.join(filter(None, columns))}")
    return number(columns[column])


def of_one_machine(results: Sequence[Result]) -> dict[str, Result]:
    """The results by benchmark of the machine with the most figures, of several the last; ValueError without one."""
    machines: dict[str, dict[str, Result]] = {}
    for result in results:
        machines.setdefault(result["machine"], {})[result["benchmark"]] = result
    if not machines:
        raise ValueError("results: there are none, expected at least one JSON file")

    def rank(machine: str) -> tuple[int, str, str]:
        here = machines[machine]
        count = sum(values(figure, here) is not None for figure in FIGURES)
        return count, max(result["date"] for result in here.values()), machine

    return machines[max(machines, key=rank)]


def measured_on(here: Mapping[str, Result], figures: Sequence[Figure]) -> str:
    """A sentence with machine, versions, commit and date of these figures."""
    used = [here[name] for name in dict.fromkeys(f.benchmark for f in figures if values(f, here))]
    newest = max(used or here.values(), key=lambda result: result["date"])
    versions = newest["versions"]
    sentence = (
        f"{newest['machine']}; torch {versions['torch']}, Python {versions['python']}. "
        f"Measured with `python benchmarks/run.py` at commit {newest['commit'][:12]} on {newest['date']}."
    )
    older = [f"{r['benchmark']} at {r['commit'][:12]}" for r in used if r["commit"] != newest["commit"]]
    return f"{sentence} Measured before: {', '.join(older)}." if older else sentence


def row_text(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |\n"


def line_cells(figure: Figure, here: Mapping[str, Result]) -> list[str]:
    """Return name, quantity, our value, the peer's value, ratio, goal, and whether it is reached."""
    found = values(figure, here)
    row = {} if found is None else row_with(here[figure.benchmark], figure.row) or {}
    what = re.sub(r"\{(\w+)\}", lambda column: number(row.get(column[1], "…")), figure.what)
    if found is None:
        return [figure.name, what, "not measured here", "", "", "", ""]
    ours, peer = found
    ratio = ratio_of(figure, ours, peer)
    beside = "" if peer is None else f"{number(peer)} {figure.unit}, {figure.against}"
    cells = [figure.name, what, f"{number(ours)} {figure.unit}", beside, "" if ratio is None else f"{number(ratio)}×"]
    return cells + reached(figure, ours, peer, ratio)


def values(figure: Figure, here: Mapping[str, Result]) -> tuple[float, float | None] | None:
    """(ours, the peer's); None if the results have no such row."""
    result = here.get(figure.benchmark)
    row = None if result is None else row_with(result, figure.row)
    if result is None or row is None or figure.ours not in row:
        return None
    beside = row if figure.peer_row is None else row_with(result, figure.peer_row)
    return row[figure.ours], beside.get(figure.peer) if beside is not None else None


def ratio_of(figure: Figure, ours: float, peer: float | None) -> float | None:
    """How many times better ours is."""
    return None if peer is None or figure.reach_of == "nothing" else (ours / peer if figure.more else peer / ours)


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
        return [f"≥ {number(figure.reach)}×", verdict(ratio is not None and ratio >= figure.reach)]
    if figure.reach_of == "difference":
        return [
            f"≤ {number(figure.reach)} {figure.unit} more",
            verdict(peer is not None and ours - peer <= figure.reach),
        ]
    good = ours >= figure.reach if figure.more else ours <= figure.reach
    return [f"{'≥' if figure.more else '≤'} {number(figure.reach)} {figure.unit}", verdict(good)]


def verdict(good: bool) -> str:
    return "yes" if good else "no"


def number(value: float | str) -> str:
    """A value in three digits."""
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
