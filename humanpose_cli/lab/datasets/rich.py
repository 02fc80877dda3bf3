"""RICH: people in real scenes before several still cameras, with fitted SMPL-X bodies.

Layout and licence: data/README.md, after the owners' rich_toolkit and PosePile. Folders are named
scene_person(_person)_action; a pickle holds SMPL-X's parameters of one person in the axes of the scene's first camera,
arrays with one row: transl, global_orient, body_pose (63), betas (10) and others for hands and face that are not read:
fingers have SMPL-X's mean pose, which the owners' poses are added to (`flat_hand_mean=False` in rich_toolkit).
Human-scene contact is not read either.

Labels: `poses` of SMPL's joints (SMPL-X has the same, the hands' are zero) with the root turned into the camera and
body "smplx", `betas` of that model; with the models also `trans`, and all labels that are drawn from bodies. Without
them the joints are unknown: crops are made around the usual position of the pelvis.

Protocol "rich": the owners' train, val and test. A group is one camera's images of one folder; a crop holds all
people of a frame.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.engine.skinning.op import forward_kinematics
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.checks import array_field, existing_file, existing_folder
from humanpose_cli.io.npz_files import read_npz
from humanpose_cli.io.xml_files import parse_xml
from humanpose_cli.lab.cache.samples import Group, Person, Sample, split_name
from humanpose_cli.lab.datasets.calibrated import CropOptions, LabCamera, Lens, Shot, with_joints
from humanpose_cli.lab.datasets.common import FolderSource, check_rotations, first_existing
from humanpose_cli.lab.datasets.reading import image_pixels, list_folders, read_pickled_table

# SMPL-X's joints, without its surface: what placing its bodies and labelling their joints takes.
#
# The model files (https://smpl-x.is.tue.mpg.de, licensed) are read as plain arrays. Only the first 22 joints are posed,
# which are those of SMPL, hands apart: fingers, jaw and eyes do not move them, nor do facial expressions.

BODY_JOINTS = 22
"""SMPL24 without its last two, the hands."""
_JOINTS, _BETAS = 55, 10
_ARRAYS = ("v_template", "shapedirs", "J_regressor")
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class SmplxJoints:
    """Joints of the shaped body at rest: template (22, 3) metres, and directions (22, 3, 10) metres per beta."""

    template: Array
    directions: Array

    @classmethod
    def read(cls, path: Path) -> SmplxJoints:
        """Read SMPLX_MALE.npz and the like. Raises InputError if it is missing, damaged or another model."""
        existing_file(path, "a SMPL-X model", remedy="register at https://smpl-x.is.tue.mpg.de and download SMPL-X 1.1")
        arrays: Mapping[str, Array] = read_npz(path, _ARRAYS)
        template = array_field(arrays, "v_template", path, (None, 3))
        directions = array_field(arrays, "shapedirs", path, (len(template), 3, None))
        regressor = array_field(arrays, "J_regressor", path, (_JOINTS, len(template)))[:BODY_JOINTS]
        return cls(regressor @ template, np.einsum("jv,vcb->jcb", regressor, directions[..., :_BETAS]))

    @classmethod
    def of_body(cls, body: Body) -> SmplxJoints:
        """Take the joints of a SMPL-X model that was read as a body."""
        template, directions = body.joint_template[:BODY_JOINTS], body.joint_directions[:BODY_JOINTS]
        return cls(template.double().numpy(), directions.double().numpy())

    def pelvis(self, betas: Array) -> Array:
        """Return the pelvis (N, 3) of the shaped body at rest, for betas (N, 10)."""
        return self.template[0] + betas @ self.directions[0].T

    def posed(self, poses: Array, betas: Array, trans: Array) -> Array:
        """Pose joints (N, 22, 3): poses (N, 66 or more) axis-angle, betas (N, 10) and trans (N, 3) metres."""
        rest = self.template + np.einsum("nb,jcb->njc", betas, self.directions)
        rotations = axis_angle_to_matrix(torch.as_tensor(poses[:, : 3 * BODY_JOINTS]).double().unflatten(1, (-1, 3)))
        parents = SMPL24.parents[:BODY_JOINTS]
        positions = forward_kinematics(rotations, torch.as_tensor(rest), parents, backend="reference").positions
        return positions.numpy() + trans[:, None]


SPLITS = ("train", "val", "test")
_WOMEN = frozenset((9, 10, 12, 13, 16, 17, 18, 19, 21))
GENDERS: Mapping[int, str] = {number: "female" if number in _WOMEN else "male" for number in range(22)}
"""Person → whose SMPL-X model their bodies belong to, after the owners' gender.json."""
_IMAGE = re.compile(r"(\d{5})_(\d{2})\.(?:jpe?g|png|bmp)", re.IGNORECASE)
_CENTRES_FROM_CORNER = 0.5  # OpenCV calibrated the cameras


