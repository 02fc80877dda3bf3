"""Selection of the people that an evaluation uses, and the truth about them."""

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
from humanpose_cli.core.conventions import H36M17
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.cache.samples import split_name
from humanpose_cli.lab.evaluate.intervals import Clusters
from humanpose_cli.lab.evaluate.weights import LEFT_OUT
from humanpose_cli.lab.metrics.bodies import Bodies, BodyErrors, body_errors
from humanpose_cli.lab.metrics.counts import counted
from humanpose_cli.lab.metrics.joints import SMPL24_JOINTS, JointSet, JointSetName, RootName, joint_set
from humanpose_cli.lab.recipes.people import (
    LABELS,
    People,
    cameras_of_images,
    listed_splits,
    people_in,
    segment_scales,
    spread_out,
    usual_protocol,
    visible_people,
)

_MEASURED = ("h36m", "humaneva")  # sources with measured joints, to which bodies were only fitted
# Source → column with independent values, and the unit of these; other sources are drawn by sequence.
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
        people: The people in their cache.
        body: Body of the predictions.
        body_name: "default" or "smpl:FILE", which names it.
        rigs: Models of the true bodies.
        rig: (N,) index of each person's model, −1 if no body is known.
        bodies: The truth before each image's camera, NaN if unknown.
        focal: (N,) pixels.
        centre: (N, 2) pixels. Principal points.
        joints: Joints that errors are measured on.
        split: "protocol/split" if all of it is evaluated; "" if only some people are.
        left_out: Number of people with known truth that are left out, and why; "" if there are none.
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
        """(N, J, 2) labelled joints in the image, of smpl24 or the first skeleton; NaN if unknown."""
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
        """(N, 4) boxes around the known joints, which may reach beyond the image; otherwise the stored boxes."""
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
        """Measure the predicted bodies of M people.

        Args:
            predicted: The M bodies.
            rows: (M,) rows of the people.
            models: Model of the predictions, or of each of them; None for `self.body`.
            points: (M, P, 3) metres. Predicted joints, NaN for people with a predicted body.
        """
        rigs = (
            [models] * len(rows) if isinstance(models, Body) else [self.body] * len(rows) if models is None else models
        )
        result = BodyErrors._make(np.full(len(rows), np.nan) for _ in BodyErrors._fields)
        labels = self.measured_joints(rows) if self.joints.measured else None
        for number, model in product(np.unique(self.rig[rows]).tolist(), set(rigs)):
            mask_rows = np.flatnonzero((self.rig[rows] == number) & np.array([rig is model for rig in rigs]))
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
        """Return the joints of the dataset.

        Args:
            rows: (M,) rows of the people.

        Returns:
            (M, P, 3) metres, NaN if unknown.
        """
        return self.joints.from_labels(np.asarray(self.people.column(f"joints/{H36M17.name}"))[rows])

    def roots(self) -> Tensor:
        """Return the positions (N, 3) of all pelves in metres, of the bodies or as measured."""
        if not self.joints.measured:
            return self.bodies.root
        joints = np.asarray(self.people.column(f"joints/{H36M17.name}"), np.float32)
        return torch.from_numpy(joints[:, H36M17.index("pelvis"), :3])

    @cached_property
    def clusters(self) -> Clusters:
        """Clusters that intervals are over; see `clusters_of`."""
        return clusters_of(self.people)

    @property
    def truth(self) -> str:
        """Text for reports: what predictions are compared with."""
        if self.joints.measured:
            return "the data set's own joints"
        rigs = ", ".join(sorted({self.rigs[number].name for number in np.unique(self.rig) if number >= 0}))
        options = self.people.cache.header.options_values
        author = options.get("bodies_by") or options.get("poses_by")  # by whom, where the data set has none
        return f"bodies of {rigs}" + (f", made by {author['name']}" if isinstance(author, dict) else "")

    @property
    def facts(self) -> dict[str, Any]:
        """Lines of a report about the people."""
        facts = {"joints": self.joints.text, "truth": self.truth, "people": len(self)}
        return facts | ({LEFT_OUT: self.left_out} if self.left_out else {})

    def require_one_model(self) -> None:
        """Check that all true bodies use the predicted model, so that parameters can be compared.

        Raises:
            InputError: If they do not.
        """
        names = {self.rigs[number].name if number >= 0 else "unknown" for number in np.unique(self.rig)}
        if names != {self.body.name}:
            raise InputError(
                self.people.cache.path,
                "has bodies of another model than the evaluated one",
                expected=self.body.name,
                got=", ".join(sorted(names)),
                remedy="evaluate fits to images, which are compared joint by joint, or choose `body`",
            )


