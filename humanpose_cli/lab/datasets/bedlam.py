"""BEDLAM: synthetic videos of dressed people with the SMPL or SMPL-X bodies that were rendered.

Layout and licence: data/README.md.

Labels are what the owners' data_processing makes, or their archives of it (all_npz_12_smpl_training.zip, or
all_npz_12_training.zip for SMPL-X). Fields of a scene's file, a row a person and image:
    imgname   "seq_000000/seq_000000_0000.png"
    pose_cam  (N, 72) SMPL's or (N, 165) SMPL-X's axis-angle, the first three from body to camera axes
    shape     (N, 10), (N, 11) or (N, 16); gender (N,) of the subject; sub (N,) who it is
    trans_cam (N, 3) and cam_ext (N, 4, 4): translations add up; cam_int (N, 3, 3)
    gtkps     (N, J, 2 or 3) pixels of the model's joints, the first 24 (22) of which are those of SMPL24

What was rendered are male and female bodies with ten shape components. The owners' archives describe them by neutral
bodies with eleven, fitted to those: the eleventh is the neutral model's own eleventh, not AGORA's blend towards a child
(pixelite1201/BEDLAM#54; data_processing/df_full_body.py@9ad6adf1 loads the models with 10, 10 and 11 components and
without a template of a child). Labels that data_processing makes of the rendered bodies have ten, and are of the
subject's gender; BEDLAM 2's have 16. All are kept (`Person.more_betas`). Where the models are given, the labels'
bodies are compared with gtkps, and a note has the distance.

Images of scenes whose names contain "closeup" are stored lying on their side and are set up. People who are
hardly visible have no rows: images may show people without labels. Protocol "bedlam": train, or validation
where the folder of the labels' or the images' name says so. A group is a sequence of a scene.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.checks import array_field
from humanpose_cli.io.inputs import natural_order
from humanpose_cli.io.npz_files import read_npz
from humanpose_cli.lab.cache.samples import MORE_BETAS, Group, Person, Sample, split_name
from humanpose_cli.lab.datasets.common import (
    MAX_RADIANS,
    FolderSource,
    SequenceOptions,
    box_around,
    first_existing,
    pinhole,
    project_points,
    with_visibility,
)
from humanpose_cli.lab.datasets.reading import StoredImage, encode_pixels, image_pixels, stored_image

_LABELS = ("bedlam_labels", "training_labels", "validation_labels", "processed_labels", "labels", "")
_IMAGES = ("training_images", "validation_images", "images", "")
_FIELDS = ("imgname", "pose_cam", "shape", "gender", "sub", "trans_cam", "cam_ext", "cam_int", "gtkps")
_BODY = 22  # joints that SMPL and SMPL-X have in common
_KINDS = {72: "smpl", 165: "smplx"}  # columns of pose_cam
_SHAPES = (10, 11, 10 + MORE_BETAS)  # columns of shape
_MAX_COMPARISONS = 50  # people of a scene whose bodies are compared with gtkps
_LYING = "closeup"
_FRAME_RATE = 30.0
_NAME = re.compile(r"(.+)/[^/]*?_(\d+)\.\w+")
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Scene:
    """A scene's labels, a row a person and image: kind "smpl" or "smplx", poses (N, 72), betas (N, 10, 11 or 16), …"""

    names: NDArray[np.str_]
    kind: str
    poses: Array
    betas: Array
    trans: Array
    cameras: Array
    keypoints: Array | None
    genders: NDArray[np.str_]
    subjects: NDArray[np.str_]

    @property
    def joint_count(self) -> int:
        """The number of gtkps that are joints of SMPL24."""
        return len(SMPL24) if self.kind == "smpl" else _BODY


