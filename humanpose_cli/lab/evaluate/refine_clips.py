"""Clips with known people, and the initial fits that refinement is evaluated from.

Bases are the keypoint fit, Neural Body Fitting's network, the truth with an estimator's errors
(`lab.synthetic.renderer.imperfect_fit`), the truth with every joint turned a little, which refinement should leave
alone, and the results of other programs. All but the last are fits of the people that the detector finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, InterruptedRun, UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.fit_options import StoredOptions
from humanpose_cli.io.inputs import Frame
from humanpose_cli.lab.cache.loader import spread_evenly
from humanpose_cli.lab.evaluate.bodies import match_boxes
from humanpose_cli.lab.evaluate.people import EvaluatedPeople
from humanpose_cli.lab.evaluate.predictions import records_from_files
from humanpose_cli.lab.recipes.people import cameras_of_images
from humanpose_cli.lab.synthetic.renderer import imperfect_fit
from humanpose_cli.refining.correspondences import ChartedPoints, SurfacePointFile, SurfaceSource, surface_charts

Base = Literal["keypoints", "nbf", "noise", "truth+0.02", "truth+0.05", "truth+0.08", "predictions"]
"""`truth+A` is the truth with A radians of noise per axis at every joint, the same in all frames."""
_SEED = 13
_ENDS = SMPL24.indices(("left_hand", "right_hand", "left_foot", "right_foot"))

Floats = NDArray[np.float64]
Records = Callable[[int], tuple[FitRecord, NDArray[np.integer]] | None]


@dataclass(frozen=True, eq=False)
class EvaluatedClip:
    """T frames of one sequence, and R rows of known people in them.

    Attributes:
        name: Name of the sequence.
        rows: (T,) rows of the images in the cache.
        names: Names of the images.
        images: (T, H, W, 3) uint8.
        focal: (T,) pixels.
        centre: (T, 2) pixels. Principal points.
        people: (R,) rows of the evaluated people.
        frame: (R,) frame of each.
        identity: (R,) index of the person within the clip.
        masks: (R, H, W) bool, pixels that show each person; None if unknown.
        other_masks: (R, H, W) bool, pixels that show other people; None if unknown.
    """

    name: str
    rows: NDArray[np.int64]
    names: tuple[str, ...]
    images: NDArray[np.uint8]
    focal: Floats
    centre: Floats
    people: NDArray[np.int64]
    frame: NDArray[np.int64]
    identity: NDArray[np.int64]
    masks: NDArray[np.bool_] | None
    other_masks: NDArray[np.bool_] | None

    def frames(self) -> Iterator[Frame]:
        """Yield the frames with their cameras, as a fitter takes them."""
        for number, (image, focal, (x, y)) in enumerate(zip(self.images, self.focal, self.centre, strict=True)):
            yield Frame(number, self.names[number], image, float(focal), principal_point=(float(x), float(y)))


def clip_names(people: EvaluatedPeople, limit: int) -> list[str]:
    """List the clips with evaluated people.

    Args:
        people: The people.
        limit: Maximum number of clips, spread evenly; 0 for all.

    Raises:
        InputError: If there are none.
    """
    cache = people.people.cache
    images = {int(image) for image in people.people.images}
    names = [name for name in cache.sequences if images.intersection(cache.sequence(name).tolist())]
    if not names:
        raise InputError(
            cache.path,
            "holds no sequences",
            expected="clips",
            remedy="make it with hpc preprocess synthetic --clips 16, or from a data set of videos",
        )
    names = sorted(names)
    return [names[i] for i in spread_evenly(len(names), limit or len(names))]


def clips_of(people: EvaluatedPeople, limit: int = 0) -> Iterator[EvaluatedClip]:
    """Read the sequences with evaluated people, by name.

    Args:
        people: The people.
        limit: Maximum number of sequences, spread evenly; 0 for all.

    Raises:
        InputError: If there are none.
    """
    cache = people.people.cache
    for name in clip_names(people, limit):
        rows = cache.sequence(name)
        pixels = [cache.image(int(row)) for row in rows]
        if len({image.shape for image in pixels}) > 1:
            continue
        index_of = {int(row): number for number, row in enumerate(rows)}
        people_rows = np.array([i for i, row in enumerate(people.people.images) if int(row) in index_of], np.int64)
        frame = np.array([index_of[int(people.people.images[i])] for i in people_rows], np.int64)
        masks, other_masks = _masks(people, people_rows)
        focal, centre = (tensor.double().numpy() for tensor in cameras_of_images(cache, np.asarray(rows)))
        identity = _identities(people, people_rows)
        names = tuple(str(cache.images["name"][int(row)]) for row in rows)
        images = np.stack(pixels)
        yield EvaluatedClip(name, rows, names, images, focal, centre, people_rows, frame, identity, masks, other_masks)


def _identities(people: EvaluatedPeople, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index (R,) of each identity; unnamed people are identified by their index in the image."""
    table = people.people
    names = table.column("identity")[rows] if "identity" in table.cache.people else np.full(len(rows), "")
    keys = [str(name) or str(index) for name, index in zip(names, table.indices[rows], strict=True)]
    return np.unique(keys, return_inverse=True)[1]


