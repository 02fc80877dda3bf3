"""The published results of other programs that fit SMPL-like bodies, as arrays: what each file holds, as documented.

| program | file | body | camera |
| --- | --- | --- | --- |
| 4D-Humans, PHALP | `results/NAME.pkl` (joblib) | SMPL | 5000 px for an image of 256 |
| WHAM | `wham_output.pkl` (joblib) | SMPL | the image's diagonal |
| TRAM | `hps/hps_track_N.npy` beside `camera.npy`, or their folder | SMPL | in `camera.npy` |
| CameraHMR | `.npz` labels, CamSMPLify's `output.npz` | SMPL | a matrix a row |
| GVHMR | `hmr4d_results.pt` | SMPL-X | a matrix a frame |
| SAM 3D Body | what `process_one_image` returns, pickled | MHR, by its keypoints | a focal length a row |
| AMASS | `.npz`, with a camera file | SMPL+H, SMPL-X | ours: `focal`, `world_to_camera` … |

All of them use camera axes as ours (x right, y down, z forward) and add the translation after posing, as smplx does.
Weak-perspective cameras (s, tx, ty) of crops never need to be read: every file also has the translation for the full
image, tz = 2 f / (s · box). Facts are from the programs' public code; each reader names the file. torch is
imported only for files that need it, so that errors of a command come at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import InputError, UsageError, shell_word
from humanpose_cli.io.npz_files import check_archive, npz_names, read_npz
from humanpose_cli.io.restricted_pickle import as_array, read_pickle
from humanpose_cli.io.sniffing import describe_file, reader_of
from humanpose_cli.io.torch_pickles import check_torch_pickles
from humanpose_cli.io.value_limits import check_image_sizes, check_limits

Foreign = Literal["smpl", "smplx", "joints"]
Array = np.ndarray
_J = len(SMPL24)


@dataclass(frozen=True, eq=False)
class ForeignFits:
    """N rows, a person in a frame each, as another program stored them; sorted in no way.

    program          such as "WHAM"
    model            whose parameters they are: "smpl", "smplx", or "joints" where only joints can be used
    track            (N,) int; −1: the file does not identify people
    frame            (N,) int, number of the frame in its video or list
    names            (N,) str, file name of the frame; "" where the file has none
    poses            (N, 72) axis-angle, parent-relative; the first three map body to camera axes
    betas            (N, 10)
    trans            (N, 3) metres, camera axes, added after posing
    joints           (N, 33, 4) metres in camera axes and confidence, of blazepose33, or None
    focal            (N,) pixels; NaN: the diagonal of the image
    principal_point  (N, 2) pixels; NaN: the middle of the image
    image_size       (N, 2) width, height; NaN if unknown
    confidence       (N,) 0–1
    frame_count      how many frames the program read; None if unknown
    world_to_camera  (frame_count, 4, 4) of a world whose y points down, or None
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

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.track)


def read_foreign_fits(path: Path | str) -> ForeignFits | None:
    """Read the fits in another program's file, recognised by its contents; None for an `.npz` of none of them.

    Pickles are read without running anything in them (`io.restricted_pickle`), torch's files with `weights_only`.
    Raises InputError for damaged files and unknown contents: it names what was found and what is read.
    """
    path = Path(path)
    if path.is_dir():
        return _sound(path, _read_tram, None)
    if describe_file(path) == "a ZIP archive" and not _is_torch(path):
        return _read_camerahmr(path) if {"cam_int", "shape"} <= npz_names(path) else None
    check_fits(path)
    content = read_object(path)
    fits = fits_of_object(path, content)
    if fits is None:
        raise InputError(path, "holds no fits that are known", expected=_EXPECTED, got=outline_of(content))
    return fits


def read_object(path: Path) -> Any:
    """Read what a pickle or a file of `torch.save` holds, without running anything in it; arrays or tensors."""
    return _read_torch(path) if describe_file(path) == "a ZIP archive" else _object(path)


def fits_of_object(path: Path, content: Any) -> ForeignFits | None:
    """Build the fits of a program from what its file holds; None if it is of none that is known."""
    for matches, read in _READERS:
        if matches(content):
            return _sound(path, read, content)
    return None


def check_fits(path: Path) -> None:
    """Raise InputError for a file whose beginning shows that it holds no fits, and for a folder without any."""
    if os.path.isdir(path):
        names = (name for _, folders, files in os.walk(path) for name in (*folders, *files))
        if not any(name == "hps" or name.endswith((".fit.npz", "_track_0.npy")) for name in names):
            remedy = f"hpc fit {shell_word(path)} makes those of images and videos"
            raise InputError(
                path, "holds no fits", expected=_EXPECTED.replace("a fit file", "fit files in it"), remedy=remedy
            )
        return
    kind = describe_file(path)
    if kind in _NO_FITS:
        raise InputError(path, "holds no fits", expected=_EXPECTED, got=kind, remedy=reader_of(path))


