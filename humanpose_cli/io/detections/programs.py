"""The forms in which pose detectors and trackers write people, as JSON or as arrays.

COCO         annotations, and results [{image_id, category_id, bbox, keypoints, score}] of Detectron2's
             `instances_to_coco_json` (detectron2/evaluation/coco_evaluation.py), MMPose's `results2json`
             (mmpose/evaluation/metrics/coco_metric.py, without bbox) and Ultralytics' `PoseValidator.pred_to_json`
             (ultralytics/models/yolo/pose/val.py), whose image_id is the name where it is no number
AlphaPose    COCO's results whose image_id is a file name ("0.jpg" for a video's first frame: detector.py), with the
             box as "box", scores above 1 and the track as idx (alphapose/utils/pPose_nms.py, `write_json`; writer.py);
             with --format open or cmu a table by the images' names, the latter with "bodies" of "joints"
OpenPose     a file an image, {"people": [{"pose_keypoints_2d": [x, y, score, …]}]}
             (src/openpose/filestream/peopleJsonSaver.cpp: NAME_keypoints.json, NAME_000000000000_keypoints.json);
             Pose2Sim's `save_to_openpose` (Pose2Sim/poseEstimation.py: NAME_000000.json; a frame without people is one
             person of NaN); comfyui_controlnet_aux's `encode_poses_as_dict`
             (src/custom_controlnet_aux/dwpose/__init__.py: with the canvas' size, null for missing parts, and a list of
             documents, one a frame); sd-webui-controlnet's `encode_poses_as_json` (annotator/openpose/__init__.py:
             shares of the image's sides, beyond 0–1 outside it)
MMPose       {"meta_info", "instance_info"} of the demos (demo/topdown_demo_with_mmdet.py, `main`), or the value of
             "instance_info" alone of the inferencer (mmpose/apis/inferencers/base_mmpose_inferencer.py): people, or
             for a video {"frame_id", "instances"}, counted from 1 in demos and from 0 by the inferencer. A person is
             {"keypoints" (K, 2), "keypoint_scores" (K,), "bbox" [[x0, y0, x1, y1]], "bbox_score"}
Ultralytics  a list a frame of {"name", "class", "confidence", "box": {x1, y1, x2, y2}, "track_id", "keypoints": {x, y,
             visible}} (ultralytics/engine/results.py, `Results.to_json` and `summary`). Joints of a score below 0.5
             are 0 0 with that score in many versions (`Keypoints.__init__`): they are missing
easy_ViTPose {"keypoints": [{track: [[y, x, score], …]} for each frame], "skeleton": {row: name}} (inference.py, with
             --save-json; `VitInference.postprocess` turns x and y round); earlier versions have lists of people
LabelMe      {"imagePath", "shapes": [{label, points, shape_type}]} (labelme/label_file.py): rectangles
Roboflow     {"image": {width, height}, "predictions": [{x, y, width, height, class, confidence}]}; x, y: the middle
torchvision  {"boxes": [[x0, y0, x1, y1]], "labels", "scores"} of an image, also of Detectron2 and Hugging Face
boxes        {"a.jpg": [[x0, y0, x1, y1], [x0, y0, x1, y1, score]], "b.jpg": []}; names may be frame numbers
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.documents import outline_of
from humanpose_cli.io.detections.joint_orders import has_limbs, joints_by_name
from humanpose_cli.io.detections.named_points import POINTS
from humanpose_cli.io.detections.people import Form, PersonEntry, numeric, stated_size
from humanpose_cli.io.detections.records import PEOPLE

OPENPOSE_SUFFIX = "_keypoints.json"
_PARTS = ("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d")
_NUMBERS = ("frame_id", "frame", "frame_index", "frame_idx", "frame_number")


def _frames(path: Path, document: Any) -> Iterator[tuple[int | None, str, Any]]:
    """Yield number, place and contents of each frame; a single one is the image that the file is named after."""
    stated = [next((f[k] for k in _NUMBERS if k in f), None) if isinstance(f, Mapping) else None for f in document]
    is_stated = all(isinstance(number, int) for number in stated)
    for number, frame in enumerate(document):
        yield (stated[number] if is_stated else number) if len(document) > 1 else None, f"{path}, [{number}]", frame


def _listed(image: str | int | None, where: str, people: Any, **more: Any) -> Iterator[PersonEntry]:
    """Mention an image, and list its people."""
    yield PersonEntry(image, where)
    if people is not None and not isinstance(people, list):
        problem = InputError(where, "has no list of people", got=outline_of(people))
        yield PersonEntry(image, where, problem)
        return
    for row, person in enumerate(people or ()):
        place = f"{where}[{row}]"
        yield PersonEntry(image, place, InputError(place, "is null") if person is None else person, **more)


def _first(document: Any) -> Any:
    return document[0] if isinstance(document, list) and document else None


def _is_coco(document: Any) -> bool:
    first, key = (_first(document), "image_id") if isinstance(document, list) else (document, "annotations")
    return isinstance(first, Mapping) and key in first


def _is_alphapose(document: Any) -> bool:
    first = _first(document)
    return _is_coco(document) and isinstance(first, Mapping) and ("box" in first or "idx" in first)


def _coco_entries(path: Path, document: Any) -> Iterator[PersonEntry]:
    """List people; crowds and other categories are left out. Coordinates refer to the image sizes in the file."""
    is_list = isinstance(document, list)
    records = document if is_list else document["annotations"]
    if not isinstance(records, list):
        raise InputError(path, "has no list of annotations", got=outline_of(records))
    images, sizes = dict[str, Mapping[str, Any]](), dict[str, tuple[float, float] | None]()
    listed = [] if is_list else document.get("images", [])
    if not isinstance(listed, list):
        raise InputError(f"{path}, images", "is no list", got=outline_of(listed))
    for number, image in enumerate(listed):
        if not isinstance(image, Mapping) or "id" not in image or not isinstance(image.get("file_name"), str):
            where = f"{path}, images[{number}]"
            yield PersonEntry(None, where, InputError(where, "has no id or no file_name", expected="both"))
            continue
        images[_key(image["id"])] = image
        sizes[image["file_name"]] = stated_size(image)
        yield PersonEntry(image["file_name"], str(path))
    categories = _categories_of_people(path, {} if is_list else document, records)
    for number, record in enumerate(records):
        where = f"{path}, {'entry' if is_list else 'annotations'}[{number}]"
        if not isinstance(record, Mapping):
            yield PersonEntry(None, where, InputError(where, "is null") if record is None else record)
            continue
        image = record.get("file_name", record.get("image_id"))
        if isinstance(image, float) and image.is_integer():
            image = int(image)
        if isinstance(image, bool) or not isinstance(image, int | str) or image == "":
            problem = InputError(where, "has no usable image_id", expected="a number or a name", got=repr(image))
            yield PersonEntry(None, where, problem)
            continue
        if images and _key(image) not in images and "file_name" not in record:
            yield PersonEntry(None, where, InputError(where, "names an image that is not in the list", got=repr(image)))
            continue
        image = images[_key(image)]["file_name"] if _key(image) in images else image
        category = _key(record.get("category_id", next(iter(categories))))
        is_person = not record.get("iscrowd", 0) and category in categories
        names = categories[category] if is_person else None
        yield PersonEntry(image, where, record if is_person else None, names, sizes.get(str(image)), flags=bool(images))


def _key(value: Any) -> str:
    """Return an id as text: 1, 1.0 and "1" are equal."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _categories_of_people(
    path: Path, document: Mapping[str, Any], records: Sequence[Any]
) -> dict[str, Sequence[str] | None]:
    """Map the categories of people to the names of their keypoints, None if the file does not name them."""
    # Without a list of categories, people are the first one: COCO counts from 1, many detectors from 0. If all
    # keypoints belong to one category, they are people's.
    categories = document.get("categories")
    named = [c for c in categories if isinstance(c, Mapping)] if isinstance(categories, list) else []
    joints = {_key(c.get("id", 1)): _joint_names(c) for c in named}
    by_name = [_key(c.get("id", 1)) for c in named if str(c.get("name")).lower() in PEOPLE]
    ids = by_name or [key for key, names in joints.items() if names is not None and has_limbs(names)]
    if ids or named:
        if not ids:
            names = ", ".join(str(c.get("name")) for c in named)[:80]
            raise InputError(f"{path}, categories", "are none of people", expected="a category person", got=names)
        where = f"{path}, categories"
        found = {key: joints.get(key) for key in ids}
        return {key: names and joints_by_name(where, COCO.kind, names) for key, names in found.items()}
    posed = [r for r in records if isinstance(r, Mapping) and "category_id" in r]
    keys = {_key(record["category_id"]) for record in posed}
    if len(keys) == 1 and all("keypoints" in record for record in posed):
        return dict.fromkeys(keys)
    return {"0" if "0" in keys else "1": None}


