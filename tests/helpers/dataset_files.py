"""Small data sets in their owners' exact layouts, with numbers that the tests know."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import torch
from cdflib.cdfwrite import CDF

from humanpose_cli.io.video import VideoWriter

# Human3.6M's own numbers for S1 and camera 54138969 (metadata.xml; the quaternion is VideoPose3D's for the same).
S1_CAMERA = (-1.38382776045614, -3.16734304390158, 0.413636308164621, 1841.10702774543, 4955.28462344526, 1563.4453959)
S1_QUATERNION = (0.1407056450843811, -0.1500701755285263, -0.755240797996521, 0.6223280429840088)
LENS = (1145.049, 1143.781, 512.5415, 515.4515, -0.2071, 0.24778, -0.003075, -0.001424, -0.000976)


def write_cdf(path: Path, values: np.ndarray, *, name: str = "Pose", compress: int = 0) -> None:
    """One variable of doubles with one record; `compress` is gzip's level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = CDF(path, delete=path.exists())
    description = {
        "Variable": name,
        "Data_Type": CDF.CDF_DOUBLE,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": list(values.shape),
        "Compress": compress,
    }
    file.write_var(description, var_data=values[None])
    file.close()


def write_metadata(path: Path, lens=LENS, first=S1_CAMERA) -> None:
    """metadata.xml with its field w0: all cameras alike but for S1's first one."""
    numbers = [0.1, 0.2, 0.3, 100.0, 200.0, 300.0] * 44
    numbers[:6] = first
    path.parent.mkdir(parents=True, exist_ok=True)
    w0 = " ".join(repr(float(number)) for number in [*numbers, *lens * 4])
    path.write_text(f"<?xml version='1.0' encoding='utf-8'?>\n<a>\n   <w0>[{w0}]</w0>\n</a>\n")


def write_video(path: Path, frames) -> None:
    """An MP4 of (H, W, 3) uint8 frames, nearly lossless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, 50, quality=4) as writer:
        for frame in frames:
            writer.write(frame)


def spotted(size, pixel) -> np.ndarray:
    """A dark image with a bright disc of 9 pixels around a place."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    disc = np.hypot(x - pixel[0], y - pixel[1]) < 4.5
    return np.repeat(np.where(disc, np.uint8(250), np.uint8(20))[..., None], 3, -1)


def centre_of_light(pixels: np.ndarray) -> np.ndarray:
    """Where the bright disc of an image is, corner-origin pixels."""
    light = np.clip(pixels.astype(float).mean(-1) - 100, 0, None)
    rows, columns = np.indices(light.shape) + 0.5
    return np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()


def h36m_joints(frames: int, seed=0) -> np.ndarray:
    """(frames, 32, 3) millimetres in camera axes: a person four metres away who drifts to the right."""
    random = np.random.default_rng(seed)
    still = random.uniform((-350, -900, 3900), (350, 900, 4300), (32, 3))
    return still + np.arange(frames)[:, None, None] * [12.0, 0, 0]


def build_h36m(root: Path, views, size, lens, frames: int, project) -> None:
    """Videos, D3_Positions_mono and metadata.xml of views (subject, action, camera).

    project  (N, 3) metres → pixels of the lens: the videos show a bright disc at the pelvis. One video is made and
             copied to all views.
    """
    write_metadata(root / "metadata.xml", lens)
    joints = h36m_joints(frames)
    pelvis = project(joints[:, 0] / 1000)
    video = root / "made.mp4"
    write_video(video, [spotted(size, point) for point in pelvis])
    for subject, action, camera in views:
        folder = root / subject
        positions = folder / "MyPoseFeatures" / "D3_Positions_mono" / f"{action}.{camera}.cdf"
        write_cdf(positions, joints.reshape(frames, 96))
        (folder / "Videos").mkdir(exist_ok=True)
        shutil.copyfile(video, folder / "Videos" / f"{action}.{camera}.mp4")
    video.unlink()


def write_python2_pickle(path: Path, table: dict) -> None:
    """As the owners' tools did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(table, protocol=2))


# COCO's keypoints, and PoseTrack's, as the categories of their files name them.
COCO_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
)
POSETRACK_NAMES = ("nose", "head_bottom", "head_top", *COCO_NAMES[3:])
# pycocotools' text for a 256 × 256 mask that is set in rows 100 to 199 of columns 50 to 59.
BLOCK_RUNS = {"size": [256, 256], "counts": "Tc<T3l400000000000000000ll`1"}


def surface_annotation(key: int, image: int, box, *, names=COCO_NAMES, **more) -> dict:
    """A person with two surface points, at a quarter and three quarters of the box, and one part."""
    return {
        "id": key,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "area": 1.0,
        "bbox": list(box),
        "keypoints": [value for number in range(len(names)) for value in (10 + number, 20 + number, 2)],
        "num_keypoints": len(names),
        "dp_x": [64.0, 192.0],
        "dp_y": [64.0, 192.0],
        "dp_I": [2.0, 24.0],
        "dp_U": [0.25, 1.0],
        "dp_V": [0.5, 0.0],
        "dp_masks": [BLOCK_RUNS] + [[]] * 13,
        **more,
    }


def write_annotations(path: Path, images, annotations, names=COCO_NAMES) -> None:
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(names), "skeleton": [[1, 2]]}
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"images": images, "annotations": annotations, "categories": [category]}
    path.write_text(json.dumps(document), encoding="utf-8")


def write_dump(path: Path, entries: list[dict[str, object]]) -> Path:
    """torch.save of chart results under the names that detectron2 gives them."""
    name = "densepose.structures.chart_result"
    modules = {part: types.ModuleType(part) for part in ("densepose", "densepose.structures", name)}
    kind = type("DensePoseChartResult", (), {"__module__": name, "__qualname__": "DensePoseChartResult"})
    modules[name].DensePoseChartResult = kind  # type: ignore[attr-defined]
    sys.modules |= modules
    try:
        for entry in entries:
            results = []
            for labels, uv in entry.pop("results", []):  # type: ignore[attr-defined]
                result = kind()
                result.labels, result.uv = labels, uv
                results.append(result)
            entry["pred_densepose"] = results
        torch.save(entries, path)
    finally:
        for part in modules:
            del sys.modules[part]
    return path


def write_rich_camera(path: Path, rotation, translation, intrinsic, distortion) -> None:
    """A camera of scan_calibration, as OpenCV's FileStorage writes it."""

    def matrix(name: str, rows: int, columns: int, numbers) -> str:
        data = " ".join(repr(float(number)) for number in np.ravel(numbers))
        size = f"<rows>{rows}</rows><cols>{columns}</cols><dt>d</dt>"
        return f'<{name} type_id="opencv-matrix">{size}<data>\n{data}</data></{name}>'

    fields = [
        matrix("CameraMatrix", 3, 4, np.column_stack((rotation, translation))),
        matrix("Intrinsics", 3, 3, intrinsic),
        matrix("Distortion", len(distortion), 1, distortion),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('<?xml version="1.0"?>\n<opencv_storage>\n' + "\n".join(fields) + "\n</opencv_storage>\n")
