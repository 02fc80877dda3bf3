"""Maps of a fit's people for image and video generators: depth, normals, parts, shaded bodies and OpenPose figures.

Every map has one image for each frame of the fit, in the frame's size, also for frames without a person. Sources of the
forms: normals as ControlNet 1.1 reads them (README of lllyasviel/ControlNet-v1-1-nightly: "blue is front, red is left,
green is top"); figures and colours of OpenPose's 18 points as `draw_bodypose` of zai-org/SCAIL-Pose,
DWPoseProcess/dwpose/util.py, draws them, with sticks of 4 pixels in images of 512; JSON as comfyui_controlnet_aux
writes it (see `io.detections.programs`); shaded bodies on black for `pose_video` of ComfyUI's node WanSCAILToVideo
(comfy_extras/nodes_scail.py).
"""

from __future__ import annotations

import colorsys
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.avatar.look import BARE
from humanpose_cli.body.body import Body
from humanpose_cli.core.blocks import made_in_threads
from humanpose_cli.core.conventions import COCO17, SMPL24
from humanpose_cli.core.progress import Progress
from humanpose_cli.engine.rasterising.op import interpolate, merge_meshes
from humanpose_cli.exporting.looks import stored_looks
from humanpose_cli.exporting.masks import image_writers
from humanpose_cli.fitting.overlays import plain_surfaces, posed_people
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.detections.joint_orders import ORDERS
from humanpose_cli.outputs.atomic import removed_on_failure, write_bytes, write_json
from humanpose_cli.rendering.boxes import NEAR, Box, body_box
from humanpose_cli.rendering.shading import draw_people, rasterise_view
from humanpose_cli.rendering.surfaces import vertex_normals

