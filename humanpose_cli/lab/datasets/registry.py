"""Real datasets by their names on the command line. Importing this module loads none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from humanpose_cli.core.errors import UsageError

if TYPE_CHECKING:
    from humanpose_cli.lab.datasets.common import FolderSource
    from humanpose_cli.lab.datasets.estimators import SourceTools


@dataclass(frozen=True)
class SourceEntry:
    """A dataset's class.

    Attributes:
        module: Module of the class.
        source: Name of the class.
        needs: Tools of `SourceTools` that it uses: "estimator", "joint_fitter", "bodies".
    """

    module: str
    source: str
    needs: tuple[str, ...] = ()

    def source_class(self) -> type[FolderSource]:
        """Import the class, which takes (root, options, tools)."""
        result: type[FolderSource] = getattr(import_module(self.module), self.source)
        return result


def _entry(module: str, name: str, *needs: str) -> SourceEntry:
    return SourceEntry(f"humanpose_cli.lab.datasets.{module}", f"{name}Source", needs)


SYNTHETIC = "synthetic"
"""The source of rendered people, which has no folder."""

SOURCES: Mapping[str, SourceEntry] = {
    "images": _entry("images", "Images", "estimator"),
    "iper": _entry("iper", "Iper", "estimator"),
    "deepfashion": _entry("deepfashion", "DeepFashion", "estimator"),
    "up3d": _entry("up3d", "Up3d", "bodies"),
    "h36m": _entry("h36m", "H36m", "joint_fitter", "bodies"),
    "humaneva": _entry("humaneva", "HumanEva", "joint_fitter"),
    "3dpw": _entry("threedpw", "Threedpw", "bodies"),
    "emdb": _entry("emdb", "Emdb", "bodies"),
    "rich": _entry("rich", "Rich"),
    "coco": _entry("coco", "Coco"),
    "densepose": _entry("densepose", "DensePoseCoco"),
    "densepose-posetrack": _entry("densepose", "DensePosePoseTrack"),
}


def open_source(
    name: str,
    root: Path | str,
    options: Mapping[str, Any] = MappingProxyType({}),
    tools: SourceTools | None = None,
) -> FolderSource:
    """Open a dataset.

    Args:
        name: Name of the dataset, one of SOURCES.
        root: Its folder.
        options: Values of the options of its class by name.
        tools: Tools that the source may use.

    Raises:
        UsageError: If the name or an option is unknown.
        InputError: If the folder is not the dataset's.
    """
    if name not in SOURCES:
        raise UsageError(name, "is no data set", expected=", ".join(SOURCES))
    source = SOURCES[name].source_class()
    known = source.options_type.__dataclass_fields__
    if wrong := sorted(set(options) - set(known)):
        raise UsageError(wrong[0], f"is no option of {name}", expected=", ".join(known))
    return source(root, source.options_type(**options), tools)