def _masks(people: EvaluatedPeople, rows: NDArray[np.int64]) -> tuple[Any, Any]:
    """Return the pixels of each person and of others, from the map of persons or their masks."""
    masks = []
    other_masks = []
    for row in rows.tolist():
        example = people.people.example(row, ("persons",), ("mask",), image=False)
        if example.mask is None:
            return None, None
        masks.append(example.mask > 127)
        other_masks.append((example.maps.get("persons", np.uint8(0)) > 0) & ~masks[-1])
    return np.stack(masks), np.stack(other_masks)


@dataclass(frozen=True, eq=False)
class MatchedRows:
    """M rows of a clip that a fit contains.

    Attributes:
        clip: (M,) rows of the clip's people.
        fit: (M,) rows of the fit.
    """

    clip: NDArray[np.int64]
    fit: NDArray[np.int64]


def match_rows(people: EvaluatedPeople, clip: EvaluatedClip, fit: Fit) -> MatchedRows:
    """Match people frame by frame, by the overlap of boxes.

    Args:
        people: People with their truth.
        clip: The clip.
        fit: A fit of it.
    """
    pairs: list[tuple[int, int]] = []
    for frame in range(len(clip.images)):
        true = np.flatnonzero(clip.frame == frame)
        fit_rows = fit.rows_for(frame)
        boxes = people.boxes[clip.people[true]]
        size = clip.images.shape[2:0:-1]
        pairs += [(int(true[a]), int(fit_rows[b])) for a, b in match_boxes(boxes, list(fit.boxes[fit_rows]), size)]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return MatchedRows(rows[:, 0], rows[:, 1])


def with_bodies(fit: Fit, body: Body, rows: NDArray[np.int64], params: BodyParams) -> Fit:
    """Replace the bodies in some rows of a fit; detections stay.

    Args:
        fit: The fit.
        body: Its body.
        rows: (M,) rows.
        params: Parameters of the new bodies.
    """
    tensors = params.tensors()
    with torch.no_grad():
        bodies = body.pose(tensors.rotations, tensors.betas, tensors.trans, tensors.segment_scales, vertices=False)
    joints = bodies.joints.numpy()
    frames = fit.frame_index[rows]
    camera = Camera(fit.focal[frames], fit.principal_point[frames])
    scales = 1 if params.segment_scales is None else params.segment_scales
    values = {"poses": params.poses, "betas": params.betas, "trans": params.trans, "segment_scales": scales}
    values |= {"joints3d": joints, "joints2d": camera.project(joints)}
    columns: dict[str, Any] = {name: np.array(getattr(fit, name)) for name in values}
    for name, value in values.items():
        columns[name][rows] = value
    return replace(fit, **columns)


def disturbed_truth(
    people: EvaluatedPeople, clip: EvaluatedClip, fit: Fit, matches: MatchedRows, base: str, seed: int
) -> Fit:
    """Put the truth with the errors of a base into the matched rows of a fit.

    Args:
        people: People with their truth.
        clip: The clip.
        fit: A fit of it.
        matches: The matched rows.
        base: "noise" or "truth+A".
        seed: Seed of the errors.

    Raises:
        InputError: If the truth belongs to another body.
    """
    people.require_one_model()
    random = np.random.default_rng((_SEED, seed))
    # The result was made by no method of this program.
    bodies = people.bodies.of_model(people.body)
    result = replace(fit, options=replace(fit.options, method=base))
    for identity in np.unique(clip.identity[matches.clip]):
        rows_of_identity = np.flatnonzero(clip.identity[matches.clip] == identity)
        rows = clip.people[matches.clip[rows_of_identity]]
        poses = matrix_to_axis_angle(bodies.rotations[rows]).flatten(1).numpy()
        trans = people.body.translation_of_root(bodies.root[rows], bodies.betas[rows]).numpy()
        betas = bodies.betas[rows[0]].numpy()
        if base == "noise":
            focal = clip.focal[clip.frame[matches.clip[rows_of_identity]]]
            rest_pelvis = people.body.rest_pelvis(bodies.betas[rows[:1]])[0].numpy()
            poses, betas, trans = imperfect_fit(random, poses, betas, trans, rest_pelvis, focal)
        else:
            poses = _turned(random, poses, float(base.removeprefix("truth+")))
        scales = None if bodies.segment_scales is None else bodies.segment_scales[rows].numpy()
        params = BodyParams(poses, np.tile(betas, (len(rows), 1)), trans, scales)
        result = with_bodies(result, people.body, matches.fit[rows_of_identity], params)
    return result


