"""A photograph whose people can be drawn in any pose, and the options of its images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.mesh import Background, MeshReposer, cover_image
from humanpose_cli.avatar.person import Doubt, TargetPose
from humanpose_cli.avatar.stages import FittedPerson, PhotographedPerson, reliable_vertices
from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.doubt import row_doubts
from humanpose_cli.fitting.evidence import joint_visibility
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE, plain_surfaces, posed_people
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.pose_files import Target
from humanpose_cli.models.warp3d.generator import Warp3d
from humanpose_cli.rendering.boxes import Box, body_box
from humanpose_cli.rendering.shading import rasterise_view, render_people
from humanpose_cli.rendering.surfaces import Surface
from humanpose_cli.reposing.canvas import (
    Shift,
    box_of_people,
    canvas_of,
    continue_background,
    moved_along_ground,
    shift_inwards,
)
from humanpose_cli.reposing.composition import Composition, PersonInFront, Plate, ReposedImage
from humanpose_cli.reposing.driving import AnyMotion, target_of_each
from humanpose_cli.reposing.keypoint_shifts import keypoint_shifts
from humanpose_cli.reposing.options import ReposeOptions, check_drawn_size
from humanpose_cli.reposing.segmentation import MIN_CONFIDENCE, Claim, PeopleMap
from humanpose_cli.reposing.targets import finger_rotations, motion_on, with_straight_knuckles
from humanpose_cli.reposing.warping import WarpReposer

Backdrop: TypeAlias = "Literal['keep', 'transparent'] | str | Path | np.ndarray"
"""A background: the photo's, none, a colour of CSS, or an image (a path or (h, w, 3) uint8)."""


_MAX_LEFT_OUT = 0.05  # share of a mask that is left out, from which the image is doubtful
_IN_FRONT = 0.9  # distance of people who stay in front of the reposed person, in distances of that person
POSES_ON_GPU = 16  # poses that a network draws together; on a CPU, batches are no faster


