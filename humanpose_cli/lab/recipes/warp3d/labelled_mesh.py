"""Reposing by mesh in trainings and evaluations, with labels instead of a fit."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.avatar.mesh import MeshReposer
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.person import TargetPose
from humanpose_cli.avatar.stages import FittedPerson, PhotographedPerson
from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.augmentation import Example


def mesh_of(example: Example, body: Body, options: MeshOptions | None = None) -> MeshReposer:
    """Make the reposer of an example's person, with true parameters and a transparent background.

    Args:
        example: The example. The padding of a crop counts as hidden.
        body: The body of its parameters.
        options: Options of the reposer.

    Raises:
        InputError: If the person has no body parameters.
    """
    padding = [] if example.inside is None else [(example.inside == 0).astype(np.float32)]
    person = PhotographedPerson.of(example.image, person_mask(example), fitted_person(example), padding)
    return MeshReposer.of(person, body, background="transparent", options=options)


def pose_of(example: Example) -> TargetPose:
    """Return the pose of an example's person, who must have body parameters."""
    person = fitted_person(example)
    rotations = axis_angle_to_matrix(torch.from_numpy(np.array(person.poses, np.float32)).view(len(SMPL24), 3))
    return TargetPose(rotations, torch.from_numpy(np.array(person.trans, np.float32)))


def fitted_person(example: Example) -> FittedPerson:
    """Return the labels of an example as a fit.

    Raises:
        InputError: If the person has no body parameters.
    """
    person = example.person
    if person.poses is None or person.betas is None or person.trans is None:
        remedy = "make its cache from a source that gives or fits them"
        raise InputError(example.name, "has no person with body parameters", remedy=remedy)
    camera = Camera(example.focal, example.principal_point)
    return FittedPerson(person.poses, person.betas, person.trans, camera, person.segment_scales)


def person_mask(example: Example) -> NDArray[np.float32]:
    """Return the person's mask (S, S), 0 … 1; all 1 if it is unknown."""
    if example.mask is None:
        return np.ones(example.image.shape[:2], np.float32)
    return example.mask.astype(np.float32) / np.float32(255)
