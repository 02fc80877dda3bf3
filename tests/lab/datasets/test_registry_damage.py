"""Every source with each of its files missing, cut, of another kind or size, and each of its fields damaged."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import emdb_tree, rich_tree
from helpers.extensive import extensive
from helpers.paper_datasets import Chumpy, assert_travels, image, iper_cameras, python2_pickle, threedpw_world, up3d_fit
from helpers.small_datasets import TREES

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.datasets.registry import SOURCES, open_source

DAMAGES = ("missing", "cut", "other")
LARGE = ("iper", "h36m", "humaneva", "3dpw", "emdb", "rich")
SOME = [*(name for name in TREES if name not in LARGE), *extensive(*LARGE)]
IMAGES = (".jpg", ".jpeg", ".png")
# What sources read on from: files without the digits of their names, and what happened to them.
ACCEPTED = {
    "images": {f"{kind} {how}" for kind in (".jpg", ".png") for how in ("missing", "resized")},
    "iper": {".png resized"},
    "deepfashion": {".jpg resized", "fasion-resize-pairs-train.csv missing", "fasion-resize-pairs-test.csv missing"},
    "up3d": {".png resized", *(f"_{of}_info.txt {how}" for of in ("dataset", "quality") for how in DAMAGES)},
    "humaneva": {*(f"C.mp {how}" for how in DAMAGES), "Walking__(BW).ofs missing", "Jog__(BW).ofs missing"},
    "3dpw": {".jpg resized"},
    "rich": {
        ".pkl missing",
        ".xml missing",
        *(f"{kind} {how}" for kind in (".jpeg", ".png") for how in ("missing", "resized")),
    },
    "emdb": {"P__indoor_data.pkl missing"},  # of no evaluation
}


def said(name: str, root: Path, count: int | None = None, **options: Any) -> str:
    """What the error is that reading that many samples gives, or nothing."""
    try:
        source = open_source(name, root, options)
        list(islice((sample for group in source.groups() for sample in source.read(group)), count))
    except InputError as error:
        return str(error)
    return ""


def one_of_each_kind(root: Path) -> dict[str, Path]:
    """The second file of each name without its digits, of images one of each format; the first where there is one."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        kind = path.suffix if path.suffix in IMAGES else re.sub(r"\d+", "", path.name)
        kinds.setdefault(kind, []).append(path)
    return {kind: paths[:2][-1] for kind, paths in kinds.items()}


def test_every_source_has_a_tree() -> None:
    assert set(TREES) == set(SOURCES)


@pytest.mark.parametrize("name", TREES)
def test_other_folders_are_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "empty"
    assert str(folder) in said(name, folder)
    folder.mkdir()
    assert str(folder) in said(name, folder)
    assert str(folder) in said(name, folder, allow_missing=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    root, accepted = tmp_path / "tree", set()
    TREES[name](root)
    for kind, path in one_of_each_kind(root).items():
        content = path.read_bytes()
        changes: dict[str, bytes | None] = dict(
            zip(DAMAGES, (None, content[: len(content) // 2], b"%PDF \xff"), strict=True)
        )
        if path.suffix in IMAGES:
            changes["resized"] = image((13, 17), 9, "PNG" if path.suffix == ".png" else "JPEG")
        for damage, changed in changes.items():
            path.unlink() if changed is None else path.write_bytes(changed)
            named = [path.name]
            if changed is None:
                named += ["/".join(path.parent.parts[-3:]), "official number"]
            error = said(name, root)
            if not error:
                accepted.add(f"{kind} {damage}")
            elif changed is None and said(name, root, 0):
                error = said(name, root, 0, allow_missing=True)
                error = error or "\n".join(open_source(name, root, {"allow_missing": True}).notes)
                named.append("official release")
            assert not error or any(part in error for part in named), f"{kind} {damage}: {error}"
            path.write_bytes(content)
    assert accepted == ACCEPTED.get(name, set())


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_sources_and_groups_travel_to_other_processes(tmp_path: Path, name: str) -> None:
    TREES[name](tmp_path / "tree")
    assert_travels(open_source(name, tmp_path / "tree"))


# Tables that were pickled: which file of a tree holds one, and its whole contents.
TABLES: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "iper": (
        "smpls/001/1/1/pose_shape.pkl",
        lambda: {"cams": iper_cameras(4), "pose": np.ones((4, 72)), "shape": np.zeros((4, 10))},
    ),
    "up3d": ("up-3d/00000_body.pkl", up3d_fit),
    "3dpw": ("sequenceFiles/train/courtyard_box_00.pkl", threedpw_world),
    "emdb": ("P0/09_outdoor_walk/P0_09_outdoor_walk_data.pkl", lambda: emdb_tree.content("P0/09_outdoor_walk")),
    "rich": (f"bodies/train/{rich_tree.ALONE}/00150/001.pkl", lambda: rich_tree.parameters(1501)),
}
# Fields of them that may be anything.
UNUSED = {
    "iper": (),
    "up3d": ("j2d",),
    "3dpw": ("img_frame_ids", "sequence", "texture_maps"),
    "emdb": ("name", "n_frames", "invalid_idxs", "emdb1", "emdb2", "bboxes nan"),
    "rich": ("expression", "left_hand_pose"),
}


def fields_of(table: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every field with the table that has it, those of inner tables too."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from fields_of(value)
        yield table, key


def is_array(value: Any) -> bool:
    first = value[0] if isinstance(value, list) else value
    return isinstance(first, Chumpy) or np.ndim(first) > 0


def changed(value: Any, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """An array that is changed, or several."""
    if isinstance(value, list):
        return [changed(each, change) for each in value]
    return change(np.asarray(value.x if isinstance(value, Chumpy) else value))


CHANGES: dict[str, Callable[[Any], Any]] = {
    "text": lambda value: "x",
    "shape": lambda value: changed(value, lambda array: array[..., :-1]),
    "nan": lambda value: changed(value, lambda array: np.full(array.shape, np.nan)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["up3d", *extensive("iper", "3dpw", "emdb", "rich")])
def test_damaged_fields_are_named(tmp_path: Path, name: str) -> None:
    file, whole = TABLES[name]
    TREES[name](tmp_path / "tree")
    path = tmp_path / "tree" / file
    for number, (_, field) in enumerate(fields_of(whole())):
        for damage in ("missing", *CHANGES):
            content = whole()
            table, key = next(islice(fields_of(content), number, None))
            value = table.pop(key)
            if {field, f"{field} {damage}"} & set(UNUSED[name]) or (damage in ("shape", "nan") and not is_array(value)):
                continue
            if damage != "missing":
                table[key] = CHANGES[damage](value)
            path.write_bytes(python2_pickle(content))
            assert path.name in said(name, tmp_path / "tree", 2), f"{field} {damage}"
