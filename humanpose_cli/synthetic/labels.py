"""From a rendered scene to a sample: joints, landmarks, boxes and maps of everybody who is visible; imperfect fits.

Imperfect fits are the truth with the kinds of errors that an estimator's fits have; refinement is trained on them.
Errors of limbs grow towards their ends and from one person to the next; in a clip they change slowly, as those of a
tracker do. Depth is known worst: the body moves along the line of sight and leans in it, while it stays within pixels
of its position in the image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import Body
from humanpose_cli.body.joint_angles import joint_class
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.data.label_maps import encode_map, joint_visibility, landmark_visibility
from humanpose_cli.data.samples import Person
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.synthetic.renderer import RenderedScene
from humanpose_cli.synthetic.scene import StagedPerson

__all__ = ["encoded_image", "encoded_maps", "imperfect_fit", "people_of_frame"]

Array = NDArray[Any]

LANDMARKS = ("reposing19", "blazepose33")
_BOX_MARGIN = 0.04  # of the box's longer side: flesh and clothes beyond the joints


def encoded_image(image: NDArray[np.uint8], quality: int) -> bytes:
    """JPEG bytes of (H, W, 3) RGB."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "an RGB image can be encoded"
    return bytes(data.tobytes())


def encoded_maps(rendered: RenderedScene, seen: list[int]) -> dict[str, bytes]:
    """The maps as PNG bytes; `persons` renumbered to the visible people."""
    maps = dict(rendered.maps)
    if seen != list(range(len(rendered.visible))):
        number = np.zeros(len(rendered.visible) + 1, np.uint8)
        for new, place in enumerate(seen, 1):
            number[place + 1] = new
        maps["persons"] = number[maps["persons"]]
    return {name: encode_map(name, values) for name, values in maps.items()}


def people_of_frame(
    body: Body,
    people: list[StagedPerson],
    names: list[tuple[str, str]],
    frame: int,
    view: Camera,
    seen: RenderedScene,
) -> tuple[list[Person], list[int]]:
    """Labels of the people of one frame who are visible on any pixel, and their indices in the scene.

    names  (identity, clothing) of each
    """
    shown = [place for place in range(len(people)) if seen.visible[place] > 0]
    if not shown:
        return [], []
    rotations = torch.stack([people[i].rotations[frame] for i in shown])
    betas = torch.stack([people[i].betas for i in shown])
    trans = torch.stack([people[i].trans[frame] for i in shown])
    with torch.no_grad():
        posed = body.pose(rotations, betas, trans, vertices=False)
        points = {name: body.pose_landmarks(name, posed, betas).numpy() for name in LANDMARKS}
    points[SMPL24.name] = posed.joints.numpy()
    poses = matrix_to_axis_angle(rotations).flatten(1).numpy()
    found = []
    for row, place in enumerate(shown):
        own = {name: its[row].astype(np.float32) for name, its in points.items()}
        keypoints = {name: _keypoints(body, name, its, place, view, seen) for name, its in own.items()}
        identity, clothing = names[place]
        found.append(
            Person(
                identity=identity,
                clothing=clothing,
                activity=people[place].activities[frame],
                gender="neutral",
                body=body.name,
                box=_person_box(np.concatenate([k[:, :2] for k in keypoints.values()]), place, seen),
                poses=poses[row],
                betas=betas[row].numpy(),
                trans=trans[row].numpy(),
                keypoints=keypoints,
                joints={name: np.c_[its, np.ones(len(its), np.float32)] for name, its in own.items()},
            )
        )
    return found, shown


def _keypoints(body: Body, name: str, points: Array, place: int, view: Camera, seen: RenderedScene) -> Array:
    """(J, 3): pixels, and how much of the surface around each joint is visible."""
    if name == SMPL24.name:
        visible = joint_visibility(points, place, view, seen.maps)
    else:
        visible = landmark_visibility(body, name, points, place, view, seen.maps)
    pixels = view.project(torch.from_numpy(points)).numpy()
    return np.concatenate((pixels, visible[:, None]), 1).astype(np.float32)


