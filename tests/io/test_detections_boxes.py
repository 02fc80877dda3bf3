"""Boxes of people in the forms of other programs, and tables; refused by record."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.detection_files import HALPE, openpose, ultralytics
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.detections import FrameKey, read_boxes

TABLES = {
    "csv": "frame,name,x0,y0,x1,y1,score\n0,a.jpg,1,2,30,40,0.5\n",
    "German": "\ufeffname;x0;y0;x1;y1;score\r\na.jpg;1;2,0;30;40,0;0,5\r\nü.jpg;1,5;2;3;4;\r\n",
    "tabs": "name\tx0\ty0\tx1\ty1\tconf\na.jpg\t1\t2\t30\t40\t0.5\n",
    "TensorFlow": "filename,width,height,class,xmin,ymin,xmax,ymax,score\na.jpg,200,100,person,1,2,30,40,0.5\n"
    "a.jpg,200,100,dog,1,2,3,4,0.5\n",
    "YOLOv5": "xmin,ymin,xmax,ymax,confidence,class,name\n1,2,30,40,0.5,0,person\n5,6,7,8,0.9,2,car\n",
    "Ultralytics": """name,class,confidence,box\nperson,0,0.5,"{'x1': 1.0, 'y1': 2.0, 'x2': 30.0, 'y2': 40.0}"\n""",
    "sizes": "Image;bbox_x;bbox_y;bbox_w;bbox_h;conf;track_id\na.jpg;1;2;29;38;0.5;3\nb.jpg;;;;;;\n",
}
BOXES = {
    "table": {"a.jpg": [[1, 2, 30, 40, 0.5]], "b.jpg": []},
    "coco": [{"image_id": "a.jpg", "bbox": [1, 2, 29, 38], "score": 0.5, "keypoints": "unusable", "category_id": 1}],
    "alphapose": [{"image_id": "a.jpg", "box": [1, 2, 29, 38], "score": 0.5, "keypoints": [1], "idx": 2}],
    "mmpose": [{"keypoints": [[1]], "keypoint_scores": [1], "bbox": [[1, 2, 30, 40]], "bbox_score": 0.5}],
    "ultralytics": [{**ultralytics()[0], "box": {"x1": 1, "y1": 2, "x2": 30, "y2": 40}, "confidence": 0.5}],
    "labelme": {
        "imagePath": "a.jpg",
        "shapes": [
            {"label": "person", "points": [[30, 2], [1, 40]], "shape_type": "rectangle"},
            {"label": "dog", "points": [[1, 2], [3, 4]], "shape_type": "rectangle"},
        ],
    },
}


class TestBoxes:
    @pytest.mark.parametrize("form", [*TABLES, *BOXES])
    def test_a_box_of_each_form(self, save, form):
        people = read_boxes(save(TABLES.get(form) or BOXES[form], "a.dat"))
        (person,) = people.people_in("a.jpg")
        assert (person.box.tolist(), person.keypoints) == ([1, 2, 30, 40], None)
        assert person.score == (1.0 if form == "labelme" else 0.5)
        assert person.track == {"sizes": 3, "ultralytics": 4, "alphapose": 2}.get(form)
        assert person.canvas == ((200, 100) if form == "TensorFlow" else None)
        assert people.people_in("b.jpg") == (() if form in ("sizes", "table") else None)

    def test_frames_by_number(self, save):
        people = read_boxes(save({"a.jpg": [[1, 2, 3, 4]], "12": [[0, 0, 9, 9]]}))
        assert len(people.people_in("000012", index=12)) == 1
        assert people.people_in("img_0099.png", index=12) is None  # the file tells images apart by name

    @pytest.mark.parametrize("first", [0, 1])
    def test_coco_results_keep_people_only(self, save, first):
        results = [{"image_id": 1, "category_id": first + i, "bbox": [1, 2, 3, 4], "score": 0.5} for i in (0, 7, 0)]
        people = read_boxes(save(results))
        assert [person.box.tolist() for person in people.people_in("0001.jpg")] == [[1, 2, 4, 6]] * 2

    @pytest.mark.parametrize("tail", ["", " 0.5", " 0.5 3", " " + " ".join(["0.5"] * 51)])
    def test_labels_of_people_only(self, save, tail):
        path = save(f"0 0.5 0.5 0.2 0.5{tail}\n16 0.5 0.5 0.2 0.5{tail}\n", "a.txt")
        (person,) = read_boxes(path).people_in("a.jpg")
        np.testing.assert_allclose(person.in_image("x", 100, 200).box, [40, 50, 60, 150], atol=1e-4)

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
        people = read_boxes(save("\n".join(f"1,{tail}" for tail in tails), "gt.txt")).people_of(FrameKey("000000", 0))
        assert [(person.track, person.score) for person in people] == [(3, 1.0), (6, 0.0), (5, 0.0)]

    @pytest.mark.parametrize(
        ("document", "subject", "got"),
        [
            ({"a.jpg": [[1, 2, 3]]}, "'a.jpg'[0]", "3"),
            ({"a.jpg": [[5, 6, 5, 9]]}, "'a.jpg'[0]", "5 6 5 9"),
            ({"a.jpg": [[1, 2, float("inf"), 4]]}, "'a.jpg'[0]", "inf"),
            ({"a.jpg": 3}, "", "a.jpg"),
            (openpose(HALPE), "", ""),
            ([{"image_id": 1, "keypoints": []}], "entry[0]", ""),
            ("x0,y0\n", "", "x0, y0"),
            ("", "", "nothing"),
            ("1,2,10,20,30,40\n", "", "1, 2, 10"),  # six numbers without a header may be anything
            ("name,x0,y0,x1,y1\na.jpg,1,2,three,4\n", "line 2", "'three'"),
            ("name,x0,y0,x1,y1\na.jpg,1,2\n", "line 2", "''"),
            ("name,x0,y0,x1,y1\na.jpg,9,2,3,4\n", "line 2", "9 2 3 4"),
            ("name,x0,y0,x1,y1\n,1,2,3,4\n", "line 2", ""),
            ("filename,class,xmin,ymin,xmax,ymax\na.jpg,car,1,2,3,4\n", "", "car"),
        ],
    )
    def test_refused(self, save, document, subject, got):
        with raises(InputError, subject=("b.json", subject), got=got):
            read_boxes(save(document, "b.json"))
