"""The files of a body and a pose prior, without torch, which reading them needs."""

from __future__ import annotations

import re
from pathlib import Path

from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.io.digests import digest_of

PRIORS = "none, pose, gmm:FILE, vposer:FILE"


def model_file(path: str | Path) -> Path:
    """Check the path of a model file of SMPL, SMPL-H or SMPL-X. Raises UnavailableError if there is no such file."""
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
    """Raise UnavailableError, as `model_file`, if the file of 'smpl:FILE', 'smplh:FILE' or 'smplx:FILE' is missing."""
    if path := spec.partition(":")[2]:
        model_file(path)


def check_prior(spec: str) -> None:
    """Raise UsageError unless `spec` is a pose prior: 'none', 'pose', 'gmm:FILE' or 'vposer:FILE'. Opens no files."""
    kind, _, path = spec.partition(":")
    if kind not in ("gmm", "vposer") if path else spec not in ("none", "pose"):
        raise UsageError("prior", "is not known", expected=PRIORS, got=spec)


def prior_file(spec: str) -> Path | None:
    """Find the file of a pose prior, 'gmm:FILE' or 'vposer:FILE', in VPoser's folder the last epoch's checkpoint;
    None if a prior needs none.

    Raises UsageError as `check_prior`, UnavailableError when it is missing, InputError for a folder without a
    checkpoint.
    """
    check_prior(spec)
    kind, _, name = spec.partition(":")
    path = Path(name)
    if not name:
        return None
    if kind == "vposer" and path.is_dir():
        checkpoints = [file for file in path.rglob("*") if file.suffix in (".ckpt", ".safetensors")]
        if not checkpoints:
            raise InputError(path, "holds no checkpoint of VPoser", expected="snapshots/*.ckpt, as in V02_05")
        return max(checkpoints, key=_epoch)
    if not path.is_file():
        where = "https://smpl-x.is.tue.mpg.de" if kind == "vposer" else "https://smplify.is.tue.mpg.de"
        what = "VPoser v2.0" if kind == "vposer" else "SMPLify's code, which has models/gmm_08.pkl"
        remedy = f"register at {where} and download {what}, or use `prior=pose`"
        raise UnavailableError(path, "no file of a pose prior is there", remedy=remedy)
    return path


def prior_identity(spec: str) -> str:
    """Describe what a prior changes in a result: its kind, and the contents of its file."""
    path = prior_file(spec)
    return spec if path is None else f"{spec.partition(':')[0]}:{digest_of(path)}"


def _epoch(file: Path) -> tuple[int, str]:
    number = re.search(r"epoch=(\d+)", file.name)
    return int(number[1]) if number else -1, file.name
