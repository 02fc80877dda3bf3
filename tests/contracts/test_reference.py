"""Tables of docs/reference agree with the code that they describe."""

from __future__ import annotations

import io
import re
from itertools import zip_longest
from pathlib import Path

import numpy as np
from helpers.python_sources import ROOT

from humanpose_cli.batch import run_record
from humanpose_cli.batch.items import UNSHARDED
from humanpose_cli.body.parts import PART_MAPS
from humanpose_cli.core.conventions import SKELETONS, SMPL24
from humanpose_cli.files.value_limits import LIMITS
from humanpose_cli.io import fit_files, take_views
from humanpose_cli.io.frame_files import FrameFiles
from humanpose_cli.lab.cache import schema
from humanpose_cli.networks import weights
from humanpose_cli.outputs.ledger import Entry

REFERENCE = ROOT / "docs" / "reference"


def tables(name: str, heading: str) -> list[list[list[str]]]:
    """The tables under a heading of a page: rows of cells, without those of the head."""
    _, found, text = (REFERENCE / name).read_text("utf-8").partition(f"\n{heading}\n")
    assert found, f"{name} has no heading {heading}"
    text = re.split(r"^#{1,3} ", text, maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [[[cell.strip() for cell in row[1:-1].split(" | ")] for row in block.splitlines()] for block in blocks]


def test_orders_of_joints():
    (table,) = tables("conventions.md", "## Skeletons")
    head, _, *rows = table
    assert head == ["row", *(f"`{name}`" for name in SKELETONS)]
    names = zip_longest(*(skeleton.joint_names for skeleton in SKELETONS.values()), fillvalue="")
    assert rows == [[str(row), *joints] for row, joints in enumerate(names)]


def test_body_parts():
    (table,) = tables("conventions.md", "## Body parts")
    head, _, *rows = table
    maps = [PART_MAPS[count] for count in (24, 12, 10, 6, 3)]
    assert head == ["label", *(parts.name for parts in maps)]
    assert rows == [
        [str(label), *(parts.of_joint[joint] for parts in maps)] for label, joint in enumerate(SMPL24.joint_names, 1)
    ]


def shape_text(shape: tuple[object, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + (",)" if len(shape) == 1 else ")")


def type_text(dtype: str | np.dtype) -> str:
    return "text" if np.dtype(dtype).kind in "US" else np.dtype(dtype).name


def test_columns_of_fit_files():
    columns, limits = tables("files.md", "## Fit file")
    described = {name: row[1:3] for row in columns[2:] for name in re.findall(r"`(\w+)`", row[0])}
    declared = {name: [shape_text(shape), type_text(dtype)] for name, (shape, dtype) in fit_files.COLUMNS.items()}
    assert {name: described[name] for name in declared} == declared
    assert list(described)[: len(declared)] == list(declared)
    files = (FrameFiles("image", (Path("a.png"),)),)
    record = fit_files.FitRecord.empty([], np.zeros((0, 2)), [], frame_files=files)
    with np.load(io.BytesIO(fit_files.fit_bytes(record, Path()))) as stored:
        assert {*stored, "frame_times", *fit_files.GROUND_COLUMNS, *fit_files.HAND_COLUMNS} == set(described)
        others = {name: stored[name] for name in stored if name not in (*declared, "clothes")}
        assert described["clothes"] == ["(P, 6, 4)", type_text(stored["clothes"].dtype)]
    stored_like = {name: [shape_text(array.shape), type_text(array.dtype)] for name, array in others.items()}
    assert stored_like == {name: described[name] for name in others}
    expected = [[f"`{name}`", f"{limit.low:.6g}", f"{limit.high:.6g}", limit.unit] for name, limit in LIMITS.items()]
    assert limits[2:] == expected


def test_columns_of_views():
    (columns,) = tables("files.md", "### Views of a take")
    described = {row[0].strip("`"): row[1:3] for row in columns[2:]}
    declared = take_views.COLUMNS.items()
    assert described == {
        take_views.PREFIX + name: [shape_text(shape), type_text(dtype)] for name, (shape, dtype) in declared
    }


def test_values_of_ledgers_and_runs():
    page = (REFERENCE / "files.md").read_text("utf-8")
    for names in (
        Entry._fields,
        run_record.run_record("fit", {}, UNSHARDED, []),
        schema.Header.__dataclass_fields__,
    ):
        assert ",".join(f"`{name}`" for name in names) in re.sub(r",\s+", ",", page)


def test_values_of_weights():
    (table,) = tables("files.md", "## Weights")
    fields = set(weights.WeightsHeader.__dataclass_fields__)
    assert {row[0].strip("`") for row in table[2:]} == {"format", *fields}
    assert weights._FORMAT in table[2][1]


def test_columns_of_dataset_caches():
    for (_, _, *rows), name in zip(tables("files.md", "## Dataset cache"), schema.LABEL_TABLES, strict=True):
        declared = {}
        for column in schema.columns_of(name).values():
            group, _, skeleton = column.name.partition("/")
            shape: tuple[object, ...] = column.shape
            text = "text" if column.is_text else column.numpy_dtype.name
            if group in ("keypoints", "joints") and skeleton:
                declared[f"`{group}/SKELETON`"] = [shape_text(("J", *shape[1:])), text]
            elif column.kind is schema.Kind.ENCODED:
                declared[f"`{column.name}`"] = ["", "encoded"]
            else:
                ragged = ", ragged" if column.kind is schema.Kind.RAGGED else ""
                declared[f"`{column.name}`"] = [shape_text(shape), text + ragged]
        assert {row[0]: row[1:3] for row in rows} == declared
