"""Reposing by the network `warp3d`: crop, repose, and place the result into the photograph at full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.avatar.mesh import DrawnPerson, PersonFrame
from humanpose_cli.avatar.person import Doubt, DressedPerson, TargetPose
from humanpose_cli.avatar.stages import FittedPerson
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.core.crop import Affine2D, Crop, crop_around_box
from humanpose_cli.models.warp3d.config import FILL
from humanpose_cli.models.warp3d.generator import CropToRepose, ReposedCrop, Warp3d, frame_joints

_MAX_COMMON_CROP = 1.3  # side of one crop for both poses, in sides of the larger box


@dataclass(frozen=True, eq=False)
class WarpReposer:
    """Draws a person in any pose into a frame by a network; the interface of `MeshReposer`.

    Attributes:
        person: The person.
        frame: The image that they are drawn into.
        network: A loaded generator.
        use_mask: Whether the network gets the photo's mask of the person.
    """

    person: DressedPerson
    frame: PersonFrame
    network: Warp3d
    use_mask: bool = True

    @property
    def _offset(self) -> NDArray[np.float64]:
        """The (x, y) of the photo's first pixel in the frame."""
        return np.subtract(self.frame.view.principal_point, self.person.view.principal_point)

    @cached_property
    def _silhouette(self) -> NDArray[np.float32] | None:
        """The photo's mask (H, W) of the person, for networks with that input; None without."""
        return self.person.photographed.silhouette if self.use_mask and self.network.config.short_cuts else None

    @cached_property
    def _source(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The joints and the box in the photo."""
        return self._joints_and_box(self.person.pose)

    def render_all(self, poses: Sequence[TargetPose]) -> list[DrawnPerson]:
        """Draw several poses at once; their shifts are ignored.

        A pose outside the image leaves the background, with a doubt.

        Args:
            poses: The poses.

        Raises:
            UsageError: If a pose is behind the camera.
        """
        crops = [self._crops(pose) for pose in poses]
        results = iter(self.network.repose_all([crop[0] for crop in crops if crop is not None]))
        return [
            self._empty() if crop is None else self._drawn(pose, crop[1], next(results))
            for pose, crop in zip(poses, crops, strict=True)
        ]

    def _crops(self, pose: TargetPose) -> tuple[CropToRepose, Crop] | None:
        """Return the network's input and the crop of its output; None for poses outside the image."""
        joints, boxes = zip(self._source, self._joints_and_box(pose), strict=True)
        low, high = boxes[1].reshape(2, 2) + self._offset  # pixels of the frame
        if np.isfinite(boxes[1]).all() and ((high < 0) | (low > self.frame.view.size)).any():
            return None
        squares = self._squares(boxes)
        source_crop, target_crop = (crop_around_box(square, self.network.config.size, fill=FILL) for square in squares)
        source, target = (
            frame_joints(points, self.fit.camera.cropped(crop))
            for points, crop in zip(joints, (source_crop, target_crop), strict=True)
        )
        silhouette = None if self._silhouette is None else source_crop.image(self._silhouette)
        request = CropToRepose(source_crop.image(self.person.photographed.photo), source, target, silhouette)
        return request, target_crop

    def _empty(self) -> DrawnPerson:
        nothing = np.zeros(self.frame.view.size[::-1], np.float32)
        empty = self._over(np.repeat(nothing[..., None], 3, 2), nothing, self.frame.background)
        sentence = "the target lies outside the image: no person is drawn; `canvas=fit` grows it"
        return DrawnPerson(
            empty, (Doubt("outside", 1.0, "leaves the image", sentence),), self.person.texture.visible_fraction
        )

    def _drawn(self, pose: TargetPose, crop: Crop, result: ReposedCrop) -> DrawnPerson:
        """Place the network's result into the photo."""
        alpha = self._back(crop, result.mask)
        colour = self._back(crop, result.foreground)
        plate = self.frame.backdrop(self.person, pose)
        doubts = tuple(self.person.doubts(pose))
        return DrawnPerson(self._over(colour, alpha, plate), doubts, self.person.texture.visible_fraction)

    @property
    def fit(self) -> FittedPerson:
        """The body in the photo."""
        return self.person.photographed.fit

    @torch.no_grad()
    def _joints_and_box(self, pose: TargetPose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the joints (19, 3) metres, and the box (4,) pixels round the body."""
        body = self.person.body.body
        scales = self.fit.segment_scales
        betas = torch.from_numpy(np.array(self.fit.betas, np.float32))[None]
        segment_scales = None if scales is None else torch.from_numpy(np.array(scales, np.float32))[None]
        posed_body = body.pose(pose.rotations[None].float(), betas, pose.trans[None].float(), segment_scales)
        joints = body.pose_landmarks(REPOSING19.name, posed_body, betas)[0]
        near = posed_body.surface[:, posed_body.surface[0, :, 2] > 0.1]
        if near.shape[1] == 0:
            return joints.double().numpy(), np.full(4, np.nan)
        pixels = self.fit.camera.project(near)[0].double().numpy()
        return joints.double().numpy(), np.concatenate((pixels.min(0), pixels.max(0)))

    def _squares(self, boxes: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        """Return the squares of both crops, of one size: one square for both, as in training, if it is small."""
        finite = [box if np.isfinite(box).all() else boxes[0] for box in boxes]
        both = np.concatenate((np.minimum(*finite)[:2], np.maximum(*finite)[2:]))
        side = max(float((box[2:] - box[:2]).max()) for box in finite)
        if (both[2:] - both[:2]).max() <= _MAX_COMMON_CROP * side:
            finite = [both, both]
            side = float((both[2:] - both[:2]).max())
        middles = [(box[:2] + box[2:]) / 2 for box in finite]
        return [np.concatenate((middle - side / 2, middle + side / 2)) for middle in middles]

    def _back(self, crop: Crop, values: NDArray) -> NDArray[np.float32]:
        """Place a crop's image or mask in the frame, (H, W[, C]) float32; 0 elsewhere."""
        flags = cv2.INTER_CUBIC if values.ndim == 3 else cv2.INTER_LINEAR
        border = cv2.BORDER_REPLICATE if values.ndim == 3 else cv2.BORDER_CONSTANT
        to_frame = Affine2D(np.column_stack((np.eye(2), self._offset))) @ crop.affine.inverse()
        return to_frame.warp(values.astype(np.float32), self.frame.view.size, flags, border_mode=border)

    @staticmethod
    def _over(
        colour: NDArray[np.float32], alpha: NDArray[np.float32], plate: NDArray[np.uint8] | None
    ) -> NDArray[np.uint8]:
        colour = np.clip(colour, 0, 255)
        image: NDArray[np.floating]
        if plate is None:
            image = np.concatenate((colour, 255 * np.clip(alpha, 0, 1)[..., None]), 2)
        else:
            share = np.clip(alpha, 0, 1)[..., None]
            image = plate.astype(np.float32) * (1 - share) + colour * share
        return (image + 0.5).astype(np.uint8)
