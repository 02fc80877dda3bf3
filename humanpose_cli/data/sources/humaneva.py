"""HumanEva-I: three actors with public joints, five actions, calibrated colour cameras C1 to C3, 60 frames a second.

    ROOT/S1/Image_Data/Walking_1_(C1).avi
    ROOT/S1/Mocap_Data/Walking_1.c3d, Static.c3d, S1.mp      markers and segments, the actor standing, their measures
    ROOT/S1/Calibration_Data/C1.cal
    ROOT/S1/Sync_Data/Walking_1_(C1).ofs                     also those of BW1 to BW4, with the owners' critical update

Layout after the owners' release code 1.1, whose joints these are (see `humaneva_files`), and VideoPose3D. Only the
first trial of each action has both videos and public motion capture. Its frames are split into validation and training
as the owners do. S3's ThrowCatch has a damaged motion capture stream and is left out, as VideoPose3D does.

Protocols: "humaneva": the owners' train and validate; "nbf": the paper tests on two actions of each actor (section 5)
and does not say which frames or camera: as those it compares with, we take Walking and Box, validation, camera C1.

Frames without all markers have no joints and are left out. Of each other one a pinhole view of the actor is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.estimators import SourceTools
from humanpose_cli.data.samples import Group, Person, Sample
from humanpose_cli.data.sources.c3d_files import read_c3d
from humanpose_cli.data.sources.cropped import CropOptions, Shot, with_body, with_joints
from humanpose_cli.data.sources.folder_source import FolderSource, Listing
from humanpose_cli.data.sources.humaneva_files import (
    Synchronisation,
    joints_at,
    read_calibration,
    read_measurements,
    synchronise,
)
from humanpose_cli.data.sources.pictures import video_frames
from humanpose_cli.data.sources.reading import existing_folder
from humanpose_cli.errors import InputError

__all__ = ["FRAMES", "HumanEvaOptions", "HumanEvaSource"]

Array = NDArray[Any]

FRAMES: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "S1": {
        "Walking": (590, 1203),
        "Jog": (367, 740),
        "ThrowCatch": (473, 945),
        "Gestures": (395, 801),
        "Box": (385, 789),
    },
    "S2": {
        "Walking": (438, 876),
        "Jog": (398, 795),
        "ThrowCatch": (550, 1128),
        "Gestures": (500, 901),
        "Box": (382, 734),
    },
    "S3": {"Walking": (448, 939), "Jog": (401, 842), "Gestures": (533, 1102), "Box": (512, 1021)},
}
"""Actor → action → last validation frame, last training frame; counted from 1 on the trial's common clock."""

_FIRST_FRAME = 6
_CAMERAS = ("C1", "C2", "C3")
_SYNCHRONISED = (*_CAMERAS, "BW1", "BW2", "BW3", "BW4")
_SIZE = (640, 480)
_NBF_ACTIONS, _NBF_CAMERA = ("Walking", "Box"), "C1"


@dataclass(frozen=True)
class HumanEvaOptions(CropOptions):
    """every, crop_size and allow_missing as for all calibrated sources; every frame is taken unless told otherwise."""

    every: int = 1


@dataclass(frozen=True, eq=False)
class _Video:
    """One camera's video of a trial: frames of the common clock that are kept, and joints (T, 17, 4) in world axes."""

    actor: str
    action: str
    camera: str
    clock: Synchronisation
    frames: NDArray[np.int64]
    joints: Array

    @property
    def name(self) -> str:
        return f"{self.actor}/{self.action}_1_({self.camera})"


