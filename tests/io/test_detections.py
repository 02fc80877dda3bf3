"""People of other detectors: COCO, OpenPose, MMPose, boxes; matched to images; refused by record."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.detections import FrameKey, read_boxes, read_keypoints

COCO_ROWS = BLAZEPOSE33.indices(COCO17.joint_names)


def coco_keypoints(seed=0, third=0.9) -> list[float]:
    rng = np.random.default_rng(seed)
    return np.column_stack((rng.uniform(10, 500, (17, 2)).round(2), np.full(17, third))).ravel().tolist()


class TestCoco:
    def test_results_by_name_and_by_number(self, save):
        path = save(
            [
                {"image_id": "sub/a.jpg", "category_id": 1, "keypoints": coco_keypoints(1), "score": 0.7},
                {"image_id": "sub/a.jpg", "keypoints": coco_keypoints(2), "bbox": [1, 2, 30, 40]},
                {"image_id": 139, "keypoints": coco_keypoints(3), "score": 3.2},
            ]
        )
        people = read_keypoints(path)
        first, second = people.people_in("sub/a.jpg")
        np.testing.assert_allclose(first.keypoints[COCO_ROWS].ravel(), coco_keypoints(1), rtol=1e-6)
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
        people = read_keypoints(save([{"image_id": 3, "keypoints": coco_keypoints()}]))
        assert len(people.people_in("img_0010.png", index=3)) == 1
        assert people.people_in("img_0003.png", index=10) is None
        assert people.people_in("img_0003.png") is None

    def test_annotations_with_flags_crowds_and_empty_images(self, save):
        flags = np.array(coco_keypoints(third=2)).reshape(17, 3)
        flags[3, 2], flags[4] = 1, 0
        document = {
            "images": [{"id": 7, "file_name": "ä.jpg"}, {"id": 8, "file_name": "empty.jpg"}],
            "categories": [{"id": 5, "name": "person"}],
            "annotations": [
                {"image_id": 7, "category_id": 5, "keypoints": flags.ravel().tolist(), "bbox": [0, 0, 9, 9]},
                {"image_id": 7, "category_id": 5, "keypoints": [0] * 51, "bbox": [0, 0, 9, 9], "num_keypoints": 0},
                {"image_id": 7, "category_id": 5, "iscrowd": 1, "keypoints": [0] * 51, "segmentation": {}},
            ],
        }
        people = read_keypoints(save(document))
        person, unlabelled = people.people_in("ä.jpg")
        assert not unlabelled.keypoints.any()
        assert person.keypoints[COCO_ROWS][:5, 2].tolist() == [1, 1, 1, 0.5, 0]
        assert people.people_in("empty.jpg") == ()
        assert people.people_in("unknown.jpg") is None

    def test_flags_in_results_and_keypoints_of_the_complete_body(self, save):
        rows = np.array(coco_keypoints(third=2)).reshape(17, 3)
        rows[0, 2] = 1
        (person,) = read_keypoints(save([{"image_id": "a", "keypoints": rows.ravel().tolist()}])).people_in("a.jpg")
        assert person.keypoints[COCO_ROWS][:2, 2].tolist() == [0.5, 1]
        keypoints = coco_keypoints() + [5.0] * (399 - 51)
        (person,) = read_keypoints(save([{"image_id": "a", "keypoints": keypoints}])).people_in("a.jpg")
        np.testing.assert_allclose(person.keypoints[COCO_ROWS].ravel(), coco_keypoints(), rtol=1e-6)

    @pytest.mark.parametrize(
        ("document", "subject", "got"),
        [
            ([{"image_id": 1, "keypoints": [1, 2]}], "entry[0]", "2"),
            ([{"image_id": 1, "keypoints": ["x"] * 51}], "entry[0]", "'x'"),
            ([{"image_id": 1, "keypoints": [True] * 51}], "entry[0]", "True"),
            ([{"image_id": 1, "keypoints": [10**400] * 51}], "entry[0]", "100000"),
            ([{"image_id": 1, "keypoints": coco_keypoints()}, {"keypoints": coco_keypoints()}], "entry[1]", "None"),
            ([{"image_id": 1, "keypoints": coco_keypoints(), "score": "high"}], "entry[0]", "'high'"),
            ([{"image_id": 1, "bbox": [1, 2, 3, 4]}], "entry[0]", ""),
            ([{"image_id": 1, "keypoints": coco_keypoints(), "bbox": [1, 2, -1, 4]}], "entry[0]", "-1 × 4"),
            ([5], "entry[0]", "int"),
            ({"annotations": 3}, "", "int"),
            ({"annotations": [], "images": [{"id": 3}]}, "images[0]", ""),
            ({"annotations": [], "images": 3}, "images", "int"),
            ({"annotations": [{"image_id": 2}], "images": [{"id": 3, "file_name": "a"}]}, "annotations[0]", "2"),
            ({"a.jpg": [[1, 2, 3, 4]]}, "", "a.jpg"),
            (3, "", "int"),
            ("[1, 2", "", ""),
            ("", "", ""),
            ("[" * 100_000, "", ""),
        ],
    )
    def test_refused_by_record(self, save, document, subject, got):
        path = save(document)
        with raises(InputError, subject=("people.json", subject), got=got) as caught:
            read_keypoints(path)
        assert "\n" not in str(caught.value)


class TestOpenPose:
    def document(self, third=0.8, scale=100.0):
        """BODY_25: x tells the row, y the same plus a half."""
        rows = [[scale * (i + 1), scale * (i + 1.5), third] for i in range(25)]
        return {"version": 1.3, "people": [{"pose_keypoints_2d": np.ravel(rows).tolist()}]}

    def test_no_people_and_people_without_keypoints(self, save):
        assert read_keypoints(save({"people": []}, "a_keypoints.json")).people_in("a.jpg") == ()
        nothing = self.document(third=0)
        assert read_keypoints(save(nothing, "a_keypoints.json")).people_in("a.jpg") == ()

    def test_a_folder_of_a_videos_frames(self, save, tmp_path):
        for i in range(3):
            document = self.document() if i else {"people": []}
            save(document, f"out/my clip_{i:012d}_keypoints.json")
        people = read_keypoints(tmp_path / "out")
        assert people.people_in("000000", index=0) == ()
        assert len(people.people_in("000002", index=2)) == 1
        assert people.people_in("000003", index=3) is None

    def test_a_folder_of_images_is_matched_by_name_only(self, save, tmp_path):
        for name in ("img_0012", "other_0013"):
            save(self.document(), f"out/{name}_keypoints.json")
        people = read_keypoints(tmp_path / "out")
        assert len(people.people_in("img_0012.png", index=0)) == 1
        assert people.people_in("img_0099.png", index=12) is None
        assert people.people_in("000012", index=12) is None

    @pytest.mark.parametrize(
        ("document", "subject", "got"),
        [
            ({"people": 3}, "", "int"),
            ({"people": [3]}, "people[0]", "int"),
            ({"people": [{}]}, "people[0]", ""),
            ({"people": [{"pose_keypoints_2d": [5.0] * 51 + [1] * 9}]}, "people[0]", "20"),
            ({"people": [{"pose_keypoints_2d": ["x"] * 75}]}, "people[0]", "'x'"),
        ],
    )
    def test_refused_by_record(self, save, document, subject, got):
        with raises(InputError, subject=subject, got=got):
            read_keypoints(save(document))

    def test_scaled_keypoints(self, save):
        with raises(InputError, remedy="keypoint_scale 0"):
            read_keypoints(save(self.document(scale=0.02)))

    def test_folders_without_such_files_and_with_a_damaged_one(self, save, tmp_path):
        (tmp_path / "empty").mkdir()
        with raises(InputError, expected="OpenPose"):
            read_keypoints(tmp_path / "empty")
        save("{", "out/a_keypoints.json")
        with raises(InputError, subject="a_keypoints.json", problem="no JSON"):
            read_keypoints(tmp_path / "out")


class TestMMPose:
    """Documents as MMPose 1.3 writes them: two lists a person, a box in a list of its own."""

    def person(self, joints=17, **more):
        """x tells the row, y the same plus a half."""
        points = [[10.0 * row, 10.0 * row + 5] for row in range(joints)]
        return {"keypoints": points, "keypoint_scores": [0.8] * (joints - 1) + [1.2], **more}

    def test_demo_on_an_image_with_names_and_boxes(self, save):
        names = [*COCO17.joint_names[::-1], "tail"]
        meta = {"dataset_name": "own", "keypoint_id2name": {str(row): name for row, name in enumerate(names)}}
        boxed = self.person(18, bbox=[[1.0, 2.0, 30.0, 40.0]], bbox_score=0.7)
        path = save({"meta_info": meta, "instance_info": [boxed, self.person(18)]}, "results_a b.json")
        first, second = read_keypoints(path).people_in("a b.jpg")
        assert first.keypoints[COCO_ROWS][:, 0].tolist() == [10 * row for row in range(16, -1, -1)]
        assert (first.box.tolist(), first.score, second.box) == ([1, 2, 30, 40], 0.7, None)

    @pytest.mark.parametrize("first", [0, 1])
    def test_videos_count_from_one_in_demos_and_from_zero_in_the_inferencer(self, save, first):
        frames = [{"frame_id": first + i, "instances": [self.person(26)] * i} for i in range(3)]
        people = read_keypoints(save(frames if first == 0 else {"instance_info": frames}))
        assert [len(people.people_in(f"{i:06d}", index=i)) for i in range(3)] == [0, 1, 2]
        assert people.people_in("000003", index=3) is None
        (person,) = people.people_in("shot_0041.png", index=1)
        assert person.keypoints[COCO_ROWS][[0, -1], 0].tolist() == [0, 160]
        assert person.keypoints[COCO_ROWS][[0, -1], 2].tolist() == pytest.approx([0.8, 0.8])

    def test_a_folder_of_the_inferencers_images(self, save, tmp_path):
        for name, people in (("a", [self.person()]), ("b", [])):
            save(people, f"predictions/{name}.json")
        people = read_keypoints(tmp_path / "predictions")
        assert people.people_in("a.jpg")[0].keypoints[COCO_ROWS][-1].tolist() == [160, 165, 1]
        assert (people.people_in("b.jpg"), people.people_in("c.jpg")) == ((), None)

    def test_refused_by_record(self, save):
        halpe = {"keypoint_id2name": {str(row): name for row, name in enumerate(["nose", "thorax"])}}
        for document, subject, got in (
            ({"instance_info": 3}, "", "int"),
            ({"instance_info": [3]}, "[0]", "int"),
            ({"instance_info": [{}]}, "[0]", ""),
            ({"instance_info": [self.person(20)]}, "[0]", "20"),
            ({"instance_info": [self.person() | {"keypoint_scores": [1.0]}]}, "[0]", "1"),
            ({"instance_info": [{"keypoints": [[1, "x"]] * 17, "keypoint_scores": [1] * 17}]}, "[0]", "'x'"),
            ({"meta_info": halpe, "instance_info": [self.person()]}, "meta_info", "thorax"),
            ([{"frame_id": "1", "instances": []}], "[0]", ""),
            ([{"frame_id": 1, "instances": [self.person(bbox=[[1, 2, 1, 4]])]}], "instances[0]", "1 2 1 4"),
        ):
            with raises(InputError, subject=subject, got=got):
                read_keypoints(save(document))


class TestBoxes:
    def test_json(self, save):
        people = read_boxes(save({"a.jpg": [[1, 2, 3, 4], [5, 6, 7, 8, 0.5]], "b.jpg": [], "12": [[0, 0, 9, 9]]}))
        first, second = people.people_in("x/a.jpg")
        assert (first.box.tolist(), first.keypoints, first.score) == ([1, 2, 3, 4], None, 1.0)
        assert (second.box.tolist(), second.score) == ([5, 6, 7, 8], 0.5)
        assert people.people_in("b.jpg") == ()
        assert people.people_in("c.jpg") is None
        assert len(people.people_in("000012", index=12)) == 1
        assert people.people_in("img_0099.png", index=12) is None  # the file tells images apart by name

    @pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
    def test_csv(self, save, separator):
        rows = [["name", "x0", "y0", "x1", "y1", "score"], ["a b.jpg", "1", "2.5", "3", "4", "0.5"]]
        rows += [["ü.jpg", "1", "2", "3", "4", ""], ["a b.jpg", "9", "9", "10", "10", "1"]]
        text = "\ufeff" + "\r\n".join(separator.join(row) for row in rows)
        people = read_boxes(save(text, "boxes.csv"))
        assert [person.box.tolist() for person in people.people_in("a b.jpg")] == [[1, 2.5, 3, 4], [9, 9, 10, 10]]
        assert [person.score for person in people.people_in("a b.jpg")] == [0.5, 1.0]
        assert people.people_in("ü.jpg")[0].score == 1.0

    def test_csv_without_scores_and_with_other_columns(self, save):
        text = "frame,name,x0,y0,x1,y1\n0,a.jpg,1,2,3,4\n"
        assert read_boxes(save(text, "boxes.csv")).people_in("a.jpg")[0].box.tolist() == [1, 2, 3, 4]

    @pytest.mark.parametrize("first", [0, 1])
    def test_coco_results_keep_people_only(self, save, first):
        results = [{"image_id": 1, "category_id": first + i, "bbox": [1, 2, 3, 4], "score": 0.5} for i in (0, 7, 0)]
        people = read_boxes(save(results))
        assert [person.box.tolist() for person in people.people_in("0001.jpg")] == [[1, 2, 4, 6]] * 2

    @pytest.mark.parametrize(
        ("document", "name", "subject", "got"),
        [
            ({"a.jpg": [[1, 2, 3]]}, "b.json", "'a.jpg'[0]", "3"),
            ({"a.jpg": [[1, 2, 3, 4], [5, 6, 5, 9]]}, "b.json", "'a.jpg'[1]", "5 6 5 9"),
            ({"a.jpg": 3}, "b.json", "'a.jpg'", "int"),
            ({"a.jpg": [[1, 2, float("inf"), 4]]}, "b.json", "'a.jpg'[0]", "inf"),
            ({"people": []}, "b.json", "", ""),
            (3, "b.json", "", "int"),
            ([{"image_id": 1, "keypoints": []}], "b.json", "entry[0]", ""),
            ([{"image_id": 1}], "b.json", "entry[0]", ""),
            ("x0,y0\n", "b.csv", "", "x0, y0"),
            ("", "b.csv", "", "nothing"),
            ("1,2,10,20,30,40\n", "b.csv", "", "1, 2, 10"),  # six numbers without a header may be anything
            ("name,x0,y0,x1,y1\na.jpg,1,2,three,4\n", "b.csv", "line 2", "'three'"),
            ("name,x0,y0,x1,y1\na.jpg,1,2\n", "b.csv", "line 2", "''"),
            ("name,x0,y0,x1,y1\na.jpg,1,2,3,nan\n", "b.csv", "line 2", "nan"),
            ("name,x0,y0,x1,y1\na.jpg,9,2,3,4\n", "b.csv", "line 2", "9 2 3 4"),
            ("name,x0,y0,x1,y1\n,1,2,3,4\n", "b.csv", "line 2", ""),
            ("filename,class,xmin,ymin,xmax,ymax\na.jpg,car,1,2,3,4\n", "b.csv", "", "car"),
        ],
    )
    def test_refused_by_record(self, save, document, name, subject, got):
        with raises(InputError, subject=(name, subject), got=got):
            read_boxes(save(document, name))


TABLES = {
    "TensorFlow": "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,200,100,person,1,2,30,40\n"
    "a.jpg,200,100,dog,1,2,3,4\n",
    "YOLOv5": "xmin,ymin,xmax,ymax,confidence,class,name\n1,2,30,40,0.5,0,person\n5,6,7,8,0.9,2,car\n",
    "Ultralytics": """name,class,confidence,box\nperson,0,0.5,"{'x1': 1.0, 'y1': 2.0, 'x2': 30.0, 'y2': 40.0}"\n""",
    "sizes": "Image;bbox_x;bbox_y;bbox_w;bbox_h;conf;track_id\na.jpg;1;2;29;38;0.5;3\nb.jpg;;;;;;\n",
}


class TestTables:
    @pytest.mark.parametrize("name", TABLES)
    def test_columns_are_found_by_their_names(self, save, name):
        people = read_boxes(save(TABLES[name], "a.csv"))
        (person,) = people.people_in("a.jpg" if people.names_image else "a")
        assert person.box.tolist() == [1, 2, 30, 40]
        assert (person.score, person.track) == (1.0 if name == "TensorFlow" else 0.5, 3 if name == "sizes" else None)
        assert person.canvas == ((200, 100) if name == "TensorFlow" else None)
        assert people.image_count == (2 if name == "sizes" else 1)

    @pytest.mark.parametrize(
        ("more", "values"),
        [
            ("width,height", "29,38"),
            ("id", "7"),
            ("class,confidence", "person,0.5"),
            ("left,top,width,height", "1,2,29,38"),
        ],
    )
    def test_other_columns_beside_corners(self, save, more, values):
        """Sizes of the box are not of the image, numbers of rows not of tracks, and names are of images."""
        people = read_boxes(save(f"name, x0, y0, x1, y1,{more}\na.jpg,1,2,30,40,{values}\n", "b.csv"))
        (person,) = people.people_in("a.jpg")
        assert (person.box.tolist(), person.track, person.canvas) == ([1, 2, 30, 40], None, None)

    @pytest.mark.parametrize("more", ["", ",width,height"])
    def test_boxes_from_zero_to_one(self, save, more):
        values = ",640,480" if more else ""
        people = read_boxes(save(f"name,x0,y0,x1,y1{more}\na.jpg,0.25,0.5,0.5,1{values}\n", "b.csv"))
        (person,) = people.people_in("a.jpg")
        assert person.in_image("x", 640, 480).box.tolist() == [160, 240, 320, 480]

    @pytest.mark.parametrize("separator", [",", " "])
    def test_motchallenge_counts_frames_from_one(self, save, separator):
        rows = ["1 -1 10 20 30 40 0.9 -1 -1 -1", "3 4 11 20 30 40 -1 -1 -1 -1"]
        people = read_boxes(save("\n".join(row.replace(" ", separator) for row in rows), "det.txt"))
        of_video = [people.people_of(FrameKey(f"{index:06d}", index)) for index in range(4)]
        found = [people and (people[0].box[0], people[0].score, people[0].track) for people in of_video]
        assert found == [(10, 0.9, None), None, (11, 1.0, 4), None]
        (of_image,) = people.people_of(FrameKey("000003.jpg", 2, "img1/000003.jpg"))  # as MOTChallenge names images
        assert of_image.track == 4

    def test_motchallenges_truth_has_classes(self, save):
        tails = ("3,10,20,30,40,1,1,0.5", "6,10,20,30,40,0,-1,-1", "4,10,20,30,40,1,9,0.5", "5,10,20,30,40,0,7,0.5")
        rows = [f"1,{tail}" for tail in tails]
        people = read_boxes(save("\n".join(rows), "gt.txt")).people_of(FrameKey("000000", 0))
        assert [(person.track, person.score) for person in people] == [(3, 1.0), (6, 0.0), (5, 0.0)]


class TestStatedSizes:
    def test_coco_annotations_are_of_images_of_their_size(self, save):
        images = [{"id": 1, "file_name": "a.jpg", "width": 320, "height": 240}, {"id": 2, "file_name": "b.jpg"}]
        records = [{"image_id": n, "category_id": 1, "bbox": [10, 20, 30, 40]} for n in (1, 2)]
        people = read_boxes(save({"images": images, "annotations": records}))
        (person,) = people.people_in("a.jpg")
        assert person.in_image("x", 640, 480).box.tolist() == [20, 40, 80, 120]
        with raises(InputError, problem="images of another shape", got="320 × 240 for an image of 480 × 640"):
            person.in_image("x", 480, 640)
        (person,) = people.people_in("b.jpg")
        assert person.in_image("x", 640, 480).box.tolist() == [10, 20, 40, 60]

    def test_annotations_may_have_confidences(self, save):
        record = {"image_id": 1, "category_id": 1, "keypoints": coco_keypoints(third=0.75)}
        images = [{"id": 1, "file_name": "a.jpg"}]
        (person,) = read_keypoints(save({"images": images, "annotations": [record]})).people_in("a.jpg")
        assert (person.keypoints[COCO_ROWS, 2] == 0.75).all()

    @pytest.mark.parametrize("key", ["frames", "results", "predictions", "data", "annotations"])
    def test_a_list_behind_a_key(self, save, key):
        frame = {"people": [{"pose_keypoints_2d": [100.0, 50.0, 0.5] * 18}]}
        people = read_keypoints(save({"fps": 30, "width": 320, "height": 240, key: [frame, {"people": []}]}))
        (person,) = people.people_in("000000", 0)
        assert person.in_image("x", 640, 480).keypoints[0].tolist() == [200, 100, 0.5]
        assert people.people_in("000001", 1) == ()
        results = [{"image_id": "a.jpg", "category_id": 1, "keypoints": coco_keypoints()}]
        assert len(read_keypoints(save({key: results})).people_in("a.jpg")) == 1
        other = {"frames": [{"file": "a.jpg"}], "data": {"made": 2026}, "detections": []}
        assert len(read_keypoints(save({**other, key: results})).people_in("a.jpg")) == 1
