"""A small AGORA in the owners' layout, and data frames as pandas pickles them, without pandas."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from humanpose_cli.io.images import write_image

SIZE = (1280, 720)
IMAGES = (
    "ag_validationset_bfh_hdri_00000.png",
    "ag_validationset_bfh_cam01_00001.png",
    "ag_validationset_bfh_00002.png",
)
PEOPLE = 4


class _Pickled:
    """An object that is pickled as the call of a named function, or by a state."""

    def __init__(self, *args: Any) -> None:
        self.args = args


def _kinds(*, old: bool) -> dict[str, Any]:
    """Stand-ins by the names that pandas' own classes and functions are pickled under."""

    def unpickle_block(*_: Any) -> None: ...
    def new_index(*_: Any) -> None: ...

    class Index(_Pickled):
        def __reduce__(self) -> Any:
            return new_index, (Index, {"data": self.args[0], "name": None})

    class Block(_Pickled):
        def __reduce__(self) -> Any:
            return unpickle_block, (*self.args, 2)

    class BlockManager(_Pickled):
        if old:  # before pandas 1.3

            def __getstate__(self) -> Any:
                blocks, axes = self.args
                entries = [{"values": block.args[0], "mgr_locs": block.args[1]} for block in blocks]
                return axes, [], [], {"0.14.1": {"axes": axes, "blocks": entries}}
        else:

            def __reduce__(self) -> Any:
                return BlockManager, self.args

    class DataFrame(_Pickled):
        def __getstate__(self) -> Any:
            typed = {"_typ": "dataframe", "_metadata": [], "attrs": {}, "_flags": {"allows_duplicate_labels": True}}
            return {"_data" if old else "_mgr": self.args[0], **typed}

    return {
        "pandas._libs.internals:_unpickle_block": unpickle_block,
        "pandas.core.indexes.base:_new_Index": new_index,
        "pandas.core.indexes.base:Index": Index,
        "pandas.core.internals.managers:BlockManager": BlockManager,
        "pandas.core.frame:DataFrame": DataFrame,
        "Block": Block,
    }


def frame_bytes(
    columns: Mapping[str, Sequence[Any]], *, old: bool = False, protocol: int = 4, where: Any = ...
) -> bytes:
    """What DataFrame.to_pickle of pandas 1.3 to 2 writes, or before: numbers and objects in a block each.

    Checked once with pandas 1.5.3, which reads both as these columns.
    where  the columns that each block says it has, in place of its own
    """
    kinds = _kinds(old=old)
    modules = {}
    for key, kind in kinds.items():
        module, _, name = key.partition(":")
        if name:
            kind.__module__, kind.__qualname__, kind.__name__ = module, name, name
            setattr(modules.setdefault(module, ModuleType(module)), name, kind)
    arrays = {}
    for name, values in columns.items():
        numeric = all(isinstance(value, float) for value in values)
        arrays[name] = np.array(values) if numeric else np.empty(len(values), object)
        if not numeric:
            arrays[name][:] = values
    blocks = []
    for numeric in (True, False):
        indices = [i for i, array in enumerate(arrays.values()) if (array.dtype != object) == numeric]
        if indices:
            stacked = np.empty((len(indices), len(next(iter(arrays.values())))), float if numeric else object)
            for row, i in enumerate(indices):
                stacked[row] = list(arrays.values())[i]
            blocks.append(kinds["Block"](stacked, np.array(indices) if where is ... else where))
    names = np.empty(len(arrays), object)
    names[:] = list(arrays)
    index = kinds["pandas.core.indexes.base:Index"]
    axes = [index(names), index(np.arange(len(next(iter(arrays.values())))))]
    manager = kinds["pandas.core.internals.managers:BlockManager"](tuple(blocks), axes)
    frame = kinds["pandas.core.frame:DataFrame"](manager)
    parents = {"pandas", "pandas.core", "pandas._libs", "pandas.core.indexes", "pandas.core.internals"}
    stand_ins = {**{name: ModuleType(name) for name in parents}, **modules}
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        return pickle.dumps(frame, protocol=protocol)
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def columns() -> dict[str, list[Any]]:
    """Three images: of four people, one hidden to 95 %, one a child; of two; and of none."""
    random = np.random.default_rng(0)
    counts = (PEOPLE, 2, 0)
    focal = {"hdri": 50.0, "cam01": 18.0, "0002": 28.0}
    table: dict[str, list[Any]] = {"imgPath": list(IMAGES), "camX": [0.0] * 3}
    people: dict[str, list[Any]] = {name: [] for name in ("isValid", "occlusion", "kid", "gender")}
    people |= {name: [] for name in ("gt_joints_2d", "gt_joints_3d", "gt_verts")}
    for name, count in zip(IMAGES, counts, strict=True):
        occlusion = [10.0, 95.0, 30.0, 0.0][:count]
        people["occlusion"].append(occlusion)
        people["isValid"].append([value <= 90 for value in occlusion])
        people["kid"].append([False, False, True, False][:count])
        people["gender"].append(["male", "female", "male", "female"][:count])
        millimetres = next(value for part, value in focal.items() if part in name)
        joints = [random.normal((2.0 * person - 2, 0, 12), 0.3, (45, 3)) for person in range(count)]
        people["gt_joints_3d"].append(joints)
        people["gt_verts"].append([random.normal(0, 0.3, (6890, 3)) + joint.mean(0) for joint in joints])
        pixels = [j[:, :2] / j[:, 2:] * millimetres / 36 * 3840 + np.array([1920, 1080]) for j in joints]
        people["gt_joints_2d"].append(pixels)
    return {**table, **people}


def write_tree(root: Path, table: Mapping[str, Sequence[Any]] | None = None, *, old: bool = False) -> Path:
    (root / "SMPL").mkdir(parents=True)
    (root / "SMPL" / "validation_0_withjv.pkl").write_bytes(frame_bytes(columns() if table is None else table, old=old))
    for number, name in enumerate(IMAGES):
        small = name.replace(".png", "_1280x720.png")
        write_image(root / "validation" / small, np.full((SIZE[1], SIZE[0], 3), 60 * number, np.uint8))
    return root
