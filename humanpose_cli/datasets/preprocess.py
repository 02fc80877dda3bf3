"""A source of labelled people by its name, with whatever it needs from the other layers, as a dataset cache.

build(SourceRequest("synthetic", synthetic=SyntheticOptions(count=2000)), "people")
build(SourceRequest("3dpw", Path("3DPW"), models=(Path("SMPL_MALE.pkl"), Path("SMPL_FEMALE.pkl"))), "3dpw-cache")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.smpl import load_smpl
from humanpose_cli.core.errors import UsageError
from humanpose_cli.data.building import BuildResult, build_cache
from humanpose_cli.data.samples import Source
from humanpose_cli.datasets.common import SourceTools
from humanpose_cli.datasets.estimators import BodyJointFitter, FitEstimator
from humanpose_cli.datasets.labelling import DetectedLabels, RenderedLabels
from humanpose_cli.datasets.registry import SOURCES, open_source
from humanpose_cli.fitting.fitter import FitOptions
from humanpose_cli.synthetic.generator import SyntheticOptions, SyntheticSource

__all__ = ["SYNTHETIC", "SourceRequest", "build", "make_source"]

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class SourceRequest:
    """What is to become a cache.

    name       "synthetic", or a name of `datasets.registry.SOURCES`
    root       the data set's folder; None for "synthetic"
    options    the source's own, by name
    synthetic  options of the generator
    models     SMPL model files, for parameters that belong to them and for labels drawn from these
    fit        let our fit find the bodies that a source lacks
    fit_body   'default' or 'smpl:FILE': the body that is fitted
    detections add what our detector says about each person
    """

    name: str
    root: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    synthetic: SyntheticOptions = field(default_factory=SyntheticOptions)
    models: tuple[Path, ...] = ()
    fit: bool = True
    fit_body: str = "default"
    detections: bool = False


def make_source(request: SourceRequest) -> Source:
    """The source with its tools. UsageError where the request does not fit together, InputError for a wrong folder."""
    source = _without_detections(request)
    return DetectedLabels(source) if request.detections else source


def _without_detections(request: SourceRequest) -> Source:
    if request.name == SYNTHETIC:
        if request.root is not None:
            raise UsageError("ROOT", "is not needed: synthetic people come from nowhere", got=str(request.root))
        return SyntheticSource(request.synthetic)
    if request.name not in SOURCES:
        raise UsageError(request.name, "is no source", expected=", ".join((SYNTHETIC, *SOURCES)))
    if request.root is None:
        raise UsageError("ROOT", f"is missing: the folder with {request.name}'s files")
    models = _models(request.models)
    needs = SOURCES[request.name].needs if request.fit else ()
    tools = SourceTools(
        FitEstimator(FitOptions(body=request.fit_body)) if "estimator" in needs else None,
        BodyJointFitter(request.fit_body) if "joint_fitter" in needs else None,
        models,
    )
    source = open_source(request.name, request.root, request.options, tools)
    bodies = {**{body.name: body for body in models.values()}, "default": default_body()}
    if "neutral" in models:
        bodies["smpl"] = models["neutral"]  # for people whose gender nobody tells
    return RenderedLabels(source, bodies)


def _models(paths: tuple[Path, ...]) -> dict[str, Body]:
    """Models by their gender, which their files' names tell."""
    found: dict[str, Body] = {}
    for path in paths:
        model = load_smpl(path)
        gender = model.name.partition("-")[2] or "neutral"
        if gender in found:
            raise UsageError(path, f"is a second {gender} model", remedy="give one file for each gender")
        found[gender] = model
    return found


def build(
    request: SourceRequest,
    out: Path,
    *,
    shard_size: int | None = None,
    on_note: Callable[[str], None] | None = None,
    **options: Any,
) -> BuildResult:
    """Write the cache; `options` are those of `build_cache`. `on_note` hears what the source says about its files."""
    source = make_source(request)
    if on_note is not None:
        for note in getattr(source, "notes", ()):
            on_note(note)
    return build_cache(source, out, shard_size=shard_size, **options)
