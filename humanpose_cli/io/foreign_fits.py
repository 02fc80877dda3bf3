"""Results of other programs that fit SMPL-like bodies, as arrays.

| program | file | body | camera |
| --- | --- | --- | --- |
| 4D-Humans, PHALP | `results/NAME.pkl` (joblib) | SMPL | 5000 px for an image of 256 |
| WHAM | `wham_output.pkl` (joblib) | SMPL | the image's diagonal |
| TRAM | `hps/hps_track_N.npy` beside `camera.npy`, or their folder | SMPL | in `camera.npy` |
| PromptHMR | `results.pkl` (joblib) | SMPL-X | in the file |
| CameraHMR | `.npz` labels, CamSMPLify's `output.npz` | SMPL | a matrix a row |
| GVHMR | `hmr4d_results.pt` | SMPL-X | a matrix a frame |
| HybrIK | `res.pk` | SMPL | of each box |
| SAM 3D Body | what `process_one_image` returns, pickled | MHR, by its keypoints | a focal length a row |
| AMASS | `.npz`, with a camera file | SMPL+H, SMPL-X | ours: `focal`, `world_to_camera` … |

All of them use our camera axes (x right, y down, z forward) and add the translation after posing, as smplx does.
Weak-perspective cameras (s, tx, ty) of crops are not read: every file also has the translation for the full image,
tz = 2 f / (s · box). The layouts follow the programs' public code; each reader names the file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, MHR70_ROWS, SMPL24
from humanpose_cli.core.errors import InputError, UsageError, shell_word
from humanpose_cli.files.documents import is_torch, outline_of, read_document
from humanpose_cli.files.restricted_pickle import as_array
from humanpose_cli.files.sniffing import file_kind, reader_of
from humanpose_cli.files.text_files import file_head
from humanpose_cli.files.value_limits import LIMITS, check_image_sizes, check_limits

Foreign = Literal["smpl", "smplx", "joints"]
Array = np.ndarray
_BODY, _SMPL = 66, 3 * len(SMPL24)  # numbers of pelvis and 21 body joints, the same in SMPL, SMPL-H and SMPL-X


@dataclass(frozen=True, eq=False)
class ForeignFits:
    """N rows in any order, each a person in a frame, as another program stored them.

    Attributes:
        program: Name of the program, such as "WHAM".
        model: Model of the parameters: "smpl", "smplx", or "joints" if only joints can be used.
        track: (N,) int. Track numbers; −1 if the file does not identify people.
        frame: (N,) int. Number of the frame in its video or list.
        names: (N,) str. File names of the frames; "" if unknown.
        poses: (N, 72) float, axis-angle, parent-relative. The first three map body axes to camera axes.
        betas: (N, 10) float. Shape components.
        trans: (N, 3) float, metres in camera axes. Translations, added after posing.
        joints: (N, 33, 4) float, metres in camera axes. blazepose33 and confidence, or None.
        focal: (N,) float, pixels. Focal lengths; NaN stands for the diagonal of the image.
        principal_point: (N, 2) float, pixels. Principal points; NaN stands for the middle of the image.
        image_size: (N, 2) float, pixels. Width and height; NaN if unknown.
        confidence: (N,) float, 0 to 1. Confidence of the person.
        frame_count: Number of frames that the program read; None if unknown.
        world_to_camera: (frame_count, 4, 4) float. Rigid motions from a world with y down, or None.
        notes: Sentences about rows that are left out.
    """

    program: str
    model: Foreign
    track: Array
    frame: Array
    names: Array
    poses: Array
    betas: Array
    trans: Array
    focal: Array
    principal_point: Array
    image_size: Array
    confidence: Array
    joints: Array | None = None
    frame_count: int | None = None
    world_to_camera: Array | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.track)


def read_foreign_fits(path: Path | str) -> ForeignFits | None:
    """Read the fits in another program's file, recognised by its contents; None for an unknown `.npz`.

    Nothing in the file is run (`files.documents`). People without frames, and rows with numbers that are not finite,
    are left out, the latter with a note. Raises InputError for damaged files and unknown contents.
    """
    path = Path(path)
    is_npz = not path.is_dir() and file_kind(path).endswith("ZIP archive") and not is_torch(path)
    if not is_npz:
        check_fits(path)
    content = read_object(path, NPZ_NAMES)
    fits = fits_of_object(path, content)
    if fits is None and not is_npz:
        raise InputError(path, "holds no fits that are known", expected=_EXPECTED, got=outline_of(content))
    return fits


def read_object(path: Path, names: set[str] | None = None) -> Any:
    """Read the contents of a file as `read_document`, or those of EasyMocap's or TRAM's folder as a list."""
    files = files_of_motion(path)
    return list(map(read_document, files)) if files else read_document(path, names)


def files_of_motion(path: Path) -> list[Path]:
    """List the files of EasyMocap (one a frame) or TRAM (one a person) in a folder; [] if it is something else."""
    files = [path] if path.suffix.lower() == ".json" else sorted(path.glob("*.json"))
    return files if files and '"Rh"' in file_head(files[0]) else sorted(path.glob("hps/hps_track_*.npy"))


def fits_of_object(path: Path, content: Any) -> ForeignFits | None:
    """Build fits from the contents of a program's file; None if the program is unknown."""
    for matches, read in _READERS:
        if matches(content):
            with documented(path):
                fits = read(path, content)
                check_image_sizes(fits.image_size, path, unknown=True)
                for name, values in vars(fits).items():
                    if name in LIMITS and values is not None:
                        check_limits(name, values, path, unknown=name in ("focal", "principal_point"))
                return fits
    return None


