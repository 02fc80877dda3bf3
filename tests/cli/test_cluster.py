"""Parts of a command that other queues start."""

from __future__ import annotations

import json
import shlex


def test_a_shell_line_is_printed_for_each_part(hpc):
    ran = hpc("fit", "my photos", "--out", "fits", "--cluster", "print", "--shards", "2", "--threads", "1")
    assert (ran.code, ran.err) == (0, "")
    lines = [shlex.split(line) for line in ran.out.splitlines()]
    assert lines == [
        ["hpc", "fit", "my photos", "--out", "fits", "--threads", "1", "--shard", f"{i}/2"] for i in (0, 1)
    ]


def test_a_command_of_one_job_is_one_line(hpc, tmp_path):
    ran = hpc("train", "nbf", "--data", str(tmp_path), "--cluster", "print", "--json")
    assert json.loads(ran.out)["lines"] == [f"hpc train nbf --data {tmp_path} --json"]
