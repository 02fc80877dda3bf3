"""Which people an evaluation uses, and the truth about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.smpl import load_body, load_models, model_for
from humanpose_cli.core.camera import default_focal
from humanpose_cli.core.conventions import H36M17
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.cache.loader import spread_evenly
from humanpose_cli.lab.cache.samples import split_name
from humanpose_cli.lab.evaluate.intervals import Clusters
from humanpose_cli.lab.evaluate.weights import LEFT_OUT
from humanpose_cli.lab.metrics.bodies import Bodies, BodyErrors, body_errors
from humanpose_cli.lab.metrics.counts import counted
from humanpose_cli.lab.metrics.joints import SMPL24_JOINTS, JointSet, JointSetName, RootName, joint_set
from humanpose_cli.lab.recipes.people import (
    LABELS,
    People,
    listed_splits,
    people_in,
    segment_scales,
    spread_out,
    usual_protocol,
    visible_people,
)

_MEASURED = ("h36m", "humaneva")  # sources whose joints were measured, and bodies only fitted to them
# Source → column whose values are independent of each other, and what they are; others are drawn by sequence.
_DRAWN_BY = {
    **dict.fromkeys(_MEASURED, ("identity", "subjects")),
    "iper": ("identity", "people"),
    "deepfashion": ("identity", "garments"),
    "synthetic": ("identity", "rendered people"),
}


@dataclass(frozen=True)
class EvaluatedPeople:
    """N people of one split, and the truth about them.

    Attributes:
        body: That predictions are of; body_name "default" or "smpl:FILE", which names it.
        rigs: Models of the true bodies; rig (N,) which of them is each person's own, −1 where no body is known.
        bodies: The truth before each image's camera, NaN where not known; focal (N,), centre (N, 2) pixels.
        joints: That errors are of.
        split: "protocol/split" where all of it is evaluated; "" where only some of its people are.
        left_out: How many people of known truth are not among them, and why; "" if all are.
    """

    people: People
    body: Body
    body_name: str
    rigs: tuple[Body, ...]
    rig: NDArray[np.int64]
    bodies: Bodies
    focal: Tensor
    centre: Tensor
    joints: JointSet = SMPL24_JOINTS
    split: str = ""
    left_out: str = ""

    def __len__(self) -> int:
        return len(self.people)

    @cached_property
    def joints2d(self) -> NDArray[np.float32]:
        """(N, J, 2) labelled joints in the image, of smpl24 or else of the first skeleton there is; NaN: not known."""
        names = [name for name in self.people.cache.people if name.startswith("keypoints/")]
        if not names:
            return np.full((len(self), 1, 2), np.nan, np.float32)
        first = "keypoints/smpl24" if "keypoints/smpl24" in names else names[0]
        points = np.asarray(self.people.column(first), np.float32)
        return (
            np.where(points[..., 2:] > 0, points[..., :2], np.nan) if first != "keypoints/smpl24" else points[..., :2]
        )

    @cached_property
    def boxes(self) -> NDArray[np.float64]:
        """(N, 4) round the known joints, which may reach beyond the image; else the stored box."""
        points = self.joints2d.astype(np.float64)
        mask = np.asarray(np.isfinite(points).all(-1, keepdims=True))
        low, high = (np.where(mask, points, limit) for limit in (np.inf, -np.inf))
        boxes = np.concatenate((low.min(1), high.max(1)), 1)
        label_boxes = (
            self.people.column("box") if "box" in self.people.cache.people else np.full((len(self), 4), np.nan)
        )
        return np.where(mask.any(1), boxes, label_boxes)

    def errors(
        self,
        predicted: Bodies,
        rows: NDArray[np.integer],
        models: Body | Sequence[Body] | None = None,
        points: NDArray[np.float64] | None = None,
    ) -> BodyErrors:
        """Measure M predicted bodies that are those of the people in these rows.

        Args:
            models: Of the predictions: one, or each one's; None for `self.body`.
            points: (M, P, 3) predicted joints, NaN for people with a predicted body.
        """
        each = (
            [models] * len(rows) if isinstance(models, Body) else [self.body] * len(rows) if models is None else models
        )
        result = BodyErrors._make(np.full(len(rows), np.nan) for _ in BodyErrors._fields)
        labels = self.measured_joints(rows) if self.joints.measured else None
        for number, model in product(np.unique(self.rig[rows]).tolist(), set(each)):
            mask_rows = np.flatnonzero((self.rig[rows] == number) & np.array([one is model for one in each]))
            of_rig = rows[mask_rows]
            errors = body_errors(
                model,
                predicted.taken(mask_rows),
                self.bodies.taken(of_rig),
                self.focal[of_rig],
                self.centre[of_rig],
                true_body=self.rigs[number] if number >= 0 else None,
                joints=self.joints,
                measured=None if labels is None else labels[mask_rows],
                points=None if points is None else points[mask_rows],
            )
            for column, values in zip(result, errors, strict=True):
                column[mask_rows] = values
        return result

    def measured_joints(self, rows: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the data set's own joints (M, P, 3) in metres, NaN where not known."""
        return self.joints.from_labels(np.asarray(self.people.column(f"joints/{H36M17.name}"))[rows])

    def roots(self) -> Tensor:
        """Return positions (N, 3) of all pelves in metres, of the bodies or as measured."""
        if not self.joints.measured:
            return self.bodies.root
        joints = np.asarray(self.people.column(f"joints/{H36M17.name}"), np.float32)
        return torch.from_numpy(joints[:, H36M17.index("pelvis"), :3])

    @cached_property
    def clusters(self) -> Clusters:
        """What intervals are over, see `clusters_of`."""
        return clusters_of(self.people)

    @property
    def truth(self) -> str:
        """What predictions are compared with, for reports."""
        if self.joints.measured:
            return "the data set's own joints"
        rigs = ", ".join(sorted({self.rigs[number].name for number in np.unique(self.rig) if number >= 0}))
        options = self.people.cache.header.options_values
        author = options.get("bodies_by") or options.get("poses_by")  # by whom, where the data set has none
        return f"bodies of {rigs}" + (f", made by {author['name']}" if isinstance(author, dict) else "")

    @property
    def facts(self) -> dict[str, Any]:
        """The lines of a report about them."""
        facts = {"joints": self.joints.text, "truth": self.truth, "people": len(self)}
        return facts | ({LEFT_OUT: self.left_out} if self.left_out else {})

    def require_one_model(self) -> None:
        """Raise InputError unless all true bodies are of the model that is predicted: parameters are compared
        directly.
        """
        others = {self.rigs[number].name if number >= 0 else "unknown" for number in np.unique(self.rig)}
        if others != {self.body.name}:
            raise InputError(
                self.people.cache.path,
                "has bodies of another model than the one that is evaluated",
                expected=self.body.name,
                got=", ".join(sorted(others)),
                remedy="evaluate fits to images, which are compared joint by joint, or choose `body`",
            )