def check_fits(path: Path) -> None:
    """Raise InputError if the beginning of a file shows that it holds no fits, and for a folder without fits."""
    if os.path.isdir(path):
        names = (name for _, folders, files in os.walk(path) for name in (*folders, *files))
        if not any(name == "hps" or name.endswith((".fit.npz", "_track_0.npy")) for name in names):
            remedy = f"hpc fit {shell_word(path)} makes fits of images and videos"
            expected = _EXPECTED.replace("a fit file", "fit files in it")
            raise InputError(path, "holds no fits", expected=expected, remedy=remedy)
        return
    kind = file_kind(path)
    is_json = kind == "text" and file_head(path).lstrip()[:1] in ("[", "{")  # SAM 3D Body's people
    if kind in _NO_FITS and not is_json:
        raise InputError(path, "holds no fits", expected=_EXPECTED, got=kind, remedy=reader_of(path))


def check_model(path: Path, fits: ForeignFits, body: str, smplx: Any) -> None:
    """Raise UsageError if a file's parameters need another model file.

    Args:
        path: The file, for errors.
        fits: Its contents.
        body: Name of the body that the fits are converted to.
        smplx: SMPL-X's model file, or None.
    """
    if fits.model != "joints" and not body.startswith("smpl"):
        problem = f"holds SMPL{'-X' if fits.model == 'smplx' else ''} parameters of {fits.program}"
        remedy = "register at https://smpl.is.tue.mpg.de and give --body smpl:FILE"
        raise UsageError(path, problem, expected="SMPL's model file", got=f"the body {body}", remedy=remedy)
    if fits.model == "smplx" and smplx is None:
        problem = f"holds SMPL-X shapes and translations of {fits.program}"
        remedy = "give `smplx=SMPLX_NEUTRAL.npz`, which the program itself was run with"
        raise UsageError(path, problem, expected="SMPL-X's model file beside SMPL's", remedy=remedy)
    if fits.model != "smplx" and smplx is not None:
        raise UsageError("smplx", f"has no effect: {fits.program} has no SMPL-X parameters", remedy="leave it out")


_NO_FITS = (
    *("an image", "a video", "a HEIC image", "an OpenEXR image", "a Photoshop file", "an SVG drawing"),
    *("text", "an empty file", "a web page", "a PDF document", "an HDF5 file", "a glTF file"),
)
_EXPECTED = (
    "a fit file, or results of 4D-Humans (PHALP), WHAM, TRAM, PromptHMR, CameraHMR, GVHMR, HybrIK, SAM 3D Body or AMASS"
)


