"""Whatever reads a file, with a small whole file for it, for damaged files."""

from __future__ import annotations

import contextlib
import gzip
import json
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

from helpers import calibration_files as calibrations
from helpers import dataset_files as trees
from helpers import detection_files as people
from helpers import humaneva_tree as humaneva
from helpers.cache_damage import change_structure, use_cache
from helpers.cache_source import SmallSource
from helpers.characters import character, write_character
from helpers.dpx_files import write_dpx
from helpers.garments import worn
from helpers.pose_networks import body_network, changed_network, peak_network
from helpers.prior_files import write_mixture
from humanpose_cli.avatar.look import look_arrays, read_look
from humanpose_cli.batch.items import Item
from humanpose_cli.body.body import default_body
from humanpose_cli.body.mixture_prior import read_mixture_prior
from humanpose_cli.body.pose_library import DATA_FILE, pose_library
from humanpose_cli.body.smpl import load_smpl
from humanpose_cli.cli.settings import read_config
from humanpose_cli.core.conventions import COCO17
from humanpose_cli.core.errors import HpcError
from humanpose_cli.core.result import ItemResult, Status
from humanpose_cli.detect.detector import person_from_keypoints
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.pose_model import open_pose_model
from humanpose_cli.detect.regions import Pyramid
from humanpose_cli.exporting import motion as motions
from humanpose_cli.exporting.bvh import bvh_text
from humanpose_cli.exporting.exporter import export_fit
from humanpose_cli.exporting.motion import person_motion
from humanpose_cli.exporting.rigs import read_rig
from humanpose_cli.files.restricted_pickle import read_pickle
from humanpose_cli.files.text_files import read_list
from humanpose_cli.fitting.detection_journal import DetectionJournal
from humanpose_cli.fitting.result import load_fit
from humanpose_cli.io.calibrations import read_calibration as read_cameras_of_views
from humanpose_cli.io.calibrations import write_calibration
from humanpose_cli.io.densepose_annotations import read_annotated_images
from humanpose_cli.io.densepose_files import DensePoseDump
from humanpose_cli.io.detections import read_boxes, read_keypoints
from humanpose_cli.io.foreign_fits import read_foreign_fits
from humanpose_cli.io.images import read_image, write_image
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.pose_files import read_pose
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.datasets.densepose import person_of
from humanpose_cli.lab.datasets.h36m import read_cameras
from humanpose_cli.lab.datasets.humaneva import read_cal_file
from humanpose_cli.lab.datasets.reading import read_csv
from humanpose_cli.lab.datasets.rich import read_rich_camera
from humanpose_cli.lab.evaluate.predictions import read_predictions
from humanpose_cli.lab.train.checkpoint import SCHEMA, read_checkpoint
from humanpose_cli.lab.train.comparison import compare_runs, read_run
from humanpose_cli.models.deform_and_learn.correspondences import read_densepose_charts
from humanpose_cli.networks.weights import WeightsHeader, read_tensors, read_weights, write_weights
from humanpose_cli.outputs.atomic import write_npz
from humanpose_cli.outputs.desk import Fingerprint, OpenLedger
from humanpose_cli.outputs.ledger import Ledger

DATA = Path(__file__).parents[1]
RIG = Path(motions.__file__).parent / "data" / "rigs" / "soma.toml"
GOLDEN = next((DATA / "io" / "data").glob("*.fit.npz"))


