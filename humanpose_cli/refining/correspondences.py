"""2-D displacements, with their noise, from the rendered body's pixels to their positions in the photograph.

`FlowCorrespondence` compares the textured rendering with the photograph by dense optical flow, `NetworkCorrespondence`
by a trained network. `SurfacePoints.displacements` converts the displacements of pixels to those of surface points, by
the barycentric weights of the faces that the pixels show. `ChartedPoints` knows the vertex that a pixel shows without a
rendering, as from DensePose.
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
from humanpose_cli.files.digests import digest_of_files, file_digest
from humanpose_cli.io.densepose_annotations import read_annotated_images
from humanpose_cli.io.densepose_files import DensePoseOutput
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
    """Displacements in N crops with S pixels a side.

    Attributes:
        pixels: (N, 2, S, S) pixels of the crop. x, y from the drawn body to its position in the photograph.
        noise: (N, 1, S, S) pixels of the crop. The standard deviation along each axis. Infinite if unknown, and off the
            body.
    """

    pixels: Tensor
    noise: Tensor


class Correspondence(Protocol):
    """Compares renderings with the photographs of the same crops."""

    def __call__(self, rendering: BodyRendering, photos: Tensor) -> Displacements:
        """Predict the displacements of N renderings from photos (N, 3, S, S) float32, 0 to 1."""


_CYCLE_ERROR = 1.0  # pixels, difference of forward and backward flow at which half is trusted
_COLOUR_ERROR = 0.1  # difference of colours 0 to 1 at which half is trusted
_GRADIENT = 0.02  # change of brightness per pixel that distinguishes a point from its neighbours
_CLEARED = 0.05  # of the crop's side, width around the drawn body in which the photograph's person is removed
_MAX_LENGTH = 0.08  # of the crop's side, of a displacement
_FLOW_NOISE = 0.0055  # of the crop's side, noise of a short displacement with full confidence
_MIN_CONFIDENCE = 0.05  # below which a displacement is unknown
_FLOW_SHARE = 0.55  # of a displacement's length that is noise


class FlowCorrespondence:
    """Dense inverse search (Kroeger et al. 2016, OpenCV's) from the rendering to the photograph.

    The rendering is drawn over the photograph itself, so that the surroundings of the person do not move. A pixel is
    trusted if its texture is known, the backward flow returns to it, the colours agree, and there is detail. Its noise
    follows from this confidence and the displacement's length, as measured on rendered people.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, rendering: BodyRendering, photos: Tensor) -> Displacements:
        maps = (rendering.rgb, rendering.textured, photos)
        crops = zip(*(values.cpu().numpy() for values in maps), strict=True)
        flows, confidences = zip(*(self._compare(*crop) for crop in crops), strict=True)
        flow = torch.from_numpy(np.stack(flows))
        confidence = torch.from_numpy(np.stack(confidences))
        confidence = torch.where(confidence > _MIN_CONFIDENCE, confidence, 0.0) * rendering.mask.cpu()
        short = (_FLOW_NOISE * photos.shape[-1]) ** 2 / confidence.sqrt()
        return Displacements(flow, (short + _FLOW_SHARE**2 * flow.square().sum(1, keepdim=True)).sqrt())

    def _compare(self, rgb: Array, textured: Array, photo: Array) -> tuple[Array, Array]:
        rendering = rgb * textured + _without_person(photo, textured[0]) * (1 - textured)
        rendering_grey, photo_grey = (_grey(image) for image in (rendering, photo))
        side = len(rendering_grey)
        start = np.zeros((side, side, 2), np.float32)
        forward = np.asarray(self._flow.calc(rendering_grey, photo_grey, start.copy()), np.float32)
        backward = np.asarray(self._flow.calc(photo_grey, rendering_grey, start), np.float32)
        y, x = np.mgrid[:side, :side].astype(np.float32)
        to_x = x + forward[..., 0]
        to_y = y + forward[..., 1]
        returning = cv2.remap(backward, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        warped_photo = cv2.remap(np.ascontiguousarray(photo.transpose(1, 2, 0)), to_x, to_y, cv2.INTER_LINEAR)
        cycle_error = np.square(forward + returning).sum(-1) / _CYCLE_ERROR**2
        colour_error = np.square(warped_photo - rendering.transpose(1, 2, 0)).sum(-1) / _COLOUR_ERROR**2
        detail = _detail(rendering_grey)
        confidence = textured[0] * detail / (1 + cycle_error) ** 2 / (1 + colour_error)
        confidence[np.square(forward).sum(-1) > (_MAX_LENGTH * side) ** 2] = 0
        return forward.transpose(2, 0, 1), confidence[None].astype(np.float32)


class NetworkCorrespondence:
    """The displacement network (`models.refiner`), with the noise that it predicts."""

    def __init__(self, network: DisplacementPredictor) -> None:
        self._network = network

    def __call__(self, rendering: BodyRendering, photos: Tensor) -> Displacements:
        pixels, deviation = self._network(rendering, photos)
        return Displacements(pixels, torch.where(rendering.mask.cpu() > 0, deviation, torch.inf))


def _without_person(photo: Array, silhouette: Array) -> Array:
    """Fill the photo (3, S, S) with the colours of the surroundings near the drawn body (S, S)."""
    reach = 2 * round(_CLEARED * len(silhouette)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    outside = 1 - cv2.dilate(silhouette, kernel)
    background = fill_smoothly(np.ascontiguousarray(photo.transpose(1, 2, 0)), np.ascontiguousarray(outside))
    return np.asarray(background.transpose(2, 0, 1))


def _grey(image: Array) -> NDArray[np.uint8]:
    """Convert (3, S, S) from 0 to 1 to grey, (S, S) uint8."""
    values = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), image, 1)
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _detail(grey: NDArray[np.uint8]) -> Array:
    """Measure (S, S) from 0 to 1 how much brightness changes around a pixel."""
    values = cv2.GaussianBlur(grey.astype(np.float32) / 255, (0, 0), 1.0)
    across, down = (cv2.Sobel(values, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1)))
    energy = cv2.GaussianBlur(across**2 + down**2, (0, 0), 2.5)
    return np.asarray(energy / (energy + _GRADIENT**2))


