"""Training examples of the body network: encoded people before the fixed camera, with their labels.

`BodyExamples` makes them from the people of a cache. `UnrenderedPeople` adds posed bodies without an image: with the
landmarks, world landmarks and silhouette of a detector with imitated errors. Posing a body takes 10 ms, rendering and
detecting a person 100 ms; more poses help a network that would overfit the poses of its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.camera import NBF_CAMERA, Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.core.options import Options, option
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, rotation_between
from humanpose_cli.lab.cache.augmentation import Example, crop_example
from humanpose_cli.lab.cache.fixed_camera import to_fixed_camera
from humanpose_cli.lab.cache.samples import Person
from humanpose_cli.lab.recipes.crop_examples import evidence_of_example, imitate_errors
from humanpose_cli.lab.recipes.nbf.losses import LossOptions, keeps_3d
from humanpose_cli.lab.recipes.people import People, lifted_detections
from humanpose_cli.lab.synthetic.poses import PoseBank
from humanpose_cli.models.crops import CropEvidence, frame_box, frame_landmarks, root_pixel
from humanpose_cli.models.lifter.metric import lifted_world
from humanpose_cli.models.nbf.body import part_frames, poses_to_rotations, zero_pose_joints
from humanpose_cli.models.nbf.inputs import InputOptions, encode, encode_numbers
from humanpose_cli.models.segmenter.inputs import labels_of_parts
from humanpose_cli.models.segmenter.network import SegmenterOptions, segmenter_input
from humanpose_cli.rendering.shading import rasterise_view

POOL = 4096
"""Default number of poses of `UnrenderedPeople`."""

_SIZE = 128  # pixels, sides of the image that is not rendered
_DISTANCE = (2.2, 9.0)  # metres from the camera, min and max
_TILT = np.deg2rad((-12.0, 25.0))  # of the camera, up and down
_ROLL = np.deg2rad(6.0)  # of the camera, standard deviation
_DEPTH_RATIO = (0.7, 1.05)  # depth of the world landmarks relative to the true depth, min and max
_HIPS = BLAZEPOSE33.indices(("left_hip", "right_hip"))
_FADE = 0.03  # of the image's side, distance outside over which confidence falls by a factor of e


class UnrenderedPeople:
    """Makes examples from a pool of poses of the training split; shape, position, camera and errors are random.

    Args:
        seed: Seed of the poses.
        count: Poses in the pool.
    """

    def __init__(self, seed: int = 0, count: int = POOL) -> None:
        self.seed, self.count = seed, count

    @cached_property
    def poses(self) -> Tensor:
        """(count, 24, 3, 3) float32. Parent-relative rotations, y up, facing +z; made at the first use in seconds."""
        bank = PoseBank(self.seed, "train")
        return torch.stack([bank.pose(number).rotations for number in range(self.count)])

    @cached_property
    def _body(self) -> Body:
        return default_body()

    @cached_property
    def _face_parts(self) -> NDArray[np.int64]:
        """(F,) 1 + the part of each face's first vertex, as in maps of parts."""
        return self._body.part_labels[self._body.faces[:, 0].long()].numpy().astype(np.int64) + 1

    def example(self, random: np.random.Generator) -> Example:
        """Draw a person with labels and with detected landmarks that differ from the truth in confidence and depth."""
        rotations = self.poses[int(random.integers(self.count))].clone()
        rotations[0] = _camera(random) @ rotations[0]
        betas = torch.from_numpy(random.normal(size=(1, 10)).astype(np.float32))
        focal = _SIZE * random.uniform(0.9, 1.8)
        distance = random.uniform(*_DISTANCE)
        offset = random.uniform(-0.5, 0.5, 2) * _SIZE * distance / focal * (0.7, 0.5)
        trans = self._body.translation_of_root(torch.tensor([[*offset, distance]], dtype=torch.float32), betas)
        with torch.no_grad():
            body = self._body.pose(rotations[None], betas, trans)
            landmarks = self._body.pose_landmarks(BLAZEPOSE33.name, body, betas)[0]
        view = Camera.of_image((_SIZE, _SIZE), focal)
        face = rasterise_view(body.surface, self._body.faces, view).face[0].numpy()
        mask_pixels = face >= 0
        maps = {"parts": np.where(mask_pixels, self._face_parts[face], 0).astype(np.uint8)}
        blur = random.uniform(0.5, 1.5)
        mask = np.asarray(cv2.GaussianBlur(np.where(mask_pixels, np.uint8(255), np.uint8(0)), (0, 0), blur), np.uint8)
        joints = body.joints[0]
        pixels = view.project(landmarks).numpy()
        world = (landmarks - landmarks[_HIPS].mean(0)).numpy() * (1, 1, random.uniform(*_DEPTH_RATIO))
        confidence = _confidence(pixels, random)
        person = Person(
            body=self._body.name,
            poses=matrix_to_axis_angle(rotations).flatten().numpy(),
            betas=betas[0].numpy(),
            trans=trans[0].numpy(),
            keypoints={SMPL24.name: _with_confidence(view.project(joints).numpy(), np.ones(len(joints)))},
            joints={SMPL24.name: _with_confidence(joints.numpy(), np.ones(len(joints)))},
            detected=_with_confidence(pixels, confidence),
            detected_world=_with_confidence(world, confidence),
        )
        black = np.zeros((_SIZE, _SIZE, 3), np.uint8)
        centre = (_SIZE / 2, _SIZE / 2)
        return Example("unrendered", black, focal, centre, person, maps, None, mask)


