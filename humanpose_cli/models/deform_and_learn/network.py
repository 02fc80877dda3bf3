"""Apply a trained deform-and-learn network to the people in images.

The network's predictions are registered to the detector's landmarks, as the paper refines its results (section 6.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.estimate import BodyEstimate
from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.crop import Crop, crop_around_box
from humanpose_cli.core.device import Precision
from humanpose_cli.core.errors import InputError
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.models.crops import normalised_image
from humanpose_cli.models.deform_and_learn.inputs import FILL, landmarks_in_crop, pose_in_crop
from humanpose_cli.models.deform_and_learn.placing import CropUnits, to_camera
from humanpose_cli.models.deform_and_learn.registration import LARGEST_SCALE, refine_predictions
from humanpose_cli.models.deform_and_learn.regressor import MODEL, BodyRegressor
from humanpose_cli.models.lifter.metric import lifted_people
from humanpose_cli.networks.precision import precision_context, resolve_precision
from humanpose_cli.networks.weights import read_header


class PreparedCrop(NamedTuple):
    """A person's crop and the network's input from it.

    Attributes:
        crop: The crop.
        inputs: (3, S, S) or (33, 6) float32. The input of `BodyRegressor`.
        landmarks: (33, 3) float32. x, y in image units and confidence, 0 for joints that the detector does not have.
        camera: The camera of the image.
    """

    crop: Crop
    inputs: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    camera: Camera


class DeformNetwork:
    """A trained regressor with its body."""

    def __init__(
        self, regressor: BodyRegressor, body: Body, device: torch.device | str = "cpu", precision: Precision = "auto"
    ) -> None:
        self.device = torch.device(device)
        self.regressor = regressor.eval().requires_grad_(False).to(self.device)
        self.body = ScaledBody(body)
        self.precision = resolve_precision(precision, device)

    def takes(self, person: DetectedPerson) -> bool:
        """Check whether a person has the network's inputs: all landmarks, or pixels, which everyone has."""
        return self.regressor.options.inputs == "image" or person.skeleton.name == BLAZEPOSE33.name

    def prepare(self, image: NDArray[np.uint8], people: Sequence[DetectedPerson], camera: Camera) -> list[PreparedCrop]:
        """Prepare the inputs of `finish`, so that people of several images can be processed together.

        Args:
            image: (H, W, 3) uint8. The image.
            people: The people in it.
            camera: The camera of the image.
        """
        if not people:
            return []
        prepared = []
        lifted = lifted_people(people, camera) if self.regressor.options.inputs == "pose" else [None] * len(people)
        for person, world in zip(people, lifted, strict=True):
            crop = crop_around_box(person.box, self.regressor.options.size, fill=FILL)
            landmarks = landmarks_in_crop(_named_landmarks(person), crop)
            if world is None:
                inputs = normalised_image(crop.image(image))
            else:
                inputs = pose_in_crop(person.keypoints, world, crop)
            prepared.append(PreparedCrop(crop, inputs, landmarks, camera))
        return prepared

    def finish(self, people: Sequence[PreparedCrop]) -> list[BodyEstimate]:
        """Estimate the bodies of prepared people in one batch; they are refined and placed in float32."""
        if not people:
            return []
        with torch.no_grad():
            inputs = torch.from_numpy(np.stack([person.inputs for person in people])).to(self.device)
            with precision_context(self.precision, self.device):
                vector = self.regressor(inputs).vector
            pose = ScaledPose.from_vector(vector.float().cpu())
            pose = pose._replace(segment_scales=pose.segment_scales.clamp(1 / LARGEST_SCALE, LARGEST_SCALE))
            landmarks = torch.from_numpy(np.stack([person.landmarks for person in people]))
            pose = refine_predictions(self.body, pose, landmarks)
            camera = Camera.stack(person.camera for person in people).tensors()
            units = _units([person.crop for person in people])
            bodies = to_camera(self.body, pose, units, camera)
            poses = matrix_to_axis_angle(bodies.rotations).flatten(1)
            rig = self.body.body
            shape = torch.zeros(len(people), rig.shape_count)
            trans = rig.translation_of_root(bodies.pelvis, shape)
            joints = rig.pose(bodies.rotations, shape, trans, pose.segment_scales, vertices=False).joints
        columns = (poses, shape, trans, joints, pose.segment_scales)
        rows = zip(people, *(values.numpy() for values in columns), strict=True)
        return [
            BodyEstimate(pose, betas, translation, positions, None, person.crop, scales)
            for person, pose, betas, translation, positions, scales in rows
        ]


def _named_landmarks(person: DetectedPerson) -> NDArray[np.float32]:
    """Return a person's landmarks (33, 3) in pixels; landmarks that their skeleton lacks have confidence 0."""
    if person.skeleton.name == BLAZEPOSE33.name:
        return person.keypoints
    landmarks = np.zeros((len(BLAZEPOSE33), 3), np.float32)
    names = [name for name in person.skeleton.joint_names if name in BLAZEPOSE33]
    landmarks[BLAZEPOSE33.indices(names)] = person.keypoints[person.skeleton.indices(names)]
    return landmarks


def _units(crops: Sequence[Crop]) -> CropUnits:
    """Return the image units of upright crops, whose origin is the middle."""
    unit = torch.tensor([crop.size[0] / 2 / crop.scale for crop in crops])
    middle = [(crop.size[0] / 2 - np.array(crop.shift)) / crop.scale for crop in crops]
    return CropUnits(torch.from_numpy(np.stack(middle)).float(), unit.float())


def load_deform_network(
    path: Path, *, body: Body, device: torch.device | str = "cpu", precision: Precision = "auto"
) -> DeformNetwork:
    """Load a trained network from its weights file.

    Args:
        path: The weights file.
        body: The body that the network was trained with.
        device: The device to run on.
        precision: The precision to compute in.

    Raises:
        InputError: If the file is damaged, contains another model, or was trained with another body.
    """
    trained_with = str(read_header(path, MODEL).config.get("body", ""))
    if trained_with != body.name:
        raise InputError(path, "was trained with another body", expected=trained_with, got=body.name, remedy="`body`")
    return DeformNetwork(BodyRegressor.load(path), body, device, precision)
