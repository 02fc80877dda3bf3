"""RICH: people in real scenes before several still cameras, with fitted SMPL-X bodies.

Layout and licence: data/README.md, after the owners' rich_toolkit and PosePile. Folders are named
scene_person(_person)_action. A pickle holds SMPL-X's parameters of one person in the axes of the scene's first camera,
arrays with one row: transl, global_orient, body_pose (63), betas (10), and parameters of hands and face that are not
read. Fingers have SMPL-X's mean pose, which the owners' poses are added to (`flat_hand_mean=False` in rich_toolkit).
Human-scene contact is not read either.

Labels: `poses` of SMPL's joints (SMPL-X has the same joints; the hands' poses are zero) with the root turned into the
camera and body "smplx", and `betas` of that model; with the models also `trans`, and all labels that are drawn from
bodies. Without the models the joints are unknown, and crops are made around the usual position of the pelvis.

Protocol "rich": the owners' train, val and test. A group is one camera's images of one folder; a crop holds all people
of a frame.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.checks import array_field, existing_file, existing_folder
from humanpose_cli.files.xml_files import parse_xml
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.samples import Group, Person, Sample, split_name
from humanpose_cli.lab.datasets.calibrated import CropOptions, LabCamera, Lens, Shot
from humanpose_cli.lab.datasets.common import FolderSource, check_rotations, first_existing, rest_pelvis
from humanpose_cli.lab.datasets.reading import image_pixels, list_folders, read_pickled_table

Array = NDArray[Any]
SPLITS = ("train", "val", "test")
_WOMEN = frozenset((9, 10, 12, 13, 16, 17, 18, 19, 21))
GENDERS: Mapping[int, str] = {number: "female" if number in _WOMEN else "male" for number in range(22)}
"""Person → gender of the SMPL-X model of their bodies, after the owners' gender.json."""
_IMAGE = re.compile(r"(\d{5})_(\d{2})\.(?:jpe?g|png|bmp)", re.IGNORECASE)
_CENTRES_FROM_CORNER = 0.5  # OpenCV calibrated the cameras


_BODY_JOINTS = 22  # joints of SMPL24 without the last two, the hands
# SMPL-X's pelvis at rest, which differs by a few centimetres between people, and how far people reach around it.
_USUAL_PELVIS = (0.0, -0.36, 0.01)
_REACH = 1.0


@dataclass(frozen=True)
class _Recording:
    """One camera's images of a folder: (frame, file name, numbers of the people with a body)."""

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
    """RICH as samples with all people of a frame."""

    name = "rich"
    title = "RICH"
    contents = "images of RICH"
    example = "images/train, images/val or images/test"
    bodies = ("smplx",)
    mean_hands = True
    splits = SPLITS
    options: CropOptions
    options_type = CropOptions

    def _more_info(self) -> Mapping[str, Any]:
        return {"smplx": bool(self.tools.bodies)}

    # Listing

    def _list(self, notes: list[str]) -> Iterable[Group]:
        groups: list[Group] = []
        for split in filter(self._wants, SPLITS):
            images = self._images(split)
            bodies = self._bodies(split)
            if not images.is_dir():
                notes.append(f"{images}: does not exist; the split {split} is left out")
                continue
            for folder in list_folders(images, f"images of {split}"):
                fits = bodies / folder.name
                what = f"the bodies of {folder.name}"
                if self._is_there(fits, what, notes, "; its images are left out"):
                    cameras = self._cameras(split, folder)
                    groups += [Group(camera.name, len(camera.frames), key=camera) for camera in cameras]
        if not self.tools.bodies:
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
            people, around = zip(*(self._person(recording, frame, number, camera) for number in numbers), strict=True)
            shot = Shot(image_pixels(folder / name), camera.lens, np.concatenate(around))
            yield shot.sample(
                f"{recording.name}/{frame:05d}",
                shot.camera(self.options.crop_size),
                people,
                sequence=recording.name,
                frame=frame,
                splits={"rich": split_name(recording.split)},
            )

    def _person(self, recording: _Recording, frame: int, number: str, camera: LabCamera) -> tuple[Person, Array]:
        """Read a person, and the points (N, 3) in camera axes that a crop must show."""
        path = self._bodies(recording.split) / recording.folder / f"{frame:05d}" / f"{number}.pkl"
        fields = read_pickled_table(path)
        root = array_field(fields, "global_orient", path, (1, 3))
        body = array_field(fields, "body_pose", path, (1, 63))
        trans = array_field(fields, "transl", path, (1, 3))
        betas = array_field(fields, "betas", path, (1, 10))
        poses = np.concatenate((root, body, np.zeros((1, 6))), 1)
        gender = GENDERS[int(number)]
        model = self.tools.bodies.get(gender)
        pelvis = np.array([_USUAL_PELVIS if model is None else rest_pelvis(model, betas[0])])
        params = BodyParams(poses, betas, trans).in_axes(camera.rotation, camera.translation, pelvis)
        poses = params.poses
        trans = params.trans
        person = Person(
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
            return person, pelvis + trans + corners
        rotations, shape, shift = (torch.as_tensor(values, dtype=torch.float32) for values in (poses, betas, trans))
        with torch.no_grad():
            posed = model.pose(axis_angle_to_matrix(rotations.unflatten(1, (24, 3))), shape, shift, vertices=False)
        return person, posed.joints[0, :_BODY_JOINTS].double().numpy()


def read_rich_camera(path: Path) -> LabCamera:
    """Read a camera of scan_calibration: OpenCV's XML with CameraMatrix, Intrinsics and Distortion.

    The distortion is OpenCV's k1, k2, p1, p2, k3; rational models are refused.

    Args:
        path: The file.

    Raises:
        InputError: If a field is damaged; the error names it.
    """
    tree = parse_xml(existing_file(path, "a camera of scan_calibration"))
    placing = _matrix(path, tree, "CameraMatrix", 12).reshape(3, 4)
    intrinsic = _matrix(path, tree, "Intrinsics", 9)
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
