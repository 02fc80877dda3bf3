"""Other programs' results in the layouts that their public code documents, with known people."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from humanpose_cli.geometry.rotations import axis_angle_to_matrix

SIZE = (320, 240)  # width, height
FRAMES = 3


@dataclass(frozen=True)
class TruePerson:
    """One person in FRAMES frames: poses (F, 72), betas (F, 10), trans (F, 3), before a camera."""

    poses: np.ndarray
    betas: np.ndarray
    trans: np.ndarray

    @property
    def rotations(self) -> np.ndarray:
        return axis_angle_to_matrix(torch.from_numpy(self.poses).view(-1, 24, 3)).numpy()


def true_person(seed: int = 0) -> TruePerson:
    rng = np.random.default_rng(seed)
    poses = 0.2 * rng.normal(size=(FRAMES, 72))
    poses[:, :3] = (np.pi, 0, 0)  # upright, facing the camera
    betas = np.tile(rng.normal(size=10), (FRAMES, 1))
    trans = (0.1, 0.05, 4.0) + 0.02 * rng.normal(size=(FRAMES, 3))
    return TruePerson(poses.astype(np.float32), betas.astype(np.float32), trans.astype(np.float32))


def phalp(person: TruePerson) -> dict[str, Any]:
    """One track, lost in the last frame, where its last state is repeated."""
    table = {}
    for f in range(FRAMES):
        state = min(f, FRAMES - 2)
        rotations = person.rotations[state]
        table[f"out/img/{f + 1:06d}.jpg"] = {
            "time": f,
            "shot": 0,
            "frame_path": f"out/img/{f + 1:06d}.jpg",
            "tid": [7],
            "tracked_time": [f - state],
            "tracked_ids": [7] if f == state else [],
            "bbox": [np.array([10.0, 20.0, 50.0, 90.0])],
            "size": [[SIZE[1], SIZE[0]]],
            "conf": [np.float32(0.9)],
            "smpl": [{"global_orient": rotations[:1], "body_pose": rotations[1:], "betas": person.betas[state]}],
            "camera": [person.trans[state] * (1, 1, 10)],
            "mask": [[{"size": [240, 320], "counts": "abc"}]],
            "extra_data": [None],
        }
    return table


def wham(person: TruePerson) -> dict[Any, Any]:
    results: dict[Any, Any] = defaultdict(dict)
    results[3] = {
        "pose": person.poses,
        "trans": person.trans,
        "pose_world": person.poses,
        "trans_world": person.trans,
        "betas": person.betas,
        "verts": np.zeros((FRAMES, 4, 3), np.float32),
        "frame_ids": np.arange(FRAMES),
    }
    return results


def tram(person: TruePerson) -> tuple[dict[str, Any], dict[str, Any]]:
    """A track of torch tensors, and the camera, which moves."""
    track = {
        "pred_cam": torch.zeros(FRAMES, 3),
        "pred_rotmat": torch.from_numpy(person.rotations),
        "pred_shape": torch.from_numpy(person.betas),
        "pred_trans": torch.from_numpy(person.trans)[:, None],
        "frame": torch.arange(FRAMES),
    }
    turns = axis_angle_to_matrix(torch.tensor([[0.0, 0.1 * f, 0.0] for f in range(FRAMES)])).numpy()
    camera = {
        "img_focal": np.float64(300.0),
        "img_center": np.array(SIZE) / 2,
        "world_cam_R": np.diag((1, -1, -1)) @ turns,  # y up
        "world_cam_T": np.array([[0.5 * f, 0.1 * f, 0.0] for f in range(FRAMES)], np.float32),
    }
    return track, camera


def camerahmr(person: TruePerson) -> dict[str, np.ndarray]:
    camera = np.array([[300.0, 0, SIZE[0] / 2], [0, 300.0, SIZE[1] / 2], [0, 0, 1]])
    return {
        "imgname": np.array([f"train/{f:03d}.png" for f in range(FRAMES)]),
        "pose_cam": person.poses,
        "shape": person.betas,
        "trans_cam": person.trans,
        "cam_int": np.tile(camera, (FRAMES, 1, 1)),
    }


def gvhmr(person: TruePerson) -> dict[str, Any]:
    arrays = {
        "global_orient": person.poses[:, :3],
        "body_pose": person.poses[:, 3:66],
        "betas": person.betas,
        "transl": person.trans,
    }
    params = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}
    camera = torch.tensor([[300.0, 0, SIZE[0] / 2], [0, 300.0, SIZE[1] / 2], [0, 0, 1]])
    return {
        "smpl_params_global": params,
        "smpl_params_incam": params,
        "K_fullimg": camera.repeat(FRAMES, 1, 1),
        "net_outputs": {"model_output": {"pred_cam": torch.zeros(1, FRAMES, 3)}},
    }


def sam_3d_body(points: np.ndarray, offset: np.ndarray) -> dict[str, Any]:
    """A person of given MHR keypoints (70, 3), relative to `offset`."""
    return {
        "bbox": np.zeros(4, np.float32),
        "focal_length": np.float32(300.0),
        "pred_keypoints_3d": points.astype(np.float32),
        "pred_cam_t": offset.astype(np.float32),
        "mhr_model_params": np.zeros(204, np.float32),
        "mask": None,
    }