def check_model(path: Path, fits: ForeignFits, body: str, smplx: Any) -> None:
    """Raise UsageError if a file's parameters need another model file than those given.

    body   the name of the body that the fits shall be of; smplx  SMPL-X's model file, or None
    """
    if fits.model != "joints" and not body.startswith("smpl"):
        raise UsageError(
            path,
            f"holds SMPL{'-X' if fits.model == 'smplx' else ''} parameters of {fits.program}",
            expected="SMPL's model file",
            got=f"the body {body}",
            remedy="register at https://smpl.is.tue.mpg.de and give --body smpl:FILE",
        )
    if fits.model == "smplx" and smplx is None:
        raise UsageError(
            path,
            f"holds SMPL-X shapes and translations of {fits.program}",
            expected="SMPL-X's model file beside SMPL's",
            remedy="give --smplx SMPLX_NEUTRAL.npz, which the program itself was run with",
        )
    if fits.model != "smplx" and smplx is not None:
        raise UsageError("smplx", f"is of no use: {fits.program} has no SMPL-X parameters", remedy="leave it out")


def _object(path: Path) -> Any:
    """Return what a pickle holds; of `numpy.save`, the object in its array."""
    content = read_pickle(path)
    return content.item() if isinstance(content, np.ndarray) and content.shape == () else content


_NO_FITS = (
    *("an image", "a video", "a HEIC image", "an OpenEXR image", "a Photoshop file", "an SVG drawing"),
    *("text", "an empty file", "a web page", "a PDF document", "an HDF5 file", "a glTF file"),
)
_EXPECTED = "a fit file, or results of 4D-Humans (PHALP), WHAM, TRAM, CameraHMR, GVHMR, SAM 3D Body or AMASS"


def _is_torch(path: Path) -> bool:
    return any(name.endswith("data.pkl") for name in npz_names(path))


def _read_torch(path: Path) -> Any:
    import torch

    check_archive(path)
    try:
        check_torch_pickles(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged archives raise whatever they lead to
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            path, "is refused: it cannot be read as plain tensors", got=reason, remedy="make it again"
        ) from error


def _sound(path: Path, read: Callable[[Path, Any], ForeignFits], content: Any) -> ForeignFits:
    """Apply a reader to a file. Raises InputError if the file is not as its program writes it."""
    try:
        return _checked(path, read(path, content))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            path, "has not the documented layout", got=reason, remedy="make it again, or report its program"
        ) from error


def outline_of(content: Any) -> str:
    """Describe what a file holds, for errors."""
    if isinstance(content, Mapping):
        return "a table of " + (", ".join(str(key)[:40] for key in list(content)[:6]) or "nothing")
    return f"{type(content).__name__}" + (f" of {len(content)}" if isinstance(content, Sequence) else "")


def _checked(path: Path, fits: ForeignFits) -> ForeignFits:
    count = len(fits)
    shapes = {"track": (), "frame": (), "names": (), "focal": (), "confidence": (), "poses": (72,), "betas": (10,)}
    shapes |= {"trans": (3,), "principal_point": (2,), "image_size": (2,)}
    for name, shape in shapes.items():
        got = getattr(fits, name).shape
        if got != (count, *shape):
            raise InputError(path, f"{name} has the wrong shape", expected=str((count, *shape)), got=str(got))
    for name in ("poses", "betas", "trans", "confidence", "frame"):
        check_limits(name, getattr(fits, name), path)
    check_image_sizes(fits.image_size, path, unknown=True)
    for name in ("focal", "principal_point"):
        check_limits(name, getattr(fits, name), path, unknown=True)
    for name in ("joints", "world_to_camera"):
        if (values := getattr(fits, name)) is not None:
            check_limits(name, values, path)
    if fits.model != "joints" and (fits.trans[:, 2] <= 0).any():
        raise InputError(path, "has people behind the camera", expected="translations in camera axes, z > 0")
    return fits


