"""A small source with one of everything, for the tests of the cache."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.samples import LABEL_MAPS, Group, Person, Sample, SourceInfo

FOCAL = 90.0


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def random_person(random: np.random.Generator, size: tuple[int, int], full: bool) -> Person:
    """Somebody whose key points are where the camera (`FOCAL`, centre) sees the joints."""
    width, height = size

    def numbers(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    joints = np.concatenate([numbers(24, 3) * 0.2 + [0, 0, 4], random.uniform(size=(24, 1))], -1).astype(np.float32)
    points = joints[:, :2] / joints[:, 2:3] * FOCAL + np.array(size) / 2
    names = {"identity": "Zoë", "clothing": "red coat", "activity": "walking", "gender": "female", "body": "default"}
    if not full:
        return Person(identity="someone", box=np.array([1, 2, width - 1, height - 2], np.float32))
    coco = np.concatenate([numbers(17, 2) * 5 + 20, random.integers(0, 2, (17, 1))], -1).astype(np.float32)
    coco[3] = (np.nan, np.nan, 0)  # what is not labelled need not be anywhere
    mask = np.zeros((height, width), np.uint8)
    mask[5:-5, 8:-8] = 255
    return Person(
        **names,
        box=np.array([1.5, 2.5, width - 1, height - 2], np.float32),
        area=np.float32(812.5),
        poses=numbers(72),
        betas=numbers(10),
        trans=numbers(3),
        segment_scales=random.uniform(0.5, 2, 24).astype(np.float32),
        hand_poses=numbers(2, 15, 3),
        keypoints={
            "smpl24": np.concatenate([points, joints[:, 3:]], -1).astype(np.float32),
            "coco17": coco,
        },
        joints={"smpl24": joints},
        fit_poses=numbers(72),
        fit_betas=numbers(10),
        fit_trans=numbers(3),
        detected=np.concatenate([numbers(33, 2), random.uniform(size=(33, 1))], -1).astype(np.float32),
        detected_world=np.concatenate([numbers(33, 3), random.uniform(size=(33, 1))], -1).astype(np.float32),
        detected_mask=encode_png(mask // 2),
        surface_points=np.array([[3, 4, 7, 0.25, 0.5], [5, 6, 24, 1, 0]], np.float32),
        mask=encode_png(mask),
    )


def random_sample(random: np.random.Generator, name: str, *, full: bool = True, people: int = 1, **labels) -> Sample:
    size = (48, 40)
    shape = size[::-1]
    pixels = np.kron(random.integers(0, 255, (5, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    maps = {}
    if full:
        for label, spec in LABEL_MAPS.items():
            of_channels = shape if spec.channels == 1 else (*shape, spec.channels)
            limits = {"persons": people + 1, "parts": 25, "densepose": 25, "garments": 7}
            limit = limits.get(label, np.iinfo(spec.dtype).max)
            maps[label] = encode_png(random.integers(0, limit, of_channels).astype(spec.dtype))
    return Sample(
        name=name,
        image=jpeg(pixels) if full else encode_png(pixels),
        size=size,
        focal=FOCAL if full else None,
        principal_point=(24.0, 20.0) if full else None,
        frame_rate=50.0 if full else None,
        world_to_camera=np.eye(3, 4) if full else None,
        people=tuple(
            replace(random_person(random, size, full and number == 0), crowd=number > 0) for number in range(people)
        ),
        maps=maps,
        **labels,
    )


@dataclass(frozen=True)
class SmallSource:
    """Images by number: `groups` of `count` each.

    seconds   how long an image takes
    trouble   group → what goes wrong with it: "input", "bug", "contract", "short" or "die"
    marks     a folder where each read image leaves an empty file
    """

    group_count: int = 5
    count: int = 3
    seed: int = 1
    seconds: float = 0.0
    trouble: tuple[tuple[str, str], ...] = ()
    marks: Path | None = None

    @property
    def info(self) -> SourceInfo:
        return SourceInfo("small", {"seed": self.seed, "count": self.count})

    def groups(self) -> Sequence[Group]:
        pairs = {("pairs", "train"): [(0, 1), (1, 0)]} if self.count > 1 else {}
        return [Group(f"clip {number}", self.count, pairs, key=number) for number in range(self.group_count)]

    def read(self, group: Group) -> Iterator[Sample]:
        trouble = dict(self.trouble).get(group.name)
        for number in range(group.count - (trouble == "short")):
            time.sleep(self.seconds)
            if trouble and number == 1:
                self._fail(trouble)
            if self.marks is not None:
                (self.marks / f"{group.key}-{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
            random = np.random.default_rng([self.seed, group.key, number])
            yield random_sample(
                random,
                f"clip{group.key}/{number}" if trouble != "contract" else "",
                full=number != 1,
                people=(1, 0, 2)[number % 3],
                sequence=f"video {group.key // 2}",
                frame=10 * group.key + 5 - number,
                splits={"small": "test" if group.key % 2 else "train", "all": "train"},
            )

    def _fail(self, trouble: str) -> None:
        if trouble == "input":
            raise InputError("pose.txt", "is damaged")
        if trouble == "bug":
            raise ZeroDivisionError("by nothing")
        if trouble == "die":
            os._exit(9)


def assert_same(found, wanted) -> None:
    """Equal to the last bit, arrays included."""
    if is_dataclass(wanted):
        assert type(found) is type(wanted)
        for field in fields(wanted):
            assert_same(getattr(found, field.name), getattr(wanted, field.name))
    elif isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    elif isinstance(wanted, dict):
        assert set(found) == set(wanted)
        for key in wanted:
            assert_same(found[key], wanted[key])
    elif isinstance(wanted, tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    else:
        assert found == wanted


def all_samples(source: SmallSource) -> list[Sample]:
    return [sample for group in source.groups() for sample in source.read(group)]


__all__ = ["SmallSource", "all_samples", "assert_same", "jpeg", "random_person", "random_sample"]
