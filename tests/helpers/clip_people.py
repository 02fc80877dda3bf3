"""A source of one clip: a person in the colours of their parts moves before a camera, and all is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from helpers.fit_values import fit_of_rows
from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, rotation_between
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.label_maps import BodyLabels, LabelledMesh, render_label_maps
from humanpose_cli.lab.cache.samples import Group, Person, Sample, SourceInfo
from humanpose_cli.lab.evaluate.people import EvaluatedPeople
from humanpose_cli.lab.evaluate.refine_clips import with_bodies

SIZE, FOCAL, FRAMES = 96, 130.0, 4


def truth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses (F, 72), betas (10,), trans (F, 3)."""
    rng = np.random.default_rng(5)
    poses = np.tile(0.15 * rng.normal(size=72), (FRAMES, 1))
    poses[:, :3] = (np.pi, 0, 0)
    poses[:, 48] += 0.1 * np.arange(FRAMES)
    trans = np.array([0.0, 0.0, 3.4]) + np.array([0.04, 0, 0]) * np.arange(FRAMES)[:, None]
    return poses.astype(np.float32), (0.5 * rng.normal(size=10)).astype(np.float32), trans.astype(np.float32)


class ClipPeople:
    """`clips` sequences of the same person, in the split "test", with what a perfect detector would see.

    centre  where the camera's axis meets the image: off its middle as in a crop
    """

    def __init__(self, clips: int = 1, sequences: bool = True, centre: tuple[float, float] | None = None) -> None:
        self.clips, self.sequences = clips, sequences
        self.view = Camera.of_image((SIZE, SIZE), FOCAL, centre)

    @property
    def info(self) -> SourceInfo:
        return SourceInfo("clip", {"clips": self.clips})

    def groups(self) -> Sequence[Group]:
        return [Group(f"clip{number}", FRAMES, key=number) for number in range(self.clips)]

    def read(self, group: Group) -> Iterator[Sample]:
        body = default_body()
        poses, betas, trans = truth()
        rotations = axis_angle_to_matrix(torch.from_numpy(poses).view(FRAMES, 24, 3))
        # Always in the middle of the image, wherever the axis is.
        trans = trans + trans[:, 2:] * np.float32([*((SIZE / 2 - np.array(self.view.principal_point)) / FOCAL), 0])
        posed = body.pose(rotations, torch.from_numpy(betas)[None], torch.from_numpy(trans))
        landmarks = body.pose_landmarks("blazepose33", posed, torch.from_numpy(betas)[None]).numpy()
        for frame in range(FRAMES):
            mesh = LabelledMesh(posed.vertices[frame], body.faces, BodyLabels(body))
            maps = render_label_maps([mesh], self.view, ("persons", "parts"))
            joints = posed.joints[frame].numpy()
            points = np.concatenate((self.view.project(joints), np.ones((24, 1))), 1).astype(np.float32)
            person = Person(
                identity="somebody",
                gender="neutral",
                body="default",
                box=np.concatenate((points[:, :2].min(0), points[:, :2].max(0))).astype(np.float32),
                poses=poses[frame],
                betas=betas,
                trans=trans[frame],
                keypoints={"smpl24": points},
                joints={"smpl24": np.concatenate((joints, np.ones((24, 1))), 1).astype(np.float32)},
                detected=np.concatenate((self.view.project(landmarks[frame]), np.ones((33, 1))), 1).astype(np.float32),
                detected_world=np.concatenate((_about_hips(landmarks[frame]), np.ones((33, 1))), 1).astype(np.float32),
            )
            shade = np.repeat(10 * maps["parts"][..., None].astype(np.uint8), 3, -1)
            yield Sample(
                name=f"{group.name}/{frame:04d}",
                image=encode_png(shade),
                size=(SIZE, SIZE),
                focal=FOCAL,
                principal_point=self.view.principal_point,
                people=[person],
                maps={name: encode_png(image) for name, image in maps.items()},
                sequence=group.name if self.sequences else "",
                frame=frame,
                splits={"p": "test"},
            )


def _about_hips(landmarks: np.ndarray) -> np.ndarray:
    """World landmarks, in the axes of a camera that looks straight at the person."""
    hips = landmarks[list(BLAZEPOSE33.indices(("left_hip", "right_hip")))].mean(0)
    ahead = rotation_between(torch.from_numpy(hips), torch.tensor([0.0, 0.0, 1.0])).numpy()
    return (landmarks - hips) @ ahead.T


def clip_cache(folder: Path, **options: object) -> Path:
    build_cache(ClipPeople(**options), folder)  # type: ignore[arg-type]
    return folder


def true_params(shift: float = 0.0) -> BodyParams:
    poses, betas, trans = truth()
    return BodyParams(poses, np.tile(betas, (FRAMES, 1)), trans + np.float32([shift, 0, 0]))


def fit_of(people: EvaluatedPeople, shift: float = 0.0) -> Fit:
    """The truth, moved aside by `shift` metres, as a fit of the clip."""
    joints = people.joints2d[:FRAMES]
    made = fit_of_rows(
        Fit,
        [f"clip0/{number:04d}" for number in range(FRAMES)],
        (SIZE, SIZE),
        FOCAL,
        track_id=np.zeros(FRAMES),
        frame_index=np.arange(FRAMES),
        boxes=np.concatenate((joints.min(1), joints.max(1)), 1),
    )
    return replace(with_bodies(made, people.body, np.arange(FRAMES), true_params(shift)), model=people.body)
