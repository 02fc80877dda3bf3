"""Existing predictions: our fit files, other programs' results, and a plain format for all others.

A plain file of predictions is an `.npz` with one row per person, or JSON `{"predictions": [{…}, …]}` with the same
fields in each:
    image: Name of the image, as in the cache, with or without suffix; its file name alone if it is unique.
    person: Optional index of the labelled person in the image.
    box: Optional (4,) x0, y0, x1, y1 pixels.
    track: Optional text, the same for one person in the images of a sequence.
    poses: (72,) axis-angle or (24, 3, 3) matrices of smpl24, the first from body to camera axes, the others relative.
    betas: (10,).
    trans: (3,) metres, such that root = shaped rest pelvis + trans.
    segment_scales: Optional (24,), if segments are longer or shorter than the betas make them.
    gender: Optional gender of the model; otherwise the evaluated body.
    world_to_camera: Optional (4, 4) rigid motion from axes in which the scene rests, for errors in the world.
    joints: (J, 3) metres in camera axes, instead of poses.
    skeleton: "smpl24" or "h36m17", one for the file.
Without person and box, an image's predictions belong to its people in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import load_models, model_for
from humanpose_cli.core.conventions import H36M17, SMPL24
from humanpose_cli.core.crop import box_overlap
from humanpose_cli.core.errors import InputError
from humanpose_cli.detect.identity import best_matches
from humanpose_cli.files.digests import digest_of_files
from humanpose_cli.files.npz_files import npz_names, read_npz
from humanpose_cli.files.text_files import read_json
from humanpose_cli.files.value_limits import LIMITS, check_limits
from humanpose_cli.fitting.fit_reading import FrameList, read_fits
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.fit_files import FitRecord, read_fit
from humanpose_cli.io.video import VIDEO_SUFFIXES
from humanpose_cli.lab.cache.cache import Cache
from humanpose_cli.lab.evaluate.people import EvaluatedPeople
from humanpose_cli.outputs.output_names import FIT_SUFFIX


class PredictedBody(NamedTuple):
    """One predicted person.

    Attributes:
        poses: (72,) radians, as in a fit file.
        betas: (S,) shape.
        trans: (3,) metres.
        box: (4,) pixels. The box that the person was detected in.
        body: Model of the parameters; None for the evaluated body.
        person: Index of the labelled person, if known; otherwise people are matched by boxes.
        joints: Skeleton and (J, 3) metres in camera axes, if there are no body parameters.
        world: (4, 4) world to camera, if known.
        track: Identity within a sequence, as the program names it; "" if unknown.
        segment_scales: (24,); None for 1.
        hands: (2, 15, 3) finger rotations and (2,) confidences, as in a fit file; None for the template's hands.
    """

    poses: NDArray[Any]
    betas: NDArray[Any]
    trans: NDArray[Any]
    box: NDArray[Any]
    body: Body | None = None
    person: int | None = None
    joints: tuple[str, NDArray[Any]] | None = None
    world: NDArray[Any] | None = None
    track: str = ""
    segment_scales: NDArray[Any] | None = None
    hands: tuple[NDArray[Any], NDArray[Any]] | None = None


Fits = Callable[[int], list[PredictedBody]]
"""Row of an image → its predicted people."""


_FOREIGN_SUFFIXES = (".pkl", ".pt", ".npz")


def fits_from_files(
    path: Path, cache: Cache, body: Body, models: Sequence[Path] = (), *, mean_hands: bool = False
) -> Fits:
    """Open existing fits: plain predictions (`read_predictions`) or files of fits (`records_from_files`).

    Args:
        path: A file or folder.
        cache: The cache.
        body: Body of the predictions.
        models: Files of the models that plain predictions name by gender.
        mean_hands: Whether fingers of these models have the mean pose.
    """
    if is_predictions(path):
        models_by_name = {model.name: model for model in load_models(models, mean_hands=mean_hands).values()}
        return _from_predictions(path, cache, {body.name: body} | models_by_name)
    records = records_from_files(path, cache, body)

    def fit(row: int) -> list[PredictedBody]:
        fit_rows = records(row)
        return [] if fit_rows is None else bodies_in_rows(*fit_rows)

    return fit


def predictions_digest(path: Path) -> str:
    """Hash the contents of predictions with SHA-256.

    Args:
        path: A file, or a folder; of a folder, our fit files count, or else all files.
    """
    if not path.is_dir():
        return digest_of_files([path])
    files = sorted(path.rglob(f"*{FIT_SUFFIX}"))  # a ledger beside them has dates
    return digest_of_files(files or sorted(entry for entry in path.rglob("*") if entry.is_file()))


def predictions_facts(path: Path | None) -> dict[str, Any]:
    """Return the line of a report about predictions; nothing without any."""
    return {} if path is None else {"predictions": f"{path.name}, digest {predictions_digest(path)[:16]}"}


def records_from_files(
    path: Path, cache: Cache, body: Body
) -> Callable[[int], tuple[FitRecord, NDArray[np.integer]] | None]:
    """Open existing fits: our fit files below a folder, or results of other programs (`fitting.fit_reading`).

    One of our files belongs to the image named by its path, or to the frames that it lists, without regard to suffixes.
    If it belongs to a video that is named after a sequence, its frames are the sequence's images in order. A file of
    another program belongs to the sequence that it, or a folder above it, is named after; in a cache without sequences,
    to all images.

    Args:
        path: A file or folder.
        cache: The cache.
        body: Body of the fits.

    Returns:
        Row of an image → a fit and the rows of the image's people in it, or None.

    Raises:
        InputError: If nothing belongs to an image of the cache, or the bodies differ.
    """
    paths = sorted(path.rglob(f"*{FIT_SUFFIX}")) if path.is_dir() else []
    records = _fit_files(path, paths, cache) if paths else _foreign_fits(path, cache, body)
    bodies = {record.body for record, _ in records.values()}
    if bodies != {body.name}:
        got = ", ".join(sorted(bodies))
        raise InputError(path, "holds fits of another body", expected=body.name, got=got, remedy="`body`")
    names = {row: _plain(str(name)) for row, name in enumerate(cache.images["name"][:])}
    if not any(name in records for name in names.values()):
        raise InputError(
            path,
            "holds no fit of any image of the cache",
            expected=f"names such as {next(iter(names.values()))}",
            got=next(iter(records)),
        )

    def rows_of_image(row: int) -> tuple[FitRecord, NDArray[np.integer]] | None:
        if names[row] not in records:
            return None
        record, frame = records[names[row]]
        return record, np.flatnonzero(record.frame_index == frame)

    return rows_of_image


_RecordOfName = dict[str, tuple[FitRecord, int]]


def _fit_files(folder: Path, paths: Sequence[Path], cache: Cache) -> _RecordOfName:
    """Map names of images to a record and a frame."""
    records: _RecordOfName = {}
    for path in paths:
        record = read_fit(path)
        name = _plain(str(path.relative_to(folder))[: -len(FIT_SUFFIX)])
        frames = [_plain(str(frame)) for frame in record.frame_names]
        sequence = Path(name).with_suffix("").as_posix()
        if Path(name).suffix.lower() in VIDEO_SUFFIXES and sequence in cache.sequences:
            images = cache.images["name"][cache.sequence(sequence)]
            numbers = [int(frame) if frame.isdecimal() else len(images) for frame in frames]
            records |= {_plain(str(images[n])): (record, i) for i, n in enumerate(numbers) if n < len(images)}
        for index, frame in enumerate(frames):
            for key in (name, f"{name}/{frame}") if len(frames) == 1 else (f"{name}/{frame}", frame):
                records.setdefault(key, (record, index))
    return records


def _foreign_fits(path: Path, cache: Cache, body: Body) -> _RecordOfName:
    """Map names of images to a record and a frame, from other programs' results."""
    if path.is_file() or (path / "hps").is_dir():
        files = [path]
    else:
        files = sorted(file for file in path.rglob("*") if file.suffix in _FOREIGN_SUFFIXES)
        files += sorted(folder.parent for folder in path.rglob("hps") if folder.is_dir())
    if not files:
        raise InputError(path, "holds no fits", expected=f"*{FIT_SUFFIX} of hpc fit, or results of other programs")
    records: _RecordOfName = {}
    for file in files:
        rows = _rows_about(file, cache)
        names = [str(name) for name in cache.images["name"][rows]]
        sizes = np.asarray(cache.images["size"][rows], np.int64)
        numbers = np.arange(len(rows))
        frame_list = FrameList(numbers, np.array(names), sizes, 0.0, bool(cache.sequences), len(rows))
        record = read_fits(file, body, frame_list)
        records |= {_plain(name): (record, number) for number, name in enumerate(names)}
    return records