@dataclass(frozen=True)
class PeopleSelection:
    """Which people are evaluated, and by what.

    Attributes:
        data: cache.
        protocol, split: Of it; "" for the cache's usual protocol, and the first of `usual_splits` that it has.
        visible: Least share of a person's joints that must be visible; pairs of images are not filtered.
        limit: People, or pairs, at most, spread evenly; 0 for all.
        body: That predictions are of: "default" or "smpl:FILE".
        models: SMPL model files, of which the true bodies are: of each person's gender.
        joints, root, regressor, smplx_to_smpl: See `lab.metrics.joints.joint_set`; no joints: a data set's own
            where these were measured and its bodies only fitted to them, else smpl24.
        straight_hands: Keep fingers of SMPL-X straight in data whose owners have them in the mean pose.
    """

    data: Path
    protocol: str = ""
    split: str = ""
    visible: float = 0.0
    limit: int = 0
    body: str = "default"
    usual_splits: tuple[str, ...] = ("test", "validation")
    models: tuple[Path, ...] = ()
    joints: JointSetName | None = None
    root: RootName | None = None
    regressor: Path | None = None
    smplx_to_smpl: Path | None = None
    straight_hands: bool | None = None

    def protocol_and_split(self) -> tuple[str, str]:
        """Return both, as chosen or usual. Raises InputError, listing what there is, if the cache has no such split."""
        cache = open_cache(self.data)
        protocol = self.protocol or usual_protocol(cache)
        return protocol, self.split_among(cache, protocol, cache.splits.get(protocol, ()))

    def images(self, cache: Cache) -> NDArray[np.int64]:
        """List rows of the images of the split, of which `limit` are spread evenly."""
        rows = cache.rows(*self.protocol_and_split())
        return rows[spread_evenly(len(rows), self.limit)] if self.limit else rows

    def full_split(self) -> str:
        """Return "protocol/split" if all of it is evaluated, else ""."""
        return "" if self.visible or self.limit else "/".join(self.protocol_and_split())

    def split_among(self, cache: Cache, protocol: str, splits: Sequence[str]) -> str:
        """Choose the split of a protocol, or the usual one. Raises InputError if it is none of these."""
        split = split_name(self.split) or next((name for name in self.usual_splits if name in splits), "")
        if split not in splits:
            raise InputError(
                cache.path,
                f"has no split {split or 'test or validation'} of protocol {protocol or 'any'}",
                got=listed_splits(cache),
                remedy="`protocol` and `split` choose; what a model learned from is no measure of it",
            )
        return split

    @property
    def measured(self) -> bool:
        """Whether the cache has joints that were measured, and bodies only fitted to them."""
        cache = open_cache(self.data)
        return cache.header.source in _MEASURED and cache.labels.get(f"people/joints/{H36M17.name}", 0) > 0

    @property
    def mean_hands(self) -> bool:
        """Whether fingers of SMPL-X, whose poses caches do not have, are those of its mean pose."""
        return open_cache(self.data).header.source == "rich" and not self.straight_hands

    def joint_set(self) -> JointSet:
        """Return the joints that errors are of."""
        name = self.joints or ("mocap17" if self.measured else "smpl24")
        neutral = self._neutral() if name == "smpl24-neutral" else None
        return joint_set(name, self.root, self.regressor, neutral, self.smplx_to_smpl)

    def _neutral(self) -> Body | None:
        """Find SMPL's neutral model, among the body and the models."""
        bodies = [load_body(self.body), *load_models(self.models).values()]
        return next((body for body in bodies if body.name == "smpl-neutral"), None)

    def labelled(self, *needs: str) -> People:
        """Select people with the labels of `people.LABELS` that are needed. Raises InputError if the cache lacks
        one.
        """
        protocol, split = self.protocol_and_split()
        people = people_in(self.data, needs, protocol, split)
        return spread_out(visible_people(people, self.visible), self.limit)

    def people(self, *needs: str, joints: JointSet = SMPL24_JOINTS) -> EvaluatedPeople:
        """Select people with the labels that are needed, and with bodies or measured joints that are known.

        Raises InputError if a label is missing, or the model of a person's body.
        """
        truth = "measured" if joints.measured else "poses"
        people = self.labelled(truth, *needs)
        body = load_body(self.body, mean_hands=self.mean_hands)
        left_out = self.left_out(truth, needs)
        rigs, rig = self._rigs(people, body, required=not joints.measured)
        count = len(people)
        shape = _shapes(people)
        unknown = torch.full((count, 24, 3, 3), torch.nan)
        bodies = Bodies(
            unknown, torch.zeros_like(shape), torch.zeros(count, 3), torch.from_numpy(segment_scales(people))
        )
        if rigs:
            poses, trans = (torch.from_numpy(people.column(name)).float() for name in ("poses", "trans"))
            rig[~torch.isfinite(torch.cat((poses, shape, trans), 1)).all(1).numpy()] = -1
        for number, model in enumerate(rigs):
            of_rig = torch.from_numpy(np.flatnonzero(rig == number))
            some = Bodies.from_parameters(model, poses[of_rig], shape[of_rig, : model.shape_count], trans[of_rig])
            bodies.rotations[of_rig] = some.rotations
            bodies.betas[of_rig] = shape[of_rig]
            bodies.root[of_rig] = some.root
        focal, centre = cameras_of_images(people.cache, people.images)
        return EvaluatedPeople(
            people,
            body,
            self.body,
            rigs,
            rig,
            bodies,
            focal,
            centre,
            joints=joints,
            split="" if left_out else self.full_split(),
            left_out=left_out,
        )

    def left_out(self, truth: str, needs: Sequence[str]) -> str:
        """Count the people of known truth who lack other labels that are needed, as a sentence; "" if none do."""
        if not needs:
            return ""
        protocol, split = self.protocol_and_split()
        total, labelled = (len(people_in(self.data, names, protocol, split)) for names in ((truth,), (truth, *needs)))
        lack = " or ".join(LABELS[need].text for need in needs)
        return f"{counted(total - labelled, 'people')} without {lack}" if total > labelled else ""

    def _rigs(self, people: People, body: Body, *, required: bool) -> tuple[tuple[Body, ...], NDArray[np.int64]]:
        """Load the models of the people's bodies, and say which of them is each person's own; −1 if it is not there.

        Args:
            required: InputError where a model is not there.
        """
        columns = people.cache.people
        kinds, genders = (
            people.column(name) if name in columns else np.full(len(people), "") for name in ("body", "gender")
        )
        if "poses" not in columns:
            return (), np.full(len(people), -1)
        count = _shapes(people).shape[1]
        truth = [*load_models(self.models, count, mean_hands=self.mean_hands).values()]
        if count > body.shape_count and body.name not in {model.name for model in truth}:
            truth.append(load_body(self.body, count, mean_hands=self.mean_hands))
        models = {"default": default_body(), body.name: body, **{model.name: model for model in truth}}
        rigs: list[Body] = []
        rig = np.full(len(people), -1)
        missing = []
        for kind, gender in sorted(set(zip(kinds.tolist(), genders.tolist(), strict=True))):
            model = model_for(models, kind, gender) if kind else body  # who does not say is taken for what is evaluated
            if model is None:
                missing.append(f"{kind}-{gender or 'neutral'}")
                continue
            if kind.startswith("smpl") and model.shape_count < count:
                problem = f"has bodies of up to {count} shape components"
                got = f"{model.shape_count} in the file of {model.name}"
                remedy = "`model`: the owners' file with 300 of SMPL, or 400 of SMPL-X"
                raise InputError(people.cache.path, problem, got=got, remedy=remedy)
            rig[(kinds == kind) & (genders == gender)] = len(rigs)
            rigs.append(model)
        if missing and required:
            raise InputError(
                people.cache.path,
                f"has bodies of {', '.join(missing)}, without whose models nothing is true about them",
                got=", ".join(sorted(models)),
                remedy="`model`: the file of each gender's SMPL model",
            )
        return tuple(rigs), rig

    def facts(self, protocol: str = "", split: str = "") -> dict[str, Any]:
        """Describe the selection for a report; protocol and split if they are no ones of people."""
        header = open_cache(self.data).header
        if not protocol:
            protocol, split = self.protocol_and_split()
        split += f", {self.visible:.0%} of the joints in sight or more" if self.visible else ""
        return {"data": f"{header.source}, digest {header.content_digest[:16]}", "split": f"{protocol}/{split}"}


