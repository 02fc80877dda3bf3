"""Human3.6M: seven actors with public poses, 15 activities twice each, four calibrated cameras, 50 frames a second.

Layout and licence: data/README.md, after the owners' archives (Poses_D3_Positions_mono_S1.tgz, Videos_S1.tgz …) and the
public loaders of SPIN, VideoPose3D, mmhuman3d and PosePile. VideoPose3D's data_3d_h36m.npz, pickled objects without
cameras, is not read.

Protocols:
- "nbf": S1, S5, S6, S7 for training, S8 for validation, S9 and S11 for testing, every 10th frame (section 4).
- "deform-and-learn": S1, S5, S6, S7, S8 for training, S9 and S11 for testing (section 6.1, Protocol #1).
- "p1" and "p2": the same actors, every 5th frame, as HMR and SPIN are evaluated: p1 on all cameras, p2 on camera
60457274. They are left out if `every` does not divide 5.

One pinhole view of the actor is kept of each frame (`calibrated`); labels are the joints, and bodies from MoSh fits or
from the joint fitter. Three activities of S9 have joints 20 cm off (SittingDown 1, Waiting 1, Greeting): they are kept
as released, so that figures compare. The video S11 Directions.54138969 is damaged in the release and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import H36M17
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.options import option
from humanpose_cli.files.checks import array_field, existing_file, existing_folder
from humanpose_cli.files.xml_files import parse_xml
from humanpose_cli.io.densepose_files import encode_densepose, read_densepose
from humanpose_cli.io.image_sequences import natural_order
from humanpose_cli.lab.cache.samples import Group, Person, Sample
from humanpose_cli.lab.datasets.calibrated import (
    CropOptions,
    LabCamera,
    Lens,
    Shot,
    trans_by_joints,
    with_fitted_bodies,
    with_joints,
)
from humanpose_cli.lab.datasets.common import FolderSource, check_image_size, first_betas, first_existing
from humanpose_cli.lab.datasets.laboratory_calibrations import (
    H36M_CAMERAS,
    H36M_FIRST_PIXEL,
    h36m_numbers,
    h36m_rotation,
)
from humanpose_cli.lab.datasets.mocap_files import cdf_shape, read_cdf
from humanpose_cli.lab.datasets.reading import image_pixels, read_pickled_table, video_frames

# The files of Human3.6M: calibration, 3-D joints, and MoSh fits that some users have.
#
# After the owners' code (H36MDataBase, H36MCamera, ProjectPointRadial of the release 1.2) and public loaders of the
# fits (HMR, mmhuman3d, VIBE).

Array = NDArray[Any]
CAMERAS = H36M_CAMERAS
"""Cameras in the order of metadata.xml and of the fits' cam0 to cam3."""
SIZES = ((1000, 1000), (1000, 1002))
"""Sizes of the videos, which differ between cameras and, within a camera, between actions of S7."""
FRAME_RATE = 50.0
MOSH_EVERY = 5
"""The fits have a row for every fifth frame of the videos, and none after their end."""
_JOINTS = 32
# Rows of the 32 joints (of which many are doubled) in the order of h36m17.
_H36M17_ROWS = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]


def read_cameras(path: Path) -> Mapping[tuple[int, str], LabCamera]:
    """Read the cameras from metadata.xml.

    Args:
        path: The file.

    Returns:
        (number of the subject, camera) → camera.
    """
    existing_file(path, "Human3.6M's metadata.xml, which is part of the owners' code")
    extrinsics, lenses = h36m_numbers(path, parse_xml(path))
    cameras = {}
    for name, poses, lens in zip(CAMERAS, extrinsics, lenses, strict=True):
        for subject, pose in enumerate(poses, 1):
            rotation = h36m_rotation(pose[:3])
            cameras[subject, name] = LabCamera(_lens(lens), rotation, -rotation @ pose[3:] / 1000)
    return cameras


def _lens(row: Array) -> Lens:
    fx, fy, cx, cy, k1, k2, k3, p1, p2 = (float(number) for number in row)
    centre = (cx + H36M_FIRST_PIXEL, cy + H36M_FIRST_PIXEL)
    return Lens((fx, fy), centre, (k1, k2, k3), (p1, p2), tangential_gain=1.0)


def pose_frames(path: Path) -> int:
    """Return the number of frames in a pose file (.cdf), from its headers."""
    shape = cdf_shape(path, "Pose")
    values = 3 * _JOINTS
    if shape[-1] != values or len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != 1):
        raise InputError(path, "has poses of another shape", expected=f"(1, frames, {values})", got=str(shape))
    return int(np.prod(shape[:-1]))


