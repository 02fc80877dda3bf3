"""Men and women in an image each, with parameters of their own models and joints that were measured."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import H36M17
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.samples import Group, Person, Sample, SourceInfo

SIZE, VIEW = (80, 60), Camera.of_image((80, 60), 90.0)
GENDERS = ("male", "female", "male", "female")


def model(gender: str) -> Body:
    """A body that stands in for SMPL's of that gender: men are larger by a twentieth."""
    body = copy.deepcopy(default_body())
    body.name = f"smpl-{gender}"
    with torch.no_grad():
        for values in (body.template, body.joint_template):
            values *= {"male": 1.05, "female": 1.0, "neutral": 1.02}[gender]
    return body


MODELS = {gender: model(gender) for gender in ("male", "female", "neutral")}


def parameters(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(number)
    poses = 0.2 * random.normal(size=72)
    poses[:3] = (np.pi, 0, 0)
    return poses, random.normal(size=10), np.array([0.1 * number - 0.2, 0.2, 3.0])


class LaboratoryPeople:
    """A man or a woman in each image: parameters of their model, and joints that were measured 30 mm off.

    bodies  whether their parameters are known; kind whose they are
    """

    def __init__(self, name: str = "3dpw", *, bodies: bool = True, kind: str = "smpl") -> None:
        self.name, self.bodies, self.kind = name, bodies, kind

    @property
    def info(self) -> SourceInfo:
        return SourceInfo(self.name, {"bodies_by": {"name": "joint fit"}} if self.name == "h36m" else {})

    def groups(self) -> Sequence[Group]:
        return [Group(f"{number}", 1, key=number) for number in range(len(GENDERS))]

    def read(self, group: Group) -> Iterator[Sample]:
        poses, betas, trans = parameters(group.key)
        gender = GENDERS[group.key]
        rotations = axis_angle_to_matrix(torch.from_numpy(poses).float().view(1, 24, 3))
        shape = torch.from_numpy(betas).float()[None]
        body = MODELS[gender].pose(rotations, shape, torch.from_numpy(trans).float()[None])
        measured = MODELS[gender].pose_landmarks("h36m17", body, shape)[0].numpy() + np.array([0, 0, 0.03])
        labels = np.concatenate((measured, np.ones((17, 1))), 1)
        labels[H36M17.index("spine"), 3] = 0
        joints = body.joints[0].numpy()
        person = Person(
            identity=gender,
            gender=gender,
            body=self.kind,
            box=np.array([5, 5, 50, 55], float),
            keypoints={"smpl24": np.concatenate((VIEW.project(joints), np.ones((24, 1))), 1)},
            joints={"smpl24": np.concatenate((joints, np.ones((24, 1))), 1), "h36m17": labels},
        )
        if self.bodies:
            person = replace(person, poses=poses, betas=betas, trans=trans)
        image = encode_png(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
        yield Sample(f"{group.key}", image, SIZE, 90.0, None, [person], splits={"p": ["train", "test"][group.key // 2]})
