"""Small stand-ins for the data sets of the four papers in their owners' layouts, which train in seconds."""

from __future__ import annotations

import json
import pickle
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from helpers import h36m_tree, humaneva_tree
from helpers.dataset_files import (
    POSETRACK_NAMES,
    build_h36m,
    h36m_joints,
    spotted,
    surface_annotation,
    write_annotations,
)
from helpers.paper_datasets import deepfashion_tree, write
from helpers.smpl_model_file import random_smpl_fields
from humanpose_cli.body.smpl import load_smpl
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.cache.samples import Person
from humanpose_cli.lab.datasets import deepfashion, emdb, h36m, humaneva, iper, threedpw, up3d
from humanpose_cli.lab.datasets.common import project_points
from humanpose_cli.lab.datasets.densepose import DensePoseCocoSource, DensePosePoseTrackSource
from humanpose_cli.lab.datasets.estimators import EstimatedImage, SourceTools
from humanpose_cli.lab.datasets.threedpw import ThreedpwSource
from humanpose_cli.lab.train.history import TrainingHistory

WIDTH = 4
"""Of the ResNets that stand in for ImageNet's."""
_OPENPOSE18 = (15, 12, 17, 19, 21, 16, 18, 20, 2, 5, 8, 1, 4, 7, 15, 15, 15, 15)
"""SMPL's joint at each of OpenPose's 18; the face's are the head."""


class UprightPeople:
    """An estimator that finds somebody upright in the middle of every image."""

    info: Mapping[str, Any] = {"name": "stand-in"}

    def estimate(self, images: Iterable[np.ndarray], **_: Any) -> list[EstimatedImage]:
        pose = np.zeros(72)
        pose[0] = np.pi
        person = Person(body="default", gender="neutral", poses=pose, betas=np.zeros(10), trans=np.array([0, 0, 3.0]))
        return [EstimatedImage([person], float(len(pixels))) for pixels in images]


def small_faced_smpl_fields(seed: int = 0) -> dict:
    """A random model whose triangles are of one bone: small, as on a real surface."""
    fields = random_smpl_fields(seed)
    near = np.arange(len(fields["v_template"]) - 48)[:, None] + [0, 24, 48]
    fields["f"] = np.resize(near, fields["f"].shape).astype(np.uint32)
    return fields


def write_charts(path: Path) -> Path:
    surface = {"All_vertices": np.arange(1, 4), "All_Faces": np.array([[1, 2, 3]]), "All_FaceIndices": np.array([7])}
    savemat(path, {**surface, "All_U_norm": np.eye(3)[0], "All_V_norm": np.eye(3)[1]})
    return path


def small_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expect the numbers of the trees; draw no plots, which take most of the time of trainings this short."""
    monkeypatch.setattr(up3d, "OFFICIAL_IMAGES", {"train": 3, "val": 2, "test": 1})
    monkeypatch.setattr(humaneva, "FRAMES", humaneva_tree.ACTIONS)
    monkeypatch.setattr(h36m, "_SUBJECTS", h36m_tree.SUBJECTS)
    monkeypatch.setattr(h36m, "_ACTIONS", 1)
    monkeypatch.setattr(h36m, "SIZES", (h36m_tree.SIZE,))
    monkeypatch.setattr(threedpw, "OFFICIAL_VIDEOS", {"train": 1, "validation": 1, "test": 1})
    monkeypatch.setattr(emdb, "OFFICIAL_VIDEOS", {"emdb1": 1, "emdb2": 1})
    monkeypatch.setattr(iper, "OFFICIAL_VIDEOS", {"train": 3, "val": 2})
    monkeypatch.setattr(deepfashion, "OFFICIAL_IMAGES", 7)
    monkeypatch.setattr(deepfashion, "OFFICIAL_PAIRS", {("patn", "train"): 4, ("patn", "test"): 1})
    counts = {"train": (2, 2), "valminusminival": (1, 1), "minival": (1, 1)}
    monkeypatch.setattr(DensePoseCocoSource, "counts", counts)
    monkeypatch.setattr(DensePosePoseTrackSource, "counts", {"train": (2, 2), "val": (1, 1)})
    monkeypatch.setattr(TrainingHistory, "plot", lambda *_: None)


def build_h36m_with_bodies(folder: Path, mosh: Path, iuv: Path) -> None:
    """Human3.6M with MoSh's bodies, and DensePose's output on its frames: a disc of chart 7 at the pelvis."""
    views = [(subject, action, camera) for subject in h36m_tree.SUBJECTS for action in h36m_tree.ACTIONS[:1]
             for camera in h36m.CAMERAS]  # fmt: skip
    lens, size = h36m_tree.LENS_HERE, h36m_tree.SIZE
    build_h36m(folder, views, size, h36m_tree.SMALL_LENS, 11, lens.project)
    h36m_tree.write_mosh(mosh, rows=3)
    for subject, action, camera in views:
        for frame in (0, 10):
            pelvis = lens.project(h36m_joints(11)[frame, 0] / 1000)
            charts = np.where(spotted(size, pelvis) > 100, np.uint8([33, 22, 7]), np.uint8(0))  # V, U, chart, as OpenCV
            write_image(iuv / f"{subject}_{action}.{camera}_{frame + 1:06d}_IUV.png", charts)


def build_deepfashion(folder: Path) -> None:
    """PATN's pairs, with those of a second garment, of which some are held out."""
    deepfashion_tree(folder)
    front, full = (f"fashionMENPantsid0000161101_{view}.jpg" for view in ("1front", "4full"))
    with (folder / "fasion-resize-pairs-train.csv").open("a") as pairs:
        pairs.write(f"{front},{full}\n{full},{front}\n")