def _joint_names(category: Mapping[str, Any]) -> Sequence[str] | None:
    names = category.get("keypoints")
    return names if isinstance(names, list) and names and all(isinstance(name, str) for name in names) else None


def _has_people(document: Any) -> bool:
    names = [name for name in ("people", "bodies", "animals") if isinstance(document, Mapping) and name in document]
    people = document[names[0]] if names else None
    keys = [[*person] for person in people if isinstance(person, Mapping)] if isinstance(people, list) else []
    # Others write people of other keys, or bare lists of points.
    is_other = (
        names[:1] != ["animals"]
        and isinstance(people, list)
        and bool(people)
        and not any({*OPENPOSE.points, *_PARTS} & {*k} for k in keys)
    )
    return bool(names) and not is_other


def _is_openpose(document: Any) -> bool:
    """Return whether a document is one image, a list of frames, or a table by name; null is an empty frame."""
    if isinstance(document, Mapping):
        return _has_people(document) or any(map(_has_people, document.values()))
    return isinstance(document, list) and any(map(_has_people, document))


def _openpose_entries(path: Path, document: Any) -> Iterator[PersonEntry]:
    frames: list[tuple[str | int | None, str, Any]]
    if isinstance(document, list):
        frames = [*_frames(path, document)]
    elif _has_people(document):
        name = path.name.removesuffix(OPENPOSE_SUFFIX) if path.name.endswith(OPENPOSE_SUFFIX) else None
        frames = [(name, str(path), document)]
    else:
        frames = [(name, f"{path}, {name!r}", image) for name, image in document.items()]
    for image, where, frame in frames:
        if not frame:
            yield PersonEntry(image, where)
            continue
        if not _has_people(frame):
            yield from _listed(image, where, frame)
            continue
        name = "people" if "people" in frame else "bodies"
        if name not in frame:  # comfyui_controlnet_aux's AnimalPose nodes
            raise InputError(where, "holds animals (AP-10K)", expected="people")
        yield from _listed(image, f"{where}, {name}", frame[name], canvas=stated_size(frame))


