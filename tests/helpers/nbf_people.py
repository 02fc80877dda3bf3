"""People for the tests of Neural Body Fitting: posed bodies before a camera, with labels that agree exactly."""

import cv2
import numpy as np
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.crop import Affine2D
from humanpose_cli.detect.person import DetectedPerson, PersonMask
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.lab.cache.augmentation import Example
from humanpose_cli.lab.cache.label_maps import BodyLabels, LabelledMesh, render_label_maps
from humanpose_cli.lab.cache.samples import Person

WIDTH, HEIGHT, FOCAL = 200, 180, 260.0
UPRIGHT = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def posed(seed=3, position=(0.15, 0.1, 4.2)):
    """(rotations (1, 24, 3, 3) relative, betas (1, 10), trans (1, 3)) of an upright person."""
    generator = torch.Generator().manual_seed(seed)
    rotations = sample_poses(1, generator)
    rotations[:, 0] = UPRIGHT @ rotations[:, 0]
    return rotations, 0.5 * torch.randn(1, 10, generator=generator), torch.tensor([position])


def labelled_example(seed=3, position=(0.15, 0.1, 4.2), maps=True):
    """Somebody seen whole: true joints, landmarks and parts; the detector is one that never errs."""
    body = default_body()
    rotations, betas, trans = posed(seed, position)
    posed_body = body.pose(rotations, betas, trans)
    landmarks = body.pose_landmarks("blazepose33", posed_body, betas)[0]
    view = Camera.of_image((WIDTH, HEIGHT), FOCAL)

    def pixels(points):
        return np.concatenate((view.project(points).numpy(), np.ones((len(points), 1))), 1).astype(np.float32)

    drawn, mask = {}, None
    if maps:
        drawn = render_label_maps(
            [LabelledMesh(posed_body.vertices[0], body.faces, BodyLabels(body))], view, ("persons", "parts")
        )
        mask = np.where(drawn["persons"] > 0, np.uint8(255), np.uint8(0))
    landmark_pixels = pixels(landmarks)
    low, high = landmark_pixels[:, :2].min(0), landmark_pixels[:, :2].max(0)
    hips = landmarks[[23, 24]].mean(0)
    person = Person(
        body="default",
        gender="neutral",
        box=np.concatenate((low - 4, high + 4)).astype(np.float32),
        poses=matrix_to_axis_angle(rotations).view(72).numpy(),
        betas=betas[0].numpy(),
        trans=trans[0].numpy(),
        keypoints={"smpl24": pixels(posed_body.joints[0])},
        joints={"smpl24": np.concatenate((posed_body.joints[0].numpy(), np.ones((24, 1))), 1).astype(np.float32)},
        detected=landmark_pixels,
        detected_world=np.concatenate(((landmarks - hips).numpy(), np.ones((33, 1))), 1).astype(np.float32),
    )
    image = np.random.default_rng(seed).integers(0, 256, (HEIGHT // 20, WIDTH // 20, 3), np.uint8)
    image = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return Example("painted", image, FOCAL, (WIDTH / 2, HEIGHT / 2), person, drawn, mask, mask)


def as_detected(example):
    """The same person as the detector would return them."""
    person = example.person
    mask = None if example.detected_mask is None else PersonMask(example.detected_mask, Affine2D.identity())
    return DetectedPerson(
        person.box, person.detected, person.detected_world[:, :3], np.ones(33), np.full(33, 0.02), mask, 1.0
    )


def rotations_of(person):
    return axis_angle_to_matrix(torch.from_numpy(person.poses).view(1, 24, 3))
