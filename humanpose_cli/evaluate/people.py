"""Which people an evaluation uses, and the truth about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import body_by_name
from humanpose_cli.core.camera import default_focal
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.data.cache import Cache, open_cache
from humanpose_cli.data.samples import split_name
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.metrics.bodies import Bodies
from humanpose_cli.models.people import People, listed_splits, people_in, spread_out, usual_protocol, visible_people
from humanpose_cli.networks.weights import digest_of, read_header


@dataclass(frozen=True)
class EvaluatedPeople:
    """N people of one split whose bodies are known.

    body    the body that the labels are of; body_name "default" or "smpl:FILE", which names it
    bodies  the truth before each image's camera; focal (N,), centre (N, 2) pixels
    """

    people: People
    body: Body
    body_name: str
    bodies: Bodies
    focal: Tensor
    centre: Tensor

    def __len__(self) -> int:
        return len(self.people)

    @property
    def joints2d(self) -> NDArray[np.float32]:
        """(N, 24, 2) labelled joints in the image, NaN where not known."""
        return np.asarray(self.people.column("keypoints/smpl24")[..., :2], np.float32)


@dataclass(frozen=True)
class PeopleSelection:
    """Which people are evaluated.

    data      cache
    protocol, split  of it; "" for the cache's usual protocol, and the first of `usual_splits` that it has
    visible   least share of a person's joints that must be visible; pairs of images are taken as they are
    limit     people, or pairs, at most, spread evenly; 0 for all
    body      of the labels: "default" or "smpl:FILE"
    """

    data: Path
    protocol: str = ""
    split: str = ""
    visible: float = 0.0
    limit: int = 0
    body: str = "default"
    usual_splits: tuple[str, ...] = ("test", "validation")

    def protocol_and_split(self) -> tuple[str, str]:
        """As chosen or usual; InputError, listing what there is, where the cache has no such split."""
        cache = open_cache(self.data)
        protocol = self.protocol or usual_protocol(cache)
        return protocol, self.split_among(cache, protocol, cache.splits.get(protocol, ()))

    def split_among(self, cache: Cache, protocol: str, splits: Sequence[str]) -> str:
        """The split of a protocol that is chosen or usual; InputError where it is none of these."""
        split = split_name(self.split) or next((name for name in self.usual_splits if name in splits), "")
        if split not in splits:
            raise InputError(
                cache.path,
                f"has no split {split or 'test or validation'} of protocol {protocol or 'any'}",
                got=listed_splits(cache),
                remedy="`protocol` and `split` choose; what a model learned from is no measure of it",
            )
        return split

    def labelled(self, *needs: str) -> People:
        """People with the labels of `people.LABELS` that are needed; InputError where the cache lacks one."""
        people = people_in(self.data, needs, *self.protocol_and_split())
        return spread_out(visible_people(people, self.visible), self.limit)

    def people(self, *needs: str) -> EvaluatedPeople:
        """People with the labels that are needed and with known bodies.

        InputError where a label is missing or the labels are another body's.
        """
        people, body = self.labelled("poses", *needs), body_by_name(self.body)
        kind = body.name.partition("-")[0]
        named = set(np.unique(people.column("body")).tolist()) - {""} if "body" in people.cache.people else set()
        if named and kind not in named:
            raise InputError(
                people.cache.path,
                "has labels of another body",
                expected=kind,
                got=", ".join(named),
                remedy="`body=smpl:FILE`" if "smpl" in named else "`body=default`",
            )
        poses, betas, trans = (torch.from_numpy(people.column(name)).float() for name in ("poses", "betas", "trans"))
        rotations = axis_angle_to_matrix(poses.unflatten(1, (len(SMPL24), 3)))
        root = body.rest_joints(betas)[:, SMPL24.index("pelvis")] + trans
        return EvaluatedPeople(
            people, body, self.body, Bodies(rotations, betas, root), *cameras_of(people.cache, people.images)
        )

    def facts(self, protocol: str = "", split: str = "") -> dict[str, Any]:
        """What a report says about them; protocol and split where they are no ones of people."""
        header = open_cache(self.data).header
        if not protocol:
            protocol, split = self.protocol_and_split()
        split += f", {self.visible:.0%} of the joints in sight or more" if self.visible else ""
        return {"data": f"{header.source}, digest {header.content_digest[:16]}", "split": f"{protocol}/{split}"}


def cameras_of(cache: Cache, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Focal lengths (N,) and principal points (N, 2) of N images, the usual ones where theirs are not known."""
    images = cache.images
    sizes = np.asarray(images["size"][rows], np.float64)
    focal, centre = np.array([default_focal(int(width), int(height)) for width, height in sizes]), sizes / 2
    if "focal" in images:
        known = np.asarray(images["focal"][rows])
        focal = np.where(np.isfinite(known), known, focal)
    if "principal_point" in images:
        known = np.asarray(images["principal_point"][rows])
        centre = np.where(np.isfinite(known), known, centre)
    return torch.from_numpy(focal).float(), torch.from_numpy(centre).float()


def weights_facts(path: Path) -> dict[str, Any]:
    """The line of a report about weights: model, steps, digest."""
    header = read_header(path)
    steps = header.training.get("steps", "?")
    return {"weights": f"{header.model}, {steps} steps, SHA-256 {digest_of(path)[:16]}"}