def _turned(random: np.random.Generator, poses: NDArray[np.float32], radians: float) -> NDArray[np.float32]:
    """Turn every joint of poses (T, 72) that moves others, alike in all frames; the pelvis by a third."""
    noise = radians * random.standard_normal((len(SMPL24), 3))
    noise[list(_ENDS)] = 0
    noise[SMPL24.index("pelvis")] /= 3
    rotations = Rotation.from_rotvec(poses.reshape(-1, 3)) * Rotation.from_rotvec(np.tile(noise, (len(poses), 1)))
    return rotations.as_rotvec().reshape(len(poses), -1).astype(np.float32)


def predicted_fit(clip: EvaluatedClip, body: Body, rows_of_image: Records, predictions: Path) -> Fit:
    """Take the clip's people from existing fits, with the cameras of these.

    Tracks are those of the fits; people of single images have a track each.

    Args:
        clip: The clip.
        body: Body of the fits.
        rows_of_image: Row of an image → its fit and rows of it.
        predictions: File or folder of the fits, for messages.

    Raises:
        InputError: If images have another size there.
    """
    size = np.tile(np.array(clip.images.shape[2:0:-1]), (len(clip.rows), 1))
    frames = {"focal": clip.focal.copy(), "principal_point": clip.centre.copy()}
    columns: dict[str, list[NDArray[Any]]] = {}
    tracks: dict[tuple[int, int], int] = {}
    methods: set[Any] = set()
    rate = 0.0
    for frame, image in enumerate(clip.rows.tolist()):
        record, rows = rows_of_image(image) or (None, np.zeros(0, int))
        if record is None or not len(rows):
            continue
        methods.add(record.options.method)
        index = int(record.frame_index[rows[0]])
        rate = record.frame_rate
        if tuple(record.image_size[index]) != tuple(size[frame]):
            got, expected = (" × ".join(map(str, pixels)) for pixels in (record.image_size[index], size[frame]))
            raise InputError(predictions, f"has another size of {clip.names[frame]}", expected=expected, got=got)
        for name in frames:
            frames[name][frame] = getattr(record, name)[index]
        keys = [(id(record), int(track)) for track in record.track_id[rows]]
        row_columns = {name: values[rows] for name, values in record.row_columns.items()}
        row_columns["track_id"] = np.array([tracks.setdefault(key, len(tracks)) for key in keys])
        row_columns["frame_index"] = np.full(len(rows), frame)
        for name, values in row_columns.items():
            columns.setdefault(name, []).append(values)
    empty = Fit.empty(list(clip.names), size.tolist(), clip.focal.tolist())
    if not tracks:
        return replace(empty, model=body, body=body.name)
    # Hands only if all frames have them.
    columns_of_all = {n: np.concatenate(v) for n, v in columns.items() if len(v) == len(columns["track_id"])}
    order = np.lexsort((columns_of_all["frame_index"], columns_of_all["track_id"]))
    columns_of_all = {name: values[order] for name, values in columns_of_all.items()}
    result = Fit.build(
        **(frames | columns_of_all),
        frame_names=empty.frame_names,
        shot_id=empty.shot_id,
        image_size=empty.image_size,
        world_to_camera=empty.world_to_camera,
        frame_rate=rate,
        body=body.name,
    )
    # What refinement expects of a fit's errors depends on its method.
    options = StoredOptions(method=methods.pop() if len(methods) == 1 else None)
    return replace(result, model=body, options=options)


