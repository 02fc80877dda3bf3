"""People of other detectors: a file of each program, matched to images; bad records are left out, bad files refused."""

from __future__ import annotations

import gzip
import json
import pickle

import numpy as np
import pytest
from helpers.detection_files import (
    BODY_25,
    HALPE,
    HEIGHT,
    PEOPLE18,
    TRUTH,
    VITPOSE25,
    WIDTH,
    alphapose,
    dicts,
    flat,
    labels,
    openpose,
    point,
    scaled,
    ultralytics,
    vitpose,
)
from helpers.errors import raises

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, COCO21
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.detections import FrameKey, read_boxes, read_keypoints
from humanpose_cli.io.detections.joint_orders import ORDERS

COCO_ROWS = BLAZEPOSE33.indices(COCO17.joint_names)
KEYPOINTS = flat(COCO17.joint_names)
FULL = np.reshape(KEYPOINTS, (17, 3))


def mmpose(names, **more) -> dict:
    return {"keypoints": [*map(point, names)], "keypoint_scores": [0.9] * (len(names) - 1) + [1.2], **more}


RESULT = {"image_id": 1, "category_id": 1, "keypoints": KEYPOINTS}
VIDEOS = {  # program → files, joints, frames with people, track
    "alphapose17": ({"a.json": alphapose(COCO17.joint_names, idx=[3.0])}, COCO17, [0, 1, 11], 3),
    "alphapose136": ({"a.json": alphapose([*HALPE, *["face"] * 110])}, COCO21, [0, 1, 11], None),
    "pose2sim": ({f"j/clip_{i:06d}.json": openpose(HALPE) for i in range(3)}, COCO21, [0, 1, 2], None),
    "from 1": ({f"j/clip_{i:06d}.json": openpose(HALPE) for i in (1, 2, 3)}, COCO21, [0, 1, 2], None),
    "comfyui": ({"a.json": [openpose(PEOPLE18), {"people": []}, scaled(), None]}, COCO17, [0, 2], None),
    "labels": ({f"l/clip_{i}.txt": labels(COCO17.joint_names, "0.8 7") for i in (1, 3)}, COCO17, [0, 2], 7),
    "ultralytics": ({"a.json": [ultralytics(), [], ultralytics()]}, COCO17, [0, 2], 4),
    "vitpose": ({"a_result.json": vitpose(VITPOSE25)}, COCO21, [0, 2], 2),
    "mediapipe": (
        {"a.json": [{"pose_landmarks": [dicts((WIDTH, HEIGHT))]}, {"pose_landmarks": []}, None]},
        BLAZEPOSE33,
        [0],
        None,
    ),
    "landmarks": ({"a.json": [dicts((WIDTH, HEIGHT)), [], dicts((WIDTH, HEIGHT))]}, BLAZEPOSE33, [0, 2], None),
    "mmpose": (
        {"a.json": [{"frame_id": i, "instances": [mmpose(HALPE)] * (i > 0)} for i in range(3)]},
        COCO21,
        [1, 2],
        None,
    ),
    "lines": ({"a.jsonl": "\n".join(json.dumps({**RESULT, "image_id": i}) for i in (0, 4))}, COCO17, [0, 4], None),
}
IMAGES = {
    "openpose": ("photo_keypoints.json", openpose(BODY_25)),
    "BODY_25B": ("photo_keypoints.json", openpose(ORDERS["BODY_25B"])),
    "old openpose": ("photo_keypoints.json", {"people": [{"pose_keypoints": flat(PEOPLE18)}]}),
    "dwpose": ("photo.json", openpose(PEOPLE18, canvas_width=WIDTH, canvas_height=HEIGHT)),
    "resized": ("photo.json", {**scaled(), "canvas_width": 720, "canvas_height": 1280}),
    "alphapose-open": ("a.json", {"photo.jpg": openpose(PEOPLE18)}),
    "alphapose-cmu": ("a.json", {"photo.jpg": {"version": "AlphaPose v0.3", "bodies": [{"joints": flat(PEOPLE18)}]}}),
    "mmpose": ("results_photo.json", {"instance_info": [mmpose(COCO17.joint_names)]}),
    "labels": ("photo.txt", labels(COCO17.joint_names)),
    "ultralytics": ("photo.json", ultralytics()),
    "mediapipe": ("photo.json", {"landmark": dicts((WIDTH, HEIGHT))}),
    "vitpose": ("photo_result.json", {**vitpose(VITPOSE25), "keypoints": [vitpose(VITPOSE25)["keypoints"][0]]}),
    "shares": ("a.json", [{"image_id": "photo.jpg", "keypoints": (FULL / [WIDTH, HEIGHT, 1]).ravel().tolist()}]),
    "signed": (
        "a.json",
        [{"image_id": "photo.jpg", "keypoints": (FULL * [2 / WIDTH, 2 / HEIGHT, 1] - [1, 1, 0]).ravel().tolist()}],
    ),
}


