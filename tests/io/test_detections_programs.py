"""One file of each program, in the form of its writer; which frames a file mentions; refusals that say what it is."""

from __future__ import annotations

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

VIDEOS = {  # program → files, joints, frames with people, track
    "alphapose17": ({"a.json": alphapose(COCO17.joint_names, idx=[3.0])}, COCO17, [0, 1, 11], 3),
    "alphapose136": ({"a.json": alphapose([*HALPE, *["face"] * 110])}, COCO21, [0, 1, 11], None),
    "pose2sim": ({f"j/clip_{i:06d}.json": openpose(HALPE) for i in range(3)}, COCO21, [0, 1, 2], None),
    "comfyui": ({"a.json": [openpose(PEOPLE18), {"people": []}, scaled()]}, COCO17, [0, 2], None),
    "labels": ({f"l/clip_{i}.txt": labels(COCO17.joint_names, "0.8 7") for i in (1, 3)}, COCO17, [0, 2], 7),
    "ultralytics": ({"a.json": [ultralytics(), [], ultralytics()]}, COCO17, [0, 2], 4),
    "vitpose": ({"a_result.json": vitpose(VITPOSE25)}, COCO21, [0, 2], 2),
    "mediapipe": (
        {"a.json": [{"pose_landmarks": [dicts((WIDTH, HEIGHT))]}, {"pose_landmarks": []}, None]},
        BLAZEPOSE33,
        [0],
        None,
    ),
}
IMAGES = {
    "openpose": ("photo_keypoints.json", openpose(BODY_25)),
    "old openpose": ("photo_keypoints.json", {"people": [{"pose_keypoints": flat(PEOPLE18)}]}),
    "dwpose": ("photo.json", openpose(PEOPLE18, canvas_width=WIDTH, canvas_height=HEIGHT)),
    "resized": ("photo.json", {**scaled(), "canvas_width": 720, "canvas_height": 1280}),
    "alphapose-open": ("a.json", {"photo.jpg": openpose(PEOPLE18)}),
    "alphapose-cmu": ("a.json", {"photo.jpg": {"version": "AlphaPose v0.3", "bodies": [{"joints": flat(PEOPLE18)}]}}),
    "labels": ("photo.txt", labels(COCO17.joint_names)),
    "ultralytics": ("photo.json", ultralytics()),
    "mediapipe": ("photo.json", {"landmark": dicts((WIDTH, HEIGHT))}),
    "vitpose": ("photo_result.json", {**vitpose(VITPOSE25), "keypoints": [vitpose(VITPOSE25)["keypoints"][0]]}),
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
    with_people = {index: people.people_in(f"{index:06d}", index) for index in range(12)}
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


def test_scores_are_not_clipped(save):
    assert [p.score for p in read_keypoints(save(alphapose(HALPE))).people_in("0.jpg")] == [2.9]
    assert [p.score for p in read_keypoints(save(ultralytics())).people_in("people.jpg")] == [0.8]
    (person,) = read_keypoints(save(openpose(PEOPLE18), "a_keypoints.json")).people_in("a.jpg")
    assert person.score == pytest.approx(0.9)


@pytest.mark.parametrize(
    "names",
    [
        ["nose", "head_bottom", "head_top", *COCO17.joint_names[3:]],  # PoseTrack
        [
            *("root", *(n.replace("ankle", "foot") for n in PEOPLE18[8:14]), "spine", "thorax", "neck_base", "head"),
            *(*PEOPLE18[5:8], *PEOPLE18[2:5]),  # Human3.6M
        ],
        [*COCO17.joint_names[5:], "top_head", "neck"],  # CrowdPose
        ["L" + n[5:].title() if n.startswith("left") else "R" + n[6:].title() for n in COCO17.joint_names[5:]],
    ],
    ids=["posetrack", "h36m", "crowdpose", "letters"],
)
def test_names_of_categories_decide(save, names):
    values = []
    for name in names:
        full = name.lower() if "_" in name else {"L": "left_", "R": "right_"}.get(name[0], "") + name[1:].lower()
        values += [*point(full.replace("_foot", "_ankle")), 2]
    annotation = {"image_id": 1, "category_id": 3, "keypoints": values}
    dog = {**annotation, "category_id": 4, "keypoints": [5, 5, 2] * 20}
    document = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 3, "name": "person", "keypoints": names}, {"id": 4, "name": "dog"}],
        "annotations": [dog, annotation],
    }
    (person,) = read_keypoints(save(document)).people_in("a.jpg")
    for name in COCO17.joint_names[5:]:
        assert person.keypoints[BLAZEPOSE33.index(name)].tolist() == pytest.approx([*TRUTH[name], 1]), name
    assert person.keypoints[BLAZEPOSE33.indices(["left_eye", "right_eye"]), 2].tolist() == [0, 0]


