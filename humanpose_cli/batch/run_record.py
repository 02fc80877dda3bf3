"""`run.json`: when, where and with what a run was made; the one file beside the ledger that holds dates and hosts."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from humanpose_cli.batch.items import Shard
from humanpose_cli.version import __version__

__all__ = ["commit_of_checkout", "installed_versions", "run_record", "run_record_path"]

PACKAGES = ("numpy", "scipy", "torch", "warp-lang", "mediapipe", "pillow", "imageio", "av", "h5py")


def installed_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    """Version of each package as installed, None for a missing one; imports none of them."""
    versions: dict[str, str | None] = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def commit_of_checkout() -> str | None:
    """Commit of the checkout that this package runs from, `+` appended where files differ; None if installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None  # no git on this machine, or a checkout that belongs to someone else
    return commit + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
        start_new_session=True,  # a Ctrl-C in the terminal is for us, not for git
    )
    return done.stdout.strip()


def run_record_path(folder: Path, shard: Shard) -> Path:
    """`run.json`, or `run.i-of-N.json` for one of several shards, so that no two processes write one file."""
    return folder / ("run.json" if shard.count == 1 else f"run.{shard.file_part}.json")


def run_record(command: str, options: Mapping[str, Any], shard: Shard, arguments: Sequence[str]) -> dict[str, Any]:
    """What is known when a run starts. `finished`, `status` and counts are added when it ends."""
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
        "started": now(),
        "finished": None,
        "status": "running",
    }


def now() -> str:
    """The time in UTC, as in ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