def _rows(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    program: str,
    model: Foreign,
    *,
    frame_count: int | None = None,
    world_to_camera: Array | None = None,
) -> ForeignFits:
    """Build the record of rows; what a row lacks is what `ForeignFits` says of unknown."""
    unknown: dict[str, Any] = {
        "track": -1,
        "names": "",
        "poses": np.zeros(72),
        "betas": np.zeros(10),
        "focal": np.nan,
        "principal_point": (np.nan, np.nan),
        "image_size": (np.nan, np.nan),
        "confidence": 1.0,
    }
    if not rows:
        raise InputError(path, "holds no person", expected="at least one person")
    full = [{**unknown, **row} for row in rows]
    columns: dict[str, Any] = {name: np.stack([np.asarray(row[name]) for row in full]) for name in full[0]}
    for name in ("poses", "betas", "trans", "focal", "principal_point", "image_size", "confidence"):
        columns[name] = columns[name].astype(np.float64)
    return ForeignFits(program, model, **columns, frame_count=frame_count, world_to_camera=world_to_camera)


def numbers_of(value: Any, *shape: int) -> Array:
    """Convert to float64 of this shape; −1 for any length. Raises ValueError for anything else."""
    array = value.detach().cpu().numpy() if hasattr(value, "detach") else value  # a tensor of torch's
    return as_array(array).astype(np.float64).reshape(shape)


def _axis_angles(rotations: Any) -> Array:
    """Convert (…, 3, 3) matrices to (N, 72) axis-angles; SMPL's two hand joints are straight if there are 22."""
    import torch

    from humanpose_cli.geometry.rotations import matrix_to_axis_angle

    matrices = torch.from_numpy(rotations)
    poses = matrix_to_axis_angle(matrices).flatten(1).numpy()
    return np.pad(poses, ((0, 0), (0, 3 * _J - poses.shape[1])))


def _intrinsics(matrix: Array) -> dict[str, Any]:
    """Read focal length and principal point of (3, 3), for one row."""
    return {"focal": matrix[0, 0], "principal_point": matrix[:2, 2]}


_PHALP_FOCAL, _PHALP_SIZE = 5000.0, 256.0


def _read_phalp(path: Path, content: Mapping[Any, Any]) -> ForeignFits:
    """Read PHALP's table of frames (`phalp/trackers/PHALP.py`, `track` and `get_human_features`; HMR2 runs in it).

    A frame: `time`, and lists with an entry a track: `tid`, `tracked_time` (frames since the last detection,
    whose last state is repeated: such rows are left out), `conf`, `size` [height, width] (the
    README has it the other way round), `img_name`, `smpl` with
    `global_orient` (1, 3, 3), `body_pose` (23, 3, 3), `betas` (10,), and `camera` (3,): the translation before a camera
    of 5000 pixels for the image padded to a square and scaled to 256 (`phalp/models/hmar/hmar.py`,
    `get_3d_parameters`). In the full image that is 5000 · max(width, height) / 256, centred.
    """
    rows = []
    for key, frame in content.items():
        for row, track in enumerate(frame["tid"]):
            if int(frame["tracked_time"][row]) > 0:
                continue
            smpl = frame["smpl"][row]
            parts = (numbers_of(smpl["global_orient"], 1, 3, 3), numbers_of(smpl["body_pose"], _J - 1, 3, 3))
            height, width = (float(side) for side in frame["size"][row])
            rows.append(
                {
                    "track": int(track),
                    "frame": int(frame["time"]),
                    "names": Path(key).name if isinstance(key, str) else "",
                    "poses": _axis_angles(np.concatenate(parts)[None])[0],
                    "betas": numbers_of(smpl["betas"], 10),
                    "trans": numbers_of(frame["camera"][row], 3),
                    "focal": _PHALP_FOCAL * max(width, height) / _PHALP_SIZE,
                    "image_size": (width, height),
                    "confidence": float(np.clip(numbers_of(frame["conf"][row]), 0, 1)) if "conf" in frame else 1.0,
                }
            )
    return _rows(path, rows, "PHALP", "smpl", frame_count=len(content))


def _read_wham(path: Path, content: Mapping[Any, Any]) -> ForeignFits:
    """Read WHAM's table of subjects (`demo.py`, with `--save_pkl`).

    A subject: `pose` (T, 72) axis-angle and `trans` (T, 3) in the camera, `betas` (T, 10), `frame_ids` (T,), beside
    `pose_world` and `trans_world`, whose world has no camera in the file. The camera is centred with the image's
    diagonal as focal length (`lib/utils/imutils.py`, `compute_cam_intrinsics`), unless WHAM was given a calibration.
    """
    rows = []
    for track, subject in enumerate(content.values()):
        frames = numbers_of(subject["frame_ids"], -1).astype(int)
        poses, trans = numbers_of(subject["pose"], len(frames), 72), numbers_of(subject["trans"], len(frames), 3)
        betas = numbers_of(subject["betas"], len(frames), 10)
        rows += [
            {"track": track, "frame": frame, "poses": pose, "betas": beta, "trans": at}
            for frame, pose, beta, at in zip(frames, poses, betas, trans, strict=True)
        ]
    return _rows(path, rows, "WHAM", "smpl")