def test_categories_of_animals_are_no_people(save):
    document = {"annotations": [], "categories": [{"id": 1, "name": "dog", "keypoints": ["L_Eye", "Root of tail"]}]}
    with raises(InputError, subject="categories", problem="none of people", got="dog"):
        read_keypoints(save(document))


@pytest.mark.parametrize("missing", [float("nan"), None])
def test_one_joint_that_is_no_number_is_missing(save, missing):
    values = flat(COCO17.joint_names)
    values[9:12] = [missing] * 3
    (person,) = read_keypoints(save([{"image_id": "a.jpg", "keypoints": values}])).people_in("a.jpg")
    assert np.flatnonzero(person.keypoints[BLAZEPOSE33.indices(COCO17.joint_names), 2] == 0).tolist() == [3]


@pytest.mark.parametrize("document", ["labels", "ultralytics"])
def test_yolos_joints_at_0_0_are_missing_whatever_their_score(save, document):
    """`Keypoints` of many versions moves joints of a score below 0.5 to the corner and keeps the score."""
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
    confidence = person.keypoints[BLAZEPOSE33.indices(COCO17.joint_names), 2]
    assert confidence[9] == 0
    np.testing.assert_allclose(np.delete(confidence, 9), 0.9, atol=1e-6)


def test_yolos_names_of_classes_decide(save):
    (record,) = ultralytics()
    people = [{**record, "name": "dog", "class": 0}, {**record, "name": "person", "class": 1}]
    assert len(read_keypoints(save(people)).people_in("people.jpg")) == 1
    players = [{**record, "name": "player", "class": 0}, {**record, "name": "ball", "class": 1}]
    assert len(read_keypoints(save(players)).people_in("people.jpg")) == 1


def test_landmarks_of_unknown_visibility_are_visible(save):
    document = {"pose_landmarks": [[{**row, "visibility": None} for row in dicts((WIDTH, HEIGHT))]]}
    (person,) = read_keypoints(save(document)).people_in("people.jpg")
    assert (person.keypoints[:, 2] == 1).all()


def test_shares_of_the_sides_may_lie_outside_the_image(save):
    document = scaled()
    document["people"][0]["pose_keypoints_2d"][3 * 4] = 1.3  # x of the right wrist
    (person,) = read_keypoints(save(document)).people_in("people.jpg")
    right_wrist = person.in_image("x", WIDTH, HEIGHT).keypoints[BLAZEPOSE33.index("right_wrist")]
    np.testing.assert_allclose(right_wrist, [1.3 * WIDTH, TRUTH["right_wrist"][1], 1], rtol=1e-5)


@pytest.mark.parametrize(
    "document",
    [
        labels(COCO17.joint_names, "0.8").replace("0.90000000", "0"),
        [{"image_id": "people.jpg", "keypoints": [0] * 51, "score": 0.8}],
        [{"image_id": "people.jpg", "keypoints": [*point("nose"), 1, *[0] * 48], "score": 0.8}],
    ],
    ids=["labels", "coco", "one joint"],
)
def test_people_with_a_score_but_without_joints_stay_to_be_counted(save, document):
    (person,) = read_keypoints(save(document)).people_in("people.jpg")
    assert (person.keypoints[:, 2] > 0).sum() < 2
    assert person.score == pytest.approx(0.8)


def test_people_of_nan_and_faces_alone_are_no_people(save):
    empty = {"people": [{"pose_keypoints_2d": [float("nan")] * 78}, {"pose_keypoints_2d": None}]}
    assert read_keypoints(save(empty)).people_in("people") == ()


