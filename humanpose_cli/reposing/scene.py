"""A photograph whose people can be drawn in any pose, and what its images depend on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.doubts import Doubt
from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.mesh import Background, DrawnPerson, MeshReposer, TargetPose, cover_image
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.stages import FittedPerson
from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import option
from humanpose_cli.fitting.doubt import row_doubts
from humanpose_cli.fitting.keypoints import one_thread_each
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE, DRAWING_THREADS, body_vertices
from humanpose_cli.fitting.records import joint_visibility
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.pose_files import Target
from humanpose_cli.io.video import made_ahead
from humanpose_cli.models.warp3d.generator import Warp3d
from humanpose_cli.rendering.boxes import Box
from humanpose_cli.rendering.shading import rasterise_view, render_people
from humanpose_cli.rendering.surfaces import Surface
from humanpose_cli.reposing.canvas import (
    CanvasOptions,
    Shift,
    box_of_people,
    canvas_of,
    continued,
    moved_along_ground,
    placed,
    shift_inwards,
    view_of,
)
from humanpose_cli.reposing.driving import AnyMotion, target_of_each
from humanpose_cli.reposing.keypoint_shifts import keypoint_shifts
from humanpose_cli.reposing.layers import Layers, lay_over
from humanpose_cli.reposing.options import DrawingOptions, PeopleOptions, check_drawn_size
from humanpose_cli.reposing.segmentation import Claim, PeopleMap, SegmentationOptions
from humanpose_cli.reposing.targets import motion_on
from humanpose_cli.reposing.warping import WarpReposer

Backdrop: TypeAlias = "Literal['keep', 'transparent'] | str | Path | np.ndarray"
"""The background: the photo's own, none, or an image (a path or (h, w, 3) uint8)."""


@dataclass(frozen=True)
class ReposeOptions(DrawingOptions, PeopleOptions):
    """What a reposed image depends on, beside the photo and the target."""

    background: Literal["keep", "transparent"] = option("keep", "The photo's, or none; `Reposer` also takes an image.")
    fit: FitOptions = option(FitOptions(), "How the photo is fitted.")
    mesh: MeshOptions = option(MeshOptions(), "The mesh method.")
    frame: CanvasOptions = option(CanvasOptions(), "How the image grows, and people are moved inwards.")
    segmentation: SegmentationOptions = option(SegmentationOptions(), "Who is where in the photo.")
    in_front: float = option(
        0.9, "Distance of people who stay in front of the reposed one, in distances of that person.", above=0, maximum=1
    )


POSES_ON_GPU = 16  # that a network draws together; on a CPU one core takes 0.16 s a pose, alone or in a batch