def image(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def animation(path: Path) -> None:
    first, *others = [Image.new("RGB", (32, 24), (60 * value, 80, 200)) for value in range(4)]
    kind = "PNG" if path.suffix == ".apng" else None
    first.save(path, format=kind, save_all=True, append_images=others, duration=40)


def video(path: Path) -> None:
    with VideoWriter(path, 25) as writer:
        for value in range(6):
            writer.write(np.full((32, 48, 3), 40 * value, np.uint8))


def cache(path: Path) -> None:
    """Two shards and an index, one of which the file is."""
    build_cache(SmallSource(group_count=2), path.parent, shard_size=3, overwrite=True, resume=False)


def mmpose(path: Path) -> None:
    person = {"keypoints": [[10.5, 20.0]] * 17, "keypoint_scores": [0.5] * 17, "bbox": [[1.0, 2.0, 30.0, 40.0]]}
    names = dict(enumerate(COCO17.joint_names))
    frames = [{"frame_id": 1, "instances": [person]}, {"frame_id": 2, "instances": []}]
    path.write_text(json.dumps({"meta_info": {"keypoint_id2name": names}, "instance_info": frames}))


def document(content: object) -> Callable[[Path], object]:
    """Return what writes a document as JSON, or text as it is."""
    return lambda path: path.write_text(content if isinstance(content, str) else json.dumps(content))


def weights(path: Path) -> None:
    write_weights(path, {"a": torch.randn(30, 4), "b": torch.arange(5)}, WeightsHeader("nbf", {"width": 3}))


def amass(path: Path) -> None:
    np.savez_compressed(path, poses=np.zeros((5, 156)), trans=np.zeros((5, 3)), mocap_framerate=30.0)


def romp(path: Path) -> None:
    rows = {"smpl_thetas": np.zeros((2, 72)), "smpl_betas": np.zeros((2, 10)), "cam_trans": np.ones((2, 3))}
    np.savez(path, results=rows)  # type: ignore[arg-type]


def easymocap(path: Path) -> None:
    rows = {"Rh": [[0.0] * 3], "Th": [[0.0] * 3], "poses": [[0.0] * 72], "shapes": [[0.0] * 10]}
    path.write_text(json.dumps([{"id": 0, **rows}]))


def pickled(content: object) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(pickle.dumps(content))


VIBE = {1: {"pose": np.zeros((2, 72)), "betas": np.zeros((2, 10)), "frame_ids": [0, 2]}}
AIST = {"smpl_poses": np.zeros((5, 72)), "smpl_scaling": np.array([92.0]), "smpl_trans": np.ones((5, 3))}
BODY = default_body()


def mdm(path: Path) -> None:
    joints = BODY.joint_template.numpy()[None, :22, :, None] * [1, 1]
    np.save(path, {"motion": joints, "lengths": np.array([2])})  # type: ignore[arg-type]


def look(path: Path) -> None:
    offsets = np.zeros(BODY.template.shape)
    write_npz(path, look_arrays(replace(worn(BODY, np.zeros(10)), offsets=offsets), BODY.name, "rows"))


def motion(path: Path) -> None:
    fit = load_fit(GOLDEN)
    path.write_text(bvh_text(person_motion(fit, fit.tracks[0], BODY), 30))


def fbx(path: Path) -> None:
    export_fit(load_fit(GOLDEN), path.with_suffix(""), "fbx", rig="mixamo", textures="none", body=BODY)


def ledger(path: Path) -> None:
    with OpenLedger(path.parent, "fit", {"a": 1}) as file:
        file.record(Item("a.jpg", (), outputs=(path,)), Fingerprint(1, 2), ItemResult("a.jpg", Status.SUCCESS))


def journal(path: Path) -> DetectionJournal:
    """One that is kept in that file, whatever name it would have itself."""
    made = DetectionJournal(path, {"a": 1})
    made.path = path
    return made


def one_detection(path: Path) -> None:
    landmarks = np.zeros((33, 3))
    person = DetectedPerson(np.zeros(4), landmarks, landmarks, np.zeros(33), np.zeros(33), None, 0.5)
    journal(path).add([[person], []], {"a": 1})


def checkpoint(path: Path) -> None:
    progress = {"step": 3, "position": {"epoch": 1, "batch": 2}}
    torch.save({"schema": SCHEMA, "progress": progress, "state": {"a": torch.zeros(3)}, "settings": {"b": 2}}, path)


HISTORY = """{"step": 0, "epoch": 0, "kind": "validation", "iou": 0.1}
{"step": 2, "epoch": 0, "kind": "train", "loss": 3.5, "learning_rate": 0.001}
{"step": 4, "epoch": 0, "kind": "validation", "iou": 0.5}
"""


def predictions(path: Path) -> None:
    columns = {"image": np.array(["a", "b"]), "skeleton": "smpl24", "joints": np.zeros((2, 24, 3))}
    if path.suffix == ".npz":
        np.savez_compressed(path, **columns)
        return
    row = {"image": "a", "joints": np.zeros((24, 3)).tolist()}
    path.write_text(json.dumps({"skeleton": "smpl24", "predictions": [row, row]}))


def charts(path: Path) -> None:
    numbers = {"All_vertices": np.arange(1, 7), "All_Faces": np.array([[1, 2, 3], [4, 5, 6]])}
    uv = {f"All_{axis}_norm": np.linspace(0, 1, 6) for axis in "UV"}
    savemat(path, {**numbers, **uv, "All_FaceIndices": np.array([1, 24])}, do_compression=True)


def surfaces(path: Path) -> None:
    image = {"id": 1, "file_name": "a.jpg", "width": 400, "height": 300}
    trees.write_annotations(path, [image], [trees.surface_annotation(1, 1, (1, 2, 30, 40))])


def masks(path: Path) -> None:
    for annotated in read_annotated_images(path):
        for person in annotated.people:
            person_of(person, (400, 300))


def dump(path: Path) -> None:
    entry = {"file_name": "a.jpg", "scores": torch.zeros(1), "pred_boxes_XYXY": torch.zeros(1, 4)}
    trees.write_dump(path, [{**entry, "results": [(torch.ones(2, 2, dtype=torch.int64), torch.zeros(2, 2, 2))]}])


def camera(path: Path) -> None:
    trees.write_rich_camera(path, np.eye(3), np.zeros(3), np.eye(3), np.zeros(5))


def cameras_json(path: Path) -> None:
    """What a file of Pose2Sim becomes."""
    calibrations.write_pose2sim(path)
    write_calibration(path, read_cameras_of_views(path).cameras.values())


def every_frame(path: Path) -> None:
    for item in open_inputs([path]):
        list(item.frames())


def joints_of_two(path: Path) -> None:
    points = np.random.default_rng(0).uniform(50, 200, (2, len(COCO17), 2))
    people = [person_from_keypoints(np.column_stack((rows, np.ones(len(COCO17)))), COCO17, 320, 240) for rows in points]
    open_pose_model(path, "cpu").pose(Pyramid(np.zeros((240, 320, 3), np.uint8)), people, 0.4)


def copied(source: Path) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(source.read_bytes())


# File name → who writes a whole one, who reads it.
READERS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    **{f"x.{kind}": (image, read_image) for kind in ("jpg", "png", "gif", "webp", "tif", "avif", "jp2")},
    "x.exr": (lambda path: write_image(path, np.zeros((24, 32, 3), np.uint8)), read_image),
    "x.dpx": (lambda path: write_dpx(path, np.zeros((24, 32, 3), np.uint16)), read_image),
    **{f"clip.{kind}": (animation, every_frame) for kind in ("gif", "apng", "avif")},
    "x.mp4": (video, every_frame),
    "x.npy": (lambda path: np.save(path, BODY.joint_template.numpy()[None]), read_pose),
    "amass.npz": (amass, read_pose),
    "aist.pkl": (pickled(AIST), read_pose),
    "library.npz": (copied(DATA_FILE), pose_library.__wrapped__),
    "objects.npy": (mdm, read_pose),
    "vibe.pkl": (pickled(VIBE), read_pose),
    "romp.npz": (romp, read_pose),
    "000000.json": (easymocap, read_pose),
    "x.bvh": (motion, read_pose),
    "x.fit.npz": (copied(GOLDEN), load_fit),
    "foreign.npz": (copied(GOLDEN), read_foreign_fits),
    "phalp.pkl": (copied(DATA / "fitting" / "data" / "phalp_joblib.pkl"), read_foreign_fits),
    "wham.pkl": (copied(DATA / "fitting" / "data" / "wham_joblib.pkl"), read_foreign_fits),
    "people.json": (document(people.alphapose(COCO17.joint_names)), read_keypoints),
    "results_a.json": (mmpose, read_keypoints),
    "openpose.json": (document([people.openpose(people.PEOPLE18), people.scaled()]), read_keypoints),
    "a_result.json": (document(people.vitpose(people.VITPOSE25)), read_keypoints),
    "yolo.json": (document([people.ultralytics(), []]), read_keypoints),
    "mediapipe.json": (document([{"pose_landmarks": [people.dicts((360, 640))]}, None]), read_keypoints),
    "labels.txt": (document(people.labels(COCO17.joint_names, "0.8 3")), read_keypoints),
    "boxes.csv": (document("name,x0,y0,x1,y1\na.jpg,1,2,30,40\nb.jpg,1,2,30,41\n"), read_boxes),
    "det.txt": (document("1,-1,10,20,30,40,0.9,-1,-1,-1\n2,3,10,20,30,40,1,-1,-1,-1\n"), read_boxes),
    "predictions.json": (predictions, read_predictions),
    "predictions.npz": (predictions, read_predictions),
    "x.person0.look.npz": (look, lambda path: read_look(path, BODY, "rows")),
    "x.safetensors": (weights, read_weights),
    "x.safetensors.planes.gz": (weights, read_weights),
    "x.pth": (lambda path: torch.save({"state_dict": {"a": torch.randn(3)}}, path), read_tensors),
    "checkpoint.pt": (checkpoint, lambda path: read_checkpoint(path, {"b": 2})),
    "metrics.jsonl": (document(HISTORY), lambda path: compare_runs({"a": read_run(path.parent)})),
    "gmm.pkl": (write_mixture, read_mixture_prior),
    "gmm.npz": (write_mixture, read_mixture_prior),
    "x.pkl": (pickled({"a": np.arange(9.0), "b": [1, "x"]}), read_pickle),
    "smpl.pkl": (pickled({"v_template": np.zeros((6890, 3))}), load_smpl),
    "shard-00000.h5": (cache, use_cache),
    "index.h5": (cache, use_cache),
    "x.toml": (document("a = 1\n[fit]\npeople = 'all'\n"), lambda path: read_config(path, "fit", ["fit"])),
    "list.txt": (document("a.jpg\nb c.jpg\n"), read_list),
    "ledger.0-of-1.jsonl": (ledger, lambda path: Ledger(path.parent)),
    "x.people": (one_detection, lambda path: journal(path).read()),
    "UV_Processed.mat": (charts, lambda path: read_densepose_charts(path, BODY)),
    "densepose.json": (surfaces, masks),
    "densepose.pkl": (dump, lambda path: DensePoseDump(path).people(0)),
    "x.cal": (
        lambda path: humaneva.write_numbers(path, [1000.0] * 10 + np.eye(3).ravel().tolist() + [0.0] * 3),
        read_cal_file,
    ),
    "metadata.xml": (trees.write_metadata, read_cameras),
    "camera.xml": (camera, read_rich_camera),
    "Calib.toml": (calibrations.write_pose2sim, read_cameras_of_views),
    "camera_array.toml": (calibrations.write_caliscope, read_cameras_of_views),
    "panoptic.json": (calibrations.write_panoptic, read_cameras_of_views),
    "setting1.json": (calibrations.write_aniposelib_json, read_cameras_of_views),
    "Calib.qca.txt": (calibrations.write_qualisys, read_cameras_of_views),
    "cameras.json": (cameras_json, read_cameras_of_views),
    "multiview.xml": (calibrations.write_multiview, read_cameras_of_views),
    "multiview.yml": (calibrations.write_multiview, read_cameras_of_views),
    "intri.yml": (lambda path: calibrations.write_easymocap(path.parent), read_cameras_of_views),
    "extri.yml": (lambda path: calibrations.write_easymocap(path.parent), read_cameras_of_views),
    "pose.onnx": (peak_network, joints_of_two),
    "pose.onnx.gz": (
        lambda path: path.write_bytes(gzip.compress(peak_network(path.with_suffix(""))[0].read_bytes())),
        joints_of_two,
    ),
    "body.onnx": (
        lambda path: body_network(path, np.zeros((70, 2), np.float32), np.zeros((70, 3), np.float32)),
        joints_of_two,
    ),
    "x.glb": (lambda path: write_character(path, character("mixamo")), lambda path: read_rig(str(path), path.parent)),
    "x.fbx": (fbx, lambda path: read_rig(str(path), path.parent)),
    "rig.toml": (copied(RIG), lambda path: read_rig(str(path), path.parent)),
    "x.csv": (document("a,b\n1,2\n3,4\n"), lambda path: read_csv(path, ("a", "b"))),
}