class TestBoxes:
    @pytest.mark.parametrize(
        ("name", "document"),
        [
            ("a.json", [{"image_id": "a.jpg", "bbox": [1, 2, 30, 40], "keypoints": "unusable", "category_id": 1}]),
            ("a.json", [{"image_id": "a.jpg", "box": [1, 2, 30, 40], "keypoints": [1], "idx": 2}]),
            ("a.json", [{"keypoints": [[1]], "keypoint_scores": [1], "bbox": [[1, 2, 31, 42]]}]),
            ("a.json", ultralytics()),
            ("a.dat", {"a.jpg": [[1, 2, 31, 42]]}),
            ("a.list", "name,x0,y0,x1,y1\na.jpg,1,2,31,42\n"),
        ],
        ids=["coco", "alphapose", "mmpose", "ultralytics", "other-suffix", "csv-of-another-name"],
    )
    def test_keypoints_are_not_looked_at(self, save, name, document):
        (person,) = read_boxes(save(document, name)).people_in("a.jpg")
        assert (person.box.tolist(), person.keypoints) == ([1, 2, 31, 42], None)

    @pytest.mark.parametrize("tail", ["", " 0.5", " 0.5 3", " " + " ".join(["0.5"] * 51)])
    def test_labels_of_people_only(self, save, tail):
        path = save(f"0 0.5 0.5 0.2 0.5{tail}\n16 0.5 0.5 0.2 0.5{tail}\n", "a.txt")
        (person,) = read_boxes(path).people_in("a.jpg")
        np.testing.assert_allclose(person.in_image("x", 100, 200).box, [40, 50, 60, 150], atol=1e-4)

    def test_a_folder_of_keypoints_is_refused(self, save):
        with raises(InputError, problem="OpenPose's people", remedy="`keypoints`"):
            read_boxes(save(openpose(HALPE)))


class TestFrames:
    KEYS = tuple(FrameKey(f"{index:06d}", index) for index in range(12))

    def test_frames_that_are_not_mentioned_are_counted(self, save):
        people = read_keypoints(save(alphapose(HALPE)))
        assert people.check_frames(self.KEYS) == ["9 of 12 frames are not in people.json: without people"]
        assert people.check_frames(self.KEYS[:2]) == []

    def test_a_file_that_mentions_none_is_refused(self, save):
        people = read_keypoints(save([{"image_id": f"{name}.jpg", "keypoints": flat(HALPE)} for name in "abcde"]))
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


@pytest.mark.parametrize(
    ("document", "subject", "problem", "got"),
    [
        (alphapose(["x"] * 20), "entry[0]", "AlphaPose's results", "20"),
        (alphapose(["x"] * 25), "entry[0]", "AlphaPose's results", "25"),
        (alphapose(["x"] * 14), "entry[0]", "AlphaPose's results", "14"),
        ({**scaled(), "canvas_height": None}, "people[0]", "scaled to 0–1", ""),
        ([{"version": "ap10k", "animals": [[[1, 2, 1]] * 17]}], "[0]", "AP-10K", ""),
        (vitpose(["nose", "tail"]), "skeleton", "easy_ViTPose's", "tail"),
        ({**vitpose(VITPOSE25), "keypoints": [{"0": [[1, 2, 3]]}]}, "[0][0]", "easy_ViTPose's", "1"),
        ({"landmark": dicts()[:20]}, "", "MediaPipe's landmarks", "20"),
        ("0 0.5 0.5 0.1 0.1 0.7 1\n", "line 1", "YOLO's labels", ""),
        ("0 0.5 0.5 0.1 0.1 0.7 1 2 3 4\n", "line 1", "holds 5 numbers", ""),
        ("0 0.5 0.5 0.1 0.1\n0 0.5 x 1 1\n", "line 1", "YOLO's labels", ""),
    ],
)
def test_refusals_say_what_the_file_is(save, document, subject, problem, got):
    with raises(InputError, subject=subject, problem=problem, got=got):
        read_keypoints(save(document))


def test_a_canvas_of_another_shape_is_refused(save):
    (person,) = read_keypoints(save({**openpose(PEOPLE18), "canvas_width": 512, "canvas_height": 512})).people_in(
        "people"
    )
    with raises(InputError, problem="images of another shape", got="512 × 512 for an image of 360 × 640"):
        person.in_image("x", WIDTH, HEIGHT)
