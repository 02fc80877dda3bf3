"""Tables of docs/reference agree with the code that they describe."""

from __future__ import annotations

import ast
import re
from itertools import zip_longest

import numpy as np
from helpers.python_sources import ROOT

from humanpose_cli.body.parts import PART_MAPS
from humanpose_cli.core.conventions import SKELETONS, SMPL24
from humanpose_cli.lab.evaluate import bodies, keypoints, movement, refine

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


def test_the_drawing_has_the_person_s_left_on_the_right():
    drawing = (ROOT / "docs" / "assets" / "skeleton.svg").read_text("utf-8")
    labels = {int(n): float(x) for x, n in re.findall(r'<text x="([\d.]+)"[^>]*>(\d+)</text>', drawing)}
    assert sorted(labels) == list(range(len(SMPL24)))
    sides = np.array([name.split("_")[0] for name in SMPL24.joint_names])
    x = np.array([labels[row] for row in range(len(SMPL24))])
    assert x[sides == "left"].min() > x[sides == "right"].max()


def reported_names() -> set[str]:
    """Names of metrics in the modules of `hpc evaluate`: their tables, and what is stored in `metrics`."""
    found = {*bodies.METRICS, *movement._TEXTS, *keypoints._AP, *keypoints._PCK}
    for path in (ROOT / "humanpose_cli" / "lab" / "evaluate").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                value = getattr(node, "value", None)
                if isinstance(target, ast.Name) and target.id == "metrics" and isinstance(value, ast.Dict):
                    found |= {key.value for key in value.keys if isinstance(key, ast.Constant)}
                if isinstance(target, ast.Subscript) and ast.unparse(target.value) in ("metrics", "distances"):
                    found |= {target.slice.value} if isinstance(target.slice, ast.Constant) else set()
    return found


def test_every_metric_is_defined_with_its_unit():
    page = (REFERENCE / "metrics.md").read_text("utf-8")
    rows = [row[1:-1].split(" | ") for row in re.findall(r"^\|.*\|$", page, re.MULTILINE)]
    units = {name: row[2].strip() for row in rows for name in re.findall(r"`([^`]+)`", row[0])}
    assert {"ssim", "lpips", "mask_iou", "iou_unguided", "pose_auc"} <= reported_names()
    assert reported_names() - set(units) == set()
    assert {heading for heading, _ in refine._COLUMNS.values()} - set(units) == {"mpjpe mm", "PA mm", "vertices mm"}
    assert [name for name, unit in units.items() if not unit] == []
