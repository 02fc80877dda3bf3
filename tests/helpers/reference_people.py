"""People whose truth is known, and a source that knows where they are."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from helpers.drawn_clip import DrawnClip
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.crop import Affine2D
from humanpose_cli.detect.person import DetectedPerson, PersonMask


def true_person(clip: DrawnClip, frame: int, shift: float = 0.0) -> DetectedPerson:
    """What a perfect detector would say of a frame of the clip; `shift` pixels to the right."""
    posed = clip.posed(slice(frame, frame + 1))
    points = clip.body.pose_landmarks("blazepose33", posed, clip.betas)
    centre = torch.tensor([[clip.size[1] / 2, clip.size[0] / 2]])
    pixels = (project(points, torch.tensor([clip.focal]), centre)[0] + torch.tensor([shift, 0.0])).numpy()
    hips = points[0, BLAZEPOSE33.indices(("left_hip", "right_hip"))].mean(0)
    low, high = pixels.min(0) - 15, pixels.max(0) + 15
    mask = clip.silhouette(clip.rotations[frame], clip.trans[frame])
    side = max(clip.size)
    crop = np.zeros((side, side), np.uint8)
    crop[: clip.size[0], : clip.size[1]] = 255 * np.roll(mask, round(shift), 1)
    return DetectedPerson(
        box=np.concatenate((low, high)).astype(np.float32),
        keypoints=np.concatenate((pixels, np.full((33, 1), 0.95)), 1).astype(np.float32),
        world=(points[0] - hips).numpy(),
        spread=np.full(33, 1.0, np.float32),
        world_spread=np.full(33, 0.01, np.float32),
        mask=PersonMask(crop, Affine2D.identity()),
        score=0.9,
    )


@dataclass
class ReferencePeople:
    """A PeopleSource that returns what it was told, frame by frame."""

    by_index: dict[int, list[DetectedPerson]] = field(default_factory=dict)
    sequences: int = 0
    closed: bool = False
    at_once: int = 2
    fills_gaps: bool = True
    unsearched: frozenset[int] = frozenset()

    def in_image(self, frame):
        return self.by_index.get(0, [])

    def in_sequence(self, frames, search=None):
        self.sequences += 1
        for frame in frames:
            people = [] if frame.damage else self.by_index.get(frame.index, [])
            yield frame, None if frame.index in self.unsearched else people

    def close(self):
        self.closed = True