class ReposingScene:
    """A photo whose chosen people can be drawn in any pose. `Reposer.read` makes it.

    Attributes:
        people: The chosen people, dressed.

    Args:
        photo: (H, W, 3) uint8 RGB.
        record: The fit of all people.
        rows: The chosen people's rows of the fit.
        body: The body model.
        options: The options of the images.
        background: (h, w, 3) uint8 RGB; None for the one of the options.
        network: Draws the people; None for the mesh.
        poses_at_once: The number of poses that are drawn together.
    """

    def __init__(
        self,
        photo: np.ndarray,
        record: Fit,
        rows: Sequence[int],
        body: Body,
        options: ReposeOptions,
        background: NDArray[np.uint8] | None,
        network: Warp3d | None = None,
        poses_at_once: int = 1,
    ) -> None:
        self.photo = photo
        self.record = record
        self.rows = list(rows)
        self.transparent = background is None and options.background == "transparent"
        self._body = body
        self._options = options
        self._detections = record.detections
        alone = len(self.rows) == 1
        self._backdrop: Background | NDArray[np.uint8] = options.background if background is None else background
        meshes = [self._mesh(row, self._backdrop if alone else "transparent") for row in self.rows]
        self.people = [mesh.person for mesh in meshes]
        keeps_background = not self.transparent and background is None
        if alone and keeps_background:
            meshes = [self._before_hidden(mesh) for mesh in meshes]
        drawers: list[MeshReposer | WarpReposer] = list(meshes)
        if network is not None:
            drawers = [WarpReposer(mesh.person, mesh.frame, network) for mesh in meshes]
        self.composition = Composition(
            photo,
            drawers,
            plate=None if alone else self._common_plate(self._backdrop),
            shadows=background is None,
            in_front=self._people_in_front() if keeps_background else [],
            size=options.size,
            layered=options.layers,
            poses_at_once=poses_at_once,
        )

    @property
    def layered(self) -> bool:
        """Whether images come with their layers."""
        return self._options.layers

    @property
    def tracks(self) -> tuple[int, ...]:
        """The track ids of the chosen people."""
        return tuple(int(self.record.track_id[row]) for row in self.rows)

    @property
    def doubts(self) -> dict[int, list[Doubt]]:
        """Why the fit and the mask of each chosen person are doubtful, and whose fits are reliable, by track id."""
        reasons = row_doubts(self.record)
        reliable = [str(self.record.track_id[row]) for row, reason in enumerate(reasons) if not reason]
        instead = f"; not that of person {' or '.join(reliable)}" if reliable else ""
        doubts: dict[int, list[Doubt]] = {track: [] for track in self.tracks}
        for row, (track, of_person) in zip(self.rows, doubts.items(), strict=True):
            if reason := reasons[row]:
                sentence = f"the fit of person {track} is doubtful ({reason}){instead}"
                of_person.append(Doubt("fit", 1.0, reason, sentence))
            if (share := self.people_map.claims[row].left_out) >= _MAX_LEFT_OUT:
                sentence = (
                    f"{share:.0%} of the mask of person {track} was left out because it looks like the background; "
                    "pass your own with `mask`"
                )
                of_person.append(Doubt("mask", share, f"{share:.0%} of the mask left out", sentence))
        return doubts

    def _mesh(self, row: int, background: Background | NDArray[np.uint8]) -> MeshReposer:
        return MeshReposer.of(self.photographed(row), self._body, background=background, options=self._options.mesh)

    def photographed(self, row: int) -> PhotographedPerson:
        """Return a person of the photo, reposed or not, with their mask and the others' mask."""
        others = self._mask_of_all(number for number in range(len(self._detections)) if number != row)
        return PhotographedPerson.of(self.photo, self.people_map.mask(row), _fitted_person(self.record, row), [others])

    @cached_property
    def people_map(self) -> PeopleMap:
        """The people's pixels in the photograph."""
        return PeopleMap.of(self.claims, self.photo)

    @property
    def claims(self) -> list[Claim]:
        """The evidence for each person's pixels."""
        claims = []
        size = self.photo.shape[:2]
        visibility = joint_visibility(self.record)
        for row, person in enumerate(self._detections):
            surfaces, camera = self._surfaces(row)
            if person.mask is None:  # known by keypoints alone: the outline of the fitted body
                mask = render_people(surfaces, camera)[..., 3] / np.float32(255)
            else:
                mask = person.mask.in_image(*size)
            meshes = [(each.vertices, each.faces) for each in surfaces]
            depth, seen_depth = _depth(meshes, camera), None
            body, faces = meshes[0]
            seen = faces[(reliable_vertices(self._body, visibility[row]) > 0.5)[faces.long()].all(1)]
            if 0 < len(seen) < len(faces):
                seen_depth = _depth([(body, seen), *meshes[1:]], camera)
            exact = person.mask is not None and person.mask.exact
            claims.append(Claim.of(mask, depth, camera.focal, seen_depth=seen_depth, exact=exact))
        return claims

    def _before_hidden(self, mesh: MeshReposer) -> MeshReposer:
        """Draw the neighbours behind a person into the background."""
        plate = mesh.frame.background
        if plate is None or not (neighbours := self.people_map.hidden(mesh.person.hole, self.rows)):
            return mesh
        return replace(mesh, frame=replace(mesh.frame, background=self._with_hidden(plate, neighbours)))

    def _with_hidden(self, plate: NDArray[np.uint8], hidden: dict[int, NDArray[np.bool_]]) -> NDArray[np.uint8]:
        """Draw textured neighbours into a background (H, W, 3) in the pixels of `PeopleMap.hidden`."""
        for row, pixels in hidden.items():
            if self.record.confidence[row] >= MIN_CONFIDENCE:
                neighbour = self._mesh(row, "transparent")
                image = neighbour.render(neighbour.person.pose.rotations).image
                share = (image[..., 3] / np.float32(255) * pixels)[..., None]
                plate = np.rint(image[..., :3] * share + plate * (1 - share)).astype(np.uint8)
        return plate

    def _mask_of_all(self, rows: Iterable[int]) -> NDArray[np.float32]:
        union = np.zeros(self.photo.shape[:2], np.float32)
        for row in rows:
            np.maximum(union, self.people_map.mask(row), out=union)
        return union

    def _people_in_front(self) -> list[PersonInFront]:
        """Find the people who are not redrawn and stand in front of the redrawn one."""
        row = self.rows[0]
        distances = self.record.trans[:, 2]
        nearer = np.flatnonzero(distances < _IN_FRONT * distances[row])
        if len(self.rows) > 1 or not len(nearer):
            return []
        person_mask = self.people_map.mask(row)
        people = []
        for neighbour in nearer:
            mask = self.people_map.mask(int(neighbour))
            alpha = np.where(mask >= person_mask, np.rint(255 * mask), 0).astype(np.uint8)
            x, y, width, height = cv2.boundingRect(alpha)
            box = Box(x, y, x + width, y + height)
            people.append(PersonInFront(float(distances[neighbour]), box, alpha[box.slices].copy()))
        return people

    def images(self, target: AnyMotion) -> Iterator[ReposedImage]:
        """Draw an image for each pose of the target, one by one or `poses_at_once`."""
        drivers = self.drivers(target)
        motions = [self._placed(driver, row) for driver, row in zip(drivers, self.rows, strict=True)]
        pairs = zip(drivers, motions, strict=True)
        shifts = [keypoint_shifts(driver, motion, self._body) for driver, motion in pairs]
        hands = [finger_rotations(driver) for driver in drivers]
        if self.record.hand_poses is not None:
            motions = [with_straight_knuckles(motion) for motion in motions]
        choice = self._options.canvas_choice
        moved = [Shift()] * len(motions)
        composition = self.composition
        if choice == "keep" and not self._options.absolute:
            moved = [shift_inwards(person, motion) for person, motion in zip(self.people, motions, strict=True)]
            motions = [moved_along_ground(*group) for group in zip(self.people, motions, moved, strict=True)]
        if choice != "keep":
            height, width = self.photo.shape[:2]
            canvas = canvas_of(choice, (width, height), box_of_people(zip(self.people, motions, strict=True)))
            check_drawn_size("canvas", canvas.shape[::-1], layers=self._options.layers)
            composition = self._on(canvas)
        poses = [
            [
                TargetPose(m.rotations[t], m.trans[t], s[t], None if h is None else h[t])
                for m, s, h in zip(motions, shifts, hands, strict=True)
            ]
            for t in range(len(motions[0]))
        ]
        yield from composition.images(poses, tuple(moved))

    def _on(self, canvas: Box) -> Composition:
        """Move the people and the background to a canvas, a rectangle in pixels of the photo."""
        avoid = self._mask_of_all(range(len(self._detections))) > 0.3

        def extended(plate: Plate) -> Plate:
            if plate is None:
                return None
            if isinstance(self._backdrop, np.ndarray):
                return cover_image(self._backdrop, canvas.shape)
            return continue_background(plate, canvas, avoid)

        return self.composition.on_canvas(canvas, extended)

    def drivers(self, target: AnyMotion) -> list[Target]:
        """Return the motion that each of the chosen people takes."""
        return target_of_each(target, self.record, self.rows, self._options)

    def _surfaces(self, row: int) -> tuple[list[Surface], Camera]:
        """Return a fitted body with its garments, and the photo's camera."""
        camera = replace(self.record.camera(int(self.record.frame_index[row])), size=self.photo.shape[1::-1])
        posed = posed_people(self._body, self.record, np.array([row]))
        (surfaces,) = plain_surfaces(self._body, posed, [int(self.record.track_id[row])], self.record.looks)
        return surfaces, camera

    def _placed(self, target: Target, row: int) -> BodyParams:
        """Put the target's T poses onto a person."""
        person = self.people[self.rows.index(row)]
        if self._options.absolute:
            motion = motion_on(target, self._body, self.record.betas[row])
            if not person.shows(motion.rotations, motion.trans):
                raise UsageError(
                    "absolute",
                    "puts no person into the photograph",
                    expected="a target in the axes of its camera, as of a fit or of `hpc export`",
                    remedy="leave it out: the pose is then put where the person is",
                )
            return motion
        start = self.record.joints3d[row, SMPL24.index("pelvis")]
        in_place = self._options.in_place
        motion = motion_on(target, self._body, self.record.betas[row], start, person.down, in_place=in_place)
        trans = person.set_down(motion.rotations, motion.trans, target.frame_rate or DEFAULT_FRAME_RATE)
        return BodyParams.from_rotations(motion.rotations, motion.betas, trans)

    def _common_plate(self, plate: Background | NDArray[np.uint8]) -> np.ndarray | None:
        """Make the background (H, W, 3) of several redrawn people; None for a transparent one."""
        if isinstance(plate, np.ndarray):
            return cover_image(plate, self.photo.shape[:2])
        if plate == "transparent":
            return None
        hole = np.logical_or.reduce([person.hole for person in self.people])
        others = self._mask_of_all(row for row in range(len(self._detections)) if row not in self.rows)
        made_up = inpaint(self.photo, hole, (others > 0.5) & ~hole)
        return self._with_hidden(made_up, self.people_map.hidden(hole, self.rows))


def _depth(meshes: Sequence[tuple[Tensor, Tensor]], camera: Camera) -> NDArray[np.float32]:
    """Return the depth (H, W), metres, of the nearest of some meshes, vertices and faces; inf where there is none."""
    depth = np.full(camera.size[::-1], np.inf, np.float32)
    for vertices, faces in meshes:
        if not (box := body_box(vertices, camera)).empty:
            raster = rasterise_view(vertices[None], faces, camera.part(box))
            np.minimum(depth[box.slices], raster.depth[0].cpu().numpy(), out=depth[box.slices])
    return depth


def _fitted_person(record: FitRecord, row: int) -> FittedPerson:
    names = ("poses", "betas", "trans", "segment_scales", "keypoints2d", "hand_poses")
    return FittedPerson(
        **{name: values[row] for name, values in record.row_columns.items() if name in names},
        camera=record.camera(int(record.frame_index[row])),
        joint_visibility=joint_visibility(record.select([row]))[0],
    )
