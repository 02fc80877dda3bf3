"""The people of a photograph in other poses: fit, texture, target, image in one.

with Reposer(person="largest") as reposer:
    for photo in photos:
        reposer.repose(photo, "arms_up.npy").save(f"{photo}.arms_up.png")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.mesh import Background, DrawnPerson, FittedPerson, MeshOptions, MeshReposer, cover_image
from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.device import Precision, resolve_device
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.doubt import row_doubts
from humanpose_cli.fitting.fitter import IMAGE_STEPS, Fitter, check_image
from humanpose_cli.fitting.options import DetectorMode, FitOptions
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE, body_vertices
from humanpose_cli.fitting.people import PeopleSource, people_of_fit
from humanpose_cli.fitting.result import Fit, load_fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.frame_range import FrameRange, parse_range
from humanpose_cli.io.images import read_image
from humanpose_cli.io.inputs import InputItem, open_inputs
from humanpose_cli.io.pose_files import Target
from humanpose_cli.models.warp3d.generator import Warp3d, load_warp3d
from humanpose_cli.networks.precision import precision_label
from humanpose_cli.networks.weights import digest_of, find_weights
from humanpose_cli.rendering.boxes import Box
from humanpose_cli.rendering.shading import render_people
from humanpose_cli.rendering.surfaces import Surface
from humanpose_cli.reposing.result import Reposed
from humanpose_cli.reposing.targets import AnyTarget, motion_on, read_target
from humanpose_cli.reposing.warping import WarpReposer

SHIPPED = "warp3d"  # name of the reposing network that comes with the package
LARGEST_SIZE = 16384  # longer side of a result in pixels: 48-megapixel photographs twice over, and still some GB


ReposeMethod = Literal["auto", "mesh", "warp3d"]
Backdrop: TypeAlias = "Literal['keep', 'transparent'] | str | Path | np.ndarray"
"""What stands behind: the photo's own, nothing, or an image (a path or (h, w, 3) uint8)."""


@dataclass(frozen=True)
class ReposeOptions:
    """What a reposed image depends on, beside the photo and the target.

    person      'largest', 'all', or a track id: which person is reposed
    absolute    put the target where its own coordinates say; otherwise at the person's own position
    background  'keep' the photo's, or 'transparent'; an image is given to `Reposer`
    size        longer side of the result in pixels; None keeps the photo's
    method      'mesh': the photo wrapped round the fitted body; 'warp3d': a network; 'auto': the better of both on
                photographs, which is the mesh
    weights     of warp3d: a file, a run's folder or a name of the registry
    mesh_input  with warp3d: the network is given the mesh's drawing too; None where it learned with drawings
    fit, mesh   settings of the fit and of the mesh method
    """

    person: str = "largest"
    absolute: bool = False
    background: Literal["keep", "transparent"] = "keep"
    size: int | None = None
    method: ReposeMethod = "auto"
    weights: str = SHIPPED
    mesh_input: bool | None = None
    fit: FitOptions = field(default_factory=FitOptions)
    mesh: MeshOptions = field(default_factory=MeshOptions)

    def __post_init__(self) -> None:
        if self.person not in ("largest", "all") and not self.person.isdecimal():
            raise UsageError("person", "is nobody", expected="largest, all or a track id", got=repr(self.person))
        if self.method not in ("auto", "mesh", "warp3d"):
            raise UsageError("method", "is not known", expected="auto, mesh or warp3d", got=self.method)
        if self.method == "mesh" and (self.weights != SHIPPED or self.mesh_input is not None):
            raise UsageError("weights, mesh_input", "are for `method=warp3d`")
        if self.size is not None and self.size < 16:
            raise UsageError("size", "is too small", expected="16 pixels or more", got=str(self.size))
        if self.size is not None and self.size > LARGEST_SIZE:
            raise UsageError("size", "is too large", expected=f"{LARGEST_SIZE} pixels or less", got=str(self.size))


_NEARER = 0.9  # times the person's distance: who is fitted nearer stands before them; single views tell no finer
_POSES_ON_GPU = 16  # that a network draws together; on a CPU one core takes 0.16 s a pose, alone or in a batch