_READERS_THAT_NAME = (
    *(read_image, every_frame, read_pose, load_fit, read_foreign_fits, read_keypoints, read_boxes),
    read_cameras_of_views,
)
NAMING = [
    name for name, (_, read) in READERS.items() if read in _READERS_THAT_NAME and name not in ("aist.pkl", "vibe.pkl")
]
"""Files whose readers say what a file of another kind is; unpicklers say what they met."""


# File name → what changes the structure of a whole file: random bytes seldom leave one that is read on. The libraries
# behind these end the interpreter where they fail, so that a process of its own must try them.
STRUCTURES: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "shard-00000.h5": change_structure,
    "index.h5": change_structure,
}


def try_reader(name: str, path: Path) -> None:
    """Read a file that may be damaged; a sentence about it is as good as a result."""
    with contextlib.suppress(HpcError):
        READERS[name][1](path)


NATIVE = (
    *("pose.onnx", "pose.onnx.gz", "body.onnx", "multiview.xml", "multiview.yml", "intri.yml", "extri.yml"),
    *STRUCTURES,
)
"""Of which other programs' parsers read what ours let through: they may end the interpreter."""
_PIECES = (*b"[{-<]}>:#&", b"\n- ", b"\n    a: ", b"\n...\n", b"<a>", b"</a>", b"<!--", b"-->", b"1e999", b"!!seq [")


