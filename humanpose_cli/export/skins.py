"""The surfaces of people as skinned meshes: bodies with their clothes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.avatar.ground import sole_height
from humanpose_cli.avatar.look import Look
from humanpose_cli.body.body import Body
from humanpose_cli.export.looks import is_photograph
from humanpose_cli.export.motion import TO_Y_UP, PersonMotion, person_motion
from humanpose_cli.fitting.grounding import on_the_ground, on_their_soles
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.rendering.surfaces import vertex_normals

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class SkinnedMesh:
    """A surface that moves with the bones of one person.

    Attributes:
        name: The person's name, such as `person0`.
        track: The person's number.
        vertices: (V, 3) metres, at rest in body axes, or posed in the world.
        faces: (F, 3); uv (T, 2) in 0…1, v down; uv_faces (F, 3) rows of `uv`.
        bones: (V, K) rows of smpl24; weights (V, K), whose rows sum to 1.
        image: (h, w, 3 or 4) uint8, or None for the person's colour.
    """

    name: str
    track: int
    vertices: Array
    faces: Array
    uv: Array
    uv_faces: Array
    bones: Array
    weights: Array
    image: NDArray[np.uint8] | None = None

    @cached_property
    def normals(self) -> Array:
        """(V, 3) unit vectors outwards, weighted by the faces' areas; +y if a vertex has no face."""
        faces = torch.from_numpy(self.faces)
        normals = vertex_normals(torch.from_numpy(self.vertices), faces).numpy()
        return np.where(normals.any(1, keepdims=True), normals, (0.0, 1.0, 0.0))

    @property
    def strongest_bones(self) -> tuple[Array, Array]:
        """(V, 4) rows of smpl24 and weights whose sum is 1: as many as every program that reads glTF takes."""
        weights = self.weights.astype(np.float64)
        order = np.argsort(-weights, axis=1, kind="stable")[:, :4]
        weights = np.take_along_axis(weights, order, 1)
        strongest = np.where(weights > 0, np.take_along_axis(self.bones, order, 1), 0)
        padding = ((0, 0), (0, 4 - strongest.shape[1]))
        return np.pad(strongest, padding), np.pad(weights / weights.sum(1, keepdims=True), padding)

    def turned(self, offsets: Array, linear: Array) -> Array:
        """Turn offsets (V, 3) of the resting mesh by what bones do to vectors, (24, 3, 3)."""
        return np.einsum("vk,vkij,vj->vi", self.weights, linear[self.bones], offsets)


def person_mesh(body: Body, person: PersonMotion, look: Look | None = None) -> SkinnedMesh:
    """Return the resting mesh of a person."""
    vertices = person.vertices
    if look is not None and look.offsets is not None:
        vertices = vertices + look.offsets
    return SkinnedMesh(
        name=person.name,
        track=person.track,
        vertices=vertices,
        faces=body.faces.numpy().astype(np.int64),
        uv=body.uv.numpy(),
        uv_faces=body.uv_faces.numpy().astype(np.int64),
        bones=body.bone_indices.numpy(),
        weights=body.bone_weights.numpy(),
        image=None if look is None else look.texture,
    )


def people_in_world(
    fit: Fit, body: Body, looks: Mapping[int, Look], *, grounded: bool
) -> tuple[Fit, list[PersonMotion], dict[int, SkinnedMesh]]:
    """Compute the motion of all people, and their meshes at rest by tracks, in the fit's own world or one that stands
    on its ground (`fitting.grounding.on_the_ground`); also return the fit in that world.

    Args:
        grounded: Also puts the soles, or shoes, of those who stand in a photograph onto the ground: fits are off by
            centimetres, each by its own.
    """
    fit = on_the_ground(fit, body) if grounded else fit
    people = [person_motion(fit, track, body) for track in fit.tracks]
    meshes = {person.track: person_mesh(body, person, looks.get(person.track)) for person in people}
    if grounded and is_photograph(fit):
        surfaces = frame_meshes(fit, 0, body, people, meshes)
        soles = {mesh.track: sole_height(torch.from_numpy(mesh.vertices @ TO_Y_UP), body) for mesh in surfaces}
        fit = on_their_soles(fit, soles)
        people = [person_motion(fit, track, body) for track in fit.tracks]
    return fit, people, meshes


def frame_surfaces(fit: Fit, frame: int, body: Body) -> dict[int, Array]:
    """Compute the bodies (V, 3), without clothes, of every track in a frame, metres in the world, y up."""
    rows = fit.rows_for(frame)
    if not len(rows):
        return {}
    turn = fit.world_to_camera[frame].astype(np.float64)
    points = body_vertices(body, fit, rows).double().numpy() - turn[:3, 3]
    world = points @ turn[:3, :3] @ TO_Y_UP.T
    return dict(zip(fit.track_id[rows].tolist(), world, strict=True))


def frame_meshes(
    fit: Fit, frame: int, body: Body, people: Sequence[PersonMotion], meshes: Mapping[int, SkinnedMesh]
) -> list[SkinnedMesh]:
    """Pose the meshes of all people in a frame, metres in the world, y up.

    Args:
        people, meshes: Of the fit's tracks, at rest.
    """
    result: list[SkinnedMesh] = []
    rest = {person.track: person.vertices for person in people}
    for track, surface in frame_surfaces(fit, frame, body).items():
        offsets = meshes[track].vertices - rest[track]
        if offsets.any():
            row = int(fit.rows_for(frame)[fit.track_id[fit.rows_for(frame)] == track][0])
            surface = surface + meshes[track].turned(offsets, _bones_to_world(fit, row, body))
        result.append(replace(meshes[track], vertices=surface))
    return result


def _bones_to_world(fit: Fit, row: int, body: Body) -> Array:
    """Return the matrices (24, 3, 3) by which the bones of a row turn and scale vectors at rest into the world."""
    with torch.no_grad():
        posed_body = body.pose(
            axis_angle_to_matrix(torch.from_numpy(fit.poses[[row]]).unflatten(1, (-1, 3))),
            torch.from_numpy(fit.betas[[row]]),
            segment_scales=torch.from_numpy(fit.segment_scales[[row]]),
            vertices=False,
        )
    camera = fit.world_to_camera[fit.frame_index[row]].astype(np.float64)
    return TO_Y_UP @ camera[:3, :3].T @ posed_body.linear[0].double().numpy()
