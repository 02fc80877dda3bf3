"""Commands that exist only in tests, put into the table beside the real ones.

`probe` returns, logs or raises what it is asked to, so that the way out of a command can be tested without images.
Run as a script, this file is an `hpc` with these commands.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import typer

from humanpose_cli.cli import table
from humanpose_cli.cli.options import (
    BatchFlags,
    BatchSize,
    Device,
    Frames,
    Out,
    Seed,
    ShardOption,
    Threads,
)
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.device import resolve_device
from humanpose_cli.core.errors import ExitCode, InputError, UnavailableError, UsageError
from humanpose_cli.core.result import CommandResult, ItemResult, Status

FAULTS = {
    "usage": UsageError("--x", "is wrong"),
    "input": InputError("a.jpg", "is not an image", remedy="convert it"),
    "unavailable": UnavailableError("gpu", "is missing"),
    "bug": ZeroDivisionError("division by zero"),
    "interrupt": KeyboardInterrupt(),
    "disk": OSError(28, "No space left on device", "out/a.npz"),
}
CALLS: list[dict[str, object]] = []


@dataclass(frozen=True)
class Solver:
    steps: int = 30
    weight: float = 0.5


@dataclass(frozen=True)
class Tuning:
    people: Literal["all", "largest"] = "all"
    solver: Solver = field(default_factory=Solver)


@command(
    columns=(("people", "found", "How many there are."),),
    usual="--out --seed --resume",
    examples=("hpc probe a.jpg --out o", "hpc probe b.jpg", "hpc probe c.jpg", "hpc probe d.jpg"),
)
def probe(
    session: Session,
    flags: BatchFlags,
    inputs: Annotated[list[str] | None, typer.Argument(metavar="INPUT", help="Names.")] = None,
    out: Out = Path("hpc-out/probe"),
    device: Device = "auto",
    threads: Threads = None,
    batch_size: BatchSize = None,
    frames: Frames = None,
    seed: Seed = 0,
    fault: Annotated[str, typer.Option("--fault", help="What to raise.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="May be repeated.")] = None,
) -> CommandResult:
    """Do as it is told.

    Only in tests.

    Details are for the complete page.
    """
    CALLS.append({name: value for name, value in locals().items() if name != "session"})
    if fault in FAULTS:
        raise FAULTS[fault]
    if fault == "device":
        resolve_device(device)
    if fault == "threads":  # the process would wait for this one before it ends
        threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"", b"", 2**31 - 1)).start()
    if fault in ("wait", "threads"):
        sys.stdout.write("waiting\n")
        sys.stdout.flush()
        time.sleep(900)  # it is killed meanwhile
    if fault == "stuck":  # minutes of native code, which no signal interrupts
        with session.item("a.jpg"), session.stop.item():
            session.reporter.info("waiting")
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    if fault == "streams":  # whether they lead nowhere
        nowhere = os.stat(os.devnull)
        (out / "streams").write_text(str([os.path.samestat(os.fstat(number), nowhere) for number in range(3)]))
    log = logging.getLogger("humanpose_cli.probe")
    if fault == "talk":
        log.info("a message")
        log.debug("a detail")
        for _ in range(3):
            log.warning("dark images")
        logging.getLogger("elsewhere").warning("chatter")
        warnings.simplefilter("always")
        warnings.warn("a library's warning", stacklevel=1)
    items = tuple(
        ItemResult(name, Status.SUCCESS, (f"{out}/{name}.npz",), 1.25, details={"people": 2, "score": float("nan")})
        for name in inputs or []
    )
    return CommandResult("probe", Status.SUCCESS, items)


@command(tunes=True)
def tuned(session: Session, seed: Seed = 0, shard: ShardOption = None) -> CommandResult:
    """Tell its settings."""
    tuning = session.tune(Tuning())
    details = {"steps": tuning.solver.steps, "weight": tuning.solver.weight, "people": tuning.people, "seed": seed}
    return CommandResult("tuned", Status.SUCCESS, (ItemResult("x", Status.SUCCESS, details=details),))


@command()
def failing(session: Session) -> CommandResult:
    """Fail in part."""
    items = (
        ItemResult("a", Status.SUCCESS),
        ItemResult("b", Status.ERROR, error="b: is not an image", exit_code=ExitCode.BAD_INPUT),
    )
    return CommandResult("failing", Status.PARTIAL, items, exit_code=ExitCode.PARTIAL)


def install() -> dict[str, str]:
    """Put the commands into the table; returns the lines for it."""
    lines = {}
    for function in (probe, tuned, failing):
        module = ModuleType(f"humanpose_cli.cli.{function.__name__}")
        setattr(module, function.__name__, function)
        sys.modules[module.__name__] = module
        lines[function.__name__] = (function.__doc__ or "").split("\n")[0]
    return lines


if __name__ == "__main__":
    from humanpose_cli.cli.main import main

    table.COMMANDS.update(install())
    sys.exit(main())