# SMPL-X's pelvis at rest, which differs by a few centimetres between people, and how far people reach around it.
_USUAL_PELVIS, _REACH = (0.0, -0.36, 0.01), 1.0


@dataclass(frozen=True)
class RichOptions(CropOptions):
    """every, crop_size, allow_missing and split as for all calibrated sources.

    smplx  folder with SMPLX_MALE.npz and SMPLX_FEMALE.npz, where no models are passed in; None for
           ROOT/body_models/smplx, where that is there
    """

    smplx: str | None = None


@dataclass(frozen=True)
class _Recording:
    """One camera's images of one folder that are kept: (frame, file name, numbers of the people with a body)."""

    split: str
    folder: str
    number: int
    frames: tuple[tuple[int, str, tuple[str, ...]], ...]

    @property
    def name(self) -> str:
        return f"{self.split}/{self.folder}/cam_{self.number:02d}"

    @property
    def scene(self) -> str:
        return self.folder.split("_")[0]

    @property
    def action(self) -> str:
        return self.folder.split("_")[-1].rstrip("0123456789")


class RichSource(FolderSource):
    """RICH as samples with all of a frame's people."""

    name = "rich"
    title = "RICH"
    contents = "images of RICH"
    example = "images/train, images/val or images/test"
    bodies = ("smplx",)
    mean_hands = True
    splits = SPLITS
    options: RichOptions
    options_type = RichOptions

    def _more_info(self) -> Mapping[str, Any]:
        return {"smplx": bool(self._models)}

    @cached_property
    def _models(self) -> Mapping[str, SmplxJoints]:
        """Gender → model; empty without models."""
        if self.tools.bodies:
            return {gender: SmplxJoints.of_body(body) for gender, body in self.tools.bodies.items()}
        option_folder = self.options.smplx
        folder = self.root / "body_models" / "smplx" if option_folder is None else Path(option_folder)
        if option_folder is None and not folder.is_dir():
            return {}
        existing_folder(folder, "the folder of SMPL-X's models")
        return {gender: SmplxJoints.read(folder / f"SMPLX_{gender.upper()}.npz") for gender in ("male", "female")}

    # Listing

    def _list(self, notes: list[str]) -> Iterable[Group]:
        _ = self._models
        groups: list[Group] = []
        for split in filter(self._wants, SPLITS):
            images, bodies = self._images(split), self._bodies(split)
            if not images.is_dir():
                notes.append(f"{images}: does not exist; the split {split} is left out")
                continue
            for folder in list_folders(images, f"images of {split}"):
                fits, what = bodies / folder.name, f"the bodies of {folder.name}"
                if self._is_there(fits, what, notes, "; its images are left out"):
                    cameras = self._cameras(split, folder)
                    groups += [Group(camera.name, len(camera.frames), key=camera) for camera in cameras]
        if not self._models:
            lacks = "no joints, no maps and no translations of bodies, which training and evaluation need"
            notes.append(f"RICH: without SMPL-X's models the samples have {lacks}: `model=SMPLX_MALE.npz`")
        return groups

    def _images(self, split: str) -> Path:
        return first_existing(*(self.root / name for name in (f"images/{split}", split, f"images_jpg_subset/{split}")))

    def _bodies(self, split: str) -> Path:
        return first_existing(self.root / "bodies" / split, self.root / f"{split}_body")

    def _cameras(self, split: str, folder: Path) -> Iterator[_Recording]:
        """List the still cameras of a folder, with those images that have a body."""
        people = folder.name.split("_")[1:-1]
        if not people or not all(number.isdecimal() and int(number) in GENDERS for number in people):
            raise InputError(folder, "is no folder of RICH", expected="scene_person_action, such as BBQ_001_guitar")
        people_of_frame: dict[int, tuple[str, ...]] = {}
        for frame_folder in list_folders(self._bodies(split) / folder.name, f"bodies of {folder.name}"):
            fitted_people = tuple(number for number in people if (frame_folder / f"{number}.pkl").is_file())
            if frame_folder.name.isdecimal() and fitted_people:
                people_of_frame[int(frame_folder.name)] = fitted_people
        scene = folder.name.split("_")[0]
        for camera in list_folders(folder, "cameras"):
            if not re.fullmatch(r"cam_\d\d", camera.name):
                continue
            number = int(camera.name.removeprefix("cam_"))
            calibration = self._calibration(scene, number)
            if not calibration.is_file():
                existing_folder(calibration.parent, f"the cameras of the scene {scene}")
                continue  # it was carried about
            images = sorted((int(m[1]), m[0]) for path in camera.iterdir() if (m := _IMAGE.fullmatch(path.name)))
            frames = [(frame, name, people_of_frame[frame]) for frame, name in images if frame in people_of_frame]
            if not frames:
                problem = "holds no image with a body" if images else "holds no images"
                raise InputError(camera, problem, expected=f"names such as 00150_{number:02d}.jpeg")
            yield _Recording(split, folder.name, number, tuple(frames[:: self.options.every]))

    def _calibration(self, scene: str, number: int) -> Path:
        return self.root / "scan_calibration" / scene / "calibration" / f"{number:03d}.xml"

    # Reading

    def read(self, group: Group) -> Iterator[Sample]:
        recording: _Recording = group.key
        camera = read_rich_camera(self._calibration(recording.scene, recording.number))
        folder = self._images(recording.split) / recording.folder / f"cam_{recording.number:02d}"
        for frame, name, numbers in recording.frames:
            bodies = [self._body(recording, frame, number, camera) for number in numbers]
            shot = Shot(image_pixels(folder / name), camera.lens, np.concatenate([body.around for body in bodies]))
            crop = shot.camera(self.options.crop_size)
            yield shot.sample(
                f"{recording.name}/{frame:05d}",
                crop,
                [b.person if b.joints is None else with_joints(b.person, SMPL24.name, b.joints, crop) for b in bodies],
                sequence=recording.name,
                frame=frame,
                splits={"rich": split_name(recording.split)},
            )

    def _body(self, recording: _Recording, frame: int, number: str, camera: LabCamera) -> _Body:
        path = self._bodies(recording.split) / recording.folder / f"{frame:05d}" / f"{number}.pkl"
        fields = read_pickled_table(path)
        root, body = array_field(fields, "global_orient", path, (1, 3)), array_field(fields, "body_pose", path, (1, 63))
        trans, betas = array_field(fields, "transl", path, (1, 3)), array_field(fields, "betas", path, (1, 10))
        poses = np.concatenate((root, body, np.zeros((1, 6))), 1)
        gender = GENDERS[int(number)]
        model = self._models.get(gender)
        pelvis = np.array([_USUAL_PELVIS]) if model is None else model.pelvis(betas)
        params = BodyParams(poses, betas, trans).in_axes(camera.rotation, camera.translation, pelvis)
        poses, trans = params.poses, params.trans
        facts = Person(
            identity=number,
            clothing=f"{recording.scene}/{number}",
            activity=recording.action,
            gender=gender,
            body="smplx",
            poses=poses[0],
            betas=betas[0],
            trans=None if model is None else trans[0],
        )
        if model is None:
            corners = np.array([[x, y, 0] for x in (-_REACH, _REACH) for y in (-_REACH, _REACH)])
            return _Body(facts, None, pelvis + trans + corners)
        joints = np.zeros((len(SMPL24), 4))
        joints[:BODY_JOINTS, :3] = model.posed(poses, betas, trans)[0]
        joints[:BODY_JOINTS, 3] = 1
        # Of models that are passed in, joints are drawn with their visibility.
        return _Body(facts, None if self.tools.bodies else joints, joints[:BODY_JOINTS, :3])