def _shapes(people: People) -> Tensor:
    """Return the betas (N, 10) of the people, NaN where not known."""
    columns = people.cache.people
    if "betas" not in columns:
        return torch.zeros(len(people), 10)
    return torch.from_numpy(people.column("betas")).float()


def clusters_of(people: People) -> Clusters:
    """Find the independent units that intervals of people (N,) are over.

    Subjects of a laboratory, people of iPER, garments of DeepFashion in all their colours, or rendered people, where
    all are named. Of other data sequences, where there are several and all images have one; else people, where all are
    named; else the one sequence, or images.
    """
    cache = people.cache
    column, unit = _DRAWN_BY.get(cache.header.source, ("identity", "people"))
    names = [str(name) for name in people.column(column)] if column in cache.people else []
    sequences = image_clusters(cache, people.images)
    by_name = Clusters.of(unit, names) if names and all(names) else None
    if by_name is not None and cache.header.source in _DRAWN_BY:
        return by_name
    if sequences.unit == "sequences" and (sequences.count > 1 or by_name is None):
        return sequences
    return sequences if by_name is None else by_name


def image_clusters(cache: Cache, rows: NDArray[np.int64]) -> Clusters:
    """Group images (N,) by their sequence if all have one, else each by itself."""
    sequences = cache.sequence_numbers[rows]
    if len(rows) and (sequences >= 0).all():
        return Clusters("sequences", sequences)
    return Clusters("images", np.asarray(rows, np.int64))


def cameras_of_images(cache: Cache, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return focal lengths (N,) and principal points (N, 2) of N images, the usual ones where theirs are not known."""
    images = cache.images
    sizes = np.asarray(images["size"][rows], np.float64)
    focal = np.array([default_focal(int(width), int(height)) for width, height in sizes])
    centre = sizes / 2
    if "focal" in images:
        values = np.asarray(images["focal"][rows])
        focal = np.where(np.isfinite(values), values, focal)
    if "principal_point" in images:
        values = np.asarray(images["principal_point"][rows])
        centre = np.where(np.isfinite(values), values, centre)
    return torch.from_numpy(focal).float(), torch.from_numpy(centre).float()


@dataclass(frozen=True)
class EvaluationRun:
    """An evaluation on one cache: of which people, where its files go, and on what it runs.

    Attributes:
        stop: Called often; True ends with InterruptedRun.
        part: (i, N): of pairs, those that part i of N evaluates.
    """

    selection: PeopleSelection
    folder: Path = Path()
    device: str = "cpu"
    progress: Progress = no_progress
    stop: Callable[[], bool] = lambda: False
    part: tuple[int, int] = (0, 1)
