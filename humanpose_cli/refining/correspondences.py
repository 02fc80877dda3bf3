"""Where the rendered body's pixels really lie in the photograph: 2-D displacements with their noise.

`Correspondence` is what those that compare images have in common. `FlowCorrespondence` compares the textured rendering
with the photograph by dense optical flow, `NetworkCorrespondence` by a trained network. The displacements of pixels
become those of surface points by the barycentric weights of the faces that the pixels show:
`SurfacePoints.displacements`. `ChartedPoints` knows without any rendering which vertex a pixel shows, as DensePose
does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body, LandmarkArrays, LandmarkSet
from humanpose_cli.body.texture import fill_smoothly
from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.densepose_annotations import read_annotated_images
from humanpose_cli.io.densepose_files import DensePoseOutput
from humanpose_cli.io.digests import digest_of_files, file_digest
from humanpose_cli.models.deform_and_learn.correspondences import (
    NearestVertices,
    SurfaceCharts,
    read_densepose_charts,
    texture_charts,
)
from humanpose_cli.models.refiner.predictor import DisplacementPredictor
from humanpose_cli.rendering.body_maps import BodyRendering

Array = NDArray[Any]


class Displacements(NamedTuple):
    """Of N crops of S pixels a side.

    Attributes:
        pixels: (N, 2, S, S) x, y in pixels of the crop: from where the body is drawn to where it is in the
            photograph.
        noise: (N, 1, S, S) pixels of the crop: standard deviation of the error along each axis; infinite where
            nothing is known, and off the body.
    """

    pixels: Tensor
    noise: Tensor


class Correspondence(Protocol):
    """Compares renderings with the photographs of the same crops."""

    def __call__(self, rendering: BodyRendering, photos: Tensor) -> Displacements:
        """Predict the displacements of N renderings; photos (N, 3, S, S) float32, 0…1."""


_BACK = 1.0  # pixels: forward and backward flow that differ by this are half trusted
_COLOUR = 0.1  # difference of colours 0…1 at which a match is half trusted
_GRADIENT = 0.02  # change of brightness a pixel from which a point can be told from its neighbours
_CLEARED = 0.05  # of the crop's side: how far around the drawn body the person is taken out of the photograph
_REACH = 0.08  # of the crop's side: longer displacements are not believed
_FLOW_NOISE = 0.0055  # of the crop's side: noise of a short displacement of full confidence
_MIN_CONFIDENCE = 0.05  # confidence below which nothing is known
_FLOW_SHARE = 0.55  # of a displacement's length that is noise


class FlowCorrespondence:
    """Dense inverse search (Kroeger et al. 2016, OpenCV's) from the rendering to the photograph.

    The rendering is laid over the photograph itself, so that what lies around the person pulls nowhere. A pixel is
    trusted where its texture is known, where the flow back returns to it, where the colours agree, and where there is
    something to see; its noise is that of flow on rendered people, by this confidence and the displacement's length.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, rendering: BodyRendering, photos: Tensor) -> Displacements:
        maps = (rendering.rgb, rendering.textured, photos)
        crops = zip(*(values.cpu().numpy() for values in maps), strict=True)
        flows, confidences = zip(*(self._one(*crop) for crop in crops), strict=True)
        flow, confidence = torch.from_numpy(np.stack(flows)), torch.from_numpy(np.stack(confidences))
        confidence = torch.where(confidence > _MIN_CONFIDENCE, confidence, 0.0) * rendering.mask.cpu()
        short = (_FLOW_NOISE * photos.shape[-1]) ** 2 / confidence.sqrt()
        return Displacements(flow, (short + _FLOW_SHARE**2 * flow.square().sum(1, keepdim=True)).sqrt())

    def _one(self, rgb: Array, textured: Array, photo: Array) -> tuple[Array, Array]:
        rendering = rgb * textured + _without_person(photo, textured[0]) * (1 - textured)
        rendering_grey, photo_grey = (_grey(image) for image in (rendering, photo))
        side = len(rendering_grey)
        start = np.zeros((side, side, 2), np.float32)
        forward = np.asarray(self._flow.calc(rendering_grey, photo_grey, start.copy()), np.float32)
        backward = np.asarray(self._flow.calc(photo_grey, rendering_grey, start), np.float32)
        y, x = np.mgrid[:side, :side].astype(np.float32)
        to_x, to_y = x + forward[..., 0], y + forward[..., 1]
        back = cv2.remap(backward, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        warped_photo = cv2.remap(np.ascontiguousarray(photo.transpose(1, 2, 0)), to_x, to_y, cv2.INTER_LINEAR)
        cycle_error = np.square(forward + back).sum(-1) / _BACK**2
        unlike = np.square(warped_photo - rendering.transpose(1, 2, 0)).sum(-1) / _COLOUR**2
        detail = _detail(rendering_grey)
        confidence = textured[0] * detail / (1 + cycle_error) ** 2 / (1 + unlike)
        confidence[np.square(forward).sum(-1) > (_REACH * side) ** 2] = 0
        return forward.transpose(2, 0, 1), confidence[None].astype(np.float32)


class NetworkCorrespondence:
    """The displacement network (`models.refiner`), with the noise that it claims."""

    def __init__(self, network: DisplacementPredictor) -> None:
        self._network = network

    def __call__(self, rendering: BodyRendering, photos: Tensor) -> Displacements:
        pixels, deviation = self._network(rendering, photos)
        return Displacements(pixels, torch.where(rendering.mask.cpu() > 0, deviation, torch.inf))


def _without_person(photo: Array, silhouette: Array) -> Array:
    """Fill the photo (3, S, S) with the surroundings' colours where the person may be: near their body (S, S)."""
    reach = 2 * round(_CLEARED * len(silhouette)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    away = 1 - cv2.dilate(silhouette, kernel)
    background = fill_smoothly(np.ascontiguousarray(photo.transpose(1, 2, 0)), np.ascontiguousarray(away))
    return np.asarray(background.transpose(2, 0, 1))


def _grey(image: Array) -> NDArray[np.uint8]:
    """Convert (3, S, S) 0…1 to grey, (S, S) uint8."""
    values = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), image, 1)
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _detail(grey: NDArray[np.uint8]) -> Array:
    """Measure (S, S) 0…1 how much brightness changes around a pixel."""
    values = cv2.GaussianBlur(grey.astype(np.float32) / 255, (0, 0), 1.0)
    across, down = (cv2.Sobel(values, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1)))
    energy = cv2.GaussianBlur(across**2 + down**2, (0, 0), 2.5)
    return np.asarray(energy / (energy + _GRADIENT**2))


