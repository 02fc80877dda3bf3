"""3DPW (3D Poses in the Wild): 60 videos outdoors with one or two people, SMPL from inertial sensors.

Layout and licence: data/README.md.

Fields of a pickle (the owners' readme.txt), lists over A people, N frames at 30 Hz:
    poses (N, 72), trans (N, 3), betas (10,) or more, genders "m" or "f"
    campose_valid (N,): the camera fits this person in this frame
    jointPositions (N, 72): SMPL's 24 joints in world axes; poses2d (N, 3, 18): OpenPose's x, y, confidence
    cam_poses (N, 4, 4): world to camera; cam_intrinsics (3, 3)
Further fields are not read (poses at 60 Hz, clothed templates, textures).

Poses and trans are in world axes, so both turn with the camera, and a body turns about its pelvis
(`BodyParams.in_axes`). This works without SMPL: the rest pelvis of the shaped body is the pelvis in jointPositions
minus trans, the same in all frames. Models that are passed in replace it.

The camera has one focal length here, the mean of fx and fy, which differ by 0.4 %. Its principal point is the middle of
the image counted from the corner, as everywhere here; OpenPose's pixels count from the centre of the first pixel, so
half a pixel is added.

A group is a video; frames in which the camera fits no person are left out. Protocol "3dpw" has the owners' splits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.checks import array_field, checked_array, existing_folder
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.coco_annotations import to_coco17
from humanpose_cli.lab.cache.samples import Group, Person, Sample
from humanpose_cli.lab.datasets.common import (
    MAX_RADIANS,
    OPENPOSE18,
    FolderSource,
    SequenceOptions,
    box_around,
    check_rotations,
    first_betas,
    pinhole,
    project_points,
    rest_pelvis,
    with_visibility,
)
from humanpose_cli.lab.datasets.reading import list_files, read_pickled_table, stored_image

OFFICIAL_VIDEOS = {"train": 24, "validation": 12, "test": 24}
_GENDERS = {"m": "male", "f": "female"}
_J = len(SMPL24)
FRAME_RATE = 30.0
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Actor:
    """One person in all frames of a video, in camera axes; `has_model` if their model is given."""

    gender: str
    has_model: bool
    betas: Array
    poses: Array
    trans: Array
    joints: Array
    keypoints: Array
    valid: Array


@dataclass(frozen=True, eq=False)
class _Video:
    """A sequence file: focal length and principal point in pixels, cameras (N, 3, 4), and its people."""

    focal: float
    principal_point: tuple[float, float]
    cameras: Array
    actors: list[_Actor]


class ThreedpwSource(FolderSource):
    """3DPW as videos with one or two people."""

    name = "3dpw"
    title = "3DPW"
    bodies = ("smpl",)
    genders = ("female", "male")
    splits = tuple(OFFICIAL_VIDEOS)
    options: SequenceOptions
    options_type = SequenceOptions

    def _list(self, notes: list[str]) -> Iterator[Group]:
        existing_folder(self.root / "imageFiles", "the folder of 3DPW's images")
        for split, official in OFFICIAL_VIDEOS.items():
            if not self._wants(split):
                continue
            folder = self.root / "sequenceFiles" / split
            files = list_files(folder, {".pkl"}, "sequence files")
            self._check_count(folder, "sequences", official, len(files), notes)
            for path in files:
                visible = np.any([actor.valid for actor in self._load(path).actors], axis=0)
                frames = [frame for frame in np.flatnonzero(visible).tolist() if frame % self.options.every == 0]
                images = [(frame, self._image(path.stem, frame)) for frame in frames]
                present = self._present(images, path, "images", notes)
                if present:
                    yield Group(path.stem, len(present), key={"split": split, "frames": present})

    def _image(self, sequence: str, frame: int) -> Path:
        return self.root / "imageFiles" / sequence / f"image_{frame:05d}.jpg"

    def read(self, group: Group) -> Iterator[Sample]:
        video = self._load(self.root / "sequenceFiles" / group.key["split"] / f"{group.name}.pkl")
        for frame in group.key["frames"]:
            image = stored_image(self._image(group.name, frame))
            visible = [(number, actor) for number, actor in enumerate(video.actors) if actor.valid[frame]]
            yield Sample(
                f"{group.name}/image_{frame:05d}",
                image.image,
                image.size,
                video.focal,
                video.principal_point,
                [_person(f"{group.name}/{number}", actor, frame, video, image.size) for number, actor in visible],
                sequence=group.name,
                frame=frame,
                splits={"3dpw": group.key["split"]},
                frame_rate=FRAME_RATE,
                world_to_camera=video.cameras[frame],
            )

    def _load(self, path: Path) -> _Video:
        fields = read_pickled_table(path)
        intrinsics = array_field(fields, "cam_intrinsics", path, (3, 3))
        cameras = array_field(fields, "cam_poses", path, (None, 4, 4), finite=False)
        people = fields.get("poses")
        if not isinstance(people, list) or not people:
            raise InputError(f"{path} (poses)", "lists no person", expected="an array for each person")
        focal, centre = pinhole(intrinsics, f"{path} (cam_intrinsics)")
        actors = [self._actor(fields, number, len(people), cameras, path) for number in range(len(people))]
        return _Video(focal, centre, cameras[:, :3], actors)

    def _actor(self, fields: Mapping[str, Any], number: int, count: int, cameras: Array, path: Path) -> _Actor:
        n = len(cameras)

        def field(name: str, shape: tuple[int | None, ...] | None, largest: float | None = None) -> Array:
            value = _of_actor(fields, name, number, count, path)
            return checked_array(value, f"{path} ({name})", shape, largest=largest)

        letter = str(_of_actor(fields, "genders", number, count, path))
        if letter not in _GENDERS:
            raise InputError(f"{path} (genders)", "names no model", expected="m or f", got=letter[:20])
        betas = first_betas(np.ravel(field("betas", None)), f"{path} (betas)")
        trans = field("trans", (n, 3))
        joints = field("jointPositions", (n, 3 * _J)).reshape(n, _J, 3)
        valid = field("campose_valid", (n,)) > 0
        cameras = np.where(valid[:, None, None], cameras, np.eye(4))  # invalid ones may hold anything
        rotation = cameras[:, :3, :3]
        translation = cameras[:, :3, 3]
        check_rotations(rotation, f"{path} (cam_poses)")
        gender = _GENDERS[letter]
        body = self.tools.bodies.get(gender)
        # Without the model, the pelvis (3,) of the shaped body at rest is the median over the frames.
        offsets = joints[:, SMPL24.index("pelvis")] - trans
        pelvis = np.median(offsets, axis=0) if body is None else rest_pelvis(body, betas)
        in_world = BodyParams(field("poses", (n, 72), MAX_RADIANS), betas, trans)
        params = in_world.in_axes(rotation, translation, pelvis)
        keypoints = field("poses2d", (n, 3, len(OPENPOSE18))).transpose(0, 2, 1) + np.array([0.5, 0.5, 0])
        return _Actor(
            gender,
            body is not None,
            betas,
            params.poses,
            params.trans,
            np.einsum("nij,nkj->nki", rotation, joints) + translation[:, None],
            np.stack([to_coco17(row, OPENPOSE18) for row in keypoints]),
            valid,
        )


def _of_actor(fields: Mapping[str, Any], name: str, number: int, count: int, path: Path) -> Any:
    values = fields.get(name)
    if not isinstance(values, list | tuple | np.ndarray):
        raise InputError(path, f"lacks {name}", expected="a list over people")
    if len(values) != count:
        raise InputError(f"{path} ({name})", "does not fit poses", expected=f"{count} people", got=str(len(values)))
    return values[number]


def _person(identity: str, actor: _Actor, frame: int, video: _Video, size: tuple[int, int]) -> Person:
    joints = np.concatenate((actor.joints[frame], np.ones((_J, 1))), 1)
    pixels = project_points(actor.joints[frame], video.focal, video.principal_point)
    keypoints = {"coco17": actor.keypoints[frame]}
    if not actor.has_model:  # otherwise they are drawn, with their visibility
        keypoints[SMPL24.name] = with_visibility(pixels, np.asarray(np.isfinite(pixels).all(1)))
    return Person(
        identity=identity,
        gender=actor.gender,
        body="smpl",
        box=box_around(pixels, size),
        poses=actor.poses[frame],
        betas=actor.betas,
        trans=actor.trans[frame],
        keypoints=keypoints,
        joints={SMPL24.name: joints},
    )