SurfaceSource = Callable[[str, tuple[int, int]], tuple[Array, Array]]
"""Name of an image and its size (width, height) to pixels (M, 2) and the vertices (M,) that they show."""


class ChartedPoints:
    """Pixels of images that show known positions on a body's surface. A `SurfaceSource`.

    Args:
        charts: The charts of the body.
        points: Name of an image and its size (width, height) to (M, ≥ 5): x and y in pixels, chart, U and V.
    """

    def __init__(self, charts: SurfaceCharts, points: Callable[[str, tuple[int, int]], Array]) -> None:
        self._nearest, self._points = NearestVertices(charts), points

    def __call__(self, name: str, size: tuple[int, int]) -> tuple[Array, Array]:
        """Return pixels (M, 2) of an image and the vertices (M,) that they show.

        Raises:
            InputError: If there is no output for the image.
        """
        surface_points = torch.from_numpy(np.asarray(self._points(name, size), np.float64))
        vertices, valid = self._nearest(surface_points[:, 2].round().long(), surface_points[:, 3:5])
        return surface_points[valid, :2].numpy(), vertices[valid].numpy()


def charted_points(body: Body, densepose: Path, charts: Path | None = None) -> ChartedPoints:
    """Read the pixels that show vertices of a body.

    Args:
        body: The body.
        densepose: A path that `SurfacePointFile` reads.
        charts: DensePose's UV_Processed.mat. None: the charts of the body's texture.
    """
    return ChartedPoints(surface_charts(body, charts), SurfacePointFile(densepose).points)


class SurfacePointFile:
    """DensePose's output (a folder of NAME_IUV.png or NAME_IUV.npz, or a dump), or annotations in COCO's format.

    Raises:
        InputError: If the path is missing or damaged.
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
        """Read x and y in pixels, chart, U and V (M, 5) of the image `name` with `size` (width, height).

        Raises:
            InputError: If there is no output for the image.
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
    """Return the digests of both files, or of DensePose's files in a folder."""
    files = [densepose]
    if densepose.is_dir():
        files = [path for path in sorted(densepose.rglob("*")) if path.suffix == ".pkl" or path.stem.endswith("_IUV")]
    return {"densepose": digest_of_files(files), "charts": None if charts is None else file_digest(charts)}


def surface_charts(body: Body, charts: Path | None) -> SurfaceCharts:
    """Read the charts of DensePose's UV_Processed.mat for SMPL. Without a file, return those of the body's texture."""
    return texture_charts(body) if charts is None else read_densepose_charts(charts, body)


class SurfacePoints:
    """Points spread evenly over a body's surface, each of which represents the vertices around it.

    Attributes:
        rows: (K,) int64. The vertices at the points.
        group: (V,) int64. The point that represents each vertex.
        faces: The faces of the body.
        landmarks: The points as a landmark set, for `LandmarkRig`.
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

    def displacements(
        self, rendering: BodyRendering, pixel_displacements: Displacements
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Average the displacements of the visible points in N crops.

        A pixel gives each corner of its face a share of its displacement, by barycentric weight and precision, and the
        vertices of a group are averaged. The errors of a point's pixels correlate, so that its noise is their mean,
        weighted by precision.

        Returns:
            The displacements (N, K, 2), pixels of the crop; their standard deviation (N, K) along each axis; and the
            number of pixels (N, K) that show each point, which is zero for hidden ones.
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
        return pixels / floor[..., None], (area / floor).sqrt(), area

    def means(self, vertices: Array, shifts: Array) -> tuple[Array, Array]:
        """Average the shifts (M, 2) of vertices (M,) over each point: (K, 2), and whether a point has any (K,)."""
        groups = self.group.numpy()[vertices]
        count = np.bincount(groups, minlength=len(self))
        total = np.stack([np.bincount(groups, shift, len(self)) for shift in shifts.T], 1)
        return total / np.maximum(count, 1)[:, None], count > 0


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Choose rows (count,) of points (V, 3), each as far as possible from the previous ones. The first is the highest.

    If there are no more than `count` points, all rows are returned in order.
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
