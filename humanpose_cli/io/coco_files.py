"""COCO's JSON: keypoint and box results (a list), and annotation files (images, annotations, categories)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.conventions import COCO17
from humanpose_cli.errors import InputError
from humanpose_cli.io.given_people import GivenPeople, GivenPerson, PeopleCollector, finite_numbers

__all__ = ["people_from_coco"]

_JOINTS = len(COCO17)
_WHOLE_BODY = 133  # COCO-WholeBody: its first 17 keypoints are coco17
_NOT_LABELLED, _HIDDEN, _VISIBLE = 0, 1, 2
_HIDDEN_CONFIDENCE = 0.5  # annotators guess hidden joints, and well


def people_from_coco(path: Path, document: Any, *, want: str) -> GivenPeople:
    """People of a parsed document. want 'keypoints' or 'box': what every person must have.

    In annotations the third number of a keypoint is a flag: 0 not labelled, 1 hidden (confidence 0.5), 2 visible. In
    results it is a confidence, clipped to 0–1, unless all are such flags. Left out are crowds, people without a single
    keypoint, and boxes of other categories than person. InputError naming the record.
    """
    collector = PeopleCollector(path)
    if isinstance(document, list):
        table, records, label = {}, document, "entry"
        person = _person_in_results(document)
    else:
        table, records, label = _image_names(path, document, collector), document.get("annotations"), "annotations"
        person = _person_category(document)
    if not isinstance(records, list):
        raise InputError(path, "has no list of annotations", got=type(records).__name__)
    for number, record in enumerate(records):
        where = f"{path}, {label}[{number}]"
        if not isinstance(record, dict):
            raise InputError(where, "is no record", expected="an object", got=type(record).__name__)
        people = collector.mention(_picture(where, record, table))
        of_another_kind = want == "box" and record.get("category_id", person) != person
        if of_another_kind or record.get("iscrowd", 0):
            continue
        given = _person(where, record, flags=bool(table), want=want)
        if given is not None:
            people.append(given)
    return collector.collected()


def _image_names(path: Path, document: dict[str, Any], collector: PeopleCollector) -> dict[Any, str]:
    """Image id → file name; every image counts as mentioned."""
    images = document.get("images", [])
    names: dict[Any, str] = {}
    if not isinstance(images, list):
        raise InputError(f"{path}, images", "is no list", got=type(images).__name__)
    for number, image in enumerate(images):
        name = image.get("file_name") if isinstance(image, dict) else None
        if not isinstance(name, str) or not isinstance(image.get("id"), int | str):
            raise InputError(f"{path}, images[{number}]", "has no id or no file_name", expected="both")
        names[image["id"]] = name
        collector.mention(name)
    return names


def _person_category(document: dict[str, Any]) -> Any:
    categories = document.get("categories")
    for category in categories if isinstance(categories, list) else []:
        if isinstance(category, dict) and category.get("name") == "person":
            return category.get("id", 1)
    return 1


def _person_in_results(records: list[Any]) -> int:
    """COCO counts categories from 1, many detectors from 0; person is the first either way."""
    from_zero = any(isinstance(record, dict) and record.get("category_id") == 0 for record in records)
    return 0 if from_zero else 1


def _picture(where: str, record: dict[str, Any], table: dict[Any, str]) -> str | int:
    """File name where it is known, else the image id."""
    picture = record.get("file_name", record.get("image_id"))
    if isinstance(picture, bool) or not isinstance(picture, int | str) or picture == "":
        raise InputError(where, "has no usable image_id", expected="a number or a name", got=repr(picture))
    if table and picture not in table and "file_name" not in record:
        raise InputError(where, "names an image that is not in the list of images", got=repr(picture))
    return table.get(picture, picture)


def _person(where: str, record: dict[str, Any], *, flags: bool, want: str) -> GivenPerson | None:
    box = _box(where, record["bbox"]) if "bbox" in record else None
    keypoints = _keypoints(where, record["keypoints"], flags=flags) if "keypoints" in record else None
    if want == "box" and box is None:
        raise InputError(where, "has no bbox", expected="x, y, width, height in pixels")
    if want == "keypoints" and "keypoints" not in record:
        remedy = "boxes are given with --boxes" if box is not None else ""
        raise InputError(where, "has no keypoints", expected=f"{3 * _JOINTS} numbers", remedy=remedy)
    if want == "keypoints" and keypoints is None:
        return None
    score = finite_numbers(where, "score", [record.get("score", 1.0)], (1,))[0]
    return GivenPerson(box, keypoints, float(np.clip(score, 0, 1)))


def _box(where: str, values: Any) -> np.ndarray:
    x, y, width, height = finite_numbers(where, "bbox", values, (4,))
    if width <= 0 or height <= 0:
        raise InputError(
            where, "has a bbox without area", expected="x, y, width, height", got=f"{width:g} × {height:g}"
        )
    return np.array([x, y, x + width, y + height], np.float32)


def _keypoints(where: str, values: Any, *, flags: bool) -> np.ndarray | None:
    """(17, 3) with confidences, or None if nothing is labelled."""
    numbers = finite_numbers(where, "keypoints", values, (3 * _JOINTS, 3 * _WHOLE_BODY))
    keypoints = numbers.reshape(-1, 3)[:_JOINTS].copy()
    third = keypoints[:, 2]
    if flags or (np.isin(third, (_NOT_LABELLED, _HIDDEN, _VISIBLE)).all() and (third == _VISIBLE).any()):
        keypoints[:, 2] = np.select([third >= _VISIBLE, third >= _HIDDEN], [1.0, _HIDDEN_CONFIDENCE], 0.0)
    keypoints[:, 2] = np.clip(keypoints[:, 2], 0, 1)
    return keypoints.astype(np.float32) if (keypoints[:, 2] > 0).any() else None