def _rows_about(file: Path, cache: Cache) -> NDArray[np.int64]:
    """List the rows of the images that another program's file belongs to."""
    if not cache.sequences:
        return np.arange(len(cache))
    names = {file.stem, *file.parts}
    sequences = [name for name in cache.sequences if name in names or Path(name).name in names]
    if not sequences and len(cache.sequences) == 1:
        sequences = list(cache.sequences)
    if len(sequences) != 1:
        expected = f"the name of one sequence in its path, such as {cache.sequences[0]}"
        raise InputError(file, "does not name its sequence", expected=expected)
    return cache.sequence(sequences[0])


def _plain(name: str) -> str:
    """Strip an image's suffix from a name."""
    path = Path(name)
    return str(path.with_suffix("")) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp") else name


def bodies_in_rows(record: FitRecord, rows: Iterable[int]) -> list[PredictedBody]:
    """List the people in some rows of a fit.

    Args:
        record: The fit.
        rows: Rows of the fit.
    """
    hands, presence = record.hand_poses, record.hand_confidence
    still = bool((record.world_to_camera == np.eye(4)).all())  # the world is unknown
    return [
        PredictedBody(
            record.poses[i],
            record.betas[i],
            record.trans[i],
            record.boxes[i],
            world=None if still else record.world_to_camera[record.frame_index[i]],
            track=f"{id(record)}/{record.track_id[i]}" if len(record.frame_names) > 1 else "",
            segment_scales=record.segment_scales[i],
            hands=None if hands is None or presence is None else (hands[i], presence[i]),
        )
        for i in rows
    ]


