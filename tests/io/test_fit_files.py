"""The fit file: exact fields, exact bytes, honest refusals."""

from __future__ import annotations

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
from humanpose_cli.io.atomic import npz_bytes
from humanpose_cli.io.fit_files import COLUMNS, FitRecord, read_fit, stored_inputs, write_fit
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
    empty = FitRecord.empty(["a.jpg"], [(640, 480)], [768.0], options={"x": 1})
    assert len(empty) == 0
    assert empty.frame_count == 1
    assert empty.camera(0) == Camera(768.0, (320.0, 240.0), (640, 480))
    write_fit(tmp_path / "x.fit.npz", empty)
    read = read_fit(tmp_path / "x.fit.npz")
    assert same(read, empty)
    assert read.tracks == []
    assert read.rows_for(0).tolist() == []
    assert list(read.documents()) == []
    no_frames = FitRecord.empty([], np.zeros((0, 2)), [])
    write_fit(tmp_path / "y.fit.npz", no_frames)
    assert read_fit(tmp_path / "y.fit.npz").frame_count == 0


def test_times_of_frames_come_back_and_files_without_have_even_ones(tmp_path):
    timed = record(frame_times=[0, 0.07])
    write_fit(tmp_path / "x.fit.npz", timed)
    assert same(read_fit(tmp_path / "x.fit.npz"), timed)
    assert timed.seconds(10).tolist() == [0, 0.07]
    assert read_fit(GOLDEN).seconds(10).tolist() == [0, 1 / 25]
    assert record(frame_rate=0.0).seconds(10).tolist() == [0, 0.1]


def test_hands_come_back_with_their_rows(tmp_path):
    hands = {"hand_poses": np.linspace(-1, 1, 270).reshape(3, 2, 15, 3), "hand_confidence": np.eye(3, 2)}
    with_hands = FitRecord.build(**{**vars(record()), **hands})
    write_fit(tmp_path / "x.fit.npz", with_hands)
    read = read_fit(tmp_path / "x.fit.npz")
    assert same(read, with_hands)
    with np.load(tmp_path / "x.fit.npz") as file:
        assert int(file["schema_version"]) == 4
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
    write_fit(tmp_path / "x.fit.npz", record(clothes=clothes, frame_files=files))
    read = read_fit(tmp_path / "x.fit.npz")
    assert (read.frame_files, list(read.clothes)) == (files, [2])
    np.testing.assert_array_equal(read.clothes[2], clothes[2])
    (item,) = stored_inputs(tmp_path / "x.fit.npz")
    assert (item.kind, item.path) == ("image", tmp_path / "clips" / "ä.png")
    with np.load(tmp_path / "x.fit.npz") as file:
        assert (int(file["schema_version"]), "../" in str(file["frame_files"])) == (3, False)
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
    grounded = record(**GROUND)
    write_fit(tmp_path / "x.fit.npz", grounded)
    assert same(read_fit(tmp_path / "x.fit.npz"), grounded)
    with np.load(tmp_path / "x.fit.npz") as file:
        assert set(file) == FILE_FIELDS | set(GROUND)
    said = {"up": [0.0, -0.75, -0.66144], "height": 2.5, "focal_people": 4}
    assert [row.get("ground") for row in grounded.documents()] == [said, None, None]


def test_build_sorts_rows_by_track_then_frame():
    shuffled = values(tracks=(5, 0, 5, 0), frames=(1, 1, 0, 0))
    built = FitRecord.build(**shuffled)
    assert built.track_id.tolist() == [0, 0, 5, 5]
    assert built.frame_index.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(built.poses, np.float32(shuffled["poses"])[[3, 1, 2, 0]])
    assert built.reprojection_error.tolist() == [np.float32(shuffled["reprojection_error"])[i] for i in (3, 1, 2, 0)]


