"""Maps for generators: one image for each frame, where the bodies are, read back with other libraries."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.moving_people import FRAMES, moving_people, one_frame

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.exporting import masks
from humanpose_cli.exporting.exporter import export_fit
from humanpose_cli.exporting.maps import PART_COLOURS
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.detections import read_keypoints
from humanpose_cli.io.video import VideoReader
from humanpose_cli.rendering.shading import rasterise_view

EVERYONE = moving_people()
EMPTY = 2
FIT = EVERYONE.select(np.flatnonzero(EVERYONE.frame_index != EMPTY))
VIDEOS = ("bodies", "depth", "normals", "parts", "openpose")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("maps") / "clip"
    written = export_fit(FIT, base, "maps", body=default_body())
    assert len(written) == len(set(written)) == len(VIDEOS) + FRAMES + 1
    assert all(path.parent == base.with_name("clip.maps") and path.is_file() for path in written)
    return base.with_name("clip.maps")


def true_raster(fit: Fit, frame: int):
    vertices = torch.cat(list(body_vertices(default_body(), fit, fit.rows_for(frame))))
    faces = default_body().faces
    faces = torch.cat([faces + k * len(default_body().template) for k in range(len(fit.rows_for(frame)))])
    return rasterise_view(vertices[None], faces, fit.camera(frame)), vertices, faces


def shown(path: Path) -> list[np.ndarray]:
    return [pixels for _, pixels in VideoReader(path)]


def deep(folder: Path, frame: int) -> np.ndarray:
    return cv2.imread(str(folder / f"depth_{frame:06d}.png"), cv2.IMREAD_UNCHANGED)


@pytest.mark.slow
def test_every_map_has_each_frame_at_the_rate_of_the_clip(clip):
    """Also the frame without people."""
    for name in VIDEOS:
        capture = cv2.VideoCapture(str(clip / f"{name}.mp4"))
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
        assert capture.get(cv2.CAP_PROP_FPS) == 25
        frames = shown(clip / f"{name}.mp4")
        assert len(frames) == FRAMES
        assert {frame.shape for frame in frames} == {(480, 640, 3)}
        assert np.ptp(frames[EMPTY].astype(int), axis=(0, 1)).max() < 8, "nothing is drawn"
        assert np.ptp(frames[EMPTY - 1].astype(int), axis=(0, 1)).max() > 60
    assert not deep(clip, EMPTY).any()


@pytest.mark.slow
def test_depth_is_that_of_the_nearest_body_in_millimetres(clip):
    for frame in (1, 3):
        depth = true_raster(FIT, frame)[0].depth[0].numpy()
        expected = np.where(np.isfinite(depth), depth * 1000, 0)
        found = deep(clip, frame)
        assert found.dtype == np.uint16
        assert np.abs(found - expected).max() <= 0.51
        near = shown(clip / "depth.mp4")[frame][..., 0].astype(float)
        mask = cv2.erode((expected > 0).astype(np.uint8), np.ones((5, 5))) > 0
        assert np.corrcoef(near[mask], 1 / expected[mask])[0, 1] > 0.99
        assert near[mask].min() > 50


@pytest.mark.slow
def test_openpose_json_lists_people_by_depth_and_fit_reads_it(clip):
    document = json.loads((clip / "openpose.json").read_text())
    assert [len(frame["people"]) for frame in document] == [1, 2, 0, 2, 2]
    for number in (1, 3, 4):
        rows = FIT.rows_for(number)
        rows = rows[np.argsort(FIT.joints3d[rows, 0, 2])]
        people = document[number]["people"]
        assert [person["person_id"] for person in people] == [[track] for track in FIT.track_id[rows]]
        joints = FIT.camera(number).project(FIT.joints3d[rows])
        for person, expected in zip(people, joints, strict=True):
            points = np.reshape(person["pose_keypoints_2d"], (18, 3))
            for row, name in ((4, "right_wrist"), (7, "left_wrist"), (9, "right_knee"), (12, "left_knee")):
                assert np.linalg.norm(points[row, :2] - expected[SMPL24.index(name)]) < 10
            np.testing.assert_allclose(points[1, :2], (points[2, :2] + points[5, :2]) / 2, atol=1e-3)
    read = read_keypoints(clip / "openpose.json")
    assert [len(read.by_number.get(frame, ())) for frame in range(FRAMES)] == [1, 2, 0, 2, 2]


@pytest.mark.parametrize("turn", [0, np.pi])
def test_a_photograph_has_exact_colours_and_people_from_behind_no_face(tmp_path, turn):
    """Normals as generators read them: red faces left, green up, blue the camera."""
    fit = one_frame(EVERYONE.select(EVERYONE.rows_of(0)), 3)
    rotation = axis_angle_to_matrix(torch.tensor([0.0, turn, 0.0]))
    pose = matrix_to_axis_angle(rotation @ axis_angle_to_matrix(torch.from_numpy(fit.poses[:, :3].copy())))
    fit = replace(fit, poses=np.c_[pose.numpy(), fit.poses[:, 3:]].astype(np.float32))
    export_fit(fit, tmp_path / "photo", "maps", body=default_body())
    folder = tmp_path / "photo.maps"
    (frame,) = json.loads((folder / "openpose.json").read_text())
    points = np.reshape(frame["people"][0]["pose_keypoints_2d"], (18, 3))
    assert points[[0, 14, 15], 2].any() == (turn == 0)
    assert points[1:14, 2].all()
    parts, normals, figure = (cv2.imread(str(folder / f"{n}.png"))[..., ::-1] for n in ("parts", "normals", "openpose"))
    raster, vertices, faces = true_raster(fit, 0)
    face = raster.face[0].numpy()
    palette = np.rint(255 * PART_COLOURS).astype(np.uint8)
    assert set(map(tuple, parts[face >= 0])) <= set(map(tuple, palette))
    assert not parts[face < 0].any()
    x, y = np.floor(points[4, :2]).astype(int)
    assert figure[y, x].tolist() == [170, 255, 0], "OpenPose's colour of the right wrist"
    a, b, c = vertices[faces.long()].double().unbind(1)
    outward = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1).numpy()
    found = normals[face >= 0] / 127.5 - 1
    assert np.median((found * -outward[face[face >= 0]]).sum(1)) > 0.99, "faces differ from the smooth surface"


def test_masks_have_the_colours_of_scail_from_left_to_right(tmp_path, monkeypatch):
    """In the order of first frames; pure enough for the threshold of 225 after the video's compression."""
    fit = FIT.select(np.flatnonzero(FIT.frame_index > EMPTY))
    left = fit.joints2d.copy()
    left[fit.track_id == 2] -= 100
    fit = replace(fit, joints2d=left)
    labels = np.full((480, 640), -1)
    labels[100:200, 300:400] = 0
    labels[100:200, 50:150] = 2
    people = masks.FrameMasks(labels, {}, np.zeros((480, 640, 3), np.uint8))
    monkeypatch.setattr(masks, "_people", lambda *_: iter([(n, None, people) for n in range(FRAMES)]))
    written = masks.export_masks(fit, None, tmp_path / "m")
    assert [path.name for path in written] == ["people.mp4", "all.mp4", "coco.json"]
    for name, colours in (("people", [(0, 0, 255), (255, 0, 0)]), ("all", [(255, 255, 255)] * 2)):
        frames = shown(tmp_path / "m" / f"{name}.mp4")
        assert len(frames) == FRAMES
        for frame in frames:
            for column, colour in zip((100, 350), colours, strict=True):
                assert np.array_equal(frame[150, column] > 225, np.array(colour) > 0)
                assert np.abs(frame[150, column].astype(int) - colour).max() < 30
            assert frame[300].max() < 30
    assert len(json.loads((tmp_path / "m" / "coco.json").read_text())["images"]) == FRAMES
