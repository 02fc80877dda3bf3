"""Options of a fit that are read again are checked where the file is read."""

import json

import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.fit_options import StoredOptions, read_options

RIGHT = {
    "camera_walks": [0, 1],
    "camera_paths": [{"shot": 0, "background": [[0, 1, 2.5]]}, {"shot": 1}],
    "refinement": {"settings": {}, "tracks": {"0": {"frames": [0], "accepted": [0.5], "overlap_before": [None]}}},
    "left_out": 2,
    "messages": ["a"],
    "of_others": {"any": [1]},
}


def test_what_a_fit_writes_is_read():
    assert read_options(json.dumps(RIGHT)) == StoredOptions.of_document(RIGHT)
    assert read_options(json.dumps(RIGHT)).document() == RIGHT


@pytest.mark.parametrize(
    ("name", "value"),
    [("camera_walks", 3), ("camera_unknown", ["a"]), ("camera_paths", {"shot": 0}), ("camera_paths", [{}])]
    + [("camera_paths", [{"shot": 0, "background": points}]) for points in ([[1, 2]], "text", [[1, 2, "a"]])]
    + [("refinement", value) for value in ([], {"settings": 3}, {"tracks": [1]}, {"tracks": {"0": {"accepted": 1}}})]
    + [("left_out", "many"), ("messages", "text")],
)
def test_others_are_named(name, value):
    with raises(InputError, subject=f"options {name}", problem="damaged"):
        read_options(json.dumps({**RIGHT, name: value}))