def check_person(person, skeleton) -> None:
    person = person.in_image("x", WIDTH, HEIGHT)
    for name in skeleton.joint_names:
        if name in TRUTH:
            np.testing.assert_allclose(person.keypoints[BLAZEPOSE33.index(name), :2], TRUTH[name], atol=0.02)
    assert (person.keypoints[:, 2] > 0).sum() == len(skeleton)


@pytest.mark.parametrize("program", VIDEOS)
def test_a_videos_frames(save, program):
    files, skeleton, frames, track = VIDEOS[program]
    paths = [save(document, name) for name, document in files.items()]
    people = read_keypoints(paths[0] if len(paths) == 1 else paths[0].parent)
    assert people.skeleton is skeleton
    with_people = {index: people.people_of(FrameKey(f"{index:06d}", index)) for index in range(12)}
    assert [index for index, found in with_people.items() if found] == frames
    for index in frames:
        (person,) = with_people[index]
        check_person(person, skeleton)
        assert person.track == track


@pytest.mark.parametrize("program", IMAGES)
def test_an_image(save, program):
    name, document = IMAGES[program]
    people = read_keypoints(save(document, name))
    (person,) = people.people_in("photo.jpg")
    check_person(person, people.skeleton)
    notes = {"BODY_25B": "the order of the 25 points is that of BODY_25B", "shares": "0 to 1", "signed": "−1 to 1"}
    notes["mediapipe"] = notes["shares"]
    assert [note for note in people.notes if notes.get(program, "none") not in note] == []
    assert bool(people.notes) == (program in notes)


@pytest.mark.parametrize("order", ["AIC", "CrowdPose", "LSP", "Human3.6M"])
def test_the_order_of_unnamed_points_follows_from_the_points(save, order):
    people = read_keypoints(save([{"image_id": "a.jpg", "keypoints": flat(ORDERS[order])}]))
    (person,) = people.people_in("a.jpg")
    for name in COCO17.joint_names[5:]:
        np.testing.assert_allclose(person.keypoints[BLAZEPOSE33.index(name), :2], TRUTH[name], atol=0.02)
    assert people.notes == [f"people.json: the order of the {len(ORDERS[order])} points is that of {order}"]


@pytest.mark.parametrize("form", ["utf-16", "utf-8-sig", "gzip", "npy", "npz", "pickle"])
def test_encodings_and_containers(tmp_path, form):
    path, points = tmp_path / "people.json", FULL[None, None]
    if form == "npy":
        np.save(tmp_path / "people.npy", points)
        path = tmp_path / "people.npy"
    elif form == "npz":
        np.savez(path := tmp_path / "people.npz", keypoints=points[..., :2], scores=points[..., 2])
    elif form == "gzip":
        text = json.dumps([RESULT]).encode()
        path.write_bytes(gzip.compress(text[:20]) + gzip.compress(text[20:]))
    elif form == "pickle":
        path.write_bytes(pickle.dumps([{**RESULT, "image_id": np.int64(1)}], 0))
    else:
        path.write_text(json.dumps([RESULT]), form)
    people = read_keypoints(path)
    ((person,),) = (*people.by_name.values(), *people.by_number.values())
    check_person(person, COCO17)


def test_one_bad_person_is_left_out_with_a_note(save):
    people = read_keypoints(save([RESULT, {**RESULT, "keypoints": [1, 2]}, None, {**RESULT, "image_id": [3]}]))
    assert len(people.by_number[1]) == 1
    (note,) = people.notes
    assert note.startswith("3 of 4 people of people.json are left out: ")
    assert "entry[1]: has unusable keypoints" in note
    with raises(InputError, subject="entry[0]", problem="unusable keypoints"):
        read_keypoints(save([{**RESULT, "keypoints": [1, 2]}]))