def _read_tram(path: Path, content: Any = None) -> ForeignFits:
    """Read TRAM's tracks (`scripts/estimate_humans.py`): one `hps/hps_track_N.npy`, or the folder that holds `hps`.

    A track: `pred_rotmat` (T, 24, 3, 3), `pred_shape` (T, 10), `pred_trans` (T, 1, 3) in the camera, `frame` (T,).
    `camera.npy` beside `hps` (`scripts/estimate_camera.py`) has `img_focal`, `img_center`, and the camera's motion
    `world_cam_R` (F, 3, 3), `world_cam_T` (F, 3), which map camera to world (`lib/pipeline/visualization.py`). Up is
    the world's y there (`align_cam_to_world`); ours points down.
    """
    folder = path if path.is_dir() else path.parent.parent
    files = [path] if path.is_file() else sorted((folder / "hps").glob("hps_track_*.npy"))
    camera_file = folder / "camera.npy"
    if not files:
        raise InputError(path, "holds no tracks of TRAM", expected="hps/hps_track_0.npy …", got="none")
    if not camera_file.is_file():
        raise InputError(
            path, "has no camera", expected=f"{camera_file}, as TRAM writes it", remedy="keep TRAM's folder together"
        )
    camera = _object(camera_file)
    focal, centre = float(numbers_of(camera["img_focal"])), numbers_of(camera["img_center"], 2)
    rows = []
    for number, file in enumerate(files):
        track = content if content is not None else _object(file)
        frames = numbers_of(track["frame"], -1).astype(int)
        poses = _axis_angles(numbers_of(track["pred_rotmat"], len(frames), _J, 3, 3))
        betas, trans = numbers_of(track["pred_shape"], len(frames), 10), numbers_of(track["pred_trans"], len(frames), 3)
        rows += [
            {"track": number, "frame": f, "poses": p, "betas": b, "trans": t, "focal": focal, "principal_point": centre}
            for f, p, b, t in zip(frames, poses, betas, trans, strict=True)
        ]
    turns, offsets = numbers_of(camera["world_cam_R"], -1, 3, 3), numbers_of(camera["world_cam_T"], -1, 3)
    down = np.array([1.0, -1.0, -1.0])
    world = np.linalg.inv(_rigid(turns * down[:, None], offsets * down))
    return _rows(path, rows, "TRAM", "smpl", frame_count=len(world), world_to_camera=world)