def test_rows_by_frame_and_by_person():
    fit = record()
    assert fit.tracks == [0, 2]
    assert [fit.rows_for(frame).tolist() for frame in (0, 1)] == [[0], [1, 2]]
    assert fit.rows_of(0).tolist() == [0, 1]
    assert fit.rows_of(9).tolist() == []
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
        ({"poses": np.zeros((3, 69))}, "poses.*wrong shape.*72.*69"),
        ({"poses": np.zeros((2, 72))}, "poses.*wrong shape"),
        ({"joints3d": np.full((3, 24, 3), np.nan)}, "joints3d.*not finite.*row 0"),
        ({"trans": np.full((3, 3), np.inf)}, "trans.*not finite"),
        ({"frame_index": [0, 1, 2]}, "frame_index.*outside"),
        ({"frame_index": [0, -1, 1]}, "frame_index.*outside"),
        ({"track_id": [-1, 0, 2]}, "track_id.*negative"),
        ({"track_id": [0, 2, 2]}, "order|once"),
        ({"focal": [0.0, 1.0]}, "focal.*impossible"),
        ({"image_size": [[0, 4], [4, 4]]}, "image_size.*impossible"),
        ({"boxes": [[10, 0, 5, 5]] * 3}, "boxes.*impossible"),
        ({"confidence": [0.5, 2.0, 0.5]}, "confidence.*0 to 1, found 2 in row 1"),
        ({"joint_confidence": np.full((3, 24), -0.1)}, "joint_confidence"),
        ({"keypoints2d": np.full((3, 33, 3), 7.0)}, "keypoints2d.*confidence"),
        ({"segment_scales": np.zeros((3, 24))}, "segment_scales"),
        ({"reprojection_error": [-1, 0, 0]}, "reprojection_error"),
        ({"world_to_camera": np.tile(2 * np.eye(4), (2, 1, 1))}, "world_to_camera.*rigid"),
        ({"world_to_camera": np.tile(np.diag([-1.0, 1, 1, 1]), (2, 1, 1))}, "world_to_camera.*rigid"),
        ({"shot_id": [1, 0]}, "shot_id"),
        ({"frame_rate": -1.0}, "frame_rate"),
        ({"frame_rate": float("nan")}, "frame_rate"),
        ({"frame_times": [0.0, 0.0]}, "frame_times.*do not rise"),
        ({"frame_times": [0.0, float("nan")]}, "frame_times.*not finite"),
        ({"frame_times": [0.0]}, r"frame_times.*\(2,\).*\(1,\)"),
        ({"skeleton": "coco17"}, "skeleton"),
        ({**GROUND, "ground": [[0, -1, 0, -2.0]] * 2}, "ground.*no plane below the camera.*row 0"),
        ({**GROUND, "ground": [[0, -0.5, 0, 2.0]] * 2}, "ground.*no plane below the camera.*row 0"),
        ({**GROUND, "ground": [[0, -1, 0, 2e6]] * 2}, "ground.*-100000 to 100000 metres, found 2e"),
        ({**GROUND, "ground": [[0, -1, 0, 2.0]]}, r"ground.*\(2, 4\).*\(1, 4\)"),
        ({**GROUND, "focal_people": [-1, 0]}, "focal_people.*negative.*row 0"),
        ({"ground": GROUND["ground"]}, "focal_people.*int32.*NoneType"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(changes, message):
    with pytest.raises(InputError, match=message):
        record(**changes)


IMPOSSIBLE = [
    ("betas", (2, 3), 50, "-30 to 30, found 50 in row 2"),
    ("trans", (1, 0), -1e30, "-100000 to 100000 metres, found -1e+30 in row 1"),
    ("poses", (0, 71), 90.0, "-12.5664 to 12.5664 radians, found 90 in row 0"),
    ("segment_scales", (2, 0), 1e-30, "0.01 to 100, found 1e-30 in row 2"),
    ("joints3d", (0, 5, 2), 1e6, "-200000 to 200000 metres, found 1e+06 in row 0"),
    ("focal", (1,), 1e20, "0.01 to 1e+07 pixels, found 1e+20 in row 1"),
    ("principal_point", (1, 0), -1e20, "-1e+07 to 1e+07 pixels, found -1e+20 in row 1"),
    ("world_to_camera", (1, 0, 3), 1e30, "-1e+08 to 1e+08, found 1e+30 in row 1"),
    ("frame_rate", (), 1e-300, "1e-06 to 100000 frames a second, found 1e-300"),
    ("frame_times", (1,), 1e300, "0 to 1e+09 seconds, found 1e+300 in row 1"),
    ("image_size", (1,), 2**30, "sides from 1 and at most 256 million pixels, found 1073741824 × 1073741824 in row 1"),
]


@pytest.mark.parametrize(("name", "index", "value", "sentence"), IMPOSSIBLE, ids=[name for name, *_ in IMPOSSIBLE])
def test_numbers_that_no_person_and_no_camera_has_are_refused(tmp_path, name, index, value, sentence):
    path = tmp_path / "x.fit.npz"
    write_fit(path, record(frame_times=[0.0, 1.0]))
    with np.load(path) as file:
        arrays = dict(file)
    arrays[name][index] = value
    path.write_bytes(npz_bytes(arrays))
    with pytest.raises(InputError) as caught:
        read_fit(path)
    assert str(caught.value).startswith(f"{path}: {name} holds impossible values, expected {sentence};")


def test_limits_are_those_of_what_is_far_but_possible():
    far = {"trans": np.full((3, 3), 40_000.0), "betas": np.full((3, 10), 20.0), "focal": [480_000.0] * 2}
    assert np.array_equal(record(**far, image_size=[[100_000, 2_560]] * 2).trans, far["trans"])


def test_rows_out_of_order_are_refused_when_not_built():
    arrays = {column.name: getattr(record(), column.name) for column in fields(FitRecord)}
    arrays["track_id"] = arrays["track_id"][::-1].copy()
    with raises(InputError, problem="order"):
        FitRecord(**arrays)
    arrays["track_id"] = arrays["track_id"].astype(np.float32)
    with raises(InputError, subject="track_id", problem="wrong type"):
        FitRecord(**arrays)


class TestReading:
    @pytest.fixture
    def arrays(self):
        with np.load(GOLDEN, allow_pickle=False) as file:
            return dict(file)

    def read(self, tmp_path, arrays):
        (tmp_path / "x.fit.npz").write_bytes(npz_bytes(arrays))
        return read_fit(tmp_path / "x.fit.npz")

    def test_other_npz_files(self, tmp_path, arrays):
        with raises(InputError, problem="no fit file"):
            self.read(tmp_path, {"poses": np.zeros((2, 156))})
        del arrays["joints3d"], arrays["gender"]
        with raises(InputError, problem="lacks gender, joints3d"):
            self.read(tmp_path, arrays)

    @pytest.mark.parametrize(
        ("name", "array", "message"),
        [
            ("poses", np.zeros((3, 3), "<f4"), "poses has the wrong shape"),
            ("poses", np.full((3, 72), 1e300), "poses holds values that are not finite"),
            ("poses", np.zeros((3, 72), "<i4"), "poses has the wrong type"),
            ("track_id", np.array([0, 0, 2**40]), "beyond 32 bits"),
            ("frame_rate", np.array([25.0, 25.0]), "frame_rate is damaged"),
            ("frame_times", np.array(["0", "1"]), "frame_times has the wrong type"),
            ("gender", np.array(b"x"), "gender is damaged"),
            ("options", np.array("{"), "no JSON"),
            ("options", np.array("[1]"), "no JSON object"),
            ("schema_version", np.array(1.0), "no fit file"),
            ("schema_version", np.array(0), "unknown schema version 0"),
            ("schema_version", np.array(5), "newer version"),
        ],
    )
    def test_damage_is_named(self, tmp_path, arrays, name, array, message):
        with raises(InputError, problem=message) as caught:
            self.read(tmp_path, {**arrays, name: array})
        assert "x.fit.npz" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_wider_numbers_of_other_programs_are_welcome(self, tmp_path, arrays):
        for name in ("poses", "trans"):
            arrays[name] = arrays[name].astype(">f8")
        arrays["track_id"] = arrays["track_id"].astype(np.int64)
        assert same(self.read(tmp_path, arrays), record())

    def test_pickled_columns_are_never_loaded(self, tmp_path, arrays):
        np.savez(tmp_path / "x.fit.npz", **{**arrays, "poses": np.array([{}], dtype=object)})
        with raises(InputError, subject="poses", problem="pickled Python objects"):
            read_fit(tmp_path / "x.fit.npz")


def test_size_of_a_row():
    """A few kilobytes a person and frame (design section 9)."""
    many = FitRecord.build(**values(tracks=[0] * 1000, frames=list(range(1000)), frame_count=1000))
    size = sum(getattr(many, name).nbytes for name in COLUMNS)
    assert size / 1000 < 2048


BALL = {"frame": 1, "box": [10.0, 20.0, 60.5, 200.0], "score": 0.4, "reason": "hidden by another person"}


def test_detections_without_a_body_come_back_by_frame(tmp_path):
    first = {**BALL, "frame": 0, "reason": "too small"}
    listed = record(options={"people": "all", "not_fitted": [BALL, first]})
    write_fit(tmp_path / "x.fit.npz", listed)
    unfitted = read_fit(tmp_path / "x.fit.npz").unfitted
    assert [detection.document() for detection in unfitted] == [first, BALL]
    assert unfitted[1].box == (10.0, 20.0, 60.5, 200.0)
    assert record().unfitted == ()


@pytest.mark.parametrize(
    "wrong",
    [
        "nobody",
        [3],
        [{**BALL, "frame": 2}],
        [{**BALL, "frame": -1}],
        [{**BALL, "frame": 0.5}],
        [{**BALL, "frame": True}],
        [{**BALL, "score": 1.5}],
        [{**BALL, "score": None}],
        [{**BALL, "box": [60, 20, 10, 200]}],
        [{**BALL, "box": [10, 20, 60]}],
        [{**BALL, "box": [10, 20, 60, float("nan")]}],
        [{**BALL, "box": [10, 20, 60, 1e9]}],
        [BALL, {**BALL, "reason": 7}],
        [{name: value for name, value in BALL.items() if name != "reason"}],
    ],
)
def test_detections_that_are_none_are_refused(wrong):
    with raises(InputError, subject="not_fitted"):
        record(options={"not_fitted": wrong})


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("clothes", lambda a: a + np.array([1e30, 0, 0, 0]), {"problem": "clothes holds impossible values"}),
        ("boxes", lambda a: a + np.float32([0, 0, 1e12, 1e12]), {"problem": "boxes holds impossible values"}),
        ("betas", lambda a: np.zeros((len(a), 50), "<f4"), {"problem": "betas has the wrong shape", "got": "(3, 50)"}),
        ("trans", lambda a: -a, {"problem": "has people behind the camera", "got": "row 0"}),
        ("joints3d", lambda a: -1 - a, {"problem": "has people behind the camera"}),
        ("joints3d", lambda a: a + 5, {"problem": "joints3d from trans holds impossible values"}),
        ("joints2d", lambda a: a * np.float32(1e20), {"problem": "joints2d holds impossible values"}),
    ],
)
def test_what_no_camera_shows_is_refused_by_name(tmp_path, name, change, error):
    write_fit(tmp_path / "a.fit.npz", replace(record(), clothes={track: np.ones((6, 4)) for track in (0, 2)}))
    arrays = dict(np.load(tmp_path / "a.fit.npz"))
    np.savez(tmp_path / "b.fit.npz", **{**arrays, name: change(arrays[name])})
    with raises(InputError, **error):
        read_fit(tmp_path / "b.fit.npz")