@dataclass(frozen=True)
class InitialFits:
    """The initial fits of clips.

    Attributes:
        people: People with their truth.
        bases: Bases of the fits; without predictions, all that the body allows.
        limit: Maximum number of clips; 0 for all.
        predictions: A file or folder of fits, which is then the only base.
    """

    people: EvaluatedPeople
    bases: tuple[Base, ...]
    limit: int
    predictions: Path | None = None

    @classmethod
    def of(cls, people: EvaluatedPeople, base: Base | None, predictions: Path | None, limit: int) -> InitialFits:
        """Select one base, or all available.

        Args:
            people: People with their truth.
            base: The base; None for all.
            predictions: A file or folder of fits.
            limit: Maximum number of clips; 0 for all.

        Raises:
            UsageError: If another base is combined with predictions.
        """
        if (base == "predictions") != (predictions is not None) and not (base is None and predictions):
            raise UsageError("base", "cannot be combined with `predictions`", got=str(base))
        if predictions is not None:
            return cls(people, ("predictions",), limit, predictions)
        bases: list[Base] = [name for name in get_args(Base) if name != "predictions"]
        if people.body_name != "default":
            bases.remove("nbf")
        return cls(people, (base,) if base else tuple(bases), limit)

    def each(
        self, device: str, threads: int | None, progress: Progress, stop: Callable[[], bool]
    ) -> Iterator[tuple[EvaluatedClip, Base, Fit, MatchedRows]]:
        """Yield every clip with each of its initial fits that contains a person.

        Args:
            device: Device of the networks.
            threads: Threads of the detector; None for the default.
            progress: Called after every clip.
            stop: Called often; True ends with InterruptedRun.
        """
        people = self.people
        methods: Sequence[Literal["keypoints", "nbf"]] = ("keypoints", "nbf") if "nbf" in self.bases else ("keypoints",)
        with ExitStack() as stack:
            fitters = {
                method: stack.enter_context(
                    Fitter(FitOptions(people.body_name, method=method), device=device, threads=threads)
                )
                for method in (methods if self.predictions is None else ())
            }
            if self.predictions is not None:
                rows_of_image = records_from_files(self.predictions, people.people.cache, people.body)
            count = len(clip_names(people, self.limit))
            for number, clip in enumerate(clips_of(people, self.limit), 1):
                if stop():
                    raise InterruptedRun()
                fits: dict[str, Fit] = {}
                for name, fitter in fitters.items():
                    fits[name] = fitter.fit_sequence(clip.frames(), frame_count=len(clip.images))
                if self.predictions is not None:
                    fits["predictions"] = predicted_fit(clip, people.body, rows_of_image, self.predictions)
                matches = {name: match_rows(people, clip, fit) for name, fit in fits.items()}
                for base in self.bases:
                    if base not in fits:
                        fits[base] = disturbed_truth(
                            people, clip, fits["keypoints"], matches["keypoints"], base, number
                        )
                        matches[base] = matches["keypoints"]
                for base in self.bases:
                    if len(matches[base].fit):
                        yield clip, base, fits[base], matches[base]
                    if stop():
                        raise InterruptedRun()
                progress(number, count, "clips")


def surface_source(people: EvaluatedPeople, densepose: Path | None, charts: Path | None) -> tuple[SurfaceSource, str]:
    """Open the source of vertices for pixels of a clip's frames.

    These are DensePose's output on the cache's images, DensePose's maps in the cache, or the maps of true vertices of
    rendered people.

    Args:
        people: People with their truth.
        densepose: DensePose's output; None for the cache's maps.
        charts: DensePose's UV_Processed.mat, for SMPL; None for the charts of the body's texture.

    Returns:
        The source and its name.

    Raises:
        InputError: If there is no source.
    """
    cache = people.people.cache
    body = people.body
    if densepose is not None:
        return ChartedPoints(surface_charts(body, charts), SurfacePointFile(densepose).points), f"{densepose.name}"
    maps = [name for name in ("densepose", "correspondence") if cache.labels.get(f"pictures/maps/{name}", 0)]
    if "densepose" in maps:

        def points(name: str, size: tuple[int, int]) -> NDArray[Any]:
            values = cache.map(cache.find(name), "densepose")
            if values is None:
                return np.zeros((0, 5))
            y, x = np.nonzero(values[..., 0])
            codes = values[y, x].astype(np.float64)
            return np.column_stack((x + 0.5, y + 0.5, codes[:, 0], codes[:, 1:] / 255))

        return ChartedPoints(surface_charts(body, charts), points), "DensePose's maps in the cache"
    if not maps or body.name != "default":
        raise InputError(cache.path, "has no surface points", expected="DensePose's output", remedy="`densepose`")

    def vertices(name: str, size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any]]:
        values = cache.map(cache.find(name), "correspondence")
        if values is None:
            return np.zeros((0, 2)), np.zeros(0, np.int64)
        y, x = np.nonzero(values[..., 0])
        return np.column_stack((x + 0.5, y + 0.5)), values[y, x, 0].astype(np.int64) - 1

    return vertices, "the true vertices of the rendered pixels, more exact than any estimate"
