"""The way in and out of every command: parsing, settings, errors, envelope, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import probe_commands
from helpers.patience import PATIENCE

from humanpose_cli.batch.batch import Batch
from humanpose_cli.batch.items import Shard
from humanpose_cli.cli.options import BatchFlags
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.version import __version__

PROBE = Path(probe_commands.__file__)


def test_help_lists_the_commands_and_nothing_went_wrong(hpc):
    for arguments in ([], ["--help"], ["-h"]):
        ran = hpc(*arguments)
        assert ran.code == 0
        assert "doctor" in ran.out
        assert ran.err == ""


def test_version(hpc):
    assert hpc("--version") == (0, f"hpc {__version__}\n", "")


def test_values_reach_the_function_parsed(hpc):
    line = "a b --out o --device cuda:1 --threads 2 --batch-size 8 --shard 1/4 --frames 3:9 --seed 5 --no-resume"
    assert hpc("probe", *line.split()).code == 0
    assert probe_commands.CALLS[0] == {
        "inputs": ["a", "b"],
        "out": Path("o"),
        "device": "cuda:1",
        "threads": 2,
        "batch_size": 8,
        "frames": FrameRange(3, 9),
        "seed": 5,
        "flags": BatchFlags(resume=False, shard=Shard(1, 4)),
        "fault": "",
        "tag": None,
    }
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_a_pipe_gets_tabs_and_json_a_document(hpc):
    piped = hpc("probe", "a.jpg", "b c.jpg")
    assert piped.out.splitlines() == [
        "input\tstatus\tpeople\tseconds\toutputs",
        "a.jpg\tdone\t2\t1.2\thpc-out/probe/a.jpg.npz",
        "b c.jpg\tdone\t2\t1.2\thpc-out/probe/b c.jpg.npz",
    ]
    assert piped.err == "2 items: 2 done\n"
    document = hpc("probe", "a.jpg", "--json").document
    assert document == {
        "command": "probe",
        "status": "success",
        "items": [
            {
                "people": 2,
                "score": None,
                "input": "a.jpg",
                "status": "success",
                "outputs": ["hpc-out/probe/a.jpg.npz"],
                "seconds": 1.25,
                "error": None,
            }
        ],
        "messages": [],
        "version": __version__,
    }


@pytest.mark.parametrize(
    ("fault", "code", "status", "sentence"),
    [
        ("usage", 2, "error", "--x: is wrong"),
        ("input", 3, "error", "a.jpg: is not an image; convert it"),
        ("unavailable", 5, "error", "gpu: is missing"),
        ("disk", 5, "error", "No space left on device"),
        ("bug", 1, "error", "ZeroDivisionError: division by zero; this is a bug in hpc"),
        ("interrupt", 130, "interrupted", "interrupted before any work was done"),
    ],
)
def test_every_failure_is_one_sentence_and_an_exit_code(hpc, fault, code, status, sentence):
    plain = hpc("probe", "--fault", fault)
    assert (plain.code, plain.out, plain.err.count("\n")) == (code, "", 1)
    assert sentence in plain.err
    ran = hpc("probe", "--fault", fault, "--json")
    assert ran.code == code
    assert list(ran.document) == ["command", "status", "items", "messages", "version"]
    assert (ran.document["command"], ran.document["status"]) == ("probe", status)
    assert [sentence in message for message in ran.document["messages"]] == [True]


def test_a_traceback_only_with_verbose(hpc):
    assert "Traceback" not in hpc("probe", "--fault", "bug").err
    assert "Traceback" in hpc("probe", "--fault", "bug", "--verbose").err
    assert "Traceback" not in hpc("probe", "--fault", "input", "--verbose").err


def test_done_in_part_is_exit_code_4(hpc):
    ran = hpc("failing", "--json")
    assert (ran.code, ran.document["status"]) == (4, "partial")
    assert "b" in hpc("failing").out


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("probe --threds 2", "--threads"),
        ("probe --threads two", "--threads"),
        ("probe --threads 0", "--threads"),
        ("probe --seed -1", "--seed"),
        ("probe --shard 4/4", "--shard: no such part, expected i/N"),
        ("probe --frames 9:3", "--frames: is empty"),
        ("probe --frames x", "--frames"),
        ("probe --device gpu", "--device: no such device, expected auto, cpu, cuda or cuda:N, found 'gpu'"),
        ("probe --out", "--out"),
        ("probe --out=", "--out: is empty"),
        ("prob", "prob: there is no such command; did you mean hpc probe?\n"),
        ("--nonsense", "--nonsense"),
        ("probe --set x", "--set: cannot be read, expected key=value, found 'x'"),
        ("probe --set sed=1", "setting sed: there is no such setting; did you mean seed?"),
        ("tuned --set solver.step=1", "setting solver.step: there is no such setting; did you mean solver.steps?"),
        ("tuned --set solver.steps=many", "setting solver.steps: has a wrong value, expected a whole number"),
        ("fit --people some", "error: --people: 'some' is not one of 'all', 'largest'; see hpc"),
        ("tuned --set people=some", "expected all or largest, found 'some'"),
        ("tuned --set seed=x", "(from --set)"),
    ],
)
def test_wrong_usage_is_exit_code_2_in_text_and_in_json(hpc, line, sentence):
    plain = hpc(*line.split())
    assert (plain.code, plain.out, plain.err.count("\n")) == (2, "", 1)
    assert sentence in plain.err
    command, *rest = line.split()
    ran = hpc(command, "--json", *rest)
    assert ran.code == 2
    assert ran.document["status"] == "error"


def test_a_missing_device_is_exit_code_5(hpc, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ran = hpc("probe", "--device", "cuda:3", "--fault", "device")
    assert ran.code == 5
    assert "--device: this machine has no such GPU: cuda:3" in ran.err


def test_a_flag_wins_over_set_over_config(hpc, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("seed = 20\n[solver]\nweight = 0.25\nsteps = 40\n[probe]\nseed = 99\n")
    from_file = ["--config", str(config)]

    def options_of(*arguments: str) -> tuple[int, int, float]:
        details = hpc("tuned", "--json", *arguments).details
        return details["seed"], details["steps"], details["weight"]

    assert options_of() == (0, 30, 0.5)
    assert options_of(*from_file) == (20, 40, 0.25)
    both = [*from_file, "--set", "seed=30", "--set", "solver.steps=41"]
    assert options_of(*both) == (30, 41, 0.25)
    assert options_of("--seed", "50", *both) == (50, 41, 0.25)


def test_flags_make_a_batch(tmp_path):
    session = SimpleNamespace(command="fit", arguments=("fit", "x"))
    batch = BatchFlags(retry_failed=True, shard=Shard(1, 3)).batch(session, tmp_path, {"people": "all"})
    assert batch == Batch(
        "fit", tmp_path, {"people": "all"}, shard=Shard(1, 3), retry_failed=True, arguments=("fit", "x")
    )
    assert BatchFlags().batch(session, tmp_path, {}).shard == Shard(0, 1)


def test_settings_reach_flags_of_every_kind(hpc, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(
        '\ufeffout = "x"\nbatch-size = 4\noverwrite = true\nresume = false\nshard = "1/3"\ntag = ["a", "b"]\n'
        'device = "cpu"\n'
    )
    assert hpc("probe", "--config", str(config)).code == 0
    values = probe_commands.CALLS[-1]
    assert (values["out"], values["batch_size"], values["device"], values["tag"]) == (Path("x"), 4, "cpu", ["a", "b"])
    assert values["flags"] == BatchFlags(overwrite=True, resume=False, shard=Shard(1, 3))
    pairs = ["out=y", "batch-size=5", "overwrite=true", "resume=no", "shard=2/3", "tag=c, d", "threads=1"]
    assert hpc("probe", *(word for pair in pairs for word in ("--set", pair))).code == 0
    values = probe_commands.CALLS[-1]
    assert (values["out"], values["batch_size"], values["threads"], values["tag"]) == (Path("y"), 5, 1, ["c", "d"])
    assert values["flags"] == BatchFlags(overwrite=True, resume=False, shard=Shard(2, 3))
    for wrong in ('device = ["cpu"]', "shard = 3", "batch-size = true", "out = 2020-01-01", "resume = 7"):
        config.write_text(wrong)
        assert hpc("probe", "--config", str(config)).code == 2, wrong


def test_a_commands_table_in_the_config_holds_for_it_alone(hpc, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("seed = 1\n[tuned]\nseed = 2\n[tuned.solver]\nsteps = 3\n[probe]\nout = 'x'\n")
    details = hpc("tuned", "--json", "--config", str(config)).details
    assert (details["seed"], details["steps"]) == (2, 3)


@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        (None, 3, "c.toml: does not exist; check the spelling and the folder"),
        ("seed = ", 3, "is not a TOML file"),
        (b"\xff", 3, "is no TOML file"),
        ("sede = 1", 2, "setting sede: there is no such setting; did you mean seed?"),
        ("seed = 'x'", 2, "(from --config)"),
    ],
)
def test_a_bad_config_is_reported(hpc, tmp_path, content, code, sentence):
    config = tmp_path / "c.toml"
    if content is not None:
        config.write_bytes(content if isinstance(content, bytes) else content.encode())
    ran = hpc("probe", "--config", str(config))
    assert ran.code == code
    assert sentence in ran.err


def test_messages_go_to_stderr_and_warnings_come_once(hpc):
    ran = hpc("probe", "--fault", "talk", "--json")
    assert ran.err.splitlines() == ["a message", "warning: dark images"]
    assert ran.document["messages"] == ["dark images"]
    assert hpc("probe", "--fault", "talk", "--quiet").err == ""
    loud = hpc("probe", "--fault", "talk", "--verbose").err
    assert all(text in loud for text in ("a detail", "elsewhere: chatter", "a library's warning"))


# In processes of their own


def hpc_process(*arguments: str, **options) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([sys.executable, str(PROBE), *arguments], **pipes)


@pytest.mark.slow
@pytest.mark.posix("sends POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("fault", ["wait", "threads"])
def test_a_signal_ends_a_command_with_its_code_and_a_document(number, code, fault):
    process = hpc_process("probe", "--fault", fault, "--json")
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert '"status": "interrupted"' in out
    assert err.count("\n") == 1


@pytest.mark.extensive
@pytest.mark.posix("needs a pseudo-terminal")
def test_a_command_that_is_stuck_in_native_code_leaves_the_terminal_in_order():
    import pty

    screen, terminal = pty.openpty()
    process = hpc_process("probe", "--fault", "stuck", "--json", stderr=terminal, env={**os.environ, "TERM": "xterm"})
    os.close(terminal)
    shown = b""
    while b"waiting" not in shown:
        shown += os.read(screen, 4096)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    with suppress(OSError):  # Linux's way to say that the other end is closed
        while more := os.read(screen, 4096):
            shown += more
    os.close(screen)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert '"status": "interrupted"' in out
    assert shown.rindex(b"\x1b[?25l") < shown.rindex(b"\x1b[?25h")  # hidden, and shown again
    assert shown.endswith(b"interrupted: what is finished is kept; the same command continues\r\n")


@pytest.mark.posix("sends POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_signal_before_a_command_has_begun_is_reported_as_well(hpc, monkeypatch, number, code, wrapped):
    """Typer turns the interrupt into a silent 130; an import turns one in a class body into RuntimeError."""

    def interrupted(*_):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as error:
            raise (RuntimeError("Error calling __set_name__") if wrapped else error) from None

    monkeypatch.setattr(sys.modules["humanpose_cli.cli.command"], "read_settings", interrupted)
    ran = hpc("probe", "--set", "seed=1", "--json")
    assert ran.code == code
    assert ran.document["status"] == "interrupted"
    assert ran.err.count("\n") == 1


@pytest.mark.extensive
def test_a_reader_that_goes_away_is_no_failure():
    names = [*map(str, range(3000))]
    summary = "3000 items: 3000 done\n"
    for arguments, message in ((["--help"], ""), (["probe", *names, "--json"], ""), (["probe", *names], summary)):
        reader, writer = os.pipe()
        os.close(reader)
        process = hpc_process(*arguments, stdout=writer)
        os.close(writer)
        _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (0, message)


@pytest.mark.extensive
@pytest.mark.posix("closes streams as POSIX shells do")
def test_no_file_of_the_command_replaces_a_closed_stream(tmp_path):
    line = f'exec "{sys.executable}" "{PROBE}" probe --fault streams --out "{tmp_path}" >&- 2>&- <&-'
    assert subprocess.run(["sh", "-c", line], check=False).returncode == 0
    assert (tmp_path / "streams").read_text() == "[True, True, True]"


@pytest.mark.posix("reads Linux's own files")
@pytest.mark.extensive
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("line", [("probe", "a"), ("--help",), ("probe", "--help")])
def test_a_full_disk_behind_stdout_is_reported(line):
    with open("/dev/full", "w") as full:
        process = hpc_process(*line, stdout=full)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 5
    assert err == "error: stdout: cannot be written, found No space left on device; write it elsewhere\n"


@pytest.mark.posix("reads Linux's own files")
@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stderr_is_no_failure():
    with open("/dev/full", "w") as full:
        process = hpc_process("probe", "a", "--fault", "talk", stderr=full)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


@pytest.mark.extensive
def test_names_that_the_terminal_cannot_show_are_escaped():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    process = hpc_process("probe", "Zoë.jpg", "--json", env=environment)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "Zo\\u00eb.jpg" in out
    process = hpc_process("probe", "Zoë.jpg", env=environment)
    assert "Zo\\xeb.jpg" in process.communicate(timeout=PATIENCE)[0]


@pytest.mark.extensive
def test_completion_offers_commands_and_options():
    environment = {**os.environ, "_HPC_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    process = hpc_process(env={**environment, "COMP_WORDS": "hpc "})
    assert {"doctor", "probe", "tuned"} <= set(process.communicate(timeout=PATIENCE)[0].split())
    process = hpc_process(env={**environment, "COMP_WORDS": "hpc probe --sh", "COMP_CWORD": "2"})
    assert process.communicate(timeout=PATIENCE)[0].split() == ["--shard"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_shown(hpc, shell, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    ran = hpc("--show-completion", shell)
    assert ran.code == 0
    assert "_HPC_COMPLETE" in ran.out


def test_arguments_of_the_library_become_flags():
    from humanpose_cli.cli.command import error_with_flags, with_flags

    text = "take `method=nbf`, `overlay=False` or `axes=y-up`; `keypoints.depth_weight=2` beside `focal`"
    assert with_flags("fit", text) == (
        "take --method nbf, --no-overlay or --set axes=y-up; --set keypoints.depth_weight=2 beside --focal"
    )
    assert with_flags("repose", "`axes=y-up`") == "--target-axes y-up"
    assert error_with_flags("repose", UsageError("weights, size", "are for `method=warp3d`")) == (
        "--weights, --size: are for --method warp3d"
    )
    assert error_with_flags("fit", InputError("focal", "is no image")) == "focal: is no image"  # a file of that name