@pytest.mark.parametrize(
    ("document", "subject", "got"),
    [
        ([{**RESULT, "keypoints": ["x"] * 51}], "entry[0]", "'x'"),
        ([{**RESULT, "keypoints": [True] * 51}], "entry[0]", "True"),
        ([{**RESULT, "keypoints": [10**400] * 51}], "entry[0]", "100000"),
        ([{**RESULT, "keypoints": []}], "entry[0]", "empty"),
        ([{**RESULT, "image_id": None}], "entry[0]", "None"),
        ([{**RESULT, "score": "high"}], "entry[0]", "'high'"),
        ([{**RESULT, "bbox": [1, 2, -1, 4]}], "entry[0]", "-1 × 4"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4]}], "entry[0]", "image_id, bbox"),
        ([5], "", "a list of 1"),
        ({"annotations": 3}, "", "3"),
        ({"annotations": [], "images": [{"id": 3}]}, "images[0]", ""),
        ({"annotations": [], "images": 3}, "images", "3"),
        ({"annotations": [{"image_id": 2}], "images": [{"id": 3, "file_name": "a"}]}, "annotations[0]", "2"),
        ({"annotations": [], "categories": [{"id": 1, "name": "dog", "keypoints": ["Eye"]}]}, "categories", "dog"),
        ({"a.jpg": [[1, 2, 3, 4]]}, "", "a.jpg"),
        (3, "", "'3'"),
        ("[1, 2", "", ""),
        ("", "", "nothing"),
        ("[" * 100_000, "", ""),
        ({"people": 3}, "people", "3"),
        ({"people": [3]}, "", "a table of people"),
        ({"people": [{}]}, "", "a table of people"),
        ({"people": [{"pose_keypoints_2d": [5.0] * 60}]}, "people[0]", "20"),
        ([{"version": "ap10k", "animals": [[[1, 2, 1]] * 17]}], "[0]", ""),
        ({"instance_info": 3}, "", "3"),
        ({"instance_info": [mmpose(COCO17.joint_names) | {"keypoint_scores": [1.0]}]}, "[0]", "1"),
        ({"meta_info": {"keypoint_id2name": {"0": "thorax"}}, "instance_info": [{}]}, "meta_info", "thorax"),
        ([{"frame_id": "1", "instances": []}], "[0]", ""),
        ([{"frame_id": 1, "instances": [mmpose(COCO17.joint_names, bbox=[[1, 2, 1, 4]])]}], "instances[0]", "1 2 1 4"),
        (alphapose(["x"] * 20), "entry[0]", "20"),
        (alphapose(["x"] * 14), "", "CrowdPose or AIC"),
        (vitpose(["nose", "tail"]), "skeleton", "tail"),
        ({**vitpose(VITPOSE25), "keypoints": [{"0": [[1, 2, 3]]}]}, "[0][0]", "1"),
        ({"landmark": dicts()[:20]}, "landmark", "20"),
        ("0 0.5 0.5 0.1 0.1 0.7 1\n", "line 1", ""),
        ("0 0.5 0.5 0.1 0.1 0.7 1 2 3 4\n", "line 1", ""),
    ],
)
def test_refused(save, document, subject, got):
    with raises(InputError, subject=("people.json", subject), got=got) as caught:
        read_keypoints(save(document))
    assert "\n" not in str(caught.value)


