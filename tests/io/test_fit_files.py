"""The fit file: exact fields, exact bytes, honest refusals."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.fit_values import record, values

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.fit_files import COLUMNS, FitRecord, read_fit, stored_inputs, write_fit
from humanpose_cli.io.fit_options import StoredOptions
from humanpose_cli.io.frame_files import FrameFiles, read_frame_files
from humanpose_cli.io.images import write_image

GOLDEN = Path(__file__).parent / "data" / "golden.fit.npz"

# Design section 5, word for word.
FILE_FIELDS = {
    "track_id", "frame_index", "interpolated", "frame_names", "shot_id", "image_size", "focal", "principal_point",
    "world_to_camera", "poses", "betas", "trans", "segment_scales", "joints3d", "joints2d", "keypoints2d", "boxes",
    "confidence", "joint_confidence", "reprojection_error", "frame_rate", "gender", "body", "skeleton",
    "schema_version", "options",
}  # fmt: skip


def same(a: FitRecord, b: FitRecord) -> bool:
    for column in fields(FitRecord):
        x, y = getattr(a, column.name), getattr(b, column.name)
        if isinstance(x, np.ndarray):
            if x.dtype.kind != y.dtype.kind or not np.array_equal(x, y):
                return False
        elif x != y:
            return False
    return True


def stored(folder: Path, fit: FitRecord, version: int = 1) -> FitRecord:
    """The fit, written and read."""
    write_fit(folder / "x.fit.npz", fit)
    read = read_fit(folder / "x.fit.npz")
    assert same(replace(read, clothes={}), replace(fit, clothes={}))
    with np.load(folder / "x.fit.npz") as file:
        assert int(file["schema_version"]) == version
    return read


def test_the_golden_file_is_read_and_written_to_the_byte(tmp_path):
    """If this fails, files that users have no longer read or change: raise SCHEMA_VERSION and add a migration."""
    write_fit(tmp_path / "x.fit.npz", record())
    assert (tmp_path / "x.fit.npz").read_bytes() == GOLDEN.read_bytes()
    assert same(read_fit(GOLDEN), record())


def test_the_file_holds_exactly_the_designs_fields_in_plain_types():
    with np.load(GOLDEN, allow_pickle=False) as file:
        assert set(file) == FILE_FIELDS
        for name, (shape, dtype) in COLUMNS.items():
            expected = tuple({"N": 3, "F": 2}.get(size, size) for size in shape)
            assert file[name].shape == expected
            assert file[name].dtype.kind == np.dtype(dtype).kind
        assert int(file["schema_version"]) == 1
        assert json.loads(str(file["options"])) == {"people": "all", "focal": None}


def test_a_file_without_people_is_valid(tmp_path):
    empty = FitRecord.empty(["a.jpg"], [(640, 480)], [768.0], options=StoredOptions({"x": 1}))
    assert (len(empty), empty.frame_count) == (0, 1)
    assert empty.camera(0) == Camera(768.0, (320.0, 240.0), (640, 480))
    read = stored(tmp_path, empty)
    assert [*read.tracks, *read.rows_for(0), *read.documents()] == []
    assert stored(tmp_path, FitRecord.empty([], np.zeros((0, 2)), [])).frame_count == 0


def test_times_of_frames_come_back_and_files_without_have_even_ones(tmp_path):
    timed = record(frame_times=[0, 0.07])
    assert stored(tmp_path, timed).seconds(10).tolist() == [0, 0.07]
    assert read_fit(GOLDEN).seconds(10).tolist() == [0, 1 / 25]
    assert record(frame_rate=0.0).seconds(10).tolist() == [0, 0.1]


def test_hands_come_back_with_their_rows(tmp_path):
    hands = {"hand_poses": np.linspace(-1, 1, 270).reshape(3, 2, 15, 3), "hand_confidence": np.eye(3, 2)}
    with_hands = FitRecord.build(**{**vars(record()), **hands})
    read = stored(tmp_path, with_hands, 4)
    np.testing.assert_array_equal(read.select([2]).hand_poses, read.hand_poses[2:])
    right = read.row_document(1)["hands"]["right"]
    assert (right["confidence"], right["pose"][0][0]) == (1.0, round(float(read.hand_poses[1, 1, 0, 0]), 5))
    for name, wrong in (("hand_poses", np.full((3, 2, 15, 3), 13)), ("hand_confidence", np.full((3, 2), 1.1))):
        with raises(InputError, subject=name):
            FitRecord.build(**{**vars(record()), **hands, name: wrong})
    with raises(InputError, subject="hand_confidence"):
        FitRecord.build(**{**vars(record()), "hand_poses": hands["hand_poses"]})


def test_what_a_take_needs_of_its_cameras_comes_back(tmp_path):
    """Colours of clothes and the files of the frames, which are named relative to the fit file."""
    (tmp_path / "clips").mkdir()
    write_image(tmp_path / "clips" / "ä.png", np.zeros((8, 8, 3), np.uint8))
    clothes = {2: np.arange(24.0).reshape(6, 4)}
    files = (FrameFiles("image", (tmp_path / "clips" / "ä.png",)),)
    read = stored(tmp_path, record(clothes=clothes, frame_files=files), 3)
    assert (read.frame_files, list(read.clothes)) == (files, [2])
    np.testing.assert_array_equal(read.clothes[2], clothes[2])
    (item,) = stored_inputs(tmp_path / "x.fit.npz")
    assert (item.kind, item.path) == ("image", tmp_path / "clips" / "ä.png")
    with np.load(tmp_path / "x.fit.npz") as file:
        assert "../" not in str(file["frame_files"])
    assert stored_inputs(GOLDEN) == ()
    (tmp_path / "clips" / "ä.png").unlink()
    with raises(InputError, subject="ä.png", problem="does not exist"):
        stored_inputs(tmp_path / "x.fit.npz")


@pytest.mark.parametrize(
    "text", ["", "[", "[3]", '[{"kind": "video"}]', '[{"kind": "x", "paths": ["a"], "range": "0:"}]', "[" * 9999]
)
def test_damaged_references_to_frames_are_refused(tmp_path, text):
    with raises(InputError, subject="frame_files"):
        read_frame_files(text, tmp_path)


GROUND = {"ground": [[0, -0.75, -0.6614378, 2.5], [0, 0, 0, 0]], "focal_people": [4, 0]}


def test_the_ground_of_images_comes_back_and_stands_in_their_rows(tmp_path):
    grounded = stored(tmp_path, record(**GROUND))
    with np.load(tmp_path / "x.fit.npz") as file:
        assert set(file) == FILE_FIELDS | set(GROUND)
    said = {"up": [0.0, -0.75, -0.66144], "height": 2.5, "focal_people": 4}
    assert [row.get("ground") for row in grounded.documents()] == [said, None, None]


def test_build_sorts_rows_by_track_then_frame():
    shuffled = values(tracks=(5, 0, 5, 0), frames=(1, 1, 0, 0))
    built = FitRecord.build(**shuffled)
    assert [built.track_id.tolist(), built.frame_index.tolist()] == [[0, 0, 5, 5], [0, 1, 0, 1]]
    np.testing.assert_array_equal(built.poses, np.float32(shuffled["poses"])[[3, 1, 2, 0]])
    assert built.reprojection_error.tolist() == [np.float32(shuffled["reprojection_error"])[i] for i in (3, 1, 2, 0)]


def test_rows_by_frame_and_by_person():
    fit = record()
    assert fit.tracks == [0, 2]
    assert [fit.rows_for(frame).tolist() for frame in (0, 1)] == [[0], [1, 2]]
    assert [fit.rows_of(track).tolist() for track in (0, 9)] == [[0, 1], []]
    one = fit.select(fit.rows_of(2))
    assert (one.track_id.tolist(), one.frame_count) == ([2], 2)
    np.testing.assert_array_equal(one.poses, fit.poses[2:])
    assert fit.select(fit.track_id == 0).track_id.tolist() == [0, 0]
    assert len(fit.select([])) == 0


def test_a_row_as_json_names_its_joints():
    fit = record()
    document = json.loads(json.dumps(fit.row_document(2), allow_nan=False))
    assert (document["track_id"], document["frame_index"], document["frame_name"]) == (2, 1, "ü 001.jpg")
    assert document["joints3d"]["left_wrist"] == fit.joints3d[2, SMPL24.index("left_wrist")].tolist()
    assert list(document["joints2d"]) == list(SMPL24.joint_names)
    assert document["keypoints2d"]["nose"] == fit.keypoints2d[2, BLAZEPOSE33.index("nose")].tolist()
    assert len(document["pose"]) == 72
    assert [(row["frame_index"], row["track_id"]) for row in fit.documents()] == [(0, 0), (1, 0), (1, 2)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poses": np.zeros((2, 72))}, "poses.*wrong shape"),
        ({"frame_index": [0, 1, 2]}, "frame_index.*outside"),
        ({"frame_index": [0, -1, 1]}, "frame_index.*outside"),
        ({"track_id": [-1, 0, 2]}, "track_id.*negative"),
        ({"track_id": [0, 2, 2]}, "order|once"),
        ({"boxes": [[10, 0, 5, 5]] * 3}, "boxes.*impossible"),
        ({"confidence": [0.5, 2.0, 0.5]}, "confidence.*0 to 1, found 2 in row 1"),
        ({"keypoints2d": np.full((3, 33, 3), 7.0)}, "keypoints2d.*confidence"),
        ({"reprojection_error": [-1, 0, 0]}, "reprojection_error"),
        ({"world_to_camera": np.tile(2 * np.eye(4), (2, 1, 1))}, "world_to_camera.*rigid"),
        ({"world_to_camera": np.tile(np.diag([-1.0, 1, 1, 1]), (2, 1, 1))}, "world_to_camera.*rigid"),
        ({"shot_id": [1, 0]}, "shot_id"),
        ({"frame_times": [0.0, 0.0]}, "frame_times.*do not rise"),
        ({"frame_times": [0.0]}, r"frame_times.*\(2,\).*\(1,\)"),
        ({"skeleton": "coco17"}, "skeleton"),
        ({**GROUND, "ground": [[0, -1, 0, -2.0]] * 2}, "ground.*no plane below the camera.*row 0"),
        ({**GROUND, "ground": [[0, -0.5, 0, 2.0]] * 2}, "ground.*no plane below the camera.*row 0"),
        ({**GROUND, "ground": [[0, -1, 0, 2e6]] * 2}, "ground.*-100000 to 100000 metres, found 2e"),
        ({**GROUND, "focal_people": [-1, 0]}, "focal_people.*negative.*row 0"),
        ({"ground": GROUND["ground"]}, "focal_people.*int32.*NoneType"),
        ({"options": StoredOptions(not_fitted="nobody")}, "not_fitted"),
        ({"options": StoredOptions(not_fitted=[3])}, "not_fitted"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(changes, message):
    with pytest.raises(InputError, match=message):
        record(**changes)


def test_limits_are_those_of_what_is_far_but_possible():
    far = {"trans": np.full((3, 3), 40_000.0), "betas": np.full((3, 10), 20.0), "focal": [480_000.0] * 2}
    assert np.array_equal(record(**far, image_size=[[100_000, 2_560]] * 2).trans, far["trans"])


def test_rows_out_of_order_are_refused_when_not_built():
    arrays = {column.name: getattr(record(), column.name) for column in fields(FitRecord)}
    arrays["track_id"] = arrays["track_id"][::-1].copy()
    with raises(InputError, problem="order"):
        FitRecord(**arrays)
    with raises(InputError, subject="track_id", problem="wrong type"):
        FitRecord(**{**arrays, "track_id": arrays["track_id"].astype(np.float32)})


@pytest.fixture
def read(tmp_path):
    """Reads a file whose arrays of some names became other ones, or what functions make of them."""
    clothes = {track: np.ones((6, 4)) for track in (0, 2)}
    write_fit(tmp_path / "x.fit.npz", record(frame_times=[0.0, 1.0], clothes=clothes))
    with np.load(tmp_path / "x.fit.npz", allow_pickle=False) as file:
        arrays = dict(file)

    def changed(**changes):
        for name, change in changes.items():
            arrays[name] = change(arrays[name]) if callable(change) else np.asarray(change)
        np.savez(tmp_path / "x.fit.npz", **arrays)
        return read_fit(tmp_path / "x.fit.npz")

    return changed


def at(index, value):
    def change(array):
        array[index] = value
        return array

    return change


IMPOSSIBLE = "NAME holds impossible values"
BEHIND = "has people behind the camera"


@pytest.mark.parametrize(
    ("name", "change", "problem", "rest"),
    [
        ("betas", at((2, 3), 50), IMPOSSIBLE, ("-30 to 30", "50 in row 2")),
        ("trans", at((1, 0), -1e30), IMPOSSIBLE, ("-100000 to 100000 metres", "-1e+30 in row 1")),
        ("poses", at((0, 71), 90.0), IMPOSSIBLE, ("-12.5664 to 12.5664 radians", "90 in row 0")),
        ("segment_scales", at((2, 0), 1e-30), IMPOSSIBLE, ("0.01 to 100", "1e-30 in row 2")),
        ("joints3d", at((0, 5, 2), 1e6), IMPOSSIBLE, ("-200000 to 200000 metres", "1e+06 in row 0")),
        ("focal", at(1, 1e20), IMPOSSIBLE, ("0.01 to 1e+07 pixels", "1e+20 in row 1")),
        ("principal_point", at((1, 0), -1e20), IMPOSSIBLE, ("-1e+07 to 1e+07 pixels", "-1e+20 in row 1")),
        ("world_to_camera", at((1, 0, 3), 1e30), IMPOSSIBLE, ("-1e+08 to 1e+08", "1e+30 in row 1")),
        ("frame_rate", 1e-300, IMPOSSIBLE, ("1e-06 to 100000 frames a second", "1e-300")),
        ("frame_times", at(1, 1e300), IMPOSSIBLE, ("0 to 1e+09 seconds", "1e+300 in row 1")),
        ("image_size", at(1, 2**30), IMPOSSIBLE, ("at most 256 million pixels", "1073741824 × 1073741824 in row 1")),
        ("clothes", lambda a: a + np.array([1e30, 0, 0, 0]), IMPOSSIBLE, ()),
        ("boxes", lambda a: a + np.float32([0, 0, 1e12, 1e12]), IMPOSSIBLE, ()),
        ("joints3d", lambda a: a + 5, "joints3d from trans holds impossible values", ()),
        ("joints2d", lambda a: a * np.float32(1e20), IMPOSSIBLE, ()),
        ("trans", lambda a: -a, BEHIND, ("row 0",)),
        ("joints3d", lambda a: -1 - a, BEHIND, ()),
        ("betas", lambda a: np.zeros((len(a), 50), "<f4"), "betas has the wrong shape", ("(3, 50)",)),
        ("poses", np.full((3, 72), 1e300), "poses holds values that are not finite", ()),
        ("poses", np.zeros((3, 72), "<i4"), "poses has the wrong type", ()),
        ("track_id", [0, 0, 2**40], "beyond 32 bits", ()),
        ("frame_times", ["0", "1"], "frame_times has the wrong type", ()),
        ("gender", b"x", "gender is damaged", ()),
        ("options", "[1]", "no JSON object", ()),
        ("schema_version", 0, "unknown schema version 0", ()),
        ("schema_version", 5, "newer version", ()),
        ("poses", np.array([{}], dtype=object), "pickled Python objects", ("poses",)),
    ],
)
def test_what_no_person_and_no_camera_has_and_damage_are_refused_by_name(read, name, change, problem, rest):
    with raises(InputError, "x.fit.npz", *rest, problem=problem.replace("NAME", name)):
        read(**{name: change})


def test_other_npz_files(tmp_path):
    np.savez(tmp_path / "x.fit.npz", poses=np.zeros((2, 156)))
    with raises(InputError, problem="no fit file"):
        read_fit(tmp_path / "x.fit.npz")
    with np.load(GOLDEN, allow_pickle=False) as file:
        np.savez(tmp_path / "x.fit.npz", **{name: file[name] for name in file if name not in ("joints3d", "gender")})
    with raises(InputError, problem="lacks gender, joints3d"):
        read_fit(tmp_path / "x.fit.npz")


def test_wider_numbers_of_other_programs_are_welcome(read):
    wide = {name: lambda a: a.astype(">f8") for name in ("poses", "trans")}
    found = read(**wide, track_id=lambda a: a.astype(np.int64))
    assert same(replace(found, clothes={}, frame_times=None), record())


BALL = {"frame": 1, "box": [10.0, 20.0, 60.5, 200.0], "score": 0.4, "reason": "hidden by another person"}


def test_detections_without_a_body_come_back_by_frame(tmp_path):
    first = {**BALL, "frame": 0, "reason": "too small"}
    listed = record(options=StoredOptions({"people": "all"}, not_fitted=[BALL, first]))
    unfitted = stored(tmp_path, listed).unfitted
    assert [detection.document() for detection in unfitted] == [first, BALL]
    assert unfitted[1].box == (10.0, 20.0, 60.5, 200.0)
    assert record().unfitted == ()


@pytest.mark.parametrize(
    "wrong",
    [{"frame": wrong} for wrong in (2, -1, 0.5, True)]
    + [{"box": wrong} for wrong in ([60, 20, 10, 200], [10, 20, 60], [10, 20, 60, float("nan")], [10, 20, 60, 1e9])]
    + [{"score": wrong} for wrong in (1.5, None)]
    + [{"reason": 7}, {"reason": None}],
)
def test_detections_that_are_none_are_refused(wrong):
    with raises(InputError, subject="not_fitted"):
        record(options=StoredOptions(not_fitted=[BALL, {**BALL, **wrong}]))
