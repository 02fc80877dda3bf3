"""MPI-INF-3DHP: eight actors before a green screen and fourteen cameras, and a test set of six, indoors and outdoors.

Layout and licence: data/README.md; layout and joints after the owners' archives and tools (mpii_get_joint_set.m), SPIN,
HMR and MMHuman3D. annot.mat is a MATLAB 5 file with a cell for each of 14 cameras: annot2 (N, 56) pixels and annot3 (N,
84) millimetres in camera axes of 28 joints. annot_data.mat is a MATLAB 7.3 file: annot2 (N, 1, 17, 2), annot3 and
univ_annot3 (N, 1, 17, 3), valid_frame.

17 joints of either set are those of h36m17, whose nose here is the middle of the head. `univ_annot3` is annot3 scaled
to people of one size, which the owners' evaluation and the published figures take: it is the test set's truth unless
`universal` is off. The cameras have no distortion: focal lengths and principal points are those that map annot3 to
annot2 with the least squares.

Protocol "mpi-inf-3dhp": train (the eight cameras at chest height that papers train on: 0, 1, 2, 4 to 8) and test (valid
frames); "spin": the frames of test all of whose joints are inside the image, as SPIN's preparation keeps them. A group
is a video. Of each frame a pinhole view of the actor is kept (`calibrated`). People of the test set have an activity of
the owners' seven, where annot_data.mat names it (activity_annotation (N, 1), 1 to 7).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import H36M17
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.checks import checked_array, existing_file
from humanpose_cli.io.mat_files import read_mat, read_mat73, read_optional_mat73
from humanpose_cli.io.video import probe_video
from humanpose_cli.lab.cache.samples import Group, Person, Sample
from humanpose_cli.lab.datasets.calibrated import CropOptions, Lens, Shot, with_fitted_bodies, with_joints
from humanpose_cli.lab.datasets.common import FolderSource, first_existing
from humanpose_cli.lab.datasets.published import PublishedCount
from humanpose_cli.lab.datasets.reading import COPY_AGAIN, image_pixels, video_frames

Array = NDArray[Any]
CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
_ACTORS, _SEQUENCES = range(1, 9), (1, 2)
TEST_FRAMES: Mapping[str, int] = {"TS1": 603, "TS2": 540, "TS3": 505, "TS4": 553, "TS5": 276, "TS6": 452}
"""Sequences of the test set and their valid frames: 2,929 together."""
ACTIVITIES = (
    "standing/walking",
    "exercising",
    "sitting",
    "reaching/crouching",
    "on the floor",
    "sports",
    "miscellaneous",
)
"""The owners' names of activities 1 to 7 (mpii_get_activity_name.m)."""
SCENES = {"TS1": "green screen", "TS2": "green screen", "TS3": "studio", "TS4": "studio"}
"""Sequence of the test set → where it was recorded; the others outdoors."""
_ALL_CAMERAS, _TRAIN_JOINTS = 14, 28
# Rows of the 28 and of the 17 joints in the order of h36m17.
_TRAIN_ROWS = [4, 23, 24, 25, 18, 19, 20, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16]
_TEST_ROWS = [14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]
_MISFIT = 3.0  # pixels: the median by which a camera may miss the annotated points


@dataclass(frozen=True)
class MpiInf3dhpOptions(CropOptions):
    """every (of training videos; all valid frames of the test set are taken), crop_size, allow_missing and split as for
    all calibrated sources.

    universal  take the test set's joints at the size that all its people share
    """

    universal: bool = True


@dataclass(frozen=True)
class _Video:
    """One camera's video of a sequence: "S1/Seq1" and its number, or "TS1" and −1; frames from 0."""

    sequence: str
    camera: int
    frames: Sequence[int]

    @property
    def name(self) -> str:
        return self.sequence if self.camera < 0 else f"{self.sequence}/video_{self.camera}"


@dataclass(frozen=True, eq=False)
class _Annotation:
    """A video's joints of h36m17: pixels (N, 17, 2), points and truth (N, 17, 3) metres in camera axes.

    activities  (N,) names, "" where not known
    """

    pixels: Array
    points: Array
    truth: Array
    activities: Sequence[str]