def _rigid(rotations: Array, offsets: Array) -> Array:
    """Compose (F, 3, 3) and (F, 3) to (F, 4, 4)."""
    matrices = np.tile(np.eye(4), (len(rotations), 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = rotations, offsets
    return matrices


def _read_camerahmr(path: Path) -> ForeignFits:
    """Read CameraHMR's labels (`dataset_vis.py`: `pose_cam`, `trans_cam`) and CamSMPLify's results
    (`CamSMPLify/optimize.py`: `pose`, `cam_t`); a row a person: `imgname`, pose (N, 72) axis-angle, `shape` (N, 10),
    `cam_int` (N, 3, 3).

    CameraHMR's demo itself writes meshes (`.obj`) without a camera, which cannot be read back as parameters.
    """
    names = ("imgname", "pose_cam", "pose", "shape", "trans_cam", "cam_t", "cam_int")
    content = read_npz(path, set(names))
    try:
        images = [Path(str(name)).name for name in content["imgname"].tolist()]
        count = len(images)
        poses = numbers_of(content["pose_cam" if "pose_cam" in content else "pose"], count, 72)
        trans = numbers_of(content["trans_cam" if "trans_cam" in content else "cam_t"], count, 3)
        betas, cameras = numbers_of(content["shape"], count, 10), numbers_of(content["cam_int"], count, 3, 3)
    except (KeyError, ValueError) as error:
        raise InputError(path, "has not the layout of CameraHMR", expected=", ".join(names), got=str(error)) from error
    numbers = {name: number for number, name in enumerate(dict.fromkeys(images))}
    rows = [
        {"frame": numbers[image], "names": image, "poses": p, "betas": b, "trans": t, **_intrinsics(k)}
        for image, p, b, t, k in zip(images, poses, betas, trans, cameras, strict=True)
    ]
    return _checked(path, _rows(path, rows, "CameraHMR", "smpl"))


def _read_gvhmr(path: Path, content: Mapping[str, Any]) -> ForeignFits:
    """Read GVHMR's `hmr4d_results.pt` (`tools/demo/demo.py`, `hmr4d/model/gvhmr/gvhmr_pl_demo.py`): one person, every
    frame.

    `smpl_params_incam`: `global_orient` (L, 3), `body_pose` (L, 63), `betas` (L, 10), `transl` (L, 3) of the neutral
    SMPL-X body with 10 shape components (`hmr4d/utils/smplx_utils.py`, "supermotion"); `K_fullimg` (L, 3, 3).
    """
    smplx = content["smpl_params_incam"]
    cameras = numbers_of(content["K_fullimg"], -1, 3, 3)
    count = len(cameras)
    poses = np.zeros((count, 72))
    poses[:, :3], poses[:, 3:66] = (
        numbers_of(smplx["global_orient"], count, 3),
        numbers_of(smplx["body_pose"], count, 63),
    )
    betas, trans = numbers_of(smplx["betas"], count, 10), numbers_of(smplx["transl"], count, 3)
    rows = [
        {"track": 0, "frame": f, "poses": poses[f], "betas": betas[f], "trans": trans[f], **_intrinsics(cameras[f])}
        for f in range(count)
    ]
    return _rows(path, rows, "GVHMR", "smplx", frame_count=count)


# The rows of MHR's 70 keypoints (`sam_3d_body/metadata/mhr70.py`) that blazepose33 has too.
_MHR70_FIRST = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)
_MHR70 = {name: row for row, name in enumerate(_MHR70_FIRST)}
_MHR70 |= {"left_foot_index": 15, "left_heel": 17, "right_foot_index": 18, "right_heel": 20}
_MHR70 |= {"right_index": 28, "right_pinky": 40, "right_wrist": 41}
_MHR70 |= {"left_index": 49, "left_pinky": 61, "left_wrist": 62}


def _people_of_sam(content: Any) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """List (name, people) of each frame: of one image's list, of a list of such lists, or of a table name → list."""
    if isinstance(content, Mapping):
        return [(Path(str(name)).name, list(people)) for name, people in content.items()]
    if isinstance(content, np.ndarray):
        content = content.tolist()
    if content and all(isinstance(person, Mapping) for person in content):
        return [("", list(content))]
    return [("", list(people)) for people in content]


def _is_sam(content: Any) -> bool:
    if not isinstance(content, Mapping | list | tuple | np.ndarray):
        return False
    try:
        people = [person for _, frame in _people_of_sam(content) for person in frame]
    except TypeError:
        return False
    return bool(people) and all(_has(person, "pred_keypoints_3d", "pred_cam_t", "focal_length") for person in people)


def _read_sam(path: Path, content: Any) -> ForeignFits:
    """Read what SAM 3D Body's `process_one_image` returns (`sam_3d_body/sam_3d_body_estimator.py`), which its public
    code writes to no file: a pickle (or `numpy.save`, `torch.save`, joblib) of one image's list of people, of a list of
    such lists, or of a table from the image's name to its list.

    A person: `pred_keypoints_3d` (70, 3) metres in camera axes (`models/heads/mhr_head.py` turns them), to which
    `pred_cam_t` (3,) is added; `focal_length` in pixels of the full image, whose middle is the principal point. MHR's
    own parameters belong to another rig and cannot become SMPL's: a body is fitted to the keypoints instead.
    """
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
                    "trans": offset,
                    "joints": joints,
                    "focal": float(numbers_of(person["focal_length"], 1)[0]),
                }
            )
    return _rows(path, rows, "SAM 3D Body", "joints", frame_count=len(_people_of_sam(content)))


def _has(content: Any, *names: str) -> bool:
    return isinstance(content, Mapping) and set(names) <= content.keys()


def _first_has(content: Any, *names: str) -> bool:
    """Return whether the first entry of a table is a table with these names."""
    return isinstance(content, Mapping) and _has(next(iter(content.values()), None), *names)


_READERS: tuple[tuple[Callable[[Any], bool], Callable[[Path, Any], ForeignFits]], ...] = (
    (lambda stored: _first_has(stored, "smpl", "camera", "tid"), _read_phalp),
    (lambda stored: _first_has(stored, "pose", "trans", "betas"), _read_wham),
    (lambda stored: _has(stored, "pred_rotmat", "pred_shape", "pred_trans", "frame"), _read_tram),
    (lambda stored: _has(stored, "smpl_params_incam", "K_fullimg"), _read_gvhmr),
    (_is_sam, _read_sam),
)
