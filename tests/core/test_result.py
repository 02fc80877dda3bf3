import json

import pytest

from humanpose_cli.cli.render import json_text
from humanpose_cli.core.errors import ExitCode, HpcError, InputError, InterruptedRun, UnavailableError, UsageError
from humanpose_cli.core.result import CommandResult, ItemResult, Status, combine_status

DONE = ItemResult("a.jpg", Status.SUCCESS, ("out/a.png",), 0.1234)
SKIPPED = ItemResult("b.jpg", Status.SKIPPED)
BAD = ItemResult("c.jpg", Status.ERROR, error="c.jpg: is not an image", exit_code=ExitCode.BAD_INPUT)
FULL = ItemResult("d.jpg", Status.ERROR, error="d.jpg: no space", exit_code=ExitCode.UNAVAILABLE)
STOPPED = ItemResult("e.jpg", Status.INTERRUPTED, error="stopped", exit_code=ExitCode.SIGTERM)


@pytest.mark.parametrize(
    ("items", "status", "code"),
    [
        ([], Status.SUCCESS, 0),
        ([DONE, SKIPPED], Status.SUCCESS, 0),
        ([BAD], Status.ERROR, 3),
        ([FULL, FULL], Status.ERROR, 5),
        ([BAD, FULL], Status.ERROR, 3),
        ([DONE, BAD], Status.PARTIAL, 4),
        ([SKIPPED, FULL], Status.PARTIAL, 4),
        ([DONE, BAD, STOPPED], Status.INTERRUPTED, 143),
    ],
)
def test_items_make_the_command(items, status, code):
    assert combine_status(items) == (status, code)


def test_details_never_hide_fixed_names():
    item = ItemResult("a", Status.SUCCESS, details={"status": "odd", "people": 1})
    assert item.to_document()["status"] == "success"
    assert item.to_document()["people"] == 1


def test_no_nan_leaves_in_json():
    result = CommandResult(
        "fit", Status.SUCCESS, (ItemResult("a", Status.SUCCESS, details={"error_px": float("nan")}),)
    )
    text = json_text(result)
    assert "NaN" not in text
    assert json.loads(text)["items"][0]["error_px"] is None


def test_errors_are_one_sentence_with_expected_found_and_remedy():
    error = InputError("pose.npy", "has the wrong shape", expected="(J, 3)", got="(72,)", remedy="save joints instead")
    assert str(error) == "pose.npy: has the wrong shape, expected (J, 3), found (72,); save joints instead"
    assert str(UsageError("--size", "must be positive")) == "--size: must be positive"


def test_names_cannot_break_a_sentence_or_speak_to_the_terminal():
    error = InputError("new\nline\x1b[2J é.jpg", "is empty")
    assert str(error) == r"new\nline\x1b[2J é.jpg: is empty"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HpcError("x", "y"), 1),
        (UsageError("x", "y"), 2),
        (InputError("x", "y"), 3),
        (UnavailableError("x", "y"), 5),
        (InterruptedRun(2), 130),
        (InterruptedRun(15), 143),
    ],
)
def test_exit_codes(error, code):
    assert error.exit_code == code