class TestCoco:
    def test_results_by_name_and_by_number(self, save):
        named = {**RESULT, "image_id": "sub/a.jpg"}
        records = [
            {**named, "score": 0.7},
            {**named, "bbox": [1, 2, 30, 40]},
            {**RESULT, "image_id": 139, "score": 3.2},
        ]
        people = read_keypoints(save(records))
        first, second = people.people_in("sub/a.jpg")
        assert (first.keypoints.dtype, first.box, first.score) == (np.float32, None, 0.7)
        assert second.box.tolist() == [1, 2, 31, 42]
        assert people.people_in("a.jpg") == people.people_in("deep/sub/a.jpg") == (first, second)
        assert people.people_in("sub/a.png") == (first, second)
        assert people.people_in("other/a.jpg") is None
        (coco_style,) = people.people_in("000000000139.jpg")
        assert coco_style.score == 3.2
        assert people.people_in("000139", index=139) == (coco_style,)
        assert people.people_in("b.jpg") is None

    def test_frame_numbers_where_there_are_no_names(self, save):
        people = read_keypoints(save([{**RESULT, "image_id": 3}]))
        assert len(people.people_in("img_0010.png", index=3)) == 1
        assert people.people_in("img_0003.png", index=10) is None
        assert people.people_in("img_0003.png") is None

    def test_annotations_with_flags_crowds_sizes_and_empty_images(self, save):
        flags = FULL.copy()
        flags[:, 2], flags[3, 2], flags[4] = 2, 1, 0
        images = [{"id": 7, "file_name": "ä.jpg", "width": 10, "height": 20}, {"id": 8, "file_name": "empty.jpg"}]
        person = {"image_id": 7, "category_id": 5, "bbox": [0, 0, 9, 9]}
        annotations = [
            {**person, "keypoints": flags.ravel().tolist()},
            {**person, "keypoints": [0] * 51},
            {**person, "iscrowd": 1, "keypoints": [0] * 51},
            {**person, "category_id": 6, "keypoints": [5, 5, 2] * 20},
        ]
        categories = [{"id": 5, "name": "person"}, {"id": 6, "name": "dog"}]
        people = read_keypoints(save({"images": images, "categories": categories, "annotations": annotations}))
        person, unlabelled = people.people_in("ä.jpg")
        assert not unlabelled.keypoints.any()
        assert person.canvas == (10, 20)
        assert person.keypoints[COCO_ROWS][:5, 2].tolist() == [1, 1, 1, 0.5, 0]
        assert people.people_in("empty.jpg") == ()
        assert people.people_in("unknown.jpg") is None

    @pytest.mark.parametrize(
        "names",
        [
            ["nose", "head_bottom", "head_top", *COCO17.joint_names[3:]],  # PoseTrack
            [
                *("root", *(n.replace("ankle", "foot") for n in PEOPLE18[8:14]), "spine", "thorax", "neck_base"),
                *("head", *PEOPLE18[5:8], *PEOPLE18[2:5]),  # Human3.6M
            ],
            ["L" + n[5:].title() if n.startswith("left") else "R" + n[6:].title() for n in COCO17.joint_names[5:]],
        ],
        ids=["posetrack", "h36m", "letters"],
    )
    def test_names_of_categories_decide(self, save, names):
        values = []
        for name in names:
            full = name.lower() if "_" in name else {"L": "left_", "R": "right_"}.get(name[0], "") + name[1:].lower()
            values += [*point(full.replace("_foot", "_ankle")), 2]
        categories = [{"id": 3, "name": "person", "keypoints": names}]
        annotation = {"image_id": 1, "category_id": 3, "keypoints": values}
        images = [{"id": 1, "file_name": "a.jpg"}]
        document = {"images": images, "categories": categories, "annotations": [annotation]}
        (person,) = read_keypoints(save(document)).people_in("a.jpg")
        for name in COCO17.joint_names[5:]:
            assert person.keypoints[BLAZEPOSE33.index(name)].tolist() == pytest.approx([*TRUTH[name], 1]), name
        assert person.keypoints[BLAZEPOSE33.indices(["left_eye", "right_eye"]), 2].tolist() == [0, 0]

    def test_a_canvas_of_another_shape_is_refused(self, save):
        square = {**openpose(PEOPLE18), "canvas_width": 512, "canvas_height": 512}
        (person,) = read_keypoints(save(square)).people_in("people")
        with raises(InputError, problem="images of another shape", got="512 × 512 for an image of 360 × 640"):
            person.in_image("x", WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("record", "confidence"),
    [
        ({"image_id": 1.0, "category_id": 1.0}, 0.9),
        ({"category_id": "1", "keypoints": [str(value) for value in KEYPOINTS]}, 0.9),
        ({"keypoints": [*(FULL * [1, 1, 100]).ravel()]}, 0.9),
        ({"keypoints": [[x, y] if row else [-1, -1] for row, (x, y, _) in enumerate(FULL)]}, 1.0),
    ],
    ids=["floats", "texts", "percent", "-1"],
)
def test_ids_and_numbers_as_programs_write_them(save, record, confidence):
    (person,) = read_keypoints(save([{**RESULT, **record}])).people_in("000001.jpg")
    np.testing.assert_allclose(person.keypoints[COCO_ROWS][1:, :2], FULL[1:, :2], rtol=1e-5)
    assert np.median(person.keypoints[COCO_ROWS, 2]) == pytest.approx(confidence)
    assert person.keypoints[0].any() != (confidence == 1)


def test_damaged_files_of_a_folder_and_tiny_boxes_are_no_people(save, tmp_path):
    for number, document in enumerate((openpose(BODY_25), "", openpose(BODY_25))):
        save(document, f"clip/a_{number:012d}_keypoints.json")
    people = read_keypoints(tmp_path / "clip")
    assert (len(people.by_name), "1 files of clip are left out" in people.notes[0]) == (2, True)
    boxes = read_boxes(save({"a.jpg": [[0, 0, 1, 1], [10, 20, 30, 40], [50, 20, 70, 40]]}))
    assert [person.canvas for person in boxes.people_in("a.jpg")] == [None] * 3


