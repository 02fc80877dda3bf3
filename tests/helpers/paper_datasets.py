"""Small iPER, DeepFashion, UP-3D and 3DPW in their owners' exact layouts, with numbers that the tests know."""

from __future__ import annotations

import copy
import io
import json
import pickle
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.samples import Person, Source
from humanpose_cli.lab.datasets.checking import LabelCounts, check_dataset
from humanpose_cli.lab.datasets.estimators import EstimatedImage
from humanpose_cli.lab.datasets.preprocess import SourceRequest
from humanpose_cli.lab.datasets.registry import open_source


def _body_like_smpl() -> Body:
    """The default body with its pelvis where SMPL's is: not at the origin, and moving with the shape."""
    body = copy.deepcopy(default_body())
    away = torch.tensor([0.01, -0.24, 0.03])
    body.template += away
    body.joint_template += away
    body.landmarks("reposing19").template += away
    body.joint_directions[0] += 0.01
    return body


BODY = _body_like_smpl()


@dataclass
class Chumpy:
    """An array that is written as a chumpy object."""

    x: np.ndarray


def python2_pickle(value: Any) -> bytes:
    """What Python 2's cPickle writes with protocol 2: text and array data as byte strings."""
    return b"\x80\x02" + b"".join(_opcodes(value)) + b"."


def _opcodes(value: Any) -> Iterator[bytes]:
    if isinstance(value, Chumpy):
        yield b"cchumpy.ch\nCh\n)\x81"
        yield from _opcodes({"x": value.x, "_itr": None})
        yield b"b"
    elif isinstance(value, np.ndarray):
        order = "|" if value.dtype.itemsize == 1 else "<"
        yield b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _text("b") + b"\x87R("
        yield b"K\x01" + b"".join(_opcodes(value.shape))
        yield b"cnumpy\ndtype\n(" + _text(value.dtype.str[1:]) + b"K\x00K\x01tR"
        yield b"(K\x03" + _text(order) + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb\x89"
        yield _text(np.ascontiguousarray(value).tobytes()) + b"tb"
    elif isinstance(value, str):
        yield _text(value)
    elif isinstance(value, float):
        yield b"G" + struct.pack(">d", value)
    elif isinstance(value, int):
        yield b"J" + struct.pack("<i", value)
    elif isinstance(value, tuple):
        yield b"(" + b"".join(b"".join(_opcodes(item)) for item in value) + b"t"
    elif isinstance(value, list):
        yield b"](" + b"".join(b"".join(_opcodes(item)) for item in value) + b"e"
    elif isinstance(value, dict):
        yield b"}("
        for key, item in value.items():
            yield _text(key)
            yield from _opcodes(item)
        yield b"u"
    else:
        assert value is None
        yield b"N"


def _text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return b"T" + struct.pack("<i", len(raw)) + raw


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def assert_travels(source: Any, index: int = 0) -> None:
    """Assert that another process reads the same samples, and that the check of the folder counts the same labels."""
    assert isinstance(source, Source)
    group = source.groups()[index]
    there, sent = pickle.loads(pickle.dumps((source, group)))
    assert "_listing" not in vars(there)
    ours = [asdict(sample) for sample in source.read(group)]
    assert len(ours) == group.count
    np.testing.assert_equal([asdict(sample) for sample in there.read(sent)], ours)
    check = check_dataset(SourceRequest(source.name, source.root))
    plain, labels = open_source(source.name, source.root), LabelCounts()
    for group in plain.groups():
        labels.add_group(group, list(plain.read(group)))
    assert (len(check.problems), check.groups, check.labels.digest) == (0, len(plain.groups()), labels.digest)


def image(size: tuple[int, int], grey: int, kind: str = "JPEG") -> bytes:
    """One grey with a gradient, width × height: tests tell images by their grey."""
    pixels = np.full((size[1], size[0], 3), grey, np.uint8)
    pixels[..., 0] += np.linspace(0, 20, size[0]).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@dataclass
class Estimator:
    """Finds one person in every image: their shape is the image's mean grey over 256."""

    calls: list[tuple[int, bool, bool]] = field(default_factory=list)
    info: Mapping[str, Any] = field(default_factory=lambda: {"name": "stand-in"})

    def estimate(
        self, images: Iterable[np.ndarray], *, sequence: bool, single_person: bool
    ) -> Sequence[EstimatedImage]:
        found = []
        for pixels in images:
            betas = np.full(10, pixels[..., 1].mean() / 256)
            person = Person(
                body="default", gender="neutral", poses=np.zeros(72), betas=betas, trans=np.array([0, 0, 3])
            )
            found.append(EstimatedImage([person], 100.0, (5.0, 6.0)))
        self.calls.append((len(found), sequence, single_person))
        return found


# iPER

IPER_FRAMES = {"001/1/1": 4, "001/1/2": 6, "002/3/1": 5, "003/1/1": 7, "003/1/2": 8}
IPER_VAL = ("003/1/1", "003/1/2")


