"""Whom an evaluation looks at, and the truth about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import body_by_name
from humanpose_cli.core.camera import default_focal
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.data.cache import open_cache
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.metrics.bodies import Bodies
from humanpose_cli.models.people import People, people_in, spread_out, usual_protocol, visible_people

__all__ = ["EvaluatedPeople", "held_out_people", "held_out_split"]


@dataclass(frozen=True)
class EvaluatedPeople:
    """N people of one split whose bodies are known.

    body    the body that the labels are of; body_name "default" or "smpl:FILE", which names it
    bodies  the truth before each image's camera; focal (N,), centre (N, 2) pixels
    """

    people: People
    protocol: str
    split: str
    body: Body
    body_name: str
    bodies: Bodies
    focal: Tensor
    centre: Tensor

    def __len__(self) -> int:
        return len(self.people)

    @property
    def joints2d(self) -> NDArray[np.float32]:
        """(N, 24, 2) true joints in the image, labelled ones only in so far as the body tells them."""
        return np.asarray(self.people.column("keypoints/smpl24")[..., :2], np.float32)


def held_out_split(data: Path | str, protocol: str = "", split: str = "") -> tuple[str, str]:
    """The protocol and split to judge by: as wished, else "test", else "validation", of the cache's usual protocol.

    InputError, listing what there is, where the cache has no such split.
    """
    cache = open_cache(data)
    chosen = protocol or usual_protocol(cache)
    splits = cache.splits.get(chosen, ())
    found = split or next((name for name in ("test", "validation") if name in splits), "")
    if found not in splits:
        there = "; ".join(f"{name}: {', '.join(parts)}" for name, parts in cache.splits.items()) or "none"
        raise InputError(
            cache.path,
            f"has no split {found or 'test or validation'} of protocol {chosen or 'any'}",
            got=there,
            remedy="--protocol and --split choose; what a model learned from is no measure of it",
        )
    return chosen, found


def held_out_people(
    data: Path | str,
    needs: tuple[str, ...],
    *,
    protocol: str = "",
    split: str = "",
    body: str = "default",
    seen: float = 0.0,
    limit: int = 0,
) -> EvaluatedPeople:
    """People of a split with the labels of `people.LABELS` that are needed, and with known bodies.

    body   "default" or "smpl:FILE": the body of the cache's labels
    seen   least share of a person's joints that must be visible
    limit  that many of them at most, spread evenly; 0 for all

    InputError where a label is missing or the labels are another body's.
    """
    protocol, split = held_out_split(data, protocol, split)
    people = spread_out(visible_people(people_in(data, ("poses", *needs), protocol, split), seen), limit)
    rig = body_by_name(body)
    kind = rig.name.partition("-")[0]
    named = set(np.unique(people.column("body")).tolist()) - {""} if "body" in people.cache.people else set()
    if named and kind not in named:
        remedy = "--body smpl:FILE" if "smpl" in named else "--body default"
        raise InputError(
            people.cache.path, "has labels of another body", expected=kind, got=", ".join(named), remedy=remedy
        )
    poses, betas, trans = (torch.from_numpy(people.column(name)).float() for name in ("poses", "betas", "trans"))
    rotations = axis_angle_to_matrix(poses.unflatten(1, (len(SMPL24), 3)))
    root = rig.rest_joints(betas)[:, SMPL24.index("pelvis")] + trans
    focal, centre = _cameras(people)
    return EvaluatedPeople(people, protocol, split, rig, body, Bodies(rotations, betas, root), focal, centre)


def _cameras(people: People) -> tuple[Tensor, Tensor]:
    """Focal lengths (N,) and principal points (N, 2), the usual ones where an image's are not known."""
    images, rows = people.cache.images, people.images
    sizes = np.asarray(images["size"][rows], np.float64)
    usual = np.array([default_focal(int(width), int(height)) for width, height in sizes])
    focal, centre = usual, sizes / 2
    if "focal" in images:
        known = np.asarray(images["focal"][rows])
        focal = np.where(np.isfinite(known), known, usual)
    if "principal_point" in images:
        known = np.asarray(images["principal_point"][rows])
        centre = np.where(np.isfinite(known), known, sizes / 2)
    return torch.from_numpy(focal).float(), torch.from_numpy(centre).float()