SurfaceSource = Callable[[str, tuple[int, int]], tuple[Array, Array]]
"""Name of an image and its size (width, height) → pixels (M, 2) and the vertices (M,) that they show."""


class ChartedPoints:
    """A `SurfaceSource`: pixels of images that show known positions of a body's surface.

    Args:
        charts: Of the body; points  name of an image and its size (width, height) → (M, ≥ 5) x, y pixels, chart, U,
            V.
    """

    def __init__(self, charts: SurfaceCharts, points: Callable[[str, tuple[int, int]], Array]) -> None:
        self._nearest, self._points = NearestVertices(charts), points

    def __call__(self, name: str, size: tuple[int, int]) -> tuple[Array, Array]:
        """Return pixels (M, 2) of an image and the vertices (M,) that they show.

        Raises InputError if nothing is known of the image.
        """
        surface_points = torch.from_numpy(np.asarray(self._points(name, size), np.float64))
        vertices, valid = self._nearest(surface_points[:, 2].round().long(), surface_points[:, 3:5])
        return surface_points[valid, :2].numpy(), vertices[valid].numpy()


def charted_points(body: Body, densepose: Path, charts: Path | None = None) -> ChartedPoints:
    """Read which pixels show which vertices of a body.

    Args:
        densepose: As `SurfacePointFile` reads it; charts  as of `surface_charts`.
    """
    return ChartedPoints(surface_charts(body, charts), SurfacePointFile(densepose).points)


class SurfacePointFile:
    """DensePose's output (a folder of NAME_IUV.png or NAME_IUV.npz, or a dump) or an annotation file in COCO's format.

    Raises InputError if it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._annotations: dict[str, NDArray[Any]] | None = None
        if path.suffix.lower() == ".json":
            self._annotations = {}
            for image in read_annotated_images(path):
                points = [person.points for person in image.people if person.points is not None]
                self._annotations[Path(image.file_name).name] = np.concatenate(points)
        else:
            self._output = DensePoseOutput(path)

    def points(self, name: str, size: tuple[int, int]) -> NDArray[Any]:
        """Read x, y pixels, chart, U and V (M, 5) of the image `name` of `size` (width, height).

        Raises InputError if there is nothing about it.
        """
        if self._annotations is not None:
            if name not in self._annotations:
                raise InputError(self._path, f"has no surface points of {name}", remedy="label it, or leave it out")
            return self._annotations[name]
        charts, _ = self._output.read(name, name, size, True)
        if charts is None:
            stem = Path(name).stem
            expected = f"{stem}_IUV.png, {stem}_IUV.npz or a dump with {name}"
            raise InputError(self._path, f"has nothing about {name}", expected=expected, remedy="run DensePose on it")
        y, x = np.nonzero(charts[..., 0])
        values = charts[y, x].astype(np.float64)
        return np.column_stack((x + 0.5, y + 0.5, values[:, 0], values[:, 1:] / 255))


def points_identity(densepose: Path, charts: Path | None) -> dict[str, str | None]:
    """Return the digests of what decides a result: the contents of both files, or of DensePose's in a folder."""
    files = [densepose]
    if densepose.is_dir():
        files = [path for path in sorted(densepose.rglob("*")) if path.suffix == ".pkl" or path.stem.endswith("_IUV")]
    return {"densepose": digest_of_files(files), "charts": None if charts is None else file_digest(charts)}


