"""Images for a network whose camera never moves: Neural Body Fitting, section 4.2 and appendix B.

The paper's regressor predicts shape and pose only. Its body has one position before one camera, so a person's size in
the image must follow from the shape alone. Training images are therefore scaled and shifted until their joints fit the
projection of the true body at that position, and an image that is augmented by another scale gets another shape. Both
must happen before training, on the labels.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import NBF_CAMERA, FixedCamera, project
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.core.errors import InputError
from humanpose_cli.engine.skinning.op import axis_angle_to_rotations
from humanpose_cli.geometry.rotations import rotation_between
from humanpose_cli.lab.cache.augmentation import Example, crop_example


def to_fixed_camera(
    example: Example,
    body: Body,
    size: int,
    *,
    camera: FixedCamera = NBF_CAMERA,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    mirror: bool = False,
) -> Example:
    """Show the person as the fixed camera would, with the parameters that hold there.

    The body is placed at `camera.root` and turned as much as the line of sight to the person. The image is scaled and
    shifted so that its labelled joints fit the projection in least squares. Labels in the axes or distances of the
    image's own camera are left out: fits, and the maps of depth and normals.

    Args:
        example: The person in their image.
        body: The body that the parameters belong to.
        size: Pixels of a side of the result.
        camera: The fixed camera.
        scale: Augmentation: the image of the person becomes that much larger, with the shape that comes nearest to it.
        shift: Augmentation: pixels by which the image is shifted; no parameter can express it.
        mirror: Swap left and right, after everything else.

    Raises:
        InputError: If poses, betas or 2-D joints of `smpl24` are unknown.
    """
    if mirror:  # placed such that mirroring brings the body to the camera's root
        x, y, z = camera.root
        mirrored_camera = replace(camera, root=(-x, y, z))
        view = to_fixed_camera(example, body, size, camera=mirrored_camera, scale=scale, shift=shift)
        return crop_example(view, Crop(1.0, 0.0, (0.0, 0.0), (size, size), mirror=True), body)
    person = example.person
    if person.poses is None or person.betas is None or person.trans is None or "smpl24" not in person.keypoints:
        raise InputError(
            example.name, "has no body parameters with joints", remedy="make its cache from a source that gives both"
        )
    betas = torch.as_tensor(np.asarray(person.betas, np.float32))[None]
    axis_angles = np.array(person.poses, np.float32).reshape(len(SMPL24), 3)
    rotations = axis_angle_to_rotations(torch.from_numpy(axis_angles))
    pelvis = SMPL24.index("pelvis")
    root = torch.tensor(camera.root)
    # Two bodies at once, because such small operations take as long for two: as labelled, and of the scaled shape.
    shapes = torch.cat((betas, scaled_shape(body, betas, scale)))
    rest_pelvis = body.rest_pelvis(shapes)
    trans = root - rest_pelvis
    towards_person = rest_pelvis[0] + torch.as_tensor(np.asarray(person.trans, np.float32))
    rotations[pelvis] = rotation_between(towards_person, root) @ rotations[pelvis]
    axis_angles[pelvis] = cv2.Rodrigues(rotations[pelvis].double().numpy())[0][:, 0]
    joints = body.pose(rotations.expand(2, -1, -1, -1), shapes, trans, vertices=False).joints
    focal = camera.focal_at(size)
    centre = size / 2
    pixels = project(joints[:1], torch.tensor([focal]), torch.tensor([[centre, centre]]))[0].numpy()
    fitted_scale, offset = _similarity(person.keypoints["smpl24"], pixels, example.name)
    at_root = pixels[pelvis]
    corner = scale * (offset - at_root) + at_root + np.asarray(shift)
    crop = Crop(fitted_scale * scale, 0.0, (float(corner[0]), float(corner[1])), (size, size))
    view = crop_example(example, crop, body)
    # Joints in space are as the parameters give them at the fixed position; joints in the image stay as labelled.
    person = replace(
        view.person,
        poses=axis_angles.reshape(-1),
        betas=shapes[1].numpy(),
        trans=trans[1].numpy(),
        joints={"smpl24": np.concatenate((joints[1].numpy(), np.ones((len(SMPL24), 1), np.float32)), 1)},
        fit_poses=None,
        fit_betas=None,
        fit_trans=None,
    )
    maps = {name: values for name, values in view.maps.items() if name not in ("depth", "normals")}
    return replace(view, person=person, maps=maps, focal=focal, principal_point=(centre, centre))


def _similarity(keypoints: NDArray[np.floating], pixels: NDArray[np.floating], name: str) -> tuple[float, np.ndarray]:
    """Fit the scale and shift of the image that bring labelled joints (J, 3) nearest to pixels (J, 2)."""
    has_label = keypoints[:, 2] > 0
    if has_label.sum() < 2:
        raise InputError(name, "has too few labelled joints", expected="two or more", got=str(int(has_label.sum())))
    source = keypoints[has_label, :2].astype(np.float64)
    target = pixels[has_label].astype(np.float64)
    source_mean = source.mean(0)
    target_mean = target.mean(0)
    spread = ((source - source_mean) ** 2).sum()
    scale = float(((source - source_mean) * (target - target_mean)).sum() / max(spread, 1e-9))
    if scale <= 0:
        raise InputError(name, "has joints that no body at the fixed position can show")
    return scale, target_mean - scale * source_mean


def scaled_shape(body: Body, betas: Tensor, scale: float) -> Tensor:
    """Find the shape whose resting joints are nearest to scaled joints of another shape.

    Linear least squares about the pelvis, with 1e-4 square metres of weight on the squares of the betas, which keeps
    shapes human if no human is that large.

    Args:
        body: The body.
        betas: (B, S) shapes.
        scale: Factor on the joints.

    Returns:
        (B, S) shapes.
    """
    if scale == 1.0:
        return betas
    root = SMPL24.index("pelvis")
    directions = (body.joint_directions - body.joint_directions[root]).flatten(0, 1)  # [72, S]
    template = (body.joint_template - body.joint_template[root]).flatten()
    target = scale * (template + betas @ directions.mT) - template
    normal = directions.mT @ directions + 1e-4 * torch.eye(directions.shape[1])
    return torch.linalg.solve(normal, (target @ directions).mT).mT