class Prediction(NamedTuple):
    """A row of a plain file. Unknown poses, betas, trans and boxes are NaN.

    Attributes:
        image: Name of the image.
        gender: Gender of the model; "" if unknown.
        person: The person, without a body.
    """

    image: str
    gender: str
    person: PredictedBody


_UNMATCHED = -1  # index of no labelled person
_SKELETONS = {SMPL24.name: len(SMPL24), H36M17.name: len(H36M17)}


def is_predictions(path: Path) -> bool:
    """Return whether a file has the plain format: JSON, or an archive with a column of images."""
    if path.suffix == ".json":
        return True
    return path.suffix == ".npz" and path.is_file() and "image" in npz_names(path)


def read_predictions(path: Path) -> list[Prediction]:
    """Read the rows of a plain file.

    Args:
        path: The file.

    Raises:
        InputError: If a field is missing or has another shape; the error names it.
    """
    columns = _json_columns(path) if path.suffix == ".json" else read_npz(path)
    names = np.asarray(columns.get("image", ()))
    count = len(names)
    if names.ndim != 1 or not count or names.dtype.kind not in "US":
        raise InputError(f"{path} (image)", "does not name the images", expected="one text a row", got=str(names.shape))

    def field(name: str, *shapes: tuple[int, ...], needed: bool = False) -> NDArray[np.float64]:
        if name not in columns and not needed:
            return np.full((count, *shapes[0]), np.nan)
        values = np.asarray(columns.get(name, ()))
        fitting = [shape for shape in shapes if values.shape == (count, *shape)]
        if not fitting or values.dtype.kind not in "fiu":
            expected = " or ".join(str((count, *shape)) for shape in shapes)
            raise InputError(f"{path} ({name})", "has another shape", expected=expected, got=str(values.shape))
        if not np.isfinite(values).all():
            raise InputError(f"{path} ({name})", "holds values that are not finite")
        if name in LIMITS and name != "poses":  # as matrices, they are not angles
            check_limits(name, values, path)
        return values.astype(np.float64)

    skeleton = str(np.asarray(columns.get("skeleton", "")))
    joints = None
    if "joints" in columns:
        if skeleton not in _SKELETONS:
            expected = " or ".join(_SKELETONS)
            raise InputError(f"{path} (skeleton)", "does not name the joints", expected=expected, got=skeleton)
        joints = field("joints", (_SKELETONS[skeleton], 3))
    poses = field("poses", (72,), (24, 3), (24, 3, 3), needed=joints is None)
    if poses.ndim == 4:
        poses = matrix_to_axis_angle(torch.from_numpy(poses)).numpy()
    person = field("person", ())
    check_limits("poses", poses, path, unknown=True)
    box = field("box", (4,))
    betas = field("betas", (10,), needed=joints is None)
    trans = field("trans", (3,), needed=joints is None)
    genders = np.asarray(columns.get("gender", np.full(count, ""))).astype("U")
    tracks = np.asarray(columns.get("track", np.full(count, ""))).astype("U")
    world = field("world_to_camera", (4, 4)) if "world_to_camera" in columns else None
    scales = field("segment_scales", (24,)) if "segment_scales" in columns else None
    return [
        Prediction(
            str(names[i]),
            str(genders[i]),
            PredictedBody(
                poses.reshape(count, -1)[i],
                betas[i],
                trans[i],
                box[i],
                person=int(person[i]) if person[i] >= 0 else None,
                joints=None if joints is None else (skeleton, joints[i]),
                world=None if world is None else world[i],
                track=str(tracks[i]),
                segment_scales=None if scales is None else scales[i],
            ),
        )
        for i in range(count)
    ]