def build_densepose(coco: Path, posetrack: Path) -> None:
    """DensePose-COCO and DensePose-PoseTrack: images with a person each, whose points are of chart 7."""
    size, box = (320, 240), (40.0, 20.0, 128.0, 192.0)
    points = {"dp_I": [7.0, 7.0]}
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)

    def record(key: int, name: str, **more: object) -> dict[str, object]:
        return {"id": key, "file_name": name, "width": size[0], "height": size[1], **more}

    for part, folder, keys in (
        ("train", "train2014", (1, 2)), ("valminusminival", "val2014", (3,)), ("minival", "val2014", (4,)),
    ):  # fmt: skip
        images = [record(key, f"COCO_{folder}_{key:012d}.jpg") for key in keys]
        people = [surface_annotation(key, key, box, **points) for key in keys]
        write_annotations(coco / "annotations" / f"densepose_coco_2014_{part}.json", images, people)
        for image in images:
            write_image(coco / folder / str(image["file_name"]), pixels)
    for part, keys in (("train", (1, 2)), ("val", (3,))):
        folder = f"images/bonn_{part}/001_bonn"
        frames = {"vid_id": 1, "nframes": 30, "is_labeled": True}
        images = [record(key, f"{folder}/{key:08d}.jpg", frame_id=key - 1, **frames) for key in keys]
        people = [surface_annotation(key, key, box, names=POSETRACK_NAMES, track_id=0, **points) for key in keys]
        write_annotations(posetrack / f"densepose_posetrack_{part}2017.json", images, people, POSETRACK_NAMES)
        for image in images:
            write_image(posetrack / str(image["file_name"]), pixels)


def write_joint_regressor(path: Path) -> Path:
    """Human3.6M's joints as means of vertices of `small_faced_smpl_fields`, in the order that SPIN's file has."""
    joints = (0, 1, 4, 7, 2, 5, 8, 3, 12, 15, 15, 16, 18, 20, 17, 19, 21)  # of SMPL
    np.save(path, small_faced_smpl_fields()["J_regressor"].toarray()[list(joints)].astype(np.float32))
    return path


def write_estimates(data: Path, smpl: Path) -> None:
    """Write results of three programs for the test video of `data`/3DPW; `smpl` is the model file of all bodies.

    WHAM returns the true bodies with noise at every joint, OpenPose their joints, DensePose a disc of chart 7 at each
    pelvis.
    """
    body = load_smpl(smpl)
    few = ThreedpwSource.options_type(allow_missing=True)
    source = ThreedpwSource(data / "3DPW", few, SourceTools(bodies={"male": body, "female": body}))
    video = source.groups()[-1]
    random, tracks = np.random.default_rng(0), defaultdict[str, list[tuple[int, Person]]](list)
    for frame, sample in enumerate(source.read(video)):
        charts, keypoints = np.zeros((*sample.size[::-1], 3), np.uint8), []
        for person in sample.people:
            assert sample.focal is not None
            params = (torch.as_tensor(value, dtype=torch.float32)[None] for value in (person.betas, person.trans))
            rotations = axis_angle_to_matrix(torch.as_tensor(person.poses, dtype=torch.float32).view(1, 24, 3))
            joints = body.pose(rotations, *params, vertices=False).joints[0].numpy()
            pixels = project_points(joints, sample.focal, np.array(sample.principal_point))
            charts[spotted(sample.size, pixels[0])[..., 0] > 100] = (33, 22, 7)  # V, U, chart, as OpenCV
            rows = np.column_stack((pixels[list(_OPENPOSE18)], np.full(18, 0.9)))
            farther = np.hypot(*sample.size) / sample.focal - 1  # WHAM's focal length is the image's diagonal
            trans = np.asarray(person.trans) + np.array([0, 0, farther * joints[0, 2]])
            tracks[person.identity].append((frame, replace(person, trans=trans)))
            keypoints.append({"pose_keypoints_2d": rows.ravel().tolist()})
        write_image(data.parent / "iuv" / f"{sample.name}_IUV.png", charts)
        people = {"version": 1.3, "people": keypoints}
        write(data.parent / "openpose" / f"{sample.name}_keypoints.json", json.dumps(people))
    results = {}
    for track, states in enumerate(tracks.values()):
        frames, people_of_track = zip(*states, strict=True)
        columns = {name: np.stack([getattr(p, name) for p in people_of_track]) for name in ("poses", "betas", "trans")}
        poses = columns["poses"] + random.normal(0, 0.05, columns["poses"].shape)
        results[track] = {
            "pose": poses, "trans": columns["trans"], "pose_world": poses, "trans_world": columns["trans"],
            "betas": columns["betas"], "verts": np.zeros((len(frames), 4, 3)), "frame_ids": np.array(frames),
        }  # fmt: skip
    write(data.parent / "estimates" / video.name / "wham_output.pkl", pickle.dumps(results))