@pytest.mark.parametrize("flat_joints", [False, True])
def test_arrays_of_landmarks_with_depth(tmp_path, flat_joints):
    joints = np.array([[p["x"], p["y"], -0.3, p["visibility"]] for p in dicts((WIDTH, HEIGHT))])
    np.save(tmp_path / "a.npy", np.stack([joints.ravel() if flat_joints else joints] * 3))
    (person,) = read_keypoints(tmp_path / "a.npy").by_number[2]
    np.testing.assert_allclose(person.keypoints, joints[:, [0, 1, 3]], rtol=1e-5)


@pytest.mark.parametrize("missing", [float("nan"), None])
def test_one_joint_that_is_no_number_is_missing(save, missing):
    values = flat(COCO17.joint_names)
    values[9:12] = [missing] * 3
    (person,) = read_keypoints(save([{"image_id": "a.jpg", "keypoints": values}])).people_in("a.jpg")
    assert np.flatnonzero(person.keypoints[COCO_ROWS, 2] == 0).tolist() == [3]


@pytest.mark.parametrize("document", ["labels", "ultralytics"])
def test_joints_at_0_0_are_missing_whatever_their_score(save, document):
    """`Keypoints` of many versions of YOLO moves joints of a score below 0.5 to the corner and keeps the score."""
    if document == "labels":
        line = labels(COCO17.joint_names).split()
        line[5 + 27 : 5 + 30] = ["0", "0", "0.45"]
        path = save(" ".join(line), "photo.txt")
    else:
        (record,) = ultralytics()
        for axis, value in (("x", 0.0), ("y", 0.0), ("visible", 0.45)):
            record["keypoints"][axis][9] = value
        path = save([record], "photo.json")
    (person,) = read_keypoints(path).people_in("photo.jpg")
    confidence = person.keypoints[COCO_ROWS, 2]
    assert confidence[9] == 0
    np.testing.assert_allclose(np.delete(confidence, 9), 0.9, atol=1e-6)


def test_scores_and_classes(save):
    assert [p.score for p in read_keypoints(save(alphapose(HALPE))).people_in("0.jpg")] == [2.9]  # not clipped
    assert [p.score for p in read_keypoints(save(ultralytics())).people_in("people.jpg")] == [0.8]
    (person,) = read_keypoints(save(openpose(PEOPLE18), "a_keypoints.json")).people_in("a.jpg")
    assert person.score == pytest.approx(0.9)
    (record,) = ultralytics()
    people = [{**record, "name": "dog", "class": 0}, {**record, "name": "person", "class": 1}]
    assert len(read_keypoints(save(people)).people_in("people.jpg")) == 1
    players = [{**record, "name": "player", "class": 0}, {**record, "name": "ball", "class": 1}]
    assert len(read_keypoints(save(players)).people_in("people.jpg")) == 1
    unknown = {"pose_landmarks": [[{**row, "visibility": None} for row in dicts((WIDTH, HEIGHT))]]}
    (person,) = read_keypoints(save(unknown)).people_in("people.jpg")
    assert (person.keypoints[:, 2] == 1).all()


def test_shares_of_the_sides_may_lie_outside_the_image(save):
    document = scaled()
    document["people"][0]["pose_keypoints_2d"][3 * 4] = 1.3  # x of the right wrist
    (person,) = read_keypoints(save(document)).people_in("people.jpg")
    right_wrist = person.in_image("x", WIDTH, HEIGHT).keypoints[BLAZEPOSE33.index("right_wrist")]
    np.testing.assert_allclose(right_wrist, [1.3 * WIDTH, TRUTH["right_wrist"][1], 1], rtol=1e-5)


@pytest.mark.parametrize(
    ("document", "joints"),
    [
        (labels(COCO17.joint_names, "0.8").replace("0.90000000", "0"), 0),
        ([{"image_id": "people.jpg", "keypoints": [0] * 51, "score": 0.8}], 0),
        ([{"image_id": "people.jpg", "keypoints": [*point("nose"), 1, *[0] * 48], "score": 0.8}], 1),
        ({"people": [{"pose_keypoints_2d": [float("nan")] * 78}, {"pose_keypoints_2d": None}]}, None),
        ([], None),
    ],
    ids=["labels", "coco", "one joint", "nan", "nothing"],
)
def test_people_with_a_score_but_without_joints_stay_to_be_counted(save, document, joints):
    people = read_keypoints(save(document)).people_in("people.jpg")
    assert [((person.keypoints[:, 2] > 0).sum(), person.score) for person in people] == (
        [] if joints is None else [(joints, pytest.approx(0.8))]
    )