class BedlamSource(FolderSource):
    """BEDLAM as samples with all labelled people of an image."""

    name = "bedlam"
    title = "BEDLAM"
    contents = "labels of BEDLAM"
    example = "bedlam_labels/20221010_3_1000_batch01hand_6fps.npz"
    splits = ("train", "validation")
    bodies = ("smpl", "smplx")
    shape_count = max(_SHAPES)
    options: SequenceOptions
    options_type = SequenceOptions

    def _list(self, notes: list[str]) -> Iterable[Group]:
        labels = {path for name in _LABELS for path in (self.root / name).glob("*.npz")}
        groups: list[Group] = []
        distances: list[Array] = []
        missing: set[str] = set()
        for path in sorted(labels, key=natural_order):
            # The folder that the names in a scene's labels count from.
            folder = first_existing(*(self.root / name / path.stem / "png" for name in _IMAGES))
            split = "validation" if "valid" in f"{path.parent.name} {folder.parent.parent.name}" else "train"
            if not self._wants(split):
                continue
            groups += self._sequences(path, folder, split_name(split), notes)
            if self.tools.bodies:
                scene = _scene(path)
                missing |= set(np.unique(scene.genders)) - set(self.tools.bodies)
                distances.append(_distances(path, scene, self.tools.bodies))
        notes += [
            f"{self.title}: nothing is drawn of {gender} people without their `model`" for gender in sorted(missing)
        ]
        errors = np.concatenate(distances) if distances else np.zeros((0, 2))
        if len(errors):
            every, ten = np.median(errors, axis=0)
            notes.append(
                f"{self.title}: the joints of {len(errors)} bodies lie {every:.2f} pixels (median) from the owners' "
                f"gtkps, {ten:.2f} with their first ten shape components alone"
            )
        return groups

    def _sequences(self, path: Path, folder: Path, split: str, notes: list[str]) -> list[Group]:
        rows: dict[str, dict[int, list[int]]] = {}
        files: dict[tuple[str, int], str] = {}
        for row, name in enumerate(_names(path)):
            match = _NAME.fullmatch(name)
            if match is None or name.startswith("/") or ".." in Path(name).parts:
                raise InputError(f"{path} (imgname)", "names no image", expected="seq_000000/…_0000.png", got=name[:60])
            sequence, frame = match[1], int(match[2])
            files[sequence, frame] = name
            rows.setdefault(sequence, {}).setdefault(frame, []).append(row)
        groups: list[Group] = []
        for sequence, frames in rows.items():
            numbers = sorted(frames)[:: self.options.every]
            images = [(frame, folder / files[sequence, frame]) for frame in numbers]
            present = self._present(images, path, "images", notes)
            entries = [(frame, files[sequence, frame], tuple(frames[frame])) for frame in present]
            key = {"path": path, "folder": folder, "split": split, "images": entries}
            groups.append(Group(f"{path.stem}/{sequence}", len(entries), key=key))
        return groups

    def read(self, group: Group) -> Iterator[Sample]:
        path: Path = group.key["path"]
        scene = _scene(path)
        for frame, name, rows in group.key["images"]:
            image = _upright(group.key["folder"] / name, lying=_LYING in path.stem)
            focal, centre = pinhole(scene.cameras[rows[0]], f"{path} (cam_int)")
            yield Sample(
                f"{group.name}/{frame:04d}",
                image.image,
                image.size,
                focal,
                centre,
                [_person(scene, row, group.name, image.size) for row in rows],
                sequence=group.name,
                frame=frame,
                splits={self.name: group.key["split"]},
                frame_rate=_FRAME_RATE,
            )


def _names(path: Path) -> list[str]:
    names = read_npz(path, {"imgname"}).get("imgname")
    if names is None or names.dtype.kind not in "US" or names.ndim != 1:
        raise InputError(path, "lacks imgname", expected="labels of a scene of BEDLAM")
    return [str(name) for name in names.astype(str)]


@lru_cache(maxsize=1)
def _scene(path: Path) -> _Scene:
    """Read a scene's labels, which its sequences share. Raises InputError if the file is damaged."""
    fields: Mapping[str, Any] = read_npz(path, _FIELDS)
    names = np.array(_names(path))
    count = len(names)
    poses = array_field(fields, "pose_cam", path, (count, None), largest=MAX_RADIANS)
    kind = _KINDS.get(poses.shape[1])
    if kind is None:
        expected = "72 columns of SMPL or 165 of SMPL-X"
        raise InputError(f"{path} (pose_cam)", "are of another model", expected=expected, got=str(poses.shape[1]))
    if kind == "smplx":  # fingers and the face stay at rest
        poses = np.concatenate((poses[:, : 3 * _BODY], np.zeros((count, 3 * (len(SMPL24) - _BODY)))), 1)
    betas = array_field(fields, "shape", path, (count, None))
    if betas.shape[1] not in _SHAPES:
        expected = ", ".join(map(str, _SHAPES))
        raise InputError(
            f"{path} (shape)", "has another number of shape parameters", expected=expected, got=str(betas.shape[1])
        )
    trans = array_field(fields, "trans_cam", path, (count, 3))
    cameras = array_field(fields, "cam_int", path, (count, 3, 3))
    subjects = fields.get("sub", np.full(count, ""))
    keypoints = array_field(fields, "gtkps", path, None) if "gtkps" in fields else None
    if keypoints is not None and (keypoints.ndim != 3 or keypoints.shape[1] not in (45, 127)):
        keypoints = None  # of BEDLAM 2, in an order of its own
    return _Scene(
        names,
        kind,
        poses,
        betas,
        trans + array_field(fields, "cam_ext", path, (count, 4, 4))[:, :3, 3],
        cameras,
        keypoints,
        _genders(path, fields, count) if betas.shape[1] == 10 else np.full(count, "neutral"),
        subjects.astype(str),
    )


