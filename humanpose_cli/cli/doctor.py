"""`hpc doctor`: check what works on this machine, with a remedy for each problem.

A check returns a text about its finding, or raises an exception that describes the problem.
"""

from __future__ import annotations

import importlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Annotated

from humanpose_cli.batch.runner import explain
from humanpose_cli.cli.options import option
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.errors import ExitCode, HpcError, UnavailableError, shell_word
from humanpose_cli.core.extras import EXTRAS, reinstall_line, remedy_of
from humanpose_cli.core.result import CommandResult, ItemResult, Status
from humanpose_cli.version import __version__


@dataclass(frozen=True)
class Check:
    """A check of one part of the installation.

    Attributes:
        name: Name of the part.
        look: Returns the finding; any exception means that the part does not work.
        remedy: What to do if the exception has no remedy.
        is_needed: Whether `hpc fit`, `hpc repose` or `hpc train` needs the part.
    """

    name: str
    look: Callable[[], str]
    remedy: str
    is_needed: bool = True


def _package() -> str:
    from humanpose_cli.batch.run_record import commit_of_checkout

    commit = commit_of_checkout()
    return f"{__version__}{f', commit {commit[:12]}' if commit else ''}"


def _module(module: str, distribution: str) -> str:
    """Import a package, which also loads its shared libraries, and return its version."""
    importlib.import_module(module)
    return metadata.version(distribution)


def _gpu() -> str:
    import torch

    if torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        return ", ".join(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in devices)
    driver = _nvidia_driver()
    if driver:
        raise UnavailableError("gpu", f"driver {driver} is there, but torch {torch.__version__} cannot use it")
    return "none: everything runs on the CPU"


def _nvidia_driver() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    process = subprocess.run(query, capture_output=True, encoding="utf-8", timeout=20, check=False)
    return process.stdout.split("\n")[0].strip() if process.returncode == 0 else ""


def _weights() -> str:
    from humanpose_cli.networks.weights import WEIGHTS

    shipped_entries = [entry for entry in WEIGHTS.values() if entry.shipped]
    for entry in shipped_entries:
        entry.verify()
    size = sum(entry.path.stat().st_size for entry in shipped_entries)
    return f"{', '.join(entry.name for entry in shipped_entries)}: {size / 1e6:.1f} MB, whole"


def _engine() -> str:
    import torch

    from humanpose_cli.engine.launching import check_driver, start

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if gpus:
        check_driver()
    return f"Warp {start().config.version} on {', '.join(('cpu', *gpus))}, {torch.get_num_threads()} CPU threads"


