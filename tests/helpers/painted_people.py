"""A small source of people in the colours of their parts: labels agree exactly, and the detector never errs."""

from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import COCO17, SMPL24
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.label_maps import LabelledMesh, labels_of, render_label_maps
from humanpose_cli.lab.cache.samples import Group, Person, Sample, SourceInfo
from humanpose_cli.models.segmenter.inputs import as_bytes, code_colours

SIZE, FOCAL = 64, 90.0
_body = cache(default_body)


@cache
def person_and_maps(number, names=("persons", "parts")):
    body = _body()
    generator = torch.Generator().manual_seed(number)
    rotations = sample_poses(1, generator)
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotations[:, 0]
    betas = 0.5 * torch.randn(1, 10, generator=generator)
    trans = torch.tensor([[0.1, 0.1, 3.6]])
    posed_body = body.pose(rotations, betas, trans)
    landmarks = body.pose_landmarks("blazepose33", posed_body, betas)[0]
    view = Camera.of_image((SIZE, SIZE), FOCAL)
    maps = render_label_maps([LabelledMesh(posed_body.vertices[0], body.faces, labels_of(body))], view, names)

    def pixels(points):
        return np.concatenate((view.project(points).numpy(), np.ones((len(points), 1))), 1).astype(np.float32)

    def with_confidence(points):
        return np.concatenate((points.numpy(), np.ones((len(points), 1))), 1).astype(np.float32)

    landmark_pixels = pixels(landmarks)
    person = Person(
        identity=f"p{number}",
        gender="neutral",
        body="default",
        box=np.clip(
            np.concatenate((landmark_pixels[:, :2].min(0) - 2, landmark_pixels[:, :2].max(0) + 2)), 0, SIZE
        ).astype(np.float32),
        poses=matrix_to_axis_angle(rotations).view(72).numpy(),
        betas=betas[0].numpy(),
        trans=trans[0].numpy(),
        keypoints={"smpl24": pixels(posed_body.joints[0])},
        joints={"smpl24": with_confidence(posed_body.joints[0])},
        detected=landmark_pixels,
        detected_world=with_confidence(landmarks - landmarks[[23, 24]].mean(0)),
        detected_mask=cv2.imencode(".png", np.where(maps["persons"] > 0, np.uint8(255), np.uint8(0)))[1].tobytes(),
    )
    return person, maps


@dataclass(frozen=True)
class PaintedPeople:
    """`count` images of one person; every fifth is held out.

    lacks   labels of persons, or "parts", that are not known; unknown: people whose poses are not known
    mistaken  people in whose place the detector saw somebody else
    scaled  people whose labels say that their segments are a tenth longer than their shape makes them
    splits  whether there is a split for validation; test whether there is one for testing; last_test whether it is one
            more group, so that weights may be chosen on the split for validation
    clip    images that are a sequence of one person
    maps    kinds of label maps
    """

    count: int = 20
    lacks: tuple[str, ...] = ()
    unknown: tuple[int, ...] = ()
    mistaken: tuple[int, ...] = ()
    scaled: tuple[int, ...] = ()
    splits: bool = True
    test: bool = False
    last_test: bool = False
    clip: int = 1
    maps: tuple[str, ...] = ("persons", "parts")

    @property
    def info(self):
        return SourceInfo("painted", {"count": self.count})

    def groups(self):
        return [Group(f"{number}", self.clip, key=number) for number in range(self.count // self.clip + self.last_test)]

    def read(self, group):
        for frame in range(self.clip):
            yield self.sample(group, frame)

    def sample(self, group, frame):
        person, maps = person_and_maps(group.key * self.clip + frame, self.maps)
        if self.clip > 1:
            person = replace(person, identity=group.name)
        image = as_bytes(code_colours(24))[maps["parts"]]
        data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()
        missing = [name for name in self.lacks if name != "parts"]
        if group.key in self.unknown:
            missing += ["poses", "betas", "trans"]
        person = replace(person, **{name: {} if name in ("keypoints", "joints") else None for name in missing})
        if group.key in self.mistaken:
            person = replace(person, detected=person.detected + np.float32([30, 0, 0]))
        if group.key in self.scaled:
            person = replace(person, segment_scales=np.full(24, 1.1, np.float32))
        kept = {name: encode_png(values) for name, values in maps.items() if name not in self.lacks}
        split = "validation" if self.splits and group.key % 5 == 4 else "train"
        last = self.last_test and group.key == self.count // self.clip
        split = "test" if last or (self.test and group.key % 5 == 3) else split
        sequence = group.name if self.clip > 1 else ""
        name = f"{group.name}/{frame}" if sequence else group.name
        splits = {"painted": split}
        return Sample(
            name, data, (SIZE, SIZE), FOCAL, None, (person,), kept, sequence=sequence, frame=frame, splits=splits
        )


def painted_cache(folder, **options):
    """A cache of such people."""
    build_cache(PaintedPeople(**options), folder)
    return folder


class CocoPeople(PaintedPeople):
    """People of whom only COCO's keypoints are known, without those of the face."""

    @property
    def info(self):
        return SourceInfo("coco people", {"count": self.count})

    def sample(self, group, frame):
        sample = super().sample(group, frame)
        person = sample.people[0]
        keypoints = np.zeros((len(COCO17), 3), np.float32)
        for name in set(COCO17.joint_names) & set(SMPL24.joint_names):
            keypoints[COCO17.index(name)] = person.keypoints["smpl24"][SMPL24.index(name)]
        return replace(sample, people=(replace(person, keypoints={"coco17": keypoints}, joints={}),))