def _genders(path: Path, fields: Mapping[str, Any], count: int) -> NDArray[np.str_]:
    """Read the genders of the subjects, whose bodies have ten shape components."""
    genders = np.asarray(fields.get("gender", ""))
    if genders.shape != (count,) or not set(genders.astype(str).tolist()) <= {"male", "female", "neutral"}:
        raise InputError(f"{path} (gender)", "does not name the model of each body", expected="male or female")
    return genders.astype(str)


@torch.no_grad()
def _distances(path: Path, scene: _Scene, models: Mapping[str, Body]) -> Array:
    """Measure how far some bodies' joints are from gtkps: mean pixels (M, 2), with all betas and with the first ten."""
    if scene.keypoints is None:
        return np.zeros((0, 2))
    errors = []
    for row in np.unique(np.linspace(0, len(scene.names) - 1, _MAX_COMPARISONS).astype(int)):
        model = models.get(str(scene.genders[row]))
        if model is None or model.name.partition("-")[0] != scene.kind:
            continue
        if model.shape_count < scene.betas.shape[1]:
            got, expected = f"{model.shape_count} in the file of {model.name}", str(scene.betas.shape[1])
            remedy = "`model`: the owners' file with 300 of SMPL, or 400 of SMPL-X"
            raise InputError(
                f"{path} (shape)", "needs more shape components", expected=expected, got=got, remedy=remedy
            )
        rotations = axis_angle_to_matrix(torch.from_numpy(scene.poses[row]).float().unflatten(0, (len(SMPL24), 3)))
        focal, centre = pinhole(scene.cameras[row], f"{path} (cam_int)")
        apart = []
        for count in (scene.betas.shape[1], 10):
            betas = torch.zeros(1, model.shape_count)
            betas[0, :count] = torch.from_numpy(scene.betas[row, :count])
            joints = model.pose(
                rotations[None], betas, torch.from_numpy(scene.trans[row, None]).float(), vertices=False
            )
            pixels = project_points(joints.joints[0].double().numpy(), focal, centre)[: scene.joint_count]
            apart.append(np.linalg.norm(pixels - scene.keypoints[row, : scene.joint_count, :2], axis=1).mean())
        errors.append(apart)
    return np.array(errors).reshape(-1, 2)


def _upright(path: Path, *, lying: bool) -> StoredImage:
    """Read an image; those that lie on their side are turned by a right angle, clockwise."""
    if not lying:
        return stored_image(path)
    return encode_pixels(np.ascontiguousarray(np.rot90(image_pixels(path), -1)), lossless=True)


def _person(scene: _Scene, row: int, sequence: str, size: tuple[int, int]) -> Person:
    keypoints = {}
    box = None
    if scene.keypoints is not None:
        joints = scene.joint_count
        pixels = scene.keypoints[row, :joints, :2]
        points = with_visibility(pixels, np.ones(joints))
        keypoints[SMPL24.name] = np.pad(points, ((0, len(SMPL24) - joints), (0, 0)))
        box = box_around(pixels, size)
    subject = str(scene.subjects[row])
    more = scene.betas[row, 10:]
    return Person(
        identity=subject,
        clothing=f"{sequence}/{subject}" if subject else "",
        gender=str(scene.genders[row]),
        body=scene.kind,
        box=box,
        poses=scene.poses[row],
        betas=scene.betas[row, :10],
        more_betas=np.pad(more, (0, MORE_BETAS - len(more))) if len(more) else None,
        trans=scene.trans[row],
        keypoints=keypoints,
    )