class TestFrames:
    KEYS = tuple(FrameKey(f"{index:06d}", index) for index in range(12))

    def test_frames_that_are_not_mentioned_are_counted(self, save):
        people = read_keypoints(save(alphapose(HALPE)))
        assert people.check_frames(self.KEYS) == ["9 of 12 frames are not in people.json: without people"]
        assert people.check_frames(self.KEYS[:2]) == []

    def test_numbers_1_to_n_of_n_frames(self, save, tmp_path):
        people = read_keypoints(save([{**RESULT, "image_id": number} for number in range(1, 13)]))
        assert people.check_frames(self.KEYS) == ["people.json counts frames from 1"]
        assert len(people.people_of(self.KEYS[0])) == 1
        part = read_keypoints(save([{**RESULT, "image_id": number} for number in range(1, 30)]))
        assert part.check_frames(self.KEYS) == ["people.json counts frames from 1"]
        gaps = read_keypoints(save([{**RESULT, "image_id": number} for number in (1, 2, 3, 40)]))
        assert gaps.check_frames(self.KEYS) == ["9 of 12 frames are not in people.json: without people"]
        for number in (1, 2):
            save(openpose(BODY_25), f"clip/a_{number:012d}_keypoints.json")
        assert read_keypoints(tmp_path / "clip").check_frames(self.KEYS[:2]) == ["clip counts frames from 1"]

    def test_a_file_that_mentions_none_is_refused(self, save):
        people = read_keypoints(save([{**RESULT, "image_id": f"{name}.jpg"} for name in "abcde"]))
        with raises(
            InputError, problem="COCO's results that mention none of the 12", expected="000000", got="a.jpg, b"
        ):
            people.check_frames(self.KEYS)

    def test_one_unnamed_image_is_the_only_image(self, save):
        people, key = read_keypoints(save(scaled(), "pose_00001_.json")), FrameKey("b.png", None, "/x/b.png")
        with raises(InputError, problem="none of the 2 images"):
            people.check_frames([key, FrameKey("c.png")])
        (note,) = people.check_frames([key])
        assert note == "pose_00001_.json (OpenPose's people) names no image: its people belong to b.png"
        assert len(people.people_of(key)) == 1
        named = read_keypoints(save(scaled(), "a_keypoints.json"))
        with raises(InputError, problem="do not mention b.png"):
            named.check_frames([key])

    def test_folders(self, save, tmp_path):
        for name in ("img_0012", "other_0013"):
            save(openpose(BODY_25), f"out/{name}_keypoints.json")
        people = read_keypoints(tmp_path / "out")
        assert len(people.people_in("img_0012.png", index=0)) == 1
        assert people.people_in("img_0099.png", index=12) is None
        assert people.people_in("000012", index=12) is None
        for name, found in (("a", [mmpose(COCO17.joint_names)]), ("b", [])):
            save(found, f"predictions/{name}.json")
        people = read_keypoints(tmp_path / "predictions")
        assert [people.people_in(f"{name}.jpg") and len(people.people_in(f"{name}.jpg")) for name in "abc"] == [
            1,
            (),
            None,
        ]
        (tmp_path / "empty").mkdir()
        with raises(InputError, expected="OpenPose"):
            read_keypoints(tmp_path / "empty")
        save("{", "damaged/a_keypoints.json")
        with raises(InputError, subject="a_keypoints.json", problem="no JSON"):
            read_keypoints(tmp_path / "damaged")

    @pytest.mark.parametrize("key", ["frames", "results", "predictions", "data", "annotations"])
    def test_a_list_behind_a_key(self, save, key):
        frame = {"people": [{"pose_keypoints_2d": [100.0, 50.0, 0.5] * 18}]}
        people = read_keypoints(save({"fps": 30, "width": 320, "height": 240, key: [frame, {"people": []}]}))
        (person,) = people.people_in("000000", 0)
        assert person.in_image("x", 640, 480).keypoints[0].tolist() == [200, 100, 0.5]
        assert people.people_in("000001", 1) == ()
        other = {"frames": [{"file": "a.jpg"}], "data": {"made": 2026}, "detections": []}
        assert len(read_keypoints(save({**other, key: [{**RESULT, "image_id": "a.jpg"}]})).people_in("a.jpg")) == 1