def _kernels(kind: str) -> str:
    """Compare the engine's kernels with their references on each device of a kind, and on CPUs the solver's."""
    import torch

    from humanpose_cli.engine.self_test import self_test
    from humanpose_cli.fitting.linearising.self_test import OPERATIONS

    devices = ["cpu"] if kind == "cpu" else [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if not devices:
        return "no GPU"
    results = self_test(devices) + (self_test(devices, OPERATIONS) if kind == "cpu" else [])
    problems: dict[str, list[str]] = {}
    for r in results:
        if not r.ok:
            where = r.op if len(devices) == 1 else f"{r.op} on {r.device}"
            problems.setdefault(r.problem or f"off by {r.error:.0e}", []).append(where)
    if problems:
        names = {p: "all operations" if len(ops) == len(results) else ", ".join(ops) for p, ops in problems.items()}
        text = "; ".join(f"{ops}: {problem}" for problem, ops in names.items())
        raise UnavailableError("kernels", f"the slower torch code is used, for {text}")
    worst = {op: max(r.error for r in results if r.op == op) for op in dict.fromkeys(r.op for r in results)}
    text = ", ".join(f"{op} {error:.0e}" if error else f"{op} exactly" for op, error in worst.items())
    return f"as the reference, relative error: {text}"


def _reinstall(distribution: str) -> str:
    return f"{shell_word(sys.executable)} -m pip install --force-reinstall {distribution}"


def _import_check(module: str, distribution: str) -> Check:
    return Check(distribution, partial(_module, module, distribution), _reinstall(distribution))


def _onnx_runtime() -> str:
    """Name the distribution that provides ONNX Runtime, which has a separate build for GPUs."""
    return "onnxruntime-gpu" if any(metadata.distributions(name="onnxruntime-gpu")) else "onnxruntime"


def _extra_check(name: str) -> Check:
    extra = EXTRAS[name]
    remedy = f"{remedy_of(name)}, for {extra.purpose}"
    return Check(extra.distribution, partial(_module, extra.module, extra.distribution), remedy, is_needed=False)


_NEWER_DRIVER = "install a newer NVIDIA driver (R580 or later), or work on the CPU with --device cpu"

CHECKS = (
    Check("humanpose-cli", _package, ""),
    Check("python", lambda: f"{platform.python_version()}, {platform.system()} {platform.machine()}", ""),
    _import_check("numpy", "numpy"),
    _import_check("scipy", "scipy"),
    _import_check("torch", "torch"),
    _import_check("warp", "warp-lang"),
    _import_check("onnxruntime", _onnx_runtime()),
    _import_check("matplotlib", "matplotlib"),
    _import_check("PIL", "pillow"),
    _import_check("av", "av"),
    Check("gpu", _gpu, "pip install --upgrade torch, with the CUDA build of pytorch.org", is_needed=False),
    Check("weights", _weights, reinstall_line()),
    Check("engine", _engine, _reinstall("warp-lang"), is_needed=False),
    Check("kernels on CPU", partial(_kernels, "cpu"), _reinstall("warp-lang"), is_needed=False),
    Check("kernels on GPU", partial(_kernels, "cuda"), _NEWER_DRIVER, is_needed=False),
    *(_extra_check(name) for name in EXTRAS),
)


_LABELS = {Status.SUCCESS: "ok", Status.PARTIAL: "optional", Status.ERROR: "fails"}


@command(
    columns=(("found", "found", "What is installed, or what is wrong with it."),),
    labels=_LABELS,
    examples=("hpc doctor", "hpc doctor --repair"),
)
def doctor(
    session: Session,
    repair: Annotated[bool, option("--repair", "Remove compiled kernels first: they are compiled again.")] = False,
) -> CommandResult:
    """Check what works on this machine and how to repair the rest.

    Checks versions, weights, kernels, devices and extras. The exit code is 0 if everything needed works, else 5.
    """
    if repair:
        from humanpose_cli.engine.launching import empty_cache

        session.reporter.info(f"{empty_cache()} holds no kernels now")
    return _checked(session, CHECKS)


def _checked(session: Session, checks: Sequence[Check]) -> CommandResult:
    """Run the checks and return their findings or errors."""
    items = []
    messages = []
    session.reporter.start(len(checks))
    for check in checks:
        session.reporter.item_started(check.name)
        remedy = ""
        status = Status.SUCCESS
        try:
            finding = check.look()
        except Exception as error:  # whatever stands in the way is the finding
            finding, remedy = _finding(error, check.remedy)
            status = Status.ERROR if check.is_needed else Status.PARTIAL
            messages.append(f"{check.name}: {remedy}")
            session.reporter.traceback(error)
        details = {"found": finding, "remedy": remedy, "needed": check.is_needed}
        code = ExitCode.OK if status is Status.SUCCESS else ExitCode.UNAVAILABLE
        item = ItemResult(check.name, status, exit_code=code, details=details)
        session.reporter.item_finished(item)
        items.append(item)
    session.reporter.finish()
    if any(item.status is Status.ERROR for item in items):
        return CommandResult("doctor", Status.ERROR, tuple(items), tuple(messages), ExitCode.UNAVAILABLE)
    return CommandResult("doctor", Status.SUCCESS, tuple(items), tuple(messages))


def _finding(error: Exception, remedy: str) -> tuple[str, str]:
    """Describe the problem and its remedy."""
    if isinstance(error, HpcError):
        return f"{error.problem}{', found ' + error.got if error.got else ''}", error.remedy or remedy
    if isinstance(error, ImportError):
        return str(error), remedy
    return explain(error).sentence, remedy