def iper_tree(root: Path, *, smpls: bool = False, authors: bool = False, side: int = 16) -> Path:
    """Write five videos as frames of `side` × `side` pixels; frame i of 003/1/2 has the grey level 80 + i.

    With `authors`, also poses.pkl of the reposing paper's authors: a person who moves right by a pixel per frame.
    """
    for number, (video, count) in enumerate(IPER_FRAMES.items()):
        for frame in range(count):
            content = image((side, side), 20 * number + frame, "PNG")
            write(root / "images" / video / f"frame{frame:08d}.png", content)
        if smpls:
            stored = {"cams": iper_cameras(count), "pose": np.ones((count, 72)), "shape": np.zeros((count, 10))}
            write(root / "smpls" / video / "pose_shape.pkl", python2_pickle(stored))
    if authors:
        poses: dict[str, Any] = {}
        for video, count in IPER_FRAMES.items():
            person, clothes, motion = video.split("/")
            frames = {f"{frame:04d}": iper_authors_joints(frame) for frame in range(count)}
            poses.setdefault(person, {}).setdefault(clothes, {})[motion] = frames
        write(root / "poses.pkl", pickle.dumps(poses))
    write(root / "train.txt", "".join(f"{video}\n" for video in IPER_FRAMES if video not in IPER_VAL))
    write(root / "val.txt", "".join(f"{video}\n" for video in IPER_VAL))
    return root


def iper_authors_joints(frame: int) -> np.ndarray:
    """(19, 3) pixels of an image of 256 × 256 and depths from the pelvis: the default body at rest."""
    rest = BODY.pose(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10), vertices=False)
    joints = BODY.pose_landmarks("reposing19", rest, torch.zeros(1, 10))[0].double().numpy()
    joints = (joints - joints[18]) * (100.0, -100.0, -100.0)  # to the camera's axes
    return joints + np.array([120.0 + frame, 130.0, 0.0])


def iper_cameras(count: int) -> np.ndarray:
    """(N, 3) weak perspective scale, x, y."""
    return np.stack([np.array([0.8 + 0.01 * i, 0.1 * i, -0.05]) for i in range(count)])


# DeepFashion

GARMENTS = {
    "WOMEN/Tees_Tanks/id_00007838/05": ("1_front", "2_side", "7_additional"),
    "WOMEN/Tees_Tanks/id_00007838/06": ("1_front", "3_back"),
    "MEN/Pants/id_00001611/01": ("1_front", "4_full"),
}
MANGLED = "fashionWOMENTees_Tanksid0000783805_"


def deepfashion_tree(root: Path, *, highres: bool = False) -> Path:
    """Seven images of three garments, PATN's lists for two of them."""
    names = [f"{garment}_{view}.jpg" for garment, views in GARMENTS.items() for view in views]
    for number, name in enumerate(names):
        write(root / "Img/img" / name, image((256, 256), 10 * number))
        if highres:
            write(root / "Img/img_highres" / name, image((750, 1101), 10 * number))
    splits = ["train", "train", "train", "query", "gallery", "train", "train"]
    rows = [f"img/{name} {name.split('/')[2]} {split}" for name, split in zip(names, splits, strict=True)]
    header = f"{len(rows)}\nimage_name item_id evaluation_status\n"
    write(root / "Eval/list_eval_partition.txt", header + "\n".join(rows) + "\n")
    front, side = f"{MANGLED}1front.jpg", f"{MANGLED}2side.jpg"
    write(root / "fasion-resize-pairs-train.csv", f"from,to\n{front},{side}\n{side},{front}\n")
    other = "fashionWOMENTees_Tanksid0000783806_"
    write(root / "fasion-resize-pairs-test.csv", f"from,to\n{other}3back.jpg,{other}1front.jpg\n")
    return root


# Bodies before cameras


