"""The surfaces of people as skinned meshes: bodies with their clothes, and garments beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.avatar.ground import sole_height
from humanpose_cli.avatar.look import BARE, Look
from humanpose_cli.body.body import Body
from humanpose_cli.body.fingers import ROOTS
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.exporting.looks import is_photograph
from humanpose_cli.exporting.motion import TO_Y_UP, CameraPath, PersonMotion, person_motion
from humanpose_cli.fitting.grounding import on_the_ground, on_their_soles
from humanpose_cli.fitting.overlays import posed_people
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.images import encode_image
from humanpose_cli.rendering.surfaces import vertex_normals

Array = NDArray[Any]
ROUGHNESS = 0.9  # of skin and cloth, in all formats with materials


@dataclass(frozen=True, eq=False)
class SkinnedMesh:
    """A surface that moves with the bones of one person.

    Attributes:
        name: Name of the person, such as `person0`, or of a garment of theirs, such as `person0_skirt`.
        track: Track number.
        vertices: (V, 3) float, metres. Vertices, at rest in body axes or posed in the world.
        faces: (F, 3) int. Vertices of the faces.
        uv: (T, 2) float, 0 to 1. Texture coordinates, v down.
        uv_faces: (F, 3) int. Rows of `uv` of the faces.
        bones: (V, K) int. Joints of the person's skeleton that move each vertex.
        weights: (V, K) float. Weights of the bones; rows sum to 1.
        image: (h, w, 3 or 4) uint8. Texture, or None for the person's colour.
        part: "body", or a garment, which has two sides.
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
    part: str = "body"

    @cached_property
    def normals(self) -> Array:
        """(V, 3) float. Outward unit normals, weighted by the faces' areas; +y if a vertex has no face."""
        faces = torch.from_numpy(self.faces)
        normals = vertex_normals(torch.from_numpy(self.vertices), faces).numpy()
        return np.where(normals.any(1, keepdims=True), normals, (0.0, 1.0, 0.0))

    @property
    def png(self) -> bytes:
        """The texture as an opaque PNG; the mesh must have one."""
        return encode_image(np.ascontiguousarray(np.asarray(self.image)[..., :3]), ".png")

    @property
    def strongest_bones(self) -> tuple[Array, Array]:
        """(V, 4) int and float. The four strongest bones, as all readers of glTF accept, and weights with sum 1."""
        weights = self.weights.astype(np.float64)
        order = np.argsort(-weights, axis=1, kind="stable")[:, :4]
        weights = np.take_along_axis(weights, order, 1)
        strongest = np.where(weights > 0, np.take_along_axis(self.bones, order, 1), 0)
        padding = ((0, 0), (0, 4 - strongest.shape[1]))
        return np.pad(strongest, padding), np.pad(weights / weights.sum(1, keepdims=True), padding)

    def posed(self, linear: Array, rest: Array, joints: Array) -> Array:
        """Move the resting vertices (V, 3) by the bones' linear maps (J, 3, 3) from joints (J, 3) at rest to others."""
        moved = np.einsum("vkij,vkj->vki", linear[self.bones], self.vertices[:, None] - rest[self.bones])
        return np.einsum("vk,vki->vi", self.weights, joints[self.bones] + moved)


class AnimatedScene(NamedTuple):
    """What a file of all people holds.

    Attributes:
        people: The motions.
        meshes: Resting meshes by track, the body first; people without a mesh are skeletons.
        cameras: The cameras by name.
        seconds: (F,) float, seconds. Times of the frames, rising from 0.
        frame_rate: Frames per second, above 0.
        first: Number of the first frame, where programs that count frames begin.
    """

    people: Sequence[PersonMotion]
    meshes: Mapping[int, Sequence[SkinnedMesh]]
    cameras: Mapping[str, CameraPath]
    seconds: Array
    frame_rate: float
    first: int = 0


