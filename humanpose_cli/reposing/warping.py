"""Reposing by the trained network of `warp3d`: crop, repose, put back into the photograph at its full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.conventions import REPOSING19
from humanpose_cli.data.loading.camera_change import CameraChange, crop_change
from humanpose_cli.geometry.cameras import project
from humanpose_cli.rendering.surfaces import Surface, Texture
from humanpose_cli.reposing.compositing import draw_person
from humanpose_cli.reposing.mesh import FittedPerson, MeshReposer, Reposed
from humanpose_cli.reposing.warp3d.inference import Warp3d
from humanpose_cli.reposing.warp3d.volume_frame import frame_joints

__all__ = ["SourceCrop", "WarpReposer"]

FILL = 0.86
"""Share of the crop that the person takes in both poses together: as in training."""

_FARTHEST = 1.3  # times the larger box that one crop for both poses may have
_FEATHER = 1.5  # network pixels over which detail fades at the mask's edge


class SourceCrop(NamedTuple):
    """What a network sees of the photo: picture (S, S, 3) uint8, joints (19, 3) of the volume's frame, mask (S, S)."""

    picture: NDArray[np.uint8]
    joints: NDArray[np.float32]
    mask: NDArray[np.float32]


class WarpReposer:
    """One person of one photo, ready to be drawn in any pose by a network; the interface of `MeshReposer`.

    mesh               the same person as a textured mesh: photo, background, hole and the detail that is carried over
    person             the fit that it was made of
    network            a loaded generator
    keep_input_detail  put what is finer than the network's pixels back where the same surface is seen in both poses,
                       carried over by the fitted body
    """

    def __init__(
        self, mesh: MeshReposer, person: FittedPerson, network: Warp3d, *, keep_input_detail: bool = False
    ) -> None:
        self.mesh, self.person, self.network = mesh, person, network
        self.photo, self.body = mesh.photo, mesh.body
        self.rotations, self.trans = mesh.rotations, mesh.trans
        self.keep_input_detail = keep_input_detail

    def source_crop(self) -> SourceCrop:
        """The person as the photo shows them, by themselves."""
        with torch.no_grad():
            joints, box = self._seen(self.rotations, self.trans)
        change, _ = self._crops((box, box))
        mask = np.clip(change.warp(self.mesh.mask, cv2.INTER_LINEAR), 0, 1)
        return SourceCrop(self._picture(change), self._framed(joints, change), mask)

    @property
    def hole(self) -> NDArray[np.bool_]:
        """See `MeshReposer.hole`."""
        return self.mesh.hole

    def render(self, rotations: Tensor, trans: Tensor | None = None) -> Reposed:
        """The picture with the person in another pose; see `MeshReposer.render`.

        A pose outside the picture leaves the background, with a warning. UsageError for poses behind the camera.
        """
        trans = self.trans if trans is None else trans
        with torch.no_grad():
            joints, boxes = zip(
                *(self._seen(r, t) for r, t in ((self.rotations, self.trans), (rotations, trans))), strict=True
            )
        turn, seen = self.mesh.turn(rotations, trans), self.mesh.texture.seen_fraction
        height, width = self.photo.shape[:2]
        if np.isfinite(boxes[1]).all() and ((boxes[1][2:] < 0) | (boxes[1][:2] > (width, height))).any():
            nothing = np.zeros((height, width), np.float32)
            empty = self._over(np.repeat(nothing[..., None], 3, 2), nothing)
            return Reposed(empty, ("the target lies outside the picture: nobody is drawn",), seen, turn)
        before, after = self._crops(boxes)
        source, target = (self._framed(points, change) for points, change in zip(joints, (before, after), strict=True))
        made = self.network.repose(self._picture(before), source, target)
        alpha, colour = self._back(after, made.mask), self._back(after, made.foreground)
        if self.keep_input_detail:
            colour = self._with_detail(colour, alpha, after, rotations, trans)
        return Reposed(self._over(colour, alpha), tuple(self.mesh.warnings(turn)), seen, turn)

    def _framed(self, joints: NDArray[np.float64], change: CameraChange) -> NDArray[np.float32]:
        """Joints in the pixels of a crop's volume."""
        centre = change.pixels(np.asarray(self.person.principal_point))
        return frame_joints(joints, self.person.focal * change.scale, centre, self.network.config.size)

    def _seen(self, rotations: Tensor, trans: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Joints (19, 3) metres, and the box (4,) pixels round the body."""
        betas = torch.from_numpy(np.array(self.person.betas, np.float32))[None]
        scales = self.person.segment_scales
        own = None if scales is None else torch.from_numpy(np.array(scales, np.float32))[None]
        posed = self.body.pose(rotations[None].float(), betas, trans[None].float(), own)
        assert posed.vertices is not None
        joints = self.body.pose_landmarks(REPOSING19.name, posed, betas)[0]
        camera = torch.tensor([self.person.focal]), torch.tensor([self.person.principal_point])
        near = posed.vertices[:, posed.vertices[0, :, 2] > 0.1]
        if near.shape[1] == 0:
            return joints.double().numpy(), np.full(4, np.nan)
        pixels = project(near, *camera)[0].double().numpy()
        return joints.double().numpy(), np.concatenate((pixels.min(0), pixels.max(0)))

    def _crops(self, boxes: Sequence[NDArray[np.float64]]) -> tuple[CameraChange, CameraChange]:
        """The crops of the photo and of the result, of one scale: one for both, as in training, unless the person goes
        so far that it would show them much smaller.
        """
        known = [box if np.isfinite(box).all() else boxes[0] for box in boxes]
        both = np.concatenate((np.minimum(*known)[:2], np.maximum(*known)[2:]))
        side = max(float((box[2:] - box[:2]).max()) for box in known)
        if (both[2:] - both[:2]).max() <= _FARTHEST * side:
            known, side = [both, both], float((both[2:] - both[:2]).max())
        middles = [(box[:2] + box[2:]) / 2 for box in known]
        squares = [np.concatenate((middle - side / 2, middle + side / 2)) for middle in middles]
        first, second = (crop_change(square, self.network.config.size, fill=FILL) for square in squares)
        return first, second

    def _picture(self, change: CameraChange) -> NDArray[np.uint8]:
        """The crop that the network sees."""
        if change.scale >= 1:
            return change.warp(self.photo, cv2.INTER_LINEAR)
        # Averaged first: a linear look-up of a large photo would skip most pixels.
        smooth = cv2.GaussianBlur(self.photo, (0, 0), 0.45 / change.scale) if change.scale < 0.7 else self.photo
        return change.warp(smooth, cv2.INTER_LINEAR)

    def _back(self, change: CameraChange, values: NDArray) -> NDArray[np.float32]:
        """A crop's picture or mask where it belongs in the photo, (H, W[, C]) float32; 0 elsewhere."""
        height, width = self.photo.shape[:2]
        matrix = np.asarray(cv2.invertAffineTransform(change.matrix), np.float64)
        matrix[:, 2] = matrix[:, 2] + 0.5 * (matrix[:, 0] + matrix[:, 1]) - 0.5
        flags = cv2.INTER_CUBIC if values.ndim == 3 else cv2.INTER_LINEAR
        border = cv2.BORDER_REPLICATE if values.ndim == 3 else cv2.BORDER_CONSTANT
        return np.asarray(
            cv2.warpAffine(values.astype(np.float32), matrix, (width, height), flags=flags, borderMode=border)
        )

    def _with_detail(
        self,
        colour: NDArray[np.float32],
        alpha: NDArray[np.float32],
        change: CameraChange,
        rotations: Tensor,
        trans: Tensor,
    ) -> NDArray[np.float32]:
        """What the mesh shows beyond the network's resolution, added where the photograph shows that surface."""
        blur = 0.6 / change.scale
        if blur < 0.5:
            return colour  # the photograph is no finer than the network
        with torch.no_grad():
            vertices = self.mesh.dressed.pose(rotations, trans)
            drawn = self._drawn(vertices, self.mesh.texture.image).astype(np.float32)
            seen_texture = np.repeat(self.mesh.texture.image[..., 3:], 3, 2)
            known = self._drawn(vertices, np.concatenate((seen_texture, np.ones_like(seen_texture[..., :1])), 2))
        solid = drawn[..., 3] / 255
        share = solid * known[..., 0].astype(np.float32) / 255 * alpha
        inner = cv2.erode(share, np.ones((3, 3), np.uint8), iterations=max(1, round(_FEATHER * blur)))
        weight = cv2.GaussianBlur(inner, (0, 0), blur)
        # Colours are averaged over the body alone, or its edge would count as detail.
        smooth = np.asarray(cv2.GaussianBlur(drawn[..., :3] * solid[..., None], (0, 0), blur), np.float32)
        covered = np.asarray(cv2.GaussianBlur(solid, (0, 0), blur), np.float32)
        smooth = np.asarray(smooth / np.maximum(covered, np.float32(1e-3))[..., None], np.float32)
        return np.asarray(colour + weight[..., None] * (drawn[..., :3] - smooth), np.float32)

    def _drawn(self, vertices: Tensor, texture: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(H, W, 4): the posed body with a texture, on nothing."""
        surface = Surface(
            vertices, self.body.faces, texture=Texture(texture, self.body.uv, self.body.uv_faces), lit=True
        )
        return draw_person(surface, self.mesh.view, None, self.mesh.options.supersampling)

    def _over(self, colour: NDArray[np.float32], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
        plate = self.mesh.background
        colour = np.clip(colour, 0, 255)
        whole: NDArray[np.floating]
        if plate is None:
            whole = np.concatenate((colour, 255 * np.clip(alpha, 0, 1)[..., None]), 2)
        else:
            share = np.clip(alpha, 0, 1)[..., None]
            whole = plate.astype(np.float32) * (1 - share) + colour * share
        return (whole + 0.5).astype(np.uint8)
