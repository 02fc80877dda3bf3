"""Which model file a body is, without torch, which reading one needs."""

from __future__ import annotations

from pathlib import Path

from humanpose_cli.core.errors import UnavailableError


def model_file(path: str | Path) -> Path:
    """The path of a model file of SMPL, SMPL-H or SMPL-X. UnavailableError when there is no such file."""
    path = Path(path)
    if not path.is_file():
        raise UnavailableError(
            path,
            "no SMPL model file is there",
            remedy="register at https://smpl.is.tue.mpg.de, download SMPL 1.1.0 and give its .pkl file, "
            "or use the default body",
        )
    return path


def check_body(spec: str) -> None:
    """UnavailableError, as `model_file`, where the file of 'smpl:FILE', 'smplh:FILE' or 'smplx:FILE' is missing."""
    if path := spec.partition(":")[2]:
        model_file(path)