def _is_mmpose(document: Any) -> bool:
    first = _first(document)
    if isinstance(document, Mapping):
        return "instance_info" in document
    return isinstance(first, Mapping) and ("instances" in first or "keypoint_scores" in first)


def _mmpose_entries(path: Path, document: Any) -> Iterator[PersonEntry]:
    records, names, first = document, None, 0
    if isinstance(document, Mapping):
        records, meta = document["instance_info"], document.get("meta_info")
        named = meta.get("keypoint_id2name") if isinstance(meta, Mapping) else None
        if isinstance(named, Mapping) and named:
            names = _joints_of_rows(f"{path}, meta_info", MMPOSE.kind, named)
        if not isinstance(records, list):
            raise InputError(path, "has no list of instance_info", got=outline_of(records))
        first = 0 if any(isinstance(record, Mapping) and record.get("frame_id") == 0 for record in records) else 1
    if not any(isinstance(record, Mapping) and "instances" in record for record in records):
        yield from _listed(None, f"{path}, ", records, names=names)
        return
    for number, record in enumerate(records):
        where = f"{path}, [{number}]"
        frame = record.get("frame_id") if isinstance(record, Mapping) else None
        if isinstance(frame, bool) or not isinstance(frame, int):
            yield PersonEntry(None, where, InputError(where, "has no frame_id", expected="the number of the frame"))
            continue
        yield from _listed(frame - first, f"{where}, instances", record.get("instances"), names=names)


