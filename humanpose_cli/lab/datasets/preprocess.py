"""A source of labelled people by its name, with the tools that it needs, for `lab.cache.building`.

Example:
    build_cache(make_source(SourceRequest("synthetic", synthetic=SyntheticOptions(count=2000))), "people")
    build_cache(make_source(SourceRequest("3dpw", Path("3DPW"), models=(Path("SMPL_MALE.pkl"),))), "3dpw-cache")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from humanpose_cli.body.body import default_body
from humanpose_cli.body.smpl import load_models
from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.io.inputs import printable
from humanpose_cli.lab.cache.samples import Group, LabellingSource, Source
from humanpose_cli.lab.datasets.common import FolderSource
from humanpose_cli.lab.datasets.estimators import BodyJointFitter, FitEstimator, SourceTools
from humanpose_cli.lab.datasets.labelling import DetectedLabels, RenderedLabels
from humanpose_cli.lab.datasets.registry import SOURCES, SYNTHETIC, SourceEntry, open_source
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions


@dataclass(frozen=True)
class SourceRequest:
    """A request for a source.

    Attributes:
        name: "synthetic", or a name of `lab.datasets.registry.SOURCES`.
        root: The dataset's folder; None for "synthetic".
        options: Options of the source by name.
        synthetic: Options of the generator.
        models: SMPL model files for the dataset's parameters and for labels that are drawn from them.
        fit: Whether our fit adds bodies that a source lacks.
        fit_body: "default" or "smpl:FILE", the body of that fit.
        detections: Whether our detector's output is added to each person.
        device: Device of the networks that fit and detect: auto, cpu or cuda:N.
        items: Paths of images, sequences or their folders, or names of groups; None for all.
    """

    name: str
    root: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    synthetic: SyntheticOptions = field(default_factory=SyntheticOptions)
    models: tuple[Path, ...] = ()
    fit: bool = True
    fit_body: str = "default"
    detections: bool = False
    device: str = "auto"
    items: tuple[str, ...] | None = None


class SelectedGroups(LabellingSource):
    """A source with the requested groups only.

    Args:
        source: Any source.
        names: Names of groups, or their beginnings before a slash.
    """

    def __init__(self, source: Source, names: Collection[str]) -> None:
        super().__init__(source)
        self.names = frozenset(names)

    def groups(self) -> Sequence[Group]:
        """Select the source's groups of these names.

        Raises:
            UsageError: If a name matches no group.
        """
        groups: list[Group] = []
        names: set[str] = set()
        for group in self.source.groups():
            parts = group.name.split("/")
            if matches := self.names & {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}:
                groups.append(group)
                names |= matches
        if unknown := sorted(self.names - names):
            problem = f"{len(unknown)} of {len(self.names)} are not among the source's images and sequences"
            remedy = "a dry run with `json` lists their names"
            raise UsageError("items", problem, got=", ".join(unknown[:3]), remedy=remedy)
        return groups


def _group_names(root: Path, items: Iterable[str]) -> list[str]:
    """Convert items to names of groups; for existing paths, the part below `root`."""
    folder = os.path.abspath(root)
    paths = {item: os.path.abspath(item) for item in items}
    inside = {item: os.path.relpath(path, folder) for item, path in paths.items() if path.startswith(folder + os.sep)}
    return [
        printable(inside[item] if item in inside and os.path.exists(item) else os.path.normpath(item)) for item in paths
    ]


def make_source(request: SourceRequest) -> Source:
    """Make the source with its tools.

    Args:
        request: The request.

    Raises:
        UsageError: If parts of the request contradict each other.
        InputError: If the folder is not the dataset's.
    """
    source = _without_detections(request)
    return DetectedLabels(source, request.device) if request.detections else source


def _without_detections(request: SourceRequest) -> Source:
    if request.name == SYNTHETIC:
        if request.root is not None:
            raise UsageError("ROOT", "is not needed: synthetic people need no files", got=str(request.root))
        if request.items is not None:
            raise UsageError("items", "cannot be combined with synthetic people", remedy="leave them out")
        return SyntheticSource(request.synthetic, request.device)
    entry = _entry(request)
    source_class = entry.source_class()
    models = load_models(request.models, source_class.shape_count, mean_hands=source_class.mean_hands)
    needs = entry.needs if request.fit else ()
    tools = SourceTools(
        FitEstimator(FitOptions(body=request.fit_body), request.device) if "estimator" in needs else None,
        BodyJointFitter(request.fit_body) if "joint_fitter" in needs else None,
        models,
    )
    source = chosen_groups(open_folder(request, tools), request.items)
    return RenderedLabels(source, {body.name: body for body in (*models.values(), default_body())})


def _entry(request: SourceRequest) -> SourceEntry:
    """Look up the requested dataset. Raises UsageError if it is unknown or has no folder."""
    if request.name not in SOURCES:
        raise UsageError(request.name, "is no source", expected=", ".join((SYNTHETIC, *SOURCES)))
    if request.root is None:
        raise UsageError("ROOT", f"is missing: the folder with {request.name}'s files")
    return SOURCES[request.name]


def open_folder(request: SourceRequest, tools: SourceTools) -> FolderSource:
    """Open the dataset's folder, whatever items are requested; raises the errors of `make_source`."""
    _entry(request)
    assert request.root is not None
    return open_source(request.name, request.root, request.options, tools)


def chosen_groups(source: FolderSource, items: Sequence[str] | None) -> Source:
    """Restrict the source to the groups of some items.

    Args:
        source: The source.
        items: See `SourceRequest.items`; None for all groups.
    """
    return source if items is None else SelectedGroups(source, _group_names(source.root, items))


def open_request(request: SourceRequest, on_note: Callable[[str], None]) -> Source:
    """Open a source, and report its notes.

    Args:
        request: The request.
        on_note: Called with each note on missing or unusual files.
    """
    source = make_source(request)
    for note in getattr(source, "notes", ()):
        on_note(note)
    return source