def _json_columns(path: Path) -> Mapping[str, Any]:
    """Read the fields of all predictions of a JSON file as columns."""
    document = read_json(path)
    rows = document.get("predictions") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(path, "holds no predictions", expected='{"predictions": [{"image": …}, …]}')
    columns: dict[str, Any] = {"skeleton": document.get("skeleton", "")}
    for name in rows[0]:
        try:
            columns[name] = np.array([row[name] for row in rows])
        except (KeyError, ValueError) as error:
            problem = "is missing or of another shape in some of the predictions"
            raise InputError(f"{path} ({name})", problem, got=str(error)[:60]) from error
    return columns


def _from_predictions(path: Path, cache: Cache, models: Mapping[str, Body]) -> Fits:
    """Group the rows by image, and find their models."""
    predictions = read_predictions(path)
    rows_of = _rows_by_image(path, [prediction.image for prediction in predictions], cache)
    kinds = {name.partition("-")[0] for name in models}
    bodies: dict[str, Body | None] = {"": None}
    for gender in sorted({prediction.gender for prediction in predictions} - {""}):
        fitting = (model_for(models, kind, gender) for kind in kinds)
        bodies[gender] = next((model for model in fitting if model is not None), None)
        if bodies[gender] is None and predictions[0].person.joints is None:
            remedy = "`model`: the file of that gender's model, or leave the gender out"
            raise InputError(f"{path} (gender)", "names a model that is not given", got=gender, remedy=remedy)
    in_order = all(
        prediction.person.person is None and not np.isfinite(prediction.person.box).any() for prediction in predictions
    )

    def fit(row: int) -> list[PredictedBody]:
        people = [predictions[i].person._replace(body=bodies[predictions[i].gender]) for i in rows_of.get(row, [])]
        return [person._replace(person=i) for i, person in enumerate(people)] if in_order else people

    return fit