def _joints_of_rows(where: str, kind: str, names: Mapping[Any, Any]) -> tuple[str, ...]:
    """Find the joints by a table from their rows to names."""
    rows = {str(row): name for row, name in names.items() if isinstance(name, str)}
    return joints_by_name(where, kind, [rows.get(str(row), "") for row in range(len(names))])


def _is_ultralytics(document: Any) -> bool:
    frames = document if _is_nested(document) else [document]
    people = [person for frame in frames if isinstance(frame, list) for person in frame]
    return any(isinstance(person, Mapping) and isinstance(person.get("box"), Mapping) for person in people)


def _is_nested(document: Any) -> bool:
    return isinstance(document, list) and any(isinstance(frame, list) for frame in document)


def _ultralytics_entries(path: Path, document: Any) -> Iterator[PersonEntry]:
    frames = document if _is_nested(document) else [document]
    people = [person for frame in frames if isinstance(frame, list) for person in frame]
    by_name = any(_name_of(person) in PEOPLE for person in people)  # else people are the first class
    for image, where, frame in _frames(path, frames):
        for entry in _listed(image, where, frame):
            person = entry.record
            if not isinstance(person, Mapping) or (
                _name_of(person) in PEOPLE if by_name else person.get("class", 0) == 0
            ):
                yield entry


def _name_of(person: Any) -> str:
    """Return a person's class: "name" of Ultralytics, "label" of Hugging Face's pipelines."""
    return str(person.get("name", person.get("label"))).lower() if isinstance(person, Mapping) else ""


def _is_vitpose(document: Any) -> bool:
    return isinstance(document, Mapping) and isinstance(document.get("skeleton"), Mapping) and "keypoints" in document


def _vitpose_entries(path: Path, document: Any) -> Iterator[PersonEntry]:
    frames = document["keypoints"]
    frames = [frames] if isinstance(frames, Mapping) else frames
    if not isinstance(frames, list):
        raise InputError(path, f"has no list of frames ({VITPOSE.kind})", got=outline_of(frames))
    names = _joints_of_rows(f"{path}, skeleton", VITPOSE.kind, document["skeleton"])
    for image, where, frame in _frames(path, frames):
        tracks = [str(track) for track in frame] if isinstance(frame, Mapping) else repeat("")
        people = [*frame.values()] if isinstance(frame, Mapping) else frame
        for entry, track in zip(_listed(image, where, people, names=names), chain([""], tracks), strict=False):
            if isinstance(points := entry.record, list | np.ndarray):
                points = [
                    [p[1], p[0], *p[2:]] if isinstance(p, list | np.ndarray) and len(p) > 1 else p for p in points
                ]
                number = int(track) if re.fullmatch("[0-9]{1,9}", track) else None
                entry = entry._replace(record={"keypoints": points, "track_id": number})
            yield entry


def _is_labelme(document: Any) -> bool:
    return isinstance(document, Mapping) and isinstance(document.get("shapes"), list) and "imagePath" in document


def _labelme_entries(path: Path, document: Any) -> Iterator[PersonEntry]:
    # X-AnyLabeling writes the four corners of a rectangle.
    areas = ("rectangle", "polygon", None)
    shapes = [s for s in document["shapes"] if isinstance(s, Mapping) and s.get("shape_type") in areas]
    labels = {str(shape.get("label")).lower() for shape in shapes}
    by_name = bool(labels.intersection(PEOPLE))
    for row, shape in enumerate(shapes):
        image, where = str(document["imagePath"]), f"{path}, shapes[{row}]"
        if not by_name or str(shape.get("label")).lower() in PEOPLE:
            try:
                points = numeric(where, "points", shape.get("points")).reshape(-1, 2)
                record: Any = {"box": [*points.min(0), *points.max(0)], "group_id": shape.get("group_id")}
            except (InputError, ValueError):
                record = InputError(where, "has unusable points", expected="x and y of the corners")
            yield PersonEntry(image, where, record, canvas=stated_size(document))