def read_joints(path: Path) -> Array:
    """Read the joints of a pose file in the order of h36m17.

    Args:
        path: The file. Files of D3_Positions are in the world's axes, files of D3_Positions_mono in the camera's.

    Returns:
        (frames, 17, 3) metres, in the file's axes.
    """
    frames = pose_frames(path)
    values = np.asarray(read_cdf(path, "Pose"), np.float64).reshape(frames, _JOINTS, 3)
    if not np.isfinite(values).all():
        raise InputError(path, "holds joints that are not finite", remedy="unpack or download it again")
    assert len(_H36M17_ROWS) == len(H36M17)
    return values[:, _H36M17_ROWS] / 1000


def read_mosh(path: Path) -> tuple[Array, Array]:
    """Read the bodies that MoSh fitted to one video.

    The files `S1/Directions 1_cam0_aligned.pkl` hold `new_poses` in the camera's axes, with the root turned by half a
    turn about x (as HMR's authors say), and no translations: with SMPL they follow from the joints.

    Args:
        path: The file.

    Returns:
        (N, 72) poses in radians, the root mapping body to camera axes, and (10,) betas.

    Raises:
        InputError: If the file is missing or of another kind.
    """
    existing_file(path, "a MoSh fit of this video")
    fields = read_pickled_table(path)
    poses = array_field(fields, "new_poses", path, (None, 72))
    betas = array_field(fields, "betas", path, (None,))
    root = Rotation.from_rotvec(poses[:, :3]) * Rotation.from_rotvec([np.pi, 0, 0])
    return np.concatenate((root.as_rotvec(), poses[:, 3:]), 1), first_betas(betas, f"{path} (betas)")


PROTOCOLS: Mapping[str, Mapping[str, str]] = {
    name: {**dict.fromkeys(("S1", "S5", "S6", "S7"), "train"), "S8": validation, "S9": "test", "S11": "test"}
    for name, validation in (("nbf", "validation"), ("deform-and-learn", "train"), ("p1", "train"), ("p2", "train"))
}
_NBF_EVERY = 10
_HMR_EVERY = 5
_FRONTAL = "60457274"
_SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
_ACTIONS = 30
_METADATA = ("metadata.xml", "Release-v1.2/metadata.xml", "Release-v1.1/metadata.xml")
_DAMAGED_VIEWS = frozenset([("S11", "Directions", "54138969")])
_SAME_ACTIVITY = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}


@dataclass(frozen=True)
class H36mOptions(CropOptions):
    """Options of Human3.6M; every, crop_size, allow_missing and split as for all calibrated sources.

    Attributes:
        mosh: Folder of MoSh fits, such as neutrMosh/neutrSMPL_H3.6, with `S1/Directions 1_cam0_aligned.pkl`; None takes
            bodies from the joint fitter, if one is passed in.
        densepose: Folder of DensePose's output on the frames: `S1_Directions_1.54138969_000001_IUV.png`, counted from
            1.
        cameras: Cameras whose videos are read.
    """

    mosh: str | None = None
    densepose: str | None = None
    cameras: tuple[str, ...] = option(CAMERAS, "Names of the cameras whose videos are read.")


@dataclass(frozen=True)
class _Video:
    """One video, its frames with joints, and the pattern of extracted frames ("" for a video)."""

    subject: str
    action: str
    camera: str
    frames: int = 0
    taken_frames: Sequence[int] = ()
    pattern: str = ""

    @property
    def stem(self) -> str:
        """Usual name of extracted frames, without their number."""
        return f"{self.subject}_{self.action.replace(' ', '_')}.{self.camera}"

    @property
    def sequence(self) -> str:
        return f"{self.subject}/{self.action.replace(' ', '_')}.{self.camera}"