def posed(poses: np.ndarray, betas: np.ndarray, trans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and joints (N, …, 3) of the body that stands in for SMPL."""
    rotations = axis_angle_to_matrix(torch.as_tensor(poses).unflatten(1, (24, 3)).float())
    body = BODY.pose(rotations, torch.as_tensor(betas).float()[None], torch.as_tensor(trans).float())
    assert body.vertices is not None
    return body.vertices.double().numpy(), body.joints.double().numpy()


# UP-3D

UP_SIZE = (60, 80)
UP_CROP = (400, 300, 10, 50, 5, 35)  # fitted height, width; rows y0 y1, columns x0 x1 of the image


def up3d_fit(turn: Sequence[float] = (0, 0, 0)) -> dict[str, Any]:
    random = np.random.default_rng(5)
    pose = random.normal(0, 0.2, 72)
    pose[:3] = [np.pi, 0, 0]  # upright in the camera's axes
    return {
        "pose": pose,
        "betas": Chumpy(random.normal(0, 1, 10)),
        "trans": np.array([0.02, -0.1, 0.3]),
        "rt": np.array(turn, float),
        "t": np.array([0.1, 0.2, 25.0]),
        "f": np.array(5000.0),
        "j2d": np.zeros((14, 2)),
    }


def up3d_joints() -> np.ndarray:
    """(3, 14) x, y, visible: whole pixels, the left elbow (place 10) is hidden."""
    joints = np.stack((np.arange(14) + 10, 2 * np.arange(14) + 20, np.ones(14))).astype(float)
    joints[:, 10] = 0
    return joints


def up3d_tree(root: Path, *, turn: Sequence[float] = (0, 0, 0)) -> Path:
    """Six images: 00000 to 00002 for training, two for validation, one for testing."""
    folder = root / "up-3d"
    for number in range(6):
        name = f"{number:05d}"
        write(folder / f"{name}_image.png", image(UP_SIZE, 20 * number, "PNG"))
        write(folder / f"{name}_body.pkl", python2_pickle(up3d_fit(turn)))
        np.save(folder / f"{name}_joints.npy", up3d_joints())
        write(folder / f"{name}_fit_crop_info.txt", " ".join(map(str, UP_CROP)) + "\n")
        write(folder / f"{name}_quality_info.txt", "high\n" if number % 2 == 0 else "medium\n")
        write(folder / f"{name}_dataset_info.txt", f"lsp {number}\n")
    for split, numbers in {"train": (0, 1, 2), "val": (3, 4), "test": (5,)}.items():
        write(folder / f"{split}.txt", "".join(f"/{number:05d}_image.png\n" for number in numbers))
    return root


# 3DPW

PW_FRAMES = 5
PW_SIZE = (54, 96)
PW_K = np.array([[98.0, 0, 27.0], [0, 98.4, 48.0], [0, 0, 1]])


def threedpw_world() -> dict[str, Any]:
    """A sequence file of two people before a moving camera, their joints those of the default body."""
    random = np.random.default_rng(7)
    turns = Rotation.from_rotvec([[np.pi + 0.05 * i, 0.3, -0.1] for i in range(PW_FRAMES)])
    cameras = np.tile(np.eye(4), (PW_FRAMES, 1, 1))
    cameras[:, :3, :3] = turns.as_matrix()
    cameras[:, :3, 3] = [[0.1 * i, 0.4, 6.0] for i in range(PW_FRAMES)]
    people = []
    for number in range(2):
        poses = random.normal(0, 0.3, (PW_FRAMES, 72))
        betas = random.normal(0, 1, 10)
        trans = random.normal(0, 0.3, (PW_FRAMES, 3)) + np.array([number, 0, 0])
        joints = posed(poses, betas, trans)[1]
        poses2d = np.stack(
            [np.stack((np.arange(18) + i, np.arange(18) * 2.0, np.full(18, 0.9))) for i in range(PW_FRAMES)]
        )
        people.append((poses, betas, trans, joints.reshape(PW_FRAMES, 72), poses2d))
    valid = [np.array([1, 1, 0, 1, 1]), np.array([1, 0, 0, 1, 1])]
    cameras[2] = np.nan  # nobody is aligned there
    return {
        "sequence": "courtyard_box_00",
        "poses": [person[0] for person in people],
        "betas": [Chumpy(person[1]) if i else np.append(person[1], np.ones(5)) for i, person in enumerate(people)],
        "trans": [person[2] for person in people],
        "jointPositions": [person[3] for person in people],
        "poses2d": [person[4] for person in people],
        "genders": ["m", "f"],
        "campose_valid": valid,
        "cam_poses": cameras,
        "cam_intrinsics": PW_K,
        "img_frame_ids": np.arange(PW_FRAMES),
        "texture_maps": [],
    }


def threedpw_tree(root: Path, *, scale: int = 1) -> Path:
    """One sequence in each split, its images `scale` times as large as `PW_SIZE`."""
    size, intrinsics = (scale * PW_SIZE[0], scale * PW_SIZE[1]), PW_K * [[scale], [scale], [1]]
    for split, name in {"train": "courtyard_box_00", "validation": "outdoors_00", "test": "flat_guitar_01"}.items():
        content = {**threedpw_world(), "sequence": name, "cam_intrinsics": intrinsics}
        write(root / "sequenceFiles" / split / f"{name}.pkl", python2_pickle(content))
        for frame in range(PW_FRAMES):
            write(root / "imageFiles" / name / f"image_{frame:05d}.jpg", image(size, 10 * frame))
    return root


def iper_protocol() -> str:
    """The owners' protocol for one of the two held-out videos."""
    entry = {
        "s_n": {"1": ["2.png"], "3": ["2.png", "4.png", "0.png"]},
        "self_imitation": {"target": "003/1/2", "range": [1, 5]},
    }
    return json.dumps({"val": {"003/1/2": entry}})
