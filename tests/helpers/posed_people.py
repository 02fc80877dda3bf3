"""A source of painted people in pairs or clips: sticks of one colour before a coloured background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from helpers.warp3d_poses import hand_raised, standing
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.samples import Group, Person, Sample, SourceInfo

SIZE, FOCAL, DEPTH = 48, 60.0, 4.0


class PosedPeople:
    """Groups of `length` images of one person; every group's first image is `standing`.

    lists   whether the protocol lists pairs
    crowd   adds a small second person to each image, who is in all images too
    test    adds a group of the split "test", so that weights may be chosen on "validation"
    lost    (group, frame) of people who are named, and whose fit failed
    """

    def __init__(
        self,
        groups: int = 8,
        length: int = 2,
        *,
        lists: bool = True,
        crowd: bool = False,
        test: bool = False,
        lost: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.count, self.length, self.lists, self.crowd, self.test = groups, length, lists, crowd, test
        self.lost = lost

    @property
    def info(self) -> SourceInfo:
        return SourceInfo("posed", {"groups": self.count, "length": self.length})

    def groups(self) -> Sequence[Group]:
        return [
            Group(f"g{i}", self.length, {("p", self.split(i)): [(0, 1), (1, 0)]} if self.lists else {}, i)
            for i in range(self.count + self.test)
        ]

    def split(self, group: int) -> str:
        if group == self.count:
            return "test"
        return "validation" if group % 4 == 3 else "train"

    def read(self, group: Group) -> Iterator[Sample]:
        for frame in range(group.count):
            yield self.sample(group, frame)

    def sample(self, group: Group, frame: int) -> Sample:
        random = np.random.default_rng(group.key)
        backdrop = cv2.resize(random.integers(0, 256, (3, 3, 3)).astype(np.uint8), (SIZE, SIZE))
        colour = tuple(random.integers(0, 256, 3).tolist())
        pose = (standing if frame == 0 else hand_raised)(SIZE)[0].numpy()
        # In a corridor of pixels: everyone takes another step.
        pose[:, 0] += 1.5 * frame
        mask = np.zeros((SIZE, SIZE), np.uint8)
        for a, b in REPOSING19.bones:
            cv2.line(mask, *(tuple(np.rint(pose[i, :2]).astype(int).tolist()) for i in (a, b)), 255, 3)
        image = np.where(mask[..., None] > 0, np.uint8(colour), backdrop)
        people = [_person(pose, mask, f"person-{group.key}")]
        if (group.key, frame) in self.lost:
            people = [Person(identity=people[0].identity, clothing=people[0].clothing)]
        if self.crowd:
            small = 0.4 * pose + (0, 25, 24)
            people.insert(frame % 2, _person(small, np.zeros_like(mask), f"extra-{group.key}"))
        return Sample(
            f"{group.name}/{frame}",
            encode_png(image),
            (SIZE, SIZE),
            FOCAL,
            (SIZE / 2, SIZE / 2),
            people,
            sequence=group.name,
            frame=frame,
            splits={"p": self.split(group.key)},
        )


def _person(pose: np.ndarray, mask: np.ndarray, name: str) -> Person:
    """With joints where the camera sees them at their pixels; z pixels are as at the person's depth."""
    depth = DEPTH + (pose[:, 2:] - pose[REPOSING19.index("pelvis"), 2]) * DEPTH / FOCAL
    space = np.concatenate(((pose[:, :2] - SIZE / 2) * depth / FOCAL, depth, np.ones((19, 1))), 1)
    box = np.concatenate((pose[:, :2].min(0) - 2, pose[:, :2].max(0) + 2)).astype(np.float32)
    return Person(
        identity=name,
        clothing="paint",
        box=box,
        joints={"reposing19": space.astype(np.float32)},
        keypoints={"reposing19": np.concatenate((pose[:, :2], np.ones((19, 1))), 1).astype(np.float32)},
        mask=encode_png(mask),
    )
