"""Bodies by the words that users give: `--body default|smpl:FILE`."""

from __future__ import annotations

from humanpose_cli.bodies.default_body import default_body
from humanpose_cli.bodies.rigged_body import RiggedBody
from humanpose_cli.bodies.smpl import load_smpl
from humanpose_cli.errors import UsageError

__all__ = ["body_by_name"]


def body_by_name(spec: str) -> RiggedBody:
    """'default', or 'smpl:' and the path of a SMPL model file; UsageError for anything else."""
    kind, _, path = spec.partition(":")
    if spec == "default":
        return default_body()
    if kind == "smpl" and path:
        return load_smpl(path)
    raise UsageError("--body", "is unknown", expected="default or smpl:FILE", got=spec)