class MpiInf3dhpSource(FolderSource):
    """MPI-INF-3DHP as samples with one person each; a group is one video."""

    name = "mpi-inf-3dhp"
    title = "MPI-INF-3DHP"
    contents = "videos of MPI-INF-3DHP"
    example = "S1/Seq1/annot.mat"
    splits = ("train", "test")
    options: MpiInf3dhpOptions
    options_type = MpiInf3dhpOptions
    published = (
        PublishedCount("images", 2_929, "github.com/akanazawa/hmr/issues/45: valid_frame", "mpi-inf-3dhp", "test"),
        PublishedCount("sequences", 6, "Mehta et al., 3DV 2017: TS1 to TS6", "mpi-inf-3dhp", "test"),
        PublishedCount(
            "sequences",
            8 * 2 * 8,
            "Mehta et al., 3DV 2017: eight actors, two sequences; eight cameras at chest height",
            "mpi-inf-3dhp",
            "train",
        ),
        PublishedCount("identities", 8, "Mehta et al., 3DV 2017", "mpi-inf-3dhp", "train"),
    )
    projected = (H36M17.name,)

    def _more_info(self) -> Mapping[str, Any]:
        return self._fitter_info()

    # Listing

    def _list(self, notes: list[str]) -> Iterable[Group]:
        views: list[_Video] = []
        if self._wants("train"):
            for actor, number in product(_ACTORS, _SEQUENCES):
                folder = self.root / f"S{actor}" / f"Seq{number}"
                if self._is_there(folder, f"a sequence of {self.title}", notes):
                    views += self._training_views(folder, notes)
        if self._wants("test"):
            for name, official in TEST_FRAMES.items():
                folder = self._test_folder(name)
                if self._is_there(folder, f"a sequence of {self.title}'s test set", notes):
                    views.append(self._test_view(folder, official, notes))
        return [Group(view.name, len(view.frames), key=view) for view in views]

    def _training_views(self, folder: Path, notes: list[str]) -> Iterator[_Video]:
        counts = [len(pixels) for pixels in _cells(folder / "annot.mat", "annot2", 2)]
        for camera in CAMERAS:
            view = _Video(f"{folder.parent.name}/{folder.name}", camera, range(0, counts[camera], self.options.every))
            if self._video(view).is_file():
                yield view
                continue
            present = [frame for frame in view.frames if self._frame_file(view, frame).is_file()]
            gap = next((frame for frame in view.frames if frame not in set(present)), None)
            if gap is not None:
                first = self._frame_file(view, gap) if present else self._video(view)
                self._first_absent([first], "a file of this video")
                notes.append(
                    f"{first}: does not exist; {len(view.frames) - len(present)} of {len(view.frames)} are missing"
                )
            if present:
                yield replace(view, frames=tuple(present))

    def _test_view(self, folder: Path, official: int, notes: list[str]) -> _Video:
        path = folder / "annot_data.mat"
        valid = np.flatnonzero(_test_array(path, "valid_frame", (None, 1))[:, 0] > 0).tolist()
        self._check_count(path, "valid frames", official, len(valid), notes)
        view = _Video(folder.name, -1, valid)
        files = [(frame, self._frame_file(view, frame)) for frame in valid]
        return replace(view, frames=tuple(self._present(files, path, "images", notes)))

    def _test_folder(self, name: str) -> Path:
        return first_existing(self.root / "mpi_inf_3dhp_test_set" / name, self.root / name)

    def _video(self, view: _Video) -> Path:
        folder, name = self.root / view.sequence / "imageSequence", f"video_{view.camera}.avi"
        return first_existing(folder / name, folder / "vnect_cameras" / name)

    def _frame_file(self, view: _Video, frame: int) -> Path:
        if view.camera < 0:
            return self._test_folder(view.sequence) / "imageSequence" / f"img_{frame + 1:06d}.jpg"
        return self.root / view.sequence / "imageFrames" / f"video_{view.camera}" / f"frame_{frame + 1:06d}.jpg"

    # Reading

    def read(self, group: Group) -> Iterator[Sample]:
        view: _Video = group.key
        test = view.camera < 0
        annotation, lens = self._annotation(view)
        frames = list(view.frames)
        actor = view.sequence.partition("/")[0]
        facts = Person(actor, f"{actor}/{view.sequence[-1]}")
        ones = np.ones((len(frames), len(H36M17), 1))
        truth = np.concatenate((annotation.truth[frames], ones), -1)
        people = with_fitted_bodies(facts, self.tools.joint_fitter, truth, H36M17.name)
        video = self._video(view)
        rate = probe_video(video).frame_rate if not test and video.is_file() else None
        for row, pixels in enumerate(self._pixels(view, frames)):
            joints = np.concatenate((annotation.points[frames[row]], ones[row]), -1)
            shot = Shot(pixels, lens, joints[:, :3])
            pinhole = shot.camera(self.options.crop_size)
            person = with_joints(people[row], H36M17.name, joints, pinhole)
            splits = {self.name: "test" if test else "train"}
            if test and _inside(annotation.pixels[frames[row]], pixels.shape):
                splits["spin"] = "test"
            activity = annotation.activities[frames[row]]
            yield shot.sample(
                f"{view.name}/{frames[row]:06d}",
                pinhole,
                [replace(person, joints={H36M17.name: truth[row]}, activity=activity)],
                sequence=view.name,
                frame=frames[row],
                splits=splits,
                frame_rate=rate,
            )

    def label_residuals(self, group: Group) -> Iterator[tuple[str, str, Array]]:
        """Compare annot3 with annot2, by the camera that fits both best."""
        view: _Video = group.key
        annotation, lens = self._annotation(view)
        frames = list(view.frames)
        apart = lens.project(annotation.points[frames]) - annotation.pixels[frames]
        yield "annot3", "annot2", np.linalg.norm(apart, axis=-1).ravel()

    def _annotation(self, view: _Video) -> tuple[_Annotation, Lens]:
        """Read the joints of a video, and its camera. Raises InputError if there are fewer than images."""
        test = view.camera < 0
        path = self._test_folder(view.sequence) / "annot_data.mat" if test else self.root / view.sequence / "annot.mat"
        annotation = self._test_annotation(path) if test else _training_annotation(path, view.camera)
        frames = list(view.frames)
        if frames and frames[-1] >= len(annotation.points):
            got = f"{len(annotation.points)} frames"
            raise InputError(path, "is shorter than its images", expected=f"frame {frames[-1] + 1}", got=got)
        return annotation, _lens(path, annotation.points[frames], annotation.pixels[frames])

    def _pixels(self, view: _Video, frames: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        video = self._video(view)
        if view.camera >= 0 and video.is_file():
            return (pixels for _, pixels in video_frames(video, frames))
        return (image_pixels(self._frame_file(view, frame)) for frame in frames)

    def _test_annotation(self, path: Path) -> _Annotation:
        points = _test_array(path, "annot3", (None, 1, 17, 3))[:, 0, _TEST_ROWS] / 1000
        count = len(points)
        pixels = _test_array(path, "annot2", (count, 1, 17, 2))[:, 0, _TEST_ROWS]
        truth = points
        if self.options.universal:
            truth = _test_array(path, "univ_annot3", (count, 1, 17, 3))[:, 0, _TEST_ROWS] / 1000
        numbers = read_optional_mat73(path, "activity_annotation")
        activities = [""] * count
        if numbers is not None:
            activity_numbers = checked_array(numbers, f"{path} (activity_annotation)", (count, 1))[:, 0]
            if not np.isin(activity_numbers, np.arange(1, len(ACTIVITIES) + 1)).all():
                got, expected = f"{activity_numbers.min():g} to {activity_numbers.max():g}", f"1 to {len(ACTIVITIES)}"
                raise InputError(f"{path} (activity_annotation)", "has other activities", expected=expected, got=got)
            activities = [ACTIVITIES[int(number) - 1] for number in activity_numbers]
        return _Annotation(pixels, points, truth, activities)


def _inside(pixels: Array, shape: Sequence[int]) -> bool:
    """Return whether all joints (17, 2) are inside an image of that shape (H, W, …)."""
    return bool(((pixels >= 0) & (pixels < (shape[1], shape[0]))).all())


def _training_annotation(path: Path, camera: int) -> _Annotation:
    points = _cells(path, "annot3", 3)[camera][:, _TRAIN_ROWS] / 1000
    pixels = _cells(path, "annot2", 2)[camera][:, _TRAIN_ROWS]
    if len(pixels) != len(points):
        got = f"{len(pixels)} and {len(points)} rows of camera {camera}"
        raise InputError(path, "is damaged: annot2 and annot3 have other lengths", got=got, remedy=COPY_AGAIN)
    return _Annotation(pixels, points, points, [""] * len(points))


def _cells(path: Path, name: str, axes: int) -> list[Array]:
    """Read a field of annot.mat: (N, 28, axes) of each of the 14 cameras."""
    existing_file(path, "the joints of a sequence")
    cells = np.ravel(read_mat(path, (name,))[name])
    if cells.dtype != object or len(cells) != _ALL_CAMERAS:
        expected = f"a cell for each of {_ALL_CAMERAS} cameras"
        raise InputError(f"{path} ({name})", "is damaged", expected=expected, got=f"{cells.dtype} {cells.shape}")
    width = axes * _TRAIN_JOINTS
    arrays = [checked_array(cell, f"{path} ({name}, camera {i})", (None, width)) for i, cell in enumerate(cells)]
    return [array.reshape(-1, _TRAIN_JOINTS, axes) for array in arrays]


def _test_array(path: Path, name: str, shape: Sequence[int | None]) -> Array:
    """Read a field of annot_data.mat."""
    existing_file(path, "the joints of a sequence")
    return checked_array(read_mat73(path, name), f"{path} ({name})", shape)


def _lens(path: Path, points: Array, pixels: Array) -> Lens:
    """Fit the camera that maps points (N, 17, 3) to pixels (N, 17, 2) with the least squares."""
    ahead = (points[..., 2] > 0).all() and points.size
    focal, centre, misses = [], [], []
    for axis in (0, 1) if ahead else ():
        rays, columns = (points[..., axis] / points[..., 2]).ravel(), pixels[..., axis].ravel()
        design = np.stack((rays, np.ones_like(rays)), 1)
        (f, c), *_ = np.linalg.lstsq(design, columns, rcond=None)
        focal.append(float(f))
        centre.append(float(c))
        misses.append(np.abs(design @ (f, c) - columns))
    if not ahead or min(focal) <= 0 or np.median(misses) > _MISFIT:
        got = f"{np.median(misses):.1f} pixels apart" if ahead else "joints behind the camera"
        raise InputError(path, "has pixels (annot2) and joints (annot3) of different cameras", got=got)
    return Lens((focal[0], focal[1]), (centre[0], centre[1]))
