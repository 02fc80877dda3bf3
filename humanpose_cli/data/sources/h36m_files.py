"""Human3.6M's own files: calibration, 3-D joints, and the MoSh fits that some users have of it.

After the owners' code (H36MDataBase, H36MCamera, ProjectPointRadial of the release 1.2) and public loaders of the
fits (HMR, mmhuman3d, VIBE).
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.conventions import H36M17
from humanpose_cli.data.sources.cdf_files import cdf_shape, read_cdf
from humanpose_cli.data.sources.lenses import CalibratedCamera, Lens
from humanpose_cli.data.sources.reading import array_field, existing_file, read_pickle
from humanpose_cli.errors import InputError

__all__ = ["CAMERAS", "MOSH_EVERY", "MoshFits", "pose_frames", "read_cameras", "read_joints"]

Array = NDArray[Any]

CAMERAS: Mapping[str, tuple[int, int]] = {
    "54138969": (1000, 1002),
    "55011271": (1000, 1000),
    "58860488": (1000, 1000),
    "60457274": (1000, 1002),
}
"""Cameras in the order of metadata.xml and of the fits' cam0 to cam3, and the size of their videos."""

MOSH_EVERY = 5
"""The fits have a row for every fifth frame of the videos (50 a second)."""

_SUBJECTS = 11  # in metadata.xml, also those whose poses are not public
_JOINTS = 32
# Rows of the 32 joints (of which many are doubled) in the order of h36m17.
_H36M17_ROWS = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
_MATLAB_TO_CORNER = -0.5  # the owners' code is MATLAB's, whose first pixel has its centre at (1, 1)


def read_cameras(path: Path) -> Mapping[tuple[int, str], CalibratedCamera]:
    """(number of the subject, camera) → camera, from metadata.xml.

    Its field w0 holds 300 numbers: 4 cameras × 11 subjects × (three angles of R = R_x R_y R_z, position in
    millimetres), then 4 cameras × (two focal lengths, principal point, k1 k2 k3, p1 p2); x_camera = R (x − position).
    """
    existing_file(path, "Human3.6M's metadata.xml, which is part of the owners' code")
    try:
        text = ElementTree.parse(path).getroot().findtext("w0", "")
        numbers = np.array([float(word) for word in text.strip().strip("[]").split()])
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(path, f"is no readable metadata.xml ({error})") from error
    count = len(CAMERAS) * (_SUBJECTS * 6 + 9)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise InputError(path, "has an unusable field w0", expected=f"{count} numbers", got=str(len(numbers)))
    placed = numbers[: len(CAMERAS) * _SUBJECTS * 6].reshape(len(CAMERAS), _SUBJECTS, 6)
    lenses = [_lens(row) for row in numbers[placed.size :].reshape(len(CAMERAS), 9)]
    cameras = {}
    for row, name in enumerate(CAMERAS):
        for subject in range(1, _SUBJECTS + 1):
            angles, position = placed[row, subject - 1, :3], placed[row, subject - 1, 3:] / 1000
            rotation = Rotation.from_euler("XYZ", angles).as_matrix()
            cameras[subject, name] = CalibratedCamera(lenses[row], rotation, -rotation @ position)
    return cameras


def _lens(row: Array) -> Lens:
    fx, fy, cx, cy, k1, k2, k3, p1, p2 = (float(number) for number in row)
    centre = (cx + _MATLAB_TO_CORNER, cy + _MATLAB_TO_CORNER)
    return Lens((fx, fy), centre, (k1, k2, k3), (p1, p2), tangential_gain=1.0)


def pose_frames(path: Path) -> int:
    """How many frames a pose file (.cdf) has, from its headers."""
    shape = cdf_shape(path, "Pose")
    values = 3 * _JOINTS
    if shape[-1] != values or len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != 1):
        raise InputError(path, "has poses of another shape", expected=f"(1, frames, {values})", got=str(shape))
    return int(np.prod(shape[:-1]))


def read_joints(path: Path) -> Array:
    """A pose file's joints in the order of h36m17: (frames, 17, 3) metres, in the file's axes.

    The files of D3_Positions are in the world's axes, those of D3_Positions_mono in the camera's.
    """
    frames = pose_frames(path)
    values = np.asarray(read_cdf(path, "Pose"), np.float64).reshape(frames, _JOINTS, 3)
    if not np.isfinite(values).all():
        raise InputError(path, "holds joints that are not finite", remedy="unpack or download it again")
    assert len(_H36M17_ROWS) == len(H36M17)
    return values[:, _H36M17_ROWS] / 1000


@dataclass(frozen=True, eq=False)
class MoshFits:
    """Bodies that MoSh found for one video: poses (N, 72), the root mapping body to camera axes; betas (10,).

    The files `S1/Directions 1_cam0_aligned.pkl` hold `new_poses` in the camera's axes, their root turned by half a
    turn about x (as HMR's authors say), and no places: whoever has SMPL finds those from the joints.
    """

    poses: Array
    betas: Array

    @classmethod
    def read(cls, path: Path) -> MoshFits:
        """InputError where the file is missing or of another kind."""
        existing_file(path, "a MoSh fit of this video")
        stored = read_pickle(path)
        poses = array_field(stored, "new_poses", path, (None, 72))
        betas = array_field(stored, "betas", path, (None,))
        if len(betas) < 10:
            raise InputError(f"{path} (betas)", "are too few", expected="10", got=str(len(betas)))
        half_turn = Rotation.from_rotvec([np.pi, 0, 0])
        root = Rotation.from_rotvec(poses[:, :3]) * half_turn
        return cls(np.concatenate((root.as_rotvec(), poses[:, 3:]), 1), betas[:10])

    def at(self, frame: int) -> Array | None:
        """The pose (72,) at a frame of the video; None between the fitted frames and after their end."""
        row, between = divmod(frame, MOSH_EVERY)
        return None if between or row >= len(self.poses) else self.poses[row]