def person_meshes(body: Body, person: PersonMotion, look: Look | None = None) -> list[SkinnedMesh]:
    """Return the resting meshes of a person: the body and the garments."""
    look = look or BARE
    vertices = person.vertices if look.offsets is None else person.vertices + look.offsets
    bones, weights = body.bone_indices, body.bone_weights
    if body.fingers is not None and len(person.skeleton) > len(SMPL24):
        bones, weights = body.fingers.skin(bones, weights)
    mesh = SkinnedMesh(
        name=person.name,
        track=person.track,
        vertices=vertices,
        faces=body.faces[look.shown].numpy(),
        uv=body.uv.numpy(),
        uv_faces=body.uv_faces[look.shown].numpy(),
        bones=bones.numpy(),
        weights=weights.numpy(),
        image=None if look is BARE else look.texture,
    )
    garments = [{**vars(each), "name": f"{person.name}_{each.name}", "part": each.name} for each in look.garments]
    return [mesh, *(SkinnedMesh(track=person.track, **values) for values in garments)]


def people_in_world(
    fit: Fit, body: Body, looks: Mapping[int, Look], *, grounded: bool
) -> tuple[Fit, list[PersonMotion], dict[int, list[SkinnedMesh]]]:
    """Compute the motion and the resting meshes of all people in a world.

    Args:
        fit: The fit.
        body: Its body model.
        looks: Looks by track.
        grounded: Whether to use a world that stands on the ground (`fitting.grounding.on_the_ground`) instead of the
            fit's own. In a photograph, soles or shoes of standing people are moved onto the ground, because fits are
            off by centimetres.

    Returns:
        The fit in that world, the motions, and the meshes by track.
    """
    fit = on_the_ground(fit, body) if grounded else fit
    people = [person_motion(fit, track, body) for track in fit.tracks]
    meshes = {person.track: person_meshes(body, person, looks.get(person.track)) for person in people}
    if grounded and is_photograph(fit):
        surfaces = [mesh for mesh in frame_meshes(fit, 0, body, people, meshes) if mesh.part == "body"]
        soles = {mesh.track: sole_height(torch.from_numpy(mesh.vertices @ TO_Y_UP), body) for mesh in surfaces}
        fit = on_their_soles(fit, soles)
        people = [person_motion(fit, track, body) for track in fit.tracks]
    return fit, people, meshes


def frame_meshes(
    fit: Fit, frame: int, body: Body, people: Sequence[PersonMotion], meshes: Mapping[int, Sequence[SkinnedMesh]]
) -> list[SkinnedMesh]:
    """Pose the meshes of all people in a frame, metres in the world, y up.

    Args:
        fit: The fit.
        frame: Index of the frame.
        body: The body model.
        people: The motions of the fit's tracks.
        meshes: The resting meshes by track, the body first.

    Returns:
        The posed meshes.
    """
    rows = fit.rows_for(frame)
    if not len(rows):
        return []
    posed = posed_people(body, fit, rows)
    camera, turns = fit.world_to_camera[frame].astype(np.float64), posed.linear.double().numpy()
    points = (posed.surface, posed.joints)
    vertices, joints = ((each.double().numpy() - camera[:3, 3]) @ camera[:3, :3] @ TO_Y_UP.T for each in points)
    # Matrices (P, 54, 3, 3) of bones. Fingers turn as the hand does: clothes have no offsets there.
    bones = TO_Y_UP @ camera[:3, :3].T @ np.concatenate((turns, turns[:, ROOTS]), 1)
    rest = {person.track: person for person in people}
    result: list[SkinnedMesh] = []
    for row, track in enumerate(fit.track_id[rows].tolist()):
        (clothed, *garments), surface = meshes[track], vertices[row]
        offsets = clothed.vertices - rest[track].vertices
        if offsets.any():
            surface = surface + np.einsum("vk,vkij,vj->vi", clothed.weights, bones[row][clothed.bones], offsets)
        result.append(replace(clothed, vertices=surface))
        result += [replace(each, vertices=each.posed(bones[row], rest[track].joints, joints[row])) for each in garments]
    return result
