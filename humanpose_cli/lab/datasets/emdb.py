"""EMDB: 81 videos of ten people by a camera that is carried about, SMPL from electromagnetic sensors.

Layout and licence: data/README.md.

Fields of a pickle (the owners' dataset.md), N frames at 30 Hz:
    gender, name, emdb1, emdb2 (which evaluation it belongs to), n_frames, good_frames_mask (N,)
    camera: intrinsics (3, 3), extrinsics (N, 4, 4) world to camera, width, height
    smpl: poses_root (N, 3), poses_body (N, 69), trans (N, 3), betas (10,), in world axes
    kp2d (N, 24, 2): SMPL's joints in the image; bboxes: bboxes (N, 4), invalid_idxs

Bodies turn with the camera about their pelvis (`BodyParams.in_axes`). If no model is passed in, the rest pelvis of the
shaped body is solved in least squares: its projection must lie at the pelvis of kp2d in all frames.

Protocols "emdb1" (17 videos), "emdb2" (25 videos, for trajectories in the world) and "emdb" (all) have a test split
only: the dataset is not for training. A group is a video; frames that the owners call invalid are left out. The
camera's path is kept (`Sample.world_to_camera`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.checks import array_field
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.inputs import natural_order
from humanpose_cli.lab.cache.samples import Group, Person, Sample
from humanpose_cli.lab.datasets.common import (
    MAX_RADIANS,
    FolderSource,
    SequenceOptions,
    box_around,
    check_image_size,
    check_rotations,
    first_betas,
    pinhole,
    project_points,
    rest_pelvis,
    with_visibility,
)
from humanpose_cli.lab.datasets.reading import read_pickled_table, stored_image

FRAME_RATE = 30.0
OFFICIAL_VIDEOS = {"emdb1": 17, "emdb2": 25}
_PELVIS = SMPL24.index("pelvis")
_MISFIT = 5.0  # pixels, maximum of the median distance between the pelvis and kp2d
Array = NDArray[Any]


@dataclass(frozen=True)
class EmdbOptions(SequenceOptions):
    """Options of EMDB; allow_missing and every as for all sources. All of it is one split.

    Attributes:
        subset: "emdb1" or "emdb2" for the videos of that evaluation; "" for all.
    """

    subset: Literal["", "emdb1", "emdb2"] = ""


@dataclass(frozen=True, eq=False)
class _Video:
    """A video: focal length and principal point in pixels, size, cameras (N, 3, 4), and the person of each frame."""

    focal: float
    principal_point: tuple[float, float]
    size: tuple[int, int]
    cameras: Array
    people: list[Person]


class EmdbSource(FolderSource):
    """EMDB as videos of one person."""

    name = "emdb"
    title = "EMDB"
    contents = "videos of EMDB"
    example = "P0/09_outdoor_walk/P0_09_outdoor_walk_data.pkl"
    bodies = ("smpl",)
    genders = ("female", "male")
    options: EmdbOptions
    options_type = EmdbOptions

    def _list(self, notes: list[str]) -> Iterable[Group]:
        files = sorted(self.root.glob("P[0-9]*/*/P*_data.pkl"), key=natural_order)
        if not files:
            return []
        groups: list[Group] = []
        counts = dict.fromkeys(OFFICIAL_VIDEOS, 0)
        for path in files:
            fields = read_pickled_table(path)
            protocols = [name for name in OFFICIAL_VIDEOS if bool(fields.get(name))]
            for name in protocols:
                counts[name] += 1
            if self.options.subset and self.options.subset not in protocols:
                continue
            valid = array_field(fields, "good_frames_mask", path, (None,)) > 0
            frames = [frame for frame in np.flatnonzero(valid).tolist() if frame % self.options.every == 0]
            present = self._present([(frame, _image(path, frame)) for frame in frames], path, "images", notes)
            name = f"{path.parent.parent.name}/{path.parent.name}"
            splits = dict.fromkeys(("emdb", *protocols), "test")
            groups.append(Group(name, len(present), key={"path": path, "frames": present, "splits": splits}))
        for name, official in OFFICIAL_VIDEOS.items():
            if self.options.subset in ("", name):
                self._check_count(self.root, f"videos of {name}", official, counts[name], notes)
        return groups

    def read(self, group: Group) -> Iterator[Sample]:
        path: Path = group.key["path"]
        video = self._load(path, group.name)
        for frame in group.key["frames"]:
            image = stored_image(_image(path, frame))
            check_image_size(_image(path, frame), image.size, video.size)
            yield Sample(
                f"{group.name}/{frame:05d}",
                image.image,
                image.size,
                video.focal,
                video.principal_point,
                [video.people[frame]],
                sequence=group.name,
                frame=frame,
                splits=group.key["splits"],
                frame_rate=FRAME_RATE,
                world_to_camera=video.cameras[frame],
            )

    def _load(self, path: Path, name: str) -> _Video:
        fields = read_pickled_table(path)
        camera, smpl, boxes = (_table(fields, name, path) for name in ("camera", "smpl", "bboxes"))
        intrinsics = array_field(camera, "intrinsics", path, (3, 3))
        extrinsics = array_field(camera, "extrinsics", path, (None, 4, 4))
        count = len(extrinsics)
        rotation = extrinsics[:, :3, :3]
        translation = extrinsics[:, :3, 3]
        check_rotations(rotation, f"{path} (extrinsics)")
        focal, centre = pinhole(intrinsics, f"{path} (intrinsics)")
        gender = str(fields.get("gender"))
        if gender not in ("female", "male", "neutral"):
            raise InputError(f"{path} (gender)", "names no model", expected="female, male or neutral", got=gender[:20])
        root = array_field(smpl, "poses_root", path, (count, 3), largest=MAX_RADIANS)
        body = array_field(smpl, "poses_body", path, (count, 69), largest=MAX_RADIANS)
        trans = array_field(smpl, "trans", path, (count, 3))
        betas = first_betas(array_field(smpl, "betas", path, None).ravel(), f"{path} (betas)")
        keypoints = array_field(fields, "kp2d", path, (count, len(SMPL24), 2), finite=False)
        valid = array_field(fields, "good_frames_mask", path, (count,)) > 0
        model = self.tools.bodies.get(gender)
        if model is None:
            pixels = keypoints[valid, _PELVIS]
            pelvis = _pelvis_at_rest(path, intrinsics, rotation[valid], translation[valid], trans[valid], pixels)
        else:
            pelvis = rest_pelvis(model, betas)
        in_world = BodyParams(np.concatenate((root, body), 1), betas, trans)
        params = in_world.in_axes(rotation, translation, pelvis)
        size = (_size(camera, "width", path), _size(camera, "height", path))
        person_boxes = array_field(boxes, "bboxes", path, (count, 4), finite=False)
        facts = Person(name.partition("/")[0], clothing=name, gender=gender, body="smpl", betas=betas)
        people = []
        for pose, shift, pixels, box in zip(params.poses, params.trans, keypoints, person_boxes, strict=True):
            points = {}
            if model is None:  # otherwise they are drawn, with their visibility
                points[SMPL24.name] = with_visibility(pixels, np.isfinite(pixels).all(1))
            usable = np.isfinite(box).all() and (box[2:] > box[:2]).all()
            box = box if usable else box_around(pixels, size)
            people.append(replace(facts, box=box, poses=pose, trans=shift, keypoints=points))
        return _Video(focal, centre, size, extrinsics[:, :3], people)


def _image(path: Path, frame: int) -> Path:
    return path.parent / "images" / f"{frame:05d}.jpg"


def _table(fields: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    table = fields.get(name)
    if not isinstance(table, dict):
        raise InputError(path, f"lacks {name}", expected=f"a table {name}", got=type(table).__name__)
    return table


def _size(camera: Mapping[str, Any], name: str, path: Path) -> int:
    value = camera.get(name)
    if not isinstance(value, int | float | np.integer | np.floating) or not value >= 1:
        raise InputError(f"{path} ({name})", "is no size", expected="pixels", got=str(value)[:20])
    return int(value)


def _pelvis_at_rest(
    path: Path, intrinsics: Array, rotation: Array, translation: Array, trans: Array, pixels: Array
) -> Array:
    """Solve for the rest pelvis J (3,) such that R (J + trans) + t is projected to the pixels (N, 2)."""
    # With p = R (J + trans) + t, every pixel yields two equations, linear in J: f p_x = (x − c_x) p_z, and alike for y.
    rows = []
    values = []
    origins = np.einsum("nij,nj->ni", rotation, trans) + translation
    for axis in (0, 1):
        offset = (pixels[:, axis] - intrinsics[axis, 2])[:, None]
        rows.append(intrinsics[axis, axis] * rotation[:, axis] - offset * rotation[:, 2])
        values.append(offset[:, 0] * origins[:, 2] - intrinsics[axis, axis] * origins[:, axis])
    if not len(pixels) or not np.isfinite(pixels).all():
        raise InputError(f"{path} (kp2d)", "holds pixels that are not finite in valid frames")
    pelvis = np.linalg.lstsq(np.concatenate(rows), np.concatenate(values), rcond=None)[0]
    points = np.einsum("nij,nj->ni", rotation, pelvis + trans) + translation
    focal = np.array([intrinsics[0, 0], intrinsics[1, 1]])
    errors = np.linalg.norm(project_points(points, focal, intrinsics[:2, 2]) - pixels, axis=1)
    if not np.median(errors) <= _MISFIT:
        got = f"{np.median(errors):.0f} pixels apart"
        raise InputError(f"{path} (kp2d)", "does not fit the camera and the bodies", got=got)
    return np.asarray(pelvis)