def _rows_by_image(path: Path, names: Sequence[str], cache: Cache) -> dict[int, list[int]]:
    """Map the row of an image to the rows of its predictions."""
    row_of: dict[str, int | None] = {}
    for row, name in enumerate(str(name) for name in cache.images["name"][:]):
        row_of[_plain(name)] = row
        tail = _plain(name).rpartition("/")[2]
        if "/" in name:
            row_of[tail] = None if tail in row_of else row  # of several images: ambiguous
    rows_of: dict[int, list[int]] = {}
    for i, name in enumerate(map(_plain, names)):
        image_row = row_of.get(name, row_of.get(name.rpartition("/")[2]))
        if image_row is not None:
            rows_of.setdefault(image_row, []).append(i)
    if not rows_of:
        expected = f"names such as {cache.images['name'][0]}"
        raise InputError(path, "names no image of the cache", expected=expected, got=names[0])
    return rows_of


def match_by_tracks(people: EvaluatedPeople, fit: Fits) -> Fits:
    """Add the index of its person to each prediction.

    In every sequence a track is one person. Tracks are assigned such that the overlap of boxes over all frames is
    largest; tracks without a person are left unmatched.

    Args:
        people: People with their truth.
        fit: Row of an image → its predictions.

    Raises:
        InputError: If the cache has no sequences, or predictions have no tracks.
    """
    table = people.people
    cache = people.people.cache
    if not cache.sequences:
        raise InputError(cache.path, "holds no sequences", expected="videos", remedy="`match=boxes`")
    names = table.column("identity") if "identity" in cache.people else np.full(len(table), "")
    person_of: dict[tuple[int, str], str] = {}
    in_sequence: dict[int, int] = {}
    track_names: set[str] = set()
    for number, sequence in enumerate(cache.sequences):
        # Overlap of each person's boxes with each track's, added up over the frames.
        overlaps: dict[tuple[str, str], float] = {}
        for image in cache.sequence(sequence).tolist():
            in_sequence[image] = number
            rows = np.flatnonzero(table.images == image)
            for prediction in fit(image) if len(rows) else []:
                for row in rows.tolist():
                    key = str(names[row]) or str(table.indices[row]), prediction.track
                    overlap = float(overlap_within(people.boxes[row], prediction.box, cache.images["size"][image]))
                    overlaps[key] = overlaps.get(key, 0.0) + overlap
        persons, tracks = (sorted({key[i] for key in overlaps}) for i in (0, 1))
        track_names |= set(tracks)
        total = np.zeros((len(persons), len(tracks)))
        for (person, track), overlap in overlaps.items():
            total[persons.index(person), tracks.index(track)] = overlap
        person_of |= {(number, tracks[j]): persons[i] for i, j in best_matches(total) if tracks[j]}

    if not track_names - {""}:
        expected = "fits of videos, or a field `track`"
        raise InputError("predictions", "do not say whose tracks they are", expected=expected, remedy="`match=boxes`")

    def fit_with_persons(image: int) -> list[PredictedBody]:
        rows = np.flatnonzero(table.images == image)
        indices = {str(names[row]) or str(table.indices[row]): int(table.indices[row]) for row in rows.tolist()}
        person = [person_of.get((in_sequence.get(image, -1), prediction.track), "") for prediction in fit(image)]
        return [
            prediction._replace(person=indices.get(name, _UNMATCHED))
            for prediction, name in zip(fit(image), person, strict=True)
        ]

    return fit_with_persons


def overlap_within(a: NDArray[Any], b: NDArray[Any], size: ArrayLike) -> NDArray[np.float64]:
    """Measure the overlap of boxes within an image; see `core.crop.box_overlap`.

    Args:
        a: (..., 4) pixels. Some boxes reach beyond the image, others are clipped.
        b: (..., 4) pixels.
        size: (width, height) of the image.

    Returns:
        (...) overlaps; 0 for unknown boxes.
    """
    return np.nan_to_num(box_overlap(_within(a, size), _within(b, size)))


def _within(boxes: NDArray[Any], size: ArrayLike) -> NDArray[Any]:
    """Clip boxes (..., 4) to the image; boxes completely outside stay unchanged."""
    inside = np.clip(boxes, 0, np.tile(np.asarray(size, float), 2))
    return np.where((inside[..., 2:] > inside[..., :2]).all(-1, keepdims=True), inside, boxes)