_FACING = (128, 128, 255)  # background of normals: a wall that faces the camera
_NAMES = ("bodies", "depth", "normals", "parts", "openpose")
_QUALITY = 12  # of the videos: colours of parts and normals stay close
_MARGIN = 0.3  # metres around the joints: range of the 8-bit depth
_DARKEST = 64  # 8-bit depth of the farthest point, so that it differs from the background
_MILLIMETRES = 1000
_POINTS = ORDERS["OpenPose's COCO"]
_LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10)),
    *((1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
_COLOURS = [tuple(round(255 * c) for c in colorsys.hsv_to_rgb(number / 18, 1, 1)) for number in range(18)]
_STICK = 4 / 512  # shorter sides of the image: half width of a limb
_HIDDEN = 0.06  # metres behind the visible surface: points of the face that a head hides
PART_COLOURS = np.array(
    [colorsys.hsv_to_rgb(part * 137.5 / 360 % 1, 0.9 - 0.4 * (part % 2), 1) for part in range(len(SMPL24))]
)
"""(24, 3) float, 0 to 1, RGB. Colours of SMPL's parts in `parts` images; neighbours differ in hue and saturation."""
_PARTS = np.rint(255 * PART_COLOURS).astype(np.uint8)


def write_maps(fit: Fit, body: Body, folder: Path, progress: Progress) -> list[Path]:
    """Write videos, or PNG images of a photograph, PNG images of 16-bit depth, and OpenPose's JSON into a folder.

    Takes are drawn by their first camera. Frames of other sizes than the first one's are scaled into the videos.
    """
    fit = replace(fit, looks=stored_looks(fit))
    files = [folder / f"{name}.{'png' if fit.frame_count == 1 else 'mp4'}" for name in _NAMES]
    deep = [folder / f"depth_{number:06d}.png" for number in fit.frame_numbers]
    near, far = _depth_range(fit)
    document: list[dict[str, Any]] = []

    def made(frame: int) -> tuple[dict[str, NDArray[np.uint8]], dict[str, Any]]:
        images, depth, people = frame_maps(fit, frame, body, near, far)
        write_bytes(deep[frame], deep_png(depth))
        return images, people

    writers = image_writers(files, fit.frame_rate, _QUALITY)
    ahead = made_in_threads(made, range(fit.frame_count))
    pool = ThreadPoolExecutor(len(files))
    with removed_on_failure(deep), writers as write, ahead as drawn, pool:
        for frame, (images, people) in enumerate(drawn):
            time = None if fit.frame_times is None else Fraction(float(fit.frame_times[frame]))
            list(pool.map(write, files, images.values(), repeat(time)))  # encoders let go of Python's lock
            document.append(people)
            progress(frame + 1, fit.frame_count, "maps")
    write_json(folder / "openpose.json", document, indent=None)
    return [*files, *deep, folder / "openpose.json"]


def frame_maps(
    fit: Fit, frame: int, body: Body, near: float, far: float
) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.uint16], dict[str, Any]]:
    """Draw the maps of one frame.

    Args:
        fit: The fit, whose looks have the garments.
        frame: Index of the frame.
        body: Its body model.
        near: Metres. The depth that is white in the 8-bit map.
        far: Metres. The depth that is darkest.

    Returns:
        Images (H, W, 3) by name, depth (H, W) in millimetres along the camera's axis, 0 without a person, and
        OpenPose's document of the frame, people from near to far with their tracks as `person_id`.
    """
    camera = fit.camera(frame)
    width, height = camera.size
    images = {name: np.zeros((height, width, 3), np.uint8) for name in _NAMES}
    images["normals"] = cv2.add(images["normals"], np.array((*_FACING, 0.0))).astype(np.uint8, copy=False)
    depth = np.zeros((height, width), np.uint16)
    rows = fit.rows_for(frame)
    rows = rows[np.isfinite(fit.joints3d[rows]).all((1, 2))]
    rows = rows[np.argsort(fit.joints3d[rows, 0, 2], kind="stable")]
    document: dict[str, Any] = {"version": 1.3, "people": [], "canvas_width": width, "canvas_height": height}
    if not len(rows):
        return images, depth, document
    tracks = fit.track_id[rows].tolist()
    posed = posed_people(body, fit, rows)
    surfaces = [*chain(*plain_surfaces(body, posed, tracks, fit.looks))]
    draw_people(images["bodies"], surfaces, camera)
    front = np.full((height, width), np.inf, np.float32)
    if boxes := [box for each in surfaces if not (box := body_box(each.vertices, camera)).empty]:
        box = reduce(Box.union, boxes)
        meshes = merge_meshes([each.vertices[None] for each in surfaces], [each.faces for each in surfaces])
        raster = rasterise_view(meshes.vertices, meshes.faces, camera.part(box))
        front[box.slices] = raster.depth[0].numpy()
        face = raster.face.flatten()
        index = torch.from_numpy(np.flatnonzero(face.numpy() >= 0))  # of pixels of the rectangle
        normals = torch.cat([vertex_normals(each.vertices, each.faces) for each in surfaces])
        directions = interpolate(raster, meshes.faces, normals[None]).view(-1, 3).index_select(0, index)
        nearest = raster.barycentrics.view(-1, 3).index_select(0, index).numpy().argmax(1)  # corner of the face
        labels = torch.cat([fit.looks.get(track, BARE).part_labels(body) for track in tracks])[meshes.faces.flatten()]
        metres = raster.depth.flatten().index_select(0, index).numpy()
        closeness = ((1 / metres - 1 / far) / (1 / near - 1 / far)).clip(0, 1)
        values = {
            "depth": np.rint(_DARKEST + (255 - _DARKEST) * closeness).astype(np.uint8)[:, None],
            "normals": ((1 - torch.nn.functional.normalize(directions, dim=-1)) * 127.5).round().byte().numpy(),
            "parts": np.take(_PARTS, labels.numpy()[3 * face.index_select(0, index).numpy() + nearest], 0),
        }
        y, x = np.divmod(index.numpy(), box.shape[1])
        shown = (y + box.y0) * width + x + box.x0
        for name, colours in values.items():
            images[name].reshape(-1, 3)[shown] = colours
        depth.reshape(-1)[shown] = np.rint(metres * _MILLIMETRES).clip(0, np.iinfo(np.uint16).max)
    landmarks = body.pose_landmarks("coco17", posed, torch.from_numpy(fit.betas[rows])).double()
    pixels = [camera.project(person, near=NEAR).numpy() for person in landmarks]
    points = [_openpose_points(*pair, front) for pair in zip(landmarks.numpy(), pixels, strict=True)]
    for person in reversed(points):  # the nearest person is drawn last
        draw_figure(images["openpose"], person)
    for track, person in zip(tracks, points, strict=True):
        document["people"].append({"person_id": [track], "pose_keypoints_2d": person.round(3).ravel().tolist()})
    return images, depth, document


