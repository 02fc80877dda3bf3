"""A small HumanEva-I: C3D files, calibration, synchronisation, videos."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from helpers.dataset_files import spotted, write_video
from humanpose_cli.lab.datasets.humaneva import Measurements, joints_at, read_cal_file
from humanpose_cli.lab.datasets.mocap_files import C3dPoints

SEGMENTS = ("PEL", "TRX", "HED", "LFE", "LTI", "RFE", "RTI", "LHU", "LRA", "RHU", "RRA", "LCL", "RCL")
MARKERS = (
    *("RASI", "LASI", "LPSI", "RPSI", "STRN", "CLAV", "T10", "C7", "RBAK", "LSHO", "RSHO", "LUPA", "RUPA", "LELB"),
    *("RELB", "LFRM", "RFRA", "LWRA", "RWRA", "LWRB", "RWRB", "LFIN", "RFIN", "LTHI", "RTHI", "LKNE", "RKNE", "LTIB"),
    *("RTIB", "LANK", "RANK", "LHEE", "RHEE", "LTOE", "RTOE", "LFHD", "RFHD", "LBHD", "RBHD"),
)
LABELS = (*MARKERS, *(f"{segment}{axis}" for segment in SEGMENTS for axis in "OPAL"))
# Where the segments' origins are, millimetres, and where the one after them is (their axis z points away from it).
ORIGINS = {
    "PEL": (0, 0, 950), "TRX": (20, 0, 1450), "HED": (20, 0, 1500), "LFE": (10, 100, 500), "LTI": (-20, 110, 90),
    "RFE": (30, -100, 500), "RTI": (0, -105, 90), "LHU": (0, 230, 1180), "LRA": (120, 240, 960),
    "RHU": (10, -230, 1180), "RRA": (130, -235, 960), "LCL": (10, 190, 1440), "RCL": (10, -190, 1440),
}  # fmt: skip
HIPS = {"LFE": (0, 95, 930), "RFE": (0, -95, 930)}

SIZE = (640, 480)
MOCAP_FRAMES = 60
MEASURED = Measurements(188.0, (40.0, 44.0))
# Walking: validation 6 to 9, training to 15; the capture runs at twice the videos' rate.
ACTIONS = {"S1": {"Walking": (9, 15)}, "S2": {"Jog": (8, 12)}}
OFFSETS = {"C1": (4.0, 3.0, 2.0), "C2": (3.0, 3.0, 2.0), "C3": (4.4, 3.0, 2.0), "BW1": (9.0, 11.0, 2.0)}
# The camera stands 4 m in front, 1 m high, and looks back at the actor: x to the actor's left.
ROTATION = np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]])
TRANSLATION = np.array([30.0, 1000.0, 4000.0])
CALIBRATION = (500.0, 496.0, 320.3, 239.1, 0.002, -0.2, 0.1, 0.001, -0.0005, 0.01)


def moving_points(frames: int, seed=0) -> np.ndarray:
    """(frames, P, 3) millimetres, world axes with z up: a person who turns and walks on, in C3D's order of LABELS."""
    random = np.random.default_rng(seed)
    markers = random.uniform((-200, -250, 100), (200, 250, 1700), (len(MARKERS), 3))
    markers[MARKERS.index("LSHO")], markers[MARKERS.index("RSHO")] = (0, 195, 1480), (0, -195, 1480)
    points = [*markers]
    for segment in SEGMENTS:
        origin = np.array(ORIGINS[segment], float)
        axes = Rotation.from_rotvec(random.normal(0, 0.2, 3)).as_matrix()
        proximal = np.array(HIPS[segment], float) if segment in HIPS else origin + axes[:, 2] * 100
        points += [origin, proximal, origin + axes[:, 0] * 100, origin + axes[:, 1] * 100]
        if segment in HIPS:  # its axis z leads to the hip
            z = (proximal - origin) / np.linalg.norm(proximal - origin)
            x = axes[:, 0] - z * (axes[:, 0] @ z)
            x /= np.linalg.norm(x)
            points[-2:] = [origin + x * 100, origin + np.cross(z, x) * 100]
    still = np.stack(points)
    angles = 0.02 * np.arange(frames)
    turned = Rotation.from_rotvec(angles[:, None] * [0.1, 0.05, 1.0]).as_matrix()
    return (
        np.einsum("fij,pj->fpi", turned, still) + np.stack((4 * np.arange(frames), 2 * angles, 0 * angles), -1)[:, None]
    )


def write_c3d(path: Path, positions: np.ndarray, labels: Sequence[str] = LABELS, *, analog: int = 3) -> None:
    """Write positions (F, P, 3), NaN for missing points, and measurements of `analog` channels."""
    ezc3d = pytest.importorskip("ezc3d", reason='ezc3d is not installed: pip install "humanpose-cli[c3d]"')
    file = ezc3d.c3d()
    parameters = file["parameters"]
    parameters["POINT"]["LABELS"]["value"] = list(labels)
    parameters["POINT"]["UNITS"]["value"] = ["mm"]
    parameters["ANALOG"]["LABELS"]["value"] = [f"channel {number}" for number in range(analog)]
    for group in ("POINT", "ANALOG"):
        parameters[group]["RATE"]["value"] = [120.0]
    residuals = np.zeros((*positions.shape[:2], 1))
    file["data"]["points"] = np.concatenate((positions, residuals), -1).transpose(2, 1, 0)
    file["data"]["analogs"] = np.full((1, analog, len(positions)), 7.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.write(str(path))


def write_numbers(path: Path, numbers) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(repr(float(number)) for number in numbers) + "\n")


def write_measurements(path: Path, left=40.0, right=44.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"$MeanLegLength = 880\n$LShoulderOffset = {left}\n$RShoulderOffset = {right}\n$Gauge = none\n")


def build(root):
    points = moving_points(MOCAP_FRAMES)
    for actor, actions in ACTIONS.items():
        folder = root / actor
        write_c3d(folder / "Mocap_Data" / "Static.c3d", moving_points(3))
        write_measurements(folder / "Mocap_Data" / f"{actor}.mp")
        for camera in ("C1", "C2", "C3"):
            calibration = [*CALIBRATION, *ROTATION.ravel(), *TRANSLATION]
            write_numbers(folder / "Calibration_Data" / f"{camera}.cal", calibration)
        for action in actions:
            write_c3d(folder / "Mocap_Data" / f"{action}_1.c3d", points)
            for camera, offsets in OFFSETS.items():
                write_numbers(folder / "Sync_Data" / f"{action}_1_({camera}).ofs", offsets)
            for camera in ("C1", "C2", "C3"):
                video = folder / "Image_Data" / f"{action}_1_({camera}).avi"
                video.parent.mkdir(exist_ok=True)
                made = root / f"{camera}.mp4"
                if not made.exists():
                    write_video(made, shown_pelvis(folder / "Calibration_Data" / "C1.cal", points, camera))
                shutil.copyfile(made, video)


def shown_pelvis(calibration, points, camera, count=24):
    """Frames with a disc at the pelvis, at the time that the synchronisation says."""
    lens = read_cal_file(calibration)
    image, mocap, step = OFFSETS[camera]
    for frame in range(count):
        position = mocap - 1 + (frame + 1 - round(image)) * step  # the camera's own clock, both counted from 1
        position = np.clip(position, 0, MOCAP_FRAMES - 1.001)
        pelvis = joints_at(C3dPoints(Path("a"), LABELS, points, "mm"), np.array([position]), MEASURED)[:, 0, :3]
        yield spotted(SIZE, lens.lens.project(lens.to_camera(pelvis))[0])