@dataclass(frozen=True)
class PeopleSelection:
    """People to evaluate, and the models and joints to evaluate them by.

    Attributes:
        data: The cache.
        protocol: Protocol of the cache; "" for its usual protocol.
        split: Split of the protocol; "" for the first of `usual_splits` that it has.
        visible: Minimum share of a person's joints that must be visible; pairs of images are not filtered.
        limit: Maximum number of people, or pairs, spread evenly; 0 for all.
        body: Body of the predictions, "default" or "smpl:FILE".
        usual_splits: Splits to look for, the first one first.
        models: Files of the SMPL models of the true bodies, for each gender.
        joints: See `lab.metrics.joints.joint_set`. None for measured joints if the dataset's bodies were only fitted to
            these, otherwise smpl24.
        root: See `lab.metrics.joints.joint_set`.
        regressor: See `lab.metrics.joints.joint_set`.
        smplx_to_smpl: See `lab.metrics.joints.joint_set`.
        straight_hands: Keep the fingers of SMPL-X straight in data whose owners have them in the mean pose.
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
        """Return the chosen or usual protocol and split.

        Raises:
            InputError: If the cache has no such split; the error lists the existing ones.
        """
        cache = open_cache(self.data)
        protocol = self.protocol or usual_protocol(cache)
        return protocol, self.split_among(cache, protocol, cache.splits.get(protocol, ()))

    def full_split(self) -> str:
        """Return "protocol/split" if all of it is evaluated, otherwise ""."""
        return "" if self.visible or self.limit else "/".join(self.protocol_and_split())

    def split_among(self, cache: Cache, protocol: str, splits: Sequence[str]) -> str:
        """Choose the split of a protocol.

        Args:
            cache: The cache.
            protocol: The protocol.
            splits: Its splits.

        Raises:
            InputError: If the chosen split is none of these.
        """
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
        """Whether the cache has measured joints, to which its bodies were only fitted."""
        cache = open_cache(self.data)
        return cache.header.source in _MEASURED and cache.labels.get(f"people/joints/{H36M17.name}", 0) > 0

    @property
    def mean_hands(self) -> bool:
        """Whether fingers of SMPL-X have its mean pose; caches do not store their poses."""
        return open_cache(self.data).header.source == "rich" and not self.straight_hands

    def joint_set(self) -> JointSet:
        """Return the joints that errors are measured on."""
        name = self.joints or ("mocap17" if self.measured else "smpl24")
        bodies = [load_body(self.body), *load_models(self.models).values()] if name == "smpl24-neutral" else []
        neutral = next((body for body in bodies if body.name == "smpl-neutral"), None)
        return joint_set(name, self.root, self.regressor, neutral, self.smplx_to_smpl)

    def labelled(self, *needs: str) -> People:
        """Select people with labels of `people.LABELS`.

        Args:
            *needs: Names of the labels.

        Raises:
            InputError: If the cache lacks a label.
        """
        protocol, split = self.protocol_and_split()
        people = people_in(self.data, needs, protocol, split)
        return spread_out(visible_people(people, self.visible), self.limit)

    def people(self, *needs: str, joints: JointSet = SMPL24_JOINTS) -> EvaluatedPeople:
        """Select people with labels, and with known bodies or measured joints.

        Args:
            *needs: Names of the labels.
            joints: Joints that errors are measured on.

        Raises:
            InputError: If a label or the model of a person's body is missing.
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
            bodies_of_rig = Bodies.from_parameters(
                model, poses[of_rig], shape[of_rig, : model.shape_count], trans[of_rig]
            )
            bodies.rotations[of_rig] = bodies_of_rig.rotations
            bodies.betas[of_rig] = shape[of_rig]
            bodies.root[of_rig] = bodies_of_rig.root
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
        """Count the people with known truth who lack other labels.

        Args:
            truth: Label of the truth.
            needs: Names of the other labels.

        Returns:
            A phrase; "" if nobody lacks any.
        """
        if not needs:
            return ""
        protocol, split = self.protocol_and_split()
        total, labelled = (len(people_in(self.data, names, protocol, split)) for names in ((truth,), (truth, *needs)))
        lack = " or ".join(LABELS[need].text for need in needs)
        return f"{counted(total - labelled, 'people')} without {lack}" if total > labelled else ""

    def _rigs(self, people: People, body: Body, *, required: bool) -> tuple[tuple[Body, ...], NDArray[np.int64]]:
        """Load the models of the people's bodies, and index each person's; −1 if it is missing."""
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
            model = model_for(models, kind, gender) if kind else body  # unnamed bodies count as the evaluated one
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
                f"has bodies of {', '.join(missing)}, but their models are not given",
                got=", ".join(sorted(models)),
                remedy="`model`: the file of each gender's SMPL model",
            )
        return tuple(rigs), rig

    def facts(self, protocol: str = "", split: str = "") -> dict[str, Any]:
        """Describe the selection for a report.

        Args:
            protocol: Protocol, if it does not list people.
            split: Its split.
        """
        header = open_cache(self.data).header
        if not protocol:
            protocol, split = self.protocol_and_split()
        split += f", {self.visible:.0%} of the joints in sight or more" if self.visible else ""
        return {"data": f"{header.source}, digest {header.content_digest[:16]}", "split": f"{protocol}/{split}"}


def _shapes(people: People) -> Tensor:
    """Return the betas (N, 10) of the people, NaN if unknown."""
    columns = people.cache.people
    if "betas" not in columns:
        return torch.zeros(len(people), 10)
    return torch.from_numpy(people.column("betas")).float()


def clusters_of(people: People) -> Clusters:
    """Find the independent units that intervals of people are over.

    These are subjects of a laboratory, people of iPER, garments of DeepFashion in all their colours, or rendered
    people, if all are named. In other data they are sequences, if there are several and all images have one; otherwise
    people, if all are named; otherwise the one sequence, or images.

    Args:
        people: N people.
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
    """Group images by their sequence if all have one, otherwise each by itself.

    Args:
        cache: The cache.
        rows: (N,) rows of the images.
    """
    sequences = cache.sequence_numbers[rows]
    if len(rows) and (sequences >= 0).all():
        return Clusters("sequences", sequences)
    return Clusters("images", np.asarray(rows, np.int64))


@dataclass(frozen=True)
class EvaluationRun:
    """An evaluation on one cache.

    Attributes:
        selection: People to evaluate.
        folder: Folder of its files.
        device: Device of its networks.
        progress: Called with its progress.
        stop: Called often; True ends with InterruptedRun.
        part: (i, N): evaluate part i of N of the pairs.
    """

    selection: PeopleSelection
    folder: Path = Path()
    device: str = "cpu"
    progress: Progress = no_progress
    stop: Callable[[], bool] = lambda: False
    part: tuple[int, int] = (0, 1)
