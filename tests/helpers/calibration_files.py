"""Calibration files of three cameras in their owners' layouts, and where those cameras show points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np


class RigCamera(NamedTuple):
    """A camera as OpenCV has it: pixels from the first one's centre, metres, world to camera."""

    name: str
    size: tuple[int, int]
    matrix: np.ndarray
    distortion: np.ndarray
    rvec: np.ndarray
    translation: np.ndarray

    @property
    def rotation(self) -> np.ndarray:
        return cv2.Rodrigues(self.rvec)[0]

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Where it shows points (N, 3) metres, from the first pixel's corner."""
        shown, _ = cv2.projectPoints(points, self.rvec, self.translation, self.matrix, self.distortion)
        return shown[:, 0] + 0.5


def looking(name: str, position: tuple[float, float, float], focal: float, bent: list[float]) -> RigCamera:
    """A camera at a position that looks at a point 1 m above the world's origin, z up."""
    forward = np.array([0, 0, 1.0]) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    matrix = np.array([[focal, 0, 641.25], [0, focal + 3, 355.5], [0, 0, 1]])
    return RigCamera(
        name, (1280, 720), matrix, np.array(bent), cv2.Rodrigues(rotation)[0].ravel(), -rotation @ position
    )


RIG = (
    looking("cam01", (3.2, -1.1, 1.6), 1100, [-0.12, 0.05, 0.001, -0.002, 0.01]),
    looking("cam02", (-2.5, -2.9, 2.1), 1150, [0.08, -0.03, -0.0015, 0.0005, -0.02]),
    looking("cam03", (0.4, 4.0, 1.2), 1210, [0.0, 0.0, 0.0, 0.0, 0.0]),
)
POINTS = np.array([[0.0, 0, 1], [0.3, 0.2, 1.7], [-0.4, 0.1, 0.05], [0.2, -0.5, 0.9]])


def write_toml(path: Path, *, unit: float = 1.0, fisheye: str = "", metadata: str = "") -> None:
    """As Pose2Sim and aniposelib write it. unit: how many of the file's units a metre has."""
    tables = [
        f"[cam_{row}]\nname = {json.dumps(camera.name)}\nsize = {[float(side) for side in camera.size]}\n"
        f"matrix = {camera.matrix.tolist()}\ndistortions = {camera.distortion.tolist()}\n"
        f"rotation = {camera.rvec.tolist()}\ntranslation = {(camera.translation * unit).tolist()}\n{fisheye}\n"
        for row, camera in enumerate(RIG)
    ]
    path.write_text("\n".join((*tables, f"[metadata]\n{metadata}")))


def write_pose2sim(path: Path) -> None:
    write_toml(path, fisheye="fisheye = false\n", metadata="adjusted = false\nerror = 0.0\n")


def opencv_matrix(name: str, array: np.ndarray) -> str:
    """A matrix of YAML as EasyMocap writes it, with all digits."""
    rows, columns = np.atleast_2d(array).shape
    data = ", ".join(map(repr, np.ravel(array).tolist()))
    return f"{name}: !!opencv-matrix\r\n  rows: {rows}\r\n  cols: {columns}\r\n  dt: d\r\n  data: [{data}]\r\n"


def write_easymocap(folder: Path) -> None:
    start = "%YAML:1.0\r\n---\r\nnames:\r\n" + "".join(f'  - "{camera.name}"\r\n' for camera in RIG)
    intrinsic, extrinsic = start, start
    for camera in RIG:
        intrinsic += opencv_matrix(f"K_{camera.name}", camera.matrix)
        intrinsic += opencv_matrix(f"dist_{camera.name}", camera.distortion)
        intrinsic += f"H_{camera.name}: {camera.size[1]}\r\nW_{camera.name}: {camera.size[0]}\r\n"
        extrinsic += opencv_matrix(f"R_{camera.name}", camera.rvec[:, None])
        extrinsic += opencv_matrix(f"Rot_{camera.name}", camera.rotation)
        extrinsic += opencv_matrix(f"T_{camera.name}", camera.translation[:, None])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "intri.yml").write_bytes(intrinsic.encode())
    (folder / "extri.yml").write_bytes(extrinsic.encode())


def write_storage(path: Path, **values: object) -> None:
    """A FileStorage that OpenCV writes: XML or YAML, by the suffix."""
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in values.items():
        storage.write(name, value)
    storage.release()