class HumanEvaSource(FolderSource):
    """HumanEva-I as samples with one person each; a group is one video."""

    name = "humaneva"
    title = "HumanEva-I"
    options: HumanEvaOptions

    def __init__(
        self, root: Path | str, options: HumanEvaOptions | None = None, tools: SourceTools | None = None
    ) -> None:
        super().__init__(root, options or HumanEvaOptions(), tools)

    def _more_info(self) -> Mapping[str, Any]:
        fitter = self.tools.joint_fitter
        return {"bodies_by": None if fitter is None else dict(fitter.info)}

    # Listing

    def _list(self) -> Listing:
        groups: list[Group] = []
        notes: list[str] = []
        for actor, actions in FRAMES.items():
            if self.options.allow_missing and not (self.root / actor).is_dir():
                notes.append(f"{self.root / actor}: does not exist")
                continue
            existing_folder(self.root / actor, f"the folder of HumanEva's actor {actor}")
            for action in actions:
                absent = [path for path in self._files(actor, action) if not path.is_file()]
                if absent and not self.options.allow_missing:
                    remedy = "unpack the data set again, or take what is there with --allow-missing"
                    raise InputError(absent[0], "does not exist", expected="a file of this trial", remedy=remedy)
                if absent:
                    notes.append(f"{absent[0]}: does not exist; {action} of {actor} is left out")
                    continue
                groups += [Group(video.name, len(video.frames), key=video) for video in self._trial(actor, action)]
        if not groups:
            raise InputError(self.root, "holds no whole trial of HumanEva-I", expected="S1, S2 and S3")
        return Listing(tuple(groups), tuple(notes))

    def _files(self, actor: str, action: str) -> list[Path]:
        """What reading a trial needs, the synchronisation of the grey cameras apart."""
        folder = self.root / actor
        mocap = folder / "Mocap_Data"
        shared = [mocap / f"{action}_1.c3d", mocap / "Static.c3d", mocap / f"{actor}.mp"]
        own = [(self._video(actor, action, c), self._sync(actor, action, c), self._lens(actor, c)) for c in _CAMERAS]
        return [*shared, *(path for paths in own for path in paths)]

    def _video(self, actor: str, action: str, camera: str) -> Path:
        return self.root / actor / "Image_Data" / f"{action}_1_({camera}).avi"

    def _sync(self, actor: str, action: str, camera: str) -> Path:
        return self.root / actor / "Sync_Data" / f"{action}_1_({camera}).ofs"

    def _lens(self, actor: str, camera: str) -> Path:
        return self.root / actor / "Calibration_Data" / f"{camera}.cal"

    def _trial(self, actor: str, action: str) -> list[_Video]:
        """The videos of a trial, with the frames that have joints."""
        files = {camera: self._sync(actor, action, camera) for camera in _SYNCHRONISED}
        clock = synchronise({camera: path for camera, path in files.items() if path.is_file()})
        folder = self.root / actor / "Mocap_Data"
        measured = read_measurements(folder / f"{actor}.mp", read_c3d(folder / "Static.c3d"))
        frames = np.arange(_FIRST_FRAME, FRAMES[actor][action][1] + 1, self.options.every)
        joints = joints_at(read_c3d(folder / f"{action}_1.c3d"), clock.mocap_places(frames), measured)
        known = joints[..., 3].any(1)
        if not known.any():
            raise InputError(folder / f"{action}_1.c3d", "has no frame in which all markers were seen")
        return [_Video(actor, action, camera, clock, frames[known], joints[known]) for camera in _CAMERAS]

    # Reading

    def read(self, group: Group) -> Iterator[Sample]:
        video: _Video = group.key
        camera = read_calibration(self._lens(video.actor, video.camera))
        joints = np.concatenate((camera.to_camera(video.joints[..., :3]), video.joints[..., 3:]), -1)
        joints[joints[..., 3] == 0] = 0
        people = self._people(video, joints)
        path = self._video(video.actor, video.action, video.camera)
        wanted = [video.clock.video_frame(video.camera, int(frame)) for frame in video.frames]
        for row, (number, pixels) in enumerate(video_frames(path, wanted)):
            if (pixels.shape[1], pixels.shape[0]) != _SIZE:
                found = str((pixels.shape[1], pixels.shape[0]))
                raise InputError(path, "has another size than the camera's", expected=str(_SIZE), got=found)
            known = joints[row, :, 3] > 0
            shot = Shot(pixels, camera.lens, joints[row, known, :3])
            kept = shot.view(self.options.crop_size)
            yield shot.sample(
                f"{video.name}/{number:06d}",
                kept,
                [with_joints(people[row], "h36m17", joints[row], kept)],
                sequence=video.name,
                frame=number,
                splits=_splits(video, int(video.frames[row])),
            )

    def _people(self, video: _Video, joints: Array) -> list[Person]:
        facts = Person(video.actor, video.actor, video.action)
        if self.tools.joint_fitter is None:
            return [facts] * len(joints)
        fitted = self.tools.joint_fitter.fit(joints, "h36m17")
        return [with_body(facts, fitted, row) for row in range(len(joints))]


def _splits(video: _Video, frame: int) -> Mapping[str, str]:
    split = "validate" if frame <= FRAMES[video.actor][video.action][0] else "train"
    nbf = split == "validate" and video.action in _NBF_ACTIONS and video.camera == _NBF_CAMERA
    return {"humaneva": split, **({"nbf": "test"} if nbf else {})}