class H36mSource(FolderSource):
    """Human3.6M as samples with one person each; a group is one video."""

    name = "h36m"
    title = "Human3.6M"
    contents = "video with joints of Human3.6M"
    example = ", ".join(_SUBJECTS)
    bodies = ("smpl",)
    splits = ("train", "val", "test")
    options: H36mOptions
    options_type = H36mOptions

    def _prepare(self) -> None:
        for folder in (self.options.mosh, self.options.densepose):
            if folder is not None:
                existing_folder(Path(folder), "a folder with results on Human3.6M")

    def _more_info(self) -> Mapping[str, Any]:
        results = {"mosh": self.options.mosh is not None, "densepose": self.options.densepose is not None}
        return {**results, **({"bodies_by": {"name": "MoSh"}} if self.options.mosh else self._fitter_info())}

    @cached_property
    def _cameras(self) -> Mapping[tuple[int, str], LabCamera]:
        return read_cameras(first_existing(*(self.root / name for name in _METADATA)))

    # Listing

    def _list(self, notes: list[str]) -> Iterable[Group]:
        _ = self._cameras
        views: list[_Video] = []
        for subject in _SUBJECTS:
            if not any(self._wants(protocol[subject]) for protocol in PROTOCOLS.values()):
                continue
            folder = self.root / subject
            if self._is_there(folder, f"the folder of Human3.6M's subject {subject}", notes):
                views += self._views(folder, notes)
        return [Group(view.sequence, len(view.taken_frames), key=view) for view in views]

    def _views(self, folder: Path, notes: list[str]) -> list[_Video]:
        """List the subject's views whose images exist."""
        mono = folder / "MyPoseFeatures" / "D3_Positions_mono"
        world = existing_folder(mono if mono.is_dir() else mono.with_name("D3_Positions"), "3-D joints (.cdf)")
        actions = {path.name.split(".")[0] for path in world.glob("[!.]*.cdf") if not path.name.startswith("_ALL")}
        self._check_count(world, "actions", _ACTIONS, len(actions), notes)
        views: list[_Video] = []
        missing: list[Path] = []
        for action, camera in product(
            sorted(actions, key=lambda name: natural_order(Path(name))), self.options.cameras
        ):
            if (folder.name, action, camera) in _DAMAGED_VIEWS:
                continue
            view = self._with_frames(_Video(folder.name, action, camera), notes)
            files = [self._pose_file(view), *([] if view.pattern else [self._video(view)])]
            files += [] if self.options.mosh is None else [self._mosh_file(view)]
            absent = self._first_absent(files, "a file of this view")
            if absent is not None:
                missing.append(absent)
            else:
                views.append(view)
        if missing:
            share = f"{len(missing)} of {len(missing) + len(views)}"
            notes.append(f"{missing[0]}: does not exist; {share} videos of {folder.name} are left out")
        return views

    def _pose_file(self, view: _Video) -> Path:
        features = self.root / view.subject / "MyPoseFeatures"
        mono = features / "D3_Positions_mono"
        world = features / "D3_Positions" / f"{view.action}.cdf"
        return mono / f"{view.action}.{view.camera}.cdf" if mono.is_dir() else world

    def _with_frames(self, view: _Video, notes: list[str]) -> _Video:
        """Add the frames of the video, or the extracted frames if there is no video."""
        poses = self._pose_file(view)
        if not poses.is_file():
            return view
        frames = pose_frames(poses)
        numbers = range(0, frames, self.options.every)
        view = replace(view, frames=frames, taken_frames=numbers)
        if self._video(view).is_file():
            return view
        for folder in (f"images/{view.subject}/{view.stem}", f"{view.subject}/images/{view.stem}", "images"):
            if not (self.root / folder).is_dir():
                continue
            for digits in (6, 5):
                candidate = replace(view, pattern=f"{folder}/{view.stem}_{{:0{digits}d}}.jpg")
                present = [frame for frame in numbers if self._frame_file(candidate, frame).is_file()]
                if present:
                    gap = next((frame for frame in numbers if frame not in set(present)), None)
                    if gap is not None:
                        self._first_absent([self._frame_file(candidate, gap)], "a frame of this view")
                        share = f"{len(numbers) - len(present)} of {len(numbers)} frames are missing"
                        notes.append(f"{self._frame_file(candidate, gap)}: does not exist; {share}")
                    return replace(candidate, taken_frames=tuple(present))
        return view

    def _video(self, view: _Video) -> Path:
        return self.root / view.subject / "Videos" / f"{view.action}.{view.camera}.mp4"

    def _frame_file(self, view: _Video, frame: int) -> Path:
        return self.root / view.pattern.format(frame + 1)

    def _mosh_file(self, view: _Video) -> Path:
        assert self.options.mosh is not None
        return Path(self.options.mosh) / view.subject / f"{view.action}_cam{CAMERAS.index(view.camera)}_aligned.pkl"

    # Reading

    def read(self, group: Group) -> Iterator[Sample]:
        view: _Video = group.key
        camera = self._cameras[int(view.subject[1:]), view.camera]
        joints = self._joints(view, camera)[list(view.taken_frames)]
        people = self._people(view, joints)
        for row, (frame, pixels) in enumerate(self._read_frames(view)):
            shot = Shot(pixels, camera.lens, joints[row, :, :3])
            pinhole = shot.camera(self.options.crop_size)
            yield shot.sample(
                f"{view.sequence}/{frame:06d}",
                pinhole,
                [with_joints(people[row], "h36m17", joints[row], pinhole)],
                sequence=view.sequence,
                frame=frame,
                splits=self._splits(view, frame),
                maps=self._maps(view, frame, shot, pinhole),
                frame_rate=FRAME_RATE,
            )

    def _splits(self, view: _Video, frame: int) -> Mapping[str, str]:
        """Map protocols to the split of a frame, without protocols whose frames `every` skips."""
        splits = {name: split[view.subject] for name, split in PROTOCOLS.items()}
        if frame % _NBF_EVERY:
            del splits["nbf"]
        if frame % _HMR_EVERY or _HMR_EVERY % self.options.every:
            del splits["p1"], splits["p2"]
        elif splits["p2"] == "test" and view.camera != _FRONTAL:
            del splits["p2"]
        return splits

    def _joints(self, view: _Video, camera: LabCamera) -> Array:
        """Read joints (frames, 17, 4) in camera axes, all with confidence 1."""
        path = self._pose_file(view)
        joints = read_joints(path)
        if len(joints) != view.frames:
            raise InputError(path, "has changed", expected=f"{view.frames} frames", got=str(len(joints)))
        if path.parent.name == "D3_Positions":
            joints = camera.to_camera(joints)
        return np.concatenate((joints, np.ones((*joints.shape[:2], 1))), -1)

    def _people(self, view: _Video, joints: Array) -> list[Person]:
        """Make one person for each frame, with the body if it is known."""
        activity = view.action.split(" ")[0]
        facts = Person(view.subject, view.subject, _SAME_ACTIVITY.get(activity, activity))
        if self.options.mosh is not None:
            return self._mosh_people(view, joints, facts)
        return with_fitted_bodies(facts, self.tools.joint_fitter, joints, "h36m17")

    def _mosh_people(self, view: _Video, joints: Array, facts: Person) -> list[Person]:
        frames = view.taken_frames
        path = self._mosh_file(view)
        mosh_poses, betas = read_mosh(path)
        count = frames[-1] // MOSH_EVERY + 1
        if len(mosh_poses) < count and not self.options.allow_missing:
            raise InputError(path, "is shorter than its video", expected=f"{count} rows", got=str(len(mosh_poses)))
        fit_rows = [frame // MOSH_EVERY for frame in frames]
        rows = [i for i, frame in enumerate(frames) if frame % MOSH_EVERY == 0 and fit_rows[i] < len(mosh_poses)]
        poses = mosh_poses[[fit_rows[row] for row in rows]]
        body = self.tools.bodies.get("neutral")
        trans: Array | list[None] = [None] * len(rows)
        if body is not None and rows:
            trans = trans_by_joints(body, poses, betas, joints[rows], "h36m17")
        fitted_person = replace(facts, body="smpl", gender="neutral", betas=betas)
        people = [facts] * len(frames)
        for row, pose, shift in zip(rows, poses, trans, strict=True):
            people[row] = replace(fitted_person, poses=pose, trans=shift)
        return people

    def _read_frames(self, view: _Video) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Read the frames, and check their size."""
        video = self._video(view)
        if not view.pattern:
            images = ((video, frame, pixels) for frame, pixels in video_frames(video, view.taken_frames))
        else:
            files = ((self._frame_file(view, frame), frame) for frame in view.taken_frames)
            images = ((path, frame, image_pixels(path)) for path, frame in files)
        for path, frame, pixels in images:
            check_image_size(path, (pixels.shape[1], pixels.shape[0]), *SIZES)
            yield frame, pixels

    def _maps(self, view: _Video, frame: int, shot: Shot, pinhole: Camera) -> Mapping[str, bytes]:
        """Read DensePose's output on this frame, if the user has it."""
        if self.options.densepose is None:
            return {}
        path = Path(self.options.densepose) / f"{view.stem}_{frame + 1:06d}_IUV.png"
        if self.options.allow_missing and not path.exists():
            return {}
        charts = read_densepose(path, (shot.pixels.shape[1], shot.pixels.shape[0]))
        return {"densepose": encode_densepose(shot.lens.undistort_labels(charts, pinhole))}