def write_multiview(path: Path) -> None:
    """As samples/python/multiview_calibration.py of OpenCV saves its results."""
    write_storage(
        path,
        rvecs=np.array([camera.rvec for camera in RIG])[..., None],
        distortions=np.array([camera.distortion for camera in RIG])[:, None],
        Ks=np.array([camera.matrix for camera in RIG]),
        Ts=np.array([camera.translation for camera in RIG])[..., None],
        is_fisheye=np.zeros(len(RIG), np.int32),
        image_sizes=np.array([camera.size for camera in RIG], np.int32),
        cam_ids=",".join(camera.name for camera in RIG),
    )


def write_caliscope(path: Path) -> None:
    """As CameraArray.to_toml of Caliscope does, with a camera that has no pose yet."""
    tables = [
        f"[cameras.{row}]\ncam_id = {row}\nsize = {list(camera.size)}\nrotation_count = {row - 1}\nerror = 0.4\n"
        f"matrix = {camera.matrix.tolist()}\ndistortions = {camera.distortion.tolist()}\n"
        f"rotation = {camera.rvec.tolist()}\ntranslation = {camera.translation.tolist()}\ngrid_count = 20\n"
        "fisheye = false\n"
        for row, camera in enumerate(RIG)
    ]
    path.write_text("\n".join((*tables, "[cameras.7]\ncam_id = 7\nsize = [640, 480]\nrotation_count = 0\n")))


def write_panoptic(path: Path) -> None:
    """As the CMU Panoptic dataset has it: centimetres."""
    cameras = [
        {
            "name": camera.name,
            "type": "hd",
            "resolution": camera.size,
            "K": camera.matrix.tolist(),
            "distCoef": camera.distortion.tolist(),
            "R": camera.rotation.tolist(),
            "t": (camera.translation[:, None] * 100).tolist(),
        }
        for camera in RIG
    ]
    path.write_text(json.dumps({"calibDataSource": "160224_calib", "cameras": cameras}))


def write_aniposelib_json(path: Path, *, unit: float = 100.0) -> None:
    """A list of `Camera.get_dict`, as AIST++'s cameras are. unit: how many of the file's units a metre has."""
    cameras = [
        {
            "name": camera.name,
            "size": camera.size,
            "matrix": camera.matrix.tolist(),
            "distortions": camera.distortion.tolist(),
            "rotation": camera.rvec.tolist(),
            "translation": (camera.translation * unit).tolist(),
        }
        for camera in RIG
    ]
    path.write_text(json.dumps(cameras))


def write_qualisys(path: Path, *, crop: tuple[int, int] = (0, 0), model: str = "Miqus Video", view: int = 0) -> None:
    """As Qualisys Track Manager does, with a marker camera.

    crop  columns and rows that the video lacks before it; model of the third camera; view: degrees that it is shown
          turned
    """
    left, top = crop
    marker = '<camera active="1" serial="9" model="Miqus M3" viewrotation="0"/>'
    texts = [marker]
    for camera in RIG:
        rows = np.diag([1.0, -1, -1]) @ camera.rotation
        position = -camera.rotation.T @ camera.translation * 1000
        turns = " ".join(f'r{i + 1}{j + 1}="{rows[i, j]}"' for i in range(3) for j in range(3))
        k1, k2, p1, p2, k3 = camera.distortion
        (fx, _, cx), (_, fy, cy) = camera.matrix[:2].tolist()
        width, height = camera.size
        texts.append(
            f'<camera active="1" serial="{camera.name}" model="{model if camera is RIG[2] else "Miqus Video"}" '
            f'viewrotation="{view}">'
            f'<fov_video left="{left}" top="{top}" right="{left + width - 1}" bottom="{top + height - 1}"/>'
            f'<transform x="{position[0]}" y="{position[1]}" z="{position[2]}" {turns}/>'
            f'<intrinsic focallength="9.3" sensorMinU="0" sensorMaxU="122879" sensorMinV="0" sensorMaxV="69631" '
            f'focalLengthU="{fx * 64}" focalLengthV="{fy * 64}" '
            f'centerPointU="{(cx + 0.5 + left) * 64}" centerPointV="{(cy + 0.5 + top) * 64}" skew="0" '
            f'radialDistortion1="{k1}" radialDistortion2="{k2}" radialDistortion3="{k3}" '
            f'tangentalDistortion1="{p1}" tangentalDistortion2="{p2}"/></camera>'
        )
    cameras = "\n".join(texts)
    path.write_text(
        "<?xml version='1.0' encoding='ASCII'?>\n"
        f'<calibration type="regular"><cameras>\n{cameras}\n</cameras></calibration>'
    )
