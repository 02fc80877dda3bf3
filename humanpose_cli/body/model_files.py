"""The files of a body and a pose prior, checked without torch, which reading them needs."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.io.digests import digest_of

PRIORS = "none, pose, gmm:FILE, vposer:FILE"
_DOWNLOADS = {
    "gmm": ("https://smplify.is.tue.mpg.de", "SMPLify's code, which has models/gmm_08.pkl"),
    "vposer": ("https://smpl-x.is.tue.mpg.de", "VPoser v2.0"),
}


def model_file(path: str | Path) -> Path:
    """Return the path of a model file of SMPL, SMPL-H or SMPL-X.

    Args:
        path: The file.

    Raises:
        UnavailableError: If there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise UnavailableError(
            path,
            "no SMPL model file is there",
            remedy="register at https://smpl.is.tue.mpg.de, download SMPL 1.1.0 and give its .pkl file, "
            "or use the default body",
        )
    return path


def read_model_arrays(
    path: Path, names: Sequence[str], problem: str, optional: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Read a pickle or `.npz` file of arrays by name.

    Args:
        path: The file.
        names: The arrays that it must have.
        problem: The problem of a file without them, for the message.
        optional: Arrays that it may have.

    Raises:
        InputError: If the file is damaged, unsafe, or lacks an array.
    """
    # These need numpy, which `--help` does not load.
    from humanpose_cli.io.npz_files import read_npz
    from humanpose_cli.io.restricted_pickle import read_pickle

    table = read_npz(path, {*names, *optional}) if zipfile.is_zipfile(path) else read_pickle(path)
    if not isinstance(table, Mapping):
        raise InputError(path, problem, expected="a table of arrays", got=type(table).__name__)
    if missing := [name for name in names if name not in table]:
        raise InputError(path, problem, expected=", ".join(names), got=f"no {', '.join(missing)} in it")
    return table


def check_body(spec: str) -> None:
    """Check that the file of "smpl:FILE", "smplh:FILE" or "smplx:FILE" exists.

    Args:
        spec: The body.

    Raises:
        UnavailableError: If the file is missing.
    """
    if path := spec.partition(":")[2]:
        model_file(path)


def check_prior(spec: str) -> None:
    """Check the name of a pose prior without opening files.

    Args:
        spec: "none", "pose", "gmm:FILE" or "vposer:FILE".

    Raises:
        UsageError: If it is something else.
    """
    kind, _, path = spec.partition(":")
    if kind not in ("gmm", "vposer") if path else spec not in ("none", "pose"):
        raise UsageError("prior", "is not known", expected=PRIORS, got=spec)


def prior_file(spec: str) -> Path | None:
    """Find the file of a pose prior; in VPoser's folder, the checkpoint of the last epoch.

    Args:
        spec: "none", "pose", "gmm:FILE" or "vposer:FILE".

    Returns:
        The file, or None if the prior needs none.

    Raises:
        UsageError: If it is another prior.
        UnavailableError: If the file is missing.
        InputError: If the folder does not have a checkpoint.
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
        site, download = _DOWNLOADS[kind]
        remedy = f"register at {site} and download {download}, or use `prior=pose`"
        raise UnavailableError(path, "does not exist", remedy=remedy)
    return path


def prior_identity(spec: str) -> str:
    """Describe the content of a prior that decides a result: its kind and the digest of its file."""
    path = prior_file(spec)
    return spec if path is None else f"{spec.partition(':')[0]}:{digest_of(path)}"


def _epoch(file: Path) -> tuple[int, str]:
    number = re.search(r"epoch=(\d+)", file.name)
    return int(number[1]) if number else -1, file.name
