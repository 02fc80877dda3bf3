"""MPI-INF-3DHP from a small tree in the owners' layout: cameras, joints by name, valid frames, damaged files."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.dataset_checks import checked, images_of, total_of
from helpers.dataset_files import centre_of_light, spotted, write_video
from helpers.errors import raises
from helpers.paper_datasets import assert_travels
from PIL import Image
from scipy.io import savemat

from humanpose_cli.core.conventions import H36M17
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.datasets import mpi_inf_3dhp
from humanpose_cli.lab.datasets.mpi_inf_3dhp import MpiInf3dhpOptions, MpiInf3dhpSource

SIZE, FRAMES, VALID = (160, 160), 6, (1, 2, 4)
FOCAL, CENTRE = np.array([120.0, 121.0]), np.array([82.0, 79.0])
# The owners' lists of names.
TRAIN = (
    *("spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "head_top", "left_clavicle", "left_shoulder"),
    *("left_elbow", "left_wrist", "left_hand", "right_clavicle", "right_shoulder", "right_elbow", "right_wrist"),
    *("right_hand", "left_hip", "left_knee", "left_ankle", "left_foot", "left_toe", "right_hip", "right_knee"),
    *("right_ankle", "right_foot", "right_toe"),
)
TEST = (
    *("head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "pelvis", "spine", "head"),
)
OURS = {"thorax": "neck", "nose": "head"}


def joints(count: int, camera: int) -> np.ndarray:
    """(FRAMES, count, 3) millimetres: around a pelvis four metres away that drifts to the right."""
    random = np.random.default_rng((count, camera))
    drift = np.array([[60.0 * frame - 200, 10.0 * camera, 4000] for frame in range(FRAMES)])
    return drift[:, None] + random.normal(0, 250, (1, count, 3))


def project(points: np.ndarray) -> np.ndarray:
    return points[..., :2] / points[..., 2:] * FOCAL + CENTRE


def cells(values: list[np.ndarray]) -> np.ndarray:
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array


def write_annotations(folder: Path, **changes: Any) -> None:
    points = [joints(28, camera) for camera in range(14)]
    fields = {
        "annot2": cells([project(p).reshape(FRAMES, 56) for p in points]),
        "annot3": cells([p.reshape(FRAMES, 84) for p in points]),
        "frames": np.arange(FRAMES),
    }
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / "annot.mat", {name: v for name, v in {**fields, **changes}.items() if v is not None})


def write_test_annotations(path: Path, number: int, **changes: Any) -> None:
    points = joints(17, number)[:, None]
    valid = np.isin(np.arange(FRAMES), VALID).astype(float)[:, None]
    fields = {"annot2": project(points), "annot3": points, "univ_annot3": 1.25 * points, "valid_frame": valid}
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in {**fields, **changes}.items():
            if values is not None:
                file[name] = values


def pelvis(names: tuple[str, ...], camera: int, frame: int) -> np.ndarray:
    return project(joints(len(names), camera))[frame, names.index("pelvis")]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("3dhp")
    for number, camera in ((1, 0), (1, 4), (2, 0), (2, 4)):
        folder = root / "S1" / f"Seq{number}"
        write_annotations(folder)
        images = [spotted(SIZE, pelvis(TRAIN, camera, frame)) for frame in range(FRAMES)]
        if number == 1:
            write_video(folder / "imageSequence" / f"video_{camera}.avi", images)
            continue
        for frame, image in enumerate(images):
            write_image(folder / "imageFrames" / f"video_{camera}" / f"frame_{frame + 1:06d}.jpg", image)
    folder = root / "mpi_inf_3dhp_test_set" / "TS3"
    for frame in VALID:
        image = spotted(SIZE, pelvis(TEST, 3, frame))
        write_image(folder / "imageSequence" / f"img_{frame + 1:06d}.jpg", image)
    write_test_annotations(folder / "annot_data.mat", 3)
    return root


@pytest.fixture(autouse=True)
def small_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpi_inf_3dhp, "_ACTORS", (1,))
    monkeypatch.setattr(mpi_inf_3dhp, "CAMERAS", (0, 4))
    monkeypatch.setattr(mpi_inf_3dhp, "TEST_FRAMES", {"TS3": 3})


def group_of(source: MpiInf3dhpSource, name: str) -> Any:
    return next(group for group in source.groups() if group.name == name)


@pytest.mark.parametrize("name", ["S1/Seq1/video_4", "S1/Seq2/video_0", "TS3"])
def test_joints_camera_and_image_agree(intact: Path, name: str) -> None:
    """The disc at the pelvis is where the sample's camera sees the joint of that name, in videos, frames and tests."""
    source = MpiInf3dhpSource(intact, MpiInf3dhpOptions(every=2, crop_size=96, universal=False))
    group = group_of(source, name)
    names, camera = (TEST, 3) if name == "TS3" else (TRAIN, int(name[-1]))
    samples = list(source.read(group))
    assert [sample.frame for sample in samples] == ([*VALID] if name == "TS3" else [0, 2, 4])
    for sample in samples:
        (person,) = sample.people
        truth, keypoints = person.joints["h36m17"], person.keypoints["h36m17"]
        for row, joint in enumerate(H36M17.joint_names):
            true = joints(len(names), camera)[sample.frame, names.index(OURS.get(joint, joint).replace("nose", "head"))]
            np.testing.assert_allclose(truth[row], [*true / 1000, 1], atol=1e-9)
        assert sample.focal is not None
        assert sample.principal_point is not None
        pixels = truth[:, :2] / truth[:, 2:3] * sample.focal + sample.principal_point
        np.testing.assert_allclose(keypoints[:, :2], pixels, atol=1e-6)
        image = np.asarray(Image.open(io.BytesIO(sample.image)).convert("RGB"))
        np.testing.assert_allclose(centre_of_light(image), keypoints[0, :2], atol=0.5)
        split = "test" if name == "TS3" else "train"
        assert {**sample.splits, "spin": ""} == {"mpi-inf-3dhp": split, "spin": ""}
        assert person.identity == name.partition("/")[0]
        assert sample.frame_rate == (50 if "Seq1" in name else None)


