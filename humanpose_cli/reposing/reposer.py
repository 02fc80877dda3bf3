"""The people of a photograph in other poses: fit, texture, target, image in one.

with Reposer(ReposeOptions(person="largest")) as reposer:
    scene = reposer.read(read_image("photo.jpg").pixels)
    for reposed in scene.images(target):
        write_image("out.png", reposed.image)

`hpc repose` for one photograph: an image, a video or numbered images out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.mesh import Background, FittedPerson, MeshOptions, MeshReposer, cover_image
from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.fitter import FitOptions, Fitter
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE, body_vertices
from humanpose_cli.fitting.people import PeopleSource
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import InputItem, output_path
from humanpose_cli.io.pose_files import Target
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.models.warp3d.generator import Warp3d, load_warp3d
from humanpose_cli.networks.weights import digest_of, find_weights
from humanpose_cli.rendering.shading import render_people
from humanpose_cli.rendering.surfaces import Surface
from humanpose_cli.reposing.targets import motion_on
from humanpose_cli.reposing.warping import WarpReposer

__all__ = [
    "Form",
    "ReposeOptions",
    "ReposedImage",
    "ReposedItem",
    "Reposer",
    "ReposingScene",
    "form_of",
    "repose_item",
    "repose_outputs",
]


SHIPPED = "warp3d"  # name of the reposing network that comes with the package
LARGEST_SIZE = 16384  # longer side of a result in pixels: 48-megapixel photographs twice over, and still some GB


@dataclass(frozen=True)
class ReposeOptions:
    """What a reposed image depends on, beside the photo and the target.

    person      'largest', 'all', or a track id: whom to repose
    absolute    put the target where its own coordinates say; otherwise at the person's own place
    background  'keep' the photo's, or 'transparent'; an image is given to `Reposer.read`
    size        longer side of the result in pixels; None keeps the photo's
    method      'mesh': the photo wrapped round the fitted body; 'warp3d': a network; 'auto': the better of both on
                photographs, which is the mesh
    weights     of warp3d: a file, a run's folder or a name of the registry
    mesh_input  with warp3d: the network is given the mesh's drawing too
    fit, mesh   settings of the fit and of the mesh method
    """

    person: str = "largest"
    absolute: bool = False
    background: Literal["keep", "transparent"] = "keep"
    size: int | None = None
    method: Literal["auto", "mesh", "warp3d"] = "auto"
    weights: str = SHIPPED
    mesh_input: bool = False
    fit: FitOptions = field(default_factory=FitOptions)
    mesh: MeshOptions = field(default_factory=MeshOptions)

    def __post_init__(self) -> None:
        if self.person not in ("largest", "all") and not self.person.isdecimal():
            raise UsageError("person", "is nobody", expected="largest, all or a track id", got=repr(self.person))
        if self.method not in ("auto", "mesh", "warp3d"):
            raise UsageError("method", "is not known", expected="auto, mesh or warp3d", got=self.method)
        if self.method == "mesh" and (self.weights != SHIPPED or self.mesh_input):
            raise UsageError("weights, mesh_input", "are for `method=warp3d`")
        if self.size is not None and self.size < 16:
            raise UsageError("size", "is too small", expected="16 pixels or more", got=str(self.size))
        if self.size is not None and self.size > LARGEST_SIZE:
            raise UsageError("size", "is too large", expected=f"{LARGEST_SIZE} pixels or less", got=str(self.size))


@dataclass(frozen=True, eq=False)
class ReposedImage:
    """image (H, W, 3) uint8, or (H, W, 4) where transparent; what may look wrong with it; seen share of surfaces; how
    each person was drawn.
    """

    image: np.ndarray
    warnings: tuple[str, ...]
    visible_fraction: float
    methods: tuple[Literal["mesh", "warp3d"], ...]


class Reposer:
    """Reads photographs and draws their people in other poses; loads models once; a context manager.

    people_source  finds the people, in place of our detector
    device   of the networks
    threads  of detection
    """

    def __init__(
        self,
        options: ReposeOptions | None = None,
        *,
        people_source: PeopleSource | None = None,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self.options = options or ReposeOptions()
        self.network: Warp3d | None = None
        if self.options.method == "warp3d":
            self.network = load_warp3d(find_weights(self.options.weights), device)
        self.fitter = Fitter(self.options.fit, people_source=people_source, device=device, threads=threads)

    @property
    def network_identity(self) -> str:
        """What tells one network's weights from another's, wherever they lie; empty without one."""
        return digest_of(find_weights(self.options.weights))[:16] if self.network is not None else ""

    def read(
        self,
        photo: np.ndarray,
        *,
        name: str = "photo",
        focal: float | None = None,
        background: NDArray[np.uint8] | None = None,
    ) -> ReposingScene:
        """Fit the people of a photo (H, W, 3) uint8 and bake the textures of those who are to be reposed.

        background  an image (h, w, 3) uint8 to put behind them; None: as the options say
        InputError if there is nobody, or not the person asked for.
        """
        fitted = self.fitter.fit_image(photo, name=name, focal=focal)
        rows = _chosen_rows(fitted, self.options.person, name)
        return ReposingScene(photo, fitted, rows, self.fitter.body, self.options, background, self.network)

    def __enter__(self) -> Reposer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.fitter.__exit__(kind, value, trace)


def _chosen_rows(fitted: Fit, person: str, name: str) -> list[int]:
    record = fitted
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
    """

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

    def images(self, target: Target) -> Iterator[ReposedImage]:
        """The image for each pose of the target, drawn one by one."""
        motions = [self._placed(target, row) for row in self.rows]
        drawers = self._drawers
        methods: list[Literal["mesh", "warp3d"]] = ["mesh" if isinstance(d, MeshReposer) else "warp3d" for d in drawers]
        for t in range(len(target)):
            drawn = [d.render(m.rotations[t], m.trans[t]) for d, m in zip(drawers, motions, strict=True)]
            yield ReposedImage(
                self._sized(self._together([d.image for d in drawn], [float(m.trans[t, 2]) for m in motions])),
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
        own = None if self._options.absolute else self.record.joints3d[row, SMPL24.index("pelvis")]
        return motion_on(target, self._body, self.record.betas[row], own)

    def _common_plate(self, plate: Background | NDArray[np.uint8]) -> np.ndarray | None:
        """What stands behind several people who are all redrawn."""
        if isinstance(plate, np.ndarray):
            return cover_image(plate, self.photo.shape[:2])
        if plate == "transparent":
            return None
        gone = np.logical_or.reduce([reposer.hole for reposer in self._meshes])
        kept = self._mask_of_all(row for row in range(len(self._people)) if row not in self.rows)
        return inpaint(self.photo, gone, (kept > 0.5) & ~gone, self._options.mesh.inpainting)

    def _together(self, layers: Sequence[np.ndarray], depths: Sequence[float]) -> np.ndarray:
        """Layers (H, W, 4) over the plate, the farthest person first."""
        if len(layers) == 1:
            return layers[0]
        height, width = self.photo.shape[:2]
        image = np.zeros((height, width, 4), np.float32)
        if self._plate is not None:
            image[..., :3], image[..., 3] = self._plate, 255
        for place in np.argsort(depths)[::-1]:
            over = layers[place].astype(np.float32)
            _lay_over(image, over)
        rounded = np.clip(image + 0.5, 0, 255).astype(np.uint8)
        return rounded if self._plate is None else rounded[..., :3]

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


Form = Literal["image", "video", "numbered"]


@dataclass(frozen=True)
class ReposedItem:
    """The files written, what may look wrong in them, the least share of a reposed person's surface seen, and how each
    person was drawn.
    """

    outputs: tuple[Path, ...]
    warnings: tuple[str, ...]
    visible_fraction: float
    methods: tuple[str, ...]


def form_of(target: Target, *, numbered: bool | None, transparent: bool) -> Form:
    """One pose makes an image; several a video, or numbered images where asked for or transparent."""
    if len(target) == 1:
        return "image"
    return "numbered" if numbered or (numbered is None and transparent) else "video"


def repose_outputs(item: InputItem, out: Path, form: Form, count: int) -> tuple[Path, ...]:
    """`a.jpg.reposed.png`, `a.jpg.reposed.mp4`, or `a.jpg.reposed/000000.png` and on."""
    if form == "image":
        return (output_path(item, out, ".reposed.png"),)
    if form == "video":
        return (output_path(item, out, ".reposed.mp4"),)
    folder = output_path(item, out, ".reposed")
    return tuple(folder / f"{t:06d}.png" for t in range(count))


def repose_item(
    reposer: Reposer,
    item: InputItem,
    target: Target,
    out: Path,
    form: Form,
    *,
    background: np.ndarray | None = None,
    progress: Progress = no_progress,
) -> ReposedItem:
    """Repose the people of a photograph (of a sequence, its first frame) and write what comes of it."""
    photo = next(item.frames(ahead=0))
    scene = reposer.read(photo.pixels, name=item.label, focal=photo.focal, background=background)
    outputs = repose_outputs(item, out, form, len(target))
    notes = _Notes(progress, len(target))
    images = notes.listen(scene.images(target))
    if form == "video":
        with VideoWriter(outputs[0], target.frame_rate or DEFAULT_FRAME_RATE) as video:
            for image in images:
                video.write(image)
    else:
        for path, image in zip(outputs, images, strict=True):
            write_image(path, image)
    return ReposedItem(outputs, tuple(notes.warnings), notes.visible_fraction, notes.methods)


class _Notes:
    """Collects what the images of a motion say, without keeping them."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._kinds: set[str] = set()
        self.warnings: list[str] = []
        self.visible_fraction = 1.0
        self.methods: tuple[str, ...] = ()

    def listen(self, images: Iterator[ReposedImage]) -> Iterator[np.ndarray]:
        for done, image in enumerate(images, 1):
            yield image.image
            self.visible_fraction = min(self.visible_fraction, image.visible_fraction)
            self.methods = image.methods
            for warning in image.warnings:
                kind = "".join(c for c in warning if not c.isdigit())  # one turn of many degrees is one warning
                if kind not in self._kinds:
                    self._kinds.add(kind)
                    self.warnings.append(warning)
            if self._total > 1:
                self._progress(done, self._total, "frames")
