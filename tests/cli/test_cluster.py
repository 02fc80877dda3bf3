"""What a command that waits for its jobs reports of them."""

from __future__ import annotations

import json

import pytest

from humanpose_cli.batch.slurm import REPORT
from humanpose_cli.cli.cluster import _report


@pytest.mark.parametrize(
    ("found", "told", "end"),
    [
        (["skipped", "skipped"], ["success", "success"], ("success", 0)),
        (["skipped", "planned"], ["success", "error"], ("partial", 4)),
        (["planned", "error"], ["error", "error"], ("error", 4)),
        (["skipped", "partial"], ["success", "partial"], ("partial", 4)),  # doubtful, with --fail-if-doubtful
    ],
)
def test_what_a_dry_run_collects_is_the_result_of_the_parts(tmp_path, found, told, end):
    names = {"input": "a.jpg", "outputs": [], "seconds": 0.0, "error": None}
    (tmp_path / REPORT).write_text(json.dumps({"items": [{**names, "status": status} for status in found]}))
    result = _report("fit", tmp_path, collected=True)
    assert [item.status for item in result.items] == told
    assert (result.status, result.exit_code) == end


def test_the_report_of_one_job_is_its_own(tmp_path):
    item = {"input": "nbf", "status": "planned", "outputs": ["a"], "seconds": 2.0, "error": None}
    report = {"items": [item], "status": "success", "exit_code": 0, "messages": ["dry run"]}
    (tmp_path / REPORT).write_text(json.dumps(report))
    result = _report("train", tmp_path, collected=False)
    assert (result.items[0].status, result.items[0].outputs, result.messages) == ("planned", ("a",), ("dry run",))
