"""The document on stdout and the exit codes: other people's scripts read them."""

from __future__ import annotations

import json

from humanpose_cli.cli.render import json_text
from humanpose_cli.core.errors import ExitCode
from humanpose_cli.core.result import CommandResult, ItemResult, Status

GOLDEN = (
    '{"command": "fit", "status": "partial", "items": ['
    '{"people": 2, "input": "a b.jpg", "status": "success", "outputs": ["out/a b.jpg.fit.npz"], "seconds": 1.235, '
    '"error": null}, '
    '{"input": "ü.jpg", "status": "error", "outputs": [], "seconds": 0.0, "error": "ü.jpg: is not an image"}], '
    '"messages": ["it is dark"], "version": "VERSION"}'
)


def test_the_document_is_fixed():
    items = (
        ItemResult("a b.jpg", Status.SUCCESS, ("out/a b.jpg.fit.npz",), 1.23456, details={"people": 2}),
        ItemResult("ü.jpg", Status.ERROR, error="ü.jpg: is not an image", exit_code=ExitCode.BAD_INPUT),
    )
    result = CommandResult("fit", Status.PARTIAL, items, ("it is dark",), ExitCode.PARTIAL)
    document = json.loads(json_text(result))
    assert json_text(result).replace(document["version"], "VERSION") == GOLDEN


def test_the_labels_of_a_status_are_fixed():
    fixed = {"success", "partial", "error", "interrupted", "skipped", "planned"}
    assert {status.value for status in Status} == fixed


def test_exit_codes_are_fixed():
    codes = {
        "OK": 0,
        "BUG": 1,
        "USAGE": 2,
        "BAD_INPUT": 3,
        "PARTIAL": 4,
        "UNAVAILABLE": 5,
        "SIGINT": 130,
        "SIGTERM": 143,
    }
    assert {code.name: code.value for code in ExitCode} == codes