def _person_box(pixels: Array, place: int, seen: RenderedScene) -> Array:
    """Round the joints with a margin and all pixels that show the person, cut at the image's edges."""
    persons = seen.maps["persons"]
    height, width = persons.shape
    low, high = pixels.min(0), pixels.max(0)
    margin = _BOX_MARGIN * (high - low).max()
    rows, columns = np.nonzero(persons == place + 1)
    low = np.minimum(low - margin, (columns.min(), rows.min()))
    high = np.maximum(high + margin, (columns.max() + 1, rows.max() + 1))
    return np.concatenate((np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height)))).astype(np.float32)


# Degrees of standard deviation per kind of joint. With the other widths they give joint errors of about 85 mm about the
# hips, what the keypoint fit has on rendered people (benchmarks/RESULTS.md).
_DEGREES = {"trunk": 4.0, "neck": 6.0, "head": 7.0, "collar": 5.0, "shoulder": 10.0, "elbow": 11.0, "wrist": 10.0}
_DEGREES |= {"hand": 6.0, "hip": 7.0, "knee": 8.5, "ankle": 7.0, "foot": 4.0}


# Further standard deviations: radians of the whole body about the image's horizontal axis, which mostly changes depth,
# and about the two others; share of the distance; pixels of the root; shape components.
_LEAN, _TURN, _DEPTH, _PIXELS, _BETAS = 0.09, 0.05, 0.05, 3.0, 0.6
_MEMORY = 0.85  # correlation of neighbouring frames of a clip


def imperfect_fit(
    random: np.random.Generator,
    poses: Array,
    betas: Array,
    trans: Array,
    rest_pelvis: Array,
    focal: Array,
) -> tuple[Array, Array, Array]:
    """(poses, betas, trans) of a fit of one person in T frames, with a fifth to nearly twice the usual errors.

    poses (T, 72) axis-angle, betas (S,), trans (T, 3) metres: the truth; rest_pelvis (3,) of that shape; focal (T,) px
    """
    frames, strength = len(poses), random.uniform(0.2, 1.8)
    # The pelvis' own error is the whole body's.
    classes = (name if name in _DEGREES else joint_class(name) for name in SMPL24.joint_names)
    degrees = np.array([_DEGREES.get(name, 0.0) for name in classes])
    joint_noise = _random_walk(random, (frames, len(SMPL24), 3)) * np.deg2rad(degrees)[:, None]
    joint_noise *= strength
    pelvis = SMPL24.index("pelvis")
    whole = _random_walk(random, (frames, 3)) * strength * (_LEAN, _TURN, _TURN)
    true = Rotation.from_rotvec(np.reshape(poses, (-1, 3)))
    noisy = (true * Rotation.from_rotvec(joint_noise.reshape(-1, 3))).as_rotvec().reshape(frames, -1, 3)
    noisy[:, pelvis] = (Rotation.from_rotvec(whole) * Rotation.from_rotvec(poses[:, :3])).as_rotvec()
    root = np.asarray(trans, np.float64) + rest_pelvis
    nearer = np.exp(_random_walk(random, (frames, 1)) * strength * _DEPTH)
    aside = _random_walk(random, (frames, 2)) * strength * _PIXELS * root[:, 2:] / focal[:, None]
    moved = (root + np.concatenate((aside, np.zeros((frames, 1))), 1)) * nearer
    shape = betas + strength * _BETAS * random.standard_normal(np.shape(betas))
    return (
        noisy.reshape(frames, -1).astype(np.float32),
        shape.astype(np.float32),
        (moved - rest_pelvis).astype(np.float32),
    )


def _random_walk(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Unit normal numbers, correlated along the first axis."""
    steps = random.standard_normal(shape)
    for t in range(1, shape[0]):
        steps[t] = _MEMORY * steps[t - 1] + np.sqrt(1 - _MEMORY**2) * steps[t]
    return steps