def test_the_test_set_is_of_people_of_one_size(intact: Path) -> None:
    """As published figures have it; images and keypoints stay."""
    plain, same_size = (MpiInf3dhpSource(intact, MpiInf3dhpOptions(universal=u)) for u in (False, True))
    for one, other in zip(plain.read(group_of(plain, "TS3")), same_size.read(group_of(same_size, "TS3")), strict=True):
        first, second = one.people[0], other.people[0]
        np.testing.assert_allclose(second.joints["h36m17"][:, :3], 1.25 * first.joints["h36m17"][:, :3])
        np.testing.assert_array_equal(second.keypoints["h36m17"], first.keypoints["h36m17"])
        assert one.image == other.image


def test_groups_splits_and_travel(intact: Path) -> None:
    source = MpiInf3dhpSource(intact)
    names = [group.name for group in source.groups()]
    assert names == ["S1/Seq1/video_0", "S1/Seq1/video_4", "S1/Seq2/video_0", "S1/Seq2/video_4", "TS3"]
    assert source.notes == ()
    assert sum(mpi_inf_3dhp.TEST_FRAMES.values()) == 3
    assert [g.name for g in MpiInf3dhpSource(intact, MpiInf3dhpOptions(split="test")).groups()] == ["TS3"]
    with raises(UsageError, subject="split", problem="is none of MPI-INF-3DHP", expected="train, test"):
        MpiInf3dhpSource(intact, MpiInf3dhpOptions(split="validation"))
    assert_travels(source)


def test_what_is_missing_is_named(tree: Path) -> None:
    (tree / "S1/Seq1/imageSequence/video_4.avi").unlink()
    with raises(InputError, subject="video_4.avi", problem="does not exist"):
        MpiInf3dhpSource(tree).groups()
    (tree / "S1/Seq2/imageFrames/video_0/frame_000003.jpg").unlink()
    (tree / "mpi_inf_3dhp_test_set/TS3/imageSequence/img_000003.jpg").unlink()
    lenient = MpiInf3dhpSource(tree, MpiInf3dhpOptions(every=1, allow_missing=True))
    counts = {group.name: group.count for group in lenient.groups()}
    assert counts == {"S1/Seq1/video_0": 6, "S1/Seq2/video_0": 5, "S1/Seq2/video_4": 6, "TS3": 2}
    assert len(lenient.notes) == 3
    assert len(list(lenient.read(group_of(lenient, "S1/Seq2/video_0")))) == 5
    shutil.rmtree(tree / "S1")
    with raises(InputError, subject="S1/Seq1", problem="does not exist"):
        MpiInf3dhpSource(tree).groups()
    with raises(InputError, problem="img_000003.jpg"):
        MpiInf3dhpSource(tree, MpiInf3dhpOptions(split="test")).groups()


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"annot2": None}, {"subject": "annot.mat", "problem": "lacks annot2"}),
        (
            {"annot2": np.zeros((6, 56))},
            {"subject": "annot.mat (annot2)", "problem": "is damaged", "expected": "a cell for each of 14 cameras"},
        ),
        (
            {"annot2": cells([np.zeros((6, 28))] * 14)},
            {"subject": "(annot2, camera 0)", "problem": "has the wrong shape"},
        ),
        (
            {"annot3": cells([np.full((6, 84), np.nan)] * 14)},
            {"subject": "(annot3, camera 0)", "problem": ("holds values", "not finite")},
        ),
        (
            {"annot3": cells([np.ones((5, 84))] * 14)},
            {"subject": "annot.mat", "problem": "is damaged: annot2 and annot3 have other lengths"},
        ),
        (
            {"annot2": cells([np.random.default_rng(0).normal(80, 40, (6, 56))] * 14)},
            {"problem": "of different cameras"},
        ),
    ],
)
def test_damaged_training_annotations_are_named(tree: Path, changes: dict[str, Any], subject: str) -> None:
    write_annotations(tree / "S1" / "Seq1", **changes)

    def read() -> None:
        source = MpiInf3dhpSource(tree)
        list(source.read(source.groups()[0]))

    with raises(InputError, **subject):
        read()


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"valid_frame": None}, {"subject": "annot_data.mat", "problem": "lacks valid_frame"}),
        (
            {"valid_frame": np.ones((6, 1))},
            {"subject": "annot_data.mat", "problem": "has not the official number of valid frames", "expected": "3"},
        ),
        (
            {"annot3": np.zeros((6, 1, 16, 3))},
            {"subject": "(annot3)", "problem": "has the wrong shape", "expected": "(any, 1, 17, 3)"},
        ),
        ({"univ_annot3": None}, {"subject": "annot_data.mat", "problem": "lacks univ_annot3"}),
    ],
)
def test_damaged_test_annotations_are_named(tree: Path, changes: dict[str, Any], subject: str) -> None:
    write_test_annotations(tree / "mpi_inf_3dhp_test_set/TS3/annot_data.mat", 3, **changes)
    source = MpiInf3dhpSource(tree, MpiInf3dhpOptions(split="test"))
    with raises(InputError, **subject):
        list(source.read(source.groups()[0]))