@contextmanager
def documented(path: Path) -> Iterator[None]:
    """Turn a reader's errors into InputError: the file has another layout than its program documents."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        got = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:120]
        remedy = "make it again, or report its program"
        raise InputError(path, "has not the documented layout", got=got, remedy=remedy) from error


_UNKNOWN: dict[str, Any] = {
    "track": -1,
    "names": "",
    "poses": np.zeros(_SMPL),
    "betas": np.zeros(10),
    "focal": np.nan,
    "principal_point": np.full(2, np.nan),
    "image_size": np.full(2, np.nan),
    "confidence": 1.0,
}
"""Values of fields of `ForeignFits` that a program does not store."""
_SHAPES = {name: np.shape(value) for name, value in _UNKNOWN.items()}
_SHAPES |= {"frame": (), "trans": (3,), "joints": (len(BLAZEPOSE33), 4)}


def _join(
    path: Path,
    tables: Sequence[Mapping[str, Any]],
    program: str,
    model: Foreign = "smpl",
    frame_count: int | None = None,
    world_to_camera: Array | None = None,
) -> ForeignFits:
    """Join tables of `ForeignFits`' fields: a column has as many rows as `trans` (T, 3), or one value for all."""
    tables = [table for table in tables if table]
    if not tables:
        raise InputError(path, "holds no person", expected="at least one person")
    columns: dict[str, Any] = {}
    for name in {**_UNKNOWN, **tables[0]}:
        values = [(table.get(name, _UNKNOWN.get(name)), len(table["trans"])) for table in tables]
        columns[name] = np.concatenate([np.broadcast_to(value, (count, *_SHAPES[name])) for value, count in values])
    for name in ("poses", "betas", "trans", "focal", "principal_point", "image_size", "confidence"):
        columns[name] = columns[name].astype(np.float64)
    numbers = np.concatenate([columns[name] for name in ("poses", "betas", "trans")], axis=1)
    is_usable = np.isfinite(numbers).all(1)
    is_behind = is_usable & (columns["trans"][:, 2] <= 0) & (model != "joints")
    if 2 * is_behind.sum() >= max(1, is_usable.sum()):  # the axes of another program
        raise InputError(path, "has people behind the camera", expected="translations in camera axes, z > 0")
    counts = {"hold no finite numbers": (~is_usable).sum(), "are behind the camera": is_behind.sum()}
    is_usable &= ~is_behind
    columns = {name: column[is_usable] for name, column in columns.items()}
    of_file = f"of {len(is_usable)} rows of {path.name}"
    notes = tuple(f"{count} {of_file} {problem}: left out" for problem, count in counts.items() if count)
    if not is_usable.any():
        raise InputError(path, "holds no row of finite numbers", got=f"{len(is_usable)} rows")
    return ForeignFits(program, model, **columns, frame_count=frame_count, world_to_camera=world_to_camera, notes=notes)


def numbers_of(value: Any, *shape: int) -> Array:
    """Convert a value to float64 of this shape; −1 stands for any length. Raises ValueError for anything else."""
    array = as_array(np.asarray(value) if isinstance(value, list) else value)
    return array.astype(np.float64).reshape(shape)


def body_poses(parts: Sequence[Any]) -> Array:
    """Join the rotations of joints to one axis-angle vector for each pose.

    Args:
        parts: Rotations of all joints, or of the pelvis and of the other joints: (…, 3 J) or (…, J, 3) axis-angle, or
            (…, J, 3, 3) matrices. The leading axes are none, frames, or people and frames, as in the last part.

    Returns:
        (…, 72) float for SMPL's 24 joints; the hands, which other models split, stay straight.

    Raises:
        ValueError: If the shapes are others.
    """
    *roots, body = (numbers_of(part, *np.shape(part)) for part in parts)
    body = _axis_angles(body) if body.ndim > 2 and body.shape[-2:] == (3, 3) else body
    axes = body.shape[:-2] if body.ndim > 1 and body.shape[-1] == 3 else body.shape[:-1]
    several = tuple(length for length in axes if length > 1)
    forms = ((*several, 3), (*several, 3, 3))
    if 0 in body.shape or len(axes) > 2 or any(root.squeeze().shape not in forms for root in roots):
        raise ValueError(f"an array {body.shape}")
    roots = [_axis_angles(root.reshape(*axes, 3, 3)) if root.size == 9 * math.prod(axes) else root for root in roots]
    poses = np.concatenate([array.reshape(*axes, -1) for array in (*roots, body)], axis=-1)
    if poses.shape[-1] < _BODY:
        raise ValueError(f"{poses.shape[-1]} numbers a pose")
    width = _SMPL if poses.shape[-1] == _SMPL else _BODY
    full = np.zeros((*axes, _SMPL))
    full[..., :width] = poses[..., :width]
    return full


def _axis_angles(matrices: Array) -> Array:
    """Convert (…, 3, 3) to (…, 3)."""
    import torch

    from humanpose_cli.geometry.rotations import matrix_to_axis_angle

    return matrix_to_axis_angle(torch.from_numpy(matrices)).numpy()