def damaged(name: str, content: bytes, number: int, generator: np.random.Generator) -> bytes:
    """A file's bytes with the change of that number: bytes at random, a cut, or pieces that its parser knows."""
    if name in NATIVE and name not in STRUCTURES and number % 3 == 0:
        if ".onnx" in name:
            changed = changed_network(gzip.decompress(content) if name.endswith(".gz") else content, generator)
            return gzip.compress(changed) if name.endswith(".gz") else changed
        piece = _PIECES[generator.integers(len(_PIECES))]
        times = int(generator.choice([1, 3, 100, 200_000]))
        at = generator.integers(len(content))
        return content[:at] + (bytes([piece]) if isinstance(piece, int) else piece) * times + content[at:]
    changed = np.frombuffer(content, np.uint8).copy()
    reach = len(content) if number % 2 else min(len(content), 300)  # headers are what readers believe
    changed[generator.integers(0, reach, 1 + number % 6)] = generator.integers(0, 256, 1 + number % 6)
    cut = len(changed) if number % 4 else generator.integers(0, len(changed))
    return changed[:cut].tobytes()


def read_damaged(name: str, folder: Path, corruptions: int, longest: float) -> None:
    """Read that many damaged files of a kind. AssertionError for one that takes more than `longest` seconds."""
    path = folder / name
    READERS[name][0](path)
    if name != "smpl.pkl":  # a whole one has 35 MB
        READERS[name][1](path)
    content = path.read_bytes()
    generator = np.random.default_rng(7)
    path.write_bytes(b"")  # of which some libraries say nothing at all
    try_reader(name, path)
    for number in range(corruptions):
        path.write_bytes(damaged(name, content, number, generator))
        _read_in_time(name, path, number, longest)
    for number in range(corruptions if name in STRUCTURES else 0):
        path.write_bytes(content)
        STRUCTURES[name](path, np.random.default_rng(number))
        _read_in_time(name, path, number, longest)


def _read_in_time(name: str, path: Path, number: int, longest: float) -> None:
    started = time.monotonic()
    try_reader(name, path)
    assert time.monotonic() - started < longest, f"change {number} of {name}"
