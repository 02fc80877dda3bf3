"""Label maps, keypoints and boxes drawn from body parameters, as nbf makes its part labels: a source around a source.

Wherever all labelled people of a picture have a body whose model is at hand, the picture gets the maps of their meshes
(who, which part, how far …). People without one would be missing in the maps, so such pictures get none. What a source
tells itself is kept; only boxes are taken from the mesh, which reaches further than joints do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.label_maps import (
    RENDERED_MAPS,
    LabelledMesh,
    encode_map,
    labels_of,
    render_label_maps,
)
from humanpose_cli.data.samples import Person, Sample, Source
from humanpose_cli.data.sources.labels import project_points
from humanpose_cli.data.visibility import joint_visibility
from humanpose_cli.data.wrapping import LabellingSource
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.rendering.view import View

__all__ = ["RenderedLabels"]

# What tells which joints are seen.
_NEEDED = ("persons", "parts", "depth")


@dataclass(frozen=True, eq=False)
class _Posed:
    """A person's mesh (V, 3) and joints (24, 3), metres, camera axes."""

    vertices: torch.Tensor
    joints: NDArray[Any]
    model: RiggedBody


class RenderedLabels(LabellingSource):
    """A source whose pictures also have what their bodies tell.

    source  any source
    bodies  "default", "smpl-male", "smpl-neutral" … → the model. A person's body and gender name it; a model under
            the body's name alone is the neutral one. Another gender's model is never taken: the same betas mean
            another shape there
    maps    which of `RENDERED_MAPS`; those that a sample has already stay as they are
    """

    def __init__(self, source: Source, bodies: Mapping[str, RiggedBody], maps: Sequence[str] = RENDERED_MAPS) -> None:
        super().__init__(source)
        self.bodies, self.maps = dict(bodies), tuple(maps)

    @property
    def added(self) -> Mapping[str, Any]:
        """What is drawn from which bodies."""
        return {"rendered": list(self.maps), "bodies": sorted(self.bodies)}

    def labelled(self, sample: Sample) -> Sample:
        """One sample with its labels; unchanged where the camera, or everybody's body, is not known."""
        if sample.focal is None or not sample.people:
            return sample
        width, height = sample.size
        centre = sample.principal_point or (width / 2, height / 2)
        view = View(float(sample.focal), (float(centre[0]), float(centre[1])), (height, width))
        posed = [self._posed(person) for person in sample.people]
        known = [body for body in posed if body is not None]
        if not known:
            return sample
        drawn: dict[str, NDArray[Any]] = {}
        if len(known) == len(posed):
            meshes = [LabelledMesh(body.vertices, body.model.faces, labels_of(body.model)) for body in known]
            drawn = render_label_maps(meshes, view, sorted({*self.maps, *_NEEDED}, key=RENDERED_MAPS.index))
        people = [
            person if body is None else _with_joints(person, body, place, view, drawn)
            for place, (person, body) in enumerate(zip(sample.people, posed, strict=True))
        ]
        maps = {name: encode_map(name, drawn[name]) for name in self.maps if name in drawn}
        return replace(sample, people=people, maps={**maps, **sample.maps})

    def _posed(self, person: Person) -> _Posed | None:
        model = self._model(person)
        if model is None or person.poses is None or person.betas is None or person.trans is None:
            return None
        pose, betas, trans = (_tensor(values) for values in (person.poses, person.betas, person.trans))
        if not all(torch.isfinite(values).all() for values in (pose, betas, trans)):
            return None
        scales = None if person.segment_scales is None else _tensor(person.segment_scales)[None]
        with torch.no_grad():
            rotations = axis_angle_to_matrix(pose.unflatten(0, (24, 3)))[None]
            body = model.pose(rotations, betas[None, : model.shape_count], trans[None], scales)
        assert body.vertices is not None
        return _Posed(body.vertices[0], body.joints[0].double().numpy(), model)

    def _model(self, person: Person) -> RiggedBody | None:
        names = [f"{person.body}-{person.gender}"]
        if person.gender in ("", "neutral"):
            names.append(person.body)
        return next((self.bodies[name] for name in names if person.body and name in self.bodies), None)


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)


def _with_joints(person: Person, body: _Posed, place: int, view: View, maps: Mapping[str, NDArray[Any]]) -> Person:
    """The person with the body's joints, their pixels and visibility, and the box of the mesh in the picture."""
    pixels = project_points(body.joints, view.focal, view.principal_point)
    ahead = np.asarray(np.isfinite(pixels).all(axis=1))
    seen = ahead.astype(np.float64)
    if maps:
        seen = joint_visibility(body.joints, place, view, maps).astype(float)
    keypoints = np.concatenate((np.where(ahead[:, None], pixels, 0), seen[:, None]), 1)
    joints = np.concatenate((body.joints, np.ones((len(SMPL24), 1))), 1)
    return replace(
        person,
        box=_box(body.vertices.double().numpy(), view) if ahead.any() else person.box,
        keypoints={SMPL24.name: keypoints, **person.keypoints},
        joints={SMPL24.name: joints, **person.joints},
    )


def _box(vertices: NDArray[Any], view: View) -> NDArray[Any] | None:
    """The box (4,) of a mesh in the picture, cut at its borders; None outside."""
    pixels = project_points(vertices, view.focal, view.principal_point)
    pixels = pixels[np.isfinite(pixels).all(1)]
    if not len(pixels):
        return None
    box = np.clip(np.concatenate((pixels.min(0), pixels.max(0))), 0, np.tile(np.array(view.size[::-1], float), 2))
    return box if box[2] > box[0] and box[3] > box[1] else None