@dataclass(frozen=True, eq=False)
class _Body:
    """One person in camera axes: joints (24, 4) that are labels, or None, and what a crop must show (N, 3)."""

    person: Person
    joints: Array | None
    around: Array


def read_rich_camera(path: Path) -> LabCamera:
    """Read a camera of scan_calibration: OpenCV's XML with CameraMatrix (3 × 4, metres), Intrinsics and Distortion.

    The distortion is OpenCV's k1, k2, p1, p2, k3; rational models are refused. Raises InputError that names the damaged
    field.
    """
    tree = parse_xml(existing_file(path, "a camera of scan_calibration"))
    placing, intrinsic = _matrix(path, tree, "CameraMatrix", 12).reshape(3, 4), _matrix(path, tree, "Intrinsics", 9)
    distortion = np.zeros(14)
    values = _matrix(path, tree, "Distortion", None)
    distortion[: len(values)] = values
    if len(values) < 4 or distortion[5:].any():
        raise InputError(f"{path} (Distortion)", "is of another model", expected="k1 k2 p1 p2 k3", got=str(values)[:60])
    k1, k2, p1, p2, k3 = (float(number) for number in distortion[:5])
    centre = (float(intrinsic[2]) + _CENTRES_FROM_CORNER, float(intrinsic[5]) + _CENTRES_FROM_CORNER)
    lens = Lens((float(intrinsic[0]), float(intrinsic[4])), centre, (k1, k2, k3), (p1, p2))
    check_rotations(placing[:, :3], f"{path} (CameraMatrix)")
    return LabCamera(lens, placing[:, :3], placing[:, 3])


def _matrix(path: Path, tree: ElementTree.Element, name: str, count: int | None) -> Array:
    text = tree.findtext(f"./{name}/data", "")
    try:
        numbers = np.array([float(number) for number in text.split()])
    except ValueError as error:
        raise InputError(f"{path} ({name})", "is damaged", expected="numbers", got=text[:40]) from error
    if (count is not None and len(numbers) != count) or len(numbers) > 14 or not np.isfinite(numbers).all():
        raise InputError(f"{path} ({name})", "is damaged", expected=f"{count or 5} numbers", got=str(len(numbers)))
    return numbers