def test_other_files_under_their_names_are_refused(tree: Path) -> None:
    (tree / "S1" / "Seq1" / "annot.mat").write_bytes(b"no MATLAB file at all, but long enough to have a header " * 9)
    with raises(InputError, subject="annot.mat", problem="is no readable MATLAB file"):
        MpiInf3dhpSource(tree).groups()
    (tree / "mpi_inf_3dhp_test_set/TS3/annot_data.mat").write_bytes(b"no HDF5")
    with raises(InputError, subject="annot_data.mat", problem="is no readable MATLAB 7.3 file"):
        MpiInf3dhpSource(tree, MpiInf3dhpOptions(split="test")).groups()


def test_activities_and_the_frames_that_spin_keeps(tree: Path) -> None:
    path = tree / "mpi_inf_3dhp_test_set/TS3/annot_data.mat"
    points = joints(17, 3)[:, None]
    outside = project(points)
    outside[VALID[1], 0, 5] = (-3, 10)
    numbers = np.arange(FRAMES)[:, None] % 7 + 1.0
    write_test_annotations(path, 3, annot2=outside, activity_annotation=numbers)
    source = MpiInf3dhpSource(tree, MpiInf3dhpOptions(crop_size=96))
    samples = list(source.read(group_of(source, "TS3")))
    assert ["spin" in sample.splits for sample in samples] == [True, False, True]
    assert [s.people[0].activity for s in samples] == [mpi_inf_3dhp.ACTIVITIES[frame % 7] for frame in VALID]
    write_test_annotations(path, 3, activity_annotation=numbers + 6)
    with raises(InputError, problem="has other activities", expected="1 to 7", got="7 to 12"):
        list(source.read(group_of(source, "TS3")))


def test_the_check_counts_it(intact: Path) -> None:
    check = checked("mpi-inf-3dhp", intact, {"every": 2})
    assert total_of(check) == {"groups": 5, "images": 15, "people": 15, "sequences": 5, "identities": 2, "clothes": 3}
    assert images_of(check) == {"mpi-inf-3dhp/train": 12, "mpi-inf-3dhp/test": 3, "spin/test": 3}
    ((labels, errors),) = check.labels.reprojection.items()
    assert (labels, errors.count) == (("annot3", "annot2"), 15 * 17)
    assert errors.max == pytest.approx(0, abs=1e-9)


def test_pixels_that_are_off_are_residuals_of_the_labels(tree: Path) -> None:
    """Alternating joints two pixels to the left and to the right: what a straight line through them leaves."""
    points = joints(17, 3)
    pixels = project(points) + np.where(np.arange(17) % 2, 2.0, -2.0)[:, None] * [1, 0]
    write_test_annotations(tree / "mpi_inf_3dhp_test_set/TS3/annot_data.mat", 3, annot2=pixels[:, None])
    source = MpiInf3dhpSource(tree, MpiInf3dhpOptions(split="test"))
    ((_, _, apart),) = source.label_residuals(group_of(source, "TS3"))
    rays, columns = (points[..., 0] / points[..., 2])[[*VALID]].ravel(), pixels[[*VALID], :, 0].ravel()
    left = np.abs(np.polyval(np.polyfit(rays, columns, 1), rays) - columns)
    np.testing.assert_allclose(np.sort(apart), np.sort(left), atol=1e-9)
    assert left.mean() > 1
