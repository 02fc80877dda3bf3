"""`run.json` beside the results of a run: how it was made. Only this file and the ledger hold dates and hosts."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from humanpose_cli.batch.items import Shard
from humanpose_cli.core.device import gpu_names
from humanpose_cli.outputs.desk import utc_time
from humanpose_cli.version import __version__

PACKAGES = ("numpy", "scipy", "torch", "warp-lang", "onnxruntime", "onnxruntime-gpu", "pillow", "imageio", "av", "h5py")


def installed_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    """Return the installed version of each package, None if missing, without importing them."""
    return {name: next((found.version for found in metadata.distributions(name=name)), None) for name in packages}


def commit_of_checkout() -> str | None:
    """Return the commit of this package's checkout, with `+` if files differ; None if it is installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        process = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=+"],
            check=True,
            capture_output=True,
            encoding="utf-8",
            timeout=10,
            start_new_session=True,  # a Ctrl-C in the terminal is not for git
        )
    except (OSError, subprocess.SubprocessError):
        return None  # no git on this machine, or another user's checkout
    return process.stdout.strip()


def run_record_path(folder: Path, shard: Shard) -> Path:
    """Return the path of `run.json`, or of `run.i-of-N.json` for a shard."""
    return folder / ("run.json" if shard.count == 1 else f"run.{shard.file_part}.json")


def run_record(command: str, options: Mapping[str, Any], shard: Shard, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the contents of `run.json` at the start; `finished`, `status` and counts are added at the end."""
    return {
        "schema": 1,
        "command": command,
        "arguments": list(arguments),
        "options": dict(options),
        "shard": str(shard),
        "version": __version__,
        "commit": commit_of_checkout(),
        "python": sys.version.split()[0],
        "packages": installed_versions(),
        "host": platform.node(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "gpus": gpu_names(),
        "started": utc_time(),
        "finished": None,
        "status": "running",
    }
