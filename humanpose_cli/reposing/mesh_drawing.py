"""The mesh's drawing of a person in the target pose, as the generator of warp3d may be given it (`--mesh-input`)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.augmentation import CameraChange, Example
from humanpose_cli.errors import InputError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.rendering.surfaces import Surface, Texture
from humanpose_cli.rendering.view import View
from humanpose_cli.reposing.compositing import draw_person
from humanpose_cli.reposing.mesh import FittedPerson, MeshReposer, ReposeOptions

__all__ = ["fitted_person", "known_person", "mesh_drawing", "mesh_of", "person_mask", "pose_of"]


def mesh_drawing(
    mesh: MeshReposer, rotations: Tensor, trans: Tensor, change: CameraChange | None = None
) -> NDArray[np.float32]:
    """(5, S, S): colours −1 to 1, how much of the pixel is the person's, how much of that the photograph showed.

    rotations, trans  of the target, as `MeshReposer.render` takes them
    change            from the photo to the crop that is drawn; None draws the photo's own frame
    """
    view = mesh.view
    if change is not None:
        x, y = change.pixels(np.asarray(view.principal_point)).tolist()
        view = View(view.focal * change.scale, (x, y), (change.size[1], change.size[0]))
    with torch.no_grad():
        vertices = mesh.dressed.pose(rotations.to(mesh.rotations), trans.to(mesh.trans))
        body, texture = mesh.body, mesh.texture.image
        drawn = [
            draw_person(
                Surface(vertices, body.faces, texture=Texture(image, body.uv, body.uv_faces), lit=True),
                view,
                None,
                mesh.options.supersampling,
            ).astype(np.float32)
            / np.float32(255)
            for image in (
                texture,
                np.concatenate((np.repeat(texture[..., 3:], 3, 2), np.ones_like(texture[..., :1])), 2),
            )
        ]
    solid = drawn[0][..., 3:]
    colours = np.where(solid > 0, 2 * drawn[0][..., :3] - 1, np.float32(0))
    return np.ascontiguousarray(np.concatenate((colours, solid, drawn[1][..., :1] * (solid > 0)), 2).transpose(2, 0, 1))


def mesh_of(example: Example, body: RiggedBody, options: ReposeOptions | None = None) -> MeshReposer:
    """The person of an example, with true parameters, wrapped in their picture; nothing stands behind them.

    InputError for people without body parameters.
    """
    mask, person = person_mask(example), fitted_person(example)
    return MeshReposer(example.image, mask, person, body, background="transparent", options=options)


def pose_of(example: Example) -> tuple[Tensor, Tensor]:
    """Rotations (24, 3, 3) and translation (3,) of an example's person; InputError as `fitted_person`."""
    person = fitted_person(example)
    rotations = axis_angle_to_matrix(torch.from_numpy(np.array(person.poses, np.float32)).view(len(SMPL24), 3))
    return rotations, torch.from_numpy(np.array(person.trans, np.float32))


def fitted_person(example: Example) -> FittedPerson:
    """The labels of an example as a fit; InputError for people without body parameters."""
    person = known_person(example)
    if person is None:
        raise InputError(
            example.name,
            "has nobody with body parameters",
            remedy="make its cache from a source that gives or fits them",
        )
    return person


def known_person(example: Example) -> FittedPerson | None:
    """The labels of an example as a fit; None for people without body parameters."""
    person = example.person
    if person.poses is None or person.betas is None or person.trans is None:
        return None
    return FittedPerson(person.poses, person.betas, person.trans, example.focal, example.principal_point)


def person_mask(example: Example) -> NDArray[np.float32]:
    """(S, S) 0…1 where the person is; all of it where it is not known."""
    if example.mask is None:
        return np.ones(example.image.shape[:2], np.float32)
    return example.mask.astype(np.float32) / np.float32(255)