@dataclass(frozen=True, eq=False)
class ReposedImage:
    """A reposed image.

    image     (H, W, 3) uint8, or (H, W, 4) with straight alpha where transparent
    warnings  sentences about what may look wrong
    visible_fraction  least share of a person's surface that the photo shows
    methods   how each person was drawn
    """

    image: np.ndarray
    warnings: tuple[str, ...]
    visible_fraction: float
    methods: tuple[Literal["mesh", "warp3d"], ...]


class Reposer:
    """Reads photographs and draws their people in other poses; loads its models once; a context manager.

    options        all of `ReposeOptions` at once; what else is given goes before it
    device         of the networks: auto, cpu or cuda:N
    precision      of the networks: auto, full, tf32 or bfloat16; see `core.device.Precision`
    batch_size     photographs that are fitted together, and poses that a network draws together; None: fits the device
    threads        of detection; None: as many as there are cores (four at most)
    people_source  finds the people, in place of our detector
    The others are fields of `ReposeOptions`, and `body`, `focal` and `detector` of its fit.
    """

    def __init__(
        self,
        options: ReposeOptions | None = None,
        *,
        method: ReposeMethod | None = None,
        person: str | int | None = None,
        background: Backdrop | None = None,
        size: int | None = None,
        absolute: bool | None = None,
        weights: str | None = None,
        mesh_input: bool | None = None,
        body: str | Body | None = None,
        focal: float | None = None,
        detector: DetectorMode | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int | None = None,
        threads: int | None = None,
        people_source: PeopleSource | None = None,
    ) -> None:
        given: dict[str, Any] = {"method": method, "size": size, "absolute": absolute, "weights": weights}
        given |= {"mesh_input": mesh_input, "person": None if person is None else str(person)}
        self._plate, given["background"] = _plate_of(background)
        self.options = replace(
            options or ReposeOptions(), **{name: value for name, value in given.items() if value is not None}
        )
        self._device, self._threads, self._precision = device, threads, precision
        detector = detector or self.options.fit.detector
        if detector == "auto" and self.options.person == "largest":
            detector = "largest"
        self._make_fitter = partial(
            Fitter,
            self.options.fit,
            body=body,
            focal=focal,
            detector=detector,
            device=device,
            precision=precision,
            batch_size=batch_size,
            threads=threads,
            people_source=people_source,
        )
        self._batch_size = batch_size
        self.network: Warp3d | None = None
        if self.options.method == "warp3d":
            self.network = load_warp3d(find_weights(self.options.weights), resolve_device(device), precision)

    @cached_property
    def fitter(self) -> Fitter:
        """Fits the photographs, and targets that are images; its models are loaded now."""
        return self._make_fitter()

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its images beside photograph and target, as JSON values; files by their contents."""
        weights = ""
        if self.network is not None:
            weights = digest_of(find_weights(self.options.weights))[:16] + precision_label(self._precision)
        return {**asdict(self.options), "fit": self.fitter.identity, "weights": weights}

    def read(
        self,
        photo: np.ndarray,
        *,
        name: str = "photo",
        focal: float | None = None,
        fit: Fit | None = None,
        progress: Progress = no_progress,
    ) -> ReposingScene:
        """Fit the people of a photo (H, W, 3) uint8 and bake the textures of those that are reposed.

        fit         of this photo, or of a sequence that begins with it, made before
        InputError if there is nobody, or not the person asked for.
        """
        if fit is None:
            fitted = self.fitter.fit_image(photo, name=name, focal=focal, progress=progress)
        else:
            fitted = self._checked(fit, photo, name)
        progress(IMAGE_STEPS - 1, IMAGE_STEPS, "making textures")
        rows = _chosen_rows(fitted, self.options.person, name)
        scene = ReposingScene(photo, fitted, rows, fitted.body_model(), self.options, self._plate, self.network)
        if self.network is not None:
            usual = 1 if self.network.device.type == "cpu" else _POSES_ON_GPU
            scene.poses_at_once = self._batch_size or usual
        return scene

    def _checked(self, fit: Fit, photo: np.ndarray, name: str) -> Fit:
        """The first frame of a fit, with masks of its people; InputError if the photo has another size."""
        height, width = photo.shape[:2]
        if fit.image_size[0].tolist() != [width, height]:
            expected = "{} × {} pixels".format(*fit.image_size[0])
            got = f"{width} × {height}"
            raise InputError(name, "is not the photograph of `fit`", expected=expected, got=got)
        if fit.model is None and fit.body != "default":
            fit = replace(fit, model=self.fitter.body)
        if fit.model is not None and fit.model.name != fit.body:
            raise InputError(name, "was fitted with another `body`", expected=fit.model.name, got=fit.body)
        fit = fit.select(fit.rows_for(0))
        if not fit.detections and len(fit):
            fit = replace(fit, detections=tuple(people_of_fit(fit, photo, self._threads, self._device)))
        return fit

    def repose(
        self,
        photo: str | Path | np.ndarray | InputItem,
        target: AnyTarget,
        *,
        fit: Fit | str | Path | None = None,
        skeleton: str | None = None,
        axes: str | None = None,
        frames: str | FrameRange | None = None,
        progress: Progress = no_progress,
    ) -> Reposed:
        """The people of a photograph in other poses, drawn when asked for.

        photo     a path, or (H, W, 3) uint8 RGB; of a sequence, the first frame
        target    a pose file, an image or a video (a path); joints (J, 3) or (T, J, 3) in metres; a Fit; a target
                  that `read_target` gave
        fit       of this photo, made before: a Fit, or a fit file's path
        skeleton, axes  of joints and pose files: "smpl24", …; "camera", "y-up" or "z-up"
        frames    "A:B", of a motion or a driving video
        """
        motion = read_target(target, lambda: self.fitter, skeleton=skeleton, axes=axes, frames=parse_range(frames))
        known = load_fit(fit) if isinstance(fit, str | Path) else fit
        if isinstance(photo, str | Path):
            photo = _one_photo(photo)
        if isinstance(photo, InputItem):
            frame = next(photo.frames(ahead=0))
            if known is None and not photo.is_sequence:
                known = self.fitter.fit(photo, progress=progress)
            scene = self.read(frame.pixels, name=photo.label, focal=frame.focal, fit=known, progress=progress)
        else:
            scene = self.read(check_image(photo), fit=known, progress=progress)
        told = getattr(target, "warnings", ())  # by whoever read the target
        return Reposed(scene, motion, [*scene.doubts, *(w for w in motion.warnings if w not in told)])

    def __enter__(self) -> Reposer:
        return self

    def __exit__(self, *problem: Any) -> None:
        if "fitter" in self.__dict__:
            self.fitter.__exit__(*problem)


def _plate_of(background: Backdrop | None) -> tuple[NDArray[np.uint8] | None, Any]:
    """The image that stands behind, if it is one, and what `ReposeOptions.background` then is."""
    if background is None or (isinstance(background, str) and background in ("keep", "transparent")):
        return None, background
    return read_image(background).pixels if isinstance(background, str | Path) else check_image(background), None


def _one_photo(path: str | Path) -> InputItem:
    items = list(open_inputs([path], sequence=False))
    if len(items) != 1:
        raise UsageError("photo", "is several", got=f"{len(items)} images", remedy="repose them one by one: hp.Reposer")
    return items[0]


def _chosen_rows(record: Fit, person: str, name: str) -> list[int]:
    if not len(record):
        raise InputError(name, "nobody was found", remedy="a larger, sharper or less covered person may be")
    if person == "all":
        return list(range(len(record)))
    if person == "largest":
        return [0]  # an image's people come with the largest first
    if int(person) not in record.tracks:
        known = f"0 to {len(record) - 1}, the largest first" if len(record) > 1 else "0, the only one"
        raise InputError(name, f"has no person {person}", expected=known)
    return record.rows_of(int(person)).tolist()


class ReposingScene:
    """A photo whose chosen people can be drawn in any pose. See `Reposer.read`.

    record  everybody's fit; rows  the chosen people's rows of it
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
        self._meshes = [self._mesh(row, behind) for row in self.rows]
        self._drawers: list[MeshReposer | WarpReposer] = list(self._meshes)
        if network is not None:
            people = [_fitted_person(self.record, row) for row in self.rows]
            self._drawers = [
                WarpReposer(mesh, person, network, mesh_input=options.mesh_input)
                for mesh, person in zip(self._meshes, people, strict=True)
            ]
        self._plate = None if alone else self._common_plate(plate)
        self._shadows = isinstance(plate, str)
        kept = not self.transparent and background is None
        self._in_front = self._people_in_front() if kept else []

    @property
    def doubts(self) -> Iterator[str]:
        """Sentences about the chosen people whose fits are doubtful, and who else's is not."""
        reasons = row_doubts(self.record)
        sure = [str(self.record.track_id[row]) for row, reason in enumerate(reasons) if not reason]
        instead = f"; not that of person {' or '.join(sure)}" if sure else ""
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
            options=self._options.mesh,
        )

    def _mask(self, row: int) -> NDArray[np.float32]:
        """Where one person is, (H, W) 0…1. Made when asked for: a crowd's masks would not fit beside a large photo."""
        height, width = self.photo.shape[:2]
        mask = self._people[row].mask
        return self._drawn_mask(row) if mask is None else mask.in_image(height, width)

    def _mask_of_all(self, rows: Iterable[int]) -> NDArray[np.float32]:
        together = np.zeros(self.photo.shape[:2], np.float32)
        for row in rows:
            np.maximum(together, self._mask(row), out=together)
        return together

    def _people_in_front(self) -> list[tuple[float, Box, NDArray[np.uint8]]]:
        """Who is not redrawn and stands before the one who is: distance (m), box in the photo, mask (h, w) in it."""
        row, distances = self.rows[0], self.record.trans[:, 2]
        nearer = np.flatnonzero(distances < _NEARER * distances[row])
        if len(self.rows) > 1 or not len(nearer):
            return []
        own, before = self._mask(row), []
        for other in nearer:
            mask = self._mask(int(other))
            alpha = np.where(mask >= own, np.rint(255 * mask), 0).astype(np.uint8)
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

    def images(self, target: Target) -> Iterator[ReposedImage]:
        """The image for each pose of the target, drawn one by one, or `poses_at_once`."""
        ahead: list[list[DrawnPerson]] = []
        motions = [self._placed(target, row) for row in self.rows]
        drawers = self._drawers
        methods: list[Literal["mesh", "warp3d"]] = ["mesh" if isinstance(d, MeshReposer) else "warp3d" for d in drawers]
        for t in range(len(target)):
            poses = [(m.rotations[t], m.trans[t]) for m in motions]
            if t % self.poses_at_once == 0:
                coming = slice(t, t + self.poses_at_once)
                ahead = [
                    d.render_all(list(zip(m.rotations[coming], m.trans[coming], strict=True)))
                    for d, m in zip(drawers, motions, strict=True)
                ]
            drawn = [of_person[t % self.poses_at_once] for of_person in ahead]
            plate = self._plate
            for mesh, pose in zip(self._meshes, poses, strict=True):
                plate = mesh.shadowed(plate, *pose) if plate is not None and self._shadows else plate
            depths = [float(trans[2]) for _, trans in poses]
            yield ReposedImage(
                self._sized(self._behind_others(self._together([d.image for d in drawn], depths, plate), depths[0])),
                tuple(dict.fromkeys(warning for d in drawn for warning in d.warnings)),
                min(d.visible_fraction for d in drawn),
                tuple(methods),
            )

    def _drawn_mask(self, row: int) -> NDArray[np.float32]:
        """The outline (H, W) of a fitted body, for a person known by keypoints alone."""
        surface = Surface(body_vertices(self._body, self.record, np.array([row]))[0], self._body.faces)
        camera = replace(self.record.camera(int(self.record.frame_index[row])), size=self.photo.shape[1::-1])
        return render_people([surface], camera)[..., 3]

    def _placed(self, target: Target, row: int) -> BodyParams:
        """The target's T poses of one person, torch tensors."""
        if self._options.absolute:
            motion = motion_on(target, self._body, self.record.betas[row])
            if not self._meshes[self.rows.index(row)].shows(motion.rotations, motion.trans):
                raise UsageError(
                    "absolute",
                    "puts nobody into the photograph",
                    expected="a target in the axes of its camera, as of a fit or of `hpc export`",
                    remedy="leave it out: the pose is then put where the person is",
                )
            return motion
        start = self.record.joints3d[row, SMPL24.index("pelvis")]
        mesh = self._meshes[self.rows.index(row)]
        motion = motion_on(target, self._body, self.record.betas[row], start, mesh.down)
        settled = mesh.set_down(motion.rotations, motion.trans, target.frame_rate or DEFAULT_FRAME_RATE)
        return BodyParams.from_rotations(motion.rotations, motion.betas, settled)

    def _common_plate(self, plate: Background | NDArray[np.uint8]) -> np.ndarray | None:
        """The background (H, W, 3) of several redrawn people; None for a transparent one."""
        if isinstance(plate, np.ndarray):
            return cover_image(plate, self.photo.shape[:2])
        if plate == "transparent":
            return None
        gone = np.logical_or.reduce([reposer.hole for reposer in self._meshes])
        others = self._mask_of_all(row for row in range(len(self._people)) if row not in self.rows)
        return inpaint(self.photo, gone, (others > 0.5) & ~gone, self._options.mesh.inpainting)

    def _together(self, layers: Sequence[np.ndarray], depths: Sequence[float], plate: np.ndarray | None) -> np.ndarray:
        """Layers (H, W, 4) over the plate, the farthest person first."""
        if len(layers) == 1:
            return layers[0]
        height, width = self.photo.shape[:2]
        image = np.zeros((height, width, 4), np.float32)
        if plate is not None:
            image[..., :3], image[..., 3] = plate, 255
        for index in np.argsort(depths)[::-1]:
            _lay_over(image, layers[index].astype(np.float32))
        rounded = np.clip(image + 0.5, 0, 255).astype(np.uint8)
        return rounded if plate is None else rounded[..., :3]

    def _sized(self, image: np.ndarray) -> np.ndarray:
        size = self._options.size
        if size is None or max(image.shape[:2]) == size:
            return image
        scale = size / max(image.shape[:2])
        new = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        return cv2.resize(image, new, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _lay_over(below: np.ndarray, above: np.ndarray) -> None:
    """Straight-alpha compositing in place; (H, W, 4) float32, 0…255."""
    a, b = above[..., 3:] / 255, below[..., 3:] / 255
    alpha = a + b * (1 - a)
    below[..., :3] = (above[..., :3] * a + below[..., :3] * b * (1 - a)) / np.maximum(alpha, 1e-6)
    below[..., 3:] = alpha * 255


def _fitted_person(record: FitRecord, row: int) -> FittedPerson:
    return FittedPerson(
        record.poses[row],
        record.betas[row],
        record.trans[row],
        record.camera(int(record.frame_index[row])),
        record.segment_scales[row],
        record.joint_confidence[row],
        record.keypoints2d[row],
    )


def repose(
    photo: str | Path | np.ndarray,
    target: AnyTarget,
    *,
    fit: Fit | str | Path | None = None,
    method: ReposeMethod = "auto",
    person: str | int = "largest",
    background: Backdrop = "keep",
    size: int | None = None,
    absolute: bool = False,
    weights: str = SHIPPED,
    mesh_input: bool | None = None,
    skeleton: str | None = None,
    axes: str | None = None,
    frames: str | FrameRange | None = None,
    body: str | Body | None = None,
    focal: float | None = None,
    detector: DetectorMode | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
) -> Reposed:
    """The people of a photograph in another pose: `hp.repose("photo.jpg", "dance.bvh").save("dance.mp4")`.

    photo       a path, or (H, W, 3) uint8 RGB
    target      a pose file (.npy, AMASS .npz, fit file, .bvh), an image or a video (a path); joints (J, 3) or
                (T, J, 3) in metres, camera axes; a Fit
    fit         of this photo, made before: a Fit, or a fit file's path
    method      "mesh": the photo wrapped round the fitted body; "warp3d": a network; "auto": the mesh
    person      "largest", "all", or a number: ids count from 0, the largest
    background  "keep", "transparent", or an image (a path or an array)
    size        longer side of the result in pixels; None: the photo's
    absolute    the pose where its own coordinates say; otherwise where the person is
    weights, mesh_input  of warp3d: which network, and whether it is given the mesh's drawing too (None: where it
                learned with drawings)
    skeleton, axes  of joints and pose files
    frames      "A:B", of a motion or a driving video
    body, focal, detector  of the fit, as `hp.fit` takes them
    device, precision  of the networks, as `hp.fit` takes them

    Loads the models each time: for loops there is `hp.Reposer`.
    """
    with Reposer(
        method=method,
        person=person,
        background=background,
        size=size,
        absolute=absolute,
        weights=weights,
        mesh_input=mesh_input,
        body=body,
        focal=focal,
        detector=detector,
        device=device,
        precision=precision,
        threads=threads,
    ) as reposer:
        return reposer.repose(photo, target, fit=fit, skeleton=skeleton, axes=axes, frames=frames)
