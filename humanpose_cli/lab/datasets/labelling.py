"""Sources that add labels to another source: our detector's output, and labels drawn from posed bodies.

`DetectedLabels` adds landmarks, world landmarks and masks. Models that work on the detector's output learn from it: the
truth of rendered people is known, and the detector errs on them as on photographs. `RenderedLabels` draws label maps,
keypoints and boxes from body parameters, as Neural Body Fitting makes its part labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import model_for
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import REPOSING19, SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.detect.detector import people_in_boxes
from humanpose_cli.detect.models import ModelPool, PoseModels
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.encoding import decode_image, encode_png
from humanpose_cli.lab.cache.label_maps import (
    RENDERED_MAPS,
    LabelledMesh,
    labels_of,
    render_label_maps,
    visible_joint_shares,
)
from humanpose_cli.lab.cache.samples import LabellingSource, Person, Sample, Source
from humanpose_cli.lab.datasets.common import box_around, project_points

_VIEWS = 2  # of each person beside the first, averaged with it; each costs about 8 ms
_PRESENT = 0.3  # least score of a detection that is added


class DetectedLabels(LabellingSource):
    """A source whose people also have the detections in their boxes.

    Args:
        source: Any source.
        device: Device of the networks: auto, cpu or cuda:N.
    """

    def __init__(self, source: Source, device: str = "auto") -> None:
        super().__init__(source)
        self.device = device

    def __reduce__(self) -> tuple[type, tuple[Source, str]]:
        return type(self), (self.source, self.device)

    label_options = {"detector_views": _VIEWS}  # noqa: RUF012

    def label(self, sample: Sample) -> Sample:
        """Add detections to the people.

        Crowds, people without a box in the image, and people that the detector misses stay unchanged.

        Args:
            sample: The sample.
        """
        indices = [
            number
            for number, person in enumerate(sample.people)
            if _has_area(person.box, sample.size) and not person.crowd
        ]
        if not indices:
            return sample
        boxes = np.stack([np.asarray(sample.people[number].box, np.float64) for number in indices])
        image = decode_image(sample.image)
        if image is None:
            raise InputError(sample.name, "its image cannot be decoded", expected="JPEG or PNG")
        detections = people_in_boxes(self._pool, image, boxes, _VIEWS)
        people = list(sample.people)
        for number, detection in zip(indices, detections, strict=True):
            if detection.score >= _PRESENT:
                people[number] = _with_detection(people[number], detection, sample.size)
        return replace(sample, people=people)

    @cached_property
    def _pool(self) -> ModelPool:
        return ModelPool(1, partial(PoseModels, self.device))


def _has_area(box: NDArray[Any] | None, size: tuple[int, int]) -> bool:
    """Return whether a box covers at least two pixels of an image in both directions."""
    if box is None or not np.isfinite(box).all():
        return False
    return bool((np.minimum(box[2:], size) - np.maximum(box[:2], 0) >= 2).all())


def _with_detection(person: Person, detection: DetectedPerson, size: tuple[int, int]) -> Person:
    world = None
    if detection.world is not None:
        world = np.concatenate((detection.world, detection.keypoints[:, 2:]), 1).astype(np.float32)
    mask = None
    if detection.mask is not None:
        mask = encode_png(np.rint(255 * detection.mask.in_image(size[1], size[0])).astype(np.uint8))
    return replace(person, detected=detection.keypoints.astype(np.float32), detected_world=world, detected_mask=mask)


@dataclass(frozen=True, eq=False)
class _PosedBody:
    """A person's mesh (V, 3), and joints of smpl24 and reposing19, in metres in camera axes."""

    vertices: torch.Tensor
    joints: NDArray[Any]
    reposing: NDArray[Any]
    model: Body


class RenderedLabels(LabellingSource):
    """A source whose images also have labels that are drawn from their people's bodies.

    An image gets label maps if the models of all its labelled people are given; others would be missing in the maps.
    Labels and maps of the source take precedence, except for boxes: the box of the mesh also covers what lies beyond
    the joints.

    Args:
        source: Any source.
        bodies: "default", "smpl-male", "smpl-neutral" … → model; chosen by a person's body and gender (`model_for`).
    """

    def __init__(self, source: Source, bodies: Mapping[str, Body]) -> None:
        super().__init__(source)
        self.bodies = dict(bodies)
        self.label_options = {"rendered": list(RENDERED_MAPS), "bodies": sorted(self.bodies)}

    def label(self, sample: Sample) -> Sample:
        """Render the sample's labels; unchanged if the camera or the bodies are unknown."""
        if sample.focal is None or not sample.people:
            return sample
        x, y = sample.principal_point or (sample.size[0] / 2, sample.size[1] / 2)
        view = Camera(float(sample.focal), (float(x), float(y)), sample.size)
        bodies = [self._pose(person) for person in sample.people]
        model_bodies = [body for body in bodies if body is not None]
        if not model_bodies:
            return sample
        arrays: dict[str, NDArray[Any]] = {}
        if len(model_bodies) == len(bodies):
            meshes = [LabelledMesh(body.vertices, body.model.faces, labels_of(body.model)) for body in model_bodies]
            arrays = render_label_maps(meshes, view, RENDERED_MAPS)
        people = [
            person if body is None else _with_joints(person, body, number, view, arrays)
            for number, (person, body) in enumerate(zip(sample.people, bodies, strict=True))
        ]
        maps = {name: encode_png(values) for name, values in arrays.items()}
        return replace(sample, people=people, maps={**maps, **sample.maps})

    def _pose(self, person: Person) -> _PosedBody | None:
        model = model_for(self.bodies, person.body, person.gender)
        components = None if model is None else person.shape(model.shape_count)
        if model is None or components is None or person.poses is None or person.trans is None:
            return None
        pose, betas, trans = (_tensor(values) for values in (person.poses, components, person.trans))
        if not all(torch.isfinite(values).all() for values in (pose, betas, trans)):
            return None
        scales = None if person.segment_scales is None else _tensor(person.segment_scales)[None]
        with torch.no_grad():
            rotations = axis_angle_to_matrix(pose.unflatten(0, (24, 3)))[None]
            shape = betas[None]
            body = model.pose(rotations, shape, trans[None], scales)
            reposing = model.pose_landmarks(REPOSING19.name, body, shape)
        return _PosedBody(body.surface[0], body.joints[0].double().numpy(), reposing[0].double().numpy(), model)


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)


def _with_joints(
    person: Person, body: _PosedBody, number: int, view: Camera, maps: Mapping[str, NDArray[Any]]
) -> Person:
    """Add joints, keypoints with visibility, and the mesh's box."""
    pixels = project_points(body.joints, view.focal, view.principal_point)
    in_front = np.asarray(np.isfinite(pixels).all(axis=1))
    visible = np.asarray(visible_joint_shares(body.joints, number, view, maps) if maps else in_front, np.float64)
    outline = project_points(body.vertices.double().numpy(), view.focal, view.principal_point)
    box = box_around(outline, view.size, margin=0)
    keypoints = np.concatenate((np.where(in_front[:, None], pixels, 0), visible[:, None]), 1)
    joints, reposing = (np.pad(points, ((0, 0), (0, 1)), constant_values=1) for points in (body.joints, body.reposing))
    return replace(
        person,
        box=box if in_front.any() else person.box,
        keypoints={SMPL24.name: keypoints, **person.keypoints},
        joints={SMPL24.name: joints, REPOSING19.name: reposing, **person.joints},
    )