@dataclass(frozen=True, eq=False)
class ReposedImage:
    """A reposed image.

    image     (H, W, 3) uint8, or (H, W, 4) with straight alpha where transparent
    doubts    (P,) of each reposed person, what may look wrong
    visible_fraction  least share of a person's surface that the photo shows
    methods   how each person was drawn
    moved     (P,) how each person was moved along the ground to stay in the image
    layers    what the image consists of; None unless `DrawingOptions.layers`
    """

    image: np.ndarray
    doubts: tuple[tuple[Doubt, ...], ...]
    visible_fraction: float
    methods: tuple[Literal["mesh", "warp3d"], ...]
    moved: tuple[Shift, ...]
    layers: Layers | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what may look wrong."""
        return tuple(dict.fromkeys(doubt.sentence for person in self.doubts for doubt in person))


class ReposingScene:
    """A photo whose chosen people can be drawn in any pose. See `reposer.Reposer.read`.

    record  the fit of all people; rows  the chosen people's rows of it; meshes  theirs
    poses_at_once  that are drawn together; more are faster where a network on a GPU draws
    """

    poses_at_once = 1

    def __init__(
        self,
        photo: np.ndarray,
        fitted: Fit,
        rows: Sequence[int],
        body: Body,
        options: ReposeOptions,
        background: NDArray[np.uint8] | None,
        network: Warp3d | None = None,
    ) -> None:
        self.photo, self.record, self.rows = photo, fitted, list(rows)
        self.transparent = background is None and options.background == "transparent"
        self._body, self._options = body, options
        self._people = fitted.detections
        alone = len(self.rows) == 1
        plate: Background | NDArray[np.uint8] = options.background if background is None else background
        behind = plate if alone else "transparent"
        self.meshes = [self._mesh(row, behind) for row in self.rows]
        if alone and isinstance(plate, str) and plate == "keep":
            self.meshes = [self._before_hidden(mesh) for mesh in self.meshes]
        self._drawers: list[MeshReposer | WarpReposer] = list(self.meshes)
        if network is not None:
            people = [_fitted_person(self.record, row) for row in self.rows]
            self._drawers = [
                WarpReposer(mesh, person, network, mesh_input=options.mesh_input)
                for mesh, person in zip(self.meshes, people, strict=True)
            ]
        self._backdrop = plate
        self._plate = None if alone else self._common_plate(plate)
        self._shadows = isinstance(plate, str)
        kept = not self.transparent and background is None
        self._in_front = self._people_in_front() if kept else []

    @property
    def layered(self) -> bool:
        """Whether images come with their layers."""
        return self._options.layers

    @property
    def people(self) -> tuple[int, ...]:
        """Track ids of the chosen people."""
        return tuple(int(self.record.track_id[row]) for row in self.rows)

    @property
    def fit_doubts(self) -> dict[int, list[str]]:
        """For each of the chosen people why the fit is doubtful, as `hpc fit` has it; empty where it is not."""
        reasons = row_doubts(self.record)
        return {int(self.record.track_id[row]): [reasons[row]] if reasons[row] else [] for row in self.rows}

    @property
    def doubts(self) -> Iterator[str]:
        """Sentences about the chosen people whose fits are doubtful, and who else's is not."""
        reasons = row_doubts(self.record)
        reliable = [str(self.record.track_id[row]) for row, reason in enumerate(reasons) if not reason]
        instead = f"; not that of person {' or '.join(reliable)}" if reliable else ""
        for row in self.rows:
            if reasons[row]:
                yield f"the fit of person {self.record.track_id[row]} is doubtful ({reasons[row]}){instead}"

    def _mesh(self, row: int, background: Background | NDArray[np.uint8]) -> MeshReposer:
        others = self._mask_of_all(other for other in range(len(self._people)) if other != row)
        return MeshReposer(
            self.photo,
            self._mask(row),
            _fitted_person(self.record, row),
            self._body,
            others=[others],
            background=background,
            props=self._options.props if row in self.rows else "keep",
            options=self._options.mesh,
        )

    def _mask(self, row: int) -> NDArray[np.float32]:
        """Where one person is, (H, W) 0…1. Made on demand: a crowd's masks would not fit beside a large photo."""
        return self._segmentation.mask(row)

    @cached_property
    def _segmentation(self) -> PeopleMap:
        """Who is where in the photograph."""
        size, claims = self.photo.shape[:2], []
        for row, person in enumerate(self._people):
            mask = self._drawn_mask(row) if person.mask is None else person.mask.in_image(*size)
            surface, camera = self._surface(row)
            depth = rasterise_view(surface.vertices[None], surface.faces, camera).depth[0].cpu().numpy()
            claims.append(Claim.of(mask, depth))
        return PeopleMap.of(claims, size, self._options.segmentation)

    def _before_hidden(self, mesh: MeshReposer) -> MeshReposer:
        """A person before a background that has the neighbours behind them."""
        if mesh.background is None or not (hidden := self._segmentation.hidden(mesh.hole, self.rows)):
            return mesh
        return mesh.reframed(mesh.view, self._with_hidden(mesh.background, hidden))

    def _with_hidden(self, plate: NDArray[np.uint8], hidden: dict[int, NDArray[np.bool_]]) -> NDArray[np.uint8]:
        """A background (H, W, 3) with textured neighbours in the pixels of `PeopleMap.hidden`."""
        for row, pixels in hidden.items():
            if self.record.confidence[row] >= self._options.segmentation.min_confidence:
                neighbour = self._mesh(row, "transparent")
                drawn = neighbour.render(neighbour.rotations).image
                share = (drawn[..., 3] / np.float32(255) * pixels)[..., None]
                plate = np.rint(drawn[..., :3] * share + plate * (1 - share)).astype(np.uint8)
        return plate

    def _mask_of_all(self, rows: Iterable[int]) -> NDArray[np.float32]:
        together = np.zeros(self.photo.shape[:2], np.float32)
        for row in rows:
            np.maximum(together, self._mask(row), out=together)
        return together

    def _people_in_front(self) -> list[tuple[float, Box, NDArray[np.uint8]]]:
        """Who is not redrawn and stands before the one who is: distance (m), box in the photo, mask (h, w) in it."""
        row, distances = self.rows[0], self.record.trans[:, 2]
        nearer = np.flatnonzero(distances < self._options.in_front * distances[row])
        if len(self.rows) > 1 or not len(nearer):
            return []
        redrawn, before = self._mask(row), []
        for other in nearer:
            mask = self._mask(int(other))
            alpha = np.where(mask >= redrawn, np.rint(255 * mask), 0).astype(np.uint8)
            x, y, width, height = cv2.boundingRect(alpha)
            box = Box(x, y, x + width, y + height)
            before.append((float(distances[other]), box, alpha[box.slices].copy()))
        return before

    def _behind_others(self, image: NDArray[np.uint8], distance: float) -> NDArray[np.uint8]:
        """The image (H, W, 3) with the people of the photo over it who stand nearer than the redrawn one."""
        for nearer, box, alpha in self._in_front:
            if nearer < distance:
                share, part = (alpha / np.float32(255))[..., None], image[box.slices]
                part[...] = np.rint(self.photo[box.slices] * share + part * (1 - share))
        return image

    def images(self, target: AnyMotion) -> Iterator[ReposedImage]:
        """The image for each pose of the target, drawn one by one, or `poses_at_once`."""
        drivers = self.drivers(target)
        motions = [self._placed(*who) for who in zip(drivers, self.rows, strict=True)]
        alignment = self._options.mesh.alignment
        shifts = [keypoint_shifts(*who, self._body, alignment) for who in zip(drivers, motions, strict=True)]
        choice, frame = self._options.canvas_choice, self._options.frame
        moved, scene = [Shift()] * len(motions), self
        if choice != "keep":
            person = box_of_people(zip(self.meshes, motions, strict=True), frame)
            canvas = canvas_of(choice, self.photo.shape[1::-1], person, frame)
            check_drawn_size("canvas", canvas.shape[::-1], layers=self._options.layers)
            scene = self._on(canvas)
        elif not self._options.absolute:
            moved = [shift_inwards(mesh, motion, frame) for mesh, motion in zip(self.meshes, motions, strict=True)]
            motions = [moved_along_ground(*each) for each in zip(self.meshes, motions, moved, strict=True)]
        if scene._size is not None:
            check_drawn_size("size", scene._size, layers=self._options.layers)
        yield from scene._images(motions, shifts, tuple(moved))

    def _on(self, canvas: Box) -> ReposingScene:
        """The same people and background on a canvas, a rectangle in pixels of the photo."""
        other = copy(self)
        avoid = self._mask_of_all(range(len(self._people))) > 0.3
        other.photo = np.asarray(placed(self.photo, canvas), np.uint8)

        def extended(plate: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
            if plate is None:
                return None
            if isinstance(self._backdrop, np.ndarray):
                return cover_image(self._backdrop, canvas.shape)
            return continued(plate, canvas, avoid, self._options.frame, self._options.mesh.inpainting)

        other.meshes = [mesh.reframed(view_of(canvas, mesh.view), extended(mesh.background)) for mesh in self.meshes]
        other._drawers = [
            mesh if isinstance(drawer, MeshReposer) else drawer.reframed(mesh)
            for drawer, mesh in zip(self._drawers, other.meshes, strict=True)
        ]
        other._plate = extended(self._plate)
        other._in_front = []
        for distance, box, alpha in self._in_front:
            shown = box.intersect(canvas)
            if not shown.empty:
                part = Box(*np.subtract(shown, (canvas.x0, canvas.y0) * 2).tolist())
                other._in_front.append((distance, part, alpha[shown.slices_in(box)]))
        return other

    def _images(
        self, motions: Sequence[BodyParams], shifts: Sequence[Sequence[Tensor | None]], moved: tuple[Shift, ...]
    ) -> Iterator[ReposedImage]:
        """The image for each pose of motions that are placed, one for each chosen person; shifts of their landmarks."""
        count, drawers = len(motions[0]), self._drawers

        def poses_of(t: int) -> list[TargetPose]:
            return [TargetPose(m.rotations[t], m.trans[t], s[t]) for m, s in zip(motions, shifts, strict=True)]

        def drawn(t: int) -> ReposedImage:
            poses = poses_of(t)
            people = [drawer.render_all([pose])[0] for drawer, pose in zip(drawers, poses, strict=True)]
            return self._composed(poses, people, moved)

        threads = min(DRAWING_THREADS, torch.get_num_threads())
        if (
            self.poses_at_once == 1
            and min(count, threads) > 1
            and not any(mesh.rotations.is_cuda for mesh in self.meshes)
        ):
            for mesh in self.meshes:
                _ = mesh.background  # made once, before threads ask for it
            # The next images are drawn while one is encoded, each by one thread: its parts are too small to share.
            with one_thread_each(), closing(made_ahead(drawn, range(count), threads)) as ahead:
                yield from ahead
            return
        for start in range(0, count, self.poses_at_once):
            together = [poses_of(t) for t in range(start, min(start + self.poses_at_once, count))]
            people = [
                drawer.render_all(list(poses))
                for drawer, poses in zip(drawers, zip(*together, strict=True), strict=True)
            ]
            for poses, of_pose in zip(together, zip(*people, strict=True), strict=True):
                yield self._composed(poses, of_pose, moved)

    def _composed(
        self, poses: Sequence[TargetPose], people: Sequence[DrawnPerson], moved: tuple[Shift, ...]
    ) -> ReposedImage:
        """The image of people who are drawn, one for each pose."""
        plate = self._plate
        for mesh, pose in zip(self.meshes, poses, strict=True):
            if plate is not None and self._shadows:
                plate = mesh.shadowed(plate, pose.rotations, pose.trans)
        depths = [float(pose.trans[2]) for pose in poses]
        shadow = self._shadow(poses) if self.transparent else None
        image = self._together([person.image for person in people], depths, plate, shadow)
        return ReposedImage(
            self._sized(self._behind_others(image, depths[0])),
            tuple(person.doubts for person in people),
            min(person.visible_fraction for person in people),
            tuple("mesh" if isinstance(drawer, MeshReposer) else "warp3d" for drawer in self._drawers),
            moved,
            self._layers(poses) if self._options.layers else None,
        )

    def _layers(self, poses: Sequence[TargetPose]) -> Layers:
        """What the image of a pose of each chosen person consists of."""
        shape = self.photo.shape[:2]
        person, nearest = np.zeros((*shape, 4), np.float32), np.full(shape, np.inf, np.float32)
        for index in np.argsort([float(pose.trans[2]) for pose in poses])[::-1]:
            pose, mesh, drawer = poses[index], self.meshes[index], self._drawers[index]
            bare = mesh.reframed(mesh.view, None)
            alone = bare if isinstance(drawer, MeshReposer) else drawer.reframed(bare)
            lay_over(person, alone.render_all([pose])[0].image.astype(np.float32))
            depth = mesh.depth(pose)
            np.minimum(nearest, np.where(depth > 0, depth, np.inf), out=nearest)
        front = self._front(float(poses[0].trans[2]))
        layers = Layers(
            np.rint(person).astype(np.uint8),
            self._shadow(poses),
            self.meshes[0].background if len(poses) == 1 else self._plate,
            front,
            (person[..., 3] / 255 * (1 - front[..., 3] / np.float32(255))).astype(np.float32),
            np.where((person[..., 3] > 0) & np.isfinite(nearest), nearest, 0).astype(np.float32),
        )
        size = self._size
        return layers if size is None else layers.sized(size)

    def _shadow(self, poses: Sequence[TargetPose]) -> NDArray[np.float32]:
        """Share (H, W) of the light that the people's shadows take; 0 before an image of the user's."""
        light = np.ones(self.photo.shape[:2], np.float32)
        for mesh, pose in zip(self.meshes, poses, strict=True):
            shadow = mesh.shadow(pose.rotations, pose.trans) if self._shadows else None
            if shadow is not None:
                box, share = shadow
                light[box.slices] *= share
        return 1 - light

    def _front(self, distance: float) -> NDArray[np.uint8]:
        """The photo's people (H, W, 4), straight alpha, who stand nearer than the redrawn one."""
        front = np.zeros((*self.photo.shape[:2], 4), np.float32)
        for nearer, box, alpha in self._in_front:
            if nearer < distance:
                lay_over(front[box.slices], np.dstack((self.photo[box.slices], alpha)).astype(np.float32))
        return np.rint(front).astype(np.uint8)

    def drivers(self, target: AnyMotion) -> list[Target]:
        """The motion that each of the chosen people takes."""
        return target_of_each(target, self.record, self.rows, self._options)

    def _drawn_mask(self, row: int) -> NDArray[np.float32]:
        """The outline (H, W) of a fitted body, for a person known by keypoints alone."""
        surface, camera = self._surface(row)
        return render_people([surface], camera)[..., 3]

    def _surface(self, row: int) -> tuple[Surface, Camera]:
        """A fitted body and the photo's camera."""
        camera = replace(self.record.camera(int(self.record.frame_index[row])), size=self.photo.shape[1::-1])
        return Surface(body_vertices(self._body, self.record, np.array([row]))[0], self._body.faces), camera

    def _placed(self, target: Target, row: int) -> BodyParams:
        """The target's T poses of one person, torch tensors."""
        if self._options.absolute:
            motion = motion_on(target, self._body, self.record.betas[row])
            if not self.meshes[self.rows.index(row)].shows(motion.rotations, motion.trans):
                raise UsageError(
                    "absolute",
                    "puts no person into the photograph",
                    expected="a target in the axes of its camera, as of a fit or of `hpc export`",
                    remedy="leave it out: the pose is then put where the person is",
                )
            return motion
        start = self.record.joints3d[row, SMPL24.index("pelvis")]
        mesh = self.meshes[self.rows.index(row)]
        motion = motion_on(target, self._body, self.record.betas[row], start, mesh.down)
        settled = mesh.set_down(motion.rotations, motion.trans, target.frame_rate or DEFAULT_FRAME_RATE)
        return BodyParams.from_rotations(motion.rotations, motion.betas, settled)

    def _common_plate(self, plate: Background | NDArray[np.uint8]) -> np.ndarray | None:
        """The background (H, W, 3) of several redrawn people; None for a transparent one."""
        if isinstance(plate, np.ndarray):
            return cover_image(plate, self.photo.shape[:2])
        if plate == "transparent":
            return None
        gone = np.logical_or.reduce([reposer.hole for reposer in self.meshes])
        others = self._mask_of_all(row for row in range(len(self._people)) if row not in self.rows)
        made_up = inpaint(self.photo, gone, (others > 0.5) & ~gone, self._options.mesh.inpainting)
        return self._with_hidden(made_up, self._segmentation.hidden(gone, self.rows))

    def _together(
        self,
        layers: Sequence[np.ndarray],
        depths: Sequence[float],
        plate: np.ndarray | None,
        shadow: NDArray[np.float32] | None,
    ) -> np.ndarray:
        """Layers (H, W, 4) over the plate, or the shadow of a transparent image, the farthest person first."""
        if len(layers) == 1 and shadow is None:
            return layers[0]
        height, width = self.photo.shape[:2]
        image = np.zeros((height, width, 4), np.float32)
        if plate is not None:
            image[..., :3], image[..., 3] = plate, 255
        elif shadow is not None:
            image[..., 3] = 255 * shadow
        for index in np.argsort(depths)[::-1]:
            lay_over(image, layers[index].astype(np.float32))
        rounded = np.clip(image + 0.5, 0, 255).astype(np.uint8)
        return rounded if plate is None else rounded[..., :3]

    @property
    def _size(self) -> tuple[int, int] | None:
        """Width and height of the results where they differ from what is drawn."""
        size, (height, width) = self._options.size, self.photo.shape[:2]
        if size is None or max(height, width) == size:
            return None
        scale = size / max(height, width)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _sized(self, image: np.ndarray) -> np.ndarray:
        size = self._size
        if size is None:
            return image
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_CUBIC)


def _fitted_person(record: FitRecord, row: int) -> FittedPerson:
    return FittedPerson(
        record.poses[row],
        record.betas[row],
        record.trans[row],
        record.camera(int(record.frame_index[row])),
        record.segment_scales[row],
        joint_visibility(record.select([row]))[0],
        record.keypoints2d[row],
    )