def _camera(random: np.random.Generator) -> Tensor:
    """Draw the rotation (3, 3) from y-up world axes to a camera at any side of the person."""
    turns = np.array([[0, random.uniform(-np.pi, np.pi), 0], [random.uniform(*_TILT), 0, 0], [0, 0, 0]])
    turns[2, 2] = _ROLL * random.normal()
    yaw, tilt, roll = axis_angle_to_matrix(torch.from_numpy(turns.astype(np.float32)))
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    return roll @ upright @ tilt @ yaw


def _confidence(pixels: NDArray[np.floating], random: np.random.Generator) -> NDArray[np.floating]:
    """Draw confidences: mostly high inside the image, close to 0 far outside."""
    outside = np.linalg.norm(pixels - np.clip(pixels, 0, _SIZE), axis=1)
    hidden_points = random.random(len(pixels)) < 0.2 * random.random()
    confidence = np.where(hidden_points, random.uniform(0.1, 0.7, len(pixels)), random.uniform(0.85, 1.0, len(pixels)))
    return confidence * np.exp(-outside / (_FADE * _SIZE))


def _with_confidence(points: NDArray[np.floating], confidence: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.concatenate((points, confidence[:, None]), 1).astype(np.float32)


Framing = Literal["labels", "detector"]
"""Source of a person's size and position in the crop: the true body (the paper), or the detector's landmarks, as in
use; with the detector, the learned shape agrees best with the size in the crop."""

Memory = dict[tuple[int, int], dict[str, Any]]
"""(row of the people table, variant) → example."""

_MIN_COMPRESSED = 1024  # numbers of an array that is compressed
_SIZE_RATIO = (0.7, 1.4)  # plausible size by the detector over the true size, min and max


@dataclass(frozen=True)
class BodyAugmentation(Options):
    """Random changes of examples."""

    scale: float = option(0.1, "Random change of the crop's size, as a fraction of it.", minimum=0, below=1)
    shift: float = option(
        0.03,
        "Random shift, as a fraction of the crop's side; labels follow the scale only, since no parameter expresses a "
        "shift.",
        minimum=0,
        below=1,
    )
    mirror: float = option(0.5, "Probability that an example is mirrored.", minimum=0, maximum=1)
    errors: float = option(0.0, "Strength of the simulated errors of segmenters and detectors.", minimum=0)


NO_CHANGE = BodyAugmentation(0.0, 0.0, 0.0)


def needed_labels(inputs: InputOptions, losses: LossOptions, *, segmented: bool, framing: Framing) -> list[str]:
    """Return the names in `people.LABELS` that a person must have.

    Args:
        inputs: Inputs of the network.
        losses: Weights of the losses.
        segmented: Whether a segmenter predicts the parts, so that true parts are not needed.
        framing: Source of the size and position in the crop.
    """
    needs = ["joints", "unscaled"]
    if inputs.segmented and not segmented:
        needs.append("parts")
    if inputs.kind == "proxy" or framing == "detector":
        needs.append("detected")
    if losses.needs_parameters and not losses.points2d:
        needs.append("poses")  # with L_2D, 2-D labels are enough
    return needs


@dataclass(eq=False)
class BodyExamples:
    """Makes the example of a person: the encoded input with `betas`, `rotations`, `has_3d` and `joints2d`.

    Args:
        people: The people.
        inputs: Inputs of the network.
        losses: Options that decide which people keep their 3-D labels.
        crop: Side of the crop in pixels.
        body: Name of the body that the labels belong to.
        framing: Source of the size and position in the crop.
        augmentation: Random changes.
        segmenter: Options of a segmenter; examples then have its input, `segmenter_input`, instead of the image.
        segment: Converts the input of the segmenter to the regressor's image, so that variants are segmented once.
        truth: Add the crop's true labels as `parts`, in the partition of the input.
        unrendered: Share of the examples that come from `UnrenderedPeople`.
        unrendered_poses: Poses of `UnrenderedPeople`.
        variants: Number of random views of each person, which stay in `memory`, for short trainings that would mostly
            decode images; 0 for new views in every epoch.
        memory: Examples made so far; recipes that differ only in losses can share it.
    """

    people: People
    inputs: InputOptions
    losses: LossOptions
    crop: int
    body: str
    framing: Framing
    augmentation: BodyAugmentation = NO_CHANGE
    segmenter: SegmenterOptions | None = None
    segment: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None
    truth: bool = False
    unrendered: float = 0.0
    unrendered_poses: int = POOL
    variants: int = 0
    memory: Memory = field(default_factory=dict)

    def __post_init__(self) -> None:
        labels = self.inputs.segmented and (self.segmenter is None or self.truth)
        self.maps = ("parts", "persons") if labels else ()
        self.imagined = UnrenderedPeople(count=self.unrendered_poses)
        if self.unrendered:
            assert len(self.imagined.poses)  # made here, so that workers share them
        self._rig: Body | None = None
        self._framings: dict[int, tuple[float, NDArray[np.float64]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rig": None, "_framings": {}, "memory": {}}

    def __call__(self, number: int, random: np.random.Generator) -> dict[str, Any]:
        row = int(self.people.rows[number])
        if not self.variants:
            example = self._make(number, random)
        else:
            variant = int(random.integers(self.variants))
            example = self.memory.get((row, variant), {})
            if not example:
                example = self._make(number, np.random.default_rng((row, variant)))
                self.memory[row, variant] = {name: _compress(values) for name, values in example.items()}
            example = {name: _decompress(values) for name, values in example.items()}
        return {**example, "has_3d": np.bool_(example["has_3d"] and keeps_3d(row, self.losses))}

    def _make(self, number: int, random: np.random.Generator) -> dict[str, Any]:
        if self.unrendered and random.random() < self.unrendered:
            example = self._changed(self.imagined.example(random), random)
            errors = max(self.augmentation.errors, 1.0)  # these landmarks have no errors of a detector
        else:
            example, errors = self.view(number, random), self.augmentation.errors
        evidence = self.evidence(example, random, errors)
        result: dict[str, Any]
        if self.segmenter is not None:
            pixels = segmenter_input(evidence, self.segmenter)
            result = {"segmenter_input": pixels} if self.segment is None else {"image": self.segment(pixels)}
            result |= encode_numbers(evidence, self.inputs)
        else:
            result = dict(encode(evidence, self.inputs))
        if self.truth:
            assert evidence.parts is not None
            result["parts"] = labels_of_parts(evidence.parts, self.inputs.part_map)
        return {**result, **self._labels(example)}

    def view(self, number: int, random: np.random.Generator, *, image: bool = False) -> Example:
        """Return the person in the randomly changed crop, with parameters for the crop's camera.

        Args:
            number: Index of the person.
            random: Source of the random numbers.
            image: Decode the image even if the input does not need it.
        """
        parts: dict[str, Any] = {
            "image": image or self.segmenter is not None or self.inputs.kind == "rgb",
            "mask": bool(self.maps),
            "detected_mask": self.segmenter is not None and self.segmenter.guided,
        }
        return self._changed(self.people.example(number, self.maps, **parts), random, number)

    def _changed(self, example: Example, random: np.random.Generator, number: int = -1) -> Example:
        zoom, shift_x, shift_y, flip = random.uniform(-1, 1, 4)
        scale = 1 + self.augmentation.scale * zoom
        shift = self.crop * self.augmentation.shift * np.array([shift_x, shift_y])
        mirror = bool((flip + 1) / 2 < self.augmentation.mirror)
        person = example.person
        if person.poses is None or person.betas is None or person.trans is None:
            return self._by_box(example, scale, shift, mirror)
        if self.framing == "detector":
            size, offset = self._framings.get(number) or self._detector_framing(example)
            if number >= 0:  # the same in every epoch
                self._framings[number] = size, offset
            # Shifts refer to the result, which is mirrored already.
            shift = scale * offset * ((-1, 1) if mirror else (1, 1)) + shift
            scale = scale * size
        offset_pixels = (float(shift[0]), float(shift[1]))
        result = to_fixed_camera(example, self._body, self.crop, scale=float(scale), shift=offset_pixels, mirror=mirror)
        # The detector's crop looks straight at the person, like the fixed camera: world landmarks stay the same.
        world = person.detected_world
        if person.detected is not None and self.inputs.kind == "proxy":
            camera = Camera.stack([Camera(example.focal, example.principal_point)])
            world = _with_confidence(lifted_world(person.detected[None], camera)[0], person.detected[:, 2])
        if world is not None and mirror:
            world = world[list(BLAZEPOSE33.mirror)] * np.array([-1, 1, 1, 1], world.dtype)
        return replace(result, person=replace(result.person, detected_world=world))

    def evidence(self, example: Example, random: np.random.Generator, errors: float) -> CropEvidence:
        """Return the evidence in an example, with imitated errors of strength `errors`."""
        return imitate_errors(evidence_of_example(example), random, errors)

    @property
    def _body(self) -> Body:
        if self._rig is None:
            self._rig = load_body(self.body)
        return self._rig

    def _detector_framing(self, example: Example) -> tuple[float, NDArray[np.float64]]:
        """Return the size by the detector relative to the labels, and the offset (2,) of the pelvis in pixels."""
        bare = replace(example, image=np.zeros((1, 1, 3), np.uint8), maps={}, mask=None, detected_mask=None)
        landmarks = to_fixed_camera(bare, self._body, self.crop).person.detected
        world = example.person.detected_world
        frame = None
        if landmarks is not None and world is not None:
            frame = frame_landmarks(landmarks, world[:, :3], self.crop)
        if frame is None or not _SIZE_RATIO[0] <= frame.scale <= _SIZE_RATIO[1]:
            return 1.0, np.zeros(2)
        root = root_pixel(self.crop)
        return frame.scale, frame.points(root) - root

    def _by_box(self, example: Example, scale: float, shift: NDArray[np.float64], mirror: bool) -> Example:
        """Crop a person with unknown parameters by the box, or by the labelled joints if there is no box."""
        person = example.person
        box = person.box
        if box is None or not np.isfinite(box).all():
            points = person.keypoints[SMPL24.name]
            label_points = points[points[:, 2] > 0, :2]
            box = np.concatenate((label_points.min(0), label_points.max(0)))
        plain = frame_box(box, self.crop)
        middle = self.crop / 2
        origin = scale * (np.asarray(plain.shift) - middle) + middle + shift
        crop = Crop(plain.scale * scale, 0.0, (float(origin[0]), float(origin[1])), plain.size, mirror)
        return crop_example(example, crop, self._body)

    def _labels(self, example: Example) -> dict[str, Any]:
        person, size = example.person, self.crop
        joints2d = np.zeros((len(SMPL24), 3), np.float32)
        rotations = np.tile(np.eye(3, dtype=np.float32), (len(SMPL24), 1, 1))
        betas = np.zeros(10, np.float32)
        has_body = person.poses is not None and person.betas is not None and person.trans is not None
        if has_body:
            assert person.poses is not None
            rotations = poses_to_rotations(torch.as_tensor(np.asarray(person.poses, np.float32))).numpy()
            betas = np.asarray(person.betas, np.float32)
            # Every joint of a known body is known in the image, even if it is hidden.
            space = person.joints[SMPL24.name][:, :3]
            joints2d[:, :2] = 2 * NBF_CAMERA.focal / NBF_CAMERA.size * space[:, :2] / space[:, 2:]
            joints2d[:, 2] = 1
        points = person.keypoints.get(SMPL24.name)
        if points is not None:
            label_rows = np.isfinite(points).all(1) & (points[:, 2] > 0)
            joints2d[label_rows, :2] = 2 * points[label_rows, :2] / size - 1
            joints2d[label_rows, 2] = 1
        return {"betas": betas, "rotations": rotations, "has_3d": np.bool_(has_body), "joints2d": joints2d}


def _compress(values: Any) -> Any:
    """Convert images to half precision, which is enough for colours and probabilities."""
    return values.astype(np.float16) if isinstance(values, np.ndarray) and values.size > _MIN_COMPRESSED else values


def _decompress(values: Any) -> Any:
    return values.astype(np.float32) if isinstance(values, np.ndarray) and values.dtype == np.float16 else values


def mean_parameters(people: People, body: str, inputs: InputOptions) -> Mapping[str, torch.Tensor] | None:
    """Return the mean parameters of people before the fixed camera.

    Args:
        people: The people.
        body: Name of their body.
        inputs: Inputs of the network.

    Returns:
        betas (10,) and rotations (24, 3, 3), absolute or, for inputs with numbers, relative to `part_frames`. None if
        no pose is known.
    """
    if "poses" not in people.cache.people:
        return None
    poses, betas, trans = (torch.as_tensor(people.column(name)).float() for name in ("poses", "betas", "trans"))
    finite = torch.isfinite(torch.cat((poses, betas, trans), 1)).all(1)
    if not finite.any():
        return None
    rig = load_body(body)
    rotations = poses_to_rotations(poses[finite])
    direction = rig.rest_pelvis(betas[finite]) + trans[finite]
    turn = rotation_between(direction, torch.tensor(NBF_CAMERA.root).expand_as(direction))
    fixed_rotations = turn[:, None] @ rotations
    if inputs.numbers:
        world = torch.from_numpy(lifted_detections(people))[finite]
        fixed_rotations = part_frames(zero_pose_joints(), world, torch.ones(world.shape[:2])).mT @ fixed_rotations
    return {"betas": betas[finite].mean(0), "rotations": fixed_rotations.mean(0)}