def surface_charts(body: Body, charts: Path | None) -> SurfaceCharts:
    """Load the charts of DensePose's UV_Processed.mat, for SMPL; without a file those of the body's texture."""
    return texture_charts(body) if charts is None else read_densepose_charts(charts, body)


class PointDisplacements(NamedTuple):
    """Of K surface points in N crops: pixels (N, K, 2) and noise (N, K) along each axis, in pixels of the crop, and
    area (N, K), how many pixels they are known from: zero for a point that is not visible.
    """

    pixels: Tensor
    noise: Tensor
    area: Tensor


class SurfacePoints:
    """Points spread evenly over a body's surface, which stand for the vertices around them.

    landmarks  the points as a landmark set, for `LandmarkRig`
    group      (V,) int64 the point that each vertex belongs to
    """

    def __init__(self, body: Body, count: int) -> None:
        rest = body.template.detach().cpu()
        rows = farthest_points(rest, count)
        self.rows = rows
        self.group = rows if len(rows) == len(rest) else torch.cdist(rest, rest[rows]).argmin(1)
        self.faces = body.faces.cpu().long()
        names = tuple(f"surface{row}" for row in rows.tolist())

        def of_points(values: Tensor) -> np.ndarray:
            return np.ascontiguousarray(values[rows].cpu().numpy())

        self.landmarks = LandmarkSet(
            LandmarkArrays(
                skeleton=Skeleton(f"surface{count}", names, ("",) * len(names)),
                template=of_points(body.template),
                directions=of_points(body.shape_directions),
                bone_indices=of_points(body.bone_indices),
                bone_weights=of_points(body.bone_weights),
            )
        )

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.rows)

    def displacements(self, rendering: BodyRendering, pixel_displacements: Displacements) -> PointDisplacements:
        """Average the displacements of the visible points.

        A pixel gives each corner of its face a share of its displacement, by its barycentric weight and precision; what
        the vertices of a group were given is averaged. The errors of a point's pixels are alike: its noise is their
        mean, by precision.
        """
        count = len(rendering)
        pixels = torch.zeros(count, len(self), 2, dtype=torch.float64)
        precision = torch.zeros(count, len(self), dtype=torch.float64)
        area = torch.zeros_like(precision)
        for row in range(count):
            visible = pixel_displacements.noise[row, 0].isfinite() & (rendering.faces[row].cpu() >= 0)
            corners = self.group[self.faces[rendering.faces[row].cpu()[visible].long()]].flatten()
            share = rendering.barycentrics[row].cpu()[visible].double()
            point_weights = share / pixel_displacements.noise[row, 0][visible, None].double().square()
            area[row].index_add_(0, corners, share.flatten())
            precision[row].index_add_(0, corners, point_weights.flatten())
            flow = point_weights[..., None] * pixel_displacements.pixels[row][:, visible].T[:, None]
            pixels[row].index_add_(0, corners, flow.flatten(0, 1))
        floor = precision.clamp_min(1e-12)
        return PointDisplacements(pixels / floor[..., None], (area / floor).sqrt(), area)

    def means(self, vertices: Array, shifts: Array) -> tuple[Array, Array]:
        """Average (K, 2) the shifts (M, 2) of some vertices (M,) about each point; which points have any is (K,)."""
        groups = self.group.numpy()[vertices]
        count = np.bincount(groups, minlength=len(self))
        total = np.stack([np.bincount(groups, shift, len(self)) for shift in shifts.T], 1)
        return total / np.maximum(count, 1)[:, None], count > 0


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Choose rows (count,) of points (V, 3), each as far as possible from those before it; the first is the highest.

    All in their order, if there are no more than `count`.
    """
    if count >= len(points):
        return torch.arange(len(points))
    first = int(points[:, 1].argmax())
    rows = [first]
    distance = (points - points[first]).square().sum(-1)
    while len(rows) < count:
        rows.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[rows[-1]]).square().sum(-1))
    return torch.tensor(rows)