def deep_png(depth: NDArray[np.uint16]) -> bytes:
    """Encode an image (H, W) as PNG, in a third of the time of a library that chooses a filter for each row."""
    height, width = depth.shape
    values = depth.astype(">u2").view(np.uint8)
    rows = np.full((height, 1 + 2 * width), 2, np.uint8)  # the filter "up"
    rows[0, 1:] = values[0]
    np.subtract(values[1:], values[:-1], out=rows[1:, 1:])
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    head = struct.pack(">2I5B", width, height, 16, 0, 0, 0, 0)
    chunks = {b"IHDR": head, b"IDAT": packer.compress(rows.data) + packer.flush(), b"IEND": b""}
    parts = [(struct.pack(">I", len(data)), kind + data) for kind, data in chunks.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(size + part + struct.pack(">I", zlib.crc32(part)) for size, part in parts)


def _depth_range(fit: Fit) -> tuple[float, float]:
    """Return the nearest and the farthest depth, metres, of all people, so that 8-bit depth is steady over a clip."""
    depths = fit.joints3d[..., 2]
    depths = depths[np.isfinite(depths) & (depths > NEAR)]
    if not len(depths):
        return NEAR, 2 * NEAR
    return max(float(depths.min()) - _MARGIN, NEAR), float(depths.max()) + _MARGIN


def _openpose_points(
    points: NDArray[np.float64], pixels: NDArray[np.float64], surface: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return OpenPose's points (18, 3) from those of COCO in camera axes and in pixels, and the surface's depth.

    Points behind the camera are missing, and those of the face that a surface hides, as detectors miss them.
    """
    height, width = surface.shape
    visible = points[:, 2] > NEAR
    face = slice(COCO17.index("left_shoulder"))
    x, y = np.floor(pixels[face]).astype(np.int64).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    visible[face] &= ~inside | (surface[y % height, x % width] > points[face, 2] - _HIDDEN)
    shoulders = [COCO17.index(f"{side}_shoulder") for side in ("left", "right")]
    neck = np.append(pixels[shoulders].mean(0), visible[shoulders].all())
    rows = dict(zip((*COCO17.joint_names, "neck"), np.vstack((np.c_[pixels, visible], neck)), strict=True))
    return np.array([rows[name] * rows[name][2] for name in _POINTS])


def draw_figure(image: NDArray[np.uint8], points: NDArray[np.float64]) -> None:
    """Draw OpenPose's figure of a person's points (18, 3) into an image (H, W, 3), in place."""
    half = max(1, round(_STICK * min(image.shape[:2])))
    limit = 4 * max(image.shape[:2])
    shown = (points[:, 2] > 0) & (np.abs(points[:, :2]) < limit).all(1)
    corners = points[:, :2] - 0.5  # OpenCV's whole numbers are centres of pixels
    for (start, end), colour in zip(_LIMBS, _COLOURS, strict=False):
        if shown[start] and shown[end]:
            a, b = corners[[start, end]]
            centre = np.rint((a + b) / 2).astype(int).tolist()
            angle = int(np.degrees(np.arctan2(*(b - a)[::-1])))
            polygon = cv2.ellipse2Poly(centre, (int(np.linalg.norm(b - a) / 2), half), angle, 0, 360, 1)
            cv2.fillConvexPoly(image, np.array(polygon), [int(0.6 * c) for c in colour])
    for row in np.flatnonzero(shown):
        cv2.circle(image, np.rint(corners[row]).astype(int).tolist(), half, _COLOURS[row], -1)