# Names in a person's table of T frames; the first one in the table counts.
_POSES = ("pose_cam", "pose", "pred_rotmat")
_BETAS = ("betas", "shape", "pred_shape")
_TRANS = ("trans_cam", "trans", "transl", "pred_trans", "cam_t")


def _person(table: Mapping[str, Any], track: int, **columns: Any) -> dict[str, Any]:
    """Read a person's poses, betas, translations and frames, all frames if they have no numbers; {} without frames."""

    def first_of(*names: str) -> Any:
        return table[next((name for name in names if name in table), names[0])]

    parts = [table["global_orient"], table["body_pose"]] if "body_pose" in table else [first_of(*_POSES)]
    if not len(parts[-1]):
        return {}
    poses = body_poses(parts)
    frames = table.get("frame_ids", table.get("frame", np.arange(len(poses))))
    return {
        "track": track,
        "poses": poses,
        "betas": as_array(first_of(*_BETAS)).astype(np.float64)[..., :10],
        "trans": numbers_of(first_of(*_TRANS), len(poses), 3),
        "frame": numbers_of(frames, len(poses)).astype(int),
        **columns,
    }


_PHALP_FOCAL, _PHALP_SIZE, _HYBRIK_FOCAL = 5000.0, 256.0, 1000.0


def _read_phalp(path: Path, content: Mapping[Any, Any]) -> ForeignFits:
    """Read PHALP's table of frames (`phalp/trackers/PHALP.py`, `track` and `get_human_features`; HMR2 runs in it)."""
    # A frame has `time`, and lists with an entry for each track: `tid`, `tracked_time` (frames since detection;
    # later rows repeat its state and are left out), `conf`, `size` [height, width] (the README has the other order),
    # `smpl` with `global_orient`, `body_pose`, `betas`, and `camera` (3,): the translation before a camera of 5000
    # pixels for the image padded to a square and scaled to 256 (`phalp/models/hmar/hmar.py`, `get_3d_parameters`). In
    # the full image the focal length is 5000 · max(width, height) / 256, centred.
    rows = []
    for key, frame in content.items():
        for row, track in enumerate(frame["tid"] if frame else ()):
            if int(frame["tracked_time"][row]) > 0:
                continue
            smpl = frame["smpl"][row]
            height, width = (float(side) for side in frame["size"][row])
            rows.append(
                {
                    "track": int(track),
                    "frame": int(frame["time"]),
                    "names": Path(key).name if isinstance(key, str) else "",
                    "poses": body_poses([smpl["global_orient"], smpl["body_pose"]]),
                    "betas": numbers_of(smpl["betas"], 10),
                    "trans": numbers_of(frame["camera"][row], 1, 3),
                    "focal": _PHALP_FOCAL * max(width, height) / _PHALP_SIZE,
                    "image_size": (width, height),
                    "confidence": float(np.clip(numbers_of(frame["conf"][row]), 0, 1)) if "conf" in frame else 1.0,
                }
            )
    return _join(path, rows, "PHALP", frame_count=len(content))


def _read_wham(path: Path, content: Mapping[Any, Any]) -> ForeignFits:
    """Read WHAM's table of subjects (`demo.py`, with `--save_pkl`)."""
    # `pose_world` and `trans_world` cannot be used: the file has no camera in their world. The camera is centred with
    # the image's diagonal as focal length (`lib/utils/imutils.py`, `compute_cam_intrinsics`), unless WHAM was given a
    # calibration.
    people = [_person(table, track) if table else {} for track, table in enumerate(content.values())]
    fits = _join(path, people, "WHAM")
    empty = f"{people.count({})} of {len(people)} people of {path.name} have no frames: left out"
    return replace(fits, notes=(*fits.notes, empty)) if {} in people else fits


def _is_tram(content: Any) -> bool:
    return _has(content[0] if isinstance(content, list) and content else content, "pred_rotmat", "pred_trans", "frame")