def _is_boxes_of_image(document: Any) -> bool:
    return isinstance(document, Mapping) and bool({"boxes", "pred_boxes"} & document.keys())


def _image_entries(path: Path, document: Any) -> Iterator[PersonEntry]:
    boxes, scores, labels = (
        next((document[key] for key in keys if key in document), ())
        for keys in (("boxes", "pred_boxes"), ("scores",), ("labels", "pred_classes", "classes"))
    )
    classes = {_key(label).lower() for label in labels}
    people = classes.intersection(PEOPLE) or ({"0"} if "0" in classes else {"1"})
    for row, box in enumerate(boxes):
        if row >= len(labels) or _key(labels[row]).lower() in people:
            record = {"box": box, "score": scores[row] if row < len(scores) else 1.0}
            yield PersonEntry(None, f"{path}, boxes[{row}]", record)


def _is_roboflow(document: Any) -> bool:
    first = _first(document.get("predictions")) if isinstance(document, Mapping) and "image" in document else None
    return isinstance(first, Mapping) and {"x", "y", "width", "height", "class"} <= first.keys()


def _roboflow_entries(path: Path, document: Any) -> Iterator[PersonEntry]:
    image, boxes = document["image"], document["predictions"]
    by_name = any(str(box.get("class")).lower() in PEOPLE for box in boxes)  # else all classes are people
    for entry in _listed(
        None, f"{path}, predictions", boxes, canvas=stated_size(image) if isinstance(image, Mapping) else None
    ):
        if not isinstance(box := entry.record, Mapping) or (by_name and str(box.get("class")).lower() not in PEOPLE):
            continue
        x, y, width, height = (numeric(entry.where, key, box[key]).item() for key in ("x", "y", "width", "height"))
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]  # x and y are the middle
        yield entry._replace(record={"box": corners, "score": box.get("confidence", 1.0)})


def _is_table(document: Any) -> bool:
    return isinstance(document, Mapping) and any(isinstance(boxes, list) for boxes in document.values())


def _table_entries(path: Path, document: Any) -> Iterator[PersonEntry]:
    for name, boxes in document.items():
        where = f"{path}, {name!r}"
        people = [
            {"box": box[:4], "score": [*box, 1.0][4]} if isinstance(box, list) and len(box) in (4, 5) else {"box": box}
            for box in (boxes if isinstance(boxes, list) else ())
        ]
        yield from _listed(str(name), where, people if isinstance(boxes, list) else boxes)


COCO = Form("COCO's results", _is_coco, _coco_entries, box=("bbox", "box"))
ALPHAPOSE = Form("AlphaPose's results", _is_alphapose, _coco_entries, box=("bbox", "box"))
MMPOSE = Form(
    *("MMPose's predictions", _is_mmpose, _mmpose_entries),
    scores="keypoint_scores",
    box=("bbox",),
    corners=True,
    score="bbox_score",
    affixes=("results_", ""),
)
OPENPOSE = Form(
    *("OpenPose's people", _is_openpose, _openpose_entries),
    points=("pose_keypoints_2d", "pose_keypoints", "joints"),
    score="",
    openpose=True,
)
ULTRALYTICS = Form(
    "YOLO's results", _is_ultralytics, _ultralytics_entries, box=("box",), corners=True, score="confidence"
)
VITPOSE = Form("easy_ViTPose's keypoints", _is_vitpose, _vitpose_entries, score="", affixes=("", "_result"))
LABELME = Form("LabelMe's rectangles", _is_labelme, _labelme_entries, points=(), box=("box",), corners=True)
IMAGE_BOXES = Form("boxes", _is_boxes_of_image, _image_entries, points=(), box=("box",), corners=True)
ROBOFLOW = Form("Roboflow's boxes", _is_roboflow, _roboflow_entries, points=(), box=("box",), corners=True)
BOXES = Form("boxes", _is_table, _table_entries, points=(), box=("box",), corners=True)

FORMS = (MMPOSE, ULTRALYTICS, OPENPOSE, VITPOSE, ALPHAPOSE, COCO, LABELME, POINTS, ROBOFLOW, IMAGE_BOXES, BOXES)
"""The first form that matches counts."""
