"""A source of labelled people by its name, with whatever it needs from the other layers, for `data.building`.

build_cache(make_source(SourceRequest("synthetic", synthetic=SyntheticOptions(count=2000))), "people")
build_cache(make_source(SourceRequest("3dpw", Path("3DPW"), models=(Path("SMPL_MALE.pkl"),))), "3dpw-cache")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import default_body
from humanpose_cli.body.smpl import body_by_name, load_models
from humanpose_cli.core.conventions import skeleton_by_name
from humanpose_cli.core.errors import UsageError
from humanpose_cli.data.samples import Group, LabellingSource, Sample, Source
from humanpose_cli.datasets.common import EstimatedImage, FittedBodies, SourceTools
from humanpose_cli.datasets.labelling import DetectedLabels, RenderedLabels
from humanpose_cli.datasets.registry import SOURCES, open_source
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.joints import JointFitOptions, fit_joints
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.io.inputs import Frame, printable
from humanpose_cli.synthetic.generator import SyntheticOptions, SyntheticSource

# Our own fits as makers of labels, for data sets that lack poses. Sources ask for nothing else than the public members
# of these classes, so whoever opens a source may pass in others. Instances are pickled to the processes that read a
# source; models load where they are first used.


class FitEstimator:
    """Images → people with body parameters: `hpc fit` for the images of a data set.

    device  of the networks: auto, cpu or cuda:N
    """

    def __init__(self, options: FitOptions | None = None, device: str = "auto") -> None:
        self.options, self.device = options or FitOptions(), device
        self._fitter: Fitter | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options, "device": self.device, "_fitter": None}

    @property
    def info(self) -> Mapping[str, Any]:
        """Name and options as plain JSON values: what a cache says about who made its poses."""
        return {"name": "hpc fit", **self.options.identity({})}

    def estimate(
        self, images: Iterable[NDArray[np.uint8]], *, sequence: bool, single_person: bool
    ) -> Sequence[EstimatedImage]:
        """One result for each image, in their order.

        images         (H, W, 3) uint8 RGB, taken one after the other: those of a long video are never all in memory
        sequence       True: frames of one shot, in which a person keeps one shape; False: images by themselves
        single_person  True: only the person that the images are about
        """
        fitter = self._with(single_person)
        if not sequence:
            return [EstimatedImage.of_fit(fitter.fit_image(pixels), 0) for pixels in images]
        record = fitter.fit_sequence(Frame(i, f"{i:06d}", pixels) for i, pixels in enumerate(images))
        return [EstimatedImage.of_fit(record, frame) for frame in range(len(record.frame_names))]

    def _with(self, single_person: bool) -> Fitter:
        """The one fitter, its models loaded once in this process, with an image's own wishes."""
        if self._fitter is None:
            self._fitter = Fitter(self.options, device=self.device, threads=1)
        people = "largest" if single_person else self.options.people
        self._fitter.options = replace(self.options, people=people)
        return self._fitter


class BodyJointFitter:
    """3-D joints → body parameters by `fit_joints`.

    body  'default' or 'smpl:FILE'
    """

    def __init__(self, body: str = "default") -> None:
        self.body = body

    @property
    def info(self) -> Mapping[str, Any]:
        """Name and options as plain JSON values: what a cache says about who made its poses."""
        return {"name": "joint fit", "body": body_by_name(self.body).name, **asdict(JointFitOptions())}

    def fit(self, joints: NDArray[Any], skeleton: str) -> FittedBodies:
        """One person's joints (T, J, 4): metres in camera axes and confidence 0…1 (0: not known), of the skeleton of
        that name.
        """
        body = body_by_name(self.body)
        fit = fit_joints(body, joints, skeleton_by_name(skeleton))
        kind, _, gender = body.name.partition("-")
        return FittedBodies(fit.poses, fit.betas, fit.trans, fit.error, body=kind, gender=gender or "neutral")


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
    device     of the networks that fit and detect: auto, cpu or cuda:N
    items      only these images, sequences or folders of them: paths, or names of groups; None for all
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


class ChosenGroups(LabellingSource):
    """A source without the groups that were not asked for.

    names  of groups, or what such names begin with before a slash
    """

    added: Mapping[str, Any] = {}  # a cache's plan names its groups anyway

    def __init__(self, source: Source, names: Collection[str]) -> None:
        super().__init__(source)
        self.names = frozenset(names)

    def groups(self) -> Sequence[Group]:
        """The source's groups of these names. UsageError for a name that stands for none."""
        chosen: list[Group] = []
        used: set[str] = set()
        for group in self.source.groups():
            parts = group.name.split("/")
            if found := self.names & {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}:
                chosen.append(group)
                used |= found
        if unknown := sorted(self.names - used):
            problem = f"{len(unknown)} of {len(self.names)} are not among the source's images and sequences"
            remedy = "a dry run with `json` lists their names"
            raise UsageError("items", problem, got=", ".join(unknown[:3]), remedy=remedy)
        return chosen

    def labelled(self, sample: Sample) -> Sample:
        """As it is."""
        return sample


def _group_names(root: Path, items: Iterable[str]) -> list[str]:
    """Items as names of groups: of paths that exist, the part below `root`."""
    whole = os.path.abspath(root)
    paths = {item: os.path.abspath(item) for item in items}
    inside = {item: os.path.relpath(path, whole) for item, path in paths.items() if path.startswith(whole + os.sep)}
    return [
        printable(inside[item] if item in inside and os.path.exists(item) else os.path.normpath(item)) for item in paths
    ]


def make_source(request: SourceRequest) -> Source:
    """The source with its tools. UsageError where the request does not fit together, InputError for a wrong folder."""
    source = _without_detections(request)
    return DetectedLabels(source, request.device) if request.detections else source


def _without_detections(request: SourceRequest) -> Source:
    if request.name == SYNTHETIC:
        if request.root is not None:
            raise UsageError("ROOT", "is not needed: synthetic people come from nowhere", got=str(request.root))
        if request.items is not None:
            raise UsageError("items", "are not for synthetic people", remedy="leave them out")
        return SyntheticSource(request.synthetic)
    if request.name not in SOURCES:
        raise UsageError(request.name, "is no source", expected=", ".join((SYNTHETIC, *SOURCES)))
    if request.root is None:
        raise UsageError("ROOT", f"is missing: the folder with {request.name}'s files")
    models = load_models(request.models)
    needs = SOURCES[request.name].needs if request.fit else ()
    tools = SourceTools(
        FitEstimator(FitOptions(body=request.fit_body), request.device) if "estimator" in needs else None,
        BodyJointFitter(request.fit_body) if "joint_fitter" in needs else None,
        models,
    )
    source: Source = open_source(request.name, request.root, request.options, tools)
    if request.items is not None:
        source = ChosenGroups(source, _group_names(request.root, request.items))
    return RenderedLabels(source, {body.name: body for body in (*models.values(), default_body())})


def open_request(request: SourceRequest, on_note: Callable[[str], None]) -> Source:
    """The source; `on_note` hears what it says about its files."""
    source = make_source(request)
    for note in getattr(source, "notes", ()):
        on_note(note)
    return source