def _read_tram(path: Path, content: Any) -> ForeignFits:
    """Read TRAM's tracks (`scripts/estimate_humans.py`): one `hps/hps_track_N.npy`, or the folder that holds `hps`."""
    # `camera.npy` beside `hps` (`scripts/estimate_camera.py`) has `img_focal`, `img_center`, and the camera's motion
    # `world_cam_R` (F, 3, 3), `world_cam_T` (F, 3), which map camera to world (`lib/pipeline/visualization.py`). The
    # world's y points up there (`align_cam_to_world`) and down here.
    camera_file = (path if path.is_dir() else path.parent.parent) / "camera.npy"
    if not camera_file.is_file():
        expected = f"{camera_file}, as TRAM writes it"
        raise InputError(path, "has no camera", expected=expected, remedy="keep TRAM's folder together")
    camera = read_object(camera_file)
    tracks = content if isinstance(content, list) else [content]
    people = [_person(track, number, **_camera(camera)) for number, track in enumerate(tracks)]
    turns, offsets = numbers_of(camera["world_cam_R"], -1, 3, 3), numbers_of(camera["world_cam_T"], -1, 3)
    down = np.array([1.0, -1.0, -1.0])
    to_world = np.tile(np.eye(4), (len(turns), 1, 1))
    to_world[:, :3, :3], to_world[:, :3, 3] = turns * down[:, None], offsets * down
    world = np.linalg.inv(to_world)
    return _join(path, people, "TRAM", frame_count=len(world), world_to_camera=world)


def _camera(camera: Mapping[str, Any]) -> dict[str, Any]:
    """Read TRAM's or PromptHMR's camera."""
    return {"focal": float(numbers_of(camera["img_focal"])), "principal_point": numbers_of(camera["img_center"], 2)}


def _read_prompthmr(path: Path, content: Mapping[str, Any]) -> ForeignFits:
    """Read PromptHMR's results (`pipeline/phmr_vid.py`): a table of people, each with `frames` (T,) and `smplx_cam`."""
    # It reduces images to at most 896 pixels (`load_video_frames`), and the camera belongs to the reduced images.
    camera = _camera(content["camera"])
    camera["image_size"] = np.round(2 * camera["principal_point"])
    people = [
        _person(person["smplx_cam"], track, frame=numbers_of(person["frames"], -1).astype(int), **camera)
        for track, person in enumerate(content["people"].values())
    ]
    return _join(path, people, "PromptHMR", "smplx")


def _intrinsics(matrices: Any, count: int) -> dict[str, Array]:
    """Read focal lengths and principal points of (count, 3, 3)."""
    matrices = numbers_of(matrices, count, 3, 3)
    return {"focal": matrices[:, 0, 0], "principal_point": matrices[:, :2, 2]}


def _read_camerahmr(path: Path, content: Mapping[str, Any]) -> ForeignFits:
    """Read CameraHMR's labels or CamSMPLify's results: a row a person with `imgname` and `cam_int` (N, 3, 3)."""
    # `dataset_vis.py` and `CamSMPLify/optimize.py` write them. CameraHMR's demo itself writes meshes (`.obj`) without a
    # camera, which cannot be read back as parameters.
    images = [Path(str(name)).name for name in content["imgname"].tolist()]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(images))}
    frames = np.array([numbers[image] for image in images])
    cameras = _intrinsics(content["cam_int"], len(images))
    return _join(path, [_person(content, -1, frame=frames, names=np.array(images), **cameras)], "CameraHMR")


def _read_gvhmr(path: Path, content: Mapping[str, Any]) -> ForeignFits:
    """Read GVHMR's `hmr4d_results.pt` (`tools/demo/demo.py`): one person, every frame, `K_fullimg` (L, 3, 3)."""
    # Bodies are of the neutral SMPL-X of `hmr4d/utils/smplx_utils.py`, "supermotion".
    # Files that were saved again may lack `K_fullimg`; without a calibration its focal length is the image's diagonal
    # (`hmr4d/utils/geo/hmr_cam.py`, `estimate_K`).
    count = len(content["smpl_params_incam"]["body_pose"])
    cameras = _intrinsics(content["K_fullimg"], count) if "K_fullimg" in content else {}
    return _join(path, [_person(content["smpl_params_incam"], 0, **cameras)], "GVHMR", "smplx", frame_count=count)


def _read_hybrik(path: Path, content: Mapping[str, Any]) -> ForeignFits:
    """Read HybrIK's `res.pk` (`scripts/demo_video.py`): one person, lists with an entry a frame."""
    # `pred_thetas` are rotation matrices (216,), `transl` is in the axes of the crop's camera: its principal point is
    # the middle of the square `bbox` (x0 y0 x1 y1), and its focal length 1000 pixels where that square has 256.
    count = len(content["pred_thetas"])
    boxes = numbers_of(np.array(content["bbox"]), count, 4)
    person = _person(
        {
            "pose": numbers_of(np.array(content["pred_thetas"]), count, len(SMPL24), 3, 3),
            "betas": np.array(content["pred_betas"]),
            "trans": np.array(content["transl"]),
        },
        track=0,
        names=np.array([Path(str(name)).name for name in content["img_path"]]),
        focal=_HYBRIK_FOCAL * (boxes[:, 2] - boxes[:, 0]) / _PHALP_SIZE,
        principal_point=(boxes[:, :2] + boxes[:, 2:]) / 2,
    )
    return _join(path, [person], "HybrIK", frame_count=count)


# A body is fitted to fewer joints than MHR has in common with blazepose33.
_MHR70 = {name: row for name, row in MHR70_ROWS.items() if not name.endswith("thumb")}


def _people_of_sam(content: Any) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """List (name, people) of each frame, from one image's list, a list of such lists, or a table name → list."""
    if isinstance(content, Mapping):
        return [(Path(str(name)).name, list(people)) for name, people in content.items()]
    content = list(content)
    if content and all(isinstance(person, Mapping) for person in content):
        return [("", list(content))]
    return [("", list(people)) for people in content]


def _is_sam(content: Any) -> bool:
    has_objects = isinstance(content, np.ndarray) and content.dtype.hasobject
    if not has_objects and not isinstance(content, Mapping | list | tuple):
        return False
    try:
        people = [person for _, frame in _people_of_sam(content) for person in frame]
    except TypeError:
        return False
    return bool(people) and all(_has(person, "pred_keypoints_3d", "pred_cam_t", "focal_length") for person in people)


def _read_sam(path: Path, content: Any) -> ForeignFits:
    """Read results of SAM 3D Body's `process_one_image` (`sam_3d_body/sam_3d_body_estimator.py`)."""
    # Its public code writes no file: users store one image's list of people, a list of such lists, or a table from the
    # image's name to its list, by pickle, `numpy.save`, `torch.save` or joblib. A person: `pred_keypoints_3d` (70, 3)
    # metres in camera axes (`models/heads/mhr_head.py` turns them), to which `pred_cam_t` (3,) is added, and
    # `focal_length` in pixels of the full image; its middle is the principal point. MHR's parameters belong to another
    # rig and cannot be converted to SMPL's: a body is fitted to the keypoints instead.
    rows = []
    for frame, (name, people) in enumerate(_people_of_sam(content)):
        for person in people:
            offset = numbers_of(person["pred_cam_t"], 3)
            points = numbers_of(person["pred_keypoints_3d"], 70, 3) + offset
            joints = np.zeros((len(BLAZEPOSE33), 4))
            joints[BLAZEPOSE33.indices(_MHR70)] = np.pad(
                points[list(_MHR70.values())], ((0, 0), (0, 1)), constant_values=1
            )
            rows.append(
                {
                    "frame": frame,
                    "names": name,
                    "trans": offset[None],
                    "joints": joints,
                    "focal": float(numbers_of(person["focal_length"], 1)[0]),
                }
            )
    return _join(path, rows, "SAM 3D Body", "joints", frame_count=len(_people_of_sam(content)))


def _has(content: Any, *names: str) -> bool:
    return isinstance(content, Mapping) and set(names) <= content.keys()


def first_has(content: Any, *names: str) -> bool:
    """Return whether the first entry of a table that is not empty is a table with these names."""
    tables = content.values() if isinstance(content, Mapping) else ()
    return _has(next((table for table in tables if isinstance(table, Mapping) and table), None), *names)


_READERS: tuple[tuple[Callable[[Any], bool], Callable[[Path, Any], ForeignFits]], ...] = (
    (lambda stored: first_has(stored, "smpl", "camera", "tid"), _read_phalp),
    (lambda stored: first_has(stored, "pose", "trans", "betas"), _read_wham),
    (_is_tram, _read_tram),
    (lambda stored: _has(stored, "people", "camera"), _read_prompthmr),
    (lambda stored: _has(stored, "smpl_params_incam"), _read_gvhmr),
    (lambda stored: _has(stored, "pred_thetas", "pred_betas", "bbox"), _read_hybrik),
    (lambda stored: _has(stored, "imgname", "cam_int", "shape"), _read_camerahmr),
    (_is_sam, _read_sam),
)
NPZ_NAMES = {"imgname", "cam_int", "pose_cam", "pose", "shape", "trans_cam", "cam_t"}
NPZ_NAMES |= {"smpl_params_incam", "K_fullimg", "pred_thetas", "pred_betas", "transl", "bbox", "img_path"}
